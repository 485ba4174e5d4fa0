"""What the cardholder reads of a decline: well-formed, true of the reason, and giving no secret away."""

import itertools
import re

import pytest

from functions.shared import decline_table
from functions.shared.decline_error_codes import ERROR_CODES
from functions.shared.declines import DeclineCategory, classify
from tests.functions.shared import stripe_codes
from tests.functions.shared.sentences import is_well_formed

GENERIC_SENTENCE = classify(decline_code="generic_decline").user_message


def everything_they_may_read() -> set[str]:
    """The sentence of every code alone, and of every two codes that can come together."""
    advice = [*decline_table.ADVICE_CODES, None]
    network = [*decline_table.MERCHANT_ADVICE_CODES, None]
    decline_codes = [*decline_table.DECLINE_CODES, None]
    codes = [*ERROR_CODES, "amount_too_small", None]
    sentences = {classify(outcome_type="blocked", outcome_reason=each).user_message for each in radar_reasons()}
    for first, second, third in itertools.product(advice, network, decline_codes):
        found = classify(advice_code=first, network_advice_code=second, decline_code=third, code="card_declined")
        sentences.add(found.user_message)
    for first, second, third in itertools.product(advice, network, codes):
        sentences.add(classify(advice_code=first, network_advice_code=second, code=third).user_message)
    return sentences


def radar_reasons() -> list[str]:
    return [*decline_table.RADAR_REASONS, "unheard_of"]


SENTENCES = sorted(everything_they_may_read())


@pytest.mark.parametrize("sentence", SENTENCES)
def test_sentences_are_well_formed(sentence: str) -> None:
    assert is_well_formed(sentence)
    assert "_" not in sentence, "no code of ours or Stripe's"


@pytest.mark.parametrize("sentence", SENTENCES)
def test_sentences_give_no_secret_away_and_accuse_nobody(sentence: str) -> None:
    leaks = r"\b(lost|stolen|theft|fraud\w*|pick(ed)?.?up|suspic\w*|suspect\w*|risk\w*|sanction\w*|radar|blacklist)"
    assert not re.search(leaks, sentence, re.IGNORECASE)
    assert not re.search(r"\b(you (failed|forgot)|your fault|invalid request)", sentence, re.IGNORECASE)


def test_sentences_hope_for_a_later_attempt_only_where_one_may_follow() -> None:
    for advice, decline_code in itertools.product(decline_table.ADVICE_CODES, decline_table.DECLINE_CODES):
        decline = classify(advice_code=advice, decline_code=decline_code)
        hopeful = "later attempt may work" in decline.user_message
        assert hopeful == (decline.category is DeclineCategory.RETRY_LATER), (advice, decline_code)


@pytest.mark.parametrize("sentence", SENTENCES)
def test_sentences_promise_nothing_of_ours(sentence: str) -> None:
    assert not re.search(r"\bwe (will|shall|may|can)\b", sentence, re.IGNORECASE)


def test_the_sentence_tells_the_specific_reason_under_a_general_advice() -> None:
    expired = classify(advice_code="confirm_card_data", decline_code="expired_card").user_message
    assert expired == classify(decline_code="expired_card").user_message
    funds = classify(advice_code="try_again_later", decline_code="insufficient_funds", code="card_declined")
    assert "not enough money" in funds.user_message
    assert "A later attempt may work" in funds.user_message
    both = classify(advice_code="try_again_later", decline_code="card_velocity_exceeded", code="processing_error")
    assert "limit" in both.user_message


def test_the_sentence_is_the_advices_own_where_the_code_says_nothing() -> None:
    alone = classify(advice_code="confirm_card_data").user_message
    together = classify(advice_code="confirm_card_data", decline_code="generic_decline", code="card_declined")
    assert together.user_message == alone


def test_the_sentence_to_authenticate_speaks_of_nothing_else() -> None:
    decline = classify(decline_code="insufficient_funds", code="authentication_required")
    assert decline.user_message == classify(code="authentication_required").user_message


def test_a_sanction_can_not_be_told_from_a_generic_decline() -> None:
    decline = classify(advice_code="do_not_try_again", network_advice_code="42", decline_code="do_not_honor")
    assert (decline.is_fraud, decline.user_message) == (True, GENERIC_SENTENCE)


@pytest.mark.parametrize("code", sorted(stripe_codes.FRAUD_DECLINE_CODES))
def test_a_fraud_reason_can_not_be_told_from_a_generic_decline(code: str) -> None:
    decline = classify(decline_code=code, code="card_declined")
    generic = classify(decline_code="generic_decline", code="card_declined")
    assert decline.is_fraud
    assert (decline.user_message, decline.public_code) == (generic.user_message, generic.public_code)
