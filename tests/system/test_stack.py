"""The stack as a command: what it promises in `stack.json`, and that it goes without a trace however it ends."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest

from local.postgres import free_port
from local.stack import LocalStack, StackOptions
from local.supabase.tokens import TokenSigner, mint_user_token

ROOT = Path(__file__).parents[2]
CONTRACT = {
    "api_url",
    "supabase_url",
    "publishable_key",
    "secret_key",
    "jwt_issuer",
    "stripe_url",
    "stripe_secret_key",
    "stripe_publishable_key",
    "webhook_secrets",
    "signing_secrets",
    "database_url",
    "users",
}


class Checkout:
    """A copy of what the stack runs from, with a state of its own, and the stacks that were started in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for part in ("functions", "local", "policies", "sql"):
            shutil.copytree(ROOT / part, directory / part, ignore=shutil.ignore_patterns("__pycache__"))
        self.contract = directory / ".local" / "stack.json"
        self.started: list[subprocess.Popen[str]] = []

    def start(self, **environment: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-m", "local.stack"],
            cwd=self.directory,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def wait_until_up(self, process: "subprocess.Popen[str]") -> dict[str, Any]:
        """Its contract; the line that says it is running is printed after the file was written."""
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if "Autobook is running" in line:
                contract: dict[str, Any] = json.loads(self.contract.read_text())
                return contract
        raise AssertionError("".join(said))


@pytest.fixture
def make_checkout(tmp_path: Path) -> Iterator[Callable[[], Checkout]]:
    made: list[Checkout] = []

    def make() -> Checkout:
        made.append(Checkout(tmp_path / f"checkout-{len(made)}"))
        return made[-1]

    yield make
    for process in (process for checkout in made for process in checkout.started):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture
def checkout(make_checkout: Callable[[], Checkout]) -> Checkout:
    return make_checkout()


def _family(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def _postgres_homes(family: list[psutil.Process]) -> list[Path]:
    commands = [member.cmdline() for member in family]
    return [Path(words[words.index("-D") + 1]).parent for words in commands if "-D" in words]


def test_the_contract_is_kept(stack: LocalStack) -> None:
    contract = stack.contract()
    assert set(contract) >= CONTRACT
    assert len(contract["users"]) >= 3
    for user in contract["users"]:
        headers = {"authorization": f"Bearer {user['access_token']}"}
        assert httpx.get(f"{contract['api_url']}/campaigns", headers=headers, timeout=30).status_code == 200
    assert contract["jwt_issuer"] == f"{contract['supabase_url']}/auth/v1"
    assert httpx.get(f"{contract['api_url']}/health", timeout=30).json()["status"] == "ok"
    assert len(set(contract["webhook_secrets"])) == len(set(contract["signing_secrets"])) == 2
    with psycopg.connect(contract["database_url"]) as connection:
        assert connection.execute("select count(*) from public.campaigns").fetchone() is not None


def test_users_can_sign_in_with_their_password(stack: LocalStack) -> None:
    user = stack.demo_users[0]
    signed_in = httpx.post(
        f"{stack.supabase.url}/auth/v1/token?grant_type=password",
        headers={"apikey": stack.supabase.publishable_key},
        json={"email": user.email, "password": user.password},
        timeout=30,
    )
    assert signed_in.status_code == 200, signed_in.text
    assert signed_in.json()["user"]["id"] == str(user.id)


def test_keys_have_the_shapes_of_real_ones(stack: LocalStack) -> None:
    keys = stack.keys
    assert keys.stripe_secret.startswith("sk_test_")
    assert keys.stripe_publishable.startswith("pk_test_")
    assert all(secret.startswith("whsec_") for secret in keys.webhook_secrets)
    assert keys.supabase_publishable.startswith("sb_publishable_")
    assert keys.supabase_secret.startswith("sb_secret_")
    assert not any(secret in repr(keys) for secret in (keys.stripe_secret, keys.supabase_secret, *keys.signing_secrets))


def test_tokens_of_the_shared_secret_are_taken_only_when_asked_for(stack: LocalStack) -> None:
    def status(of: LocalStack) -> int:
        user = of.demo_users[0]
        signer = TokenSigner(jwt_secret=of.keys.supabase_jwt_secret, issuer=of.supabase.issuer)
        token = mint_user_token(signer, user_id=user.id, email=user.email)
        headers = {"authorization": f"Bearer {token}"}
        return httpx.get(f"{of.api_url}/campaigns", headers=headers, timeout=30).status_code

    assert status(stack) == 401
    with LocalStack.start(StackOptions(legacy_hs256=True)) as legacy:
        assert status(legacy) == 200


def test_it_starts_within_seconds(checkout: Checkout) -> None:
    process = checkout.start()
    checkout.wait_until_up(process)
    family = [psutil.Process(process.pid), *_family(process)]
    worked = sum(member.cpu_times().user + member.cpu_times().system for member in family)
    # On two cores that are ours alone these are about two seconds. By the clock it depends on what else runs.
    assert worked < 8


def test_ctrl_c_leaves_no_process_and_no_file(checkout: Checkout) -> None:
    process = checkout.start()
    contract = checkout.wait_until_up(process)
    assert checkout.contract.stat().st_mode & 0o077 == 0
    family = _family(process)
    homes = _postgres_homes(family)
    assert len(homes) == 1
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(20) == 0
    assert psutil.wait_procs(family, timeout=10)[1] == []
    assert not checkout.contract.exists()
    assert not homes[0].exists()
    with pytest.raises(httpx.ConnectError):
        httpx.get(contract["api_url"])


@pytest.mark.parametrize("delay_seconds", [0.2, 0.8, 1.5])
def test_being_told_to_end_while_it_starts_leaves_nothing(checkout: Checkout, delay_seconds: float) -> None:
    process = checkout.start()
    time.sleep(delay_seconds)  # anywhere in the start-up will do
    family = _family(process)
    process.terminate()
    assert process.wait(20) in (0, -signal.SIGTERM)
    assert psutil.wait_procs(family, timeout=20)[1] == []
    assert not checkout.contract.exists()


def test_killed_it_takes_everything_along_and_can_start_again(checkout: Checkout) -> None:
    process = checkout.start()
    first = checkout.wait_until_up(process)
    family = _family(process)
    homes = _postgres_homes(family)
    process.kill()
    assert psutil.wait_procs(family, timeout=20)[1] == []
    assert not homes[0].exists()
    again = checkout.wait_until_up(checkout.start())
    assert again["stripe_secret_key"] != first["stripe_secret_key"]


def test_two_checkouts_run_at_once_and_one_only_once(make_checkout: Callable[[], Checkout]) -> None:
    one, other = make_checkout(), make_checkout()
    contracts = [checkout.wait_until_up(checkout.start()) for checkout in (one, other)]
    for contract in contracts:
        assert httpx.get(f"{contract['api_url']}/health", timeout=30).status_code == 200
    assert contracts[0]["api_url"] != contracts[1]["api_url"]
    second = one.start()
    output, _ = second.communicate(timeout=30)
    assert second.returncode == 1
    assert "already" in output
    assert json.loads(one.contract.read_text()) == contracts[0]


def test_it_ends_when_one_of_its_processes_does(checkout: Checkout) -> None:
    process = checkout.start()
    checkout.wait_until_up(process)
    gateway = next(member for member in _family(process) if "local.gateway" in member.cmdline())
    gateway.kill()
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "local.gateway ended" in output
    assert not checkout.contract.exists()


def test_ports_come_from_the_environment(checkout: Checkout) -> None:
    api, stripe = free_port(), free_port()
    process = checkout.start(AUTOBOOK_API_PORT=str(api), AUTOBOOK_STRIPE_PORT=str(stripe))
    contract = checkout.wait_until_up(process)
    assert contract["api_url"] == f"http://127.0.0.1:{api}"
    assert contract["stripe_url"] == f"http://127.0.0.1:{stripe}"
    assert httpx.get(f"{contract['api_url']}/health", timeout=30).status_code == 200


def test_a_port_that_is_no_port_is_said(checkout: Checkout) -> None:
    process = checkout.start(AUTOBOOK_API_PORT="eighty")
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "AUTOBOOK_API_PORT" in output


def test_supabase_url_without_its_keys_is_refused(checkout: Checkout) -> None:
    process = checkout.start(SUPABASE_URL="https://project.supabase.co", DATABASE_URL="")
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "SUPABASE_SECRET_KEY" in output
