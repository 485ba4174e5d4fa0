"""PaymentIntents: holds, captures, cancellations, and the states between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import stripe

from local.stripe import actors, authentication

if TYPE_CHECKING:
    from tests.local.stripe.conftest import Account

DAY = 24 * 3600


def hold(account: Account, **params: Any) -> stripe.PaymentIntent:
    customer = account.customer()
    method = account.save_card(customer, params.pop("token", "pm_card_visa"))
    return account.charge(customer, method, capture_method="manual", expand=["latest_charge"], **params)


def card_of(intent: stripe.PaymentIntent) -> Any:
    assert isinstance(intent.latest_charge, stripe.Charge)
    details = intent.latest_charge.payment_method_details
    assert details is not None
    return details.card


def test_hold_and_capture(account: Account) -> None:
    intent = hold(account)
    assert (intent.status, intent.amount_capturable, intent.amount_received) == ("requires_capture", 2500, 0)
    # Merchant-initiated Visa: 4 days 18 hours (https://docs.stripe.com/payments/place-a-hold-on-a-payment-method).
    assert card_of(intent).capture_before == intent.created + 4 * DAY + 18 * 3600
    captured = account.v1.payment_intents.capture(intent.id, {"expand": ["latest_charge"]})
    assert (captured.status, captured.amount_capturable, captured.amount_received) == ("succeeded", 0, 2500)
    assert captured.latest_charge.captured
    assert account.event_types()[-6:] == [
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.amount_capturable_updated",
        "charge.captured",
        "payment_intent.succeeded",
        "charge.updated",
    ]


def test_other_networks_hold_seven_days(account: Account) -> None:
    intent = hold(account, token="pm_card_mastercard")
    assert card_of(intent).capture_before == intent.created + 7 * DAY


def test_a_part_is_captured_and_the_rest_released(account: Account) -> None:
    intent = hold(account)
    captured = account.v1.payment_intents.capture(
        intent.id, {"amount_to_capture": 1000, "expand": ["latest_charge.refunds"]}
    )
    charge = captured.latest_charge
    assert captured.amount_received == 1000
    assert (charge.amount_captured, charge.amount_refunded, charge.refunded) == (1000, 1500, False)
    assert [refund.amount for refund in charge.refunds.data] == [1500]
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded amount"):
        account.v1.refunds.create({"payment_intent": intent.id, "amount": 1001})
    assert account.v1.refunds.create({"payment_intent": intent.id}).amount == 1000


def test_more_than_the_hold_cannot_be_captured(account: Account) -> None:
    intent = hold(account)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        account.v1.payment_intents.capture(intent.id, {"amount_to_capture": 2501})
    assert refused.value.code == "amount_too_large"


def test_a_hold_is_cancelled(account: Account) -> None:
    intent = hold(account)
    canceled = account.v1.payment_intents.cancel(
        intent.id, {"cancellation_reason": "requested_by_customer", "expand": ["latest_charge"]}
    )
    assert (canceled.status, canceled.cancellation_reason) == ("canceled", "requested_by_customer")
    assert canceled.latest_charge.refunded
    assert account.event_types()[-2:] == ["charge.refunded", "payment_intent.canceled"]
    for call in (account.v1.payment_intents.cancel, account.v1.payment_intents.capture):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            call(intent.id)
        assert refused.value.code == "payment_intent_unexpected_state"


def test_a_hold_lapses(account: Account) -> None:
    intent = hold(account)
    account.world.advance(4 * DAY + 18 * 3600 + 1)
    after = account.v1.payment_intents.retrieve(intent.id)
    assert (after.status, after.cancellation_reason) == ("canceled", "automatic")
    assert account.event_types()[-2:] == ["charge.expired", "payment_intent.canceled"]


def test_nobody_waits_for_the_end_of_a_hold_that_is_over(account: Account) -> None:
    intent = hold(account)
    assert account.world.schedule.seconds_to_next() == pytest.approx(4 * DAY + 18 * 3600, abs=2)

    account.v1.payment_intents.capture(intent.id)

    assert account.world.schedule.seconds_to_next() is None


def test_a_succeeded_intent_cannot_be_cancelled(account: Account) -> None:
    customer = account.customer()
    intent = account.charge(customer, account.save_card(customer, "pm_card_visa"))
    with pytest.raises(stripe.InvalidRequestError) as refused:
        account.v1.payment_intents.cancel(intent.id)
    assert refused.value.code == "payment_intent_unexpected_state"
    assert refused.value.error is not None
    assert refused.value.error.payment_intent is not None
    assert refused.value.error.payment_intent.status == "succeeded"


def test_backup_card_on_the_same_payment_intent(account: Account) -> None:
    customer = account.customer()
    failing = account.save_card(customer, "pm_card_chargeCustomerFail")
    backup = account.save_card(customer, "pm_card_visa")
    with pytest.raises(stripe.CardError) as refused:
        account.charge(customer, failing)
    assert refused.value.error is not None
    assert refused.value.error.payment_intent is not None
    intent = refused.value.error.payment_intent.id
    confirmed = account.v1.payment_intents.confirm(intent, {"payment_method": backup, "off_session": True})
    assert confirmed.status == "succeeded"
    assert confirmed.last_payment_error is None
    charges = account.v1.charges.list({"payment_intent": intent}).data
    assert [charge.status for charge in charges] == ["succeeded", "failed"]


def test_step_by_step(account: Account) -> None:
    intent = account.v1.payment_intents.create({"amount": 900, "currency": "EUR"})
    assert (intent.status, intent.currency) == ("requires_payment_method", "eur")
    assert intent.automatic_payment_methods.to_dict() == {"allow_redirects": "always", "enabled": True}
    with pytest.raises(stripe.InvalidRequestError) as missing:
        account.v1.payment_intents.confirm(intent.id)
    assert missing.value.code == "payment_intent_unexpected_state"
    updated = account.v1.payment_intents.update(
        intent.id, {"amount": 950, "payment_method": "pm_card_visa", "metadata": {"booking_id": "b1"}}
    )
    assert (updated.status, updated.amount) == ("requires_confirmation", 950)
    with pytest.raises(stripe.InvalidRequestError, match="return_url") as redirecting:
        account.v1.payment_intents.confirm(intent.id)
    assert redirecting.value.param == "return_url"
    done = account.v1.payment_intents.confirm(intent.id, {"return_url": "https://example.com"})
    assert (done.status, done.amount_received) == ("succeeded", 950)
    with pytest.raises(stripe.InvalidRequestError):
        account.v1.payment_intents.update(intent.id, {"amount": 1})
    assert account.v1.payment_intents.update(intent.id, {"description": "late"}).description == "late"


def test_setup_future_usage_saves_the_card(account: Account) -> None:
    customer = account.customer()
    intent = account.v1.payment_intents.create(
        {
            "amount": 900,
            "currency": "eur",
            "customer": customer.id,
            "payment_method": "pm_card_authenticationRequiredOnSetup",
            "setup_future_usage": "off_session",
            "confirm": True,
            "allowed_payment_method_types": ["card"],
        }
    )
    authentication.answer(account.world, intent.id, "succeed")
    (method,) = account.v1.payment_methods.list({"customer": customer.id}).data
    assert account.charge(customer, method.id).status == "succeeded"


def test_descriptors(account: Account) -> None:
    customer = account.customer()
    method = account.save_card(customer, "pm_card_visa")
    intent = account.charge(customer, method, statement_descriptor_suffix="LX 318", expand=["latest_charge"])
    assert isinstance(intent.latest_charge, stripe.Charge)
    assert intent.latest_charge.calculated_statement_descriptor == "AUTOBOOK* LX 318"
    with pytest.raises(stripe.InvalidRequestError):
        account.charge(customer, method, statement_descriptor_suffix="<3")


def test_set_up_intents_end(account: Account) -> None:
    intent = account.v1.setup_intents.create({"customer": account.customer().id})
    canceled = account.v1.setup_intents.cancel(intent.id, {"cancellation_reason": "abandoned"})
    assert (canceled.status, canceled.cancellation_reason) == ("canceled", "abandoned")
    with pytest.raises(stripe.InvalidRequestError) as refused:
        account.v1.setup_intents.confirm(intent.id, {"payment_method": "pm_card_visa"})
    assert refused.value.code == "setup_intent_unexpected_state"
    assert refused.value.error is not None
    assert refused.value.error.setup_intent is not None


def test_a_mandate_is_kept_and_revoked(account: Account) -> None:
    acceptance = {"type": "online", "online": {"ip_address": "192.0.2.1", "user_agent": "test"}}
    intent = account.v1.setup_intents.create(
        {
            "customer": account.customer().id,
            "payment_method": "pm_card_visa",
            "confirm": True,
            "allowed_payment_method_types": ["card"],
            "mandate_data": {"customer_acceptance": acceptance},
        }
    )
    mandate = account.v1.mandates.retrieve(intent.mandate)
    assert (mandate.status, mandate.type) == ("active", "multi_use")
    actors.revoke_mandate(account.world, mandate.id, actors.RevokeMandate())
    assert account.v1.mandates.retrieve(mandate.id).status == "inactive"
    assert account.event_types()[-1] == "mandate.updated"
