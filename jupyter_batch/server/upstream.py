"""Requests answered by a litellm model; litellm is imported at the first one. It must not know batches or files."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import Mapping
from typing import Any

from jupyter_batch.server.errors import SERVER_ERROR, ApiError

TRIES = 3
TIMEOUT = 600.0
_RETRIED = frozenset({408, 409, 429, 500, 502, 503, 504, 529})
_LONGEST_WAIT = 30.0
_NEEDS_BASE = ("hosted_vllm/", "litellm_proxy/", "openai_like/", "custom_openai/")
_OURS = frozenset({"model", "stream", "stream_options"})
_loading = threading.Lock()


def _load() -> Any:
    """Import litellm so that it fetches nothing, prints nothing and logs nothing of our calls."""
    with _loading:
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

    def __init__(self, model: str | None = None, *, api_base: str | None = None, api_key: str | None = None,
                 concurrency: int = 16) -> None:
        self.model = model.removeprefix("local/") if model else None
        self.api_base = api_base
        self.concurrency = concurrency
        self._key = api_key
        self._places = asyncio.Semaphore(concurrency)
        self._litellm: Any = None

    async def ask(self, endpoint: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The model's answer as OpenAI's JSON; ApiError with the upstream's status where it refused."""
        model = self.model or str(body["model"]).removeprefix("local/")
        if model.startswith(_NEEDS_BASE) and not self.api_base:
            raise ApiError(400, f"{model}: start the server with --api-base, or these rows would go to OpenAI.",
                           param="model")
        if self._litellm is None:
            self._litellm = await asyncio.get_running_loop().run_in_executor(None, _load)
        asked = {name: value for name, value in body.items() if name not in _OURS}
        async with self._places:
            return await self._tried(endpoint, model, asked)

    async def _tried(self, endpoint: str, model: str, asked: dict[str, Any]) -> dict[str, Any]:
        litellm, internal = self._litellm
        function = litellm.aembedding if endpoint == "/v1/embeddings" else litellm.acompletion
        common: dict[str, Any] = {"max_retries": 0, "timeout": TIMEOUT}
        if self.api_base:
            common["api_base"] = self.api_base
        if self._key:
            common["api_key"] = self._key
        for attempt in range(1, TRIES + 1):
            try:
                answer = await _in_own_context(internal, function, model=model, **asked, **common)
                return _plain(answer)
            except Exception as error:  # any provider's own class: its status is what counts
                wrong, wait = _refusal(error), _wait(error, attempt)
                if attempt == TRIES or wrong.status not in _RETRIED:
                    raise wrong from error
            await asyncio.sleep(wait)
        raise AssertionError("unreachable")  # pragma: no cover

    async def close(self) -> None:
        """Close litellm's connections, if there are any."""
        if self._litellm is not None:
            await self._litellm[0].close_litellm_async_clients()


async def _in_own_context(internal: Any, function: Any, **kwargs: Any) -> Any:
    """Call with litellm's logging of calls off, in a context of its own."""
    context = contextvars.copy_context()
    if internal is not None:
        context.run(internal.set, True)
    return await asyncio.get_running_loop().create_task(function(**kwargs), context=context)


def _plain(answer: Any) -> dict[str, Any]:
    body: dict[str, Any] = answer.model_dump(mode="json")
    for choice in body.get("choices") or ():
        choice.setdefault("logprobs", None)
        choice.get("message", {}).setdefault("refusal", None)
    return {name: value for name, value in body.items() if not name.startswith("_")}


def _refusal(error: Exception) -> ApiError:
    status = getattr(error, "status_code", None)
    status = status if isinstance(status, int) and status >= 400 else 500  # noqa: PLR2004 - HTTP errors begin there
    kind = getattr(error, "type", None)
    if not isinstance(kind, str):
        kind = SERVER_ERROR if status >= 500 else "invalid_request_error"  # noqa: PLR2004 - HTTP's own
    code, param = getattr(error, "code", None), getattr(error, "param", None)
    message = str(getattr(error, "message", "") or error).strip() or type(error).__name__
    return ApiError(status, message, type_=kind, code=None if code is None else str(code),
                    param=param if isinstance(param, str) else None)


def _wait(error: Exception, attempt: int) -> float:
    """Seconds until the next try: what the upstream said, or growing from half a second."""
    headers = getattr(error, "litellm_response_headers", None) or getattr(
        getattr(error, "response", None), "headers", None) or {}
    try:
        return min(float(headers.get("retry-after", "")), _LONGEST_WAIT)
    except (TypeError, ValueError):
        return 0.5 * 2.0 ** (attempt - 1)
