"""From raw bytes to an event, with headers made by Stripe's SDK and by hand; the way over HTTP is in
test_verification.py."""

import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from functions.shared.stripe_sdk import stripe
from functions.webhook.verification import TOLERANCE_SECONDS, SignatureInvalid, verified_event

NOW = 1_800_000_000
OLD, NEW, OTHER = "whsec_the_old_one", "whsec_the_new_one", "whsec_of_another_endpoint"
SECRETS = [SecretStr(NEW), SecretStr(OLD)]
EVENT: dict[str, Any] = {
    "id": "evt_1",
    "object": "event",
    "type": "payment_intent.succeeded",
    "api_version": "2026-10-28.endive",
    "livemode": False,
    "created": NOW,
    "data": {"object": {"id": "pi_1", "object": "payment_intent", "description": "Zürich ✈"}},
    "request": {"id": None, "idempotency_key": "attempt:1"},
}
BODY = json.dumps(EVENT, indent=2).encode()


def header(body: bytes = BODY, secret: str = NEW, timestamp: int = NOW) -> str:
    digest = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={digest}"


def refused(body: bytes, given_header: str | None, why: str | None = None, now: float = NOW) -> None:
    with pytest.raises(SignatureInvalid, match=why) as raised:
        verified_event(body, given_header, SECRETS, now)
    shown = f"{raised.value} {raised.value!r} {raised.value.__cause__!r}"
    assert not [secret for secret in (OLD, NEW) if secret in shown]


def test_an_event_is_read_as_stripe_sent_it() -> None:
    event = verified_event(BODY, header(), SECRETS, NOW)
    assert (event.id, event.type, event.api_version, event.livemode, event.created) == (
        "evt_1",
        "payment_intent.succeeded",
        "2026-10-28.endive",
        False,
        NOW,
    )
    assert event.data.object == EVENT["data"]["object"]


def test_the_sdk_s_own_signature_is_accepted() -> None:
    made = stripe.WebhookSignature.generate_signature_header(BODY.decode(), OLD, NOW)
    assert verified_event(BODY, made, SECRETS, NOW).id == "evt_1"


@pytest.mark.parametrize("secret", [OLD, NEW])
def test_every_secret_is_accepted_while_they_are_rotated(secret: str) -> None:
    assert verified_event(BODY, header(secret=secret), SECRETS, NOW).id == "evt_1"


def test_stripe_signs_with_both_secrets_while_it_rotates_them() -> None:
    both = f"{header(secret=OTHER)},{header(secret=OLD).partition(',')[2]},v0=abc"
    assert verified_event(BODY, both, SECRETS, NOW).id == "evt_1"


@pytest.mark.parametrize("age_seconds", [-TOLERANCE_SECONDS, 0, TOLERANCE_SECONDS])
def test_five_minutes_to_either_side_are_accepted(age_seconds: int) -> None:
    assert verified_event(BODY, header(timestamp=NOW - age_seconds), SECRETS, NOW).id == "evt_1"


@pytest.mark.parametrize("age_seconds", [TOLERANCE_SECONDS + 1, -TOLERANCE_SECONDS - 1, 86_400, -86_400, NOW])
def test_stale_and_future_are_refused(age_seconds: int) -> None:
    """The SDK by itself accepts any timestamp from the future."""
    refused(BODY, header(timestamp=NOW - age_seconds), "tolerance")


def test_without_a_given_time_it_is_the_clock_s() -> None:
    with pytest.raises(SignatureInvalid, match="tolerance"):
        verified_event(BODY, header(timestamp=1_000_000_000), SECRETS)


def test_forged_and_tampered_are_refused() -> None:
    refused(BODY, header(secret=OTHER), "no secret fits")
    refused(BODY, header(secret=""), "no secret fits")
    refused(BODY.replace(b"pi_1", b"pi_2"), header(), "no secret fits")
    refused(BODY, f"t={NOW + 1},{header().partition(',')[2]}", "no secret fits")


def test_a_body_that_was_written_anew_is_refused() -> None:
    for rewritten in (
        json.dumps(EVENT).encode(),
        BODY + b"\n",
        json.dumps(EVENT, indent=2, ensure_ascii=False).encode(),
    ):
        assert json.loads(rewritten) == EVENT
        refused(rewritten, header(), "no secret fits")


@given(place=st.integers(0, len(BODY) - 1), bit=st.integers(0, 6))
def test_one_flipped_bit_is_noticed(place: int, bit: int) -> None:
    changed = bytearray(BODY)
    changed[place] ^= 1 << bit
    refused(bytes(changed), header(), "no secret fits")


MARK = header().partition("v1=")[2]


@pytest.mark.parametrize(
    "given_header",
    [
        None,
        "",
        "t",
        "t=,v1=",
        f"t={NOW}",
        f"t={NOW},",
        f"v1={MARK}",
        f"v1={MARK},t={NOW}",
        f"t={NOW - 10_000},t={NOW},v1={MARK}",
        f"t={NOW},t={NOW - 10_000},v1={MARK[:-1]}x",
        f"t= {NOW},v1={MARK}",
        f"t=-{NOW},v1={MARK}",
        f"t={NOW}.5,v1={MARK}",
        f"t={NOW}000,v1={MARK}",
        f"t=١٨٠٠٠٠٠٠٠٠,v1={MARK}x",
        f"t={NOW},v1={MARK.upper()}",
        f"t={NOW},v0={MARK}",
        f"t={NOW},v1=é{MARK[1:]}",
        f"t={NOW},v1",
        f"t={NOW};v1={MARK}",
        f"t={NOW}," + "v1=00," * 20_000,
    ],
)
def test_a_malformed_header_is_refused(given_header: str | None) -> None:
    refused(BODY, given_header)


@given(st.text(max_size=200) | st.from_regex(rf"t={NOW},(v1=[0-9a-z]{{0,70}},?){{0,3}}", fullmatch=True))
def test_no_header_does_anything_but_be_refused(given_header: str) -> None:
    refused(BODY, given_header)


NO_EVENTS = {
    "empty": b"",
    "no JSON": b"{",
    "a list": b"[]",
    "null": b"null",
    "no fields": b"{}",
    "another id": json.dumps(EVENT | {"id": "ch_1"}).encode(),
    "no id": json.dumps(EVENT | {"id": None}).encode(),
    "no type": json.dumps(EVENT | {"type": 5}).encode(),
    "no data": json.dumps(EVENT | {"data": {}}).encode(),
    "data of another type": json.dumps(EVENT | {"data": {"object": [1]}}).encode(),
    "no livemode": json.dumps({key: value for key, value in EVENT.items() if key != "livemode"}).encode(),
    "nested without end": b'{"id": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "an endless number": b'{"created": ' + b"9" * 10_000 + b"}",
}


@pytest.mark.parametrize("body", NO_EVENTS.values(), ids=NO_EVENTS)
def test_what_is_signed_and_no_event_is_refused(body: bytes) -> None:
    refused(body, header(body), "not an event")


def test_bytes_that_are_no_text_are_refused() -> None:
    refused(b"\xff\xfe", header(b"\xff\xfe"), "not text")


def test_an_event_of_another_shape_than_we_know_is_still_one() -> None:
    """Stripe adds fields at any time; what we do not read does not matter."""
    body = json.dumps(EVENT | {"new_field": {"x": 1}, "api_version": None, "account": "acct_1"}).encode()
    assert verified_event(body, header(body), SECRETS, NOW).api_version is None
