"""When a number is no longer as it should be: one table for `make status`, the alarms and docs/observability.md.

deploy/alarms.yml repeats the limits, as CloudFormation can't read Python; tests/test_watching.py compares the three.
"""

from typing import Final, Literal, NamedTuple


class Threshold(NamedTuple):
    """A number that is to stay at or above (`min`) or at or below (`max`) a limit."""

    title: str
    kind: Literal["min", "max"]
    limit: float
    unit: Literal["", "%", "ms", "s"]
    number: str | None
    """Its name in `public.operational_numbers`; None: the database can't know it."""
    alarm: str | None
    """The logical id in deploy/alarms.yml; None: no alarm of its own."""
    runbook: str
    """A page of docs/runbooks/."""
    why: str
    """Where the limit comes from."""


THRESHOLDS: Final = (
    Threshold(
        *("Payment success rate", "min", 0.95, "%", "payment_success_rate", "PaymentSuccessAlarm", "stripe-down"),
        "the service's goal: above 95 %",
    ),
    Threshold(
        *("Webhook processing, p95", "max", 2000, "ms", "webhook_processing_p95_ms", "WebhookProcessingAlarm"),
        *("webhook-backlog", "the service's goal: below 2 s; Stripe wants an answer well before its time-out"),
    ),
    Threshold(
        *("Campaign creation success", "min", 0.99, "%", None, "CampaignCreationAlarm", "database-down"),
        "the service's goal: above 99 %",
    ),
    Threshold(
        *("Auto-booking latency, p95", "max", 5000, "ms", "auto_booking_latency_p95_ms", "AutoBookingLatencyAlarm"),
        *("stuck-booking", "the service's goal: below 5 s from the offer to the booking"),
    ),
    Threshold(
        *("Oldest unsettled attempt", "max", 900, "s", "oldest_unsettled_attempt_age_seconds"),
        *("UnsettledAttemptAlarm", "stuck-booking", "three runs of reconcile, each of which asks Stripe again"),
    ),
    Threshold(
        *("Oldest due booking", "max", 900, "s", "oldest_due_booking_age_seconds", "DueBookingAlarm", "stuck-booking"),
        "three runs of reconcile, each of which takes the step that is due",
    ),
    Threshold(
        *("Oldest waiting match", "max", 900, "s", "oldest_waiting_match_age_seconds", "WaitingMatchAlarm"),
        *("stuck-booking", "three runs of reconcile, each of which sends a lost message again"),
    ),
    Threshold(
        *("Oldest failed event", "max", 900, "s", "oldest_failed_event_age_seconds", "FailedEventAlarm"),
        *("webhook-backlog", "three runs of reconcile, each of which applies it again"),
    ),
    Threshold(
        *("Notification lag", "max", 600, "s", "notification_lag_seconds", "NotificationLagAlarm", "mail-stopped"),
        "ten runs of notify",
    ),
    Threshold(
        *("Unresolved incidents", "max", 0, "", "unresolved_incidents", "IncidentAlarm", "invariant-breach"),
        "each is something that a person must look at",
    ),
    Threshold(
        *("Invariant breaches", "max", 0, "", "invariant_breaches", "InvariantBreachAlarm", "invariant-breach"),
        "an invariant has no tolerance",
    ),
    Threshold(
        *("Since reconcile saw Stripe's events", "max", 900, "s", "events_watermark_age_seconds"),
        *("ReconcileSilentAlarm", "stuck-booking", "three runs of reconcile that did not happen, or had no Stripe"),
    ),
    Threshold(
        *("Dead letters", "max", 0, "", "dead_letters", "ChargeDeadLettersAlarm", "dead-letters"),
        "each is a charge that was tried five times in vain",
    ),
)
