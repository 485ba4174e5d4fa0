"""The webhook endpoint at Stripe: planned, applied once, moved to another API version without a gap."""

import json
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from functions.shared.secrets import forget
from functions.shared.stripe_events.table import HANDLED, SUBSCRIBED
from functions.shared.stripe_sdk import stripe
from local import webhook_endpoint
from local.stripe.server import running
from local.stripe.settings import Settings
from local.stripe.world import StripeWorld
from tests.local.cli.conftest import Autobook
from tests.support.aws_secrets import SecretStore, environment

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the SDK's way with httpx

URL = "https://api.example.com/webhook"
SYNC = ("webhook-endpoint", "sync", "--url", URL)


@pytest.fixture
def world(values: dict[str, str]) -> Iterator[StripeWorld]:
    """An account at Stripe without any endpoint."""
    settings = Settings(secret_key=values["STRIPE_SECRET_KEY"], publishable_key=values["STRIPE_PUBLISHABLE_KEY"])
    with running(settings) as (url, world):
        values["STRIPE_API_BASE"] = url
        yield world


def endpoints(world: StripeWorld) -> list[dict[str, Any]]:
    with world.lock:
        return [dict(row) for row in world.webhook_endpoints]


def secrets_of(world: StripeWorld) -> list[str]:
    return [secret for listed in world.webhooks.secrets.values() for secret in listed]


def test_what_is_subscribed_is_what_is_handled_and_can_be_subscribed() -> None:
    from stripe.params import WebhookEndpointCreateParams

    offered = set(re.findall(r"[\"']([a-z_.]+\.[a-z_]+)[\"']", str(WebhookEndpointCreateParams.__annotations__)))
    assert offered > SUBSCRIBED
    assert set(HANDLED) - SUBSCRIBED == set(HANDLED) - offered


def test_an_endpoint_is_shown_then_made_then_left_alone(autobook: Autobook, world: StripeWorld, tmp_path: Path) -> None:
    place = tmp_path / "secret"
    shown = autobook(*SYNC)
    assert (shown.exit_code, endpoints(world)) == (1, [])
    assert f"To do: make an endpoint at {URL}" in shown.stdout

    assert autobook(*SYNC, "--yes").exit_code == 2, "nowhere to put the secret"
    assert endpoints(world) == []

    made = autobook(*SYNC, "--yes", "--secret-to", place)
    assert made.exit_code == 0, made.stderr
    (endpoint,) = endpoints(world)
    assert set(endpoint["enabled_events"]) == SUBSCRIBED
    assert (endpoint["url"], endpoint["api_version"], endpoint["status"]) == (URL, stripe.api_version, "enabled")
    assert place.read_text("utf-8").strip() in secrets_of(world)
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert not [secret for secret in secrets_of(world) if secret in made.stdout + made.stderr]

    again = autobook(*SYNC, "--yes", "--json")
    assert again.exit_code == 0
    assert json.loads(again.stdout) == {"steps": [], "remarks": [], "applied": True, "secrets": []}
    assert endpoints(world) == [endpoint]


def test_events_are_added_and_taken_away_as_shown(autobook: Autobook, world: StripeWorld) -> None:
    events = [*sorted(SUBSCRIBED)[1:], "payout.paid"]
    world.webhook_endpoints.add(world.new_endpoint(URL, events, stripe.api_version))
    shown = autobook(*SYNC)
    assert shown.exit_code == 1
    assert f"+ {sorted(SUBSCRIBED)[0]}" in shown.stdout
    assert "- payout.paid" in shown.stdout
    assert autobook(*SYNC, "--yes").exit_code == 0
    assert set(endpoints(world)[0]["enabled_events"]) == SUBSCRIBED
    assert autobook(*SYNC).exit_code == 0


def test_another_version_takes_another_endpoint_and_a_switch(
    autobook: Autobook, world: StripeWorld, tmp_path: Path
) -> None:
    old = world.webhook_endpoints.add(world.new_endpoint(URL, ["*"], "2024-06-20"))
    elsewhere = world.webhook_endpoints.add(world.new_endpoint("https://other.example.com/", ["*"], None))
    made = autobook(*SYNC, "--yes", "--secret-to", tmp_path / "secret")
    assert made.exit_code == 0, made.stderr
    assert "--switch" in made.stdout
    new = endpoints(world)[-1]
    assert (old["status"], new["status"], new["api_version"]) == ("enabled", "disabled", stripe.api_version)

    early = autobook(*SYNC, "--yes")
    assert (early.exit_code, "still in use" in early.stdout, old["status"]) == (0, True, "enabled")

    switched = autobook(*SYNC, "--yes", "--switch", "--json")
    assert switched.exit_code == 0
    assert [step["kind"] for step in json.loads(switched.stdout)["steps"]] == ["enable", "disable"]
    assert (old["status"], endpoints(world)[-1]["status"]) == ("disabled", "enabled")
    assert elsewhere["status"] == "enabled", "not ours to touch"
    assert autobook(*SYNC).exit_code == 0


def test_a_secret_goes_before_the_one_that_is_rotated_out(
    autobook: Autobook, world: StripeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SecretStore()
    try:
        for name, value in environment(store.url).items():
            monkeypatch.setenv(name, value)
        store.put("autobook/dev", {"STRIPE_WEBHOOK_SECRETS": "whsec_old,whsec_older", "OTHER": "kept"})
        made = autobook(*SYNC, "--yes", "--secret-to", "aws-sm:autobook/dev#STRIPE_WEBHOOK_SECRETS")
        assert made.exit_code == 0, made.stderr
        kept = json.loads(store.manager.get_secret_value(SecretId="autobook/dev")["SecretString"])
        assert kept == {"STRIPE_WEBHOOK_SECRETS": f"{secrets_of(world)[0]},whsec_old", "OTHER": "kept"}

        world.webhook_endpoints.delete(endpoints(world)[0]["id"])
        missing = autobook(*SYNC, "--yes", "--secret-to", "aws-sm:autobook/nowhere")
        assert (missing.exit_code, endpoints(world)) == (3, []), "no endpoint whose secret nobody has"
        assert "create the secret first" in missing.stderr
    finally:
        forget()
        store.close()


def test_what_a_person_has_to_decide_is_left_to_them(autobook: Autobook, world: StripeWorld, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("another secret", "utf-8")
    refused = autobook(*SYNC, "--yes", "--secret-to", taken)
    assert (refused.exit_code, endpoints(world), taken.read_text("utf-8")) == (3, [], "another secret")

    for _ in range(2):
        world.webhook_endpoints.add(world.new_endpoint(URL, ["*"], stripe.api_version))
    twice = autobook(*SYNC)
    assert twice.exit_code == 1
    assert "delete all but the one whose secret is stored" in twice.stderr


def test_a_full_account_is_said_to_be_full() -> None:
    others = [{"id": f"we_{n}", "url": f"https://{n}.example.com/", "api_version": None} for n in range(16)]
    with pytest.raises(webhook_endpoint.CannotSync, match="16 endpoints"):
        webhook_endpoint.plan(others, URL)


@pytest.mark.parametrize("url", ["https://api.example.com/", "ftp://api.example.com/webhook", "webhook"])
def test_an_address_that_is_none_is_refused(autobook: Autobook, url: str) -> None:
    assert autobook("webhook-endpoint", "sync", "--url", url).exit_code == 2
