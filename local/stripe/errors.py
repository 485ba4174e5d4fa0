"""Stripe's error bodies (https://docs.stripe.com/api/errors, https://docs.stripe.com/error-codes)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from local.stripe.kinds import Json


class StripeFault(Exception):
    """An answer other than 200: HTTP status and the fields of Stripe's ``error`` object.

    ``remembered`` says whether an idempotency key replays it: not if the endpoint never began executing
    (https://docs.stripe.com/api/idempotent_requests).
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        remembered: bool = True,
        extra: Json | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.remembered = remembered
        self.error: Json = {"message": message, "type": kind}
        if code is not None:
            self.error["code"] = code
            self.error["doc_url"] = doc_url(code)
        if param is not None:
            self.error["param"] = param
        self.error.update(extra or {})

    def body(self, request_id: str, created: int) -> Json:
        """The response body."""
        url = f"https://dashboard.stripe.com/test/logs/{request_id}?t={created}"
        return {"error": {**self.error, "request_log_url": url}}


def doc_url(code: str) -> str:
    """Where Stripe explains an error code."""
    return f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}"


def invalid_param(message: str, param: str, code: str | None = None) -> StripeFault:
    """400 before the endpoint began: what was sent can't be right."""
    return StripeFault(message, param=param, code=code, remembered=False)


def missing_param(param: str) -> StripeFault:
    """400 for a parameter that must be there."""
    return invalid_param(f"Missing required param: {param}.", param, "parameter_missing")


def missing_resource(kind: str, object_id: str, param: str, *, in_path: bool) -> StripeFault:
    """404 when the URL names an unknown object, 400 when a parameter does."""
    return StripeFault(
        f"No such {kind}: '{object_id}'",
        status=404 if in_path else 400,
        code="resource_missing",
        param=param,
    )


def unexpected_state(message: str, intent: Json, *, key: str) -> StripeFault:
    """400 ``payment_intent_unexpected_state`` or ``setup_intent_unexpected_state`` with the intent in the error."""
    return StripeFault(message, code=f"{key}_unexpected_state", extra={key: intent})
