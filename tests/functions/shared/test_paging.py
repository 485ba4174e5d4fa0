"""Cursor lists: a cursor says exactly where a page ended, and nobody else's text is taken for one."""

import base64
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from functions.shared.paging import ListQuery, decode_cursor, encode_cursor, page, uuid_of
from functions.shared.problems import Problem

TIME = "2026-03-01T12:00:00.123456+00:00"
ID = "4ad9f6a6-33b0-4a70-8d8f-0c7c1a5b9a01"


def rows(count: int) -> list[dict[str, Any]]:
    start = datetime(2026, 3, 1, tzinfo=UTC)
    return [
        {"id": str(UUID(int=number)), "created_at": (start - timedelta(seconds=number)).isoformat()}
        for number in range(count)
    ]


def cursor_of(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@pytest.mark.parametrize("time", [TIME, "2026-03-01T12:00:00+00:00", "2026-03-01T14:00:00.5+02:00"])
@pytest.mark.parametrize("identifier", [ID, "offer:1.2_3-x", "é" * 20])
def test_a_cursor_comes_back_as_it_was(time: str, identifier: str) -> None:
    cursor = encode_cursor(time, identifier)
    assert decode_cursor(cursor) == (datetime.fromisoformat(time), identifier)
    assert ListQuery(cursor=cursor).cursor == cursor


@given(
    st.datetimes(timezones=st.just(UTC) | st.just(timezone(timedelta(hours=-7)))),
    st.text(st.characters(codec="utf-8"), max_size=128),
)
def test_every_position_survives(time: datetime, identifier: str) -> None:
    cursor = encode_cursor(time.isoformat(), identifier)
    assert decode_cursor(cursor) == (time, identifier)
    assert set(cursor) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "%",
        "é",
        "e30",
        cursor_of([]),
        cursor_of([TIME]),
        cursor_of([TIME, ID, "more"]),
        cursor_of([TIME, 5]),
        cursor_of(["yesterday", ID]),
        cursor_of(["2026-03-01T12:00:00", ID]),
        cursor_of([None, None]),
        cursor_of({"time": TIME}),
        cursor_of([TIME, "x" * 129]),
        base64.urlsafe_b64encode(b"[" * 3000).decode(),
        base64.urlsafe_b64encode(b"\xff\xfe").decode(),
    ],
)
def test_what_is_no_cursor_of_ours_is_refused(cursor: str) -> None:
    with pytest.raises(Problem) as refused:
        decode_cursor(cursor)
    assert refused.value.code == "invalid_request"


@given(st.text(max_size=300))
def test_no_text_breaks_us(cursor: str) -> None:
    with pytest.raises(Problem, match="invalid_request"):
        decode_cursor(cursor)


def test_a_page_that_is_not_full_is_the_last() -> None:
    assert page([], 3) == {"data": [], "next_cursor": None}
    assert page(rows(2), 3) == {"data": rows(2), "next_cursor": None}
    assert page(rows(3), 3) == {"data": rows(3), "next_cursor": None}


def test_a_page_with_more_behind_it_says_where_it_ended() -> None:
    found = page(rows(4), 3)
    assert found["data"] == rows(3)
    last = rows(3)[-1]
    assert decode_cursor(found["next_cursor"]) == (datetime.fromisoformat(last["created_at"]), last["id"])


def test_a_page_may_be_ordered_by_other_fields() -> None:
    entries = [{"offer_id": f"o-{number}", "considered_at": TIME} for number in range(3)]
    assert decode_cursor(page(entries, 2, "considered_at", "offer_id")["next_cursor"]) == (
        datetime.fromisoformat(TIME),
        "o-1",
    )


@pytest.mark.parametrize(
    "values", [{"limit": "0"}, {"limit": "101"}, {"limit": "ten"}, {"cursor": "x" * 301}, {"cursor": ""}, {"page": "2"}]
)
def test_a_list_s_query_is_bounded(values: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        ListQuery.model_validate(values)
    assert ListQuery.model_validate({"limit": "100"}).limit == 100
    assert ListQuery.model_validate({}) == ListQuery(limit=20, cursor=None)


@pytest.mark.parametrize("value", ["", "1", "health", "4ad9f6a6", ID + "0", "g" * 32, "'; drop table x; --", "é" * 36])
def test_what_cannot_be_an_id_is_nobody_s(value: str) -> None:
    with pytest.raises(Problem, match="campaign_not_found"):
        uuid_of(value, "campaign_not_found")
    assert uuid_of(ID, "campaign_not_found") == UUID(ID)
