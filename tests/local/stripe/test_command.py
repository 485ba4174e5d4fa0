"""``python -m local.stripe`` as a process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import requests
import stripe

from local.stripe.__main__ import main
from tests.local.stripe.conftest import client_for

if TYPE_CHECKING:
    from collections.abc import Iterator

KEYS = ["--secret-key", "sk_test_standin", "--publishable-key", "pk_test_standin"]


@contextmanager
def process(*flags: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "local.stripe", *KEYS, *flags]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        try:
            assert running.stdout is not None
            yield running, json.loads(running.stdout.readline())["url"]
        finally:
            running.kill()


def test_it_serves_and_stops_when_told() -> None:
    with process("--seed", "1") as (running, url):
        client = client_for(url, "sk_test_standin")
        assert client.v1.customers.create({"name": "Ada"}).name == "Ada"
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=10) == 0
        assert running.stderr is not None
        assert running.stderr.read() == ""


def test_a_hanging_request_does_not_hold_it_up() -> None:
    with process("--control") as (running, url):
        rule = {"kind": "timeout_before", "seconds": 600, "match": "/v1/customers"}
        requests.post(f"{url}/_control/faults", json=rule, timeout=5).raise_for_status()
        with ThreadPoolExecutor(1) as pool:
            hanging = pool.submit(client_for(url, "sk_test_standin").v1.customers.create)
            while not requests.get(f"{url}/_control/requests", timeout=5).json()["count"]:
                assert not hanging.done()
            running.send_signal(signal.SIGINT)
            with pytest.raises(stripe.APIConnectionError):
                hanging.result(timeout=10)
        assert running.wait(timeout=10) == 0
        assert running.stderr is not None
        assert running.stderr.read() == ""


def test_it_ends_with_its_parent() -> None:
    with process("--parent-watch") as (running, _):
        assert running.stdin is not None
        running.stdin.close()
        assert running.wait(timeout=10) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["--secret-key", "sk_live_x", "--publishable-key", "pk_test_x"],
        ["--secret-key", "sk_test_x", "--publishable-key", "sk_test_x"],
        [*KEYS, "--webhook-url", "http://localhost/"],
        [*KEYS, "--webhook-url", "http://localhost/", "--webhook-secret", "whsec_"],
    ],
)
def test_arguments_that_make_no_sense(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert "error:" in capsys.readouterr().err
