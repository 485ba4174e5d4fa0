"""Where a new secret goes without passing a screen or a log: a file of the caller's own, or AWS Secrets Manager.

`file:PATH`, or PATH alone: made with mode 0600, never written over.
`aws-sm:NAME[#KEY]`: the secret's value, or one key of its JSON. The new one goes before the one that is there, so that
the functions go on taking the old one while it is rotated.
"""

import json
import os
from contextlib import closing
from pathlib import Path
from typing import Any

from local.aws import client


class NoSuchPlace(Exception):
    """The secret cannot be put there; the message says why, and nothing of the secret."""


def check(place: str) -> None:
    """Raise NoSuchPlace if `put` could not write there, before there is a secret to lose."""
    if place.startswith("aws-sm:"):
        with closing(client("secretsmanager")) as manager:
            _current(manager, place)
        return
    path = _path(place)
    if path.exists():
        raise NoSuchPlace(f"{path} is there already; a secret is never written over another")
    if not os.access(path.parent, os.W_OK):
        raise NoSuchPlace(f"{path.parent} cannot be written")


def put(place: str, secret: str) -> str:
    """Put a secret there, before those that are there; gives where it is, in words. Raises NoSuchPlace."""
    if place.startswith("aws-sm:"):
        return _put_at_aws(place, secret)
    path = _path(place)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"{secret}\n")
    except OSError as error:
        raise NoSuchPlace(f"{path}: {error.strerror}") from None
    return f"in {path} (mode 0600)"


def _path(place: str) -> Path:
    return Path(place.removeprefix("file:")).expanduser()


def _put_at_aws(place: str, secret: str) -> str:
    with closing(client("secretsmanager")) as manager:
        _put(manager, place, secret)
    return f"in Secrets Manager, {place}"


def _put(manager: Any, place: str, secret: str) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    text, key = _current(manager, place), place.partition("#")[2]
    if key:
        document = json.loads(text) if text else {}
        document[key] = _in_front(secret, document.get(key))
        text = json.dumps(document)
    else:
        text = _in_front(secret, text)
    try:
        manager.put_secret_value(SecretId=_name(place), SecretString=text)
    except (ClientError, BotoCoreError) as error:
        raise NoSuchPlace(f"Secrets Manager did not take it ({type(error).__name__})") from None


def _in_front(secret: str, value: Any) -> str:
    kept = value.split(",") if isinstance(value, str) and value else []
    return ",".join([secret, *(part for part in kept[:1] if part != secret)])


def _name(place: str) -> str:
    return place.removeprefix("aws-sm:").partition("#")[0]


def _current(manager: Any, place: str) -> str:
    """What is there now, empty for a secret without a value."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        text = manager.get_secret_value(SecretId=_name(place)).get("SecretString") or ""
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code"))
        if code == "ResourceNotFoundException" and _is_described(manager, place):
            return ""
        raise NoSuchPlace(f"Secrets Manager answered {code} for {place}: create the secret first") from None
    except BotoCoreError as error:
        raise NoSuchPlace(f"Secrets Manager could not be asked ({type(error).__name__})") from None
    if "#" in place and text:
        try:
            document = json.loads(text)
        except ValueError:
            document = None
        if not isinstance(document, dict) or not isinstance(document.get(place.partition("#")[2], ""), str):
            raise NoSuchPlace(f"{place} names a key, but the secret there is no JSON object with a text under it")
    return str(text)


def _is_described(manager: Any, place: str) -> bool:
    """Whether the secret exists, although it has no value yet."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        manager.describe_secret(SecretId=_name(place))
    except (ClientError, BotoCoreError):
        return False
    return True
