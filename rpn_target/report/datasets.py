"""Datasets in the formats that GluonCV reads: Pascal VOC, COCO, LST and RecordIO files."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from typing import Any, Callable, Iterator, Sequence
from xml.etree import ElementTree

import mxnet as mx
import numpy as np
from gluoncv.data import LstDetection, RecordFileDetection, VOCDetection
from gluoncv.data.recordio.detection import _transform_label as read_label
from mxnet import recordio

from ..core.settings import shown
from ..gluon.datasets import COCODetection
from . import ReportError
from .source import EXPECTED, BrokenItem, ImageLabel, Source, attempt, header_size, one_line

__all__ = ["COCOSource", "FileSource", "LstSource", "RecordSource", "VOCSource"]


def _made(what: str, make: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    """Return what GluonCV makes of files, or say on one line why it cannot."""
    try:
        return make(*arguments, **keywords)
    except ReportError:
        raise
    except EXPECTED as error:
        raise ReportError(f"GluonCV cannot read the {what}: {one_line(error)}") from error


def _decoded(path: str) -> np.ndarray:
    return attempt(lambda: mx.image.imread(path, 1).asnumpy())


class FileSource(Source):
    """A dataset of one image, with boxes given.

    Parameters
    ----------
    path : str
        The image.
    boxes : sequence of M sequences of 4 floats
        Corner boxes in pixels.
    """

    def __init__(self, path: str, boxes: Sequence[Sequence[float]]) -> None:
        super().__init__(path)
        self._path = path
        self._boxes = np.reshape(np.asarray(boxes, np.float64), (-1, 4))

    def __len__(self) -> int:
        return 1

    def _name(self, index: int) -> str:
        return self._path

    def _read(self, index: int) -> ImageLabel:
        names = [f"box {number}" for number in range(1, len(self._boxes) + 1)]
        return ImageLabel(*header_size(self._path), self._boxes, names)

    def image(self, index: int) -> np.ndarray:
        """Return an image."""
        return _decoded(self._path)


class _AnyName:
    """A collection of class names that every name is in."""

    def __contains__(self, name: str) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


class _Numbers(dict):
    """Class numbers by name, given out as names are met."""

    def __missing__(self, name: str) -> int:
        self[name] = len(self)
        return self[name]


class _WithDifficult(str):
    """The pattern of an annotation's path, which gives the file with 0 where it says nothing."""

    def format(self, *parts: Any, **_: Any) -> Any:
        root = ElementTree.parse(super().format(*parts)).getroot()
        for one in root.iter("object"):
            if one.find("difficult") is None:
                ElementTree.SubElement(one, "difficult").text = "0"
        return io.BytesIO(ElementTree.tostring(root))


class _VOCDetection(VOCDetection):
    """GluonCV's dataset, which accepts any class name and says which boxes it leaves out."""

    names: Any = _AnyName()
    _anno_path: str
    invalid: list[str | None]
    """Of each object, why it is left out, if it is."""

    @property
    def classes(self) -> Any:
        return self.names

    def _load_label(self, index: int) -> np.ndarray:
        try:
            return super()._load_label(index)
        except AttributeError:  # GluonCV wants <difficult>, which some tools leave out
            self.invalid = []
            paths, self._anno_path = self._anno_path, _WithDifficult(self._anno_path)
            try:
                return super()._load_label(index)
            finally:
                self._anno_path = paths

    def _validate_label(self, *box: float) -> None:
        # GluonCV logs a warning per invalid box, which would tear up a progress bar.
        try:
            super()._validate_label(*box)
        except AssertionError as error:
            counted = " (VOC counts pixels from 1)" if -1 in box[:2] else ""
            self.invalid.append(f"{error}{counted}")
        else:
            self.invalid.append(None)


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

    def __init__(
        self,
        title: str,
        root: str,
        splits: Sequence[tuple[int | str, str]],
        classes: Sequence[str] | None = None,
    ) -> None:
        super().__init__(title)
        self._dataset = _made(
            f"voc dataset {root}", _VOCDetection, root, splits, preload_label=False
        )
        self._dataset.index_map = _Numbers()
        if classes is not None:
            self._dataset.names = tuple(classes)

    def __len__(self) -> int:
        return len(self._dataset)

    def _name(self, index: int) -> str:
        return os.path.basename(self._path(index))

    def _path(self, index: int) -> str:
        return self._dataset._image_path.format(*self._dataset._items[index])

    def _read(self, index: int) -> ImageLabel:
        dataset = self._dataset
        dataset.invalid = []
        rows = np.reshape(attempt(dataset._load_label, index), (-1, 6))
        valid = np.asarray([reason is None for reason in dataset.invalid], bool)
        names = list(dataset.index_map)
        # The dataset remembers every image's size; we need not.
        in_annotation = dataset._im_shapes.pop(index)
        size = header_size(self._path(index))
        rows = rows[valid]
        return ImageLabel(
            *size,
            boxes=rows[:, :4],
            names=[names[int(number)] for number in rows[:, 4]],
            left_out=[reason for reason in dataset.invalid if reason is not None],
            size_differs=tuple(in_annotation) != size,
        )

    def image(self, index: int) -> np.ndarray:
        """Return an image."""
        return _decoded(self._path(index))


