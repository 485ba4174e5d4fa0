"""Settings from the environment: typed, read on first use, refused when a secret is missing or empty.

Each function reads only the groups that it needs, so its Lambda needs only those variables. A secret has no default
and no repr (`SecretStr`). A value may refer to a secret at AWS (functions/shared/secrets.py); a group with such values
is made anew when one of them has changed.
"""

import os
import threading
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, Self, TypeVar, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from functions.shared import secrets

_Group = TypeVar("_Group", bound="Settings")


class SettingsError(RuntimeError):
    """The environment is not fit to run with. Names the variables, never their values."""


def _split(value: Any) -> Any:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


_Url = Annotated[str, Field(pattern=r"^https?://[^\s]+[^/\s]$")]
Secret = Annotated[SecretStr, Field(min_length=8)]
SecretList = Annotated[list[Secret], Field(min_length=1), BeforeValidator(_split)]


class Settings(BaseModel):
    """A group of settings; field names are the variables' names in lower case."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    @classmethod
    def from_environment(cls, **given: str) -> Self:
        """Read and check the group. Raises SettingsError naming each missing or malformed variable."""
        return cls.made_of(_resolved(cls.stated(given)))

    @classmethod
    def stated(cls, given: dict[str, str]) -> dict[str, str]:
        """What the environment says of each field, references as they are."""
        return {name: os.environ[name.upper()] for name in cls.model_fields if name.upper() in os.environ} | given

    @classmethod
    def made_of(cls, values: dict[str, str]) -> Self:
        """The group of these values. Raises SettingsError."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            faults = ", ".join(
                f"{'.'.join(str(part) for part in fault['loc']).upper()} ({fault['type']})" for fault in error.errors()
            )
            raise SettingsError(f"the environment lacks or garbles: {faults}") from None


class SupabaseSettings(Settings):
    """Where the data is, and the key of the project's owner: for operators' commands, not for functions."""

    supabase_url: _Url
    supabase_secret_key: Secret


class FunctionSettings(Settings):
    """Where the data is, with a token for the role of one function. Made by `function_settings`."""

    supabase_url: _Url
    supabase_publishable_key: str = Field(min_length=8)
    supabase_function_token: Secret


def function_settings(function: str) -> FunctionSettings:
    """The database access of a function, whose token is in SUPABASE_TOKEN_<FUNCTION>. Raises SettingsError.

    The variable carries the function's name because the local stack runs all functions in one process.
    """
    name = f"SUPABASE_TOKEN_{function.upper()}"
    if not os.environ.get(name):
        raise SettingsError(f"the environment lacks or garbles: {name} (missing)")
    try:
        return cast("FunctionSettings", _read(FunctionSettings, name)())
    except SettingsError as error:
        # The field is the same for all functions; whoever mends it looks for the variable.
        raise SettingsError(str(error).replace("SUPABASE_FUNCTION_TOKEN", name)) from None


class UserSettings(Settings):
    """How users' tokens are verified and passed on."""

    supabase_url: _Url
    supabase_publishable_key: str = Field(min_length=8)
    supabase_jwt_issuer: str | None = None
    supabase_jwt_secret: Secret | None = None
    """Only for projects that still sign with the legacy HS256 secret; without it HS256 is refused."""

    @property
    def issuer(self) -> str:
        """The `iss` that tokens must carry."""
        return self.supabase_jwt_issuer or f"{self.supabase_url}/auth/v1"


class StripeSettings(Settings):
    """How Stripe is called."""

    stripe_secret_key: Secret
    stripe_publishable_key: str | None = None
    """Read only to be compared: a card saved with one mode's key is unknown to the other's."""
    stripe_api_base: _Url = "https://api.stripe.com"
    stripe_timeout_seconds: float = Field(default=12.0, gt=0, le=25)
    """Stripe's slowest honest answers (a bank that thinks) take some ten seconds; two calls fit into a Lambda's 29."""

    @field_validator("stripe_secret_key")
    @classmethod
    def _names_its_mode(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().startswith(("sk_test_", "sk_live_", "rk_test_", "rk_live_")):
            raise PydanticCustomError("no_stripe_secret_key", "is no secret or restricted key of Stripe")
        return value

    @field_validator("stripe_publishable_key")
    @classmethod
    def _of_the_same_mode(cls, value: str | None, info: ValidationInfo) -> str | None:
        secret_key = info.data.get("stripe_secret_key")
        if value and secret_key and value.split("_")[1:2] != secret_key.get_secret_value().split("_")[1:2]:
            raise PydanticCustomError("live_and_test_keys_mixed", "is not of the mode of STRIPE_SECRET_KEY")
        return value

    @property
    def livemode(self) -> bool:
        """Whether the key is one for real money."""
        return self.stripe_secret_key.get_secret_value().split("_")[1:2] == ["live"]


class PublishableSettings(Settings):
    """What a page needs to talk to Stripe itself; no secret."""

    stripe_publishable_key: str = Field(pattern=r"^pk_(test|live)_\w+$")


class WebhookSettings(Settings):
    """Secrets of the webhook endpoint, newest first; several while they are rotated."""

    stripe_webhook_secrets: SecretList


class MachineSettings(Settings):
    """Secrets with which the offer feed and fulfilment sign; several while they are rotated."""

    autobook_signing_secrets: SecretList


class QueueSettings(Settings):
    """The queue between offers and charges."""

    charge_queue_url: _Url


def _resolved(values: dict[str, str]) -> dict[str, str]:
    try:
        return secrets.resolved(values)
    except secrets.SecretUnavailable as reason:
        raise SettingsError(f"the environment refers to a secret that cannot be had: {reason}") from None


class _Following:
    """A group that is made anew when what its references stand for has changed. Safe for threads."""

    def __init__(self, make: Callable[[dict[str, str]], Settings], stated: dict[str, str]) -> None:
        self._make = make
        self._stated = stated
        self._lock = threading.Lock()
        self._values: dict[str, str] = {}
        self._settings: Settings | None = None

    def __call__(self) -> Settings:
        values = _resolved(self._stated)
        with self._lock:
            if self._settings is None or values != self._values:
                self._settings = self._make(values)
                self._values = values
            return self._settings


@cache
def _read(group: type[Settings], token_variable: str | None = None) -> Callable[[], Settings]:
    given = {"supabase_function_token": os.environ[token_variable]} if token_variable else {}
    stated = group.stated(given)
    if any(secrets.is_reference(value) for value in stated.values()):
        return _Following(group.made_of, stated)
    settings = group.made_of(stated)
    return lambda: settings


def read(group: type[_Group]) -> _Group:
    """The settings of a group: one object until what a reference stands for has changed. Raises SettingsError."""
    return cast("_Group", _read(group)())
