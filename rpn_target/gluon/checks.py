"""Labels: what a sample of a data set must look like."""

from __future__ import annotations

import warnings
from typing import Any

import mxnet as mx
import numpy as np

from ..core.boxes import bad_boxes, check_boxes
from ..core.settings import RPNTargetWarning, shown
from .ndarray import as_numpy

__all__ = ["ON_BAD_BOX", "LabelWatch", "check_polygons", "check_sample"]

ON_BAD_BOX = ("raise", "drop")
IMAGE_DTYPES = ("uint8", "int8", "float32", "float64")  # MXNet resizes no others, or to garbage
SEQUENCES = (list, tuple, np.ndarray)
IMAGES_WITHOUT_OBJECTS = 100  # so many are no chance
LEAST_SIDE = 16  # pixels: below, a box of a pixel is no mistake
FAR = 0.5  # of the image's side: farther outside, a box belongs to another image
NEAR = 0.05  # of the image's side: no farther from its corner, a box may begin there
FARTHEST = 1e6  # pixels: pycocotools walks along every outline, in time and memory


def check_sample(
    src: Any, label: Any, short: float, ignore_column: int | None, on_bad_box: str
) -> tuple[np.ndarray, np.ndarray]:
    """Check an image and its label.

    Parameters
    ----------
    src : NDArray of shape (H, W, 3)
    label : array-like of shape (M, 4+)
    short : float
        The most that the image's shorter side may become: boxes must be finite then, too.
    ignore_column : int, optional
        A column the label must have, of flags 0 and 1.
    on_bad_box : {"raise", "drop"}
        What to do about a box that is inverted or not finite.

    Returns
    -------
    label : np.ndarray of shape (M, 4+)
    rows : np.ndarray of shape (M,), int64
        Which rows of the given label these are.

    Raises
    ------
    TypeError, ValueError
        With the contract, what came, and the image's size.
    """
    _check_image(src)
    where = _where(src)
    label = _as_array(label, where)
    if ignore_column is not None and ignore_column >= label.shape[1] and len(label):
        raise ValueError(
            f"label must have a column {ignore_column} (ignore_column), but its shape is "
            f"{label.shape}{where}"
        )
    scale = max(1, (short + 1) / min(src.shape[:2]))  # more by one for the rounding of sides
    if on_bad_box == "raise":
        try:
            check_boxes(label[:, :4], "label[:, :4]", where, scale=scale)
        except ValueError:
            if not _fit_as_sizes(label, src):
                raise
            where = f"; all would fit the image as (xmin, ymin, width, height){where}"
            check_boxes(label[:, :4], "label[:, :4]", where, scale=scale)
        return _check_flags(label, np.arange(len(label)), ignore_column, where)
    with np.errstate(over="ignore"):
        bad = bad_boxes(label[:, :4].astype(np.float32), scale)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        warnings.warn(
            f"dropped {bad.sum()} of {len(label)} boxes that are inverted or not finite, the first "
            f"in row {row}: {label[row, :4].tolist()}{where}",
            RPNTargetWarning,
            stacklevel=3,
        )
    return _check_flags(label, np.flatnonzero(~bad), ignore_column, where)


def _fit_as_sizes(label: np.ndarray, src: mx.nd.NDArray) -> bool:
    """Tell whether all boxes of an image lie inside it as (xmin, ymin, width, height)."""
    height, width = src.shape[:2]
    boxes = label[:, :4].astype(np.float64)
    inside = (boxes[:, :2] + boxes[:, 2:] <= (width, height)).all()
    return bool(inside and (boxes[:, :2] >= 0).all() and (boxes[:, 2:] > 0).all())


