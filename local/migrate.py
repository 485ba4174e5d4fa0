"""Applies `sql/` and `policies/` to a database (`autobook migrate`), the same way everywhere.

dbmate does the applying: both folders as one line of numbers, each file in a transaction together with its
row in `supabase_migrations.schema_migrations`, the table in which the Supabase CLI looks too. Around it
stands what dbmate lacks: an advisory lock, so that runs at the same time queue up, and the checksums of
applied files in `supabase_migrations.autobook_checksums`, so that a file edited after it was applied is an
error.

The lock belongs to a session. A transaction-mode pooler (Supabase's port 6543) gives every statement
another one, so DATABASE_URL has to be the direct connection or the session pooler, both on port 5432.
"""

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent
DIRECTORIES = (ROOT / "sql", ROOT / "policies")

_LOCK_KEY = 0x41_75_74_6F_62_6F_6F_6B  # "Autobook": any number will do that every run shares
_DBMATE_TIMEOUT_SECONDS = 900.0
TRANSACTION_POOLER_PORT = 6543
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_FILE_NAME = re.compile(r"(?P<version>\d{4})_[a-z0-9_]+\.sql")

_LEDGER = """
create schema if not exists supabase_migrations;
create table if not exists supabase_migrations.autobook_checksums (
  version    text primary key,
  name       text not null,
  sha256     text not null,
  applied_at timestamptz
);
alter table supabase_migrations.autobook_checksums enable row level security;
comment on table supabase_migrations.autobook_checksums is
  'Which wording of each migration file this database has. applied_at is null while a file is being applied.';
"""

_NOTE_TIME = """
update supabase_migrations.autobook_checksums as checksum set applied_at = clock_timestamp()
from supabase_migrations.schema_migrations as applied
where applied.version = checksum.version and checksum.applied_at is null
"""


class MigrationError(Exception):
    """The database can't be migrated; the message names the file and says what to do."""


class State(StrEnum):
    """How a file stands to the database."""

    APPLIED = "applied"
    PENDING = "pending"
    CHANGED = "changed since it was applied"
    MISSING = "applied, but its file is gone"


@dataclass(frozen=True)
class Migration:
    """One file: its number, its path and the hash of its bytes."""

    version: str
    path: Path
    sha256: str

    @property
    def name(self) -> str:
        """Folder and file, e.g. `sql/0001_foundations.sql`."""
        return f"{self.path.parent.name}/{self.path.name}"


def read_migrations(directories: "Sequence[Path]" = DIRECTORIES) -> list[Migration]:
    """The files of all directories in the order of their numbers.

    Raises MigrationError for a name that isn't `0001_lower_case.sql`, a number used twice, a file that
    doesn't begin with `-- migrate:up`, and one that asks to be applied outside a transaction.
    """
    found: dict[str, Migration] = {}
    for path in sorted(path for directory in directories for path in directory.glob("*.sql")):
        match = _FILE_NAME.fullmatch(path.name)
        if match is None:
            raise MigrationError(f"{path}: a migration is named like 0001_lower_case.sql")
        content = path.read_bytes()
        if content.partition(b"\n")[0].strip() != b"-- migrate:up":
            raise MigrationError(
                f"{path}: the first line has to be `-- migrate:up` and no more: every file is one transaction"
            )
        migration = Migration(match["version"], path, hashlib.sha256(content).hexdigest())
        twin = found.setdefault(migration.version, migration)
        if twin is not migration:
            raise MigrationError(f"{migration.name} and {twin.name} have the same number; both folders share one line")
    return [found[version] for version in sorted(found)]


def migrate(database_url: str, directories: "Sequence[Path]" = DIRECTORIES) -> list[str]:
    """Apply every file that the database lacks, and return their names in the order of their application.

    A file that fails leaves nothing behind; those before it stay. Raises MigrationError, psycopg.Error.
    """
    migrations = read_migrations(directories)
    with _locked(database_url) as connection:
        connection.execute(_LEDGER)
        states = _compare(connection, migrations)
        _refuse_contradictions(states)
        pending = [migration for migration in migrations if states[migration.name] is State.PENDING]
        if not pending:
            return []
        connection.cursor().executemany(
            """
            insert into supabase_migrations.autobook_checksums (version, name, sha256) values (%s, %s, %s)
            on conflict (version) do update set name = excluded.name, sha256 = excluded.sha256, applied_at =
            null """,
            [(migration.version, migration.name, migration.sha256) for migration in pending],
        )
        try:
            _run_dbmate(database_url, migrations)
        finally:
            if _exists(connection, "supabase_migrations.schema_migrations"):
                connection.execute(_NOTE_TIME)
        return [migration.name for migration in pending]


def status(database_url: str, directories: "Sequence[Path]" = DIRECTORIES) -> dict[str, State]:
    """How each file stands to the database, by name and in order, changing nothing.

    Raises MigrationError for files that can't be read as migrations, psycopg.Error.
    """
    migrations = read_migrations(directories)
    with psycopg.connect(database_url, autocommit=True) as connection:
        return _compare(connection, migrations)


