"""Stripe's events arrive late, twice and in any order, and before the function that caused them has finished.

Each family is a piece of a payment's life as the stand-ins play it. However its news travel, the end state must be
the one that it has when everything arrives in time and in order.
"""

import itertools
import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psycopg
import pytest
from psycopg.types.json import Jsonb

from functions.shared.stripe_events.event import Event
from functions.shared.stripe_events.inbox import _to_store
from local.stack import LocalStack
from tests.payments.event_families import CHARGES, FAMILIES, Family
from tests.support.aftermath import Page, Reconcile, Wire, sdk_as_it_is
from tests.support.http import Caller
from tests.support.story import Scene, state
from tests.support.supabase_side import SupabaseSide
from tests.support.travellers import CONSENT, VISA, Json, MakeTraveller
from tests.support.waiting import until

MOST_ORDERS = 24 if os.environ.get("AUTOBOOK_SLOW") else 8
"""Of all orders, as many are tried; above that they are drawn by a fixed seed, the order itself and its reverse too."""


class Stage:
    """Plays families, each with a traveller of its own."""

    def __init__(
        self,
        make_traveller: MakeTraveller,
        page: Page,
        machine: Caller,
        supabase: SupabaseSide,
        wire: Wire,
        reconcile: Reconcile,
    ) -> None:
        self._make_traveller = make_traveller
        self._page, self._machine, self._supabase = page, machine, supabase
        self.wire, self._reconcile = wire, reconcile

    def scene(self, family: Family) -> Scene:
        """Everything up to where the family's news begin."""
        scene = Scene(self._make_traveller(), self._page, self._machine, self._supabase)
        if family.set_up.get("card", VISA) is None:
            ok_customer(scene)
        else:
            scene.set_up(**family.set_up)
        family.before(scene)
        scene.traveller.stripe.flush()
        return scene

    def cut(self, family: Family) -> tuple[Scene, list[Json]]:
        """The family's news, undelivered; the answer of its charge, if it has one, is lost."""
        scene = self.scene(family)
        scene.answer_is_lost = family.has_charge
        scene.live = False
        with self.wire.cut() as events:
            family.then(scene)
        assert events
        return scene, events

    def at_rest(self, scene: Scene) -> Json:
        """The end state, after the webhooks that are on their way and what reconcile has to do."""
        scene.traveller.stripe.flush()
        scene.traveller.db.execute(
            "update public.bookings set leased_until = null where user_id = %s and leased_until is not null",
            [scene.traveller.id],
        )
        if scene.booking:
            self._reconcile.due(scene.booking)
        scene.traveller.stripe.flush()
        return state(scene.traveller)


def ok_customer(scene: Scene) -> None:
    """A traveller without a card, whose campaign waits for one."""
    scene.campaign = scene.traveller.open_campaign()
    scene.traveller.api.post("/setup-intent", CONSENT)


@pytest.fixture
def stage(
    make_traveller: MakeTraveller,
    page: Page,
    machine: Caller,
    supabase_side: SupabaseSide,
    wire: Wire,
    reconcile: Reconcile,
) -> Stage:
    """Where families are played."""
    return Stage(make_traveller, page, machine, supabase_side, wire, reconcile)


def orders(events: list[Json]) -> Iterator[list[Json]]:
    """The order itself, its reverse, and others up to MOST_ORDERS."""
    yield events
    yield events[::-1]
    if len(events) <= 4:
        yield from (list(order) for order in itertools.permutations(events))
        return
    draw = random.Random(len(events))
    for _ in range(MOST_ORDERS):
        yield draw.sample(events, len(events))


