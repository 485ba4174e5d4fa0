"""Every verified event is stored once, applied once, and never lost."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from local.stack import LocalStack
from tests.support.fixtures import OpenGateway
from tests.support.http import Caller, ok, refused
from tests.support.stripe_side import Json, StripeSide, WebhookSender, event_of
from tests.support.supabase_side import SupabaseSide
from tests.support.travellers import SAVES_THEN_DECLINES, Traveller
from tests.support.waiting import until

RECEIVE = "/rest/v1/rpc/receive_event"


def stored(traveller: Traveller, event: Json) -> list[tuple[Any, ...]]:
    """Status, result and number of deliveries of an event."""
    return traveller.rows(
        "select status::text, result, deliveries from public.stripe_events where id = %s", event["id"]
    )


@pytest.fixture
def unsettled(carded: Traveller, stripe_side: StripeSide) -> Json:
    """The event of a payment whose answer got lost; Stripe holds its own delivery back."""
    stripe_side.hold()
    stripe_side.fault("drop_after", match="/v1/payment_intents$")
    ok(carded.charge(carded.open_campaign(), carded.offer()), 202)
    (intent,) = stripe_side.intents(carded.customer_id)
    (event,) = stripe_side.events("payment_intent.succeeded", intent["id"])
    return event


def test_a_duplicate_is_counted_and_applied_once(carded: Traveller, unsettled: Json, webhook: WebhookSender) -> None:
    first = ok(webhook.send(unsettled))
    again = [ok(webhook.send(unsettled)) for _ in range(2)]

    assert (first["status"], first["result"], first["duplicate"]) == ("applied", "confirmed", False)
    assert again == [first | {"duplicate": True}] * 2
    assert stored(carded, unsettled) == [("applied", "confirmed", 3)]
    assert carded.notified() == ["booking_confirmed"]


def test_ten_deliveries_at_once_are_applied_once(carded: Traveller, unsettled: Json, webhook: WebhookSender) -> None:
    with ThreadPoolExecutor(10) as threads:
        receipts = [ok(answer) for answer in threads.map(lambda _: webhook.send(unsettled), range(10))]

    assert sorted(receipt["duplicate"] for receipt in receipts) == [False] + [True] * 9
    assert stored(carded, unsettled) == [("applied", "confirmed", 10)]
    assert carded.notified() == ["booking_confirmed"]


def test_stripes_own_duplicates_and_disorder_change_nothing(carded: Traveller, stripe_side: StripeSide) -> None:
    stripe_side.fault("webhook_duplicate", match="payment_intent|charge", copies=2, seconds=0.05, times=None)
    stripe_side.fault("webhook_reorder", match="payment_intent|charge", seconds=0.2, times=None)
    campaign = carded.open_campaign()

    booking = carded.book(campaign)
    stripe_side.flush()

    assert carded.booking(booking)["status"] == "confirmed"
    assert carded.ledger(campaign) == [("reserve", 12_000), ("spend", 12_000)]


@pytest.mark.parametrize("kind", ["payment_intent.created", "customer.updated", "treasury.credit_reversal.created"])
def test_a_type_that_is_none_of_ours_is_stored_and_left_alone(
    carded: Traveller, webhook: WebhookSender, kind: str
) -> None:
    event = event_of(kind, {"id": "obj_1", "object": "whatever"})

    receipt = ok(webhook.send(event))

    assert (receipt["status"], receipt["result"]) == ("ignored", "stored_only")
    assert stored(carded, event) == [("ignored", "stored_only", 1)]


def test_an_event_about_somebody_elses_payment_is_stored_and_left_alone(
    carded: Traveller, webhook: WebhookSender
) -> None:
    """Another product may share the Stripe account."""
    intent = {
        "id": "pi_of_another_product",
        "object": "payment_intent",
        "status": "succeeded",
        "amount": 100,
        "amount_received": 100,
        "currency": "eur",
        "customer": None,
        "metadata": {},
    }
    event = event_of("payment_intent.succeeded", intent)

    assert ok(webhook.send(event))["result"] == "not_ours"
    assert stored(carded, event) == [("ignored", "not_ours", 1)]


def test_metadata_alone_makes_no_payment_ours(carded: Traveller, unsettled: Json, webhook: WebhookSender) -> None:
    """Who can write metadata could name any booking: the customer must agree as well."""
    (booking,) = carded.bookings()  # its own PaymentIntent is not known yet
    event = event_of(
        "payment_intent.succeeded",
        unsettled["data"]["object"] | {"id": "pi_forged", "customer": "cus_of_another", "latest_charge": "ch_forged"},
    )

    assert ok(webhook.send(event))["result"] == "not_ours"
    assert carded.booking(booking)["status"] == "charging"


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({"api_version": "2019-02-11"}, "wrong_api_version"),
        ({"api_version": None}, "wrong_api_version"),
        ({"livemode": True}, "wrong_livemode"),
    ],
)
def test_an_event_of_another_version_or_mode_is_stored_flagged_and_not_applied(
    carded: Traveller, unsettled: Json, webhook: WebhookSender, changes: Json, flag: str
) -> None:
    event = unsettled | {"id": unsettled["id"] + "x"} | changes

    receipt = ok(webhook.send(event))

    assert (receipt["status"], receipt["result"]) == ("flagged", flag)
    assert stored(carded, event) == [("flagged", flag, 1)]
    assert carded.bookings()[0]["status"] == "charging"
    incidents = carded.rows("select detail from public.incidents where kind = 'event_flagged'")
    assert len(incidents) >= 1


def test_a_flagged_event_is_applied_once_it_comes_as_it_should(
    carded: Traveller, unsettled: Json, webhook: WebhookSender
) -> None:
    """While an endpoint is upgraded the old one and the new one send the same event, each in its version."""
    ok(webhook.send(unsettled | {"api_version": "2019-02-11"}))
    again = ok(webhook.send(unsettled | {"api_version": "2019-02-11"}))

    receipt = ok(webhook.send(unsettled))

    assert (again["status"], again["duplicate"]) == ("flagged", True)
    assert (receipt["status"], receipt["result"], receipt["duplicate"]) == ("applied", "confirmed", False)
    assert stored(carded, unsettled) == [("applied", "confirmed", 3)]
    assert carded.bookings()[0]["status"] == "confirmed"


def test_a_test_event_is_flagged_where_money_is_real(
    carded: Traveller, unsettled: Json, webhook: WebhookSender, gateway_with: OpenGateway
) -> None:
    keys = {"STRIPE_SECRET_KEY": "sk_live_51NotARealKey", "STRIPE_PUBLISHABLE_KEY": "pk_live_51NotARealKey"}
    live = WebhookSender(gateway_with(**keys), webhook.secrets)
    event = unsettled | {"id": unsettled["id"] + "x"}

    assert ok(live.send(event))["result"] == "wrong_livemode"
    assert carded.bookings()[0]["status"] == "charging"


@pytest.mark.parametrize(
    ("action", "when"),
    [
        ("http_503", "before"),
        ("drop_connection", "before"),
        ("drop_connection", "before_commit"),
        ("error:57P01", "before_commit"),
        ("error:40P01", "before_commit"),
    ],
)
def test_with_the_database_away_stripe_is_told_to_come_again(
    carded: Traveller,
    unsettled: Json,
    webhook: WebhookSender,
    supabase_side: SupabaseSide,
    action: str,
    when: str,
) -> None:
    supabase_side.fault(RECEIVE, action, when=when)
    refused(webhook.send(unsettled), 503, "database_unavailable")
    assert stored(carded, unsettled) == []
    assert carded.bookings()[0]["status"] == "charging"

    assert ok(webhook.send(unsettled))["result"] == "confirmed"
    assert carded.bookings()[0]["status"] == "confirmed"


def test_stripes_repeat_is_applied_once_the_database_is_back(
    carded: Traveller, unsettled: Json, stripe_side: StripeSide, supabase_side: SupabaseSide
) -> None:
    supabase_side.fault(RECEIVE, "http_503", times=None)
    stripe_side.control("POST", "/webhooks/release")

    def tries() -> list[int]:
        (delivery,) = stripe_side.deliveries(unsettled["id"])
        return [attempt["status"] for attempt in delivery["attempts"]]

    until(lambda: tries() or None)
    assert set(tries()) == {503}
    assert carded.bookings()[0]["status"] == "charging"
    supabase_side.heal()

    stripe_side.flush()

    assert tries()[-1] == 200
    assert carded.bookings()[0]["status"] == "confirmed"
    assert stored(carded, unsettled) == [("applied", "confirmed", 1)]


def test_an_answer_that_got_lost_after_the_commit_is_a_duplicate_next_time(
    carded: Traveller, unsettled: Json, webhook: WebhookSender, supabase_side: SupabaseSide
) -> None:
    supabase_side.fault(RECEIVE, "drop_connection", when="after_commit")
    refused(webhook.send(unsettled), 503, "database_unavailable")
    assert carded.bookings()[0]["status"] == "confirmed"

    assert ok(webhook.send(unsettled))["duplicate"] is True
    assert carded.notified() == ["booking_confirmed"]


def test_an_event_that_cannot_be_applied_is_kept_and_a_repeat_applies_it(
    carded: Traveller, unsettled: Json, webhook: WebhookSender
) -> None:
    """A fault in our SQL, say: the event is stored as failed, Stripe is told 500, and nothing is half done."""
    broken = "alter table public.ledger_entries add constraint nothing_goes check (kind <> 'spend') not valid"
    carded.db.execute(broken)
    try:
        refused(webhook.send(unsettled), 500, "event_not_applied")
    finally:
        carded.db.execute("alter table public.ledger_entries drop constraint nothing_goes")
    ((status, result, deliveries),) = stored(carded, unsettled)
    assert (status, deliveries) == ("failed", 1)
    assert result.startswith("23514")
    assert carded.bookings()[0]["status"] == "charging"
    assert carded.notified() == []

    assert ok(webhook.send(unsettled))["result"] == "confirmed"
    assert stored(carded, unsettled) == [("applied", "confirmed", 2)]


def test_late_news_of_a_failure_does_not_undo_a_success(
    carded: Traveller, stripe_side: StripeSide, webhook: WebhookSender
) -> None:
    """Events come in any order: a succeeded PaymentIntent stays succeeded, whatever arrives after it."""
    stripe_side.hold()
    booking = carded.book(carded.open_campaign())
    (intent,) = stripe_side.intents(carded.customer_id)
    (event,) = stripe_side.events("payment_intent.succeeded", intent["id"])
    error = {"type": "card_error", "code": "card_declined", "decline_code": "do_not_honor", "charge": "ch_older"}
    for kind, status, changes in (
        ("payment_intent.payment_failed", "requires_payment_method", {"last_payment_error": error}),
        ("payment_intent.processing", "processing", {}),
        ("payment_intent.requires_action", "requires_action", {}),
        ("payment_intent.canceled", "canceled", {}),
    ):
        older = event["data"]["object"] | {"status": status, "amount_received": 0} | changes
        receipt = ok(webhook.send(event_of(kind, older, created=event["created"] + 5)))
        assert receipt["result"] in {"old_news", "nothing_to_do", "already_confirmed"}

    assert carded.booking(booking) == booking


def test_what_is_kept_of_an_event_identifies_nobody(carded: Traveller, unsettled: Json, webhook: WebhookSender) -> None:
    event = unsettled | {"id": unsettled["id"] + "x"}
    event["data"]["object"] |= {"receipt_email": "someone@example.com", "description": "For Ms Someone"}
    ok(webhook.send(event))

    kept = json.dumps(carded.rows("select facts from public.stripe_events where id = %s", event["id"]))

    assert "someone" not in kept.lower()
    assert "client_secret" not in kept


def test_a_lost_webhook_of_a_decline_leaves_nothing_undecided(traveller: Traveller, stripe_side: StripeSide) -> None:
    """The charge's own answer settled it: the webhook is a second way, not the only one."""
    stripe_side.fault("webhook_lose", match="payment_intent", times=None)
    traveller.save_card(SAVES_THEN_DECLINES)
    campaign = traveller.open_campaign()

    refused(traveller.charge(campaign, traveller.offer()), 402, "payment_failed")

    assert traveller.bookings()[0]["status"] == "failed"


def test_the_webhook_takes_posts_only(anonymous: Caller, stack: LocalStack) -> None:
    answer = anonymous.get("/webhook")

    refused(answer, 405, "method_not_allowed")
    assert "POST" in answer.headers["allow"]
    assert stack.keys.webhook_secrets[0] not in answer.text
