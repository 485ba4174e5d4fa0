"""Whatever happens, nothing that is emitted holds a secret, a token, a card number or somebody's address.

A slice of everything that a deployment lives through, over a stack of its own with LOG_LEVEL=DEBUG: then the logs of
every process, every answer, every exception and the reprs of what holds secrets are searched for each of them.
"""

import base64
import json
import logging
import traceback
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import httpx
import psycopg
import pytest
import stripe

from functions.shared import auth, database, settings, stripe_gateway
from functions.shared.problems import Problem
from functions.shared.signatures import SignatureInvalid, verify
from local.http_events import from_result
from local.stack import LocalStack, StackOptions, prepare_database
from tests.support.http import Caller, connection
from tests.support.lambdas import cold_functions, http_event, invoke, sqs_event
from tests.support.stripe_side import StripeSide, WebhookSender, event_of, signed
from tests.support.supabase_side import SupabaseSide
from tests.support.travellers import CONSENT, Traveller

NUMBERS = ("4242424242424242", "4000000000000341", "4000002500003155")
SETTINGS = tuple(group for group in settings.Settings.__subclasses__() if group.__module__ == settings.__name__)


@dataclass
class Emitted:
    """Everything that came out, by where it came from; and what must not be in it, by what it is."""

    texts: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    due: dict[str, set[str]] = field(default_factory=dict)
    """Answers that hand something out to whom it belongs: a client_secret to its cardholder."""

    def add(self, source: str, text: str) -> None:
        self.texts[source] = self.texts.get(source, "") + text + "\n"

    def leaks(self) -> list[str]:
        """Which secret is where, in plain, in base64, escaped as JSON or in a URL, or by a telling part of it."""
        return [
            f"{name} in {source}"
            for source, text in self.texts.items()
            for name, value in self.secrets.items()
            if name not in self.due.get(source, ())
            for form in forms(value)
            if form in text
        ]


