"""Webhooks: signed so that the SDK verifies them, repeated until they are taken, and disturbed on demand."""

from __future__ import annotations

import json
import queue
from typing import TYPE_CHECKING, Any

import pytest
import requests
import stripe

from local.stripe.settings import WebhookTarget

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.local.stripe.conftest import Account, Receiver


@pytest.fixture
def listening(start: Callable[..., Account], receiver: Receiver) -> Account:
    """A stand-in that sends its events to the receiver."""
    return start(webhooks=(WebhookTarget(url=receiver.url, secret="whsec_one"),))


def control(account: Account, path: str, **body: Any) -> Any:
    answer = requests.post(f"{account.url}/_control/{path}", json=body, timeout=15)
    assert answer.ok, answer.text
    return answer.json() if answer.content else None


def types_of(deliveries: list[tuple[bytes, dict[str, str]]]) -> list[str]:
    return [json.loads(body)["type"] for body, _ in deliveries]


def test_deliveries_verify_with_the_sdk(listening: Account, receiver: Receiver) -> None:
    customer = listening.v1.customers.create({"email": "ada@example.com"}, {"idempotency_key": "k1"})
    ((body, headers),) = receiver.take(1)
    event = stripe.Webhook.construct_event(body, headers["stripe-signature"], "whsec_one")
    assert event.type == "customer.created"
    assert event.api_version == stripe.api_version
    assert event.livemode is False
    assert event.pending_webhooks == 1
    assert event.data.object["id"] == customer.id
    assert event.request is not None
    assert (event.request.id, event.request.idempotency_key) == (customer.last_response.request_id, "k1")
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(body + b" ", headers["stripe-signature"], "whsec_one")


def test_a_refused_delivery_is_repeated(listening: Account, receiver: Receiver) -> None:
    receiver.statuses[:] = [500, 302, 404]
    listening.customer()
    deliveries = receiver.take(4)
    assert len({json.loads(body)["id"] for body, _ in deliveries}) == 1
    control(listening, "webhooks/flush")
    (delivery,) = listening.world.webhooks.deliveries.values()
    assert delivery.state == "delivered"
    assert [attempt.status for attempt in delivery.attempts] == [500, 302, 404, 200]


def test_it_gives_up_in_the_end(listening: Account, receiver: Receiver) -> None:
    receiver.statuses[:] = [500] * 10
    listening.customer()
    receiver.take(4)  # the first and three retries, as the test's settings have them
    assert control(listening, "webhooks/flush") == {"drained": True, "states": {"failed": 1}}
    (event,) = listening.v1.events.list({"delivery_success": False}).data
    assert event.pending_webhooks == 1
    assert listening.v1.events.list({"delivery_success": True}).data == []
    control(listening, "webhooks/resend", event=event.id)
    receiver.statuses.clear()
    receiver.take(1)


def test_nobody_listening(start: Callable[..., Account]) -> None:
    account = start(webhooks=(WebhookTarget(url="http://127.0.0.1:9/", secret="whsec_one"),))
    account.customer()
    assert control(account, "webhooks/flush")["states"] == {"failed": 1}
    (delivery,) = account.world.webhooks.deliveries.values()
    assert {attempt.status for attempt in delivery.attempts} == {None}


def test_a_secret_in_rotation_signs_twice(start: Callable[..., Account], receiver: Receiver) -> None:
    targets = tuple(WebhookTarget(url=receiver.url, secret=secret) for secret in ("whsec_old", "whsec_new"))
    account = start(webhooks=targets)
    account.customer()
    ((body, headers),) = receiver.take(1)
    for secret in ("whsec_old", "whsec_new"):
        assert stripe.Webhook.construct_event(body, headers["stripe-signature"], secret).type == "customer.created"


