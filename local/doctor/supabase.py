"""Does the project answer, sign tokens as the functions verify them, and take each function's own token?"""

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import jwt

from local.doctor.finding import Finding, fail, ok, unknown, warn
from local.doctor.patient import Patient
from local.doctor.stripe import clock
from local.function_tokens import FUNCTIONS, role_of, variable_of

_PROBE = "/rest/v1/rpc/autobook_doctor_asks_for_nothing"
EXPIRES_SOON_SECONDS = 30 * 24 * 3600
MINT = "autobook function-tokens, then store the new one"


def project_answers(patient: Patient) -> Iterator[Finding]:
    """The project is there, takes the publishable key, and our clocks agree."""
    if not patient.supabase_url:
        yield unknown("supabase.project", "SUPABASE_URL is not set", "see settings.users")
        return
    asked_at = time.time()
    key = patient.get("SUPABASE_PUBLISHABLE_KEY")
    try:
        # As anon, who may do nothing: what matters is whether the key is known before the name is looked for.
        answer = patient.http.post(f"{patient.supabase_url}{_PROBE}", json={}, headers={"apikey": key})
    except httpx.HTTPError as error:
        yield fail(
            "supabase.project",
            f"{patient.supabase_url} could not be reached ({type(error).__name__})",
            "correct SUPABASE_URL, or restore the project: a free one is paused after a week without use",
        )
        return
    yield from clock("clock.supabase", answer, asked_at)
    if answer.status_code == 401:
        yield fail(
            "supabase.project",
            "the project does not know SUPABASE_PUBLISHABLE_KEY",
            "take the key from the settings of this project, API keys: it may be another project's",
        )
    elif answer.status_code >= 500:
        yield fail(
            "supabase.project",
            f"the project answered {answer.status_code}",
            "look at https://status.supabase.com and at the project's dashboard",
        )
    else:
        yield ok("supabase.project", "answers, and takes the publishable key")


def keys_can_be_read(patient: Patient) -> Iterator[Finding]:
    """The key set that users' tokens are verified with, at the issuer that they must carry."""
    if not patient.supabase_url:
        return
    issuer = patient.get("SUPABASE_JWT_ISSUER") or f"{patient.supabase_url}/auth/v1"
    if urlsplit(issuer).netloc != urlsplit(patient.supabase_url).netloc or not issuer.endswith("/auth/v1"):
        yield warn(
            "supabase.issuer",
            f"tokens must be issued by {issuer}, which is not {patient.supabase_url}/auth/v1",
            "unset SUPABASE_JWT_ISSUER unless the project has a custom domain that signs under another name",
        )
    else:
        yield ok("supabase.issuer", issuer)
    url = f"{issuer}/.well-known/jwks.json"
    try:
        answer = patient.http.get(url)
        keys: list[dict[str, Any]] = answer.json()["keys"]
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        yield fail(
            "supabase.jwks",
            f"{url} could not be read ({type(error).__name__}): nobody could sign in",
            "correct SUPABASE_JWT_ISSUER or SUPABASE_URL",
        )
        return
    usable = sorted({str(key.get("alg")) for key in keys if key.get("alg") in ("ES256", "RS256")})
    if usable:
        yield ok("supabase.jwks", f"{len(keys)} key(s), {', '.join(usable)}")
    elif patient.get("SUPABASE_JWT_SECRET"):
        yield warn(
            "supabase.jwks",
            "the project still signs with the legacy shared secret (HS256)",
            "migrate it to asymmetric keys (https://supabase.com/docs/guides/auth/signing-keys)",
        )
    else:
        yield fail(
            "supabase.jwks",
            "the project has no ES256 or RS256 key, and SUPABASE_JWT_SECRET is not set: every token would be refused",
            "migrate the project to asymmetric keys (https://supabase.com/docs/guides/auth/signing-keys), or set "
            "SUPABASE_JWT_SECRET",
        )
    if usable and patient.get("SUPABASE_JWT_SECRET"):
        yield warn(
            "supabase.legacy_secret",
            "SUPABASE_JWT_SECRET is set although the project signs with its own keys: HS256 tokens are accepted too",
            "unset SUPABASE_JWT_SECRET for the functions, and revoke the legacy secret once no token needs it",
        )


def tokens_are_good(patient: Patient) -> Iterator[Finding]:
    """Each function's token: of its role, unexpired, and taken by the project."""
    for name in FUNCTIONS:
        token = patient.get(variable_of(name))
        if token:
            yield _judged(patient, name, token)
        elif variable_of(name) not in patient.unresolved:
            yield fail(f"tokens.{name}", f"{variable_of(name)} is not set: {name} cannot reach its database", MINT)


def _judged(patient: Patient, name: str, token: str) -> Finding:
    """By what it says itself; if that is well, by what the project says."""
    check = f"tokens.{name}"
    try:
        claims = jwt.decode(token, options={"verify_signature": False, "verify_exp": False})
    except jwt.PyJWTError:
        return fail(check, f"{variable_of(name)} is no token", MINT)
    if claims.get("role") != role_of(name):
        return fail(check, f"{variable_of(name)} is for the role {claims.get('role')}, not {role_of(name)}", MINT)
    left = float(claims.get("exp", 0)) - time.time()
    if "exp" in claims and left <= 0:
        return fail(check, f"{variable_of(name)} has expired", MINT)
    return _asked(patient, check, name, token, left if "exp" in claims else None)


def _asked(patient: Patient, check: str, name: str, token: str, left: float | None) -> Finding:
    try:
        # PostgREST verifies the token before it looks for what is called, so a name that nothing has tells.
        answer = patient.http.post(
            f"{patient.supabase_url}{_PROBE}",
            json={},
            headers={"apikey": patient.get("SUPABASE_PUBLISHABLE_KEY"), "Authorization": f"Bearer {token}"},
        )
    except httpx.HTTPError as error:
        return unknown(check, f"the project could not be asked ({type(error).__name__})", "see supabase.project")
    if answer.status_code in (401, 403):
        return fail(
            check,
            f"the project refuses {variable_of(name)} ({answer.status_code}): signed with a key that it does not "
            "have, or for a role that it does not have",
            f"{MINT}; migrate first if policies.roles is not ok",
        )
    if left is not None and left < EXPIRES_SOON_SECONDS:
        return warn(check, f"{variable_of(name)} expires in {left / 86400:.0f} days", MINT)
    return ok(check, "good, and never expires" if left is None else f"good for {left / 86400:.0f} days")


CHECKS = (project_answers, keys_can_be_read, tokens_are_good)
