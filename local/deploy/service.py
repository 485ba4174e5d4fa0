"""Deploying: osls with the packages of `make package`, to AWS or to the emulator, and a look at what answers.

The steps are the same for both; only where the SDKs point differs.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
from botocore.exceptions import WaiterError

from local.deploy.functions import FUNCTIONS, ROOT
from local.deploy.secrets import SERVICE
from local.locks import alone

KEPT_VERSIONS: Final = 3
"""Of each function: what runs, and two to go back to. A version with SnapStart costs money as long as it exists."""
_NODE: Final = (20, 19)
_TIMEOUT_SECONDS: Final = 1800.0


class DeployError(Exception):
    """It could not be deployed, or what was deployed does not answer; the message says why."""


@dataclass(frozen=True)
class Deployed:
    """What a stack's outputs say."""

    stage: str
    api_id: str
    queue_url: str
    dead_letters_url: str


def why_not_here() -> str | None:
    """Why osls can't run on this machine, in words; None when it can."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return "node and npm are not installed (Debian: apt-get install nodejs npm; node 20.19 or newer)"
    version = subprocess.run(
        [node, "--version"], capture_output=True, text=True, check=False, timeout=30
    ).stdout.strip()
    numbers = tuple(int(part) for part in version.removeprefix("v").split(".")[:2])
    if numbers < _NODE:
        return f"node is {version}, and osls needs {_NODE[0]}.{_NODE[1]} or newer"
    return None


def is_ready() -> bool:
    """Whether osls is installed as package-lock.json says."""
    stamp = ROOT / "node_modules" / ".autobook-lock"
    return stamp.is_file() and stamp.read_bytes() == (ROOT / "package-lock.json").read_bytes()


def get_ready() -> None:
    """Install osls unless it is there. Raises DeployError."""
    if reason := why_not_here():
        raise DeployError(reason)
    if is_ready():
        return
    with alone(ROOT / ".local" / "osls.lock"):
        if is_ready():  # whoever was waited for has done it
            return
        # Its packages' install scripts fetch things and are of no use to us.
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
        if done.returncode != 0:
            raise DeployError(f"osls can't be installed:\n{done.stderr.strip()}")
        shutil.copyfile(ROOT / "package-lock.json", ROOT / "node_modules" / ".autobook-lock")


def osls(*arguments: str, environment: Mapping[str, str], output: Path | None = None) -> str:
    """Run osls in the checkout; gives what it printed. Raises DeployError.

    Waits for others who run it there: wherever the packages go, osls makes them in one `.serverless` and moves them.
    """
    get_ready()
    command = [str(ROOT / "node_modules" / ".bin" / "osls"), *arguments]
    if output is not None:
        command += ["--package", str(output)]
    given = {**os.environ, **environment, "SLS_TELEMETRY_DISABLED": "1", "SLS_NOTIFICATIONS_MODE": "off"}
    with alone(ROOT / ".local" / "deploy.lock"):
        done = subprocess.run(
            command, cwd=ROOT, env=given, capture_output=True, text=True, check=False, timeout=_TIMEOUT_SECONDS
        )
    if done.returncode != 0:
        raise DeployError(f"osls {arguments[0]} failed:\n{done.stdout.strip()}\n{done.stderr.strip()}")
    return done.stdout + done.stderr


def template(stage: str, environment: Mapping[str, str], output: Path) -> dict[str, Any]:
    """The CloudFormation template that osls makes of serverless.yml, packaged below `output`. Raises DeployError."""
    osls("package", "--stage", stage, environment=environment, output=output)
    made: dict[str, Any] = json.loads((output / "cloudformation-template-update-stack.json").read_text("utf-8"))
    return made


def outputs(cloudformation: Any, stage: str) -> Deployed:
    """What is deployed under a stage's name."""
    (stack,) = cloudformation.describe_stacks(StackName=f"{SERVICE}-{stage}")["Stacks"]
    said = {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}
    return Deployed(
        stage=stage,
        api_id=said["HttpApiId"],
        queue_url=said["ChargeQueueUrl"],
        dead_letters_url=said["ChargeDeadLettersUrl"],
    )


def health(api_url: str) -> dict[str, Any]:
    """What each function that serves HTTP says of itself, by its path: `ok`, `unhealthy`, or an HTTP status."""
    answers: dict[str, Any] = {}
    with httpx.Client(base_url=api_url, timeout=40, trust_env=False) as http:
        for segment in served_segments():
            answer = http.get(f"{api_url}/{segment}/health")
            try:
                answers[segment] = answer.json().get("status", answer.status_code)
            except ValueError:
                answers[segment] = answer.status_code
    return answers


def served_segments() -> list[str]:
    """The first path segments of the functions that serve HTTP."""
    from local.lambda_runtime import http_functions

    return sorted(http_functions())


def wait_until_active(client: Any, stage: str) -> None:
    """Wait until every function can be called: a version with SnapStart is started and copied first.

    Raises DeployError for one that could not be started.
    """
    for function in FUNCTIONS:
        name = f"{SERVICE}-{stage}-{function.name}"
        qualifiers = [alias["Name"] for alias in client.list_aliases(FunctionName=name)["Aliases"]]
        for qualifier in qualifiers or ["$LATEST"]:
            waiter = client.get_waiter("function_active_v2")
            try:
                waiter.wait(FunctionName=name, Qualifier=qualifier, WaiterConfig={"Delay": 1, "MaxAttempts": 300})
            except WaiterError as error:
                raise DeployError(f"{name} does not become active: {error}") from None


def prune(client: Any, stage: str, keep: int = KEPT_VERSIONS) -> list[str]:
    """Delete the versions of each function that are neither among the newest `keep` nor behind an alias."""
    deleted = []
    for function in FUNCTIONS:
        name = f"{SERVICE}-{stage}-{function.name}"
        pages = client.get_paginator("list_versions_by_function").paginate(FunctionName=name)
        numbers = [int(each["Version"]) for page in pages for each in page["Versions"] if each["Version"].isdigit()]
        aliases = client.list_aliases(FunctionName=name)["Aliases"]
        held = {int(alias["FunctionVersion"]) for alias in aliases if alias["FunctionVersion"].isdigit()}
        for number in sorted(set(sorted(numbers)[:-keep]) - held):
            client.delete_function(FunctionName=name, Qualifier=str(number))
            deleted.append(f"{name}:{number}")
    return deleted
