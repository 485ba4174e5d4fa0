"""The documentation says what the code does: diagrams, tables, names, links, commands; and the README's example runs.

Each rule takes a checkout's root and gives its breaches; a second test plants some and sees them found.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from functions.notify.settings import NotifySettings
from functions.reconcile.jobs import JOBS
from functions.shared import settings
from functions.shared.charging import STRIPE_STEPS
from functions.shared.states import MOVES, MatchState
from functions.shared.stripe_events.table import HANDLED
from local.deploy import functions as lambdas
from local.function_tokens import FUNCTIONS
from local.stack import LocalStack, write_contract

ROOT = Path(__file__).resolve().parent.parent
ARCHITECTURE = ROOT / "docs" / "architecture.md"
STATES = ROOT / "docs" / "state-machines.md"
RADAR = ROOT / "docs" / "radar-rules.md"

Rule = Callable[[Path], list[str]]
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_OURS = ("functions", "sql", "policies", "local", "tests", "docs", ".ci", ".github")
"""The folders that a path in backticks may begin with; anything else in backticks is no path."""


def pages(root: Path) -> Iterator[Path]:
    """Every Markdown file of the checkout, but for those of tools."""
    for path in sorted(root.rglob("*.md")):
        if not any(part.startswith(".") or part in ("build", "node_modules") for part in path.relative_to(root).parts):
            yield path


def in_backticks(root: Path) -> Iterator[tuple[str, str]]:
    """Page and text of everything in backticks outside of fenced blocks."""
    for page in pages(root):
        for text in re.findall(r"`([^`\n]+)`", _FENCE.sub("", page.read_text("utf-8"))):
            yield page.relative_to(root).as_posix(), text


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings, or of the lines of what is no page."""
    if page.suffix != ".md":
        return {f"L{number}" for number, _ in enumerate(page.read_text("utf-8").splitlines(), 1)}
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# --- rules: what is named exists ------------------------------------------------------------------------------------


def links_resolve(root: Path) -> list[str]:
    breaches = []
    for page in pages(root):
        for target in re.findall(r"\]\(([^)\s]+)\)", _FENCE.sub("", page.read_text("utf-8"))):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            found = (page.parent / path).resolve() if path else page
            if not found.exists():
                breaches.append(f"{page.relative_to(root)} links to {target}, which is not there")
            elif anchor and anchor not in anchors(found):
                breaches.append(f"{page.relative_to(root)} links to {target}, which has no such place")
    return breaches


def paths_exist(root: Path) -> list[str]:
    breaches = []
    for page, text in in_backticks(root):
        if re.fullmatch(r"[\w.*-]+(/[\w.*-]+)*/?", text) and text.split("/")[0] in _OURS and "/" in text:
            if not list(root.glob(text.rstrip("/"))):
                breaches.append(f"{page} names {text}, which is not there")
        elif (
            re.fullmatch(r"[\w-]+\.(md|toml|lock|yml)|Makefile", text)
            and not (root / text).exists()
            and "no `" + text not in (root / page).read_text("utf-8")  # a page may say that something is missing
        ):
            breaches.append(f"{page} names {text}, which is not there")
    return breaches


def make_targets_exist(root: Path) -> list[str]:
    targets = set(re.findall(r"^([a-z-]+):", (root / "Makefile").read_text("utf-8"), re.MULTILINE))
    breaches = []
    for page in pages(root):
        text = page.read_text("utf-8")
        commands = re.findall(r"(?:^|`|\$ )make (?:-s )?([a-z-]+)", text, re.MULTILINE)
        breaches += [
            f"{page.relative_to(root)} says make {target}, which the Makefile does not know"
            for target in commands
            if target not in targets
        ]
    return breaches


def sql_names_exist(root: Path) -> list[str]:
    sql = "\n".join(path.read_text("utf-8") for path in sorted((*root.glob("sql/*.sql"), *root.glob("policies/*.sql"))))
    known = set(re.findall(r"create (?:or replace )?(?:function|table|view|type) ((?:internal|public)\.\w+)", sql))
    known |= {f"{schema}.{name}" for schema, name in re.findall(r"create type (\w+)\.(\w+)", sql)}
    return [
        f"{page} names {name}, which no migration creates"
        for page, text in in_backticks(root)
        for name in re.findall(r"\b((?:internal|public)\.\w+)", text)
        if name not in known
    ]


