"""Answers to requests: by the built-in echo model at once, by any other model through litellm."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from jupyter_batch.server.checks import message_request as messages_check
from jupyter_batch.server.checks.requests import check
from jupyter_batch.server.echo import model as echo
from jupyter_batch.server.errors import SERVER_ERROR, ApiError, bad_request, no_model
from jupyter_batch.server.translate import message_objects
from jupyter_batch.server.translate import messages as translate
from jupyter_batch.server.translate.responses import chat_of, response_of
from jupyter_batch.server.upstream import CHAT, COMPLETIONS, EMBEDDINGS, Upstream

LOCAL = "local/"
RESPONSES = "/v1/responses"
_TRANSLATED = {
    RESPONSES: (chat_of, response_of),
    message_objects.MESSAGES: (translate.chat_of, translate.message_of),
}
"""The endpoints that are answered by a chat request: how the request and its answer are translated."""
_MALFORMED = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What an odd request raises where it is read; it must not lose other rows."""


class Answer(NamedTuple):
    """An HTTP status and the JSON that comes with it."""

    status: int
    body: dict[str, Any]


class Answers:
    """The models behind this server.

    With an upstream model every request goes to it, whatever model it names; embeddings go to an upstream of their own
    where there is one. Without an upstream, `echo` is answered here, and
    `provider/name` (with or without `local/` before it) by that litellm model; a bare name is no model of ours.
    """

    def __init__(self, upstream: Upstream, embeddings: Upstream | None = None) -> None:
        self.upstream = upstream
        self.embeddings = embeddings or upstream

    def upstream_of(self, endpoint: str) -> Upstream:
        """The upstream that answers an endpoint's requests."""
        return self.embeddings if endpoint == EMBEDDINGS else self.upstream

    def serves(self, model: str, endpoint: str = CHAT) -> bool:
        """Whether there is such a model at this endpoint."""
        return (
            self.upstream_of(endpoint).model is not None
            or echo.is_echo(model)
            or "/" in model.removeprefix(LOCAL)
        )

    def at_once(self, model: str, endpoint: str = CHAT) -> bool:
        """Whether the answer needs no waiting."""
        return self.upstream_of(endpoint).model is None and echo.is_echo(model)

    def names(self) -> list[str]:
        """The models that can be listed."""
        chat, vectors = self.upstream.model, self.embeddings.model
        named = list(echo.NAMES) if chat is None or vectors is None else []
        return named + list(dict.fromkeys(one for one in (chat, vectors) if one is not None))

    async def close(self) -> None:
        """End the calls that are under way."""
        await self.upstream.close()
        if self.embeddings is not self.upstream:
            await self.embeddings.close()

    def refusal(self, endpoint: str, body: Any) -> ApiError | None:
        """Why a request isn't taken; None if it is."""
        messages = endpoint == message_objects.MESSAGES
        try:
            wrong = messages_check.check(body) if messages else check(endpoint, body)
        except _MALFORMED as error:
            return bad_request(f"This request can't be read: {error}")
        if wrong is None and not self.serves(body["model"], endpoint):
            unknown = message_objects.no_model if messages else no_model
            wrong = unknown(body["model"])
        return wrong

    def now(self, endpoint: str, body: Mapping[str, Any], *, id_: str) -> Answer:
        """Echo's answer to a request that was checked. A request that it can't answer is a refusal."""
        try:
            return Answer(200, self._echo(endpoint, body, id_))
        except ApiError as error:
            return Answer(error.status, error.body())
        except _MALFORMED as error:
            wrong = bad_request(f"This request can't be answered: {error}")
            return Answer(wrong.status, wrong.body())

    @staticmethod
    def _echo(endpoint: str, body: Mapping[str, Any], id_: str) -> dict[str, Any]:
        created = int(time.time())
        if endpoint == EMBEDDINGS:
            return echo.embeddings(body)
        if endpoint == COMPLETIONS:
            return echo.completion(body, id_=id_, created=created)
        if endpoint not in _TRANSLATED:
            return echo.chat(body, id_=id_, created=created)
        request_of, answer_of = _TRANSLATED[endpoint]
        chat = echo.chat(request_of(body), id_=id_, created=created, names_stop=True)
        return answer_of(chat, body, id_=id_)

    async def later(self, endpoint: str, body: Mapping[str, Any], *, id_: str) -> Answer:
        """The answer to a request that was checked, from whoever gives it; a failure is an answer too."""
        if self.at_once(body["model"], endpoint):
            return self.now(endpoint, body, id_=id_)
        try:
            if endpoint not in _TRANSLATED:
                return Answer(200, await self.upstream_of(endpoint).ask(endpoint, body))
            request_of, answer_of = _TRANSLATED[endpoint]
            chat = await self.upstream.ask(CHAT, request_of(body))
            return Answer(200, answer_of(chat, body, id_=id_))
        except ApiError as error:
            return Answer(error.status, error.body())
        except Exception as error:  # litellm itself broke: this request's failure, not the server's
            wrong = ApiError(500, f"{type(error).__name__}: {error}", type_=SERVER_ERROR)
            return Answer(wrong.status, wrong.body())
