"""What every endpoint gets from functions/shared/web.py, met through Mangum with API Gateway's events."""

import json
from datetime import datetime
from functools import partial
from typing import Annotated, Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from functions.shared.problems import CATALOGUE, Problem
from functions.shared.schemas import ProblemDocument
from functions.shared.settings import MachineSettings
from functions.shared.web import BODY_LIMIT_BYTES, Answer, Api, Body, Call, NoQuery, Query
from local.http_events import Request, Response, from_result, to_event
from local.lambda_runtime import LambdaContext

JSON = ("content-type", "application/json")
SECRET = "sk_live_that_must_never_be_seen"


class Wish(Body):
    """A body with one field of each kind that matters."""

    count: Annotated[int, Field(ge=1)]
    id: UUID | None = None
    at: datetime | None = None


class Choice(Body):
    """A body that may be left out."""

    count: int | None = None


class Page(Query):
    """A query with a number."""

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    cursor: str | None = None


api = Api("things")


@api.operation("POST", "/things", who="anyone", body=Wish, answers={201: Wish})
def create(call: Call[Wish, NoQuery]) -> Answer:
    """Say what arrived."""
    return Answer(201, {"count": call.body.count, "raw": call.raw_body.decode(), "key": call.idempotency_key})


@api.operation("GET", "/things", who="anyone", query=Page, answers={200: Page})
def list_things(call: Call[None, Page]) -> Answer:
    """Say which page was asked for."""
    return Answer(200, {"limit": call.query.limit, "cursor": call.query.cursor})


@api.operation("PATCH", "/things", who="anyone", body=Choice, answers={200: Choice})
def choose(call: Call[Choice, NoQuery]) -> Answer:
    """Say what was chosen."""
    return Answer(200, {"count": call.body.count})


@api.operation("GET", "/things/{id}", who="anyone", answers={200: Page, 404: ProblemDocument})
def show(call: Call[None, NoQuery]) -> Answer:
    """Say what the path, the headers and the context hold."""
    return Answer(
        200,
        {
            "id": call.path["id"],
            "request_id": call.request_id,
            "header": call.headers.get("x-thing"),
            "remaining_seconds": call.deadline.remaining_seconds(),
        },
        {"X-Thing": "shown"},
    )


@api.operation("DELETE", "/things/{id}", who="anyone", answers={204: None})
def delete(call: Call[None, NoQuery]) -> Answer:
    """Take it away."""
    return Answer(204, None)


def _refuse() -> Answer:
    raise Problem("over_budget", "Just so.", user_message="Sorry.", headers={"Retry-After": "5"}, booking={"id": "b"})


def _break() -> Answer:
    raise RuntimeError(f"connecting with {SECRET}")


def _forget_to_make_json() -> Answer:
    return Answer(200, {"id": uuid4()})


def _answer_half_a_character() -> Answer:
    return Answer(200, {"text": "\ud800"})


ACTIONS = {
    "refuse": _refuse,
    "break": _break,
    "forget-to-make-json": _forget_to_make_json,
    "answer-half-a-character": _answer_half_a_character,
}


def _act(action: str, call: Call[None, NoQuery]) -> Answer:
    assert call.request_id
    return ACTIONS[action]()


for name in ACTIONS:
    api.operation("POST", f"/things/{{id}}/{name}", who="anyone", answers={200: Page})(partial(_act, name))

handler = api.handler()


def request(
    method: str, path: str, body: bytes = b"", headers: tuple[tuple[str, str], ...] = (JSON,), query: str = ""
) -> Request:
    return Request(method, path, query, [("host", "api.example.com"), *headers], body, "127.0.0.1")


def invoke(event: dict[str, Any], timeout_seconds: float = 29) -> Response:
    return from_result(handler(event, LambdaContext("things", timeout_seconds, 512)))  # type: ignore[arg-type]  # Mangum types AWS's own context class


def send(
    method: str, path: str, body: bytes = b"", headers: tuple[tuple[str, str], ...] = (JSON,), query: str = ""
) -> Response:
    return invoke(to_event(request(method, path, body, headers, query), "things"))


def header(response: Response, name: str) -> str:
    values = [value for key, value in response.headers if key == name]
    assert len(values) == 1, f"{name}: {values}"
    return values[0]


def problem(response: Response, code: str) -> dict[str, Any]:
    """The document of an answer that must be this problem."""
    document: dict[str, Any] = json.loads(response.body)
    assert (document["code"], response.status) == (code, CATALOGUE[code].status)
    assert document["status"] == response.status
    assert header(response, "content-type") == "application/problem+json"
    assert header(response, "x-request-id")
    assert header(response, "cache-control") == "no-store"
    return document


# --- what goes in ---------------------------------------------------------------------------------------------------


def test_a_body_arrives_typed_and_raw() -> None:
    body = b'{ "count": 3 }'
    response = send("POST", "/things", body)
    assert response.status == 201
    assert json.loads(response.body) == {"count": 3, "raw": body.decode(), "key": None}
    assert header(response, "content-type") == "application/json"
    assert header(response, "cache-control") == "no-store"


