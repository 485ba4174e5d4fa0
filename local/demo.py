"""`make demo`: one auto-booking from saved card to confirmed booking, played against the real functions.

Every line on the screen is read back from an answer, from the database or from the Stripe stand-in; nothing is made up.
The demo checks what it shows and ends with a failure if the story went another way.
"""

import email
import email.policy
import json
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import stripe
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from supabase import create_client

from functions.shared.signatures import sign
from local.stack import LocalStack, StackOptions
from local.users import User

WAIT_SECONDS = 10.0
Json = dict[str, Any]


class StoryError(Exception):
    """Something happened that the story does not tell."""


class Actor:
    """Somebody who calls the API: a user with a token, or the feed with its signature."""

    def __init__(self, api_url: str, *, token: str | None = None, secret: str | None = None) -> None:
        self._client = httpx.Client(base_url=api_url, timeout=30)
        self._token, self._secret = token, secret

    def call(self, method: str, path: str, body: Json | None = None) -> tuple[int, Json]:
        """Status and JSON answer of a call."""
        raw = b"" if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if raw else {}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        if self._secret:
            headers["Autobook-Signature"] = sign(raw, self._secret, int(time.time()))
        answer = self._client.request(method, path, content=raw, headers=headers)
        return answer.status_code, answer.json() if answer.content else {}

    def expect(self, status: int, method: str, path: str, body: Json | None = None) -> Json:
        """The answer, which must have that status. Raises StoryError."""
        got, answer = self.call(method, path, body)
        if got != status:
            raise StoryError(f"{method} {path} answered {got} instead of {status}: {answer.get('code', '')}")
        return answer


