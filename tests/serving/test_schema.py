"""The OpenAPI document as a contract: generated requests, valid and not, get answers that it names, and never a 5xx.

Two hundred examples an endpoint in every run, from a fixed seed; two thousand with `-m slow`.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.python import asgi
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from genre_pipeline.features.item_texts import ItemTextConfig
from genre_pipeline.serving.app import create_app
from genre_pipeline.serving.scoring import NewItemEncoder
from genre_pipeline.serving.settings import ServingConfig
from tests.fakes.serving_world import build_world
from tests.fakes.text_axes import Axes

OPERATIONS = [
    ("GET", "/v1/users/{user_id}/recommendations"),
    ("GET", "/v1/items/{item_id}/similar"),
    ("GET", "/v1/popular"),
    ("POST", "/v1/score"),
    ("POST", "/v1/sessions/recommendations"),
    ("POST", "/v1/events"),
    ("DELETE", "/v1/users/{user_id}"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
]
CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)
KNOWN = {"/v1/items/{item_id}/similar": {"item_id": "i01"}, "/v1/users/{user_id}/recommendations": {"user_id": "007"}}
"""What is asked for at the end: generated ids are known to nobody."""
TAKE_EVERYTHING = {("GET", "/healthz"), ("GET", "/readyz"), ("DELETE", "/v1/users/{user_id}")}
FEW, MANY = 200, 2000
HEADERS = {"host": "127.0.0.1:8000"}


@pytest.fixture(scope="module")
def app(night: Path) -> FastAPI:
    world = build_world(night, ServingConfig(), encoder=NewItemEncoder(Axes(), ItemTextConfig()))
    return create_app(world.service)


@pytest.fixture(scope="module")
def client(app: FastAPI) -> Iterator[asgi.ASGIClient]:
    """One start of the application for all examples."""
    with asgi.get_client(app, max_stream_events=1) as client:
        yield client


def check(app: FastAPI, client: asgi.ASGIClient, method: str, path: str, examples: int) -> None:
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, headers=HEADERS)
    operation = schema[path][method]
    refused, served = 0, 0

    @seed(20)
    @settings(
        max_examples=examples, deadline=None, database=None, derandomize=False,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(data=st.data())
    def run(data: st.DataObject) -> None:
        nonlocal refused, served
        mode = data.draw(st.sampled_from([schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]))
        case = data.draw(operation.as_strategy(generation_mode=mode))
        response = case.call(headers=HEADERS, session=client)
        case.validate_response(response, checks=CHECKS)
        served += response.status_code == 200
        refused += 400 <= response.status_code < 500

    run()
    if path in KNOWN:
        known = operation.Case(path_parameters=KNOWN[path])
        response = known.call(headers=HEADERS, session=client)
        known.validate_response(response, checks=CHECKS)
        served += response.status_code == 200
    assert served
    assert refused or (method, path) in TAKE_EVERYTHING


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_answers_are_those_of_the_document(app: FastAPI, client: asgi.ASGIClient, method: str, path: str) -> None:
    check(app, client, method, path, FEW)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_the_whole_proof(app: FastAPI, client: asgi.ASGIClient, method: str, path: str) -> None:
    check(app, client, method, path, MANY)


def test_every_operation_of_the_document_is_tested(app: FastAPI) -> None:
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, headers=HEADERS)
    found = {(result.ok().method.upper(), result.ok().path) for result in schema.get_all_operations()}
    assert found == set(OPERATIONS)
