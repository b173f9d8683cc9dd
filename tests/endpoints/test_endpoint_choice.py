"""Which endpoint a model is asked at: by litellm's list, without importing litellm, and by the id's own prefix."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

from jupyter_batch.core.errors import ModelError
from jupyter_batch.http.litellm import load_litellm
from jupyter_batch.providers import endpoints
from jupyter_batch.providers.endpoints import for_text, for_vectors
from jupyter_batch.wire.openai import CHAT, EMBEDDINGS, RESPONSES


@pytest.mark.parametrize(
    ("model", "endpoint", "name"),
    [
        ("openai/gpt-4.1-mini", CHAT, "gpt-4.1-mini"),
        ("openai/o3-pro", RESPONSES, "o3-pro"),
        ("openai/gpt-5.1-codex", RESPONSES, "gpt-5.1-codex"),
        (
            "openai/computer-use-preview",
            RESPONSES,
            "computer-use-preview",
        ),  # mode chat, with one endpoint
        ("openai/responses/gpt-4.1-mini", RESPONSES, "gpt-4.1-mini"),
        ("openai/my-own-model", CHAT, "my-own-model"),
        ("openai/org/my-model", CHAT, "org/my-model"),
        ("hosted_vllm/o3-pro", CHAT, "o3-pro"),  # a server of its own may call its model so
        ("mistral/mistral-small-latest", CHAT, "mistral-small-latest"),
        ("azure/my-deployment", "/chat/completions", "my-deployment"),
        ("local/echo", CHAT, "echo"),
        ("local/responses/echo", RESPONSES, "echo"),
    ],
)
def test_a_batch_goes_to_the_endpoint_that_the_model_speaks(model, endpoint, name):
    """Chat, unless the model speaks /v1/responses alone or its id says so."""
    assert for_text(model, mode="batch") == (endpoint, name)
    if "azure" not in model:
        assert for_text(model, mode="realtime") == (endpoint, name)


def test_the_list_is_read_without_litellm():
    """A submission does not import litellm to learn which endpoint a model speaks."""
    code = (
        "import sys; from jupyter_batch.providers.endpoints import for_text; "
        "assert for_text('openai/o3-pro', mode='batch').endpoint == '/v1/responses'; "
        "assert 'litellm' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_the_file_and_litellm_agree(monkeypatch):
    """The file's entry for each model of OpenAI's and xAI's is the one in litellm once it is imported."""
    held = load_litellm().model_cost
    models = [
        name
        for name, shown in held.items()
        if shown.get("litellm_provider") in ("openai", "xai")
        and shown.get("mode") in ("chat", "responses")
    ]
    ids = [name if name.startswith("xai/") else f"openai/{name}" for name in models]
    imported = [for_text(one, mode="batch") for one in ids]
    monkeypatch.delitem(sys.modules, "litellm")
    assert [for_text(one, mode="batch") for one in ids] == imported
    assert {one.endpoint for one in imported} == {CHAT, RESPONSES}


def test_a_model_that_a_person_registered_counts(monkeypatch):
    """A model that was registered with litellm in this process is called as registered."""
    for name in ("brand-new", "xai/brand-new", "azure/brand-new"):
        monkeypatch.setitem(load_litellm().model_cost, name, {"mode": "responses"})
    for model in ("openai/brand-new", "xai/brand-new"):
        assert for_text(model, mode="batch") == (RESPONSES, "brand-new")
    with pytest.raises(ModelError, match="take a model that speaks chat"):
        for_text("azure/brand-new", mode="batch")


@pytest.mark.parametrize(
    ("model", "mode", "message"),
    [
        ("openai/text-embedding-3-small", "batch", "df.llm.embed"),
        ("openai/gpt-image-1", "batch", "image generation"),
        ("openai/gpt-3.5-turbo-instruct", "batch", "realtime"),
        ("azure/o3-pro", "batch", "/v1/responses alone"),
    ],
)
def test_a_model_that_makes_no_text_here_is_refused(model, mode, message):
    """A model for vectors or images, and one whose endpoint a batch can't have, are refused with the way out."""
    with pytest.raises(ModelError, match=message):
        for_text(model, mode=mode)


def test_litellms_own_way_wants_a_package(monkeypatch):
    """Where only litellm could ask /v1/responses, it is asked if it can be; else what is missing is named."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "mcp" else find(name)
    )
    with pytest.raises(ModelError, match="pip install mcp"):
        for_text("azure/o3-pro", mode="realtime")
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: object() if name == "mcp" else find(name)
    )
    assert for_text("azure/o3-pro", mode="realtime").endpoint == CHAT


def test_vectors_come_from_models_that_make_them():
    """Known embedding models and unknown ones are asked; a model for text is refused, and so is Anthropic's batch."""
    assert for_vectors("openai/text-embedding-3-small", mode="batch") == (
        EMBEDDINGS,
        "text-embedding-3-small",
    )
    assert for_vectors("mistral/mistral-embed", mode="batch") == (EMBEDDINGS, "mistral-embed")
    assert for_vectors("openai/my-embedder", mode="batch").endpoint == EMBEDDINGS
    assert for_vectors("azure/text-embedding-3-small", mode="realtime").endpoint == EMBEDDINGS
    for model in ("openai/gpt-4.1-mini", "openai/responses/my-model"):
        with pytest.raises(ModelError, match="no vectors"):
            for_vectors(model, mode="batch")
    for model in ("azure/text-embedding-3-small", "anthropic/embedder"):
        with pytest.raises(ModelError, match='mode="realtime"'):
            for_vectors(model, mode="batch")


def test_base64_is_asked_for_where_it_is_sure():
    """OpenAI itself and our own server send vectors in base64; another server is not asked for it."""
    assert endpoints.packs("openai", "https://api.openai.com/v1")
    assert endpoints.packs("local", None)
    assert not endpoints.packs("openai", "http://localhost:8000/v1")
    assert not endpoints.packs("mistral", None)
