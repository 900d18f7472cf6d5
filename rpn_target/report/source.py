"""What a dataset is to a report: named images with their size and labels, none of them decoded."""

from __future__ import annotations

import abc
import struct
from typing import NamedTuple

import mxnet as mx
import numpy as np
from PIL import Image

__all__ = ["BrokenItem", "ImageLabel", "Source", "header_size"]


class BrokenItem(Exception):
    """An image or annotation that cannot be used; the message says why, on one line."""


class ImageLabel(NamedTuple):
    """The labels of one image."""

    width: int
    height: int
    boxes: np.ndarray
    """(M, 4) float64, corner boxes in pixels, as GluonCV's dataset returns them."""
    names: list
    """Class name of each box."""
    left_out: int = 0
    """Objects of the annotation that GluonCV's dataset leaves out as invalid."""
    size_differs: bool = False
    """Whether the annotation gives another image size than the image file."""


class Source(abc.ABC):
    """A dataset."""

    def __init__(self, title: str):
        self.title = title

    @abc.abstractmethod
    def __len__(self) -> int:
        """Return the number of images."""

    @abc.abstractmethod
    def name(self, index: int) -> str:
        """Return what to call an image."""

    @abc.abstractmethod
    def _read(self, index: int) -> ImageLabel:
        """Return the label of an image; whatever it raises means that the image is broken."""

    @abc.abstractmethod
    def _decode(self, index: int):
        """Return the image as an NDArray."""

    def read(self, index: int) -> ImageLabel:
        """Return the label of an image.

        Raises
        ------
        BrokenItem
            If the image or its annotation cannot be read.
        """
        return _or_broken(self._read, index)

    def image(self, index: int) -> np.ndarray:
        """Return an image (H, W, 3), uint8.

        Raises
        ------
        BrokenItem
            If it cannot be decoded.
        """
        return _or_broken(self._decode, index).asnumpy()


def header_size(file) -> tuple[int, int]:
    """Return width and height of an image file, or of an open one, from its header."""
    try:
        with Image.open(file) as image:
            return image.size
    except Image.UnidentifiedImageError as error:  # its message is the repr of a file object
        raise BrokenItem("not an image file, or one cut off before its size") from error


_EXPECTED = (
    ArithmeticError, AttributeError, EOFError, LookupError, OSError, SyntaxError, TypeError,
    ValueError, struct.error, mx.MXNetError, Image.DecompressionBombError,
)  # fmt: skip
"""What reading a broken file raises: GluonCV checks little, so it may be nearly anything."""


def _or_broken(read, index: int):
    try:
        return read(index)
    except _EXPECTED as error:
        raise BrokenItem(_reason(error)) from error


def _reason(error: Exception) -> str:
    """Say on one line what is wrong."""
    if isinstance(error, FileNotFoundError):
        return f"no such file: {error.filename}"
    if isinstance(error, AttributeError) and "NoneType" in str(error):
        # GluonCV reads XML elements without looking whether they exist.
        return "the annotation lacks an element that GluonCV reads (size, difficult, name, bndbox)"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    message = lines[0] if lines else ""
    if isinstance(error, mx.MXNetError) and lines:  # a stack trace comes first
        return lines[-1].split("Error: ", 1)[-1]
    if isinstance(error, SyntaxError):
        return f"not well-formed XML: {message}"
    if isinstance(error, OSError) and message:
        return message
    return f"{type(error).__name__}: {message}".rstrip(": ")
