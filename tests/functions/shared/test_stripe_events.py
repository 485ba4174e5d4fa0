"""Reading events: whatever their objects hold, what goes to the database can be stored and no error is unforeseen."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from stripe import api_version

from functions.shared.json_objects import MOST_BYTES
from functions.shared.stripe_events.event import LAST_SECOND, Event, stripe_id
from functions.shared.stripe_events.inbox import UNREADABLE, receive, sayable
from functions.shared.stripe_events.table import HANDLED
from tests.functions.shared.conftest import SetEnvironment

Json = dict[str, Any]

ASKS_STRIPE = {"setup_intent.succeeded", "payment_intent.amount_capturable_updated"}
"""Types whose reading calls Stripe when the object looks as it should: tests/fuzz/test_damaged_events.py has them."""
FIELDS = (
    *(
        "id",
        "status",
        "amount",
        "amount_received",
        "currency",
        "customer",
        "payment_intent",
        "payment_method",
        "charge",
    ),
    *(
        "metadata",
        "booking_id",
        "refund_id",
        "latest_charge",
        "last_payment_error",
        "decline_code",
        "advice_code",
        "code",
    ),
    *(
        "card",
        "brand",
        "last4",
        "exp_month",
        "exp_year",
        "funding",
        "wallet",
        "outcome",
        "risk_score",
        "reason",
        "open",
    ),
    *("balance_transaction", "fee", "payment_method_details", "capture_before", "closed_reason", "last_setup_error"),
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=20)  # lone surrogates and U+0000 too
    | st.sampled_from(
        ("succeeded", "requires_action", "requires_payment_method", "pi_1", "cus_1", "eur", 12_000, 10**400)
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=6),
    max_leaves=25,
)
OBJECTS = st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=14)


class Noting:
    """Stands where the database is, and keeps what it is handed."""

    def __init__(self) -> None:
        self.events: list[Json] = []

    def call(self, function: str, /, *, p_event: Json) -> Json:
        """As `Database.call`."""
        assert function == "receive_event"
        self.events.append(p_event)
        return {"status": "applied", "result": "noted", "duplicate": False}


def event_of(kind: str, subject: Json) -> Event:
    return Event.model_validate(
        {
            "id": "evt_1",
            "type": kind,
            "api_version": api_version,
            "livemode": False,
            "created": 1_700_000_000,
            "data": {"object": subject},
        }
    )


def handed_over(event: Event) -> Json:
    database = Noting()
    receive(database, event)  # type: ignore[arg-type]  # all of Database that it uses
    return database.events[0]


@pytest.fixture(autouse=True)
def stripe_key(environment: SetEnvironment) -> None:
    environment(STRIPE_SECRET_KEY="sk_test_reading")


@settings(max_examples=600, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@example("charge.succeeded", {"id": "ch_1", "outcome": {"reason": "\ud800"}})
@example("charge.succeeded", {"id": "ch_1", "outcome": {"risk_score": float("nan")}})
@example("payment_method.updated", {"id": "pm_1", "card": {"brand": "visa"}})
@example("payment_method.detached", {"id": 7})
@example("review.opened", {"id": "prv_1", "closed_reason": "\x00"})
@given(st.sampled_from(sorted(HANDLED.keys() - ASKS_STRIPE)), OBJECTS)
def test_whatever_an_object_holds_its_facts_can_be_stored(kind: str, subject: Json) -> None:
    if kind.startswith("setup_intent.") and subject.get("status") == "succeeded":
        return  # asks Stripe
    stored = handed_over(event_of(kind, subject))

    assert stored["handler"] in {HANDLED[kind].name, UNREADABLE}
    assert stored["facts"] == {} or stored["handler"] != UNREADABLE
    # allow_nan and encode are what the HTTP client and Postgres would fail at
    text = json.dumps(stored, allow_nan=False, ensure_ascii=False)
    assert "\\u0000" not in text
    assert len(text.encode()) < 2 * MOST_BYTES


@pytest.mark.parametrize(
    ("envelope", "fits"),
    [
        ({}, True),
        ({"created": LAST_SECOND}, True),
        ({"created": LAST_SECOND + 1}, False),
        ({"created": -1}, False),
        ({"created": "1700000000"}, False),
        ({"created": 1.5e9}, False),
        ({"livemode": "false"}, False),
        ({"id": "evt_"}, False),
        ({"id": "evt_a\x00"}, False),
        ({"id": "evt_a\n"}, False),
        ({"type": "a b"}, False),
        ({"type": "x" * 101}, False),
        ({"api_version": None}, True),
        ({"api_version": "\ud800"}, False),
        ({"data": {"object": []}}, False),
    ],
)
def test_an_envelope_is_as_stripe_writes_it_or_no_event(envelope: Json, fits: bool) -> None:
    good = event_of("customer.created", {"id": "cus_1"}).model_dump()
    if fits:
        assert Event.model_validate(good | envelope).id == "evt_1"
    else:
        with pytest.raises(ValueError, match="validation error"):
            Event.model_validate(good | envelope)


@pytest.mark.parametrize("value", [None, 1, "", "a b", "x" * 256, "é", "a\n", ["pi_1"]])
def test_what_can_be_no_id_is_none(value: Any) -> None:
    with pytest.raises(ValueError, match="is no id"):
        stripe_id(value)
    assert stripe_id("gold-customer@1") == "gold-customer@1"


def test_of_a_failure_only_the_sqlstate_is_said() -> None:
    assert sayable({"status": "failed", "result": '22P02 invalid input: "4000002500003155"'}) == "22P02"
    assert sayable({"status": "applied", "result": "confirmed"}) == "confirmed"
