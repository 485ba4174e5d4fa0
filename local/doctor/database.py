"""Is the database ours: every migration applied as it is, every door locked, every key handed out as policies/ says?"""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg

from local import migrate
from local.doctor.finding import Finding, fail, ok, unknown
from local.doctor.patient import Patient
from local.function_tokens import FUNCTIONS, role_of

OLDEST_VERSION = 15
_UP = "autobook migrate up"
_NOT_OURS = "restore it from policies/ by a migration with a higher number, and find out who changed it"
_GRANT = re.compile(
    r"^(grant|revoke) execute on function\s+((?:public|internal)\.\w+\([^)]*\))\s+(?:to|from)\s+([\w,\s]+);",
    re.MULTILINE,
)
_REVOKE_ALL_BUT = re.compile(r"proname not in \(([^)]*)\).*?revoke execute on function %s from (\w+)", re.DOTALL)
"""policies/0111_operators_key.sql takes what it does not name by a loop."""
_API_ROLES = ("anon", "authenticated", "service_role")


def database_answers(patient: Patient) -> Iterator[Finding]:
    """The login works, over a connection that keeps its session, and the server is new enough."""
    url = patient.get("DATABASE_URL")
    if not url:
        yield unknown(
            "database.login",
            "DATABASE_URL is not set, so migrations and policies cannot be looked at",
            "set it to the direct connection (port 5432) of the project's owner, for operators alone",
        )
        return
    try:
        version = patient.database.info.server_version // 10000
    except psycopg.Error as error:
        yield fail(
            "database.login",
            f"no connection to {urlsplit(url).hostname}: {_one_line(error)}",
            "correct DATABASE_URL (the project's settings, Database); its password can be reset there",
        )
        return
    if urlsplit(url).port == migrate.TRANSACTION_POOLER_PORT:
        yield fail(
            "database.login",
            "DATABASE_URL is the transaction pooler (port 6543), over which migrations cannot be locked",
            "take the direct connection or the session pooler (port 5432)",
        )
    elif version < OLDEST_VERSION:
        yield fail(
            "database.login",
            f"PostgreSQL {version}; Autobook needs {OLDEST_VERSION} or newer",
            "upgrade the project in its settings, Infrastructure",
        )
    else:
        yield ok("database.login", f"PostgreSQL {version}")


def migrations_are_applied(patient: Patient) -> Iterator[Finding]:
    """All of sql/ and policies/, in this wording."""
    if not is_reachable(patient):
        return
    states = migrate.status(patient.get("DATABASE_URL"))
    pending = [name for name, state in states.items() if state is migrate.State.PENDING]
    fine = (migrate.State.PENDING, migrate.State.APPLIED)
    wrong = [f"{name}: {state}" for name, state in states.items() if state not in fine]
    if wrong:
        yield fail(
            "migrations.unchanged",
            "; ".join(wrong[:5]),
            "check out the release that was deployed, or restore the file and put the change into a new one",
        )
    else:
        yield ok("migrations.unchanged", "what is applied is what is in sql/ and policies/")
    if pending:
        yield fail("migrations.applied", f"{len(pending)} to be applied, first {pending[0]}", _UP)
    else:
        yield ok("migrations.applied", f"all {len(states)}")


def doors_are_locked(patient: Patient) -> Iterator[Finding]:
    """Row-level security on every table of ours, and no right of the API's roles on internal ones."""
    if not is_reachable(patient):
        return
    unlocked = [
        name
        for (name,) in patient.database.execute(
            """select format('%s.%s', n.nspname, c.relname) from pg_class as c
            inner join pg_namespace as n on c.relnamespace = n.oid
            where n.nspname in ('public', 'internal') and c.relkind in ('r', 'p') and not c.relrowsecurity
            order by 1"""
        )
    ]
    if unlocked:
        yield fail(
            "policies.row_level_security",
            f"row-level security is off for {', '.join(unlocked)}",
            f"`alter table {unlocked[0]} enable row level security` at once; then {_NOT_OURS}",
        )
    else:
        yield ok("policies.row_level_security", "on for every table")
    writable = [
        f"{name} ({role}: {privilege.lower()})"
        for name, role, privilege in patient.database.execute(
            """select format('%%s.%%s', n.nspname, c.relname), r.role, p.privilege
            from pg_class as c
            inner join pg_namespace as n on c.relnamespace = n.oid
            cross join unnest(%s::text[]) as r (role)
            cross join unnest(array['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) as p (privilege)
            inner join pg_roles as known on r.role = known.rolname
            where n.nspname in ('public', 'internal') and c.relkind in ('r', 'p')
              and has_table_privilege(r.role, c.oid, p.privilege)
            order by 1, 2, 3""",
            [[*_API_ROLES, *map(role_of, FUNCTIONS)]],
        )
    ]
    if writable:
        yield fail(
            "policies.table_rights",
            f"tables can be written past the SQL functions: {', '.join(writable[:5])}",
            f"revoke the right; then {_NOT_OURS}",
        )
    else:
        yield ok("policies.table_rights", "no table can be written whole; money moves through SQL functions alone")


