"""Which faults there are, by what they strike. Each is one column of the matrix, each boundary one row."""

from typing import Final

DATABASE: Final = (
    "killed_before",  # the function dies before it asks
    "killed_after",  # it dies after the commit, before it hears of it
    "no_connection",  # the database can't be reached
    "lost_before_commit",  # the connection breaks, the transaction is rolled back
    "lost_after_commit",  # the transaction is committed, its answer is lost
    "serialization_failure",  # 40001: PostgREST runs the transaction again
    "deadlock",  # 40P01: rolled back
    "statement_timeout",  # 57014: rolled back
    "gateway_page",  # committed, but the gateway in between answers 504 with a page of its own
    "slow_commit",  # executed and locked, its commit is late: others run meanwhile
)
STRIPE: Final = (
    "killed_before",
    "killed_after",
    "timeout_before",  # hangs, and nothing happened
    "timeout_after",  # it happened, the answer never came
    "dropped_before",
    "dropped_after",
    "rate_limited",  # 429
    "object_locked",  # 429 lock_timeout
    "error_before",  # 500 and nothing happened; the key replays the 500
    "error_forgotten",  # 500 and nothing happened; the key is free again
    "error_after",  # it happened, but the answer is a 500, and the key replays that
    "in_flight",  # takes its time; whoever uses the same key meanwhile gets 409
)
STRIPE_READS: Final = tuple(
    kind for kind in STRIPE if kind not in ("error_forgotten", "error_after", "timeout_after", "in_flight")
)
"""A question has no effect to lose, and no key."""
QUEUE_SEND: Final = (
    "killed_before",
    "killed_after",
    "unreachable",
    "throttled",
    "partly_refused",
    "answer_lost",
    "message_lost",
)
MAIL: Final = (
    "killed_before",
    "killed_after",
    "unreachable",
    "timeout_before",
    "timeout_after",
    "throttled",
    "refused",
)
WEBHOOK: Final = ("lost", "doubled", "doubled_later", "delayed", "reordered", "wrong_version", "answer_lost")
QUEUE_DELIVERY: Final = ("doubled", "delayed", "doubled_at_once")
INVOKE: Final = ("clock_ahead", "clock_behind", "database_clock_ahead", "database_clock_behind", "hardly_any_time")
SCHEDULED: Final = (*INVOKE, "twice_at_once")
TIME: Final = ("key_expired",)

FAMILIES: Final = {
    "db": DATABASE,
    "stripe": STRIPE,
    "stripe?": STRIPE_READS,
    "sqs": QUEUE_SEND,
    "ses": MAIL,
    "webhook": WEBHOOK,
    "queue": QUEUE_DELIVERY,
    "http": INVOKE,
    "schedule": SCHEDULED,
    "time": TIME,
}
"""By the first word of a boundary's name."""

MONEY_MOVES: Final = {
    "stripe POST payment_intents": 3.0,
    "stripe POST payment_intents/:id/confirm": 3.0,
    "stripe POST payment_intents/:id/capture": 3.0,
    "stripe POST payment_intents/:id/cancel": 2.0,
    "stripe POST refunds": 8.0,
    "db begin_charge": 1.5,
    "db begin_detach": 4.0,
    "db settle_payment": 2.0,
    "db settle_refund": 6.0,
    "queue delivery": 2.0,
}
"""Where a fault may cost money or a card, it strikes so many times as often."""
SELDOM: Final = frozenset(
    {
        "db GET booking_view",
        "db GET bookings",
        "db GET campaigns",
        "db GET payment_methods",
        "db PATCH campaigns",
        "db arrange_payment_method",
        "db begin_cancel",
        "db begin_capture",
        "db begin_void",
        "db campaign_preflight",
        "db campaign_timeline",
        "db finish_detach",
        "db move_campaign",
        "db stop_all_campaigns",
        "db take_step",
        "stripe POST payment_intents/:id/confirm",
        "stripe POST payment_methods/:id/detach",
        "stripe? GET payment_methods/:id",
        "stripe? GET refunds",
        "webhook charge.captured",
        "webhook charge.dispute.closed",
        "webhook charge.dispute.created",
        "webhook charge.dispute.funds_reinstated",
        "webhook charge.dispute.funds_withdrawn",
        "webhook charge.expired",
        "webhook charge.pending",
        "webhook charge.refund.updated",
        "webhook charge.refunded",
        "webhook charge.updated",
        "webhook payment_intent.canceled",
        "webhook payment_intent.processing",
        "webhook payment_intent.requires_action",
        "webhook payment_method.automatically_updated",
        "webhook payment_method.detached",
        "webhook radar.early_fraud_warning.created",
        "webhook radar.early_fraud_warning.updated",
        "webhook refund.created",
        "webhook refund.failed",
        "webhook refund.updated",
        "webhook review.closed",
        "webhook review.opened",
        "webhook setup_intent.setup_failed",
    }
)
"""Passed a few hundred times in ten thousand schedules while faults last: each fault must strike there, too."""
_SELDOM_FACTOR: Final = 16.0
_AT_MOST: Final = 0.75


def strike_rate(boundary: str, fault_rate: float, factor: float = 1.0) -> float:
    """How likely a fault strikes at a boundary in a schedule of this rate."""
    seldom = _SELDOM_FACTOR if boundary in SELDOM else 1.0
    return min(_AT_MOST, fault_rate * factor * max(MONEY_MOVES.get(boundary, 1.0), seldom))


SLOW_COMMIT_RATE: Final = 0.04
SLOW_COMMIT_RATES: Final = {
    "db begin_charge": 0.3,
    "db settle_payment": 0.3,
    "db receive_event": 0.25,
    "db claim_notifications": 0.3,
    "db expire_campaigns": 0.3,
}
"""How often a commit is late while somebody else is on the stage: what locks are for shows then alone."""


def kinds_of(boundary: str) -> tuple[str, ...]:
    """The faults that can strike at a boundary."""
    return FAMILIES[boundary.split(" ", 1)[0]]
