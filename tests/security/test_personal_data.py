"""A person's copy and a person's erasure: all of theirs, nothing of others, no trace left, the accounts as they were.

Traces are looked for by planted words, in every column of every table that there is.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from local.environment import of_stack
from local.stack import LocalStack
from local.stack_settings import base_environment
from tests.security.catalogue import relations
from tests.support.books import Books, Json
from tests.support.stripe_side import StripeSide
from tests.support.travellers import Traveller

ROOT = Path(__file__).resolve().parents[2]

EXPORTED = {
    "customers": "customer",
    "payment_methods": "payment_methods",
    "setup_intents": "consents",
    "campaigns": "campaigns",
    "matches": "considered_offers",
    "bookings": "bookings",
    "attempts": "bookings",  # each booking brings its attempts
    "refunds": "refunds",
    "disputes": "disputes",
    "notifications": "notifications",
}
"""Each table with rows of a user -> where they are in the person's copy."""

TRACES = ["Traceable", "-traceable-", '"7391"', ",7391,", '"QQ"', ",QQ,", "tracewallet"]
"""What identifies the person of these tests, as it looks in a row's text: planted words, and the card's facts."""


class Person(Books):
    """A user who left traces wherever a user can."""

    def plant(self) -> Json:
        """Save a card, be charged, be given money back, win a dispute; leave an event behind that failed: the step."""
        email = f"{self.user_id}-traceable-@example.com"
        self.db.execute("update auth.users set email = %s where id = %s", [email, self.user_id])
        setup = f"seti_{uuid4().hex[:14]}"
        self.call(
            "record_setup_intent",
            p_user_id=self.user_id,
            p_email=email,
            p_stripe_customer_id=self.customer_id,
            p_setup_intent_id=setup,
            p_status="requires_payment_method",
            p_terms_version="2026-10",
        )
        facts = {"setup_intent_id": setup, "status": "succeeded", "stripe_customer_id": self.customer_id}
        assert self.hear("setup_intent", facts | {"card": self.card_facts()}) == "succeeded"
        self.card_row = self.values(
            "select to_jsonb(p) from public.payment_methods p where user_id = %s", self.user_id
        )[0]
        step = self.started(self.campaign(title="Traceable at the sea", idempotency_key="a-traceable-key"))
        paid = self.facts(step, "succeeded")
        self.settle(paid, step["attempt_id"])
        self.db.execute(
            "update public.campaigns set criteria = criteria || %s where user_id = %s",
            ['{"to": "a-traceable-city"}', self.user_id],
        )
        self.db.execute(
            "insert into public.matches (campaign_id, offer_id, user_id, verdict, state) "
            "select campaign_id, offer_id, user_id, 'matched', 'charged' from public.bookings where id = %s "
            "on conflict do nothing",
            [step["booking_id"]],
        )
        self.refund(step, paid, "succeeded")
        dispute = {"dispute_id": f"dp_{uuid4().hex[:14]}", "payment_intent_id": paid["payment_intent_id"]}
        told = {"status": "won", "reason": "fraudulent", "amount_minor": 100, "currency": "eur"}
        assert self.hear("dispute", dispute | told) == "dispute_won"
        card_id = self.card_row["stripe_payment_method_id"]
        news = {"stripe_payment_method_id": card_id, "news": "updated", "observed_at": "2030-01-01T00:00:00Z"}
        self.hear("card", news | {"card": self.card_facts(id=card_id)})
        self.hear("card", news | {"card": self.card_facts(id=card_id, exp_month="no number")})
        assert self.values("select count(*) from public.stripe_events where status = 'failed'") == [1]
        return step | {"payment_intent_id": paid["payment_intent_id"]}

    def card_facts(self, **changes: Any) -> Json:
        """A card that no other user has, as stripe_facts.card_facts words it."""
        facts = {"id": f"pm_{uuid4().hex[:14]}", "brand": "visa", "last4": "7391", "exp_month": 12, "exp_year": 2040}
        return facts | {"funding": "credit", "country": "QQ", "wallet": "tracewallet"} | changes

    def hear(self, handler: str, facts: Json) -> str:
        """The webhook stores and applies an event: what came of it."""
        event = {"id": f"evt_{uuid4().hex}", "type": "test", "livemode": False, "created": 1_900_000_000}
        told: str = self.call("receive_event", p_event=event | {"handler": handler, "facts": facts})["result"]
        return told

    def refund(self, step: Json, paid: Json, status: str) -> None:
        """Give a hundredth back."""
        begun = self.call("begin_refund", p_booking_id=step["booking_id"], p_amount_minor=100)
        self.forget_lease(step)
        facts = {
            "refund_id": begun["next"]["refund_id"],
            "stripe_refund_id": f"re_{uuid4().hex[:14]}",
            "status": status,
        }
        self.call(
            "settle_refund", p_facts=facts | {"payment_intent_id": paid["payment_intent_id"], "amount_minor": 100}
        )


