"""Only bytes that Stripe signed just now count; all else is a 400 that stores and changes nothing."""

import json
import time

import pytest

from local.stack import LocalStack
from tests.support.fixtures import OpenGateway
from tests.support.http import ok, refused
from tests.support.stripe_side import Json, StripeSide, WebhookSender, event_of, signed
from tests.support.travellers import Traveller

FOREIGN = "whsec_of_somebody_else"


@pytest.fixture
def pending(carded: Traveller, stripe_side: StripeSide) -> Json:
    """An event that would confirm a booking, if it were believed."""
    stripe_side.hold()
    stripe_side.fault("drop_after", match="/v1/payment_intents$")
    booking = ok(carded.charge(carded.open_campaign(), carded.offer()), 202)
    (intent,) = stripe_side.intents(carded.customer_id)
    (event,) = stripe_side.events("payment_intent.succeeded", intent["id"])
    event["id"] += "x"  # so that the true one, delivered after the test, is another
    assert carded.booking(booking)["status"] == "charging"
    return event


def assert_unmoved(traveller: Traveller, event: Json) -> None:
    """The booking still waits and the event is not there."""
    (booking,) = traveller.bookings()
    assert (booking["status"], booking["attempts"][0]["status"]) == ("charging", "started")
    assert traveller.rows("select 1 from public.stripe_events where id = %s", event["id"]) == []
    assert traveller.notified() == []


def forgeries(event: Json, secret: str) -> dict[str, tuple[bytes, str]]:
    """Body and signature header of everything that is not to be believed."""
    body = json.dumps(event, indent=2).encode()
    now = int(time.time())
    good = signed(body, secret)
    mark = good.partition("v1=")[2]
    tampered = json.dumps(event | {"data": {"object": event["data"]["object"] | {"amount": 1}}}, indent=2).encode()
    return {
        "no header": (body, ""),
        "forged": (body, signed(body, FOREIGN)),
        "wrong endpoint's secret, right form": (body, signed(body, secret[:-1] + "X")),
        "the empty secret": (body, signed(body, "")),
        "stale": (body, signed(body, secret, now - 301)),
        "future-dated": (body, signed(body, secret, now + 301)),
        "far future": (body, signed(body, secret, now + 10**9)),
        "re-serialised": (json.dumps(event).encode(), good),
        "keys reordered": (json.dumps(dict(reversed(event.items())), indent=2).encode(), good),
        "a space more": (body + b" ", good),
        "tampered": (tampered, good),
        "re-dated": (body, f"t={now + 1},v1={mark}"),
        "two timestamps": (body, f"t={now - 400},{good}"),
        "without a timestamp": (body, f"v1={mark}"),
        "v0 only": (body, good.replace("v1=", "v0=")),
        "garbage": (body, "t=now,v1=yes"),
        "empty body": (b"", signed(b"", secret)),
        "no JSON": (b"evt_1", signed(b"evt_1", secret)),
        "no event": (b"{}", signed(b"{}", secret)),
        "a list": (b"[]", signed(b"[]", secret)),
    }


@pytest.mark.parametrize("name", forgeries({"data": {"object": {}}}, "whsec_for_the_names"))
def test_what_stripe_did_not_sign_just_now_is_a_400(
    carded: Traveller, pending: Json, webhook: WebhookSender, name: str
) -> None:
    body, signature = forgeries(pending, webhook.secrets[0])[name]

    refused(webhook.post(body, signature=signature), 400, "invalid_signature")

    assert_unmoved(carded, pending)


def test_bytes_that_are_no_text_are_a_400(webhook: WebhookSender) -> None:
    refused(webhook.post(b"\xff\xfe\x00", signature=f"t={int(time.time())},v1=00"), 400, "invalid_signature")


def test_the_refusal_says_nothing_of_the_secret(webhook: WebhookSender, pending: Json) -> None:
    answer = webhook.send(pending, signature=signed(json.dumps(pending, indent=2).encode(), FOREIGN))

    assert not any(secret in answer.text for secret in webhook.secrets)
    assert "whsec" not in answer.text


def test_the_true_event_is_taken(carded: Traveller, pending: Json, webhook: WebhookSender) -> None:
    receipt = ok(webhook.send(pending))

    assert (receipt["id"], receipt["status"], receipt["result"]) == (pending["id"], "applied", "confirmed")
    assert carded.bookings()[0]["status"] == "confirmed"


@pytest.mark.parametrize("age_seconds", [290, -290])
def test_clocks_may_differ_by_less_than_five_minutes(webhook: WebhookSender, pending: Json, age_seconds: int) -> None:
    body = json.dumps(pending, indent=2).encode()

    ok(webhook.post(body, signature=signed(body, webhook.secrets[0], int(time.time()) - age_seconds)))


def test_during_a_rotation_either_secret_is_good(webhook: WebhookSender) -> None:
    for secret in webhook.secrets:
        event = event_of("customer.updated", {"id": "cus_1", "object": "customer"})
        body = json.dumps(event, indent=2).encode()
        assert ok(webhook.post(body, signature=signed(body, secret)))["duplicate"] is False


def test_a_header_that_carries_both_signatures_is_good(webhook: WebhookSender) -> None:
    """Stripe signs with every secret that is active: one `v1` each (docs.stripe.com/webhooks#roll-endpoint-secrets)."""
    event = event_of("customer.updated", {"id": "cus_1", "object": "customer"})
    body = json.dumps(event, indent=2).encode()
    stamp = int(time.time())
    marks = [signed(body, secret, stamp).partition(",")[2] for secret in (FOREIGN, webhook.secrets[1])]

    ok(webhook.post(body, signature=f"t={stamp},{','.join(marks)}"))


def test_after_the_rotation_the_old_secret_is_not(
    stack: LocalStack, gateway_with: OpenGateway, webhook: WebhookSender
) -> None:
    newest, oldest = stack.keys.webhook_secrets
    rotated = WebhookSender(gateway_with(STRIPE_WEBHOOK_SECRETS=newest), (newest,))
    event = event_of("customer.updated", {"id": "cus_1", "object": "customer"})
    body = json.dumps(event, indent=2).encode()

    refused(rotated.post(body, signature=signed(body, oldest)), 400, "invalid_signature")
    ok(rotated.post(body, signature=signed(body, newest)))


@pytest.mark.parametrize("secrets", ["", ",", "whsec_good_enough,"])
def test_an_empty_secret_is_a_forgeable_one_and_refused_at_the_start(gateway_with: OpenGateway, secrets: str) -> None:
    http = gateway_with(STRIPE_WEBHOOK_SECRETS=secrets)
    body = json.dumps(event_of("customer.updated", {"id": "cus_1", "object": "customer"}), indent=2).encode()

    answer = WebhookSender(http, ("",)).post(body, signature=signed(body, ""))

    refused(answer, 500, "internal_error")
    assert http.get("/webhook/health").status_code == 503


def test_a_body_that_api_gateway_hands_over_in_base64_is_verified_as_it_was(
    carded: Traveller, pending: Json, webhook: WebhookSender
) -> None:
    pending["data"]["object"]["description"] = "Zürich ✈ São Paulo"
    body = json.dumps(pending, indent=2, ensure_ascii=False).encode()

    refused(
        webhook.post(body, signature=signed(body, FOREIGN), content_type="application/octet-stream"),
        400,
        "invalid_signature",
    )
    assert_unmoved(carded, pending)
    ok(webhook.post(body, content_type="application/octet-stream"))
    assert carded.bookings()[0]["status"] == "confirmed"
