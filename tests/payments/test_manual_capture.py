"""Hold, fulfil, capture: money is held when the offer is found, and taken or released when fulfilment has decided."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from local.stack import LocalStack, prepare_database
from tests.support.aftermath import RELEASED, RESERVED, SPENT, Books, Page, Reconcile, Wire, books, column
from tests.support.http import Caller, connection, ok, refused
from tests.support.story import Scene
from tests.support.stripe_side import StripeSide
from tests.support.supabase_side import SupabaseSide
from tests.support.travellers import Traveller

CAPTURE = "/v1/payment_intents/[^/]+/capture$"
HOLD_SECONDS = (4 * 24 + 18) * 3_600
"""How long a merchant's hold on a Visa lasts (https://docs.stripe.com/payments/place-a-hold-on-a-payment-method)."""


def fulfil(scene: Scene, action: str, amount: int | None = None) -> Any:
    """Fulfilment's answer to the booking, as it came."""
    body = None if action == "void" else {} if amount is None else {"amount_minor": amount}
    return scene.machine.post(f"/bookings/{scene.booking['id']}/{action}", body)


def settled(scene: Scene) -> Books:
    """The books once every webhook has arrived."""
    scene.traveller.stripe.flush()
    return books(scene.traveller, scene.booking)


@pytest.fixture
def held(scene: Scene) -> Scene:
    """A hold of 120.00 EUR."""
    scene.set_up(capture="manual")
    scene.charge()
    return scene


def at_stripe(scene: Scene) -> tuple[str, int]:
    """The PaymentIntent's status and what it has received."""
    (intent,) = scene.traveller.stripe.intents(scene.traveller.customer_id)
    return intent["status"], intent["amount_received"]


def test_a_hold_reserves_and_takes_nothing(held: Scene) -> None:
    ended = settled(held)

    assert (ended.booking, ended.attempts, ended.charges) == ("authorized", ("authorized",), ("uncaptured",))
    assert (ended.ledger, ended.reserved_and_spent) == ((RESERVED,), (12_000, 0))
    assert at_stripe(held) == ("requires_capture", 0)
    assert held.traveller.notified() == ["booking_authorized"]
    (seconds,) = column(
        held.traveller,
        "select extract(epoch from capture_before - created_at)::float from public.bookings where id = %s",
        held.booking["id"],
    )
    assert seconds == pytest.approx(HOLD_SECONDS, abs=600)
    assert held.traveller.booking(held.booking)["expires_at"] is not None


def test_the_whole_hold_is_captured(held: Scene) -> None:
    done = ok(fulfil(held, "capture"))

    assert done["status"] == "confirmed"
    assert done["confirmed_at"] is not None
    ended = settled(held)
    assert (ended.attempts, ended.charges, ended.ledger) == (("succeeded",), ("succeeded",), (RESERVED, SPENT))
    assert (at_stripe(held), ended.reserved_and_spent) == (("succeeded", 12_000), (0, 12_000))
    assert held.traveller.notified() == ["booking_authorized", "booking_confirmed"]


@pytest.mark.parametrize("amount", [1, 7_000, 11_999])
def test_a_part_is_captured_and_the_rest_released(held: Scene, amount: int) -> None:
    assert ok(fulfil(held, "capture", amount))["status"] == "confirmed"

    ended = settled(held)
    assert ended.ledger == (RESERVED, ("spend", amount), ("release", 12_000 - amount))
    assert (at_stripe(held), ended.reserved_and_spent) == (("succeeded", amount), (0, amount))
    assert ended.told == ("booking_confirmed",), "what was released is no refund"
    assert held.traveller.booking(held.booking)["amount_refunded_minor"] == 0


def test_more_than_the_hold_is_not_captured(held: Scene) -> None:
    refused(fulfil(held, "capture", 12_001), 422, "amount_too_large")

    assert settled(held).booking == "authorized"
    assert ok(fulfil(held, "capture", 12_000))["status"] == "confirmed"


@pytest.mark.parametrize("amount", [0, -1, 1.5, "all"])
def test_what_is_no_amount_is_refused(held: Scene, amount: Any) -> None:
    refused(fulfil(held, "capture", amount), 422, "invalid_request")

    assert settled(held).booking == "authorized"


@pytest.mark.parametrize(
    ("first", "second"), [(None, None), (None, 12_000), (12_000, None), (7_000, 7_000), (7_000, None)]
)
def test_the_same_capture_twice_is_one(held: Scene, first: int | None, second: int | None) -> None:
    once, twice = ok(fulfil(held, "capture", first)), ok(fulfil(held, "capture", second))

    assert once == twice
    assert at_stripe(held) == ("succeeded", first or 12_000)
    assert settled(held).told == ("booking_confirmed",)


