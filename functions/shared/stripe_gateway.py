"""The one module through which Stripe is called.

Every POST takes its idempotency key from a committed row, so that it may be repeated by anybody at any time. What
Stripe did with money comes back as facts (functions/shared/stripe_facts.py), and an unknown outcome is one of them: a
time-out, a 5xx, a lost connection or a 409 for a key in use never count as failures
(https://docs.stripe.com/error-low-level#network-errors).

Objects are read as plain JSON, by the SDK's `raw_request`: building its own objects took half of a call's time here,
and loading their classes a part of each cold start. What is sent is still held against the SDK's types.
"""

from __future__ import annotations  # or the SDK would load every resource that a signature names

import logging
from datetime import datetime
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import quote
from uuid import uuid4

from functions.shared import metrics
from functions.shared.logs import log
from functions.shared.problems import Problem
from functions.shared.settings import StripeSettings, read
from functions.shared.stripe_facts import Facts, decline_facts, payment_intent_facts
from functions.shared.stripe_sdk import stripe
from functions.shared.surroundings import surroundings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from uuid import UUID

    from functions.shared.clock import Deadline

MARGIN_SECONDS = 3.0
"""Kept back from the deadline, to commit the outcome."""
CLOCK_SKEW_SECONDS = 300
"""Our database's clock and Stripe's differ by less."""
UNKNOWN: Facts = {"status": "unknown"}

_Object = TypeVar("_Object")


class NotEnoughTime(Exception):
    """A Stripe call that could not end before the deadline is not begun."""


