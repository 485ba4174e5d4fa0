"""Stripe as a test sees it: the cardholder's page, the dashboard, and the stand-in's control routes."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import stripe

from local.stack import LocalStack
from tests.support.http import connection

Json = dict[str, Any]


class StripeSide:
    """The stand-in of one stack, by the official SDK and by its control routes."""

    def __init__(self, stack: LocalStack) -> None:
        self._http = stripe.RequestsClient(timeout=30)
        self.sdk, self._page = (
            stripe.StripeClient(key, base_addresses={"api": stack.stripe_url}, http_client=self._http)
            for key in (stack.keys.stripe_secret, stack.keys.stripe_publishable)
        )
        self._control = connection(f"{stack.stripe_url}/_control")
        self._disturbed = False

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()  # type: ignore[no-untyped-call]  # the SDK's
        self._control.close()

    # --- the cardholder ----------------------------------------------------------------------------------------------

    def confirm_setup(self, client_secret: str, card: str) -> str:
        """Give a card as Stripe.js does, with the publishable key: the SetupIntent's status afterwards."""
        intent_id = client_secret.partition("_secret_")[0]
        params: Any = {"client_secret": client_secret, "payment_method": card}
        intent = self._page.v1.setup_intents.confirm(intent_id, params)
        return intent.status

    def confirm_payment(self, client_secret: str, card: str) -> str:
        """Go on with a PaymentIntent as Stripe.js does: its status afterwards."""
        intent_id = client_secret.partition("_secret_")[0]
        params: Any = {"client_secret": client_secret, "payment_method": card}
        intent = self._page.v1.payment_intents.confirm(intent_id, params)
        return intent.status

    def authenticate(self, intent_id: str, outcome: str = "succeed") -> Json:
        """Answer a 3D Secure challenge: the intent afterwards."""
        intent: Json = self.control("POST", "/authenticate", {"intent": intent_id, "outcome": outcome})
        return intent

    def change_card(self, payment_method_id: str, behaviour: str, **details: Any) -> None:
        """Make the bank behave otherwise from now on (`local.stripe.actors.CardChange`)."""
        self.control("POST", f"/cards/{payment_method_id}", {"behaviour": behaviour, **details})

    # --- the books ---------------------------------------------------------------------------------------------------

    def intents(self, customer_id: str) -> list[Json]:
        """All PaymentIntents of a customer, newest first, with the latest charge."""
        page = self.sdk.v1.payment_intents.list(
            {"customer": customer_id, "limit": 100, "expand": ["data.latest_charge"]}
        )
        return [intent.to_dict() for intent in page.auto_paging_iter()]

    def charges(self, customer_id: str) -> list[Json]:
        """All charges of a customer, newest first; a declined try is one too."""
        page = self.sdk.v1.charges.list({"customer": customer_id, "limit": 100})
        return [charge.to_dict() for charge in page.auto_paging_iter()]

    def taken(self, customer_id: str) -> list[Json]:
        """The charges of a customer that took money."""
        return [charge for charge in self.charges(customer_id) if charge["status"] == "succeeded"]

    def events(self, kind: str, object_id: str) -> list[Json]:
        """The events of a type about an object, newest first."""
        page = self.sdk.v1.events.list({"type": kind, "limit": 100})
        return [event.to_dict() for event in page.data if event.data.object["id"] == object_id]

    # --- the network in between --------------------------------------------------------------------------------------

    def fault(self, kind: str, **options: Any) -> None:
        """Let a fault strike, once unless `times` says otherwise (`local.stripe.faults`)."""
        self._disturbed = True
        self.control("POST", "/faults", {"kind": kind, "times": 1, **options})

    def hold(self) -> None:
        """Deliver what is on its way, then keep every webhook back until `flush`."""
        self.flush()
        self._disturbed = True
        self.control("POST", "/webhooks/hold")

    def flush(self) -> None:
        """Let go of what is held and wait until every webhook has been answered with a 2xx."""
        assert self.control("POST", "/webhooks/flush", {"timeout_seconds": 20})["drained"]

    def resend(self, event_id: str) -> None:
        """Deliver an event again, and wait for that."""
        self.control("POST", "/webhooks/resend", {"event": event_id})
        self.flush()

    def deliveries(self, event_id: str) -> list[Json]:
        """The deliveries of an event with their attempts."""
        return [each for each in self.control("GET", "/webhooks")["data"] if each["event"] == event_id]

    def calm(self) -> None:
        """Undo what a test has disturbed."""
        if self._disturbed:
            self.control("DELETE", "/faults")
            self.flush()
            self._disturbed = False

    @contextmanager
    def watched(self) -> Iterator[list[Json]]:
        """The requests that came in within the block, filled in at its end; webhooks stay back until the test's end."""
        self.hold()
        self.control("DELETE", "/requests")
        seen: list[Json] = []
        yield seen
        seen += self.control("GET", "/requests")["data"]

    def control(self, method: str, path: str, body: Json | None = None) -> Any:
        """Call a control route."""
        response = self._control.request(method, path, json=body)
        assert response.is_success, f"{path}: {response.text}"
        return response.json() if response.content else None


def event_of(kind: str, obj: Json, **changes: Any) -> Json:
    """An event as Stripe would send it, of an object that may be made up."""
    return {
        "id": f"evt_{time.time_ns()}",
        "object": "event",
        "api_version": stripe.api_version,
        "created": int(time.time()),
        "data": {"object": obj},
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": kind,
    } | changes


def signed(body: bytes, secret: str, timestamp: int | None = None) -> str:
    """`Stripe-Signature` for raw bytes, by the SDK's own signer."""
    stamp = int(time.time()) if timestamp is None else timestamp
    return str(stripe.WebhookSignature.generate_signature_header(body.decode(), secret, stamp))


class WebhookSender:
    """Posts events to the webhook as Stripe does, or as somebody does who would like to be Stripe."""

    def __init__(self, http: httpx.Client, secrets: tuple[str, ...]) -> None:
        self.http = http
        self.secrets = secrets

    def send(self, event: Json, **options: Any) -> httpx.Response:
        """Send an event, properly signed unless the options of `post` say otherwise."""
        return self.post(json.dumps(event, indent=2).encode(), **options)

    def post(
        self, body: bytes, *, signature: str | None = None, content_type: str = "application/json; charset=utf-8"
    ) -> httpx.Response:
        """Send raw bytes; without a signature they are signed with the newest secret, with an empty one not at all."""
        headers = {"content-type": content_type}
        header = signed(body, self.secrets[0]) if signature is None else signature
        if header:
            headers["stripe-signature"] = header
        return self.http.post("/webhook", content=body, headers=headers)
