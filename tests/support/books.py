"""The SQL functions without a stack: a user's rows put in by hand, the functions called as the handlers call them."""

from copy import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

Json = dict[str, Any]

PRICE_MINOR = 12_000

DECLINES: dict[str, Json] = {
    "other_card": {"category": "other_card", "code": "do_not_honor"},
    "retry_later": {"category": "retry_later", "code": "insufficient_funds"},
    "user_action": {"category": "user_action", "code": "authentication_required"},
    "update_card": {"category": "update_card", "code": "expired_card"},
    "never": {"category": "never", "code": "pickup_card", "blocks_card": True, "is_fraud": True},
    "stop": {"category": "stop", "code": "duplicate_transaction"},
    "our_bug": {"category": "our_bug", "code": "parameter_invalid"},
}
"""One decline of each category, as functions/shared/stripe_facts.py words it."""


def decline(category: str) -> Json:
    """The facts of a decline of a category."""
    facts = {"source": "decline_code", "user_message": f"The sentence of {category}.", "is_fraud": False}
    return facts | {"blocks_card": False} | DECLINES[category]


@dataclass
class Books:
    """A user with a Stripe Customer, in the database that a connection leads to."""

    db: psycopg.Connection
    user_id: str = field(default_factory=lambda: str(uuid4()))
    customer_id: str = field(default_factory=lambda: f"cus_{uuid4().hex[:14]}")

    def __post_init__(self) -> None:
        self.db.execute("insert into auth.users (id) values (%s)", [self.user_id])
        self.insert("customers", user_id=self.user_id, stripe_customer_id=self.customer_id)

    @classmethod
    def over(cls, connection: psycopg.Connection, books: Self) -> Self:
        """The same user by another connection."""
        other = copy(books)
        other.db = connection
        return other

    # --- rows --------------------------------------------------------------------------------------------------------

    def insert(self, table: str, **columns: Any) -> Json:
        """Insert a row: the row."""
        values = [Jsonb(value) if isinstance(value, dict) else value for value in columns.values()]
        statement = sql.SQL("insert into public.{table} as t ({names}) values ({places}) returning to_jsonb(t)").format(
            table=sql.Identifier(table),
            names=sql.SQL(", ").join(map(sql.Identifier, columns)),
            places=sql.SQL(", ").join([sql.Placeholder()] * len(columns)),
        )
        row = self.db.execute(statement, values).fetchone()
        assert row is not None
        made: Json = row[0]
        return made

    def row(self, table: str, row_id: str) -> Json:
        """A row by its id."""
        statement = sql.SQL("select to_jsonb(t) from public.{} as t where t.id = %s").format(sql.Identifier(table))
        row = self.db.execute(statement, [row_id]).fetchone()
        assert row is not None
        found: Json = row[0]
        return found

    def values(self, query: str, *arguments: Any) -> list[Any]:
        """The rows of a query; those with one column as that column."""
        return [row[0] if len(row) == 1 else row for row in self.db.execute(query.encode(), arguments)]

    def card(self, **columns: Any) -> Json:
        """A saved card; the first is the default."""
        first = not self.values("select 1 from public.payment_methods where user_id = %s", self.user_id)
        facts = {
            "user_id": self.user_id,
            "stripe_payment_method_id": f"pm_{uuid4().hex[:14]}",
            "brand": "visa",
            "last4": "4242",
            "exp_month": 12,
            "exp_year": 2040,
            "funding": "credit",
            "is_default": first,
        }
        return self.insert("payment_methods", **facts | columns)

    def campaign(self, **columns: Any) -> Json:
        """A campaign that anything fits: 150.00 EUR each, 1000.00 in all."""
        facts = {
            "user_id": self.user_id,
            "title": "Any weekend",
            "criteria": {"of": self.user_id},
            "currency": "eur",
            "max_price_minor": 15_000,
            "budget_minor": 100_000,
            "max_bookings": 10,
            "expires_at": datetime.now(UTC) + timedelta(days=30),
            "auto_book": False,
        }
        return self.insert("campaigns", **facts | columns)

    def offer(self, **columns: Any) -> Json:
        """An offer that the user's campaigns fit: 120.00 EUR."""
        facts = {
            "id": f"offer-{uuid4().hex[:12]}",
            "attributes": {"of": self.user_id},
            "amount_minor": PRICE_MINOR,
            "currency": "eur",
            "expires_at": datetime.now(UTC) + timedelta(days=20),
        }
        return self.insert("offers", **facts | columns)

    # --- functions ---------------------------------------------------------------------------------------------------

    def call(self, function: str, **arguments: Any) -> Any:
        """Call a function of `public` with named arguments."""
        statement = sql.SQL("select public.{function}({arguments})").format(
            function=sql.Identifier(function),
            arguments=sql.SQL(", ").join(
                sql.SQL("{} => {}").format(sql.Identifier(name), sql.Placeholder()) for name in arguments
            ),
        )
        values = [Jsonb(value) if isinstance(value, dict | list) else value for value in arguments.values()]
        row = self.db.execute(statement, values).fetchone()
        assert row is not None
        return row[0]

    def begin(self, campaign: Json, offer: Json) -> Json:
        """First half of a charge."""
        begun: Json = self.call("begin_charge", p_campaign_id=campaign["id"], p_offer_id=offer["id"])
        return begun

    def started(self, campaign: Json | None = None, **offer: Any) -> Json:
        """A booking whose Stripe call is due: the step."""
        if not self.values("select 1 from public.payment_methods where user_id = %s", self.user_id):
            self.card()
        begun = self.begin(campaign or self.campaign(), self.offer(**offer))
        assert begun["next"]["do"] == "charge", begun
        step: Json = begun["next"]
        return step

    def settle(self, facts: Json, attempt_id: str | None = None, *, take_next: bool = True) -> Json:
        """Second half of a charge."""
        settled: Json = self.call("settle_payment", p_facts=facts, p_attempt_id=attempt_id, p_take_next=take_next)
        return settled

    def facts(self, step: Json, status: str, **more: Any) -> Json:
        """What Stripe says of the PaymentIntent of a step."""
        amount = step.get("amount_minor", PRICE_MINOR)
        return {
            "payment_intent_id": step.get("payment_intent_id") or f"pi_{step['booking_id'].replace('-', '')}",
            "status": status,
            "amount_minor": amount,
            "amount_received_minor": amount if status == "succeeded" else 0,
            "currency": step.get("currency", "eur"),
            "stripe_customer_id": self.customer_id,
            "booking_id": step["booking_id"],
        } | more

    def declined(self, step: Json, category: str, **more: Any) -> Json:
        """What Stripe says of a decline of the step's attempt; each is a Charge of its own."""
        facts = {
            "charge_id": f"ch_{uuid4().hex[:14]}",
            "stripe_payment_method_id": step["stripe_payment_method_id"],
            "decline": decline(category),
        }
        return self.facts(step, "requires_payment_method", **facts | more)

    # --- what has become of it ---------------------------------------------------------------------------------------

    def booking(self, step: Json) -> Json:
        """The booking's row."""
        return self.row("bookings", step["booking_id"])

    def statuses(self, step: Json) -> tuple[str, list[str]]:
        """The booking's status and its attempts', oldest first."""
        attempts = self.values(
            "select status::text from public.attempts where booking_id = %s order by ordinal", step["booking_id"]
        )
        return self.booking(step)["status"], attempts

    def ledger(self, step: Json) -> list[tuple[str, int]]:
        """Kind and amount of the booking's entries."""
        return self.values(
            "select kind::text, amount_minor from public.ledger_entries where booking_id = %s order by id",
            step["booking_id"],
        )

    def incidents(self, step: Json) -> list[str]:
        """The kinds of incidents about the booking."""
        return self.values(
            "select kind from public.incidents where booking_id = %s order by created_at, kind", step["booking_id"]
        )

    def notified(self) -> list[str]:
        """The kinds of messages owed to the user, sorted."""
        return self.values("select kind from public.notifications where user_id = %s order by kind", self.user_id)

    def forget_lease(self, step: Json) -> None:
        """Whoever had the booking's next step does not come back."""
        self.db.execute("update public.bookings set leased_until = null where id = %s", [step["booking_id"]])
