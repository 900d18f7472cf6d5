"""Coverage: how well anchors cover objects, for one image and counted over many.

An *anchor shape* is a base box of a level. An object's *best anchor* is the valid anchor with the
largest IoU with it. At or above ``pos_iou_thresh`` it is positive. Below, it is a *low-quality
match*: positive only because it is the object's best. Below ``neg_iou_thresh`` it is background,
and the object is *never learned*. An anchor can stand for one object only, the one it overlaps
most, so an object may be *crowded out*: its best anchor is positive, but each of its anchors
stands for a neighbor.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from ..core.boxes import intersection_over_union
from ..core.lattice import AnchorLattice
from ..core.matcher import match_anchors
from ..core.settings import TargetSettings
from ..core.valid import ValidAnchors
from .source import ImageLabel

__all__ = [
    "ABOVE",
    "BINS",
    "LOW_QUALITY",
    "NEVER",
    "SIZES",
    "STATUS_NAMES",
    "ImageCoverage",
    "PoorImage",
    "PoorObject",
    "Summary",
    "Tally",
    "cover",
    "least_learned",
    "size_names",
    "status",
]

# An object's status, by the IoU of its best anchor.
ABOVE = 0  # [pos_iou_thresh, 1]
LOW_QUALITY = 1  # [floor, pos_iou_thresh), with the floor of `least_learned`
NEVER = 2  # [0, floor)
NEVER_LEARNED, CROWDED_OUT = "never learned", "crowded out"


class ImageCoverage(NamedTuple):
    """What is known of one image with M objects and K anchor shapes."""

    best_iou: np.ndarray
    """(M,) float32, largest IoU with a valid anchor; 0 where no valid anchor meets the object."""
    best_shape: np.ndarray
    """(M,) int64, shape of the best anchor (the first, where several tie), or -1."""
    best_anywhere: np.ndarray
    """(M,) float32, largest IoU with any anchor, those that cross the border included; only where
    some best IoU of the image is below ``pos_iou_thresh``."""
    anchors: np.ndarray
    """(M,) int64, positive anchors that stand for the object, before sampling."""
    total: np.ndarray
    """(K,) int64, anchors."""
    valid: np.ndarray
    """(K,) int64, valid anchors."""
    positive: np.ndarray
    """(K,) int64, positive anchors before sampling."""
    above: np.ndarray
    """(K,) int64, those at or above ``pos_iou_thresh``; the others are low-quality matches."""
    negatives: int
    """Negative anchors before sampling."""
    kept_positives: int
    kept_negatives: int

    @property
    def ignored(self) -> int:
        """Valid anchors that are neither positive nor negative."""
        return max(0, int(self.valid.sum() - self.positive.sum()) - self.negatives)


def cover(
    lattice: AnchorLattice, boxes: np.ndarray, width: int, height: int, settings: TargetSettings
) -> ImageCoverage:
    """Return the `ImageCoverage` of one image.

    Parameters
    ----------
    lattice : AnchorLattice
        Of an image of this size.
    boxes : np.ndarray of shape (M, 4), float32
        Valid corner boxes, in pixels of the image the network sees.
    width, height : int
        Size of that image.
    settings : TargetSettings
    """
    shapes = len(lattice.base)
    valid = lattice.valid(width, height, settings.allowed_border)
    valid_per_shape = (valid.right - valid.left) * (valid.bottom - valid.top)
    total = lattice.rows * lattice.columns

    best_iou, best_shape = _best(lattice, boxes, valid, settings)
    best_anywhere = best_iou
    if (best_iou < np.float32(settings.pos_iou_thresh)).any():
        everywhere = lattice.valid(width, height, float("inf"))
        best_anywhere, _ = _best(lattice, boxes, everywhere, settings)

    matching = match_anchors(lattice, boxes, width, height, settings)
    shape = lattice.locate(matching.positives)[0]
    positive = np.bincount(shape, minlength=shapes)
    if len(boxes) and len(valid):
        matched = boxes[matching.matches].T
        iou = intersection_over_union(lattice.corners(matching.positives).T, matched)
        above = np.bincount(shape[iou >= np.float32(settings.pos_iou_thresh)], minlength=shapes)
        anchors = np.bincount(matching.matches, minlength=len(boxes))
    else:  # without a valid anchor GluonCV makes every anchor positive, and none has an object
        above = np.zeros(shapes, np.int64)
        anchors = np.zeros(len(boxes), np.int64)
    negatives = len(matching.negatives)
    kept = min(len(matching.positives), settings.max_positives)
    return ImageCoverage(
        best_iou, best_shape, best_anywhere, anchors, total, valid_per_shape, positive, above,
        negatives, kept, min(negatives, settings.num_sample - kept),
    )  # fmt: skip


def _best(
    lattice: AnchorLattice, boxes: np.ndarray, valid: ValidAnchors, settings: TargetSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest IoU (M,) of each box, and the shape (M,) of the anchor that has it."""
    shape = np.full(len(boxes), -1)
    if not len(boxes) or not len(valid):
        return np.zeros(len(boxes), np.float32), shape
    anchor, box, iou, best = lattice.overlaps(boxes, settings.neg_iou_thresh, valid)
    first = np.flatnonzero((iou == best[box]) & (iou > 0))
    # The lowest anchor number comes last, so that it is the one that stays.
    first = first[np.argsort(-anchor[first], kind="stable")]
    shape[box[first]] = lattice.locate(anchor[first])[0]
    return best, shape


