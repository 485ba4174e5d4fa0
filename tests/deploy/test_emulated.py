"""The service, deployed by osls to an emulator of AWS that holds each function to its role, lives through the story."""

import json
import os
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest

from local.deploy import emulator, secrets, service
from local.deploy.emulated import STAGE, EmulatedService, emulated
from tests.deploy.conftest import needs_osls, needs_time
from tests.support.http import connection
from tests.support.waiting import until
from tests.system import test_story as chapters

pytestmark = [needs_time, pytest.mark.xdist_group("emulated")]


@pytest.fixture(scope="module")
def running() -> Iterator[EmulatedService]:
    """Everything, deployed."""
    needs_osls()
    if not emulator.is_installed() and not os.environ.get("AUTOBOOK_NO_SKIPS"):
        pytest.skip("the emulator is not installed here: `make test-deploy` installs it")
    with emulated() as service_there:
        yield service_there


def test_the_story_over_what_was_deployed(running: EmulatedService) -> None:
    """The very chapters of tests/system/test_story.py: from a saved card to both sides' books, webhooks included."""
    assert set(service.health(running.stack.api_url).values()) == {"ok"}
    with connection(running.stack.api_url) as http:
        # The emulator starts a process for each function that it has not called before.
        story = chapters.Story(running.stack, http, patience_seconds=30)
        assert httpx.get(f"{running.stack.api_url}/health", trust_env=False).json()["status"] == "ok"
        chapters.an_offer_is_booked_at_night(story)
        chapters.a_second_request_charges_nothing(story)
        chapters.money_goes_back_when_fulfilment_says_so(story)
        chapters.a_hold_is_captured_and_another_let_go(story)
        chapters.a_declining_card_pauses_the_campaign(story)
        chapters.a_bank_that_asks_is_answered(story)
        chapters.a_user_tidies_up(story)
        chapters.another_user_sees_nothing_of_all_this(story)
        chapters.both_sides_books_agree(running.stack, story)
        story.stripe.close()
    sqs = running.aws.client("sqs")
    counted = sqs.get_queue_attributes(QueueUrl=running.deployed.dead_letters_url, AttributeNames=["All"])["Attributes"]
    assert counted["ApproximateNumberOfMessages"] == "0"


def test_the_charges_at_night_came_by_the_queue(running: EmulatedService) -> None:
    """The stack's own queue was stopped: what booked at night was the deployed consumer."""
    functions = running.aws.client("lambda")
    (mapping,) = functions.list_event_source_mappings()["EventSourceMappings"]
    assert mapping["FunctionArn"].endswith("charge-queue:snapstart")
    with psycopg.connect(running.stack.database_url) as db:
        row = db.execute("select count(*) from public.matches where state = 'waiting'").fetchone()
    assert row == (0,)


def invoked(running: EmulatedService, name: str, event: Any) -> Any:
    answer = running.aws.client("lambda").invoke(FunctionName=f"autobook-{STAGE}-{name}", Payload=json.dumps(event))
    body = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, body
    return body


def test_reconcile_and_notify_run_there(running: EmulatedService) -> None:
    jobs = invoked(running, "reconcile", {"apply": True})["jobs"]
    assert not [line for lines in jobs.values() for line in lines if line["what"] in ("failed", "stopped")]
    counts = invoked(running, "notify", {})
    assert counts.get("sent", 0) > 0
    assert set(counts) == {"sent"}


def test_a_function_can_read_its_own_secret_and_no_other(running: EmulatedService) -> None:
    """What its role does not name is denied: the emulator asks the role's policy for each call."""
    functions, name = running.aws.client("lambda"), f"autobook-{STAGE}-campaigns"
    given = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    event = {
        "version": "2.0", "routeKey": "GET /campaigns/health", "rawPath": "/campaigns/health", "rawQueryString": "",
        "headers": {"host": "x"}, "isBase64Encoded": False,
        "requestContext": {"http": {"method": "GET", "path": "/campaigns/health", "sourceIp": "192.0.2.1"}},
    }  # fmt: skip
    assert invoked(running, "campaigns", event)["statusCode"] == 200

    another = given | {"SUPABASE_TOKEN_CAMPAIGNS": f"aws-sm:{secrets.name_of('webhook', STAGE)}#supabase_token"}
    functions.update_function_configuration(FunctionName=name, Environment={"Variables": another})
    functions.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})

    assert until(lambda: invoked(running, "campaigns", event)["statusCode"] == 503 or None, seconds=20)


def test_old_versions_are_deleted_and_the_current_one_stays(running: EmulatedService) -> None:
    functions, name = running.aws.client("lambda"), f"autobook-{STAGE}-bookings"
    for number in range(4):
        functions.update_function_configuration(FunctionName=name, Description=f"change {number}")
        functions.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
        functions.publish_version(FunctionName=name)

    deleted = service.prune(functions, STAGE, keep=2)

    left = [each["Version"] for each in functions.list_versions_by_function(FunctionName=name)["Versions"]]
    assert left == ["$LATEST", "1", "4", "5"]  # 1 is what the alias leads to
    assert deleted == [f"{name}:2", f"{name}:3"]
    assert service.health(running.stack.api_url)["bookings"] == "ok"
