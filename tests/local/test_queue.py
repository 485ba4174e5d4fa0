"""The queue and its poller, over moto's real SQS API: what is consumed, what comes again, what is given up."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from local.child import Child
from local.lambda_runtime import LambdaFunction
from local.queue import Poller, Queues, connect, create_queues, failures

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

CONSUMER = "tests.local.sample_functions.consumer.handler:queue_handler"


@pytest.fixture(scope="module")
def sqs(tmp_path_factory: pytest.TempPathFactory) -> Iterator["SQSClient"]:
    log = tmp_path_factory.mktemp("queue") / "queue.log"
    child = Child("local.queue", ["--parent-watch", "--concurrency", "0", "--consumer", CONSUMER], log=log)
    client = connect(child.announced()["url"])
    yield client
    client.close()
    child.stop()


@pytest.fixture
def queues(sqs: "SQSClient") -> Queues:
    """Queues of a test's own, where what failed is there again at once."""
    return create_queues(sqs, name=f"test-{uuid4().hex[:8]}", visibility_timeout_seconds=0)


def _send(queues: Queues, *bodies: str) -> list[str]:
    entries: Any = [{"Id": str(number), "MessageBody": body} for number, body in enumerate(bodies)]
    sent = queues.sqs.send_message_batch(QueueUrl=queues.url, Entries=entries)["Successful"]
    return [entry["MessageId"] for entry in sent]


def _poller(queues: Queues, consume: Callable[[dict[str, Any]], Any], **options: int) -> Poller:
    function = LambdaFunction("consumer", lambda event, _context: consume(event))
    return Poller(queues, function, **{"wait_seconds": 1, **options})


def _left(queues: Queues, url: str) -> int:
    attributes = queues.sqs.get_queue_attributes(
        QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    )["Attributes"]
    return sum(int(value) for value in attributes.values())


def test_consumed_messages_are_gone(queues: Queues) -> None:
    events: list[dict[str, Any]] = []
    ids = _send(queues, "one", "two")
    assert _poller(queues, events.append).poll_once() == 2
    assert _left(queues, queues.url) == 0
    records = events[0]["Records"]
    assert {record["messageId"] for record in records} == set(ids)
    assert {record["body"] for record in records} == {"one", "two"}
    assert {record["eventSource"] for record in records} == {"aws:sqs"}
    assert {record["eventSourceARN"] for record in records} == {queues.arn}
    assert {record["attributes"]["ApproximateReceiveCount"] for record in records} == {"1"}


def test_only_what_failed_is_delivered_again(queues: Queues) -> None:
    seen: list[list[str]] = []

    def consume(event: dict[str, Any]) -> dict[str, Any]:
        seen.append([record["body"] for record in event["Records"]])
        bad = [record["messageId"] for record in event["Records"] if record["body"] == "bad" and len(seen) == 1]
        return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in bad]}

    _send(queues, "good", "bad")
    poller = _poller(queues, consume)
    assert poller.poll_once() == 2
    assert poller.poll_once() == 1
    assert seen[1] == ["bad"]
    assert _left(queues, queues.url) == 0


def test_a_consumer_that_raises_gets_all_of_it_again(queues: Queues) -> None:
    def consume(_: dict[str, Any]) -> None:
        raise RuntimeError("no")

    _send(queues, "one", "two")
    poller = _poller(queues, consume)
    assert poller.poll_once() == 2
    assert poller.poll_once() == 2


def test_a_batch_has_ten_messages_at_most(queues: Queues) -> None:
    _send(queues, *(str(number) for number in range(10)))
    _send(queues, "eleven")
    poller = _poller(queues, lambda _: None)
    assert poller.poll_once() <= 10
    while poller.poll_once():
        pass
    assert _left(queues, queues.url) == 0


def test_no_more_than_the_concurrency_run_at_the_same_time(queues: Queues) -> None:
    under_way, most, done = 0, 0, 0
    lock, finished = threading.Lock(), threading.Event()

    def consume(event: dict[str, Any]) -> None:
        nonlocal under_way, most, done
        with lock:
            under_way += 1
            most = max(most, under_way)
        time.sleep(0.05)  # long enough for a third batch to overlap, were it let in
        with lock:
            under_way -= 1
            done += len(event["Records"])
            if done == 40:
                finished.set()

    for start in range(0, 40, 10):
        _send(queues, *(str(number) for number in range(start, start + 10)))
    queues.sqs.set_queue_attributes(QueueUrl=queues.url, Attributes={"VisibilityTimeout": "30"})
    poller = _poller(queues, consume, concurrency=2)
    poller.start()
    assert finished.wait(20)
    poller.stop()
    assert most <= 2


def test_what_fails_for_good_ends_in_the_dead_letter_queue(tmp_path: Path) -> None:
    arguments = ["--parent-watch", "--visibility-timeout", "0", "--settings-from-stdin", "--consumer", CONSUMER]
    child = Child("local.queue", arguments, log=tmp_path / "log")
    try:
        announced = child.announced()
        child.tell({})
        client = connect(announced["url"])
        client.send_message(QueueUrl=announced["queue_url"], MessageBody="good")
        client.send_message(QueueUrl=announced["queue_url"], MessageBody="bad apple")
        received = client.receive_message(QueueUrl=announced["dead_letter_url"], WaitTimeSeconds=20)
        assert [message["Body"] for message in received["Messages"]] == ["bad apple"]
        client.close()
    finally:
        child.stop()


@pytest.mark.parametrize(
    ("answer", "again"),
    [
        (None, set()),
        ({}, set()),
        ({"batchItemFailures": []}, set()),
        ({"batchItemFailures": None}, set()),
        ({"batchItemFailures": [{"itemIdentifier": "a"}]}, {"a"}),
        ({"batchItemFailures": [{"itemIdentifier": "a"}, {"itemIdentifier": "b"}]}, {"a", "b"}),
        ({"batchItemFailures": [{"itemIdentifier": ""}]}, {"a", "b"}),
        ({"batchItemFailures": [{"itemIdentifier": None}]}, {"a", "b"}),
        ({"batchItemFailures": [{"itemIdentifier": "stranger"}]}, {"a", "b"}),
        ({"batchItemFailures": [{"id": "a"}]}, {"a", "b"}),
        ({"batchItemFailures": "a"}, {"a", "b"}),
        ("nonsense", {"a", "b"}),
    ],
)
def test_answers_are_taken_as_lambda_takes_them(answer: object, again: set[str]) -> None:
    assert failures(answer, {"a", "b"}) == again
