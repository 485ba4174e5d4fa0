"""Faults planted in the product, each of which the simulation must find: so we know that checker and schedules see.

A mutation rewrites SQL functions in the simulated database, or puts something else in the place of a Python function
for as long as it is planted.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest.mock import patch
from uuid import uuid4

from local.faults import wires

if TYPE_CHECKING:
    from local.faults.database_side import SimulatedDatabase


@dataclass(frozen=True)
class Rewrite:
    """Text of a SQL function that is replaced wherever it stands in it."""

    function: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutation:
    """One planted fault. `why` says what it would do to somebody's money or trust."""

    why: str
    sql: tuple[Rewrite, ...] = ()
    python: Callable[[], Any] | None = None
    """Makes a context manager within which the fault is planted."""
    known_seed: int = 0
    """A seed that has found it, so that it need not be searched for from 0 on. A change of the simulator moves it."""


def _charge_without_locks() -> tuple[Rewrite, ...]:
    return (
        Rewrite("public.begin_charge", "for no key update", ""),
        Rewrite("internal.next_step", "for no key update", ""),
    )


def _settle_without_locks() -> tuple[Rewrite, ...]:
    return (
        Rewrite("internal.settle_payment", "for no key update", ""),
        Rewrite("internal.settle_payment", "perform internal.lock_payment(p_facts ->> 'payment_intent_id');", ""),
        Rewrite("public.receive_event", "perform internal.lock_payment(p_event #>> '{facts,payment_intent_id}');", ""),
        # What two at once do to a payment a unique key undoes; what they do to the sum of its refunds nothing does.
        Rewrite("internal.find_refund", "for no key update", ""),
    )


def _fresh_keys(prefix: str) -> Any:
    """Send requests whose key begins so under a random key instead."""
    original = wires.StripeWire.request

    def request(self: wires.StripeWire, method: str, url: str, headers: Any, *rest: Any, **named: Any) -> Any:
        if str(headers.get("Idempotency-Key", "")).startswith(prefix):
            headers = {**headers, "Idempotency-Key": uuid4().hex}
        return original(self, method, url, headers, *rest, **named)

    return patch.object(wires.StripeWire, "request", request)


@contextmanager
def _instead(module: str, name: str, make: Callable[[Any], Any]) -> Iterator[None]:
    from importlib import import_module

    where: Any = import_module(module)
    for part in name.split(".")[:-1]:
        where = getattr(where, part)
    last = name.rpartition(".")[2]
    with patch.object(where, last, make(getattr(where, last))):
        yield


def _unknown_is_a_decline(settled: Any) -> Any:
    def settle(send: Any) -> Any:
        facts = settled(send)
        if facts.get("status") != "unknown":
            return facts
        decline = {"category": "other_card", "code": "timeout", "source": "code", "user_message": "It failed."}
        return {"status": "requires_payment_method", "decline": decline}

    return settle


def _says_cancelled(_: Any) -> Any:
    return lambda _gateway, step, _deadline: {"status": "canceled", "payment_intent_id": step["payment_intent_id"]}


