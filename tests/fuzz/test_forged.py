"""Forged and damaged webhooks, tokens and machine signatures: nobody gets in, and nothing is looked up for them."""

import base64
import json
import random
import time
from typing import Any, Final
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from local.stack import LocalStack
from local.supabase.tokens import SigningKey
from tests.fuzz.conftest import People
from tests.fuzz.hostile import DATES, IDS, NUMBERS, RAW_BODIES, TEXTS
from tests.fuzz.target import JSON, Books, Target, bearer, operations, say, scaled
from tests.support.http import machine_signature
from tests.support.stripe_side import event_of, signed

WEBHOOKS: Final = 2_200
TOKENS: Final = 2_200
SIGNATURES: Final = 1_000
OVER_THE_DATABASE: Final = 250

Json = dict[str, Any]
KINDS = ("payment_intent.succeeded", "setup_intent.succeeded", "charge.refunded", "customer.deleted", "unknown.kind")


def damaged(text: str, chance: random.Random) -> str:
    """A text that is another one: a character changed, taken away, doubled or put in its place in another case."""
    place = chance.randrange(len(text))
    way = chance.randrange(4)
    if way == 0:
        return text[:place] + chance.choice("0aZ=,. é\x00") + text[place + 1 :]
    if way == 1:
        return text[:place] + text[place + 1 :]
    if way == 2:
        return text[:place] + text[place] + text[place:]
    return text[:place] + text[place:].swapcase()


def not_quite(mark: str, chance: random.Random) -> str:
    """A signature's hex digits one short, and damaged; doubling the last one may make it whole again by chance."""
    made = damaged(mark[:-1], chance)
    return made if made != mark else mark[:-1]


# --- webhooks -------------------------------------------------------------------------------------------------------


def forged_webhook(secret: str, chance: random.Random) -> tuple[bytes, list[tuple[str, str]]]:
    """Body and headers of an event that Stripe has not signed just now."""
    subject = {"id": f"pi_{uuid4().hex}", "object": "payment_intent", "amount": 1, "status": "succeeded"}
    body = json.dumps(event_of(chance.choice(KINDS), subject)).encode()
    now = int(time.time())
    good = signed(body, secret)
    mark = good.partition("v1=")[2]
    other = f"whsec_{chance.randrange(10**12)}"
    header = chance.choice(
        (
            signed(body, other),
            signed(body, ""),
            signed(body, secret[:-1]),
            signed(body, secret, now - chance.randrange(301, 10**9)),
            signed(body, secret, now + chance.randrange(301, 10**9)),
            f"t={now - 1},v1={mark}",
            f"t={now},v0={mark}",
            f"t={now},v1={'0' * 64}",
            f"t={now},v1={mark[:-1]}",
            f"t={now}, t={now - 5},v1={'f' * 64}",
            f"v1={mark}",
            f"t=,v1={mark}",
            f"t={chance.choice(NUMBERS)},v1={mark}",
            f"t={now},v1=" + ",v1=".join(f"{chance.getrandbits(256):064x}" for _ in range(50)),
            chance.choice(TEXTS).replace("\ud800", "").replace("\udfff", ""),
            "t=" + "9" * 400 + f",v1={mark}",
            "," * 5000,
        )
    )
    if chance.random() < 0.3:  # a good header for another body
        header = good
        body = chance.choice((*RAW_BODIES, body + b" ", body[:-1], body.replace(b'"amount": 1', b'"amount": 2')))
    elif chance.random() < 0.2:
        header = f"t={good[2:].partition(',')[0]},v1={damaged(mark, chance)}"
        if header.rpartition("v1=")[2].strip() == mark:
            header = ""
    pairs = [("stripe-signature", header)] if header else []
    if header and chance.random() < 0.1:
        pairs.append(("stripe-signature", signed(b"another", other)))
    return body, [("content-type", "application/json; charset=utf-8"), *pairs]


def test_forged_and_damaged_webhooks(fuzz_stack: LocalStack, nothing_behind: Target) -> None:
    chance, secret = random.Random(3), fuzz_stack.keys.webhook_secrets[0]
    for _ in range(scaled(WEBHOOKS)):
        body, headers = forged_webhook(secret, chance)
        nothing_behind.send("POST", "/webhook", body, headers)
    say(nothing_behind.report("forged webhooks"))
    nothing_behind.assert_sound()
    assert nothing_behind.statuses == {"400 invalid_signature": scaled(WEBHOOKS)}


def test_a_good_webhook_comes_through(fuzz_stack: LocalStack, nothing_behind: Target) -> None:
    """The control: were it not for its signature, a forged one would reach the database, which is away here."""
    body = json.dumps(event_of("customer.created", {"id": "cus_1", "object": "customer"})).encode()
    header = signed(body, fuzz_stack.keys.webhook_secrets[1])
    nothing_behind.send("POST", "/webhook", body, JSON | {"stripe-signature": header})
    assert nothing_behind.statuses == {"503 database_unavailable": 1}


