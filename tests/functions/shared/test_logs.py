"""Log lines as CloudWatch gets them: JSON, one a line, without the text of an exception. In a process of its own,
because a Lambda's standard output is what counts."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
SECRET = "sk_live_in_an_exception"


def logged(code: str, **environment: str) -> list[dict[str, Any]]:
    """What a program prints that has set logging up; each line must be a JSON object, and nothing goes to stderr."""
    done = subprocess.run(
        [sys.executable, "-c", f"import logging\nfrom functions.shared import logs\nlogs.set_up()\n{code}"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "LOG_LEVEL"} | environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == ""
    assert SECRET not in done.stdout
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(isinstance(line, dict) for line in lines)
    return lines


def test_a_line_carries_time_level_message_and_fields() -> None:
    (line,) = logged("logs.log(logging.WARNING, 'a sentence', booking_id='b-1', count=2, missing=None)")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {"level": "warning", "message": "a sentence", "booking_id": "b-1", "count": 2, "missing": None}


def test_bound_fields_are_on_every_line_within_and_on_none_after() -> None:
    lines = logged("""
with logs.bound(request_id="r", step="outer"):
    with logs.bound(step="inner"):
        logs.log(logging.INFO, "inner")
    logs.log(logging.INFO, "outer", extra_field=1)
try:
    with logs.bound(request_id="lost"):
        raise KeyError
except KeyError:
    logs.log(logging.INFO, "after")
""")
    assert [(line.get("request_id"), line.get("step"), line.get("extra_field")) for line in lines] == [
        ("r", "inner", None),
        ("r", "outer", 1),
        (None, None, None),
    ]


def test_threads_do_not_see_each_other_s_fields() -> None:
    lines = logged("""
import threading
with logs.bound(request_id="mine"):
    other = threading.Thread(target=lambda: logs.log(logging.INFO, "other"))
    other.start()
    other.join()
    logs.log(logging.INFO, "mine")
""")
    assert [(line["message"], line.get("request_id")) for line in lines] == [("other", None), ("mine", "mine")]


def test_an_exception_is_told_by_type_and_place_and_not_by_its_text() -> None:
    (line,) = logged(f"""
def connect():
    try:
        raise ValueError("the cause quotes {SECRET}")
    except ValueError as error:
        raise RuntimeError("connecting with {SECRET}") from error
try:
    connect()
except RuntimeError:
    logs.logger.exception("unexpected error")
""")
    assert (line["level"], line["message"], line["error"]) == ("error", "unexpected error", "RuntimeError")
    assert [re.sub(r"\d+", "N", place) for place in line["trace"]] == ["__main__:N", "__main__:N"]


def test_a_deep_trace_is_cut_to_where_it_happened() -> None:
    (line,) = logged("""
def sink(depth):
    return 1 / depth + sink(depth - 1)
try:
    sink(30)
except ZeroDivisionError:
    logs.logger.exception("unexpected error")
""")
    assert line["error"] == "ZeroDivisionError"
    assert len(line["trace"]) == 8


def test_what_is_no_json_is_written_as_text_and_a_line_stays_a_line() -> None:
    lines = logged(r"""
from uuid import UUID
logs.log(logging.INFO, "two\nlines", id=UUID(int=7), text="a\r\nb\u2028c\x00", half="\ud800")
""")
    assert len(lines) == 1
    assert lines[0]["message"] == "two\nlines"
    assert lines[0]["id"] == "00000000-0000-0000-0000-000000000007"
    assert lines[0]["text"] == "a\r\nb\u2028c\x00"


def test_setting_up_again_doubles_no_line() -> None:
    assert len(logged("logs.set_up()\nlogs.set_up()\nlogs.log(logging.INFO, 'once')")) == 1


def test_the_level_comes_from_the_environment() -> None:
    code = "for level in (logging.DEBUG, logging.INFO, logging.WARNING): logs.log(level, 'x')"
    assert [line["level"] for line in logged(code)] == ["info", "warning"]
    assert [line["level"] for line in logged(code, LOG_LEVEL="debug")] == ["debug", "info", "warning"]
    assert [line["level"] for line in logged(code, LOG_LEVEL="WARNING")] == ["warning"]


def test_libraries_that_would_quote_a_request_are_silent() -> None:
    lines = logged(f"""
import functions.shared.web
logging.getLogger("mangum").error("an error with {SECRET}")
logging.getLogger("mangum.protocols.http").info("GET /{SECRET}")
from functions.shared.stripe_sdk import stripe
logging.getLogger("stripe").info("request with {SECRET}")
logging.getLogger("httpx").info("HTTP Request: GET {SECRET}")
""")
    assert lines == []
