"""What a local stack is made with: fresh keys in the shapes of real ones, and the environment that functions read."""

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from local.function_tokens import from_environment
from local.lambda_runtime import REGION

_ALPHANUMERIC = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

Ports = dict[str, int]
"""Ports that were asked for, by the part that listens: api, supabase, stripe, queue, postgres."""


def _random(prefix: str, length: int) -> str:
    return prefix + "".join(secrets.choice(_ALPHANUMERIC) for _ in range(length))


@dataclass(frozen=True)
class Keys:
    """The keys of one stack. Made at random each time, so none of them is a secret that could be published."""

    supabase_publishable: str = field(repr=False, default_factory=lambda: _random("sb_publishable_", 32))
    supabase_secret: str = field(repr=False, default_factory=lambda: _random("sb_secret_", 32))
    supabase_jwt_secret: str = field(repr=False, default_factory=lambda: _random("", 64))
    stripe_secret: str = field(repr=False, default_factory=lambda: _random("sk_test_51", 97))
    stripe_publishable: str = field(repr=False, default_factory=lambda: _random("pk_test_51", 97))
    webhook_secrets: tuple[str, ...] = field(
        repr=False, default_factory=lambda: (_random("whsec_", 32), _random("whsec_", 32))
    )
    """Newest first: the stand-in signs with the first, functions accept both, as during a rotation."""
    signing_secrets: tuple[str, ...] = field(
        repr=False, default_factory=lambda: (_random("absec_", 32), _random("absec_", 32))
    )


@dataclass(frozen=True)
class HostedSupabase:
    """A real Supabase project that stands in for the stand-in."""

    url: str
    publishable_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    issuer: str
    database_url: str = field(repr=False)
    function_tokens: Mapping[str, str] = field(repr=False)

    @classmethod
    def from_environment(cls) -> Self | None:
        """The project that SUPABASE_URL names, None without it. Raises ValueError naming what else is missing."""
        url = os.environ.get("SUPABASE_URL", "").rstrip("/")
        if not url:
            return None
        needed = ("SUPABASE_PUBLISHABLE_KEY", "SUPABASE_SECRET_KEY", "DATABASE_URL")
        missing = [name for name in needed if not os.environ.get(name)]
        function_tokens = from_environment(url)
        if function_tokens is None:
            missing.append("SUPABASE_JWT_SECRET or SUPABASE_SIGNING_KEY (see `make function-tokens`)")
        if missing or function_tokens is None:
            raise ValueError(f"SUPABASE_URL is set, so {', '.join(missing)} must be too")
        return cls(
            url=url,
            publishable_key=os.environ["SUPABASE_PUBLISHABLE_KEY"],
            secret_key=os.environ["SUPABASE_SECRET_KEY"],
            issuer=os.environ.get("SUPABASE_JWT_ISSUER") or f"{url}/auth/v1",
            database_url=os.environ["DATABASE_URL"],
            function_tokens=function_tokens,
        )


def ports_from_environment() -> Ports:
    """The ports that AUTOBOOK_API_PORT and its like ask for. Raises ValueError for what is no port."""
    ports: Ports = {}
    for part in ("api", "supabase", "stripe", "queue", "postgres"):
        name = f"AUTOBOOK_{part.upper()}_PORT"
        value = os.environ.get(name)
        if value:
            if not value.isdecimal() or not 0 < int(value) < 65536:
                raise ValueError(f"{name} is {value!r}, which is no port")
            ports[part] = int(value)
    return ports


def base_environment() -> dict[str, str]:
    """Our own environment without what could lead a process of the stack out of it: accounts, keys, proxies."""
    ours = ("AWS_", "STRIPE_", "SUPABASE_", "AUTOBOOK_", "DATABASE_URL", "CHARGE_QUEUE_URL", "PG")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    exempt = [entry for entry in (kept.get("NO_PROXY"), "127.0.0.1", "localhost") if entry]
    return kept | {"NO_PROXY": ",".join(exempt), "no_proxy": ",".join(exempt), "PYTHONUNBUFFERED": "1"}


def function_environment(
    keys: Keys, *, supabase: HostedSupabase, stripe_url: str, queue_endpoint: str, queue_url: str
) -> dict[str, str]:
    """The variables that a deployed function has, with this stack's values."""
    environment: Mapping[str, str] = {
        "SUPABASE_URL": supabase.url,
        "SUPABASE_PUBLISHABLE_KEY": supabase.publishable_key,
        **supabase.function_tokens,
        "SUPABASE_JWT_ISSUER": supabase.issuer,
        "STRIPE_SECRET_KEY": keys.stripe_secret,
        "STRIPE_PUBLISHABLE_KEY": keys.stripe_publishable,
        "STRIPE_API_BASE": stripe_url,
        "STRIPE_WEBHOOK_SECRETS": ",".join(keys.webhook_secrets),
        "AUTOBOOK_SIGNING_SECRETS": ",".join(keys.signing_secrets),
        "CHARGE_QUEUE_URL": queue_url,
        "NOTIFY_FROM_ADDRESS": "Autobook <bookings@example.com>",
        "APP_URL": "https://app.example.com",
        "AWS_ENDPOINT_URL_SQS": queue_endpoint,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "LOG_LEVEL": os.environ.get("LOG_LEVEL", "INFO"),
    }
    return dict(environment)