# --- tokens ---------------------------------------------------------------------------------------------------------


class Forger:
    """Makes tokens that this project has not given to a signed-in user."""

    def __init__(self, stack: LocalStack, good: str) -> None:
        self.good = good
        self.claims: Json = jwt.decode(good, options={"verify_signature": False})
        self.header: Json = jwt.get_unverified_header(good)
        self.key = SigningKey.load_or_create(stack.state / "signing-key.json")
        self.other = ec.generate_private_key(ec.SECP256R1())
        self.public = stack.supabase.publishable_key

    def signed(self, claims: Json, *, key: Any = None, algorithm: str = "ES256", **header: Any) -> str:
        return jwt.encode(claims, key or self.key.private_key, algorithm, {"kid": self.key.key_id} | header)

    def assembled(self, header: Any, claims: Any, mark: bytes) -> str:
        parts = (json.dumps(header).encode(), json.dumps(claims).encode(), mark)
        return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)

    def token(self, chance: random.Random) -> str:
        """One of a dozen kinds."""
        kinds = (
            lambda chance: damaged_token(self.good, chance),
            lambda _: self.signed(self.claims, key=self.other),
            self._of_another_purpose,
            self._of_another_time,
            self._incomplete,
            self._by_what_everybody_knows,
            self._by_a_named_algorithm,
            self._by_a_named_key,
            self._with_odd_claims,
            self._bringing_its_own_key,
            self._no_token,
        )
        return chance.choice(kinds)(chance)

    def _of_another_purpose(self, chance: random.Random) -> str:
        changes: Json = chance.choice(
            (
                {"role": chance.choice(("anon", "service_role", "postgres", "autobook_webhook", "", 1, None))},
                {"aud": chance.choice(("anon", "", ["x"], None, 5))},
                {"iss": chance.choice(("https://evil.test/auth/v1", "", None, [], self.claims["iss"] + "/"))},
                {"sub": chance.choice((*TEXTS[:12], 1, None, [], "not-a-uuid"))},
            )
        )
        return self.assemble_signed(self.claims | changes)

    def _of_another_time(self, chance: random.Random) -> str:
        now = int(time.time())
        over, not_yet = {"exp": now - chance.randrange(11, 10**9)}, {"nbf": now + chance.randrange(60, 10**8)}
        return self.signed(self.claims | chance.choice((over, not_yet)))

    def _incomplete(self, chance: random.Random) -> str:
        missing = chance.choice(("exp", "sub", "aud", "iss", "role"))
        return self.signed({name: value for name, value in self.claims.items() if name != missing})

    def _by_what_everybody_knows(self, chance: random.Random) -> str:
        """Algorithm confusion: a public key, or a guess, as the secret of an HMAC."""
        secret = chance.choice((json.dumps(self.key.public_jwk()), self.public, "", "secret" * 8)).encode()
        return hmac_token(self.claims, secret, self.key.key_id)

    def _by_a_named_algorithm(self, chance: random.Random) -> str:
        name = chance.choice(("none", "None", "NONE", "nOnE", "", None, "HS256", "ES512", "RS256", 7, ["ES256"]))
        return self.assembled(self.header | {"alg": name}, self.claims, b"")

    def _by_a_named_key(self, chance: random.Random) -> str:
        kid: Any = chance.choice((*TEXTS[:14], *IDS[:8], None, 1, [], "../../dev/null", "' or 1=1 --"))
        return self.assembled(self.header | {"kid": kid}, self.claims, chance.randbytes(64))

    def _with_odd_claims(self, chance: random.Random) -> str:
        value: Any = chance.choice((*NUMBERS[:12], *DATES[:8], [], {}, "9" * 400))
        return self.assembled(self.header, self.claims | {"exp": value}, chance.randbytes(64))

    def _bringing_its_own_key(self, chance: random.Random) -> str:
        hostile = {"jwk": self.key.public_jwk(), "jku": "http://evil.test", "x5u": "file:///", "crit": ["b64"]}
        return self.assembled(self.header | hostile, self.claims, chance.choice((b"", b"\x00" * 64, b"\xff" * 64)))

    def _no_token(self, chance: random.Random) -> str:
        return chance.choice(
            ("a.b.c", "..", ".", "a", self.good.replace(".", ".."), "x" * 8193, "é.é.é", "e30.e30.e30")
        )

    def assemble_signed(self, claims: Json) -> str:
        """Signed by hand: PyJWT refuses to sign an issuer that is no text."""
        signing_input = self.assembled(self.header, claims, b"").rstrip(".").encode()
        mark = jwt.get_algorithm_by_name("ES256").sign(signing_input, self.key.private_key)
        return f"{signing_input.decode()}.{base64.urlsafe_b64encode(mark).decode().rstrip('=')}"


