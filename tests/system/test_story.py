"""The whole story over HTTP, by nothing but what `stack.json` tells: on a laptop, and on what a hosted project is.

Whoever reads this reads what Autobook does: a card is saved once, offers come in, the right one is booked with nobody
there, and everybody is told what happened and why.
"""

import email
import email.policy
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import httpx
import psycopg
import pytest
from psycopg import sql

from local.migrate import migrate
from local.postgres import PostgresServer
from local.stack import LocalStack, StackOptions, prepare_database
from local.supabase.bootstrap import apply_bootstrap
from tests.support.http import Caller, connection, ok, refused
from tests.support.stripe_side import StripeSide
from tests.support.travellers import CONSENT, Json, an_offer, in_time, unique
from tests.support.waiting import until


@pytest.fixture(scope="module")
def laptop() -> Iterator[LocalStack]:
    """What `make stack` starts."""
    with LocalStack.start(StackOptions(notify_every_seconds=0.5)) as stack:
        yield stack


@pytest.fixture(scope="module")
def hosted() -> Iterator[LocalStack]:
    """The same over a database as hosted projects have it: nothing is granted by default, and migrations run as an
    account that is no superuser, to which every table and function then belongs.

    A server of its own, as roles belong to a cluster.
    """
    with PostgresServer.start() as server:
        url = server.create_database("hosted")
        apply_bootstrap(url, auto_expose=False)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("alter role hosted_postgres password 'migrates'")
            connection.execute("alter database hosted set track_functions = 'all'")
        parts = urlsplit(url)
        migrate(urlunsplit(parts._replace(netloc=f"hosted_postgres:migrates@{parts.hostname}:{parts.port}")))
        prepare_database(url)
        with LocalStack.start(StackOptions(notify_every_seconds=0.5), database_url=url) as stack:
            yield stack


class Story:
    """What the chapters share: who calls, and what has come of it."""

    def __init__(self, stack: LocalStack, http: httpx.Client, *, patience_seconds: float = 5) -> None:
        self.patience_seconds = patience_seconds
        self.contract = json.loads(json.dumps(stack.contract()))
        self.stripe = StripeSide(stack)
        ada, ben, chiara = (Caller(http, token=user["access_token"]) for user in self.contract["users"][:3])
        self.ada, self.ben, self.chiara = ada, ben, chiara
        self.feed = Caller(http, signing_secret=self.contract["signing_secrets"][0])
        self.trip = unique("rome")

    def save_card(self, user: Caller, card: str) -> Json:
        """A user saves a card, at Stripe's page and with 3D Secure if the bank wants it."""
        setup = ok(user.post("/setup-intent", CONSENT), 201)
        if self.stripe.confirm_setup(setup["client_secret"], card) == "requires_action":
            self.stripe.authenticate(setup["id"])
        saved: Json = ok(user.get(f"/setup-intent/{setup['id']}"))["payment_method"]
        return saved

    def open_campaign(self, user: Caller, trip: str, **changes: object) -> Json:
        """A user opens a campaign: up to 200.00 EUR each, 500.00 in all."""
        body = {
            "title": "A week in Rome",
            "criteria": {"trip": trip},
            "currency": "eur",
            "max_price_minor": 20_000,
            "budget_minor": 50_000,
            "max_bookings": 3,
            "expires_at": in_time(days=60),
        }
        opened: Json = ok(user.post("/campaigns", body | changes), 201)
        return opened

    def offers(self, *offers: Json) -> list[Json]:
        """The feed brings offers."""
        told: list[Json] = ok(self.feed.post("/offers", {"offers": list(offers)}), 202)["offers"]
        return told

    def booked(self, user: Caller) -> Json:
        """The user's newest booking, once it is confirmed: within five seconds on a laptop."""

        def look() -> Json | None:
            bookings = ok(user.get("/bookings"))["data"]
            return bookings[0] if bookings and bookings[0]["status"] == "confirmed" else None

        return until(look, seconds=self.patience_seconds)


