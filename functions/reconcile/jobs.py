"""What reconcile looks after. Each job is bounded in time, safe to run twice at once, and can say what it would do.

A job is a function from `Run` to a list of lines, one a thing found: `{"what", …ids and codes}`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from functions.shared import charging, metrics
from functions.shared.charge_queue import send_charges
from functions.shared.clock import Deadline
from functions.shared.database import Database
from functions.shared.stripe_events.event import Event
from functions.shared.stripe_events.inbox import receive, sayable
from functions.shared.stripe_events.table import HANDLED
from functions.shared.stripe_gateway import CLOCK_SKEW_SECONDS, MARGIN_SECONDS, StripeGateway

Line = dict[str, Any]

EVENTS_WINDOW_SECONDS = 3600
EVENTS_LONGEST_WINDOW_SECONDS = 24 * 3600
"""A window without events doubles the next up to this, so that a long pause in a quiet time is soon caught up with."""
EVENTS_OVERLAP_SECONDS = 900
"""Stripe lists an event within seconds; a quarter of an hour also covers a clock that is off."""
PAYMENTS_WINDOW_SECONDS = 2 * 24 * 3600
"""Older payments were compared by earlier runs; two days outlast any pause of reconcile that nobody noticed."""
CHUNK = 100


@dataclass(frozen=True)
class Run:
    """One run of reconcile. Without `apply` nothing is changed, neither here nor at Stripe."""

    database: Database
    gateway: StripeGateway
    deadline: Deadline
    apply: bool

    def has_time(self) -> bool:
        """Whether another piece of work may be begun."""
        return self.deadline.remaining_seconds() > MARGIN_SECONDS


def settle_due_bookings(run: Run) -> list[Line]:
    """Replay unknown outcomes, retry, end what is overdue, capture or void holds, make refunds."""
    lines: list[Line] = []
    for due in run.database.call("due_bookings", p_limit=CHUNK):
        line = {"what": due["why"], "booking_id": due["booking_id"]}
        if run.apply and run.gateway.has_time(run.deadline):  # a step that is taken and not done blocks others
            step = run.database.call("take_step", p_booking_id=due["booking_id"])
            taken = charging.take_steps(run.database, run.gateway, run.deadline, step)
            line |= {"step": step["do"], "status": taken.booking["status"] if taken.booking else None}
        lines.append(line)
    return lines


def send_waiting_matches(run: Run) -> list[Line]:
    """Send matches again whose message must have been lost."""
    waiting = run.database.call("waiting_matches", p_limit=500)
    lines = [{"what": "match_waiting"} | match for match in waiting]
    if run.apply:
        sent = send_charges([(match["campaign_id"], match["offer_id"]) for match in waiting])
        if sent < len(waiting):
            lines.append({"what": "failed to send", "count": len(waiting) - sent})
    return lines


def reapply_failed_events(run: Run) -> list[Line]:
    """Apply stored events that failed, and do what is due after them."""
    results: list[Line] = run.database.call("reapply_events", p_apply=run.apply, p_limit=CHUNK)
    outcomes = [outcome | {"result": sayable(outcome)} for outcome in results]
    for outcome in outcomes:
        metrics.payment_settled(outcome["result"])
    return [{"what": "event_had_failed"} | outcome for outcome in outcomes]


def fetch_missed_events(run: Run) -> list[Line]:
    """Bring events from Stripe that its webhook never delivered, window by window from a stored watermark."""
    seen = int(datetime.fromisoformat(run.database.call("events_seen_until")).timestamp())
    now = int(datetime.now(UTC).timestamp())
    lines: list[Line] = []
    window = EVENTS_WINDOW_SECONDS
    while run.has_time():
        until = min(seen + window, now)
        # Newest first from Stripe, oldest first for us; a window keeps what is read before the first is applied small.
        # The endpoint is subscribed to what we act on, so nothing else is missing. Stripe's clock may be ahead of ours.
        listed = run.gateway.events_between(seen - EVENTS_OVERLAP_SECONDS, until + CLOCK_SKEW_SECONDS)
        events = [event for event in listed if event["type"] in HANDLED][::-1]
        if not _bring_unknown(run, events, lines):
            break  # the watermark stays: the next run begins here
        if run.apply and (events or until >= now):  # of nothing nothing is lost if it is looked through again
            run.database.call("events_seen_until", p_moved_to=datetime.fromtimestamp(until, UTC).isoformat())
        if until >= now:
            break
        seen = until
        window = EVENTS_WINDOW_SECONDS if events else min(2 * window, EVENTS_LONGEST_WINDOW_SECONDS)
    return lines


def _bring_unknown(run: Run, events: list[Line], lines: list[Line]) -> bool:
    """Take the events that we do not have, noting each; False when time ran out before the last."""
    for chunk in _chunks(events):
        unknown = set(run.database.call("unknown_events", p_ids=[event["id"] for event in chunk]))
        for event in (event for event in chunk if event["id"] in unknown):
            if run.apply and not run.has_time():
                return False
            line = {"what": "event_missed", "event_id": event["id"], "type": event["type"]}
            lines.append(line | (_bring(run, Event.model_validate(event)) if run.apply else {}))
    return True


def _bring(run: Run, event: Event) -> Line:
    """What the webhook would have done with it."""
    received = receive(run.database, event)
    if received.get("next"):
        charging.take_steps(run.database, run.gateway, run.deadline, received["next"])
    return {"status": received["status"], "result": received["result"]}


def compare_payments(run: Run) -> list[Line]:
    """Compare the payments of two days with Stripe's, both ways.

    What Stripe holds as succeeded and we do not is settled, whatever was lost on the way; what we hold as confirmed and
    Stripe does not is a breach, as somebody then gets what nobody paid for.
    """
    now = datetime.now(UTC)
    since = int(now.timestamp()) - PAYMENTS_WINDOW_SECONDS
    lines: list[Line] = []
    paid: list[str] = []
    for payments in _chunks(run.gateway.payments_since(since)):
        if not run.has_time():
            return lines + _no_time_left()
        lines += _settle_missed(run, payments)
        paid += [payment["payment_intent_id"] for payment in payments if payment["status"] == "succeeded"]
    unseen = run.database.call(
        "unpaid_confirmations",
        p_since=datetime.fromtimestamp(since + CLOCK_SKEW_SECONDS, UTC).isoformat(),
        p_until=(now - timedelta(seconds=CLOCK_SKEW_SECONDS)).isoformat(),
        p_paid=paid,
    )
    for booking in unseen:
        if not run.gateway.has_time(run.deadline):
            return lines + _no_time_left()
        lines += _ask_alone(run, booking)
    return lines


def _settle_missed(run: Run, payments: list[Line]) -> list[Line]:
    """Settle those of Stripe's payments that succeeded there and not here."""
    lines: list[Line] = []
    for payment in run.database.call("unsettled_payments", p_payments=payments):
        if not payment["is_known"]:
            lines += _breaches(run, [{"breach": "payment_without_booking", "subject": payment["payment_intent_id"]}])
            continue
        line = {"what": "payment_unsettled", "booking_id": payment["booking_id"]}
        if run.apply:
            settled = run.database.call("settle_payment", p_facts=payment)
            metrics.payment_settled(settled["result"])
            line["result"] = settled["result"]
        lines.append(line)
    return lines