def test_a_body_in_base64_arrives_as_the_same_bytes() -> None:
    plain = to_event(request("POST", "/things", b'{"count": 3, "id": null}'), "things")
    # API Gateway sends what it takes for binary so, for instance when the content type is unknown to it.
    encoded = plain | {"body": "eyJjb3VudCI6IDMsICJpZCI6IG51bGx9", "isBase64Encoded": True}
    assert invoke(encoded).body == invoke(plain).body
    assert b'"count":3' in invoke(encoded).body


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/json ;x=y"]
)
def test_json_may_be_called_so_in_several_ways(content_type: str) -> None:
    assert send("POST", "/things", b'{"count": 1}', (("content-type", content_type),)).status == 201


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""])
def test_anything_but_json_is_refused(content_type: str) -> None:
    problem(send("POST", "/things", b'{"count": 1}', (("content-type", content_type),)), "unsupported_media_type")


def test_a_body_without_a_content_type_is_refused() -> None:
    problem(send("POST", "/things", b'{"count": 1}', ()), "unsupported_media_type")


def test_an_unknown_field_is_refused_and_named() -> None:
    document = problem(send("POST", "/things", b'{"count": 1, "price": "12 EUR for Ann"}'), "invalid_request")
    assert document["errors"] == [
        {"where": ["body", "price"], "what": "extra_forbidden", "message": "Extra inputs are not permitted"}
    ]
    assert "Ann" not in json.dumps(document)


@pytest.mark.parametrize("count", ['"1"', "true", "1.5", "1.0", "null", "[]", "{}", "0", "-1", "1e400"])
def test_a_value_of_the_wrong_type_is_refused(count: str) -> None:
    document = problem(send("POST", "/things", b'{"count": %s}' % count.encode()), "invalid_request")
    assert [fault["where"] for fault in document["errors"]] == [["body", "count"]]


@pytest.mark.parametrize("body", [b"[]", b"1", b'"count"', b"null", b"{}"])
def test_json_of_another_shape_is_refused(body: bytes) -> None:
    problem(send("POST", "/things", body), "invalid_request")


@pytest.mark.parametrize(
    "body", [b"{", b"count=1", b'{"count": 1}}', b'{"count": 01}', b"\xff\xfe", b'{"count": "\xff"}', b"[" * 50_000]
)
def test_what_is_no_json_is_malformed(body: bytes) -> None:
    problem(send("POST", "/things", body), "malformed_json")


def test_a_missing_body_is_told_apart_from_a_malformed_one() -> None:
    problem(send("POST", "/things"), "missing_body")


def test_a_body_in_which_nothing_is_required_may_be_left_out() -> None:
    assert json.loads(send("PATCH", "/things").body) == {"count": None}
    assert json.loads(send("PATCH", "/things", b"{}").body) == {"count": None}
    problem(send("PATCH", "/things", b'{"x": 1}'), "invalid_request")


def test_a_body_over_the_limit_is_refused_and_one_at_it_is_not() -> None:
    frame = len(b'{"count": 1, "x": ""}')
    at_limit = b'{"count": 1, "x": "%s"}' % (b"x" * (BODY_LIMIT_BYTES - frame))
    assert len(at_limit) == BODY_LIMIT_BYTES
    problem(send("POST", "/things", at_limit), "invalid_request")
    problem(send("POST", "/things", at_limit + b" "), "body_too_large")


def test_many_faults_are_cut_short() -> None:
    body = json.dumps({"count": 1} | {f"field{number}" + "x" * 500: 1 for number in range(100)}).encode()
    response = send("POST", "/things", body)
    document = problem(response, "invalid_request")
    assert len(document["errors"]) == 20
    assert len(response.body) < 10_000


@given(st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_no_body_breaks_us(body: bytes) -> None:
    assert send("POST", "/things", body).status in (201, 400, 422)


def test_a_query_is_read_from_strings() -> None:
    assert json.loads(send("GET", "/things").body) == {"limit": 20, "cursor": None}
    asked = json.loads(send("GET", "/things", query="limit=7&cursor=a%2Bb%20c").body)
    assert asked == {"limit": 7, "cursor": "a+b c"}


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "limit=", "limit=1.5", "offset=1", "limit=1&x"])
def test_a_query_that_is_not_as_it_should_be_is_refused(query: str) -> None:
    document = problem(send("GET", "/things", query=query), "invalid_request")
    assert document["errors"][0]["where"][0] == "query"


@pytest.mark.parametrize("query", ["limit=1&limit=2", "limit=1&limit=1", "cursor=a&limit=1&cursor="])
def test_a_query_parameter_given_twice_is_refused(query: str) -> None:
    assert "twice" in problem(send("GET", "/things", query=query), "invalid_request")["detail"]


def test_a_query_where_none_is_taken_is_refused() -> None:
    problem(send("DELETE", "/things/1", query="force=true"), "invalid_request")


