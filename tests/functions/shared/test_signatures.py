"""Machines' signatures, against signatures made without our own code."""

import hashlib
import hmac
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from functions.shared import auth, signatures
from functions.shared.clock import Deadline
from functions.shared.problems import Problem
from functions.shared.signatures import TOLERANCE_SECONDS, SignatureInvalid
from functions.shared.web import Call, NoQuery
from tests.functions.shared.conftest import SetEnvironment

NOW = 1_800_000_000
OLD, NEW, OTHER = "autobook_old_secret", "autobook_new_secret", "somebody_elses_secret"
SECRETS = [SecretStr(NEW), SecretStr(OLD)]
BODY = b'{"offers": [{"id": "o-1", "amount_minor": 12000}]}'


def header(body: bytes = BODY, secret: str = NEW, timestamp: int = NOW) -> str:
    """As the contract words it: t=<unix>,v1=<hex hmac-sha256 of "t.rawbody">."""
    digest = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={digest}"


def verify(given_header: str | None, body: bytes = BODY, now: float = NOW) -> None:
    signatures.verify(given_header, body, SECRETS, now)


def test_sign_makes_what_the_contract_says() -> None:
    assert signatures.sign(BODY, NEW, NOW) == header()
    assert signatures.sign(b"\x00\xff", "schl\u00fcssel", 1) == header(b"\x00\xff", "schl\u00fcssel", 1)


@pytest.mark.parametrize("secret", [OLD, NEW])
@pytest.mark.parametrize("body", [BODY, b"", b"\x00\xff\xfe", b"x" * 200_000], ids=["json", "empty", "bytes", "long"])
def test_every_secret_is_accepted_while_they_are_rotated(secret: str, body: bytes) -> None:
    verify(header(body, secret), body)


def test_a_sender_may_sign_with_both_secrets_at_once() -> None:
    both = f"{header(secret=OTHER)},{header(secret=OLD).partition(',')[2]}"
    verify(both)


@pytest.mark.parametrize("age_seconds", [-TOLERANCE_SECONDS, -1, 0, 1, TOLERANCE_SECONDS])
def test_five_minutes_to_either_side_are_accepted(age_seconds: int) -> None:
    verify(header(timestamp=NOW - age_seconds))


@pytest.mark.parametrize("age_seconds", [TOLERANCE_SECONDS + 1, -TOLERANCE_SECONDS - 1, 86_400, -86_400, NOW])
def test_stale_and_future_are_refused(age_seconds: int) -> None:
    with pytest.raises(SignatureInvalid, match="tolerance"):
        verify(header(timestamp=NOW - age_seconds))


def test_without_a_given_time_it_is_the_clock_s() -> None:
    with pytest.raises(SignatureInvalid, match="tolerance"):
        signatures.verify(header(timestamp=1_000_000_000), BODY, SECRETS)


def test_a_stranger_s_signature_is_refused() -> None:
    with pytest.raises(SignatureInvalid, match="no secret fits"):
        verify(header(secret=OTHER))


def test_another_timestamp_than_the_signed_one_is_refused() -> None:
    digest = header().partition(",")[2]
    with pytest.raises(SignatureInvalid, match="no secret fits"):
        verify(f"t={NOW + 1},{digest}")


def test_a_body_that_was_written_anew_is_refused() -> None:
    for rewritten in (json.dumps(json.loads(BODY), separators=(",", ":")).encode(), BODY + b"\n"):
        assert json.loads(rewritten) == json.loads(BODY)
        with pytest.raises(SignatureInvalid, match="no secret fits"):
            verify(header(), rewritten)


@given(place=st.integers(0, len(BODY) - 1), bit=st.integers(0, 7))
def test_one_flipped_bit_is_noticed(place: int, bit: int) -> None:
    changed = bytearray(BODY)
    changed[place] ^= 1 << bit
    with pytest.raises(SignatureInvalid, match="no secret fits"):
        verify(header(), bytes(changed))


DIGEST = header().partition("v1=")[2]


@pytest.mark.parametrize(
    "given_header",
    [
        None,
        "",
        ",",
        f"t={NOW}",
        f"v1={DIGEST}",
        f"t={NOW},t={NOW},v1={DIGEST}",
        f"t={NOW}.0,v1={DIGEST}",
        f"t=-{NOW},v1={DIGEST}",
        f"t={NOW:x}a,v1={DIGEST}",
        f"t=٣,v1={DIGEST}",
        "t=" + "9" * 13 + f",v1={DIGEST}",
        f"t={NOW},v1=",
        f"t={NOW},v1={DIGEST.upper()}",
        f"t={NOW},v1={DIGEST}0",
        f"t={NOW},v1={DIGEST[:-1]}",
        f"t={NOW},v0={DIGEST}",
        f"t={NOW},v1=é{DIGEST[1:]}",
        f"t={NOW};v1={DIGEST}",
        f"{NOW},{DIGEST}",
        f"t={NOW}," + ",".join(["v1=00"] * 400) + f",v1={DIGEST}",
    ],
)
def test_a_malformed_header_is_refused(given_header: str | None) -> None:
    with pytest.raises(SignatureInvalid):
        verify(given_header)


def test_only_a_few_digests_are_looked_at() -> None:
    """A header is at most 1000 characters, and five digests: nobody makes us compute without end."""
    verify(f"t={NOW}," + "v1=00," * 4 + f"v1={DIGEST}")
    with pytest.raises(SignatureInvalid, match="no secret fits"):
        verify(f"t={NOW}," + "v1=00," * 5 + f"v1={DIGEST}")


@given(st.text(max_size=1200) | st.from_regex(r"t=\d{0,14},v1=[0-9a-f]{0,80}", fullmatch=True))
def test_no_header_does_anything_but_be_refused(given_header: str) -> None:
    with pytest.raises(SignatureInvalid) as refused:
        verify(given_header)
    assert OLD not in str(refused.value)
    assert NEW not in str(refused.value)


def test_spaces_after_the_comma_and_unknown_schemes_do_no_harm() -> None:
    verify(f"t={NOW}, v0=abc, v1={DIGEST}")


def call(**headers: str) -> Call[None, NoQuery]:
    given_headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return Call(lambda: None, NoQuery(), BODY, given_headers, {}, "request", Deadline.after(1))


def test_a_machine_is_let_in_by_its_signature_only(environment: SetEnvironment) -> None:
    environment(AUTOBOOK_SIGNING_SECRETS=f"{NEW}, {OLD}")
    now = int(time.time())
    auth.machine(call(autobook_signature=header(secret=OLD, timestamp=now)))
    assert auth.user_or_machine(call(autobook_signature=header(timestamp=now))) is None
    for refused in (call(), call(autobook_signature=header(secret=OTHER, timestamp=now))):
        with pytest.raises(Problem) as raised:
            auth.machine(refused)
        assert raised.value.code == "machine_signature_invalid"
        assert NEW not in raised.value.detail
    # Who claims to be a user is taken for one, whatever else is signed.
    with pytest.raises(Problem) as raised:
        auth.user_or_machine(call(authorization="Basic x", autobook_signature=header(timestamp=now)))
    assert raised.value.code == "invalid_token"
