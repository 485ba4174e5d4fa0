"""Secrets are rotated without downtime: the new one is added, the sender changes over, the old one goes.

The handlers are the real ones, in this process, warm throughout: nothing is deployed or started anew.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from functions.shared import stripe_gateway
from local.http_events import Request, to_event
from local.stack import LocalStack
from tests.support.aws_secrets import SecretStore, environment
from tests.support.http import machine_signature
from tests.support.lambdas import cold_functions, invoke
from tests.support.stripe_side import event_of, signed
from tests.support.travellers import CONSENT, Traveller, an_offer

Json = dict[str, Any]
WEBHOOK, OFFERS, SETUP = (f"functions.{name}.handler:handler" for name in ("webhook", "offers", "setup_intent"))


@pytest.fixture(scope="module")
def store() -> Iterator[SecretStore]:
    opened = SecretStore()
    yield opened
    opened.close()


@contextmanager
def warm(stack: LocalStack, store: SecretStore, **changes: str) -> Iterator[None]:
    """Functions whose secrets are at AWS, and are read at each use instead of every five minutes."""
    with cold_functions(stack, **environment(store.url), AUTOBOOK_SECRETS_TTL_SECONDS="0", **changes):
        yield


def posted(path: str, body: bytes, **headers: str) -> Json:
    given = {"content-type": "application/json", "host": "api.example.com"} | headers
    request = Request("POST", path, "", list(given.items()), body, "192.0.2.7")
    return to_event(request, path.split("/")[1])


def deliver(*secrets: str, event_id: str | None = None) -> int:
    """Stripe sends an event signed with each of the secrets, as it does while a secret is rolled: the status."""
    event = event_of("customer.created", {"id": "cus_of_nobody", "object": "customer"})
    body = json.dumps(event | {"id": event_id or f"evt_{uuid4().hex}"}).encode()
    headers = [signed(body, secret) for secret in secrets]
    marks = ",".join(header.partition(",")[2] for header in headers)
    header = f"{headers[0].partition(',')[0]},{marks}"
    return int(invoke(WEBHOOK, posted("/webhook", body, **{"stripe-signature": header}))["statusCode"])


def feed(secret: str) -> int:
    """The feed sends an offer that fits nobody: the status."""
    body = json.dumps({"offers": [an_offer({"trip": uuid4().hex})]}).encode()
    event = posted("/offers", body, **{"autobook-signature": machine_signature(body, secret)})
    return int(invoke(OFFERS, event)["statusCode"])


def test_the_webhook_secret_is_rolled_without_a_refused_event(stack: LocalStack, store: SecretStore) -> None:
    old, new = "whsec_before_the_roll", "whsec_after_the_roll"
    store.put("rotation/webhook", {"secrets": [old]})
    with warm(stack, store, STRIPE_WEBHOOK_SECRETS="aws-sm:rotation/webhook#secrets"):
        assert (deliver(old), deliver(new)) == (200, 400)
        # https://docs.stripe.com/webhooks#roll-endpoint-secrets: for a time Stripe signs with both.
        store.put("rotation/webhook", {"secrets": [new, old]})
        assert [deliver(old), deliver(new), deliver(old, new), deliver(new, old)] == [200] * 4
        with store.away():
            assert [deliver(old), deliver(new)] == [200, 200]
        store.put("rotation/webhook", {"secrets": [new]})
        assert [deliver(new), deliver(new, old), deliver(old)] == [200, 200, 400]
        # What leaked is of no use any more, whatever is put beside it.
        assert deliver(old, "whsec_of_somebody_else") == 400


def test_an_event_sent_again_during_the_roll_is_applied_once(
    stack: LocalStack, store: SecretStore, stack_db: psycopg.Connection
) -> None:
    old, new, event_id = "whsec_before_the_roll", "whsec_after_the_roll", f"evt_{uuid4().hex}"
    store.put("rotation/again", {"secrets": [new, old]})
    with warm(stack, store, STRIPE_WEBHOOK_SECRETS="aws-sm:rotation/again#secrets"):
        assert [deliver(old, event_id=event_id), deliver(new, event_id=event_id)] == [200, 200]
    stored = stack_db.execute("select count(*) from public.stripe_events where id = %s", [event_id]).fetchone()
    assert stored == (1,)


def test_the_secret_of_machines_is_rotated_without_a_refused_call(stack: LocalStack, store: SecretStore) -> None:
    old, new = "absec_before_rotation", "absec_after_rotation"
    store.put_parameter("/rotation/machines", old)
    with warm(stack, store, AUTOBOOK_SIGNING_SECRETS="aws-ssm:/rotation/machines"):
        assert (feed(old), feed(new)) == (202, 401)
        store.put_parameter("/rotation/machines", f"{new},{old}")
        assert [feed(old), feed(new)] == [202, 202]
        store.put_parameter("/rotation/machines", new)
        assert [feed(new), feed(old)] == [202, 401]


def test_stripes_key_is_rolled_in_a_warm_function(stack: LocalStack, store: SecretStore, traveller: Traveller) -> None:
    """Stripe lets both keys live for a while; here the one before has ended already, which shows which one is used."""
    store.put("rotation/stripe", {"key": "sk_test_51RolledAwayLongAgo"})
    token = {"authorization": f"Bearer {traveller.user.access_token}"}
    body = json.dumps(CONSENT).encode()
    with warm(stack, store, STRIPE_SECRET_KEY="aws-sm:rotation/stripe#key"):
        assert invoke(SETUP, posted("/setup-intent", body, **token))["statusCode"] in (502, 503)
        stripe_gateway.gateway()._client._requestor._get_http_client().close()  # type: ignore[no-untyped-call]  # the SDK's
        store.put("rotation/stripe", {"key": stack.keys.stripe_secret})
        assert invoke(SETUP, posted("/setup-intent", body, **token))["statusCode"] == 201


def test_a_functions_token_is_replaced_in_a_warm_function(stack: LocalStack, store: SecretStore) -> None:
    secret = stack.keys.webhook_secrets[0]
    store.put("rotation/token", stack.environment["SUPABASE_TOKEN_OFFERS"])
    with warm(stack, store, SUPABASE_TOKEN_WEBHOOK="aws-sm:rotation/token"):
        assert deliver(secret) == 403, "the token of another function may not receive events"
        store.put("rotation/token", stack.environment["SUPABASE_TOKEN_WEBHOOK"])
        assert deliver(secret) == 200


def test_a_secret_that_is_taken_away_closes_the_door(stack: LocalStack, store: SecretStore) -> None:
    store.put("rotation/gone", "whsec_soon_to_be_gone")
    with warm(stack, store, STRIPE_WEBHOOK_SECRETS="aws-sm:rotation/gone"):
        assert deliver("whsec_soon_to_be_gone") == 200
        store.manager.delete_secret(SecretId="rotation/gone", ForceDeleteWithoutRecovery=True)
        assert deliver("whsec_soon_to_be_gone") == 500, "so that Stripe sends it again"
        assert deliver("") == 500
