"""Writes docs/openapi.json, the OpenAPI 3.1 description of all routes, from the functions' own operations.

python -m local.openapi            writes docs/openapi.json
python -m local.openapi --check    changes nothing; exit status 1 if the file is out of date

https://spec.openapis.org/oas/v3.1.1.html
"""

import argparse
import importlib
import inspect
import json
import sys
import tomllib
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, Final

from pydantic.json_schema import models_json_schema

from functions.shared.problems import CATALOGUE
from functions.shared.schemas import ProblemDocument
from functions.shared.web import Api, Operation

ROOT: Final = Path(__file__).resolve().parent.parent
FILE: Final = ROOT / "docs" / "openapi.json"

Json = dict[str, Any]
References = dict[Any, Json]

_DESCRIPTION: Final = """\
Saved cards are charged off-session when a matching offer turns up.

Errors are `application/problem+json` (RFC 9457) with a stable `code`; `user_message` is for a human. Further members
are `errors` where a request has not the right form, and `booking` where a charge failed for good. What API Gateway
answers by itself (throttling, bodies over 10 MB) is `{"message": "..."}`.

Lists answer `{"data": [...], "next_cursor": null}`; pass `next_cursor` as `cursor` to read on.
"""

_SECURITY_SCHEMES: Final[Json] = {
    "AccessToken": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A Supabase access token of a signed-in user.",
    },
    "AutobookSignature": {
        "type": "apiKey",
        "in": "header",
        "name": "Autobook-Signature",
        "description": (
            '`t=<unix seconds>,v1=<hex hmac-sha256 of "t.rawbody">`, made with a shared secret, at most five minutes '
            "old. The offer feed and fulfilment sign."
        ),
    },
    "StripeSignature": {
        "type": "apiKey",
        "in": "header",
        "name": "Stripe-Signature",
        "description": "Stripe's signature of the raw body (https://docs.stripe.com/webhooks#verify-manually).",
    },
}
_SECURITY_OF: Final[dict[str, list[Json]]] = {
    "user": [{"AccessToken": []}],
    "machine": [{"AutobookSignature": []}],
    "either": [{"AccessToken": []}, {"AutobookSignature": []}],
    "stripe": [{"StripeSignature": []}],
    "anyone": [],
}
_PHRASES: Final = {
    200: "OK",
    201: "Created",
    202: "Accepted: not settled yet, or settled elsewhere",
    204: "Done; no content",
}
_MUTATING: Final = ("POST", "PATCH", "PUT", "DELETE")
_REQUEST_ID: Final[Json] = {"X-Request-Id": {"$ref": "#/components/headers/RequestId"}}
_IDEMPOTENCY_KEY: Final[Json] = {"$ref": "#/components/parameters/IdempotencyKey"}


def discover(root: Path = ROOT) -> list[Api]:
    """The `Api` of every function that serves HTTP: each `functions/*/handler.py` that has an `api`."""
    modules = (
        importlib.import_module(f"functions.{path.parent.name}.handler")
        for path in sorted((root / "functions").glob("*/handler.py"))
    )
    return [api for module in modules if isinstance(api := getattr(module, "api", None), Api)]


def describe(apis: Iterable[Api]) -> Json:
    """The OpenAPI document of some functions."""
    apis = list(apis)
    operations = [operation for api in apis for operation in api.operations]
    references, definitions = _schemas(operations)
    definitions["ProblemDocument"]["properties"]["code"]["enum"] = sorted(CATALOGUE)
    paths: dict[str, Json] = {"/health": {"get": _health("health", "Whether all is well.")}}
    for api in apis:
        for operation in api.operations:
            method = operation.method.lower()
            paths.setdefault(operation.path, {})[method] = _operation(api, operation, references)
        paths[f"/{api.name}/health"] = {
            "get": _health(f"{_identifier(api.name)}_health", "Whether this function could serve.", api.name)
        }
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Autobook",
            "version": tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"],
            "description": _DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/", "description": "Where this API is deployed; `make stack` writes the local one."}],
        "tags": [{"name": api.name, "description": _module_line(api)} for api in apis],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(definitions.items())),
            "responses": _problem_responses(),
            "parameters": {"IdempotencyKey": _idempotency_key_parameter()},
            "headers": {
                "RequestId": {
                    "description": "Names this request in our logs.",
                    "required": True,
                    "schema": {"type": "string"},
                }
            },
            "securitySchemes": _SECURITY_SCHEMES,
        },
    }


def _schemas(operations: Iterable[Operation]) -> tuple[References, Json]:
    """A reference per model, and the schemas that they refer to."""
    wanted: dict[Any, None] = {ProblemDocument: None}
    for operation in operations:
        wanted |= {model: None for model in (operation.body, *operation.answers.values()) if model is not None}
    # As validation has it for answers too: SQL makes them, and leaves out what has a default here.
    references, document = models_json_schema(
        [(model, "validation") for model in wanted], ref_template="#/components/schemas/{model}"
    )
    return {model: reference for (model, _), reference in references.items()}, _untitled(document["$defs"])


def _untitled(schema: Any) -> Any:
    """A schema without the titles that pydantic makes of field names: they say nothing more."""
    if isinstance(schema, dict):
        return {key: _untitled(value) for key, value in schema.items() if key != "title" or not isinstance(value, str)}
    return [_untitled(item) for item in schema] if isinstance(schema, list) else schema


