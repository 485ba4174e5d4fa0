"""`make migrate`: both folders in one order, each file whole or not at all, nothing applied twice or edited after."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from local.migrate import MigrationError, State, migrate, read_migrations, status

ROOT = Path(__file__).parents[2]


class Folders:
    """A `sql/` and a `policies/` of a test's own."""

    def __init__(self, parent: Path) -> None:
        self.sql, self.policies = parent / "sql", parent / "policies"
        self.sql.mkdir()
        self.policies.mkdir()

    @property
    def both(self) -> tuple[Path, Path]:
        return self.sql, self.policies

    def write(self, name: str, statement: str) -> Path:
        path = self.sql.parent / name
        path.write_text(f"-- migrate:up\n{statement}\n")
        return path


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    made = Folders(tmp_path)
    made.write("sql/0001_notes.sql", "create table notes (step text);")
    made.write("policies/0002_first.sql", "insert into notes values ('policies 2');")
    made.write("sql/0003_second.sql", "insert into notes values ('sql 3');")
    return made


def steps(database_url: str) -> list[str]:
    with psycopg.connect(database_url) as connection:
        return [step for (step,) in connection.execute("select step from notes order by ctid")]


def versions(database_url: str) -> list[str]:
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("select version from supabase_migrations.schema_migrations order by version")
        return [version for (version,) in rows]


def test_two_folders_are_one_line(empty_database_url: str, folders: Folders) -> None:
    applied = migrate(empty_database_url, folders.both)
    assert applied == ["sql/0001_notes.sql", "policies/0002_first.sql", "sql/0003_second.sql"]
    assert steps(empty_database_url) == ["policies 2", "sql 3"]
    assert versions(empty_database_url) == ["0001", "0002", "0003"]
    assert migrate(empty_database_url, folders.both) == []
    assert set(status(empty_database_url, folders.both).values()) == {State.APPLIED}


def test_the_checksum_of_what_was_applied_is_kept(empty_database_url: str, folders: Folders) -> None:
    migrate(empty_database_url, folders.both)
    with psycopg.connect(empty_database_url) as connection:
        rows = connection.execute(
            "select version, name, sha256, applied_at is not null from supabase_migrations.autobook_checksums"
            " order by version"
        ).fetchall()
    assert rows == [(m.version, m.name, m.sha256, True) for m in read_migrations(folders.both)]


def test_later_files_are_added_to_earlier_ones(empty_database_url: str, folders: Folders) -> None:
    migrate(empty_database_url, folders.both)
    folders.write("policies/0004_third.sql", "insert into notes values ('policies 4');")
    assert status(empty_database_url, folders.both)["policies/0004_third.sql"] is State.PENDING
    assert migrate(empty_database_url, folders.both) == ["policies/0004_third.sql"]


def test_a_file_edited_after_it_was_applied_is_named(empty_database_url: str, folders: Folders) -> None:
    migrate(empty_database_url, folders.both)
    folders.write("policies/0002_first.sql", "insert into notes values ('rewritten');")
    folders.write("sql/0004_more.sql", "insert into notes values ('more');")
    with pytest.raises(MigrationError, match=r"policies/0002_first\.sql: changed"):
        migrate(empty_database_url, folders.both)
    assert steps(empty_database_url) == ["policies 2", "sql 3"]


def test_a_file_gone_after_it_was_applied_is_named(empty_database_url: str, folders: Folders) -> None:
    migrate(empty_database_url, folders.both)
    (folders.sql / "0003_second.sql").unlink()
    with pytest.raises(MigrationError, match=r"sql/0003_second\.sql: applied, but its file is gone"):
        migrate(empty_database_url, folders.both)


def test_a_number_that_comes_too_late_is_refused(empty_database_url: str, folders: Folders) -> None:
    folders.write("sql/0005_late.sql", "insert into notes values ('5');")
    migrate(empty_database_url, folders.both)
    folders.write("policies/0004_forgotten.sql", "insert into notes values ('4');")
    with pytest.raises(MigrationError, match="0004"):
        migrate(empty_database_url, folders.both)
    assert "0004" not in versions(empty_database_url)


def test_a_file_that_fails_leaves_nothing_and_can_be_mended(empty_database_url: str, folders: Folders) -> None:
    folders.write("sql/0004_broken.sql", "insert into notes values ('half');\ninsert into nowhere values (1);")
    folders.write("sql/0005_after.sql", "insert into notes values ('after');")
    with pytest.raises(MigrationError, match=r"sql/0004_broken\.sql: .*nowhere"):
        migrate(empty_database_url, folders.both)
    assert steps(empty_database_url) == ["policies 2", "sql 3"]
    assert versions(empty_database_url) == ["0001", "0002", "0003"]
    folders.write("sql/0004_broken.sql", "insert into notes values ('whole');")
    assert migrate(empty_database_url, folders.both) == ["sql/0004_broken.sql", "sql/0005_after.sql"]
    assert steps(empty_database_url)[-2:] == ["whole", "after"]


