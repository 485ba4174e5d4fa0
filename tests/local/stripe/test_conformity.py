"""The checker that every other test here leans on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.local.stripe.conformity import problems_of

if TYPE_CHECKING:
    from tests.local.stripe.conftest import Account


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda row: row.update(surprise=1), "surprise: no field of PaymentIntent"),
        (lambda row: row.pop("amount"), "amount: missing"),
        (lambda row: row.update(amount="12"), "does not fit <class 'int'>"),
        (lambda row: row.update(status="paid"), "'paid' does not fit"),
        (lambda row: row.update(amount=None), "'int'"),
        (lambda row: row.update(next_action={"type": "x", "surprise": 1}), "no field of PaymentIntent.NextAction"),
        (lambda row: row.update(customer={"object": "customer"}), "customer: {'object': 'customer'} does not fit"),
    ],
)
def test_it_sees_what_is_wrong(account: Account, spoil: Any, complaint: str) -> None:
    account.v1.payment_intents.create({"amount": 500, "currency": "eur"})
    (row,) = account.world.payment_intents
    assert problems_of(row) == []
    copy = dict(row)
    spoil(copy)
    assert any(complaint in text for text in problems_of(copy)), problems_of(copy)


def test_single_objects_fit(account: Account) -> None:
    for answer in (account.v1.balance.retrieve(), account.v1.accounts.retrieve_current()):
        assert problems_of(answer.to_dict()) == []
