"""`apply_bootstrap`: what a hosted project has before our migrations."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import psycopg
import pytest

from local.postgres import PostgresServer
from local.supabase.bootstrap import apply_bootstrap, create_session, create_user
from local.supabase.passwords import hash_password, verify_password

MakeDatabase = Callable[[str], str]


def test_the_roles_are_those_of_a_hosted_project(make_database: MakeDatabase) -> None:
    with psycopg.connect(make_database("")) as connection:
        found = connection.execute(
            "select rolname, rolcanlogin, rolinherit, rolbypassrls, rolsuper, coalesce(rolconfig, '{}') from pg_roles "
            "where rolname in ('anon', 'authenticated', 'service_role', 'authenticator') order by 1"
        ).fetchall()
    assert found == [
        ("anon", False, True, False, False, ["statement_timeout=3s"]),
        ("authenticated", False, True, False, False, ["statement_timeout=8s"]),
        ("authenticator", True, False, False, False, ["statement_timeout=8s", "lock_timeout=8s"]),
        ("service_role", False, True, True, False, []),
    ]


def test_running_it_again_changes_nothing(make_database: MakeDatabase) -> None:
    url = make_database("")
    user_id = create_user(url, email="Ada@Example.com", password="pw")
    apply_bootstrap(url)
    with psycopg.connect(url) as connection:
        assert connection.execute("select id, email from auth.users").fetchall() == [(user_id, "ada@example.com")]


def test_databases_of_a_cluster_can_be_bootstrapped_at_the_same_time(postgres: PostgresServer) -> None:
    urls = [postgres.create_database(f"at_once_{number}") for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(apply_bootstrap, urls))
    for url in urls:
        with psycopg.connect(url) as connection:
            assert connection.execute("select count(*) from auth.users").fetchone() == (0,)


def granted(url: str, role: str, privilege: str) -> bool:
    with psycopg.connect(url) as connection:
        connection.execute("create table thing (id int generated always as identity)")
        row = connection.execute("select has_table_privilege(%s, 'thing', %s)", [role, privilege]).fetchone()
    assert row is not None
    return bool(row[0])


@pytest.mark.parametrize("role", ["anon", "authenticated", "service_role"])
def test_new_tables_are_open_to_the_api_roles_unless_told_otherwise(make_database: MakeDatabase, role: str) -> None:
    assert granted(make_database(""), role, "insert")
    hidden = make_database("")
    apply_bootstrap(hidden, auto_expose=False)
    assert not granted(hidden, role, "insert")


def test_new_functions_are_granted_to_anon_by_name(make_database: MakeDatabase) -> None:
    """Taking execute from public is not enough on a hosted project: a trap that our policies have to survive."""
    url = make_database(
        "create function f() returns int language sql as 'select 1'; revoke all on function f from public"
    )
    with psycopg.connect(url) as connection:
        assert connection.execute("select has_function_privilege('anon', 'f()', 'execute')").fetchone() == (True,)


def test_hosted_migrations_role_is_no_superuser_and_may_do_its_work(make_database: MakeDatabase) -> None:
    with psycopg.connect(make_database("")) as connection:
        connection.execute("set session authorization hosted_postgres")
        connection.execute("create table mine (id int primary key, owner uuid references auth.users (id))")
        connection.execute("alter table mine enable row level security")
        connection.execute("create policy p on mine for select to authenticated using (owner = (select auth.uid()))")
        connection.execute("create role of_my_own nologin")
        connection.execute("grant of_my_own to hosted_postgres")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("create role above_us superuser")


def test_the_auth_helpers_read_the_claims(make_database: MakeDatabase) -> None:
    with psycopg.connect(make_database("")) as connection:
        claims = '{"sub": "11111111-1111-1111-1111-111111111111", "role": "authenticated", "email": "a@b.c"}'
        connection.execute("select set_config('request.jwt.claims', %s, true)", [claims])
        connection.execute("set local role authenticated")
        assert connection.execute("select auth.uid(), auth.role(), auth.email(), auth.jwt() ->> 'sub'").fetchone() == (
            UUID("11111111-1111-1111-1111-111111111111"),
            "authenticated",
            "a@b.c",
            "11111111-1111-1111-1111-111111111111",
        )
        connection.execute("select set_config('request.jwt.claims', '', true)")
        assert connection.execute("select auth.uid(), auth.jwt()").fetchone() == (None, None)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select * from auth.users")


def test_a_user_has_a_chosen_id_and_a_unique_address(make_database: MakeDatabase) -> None:
    url = make_database("")
    chosen = UUID("11111111-1111-1111-1111-111111111111")
    assert create_user(url, email="a@b.c", password="pw", user_id=chosen) == chosen
    with pytest.raises(psycopg.errors.UniqueViolation):
        create_user(url, email="A@B.c", password="pw")
    session_id = create_session(url, chosen)
    with psycopg.connect(url) as connection:
        assert connection.execute("select id from auth.sessions").fetchall() == [(session_id,)]


def test_passwords_are_salted_and_checked() -> None:
    first, second = hash_password("correct horse"), hash_password("correct horse")
    assert first != second
    assert verify_password("correct horse", first)
    assert not verify_password("correct horse ", first)
    assert not verify_password("x", "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy")
    assert not verify_password("x", "")
