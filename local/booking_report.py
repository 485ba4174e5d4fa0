"""Everything known of one booking, ours beside Stripe's, and what happens next (`autobook booking`).

Read in one transaction that sees one moment and can change nothing; Stripe is only asked. No personal data: a card is
its brand, a person their id.
"""

from typing import TYPE_CHECKING, Any, LiteralString
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

if TYPE_CHECKING:
    from functions.shared.stripe_sdk import stripe

Report = dict[str, Any]

_PARTS = {
    "attempts": """select a.ordinal, a.id, a.status, p.brand, p.status as card, a.category, a.decline_code,
        a.network_decline_code, a.advice_code, a.risk_level, a.stripe_charge_ids, a.created_at, a.settled_at
      from public.attempts as a inner join public.payment_methods as p on a.payment_method_id = p.id
      where a.booking_id = %(id)s order by a.ordinal""",
    "refunds": """select r.id, r.status, r.amount_minor, r.reason, r.stripe_refund_id, r.failure_reason, r.created_at
      from public.refunds as r where r.booking_id = %(id)s order by r.created_at""",
    "disputes": """select d.id, d.status, d.reason, d.amount_minor, d.funds_withdrawn, d.opened_at, d.closed_at
      from public.disputes as d where d.booking_id = %(id)s order by d.opened_at""",
    "ledger": """select l.kind, l.amount_minor, l.created_at from public.ledger_entries as l
      where l.booking_id = %(id)s order by l.id""",
    "events": """select e.id, e.type, e.status, e.result, e.deliveries, e.stripe_created_at, e.received_at
      from public.stripe_events as e
      where e.object_id = any(%(objects)s) or e.facts #>> '{facts,payment_intent_id}' = any(%(objects)s)
      order by e.stripe_created_at, e.received_at""",
    "notifications": """select n.kind, n.status, n.tries, n.created_at, n.sent_at from public.notifications as n
      where n.booking_id = %(id)s order by n.created_at""",
    "incidents": """select i.kind, i.detail, i.created_at, i.resolved_at from public.incidents as i
      where i.booking_id = %(id)s order by i.created_at""",
    "audit": """select l.at, l.actor, l.request_id, l.table_name, l.action, l.new ->> 'status' as status
      from public.audit_log as l
      where (l.table_name = 'bookings' and l.row_id = %(id)s::text)
        or (l.table_name = 'attempts' and l.row_id in (
          select a.id::text from public.attempts as a where a.booking_id = %(id)s
        ))
      order by l.id""",
}

_DONE_BY_RECONCILE = {
    "charge": "reconcile sends the attempt's request again under its own key, which cannot charge twice",
    "look_up": "reconcile asks Stripe what became of the payment, and creates nothing",
    "cancel": "reconcile cancels the PaymentIntent at Stripe, then the booking ends as {closing_as}",
    "capture": "reconcile captures the hold",
    "refund": "reconcile makes the refund that is asked for",
}
_OURS_BY_STRIPES = {
    "succeeded": {"confirmed", "refunded"},
    "requires_capture": {"authorized"},
    "canceled": {"failed", "cancelled"},
}
"""Stripe's status of a PaymentIntent, and what a booking with it is once everything is settled."""


class NoSuchBooking(Exception):
    """No booking has this id or PaymentIntent."""


