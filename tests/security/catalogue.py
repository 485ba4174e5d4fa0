"""What the catalogue says of who may do what, and what happens when each actor really tries.

Nothing here knows the names of our objects: what is new is seen without being told of.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, LiteralString
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from tests.support.books import Books

SCHEMAS = ["public", "internal"]

_RELATIONS = """
select c.oid::regclass::text, n.nspname, c.relname, c.relkind
from pg_class as c
inner join pg_namespace as n on c.relnamespace = n.oid
where n.nspname = any(%s) and c.relkind in ('r', 'p', 'v', 'm', 'f')
order by n.nspname desc, c.relname
"""

_OTHERS = sql.SQL("""
others as (
  -- Whoever a token can name: what authenticator is and may become, and PostgreSQL's word for everybody.
  select 'public' as role
  union all
  select r.rolname from pg_roles as r
  where not r.rolsuper and pg_has_role('authenticator', r.oid, 'member') and r.rolname !~ '^pg_'
)
""")

_TABLE_RIGHTS = sql.SQL("""
with {others}
select c.oid::regclass::text, o.role, lower(p.name), null::text[]
from pg_class as c
cross join others as o
cross join unnest(
  array['DELETE', 'TRUNCATE', 'TRIGGER']
  || case when current_setting('server_version_num')::integer >= 170000 then array['MAINTAIN'] else '{{}}' end
) as p (name)
where c.relnamespace = any(%(schemas)s::regnamespace[]) and c.relkind in ('r', 'p', 'v', 'm', 'f')
  and has_table_privilege(o.role, c.oid, p.name)
