"""The checker finds nothing wrong with a story really played, and names each thing that is then made wrong."""

import ast
import json
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import psycopg
import pytest

from local.faults import checker
from local.faults.checker import RULES, Breach, Snapshot, breaches, history
from local.stack import LocalStack, prepare_database
from tests.faults import story

Row = dict[str, Any]


@pytest.fixture(scope="module")
def played(_make_database: Callable[[], tuple[str, str]]) -> Iterator[Snapshot]:
    """The story's end, on a stack of its own: the worker's has other tests' people in its books."""
    _, url = _make_database()
    prepare_database(url)
    with LocalStack.start(database_url=url) as stack:
        yield story.play(stack)


class Wrong:
    """A snapshot to be made wrong."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.rows = deepcopy(snapshot.rows)
        self.stripe: dict[str, list[Row]] = deepcopy(dict(snapshot.stripe))  # type: ignore[arg-type]  # lists, as read
        self.mails: list[Row] = deepcopy(list(snapshot.mails or ()))
        self.now = snapshot.now

    def booking(self, status: str) -> Row:
        """A booking of that status."""
        return next(row for row in self.rows["bookings"] if row["status"] == status)

    def of(self, table: str, booking: Row) -> list[Row]:
        """A table's rows of a booking."""
        return [row for row in self.rows[table] if row["booking_id"] == booking["id"]]

    def intent(self, status: str) -> Row:
        """The PaymentIntent of a booking of that status."""
        wanted = self.booking(status)["stripe_payment_intent_id"]
        return next(row for row in self.stripe["payment_intents"] if row["id"] == wanted)

    def charge(self, status: str) -> Row:
        """The successful Charge of a booking of that status."""
        intent = self.intent(status)["id"]
        rows = self.stripe["charges"]
        return next(row for row in rows if row["payment_intent"] == intent and row["status"] == "succeeded")

    def snapshot(self) -> Snapshot:
        """What the checker is given."""
        return Snapshot(self.rows, self.stripe, self.mails, self.now)


def copied(row: Row, **changes: Any) -> Row:
    """A row like another."""
    return deepcopy(row) | changes


def lose_event(wrong: Wrong, kind: str) -> None:
    """An event of an hour ago was never stored."""
    lost = next(row for row in wrong.stripe["events"] if row["type"] == kind)
    lost["created"] = int(wrong.now.timestamp()) - 3600
    wrong.rows["stripe_events"] = [row for row in wrong.rows["stripe_events"] if row["id"] != lost["id"]]


def log_of(wrong: Wrong, table: str, row_id: str) -> list[Row]:
    return [row for row in wrong.rows["audit_log"] if (row["table_name"], row["row_id"]) == (table, row_id)]


def second_customer(wrong: Wrong) -> None:
    """One that something was done with: what a first set-up that died left over is none."""
    wrong.stripe["customers"].append(copied(wrong.stripe["customers"][0], id="cus_2"))
    wrong.stripe["setup_intents"].append(copied(wrong.stripe["setup_intents"][0], id="seti_2", customer="cus_2"))


def called_off(wrong: Wrong) -> None:
    """It was paid all the same; that it was to end is in the log alone."""
    entry = log_of(wrong, "bookings", wrong.booking("confirmed")["id"])[1]
    entry.update(new=json.dumps(json.loads(entry["new"]) | {"closing_as": "cancelled"}))


def mail_by_two(wrong: Wrong) -> None:
    """Two claims, two mails, and the first sender had not ended."""
    mail = wrong.mails[0]
    mail.update(at=10.0, sender="a", sender_until=12.0)
    wrong.mails.append(copied(mail, at=11.0, sender="b", sender_until=13.0))
    row = next(row for row in wrong.rows["notifications"] if row["id"] == mail["notification_id"])
    row.update(tries=2)


