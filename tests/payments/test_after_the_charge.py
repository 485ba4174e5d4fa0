"""Long after the charge: disputes, early fraud warnings, reviews; what happens to cards, customers and campaigns."""

from typing import Any

import pytest

from tests.support.aftermath import RELEASED, RESERVED, SPENT, Books, Reconcile, Wire, books, column
from tests.support.http import ok, refused
from tests.support.story import Scene
from tests.support.stripe_side import event_of
from tests.support.travellers import MASTERCARD, VISA, Json, MakeTraveller, Traveller, in_time


def settled(scene: Scene) -> Books:
    """The books once every webhook has arrived."""
    scene.traveller.stripe.flush()
    return books(scene.traveller, scene.booking)


def campaign(scene: Scene, which: Json | None = None) -> tuple[str, str | None]:
    """A campaign's status, and why it is paused."""
    shown = scene.traveller.campaign(which or scene.campaign)
    return shown["status"], shown["pause_reason"]


def disputes(scene: Scene) -> list[tuple[Any, ...]]:
    """Status, whether the money is withdrawn, and whether it is over."""
    return scene.traveller.rows(
        "select status, funds_withdrawn, closed_at is not null from public.disputes where booking_id = %s",
        scene.booking["id"],
    )


@pytest.fixture
def booked(scene: Scene) -> Scene:
    """A booking that was made and charged."""
    scene.set_up()
    scene.charge()
    return scene


# --- disputes --------------------------------------------------------------------------------------------------------


def test_a_dispute_pauses_all_campaigns_of_its_user_and_nobody_elses(
    booked: Scene, make_traveller: MakeTraveller
) -> None:
    other = booked.traveller.open_campaign()
    ended = booked.traveller.open_campaign()
    ok(booked.traveller.api.post(f"/campaigns/{ended['id']}/cancel"))
    neighbour = make_traveller()
    neighbour.save_card()
    beside = neighbour.open_campaign()

    booked.control("/disputes", {"payment_intent": booked.intent_id, "reason": "product_not_received"})

    assert [campaign(booked, each) for each in (booked.campaign, other, ended)] == [
        ("paused", "dispute"),
        ("paused", "dispute"),
        ("cancelled", None),
    ]
    assert neighbour.campaign(beside)["status"] == "active"
    assert disputes(booked) == [("needs_response", True, False)]
    disputed = "select disputed_at is not null from public.bookings where id = %s"
    assert column(booked.traveller, disputed, booked.booking["id"]) == (True,)
    refused(booked.traveller.charge(other, booked.traveller.offer()), 409, "campaign_not_active")
    assert settled(booked).booking == "confirmed", "a dispute is a fact on the booking, no state of it"


def test_a_dispute_that_is_won_lets_the_campaigns_go_on(booked: Scene) -> None:
    other = booked.traveller.open_campaign()
    opened = booked.control("/disputes", {"payment_intent": booked.intent_id})
    ok(booked.traveller.api.post(f"/campaigns/{other['id']}/cancel"))

    booked.control(f"/disputes/{opened['id']}", {"outcome": "win"})

    assert (campaign(booked), campaign(booked, other)) == (("active", None), ("cancelled", None))
    assert disputes(booked) == [("won", False, True)]
    assert settled(booked).told == ("booking_confirmed", "dispute_opened", "dispute_won")
    booked.traveller.book(booked.campaign)


def test_a_dispute_that_is_lost_leaves_them_paused_until_the_user_resumes(booked: Scene) -> None:
    opened = booked.control("/disputes", {"payment_intent": booked.intent_id})

    booked.control(f"/disputes/{opened['id']}", {"outcome": "lose"})

    assert campaign(booked) == ("paused", "dispute")
    assert disputes(booked) == [("lost", True, True)]
    assert settled(booked).told == ("booking_confirmed", "dispute_lost", "dispute_opened")
    ok(booked.traveller.api.post(f"/campaigns/{booked.campaign['id']}/resume"))
    booked.traveller.book(booked.campaign)


