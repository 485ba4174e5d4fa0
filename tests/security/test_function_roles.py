"""Each Lambda's role opens the SQL functions that its code calls, and nothing else: no table, no other function.

What the code calls is read from the code: names of SQL functions in a Lambda's own folder, and in the functions of
functions/shared that it reaches from there.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from local.function_tokens import FUNCTIONS, role_of, variable_of
from local.stack import LocalStack
from local.supabase.tokens import mint_role_token
from local.users import StandInUsers
from tests.security.catalogue import columns_granted, function_rights, schema_rights, sequence_rights
from tests.support.http import connection

ROOT = Path(__file__).resolve().parents[2]


def executable(db: psycopg.Connection, role: str) -> set[str]:
    """The names of the functions that a role may execute."""
    return {name.partition("(")[0] for name, (_, roles) in function_rights(db).items() if role in roles}


# --- what the code calls ---------------------------------------------------------------------------------------------


@cache
def parsed(module: str) -> ast.Module | None:
    """A module of ours by its dotted name, None for a package or what is not ours."""
    path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    return ast.parse(path.read_text("utf-8")) if module.startswith("functions.") and path.exists() else None


def imported(tree: ast.Module) -> dict[str, str]:
    """Name in the module -> the dotted name of what of ours it stands for."""
    return {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("functions")
        for alias in node.names
    }


def words(node: ast.AST) -> set[str]:
    """Every string in a piece of code."""
    return {each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str)}


def reaches(node: ast.AST, names: dict[str, str]) -> Iterator[str]:
    """The dotted names of ours that a piece of code speaks of."""
    for each in ast.walk(node):
        if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name) and each.value.id in names:
            yield f"{names[each.value.id]}.{each.attr}"
        elif isinstance(each, ast.Name) and each.id in names:
            yield names[each.id]


def spoken(node: ast.AST, module: str, seen: set[str]) -> set[str]:
    """The strings in a piece of a module's code, and in all the functions of ours that it reaches."""
    tree = parsed(module)
    assert tree is not None
    local = {top.name: f"{module}.{top.name}" for top in tree.body if isinstance(top, ast.FunctionDef | ast.ClassDef)}
    found = words(node)
    for dotted in reaches(node, imported(tree) | local):
        home, _, name = dotted.rpartition(".")
        there = parsed(home)
        if there is None or dotted in seen:
            continue
        seen.add(dotted)
        for top in there.body:
            if isinstance(top, ast.FunctionDef | ast.ClassDef) and top.name == name:
                found |= spoken(top, home, seen)
    return found


