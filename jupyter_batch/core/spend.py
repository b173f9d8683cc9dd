"""Spend: the expected and the highest cost of an action, and the answered requests it is estimated from. Pure."""

from __future__ import annotations

import math

import msgspec

from jupyter_batch.core.cost import Tariff, linear
from jupyter_batch.core.result import Usage

_OUTPUT = ("output_tokens", "reasoning_tokens", "output_audio_tokens", "output_image_tokens")


class Spend(msgspec.Struct, frozen=True, kw_only=True):
    """The cost of an action, in US dollars.

    action: its name, as in `Snapshot.offers`. about: by the answers so far, or an earlier job's;
    most: an upper bound; each None where unknown. limited: max_tokens limits each answer's length;
    else `most` assumes the model's longest answer.
    """

    action: str
    rows: int
    about: float | None = None
    most: float | None = None
    limited: bool = True


class Pattern(msgspec.Struct, frozen=True):
    """Answered requests by which similar ones are estimated. bytes: of their request lines."""

    usage: Usage
    answers: int
    bytes: int

    @property
    def output(self) -> float:
        """The mean output tokens of an answer."""
        return self.usage.output_tokens / self.answers

    def cost(self, tariff: Tariff | None, requests: float, size: float) -> float | None:
        """The cost of similar requests, whose lines have `size` bytes together; None where unknown."""
        if tariff is None:
            return None
        price = linear(tariff.at(self.usage.input_tokens / self.answers))
        sent = price(msgspec.structs.replace(self.usage, **dict.fromkeys(_OUTPUT, 0)))
        answered = price(Usage(**{name: getattr(self.usage, name) for name in _OUTPUT}))
        scale = size / self.bytes if self.bytes else requests / self.answers
        cost = float(sent * scale + answered * requests / self.answers)
        return None if math.isnan(cost) else cost


def added(spends: list[Spend]) -> Spend:
    """The same action on several jobs as one. Raises IndexError without any."""
    abouts, mosts = ([getattr(one, end) for one in spends] for end in ("about", "most"))
    return Spend(
        action=spends[0].action,
        rows=sum(one.rows for one in spends),
        about=None if None in abouts else math.fsum(abouts),
        most=None if None in mosts else math.fsum(mosts),
        limited=all(one.limited for one in spends),
    )
