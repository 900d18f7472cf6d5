"""What a network's anchors learn from a dataset: ``rpn-target inspect`` and ``show``."""

__all__ = ["ReportError"]


class ReportError(ValueError):
    """No report can be made, for a reason that the user can mend; the message is one line."""
