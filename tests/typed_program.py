"""A program of a user who checks types; `mypy` reads it, nothing runs it."""

from __future__ import annotations

import warnings
from typing import Any

import gluoncv
import numpy as np

import rpn_target
from rpn_target.loader.seeded_loader import SeededLoader


def make_loader(dataset: Any, net: Any, rank: int, num_ranks: int) -> SeededLoader:
    """Load what one rank trains on."""
    transform = rpn_target.FasterRCNNTrainTransform(
        net.short, net.max_size, net, ashape=net.ashape, multi_stage=True,
        low_quality_matches="keep", allowed_border=16, ignore_column=5, on_bad_box="drop",
    )  # fmt: skip
    batchify_fn = rpn_target.FasterRCNNTrainBatchify(net, num_shards=2)
    return rpn_target.seeded_loader(
        dataset, transform, seed=7, epoch=0, batch_size=2, shuffle=True, last_batch="rollover",
        batchify_fn=batchify_fn, rank=rank, num_ranks=num_ranks, num_workers=4,
    )  # fmt: skip


def go_on(loader: SeededLoader, state: dict[str, Any]) -> int:
    """Go on where a training stopped; return how many batches there were."""
    loader.load_state_dict(state)
    with loader:
        count = sum(1 for _ in loader)
    assert loader.state_dict() != state
    return count


def make_targets(net: Any, boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return which anchors are positive."""
    lattice = rpn_target.AnchorLattice.of_network(net, height, width)
    generator = rpn_target.RPNTargetGenerator(num_sample=64, pos_ratio=0.25, rng=7)
    cls_target, box_target, box_mask = generator(boxes, lattice, width, height)
    return np.flatnonzero(np.asarray(cls_target) == 1)


def look(net: Any, dataset: Any, names: list[str]) -> None:
    """Draw an image's targets."""
    transform = rpn_target.MaskRCNNTrainTransform(600, 1000, net)
    image, label, *targets = transform(*dataset[0])[:5]
    axes = rpn_target.plot_targets(image, label, targets, anchors=net, class_names=names)
    print(axes.get_title())


def main() -> None:
    """Train with other anchors."""
    warnings.simplefilter("error", rpn_target.RPNTargetWarning)
    net = gluoncv.model_zoo.get_model("faster_rcnn_fpn_resnet50_v1b_coco")
    rpn_target.set_anchors(net, scales=(2, 4, 8, 16, 32), ratios=(0.2, 1, 5))
    rpn_target.install()
    rpn_target.uninstall()
    dataset = rpn_target.COCODetection("coco", splits=["instances_train2017"])
    loader = make_loader(dataset, net, 0, 1)
    print(len(loader))