MUTATIONS: dict[str, Mutation] = {
    "charge_without_locks": Mutation(
        "two charges of one campaign begin without seeing each other",
        _charge_without_locks(),
        known_seed=41,
    ),
    "settle_without_locks": Mutation(
        "two settle one booking at the same time, and the sum of its refunds forgets one of them",
        _settle_without_locks(),
        known_seed=52,
    ),
    "settle_does_not_skip": Mutation(
        "who comes second settles once more",
        (
            Rewrite(
                "internal.confirm_booking", "if p_booking.status in ('confirmed', 'refunded') then", "if false then"
            ),
        ),
    ),
    "random_idempotency_key": Mutation(
        "a repeated charge is a second charge", python=partial(_fresh_keys, "attempt:"), known_seed=4
    ),
    "refund_under_a_fresh_key": Mutation(
        "a repeated refund is a second refund",
        python=partial(_fresh_keys, "refund:"),
        known_seed=118,
    ),
    "timeout_is_a_failure": Mutation(
        "what nobody knows is taken for a refusal",
        python=partial(_instead, "functions.shared.stripe_gateway", "_settled", _unknown_is_a_decline),
        known_seed=28,
    ),
    "new_payment_for_a_retry": Mutation(
        "the next card is charged on a PaymentIntent of its own",
        (
            Rewrite(
                "internal.charge_step",
                "'payment_intent_id', p_booking.stripe_payment_intent_id",
                "'payment_intent_id', null",
            ),
        ),
        known_seed=11,
    ),
    "missed_events_not_fetched": Mutation(
        "a lost webhook is lost for good",
        (Rewrite("public.unknown_events", "where not exists", "where false and not exists"),),
        known_seed=2,
    ),
    "inbox_skipped": Mutation(
        "an event is said to be stored and is not",
        (
            Rewrite(
                "public.receive_event",
                "return outcome || jsonb_build_object(\n    'duplicate', false",
                "delete from public.stripe_events as e where e.id = stored.id;\n"
                "  return outcome || jsonb_build_object(\n    'duplicate', false",
            ),
        ),
    ),
    "reconcile_never_looks_up": Mutation(
        "what is too old to be repeated waits for ever",
        (Rewrite("internal.pending_step", "return look_up;", "return null;"),),
        known_seed=1,
    ),
    "late_success_kept": Mutation(
        "money of a cancelled booking is kept",
        (
            Rewrite(
                "internal.confirm_booking",
                "values (p_booking.id, p_booking.user_id, received, p_booking.currency, "
                "'late_success', 'late_success')",
                "select p_booking.id, p_booking.user_id, received, p_booking.currency, 'late', 'late' where false",
            ),
            Rewrite("internal.confirm_booking", "if p_booking.closing_as = 'cancelled' then", "if false then"),
        ),
        known_seed=85,
    ),
    "cancelled_without_stripe": Mutation(
        "a dead booking's payment stays open at Stripe",
        python=partial(_instead, "functions.shared.stripe_gateway", "StripeGateway.cancel", _says_cancelled),
        known_seed=2,
    ),
    "reserve_not_released": Mutation(
        "a failed booking eats the budget",
        (Rewrite("internal.release_reserve", "where p_amount_minor > 0", "where false"),),
        known_seed=1,
    ),
    "notification_key_too_wide": Mutation(
        "the second booking of a user is never told",
        (Rewrite("internal.notify_user", "p_kind || ':' || p_dedupe_key", "p_kind || ':' || p_user_id"),),
    ),
    "notification_without_key": Mutation(
        "the same end is told again and again",
        (
            Rewrite(
                "internal.notify_user",
                "p_kind || ':' || p_dedupe_key",
                "p_kind || ':' || p_dedupe_key || ':' || random()",
            ),
        ),
        known_seed=35,
    ),
    "mail_without_lease": Mutation(
        "two senders mail the same message",
        (
            Rewrite("public.claim_notifications", "for update skip locked", ""),
            Rewrite("public.claim_notifications", "+ make_interval(secs => p_lease_seconds)", ""),
        ),
        known_seed=3,
    ),
    "match_never_sent_again": Mutation(
        "an offer whose message was lost is never booked",
        (Rewrite("public.waiting_matches", "where m.state = 'waiting'", "where false"),),
        known_seed=2,
    ),
    "charges_another_amount": Mutation(
        "the cardholder pays what no offer says",
        (
            Rewrite(
                "internal.charge_step",
                "'amount_minor', p_booking.amount_minor",
                "'amount_minor', p_booking.amount_minor - 1",
            ),
        ),
    ),
}


@contextmanager
def planted(name: str | None, database: "SimulatedDatabase") -> Iterator[None]:
    """Plant a mutation for as long as the block lasts; None plants nothing. Raises KeyError for an unknown name."""
    if name is None:
        yield
        return
    mutation = MUTATIONS[name]
    with ExitStack() as stack:
        for rewrite in mutation.sql:
            stack.enter_context(_rewritten(rewrite, database))
        if mutation.python is not None:
            stack.enter_context(mutation.python())
        yield


@contextmanager
def _rewritten(rewrite: Rewrite, database: "SimulatedDatabase") -> Iterator[None]:
    schema, _, function = rewrite.function.partition(".")
    found = database.rows(
        "select pg_get_functiondef(p.oid) as definition from pg_proc as p "
        "where p.pronamespace = %s::regnamespace and p.proname = %s order by p.oid",
        schema,
        function,
    )
    originals = [row["definition"] for row in found if rewrite.old in row["definition"]]
    assert originals, f"{rewrite.function} has no {rewrite.old!r}"
    for definition in originals:
        database.observer.execute(definition.replace(rewrite.old, rewrite.new).encode())
    try:
        yield
    finally:
        for definition in originals:
            database.observer.execute(definition.encode())
