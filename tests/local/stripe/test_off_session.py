"""Saving a card and charging it with nobody there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import stripe

from local.stripe import authentication

if TYPE_CHECKING:
    from tests.local.stripe.conftest import Account


def test_a_saved_card_is_charged(served: Account) -> None:
    account = served
    customer = account.customer(email="ada@example.com", metadata={"user_id": "u1"})
    method = account.save_card(customer, "pm_card_visa")
    intent = account.charge(customer, method, metadata={"booking_id": "b1"}, expand=["latest_charge"])

    assert intent.status == "succeeded"
    assert intent.amount_received == 2500
    charge = intent.latest_charge
    assert isinstance(charge, stripe.Charge)
    assert charge.paid
    assert charge.captured
    assert charge.outcome is not None
    assert charge.outcome.type == "authorized"
    assert charge.metadata.to_dict() == {"booking_id": "b1"}
    settled = account.v1.charges.retrieve(charge.id, {"expand": ["balance_transaction"]})
    assert settled.balance_transaction.fee == 2500 * 15 // 1000 + 25
    assert account.event_types() == [
        "customer.created",
        "setup_intent.created",
        "payment_method.attached",
        "setup_intent.succeeded",
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "charge.updated",
    ]


def test_a_synchronous_capture_is_booked_at_once(account: Account) -> None:
    customer = account.customer()
    method = account.save_card(customer, "pm_card_visa")
    intent = account.charge(customer, method, capture_method="automatic", expand=["latest_charge.balance_transaction"])
    assert isinstance(intent.latest_charge, stripe.Charge)
    assert isinstance(intent.latest_charge.balance_transaction, stripe.BalanceTransaction)
    assert "charge.updated" not in account.event_types()


def test_set_up_memory(account: Account) -> None:
    """…3155 asks off-session only until an authenticated set-up; attaching alone is none."""
    customer = account.customer()
    attached = account.v1.payment_methods.attach("pm_card_authenticationRequiredOnSetup", {"customer": customer.id})
    with pytest.raises(stripe.CardError) as refused:
        account.charge(customer, attached.id)
    assert refused.value.code == "authentication_required"

    saved = account.save_card(customer, "pm_card_authenticationRequiredOnSetup")
    assert account.charge(customer, saved).status == "succeeded"


def test_authentication_required_and_recovery_on_the_same_payment_intent(account: Account) -> None:
    customer = account.customer()
    method = account.save_card(customer, "pm_card_authenticationRequired")
    with pytest.raises(stripe.CardError) as refused:
        account.charge(customer, method)

    error = refused.value.error
    assert refused.value.http_status == 402
    assert error is not None
    assert error.code == error.decline_code == "authentication_required"
    intent = error.payment_intent
    assert intent is not None
    assert intent.status == "requires_payment_method"
    assert intent.payment_method is None
    assert intent.last_payment_error is not None
    assert intent.last_payment_error.payment_method is not None
    assert intent.last_payment_error.payment_method.id == method
    assert intent.latest_charge == error.charge

    again = account.v1.payment_intents.confirm(intent.id, {"payment_method": method, "use_stripe_sdk": True})
    assert again.status == "requires_action"
    assert again.next_action.type == "use_stripe_sdk"
    authentication.answer(account.world, intent.id, "succeed")
    paid = account.v1.payment_intents.retrieve(intent.id)
    assert paid.status == "succeeded"
    assert len(account.v1.charges.list({"payment_intent": intent.id}).data) == 2

    with pytest.raises(stripe.InvalidRequestError) as twice:
        account.v1.payment_intents.confirm(intent.id, {"payment_method": method})
    assert twice.value.code == "payment_intent_unexpected_state"
    assert twice.value.error is not None
    assert twice.value.error.payment_intent is not None
    assert twice.value.error.payment_intent.status == "succeeded"
