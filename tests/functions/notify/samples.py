"""A notification of each kind as `claim_notifications` hands it out, with what its cause writes into `data`."""

from typing import Any, Final

BOOKING_ID: Final = "5f0c5b6e-8a4f-4a53-9c1d-2f8e0f6f1a11"
CAMPAIGN_ID: Final = "0b8b0a44-9d4f-4b0e-a4a8-54b3b4d0c522"
APP_URL: Final = "https://app.example.com"

_DECLINED: Final = "This card was declined. Please contact your bank for more information, or choose another card."
_PAID: Final = {"amount_minor": 12500, "currency": "eur"}

DATA: Final[dict[str, dict[str, Any]]] = {
    "authentication_required": {
        "user_message": "Your bank asks you to confirm this payment before the booking can be made.",
        "expires_at": "2026-11-24T09:30:00+00:00",
    },
    "booking_authorized": _PAID,
    "booking_cancelled": _PAID | {"user_message": "You cancelled this booking. Nothing is charged."},
    "booking_confirmed": _PAID,
    "booking_failed": _PAID | {"user_message": _DECLINED, "campaign_paused": True},
    "booking_retrying": {
        "user_message": "There was not enough money on this card. A later attempt may work, or you can choose another.",
        "retry_at": "2026-11-23T07:05:00+00:00",
    },
    "booking_under_review": {},
    "campaign_completed": {},
    "campaign_expired": {},
    "campaign_paused": {"reason": "card_unusable"},
    "campaigns_stopped": {"count": 3},
    "card_expiring": {"payment_method_id": "b4b0c6e0-0000-4000-8000-000000000000", "exp_month": 4, "exp_year": 2027},
    "card_removed": {"payment_method_id": "b4b0c6e0-0000-4000-8000-000000000000"},
    "card_setup_failed": {"user_message": _DECLINED},
    "card_unusable": {"payment_method_id": "b4b0c6e0-0000-4000-8000-000000000000", "user_message": _DECLINED},
    "dispute_lost": {},
    "dispute_opened": _PAID,
    "dispute_won": {},
    "fraud_warning": {},
    "refund_failed": _PAID | {"amount_minor": 2500},
    "refund_issued": _PAID | {"amount_minor": 2500},
}
"""Every kind, and what SQL tells about it."""
_ABOUT_A_CARD: Final = frozenset({"card_expiring", "card_removed", "card_unusable"})
_ABOUT_A_CAMPAIGN: Final = frozenset({"campaign_completed", "campaign_expired", "campaign_paused"})
_ABOUT_A_USER: Final = frozenset({"campaigns_stopped", "card_setup_failed"})


def sample(kind: str, **changes: Any) -> dict[str, Any]:
    """A claimed notification of that kind; `changes` replace its columns."""
    about_booking = kind not in _ABOUT_A_CARD | _ABOUT_A_CAMPAIGN | _ABOUT_A_USER
    row: dict[str, Any] = {
        "id": "9a3f6f0e-52b1-4c83-8f4e-6f1de2b7c001",
        "try": 1,
        "kind": kind,
        "data": DATA.get(kind, {}),
        "created_at": "2026-11-23T03:04:05.123456+00:00",
        "email": "ada@example.com",
        "campaign": {"id": CAMPAIGN_ID, "title": "Lisbon in May"}
        if about_booking or kind in _ABOUT_A_CAMPAIGN
        else None,
        "booking": {"id": BOOKING_ID, "amount_minor": 12500, "currency": "eur"} if about_booking else None,
        "card": {"brand": "visa", "last4": "4242", "exp_month": 4, "exp_year": 2031}
        if about_booking or kind in _ABOUT_A_CARD
        else None,
        "exponent": 2 if about_booking else None,
    }
    return row | changes