class _COCODetection(COCODetection):
    """Our dataset, for any categories and with broken entries set aside."""

    _first: str
    _categories: dict[int, str]

    def _read_files(self) -> list[tuple]:
        self.sizes: dict[str, tuple[int, int]] = {}  # (width, height) by path, as in the file
        self.broken: dict[str, str] = {}  # reason by path
        return super()._read_files()

    def _map_categories(self, coco: Any, path: str) -> None:
        found = {one["id"]: str(one["name"]) for one in coco.loadCats(coco.getCatIds())}
        if len(self._coco) > 1 and found != self._categories:
            raise ReportError(
                f"COCO files must have the same categories, but {path} has {shown(found)} and "
                f"{self._first} has {shown(self._categories)}"
            )
        self._first, self._categories, self.CLASSES = path, found, list(found.values())
        super()._map_categories(coco, path)

    def _parse_image_path(self, entry: dict[str, Any]) -> str:
        name = str(entry.get("file_name") or f"image {entry.get('id')}")
        parts = str(entry.get("coco_url") or "").split("/")[-2:]
        path = os.path.join(self._root, *(parts if len(parts) == 2 else [name]))
        try:
            path = super()._parse_image_path(entry)
            if entry.get("width") is None or entry.get("height") is None:
                entry["width"], entry["height"] = header_size(path)
        except BrokenItem as error:
            self.broken[path] = str(error)
        except (FileNotFoundError, ValueError):
            reason = "" if len(parts) == 2 else "its entry has no usable coco_url, and "
            self.broken[path] = f"{reason}no such file: {path}"
        size = entry.get("width"), entry.get("height")
        if all(isinstance(side, int) and side > 0 for side in size):
            self.sizes[path] = size  # type: ignore[assignment]
        else:
            self.broken.setdefault(path, f"GluonCV cannot read its width and height: {size}")
            entry["width"] = entry["height"] = 1
        self._path = path
        return path

    def _read_annotation(self, annotation: dict[str, Any], entry: dict[str, Any]) -> list[tuple]:
        if self._path in self.broken:
            return []
        try:
            return super()._read_annotation(annotation, entry)
        except ValueError as error:
            self.broken[self._path] = f"GluonCV cannot read its annotation: {error}"
            return []


class COCOSource(Source):
    """A dataset in COCO layout, read by `rpn_target.COCODetection`.

    As in GluonCV's training scripts, boxes labeled as crowds and images without an object are
    left out.

    Parameters
    ----------
    title : str
        What to call the dataset.
    root : str
        Its folder.
    splits : list of str
        Names of the files in ``annotations``, or in the folder itself, without ``.json``.
    """

    def __init__(self, title: str, root: str, splits: Sequence[str]) -> None:
        super().__init__(title)
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            dataset = _made(
                f"coco dataset {root}", _COCODetection, root, tuple(splits), use_crowd=False
            )
        self._names = dataset.classes
        self._root = root
        self._sizes = dataset.sizes
        # Not the dataset itself, which has the parsed JSON.
        self._items = [
            (path, label)
            for path, label in zip(dataset._items, dataset._labels)
            if path not in dataset.broken
        ]
        self._broken = list(dataset.broken.items())

    def __len__(self) -> int:
        return len(self._items) + len(self._broken)

    def _at(self, index: int) -> tuple[str, Any]:
        """Return the path of an image, and its label or what is wrong with it."""
        if index < len(self._items):
            return self._items[index]
        return self._broken[index - len(self._items)]

    def _name(self, index: int) -> str:
        return os.path.relpath(self._at(index)[0], self._root)

    def _read(self, index: int) -> ImageLabel:
        path, label = self._at(index)
        if isinstance(label, str):
            raise BrokenItem(label)
        size = header_size(path)
        rows = np.asarray(label, np.float64)
        return ImageLabel(
            *size,
            boxes=rows[:, :4],
            names=[self._names[int(number)] for number in rows[:, 4]],
            size_differs=self._sizes[path] != size,
        )

    def image(self, index: int) -> np.ndarray:
        """Return an image."""
        return _decoded(self._at(index)[0])