def least_learned(settings: TargetSettings) -> np.float32:
    """Return the IoU from which on the best anchor of an object is positive."""
    if settings.low_quality_matches == "drop":
        return np.float32(settings.pos_iou_thresh)
    if settings.low_quality_matches == "keep":
        return np.nextafter(np.float32(0), np.float32(1))
    return np.float32(settings.neg_iou_thresh)


def why_no_anchor(coverage: ImageCoverage, settings: TargetSettings) -> np.ndarray:
    """Return why no positive anchor stands for each object (M,): a str, "" where one does.

    The rule of every report: an object is `NEVER_LEARNED` by its status, and `CROWDED_OUT` if all
    anchors that would do stand for neighbors.
    """
    never = status(coverage.best_iou, settings) == NEVER
    crowded = ~never & (coverage.anchors == 0)
    return np.where(never, NEVER_LEARNED, np.where(crowded, CROWDED_OUT, ""))


def outside_image(boxes: np.ndarray, width: float, height: float) -> np.ndarray:
    """Tell which corner boxes (M, 4) have half of their area or more outside their image."""
    sides = boxes[:, 2:] - boxes[:, :2]
    inside = np.minimum(boxes[:, 2:], (width, height)) - np.maximum(boxes[:, :2], 0)
    # Of a box without area, what counts is whether it meets the image.
    share = np.divide(inside, sides, out=np.where(inside >= 0, 1.0, 0.0), where=sides > 0)
    return np.maximum(share, 0).prod(axis=1) <= 0.5


def status(best_iou: np.ndarray, settings: TargetSettings) -> np.ndarray:
    """Return `ABOVE`, `LOW_QUALITY` or `NEVER` for each object; float32 counts, as in GluonCV."""
    best_iou = np.asarray(best_iou, np.float32)
    result = np.where(best_iou >= np.float32(settings.pos_iou_thresh), ABOVE, LOW_QUALITY)
    return np.where(best_iou < least_learned(settings), NEVER, result)


STATUS_NAMES = np.asarray(("above", "low_quality", "never"))
"""Names of the codes `ABOVE`, `LOW_QUALITY` and `NEVER`, in this order."""

BINS = 20
"""Of the histogram of best IoUs, on [0, 1]."""
EDGES = np.linspace(0, 1, BINS + 1)

# COCO's limits, on the area in pixels of the image as it is stored. COCO takes the area of the
# object's mask, which only COCO has; here it is that of the box.
SIZES = {"small": "under 32 x 32", "medium": "up to 96 x 96", "large": "96 x 96 and more"}
SMALL, LARGE = 32**2, 96**2

FIXED = (0.5, 0.7)  # counted whatever the thresholds are, to compare sets of anchors


