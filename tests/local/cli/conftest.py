"""The command as an engineer types it, in this process, on the stack."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from local.cli.app import app
from local.environment import of_stack
from local.stack import LocalStack
from local.stack_settings import base_environment
from tests.support.fixtures import *  # noqa: F403 - pytest finds fixtures by their names in here
from tests.support.lambdas import _forget

Autobook = Callable[..., Result]


@pytest.fixture
def values(stack: LocalStack) -> dict[str, str]:
    """The variables of the stack; a test changes them."""
    return of_stack(stack.contract())


@pytest.fixture
def autobook(values: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Autobook]:
    """Run `autobook <arguments> --env-file <the variables>`; what it did to this process is undone."""
    before = dict(os.environ)
    for name, value in base_environment().items():
        if "proxy" in name.lower():
            monkeypatch.setenv(name, value)

    def run(*arguments: Any) -> Result:
        file = tmp_path / "test.env"
        file.write_text("".join(f"{name}='{value}'\n" for name, value in values.items()), "utf-8")
        _forget()
        monkeypatch.setenv("COLUMNS", "160")
        return CliRunner().invoke(app, [*map(str, arguments), "--env-file", str(file)], catch_exceptions=False)

    yield run
    _forget()
    os.environ.clear()
    os.environ.update(before)