def _ask_alone(run: Run, booking: Line) -> list[Line]:
    """The breach, if Stripe says so now: the booking was confirmed by then, whatever the list had shown before."""
    status = run.gateway.retrieve(booking["payment_intent_id"])["status"]
    if status == "succeeded":
        return []
    if status == "unknown":
        return [{"what": "payment_not_compared", "booking_id": booking["booking_id"]}]
    return _breaches(run, [{"breach": "booking_without_payment", "subject": booking["booking_id"]}])


def _no_time_left() -> list[Line]:
    """What was not done is said: it must not look like something that was done and found nothing."""
    metrics.add("ReconcileJobsStopped")
    return [{"what": "no_time_left"}]


def finish_detaching(run: Run) -> list[Line]:
    """Let go of cards at Stripe whose users gave them up while it could not be reached."""
    lines: list[Line] = []
    for card in run.database.call("detaching_cards"):
        if run.apply and run.has_time():
            run.gateway.detach_payment_method(card)
            run.database.call("finish_detach", p_stripe_payment_method_id=card)
        lines.append({"what": "card_detaching"})
    return lines


def expire_campaigns(run: Run) -> list[Line]:
    """End campaigns whose time is over."""
    return [{"what": "campaign_expired"}] * int(run.database.call("expire_campaigns", p_apply=run.apply))