class Tally:
    """Counts of objects; tallies of different objects can be added.

    Attributes
    ----------
    objects : int
    above, low_quality, never : int
        By the status of the object, see `rpn_target.report.coverage`.
    crowded : int
        Objects not of status "never" all of whose anchors stand for neighbors.
    border : int
        Objects below ``pos_iou_thresh`` that an anchor across the border would put above it.
    at_50, at_70 : int
        Objects whose best IoU is at least 0.5 and 0.7.
    iou_sum : float
        Sum of the best IoUs.
    histogram : np.ndarray of shape (BINS,), int64
        Of the best IoUs.
    """

    COUNTS = ("objects", "above", "low_quality", "never", "crowded", "border", "at_50", "at_70")

    def __init__(self) -> None:
        self.objects = self.above = self.low_quality = self.never = self.crowded = self.border = 0
        self.at_50 = self.at_70 = 0
        self.iou_sum = 0.0
        self.histogram = np.zeros(BINS, np.int64)

    @classmethod
    def of(
        cls, best_iou: np.ndarray, status_names: np.ndarray, crowded: np.ndarray, border: np.ndarray
    ) -> Tally:
        """Count objects.

        Parameters
        ----------
        best_iou : np.ndarray of shape (M,), float32
        status_names : np.ndarray of shape (M,), str
            "above", "low_quality" or "never".
        crowded, border : np.ndarray of shape (M,), bool
        """
        tally = cls()
        tally.objects = len(best_iou)
        for name in STATUS_NAMES.tolist():
            setattr(tally, name, int(np.count_nonzero(status_names == name)))
        tally.crowded = int(np.count_nonzero(crowded))
        tally.border = int(np.count_nonzero(border))
        tally.at_50, tally.at_70 = (
            int(np.count_nonzero(best_iou >= np.float32(threshold))) for threshold in FIXED
        )
        tally.iou_sum = float(np.sum(best_iou, dtype=np.float64))
        bins = np.searchsorted(EDGES, best_iou, "right") - 1
        tally.histogram = np.bincount(np.minimum(bins, BINS - 1), minlength=BINS)
        return tally

    def add(self, other: Tally) -> None:
        """Add the counts of another tally."""
        for name in (*self.COUNTS, "iou_sum", "histogram"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def share(self, name: str) -> float:
        """Return a count as a share of the objects; 0 without objects."""
        return getattr(self, name) / self.objects if self.objects else 0.0

    @property
    def mean_iou(self) -> float:
        """The mean best IoU; 0 without objects."""
        return self.iou_sum / self.objects if self.objects else 0.0

    def figures(self) -> dict[str, Any]:
        """Return everything as plain numbers."""
        figures = {name: getattr(self, name) for name in self.COUNTS}
        figures["mean_best_iou"] = self.mean_iou
        figures["best_iou_histogram"] = self.histogram.tolist()
        return figures


def size_names(boxes: np.ndarray) -> np.ndarray:
    """Return "small", "medium" or "large" for corner boxes (M, 4) in pixels of the stored image."""
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    names = np.asarray(tuple(SIZES))
    return names[(area >= SMALL).astype(int) + (area >= LARGE)]


# How much is kept by name, whatever the size of the dataset.
POOR_OBJECTS = 100
POOR_IMAGES = 12
NAMED = 100


class PoorObject(NamedTuple):
    """An object whose best anchor is below ``pos_iou_thresh``."""

    best_iou: float
    number: int  # of the image
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
    number: int  # of the image
    image: str
    size: tuple[int, int]  # (width, height) as stored
    boxes: np.ndarray  # (M, 4), in pixels of the stored image
    names: list[str]
    best_iou: np.ndarray
    status: np.ndarray
    crowded: np.ndarray

    @property
    def rank(self) -> tuple[int, float, int]:
        """Worst first when sorted: most objects never learned, then the lowest mean IoU."""
        return -self.never, self.mean_iou, self.number


class Summary:
    """What is known of some images; summaries of different images can be added.

    Parameters
    ----------
    shape_count : int
        K, the number of anchor shapes.
    per_object : bool
        Whether to keep the status of every object, by the number of its image.
    """

    SHAPE_COUNTS = ("total", "valid", "positive", "above", "best")
    IMAGE_COUNTS = (
        "images", "without_objects", "without_positives", "without_valid", "left_out", "outside",
        "size_differs", "ignored", "broken",
    )  # fmt: skip

    NAMES = ("left_out_names", "outside_names", "broken_names")

    def __init__(self, shape_count: int, per_object: bool = False) -> None:
        self.statuses: dict[int, np.ndarray] | None = {} if per_object else None
        self.every = Tally()
        self.by_size = {name: Tally() for name in SIZES}
        self.by_class: dict[str, Tally] = {}
        self.shapes = {name: np.zeros(shape_count, np.int64) for name in self.SHAPE_COUNTS}
        self.images = self.without_objects = self.without_positives = self.without_valid = 0
        self.left_out = self.outside = self.size_differs = self.ignored = self.broken = 0
        # How many images keep 0, 1, ... positives or negatives.
        self.kept_positives: Counter[int] = Counter()
        self.kept_negatives: Counter[int] = Counter()
        self.poor_objects: list[PoorObject] = []
        self.poor_images: list[PoorImage] = []
        # The first images with what is wrong with one of their objects, or with themselves.
        self.left_out_names: list[tuple[str, str]] = []
        self.outside_names: list[tuple[str, str]] = []
        self.broken_names: list[tuple[str, str]] = []

    def add_image(
        self,
        index: int,
        name: str,
        label: ImageLabel,
        coverage: ImageCoverage,
        settings: TargetSettings,
    ) -> None:
        """Count one image."""
        crowded = why_no_anchor(coverage, settings) == CROWDED_OUT
        poor = status(coverage.best_iou, settings)
        threshold = np.float32(settings.pos_iou_thresh)
        border = (coverage.best_iou < threshold) & (coverage.best_anywhere >= threshold)
        arrays = coverage.best_iou, STATUS_NAMES[poor], crowded, border
        outside = outside_image(label.boxes, label.width, label.height)
        if outside.any():  # none of the anchors' business
            self._add_outside(name, label, np.flatnonzero(outside))
            within = np.flatnonzero(~outside)
            label = label._replace(
                boxes=label.boxes[within], names=[label.names[row] for row in within]
            )
            poor, arrays = poor[within], tuple(array[within] for array in arrays)
        best_iou, _, crowded, _ = arrays
        if self.statuses is not None:
            self.statuses[index] = poor
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
        self.left_out += len(label.left_out)
        self.left_out_names += [(name, reason) for reason in label.left_out]
        self.size_differs += label.size_differs
        self.ignored += coverage.ignored
        self.kept_positives[coverage.kept_positives] += 1
        self.kept_negatives[coverage.kept_negatives] += 1
        self._add_poor(index, name, label, best_iou, poor, crowded)
        self._forget()

    def _add_outside(self, name: str, label: ImageLabel, rows: np.ndarray) -> None:
        self.outside += len(rows)
        self.outside_names += [
            (name, f"{label.names[row]} at {np.round(label.boxes[row], 1).tolist()}, but the image "
             f"is {label.width} x {label.height}")
            for row in rows[:NAMED].tolist()
        ]  # fmt: skip

    def _add_poor(
        self,
        index: int,
        name: str,
        label: ImageLabel,
        best_iou: np.ndarray,
        poor: np.ndarray,
        crowded: np.ndarray,
    ) -> None:
        rows = np.flatnonzero(poor >= LOW_QUALITY)
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

    def add_broken(self, name: str, reason: str) -> None:
        """Count an image that cannot be read."""
        self.broken += 1
        self.broken_names.append((name, reason))
        self._forget()

    def add(self, other: Summary) -> None:
        """Add the counts of other images, which come after these."""
        self.every.add(other.every)
        if self.statuses is not None:
            self.statuses.update(other.statuses or {})
        for mine, theirs in ((self.by_size, other.by_size), (self.by_class, other.by_class)):
            for key, tally in theirs.items():
                mine.setdefault(key, Tally()).add(tally)
        for key, count in other.shapes.items():
            self.shapes[key] += count
        names = ("kept_positives", "kept_negatives", "poor_objects", "poor_images")
        for name in (*self.IMAGE_COUNTS, *names, *self.NAMES):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self._forget()

    def changed_since(self, before: Summary) -> tuple[int, int]:
        """Return how many objects have a better status than before, and how many a worse one.

        Both must be summaries of the same images, made with ``per_object``.
        """
        better = worse = 0
        for index, now in (self.statuses or {}).items():
            old = (before.statuses or {}).get(index)
            if old is not None:  # else the image was too small to be resized so
                better += int(np.count_nonzero(now < old))
                worse += int(np.count_nonzero(now > old))
        return better, worse

    def _forget(self) -> None:
        """Keep only the worst by name."""
        self.poor_objects = sorted(self.poor_objects)[:POOR_OBJECTS]
        self.poor_images = sorted(self.poor_images, key=lambda image: image.rank)[:POOR_IMAGES]
        for name in self.NAMES:
            setattr(self, name, getattr(self, name)[:NAMED])
