"""The two committed steps: what Stripe is told, what it costs, and that twice is once."""

from tests.support.http import Caller, ok
from tests.support.stripe_side import StripeSide, WebhookSender
from tests.support.supabase_side import SupabaseSide
from tests.support.travellers import Traveller


def test_stripe_is_told_what_the_rows_say(carded: Traveller, stripe_side: StripeSide) -> None:
    campaign, offer = carded.open_campaign(), carded.offer(amount_minor=10_050)
    card = ok(carded.api.get("/payment-methods"))["data"][0]

    booking = carded.book(campaign, offer)

    (intent,) = stripe_side.intents(carded.customer_id)
    assert (intent["amount"], intent["currency"], intent["amount_received"]) == (10_050, "eur", 10_050)
    assert intent["payment_method"] == carded.stripe_id(card)
    assert (
        intent["metadata"].items()
        >= {
            "booking_id": booking["id"],
            "campaign_id": campaign["id"],
            "attempt_id": booking["attempts"][0]["id"],
            "user_id": carded.id,
        }.items()
    )
    assert intent["statement_descriptor_suffix"] == "AUTOBOOK"


def test_the_key_is_the_attempts(carded: Traveller, stripe_side: StripeSide) -> None:
    campaign, offer = carded.open_campaign(), carded.offer()
    with stripe_side.watched() as requests:
        booking = carded.book(campaign, offer)

    (request,) = requests
    assert request["idempotency_key"] == f"attempt:{booking['attempts'][0]['id']}"


def test_the_price_is_the_offers_at_the_moment_of_the_charge(carded: Traveller, stripe_side: StripeSide) -> None:
    campaign, offer = carded.open_campaign(), carded.offer(amount_minor=9_000)
    ok(carded.feed.post("/offers", {"offers": [offer | {"amount_minor": 9_500}]}), 202)

    assert carded.book(campaign, offer)["amount_minor"] == 9_500

    # Once booked, the offer's price is fixed, and so is what a repeat of the call is about.
    told = ok(carded.feed.post("/offers", {"offers": [offer | {"amount_minor": 1}]}), 202)
    assert told["offers"][0]["status"] == "locked"
    assert ok(carded.charge(campaign, offer), 200)["amount_minor"] == 9_500
    assert [charge["amount"] for charge in stripe_side.charges(carded.customer_id)] == [9_500]


def test_a_charge_costs_two_database_round_trips_and_one_stripe_call(
    carded: Traveller, stripe_side: StripeSide, supabase_side: SupabaseSide
) -> None:
    campaign, offer = carded.open_campaign(), carded.offer()

    with stripe_side.watched() as requests, supabase_side.watched() as trips:
        carded.book(campaign, offer)

    assert sorted(trips) == ["POST rpc/begin_charge", "POST rpc/settle_payment"]
    assert [(request["method"], request["path"]) for request in requests] == [("POST", "/v1/payment_intents")]


def test_a_machines_charge_costs_the_same(
    carded: Traveller, machine: Caller, stripe_side: StripeSide, supabase_side: SupabaseSide
) -> None:
    campaign, offer = carded.open_campaign(), carded.offer()

    with stripe_side.watched() as requests, supabase_side.watched() as trips:
        ok(machine.post("/charge-booking", {"campaign_id": campaign["id"], "offer_id": offer["id"]}), 201)

    assert sorted(trips) == ["POST rpc/begin_charge", "POST rpc/settle_payment"]
    assert len(requests) == 1


def test_a_repeat_and_a_refusal_cost_one_database_round_trip_and_no_stripe_call(
    carded: Traveller, stripe_side: StripeSide, supabase_side: SupabaseSide
) -> None:
    campaign, offer, dear = carded.open_campaign(), carded.offer(), carded.offer(amount_minor=20_000)
    carded.book(campaign, offer)

    with stripe_side.watched() as requests, supabase_side.watched() as trips:
        ok(carded.charge(campaign, offer), 200)
        assert carded.charge(campaign, dear).status_code == 409

    assert trips == ["POST rpc/begin_charge"] * 2
    assert requests == []


def test_a_webhook_costs_one_database_round_trip_and_no_stripe_call(
    carded: Traveller, webhook: WebhookSender, stripe_side: StripeSide, supabase_side: SupabaseSide
) -> None:
    campaign, offer = carded.open_campaign(), carded.offer()
    with stripe_side.watched():
        carded.book(campaign, offer)
    (intent,) = stripe_side.intents(carded.customer_id)
    (event,) = stripe_side.events("payment_intent.succeeded", intent["id"])

    with supabase_side.watched() as trips:
        # The stand-in holds its own delivery back, so this one is the first.
        stripe_side.control("DELETE", "/requests")
        receipt = ok(webhook.send(event))
        requests = stripe_side.control("GET", "/requests")["data"]

    assert (receipt["status"], receipt["duplicate"]) == ("applied", False)
    assert trips == ["POST rpc/receive_event"]
    assert requests == []


def test_a_webhook_that_settles_a_charge_costs_one_database_round_trip(
    carded: Traveller, webhook: WebhookSender, stripe_side: StripeSide, supabase_side: SupabaseSide
) -> None:
    campaign, offer = carded.open_campaign(), carded.offer()
    stripe_side.hold()
    stripe_side.fault("drop_after", match="/v1/payment_intents$")
    booking = ok(carded.charge(campaign, offer), 202)
    (intent,) = stripe_side.intents(carded.customer_id)
    (event,) = stripe_side.events("payment_intent.succeeded", intent["id"])

    with supabase_side.watched() as trips:
        assert ok(webhook.send(event))["result"] == "confirmed"

    assert trips == ["POST rpc/receive_event"]
    assert carded.booking(booking)["status"] == "confirmed"


def test_everybody_concerned_is_told_once(carded: Traveller, stripe_side: StripeSide) -> None:
    campaign, offer = carded.open_campaign(), carded.offer()
    carded.book(campaign, offer)
    carded.charge(campaign, offer)
    stripe_side.flush()

    assert carded.notified() == ["booking_confirmed"]
    assert carded.ledger(campaign) == [("reserve", 12_000), ("spend", 12_000)]
    shown = carded.campaign(campaign)
    assert (shown["reserved_minor"], shown["spent_minor"]) == (0, 12_000)
    assert (shown["bookings_in_flight"], shown["bookings_confirmed"]) == (0, 1)
