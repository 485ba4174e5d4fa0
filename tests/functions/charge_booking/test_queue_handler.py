"""The queue's side of charge-booking: SQS events in, and word of the messages to send again out."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from local.stack import LocalStack
from tests.support.http import ok
from tests.support.lambdas import Json, cold_functions, invoke, sqs_event
from tests.support.stripe_side import StripeSide
from tests.support.supabase_side import SupabaseSide
from tests.support.travellers import SAVES_THEN_DECLINES, Traveller, in_time

HANDLER = "functions.charge_booking.handler:queue_handler"


@pytest.fixture(autouse=True)
def _lambda(stack: LocalStack) -> Iterator[None]:
    with cold_functions(stack):
        yield


def message(campaign: Json, offer: Json) -> Json:
    """What the offers function puts on the queue."""
    return {"campaign_id": campaign["id"], "offer_id": offer["id"]}


def again(event: Json, answer: Json) -> list[int]:
    """Which records the handler wants to see again, by their place."""
    assert set(answer) == {"batchItemFailures"}
    failed = {item["itemIdentifier"] for item in answer["batchItemFailures"]}
    return [place for place, record in enumerate(event["Records"]) if record["messageId"] in failed]


def test_a_batch_is_charged_message_by_message(carded: Traveller) -> None:
    campaign = carded.open_campaign()
    event = sqs_event(*[message(campaign, carded.offer()) for _ in range(3)])

    assert again(event, invoke(HANDLER, event)) == []

    assert [booking["status"] for booking in carded.bookings()] == ["confirmed"] * 3


def test_a_message_delivered_twice_is_charged_once(carded: Traveller, stripe_side: StripeSide) -> None:
    once = message(carded.open_campaign(), carded.offer())
    for event in (sqs_event(once), sqs_event(once, once)):
        assert again(event, invoke(HANDLER, event)) == []

    assert len(carded.bookings()) == 1
    assert len(stripe_side.taken(carded.customer_id)) == 1


def test_a_decision_is_an_answer_and_not_a_reason_to_ask_again(carded: Traveller) -> None:
    """Refused, or declined for good: the same message would bring the same answer."""
    campaign, dear = carded.open_campaign(), carded.offer(amount_minor=20_000)
    card = carded.save_card(SAVES_THEN_DECLINES)
    declining = carded.open_campaign(payment_method_id=card["id"])
    event = sqs_event(message(campaign, dear), message(declining, carded.offer(expires_at=in_time(minutes=30))))

    assert again(event, invoke(HANDLER, event)) == []

    assert [booking["status"] for booking in carded.bookings()] == ["failed"]
    verdicts = {entry["offer_id"]: entry["verdict"] for entry in carded.timeline(campaign)}
    assert verdicts[dear["id"]] == "over_max_price"


def test_only_what_went_wrong_is_sent_again(carded: Traveller, supabase_side: SupabaseSide) -> None:
    campaign, offers = carded.open_campaign(), [carded.offer() for _ in range(3)]
    event = sqs_event(
        message(campaign, offers[0]),
        "no JSON",
        {"campaign_id": campaign["id"]},
        message({"id": str(uuid4())}, offers[1]),
        message(campaign, offers[1]),
    )
    supabase_side.fault("/rest/v1/rpc/begin_charge", "http_503")

    assert again(event, invoke(HANDLER, event)) == [0, 1, 2, 3]

    (booking,) = carded.bookings()
    assert booking["offer_id"] == offers[1]["id"]


def test_an_unknown_outcome_is_sent_again_until_it_is_known(carded: Traveller, stripe_side: StripeSide) -> None:
    event = sqs_event(message(carded.open_campaign(), carded.offer()))
    stripe_side.hold()
    stripe_side.fault("drop_after", match="/v1/payment_intents$")
    assert again(event, invoke(HANDLER, event)) == [0]
    assert [booking["status"] for booking in carded.bookings()] == ["charging"]

    assert again(event, invoke(HANDLER, event)) == []

    assert [booking["status"] for booking in carded.bookings()] == ["confirmed"]
    assert len(stripe_side.taken(carded.customer_id)) == 1


def test_no_stripe_call_is_begun_that_cannot_end_before_the_deadline(
    carded: Traveller, stripe_side: StripeSide
) -> None:
    campaign, offer = carded.open_campaign(), carded.offer()
    event = sqs_event(message(campaign, offer))

    with stripe_side.watched() as requests:
        assert again(event, invoke(HANDLER, event, seconds=14)) == [0]  # 12 s for Stripe, 3 to commit its answer

    assert requests == []
    (booking,) = carded.bookings()
    assert [attempt["status"] for attempt in booking["attempts"]] == ["started"]
    # Whoever comes with more time takes it up, once the lease of the one without is over.
    carded.db.execute("update public.bookings set leased_until = now() where id = %s", [booking["id"]])
    assert again(event, invoke(HANDLER, event)) == []
    assert ok(carded.charge(campaign, offer))["status"] == "confirmed"