def test_a_run_that_died_before_it_noted_the_time_counts(empty_database_url: str, folders: Folders) -> None:
    migrate(empty_database_url, folders.both)
    with psycopg.connect(empty_database_url) as connection:
        connection.execute("update supabase_migrations.autobook_checksums set applied_at = null")
    assert migrate(empty_database_url, folders.both) == []
    folders.write("sql/0003_second.sql", "insert into notes values ('rewritten');")
    with pytest.raises(MigrationError, match="0003_second"):
        migrate(empty_database_url, folders.both)


def test_runs_at_the_same_time_queue_up(empty_database_url: str, folders: Folders) -> None:
    folders.write("sql/0004_slow.sql", "select pg_sleep(0.3); insert into notes values ('once');")
    barrier = threading.Barrier(4)

    def run(_: int) -> list[str]:
        barrier.wait(10)
        return migrate(empty_database_url, folders.both)

    with ThreadPoolExecutor(4) as workers:
        applied = list(workers.map(run, range(4)))
    assert sorted(len(names) for names in applied) == [0, 0, 0, 4]
    assert steps(empty_database_url).count("once") == 1


def test_migrations_of_others_are_no_concern_of_ours(empty_database_url: str, folders: Folders) -> None:
    migrate(empty_database_url, folders.both)
    with psycopg.connect(empty_database_url) as connection:
        connection.execute("insert into supabase_migrations.schema_migrations values ('0000')")
    assert migrate(empty_database_url, folders.both) == []


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("sql/1_short.sql", "-- migrate:up\n", "named like"),
        ("sql/0009_Capital.sql", "-- migrate:up\n", "named like"),
        ("sql/0009_bare.sql", "select 1;\n", "first line"),
        ("sql/0009_outside.sql", "-- migrate:up transaction:false\nselect 1;\n", "first line"),
        ("policies/0003_twin.sql", "-- migrate:up\nselect 1;\n", "same number"),
    ],
)
def test_files_that_break_a_rule_are_refused(folders: Folders, name: str, content: str, complaint: str) -> None:
    (folders.sql.parent / name).write_text(content)
    with pytest.raises(MigrationError, match=complaint):
        read_migrations(folders.both)


def test_a_transaction_pooler_is_refused(folders: Folders) -> None:
    with pytest.raises(MigrationError, match="6543"):
        migrate("postgresql://postgres:x@aws-0-eu.pooler.supabase.com:6543/postgres", folders.both)


def _command(*arguments: str, database_url: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "local.cli", "migrate", *arguments],
        env=os.environ | {"DATABASE_URL": database_url},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_command_says_what_it_did_and_exits_accordingly(fresh_database_url: str) -> None:
    done = _command("up", database_url=fresh_database_url)
    assert (done.returncode, done.stdout) == (0, "The database is up to date.\n")
    assert _command("status", database_url=fresh_database_url).returncode == 0
    with psycopg.connect(fresh_database_url) as connection:
        connection.execute("update supabase_migrations.autobook_checksums set sha256 = 'x' where version = '0001'")
    refused = _command("up", database_url=fresh_database_url)
    assert refused.returncode == 1
    assert "sql/0001" in refused.stderr
    assert _command("status", database_url=fresh_database_url).returncode == 1


def test_a_dry_run_changes_nothing(empty_database_url: str) -> None:
    dry = _command("up", "--dry-run", database_url=empty_database_url)
    assert dry.returncode == 0
    assert "would apply sql/0001" in dry.stdout
    assert _command("status", database_url=empty_database_url).returncode == 1
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("select to_regnamespace('supabase_migrations')").fetchone() == (None,)


def test_without_a_database_the_command_says_so(tmp_path: Path) -> None:
    (tmp_path / "none.env").write_text("STAGE=dev\n")
    done = _command("up", "--env-file", str(tmp_path / "none.env"), database_url="")
    assert done.returncode == 2
    assert "DATABASE_URL is not set" in done.stderr


def test_an_unreachable_database_is_an_error_without_its_password() -> None:
    failed = _command("up", database_url="postgresql://postgres:hunter2@127.0.0.1:1/none")
    assert failed.returncode == 3
    assert "hunter2" not in failed.stderr + failed.stdout
