"""What a decline means: the table against Stripe's lists, the order of the fields, and what must hold for any input."""

import subprocess
import sys
import typing
from pathlib import Path
from typing import Any

import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as st

from functions.shared import decline_table
from functions.shared.decline_error_codes import ERROR_CODES, OUR_BUG_CODES
from functions.shared.declines import Decline, DeclineCategory, classify
from tests.functions.shared import stripe_codes
from tests.functions.shared.sentences import is_well_formed

ROOT = Path(__file__).parents[3]
ALL_RULES = {**decline_table.MERCHANT_ADVICE_CODES, **ERROR_CODES, **decline_table.DECLINE_CODES}
GENERIC_SENTENCE = classify(decline_code="generic_decline").user_message
FALLBACK_ORDER = ("advice_code", "network_advice_code", "decline_code", "code")


def literals(annotation: Any) -> set[str]:
    """Every string of the Literals inside an annotation."""
    found: set[str] = set()
    for argument in typing.get_args(annotation):
        found |= {argument} if isinstance(argument, str) else literals(argument)
    return found


SDK_ERROR_CODES = literals(stripe.PaymentIntent.LastPaymentError.__annotations__["code"])
SDK_ADVICE_CODES = literals(stripe.Charge.Outcome.__annotations__["advice_code"])


# --- the tables are complete --------------------------------------------------------------------------------


def test_every_documented_card_decline_code_is_known() -> None:
    assert set(decline_table.CARD_DECLINE_CODES) == stripe_codes.CARD_DECLINE_CODES


def test_every_documented_local_decline_code_is_known() -> None:
    assert set(decline_table.DECLINE_CODES) >= stripe_codes.LOCAL_DECLINE_CODES


def test_every_advice_code_of_the_sdk_is_known() -> None:
    assert set(decline_table.ADVICE_CODES) == SDK_ADVICE_CODES


def test_every_merchant_advice_code_is_known() -> None:
    assert set(decline_table.MERCHANT_ADVICE_CODES) == stripe_codes.MERCHANT_ADVICE_CODES


def test_every_documented_radar_reason_is_known() -> None:
    assert set(decline_table.RADAR_REASONS) >= stripe_codes.RADAR_REASONS


def test_every_error_code_of_the_sdk_is_known() -> None:
    assert len(SDK_ERROR_CODES) > 200
    assert set(ERROR_CODES) | OUR_BUG_CODES == SDK_ERROR_CODES


def test_no_error_code_is_in_two_tables() -> None:
    assert not set(ERROR_CODES) & OUR_BUG_CODES


@pytest.mark.parametrize("code", sorted(stripe_codes.HARD_DECLINE_CODES))
def test_hard_declines_are_never_retried_on_the_same_card(code: str) -> None:
    decline = classify(advice_code="try_again_later", decline_code=code, code="card_declined")
    assert decline.category is not DeclineCategory.RETRY_LATER


@pytest.mark.parametrize(("code", "hours"), stripe_codes.MERCHANT_ADVICE_WAITS_HOURS.items())
def test_mastercard_prescribes_the_wait(code: str, hours: int) -> None:
    decline = classify(network_advice_code=code, decline_code="insufficient_funds", code="card_declined")
    assert decline.category is DeclineCategory.RETRY_LATER
    assert decline.retry_after_seconds == hours * 3600


# --- which field decides ------------------------------------------------------------------------------------

