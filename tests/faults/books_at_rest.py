"""The SQL functions, under their own roles, and a Stripe account in the same process: no functions in between.

What a Lambda would do between two commits is in the test's hands: who calls Stripe when, whose answer is committed,
lost or late, and which events arrive in which order. Time is simulated on both sides.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlencode
from uuid import uuid4

import psycopg
import pytest
import stripe
from psycopg import sql
from psycopg.types.json import Jsonb

from functions.shared import settings, stripe_gateway
from functions.shared.clock import Deadline
from functions.shared.stripe_events.event import Event
from functions.shared.stripe_events.inbox import receive
from functions.shared.stripe_gateway import StripeGateway, gateway
from functions.shared.surroundings import Surroundings, enter
from local.faults.checker import Breach, breaches, read_snapshot
from local.faults.checker.snapshot import TABLES
from local.stripe import actors
from local.stripe.clock import Clock
from local.stripe.gate import Gate, Request
from local.stripe.settings import Settings
from local.stripe.transport import BASE_URL, InProcessTransport
from local.stripe.world import StripeWorld

if TYPE_CHECKING:
    from functions.shared.database import Database

Json = dict[str, Any]

SECRET_KEY, PUBLISHABLE_KEY = "sk_test_standin", "pk_test_standin"
STRIPE_STEPS = {"charge", "look_up", "cancel", "capture", "refund"}
MOST_ROUNDS = 15

_CLOCK = """
create or replace function internal.clock() returns timestamptz language sql stable set search_path = ''
as $$ select coalesce(nullif(current_setting('autobook.now', true), '')::timestamptz, now()) $$
"""
_DEFAULTS = """
select format('alter table %I.%I alter column %I set default internal.clock()', table_schema, table_name, column_name)
from information_schema.columns
where table_schema in ('public', 'internal') and column_default = 'now()'
"""
_EMPTY = (*TABLES, "audit_log")


class Wires(Surroundings):
    """Stripe is the world that is set, whichever that is."""

    def __init__(self) -> None:
        self.world: StripeWorld | None = None

    def stripe_http_client(self, timeout_seconds: float) -> stripe.HTTPClient:
        """Ask for the world at each request."""
        wires = self

        class Current(stripe.HTTPClient):
            name = "current-world"

            def request(self, *arguments: Any, **options: Any) -> Any:
                assert wires.world is not None
                return InProcessTransport(wires.world).request(*arguments, **options)

            def close(self) -> None:
                """Nothing is open."""

        return Current()


@contextmanager
def simulated(database_url: str) -> Iterator[tuple[psycopg.Connection, Wires]]:
    """A database whose clock is the simulation's, and the functions' Stripe module wired to worlds."""
    wires = Wires()
    environment = {"STRIPE_SECRET_KEY": SECRET_KEY, "STRIPE_PUBLISHABLE_KEY": PUBLISHABLE_KEY}
    with (
        psycopg.connect(database_url, autocommit=True) as connection,
        pytest.MonkeyPatch.context() as patch,
        enter(wires),
    ):
        for name, value in (environment | {"STRIPE_API_BASE": BASE_URL}).items():
            patch.setenv(name, value)
        connection.execute(_CLOCK)
        for (statement,) in connection.execute(_DEFAULTS).fetchall():
            connection.execute(statement)
        connection.execute(
            "update internal.settings set velocity_bookings_per_hour = 1000, velocity_cards_per_day = 100"
        )
        _forget()
        try:
            yield connection, wires
        finally:
            _forget()


def _forget() -> None:
    settings._read.cache_clear()
    stripe_gateway._gateway.cache_clear()


class Rows:
    """What a function has of the database: calls under its role, each a transaction, at a simulated time."""

    def __init__(self, connection: psycopg.Connection, role: str, now: datetime) -> None:
        self._connection, self._role, self._now = connection, role, now

    def call(self, function: str, **arguments: Any) -> Any:
        """Raises psycopg.Error with PostgREST's PTnnn for a refusal."""
        values = [Jsonb(value) if isinstance(value, dict) else value for value in arguments.values()]
        statement = sql.SQL("select public.{}({})").format(
            sql.Identifier(function),
            sql.SQL(", ").join(
                sql.SQL("{} => {}").format(sql.Identifier(name), sql.Placeholder()) for name in arguments
            ),
        )
        with self._connection.transaction():
            self._connection.execute(
                "select set_config('role', %s, true), set_config('request.jwt.claims', %s, true), "
                "set_config('autobook.now', %s, true)",
                [self._role, json.dumps({"role": self._role}), self._now.isoformat()],
            )
            row = self._connection.execute(statement, values).fetchone()
        assert row is not None
        return row[0]