Plant = Callable[[Wrong], object]
PLANTED: dict[str, tuple[str, Plant]] = {
    "a second PaymentIntent": (
        "one_payment_intent",
        lambda w: w.stripe["payment_intents"].append(copied(w.intent("confirmed"), id="pi_2", status="canceled")),
    ),
    "a PaymentIntent that its booking does not know": (
        "one_payment_intent",
        lambda w: w.booking("confirmed").update(stripe_payment_intent_id=None),
    ),
    "a PaymentIntent that Stripe does not know": (
        "one_payment_intent",
        lambda w: w.stripe["payment_intents"].remove(w.intent("cancelled")),
    ),
    "a second charge": (
        "one_charge",
        lambda w: w.stripe["charges"].append(copied(w.charge("confirmed"), id="ch_2")),
    ),
    "two attempts alive": (
        "one_charge",
        lambda w: w.rows["attempts"].append(
            copied(w.of("attempts", w.booking("authorized"))[0], id="second", ordinal=2, stripe_charge_ids=[])
        ),
    ),
    "an offer booked twice": (
        "one_booking",
        lambda w: w.rows["bookings"].append(copied(w.booking("failed"), id="second")),
    ),
    "another price than the offer's": ("price", lambda w: w.booking("confirmed").update(amount_minor=1)),
    "another amount at Stripe": ("price", lambda w: w.intent("confirmed").update(amount=1)),
    "another currency at Stripe": ("price", lambda w: w.intent("confirmed").update(currency="usd")),
    "a payment of no booking": (
        "money_without_booking",
        lambda w: w.stripe["payment_intents"].append(copied(w.intent("confirmed"), id="pi_2", metadata={})),
    ),
    "money taken and not booked": (
        "money_without_booking",
        lambda w: w.booking("confirmed").update(status="requires_action"),
    ),
    "money on a dead booking": (
        "money_without_booking",
        lambda w: w.booking("confirmed").update(status="cancelled"),
    ),
    "a booking that nobody paid": (
        "booking_without_money",
        lambda w: w.intent("confirmed").update(status="requires_payment_method"),
    ),
    "another amount captured": ("captured", lambda w: w.charge("confirmed").update(amount_captured=1)),
    "a success without its attempt": (
        "captured",
        lambda w: [row.update(status="declined") for row in w.of("attempts", w.booking("confirmed"))],
    ),
    "a hold left on a dead booking": ("payment_state", lambda w: w.booking("authorized").update(status="cancelled")),
    "a dead booking that could still be paid": (
        "payment_state",
        lambda w: w.intent("failed").update(status="requires_payment_method"),
    ),
    "a refund that Stripe did not make": ("refunds", lambda w: w.stripe["refunds"].clear()),
    "a refund that is not ours": ("refunds", lambda w: w.rows["refunds"].pop()),
    "a refund of another amount": ("refunds", lambda w: w.rows["refunds"][0].update(amount_minor=1)),
    "a refund that failed at Stripe": (
        "refunds",
        lambda w: next(
            row for row in w.stripe["refunds"] if row["id"] == w.rows["refunds"][0]["stripe_refund_id"]
        ).update(status="failed"),
    ),
    "a refund made twice": (
        "refunds",
        lambda w: w.stripe["refunds"].append(
            copied(
                next(row for row in w.stripe["refunds"] if row["id"] == w.rows["refunds"][0]["stripe_refund_id"]),
                id="re_2",
            )
        ),
    ),
    "refunds that do not add up": ("refund_totals", lambda w: w.booking("refunded").update(amount_refunded_minor=1)),
    "refunded in name only": ("refund_totals", lambda w: w.booking("confirmed").update(status="refunded")),
    "a booking on another's campaign": ("ownership", lambda w: w.rows["campaigns"][0].update(user_id="somebody")),
    "another's card charged": (
        "ownership",
        lambda w: w.of("attempts", w.booking("confirmed"))[0].update(payment_method_id="another's"),
    ),
    "another's Customer charged": (
        "ownership",
        lambda w: w.intent("confirmed").update(customer=next(row["id"] for row in w.stripe["customers"][::-1])[:-1]),
    ),
    "a campaign with another's card": (
        "ownership",
        lambda w: [row.update(user_id="somebody") for row in w.rows["payment_methods"]],
    ),
    "a second Customer": ("one_customer", second_customer),
    "a Customer that is gone": ("one_customer", lambda w: w.stripe["customers"][0].update(deleted=True)),
    "a card that was detached": ("cards", lambda w: [row.update(customer=None) for row in w.stripe["payment_methods"]]),
    "two default cards": ("cards", lambda w: [row.update(is_default=True) for row in w.rows["payment_methods"]]),
    "a set-up that was not noticed": ("cards", lambda w: w.rows["setup_intents"][0].update(status="processing")),
    "a total that is no sum": ("totals", lambda w: w.rows["campaigns"][0].update(spent_minor=1)),
    "a count that is no count": ("totals", lambda w: w.rows["campaigns"][0].update(bookings_in_flight=3)),
    "a budget overdrawn": ("limits", lambda w: [row.update(budget_minor=1) for row in w.rows["campaigns"]]),
    "a booking too many": ("limits", lambda w: [row.update(max_bookings=1) for row in w.rows["campaigns"]]),
    "a reserve never given back": (
        "ledger",
        lambda w: w.rows["ledger_entries"].remove(
            next(row for row in w.of("ledger_entries", w.booking("failed")) if row["kind"] == "release")
        ),
    ),
    "a booking without a reserve": (
        "ledger",
        lambda w: w.rows["ledger_entries"].remove(w.of("ledger_entries", w.booking("authorized"))[0]),
    ),
    "an attempt that nobody replays": (
        "stuck",
        lambda w: w.of("attempts", w.booking("authorized"))[0].update(status="started"),
    ),
    "charging with nothing under way": ("stuck", lambda w: w.booking("failed").update(status="charging")),
    "a retry that is overdue": (
        "stuck",
        lambda w: w.booking("authorized").update(status="retry_scheduled", retry_at="2020-01-01T00:00:00+00:00"),
    ),
    "a hold past its end": (
        "stuck",
        lambda w: w.booking("authorized").update(capture_before="2020-01-01T00:00:00+00:00"),
    ),
    "an end that does not come": ("stuck", lambda w: w.booking("authorized").update(closing_as="cancelled")),
    "a capture that nobody makes": ("stuck", lambda w: w.booking("authorized").update(capture_amount_minor=1)),
    "a late hold": ("stuck", lambda w: w.booking("failed").update(late_hold=True)),
    "a refund that nobody makes": ("stuck", lambda w: w.rows["refunds"][0].update(status="requested")),
    "a card that nobody detaches": ("stuck", lambda w: w.rows["payment_methods"][0].update(status="detaching")),
    "a campaign that outlives itself": (
        "stuck",
        lambda w: [row.update(expires_at="2020-01-01T00:00:00+00:00") for row in w.rows["campaigns"]],
    ),
    "a match that waits": ("matches", lambda w: w.rows["matches"][0].update(state="waiting")),
    "a charged match without a booking": ("matches", lambda w: w.rows["bookings"].pop()),
    "an event not applied": ("events", lambda w: w.rows["stripe_events"][0].update(status="failed")),
    "an event lost": ("events", lambda w: lose_event(w, "payment_intent.succeeded")),
    "an event of nobody's": ("events", lambda w: w.stripe["events"].pop()),
    "a dispute that nobody noticed": ("disputes", lambda w: w.rows["disputes"].clear()),
    "a dispute of another state": ("disputes", lambda w: w.stripe["disputes"][0].update(status="lost")),
    "a fraud warning that nobody noticed": (
        "disputes",
        lambda w: [row.update(fraud_warned_at=None) for row in w.rows["bookings"]],
    ),
    "a review that nobody noticed": (
        "disputes",
        lambda w: w.stripe["reviews"].append(
            {"id": "prv_1", "open": True, "payment_intent": w.booking("authorized")["stripe_payment_intent_id"]}
        ),
    ),
    "a confirmation never told": (
        "told",
        lambda w: w.rows["notifications"].remove(
            next(row for row in w.rows["notifications"] if row["kind"] == "booking_confirmed")
        ),
    ),
    "an end told twice": (
        "told",
        lambda w: w.rows["notifications"].append(
            copied(next(row for row in w.rows["notifications"] if row["kind"] == "booking_failed"), id="second")
        ),
    ),
    "a refund told as failed": (
        "told",
        lambda w: next(row for row in w.rows["notifications"] if row["kind"] == "refund_issued").update(
            kind="refund_failed"
        ),
    ),
    "a campaign ended unsaid": ("told", lambda w: w.rows["campaigns"][0].update(status="expired")),
    "a booking called off, its money kept": ("money_without_booking", called_off),
    "a mail that never left": ("mail", lambda w: w.mails.pop()),
    "a mail sent twice": ("mail", lambda w: w.mails.append(w.mails[0])),
    "a notification never sent": ("mail", lambda w: w.rows["notifications"][0].update(status="pending")),
    "a mail sent by two at once": ("mail", mail_by_two),
    "a mail to somebody else": ("mail", lambda w: w.mails[0].update(to="stranger@example.com")),
    "a mail of nothing": ("mail", lambda w: w.mails.append({"notification_id": "none"})),
    "a notification given up unsaid": (
        "mail",
        lambda w: w.rows["notifications"][0].update(status="dead", last_error="never_settled"),
    ),
    "an illegal move": (
        "transition",
        lambda w: log_of(w, "bookings", w.booking("failed")["id"])[-1].update(new=json.dumps({"status": "refunded"})),
    ),
    "an illegal beginning": (
        "transition",
        lambda w: log_of(w, "bookings", w.booking("failed")["id"])[0].update(new='{"status": "failed"}'),
    ),
    "an entry changed": ("audit", lambda w: w.rows["audit_log"][3].update(actor="nobody")),
    "an entry taken out": (
        "audit",
        lambda w: w.rows["audit_log"].remove(log_of(w, "bookings", w.booking("refunded")["id"])[1]),
    ),
    "a row changed behind the log": ("audit", lambda w: w.booking("failed").update(failure_code="another")),
    "a row deleted": ("audit", lambda w: w.rows["setup_intents"].pop()),
}


