"""JSON objects from outside: bounded, and of what jsonb can hold; Postgres itself is asked."""

import json
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from functions.shared.json_objects import MOST_BYTES, MOST_DEPTH, JsonObject
from functions.shared.web import Body


class Holder(Body):
    """A body with such an object."""

    value: JsonObject


def accepted(value: Any) -> dict[str, Any]:
    return Holder.model_validate_json(json.dumps({"value": value})).value


def refusal(value: Any) -> str:
    with pytest.raises(ValidationError) as refused:
        accepted(value)
    return str(refused.value)


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"x": value}
    return value


@pytest.mark.parametrize(
    "value",
    [{}, {"a": None}, {"a": [1, 2.5, True, "é✈"], "b": {"c": []}}, {"": ""}, {"n": 10**30}, {"a\u2028": "\u007f"}],
)
def test_an_object_is_taken_as_it_is(value: dict[str, Any]) -> None:
    assert accepted(value) == value


@pytest.mark.parametrize("value", [[], "text", 1, 1.5, True, None, [{"a": 1}]])
def test_anything_but_an_object_is_refused(value: Any) -> None:
    assert "Input should be an object" in refusal(value)


def test_eight_levels_are_enough() -> None:
    assert accepted(nested(MOST_DEPTH)) == nested(MOST_DEPTH)
    assert "nested deeper" in refusal(nested(MOST_DEPTH + 1))
    assert "nested deeper" in refusal({"x": [[[[[[[[1]]]]]]]]})


def test_depth_is_refused_without_going_down_into_it() -> None:
    """Ten thousand levels must not end as an error of ours."""
    text = '{"value": ' + '{"x": ' * 10_000 + "1" + "}" * 10_001
    with pytest.raises(ValidationError):
        Holder.model_validate_json(text)


def test_eight_kibibytes_are_enough() -> None:
    frame = len(json.dumps({"x": ""}))
    assert accepted({"x": "a" * (MOST_BYTES - frame)})
    assert "more than 8192 bytes" in refusal({"x": "a" * (MOST_BYTES - frame + 1)})
    assert "more than 8192 bytes" in refusal({"x": "é" * (MOST_BYTES // 2)})
    assert "more than 8192 bytes" in refusal({"a" * MOST_BYTES: 1})


@pytest.mark.parametrize("value", [{"a": "\x00"}, {"\x00": 1}, {"a": [{"b": "x\x00y"}]}])
def test_the_character_that_jsonb_does_not_have_is_refused(value: dict[str, Any]) -> None:
    assert "cannot be stored" in refusal(value)


@pytest.mark.parametrize("text", [r'{"value": {"a": "\ud800"}}', r'{"value": {"\udfff": 1}}'])
def test_half_a_character_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        Holder.model_validate_json(text)
    with pytest.raises(ValidationError, match="cannot be stored"):
        Holder.model_validate(json.loads(text))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_json_does_not_know_is_refused(number: str) -> None:
    with pytest.raises(ValidationError):
        Holder.model_validate_json(f'{{"value": {{"a": [{number}]}}}}')


def test_what_is_refused_is_not_quoted() -> None:
    assert "Ann" not in refusal({"name": "Ann\x00"})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=15,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_what_is_accepted_postgres_can_store(db: psycopg.Connection, value: dict[str, Any]) -> None:
    try:
        held = Holder.model_validate({"value": value}).value
    except ValidationError:
        return
    row = db.execute("select %s::jsonb = %s::jsonb", [json.dumps(held)] * 2).fetchone()
    assert row == (True,)
