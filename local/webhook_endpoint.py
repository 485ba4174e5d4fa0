"""The webhook endpoint at Stripe, brought to what the deployed webhook expects (`autobook webhook-endpoint sync`).

An endpoint's events, address and status can be changed, its API version cannot. A new version therefore takes a new
endpoint, made beside the old one and disabled at once (https://docs.stripe.com/webhooks/versioning): its secret is
stored and the code of that version deployed first, then `switch` turns the new one on and the old one off. For a moment
both send: an event of the old version is flagged and not applied, and the new endpoint's delivery of it is.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from functions.shared.stripe_events.table import SUBSCRIBED
from functions.shared.stripe_sdk import stripe

Kind = Literal["create", "create_beside", "update", "enable", "disable"]
Endpoint = dict[str, Any]

DESCRIPTION = "Autobook, made by `autobook webhook-endpoint sync`"
MOST_ENDPOINTS = 16
"""Of an account (https://docs.stripe.com/webhooks)."""


@dataclass(frozen=True)
class Step:
    """One change at Stripe; `params` are the request's, `endpoint_id` is None where one is made."""

    kind: Kind
    endpoint_id: str | None
    says: str
    params: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What is to be done, in order, and what a person has to do beside it."""

    steps: tuple[Step, ...]
    remarks: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """The plan for machines."""
        steps = [{"kind": step.kind, "endpoint": step.endpoint_id, "says": step.says} for step in self.steps]
        return {"steps": steps, "remarks": list(self.remarks)}


class CannotSync(Exception):
    """The account's endpoints leave no safe way; the message says what a person has to decide."""


def endpoints_of(client: "stripe.StripeClient") -> list[Endpoint]:
    """All endpoints of the account, newest first, as plain dicts. Raises stripe.StripeError."""
    return [each.to_dict() for each in client.v1.webhook_endpoints.list({"limit": 100}).auto_paging_iter()]


def plan(endpoints: list[Endpoint], url: str, *, switch: bool = False) -> Plan:
    """What brings the account's endpoints to one of this address, our events and the SDK's version.

    Raises CannotSync. An endpoint of another address is nobody's here and left alone.
    """
    ours = [each for each in endpoints if each["url"] == url]
    fitting = [each for each in ours if each["api_version"] == stripe.api_version]
    others = [each for each in ours if each["api_version"] != stripe.api_version and each["status"] == "enabled"]
    if len(fitting) > 1:
        raise CannotSync(
            f"{', '.join(each['id'] for each in fitting)} have this address and version: delete all but the one whose "
            "secret is stored, at https://dashboard.stripe.com/webhooks"
        )
    if not fitting and len(endpoints) >= MOST_ENDPOINTS:
        raise CannotSync(f"the account has {len(endpoints)} endpoints already, the most that Stripe allows: delete one")
    if not fitting:
        return _made(url, others)
    return _kept(fitting[0], others, switch=switch)


def _made(url: str, others: list[Endpoint]) -> Plan:
    params = {
        "url": url,
        "enabled_events": sorted(SUBSCRIBED),
        "api_version": stripe.api_version,
        "description": DESCRIPTION,
    }
    says = f"make an endpoint at {url}: {len(SUBSCRIBED)} events, version {stripe.api_version}"
    if not others:
        return Plan((Step("create", None, says, params),))
    named = ", ".join(f"{each['id']} ({_version(each)})" for each in others)
    return Plan(
        (Step("create_beside", None, f"{says}; disabled for now, as {named} is in use", params),),
        ("Store the new secret before the old one, deploy, then run this again with --switch.",),
    )


def _kept(endpoint: Endpoint, others: list[Endpoint], *, switch: bool) -> Plan:
    steps, remarks = [], []
    lacking, too_many = _differences(endpoint)
    if lacking or too_many:
        changes = [*(f"+ {name}" for name in lacking), *(f"- {name}" for name in too_many)]
        steps.append(
            Step(
                "update",
                endpoint["id"],
                f"change the events of {endpoint['id']}:\n  " + "\n  ".join(changes),
                {"enabled_events": sorted(SUBSCRIBED)},
            )
        )
    if others and not switch:
        remarks.append(
            f"{', '.join(each['id'] for each in others)} of another version is still in use: when the new secret is "
            "stored and the code deployed, run this again with --switch."
        )
    else:
        if endpoint["status"] != "enabled":
            steps.append(Step("enable", endpoint["id"], f"enable {endpoint['id']}", {"disabled": False}))
        steps += [
            Step("disable", each["id"], f"disable {each['id']} ({_version(each)})", {"disabled": True})
            for each in others
        ]
    return Plan(tuple(steps), tuple(remarks))


def _version(endpoint: Endpoint) -> str:
    return f"version {endpoint['api_version']}" if endpoint["api_version"] else "the account's version"


def _differences(endpoint: Endpoint) -> tuple[list[str], list[str]]:
    has, wanted = set(endpoint["enabled_events"]), set(SUBSCRIBED)
    return sorted(wanted - has), sorted(has - wanted)


@dataclass(frozen=True)
class Made:
    """An endpoint that was made; its secret is shown by Stripe this once."""

    endpoint_id: str
    secret: str = field(repr=False)


def apply(client: "stripe.StripeClient", steps: tuple[Step, ...]) -> list[Made]:
    """Do the steps; give the endpoints that were made. Raises stripe.StripeError."""
    made = []
    for step in steps:
        if step.endpoint_id is None:
            created = client.v1.webhook_endpoints.create(step.params)  # type: ignore[arg-type]  # a TypedDict built in steps
            assert created.secret, "Stripe shows the secret when an endpoint is made"
            made.append(Made(created.id, created.secret))
            if step.kind == "create_beside":
                client.v1.webhook_endpoints.update(created.id, {"disabled": True})
        else:
            client.v1.webhook_endpoints.update(step.endpoint_id, step.params)  # type: ignore[arg-type]  # as above
    return made
