"""What must hold of a traveller whatever has happened: section 9 of the design, read from both sides' books."""

from tests.support.travellers import Traveller

_LEDGER = """
select c.id
from public.campaigns as c
left join public.ledger_entries as l on c.id = l.campaign_id
where c.user_id = %s
group by c.id
having
  c.reserved_minor <> coalesce(sum(case l.kind when 'reserve' then l.amount_minor when 'release' then -l.amount_minor
    when 'spend' then -l.amount_minor else 0 end), 0)
  or c.spent_minor <> coalesce(sum(case l.kind when 'spend' then l.amount_minor when 'refund' then -l.amount_minor
    when 'refund_reversed' then l.amount_minor else 0 end), 0)
  or c.reserved_minor + c.spent_minor > c.budget_minor + c.refund_reversed_minor
"""
_COUNTERS = """
select c.id
from public.campaigns as c
left join public.bookings as b on c.id = b.campaign_id
where c.user_id = %s
group by c.id
having
  c.bookings_confirmed <> count(*) filter (where b.status = 'confirmed')
  or c.bookings_in_flight
    <> count(*) filter (where b.status in ('charging', 'requires_action', 'retry_scheduled', 'authorized'))
  or c.bookings_confirmed + c.bookings_in_flight > c.max_bookings + c.bookings_restored
"""
_PRICE = """
select b.id from public.bookings as b inner join public.offers as o on b.offer_id = o.id
where b.user_id = %s and (b.amount_minor, b.currency) is distinct from (o.amount_minor, o.currency)
"""
_TOLD = """
select b.id
from public.bookings as b
where b.user_id = %s and b.status in ('confirmed', 'failed', 'cancelled') and 1 <> (
  select count(*) from public.notifications as n where n.booking_id = b.id and n.kind = 'booking_' || b.status
)
"""
_BOOKINGS = """
select
  b.id, b.status::text, b.amount_minor, b.currency, b.stripe_payment_intent_id,
  (
    select coalesce(sum(r.amount_minor), 0) from public.refunds as r
    where r.booking_id = b.id and r.status in ('requested', 'pending', 'succeeded')
  )
from public.bookings as b
where b.user_id = %s
"""


def breaches(traveller: Traveller) -> list[str]:
    """The invariants that do not hold, in words. Deliver the webhooks first: news on its way is no breach."""
    found = []
    for sentence, query in {
        "the campaign's totals are not its ledger's sums, or above its budget": _LEDGER,
        "the campaign's counters are not its bookings, or above max_bookings": _COUNTERS,
        "the booking does not cost what its offer says": _PRICE,
        "the end of the booking was not told exactly once": _TOLD,
    }.items():
        found += [f"{sentence}: {name}" for (name,) in traveller.rows(query, traveller.id)]
    return found + _at_stripe(traveller)


def _at_stripe(traveller: Traveller) -> list[str]:
    customers = traveller.rows("select stripe_customer_id from public.customers where user_id = %s", traveller.id)
    if not customers:
        return []
    ours = {
        str(intent): (str(booking), status, amount, currency, int(given_back))
        for booking, status, amount, currency, intent, given_back in traveller.rows(_BOOKINGS, traveller.id)
    }
    found = []
    seen: dict[str, str] = {}
    for intent in traveller.stripe.intents(str(customers[0][0])):
        booking, status, amount, currency, given_back = ours.get(intent["id"], (None, None, None, None, 0))
        named = intent["metadata"]["booking_id"]
        if seen.setdefault(named, intent["id"]) != intent["id"]:
            found.append(f"two PaymentIntents of booking {named}")
        if intent["status"] == "succeeded":
            is_late_and_refunded = status in ("failed", "cancelled") and given_back == intent["amount_received"]
            if status not in ("confirmed", "refunded") and not is_late_and_refunded:
                found.append(f"{intent['id']} succeeded, its booking {named} is {status}")
            if (amount, currency) != (intent["amount"], intent["currency"]):
                found.append(f"{intent['id']} is not of its booking's amount")
        elif status in ("confirmed", "refunded"):
            found.append(f"booking {booking} is {status}, its {intent['id']} is {intent['status']}")
        elif status in ("failed", "cancelled") and intent["status"] != "canceled":
            found.append(f"booking {booking} is {status}, its {intent['id']} is left {intent['status']}")
    takings: dict[str, int] = {}
    for charge in traveller.stripe.taken(str(customers[0][0])):
        takings[charge["payment_intent"]] = takings.get(charge["payment_intent"], 0) + 1
    return found + [f"{intent} was charged {count} times" for intent, count in takings.items() if count > 1]
