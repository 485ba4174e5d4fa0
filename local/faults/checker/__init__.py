"""Compares the database, Stripe's books and the mails at rest, from outside: it shares no code with what it checks.

    snapshot = read_snapshot(connection, httpx.get(f"{stripe_url}/_control/books").json(), mails)
    for breach in breaches(snapshot): ...

Nothing of functions/ is imported and none of the SQL's own invariant functions is asked. *At rest* means: faults have
stopped, webhooks are delivered or lost, and reconcile, the queue and notify have run until they find nothing to do.
"""

from local.faults.checker import campaigns, history, money, news, people, told
from local.faults.checker.breach import RULES, Breach
from local.faults.checker.snapshot import Snapshot, read_snapshot
from local.faults.checker.view import View

__all__ = ["RULES", "Breach", "Snapshot", "breaches", "read_snapshot"]

_CHECKS = (
    money.one_payment_intent,
    money.one_charge,
    money.one_booking,
    money.price,
    money.money,
    money.refunds,
    money.stripe_refunds,
    money.refund_totals,
    people.ownership_of_bookings,
    people.ownership_of_campaigns,
    people.one_customer,
    people.cards,
    campaigns.totals,
    campaigns.limits,
    campaigns.ledger,
    campaigns.stuck,
    campaigns.matches,
    news.events,
    news.disputes,
    told.told,
    told.mail,
    history.transition,
    history.audit,
)


def breaches(snapshot: Snapshot) -> list[Breach]:
    """Everything that does not hold, in the order of the rules; an empty list is what everybody wants."""
    view = View(snapshot)
    return [breach for check in _CHECKS for breach in check(view)]
