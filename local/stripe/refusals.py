"""402 answers: Stripe's ``card_error`` bodies (https://docs.stripe.com/error-handling#payment-errors)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from local.stripe.errors import StripeFault, doc_url

if TYPE_CHECKING:
    from local.stripe.declines import Decline
    from local.stripe.kinds import Json


def error_fields(decline: Decline, *, charge: str | None, payment_method: Json | None) -> Json:
    """The fields of a decline as ``last_payment_error``, ``last_setup_error`` and an error body share them."""
    fields: Json = {
        "advice_code": decline.advice_code,
        "charge": charge,
        "code": decline.code,
        "decline_code": decline.decline_code,
        "doc_url": doc_url(decline.code),
        "message": decline.message,
        "network_advice_code": decline.network_advice_code,
        "network_decline_code": decline.network_decline_code,
        "param": {"incorrect_cvc": "cvc", "expired_card": "exp_month"}.get(decline.code),
        "payment_method": payment_method,
        "type": "card_error",
    }
    return {key: value for key, value in fields.items() if value is not None}


def card_error(
    decline: Decline,
    *,
    charge: str | None = None,
    payment_method: Json | None = None,
    payment_intent: Json | None = None,
    setup_intent: Json | None = None,
) -> StripeFault:
    """The 402 for a decline, with the whole intent in it."""
    fields = error_fields(decline, charge=charge, payment_method=payment_method)
    if payment_intent is not None:
        fields["payment_intent"] = payment_intent
    if setup_intent is not None:
        fields["setup_intent"] = setup_intent
    return StripeFault(decline.message, status=402, kind="card_error", extra=fields)