@pytest.mark.parametrize(("first", "second"), [(7_000, 8_000), (None, 7_000), (7_000, 12_000)])
def test_another_capture_after_a_capture_is_a_conflict(held: Scene, first: int | None, second: int) -> None:
    ok(fulfil(held, "capture", first))

    refused(fulfil(held, "capture", second), 409, "already_captured")

    assert at_stripe(held) == ("succeeded", first or 12_000)


def test_another_capture_while_the_first_is_unknown_is_a_conflict(held: Scene, reconcile: Reconcile) -> None:
    """A key stands for one amount: the first wish is committed, whatever Stripe has heard of it."""
    held.traveller.stripe.fault("error_before", match=CAPTURE, remember=False)
    assert ok(fulfil(held, "capture", 7_000), 202)["status"] == "authorized"

    refused(fulfil(held, "capture", 8_000), 409, "already_captured")
    reconcile.due(held.booking)

    assert (at_stripe(held), settled(held).reserved_and_spent) == (("succeeded", 7_000), (0, 7_000))


def test_ten_captures_at_once_are_one(held: Scene, reconcile: Reconcile) -> None:
    with ThreadPoolExecutor(10) as threads:
        answers = list(threads.map(lambda _: fulfil(held, "capture"), range(10)))
    assert {answer.status_code for answer in answers} <= {200, 202}
    reconcile.due(held.booking)

    assert (at_stripe(held), settled(held).told) == (("succeeded", 12_000), ("booking_confirmed",))


def test_a_hold_is_voided(held: Scene) -> None:
    done = ok(fulfil(held, "void"))

    assert done["status"] == "cancelled"
    assert "nothing was charged" in done["user_message"]
    ended = settled(held)
    assert (ended.attempts, ended.ledger) == (("voided",), (RESERVED, RELEASED))
    assert (at_stripe(held), ended.reserved_and_spent) == (("canceled", 0), (0, 0))
    assert (ended.told, ended.campaign) == (("booking_cancelled",), ("active", None))
    assert ok(fulfil(held, "void")) == done
    refused(fulfil(held, "capture"), 409, "booking_not_authorized")


def test_what_was_captured_is_not_voided(held: Scene) -> None:
    ok(fulfil(held, "capture"))

    refused(fulfil(held, "void"), 409, "booking_not_authorized")

    assert settled(held).booking == "confirmed"


def test_a_void_while_a_capture_is_unknown_is_refused(held: Scene, reconcile: Reconcile) -> None:
    held.traveller.stripe.fault("error_before", match=CAPTURE, remember=False)
    ok(fulfil(held, "capture"), 202)

    refused(fulfil(held, "void"), 409, "booking_not_authorized")
    refused(held.traveller.api.post(f"/bookings/{held.booking['id']}/cancel"), 409, "booking_not_cancellable")
    reconcile.due(held.booking)

    assert settled(held).booking == "confirmed"


@pytest.mark.parametrize("action", ["capture", "void"])
@pytest.mark.parametrize("kind", ["drop_after", "drop_before", "error_after", "error_before"])
def test_an_answer_that_is_lost_is_asked_for_again(
    held: Scene, wire: Wire, reconcile: Reconcile, action: str, kind: str
) -> None:
    """A 500 that Stripe remembers is all that the key gives; what became of it is asked of the PaymentIntent."""
    with wire.cut():
        verb = "cancel" if action == "void" else action
        held.traveller.stripe.fault(kind, match=f"/{verb}$")
        assert ok(fulfil(held, action), 202)["status"] == "authorized"
        reconcile.due(held.booking)

    done, status = ("confirmed", "succeeded") if action == "capture" else ("cancelled", "canceled")
    assert (settled(held).booking, at_stripe(held)[0]) == (done, status)


def test_what_is_not_held_is_neither_captured_nor_voided(scene: Scene) -> None:
    scene.set_up()
    scene.charge()

    refused(fulfil(scene, "capture"), 409, "booking_not_authorized")
    refused(fulfil(scene, "void"), 409, "booking_not_authorized")

    assert settled(scene).booking == "confirmed"


def test_the_user_cancels_a_hold(held: Scene) -> None:
    done = ok(held.traveller.api.post(f"/bookings/{held.booking['id']}/cancel"))

    assert done["status"] == "cancelled"
    assert at_stripe(held) == ("canceled", 0)
    refused(fulfil(held, "capture"), 409, "booking_not_authorized")
    ok(fulfil(held, "void"))


