"""Idempotency as Stripe documents it, in any order of use (https://docs.stripe.com/api/idempotent_requests).

The machine sends what a confused client might: the same key again, with other parameters, to another endpoint, while
the first request still runs, after a lost answer, a day later. The model is a dictionary of keys; the oracle is how
many customers, PaymentIntents and charges the account has.
"""

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from local.stripe.clock import Clock
from local.stripe.gate import Admitted, Gate, Request
from local.stripe.idempotency import Answer
from local.stripe.world import StripeWorld
from tests.faults.machines import bounded
from tests.local.stripe.conftest import SECRET_KEY, settings

HOUR = 3600
DAY = 24 * HOUR
KEYS = st.sampled_from(["a", "b", "c", None])
NAMES = st.sampled_from(["Ada", "Ben"])


@dataclass
class Kept:
    """What the account must remember of a key."""

    request: tuple[str, str]
    """Path and form."""
    since: float
    answer: tuple[int, Any] | None = None
    """None while the request runs."""


class Keys(RuleBasedStateMachine):
    """One account, three keys, and a client without a memory."""

    def __init__(self) -> None:
        super().__init__()
        self.world = StripeWorld(settings(), Clock(frozen_at=1_700_000_000))
        self.gate = Gate(self.world)
        self.kept: dict[str, Kept] = {}
        self.running: dict[str, Admitted] = {}
        self.made = {"customers": 0, "payment_intents": 0, "charges": 0}
        owner = self.send("/v1/customers", "name=Owner", None)
        self.customer = json.loads(owner.body)["id"]
        self.cards = {
            token: json.loads(
                self.send(f"/v1/payment_methods/{token}/attach", urlencode({"customer": self.customer}), None).body
            )["id"]
            for token in ("pm_card_visa", "pm_card_chargeCustomerFail")
        }
        self.made["customers"] = 1

    # --- the client --------------------------------------------------------------------------------------------------

    def request(self, path: str, form: str, key: str | None) -> Request:
        headers = {"authorization": f"Bearer {SECRET_KEY}"} | ({"idempotency-key": key} if key else {})
        return Request("POST", path, body=form.encode(), headers=headers)

    def send(self, path: str, form: str, key: str | None) -> Answer:
        return self.gate.call(self.request(path, form, key))

    def charge_form(self, card: str) -> str:
        fields = {"amount": 1000, "currency": "eur", "customer": self.customer, "payment_method": self.cards[card]}
        return urlencode(fields | {"confirm": "true", "off_session": "true", "allowed_payment_method_types[0]": "card"})

    # --- what must be answered ---------------------------------------------------------------------------------------

    def expect(self, path: str, form: str, key: str | None, answer: Answer) -> bool:
        """Hold an answer against what is remembered of its key: True when the request had to be done."""
        before = self.kept.get(key) if key is not None else None
        if before is not None and before.answer is not None and self.world.clock.now() - before.since >= DAY:
            del self.kept[str(key)]
            before = None
        if before is None:
            assert "idempotent-replayed" not in answer.headers
            return True
        error = json.loads(answer.body).get("error", {})
        if before.request != (path, form):
            assert (answer.status, error["type"]) == (400, "idempotency_error")
        elif before.answer is None:
            assert (answer.status, error["code"]) == (409, "idempotency_key_in_use")
        else:
            assert (answer.status, json.loads(answer.body)) == before.answer
            assert answer.headers["idempotent-replayed"] == "true"
        return False

    def keep(self, path: str, form: str, key: str | None, answer: Answer | None) -> None:
        if key is not None:
            said = None if answer is None else (answer.status, json.loads(answer.body))
            self.kept[key] = Kept((path, form), self.world.clock.now(), said)

    # --- moves -------------------------------------------------------------------------------------------------------

    @rule(name=NAMES, key=KEYS)
    def make_a_customer(self, name: str, key: str | None) -> None:
        path, form = "/v1/customers", urlencode({"name": name})
        answer = self.send(path, form, key)
        if self.expect(path, form, key, answer):
            assert answer.status == 200
            self.made["customers"] += 1
            self.keep(path, form, key, answer)

    @rule(card=st.sampled_from(["pm_card_visa", "pm_card_chargeCustomerFail"]), key=KEYS)
    def charge(self, card: str, key: str | None) -> None:
        """A decline is an answer like any other: the same key never asks the bank again."""
        path, form = "/v1/payment_intents", self.charge_form(card)
        answer = self.send(path, form, key)
        if self.expect(path, form, key, answer):
            assert answer.status == (200 if card == "pm_card_visa" else 402)
            self.made["payment_intents"] += 1
            self.made["charges"] += 1
            self.keep(path, form, key, answer)

    @rule(key=KEYS)
    def ask_for_what_is_invalid(self, key: str | None) -> None:
        """A request that never began leaves its key free; a used key is not asked what it thinks of parameters."""
        answer = self.send("/v1/payment_intents", "amount=-1", key)
        assert answer.status == 400

    @rule(name=NAMES, key=KEYS, remembered=st.booleans(), happened=st.booleans())
    def meet_a_500(self, name: str, key: str | None, remembered: bool, happened: bool) -> None:
        path, form = "/v1/customers", urlencode({"name": name})
        self.world.faults.add("error_after" if happened else "error_before", times=1, remember=remembered)
        answer = self.send(path, form, key)
        self.world.faults.clear()
        if not self.expect(path, form, key, answer):
            return
        assert answer.status == 500
        self.made["customers"] += happened
        if remembered:
            self.keep(path, form, key, answer)
        elif happened and key is not None:
            replayed = self.send(path, form, key)
            assert replayed.status == 200, "the effect's own answer was kept"
            self.keep(path, form, key, replayed)

    @rule(name=NAMES, key=KEYS, kind=st.sampled_from(["rate_limit", "lock_timeout"]))
    def be_turned_away(self, name: str, key: str | None, kind: str) -> None:
        """A 429 comes before the key is looked at, and is never remembered."""
        self.world.faults.add(kind, times=1)
        answer = self.send("/v1/customers", urlencode({"name": name}), key)
        self.world.faults.clear()
        assert answer.status == 429

    @rule(name=NAMES, key=st.sampled_from(["a", "b", "c"]))
    def begin(self, name: str, key: str) -> None:
        """A request takes its time."""
        path, form = "/v1/customers", urlencode({"name": name})
        admitted = self.gate.open(self.request(path, form, key))
        if isinstance(admitted, Answer):
            assert not self.expect(path, form, key, admitted)
            return
        stale = self.kept.pop(key, None)
        assert stale is None or self.world.clock.now() - stale.since >= DAY
        self.running[key] = admitted
        self.keep(path, form, key, None)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), lost=st.booleans())
    def end(self, data: st.DataObject, lost: bool) -> None:
        """It ends; or it got lost before it began, and its key is free again."""
        key = data.draw(st.sampled_from(sorted(self.running)))
        admitted = self.running.pop(key)
        if lost:
            self.gate.abandon(admitted)
            del self.kept[key]
            return
        answer = self.gate.run(admitted)
        assert answer.status == 200
        self.made["customers"] += 1
        self.kept[key].answer = (answer.status, json.loads(answer.body))

    @rule(hours=st.sampled_from([1, 11, 23, 24]))
    def let_time_pass(self, hours: int) -> None:
        self.world.advance(hours * HOUR)

    # --- what must always hold ---------------------------------------------------------------------------------------

    @invariant()
    def nothing_was_done_twice(self) -> None:
        found = {name: len(self.world.tables[name]) for name in self.made}
        assert found == self.made


Keys.TestCase.settings = bounded(examples=120, steps=30)
TestKeys = Keys.TestCase
