"""What a dataset is to a report: named images with their size and labels, none of them decoded."""

from __future__ import annotations

import abc
import os
import struct
from typing import Any, Callable, NamedTuple, Sequence

import numpy as np
from mxnet.base import MXNetError
from PIL import Image

from . import visible

__all__ = ["BrokenItem", "ImageLabel", "Source", "attempt", "header_size", "one_line"]


class BrokenItem(Exception):
    """An image or annotation that cannot be used; the message says why, on one line."""

    def __init__(self, reason: str) -> None:
        super().__init__(visible(reason))


class ImageLabel(NamedTuple):
    """The labels of one image."""

    width: int
    height: int
    boxes: np.ndarray
    """(M, 4) float64, corner boxes in pixels, as GluonCV's dataset returns them."""
    names: list[str]
    """Class name of each box."""
    left_out: Sequence[str] = ()
    """Why GluonCV's dataset leaves out objects of the annotation, one reason each."""
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
        self.title = visible(title)

    @abc.abstractmethod
    def __len__(self) -> int:
        """Return the number of images."""

    @abc.abstractmethod
    def _name(self, index: int) -> str:
        """Return what to call an image."""

    @abc.abstractmethod
    def _read(self, index: int) -> ImageLabel:
        """Return the label of an image, or raise BrokenItem."""

    @abc.abstractmethod
    def image(self, index: int) -> np.ndarray:
        """Return an image (H, W, 3), uint8.

        Raises
        ------
        BrokenItem
            If it cannot be decoded.
        """

    def name(self, index: int) -> str:
        """Return what to call an image."""
        return visible(self._name(index))

    def read(self, index: int) -> ImageLabel:
        """Return the label of an image, with names that can be printed.

        Raises
        ------
        BrokenItem
            If the image or its annotation cannot be read.
        """
        label = self._read(index)
        return label._replace(names=[visible(name) for name in label.names])


DECODED = ("BMP", "JPEG", "MPO", "PNG", "TIFF")
"""Formats that MXNet decodes, as Pillow calls them."""

EXPECTED = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MXNetError, OSError,
    RuntimeError, SyntaxError, TypeError, ValueError, struct.error,
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
        If it is no image, or one that MXNet cannot decode.
    """
    if isinstance(file, (str, os.PathLike)):  # some versions of Pillow name another path
        with attempt(open, file, "rb") as opened:
            return header_size(opened)
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None  # a limit of what is decoded, and nothing is
    try:
        with attempt(Image.open, file) as image:
            size, kind = image.size, image.format
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    if kind not in DECODED:
        raise BrokenItem(f"{kind} file, which MXNet cannot decode: not usable for training")
    return size


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
        return "the annotation lacks an element that GluonCV reads (size, name, bndbox)"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}"
    if isinstance(error, MXNetError) and lines:  # the stack trace comes first, or last
        return next((line for line in lines if "Check failed" in line), lines[-1]).split(
            "Error: ", 1
        )[-1]
    if isinstance(error, SyntaxError):
        return f"not well-formed XML: {message}"
    if isinstance(error, OSError) and message:
        return message
    return f"{type(error).__name__}: {message}".rstrip(": ")
