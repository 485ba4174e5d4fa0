"""AWS on this machine: ministack, an open emulator, in an environment of its own because it pins botocore.

    with Emulator.start() as aws:
        aws.client("sqs").list_queues()

It runs the real zips, with this machine's Python, and holds each function to its role (AUTH). What it does not do:
throttle routes, evaluate composite alarms, hold a concurrency limit to the letter.
"""

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import boto3
import httpx
from botocore.config import Config

from local import setup
from local.deploy.functions import ROOT
from local.deploy.packages import find_uv
from local.lambda_runtime import REGION
from local.locks import alone
from local.stack_settings import base_environment

REQUIREMENTS: Final = ROOT / "deploy" / "emulator.txt"
_ROOT: Final = "test"
"""What the emulator takes for the keys of the account's root."""
_START_SECONDS: Final = 40.0
_STOP_SECONDS: Final = 5.0


class EmulatorError(Exception):
    """The emulator can't be installed or did not start; the message says why."""


def installed() -> Path:
    """The emulator's python, installed from deploy/emulator.txt unless it is there. Raises EmulatorError."""
    home = _home()
    python = home / "bin" / "python"
    with alone(setup.STATE / "emulator.lock"):
        if is_installed():
            return python
        shutil.rmtree(home, ignore_errors=True)
        uv = str(find_uv())
        install = ["--require-hashes", "--quiet", "--python", str(python), "--requirements", str(REQUIREMENTS)]
        for command in (
            [uv, "venv", "--quiet", "--python", sys.executable, str(home)],
            [uv, "pip", "install", "--compile-bytecode", *install],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
            if done.returncode != 0:
                raise EmulatorError(f"the emulator can't be installed:\n{done.stderr.strip()}")
        (home / ".done").touch()
    return python


def is_installed() -> bool:
    """Whether it could start without fetching anything."""
    return (_home() / ".done").is_file()


def _home() -> Path:
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()[:12]
    return setup.STATE / f"emulator-{wanted}"


@dataclass
class Emulator:
    """A running emulator. Use `start`, and leave through `with` or `stop`."""

    port: int
    log: Path
    _process: "subprocess.Popen[bytes]" = field(repr=False)
    _home: Path = field(repr=False)

    @classmethod
    def start(cls, log: Path | None = None) -> Self:
        """Start one on free ports, and wait until it answers. Raises EmulatorError."""
        python = installed()
        home = Path(tempfile.mkdtemp(prefix="autobook-emulator-"))
        log = log or home / "log"
        port, sftp, mqtt = _free_ports(3)
        environment = base_environment() | {
            "AUTH": "true",  # roles hold
            "GATEWAY_PORT": str(port),
            "SFTP_PORT": str(sftp),
            "IOT_MTLS_PORT": str(mqtt),
            "MINISTACK_HOST": "127.0.0.1",
            "MINISTACK_REGION": REGION,
            "TMPDIR": str(home),
            "LOG_LEVEL": "INFO",
            "HOME": str(home),
        }
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            process = subprocess.Popen(
                [python, "-m", "ministack"],
                env=environment,
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # it has processes of its own, and all of them are to end
            )
        emulator = cls(port, log, process, home)
        try:
            emulator._wait()
        except BaseException:
            emulator.stop()
            raise
        return emulator

    @property
    def url(self) -> str:
        """Where every service of it answers."""
        return f"http://127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        """What an AWS SDK needs to talk to it, and not to AWS."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": _ROOT,
            "AWS_SECRET_ACCESS_KEY": _ROOT,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def client(self, service: str) -> Any:
        """A boto3 client of it, as the account's root."""
        return boto3.client(  # type: ignore[call-overload]  # any service
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=_ROOT,
            aws_secret_access_key=_ROOT,
            config=Config(connect_timeout=2, read_timeout=60, retries={"total_max_attempts": 1}),
        )

    def api_url(self, api_id: str) -> str:
        """Where an HTTP API of it answers, without a name that has to be resolved."""
        return f"{self.url}/_aws/execute-api/{api_id}/$default"

    def stop(self) -> None:
        """End it and all that it started."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, number)
                self._process.wait(_STOP_SECONDS)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        self._process.wait()
        shutil.rmtree(self._home, ignore_errors=True)

    def _wait(self) -> None:
        end = time.monotonic() + _START_SECONDS
        with httpx.Client(trust_env=False, timeout=2) as http:
            while time.monotonic() < end and self._process.poll() is None:
                try:
                    if http.get(f"{self.url}/_ministack/health").is_success:
                        return
                except httpx.TransportError:
                    time.sleep(0.1)
        said = self.log.read_text("utf-8", "replace").splitlines()[-30:]
        raise EmulatorError("\n".join(["the emulator did not start:", *said]))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _free_ports(count: int) -> list[int]:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports
