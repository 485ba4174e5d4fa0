"""Control routes and the cardholder's pages, over HTTP."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import requests
import stripe

from tests.local.stripe.conftest import PUBLISHABLE_KEY, SECRET_KEY

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.local.stripe.conftest import Account


def post(account: Account, path: str, **body: Any) -> requests.Response:
    return requests.post(f"{account.url}/_control/{path}", json=body, timeout=5)


def test_without_the_flag_there_are_none(start: Callable[..., Account]) -> None:
    account = start(control=False)
    assert requests.get(f"{account.url}/_control/books", timeout=5).status_code in {401, 404}
    key = {"authorization": f"Bearer {SECRET_KEY}"}
    assert requests.get(f"{account.url}/_control/books", headers=key, timeout=5).status_code == 404


def test_time_moves(served: Account) -> None:
    customer = served.customer()
    method = served.save_card(customer, "pm_card_visa")
    intent = served.charge(customer, method, capture_method="manual")
    moved = post(served, "clock", advance_seconds=8 * 24 * 3600).json()
    assert moved["happened"] == 1
    assert served.v1.payment_intents.retrieve(intent.id).status == "canceled"
    assert post(served, "clock", advance_seconds=-1).status_code == 400


def test_keys_can_be_made_to_expire(served: Account) -> None:
    first = served.v1.customers.create({}, {"idempotency_key": "k"})
    assert post(served, "expire-idempotency-keys").json() == {"expired": 1}
    assert served.v1.customers.create({}, {"idempotency_key": "k"}).id != first.id


def test_cards_disputes_warnings_and_reviews(served: Account) -> None:
    customer = served.customer()
    method = served.save_card(customer, "pm_card_visa")
    post(served, f"cards/{method}", behaviour="lost_card").raise_for_status()
    with pytest.raises(stripe.CardError) as refused:
        served.charge(customer, method)
    assert refused.value.error is not None
    assert refused.value.error.decline_code == "lost_card"
    post(served, f"cards/{method}", behaviour="heal").raise_for_status()
    intent = served.charge(customer, method)
    assert post(served, "reviews", payment_intent=intent.id).json()["open"]
    assert post(served, "early-fraud-warnings", payment_intent=intent.id).json()["actionable"]
    dispute = post(served, "disputes", charge=intent.latest_charge).json()
    assert dispute["status"] == "needs_response"
    assert post(served, f"disputes/{dispute['id']}", outcome="win").json()["status"] == "won"
    assert post(served, f"disputes/{dispute['id']}", outcome="win").status_code == 400
    assert post(served, f"cards/{method}", behaviour="nonsense").status_code == 400
    assert post(served, f"cards/{method}", behaviour="heal", surprise=1).status_code == 400
    assert post(served, "cards/pm_nothing", behaviour="heal").status_code == 404


def test_everything_can_be_forgotten(served: Account) -> None:
    customer = served.customer()
    post(served, "faults", kind="rate_limit", match="nothing").raise_for_status()
    assert post(served, "reset").status_code == 204
    with pytest.raises(stripe.InvalidRequestError):
        served.v1.customers.retrieve(customer.id)
    assert served.world.faults.rules == []
    assert len(served.world.events) == 0


def test_requests_are_recorded_without_secrets(served: Account) -> None:
    served.v1.customers.create({"email": "ada@example.com"}, {"idempotency_key": "k"})
    served.v1.customers.create({"email": "ada@example.com"}, {"idempotency_key": "k"})
    answer = requests.get(f"{served.url}/_control/requests", timeout=5)
    log = answer.json()
    assert log["count"] == 2
    assert [row["replayed"] for row in log["data"]] == [False, True]
    assert {row["path"] for row in log["data"]} == {"/v1/customers"}
    assert {row["idempotency_key"] for row in log["data"]} == {"k"}
    assert SECRET_KEY not in answer.text
    assert requests.delete(f"{served.url}/_control/requests", timeout=5).status_code == 204
    assert requests.get(f"{served.url}/_control/requests", timeout=5).json()["count"] == 0


def test_the_books(served: Account) -> None:
    customer = served.customer()
    served.charge(customer, served.save_card(customer, "pm_card_visa"))
    answer = requests.get(f"{served.url}/_control/books", timeout=5)
    books = answer.json()
    assert [row["status"] for row in books["payment_intents"]] == ["succeeded"]
    assert [row["amount"] for row in books["charges"]] == [2500]
    assert "_secret_" not in answer.text


def test_faults_are_listed_and_lifted(served: Account) -> None:
    rule = post(served, "faults", kind="rate_limit", match="/v1/customers").json()
    assert requests.get(f"{served.url}/_control/faults", timeout=5).json()["data"] == [rule]
    with pytest.raises(stripe.RateLimitError):
        served.customer()
    requests.delete(f"{served.url}/_control/faults/{rule['id']}", timeout=5).raise_for_status()
    assert served.customer().id


def test_the_test_cards_are_listed(served: Account) -> None:
    rows = requests.get(f"{served.url}/_control/cards", timeout=5).json()["data"]
    assert {"token": "pm_card_visa", "number": "4242424242424242", "wording": "Succeeds."} in rows


def asking(account: Account, **params: Any) -> stripe.SetupIntent:
    intent: stripe.SetupIntent = account.v1.setup_intents.create(
        {
            "customer": account.customer().id,
            "payment_method": "pm_card_authenticationRequiredOnSetup",
            "confirm": True,
            **params,
        }
    )
    return intent


@pytest.mark.parametrize(
    ("outcome", "status"),
    [("succeed", "succeeded"), ("fail", "requires_payment_method"), ("abandon", "requires_action")],
)
def test_authenticating_by_control_route(served: Account, outcome: str, status: str) -> None:
    intent = asking(served, return_url="https://example.com")
    assert post(served, "authenticate", intent=intent.id, outcome=outcome).json()["status"] == status


def test_authenticating_on_the_banks_page(served: Account) -> None:
    """The way of a headless client that follows ``redirect_to_url``."""
    intent = asking(served, return_url="https://example.com/back?tab=cards")
    assert intent.next_action is not None
    assert intent.next_action.redirect_to_url is not None
    page = requests.get(str(intent.next_action.redirect_to_url.url), timeout=5)
    action, secret = re.findall(r'action="([^"]+/complete)">\s*<input[^>]*value="([^"]+)"', page.text)[0]
    answer = requests.post(served.url + action, data={"client_secret": secret}, timeout=5, allow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"] == (
        f"https://example.com/back?tab=cards&setup_intent={intent.id}"
        f"&setup_intent_client_secret={intent.client_secret}&redirect_status=succeeded"
    )
    assert served.v1.setup_intents.retrieve(intent.id).status == "succeeded"
    again = requests.post(served.url + action, data={"client_secret": secret}, timeout=5)
    assert again.status_code == 400


def test_the_banks_page_wants_the_client_secret(served: Account) -> None:
    intent = asking(served, return_url="https://example.com")
    assert requests.get(f"{served.url}/_3ds/{intent.id}", timeout=5).status_code == 400
    stolen = {"client_secret": "seti_x_secret_y"}
    assert requests.post(f"{served.url}/_3ds/{intent.id}/complete", data=stolen, timeout=5).status_code == 400
    assert served.v1.setup_intents.retrieve(intent.id).status == "requires_action"


def test_a_whole_card_from_the_browser(served: Account) -> None:
    """What the script at ``/v3/`` sends, preflight included."""
    script = requests.get(f"{served.url}/v3/", timeout=5)
    assert script.headers["content-type"].startswith("text/javascript")
    assert "window.Stripe" in script.text
    origin = {"origin": "http://shop.example", "access-control-request-method": "POST"}
    origin |= {"access-control-request-headers": "authorization,content-type"}
    intent = served.v1.setup_intents.create({"customer": served.customer().id})
    address = f"{served.url}/v1/setup_intents/{intent.id}/confirm"
    preflight = requests.options(address, headers=origin, timeout=5)
    assert preflight.ok
    assert preflight.headers["access-control-allow-origin"] == "*"
    form = {
        "payment_method_data[type]": "card",
        "payment_method_data[card][number]": "4000002500003155",
        "payment_method_data[card][exp_month]": "12",
        "payment_method_data[card][exp_year]": "34",
        "payment_method_data[card][cvc]": "123",
        "client_secret": intent.client_secret,
        "use_stripe_sdk": "true",
        "return_url": "https://example.com",
    }
    headers = {"authorization": f"Bearer {PUBLISHABLE_KEY}", "origin": "http://shop.example"}
    confirmed = requests.post(address, data=form, headers=headers, timeout=5)
    body = confirmed.json()
    assert (confirmed.status_code, body["status"]) == (200, "requires_action")
    assert body["next_action"]["type"] == "use_stripe_sdk"
    assert "customer" not in body
    assert confirmed.headers["access-control-allow-origin"] == "*"
    ajax = {"client_secret": intent.client_secret, "ajax": "true"}
    answered = requests.post(f"{served.url}/_3ds/{intent.id}/complete", data=ajax, timeout=5)
    assert answered.json()["status"] == "succeeded"
