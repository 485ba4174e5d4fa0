"""Safe by default: which environment, live or not, what is never printed, what the exit status says."""

import json
import os
import subprocess
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from local.cli.app import app
from local.environment import NoEnvironment, choose, is_ours
from local.stack import LocalStack
from tests.local.cli.conftest import Autobook
from tests.support.travellers import Traveller

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the SDK's way with httpx

ROOT = Path(__file__).resolve().parents[3]
CHANGES = {
    "reconcile": ("reconcile", "--apply"),
    "erase": ("erase", uuid4(), "--yes"),
    "replay-event": ("replay-event", "evt_any", "--apply"),
    "webhook-endpoint sync": ("webhook-endpoint", "sync", "--url", "https://api.example.com/webhook", "--yes"),
    "migrate up": ("migrate", "up"),
}


def names(prefix: str = "", command: object = None) -> set[str]:
    """Every command, subcommands with their group's name."""
    command = command or get_command(app)
    inner = getattr(command, "commands", None)
    if inner is None:
        return {prefix}
    return {name for key, each in inner.items() for name in names(f"{prefix} {key}".strip(), each)}


@pytest.mark.parametrize("name", CHANGES)
def test_what_changes_a_live_environment_wants_to_be_told_so(
    name: str, autobook: Autobook, values: dict[str, str]
) -> None:
    values["STRIPE_SECRET_KEY"] = f"sk_live_51{'0' * 40}"
    values["STRIPE_PUBLISHABLE_KEY"] = "pk_live_51abcdefghijklmnop"
    values["STRIPE_API_BASE"] = values["SUPABASE_URL"] = "http://127.0.0.1:9"  # nobody is there to be changed
    values["DATABASE_URL"] = "postgresql://postgres:x@127.0.0.1:9/none"
    refused = autobook(*CHANGES[name])
    assert refused.exit_code == 2
    assert "say --live" in refused.stderr
    allowed = autobook(*CHANGES[name], "--live")
    assert "say --live" not in allowed.stderr
    assert allowed.exit_code == 3, "it went on, and met nobody"


@pytest.mark.parametrize("name", CHANGES)
def test_who_says_live_and_means_another_environment_is_stopped(name: str, autobook: Autobook) -> None:
    refused = autobook(*CHANGES[name], "--live")
    assert refused.exit_code == 2
    assert "is it the one you meant?" in refused.stderr


def test_every_command_that_can_change_something_is_in_the_list() -> None:
    live = set()
    for name in names():
        shown = CliRunner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
        assert shown.exit_code == 0
        if "--live" in shown.stdout:
            live.add(name)
    assert live == set(CHANGES)


@pytest.mark.parametrize("name", sorted(names()))
def test_every_command_teaches(name: str) -> None:
    shown = CliRunner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).stdout
    assert "--env-file" in shown
    assert f"autobook {name}" in shown, "an example to copy"


