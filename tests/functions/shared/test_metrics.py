"""What CloudWatch is told: the form of the lines, and which numbers the functions tell of what happens to them."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from functions.shared import metrics
from functions.shared.metrics import FUNCTION, METRICS, MOST_VALUES, STAGE
from functions.shared.problems import Problem
from local import emf
from local.stack import LocalStack
from tests.support.lambdas import Json, cold_functions, http_event, invoke, sqs_event
from tests.support.stripe_side import StripeSide, event_of, signed
from tests.support.supabase_side import SupabaseSide
from tests.support.travellers import SAVES_THEN_DECLINES, Traveller

Told = Callable[[], Json]


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Told:
    """The values that were told since the last call, by metric; what does not belong to a whole set of ours fails."""

    def read() -> Json:
        found = emf.samples(capsys.readouterr().out.splitlines())
        for name, samples in found.by_name.items():
            for sample in samples:
                assert tuple(sample.dimensions) == METRICS[name].dimensions
                assert sample.unit == METRICS[name].unit
        return {name: found.values(name) for name in found.by_name}

    return read


# --- the lines ------------------------------------------------------------------------------------------------------


def valid(document: Json) -> bool:
    """Whether CloudWatch takes a document, by its specification's MUSTs
    (https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html).
    """
    assert set(document["_aws"]) == {"Timestamp", "CloudWatchMetrics"}
    assert abs(document["_aws"]["Timestamp"] - time.time() * 1000) < 60_000  # milliseconds, not seconds
    for directive in document["_aws"]["CloudWatchMetrics"]:
        assert set(directive) == {"Namespace", "Dimensions", "Metrics"}
        assert re.fullmatch(r"[^:]{1,1024}", directive["Namespace"])
        for dimensions in directive["Dimensions"]:
            assert len(dimensions) <= 30
            for name in dimensions:
                assert isinstance(document[name], str)
                assert 0 < len(document[name]) <= 1024
        assert 0 < len(directive["Metrics"]) <= 100
        for metric in directive["Metrics"]:
            assert set(metric) <= {"Name", "Unit", "StorageResolution"}
            values = document[metric["Name"]]
            assert not isinstance(values, list) or 0 < len(values) <= 100
            for value in values if isinstance(values, list) else [values]:
                assert isinstance(value, int | float)
                assert not isinstance(value, bool)
    return len(json.dumps(document)) < 256 * 1024


def test_a_line_is_what_cloudwatch_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAGE", "prod")
    values: dict[str, list[metrics.Value]] = {name: [1] for name in METRICS}
    values["PaymentSuccess"] = [1, 0, 1]
    (line,) = metrics.documents("webhook", values)
    document = json.loads(line)
    assert valid(document)
    assert (document["Stage"], document["Function"]) == ("prod", "webhook")
    told = {
        tuple(directive["Dimensions"][0]): {metric["Name"] for metric in directive["Metrics"]}
        for directive in document["_aws"]["CloudWatchMetrics"]
    }
    assert told == {
        dimensions: {name for name, metric in METRICS.items() if metric.dimensions == dimensions}
        for dimensions in (STAGE, FUNCTION)
    }
    assert document["PaymentSuccess"] == [1, 0, 1]


def test_more_values_than_a_line_holds_go_on_the_next(capsys: pytest.CaptureFixture[str]) -> None:
    with metrics.invocation("reconcile"):
        for number in range(2 * MOST_VALUES + 50):
            metrics.add("PaymentSuccess", number % 2)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(valid(json.loads(line)) for line in lines)
    found = emf.samples(lines)
    assert found.values("PaymentSuccess") == [number % 2 for number in range(250)]
    assert found.values("ServerErrors") == [0], "only once"


def test_the_metrics_are_few_enough_to_be_paid_for() -> None:
    """A metric is paid for by each combination of its dimensions' values: 0.30 USD a month at AWS's list price."""
    functions = 10
    assert sum(functions if metric.dimensions == FUNCTION else 1 for metric in METRICS.values()) <= 40
    assert {metric.dimensions for metric in METRICS.values()} == {STAGE, FUNCTION}


# --- the invocation --------------------------------------------------------------------------------------------------


def test_what_raises_is_told_all_the_same(told: Told) -> None:
    def dies() -> None:
        with metrics.invocation("notify"):
            metrics.add("NotificationsSent", 3)
            raise KeyError

    with pytest.raises(KeyError):
        dies()
    assert told() == {"ServerErrors": [1], "NotificationsSent": [3]}


def test_outside_of_an_invocation_nothing_is_noted_or_kept(told: Told) -> None:
    metrics.add("PaymentSuccess", 1)
    with metrics.invocation("webhook"):
        pass
    metrics.add("PaymentSuccess", 1)
    assert told() == {"ServerErrors": [0]}


def test_they_can_be_switched_off(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOBOOK_METRICS", "off")
    with metrics.invocation("reconcile"):
        metrics.add("PaymentSuccess", 1)
    assert told() == {}


def test_a_metric_that_is_not_declared_is_a_mistake() -> None:
    with pytest.raises(KeyError, match="PaymentSucces"):
        metrics.add("PaymentSucces", 1)


def test_threads_do_not_mix_their_numbers(told: Told) -> None:
    """The local gateway runs functions in threads."""
    both_within = threading.Barrier(2, timeout=10)

    def run(value: int) -> None:
        with metrics.invocation("webhook"):
            both_within.wait()
            metrics.add("WebhookProcessing", value)
            both_within.wait()

    threads = [threading.Thread(target=run, args=[value]) for value in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name: sorted(values) for name, values in told().items()} == {
        "ServerErrors": [0, 0],
        "WebhookProcessing": [1, 2],
    }


def test_success_is_ours_or_our_fault_and_a_refusal_is_neither(told: Told) -> None:
    for problem in (None, Problem("invalid_request"), Problem("database_unavailable"), KeyError()):
        with metrics.invocation("campaigns"):
            try:
                with metrics.success("CampaignCreation"):
                    if problem:
                        raise problem
            except (Problem, KeyError):
                pass
    assert told()["CampaignCreation"] == [1, 0, 0]


@pytest.mark.parametrize(
    ("result", "booking_status", "step", "expected"),
    [
        ("confirmed", "confirmed", "charge", [1]),
        ("authorized", "authorized", "charge", [1]),
        ("confirmed", "confirmed", "capture", []),
        ("failed", "failed", "cancel", [0]),
        ("declined", "failed", "charge", [0]),
        ("declined", "charging", "charge", []),
        ("next_card", "charging", "charge", []),
        ("cancelled", "cancelled", "cancel", []),
        ("already_confirmed", "confirmed", "look_up", []),
        ("late_success", "failed", None, []),
        ("unknown", "charging", "charge", []),
    ],
)
def test_each_payment_counts_once_when_it_ends(
    told: Told, result: str, booking_status: str, step: str | None, expected: list[int]
) -> None:
    with metrics.invocation("webhook"):
        metrics.payment_settled(result, booking_status, step=step)
    assert told().get("PaymentSuccess", []) == expected


# --- what the functions tell -----------------------------------------------------------------------------------------


@pytest.fixture
def functions(stack: LocalStack) -> Iterator[None]:
    """This process is a Lambda environment."""
    with cold_functions(stack):
        yield


def called(traveller: Traveller, function: str, method: str, path: str, body: Any = None) -> int:
    """The status with which a function answers its user, called as Lambda calls it."""
    event = http_event(method, path, body, authorization=f"Bearer {traveller.user.access_token}")
    status: int = invoke(f"functions.{function}.handler:handler", event)["statusCode"]
    return status


def charge(traveller: Traveller, campaign: Json, offer: Json) -> int:
    """Charge in this process."""
    body = {"campaign_id": campaign["id"], "offer_id": offer["id"]}
    return called(traveller, "charge_booking", "POST", "/charge-booking", body)


@pytest.mark.usefixtures("functions")
def test_a_payment_tells_its_end(told: Told, carded: Traveller) -> None:
    carded.stripe.hold()  # who settles is the function in this process
    campaign, offer = carded.open_campaign(), carded.offer()
    told()
    assert charge(carded, campaign, offer) == 201
    assert told() == {"ServerErrors": [0], "PaymentSuccess": [1]}
    assert charge(carded, campaign, offer) == 200
    assert told() == {"ServerErrors": [0]}, "a repeat is no second payment"


@pytest.mark.usefixtures("functions")
def test_a_declined_payment_tells_its_end(told: Told, traveller: Traveller) -> None:
    traveller.save_card(SAVES_THEN_DECLINES)
    traveller.stripe.hold()
    campaign, offer = traveller.open_campaign(), traveller.offer()
    told()
    assert charge(traveller, campaign, offer) == 402
    assert told() == {"ServerErrors": [0], "PaymentSuccess": [0]}


@pytest.mark.usefixtures("functions")
def test_the_webhook_tells_how_long_it_took_and_what_it_settled(
    told: Told, carded: Traveller, stack: LocalStack
) -> None:
    carded.stripe.hold()
    carded.stripe.fault("drop_after", match="/v1/payment_intents$")
    campaign, offer = carded.open_campaign(), carded.offer()
    told()
    assert charge(carded, campaign, offer) == 202
    assert told() == {"ServerErrors": [0], "StripeUnavailable": [1]}
    (intent,) = carded.stripe.intents(carded.customer_id)
    event = event_of("payment_intent.succeeded", intent)
    for expected in ([1], None):
        body = json.dumps(event)
        signature = signed(body.encode(), stack.keys.webhook_secrets[0])
        request = http_event("POST", "/webhook", event, stripe_signature=signature)
        assert invoke("functions.webhook.handler:handler", request)["statusCode"] == 200
        values = told()
        (processing,) = values.pop("WebhookProcessing")
        assert 0 < processing < 29_000
        assert values == {"ServerErrors": [0]} | ({"PaymentSuccess": expected} if expected else {})


@pytest.mark.usefixtures("functions")
def test_creating_campaigns_succeeds_or_fails(told: Told, carded: Traveller, supabase_side: SupabaseSide) -> None:
    body = carded.campaign_body()
    assert called(carded, "campaigns", "POST", "/campaigns", body) == 201
    assert told() == {"ServerErrors": [0], "CampaignCreation": [1]}
    assert called(carded, "campaigns", "POST", "/campaigns", body | {"currency": "xxx"}) == 422
    assert told() == {"ServerErrors": [0]}, "a refusal is not our failure"
    supabase_side.fault("/rest/v1/campaigns", "drop_connection")
    assert called(carded, "campaigns", "POST", "/campaigns", body) == 503
    assert told() == {"ServerErrors": [1], "CampaignCreation": [0], "DatabaseUnavailable": [1]}


@pytest.mark.usefixtures("functions")
def test_stripes_limits_are_told(told: Told, carded: Traveller, stripe_side: StripeSide) -> None:
    campaign, offer = carded.open_campaign(), carded.offer()
    stripe_side.fault("rate_limit", match="/v1/payment_intents$")
    told()
    assert charge(carded, campaign, offer) == 202
    assert told() == {"ServerErrors": [0], "StripeRateLimits": [1]}


@pytest.mark.usefixtures("functions")
def test_a_decline_that_no_table_knows_is_told(told: Told) -> None:
    from functions.shared.stripe_facts import decline_facts

    with metrics.invocation("charge-booking"):
        decline_facts({"code": "card_declined", "decline_code": "stars_not_aligned"})
        decline_facts({"code": "card_declined", "decline_code": "insufficient_funds"})
    assert told() == {"ServerErrors": [0], "UnknownDeclineCodes": [1]}


@pytest.mark.usefixtures("functions")
def test_the_queue_tells_of_a_whole_batch(told: Told, carded: Traveller) -> None:
    carded.stripe.hold()
    campaign = carded.open_campaign()
    messages = [{"campaign_id": campaign["id"], "offer_id": carded.offer()["id"]} for _ in range(3)]
    told()
    answer = invoke("functions.charge_booking.handler:queue_handler", sqs_event(*messages, "no request"))
    assert len(answer["batchItemFailures"]) == 1
    assert told() == {"ServerErrors": [0], "PaymentSuccess": [1, 1, 1]}


@pytest.mark.usefixtures("functions")
def test_reconcile_tells_how_things_stand(told: Told, carded: Traveller, stack_db: psycopg.Connection) -> None:
    carded.book(carded.open_campaign())
    invoke("functions.reconcile.handler:handler", {"apply": False}, 60)
    values = told()
    row = stack_db.execute("select public.operational_numbers(900)").fetchone()
    assert row is not None
    numbers: Json = row[0]
    gauges = {name: METRICS[name] for name in METRICS if name.startswith(("Oldest", "Un"))} | {"NotificationLag": None}
    assert {name for name in gauges if name not in values} <= {"UnknownDeclineCodes"}
    assert values["UnresolvedIncidents"] == [numbers["unresolved_incidents"]]
    assert values["UnsettledAttempts"] == [numbers["unsettled_attempts"]]
    assert values["NotificationLag"][0] == pytest.approx(numbers["notification_lag_seconds"], abs=10)
    assert values["InvariantBreaches"][-1] >= 0
    assert values["ServerErrors"] == [0]
    assert "ReconcileJobsStopped" not in values


def test_a_job_of_reconcile_that_stops_is_told(told: Told, stack: LocalStack) -> None:
    with cold_functions(stack, SUPABASE_URL="http://127.0.0.1:9"):
        report = invoke("functions.reconcile.handler:handler", {"apply": False}, 60)
    stopped = [name for name, lines in report["jobs"].items() if lines]
    values = told()
    assert len(values["ReconcileJobsStopped"]) == len(stopped) > 5
    assert "UnsettledAttempts" not in values, "what nobody knows is not told"