class Demo:
    """The story, chapter by chapter."""

    def __init__(self, stack: LocalStack, console: Console) -> None:
        self.stack, self.console = stack, console
        contract = stack.contract()
        self.contract = contract
        self.feed = Actor(stack.api_url, secret=contract["signing_secrets"][0])
        self.stripe = stripe.StripeClient(contract["stripe_secret_key"], base_addresses={"api": stack.stripe_url})
        # What Stripe.js holds in a browser: the publishable key, and never the secret one.
        self.page = stripe.StripeClient(contract["stripe_publishable_key"], base_addresses={"api": stack.stripe_url})
        self.prefix = uuid4().hex[:6]
        self.told: dict[str, int] = {}

    def play(self) -> None:
        """All of it."""
        ada, ben, chiara = self.stack.demo_users[:3]
        traveller = self.sign_in(ada)
        self.save_card(traveller, "pm_card_authenticationRequiredOnSetup", three_ds=True)
        self.chapter("3. Opens a campaign, and goes to sleep")
        campaign = self.open_campaign(traveller, "A week in Rome", {"city": "Rome"})
        booking = self.feed_brings_offers(traveller, campaign)
        self.charge_again(traveller, campaign, booking)
        self.timeline(traveller, campaign)
        self.declined(ben)
        self.stranger(chiara, campaign, booking)
        self.books()

    def say(self, sentence: str) -> None:
        """One line of the story."""
        self.console.print(f"  {sentence}")

    def chapter(self, title: str) -> None:
        """A heading."""
        self.console.print(f"\n[bold]{title}[/bold]")

    def sign_in(self, user: User) -> Actor:
        """A user signs in with a password, through supabase-py."""
        self.chapter("1. A user signs in")
        client = create_client(self.contract["supabase_url"], self.contract["publishable_key"])
        session = client.auth.sign_in_with_password({"email": user.email, "password": user.password}).session
        if session is None:
            raise StoryError("sign-in gave no session")
        self.say(f"{user.email} has an access token of {len(session.access_token)} characters.")
        return Actor(self.stack.api_url, token=session.access_token)

    def save_card(self, user: Actor, card: str, *, three_ds: bool) -> Json:
        """A card is saved, as Stripe.js does it on a page."""
        if three_ds:
            self.chapter("2. Saves a card that asks for 3D Secure")
        setup = user.expect(201, "POST", "/setup-intent", {"consent": {"terms_version": "2026-11"}})
        # The publishable key and the client secret, nothing else: the API never sees a card.
        confirmation: Any = {  # client_secret is Stripe.js's own parameter, which the SDK's server-side types lack
            "client_secret": setup["client_secret"],
            "payment_method": card,
            "return_url": "https://example.com/cards",
        }
        confirmed = self.page.v1.setup_intents.confirm(setup["id"], confirmation)
        if three_ds:
            if confirmed.status != "requires_action":
                raise StoryError(f"the card was to ask for 3D Secure, and the set-up is {confirmed.status}")
            self.say("The bank asks the cardholder; the cardholder confirms.")
            self._answer_challenge(setup["id"])
        saved = user.expect(200, "GET", f"/setup-intent/{setup['id']}")["payment_method"]
        self.say(
            f"Saved: {saved['brand']} ending in {saved['last4']}, expires {saved['exp_month']}/{saved['exp_year']}"
            f"{', the default' if saved['is_default'] else ''}."
        )
        return dict(saved)

    def open_campaign(self, user: Actor, title: str, criteria: Json) -> Json:
        """A campaign with a budget for two."""
        campaign = user.expect(
            201,
            "POST",
            "/campaigns",
            {
                "title": title,
                "criteria": criteria,
                "currency": "eur",
                "max_price_minor": 60_000,
                "budget_minor": 100_000,
                "max_bookings": 2,
                "expires_at": (datetime.now(UTC) + timedelta(days=30)).isoformat(),
            },
        )
        self.say(
            f"“{title}”: anything that matches {json.dumps(criteria)}, up to 600.00 EUR each, 1,000.00 EUR in all."
        )
        return campaign

    def offer(self, name: str, city: str, amount_minor: int, currency: str = "eur") -> Json:
        """An offer as the feed sends it."""
        return {
            "id": f"{self.prefix}-{name}",
            "attributes": {"city": city, "nights": 7},
            "amount_minor": amount_minor,
            "currency": currency,
            "expires_at": (datetime.now(UTC) + timedelta(hours=6)).isoformat(),
        }

    def feed_brings_offers(self, user: Actor, campaign: Json) -> Json:
        """Three offers; one fits, and is booked with nobody there."""
        self.chapter("4. The feed brings three offers; nobody is at the screen")
        offers = [
            self.offer("too-dear", "Rome", 95_000),
            self.offer("in-dollars", "Rome", 45_000, "usd"),
            self.offer("fits", "Rome", 48_500),
        ]
        started = time.monotonic()
        self.feed.expect(202, "POST", "/offers", {"offers": offers})
        booking = self._wait_for_booking(user, campaign)
        seconds = time.monotonic() - started
        self.say(f"Booked {booking['offer_id']} for {booking['amount_minor'] / 100:.2f} EUR after {seconds:.2f} s.")
        event = self._wait_for(
            "select e.type, e.status::text, e.result from public.stripe_events as e"
            " inner join public.bookings as b on e.object_id = b.stripe_payment_intent_id"
            " where b.id = %s and e.type = 'payment_intent.succeeded'",
            (booking["id"],),
        )
        self.say(f"Stripe's webhook {event[0]} was {event[1]} ({event[2]}).")
        return booking

    def charge_again(self, user: Actor, campaign: Json, booking: Json) -> None:
        """Calling twice is calling once."""
        self.chapter("5. The same request a second time")
        before = self._payments()
        again = user.expect(
            200, "POST", "/charge-booking", {"campaign_id": campaign["id"], "offer_id": booking["offer_id"]}
        )
        if again["id"] != booking["id"] or self._payments() != before:
            raise StoryError("the second request was not the same booking")
        self.say(f"The same booking is answered, and Stripe still holds {before} payment(s).")

    def timeline(self, user: Actor, campaign: Json) -> None:
        """Why was I (not) charged."""
        self.chapter("6. In the morning: why was I (not) charged?")
        table = Table("offer", "price", "verdict", "booking")
        entries = user.expect(200, "GET", f"/campaigns/{campaign['id']}/timeline")["data"]
        for entry in entries:
            offer, booked = entry["offer"], entry["booking"]
            table.add_row(
                entry["offer_id"],
                f"{offer['amount_minor'] / 100:.2f} {offer['currency'].upper()}",
                entry["verdict"],
                booked["status"] if booked else "",
            )
        verdicts = {entry["offer_id"].split("-", 1)[1]: entry["verdict"] for entry in entries}
        if verdicts != {"too-dear": "over_max_price", "in-dollars": "currency_mismatch", "fits": "matched"}:
            raise StoryError(f"the timeline tells another story: {verdicts}")
        self.console.print(table)

    def declined(self, user: User) -> None:
        """A card that saves well and declines later."""
        self.chapter("7. Somebody else's card is declined")
        actor = Actor(self.stack.api_url, token=user.access_token)
        self.save_card(actor, "pm_card_chargeCustomerFail", three_ds=False)
        campaign = self.open_campaign(actor, "Two nights in Oslo", {"city": "Oslo"})
        offer = self.offer("oslo", "Oslo", 30_000)
        self.feed.expect(202, "POST", "/offers", {"offers": [offer]})
        booking = self._wait_for_booking(actor, campaign)
        paused = actor.expect(200, "GET", f"/campaigns/{campaign['id']}")
        if booking["status"] != "failed" or paused["status"] != "paused":
            raise StoryError(f"the booking is {booking['status']}, the campaign {paused['status']}")
        self.say(f"The booking {booking['status']}. The cardholder reads: {booking['user_message']!r}")
        self.say(
            f"The campaign is {paused['status']} ({paused['pause_reason']}); reserved {paused['reserved_minor']},"
            f" spent {paused['spent_minor']}."
        )
        self.say(f"And in the mail: {self._wait_for_mail(user)!r}")

    def stranger(self, user: User, campaign: Json, booking: Json) -> None:
        """Nobody sees another's data."""
        self.chapter("8. A third user looks around")
        actor = Actor(self.stack.api_url, token=user.access_token)
        for path in (f"/campaigns/{campaign['id']}", f"/bookings/{booking['id']}"):
            actor.expect(404, "GET", path)
        seen = sum(
            len(actor.expect(200, "GET", path)["data"]) for path in ("/campaigns", "/bookings", "/payment-methods")
        )
        client = create_client(self.contract["supabase_url"], self.contract["publishable_key"])
        client.postgrest.auth(user.access_token)
        direct = len(client.table("bookings").select("id").execute().data)
        if seen or direct:
            raise StoryError("a stranger saw somebody's rows")
        self.say(f"{user.email} gets 404 by id, {seen} rows from the lists, {direct} rows from the database directly.")

    def books(self) -> None:
        """What is in the database and at Stripe, side by side."""
        self.chapter("9. The books: ours beside Stripe's")
        table = Table("offer", "booking", "ours, minor units", "PaymentIntent at Stripe", "Stripe's, minor units")
        with psycopg.connect(self.stack.database_url) as connection:
            rows = connection.execute(
                "select offer_id, status::text, amount_captured_minor, currency, stripe_payment_intent_id"
                " from public.bookings where offer_id like %s order by created_at",
                (f"{self.prefix}-%",),
            ).fetchall()
            breaches = connection.execute("select public.invariant_breaches()").fetchone()
        for offer_id, status, captured, currency, intent_id in rows:
            intent = self.stripe.v1.payment_intents.retrieve(intent_id)
            if captured != intent.amount_received:
                raise StoryError(f"{offer_id}: we hold {captured}, Stripe {intent.amount_received}")
            table.add_row(
                offer_id, status, f"{captured} {currency}", intent.status, f"{intent.amount_received} {intent.currency}"
            )
        self.console.print(table)
        if breaches is None or breaches[0]:
            raise StoryError(f"invariants are broken: {breaches}")
        self.say("Every invariant that the database can check holds.")

    def _answer_challenge(self, intent: str) -> None:
        answer = httpx.post(
            f"{self.stack.stripe_url}/_control/authenticate", json={"intent": intent, "outcome": "succeed"}, timeout=10
        )
        if answer.status_code != 200:
            raise StoryError(f"the 3D Secure challenge answered {answer.status_code}")

    def _wait_for_booking(self, user: Actor, campaign: Json) -> Json:
        """The campaign's booking, once it is settled. Raises StoryError after a while."""
        end = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < end:
            bookings = user.expect(200, "GET", "/bookings")["data"]
            for booking in bookings:
                if booking["campaign_id"] == campaign["id"] and booking["status"] != "charging":
                    return dict(booking)
            time.sleep(0.05)
        raise StoryError(f"no booking within {WAIT_SECONDS:.0f} s")

    def _wait_for(self, query: str, values: tuple[str, ...]) -> tuple[Any, ...]:
        end = time.monotonic() + WAIT_SECONDS
        with psycopg.connect(self.stack.database_url, autocommit=True) as connection:
            while time.monotonic() < end:
                row = connection.execute(query.encode(), values).fetchone()
                if row:
                    return row
                time.sleep(0.05)
        raise StoryError("Stripe's webhook did not arrive")

    def _wait_for_mail(self, user: User) -> str:
        """The subject of the first message that notify has sent to a user. Raises StoryError after a while."""
        end = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < end:
            for path in sorted(self.stack.mail.glob(f"*-{user.email}.eml")):
                return str(email.message_from_bytes(path.read_bytes(), policy=email.policy.default)["Subject"])
            time.sleep(0.05)
        raise StoryError(f"no mail to {user.email} within {WAIT_SECONDS:.0f} s")

    def _payments(self) -> int:
        return len(self.stripe.v1.payment_intents.list({"limit": 100}).data)


def main() -> int:
    """Start a stack, play the story, stop; 0 when it went as told."""
    console = Console(highlight=False)
    started = time.monotonic()
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console, transient=True
    ) as progress:
        progress.add_task("starting Postgres, Supabase, Stripe, the queue and the functions")
        stack = LocalStack.start(StackOptions(notify_every_seconds=0.5))
    with stack:
        console.print(f"Everything runs after {time.monotonic() - started:.1f} s.")
        try:
            Demo(stack, console).play()
        except (StoryError, httpx.HTTPError, stripe.StripeError) as error:
            console.print(f"\n[bold red]The story broke off:[/bold red] {error}")
            return 1
        console.print(f"\nThe demo took {time.monotonic() - started:.1f} s. Run `make test` for the proof.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
