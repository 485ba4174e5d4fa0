"""Each outcome at its own layer: what it does to booking, attempt, ledger and incidents, and what comes next."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from functions.shared.declines import DeclineCategory
from tests.support.books import DECLINES, PRICE_MINOR, Books, Json

RESERVED = ("reserve", PRICE_MINOR)
SPENT = ("spend", PRICE_MINOR)
RELEASED = ("release", PRICE_MINOR)


@pytest.fixture
def books(db: psycopg.Connection) -> Books:
    """A user of the database."""
    return Books(db)


# --- outcomes --------------------------------------------------------------------------------------------------------


def test_a_success_spends_what_was_reserved(books: Books) -> None:
    step = books.started()

    settled = books.settle(books.facts(step, "succeeded"), step["attempt_id"])

    assert (settled["result"], settled["next"]["do"]) == ("confirmed", "nothing")
    assert books.statuses(step) == ("confirmed", ["succeeded"])
    assert books.ledger(step) == [RESERVED, SPENT]
    assert books.notified() == ["booking_confirmed"]


def test_settling_again_changes_nothing(books: Books) -> None:
    step = books.started()
    facts = books.facts(step, "succeeded")
    books.settle(facts, step["attempt_id"])
    before = books.booking(step) | {"updated_at": None}, books.ledger(step), books.notified()

    for attempt_id in (step["attempt_id"], None):
        assert books.settle(facts, attempt_id)["result"] == "already_confirmed"

    assert (books.booking(step) | {"updated_at": None}, books.ledger(step), books.notified()) == before


def test_an_unknown_outcome_decides_nothing_and_lets_the_next_one_try(books: Books) -> None:
    step = books.started()

    settled = books.settle({"status": "unknown", "booking_id": step["booking_id"]}, step["attempt_id"])

    assert settled["result"] == "unknown"
    assert books.statuses(step) == ("charging", ["started"])
    booking = books.booking(step)
    assert books.begin({"id": booking["campaign_id"]}, {"id": booking["offer_id"]})["next"] == step


def test_a_hold_keeps_its_reserve_until_it_is_captured(books: Books) -> None:
    step = books.started(books.campaign(capture="manual"))
    held = books.facts(step, "requires_capture", charge={"capture_before": "2099-01-01T00:00:00+00:00"})

    assert books.settle(held, step["attempt_id"])["result"] == "authorized"
    assert books.statuses(step) == ("authorized", ["authorized"])
    assert books.ledger(step) == [RESERVED]

    taken = books.facts(step, "succeeded", amount_received_minor=5_000)
    assert books.settle(taken)["result"] == "confirmed"
    assert books.ledger(step) == [RESERVED, ("spend", 5_000), ("release", 7_000)]


def test_fulfilment_captures_what_is_held_or_a_part_once(books: Books) -> None:
    step = books.started(books.campaign(capture="manual"))
    held = books.facts(step, "requires_capture")
    books.settle(held, step["attempt_id"])

    begun = books.call("begin_capture", p_booking_id=step["booking_id"], p_amount_minor=5_000)

    assert begun["next"] == {
        "do": "capture",
        "booking_id": step["booking_id"],
        "payment_intent_id": held["payment_intent_id"],
        "amount_minor": 5_000,
    }
    assert books.booking(step)["capture_amount_minor"] == 5_000
    with pytest.raises(psycopg.Error, match="already_captured"):
        books.call("begin_capture", p_booking_id=step["booking_id"], p_amount_minor=6_000)


@pytest.mark.parametrize("how", ["absent", "canceled"])
def test_a_payment_that_came_to_nothing_gives_its_budget_back(books: Books, how: str) -> None:
    step = books.started()

    books.settle(books.facts(step, how) | ({"payment_intent_id": None} if how == "absent" else {}), step["attempt_id"])

    status, attempts = books.statuses(step)
    assert (status, attempts) == ("failed" if how == "absent" else "cancelled", ["voided"])
    assert books.ledger(step) == [RESERVED, RELEASED]


def test_money_that_arrives_on_a_dead_booking_goes_back_and_somebody_is_told(books: Books) -> None:
    step = books.started()
    books.settle(books.facts(step, "canceled"), step["attempt_id"])

    settled = books.settle(books.facts(step, "succeeded", amount_received_minor=PRICE_MINOR))

    assert settled["result"] == "late_success"
    assert (settled["next"]["do"], settled["next"]["amount_minor"]) == ("refund", PRICE_MINOR)
    assert books.incidents(step) == ["late_success"]
    assert books.ledger(step) == [RESERVED, RELEASED]


@pytest.mark.parametrize("wrong", [{"amount_received_minor": PRICE_MINOR + 1}, {"currency": "usd"}], ids=str)
def test_a_wrong_amount_confirms_nothing_and_is_an_incident(books: Books, wrong: Json) -> None:
    step = books.started()

    assert books.settle(books.facts(step, "succeeded", **wrong), step["attempt_id"])["result"] == "wrong_amount"

    assert books.incidents(step) == ["wrong_amount"]
    assert books.statuses(step)[0] == "charging"
    assert books.ledger(step) == [RESERVED]


def test_a_second_paymentintent_for_a_booking_is_an_incident_and_moves_nothing(books: Books) -> None:
    step = books.started()
    books.settle(books.facts(step, "succeeded"), step["attempt_id"])

    second = books.settle(books.facts(step, "succeeded", payment_intent_id="pi_second"))

    assert second["result"] == "second_payment_intent"
    assert books.incidents(step) == ["second_payment_intent"]
    assert books.ledger(step) == [RESERVED, SPENT]


def test_a_payment_whose_customer_is_another_is_not_ours(books: Books) -> None:
    step = books.started()

    settled = books.settle(books.facts(step, "succeeded", stripe_customer_id=Books(books.db).customer_id))

    assert settled == {"result": "not_ours"}
    assert books.statuses(step) == ("charging", ["started"])


@pytest.mark.parametrize(
    ("first", "later"),
    [
        ("succeeded", "processing"),
        ("succeeded", "requires_action"),
        ("succeeded", "requires_payment_method"),
        ("succeeded", "requires_capture"),
        ("succeeded", "canceled"),
        ("requires_capture", "processing"),
        ("requires_capture", "requires_action"),
        ("requires_capture", "requires_payment_method"),
        ("canceled", "processing"),
        ("canceled", "requires_action"),
        ("canceled", "requires_payment_method"),
        ("canceled", "requires_capture"),
    ],
)
def test_late_news_of_less_does_not_undo_more(books: Books, first: str, later: str) -> None:
    step = books.started()
    books.settle(books.facts(step, first), step["attempt_id"])
    before = books.statuses(step), books.ledger(step)
    news = books.declined(step, "other_card") if later == "requires_payment_method" else books.facts(step, later)

    books.settle(news, None, take_next=False)

    assert (books.statuses(step), books.ledger(step)) == before


@pytest.mark.parametrize("what", ["declined", "requires_action", "processing"])
def test_a_payment_that_turns_up_after_its_booking_has_ended_is_cancelled(books: Books, what: str) -> None:
    """Its function was slow: meanwhile it was called off, looked up, and Stripe had not heard of it."""
    step = books.started()
    books.call("begin_cancel", p_booking_id=step["booking_id"], p_user_id=books.user_id)
    books.settle(books.facts(step, "absent", payment_intent_id=None), step["attempt_id"])
    assert books.statuses(step) == ("cancelled", ["voided"])
    late = books.declined(step, "other_card") if what == "declined" else books.facts(step, what)

    settled = books.settle(late, step["attempt_id"])

    assert (settled["next"]["do"], settled["next"]["payment_intent_id"]) == ("cancel", late["payment_intent_id"])
    assert books.settle(books.facts(step, "canceled"))["next"]["do"] == "nothing"
    assert books.statuses(step) == ("cancelled", ["voided"])
    assert books.ledger(step) == [RESERVED, RELEASED]


def test_a_payment_that_succeeds_before_it_could_be_cancelled_is_refunded(books: Books) -> None:
    step = books.started()
    books.call("begin_cancel", p_booking_id=step["booking_id"], p_user_id=books.user_id)
    books.settle(books.facts(step, "absent", payment_intent_id=None), step["attempt_id"])
    assert books.settle(books.facts(step, "processing"), step["attempt_id"])["next"]["do"] == "cancel"
    books.forget_lease(step)

    settled = books.settle(books.facts(step, "succeeded"))

    assert (settled["result"], settled["next"]["do"]) == ("late_success", "refund")


def test_the_same_decline_told_twice_is_one_decline(books: Books) -> None:
    """The charge's answer and its event name the same Charge; the next card's attempt must not suffer for it."""
    default, backup = books.card(), books.card()
    step = books.started(books.campaign(use_backups=True))
    news = books.declined(step, "other_card")
    settled = books.settle(news, step["attempt_id"])
    assert settled["result"] == "next_card"
    assert settled["next"]["stripe_payment_method_id"] == backup["stripe_payment_method_id"]
    assert default["stripe_payment_method_id"] == step["stripe_payment_method_id"]

    assert books.settle(news)["result"] == "old_news"

    assert books.statuses(step) == ("charging", ["declined", "started"])


def test_a_charge_of_an_earlier_attempt_is_not_also_the_next_ones(books: Books) -> None:
    """A cancelled PaymentIntent still shows the first card's Charge, though the second card was never charged."""
    books.card(), books.card()
    step = books.started(books.campaign(use_backups=True))
    news = books.declined(step, "other_card")
    assert books.settle(news, step["attempt_id"])["result"] == "next_card"
    books.forget_lease(step)
    books.call("begin_cancel", p_booking_id=step["booking_id"], p_user_id=books.user_id)

    assert books.settle(news | {"status": "canceled"})["result"] == "cancelled"

    assert books.statuses(step) == ("cancelled", ["declined", "voided"])
    recorded = books.values(
        "select stripe_charge_ids, category from public.attempts where booking_id = %s order by ordinal",
        step["booking_id"],
    )
    assert recorded == [([news["charge_id"]], "other_card"), ([], None)]


