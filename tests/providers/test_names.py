"""No provider's name in a condition outside the provider's own folder."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import jupyter_batch
from jupyter_batch.providers.record import RECORDS

PACKAGE = Path(jupyter_batch.__file__).parent
NAMES = {name for name in RECORDS if " " not in name}
OWN = ("providers/openai", "providers/compatible", "providers/local", "providers/realtime_only")
"""Folders whose names differ from the names in them, other than providers/NAME and wire/NAME."""
NOT_PROVIDERS = {
    "server": "the embedded server, which is the provider `local`, and imports no other package",
    "http/need_address.py": "litellm's routing, which the embedded server has to know, too",
    "core/secrets.py": "words that are no keys",
}
DIALECT = "wire.dialects.OPENAI"
"""The format of requests as they were given, named as the ledger has always named it."""
TESTS = {"startswith", "endswith", "removeprefix", "removesuffix", "get", "match", "fullmatch"}
"""Methods that choose by a text."""


def constants(tree):
    """Each module-level name -> the texts in its value."""
    found = {}
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            for target in targets:
                names = target.elts if isinstance(target, ast.Tuple) else [target]
                for name in names:
                    if isinstance(name, ast.Name):
                        found[name.id] = texts(keys(node.value))
    return found


def keys(node):
    """The operands of a lookup in a value: of a dict its keys."""
    return ast.List([key for key in node.keys if key]) if isinstance(node, ast.Dict) else node


def texts(node):
    """Every text in an expression."""
    return {
        one.value
        for one in ast.walk(node)
        if isinstance(one, ast.Constant) and isinstance(one.value, str)
    }


def compared(tree, known):
    """(line, the texts that a condition compares with) for each condition of a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            parts = [node.value]
        elif isinstance(node, ast.Subscript):
            parts = [node.value] if isinstance(node.value, ast.Name) else []
            parts += [node.value] if isinstance(node.value, ast.Dict) else []
            parts = [keys(part) for part in parts]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            parts = [node.func.value, *node.args] if node.func.attr in TESTS else []
            parts = [keys(part) for part in parts]
        else:
            continue
        found = set().union(*map(texts, parts)) if parts else set()
        for part in parts:
            for name in ast.walk(part):
                if isinstance(name, ast.Name):
                    found |= known.get(name.id, set())
        yield node.lineno, found


def offences(path, source):
    """The conditions of a module with a provider's name in them."""
    tree = ast.parse(source)
    return [
        f"{path}:{line}: {name}"
        for line, found in compared(tree, constants(tree))
        for name in sorted({text.rstrip("/:") for text in found} & NAMES)
    ]


def is_own(path):
    """Whether a module is of a provider's folder, where its name is at home."""
    parts = path.split("/")
    return (parts[0] in ("providers", "wire") and len(parts) > 2) or any(
        path.startswith(where) for where in NOT_PROVIDERS
    )


def test_no_provider_is_named_in_a_condition():
    """Differences of providers are facts in their records, or methods of their protocol."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if not is_own(name):
            found += offences(name, path.read_text(encoding="utf-8"))
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        'if provider == "openai": pass',
        'if provider in ("azure", "xai"): pass',
        'A = frozenset({"mistral"})\nif provider in A: pass',
        'if model.startswith("anthropic/"): pass',
        'match provider:\n    case "bedrock": pass',
        'T = {"anthropic": 1}\nT.get(provider)',
        'T = {"anthropic": 1}\nT[provider]',
        'L = "local"\nx = 1 if provider == L else 2',
    ],
)
def test_each_form_of_a_condition_is_seen(source):
    """The check finds a name however it is compared."""
    assert offences("x.py", source)
