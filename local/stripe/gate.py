"""From request to answer: key, route, parameters, idempotency, faults, the resource, the idempotency record.

Three steps, so that a request can be in flight: :meth:`Gate.open` admits it (or answers at once), :meth:`Gate.run`
does it, :meth:`Gate.abandon` forgets it. :mod:`local.stripe.app` waits between them as the request's plan says; a
driver without HTTP may call them itself, or :meth:`Gate.call` for all in one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stripe.params import PaymentMethodCreateParams

from local.stripe import access
from local.stripe.errors import StripeFault
from local.stripe.expand import expanded
from local.stripe.forms import parse_form
from local.stripe.idempotency import Answer
from local.stripe.intents import for_client
from local.stripe.params import validate
from local.stripe.resources import (
    balance,
    charges,
    customers,
    disputes,
    events,
    mandates,
    payment_intents,
    payment_methods,
    radar,
    refunds,
    setup_intents,
    webhook_endpoints,
)
from local.stripe.routing import Route, Router
from local.stripe.world import Call

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.stripe.faults import Plan
    from local.stripe.kinds import Json
    from local.stripe.world import StripeWorld

_RESOURCES = (
    customers,
    payment_methods,
    setup_intents,
    payment_intents,
    charges,
    refunds,
    disputes,
    radar,
    mandates,
    events,
    webhook_endpoints,
    balance,
)
ROUTER = Router([each for resource in _RESOURCES for each in resource.ROUTES])
# What Stripe.js adds to its requests and the SDK's parameters don't list.
_CLIENT_EXTRAS = ("client_secret", "payment_user_agent", "guid", "muid", "sid", "_stripe_version")


@dataclass(frozen=True)
class Request:
    """An HTTP request: header names in lower case, ``base_url`` as the client knows this server."""

    method: str
    path: str
    query: str = ""
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    base_url: str = ""


@dataclass(frozen=True)
class Admitted:
    """A request that has been let in and may run."""

    route: Route
    call: Call
    plan: Plan
    log: Json


class Gate:
    """The API of one world."""

    def __init__(self, world: StripeWorld) -> None:
        self.world = world

    def call(self, request: Request) -> Answer:
        """Admit and run in one go, without waiting: what a plan wants to drop is answered all the same."""
        admitted = self.open(request)
        return admitted if isinstance(admitted, Answer) else self.run(admitted)

    def open(self, request: Request) -> Admitted | Answer:
        """Check the key, find the route, read the parameters, claim the idempotency key.

        The answer at once is an error, or the replay of an earlier one.
        """
        world = self.world
        with world.lock:
            world.tick()
            request_id = world.ids.new("req")
            log: Json = {
                "id": request_id,
                "method": request.method,
                "path": request.path,
                "idempotency_key": request.headers.get("idempotency-key"),
                "status": None,
                "replayed": False,
                "fault": None,
                "created": world.clock.timestamp(),
            }
            world.requests.append(log)
            try:
                return self._admit(request, log)
            except StripeFault as refusal:
                return self._refuse(refusal, log)

    def _admit(self, request: Request, log: Json) -> Admitted | Answer:
        world = self.world
        text = request.query if request.method in {"GET", "DELETE"} else request.body.decode(errors="replace")
        given = parse_form(text)
        key_given = access.key_of(request.headers, given)
        role = access.who(key_given, world.settings)
        found = ROUTER.find(request.method, request.path)
        if found is None:
            raise unrecognized(request.method, request.path)
        if role == "restricted":
            access.check_permission(key_given or "", request.method, request.path, world.settings)
        route, ids = found
        client = role == "publishable"
        if client:
            self._check_client(route, ids, given)
        version = request.headers.get("stripe-version")
        if version not in {None, world.settings.api_version}:
            message = f"Invalid Stripe API version: {version}. This stand-in speaks {world.settings.api_version}."
            raise StripeFault(message, remembered=False)
        plan = world.faults.for_request(request.method, request.path)
        log["fault"] = plan.kind or None
        key = request.headers.get("idempotency-key") if request.method == "POST" else None
        if plan.kind in {"rate_limit", "lock_timeout"}:
            raise _busy(plan.kind)
        params = _read_params(route, given, client=client)
        if key is not None:
            replay = world.idempotency.begin(key, request.path, given, log["id"])
            if replay is not None:
                log |= {"status": replay.status, "replayed": True}
                return self._with_headers(replay, log)
        call = Call(params, ids, request.path, client, request.base_url, log["id"], key)
        return Admitted(route, call, plan, log)

    def _check_client(self, route: Route, ids: tuple[str, ...], given: Json) -> None:
        if not route.client:
            raise access.refuse_publishable()
        secret = given.get("client_secret")
        for name in _CLIENT_EXTRAS:
            given.pop(name, None)
        if ids:
            intent = self.world.payment_intents.find(ids[0]) or self.world.setup_intents.find(ids[0])
            if intent is not None:
                access.check_client_secret(intent, secret)

    def run(self, admitted: Admitted) -> Answer:
        """Do it, and keep the answer under its idempotency key."""
        world, call = self.world, admitted.call
        with world.lock:
            kept = True
            if admitted.plan.kind == "error_before":
                answer, kept = _broken(call), admitted.plan.remember
            else:
                answer, kept = self._execute(admitted)
                if admitted.plan.kind == "error_after":
                    answer = _broken(call) if admitted.plan.remember else answer
            if call.idempotency_key is not None:
                world.idempotency.finish(call.idempotency_key, answer if kept else None)
            if admitted.plan.kind == "error_after":
                answer = _broken(call)
            admitted.log["status"] = answer.status
            answer = self._with_headers(answer, admitted.log)
            world.tick()
            return answer

    def _execute(self, admitted: Admitted) -> tuple[Answer, bool]:
        world, call = self.world, admitted.call
        world.call = call
        try:
            result = admitted.route.handle(world, call)
            shown = for_client(result) if call.client and "client_secret" in result else result
            result = expanded(world, shown, call.params.get("expand", []))
        except StripeFault as refusal:
            body = refusal.body(call.request_id or "", world.clock.timestamp())
            if call.client and isinstance(body["error"].get("payment_intent"), dict):
                body["error"]["payment_intent"] = for_client(body["error"]["payment_intent"])
            if call.client and isinstance(body["error"].get("setup_intent"), dict):
                body["error"]["setup_intent"] = for_client(body["error"]["setup_intent"])
            return Answer(refusal.status, _encode(body)), refusal.remembered
        finally:
            world.call = Call()
        return Answer(200, _encode(result)), True

    def abandon(self, admitted: Admitted) -> None:
        """The request got lost before it began: its idempotency key is free again."""
        with self.world.lock:
            if admitted.call.idempotency_key is not None:
                self.world.idempotency.finish(admitted.call.idempotency_key, None)

    def _refuse(self, refusal: StripeFault, log: Json) -> Answer:
        log["status"] = refusal.status
        body = refusal.body(log["id"], self.world.clock.timestamp())
        return self._with_headers(Answer(refusal.status, _encode(body)), log)

    def _with_headers(self, answer: Answer, log: Json) -> Answer:
        headers = {
            **answer.headers,
            "content-type": "application/json",
            "request-id": log["id"],
            "stripe-version": self.world.settings.api_version,
        }
        if log["idempotency_key"] is not None:
            headers["idempotency-key"] = log["idempotency_key"]
            headers.setdefault("original-request", log["id"])
        if answer.status == 409:
            headers["stripe-should-retry"] = "true"
        elif answer.status >= 500 and log["idempotency_key"] is not None:
            headers["stripe-should-retry"] = "false"  # the key would only replay it
        return Answer(answer.status, answer.body, headers)


def _read_params(route: Route, given: Json, *, client: bool) -> Json:
    """The parameters; Stripe.js also sends whole cards, which the SDK's server-side parameters have no place for."""
    if not client or "payment_method_data" not in given:
        return validate(route.params, given)
    rest = {name: value for name, value in given.items() if name != "payment_method_data"}
    params = validate(route.params, rest)
    params["payment_method_data"] = validate(PaymentMethodCreateParams, given["payment_method_data"])
    return params


def unrecognized(method: str, path: str) -> StripeFault:
    """404 for what Stripe, or this stand-in, doesn't have."""
    message = (
        f"Unrecognized request URL ({method}: {path}). Please see https://stripe.com/docs or we can help at "
        "https://support.stripe.com/."
    )
    return StripeFault(message, status=404, remembered=False)


def _busy(kind: str) -> StripeFault:
    if kind == "lock_timeout":
        message = (
            "This object cannot be accessed right now because another API request or Stripe process is currently "
            "accessing it. If you see this error intermittently, retry the request."
        )
    else:
        message = "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits."
    return StripeFault(message, status=429, code=kind, remembered=False)


def _broken(call: Call) -> Answer:
    error = {
        "message": "An unexpected error occurred. Please contact support if it persists.",
        "request_log_url": f"https://dashboard.stripe.com/test/logs/{call.request_id}",
        "type": "api_error",
    }
    return Answer(500, _encode({"error": error}))


def _encode(body: Json) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode()
