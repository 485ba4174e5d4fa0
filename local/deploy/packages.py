"""The packages of uv.lock as they are installed for a platform, and which of them a function's imports need.

All of the runtime dependencies are installed once per platform, by hash, from wheels only; a function then takes the
distributions that its imports lead to, by the dependencies that uv.lock states.
"""

import csv
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final

from packaging.markers import Marker

from local import setup
from local.deploy.functions import ROOT

UNUSED: Final = {
    ("stripe", "requests"): "hidden from it while it loads: functions/shared/stripe_sdk.py",
}
"""Dependencies that are not followed, with the reason."""

_TIMEOUT_SECONDS: Final = 600


class PackagingError(Exception):
    """A package can't be made; the message says why."""


@dataclass(frozen=True)
class Platform:
    """Where the packages are to run."""

    name: str
    machine: str
    """As wheels' tags say it."""
    elf_machine: int
    """e_machine of its shared objects: https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html"""
    python: tuple[int, int]
    glibc: tuple[int, int]
    """The newest that wheels may ask for."""

    @property
    def uv(self) -> list[str]:
        """What uv is told of it."""
        version = "{}.{}".format(*self.python)
        return [
            "--python-platform",
            f"{self.machine}-manylinux_{self.glibc[0]}_{self.glibc[1]}",
            "--python-version",
            version,
        ]


_ELF = {"x86_64": 62, "aarch64": 183}

LAMBDA: Final = Platform("lambda", "aarch64", _ELF["aarch64"], (3, 14), (2, 34))
"""python3.14 on arm64: the newest runtime, and SnapStart takes any from 3.12 on. Amazon Linux 2023 has glibc 2.34.

https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html
https://docs.aws.amazon.com/lambda/latest/dg/snapstart.html
"""


def host() -> Platform:
    """This machine with this interpreter: for proofs, never for AWS. Raises PackagingError for an unknown machine."""
    import platform

    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    if machine not in _ELF:
        raise PackagingError(f"no function can be packaged to run on {machine}")
    library, _, version = platform.libc_ver()[0], None, platform.libc_ver()[1]
    if library != "glibc":
        raise PackagingError("functions run on glibc, and this machine has another libc")
    major, minor = (int(part) for part in version.split(".")[:2])
    return Platform("host", machine, _ELF[machine], (sys.version_info.major, sys.version_info.minor), (major, minor))


def platform_named(name: str) -> Platform:
    """`lambda` or `host`."""
    return LAMBDA if name == "lambda" else host()


@dataclass(frozen=True)
class Distribution:
    """One installed package."""

    name: str
    version: str
    tags: tuple[str, ...]
    files: tuple[str, ...]
    """Relative to where it is installed, sorted."""

    @property
    def top_level(self) -> set[str]:
        """What can be imported of it."""
        tops = {file.partition("/")[0] for file in self.files}
        return {top.partition(".")[0] for top in tops if not top.endswith((".dist-info", ".data", ".pth"))}


class Installed:
    """The runtime dependencies, installed for a platform below `directory`."""

    def __init__(self, directory: Path, platform: Platform) -> None:
        self.directory, self.platform = directory, platform

    @cached_property
    def distributions(self) -> dict[str, Distribution]:
        """All that is installed, by normalised name."""
        found = (_read(info) for info in sorted(self.directory.glob("*.dist-info")))
        return {distribution.name: distribution for distribution in found}

    def needed(self, imported: frozenset[str]) -> list[Distribution]:
        """The distributions that these imports lead to, sorted. Raises PackagingError for an import of nobody's."""
        owners = {top: each.name for each in self.distributions.values() for top in each.top_level}
        if missing := sorted(imported - owners.keys()):
            raise PackagingError(f"imported, but no runtime dependency: {', '.join(missing)}")
        locked = {package["name"]: package for package in _lock()["package"]}
        pending = [owners[name] for name in sorted(imported)]
        pending += [name for name in _extras(locked) if owners.get("jwt") in pending and name in self.distributions]
        found: set[str] = set()
        while pending:
            name = pending.pop()
            if name in found:
                continue
            found.add(name)
            pending += [
                wanted
                for dependency in locked[name].get("dependencies", [])
                for wanted in _names(dependency, locked)
                if (name, wanted) not in UNUSED and self._applies(dependency)
            ]
        return [self.distributions[name] for name in sorted(found)]

    def _applies(self, dependency: dict[str, Any]) -> bool:
        marker = dependency.get("marker")
        version = "{}.{}".format(*self.platform.python)
        environment = {
            "python_full_version": f"{version}.0",
            "python_version": version,
            "sys_platform": "linux",
            "platform_system": "Linux",
            "platform_machine": self.platform.machine,
            "platform_python_implementation": "CPython",
            "implementation_name": "cpython",
        }
        return marker is None or Marker(marker).evaluate({**environment})


