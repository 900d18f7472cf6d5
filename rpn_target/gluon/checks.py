"""Labels: what a sample of a data set must look like."""

from __future__ import annotations

import warnings

import numpy as np
from mxnet import nd

from ..core.boxes import bad_boxes, check_boxes
from ..core.settings import RPNTargetWarning
from .ndarray import as_numpy

__all__ = ["ON_BAD_BOX", "check_polygons", "check_sample"]

ON_BAD_BOX = ("raise", "drop")
IMAGE_DTYPES = ("uint8", "int8", "float32", "float64")  # MXNet resizes no others, or to garbage
SEQUENCES = (list, tuple, np.ndarray)
FARTHEST = 1e6  # pixels: pycocotools walks along every outline, in time and memory


def check_sample(src, label, short: float, ignore_column: int | None, on_bad_box: str):
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


def _check_flags(label: np.ndarray, rows: np.ndarray, ignore_column: int | None, where: str):
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


def check_polygons(src, segm, rows: np.ndarray, count: int) -> list:
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


def _check_outline(polygons, name: str, where: str) -> None:
    """Check the polygons of one object."""
    if not isinstance(polygons, SEQUENCES) or not len(polygons):
        raise ValueError(
            f"{name} must be a list of polygons, at least one, but got {polygons!r}{where}"
        )
    for polygon in polygons:
        if not isinstance(polygon, np.ndarray) or polygon.dtype.kind not in "fiu":
            raise TypeError(f"{name} must hold arrays of real numbers, but got {polygon!r}{where}")
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


def _check_image(src) -> None:
    if not isinstance(src, nd.NDArray):
        raise TypeError(f"src must be an NDArray of shape (H, W, 3), but got {type(src).__name__}")
    if src.ndim != 3 or src.shape[2] != 3 or not src.size:
        raise ValueError(f"src must be an image of shape (H, W, 3), but its shape is {src.shape}")
    if np.dtype(src.dtype).name not in IMAGE_DTYPES:
        raise TypeError(
            f"src must be of one of the types {', '.join(IMAGE_DTYPES)}, but its dtype is "
            f"{np.dtype(src.dtype).name}{_where(src)}"
        )


def _where(src) -> str:
    height, width = src.shape[:2]
    return f" (image of {width} x {height})"


def _as_array(label, where: str) -> np.ndarray:
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