def test_of_two_disputes_the_last_one_won_lets_them_go_on(booked: Scene) -> None:
    second_booking = booked.traveller.book(booked.campaign)
    (second_intent,) = column(
        booked.traveller, "select stripe_payment_intent_id from public.bookings where id = %s", second_booking["id"]
    )
    (first_intent,) = column(
        booked.traveller, "select stripe_payment_intent_id from public.bookings where id = %s", booked.booking["id"]
    )
    first = booked.control("/disputes", {"payment_intent": first_intent})
    second = booked.control("/disputes", {"payment_intent": second_intent})

    booked.control(f"/disputes/{first['id']}", {"outcome": "win"})
    assert campaign(booked) == ("paused", "dispute")
    booked.control(f"/disputes/{second['id']}", {"outcome": "win"})

    assert campaign(booked) == ("active", None)


def test_an_inquiry_withdraws_nothing_until_it_escalates(booked: Scene) -> None:
    opened = booked.control("/disputes", {"payment_intent": booked.intent_id, "inquiry": True})
    assert disputes(booked) == [("warning_needs_response", False, False)]
    assert campaign(booked) == ("paused", "dispute")

    booked.control(f"/disputes/{opened['id']}", {"outcome": "escalate"})

    assert disputes(booked) == [("needs_response", True, False)]
    assert settled(booked).told == ("booking_confirmed", "dispute_opened")


def test_an_inquiry_that_closes_is_over(booked: Scene) -> None:
    opened = booked.control("/disputes", {"payment_intent": booked.intent_id, "inquiry": True})

    booked.control(f"/disputes/{opened['id']}", {"outcome": "win"})

    assert disputes(booked) == [("warning_closed", False, True)]
    assert campaign(booked) == ("active", None)


@pytest.mark.parametrize("stop", ["stop-all", "pause", "warning"])
def test_winning_a_dispute_does_not_undo_another_stop(booked: Scene, stop: str) -> None:
    """Whoever stopped the campaigns while they were paused for a dispute meant it."""
    opened = booked.control("/disputes", {"payment_intent": booked.intent_id})
    if stop == "warning":
        booked.control("/early-fraud-warnings", {"payment_intent": booked.intent_id})
    elif stop == "pause":
        ok(booked.traveller.api.post(f"/campaigns/{booked.campaign['id']}/pause"))
    else:
        ok(booked.traveller.api.post("/campaigns/stop-all"))

    booked.control(f"/disputes/{opened['id']}", {"outcome": "win"})

    reason = {"stop-all": "kill_switch", "pause": "user", "warning": "fraud_warning"}[stop]
    assert campaign(booked) == ("paused", reason)


def test_a_dispute_of_somebody_elses_payment_is_left_alone(booked: Scene) -> None:
    """Another product may share the Stripe account."""
    stranger = booked.sdk.v1.payment_intents.create(
        {
            "amount": 500,
            "currency": "eur",
            "payment_method": VISA,
            "confirm": True,
            "allowed_payment_method_types": ["card"],
        }
    )

    booked.control("/disputes", {"payment_intent": stranger.id})

    assert campaign(booked) == ("active", None)


# --- early fraud warnings --------------------------------------------------------------------------------------------


def test_a_warning_freezes_the_card_and_pauses_the_campaigns(booked: Scene) -> None:
    other = booked.traveller.open_campaign()

    booked.control("/early-fraud-warnings", {"payment_intent": booked.intent_id})

    ended = settled(booked)
    assert (campaign(booked), campaign(booked, other)) == (("paused", "fraud_warning"),) * 2
    assert (ended.booking, ended.cards, ended.incidents) == ("confirmed", ("unusable",), ("early_fraud_warning",))
    assert ended.told == ("booking_confirmed", "fraud_warning")
    assert ended.ledger == (RESERVED, SPENT), "giving back what was taken is a person's decision"
    ok(booked.traveller.api.post(f"/campaigns/{other['id']}/resume"))
    refused(booked.traveller.charge(other, booked.traveller.offer()), 409, "no_usable_card")


def test_a_warning_voids_what_is_only_held(scene: Scene) -> None:
    scene.set_up(capture="manual")
    scene.charge()

    scene.control("/early-fraud-warnings", {"payment_intent": scene.intent_id})

    ended = settled(scene)
    assert (ended.booking, ended.intent, ended.ledger) == ("cancelled", "canceled", (RESERVED, RELEASED))
    refused(scene.machine.post(f"/bookings/{scene.booking['id']}/capture", {}), 409, "booking_not_authorized")
    sentence = scene.traveller.booking(scene.booking)["user_message"].lower()
    assert "fraud" not in sentence


