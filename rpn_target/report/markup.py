"""Pieces of the page's markup."""

from __future__ import annotations

import re
from html import escape

__all__ = ["figure", "options", "table", "typeset"]

SIGNS = (
    (re.compile(r"(?<=\d) x (?=\d)"), "\u00a0\u00d7\u00a0"),
    (re.compile(r"^>= (?=\d)"), "\u2265\u00a0"),
    (re.compile(r"^below (?=\d)"), "<\u00a0"),
)
"""What a terminal may lack, and a page need not."""


def table(rows, caption: str, bad=()) -> str:
    """Return a table whose first row is its head; rows with these names are marked."""
    head = "".join(f'<th scope="col">{typeset(cell)}</th>' for cell in rows[0])
    lines = []
    for first, *others in rows[1:]:
        mark = ' class="bad"' if first in bad else ""
        cells = "".join(f"<td>{typeset(cell)}</td>" for cell in others)
        lines.append(f'<tr{mark}><th scope="row">{typeset(first)}</th>{cells}</tr>')
    # A table too wide for a phone scrolls by itself, also by keyboard.
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}">\n<table>\n'
        f"<caption>{escape(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n"
        + "\n".join(lines)
        + "\n</tbody>\n</table>\n</div>"
    )


def figure(address: str, alt: str, caption: str = "") -> str:
    """Return an image with a caption, which is markup."""
    text = f"\n<figcaption>{caption}</figcaption>" if caption else ""
    return f'<figure><img src="{address}" alt="{escape(alt)}">{text}</figure>'


def options(arguments: str) -> str:
    """Return command-line options, each of which stays on one line."""
    parts = arguments.replace(" --", "\n--").splitlines()
    return " ".join(f"<code>{escape(part)}</code>" for part in parts)


def typeset(text: str) -> str:
    """Return text as markup, with the signs that a terminal may lack."""
    for plain, sign in SIGNS:
        text = plain.sub(sign, text)
    return escape(text)
