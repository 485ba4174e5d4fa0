"""Stripe's events arrive late, twice and in any order, and before the function that caused them has finished.

Each family is a piece of a payment's life as the stand-ins play it. However its news travel, the end state must be
the one that it has when everything arrives in time and in order.
"""

import itertools
import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from functions.shared.stripe_events.event import Event
from functions.shared.stripe_events.inbox import _to_store
from local.stack import LocalStack
from tests.support.aftermath import Page, Reconcile, Wire, sdk_as_it_is
from tests.support.http import Caller
from tests.support.story import Scene, Script, state
from tests.support.supabase_side import SupabaseSide
from tests.support.travellers import CONSENT, SAVES_THEN_DECLINES, VISA, Json, MakeTraveller
from tests.support.waiting import until

MOST_ORDERS = 24 if os.environ.get("AUTOBOOK_SLOW") else 8
"""Of all orders, as many are tried; above that they are drawn by a fixed seed, the order itself and its reverse too."""


@dataclass(frozen=True)
class Family:
    """What happens (`before` with all news arriving, `then` with those that are tested) and how it must end."""

    then: Script
    ends: tuple[str | None, tuple[str, str | None], list[str]]
    """The booking's status, the campaign's with its pause_reason, the kinds of messages about what lasts."""
    before: Script = lambda scene: None
    set_up: Json = field(default_factory=dict)
    has_charge: bool = False
    """Whether `then` begins with the charge itself, whose function may be slow or get lost."""


def charge(scene: Scene) -> None:
    scene.charge()


def charge_slowly(scene: Scene) -> None:
    """The bank takes a moment; the end comes by events alone."""
    scene.charge()
    until(lambda: scene.sdk.v1.payment_intents.retrieve(scene.intent_id).status != "processing")
    scene.between()


def charge_and_dispute(outcome: str | None) -> Script:
    def script(scene: Scene) -> None:
        scene.charge()
        dispute(outcome)(scene)

    return script


def dispute(outcome: str | None, *, inquiry: bool = False, evidence: bool = False, escalates: bool = False) -> Script:
    def script(scene: Scene) -> None:
        opened = scene.control("/disputes", {"payment_intent": scene.intent_id, "inquiry": inquiry})
        if escalates:
            scene.control(f"/disputes/{opened['id']}", {"outcome": "escalate"})
        if evidence:
            scene.sdk.v1.disputes.update(opened["id"], {"evidence": {"uncategorized_text": "Here."}, "submit": True})
            scene.between()
        if outcome is not None:
            scene.control(f"/disputes/{opened['id']}", {"outcome": outcome})

    return script


def refund(amount: int, outcome: str | None = None) -> Script:
    """A refund made in Stripe's dashboard."""

    def script(scene: Scene) -> None:
        made = scene.sdk.v1.refunds.create({"payment_intent": scene.intent_id, "amount": amount})
        scene.between()
        if outcome is not None:
            scene.control(f"/refunds/{made.id}", {"outcome": outcome})

    return script


def warn(scene: Scene) -> None:
    scene.control("/early-fraud-warnings", {"payment_intent": scene.intent_id})


def warn_then_refund(scene: Scene) -> None:
    warn(scene)
    refund(12_000)(scene)


def review(reason: str | None) -> Script:
    def script(scene: Scene) -> None:
        opened = scene.control("/reviews", {"payment_intent": scene.intent_id})
        if reason is not None:
            scene.control(f"/reviews/{opened['id']}", {"reason": reason})

    return script


def capture_in_the_dashboard(amount: int) -> Script:
    def script(scene: Scene) -> None:
        scene.sdk.v1.payment_intents.capture(scene.intent_id, {"amount_to_capture": amount})
        scene.between()

    return script


def charge_then_capture(scene: Scene) -> None:
    scene.charge()
    capture_in_the_dashboard(12_000)(scene)


def cancel_in_the_dashboard(scene: Scene) -> None:
    scene.sdk.v1.payment_intents.cancel(scene.intent_id)
    scene.between()


def authenticate(*outcomes: str) -> Script:
    def script(scene: Scene) -> None:
        for outcome in outcomes:
            scene.authenticate(outcome)

    return script


def authenticate_in_vain(scene: Scene) -> None:
    """The cardholder authenticates, and the bank declines all the same."""
    scene.traveller.stripe.change_card(scene.traveller.stripe_id(scene.card), "challenge", times=1)
    assert scene.page.confirm(scene.traveller, scene.booking, scene.card) == "requires_action"
    scene.between()
    scene.traveller.stripe.change_card(scene.traveller.stripe_id(scene.card), "generic_decline")
    scene.control("/authenticate", {"intent": scene.intent_id, "outcome": "succeed"})


def renew_twice(scene: Scene) -> None:
    for year in (2041, 2045):
        scene.traveller.stripe.change_card(scene.traveller.stripe_id(scene.card), "network_update", exp_year=year)
        scene.between()