def hmac_token(claims: Json, secret: bytes, key_id: str) -> str:
    """Signed as HS256 by hand: PyJWT refuses to sign with what looks like a public key."""
    header = {"alg": "HS256", "typ": "JWT", "kid": key_id}
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims)]
    mark = jwt.get_algorithm_by_name("HS256").sign(b".".join(parts), secret)
    return b".".join([*parts, base64.urlsafe_b64encode(mark).rstrip(b"=")]).decode()


def damaged_token(token: str, chance: random.Random) -> str:
    """Another token; the last character of a part may hold unused bits, so those stay."""
    head, body, mark = token.split(".")
    which = chance.randrange(3)
    parts = [head, body, mark]
    parts[which] = damaged(parts[which][:-2], chance) + parts[which][-2:]
    made = ".".join(parts)
    return made if made != token else token[:-10]


def test_forged_and_damaged_tokens(fuzz_stack: LocalStack, nothing_behind: Target) -> None:
    target, chance = nothing_behind, random.Random(5)
    good = fuzz_stack.users.create("forged@example.com").access_token
    forger = Forger(fuzz_stack, good)
    for_users = [operation for operation in operations() if operation.who in ("user", "either") and not operation.body]
    assert len(for_users) > 12
    for number in range(scaled(TOKENS)):
        operation = for_users[number % len(for_users)]
        path = operation.path.replace("{id}", str(uuid4()))
        before = target.statuses.copy()
        answer = target.send(operation.method, path, b"", bearer(forger.token(chance)))
        if answer.status != 401:
            target.faults.append(f"{operation.method} {path}: let in: {target.statuses - before}")
    say(target.report("forged tokens"))
    target.assert_sound()
    assert target.sent == scaled(TOKENS)
    assert set(target.statuses) == {"401 invalid_token", "401 token_expired"}
    # The control: with a good token the same request goes on to the database, which is away here.
    assert target.send("GET", "/campaigns", b"", bearer(good)).status == 503


# --- machines -------------------------------------------------------------------------------------------------------


def test_forged_and_damaged_machine_signatures(fuzz_stack: LocalStack, nothing_behind: Target) -> None:
    target, chance = nothing_behind, random.Random(9)
    secret = fuzz_stack.keys.signing_secrets[0]
    path = f"/bookings/{uuid4()}/capture"
    for _ in range(scaled(SIGNATURES)):
        now, body = int(time.time()), b'{"amount_minor": 1}'
        good = machine_signature(body, secret, now)
        mark = good.partition("v1=")[2]
        header = chance.choice(
            (
                machine_signature(body, secret + "x", now),
                machine_signature(body, "", now),
                machine_signature(body + b" ", secret, now),
                machine_signature(body, secret, now - chance.randrange(302, 10**9)),
                machine_signature(body, secret, now + chance.randrange(302, 10**9)),
                f"t={now + 1},v1={mark}",
                f"t={now},t={now},v1={mark}",
                f"v1={mark}",
                f"t={now}",
                f"t={now},v1={mark.upper()}X",
                f"t={now},v1=" + not_quite(mark, chance),
                "t=\u0661,v1=" + mark,
                ",".join(f"v1={chance.getrandbits(256):064x}" for _ in range(30)),
                chance.choice(TEXTS[7:]),
            )
        )
        target.send("POST", path, body, JSON | {"autobook-signature": header})
    say(target.report("forged machine signatures"))
    target.assert_sound()
    assert target.statuses == {"401 machine_signature_invalid": scaled(SIGNATURES)}
    body = b'{"amount_minor": 1}'
    control = JSON | {"autobook-signature": machine_signature(body, secret)}
    assert target.send("POST", path, body, control).status == 503


# --- over the database ----------------------------------------------------------------------------------------------


def test_forgeries_leave_the_tables_as_they_were(
    fuzz_stack: LocalStack, people: People, whole: Target, table_state: Books
) -> None:
    """The same over the real database and for ids that exist: not a row is written."""
    chance = random.Random(13)
    forger = Forger(fuzz_stack, people.owner.user.access_token)
    before = table_state.state()
    for number in range(scaled(OVER_THE_DATABASE)):
        body, headers = forged_webhook(people.webhook_secret, chance)
        whole.send("POST", "/webhook", body, headers)
        operation = operations()[number % len(operations())]
        identifier = (people.ids.get(operation.path.split("/")[1]) or ["x"])[0]
        path = operation.path.replace("{id}", identifier)
        if operation.path != "/webhook":
            whole.send(operation.method, path, b"", bearer(forger.token(chance)))
    say(whole.report("forgeries over the database"))
    whole.assert_sound()
    assert table_state.state() == before
    assert not [status for status in whole.statuses if not status.startswith("4")]


def test_the_share_of_forgeries() -> None:
    assert WEBHOOKS + TOKENS + SIGNATURES + 2 * OVER_THE_DATABASE >= 5_000