def warn_of_expiring_cards(run: Run) -> list[Line]:
    """Tell users whose card will expire before their campaign does."""
    return [{"what": "card_expiring"}] * int(run.database.call("warn_of_expiring_cards", p_apply=run.apply))


def warn_of_ending_holds(run: Run) -> list[Line]:
    """Report holds that fulfilment has left alone and that are about to end."""
    return [{"what": "hold_ending"}] * int(run.database.call("warn_of_ending_holds", p_apply=run.apply))


def check_invariants(run: Run) -> list[Line]:
    """Look for breaches of the invariants that the database can see by itself."""
    return _breaches(run, run.database.call("invariant_breaches"))


GAUGES = {
    "UnsettledAttempts": "unsettled_attempts",
    "OldestUnsettledAttemptAge": "oldest_unsettled_attempt_age_seconds",
    "OldestDueBookingAge": "oldest_due_booking_age_seconds",
    "OldestWaitingMatchAge": "oldest_waiting_match_age_seconds",
    "OldestFailedEventAge": "oldest_failed_event_age_seconds",
    "NotificationLag": "notification_lag_seconds",
    "UnresolvedIncidents": "unresolved_incidents",
    "AutoBookingLatencyP95": "auto_booking_latency_p95_ms",
}
"""Metric -> the number of `public.operational_numbers` that it shows."""
NUMBERS_WINDOW_SECONDS = 900
"""Of what is over (a latency) the last quarter of an hour counts: three runs, so that one lost run loses nothing."""


def show_numbers(run: Run) -> list[Line]:
    """Tell CloudWatch how things stand. What did not happen in the window has no number, and is not told."""
    numbers = run.database.call("operational_numbers", p_window_seconds=NUMBERS_WINDOW_SECONDS)
    for metric, number in GAUGES.items():
        if numbers[number] is not None:
            metrics.add(metric, numbers[number])
    return []


def _breaches(run: Run, breaches: list[Line]) -> list[Line]:
    """Count each breach and report it as an incident."""
    metrics.add("InvariantBreaches", len(breaches))
    if run.apply and breaches:
        run.database.call("report_breaches", p_breaches=breaches)
    return [{"what": f"BREACH {breach['breach']}", "subject": breach["subject"]} for breach in breaches]


JOBS: dict[str, Callable[[Run], list[Line]]] = {
    "missed events": fetch_missed_events,
    "failed events": reapply_failed_events,
    "due bookings": settle_due_bookings,
    "payments": compare_payments,
    "waiting matches": send_waiting_matches,
    "detaching": finish_detaching,
    "campaigns": expire_campaigns,
    "cards": warn_of_expiring_cards,
    "holds": warn_of_ending_holds,
    "invariants": check_invariants,
    "numbers": show_numbers,
}
"""In this order: news from Stripe first, so that less has to be asked for; the check and the numbers last."""


def _chunks(items: Iterable[Line]) -> Iterator[list[Line]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, CHUNK)):
        yield chunk
