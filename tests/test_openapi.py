"""docs/openapi.json: up to date, valid, and saying of every route what the design's contract says."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pytest
from openapi_spec_validator import validate
from openapi_spec_validator.validation.exceptions import OpenAPIValidationError
from pydantic import BaseModel, Field

from functions.shared.problems import CATALOGUE
from functions.shared.schemas import ProblemDocument
from functions.shared.web import Answer, Api, Body, Call, Query
from local import openapi

# The contract, section 7 of the design: route and who may call it.
CONTRACT = """
POST /setup-intent                  user
GET /setup-intent/{id}              user
GET /payment-methods                user
PATCH /payment-methods/{id}         user
DELETE /payment-methods/{id}        user
POST /campaigns                     user
GET /campaigns                      user
GET /campaigns/{id}                 user
PATCH /campaigns/{id}               user
POST /campaigns/{id}/pause          user
POST /campaigns/{id}/resume         user
POST /campaigns/{id}/cancel         user
GET /campaigns/{id}/preflight       user
GET /campaigns/{id}/timeline        user
POST /offers                        machine
POST /charge-booking                either
GET /bookings                       user
GET /bookings/{id}                  user
POST /bookings/{id}/cancel          user
GET /bookings/{id}/authentication   user
POST /bookings/{id}/capture         machine
POST /bookings/{id}/void            machine
POST /bookings/{id}/refund          machine
POST /webhook                       stripe
GET /health                         anyone
"""
SECURITY: dict[str, list[dict[str, list[str]]]] = {
    "user": [{"AccessToken": []}],
    "machine": [{"AutobookSignature": []}],
    "either": [{"AccessToken": []}, {"AutobookSignature": []}],
    "stripe": [{"StripeSignature": []}],
    "anyone": [],
}
DOCUMENT: dict[str, Any] = json.loads(openapi.FILE.read_text("utf-8"))


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


def resolved(part: dict[str, Any]) -> dict[str, Any]:
    for name in part.get("$ref", "#").split("/")[1:]:
        part = part[name] if name in part else DOCUMENT[name]
    return part


def test_the_committed_description_is_up_to_date() -> None:
    assert openapi.main(["--check"]) == 0, "run `python -m local.openapi`"


def test_check_tells_a_missing_and_a_changed_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "openapi.json"
    assert openapi.main(["--check"], file=file) == 1
    assert openapi.main([], file=file) == 0
    assert openapi.main(["--check"], file=file) == 0
    file.write_text(file.read_text("utf-8").replace("Autobook", "Autobok"), "utf-8")
    assert openapi.main(["--check"], file=file) == 1
    assert capsys.readouterr().err.count("python -m local.openapi") == 2


def test_the_description_is_valid_openapi() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    validate(DOCUMENT)
    broken = json.loads(json.dumps(DOCUMENT))
    del broken["paths"]["/bookings/{id}"]["get"]["responses"]
    broken["paths"]["/bookings/{id}"]["get"]["parameters"][0]["in"] = "body"
    with pytest.raises(OpenAPIValidationError):
        validate(broken)


@pytest.mark.parametrize("line", CONTRACT.strip().splitlines())
def test_a_route_of_the_contract_is_described(line: str) -> None:
    method, path, who = line.split()
    operation = DOCUMENT["paths"][path][method.lower()]
    assert operation["security"] == SECURITY[who]


def test_every_function_with_an_api_is_described() -> None:
    names = {api.name for api in openapi.discover()}
    assert {"setup-intent", "payment-methods", "campaigns", "offers", "charge-booking", "bookings", "webhook"} <= names
    assert {tag["name"] for tag in DOCUMENT["tags"]} == names
    assert {f"/{name}/health" for name in names} <= set(DOCUMENT["paths"])


def test_every_operation_has_a_name_of_its_own_and_a_summary() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(set(names)) == len(names) > 20
    assert all(len(operation["summary"]) > 3 for _, _, operation in operations())


def test_every_response_carries_a_request_id() -> None:
    for method, path, operation in operations():
        for status, response in operation["responses"].items():
            assert "X-Request-Id" in resolved(response)["headers"], (method, path, status)


def test_mutating_routes_take_an_idempotency_key_and_no_other_does() -> None:
    for method, path, operation in operations():
        names = {resolved(parameter)["name"] for parameter in operation.get("parameters", [])}
        assert ("Idempotency-Key" in names) == (method != "GET" and path != "/webhook"), (method, path)


def test_what_goes_wrong_is_described_as_a_problem() -> None:
    for method, path, operation in operations():
        if path.endswith("/health"):
            continue
        responses = operation["responses"]
        assert {"422", "500", "503", "default"} <= set(responses), (method, path)
        assert ("401" in responses) == (path != "/webhook"), (method, path)
        assert ("404" in responses) >= ("{id}" in path), (method, path)
        if "requestBody" in operation and path != "/webhook":
            assert {"400", "413", "415"} <= set(responses), (method, path)
        for status, response in responses.items():
            if not status.startswith("2"):
                assert list(resolved(response)["content"]) == ["application/problem+json"], (method, path, status)


def test_every_problem_code_is_described_with_its_status() -> None:
    components = DOCUMENT["components"]
    assert set(components["schemas"]["ProblemDocument"]["properties"]["code"]["enum"]) == set(CATALOGUE)
    for code, kind in CATALOGUE.items():
        assert f"- `{code}`: " in components["responses"][f"Problem{kind.status}"]["description"]


def test_bodies_refuse_unknown_fields() -> None:
    bodies = [operation["requestBody"] for _, path, operation in operations() if "requestBody" in operation]
    references = [body["content"]["application/json"]["schema"] for body in bodies]
    schemas = [resolved(reference) for reference in references if "$ref" in reference]
    assert len(schemas) >= 6
    assert all(schema["additionalProperties"] is False for schema in schemas)


class Wanted(Body):
    """What is wanted."""

    amount: Annotated[int, Field(ge=1)] = 1


class Filter(Query):
    """Which ones."""

    kind: str
    before: Annotated[str, Field(max_length=9)] | None = None


class Thing(BaseModel):
    """A thing."""

    id: str
    note: str | None = None


def test_an_operation_is_described_by_its_own_words() -> None:
    api = Api("campaigns")

    @api.operation("GET", "/campaigns/{id}", who="anyone", query=Filter, answers={200: Thing, 404: ProblemDocument})
    def show(call: Call[None, Filter]) -> Answer:
        """Show a thing.

        At length.
        """
        return Answer(200, {"id": call.path["id"]})

    def move(action: str, call: Call[Wanted, Query]) -> Answer:
        """Move a thing."""
        return Answer(204, action * call.body.amount)

    api.operation("POST", "/campaigns/{id}/hide", who="machine", body=Wanted, answers={204: None})(partial(move, "x"))
    document = openapi.describe([api])
    validate(document)

    shown = document["paths"]["/campaigns/{id}"]["get"]
    assert (shown["operationId"], shown["summary"], shown["description"]) == (
        "campaigns_show",
        "Show a thing.",
        "At length.",
    )
    assert shown["security"] == []
    assert "401" not in shown["responses"]
    assert shown["parameters"] == [
        {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}},
        {"name": "kind", "in": "query", "required": True, "schema": {"type": "string"}},
        {"name": "before", "in": "query", "required": False, "schema": {"maxLength": 9, "type": "string"}},
    ]
    assert shown["responses"]["200"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Thing"}
    assert document["components"]["schemas"]["Thing"]["required"] == ["id"]

    hidden = document["paths"]["/campaigns/{id}/hide"]["post"]
    assert (hidden["operationId"], hidden["summary"]) == ("campaigns_hide", "Move a thing.")
    assert hidden["requestBody"]["required"] is False
    assert "content" not in hidden["responses"]["204"]
    assert hidden["security"] == [{"AutobookSignature": []}]
