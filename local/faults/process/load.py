"""Mixed load: travellers, the feed, fulfilment and cardholders, each going on whatever the answers are."""

import json
import random
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx

from functions.shared.signatures import sign
from local.faults.process.acknowledged import Record
from local.stack import LocalStack

Json = dict[str, Any]

_PATIENCE_SECONDS = 35.0
_CARDS = ("pm_card_visa", "pm_card_mastercard", "pm_card_authenticationRequiredOnSetup")
_MOODS: tuple[Json, ...] = (
    {"behaviour": "decline", "decline_code": "do_not_honor"},
    {"behaviour": "decline", "decline_code": "insufficient_funds"},
    {"behaviour": "authentication_required"},
    {"behaviour": "processing", "seconds": 3},
)
_PAUSE_SECONDS = (0.02, 0.2)
_CONSENT = {"consent": {"terms_version": "2026-11"}}


def _in(**delta: float) -> str:
    return (datetime.now(UTC) + timedelta(**delta)).isoformat()


@dataclass
class Caller:
    """Somebody who calls the API and writes down what was answered. No answer and no JSON are None."""

    api: httpx.Client
    record: Record
    token: str | None = field(default=None, repr=False)
    secret: str | None = field(default=None, repr=False)

    def call(self, what: str, method: str, path: str, body: Json | None = None, key: str = "") -> tuple[int, Json]:
        """Status and answer; status 0 when none came."""
        raw = b"" if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"} if raw else {}
        if key:
            headers["idempotency-key"] = key
        if self.token is not None:
            headers["authorization"] = f"Bearer {self.token}"
        if self.secret is not None:
            headers["autobook-signature"] = sign(raw, self.secret, int(time.time()))
        try:
            answer = self.api.request(method, path, content=raw, headers=headers)
            shown = answer.json() if answer.content else {}
        except (httpx.HTTPError, ValueError):
            self.record.answered(what, None)
            return 0, {}
        self.record.answered(what, answer.status_code)
        return answer.status_code, shown


