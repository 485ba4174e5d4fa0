"""The wires between the functions and the outside, where calls get lost: to the database, to Stripe, to SQS and SES."""

import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import boto3
import botocore.endpoint
import botocore.session
import httpx
import stripe
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError

from functions.shared.surroundings import Surroundings
from local.faults.database_side import FAILURES, Lost, boundary_of
from local.faults.stage import Invocation, Killed, current
from local.stripe.gate import Gate, Request
from local.stripe.idempotency import Answer
from local.stripe.transport import BASE_URL
from local.supabase.engine import Incoming, Moment

if TYPE_CHECKING:
    from local.faults.simulation import Simulation

REST_PREFIX = "/rest/v1"
STRIPE_TIMEOUT_SECONDS = 12.0
DATABASE_TIMEOUT_SECONDS = 5.0
MAIL_TIMEOUT_SECONDS = 7.0
_ID = re.compile(r"/(?:cus|pi|pm|seti|re|ch)_[A-Za-z0-9]+")
_SOME_REQUEST = httpx.Request("POST", "http://supabase.invalid")
_GATEWAY_PAGE = b"<html><head><title>504 Gateway Time-out</title></head><body>504</body></html>"
_AT_STRIPE = {
    "rate_limited": ("rate_limit", True),
    "object_locked": ("lock_timeout", True),
    "error_before": ("error_before", True),
    "error_forgotten": ("error_before", False),
    "error_after": ("error_after", True),
}
"""Faults that the stand-in makes itself: its kind, and whether the key keeps the answer."""


_AT_COMMIT = frozenset({"slow_commit", *FAILURES})
"""Faults that strike between a transaction's statement and its end."""


class Wires:
    """All wires of this process; they lead to the simulation that runs now."""

    simulation: "Simulation"

    def __init__(self) -> None:
        self.surroundings = SimulatedSurroundings(self)

    def kill(self) -> None:
        """End the invocation that calls. Raises Killed."""
        current().killed = True
        raise Killed

    def connect_aws(self) -> None:
        """Let every boto3 client of this process that is made from now on lead into the simulation."""
        session = botocore.session.Session()
        session.register("before-call", self._aws_call)  # type: ignore[arg-type]  # it may answer, the stubs say no
        session.register("before-send", self._aws_send)  # type: ignore[arg-type]  # so may this one
        boto3.setup_default_session(botocore_session=session)
        # It waits before it repeats what failed: by the wall's clock, and for how long is chance that no seed decides.
        botocore.endpoint.time = SimpleNamespace(sleep=self._wait_to_repeat)  # type: ignore[attr-defined]  # no stub has it

    def _wait_to_repeat(self, _seconds: float) -> None:
        self.simulation.pass_time(1.0)

    def _aws_call(self, params: dict[str, Any], event_name: str = "", **_: Any) -> tuple[AWSResponse, Any] | None:
        """A call that nothing befalls is answered here: signing, sending and reading it have no say in what follows."""
        boundary, carry_out = self._operation(event_name)
        fault = self.simulation.arrive(boundary)
        if fault is not None:
            current().fault_on_the_way = fault
            return None
        answer = carry_out(json.loads(params["body"]), None)[1]
        return AWSResponse(params["url"], 200, {}, _Raw()), answer  # type: ignore[arg-type]  # as moto's

    def _aws_send(self, request: AWSPreparedRequest, event_name: str = "", **_: Any) -> AWSResponse:
        assert isinstance(request.body, str | bytes)
        boundary, carry_out = self._operation(event_name)
        invocation = current()
        fault, invocation.fault_on_the_way = invocation.fault_on_the_way, None
        if fault is None:  # botocore tries again
            fault = self.simulation.arrive(boundary)
        status, answer = carry_out(json.loads(request.body), fault)
        headers = {"content-type": "application/json", "x-amzn-requestid": "simulated"}
        return AWSResponse(request.url, status, headers, _Raw(json.dumps(answer).encode()))  # type: ignore[arg-type]  # as moto's

    def _operation(self, event_name: str) -> tuple[str, Callable[[Any, str | None], tuple[int, Any]]]:
        """The boundary of a call, and what does it."""
        match event_name.split(".")[1:]:
            case ["sqs", "SendMessageBatch"]:
                return "sqs SendMessageBatch", self._send_messages
            case ["sesv2", "SendEmail"]:
                return "ses SendEmail", self._send_mail
            case _:
                raise AssertionError(f"the simulation knows no {event_name}")

    def _send_messages(self, body: Any, fault: str | None) -> tuple[int, Any]:
        simulation = self.simulation
        if fault == "unreachable":
            raise EndpointConnectionError(endpoint_url="https://sqs")
        if fault == "throttled":
            return 400, {"__type": "com.amazonaws.sqs#RequestThrottled", "message": "too many"}
        entries = body["Entries"]
        refused = entries[:1] if fault == "partly_refused" else []
        taken = entries[len(refused) :]
        if fault != "message_lost":
            simulation.queue.put([entry["MessageBody"] for entry in taken])
        if fault == "killed_after":
            self.kill()
        if fault == "answer_lost":
            raise ReadTimeoutError(endpoint_url="https://sqs")
        return 200, {
            "Successful": [
                {
                    "Id": entry["Id"],
                    "MessageId": f"message-{entry['Id']}",
                    "MD5OfMessageBody": hashlib.md5(entry["MessageBody"].encode(), usedforsecurity=False).hexdigest(),
                }
                for entry in taken
            ],
            "Failed": [{"Id": entry["Id"], "SenderFault": False, "Code": "InternalError"} for entry in refused],
        }

    def _send_mail(self, body: Any, fault: str | None) -> tuple[int, Any]:
        simulation = self.simulation
        if fault == "unreachable":
            raise EndpointConnectionError(endpoint_url="https://email")
        if fault == "timeout_before":
            simulation.pass_time(MAIL_TIMEOUT_SECONDS)
            raise ReadTimeoutError(endpoint_url="https://email")
        if fault == "throttled":
            return 429, {"__type": "TooManyRequestsException", "message": "Maximum sending rate exceeded."}
        if fault == "refused":
            return 400, {"__type": "MessageRejected", "message": "The message could not be sent."}
        simulation.mails.append(
            {
                "notification_id": body["EmailTags"][0]["Value"],
                "to": body["Destination"]["ToAddresses"][0],
                "subject": body["Content"]["Simple"]["Subject"]["Data"],
                "at": simulation.now(),
                "sender": current(),
            }
        )
        if fault == "killed_after":
            self.kill()
        if fault == "timeout_after":
            simulation.pass_time(MAIL_TIMEOUT_SECONDS)
            raise ReadTimeoutError(endpoint_url="https://email")
        return 200, {"MessageId": f"mail-{len(simulation.mails)}"}


