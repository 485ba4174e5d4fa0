"""serverless.yml as CloudFormation gets it: the routes are the code's, the limits hold together, no secret is in it."""

import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from local.deploy import secrets
from local.deploy.functions import FUNCTIONS, ROOT, contents
from local.deploy.packages import LAMBDA
from local.deploy.service import DeployError
from tests.deploy.conftest import SETTINGS, made

Json = dict[str, Any]


@pytest.fixture(scope="module")
def template(template_file: Path) -> Json:
    loaded: Json = json.loads(template_file.read_text("utf-8"))
    return loaded


def of_type(template: Json, kind: str) -> dict[str, Json]:
    return {name: each["Properties"] for name, each in template["Resources"].items() if each["Type"] == kind}


def functions(template: Json) -> dict[str, Json]:
    """By name without service and stage."""
    found = of_type(template, "AWS::Lambda::Function").values()
    return {each["FunctionName"].removeprefix("autobook-prod-"): each for each in found}


@pytest.fixture(scope="module")
def declared(template_file: Path) -> dict[str, Json]:
    """The functions as osls read them from serverless.yml."""
    state = json.loads((template_file.parent / "serverless-state.json").read_text("utf-8"))
    found: dict[str, Json] = state["service"]["functions"]
    return found


# --- routes -------------------------------------------------------------------------------------------------------


def described_routes() -> set[str]:
    """Method and path of every operation in docs/openapi.json."""
    paths = json.loads((ROOT / "docs" / "openapi.json").read_text("utf-8"))["paths"]
    methods = {"get", "post", "put", "patch", "delete"}
    return {f"{method.upper()} {path}" for path, each in paths.items() for method in each if method in methods}


def test_the_routes_are_those_of_the_code_and_no_others(template: Json) -> None:
    deployed = {each["RouteKey"] for each in of_type(template, "AWS::ApiGatewayV2::Route").values()}
    assert deployed == described_routes()


def test_a_route_leads_to_the_function_of_its_path(declared: dict[str, Json]) -> None:
    routes = [
        (event["httpApi"], name) for name, each in declared.items() for event in each["events"] if "httpApi" in event
    ]
    assert len(routes) == len(described_routes())
    for route, name in routes:
        path = (route if isinstance(route, str) else route["path"]).rpartition(" ")[2]
        assert path.split("/")[1] == name or (path, name) == ("/health", "webhook")


def test_throttled_routes_exist_and_are_waited_for(template: Json) -> None:
    stage = template["Resources"]["HttpApiStage"]
    routes = {each["RouteKey"]: name for name, each in of_type(template, "AWS::ApiGatewayV2::Route").items()}
    limited = stage["Properties"]["RouteSettings"]
    assert {"POST /charge-booking", "POST /webhook", "POST /offers"} <= set(limited)
    assert {routes[key] for key in limited} <= set(stage["DependsOn"])
    for limits in (*limited.values(), stage["Properties"]["DefaultRouteSettings"]):
        assert 0 < limits["ThrottlingRateLimit"] <= limits["ThrottlingBurstLimit"]


def test_cors_lets_our_page_in_and_nobody_else(template: Json) -> None:
    (api,) = of_type(template, "AWS::ApiGatewayV2::Api").values()
    cors = api["CorsConfiguration"]
    assert cors["AllowOrigins"] == [SETTINGS["APP_URL"]]
    assert {"Authorization", "Idempotency-Key"} <= set(cors["AllowHeaders"])
    assert set(cors["AllowMethods"]) == {route.partition(" ")[0] for route in described_routes()}


def test_the_access_log_is_json_without_what_callers_sent(template: Json) -> None:
    written = template["Resources"]["HttpApiStage"]["Properties"]["AccessLogSettings"]["Format"]
    assert "routeKey" in json.loads(written)
    assert not re.search(r"\$context\.(path|identity|authorizer|protocol)|querystring|header", written)


# --- functions ----------------------------------------------------------------------------------------------------


def test_the_functions_are_those_that_are_packaged(template: Json) -> None:
    deployed = {name: each["Handler"] for name, each in functions(template).items()}
    assert deployed == {function.name: function.handler for function in FUNCTIONS}