class StripeGateway:
    """Stripe as the functions use it."""

    def __init__(self, client: stripe.StripeClient, timeout_seconds: float) -> None:
        self._client = client
        self._timeout_seconds = timeout_seconds

    # --- customers and cards ---------------------------------------------------------------------------------------

    def create_customer(self, user_id: UUID, email: str | None, generation: int) -> str:
        """The Customer of a user; the same however often it is asked for. Raises Problem.

        `generation` is above 1 when earlier Customers of the user were deleted at Stripe.
        """
        params: stripe.params.CustomerCreateParams = {"metadata": {"user_id": str(user_id)}}
        if email:
            params["email"] = email
        made = _or_problem(
            lambda: self._post(_path("customers"), params, idempotency_key=f"customer:{user_id}:{generation}")
        )
        return str(made["id"])

    def create_setup_intent(
        self, stripe_customer_id: str, user_id: UUID, terms_version: str, idempotency_key: str
    ) -> Facts:
        """A SetupIntent for charging off-session later, as a plain dict. Raises Problem."""
        params: stripe.params.SetupIntentCreateParams = {
            "customer": stripe_customer_id,
            "usage": "off_session",
            "allowed_payment_method_types": ["card"],
            "metadata": {"user_id": str(user_id), "terms_version": terms_version},
        }
        return _or_problem(lambda: self._post(_path("setup_intents"), params, idempotency_key=idempotency_key))

    def retrieve_setup_intent(self, setup_intent_id: str) -> Facts:
        """A SetupIntent with its card, as a plain dict. Raises Problem."""
        path = _path("setup_intents", setup_intent_id)
        return _or_problem(lambda: self._get(path, expand=["payment_method"]))

    def detach_payment_method(self, stripe_payment_method_id: str) -> None:
        """Detach a card; one that is detached already is fine. Raises Problem."""
        path = _path("payment_methods", stripe_payment_method_id)
        try:
            _or_problem(lambda: self._post(f"{path}/detach", {}, idempotency_key=f"detach:{stripe_payment_method_id}"))
        except Problem:
            if _or_problem(lambda: self._get(path)).get("customer") is not None:
                raise

    def delete_customer(self, stripe_customer_id: str) -> None:
        """Delete a Customer with all its cards; one that is gone already is fine. Raises Problem."""
        path = _path("customers", stripe_customer_id)
        if not _or_problem(lambda: self._get(path)).get("deleted"):
            _or_problem(lambda: self._client.raw_request("delete", path))

    # --- money -----------------------------------------------------------------------------------------------------

    def charge(self, step: Facts, deadline: Deadline) -> Facts:
        """Create and confirm a booking's PaymentIntent off-session, or confirm it again with another attempt.

        `step` is a charge step of SQL's `internal.next_step`. Raises NotEnoughTime before anything was sent.
        """
        self._require_time(deadline)
        send = partial(self._post, idempotency_key=f"attempt:{step['attempt_id']}")
        if step["payment_intent_id"]:
            again: stripe.params.PaymentIntentConfirmParams = {
                "payment_method": step["stripe_payment_method_id"],
                "off_session": True,
                "expand": ["latest_charge"],
            }
            path = _path("payment_intents", step["payment_intent_id"], "confirm")
            return _settled(lambda: send(path, again))
        params: stripe.params.PaymentIntentCreateParams = {
            "amount": step["amount_minor"],
            "currency": step["currency"],
            "customer": step["stripe_customer_id"],
            "payment_method": step["stripe_payment_method_id"],
            "allowed_payment_method_types": ["card"],
            "capture_method": step["capture"],
            "confirm": True,
            "off_session": True,
            "statement_descriptor_suffix": "AUTOBOOK",
            "metadata": step["metadata"],
            "expand": ["latest_charge"],
        }
        return _settled(lambda: send(_path("payment_intents"), params))

    def cancel(self, step: Facts, deadline: Deadline) -> Facts:
        """Cancel a booking's PaymentIntent; if it succeeded meanwhile, the facts say so. Raises NotEnoughTime."""
        self._require_time(deadline)
        intent_id = step["payment_intent_id"]
        params: stripe.params.PaymentIntentCancelParams = {"cancellation_reason": "abandoned"}
        path = _path("payment_intents", intent_id, "cancel")
        facts = _settled_once(
            lambda key: self._post(path, params, idempotency_key=key), idempotency_key=f"cancel:{intent_id}"
        )
        # The key replays an old refusal for a day; what the PaymentIntent is now is asked of it.
        if facts.get("status") not in ("canceled", "unknown"):
            return self.retrieve(intent_id)
        return facts

    def capture(self, step: Facts, deadline: Deadline) -> Facts:
        """Take held money, all or a part; what is left of the hold is released. Raises NotEnoughTime.

        https://docs.stripe.com/payments/place-a-hold-on-a-payment-method#capture-funds
        """
        self._require_time(deadline)
        intent_id = step["payment_intent_id"]
        params: stripe.params.PaymentIntentCaptureParams = {
            "amount_to_capture": step["amount_minor"],
            "expand": ["latest_charge"],
        }
        path = _path("payment_intents", intent_id, "capture")
        facts = _settled_once(
            lambda key: self._post(path, params, idempotency_key=key), idempotency_key=f"capture:{intent_id}"
        )
        if facts.get("status") not in ("succeeded", "unknown"):
            return self.retrieve(intent_id)
        return facts

    def look_up(self, step: Facts, deadline: Deadline) -> Facts:
        """What became of a booking whose call may never have arrived, without creating anything.

        By the PaymentIntent's id, or among the customer's PaymentIntents by the booking's id in the metadata (the list
        is complete at once, Stripe's search is minutes late). Status absent: Stripe never heard of it.
        """
        self._require_time(deadline)
        if step["payment_intent_id"]:
            return self.retrieve(step["payment_intent_id"]) | {"looked_up": True}
        begun = int(datetime.fromisoformat(step["booking_created_at"]).timestamp())
        intents = self._every(
            _path("payment_intents"),
            customer=step["stripe_customer_id"],
            created={"gte": begun - CLOCK_SKEW_SECONDS},
            expand=["data.latest_charge"],
        )
        try:
            for found in intents:
                if (found.get("metadata") or {}).get("booking_id") == step["booking_id"]:
                    return payment_intent_facts(found) | {"looked_up": True}
        except stripe.StripeError as error:
            _log_stripe_error(error)
            return dict(UNKNOWN)
        return {"status": "absent"}

    def events_between(self, since: int, until: int) -> Iterator[Facts]:
        """Stripe's events from one Unix time to another as plain dicts, newest first; it keeps them for 30 days.

        Raises Problem.
        """
        return _or_problem_each(self._every(_path("events"), created={"gte": since, "lte": until}))

    def payments_since(self, created: int) -> Iterator[Facts]:
        """Facts of the PaymentIntents that were made since a Unix time, newest first. Raises Problem."""
        made = _or_problem_each(self._every(_path("payment_intents"), created={"gte": created}))
        return (payment_intent_facts(intent) for intent in made)

    def _post(self, path: str, params: Mapping[str, object], *, idempotency_key: str) -> Facts:
        return cast("Facts", self._client.raw_request("post", path, **params, idempotency_key=idempotency_key).data)

    def _get(self, path: str, **params: Any) -> Facts:
        return cast("Facts", self._client.raw_request("get", path, **params).data)

    def _every(self, path: str, **params: Any) -> Iterator[Facts]:
        """Every object of a list, page by page (https://docs.stripe.com/api/pagination). Raises StripeError."""
        more: dict[str, Any] = {}
        while True:
            page = self._get(path, limit=100, **params, **more)
            yield from page["data"]
            if not page["has_more"]:
                return
            more = {"starting_after": page["data"][-1]["id"]}

    def retrieve(self, payment_intent_id: str) -> Facts:
        """What a PaymentIntent is now."""
        path = _path("payment_intents", payment_intent_id)
        return _settled(lambda: self._get(path, expand=["latest_charge"]))

    def client_secret(self, payment_intent_id: str) -> str:
        """What lets the cardholder's page go on with a PaymentIntent. Raises Problem."""
        path = _path("payment_intents", payment_intent_id)
        return str(_or_problem(lambda: self._get(path))["client_secret"])

    def refund(self, step: Facts, deadline: Deadline) -> Facts:
        """Refund what a refund row says, under that row's key. Raises NotEnoughTime.

        Gives {status, stripe_refund_id, failure_reason}; status unknown when nobody knows, failed when Stripe refused.
        """
        self._require_time(deadline)
        intent_id, refund_id = step["payment_intent_id"], step["refund_id"]
        params: stripe.params.RefundCreateParams = {
            "payment_intent": intent_id,
            "amount": step["amount_minor"],
            "metadata": {"refund_id": refund_id, "booking_id": step["booking_id"]},
        }
        try:
            if step["look_first"]:
                for made in self._every(_path("refunds"), payment_intent=intent_id):
                    if refund_facts(made)["refund_id"] == refund_id:
                        return refund_facts(made)
            return refund_facts(self._post(_path("refunds"), params, idempotency_key=f"refund:{refund_id}"))
        except stripe.InvalidRequestError as error:
            return {
                "refund_id": step["refund_id"],
                "status": "failed",
                "failure_reason": error.code or "refused",
            }
        except stripe.StripeError as error:
            _log_stripe_error(error)
            return {"refund_id": step["refund_id"], "status": "unknown"}

    def has_time(self, deadline: Deadline) -> bool:
        """Whether a Stripe call begun now ends before the deadline, with time left to commit its outcome."""
        return deadline.remaining_seconds() >= self._timeout_seconds + MARGIN_SECONDS

    def _require_time(self, deadline: Deadline) -> None:
        if not self.has_time(deadline):
            raise NotEnoughTime


