"""`autobook status` over a database with known numbers: what it thinks of them, what it prints, how it exits."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pytest
from moto import mock_aws
from rich.console import Console

from functions.shared import database, settings
from functions.shared.metrics import invocation
from functions.shared.metrics import success as successes
from functions.shared.problems import Problem
from local import emf, status
from local.queue import create_queues
from local.status import Verdict
from local.supabase.app import serving
from local.supabase.settings import Settings
from tests.support.books import Books

ROOT = Path(__file__).resolve().parents[2]
PUBLISHABLE_KEY, SECRET_KEY = "sb_publishable_of_the_tests", "sb_secret_of_the_tests"


@dataclass(frozen=True)
class Project:
    """A project of the test's own."""

    books: Books
    env_file: Path

    def status(self, **options: Any) -> status.Status:
        """What this process finds."""
        return status.status(database.as_operator("test"), **options)

    def command(self, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        """Run the command on the project as an operator does."""
        if changes:
            with self.env_file.open("a") as file:
                file.writelines(f"{name}={value}\n" for name, value in changes.items())
        return subprocess.run(
            [ROOT / "autobook", "status", "--env-file", self.env_file, *arguments],
            env=os.environ | {"NO_PROXY": "127.0.0.1", "COLUMNS": "120"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def project(fresh_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A project in which nothing has happened, and reconcile has just run."""
    stand_in = Settings(
        database_url=fresh_database_url,
        jwt_secret="a secret of the tests that is long enough",
        publishable_key=PUBLISHABLE_KEY,
        secret_key=SECRET_KEY,
    )
    with serving(stand_in) as url, psycopg.connect(fresh_database_url, autocommit=True) as db:
        db.execute("update internal.reconcile_state set events_seen_until = now()")
        values = {"SUPABASE_URL": url, "SUPABASE_PUBLISHABLE_KEY": PUBLISHABLE_KEY, "SUPABASE_SECRET_KEY": SECRET_KEY}
        env_file = tmp_path / "project.env"
        env_file.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        settings._read.cache_clear()
        yield Project(Books(db), env_file)
        database._http().close()
        database._http.cache_clear()
        settings._read.cache_clear()


def verdicts(found: status.Status) -> dict[str, Verdict]:
    """The verdict of each number by its title."""
    return {reading.threshold.title: reading.verdict for reading in found.readings}


def test_an_idle_project_is_well(project: Project) -> None:
    found = project.status()
    assert found.verdict is Verdict.OK
    assert verdicts(found) == {
        "Payment success rate": Verdict.NOTHING,
        "Webhook processing, p95": Verdict.NOTHING,
        "Campaign creation success": Verdict.ELSEWHERE,
        "Auto-booking latency, p95": Verdict.NOTHING,
        "Oldest unsettled attempt": Verdict.OK,
        "Oldest due booking": Verdict.OK,
        "Oldest waiting match": Verdict.OK,
        "Oldest failed event": Verdict.OK,
        "Notification lag": Verdict.OK,
        "Unresolved incidents": Verdict.OK,
        "Invariant breaches": Verdict.OK,
        "Since reconcile saw Stripe's events": Verdict.OK,
        "Dead letters": Verdict.ELSEWHERE,
    }


LATE: dict[str, str] = {
    "Oldest unsettled attempt": "update public.attempts set created_at = now() - interval '16 minutes'",
    "Oldest due booking": "update public.audit_log set at = now() - interval '16 minutes'",
    "Oldest failed event": "insert into public.stripe_events "
    "(id, type, livemode, stripe_created_at, status, result, received_at) "
    "values ('evt_1', 'x', false, now(), 'failed', 'x', now() - interval '16 minutes')",
    "Notification lag": "update public.notifications set next_attempt_at = now() - interval '11 minutes', "
    "status = 'pending'",
    "Unresolved incidents": "insert into public.incidents (kind, dedupe_key, detail) values ('late_success', 'x', 'x')",
    "Since reconcile saw Stripe's events": "update internal.reconcile_state "
    "set events_seen_until = now() - interval '16 minutes'",
    "Invariant breaches": "update public.campaigns set reserved_minor = 1",
    "Webhook processing, p95": "insert into public.stripe_events "
    "(id, type, livemode, stripe_created_at, status, result, processing_ms) "
    "values ('evt_1', 'x', false, now(), 'ignored', 'stored_only', 2100)",
}


@pytest.mark.parametrize("title", LATE)
def test_what_is_outside_is_said_with_its_runbook(project: Project, title: str) -> None:
    step = project.books.started()
    project.books.insert("notifications", user_id=project.books.user_id, kind="test", dedupe_key="x")
    with project.books.db.transaction():
        project.books.db.execute("set local session_replication_role = replica")
        project.books.db.execute("update public.bookings set leased_until = null")
        assert project.books.db.execute(LATE[title].encode()).rowcount > 0

    found = project.status()

    assert verdicts(found)[title] is Verdict.OUTSIDE
    assert found.verdict is Verdict.OUTSIDE
    (reading,) = [reading for reading in found.readings if reading.threshold.title == title]
    printed = shown(found)
    assert f"{title}: see docs/runbooks/{reading.threshold.runbook}.md" in printed
    if title == "Invariant breaches":
        assert f"BREACH totals_differ_from_ledger: {project.books.booking(step)['campaign_id']}" in printed


def shown(found: status.Status) -> str:
    """What a terminal shows."""
    text = StringIO()
    status.render(found, Console(file=text, width=160))
    return text.getvalue()


def test_success_and_latency_are_read_against_their_limits(project: Project) -> None:
    campaign = project.books.campaign(auto_book=True)
    step = project.books.started(campaign)
    project.books.settle(project.books.facts(step, "succeeded"), step["attempt_id"])
    found = project.status()
    assert verdicts(found)["Payment success rate"] is Verdict.OK
    assert verdicts(found)["Auto-booking latency, p95"] is Verdict.OK
    assert "100.0 %" in shown(found)
    assert len(found.series) == status.BUCKETS
    assert sum(part["payments_ended"] for part in found.series) == 1

    declined = project.books.started(project.books.campaign())
    closing = project.books.settle(project.books.declined(declined, "other_card"), declined["attempt_id"])["next"]
    project.books.settle(project.books.facts(closing, "canceled"))
    with project.books.db.transaction():
        project.books.db.execute("set local session_replication_role = replica")
        project.books.db.execute("update public.matches set considered_at = now() - interval '6 seconds'")
    assert verdicts(project.status())["Payment success rate"] is Verdict.OUTSIDE
    assert verdicts(project.status())["Auto-booking latency, p95"] is Verdict.OUTSIDE


def fail_with(failure: Exception | None) -> None:
    """Raise it, if there is one."""
    if failure is not None:
        raise failure


def test_what_functions_printed_tells_of_campaigns(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert status.printed(tmp_path / "none", 3600) is None
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "gateway.log").write_text('{"level": "info"}\nno JSON at all {"_aws"\n')
    told = status.printed(logs, 3600)
    assert told is not None
    assert verdicts(project.status(told=told))["Campaign creation success"] is Verdict.NOTHING
    monkeypatch.delenv("AUTOBOOK_METRICS", raising=False)
    for failure in (None, None, Problem("database_unavailable")):
        with suppress(Problem), invocation("campaigns"), successes("CampaignCreation"):
            fail_with(failure)
    (logs / "gateway.log").write_text(capsys.readouterr().out)
    found = project.status(told=status.printed(logs, 3600))
    (reading,) = [reading for reading in found.readings if reading.threshold.title == "Campaign creation success"]
    assert reading.value == pytest.approx(2 / 3)
    assert reading.verdict is Verdict.OUTSIDE
    assert emf.of_logs(logs, since=found.at).by_name == {}, "what was printed before does not count"


@mock_aws
def test_dead_letters_are_counted(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    queues = create_queues(boto3.client("sqs"))
    assert verdicts(project.status(queue_url=queues.url))["Dead letters"] is Verdict.OK
    queues.sqs.send_message(QueueUrl=queues.dead_letter_url, MessageBody="{}")
    assert verdicts(project.status(queue_url=queues.url))["Dead letters"] is Verdict.OUTSIDE
    unknown = project.status(queue_url=f"{queues.url}-gone")
    assert verdicts(unknown)["Dead letters"] is Verdict.UNKNOWN
    assert unknown.verdict is Verdict.UNKNOWN
    assert "no answer" in shown(unknown)


@mock_aws
def test_cloudwatch_is_asked_for_what_no_database_knows(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")

    def creation(stage: str) -> status.Reading:
        (reading,) = [each for each in project.status(cloudwatch_stage=stage).readings if each.threshold.number is None]
        return reading

    assert creation("prod").verdict is Verdict.NOTHING
    told = boto3.client("cloudwatch")
    for stage, value in (("prod", 1.0), ("prod", 1.0), ("prod", 0.0), ("prod", 1.0), ("dev", 1.0)):
        told.put_metric_data(
            Namespace="Autobook",
            MetricData=[
                {
                    "MetricName": "CampaignCreation",
                    "Dimensions": [{"Name": "Stage", "Value": stage}],
                    "Timestamp": datetime.now(UTC) - timedelta(seconds=90),
                    "Value": value,
                }
            ],
        )
    assert (creation("prod").value, creation("prod").verdict) == (0.75, Verdict.OUTSIDE)
    assert (creation("dev").value, creation("dev").verdict) == (1.0, Verdict.OK)
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert creation("prod").verdict is Verdict.UNKNOWN, "without a region nobody can be asked"


def test_the_command_exits_by_what_it_found(project: Project) -> None:
    well = project.command()
    assert (well.returncode, "Payment success rate" in well.stdout) == (0, True), well.stderr
    project.books.insert("incidents", kind="late_success", dedupe_key="x", detail="x")
    unwell = project.command("--json")
    assert unwell.returncode == 1
    told = json.loads(unwell.stdout)
    assert told["verdict"] == "outside"
    assert {each["number"]: each["value"] for each in told["readings"]}["unresolved_incidents"] == 1
    assert SECRET_KEY not in unwell.stdout + unwell.stderr + well.stdout + well.stderr
    without_stage = project.command("--cloudwatch")
    assert (without_stage.returncode, "name STAGE" in without_stage.stderr) == (2, True)
    away = project.command(SUPABASE_URL="http://127.0.0.1:9")
    assert (away.returncode, away.stdout) == (3, "")
    assert "database_unavailable" in away.stderr


def test_a_sparkline_is_as_high_as_its_values() -> None:
    line: Callable[[list[float | None]], str] = status.sparkline
    assert line([0, 1, 2, 4, None, 8]) == " ▁▂▄·█"
    assert line([None, None]) == "··"
    assert line([0, 0]) == "  "