# --- declines by category --------------------------------------------------------------------------------------------


def test_every_category_is_one_of_these(db: psycopg.Connection) -> None:
    assert set(DECLINES) == {category.value for category in DeclineCategory}


@pytest.mark.parametrize(
    ("category", "expected", "do"),
    [
        ("other_card", ("charging", ["declined"]), "cancel"),
        ("retry_later", ("retry_scheduled", ["declined"]), "nothing"),
        ("user_action", ("requires_action", ["requires_action"]), "nothing"),
        ("update_card", ("charging", ["declined"]), "cancel"),
        ("never", ("charging", ["declined"]), "cancel"),
        ("stop", ("charging", ["declined"]), "cancel"),
        ("our_bug", ("charging", ["rejected"]), "cancel"),
    ],
)
def test_with_one_card_a_category_leads_to_its_step(
    books: Books, category: str, expected: tuple[str, list[str]], do: str
) -> None:
    step = books.started()

    settled = books.settle(books.declined(step, category), step["attempt_id"])

    assert books.statuses(step) == expected
    assert settled["next"]["do"] == do
    if do == "cancel":
        # The booking ends when its PaymentIntent is seen cancelled, and not before.
        books.settle(books.facts(step, "canceled"))
        assert books.statuses(step)[0] == "failed"
        assert books.ledger(step) == [RESERVED, RELEASED]


