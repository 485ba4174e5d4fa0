"""Makes a bare Postgres look like a fresh hosted Supabase project, and adds users to it."""

from pathlib import Path
from uuid import UUID, uuid4

import psycopg
from psycopg.conninfo import make_conninfo

from local.supabase.passwords import hash_password

BOOTSTRAP_SQL = Path(__file__).with_name("bootstrap.sql")

_LOCK_KEY = 0x5D_B007  # any number that only this file uses

# What the dashboard runs for "automatically expose new tables: off", the default of projects made since 2026-05-30
# and of every project from 2026-10-30 (https://supabase.com/changelog/45329).
_HIDE_NEW_OBJECTS = """
alter default privileges {owner} in schema public
  revoke select, insert, update, delete on tables from anon, authenticated, service_role;
alter default privileges {owner} in schema public
  revoke usage, select on sequences from anon, authenticated, service_role;
alter default privileges {owner} in schema public
  revoke execute on functions from anon, authenticated, service_role;
alter default privileges {owner} in schema public revoke execute on functions from public;
"""


def apply_bootstrap(database_url: str, *, auto_expose: bool = True) -> None:
    """Lay `bootstrap.sql` into the database, in one transaction; running it again changes nothing.

    `database_url` must belong to a superuser. With `auto_expose`, new objects in `public` are granted to the API roles
    by default, as on older hosted projects; without, they are not, as on newer ones: migrations have to work on both.
    Raises `psycopg.Error`.
    """
    script = BOOTSTRAP_SQL.read_text()
    if not auto_expose:
        script += _HIDE_NEW_OBJECTS.format(owner="") + _HIDE_NEW_OBJECTS.format(owner="for role hosted_postgres")
    # Roles belong to the cluster, advisory locks to one database: all bootstraps of a cluster queue up in `postgres`.
    with psycopg.connect(make_conninfo(database_url, dbname="postgres"), autocommit=True) as gate:
        gate.execute("select pg_advisory_lock(%s)", [_LOCK_KEY])
        with psycopg.connect(database_url, options="-c client_min_messages=warning") as connection:
            connection.execute(script.encode())


def create_user(database_url: str, *, email: str, password: str, user_id: UUID | None = None) -> UUID:
    """Add a confirmed e-mail user as a sign-up would, and return its id.

    Raises `psycopg.errors.UniqueViolation` when the e-mail address or the id is taken.
    """
    chosen_id = user_id or uuid4()
    with psycopg.connect(database_url) as connection:
        connection.execute(
            """
            insert into auth.users (
              instance_id, id, aud, role, email, encrypted_password, email_confirmed_at,
              raw_app_meta_data, raw_user_meta_data, created_at, updated_at
            ) values (
              '00000000-0000-0000-0000-000000000000', %s, 'authenticated', 'authenticated', %s, %s, now(),
              '{"provider": "email", "providers": ["email"]}', '{"email_verified": true}', now(), now()
            )
            """,
            [chosen_id, email.lower(), hash_password(password)],
        )
    return chosen_id


def create_session(database_url: str, user_id: UUID) -> UUID:
    """Open a session as a sign-in would, and return its id.

    A token minted with this `session_id` is one that `/auth/v1/user` accepts. Raises
    `psycopg.errors.ForeignKeyViolation` when there is no such user.
    """
    session_id = uuid4()
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "insert into auth.sessions (id, user_id, created_at, updated_at) values (%s, %s, now(), now())",
            [session_id, user_id],
        )
    return session_id
