"""Additions to a prompt: images after a row's text, and few-shot examples before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jupyter_batch.config.settings import Options
from jupyter_batch.core.errors import InputError, OptionError
from jupyter_batch.core.schema import Schema
from jupyter_batch.prompts.column_names import label_of
from jupyter_batch.prompts.dspy_module import Module
from jupyter_batch.prompts.embeddings import Embed
from jupyter_batch.prompts.few_shot import Shown, pairs_of
from jupyter_batch.prompts.media_files import pillow
from jupyter_batch.prompts.media_parts import Pictured
from jupyter_batch.prompts.prompt import Given, Prompt, prompt_of


def with_extras(
    form: Prompt, columns: Sequence[Any], prompt: Any, opts: Options, schema: Schema | None
) -> Prompt:
    """Return the prompt with the images and examples of the options.

    columns: of the frame. prompt: as given by the user. Raises InputError, OptionError,
    ColumnError.
    """
    if opts.image_size is not None:
        if opts.images is None:
            raise OptionError(
                "`image_size` says how large the pictures of `images` may be: name their column there"
            )
        pillow("image_size=")
    if opts.images is None and opts.examples is None:
        return form
    if isinstance(prompt, Module | Embed):
        name = "images" if opts.images is not None else "examples"
        raise OptionError(
            f"`{name}` is the prompt's own business here: a dspy module has it in its signature and "
            "its demos"
        )
    form = _with_images(form, columns, opts)
    if opts.examples is None:
        return form

    def over(labels: list[Any]) -> Prompt:
        """Return the prompt over the examples' rows, without the system message."""
        if isinstance(form, Given) or not labels:
            bare: Prompt = Given(None)
        else:
            bare = prompt_of(
                prompt, labels if callable(prompt) else columns, system=None, kind=opts.template
            )
        return _with_images(bare, labels, opts, of="examples=")

    return Shown(form, pairs_of(opts.examples, over, opts.out, opts.model, schema))


def _with_images(
    form: Prompt, columns: Sequence[Any], opts: Options, *, of: str = "the frame"
) -> Prompt:
    if opts.images is None:
        return form
    if isinstance(form, Given):
        raise InputError(
            "`images` names columns of a frame, and there is none: put the image parts into the messages, "
            'or make a frame: pd.DataFrame({"text": [...], "photo": [...]})'
        )
    named = opts.images
    several = isinstance(named, list) or (isinstance(named, tuple) and named not in columns)
    return Pictured(
        form,
        [label_of(name, columns, of=of) for name in (named if several else [named])],
        opts.image_size,
    )
