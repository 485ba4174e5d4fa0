"""One booking, one event: what the 3 a.m. engineer is shown, and what is done for them."""

import json
from uuid import uuid4

import psycopg
import pytest

from tests.local.cli.conftest import Autobook
from tests.support.http import ok
from tests.support.stripe_side import StripeSide
from tests.support.travellers import ASKS_ALWAYS, Traveller

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the SDK's way with httpx


def test_a_booking_that_went_well(autobook: Autobook, carded: Traveller, stripe_side: StripeSide) -> None:
    booked = carded.book(carded.open_campaign())
    stripe_side.flush()
    shown = autobook("booking", booked["id"], "--json")
    assert shown.exit_code == 0, shown.stderr
    report = json.loads(shown.stdout)
    assert report["booking"]["status"] == "confirmed"
    assert report["stripe"]["status"] == "succeeded"
    assert report["differences"] == []
    assert report["next"] == {"do": "nothing", "says": "nothing: it is at rest"}
    assert [attempt["status"] for attempt in report["attempts"]] == ["succeeded"]
    assert [entry["kind"] for entry in report["ledger"]] == ["reserve", "spend"]
    assert {"payment_intent.succeeded", "charge.succeeded"} <= {event["type"] for event in report["events"]}
    assert {entry["table_name"] for entry in report["audit"]} == {"bookings", "attempts"}
    assert carded.user.email not in shown.stdout

    by_payment = autobook("booking", report["stripe"]["id"])
    assert by_payment.exit_code == 0
    assert f"Booking {booked['id']}: confirmed" in by_payment.stdout
    assert "Next: nothing: it is at rest." in by_payment.stdout


def test_a_booking_that_waits_for_its_cardholder(autobook: Autobook, traveller: Traveller) -> None:
    traveller.save_card(ASKS_ALWAYS)
    waiting = ok(traveller.charge(traveller.open_campaign(), traveller.offer()), 202)
    report = json.loads(autobook("booking", waiting["id"], "--json").stdout)
    assert report["booking"]["status"] == "requires_action"
    assert report["next"]["do"] == "wait"
    assert "cardholder may authenticate until" in report["next"]["says"]
    assert [notice["kind"] for notice in report["notifications"]] == ["authentication_required"]


def test_a_booking_whose_outcome_was_lost(
    autobook: Autobook, carded: Traveller, stripe_side: StripeSide, stack_db: psycopg.Connection
) -> None:
    stripe_side.hold()
    stripe_side.fault("drop_after", match="/v1/payment_intents$")
    lost = ok(carded.charge(carded.open_campaign(), carded.offer()), 202)
    stack_db.execute("update public.bookings set leased_until = null where id = %s", [lost["id"]])
    shown = autobook("booking", lost["id"])
    assert shown.exit_code == 1, "Stripe has the money, our rows do not say so"
    assert "Differs: Stripe's payment is succeeded, the booking is charging" in shown.stdout
    assert "under its own key, which cannot charge twice" in shown.stdout

    offline = autobook("booking", lost["id"], "--offline")
    assert offline.exit_code == 0
    assert "Differs" not in offline.stdout


@pytest.mark.parametrize(("wanted", "says"), [(uuid4(), "No booking has"), ("all", "neither a booking's id")])
def test_a_booking_that_is_not_there(autobook: Autobook, wanted: object, says: str) -> None:
    shown = autobook("booking", wanted)
    assert shown.exit_code == 1
    assert says in shown.stderr


def test_a_missed_event_is_brought_and_brought_once(
    autobook: Autobook, carded: Traveller, stripe_side: StripeSide, stack_db: psycopg.Connection
) -> None:
    stripe_side.hold()
    stripe_side.fault("drop_after", match="/v1/payment_intents$")
    lost = ok(carded.charge(carded.open_campaign(), carded.offer()), 202)
    event = stripe_side.events("payment_intent.succeeded", stripe_side.intents(carded.customer_id)[0]["id"])[0]

    looked = autobook("replay-event", event["id"], "--json")
    assert looked.exit_code == 0, looked.stderr
    assert json.loads(looked.stdout)["stored"] is False
    assert json.loads(looked.stdout)["does"] == "acted on"
    assert stack_db.execute("select 1 from public.stripe_events where id = %s", [event["id"]]).fetchone() is None

    applied = json.loads(autobook("replay-event", event["id"], "--apply", "--json").stdout)
    assert (applied["status"], applied["duplicate"]) == ("applied", False)
    assert carded.booking(lost)["status"] == "confirmed"
    again = json.loads(autobook("replay-event", event["id"], "--apply", "--json").stdout)
    assert (again["status"], again["duplicate"], again["stored"]) == ("applied", True, True)


def test_an_event_that_stripe_does_not_have(autobook: Autobook) -> None:
    shown = autobook("replay-event", "evt_nobodys")
    assert shown.exit_code == 3
    assert "InvalidRequestError resource_missing" in shown.stderr
    assert autobook("replay-event", "pi_nobodys").exit_code == 2
