"""A picture of what Mask R-CNN has learned: an image, its outlines, and the masks it finds."""

from __future__ import annotations

import warnings

import numpy as np
from _picture import MEAN, STD, plt
from gluoncv.data.transforms.presets.rcnn import MaskRCNNDefaultValTransform
from matplotlib.colors import to_rgb
from PIL import Image

SCORE_THRESHOLD = 0.5  # of the detections that are drawn
INSIDE = 0.5  # probability from which a pixel belongs to the object
TINT = 0.6  # opacity of a mask

# Color-blind readers can tell them apart (Okabe and Ito's palette).
COLORS = ("#56b4e9", "#f0e442", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#0072b2")


def paste(mask, box, height, width):
    """Return the pixels (height, width) inside, of a mask of probabilities that fills a box."""
    xmin, ymin, xmax, ymax = (int(round(float(side))) for side in box)
    pixels = np.zeros((height, width), dtype=bool)
    left, top = max(xmin, 0), max(ymin, 0)
    right, bottom = min(xmax, width), min(ymax, height)
    if left < right and top < bottom:
        stretched = Image.fromarray(mask).resize((xmax - xmin, ymax - ymin), Image.BILINEAR)
        visible = np.asarray(stretched)[top - ymin : bottom - ymin, left - xmin : right - xmin]
        pixels[top:bottom, left:right] = visible >= INSIDE
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
    """Write a picture of an image with its outlines, and with the masks the network finds.

    Parameters
    ----------
    net : MaskRCNN
    sample : (NDArray, np.ndarray, list)
        Image, label and polygons, as a dataset has them.
    context : mx.Context
        Device of the network's parameters.
    path : str
        File to write; its ending says the format.
    """
    transform = MaskRCNNDefaultValTransform(net.short, net.max_size)
    tensor, (height, width, scale) = transform(*sample)
    height, width, scale = int(height.asscalar()), int(width.asscalar()), float(scale.asscalar())
    image = np.clip(tensor.asnumpy().transpose(1, 2, 0) * STD + MEAN, 0, 1)
    found = find_objects(net, tensor, context)

    panel_width = 7.0
    figure, panels = plt.subplots(
        1, 2, figsize=(2 * panel_width + 0.3, panel_width * height / width + 0.5), dpi=110
    )
    tinted = image.copy()
    for index, (_, _, box, mask) in enumerate(zip(*found)):
        inside = paste(mask, box, height, width)
        color = np.array(to_rgb(COLORS[index % len(COLORS)]))
        tinted[inside] = (1 - TINT) * image[inside] + TINT * color
    for axes, picture in zip(panels, (image, tinted)):
        axes.imshow(picture, extent=(0, width, height, 0))
        axes.axis("off")
    for number, polygons in zip(sample[1][:, 4].astype(int), sample[2]):
        for polygon in polygons:
            panels[0].plot(*np.r_[polygon, polygon[:1]].T * scale, color="white", linewidth=1.8)
        _name(panels[0], net.classes[number], polygons[0].min(axis=0) * scale)
    for number, score, box, _ in zip(*found):
        _name(panels[1], f"{net.classes[number]} {score:.0%}", box[:2])
    panels[0].set_title(f"{len(sample[1])} objects", fontsize=12)
    panels[1].set_title(f"{len(found[0])} found, score >= {SCORE_THRESHOLD:.0%}", fontsize=12)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def _name(axes, text, corner):
    """Write a name at the top left corner of an object."""
    axes.text(
        max(corner[0], 2), max(corner[1], 12), text, color="black", fontsize=8, va="bottom",
        bbox=dict(facecolor="white", edgecolor="none", pad=1.2), clip_on=True,
    )  # fmt: skip