def _operation(api: Api, operation: Operation, references: References) -> Json:
    name, text = _name_and_text(operation)
    summary, _, rest = text.partition("\n\n")
    described: Json = {
        "operationId": f"{_identifier(api.name)}_{name}",
        "tags": [api.name],
        "summary": " ".join(summary.split()),
    }
    if rest:
        described["description"] = rest
    described["security"] = _SECURITY_OF[operation.who]
    parameters = _parameters(operation)
    if parameters:
        described["parameters"] = parameters
    if operation.body:
        described["requestBody"] = {
            "required": bool(operation.body.model_json_schema().get("required")),
            "content": {"application/json": {"schema": references[operation.body]}},
        }
    elif operation.who == "stripe":
        described["requestBody"] = {
            "required": True,
            "description": "A Stripe event, as its raw bytes were signed (https://docs.stripe.com/api/events/object).",
            "content": {"application/json": {"schema": {"type": "object"}}},
        }
    described["responses"] = _responses(operation, references)
    return described


def _name_and_text(operation: Operation) -> tuple[str, str]:
    """What an operation is called, and its docstring; operations made by partial are called as their path ends."""
    if isinstance(operation.run, partial):
        name = _identifier(operation.path.rpartition("/")[2])
        return name, inspect.getdoc(operation.run.func) or f"{name.capitalize()}."
    name = getattr(operation.run, "__name__", "")
    return name, inspect.getdoc(operation.run) or f"{name.capitalize()}."


def _parameters(operation: Operation) -> list[Json]:
    parameters: list[Json] = [
        {"name": part[1:-1], "in": "path", "required": True, "schema": {"type": "string"}}
        for part in operation.path.split("/")
        if part.startswith("{")
    ]
    query = operation.query.model_json_schema()
    for name, schema in query.get("properties", {}).items():
        required = name in query.get("required", [])
        parameters.append({"name": name, "in": "query", "required": required, "schema": _of_a_query(schema)})
    if operation.method in _MUTATING and operation.who != "stripe":
        parameters.append(_IDEMPOTENCY_KEY)
    return parameters


def _of_a_query(schema: Json) -> Json:
    """A parameter's schema without the null that stands for leaving it out."""
    kept = {key: value for key, value in _untitled(schema).items() if (key, value) != ("default", None)}
    alternatives = [branch for branch in kept.pop("anyOf", []) if branch != {"type": "null"}]
    if len(alternatives) > 1:
        return kept | {"anyOf": alternatives}
    return kept | alternatives[0] if alternatives else kept


def _responses(operation: Operation, references: References) -> Json:
    problems = {422, 500, 503} | ({400, 413, 415} if operation.body else set())
    if operation.who in ("user", "machine", "either"):
        problems.add(401)
    responses: Json = {}
    for status, model in operation.answers.items():
        if model is ProblemDocument:
            problems.add(status)
            continue
        responses[str(status)] = {"description": _PHRASES[status], "headers": _REQUEST_ID}
        if model is not None:
            schema = references[model]
            responses[str(status)]["content"] = {"application/json": {"schema": schema}}
    for status in problems:
        responses[str(status)] = {"$ref": f"#/components/responses/Problem{status}"}
    return dict(sorted(responses.items())) | {"default": {"$ref": "#/components/responses/Problem"}}


def _problem_responses() -> Json:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}
    responses: Json = {
        "Problem": {
            "description": "Any other problem.",
            "headers": _REQUEST_ID,
            "content": content,
        }
    }
    further_headers = {
        401: {"WWW-Authenticate": {"description": "`Bearer`, where a token is wanted.", "schema": {"type": "string"}}},
        503: {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}},
    }
    for status in sorted({kind.status for kind in CATALOGUE.values()}):
        lines = [f"- `{code}`: {kind.title}." for code, kind in CATALOGUE.items() if kind.status == status]
        responses[f"Problem{status}"] = {
            "description": "\n".join(lines),
            "headers": _REQUEST_ID | further_headers.get(status, {}),
            "content": content,
        }
    return responses


def _idempotency_key_parameter() -> Json:
    return {
        "name": "Idempotency-Key",
        "in": "header",
        "required": False,
        "description": (
            "The same key with the same request does the work once, however often it is sent. Routes that are "
            "idempotent by themselves take it and need none."
        ),
        "schema": {"type": "string", "pattern": r"^[\x21-\x7e]{1,255}$"},
    }


def _health(identifier: str, summary: str, tag: str | None = None) -> Json:
    schema = {"type": "object", "properties": {"status": {"type": "string"}}, "required": ["status"]}
    content = {"application/json": {"schema": schema}}
    responses = {
        str(status): {"description": description, "headers": _REQUEST_ID, "content": content}
        for status, description in ((200, "It could serve."), (503, "Settings are missing, or a function is away."))
    }
    described: Json = {"operationId": identifier, "summary": summary, "security": [], "responses": responses}
    return described | ({"tags": [tag]} if tag else {})


def _module_line(api: Api) -> str:
    module = importlib.import_module(f"functions.{_identifier(api.name)}.handler")
    return (inspect.getdoc(module) or "").partition("\n")[0]


def _identifier(name: str) -> str:
    return name.replace("-", "_")


def render(apis: Iterable[Api] | None = None) -> str:
    """The text of docs/openapi.json, ending with a newline."""
    return json.dumps(describe(discover() if apis is None else apis), indent=2, ensure_ascii=False) + "\n"


def main(arguments: list[str] | None = None, *, file: Path = FILE) -> int:
    """Write or check the description. Returns 1 if `--check` finds it out of date, else 0."""
    parser = argparse.ArgumentParser(
        prog="python -m local.openapi", description="The OpenAPI description of all routes."
    )
    parser.add_argument("--check", action="store_true", help="change nothing, fail if the file is out of date")
    options = parser.parse_args(arguments)
    text = render()
    if not options.check:
        file.write_text(text, encoding="utf-8")
        return 0
    if file.is_file() and file.read_text(encoding="utf-8") == text:
        return 0
    print(f"{file.name} is out of date: run `python -m local.openapi`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
