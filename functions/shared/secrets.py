"""Secrets kept at AWS: settings may refer to them, so that a rotation is picked up without a deploy.

    aws-sm:<secret id>[#<key of its JSON>]     Secrets Manager
    aws-ssm:<parameter name>[#<key of its JSON>]     SSM Parameter Store, a SecureString

A reference is read when it is first used, and again once it is older than its time to live. While AWS cannot be reached
the value that is held goes on being good; when AWS answers that there is none any more, or none for us, it does not.
boto3 is imported by the first reference that is read: it would double the cold start of functions that have none. With
SnapStart it is imported at once, because a cold start is then a copy.
"""

import json
import logging
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from functions.shared.early import import_where_starts_are_copies
from functions.shared.logs import log

LIVE_SECONDS: Final = 300.0
"""How long a value is good unless AUTOBOOK_SECRETS_TTL_SECONDS says otherwise: so long a rotation takes to arrive."""
RETRY_PAUSE_SECONDS: Final = 30.0
"""A request must not wait for AWS's time-out each time while AWS is away."""
CONNECT_TIMEOUT_SECONDS: Final = 2
READ_TIMEOUT_SECONDS: Final = 3

_KINDS: Final = ("aws-sm:", "aws-ssm:")
_AWAY: Final = frozenset(
    {"InternalServerError", "InternalServiceError", "RequestTimeout", "ServiceUnavailable", "SlowDown"}
    | {"RequestLimitExceeded", "Throttling", "ThrottlingException", "ThrottledException", "TooManyRequestsException"}
)
"""They say nothing of the secret. All others do: not found, access denied, marked for deletion, undecryptable."""


class SecretUnavailable(RuntimeError):
    """A reference leads to no usable value. Names the kind of failure, never a value."""


class _AwsAway(Exception):
    """AWS did not say anything about the secret."""


@dataclass(frozen=True)
class _Kept:
    text: str
    read_at: float
    """By the monotonic clock, as everything here."""


def is_reference(value: str) -> bool:
    """Whether a setting's value refers to a secret instead of being one."""
    return value.startswith(_KINDS)


class Secrets:
    """Values of references, cached. Safe for threads: one reads, the others wait for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._clients: dict[str, Any] = {}
        self._kept: dict[str, _Kept] = {}
        self._tried_at: dict[str, float] = {}

    def value(self, reference: str) -> str:
        """What a reference stands for; a list of strings is given joined by commas. Raises SecretUnavailable."""
        source, _, key = reference.partition("#")
        with self._lock:
            text = self._text(source)
        return _picked(text, key) if key else text

    def forget(self) -> None:
        """Read everything anew, as after a cold start."""
        with self._lock:
            for client in self._clients.values():
                client.close()
            for kept in (self._clients, self._kept, self._tried_at):
                kept.clear()

    def _text(self, source: str) -> str:
        now = time.monotonic()
        kept = self._kept.get(source)
        if kept is not None:
            paused = now - self._tried_at[source] < min(RETRY_PAUSE_SECONDS, _live_seconds())
            if now - kept.read_at < _live_seconds() or paused:
                return kept.text
        self._tried_at[source] = now
        try:
            text = self._fetch(source)
        except _AwsAway as away:
            if kept is None:
                raise SecretUnavailable(f"AWS could not be asked ({away})") from None
            log(logging.ERROR, "a secret is older than it should be", error=str(away))
            return kept.text
        except SecretUnavailable:
            self._kept.pop(source, None)
            raise
        self._kept[source] = _Kept(text, now)
        return text

    def _fetch(self, source: str) -> str:
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, ParamValidationError

        kind, _, name = source.partition(":")
        try:
            if kind == "aws-sm":
                text = self._client("secretsmanager").get_secret_value(SecretId=name).get("SecretString")
            else:
                answer = self._client("ssm").get_parameter(Name=name, WithDecryption=True)
                text = answer["Parameter"].get("Value")
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code") or "unknown")
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            raise (_AwsAway if code in _AWAY or status >= 500 else SecretUnavailable)(code) from None
        except (NoCredentialsError, ParamValidationError) as error:
            raise SecretUnavailable(type(error).__name__) from None
        except BotoCoreError as error:
            raise _AwsAway(type(error).__name__) from None
        if not isinstance(text, str) or not text:
            raise SecretUnavailable("empty or binary")
        return text

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            import boto3
            from botocore.config import Config

            config = Config(
                connect_timeout=CONNECT_TIMEOUT_SECONDS,
                read_timeout=READ_TIMEOUT_SECONDS,
                retries={"total_max_attempts": 2},
            )
            self._clients[service] = boto3.client(service, config=config)  # type: ignore[call-overload]  # one of two names
        return self._clients[service]


def _live_seconds() -> float:
    """The time to live. Raises SecretUnavailable for one that is no number of seconds."""
    stated = os.environ.get("AUTOBOOK_SECRETS_TTL_SECONDS")
    if not stated:
        return LIVE_SECONDS
    try:
        seconds = float(stated)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 86400:
        raise SecretUnavailable("AUTOBOOK_SECRETS_TTL_SECONDS is not between 0 and 86400")
    return seconds


def _picked(text: str, key: str) -> str:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or key not in document:
        raise SecretUnavailable("the secret's JSON has no such key")
    value = document[key]
    if isinstance(value, list) and value and all(isinstance(item, str) and "," not in item for item in value):
        return ",".join(value)
    if not isinstance(value, str) or not value:
        raise SecretUnavailable("the key of the secret's JSON holds no text")
    return value


_secrets = Secrets()


def resolved(values: Mapping[str, str]) -> dict[str, str]:
    """Settings by name, references replaced by what they stand for now. Raises SecretUnavailable naming the setting."""
    found: dict[str, str] = {}
    for name, value in values.items():
        try:
            found[name] = _secrets.value(value) if is_reference(value) else value
        except SecretUnavailable as reason:
            raise SecretUnavailable(f"{name.upper()}: {reason}") from None
    return found


def forget() -> None:
    """Read every reference anew, as after a cold start."""
    _secrets.forget()


import_where_starts_are_copies("boto3", "botocore.config", "botocore.exceptions")
