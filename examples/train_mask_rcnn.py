#!/usr/bin/env python
"""Train a small Mask R-CNN with RPN targets from rpn_target, by default on four photographs.

The defaults start from random weights and take about two minutes on two CPU cores. At the end
stand the losses, how many of the objects the RPN proposes before and after training, the saved
parameters, and a picture of the masks that are found in one image.
"""

from __future__ import annotations

import os
import warnings

import command_line
from stopping import Checkpoint, many_epochs, start

PARSER = command_line.build_parser(
    __doc__, "mask_rcnn", formats=("coco",), networks=("fpn",), picture="the masks found"
)
if __name__ == "__main__":
    PARSER.parse_args()  # MXNet takes seconds to import; --help and bad arguments need none of it

import rpn_target  # first, since it restores what MXNet needs of recent NumPy

# isort: split
import numpy as np
from distributed.ranks import start_engine
from gluoncv.data import COCOInstance
from gluoncv.data.batchify import MaskRCNNTrainBatchify
from gluoncv.data.transforms.presets import rcnn
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from mxnet import nd
from PIL import Image
from small_networks import build_network, count_found, initialize
from train_faster_rcnn import (
    LOSSES,
    make_transform,
    open_loader,
    rcnn_losses,
    rpn_losses,
    train,
)

# The two names that change in a script of yours: the transform, and the batchify function.
IMPLEMENTATIONS = {
    "gluoncv": (rcnn.MaskRCNNDefaultTrainTransform, MaskRCNNTrainBatchify),
    "rpn_target": (rpn_target.MaskRCNNTrainTransform, rpn_target.MaskRCNNTrainBatchify),
}

