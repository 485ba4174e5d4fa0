"""The whole service on the emulator: serverless.yml deployed by osls, over the local stack's database and Stripe.

Its life is a real one's: deploy, make a webhook endpoint at Stripe for the API that came out, put its secret where the
functions look for it. What remains of the local stack is Postgres and the two stand-ins.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import stripe

from local.deploy import secrets, service
from local.deploy.emulator import Emulator
from local.deploy.package import build
from local.deploy.packages import host
from local.stack import LocalStack, StackOptions

STAGE = "local"


@dataclass
class EmulatedService:
    """A deployed service: `stack` as its callers see it, with the deployed API's address."""

    stack: LocalStack
    aws: Emulator
    deployed: service.Deployed
    seconds: dict[str, float] = field(default_factory=dict)
    """How long each step took."""


def settings(stack: LocalStack) -> dict[str, str]:
    """What `make deploy` reads from the environment, with the values of a local stack."""
    return {
        "SUPABASE_URL": stack.supabase.url,
        "SUPABASE_PUBLISHABLE_KEY": stack.supabase.publishable_key,
        "SUPABASE_JWT_ISSUER": stack.supabase.issuer,
        "STRIPE_PUBLISHABLE_KEY": stack.keys.stripe_publishable,
        "STRIPE_API_BASE": stack.stripe_url,
        "APP_URL": "https://app.example.com",
        "NOTIFY_FROM_ADDRESS": "Autobook <bookings@example.com>",
        "SES_IDENTITY": "example.com",
    }


@contextmanager
def emulated(options: StackOptions | None = None) -> Iterator[EmulatedService]:
    """Deploy everything and wait until all of it answers. Raises what the steps raise."""
    seconds: dict[str, float] = {}

    @contextmanager
    def timed(step: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        seconds[step] = time.monotonic() - started

    service.get_ready()
    with timed("package"):
        build(host())
    with Emulator.start() as aws, LocalStack.start(options) as stack:
        for part in ("local.queue", "local.gateway"):  # what is deployed takes their place
            stack.children.pop(part).stop()
        environment = settings(stack)
        held = stack.environment | {"STRIPE_WEBHOOK_SECRETS": "whsec_to_be_made"}
        vault = aws.client("secretsmanager")
        secrets.put(vault, STAGE, secrets.from_environment(held))
        aws.client("sesv2").create_email_identity(EmailIdentity="example.com")
        aws.client("sesv2").create_configuration_set(ConfigurationSetName="autobook")
        with timed("deploy"):
            service.osls("deploy", "--stage", STAGE, environment=environment | aws.environment())
        deployed = service.outputs(aws.client("cloudformation"), STAGE)
        with timed("become active"):
            service.wait_until_active(aws.client("lambda"), STAGE)
        stack.api_url = aws.api_url(deployed.api_id)
        held["STRIPE_WEBHOOK_SECRETS"] = _webhook_endpoint(stack)
        secrets.put(vault, STAGE, secrets.from_environment(held))
        stack.environment = stack.environment | {"CHARGE_QUEUE_URL": deployed.queue_url}
        yield EmulatedService(stack, aws, deployed, seconds)


def _webhook_endpoint(stack: LocalStack) -> str:
    """Send Stripe's events to the deployed API instead of the gateway; gives the new endpoint's signing secret."""
    client = stripe.StripeClient(stack.keys.stripe_secret, base_addresses={"api": stack.stripe_url})
    before = client.v1.webhook_endpoints.list().data
    made: Any = client.v1.webhook_endpoints.create(
        {"url": f"{stack.api_url}/webhook", "enabled_events": ["*"], "api_version": stripe.api_version}  # type: ignore[typeddict-item]  # the pinned version
    )
    for endpoint in before:
        client.v1.webhook_endpoints.delete(endpoint.id)
    return str(made.secret)