@pytest.fixture(params=["laptop", "hosted"])
def stack(request: pytest.FixtureRequest) -> LocalStack:
    """One stack after the other."""
    running: LocalStack = request.getfixturevalue(request.param)
    return running


@pytest.fixture
def story(stack: LocalStack) -> Iterator[Story]:
    """The three people of a stack, and its feed."""
    with connection(stack.api_url) as http:
        story = Story(stack, http)
        yield story
        story.stripe.close()


def test_the_story(stack: LocalStack, story: Story) -> None:
    assert httpx.get(f"{story.contract['api_url']}/health", trust_env=False).json()["status"] == "ok"
    an_offer_is_booked_at_night(story)
    a_second_request_charges_nothing(story)
    money_goes_back_when_fulfilment_says_so(story)
    a_hold_is_captured_and_another_let_go(story)
    a_declining_card_pauses_the_campaign(story)
    a_bank_that_asks_is_answered(story)
    a_user_tidies_up(story)
    another_user_sees_nothing_of_all_this(story)
    everybody_has_been_told(story)
    both_sides_books_agree(stack, story)


def an_offer_is_booked_at_night(story: Story) -> None:
    """Saved once, with the cardholder there; charged later, with nobody there."""
    card = story.save_card(story.ada, "pm_card_authenticationRequiredOnSetup")
    assert (card["last4"], card["is_default"]) == ("3155", True)
    campaign = story.open_campaign(story.ada, story.trip)
    assert ok(story.ada.get(f"/campaigns/{campaign['id']}/preflight")) == {"ready": True, "findings": []}
    dear = an_offer({"trip": story.trip}, amount_minor=20_001)
    foreign = an_offer({"trip": story.trip}, currency="usd")
    right = an_offer({"trip": story.trip}, amount_minor=18_050)

    told = story.offers(dear, foreign, right)

    assert [each["campaigns"] for each in told] == [[], [], [campaign["id"]]]
    booking = story.booked(story.ada)
    assert (booking["offer_id"], booking["amount_minor"]) == (right["id"], 18_050)
    timeline = ok(story.ada.get(f"/campaigns/{campaign['id']}/timeline"))["data"]
    assert {entry["offer_id"]: entry["verdict"] for entry in timeline} == {
        right["id"]: "matched",
        foreign["id"]: "currency_mismatch",
        dear["id"]: "over_max_price",
    }


def a_second_request_charges_nothing(story: Story) -> None:
    """Booked is booked, whoever asks again."""
    booking = story.booked(story.ada)
    body = {"campaign_id": booking["campaign_id"], "offer_id": booking["offer_id"]}

    for caller in (story.ada, story.feed):
        assert ok(caller.post("/charge-booking", body), 200) == booking


def money_goes_back_when_fulfilment_says_so(story: Story) -> None:
    """A part first, then the rest: the budget comes back with it."""
    booking = story.booked(story.ada)
    path = f"/bookings/{booking['id']}"

    part = ok(story.feed.post(f"{path}/refund", {"amount_minor": 50}))
    assert (part["status"], part["amount_refunded_minor"]) == ("confirmed", 50)
    rest = ok(story.feed.post(f"{path}/refund", {}))
    assert (rest["status"], rest["amount_refunded_minor"]) == ("refunded", 18_050)

    campaign = ok(story.ada.get(f"/campaigns/{booking['campaign_id']}"))
    assert (campaign["spent_minor"], campaign["bookings_confirmed"]) == (0, 0)


def a_hold_is_captured_and_another_let_go(story: Story) -> None:
    """With manual capture the money is held until fulfilment knows."""
    trip = unique("holds")
    campaign = story.open_campaign(story.ada, trip, capture="manual", auto_book=False)
    offers = [an_offer({"trip": trip}) for _ in range(3)]
    story.offers(*offers)
    kept, dropped, called_off = (
        ok(story.ada.post("/charge-booking", {"campaign_id": campaign["id"], "offer_id": offer["id"]}), 201)
        for offer in offers
    )
    assert kept["status"] == dropped["status"] == "authorized"

    assert ok(story.feed.post(f"/bookings/{kept['id']}/capture", {}))["status"] == "confirmed"
    assert ok(story.feed.post(f"/bookings/{dropped['id']}/void"))["status"] == "cancelled"
    assert ok(story.ada.post(f"/bookings/{called_off['id']}/cancel"))["status"] == "cancelled"