ONE_FIELD: list[tuple[dict[str, str], DeclineCategory]] = [
    ({"outcome_type": "blocked", "outcome_reason": "highest_risk_level"}, DeclineCategory.NEVER),
    ({"outcome_type": "blocked", "outcome_reason": "rule"}, DeclineCategory.NEVER),
    ({"outcome_type": "blocked"}, DeclineCategory.NEVER),
    (
        {"outcome_type": "blocked", "outcome_reason": "low_probability_of_authorization"},
        DeclineCategory.OTHER_CARD,
    ),
    ({"advice_code": "try_again_later"}, DeclineCategory.RETRY_LATER),
    ({"advice_code": "do_not_try_again"}, DeclineCategory.NEVER),
    ({"advice_code": "confirm_card_data"}, DeclineCategory.UPDATE_CARD),
    ({"network_advice_code": "02"}, DeclineCategory.RETRY_LATER),
    ({"network_advice_code": "03"}, DeclineCategory.NEVER),
    ({"network_advice_code": "1"}, DeclineCategory.UPDATE_CARD),
    ({"decline_code": "insufficient_funds"}, DeclineCategory.OTHER_CARD),
    ({"decline_code": "authentication_required"}, DeclineCategory.USER_ACTION),
    ({"decline_code": "duplicate_transaction"}, DeclineCategory.STOP),
    ({"decline_code": "issuer_not_available"}, DeclineCategory.RETRY_LATER),
    ({"decline_code": "lost_card"}, DeclineCategory.NEVER),
    ({"code": "card_declined"}, DeclineCategory.OTHER_CARD),
    ({"code": "expired_card"}, DeclineCategory.UPDATE_CARD),
    ({"code": "incorrect_cvc"}, DeclineCategory.UPDATE_CARD),
    ({"code": "incorrect_number"}, DeclineCategory.UPDATE_CARD),
    ({"code": "processing_error"}, DeclineCategory.RETRY_LATER),
    ({"code": "authentication_required"}, DeclineCategory.USER_ACTION),
    ({"code": "payment_intent_authentication_failure"}, DeclineCategory.USER_ACTION),
    ({"code": "payment_intent_unexpected_state"}, DeclineCategory.STOP),
    ({"code": "rate_limit"}, DeclineCategory.RETRY_LATER),
    ({"code": "amount_too_small"}, DeclineCategory.OUR_BUG),
    ({"code": "parameter_missing"}, DeclineCategory.OUR_BUG),
    ({"code": "resource_missing"}, DeclineCategory.OUR_BUG),
    ({"code": "api_key_expired"}, DeclineCategory.OUR_BUG),
]


@pytest.mark.parametrize(("fields", "category"), ONE_FIELD)
def test_one_field_alone_decides(fields: dict[str, str], category: DeclineCategory) -> None:
    decline = classify(**fields)
    assert (decline.category, decline.is_known) == (category, True)


