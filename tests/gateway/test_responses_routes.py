"""Every route of the OpenAPI document is there, and every route that is there is in it."""

from __future__ import annotations

from starlette.routing import Route

from antiphon.api.openapi import openapi_document
from antiphon.gateway.app import create_app
from antiphon.settings.model import Settings

ELSEWHERE = {"/metrics", "/openapi.json", "/rerank", "/score"}
"""Of the operator, or passed on as they are."""


def test_the_document_has_every_route_and_no_other() -> None:
    described = {
        (path, method.upper())
        for path, methods in openapi_document()["paths"].items()
        for method in methods
    }
    served = {
        (route.path.replace("{model:path}", "{id}"), method)
        for route in create_app(Settings()).routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"
    }
    assert described <= served
    assert {
        (path, method)
        for path, method in served - described
        if path not in ELSEWHERE and not path.startswith("/antiphon/")
    } <= {
        ("/v1/embeddings", "POST"),
        ("/v1/rerank", "POST"),
        ("/v1/score", "POST"),
    }
