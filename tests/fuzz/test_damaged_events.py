"""Events with a good signature and bad contents: damaged objects, wrong types at any depth, numbers out of all range.

Whoever signs is believed, so a lie in the right form is applied. What must not happen: an error that is none of those
meant, a row half-written, an event that is lost, or another person's rows touched.
"""

import copy
import hashlib
import hmac
import json
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final
from uuid import uuid4

import pytest

from functions.shared.logs import logger
from functions.shared.stripe_events.table import HANDLED
from local.stack import LocalStack
from tests.fuzz.conftest import People
from tests.fuzz.hostile import DATES, IDS, NUMBERS, TEXTS
from tests.fuzz.target import JSON, Books, Target, say, scaled
from tests.support.lambdas import cold_functions
from tests.support.stripe_side import StripeSide, event_of
from tests.support.travellers import Traveller

EVENTS: Final = 720
MEANT: Final = frozenset({"event_not_applied", "payment_provider_refused"})
"""A retry is right: the reading may be ours to mend, and a SetupIntent that Stripe does not know is asked for again."""

Json = dict[str, Any]
NUMBER_OF_A_CARD: Final = "4000002500003155"
ENDS: Final = ("customer.deleted", "payment_method.detached")
"""Applied to the victim in the last round only, or nothing would be left for the others to damage."""
KEPT: Final = ("public.stripe_events", "public.incidents")
"""Where an event that could not be applied is noted."""


@pytest.fixture
def trusting(fuzz_stack: LocalStack) -> Iterator[Target]:
    """Handlers over the real database and Stripe's stand-in."""
    with cold_functions(fuzz_stack), Target(MEANT) as target:
        yield target


@pytest.fixture
def victim(fuzz_stack: LocalStack, people: People) -> Traveller:
    """Somebody with a card, a booking and a hold, of whom the events speak. Stripe's own webhooks stay back."""
    owner = people.owner
    user = fuzz_stack.users.create(f"victim-{uuid4().hex[:8]}@example.com")
    api = replace(owner.api, token=user.access_token)
    victim = Traveller(user, api, owner.feed, owner.stripe, owner.db)
    victim.save_card()
    victim.book(victim.open_campaign())
    victim.book(victim.open_campaign(capture="manual"))
    return victim


def true_objects(victim: Traveller, side: StripeSide) -> dict[str, Json]:
    """For each type of event that we act on, an object as Stripe would send it, of the victim."""
    held, taken = (intent for intent in side.intents(victim.customer_id))
    if held["status"] == "succeeded":
        held, taken = taken, held
    charge, card = taken["latest_charge"], side.sdk.v1.payment_methods.retrieve(taken["payment_method"]).to_dict()
    (setup,) = side.sdk.v1.setup_intents.list({"customer": victim.customer_id}).data
    by_family: dict[str, Json] = {
        "payment_intent": taken | {"latest_charge": charge["id"]},
        "setup_intent": setup.to_dict(),
        "charge": charge,
        "hold_expired": held["latest_charge"],
        "refund": {
            "id": f"re_{uuid4().hex[:20]}",
            "object": "refund",
            "amount": 100,
            "currency": "eur",
            "payment_intent": taken["id"],
            "status": "succeeded",
            "reason": None,
            "metadata": {},
        },
        "dispute": {
            "id": f"du_{uuid4().hex[:20]}",
            "object": "dispute",
            "amount": 12_000,
            "currency": "eur",
            "payment_intent": taken["id"],
            "status": "needs_response",
            "reason": "fraudulent",
        },
        "fraud_warning": {"id": f"issfr_{uuid4().hex}", "payment_intent": taken["id"], "actionable": True},
        "review": {"id": f"prv_{uuid4().hex}", "payment_intent": held["id"], "closed_reason": "approved"},
        "card": card,
        "customer_deleted": {"id": victim.customer_id, "object": "customer", "deleted": True},
    }
    objects = {kind: by_family[family.name] for kind, family in HANDLED.items()}
    objects["mandate.updated"] = {"id": f"mandate_{uuid4().hex}", "payment_method": card["id"], "status": "inactive"}
    return objects


