"""What was packaged boots as Lambda boots it, in a clean directory, and answers the events that Lambda brings."""

import json
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from psycopg import Connection

from local.deploy.functions import FUNCTIONS, Function, find
from local.deploy.package import Artifact, build
from local.deploy.packages import host
from local.deploy.runtime_api import BootedFunction, BootError
from local.http_events import Request, to_event
from local.stack import LocalStack
from tests.deploy.conftest import needs_time
from tests.support.stripe_side import event_of, signed

SERVED = {
    function.name: function.folder.replace("_", "-")
    for function in FUNCTIONS
    if function.name not in ("charge-queue", "reconcile", "notify")
}
"""The functions that serve HTTP, with the path that each is under."""


@pytest.fixture(scope="module")
def artifacts() -> dict[str, Artifact]:
    """Every function, for this machine."""
    return {artifact.function.name: artifact for artifact in build(host())}


@contextmanager
def booted(artifacts: dict[str, Artifact], name: str, environment: dict[str, str]) -> Iterator[BootedFunction]:
    with BootedFunction(artifacts[name].file, find(name).handler, environment) as function:
        yield function


def http_event(method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> dict[str, Any]:
    """An HTTP API event, in base64 where API Gateway would."""
    sent = [("host", "api.example.com"), *(headers or {}).items()]
    return to_event(Request(method, path, "", sent, body, "192.0.2.1"), path.split("/")[1])


ALWAYS = ("webhook", "charge-queue", "campaigns")
"""Of each kind one: the others take their time, and boot where there is some."""


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(function, id=function.name, marks=() if function.name in ALWAYS else needs_time)
        for function in FUNCTIONS
        if function.name != "notify"  # below
    ],
)
def test_it_boots_and_answers(function: Function, artifacts: dict[str, Artifact], stack: LocalStack) -> None:
    with booted(artifacts, function.name, stack.environment) as running:
        if function.name in SERVED:
            answer = running.invoke(http_event("GET", f"/{SERVED[function.name]}/health"))
            assert answer["statusCode"] == 200, running.said()
            assert json.loads(answer["body"])["status"] == "ok"
        elif function.name == "charge-queue":
            unknown = {"messageId": "1", "body": json.dumps({"campaign_id": str(uuid4()), "offer_id": "none"})}
            answer = running.invoke({"Records": [unknown]})
            assert answer == {"batchItemFailures": [{"itemIdentifier": "1"}]}
            assert "campaign_not_found" in running.said()
        elif function.name == "reconcile":
            answer = running.invoke({"apply": False}, timeout_seconds=50)
            assert answer["apply"] is False
            assert not [line for lines in answer["jobs"].values() for line in lines if line["what"] == "failed"]


def test_notify_boots_and_sends_nothing_when_nothing_is_owed(artifacts: dict[str, Artifact], stack: LocalStack) -> None:
    environment = stack.environment | {"NOTIFY_FROM_ADDRESS": "a@example.com", "APP_URL": "https://app.example.com"}
    with booted(artifacts, "notify", environment) as running:
        counts = running.invoke({}, timeout_seconds=50)
        assert set(counts) <= {"sent", "retry", "released", "dead"}


def test_the_webhook_takes_the_very_bytes_that_stripe_signed(
    artifacts: dict[str, Artifact], stack: LocalStack, stack_db: Connection
) -> None:
    event = event_of("payment_intent.created", {"id": "pi_booted", "object": "payment_intent"})
    # Spaces, and letters of more than one byte: a body that was parsed and written again would not verify.
    body = json.dumps(event | {"note": "Größe ✓"}, indent=3, ensure_ascii=False).encode()
    headers = {"content-type": "application/json; charset=utf-8"}
    signature = {"stripe-signature": signed(body, stack.keys.webhook_secrets[0])}
    with booted(artifacts, "webhook", stack.environment) as running:
        answer = running.invoke(http_event("POST", "/webhook", body, headers | signature))
        assert answer["statusCode"] == 200, running.said()
        forged = running.invoke(http_event("POST", "/webhook", body + b" ", headers | signature))
        assert forged["statusCode"] == 400
    row = stack_db.execute("select status::text from public.stripe_events where id = %s", [event["id"]]).fetchone()
    assert row == ("ignored",)


def test_without_its_settings_it_boots_and_says_so(artifacts: dict[str, Artifact]) -> None:
    with booted(artifacts, "webhook", {}) as running:
        answer = running.invoke(http_event("GET", "/webhook/health"))
        assert answer["statusCode"] == 503
        assert "unhealthy" in answer["body"]


