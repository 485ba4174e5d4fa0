"""Webhooks: signed so that the SDK verifies them, and repeated until they are taken."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import stripe

from local.stripe.settings import WebhookTarget

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.local.stripe.conftest import Account, Receiver


def test_deliveries_verify_with_the_sdk(start: Callable[..., Account], receiver: Receiver) -> None:
    account = start(webhooks=(WebhookTarget(url=receiver.url, secret="whsec_one"),))
    customer = account.customer(email="ada@example.com")
    ((body, headers),) = receiver.take(1)
    event = stripe.Webhook.construct_event(body, headers["stripe-signature"], "whsec_one")
    assert event.type == "customer.created"
    assert event.api_version == stripe.api_version
    assert event.livemode is False
    assert event.data.object["id"] == customer.id
    assert event.request is not None
    assert event.request.id is not None


def test_a_refused_delivery_is_repeated(start: Callable[..., Account], receiver: Receiver) -> None:
    account = start(webhooks=(WebhookTarget(url=receiver.url, secret="whsec_one"),))
    receiver.statuses[:] = [500, 503]
    account.customer()
    bodies = [json.loads(body) for body, _ in receiver.take(3)]
    assert len({body["id"] for body in bodies}) == 1


def test_a_secret_in_rotation_signs_twice(start: Callable[..., Account], receiver: Receiver) -> None:
    targets = tuple(WebhookTarget(url=receiver.url, secret=secret) for secret in ("whsec_old", "whsec_new"))
    account = start(webhooks=targets)
    account.customer()
    ((body, headers),) = receiver.take(1)
    for secret in ("whsec_old", "whsec_new"):
        assert stripe.Webhook.construct_event(body, headers["stripe-signature"], secret).type == "customer.created"
