"""Set-up from a fresh clone: quick when there is nothing to do, healing after an interruption, for any user."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from local import setup
from local.setup import SetupError

ROOT = Path(__file__).parents[2]
SLOW = pytest.mark.skipif(
    not os.environ.get("AUTOBOOK_SLOW"), reason="slow: .ci/run runs it (AUTOBOOK_SLOW=1 make test)"
)
_NOT_CLONED = shutil.ignore_patterns(".git", ".venv", ".local", "__pycache__", ".*_cache", ".hypothesis", "build")
_PROJECT = """
[project]
name = "tiny"
version = "1"
requires-python = ">=3.11"
dependencies = []

[tool.uv]
package = false
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project without dependencies, and the uv that this checkout has already."""
    (tmp_path / "pyproject.toml").write_text(_PROJECT)
    state = tmp_path / ".local"
    state.mkdir()
    uv = ROOT / ".local" / f"uv-{setup.UV_VERSION}"
    if uv.exists():
        (state / uv.name).symlink_to(uv)
    subprocess.run(
        [setup._uv(state), "lock", "--quiet", "--python", sys.executable, "--project", tmp_path],
        env=os.environ | {"UV_PYTHON_DOWNLOADS": "never"},
        check=True,
    )
    return tmp_path


def _works(project: Path) -> bool:
    probe = subprocess.run(
        [project / ".venv" / "bin" / "python", "-c", "print('works')"], capture_output=True, check=False
    )
    return probe.stdout == b"works\n"


def test_it_is_made_once(project: Path) -> None:
    assert setup.ensure(project) is True
    assert _works(project)
    assert setup.ensure(project) is False


def test_only_what_names_packages_makes_it_anew(project: Path) -> None:
    setup.ensure(project)
    pyproject = project / "pyproject.toml"
    pyproject.write_text(pyproject.read_text() + "\n[tool.ruff]\nline-length = 80\n")
    assert setup.ensure(project) is False
    pyproject.write_text(pyproject.read_text() + "\n[dependency-groups]\nempty = []\n")
    assert setup.ensure(project) is True


def test_another_lock_makes_it_anew(project: Path) -> None:
    setup.ensure(project)
    lock = project / "uv.lock"
    lock.write_text(lock.read_text() + "\n# changed\n")
    assert setup.ensure(project) is True


def test_what_was_interrupted_is_started_over(project: Path) -> None:
    setup.ensure(project)
    half_unpacked = project / ".venv" / "half-unpacked"
    half_unpacked.touch()
    (project / ".local" / "setup.stamp").unlink()
    (project / ".local" / "setup.pending").touch()
    assert setup.ensure(project) is True
    assert not half_unpacked.exists()
    assert _works(project)


def test_an_environment_whose_python_is_gone_is_made_anew(project: Path) -> None:
    setup.ensure(project)
    python = project / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python3")
    assert setup.ensure(project) is True
    assert _works(project)


def test_a_copied_checkout_gets_an_environment_of_its_own(
    project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    setup.ensure(project)
    copy = tmp_path_factory.mktemp("copy") / "checkout"
    shutil.copytree(project, copy, symlinks=True)
    assert setup.ensure(copy) is True


def test_set_ups_at_the_same_time_wait_for_one_another(project: Path) -> None:
    code = "import sys; from pathlib import Path; from local import setup; print(setup.ensure(Path(sys.argv[1])))"
    both = [
        subprocess.Popen([sys.executable, "-c", code, project], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=60)[0].splitlines()[-1] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(said) == ["False", "True"]


def test_a_killed_set_up_is_started_over(project: Path) -> None:
    code = "import sys; from pathlib import Path; from local import setup; setup.ensure(Path(sys.argv[1]))"
    process = subprocess.Popen([sys.executable, "-c", code, project], cwd=ROOT, stdout=subprocess.DEVNULL)
    pending = project / ".local" / "setup.pending"
    while not pending.exists() and process.poll() is None:
        time.sleep(0.001)  # there is nothing to wait on but the file itself
    process.kill()
    process.wait()
    setup.ensure(project)
    assert _works(project)
    assert not pending.exists()


def test_a_failure_is_said_and_not_taken_for_done(project: Path) -> None:
    (project / "uv.lock").write_text("this is no lock file")
    with pytest.raises(SetupError, match=r"uv\.lock"):
        setup.ensure(project)
    assert not (project / ".local" / "setup.stamp").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="only an ordinary user can be kept from writing")
def test_a_checkout_of_somebody_else_is_refused(project: Path) -> None:
    state = project / ".local"
    state.chmod(0o500)
    with pytest.raises(SetupError, match="can't be written"):
        setup.ensure(project)
    state.chmod(0o700)


def test_make_lists_its_targets() -> None:
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("setup", "stack", "demo", "test", "lint", "format", "types", "migrate", "bench-cold", "clean"):
        assert f"make {target}" in listed


# From here on: the whole of it, in clones, as two kinds of user.


class Clone:
    """A clone in a directory of its own, worked in by an account."""

    def __init__(self, directory: Path, account: pwd.struct_passwd | None) -> None:
        self.directory = directory
        self._account = account
        self._home = directory.parent / "home"
        self._home.mkdir()
        shutil.copytree(ROOT, directory, ignore=_NOT_CLONED)
        if account is not None:
            for path in (directory.parent, *directory.parent.rglob("*")):
                os.chown(path, account.pw_uid, account.pw_gid)

    def make(self, *arguments: str) -> "subprocess.Popen[str]":
        account = self._account
        identity: dict[str, Any] = {}
        if account is not None:
            identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        kept = ("PATH", "LANG", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT")
        environment = {name: value for name, value in os.environ.items() if name in kept}
        return subprocess.Popen(
            ["make", *arguments, f"PYTHON={_python_for_all()}"],
            cwd=self.directory,
            env=environment | {"HOME": str(self._home)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            **identity,
        )


def _python_for_all() -> str:
    """A Python that another account can run too: not one below somebody's home."""
    for candidate in ("/usr/bin/python3", "/usr/local/bin/python3", sys.executable):
        if not Path(candidate).exists():
            continue
        code = "import ensurepip, sys; raise SystemExit(sys.version_info < (3, 11))"
        if subprocess.run([candidate, "-c", code], capture_output=True, check=False).returncode == 0:
            return candidate
    raise AssertionError("no Python 3.11 with venv that every account can run")


