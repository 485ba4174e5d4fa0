"""Everything on a laptop: `python -m local.stack`, and the class that the demo and the tests start it with.

    with LocalStack.start() as stack:
        httpx.get(f"{stack.api_url}/health")

Postgres with bootstrap and migrations, the Supabase and Stripe stand-ins, the queue and the gateway, each a process of
its own on a port of 127.0.0.1. They start at the same time: what one must know of another (the gateway's address, the
queue's) is bound first or told later. With SUPABASE_URL set, that project takes the place of Postgres and stand-in.
"""

import fcntl
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psycopg

from local import function_tokens, gateway
from local.child import Child, ChildFailedError
from local.migrate import MigrationError, migrate
from local.postgres import Postgres, open_postgres
from local.postgres_binaries import PostgresUnavailableError
from local.stack_settings import (
    HostedSupabase,
    Keys,
    Ports,
    base_environment,
    function_environment,
    ports_from_environment,
)
from local.supabase.bootstrap import apply_bootstrap
from local.supabase.tokens import SigningKey, TokenSigner
from local.users import HostedUsers, StandInUsers, User, Users

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Self

ROOT = Path(__file__).resolve().parent.parent
_SCRATCH = ROOT / ".local" / "stacks"
_CONSUMER = "functions.charge_booking.handler:queue_handler"
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_EXPECTED_FAILURES = (
    ChildFailedError,
    PostgresUnavailableError,
    MigrationError,
    psycopg.Error,
    OSError,
    ValueError,
)
_NAMES = ("ada", "ben", "chiara")
RECONCILE_EVERY_SECONDS = 30.0
"""Five minutes when deployed."""
NOTIFY_EVERY_SECONDS = 5.0
"""A minute when deployed."""
_STOP_ORDER = ("local.queue", "local.stripe", "local.gateway", "local.supabase")
"""Those who send first, so that nobody talks to a wall; the database goes last."""


def prepare_database(database_url: str) -> None:
    """What a local database differs in from a real one, after its migrations."""
    with psycopg.connect(database_url) as connection:
        # One person trying things out, or a load test, books faster than a traveller ever would.
        connection.execute(
            "update internal.settings set velocity_bookings_per_hour = 100000, velocity_cards_per_day = 1000"
        )


@dataclass(frozen=True)
class StackOptions:
    """How a stack is started."""

    ports: "Ports | None" = None
    durable: bool = False
    """Whether Postgres forces its writes to disk, as it does in earnest."""
    control: bool = True
    """Whether the stand-ins take orders under `/_control`: faults, time, cards."""
    queue_concurrency: int = 2
    queue_visibility_timeout_seconds: int = 10
    reconcile_every_seconds: float | None = None
    """How often the reconcile function is called; None: never, as tests want to see what is there without it."""
    notify_every_seconds: float | None = None
    """How often the notify function is called; None: never. What it sends is in `LocalStack.mail`."""
    legacy_hs256: bool = False
    """Whether functions take tokens signed with the project's shared secret, `keys.supabase_jwt_secret`, too."""
    environment: "Mapping[str, str] | None" = None
    """More variables for the functions, or other values for them."""
    state: Path | None = None
    """Where logs and the signing key go; a directory that goes with the stack unless given."""


