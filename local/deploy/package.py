"""`make package`: a zip per function with its own code and dependencies, the same bytes for the same input.

    python -m local.deploy.package [--platform lambda|host] [--bytecode]

Writes build/<platform>/<function>.zip and manifest.json. `lambda` is what goes to AWS; `host` runs here, for proofs.
"""

import argparse
import ast
import compileall
import hashlib
import json
import py_compile
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from local.deploy.functions import FUNCTIONS, ROOT, Contents, Function, contents
from local.deploy.packages import Distribution, Installed, PackagingError, Platform, install, platform_named
from local.locks import alone

BUILD: Final = ROOT / "build"
LIMIT_BYTES: Final = {
    "webhook": 7_000_000,
    "charge-queue": 7_000_000,
    "reconcile": 7_000_000,
    # They verify users' tokens, for which cryptography brings 5 MB.
    "campaigns": 11_000_000,
    "offers": 11_000_000,
    "setup-intent": 12_500_000,
    "payment-methods": 12_500_000,
    "charge-booking": 12_500_000,
    "bookings": 12_500_000,
    # It brings the formats of every language along (babel).
    "notify": 16_500_000,
}
"""The most that a zip may have: a tenth over what each has."""

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_COMPRESSION: Final = 6
_LEFT_OUT: Final = (".pyi", ".pyx", ".pxd", ".c", ".h", ".pyc", "/py.typed", ".exe")
"""For type checkers and compilers. Bytecode is made by us or not at all."""
_TYPES_ONLY: Final = ("stripe/params/",)
"""Declared for type checkers; the SDK imports it when somebody asks for `stripe.params`, which nobody does."""
_BOTO_DATA: Final = ("botocore/data/", "boto3/data/", "boto3/examples/")


@dataclass(frozen=True)
class Artifact:
    """One zip that was made."""

    function: Function
    file: Path
    size_bytes: int
    unpacked_bytes: int
    sha256: str
    distributions: tuple[str, ...]
    """As name==version."""
    made_of: str
    """A hash of all input."""

    def facts(self) -> dict[str, Any]:
        """What the manifest says of it."""
        return {
            "handler": self.function.handler,
            "size_bytes": self.size_bytes,
            "unpacked_bytes": self.unpacked_bytes,
            "sha256": self.sha256,
            "distributions": list(self.distributions),
            "made_of": self.made_of,
        }


def build(
    platform: Platform,
    *,
    target: Path | None = None,
    functions: Iterable[Function] = FUNCTIONS,
    bytecode: bool = False,
    root: Path = ROOT,
) -> list[Artifact]:
    """Make the zips below `target` (build/<platform>) beside a manifest, or find them there. Raises PackagingError.

    With `bytecode`, which only the host's own Python can write, modules come compiled too. Who builds the same at the
    same time waits.
    """
    target = target or BUILD / (f"{platform.name}-bytecode" if bytecode else platform.name)
    with alone(BUILD / f".{platform.name}.lock"):
        installed = install(BUILD / f"{platform.name}-packages", platform)
        if bytecode:
            compile_all(installed.directory, platform)
        target.mkdir(parents=True, exist_ok=True)
        known = _manifest(target)
        made = [_artifact(each, installed, target, known, bytecode=bytecode, root=root) for each in functions]
        facts = {artifact.function.name: artifact.facts() for artifact in made}
        manifest = {
            "platform": f"{platform.machine}, Python {platform.python[0]}.{platform.python[1]}",
            "functions": dict(sorted((known | facts).items())),
        }
        target.joinpath("manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")
    return made


def _manifest(target: Path) -> dict[str, Any]:
    """What is there from before, by function."""
    try:
        found: dict[str, Any] = json.loads(target.joinpath("manifest.json").read_text("utf-8"))["functions"]
    except (OSError, ValueError, KeyError):
        return {}
    return found


def _fingerprint(
    needs: Contents, distributions: list[Distribution], installed: Installed, root: Path, *extra: object
) -> str:
    """What a zip is made of, as a hash: the same, and it need not be made again."""
    digest = hashlib.sha256((ROOT / "uv.lock").read_bytes())
    ours = sorted(Path(__file__).parent.glob("*.py"))
    for path in (*(root / file for file in needs.files), *ours):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    facts = [needs.files, [each.name for each in distributions], installed.platform, sys.version, extra]
    digest.update(repr(facts).encode())
    return digest.hexdigest()


def _artifact(
    function: Function, installed: Installed, target: Path, known: dict[str, Any], *, bytecode: bool, root: Path
) -> Artifact:
    needs = contents(function, root)
    distributions = installed.needed(needs.imported)
    file = target / f"{function.name}.zip"
    made_of = _fingerprint(needs, distributions, installed, root, bytecode)
    before = known.get(function.name, {})
    if before.get("made_of") == made_of and file.is_file() and _sha256(file) == before["sha256"]:
        unpacked_bytes = int(before["unpacked_bytes"])
    else:
        entries = dict(_entries(needs, distributions, installed.directory, bytecode=bytecode, root=root))
        unpacked_bytes = sum(len(content) for content in entries.values())
        _write(file, entries)
    return Artifact(
        function=function,
        file=file,
        size_bytes=file.stat().st_size,
        unpacked_bytes=unpacked_bytes,
        sha256=_sha256(file),
        distributions=tuple(f"{each.name}=={each.version}" for each in distributions),
        made_of=made_of,
    )


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _entries(
    needs: Contents, distributions: list[Distribution], site: Path, *, bytecode: bool, root: Path
) -> Iterator[tuple[str, bytes]]:
    services = aws_services(needs, root)
    for path in needs.files:
        yield path.as_posix(), (root / path).read_bytes()
        if bytecode and path.suffix == ".py":
            yield _cached(path.as_posix()), _compiled(root / path, path.as_posix())
    for distribution in distributions:
        for name in distribution.files:
            if is_left_out(name, services):
                continue
            yield name, (site / name).read_bytes()
            if bytecode and name.endswith(".py") and (site / _cached(name)).is_file():
                yield _cached(name), (site / _cached(name)).read_bytes()


