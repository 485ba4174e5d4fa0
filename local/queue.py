"""The queue between offers and charges: a real SQS API, and a poller that does what Lambda's event source mapping does.

    python -m local.queue --port 0 --consumer functions.charge_booking.handler:queue_handler

The SQS API is moto's server, with a standard queue and its dead-letter queue. The poller hands batches of up to ten
messages to the consumer, deletes what it didn't report as failed, and leaves the rest to the visibility timeout. How
many batches are under way at once is the brake that keeps charging under Stripe's rate limit.
https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
"""

import argparse
import contextlib
import importlib
import json
import logging
import os
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from local import child
from local.lambda_runtime import REGION, FunctionError, LambdaFunction
from local.mailbox import keep_in, receiving
from local.schedule import TIMEOUT_SECONDS, Schedule

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

QUEUE_NAME = "autobook-charges"
BATCH_SIZE = 10
CONCURRENCY = 2
"""As few as Lambda's `MaximumConcurrency` allows."""

_VISIBILITY_TIMEOUT_SECONDS = 10  # deployed: six times the function's timeout; here nobody wants to wait for that
_MAX_RECEIVE_COUNT = 5  # what AWS's guide asks of a queue that feeds Lambda, at least
_CONSUMER_TIMEOUT_SECONDS = 29.0
_WAIT_SECONDS = 20  # the longest poll SQS knows
_PAUSE_AFTER_ERROR_SECONDS = 0.5

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Queues:
    """The two queues of one SQS API."""

    sqs: "SQSClient"
    url: str
    arn: str
    dead_letter_url: str


def connect(endpoint: str) -> "SQSClient":
    """A client of the SQS API at the URL, for the poller's own use."""
    return boto3.client(
        "sqs",
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id="local",
        aws_secret_access_key="local",  # noqa: S106 - moto takes any, but botocore wants one
        config=Config(
            connect_timeout=2,
            read_timeout=_WAIT_SECONDS + 5,
            retries={"total_max_attempts": 1},
            max_pool_connections=50,
        ),
    )


def create_queues(
    sqs: "SQSClient", *, name: str = QUEUE_NAME, visibility_timeout_seconds: int = _VISIBILITY_TIMEOUT_SECONDS
) -> Queues:
    """Create a queue, and with it `<name>-dead` for what can't be consumed."""

    def arn_of(url: str) -> str:
        return sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]

    dead_letter_url = sqs.create_queue(QueueName=f"{name}-dead")["QueueUrl"]
    redrive = {"deadLetterTargetArn": arn_of(dead_letter_url), "maxReceiveCount": _MAX_RECEIVE_COUNT}
    url = sqs.create_queue(
        QueueName=name,
        Attributes={"VisibilityTimeout": str(visibility_timeout_seconds), "RedrivePolicy": json.dumps(redrive)},
    )["QueueUrl"]
    return Queues(sqs, url, arn_of(url), dead_letter_url)


