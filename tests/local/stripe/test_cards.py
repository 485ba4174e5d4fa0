"""The documented test cards, each held to its row in https://docs.stripe.com/testing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import stripe

from local.stripe import actors, authentication
from local.stripe.cards import BY_NAME, CARDS
from local.stripe.declines import DECLINES

if TYPE_CHECKING:
    from tests.local.stripe.conftest import Account

# token, code, decline_code: the table "Declined payments" of that page.
DECLINED = [
    ("pm_card_visa_chargeDeclined", "card_declined", "generic_decline"),
    ("pm_card_visa_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
    ("pm_card_visa_chargeDeclinedLostCard", "card_declined", "lost_card"),
    ("pm_card_visa_chargeDeclinedStolenCard", "card_declined", "stolen_card"),
    ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card"),
    ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc", "incorrect_cvc"),
    ("pm_card_chargeDeclinedProcessingError", "processing_error", "processing_error"),
    ("pm_card_visa_chargeDeclinedVelocityLimitExceeded", "card_declined", "card_velocity_exceeded"),
]


def pay_on_session(account: Account, token: str, **params: Any) -> stripe.PaymentIntent:
    made: stripe.PaymentIntent = account.v1.payment_intents.create(
        {
            "amount": 1200,
            "currency": "eur",
            "payment_method": token,
            "confirm": True,
            "allowed_payment_method_types": ["card"],
            **params,
        }
    )
    return made


def test_every_number_passes_luhn() -> None:
    for card in CARDS:
        digits = [int(digit) for digit in reversed(card.number)]
        doubled = [sum(divmod(digit * 2, 10)) for digit in digits[1::2]]
        assert (sum(digits[::2]) + sum(doubled)) % 10 == 0, card.name


@pytest.mark.parametrize(("token", "code", "decline_code"), DECLINED)
def test_a_decline_card_declines_a_payment(account: Account, token: str, code: str, decline_code: str) -> None:
    with pytest.raises(stripe.CardError) as refused:
        pay_on_session(account, token)
    assert refused.value.http_status == 402
    assert refused.value.code == code
    error = refused.value.error
    assert error is not None
    assert error.type == "card_error"
    assert error.decline_code == decline_code
    assert error.message == DECLINES[decline_code].message
    assert error.doc_url == f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}"
    assert error.request_log_url is not None
    assert error.network_decline_code == DECLINES[decline_code].network_decline_code
    assert error.payment_method is not None
    intent = error.payment_intent
    assert intent is not None
    assert intent.status == "requires_payment_method"
    assert intent.last_payment_error is not None
    assert intent.last_payment_error.decline_code == decline_code
    charge = account.v1.charges.retrieve(error.charge)
    assert charge.status == "failed"
    assert charge.failure_code == code
    assert charge.outcome.network_status == "declined_by_network"
    assert charge.outcome.reason == decline_code
    assert charge.outcome.advice_code == DECLINES[decline_code].advice_code
    assert account.event_types() == ["payment_intent.created", "charge.failed", "payment_intent.payment_failed"]


@pytest.mark.parametrize(("token", "code", "decline_code"), DECLINED)
def test_a_decline_card_cannot_be_attached_or_set_up(
    account: Account, token: str, code: str, decline_code: str
) -> None:
    customer = account.customer()
    with pytest.raises(stripe.CardError) as refused:
        account.v1.payment_methods.attach(token, {"customer": customer.id})
    assert refused.value.code == code
    with pytest.raises(stripe.CardError) as refused:
        account.save_card(customer, token)
    error = refused.value.error
    assert error is not None
    assert error.decline_code == decline_code
    assert error.setup_intent is not None
    assert error.setup_intent.status == "requires_payment_method"
    assert error.setup_intent.last_setup_error is not None
    assert error.setup_intent.last_setup_error.code == code
    assert account.event_types()[-1] == "setup_intent.setup_failed"


def test_0341_attaches_and_declines_later(account: Account) -> None:
    customer = account.customer()
    method = account.save_card(customer, "pm_card_chargeCustomerFail")
    with pytest.raises(stripe.CardError) as refused:
        account.charge(customer, method)
    assert refused.value.code == "card_declined"


@pytest.mark.parametrize(
    ("token", "set_up_asks", "on_session_asks", "off_session"),
    [
        ("pm_card_visa", False, False, "succeeds"),
        ("pm_card_authenticationRequiredOnSetup", True, True, "succeeds"),
        ("pm_card_authenticationRequired", True, True, "authentication_required"),
        ("pm_card_authenticationRequiredSetupForOffSession", False, True, "succeeds"),
        ("pm_card_authenticationRequiredChargeDeclinedInsufficientFunds", False, True, "insufficient_funds"),
        ("pm_card_threeDSecure2Required", True, True, "succeeds"),
        ("pm_card_threeDSecureOptional", False, False, "succeeds"),
        ("pm_card_amex_threeDSecureNotSupported", False, False, "succeeds"),
    ],
)
def test_three_d_secure(
    account: Account, token: str, *, set_up_asks: bool, on_session_asks: bool, off_session: str
) -> None:
    customer = account.customer()
    intent = account.v1.setup_intents.create(
        {"customer": customer.id, "payment_method": token, "confirm": True, "allowed_payment_method_types": ["card"]}
    )
    assert (intent.status == "requires_action") == set_up_asks
    paying = pay_on_session(account, token)
    assert (paying.status == "requires_action") == on_session_asks

    method = account.save_card(customer, token)
    if off_session == "succeeds":
        assert account.charge(customer, method).status == "succeeded"
        return
    with pytest.raises(stripe.CardError) as refused:
        account.charge(customer, method)
    assert refused.value.error is not None
    assert refused.value.error.decline_code == off_session


@pytest.mark.parametrize("token", ["pm_card_authenticationRequired", "pm_card_authenticationRequiredOnSetup"])
def test_off_session_without_a_set_up_needs_authentication(account: Account, token: str) -> None:
    customer = account.customer()
    method = account.v1.payment_methods.attach(token, {"customer": customer.id})
    with pytest.raises(stripe.CardError) as refused:
        account.charge(customer, method.id)
    assert refused.value.code == "authentication_required"


def test_1629_declines_after_authentication(account: Account) -> None:
    intent = pay_on_session(account, "pm_card_threeDSecureRequiredChargeDeclined")
    assert intent.status == "requires_action"
    authentication.answer(account.world, intent.id, "succeed")
    after = account.v1.payment_intents.retrieve(intent.id)
    assert after.status == "requires_payment_method"
    assert after.last_payment_error.code == "card_declined"


def test_1280_fails_in_the_lookup(account: Account) -> None:
    with pytest.raises(stripe.CardError) as refused:
        pay_on_session(account, "pm_card_threeDSecureRequiredProcessingError")
    assert refused.value.code == "card_declined"


def test_3d_secure_on_request(account: Account) -> None:
    asking = {"payment_method_options": {"card": {"request_three_d_secure": "any"}}}
    assert pay_on_session(account, "pm_card_threeDSecureOptional", **asking).status == "requires_action"
    assert pay_on_session(account, "pm_card_visa", **asking).status == "succeeded"
    with pytest.raises(stripe.CardError) as refused:
        pay_on_session(account, "pm_card_threeDSecureOptionalProcessingError", **asking)
    assert refused.value.code == "processing_error"


def test_failed_authentication_of_a_payment(account: Account) -> None:
    intent = pay_on_session(account, "pm_card_authenticationRequired")
    authentication.answer(account.world, intent.id, "fail")
    after = account.v1.payment_intents.retrieve(intent.id)
    assert after.status == "requires_payment_method"
    assert after.last_payment_error.code == "payment_intent_authentication_failure"
    assert after.last_payment_error.type == "invalid_request_error"
    assert after.latest_charge is None
    assert account.event_types()[-1] == "payment_intent.payment_failed"


def test_failed_authentication_of_a_set_up(account: Account) -> None:
    intent = account.v1.setup_intents.create(
        {
            "customer": account.customer().id,
            "payment_method": "pm_card_authenticationRequired",
            "confirm": True,
            "return_url": "https://example.com/back",
        }
    )
    assert intent.next_action.type == "redirect_to_url"
    assert intent.next_action.redirect_to_url.return_url == "https://example.com/back"
    authentication.answer(account.world, intent.id, "fail")
    after = account.v1.setup_intents.retrieve(intent.id, {"expand": ["latest_attempt"]})
    assert after.status == "requires_payment_method"
    assert after.last_setup_error.code == "setup_intent_authentication_failure"
    assert after.latest_attempt.status == "failed"
    assert account.event_types()[-1] == "setup_intent.setup_failed"


def test_error_on_requires_action(account: Account) -> None:
    with pytest.raises(stripe.CardError) as refused:
        pay_on_session(account, "pm_card_authenticationRequired", error_on_requires_action=True)
    assert refused.value.code == "authentication_required"
    assert refused.value.error is not None
    assert refused.value.error.payment_intent is not None
    assert refused.value.error.payment_intent.status == "requires_payment_method"


@pytest.mark.parametrize("token", ["pm_card_radarBlock", "pm_card_riskLevelHighest"])
def test_radar_blocks(account: Account, token: str) -> None:
    customer = account.customer()
    method = account.save_card(customer, token)
    with pytest.raises(stripe.CardError) as refused:
        account.charge(customer, method)
    error = refused.value.error
    assert error is not None
    assert error.decline_code == "fraudulent"
    charge = account.v1.charges.retrieve(error.charge)
    assert charge.outcome.type == "blocked"
    assert charge.outcome.network_status == "not_sent_to_network"
    assert charge.outcome.reason == "highest_risk_level"
    assert charge.outcome.risk_level == "highest"
    assert charge.outcome.risk_score >= 75
    assert charge.outcome.advice_code is None


def test_elevated_risk_is_reviewed(account: Account) -> None:
    customer = account.customer()
    method = account.save_card(customer, "pm_card_riskLevelElevated")
    intent = account.charge(customer, method, expand=["latest_charge", "review"])
    assert intent.status == "succeeded"
    assert isinstance(intent.latest_charge, stripe.Charge)
    assert intent.latest_charge.outcome is not None
    assert intent.latest_charge.outcome.type == "manual_review"
    assert intent.latest_charge.outcome.risk_level == "elevated"
    (review,) = account.v1.reviews.list().data
    assert review.open
    approved = account.v1.reviews.approve(review.id)
    assert (approved.open, approved.closed_reason) == (False, "approved")
    assert account.v1.reviews.list().data == []
    assert {"review.opened", "review.closed"} <= set(account.event_types())


def test_cards_of_many_countries(account: Account) -> None:
    german = account.v1.payment_methods.retrieve("pm_card_de")
    debit = account.v1.payment_methods.retrieve("pm_card_visa_debit")
    assert (german.card.country, german.card.last4) == ("DE", "0016")
    assert (debit.card.funding, debit.card.brand) == ("debit", "visa")
    assert BY_NAME["jcb"].country == "JP"


def test_a_raw_test_number(account: Account) -> None:
    card = {"number": "4242 4242 4242 4242", "exp_month": 12, "exp_year": 2034, "cvc": "123"}
    method = account.v1.payment_methods.create({"type": "card", "card": card})
    assert method.card.last4 == "4242"
    assert method.card.checks.cvc_check == "pass"
    same = account.v1.payment_methods.create({"type": "card", "card": {"token": "tok_visa"}})
    assert same.card.fingerprint == method.card.fingerprint
    assert "4242424242424242" not in repr(vars(account.world.payment_methods))


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"number": "4242424242424241"}, "incorrect_number", "number"),
        ({"number": "4111111111111111"}, "incorrect_number", "number"),
        ({"exp_month": 13}, "invalid_expiry_month", "exp_month"),
        ({"exp_year": 2020}, "invalid_expiry_year", "exp_year"),
        ({"cvc": "12"}, "invalid_cvc", "cvc"),
    ],
)
def test_an_unusable_number(account: Account, change: dict[str, Any], code: str, param: str) -> None:
    card = {"number": "4242424242424242", "exp_month": 12, "exp_year": 2034, "cvc": "123", **change}
    with pytest.raises(stripe.CardError) as refused:
        account.v1.payment_methods.create({"type": "card", "card": card})
    assert (refused.value.http_status, refused.value.code, refused.value.param) == (402, code, param)


def change(account: Account, method: str, **wanted: Any) -> None:
    with account.world.lock:
        actors.change_card(account.world, method, actors.CardChange(**wanted))


def test_a_card_can_change_its_ways(account: Account) -> None:
    customer = account.customer()
    method = account.save_card(customer, "pm_card_mastercard")
    change(account, method, behaviour="insufficient_funds", times=1, network_advice_code="02")
    with pytest.raises(stripe.CardError) as refused:
        account.charge(customer, method)
    assert refused.value.error is not None
    assert refused.value.error.decline_code == "insufficient_funds"
    assert refused.value.error.network_advice_code == "02"
    assert account.charge(customer, method).status == "succeeded"

    change(account, method, behaviour="expire")
    with pytest.raises(stripe.CardError) as refused:
        account.charge(customer, method)
    assert refused.value.code == "expired_card"
    change(account, method, behaviour="network_update", exp_month=5, exp_year=2039)
    assert account.charge(customer, method).status == "succeeded"
    assert account.v1.payment_methods.retrieve(method).card.exp_year == 2039
    assert account.event_types().count("payment_method.automatically_updated") == 2


def test_codes_that_nobody_has_heard_of(account: Account) -> None:
    customer = account.customer()
    method = account.save_card(customer, "pm_card_visa")
    change(account, method, behaviour="decline", decline_code="brand_new_reason", times=1)
    with pytest.raises(stripe.CardError) as refused:
        account.charge(customer, method)
    assert refused.value.error is not None
    assert (refused.value.code, refused.value.error.decline_code) == ("card_declined", "brand_new_reason")
    change(account, method, behaviour="radar_block", times=1)
    with pytest.raises(stripe.CardError) as refused:
        account.charge(customer, method, expand=["latest_charge"])
    assert refused.value.error is not None
    assert account.v1.charges.retrieve(refused.value.error.charge).outcome.type == "blocked"
    assert account.charge(customer, method).status == "succeeded"


def test_a_card_that_takes_its_time(account: Account) -> None:
    customer = account.customer()
    method = account.save_card(customer, "pm_card_visa")
    change(account, method, behaviour="processing", seconds=60, times=2)
    good = account.charge(customer, method)
    assert good.status == "processing"
    change(account, method, behaviour="processing", seconds=60, then="lost_card", times=1)
    bad = account.charge(customer, method, expand=["latest_charge"])
    assert isinstance(bad.latest_charge, stripe.Charge)
    assert bad.latest_charge.status == "pending"
    account.world.advance(61)
    assert account.v1.payment_intents.retrieve(good.id).status == "succeeded"
    failed = account.v1.payment_intents.retrieve(bad.id)
    assert failed.status == "requires_payment_method"
    assert failed.last_payment_error.decline_code == "lost_card"
    assert len(account.world.charges) == 2
    assert {"charge.pending", "payment_intent.processing", "charge.failed"} <= set(account.event_types())
