"""A key that is missing is refused, never replaced by an empty one."""

from pathlib import Path

import jwt
import pytest

from local import function_tokens
from local.supabase.tokens import SigningKey

URL = "https://project.supabase.co"


@pytest.fixture(autouse=True)
def _nothing_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*map(function_tokens.variable_of, function_tokens.FUNCTIONS), "SUPABASE_JWT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("SUPABASE_SIGNING_KEY", raising=False)


def test_a_signing_key_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SUPABASE_SIGNING_KEY", str(tmp_path / "missing.json"))
    with pytest.raises(ValueError, match="not there"):
        function_tokens.from_environment(URL)
    assert not (tmp_path / "missing.json").exists()


def test_nothing_to_sign_with_gives_nothing() -> None:
    assert function_tokens.from_environment(URL) is None


def test_tokens_are_signed_by_the_key_and_name_their_role(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "key.json"
    key = SigningKey.load_or_create(file)
    monkeypatch.setenv("SUPABASE_SIGNING_KEY", str(file))
    tokens = function_tokens.from_environment(URL)
    assert tokens is not None
    roles = {jwt.decode(token, key.private_key.public_key(), algorithms=["ES256"])["role"] for token in tokens.values()}
    assert roles == {function_tokens.role_of(name) for name in function_tokens.FUNCTIONS}


def test_tokens_that_are_given_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {function_tokens.variable_of(name): f"token-of-{name}" for name in function_tokens.FUNCTIONS}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert function_tokens.from_environment(URL) == given
