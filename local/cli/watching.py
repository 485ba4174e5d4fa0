"""`autobook status`: how an environment is."""

import json
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import typer

from local.cli.common import AsJson, EnvFile, Status, console, enter, honest, print_json, stop
from local.environment import STACK_FILE


def status(
    window: Annotated[int, typer.Option(min=60, max=7 * 86400, help="How far back to look: seconds.")] = 3600,
    cloudwatch: Annotated[bool, typer.Option("--cloudwatch", help="Ask CloudWatch, too; needs STAGE and AWS.")] = False,
    as_json: AsJson = False,
    env_file: EnvFile = None,
) -> None:
    """Show the numbers that matter against their limits: payments, latencies, what is late, what is broken.

    Needs SUPABASE_URL, SUPABASE_PUBLISHABLE_KEY and SUPABASE_SECRET_KEY; with CHARGE_QUEUE_URL it counts dead letters.
    How creating campaigns goes only CloudWatch knows, or the logs of a local stack.

    Exit status 1: a number is outside of its limit; docs/runbooks/ says what to do. 3: a number could not be had.

    For example:

    - `autobook status`
    - `autobook status --window 86400 --json`
    - `autobook status --env-file prod.env --cloudwatch`
    """
    target = enter(env_file)
    stage = target.values.get("STAGE")
    if cloudwatch and not stage:
        stop(Status.USAGE, "CloudWatch tells stages apart: name STAGE.")
    with honest():
        from functions.shared.database import as_operator
        from local import status as watching

        logs = _logs(target.name)
        found = watching.status(
            as_operator(uuid4().hex),
            window,
            queue_url=target.values.get("CHARGE_QUEUE_URL"),
            told=watching.printed(logs, window) if logs else None,
            cloudwatch_stage=stage if cloudwatch else None,
        )
    if as_json:
        print_json(found.as_json())
    else:
        watching.render(found, console())
    if found.verdict is watching.Verdict.OUTSIDE:
        raise typer.Exit(Status.FINDINGS)
    if found.verdict is watching.Verdict.UNKNOWN:
        raise typer.Exit(Status.UNKNOWN)


def _logs(target: str) -> Path | None:
    """Where the local stack's functions print, if that is what is looked at."""
    if target != "the local stack" or not STACK_FILE.exists():
        return None
    return Path(json.loads(STACK_FILE.read_text("utf-8"))["logs"])