def test_a_warning_freezes_the_card_that_paid_and_not_the_one_that_was_declined(scene: Scene) -> None:
    scene.set_up("pm_card_chargeCustomerFail", backup=MASTERCARD, use_backups=True)
    scene.charge()

    scene.control("/early-fraud-warnings", {"payment_intent": scene.intent_id})

    assert settled(scene).cards == ("usable", "unusable")


# --- reviews ---------------------------------------------------------------------------------------------------------


def test_while_a_review_is_open_nothing_is_captured(scene: Scene) -> None:
    scene.set_up(capture="manual")
    scene.charge()
    opened = scene.control("/reviews", {"payment_intent": scene.intent_id})
    capture = f"/bookings/{scene.booking['id']}/capture"

    refused(scene.machine.post(capture, {}), 409, "booking_under_review")
    assert scene.traveller.notified() == ["booking_authorized", "booking_under_review"]
    scene.control(f"/reviews/{opened['id']}", {"reason": "approved"})

    assert ok(scene.machine.post(capture, {}))["status"] == "confirmed"


@pytest.mark.parametrize("reason", ["refunded", "refunded_as_fraud", "disputed"])
def test_a_review_that_is_not_approved_voids_the_hold(scene: Scene, reason: str) -> None:
    scene.set_up(capture="manual")
    scene.charge()
    opened = scene.control("/reviews", {"payment_intent": scene.intent_id})

    scene.control(f"/reviews/{opened['id']}", {"reason": reason})

    ended = settled(scene)
    assert (ended.booking, ended.intent, ended.reserved_and_spent) == ("cancelled", "canceled", (0, 0))


def test_a_review_of_what_is_charged_already_changes_nothing_but_is_told(booked: Scene) -> None:
    opened = booked.control("/reviews", {"payment_intent": booked.intent_id})
    booked.control(f"/reviews/{opened['id']}", {"reason": "approved"})

    ended = settled(booked)
    assert (ended.booking, ended.reserved_and_spent, ended.campaign) == ("confirmed", (0, 12_000), ("active", None))


# --- cards -----------------------------------------------------------------------------------------------------------


def test_a_card_renewed_by_its_network_works_again(scene: Scene) -> None:
    """An expired card is declined and barred; the network brings its new date, and the block is lifted."""
    scene.set_up(behaviour={"behaviour": "expire"})
    scene.charge()
    ended = settled(scene)
    assert (ended.booking, ended.cards, ended.campaign) == ("failed", ("unusable",), ("paused", "card_unusable"))

    scene.traveller.stripe.change_card(
        scene.traveller.stripe_id(scene.card), "network_update", exp_month=5, exp_year=2041
    )
    scene.traveller.stripe.flush()

    (card,) = ok(scene.traveller.api.get("/payment-methods"))["data"]
    assert (card["status"], card["exp_month"], card["exp_year"]) == ("usable", 5, 2041)
    ok(scene.traveller.api.post(f"/campaigns/{scene.campaign['id']}/resume"))
    scene.traveller.book(scene.campaign)


def test_a_renewal_does_not_lift_a_block_for_theft(scene: Scene) -> None:
    scene.set_up(behaviour={"behaviour": "stolen_card"})
    scene.charge()

    scene.traveller.stripe.change_card(scene.traveller.stripe_id(scene.card), "network_update", exp_year=2041)

    assert settled(scene).cards == ("unusable",)


def test_a_card_that_was_detached_at_stripe_hands_over_to_the_next(scene: Scene) -> None:
    scene.set_up(backup=MASTERCARD)
    assert scene.traveller.campaign(scene.campaign)["payment_method_id"] == scene.card["id"]

    scene.sdk.v1.payment_methods.detach(scene.traveller.stripe_id(scene.card))
    scene.between()

    (left,) = ok(scene.traveller.api.get("/payment-methods"))["data"]
    assert left["is_default"]
    assert scene.traveller.campaign(scene.campaign)["payment_method_id"] == left["id"]
    assert campaign(scene) == ("active", None)
    assert scene.traveller.notified() == ["card_removed"]
    scene.traveller.book(scene.campaign)


