"""A service whose OpenAPI document its framework writes, and which reads what comes as its framework does: FastAPI.

    openapi_service.py [--with-stdin]      listens on a free port; prints {"url", "pid"}; the document is at /api/openapi.json

It answers with what it understood. `GET /api/swagger.json` is a Swagger 2.0 document, written by hand, of two of its operations.
"""

import argparse
import base64
import os
import socket
from typing import Annotated

import uvicorn
from fastapi import Body, Cookie, Depends, FastAPI, File, Form, Header, HTTPException, Query, UploadFile
from fastapi.security import APIKeyHeader, HTTPBearer
from pydantic import BaseModel

import parts

inner = FastAPI(title="cpd test service", version="1.2.3")


class Item(BaseModel):
    name: str
    price: float = 0
    parent: "Item | None" = None


@inner.get("/items/{kind}/{number}", operation_id="look")
def look(
    kind: str,
    number: int,
    tags: Annotated[list[str], Query()] = [],
    deep: bool = False,
    x_trace: Annotated[str | None, Header()] = None,
    theme: Annotated[str | None, Cookie()] = None,
):
    return {"kind": kind, "number": number, "tags": tags, "deep": deep, "trace": x_trace, "theme": theme}


@inner.post("/items", operation_id="add", status_code=201)
def add(item: Item, idempotency_key: Annotated[str, Header()]):
    return {"item": item, "key": idempotency_key}


@inner.put("/items/{number}", operation_id="replace")
def replace(number: int, item: Item, note: Annotated[str, Body()]):
    return {"number": number, "item": item, "note": note}


@inner.delete("/items/{number}", operation_id="remove", status_code=204)
def remove(number: int):
    if number > 100:
        raise HTTPException(404, "no such item")


@inner.post("/login", operation_id="login")
def login(name: Annotated[str, Form()], scopes: Annotated[list[str], Form()] = []):
    return {"name": name, "scopes": scopes}


@inner.post("/files", operation_id="send")
async def send(
    photo: UploadFile,
    more: Annotated[list[UploadFile], File()] = [],
    note: Annotated[str | None, Form()] = None,
):
    async def seen(file):
        content = base64.b64encode(await file.read()).decode()
        return {"name": file.filename, "type": file.content_type, "content": content}

    return {"photo": await seen(photo), "more": [await seen(file) for file in more], "note": note}


@inner.get("/keyed", operation_id="keyed")
def keyed(key: Annotated[str, Depends(APIKeyHeader(name="X-Key"))]):
    return {"key": key}


@inner.get("/guarded", operation_id="guarded")
def guarded(credentials: Annotated[object, Depends(HTTPBearer())]):
    return {"scheme": credentials.scheme}


@inner.get("/swagger.json", include_in_schema=False)
def swagger():
    return {
        "swagger": "2.0",
        "info": {"title": "cpd test service", "version": "1.2.3"},
        "basePath": "/api",
        "paths": {
            "/items/{kind}/{number}": {
                "get": {
                    "operationId": "look",
                    "parameters": [
                        {"name": "kind", "in": "path", "required": True, "type": "string"},
                        {"name": "number", "in": "path", "required": True, "type": "integer"},
                        {"name": "tags", "in": "query", "type": "array", "collectionFormat": "multi"},
                    ],
                }
            },
            "/login": {
                "post": {
                    "operationId": "login",
                    "consumes": ["application/x-www-form-urlencoded"],
                    "parameters": [
                        {"name": "name", "in": "formData", "required": True, "type": "string"},
                        {"name": "scopes", "in": "formData", "type": "array", "collectionFormat": "multi"},
                    ],
                }
            },
        },
    }


app = FastAPI(openapi_url=None)
app.mount("/api", inner)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--with-stdin", action="store_true", help="end when standard input ends")
    args = parser.parse_args()
    listener = socket.create_server(("127.0.0.1", 0))
    http = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    parts.end_with(lambda: os._exit(0), args.with_stdin)
    # uvicorn takes the signals for itself, and waits for streams that nobody ends.
    http.capture_signals = parts.no_signals
    parts.say_up(url=f"http://127.0.0.1:{listener.getsockname()[1]}")
    http.run(sockets=[listener])


if __name__ == "__main__":
    main()