def read(database_url: str, wanted: str) -> Report:
    """Our side: {booking, campaign, offer, match, next, and the lists of `_PARTS`}, by booking id or `pi_…`.

    Raises NoSuchBooking, psycopg.Error.
    """
    with psycopg.connect(database_url, row_factory=dict_row, connect_timeout=10) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        connection.execute("set local statement_timeout = '15s'")
        booking = _booking(connection, wanted)
        campaign = _one(
            connection,
            """select c.id, c.status, c.pause_reason, c.currency, c.max_price_minor, c.budget_minor, c.reserved_minor,
              c.spent_minor, c.expires_at, c.when_hold_ends, c.auto_book
            from public.campaigns as c where c.id = %s""",
            booking["campaign_id"],
        )
        offer = _one(
            connection,
            "select o.id, o.amount_minor, o.currency, o.expires_at from public.offers as o where o.id = %s",
            booking["offer_id"],
        )
        report: Report = {"booking": booking, "campaign": campaign, "offer": offer}
        report["match"] = connection.execute(
            "select m.verdict, m.state, m.considered_at from public.matches as m "
            "where m.campaign_id = %s and m.offer_id = %s",
            [booking["campaign_id"], booking["offer_id"]],
        ).fetchone()
        for name in ("attempts", "refunds", "disputes"):
            report[name] = connection.execute(_PARTS[name], {"id": booking["id"]}).fetchall()
        values = {"id": booking["id"], "objects": _objects(report)}
        for name in ("ledger", "events", "notifications", "incidents", "audit"):
            report[name] = connection.execute(_PARTS[name], values).fetchall()
        report["next"] = _next(connection, booking)
        return report


def _booking(connection: "psycopg.Connection[dict[str, Any]]", wanted: str) -> dict[str, Any]:
    column = "stripe_payment_intent_id"
    if not wanted.startswith("pi_"):
        column = "id"
        try:
            UUID(wanted)
        except ValueError:
            raise NoSuchBooking(f"{wanted} is neither a booking's id (a UUID) nor a PaymentIntent's (pi_…).") from None
    row = connection.execute(
        psycopg.sql.SQL(
            """select b.id, b.status, b.amount_minor, b.currency, b.capture, b.campaign_id, b.offer_id, b.user_id,
              b.stripe_payment_intent_id, b.amount_captured_minor, b.amount_refunded_minor, b.closing_as,
              b.failure_code, b.user_message, b.action_expires_at, b.retry_at, b.capture_before, b.capture_amount_minor,
              b.late_hold, b.leased_until, b.confirmed_at, b.disputed_at, b.fraud_warned_at, b.under_review_since,
              b.created_at, b.updated_at, c.stripe_customer_id
            from public.bookings as b
            left join public.customers as c on b.user_id = c.user_id
            where b.{} = %s"""
        ).format(psycopg.sql.Identifier(column)),
        [wanted],
    ).fetchone()
    if row is None:
        raise NoSuchBooking(f"No booking has {wanted} in this environment.")
    return row


def _one(connection: "psycopg.Connection[dict[str, Any]]", query: LiteralString, value: Any) -> dict[str, Any]:
    row = connection.execute(query, [value]).fetchone()
    assert row is not None, "a foreign key says that it is there"
    return row


def _objects(report: Report) -> list[str]:
    """The ids at Stripe whose events concern the booking."""
    ids = [report["booking"]["stripe_payment_intent_id"]]
    ids += [charge for attempt in report["attempts"] for charge in attempt["stripe_charge_ids"]]
    ids += [refund["stripe_refund_id"] for refund in report["refunds"]]
    ids += [dispute["id"] for dispute in report["disputes"]]
    return [each for each in ids if each]


def _next(connection: "psycopg.Connection[dict[str, Any]]", booking: dict[str, Any]) -> dict[str, Any]:
    """{do, says, leased_until}: the Stripe call that it waits for, or what else it waits for."""
    row = connection.execute(
        "select internal.pending_step(b) as step, coalesce(b.leased_until > clock_timestamp(), false) as leased "
        "from public.bookings as b where b.id = %s",
        [booking["id"]],
    ).fetchone()
    assert row is not None
    step = row["step"] or {}
    if step:
        says = _DONE_BY_RECONCILE[step["do"]].format(closing_as=booking["closing_as"])
        if row["leased"]:
            says = f"somebody is at it until {booking['leased_until']:%H:%M:%S} UTC; then {says}"
        return {"do": step["do"], "says": says}
    return {"do": "wait" if _waits(booking) else "nothing", "says": _waits(booking) or "nothing: it is at rest"}


