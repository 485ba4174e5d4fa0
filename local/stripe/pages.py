"""The browser's side: the Stripe.js stand-in and the bank's 3D Secure page."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from local.stripe import access, authentication
from local.stripe.errors import StripeFault
from local.stripe.intents import for_client

if TYPE_CHECKING:
    from starlette.requests import Request

    from local.stripe.kinds import Json
    from local.stripe.world import StripeWorld

_FILES = Path(__file__).parent / "js"


def page_routes(world: StripeWorld) -> list[Route]:
    """``GET /v3/`` and ``/_3ds/{intent}``."""

    async def script(_: Request) -> Response:
        return Response((_FILES / "stripe.js").read_bytes(), media_type="text/javascript; charset=utf-8")

    async def ask(request: Request) -> Response:
        with world.lock:
            intent, problem = _intent(world, request.path_params["intent"], request.query_params.get("client_secret"))
            if intent is None:
                return problem
            return _page(intent)

    async def answer(request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode()))
        outcome = request.path_params["outcome"]
        if outcome not in {"complete", "fail"}:
            return Response("Unknown answer", status_code=404)
        with world.lock:
            intent, problem = _intent(world, request.path_params["intent"], form.get("client_secret"))
            if intent is None:
                return problem
            return_url = ((intent["next_action"] or {}).get("redirect_to_url") or {}).get("return_url")
            try:
                authentication.answer(world, intent["id"], "succeed" if outcome == "complete" else "fail")
            except StripeFault as refusal:
                return Response(str(refusal), status_code=refusal.status)
            world.tick()
            if return_url is not None and "ajax" not in form:
                return RedirectResponse(_back(intent, return_url), status_code=303)
            return JSONResponse(for_client(intent))

    return [
        Route("/v3", script),
        Route("/v3/", script),
        Route("/_3ds/{intent}", ask, methods=["GET"]),
        Route("/_3ds/{intent}/{outcome}", answer, methods=["POST"]),
    ]


def _intent(world: StripeWorld, intent_id: str, secret: str | None) -> tuple[Json | None, Response]:
    try:
        intent = authentication.find_intent(world, intent_id)
        access.check_client_secret(intent, secret)
    except StripeFault as refusal:
        return None, Response(str(refusal), status_code=refusal.status)
    return intent, Response()


def _back(intent: Json, return_url: str) -> str:
    """The return URL with what Stripe adds to it."""
    worked = intent["status"] in {"succeeded", "requires_capture", "processing"}
    added = {
        intent["object"]: intent["id"],
        f"{intent['object']}_client_secret": intent["client_secret"],
        "redirect_status": "succeeded" if worked else "failed",
    }
    parts = urlsplit(return_url)
    query = urlencode([*parse_qsl(parts.query, keep_blank_values=True), *added.items()])
    return urlunsplit(parts._replace(query=query))


def _page(intent: Json) -> Response:
    amount = f"{intent['amount']} {intent['currency']} (minor units)" if "amount" in intent else "Save this card"
    text = (_FILES / "three_ds.html").read_text()
    fields = {
        "{{intent}}": intent["id"],
        "{{client_secret}}": intent["client_secret"],
        "{{amount}}": amount,
        "{{status}}": intent["status"],
    }
    for name, value in fields.items():
        text = text.replace(name, html.escape(value, quote=True))
    return HTMLResponse(text)
