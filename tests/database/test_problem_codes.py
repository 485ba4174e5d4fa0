"""One list of problem codes: what Python and SQL answer with is in the catalogue, with the same status, and all of it
is used."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from functions.shared.database import _CONSTRAINTS, _PROBLEMS
from functions.shared.problems import CATALOGUE, Problem
from functions.shared.states import Verdict

ROOT = Path(__file__).resolve().parents[2]
RAISED = re.compile(r"internal\.problem\((\d{3}), '([a-z_]+)'")
REFUSALS = {verdict.value for verdict in Verdict} - {Verdict.MATCHED.value}


def python_files() -> Iterator[ast.Module]:
    for path in sorted((ROOT / "functions").rglob("*.py")):
        if path.name not in ("problems.py", "states.py"):
            yield ast.parse(path.read_text("utf-8"))


def codes_given_to_problem() -> set[str]:
    """The literal first argument of every `Problem("…")`."""
    return {
        node.args[0].value
        for tree in python_files()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "Problem"
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    }


def strings_of_python() -> set[str]:
    return {
        node.value
        for tree in python_files()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def raised_by_sql(db: psycopg.Connection) -> set[tuple[int, str]]:
    """Read from the functions as the database has them, the newest of each."""
    found: set[tuple[int, str]] = set()
    for name, source in db.execute(
        "select p.oid::regprocedure::text, p.prosrc from pg_proc as p"
        " where p.pronamespace in ('public'::regnamespace, 'internal'::regnamespace)"
    ):
        codes = RAISED.findall(source)
        assert len(codes) == source.count("internal.problem("), f"{name}: a code that this test cannot read"
        found |= {(int(status), code) for status, code in codes}
    return found


def test_what_python_answers_with_is_in_the_catalogue() -> None:
    codes = codes_given_to_problem()
    assert len(codes) > 15
    assert codes <= set(CATALOGUE)
    assert {code for code, _ in _PROBLEMS.values()} <= set(CATALOGUE)
    assert set(_CONSTRAINTS.values()) <= set(CATALOGUE)


def test_what_sql_raises_is_in_the_catalogue_with_the_same_status(db: psycopg.Connection) -> None:
    raised = raised_by_sql(db)
    assert len(raised) > 10
    assert raised <= {(kind.status, code) for code, kind in CATALOGUE.items()}


def test_sql_raises_what_python_understands(db: psycopg.Connection) -> None:
    with pytest.raises(psycopg.Error) as raised:
        db.execute("select internal.problem(409, 'over_budget', 'for this once')")
    assert raised.value.sqlstate == "PT409"
    assert (raised.value.diag.message_primary, raised.value.diag.message_detail) == ("over_budget", "for this once")


def test_a_refused_charge_is_a_conflict_of_the_catalogue() -> None:
    assert {CATALOGUE[code].status for code in REFUSALS} == {409}


def test_every_code_of_the_catalogue_is_used(db: psycopg.Connection) -> None:
    used = strings_of_python() | REFUSALS | {code for _, code in raised_by_sql(db)}
    assert set(CATALOGUE) - used == set()


def test_constraints_that_have_a_meaning_exist(db: psycopg.Connection) -> None:
    names = {name for (name,) in db.execute("select conname from pg_constraint")}
    names |= {name for (name,) in db.execute("select indexrelid::regclass::text from pg_index")}
    assert {name for name in _CONSTRAINTS if name not in names} == set()


@pytest.mark.parametrize("code", CATALOGUE)
def test_a_problem_s_document_has_the_members_of_rfc_9457(code: str) -> None:
    document = Problem(code).document()
    assert document == {
        "type": f"urn:autobook:problem:{code}",
        "title": CATALOGUE[code].title,
        "status": CATALOGUE[code].status,
        "detail": CATALOGUE[code].title,
        "code": code,
    }
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", code)
    told = Problem(code, "This once.", user_message="Sorry.", booking={"id": "b"}).document()
    assert told == document | {"detail": "This once.", "user_message": "Sorry.", "booking": {"id": "b"}}


def test_a_code_outside_of_the_catalogue_cannot_be_raised() -> None:
    with pytest.raises(KeyError):
        Problem("no_such_code")