union all
select c.oid::regclass::text, o.role, lower(p.name), array_agg(a.attname::text order by a.attnum)
from pg_class as c
inner join pg_attribute as a on c.oid = a.attrelid and a.attnum > 0 and not a.attisdropped
cross join others as o
cross join unnest(array['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) as p (name)
where c.relnamespace = any(%(schemas)s::regnamespace[]) and c.relkind in ('r', 'p', 'v', 'm', 'f')
  and has_column_privilege(o.role, c.oid, a.attnum, p.name)
group by c.oid, o.role, p.name
""").format(others=_OTHERS)

_SEQUENCE_RIGHTS = sql.SQL("""
with {others}
select c.oid::regclass::text, array_agg((o.role || ' ' || lower(p.name))::text) filter (where o.role is not null)
from pg_class as c
left join (others as o cross join unnest(array['USAGE', 'SELECT', 'UPDATE']) as p (name))
  on has_sequence_privilege(o.role, c.oid, p.name)
where c.relnamespace = any(%(schemas)s::regnamespace[]) and c.relkind = 'S'
group by c.oid
""").format(others=_OTHERS)

_FUNCTION_RIGHTS = sql.SQL("""
with {others}
select
  p.oid::regprocedure::text, p.prosecdef,
  array_agg(o.role::text order by o.role) filter (where o.role is not null)
from pg_proc as p
left join others as o on has_function_privilege(o.role, p.oid, 'EXECUTE')
where p.pronamespace = any(%(schemas)s::regnamespace[])
group by p.oid
""").format(others=_OTHERS)

_SCHEMA_RIGHTS = sql.SQL("""
with {others}
select n.nspname, array_agg((o.role || ' ' || lower(p.name))::text) filter (where o.role is not null)
from pg_namespace as n
left join (others as o cross join unnest(array['USAGE', 'CREATE']) as p (name))
  on has_schema_privilege(o.role, n.oid, p.name)
where n.oid = any(%(schemas)s::regnamespace[])
group by n.nspname
""").format(others=_OTHERS)


def columns_granted(db: psycopg.Connection) -> dict[tuple[str, str], str]:
    """(table, "role privilege") -> the columns, or "the table" for what is granted on all of it or not at all."""
    with db.transaction(force_rollback=True):
        db.execute("set local search_path = public")
        found = db.execute(_TABLE_RIGHTS, {"schemas": SCHEMAS}).fetchall()
    return {(table, f"{role} {right}"): " ".join(columns or ["the table"]) for table, role, right, columns in found}


def sequence_rights(db: psycopg.Connection) -> dict[str, list[str]]:
    """Sequence -> "role privilege" of everybody who has one."""
    return _by_name(db, _SEQUENCE_RIGHTS)


def schema_rights(db: psycopg.Connection) -> dict[str, list[str]]:
    """Schema -> "role privilege" of everybody who has one."""
    return _by_name(db, _SCHEMA_RIGHTS)


def _by_name(db: psycopg.Connection, query: sql.Composed) -> dict[str, list[str]]:
    with db.transaction(force_rollback=True):
        db.execute("set local search_path = public")
        return {name: sorted(held or []) for name, held in db.execute(query, {"schemas": SCHEMAS})}


def function_rights(db: psycopg.Connection) -> dict[str, tuple[str, list[str]]]:
    """Function with the types of its arguments -> definer or invoker, and the roles that may execute it."""
    with db.transaction(force_rollback=True):
        db.execute("set local search_path = public")
        found = db.execute(_FUNCTION_RIGHTS, {"schemas": SCHEMAS}).fetchall()
    return {name: ("definer" if definer else "invoker", roles or []) for name, definer, roles in found}


# --- really trying ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Relation:
    """A table or view: its name as SQL, its columns, the columns that name a row."""

    name: str
    schema: str
    table: str
    columns: tuple[str, ...]
    key: tuple[str, ...]

    @property
    def sql(self) -> sql.Composable:
        """Its name, quoted."""
        return sql.Identifier(self.schema, self.table)


@dataclass(frozen=True)
class Actor:
    """Who tries: the database role, and the user that the token names, if it names one."""

    role: str
    user_id: str | None = None


@dataclass
class People:
    """Two users with a row of their own in every table that has rows of users."""

    owner: Books
    stranger: Books
    rows: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def settle_in(cls, db: psycopg.Connection) -> "People":
        """Have both live through enough that every table has something of theirs."""
        people = cls(Books(db), Books(db))
        for books in (people.owner, people.stranger):
            _live(books)
        return people


def _live(books: Books) -> None:
    card = books.card()
    books.insert(
        "setup_intents",
        id=f"seti_{uuid4().hex[:14]}",
        user_id=books.user_id,
        status="succeeded",
        terms_version="2026-10",
        payment_method_id=card["id"],
    )
    campaign = books.campaign()
    step = books.started(campaign)
    facts = books.facts(step, "succeeded")
    books.settle(facts, step["attempt_id"])
    books.db.execute(
        """insert into public.matches (campaign_id, offer_id, user_id, verdict, state)
        select campaign_id, offer_id, user_id, 'matched', 'charged' from public.bookings where id = %s
        on conflict do nothing""",
        [step["booking_id"]],
    )
    books.call("begin_refund", p_booking_id=step["booking_id"], p_amount_minor=100)
    books.insert(
        "disputes",
        id=f"dp_{uuid4().hex[:14]}",
        booking_id=step["booking_id"],
        user_id=books.user_id,
        status="needs_response",
        reason="fraudulent",
        amount_minor=100,
        currency="eur",
        status_at="now",
    )
    books.insert(
        "incidents", kind="test", dedupe_key=uuid4().hex, booking_id=step["booking_id"], detail="Something to look at."
    )
    event = {"id": f"evt_{uuid4().hex}", "type": "ping", "livemode": False, "created": 1_700_000_000}
    books.call("receive_event", p_event=event)


def relations(db: psycopg.Connection) -> list[Relation]:
    """Every table and view of the schemas."""
    with db.transaction(force_rollback=True):
        db.execute("set local search_path = public")
        found = db.execute(_RELATIONS, [SCHEMAS]).fetchall()
    described = []
    for name, schema, table, _kind in found:
        columns = db.execute(
            """select a.attname, coalesce(a.attnum = any(i.indkey), false) from pg_attribute as a
            left join pg_index as i on a.attrelid = i.indrelid and i.indisprimary
            where a.attrelid = %s::regclass and a.attnum > 0 and not a.attisdropped order by a.attnum""",
            [f'"{schema}"."{table}"'],
        ).fetchall()
        names = tuple(column for column, _ in columns)
        key = tuple(column for column, in_key in columns if in_key)
        described.append(Relation(name, schema, table, names, key or names[:1]))
    return described


_ROW_OF: dict[str, LiteralString] = {
    "offers": "id in (select offer_id from public.matches where user_id = %s)",
    "ledger_entries": "campaign_id in (select id from public.campaigns where user_id = %s)",
    "booking_view": "campaign_id in (select id from public.campaigns where user_id = %s)",
    "incidents": "booking_id in (select id from public.bookings where user_id = %s)",
    "audit_log": "row_id = %s::text",
}


def row_of(db: psycopg.Connection, relation: Relation, user_id: str) -> dict[str, Any] | None:
    """A row that is the user's, each value as text; of what belongs to nobody, any row. None where there is none."""
    condition = "user_id = %s" if "user_id" in relation.columns else _ROW_OF.get(relation.table, "%s::uuid is not null")
    query = sql.SQL("select {} from {} where {} limit 1").format(
        sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in relation.columns),
        relation.sql,
        sql.SQL(condition),
    )
    found = db.execute(query, [user_id]).fetchone()
    return None if found is None else dict(zip(relation.columns, found, strict=True))


def attempt(db: psycopg.Connection, actor: Actor, relation: Relation, user_id: str, row: dict[str, Any] | None) -> str:
    """What the actor can really do with that user's row: some of r, c, u, d (read, create, update, delete)."""
    if row is None:
        return "no row to try with"
    with db.transaction(force_rollback=True):
        granted = _granted(db, actor.role, relation)
        become(db, actor)
        where = sql.SQL(" and ").join(
            sql.SQL("{} = {}").format(sql.Identifier(column), sql.Literal(row[column])) for column in relation.key
        )
        key = sql.SQL(", ").join(map(sql.Identifier, relation.key))
        column = granted["UPDATE"][0] if granted["UPDATE"] else relation.columns[:2][-1]
        changed, value = sql.Identifier(column), sql.Literal(row[column])
        update = sql.SQL("update {} set {} = {}").format(relation.sql, changed, value)
        delete = sql.SQL("delete from {}").format(relation.sql)
        of_row = sql.SQL(" where {}").format(where)
        done = {
            "r": _tried(db, sql.SQL("select {} from {}").format(key, relation.sql) + of_row),
            "c": _tried(db, _insert(relation, granted["INSERT"], user_id, row, own=user_id == actor.user_id)),
            "u": _tried(db, update + of_row) or _struck(db, update, relation, of_row),
            "d": _tried(db, delete + of_row) or _struck(db, delete, relation, of_row),
        }
    return "".join(letter if possible else "-" for letter, possible in done.items())


def _granted(db: psycopg.Connection, role: str, relation: Relation) -> dict[str, list[str]]:
    found = db.execute(
        """select
          array_agg(attname::text) filter (where has_column_privilege(%(role)s, attrelid, attnum, 'INSERT')),
          array_agg(attname::text) filter (where has_column_privilege(%(role)s, attrelid, attnum, 'UPDATE'))
        from pg_attribute where attrelid = %(table)s::regclass and attnum > 0 and not attisdropped""",
        {"role": role, "table": f'"{relation.schema}"."{relation.table}"'},
    ).fetchone()
    assert found is not None
    return {"INSERT": found[0] or [], "UPDATE": found[1] or []}


def become(db: psycopg.Connection, actor: Actor) -> None:
    """As PostgREST does for a request: the role, and the token's claims, until the transaction (or savepoint) ends."""
    claims = {"role": actor.role} | ({"sub": actor.user_id} if actor.user_id else {})
    db.execute(
        "select set_config('request.jwt.claims', %s::text, true), set_config('role', %s, true)",
        [Jsonb(claims), actor.role],
    )


def _insert(relation: Relation, granted: list[str], user_id: str, row: dict[str, Any], *, own: bool) -> sql.Composed:
    """A new row for that user, of the columns that one may write; the owner of one's own is the default's to say."""
    columns = [column for column in granted if not column.startswith("idempotency")]
    values = [row[column] for column in columns]
    if not own and "user_id" in relation.columns and "user_id" not in columns:
        columns, values = [*columns, "user_id"], [*values, user_id]
    if not columns:
        return sql.SQL("insert into {} default values").format(relation.sql)
    return sql.SQL("insert into {} ({}) values ({})").format(
        relation.sql,
        sql.SQL(", ").join(map(sql.Identifier, columns)),
        sql.SQL(", ").join(map(sql.Literal, values)),
    )


def _tried(db: psycopg.Connection, statement: sql.Composed) -> bool:
    """Whether the statement touched a row, or failed by something that comes after all access control."""
    try:
        with db.transaction(force_rollback=True):
            return db.execute(statement).rowcount > 0
    except psycopg.errors.InsufficientPrivilege as error:
        message = str(error)
        return "permission denied" not in message and "row-level security" not in message
    except psycopg.Error:
        return True


def _place(db: psycopg.Connection, relation: Relation, of_row: sql.Composed) -> Any:
    """Where the row lies, None if it is gone: an update moves it. A view's rows lie nowhere."""
    found = db.execute(sql.SQL("select t.ctid::text from {} as t").format(relation.sql) + of_row).fetchone()
    return found and found[0]


def _struck(db: psycopg.Connection, statement: sql.Composed, relation: Relation, of_row: sql.Composed) -> bool:
    """Whether a statement that names no row, so that no policy for reading is asked, changed or deleted this one."""
    try:
        with db.transaction(force_rollback=True):
            role = db.execute("select current_user").fetchone()
            assert role is not None
            db.execute("reset role")
            before = _place(db, relation, of_row)
            db.execute(sql.SQL("set local role {}").format(sql.Identifier(role[0])))
            db.execute(statement)
            db.execute("reset role")
            changed: bool = _place(db, relation, of_row) != before
            return changed
    except psycopg.Error:
        return False


ACTORS = ("own", "foreign", "no sub", "anon", "service_role", "authenticator", "functions")
"""Columns of the matrix: a user with a row of theirs, with another's, one whose token names nobody; the rest."""


def row_rights(db: psycopg.Connection, people: People, only: str | None = None) -> dict[str, str]:
    """Relation -> what each of ACTORS can do with its rows, e.g. "r--- ----"; where several differ, who."""
    owner, stranger = people.owner.user_id, people.stranger.user_id
    found: dict[str, str] = {}
    for relation in relations(db):
        if only not in (None, relation.name):
            continue
        rows = {user_id: row_of(db, relation, user_id) for user_id in (owner, stranger)}
        cells = []
        for tries in _tries(db, owner, stranger):
            answers = defaultdict(list)
            for actor, whose in tries:
                answers[attempt(db, actor, relation, whose, rows[whose])].append(actor.role)
            cells.append(
                next(iter(answers))
                if len(answers) == 1
                else ",".join(f"{rights}:{'+'.join(roles)}" for rights, roles in sorted(answers.items()))
            )
        found[relation.name] = " ".join(cells)
    return found


def _tries(db: psycopg.Connection, owner: str, stranger: str) -> list[list[tuple[Actor, str]]]:
    """Who tries with whose row, in the order of ACTORS."""
    user, other = Actor("authenticated", owner), Actor("authenticated", stranger)
    functions = db.execute("select rolname from pg_roles where rolname ~ '^autobook_' order by rolname").fetchall()
    return [
        [(user, owner), (other, stranger)],
        [(user, stranger), (other, owner)],
        [(Actor("authenticated"), owner)],
        [(Actor("anon"), owner)],
        [(Actor("service_role"), owner)],
        [(Actor("authenticator"), owner)],
        [(Actor(role), owner) for (role,) in functions],
    ]


def matrix(db: psycopg.Connection, people: People, only: str | None = None) -> dict[str, str]:
    """Every object -> who may do what with it; rows are tried for `only` that relation, if one is named."""
    with db.transaction(force_rollback=True):
        tried = {f"rows of {name}": cells for name, cells in row_rights(db, people, only).items()}
    columns = {f"{table}: {who}": names for (table, who), names in columns_granted(db).items()}
    functions = {name: f"{kind} {' '.join(roles) or '-'}" for name, (kind, roles) in function_rights(db).items()}
    sequences = {f"sequence {name}": ", ".join(held) or "-" for name, held in sequence_rights(db).items()}
    schemas = {f"schema {name}": ", ".join(held) or "-" for name, held in schema_rights(db).items()}
    return tried | columns | functions | sequences | schemas
