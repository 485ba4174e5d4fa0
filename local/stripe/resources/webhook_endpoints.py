"""Webhook endpoints (https://docs.stripe.com/api/webhook_endpoints); the secret is shown once, on creation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stripe import params as sdk

from local.stripe.errors import StripeFault, invalid_param
from local.stripe.fields import merged_metadata, refuse_unsupported
from local.stripe.routing import Route, route

if TYPE_CHECKING:
    from local.stripe.kinds import Json
    from local.stripe.world import Call, StripeWorld

# "You can register up to 16 event destinations" (https://docs.stripe.com/webhooks).
MOST = 16


def create(world: StripeWorld, call: Call) -> Json:
    """``POST /v1/webhook_endpoints``."""
    given = call.params
    refuse_unsupported(given, {"url", "enabled_events", "api_version", "description", "metadata"})
    url = _checked(given["url"])
    if len(world.webhook_endpoints) >= MOST:
        raise StripeFault(f"You have reached the maximum of {MOST} test webhook endpoints.")
    row = world.new_endpoint(url, given["enabled_events"], given.get("api_version"))
    row["description"] = given.get("description") or None
    row["metadata"] = merged_metadata({}, given.get("metadata"))
    endpoint = world.webhook_endpoints.add(row)
    secret = f"whsec_{world.ids.secret(32)}"
    world.webhooks.add_endpoint(endpoint, [secret])
    return {**endpoint, "secret": secret}


def _checked(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise invalid_param("Invalid URL: an explicit scheme (such as https) must be provided.", "url", "url_invalid")
    return url


def update(world: StripeWorld, call: Call) -> Json:
    """``POST /v1/webhook_endpoints/{}``."""
    endpoint = world.webhook_endpoints.at_path(call.id)
    given = call.params
    refuse_unsupported(given, {"url", "enabled_events", "disabled", "description", "metadata"})
    if "url" in given:
        endpoint["url"] = _checked(given["url"])
    endpoint["enabled_events"] = given.get("enabled_events", endpoint["enabled_events"])
    if "description" in given:
        endpoint["description"] = given["description"] or None
    if "disabled" in given:
        endpoint["status"] = "disabled" if given["disabled"] else "enabled"
    endpoint["metadata"] = merged_metadata(endpoint["metadata"], given.get("metadata"))
    return endpoint


def retrieve(world: StripeWorld, call: Call) -> Json:
    """``GET /v1/webhook_endpoints/{}``."""
    return world.webhook_endpoints.at_path(call.id)


def list_all(world: StripeWorld, call: Call) -> Json:
    """``GET /v1/webhook_endpoints``."""
    refuse_unsupported(call.params, {"limit", "starting_after", "ending_before"})
    return world.webhook_endpoints.page(call.params, "/v1/webhook_endpoints")


def delete(world: StripeWorld, call: Call) -> Json:
    """``DELETE /v1/webhook_endpoints/{}``."""
    world.webhook_endpoints.at_path(call.id)
    world.webhook_endpoints.delete(call.id)
    world.webhooks.remove_endpoint(call.id)
    return {"id": call.id, "object": "webhook_endpoint", "deleted": True}


ROUTES: list[Route] = [
    route("POST", "/v1/webhook_endpoints", sdk.WebhookEndpointCreateParams, create),
    route("GET", "/v1/webhook_endpoints", sdk.WebhookEndpointListParams, list_all),
    route("GET", "/v1/webhook_endpoints/{}", sdk.WebhookEndpointRetrieveParams, retrieve),
    route("POST", "/v1/webhook_endpoints/{}", sdk.WebhookEndpointUpdateParams, update),
    route("DELETE", "/v1/webhook_endpoints/{}", sdk.WebhookEndpointDeleteParams, delete),
]
