"""What a request must look like, and what lists and searches answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import stripe

if TYPE_CHECKING:
    from tests.local.stripe.conftest import Account

PAYMENT = {"amount": 1000, "currency": "eur"}


@pytest.mark.parametrize(
    ("params", "code", "param"),
    [
        ({"payment_method_types": ["card"]}, "parameter_unknown", "payment_method_types"),
        ({"surprise": "1"}, "parameter_unknown", "surprise"),
        (
            {"payment_method_options": {"card": {"surprise": "1"}}},
            "parameter_unknown",
            "payment_method_options[card][surprise]",
        ),
        ({"currency": ""}, "parameter_invalid_empty", "currency"),
        ({"amount": "ten"}, "parameter_invalid_integer", "amount"),
        ({"amount": "10.5"}, "parameter_invalid_integer", "amount"),
        ({"amount": -5}, "parameter_invalid_integer", "amount"),
        ({"amount": 49}, "amount_too_small", "amount"),
        ({"amount": 100_000_000}, "amount_too_large", "amount"),
        ({"currency": "xxx"}, None, "currency"),
        ({"confirm": "perhaps"}, None, "confirm"),
        ({"capture_method": "later"}, None, "capture_method"),
        ({"off_session": True}, None, "off_session"),
        ({"allowed_payment_method_types": ["cheque"]}, None, "allowed_payment_method_types[0]"),
        (
            {"automatic_payment_methods": {"allow_redirects": "never"}},
            "parameter_missing",
            "automatic_payment_methods[enabled]",
        ),
        ({"customer": "cus_nobody"}, "resource_missing", "customer"),
        ({"payment_method": "pm_nothing"}, "resource_missing", "payment_method"),
        ({"metadata": {"k" * 41: "v"}}, None, "metadata"),
        ({"metadata": {"k": "v" * 501}}, None, "metadata[k]"),
    ],
)
def test_a_payment_intent_that_is_refused(
    account: Account, params: dict[str, Any], code: str | None, param: str
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        account.v1.payment_intents.create({**PAYMENT, **params})
    assert (refused.value.http_status, refused.value.code, refused.value.param) == (400, code, param)
    assert len(account.world.payment_intents) == 0


def test_missing_parameters(account: Account) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        account.v1.payment_intents.create({"currency": "eur"})
    assert (refused.value.code, refused.value.param) == ("parameter_missing", "amount")


@pytest.mark.parametrize(
    ("currency", "too_little", "enough"),
    [("jpy", 49, 50), ("usd", 49, 50), ("gbp", 29, 30), ("huf", 17499, 17500), ("czk", 1499, 1500)],
)
def test_minimum_amounts(account: Account, currency: str, too_little: int, enough: int) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        account.v1.payment_intents.create({"amount": too_little, "currency": currency})
    assert refused.value.code == "amount_too_small"
    assert account.v1.payment_intents.create({"amount": enough, "currency": currency}).amount == enough


@pytest.mark.parametrize(("currency", "odd", "even"), [("kwd", 1005, 1010), ("isk", 15050, 15100), ("jpy", 0, 51)])
def test_amounts_that_a_currency_cannot_have(account: Account, currency: str, odd: int, even: int) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        account.v1.payment_intents.create({"amount": odd, "currency": currency})
    assert account.v1.payment_intents.create({"amount": even, "currency": currency}).amount == even


def test_what_the_stand_in_does_not_do_is_said(account: Account) -> None:
    with pytest.raises(stripe.APIError) as refused:
        account.v1.payment_intents.create({**PAYMENT, "application_fee_amount": 10})
    assert refused.value.http_status == 501
    with pytest.raises(stripe.InvalidRequestError, match="Unrecognized request URL") as unknown:
        account.v1.products.list()
    assert unknown.value.http_status == 404


def test_unknown_ids(account: Account) -> None:
    with pytest.raises(stripe.InvalidRequestError) as missing:
        account.v1.payment_intents.retrieve("pi_nothing")
    assert (missing.value.http_status, missing.value.code) == (404, "resource_missing")
    assert "No such payment_intent: 'pi_nothing'" in str(missing.value)


def test_an_old_api_version(account: Account) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="Invalid Stripe API version"):
        account.v1.balance.retrieve({}, {"stripe_version": "2020-08-27"})


def test_expansion(account: Account) -> None:
    customer = account.customer()
    method = account.save_card(customer, "pm_card_visa")
    paths = ["customer", "payment_method", "latest_charge.balance_transaction", "latest_charge.refunds"]
    intent = account.charge(customer, method, expand=paths)
    assert isinstance(intent.customer, stripe.Customer)
    assert isinstance(intent.payment_method, stripe.PaymentMethod)
    assert isinstance(intent.latest_charge, stripe.Charge)
    assert intent.latest_charge.balance_transaction is None  # asynchronous capture: charge.updated brings it
    listed = account.v1.payment_intents.list({"expand": ["data.latest_charge.balance_transaction"]}).data[0]
    assert listed.latest_charge.balance_transaction.net > 0
    with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
        account.v1.payment_intents.retrieve(intent.id, {"expand": ["nonsense"]})


def test_pages(account: Account) -> None:
    made = [account.customer(name=f"n{number}").id for number in range(7)]
    first = account.v1.customers.list({"limit": 3})
    assert [row.id for row in first.data] == made[:3:-1]
    assert first.has_more
    assert [row.id for row in first.auto_paging_iter()] == made[::-1]
    before = account.v1.customers.list({"limit": 2, "ending_before": made[0]})
    assert [row.id for row in before.data] == [made[2], made[1]]
    assert before.has_more
    with pytest.raises(stripe.InvalidRequestError):
        account.v1.customers.list({"limit": 101})


def test_created_filters(account: Account) -> None:
    account.customer()
    account.world.advance(100)
    now = account.world.clock.timestamp()
    late = account.customer()
    assert [row.id for row in account.v1.customers.list({"created": {"gte": now}}).data] == [late.id]
    assert account.v1.customers.list({"created": {"gt": now + 5}}).data == []
    assert len(account.v1.customers.list({"created": {"lt": now}}).data) == 1


def test_searching_payment_intents(account: Account) -> None:
    customer = account.customer()
    method = account.save_card(customer, "pm_card_visa")
    ids = [account.charge(customer, method, metadata={"booking_id": f"b{number}"}).id for number in range(3)]
    account.v1.payment_intents.create({**PAYMENT, "metadata": {"booking_id": "b1"}})

    def found(query: str) -> list[str]:
        return [row.id for row in account.v1.payment_intents.search({"query": query}).data]

    assert found("metadata['booking_id']:'b1' AND status:'succeeded'") == [ids[1]]
    assert found(f'customer:"{customer.id}"') == ids[::-1]
    assert found("amount>2000 AND -metadata['booking_id']:'b0'") == [ids[2], ids[1]]
    assert found("metadata['booking_id']:'b0' OR metadata['booking_id']:'b2'") == [ids[2], ids[0]]
    assert found("metadata['other']:null AND status:'requires_payment_method'") != []
    paged = account.v1.payment_intents.search({"query": "currency:'eur'", "limit": 3})
    assert paged.has_more
    assert len(list(paged.auto_paging_iter())) == 4
    for broken in ("", "status", "nonsense:'x'", "status:'a' AND amount>1 OR amount<5", "status:'a' )"):
        with pytest.raises(stripe.InvalidRequestError):
            found(broken)


def test_searching_customers(account: Account) -> None:
    ada = account.customer(email="ada@example.com", metadata={"user_id": "u1"})
    account.customer(email="bob@example.com")
    result = account.v1.customers.search({"query": "email:'ada@example.com'"})
    assert [row.id for row in result.data] == [ada.id]
    result = account.v1.customers.search({"query": "metadata['user_id']:'u1'"})
    assert [row.id for row in result.data] == [ada.id]


def test_events_by_type_and_age(account: Account) -> None:
    customer = account.customer()
    account.save_card(customer, "pm_card_visa")
    listed = account.v1.events.list({"types": ["setup_intent.succeeded", "customer.created"]})
    assert [event.type for event in listed.data] == ["setup_intent.succeeded", "customer.created"]
    assert len(account.v1.events.list({"type": "setup_intent.*"}).data) == 2
    one = account.v1.events.retrieve(listed.data[0].id)
    assert one.request.id.startswith("req_")
    account.world.advance(31 * 24 * 3600)
    assert account.v1.events.list().data == []


def test_a_failed_intent_keeps_no_idempotency_of_a_validation_error(account: Account) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        account.v1.payment_intents.create({**PAYMENT, "amount": 1}, {"idempotency_key": "k"})
    assert account.v1.payment_intents.create(PAYMENT, {"idempotency_key": "k"}).amount == 1000
