"""`autobook webhook-endpoint`."""

from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from local.cli.common import (
    AsJson,
    EnvFile,
    Live,
    Status,
    allow_changes,
    enter,
    honest,
    print_json,
    say,
    stop,
)
from local.environment import Target

if TYPE_CHECKING:
    from functions.shared.stripe_sdk import stripe
    from local.webhook_endpoint import Plan

endpoints = typer.Typer(no_args_is_help=True, help="The webhook endpoint at Stripe.")


@endpoints.callback()
def _group() -> None:
    """The webhook endpoint at Stripe."""  # a callback, or Typer would take the only subcommand for the whole command


@endpoints.command()
def sync(
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="Where the webhook is; AUTOBOOK_API_URL/webhook unless said.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it, instead of only showing it.")] = False,
    switch: Annotated[
        bool, typer.Option("--switch", help="Turn to the endpoint of the SDK's version: its code is deployed.")
    ] = False,
    secret_to: Annotated[
        str | None,
        typer.Option(metavar="PLACE", help="Where a new secret goes: a new file (mode 0600), or aws-sm:NAME[#KEY]."),
    ] = None,
    live: Live = False,
    as_json: AsJson = False,
    env_file: EnvFile = None,
) -> None:
    """Create or update the endpoint, so that it sends exactly the events we act on, in the SDK's API version.

    Shows what it would do; --yes does it. A second run finds nothing to do. The version of an endpoint cannot be
    changed: for a new one an endpoint is made beside the old one, disabled, and --switch turns to it once its secret is
    stored and the code is deployed. Exit status 1: something is to be done.

    For example:

    - `autobook webhook-endpoint sync --url https://api.example.com/webhook`
    - `autobook webhook-endpoint sync --yes --secret-to aws-sm:autobook/prod#STRIPE_WEBHOOK_SECRETS --live`
    """
    target = enter(env_file, "STRIPE_SECRET_KEY")
    address = _address(url, target)
    if yes:
        allow_changes(target, live=live)
    with honest():
        from functions.shared.settings import StripeSettings, read
        from local import webhook_endpoint
        from local.doctor.patient import stripe_client

        with stripe_client(read(StripeSettings)) as client:
            try:
                plan = webhook_endpoint.plan(webhook_endpoint.endpoints_of(client), address, switch=switch)
            except webhook_endpoint.CannotSync as reason:
                stop(Status.FINDINGS, str(reason))
            stored = _apply(client, plan, secret_to) if yes and plan.steps else []
    if as_json:
        print_json(plan.document() | {"applied": yes, "secrets": stored})
    else:
        _show(plan, stored, applied=yes)
    if plan.steps and not yes:
        raise typer.Exit(Status.FINDINGS)


def _address(url: str | None, target: Target) -> str:
    api_url = target.values.get("AUTOBOOK_API_URL", "").rstrip("/")
    address = url or (f"{api_url}/webhook" if api_url else "")
    parts = urlsplit(address)
    if not parts.hostname or parts.scheme not in ("http", "https") or not parts.path.endswith("/webhook"):
        stop(Status.USAGE, "Say --url https://<your API>/webhook, or set AUTOBOOK_API_URL.")
    if parts.scheme == "http" and target.mode != "test":
        stop(Status.USAGE, "Stripe sends live events to https:// alone.")
    return address


def _apply(client: "stripe.StripeClient", plan: "Plan", secret_to: str | None) -> list[str]:
    """Do the steps; a secret that cannot be stored takes the endpoint that it belongs to with it."""
    from local import secret_places, webhook_endpoint

    makes_one = any(step.endpoint_id is None for step in plan.steps)
    if makes_one and not secret_to:
        stop(
            Status.USAGE, "A new endpoint has a new secret, which is not printed: say --secret-to FILE or aws-sm:NAME."
        )
    stored = []
    try:
        if makes_one and secret_to:
            secret_places.check(secret_to)
        for made in webhook_endpoint.apply(client, plan.steps):
            assert secret_to
            try:
                stored.append(secret_places.put(secret_to, made.secret))
            except secret_places.NoSuchPlace:
                client.v1.webhook_endpoints.delete(made.endpoint_id)
                raise
    except secret_places.NoSuchPlace as reason:
        stop(Status.UNKNOWN, f"The secret cannot be stored, so no endpoint was made: {reason}")
    return stored


def _show(plan: "Plan", stored: list[str], *, applied: bool) -> None:
    for step in plan.steps:
        typer.echo(f"{'Done' if applied else 'To do'}: {step.says}")
    if not plan.steps:
        typer.echo("Nothing to do." if not plan.remarks else "Nothing to do yet.")
    for place in stored:
        typer.echo(f"The new signing secret is {place}. It belongs first into STRIPE_WEBHOOK_SECRETS of the webhook.")
    for remark in plan.remarks:
        typer.echo(remark)
    if plan.steps and not applied:
        say("Nothing was changed: --yes does it.")
