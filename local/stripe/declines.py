"""How issuers say no: Stripe's error and decline codes with their messages and advice.

Codes: https://docs.stripe.com/declines/codes. Advice codes (``try_again_later``, ``do_not_try_again``,
``confirm_card_data``): https://docs.stripe.com/declines/card#retrying-issuer-declines. ``network_decline_code`` is
the ISO 8583 response code that Visa uses for the same reason; ``network_advice_code`` is Mastercard's merchant advice
code, so it is empty for the test cards, which are Visa's, unless a test sets it.
"""

from __future__ import annotations

from dataclasses import dataclass

_DECLINED = "Your card was declined."


@dataclass(frozen=True)
class Decline:
    """One way in which a card payment fails."""

    code: str
    decline_code: str | None
    message: str
    advice_code: str | None = None
    network_decline_code: str | None = None
    network_advice_code: str | None = None

    @property
    def reason(self) -> str:
        """``charge.outcome.reason``."""
        return self.decline_code or self.code


def _issuer(decline_code: str, advice: str | None, network: str | None, message: str = _DECLINED) -> Decline:
    return Decline("card_declined", decline_code, message, advice, network)


_LATER, _NEVER, _CHECK = "try_again_later", "do_not_try_again", "confirm_card_data"

DECLINES: dict[str, Decline] = {
    # Stripe documents no advice for the cards that decline for no stated reason, so none is made up here.
    "generic_decline": _issuer("generic_decline", None, "05"),
    "insufficient_funds": _issuer("insufficient_funds", _LATER, "51", "Your card has insufficient funds."),
    "lost_card": _issuer("lost_card", _NEVER, "41"),
    "stolen_card": _issuer("stolen_card", _NEVER, "43"),
    "card_velocity_exceeded": _issuer(
        "card_velocity_exceeded",
        _LATER,
        "61",
        "Your card was declined for making repeated attempts too frequently or exceeding its amount limit.",
    ),
    "fraudulent": _issuer("fraudulent", _NEVER, "59"),
    "do_not_honor": _issuer("do_not_honor", None, "05"),
    "do_not_try_again": _issuer("do_not_try_again", _NEVER, "R0"),
    "call_issuer": _issuer("call_issuer", None, "01"),
    "pickup_card": _issuer("pickup_card", _NEVER, "04"),
    "restricted_card": _issuer("restricted_card", _NEVER, "62"),
    "transaction_not_allowed": _issuer("transaction_not_allowed", _NEVER, "57"),
    "card_not_supported": Decline(
        "card_declined", "card_not_supported", "Your card does not support this type of purchase.", _NEVER, "57"
    ),
    "currency_not_supported": _issuer("currency_not_supported", None, "57"),
    "duplicate_transaction": _issuer("duplicate_transaction", None, "94"),
    "invalid_account": _issuer("invalid_account", _NEVER, "14"),
    "invalid_amount": _issuer("invalid_amount", None, "13"),
    "issuer_not_available": _issuer("issuer_not_available", _LATER, "91"),
    "new_account_information_available": _issuer("new_account_information_available", _CHECK, "54"),
    "no_action_taken": _issuer("no_action_taken", _LATER, "21"),
    "not_permitted": _issuer("not_permitted", _NEVER, "57"),
    "reenter_transaction": _issuer("reenter_transaction", _LATER, "19"),
    "revocation_of_all_authorizations": _issuer("revocation_of_all_authorizations", _NEVER, "R1"),
    "revocation_of_authorization": _issuer("revocation_of_authorization", _NEVER, "R0"),
    "security_violation": _issuer("security_violation", _NEVER, "63"),
    "service_not_allowed": _issuer("service_not_allowed", _NEVER, "57"),
    "stop_payment_order": _issuer("stop_payment_order", _NEVER, "R0"),
    "try_again_later": _issuer("try_again_later", _LATER, "91"),
    "withdrawal_count_limit_exceeded": _issuer("withdrawal_count_limit_exceeded", _LATER, "65"),
    "merchant_blacklist": _issuer("merchant_blacklist", _NEVER, None),
    "approve_with_id": _issuer("approve_with_id", _LATER, "08"),
    # With both advices, as the example in https://docs.stripe.com/declines has them.
    "expired_card": Decline("expired_card", "expired_card", "Your card has expired.", _CHECK, "54", "03"),
    "incorrect_cvc": Decline("incorrect_cvc", "incorrect_cvc", "Your card's security code is incorrect.", _CHECK, "N7"),
    "incorrect_zip": Decline(
        "incorrect_zip", "incorrect_zip", "The zip code you supplied failed validation.", _CHECK, None
    ),
    "processing_error": Decline(
        "processing_error",
        "processing_error",
        "An error occurred while processing your card. Try again in a little bit.",
        _LATER,
        "96",
    ),
    # "Your card was declined. This transaction requires authentication.": the 402 of an off-session payment.
    "authentication_required": Decline(
        "authentication_required",
        "authentication_required",
        "Your card was declined. This transaction requires authentication.",
        None,
        "1A",
    ),
}