def test_the_file_is_the_whole_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIPE_SECRET_KEY", "sk_live_of_the_shell")
    monkeypatch.setenv("PATH_OF_SOMEBODY", "stays")
    (tmp_path / "some.env").write_text("STAGE=dev\nSUPABASE_URL=https://some.supabase.co\n# no key\n", "utf-8")
    target = choose(tmp_path / "some.env")
    assert dict(target.values) == {"STAGE": "dev", "SUPABASE_URL": "https://some.supabase.co"}
    before = dict(os.environ)
    try:
        target.enter()
        assert "STRIPE_SECRET_KEY" not in os.environ, "half of one environment and half of another"
        assert os.environ["PATH_OF_SOMEBODY"] == "stays"
        assert {name for name in os.environ if is_ours(name)} == {"STAGE", "SUPABASE_URL", "AUTOBOOK_METRICS"}
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.mark.parametrize(
    ("values", "mode"),
    [
        ({"STRIPE_SECRET_KEY": "sk_test_x"}, "test"),
        ({"STRIPE_SECRET_KEY": "rk_live_x", "STAGE": "dev"}, "live"),
        ({"STAGE": "prod"}, "live"),
        ({"STAGE": "staging"}, "test"),
        ({"DATABASE_URL": "postgresql://127.0.0.1:5432/postgres"}, "test"),
        ({"DATABASE_URL": "postgresql://db.abc.supabase.co:5432/postgres"}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_live_is_what_may_be_live(values: dict[str, str], mode: str, tmp_path: Path) -> None:
    (tmp_path / "some.env").write_text("".join(f"{name}={value}\n" for name, value in values.items()), "utf-8")
    assert choose(tmp_path / "some.env").mode == mode


def test_nothing_to_work_on_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUPABASE_URL", raising=False)
    with pytest.raises(NoEnvironment, match="--env-file"):
        choose(stack_file=tmp_path / "none.json")
    with pytest.raises(NoEnvironment, match="is not there"):
        choose(tmp_path / "none.env")


def test_reconcile_by_hand_looks_first(autobook: Autobook, carded: Traveller) -> None:
    carded.book(carded.open_campaign())
    looked = autobook("reconcile", "--json")
    assert looked.exit_code == 0, looked.stderr
    assert json.loads(looked.stdout)["apply"] is False
    done = autobook("reconcile", "--apply", "--json")
    assert json.loads(done.stdout)["apply"] is True
    assert "invariants" in json.loads(done.stdout)["jobs"]


def test_a_project_that_is_away_is_not_taken_for_a_sound_one(autobook: Autobook, values: dict[str, str]) -> None:
    values["SUPABASE_URL"] = "http://127.0.0.1:9"
    for arguments in (("reconcile",), ("export", uuid4()), ("audit-verify",)):
        assert autobook(*arguments).exit_code == 3, arguments


def test_tokens_are_minted_for_a_secret_store_alone(autobook: Autobook, values: dict[str, str]) -> None:
    refused = autobook("function-tokens")
    assert refused.exit_code == 2
    assert "SUPABASE_JWT_SECRET" in refused.stderr
    values["SUPABASE_JWT_SECRET"] = "s" * 40
    minted = autobook("function-tokens")
    assert minted.exit_code == 0
    assert {line.partition("=")[0] for line in minted.stdout.splitlines()} >= {"SUPABASE_TOKEN_WEBHOOK"}
    assert "s" * 40 not in minted.stdout + minted.stderr


def test_doctor_ends_as_it_finds(autobook: Autobook, values: dict[str, str], stack_db: psycopg.Connection) -> None:
    stack_db.execute("update internal.reconcile_state set events_seen_until = now()")  # the stack runs it not by itself
    well = autobook("doctor", "--json")
    assert well.exit_code == 0, [line for line in json.loads(well.stdout) if line["status"] in ("fail", "unknown")]
    del values["DATABASE_URL"]
    unsure = autobook("doctor")
    assert unsure.exit_code == 3
    assert "→ set it to the direct connection" in unsure.stdout
    values["SUPABASE_TOKEN_NOTIFY"] = values["SUPABASE_TOKEN_OFFERS"]
    ill = autobook("doctor")
    assert ill.exit_code == 1
    assert "tokens.notify" in ill.stdout
    for secret in (values["STRIPE_SECRET_KEY"], values["SUPABASE_SECRET_KEY"], values["SUPABASE_TOKEN_OFFERS"]):
        assert secret not in ill.output


def test_the_script_runs_from_anywhere_and_is_not_led_astray(tmp_path: Path, stack: LocalStack) -> None:
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "__init__.py").write_text("raise SystemExit('led astray')", "utf-8")
    (tmp_path / "mine.env").write_text(f"DATABASE_URL={stack.database_url}\n", "utf-8")
    done = subprocess.run(
        [ROOT / "autobook", "migrate", "status", "--env-file", "mine.env", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout).values()) == {"applied"}
