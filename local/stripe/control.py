"""Control routes under ``/_control``: faults, time, cards, disputes, and a look into the books.

They exist only with ``control`` on, take and give JSON, and answer 400 with ``{"error": …}`` to what they can't do.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.stripe import actors
from local.stripe.cards import CARDS
from local.stripe.errors import StripeFault

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from local.stripe.courier import Courier
    from local.stripe.kinds import Json
    from local.stripe.world import StripeWorld

    Endpoint = Callable[[Request], Awaitable[Response]]

_T = TypeVar("_T")
_STRICT = ConfigDict(extra="forbid")


@dataclass
class _ClockMove:
    advance_seconds: float
    __pydantic_config__ = _STRICT


@dataclass
class _Flush:
    timeout_seconds: float = 10.0
    __pydantic_config__ = _STRICT


@dataclass
class _Release:
    deliveries: list[str] | None = None
    __pydantic_config__ = _STRICT


@dataclass
class _Resend:
    event: str
    endpoint: str | None = None
    __pydantic_config__ = _STRICT


async def _read(request: Request, kind: type[_T]) -> _T:
    """The body as a dataclass; a body may be left out when nothing is required."""
    raw = await request.body()
    return TypeAdapter(kind).validate_json(raw or b"{}")


def _guarded(endpoint: Endpoint) -> Endpoint:
    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except StripeFault as refusal:
            return JSONResponse({"error": refusal.error}, status_code=refusal.status)
        except ValidationError as problem:
            details = problem.errors(include_url=False, include_context=False, include_input=False)
            return JSONResponse({"error": {"message": "invalid body", "details": details}}, status_code=400)
        except (ValueError, TypeError) as problem:
            return JSONResponse({"error": {"message": str(problem)}}, status_code=400)

    return answer


def control_routes(world: StripeWorld, courier: Courier) -> list[Route]:
    """The routes, relative to ``/_control``."""
    routes = [*_fault_routes(world), *_time_routes(world), *_actor_routes(world)]
    routes += [*_webhook_routes(world, courier), *_view_routes(world)]
    return [Route(path, _guarded(endpoint), methods=[method]) for method, path, endpoint in routes]


def _fault_routes(world: StripeWorld) -> list[tuple[str, str, Endpoint]]:
    async def add(request: Request) -> Response:
        body = json.loads(await request.body())
        if not isinstance(body, dict) or "kind" not in body:
            raise StripeFault("Give an object with a kind.")
        kind = body.pop("kind")
        with world.lock:
            rule = world.faults.add(kind, **body)
            return JSONResponse(rule.record(), status_code=201)

    async def show(_: Request) -> Response:
        with world.lock:
            return JSONResponse({"data": [rule.record() for rule in world.faults.rules]})

    async def clear(request: Request) -> Response:
        wanted = request.path_params.get("fault")
        with world.lock:
            world.faults.rules = [rule for rule in world.faults.rules if wanted is not None and rule.id != wanted]
        return Response(status_code=204)

    return [
        ("POST", "/faults", add),
        ("GET", "/faults", show),
        ("DELETE", "/faults", clear),
        ("DELETE", "/faults/{fault}", clear),
    ]


def _time_routes(world: StripeWorld) -> list[tuple[str, str, Endpoint]]:
    async def show(_: Request) -> Response:
        return JSONResponse({"now": world.clock.now()})

    async def move(request: Request) -> Response:
        wanted = await _read(request, _ClockMove)
        happened = world.advance(wanted.advance_seconds)
        return JSONResponse({"now": world.clock.now(), "happened": happened})

    async def expire_keys(_: Request) -> Response:
        with world.lock:
            return JSONResponse({"expired": world.idempotency.expire_all()})

    return [
        ("GET", "/clock", show),
        ("POST", "/clock", move),
        ("POST", "/expire-idempotency-keys", expire_keys),
    ]


def _actor_routes(world: StripeWorld) -> list[tuple[str, str, Endpoint]]:
    """Routes that act as somebody else: the cardholder, the bank, the card network, Radar."""

    def acting(kind: type[_T], act: Callable[[StripeWorld, str, _T], Json]) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            wanted = await _read(request, kind)
            with world.lock:
                result = act(world, request.path_params.get("id", ""), wanted)
                world.tick()
                return JSONResponse(result)

        return endpoint

    return [
        ("POST", "/authenticate", acting(actors.Authenticate, actors.authenticate)),
        ("POST", "/cards/{id}", acting(actors.CardChange, actors.change_card)),
        ("POST", "/disputes", acting(actors.OpenDispute, actors.open_dispute)),
        ("POST", "/disputes/{id}", acting(actors.EndDispute, actors.end_dispute)),
        ("POST", "/early-fraud-warnings", acting(actors.Warn, actors.warn)),
        ("POST", "/reviews", acting(actors.OpenReview, actors.open_review)),
        ("POST", "/reviews/{id}", acting(actors.CloseReview, actors.close_review)),
        ("POST", "/refunds/{id}", acting(actors.SettleRefund, actors.settle_refund)),
        ("POST", "/mandates/{id}", acting(actors.RevokeMandate, actors.revoke_mandate)),
    ]


def _webhook_routes(world: StripeWorld, courier: Courier) -> list[tuple[str, str, Endpoint]]:
    def states() -> Json:
        counts: dict[str, int] = {}
        for delivery in world.webhooks.deliveries.values():
            counts[delivery.state] = counts.get(delivery.state, 0) + 1
        return counts

    async def show(_: Request) -> Response:
        with world.lock:
            records = [delivery.record() for delivery in world.webhooks.deliveries.values()]
            return JSONResponse({"holding": world.webhooks.holding, "states": states(), "data": records})

    async def hold(_: Request) -> Response:
        with world.lock:
            world.webhooks.hold()
        return Response(status_code=204)

    async def release(request: Request) -> Response:
        wanted = await _read(request, _Release)
        with world.lock:
            return JSONResponse({"released": world.webhooks.release(wanted.deliveries)})

    async def flush(request: Request) -> Response:
        wanted = await _read(request, _Flush)
        with world.lock:
            world.tick()
            world.webhooks.release()
        drained = await courier.drain(wanted.timeout_seconds)
        with world.lock:
            return JSONResponse({"drained": drained, "states": states()})

    async def lose(request: Request) -> Response:
        with world.lock:
            delivery = world.webhooks.deliveries.get(request.path_params["delivery"])
            if delivery is None:
                raise StripeFault("No such delivery", status=404)
            world.webhooks.lose(delivery)
            return JSONResponse(delivery.record())

    async def resend(request: Request) -> Response:
        wanted = await _read(request, _Resend)
        with world.lock:
            event = world.events.at_path(wanted.event)
            endpoints = [
                each
                for each in world.webhooks.endpoints.values()
                if wanted.endpoint is None or each["id"] == wanted.endpoint
            ]
            sent = [world.webhooks.enqueue(event, each).id for each in endpoints]
            return JSONResponse({"deliveries": sent}, status_code=201)

    return [
        ("GET", "/webhooks", show),
        ("POST", "/webhooks/hold", hold),
        ("POST", "/webhooks/release", release),
        ("POST", "/webhooks/flush", flush),
        ("POST", "/webhooks/resend", resend),
        ("POST", "/webhooks/{delivery}/lose", lose),
    ]


def _without_secrets(value: Any) -> Any:
    """A copy without what lets its reader act: client secrets, and the challenges' addresses, which hold them."""
    if isinstance(value, list):
        return [_without_secrets(item) for item in value]
    if isinstance(value, dict):
        kept = {key: item for key, item in value.items() if key not in {"client_secret", "next_action"}}
        return {key: _without_secrets(item) for key, item in kept.items()}
    return value


def _view_routes(world: StripeWorld) -> list[tuple[str, str, Endpoint]]:
    async def requests(_: Request) -> Response:
        with world.lock:
            return JSONResponse({"count": len(world.requests), "data": list(world.requests)})

    async def forget(_: Request) -> Response:
        with world.lock:
            world.requests.clear()
        return Response(status_code=204)

    async def reset(_: Request) -> Response:
        world.reset()
        return Response(status_code=204)

    async def books(_: Request) -> Response:
        """Every object by kind; client secrets are left out."""
        with world.lock:
            tables: dict[str, Any] = {name: _without_secrets(list(table)) for name, table in world.tables.items()}
            tables["idempotency_keys"] = len(world.idempotency)
            return JSONResponse(tables)

    async def cards(_: Request) -> Response:
        rows = [{"token": f"pm_card_{card.name}", "number": card.number, "wording": card.wording} for card in CARDS]
        return JSONResponse({"data": rows})

    return [
        ("GET", "/requests", requests),
        ("DELETE", "/requests", forget),
        ("POST", "/reset", reset),
        ("GET", "/books", books),
        ("GET", "/cards", cards),
    ]
