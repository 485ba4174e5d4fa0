"""The pages about the command, going live and costs, held to what there is."""

import re
import subprocess
from pathlib import Path

import pytest
from typer.main import get_command

from local.cli.app import app
from local.cli.common import Status
from tests.local.cli.test_safe import names
from tests.local.doctor.test_doctor import AREAS
from tests.test_docs import rows, section

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "cli.md"
COSTS = ROOT / "docs" / "costs.md"
OF_ALL = {"--help", "--env-file"}


def options_of(name: str) -> set[str]:
    command = get_command(app)
    for part in name.split():
        command = command.commands[part]  # type: ignore[attr-defined]  # a group, as the name says
    return {option for each in command.params for option in each.opts if option.startswith("--")} - OF_ALL


def test_every_subcommand_is_told_with_its_options() -> None:
    told = {row[0].strip("`"): set(re.findall(r"`(--[\w-]+)`", row[2])) for row in rows(section(PAGE, "Subcommands"))}
    assert told == {name: options_of(name) for name in names()}


def test_every_exit_status_is_told() -> None:
    told = {int(row[0]) for row in rows(section(PAGE, "What holds of all of them"))}
    assert told == set(Status)


def test_every_check_of_the_doctor_is_told() -> None:
    source = "\n".join(path.read_text("utf-8") for path in (ROOT / "local" / "doctor").glob("*.py"))
    checks = set(re.findall(rf'"((?:{"|".join(AREAS)})\.[a-z_]+)"', source))
    assert len(checks) > 40
    told = {name for row in rows(section(PAGE, "What doctor looks at")) for name in re.findall(r"`([^`]+)`", row[0])}
    whole = {name.removesuffix("*") for name in told if name.endswith("*")}
    assert {check for check in checks if not check.startswith(tuple(whole))} == told - {f"{each}*" for each in whole}


PAGES = [
    path.relative_to(ROOT).as_posix()
    for path in sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
    if "./autobook" in path.read_text("utf-8")
]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_that_a_page_says_is_one(page: str) -> None:
    for line in re.findall(r"\./autobook ([^`\n|#;&]*)", (ROOT / page).read_text("utf-8")):
        found = [name for name in names() if f"{line.strip()} ".startswith(f"{name} ")]
        assert found or line.strip() in ("migrate", "webhook-endpoint"), line
        said = set(re.findall(r"(?<!\S)(--[\w-]+)", line))
        assert said <= options_of(max(found, key=len)) | OF_ALL, line


def amount(cell: str) -> float:
    return float(cell.strip("* ").replace(",", ""))


@pytest.mark.parametrize("heading", ["1,000 bookings", "A month without a booking"])
def test_the_costs_add_up(heading: str) -> None:
    *lines, total = rows(section(COSTS, heading))
    assert len(lines) > 5
    for what, quantity, _, price, cost in lines:
        assert abs(amount(quantity) * amount(price) - amount(cost)) < 0.00006, what
    assert abs(sum(amount(line[4]) for line in lines) - amount(total[4])) < 0.00006


def test_stripes_fees_add_up() -> None:
    *lines, total = rows(section(COSTS, "What Stripe takes"))
    assert sum(amount(line[1]) for line in lines) == amount(total[1]) == 1000 * (100 * 0.015 + 0.25) + 20


def test_make_calls_the_command() -> None:
    shown = subprocess.run(
        ["make", "-n", "doctor", "ARGS=--env-file staging.env"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "./autobook doctor --env-file staging.env" in shown.stdout
