"""The facts about providers that are called in real time alone."""

from __future__ import annotations

from jupyter_batch.providers.record import Record


def _record(name: str, title: str, *hosts: str, serves: str) -> Record:
    return Record(
        name=name,
        title=title,
        litellm=name,
        dialect=None,
        source="litellm: no batch calls for it",
        batch=False,
        instead='mode="realtime"',
        key=(f"{name.upper()}_API_KEY",),
        base=(f"{name.upper()}_API_BASE",),
        hosts=hosts,
        serves=(serves,),
    )


def _local(name: str, title: str, *, shown: bool = False) -> Record:
    return Record(
        name=name,
        title=title,
        litellm=name,
        dialect=None,
        source="litellm: no batch calls for it",
        batch=False,
        instead='mode="realtime"',
        base=(f"{name.upper()}_API_BASE",),
        free="default",
        shown=shown,
    )


RECORDS = (
    _record("cohere", "Cohere", r"api\.cohere\.(ai|com)", serves="command-"),
    _record("deepseek", "DeepSeek", r"api\.deepseek\.com", serves="deepseek"),
    _local("ollama", "Ollama", shown=True),
    _local("ollama_chat", "Ollama"),
    _local("lm_studio", "LM Studio"),
    _local("llamafile", "llamafile"),
)