class Poller:
    """Lambda's event source mapping for one queue and one function."""

    def __init__(
        self,
        queues: Queues,
        function: LambdaFunction,
        *,
        concurrency: int = CONCURRENCY,
        wait_seconds: int = _WAIT_SECONDS,
    ) -> None:
        self._queues = queues
        self._function = function
        self._wait_seconds = wait_seconds
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, name=f"poller {number}", daemon=True) for number in range(concurrency)
        ]

    def start(self) -> None:
        """Begin polling, in `concurrency` threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Take no more batches, and wait for what is under way."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def poll_once(self) -> int:
        """Receive one batch, have it consumed, delete its successes; gives how many messages there were."""
        received = self._queues.sqs.receive_message(
            QueueUrl=self._queues.url,
            MaxNumberOfMessages=BATCH_SIZE,
            WaitTimeSeconds=self._wait_seconds,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        messages = received.get("Messages", [])
        if not messages:
            return 0
        ids = {message["MessageId"] for message in messages}
        event = {"Records": [_record(message, self._queues.arn) for message in messages]}
        try:
            failed = failures(self._function.invoke(event), ids)
        except FunctionError:
            failed = ids
        done = [message for message in messages if message["MessageId"] not in failed]
        if done:
            self._queues.sqs.delete_message_batch(
                QueueUrl=self._queues.url,
                Entries=[
                    {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
                    for number, message in enumerate(done)
                ],
            )
        return len(messages)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.poll_once()
            except (BotoCoreError, ClientError) as error:
                _logger.warning("polling failed: %s", type(error).__name__)
                self._stopping.wait(_PAUSE_AFTER_ERROR_SECONDS)


def failures(answer: Any, ids: set[str]) -> set[str]:
    """The messages that have to be delivered again, by what the function answered.

    An empty answer is a full success. One that isn't well-formed, or names a message that wasn't in the batch, is a
    full failure: that is how Lambda takes it.
    """
    reported = (answer or {}).get("batchItemFailures") if isinstance(answer, dict | None) else None
    if answer is None or (isinstance(answer, dict) and not reported):
        return set()
    if not isinstance(reported, list):
        return ids
    named = {item.get("itemIdentifier") if isinstance(item, dict) else None for item in reported}
    return {str(name) for name in named} if named <= ids else ids


def _record(message: "MessageTypeDef", arn: str) -> dict[str, Any]:
    """One message as Lambda gets it: docs.aws.amazon.com/lambda/latest/dg/with-sqs.html."""
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message.get("Attributes", {}),
        "messageAttributes": {
            name: {
                "stringValue": value.get("StringValue"),
                "stringListValues": [],
                "binaryListValues": [],
                "dataType": value["DataType"],
            }
            for name, value in message.get("MessageAttributes", {}).items()
        },
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": arn,
        "awsRegion": REGION,
    }


def load(consumer: str) -> LambdaFunction:
    """The function behind `package.module:attribute`."""
    module, _, attribute = consumer.partition(":")
    return LambdaFunction(
        "autobook-local-charge-queue", getattr(importlib.import_module(module), attribute), _CONSUMER_TIMEOUT_SECONDS
    )


def _schedule(function: str, every_seconds: float) -> None:
    Schedule(replace(load(function), timeout_seconds=TIMEOUT_SECONDS), every_seconds).start()


def main() -> int:
    """Serve until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m local.queue", description="SQS with Lambda's poller.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port")
    parser.add_argument("--consumer", required=True, help="package.module:attribute of the Lambda handler")
    parser.add_argument("--concurrency", type=int, default=CONCURRENCY, help="batches consumed at once")
    parser.add_argument("--visibility-timeout", type=int, default=_VISIBILITY_TIMEOUT_SECONDS, metavar="SECONDS")
    parser.add_argument("--reconcile-every", type=float, metavar="SECONDS", help="call the reconcile function, too")
    parser.add_argument("--notify-every", type=float, metavar="SECONDS", help="call the notify function, too")
    parser.add_argument("--mail", type=Path, metavar="FOLDER", help="where what notify sends is kept")
    parser.add_argument("--settings-from-stdin", action="store_true", help="take more environment as a line of JSON")
    parser.add_argument("--parent-watch", action="store_true", help="end when standard input closes")
    options = parser.parse_args()

    from moto.server import ThreadedMotoServer  # 0.7 s, which nobody who only wants the poller should pay

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", port=options.port, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    queues = create_queues(connect(endpoint), visibility_timeout_seconds=options.visibility_timeout)
    child.announce(url=endpoint, queue_url=queues.url, dead_letter_url=queues.dead_letter_url)
    function = load(options.consumer)
    if options.settings_from_stdin:
        child.environment_from_parent()
    if options.parent_watch:
        child.end_with_parent()
    Poller(queues, function, concurrency=options.concurrency).start()
    with contextlib.ExitStack() as open_until_the_end:
        if options.reconcile_every:
            _schedule("functions.reconcile.handler:handler", options.reconcile_every)
        if options.notify_every:
            mailbox = open_until_the_end.enter_context(receiving())
            if options.mail:
                keep_in(options.mail, mailbox)
            os.environ["AWS_ENDPOINT_URL_SESV2"] = mailbox.url
            _schedule("functions.notify.handler:handler", options.notify_every)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
    os._exit(0)  # threads that wait in a long poll would hold up the end for twenty seconds


if __name__ == "__main__":
    sys.exit(main())