@pytest.fixture
def person(project: psycopg.Connection) -> Person:
    return Person(project)


def traces(db: psycopg.Connection, words: list[str]) -> set[str]:
    """The tables that hold one of the words in any row, in any column."""
    found = set()
    for relation in relations(db):
        rows = sql.SQL("select 1 from {} as t where t::text like any(%s) limit 1").format(relation.sql)
        # In a row's text quotes are doubled, as in CSV; escaped where JSON is within.
        likes = [
            f"%{word.replace('_', chr(92) + '_')}%" for plain in words for word in (plain, plain.replace('"', '""'))
        ]
        if db.execute(rows, [likes]).fetchone():
            found.add(relation.table)
    return found


def all_of(db: psycopg.Connection, user_id: str, tables: list[str], *without: str) -> list[Json]:
    """The user's rows of those tables."""
    kept = []
    for table in tables:
        of_user = "booking_id in (select id from public.bookings where user_id = %s)"
        condition = of_user if table == "ledger_entries" else "user_id = %s"
        query = f"select to_jsonb(t) - %s::text[] from public.{table} as t where {condition} order by t::text"  # noqa: S608 - our own names
        kept += [row for (row,) in db.execute(query.encode(), [["updated_at", *without], user_id])]
    return kept


def breaches(db: psycopg.Connection) -> list[Json]:
    """What the database says of its own books and log."""
    found = db.execute("select public.invariant_breaches() || public.audit_breaches()").fetchone()
    assert found is not None
    said: list[Json] = found[0]
    return said


# --- the copy --------------------------------------------------------------------------------------------------------


def test_every_table_with_rows_of_users_is_in_the_copy(project: psycopg.Connection, person: Person) -> None:
    with_users = {each.table for each in relations(project) if "user_id" in each.columns}
    assert with_users == EXPORTED.keys()
    person.plant()
    copy = person.call("export_user", p_user_id=person.user_id)
    assert not [section for section in EXPORTED.values() if not copy[section]]


def test_the_copy_holds_all_of_the_person_and_nothing_of_another(project: psycopg.Connection, person: Person) -> None:
    booked = person.plant()
    other = Person(project)
    elsewhere = other.campaign(title="Somebody else's")
    theirs = other.started(elsewhere)

    copy = person.call("export_user", p_user_id=person.user_id)
    said = json.dumps(copy)

    assert copy["email"] == copy["customer"]["email"] == f"{person.user_id}-traceable-@example.com"
    for word in ("Traceable at the sea", "a-traceable-city", "a-traceable-key", '"7391"', '"QQ"', "tracewallet"):
        assert word in said
    for row in all_of(
        project, person.user_id, ["payment_methods", "setup_intents", "campaigns", "bookings", "attempts"]
    ):
        assert row["id"] in said
    assert len(copy["bookings"][0]["attempts"]) == 1
    assert [len(copy[section]) for section in ("refunds", "disputes", "considered_offers")] == [1, 1, 1]
    assert booked["booking_id"] in said
    for foreign in (other.user_id, other.customer_id, elsewhere["id"], theirs["booking_id"], "Somebody else's"):
        assert foreign not in said


def test_the_copy_tells_nothing_of_fraud_checks(person: Person) -> None:
    """Why a bank or Radar refused is no data to hand out: it would teach a thief (GDPR article 15(4))."""
    step = person.started()
    person.settle(person.declined(step, "never"), step["attempt_id"])
    said = json.dumps(person.call("export_user", p_user_id=person.user_id))
    assert "pickup_card" not in said
    assert "risk" not in said


# --- erasure ---------------------------------------------------------------------------------------------------------


def _hold(person: Person) -> None:
    step = person.started(person.campaign(capture="manual"))
    person.settle(person.facts(step, "requires_capture"), step["attempt_id"])
    assert person.statuses(step)[0] == "authorized"