def refund_facts(refund: Facts) -> Facts:
    """Facts of a Refund (https://docs.stripe.com/api/refunds/object)."""
    status = refund.get("status")
    return {
        "stripe_refund_id": refund["id"],
        "refund_id": (refund.get("metadata") or {}).get("refund_id"),
        "payment_intent_id": refund.get("payment_intent"),
        "status": "pending" if status == "requires_action" else status,
        "amount_minor": refund["amount"],
        "currency": refund["currency"],
        "reason": refund.get("reason"),
        "failure_reason": refund.get("failure_reason"),
    }


def gateway() -> StripeGateway:
    """The gateway of this process; another one after the key was rotated. Raises SettingsError."""
    return _gateway(read(StripeSettings))


@lru_cache(maxsize=1)
def _gateway(settings: StripeSettings) -> StripeGateway:
    client = stripe.StripeClient(
        settings.stripe_secret_key.get_secret_value(),
        base_addresses={"api": settings.stripe_api_base},
        # httpx is here already for the database; `requests`, the SDK's own choice, would be imported beside it.
        http_client=surroundings().stripe_http_client(settings.stripe_timeout_seconds)
        or stripe.HTTPXClient(timeout=settings.stripe_timeout_seconds, allow_sync_methods=True),
        # One call, one answer: repeating is the protocol's work, which knows the deadline and the row.
        max_network_retries=0,
    )
    return StripeGateway(client, settings.stripe_timeout_seconds)


def _path(*steps: str) -> str:
    """The path of a resource; ids come from outside."""
    return "/".join(("/v1", *(quote(step, safe="") for step in steps)))


