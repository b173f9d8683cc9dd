"""Which variables of the environment hold a secret, so that its forms are masked and no other word is."""

from __future__ import annotations

import base64

import pytest

from jupyter_batch.core.secrets import in_environment, masked
from jupyter_batch.http.network import through
from jupyter_batch.providers.table import check_model

PATHS = [
    ("GOOGLE_APPLICATION_CREDENTIALS", "/home/user/keys/service-account.json"),
    ("GOOGLE_APPLICATION_CREDENTIALS", "~/adc"),
    ("VERTEXAI_CREDENTIALS", "/home/User/Key Files/account"),
    ("VERTEXAI_CREDENTIALS", "C:\\Users\\me\\account.json"),
    ("AWS_SHARED_CREDENTIALS", "./credentials"),
    ("TLS_KEY", "/etc/ssl/private/server.pem"),
    ("OPENAI_TOKEN", "/run/secrets/openai"),
]
WORDS = [
    ("POSTGRES_PASSWORD", "postgres"),
    ("DB_PASSWORD", "Batch"),
    ("USE_API_KEY", "false"),
    ("PIN_TOKEN", "12345"),
]
SECRETS = [
    ("VERTEXAI_CREDENTIALS", '{"private_key": "PRIVATE-0123456789"}', ""),
    ("AWS_SECRET_ACCESS_KEY", "/wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", ""),
    ("DB_PASSWORD", "hunter22", ""),
    ("DB_PASSWORD", "correcthorsebatterystaple", ""),
    ("HTTPS_PROXY", "http://me:proxy-pass-77@proxy.example:8080", "proxy-pass-77"),
    ("all_proxy", "me:p%40ss-word-77@proxy.example", "p@ss-word-77"),
]


@pytest.mark.parametrize(("name", "value"), PATHS + WORDS)
def test_paths_and_words_are_none(name, value, monkeypatch):
    """Masking them would make a sentence unreadable, and refuse a model's name that holds a path."""
    monkeypatch.setenv(name, value)
    sentence = (
        f"no such file: {value}; 12345 rows of batch postgres are false in /home/user/other.txt"
    )
    assert masked(sentence) == sentence
    assert list(in_environment({name: value})) == []


def test_a_model_in_the_folder_of_a_credentials_file(monkeypatch):
    """VLLM's models are called by their paths."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/home/user/adc.json")
    check_model("hosted_vllm//home/user/models/llama")


@pytest.mark.parametrize(("name", "value", "secret"), SECRETS)
def test_secrets_are(name, value, secret, monkeypatch):
    """Also JSON, base64 that begins with a slash, long words, and the password of a proxy in each form."""
    monkeypatch.setenv(name, value)
    secret = secret or value
    assert secret in {held for _, held in in_environment({name: value})}
    assert secret not in masked(f"the server says {secret!s} is wrong")
    encoded = base64.b64encode(f"me:{secret}".encode()).decode()
    assert encoded not in masked(f"Proxy-Authorization: {encoded}")


def test_a_proxy_that_is_no_address(monkeypatch):
    """It is named without an error, and without its password."""
    monkeypatch.setenv("HTTP_PROXY", "http://me:proxy-pass-77@[::1")
    for name in ("http_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    words = through("http://far.example/v1")
    assert "through the proxy" in words
    assert "proxy-pass-77" not in words