# What decides when several fields speak: (fields, category, source, code)
PRECEDENCE: list[tuple[dict[str, str], DeclineCategory, str, str]] = [
    # the order of the design
    (
        {"outcome_type": "blocked", "outcome_reason": "low_probability_of_authorization", "code": "card_declined"},
        DeclineCategory.OTHER_CARD,
        "outcome",
        "low_probability_of_authorization",
    ),
    (
        {"advice_code": "try_again_later", "network_advice_code": "01", "decline_code": "generic_decline"},
        DeclineCategory.UPDATE_CARD,
        "network_advice_code",
        "01",
    ),
    (
        {"advice_code": "try_again_later", "decline_code": "insufficient_funds", "code": "card_declined"},
        DeclineCategory.RETRY_LATER,
        "advice_code",
        "try_again_later",
    ),
    (
        {"advice_code": "do_not_try_again", "decline_code": "insufficient_funds", "code": "card_declined"},
        DeclineCategory.NEVER,
        "advice_code",
        "do_not_try_again",
    ),
    (
        {"network_advice_code": "24", "decline_code": "do_not_honor", "code": "card_declined"},
        DeclineCategory.RETRY_LATER,
        "network_advice_code",
        "24",
    ),
    (
        {"decline_code": "expired_card", "code": "card_declined"},
        DeclineCategory.UPDATE_CARD,
        "decline_code",
        "expired_card",
    ),
    # Stripe's own example of an expired card (https://docs.stripe.com/declines)
    (
        {"advice_code": "confirm_card_data", "network_advice_code": "03", "decline_code": "expired_card"},
        DeclineCategory.UPDATE_CARD,
        "advice_code",
        "confirm_card_data",
    ),
    # authentication beats every advice
    (
        {"advice_code": "do_not_try_again", "decline_code": "authentication_required", "code": "card_declined"},
        DeclineCategory.USER_ACTION,
        "decline_code",
        "authentication_required",
    ),
    (
        {"advice_code": "try_again_later", "code": "authentication_required"},
        DeclineCategory.USER_ACTION,
        "code",
        "authentication_required",
    ),
    # a duplicate is never charged again
    (
        {"advice_code": "try_again_later", "decline_code": "duplicate_transaction", "code": "card_declined"},
        DeclineCategory.STOP,
        "decline_code",
        "duplicate_transaction",
    ),
    # a fraud reason beats every advice
    (
        {"advice_code": "try_again_later", "decline_code": "lost_card", "code": "card_declined"},
        DeclineCategory.NEVER,
        "decline_code",
        "lost_card",
    ),
    (
        {"advice_code": "confirm_card_data", "decline_code": "stolen_card", "code": "card_declined"},
        DeclineCategory.NEVER,
        "decline_code",
        "stolen_card",
    ),
    (
        {"advice_code": "do_not_try_again", "decline_code": "lost_card", "code": "card_declined"},
        DeclineCategory.NEVER,
        "decline_code",
        "lost_card",
    ),
    (
        {"advice_code": "confirm_card_data", "network_advice_code": "42", "decline_code": "do_not_honor"},
        DeclineCategory.NEVER,
        "network_advice_code",
        "42",
    ),
    # "do not try again" beats "try again later" and "correct the card"
    (
        {"network_advice_code": "03", "decline_code": "stop_payment_order", "code": "card_declined"},
        DeclineCategory.NEVER,
        "network_advice_code",
        "03",
    ),
    (
        {"advice_code": "try_again_later", "network_advice_code": "03", "decline_code": "generic_decline"},
        DeclineCategory.NEVER,
        "network_advice_code",
        "03",
    ),
    (
        {"advice_code": "confirm_card_data", "decline_code": "revocation_of_authorization"},
        DeclineCategory.NEVER,
        "decline_code",
        "revocation_of_authorization",
    ),
    (
        {
            "outcome_type": "blocked",
            "outcome_reason": "low_probability_of_authorization",
            "advice_code": "do_not_try_again",
        },
        DeclineCategory.NEVER,
        "advice_code",
        "do_not_try_again",
    ),
    # waiting does not renew a card
    (
        {"advice_code": "try_again_later", "decline_code": "expired_card", "code": "expired_card"},
        DeclineCategory.UPDATE_CARD,
        "decline_code",
        "expired_card",
    ),
    # a Charge tells the issuer's code as its outcome's reason
    (
        {"outcome_type": "issuer_declined", "outcome_reason": "stolen_card", "code": "card_declined"},
        DeclineCategory.NEVER,
        "decline_code",
        "stolen_card",
    ),
    # values that no table knows are passed over
    (
        {"network_advice_code": "99", "decline_code": "expired_card", "code": "card_declined"},
        DeclineCategory.UPDATE_CARD,
        "decline_code",
        "expired_card",
    ),
]


@pytest.mark.parametrize(("fields", "category", "source", "code"), PRECEDENCE)
def test_which_field_decides(fields: dict[str, str], category: DeclineCategory, source: str, code: str) -> None:
    decline = classify(**fields)
    assert (decline.category, decline.source, decline.code) == (category, source, code)


@pytest.mark.parametrize("network", ["visa", "Visa"])
def test_visa_means_something_else_by_its_codes(network: str) -> None:
    assert classify(network_advice_code="03", network=network).category is DeclineCategory.UPDATE_CARD
    assert classify(network_advice_code="01", network=network).blocks_card
    assert classify(network_advice_code="03", network="mastercard").blocks_card


