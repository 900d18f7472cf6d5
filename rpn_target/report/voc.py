"""Datasets in Pascal VOC layout."""

from __future__ import annotations

import os

import mxnet as mx
import numpy as np
from gluoncv.data import VOCDetection

from .source import ImageLabel, Source, header_size

__all__ = ["VOCSource"]


class _AnyName:
    """A collection of class names that every name is in."""

    def __contains__(self, name) -> bool:
        return True

    def __iter__(self):
        return iter(())

    def __len__(self) -> int:
        return 0


class _Numbers(dict):
    """Class numbers by name, given out as names are met."""

    def __missing__(self, name: str) -> int:
        self[name] = len(self)
        return self[name]


class _Detection(VOCDetection):
    """GluonCV's dataset, which accepts any class name and says which boxes it leaves out."""

    names = _AnyName()
    valid = ()

    @property
    def classes(self):
        return self.names

    def _validate_label(self, *box) -> None:
        # GluonCV logs a warning per invalid box, which would tear up a progress bar.
        try:
            super()._validate_label(*box)
        except AssertionError:
            self.valid.append(False)
        else:
            self.valid.append(True)


class VOCSource(Source):
    """A dataset in VOC layout, read by ``gluoncv.data.VOCDetection``.

    Parameters
    ----------
    title : str
        What to call the dataset.
    root : str
        Its folder.
    splits : list of (int or str, str)
        Years, or subfolders, and names of image sets.
    classes : sequence of str, optional
        Objects of other classes are left out, as GluonCV does; by default there are none.
    """

    def __init__(self, title: str, root: str, splits, classes=None):
        super().__init__(title)
        self._dataset = _Detection(root=root, splits=splits, preload_label=False)
        self._dataset.index_map = _Numbers()
        if classes is not None:
            self._dataset.names = tuple(classes)

    def __len__(self) -> int:
        return len(self._dataset)

    def name(self, index: int) -> str:
        """Return what to call an image."""
        return os.path.basename(self._path(index))

    def _path(self, index: int) -> str:
        return self._dataset._image_path.format(*self._dataset._items[index])

    def _read(self, index: int) -> ImageLabel:
        dataset = self._dataset
        dataset.valid = []
        rows = np.reshape(dataset._load_label(index), (-1, 6))
        valid = np.asarray(dataset.valid, bool)
        names = list(dataset.index_map)
        # The dataset remembers every image's size; we need not.
        in_annotation = dataset._im_shapes.pop(index)
        size = header_size(self._path(index))
        rows = rows[valid]
        return ImageLabel(
            *size,
            boxes=rows[:, :4],
            names=[names[int(number)] for number in rows[:, 4]],
            left_out=int(np.count_nonzero(~valid)),
            size_differs=tuple(in_annotation) != size,
        )

    def _decode(self, index: int):
        return mx.image.imread(self._path(index), 1)
