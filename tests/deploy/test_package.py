"""What is packaged: each function's own code and dependencies, for Lambda's processor, the same bytes each time."""

import io
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from local.deploy import package
from local.deploy.functions import FUNCTIONS, ROOT, contents, find, imported_by
from local.deploy.package import Artifact, build, is_left_out, too_large
from local.deploy.packages import LAMBDA, Installed, PackagingError, Platform, check, elf_machine, fits, host, install


@pytest.fixture(scope="module")
def artifacts() -> dict[str, Artifact]:
    """Every zip that would go to AWS."""
    return {artifact.function.name: artifact for artifact in build(LAMBDA)}


def names(artifact: Artifact) -> set[str]:
    return set(zipfile.ZipFile(artifact.file).namelist())


def packages(artifact: Artifact) -> set[str]:
    return {each.partition("==")[0] for each in artifact.distributions}


# --- what is in it ------------------------------------------------------------------------------------------------


def test_every_handler_of_the_house_is_packaged() -> None:
    handlers = {path.parent.name for path in (ROOT / "functions").glob("*/handler.py")}
    assert {function.folder for function in FUNCTIONS} == handlers


def test_no_zip_is_larger_than_it_may_be(artifacts: dict[str, Artifact]) -> None:
    assert too_large(artifacts.values()) == []
    # Lambda takes 250 MB unpacked: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
    assert max(artifact.unpacked_bytes for artifact in artifacts.values()) < 60_000_000


