"""Requests answered by a litellm model; litellm is imported at the first request."""

from __future__ import annotations

import asyncio
import base64
import contextvars
import os
import threading
from array import array
from collections.abc import Iterable, Mapping
from typing import Any

from jupyter_batch.core.secrets import masked
from jupyter_batch.http.need_address import lacks_address
from jupyter_batch.http.network import guard_all, with_key
from jupyter_batch.http.place_fields import sendable
from jupyter_batch.process.warnings_context import quiet
from jupyter_batch.server.errors import INVALID_REQUEST, SERVER_ERROR, ApiError, bad_request
from jupyter_batch.server.translate.conform import (
    chat_completion,
    embeddings,
    joined,
    text_completion,
)

TRIES = 3
TIMEOUT = 600.0
_RETRIED = frozenset({408, 409, 429, 500, 502, 503, 504, 529})
_LONGEST_WAIT = 30.0
_LAST_MOMENT = 2.0
CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
_FUNCTIONS = {CHAT: "acompletion", COMPLETIONS: "atext_completion", EMBEDDINGS: "aembedding"}
_CONFORM = {CHAT: chat_completion, COMPLETIONS: text_completion, EMBEDDINGS: embeddings}
_loading = threading.Lock()


def _load() -> Any:
    """Import litellm so that it fetches nothing, prints nothing and logs nothing of our calls."""
    with _loading, quiet():
        for name in ("LITELLM_LOCAL_MODEL_COST_MAP", "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS"):
            os.environ.setdefault(name, "True")
        import litellm

        litellm.suppress_debug_info = True
        litellm.disable_hf_tokenizer_download = True
        try:
            from litellm._internal_context import is_internal_call
        except ImportError:  # private: where it is gone, the other guards stand
            return litellm, None
        return litellm, is_internal_call


class Upstream:
    """A litellm model, or, with `model=None`, whichever the request names.

    concurrency: how many requests may be under way at once. The key stays in memory and out of the repr.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        api_base: str | None = None,
        api_key: str | None = None,
        concurrency: int = 16,
    ) -> None:
        self.model = model.removeprefix("local/") if model else None
        self.api_base = api_base
        self.concurrency = concurrency
        self._key = api_key
        self._places = asyncio.Semaphore(concurrency)
        self._litellm: Any = None
        self._calls: set[asyncio.Task[Any]] = set()

    async def ask(self, endpoint: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The model's answer as OpenAI's JSON; ApiError with the upstream's status where it refused."""
        model = self.model or str(body["model"]).removeprefix("local/")
        if lacks_address(model, self.api_base):
            raise bad_request(
                f"{model}: start the server with --api-base, or these rows would go to OpenAI.",
                param="model",
            )
        if self._litellm is None:
            self._litellm = await asyncio.get_running_loop().run_in_executor(None, _load)
            guard_all(self._litellm[0])
        asked = {name: value for name, value in sendable(body).items() if name != "model"}
        packed = (
            asked.pop("encoding_format", None) == "base64"
        )  # not all have it: asked for as numbers, packed here
        prompts = asked.get("prompt")
        if endpoint == COMPLETIONS and isinstance(prompts, list) and _are_texts(prompts):
            bodies = [{**asked, "prompt": one} for one in prompts]  # litellm would join them
        else:
            bodies = [asked]
        answers = [await self._placed(endpoint, model, one) for one in bodies]
        answer = answers[0] if len(answers) == 1 else joined(answers)
        if packed:
            _pack(answer.get("data") or ())
        return answer

    async def _placed(self, endpoint: str, model: str, asked: dict[str, Any]) -> dict[str, Any]:
        async with self._places:
            reply = await self._tried(endpoint, model, asked)
        return _CONFORM[endpoint](reply)

    async def _tried(self, endpoint: str, model: str, asked: dict[str, Any]) -> dict[str, Any]:
        litellm, internal = self._litellm
        function = getattr(litellm, _FUNCTIONS[endpoint])
        common: dict[str, Any] = {"max_retries": 0, "timeout": TIMEOUT}
        if endpoint == EMBEDDINGS:
            common["encoding_format"] = "float"
            common["allowed_openai_params"] = [
                "dimensions"
            ]  # whether it is taken, the model decides
        if self.api_base:
            common["api_base"] = self.api_base
        if self._key:
            common["api_key"] = self._key
        for attempt in range(1, TRIES + 1):
            try:
                reply = await self._call(internal, function(model=model, **asked, **common))
                dump: dict[str, Any] = reply.model_dump(mode="json")
                return dump
            except Exception as error:  # any provider's own class: its status is what counts
                wrong, wait = _refusal(error), _wait(error, attempt)
                if attempt == TRIES or wrong.status not in _RETRIED:
                    raise wrong from error
            await asyncio.sleep(wait)
        raise AssertionError("unreachable")  # pragma: no cover

    async def _call(self, internal: Any, coroutine: Any) -> Any:
        """Await a call of litellm's with its logging off.

        Who stops waiting does not stop it: cut off in the middle, litellm leaves connections and coroutines behind.
        """
        with quiet(), with_key(self._key if self.api_base else None):
            context = contextvars.copy_context()
        if internal is not None:
            context.run(internal.set, True)
        call = asyncio.get_running_loop().create_task(coroutine, context=context)
        self._calls.add(call)
        call.add_done_callback(self._done)
        return await asyncio.shield(call)

    def _done(self, call: asyncio.Task[Any]) -> None:
        self._calls.discard(call)
        if not call.cancelled():
            call.exception()  # looked at, so that the loop does not complain where nobody waits any more

    async def close(self) -> None:
        """Give the calls that are under way a moment, and close litellm's connections."""
        if self._calls:
            _, late = await asyncio.wait(self._calls, timeout=_LAST_MOMENT)
            for call in late:
                call.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        if self._litellm is not None:
            await self._litellm[0].close_litellm_async_clients()


def _are_texts(prompts: list[Any]) -> bool:
    return len(prompts) > 0 and all(isinstance(one, str) for one in prompts)


def _refusal(error: Exception) -> ApiError:
    status = getattr(error, "status_code", None)
    status = status if isinstance(status, int) and status >= 400 else 500  # noqa: PLR2004 - HTTP errors begin there
    kind = getattr(error, "type", None)
    if status >= 500:  # noqa: PLR2004 - HTTP's own
        kind = SERVER_ERROR
    elif not isinstance(kind, str):
        kind = INVALID_REQUEST
    code, param = getattr(error, "code", None), getattr(error, "param", None)
    message = masked(str(getattr(error, "message", "") or error).strip()) or type(error).__name__
    return ApiError(
        status,
        message,
        type_=kind,
        code=None if code is None else str(code),
        param=param if isinstance(param, str) else None,
    )


def _wait(error: Exception, attempt: int) -> float:
    """Seconds until the next try: as the upstream asks, else growing from half a second."""
    headers = (
        getattr(error, "litellm_response_headers", None)
        or getattr(getattr(error, "response", None), "headers", None)
        or {}
    )
    try:
        return min(float(headers.get("retry-after", "")), _LONGEST_WAIT)
    except (TypeError, ValueError):
        return 0.5 * 2.0 ** (attempt - 1)


def _pack(rows: Iterable[dict[str, Any]]) -> None:
    """Encode vectors in base64, in place."""
    for row in rows:
        if isinstance(row.get("embedding"), list):
            row["embedding"] = base64.b64encode(array("f", row["embedding"]).tobytes()).decode()
