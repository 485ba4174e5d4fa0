"""What the tests of the shared modules share."""

from collections.abc import Callable, Iterator

import pytest

from functions.shared import settings

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