def pending(database_url: str, directories: "Sequence[Path]" = DIRECTORIES) -> list[str]:
    """The names of the files that `migrate` would apply, in order, changing nothing. Raises as `migrate` does."""
    states = status(database_url, directories)
    _refuse_contradictions(states)
    return [name for name, state in states.items() if state is State.PENDING]


@contextmanager
def _locked(database_url: str) -> "Iterator[psycopg.Connection]":
    """A session that holds the lock: one migration of a database at a time."""
    if urlsplit(database_url).port == TRANSACTION_POOLER_PORT:
        raise MigrationError(
            "DATABASE_URL names port 6543, the transaction pooler: migrations need a session of their own. "
            "Take the direct connection or the session pooler (port 5432)."
        )
    with psycopg.connect(database_url, autocommit=True) as connection:
        row = connection.execute("select pg_try_advisory_lock(%s)", [_LOCK_KEY]).fetchone()
        if row is None or not row[0]:
            print("Another migration of this database is running: waiting for it.", file=sys.stderr)
            connection.execute("select pg_advisory_lock(%s)", [_LOCK_KEY])
        yield connection  # closing the session lets go of the lock


def _compare(connection: psycopg.Connection, migrations: list[Migration]) -> dict[str, State]:
    applied: set[str] = set()
    checksums: dict[str, tuple[str, str]] = {}
    if _exists(connection, "supabase_migrations.schema_migrations"):
        rows = connection.execute("select version from supabase_migrations.schema_migrations")
        applied = {version for (version,) in rows}
    if _exists(connection, "supabase_migrations.autobook_checksums"):
        rows = connection.execute("select version, name, sha256 from supabase_migrations.autobook_checksums")
        checksums = {version: (name, sha256) for version, name, sha256 in rows if version in applied}
    states: dict[str, State] = {}
    for migration in migrations:
        if migration.version not in applied:
            states[migration.name] = State.PENDING
        elif checksums.get(migration.version, ("", None))[1] == migration.sha256:
            states[migration.name] = State.APPLIED
        else:
            states[migration.name] = State.CHANGED
    # Versions without a checksum are somebody else's: a hosted project may have migrations of its own.
    present = {migration.version for migration in migrations}
    states |= {name: State.MISSING for version, (name, _) in checksums.items() if version not in present}
    return states


def _exists(connection: psycopg.Connection, table: str) -> bool:
    row = connection.execute("select to_regclass(%s) is not null", [table]).fetchone()
    return row is not None and bool(row[0])


def _refuse_contradictions(states: dict[str, State]) -> None:
    wrong = {name: state for name, state in states.items() if state in (State.CHANGED, State.MISSING)}
    if wrong:
        listed = "\n".join(f"  {name}: {state}" for name, state in wrong.items())
        raise MigrationError(
            "What was applied is history. Restore the file, and put the change into a new one with a higher "
            f"number:\n{listed}"
        )


def _run_dbmate(database_url: str, migrations: list[Migration]) -> None:
    """Let dbmate apply what is pending.

    It gets copies, so that what is applied is what was hashed, each with the empty down block that dbmate
    insists on: money's history isn't rolled back, a mistake is mended by the next file. Its URL goes
    through the environment, since arguments can be read by every account of the machine.
    """
    with tempfile.TemporaryDirectory(prefix="autobook-migrate-") as scratch:
        arguments: list[str] = []
        for folder in dict.fromkeys(migration.path.parent.name for migration in migrations):
            (Path(scratch) / folder).mkdir()
            arguments += ["--migrations-dir", str(Path(scratch) / folder)]
        for migration in migrations:
            content = migration.path.read_bytes()
            if hashlib.sha256(content).hexdigest() != migration.sha256:
                raise MigrationError(f"{migration.name} was edited while it was being applied: run it again")
            (Path(scratch) / migration.name).write_bytes(content + b"\n-- migrate:down\n")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DBMATE_")}
        result = subprocess.run(
            [
                *(Path(sys.executable).with_name("dbmate"), "--env-file", os.devnull, "--no-dump-schema"),
                *("--migrations-table", "supabase_migrations.schema_migrations"),
                *arguments,
                *("migrate", "--strict"),
            ],
            env=environment | {"DATABASE_URL": _for_dbmate(database_url)},
            capture_output=True,
            text=True,
            check=False,
            timeout=_DBMATE_TIMEOUT_SECONDS,
        )
    if result.returncode != 0:
        attempted = re.findall(r"^Applying: (\S+)", result.stdout, re.MULTILINE)
        failed = next((m.name for m in migrations if attempted and m.path.name == attempted[-1]), "dbmate")
        raise MigrationError(f"{failed}: {result.stderr.strip()}")


def _for_dbmate(database_url: str) -> str:
    """The same URL, with TLS off for a loopback server unless it says: dbmate's driver would insist on it."""
    parts = urlsplit(database_url)
    options = dict(parse_qsl(parts.query))
    if parts.hostname in _LOOPBACK and "sslmode" not in options and "PGSSLMODE" not in os.environ:
        return urlunsplit(parts._replace(query=urlencode(options | {"sslmode": "disable"})))
    return database_url
