"""The state machines as Python knows them; SQL holds them (sql/0002_types.sql) and a test compares the two."""

from enum import StrEnum


class BookingStatus(StrEnum):
    """Where a booking stands; docs/state-machines.md draws it."""

    CHARGING = "charging"
    REQUIRES_ACTION = "requires_action"
    RETRY_SCHEDULED = "retry_scheduled"
    AUTHORIZED = "authorized"
    CONFIRMED = "confirmed"
    REFUNDED = "refunded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class AttemptStatus(StrEnum):
    """How one try to charge one card went. STARTED means: Stripe may or may not have heard of it."""

    STARTED = "started"
    PROCESSING = "processing"
    REQUIRES_ACTION = "requires_action"
    AUTHORIZED = "authorized"
    SUCCEEDED = "succeeded"
    DECLINED = "declined"
    REJECTED = "rejected"
    VOIDED = "voided"


class CampaignStatus(StrEnum):
    """Whether a campaign may charge."""

    ACTIVE = "active"
    PAUSED = "paused"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class PauseReason(StrEnum):
    """Why a campaign does not charge for now."""

    USER = "user"
    PAYMENT_FAILED = "payment_failed"
    CARD_UNUSABLE = "card_unusable"
    DISPUTE = "dispute"
    FRAUD_WARNING = "fraud_warning"
    KILL_SWITCH = "kill_switch"


class CaptureMode(StrEnum):
    """automatic: take the money at once; manual: hold it until fulfilment captures or voids."""

    AUTOMATIC = "automatic"
    MANUAL = "manual"


class HoldEnd(StrEnum):
    """With manual capture: what happens to a hold that fulfilment has left alone until it ends."""

    VOID = "void"
    CAPTURE = "capture"


class PaymentMethodStatus(StrEnum):
    """Whether a card may be charged."""

    USABLE = "usable"
    UNUSABLE = "unusable"
    DETACHING = "detaching"
    DETACHED = "detached"


class Verdict(StrEnum):
    """What was decided about an offer for a campaign; all but MATCHED are problem codes of a refused charge."""

    MATCHED = "matched"
    CAMPAIGN_NOT_ACTIVE = "campaign_not_active"
    OFFER_EXPIRED = "offer_expired"
    CRITERIA_MISMATCH = "criteria_mismatch"
    CURRENCY_MISMATCH = "currency_mismatch"
    OVER_MAX_PRICE = "over_max_price"
    AMOUNT_BELOW_MINIMUM = "amount_below_minimum"
    OVER_BUDGET = "over_budget"
    MAX_BOOKINGS_REACHED = "max_bookings_reached"
    VELOCITY_LIMIT = "velocity_limit"
    NO_USABLE_CARD = "no_usable_card"


class MatchState(StrEnum):
    """What became of a match; WAITING is an outbox row that is owed a charge."""

    NOTED = "noted"
    WAITING = "waiting"
    CHARGED = "charged"
    REFUSED = "refused"


_B = BookingStatus
_A = AttemptStatus
_C = CampaignStatus
_P = PaymentMethodStatus

MOVES: dict[str, dict[StrEnum, frozenset[StrEnum]]] = {
    "bookings": {
        _B.CHARGING: frozenset(
            {_B.CONFIRMED, _B.AUTHORIZED, _B.REQUIRES_ACTION, _B.RETRY_SCHEDULED, _B.FAILED, _B.CANCELLED}
        ),
        _B.AUTHORIZED: frozenset({_B.CONFIRMED, _B.CANCELLED, _B.FAILED}),
        _B.REQUIRES_ACTION: frozenset({_B.CHARGING, _B.AUTHORIZED, _B.CONFIRMED, _B.FAILED, _B.CANCELLED}),
        _B.RETRY_SCHEDULED: frozenset({_B.CHARGING, _B.FAILED, _B.CANCELLED}),
        _B.CONFIRMED: frozenset({_B.REFUNDED}),
        _B.REFUNDED: frozenset({_B.CONFIRMED}),
    },
    "attempts": {
        _A.STARTED: frozenset(
            {
                _A.PROCESSING,
                _A.REQUIRES_ACTION,
                _A.AUTHORIZED,
                _A.SUCCEEDED,
                _A.DECLINED,
                _A.REJECTED,
                _A.VOIDED,
            }
        ),
        _A.PROCESSING: frozenset({_A.REQUIRES_ACTION, _A.AUTHORIZED, _A.SUCCEEDED, _A.DECLINED, _A.VOIDED}),
        _A.REQUIRES_ACTION: frozenset({_A.PROCESSING, _A.AUTHORIZED, _A.SUCCEEDED, _A.DECLINED, _A.VOIDED}),
        _A.AUTHORIZED: frozenset({_A.SUCCEEDED, _A.VOIDED}),
    },
    "campaigns": {
        _C.ACTIVE: frozenset({_C.PAUSED, _C.COMPLETED, _C.CANCELLED, _C.EXPIRED}),
        _C.PAUSED: frozenset({_C.ACTIVE, _C.COMPLETED, _C.CANCELLED, _C.EXPIRED}),
    },
    "payment_methods": {
        _P.USABLE: frozenset({_P.UNUSABLE, _P.DETACHING, _P.DETACHED}),
        _P.UNUSABLE: frozenset({_P.USABLE, _P.DETACHING, _P.DETACHED}),
        _P.DETACHING: frozenset({_P.DETACHED}),
    },
}
"""Per table, the moves its status may make; a status that is missing is an end."""
