"""What is fuzzed: the handlers as Lambda calls them, in this process, and what every answer must be like.

`Target.send` calls a handler, holds the answer to the rules and counts. The rules: nothing raised, no "unexpected
error" in the log, no 5xx but those that the target says are meant, every error a problem document of RFC 9457 with a
known code, every answer as docs/openapi.json has it, nothing in its headers that the caller could have put there.
"""

import base64
import json
import logging
import os
import re
import sys
import time
import warnings
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import jsonschema_rs
import psycopg

from functions.shared.logs import logger
from functions.shared.problems import CATALOGUE
from functions.shared.web import Operation
from local.http_events import Request, to_event
from local.lambda_runtime import LambdaContext, http_functions
from local.openapi import discover, render
from tests.support.http import machine_signature

SCALE: Final = float(os.environ.get("AUTOBOOK_FUZZ_SCALE") or 1)
"""How many times as much is generated as in the suite."""
_METHODS: Final = ("get", "post", "patch", "delete", "put")

Json = dict[str, Any]


@cache
def description() -> Json:
    """docs/openapi.json; not at import, because the handlers want an event loop when they are loaded."""
    found: Json = json.loads(render())
    return found


@cache
def operations() -> list[Operation]:
    """Every operation of every function."""
    return [operation for api in discover() for operation in api.operations]


def scaled(count: int) -> int:
    """How many of something are made in this run."""
    return max(1, int(count * SCALE))


def say(line: str) -> None:
    """A line for whoever runs the tests with -s, and for the report of a failure."""
    sys.stdout.write(line + "\n")


@dataclass(frozen=True)
class Answer:
    """What a handler answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class _Watch(logging.Handler):
    """Keeps the log lines that nobody should ever see."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() == "unexpected error":
            kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else "?"
            self.lines.append(f"unexpected error: {kind}: {record.exc_info and record.exc_info[1]!r}")


def _validators() -> dict[tuple[str, str, str], jsonschema_rs.Draft202012Validator]:
    """By path, method and status: the schema of an answer."""
    found = {}
    for path, item in description()["paths"].items():
        for method in _METHODS:
            for status, response in item.get(method, {}).get("responses", {}).items():
                resolved = response
                if "$ref" in response:
                    resolved = description()["components"]["responses"][response["$ref"].rpartition("/")[2]]
                for content in resolved.get("content", {}).values():
                    schema = {**content["schema"], "components": description()["components"]}
                    found[path, method, status] = jsonschema_rs.Draft202012Validator(schema)
    return found