class LocalStack:
    """A running stack. Use `start`, and leave through `with` or `stop`."""

    def __init__(self, options: StackOptions) -> None:
        self._options = options
        self._ports = dict(options.ports or {})
        self._cleanup = ExitStack()
        self.keys = Keys()
        self.children: dict[str, Child] = {}
        self.postgres: Postgres | None = None
        self.database_url = ""
        self.api_url = self.stripe_url = self.queue_url = self.queue_endpoint = ""
        self.environment: dict[str, str] = {}
        """What the functions run with."""
        self.supabase: HostedSupabase
        self.users: Users
        if options.state is None:
            _SCRATCH.mkdir(parents=True, exist_ok=True)
            self.state = Path(self._cleanup.enter_context(tempfile.TemporaryDirectory(dir=_SCRATCH)))
        else:
            self.state = options.state
            self.state.mkdir(parents=True, exist_ok=True)

    @classmethod
    def start(cls, options: StackOptions | None = None, *, database_url: str | None = None) -> "Self":
        """Start everything and wait until all of it answers.

        With `database_url` it runs over that database, which has been bootstrapped and migrated, and which the URL's
        account owns. Raises ChildFailedError, PostgresUnavailableError, MigrationError, psycopg.Error, OSError for a
        port that is taken, ValueError for an environment that contradicts itself.
        """
        stack = cls(options or StackOptions())
        try:
            stack._start(database_url)
        except BaseException:
            stack.stop()
            raise
        return stack

    def __enter__(self) -> "Self":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: "TracebackType | None"
    ) -> None:
        self.stop()

    @cached_property
    def demo_users(self) -> list[User]:
        """The people that every stack has, made on first use."""
        return [self.users.create(f"{name}-{self._suffix}@example.com") for name in _NAMES]

    @property
    def _suffix(self) -> str:
        return self.keys.stripe_publishable[-6:].lower()

    def contract(self) -> dict[str, Any]:
        """What `.local/stack.json` says; the keys are a promise to whoever drives the stack from outside."""
        return {
            "api_url": self.api_url,
            "supabase_url": self.supabase.url,
            "publishable_key": self.supabase.publishable_key,
            "secret_key": self.supabase.secret_key,
            "jwt_issuer": self.supabase.issuer,
            "stripe_url": self.stripe_url,
            "stripe_secret_key": self.keys.stripe_secret,
            "stripe_publishable_key": self.keys.stripe_publishable,
            "webhook_secrets": list(self.keys.webhook_secrets),
            "signing_secrets": list(self.keys.signing_secrets),
            "database_url": self.database_url,
            "users": [user.as_json() for user in self.demo_users],
            "function_tokens": dict(self.supabase.function_tokens),
            "queue_url": self.queue_url,
            "queue_endpoint": self.queue_endpoint,
            "logs": str(self.state / "log"),
            "mail": str(self.mail),
        }

    def restart(self, name: str) -> None:
        """Start the gateway or the queue again, by its module's name, where it was, after it was killed.

        The queue comes back empty: its messages were in the memory of the process.
        """
        self.children.pop(name).stop()
        if name == "local.gateway":
            with gateway.listen(self._ports["api"]) as listener:
                self._launch_gateway(listener.fileno())
                self.children[name].tell(self.environment)
                self.children[name].announced()
        else:
            self._launch_queue()
            self.children[name].tell(self.environment)
            self.children[name].announced()

    def stop(self) -> None:
        """End everything, senders first. Calling it again does nothing."""
        ended = [self.children.pop(name) for name in _STOP_ORDER if name in self.children]
        for child in ended:
            child.end()
        for child in ended:
            child.stop()
        self._cleanup.close()

    def log(self, part: str) -> Path:
        """The log file of a part, e.g. `gateway`: what functions print is there."""
        return self.state / "log" / f"{part}.log"

    @property
    def mail(self) -> Path:
        """The folder of messages that notify has sent, if it is called at all."""
        return self.state / "mail"

    def _start(self, database_url: str | None) -> None:
        hosted = None if database_url else HostedSupabase.from_environment()
        listener = self._cleanup.enter_context(gateway.listen(self._ports.get("api", 0)))
        self._ports["api"] = listener.getsockname()[1]
        self.api_url = f"http://127.0.0.1:{self._ports['api']}"
        self._launch_gateway(listener.fileno())
        self._launch_queue()
        self._launch_stripe()
        if hosted is None:
            self.supabase = self._launch_supabase(database_url or self._make_database())
        else:
            self.supabase, self.users = hosted, HostedUsers(hosted)
            self.database_url = hosted.database_url
            migrate(self.database_url)
        self.stripe_url = self.children["local.stripe"].announced()["url"]
        queue = self.children["local.queue"].announced()
        self.queue_url, self.queue_endpoint = queue["queue_url"], queue["url"]
        self._ports["queue"] = urlsplit(self.queue_endpoint).port or 0
        self.environment = function_environment(
            self.keys,
            supabase=self.supabase,
            stripe_url=self.stripe_url,
            queue_endpoint=self.queue_endpoint,
            queue_url=self.queue_url,
        )
        if self._options.legacy_hs256:
            self.environment["SUPABASE_JWT_SECRET"] = self.keys.supabase_jwt_secret
        self.environment |= self._options.environment or {}
        for name in ("local.gateway", "local.queue"):
            self.children[name].tell(self.environment)
        self.children["local.gateway"].announced()
        listener.close()  # the gateway has its own copy; ours would keep accepting for it after its death

    def _launch(self, module: str, *arguments: str, pass_fds: tuple[int, ...] = ()) -> Child:
        port = self._ports.get(module.removeprefix("local."), 0)
        listens = () if pass_fds else ("--port", str(port))
        child = Child(
            module,
            [*listens, "--parent-watch", *arguments],
            log=self.log(module.removeprefix("local.")),
            environment=base_environment(),
            pass_fds=pass_fds,
        )
        self.children[module] = child
        return child

    def _launch_gateway(self, listener: int) -> None:
        self._launch("local.gateway", "--fd", str(listener), "--settings-from-stdin", pass_fds=(listener,))

    def _launch_queue(self) -> None:
        self._launch(
            "local.queue",
            *("--consumer", _CONSUMER, "--settings-from-stdin"),
            *("--concurrency", str(self._options.queue_concurrency)),
            *(("--reconcile-every", str(every)) if (every := self._options.reconcile_every_seconds) else ()),
            *(("--notify-every", str(every)) if (every := self._options.notify_every_seconds) else ()),
            *("--mail", str(self.mail)),
            *("--visibility-timeout", str(self._options.queue_visibility_timeout_seconds)),
        )

    def _launch_stripe(self) -> None:
        control = ("--control",) if self._options.control else ()
        self._launch(
            "local.stripe",
            *("--secret-key", self.keys.stripe_secret, "--publishable-key", self.keys.stripe_publishable),
            *("--webhook-url", f"{self.api_url}/webhook", "--webhook-secret", self.keys.webhook_secrets[0]),
            *control,
        )

    def _make_database(self) -> str:
        self.postgres = self._cleanup.enter_context(
            open_postgres(durable=self._options.durable, port=self._ports.get("postgres"))
        )
        url = self.postgres.url()
        apply_bootstrap(url)
        migrate(url)
        prepare_database(url)
        return url

    def _launch_supabase(self, database_url: str) -> HostedSupabase:
        self.database_url = database_url
        key_file = self.state / "signing-key.json"
        signing_key = SigningKey.load_or_create(key_file)
        child = self._launch(
            "local.supabase",
            *("--database-url", database_url, "--jwt-secret", self.keys.supabase_jwt_secret),
            *("--publishable-key", self.keys.supabase_publishable, "--secret-key", self.keys.supabase_secret),
            *("--signing-key", str(key_file)),
            *(("--control",) if self._options.control else ()),
        )
        url = child.announced()["url"]
        issuer = f"{url}/auth/v1"
        signer = TokenSigner(jwt_secret=self.keys.supabase_jwt_secret, issuer=issuer, signing_key=signing_key)
        self.users = StandInUsers(database_url, signer)
        return HostedSupabase(
            url=url,
            publishable_key=self.keys.supabase_publishable,
            secret_key=self.keys.supabase_secret,
            issuer=issuer,
            database_url=database_url,
            function_tokens=function_tokens.mint(signer),
        )