def test_the_longest_wait_counts() -> None:
    decline = classify(advice_code="try_again_later", network_advice_code="26", decline_code="do_not_honor")
    assert (decline.source, decline.retry_after_seconds) == ("advice_code", 2 * 86_400)
    assert classify(code="card_decline_rate_limit_exceeded").retry_after_seconds == 86_400
    for network_code in ("24", "25"):
        longest = classify(network_advice_code=network_code, code="card_decline_rate_limit_exceeded")
        assert longest.retry_after_seconds == 86_400


def test_a_prohibition_of_the_advice_bars_the_card() -> None:
    assert classify(advice_code="do_not_try_again", decline_code="do_not_honor").blocks_card
    assert not classify(advice_code="do_not_try_again", decline_code="duplicate_transaction").blocks_card
    assert classify(decline_code="lost_card", code="idempotency_key_in_use").blocks_card
    assert not classify(advice_code="confirm_card_data", network_advice_code="03").blocks_card


def test_a_radar_rule_does_not_bar_the_card_for_good() -> None:
    decline = classify(outcome_type="blocked", outcome_reason="rule")
    assert (decline.is_fraud, decline.blocks_card, decline.allows_other_card) == (True, False, False)


@pytest.mark.parametrize(
    ("fields", "unknown"),
    [
        ({"decline_code": "brand_new"}, ("decline_code=brand_new",)),
        ({"code": "brand_new", "decline_code": "do_not_honor"}, ("code=brand_new",)),
        ({"advice_code": "x", "network_advice_code": "99"}, ("advice_code=x", "network_advice_code=99")),
        ({"outcome_type": "blocked", "outcome_reason": "new_model"}, ("outcome=new_model",)),
    ],
)
def test_unknown_values_are_told(fields: dict[str, str], unknown: tuple[str, ...]) -> None:
    decline = classify(**fields)
    assert not decline.is_known
    assert decline.unknown_codes == unknown


def test_an_unknown_decline_tries_the_next_card_with_a_generic_sentence() -> None:
    decline = classify(decline_code="brand_new", code="also_new")
    assert decline == Decline(
        code="brand_new",
        source="unknown",
        category=DeclineCategory.OTHER_CARD,
        user_message=GENERIC_SENTENCE,
        is_fraud=False,
        is_known=False,
        blocks_card=False,
        unknown_codes=("decline_code=brand_new", "code=also_new"),
    )
    assert decline.allows_other_card


def test_an_unknown_radar_reason_is_fraud() -> None:
    decline = classify(outcome_type="blocked", outcome_reason="new_model")
    assert (decline.category, decline.is_fraud) == (DeclineCategory.NEVER, True)


def test_the_highest_risk_is_a_block_even_where_the_type_is_missing() -> None:
    decline = classify(outcome_reason="highest_risk_level", decline_code="generic_decline")
    assert (decline.source, decline.is_fraud) == ("outcome", True)
    assert not classify(outcome_type="issuer_declined", outcome_reason="generic_decline").is_fraud


def test_nothing_at_all_is_unknown() -> None:
    decline = classify(advice_code="", code="  ")
    assert (decline.code, decline.source, decline.is_known) == ("none", "unknown", False)


def test_case_and_space_do_not_matter() -> None:
    assert classify(decline_code=" Lost_Card ") == classify(decline_code="lost_card")


def test_our_bug_tries_no_other_card() -> None:
    assert not classify(code="livemode_mismatch").allows_other_card


# --- for any input ------------------------------------------------------------------------------------------

KNOWN: dict[str, list[str]] = {
    "outcome_type": ["authorized", "blocked", "invalid", "issuer_declined", "manual_review"],
    "outcome_reason": [*decline_table.RADAR_REASONS, *decline_table.DECLINE_CODES],
    "advice_code": list(decline_table.ADVICE_CODES),
    "network_advice_code": list(decline_table.MERCHANT_ADVICE_CODES),
    "decline_code": list(decline_table.DECLINE_CODES),
    "code": [*ERROR_CODES, *OUR_BUG_CODES, *decline_table.DECLINE_CODES],
    "network": ["amex", "mastercard", "visa"],
}