@dataclass
class Target:
    """The handlers. `meant` are the codes of the 5xx that this run brings about on purpose."""

    meant: frozenset[str] = frozenset()
    sent: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._handlers = {segment: function.handler for segment, function in http_functions().items()}
        self._validators = _validators()
        self._problem = jsonschema_rs.Draft202012Validator(
            {"$ref": "#/components/schemas/ProblemDocument", "components": description()["components"]}
        )
        self._watch = _Watch()
        self._leave = ExitStack()
        self._templates = [
            (re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(operation.path))), operation.path, operation.method)
            for operation in operations()
        ]

    def __enter__(self) -> "Target":
        logger.addHandler(self._watch)
        self._leave.callback(logger.removeHandler, self._watch)
        # Stripe's SDK still sends its bodies by `data=`, and takes httpx's complaint of that for a lost connection.
        self._leave.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", message="Use 'content=", category=DeprecationWarning)
        return self

    def __exit__(self, *_: object) -> None:
        self._leave.close()

    def send(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | list[tuple[str, str]] = (),  # type: ignore[assignment]  # an empty one of either
        query: str = "",
        changes: Json | None = None,
    ) -> Answer:
        """One request, through an event of API Gateway; `changes` are made to that event."""
        pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
        segment = path.split("/", 2)[1] if path.startswith("/") else ""
        event = to_event(Request(method, path, query, [("host", "api.test"), *pairs], body, "192.0.2.7"), segment)
        return self.invoke(segment, event | (changes or {}))

    def invoke(self, segment: str, event: Json) -> Answer:
        """One event for the function of a path segment."""
        handler = self._handlers.get(segment) or self._handlers["campaigns"]
        self.sent += 1
        self._watch.lines.clear()
        said = f"{event['requestContext']['http']['method']} {event['rawPath'][:200]}"
        try:
            result = handler(event, LambdaContext("fuzzed", 29.0, 512))
        except Exception as error:  # noqa: BLE001 - that nothing is raised is what is tested
            self._fault(said, event, f"raised {type(error).__name__}: {error}")
            return Answer(0, {}, b"")
        text = result.get("body") or ""
        body = base64.b64decode(text) if result.get("isBase64Encoded") else text.encode("utf-8", "surrogatepass")
        answer = Answer(
            int(result["statusCode"]), {name.lower(): value for name, value in result["headers"].items()}, body
        )
        self._judge(said, event, answer)
        return answer

    def _fault(self, said: str, event: Json, what: str) -> None:
        shown = {name: str(event.get(name))[:300] for name in ("rawQueryString", "headers", "body")}
        self.faults.append(f"{said}: {what}\n    {shown}")

    def _judge(self, said: str, event: Json, answer: Answer) -> None:
        method = event["requestContext"]["http"]["method"]
        template = self._template(method, event["rawPath"])
        self.operations[f"{method} {template}" if template else "unknown"] += 1
        document: Any = None
        faults = list(self._watch.lines)
        if answer.body:
            try:
                document = json.loads(answer.body)
            except ValueError:
                faults.append(f"is no JSON: {answer.body[:200]!r}")
        if not re.fullmatch(r"[A-Za-z0-9._=-]{8,128}", answer.headers.get("x-request-id", "")):
            faults.append("has no X-Request-Id")
        if any(re.search(r"[\r\n]", f"{name}{value}") for name, value in answer.headers.items()):
            faults.append("has a line break in a header")
        if answer.status >= 400:
            faults += self._problem_faults(answer, document)
        elif template and (template, method.lower(), str(answer.status)) not in self._validators:
            if answer.status != 204:
                faults.append(f"has the undescribed status {answer.status}")
        elif template:
            validator = self._validators[template, method.lower(), str(answer.status)]
            faults += [f"is not as described: {error.message[:300]}" for error in validator.iter_errors(document)]
        code = document.get("code") if isinstance(document, dict) and answer.status >= 400 else None
        self.statuses[f"{answer.status} {code}" if code else str(answer.status)] += 1
        for fault in faults:
            self._fault(said, event, f"{answer.status} {code or ''} {fault}")

    def _problem_faults(self, answer: Answer, document: Any) -> list[str]:
        if answer.headers.get("content-type") != "application/problem+json":
            return [f"is an error of type {answer.headers.get('content-type')}"]
        faults = [error.message[:300] for error in self._problem.iter_errors(document)]
        code = document.get("code") if isinstance(document, dict) else None
        if code not in CATALOGUE or CATALOGUE[code].status != answer.status or document["status"] != answer.status:
            faults.append(f"has the code {code}")
        if answer.status >= 500 and code not in self.meant:
            faults.append("is not meant to be")
        return faults

    def _template(self, method: str, path: str) -> str | None:
        for pattern, template, known in self._templates:
            if known == method and pattern.fullmatch(path):
                return template
        return None

    def report(self, name: str) -> str:
        """What was run, in a line."""
        kinds = ", ".join(f"{kind}: {count}" for kind, count in self.statuses.most_common())
        return f"{name}: {self.sent} requests to {len(self.operations)} operations; {kinds}"

    def assert_sound(self) -> None:
        """No rule was broken."""
        by_kind = {re.sub(r"[0-9a-f]{6,}|/[^/ :]+(?=[/:])", "…", fault[:150]): fault for fault in self.faults}
        shown = "\n".join(list(by_kind.values())[:12])
        assert not self.faults, f"{len(self.faults)} faults, of which:\n{shown}"


class Books:
    """The rows of every table, to see that nothing was written."""

    def __init__(self, database: psycopg.Connection) -> None:
        self._database = database
        tables = database.execute(
            "select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace"
            " where c.relkind in ('r', 'p') and n.nspname in ('public', 'internal', 'auth') order by 1"
        ).fetchall()
        assert len(tables) > 15
        # xmin is the transaction that wrote a row's version: an update changes it, even to the same values.
        self._query = " union all ".join(
            f"select '{table}', count(*), coalesce(sum(xmin::text::bigint), 0) from {table}"  # noqa: S608 - quoted above
            for (table,) in tables
        )

    def state(self) -> dict[str, tuple[int, int]]:
        """Per table, how many rows there are and a sum that every write changes."""
        return {table: (rows, writes) for table, rows, writes in self._database.execute(self._query).fetchall()}


def bearer(token: str) -> dict[str, str]:
    """The header of a user."""
    return {"authorization": f"Bearer {token}"}


def signature(body: bytes, secret: str) -> dict[str, str]:
    """The header of a machine."""
    return {"autobook-signature": machine_signature(body, secret, int(time.time()))}


JSON: Final = {"content-type": "application/json"}