class _Raw(io.BytesIO):
    """A body as urllib3 gives it."""

    def stream(self, **_: Any) -> Iterator[bytes]:
        """The whole body at once."""
        yield self.read()


class SimulatedSurroundings(Surroundings):
    """The clock of the simulation, and wires into it."""

    def __init__(self, wires: Wires) -> None:
        self._wires = wires

    def monotonic(self) -> float:
        """The simulated time."""
        return self._wires.simulation.now()

    def sleep(self, seconds: float) -> None:
        """Let simulated time pass."""
        self._wires.simulation.pass_time(seconds)

    def database_client(self) -> httpx.Client:
        """A wire to the simulated database."""
        return DatabaseWire(self._wires)

    def stripe_http_client(self, timeout_seconds: float) -> stripe.HTTPClient:
        """A wire to the simulated Stripe."""
        assert timeout_seconds == STRIPE_TIMEOUT_SECONDS
        return StripeWire(self._wires)


class DatabaseWire(httpx.Client):
    """supabase-py's requests into the simulated database.

    In the place of httpx's client and not below it: joining URLs, cookies, redirects and what else it does for each
    request took as long as the request.
    """

    def __init__(self, wires: Wires) -> None:
        super().__init__(transport=_NoNetwork())
        self._wires = wires

    def request(self, method: str, url: httpx.URL | str, **given: Any) -> httpx.Response:
        """One request as the postgrest package makes it, and what befalls it."""
        path = str(url).partition(REST_PREFIX)[2]
        incoming = Incoming(
            method=method,
            path=unquote(path),
            raw_path=path,
            query_string=str(given["params"]),
            headers={name.decode("ascii").lower(): value.decode("latin-1") for name, value in given["headers"].raw},
            prefer=tuple(given["headers"].get_list("prefer")),
            body=given["content"] or b"",
        )
        simulation, invocation = self._wires.simulation, current()
        fault = simulation.arrive(boundary_of(incoming))
        if fault == "no_connection":
            raise httpx.ConnectError("connection refused")
        hook = _Transaction(simulation, invocation, fault) if fault in _AT_COMMIT else None
        try:
            response = simulation.database.answer(incoming, hook)
        except Lost:
            raise httpx.ReadError("connection reset") from None
        finally:
            simulation.stage.rejoin(invocation)
        response = self._bring_back(response, fault)
        response.request = _SOME_REQUEST  # nobody looks at it, but httpx wants one to be there
        return response

    def _bring_back(self, response: httpx.Response, fault: str | None) -> httpx.Response:
        simulation = self._wires.simulation
        if fault == "slow_commit":
            simulation.arrive_again(current())
        if fault == "killed_after":
            self._wires.kill()
        if fault == "lost_after_commit":
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
        if fault == "gateway_page":
            simulation.pass_time(DATABASE_TIMEOUT_SECONDS - 1)
            return httpx.Response(504, content=_GATEWAY_PAGE, headers={"content-type": "text/html"})
        return response


