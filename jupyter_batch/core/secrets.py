"""Masking of secrets in texts from outside, and the secrets that this process knows.

The message of every error (core/errors.py) and every record of our logger passes through `masked`.
"""

from __future__ import annotations

import base64
import functools
import html
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote, quote_plus, unquote

MASK = "***"
_SHORTEST = 5
"""Shorter texts are not keys, and masking them would make sentences unreadable."""
_PART = 8
"""The leading or trailing characters of a secret that are masked where they stand by themselves."""
_NO_SECRETS = frozenset(
    {
        "no-key",
        "none",
        "empty",
        "dummy",
        "ollama",
        "lm-studio",
        "local",
        "token",
        "secret",
        "password",
    }
)
"""Placeholder keys for servers that need none, and words that are common in messages."""
_NAME = re.compile(r"(?i)(api_?key|_key|secret|token|password|credentials)$")
"""Names of environment variables that hold secrets, by their ending."""
_NO_SECRET_VARIABLES = re.compile(r"(?i)(^|_)(path|file|dir|url|name|id|key_id)$")
_WORD = re.compile(r"[^\W\d_]{1,15}|\d{1,15}")
"""A password such as postgres, or a flag. Masking it would make sentences and counts unreadable."""
_FILE = re.compile(r"(?:~|\.{0,2}|[A-Za-z]:)[/\\][^\n]*\.[A-Za-z]{2,5}|(?:/[a-z0-9_.-]+){2,}")
"""The path of a file that holds a secret. AWS keys may begin with a slash, but lack a suffix."""
_ANY_PATH = re.compile(r"(?:~|\.{0,2}|[A-Za-z]:)[/\\][^\n]*")
_PATHS = re.compile(r"(?i)credentials$")
"""Endings of variables with a path or JSON; a value that begins like a path is one."""
_PROXY = re.compile(r"(?i)(^|_)proxy$")
_HALF = re.compile(
    r"(?P<head>[\w\-+/=]{0,64}?)(?P<mask>\*{2,}|\.{3,}|…+|•{2,}|[xX]{4,})(?P<tail>[\w\-+/=]{0,64})"
)
"""A key as providers repeat it: its beginning, a mask and its end."""
_SHAPES = (
    # A header's value, also as Python or JSON. A digit distinguishes a token from a word.
    (re.compile(r"(?i)\b(bearer|basic)(\s+|%20)(?=[^\s\"'<>]*\d)[\w.~+/=%-]{8,}"), rf"\1 {MASK}"),
    (
        re.compile(
            r"(?i)([?&;](?:amp;)?(?:[\w.-]*(?:api[-_]?key|sig|signature|token|secret|credential)"
            r"|key|code|auth|password)=)[^&\s\"'<>)#]+"
        ),
        rf"\1{MASK}",
    ),
    (re.compile(r"(://)[^/\s\"'@]+@"), rf"\1{MASK}@"),
    (
        re.compile(
            r"(?i)(\b(?:x-)?(?:goog-)?api-?key[\"']?\s*[:=]\s*b?[\"']?)(?=[^\s\"',}]*\d)[^\s\"',}]{8,}"
        ),
        rf"\1{MASK}",
    ),
    # OpenAI and alike, Groq, xAI, Google, AWS, Hugging Face, Perplexity, Fireworks, GitHub.
    (
        re.compile(
            r"\b(?:sk|rk|pk|gsk|xai|pplx|fw|hf|ghp|gho|github_pat|nvapi|r8|tgp)[-_](?=[\w-]*\d)[\w-]{16,}"
        ),
        MASK,
    ),
    (re.compile(r"\bAIza[\w-]{30,}|\bya29\.[\w.-]{20,}|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), MASK),
)
"""Secrets that this process does not know, recognized by their format."""
_ASSIGNED = re.compile(r"[A-Z][A-Z0-9]*_[A-Z0-9_]*=[^=]")
"""The start of a line of a .env file."""

_known: dict[str, None] = {}  # only in memory, in order of arrival


def remember(secret: str | None) -> None:
    """Mask a secret from now on in every text that passes through `masked`."""
    if secret and is_secret(secret):
        _known[secret] = None


class UnusableKeyError(ValueError):
    """Why a text is no key, without the text."""


def clean(text: str) -> str:
    """Return a key as a header can carry it, without surrounding white space and quotes.

    Raises UnusableKeyError, without repeating the key, for characters that are not allowed in one.
    """
    key = text.strip()
    if len(key) > 1 and key[0] == key[-1] and key[0] in "\"'":
        key = key[1:-1].strip()
    if not key:
        raise UnusableKeyError("is empty")
    if _ASSIGNED.match(key):
        raise UnusableKeyError(
            "begins with a variable's name and '=', which are no part of the key"
        )
    bad = next((at for at, char in enumerate(key) if not "!" <= char <= "~"), None)
    if bad is None:
        return key
    what = "white space or a control character" if key[bad] <= " " else "a character outside ASCII"
    raise UnusableKeyError(f"holds {what} (at position {bad + 1} of {len(key)})")


def given() -> tuple[str, ...]:
    """Return the secrets that were passed to calls, or read from the environment for a call."""
    return tuple(_known)


def known(environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return the secrets of this process: those passed to calls and those of the environment."""
    found = dict(_known)
    for _, value in in_environment(os.environ if environ is None else environ):
        found[value] = None
    return tuple(found)


def in_environment(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the name and the secret of each environment variable that holds one."""
    for name in environ:  # a value takes long to read, and most hold no secret
        if _holds_secret(name) and _is_variable_secret(name, value := environ.get(name, "")):
            yield name, value
        elif _is_proxy(name):
            parts = _passwords(environ.get(name, ""))
            yield from ((name, part) for part in parts if _is_variable_secret("", part))


@functools.lru_cache(maxsize=1024)
def _holds_secret(name: str) -> bool:
    return bool(_NAME.search(name)) and not _NO_SECRET_VARIABLES.search(name)


@functools.lru_cache(maxsize=1024)
def _is_proxy(name: str) -> bool:
    return bool(_PROXY.search(name))


@functools.lru_cache(maxsize=1024)
def _is_variable_secret(name: str, value: str) -> bool:
    """Whether a variable's value is a secret, rather than a word, a flag or a path."""
    kept = value.strip()
    if _WORD.fullmatch(kept) or _FILE.fullmatch(kept):
        return False
    if _PATHS.search(name) and _ANY_PATH.fullmatch(kept):
        return False
    return is_secret(kept)


def _passwords(address: str) -> set[str]:
    """Return the password in a proxy's address, as written and decoded."""
    user, at, _ = address.rpartition("@")
    password = user.rpartition("://")[2].partition(":")[2]
    return {password, unquote(password)} if at and password else set()


def masked(text: str) -> str:
    """Return the text with all known secrets, and everything in a key's format, masked."""
    return _masked(text, known())


@functools.lru_cache(maxsize=4096)
def _masked(text: str, secrets: tuple[str, ...]) -> str:
    return mask(text, secrets)  # the rows of a batch fail for a few reasons


def mask(text: str, secrets: Iterable[str]) -> str:
    """Return the text with these secrets masked: plain, encoded, partial or already half masked."""
    kept = tuple(dict.fromkeys(secret.strip() for secret in secrets if is_secret(secret)))
    for secret in kept:
        for form in forms(secret):
            text = text.replace(form, MASK)
    for pattern, instead in _SHAPES:
        text = pattern.sub(instead, text)
    if not kept:
        return text
    text = _HALF.sub(functools.partial(_half, kept), text)
    for secret in kept:
        text = _parts(text, secret)
    return text


@functools.lru_cache(maxsize=256)
def forms(secret: str) -> tuple[str, ...]:
    """Return the spellings of a secret, longest first: plain, escaped, URL-encoded, base64, hex."""
    made = {secret}
    for text in (secret, secret.strip()):
        data = text.encode("utf-8", "surrogatepass")
        made |= {
            text,
            repr(text)[1:-1],
            repr(data)[2:-1],
            json.dumps(text)[1:-1],
            json.dumps(text, ensure_ascii=False)[1:-1],
            html.escape(text),
            data.hex(),
            *_quoted(data),
            *_base64(data),
        }
    return tuple(sorted((one for one in made if len(one) >= _SHORTEST), key=len, reverse=True))


def _quoted(data: bytes) -> set[str]:
    made = {quote(data), quote(data, safe=""), quote_plus(data)}
    return made | {re.sub(r"%[0-9A-F]{2}", lambda found: found[0].lower(), one) for one in made}


def _base64(data: bytes) -> set[str]:
    """Return the part that is the same at every offset of the encoded text (`user:secret`)."""
    made = set()
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + data).decode().rstrip("=")
        inner = whole[(0, 2, 3)[before] :]
        inner = inner if (before + len(data)) % 3 == 0 else inner[:-1]
        made |= {inner, inner.replace("+", "-").replace("/", "_")}
    return {one for one in made if len(one) >= _PART}


def _half(secrets: tuple[str, ...], found: re.Match[str]) -> str:
    head, tail = found["head"], found["tail"]
    for secret in secrets:
        begins = any(secret.startswith(head[at:]) for at in range(len(head) - 1))
        ends = len(tail) > 1 and secret.endswith(tail)
        if begins or (ends and not head):
            return MASK if ends or not tail else MASK + tail
    return found[0]


def _parts(text: str, secret: str) -> str:
    """Return the text without beginnings or ends of the secret: some servers show a part."""
    if len(secret) < 2 * _PART:
        return text
    head, tail = secret[:_PART], secret[-_PART:]
    at = text.find(head)
    while at >= 0:
        length = _PART
        while length < len(secret) and text[at + length : at + length + 1] == secret[length]:
            length += 1
        text = text[:at] + MASK + text[at + length :]
        at = text.find(head, at + len(MASK))
    at = text.find(tail)
    while at >= 0:
        length = _PART
        while length < len(secret) and at > 0 and text[at - 1] == secret[-length - 1]:
            at, length = at - 1, length + 1
        text = text[:at] + MASK + text[at + length :]
        at = text.find(tail, at + len(MASK))
    return text


def is_secret(text: str) -> bool:
    """Whether a text is long enough for a secret, and no common word."""
    kept = text.strip()
    return len(kept) >= _SHORTEST and kept.lower() not in _NO_SECRETS
