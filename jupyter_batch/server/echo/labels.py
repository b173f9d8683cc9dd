"""Classification by the echo model: the labels that a prompt offers, and the label that fits.

Labels are looked for only near a word that asks for a choice (`ASKS`), in these forms:
`(a/b/c)`, `(a | b | c)`, `(a, b or c)`, `[a, b]`, quoted lists (`"a", "b" or "c"`), `a/b/c`,
`one of: a, b, c`, `labels: a, b, c`, `as a or b`, `is it a, b or c?`.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b

ASKS = re.compile(
    r"\b(?:classif\w*|categor\w*|label\w*|sentiment\w*|choose|pick|select|decide|tag|rate|assign|one of|which of|"
    r"answer (?:only )?with|reply (?:only )?with|respond (?:only )?with|is (?:it|this)|options?)\b",
    re.IGNORECASE,
)
# Repetitions are bounded and unambiguous, so that any prompt takes linear time.
_BRACKETS = re.compile(r"\(([^()\n]{3,200})\)|\[([^\[\]\n]{3,200})\]|\{([^{}\n]{3,200})\}")
_SLASHES = re.compile(r"(?<![\w/:.])[^\W\d_][\w-]{0,30}(?:/[^\W\d_][\w-]{0,30}){1,19}(?![\w/])")
_QUOTED = re.compile(
    r"""(?:["'`]([^"'`\n]{1,40})["'`](?:\s{0,9}(?:,|\bor\b|\band\b|/|\|)){0,3}\s{0,9}){2,20}"""
)
_ONE_QUOTED = re.compile(r"""["'`]([^"'`\n]{1,40})["'`]""")
_LISTED = re.compile(
    r"\b(?:one of(?: the following)?(?: \w{1,40})?|labels?|options?|categories|classes)"
    r"(?:\s{0,9}:)?\s{1,9}([^.:;\n?!]{3,200})",
    re.IGNORECASE,
)
_AS = re.compile(
    r"\b(?:as(?: either)?|either|with(?: either)?)(?:\s{0,9}:)?\s{1,9}([^.:;\n?!]{3,200})",
    re.IGNORECASE,
)
_PLAIN = re.compile(
    r"(?<![\w-])(?<!,)(?<!,\s)[^\W\d_][\w-]{0,40}"
    r"(?:(?:,\s{0,9}[^\W\d_][\w-]{0,40}){1,19},?\s{1,9}or\s{1,9}[^\W\d_][\w-]{0,40}|"
    r"\s{1,9}or\s{1,9}[^\W\d_][\w-]{0,40}(?=\?))",
    re.IGNORECASE,
)
_BETWEEN = re.compile(r"\s*(?:,\s*or\b|,\s*and\b|,|\bor\b|\band\b|/|\|)\s*", re.IGNORECASE)
_STRONG = re.compile(r"\s*(?:,\s*or\b|,|\bor\b|/|\|)\s*", re.IGNORECASE)
_SPACES = str.maketrans(
    {
        **dict.fromkeys(
            string.punctuation.replace("'", "") + "\u201c\u201d\u2026\u2013\u2014", " "
        ),
        "\u2019": "'",
    }
)
_NEAR = 80  # characters between the asking word and its labels
_MOST_LABELS, _LONGEST_LABEL, _LONGEST_WORDS = 20, 40, 4
_HEAD, _TAIL = 48_000, 16_000
"""Characters at the start and the end of a prompt that are searched for labels."""

_SENTIMENT = {
    1: "amazing awesome best better clean comfortable easy enjoyed excellent fantastic fast fine good great "
    "happy impressed incredible like love loved lovely nice outstanding perfect pleased polite quick "
    "satisfied super warm well wonderful works worth",
    -1: "awful bad broke broken cheap cold crap damaged defective difficult disappointed disappointing error "
    "failed frustrating garbage hard hate horrible junk lack lacks late lousy missing overpriced poor problem "
    "problems return returned slow terrible ugly waste worst wrong",
}
"""Words of the demo's reviews, by their sentiment."""
_SCORES = {word: score for score, text in _SENTIMENT.items() for word in text.split()}
_NOT = frozenset(
    "not no never none neither nor without hardly barely isn't wasn't aren't weren't don't doesn't didn't won't "  # noqa: SIM905
    "can't cannot couldn't haven't hasn't".split()
)
_REACH = 3  # a "not" negates the next three words
_BUT = frozenset({"but", "however", "though", "although", "yet"})
_MARKS = _SCORES.keys() | _NOT | _BUT
_KINDS = {
    1: "positive pos good happy favorable favourable like recommend satisfied yes true great",
    -1: "negative neg bad unhappy unfavorable unfavourable dislike angry sad dissatisfied no false poor",
    0: "neutral mixed neither ok okay unclear unknown other maybe",
}
"""Labels by what they mean."""
_LABELS = {label: kind for kind, text in _KINDS.items() for label in text.split()}


def words(text: str) -> list[str]:
    """Return the text's words in lower case, with plain apostrophes."""
    return text.lower().translate(_SPACES).split()


def sentiment(text: str) -> float:
    """Return the good words less the bad ones; a "not" negates, a "but" doubles what follows."""
    found = words(text)
    score, turned_until, weight = 0.0, -1, 1.0
    for place in [place for place, word in enumerate(found) if word in _MARKS]:
        word = found[place]
        if word in _NOT:
            turned_until = place + _REACH
        elif word in _BUT:
            weight, turned_until = 2.0, -1
        else:
            score += weight * _SCORES[word] * (-1 if place <= turned_until else 1)
    return score


def offered(prompt: str) -> tuple[tuple[str, ...], str] | None:
    """Return the labels that the prompt offers, and the text to classify; None without labels."""
    if len(prompt) <= _HEAD + _TAIL:
        return _offered_in(prompt, 0, len(prompt))
    return _offered_in(prompt, 0, _HEAD) or _offered_in(prompt, len(prompt) - _TAIL, len(prompt))


def _offered_in(prompt: str, start: int, end: int) -> tuple[tuple[str, ...], str] | None:
    if not ASKS.search(prompt, start, end):
        return None
    for pattern in (_BRACKETS, _QUOTED, _SLASHES, _LISTED, _AS, _PLAIN):
        for match in pattern.finditer(prompt, start, end):
            if not ASKS.search(prompt, max(start, match.start() - _NEAR), match.end()):
                continue
            if pattern is _QUOTED:
                labels = tuple(label.strip() for label in _ONE_QUOTED.findall(match[0]))
            else:
                labels = _split(next(filter(None, match.groups()), match[0]))
            if len(labels) > 1:
                return labels, _rest(prompt, match.span())
    return None


@lru_cache(maxsize=256)
def _split(text: str) -> tuple[str, ...]:
    """Return the labels in "a, b or c"; () for any other text. Cached: a batch repeats them."""
    if not _STRONG.search(text):
        return ()
    separator = re.compile(r"\s*[/|]\s*") if re.search(r"[/|]", text) else _BETWEEN
    labels = [part.strip(" \t\"'`") for part in separator.split(text)]
    labels = [label for label in labels if label]
    short = all(
        len(label) <= _LONGEST_LABEL and len(label.split()) <= _LONGEST_WORDS for label in labels
    )
    return tuple(labels) if 1 < len(labels) <= _MOST_LABELS and short else ()


def _rest(prompt: str, span: tuple[int, int]) -> str:
    """Return the text after the list of labels, or, if there is none, the text before it."""
    behind = prompt[span[1] :].strip(" \t\n:.,;)-")
    return behind or prompt[: span[0]]


def choose(labels: Sequence[str], text: str) -> str:
    """Return the label that fits the text: by sentiment, by its words, or else by its hash."""
    kinds = [_LABELS.get(label.lower().strip()) for label in labels]
    if kinds.count(1) == 1 and kinds.count(-1) == 1:
        score = sentiment(text)
        wanted = (score > 0) - (score < 0)
        if wanted in kinds:
            return labels[kinds.index(wanted)]
        return labels[kinds.index(1)]
    stars = _stars(labels)
    if stars:
        middle, score = (len(stars) - 1) / 2, sentiment(text)
        return labels[stars[round(min(max(middle + score, 0), len(stars) - 1))]]
    found = words(text)
    stems = {_stem(word) for word in found}
    for label in labels:
        if any(_stem(word) in stems for word in words(label)):
            return label
    return labels[
        int.from_bytes(blake2b(text.encode(errors="replace"), digest_size=4).digest()) % len(labels)
    ]


def _stars(labels: Sequence[str]) -> list[int]:
    """Return the positions of the labels in rising order if all are numbers (a scale); else []."""
    numbers = [re.fullmatch(r"(\d{1,3})(?: stars?)?", label.lower()) for label in labels]
    if not all(numbers):
        return []
    return sorted(range(len(labels)), key=lambda i: int(numbers[i][1]))  # type: ignore[index]  # all match


def _stem(word: str) -> str:
    for ending in ("ing", "ed", "es", "s", "er", "ly"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:  # noqa: PLR2004 - "is", "bed" stay
            return word[: -len(ending)]
    return word