def _late_hold(person: Person) -> None:
    step = person.started()
    person.settle(person.declined(step, "never"), step["attempt_id"])
    person.settle(person.facts(step, "canceled"))
    assert person.statuses(step)[0] == "failed"
    person.db.execute("update public.bookings set late_hold = true where id = %s", [step["booking_id"]])


def _authentication(person: Person) -> None:
    step = person.started()
    person.settle(person.declined(step, "user_action"), step["attempt_id"])
    assert person.statuses(step)[0] == "requires_action"


def _retry(person: Person) -> None:
    step = person.started()
    person.settle(person.declined(step, "retry_later"), step["attempt_id"])
    assert person.statuses(step)[0] == "retry_scheduled"


def _pending_refund(person: Person) -> None:
    step = person.started()
    paid = person.facts(step, "succeeded")
    person.settle(paid, step["attempt_id"])
    person.refund(step, paid, "pending")


def _requested_refund(person: Person) -> None:
    step = person.started()
    person.settle(person.facts(step, "succeeded"), step["attempt_id"])
    person.call("begin_refund", p_booking_id=step["booking_id"])


def _dispute(person: Person) -> None:
    step = person.started()
    paid = person.facts(step, "succeeded")
    person.settle(paid, step["attempt_id"])
    told = {"status": "needs_response", "reason": "fraudulent", "amount_minor": 100, "currency": "eur"}
    person.hear(
        "dispute", told | {"dispute_id": f"dp_{uuid4().hex[:14]}", "payment_intent_id": paid["payment_intent_id"]}
    )


UNDER_WAY = {
    "a charge": lambda person: person.started(),
    "a hold": _hold,
    "a hold that turned up late": _late_hold,
    "an authentication": _authentication,
    "a retry": _retry,
    "a refund that was asked for": _requested_refund,
    "a refund at the bank": _pending_refund,
    "a dispute": _dispute,
}


@pytest.mark.parametrize("what", UNDER_WAY)
def test_nobody_is_erased_while_money_is_under_way(project: psycopg.Connection, person: Person, what: str) -> None:
    person.db.execute("update public.customers set email = 'kept@example.com' where user_id = %s", [person.user_id])
    UNDER_WAY[what](person)
    before = all_of(project, person.user_id, list(EXPORTED))

    with pytest.raises(psycopg.Error, match="payments_under_way") as refusal, project.transaction():
        person.call("erase_user", p_user_id=person.user_id)

    assert refusal.value.sqlstate == "PT409"
    assert all_of(project, person.user_id, list(EXPORTED)) == before


def test_nothing_that_identifies_the_person_is_left_anywhere(project: psycopg.Connection, person: Person) -> None:
    person.plant()
    planted = traces(project, TRACES)
    assert {"customers", "payment_methods", "campaigns", "stripe_events"} <= planted, "nothing was planted to be found"

    erased = person.call("erase_user", p_user_id=person.user_id)

    assert erased == {"stripe_customer_id": person.customer_id}
    assert traces(project, TRACES) == set()


def test_nothing_comes_back_with_late_news(project: psycopg.Connection, person: Person) -> None:
    """Stripe tells of the card's removal, of the Customer's, and of a set-up that had just succeeded."""
    person.plant()
    card_id = person.card_row["stripe_payment_method_id"]
    person.call("erase_user", p_user_id=person.user_id)

    person.hear("card", {"stripe_payment_method_id": card_id, "news": "detached", "card": person.card_facts()})
    person.hear("card", {"stripe_payment_method_id": card_id, "news": "updated", "card": person.card_facts()})
    person.hear("customer_deleted", {"stripe_customer_id": person.customer_id})
    late = {"setup_intent_id": "seti_late", "status": "succeeded", "terms_version": "2026-10"}
    told = person.hear("setup_intent", late | {"stripe_customer_id": person.customer_id, "card": person.card_facts()})
    person.call("reapply_events", p_apply=True)

    assert told == "customer_deleted"
    assert traces(project, TRACES) == set()


