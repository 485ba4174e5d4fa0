"""Alarms, dashboard, runbooks, thresholds and documentation speak of the same numbers, and of ones that are told."""

import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import typer
import yaml

from functions.reconcile.jobs import GAUGES
from functions.shared.metrics import METRICS, NAMESPACE
from local.cli.app import app
from local.thresholds import THRESHOLDS
from tests.test_docs import ARCHITECTURE, ROOT, column, rows, section

Json = dict[str, Any]

ALARMS, DASHBOARD = ROOT / "deploy" / "alarms.yml", ROOT / "deploy" / "dashboard.yml"
OBSERVABILITY = ROOT / "docs" / "observability.md"
RUNBOOKS = ROOT / "docs" / "runbooks"
QUEUES = ("ChargeQueue", "ChargeDeadLetters", "SchedulerDeadLetters")


def resolved(path: Path) -> Json:
    """A part of the template as the framework hands it on: its variables are those of a stage prod."""
    text = path.read_text("utf-8")
    for variable, value in {
        "${self:service}": "autobook",
        "${sls:stage}": "prod",
        "${param:alarmEmail, ''}": "''",
    }.items():
        text = text.replace(variable, value)
    assert not re.search(r"\$\{(?!AWS::)\w+:", text), "a variable of the framework that this test does not know"
    part: Json = yaml.safe_load(text)
    return part


def alarms() -> dict[str, Json]:
    """The properties of each alarm by its logical id."""
    resources = resolved(ALARMS)["Resources"]
    return {
        name: resource["Properties"]
        for name, resource in resources.items()
        if resource["Type"] == "AWS::CloudWatch::Alarm"
    }