def test_a_cancellation_and_a_capture_at_once(held: Scene, reconcile: Reconcile) -> None:
    """One of them is first, the other is refused, and both sides' books agree on which."""
    with ThreadPoolExecutor(2) as threads:
        capturing = threads.submit(fulfil, held, "capture")
        cancelling = threads.submit(held.traveller.api.post, f"/bookings/{held.booking['id']}/cancel")
        captured, cancelled = capturing.result().status_code, cancelling.result().status_code
    reconcile.due(held.booking)

    ended = settled(held)
    assert sorted([captured in (200, 202), cancelled in (200, 202)]) == [False, True]
    assert 409 in (captured, cancelled)
    if captured in (200, 202):
        assert (ended.booking, at_stripe(held), ended.reserved_and_spent) == (
            "confirmed",
            ("succeeded", 12_000),
            (0, 12_000),
        )
    else:
        assert (ended.booking, at_stripe(held), ended.reserved_and_spent) == ("cancelled", ("canceled", 0), (0, 0))


# --- the end of a hold -----------------------------------------------------------------------------------------------


def end_soon(scene: Scene) -> None:
    """The hold's end is an hour away."""
    scene.traveller.stripe.flush()
    scene.traveller.db.execute(
        "update public.bookings set capture_before = now() + interval '1 hour' where id = %s", [scene.booking["id"]]
    )


def test_a_hold_with_time_left_is_left_alone(held: Scene, reconcile: Reconcile) -> None:
    assert reconcile.due(held.booking) == []
    assert settled(held).booking == "authorized"


@pytest.mark.parametrize(
    ("when_hold_ends", "ends", "intent"),
    [(None, "cancelled", "canceled"), ("void", "cancelled", "canceled"), ("capture", "confirmed", "succeeded")],
)
def test_before_a_hold_ends_the_campaigns_wish_is_done(
    scene: Scene, reconcile: Reconcile, when_hold_ends: str | None, ends: str, intent: str
) -> None:
    """Voided unless said: nobody pays for what nobody has fulfilled."""
    wish: dict[str, Any] = {} if when_hold_ends is None else {"when_hold_ends": when_hold_ends}
    scene.set_up(capture="manual", **wish)
    scene.charge()
    end_soon(scene)

    (line,) = reconcile.due(scene.booking)

    assert line["what"] == "hold_ends_soon"
    assert (settled(scene).booking, at_stripe(scene)[0]) == (ends, intent)
    if ends == "cancelled":
        assert "not completed in time" in scene.traveller.booking(scene.booking)["user_message"]
        assert settled(scene).reserved_and_spent == (0, 0)


def test_a_hold_under_review_is_never_captured_by_time(scene: Scene, reconcile: Reconcile) -> None:
    scene.set_up("pm_card_riskLevelElevated", capture="manual", when_hold_ends="capture")
    scene.charge()
    refused(fulfil(scene, "capture"), 409, "booking_under_review")
    end_soon(scene)

    reconcile.due(scene.booking)

    assert (settled(scene).booking, at_stripe(scene)) == ("cancelled", ("canceled", 0))


def test_a_capture_just_before_the_end_counts(held: Scene, reconcile: Reconcile) -> None:
    end_soon(held)
    ok(fulfil(held, "capture"))

    assert reconcile.due(held.booking) == []
    assert settled(held).booking == "confirmed"


# --- a hold that lapsed: Stripe's clock is moved, so these have a stack of their own ----------------------------------


@pytest.fixture(scope="module")
def days_later(_make_database: Callable[[], tuple[str, str]]) -> Iterator[LocalStack]:
    """A stack in which days pass."""
    _, url = _make_database()
    prepare_database(url)
    with LocalStack.start(database_url=url) as running:
        yield running


@pytest.fixture
def lapsing(days_later: LocalStack) -> Iterator[Scene]:
    """A hold in that stack."""
    side, supabase = StripeSide(days_later), SupabaseSide(days_later)
    with connection(days_later.api_url) as http, psycopg.connect(days_later.database_url, autocommit=True) as db:
        user = days_later.users.create("lapsing-user@example.com")
        machine = Caller(http, signing_secret=days_later.keys.signing_secrets[0])
        traveller = Traveller(user, Caller(http, token=user.access_token), machine, side, db)
        made = Scene(traveller, Page(days_later), machine, supabase)
        made.set_up(capture="manual")
        made.charge()
        yield made
    side.close()
    supabase.close()


def test_a_lapsed_hold_is_released_told_and_not_captured(lapsing: Scene) -> None:
    """Its events are kept back, so that fulfilment comes first and hears the truth from Stripe."""
    side = lapsing.traveller.stripe
    side.hold()
    side.control("POST", "/clock", {"advance_seconds": HOLD_SECONDS + 60})
    assert at_stripe(lapsing) == ("canceled", 0)

    answer = fulfil(lapsing, "capture")

    assert answer.status_code in (200, 409), answer.text
    ended = books(lapsing.traveller, lapsing.booking)
    assert (ended.booking, ended.reserved_and_spent, ended.ledger) == ("cancelled", (0, 0), (RESERVED, RELEASED))
    side.flush()
    assert settled(lapsing) == ended
    assert ended.told == ("booking_cancelled",)
    assert "not completed in time" in lapsing.traveller.booking(lapsing.booking)["user_message"]