@dataclass
class Call:
    """A Stripe call that some function is to make, is making, or has made and not committed."""

    role: str
    step: Json
    facts: Json | None = None


@dataclass
class Stage:
    """One user, two cards, two campaigns, an empty Stripe account."""

    connection: psycopg.Connection
    wires: Wires
    world: StripeWorld = field(init=False)
    user_id: str = field(default_factory=lambda: str(uuid4()))
    cards: list[str] = field(default_factory=list)
    campaigns: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.world = StripeWorld(
            Settings(secret_key=SECRET_KEY, publishable_key=PUBLISHABLE_KEY, seed=7),
            Clock(frozen_at=datetime.now(UTC).timestamp()),
        )
        self.wires.world = self.world
        self._empty()
        customer = self.post("/v1/customers", {"metadata[user_id]": self.user_id})
        self.insert("auth.users", id=self.user_id)
        self.insert("public.customers", user_id=self.user_id, stripe_customer_id=customer["id"])
        for token, facts in (("pm_card_visa", {"is_default": True}), ("pm_card_mastercard", {})):
            method = self.post(f"/v1/payment_methods/{token}/attach", {"customer": customer["id"]})
            self.cards.append(method["id"])
            kept = {name: method["card"][name] for name in ("brand", "last4", "exp_month", "exp_year", "funding")}
            self.insert(
                "public.payment_methods", user_id=self.user_id, stripe_payment_method_id=method["id"], **kept, **facts
            )
        for capture in ("automatic", "manual"):
            made = self.insert(
                "public.campaigns",
                user_id=self.user_id,
                title=capture,
                criteria=Jsonb({"of": self.user_id}),
                currency="eur",
                max_price_minor=20_000,
                budget_minor=60_000,
                max_bookings=3,
                expires_at=self.now + timedelta(days=60),
                capture=capture,
                use_backups=True,
                auto_book=False,
            )
            self.campaigns.append(made)

    def _empty(self) -> None:
        """As replication would: no trigger asks why."""
        with self.connection.transaction():
            self.connection.execute("set local session_replication_role = replica")
            for table in _EMPTY:
                self.connection.execute(sql.SQL("delete from public.{}").format(sql.Identifier(table)))
            self.connection.execute("delete from auth.users")

    def insert(self, table: str, **columns: Any) -> str:
        """A row by a superuser: its id, or an empty text."""
        schema, _, name = table.partition(".")
        statement = sql.SQL("insert into {}.{} as t ({}) values ({}) returning to_jsonb(t) ->> 'id'").format(
            sql.Identifier(schema),
            sql.Identifier(name),
            sql.SQL(", ").join(map(sql.Identifier, columns)),
            sql.SQL(", ").join([sql.Placeholder()] * len(columns)),
        )
        with self.connection.transaction():
            self.connection.execute("select set_config('autobook.now', %s, true)", [self.now.isoformat()])
            row = self.connection.execute(statement, list(columns.values())).fetchone()
        assert row is not None
        return row[0] or ""

    def rows(self, query: Any, *arguments: Any) -> list[tuple[Any, ...]]:
        """A look by a superuser."""
        return self.connection.execute(query, arguments).fetchall()

    @property
    def now(self) -> datetime:
        """The simulated time."""
        return datetime.fromtimestamp(self.world.clock.now(), UTC)

    def function(self, role: str) -> Rows:
        """The database as a Lambda has it."""
        return Rows(self.connection, f"autobook_{role}", self.now)

    # --- Stripe ------------------------------------------------------------------------------------------------------

    def post(self, path: str, form: Json, key: str = SECRET_KEY) -> Json:
        """A request that is no function's: the dashboard's, or with the publishable key the page's."""
        headers = {"authorization": f"Bearer {key}"}
        answer = Gate(self.world).call(Request("POST", path, body=urlencode(form).encode(), headers=headers))
        found: Json = json.loads(answer.body)
        return found

    @property
    def gateway(self) -> StripeGateway:
        """Stripe as the functions have it."""
        return gateway()

    def ask_stripe(self, step: Json) -> Json:
        """The Stripe call of a step: its facts, as functions/shared/charging.py hands them on."""
        deadline = Deadline.after(600)
        if step["do"] == "refund":
            return self.gateway.refund(step, deadline)
        ask = {
            "charge": self.gateway.charge,
            "look_up": self.gateway.look_up,
            "cancel": self.gateway.cancel,
            "capture": self.gateway.capture,
        }
        named = {name: step[name] for name in ("booking_id", "payment_intent_id") if step.get(name)}
        return named | ask[step["do"]](step, deadline)

    def commit(self, call: Call) -> Json:
        """Second half: what the database answers."""
        rows = self.function(call.role)
        if call.step["do"] == "refund":
            settled: Json = rows.call("settle_refund", p_facts=call.facts, p_take_next=True)
        else:
            settled = rows.call(
                "settle_payment", p_facts=call.facts, p_attempt_id=call.step.get("attempt_id"), p_take_next=True
            )
        return settled

    def deliver(self, event: Json, role: str = "webhook") -> Json:
        """An event reaches us: what became of it."""
        return receive(cast("Database", self.function(role)), Event.model_validate(event))

    def act(self, what: Any, wanted: Any, object_id: str = "") -> None:
        """Somebody acts at Stripe (`local.stripe.actors`)."""
        with self.world.lock:
            what(self.world, object_id, wanted)
            self.world.tick()

    def change_card(self, number: int, **change: Any) -> None:
        """A bank behaves otherwise."""
        self.act(actors.change_card, actors.CardChange(**change), self.cards[number])

    # --- the end -----------------------------------------------------------------------------------------------------

    def forget_leases(self) -> None:
        """Whoever had a step does not come back."""
        self.connection.execute("update public.bookings set leased_until = null where leased_until is not null")

    def come_to_rest(self, hours: float, *, news_first: bool) -> None:
        """What reconcile does when it comes back after so many hours, until there is nothing to do.

        Without `news_first` it does what is due before it hears of anything: Stripe's answers are all that it has.
        """
        for wait_hours in (hours, 24):  # a 500 that Stripe remembers is replayed for a day
            self.world.advance(wait_hours * 3600)
            for _ in range(MOST_ROUNDS):
                self.forget_leases()
                found = self._bring_events() if news_first else 0
                found += self._do_what_is_due()
                if not found and not news_first:
                    found = self._bring_events()
                if not found:
                    return
        raise AssertionError(f"never at rest: {self.function('reconcile').call('due_bookings', p_limit=100)}")

    def _bring_events(self) -> int:
        rows = self.function("reconcile")
        unknown = set(rows.call("unknown_events", p_ids=[event["id"] for event in self.world.events]))
        for event in [event for event in self.world.events if event["id"] in unknown]:
            self.finish(self.deliver(event, "reconcile").get("next"))
        again: list[Json] = rows.call("reapply_events", p_apply=True)
        rows.call("expire_campaigns", p_apply=True)
        return len(unknown) + len(again)

    def _do_what_is_due(self) -> int:
        due: list[Json] = self.function("reconcile").call("due_bookings", p_limit=100)
        for one in due:
            self.finish(self.function("reconcile").call("take_step", p_booking_id=one["booking_id"]))
        return len(due)

    def finish(self, step: Json | None) -> None:
        """Do a step and what follows from it, undisturbed."""
        for _ in range(12):
            if step is None or step["do"] not in STRIPE_STEPS:
                return
            before, call = step, Call("reconcile", step)
            call.facts = self.ask_stripe(step)
            step = self.commit(call).get("next")
            if step == before:
                return

    def breaches(self) -> list[Breach]:
        """What the checker finds."""
        books = {name: list(table) for name, table in self.world.tables.items()}
        return breaches(read_snapshot(self.connection, books, now=self.now))