class _ListedSource(Source):
    """What LST and RecordIO files have in common: the format of the label."""

    def __init__(self, title: str, absolute: bool, classes: Sequence[str] | None = None) -> None:
        super().__init__(title)
        self._absolute = absolute
        self._classes = classes

    def _class_name(self, number: float) -> str:
        if self._classes is not None and 0 <= number < len(self._classes):
            return self._classes[int(number)]
        return f"class {number:g}"

    def _label(self, label: Any, size: tuple[int, int]) -> ImageLabel:
        width, height = size
        sides = () if self._absolute else (height, width)
        rows = attempt(read_label, label, *sides)
        return ImageLabel(
            width, height, rows[:, :4], [self._class_name(number) for number in rows[:, 4]]
        )


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

    def __init__(
        self,
        title: str,
        path: str,
        image_root: str,
        absolute: bool = False,
        classes: Sequence[str] | None = None,
    ) -> None:
        super().__init__(title, absolute, classes)
        self._root = image_root
        self._broken: list[tuple[str, str]] = []
        try:
            self._dataset = _made(f"lst dataset {path}", LstDetection, path, image_root)
        except ReportError:  # one line is enough for GluonCV to refuse the file
            self._dataset = _made(f"lst dataset {path}", self._without_broken_lines, path)

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

    def _name(self, index: int) -> str:
        if index < len(self._dataset):
            return os.path.relpath(self._dataset._items[index], self._root or ".")
        return self._broken[index - len(self._dataset)][0]

    def _read(self, index: int) -> ImageLabel:
        if index >= len(self._dataset):
            raise BrokenItem(self._broken[index - len(self._dataset)][1])
        return self._label(self._dataset._labels[index], header_size(self._dataset._items[index]))

    def image(self, index: int) -> np.ndarray:
        """Return an image."""
        return _decoded(self._dataset._items[index])


class RecordSource(_ListedSource):
    """Images of a RecordIO file, read by ``gluoncv.data.RecordFileDetection``.

    Parameters
    ----------
    title, absolute, classes
        See `LstSource`.
    path : str
        The ``.rec`` file; its ``.idx`` file must lie beside it.
    """

    def __init__(
        self,
        title: str,
        path: str,
        absolute: bool = False,
        classes: Sequence[str] | None = None,
    ) -> None:
        super().__init__(title, absolute, classes)
        self._dataset = _made(f"rec dataset {path}", RecordFileDetection, path)

    def __len__(self) -> int:
        return len(self._dataset)

    def _name(self, index: int) -> str:
        return f"record {self._dataset._record.keys[index]}"

    def _unpack(self, index: int) -> Any:
        record = self._dataset._record
        try:
            content = attempt(record.read_idx, record.keys[index])
        except BrokenItem:
            _reopen(record)
            raise
        if content is None:
            _reopen(record)
            raise BrokenItem("the file ends before the position that the index gives")
        return attempt(recordio.unpack, content)

    def _read(self, index: int) -> ImageLabel:
        header, image = self._unpack(index)
        return self._label(header.label, header_size(io.BytesIO(image)))

    def image(self, index: int) -> np.ndarray:
        """Return an image."""
        image = self._unpack(index)[1]
        return attempt(lambda: mx.image.imdecode(image, 1).asnumpy())


def _reopen(record: recordio.MXIndexedRecordIO) -> None:
    """Open a file again, since MXNet's reader reads nothing more after an error or the end."""
    # Of the base class: those of the class itself would read the whole index again.
    recordio.MXRecordIO.close(record)
    recordio.MXRecordIO.open(record)