class Traveller(threading.Thread):
    """One user with a feed and fulfilment of their own, so that nobody waits for anybody else."""

    def __init__(self, stack: LocalStack, record: Record, stop: threading.Event, seed: int) -> None:
        super().__init__(name=f"traveller {seed}", daemon=True)
        self.record = record
        self.failure: BaseException | None = None
        self._stop_asked = stop
        self._random = random.Random(seed)
        self._api = httpx.Client(base_url=stack.api_url, timeout=_PATIENCE_SECONDS, trust_env=False)
        user = stack.users.create(f"traveller-{uuid4().hex[:10]}@example.com")
        self._user = Caller(self._api, record, token=user.access_token)
        self._machine = Caller(self._api, record, secret=stack.keys.signing_secrets[0])
        self._stripe = httpx.Client(
            base_url=stack.stripe_url,
            timeout=_PATIENCE_SECONDS,
            trust_env=False,
            headers={"authorization": f"Bearer {stack.keys.stripe_publishable}"},
        )
        self._campaigns: dict[str, str] = {}
        """Campaign ids by trip."""
        self._cards: list[str] = []
        """Stripe's ids."""
        self._held: list[str] = []
        self._confirmed: list[str] = []
        self._last_charge: Json | None = None

    def run(self) -> None:
        """Until told to stop; what goes wrong in here itself is kept in `failure`."""
        try:
            while not self._stop_asked.is_set():
                self._random.choices(
                    (
                        *(self._feed, self._charge, self._fulfil, self._refund, self._look, self._pause),
                        *(self._new_card, self._bank_changes_its_mind),
                    ),
                    (12, 16, 10, 4, 6, 2, 2, 1),
                )[0]()
                self._stop_asked.wait(self._random.uniform(*_PAUSE_SECONDS))
        except BaseException as error:  # noqa: BLE001 - of a thread: whoever joins it reads it
            self.failure = error
        finally:
            self._api.close()
            self._stripe.close()

    # --- cards and campaigns -----------------------------------------------------------------------------------------

    def _new_card(self, card: str | None = None) -> bool:
        status, setup = self._user.call("setup-intent", "POST", "/setup-intent", _CONSENT)
        if status != 201:
            return False
        self.record.made("setup_intents", setup["id"])
        confirmation = {"client_secret": setup["client_secret"], "payment_method": card or self._random.choice(_CARDS)}
        try:
            intent = self._stripe.post(f"/v1/setup_intents/{setup['id']}/confirm", data=confirmation).json()
            self._stripe.post("/_control/authenticate", json={"intent": setup["id"], "outcome": "succeed"})
        except (httpx.HTTPError, ValueError):
            return False
        self._cards.append(intent["payment_method"])
        status, shown = self._user.call("setup-intent", "GET", f"/setup-intent/{setup['id']}")
        if status == 200 and shown.get("payment_method"):
            self.record.made("payment_methods", shown["payment_method"]["id"])
            return True
        return False

    def _bank_changes_its_mind(self) -> None:
        """A card's next charge is declined, asked about or slow: it goes to a backup, waits, or fails."""
        if not self._cards:
            return
        card = self._random.choice(self._cards)
        mood = self._random.choice(_MOODS) | {"times": 1}
        try:
            self._stripe.post(f"/_control/cards/{card}", json=mood)
        except httpx.HTTPError:
            self.record.answered("bank", None)

    def _campaign(self, trip: str, **changes: Any) -> str | None:
        if trip not in self._campaigns:
            if not self._campaigns and not self._new_card("pm_card_visa"):
                return None
            body = {
                "title": trip,
                "criteria": {"trip": f"{self.name} {trip}"},
                "currency": "eur",
                "max_price_minor": 50_000,
                "budget_minor": 40_000_000,
                "max_bookings": 1000,
                "expires_at": _in(days=30),
                "use_backups": True,
            } | changes
            status, made = self._user.call("campaign", "POST", "/campaigns", body)
            if status != 201:
                return None
            self.record.made("campaigns", made["id"])
            self._campaigns[trip] = made["id"]
        return self._campaigns[trip]

    def _revive(self, trip: str) -> None:
        """A campaign that charges no more is resumed, or another takes its place."""
        status, _ = self._user.call("resume", "POST", f"/campaigns/{self._campaigns[trip]}/resume")
        if status == 409:
            del self._campaigns[trip]

    def _pause(self) -> None:
        trip = self._random.choice(("auto", "direct"))
        if trip in self._campaigns:
            self._user.call("pause", "POST", f"/campaigns/{self._campaigns[trip]}/pause")
            self._revive(trip)

    # --- offers and charges ------------------------------------------------------------------------------------------

    def _post(self, trip: str, count: int) -> list[Json]:
        offers = [
            {
                "id": f"offer-{uuid4().hex}",
                "attributes": {"trip": f"{self.name} {trip}"},
                "amount_minor": self._random.randint(500, 50_000),
                "currency": "eur",
                "expires_at": _in(days=3),
            }
            for _ in range(count)
        ]
        status, answer = self._machine.call("offers", "POST", "/offers", {"offers": offers})
        if status != 202:
            return []
        self.record.posted(offers, answer)
        return offers

    def _feed(self) -> None:
        if self._campaign("auto") is not None:
            self._post("auto", self._random.randint(1, 2))

    def _charge(self) -> None:
        trip = self._random.choice(("direct", "held"))
        campaign = self._campaign(trip, auto_book=False, capture="manual" if trip == "held" else "automatic")
        if campaign is None:
            return
        again = self._last_charge is not None and self._random.random() < 0.3
        if not again:
            offers = self._post(trip, 1)
            if not offers:
                return
            self._last_charge = {"campaign_id": campaign, "offer_id": offers[0]["id"]}
        assert self._last_charge is not None
        status, answer = self._user.call("charge", "POST", "/charge-booking", self._last_charge)
        if status in {200, 201, 202}:
            self._note(answer)
        elif status == 402:
            self._note(answer["booking"])
        elif status == 409 and answer.get("code") == "campaign_not_active":
            self._revive(trip) if trip in self._campaigns else None
        elif status in {404, 409, 422}:
            self._last_charge = None

    def _note(self, booking: Json) -> None:
        self.record.shown(booking)
        if booking["status"] == "authorized":
            self._held.append(booking["id"])
        elif booking["status"] == "confirmed":
            self._confirmed.append(booking["id"])

    # --- afterwards --------------------------------------------------------------------------------------------------

    def _fulfil(self) -> None:
        if not self._held:
            return
        booking_id = self._held.pop(self._random.randrange(len(self._held)))
        action = self._random.choice(("capture", "capture", "void", "cancel"))
        caller = self._user if action == "cancel" else self._machine
        status, shown = caller.call(action, "POST", f"/bookings/{booking_id}/{action}")
        if status in {200, 202}:
            self._note(shown)
        elif status in {0, 500, 502, 503, 504}:
            self._held.append(booking_id)

    def _refund(self) -> None:
        if not self._confirmed:
            return
        booking_id = self._confirmed.pop(self._random.randrange(len(self._confirmed)))
        key, amount = uuid4().hex, self._random.choice((100, 250))
        for _ in range(2):  # the second as somebody who did not hear the first answer
            path, body = f"/bookings/{booking_id}/refund", {"amount_minor": amount, "reason": "goodwill"}
            status, shown = self._machine.call("refund", "POST", path, body, key)
            if status in {200, 202}:
                self.record.refunded(booking_id, key, amount)
                self.record.shown(shown)

    def _look(self) -> None:
        status, shown = self._user.call("bookings", "GET", "/bookings")
        if status == 200:
            for booking in shown["data"]:
                self.record.shown(booking)
