"""Counts over the images of a dataset, which can be added up."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .coverage import FORCED, NEVER, ImageCoverage, status
from .source import ImageLabel
from .tally import SIZES, STATUS_NAMES, Tally, size_names

__all__ = ["PoorImage", "PoorObject", "Summary"]

# How much is kept by name, whatever the size of the dataset.
POOR_OBJECTS = 100
POOR_IMAGES = 12
BROKEN = 100


class PoorObject(NamedTuple):
    """An object whose best anchor is below ``pos_iou_thresh``."""

    best_iou: float
    index: int  # of the image
    row: int  # of the box in its label
    image: str
    name: str
    width: float  # in pixels of the stored image
    height: float
    status: str


class PoorImage(NamedTuple):
    """An image with objects that anchors do not cover well."""

    never: int
    mean_iou: float
    index: int
    image: str
    size: tuple  # (width, height) as stored
    boxes: np.ndarray  # (M, 4), in pixels of the stored image
    names: list
    best_iou: np.ndarray
    status: np.ndarray
    crowded: np.ndarray

    @property
    def rank(self) -> tuple:
        """Worst first when sorted: most objects never learned, then the lowest mean IoU."""
        return -self.never, self.mean_iou, self.index


class Summary:
    """What is known of some images; summaries of different images can be added.

    Parameters
    ----------
    shapes : int
        K, the number of anchor shapes.
    num_sample : int
        How many anchors of an image are kept at most.
    """

    SHAPE_COUNTS = ("total", "valid", "positive", "above", "best")
    IMAGE_COUNTS = (
        "images", "without_objects", "without_positives", "without_valid", "left_out",
        "size_differs", "ignored", "broken",
    )  # fmt: skip

    def __init__(self, shapes: int, num_sample: int):
        self.every = Tally()
        self.by_size = {name: Tally() for name in SIZES}
        self.by_class = {}
        self.shapes = {name: np.zeros(shapes, np.int64) for name in self.SHAPE_COUNTS}
        for name in self.IMAGE_COUNTS:
            setattr(self, name, 0)
        # How many images keep 0, 1, ... positives or negatives.
        self.kept_positives = np.zeros(num_sample + 1, np.int64)
        self.kept_negatives = np.zeros(num_sample + 1, np.int64)
        self.poor_objects = []
        self.poor_images = []
        self.broken_names = []

    def add_image(
        self, index: int, name: str, label: ImageLabel, coverage: ImageCoverage, settings
    ) -> None:
        """Count one image."""
        poor = status(coverage.best_iou, settings)
        crowded = (poor != NEVER) & (coverage.anchors == 0)
        threshold = np.float32(settings.pos_iou_thresh)
        border = (coverage.best_iou < threshold) & (coverage.best_anywhere >= threshold)
        arrays = coverage.best_iou, STATUS_NAMES[poor], crowded, border
        self.every.add(Tally.of(*arrays))
        for tallies, keys in (
            (self.by_size, size_names(label.boxes)),
            (self.by_class, np.asarray(label.names, object)),
        ):
            for key in dict.fromkeys(keys.tolist()):
                chosen = keys == key
                tally = Tally.of(*(array[chosen] for array in arrays))
                tallies.setdefault(key, Tally()).add(tally)

        for key in ("total", "valid", "positive", "above"):
            self.shapes[key] += getattr(coverage, key)
        found = coverage.best_shape[coverage.best_shape >= 0]
        self.shapes["best"] += np.bincount(found, minlength=len(self.shapes["best"]))
        self.images += 1
        self.without_objects += not len(label.boxes)
        self.without_positives += coverage.kept_positives == 0
        self.without_valid += not coverage.valid.any()
        self.left_out += label.left_out
        self.size_differs += label.size_differs
        self.ignored += coverage.ignored
        self.kept_positives[coverage.kept_positives] += 1
        self.kept_negatives[coverage.kept_negatives] += 1
        self._add_poor(index, name, label, coverage.best_iou, poor, crowded)

    def _add_poor(self, index, name, label, best_iou, poor, crowded) -> None:
        rows = np.flatnonzero(poor >= FORCED)
        if not len(rows):
            return
        size = label.boxes[:, 2:] - label.boxes[:, :2]
        self.poor_objects += [
            PoorObject(
                float(best_iou[row]), index, int(row), name, label.names[row],
                float(size[row, 0]), float(size[row, 1]), str(STATUS_NAMES[poor[row]]),
            )
            for row in rows[np.argsort(best_iou[rows], kind="stable")][:POOR_OBJECTS]
        ]  # fmt: skip
        self.poor_images.append(
            PoorImage(
                int(np.count_nonzero(poor == NEVER)), float(np.mean(best_iou, dtype=np.float64)),
                index, name, (label.width, label.height), label.boxes, label.names, best_iou,
                STATUS_NAMES[poor], crowded,
            )
        )  # fmt: skip
        self._forget()

    def add_broken(self, name: str, reason: str) -> None:
        """Count an image that cannot be read."""
        self.broken += 1
        self.broken_names.append((name, reason))
        self._forget()

    def add(self, other: Summary) -> None:
        """Add the counts of other images, which come after these."""
        self.every.add(other.every)
        for mine, theirs in ((self.by_size, other.by_size), (self.by_class, other.by_class)):
            for key, tally in theirs.items():
                mine.setdefault(key, Tally()).add(tally)
        for key, count in other.shapes.items():
            self.shapes[key] += count
        names = ("kept_positives", "kept_negatives")
        for name in (*self.IMAGE_COUNTS, *names, "poor_objects", "poor_images", "broken_names"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self._forget()

    def _forget(self) -> None:
        """Keep only the worst by name."""
        self.poor_objects = sorted(self.poor_objects)[:POOR_OBJECTS]
        self.poor_images = sorted(self.poor_images, key=lambda image: image.rank)[:POOR_IMAGES]
        self.broken_names = self.broken_names[:BROKEN]