def renew_and_detach(scene: Scene) -> None:
    renew_twice(scene)
    scene.sdk.v1.payment_methods.detach(scene.traveller.stripe_id(scene.card))
    scene.between()


def delete_customer(scene: Scene) -> None:
    scene.sdk.v1.customers.delete(scene.traveller.customer_id)
    scene.between()


def revoke_mandate(scene: Scene) -> None:
    scene.control(f"/mandates/{scene.notes['mandate']}", {"status": "inactive"})


def save_with_a_mandate(scene: Scene) -> None:
    setup = scene.traveller.begin_setup()
    acceptance: Any = {"type": "online", "online": {"ip_address": "192.0.2.1", "user_agent": "Test"}}
    confirmed = scene.sdk.v1.setup_intents.confirm(
        setup["id"], {"payment_method": VISA, "mandate_data": {"customer_acceptance": acceptance}}
    )
    scene.notes["mandate"] = confirmed.mandate
    scene.between()


def fail_then_save(scene: Scene) -> None:
    """A card with a challenge: failed once, answered the second time."""
    setup = scene.traveller.begin_setup()
    for outcome in ("fail", "succeed"):
        status = scene.traveller.stripe.confirm_setup(setup["client_secret"], "pm_card_authenticationRequired")
        assert status == "requires_action"
        scene.between()
        scene.control("/authenticate", {"intent": setup["id"], "outcome": outcome})


def begin_and_abandon(scene: Scene) -> None:
    setup = scene.traveller.begin_setup()
    scene.traveller.stripe.confirm_setup(setup["client_secret"], "pm_card_authenticationRequired")
    scene.between()
    scene.sdk.v1.setup_intents.cancel(setup["id"])
    scene.between()


_ACTIVE: tuple[str, str | None] = ("active", None)
_MANUAL = {"capture": "manual"}
_ASKS = {"behaviour": {"behaviour": "authentication_required"}}
_NO_CARD = {"card": None}
_BOOKED = ["booking_confirmed"]

CHARGES = {
    "paid": Family(charge, ("confirmed", _ACTIVE, _BOOKED)),
    "declined": Family(
        charge,
        ("failed", ("paused", "payment_failed"), ["booking_failed"]),
        set_up={"behaviour": {"behaviour": "generic_decline"}},
    ),
    "declined as stolen": Family(
        charge,
        ("failed", ("paused", "card_unusable"), ["booking_failed", "card_unusable"]),
        set_up={"behaviour": {"behaviour": "stolen_card"}, "backup": VISA, "use_backups": True},
    ),
    "declined, a backup pays": Family(
        charge,
        ("confirmed", _ACTIVE, _BOOKED),
        set_up={"card": SAVES_THEN_DECLINES, "backup": VISA, "use_backups": True},
    ),
    "declined for now": Family(
        charge, ("retry_scheduled", _ACTIVE, []), set_up={"behaviour": {"behaviour": "insufficient_funds"}}
    ),
    "asked for the cardholder": Family(charge, ("requires_action", _ACTIVE, []), set_up=_ASKS),
    "slowly paid": Family(
        charge_slowly,
        ("confirmed", _ACTIVE, _BOOKED),
        set_up={"behaviour": {"behaviour": "processing", "seconds": 0.1}},
    ),
    "slowly declined, a backup pays": Family(
        charge_slowly,
        ("confirmed", _ACTIVE, _BOOKED),
        set_up={
            "behaviour": {"behaviour": "processing", "seconds": 0.1, "then": "generic_decline"},
            "backup": VISA,
            "use_backups": True,
        },
    ),
    "held": Family(charge, ("authorized", _ACTIVE, []), set_up=_MANUAL),
    "held and captured in the dashboard": Family(charge_then_capture, ("confirmed", _ACTIVE, _BOOKED), set_up=_MANUAL),
    "held and under review": Family(
        charge, ("authorized", _ACTIVE, []), set_up=_MANUAL | {"card": "pm_card_riskLevelElevated"}
    ),
    "paid and disputed at once": Family(
        charge_and_dispute(None), ("confirmed", ("paused", "dispute"), ["booking_confirmed", "dispute_opened"])
    ),
    "paid, disputed and lost": Family(
        charge_and_dispute("lose"),
        ("confirmed", ("paused", "dispute"), ["booking_confirmed", "dispute_lost", "dispute_opened"]),
    ),
    "paid and warned of at once": Family(
        charge,
        ("confirmed", ("paused", "fraud_warning"), ["booking_confirmed", "fraud_warning"]),
        set_up={"card": "pm_card_createIssuerFraudRecord"},
    ),
}
CHARGES = {name: replace(family, has_charge=True) for name, family in CHARGES.items()}