def called_by(function: str, known: set[str]) -> set[str]:
    """The SQL functions that a Lambda's code names, of those that there are."""
    found: set[str] = set()
    for path in sorted((ROOT / "functions" / function).rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        tree = parsed(module)
        assert tree is not None
        found |= spoken(tree, module, set())
    return found & known


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_role_executes_what_its_code_calls_and_nothing_else(project: psycopg.Connection, function: str) -> None:
    known = {name.partition("(")[0] for name in function_rights(project)}
    as_user = executable(project, "authenticated")
    called = called_by(function, known)
    assert called
    assert executable(project, role_of(function)) == called - as_user


def test_the_reader_of_code_tells_what_is_called_on_anothers_behalf() -> None:
    known = {"begin_charge", "settle_payment", "settle_refund", "receive_event", "begin_void"}
    assert called_by("bookings", known) == {"settle_payment", "settle_refund", "begin_void"}
    assert called_by("charge_booking", known) == {"begin_charge", "settle_payment", "settle_refund"}
    assert called_by("webhook", known) == {"receive_event", "settle_payment", "settle_refund"}


@pytest.mark.parametrize(
    "mistake",
    [
        "grant execute on function public.begin_charge(uuid, text, uuid) to autobook_webhook",
        "revoke execute on function public.receive_event(jsonb) from autobook_webhook",
    ],
)
def test_a_right_too_much_or_too_little_is_seen(project: psycopg.Connection, mistake: str) -> None:
    called = called_by("webhook", {name.partition("(")[0] for name in function_rights(project)})
    assert executable(project, "autobook_webhook") == called
    project.execute(mistake.encode())
    assert executable(project, "autobook_webhook") != called


def test_no_role_of_a_function_reaches_a_table_a_sequence_or_another_schema(project: psycopg.Connection) -> None:
    assert not [held for held in columns_granted(project) if "autobook_" in held[1]]
    assert not [held for rights in sequence_rights(project).values() for held in rights if "autobook_" in held]
    held = {
        (name, right) for name, rights in schema_rights(project).items() for right in rights if "autobook_" in right
    }
    assert held == {("public", f"{role_of(function)} usage") for function in FUNCTIONS}


def test_there_are_as_many_roles_as_functions_and_none_is_more_than_a_key(project: psycopg.Connection) -> None:
    roles = project.execute(
        """select rolname, rolsuper or rolcanlogin or rolinherit or rolcreaterole or rolcreatedb or rolreplication
            or rolbypassrls
          from pg_roles where rolname ~ '^autobook_' and pg_has_role('authenticator', oid, 'member')"""
    ).fetchall()
    assert dict(roles) == {role_of(function): False for function in FUNCTIONS}
    folders = {path.parent.name for path in (ROOT / "functions").glob("*/handler.py")}
    assert folders == set(FUNCTIONS)
    belongs = project.execute(
        """select m.member::regrole::text, m.roleid::regrole::text from pg_auth_members as m
        where m.member::regrole::text ~ '^autobook_'
          or (m.roleid::regrole::text ~ '^autobook_' and m.member <> 'authenticator'::regrole and not m.admin_option)"""
    ).fetchall()
    assert belongs == []


# --- over HTTP, with the real tokens ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rest(stack: LocalStack) -> Iterator[httpx.Client]:
    """The project's REST API, with the publishable key that every page holds."""
    with connection(f"{stack.supabase.url}/rest/v1") as client:
        client.headers["apikey"] = stack.supabase.publishable_key
        yield client


def bearer(stack: LocalStack, function: str) -> dict[str, str]:
    return {"authorization": f"Bearer {stack.supabase.function_tokens[variable_of(function)]}"}


def call(rest: httpx.Client, function: str, arguments: Any, headers: dict[str, str]) -> tuple[int, str]:
    """Status and code of a call to a SQL function."""
    answer = rest.post(f"/rpc/{function}", json=arguments, headers=headers)
    return answer.status_code, answer.json()["code"]


CHARGE = {"p_campaign_id": str(uuid4()), "p_offer_id": "an-offer"}


def test_only_the_charging_functions_token_begins_a_charge(stack: LocalStack, rest: httpx.Client) -> None:
    for function in set(FUNCTIONS) - {"charge_booking"}:
        assert call(rest, "begin_charge", CHARGE, bearer(stack, function)) == (403, "42501"), function
    # The same request gets through to its refusal with the token that may.
    assert call(rest, "begin_charge", CHARGE, bearer(stack, "charge_booking")) == (404, "PT404")


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_stolen_token_reads_nothing(stack: LocalStack, rest: httpx.Client, function: str) -> None:
    stolen = bearer(stack, function)
    with psycopg.connect(stack.database_url) as db:
        tables = [
            name
            for (name,) in db.execute(
                "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'v')"
            )
        ]
    assert len(tables) > 15
    for table in tables:
        answer = rest.get(f"/{table}", params={"limit": "1"}, headers=stolen)
        assert (answer.status_code, answer.json()["code"]) == (403, "42501"), table
    for operators in ("export_user", "erase_user"):
        assert call(rest, operators, {"p_user_id": str(uuid4())}, stolen) == (403, "42501")
    assert rest.get("/settings", headers=stolen | {"accept-profile": "internal"}).status_code == 406


@pytest.mark.parametrize("role", ["postgres", "hosted_postgres", "supabase_auth_admin", "pg_read_all_data", "nobody"])
def test_a_token_for_a_role_that_is_not_granted_opens_nothing(stack: LocalStack, rest: httpx.Client, role: str) -> None:
    """Even with the project's own key: authenticator becomes only what was granted to it."""
    assert isinstance(stack.users, StandInUsers)
    token = mint_role_token(stack.users._signer, role)
    status, code = call(rest, "begin_charge", CHARGE, {"authorization": f"Bearer {token}"})
    assert (status, code) in {(401, "42501"), (403, "42501"), (401, "22023"), (400, "22023")}