PICTURED_PHOTO = 2  # coins.jpg has many objects, small ones
SCORE_THRESHOLD = 0.5  # of the detections that are drawn
TINT = 0.6  # opacity of a mask
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # of the transforms
# Color-blind readers can tell them apart (Okabe and Ito's palette).
COLORS = ("#56b4e9", "#f0e442", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#0072b2")


def open_dataset(kind, root=None, splits=None, classes=None):
    """Return a dataset of images, labels (M, 5): corner box, class; and M lists of polygons."""
    if kind == "photos":
        root = root or os.path.join(command_line.HERE, "photos")
        splits = splits or ["instances_photos"]
        classes = classes or command_line.OUTLINED_CLASSES
    return command_line.open_coco(COCOInstance, root, splits, classes)


def mask_loss(score, target, weight):
    """Return the mean loss over the pixels of the positive proposals' own classes.

    All are (B, P, C, h, w): logits, share of the pixel that the object covers, and 1 for the class
    of the object.
    """
    # -log sigmoid(x) for a pixel inside, -log(1 - sigmoid(x)) outside, without overflow
    entropy = nd.relu(score) - score * target + nd.log1p(nd.exp(-nd.abs(score)))
    return (entropy * weight).sum() / nd.maximum(weight.sum(), 1)


def pick_rows(array, indices):
    """Return the rows (B, P, ...) of an array (B, N, ...) that indices (B, P) name."""
    return nd.stack(*[nd.take(rows, index) for rows, index in zip(array, indices)])


def compute_losses(net, image, label, masks, *targets):
    """Return the five losses of one device's share of a batch."""
    output = net(image, label[:, :, :4], label[:, :, 4:5])
    cls_score, box_score, mask_score, proposals, _, matches, rpn_score, rpn_box = output[:8]
    cls_target, box_target, box_mask, positives = output[9:13]
    mask_target, mask_weight = net.mask_target(
        pick_rows(proposals, positives),
        masks,
        pick_rows(matches, positives),
        pick_rows(cls_target, positives),
    )
    return (
        *rpn_losses(rpn_score, rpn_box, *targets),
        *rcnn_losses(cls_score, box_score, cls_target, box_target, box_mask),
        mask_loss(mask_score, mask_target, mask_weight),
    )


def paste(mask, box, height, width):
    """Return the pixels (height, width) inside, of a mask of probabilities that fills a box."""
    xmin, ymin, xmax, ymax = (int(round(float(side))) for side in box)
    pixels = np.zeros((height, width), dtype=bool)
    left, top = max(xmin, 0), max(ymin, 0)
    right, bottom = min(xmax, width), min(ymax, height)
    if left < right and top < bottom:
        stretched = Image.fromarray(mask).resize((xmax - xmin, ymax - ymin), Image.BILINEAR)
        visible = np.asarray(stretched)[top - ymin : bottom - ymin, left - xmin : right - xmin]
        pixels[top:bottom, left:right] = visible >= 0.5
    return pixels


def find_objects(net, tensor, context):
    """Return class numbers, scores, boxes and masks of what is found in an image (3, h, w)."""
    net.hybridize()  # anew: the network has other inputs than in training
    with warnings.catch_warnings():
        # Those that make the targets in training.
        warnings.filterwarnings("ignore", message="Parameter .* is not used by any computation")
        output = net(tensor.expand_dims(axis=0).as_in_context(context))
    numbers, scores, boxes, masks = (part[0].asnumpy() for part in output)
    numbers, scores = numbers[:, 0].astype(int), scores[:, 0]
    found = (numbers >= 0) & (scores >= SCORE_THRESHOLD)
    return numbers[found], scores[found], boxes[found], masks[found]


def draw_masks(net, sample, context, path):
    """Write a picture of an image with its outlines, and with the masks that the network finds."""
    transform = rcnn.MaskRCNNDefaultValTransform(net.short, net.max_size)
    tensor, (height, width, scale) = transform(*sample)
    height, width, scale = int(height.asscalar()), int(width.asscalar()), float(scale.asscalar())
    image = np.clip(tensor.asnumpy().transpose(1, 2, 0) * STD + MEAN, 0, 1)
    found = find_objects(net, tensor, context)
    tinted = image.copy()
    for index, (_, _, box, mask) in enumerate(zip(*found)):
        inside = paste(mask, box, height, width)
        color = np.array(to_rgb(COLORS[index % len(COLORS)]))
        tinted[inside] = (1 - TINT) * image[inside] + TINT * color
    panels = Figure(figsize=(14.3, 7 * height / width + 0.5), dpi=110).subplots(1, 2)
    for axes, picture in zip(panels, (image, tinted)):
        axes.imshow(picture, extent=(0, width, height, 0))
        axes.axis("off")
    for number, polygons in zip(sample[1][:, 4].astype(int), sample[2]):
        for polygon in polygons:
            panels[0].plot(*np.r_[polygon, polygon[:1]].T * scale, color="white", linewidth=1.8)
        write_name(panels[0], net.classes[number], polygons[0].min(axis=0) * scale)
    for number, score, box, _ in zip(*found):
        write_name(panels[1], f"{net.classes[number]} {score:.0%}", box[:2])
    panels[0].set_title(f"{len(sample[1])} objects", fontsize=12)
    panels[1].set_title(f"{len(found[0])} found, score >= {SCORE_THRESHOLD:.0%}", fontsize=12)
    panels[0].figure.savefig(path, bbox_inches="tight")


def write_name(axes, text, corner):
    """Write a name at the top left corner of an object."""
    axes.text(
        max(corner[0], 2), max(corner[1], 12), text, color="black", fontsize=8, va="bottom",
        bbox=dict(facecolor="white", edgecolor="none", pad=1.2), clip_on=True,
    )  # fmt: skip


def run(options):
    """Train as the options say."""
    command_line.seed_all(options.seed)
    engine = start_engine(options)  # this process alone, or one of several ranks
    contexts = engine.contexts
    dataset = open_dataset(options.dataset, options.root, options.splits, options.classes)
    net = build_network(
        "mask_fpn", dataset.classes, options.short, options.max_size, options.batch_size
    )
    initialize(net, contexts, options.weights)
    transform_type, batchify_type = IMPLEMENTATIONS[options.transform]
    transform = make_transform(transform_type, net, options.num_sample)
    batchify_fn = batchify_type(net, len(contexts))

    num_batches, log_interval = command_line.announce(options, dataset, engine, "Mask R-CNN")
    # On every rank, so that all begin to train in the same state.
    before = count_found(net, dataset, contexts[0], options.recall_images)
    with open_loader(dataset, transform, batchify_fn, engine, options, num_batches) as loader:
        trainer = engine.make_trainer(net, options.lr)
        state = Checkpoint(options.resume, net, trainer, loader, before)
        seed = options.seed if options.seeded else None
        batches = many_epochs(loader, num_batches, len(state.history), seed)
        history = train(
            net, trainer, batches, num_batches, state, contexts, log_interval, compute_losses,
            (*LOSSES, "mask"),
        )  # fmt: skip
    if engine.rank != 0:
        return  # one is enough to report and to save
    after = count_found(net, dataset, contexts[0], options.recall_images)
    num_proposals = net.rpn.get_test_post_nms()
    command_line.report(history, state.before, after, num_proposals, RPN=slice(2), Mask=slice(4, 5))
    net.save_parameters(options.save)
    index = PICTURED_PHOTO if options.dataset == "photos" else 0
    draw_masks(net, dataset[index], contexts[0], options.picture)
    print(f"Wrote {options.save} and {options.picture}")


def main(argv=None):
    """Run the command line and return the exit status."""
    return command_line.answer(PARSER, run, argv)


if __name__ == "__main__":
    start(main)