def python_names_exist(root: Path) -> list[str]:
    breaches = []
    for page in pages(root):
        text = page.read_text("utf-8")
        names = re.findall(r"python -m ((?:local|functions|tests)[\w.]*)", text) + re.findall(
            r"`(functions\.[\w.]+)`", _FENCE.sub("", text)
        )
        for name in names:
            module = root.joinpath(*name.split("."))
            if module.with_suffix(".py").exists() or module.is_dir():
                continue
            parent, attribute = module.parent.with_suffix(".py"), module.name
            if not parent.exists() or not re.search(
                rf"^(?:def )?{attribute}\b", parent.read_text("utf-8"), re.MULTILINE
            ):
                breaches.append(f"{page.relative_to(root)} names {name}, which is not there")
    return breaches


RULES: dict[Rule, dict[str, str]] = {
    links_resolve: {
        "docs/a.md": "[gone](b.md)",
        "docs/b1.md": "[no heading](../README.md#nowhere)",
        "README.md": "# Here\n[itself](#there)",
        "docs/b2.md": "[no line](../sql/0001_a.sql#L2)",
    },
    paths_exist: {"docs/a.md": "`sql/0009_gone.sql`", "README.md": "`functions/*/gone.py`", "docs/b.md": "`gone.toml`"},
    make_targets_exist: {
        "README.md": "```bash\nmake demo\nmake gone  # not there\n```",
        "docs/a.md": "`make also-gone`",
    },
    sql_names_exist: {"docs/a.md": "`internal.gone`", "docs/b.md": "`public.gone(1)`"},
    python_names_exist: {
        "docs/a.md": "```\npython -m local.gone --port 0\n```",
        "docs/b.md": "`functions.a.handler.gone`",
    },
}
SOUND = {
    "README.md": "# Here we are\n[a](docs/sound.md#two-words) [b](docs/) [c](https://x.test/#y) `make demo` `a @> b`\n"
    "```bash\nmake -s demo\npython -m local.demo\n[no](link.md)\n```\nThere is no `serverless.yml`.",
    "docs/sound.md": "## Two words\n[d](../sql/0001_a.sql#L1) `sql/0001_a.sql` `internal.there(uuid)` "
    "`functions.a.handler.handler`, make it",
    "Makefile": "demo: setup ## Play\n\t@true\n",
    "sql/0001_a.sql": "create function internal.there(uuid) returns void",
    "functions/a/handler.py": "handler = 1\n",
    "local/demo.py": "",
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_what_is_named_here_exists(rule: Rule) -> None:
    assert rule(ROOT) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_rule_finds_what_was_planted_and_nothing_else(rule: Rule, tmp_path: Path) -> None:
    for files in (SOUND, RULES[rule]):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text, "utf-8")
        breaches = rule(tmp_path)
        assert len(breaches) == (0 if files is SOUND else len(files)), breaches
    for name in RULES[rule]:
        assert [breach for breach in breaches if breach.startswith(name)], f"not found: {name}"


# --- state machines -------------------------------------------------------------------------------------------------

Moves = set[tuple[str, str]]
MACHINES = {
    "bookings": "Booking",
    "attempts": "Attempt",
    "campaigns": "Campaign",
    "payment_methods": "Payment method",
    "refunds": "Refund",
    "notifications": "Notification",
}
"""Table and heading. Matches are drawn too, but no table of moves holds them."""


def section(page: Path, heading: str) -> str:
    """The text under a heading, up to the next one of its level or above."""
    text = page.read_text("utf-8")
    masked = _FENCE.sub(lambda block: re.sub(r"[^\n]", " ", block[0]), text)  # a comment in a block is no heading
    found = re.search(rf"^(#+) {re.escape(heading)}$", masked, re.MULTILINE)
    assert found, f"{page.name} has no heading {heading}"
    following = re.compile(rf"^#{{1,{len(found[1])}}} ", re.MULTILINE).search(masked, found.end())
    return text[found.end() : following.start() if following else None]


def drawn(text: str) -> Moves:
    """The moves of a mermaid stateDiagram; `[*]` stands for before and after."""
    diagram = re.search(r"```mermaid\nstateDiagram-v2\n(.*?)```", text, re.DOTALL)
    assert diagram, "no state diagram"
    lines = [line.strip() for line in diagram[1].strip().splitlines()]
    moves = [re.fullmatch(r"(\w+|\[\*\]) --> (\w+|\[\*\])", line) for line in lines]
    assert all(moves), f"not read: {[line for line, move in zip(lines, moves, strict=True) if not move]}"
    return {(move[1], move[2]) for move in moves if move}