def test_it_boots_anew_from_the_same_directory(artifacts: dict[str, Artifact], stack: LocalStack) -> None:
    with booted(artifacts, "campaigns", stack.environment) as running:
        seconds = []
        for _ in range(2):
            running.start()
            assert running.invoke(http_event("GET", "/campaigns/health"))["statusCode"] == 200
            seconds.append(running.boot_seconds)
        assert 0 < min(seconds) < 20


@pytest.mark.parametrize("name", ["webhook", "offers"])
def test_nothing_is_asked_of_anybody_before_the_first_invocation(name: str, artifacts: dict[str, Artifact]) -> None:
    """What SnapStart freezes must hold no connection and nothing read: it is thawed many times, and much later."""
    with socket.create_server(("127.0.0.1", 0)) as everybody:
        url = f"http://127.0.0.1:{everybody.getsockname()[1]}"
        environment = {"AWS_ENDPOINT_URL": url, "SUPABASE_URL": url, "STRIPE_API_BASE": url}
        refer = ("STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRETS", "SUPABASE_TOKEN_WEBHOOK", "SUPABASE_TOKEN_OFFERS")
        environment |= dict.fromkeys(refer, "aws-sm:none#none") | {"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}
        with booted(artifacts, name, environment) as running:
            everybody.setblocking(False)
            with pytest.raises(BlockingIOError):
                everybody.accept()
            assert running.said() == ""


def test_where_starts_are_copies_the_slow_imports_come_first(artifacts: dict[str, Artifact], tmp_path: Path) -> None:
    """And only there: without SnapStart they would be paid on every cold start."""
    code = (
        "import functions.campaigns.handler, sys; print(*sorted({'boto3', 'jwt', 'cryptography'} & set(sys.modules)))"
    )
    with zipfile.ZipFile(artifacts["campaigns"].file) as archive:
        archive.extractall(tmp_path)
    loaded = {}
    for kind in ("on-demand", "snap-start"):
        environment = {"PYTHONPATH": str(tmp_path), "AWS_LAMBDA_INITIALIZATION_TYPE": kind}
        command = [sys.executable, "-S", "-c", code]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
        loaded[kind] = done.stdout.split()
    assert loaded == {"on-demand": [], "snap-start": ["boto3", "cryptography", "jwt"]}


def test_it_boots_as_a_copy(artifacts: dict[str, Artifact], stack: LocalStack) -> None:
    with booted(artifacts, "webhook", stack.environment | {"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}) as running:
        assert running.invoke(http_event("GET", "/webhook/health"))["statusCode"] == 200, running.said()


# --- what the boot itself finds -----------------------------------------------------------------------------------


def without(archive: Path, prefix: str, target: Path) -> Path:
    """The same zip without what begins with `prefix`."""
    with zipfile.ZipFile(archive) as whole, zipfile.ZipFile(target, "w") as less:
        for name in whole.namelist():
            if not name.startswith(prefix):
                less.writestr(name, whole.read(name))
    return target


@pytest.mark.parametrize(
    ("name", "prefix", "complaint"),
    [
        ("offers", "boto3/", "No module named 'boto3'"),
        ("notify", "functions/notify/mail.py", "mail"),
    ],
)
def test_a_zip_that_lacks_something_does_not_come_up(
    name: str, prefix: str, complaint: str, artifacts: dict[str, Artifact], tmp_path: Path
) -> None:
    lacking = without(artifacts[name].file, prefix, tmp_path / f"{name}.zip")
    with ExitStack() as opened, pytest.raises(BootError, match=complaint):
        opened.enter_context(BootedFunction(lacking, find(name).handler, {}))


def test_an_error_and_a_silence_are_told(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "sample.zip", "w") as archive:
        archive.writestr(
            "sample.py",
            "import time\ndef handler(event, context):\n    time.sleep(event['wait'])\n    raise ValueError('no')\n",
        )
    with BootedFunction(tmp_path / "sample.zip", "sample.handler", {}) as running:
        with pytest.raises(BootError, match="ValueError: no"):
            running.invoke({"wait": 0})
        started = time.monotonic()
        with pytest.raises(BootError, match="did not answer in time"):
            running.invoke({"wait": 30}, timeout_seconds=0.3)
        assert time.monotonic() - started < 5
