"""What the subcommands share: options, exit statuses, the way out."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from local.environment import NoEnvironment, Target, choose


class Status(IntEnum):
    """Exit statuses, the same for every subcommand."""

    OK = 0
    FINDINGS = 1
    USAGE = 2
    UNKNOWN = 3


EnvFile = Annotated[
    Path | None,
    typer.Option("--env-file", metavar="FILE", help="Work on the environment whose variables this file states, alone."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
Live = Annotated[bool, typer.Option("--live", help="Allow changes where real money is at stake.")]


def console() -> Console:
    """Where people read: standard output."""
    return Console(highlight=False, soft_wrap=False)


def say(text: str) -> None:
    """A remark that is no result: on standard error, so that pipes carry results only."""
    sys.stderr.write(f"{text}\n")


def print_json(document: Any) -> None:
    """A result for machines."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, default=str) + "\n")


def stop(status: Status, text: str) -> NoReturn:
    """End with a sentence on standard error."""
    say(text)
    raise typer.Exit(status)


def enter(env_file: Path | None, *decided_by: str) -> Target:
    """Choose the environment, say which it is, and make its variables this process's."""
    try:
        target = choose(env_file, decided_by or ("SUPABASE_URL",))
    except NoEnvironment as reason:
        stop(Status.USAGE, str(reason))
    target.enter()
    say(f"On {target.name} ({target.mode} mode).")
    return target


def allow_changes(target: Target, *, live: bool, unknown_is_live: bool = True) -> None:
    """Let a command change a live environment only when it was told so."""
    if not live and (target.mode == "live" or (target.mode == "unknown" and unknown_is_live)):
        stop(
            Status.USAGE,
            "This would change a live environment: say --live if that is what you want."
            if target.mode == "live"
            else "Neither STRIPE_SECRET_KEY nor STAGE says whether this is live: name STAGE, or say --live.",
        )
    if target.mode == "test" and live:
        stop(Status.USAGE, "--live was said, but this environment is in test mode: is it the one you meant?")


def database_url(target: Target) -> str:
    """The environment's database, for what needs a login of its own; ends with a sentence where it names none."""
    url = target.values.get("DATABASE_URL")
    if not url:
        stop(Status.USAGE, "DATABASE_URL is not set: the direct connection, postgresql://…:5432/postgres.")
    return url


@contextmanager
def honest() -> Iterator[None]:
    """Turn what keeps a command from knowing into a sentence and its exit status: no traceback, no secret."""
    import httpx
    import psycopg
    from botocore.exceptions import BotoCoreError, ClientError

    from functions.shared.problems import Problem
    from functions.shared.settings import SettingsError
    from functions.shared.stripe_sdk import stripe
    from local.migrate import MigrationError

    try:
        yield
    except SettingsError as error:
        stop(Status.USAGE, f"{error}")
    except Problem as problem:
        refused = problem.kind.status < 500  # by a rule of ours; above, somebody did not answer
        stop(Status.FINDINGS if refused else Status.UNKNOWN, f"{problem.code}: {problem.detail}")
    except MigrationError as error:
        stop(Status.FINDINGS, f"Not migrated: {error}")
    except psycopg.Error as error:
        stop(Status.UNKNOWN, f"The database: {str(error).strip() or type(error).__name__}")
    except stripe.StripeError as error:
        # Without its message, which may quote what was sent; the request's id finds it in Stripe's dashboard.
        named = (error.code, getattr(error, "param", None), error.request_id)
        stop(Status.UNKNOWN, " ".join(["Stripe:", type(error).__name__, *(str(fact) for fact in named if fact)]))
    except (httpx.HTTPError, BotoCoreError, ClientError) as error:
        stop(Status.UNKNOWN, f"{type(error).__name__}")