@pytest.fixture
def outside() -> Iterator[Path]:
    """A directory that other accounts can reach, which pytest's own temporary directories aren't."""
    directory = Path(tempfile.mkdtemp(prefix="autobook-clone-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def _up_and_down(clone: Clone) -> None:
    made = clone.make("setup")
    output, _ = made.communicate(timeout=300)
    assert made.returncode == 0, output
    stack = clone.make("stack")
    try:
        assert stack.stdout is not None
        said = []
        for line in stack.stdout:
            said.append(line)
            if "Autobook is running" in line:
                break
        else:
            raise AssertionError("".join(said))
        family = psutil.Process(stack.pid).children(recursive=True)
        os.killpg(stack.pid, signal.SIGINT)
        stack.communicate(timeout=30)
        assert psutil.wait_procs(family, timeout=20)[1] == []
        assert not (clone.directory / ".local" / "stack.json").exists()
    finally:
        if stack.poll() is None:
            os.killpg(stack.pid, signal.SIGKILL)
            stack.communicate()


@SLOW
def test_a_fresh_clone_works_for_an_ordinary_user(outside: Path) -> None:
    account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    _up_and_down(Clone(outside / "checkout", account))


@SLOW
@pytest.mark.skipif(os.geteuid() != 0, reason="only root has places that the account of Postgres can't enter")
def test_a_fresh_clone_works_for_root_in_a_closed_directory(outside: Path) -> None:
    outside.chmod(0o700)
    _up_and_down(Clone(outside / "checkout", None))
