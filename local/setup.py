"""Build the project's environment in `.venv` from `uv.lock`: what `make setup` runs.

Needs nothing but Python 3.11 or newer with its standard library, so it imports nothing else. Run it from the
checkout as `python3 -m local.setup`; it is quick when there is nothing to do, waits for a set-up that runs
beside it, and starts over when an earlier one was interrupted.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - this very file is what tells the owner of an older Python so
    _found = "{}.{}".format(*sys.version_info[:2])
    sys.exit(f"Autobook needs Python 3.11 or newer, and this is {_found}. Name another: make PYTHON=python3.12")

import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import tomllib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / ".local"
VENV = ROOT / ".venv"
UV_VERSION = "0.13.9"
"""The uv that reads `uv.lock`, pinned so that every machine resolves and installs alike."""


class SetupError(Exception):
    """Set-up can't go on; the message says what its reader can do about it."""


def fingerprint(root: Path) -> str:
    """What the environment of the checkout at `root` depends on, as a hash: unchanged means nothing to do.

    The checkout's own path is a part of it, because an environment that was copied along with its checkout
    still points to the old place. Of pyproject.toml only what names packages counts, not settings of linters.
    """
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    wanted = [project.get("project"), project.get("dependency-groups"), project.get("tool", {}).get("uv")]
    lock = hashlib.sha256((root / "uv.lock").read_bytes()).hexdigest()
    facts = [UV_VERSION, str(root), sys.version, sys.base_prefix, wanted, lock]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def ensure(root: Path = ROOT) -> bool:
    """Bring the environment of the checkout at `root` up to date.

    Returns whether there was anything to do. Raises SetupError with advice when it can't.
    """
    state, venv = root / ".local", root / ".venv"
    stamp, pending = state / "setup.stamp", state / "setup.pending"
    wanted = fingerprint(root)
    if _is_current(stamp, wanted, venv):
        return False
    _make_writable_directory(state)
    with _exclusive(state / "setup.lock"):
        if _is_current(stamp, wanted, venv):  # the one we waited for has done it
            return False
        if pending.exists() or (venv.exists() and not _runs(venv)):
            # A package that was being unpacked can look whole to uv, so a half-made environment is made anew.
            shutil.rmtree(venv, ignore_errors=True)
        stamp.unlink(missing_ok=True)
        pending.touch()
        _sync(_uv(state), root, venv)
        stamp.write_text(wanted, "utf-8")
        pending.unlink()
    return True


def _is_current(stamp: Path, wanted: str, venv: Path) -> bool:
    return stamp.is_file() and stamp.read_text("utf-8") == wanted and (venv / "bin" / "python").exists()


def _runs(venv: Path) -> bool:
    """Whether the interpreter of `venv` starts; it doesn't once the Python it was made from is gone."""
    try:
        probe = subprocess.run([venv / "bin" / "python", "-c", ""], capture_output=True, check=False, timeout=30)
    except OSError:
        return False
    return probe.returncode == 0


def _make_writable_directory(directory: Path) -> None:
    try:
        directory.mkdir(exist_ok=True)
    except OSError as error:
        raise SetupError(f"Can't create {directory}: {error.strerror}. Is this checkout yours to write?") from error
    if not os.access(directory, os.W_OK):
        raise SetupError(
            f"{directory} can't be written by you: another user ran Autobook in this checkout. "
            "Let that user run `make clean`, or clone it anew."
        )


@contextmanager
def _exclusive(path: Path) -> "Iterator[None]":
    """Hold the lock file at `path`; the system lets go of it however this process ends."""
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another set-up is running in this checkout: waiting for it.", flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _uv(state: Path) -> Path:
    """The pinned uv, installed into an environment of its own below `state` unless it is there."""
    home = state / f"uv-{UV_VERSION}"
    uv = home / "bin" / "uv"
    if _answers(uv):
        return uv
    print(f"Installing uv {UV_VERSION}.", flush=True)
    shutil.rmtree(home, ignore_errors=True)
    wanted = f"uv=={UV_VERSION}"
    requirement = ["--quiet", "--disable-pip-version-check", "--only-binary", ":all:", wanted]
    if importlib.util.find_spec("ensurepip") is not None:
        _run([sys.executable, "-m", "venv", home], "create an environment for uv")
        _run([home / "bin" / "python", "-m", "pip", "install", *requirement], f"install {wanted}")
    elif importlib.util.find_spec("pip") is not None:
        _run(
            [sys.executable, "-m", "pip", "install", "--target", home, *requirement],
            f"install uv {UV_VERSION}",
        )
    else:
        version = "{}.{}".format(*sys.version_info[:2])
        raise SetupError(
            f"{sys.executable} has neither venv with ensurepip nor pip, so nothing can be installed with it. "
            f"On Debian or Ubuntu: apt-get install python3-venv (or python{version}-venv)."
        )
    if not _answers(uv):
        raise SetupError(f"uv was installed to {home} but doesn't start.")
    return uv


def _answers(uv: Path) -> bool:
    try:
        return subprocess.run([uv, "--version"], capture_output=True, check=False, timeout=30).returncode == 0
    except OSError:
        return False


def _sync(uv: Path, root: Path, venv: Path) -> None:
    """Install what `uv.lock` says, bytecode included: with PYTHONDONTWRITEBYTECODE no import writes any."""
    environment = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    environment |= {
        "UV_PROJECT_ENVIRONMENT": str(venv),
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NO_PROGRESS": "1",
    }
    if "UV_CACHE_DIR" not in environment and not _home_is_writable():
        environment["UV_CACHE_DIR"] = str(root / ".local" / "uv-cache")
    print("Installing the packages of uv.lock.", flush=True)
    # --inexact leaves alone what an engineer has added by hand; a fresh clone is exact anyhow.
    options = ["--frozen", "--inexact", "--compile-bytecode", "--quiet", "--python", sys.executable]
    _run([uv, "sync", *options, "--project", root], "install the packages of uv.lock", environment)


def _home_is_writable() -> bool:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path(os.path.expanduser("~")) / ".cache")  # noqa: PTH111 - Path.expanduser raises for a user without a home
    existing = next(parent for parent in (cache, *cache.parents) if parent.exists())
    return os.access(existing, os.W_OK)


def _run(command: "list[str | Path]", purpose: str, environment: "Mapping[str, str] | None" = None) -> None:
    result = subprocess.run(command, cwd=ROOT, env=environment, check=False)
    if result.returncode != 0:
        raise SetupError(f"Could not {purpose} (exit status {result.returncode}); its own words stand above.")


def main() -> int:
    """Set up, and say in one line what was wrong if it fails. Returns the exit status."""
    try:
        if ensure():
            print("Set-up is done.")
    except SetupError as error:
        print(f"Set-up failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Set-up was interrupted; the next one starts over.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
