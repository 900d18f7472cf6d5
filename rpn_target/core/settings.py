"""What the user may choose about RPN targets, and the validators of all arguments."""

from __future__ import annotations

import numbers
from dataclasses import dataclass
from typing import Any, Sequence

import numpy as np

__all__ = [
    "LOW_QUALITY_MATCHES",
    "RPNTargetWarning",
    "TargetSettings",
    "check_image_settings",
    "real_number",
    "shown",
    "whole_number",
]

LOW_QUALITY_MATCHES = ("gluoncv", "keep", "drop")

MOST_SHOWN = 200  # characters of a value in a message


class RPNTargetWarning(UserWarning):
    """The category of every warning of this package."""


def shown(value: object) -> str:
    """Return ``repr(value)`` for a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}... ({len(text)} characters)"


def whole_number(name: str, value: Any, least: int = 0, end: int | None = None) -> int:
    """Check that a value is a whole number, no bool, and in ``[least, end)``; return it as int.

    Raises
    ------
    TypeError, ValueError
        If it is no whole number, or out of range. The message names it.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be a whole number, but got {shown(value)}")
    number = int(value)
    if number < least or (end is not None and number >= end):
        below = "" if end is None else f" and below {end}"
        raise ValueError(f"{name} must be at least {least}{below}, but got {number}")
    return number


def real_number(name: str, value: object) -> float:
    """Check that a value is a real number, no bool, and return it as float.

    Raises
    ------
    TypeError
        If it is none. The message names it.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (numbers.Real, np.number)):
        raise TypeError(f"{name} must be a real number, but got {shown(value)}")
    return float(value)


@dataclass(frozen=True)
class TargetSettings:
    """Settings of matching, sampling and encoding, under GluonCV's names.

    Parameters
    ----------
    num_sample : int
        How many anchors of an image to keep at most, positives and negatives together.
    pos_iou_thresh, neg_iou_thresh : float
        An anchor is positive from the first on and negative below the second.
    pos_ratio : float
        At most ``int(round(num_sample * pos_ratio))`` of the kept anchors are positive.
    stds : sequence of 4 floats
        Box targets are divided by these.
    allowed_border : float
        How many pixels a valid anchor may stick out of the image.
    low_quality_matches : {"gluoncv", "keep", "drop"}
        What becomes of the best anchors of a box that are below ``pos_iou_thresh``. "gluoncv":
        positive from ``neg_iou_thresh`` on, negative below; IoUs within float32 epsilon of the
        largest tie with it. "keep": positive wherever they share some area with the box, and only
        equal IoUs tie (Faster R-CNN, section 3.1.2; ``allow_low_quality_matches`` of detectron2
        and torchvision). "drop": as any other anchor.
    ignore_iof_thresh : float
        An anchor is in an ignored region if at least this share of its area is.

    Raises
    ------
    TypeError, ValueError
        If a value is not of its kind or out of range. The message names it.
    """

    num_sample: int = 256
    pos_iou_thresh: float = 0.7
    neg_iou_thresh: float = 0.3
    pos_ratio: float = 0.5
    stds: Sequence[float] = (1.0, 1.0, 1.0, 1.0)
    allowed_border: float = 0
    low_quality_matches: str = "gluoncv"
    ignore_iof_thresh: float = 0.5

    def __post_init__(self) -> None:
        whole_number("num_sample", self.num_sample)
        for name in ("pos_iou_thresh", "neg_iou_thresh", "pos_ratio"):
            value = real_number(name, getattr(self, name))
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be in [0, 1], but got {value}")
        if self.neg_iou_thresh > self.pos_iou_thresh:
            raise ValueError(
                "neg_iou_thresh must not exceed pos_iou_thresh, but got "
                f"{self.neg_iou_thresh} > {self.pos_iou_thresh}"
            )
        object.__setattr__(self, "stds", check_stds("stds", self.stds))
        if not real_number("allowed_border", self.allowed_border) >= 0:
            raise ValueError(f"allowed_border must be at least 0, but got {self.allowed_border}")
        if self.low_quality_matches not in LOW_QUALITY_MATCHES:
            raise ValueError(
                f"low_quality_matches must be one of {', '.join(LOW_QUALITY_MATCHES)}, but got "
                f"{shown(self.low_quality_matches)}"
            )
        if not 0 < real_number("ignore_iof_thresh", self.ignore_iof_thresh) <= 1:
            raise ValueError(
                f"ignore_iof_thresh must be in (0, 1], but got {self.ignore_iof_thresh}"
            )

    @property
    def max_positives(self) -> int:
        """The quota of positives, rounded as GluonCV rounds it (half to even)."""
        return int(round(self.num_sample * self.pos_ratio))


def check_stds(name: str, value: Any) -> tuple[float, ...]:
    """Check what box targets are divided by, and return it as 4 numbers.

    Raises
    ------
    TypeError, ValueError
        If it is anything else. The message names it.
    """
    stds = tuple(real_number(name, each) for each in np.asarray(value).ravel().tolist())
    if len(stds) != 4 or not all(0 < each < float("inf") for each in stds):
        raise ValueError(f"{name} must be 4 finite numbers above 0, but got {shown(value)}")
    return stds


def check_image_settings(short: Any, max_size: Any, mean: Any, std: Any, flip_p: Any) -> None:
    """Check what a transform is told about the image.

    Raises
    ------
    TypeError, ValueError
        If a value is not of its kind or out of range. The message names it.
    """
    sides = short if isinstance(short, (tuple, list)) else (short, short)
    numbers_only = all(_is_side(side) for side in sides)
    if len(sides) != 2 or not numbers_only or sides[0] > sides[1]:
        raise ValueError(
            f"short must be a number of pixels above 0, or a range of two, but got {shown(short)}"
        )
    if isinstance(short, (tuple, list)) and any(side != int(side) for side in sides):
        raise ValueError(f"a range of short must be of whole numbers, but got {shown(short)}")
    if not _is_side(max_size, allow_infinity=True):  # which is no limit
        raise ValueError(f"max_size must be a number of pixels above 0, but got {shown(max_size)}")
    for name, value in (("mean", mean), ("std", std)):
        array = np.asarray(value)
        if (
            array.dtype.kind not in "fiu"
            or array.size not in (1, 3)
            or not np.isfinite(array).all()
        ):
            raise ValueError(
                f"{name} must be 3 finite numbers, or 1 for all colors, but got {shown(value)}"
            )
    if (np.asarray(std) == 0).any():
        raise ValueError(f"std must be numbers other than 0, but got {shown(std)}")
    is_yes_or_no = isinstance(flip_p, (bool, np.bool_))
    if not is_yes_or_no and not 0 <= real_number("flip_p", flip_p) <= 1:
        raise ValueError(f"flip_p must be in [0, 1], but got {flip_p}")


def _is_side(value: Any, allow_infinity: bool = False) -> bool:
    is_number = isinstance(value, (numbers.Real, np.number)) and not isinstance(value, bool)
    return is_number and value > 0 and (allow_infinity or value < float("inf"))
