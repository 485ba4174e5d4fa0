"""moto takes the packaged template: of what it supports, everything is made and answers.

It says CREATE_COMPLETE for resources that it does not make at all (the HTTP API, schedules, alarms), so this proves no
more than what is asked here; tests/deploy/test_emulated.py deploys the rest.
"""

import json
import re
import warnings
from pathlib import Path
from typing import Any

import boto3
from moto import mock_aws

from local.deploy.functions import FUNCTIONS
from local.deploy.package import BUILD


def clients(*services: str) -> list[Any]:
    made: list[Any] = [boto3.client(service, region_name="eu-central-1") for service in services]  # type: ignore[call-overload]  # any
    return made


NOT_MADE = {
    *("AWS::ApiGatewayV2::Api", "AWS::ApiGatewayV2::Integration", "AWS::ApiGatewayV2::Route"),
    *("AWS::ApiGatewayV2::Stage", "AWS::Lambda::Alias", "AWS::Lambda::EventInvokeConfig", "AWS::S3::BucketPolicy"),
    *("AWS::CloudWatch::Alarm", "AWS::SNS::Subscription", "AWS::Scheduler::Schedule"),
}
"""What moto's CloudFormation passes over."""


def without_aliases(value: Any) -> Any:
    """To the functions themselves: moto makes no alias, and then finds that there is none."""
    if isinstance(value, dict):
        joined = value.get("Fn::Join")
        if joined and joined[1][-1] == "snapstart":
            return joined[1][0]
        return {name: without_aliases(each) for name, each in value.items()}
    return [without_aliases(each) for each in value] if isinstance(value, list) else value


def test_moto_makes_what_it_supports(template_file: Path, monkeypatch: Any) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "none")
    template = json.loads(template_file.read_text("utf-8"))
    with warnings.catch_warnings(record=True) as warned, mock_aws(config={"lambda": {"use_docker": False}}):
        warnings.simplefilter("always")
        s3, cloudformation, functions, iam, sqs, logs = clients("s3", "cloudformation", "lambda", "iam", "sqs", "logs")
        s3.create_bucket(Bucket="artifacts", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        for resource in template["Resources"].values():
            if resource["Type"] == "AWS::Lambda::Function":
                code = resource["Properties"]["Code"]
                code["S3Bucket"] = "artifacts"
                archive = BUILD / "lambda" / Path(code["S3Key"]).name
                s3.put_object(Bucket="artifacts", Key=code["S3Key"], Body=archive.read_bytes())
        # Its widgets ask for the alarms' ARNs, which moto can't give.
        del template["Resources"]["Dashboard"]
        body = json.dumps(without_aliases(template))
        cloudformation.create_stack(StackName="autobook-prod", TemplateBody=body, Capabilities=["CAPABILITY_IAM"])
        (stack,) = cloudformation.describe_stacks(StackName="autobook-prod")["Stacks"]
        assert stack["StackStatus"] == "CREATE_COMPLETE"

        made = {each["FunctionName"]: each for each in functions.list_functions()["Functions"]}
        assert set(made) == {f"autobook-prod-{function.name}" for function in FUNCTIONS}
        assert made["autobook-prod-webhook"]["Runtime"] == "python3.14"
        assert len(iam.list_roles()["Roles"]) == len(FUNCTIONS) + 1
        queue = sqs.get_queue_url(QueueName="autobook-prod-charges")["QueueUrl"]
        attributes = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
        assert "charge-dead-letters" in attributes["RedrivePolicy"]
        groups = {each["logGroupName"] for each in logs.describe_log_groups()["logGroups"]}
        assert "/aws/lambda/autobook-prod-webhook" in groups
    told = {kind for each in warned for kind in re.findall(r"AWS::\w+::\w+", str(each.message))}
    assert told <= NOT_MADE
    assert "AWS::ApiGatewayV2::Api" in told