def _settled_once(send: Callable[[str], Facts], *, idempotency_key: str) -> Facts:
    """Send what a PaymentIntent's own state lets happen once only: a capture, a cancellation.

    Stripe keeps a 500 under its key and replays it for a day (https://docs.stripe.com/api/idempotent_requests). The
    state guards these two as well as a key does, so they are sent again under a key of their own.
    """
    facts = _settled(lambda: send(idempotency_key))
    return _settled(lambda: send(f"{idempotency_key}:{uuid4()}")) if facts.get("is_replayed") else facts


def _settled(send: Callable[[], Facts]) -> Facts:
    """Send, and turn every answer into facts."""
    try:
        return payment_intent_facts(send())
    except stripe.CardError as error:
        _log_stripe_error(error)
        return _error_facts(error)
    except (stripe.InvalidRequestError, stripe.IdempotencyError, stripe.PermissionError) as error:
        _log_stripe_error(error)
        return _refused_facts(error)
    except stripe.StripeError as error:
        # Time-outs, lost connections, 5xx, 429, a key in use, a wrong API key: the money may or may not have moved.
        _log_stripe_error(error)
        # Only a replay tells that Stripe has kept the error: SQL then looks the payment up instead of asking again.
        replayed = {name.lower(): value for name, value in (error.headers or {}).items()}.get("idempotent-replayed")
        return UNKNOWN | {"is_replayed": replayed == "true"}


def _error_facts(error: stripe.CardError) -> Facts:
    body = _error_body(error)
    intent = body.get("payment_intent")
    if not intent:
        return {"status": "requires_payment_method", "decline": decline_facts(body)}
    facts = payment_intent_facts(intent)
    # The error says more than the PaymentIntent's copy of it (the network's codes, the advice).
    return facts | {"decline": decline_facts(body), "charge_id": body.get("charge") or facts.get("charge_id")}


def _refused_facts(error: stripe.StripeError) -> Facts:
    body = _error_body(error)
    intent = body.get("payment_intent")
    if intent and intent.get("status") in ("succeeded", "canceled", "requires_capture", "processing"):
        return payment_intent_facts(intent)  # payment_intent_unexpected_state: it is already where it is
    facts: Facts = payment_intent_facts(intent) if intent else {"status": "rejected"}
    facts["decline"] = decline_facts({"code": body.get("code") or "invalid_request_error"})
    if facts["decline"]["category"] == "other_card":
        # Stripe did not take the request and no table says why: another card would meet the same refusal.
        facts["decline"]["category"] = "our_bug"
    return facts


def _error_body(error: stripe.StripeError) -> Facts:
    body = error.json_body
    found = body.get("error") if isinstance(body, dict) else None
    return found if isinstance(found, dict) else {}


def _or_problem(send: Callable[[], _Object]) -> _Object:
    """Send something that moves no money. Raises Problem when Stripe refuses or cannot be reached."""
    try:
        return send()
    except (
        stripe.InvalidRequestError,
        stripe.IdempotencyError,
        stripe.AuthenticationError,
        stripe.PermissionError,
    ) as error:
        _log_stripe_error(error)
        if isinstance(error, stripe.IdempotencyError):
            raise Problem("idempotency_key_reused") from None
        raise Problem("payment_provider_refused") from None
    except stripe.StripeError as error:
        _log_stripe_error(error)
        raise Problem("payment_provider_unavailable", headers={"Retry-After": "5"}) from None


def _or_problem_each(found: Iterator[Facts]) -> Iterator[Facts]:
    """What `found` gives, one by one. Raises Problem."""
    while (each := _or_problem(lambda: next(found, None))) is not None:
        yield each


def _log_stripe_error(error: stripe.StripeError) -> None:
    """Status, code and Stripe's request id tell all that its dashboard needs; the message may quote a request."""
    if error.http_status == 429:
        metrics.add("StripeRateLimits")
    elif error.http_status is None or error.http_status >= 500:
        metrics.add("StripeUnavailable")
    log(
        logging.INFO if isinstance(error, stripe.CardError) else logging.WARNING,
        "Stripe answered with an error",
        stripe_error=type(error).__name__,
        stripe_status=error.http_status,
        stripe_code=getattr(error, "code", None),
        stripe_request_id=error.request_id,
    )