def widgets() -> list[Json]:
    """What the dashboard shows."""
    body = resolved(DASHBOARD)["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    found: list[Json] = json.loads(body)["widgets"]
    return found


Named = tuple[str, str, tuple[str, ...]]
"""Namespace, metric, and the names of its dimensions."""


def of_alarm(properties: Json) -> Iterator[Named]:
    """The metrics that an alarm looks at."""
    stated = [metric["MetricStat"]["Metric"] for metric in properties.get("Metrics", []) if "MetricStat" in metric]
    for metric in stated or [properties]:
        names = tuple(dimension["Name"] for dimension in metric["Dimensions"])
        yield metric["Namespace"], metric["MetricName"], names


def of_widget(widget: Json) -> Iterator[Named]:
    """The metrics that a widget shows."""
    for metric in widget["properties"].get("metrics", []):
        if isinstance(metric[0], dict):
            dimensions, name = re.findall(r"\{([^}]+)\} MetricName=\"(\w+)\"", metric[0]["expression"])[0]
            namespace, *names = dimensions.split(",")
            yield namespace, name, tuple(names)
        else:
            namespace, name, *rest = [part for part in metric if isinstance(part, str)]
            yield namespace, name, tuple(rest[::2])


ALARM_IDS = sorted(alarms())


@pytest.mark.parametrize("name", ALARM_IDS)
def test_an_alarm_looks_at_what_is_told_and_opens_a_runbook(name: str) -> None:
    properties = alarms()[name]
    for namespace, metric, dimensions in of_alarm(properties):
        if namespace == NAMESPACE:
            assert METRICS[metric].dimensions == dimensions, "another set of dimensions is another metric, without data"
    runbook = re.search(r"Runbook: (docs/runbooks/[a-z-]+\.md)$", properties["AlarmDescription"])
    assert runbook, "the description ends with the page to open"
    assert (ROOT / runbook[1]).is_file()
    assert properties["AlarmName"].startswith("autobook-prod-")
    assert properties["AlarmActions"] == properties["OKActions"] == [{"Ref": "AlarmTopic"}]
    assert properties["TreatMissingData"] == ("breaching" if name == "ReconcileSilentAlarm" else "notBreaching")
    assert len(properties["AlarmDescription"]) <= 1024
    period = properties.get("Period") or properties["Metrics"][1]["MetricStat"]["Period"]
    assert period * properties["EvaluationPeriods"] <= 86_400, "CloudWatch looks back a day at most"


def test_no_two_alarms_have_one_name() -> None:
    names = [properties["AlarmName"] for properties in alarms().values()]
    assert len(set(names)) == len(names) > 20


def test_the_dashboard_shows_what_is_told_and_all_of_it() -> None:
    shown = {named for widget in widgets() for named in of_widget(widget)}
    ours = {(name, dimensions) for namespace, name, dimensions in shown if namespace == NAMESPACE}
    assert ours == {(name, metric.dimensions) for name, metric in METRICS.items()}
    assert {namespace for namespace, _, _ in shown} == {NAMESPACE, "AWS/SQS", "AWS/ApiGateway", "AWS/Lambda"}
    listed = [widget["properties"]["alarms"] for widget in widgets() if widget["type"] == "alarm"]
    assert sorted(listed[0]) == sorted(f"${{{name}.Arn}}" for name in ALARM_IDS)


def test_the_widgets_do_not_lie_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for widget in widgets():
        cells = {
            (x, y)
            for x in range(widget["x"], widget["x"] + widget["width"])
            for y in range(widget["y"], widget["y"] + widget["height"])
        }
        assert not cells & taken
        assert all(x < 24 for x, _ in cells)
        taken |= cells


# Alarms whose metric is not the number itself: that reconcile is silent shows by what it does not tell.
INDIRECT = {"ReconcileSilentAlarm": 1}


def test_the_limits_are_the_same_everywhere() -> None:
    for threshold in THRESHOLDS:
        if threshold.alarm is None:
            continue
        properties = alarms()[threshold.alarm]
        assert properties["Threshold"] == INDIRECT.get(threshold.alarm, threshold.limit)
        if threshold.alarm not in INDIRECT:
            below = properties["ComparisonOperator"] == "LessThanThreshold"
            assert below == (threshold.kind == "min")
            assert below or properties["ComparisonOperator"] == "GreaterThanThreshold"
        assert f"docs/runbooks/{threshold.runbook}.md" in properties["AlarmDescription"]
    lines = {
        annotation["value"]
        for widget in widgets()
        for annotation in widget["properties"].get("annotations", {}).get("horizontal", [])
    }
    assert lines <= {threshold.limit for threshold in THRESHOLDS}


def test_a_gauge_that_alarms_is_the_number_that_status_shows() -> None:
    for threshold in THRESHOLDS:
        named = {metric for _, metric, _ in of_alarm(alarms()[threshold.alarm or ""])} & GAUGES.keys()
        if named and threshold.alarm not in INDIRECT:
            assert {GAUGES[metric] for metric in named} == {threshold.number}


def test_the_page_tells_the_same() -> None:
    told = {row[0].strip("`"): row[1] for row in rows(section(OBSERVABILITY, "Numbers"))}
    assert told == {name: metric.unit for name, metric in METRICS.items()}
    limits = [(row[0], row[1], row[2], row[3]) for row in rows(section(OBSERVABILITY, "Limits"))]
    assert limits == [
        (
            threshold.title,
            f"{'≥' if threshold.kind == 'min' else '≤'} {limit(threshold.limit, threshold.unit)}",
            f"`{threshold.alarm}`",
            f"[{threshold.runbook}](runbooks/{threshold.runbook}.md)",
        )
        for threshold in THRESHOLDS
    ]
    others = {row[0].strip("`") for row in rows(section(OBSERVABILITY, "Further alarms"))}
    assert others == set(ALARM_IDS) - {threshold.alarm for threshold in THRESHOLDS}


def limit(value: float, unit: str) -> str:
    """A limit as the page writes it."""
    return f"{value * 100:.0f} %" if unit == "%" else f"{value:g} {unit}".strip()


def test_whoever_tells_a_metric_is_in_the_code() -> None:
    """A metric that is declared, shown and alarmed on, and never told, would be a comfort without ground."""
    code = "\n".join(
        path.read_text("utf-8") for path in (ROOT / "functions").rglob("*.py") if path.name != "metrics.py"
    )
    code += (ROOT / "functions" / "shared" / "metrics.py").read_text("utf-8").partition("}\n")[2]
    for name in METRICS:
        assert re.search(rf'(?:add|timed|success)\("{name}"', code) or name in GAUGES, name


def test_cloudformation_takes_them(tmp_path: Path) -> None:
    """cfn-lint knows types, properties and their values; what they refer to is put beside them."""
    parts = resolved(ALARMS)
    resources = parts["Resources"] | resolved(DASHBOARD)["Resources"]
    resources |= {name: {"Type": "AWS::SQS::Queue"} for name in QUEUES}
    resources["HttpApi"] = {
        "Type": "AWS::ApiGatewayV2::Api",
        "Properties": {"Name": "autobook-prod", "ProtocolType": "HTTP"},
    }
    template = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Parameters": parts["Parameters"],
        "Conditions": parts["Conditions"],
        "Resources": resources,
    }
    path = tmp_path / "template.json"
    path.write_text(json.dumps(template))
    lint: list[str | Path] = [Path(sys.executable).parent / "cfn-lint", "--region", "eu-central-1", "--", path]
    done = subprocess.run(lint, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    resources["PaymentSuccessAlarm"]["Properties"]["TreatMissingDatum"] = "notBreaching"
    path.write_text(json.dumps(template))
    assert "TreatMissingDatum" in subprocess.run(lint, capture_output=True, text=True, timeout=60, check=False).stdout


def test_every_runbook_is_in_the_index() -> None:
    index = (RUNBOOKS / "README.md").read_text("utf-8")
    pages = {path.name for path in RUNBOOKS.glob("*.md")} - {"README.md"}
    assert set(re.findall(r"\]\(([a-z-]+\.md)\)", index)) == pages
    assert {threshold.runbook for threshold in THRESHOLDS} <= {Path(page).stem for page in pages}


@pytest.mark.parametrize("page", sorted(path.name for path in RUNBOOKS.glob("*.md") if path.name != "README.md"))
def test_a_runbook_is_one_at_three_in_the_morning(page: str) -> None:
    """Always the same headings in the same order, and a command before anything has to be thought about."""
    text = (RUNBOOKS / page).read_text("utf-8")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings == ["Symptom", "First look", "Decide", "Act", "Verify", "Afterwards"]
    assert "```bash" in section(RUNBOOKS / page, "First look")
    for alarm in re.findall(r"`(\w+Alarm)`", text):
        assert alarm in ALARM_IDS
    named = {name for name, properties in alarms().items() if f"runbooks/{page}" in properties["AlarmDescription"]}
    assert named <= set(re.findall(r"`(\w+Alarm)`", section(RUNBOOKS / page, "Symptom"))), "whoever is woken finds it"


def test_the_sql_of_the_runbooks_runs_as_it_is_written(db: psycopg.Connection) -> None:
    """Each block, in a transaction that is undone; a column that was renamed would be found at the worst moment."""
    blocks = [
        (page.name, block)
        for page in sorted(RUNBOOKS.glob("*.md"))
        for block in re.findall(r"```sql\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    ]
    assert len(blocks) > 15
    for name, block in blocks:
        try:
            with db.transaction(force_rollback=True):
                db.execute(textwrap.dedent(block).encode())
        except psycopg.Error as error:
            pytest.fail(f"{name}: {error}\n{block}")


def commands() -> set[tuple[str, ...]]:
    """The words of every subcommand of autobook."""
    found: set[tuple[str, ...]] = set()

    def walk(group: Any, words: tuple[str, ...]) -> None:
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                walk(command, (*words, name))
            else:
                found.add((*words, name))
                options = {option for parameter in command.params for option in parameter.opts}
                OPTIONS[*words, name] = options | {"--help"}

    walk(typer.main.get_command(app), ())
    return found


OPTIONS: dict[tuple[str, ...], set[str]] = {}


def test_the_commands_of_the_runbooks_exist_with_their_options() -> None:
    known = commands()
    named = 0
    for page in sorted((*RUNBOOKS.glob("*.md"), OBSERVABILITY)):
        for line in re.findall(r"\./autobook ([^\n`;>|#]+)", page.read_text("utf-8")):
            words = tuple(line.split())
            command = words[:2] if words[:2] in known else words[:1]
            assert command in known, f"{page.name}: autobook {line}"
            options = {word for word in words if word.startswith("--")}
            assert options <= OPTIONS[command], f"{page.name}: autobook {line}"
            named += 1
    assert named > 30


def test_the_runbook_decides_about_every_breach_and_every_incident() -> None:
    decided = column(section(RUNBOOKS / "invariant-breach.md", "Decide"))
    told = column(section(ARCHITECTURE, "What somebody must look at")) - {"invariant_…"}
    told |= column(section(ARCHITECTURE, "Invariants"), 2)
    assert len(told) > 15
    assert told <= decided


def test_the_functions_that_alarms_and_runbooks_name_are_deployed_and_know_their_stage() -> None:
    template = (ROOT / "serverless.yml").read_text("utf-8")
    deployed = set(re.findall(r"^  ([a-z-]+):\n(?:    #.*\n)*    handler:", template, re.MULTILINE))
    assert len(deployed) == 10
    named = set(re.findall(r"\$\{self:service\}-\$\{sls:stage\}-([a-z-]+)'", ALARMS.read_text("utf-8")))
    for page in RUNBOOKS.glob("*.md"):
        text = page.read_text("utf-8")
        named |= set(re.findall(r"autobook-prod-([a-z-]+)", text))
        for listed in re.findall(r"for name in ([a-z -]+); do", text):
            named |= set(listed.split())
    assert len(named) > 5
    assert named <= deployed
    assert {sample for _, sample in re.findall(r"invocation\((self\._function|\"([a-z-]+)\")\)", functions_code())} - {
        ""
    } <= deployed
    assert "STAGE: ${sls:stage}" in template, "without it all stages would be one, local"
    for part in ("alarms", "dashboard"):
        assert f"${{file(deploy/${{param:{part}}})}}" in template
        stated = re.findall(rf"^  ([a-z]+):(?:(?!^  \w).)*?^    {part}: ([a-z.]+)$", template, re.MULTILINE | re.DOTALL)
        assert stated == [("default", f"{part}.yml"), ("local", "nothing.yml")], (
            "every stage but the emulator's has them"
        )


def functions_code() -> str:
    """All that is deployed, as text."""
    return "\n".join(path.read_text("utf-8") for path in sorted((ROOT / "functions").rglob("*.py")))