def rows(text: str) -> list[list[str]]:
    """The cells of a page's tables, without heads."""
    lines = [line.strip().strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line] for line in lines]
    return [row for place, row in enumerate(cells) if not _is_rule(row) and not _is_rule([*cells, []][place + 1])]


def _is_rule(row: list[str]) -> bool:
    return bool(row) and all(re.fullmatch(r"-+", cell) for cell in row)


def tabled(text: str) -> Moves:
    """The moves of a from | to | … table; an empty from is the beginning."""
    moves: Moves = set()
    for row in rows(text):
        froms = re.findall(r"`(\w+)`", row[0]) or ["[*]"]
        moves |= {(source, target) for source in froms for target in re.findall(r"`(\w+)`", row[1])}
    return moves


def allowed(machine: str) -> Moves:
    """The moves that the migrations allow a table's status."""
    tuples = "\n".join(
        statement
        for path in sorted((ROOT / "sql").glob("*.sql"))
        for statement in re.findall(r"insert into internal\.transitions .*?;", path.read_text("utf-8"), re.DOTALL)
    )
    return {(source, target) for source, target in re.findall(rf"\('{machine}', '(\w+)', '(\w+)'\)", tuples)}


def inner(moves: Moves) -> Moves:
    """Without beginnings and ends."""
    return {move for move in moves if "[*]" not in move}


@pytest.mark.parametrize("machine", MACHINES)
def test_the_moves_drawn_and_tabled_are_those_allowed(machine: str) -> None:
    text = section(STATES, MACHINES[machine])
    moves = allowed(machine)
    assert moves, machine
    assert inner(drawn(text)) == moves
    assert inner(tabled(text)) == moves
    if machine in MOVES:
        assert moves == {(str(source), str(target)) for source, targets in MOVES[machine].items() for target in targets}


def test_every_machine_is_drawn() -> None:
    sql = (ROOT / "sql" / "0002_types.sql").read_text("utf-8")
    assert set(re.findall(r"^\('(\w+)', '\w+', '\w+'\)", sql, re.MULTILINE)) == set(MACHINES)


@pytest.mark.parametrize("heading", [*MACHINES.values(), "Match"])
def test_beginnings_and_ends_are_drawn_where_they_are(heading: str) -> None:
    text = section(STATES, heading)
    moves = drawn(text)
    assert {target for source, target in moves if source == "[*]"} == {
        target for source, target in tabled(text) if source == "[*]"
    }
    sources = {source for source, _ in inner(moves)}
    ends = {target for _, target in inner(moves)} - sources
    assert {source for source, target in moves if target == "[*]"} == ends


def test_a_match_is_drawn_as_tabled_and_with_all_its_states() -> None:
    text = section(STATES, "Match")
    assert inner(drawn(text)) == inner(tabled(text))
    assert {state for move in inner(drawn(text)) for state in move} == set(MatchState)


def test_a_missing_and_an_invented_move_would_be_seen() -> None:
    text = "```mermaid\nstateDiagram-v2\n    [*] --> a\n    a --> b\n```\n"
    text += "| from | to |\n|---|---|\n| | `a` |\n| `a`, `c` | `b` |\n"
    assert drawn(text) == {("[*]", "a"), ("a", "b")}
    assert tabled(text) == {("[*]", "a"), ("a", "b"), ("c", "b")}
    with pytest.raises(AssertionError, match="not read"):
        drawn("```mermaid\nstateDiagram-v2\n    a -> b\n```")


# --- tables of the pages, and of the code ---------------------------------------------------------------------------


def column(text: str, place: int = 0) -> set[str]:
    """Everything in backticks in one column of the tables of a text."""
    return {name for row in rows(text) for name in re.findall(r"`([^`]+)`", row[place])}


def test_every_setting_is_named_and_none_that_is_not() -> None:
    groups = [group for group in vars(settings).values() if isinstance(group, type)]
    fields = {name for group in [*groups, NotifySettings] for name in getattr(group, "model_fields", {})}
    wanted = {name.upper() for name in fields - {"supabase_function_token"}}
    told = column(section(ROOT / "README.md", "Your own Supabase and Stripe"))
    sources = [path.read_text("utf-8") for path in (ROOT / "functions").rglob("*.py")]
    wanted |= {name for source in sources for name in re.findall(r'os\.environ\.get\("(\w+)"', source)}
    wanted -= {"AWS_LAMBDA_INITIALIZATION_TYPE"}  # Lambda's own, set by nobody
    assert told == wanted | {"SUPABASE_TOKEN_<FUNCTION>"}
    assert "webhook" in FUNCTIONS  # the example in that table


