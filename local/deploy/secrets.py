"""What each deployed function keeps in Secrets Manager, and writing it there: `make deploy-secrets STAGE=dev`.

One secret per function, `autobook/<stage>/<function>`, with just what serverless.yml makes it refer to: one call on its
first request reads all of it, and its role can read no other's. Two functions may hold different Stripe keys,
restricted to what each one does: STRIPE_SECRET_KEY_<FUNCTION> wins over STRIPE_SECRET_KEY.
"""

import json
import os
import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from botocore.exceptions import ClientError

from local import function_tokens
from local.deploy.functions import ROOT

SERVICE: Final = "autobook"
_REFERENCE: Final = re.compile(
    r"^ +([A-Z_]+): aws-sm:\$\{self:service\}/\$\{sls:stage\}/([a-z-]+)#([a-z_]+)$", re.MULTILINE
)

Secrets = dict[str, dict[str, str]]
"""Per function the keys of its secret with their values."""


class SecretsMissing(Exception):
    """The environment does not hold what the functions need; names the variables, never a value."""


@cache
def references() -> dict[str, dict[str, str]]:
    """Per function, by key of its secret, the variable that refers to it in serverless.yml."""
    found: dict[str, dict[str, str]] = {}
    for variable, function, key in _REFERENCE.findall((ROOT / "serverless.yml").read_text("utf-8")):
        found.setdefault(function, {})[key] = variable
    return found


def name_of(function: str, stage: str) -> str:
    """The name of a function's secret."""
    return f"{SERVICE}/{stage}/{function}"


def from_environment(environment: Mapping[str, str]) -> Secrets:
    """The secrets of all functions, from the variables of the README's table. Raises SecretsMissing."""
    made: Secrets = {}
    missing: set[str] = set()
    for function, keys in references().items():
        for key, variable in keys.items():
            own = f"{variable}_{function.upper().replace('-', '_')}"
            value = environment.get(own) or environment.get(variable)
            if value:
                made.setdefault(function, {})[key] = value
            else:
                missing.add(variable)
    if missing:
        raise SecretsMissing(f"the environment lacks {', '.join(sorted(missing))}")
    return made


def with_minted_tokens(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment with the functions' database tokens, minted if it holds the key to sign them with instead."""
    url = environment.get("SUPABASE_URL", "").rstrip("/")
    tokens = function_tokens.from_environment(url) if url else None
    return {**environment, **(tokens or {})}


def put(client: Any, stage: str, secrets: Secrets) -> list[str]:
    """Create the secrets or give them new values; returns the names of those that changed."""
    changed = []
    for function, values in secrets.items():
        name, text = name_of(function, stage), json.dumps(values, sort_keys=True)
        try:
            if client.get_secret_value(SecretId=name)["SecretString"] == text:
                continue
            client.put_secret_value(SecretId=name, SecretString=text)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise
            client.create_secret(Name=name, SecretString=text, Description=f"What the Lambda function {function} holds")
        changed.append(name)
    return changed


def missing_at_aws(client: Any, stage: str) -> list[str]:
    """What the functions would not find: names of secrets, or of keys of them as name#key."""
    missing = []
    for function, keys in references().items():
        name = name_of(function, stage)
        try:
            held = json.loads(client.get_secret_value(SecretId=name)["SecretString"])
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise
            missing.append(name)
        else:
            missing += [f"{name}#{key}" for key in keys if not held.get(key)]
    return missing


def environment_of_process() -> dict[str, str]:
    """The variables of this process."""
    return dict(os.environ)
