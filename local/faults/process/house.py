"""The local stack over a durable Postgres of its own, whose parts can be killed, stopped, starved, and brought back."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg

from local.migrate import migrate
from local.postgres import PostgresServer
from local.postgres_binaries import PostgresUnavailableError
from local.stack import LocalStack, StackOptions, prepare_database
from local.stack_settings import base_environment
from local.supabase.bootstrap import apply_bootstrap

_VOLUME_MIB = 768
_RECONCILE_EVERY_SECONDS = 5.0
_MATCH_RESEND_SECONDS = 5
"""Deployed: five minutes and one. A minute's run has not the time for that, and nothing else is changed."""
_RESUME_ATTEMPTS = 40
_RESUME_PAUSE_SECONDS = 0.25


class House:
    """Use `open`. `volume` is the tmpfs that the database lives on, None where none could be mounted."""

    def __init__(self, server: PostgresServer, stack: LocalStack, volume: Path | None) -> None:
        self.server = server
        self.stack = stack
        self.volume = volume

    @classmethod
    @contextmanager
    def open(cls) -> Iterator["House"]:
        """Everything started, durable as in production; all of it ended afterwards, the volume unmounted."""
        with ExitStack() as everything:
            place = Path(everything.enter_context(tempfile.TemporaryDirectory(prefix="autobook-faults-")))
            place.chmod(0o755)  # Postgres runs as somebody else when we are root
            volume = everything.enter_context(_small_volume(place / "volume"))
            server = everything.enter_context(PostgresServer.start(data_dir=(volume or place) / "pg", durable=True))
            url = server.url()
            apply_bootstrap(url)
            migrate(url)
            prepare_database(url)
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("update internal.settings set match_resend_seconds = %s", [_MATCH_RESEND_SECONDS])
                connection.execute("alter system set max_wal_size = '160MB'")  # or the log alone would fill the volume
                connection.execute("select pg_reload_conf()")
                wanted = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
                for name, value in wanted.items():
                    shown = connection.execute("select current_setting(%s)", [name]).fetchone()
                    assert shown == (value,), f"{name} is {shown}: the database is not durable"
            options = StackOptions(reconcile_every_seconds=_RECONCILE_EVERY_SECONDS)
            stack = everything.enter_context(LocalStack.start(options, database_url=url))
            yield cls(server, stack, volume)

    # --- Postgres ----------------------------------------------------------------------------------------------------

    def kill_postgres(self) -> None:
        """SIGKILL to the postmaster and every process of it, at once."""
        postmaster = psutil.Process(int((self.server.data / "postmaster.pid").read_text().splitlines()[0]))
        family = [postmaster, *postmaster.children(recursive=True)]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.server.halt()

    def resume_postgres(self) -> None:
        """Start it from what the disk holds; it recovers by itself. Raises PostgresUnavailableError."""
        for remaining in reversed(range(_RESUME_ATTEMPTS)):
            try:
                self.server.resume()
            except PostgresUnavailableError:
                if not remaining:
                    raise
                time.sleep(_RESUME_PAUSE_SECONDS)  # the shared memory of the killed processes is being taken down
            else:
                return

    def postgres_answers(self) -> bool:
        """Whether it takes a connection and a write now."""
        try:
            with psycopg.connect(self.server.url(), connect_timeout=2) as connection:
                connection.execute("create temporary table probe on commit drop as select 1")
        except psycopg.Error:
            return False
        return True

    def fill_disk(self) -> int:
        """Take every free byte of the database's volume: how many there were."""
        taken = 0
        with self._ballast.open("wb", buffering=0) as ballast:
            for size in (2**20, 4096):
                with contextlib.suppress(OSError):  # ENOSPC, which is what we want
                    while True:
                        taken += ballast.write(bytes(size))
        return taken

    def free_disk(self) -> bool:
        """Give the space back, and start Postgres again if it went down: whether it had to be."""
        self._ballast.unlink(missing_ok=True)
        for _ in range(40):
            if self.postgres_answers():
                return False
            time.sleep(_RESUME_PAUSE_SECONDS)
        self.server.halt()
        self.resume_postgres()
        return True

    @property
    def _ballast(self) -> Path:
        assert self.volume is not None
        return self.volume / "ballast"

    # --- the stack's processes ---------------------------------------------------------------------------------------

    def kill(self, name: str) -> None:
        """SIGKILL to a process of the stack, by its module's name."""
        os.kill(self.stack.children[name].pid, signal.SIGKILL)

    def stall(self, name: str) -> None:
        """SIGSTOP: it keeps its connections and answers nobody."""
        os.kill(self.stack.children[name].pid, signal.SIGSTOP)

    def go_on(self, name: str) -> None:
        """SIGCONT."""
        os.kill(self.stack.children[name].pid, signal.SIGCONT)

    # --- afterwards --------------------------------------------------------------------------------------------------

    def reconcile(self) -> dict[str, list[dict[str, Any]]]:
        """Run reconcile by hand, in a process of its own: what each job found. Raises RuntimeError if it could not."""
        ran = subprocess.run(
            [sys.executable, "-m", "local.faults.process.reconcile_once"],
            env=base_environment() | self.stack.environment | {"LOG_LEVEL": "CRITICAL"},
            cwd=Path(__file__).resolve().parents[3],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        try:
            jobs: dict[str, list[dict[str, Any]]] = json.loads(ran.stdout.splitlines()[-1])["jobs"]
        except (ValueError, LookupError):
            raise RuntimeError(f"reconcile ended with {ran.returncode}: {ran.stderr[-2000:]}") from None
        return jobs


@contextmanager
def _small_volume(place: Path) -> Iterator[Path | None]:
    """A tmpfs of fixed size at the place, None where we may not mount one."""
    place.mkdir(mode=0o755)
    mount, unmount = shutil.which("mount"), shutil.which("umount")
    if os.geteuid() != 0 or mount is None or unmount is None:
        yield None
        return
    made = subprocess.run(
        [mount, "-t", "tmpfs", "-o", f"size={_VOLUME_MIB}m,mode=0755", "autobook-faults", str(place)],
        capture_output=True,
        check=False,
    )
    if made.returncode != 0:  # root in a container without CAP_SYS_ADMIN
        yield None
        return
    try:
        yield place
    finally:
        subprocess.run([unmount, "--lazy", str(place)], capture_output=True, check=True)