def test_they_run_on_what_they_are_packaged_for(template: Json, declared: dict[str, Json]) -> None:
    for each in functions(template).values():
        assert each["Runtime"] == "python{}.{}".format(*LAMBDA.python)
        assert each["Architectures"] == ["arm64"]
        assert each["TracingConfig"] == {"Mode": "Active"}
    packages = {name: each["package"]["artifact"] for name, each in declared.items()}
    assert {name: Path(path).relative_to("build").as_posix() for name, path in packages.items()} == {
        name: f"lambda/{name}.zip" for name in packages
    }


def test_where_somebody_waits_a_start_is_a_copy(template: Json) -> None:
    """SnapStart is for published versions: what calls must go through the alias of one."""
    copied = {name for name, each in functions(template).items() if each.get("SnapStart")}
    assert copied == {function.name for function in FUNCTIONS} - {"reconcile", "notify"}
    targets = [each["IntegrationUri"] for each in of_type(template, "AWS::ApiGatewayV2::Integration").values()]
    (mapping,) = of_type(template, "AWS::Lambda::EventSourceMapping").values()
    for target in (*targets, mapping["FunctionName"]):
        assert target["Fn::Join"][1][-1] == "snapstart"


def test_each_has_the_settings_that_its_code_reads(template: Json) -> None:
    """Of the variables that a secret may be in, and of the queue: those of the modules in its zip."""
    for function in FUNCTIONS:
        given = functions(template)[function.name]["Environment"]["Variables"]
        sources = "\n".join(
            (ROOT / path).read_text("utf-8") for path in contents(function).files if path.suffix == ".py"
        )
        handler = (ROOT / (function.module.replace(".", "/") + ".py")).read_text("utf-8")
        token = f"SUPABASE_TOKEN_{function.folder.upper()}"
        assert token in given
        assert [name for name in given if name.startswith("SUPABASE_TOKEN_")] == [token]
        assert ("CHARGE_QUEUE_URL" in given) == ("charge_queue import" in sources)
        assert ("STRIPE_SECRET_KEY" in given) == ("import gateway" in handler or "StripeGateway" in handler)
        assert ("STRIPE_WEBHOOK_SECRETS" in given) == (function.name == "webhook")
        assert ("AUTOBOOK_SIGNING_SECRETS" in given) == ("MachineSettings" in handler)


def test_no_secret_is_in_the_template(template: Json) -> None:
    for name, each in functions(template).items():
        for variable, value in each["Environment"]["Variables"].items():
            if re.search(r"TOKEN|SECRET", variable):
                assert isinstance(value, str)
                assert value.startswith(f"aws-sm:autobook/prod/{name}#"), variable
    assert secrets.references()["webhook"] == {
        "supabase_token": "SUPABASE_TOKEN_WEBHOOK",
        "stripe_secret_key": "STRIPE_SECRET_KEY",
        "stripe_webhook_secrets": "STRIPE_WEBHOOK_SECRETS",
    }
    assert set(secrets.references()) == set(functions(template))


# --- queue and schedules ------------------------------------------------------------------------------------------


def test_a_message_stays_hidden_for_six_times_as_long_as_its_charge_may_take(template: Json) -> None:
    queue = template["Resources"]["ChargeQueue"]["Properties"]
    assert queue["VisibilityTimeout"] >= 6 * functions(template)["charge-queue"]["Timeout"]
    assert queue["RedrivePolicy"]["deadLetterTargetArn"] == {"Fn::GetAtt": ["ChargeDeadLetters", "Arn"]}
    assert queue["RedrivePolicy"]["maxReceiveCount"] >= 5
    dead = template["Resources"]["ChargeDeadLetters"]["Properties"]
    assert dead["MessageRetentionPeriod"] > queue["MessageRetentionPeriod"]