def a_declining_card_pauses_the_campaign(story: Story) -> None:
    """A kind sentence, and nobody is declined twice in their sleep."""
    story.save_card(story.ben, "pm_card_chargeCustomerFail")
    trip = unique("declined")
    campaign = story.open_campaign(story.ben, trip, auto_book=False)
    offer = an_offer({"trip": trip}, expires_at=in_time(minutes=30))
    story.offers(offer)

    problem = refused(
        story.ben.post("/charge-booking", {"campaign_id": campaign["id"], "offer_id": offer["id"]}),
        402,
        "payment_failed",
    )

    assert problem["user_message"]
    (booking,) = ok(story.ben.get("/bookings"))["data"]
    assert (booking["status"], booking["user_message"]) == ("failed", problem["user_message"])
    paused = ok(story.ben.get(f"/campaigns/{campaign['id']}"))
    assert (paused["status"], paused["pause_reason"], paused["reserved_minor"]) == ("paused", "payment_failed", 0)


def a_bank_that_asks_is_answered(story: Story) -> None:
    """The cardholder wakes up, authenticates, and the booking is made on the same PaymentIntent."""
    asking = story.save_card(story.ben, "pm_card_authenticationRequired")
    ok(story.ben.patch(f"/payment-methods/{asking['id']}", {"is_default": True}))
    trip = unique("asked")
    story.open_campaign(story.ben, trip)
    story.offers(an_offer({"trip": trip}))

    def asked() -> Json | None:
        bookings = ok(story.ben.get("/bookings"))["data"]
        return bookings[0] if bookings[0]["status"] == "requires_action" else None

    booking = until(asked, seconds=story.patience_seconds)
    page = ok(story.ben.get(f"/bookings/{booking['id']}/authentication"))
    intent_id = page["client_secret"].partition("_secret_")[0]
    card = story.stripe.sdk.v1.payment_intents.retrieve(intent_id).last_payment_error
    assert card is not None
    assert card.payment_method is not None
    assert story.stripe.confirm_payment(page["client_secret"], card.payment_method.id) == "requires_action"
    story.stripe.authenticate(intent_id)

    assert story.booked(story.ben)["id"] == booking["id"]


def a_user_tidies_up(story: Story) -> None:
    """A card goes, the next takes over; one switch stops everything."""
    cards = ok(story.ada.get("/payment-methods"))["data"]
    assert len(cards) == 1
    second = story.save_card(story.ada, "pm_card_mastercard")
    assert story.ada.delete(f"/payment-methods/{cards[0]['id']}").status_code == 204

    (left,) = ok(story.ada.get("/payment-methods"))["data"]
    assert (left["id"], left["is_default"]) == (second["id"], True)
    campaigns = ok(story.ada.get("/campaigns"))["data"]
    assert {campaign["payment_method_id"] for campaign in campaigns} == {second["id"]}
    stopped = ok(story.ada.post("/campaigns/stop-all"))
    assert set(stopped["campaigns"]) == {each["id"] for each in campaigns if each["status"] == "active"}
    ok(story.ada.post(f"/campaigns/{campaigns[0]['id']}/cancel"))


def another_user_sees_nothing_of_all_this(story: Story) -> None:
    """Not by lists, not by ids, not by charging."""
    booking = story.booked(story.ben)
    for path in ("/bookings", "/campaigns", "/payment-methods"):
        assert ok(story.chiara.get(path)) == {"data": [], "next_cursor": None}
    refused(story.chiara.get(f"/bookings/{booking['id']}"), 404, "booking_not_found")
    refused(story.chiara.get(f"/campaigns/{booking['campaign_id']}"), 404, "campaign_not_found")
    stolen = {"campaign_id": booking["campaign_id"], "offer_id": booking["offer_id"]}
    refused(story.chiara.post("/charge-booking", stolen), 404, "campaign_not_found")


