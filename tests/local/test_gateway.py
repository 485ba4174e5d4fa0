"""The gateway, over real HTTP: what functions get, what clients get, what API Gateway answers by itself."""

import asyncio
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from local.child import Child
from local.gateway import Gateway
from local.lambda_runtime import LambdaFunction, http_functions

PACKAGE = "tests.local.sample_functions"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    log = tmp_path_factory.mktemp("gateway") / "gateway.log"
    child = Child("local.gateway", ["--parent-watch", "--package", PACKAGE], log=log)
    yield child
    child.stop()


@pytest.fixture(scope="module")
def api(gateway: Child) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gateway.announced()["url"], timeout=30) as client:
        yield client


def _echo(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_functions_are_found_by_their_folders() -> None:
    found = http_functions(PACKAGE)
    assert set(found) == {"echo", "broken-one"}
    assert found["broken-one"].name == "autobook-local-broken-one"


def test_the_event_is_payload_format_2(api: httpx.Client) -> None:
    echoed = _echo(
        api.get(
            "/echo/a%2Fb/c?tag=x&tag=y%20z&empty=",
            headers=[("X-One", "1"), ("X-One", "2"), ("Cookie", "a=1; b=2"), ("User-Agent", "tester")],
        )
    )
    event = echoed["event"]
    assert event["version"] == "2.0"
    assert event["rawPath"] == "/echo/a%2Fb/c"
    assert event["rawQueryString"] == "tag=x&tag=y%20z&empty="
    assert event["queryStringParameters"] == {"tag": "x,y z", "empty": ""}
    assert event["routeKey"] == event["requestContext"]["routeKey"] == "ANY /echo/{proxy+}"
    assert event["pathParameters"] == {"proxy": "a%2Fb/c"}
    assert event["headers"]["x-one"] == "1,2"
    assert event["headers"]["x-forwarded-proto"] == "http"
    assert "cookie" not in event["headers"]
    assert event["cookies"] == ["a=1", "b=2"]
    assert event["isBase64Encoded"] is False
    assert "body" not in event
    http = event["requestContext"]["http"]
    assert (http["method"], http["path"], http["userAgent"]) == ("GET", "/echo/a%2Fb/c", "tester")
    assert http["sourceIp"] == "127.0.0.1"
    assert event["requestContext"]["stage"] == "$default"
    assert event["requestContext"]["timeEpoch"] > 1_700_000_000_000


def test_the_context_counts_down_from_29_seconds(api: httpx.Client) -> None:
    echoed = _echo(api.get("/echo"))
    assert 20_000 < echoed["remaining_ms"] <= 29_000
    assert echoed["function"] == "autobook-local-echo"
    assert echoed["arn"].endswith(":function:autobook-local-echo")
    assert echoed["request_id"] != _echo(api.get("/echo"))["request_id"]


def test_the_answer_names_the_request(api: httpx.Client) -> None:
    response = api.get("/echo")
    assert response.headers["apigw-requestid"] == _echo(response)["event"]["requestContext"]["requestId"]


@pytest.mark.parametrize(
    ("content_type", "as_text"),
    [
        ("application/json", True),
        ("application/json; charset=utf-8", True),
        ("Application/JSON", True),
        ("application/xml", True),
        ("application/javascript", True),
        ("text/plain", True),
        ("text/csv", True),
        ("application/x-www-form-urlencoded", False),
        ("application/problem+json", False),
        ("application/octet-stream", False),
        ("multipart/form-data; boundary=x", False),
        (None, False),
    ],
)
def test_bodies_come_as_text_or_base64(api: httpx.Client, content_type: str | None, as_text: bool) -> None:
    body = '{"grüße": "ä"}'.encode()
    headers = {"content-type": content_type} if content_type else {}
    echoed = _echo(api.post("/echo", content=body, headers=headers))
    assert echoed["event"]["isBase64Encoded"] is not as_text
    assert bytes.fromhex(echoed["body"]) == body
    if as_text:
        assert echoed["event"]["body"] == body.decode()


def test_text_that_is_no_utf_8_arrives_unharmed(api: httpx.Client) -> None:
    echoed = _echo(api.post("/echo", content=b"\xff\xfe{", headers={"content-type": "application/json"}))
    assert bytes.fromhex(echoed["body"]) == b"\xff\xfe{"


def test_binary_answers_leave_as_bytes(api: httpx.Client) -> None:
    response = api.get("/echo/bytes")
    assert response.content == bytes(range(256))
    assert response.headers["content-type"] == "application/octet-stream"


def test_each_cookie_is_a_header(api: httpx.Client) -> None:
    response = api.get("/echo/cookies")
    assert response.status_code == 201
    assert [value.split(";")[0] for value in response.headers.get_list("set-cookie")] == ["a=1", "b=2"]


def test_head_has_no_body(api: httpx.Client) -> None:
    response = api.head("/echo/bytes")
    assert response.status_code == 200
    assert response.content == b""


def test_an_unknown_path_is_a_problem(api: httpx.Client) -> None:
    for path in ("/nowhere", "/", "/nightly", "/shared"):
        response = api.get(path)
        assert response.status_code == 404
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["code"] == "not_found"


def test_a_handler_that_raises_is_a_500_without_its_words(api: httpx.Client, gateway: Child) -> None:
    response = api.get("/broken-one/x")
    assert (response.status_code, response.json()) == (500, {"message": "Internal Server Error"})
    assert "a secret of /broken-one/x" in gateway._log.read_text()


def test_a_body_over_ten_megabytes_is_refused(api: httpx.Client) -> None:
    limit = 10 * 1024 * 1024
    assert api.post("/echo/cookies", content=b"x" * limit).status_code == 201
    response = api.post("/echo/cookies", content=b"x" * (limit + 1))
    assert (response.status_code, response.json()) == (413, {"message": "Request Entity Too Large"})


def test_preflights_are_answered_without_the_function(api: httpx.Client) -> None:
    response = api.options(
        "/broken-one", headers={"origin": "https://shop.example", "access-control-request-method": "POST"}
    )
    assert response.status_code == 204
    assert response.headers["access-control-allow-origin"] == "*"
    assert "POST" in response.headers["access-control-allow-methods"]
    assert "idempotency-key" in response.headers["access-control-allow-headers"]


def test_answers_to_other_origins_may_be_read(api: httpx.Client) -> None:
    assert api.get("/echo", headers={"origin": "https://shop.example"}).headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-origin" not in api.get("/echo").headers


def test_options_without_a_preflight_reach_the_function(api: httpx.Client) -> None:
    assert _echo(api.options("/echo"))["event"]["requestContext"]["http"]["method"] == "OPTIONS"


def test_health_asks_every_function(api: httpx.Client) -> None:
    response = api.get("/health")
    assert response.status_code == 503
    assert response.json() == {"status": "failing", "functions": {"broken-one": 500, "echo": 200}}


def test_thirty_two_requests_run_at_the_same_time(api: httpx.Client) -> None:
    url = api.base_url.join("/echo/meet")
    with ThreadPoolExecutor(32) as clients:
        statuses = list(clients.map(lambda _: httpx.get(url, timeout=30).status_code, range(32)))
    assert statuses == [204] * 32


def test_a_function_that_takes_too_long_is_a_500() -> None:
    function = LambdaFunction("slow", lambda _event, _context: time.sleep(0.5), timeout_seconds=0.05)
    response = _ask(function)
    assert (response.status_code, response.json()) == (500, {"message": "Internal Server Error"})


@pytest.mark.parametrize(
    ("result", "status"),
    [({"a": 1}, 200), ("text", 200), ({"statusCode": 200, "body": {"not": "text"}}, 500), (object(), 500)],
)
def test_results_are_taken_as_payload_format_2_takes_them(result: object, status: int) -> None:
    response = _ask(LambdaFunction("plain", lambda _event, _context: result))
    assert response.status_code == status
    if status == 200:
        assert response.text == (result if isinstance(result, str) else json.dumps(result))


def _ask(function: LambdaFunction) -> httpx.Response:
    app = Gateway({"it": function})

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://local") as client:
            return await client.get("/it")

    try:
        return asyncio.run(ask())
    finally:
        app.close()


def test_it_ends_when_its_parent_lets_go(tmp_path: Path) -> None:
    child = Child("local.gateway", ["--parent-watch", "--package", PACKAGE], log=tmp_path / "log")
    child.announced()
    process = psutil.Process(child.pid)
    child.end()
    gone, _ = psutil.wait_procs([process], timeout=10)
    assert gone == [process]
    child.stop()