def _waits(booking: dict[str, Any]) -> str:
    match booking["status"]:
        case "requires_action":
            return f"the cardholder may authenticate until {booking['action_expires_at']}; then reconcile ends it"
        case "retry_scheduled":
            return f"the card is tried again at {booking['retry_at']}"
        case "authorized":
            return f"fulfilment captures or voids the hold; shortly before {booking['capture_before']} reconcile does"
        case "charging":
            return "the bank takes its time; Stripe's event settles it, and after an hour reconcile asks"
        case _:
            return ""


def ask_stripe(client: "stripe.StripeClient", booking: dict[str, Any]) -> Report | None:
    """Stripe's side: its PaymentIntent and refunds, None when Stripe has none for the booking.

    Without an id it is looked for among the customer's by the metadata. Raises stripe.StripeError.
    """
    intent_id = booking["stripe_payment_intent_id"] or _found_by_metadata(client, booking)
    if intent_id is None:
        return None
    intent = client.v1.payment_intents.retrieve(intent_id, {"expand": ["latest_charge"]}).to_dict()
    charge = intent.get("latest_charge") or {}
    error = intent.get("last_payment_error") or {}
    refunds = client.v1.refunds.list({"payment_intent": intent_id, "limit": 100})
    return {
        "id": intent["id"],
        "status": intent["status"],
        "amount": intent["amount"],
        "amount_received": intent.get("amount_received"),
        "currency": intent["currency"],
        "booking_id": (intent.get("metadata") or {}).get("booking_id"),
        "attempt_id": (intent.get("metadata") or {}).get("attempt_id"),
        "charge": charge.get("id"),
        "charge_status": charge.get("status"),
        "amount_refunded": charge.get("amount_refunded"),
        "disputed": charge.get("disputed"),
        "last_error": error.get("decline_code") or error.get("code"),
        "refunds": [
            {"id": each.id, "status": each.status, "amount": each.amount} for each in refunds.auto_paging_iter()
        ],
    }


def _found_by_metadata(client: "stripe.StripeClient", booking: dict[str, Any]) -> str | None:
    if not booking["stripe_customer_id"]:
        return None
    since = int(booking["created_at"].timestamp()) - 300  # our clock and Stripe's differ by less
    page = client.v1.payment_intents.list(
        {"customer": booking["stripe_customer_id"], "created": {"gte": since}, "limit": 100}
    )
    for intent in page.auto_paging_iter():
        if (intent.to_dict().get("metadata") or {}).get("booking_id") == str(booking["id"]):
            return intent.id
    return None


def differences(report: Report, at_stripe: Report | None) -> list[str]:
    """Where our rows and Stripe do not say the same, in sentences; reconcile settles what it can."""
    booking = report["booking"]
    if at_stripe is None:
        return (
            [f"the booking is {booking['status']}, and Stripe has no payment for it"]
            if booking["status"] in ("confirmed", "refunded", "authorized")
            else []
        )
    found = []
    expected = _OURS_BY_STRIPES.get(at_stripe["status"])
    if expected and booking["status"] not in expected:
        found.append(f"Stripe's payment is {at_stripe['status']}, the booking is {booking['status']}")
    if not expected and booking["status"] in ("confirmed", "refunded", "authorized"):
        found.append(f"the booking is {booking['status']}, Stripe's payment is {at_stripe['status']}")
    if booking["stripe_payment_intent_id"] is None:
        found.append(f"Stripe has {at_stripe['id']} for this booking, and our row does not name it yet")
    if at_stripe["booking_id"] not in (None, str(booking["id"])):
        found.append(f"Stripe's payment names another booking: {at_stripe['booking_id']}")
    if (at_stripe["amount"], at_stripe["currency"]) != (booking["amount_minor"], booking["currency"]):
        found.append(f"Stripe's payment is over {at_stripe['amount']} {at_stripe['currency']}")
    given_back = sum(each["amount"] for each in at_stripe["refunds"] if each["status"] == "succeeded")
    if booking["capture"] == "automatic" and given_back != booking["amount_refunded_minor"]:
        found.append(f"Stripe has refunded {given_back}, our row says {booking['amount_refunded_minor']}")
    return found