def forms(value: str) -> set[str]:
    """How a value could stand in a text. Of a token its signature is enough, of a long secret its second half."""
    shapes = {value, json.dumps(value)[1:-1], urllib.parse.quote(value, safe="")}
    shapes.add(base64.b64encode(value.encode()).decode().rstrip("="))
    if value.count(".") == 2 and len(value) > 100:
        shapes.add(value.rpartition(".")[2])
    elif len(value) > 30:
        shapes.add(value[len(value) // 2 :])
    return shapes


@pytest.fixture(scope="module")
def noisy(_make_database: Callable[[], tuple[str, str]]) -> Iterator[LocalStack]:
    _, url = _make_database()
    prepare_database(url)
    with LocalStack.start(StackOptions(environment={"LOG_LEVEL": "DEBUG"}), database_url=url) as stack:
        yield stack


class Recorder:
    """An HTTP client that keeps every answer."""

    def __init__(self, stack: LocalStack, emitted: Emitted) -> None:
        self._emitted = emitted
        self.http = connection(stack.api_url)
        self.http.event_hooks = {"response": [self._keep]}

    def _keep(self, response: httpx.Response) -> None:
        response.read()
        hands_out = response.request.url.path.startswith("/setup-intent") and response.status_code == 201
        source = "answers of /setup-intent" if hands_out else "answers"
        self._emitted.add(source, f"{response.status_code} {response.headers} {response.text}")


@pytest.fixture(scope="module")
def emitted(noisy: LocalStack) -> Emitted:
    """All that came out of one long day."""
    found = Emitted(due={"answers of /setup-intent": {"publishable key"}})
    keys = noisy.keys
    found.secrets = {
        "Stripe's key": keys.stripe_secret,
        "project's secret key": keys.supabase_secret,
        "legacy JWT secret": keys.supabase_jwt_secret,
        **{f"webhook secret {place}": secret for place, secret in enumerate(keys.webhook_secrets)},
        **{f"signing secret {place}": secret for place, secret in enumerate(keys.signing_secrets)},
        **{name: value for name, value in noisy.environment.items() if name.startswith("SUPABASE_TOKEN_")},
        **{f"card {number}": number for number in NUMBERS},
    }
    recorder, side, data = Recorder(noisy, found), StripeSide(noisy), SupabaseSide(noisy)
    with (
        psycopg.connect(noisy.database_url, autocommit=True) as books,
        closing(side),
        closing(data),
        closing(recorder.http),
    ):
        machine = Caller(recorder.http, signing_secret=keys.signing_secrets[0])
        user = noisy.users.create("ada.lovelace.1815@example.com")
        found.secrets |= {"user's token": user.access_token, "e-mail": user.email, "password": user.password}
        traveller = Traveller(user, Caller(recorder.http, token=user.access_token), machine, side, books)
        live(traveller, WebhookSender(recorder.http, keys.webhook_secrets), found)
        with pytest.MonkeyPatch.context() as patch:
            suffer(traveller, side, data, noisy, found, patch)
    for path in sorted((noisy.state / "log").glob("*.log")):
        found.add(f"log of {path.stem}", path.read_text("utf-8", "replace"))
    return found


def live(traveller: Traveller, webhook: WebhookSender, found: Emitted) -> None:
    """What goes well, and what is refused."""
    setup = traveller.begin_setup()
    found.secrets["client_secret"] = setup["client_secret"]
    found.due["answers of /setup-intent"].add("client_secret")
    traveller.stripe.confirm_setup(setup["client_secret"], "pm_card_visa")
    traveller.api.get(f"/setup-intent/{setup['id']}")
    campaign = traveller.open_campaign()
    booking = traveller.book(campaign)
    traveller.feed.post(f"/bookings/{booking['id']}/refund", {"amount_minor": 100})
    card = traveller.save_card("pm_card_chargeCustomerFail")
    traveller.charge(traveller.open_campaign(payment_method_id=card["id"]), traveller.offer())
    asks = traveller.save_card("pm_card_authenticationRequired")
    traveller.charge(traveller.open_campaign(payment_method_id=asks["id"]), traveller.offer())
    event = event_of("payment_intent.succeeded", {"id": "pi_x", "object": "payment_intent"})
    body = json.dumps(event).encode()
    for header in ("", "t=1,v1=0", signed(body, "whsec_of_nobody"), signed(body, webhook.secrets[0], 1)):
        webhook.post(body, signature=header)
    webhook.send(event | {"data": {"object": {"id": "pi_x", "number": NUMBERS[0], "email": traveller.user.email}}})
    token = traveller.user.access_token
    for broken in (token[:-4], token + "x", token.swapcase(), f"{token}.{token}"):
        Caller(traveller.api.http, token=broken).get("/campaigns")
    anonymous = Caller(traveller.api.http)
    anonymous.request("GET", "/bookings", headers={"authorization": f"Basic {token}"})
    # A page that sends what it must never send: the request is refused, and what was in it is not said again.
    hostile: dict[str, Any] = {"card": {"number": NUMBERS[0]}, NUMBERS[1]: 1, "email": traveller.user.email}
    for path in ("/setup-intent", "/campaigns", "/charge-booking"):
        traveller.api.post(path, {**hostile, "terms_version": NUMBERS[2]})
        traveller.api.post(path, json.dumps(hostile)[:-2].encode())
    traveller.api.get("/campaigns", cursor=NUMBERS[0])
    traveller.feed.post("/offers", {"offers": [hostile]})


def suffer(
    traveller: Traveller,
    side: StripeSide,
    data: SupabaseSide,
    stack: LocalStack,
    found: Emitted,
    patch: pytest.MonkeyPatch,
) -> None:
    """Stripe away, the database away, and everything called in this process with its log listened to."""
    campaign = traveller.open_campaign()
    offers = [traveller.offer() for _ in range(2)]
    side.fault("drop_after", match="/v1/payment_intents$")
    traveller.charge(campaign, offers[0])
    side.fault("drop_before", match="/v1/setup_intents$")
    traveller.api.post("/setup-intent", CONSENT)
    side.calm()
    data.fault("/rest/v1/", "drop_connection", times=None)
    for path in ("/campaigns", "/bookings", "/payment-methods"):
        traveller.api.get(path)
    traveller.feed.post("/offers", {"offers": [offers[0] | {"id": "another"}]})
    data.calm()
    captured = _Captured()
    root, ours = logging.getLogger(), logging.getLogger("autobook")
    loud = [root, ours, logging.getLogger("httpx"), logging.getLogger("httpcore"), logging.getLogger("stripe")]
    for logger in loud:
        logger.addHandler(captured)
        patch.setattr(logger, "level", logging.DEBUG)
    user = {"authorization": f"Bearer {traveller.user.access_token}"}
    try:
        for changes in ({}, {"STRIPE_API_BASE": "http://127.0.0.1:9"}, {"SUPABASE_URL": "http://127.0.0.1:9"}):
            with cold_functions(stack, LOG_LEVEL="DEBUG", **changes):
                for path, body in (("/setup-intent", CONSENT), ("/campaigns", {}), ("/bookings", None)):
                    method = "GET" if body is None else "POST"
                    segment = path.strip("/").replace("-", "_")
                    event = http_event(method, path, body, **user)
                    answer = from_result(invoke(f"functions.{segment}.handler:handler", event))
                    named = "/setup-intent" if answer.status == 201 else "functions in this process"
                    found.add(f"answers of {named}", f"{answer.headers} {answer.body.decode()}")
                invoke("functions.charge_booking.handler:queue_handler", sqs_event({"card": NUMBERS[0]}, NUMBERS[1]))
                found.add("reprs", reprs(traveller))
                found.add("exceptions", exceptions(traveller))
    finally:
        for logger in loud:
            logger.removeHandler(captured)
    found.add("log of this process", "\n".join(captured.lines))


class _Captured(logging.Handler):
    """Every record as the plainest formatter would print it, its traceback included."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.getMessage()} {record.__dict__.get('fields')}")
        self.lines += [
            formatter.format(record) for logger in [logging.getLogger("autobook")] for formatter in formatters(logger)
        ]


def formatters(logger: logging.Logger) -> list[logging.Formatter]:
    """The formatters that the functions' own log goes through."""
    return [handler.formatter for handler in logger.handlers if handler.formatter is not None]


def reprs(traveller: Traveller) -> str:
    """What a debugger, or a careless log line, would show of everything that holds a secret."""
    holders: list[Any] = [
        settings.function_settings("webhook"),
        stripe_gateway.gateway(),
        database.as_function("webhook", "r"),
    ]
    others = (settings.FunctionSettings, settings.SupabaseSettings)
    holders += [settings.read(group) for group in SETTINGS if group not in others]
    token = traveller.user.access_token
    holders += [auth.User(traveller.user.id, None, auth.Token(token)), database.as_user(token, "r"), traveller.user.id]
    problem = Problem("invalid_token")
    shown = [f"{holder!r} {holder}" for holder in holders]
    shown += [
        f"{holder.model_dump()} {holder.model_dump_json()}"
        for holder in holders
        if isinstance(holder, settings.Settings)
    ]
    return "\n".join([*shown, f"{problem!r} {problem.document()}"])


def exceptions(traveller: Traveller) -> str:
    """What tracebacks of everything that can go wrong would print."""
    token = traveller.user.access_token
    begin = {"p_campaign_id": NUMBERS[0], "p_offer_id": "offer", "p_user_id": None}

    def wrong_settings() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("STRIPE_SECRET_KEY", NUMBERS[0])
            settings.StripeSettings.from_environment()

    tries: tuple[Callable[[], object], ...] = (
        lambda: database.as_user(token[:-3] + "xyz", "r").call("campaign_preflight", p_campaign_id=NUMBERS[0]),
        lambda: database.as_function("webhook", "r").call("begin_charge", **begin),
        lambda: stripe_gateway.gateway().retrieve_setup_intent(f"seti_{NUMBERS[0]}"),
        lambda: verify(
            "t=1,v1=0", NUMBERS[0].encode(), settings.read(settings.MachineSettings).autobook_signing_secrets
        ),
        wrong_settings,
    )
    shown = []
    for attempt in tries:
        with pytest.raises((Problem, SignatureInvalid, settings.SettingsError, stripe.StripeError)) as raised:
            attempt()
        shown.append(f"{raised.value} {raised.value!r} {getattr(raised.value, 'args', ())}")
        if raised.value.__cause__ is None:  # a cause is kept for debuggers; our log prints neither its text nor ours
            shown.append("".join(traceback.format_exception(raised.value)))
    return "\n".join(shown)


def test_nothing_secret_was_emitted(emitted: Emitted) -> None:
    assert emitted.leaks() == []


def test_enough_was_emitted_to_be_searched(emitted: Emitted) -> None:
    """Silence would be no proof: each part has spoken, of what it went through."""
    logs = emitted.texts["log of gateway"]
    for said in (
        *("answered with a problem", "Stripe answered with an error", "database_unavailable", "invalid_signature"),
        *("invalid_token", "payment_provider_unavailable", '"status": 201'),
    ):
        assert said in logs, said
    assert {"answers", "exceptions", "reprs", "log of this process", "log of queue", "log of stripe"} <= set(
        emitted.texts
    )
    assert "**********" in emitted.texts["reprs"]
    assert len(emitted.texts["answers"]) > 10_000
    assert len(emitted.secrets) > 20
    assert all(len(value) >= 12 for value in emitted.secrets.values())


@pytest.mark.parametrize("shape", ["plain", "base64", "quoted", "a signature alone", "in a traceback"])
def test_a_planted_secret_is_found(emitted: Emitted, shape: str) -> None:
    token, mail = emitted.secrets["user's token"], emitted.secrets["e-mail"]
    planted = {
        "plain": f'{{"message": "{mail}"}}',
        "base64": base64.b64encode(mail.encode()).decode(),
        "quoted": urllib.parse.quote(mail, safe=""),
        "a signature alone": token.rpartition(".")[2],
        "in a traceback": f"KeyError: '{emitted.secrets['card 4242424242424242']}'",
    }
    control = Emitted({"log of gateway": planted[shape]}, emitted.secrets)
    assert len(control.leaks()) == 1