def places(value: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Every (container, key) at every depth."""
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        found.append((value, key))
        if isinstance(item, dict | list):
            places(item, found)
    return found


def hostile(chance: random.Random) -> Any:
    """A value that does not belong where it is put."""
    nested: Any = "x"
    for _ in range(chance.choice((2, 12, 400))):
        nested = chance.choice(([nested], {"id": nested}, {"card": nested, "status": 1}))
    return chance.choice(
        (
            *(chance.choice(NUMBERS), chance.choice(TEXTS), chance.choice(DATES), chance.choice(IDS)),
            *([], {}, [None], {"id": None}, {"id": 7}, nested, "x" * 9000, "succeeded", "requires_action", 1e308),
        )
    )


def damage(event: Json, chance: random.Random) -> None:
    """One to four changes anywhere, most of them in the object."""
    for _ in range(chance.randrange(1, 5)):
        root = event if chance.random() < 0.1 else event["data"]["object"] if "data" in event else event
        found = places(root, []) if isinstance(root, dict | list) else []
        if not found:
            return
        container, key = chance.choice(found)
        if chance.random() < 0.25:
            del container[key]
        else:
            container[key] = hostile(chance)
        if not isinstance(event.get("data"), dict) or not isinstance(event["data"].get("object"), dict):
            return


def written(event: Json, chance: random.Random) -> bytes:
    """The event as bytes, now and then as no JSON that anybody should write."""
    body = json.dumps(event).encode()
    if chance.random() < 0.08:
        body = chance.choice(
            (
                body[: chance.randrange(len(body))],
                body.replace(b'"created": ', b'"created": 1e999, "created_": '),
                body.replace(b"12000", b"NaN").replace(b"null", b"-Infinity"),
                body.replace(b"12000", b"1" + b"0" * 5000),
                body.replace(b'"object"', b'"obj\xffect"'),
                b'{"a":' * 5000 + body,
                b"\xef\xbb\xbf" + body,
                body + body,
            )
        )
    return body


def by_stripe(body: bytes, secret: str) -> dict[str, str]:
    """A good signature over any bytes (https://docs.stripe.com/webhooks#verify-manually)."""
    now = int(time.time())
    mark = hmac.new(secret.encode(), b"%d." % now + body, hashlib.sha256).hexdigest()
    return JSON | {"stripe-signature": f"t={now},v1={mark}"}


def of_others(victim: Traveller) -> list[Any]:
    """All rows that belong to somebody else."""
    tables = ("customers", "payment_methods", "campaigns", "bookings", "refunds", "disputes", "notifications")
    return [
        victim.rows(
            f"select jsonb_agg(to_jsonb(t) order by t::text) from public.{table} as t where user_id <> %s",  # noqa: S608 - tables of ours
            victim.id,
        )
        for table in tables
    ]


def test_damaged_events_are_stored_or_refused_and_never_half_applied(
    people: People, trusting: Target, victim: Traveller, table_state: Books
) -> None:
    chance = random.Random(17)
    objects = true_objects(victim, people.owner.stripe)
    others = of_others(victim)
    for number in range(scaled(EVENTS)):
        kind = list(HANDLED)[number % len(HANDLED)]
        event = event_of(kind, copy.deepcopy(objects[kind]))
        if kind in ENDS and number < scaled(EVENTS) - len(HANDLED):
            event["data"]["object"]["id"] = f"none_{number}"
        damage(event, chance)
        before = table_state.state()
        body = written(event, chance)
        answer = trusting.send("POST", "/webhook", body, by_stripe(body, people.webhook_secret))
        after = table_state.state()
        changed = {name for name in after if after[name] != before[name]}
        if answer.status in {400, 502}:
            assert changed == set(), (kind, answer)
        elif answer.status == 500:
            assert "public.stripe_events" in changed, (kind, answer)
            assert changed <= set(KEPT), (kind, answer)
        else:
            assert (answer.status, "public.stripe_events" in changed) == (200, True), (kind, answer)
        assert answer.status != 502 or kind.startswith("setup_intent."), (kind, answer)
    say(trusting.report("damaged events"))
    trusting.assert_sound()
    assert {status.split()[0] for status in trusting.statuses} >= {"200", "400", "500"}
    assert of_others(victim) == others
    (breaches,) = victim.rows("select public.invariant_breaches()")[0]
    assert breaches == []


def test_an_event_that_cannot_be_read_is_kept_and_blocks_no_other(
    people: People, trusting: Target, victim: Traveller
) -> None:
    """It is answered with 500, so that Stripe sends it again until its reading was mended; then it is applied."""
    taken = next(each for each in people.owner.stripe.intents(victim.customer_id) if each["status"] == "succeeded")
    bad = event_of("charge.dispute.created", {"id": f"du_{uuid4().hex[:20]}", "payment_intent": taken["id"]})
    stored = "select status::text, result, deliveries from public.stripe_events where id = %s"

    for deliveries in (1, 2):
        body = json.dumps(bad).encode()
        answer = trusting.send("POST", "/webhook", body, by_stripe(body, people.webhook_secret))
        assert (answer.status, answer.json()["code"]) == (500, "event_not_applied")
        assert victim.rows(stored, bad["id"]) == [("failed", "22000 the event cannot be read", deliveries)]
    victim.rows("select public.reapply_events(true, 100)")
    assert [row[0] for row in victim.rows(stored, bad["id"])] == ["failed"]

    bad["data"]["object"] |= {"status": "needs_response", "reason": "fraudulent", "amount": 12_000, "currency": "eur"}
    body = json.dumps(bad).encode()
    assert trusting.send("POST", "/webhook", body, by_stripe(body, people.webhook_secret)).status == 200
    assert victim.rows(stored, bad["id"]) == [("applied", "dispute_needs_response", 3)]
    trusting.assert_sound()


def test_what_an_event_holds_is_not_said_in_the_log(
    people: People, trusting: Target, victim: Traveller, caplog: pytest.LogCaptureFixture
) -> None:
    """Postgres quotes the value that it cannot take."""
    event = event_of("setup_intent.canceled", {"id": f"seti_{uuid4().hex}", "status": NUMBER_OF_A_CARD})
    event["data"]["object"]["customer"] = victim.customer_id
    body = json.dumps(event).encode()

    logger.addHandler(caplog.handler)
    try:
        assert trusting.send("POST", "/webhook", body, by_stripe(body, people.webhook_secret)).status == 500
    finally:
        logger.removeHandler(caplog.handler)

    said = [getattr(record, "fields", {}) for record in caplog.records]
    assert [fields["result"] for fields in said if "result" in fields][-1] == "22P02"
    assert NUMBER_OF_A_CARD not in str(said) + caplog.text
