"""Budgets, the ledger, and what waits (invariant 2, and that nothing is stuck)."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise

from local.faults.checker.breach import Breach
from local.faults.checker.snapshot import Row
from local.faults.checker.view import DEAD, IN_FLIGHT, OPEN_ATTEMPT, TAKEN, View, moment

_GRACE = timedelta(minutes=10)
"""A deadline that has passed by less has not been anybody's turn yet: reconcile runs every five minutes."""


def totals(view: View) -> Iterator[Breach]:
    """Each total beside the sum that it is."""
    for campaign in view.campaigns.values():
        of_it = [row for row in view.rows["ledger_entries"] if row["campaign_id"] == campaign["id"]]
        sums: Counter[str] = Counter()
        for entry in of_it:
            sums[entry["kind"]] += entry["amount_minor"]
        bookings = [row for row in view.bookings.values() if row["campaign_id"] == campaign["id"]]
        restored = sum(
            list(pairwise(moves)).count(("refunded", "confirmed"))
            for moves in (view.history.get(("bookings", row["id"]), []) for row in bookings)
        )
        should_be = {
            "reserved_minor": sums["reserve"] - sums["release"] - sums["spend"],
            "spent_minor": sums["spend"] + sums["refund_reversed"] - sums["refund"],
            "refund_reversed_minor": sums["refund_reversed"],
            "bookings_in_flight": sum(row["status"] in IN_FLIGHT for row in bookings),
            "bookings_confirmed": sum(row["status"] == "confirmed" for row in bookings),
            "bookings_restored": restored,
        }
        for name, value in should_be.items():
            if campaign[name] != value:
                yield Breach("totals", campaign["id"], f"says {name} {campaign[name]}, its rows add up to {value}")


def limits(view: View) -> Iterator[Breach]:
    """What a bank sent back after its place was used again is the one exception that the design allows."""
    for campaign in view.campaigns.values():
        money = campaign["reserved_minor"] + campaign["spent_minor"]
        allowed = campaign["budget_minor"] + campaign["refund_reversed_minor"]
        if money > allowed:
            yield Breach("limits", campaign["id"], f"has {money} reserved and spent of a budget of {allowed}")
        count = campaign["bookings_in_flight"] + campaign["bookings_confirmed"]
        places = campaign["max_bookings"] + campaign["bookings_restored"]
        if count > places:
            yield Breach("limits", campaign["id"], f"has {count} bookings where {places} are allowed")


def ledger(view: View) -> Iterator[Breach]:
    """A booking's entries by what became of it."""
    for booking in view.bookings.values():
        entries = view.entries.get(booking["id"], [])
        found = Counter(reserve=0, release=0, spend=0)
        for entry in entries:
            found[entry["kind"]] += entry["amount_minor"]
            if entry["campaign_id"] != booking["campaign_id"]:
                yield Breach("ledger", booking["id"], f"entry {entry['id']} is of campaign {entry['campaign_id']}")
        amount, captured = booking["amount_minor"], booking["amount_captured_minor"]
        wanted = {"reserve": amount, "release": 0, "spend": 0}
        if booking["status"] in TAKEN:
            wanted |= {"spend": captured, "release": amount - captured}
        elif booking["status"] in DEAD:
            wanted |= {"release": amount}
        got = {kind: found[kind] for kind in wanted}
        if got != wanted:
            yield Breach("ledger", booking["id"], f"is {booking['status']}, its entries are {got}, not {wanted}")
        if (
            booking["status"] in TAKEN
            and found["refund"] - found["refund_reversed"] != booking["amount_refunded_minor"]
        ):
            detail = f"gave {booking['amount_refunded_minor']} back, its ledger {found['refund']} less reversed"
            yield Breach("ledger", booking["id"], f"{detail} {found['refund_reversed']}")
        if booking["status"] in DEAD and found["refund"] + found["refund_reversed"]:
            yield Breach("ledger", booking["id"], f"is {booking['status']}: budget that it never spent was given back")


def stuck(view: View) -> Iterator[Breach]:
    """Every state that somebody has to end, and whose time has come."""
    for booking in view.bookings.values():
        yield from (Breach("stuck", booking["id"], detail) for detail in _what_is_stuck(view, booking))
    for refund in view.rows["refunds"]:
        if refund["status"] == "requested":
            yield Breach("stuck", refund["id"], f"refund of {refund['amount_minor']} was never sent to Stripe")
    for card in view.cards.values():
        if card["status"] == "detaching":
            yield Breach("stuck", card["id"], "was given up by its owner and is still at Stripe")
    for campaign in view.campaigns.values():
        ends = moment(campaign["expires_at"])
        if campaign["status"] in {"active", "paused"} and ends is not None and ends + _GRACE < view.now:
            yield Breach("stuck", campaign["id"], f"is {campaign['status']} though it ended at {ends}")


def _what_is_stuck(view: View, booking: Row) -> Iterator[str]:
    status = booking["status"]
    attempts = [row["status"] for row in view.attempts.get(booking["id"], ()) if row["status"] in OPEN_ATTEMPT]
    if "started" in attempts:
        yield f"is {status} with an attempt of which nobody knows whether Stripe heard"
    if status == "charging" and not attempts:
        yield "is charging with nothing under way"
    if status not in IN_FLIGHT and attempts:
        yield f"is {status} with an attempt {attempts[0]}"
    if status in IN_FLIGHT and booking["closing_as"] is not None:
        yield f"is {status}, was to end as {booking['closing_as']}"
    if booking["late_hold"]:
        yield f"is {status} with a late hold that was to be cancelled"
    for name in ("action_expires_at", "retry_at", "capture_before"):
        due = moment(booking[name]) if status in IN_FLIGHT else None
        if due is not None and due + _GRACE < view.now:
            yield f"is {status}, {name} was {due}"
    if status == "authorized" and booking["capture_amount_minor"] is not None:
        yield f"was to be captured with {booking['capture_amount_minor']}"
    if status == "authorized" and booking["capture_before"] is None:
        yield "holds money and does not know until when"


def matches(view: View) -> Iterator[Breach]:
    """A waiting row is an outbox message that somebody still owes an answer."""
    booked = {(row["campaign_id"], row["offer_id"]): row for row in view.bookings.values()}
    charged = set()
    for match in view.rows["matches"]:
        pair = (match["campaign_id"], match["offer_id"])
        if match["state"] == "waiting":
            yield Breach("matches", pair[0], f"offer {pair[1]} waits since {match['updated_at']}")
        if match["state"] == "charged":
            charged.add(pair)
            if pair not in booked:
                yield Breach("matches", pair[0], f"offer {pair[1]} was charged and has no booking")
    for pair, booking in booked.items():
        if pair not in charged:
            yield Breach("matches", pair[0], f"booking {booking['id']} of offer {pair[1]}, whose match is not charged")
