"""`make deploy`, `make deploy-local` and what belongs to them: the same steps against AWS and against the emulator.

python -m local.deploy aws --stage dev        package, deploy, delete old versions, see what answers
python -m local.deploy secrets --stage dev    write each function's secret from the environment
python -m local.deploy smoke --stage dev      see what answers
python -m local.deploy local                  the whole service on the emulator, until Ctrl-C
"""

import argparse
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from local.child import ChildFailedError
from local.deploy import secrets, service
from local.deploy.emulator import EmulatorError
from local.deploy.package import build
from local.deploy.packages import LAMBDA, PackagingError
from local.deploy.service import DeployError
from local.environment import NoEnvironment, choose
from local.lambda_runtime import REGION

if TYPE_CHECKING:
    from collections.abc import Callable

_console = Console(highlight=False, soft_wrap=True)
_EXPECTED = (
    *(DeployError, PackagingError, EmulatorError, secrets.SecretsMissing, ChildFailedError),
    *(ClientError, BotoCoreError, NoEnvironment, ValueError),
)


def _client(name: str) -> Any:
    """A client of AWS, or of what AWS_ENDPOINT_URL names."""
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or REGION
    return boto3.client(name, region_name=region)  # type: ignore[call-overload]  # any service


def _write_secrets(stage: str) -> int:
    """Write what each function's secret holds; prints names, never a value."""
    values = secrets.from_environment(secrets.with_minted_tokens(dict(os.environ)))
    changed = secrets.put(_client("secretsmanager"), stage, values)
    _console.print("\n".join(f"written: {name}" for name in changed) or "Nothing has changed.")
    return 0


def _deploy(stage: str) -> int:
    """Package, deploy, delete old versions, and see what answers."""
    build(LAMBDA)
    service.osls("deploy", "--stage", stage, environment={})
    service.wait_until_active(_client("lambda"), stage)
    for version in service.prune(_client("lambda"), stage):
        _console.print(f"deleted: {version}")
    missing = secrets.missing_at_aws(_client("secretsmanager"), stage)
    if missing:  # as it is before the webhook endpoint, whose secret is one of them, can be made
        _console.print(f"Secrets Manager lacks {', '.join(missing)}: make deploy-secrets STAGE={stage}", style="red")
    return _smoke(stage)


def _smoke(stage: str) -> int:
    """Ask each function that serves HTTP how it is; 1 unless all are well."""
    deployed = service.outputs(_client("cloudformation"), stage)
    region = os.environ.get("AWS_REGION", REGION)
    return _look(f"https://{deployed.api_id}.execute-api.{region}.amazonaws.com")


def _look(api_url: str) -> int:
    answers = service.health(api_url)
    _console.print(f"{api_url}")
    for segment, answer in answers.items():
        _console.print(f"  GET /{segment}/health  {answer}", style=None if answer == "ok" else "red")
    return 0 if set(answers.values()) == {"ok"} else 1


def _local(*, once: bool) -> int:
    """The whole service on the emulator; its address and a first answer, then until Ctrl-C unless `once`."""
    from local.deploy.emulated import emulated
    from local.stack import ROOT, write_contract

    contract = ROOT / ".local" / "stack.json"
    with emulated() as running:
        _console.print("Deployed: " + ", ".join(f"{step} {took:.1f} s" for step, took in running.seconds.items()))
        status = _look(running.stack.api_url)
        if once or status:
            return status
        write_contract(contract, running.stack)
        try:
            _console.print(
                f"Keys and users are in {contract}; AWS's services answer at {running.aws.url}. Ctrl-C ends it."
            )
            threading.Event().wait()
        except KeyboardInterrupt:
            return 0
        finally:
            contract.unlink(missing_ok=True)
    return 0


def _enter(env_file: Path | None, stage: str) -> None:
    """Take an environment file's variables. Raises DeployError for one of another stage, NoEnvironment."""
    if env_file is not None:
        choose(env_file, ("SUPABASE_URL",)).enter()
    stated = os.environ.get("STAGE")
    if stated and stated != stage:
        raise DeployError(f"the environment says STAGE={stated}, and {stage} was asked for")


def main(arguments: list[str] | None = None) -> int:
    """Run one of the commands; 0 when all is well, 1 when something does not answer, 2 when it could not be done."""
    parser = argparse.ArgumentParser(prog="python -m local.deploy", description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("aws", "secrets", "smoke"):
        command = commands.add_parser(name)
        command.add_argument("--stage", choices=["dev", "staging", "prod"], required=True)
        command.add_argument("--env-file", type=Path, help="take the variables that this file states")
    commands.add_parser("local").add_argument("--once", action="store_true", help="end after the first answers")
    options = parser.parse_args(arguments)
    steps: dict[str, Callable[[str], int]] = {"aws": _deploy, "secrets": _write_secrets, "smoke": _smoke}
    try:
        if options.command == "local":
            return _local(once=options.once)
        _enter(options.env_file, options.stage)
        return steps[options.command](options.stage)
    except _EXPECTED as error:
        _console.print(f"Not done: {error}", style="red", markup=False)
        return 2


if __name__ == "__main__":
    sys.exit(main())