def test_the_accounts_stay_as_they_were_and_so_do_others(project: psycopg.Connection, person: Person) -> None:
    person.plant()
    other = Person(project)
    other.started(other.campaign(title="Somebody else's"))
    before = breaches(project)
    accounts = ["bookings", "attempts", "ledger_entries", "refunds", "disputes"]
    kept = all_of(project, person.user_id, accounts)
    personal = ("title", "criteria", "idempotency_key", "idempotency_fingerprint", "status", "pause_reason")
    totals = all_of(project, person.user_id, ["campaigns"], *personal)
    others = all_of(project, other.user_id, [*EXPORTED, "ledger_entries"])
    assert min(map(len, (kept, totals, others))) > 0

    person.call("erase_user", p_user_id=person.user_id)

    assert all_of(project, person.user_id, accounts) == kept
    assert all_of(project, person.user_id, ["campaigns"], *personal) == totals
    assert all_of(project, other.user_id, [*EXPORTED, "ledger_entries"]) == others
    assert breaches(project) == before


def test_the_erased_are_charged_for_nothing_and_hear_nothing(person: Person) -> None:
    booked = person.plant()
    campaign = person.row("campaigns", person.booking(booked)["campaign_id"])
    person.call("erase_user", p_user_id=person.user_id)

    assert person.begin(campaign, person.offer())["refusal"] == "campaign_not_active"
    pending = "select count(*) from public.notifications where user_id = %s and status = 'pending'"
    assert person.values(pending, person.user_id) == [0]
    assert person.call("erase_user", p_user_id=person.user_id) == {"stripe_customer_id": person.customer_id}


def test_a_user_who_never_saved_a_card_can_be_erased(project: psycopg.Connection) -> None:
    user_id = str(uuid4())
    project.execute("insert into auth.users (id, email) values (%s, 'a-traceable-address@example.com')", [user_id])
    project.execute(
        """insert into public.campaigns
          (user_id, title, criteria, currency, max_price_minor, budget_minor, max_bookings, expires_at)
        values (%s, 'Traceable', '{}', 'eur', 1000, 1000, 1, now() + interval '1 day')""",
        [user_id],
    )
    erased = project.execute("select public.erase_user(%s)", [user_id]).fetchone()
    assert erased == ({"stripe_customer_id": None},)
    assert traces(project, TRACES) == set()


# --- the commands ----------------------------------------------------------------------------------------------------


def people(stack: LocalStack, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run `autobook` on the stack, as an operator would on a project."""
    return subprocess.run(
        [sys.executable, "-m", "local.cli", *arguments],
        cwd=ROOT,
        env=base_environment() | of_stack(stack.contract()),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_commands_do_what_they_say(stack: LocalStack, carded: Traveller, stripe_side: StripeSide) -> None:
    campaign = carded.open_campaign(title="Traceable from end to end")
    carded.book(campaign)
    stripe_side.flush()

    copy = people(stack, "export", carded.id)
    assert copy.returncode == 0, copy.stderr
    assert json.loads(copy.stdout)["campaigns"][0]["title"] == "Traceable from end to end"
    assert json.loads(copy.stdout)["email"] == carded.user.email

    hesitant = people(stack, "erase", carded.id)
    assert (hesitant.returncode, "--yes" in hesitant.stderr) == (2, True)
    assert carded.campaign(campaign)["title"] == "Traceable from end to end"

    erased = people(stack, "erase", carded.id, "--yes")
    assert erased.returncode == 0, erased.stderr
    stripe_side.flush()  # Stripe tells of the Customer's end
    assert traces(carded.db, ["Traceable from end to end", carded.user.email]) == set()
    assert carded.rows("select status::text, last4 from public.payment_methods where user_id = %s", carded.id) == [
        ("detached", "0000")
    ]
    assert carded.rows("select deleted_at is not null from public.customers where user_id = %s", carded.id) == [(True,)]

    verified = people(stack, "audit-verify")
    count, head = verified.stdout.splitlines()
    assert (verified.returncode, count, head.split()[0]) == (0, "0 breaches in the audit log.", "Head")
    kept = people(stack, "audit-verify", "--expect", head.split()[1])
    assert (kept.returncode, kept.stdout.splitlines()[-1]) == (
        0,
        "Everything that the expected head covers is as it was.",
    )
    until = head.split()[1].partition(":")[0]
    lost = people(stack, "audit-verify", "--expect", f"{until}:{'0' * 64}")
    assert (lost.returncode, "not what it was" in lost.stdout) == (1, True)
    assert people(stack, "audit-verify", "--expect", "today").returncode == 2


def test_the_command_says_why_somebody_cannot_be_erased(stack: LocalStack, carded: Traveller) -> None:
    carded.book(carded.open_campaign(capture="manual"))
    refused = people(stack, "erase", carded.id, "--yes")
    assert refused.returncode == 1
    assert "payments_under_way" in refused.stderr