class _StopRequestedError(BaseException):
    """Somebody wants the stack to end: Ctrl-C, SIGTERM, or the terminal was closed."""


def main() -> int:
    """Run a stack until told to stop, its addresses and keys in `.local/stack.json`. Returns the exit status."""
    for number in _STOP_SIGNALS:
        signal.signal(number, _request_stop)
    directory = ROOT / ".local"
    directory.mkdir(exist_ok=True)
    with (directory / "stack.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("A stack is running in this checkout already: see .local/stack.json.", file=sys.stderr)
            return 1
        try:
            return _run(directory)
        except _StopRequestedError:
            return 0
        except (
            ChildFailedError,
            PostgresUnavailableError,
            MigrationError,
            psycopg.Error,
            OSError,
            ValueError,
        ) as error:
            print(f"The stack didn't start: {error}", file=sys.stderr)
            return 1


def _run(directory: Path) -> int:
    state, contract = directory / "stack", directory / "stack.json"
    shutil.rmtree(state, ignore_errors=True)
    options = StackOptions(
        reconcile_every_seconds=RECONCILE_EVERY_SECONDS,
        notify_every_seconds=NOTIFY_EVERY_SECONDS,
        ports=ports_from_environment(),
        durable=not os.environ.get("AUTOBOOK_FORGETFUL"),
        state=state,
    )
    stack = LocalStack.start(options)
    try:
        write_contract(contract, stack)
        _describe(stack, contract)
        return _wait(stack)
    finally:
        for number in _STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # stopping takes seconds at most, and is not to be interrupted
        contract.unlink(missing_ok=True)
        stack.stop()


def write_contract(path: Path, stack: LocalStack) -> None:
    """Write `stack.json` all at once, readable by us alone: with the database's URL one can run programs as us."""
    draft = path.with_suffix(f".{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(stack.contract() | {"pid": os.getpid()}, indent=2) + "\n", "utf-8")
    draft.replace(path)


def _describe(stack: LocalStack, contract: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    facts = {
        "API": stack.api_url,
        "Supabase": stack.supabase.url,
        "Stripe": stack.stripe_url,
        "SQS": stack.queue_endpoint,
        "Logs": stack.state / "log",
        "Mail": stack.mail,
        "Keys and users": contract,
    }
    for name, value in facts.items():
        table.add_row(name, str(value))
    Console(soft_wrap=True).print("\nAutobook is running; Ctrl-C ends it.\n", table, "")


def _wait(stack: LocalStack) -> int:
    """Wait until told to stop, or until a process of the stack ends by itself, which it shouldn't."""
    while True:
        time.sleep(0.5)  # a signal interrupts it
        for name, process in stack.children.items():
            status = process.ended()
            if status is not None:
                print(
                    f"{name} ended with status {status}; see {stack.log(name.removeprefix('local.'))}", file=sys.stderr
                )
                return 1


def _request_stop(_number: int, _frame: object) -> None:
    raise _StopRequestedError


if __name__ == "__main__":
    sys.exit(main())
