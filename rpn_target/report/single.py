"""One image: what ``rpn-target show`` draws and tells of it."""

from __future__ import annotations

from typing import NamedTuple

import mxnet as mx
import numpy as np
from gluoncv.data.transforms import image as image_transforms

from ..core.draws import as_draws
from ..core.matcher import assign
from ..core.sampler import Sample, sample
from .coverage import ImageCoverage, cover, status
from .source import ImageLabel, Source, header_size
from .workers import Job, network_boxes

__all__ = ["FileSource", "OneImage", "look_at"]

BILINEAR = 1  # MXNet's number for the interpolation, as in the train transforms


class FileSource(Source):
    """A dataset of one image, with boxes given.

    Parameters
    ----------
    path : str
        The image.
    boxes : sequence of M sequences of 4 floats
        Corner boxes in pixels.
    """

    def __init__(self, path: str, boxes):
        super().__init__(path)
        self._boxes = np.reshape(np.asarray(boxes, np.float64), (-1, 4))

    def __len__(self) -> int:
        return 1

    def name(self, index: int) -> str:
        """Return what to call an image."""
        return self.title

    def _read(self, index: int) -> ImageLabel:
        names = [f"box {number}" for number in range(1, len(self._boxes) + 1)]
        return ImageLabel(*header_size(self.title), self._boxes, names)

    def _decode(self, index: int):
        return mx.image.imread(self.title, 1)


class OneImage(NamedTuple):
    """Everything about one image, in pixels as the network sees it."""

    name: str
    picture: np.ndarray  # (H, W, 3), uint8
    boxes: np.ndarray  # (M, 4)
    class_names: list
    coverage: ImageCoverage
    status: np.ndarray  # (M,), codes of `rpn_target.report.coverage`
    positives: np.ndarray  # (P, 4), corners of the kept ones
    negatives: np.ndarray  # (Q, 4)
    kept_for: np.ndarray  # (M,), kept positives that stand for each object
    levels: list  # one dictionary of counts per level


def look_at(job: Job, index: int, seed: int) -> OneImage:
    """Assign and sample the anchors of one image.

    Parameters
    ----------
    job : Job
    index : int
        The image's number in the dataset.
    seed : int
        Of the draw: the kept anchors are those of GluonCV after ``np.random.seed(seed)``.

    Raises
    ------
    BrokenItem
        If the image or its annotation cannot be used.
    """
    label = job.source.read(index)
    boxes, width, height = network_boxes(job, index, label)
    image = mx.nd.array(job.source.image(index), dtype=np.uint8)
    picture = image_transforms.resize_short_within(
        image, min(width, height), max(width, height), interp=BILINEAR
    ).asnumpy()
    lattice = job.scheme.lattice(width, height)
    assignment = assign(lattice, boxes, width, height, job.settings)
    kept = sample(assignment, job.settings, as_draws(np.random.RandomState(seed)))
    coverage = cover(lattice, boxes, width, height, job.settings)
    return OneImage(
        name=job.source.name(index),
        picture=picture,
        boxes=boxes,
        class_names=list(label.names),
        coverage=coverage,
        status=status(coverage.best_iou, job.settings),
        positives=lattice.corners(kept.positives),
        negatives=lattice.corners(kept.negatives),
        kept_for=np.bincount(kept.matches, minlength=len(boxes))[: len(boxes)],
        levels=_levels(lattice, assignment, kept, coverage),
    )


def _levels(lattice, assignment, kept: Sample, coverage: ImageCoverage) -> list[dict]:
    """Return what becomes of the anchors of each level."""
    count = len(lattice.depths)

    def per_level(anchors: np.ndarray) -> np.ndarray:
        level = lattice.level[lattice.locate(anchors)[0]]
        return np.bincount(level, minlength=count)

    negatives = assignment.negatives.select(np.arange(len(assignment.negatives)))
    columns = {
        "anchors": np.bincount(lattice.level, coverage.total, count),
        "inside": np.bincount(lattice.level, coverage.valid, count),
        "positive": per_level(assignment.positives),
        "negative": per_level(negatives),
        "kept_positive": per_level(kept.positives),
        "kept_negative": per_level(kept.negatives),
    }
    columns["ignored"] = np.maximum(
        columns["inside"] - columns["positive"] - columns["negative"], 0
    )
    strides = lattice.stride[np.asarray(lattice.level_base[:-1])]
    return [
        {"stride": float(stride), **{name: int(column[level]) for name, column in columns.items()}}
        for level, stride in enumerate(strides)
    ]
