"""What cardholders were told, and what left the house by mail (invariant 6)."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise

from local.faults.checker.breach import Breach
from local.faults.checker.snapshot import Row
from local.faults.checker.view import GIVEN_BACK, View

_NEED_NO_MAIL = frozenset({"no_address", "overtaken"})


def told(view: View) -> Iterator[Breach]:
    """Once and no more: each end by its kind."""
    for booking in view.bookings.values():
        for kind, wanted in _owed_of_booking(view, booking).items():
            yield from _compare(view, kind, booking["id"], wanted)
    for campaign in view.campaigns.values():
        for kind in ("campaign_completed", "campaign_expired"):
            wanted = int(f"campaign_{campaign['status']}" == kind)
            yield from _compare(view, kind, campaign["id"], wanted)
    spoken_of = {
        (row["data"] or {}).get("payment_method_id")
        for row in view.rows["notifications"]
        if row["kind"] == "card_unusable"
    }
    for card in view.cards.values():
        # A fraud warning tells of its booking; naming the card would tell a thief.
        quiet = card["unusable_reason"] == "early_fraud_warning"
        if card["status"] == "unusable" and not quiet and card["id"] not in spoken_of:
            yield Breach("told", card["id"], f"is unusable ({card['unusable_reason']}), and nobody was told")


def _compare(view: View, kind: str, subject: str, wanted: int) -> Iterator[Breach]:
    found = view.notified.get((kind, subject), 0)
    if found != wanted:
        yield Breach("told", subject, f"{kind} was told {found} times, not {wanted}")


def _owed_of_booking(view: View, booking: Row) -> Counter[str]:
    had = view.history.get(("bookings", booking["id"]), [])
    owed = Counter(
        {
            "booking_confirmed": int(booking["confirmed_at"] is not None),
            "booking_failed": int(booking["status"] == "failed"),
            "booking_cancelled": int(booking["status"] == "cancelled"),
            "authentication_required": int("requires_action" in had),
            "fraud_warning": int(booking["fraud_warned_at"] is not None),
            "refund_issued": 0,
            "refund_failed": 0,
            "dispute_opened": 0,
            "dispute_won": 0,
            "dispute_lost": 0,
        }
    )
    if booking["status"] == "authorized" and booking["closing_as"] is None:
        owed["booking_authorized"] = 1
    elif "authorized" not in had:
        owed["booking_authorized"] = 0
    for refund in view.refunds.get(booking["id"], ()):
        was_counted = bool(GIVEN_BACK & set(view.history.get(("refunds", refund["id"]), [])))
        owed["refund_issued"] += was_counted
        ended_badly = refund["status"] in {"failed", "canceled"}
        owed["refund_failed"] += ended_badly and (was_counted or refund["stripe_refund_id"] is not None)
    for dispute in view.rows["disputes"]:
        if dispute["booking_id"] == booking["id"]:
            owed["dispute_opened"] += 1
            if dispute["closed_at"] is not None:
                owed["dispute_lost" if dispute["status"] == "lost" else "dispute_won"] += 1
    return owed


def mail(view: View) -> Iterator[Breach]:
    """A mail may have left with each try; with the try that is known to have succeeded, one did."""
    if view.mails is None:
        return
    notifications = view.by_id("notifications")
    sent = Counter(str(one["notification_id"]) for one in view.mails)
    for notification_id in sent.keys() - notifications.keys():
        yield Breach("mail", notification_id, f"{sent[notification_id]} mails of no notification")
    dead_known = {
        row["dedupe_key"].split(":")[1] for row in view.rows["incidents"] if row["kind"] == "notification_dead"
    }
    needs_none = {row["id"] for row in notifications.values() if row["last_error"] in _NEED_NO_MAIL}
    for notification in notifications.values():
        left, tries = sent[notification["id"]], notification["tries"]
        what = f"{notification['kind']} is {notification['status']} after {tries} tries"
        if notification["status"] == "pending":
            yield Breach("mail", notification["id"], f"{what}, not sent and not given up")
        elif notification["status"] == "sent" and left == 0:
            yield Breach("mail", notification["id"], f"{what}, but no mail left")
        elif notification["status"] == "dead" and notification["id"] not in dead_known | needs_none:
            yield Breach("mail", notification["id"], f"{what}: {notification['last_error']}, no engineer was told")
        if left > max(tries, 0):
            yield Breach("mail", notification["id"], f"{what}, {left} mails left")
    yield from _addresses(view, notifications)
    yield from _meanwhile(view)


def _meanwhile(view: View) -> Iterator[Breach]:
    """While a sender is at a message it is leased to it; only where it ended without a word may another send it."""
    by_notification: dict[str, list[Row]] = defaultdict(list)
    for one in view.mails or ():
        if one.get("sender_until") is not None:
            by_notification[str(one["notification_id"])].append(one)
    for notification_id, mails in by_notification.items():
        for first, second in pairwise(sorted(mails, key=lambda each: float(each["at"]))):
            if first["sender"] != second["sender"] and second["at"] < first["sender_until"]:
                detail = f"{second['sender']} mailed it while {first['sender']}, which had, was still at it"
                yield Breach("mail", notification_id, detail)


def _addresses(view: View, notifications: dict[str, Row]) -> Iterator[Breach]:
    addresses = {row["id"]: {row["email"]} for row in view.rows["users"]}
    for customer in view.customers.values():
        addresses.setdefault(customer["user_id"], set()).add(customer["email"])
    for one in view.mails or ():
        notification = notifications.get(str(one["notification_id"]))
        if notification is None or one.get("to") is None:
            continue
        if one["to"] not in addresses.get(notification["user_id"], set()):
            yield Breach("mail", notification["id"], f"of user {notification['user_id']} went to somebody else")
