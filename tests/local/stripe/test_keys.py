"""API keys: who may call what."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from local.stripe.transport import BASE_URL, InProcessTransport
from local.stripe.world import StripeWorld
from tests.local.stripe.conftest import PUBLISHABLE_KEY, Account, client_for, settings


def with_key(account: Account, key: str) -> Any:
    """The v1 services of a client with another key."""
    http = InProcessTransport(account.world)
    return stripe.StripeClient(key, base_addresses={"api": BASE_URL}, http_client=http).v1


def test_a_wrong_key(account: Account) -> None:
    with pytest.raises(stripe.AuthenticationError) as refused:
        with_key(account, "sk_test_somebodyelses1234").balance.retrieve()
    assert refused.value.http_status == 401
    assert "Invalid API Key provided: sk_test_*" in str(refused.value)
    assert "somebodyelses" not in str(refused.value)


def test_the_publishable_key_may_do_what_stripe_js_does(account: Account) -> None:
    browser = with_key(account, PUBLISHABLE_KEY)
    intent = account.v1.setup_intents.create({"customer": account.customer().id, "metadata": {"secret": "x"}})
    card = {"number": "4242424242424242", "exp_month": 12, "exp_year": 2034, "cvc": "123"}
    method = browser.payment_methods.create({"type": "card", "card": card})
    secret = {"client_secret": intent.client_secret}
    confirmed = browser.setup_intents.confirm(intent.id, {"payment_method": method.id, **secret})
    assert confirmed.status == "succeeded"
    assert "metadata" not in confirmed.to_dict()
    assert "customer" not in confirmed.to_dict()
    assert browser.setup_intents.retrieve(intent.id, {"client_secret": intent.client_secret or ""}).id == intent.id


def test_the_publishable_key_may_do_nothing_else(account: Account) -> None:
    browser = with_key(account, PUBLISHABLE_KEY)
    with pytest.raises(stripe.AuthenticationError) as refused:
        browser.customers.list()
    assert refused.value.error is not None
    assert refused.value.error.code == "secret_key_required"
    intent = account.v1.payment_intents.create({"amount": 500, "currency": "eur"})
    for secret in ({}, {"client_secret": "pi_x_secret_y"}):
        with pytest.raises(stripe.InvalidRequestError, match="client_secret"):
            browser.payment_intents.retrieve(intent.id, secret)


RESTRICTED_KEY = "rk_test_restricted00000000000000000001"


def test_a_restricted_key_may_do_what_it_was_given_and_nothing_else() -> None:
    allowed = frozenset({"payment_intent_read", "charge_write"})
    world = StripeWorld(settings(restricted_keys={RESTRICTED_KEY: allowed}))
    account = Account(BASE_URL, world, client_for(BASE_URL))
    limited = with_key(account, RESTRICTED_KEY)
    assert limited.payment_intents.list().data == []
    assert limited.refunds.list().data == []
    for refused_call, permission in {
        lambda: limited.payment_intents.create({"amount": 500, "currency": "eur"}): "rak_payment_intent_write",
        limited.customers.list: "rak_customer_read",
        limited.webhook_endpoints.list: "rak_webhook_read",
    }.items():
        with pytest.raises(stripe.PermissionError, match=permission) as refused:
            refused_call()
        assert refused.value.http_status == 403
        assert RESTRICTED_KEY not in str(refused.value)
    with pytest.raises(stripe.PermissionError):
        limited.payment_intents.cancel("pi_that_does_not_exist")  # permission is judged before existence