def is_left_out(name: str, services: frozenset[str]) -> bool:
    """Whether a function can do without a file of a distribution."""
    if name.endswith(_LEFT_OUT) or ".dist-info/" in name or name.startswith(("bin/", *_TYPES_ONLY)):
        return True
    if not name.startswith(_BOTO_DATA):
        return False
    # botocore describes some four hundred services in 25 MB; of boto3's higher-level resources we use none.
    part = name.removeprefix("botocore/data/").split("/")
    if name.startswith("boto3/") or part[-1].startswith("examples-"):
        return True
    return len(part) > 1 and part[0] not in services


@cache
def _known_services(data: Path) -> frozenset[str]:
    return frozenset(path.name for path in data.iterdir() if path.is_dir())


def aws_services(needs: Contents, root: Path = ROOT) -> frozenset[str]:
    """The AWS services that a function's modules name, as boto3 calls them, e.g. `sqs`."""
    import botocore

    known = _known_services(Path(botocore.__file__).parent / "data")
    found: set[str] = set()
    for path in needs.files:
        source = (root / path).read_text("utf-8") if path.suffix == ".py" else ""
        if "boto3" in source:
            found |= {
                node.value
                for node in ast.walk(ast.parse(source))
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in known
            }
    return frozenset(found)


def _write(file: Path, entries: dict[str, bytes]) -> None:
    """Sorted, of one age and one mode: nothing but the content decides the bytes."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=_COMPRESSION) as archive:
        for name in sorted(entries):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system = 3  # Unix, whatever this machine is, so that the mode below is read
            info.external_attr = 0o100644 << 16
            archive.writestr(info, entries[name], zipfile.ZIP_DEFLATED, _COMPRESSION)


def _cached(name: str) -> str:
    folder, _, module = name.rpartition("/")
    tag = sys.implementation.cache_tag
    return f"{folder}/__pycache__/{module.removesuffix('.py')}.{tag}.pyc".removeprefix("/")


def compile_all(site: Path, platform: Platform) -> None:
    """Compile what is installed below `site`, once. Raises PackagingError for another Python than this one."""
    if platform.python != sys.version_info[:2]:
        raise PackagingError(f"bytecode for Python {platform.python} needs that Python, and this is {sys.version}")
    done, wanted = site / ".compiled", site.joinpath(".stamp").read_text("utf-8")
    if done.is_file() and done.read_text("utf-8") == wanted:
        return
    # Unchecked: nobody changes a file below /var/task, and with no time stamp the same source gives the same bytes.
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(site, quiet=2, stripdir=str(site), invalidation_mode=mode, workers=1)
    done.write_text(wanted, "utf-8")


def _compiled(source: Path, name: str) -> bytes:
    with tempfile.NamedTemporaryFile(suffix=".pyc") as made:
        py_compile.compile(
            str(source),
            made.name,
            dfile=name,
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
        return Path(made.name).read_bytes()


def too_large(artifacts: Iterable[Artifact]) -> list[str]:
    """The functions whose zip is larger than it may be."""
    return [
        artifact.function.name for artifact in artifacts if artifact.size_bytes > LIMIT_BYTES[artifact.function.name]
    ]


def main(arguments: list[str] | None = None) -> int:
    """Make the zips and print their sizes. Returns 1 if one is too large, 2 if they could not be made."""
    from rich.console import Console
    from rich.table import Table

    parser = argparse.ArgumentParser(prog="python -m local.deploy.package", description=__doc__)
    parser.add_argument("--platform", choices=["lambda", "host"], default="lambda")
    parser.add_argument("--bytecode", action="store_true", help="compile the modules too (host only)")
    options = parser.parse_args(arguments)
    console = Console()
    try:
        artifacts = build(platform_named(options.platform), bytecode=options.bytecode)
    except PackagingError as error:
        console.print(f"Not packaged: {error}", style="red", markup=False)
        return 2
    table = Table(title=f"build/{options.platform}", title_justify="left")
    table.add_column("function", no_wrap=True)
    for heading in ("zip, kB", "unpacked, kB", "packages", "SHA-256"):
        table.add_column(heading, justify="right")
    for each in artifacts:
        sizes = (f"{each.size_bytes / 1000:,.0f}", f"{each.unpacked_bytes / 1000:,.0f}")
        table.add_row(each.function.name, *sizes, str(len(each.distributions)), each.sha256[:12])
    console.print(table)
    large = too_large(artifacts)
    if large:
        console.print(f"Larger than they may be: {', '.join(large)}", style="red")
    return 1 if large else 0


if __name__ == "__main__":
    sys.exit(main())