@pytest.mark.parametrize("under_way", ["processing", "requires_action"])
@pytest.mark.parametrize("category", DECLINES)
def test_a_payment_under_way_may_come_to_any_end(books: Books, under_way: str, category: str) -> None:
    """The bank took its time, or the cardholder did: the event that follows is settled whatever it says."""
    step = books.started()
    books.settle(books.facts(step, under_way), step["attempt_id"])

    settled = books.settle(books.declined(step, category))

    assert settled["result"] in {"declined", "requires_action", "retry_scheduled"}
    assert books.statuses(step)[1] in (["declined"], ["requires_action"])


@pytest.mark.parametrize(
    ("category", "falls_back"),
    [
        ("other_card", True),
        ("retry_later", True),
        ("update_card", True),
        ("user_action", False),
        ("never", False),  # this one is a suspicion of fraud
        ("stop", False),
        ("our_bug", False),
    ],
)
def test_which_categories_try_the_next_card(books: Books, category: str, falls_back: bool) -> None:
    books.card()
    backup = books.card()
    step = books.started(books.campaign(use_backups=True))

    settled = books.settle(books.declined(step, category), step["attempt_id"])

    tried = settled["next"].get("stripe_payment_method_id")
    assert (tried == backup["stripe_payment_method_id"]) is falls_back
    assert len(books.statuses(step)[1]) == (2 if falls_back else 1)


def test_a_success_that_crosses_the_cancellation_confirms_the_booking(books: Books) -> None:
    """The booking was to fail, but at Stripe the payment had succeeded: it is confirmed, not refunded."""
    step = books.started()
    settled = books.settle(books.declined(step, "other_card"), step["attempt_id"])
    assert settled["next"]["do"] == "cancel"

    assert books.settle(books.facts(step, "succeeded"))["result"] == "confirmed"

    assert books.statuses(step)[0] == "confirmed"
    assert books.ledger(step) == [RESERVED, SPENT]


def test_a_success_that_crosses_a_cancellation_on_purpose_is_refunded(books: Books) -> None:
    step = books.started()
    books.settle(books.declined(step, "retry_later"), step["attempt_id"])
    called_off = books.call("begin_cancel", p_booking_id=step["booking_id"], p_user_id=books.user_id)
    assert called_off["next"]["do"] == "cancel"

    settled = books.settle(books.facts(step, "succeeded"))

    assert (settled["next"]["do"], settled["next"]["amount_minor"]) == ("refund", PRICE_MINOR)
    assert books.ledger(step) == [RESERVED, SPENT]