AFTERWARDS = {
    "authenticated": Family(authenticate("succeed"), ("confirmed", _ACTIVE, _BOOKED), before=charge, set_up=_ASKS),
    "authenticated at the third try": Family(
        authenticate("fail", "fail", "succeed"), ("confirmed", _ACTIVE, _BOOKED), before=charge, set_up=_ASKS
    ),
    "authentication failed": Family(
        authenticate("fail"), ("requires_action", _ACTIVE, []), before=charge, set_up=_ASKS
    ),
    "authenticated for a hold": Family(
        authenticate("succeed"), ("authorized", _ACTIVE, []), before=charge, set_up=_ASKS | _MANUAL
    ),
    "authenticated in vain": Family(
        authenticate_in_vain,
        ("failed", ("paused", "payment_failed"), ["booking_failed"]),
        before=charge,
        set_up=_ASKS,
    ),
    "a part captured in the dashboard": Family(
        capture_in_the_dashboard(5_000), ("confirmed", _ACTIVE, _BOOKED), before=charge, set_up=_MANUAL
    ),
    "hold cancelled in the dashboard": Family(
        cancel_in_the_dashboard, ("cancelled", _ACTIVE, ["booking_cancelled"]), before=charge, set_up=_MANUAL
    ),
    "refunded in the dashboard": Family(
        refund(12_000), ("refunded", _ACTIVE, ["booking_confirmed", "refund_issued"]), before=charge
    ),
    "a part refunded in the dashboard": Family(
        refund(4_000), ("confirmed", _ACTIVE, ["booking_confirmed", "refund_issued"]), before=charge
    ),
    "refund pending, then done": Family(
        refund(12_000, "succeed"),
        ("refunded", _ACTIVE, ["booking_confirmed", "refund_issued"]),
        before=charge,
        set_up={"card": "pm_card_pendingRefund"},
    ),
    "refund done, then sent back": Family(
        refund(12_000, "fail"),
        ("confirmed", _ACTIVE, ["booking_confirmed", "refund_failed"]),
        before=charge,
    ),
    "disputed": Family(
        dispute(None), ("confirmed", ("paused", "dispute"), ["booking_confirmed", "dispute_opened"]), before=charge
    ),
    "disputed, answered": Family(
        dispute(None, evidence=True),
        ("confirmed", ("paused", "dispute"), ["booking_confirmed", "dispute_opened"]),
        before=charge,
    ),
    "disputed and won": Family(
        dispute("win"),
        ("confirmed", _ACTIVE, ["booking_confirmed", "dispute_opened", "dispute_won"]),
        before=charge,
    ),
    "disputed, answered and lost": Family(
        dispute("lose", evidence=True),
        ("confirmed", ("paused", "dispute"), ["booking_confirmed", "dispute_lost", "dispute_opened"]),
        before=charge,
    ),
    "inquired, then closed": Family(
        dispute("win", inquiry=True),
        ("confirmed", _ACTIVE, ["booking_confirmed", "dispute_opened", "dispute_won"]),
        before=charge,
    ),
    "inquired, then disputed": Family(
        dispute(None, inquiry=True, escalates=True),
        ("confirmed", ("paused", "dispute"), ["booking_confirmed", "dispute_opened"]),
        before=charge,
    ),
    "warned of": Family(
        warn_then_refund,
        ("refunded", ("paused", "fraud_warning"), ["booking_confirmed", "fraud_warning", "refund_issued"]),
        before=charge,
    ),
    "hold warned of": Family(
        warn,
        ("cancelled", ("paused", "fraud_warning"), ["booking_cancelled", "fraud_warning"]),
        before=charge,
        set_up=_MANUAL,
    ),
    "reviewed and approved": Family(review("approved"), ("authorized", _ACTIVE, []), before=charge, set_up=_MANUAL),
    "reviewed and refused": Family(
        review("refunded_as_fraud"), ("cancelled", _ACTIVE, ["booking_cancelled"]), before=charge, set_up=_MANUAL
    ),
    "card renewed twice": Family(renew_twice, (None, _ACTIVE, [])),
    "card renewed and removed": Family(
        renew_and_detach, (None, ("paused", "card_unusable"), ["campaign_paused", "card_removed"])
    ),
    "customer deleted": Family(
        delete_customer,
        (None, ("paused", "card_unusable"), ["campaign_paused", "card_removed"]),
        set_up={"backup": VISA},
    ),
    "mandate revoked": Family(
        revoke_mandate, (None, _ACTIVE, ["card_unusable"]), before=save_with_a_mandate, set_up=_NO_CARD
    ),
    "card saved at the second try": Family(fail_then_save, (None, _ACTIVE, []), set_up=_NO_CARD),
    "saving abandoned": Family(begin_and_abandon, (None, _ACTIVE, []), set_up=_NO_CARD),
}

FAMILIES = CHARGES | AFTERWARDS


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
