"""What everybody does: one method a verb, what it is about drawn by the step's number."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from local.faults.lambdas import Context, answered, machine_signature
from local.faults.schedule import BEHAVIOURS, CARDS, CITIES, CURRENCIES, Step
from local.faults.stage import Invocation
from local.faults.stripe_side import as_page
from local.stripe import actors
from local.stripe.authentication import Outcome
from local.stripe.errors import StripeFault

if TYPE_CHECKING:
    from local.faults.simulation import Simulation

Then = Callable[[int, Any], None]
_REPEATS = 2
"""How often a client repeats a request that got no answer or a 5xx, under the same Idempotency-Key."""


class Acts:
    """The actors of one simulation."""

    def __init__(self, simulation: "Simulation") -> None:
        self._it = simulation
        self._draws = simulation.draws
        self.users = [(str(UUID(int=(0xA << 124) + number)), f"user{number}@example.com") for number in range(3)]
        self._offers = 0

    def move_in(self) -> None:
        """Everybody signs up."""
        for user_id, email in self.users[: self._it.schedule.users]:
            self._it.database.add_user(user_id, email)

    def play(self, step: Step) -> None:
        """Begin a step; what it starts goes on on the stage."""
        getattr(self, f"_{step.actor}_{step.act}")(step)

    # --- requests ----------------------------------------------------------------------------------------------------

    def _request(
        self,
        name: str,
        method: str,
        path: str,
        body: Any = None,
        *,
        user: int | None = None,
        key: str | None = None,
        then: Then | None = None,
        repeats: int = _REPEATS,
    ) -> None:
        """A user's or, without one, a machine's request; repeated by its client when nothing came back."""
        it = self._it
        raw = b"" if body is None else json.dumps(body).encode()

        def work(invocation: Invocation) -> Any:
            if user is None:
                headers = machine_signature(raw, it.now())
            else:
                headers = {"authorization": f"Bearer {it.lambdas.token(*self.users[user], it.now())}"}
            if key is not None:
                headers["idempotency-key"] = key
            context = Context(f"{name}-000", it.now, invocation.started_at + invocation.timeout_seconds)
            return it.lambdas.http(method, path, raw, headers, context)

        def done(invocation: Invocation) -> None:
            status, answer = answered(invocation)
            it.tell(name, f"{method} {path.split('?', maxsplit=1)[0]} -> {status} {_gist(answer)}", "")
            if status >= 500 and repeats and self._draws.chance(0.75, name, "repeats"):
                it.pass_time(self._draws.seconds(0.5, 6, name, "patience"))
                self._request(f"{name}'", method, path, body, user=user, key=key, then=then, repeats=repeats - 1)
            elif then is not None:
                then(status, answer)

        it.invoke(it.name(name), f"http {path.split('/')[1].partition('?')[0]}", work, done)

    def _pick(self, step: Step, query: str, *arguments: Any) -> dict[str, Any] | None:
        rows = self._it.database.rows(query, *arguments)
        return self._draws.pick(rows, step.number, "which") if rows else None

    def _moment(self, hours: float) -> str:
        return datetime.fromtimestamp(self._it.now() + hours * 3600, UTC).isoformat()

    # --- users -------------------------------------------------------------------------------------------------------

    def _user_save_card(self, step: Step) -> None:
        name, user = f"s{step.number}", step.user
        theme = self._it.schedule.theme
        cards = [(card, weight * theme.cards.get(card, 1.0)) for card, weight in CARDS]
        card = self._draws.weighted(cards, step.number, "card")

        def begun(status: int, answer: Any) -> None:
            if status != 201:
                return
            params = {"client_secret": answer["client_secret"], "payment_method": card, "return_url": "https://x.test"}
            intent = as_page(self._it, f"/v1/setup_intents/{answer['id']}/confirm", params)
            self._it.tell(name, f"confirms a set-up with {card}: {intent.get('status', 'refused')}", "")
            if intent.get("status") == "requires_action":
                outcome: Outcome = "succeed" if self._draws.chance(0.9, step.number, "3ds") else "fail"
                self._authenticate(answer["id"], outcome)
            if self._draws.chance(0.6, step.number, "polls"):
                self._request(f"{name}p", "GET", f"/setup-intent/{answer['id']}", user=user)

        consent = {"consent": {"terms_version": "2026-11"}}
        self._request(name, "POST", "/setup-intent", consent, user=user, key=name, then=begun)

    def _user_create_campaign(self, step: Step) -> None:
        draws, number = self._draws, step.number
        currency, price = draws.weighted(CURRENCIES, "currency"), draws.between(2000, 60000, number, "price")
        theme = self._it.schedule.theme
        tight = theme.tight_limits
        bookings = draws.weighted(((12, 6.0), (4, 2.0 * tight), (2, tight)), number, "bookings")
        body = {
            "title": f"Campaign {number}",
            "criteria": {"city": CITIES[(step.user * 2 + step.item) % len(CITIES)]},
            "currency": currency,
            "max_price_minor": price,
            "budget_minor": int(price * draws.weighted(((20, 6.0), (3, 2.0 * tight), (1, 0.7)), number, "budget")),
            "max_bookings": bookings,
            "expires_at": self._moment(draws.weighted(((60, 6.0), (30, 3.0), (3, 1.0)), number, "expires")),
            "use_backups": draws.chance(0.6, number, "backups"),
            "capture": "manual" if draws.chance(theme.manual_capture, number, "capture") else "automatic",
            "when_hold_ends": "capture" if draws.chance(0.4, number, "hold") else "void",
            "auto_book": draws.chance(0.85, number, "auto"),
        }
        self._request(f"s{number}", "POST", "/campaigns", body, user=step.user, key=f"c{number}")

    def _user_charge(self, step: Step) -> None:
        self._charge(step, f"s{step.number}", by_user=True)

    def _user_charge_twice_at_once(self, step: Step) -> None:
        for side in "ab":
            self._charge(step, f"s{step.number}{side}", by_user=True)

    def _fulfilment_charge(self, step: Step) -> None:
        self._charge(step, f"s{step.number}", by_user=False)

    def _charge(self, step: Step, name: str, *, by_user: bool) -> None:
        pair = self._pick(
            step,
            "select c.id::text as campaign, o.id as offer from public.campaigns as c "
            "join public.offers as o on o.attributes @> c.criteria where c.user_id = %s "
            "order by exists (select from public.bookings as b where b.campaign_id = c.id and b.offer_id = o.id), "
            "o.id desc, c.id limit 5",
            self.users[step.user][0],
        )
        if pair is None:
            return
        body = {"campaign_id": pair["campaign"], "offer_id": pair["offer"]}
        self._request(name, "POST", "/charge-booking", body, user=step.user if by_user else None)

    def _campaign(self, step: Step, status: str) -> str | None:
        row = self._pick(
            step,
            "select id::text from public.campaigns where user_id = %s and status::text = any(%s) order by id",
            self.users[step.user][0],
            status.split(),
        )
        return str(row["id"]) if row else None

    def _move(self, step: Step, action: str, status: str) -> None:
        if campaign := self._campaign(step, status):
            self._request(f"s{step.number}", "POST", f"/campaigns/{campaign}/{action}", user=step.user)

    def _user_pause_campaign(self, step: Step) -> None:
        self._move(step, "pause", "active")

    def _user_resume_campaign(self, step: Step) -> None:
        """Whoever has a paused one, or a world of declines would soon be still."""
        query = "select id::text, user_id::text from public.campaigns where status = 'paused' order by id"
        if row := self._pick(step, query):
            user = next(place for place, (user_id, _) in enumerate(self.users) if user_id == row["user_id"])
            self._request(f"s{step.number}", "POST", f"/campaigns/{row['id']}/resume", user=user)

    def _user_cancel_campaign(self, step: Step) -> None:
        self._move(step, "cancel", "active paused")

    def _user_stop_all(self, step: Step) -> None:
        self._request(f"s{step.number}", "POST", "/campaigns/stop-all", user=step.user)

    def _user_change_campaign(self, step: Step) -> None:
        if campaign := self._campaign(step, "active paused"):
            draws, number = self._draws, step.number
            change = draws.pick(
                (
                    {"budget_minor": draws.between(60000, 400000, number, "budget")},
                    {"max_bookings": draws.between(1, 9, number, "bookings")},
                    {"use_backups": draws.chance(0.5, number, "backups")},
                    {"expires_at": self._moment(draws.seconds(1, 40, number, "expires"))},
                ),
                number,
                "change",
            )
            self._request(f"s{number}", "PATCH", f"/campaigns/{campaign}", change, user=step.user)

    def _user_cancel_booking(self, step: Step) -> None:
        if booking := self._booking(step, "charging requires_action retry_scheduled authorized", of_user=True):
            self._request(f"s{step.number}", "POST", f"/bookings/{booking}/cancel", user=step.user)

    def _booking(self, step: Step, status: str, *, of_user: bool = False) -> str | None:
        row = self._pick(
            step,
            "select id::text from public.bookings where status::text = any(%s) and (user_id = %s or not %s) "
            "order by id",
            status.split(),
            self.users[step.user][0],
            of_user,
        )
        return str(row["id"]) if row else None

    def _card(self, step: Step) -> str | None:
        row = self._pick(
            step,
            "select id::text from public.payment_methods where user_id = %s and status <> 'detached' order by id",
            self.users[step.user][0],
        )
        return str(row["id"]) if row else None

    def _user_arrange_card(self, step: Step) -> None:
        if card := self._card(step):
            wish: dict[str, Any] = {"is_default": True}
            if self._draws.chance(0.6, step.number, "backup"):
                wish = {"backup_position": self._draws.between(1, 3, step.number, "position")}
            self._request(f"s{step.number}", "PATCH", f"/payment-methods/{card}", wish, user=step.user)

    def _user_detach_card(self, step: Step) -> None:
        if card := self._card(step):
            self._request(f"s{step.number}", "DELETE", f"/payment-methods/{card}", user=step.user)

    def _user_look_around(self, step: Step) -> None:
        paths = ["/bookings", "/payment-methods", "/campaigns"]
        if campaign := self._campaign(step, "active paused completed cancelled expired"):
            paths += [f"/campaigns/{campaign}", f"/campaigns/{campaign}/timeline", f"/campaigns/{campaign}/preflight"]
        if booking := self._booking(step, "confirmed failed cancelled", of_user=True):
            paths.append(f"/bookings/{booking}")
        path = self._draws.pick(paths, step.number, "path")
        self._request(f"s{step.number}", "GET", path, user=step.user)

    # --- the feed and fulfilment -------------------------------------------------------------------------------------

    def _feed_post_offers(self, step: Step) -> None:
        draws, number = self._draws, step.number
        offers = []
        for place in range(draws.between(4, 7, number, "how many")):
            self._offers += 1
            again = self._offers > 4 and draws.chance(0.06, number, place, "again")
            identity = draws.between(1, self._offers - 1, number, place, "which") if again else self._offers
            # Everybody has a campaign for the first of their two cities; only some have one for the second.
            second = draws.chance(0.3, number, place, "second city")
            city = CITIES[(step.user * 2 + second) % len(CITIES)]
            currency = draws.weighted(CURRENCIES, "currency")
            odd = draws.unit(number, place, "odd")
            offers.append(
                {
                    "id": f"offer-{identity}",
                    "attributes": {"city": city, "nights": number},
                    "amount_minor": 70000 if odd < 0.03 else draws.between(300, 2000, number, place, "amount"),
                    "currency": "gbp" if odd > 0.98 else currency,
                    "expires_at": self._moment(
                        draws.weighted(((1, 2.0), (6, 4.0), (30, 2.0), (0.05, 0.3)), number, place, "expires")
                    ),
                }
            )
        unique = list({offer["id"]: offer for offer in offers}.values())
        self._request(f"s{number}", "POST", "/offers", {"offers": unique})

    def _fulfilment_capture(self, step: Step) -> None:
        if booking := self._booking(step, "authorized"):
            self.capture(f"s{step.number}", booking, in_part=self._draws.chance(0.3, step.number, "part"))

    def capture(self, name: str, booking: str, *, in_part: bool) -> None:
        """Fulfilment takes a hold."""
        amount = self._it.database.rows("select amount_minor from public.bookings where id = %s", booking)
        body = {"amount_minor": amount[0]["amount_minor"] // 2} if in_part else {}
        self._request(name, "POST", f"/bookings/{booking}/capture", body)

    def _fulfilment_void(self, step: Step) -> None:
        if booking := self._booking(step, "authorized"):
            self._request(f"s{step.number}", "POST", f"/bookings/{booking}/void")

    def _fulfilment_refund(self, step: Step) -> None:
        if booking := self._warned_booking(step) or self._booking(step, "confirmed"):
            body: dict[str, Any] = {"reason": "not_available"}
            if self._draws.chance(0.4, step.number, "part"):
                body["amount_minor"] = self._draws.between(50, 300, step.number, "amount")
            key = f"r{step.number}" if self._draws.chance(0.5, step.number, "key") else None
            self._request(f"s{step.number}", "POST", f"/bookings/{booking}/refund", body, key=key)

    def _warned_booking(self, step: Step) -> str | None:
        """One whose bank has told of fraud: whoever hears of it often gives the money back before it is claimed."""
        world = self._it.world
        intents = [
            world.payment_intents.find(each["payment_intent"])
            for each in world.early_fraud_warnings
            if each["actionable"]
        ]
        warned = [intent["metadata"]["booking_id"] for intent in intents if intent and intent["metadata"]]
        return self._draws.pick(warned, step.number, "warned") if warned else None

    def _fulfilment_refund_twice_at_once(self, step: Step) -> None:
        """Two parts of one payment, each a refund of its own."""
        if booking := self._booking(step, "confirmed"):
            for side in "ab":
                amount = self._draws.between(50, 150, step.number, side, "amount")
                body = {"reason": "not_available", "amount_minor": amount}
                self._request(f"s{step.number}{side}", "POST", f"/bookings/{booking}/refund", body)

    # --- outside of our house ----------------------------------------------------------------------------------------

    def _authenticate(self, intent_id: str, outcome: Outcome) -> None:
        wanted = actors.Authenticate(intent_id, outcome)
        self._at_stripe(f"answers 3D Secure of {intent_id}: {outcome}", actors.authenticate, "", wanted)

    def _at_stripe(self, what: str, act: Callable[..., Any], subject: str, wanted: Any) -> None:
        try:
            act(self._it.world, subject, wanted)
        except StripeFault as refusal:
            what = f"{what} (refused: {refusal})"
        self._it.world.tick()
        self._it.tell("outside", what, "")

    def _cardholder_authenticate(self, step: Step) -> None:
        row = self._pick(
            step,
            "select b.id::text, b.user_id::text, b.stripe_payment_intent_id as intent, "
            "p.stripe_payment_method_id as card from public.bookings as b "
            "join public.attempts as a on a.booking_id = b.id and a.status = 'requires_action' "
            "join public.payment_methods as p on p.id = a.payment_method_id "
            "where b.status = 'requires_action' order by b.id",
        )
        if row is None:
            return
        user = next(place for place, (user_id, _) in enumerate(self.users) if user_id == row["user_id"])

        def shown(status: int, answer: Any) -> None:
            if status != 200:
                return
            params = {"client_secret": answer["client_secret"], "payment_method": row["card"]}
            intent = as_page(self._it, f"/v1/payment_intents/{row['intent']}/confirm", params)
            self._it.tell(f"s{step.number}", f"pays on the page: {intent.get('status', 'refused')}", "")
            answers: tuple[tuple[Outcome, float], ...] = (("succeed", 6.0), ("fail", 1.5), ("abandon", 1.0))
            outcome = self._draws.weighted(answers, step.number, "3ds")
            if intent.get("status") == "requires_action":
                self._authenticate(row["intent"], outcome)

        self._request(f"s{step.number}", "GET", f"/bookings/{row['id']}/authentication", user=user, then=shown)

    def _bank_change_card(self, step: Step) -> None:
        cards = [method["id"] for method in self._it.world.payment_methods if method["customer"]]
        if cards:
            card = self._draws.pick(cards, step.number, "card")
            behaviour = self._draws.weighted(BEHAVIOURS, step.number, "behaviour")
            times = self._draws.weighted(((None, 1.0), (1, 2.0), (3, 1.0)), step.number, "times")
            change = actors.CardChange(
                behaviour,
                times=None if behaviour in ("heal", "network_update") else times,
                seconds=self._draws.seconds(1, 9000, step.number, "seconds"),
                then="insufficient_funds" if self._draws.chance(0.3, step.number, "then") else None,
            )
            self._at_stripe(f"the bank makes {card} {behaviour}", actors.change_card, card, change)

    def _charge_taken(self, step: Step) -> str | None:
        taken = [each["id"] for each in self._it.world.charges if each["status"] == "succeeded" and each["captured"]]
        return self._draws.pick(taken, step.number, "charge") if taken else None

    def _bank_open_dispute(self, step: Step) -> None:
        if charge := self._charge_taken(step):
            self._at_stripe(f"the bank disputes {charge}", actors.open_dispute, "", actors.OpenDispute(charge))

    def _bank_end_dispute(self, step: Step) -> None:
        """Of one that is open, or else of one that is opened just before."""
        if not (waiting := self._open_disputes()):
            self._bank_open_dispute(step)
            waiting = self._open_disputes()
        if waiting:
            outcome = self._draws.pick(("win", "lose"), step.number, "outcome")
            dispute = self._draws.pick(waiting, step.number, "dispute")
            self._at_stripe(f"{dispute}: {outcome}", actors.end_dispute, dispute, actors.EndDispute(outcome))  # type: ignore[arg-type]  # one of its literals

    def _open_disputes(self) -> list[str]:
        return [each["id"] for each in self._it.world.disputes if each["status"] not in ("won", "lost")]

    def _bank_warn_of_fraud(self, step: Step) -> None:
        if charge := self._charge_taken(step):
            self._at_stripe(f"the bank warns of {charge}", actors.warn, "", actors.Warn(charge))

    def _bank_settle_refund(self, step: Step) -> None:
        waiting = [
            each["id"]
            for each in self._it.world.refunds
            # What a hold releases was never taken, and no bank can send it back.
            if each["status"] in ("pending", "succeeded") and each["metadata"].get("refund_id")
        ]
        if waiting:
            outcome = self._draws.weighted((("succeed", 1.0), ("fail", 1.0)), step.number, "outcome")
            refund = self._draws.pick(waiting, step.number, "refund")
            self._at_stripe(f"{refund}: {outcome}", actors.settle_refund, refund, actors.SettleRefund(outcome))  # type: ignore[arg-type]  # one of its literals

    def _radar_review(self, step: Step) -> None:
        reviewed = {each["charge"] for each in self._it.world.reviews}  # Radar reviews a payment once
        taken = (each["id"] for each in self._it.world.charges if each["status"] == "succeeded")
        if open_ := [charge for charge in taken if charge not in reviewed]:
            charge = self._draws.pick(open_, step.number, "charge")
            self._at_stripe(f"a review of {charge}", actors.open_review, "", actors.OpenReview(charge))

    def _radar_close_review(self, step: Step) -> None:
        """One that is open, or else one that is opened just before."""
        if not (open_ := self._open_reviews()):
            self._radar_review(step)
            open_ = self._open_reviews()
        if open_:
            reason = self._draws.weighted((("approved", 3.0), ("canceled", 1.0)), step.number, "reason")
            review = self._draws.pick(open_, step.number, "review")
            self._at_stripe(f"{review}: {reason}", actors.close_review, review, actors.CloseReview(reason))  # type: ignore[arg-type]  # one of its literals

    def _open_reviews(self) -> list[str]:
        return [each["id"] for each in self._it.world.reviews if each["open"]]

    # --- schedules and time ------------------------------------------------------------------------------------------

    def _schedule_reconcile(self, step: Step) -> None:
        self.scheduled(f"s{step.number}", "reconcile")

    def _schedule_reconcile_twice_at_once(self, step: Step) -> None:
        for side in "ab":
            self.scheduled(f"s{step.number}{side}", "reconcile")

    def _schedule_reconcile_a_day_later(self, step: Step) -> None:
        """It was away for longer than Stripe keeps an idempotency key, and its calls may fail as ever."""
        self._let_pass(3600 * self._draws.seconds(23, 27, step.number, "day"))
        self.scheduled(f"s{step.number}", "reconcile")

    def _schedule_notify_twice_at_once(self, step: Step) -> None:
        for side in "ab":
            self.scheduled(f"s{step.number}{side}", "notify")

    def _schedule_notify(self, step: Step) -> None:
        self.scheduled(f"s{step.number}", "notify")

    def scheduled(self, name: str, function: str, then: Callable[[Invocation], None] | None = None) -> None:
        """EventBridge starts a function."""
        it = self._it
        handler = it.lambdas.reconcile if function == "reconcile" else it.lambdas.notify
        seconds = 290.0 if function == "reconcile" else 60.0

        def work(invocation: Invocation) -> Any:
            ends_at = invocation.started_at + invocation.timeout_seconds
            return handler({}, Context(f"{invocation.name}-000", it.now, ends_at))

        it.invoke(it.name(name), f"schedule {function}", work, then, timeout_seconds=seconds)

    def _time_minutes(self, step: Step) -> None:
        self._let_pass(60 * self._draws.seconds(0.5, 20, step.number, "minutes"))

    def _time_hours(self, step: Step) -> None:
        self._let_pass(3600 * self._draws.seconds(0.5, 5, step.number, "hours"))

    def _time_day(self, step: Step) -> None:
        self._let_pass(3600 * self._draws.seconds(23, 27, step.number, "day"))

    def _time_week(self, step: Step) -> None:
        """Longer than a card's bank keeps a hold, and than Stripe tries to deliver a webhook."""
        self._let_pass(3600 * self._draws.seconds(24 * 7, 24 * 8, step.number, "week"))

    def _let_pass(self, seconds: float) -> None:
        """No invocation lasts so long: those under way end first."""
        it = self._it
        it.finish()
        if seconds > 86400:
            open_attempts = it.database.rows("select 1 from public.attempts where status = 'started' limit 1")
            it.coverage.passed("time attempts", "key_expired" if open_attempts else None)
        it.pass_time(seconds)
        it.tell("time", f"passes: {seconds:.0f} s", "")


def _gist(answer: Any) -> str:
    """The little of an answer that a reader of the story wants."""
    if not isinstance(answer, dict):
        return ""
    shown = {name: answer[name] for name in ("id", "status", "code", "result") if name in answer}
    return json.dumps(shown) if shown else ""
