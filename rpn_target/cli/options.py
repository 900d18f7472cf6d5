"""Options that ``inspect`` and ``show`` share: the settings of the targets, and output files."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..core.settings import LOW_QUALITY_MATCHES, TargetSettings
from .main import CommandError

__all__ = ["add_setting_arguments", "open_output", "settings_of"]

DEFAULTS = TargetSettings()
NUMBERS = {
    "pos_iou_thresh": (float, "an anchor is positive from this IoU on"),
    "neg_iou_thresh": (float, "and negative below this"),
    "num_sample": (int, "anchors kept per image"),
    "pos_ratio": (float, "share of them that may be positive"),
    "allowed_border": (float, "pixels an anchor may stick out of the image"),
}


def add_setting_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that `settings_of` reads."""
    group = parser.add_argument_group("rule", "settings of assignment and sampling, as in GluonCV")
    for name, (kind, text) in NUMBERS.items():
        group.add_argument(
            f"--{name.replace('_', '-')}", type=kind, default=getattr(DEFAULTS, name),
            metavar="N" if kind is int else "X",
            help=f"{text} (default: %(default)s)",
        )  # fmt: skip
    group.add_argument(
        "--low-quality-matches", choices=LOW_QUALITY_MATCHES,
        default=DEFAULTS.low_quality_matches,
        help="what becomes of an object's best anchor below --pos-iou-thresh: positive if not "
        "below --neg-iou-thresh (gluoncv, the default), positive anyway, or as any other",
    )  # fmt: skip


def settings_of(arguments: argparse.Namespace) -> TargetSettings:
    """Return the settings.

    Raises
    ------
    CommandError
        If one is out of range.
    """
    names = (*NUMBERS, "low_quality_matches")
    try:
        return TargetSettings(**{name: getattr(arguments, name) for name in names})
    except ValueError as error:
        raise CommandError(str(error)) from error


def open_output(path) -> None:
    """Make sure that an output file can be written, before the work begins.

    Raises
    ------
    CommandError
        If it cannot.
    """
    if path is None:
        return
    existed = Path(path).exists()
    try:
        with open(path, "a"):
            pass
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}") from error
    if not existed:
        Path(path).unlink()