class _NoNetwork(httpx.BaseTransport):
    """What is asked for in another way than postgrest's must not go out."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Refuse."""
        raise AssertionError(f"{request.method} {request.url} went past the simulation")


class _Transaction:
    """What befalls one transaction: called before its commit and after it."""

    def __init__(self, simulation: "Simulation", invocation: Invocation, fault: str | None) -> None:
        self._simulation = simulation
        self._invocation = invocation
        self._fault = fault

    def __call__(self, moment: Moment) -> None:
        if moment == "after_commit":
            self._simulation.stage.rejoin(self._invocation)
        elif self._fault == "slow_commit" and self._invocation.state != "blocked":
            # One that has just waited for another's lock commits at once: it would hold that lock with nobody knowing.
            if self._simulation.stage.holder is None:
                self._simulation.hold_back(self._invocation)
        elif self._fault in FAILURES:
            make, self._fault = FAILURES[self._fault], None  # a transaction that is run again succeeds
            raise make()


def operation_of(method: str, path: str) -> str:
    """The name of a Stripe call's boundary: `stripe POST payment_intents/:id/confirm`; `stripe?` is a question."""
    shape = _ID.sub("/:id", path.removeprefix("/v1"))
    return f"{'stripe?' if method == 'GET' else 'stripe'} {method} {shape.strip('/')}"


class StripeWire(stripe.HTTPClient):
    """The SDK's requests into the simulated Stripe."""

    name = "simulated"

    def __init__(self, wires: Wires) -> None:
        super().__init__()
        self._wires = wires

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        post_data: Any = None,
        *,
        _usage: list[str] | None = None,
    ) -> tuple[str, int, Mapping[str, str]]:
        """One attempt, and what befalls it."""
        simulation = self._wires.simulation
        parts = urlsplit(url)
        body = post_data.encode() if isinstance(post_data, str) else post_data or b""
        named = {name.lower(): str(value) for name, value in (headers or {}).items()}
        request = Request(method.upper(), parts.path, parts.query, body, named, BASE_URL)
        operation = operation_of(request.method, request.path)
        fault = simulation.arrive(operation)
        if fault in ("timeout_before", "dropped_before"):
            self._hang_up(fault)
        answer = self._exchange(request, operation, fault)
        if fault == "killed_after":
            self._wires.kill()
        if fault in ("timeout_after", "dropped_after"):
            self._hang_up(fault)
        return answer.body.decode(), answer.status, answer.headers

    def _exchange(self, request: Request, operation: str, fault: str | None) -> Answer:
        simulation = self._wires.simulation
        world = simulation.world
        gate = Gate(world)
        if fault in _AT_STRIPE:
            kind, remember = _AT_STRIPE[fault]
            world.faults.add(kind, times=1, remember=remember)
        admitted = gate.open(request)
        world.faults.clear()
        if isinstance(admitted, Answer):
            return admitted
        if fault == "in_flight":
            simulation.arrive_again(current())
        answer = gate.run(admitted)
        if operation.startswith("stripe POST payment_intents") and operation.endswith(("intents", "confirm")):
            simulation.charges += fault != "error_before" and answer.status in (200, 402, 500)
        return answer

    def _hang_up(self, fault: str) -> None:
        self._wires.simulation.pass_time(STRIPE_TIMEOUT_SECONDS if fault.startswith("timeout") else 0.1)
        raise stripe.APIConnectionError("The connection was lost (simulated).", should_retry=True)  # type: ignore[no-untyped-call]  # so in the SDK

    def close(self) -> None:
        """Nothing is open."""