def test_the_same_card_is_tried_so_often_and_no_more(books: Books) -> None:
    step = books.started()
    waits = []
    for _ in range(20):
        settled = books.settle(books.declined(step, "retry_later"), step["attempt_id"])
        if settled["result"] != "retry_scheduled":
            break
        (wait,) = books.values(
            "select extract(epoch from retry_at - now())::float from public.bookings where id = %s", step["booking_id"]
        )
        waits.append(wait)
        books.db.execute("update public.bookings set retry_at = now() where id = %s", [step["booking_id"]])
        booking = books.booking(step)
        step = books.begin({"id": booking["campaign_id"]}, {"id": booking["offer_id"]})["next"]
        assert step["do"] == "charge"

    assert books.statuses(step)[1] == ["declined"] * 5  # the first and retries_per_booking more
    # Each wait doubles, with up to a quarter on top.
    assert [base <= wait <= base * 1.26 for wait, base in zip(waits, (3600, 7200, 14400, 28800), strict=True)] == (
        [True] * 4
    )


def test_no_card_is_tried_fifteen_times_in_thirty_days(books: Books) -> None:
    """Visa's limit counts all bookings together (https://docs.stripe.com/declines/card)."""
    campaign = books.campaign(max_bookings=100, budget_minor=10_000_000)
    last: Json = {}
    for _ in range(15):
        step = books.started(campaign)
        last = books.settle(books.declined(step, "retry_later"), step["attempt_id"])

    assert last["result"] == "declined"


def test_an_offer_that_is_gone_is_not_retried(books: Books) -> None:
    step = books.started()
    books.db.execute(
        "update public.offers set expires_at = now() + interval '30 minutes' where id = %s",
        [books.booking(step)["offer_id"]],
    )

    assert books.settle(books.declined(step, "retry_later"), step["attempt_id"])["result"] == "declined"


def test_a_card_that_is_to_be_updated_is_not_charged_for_another_booking(books: Books) -> None:
    campaign = books.campaign()
    step = books.started(campaign)
    books.settle(books.declined(step, "update_card"), step["attempt_id"])
    books.settle(books.facts(step, "canceled"))
    books.db.execute(
        "update public.campaigns set status = 'active', pause_reason = null where id = %s", [campaign["id"]]
    )

    assert books.begin(campaign, books.offer())["refusal"] == "no_usable_card"


def test_a_fault_of_ours_pauses_nobodys_campaign(books: Books) -> None:
    campaign = books.campaign()
    step = books.started(campaign)

    books.settle(books.facts(step, "rejected", payment_intent_id=None, decline=decline_of_ours()), step["attempt_id"])

    assert books.statuses(step) == ("failed", ["rejected"])
    assert books.row("campaigns", campaign["id"])["status"] == "active"
    assert books.incidents(step) == ["request_refused"]


def decline_of_ours() -> Json:
    """A request that Stripe did not take."""
    return {
        "category": "our_bug",
        "code": "parameter_invalid",
        "source": "code",
        "user_message": "Something went wrong on our side.",
        "is_fraud": False,
        "blocks_card": False,
    }


def test_bookings_that_stripe_was_not_seen_to_be_paid_for(books: Books) -> None:
    """Confirmed ones of the span whose payment is none of those that Stripe lists as succeeded."""
    steps = {name: books.started() for name in ("listed", "unlisted", "open", "later")}
    for name in ("listed", "unlisted", "later"):
        books.settle(books.facts(steps[name], "succeeded"), steps[name]["attempt_id"])
    books.db.execute(
        "update public.bookings set created_at = now() + interval '1 day' where id = %s", [steps["later"]["booking_id"]]
    )
    paid = [books.booking(steps["listed"])["stripe_payment_intent_id"]]
    span = {"p_since": datetime.now(UTC) - timedelta(hours=1), "p_until": datetime.now(UTC) + timedelta(hours=1)}
    row = books.db.execute(
        "select public.unpaid_confirmations(%(p_since)s, %(p_until)s, %(paid)s, 10000)", span | {"paid": paid}
    ).fetchone()

    assert row is not None
    ours = {step["booking_id"] for step in steps.values()}
    found = [each for each in row[0] if each["booking_id"] in ours]
    unlisted = books.booking(steps["unlisted"])
    assert found == [{"booking_id": unlisted["id"], "payment_intent_id": unlisted["stripe_payment_intent_id"]}]
