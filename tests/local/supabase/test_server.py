"""The command `python -m local.supabase`: how it starts, announces itself and ends."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from local.postgres import free_port
from tests.local.supabase.conftest import JWT_SECRET, pid_of_running

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def database_url(make_database: Callable[[str], str]) -> str:
    return make_database("create function nap(s float) returns void language sql as 'select pg_sleep(s)'")


@pytest.fixture
def start(database_url: str) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "local.supabase", "--database-url", database_url),
                *("--jwt-secret", JWT_SECRET, *arguments),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def announced(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return str(json.loads(process.stdout.readline())["url"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_takes_a_free_port_and_stops_cleanly(start: Start, http: httpx.Client, number: signal.Signals) -> None:
    process = start("--port", "0")
    url = announced(process)
    assert http.get(f"{url}/auth/v1/health").status_code == 200  # leaves a connection open
    process.send_signal(number)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (0, "", "")


def test_it_takes_the_port_it_is_told(start: Start, http: httpx.Client) -> None:
    port = free_port()
    url = announced(start("--port", str(port), "--host", "127.0.0.1"))
    assert url == f"http://127.0.0.1:{port}"
    assert http.get(f"{url}/auth/v1/health").status_code == 200


def test_a_statement_under_way_is_cancelled(start: Start, database_url: str) -> None:
    process = start()
    url = announced(process)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(httpx.post, f"{url}/rest/v1/rpc/nap", json={"s": 30}, timeout=40)
        pid_of_running(database_url, "nap", asking)
        process.terminate()
        assert process.wait(timeout=8) == 0
        assert asking.exception() is not None or asking.result().status_code == 500


def test_it_ends_with_its_parent(start: Start, http: httpx.Client) -> None:
    process = start("--parent-watch")
    url = announced(process)
    assert http.get(f"{url}/auth/v1/health").status_code == 200
    assert process.stdin is not None
    process.stdin.close()  # what the kernel does when the parent dies, however it dies
    process.stdin = None
    assert process.wait(timeout=10) == 0


def test_a_killed_parent_leaves_nothing_behind(database_url: str) -> None:
    program = (
        "import os, sys\n"
        "from local.supabase.server import running\n"
        f"with running(['--database-url', {database_url!r}, '--jwt-secret', {JWT_SECRET!r}]) as url:\n"
        "    print(url, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    # The stand-in inherits stderr: `run` reads until the last holder of that pipe has gone.
    killed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=30)
    assert killed.returncode == -signal.SIGKILL
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{killed.stdout.strip()}/auth/v1/health")


def test_a_signing_key_is_made_on_demand(start: Start, http: httpx.Client, tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    url = announced(start("--signing-key", str(path), "--issuer", "https://issuer.test"))
    keys = http.get(f"{url}/auth/v1/.well-known/jwks.json").json()["keys"]
    assert [(key["alg"], key["crv"], "d" in key) for key in keys] == [("ES256", "P-256", False)]
    assert json.loads(path.read_text())["kid"] == keys[0]["kid"]


def test_it_starts_without_its_database(http: httpx.Client, start: Start) -> None:
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "local.supabase", "--jwt-secret", JWT_SECRET),
            *("--database-url", f"postgresql://127.0.0.1:{free_port()}/nothing"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        answer = http.get(f"{announced(process)}/rest/v1/anything")
        assert (answer.status_code, answer.json()["code"]) == (503, "PGRST000")
    finally:
        process.terminate()
        process.communicate()
    assert process.returncode == 0
