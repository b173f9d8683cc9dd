"""Jinja templates: `{{ feedback }}`, sandboxed and bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jupyter_batch.core.errors import TemplateError
from jupyter_batch.core.limits import LOOP_STEPS, TEXT_CHARS
from jupyter_batch.templates.values import PLAIN, RowError, UnstableError, raised, stable

if TYPE_CHECKING:
    import jinja2

Unknown = Callable[[str, str], TemplateError]
"""From the text that is shown, and the name in it, to its error."""


class Jinja:
    """Sandboxed Jinja2, `{{ feedback }}`; undefined names fail, `row["any name"]` works."""

    def __init__(self, text: str, labels: Mapping[str, Any], unknown: Unknown) -> None:
        """labels: of the frame's columns, by their names. unknown: makes the error for any other name."""
        import jinja2

        from jupyter_batch.templates.jinja_sandbox import environment_class

        environment = environment_class()(
            undefined=jinja2.StrictUndefined,
            keep_trailing_newline=True,
            autoescape=False,
            finalize=_final,
        )
        try:
            used = _jinja_columns(environment, text, labels, unknown)
            self._template = environment.from_string(text)
        except jinja2.TemplateError as error:
            line = getattr(error, "lineno", None)
            raise TemplateError(
                f"the Jinja template{f', line {line}' if line else ''}: {error}"
            ) from None
        self.columns: tuple[Any, ...] = tuple(labels[name] for name in used)
        self._names = used

    def pieces(self) -> list[str | int] | None:
        """See Template."""
        return None

    def render(self, columns: Sequence[Sequence[Any]], rows: int) -> list[str | RowError]:
        """Render each row."""
        if not columns:
            return [self._row({})] * rows
        return [
            self._row(dict(zip(self._names, cells, strict=True)))
            for cells in zip(*columns, strict=True)
        ]

    def _row(self, values: Mapping[str, Any]) -> str | RowError:
        try:
            return _bounded_text(self._template.generate({"row": values, **values}))
        except UnstableError as error:
            return RowError(f"the Jinja template: {error}")
        except Exception as error:  # an expression over the row's values may raise anything
            return RowError(f"the Jinja template: {raised(error)}")


def _final(value: Any) -> Any:
    """Return the output for an expression's value."""
    if value is None:
        return ""
    return value if type(value) in PLAIN else stable(value)


def _bounded_text(pieces: Iterable[str]) -> str:
    """Join the pieces. Raises ValueError for an endless text, or one too long for any provider."""
    held: list[str] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size > TEXT_CHARS or len(held) > LOOP_STEPS:
            raise ValueError(f"its text is longer than {TEXT_CHARS:,} characters, or does not end")
    return "".join(held)


def _jinja_columns(
    environment: jinja2.Environment, text: str, labels: Mapping[str, Any], unknown: Unknown
) -> list[str]:
    """Return the names of the columns in the template, in order; unknown names are errors."""
    from jinja2 import meta, nodes

    tree = environment.parse(text)
    free = meta.find_undeclared_variables(tree) - (environment.globals.keys() - labels.keys())
    wrong = sorted(free - labels.keys() - {"row"})
    if wrong:
        raise unknown(f"{{{{ {wrong[0]} }}}}", wrong[0])
    used: dict[str, None] = {}
    rows = 0  # reads of `row` other than row["a name"]
    for node in tree.find_all((nodes.Name, nodes.Getitem)):
        name = node.name if isinstance(node, nodes.Name) else _row_item(node)
        if isinstance(node, nodes.Name) and name not in labels:
            rows += name == "row"
        elif name is not None and (name in free or not isinstance(node, nodes.Name)):
            if name not in labels:
                raise unknown(f'{{{{ row["{name}"] }}}}', name)
            rows -= not isinstance(node, nodes.Name)
            used[name] = None
    return list(used) if not rows else list(labels)


def _row_item(node: Any) -> str | None:
    """Return the name in row["a name"]."""
    from jinja2 import nodes

    of_row = (
        isinstance(node.node, nodes.Name)
        and node.node.name == "row"
        and isinstance(node.arg, nodes.Const)
    )
    return str(node.arg.value) if of_row else None
