"""What the tests of the shared modules share."""

from collections.abc import Callable, Iterator

import pytest

from functions.shared import settings
from tests.functions.shared.key_server import LEGACY_SECRET, KeyServer

SetEnvironment = Callable[..., None]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[SetEnvironment]:
    """Set variables of the environment (None takes one away), to be read anew: `environment(SUPABASE_URL="…")`."""

    def set_variables(**variables: str | None) -> None:
        for name, value in variables.items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)
        forget()

    def forget() -> None:
        settings._read.cache_clear()

    forget()
    yield set_variables
    monkeypatch.undo()
    forget()


@pytest.fixture
def server(environment: SetEnvironment) -> Iterator[KeyServer]:
    """A project with asymmetric keys only, whose settings the functions read."""
    running = KeyServer()
    environment(
        SUPABASE_URL=running.url,
        SUPABASE_PUBLISHABLE_KEY="sb_publishable_x",
        SUPABASE_JWT_ISSUER=None,
        SUPABASE_JWT_SECRET=None,
    )
    yield running
    running.close()


@pytest.fixture
def legacy(server: KeyServer, environment: SetEnvironment) -> KeyServer:
    """A project that still takes tokens signed with the legacy secret."""
    environment(SUPABASE_JWT_SECRET=LEGACY_SECRET)
    return server
