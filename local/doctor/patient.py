"""The environment that is examined, and the clients with which it is asked."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar
from urllib.parse import urlsplit

import httpx
import psycopg

from functions.shared import secrets
from functions.shared.settings import Settings, SettingsError, StripeSettings
from functions.shared.stripe_sdk import stripe
from local.environment import LIVE_STAGES

TIMEOUT_SECONDS = 10.0
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

_Group = TypeVar("_Group", bound=Settings)


@dataclass
class Patient:
    """One environment by its variables; a reference to a secret that cannot be had is in `unresolved`."""

    stated: Mapping[str, str] = field(repr=False)
    webhook_url: str | None = None
    """The address of the deployed webhook; without one it follows from AUTOBOOK_API_URL."""
    values: dict[str, str] = field(init=False, repr=False)
    unresolved: dict[str, str] = field(init=False, default_factory=dict)
    _open: ExitStack = field(init=False, repr=False, default_factory=ExitStack)

    def __post_init__(self) -> None:
        self.values = {}
        for name, value in self.stated.items():
            try:
                self.values |= secrets.resolved({name: value})
            except secrets.SecretUnavailable as reason:
                self.unresolved[name] = str(reason)
        self.webhook_url = self.webhook_url or (f"{self.api_url}/webhook" if self.api_url else None)

    def get(self, name: str) -> str:
        """A variable's value, empty without one."""
        return self.values.get(name, "")

    def group(self, group: type[_Group], **given: str) -> _Group:
        """A group of settings as a function would read it. Raises SettingsError."""
        return group.made_of(
            {name: self.values[name.upper()] for name in group.model_fields if name.upper() in self.values} | given
        )

    @property
    def stage(self) -> str:
        """dev, staging, prod, local; empty when nobody said."""
        return self.get("STAGE").lower()

    @property
    def is_production(self) -> bool:
        """Whether the stage is one for real money."""
        return self.stage in LIVE_STAGES

    @property
    def api_url(self) -> str:
        """The deployed API, without a slash at its end; empty when nobody said."""
        return self.get("AUTOBOOK_API_URL").rstrip("/")

    @property
    def supabase_url(self) -> str:
        """The project, without a slash at its end."""
        return self.get("SUPABASE_URL").rstrip("/")

    @cached_property
    def stripe(self) -> "stripe.StripeClient | None":
        """Stripe, None without a key to ask it with."""
        try:
            settings = self.group(StripeSettings, stripe_publishable_key="")
        except SettingsError:
            return None
        return self._open.enter_context(stripe_client(settings))

    @cached_property
    def http(self) -> httpx.Client:
        """For everything else over HTTP."""
        return self._open.enter_context(httpx.Client(timeout=TIMEOUT_SECONDS, follow_redirects=False))

    @cached_property
    def database(self) -> psycopg.Connection:
        """The database, to read only. Raises psycopg.Error."""
        connection = psycopg.connect(self.get("DATABASE_URL"), connect_timeout=int(TIMEOUT_SECONDS), autocommit=True)
        connection.execute("set default_transaction_read_only = on")
        connection.execute("set statement_timeout = '10s'")
        self._open.callback(connection.close)
        return connection

    def close(self) -> None:
        """Let go of every connection."""
        self._open.close()


@contextmanager
def stripe_client(settings: StripeSettings) -> "Iterator[stripe.StripeClient]":
    """The SDK for commands by hand: patient, and willing to ask twice."""
    http = stripe.HTTPXClient(timeout=TIMEOUT_SECONDS, allow_sync_methods=True)
    try:
        yield stripe.StripeClient(
            settings.stripe_secret_key.get_secret_value(),
            base_addresses={"api": settings.stripe_api_base},
            http_client=http,
            max_network_retries=1,
        )
    finally:
        http.close()  # type: ignore[no-untyped-call]  # the SDK's


def is_loopback(url: str) -> bool:
    """Whether an address is this machine's."""
    return urlsplit(url).hostname in _LOOPBACK
