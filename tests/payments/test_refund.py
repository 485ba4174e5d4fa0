"""Giving back: in every state, twice, too much, and while nobody knows what happened."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.payments.giving_back import money, refund, settled
from tests.support.aftermath import RESERVED, SPENT, Reconcile, Wire, books, column
from tests.support.http import ok, refused
from tests.support.story import Scene
from tests.support.travellers import Json, in_time
from tests.support.waiting import until

REFUNDS = "/v1/refunds$"


@pytest.fixture
def booked(scene: Scene) -> Scene:
    """A booking that was made and charged."""
    scene.set_up()
    scene.charge()
    return scene


def test_a_full_refund_gives_the_budget_back(booked: Scene) -> None:
    done = ok(refund(booked))

    assert (done["status"], done["amount_refunded_minor"]) == ("refunded", 12_000)
    assert money(booked) == ("refunded", 12_000, 12_000, (0, 0))
    ended = settled(booked)
    assert ended.ledger == (RESERVED, SPENT, ("refund", 12_000))
    assert ended.told == ("booking_confirmed", "refund_issued")
    shown = booked.traveller.campaign(booked.campaign)
    assert (shown["status"], shown["bookings_confirmed"]) == ("active", 0)


def test_several_partial_refunds_up_to_the_whole(booked: Scene) -> None:
    assert ok(refund(booked, 2_000))["status"] == "confirmed"
    assert money(booked) == ("confirmed", 2_000, 2_000, (0, 10_000))
    assert ok(refund(booked, 3_000))["status"] == "confirmed"
    assert money(booked) == ("confirmed", 5_000, 5_000, (0, 7_000))
    assert ok(refund(booked))["status"] == "refunded"
    assert money(booked) == ("refunded", 12_000, 12_000, (0, 0))

    assert settled(booked).ledger == (RESERVED, SPENT, ("refund", 2_000), ("refund", 3_000), ("refund", 7_000))
    assert settled(booked).told == ("booking_confirmed", *["refund_issued"] * 3)
    refused(refund(booked, 1, "another"), 409, "refund_exceeds_charge")


@pytest.mark.parametrize("before", [0, 5_000])
def test_more_than_was_taken_is_not_given_back(booked: Scene, before: int) -> None:
    if before:
        ok(refund(booked, before))

    refused(refund(booked, 12_001 - before), 409, "refund_exceeds_charge")

    assert money(booked) == ("confirmed", before, before, (0, 12_000 - before))


@pytest.mark.parametrize(
    ("keys", "given_back"),
    [((None, None), 4_000), (("k1", "k1"), 4_000), (("k1", "k2"), 8_000), ((None, "k1"), 8_000)],
)
def test_the_same_request_is_the_same_refund(booked: Scene, keys: tuple[str | None, ...], given_back: int) -> None:
    for key in keys:
        ok(refund(booked, 4_000, key))

    assert money(booked) == ("confirmed", given_back, given_back, (0, 12_000 - given_back))


def test_a_key_stands_for_one_amount(booked: Scene) -> None:
    ok(refund(booked, 4_000, "k1"))

    refused(refund(booked, 5_000, "k1"), 409, "idempotency_key_reused")

    assert money(booked) == ("confirmed", 4_000, 4_000, (0, 8_000))


def test_ten_equal_refunds_at_once_are_one(booked: Scene, reconcile: Reconcile) -> None:
    with ThreadPoolExecutor(10) as threads:
        answers = list(threads.map(lambda _: refund(booked, 4_000), range(10)))
    assert {answer.status_code for answer in answers} <= {200, 202}
    reconcile.due(booked.booking)

    assert money(booked) == ("confirmed", 4_000, 4_000, (0, 8_000))


def test_ten_different_refunds_at_once_give_back_no_more_than_was_taken(booked: Scene, reconcile: Reconcile) -> None:
    with ThreadPoolExecutor(10) as threads:
        answers = list(threads.map(lambda number: refund(booked, 5_000, f"k{number}"), range(10)))
    accepted = [answer for answer in answers if answer.status_code in (200, 202)]
    assert len(accepted) == 2
    assert {answer.status_code for answer in answers if answer not in accepted} == {409}
    reconcile.due(booked.booking)

    assert money(booked) == ("confirmed", 10_000, 10_000, (0, 2_000))


@pytest.mark.parametrize("prepared", [{"capture": "manual"}, {"behaviour": {"behaviour": "generic_decline"}}])
def test_what_was_not_taken_is_not_given_back(scene: Scene, prepared: Json) -> None:
    scene.set_up(**prepared)
    scene.charge()

    refused(refund(scene), 409, "booking_not_refundable")


def test_a_refund_frees_a_place_and_the_budget_for_the_next(scene: Scene) -> None:
    scene.set_up(max_bookings=2, budget_minor=24_000)
    scene.charge()
    ok(refund(scene))

    for _ in range(2):
        scene.traveller.book(scene.campaign)

    shown = scene.traveller.campaign(scene.campaign)
    assert (shown["status"], shown["spent_minor"], shown["bookings_confirmed"]) == ("completed", 24_000, 2)


@pytest.mark.parametrize("kind", ["drop_after", "error_after"])
def test_a_refund_whose_answer_is_lost_is_made_once(booked: Scene, wire: Wire, reconcile: Reconcile, kind: str) -> None:
    with wire.cut():
        booked.traveller.stripe.fault(kind, match=REFUNDS)
        assert ok(refund(booked, 4_000), 202)["amount_refunded_minor"] == 0
        assert settled(booked).reserved_and_spent == (0, 12_000), "not given back before Stripe has said so"
        if kind == "error_after":
            booked.traveller.stripe.control("POST", "/expire-idempotency-keys")
        else:
            reconcile.due(booked.booking)
            assert money(booked) == ("confirmed", 4_000, 4_000, (0, 8_000))
    reconcile()

    assert money(booked) == ("confirmed", 4_000, 4_000, (0, 8_000))
    assert settled(booked).told == ("booking_confirmed", "refund_issued")


def test_news_of_a_stripe_whose_clock_is_ahead_are_fetched_before_anything_is_repeated(
    booked: Scene, wire: Wire, reconcile: Reconcile
) -> None:
    """The key is gone: what asks again before it has heard of the refund gives back twice."""
    booked.traveller.stripe.control("POST", "/clock", {"advance_seconds": 90})
    with wire.cut():
        booked.traveller.stripe.fault("error_after", match=REFUNDS)
        ok(refund(booked, 4_000), 202)
        booked.traveller.stripe.control("POST", "/expire-idempotency-keys")

    reconcile()

    assert money(booked) == ("confirmed", 4_000, 4_000, (0, 8_000))


def test_a_refund_that_never_arrived_is_made_by_reconcile(booked: Scene, reconcile: Reconcile) -> None:
    booked.traveller.stripe.fault("drop_before", match=REFUNDS)
    ok(refund(booked), 202)
    reconcile.due(booked.booking)

    assert money(booked) == ("refunded", 12_000, 12_000, (0, 0))


def test_a_refund_older_than_its_key_is_looked_for_and_not_made_again(
    booked: Scene, wire: Wire, reconcile: Reconcile
) -> None:
    """Answer and webhook were lost, and Stripe has forgotten the key: the same request would give back twice."""
    with wire.cut():
        booked.traveller.stripe.fault("drop_after", match=REFUNDS)
        ok(refund(booked, 4_000), 202)
        booked.traveller.stripe.control("POST", "/expire-idempotency-keys")
        booked.traveller.db.execute(
            "update public.refunds set created_at = created_at - interval '25 hours' where booking_id = %s",
            [booked.booking["id"]],
        )
        reconcile.due(booked.booking)

    assert money(booked) == ("confirmed", 4_000, 4_000, (0, 8_000))


def test_a_refund_that_its_own_webhook_settles_first(booked: Scene) -> None:
    """The function's commit comes after the webhook's: the money is counted once."""
    booked.supabase.fault("/rest/v1/rpc/settle_refund", "delay_ms:700")

    ok(refund(booked, 4_000))

    assert money(booked) == ("confirmed", 4_000, 4_000, (0, 8_000))
    assert settled(booked).ledger == (RESERVED, SPENT, ("refund", 4_000))


def test_a_refund_that_fails_later_takes_the_budget_again(scene: Scene) -> None:
    """…5126: "its status begins as succeeded. Some time later, its status transitions to failed."."""
    scene.set_up("pm_card_refundFail")
    scene.charge()
    ok(refund(scene))
    until(lambda: "refund_failed" in scene.traveller.notified())

    ended = settled(scene)
    assert ended.booking == "confirmed"
    assert ended.ledger == (RESERVED, SPENT, ("refund", 12_000), ("refund_reversed", 12_000))
    assert (ended.reserved_and_spent, ended.incidents) == ((0, 12_000), ("refund_failed",))
    assert ended.told == ("booking_confirmed", "refund_failed", "refund_issued")
    assert scene.traveller.booking(scene.booking)["amount_refunded_minor"] == 0
    assert column(
        scene.traveller, "select status::text from public.refunds where booking_id = %s", scene.booking["id"]
    ) == ("failed",)


def test_a_refund_that_fails_after_its_place_was_taken_is_still_recorded(scene: Scene, reconcile: Reconcile) -> None:
    """The books are true before they are within the limits: three bookings stand, although two were allowed."""
    scene.set_up(max_bookings=2, budget_minor=24_000)
    scene.charge()
    made = ok(refund(scene))
    assert made["status"] == "refunded"
    for _ in range(2):
        scene.traveller.book(scene.campaign)
    (refund_id,) = column(
        scene.traveller, "select stripe_refund_id from public.refunds where booking_id = %s", scene.booking["id"]
    )

    scene.control(f"/refunds/{refund_id}", {"outcome": "fail"})

    assert settled(scene).booking == "confirmed"
    shown = scene.traveller.campaign(scene.campaign)
    assert (shown["spent_minor"], shown["bookings_confirmed"]) == (36_000, 3)
    assert reconcile.job("failed events") == []
    (breaches,) = column(scene.traveller, "select public.invariant_breaches()")
    assert [breach for breach in breaches if breach["subject"] == scene.campaign["id"]] == []


def test_a_refund_that_failed_may_be_made_again(scene: Scene) -> None:
    scene.set_up()
    scene.charge()
    ok(refund(scene, None, "first"))
    (refund_id,) = column(
        scene.traveller, "select stripe_refund_id from public.refunds where booking_id = %s", scene.booking["id"]
    )
    scene.control(f"/refunds/{refund_id}", {"outcome": "fail"})

    ok(refund(scene, None, "second"))

    assert money(scene) == ("refunded", 12_000, 12_000, (0, 0))


def test_a_refund_that_is_pending_first(scene: Scene) -> None:
    """…7726: "its status begins as pending. Some time later, its status transitions to succeeded."."""
    scene.set_up("pm_card_pendingRefund")
    scene.charge()

    done = ok(refund(scene))

    assert (done["status"], done["amount_refunded_minor"]) == ("refunded", 12_000), "pending counts as given back"
    refunds = "select status::text from public.refunds where booking_id = %s"
    until(lambda: column(scene.traveller, refunds, scene.booking["id"]) == ("succeeded",))
    assert money(scene) == ("refunded", 12_000, 12_000, (0, 0))
    assert settled(scene).told == ("booking_confirmed", "refund_issued")


def test_a_refund_made_in_the_dashboard_is_recorded_and_counts(booked: Scene) -> None:
    booked.sdk.v1.refunds.create({"payment_intent": booked.intent_id, "amount": 9_000, "reason": "duplicate"})
    assert money(booked) == ("confirmed", 9_000, 9_000, (0, 3_000))

    refused(refund(booked, 3_001), 409, "refund_exceeds_charge")
    ok(refund(booked))

    assert money(booked) == ("refunded", 12_000, 12_000, (0, 0))
    rows = booked.traveller.rows(
        "select amount_minor, reason, status::text from public.refunds where booking_id = %s order by created_at",
        booked.booking["id"],
    )
    assert rows == [(9_000, "duplicate", "succeeded"), (3_000, "requested_by_customer", "succeeded")]


def test_a_refund_against_one_that_the_dashboard_made_unseen(booked: Scene, wire: Wire) -> None:
    """We still think that all is there to give; Stripe refuses, and its word is recorded."""
    with wire.cut() as events:
        booked.sdk.v1.refunds.create({"payment_intent": booked.intent_id, "amount": 9_000})
        ok(refund(booked, 12_000))
        assert books(booked.traveller, booked.booking).incidents == ("refund_failed",)
    for event in events:
        wire.deliver(event)

    assert money(booked) == ("confirmed", 9_000, 9_000, (0, 3_000))


def test_a_refund_after_a_partial_capture_gives_back_what_was_taken(scene: Scene) -> None:
    scene.set_up(capture="manual")
    scene.charge()
    ok(scene.machine.post(f"/bookings/{scene.booking['id']}/capture", {"amount_minor": 7_000}))

    refused(refund(scene, 7_001), 409, "refund_exceeds_charge")
    done = ok(refund(scene))

    assert (done["status"], done["amount_refunded_minor"]) == ("refunded", 7_000)
    ended = settled(scene)
    assert ended.ledger == (RESERVED, ("spend", 7_000), ("release", 5_000), ("refund", 7_000))
    assert ended.reserved_and_spent == (0, 0)


def test_a_refund_of_a_lost_dispute_is_refused_by_stripe_and_recorded(booked: Scene) -> None:
    """ "Charge has been charged back; cannot issue a refund": the money is gone already."""
    opened = booked.control("/disputes", {"payment_intent": booked.intent_id})
    booked.control(f"/disputes/{opened['id']}", {"outcome": "lose"})

    ok(refund(booked))

    ended = settled(booked)
    assert (ended.booking, ended.incidents) == ("confirmed", ("refund_failed",))
    assert ended.reserved_and_spent == (0, 12_000)


def test_refunds_of_one_offer_do_not_touch_another(scene: Scene) -> None:
    scene.set_up()
    scene.charge()
    other = scene.traveller.book(scene.campaign, scene.traveller.offer(expires_at=in_time(days=1)))

    ok(refund(scene))

    assert settled(scene).booking == "refunded"
    assert books(scene.traveller, other).booking == "confirmed"
    assert scene.traveller.campaign(scene.campaign)["spent_minor"] == 12_000
