"""The queue between offers and charges, as SQS and Lambda's poller treat it: at least once, in batches, again later."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from local.faults.lambdas import Context
from local.faults.stage import Invocation

if TYPE_CHECKING:
    from local.faults.simulation import Simulation

VISIBILITY_SECONDS = 180.0
MOST_RECEIVES = 5
_BATCH = 3


@dataclass
class Message:
    """One message: what it says, how often it was received, when it may be received again."""

    name: str
    body: str
    visible_at: float
    receives: int = 0


class Queue:
    """Messages that wait, and the poller that hands them to the consumer."""

    def __init__(self, simulation: "Simulation") -> None:
        self._simulation = simulation
        self.messages: list[Message] = []
        self.dead: list[Message] = []

    def put(self, bodies: list[str]) -> None:
        """Messages come in."""
        now = self._simulation.now()
        self.messages += [Message(self._simulation.name("message"), body, now) for body in bodies]

    def make_visible(self) -> None:
        """Let every message be received at once: its visibility timeout has passed."""
        for message in self.messages:
            message.visible_at = min(message.visible_at, self._simulation.now())

    def deliver_due(self) -> bool:
        """Hand a batch to the consumer, if anything may be received; whether it was."""
        simulation = self._simulation
        now = simulation.now()
        batch = [message for message in self.messages if message.visible_at <= now][:_BATCH]
        if not batch:
            return False
        sent: list[Message] = []
        for message in batch:
            message.receives += 1
            fault = simulation.fault_at(f"{message.name}#{message.receives}", "queue delivery")
            message.visible_at = now + (5.0 if fault == "doubled" else VISIBILITY_SECONDS)
            if fault == "delayed":
                simulation.tell(message.name, "is delayed", fault)
                continue
            sent += [message] * (2 if fault == "doubled_at_once" else 1)
        if sent:
            self._consume(sent)
            if len(sent) > len(set(map(id, sent))):
                self._consume(sent[-1:])
        return True

    def _consume(self, messages: list[Message]) -> None:
        simulation = self._simulation
        handler = simulation.lambdas.queue_handler
        event = {"Records": [_record(message) for message in {id(each): each for each in messages}.values()]}

        def work(invocation: Invocation) -> Any:
            ends_at = invocation.started_at + invocation.timeout_seconds
            return handler(event, Context(f"{invocation.name}-000", simulation.now, ends_at))

        def done(invocation: Invocation) -> None:
            failed = {message.name for message in messages}
            if not invocation.failed:
                failed = {each["itemIdentifier"] for each in invocation.result["batchItemFailures"]}
            for message in messages:
                if message.name not in failed:
                    self._remove(message)
                elif message.receives >= MOST_RECEIVES:
                    self._remove(message)
                    self.dead.append(message)

        simulation.invoke(simulation.name("queue"), "schedule charge_queue", work, done)

    def _remove(self, message: Message) -> None:
        self.messages = [each for each in self.messages if each is not message]


def _record(message: Message) -> dict[str, Any]:
    json.loads(message.body)  # what we put in ourselves is JSON
    return {
        "messageId": message.name,
        "receiptHandle": "handle",
        "body": message.body,
        "attributes": {"ApproximateReceiveCount": str(message.receives)},
        "messageAttributes": {},
        "eventSource": "aws:sqs",
    }