def test_every_lambda_is_in_the_list_of_what_to_deploy() -> None:
    assert column(section(ROOT / "README.md", "Deploy")) == {function.handler for function in lambdas.FUNCTIONS}
    assert {row[0] for row in rows(section(ARCHITECTURE, "The pieces"))} >= {
        f"`functions/{name}`" for name in FUNCTIONS
    }


def test_the_events_are_those_that_we_act_on() -> None:
    assert column(section(ARCHITECTURE, "Webhook events")) == set(HANDLED)


def test_the_steps_are_those_that_sql_can_ask_for() -> None:
    told = [row[0].strip("`") for row in rows(section(ARCHITECTURE, "Steps"))]
    assert told == [*STRIPE_STEPS, "wait", "nothing"] or set(told) == {*STRIPE_STEPS, "wait", "nothing"}


def test_the_jobs_are_reconciles_in_their_order() -> None:
    assert [row[0] for row in rows(section(ARCHITECTURE, "Reconcile"))] == list(JOBS)


def test_the_idempotency_keys_are_those_that_are_sent() -> None:
    sent = set()
    for path in (ROOT / "functions").rglob("*.py"):
        sent |= set(re.findall(r"idempotency_key\"?[=:] ?f\"([a-z-]+):", path.read_text("utf-8")))
    assert {key.partition(":")[0] for key in column(section(ARCHITECTURE, "Idempotency keys"))} == sent


def sql_of(*names: str) -> str:
    """The text of all migrations, or of those whose names hold one of the words."""
    return "\n".join(
        path.read_text("utf-8")
        for path in sorted((ROOT / "sql").glob("*.sql"))
        if not names or any(name in path.name for name in names)
    )


def test_every_breach_and_incident_is_explained() -> None:
    body = sql_of("reconcile").partition("function public.invariant_breaches")[2].partition("comment on function")[0]
    breaches = set(re.findall(r"select '(\w+)'", body))
    assert len(breaches) > 5
    jobs = (ROOT / "functions" / "reconcile" / "jobs.py").read_text("utf-8")
    breaches |= set(re.findall(r'"breach": "(\w+)"', jobs))  # what only a look at Stripe shows
    told = column(section(ARCHITECTURE, "Invariants"), 2)
    incidents = set(re.findall(r"report_incident\(\s*'(\w+)'", sql_of())) - {"invariant_"}
    assert told - incidents == breaches
    assert column(section(ARCHITECTURE, "What somebody must look at")) == incidents | {"invariant_…"}


def test_the_limits_and_their_defaults_are_the_databases() -> None:
    limits = dict(
        re.findall(r"^(?:add column)? *(\w+_\w+) +integer not null default (\d+) check", sql_of(), re.MULTILINE)
    )
    table = section(ARCHITECTURE, "Limits that operators may turn")
    assert {row[0].strip("`"): row[1] for row in rows(table)} == {
        name: value
        for name, value in limits.items()
        if re.search(rf"comment on column internal\.settings\.{name} ", sql_of())
    }


def test_the_metadata_for_radar_is_what_charges_carry() -> None:
    radar = sql_of("begin_charge").partition("function internal.radar_metadata")[2].partition("comment on")[0]
    step = sql_of("next_step").partition("'metadata', ")[2].partition(")\n  from")[0]
    sent = set(re.findall(r"'(\w+_\w+)', ", radar)) | set(re.findall(r"'(\w+_id)', ", step))
    assert column(section(RADAR, "The metadata")) == sent
    used = set(re.findall(r"::(\w+)::", RADAR.read_text("utf-8")))
    assert used
    assert used <= sent


# --- the example ----------------------------------------------------------------------------------------------------


def test_the_example_of_the_readme_books(tmp_path: Path) -> None:
    blocks = re.findall(r"```bash\n(.*?)```", section(ROOT / "README.md", "Call it"), re.DOTALL)
    assert len(blocks) == 1
    (tmp_path / ".local").mkdir()
    with LocalStack.start() as stack:
        write_contract(tmp_path / ".local" / "stack.json", stack)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", blocks[0]],
            cwd=tmp_path,
            env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert '"offer_id":"rome-1"' in done.stdout.splitlines()[-1]
    assert '"status":"confirmed"' in done.stdout.splitlines()[-1]