def roles_exist(patient: Patient) -> Iterator[Finding]:
    """A role per function, which the API's login may become."""
    if not is_reachable(patient):
        return
    wanted = [role_of(name) for name in FUNCTIONS]
    found = {
        role
        for (role,) in patient.database.execute(
            """select r.rolname from pg_roles as r where r.rolname = any(%s) and exists (
              select from pg_auth_members as m
              inner join pg_roles as a on m.member = a.oid
              where m.roleid = r.oid and a.rolname = 'authenticator'
            )""",
            [wanted],
        )
    }
    lacking = [role for role in wanted if role not in found]
    if lacking:
        yield fail(
            "policies.roles",
            f"{', '.join(lacking)}: not there, or not granted to authenticator",
            f"{_UP}; if that changes nothing, `grant {lacking[0]} to authenticator`",
        )
    else:
        yield ok("policies.roles", f"{len(wanted)}, each granted to authenticator")


def execute_is_as_written(patient: Patient) -> Iterator[Finding]:
    """Who may execute what: exactly what policies/ grants, and nobody more."""
    if not is_reachable(patient):
        return
    wanted = {(_oid(patient, function), role) for function, role in written_grants()}
    has = {
        (oid, role)
        for oid, role in patient.database.execute(
            """select p.oid::regprocedure::text, r.rolname from pg_proc as p
            inner join pg_namespace as n on p.pronamespace = n.oid
            cross join pg_roles as r
            where n.nspname in ('public', 'internal') and r.rolname = any(%s)
              and has_function_privilege(r.oid, p.oid, 'execute')
              and not exists (select from pg_depend as d where d.objid = p.oid and d.deptype = 'e')""",
            [[*_API_ROLES, *map(role_of, FUNCTIONS)]],
        )
    }
    too_many, lacking = sorted(has - wanted), sorted(wanted - has)
    if too_many:
        yield fail(
            "policies.execute",
            "may be executed by whom policies/ does not name: " + _named(too_many),
            f"`revoke execute on function {too_many[0][0]} from {too_many[0][1]}, public`; then {_NOT_OURS}",
        )
    if lacking:
        yield fail(
            "policies.execute",
            "cannot be executed by whom policies/ names: " + _named(lacking),
            f"{_UP}; if that changes nothing, `grant execute on function {lacking[0][0]} to {lacking[0][1]}`",
        )
    if not too_many and not lacking:
        yield ok("policies.execute", f"{len(wanted)} grants, exactly those of policies/")


def written_grants() -> set[tuple[str, str]]:
    """Function with its types, and role, of every right to execute that the migrations leave in the end."""
    grants: set[tuple[str, str]] = set()
    for migration in migrate.read_migrations():
        text = migration.path.read_text("utf-8")
        for verb, function, roles in _GRANT.findall(text):
            pairs = {(function, role.strip()) for role in roles.split(",")}
            grants = grants | pairs if verb == "grant" else grants - pairs
        for kept, role in _REVOKE_ALL_BUT.findall(text):
            names = set(re.findall(r"'(\w+)'", kept))
            grants = {
                (function, grantee)
                for function, grantee in grants
                if grantee != role or re.sub(r"^\w+\.|\(.*", "", function) in names
            }
    return grants


def _named(pairs: list[tuple[str, str]]) -> str:
    return ", ".join(f"{function} by {role}" for function, role in pairs[:3])


def _oid(patient: Patient, function: str) -> str:
    """The function's name as the database writes it; as it was given where the database does not know it."""
    row = patient.database.execute("select to_regprocedure(%s)::text", [function]).fetchone()
    return str(row[0]) if row and row[0] else function


def is_reachable(patient: Patient) -> bool:
    """Whether the database can be asked."""
    try:
        return bool(patient.get("DATABASE_URL")) and not patient.database.closed
    except psycopg.Error:
        return False


def _one_line(error: psycopg.Error) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


CHECKS = (database_answers, migrations_are_applied, doors_are_locked, roles_exist, execute_is_as_written)