_PAID = """
select stripe_payment_intent_id, amount_captured_minor, amount_refunded_minor
from public.bookings
where status in ('confirmed', 'refunded')
"""


def everybody_has_been_told(story: Story) -> None:
    """By mail, each what concerns them: kept as files, where the stack says."""
    folder = Path(story.contract["mail"])

    def subjects(number: int) -> list[str]:
        whom = story.contract["users"][number]["email"]
        letters = [
            email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
            for path in sorted(folder.glob(f"*-{whom}.eml"))
        ]
        assert all(letter["To"] == whom for letter in letters)
        return [str(letter["Subject"]) for letter in letters]

    def owed() -> int:
        with psycopg.connect(story.contract["database_url"]) as connection:
            row = connection.execute("select count(*) from public.notifications where status = 'pending'").fetchone()
        return int(row[0]) if row else -1

    until(lambda: owed() == 0)
    assert [subject.split(":")[0] for subject in subjects(0)].count("Booked") == 2
    assert [subject.split(":")[0] for subject in subjects(1)].count("Not booked") == 1
    assert subjects(2) == []


def both_sides_books_agree(stack: LocalStack, story: Story) -> None:
    """What Stripe took and gave back is what the database says, to the cent; no event is left unapplied."""
    story.stripe.flush()
    at_stripe = {
        intent.id: intent.to_dict()
        for intent in story.stripe.sdk.v1.payment_intents.list({"limit": 100, "expand": ["data.latest_charge"]}).data
    }
    with psycopg.connect(stack.database_url) as db:
        paid = {intent: (taken, back) for intent, taken, back in db.execute(_PAID)}
        failed = db.execute("select type, result from public.stripe_events where status in ('failed', 'flagged')")
        assert failed.fetchall() == []
        breaches = db.execute("select public.invariant_breaches()").fetchone()
    assert breaches is not None
    assert not breaches[0]
    assert len(paid) == 3
    assert paid == {
        name: (intent["amount_received"], intent["latest_charge"]["amount_refunded"])
        for name, intent in at_stripe.items()
        if intent["status"] == "succeeded"
    }
    assert {intent["status"] for intent in at_stripe.values()} == {"succeeded", "canceled"}


# --- what belongs to an account that is no superuser --------------------------------------------------------------

_DEFINERS = """
select p.oid::regprocedure::text, p.proname, p.pronargs, coalesce(s.calls, 0)
from pg_proc as p
left join pg_stat_user_functions as s on p.oid = s.funcid
where p.prosecdef and p.pronamespace in ('public'::regnamespace, 'internal'::regnamespace)
  and p.prorettype <> 'trigger'::regtype
"""


def test_every_function_has_the_rights_that_it_needs_there(hosted: LocalStack) -> None:
    """A function with its owner's rights can do no more than its owner, who is no superuser on a hosted project.

    The story has called most of them by then, if it came first; the others are called here, with nothing.
    """
    with psycopg.connect(hosted.database_url) as db:
        owners = db.execute(
            "select distinct r.rolname, r.rolsuper from pg_proc as p inner join pg_roles as r on p.proowner = r.oid "
            "where p.pronamespace in ('public'::regnamespace, 'internal'::regnamespace)"
        ).fetchall()
        assert owners == [("hosted_postgres", False)]
        definers = db.execute(_DEFINERS).fetchall()
        lacking = {}
        for signature, name, count, calls in definers:
            if calls:
                continue
            arguments = sql.SQL(", ").join([sql.NULL] * count)
            try:
                with db.transaction():
                    db.execute(sql.SQL("select public.{}({})").format(sql.Identifier(name), arguments))
            except psycopg.errors.InsufficientPrivilege as error:
                lacking[signature] = str(error)
            except psycopg.Error:
                continue  # it had the rights, and no use for nulls
        db.rollback()
    assert len(definers) > 20
    assert lacking == {}
