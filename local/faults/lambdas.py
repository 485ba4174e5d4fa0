"""The deployed functions of this process, and calling them as AWS would."""

import importlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from functions.shared.signatures import sign
from local import function_tokens
from local.faults.stage import Invocation
from local.http_events import Request, from_result, to_event
from local.lambda_runtime import REGION
from local.supabase.tokens import TokenSigner, mint_user_token

if TYPE_CHECKING:
    from collections.abc import Mapping

JWT_SECRET = "simulated-jwt-secret-of-no-project-at-all"
STRIPE_KEY = "sk_test_simulated0000000000"
STRIPE_PUBLISHABLE_KEY = "pk_test_simulated0000000000"
WEBHOOK_SECRET = "whsec_simulated000000000000"
SIGNING_SECRET = "absec_simulated000000000000"
_URL = "http://supabase.invalid"
_SEGMENTS = ("charge_booking", "offers", "bookings", "campaigns", "payment_methods", "setup_intent", "webhook")
_TEN_YEARS_IN_DAYS = 3650
_TOKEN_RENEWED_AFTER_SECONDS = 2000
_TOKEN_AGE_SECONDS = 300
"""When it is sent first: a function's clock may be behind, and a token of its future is not taken."""


def _environment(signer: TokenSigner) -> "Mapping[str, str]":
    return function_tokens.mint(signer, _TEN_YEARS_IN_DAYS) | {
        "SUPABASE_URL": _URL,
        "SUPABASE_PUBLISHABLE_KEY": "sb_publishable_simulated",
        "SUPABASE_JWT_SECRET": JWT_SECRET,
        "STRIPE_SECRET_KEY": STRIPE_KEY,
        "STRIPE_PUBLISHABLE_KEY": STRIPE_PUBLISHABLE_KEY,
        "STRIPE_API_BASE": "http://stripe.invalid",
        "STRIPE_TIMEOUT_SECONDS": "12",
        "STRIPE_WEBHOOK_SECRETS": WEBHOOK_SECRET,
        "AUTOBOOK_SIGNING_SECRETS": SIGNING_SECRET,
        "CHARGE_QUEUE_URL": "https://sqs.invalid/queue",
        "NOTIFY_FROM_ADDRESS": "bookings@example.com",
        "APP_URL": "https://example.com",
        "SES_CONFIGURATION_SET": "simulated",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "simulated",
        "AWS_SECRET_ACCESS_KEY": "simulated",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "LOG_LEVEL": "ERROR",
        "AUTOBOOK_METRICS": "off",
    }


@dataclass(frozen=True)
class Context:
    """What Lambda passes beside the event, by the simulated clock."""

    aws_request_id: str
    now: Callable[[], float]
    ends_at: float

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the invocation is ended."""
        return max(0, int((self.ends_at - self.now()) * 1000))


class Lambdas:
    """Every handler, in this process, with an environment of its own."""

    def __init__(self) -> None:
        self.signer = TokenSigner(jwt_secret=JWT_SECRET, issuer=f"{_URL}/auth/v1", signing_key=None)
        self._tokens: dict[str, tuple[str, float]] = {}
        os.environ.update(_environment(self.signer))
        self._handlers: dict[str, Callable[[Any, Any], Any]] = {
            name.replace("_", "-"): importlib.import_module(f"functions.{name}.handler").handler for name in _SEGMENTS
        }
        self.queue_handler: Callable[[Any, Any], Any] = importlib.import_module(
            "functions.charge_booking.handler"
        ).queue_handler
        self.reconcile: Callable[[Any, Any], Any] = importlib.import_module("functions.reconcile.handler").handler
        self.notify: Callable[[Any, Any], Any] = importlib.import_module("functions.notify.handler").handler

    def token(self, user_id: str, email: str, now: float) -> str:
        """A user's access token, as the page of a signed-in user sends it with each request for half an hour."""
        token, issued_at = self._tokens.get(user_id, ("", 0.0))
        if not issued_at < now < issued_at + _TOKEN_RENEWED_AFTER_SECONDS:
            issued_at = now - _TOKEN_AGE_SECONDS
            token = mint_user_token(self.signer, user_id=UUID(user_id), email=email, now=int(issued_at))
            self._tokens[user_id] = (token, issued_at)
        return token

    def http(self, method: str, path: str, body: bytes, headers: dict[str, str], context: Context) -> tuple[int, Any]:
        """A request through API Gateway: status and JSON."""
        query_path, _, query = path.partition("?")
        named = [("host", "api.example.com"), ("content-type", "application/json"), *headers.items()]
        segment = query_path.split("/")[1]
        event = to_event(Request(method, query_path, query, named, body, "192.0.2.7"), segment)
        event["requestContext"]["requestId"] = context.aws_request_id
        response = from_result(self._handlers[segment](event, context))
        return response.status, json.loads(response.body) if response.body else None


def machine_signature(body: bytes, now: float) -> dict[str, str]:
    """What feed and fulfilment sign with."""
    return {"autobook-signature": sign(body, SIGNING_SECRET, int(now))}


def answered(invocation: Invocation) -> tuple[int, Any]:
    """What its caller got: 502 for a function that died."""
    if invocation.failed:
        return 502, None
    status, body = invocation.result
    return int(status), body
