"""Is the webhook endpoint at Stripe exactly the one that the deployed webhook expects?"""

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx

from functions.shared.stripe_events.table import SUBSCRIBED
from functions.shared.stripe_sdk import stripe
from local.doctor.finding import Finding, fail, ok, unknown, warn
from local.doctor.patient import Patient

SYNC = "autobook webhook-endpoint sync"


def endpoint_is_ours(patient: Patient) -> Iterator[Finding]:
    """One endpoint of our address: enabled, with our events, of the SDK's version."""
    if patient.stripe is None:
        return
    try:
        listed = patient.stripe.v1.webhook_endpoints.list({"limit": 100})
        endpoints = [each.to_dict() for each in listed.auto_paging_iter()]
    except (stripe.AuthenticationError, stripe.PermissionError, stripe.APIConnectionError) as error:
        yield unknown(
            "webhook.endpoint",
            f"the webhook endpoints could not be listed ({type(error).__name__})",
            "run doctor with a key that may read Webhook Endpoints",
        )
        return
    if not patient.webhook_url:
        yield unknown(
            "webhook.endpoint",
            f"nobody said where the API is; Stripe knows {len(endpoints)} endpoint(s)",
            "set AUTOBOOK_API_URL to the deployed API's address, or say --webhook-url",
        )
        return
    yield from judged(endpoints, patient.webhook_url)


def judged(endpoints: list[dict[str, Any]], url: str) -> Iterator[Finding]:
    """What is to be said of the account's endpoints, of which one should have the address."""
    apply = f"{SYNC} --url {url} --yes"
    ours = [each for each in endpoints if each["url"].split("?")[0] == url]
    enabled = [each for each in ours if each["status"] == "enabled"]
    if not ours:
        elsewhere = sorted({urlsplit(each["url"]).hostname or "?" for each in endpoints})
        yield fail(
            "webhook.endpoint",
            f"Stripe sends nothing to {url}" + (f"; its endpoints are at {', '.join(elsewhere)}" if elsewhere else ""),
            f"{apply}, then store the secret",
        )
        return
    if not enabled:
        yield fail(
            "webhook.endpoint",
            "the endpoint is disabled; Stripe does that too when nothing answered it for days",
            f"{apply}; reconcile fetches what was missed, up to 30 days back",
        )
        return
    if len(enabled) > 1:
        yield fail(
            "webhook.duplicate",
            f"{len(enabled)} enabled endpoints have our address ({', '.join(each['id'] for each in enabled)})",
            "disable all but the newest whose secret is stored, at https://dashboard.stripe.com/webhooks",
        )
    else:
        yield ok("webhook.endpoint", f"{enabled[0]['id']} is enabled")
    for endpoint in enabled:
        yield _events(endpoint, apply)
        yield _version(endpoint, apply)


def _events(endpoint: dict[str, Any], apply: str) -> Finding:
    has, wanted = set(endpoint["enabled_events"]), set(SUBSCRIBED)
    if "*" in has:
        return warn(
            "webhook.events",
            f"{endpoint['id']} gets every type of event; we act on {len(wanted)}",
            f"{apply}: the rest only costs invocations and rows",
        )
    if wanted - has:
        return fail("webhook.events", f"{endpoint['id']} lacks {', '.join(sorted(wanted - has))}", apply)
    if has - wanted:
        return warn("webhook.events", f"{endpoint['id']} also gets {', '.join(sorted(has - wanted))}", apply)
    return ok("webhook.events", f"exactly our {len(wanted)}")


def _version(endpoint: dict[str, Any], apply: str) -> Finding:
    version = endpoint["api_version"]
    if version == stripe.api_version:
        return ok("webhook.version", f"{version}, as the SDK")
    if version is None:
        return warn(
            "webhook.version",
            f"{endpoint['id']} follows the account's version, which somebody may change under us",
            f"{apply}: makes one that is pinned to {stripe.api_version}",
        )
    return fail(
        "webhook.version",
        f"{endpoint['id']} sends {version}, the SDK reads {stripe.api_version}: events are flagged and not applied",
        f"{apply}: a version cannot be changed, so a new endpoint is made and the old one disabled after it",
    )


def deployed_secret_is_ours(patient: Patient) -> Iterator[Finding]:
    """The deployed webhook takes our secrets: asked with signed bytes that are no event, so that nothing is stored."""
    secrets = [part.strip() for part in patient.get("STRIPE_WEBHOOK_SECRETS").split(",") if part.strip()]
    if not secrets or not patient.webhook_url:
        return
    for place, secret in enumerate(secrets, 1):
        body = "{}"
        timestamp = int(time.time())
        signature = stripe.WebhookSignature.generate_signature_header(body, secret, timestamp)
        try:
            answer = patient.http.post(patient.webhook_url, content=body, headers={"Stripe-Signature": signature})
        except httpx.HTTPError as error:
            yield fail(
                "webhook.answers",
                f"{patient.webhook_url} does not answer ({type(error).__name__})",
                "deploy the API, or correct AUTOBOOK_API_URL",
            )
            return
        detail = _detail(answer)
        if answer.status_code == 400 and detail == "not an event":
            yield ok("webhook.secret", f"the deployed webhook takes secret {place} of {len(secrets)}")
        elif answer.status_code == 400 and detail == "no secret fits":
            yield fail(
                "webhook.secret",
                f"the deployed webhook refuses secret {place} of {len(secrets)} of STRIPE_WEBHOOK_SECRETS",
                "store the endpoint's secret where the deployed webhook reads it, and wait for five minutes",
            )
        elif answer.status_code == 400 and detail.startswith("timestamp"):
            yield fail(
                "webhook.secret", "the deployed webhook finds our clock wrong", "set this machine's clock by NTP"
            )
        else:
            yield fail(
                "webhook.answers",
                f"{patient.webhook_url} answered {answer.status_code} to a signed request",
                "look at its /health and its log: the settings of the function webhook may not be fit to run with",
            )
            return


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json().get("detail", ""))
    except (ValueError, AttributeError):
        return ""


CHECKS = (endpoint_is_ours, deployed_secret_is_ours)
