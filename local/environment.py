"""Which environment a command by hand works on: a file's, the shell's, or the local stack that is running.

Never a mixture: what is chosen brings all of our variables, and those of ours that it lacks leave the process.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from dotenv import dotenv_values

from functions.shared import secrets

STACK_FILE = Path(__file__).resolve().parent.parent / ".local" / "stack.json"

_PREFIXES = ("STRIPE_", "SUPABASE_", "AUTOBOOK_", "NOTIFY_")
_NAMES = frozenset({"DATABASE_URL", "CHARGE_QUEUE_URL", "APP_URL", "SES_CONFIGURATION_SET", "STAGE"})
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
LIVE_STAGES = frozenset({"prod", "production", "live"})

Mode = Literal["live", "test", "unknown"]


class NoEnvironment(Exception):
    """There is nothing to work on; the message says what to give."""


@dataclass(frozen=True)
class Target:
    """An environment: where its variables come from, and the variables, references to secrets as they are."""

    name: str
    values: Mapping[str, str] = field(repr=False)

    @property
    def mode(self) -> Mode:
        """Whether real money and real people are at stake, as far as the variables tell.

        By Stripe's key; without one by STAGE; without that a database on this machine is a test's.
        """
        key = self.values.get("STRIPE_SECRET_KEY", "")
        if secrets.is_reference(key):
            try:
                key = secrets.resolved({"STRIPE_SECRET_KEY": key})["STRIPE_SECRET_KEY"]
            except secrets.SecretUnavailable:
                return "unknown"
        stage = self.values.get("STAGE", "").lower()
        if key.split("_")[1:2] == ["live"] or stage in LIVE_STAGES:
            return "live"
        if key or stage:
            return "test"
        address = self.values.get("DATABASE_URL") or self.values.get("SUPABASE_URL") or ""
        return "test" if urlsplit(address).hostname in _LOOPBACK else "unknown"

    def enter(self) -> None:
        """Make this process's variables those of the target, ours that it lacks taken out."""
        for name in [name for name in os.environ if is_ours(name)]:
            del os.environ[name]
        os.environ.update(self.values)
        os.environ.setdefault("LOG_LEVEL", "CRITICAL")
        os.environ.setdefault("AUTOBOOK_METRICS", "off")  # what is done by hand is no work of the functions


def is_ours(name: str) -> bool:
    """Whether a variable is one that Autobook reads."""
    return name.startswith(_PREFIXES) or name in _NAMES


def of_stack(stack: dict[str, Any]) -> dict[str, str]:
    """The variables of the stack that a stack.json describes."""
    return {
        "SUPABASE_URL": stack["supabase_url"],
        "SUPABASE_PUBLISHABLE_KEY": stack["publishable_key"],
        "SUPABASE_SECRET_KEY": stack["secret_key"],
        "SUPABASE_JWT_ISSUER": stack["jwt_issuer"],
        **stack["function_tokens"],
        "STRIPE_API_BASE": stack["stripe_url"],
        "STRIPE_SECRET_KEY": stack["stripe_secret_key"],
        "STRIPE_PUBLISHABLE_KEY": stack["stripe_publishable_key"],
        "STRIPE_WEBHOOK_SECRETS": ",".join(stack["webhook_secrets"]),
        "AUTOBOOK_SIGNING_SECRETS": ",".join(stack["signing_secrets"]),
        "AUTOBOOK_API_URL": stack["api_url"],
        "DATABASE_URL": stack["database_url"],
        "CHARGE_QUEUE_URL": stack["queue_url"],
        "STAGE": "local",
        "AWS_ENDPOINT_URL_SQS": stack["queue_endpoint"],
        "AWS_REGION": "eu-central-1",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
    }


def choose(
    env_file: Path | None = None, decided_by: Sequence[str] = ("SUPABASE_URL",), stack_file: Path = STACK_FILE
) -> Target:
    """The file's environment, else the shell's if it has one of the variables that decide, else the running stack's.

    Raises NoEnvironment.
    """
    if env_file is not None:
        if not env_file.is_file():
            raise NoEnvironment(f"{env_file} is not there.")
        stated = dotenv_values(env_file, interpolate=False)
        return Target(f"the file {env_file}", {name: value for name, value in stated.items() if value})
    if any(os.environ.get(name) for name in decided_by):
        return Target(
            "the shell's environment", {name: value for name, value in os.environ.items() if is_ours(name) and value}
        )
    if not stack_file.exists():
        raise NoEnvironment(
            f"Name an environment by --env-file or by {decided_by[0]} and the other variables; or start `make stack`."
        )
    return Target("the local stack", of_stack(json.loads(stack_file.read_text("utf-8"))))
