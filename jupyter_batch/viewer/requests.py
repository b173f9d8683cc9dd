"""Requests of the row view's pages, checked and decoded; answers as JSON."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
import orjson
from aiohttp import web

from jupyter_batch.results.row import Row
from jupyter_batch.results.rows import CHIPS, SORTS, Query

_T = TypeVar("_T")
LONGEST_SEARCH = 500
MOST_BODY = 64_000
"""Bytes of a POST."""
MOST_TOKENS = 10_000_000


class Labelled(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a label: None takes it back."""

    row: int
    column: str
    label: str | None


class Action(msgspec.Struct, forbid_unknown_fields=True):
    """The body of an action."""

    name: str


class Selection(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a retry of a selection. max_tokens: the new limit of answers that were cut off."""

    chip: str
    text: str = ""
    max_tokens: int | None = None

    @property
    def query(self) -> Query:
        """The selection. Raises HTTPBadRequest."""
        if self.max_tokens is not None and not 0 < self.max_tokens <= MOST_TOKENS:
            raise web.HTTPBadRequest(text="max_tokens takes a whole number above 0")
        return checked(Query(self.chip, self.text.strip()))


class Choice(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a choice: the model whose answers go into the column."""

    model: str


async def body(request: web.Request, kind: type[_T]) -> _T:
    """A JSON body. Its content type is one that pages of other origins can't send without being asked."""
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(text="expected application/json")
    try:
        return msgspec.json.decode(await request.read(), type=kind)
    except msgspec.MsgspecError as error:
        raise web.HTTPBadRequest(text=f"the body is invalid: {error}") from None


def query_of(request: web.Request) -> Query:
    """The selection in an address. Raises HTTPBadRequest."""
    given = request.query
    text, descending = given.get("text", "").strip(), given.get("descending") == "1"
    return checked(Query(given.get("chip", "all"), text, given.get("sort", "row"), descending))


def checked(query: Query) -> Query:
    """The query itself. Raises HTTPBadRequest for an unknown filter or order, or a long text."""
    if query.chip not in CHIPS or query.sort not in SORTS or len(query.text) > LONGEST_SEARCH:
        raise web.HTTPBadRequest(text="unknown selection of rows")
    return query


def number_in(request: web.Request, name: str, default: int) -> int:
    """A whole number in an address. Raises HTTPBadRequest."""
    given = request.query.get(name, str(default))
    if not (given.isascii() and given.isdecimal() and len(given) < 12):  # noqa: PLR2004 - digits
        raise web.HTTPBadRequest(text=f"{name} takes a whole number")
    return int(given)


def whole(row: Row) -> dict[str, Any]:
    """A row's fields for JSON; what is no JSON becomes a text."""
    return {**dict(row), "label": str(row.label), "tokens": msgspec.to_builtins(row.tokens)}


def answer(value: Any, status: int = 200) -> web.Response:
    """A JSON response."""
    option = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    data = orjson.dumps(value, option=option, default=str)
    return web.Response(body=data, status=status, content_type="application/json", charset="utf-8")