def anything() -> st.SearchStrategy[dict[str, str | None]]:
    return st.fixed_dictionaries(
        {field: st.none() | st.sampled_from(known) | st.text(max_size=120) for field, known in KNOWN.items()}
    )


def known_things() -> st.SearchStrategy[dict[str, str | None]]:
    return st.fixed_dictionaries({field: st.none() | st.sampled_from(known) for field, known in KNOWN.items()})


@given(anything())
def test_no_string_raises_and_every_answer_is_whole(fields: dict[str, str | None]) -> None:
    decline = classify(**fields)
    assert is_well_formed(decline.user_message)
    assert decline.is_known == (not decline.unknown_codes and decline.source != "unknown")
    assert decline.retry_after_seconds is None or decline.category is DeclineCategory.RETRY_LATER
    assert classify(**fields) == decline


@given(
    known_things(), st.sampled_from(sorted(stripe_codes.FRAUD_DECLINE_CODES)), st.sampled_from(["decline_code", "code"])
)
def test_fraud_never_falls_back_to_another_card(fields: dict[str, str | None], reason: str, field: str) -> None:
    decline = classify(**{**fields, field: reason})
    assert decline.is_fraud
    assert not decline.allows_other_card
    assert decline.category in {DeclineCategory.NEVER, DeclineCategory.USER_ACTION, DeclineCategory.STOP}
    assert (decline.user_message, decline.public_code) == (GENERIC_SENTENCE, "generic_decline")


@given(known_things(), st.sampled_from(["highest_risk_level", "rule", "elevated_risk_level", None]))
def test_a_radar_block_never_falls_back_to_another_card(fields: dict[str, str | None], reason: str | None) -> None:
    decline = classify(**{**fields, "outcome_type": "blocked", "outcome_reason": reason})
    assert decline.is_fraud
    assert not decline.allows_other_card
    assert decline.user_message == GENERIC_SENTENCE


@given(known_things(), st.sampled_from(["decline_code", "code"]))
def test_authentication_is_always_for_the_cardholder(fields: dict[str, str | None], field: str) -> None:
    decline = classify(**{**fields, field: "authentication_required"})
    assert decline.category is DeclineCategory.USER_ACTION
    assert not decline.blocks_card


@given(known_things())
def test_a_card_that_may_be_retried_is_one_that_nobody_barred(fields: dict[str, str | None]) -> None:
    decline = classify(**fields)
    excused = {DeclineCategory.USER_ACTION, DeclineCategory.STOP}
    if fields["advice_code"] == "do_not_try_again" and decline.category not in excused:
        assert decline.blocks_card
    if decline.category is DeclineCategory.RETRY_LATER:
        assert not decline.blocks_card
        assert fields["network_advice_code"] != "03" or fields["network"] == "visa"


@given(known_things())
def test_only_the_documented_rules_break_the_order(fields: dict[str, str | None]) -> None:
    """The first field decides, unless another asks to authenticate, to stop, for caution or for peace."""
    spoken = {field: fields[field] for field in FALLBACK_ORDER if fields[field] is not None}
    decline = classify(**spoken)
    if spoken and decline.source != next(iter(spoken)):
        alone = classify(**{decline.source: decline.code})
        assert (
            alone.category in {DeclineCategory.USER_ACTION, DeclineCategory.STOP}
            or alone.is_fraud
            or alone.blocks_card
            or ALL_RULES[decline.code].no_retry
        )


# --- the cold start -----------------------------------------------------------------------------------------


def test_only_the_standard_library_is_imported() -> None:
    """Without site-packages (-S) the module still imports."""
    program = "import functions.shared.declines as d; print(d.classify(code='card_declined').category)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "other_card"), done.stderr
