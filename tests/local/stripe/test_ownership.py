"""Whose card it is, and who may use it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import stripe

if TYPE_CHECKING:
    from tests.local.stripe.conftest import Account


def refused_charge(account: Account, customer: stripe.Customer, method: str, **params: Any) -> stripe.StripeError:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        account.charge(customer, method, **params)
    assert refused.value.http_status == 400
    assert len(account.world.payment_intents) == 0
    return refused.value


def test_another_customers_card(account: Account) -> None:
    owner, thief = account.customer(), account.customer()
    method = account.save_card(owner, "pm_card_visa")
    error = refused_charge(account, thief, method)
    assert "does not have a payment method with the ID" in str(error)
    with pytest.raises(stripe.InvalidRequestError):
        account.v1.payment_methods.attach(method, {"customer": thief.id})
    with pytest.raises(stripe.InvalidRequestError):
        account.v1.setup_intents.create({"customer": thief.id, "payment_method": method})
    assert account.v1.payment_methods.list({"customer": thief.id}).data == []


def test_a_card_that_was_never_attached(account: Account) -> None:
    customer = account.customer()
    method = account.v1.payment_methods.create({"type": "card", "card": {"token": "tok_visa"}})
    refused_charge(account, customer, method.id)


def test_a_detached_card(account: Account) -> None:
    customer = account.customer()
    method = account.save_card(customer, "pm_card_visa")
    account.v1.customers.update(customer.id, {"invoice_settings": {"default_payment_method": method}})
    account.v1.payment_methods.detach(method)
    assert "may not be used again" in str(refused_charge(account, customer, method))
    with pytest.raises(stripe.InvalidRequestError):
        account.v1.payment_methods.attach(method, {"customer": customer.id})
    after = account.v1.customers.retrieve(customer.id)
    assert after.invoice_settings.default_payment_method is None


def test_a_card_without_its_customer(account: Account) -> None:
    method = account.save_card(account.customer(), "pm_card_visa")
    with pytest.raises(stripe.InvalidRequestError, match="without its Customer"):
        account.v1.payment_intents.create({"amount": 500, "currency": "eur", "payment_method": method})


def test_a_card_is_used_once_without_a_customer(account: Account) -> None:
    method = account.v1.payment_methods.create({"type": "card", "card": {"token": "tok_visa"}})
    payment = {
        "amount": 500,
        "currency": "eur",
        "payment_method": method.id,
        "confirm": True,
        "allowed_payment_method_types": ["card"],
    }
    assert account.v1.payment_intents.create(payment).status == "succeeded"
    with pytest.raises(stripe.InvalidRequestError, match="previously used"):
        account.v1.payment_intents.create(payment)


def test_a_deleted_customer(account: Account) -> None:
    customer = account.customer(email="ada@example.com")
    method = account.save_card(customer, "pm_card_visa")
    assert account.v1.customers.delete(customer.id).deleted
    assert account.v1.customers.retrieve(customer.id).deleted
    assert account.v1.customers.list({"email": "ada@example.com"}).data == []
    error = refused_charge(account, customer, method)
    assert error.code == "resource_missing"
    with pytest.raises(stripe.InvalidRequestError) as gone:
        account.v1.customers.update(customer.id, {"name": "x"})
    assert gone.value.http_status == 404
    assert account.event_types()[-2:] == ["payment_method.detached", "customer.deleted"]


def test_a_customer_and_their_cards(account: Account) -> None:
    customer = account.customer(name="Ada", metadata={"user_id": "u1"})
    first, second = (account.save_card(customer, "pm_card_visa") for _ in range(2))
    listed = account.v1.customers.payment_methods.list(customer.id, {"type": "card"})
    assert [row.id for row in listed.data] == [second, first]
    one = account.v1.customers.payment_methods.retrieve(customer.id, first)
    assert one.customer == customer.id
    updated = account.v1.payment_methods.update(first, {"card": {"exp_year": 2040}, "metadata": {"k": "v"}})
    assert (updated.card.exp_year, updated.metadata["k"]) == (2040, "v")
    assert account.event_types()[-1] == "payment_method.updated"
    account.v1.customers.update(customer.id, {"metadata": {"user_id": "", "tier": "gold"}})
    assert account.v1.customers.retrieve(customer.id).metadata.to_dict() == {"tier": "gold"}
