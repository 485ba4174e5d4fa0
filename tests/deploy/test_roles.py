"""Each role holds what its function's code does, on the things that it does it to, and no more."""

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore import xform_name

from local.deploy.functions import FUNCTIONS, ROOT, Function, contents, find
from local.deploy.package import aws_services

Json = dict[str, Any]

OPERATIONS = {
    "send_message_batch": "sqs:SendMessage",  # there is no action for batches
    "get_secret_value": "secretsmanager:GetSecretValue",
    "get_parameter": "ssm:GetParameter",
    "send_email": "ses:SendEmail",
}
"""Which action a call needs: https://docs.aws.amazon.com/service-authorization/latest/reference/"""

ALWAYS = {"logs:CreateLogStream", "logs:PutLogEvents", "xray:PutTraceSegments", "xray:PutTelemetryRecords"}
"""What Lambda does in the function's name."""

BY_LAMBDA = {
    "charge-queue": {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"},  # the event source
    "reconcile": {"sqs:SendMessage"},  # the destination of failed runs
    "notify": {"sqs:SendMessage"},
}
"""The same, of some."""

UNUSED = {"ssm:GetParameter"}
"""What the code can do and the template never asks for: no setting in serverless.yml is an aws-ssm reference."""


@pytest.fixture(scope="module")
def template(template_file: Path) -> Json:
    loaded: Json = json.loads(template_file.read_text("utf-8"))
    return loaded


def called(function: Function, root: Path = ROOT) -> set[str]:
    """The AWS operations that a function's modules call, as methods of boto3's clients are named."""
    needs = contents(function, root)
    loader = botocore.session.get_session()
    known = {
        xform_name(operation)
        for service in aws_services(needs, root)
        for operation in loader.get_service_model(service).operation_names
    }
    names: set[str] = set()
    for path in needs.files:
        source = (root / path).read_text("utf-8") if path.suffix == ".py" else ""
        if "boto3" in source:
            names |= {
                node.func.attr
                for node in ast.walk(ast.parse(source))
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in known
            }
    return names


def statements(template: Json, role: str) -> Iterator[Json]:
    for policy in template["Resources"][role]["Properties"]["Policies"]:
        yield from policy["PolicyDocument"]["Statement"]


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def role_of(function: Function) -> str:
    return "".join(part.capitalize() for part in function.name.split("-")) + "Role"


def granted(template: Json, role: str) -> set[str]:
    return {action for each in statements(template, role) for action in listed(each["Action"])}


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.name)
def test_a_role_holds_what_its_function_calls(template: Json, function: Function) -> None:
    needed = {OPERATIONS[name] for name in called(function)} - UNUSED
    assert granted(template, role_of(function)) == needed | ALWAYS | BY_LAMBDA.get(function.name, set())


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.name)
def test_nothing_is_granted_on_everything(template: Json, function: Function) -> None:
    for each in statements(template, role_of(function)):
        assert each["Effect"] == "Allow"
        assert not {"NotAction", "NotResource"} & set(each)
        for action in listed(each["Action"]):
            assert "*" not in action
        for resource in listed(each["Resource"]):
            text = resource if isinstance(resource, str) else json.dumps(resource)
            if all(action.startswith("xray:") for action in listed(each["Action"])):
                assert resource == "*"  # it has no resources
            elif all(action.startswith("logs:") for action in listed(each["Action"])):
                assert f"log-group:/aws/lambda/autobook-prod-{function.name}:*" in text  # its streams
            else:
                assert "*" not in text


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.name)
def test_a_function_reads_its_own_secret_only(template: Json, function: Function) -> None:
    (statement,) = (each for each in statements(template, role_of(function)) if "secretsmanager" in str(each["Action"]))
    # The six characters that Secrets Manager adds to a name; `-*` would let in names that begin alike.
    assert json.dumps(statement["Resource"]).endswith(f'secret:autobook/prod/{function.name}-??????"}}')


def test_every_function_has_a_role_of_its_own(template: Json) -> None:
    roles = {
        each["Properties"]["FunctionName"]: each["Properties"]["Role"]["Fn::GetAtt"][0]
        for each in template["Resources"].values()
        if each["Type"] == "AWS::Lambda::Function"
    }
    assert roles == {f"autobook-prod-{function.name}": role_of(function) for function in FUNCTIONS}
    assert "IamRoleLambdaExecution" not in template["Resources"]


def test_the_scheduler_may_start_two_functions_and_keep_what_failed(template: Json) -> None:
    may = {
        action: listed(each["Resource"])
        for each in statements(template, "SchedulerRole")
        for action in listed(each["Action"])
    }
    assert may == {
        "lambda:InvokeFunction": [
            {"Fn::GetAtt": ["ReconcileLambdaFunction", "Arn"]},
            {"Fn::GetAtt": ["NotifyLambdaFunction", "Arn"]},
        ],
        "sqs:SendMessage": [{"Fn::GetAtt": ["SchedulerDeadLetters", "Arn"]}],
    }


def test_a_call_more_would_be_seen(tmp_path: Path) -> None:
    """The list of calls is read from the code: what is added there is missed in the role."""
    for path in (ROOT / "functions").rglob("*.py"):
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    with (tmp_path / "functions" / "shared" / "charge_queue.py").open("a") as module:
        module.write("\n\ndef empty() -> None:\n    _sqs().purge_queue(QueueUrl='')\n")
    assert called(find("offers"), tmp_path) - called(find("offers")) == {"purge_queue"}
    assert "purge_queue" not in OPERATIONS
