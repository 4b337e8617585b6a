"""Whatever the OpenAPI document allows is answered as it says, and what it does not allow is refused as it says."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from consumer.serving.tokens import Tokens
from tests.consumer.serving.conftest import OWNER, Shop, WithoutKafka, app_of

OPERATIONS = (
    ("GET", "/v1/customers/{customer_id}"),
    ("GET", "/v1/customers/{customer_id}:explain"),
    ("POST", "/v1/customers/{customer_id}:erase"),
    ("POST", "/v1/customers:lookup"),
    ("GET", "/v1/segments"),
    ("GET", "/v1/segments/{segment_id}/customers"),
    ("GET", "/v1/model"),
    ("POST", "/v1/model/{version}:promote"),
    ("GET", "/v1/moves"),
    ("GET", "/livez"),
    ("GET", "/readyz"),
)
TAKING_NOTHING = ("/v1/segments", "/v1/model", "/v1/moves", "/livez", "/readyz")


@pytest.fixture(scope="module")
def document(shop: Shop, tokens: Tokens) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_asgi("/openapi.json", app_of(WithoutKafka(shop.place), tokens))


def keep_to(document: schemathesis.BaseSchema, method: str, path: str, mode: GenerationMode) -> None:
    """Ask for what the document allows, or for what it does not, and compare the answers with it."""

    @given(document[path][method].as_strategy(generation_mode=mode))
    @settings(
        max_examples=30,
        derandomize=True,
        deadline=None,
        phases=[Phase.generate],  # the example tells enough, and shrinking takes a while
        suppress_health_check=list(HealthCheck),
    )
    def keeps(case: Case[Any]) -> None:
        # What no schema says: an id's length in bytes, and which cursors there are.
        case.call_and_validate(headers=OWNER, excluded_checks=[positive_data_acceptance])

    keeps()


def test_every_operation_is_asked(document: schemathesis.BaseSchema) -> None:
    found = {(method.upper(), path) for path, methods in document.items() for method in methods}
    assert found == set(OPERATIONS)


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_what_the_document_allows_is_answered_as_it_says(
    document: schemathesis.BaseSchema, method: str, path: str
) -> None:
    keep_to(document, method, path, GenerationMode.POSITIVE)


@pytest.mark.parametrize(("method", "path"), [each for each in OPERATIONS if each[1] not in TAKING_NOTHING])
def test_what_the_document_does_not_allow_is_refused_as_it_says(
    document: schemathesis.BaseSchema, method: str, path: str
) -> None:
    keep_to(document, method, path, GenerationMode.NEGATIVE)