def _check_flags(
    label: np.ndarray, rows: np.ndarray, ignore_column: int | None, where: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return some rows of a label and their numbers, once their flags are checked."""
    kept = label[rows]
    if ignore_column is not None and len(kept):
        flags = kept[:, ignore_column]
        bad = np.flatnonzero((flags != 0) & (flags != 1))
        if len(bad):
            raise ValueError(
                f"label[:, {ignore_column}] (ignore_column) must hold flags 0 and 1, but row "
                f"{rows[bad[0]]} has {flags[bad[0]]}{where}"
            )
    return kept, rows


def check_polygons(src: mx.nd.NDArray, segm: Any, rows: np.ndarray, count: int) -> list:
    """Check the polygons of an image's boxes, and return those of some rows.

    Parameters
    ----------
    src : NDArray of shape (H, W, 3)
    segm : list of lists of np.ndarray of shape (P, 2)
    rows : np.ndarray, int64
        Which rows of the label to return.
    count : int
        How many rows the label was given with.

    Raises
    ------
    TypeError, ValueError
        With the contract, what came, and the image's size.
    """
    where = _where(src)
    if not isinstance(segm, SEQUENCES):
        raise TypeError(
            f"segm must be a list with the polygons of each box, but got {type(segm).__name__}"
            f"{where}"
        )
    if len(segm) != count:
        raise ValueError(
            f"segm must hold the polygons of {count} boxes, but its length is {len(segm)}{where}"
        )
    for row in rows:
        _check_outline(segm[row], f"segm[{row}]", where)
    return [segm[row] for row in rows]


def _check_outline(polygons: Any, name: str, where: str) -> None:
    """Check the polygons of one object."""
    if not isinstance(polygons, SEQUENCES) or not len(polygons):
        advice = ""
        if isinstance(polygons, dict):  # run lengths
            advice = (
                ". Make polygons of a mask first, for instance with find_contours(mask, 0.5) of "
                "skimage.measure, which gives points (y, x)"
            )
        raise ValueError(
            f"{name} must be a list of polygons, at least one, but got {shown(polygons)}{advice}"
            f"{where}"
        )
    for polygon in polygons:
        if not isinstance(polygon, np.ndarray) or polygon.dtype.kind not in "fiu":
            raise TypeError(
                f"{name} must hold arrays of real numbers, but got {shown(polygon)}{where}"
            )
        if polygon.ndim != 2 or polygon.shape[1] != 2 or len(polygon) < 3:
            raise ValueError(
                f"{name} must hold polygons of shape (P, 2) with P >= 3, but the shape of one is "
                f"{polygon.shape}{where}"
            )
        bad = np.flatnonzero(~(np.abs(polygon) <= FARTHEST).all(axis=1))
        if len(bad):
            raise ValueError(
                f"{name} must hold points (x, y) within {FARTHEST:.0f} pixels, but point {bad[0]} "
                f"of a polygon is {polygon[bad[0]].tolist()}{where}"
            )


def _check_image(src: Any) -> None:
    if not isinstance(src, mx.nd.NDArray):
        advice = ": make one with mx.nd.array(src)" if isinstance(src, np.ndarray) else ""
        raise TypeError(
            f"src must be an NDArray of shape (H, W, 3), but got {_kind_of(src)}{advice}"
        )
    if src.ndim != 3 or src.shape[2] != 3 or not src.size:
        raise ValueError(f"src must be an image of shape (H, W, 3), but its shape is {src.shape}")
    if np.dtype(src.dtype).name not in IMAGE_DTYPES:
        raise TypeError(
            f"src must be of one of the types {', '.join(IMAGE_DTYPES)}, but its dtype is "
            f"{np.dtype(src.dtype).name}{_where(src)}"
        )


def _kind_of(value: Any) -> str:
    """Return the name of a value's type, with the package it comes from where that helps."""
    return "numpy.ndarray" if isinstance(value, np.ndarray) else type(value).__name__


def _where(src: mx.nd.NDArray) -> str:
    height, width = src.shape[:2]
    return f" (image of {width} x {height})"


def _as_array(label: Any, where: str) -> np.ndarray:
    """Return a label as an array (M, 4+); an empty list is one without boxes."""
    try:
        label = as_numpy(label)
    except ValueError as error:  # rows of several lengths, with NumPy 1.24 and later
        raise ValueError(
            f"label must have shape (M, 4+), but is no array{where}: {error}"
        ) from error
    if label.size == 0 and label.ndim == 1:
        return np.zeros((0, 4))
    if label.dtype.kind not in "fiu":
        raise TypeError(f"label must hold real numbers, but its dtype is {label.dtype}{where}")
    if label.ndim != 2 or label.shape[1] < 4:
        raise ValueError(f"label must have shape (M, 4+), but its shape is {label.shape}{where}")
    return label


class LabelWatch:
    """Warns of samples that are allowed, but look like a mistake; once of each kind.

    Where a single label proves nothing, it waits for more; a label that does not fit a suspicion
    ends it for good. Threads may share it: they may miscount by a few images, but only one of them
    warns.
    """

    def __init__(self) -> None:
        # Each suspicion that is not ended, with the images and rows that fit it so far.
        self._open = {
            kind: [0, 0]
            for kind in (
                "pixels",
                "no objects",
                "scale",
                "distance",
                "class in front",
                "width and height",
                "small network",
                "no valid anchor",
            )
        }

    def is_open(self, kind: str) -> bool:
        """Tell whether a suspicion was neither told of nor ended."""
        return kind in self._open

    def tell(self, kind: str, message: str, stacklevel: int = 6) -> None:
        """Warn, if no other thread has done so; stacklevel leads to the transform's caller."""
        if self._end(kind):
            warnings.warn(message, RPNTargetWarning, stacklevel=stacklevel)

    def _end(self, kind: str) -> bool:
        """End a suspicion; tell whether it was open: to one thread alone, since pop is one step."""
        return self._open.pop(kind, None) is not None

    def look(self, src: mx.nd.NDArray, label: np.ndarray) -> None:
        """Look at the image and the label (M, 4+) of a sample that has been checked."""
        height, width = src.shape[:2]
        self._look_at_pixels(src)
        self._count_images(label)
        if not len(label):
            return
        boxes = label[:, :4]
        size = np.array([width, height, width, height], np.float64)
        self._look_at_scale(boxes, size)
        self._look_at_distance(boxes, size)
        self._look_at_order(src, label, size)

    def _look_at_pixels(self, src: mx.nd.NDArray) -> None:
        if not self.is_open("pixels") or np.dtype(src.dtype).kind != "f":
            return
        largest = float(as_numpy(src).max())
        if largest > 1:
            self._end("pixels")  # other images of the data set will be like this one
        elif largest > 0:
            self.tell(
                "pixels",
                f"the largest value of an image is {largest:g}: were its pixels divided by 255 "
                "already? The transform expects 0 to 255, and divides them itself"
                f"{_where(src)}",
            )

    def _count_images(self, label: np.ndarray) -> None:
        if not self.is_open("no objects"):
            return
        if self._fits("no objects", not len(label), 0, rows=0, images=IMAGES_WITHOUT_OBJECTS):
            self.tell(
                "no objects",
                f"none of the first {IMAGES_WITHOUT_OBJECTS} images has an object: is a class "
                "name of the data set spelled as in its annotations? Objects of other names are "
                "left out by GluonCV's data sets",
            )

    def _look_at_scale(self, boxes: np.ndarray, size: np.ndarray) -> None:
        if not self.is_open("scale") or size.min() < LEAST_SIDE:
            return
        has_area = (boxes[:, 2:] > boxes[:, :2]).all()
        if has_area and boxes.min() >= 0 and boxes.max() <= 1:
            self.tell(
                "scale",
                "label[:, :4] must be in pixels, but all corners of an image are from 0 to 1, as "
                f"shares of its sides are: row 0 is {_row(boxes, 0)}{_of(size)}",
            )

    def _look_at_distance(self, boxes: np.ndarray, size: np.ndarray) -> None:
        if not self.is_open("distance"):
            return
        slack = np.maximum(size * FAR, LEAST_SIDE)
        far = ((boxes < -slack) | (boxes > size + slack)).any(axis=1)
        if far.any():
            row = int(np.flatnonzero(far)[0])
            self.tell(
                "distance",
                f"a box lies far outside its image: row {row} is {_row(boxes, row)}; do the "
                f"annotations belong to an image of another size?{_of(size)}",
            )

    def _look_at_order(self, src: mx.nd.NDArray, label: np.ndarray, size: np.ndarray) -> None:
        """Find labels (class, xmin, ymin, xmax, ymax) and boxes (x, y, width, height)."""
        if self.is_open("class in front"):
            fits = label.shape[1] > 4 and _is_class_in_front(label[:, :5], size)
            if self._fits("class in front", fits, len(label), rows=3, images=1):
                self.tell(
                    "class in front",
                    "a label must be (xmin, ymin, xmax, ymax, class), but all so far look like "
                    f"(class, xmin, ymin, xmax, ymax): row 0 is {_row(label, 0)}{_of(size)}",
                )
        if self.is_open("width and height"):
            # A box that begins at the image's corner is the same either way.
            proves = int((label[:, :2] > size[:2] * NEAR).any(axis=1).sum())
            fits = _fit_as_sizes(label, src)
            if self._fits("width and height", fits, proves, rows=12, images=3):
                self.tell(
                    "width and height",
                    "a box must be (xmin, ymin, xmax, ymax), but all so far would fit their image "
                    f"as (xmin, ymin, width, height): row 0 is {_row(label, 0)}{_of(size)}",
                )

    def _fits(self, kind: str, fits: bool, count: int, rows: int, images: int) -> bool:
        """Note whether a label fits a suspicion; tell whether so many do that it is to be told."""
        if not fits:
            self._end(kind)
            return False
        found = self._open.get(kind)
        if found is None:  # another thread has ended it
            return False
        found[0] += 1
        found[1] += count
        return found[0] >= images and found[1] >= rows


def _is_class_in_front(label: np.ndarray, size: np.ndarray) -> bool:
    """Tell whether all rows (M, 5) are a class and a box, and none a box and a class."""
    number, boxes = label[:, 0], label[:, 1:].astype(np.float64)
    with np.errstate(invalid="ignore"):
        return bool(
            (number == np.floor(number)).all()
            and (number >= 0).all()
            and (boxes[:, :2] < boxes[:, 2:]).all()
            and (boxes >= 0).all()
            and (boxes <= size + 1).all()
        )


def _row(array: np.ndarray, row: int) -> str:
    return shown(array[row].tolist())


def _of(size: np.ndarray) -> str:
    return f" (image of {int(size[0])} x {int(size[1])})"
