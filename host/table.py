"""A small table that prints well in a terminal and in a notebook."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Columns after the first are aligned to the right."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __str__(self) -> str:
        lines = ([self.head] if any(self.head) else []) + list(self.rows)
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.head))]

        def text(line: Sequence[str]) -> str:
            cells = [line[0].ljust(widths[0])]
            cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
            return "  ".join(cells).rstrip()

        return "\n".join([self.title, *map(text, lines)])

    def _repr_html_(self) -> str:
        def row(tag: str, line: Sequence[str]) -> str:
            cells = "".join(
                f'<{tag} style="text-align:{"right" if i else "left"}">{html.escape(cell)}</{tag}>'
                for i, cell in enumerate(line)
            )
            return f"<tr>{cells}</tr>"

        head = row("th", self.head) if any(self.head) else ""
        body = "".join(row("td", line) for line in self.rows)
        return f"<table><caption>{html.escape(self.title)}</caption>{head}{body}</table>"
