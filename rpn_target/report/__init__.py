"""What a network's anchors learn from a dataset: ``rpn-target inspect`` and ``show``."""

import re

__all__ = ["ReportError", "visible"]


class ReportError(ValueError):
    """No report can be made, for a reason that the user can mend; the message is one line."""


# Control characters, some of which begin a terminal's escape sequences or turn the direction of
# text, and what UTF-8 or HTML cannot hold.
UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def visible(text: str) -> str:
    """Return text with its control characters, and what cannot be written, as escapes."""
    return UNSEEN.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