def test_the_last_card_gone_pauses_the_campaigns(scene: Scene) -> None:
    scene.set_up()

    scene.sdk.v1.payment_methods.detach(scene.traveller.stripe_id(scene.card))
    scene.between()

    assert campaign(scene) == ("paused", "card_unusable")
    assert scene.traveller.notified() == ["campaign_paused", "card_removed"]


def test_a_card_detached_while_its_retry_waits_is_not_charged(scene: Scene, reconcile: Reconcile) -> None:
    scene.set_up(behaviour={"behaviour": "insufficient_funds", "times": 1}, backup=None)
    scene.charge()
    assert settled(scene).booking == "retry_scheduled"
    scene.sdk.v1.payment_methods.detach(scene.traveller.stripe_id(scene.card))
    scene.between()
    if scene.traveller.booking(scene.booking)["status"] == "retry_scheduled":
        scene.come("retry_at")

    reconcile.due(scene.booking)

    ended = settled(scene)
    assert ended.booking in ("failed", "cancelled")
    assert (ended.charges, ended.intent, ended.reserved_and_spent) == (("failed",), "canceled", (0, 0))
    assert "request_refused" not in ended.incidents, "nobody asks Stripe for what cannot be"


def test_a_revoked_mandate_bars_the_card(scene: Scene) -> None:
    traveller = scene.traveller
    scene.campaign = traveller.open_campaign()
    setup = traveller.begin_setup()
    acceptance: Any = {"type": "online", "online": {"ip_address": "192.0.2.1", "user_agent": "Test"}}
    mandate = scene.sdk.v1.setup_intents.confirm(
        setup["id"], {"payment_method": VISA, "mandate_data": {"customer_acceptance": acceptance}}
    ).mandate
    scene.between()
    assert traveller.campaign(scene.campaign)["payment_method_id"] is not None

    scene.control(f"/mandates/{mandate}", {"status": "inactive"})

    (card,) = ok(traveller.api.get("/payment-methods"))["data"]
    assert card["status"] == "unusable"
    assert traveller.notified() == ["card_unusable"]
    refused(traveller.charge(scene.campaign, traveller.offer()), 409, "no_usable_card")


# --- customers -------------------------------------------------------------------------------------------------------


def test_a_customer_deleted_at_stripe_starts_anew_with_a_new_card(scene: Scene) -> None:
    scene.set_up(backup=MASTERCARD)
    before = scene.traveller.customer_id

    scene.sdk.v1.customers.delete(before)
    scene.between()

    assert ok(scene.traveller.api.get("/payment-methods"))["data"] == []
    assert campaign(scene) == ("paused", "card_unusable")
    refused(scene.traveller.charge(scene.campaign, scene.traveller.offer()), 409, "campaign_not_active")

    card = scene.traveller.save_card()
    scene.between()

    assert scene.traveller.customer_id != before
    assert scene.traveller.campaign(scene.campaign)["payment_method_id"] == card["id"]
    ok(scene.traveller.api.post(f"/campaigns/{scene.campaign['id']}/resume"))
    assert scene.traveller.book(scene.campaign)["status"] == "confirmed"


def test_a_customer_deleted_while_a_booking_waits(scene: Scene, reconcile: Reconcile) -> None:
    """What was to be tried again has no card left: nothing is charged, and the budget is free."""
    scene.set_up(behaviour={"behaviour": "insufficient_funds"})
    scene.charge()
    scene.between()
    scene.sdk.v1.customers.delete(scene.traveller.customer_id)
    scene.between()
    if scene.traveller.booking(scene.booking)["status"] == "retry_scheduled":
        scene.come("retry_at")

    reconcile.due(scene.booking)

    scene.traveller.stripe.flush()
    ((status, reserved),) = scene.traveller.rows(
        "select b.status::text, c.reserved_minor from public.bookings as b "
        "inner join public.campaigns as c on b.campaign_id = c.id where b.id = %s",
        scene.booking["id"],
    )
    assert status in ("failed", "cancelled")
    assert reserved == 0


def test_a_changed_customer_changes_nothing(booked: Scene) -> None:
    booked.sdk.v1.customers.update(booked.traveller.customer_id, {"name": "Ada"})
    booked.between()

    assert settled(booked).campaign == ("active", None)


# --- campaigns -------------------------------------------------------------------------------------------------------


