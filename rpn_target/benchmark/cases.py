"""Seeded data to measure on: networks, images and objects."""

from __future__ import annotations

import os
import random
from typing import Any, NamedTuple, Sequence

import gluoncv
import mxnet as mx
import numpy as np
from gluoncv.data import batchify as gluoncv_batchify
from gluoncv.data.transforms.presets.rcnn import (
    FasterRCNNDefaultTrainTransform,
    MaskRCNNDefaultTrainTransform,
)
from PIL import Image

from ..core.lattice import AnchorLattice
from ..gluon.batchify import FasterRCNNTrainBatchify, MaskRCNNTrainBatchify
from ..gluon.network import anchor_levels, feature_map_sizes
from ..gluon.transforms import FasterRCNNTrainTransform, MaskRCNNTrainTransform

__all__ = ["CASES", "MASK_CASE", "Case", "Samples", "make_boxes", "make_case", "make_sample"]


class Case(NamedTuple):
    """A network and the size of its images."""

    name: str
    network: str
    multi_stage: bool
    height: int
    width: int
    source: tuple[int, int]
    """(height, width) before resizing."""
    masks: bool = False
    net: Any = None
    lattice: Any = None
    """The anchors of an image, an `AnchorLattice`."""
    anchors: Any = None
    """The same as an NDArray (N, 4)."""

    @property
    def transform_arguments(self) -> dict:
        """What both transforms are made with."""
        return {
            "short": self.height,
            "max_size": 1333,
            "net": self.net,
            "ashape": self.net.ashape,
            "multi_stage": self.multi_stage,
        }

    def classes(self, ours: bool) -> tuple[Any, Any]:
        """Return the classes of transform and batchify, this package's or GluonCV's."""
        if ours and self.masks:
            return MaskRCNNTrainTransform, MaskRCNNTrainBatchify
        if ours:
            return FasterRCNNTrainTransform, FasterRCNNTrainBatchify
        if self.masks:
            return MaskRCNNDefaultTrainTransform, gluoncv_batchify.MaskRCNNTrainBatchify
        return FasterRCNNDefaultTrainTransform, gluoncv_batchify.FasterRCNNTrainBatchify

    @property
    def image_shapes(self) -> tuple[tuple[int, ...], ...]:
        """What one image adds to a batch: image, cls_target, box_target and box_mask."""
        size = len(self.lattice)
        return (3, self.height, self.width), (size,), (size, 4), (size, 4)


CASES = (
    Case("FPN 800 x 1216", "faster_rcnn_fpn_resnet50_v1b_coco", True, 800, 1216, (500, 760)),
    Case("C4 600 x 800", "faster_rcnn_resnet50_v1b_voc", False, 600, 800, (480, 640)),
)
MASK_CASE = Case(
    "Mask R-CNN, FPN 800 x 1216", "mask_rcnn_fpn_resnet50_v1b_coco", True, 800, 1216, (500, 760),
    masks=True,
)  # fmt: skip


def make_case(case: Case) -> Case:
    """Build the network of a case, without weights, and its anchors."""
    net = gluoncv.model_zoo.get_model(case.network, pretrained=False, pretrained_base=False)
    net.collect_params().initialize()
    shapes = feature_map_sizes(net).shapes(case.height, case.width)
    lattice = AnchorLattice(anchor_levels(net, case.multi_stage), shapes)
    anchors = mx.nd.array(lattice.corners(np.arange(len(lattice))))
    return case._replace(net=net, lattice=lattice, anchors=anchors)


def make_boxes(height: int, width: int, count: int, seed: int) -> np.ndarray:
    """Make ground-truth boxes (count, 4), float32: sides of 16 pixels to half the image."""
    random = np.random.RandomState(seed)
    sides = np.exp(random.uniform(np.log(16), np.log(min(height, width) / 2), (count, 2)))
    centers = random.uniform(0, 1, (count, 2)) * (width, height)
    boxes = np.concatenate([centers - sides / 2, centers + sides / 2], axis=1)
    return boxes.clip(0, [width, height, width, height]).astype(np.float32)


def make_sample(case: Case, count: int, seed: int) -> tuple:
    """Make an image, its label (count, 6) and, for masks, its polygons, as a dataset gives them."""
    random = np.random.RandomState(seed)
    height, width = case.source
    image = mx.nd.array(random.randint(0, 256, (height, width, 3)), dtype=np.uint8)
    boxes = make_boxes(height, width, count, seed)
    label = np.concatenate([boxes, np.zeros((count, 2), np.float32)], axis=1)
    return (image, label, [_outline(box) for box in boxes]) if case.masks else (image, label)


def _outline(box: np.ndarray) -> list[np.ndarray]:
    """Return a polygon of 16 corners (16, 2): the ellipse in a box."""
    angle = np.arange(16) * (np.pi / 8)
    center, radius = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
    return [(center + np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius).astype("float32")]


class Samples:
    """A dataset of a few samples over and over: images in memory, or JPEG files to decode.

    Parameters
    ----------
    samples : list of tuples
        Image, label, and polygons for masks.
    length : int
        How many samples to give.
    folder : str, optional
        Where to write the images as files; they are read from there then.
    """

    def __init__(self, samples: Sequence[tuple], length: int, folder: str | None = None):
        self._samples = list(samples)
        self._length = length
        if folder is not None:
            for number, (image, *rest) in enumerate(samples):
                path = os.path.join(folder, f"{number}.jpg")
                _smooth(image.asnumpy()).save(path, quality=90)
                self._samples[number] = (path, *rest)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> tuple:
        image, *rest = self._samples[index % len(self._samples)]
        return (mx.image.imread(image, 1) if isinstance(image, str) else image, *rest)


def _smooth(noise: np.ndarray) -> Image.Image:
    """Return a picture whose JPEG file is about as long as a photograph's."""
    height, width = noise.shape[:2]
    coarse = Image.fromarray(noise[: height // 8, : width // 8])
    fine = Image.fromarray(noise)
    return Image.blend(coarse.resize((width, height), Image.BICUBIC), fine, 0.1)


class Transformed:
    """A dataset with a transform that is seeded by the sample's index: every worker draws alike."""

    def __init__(self, samples: Samples, transform: Any):
        self._samples = samples
        self._transform = transform

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> tuple:
        random.seed(index)
        np.random.seed(index)
        return self._transform(*self._samples[index])
