"""Resolution of a bare model name to litellm's full name, by a table of prefixes."""

from __future__ import annotations

import re
from collections.abc import Mapping

from jupyter_batch.core.errors import ModelError

_ONE_HOST = (
    # litellm's rule where it has one; not its price list, whose bare names are mostly Bedrock's.
    (r"(?!gpt-oss)(gpt-|chatgpt-)|o[134](-|$)", "openai"),
    (r"text-embedding-(3|ada)|ft:gpt-|omni-moderation|computer-use-preview", "openai"),
    (r"claude-", "anthropic"),
    (r"(open-)?(mistral|mixtral|ministral|codestral|magistral|pixtral|devstral)-", "mistral"),
    (r"grok-", "xai"),
    (r"(us|eu|apac|jp|au|global)\.(anthropic|amazon|meta|mistral)\.", "bedrock"),
)
_GEMINI = r"gemini-|gemma-"
_MANY_HOSTS = r"deepseek|command-|qwen|kimi-|llama|gpt-oss|meta-llama"
_KEYS = {
    "openai": ("OPENAI_API_KEY",),
    "anthropic": ("ANTHROPIC_API_KEY",),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "mistral": ("MISTRAL_API_KEY",),
    "xai": ("XAI_API_KEY",),
    "deepseek": ("DEEPSEEK_API_KEY",),
    "cohere": ("COHERE_API_KEY", "CO_API_KEY"),
    "groq": ("GROQ_API_KEY",),
    "together_ai": ("TOGETHER_API_KEY", "TOGETHERAI_API_KEY"),
    "fireworks_ai": ("FIREWORKS_API_KEY", "FIREWORKS_AI_API_KEY"),
    "openrouter": ("OPENROUTER_API_KEY",),
    "dashscope": ("DASHSCOPE_API_KEY",),
    "moonshot": ("MOONSHOT_API_KEY",),
}
_HOSTS = {  # for models that several hosts serve
    "deepseek": ("deepseek", "together_ai", "fireworks_ai", "openrouter"),
    "command-": ("cohere", "openrouter"),
    "qwen": ("dashscope", "together_ai", "fireworks_ai", "groq", "openrouter"),
    "kimi-": ("moonshot", "together_ai", "groq", "openrouter"),
    "llama": ("groq", "together_ai", "fireworks_ai", "openrouter"),
    "meta-llama": ("together_ai", "fireworks_ai", "openrouter"),
    "gpt-oss": ("groq", "together_ai", "fireworks_ai", "openrouter"),
}
_SEPARATED = re.compile(r"([a-z][a-z0-9_]*):(?!ft:)(.+)")
_PROVIDERS = frozenset({*_KEYS, "vertex_ai", "azure", "bedrock", "ollama", "local", "hosted_vllm"})


def full_name(model: str, *, api_base: str | None, environ: Mapping[str, str]) -> str:
    """Return `openai/gpt-4o-mini` for `gpt-4o-mini` or `openai:gpt-4o-mini`; full names unchanged.

    api_base: with an explicit address a bare name is `openai/NAME`, as for every compatible server.
    Raises ModelError where several hosts serve the model, or none is known.
    """
    name = model.strip()
    if not name or "/" in name or "?" in name or "#" in name:
        return model
    separated = _SEPARATED.fullmatch(name)
    if separated and separated[1] in _PROVIDERS:
        return f"{separated[1]}/{separated[2]}"
    if api_base is not None:
        return f"openai/{name}"
    low = name.lower()
    for pattern, provider in _ONE_HOST:
        if re.match(pattern, low):
            return f"{provider}/{name}"
    if re.match(_GEMINI, low):
        return f"{_googles(environ)}/{name}"
    raise ModelError(_refusal(name, low, environ))


def _googles(environ: Mapping[str, str]) -> str:
    """Return Vertex if only its settings are set; with a Gemini key, or neither, the Gemini API."""
    has_key = any(environ.get(key) for key in _KEYS["gemini"])
    cloud = any(environ.get(name) for name in ("VERTEXAI_PROJECT", "VERTEX_PROJECT"))
    return "vertex_ai" if cloud and not has_key else "gemini"


def _refusal(name: str, low: str, environ: Mapping[str, str]) -> str:
    family = re.match(_MANY_HOSTS, low)
    if family is None:
        return (
            f"the model {name!r} has no provider, and which one is meant is not known: write it as "
            f'litellm does, PROVIDER/{name} (such as "openai/...", "anthropic/...", "mistral/..."), or '
            "give api_base= for a server of OpenAI's API"
        )
    hosts = _HOSTS[family[0]]
    here = [host for host in hosts if any(environ.get(key) for key in _KEYS[host])]
    named = " or ".join(f'"{host}/{name}"' for host in here or hosts)
    keys = "the hosts whose keys are here" if here else "such as"
    return f"the model {name!r} is served by several hosts: name the one that is meant, {keys}: {named}"