def test_the_kill_switch_stops_everything_that_is_not_at_the_bank(scene: Scene, reconcile: Reconcile) -> None:
    scene.set_up(behaviour={"behaviour": "insufficient_funds"})
    scene.charge()
    waiting = scene.booking
    asked_in = scene.traveller.open_campaign()
    scene.traveller.stripe.change_card(scene.traveller.stripe_id(scene.card), "authentication_required")
    asked = ok(scene.traveller.charge(asked_in, scene.traveller.offer()), 202)
    cancelled = scene.traveller.open_campaign()
    ok(scene.traveller.api.post(f"/campaigns/{cancelled['id']}/cancel"))
    scene.between()

    stopped = ok(scene.traveller.api.post("/campaigns/stop-all"))

    assert sorted(stopped["campaigns"]) == sorted([scene.campaign["id"], asked_in["id"]])
    assert sorted(stopped["bookings"]) == sorted([waiting["id"], asked["id"]])
    for booking in (waiting, asked):
        reconcile.due(booking)
        ended = books(scene.traveller, booking)
        assert (ended.booking, ended.intent, ended.campaign) == ("cancelled", "canceled", ("paused", "kill_switch"))
        assert ended.reserved_and_spent == (0, 0)
    assert campaign(scene, cancelled) == ("cancelled", None)
    assert scene.traveller.notified().count("campaigns_stopped") == 1
    refused(scene.traveller.charge(scene.campaign, scene.traveller.offer()), 409, "campaign_not_active")
    assert ok(scene.traveller.api.post("/campaigns/stop-all")) == {"campaigns": [], "bookings": []}


def test_the_kill_switch_is_for_ones_own_campaigns(scene: Scene, make_traveller: MakeTraveller) -> None:
    scene.set_up()
    stranger = make_traveller()

    assert ok(stranger.api.post("/campaigns/stop-all")) == {"campaigns": [], "bookings": []}

    assert campaign(scene) == ("active", None)


def test_what_was_stopped_goes_on_when_resumed(scene: Scene) -> None:
    scene.set_up()
    ok(scene.traveller.api.post("/campaigns/stop-all"))
    ok(scene.traveller.api.post(f"/campaigns/{scene.campaign['id']}/resume"))

    assert scene.traveller.book(scene.campaign)["status"] == "confirmed"


@pytest.mark.parametrize("by", ["the page asks", "the webhook alone"])
def test_a_first_card_is_linked_to_the_campaigns_that_wait_for_one(traveller: Traveller, by: str) -> None:
    waiting, automatic = traveller.open_campaign(), traveller.open_campaign(auto_book=False)
    offer = traveller.offer(expires_at=in_time(days=1))
    refused(traveller.charge(waiting, offer), 409, "no_usable_card")
    setup = traveller.begin_setup()

    traveller.stripe.confirm_setup(setup["client_secret"], VISA)
    if by == "the page asks":
        ok(traveller.api.get(f"/setup-intent/{setup['id']}"))
    traveller.stripe.flush()

    (card,) = ok(traveller.api.get("/payment-methods"))["data"]
    assert card["is_default"]
    assert {traveller.campaign(each)["payment_method_id"] for each in (waiting, automatic)} == {card["id"]}
    assert traveller.book(waiting, offer)["status"] == "confirmed"


def test_a_campaign_keeps_its_own_card_when_another_is_saved(traveller: Traveller) -> None:
    first = traveller.save_card()
    opened = traveller.open_campaign()

    traveller.save_card(MASTERCARD)

    assert traveller.campaign(opened)["payment_method_id"] == first["id"]


def test_an_event_of_the_future_of_the_api_is_flagged_and_moves_nothing(booked: Scene, wire: Wire) -> None:
    intent = booked.traveller.stripe.intents(booked.traveller.customer_id)[0]
    dispute = {
        "id": "du_of_another_version",
        "object": "dispute",
        "amount": 12_000,
        "currency": "eur",
        "payment_intent": intent["id"],
        "reason": "fraudulent",
        "status": "needs_response",
    }

    receipt = wire.deliver(event_of("charge.dispute.created", dispute, api_version="2031-01-01.future"))

    assert receipt["status"] == "flagged"
    assert campaign(booked) == ("active", None)
    assert disputes(booked) == []