def test_a_healthy_end_has_no_breach(played: Snapshot) -> None:
    statuses = {row["status"] for row in played.rows["bookings"]}
    assert statuses == {"confirmed", "refunded", "failed", "cancelled", "authorized"}
    assert played.mails, "the story has mails to look at"
    assert breaches(played) == []


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_breach_is_named(name: str, played: Snapshot) -> None:
    rule, plant = PLANTED[name]
    wrong = Wrong(played)
    plant(wrong)
    found = breaches(wrong.snapshot())
    assert rule in {breach.rule for breach in found}, found
    assert all(str(breach).startswith(f"{breach.rule}: {breach.subject}: ") for breach in found)


@pytest.mark.parametrize("is_told", [True, False])
def test_what_is_called_off_and_disputed_cannot_be_given_back_and_somebody_must_know(
    played: Snapshot, is_told: bool
) -> None:
    """Stripe refunds no disputed charge: the bank has taken the money already."""
    wrong = Wrong(played)
    called_off(wrong)
    booking = wrong.booking("confirmed")
    intent = booking["stripe_payment_intent_id"]
    wrong.stripe["disputes"].append(copied(wrong.stripe["disputes"][0], id="du_2", payment_intent=intent))
    if is_told:
        incident = copied(wrong.rows["incidents"][0], kind="refund_failed", booking_id=booking["id"])
        wrong.rows["incidents"].append(incident)

    found = {breach.subject for breach in breaches(wrong.snapshot()) if breach.rule == "money_without_booking"}

    assert (booking["id"] in found) is not is_told


