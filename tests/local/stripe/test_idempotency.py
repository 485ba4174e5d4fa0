"""Idempotency keys as https://docs.stripe.com/api/idempotent_requests describes them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import stripe

if TYPE_CHECKING:
    from tests.local.stripe.conftest import Account


def test_twenty_at_once_with_one_key_charge_once(served: Account) -> None:
    account = served
    customer = account.customer()
    method = account.save_card(customer, "pm_card_visa")

    def go(_: int) -> str:
        return account.charge(customer, method, options={"idempotency_key": "booking-1"}).id

    with ThreadPoolExecutor(20) as pool:
        ids = list(pool.map(go, range(20)))
    assert len(set(ids)) == 1
    assert len(account.world.payment_intents) == 1
    assert len(account.world.charges) == 1


def test_a_card_error_is_replayed(account: Account) -> None:
    customer = account.customer()
    method = account.save_card(customer, "pm_card_chargeCustomerFail")
    seen = []
    for _ in range(2):
        with pytest.raises(stripe.CardError) as refused:
            account.charge(customer, method, options={"idempotency_key": "k"})
        seen.append(refused.value)
    assert seen[0].http_body == seen[1].http_body
    assert seen[1].headers is not None
    assert seen[1].headers["idempotent-replayed"] == "true"
    assert len(account.world.charges) == 1


def test_other_parameters_under_a_key_are_an_error(account: Account) -> None:
    customer = account.customer()
    method = account.save_card(customer, "pm_card_visa")
    account.charge(customer, method, options={"idempotency_key": "k"})
    with pytest.raises(stripe.IdempotencyError) as refused:
        account.charge(customer, method, amount=2600, options={"idempotency_key": "k"})
    assert refused.value.http_status == 400
    with pytest.raises(stripe.IdempotencyError):
        account.v1.customers.create({"name": "x"}, {"idempotency_key": "k"})


def test_a_validation_error_is_not_remembered(account: Account) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        account.v1.customers.create({"nonsense": "1"}, {"idempotency_key": "k"})
    assert account.v1.customers.create({"name": "Ada"}, {"idempotency_key": "k"}).name == "Ada"


def test_a_key_lasts_a_day(account: Account) -> None:
    first = account.v1.customers.create({"name": "Ada"}, {"idempotency_key": "k"})
    account.world.advance(24 * 3600 - 60)
    assert account.v1.customers.create({"name": "Ada"}, {"idempotency_key": "k"}).id == first.id
    account.world.advance(120)
    assert account.v1.customers.create({"name": "Ada"}, {"idempotency_key": "k"}).id != first.id
