"""A run as a whole: looking changes nothing, two at once do no more than one, and none outlives its Lambda."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg import sql

from local.stack import LocalStack
from tests.functions.reconcile.conftest import Tamper
from tests.support.aftermath import Reconcile, Wire, move_into_the_past, sdk_as_it_is
from tests.support.fixtures import OpenGateway
from tests.support.http import Caller, ok
from tests.support.lambdas import cold_functions, invoke
from tests.support.stripe_side import StripeSide
from tests.support.travellers import ASKS_ALWAYS, Json, MakeTraveller, Traveller, in_time
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("quiet")


def everything_in(db: psycopg.Connection) -> dict[str, list[str]]:
    """Every row of every table, by table."""
    tables = db.execute(
        "select table_schema, table_name from information_schema.tables "
        "where table_type = 'BASE TABLE' and table_schema in ('public', 'internal', 'auth')"
    ).fetchall()
    assert len(tables) > 12
    return {
        f"{schema}.{table}": sorted(
            row for (row,) in db.execute(sql.SQL("select t::text from {} as t").format(sql.Identifier(schema, table)))
        )
        for schema, table in tables
    }


def leave_everything_open(
    traveller: Traveller, wire: Wire, gateway_with: OpenGateway, tamper: Tamper
) -> dict[str, Json]:
    """Something for every job to find."""
    card = traveller.save_card()
    asking = traveller.save_card(ASKS_ALWAYS)
    long: dict[str, Any] = {"expires_at": in_time(days=20)}
    open_bookings = {}

    held = ok(traveller.charge(traveller.open_campaign(capture="manual"), traveller.offer(**long)), 201)
    open_bookings["hold_ending"] = held
    traveller.stripe.change_card(traveller.stripe_id(card), "insufficient_funds", times=1)
    open_bookings["retry_due"] = ok(traveller.charge(traveller.open_campaign(), traveller.offer(**long)), 202)
    overdue = traveller.open_campaign(payment_method_id=asking["id"])
    open_bookings["authentication_overdue"] = ok(traveller.charge(overdue, traveller.offer(**long)), 202)
    traveller.stripe.flush()
    move_into_the_past(traveller, open_bookings["retry_due"], "retry_at")
    move_into_the_past(traveller, open_bookings["authentication_overdue"], "action_expires_at")
    tamper("update public.bookings set capture_before = now() + interval '20 hours' where id = %s", held["id"])

    spoilt = traveller.open_campaign()
    with wire.cut() as events:
        traveller.stripe.fault("drop_after", match="/v1/payment_intents$")
        open_bookings["event_missed"] = ok(traveller.charge(traveller.open_campaign(), traveller.offer(**long)), 202)
        traveller.stripe.fault("drop_after", match="/v1/payment_intents$")
        open_bookings["event_had_failed"] = ok(traveller.charge(spoilt, traveller.offer(**long)), 202)
    (failing,) = [
        event
        for event in events
        if event["type"] == "payment_intent.succeeded"
        and event["data"]["object"]["metadata"]["campaign_id"] == spoilt["id"]
    ]
    tamper("update public.campaigns set reserved_minor = 0 where id = %s", spoilt["id"])
    assert wire.post(failing).status_code == 500
    tamper("update public.campaigns set reserved_minor = 12000 where id = %s", spoilt["id"])

    campaign = traveller.open_campaign(auto_book=True)
    traveller.feed = traveller.feed.over(gateway_with(AWS_ENDPOINT_URL_SQS="http://127.0.0.1:9"))
    offer = traveller.offer(**long)
    tamper("update public.matches set updated_at = updated_at - interval '1 hour' where offer_id = %s", offer["id"])
    open_bookings["match_waiting"] = {"campaign_id": campaign["id"], "offer_id": offer["id"]}

    given_up = traveller.save_card()
    traveller.stripe.fault("error_before", match="/detach$", remember=False)
    assert traveller.api.delete(f"/payment-methods/{given_up['id']}").status_code == 503
    tamper(
        "update public.payment_methods set updated_at = updated_at - interval '1 hour' where id = %s", given_up["id"]
    )

    expired = traveller.open_campaign()
    traveller.db.execute("update public.campaigns set expires_at = now() where id = %s", [expired["id"]])
    tamper(
        "update public.payment_methods set exp_month = extract(month from now()), exp_year = extract(year from now()) "
        "where id = %s",
        card["id"],
    )
    return open_bookings


EVERY_JOB = {
    "missed events": {"event_missed"},
    "failed events": {"event_had_failed"},
    "due bookings": {"outcome_unknown", "retry_due", "authentication_overdue"},
    "payments": {"payment_unsettled"},
    "waiting matches": {"match_waiting"},
    "detaching": {"card_detaching"},
    "campaigns": {"campaign_expired"},
    "cards": {"card_expiring"},
    "holds": {"hold_ending"},
    "invariants": set(),
    "numbers": set(),
}


def test_looking_changes_nothing_and_applying_does_what_it_saw(
    traveller: Traveller,
    wire: Wire,
    gateway_with: OpenGateway,
    tamper: Tamper,
    stack_db: psycopg.Connection,
    reconcile: Reconcile,
) -> None:
    opened = leave_everything_open(traveller, wire, gateway_with, tamper)
    before = everything_in(stack_db)

    with traveller.stripe.watched() as requests:
        seen = reconcile(apply=False)

    assert {job: {line["what"] for line in lines} for job, lines in seen.items()} == EVERY_JOB
    assert everything_in(stack_db) == before
    assert requests
    assert {request["method"] for request in requests} == {"GET"}
    traveller.stripe.flush()

    reconcile()
    until(lambda: len(traveller.bookings()) == 6)
    traveller.stripe.flush()
    until(lambda: "charging" not in {booking["status"] for booking in traveller.bookings()})

    statuses = {booking["offer_id"]: booking["status"] for booking in traveller.bookings()}
    ended = {why: statuses[booking["offer_id"]] for why, booking in opened.items()}
    assert ended == {
        "retry_due": "confirmed",
        "authentication_overdue": "failed",
        "event_missed": "confirmed",
        "event_had_failed": "confirmed",
        "match_waiting": "confirmed",
        "hold_ending": "authorized",
    }
    assert {job: lines for job, lines in reconcile().items() if lines} == {}
    assert sorted(traveller.notified()) == sorted(
        ["booking_retrying", "authentication_required", "booking_failed", "campaign_expired", "card_expiring"]
        + ["booking_confirmed"] * 4
        + ["booking_authorized"]
    )


def test_a_hold_that_fulfilment_has_forgotten_is_an_incident_until_it_is_seen_to(
    carded: Traveller, machine: Caller, tamper: Tamper, reconcile: Reconcile
) -> None:
    booking = ok(carded.charge(carded.open_campaign(capture="manual"), carded.offer(expires_at=in_time(days=20))), 201)
    carded.stripe.flush()  # Stripe's own news say when the hold ends
    said = "select kind, detail, resolved_at is not null from public.incidents where booking_id = %s"
    reconcile.job("holds")
    assert carded.rows(said, booking["id"]) == []  # it has days left
    tamper("update public.bookings set capture_before = '2036-01-01T00:00:00Z' where id = %s", booking["id"])
    reconcile.job("holds")
    assert carded.rows(said, booking["id"]) == []
    tamper("update public.bookings set capture_before = now() + interval '29 hours' where id = %s", booking["id"])

    for _ in range(2):
        reconcile.job("holds")
    ((kind, detail, resolved),) = carded.rows(said, booking["id"])
    assert (kind, resolved) == ("hold_ending", False)
    assert "it is voided by itself" in detail

    ok(machine.post(f"/bookings/{booking['id']}/capture"))
    reconcile.job("holds")
    assert carded.rows(said, booking["id"]) == [("hold_ending", detail, True)]


def test_two_runs_at_once_do_no_more_than_one(
    make_traveller: MakeTraveller, wire: Wire, gateway_with: OpenGateway, tamper: Tamper, reconcile: Reconcile
) -> None:
    travellers = [make_traveller() for _ in range(2)]
    for traveller in travellers:
        leave_everything_open(traveller, wire, gateway_with, tamper)

    with sdk_as_it_is(), ThreadPoolExecutor(3) as threads:
        runs = [threads.submit(invoke, "functions.reconcile.handler:handler", {}, 60.0) for _ in range(3)]
        reports = [run.result()["jobs"] for run in runs]
    until(lambda: all(len(traveller.bookings()) == 6 for traveller in travellers))
    reconcile()
    travellers[0].stripe.flush()

    assert not [line for jobs in reports for lines in jobs.values() for line in lines if line["what"] == "failed"]
    for traveller in travellers:
        until(
            lambda traveller=traveller: (  # type: ignore[misc]  # mypy takes the default for a parameter without a type
                sorted(booking["status"] for booking in traveller.bookings())
                == ["authorized"] + ["confirmed"] * 4 + ["failed"]
            )
        )
        taken = traveller.stripe.taken(traveller.customer_id)
        assert [charge["captured"] for charge in taken].count(True) == 4
        assert traveller.rows(
            "select count(*) from public.incidents as i join public.bookings as b on b.id = i.booking_id "
            "where b.user_id = %s and i.kind = 'hold_ending'",
            traveller.id,
        ) == [(1,)]
        assert len(traveller.notified()) == len(set(traveller.notified())) + 3, "only booking_confirmed is told again"


def test_a_run_ends_before_its_lambda_does(
    stack: LocalStack, carded: Traveller, wire: Wire, stripe_side: StripeSide, reconcile: Reconcile
) -> None:
    """Stripe is slow, and much is due: as much as fits is done, the rest is left as it was and done next time."""
    bookings = []
    with wire.cut():
        for _ in range(8):
            campaign, offer = carded.open_campaign(), carded.offer()
            stripe_side.fault("drop_before", match="/v1/payment_intents$")
            bookings.append(ok(carded.charge(campaign, offer), 202))
    stripe_side.fault("latency", match="/v1/payment_intents$", method="POST", seconds=0.8, times=None)

    with cold_functions(stack, STRIPE_TIMEOUT_SECONDS="1.5"):
        begun_at = time.monotonic()
        report = invoke("functions.reconcile.handler:handler", {}, 8.0)["jobs"]
        lasted_seconds = time.monotonic() - begun_at

    assert lasted_seconds < 8
    statuses = [carded.booking(booking)["status"] for booking in bookings]
    assert 1 <= statuses.count("confirmed") < 8
    assert statuses.count("charging") == 8 - statuses.count("confirmed")
    assert len(report["due bookings"]) == 8

    stripe_side.control("DELETE", "/faults")
    carded.db.execute("update public.bookings set leased_until = null where user_id = %s", [carded.id])
    with cold_functions(stack):
        Reconcile()()
    assert {carded.booking(booking)["status"] for booking in bookings} == {"confirmed"}
    assert len(stripe_side.taken(carded.customer_id)) == 8


def test_slow_lists_do_not_outlive_the_lambda(
    stack: LocalStack, carded: Traveller, stripe_side: StripeSide, stack_db: psycopg.Connection
) -> None:
    """A day without reconcile: the events are read window by window, and the watermark keeps what was done."""
    stack_db.execute("update internal.reconcile_state set events_seen_until = now() - interval '24 hours'")
    stripe_side.fault("latency", match="/v1/events$", seconds=0.5, times=None)

    with cold_functions(stack):
        begun_at = time.monotonic()
        invoke("functions.reconcile.handler:handler", {}, 6.0)
        lasted_seconds = time.monotonic() - begun_at

    assert lasted_seconds < 6
    row = stack_db.execute("select extract(epoch from now() - events_seen_until)::float from internal.reconcile_state")
    (behind_seconds,) = row.fetchone() or (0,)
    assert 0 < behind_seconds < 23 * 3_600


def test_no_time_at_all_touches_nothing(carded: Traveller, stack_db: psycopg.Connection) -> None:
    before = everything_in(stack_db)

    jobs = invoke("functions.reconcile.handler:handler", {}, 2.0)["jobs"]

    assert list(jobs.values()) == [[{"what": "no_time_left"}]] * len(EVERY_JOB)
    assert everything_in(stack_db) == before


def test_without_stripe_everything_else_is_done(stack: LocalStack, carded: Traveller) -> None:
    campaign = carded.open_campaign()
    carded.db.execute("update public.campaigns set expires_at = now() where id = %s", [campaign["id"]])

    with cold_functions(stack, STRIPE_API_BASE="http://127.0.0.1:9"):
        report = Reconcile()()

    assert report["missed events"] == [{"what": "stopped", "code": "payment_provider_unavailable"}]
    assert report["campaigns"] == [{"what": "campaign_expired"}]


def test_without_a_database_it_says_so(stack: LocalStack) -> None:
    with cold_functions(stack, SUPABASE_URL="http://127.0.0.1:9"):
        report = Reconcile()()

    assert {line["what"] for lines in report.values() for line in lines} == {"stopped"}
    assert {line["code"] for lines in report.values() for line in lines} == {"database_unavailable"}
