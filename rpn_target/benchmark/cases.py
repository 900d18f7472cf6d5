"""Seeded data to measure on: networks, images and boxes."""

from __future__ import annotations

from typing import NamedTuple

import gluoncv
import mxnet as mx
import numpy as np

from ..gluon.network import AnchorLattice

__all__ = ["CASES", "Case", "make_boxes", "make_case"]


class Case(NamedTuple):
    """A network and the size of its images."""

    name: str
    network: str
    multi_stage: bool
    height: int
    width: int
    source: tuple[int, int]
    """(height, width) before resizing."""
    net: object = None
    lattice: AnchorLattice = None
    anchors: mx.nd.NDArray = None
    """(N, 4)"""

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


CASES = (
    Case("FPN 800 x 1216", "faster_rcnn_fpn_resnet50_v1b_coco", True, 800, 1216, (500, 760)),
    Case("C4 600 x 800", "faster_rcnn_resnet50_v1b_voc", False, 600, 800, (480, 640)),
)


def make_case(case: Case) -> Case:
    """Build the network of a case, without weights, and its anchors."""
    net = gluoncv.model_zoo.get_model(case.network, pretrained=False, pretrained_base=False)
    net.collect_params().initialize()
    lattice = AnchorLattice.of_network(net, case.height, case.width)
    anchors = mx.nd.array(lattice.corners(np.arange(len(lattice))))
    return case._replace(net=net, lattice=lattice, anchors=anchors)


def make_boxes(height: int, width: int, count: int, seed: int) -> np.ndarray:
    """Make ground-truth boxes (count, 4), float32: sides of 16 pixels to half the image."""
    random = np.random.RandomState(seed)
    sides = np.exp(random.uniform(np.log(16), np.log(min(height, width) / 2), (count, 2)))
    centers = random.uniform(0, 1, (count, 2)) * (width, height)
    boxes = np.concatenate([centers - sides / 2, centers + sides / 2], axis=1)
    return boxes.clip(0, [width, height, width, height]).astype(np.float32)


def make_sample(case: Case, count: int, seed: int):
    """Make an image and its label (count, 6) as a dataset gives them."""
    random = np.random.RandomState(seed)
    height, width = case.source
    image = mx.nd.array(random.randint(0, 256, (height, width, 3)), dtype=np.uint8)
    boxes = make_boxes(height, width, count, seed)
    return image, np.concatenate([boxes, np.zeros((count, 2), np.float32)], axis=1)
