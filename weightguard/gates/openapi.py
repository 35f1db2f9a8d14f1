"""The interface of the service, as OpenAPI 3.1."""

from __future__ import annotations

from typing import Any

from weightguard.version import VERSION


def openapi() -> dict[str, Any]:
    """The interface as OpenAPI 3.1."""
    answer = {"description": "decided: only decision = allow allows", "content": {"application/json": {}}}
    denied = {"description": "not decided: a block"}
    errors = dict.fromkeys(("400", "401", "403", "404", "413", "422", "500", "503"), denied)
    schema = {"type": "object", "properties": {"uri": {"type": "string"}, "path": {"type": "string"}}}
    path = {"content": {"application/json": {"schema": schema}}}
    parameters = [
        {"name": "name", "in": "query", "schema": {"type": "string"}},
        {"name": "bytes", "in": "query", "required": True, "schema": {"type": "integer"}},
    ]
    return {
        "openapi": "3.1.0",
        "info": {"title": "weightguard", "version": VERSION},
        "paths": {
            "/v1/decide": {"post": {"requestBody": path, "responses": {"200": answer, **errors}}},
            "/v1/decide-header": {
                "post": {
                    "parameters": parameters,
                    "requestBody": {"content": {"application/octet-stream": {}}},
                    "responses": {"200": answer, **errors},
                }
            },
            "/v1/admission": {
                "post": {"requestBody": {"content": {"application/json": {}}}, "responses": {"200": answer, **errors}}
            },
            "/v1/page": {
                "get": {
                    "parameters": [{"name": "uri", "in": "query", "required": True, "schema": {"type": "string"}}],
                    "responses": {"200": {"description": "a page", "content": {"text/html": {}}}, **errors},
                }
            },
            **{
                f"/v1/hooks/{name}": {
                    "post": {
                        "requestBody": {"content": {"application/json": {}}},
                        "responses": {"202": {"description": "queued: nothing is allowed by it"}, **errors},
                    }
                }
                for name in ("event", "mlflow")
            },
            "/v1/decisions/{id}": {
                "get": {
                    "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}],
                    "responses": {"200": answer, "404": denied},
                }
            },
            **{path: {"get": {"responses": {"200": {"description": "text"}}}} for path in ("/healthz", "/readyz", "/metrics")},
        },
    }
