"""The errors that callers see: RFC 9457 problem documents with a stable `code`.

`CATALOGUE` is the whole list. SQL raises or answers with the same codes, and a test holds the two lists together.
"""

from typing import Any, Final, NamedTuple


class Kind(NamedTuple):
    """HTTP status and short title of a problem code."""

    status: int
    title: str


CATALOGUE: Final[dict[str, Kind]] = {
    "malformed_json": Kind(400, "The body is not JSON"),
    "missing_body": Kind(400, "A body is needed"),
    "invalid_signature": Kind(400, "The signature does not fit the body"),
    "unauthenticated": Kind(401, "Sign in first"),
    "invalid_token": Kind(401, "The access token is not valid"),
    "token_expired": Kind(401, "The access token has expired"),
    "machine_signature_invalid": Kind(401, "The machine signature is not valid"),
    "payment_failed": Kind(402, "The charge did not go through"),
    "forbidden": Kind(403, "Not allowed"),
    "not_found": Kind(404, "No such resource"),
    "campaign_not_found": Kind(404, "No such campaign"),
    "offer_not_found": Kind(404, "No such offer"),
    "booking_not_found": Kind(404, "No such booking"),
    "payment_method_not_found": Kind(404, "No such payment method"),
    "setup_intent_not_found": Kind(404, "No such SetupIntent"),
    "method_not_allowed": Kind(405, "The resource does not know this method"),
    "campaign_not_active": Kind(409, "The campaign is not active"),
    "criteria_mismatch": Kind(409, "The offer does not fit the campaign's criteria"),
    "over_budget": Kind(409, "The campaign's budget does not cover the offer"),
    "over_max_price": Kind(409, "The offer is dearer than the campaign allows"),
    "amount_below_minimum": Kind(409, "The amount cannot be charged in this currency"),
    "max_bookings_reached": Kind(409, "The campaign has all the bookings it may have"),
    "currency_mismatch": Kind(409, "The offer is in another currency than the campaign"),
    "offer_expired": Kind(409, "The offer has expired"),
    "no_usable_card": Kind(409, "No saved card can be charged"),
    "velocity_limit": Kind(409, "Too many bookings or cards in a short time"),
    "card_in_use": Kind(409, "A charge on this card is under way"),
    "card_unusable": Kind(409, "The card cannot be charged"),
    "default_is_no_backup": Kind(409, "The default card is not part of the backup chain"),
    "budget_below_committed": Kind(409, "The budget is below what is spent and reserved"),
    "booking_not_cancellable": Kind(409, "The booking cannot be cancelled any more"),
    "booking_not_authorized": Kind(409, "The booking holds no money to capture or release"),
    "booking_not_refundable": Kind(409, "The booking has no payment to give back"),
    "dispute_open": Kind(409, "A payment is disputed; campaigns rest until that is settled"),
    "payments_under_way": Kind(409, "Payments, refunds or disputes are still under way"),
    "booking_under_review": Kind(409, "The payment is under review"),
    "already_captured": Kind(409, "The hold was captured with another amount"),
    "refund_exceeds_charge": Kind(409, "More than is left of the charge cannot be refunded"),
    "not_awaiting_authentication": Kind(409, "The booking does not wait for its cardholder"),
    "idempotency_key_reused": Kind(409, "The Idempotency-Key was used for another request"),
    "body_too_large": Kind(413, "The body is too large"),
    "unsupported_media_type": Kind(415, "The body must be application/json"),
    "invalid_request": Kind(422, "The request does not have the right form"),
    "unknown_currency": Kind(422, "A currency that cannot be charged"),
    "unknown_payment_method": Kind(422, "The payment method is not one of the caller's"),
    "amount_too_large": Kind(422, "The amount is above what is held"),
    "unknown_action": Kind(422, "No such action"),
    "internal_error": Kind(500, "Something went wrong on our side"),
    "event_not_applied": Kind(500, "The event is stored but could not be applied yet"),
    "payment_provider_refused": Kind(502, "The payment provider refused our request"),
    "database_unavailable": Kind(503, "The database cannot be reached"),
    "payment_provider_unavailable": Kind(503, "The payment provider cannot be reached"),
}


class Problem(Exception):
    """An answer that is an error, ready to be sent.

    Takes a code of `CATALOGUE`, what happened in this case (`detail`, no secrets, no personal data), and where a human
    will read it a `user_message`. Further members go into the document as they are.
    """

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        user_message: str | None = None,
        headers: dict[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(code)
        self.code = code
        self.kind = CATALOGUE[code]
        self.detail = detail or self.kind.title
        self.user_message = user_message
        self.headers = headers or {}
        self.members = members

    def document(self) -> dict[str, Any]:
        """The problem document of RFC 9457, section 3."""
        document: dict[str, Any] = {
            "type": f"urn:autobook:problem:{self.code}",
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
            "code": self.code,
        }
        if self.user_message is not None:
            document["user_message"] = self.user_message
        return document | self.members