@pytest.mark.parametrize("key", ["a", "x" * 255, "!~"])
def test_an_idempotency_key_is_handed_on(key: str) -> None:
    response = send("POST", "/things", b'{"count": 1}', (JSON, ("idempotency-key", key)))
    assert json.loads(response.body)["key"] == key


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "schl\u00fcssel", "a\n", "\x00"])
def test_what_is_no_idempotency_key_is_refused(key: str) -> None:
    problem(send("POST", "/things", b'{"count": 1}', (JSON, ("idempotency-key", key))), "invalid_request")


def test_path_headers_and_context_arrive() -> None:
    event = to_event(request("GET", "/things/a.b_c-1", headers=(("x-thing", "yes"),)), "things")
    shown = json.loads(invoke(event, timeout_seconds=9).body)
    assert (shown["id"], shown["header"]) == ("a.b_c-1", "yes")
    assert 7 < shown["remaining_seconds"] <= 9


# --- what goes out --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/things", 200),
        ("GET", "/things/1", 200),
        ("DELETE", "/things/1", 204),
        ("POST", "/things", 400),
        ("GET", "/nothing", 404),
        ("PUT", "/things", 405),
        ("POST", "/things/1/refuse", 409),
        ("POST", "/things/1/break", 500),
        ("GET", "/things/health", 200),
    ],
)
def test_every_answer_carries_the_gateway_s_request_id(method: str, path: str, status: int) -> None:
    event = to_event(request(method, path), "things")
    event["requestContext"]["requestId"] = "JKJaXmPLvHcESHA="
    response = invoke(event)
    assert response.status == status
    assert header(response, "x-request-id") == "JKJaXmPLvHcESHA="


@pytest.mark.parametrize(
    "given_id", ["", "short", "x" * 129, "a b c d e f", "id-of-a-request\n", 'id"of"a"request', None]
)
def test_a_request_id_that_is_odd_is_replaced(given_id: str | None) -> None:
    event = to_event(request("GET", "/things/1"), "things")
    event["requestContext"]["requestId"] = given_id
    response = invoke(event)
    made = header(response, "x-request-id")
    assert made != given_id
    assert UUID(made).hex == made
    assert json.loads(response.body)["request_id"] == made


def test_an_answer_s_own_headers_are_kept() -> None:
    assert header(send("GET", "/things/1"), "x-thing") == "shown"


def test_no_content_has_none() -> None:
    response = send("DELETE", "/things/1")
    assert (response.status, response.body) == (204, b"")


def test_an_unknown_path_is_a_problem() -> None:
    problem(send("GET", "/nothing"), "not_found")
    problem(send("GET", "/things/1/2/3"), "not_found")
    problem(send("GET", "/things/a%2Fb"), "not_found")


def test_a_path_that_ends_with_a_slash_is_unknown_too() -> None:
    """A redirect would lead to a host that the caller named, and drop the body of a POST."""
    problem(send("GET", "/things/", headers=(("host", "evil.example"),)), "not_found")


def test_a_method_that_is_not_known_is_a_problem_that_names_those_that_are() -> None:
    response = send("PUT", "/things/1/refuse", b"{}")
    problem(response, "method_not_allowed")
    assert header(response, "allow") == "POST"


@pytest.mark.parametrize(
    ("path", "methods"),
    [("/things", "GET, HEAD, PATCH, POST"), ("/things/1", "DELETE, GET, HEAD"), ("/things/1/refuse", "POST")],
)
def test_all_methods_of_a_path_are_named(path: str, methods: str) -> None:
    response = send("PUT", path, b"{}")
    problem(response, "method_not_allowed")
    assert header(response, "allow") == methods


def test_a_problem_is_told_with_all_that_it_says() -> None:
    response = send("POST", "/things/1/refuse")
    document = problem(response, "over_budget")
    assert document == {
        "type": "urn:autobook:problem:over_budget",
        "title": CATALOGUE["over_budget"].title,
        "status": 409,
        "detail": "Just so.",
        "code": "over_budget",
        "user_message": "Sorry.",
        "booking": {"id": "b"},
    }
    assert header(response, "retry-after") == "5"


@pytest.mark.parametrize("action", ["break", "forget-to-make-json", "answer-half-a-character"])
def test_an_unexpected_error_is_a_problem_without_internals(action: str) -> None:
    response = send("POST", f"/things/1/{action}")
    document = problem(response, "internal_error")
    assert set(document) == {"type", "title", "status", "detail", "code"}
    assert SECRET not in response.body.decode()
    assert "RuntimeError" not in response.body.decode()


# --- health ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/health", "/things/health"])
def test_a_function_that_needs_nothing_is_healthy(path: str) -> None:
    response = send("GET", path)
    assert response.status == 200
    assert json.loads(response.body) == {"status": "ok", "function": "things"}


def test_a_function_whose_settings_are_missing_is_not_healthy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AUTOBOOK_SIGNING_SECRETS", "short")
    needy = Api("needy")
    needy.needs(MachineSettings.from_environment)
    event = to_event(request("GET", "/needy/health"), "needy")
    response = from_result(needy.handler()(event, LambdaContext("needy", 29, 512)))  # type: ignore[arg-type]  # Mangum types AWS's own context class
    assert (response.status, json.loads(response.body)) == (503, {"status": "unhealthy", "function": "needy"})
    assert "short" not in capsys.readouterr().out
