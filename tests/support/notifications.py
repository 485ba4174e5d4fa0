"""Notifications in a database, and the rows that they speak of."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.types.json import Jsonb

from local.supabase.bootstrap import create_user

LEASE_SECONDS = 120


@dataclass(frozen=True)
class Notifications:
    """A database of one's own, with the rows that a notification speaks of."""

    db: psycopg.Connection
    url: str

    def value(self, statement: str, *arguments: Any) -> Any:
        """The first column of the first row."""
        row = self.db.execute(statement.encode(), arguments).fetchone()
        assert row is not None
        return row[0]

    def user(self, email: str | None = "ada@example.com", *, customer: bool = True) -> UUID:
        """Somebody who can be written to."""
        user_id = create_user(self.url, email=f"{uuid4().hex[:8]}@signup.example.com", password="correct horse")
        if customer:
            self.db.execute(
                "insert into public.customers (user_id, stripe_customer_id, email) values (%s, %s, %s)",
                [user_id, f"cus_{uuid4().hex[:12]}", email],
            )
        return user_id

    def card(self, user_id: UUID, last4: str = "4242", brand: str = "visa") -> UUID:
        """A saved card."""
        card_id: UUID = self.value(
            "insert into public.payment_methods (user_id, stripe_payment_method_id, brand, last4, exp_month, exp_year,"
            " funding) values (%s, %s, %s, %s, 4, 2031, 'credit') returning id",
            user_id,
            f"pm_{uuid4().hex[:12]}",
            brand,
            last4,
        )
        return card_id

    def campaign(self, user_id: UUID, title: str = "Lisbon in May", currency: str = "eur") -> UUID:
        """An active campaign."""
        campaign_id: UUID = self.value(
            "insert into public.campaigns (user_id, title, criteria, currency, max_price_minor, budget_minor,"
            " max_bookings, expires_at) values (%s, %s, '{}', %s, 50000, 50000, 5, now() + interval '1 day')"
            " returning id",
            user_id,
            title,
            currency,
        )
        return campaign_id

    def booking(self, user_id: UUID, campaign_id: UUID, **columns: Any) -> UUID:
        """A booking of 12 500 minor units in the campaign's currency."""
        offer_id = f"offer-{uuid4().hex[:8]}"
        currency = self.value("select currency from public.campaigns where id = %s", campaign_id)
        self.db.execute(
            "insert into public.offers (id, attributes, amount_minor, currency, expires_at)"
            " values (%s, '{}', 12500, %s, now() + interval '1 day')",
            [offer_id, currency],
        )
        values = {"status": "charging", "action_expires_at": None, "retry_at": None, "closing_as": None} | columns
        booking_id: UUID = self.value(
            "insert into public.bookings (campaign_id, offer_id, user_id, amount_minor, currency, capture, status,"
            " action_expires_at, retry_at, closing_as) values (%s, %s, %s, 12500, %s, 'automatic', %s, %s, %s, %s)"
            " returning id",
            campaign_id,
            offer_id,
            user_id,
            currency,
            *values.values(),
        )
        return booking_id

    def attempt(self, booking_id: UUID, user_id: UUID, card_id: UUID, ordinal: int, status: str) -> None:
        """A try to charge the booking."""
        self.db.execute(
            "insert into public.attempts (booking_id, user_id, payment_method_id, ordinal, status)"
            " values (%s, %s, %s, %s, %s)",
            [booking_id, user_id, card_id, ordinal, status],
        )

    def owe(
        self, user_id: UUID, kind: str = "campaign_completed", data: dict[str, Any] | None = None, **ids: UUID
    ) -> UUID:
        """Owe a message, as the money functions do."""
        key = uuid4().hex
        self.db.execute(
            "select internal.notify_user(%s, %s, %s, %s, %s, %s)",
            [user_id, kind, key, ids.get("campaign_id"), ids.get("booking_id"), Jsonb(data or {})],
        )
        owed: UUID = self.value("select id from public.notifications where dedupe_key = %s", f"{kind}:{key}")
        return owed

    def claim(self, limit: int = 10) -> list[dict[str, Any]]:
        """Claim what is due."""
        claimed: list[dict[str, Any]] = self.claimed(limit)["notifications"]
        return claimed

    def claimed(self, limit: int = 10) -> dict[str, Any]:
        """The whole answer of a claim."""
        answer: dict[str, Any] = self.value("select public.claim_notifications(%s, %s)", limit, LEASE_SECONDS)
        return answer

    def settle(self, notification_id: Any, number: int, outcome: str, error: str | None = None) -> str:
        """Settle a try."""
        settled: str = self.value(
            "select public.settle_notification(%s, %s, %s, %s)", notification_id, number, outcome, error
        )
        return settled

    def row(self, notification_id: Any) -> dict[str, Any]:
        """The notification as the table has it."""
        row: dict[str, Any] = self.value(
            "select to_jsonb(n) from public.notifications as n where id = %s", notification_id
        )
        return row

    def make_due(self) -> None:
        """Let the waits and leases of all run out."""
        self.db.execute("update public.notifications set next_attempt_at = now() where next_attempt_at > now()")

    def incidents(self) -> list[tuple[str, str]]:
        """What engineers were told."""
        return self.db.execute("select kind, detail from public.incidents order by created_at, id").fetchall()
