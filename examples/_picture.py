"""A picture of what the RPN is taught: one image, its objects, and the anchors sampled for it."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")  # writes files, needs no display

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.patches import Rectangle

MEAN = np.array([0.485, 0.456, 0.406])  # of the transforms' normalization
STD = np.array([0.229, 0.224, 0.225])

# Color-blind readers can tell them apart (Okabe and Ito's palette).
POSITIVE_COLOR = "#56b4e9"
NEGATIVE_COLOR = "#f0e442"
OBJECT_COLOR = "white"


def anchors_of(net, cls_targets):
    """Return the anchors (N, 4) and training codes (N,) of one image, all levels in one list.

    `cls_targets` is what the transform returns: for each level, the codes (h, w, A).
    """
    generators = net.rpn.anchor_generator
    generators = list(generators) if net.num_stages > 1 else [generators]
    anchors, codes = [], []
    for generator, cls_target in zip(generators, cls_targets):
        height, width, _ = cls_target.shape
        parameter = generator.anchors
        lattice = parameter.data(parameter.list_ctx()[0]).asnumpy()[0, 0, :height, :width]
        anchors.append(lattice.reshape(-1, 4))
        codes.append(np.asarray(cls_target).reshape(-1))
    return np.concatenate(anchors), np.concatenate(codes)


def draw_boxes(axes, boxes, color, line_width):
    """Draw corner boxes, each on a dark line that sets it off from a bright image."""
    for xmin, ymin, xmax, ymax in boxes:
        for line_color, width, alpha in (("black", line_width + 1.6, 0.5), (color, line_width, 1)):
            axes.add_patch(
                Rectangle(
                    (xmin, ymin), xmax - xmin, ymax - ymin,
                    fill=False, color=line_color, linewidth=width, alpha=alpha,
                )
            )  # fmt: skip


def draw_sampled_anchors(net, sample, classes, path):
    """Write a picture of a transformed training sample.

    Parameters
    ----------
    net : FasterRCNN
        The network the sample was made for.
    sample : tuple
        What the train transform returned for an image.
    classes : sequence of str
        Names of the classes in the label.
    path : str
        File to write; its ending says the format.
    """
    tensor, label, cls_targets = sample[:3]
    image = np.clip(tensor.asnumpy().transpose(1, 2, 0) * STD + MEAN, 0, 1)
    anchors, codes = anchors_of(net, cls_targets)
    positives, negatives = anchors[codes == 1], anchors[codes == 0]

    height, width = image.shape[:2]
    panel_width = 7.0
    figure, panels = plt.subplots(
        1, 2, figsize=(2 * panel_width + 0.3, panel_width * height / width + 0.5), dpi=110
    )
    titles = (
        f"objects (white) and {len(positives)} anchors sampled as positive",
        f"objects (white) and {len(negatives)} anchors sampled as negative",
    )
    kept = ((positives, POSITIVE_COLOR), (negatives, NEGATIVE_COLOR))
    for axes, title, (boxes, color) in zip(panels, titles, kept):
        axes.imshow(image, extent=(0, width, height, 0))
        draw_boxes(axes, boxes, color, 1.2)
        draw_boxes(axes, label[:, :4], OBJECT_COLOR, 2.4)
        for xmin, ymin, _, _, class_index in label[:, :5]:
            axes.text(
                xmin + 3, ymin + 3, classes[int(class_index)], color="black", fontsize=9,
                va="top", bbox=dict(facecolor=OBJECT_COLOR, edgecolor="none", pad=1.5),
            )  # fmt: skip
        axes.set_title(title, fontsize=12)
        axes.set_xlim(0, width)
        axes.set_ylim(height, 0)
        axes.axis("off")
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
