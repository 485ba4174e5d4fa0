"""Faults on demand, seen by the official SDK over real connections."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import requests
import stripe

from local.stripe.faults import Faults
from tests.local.stripe.conftest import SECRET_KEY, client_for

if TYPE_CHECKING:
    from tests.local.stripe.conftest import Account


def break_next(account: Account, kind: str, **options: Any) -> None:
    with account.world.lock:
        account.world.faults.add(kind, **{"method": "POST", "match": "/v1/payment_intents$", "times": 1, **options})


def saved(account: Account) -> tuple[stripe.Customer, str]:
    customer = account.customer()
    return customer, account.save_card(customer, "pm_card_visa")


def code_of(error: stripe.StripeError) -> str | None:
    assert error.error is not None
    return error.error.code


@pytest.mark.parametrize(
    ("kind", "happened"),
    [("drop_before", 0), ("drop_after", 1), ("timeout_before", 0), ("timeout_after", 1)],
)
def test_a_lost_answer(served: Account, kind: str, happened: int) -> None:
    customer, method = saved(served)
    break_next(served, kind, seconds=0.05)
    key = {"idempotency_key": "attempt-1"}
    with pytest.raises(stripe.APIConnectionError):
        served.charge(customer, method, options=key)
    assert len(served.world.payment_intents) == happened
    intent = served.charge(customer, method, options=key)
    assert intent.status == "succeeded"
    assert len(served.world.charges) == 1


# The SDK's own httpx client (16.1.0) posts in a way that httpx 0.28 deprecates.
@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
@pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
def test_a_lost_answer_seen_through_httpx(served: Account, kind: str) -> None:
    """The functions use the SDK's httpx client."""
    http = stripe.HTTPXClient(timeout=5, allow_sync_methods=True)
    client = stripe.StripeClient(SECRET_KEY, base_addresses={"api": served.url}, http_client=http)
    break_next(served, kind, match="/v1/customers$")
    with pytest.raises(stripe.APIConnectionError):
        client.v1.customers.create({"name": "Ada"}, {"idempotency_key": "k"})
    assert client.v1.customers.create({"name": "Ada"}, {"idempotency_key": "k"}).name == "Ada"
    assert len(served.world.customers) == 1
    http.close()  # type: ignore[no-untyped-call] # so in the SDK


def test_a_client_that_does_not_wait(served: Account) -> None:
    """The client's own timeout: the request goes on without it and succeeds."""
    customer, method = saved(served)
    break_next(served, "latency", seconds=0.3)
    hasty = client_for(served.url, timeout=0.1)
    body = {
        "amount": 2500,
        "currency": "eur",
        "customer": customer.id,
        "payment_method": method,
        "off_session": True,
        "confirm": True,
        "allowed_payment_method_types": ["card"],
    }
    with pytest.raises(stripe.APIConnectionError):
        hasty.v1.payment_intents.create(body, {"idempotency_key": "k"})  # type: ignore[arg-type] # built above
    refusals: list[tuple[int | None, str | None]] = []
    while len(refusals) < 100:
        try:
            assert served.charge(customer, method, options={"idempotency_key": "k"}).status == "succeeded"
            break
        except stripe.APIError as busy:
            refusals.append((busy.http_status, code_of(busy)))
            time.sleep(0.02)  # only the server knows when it is done: asking again is what clients do
    assert set(refusals) == {(409, "idempotency_key_in_use")}
    assert len(served.world.charges) == 1


def test_rate_limit(served: Account) -> None:
    customer, method = saved(served)
    break_next(served, "rate_limit")
    with pytest.raises(stripe.RateLimitError) as refused:
        served.charge(customer, method, options={"idempotency_key": "k"})
    assert refused.value.http_status == 429
    assert served.charge(customer, method, options={"idempotency_key": "k"}).status == "succeeded"


@pytest.mark.parametrize(
    ("kind", "remember", "charges_then", "replayed"),
    [
        ("error_before", True, 0, True),
        ("error_before", False, 0, False),
        ("error_after", True, 1, True),
        ("error_after", False, 1, False),
    ],
)
def test_a_500(served: Account, kind: str, *, remember: bool, charges_then: int, replayed: bool) -> None:
    customer, method = saved(served)
    break_next(served, kind, remember=remember)
    key = {"idempotency_key": "k"}
    with pytest.raises(stripe.APIError) as broken:
        served.charge(customer, method, options=key)
    assert broken.value.http_status == 500
    assert len(served.world.charges) == charges_then
    if replayed:
        with pytest.raises(stripe.APIError) as again:
            served.charge(customer, method, options=key)
        assert again.value.http_status == 500
        assert len(served.world.charges) == charges_then
    else:
        assert served.charge(customer, method, options=key).status == "succeeded"
        assert len(served.world.charges) == 1


def test_the_sdks_own_retries_get_through(served: Account) -> None:
    customer, method = saved(served)
    break_next(served, "drop_after")
    patient = client_for(served.url, max_network_retries=2)
    intent = patient.v1.payment_intents.create(
        {
            "amount": 2500,
            "currency": "eur",
            "customer": customer.id,
            "payment_method": method,
            "off_session": True,
            "confirm": True,
            "allowed_payment_method_types": ["card"],
        }
    )
    assert intent.status == "succeeded"
    assert len(served.world.charges) == 1


def test_one_request_in_flight_and_nineteen_refused(served: Account) -> None:
    customer, method = saved(served)
    break_next(served, "latency", seconds=0.4)
    started = threading.Barrier(20)

    def go(_: int) -> str:
        started.wait()
        try:
            return served.charge(customer, method, options={"idempotency_key": "k"}).status
        except stripe.APIError as refused:
            return str(refused.http_status)

    with ThreadPoolExecutor(20) as pool:
        outcomes = sorted(pool.map(go, range(20)))
    assert outcomes[-1] == "succeeded"
    assert "409" in outcomes
    assert len(served.world.charges) == 1


def test_probability_follows_the_seed() -> None:
    def run(seed: int) -> list[str]:
        faults = Faults(seed)
        faults.add("rate_limit", probability=0.5)
        return [faults.for_request("POST", "/v1/refunds").kind for _ in range(40)]

    assert run(1) == run(1)
    assert run(1) != run(2)
    assert 5 < run(1).count("rate_limit") < 35


def test_the_in_process_transport_breaks_the_same_way(account: Account) -> None:
    customer, method = saved(account)
    break_next(account, "timeout_after", seconds=80)
    before = account.world.clock.now()
    with pytest.raises(stripe.APIConnectionError):
        account.charge(customer, method, options={"idempotency_key": "k"})
    assert account.world.clock.now() >= before + 80
    assert account.charge(customer, method, options={"idempotency_key": "k"}).status == "succeeded"
    assert len(account.world.charges) == 1


def test_an_unknown_fault_is_refused(served: Account) -> None:
    answer = requests.post(f"{served.url}/_control/faults", json={"kind": "meteor"}, timeout=5)
    assert answer.status_code == 400
    assert "unknown fault" in answer.text