@cache
def _lock() -> dict[str, Any]:
    return tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))


def _names(dependency: dict[str, Any], locked: dict[str, Any]) -> list[str]:
    """A dependency, and what its extras add."""
    package = locked[dependency["name"]]
    extras = (package["optional-dependencies"][extra] for extra in dependency.get("extra", []))
    return [package["name"], *(more["name"] for each in extras for more in each)]


def _extras(locked: dict[str, Any]) -> list[str]:
    """What our own dependencies' extras add, as cryptography to PyJWT."""
    return [name for dependency in locked["autobook"]["dependencies"] for name in _names(dependency, locked)[1:]]


def _read(info: Path) -> Distribution:
    metadata = info.joinpath("METADATA").read_text("utf-8")
    fields = dict(re.findall(r"^(Name|Version): (.+)$", metadata.partition("\n\n")[0], re.MULTILINE))
    with info.joinpath("RECORD").open(encoding="utf-8", newline="") as record:
        files = sorted(row[0] for row in csv.reader(record) if row)
    return Distribution(
        name=re.sub(r"[-_.]+", "-", fields["Name"]).lower(),
        version=fields["Version"],
        tags=tuple(re.findall(r"^Tag: (\S+)", info.joinpath("WHEEL").read_text("utf-8"), re.MULTILINE)),
        files=tuple(file for file in files if not file.startswith(("../", "/"))),
    )


def install(directory: Path, platform: Platform) -> Installed:
    """Install what uv.lock says for a platform into `directory`, or find it there. Raises PackagingError."""
    stamp = directory / ".stamp"
    wanted = f"{setup.fingerprint(ROOT)} {platform}"
    if not stamp.is_file() or stamp.read_text("utf-8") != wanted:
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        uv = find_uv()
        requirements = directory / ".requirements.txt"
        exported = ["--frozen", "--no-default-groups", "--no-emit-project", "--no-header", "--quiet"]
        _run([uv, "export", "--project", ROOT, *exported, "--output-file", requirements], "read uv.lock")
        only = ["--require-hashes", "--no-deps", "--only-binary", ":all:", "--quiet"]
        _run(
            [uv, "pip", "install", *only, *platform.uv, "--target", directory, "--requirements", requirements],
            f"install the runtime dependencies for {platform.name}",
        )
        stamp.write_text(wanted, "utf-8")
    installed = Installed(directory, platform)
    check(installed)
    return installed


def check(installed: Installed) -> None:
    """Raise PackagingError unless every wheel's tag and every shared object is of the platform.

    Both, because pure Python boots on any processor, and a wheel may be wrongly tagged.
    """
    platform = installed.platform
    for distribution in installed.distributions.values():
        if not any(fits(tag, platform) for tag in distribution.tags):
            raise PackagingError(f"{distribution.name} is built for {', '.join(distribution.tags)}")
        for file in distribution.files:
            if (
                ".so" in Path(file).suffixes
                and (machine := elf_machine(installed.directory / file)) != platform.elf_machine
            ):
                raise PackagingError(f"{file} is for ELF machine {machine}, not {platform.elf_machine}")


def fits(tag: str, platform: Platform) -> bool:
    """Whether a wheel of this tag runs there: https://packaging.python.org/en/latest/specifications/platform-compatibility-tags/"""
    python, abi, where = tag.split("-", 2)
    if where == "any":
        return True
    own = "cp{}{}".format(*platform.python)
    stable = abi == "abi3" and python.startswith("cp3") and int(python[3:]) <= platform.python[1]
    if not stable and (python, abi) != (own, own):
        return False
    old = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}
    for part in where.split("."):
        if found := re.fullmatch(r"(manylinux\w*?)(?:_(\d+)_(\d+))?_(x86_64|aarch64)", part):
            glibc = (int(found[2]), int(found[3])) if found[2] else old.get(found[1])
            if found[4] == platform.machine and glibc is not None and glibc <= platform.glibc:
                return True
    return False


def elf_machine(file: Path) -> int:
    """e_machine of a shared object, 0 for what is none."""
    head = file.read_bytes()[:20]
    return int.from_bytes(head[18:20], "little") if head[:4] == b"\x7fELF" else 0


def find_uv() -> Path:
    """The uv that `make setup` installed, or one on the path. Raises PackagingError."""
    places = (setup.STATE / f"uv-{setup.UV_VERSION}" / "bin" / "uv", setup.VENV / "bin" / "uv")
    found = next((place for place in places if place.is_file()), None) or shutil.which("uv")
    if found is None:
        raise PackagingError("no uv was found: run `make setup`")
    return Path(found)


def _run(command: list[str | Path], purpose: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_SECONDS)
    if done.returncode != 0:
        raise PackagingError(f"could not {purpose}:\n{done.stderr.strip()}")
