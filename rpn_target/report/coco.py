"""Datasets in COCO layout."""

from __future__ import annotations

import contextlib
import os

import mxnet as mx
import numpy as np
from gluoncv.data import COCODetection

from .source import BrokenItem, ImageLabel, Source, header_size

__all__ = ["COCOSource"]


class _Detection(COCODetection):
    """GluonCV's dataset, for any categories and with broken entries set aside."""

    def _load_jsons(self):
        self.entries = []  # one per image of the dataset: path and (width, height)
        self.broken = []  # of those it cannot read: path and reason
        self._path = None
        return super()._load_jsons()

    @property
    def classes(self):
        if not getattr(self, "_coco", None):  # asked for before the files are read
            return []
        return [
            category["name"] for category in self._coco[-1].loadCats(self._coco[-1].getCatIds())
        ]

    def _parse_image_path(self, entry):
        try:
            self._path = super()._parse_image_path(entry)
        except (KeyError, ValueError):  # GluonCV wants a "coco_url" that ends in folder/file
            name = entry.get("file_name", f"image {entry.get('id')}")
            self._path = os.path.join(self._root, name)
            self._reason = "its entry has no usable coco_url, from which GluonCV takes the path"
            return os.devnull
        # GluonCV gives up on the whole dataset if a file is missing; the null device never is.
        self._reason = None
        return self._path if os.path.exists(self._path) else os.devnull

    def _check_load_bbox(self, coco, entry):
        label, reason = [], self._reason
        if reason is None:
            try:
                label = super()._check_load_bbox(coco, entry)
                size = (int(entry["width"]), int(entry["height"]))
                size[0] / size[1]  # GluonCV divides them
            except (ArithmeticError, LookupError, TypeError, ValueError) as error:
                label = []
                reason = f"GluonCV cannot read its annotation ({type(error).__name__}: {error})"
        if reason is not None:
            self.broken.append((self._path, reason))
        elif label:
            self.entries.append((self._path, size))
        return label


class COCOSource(Source):
    """A dataset in COCO layout, read by ``gluoncv.data.COCODetection``.

    As in GluonCV's training scripts, boxes labeled as crowds and images without an object are
    left out.

    Parameters
    ----------
    title : str
        What to call the dataset.
    root : str
        Its folder.
    splits : list of str
        Names of the files in ``annotations``, without ``.json``.
    """

    def __init__(self, title: str, root: str, splits):
        super().__init__(title)
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            self._dataset = _Detection(root=root, splits=tuple(splits), use_crowd=False)
        self._names = self._dataset.classes
        self._dataset._coco = []  # the parsed JSON, far larger than the labels
        self._root = root
        self._entries = self._dataset.entries

    def __len__(self) -> int:
        return len(self._entries) + len(self._dataset.broken)

    def name(self, index: int) -> str:
        """Return what to call an image."""
        return os.path.relpath(self._at(index)[0], self._root)

    def _at(self, index: int):
        """Return the path of an image, and its size or what is wrong with it."""
        if index < len(self._entries):
            return self._entries[index]
        return self._dataset.broken[index - len(self._entries)]

    def _read(self, index: int) -> ImageLabel:
        path, in_annotation = self._at(index)
        if isinstance(in_annotation, str):
            raise BrokenItem(in_annotation)
        size = header_size(path)
        rows = np.asarray(self._dataset._labels[index], np.float64)
        return ImageLabel(
            *size,
            boxes=rows[:, :4],
            names=[self._names[int(number)] for number in rows[:, 4]],
            size_differs=in_annotation != size,
        )

    def _decode(self, index: int):
        return mx.image.imread(self._at(index)[0], 1)