def test_the_queue_is_the_brake(template: Json) -> None:
    """Two charges a second and one at a time, times those at one time, is less than Stripe takes for one endpoint."""
    (mapping,) = of_type(template, "AWS::Lambda::EventSourceMapping").values()
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["BatchSize"] == 1
    assert mapping["ScalingConfig"]["MaximumConcurrency"] >= 2
    assert 2 * mapping["ScalingConfig"]["MaximumConcurrency"] < 25


def test_schedules_repeat_and_keep_what_failed(template: Json) -> None:
    schedules = of_type(template, "AWS::Scheduler::Schedule")
    said = {name: each["ScheduleExpression"] for name, each in schedules.items()}
    assert said == {"ReconcileSchedule": "rate(5 minutes)", "NotifySchedule": "rate(1 minute)"}
    for each in schedules.values():
        assert each["Target"]["RetryPolicy"]["MaximumRetryAttempts"] >= 1
        assert each["Target"]["DeadLetterConfig"]["Arn"] == {"Fn::GetAtt": ["SchedulerDeadLetters", "Arn"]}
    assert functions(template)["notify"]["Timeout"] <= 50
    assert functions(template)["reconcile"]["Timeout"] < 300
    for each in of_type(template, "AWS::Lambda::EventInvokeConfig").values():
        assert each["MaximumRetryAttempts"] == 0
        assert each["DestinationConfig"]["OnFailure"]["Destination"] == {"Fn::GetAtt": ["SchedulerDeadLetters", "Arn"]}


def test_every_log_is_forgotten_some_day(template: Json) -> None:
    groups = of_type(template, "AWS::Logs::LogGroup").values()
    assert {each["LogGroupName"] for each in groups} >= {f"/aws/lambda/autobook-prod-{each.name}" for each in FUNCTIONS}
    assert all(each["RetentionInDays"] == 90 for each in groups)


# --- stages, lint, typos ------------------------------------------------------------------------------------------


def test_stages_differ_as_said(osls: None, tmp_path: Path) -> None:
    dev = made("dev", tmp_path)
    assert {each["RetentionInDays"] for each in of_type(dev, "AWS::Logs::LogGroup").values()} == {7}
    (mapping,) = of_type(dev, "AWS::Lambda::EventSourceMapping").values()
    assert mapping["ScalingConfig"]["MaximumConcurrency"] == 5
    names = {each["FunctionName"] for each in of_type(dev, "AWS::Lambda::Function").values()}
    assert "autobook-dev-webhook" in names


def test_packaged_twice_at_once_each_gets_its_own(osls: None, tmp_path: Path) -> None:
    """osls packages in one folder of the checkout and moves that: two workers, or two terminals, took each other's."""
    stages = ["dev", "staging", "prod"]
    with ThreadPoolExecutor(len(stages)) as threads:
        templates = list(threads.map(lambda stage: made(stage, tmp_path / stage), stages))
    for stage, template in zip(stages, templates, strict=True):
        names = {each["FunctionName"] for each in of_type(template, "AWS::Lambda::Function").values()}
        assert f"autobook-{stage}-webhook" in names


def test_cfn_lint_has_nothing_to_say(template_file: Path) -> None:
    # W3005: osls says DependsOn where a reference says so already.
    command = [str(Path(sys.executable).parent / "cfn-lint"), "--ignore-checks", "W3005", "--", str(template_file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_a_missing_setting_stops_it(osls: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SETTINGS, "STRIPE_PUBLISHABLE_KEY", "")
    monkeypatch.delitem(SETTINGS, "SUPABASE_URL")
    monkeypatch.delenv("SUPABASE_URL", raising=False)
    with pytest.raises(DeployError, match="supabaseUrl"):
        made("dev", tmp_path)


def test_nothing_of_the_registry_is_in_the_lock_file() -> None:
    """So that it holds wherever the packages come from."""
    locked = json.loads((ROOT / "package-lock.json").read_text("utf-8"))["packages"]
    assert (
        locked["node_modules/osls"]["version"]
        == json.loads((ROOT / "package.json").read_text())["devDependencies"]["osls"]
    )
    assert not [name for name, package in locked.items() if "resolved" in package]
    assert all("integrity" in package for name, package in locked.items() if name)