def test_a_limit_that_is_passed_is_found(artifacts: dict[str, Artifact], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(package.LIMIT_BYTES, "webhook", artifacts["webhook"].size_bytes - 1)
    assert too_large(artifacts.values()) == ["webhook"]


def test_each_has_its_own_code_and_no_other_endpoints(artifacts: dict[str, Artifact]) -> None:
    for artifact in artifacts.values():
        folders = {name.split("/")[1] for name in names(artifact) if re.match("functions/.*/", name)}
        assert folders == {"shared", artifact.function.folder}
        assert not any(name.startswith(("local/", "tests/", "sql/")) for name in names(artifact))


def test_each_has_the_packages_that_it_uses_and_no_more(artifacts: dict[str, Artifact]) -> None:
    assert {name for name, each in artifacts.items() if "cryptography" in packages(each)} == {
        *("setup-intent", "payment-methods", "campaigns", "offers", "charge-booking", "bookings")
    }
    assert {name for name, each in artifacts.items() if packages(each) & {"babel", "jinja2"}} == {"notify"}
    without_stripe = {name for name, each in artifacts.items() if "stripe" not in packages(each)}
    assert without_stripe == {"campaigns", "offers", "notify"}
    for artifact in artifacts.values():
        assert not packages(artifact) & {"supabase", "realtime", "storage3", "websockets", "requests", "fastapi"}


def test_templates_and_late_imports_come_along(artifacts: dict[str, Artifact]) -> None:
    assert "functions/notify/templates/kinds/booking_confirmed.txt" in names(artifacts["notify"])
    # functions/shared/auth.py imports it on the first request only.
    assert {"functions/shared/tokens.py", "jwt/__init__.py"} <= names(artifacts["campaigns"])
    assert "functions/shared/tokens.py" not in names(artifacts["webhook"])
    services = {
        name: {found[1] for entry in names(each) if (found := re.match(r"botocore/data/([^/]+)/", entry))}
        for name, each in artifacts.items()
    }
    assert services["offers"] == {"secretsmanager", "ssm", "sqs"}
    assert services["notify"] == {"secretsmanager", "ssm", "sesv2"}
    assert services["webhook"] == {"secretsmanager", "ssm"}


def test_what_serves_type_checkers_and_other_services_is_left_out() -> None:
    services = frozenset({"sqs"})
    for name in (
        "jinja2/py.typed",
        "multidict/_x.pyi",
        "six-1.0.dist-info/METADATA",
        "botocore/data/ec2/2016/service-2.json.gz",
    ):
        assert is_left_out(name, services)
    for name in ("stripe/_charge.py", "botocore/data/endpoints.json", "botocore/data/sqs/2012/service-2.json.gz"):
        assert not is_left_out(name, services)


def test_the_sdk_itself_needs_nothing_that_is_left_out_of_it() -> None:
    """Outside of stripe.params nothing imports it but for type checkers, and by name when somebody asks for it."""
    site = install(package.BUILD / "host-packages", host()).directory
    found = []
    for path in (site / "stripe").rglob("*.py"):
        if "params" not in path.relative_to(site / "stripe").parts:
            wanted = imported_by(path.read_text("utf-8"))
            found += [path.name for each in wanted for name in each if name.startswith("stripe.params")]
    assert found == []
    assert ("stripe.params.X",) in imported_by("def f():\n    from stripe.params import X")


# --- the same bytes -----------------------------------------------------------------------------------------------


def test_the_same_input_gives_the_same_bytes(artifacts: dict[str, Artifact], tmp_path: Path) -> None:
    """From a copy elsewhere, with other dates and modes."""
    copy = tmp_path / "elsewhere"
    shutil.copytree(ROOT / "functions", copy / "functions", copy_function=shutil.copyfile)
    for path in copy.rglob("*.py"):
        path.chmod(0o600)

    (again,) = build(LAMBDA, target=tmp_path / "made", functions=[find("webhook")], root=copy)

    assert again.file.read_bytes() == artifacts["webhook"].file.read_bytes()


def test_other_input_gives_other_bytes(artifacts: dict[str, Artifact], tmp_path: Path) -> None:
    shutil.copytree(ROOT / "functions", tmp_path / "functions")
    with (tmp_path / "functions" / "webhook" / "handler.py").open("a") as handler:
        handler.write("# one more line\n")

    webhook, queue = build(LAMBDA, target=tmp_path, functions=[find("webhook"), find("charge-queue")], root=tmp_path)

    assert webhook.sha256 != artifacts["webhook"].sha256
    assert queue.sha256 == artifacts["charge-queue"].sha256


def test_what_was_made_is_found_again_and_what_was_damaged_is_made_again(tmp_path: Path) -> None:
    def made() -> Artifact:
        return build(LAMBDA, target=tmp_path, functions=[find("charge-queue")])[0]

    first = made()
    written = first.file.stat().st_mtime_ns
    assert made() == first
    assert first.file.stat().st_mtime_ns == written
    first.file.write_bytes(b"cut short")
    assert made() == first
    assert zipfile.is_zipfile(first.file)


def test_the_manifest_says_what_is_inside(artifacts: dict[str, Artifact]) -> None:
    manifest = json.loads((package.BUILD / "lambda" / "manifest.json").read_text("utf-8"))
    assert manifest["platform"] == "aarch64, Python 3.14"
    assert set(manifest["functions"]) == set(artifacts)
    facts = manifest["functions"]["webhook"]
    assert facts["handler"] == "functions.webhook.handler.handler"
    assert "stripe==16.1.0" in facts["distributions"]


# --- the right processor ------------------------------------------------------------------------------------------


def test_every_shared_object_is_for_arm64(artifacts: dict[str, Artifact], tmp_path: Path) -> None:
    found = 0
    for artifact in artifacts.values():
        with zipfile.ZipFile(artifact.file) as archive:
            for name in archive.namelist():
                if ".so" in Path(name).suffixes:
                    (tmp_path / "object").write_bytes(archive.read(name))
                    assert elf_machine(tmp_path / "object") == 183, name
                    found += 1
    assert found > 10


@pytest.mark.parametrize(
    ("tag", "fitting"),
    [
        ("py3-none-any", True),
        ("cp314-cp314-manylinux_2_17_aarch64", True),
        ("cp314-cp314-manylinux2014_aarch64.manylinux_2_17_aarch64", True),
        ("cp311-abi3-manylinux_2_34_aarch64", True),
        ("cp311-abi3-manylinux_2_35_aarch64", False),  # newer than Amazon Linux 2023
        ("cp315-abi3-manylinux_2_17_aarch64", False),
        ("cp313-cp313-manylinux_2_17_aarch64", False),
        ("cp314-cp314t-manylinux_2_17_aarch64", False),  # without the GIL
        ("cp314-cp314-manylinux_2_17_x86_64", False),
        ("cp314-cp314-musllinux_1_2_aarch64", False),
    ],
)
def test_a_tag_fits_or_not(tag: str, fitting: bool) -> None:
    assert fits(tag, LAMBDA) is fitting


def planted(directory: Path, tag: str, machine: int) -> Installed:
    info = directory / "planted-1.0.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_text("Name: planted\nVersion: 1.0\n\n")
    info.joinpath("WHEEL").write_text(f"Wheel-Version: 1.0\nTag: {tag}\n")
    info.joinpath("RECORD").write_text("planted/_c.so,,\n")
    directory.joinpath("planted").mkdir()
    directory.joinpath("planted", "_c.so").write_bytes(b"\x7fELF" + bytes(14) + machine.to_bytes(2, "little"))
    return Installed(directory, LAMBDA)


@pytest.mark.parametrize(
    ("tag", "machine", "complaint"),
    [
        ("cp314-cp314-manylinux_2_17_aarch64", 183, None),
        ("cp314-cp314-manylinux_2_17_x86_64", 183, "built for cp314"),
        ("py3-none-any", 62, "ELF machine 62"),  # a wheel that says it is pure, and is not
    ],
)
def test_the_wrong_processor_is_refused(tmp_path: Path, tag: str, machine: int, complaint: str | None) -> None:
    installed = planted(tmp_path, tag, machine)
    if complaint is None:
        check(installed)
    else:
        with pytest.raises(PackagingError, match=complaint):
            check(installed)


def test_an_import_of_nobodys_is_refused(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "functions", tmp_path / "functions")
    (tmp_path / "functions" / "webhook" / "extra.py").write_text("import numpy\n")
    handler = tmp_path / "functions" / "webhook" / "handler.py"
    handler.write_text("from functions.webhook import extra\n" + handler.read_text("utf-8"))
    assert "numpy" in contents(find("webhook"), tmp_path).imported
    with pytest.raises(PackagingError, match="numpy"):
        build(LAMBDA, target=tmp_path / "made", functions=[find("webhook")], root=tmp_path)


def test_bytecode_can_only_be_made_by_the_python_that_will_read_it() -> None:
    other = Platform("host", host().machine, host().elf_machine, (2, 7), host().glibc)
    with pytest.raises(PackagingError, match="needs that Python"):
        package.compile_all(ROOT / "build", other)


def test_the_command_tells_sizes_and_fails_for_one_too_large(
    artifacts: dict[str, Artifact], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert package.main([]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in artifacts)
    monkeypatch.setitem(package.LIMIT_BYTES, "notify", 1)
    assert package.main([]) == 1
    assert "notify" in capsys.readouterr().out.splitlines()[-1]


def test_a_zip_alone_is_enough_to_be_imported(tmp_path: Path) -> None:
    """Without site-packages: what is not in the zip is not there."""
    (artifact,) = build(host(), functions=[find("charge-queue")])
    with zipfile.ZipFile(io.BytesIO(artifact.file.read_bytes())) as archive:
        archive.extractall(tmp_path)
    done = subprocess.run(
        [sys.executable, "-S", "-c", "import functions.charge_booking.queue, boto3, sys; print(boto3.__file__)"],
        cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.stdout.startswith(str(tmp_path)), done.stderr