def in_every_order(stack: LocalStack, scene: Scene, events: list[Json]) -> dict[str, list[str]]:
    """The orders by the state that each leads to.

    Events are given to the database as the webhook gives them, in transactions that are undone, so that one scene
    serves for all orders.
    """
    with sdk_as_it_is():
        stored = {event["id"]: Jsonb(_to_store(Event.model_validate(event))) for event in events}
    ends: dict[str, list[str]] = {}
    with psycopg.connect(stack.database_url) as connection:
        behind = replace(scene.traveller, db=connection)
        for order in orders(events):
            with connection.transaction(force_rollback=True):
                for event in order:
                    connection.execute("select public.receive_event(%s)", [stored[event["id"]]])
                ends.setdefault(repr(state(behind)), []).append(" > ".join(event["type"] for event in order))
    return ends


@pytest.mark.parametrize("name", FAMILIES)
def test_however_the_news_travel_the_end_is_the_same(
    stack: LocalStack, stage: Stage, subtests: pytest.Subtests, name: str
) -> None:
    family = FAMILIES[name]
    scene = stage.scene(family)
    family.then(scene)
    in_time = stage.at_rest(scene)

    with subtests.test("in time and in order"):
        booking, campaign, told = family.ends
        assert [row[0] for row in in_time["bookings"] or []] == ([] if booking is None else [booking])
        assert [tuple(row[:2]) for row in in_time["campaigns"]] == [campaign]
        assert in_time["told"] == told

    scene, events = stage.cut(family)
    with subtests.test("in every order"):
        ends = in_every_order(stack, scene, events)
        assert len(ends) == 1, "\n\n".join(f"{end}\n  after {ways[0]}" for end, ways in ends.items())

    with subtests.test("each twice in a row, then all once more"):
        twice = [*(each for event in events for each in (event, event)), *events]
        receipts = [stage.wire.deliver(event) for event in twice]
        assert {receipt["status"] for receipt in receipts} <= {"applied", "ignored"}
        assert stage.at_rest(scene) == in_time

    with subtests.test("the last first"):
        scene, events = stage.cut(family)
        for event in reversed(events):
            stage.wire.deliver(event)
        assert stage.at_rest(scene) == in_time

    if family.has_charge:
        with subtests.test("before the charging function has committed"):
            scene = stage.scene(family)
            scene.answer_is_late = True
            family.then(scene)
            scene.finish()
            assert stage.at_rest(scene) == in_time


def facts_of(events: list[Json], kind: str) -> tuple[Jsonb, Jsonb]:
    """An event as the webhook gives it to the database, and the facts in it."""
    (event,) = [event for event in events if event["type"] == kind]
    with sdk_as_it_is():
        stored = _to_store(Event.model_validate(event))
    return Jsonb(stored), Jsonb(stored["facts"])


@pytest.mark.parametrize("first", ["the event", "the answer"])
def test_an_event_stored_while_the_function_commits(stack: LocalStack, stage: Stage, first: str) -> None:
    """Neither transaction can see the other: whichever commits first, the other must wait for it and find it."""
    scene, events = stage.cut(CHARGES["held and under review"])
    review, _ = facts_of(events, "review.opened")
    _, answer = facts_of(events, "payment_intent.amount_capturable_updated")
    calls = [("select public.receive_event(%s)", review), ("select public.settle_payment(%s)", answer)]
    (query, argument), (other_query, other_argument) = calls if first == "the event" else calls[::-1]

    with (
        ThreadPoolExecutor(1) as threads,
        psycopg.connect(stack.database_url) as one,
        psycopg.connect(stack.database_url) as other,
    ):
        one.execute(query, [argument])
        waiting = threads.submit(other.execute, other_query, [other_argument])
        until(lambda: waiting.done() or is_blocked(scene, other.info.backend_pid))
        one.commit()
        waiting.result()
        other.commit()

    ((status, under_review),) = scene.traveller.rows(
        "select status::text, under_review_since is not null from public.bookings where id = %s", scene.booking["id"]
    )
    assert (status, under_review) == ("authorized", True)
    for event in events:
        stage.wire.deliver(event)


def is_blocked(scene: Scene, pid: int) -> bool:
    """Whether a database session waits for another."""
    ((blocked,),) = scene.traveller.rows("select cardinality(pg_blocking_pids(%s)) > 0", pid)
    return bool(blocked)
