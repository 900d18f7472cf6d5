"""What a dataset is to a report: named images with their size and labels, none of them decoded."""

from __future__ import annotations

import abc
import struct
from typing import Any, Callable, NamedTuple

import mxnet as mx
import numpy as np
from PIL import Image

__all__ = ["BrokenItem", "ImageLabel", "Source", "attempt", "header_size", "one_line"]


class BrokenItem(Exception):
    """An image or annotation that cannot be used; the message says why, on one line."""


class ImageLabel(NamedTuple):
    """The labels of one image."""

    width: int
    height: int
    boxes: np.ndarray
    """(M, 4) float64, corner boxes in pixels, as GluonCV's dataset returns them."""
    names: list[str]
    """Class name of each box."""
    left_out: int = 0
    """Objects of the annotation that GluonCV's dataset leaves out as invalid."""
    size_differs: bool = False
    """Whether the annotation gives another image size than the image file."""


class Source(abc.ABC):
    """A dataset.

    Parameters
    ----------
    title : str
        What to call it.
    """

    def __init__(self, title: str) -> None:
        self.title = title

    @abc.abstractmethod
    def __len__(self) -> int:
        """Return the number of images."""

    @abc.abstractmethod
    def name(self, index: int) -> str:
        """Return what to call an image."""

    @abc.abstractmethod
    def read(self, index: int) -> ImageLabel:
        """Return the label of an image.

        Raises
        ------
        BrokenItem
            If the image or its annotation cannot be read.
        """

    @abc.abstractmethod
    def image(self, index: int) -> np.ndarray:
        """Return an image (H, W, 3), uint8.

        Raises
        ------
        BrokenItem
            If it cannot be decoded.
        """


EXPECTED = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, OSError, RuntimeError,
    SyntaxError, TypeError, ValueError, struct.error, Image.DecompressionBombError,
)  # fmt: skip
"""What others' code raises over a broken file. It checks little, so this is nearly anything."""


def attempt(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of GluonCV, MXNet or Pillow, but none of this package, over a file.

    Raises
    ------
    BrokenItem
        If it fails.
    """
    try:
        return function(*arguments)
    except EXPECTED as error:
        raise BrokenItem(one_line(error)) from error


def header_size(file: Any) -> tuple[int, int]:
    """Return width and height of an image file, or of an open one, from its header.

    Raises
    ------
    BrokenItem
        If it is no image.
    """
    with attempt(Image.open, file) as image:
        return image.size


def one_line(error: BaseException) -> str:
    """Say on one line what is wrong with a file, from what others' code raised over it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    message = lines[0] if lines else ""
    if isinstance(error, Image.UnidentifiedImageError):  # its message is the repr of a file object
        return "not an image file, or one cut off before its size"
    if isinstance(error, FileNotFoundError):
        return f"no such file: {error.filename}"
    if isinstance(error, AttributeError) and "NoneType" in message:
        # GluonCV reads XML elements without looking whether they exist.
        return "the annotation lacks an element that GluonCV reads (size, difficult, name, bndbox)"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}"
    if isinstance(error, mx.MXNetError) and lines:  # a stack trace comes first
        return lines[-1].split("Error: ", 1)[-1]
    if isinstance(error, SyntaxError):
        return f"not well-formed XML: {message}"
    if isinstance(error, OSError) and message:
        return message
    return f"{type(error).__name__}: {message}".rstrip(": ")
