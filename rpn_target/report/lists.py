"""Datasets given as an LST or a RecordIO file."""

from __future__ import annotations

import io
import os
import tempfile

import mxnet as mx
import numpy as np
from gluoncv.data import LstDetection, RecordFileDetection
from gluoncv.data.recordio.detection import _transform_label as read_label
from mxnet import recordio

from .source import BrokenItem, ImageLabel, Source, header_size

__all__ = ["LstSource", "RecordSource"]


class _ListedSource(Source):
    """What the two have in common: the format of the label."""

    def __init__(self, title: str, absolute: bool, classes=None):
        super().__init__(title)
        self._absolute = absolute
        self._classes = classes

    def _class_name(self, number: float) -> str:
        if self._classes is not None and 0 <= number < len(self._classes):
            return self._classes[int(number)]
        return f"class {number:g}"

    def _label(self, label, size) -> ImageLabel:
        width, height = size
        rows = read_label(label) if self._absolute else read_label(label, height, width)
        names = [self._class_name(number) for number in rows[:, 4]]
        return ImageLabel(width, height, rows[:, :4], names)


class LstSource(_ListedSource):
    """Images named by an LST file, read by ``gluoncv.data.LstDetection``.

    Parameters
    ----------
    title : str
        What to call the dataset.
    path : str
        The LST file.
    image_root : str
        The folder its paths start from.
    absolute : bool
        Whether its boxes are in pixels, not in shares of the image.
    classes : sequence of str, optional
        Class names, by number.
    """

    def __init__(self, title: str, path: str, image_root: str, absolute=False, classes=None):
        super().__init__(title, absolute, classes)
        self._root = image_root
        self._broken = []
        try:
            self._dataset = LstDetection(path, root=image_root)
        except ValueError:  # one line is enough for GluonCV to refuse the file
            self._dataset = self._without_broken_lines(path)

    def _without_broken_lines(self, path: str) -> LstDetection:
        """Read the lines that are numbers and a path; keep the names of the others."""
        with open(path) as lines, tempfile.NamedTemporaryFile("w", suffix=".lst") as good:
            for line in lines:
                fields = line.strip().split("\t")
                try:
                    np.array(fields[1:-1]).astype(float)
                except ValueError as error:
                    self._broken.append((fields[-1], f"its label must be numbers: {error}"))
                else:
                    good.write(line)
            good.flush()
            return LstDetection(good.name, root=self._root)

    def __len__(self) -> int:
        return len(self._dataset) + len(self._broken)

    def name(self, index: int) -> str:
        """Return what to call an image."""
        if index < len(self._dataset):
            return os.path.relpath(self._dataset._items[index], self._root or ".")
        return self._broken[index - len(self._dataset)][0]

    def _read(self, index: int) -> ImageLabel:
        if index >= len(self._dataset):
            raise BrokenItem(self._broken[index - len(self._dataset)][1])
        return self._label(self._dataset._labels[index], header_size(self._dataset._items[index]))

    def _decode(self, index: int):
        return mx.image.imread(self._dataset._items[index], 1)


class RecordSource(_ListedSource):
    """Images of a RecordIO file, read by ``gluoncv.data.RecordFileDetection``.

    Parameters
    ----------
    title, absolute, classes
        See `LstSource`.
    path : str
        The ``.rec`` file; its ``.idx`` file must lie beside it.
    """

    def __init__(self, title: str, path: str, absolute=False, classes=None):
        super().__init__(title, absolute, classes)
        self._dataset = RecordFileDetection(path)

    def __len__(self) -> int:
        return len(self._dataset)

    def name(self, index: int) -> str:
        """Return what to call an image."""
        return f"record {self._dataset._record.keys[index]}"

    def _unpack(self, index: int):
        record = self._dataset._record
        try:
            content = record.read_idx(record.keys[index])
        except mx.MXNetError:
            _reopen(record)
            raise
        if content is None:
            _reopen(record)
            raise BrokenItem("the file ends before the place that the index gives")
        return recordio.unpack(content)

    def _read(self, index: int) -> ImageLabel:
        header, image = self._unpack(index)
        return self._label(header.label, header_size(io.BytesIO(image)))

    def _decode(self, index: int):
        return mx.image.imdecode(self._unpack(index)[1], 1)


def _reopen(record: recordio.MXIndexedRecordIO) -> None:
    """Open a file again, since MXNet's reader reads nothing more after an error or the end."""
    # Of the base class: those of the class itself would read the whole index again.
    recordio.MXRecordIO.close(record)
    recordio.MXRecordIO.open(record)