def test_an_endpoint_made_through_the_api(served: Account, receiver: Receiver) -> None:
    endpoint = served.v1.webhook_endpoints.create(
        {"url": receiver.url, "enabled_events": ["setup_intent.succeeded"], "api_version": stripe.api_version}
    )
    assert endpoint.secret.startswith("whsec_")
    assert "secret" not in served.v1.webhook_endpoints.retrieve(endpoint.id).to_dict()
    served.save_card(served.customer(), "pm_card_visa")
    ((body, headers),) = receiver.take(1)
    event = stripe.Webhook.construct_event(body, headers["stripe-signature"], endpoint.secret)
    assert event.type == "setup_intent.succeeded"
    served.v1.webhook_endpoints.update(endpoint.id, {"disabled": True})
    served.save_card(served.customer(), "pm_card_visa")
    assert served.v1.webhook_endpoints.delete(endpoint.id).deleted
    assert served.v1.webhook_endpoints.list().data == []
    control(served, "webhooks/flush")
    assert receiver.received.empty()


def test_duplicated(listening: Account, receiver: Receiver) -> None:
    control(listening, "faults", kind="webhook_duplicate", match="customer.created", copies=2, seconds=0.01)
    listening.customer()
    assert types_of(receiver.take(3)) == ["customer.created"] * 3


def test_lost(listening: Account, receiver: Receiver) -> None:
    control(listening, "faults", kind="webhook_lose", match="^customer")
    listening.save_card(listening.customer(), "pm_card_visa")
    assert set(types_of(receiver.take(3))) == {
        "setup_intent.created",
        "payment_method.attached",
        "setup_intent.succeeded",
    }
    control(listening, "webhooks/flush")
    (lost,) = listening.v1.events.list({"delivery_success": False}).data
    assert lost.type == "customer.created"


def test_a_wrong_api_version(listening: Account, receiver: Receiver) -> None:
    control(listening, "faults", kind="webhook_api_version", api_version="2020-08-27")
    listening.customer()
    ((body, _),) = receiver.take(1)
    assert json.loads(body)["api_version"] == "2020-08-27"


def test_held_back_and_reordered_by_hand(listening: Account, receiver: Receiver) -> None:
    control(listening, "webhooks/hold")
    listening.save_card(listening.customer(), "pm_card_visa")
    with pytest.raises(queue.Empty):
        receiver.received.get(timeout=0.1)
    held = requests.get(f"{listening.url}/_control/webhooks", timeout=5).json()["data"]
    last_first = [row["id"] for row in reversed(held)]
    for delivery in last_first[:2]:
        control(listening, "webhooks/release", deliveries=[delivery])
        receiver.take(1)
    assert control(listening, "webhooks/flush")["states"] == {"delivered": 4}
    assert set(types_of(receiver.take(2))) == {"customer.created", "setup_intent.created"}


def test_delayed(listening: Account, receiver: Receiver) -> None:
    control(listening, "faults", kind="webhook_delay", match="^customer", seconds=0.15)
    listening.save_card(listening.customer(), "pm_card_visa")
    assert types_of(receiver.take(4))[-1] == "customer.created"


def test_reordering_follows_the_seed(start: Callable[..., Account], receiver: Receiver) -> None:
    account = start(webhooks=(WebhookTarget(url=receiver.url, secret="whsec_one"),))
    control(account, "faults", kind="webhook_reorder", seconds=0.2)
    for _ in range(8):
        account.customer()
    ids = [json.loads(body)["data"]["object"]["id"] for body, _ in receiver.take(8)]
    assert ids != [row["id"] for row in account.world.customers]
    assert sorted(ids) == sorted(row["id"] for row in account.world.customers)


def test_an_account_has_sixteen_endpoints_at_most(served: Account) -> None:
    for number in range(16):
        served.v1.webhook_endpoints.create({"url": f"https://{number}.example.com/", "enabled_events": ["*"]})
    with pytest.raises(stripe.InvalidRequestError, match="maximum of 16"):
        served.v1.webhook_endpoints.create({"url": "https://one-too-many.example.com/", "enabled_events": ["*"]})