@pytest.mark.parametrize("is_told", [True, False])
def test_a_part_given_back_by_hand_gets_ours_refused_and_somebody_must_know(played: Snapshot, is_told: bool) -> None:
    """Stripe refunds no more than is left, and so nothing of our refund of the whole."""
    wrong = Wrong(played)
    called_off(wrong)
    booking = wrong.booking("confirmed")
    by_hand = copied(
        wrong.stripe["refunds"][0],
        id="re_by_hand",
        payment_intent=booking["stripe_payment_intent_id"],
        amount=1,
        status="succeeded",
        metadata={},
        destination_details={"card": {"type": "refund"}},
    )
    wrong.stripe["refunds"].append(by_hand)
    if is_told:
        incident = copied(wrong.rows["incidents"][0], kind="refund_failed", booking_id=booking["id"])
        wrong.rows["incidents"].append(incident)

    found = {breach.subject for breach in breaches(wrong.snapshot()) if breach.rule == "money_without_booking"}

    assert (booking["id"] in found) is not is_told


def test_every_rule_has_a_planted_breach() -> None:
    assert {rule for rule, _ in PLANTED.values()} == RULES.keys()


def test_the_documentation_names_every_rule() -> None:
    page = Path(__file__).parents[2] / "docs" / "reliability.md"
    table = page.read_text("utf-8").partition("## What is assumed")[0]
    assert set(re.findall(r"`([a-z_]+)`", table)) - {"max_bookings", "charging"} == RULES.keys()


def test_a_breach_names_a_rule() -> None:
    with pytest.raises(AssertionError, match="no_rule is no rule"):
        Breach("no_rule", "subject", "detail")


def test_the_checker_knows_the_state_machines_as_the_database_does(db: psycopg.Connection) -> None:
    """Written down twice on purpose: a database whose table was changed is caught. Here both are held together."""
    rows = db.execute("select machine, from_status, to_status from internal.transitions").fetchall()
    known = {(machine, before, after) for machine, before, after in rows if machine != "notifications"}
    assert known == {
        (machine, before, after)
        for machine, moves in history.MOVES.items()
        for before, afters in moves.items()
        for after in afters
    }


def test_the_checker_shares_no_code_with_what_it_checks() -> None:
    allowed = ("local.faults.checker", "psycopg")
    standard = {"ast", "collections", "dataclasses", "datetime", "functools", "hashlib", "itertools", "json", "typing"}
    for path in sorted(Path(checker.__file__).parent.glob("*.py")):
        text = path.read_text()
        for node in ast.walk(ast.parse(text)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.partition(".")[0] in standard or name.startswith(allowed), f"{path.name} imports {name}"
        for function in ("invariant_breaches", "audit_breaches", "audit_hash", "auditable", "internal.transitions"):
            assert function not in text, f"{path.name} asks {function}"
