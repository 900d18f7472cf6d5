"""The rule of RPN targets with the options GluonCV lacks, in plain Python loops.

Written from the documentation of the options, on top of `naive`:

* ``allowed_border``: how many pixels a valid anchor may stick out of the image;
* ``low_quality_matches``: "gluoncv" is the rule of `naive`. "keep": an anchor that shares some
  area with a box and has the box's largest IoU is positive, whatever that is; only an equal IoU
  ties, as in detectron2 and torchvision, where GluonCV takes near-ties. "drop": an anchor is
  positive from ``pos_iou_thresh`` on and never otherwise;
* ``ignore``: a valid anchor with at least ``ignore_iof_thresh`` of its area in one region is no
  negative.

Without boxes every valid anchor is negative.
"""

import naive
import numpy as np
from naive import IGNORE, NEGATIVE, POSITIVE, F

DEFAULTS = dict(
    num_sample=256,
    pos_iou_thresh=0.7,
    neg_iou_thresh=0.3,
    pos_ratio=0.5,
    allowed_border=0,
    low_quality_matches="gluoncv",
    ignore_iof_thresh=0.5,
)


def is_valid(anchor, width, height, border=0):
    """Tell whether an anchor of float32 scalars sticks out by no more than the border."""
    return (
        anchor[0] >= F(-border)
        and anchor[1] >= F(-border)
        and anchor[2] < F(width + border)
        and anchor[3] < F(height + border)
    )


def iof(anchor, region):
    """Return the share of an anchor's area that lies in a region."""
    width = min(anchor[2], region[2]) - max(anchor[0], region[0])
    height = min(anchor[3], region[3]) - max(anchor[1], region[1])
    if width <= 0 or height <= 0 or width * height <= 0:
        return F(0)
    return width * height / ((anchor[2] - anchor[0]) * (anchor[3] - anchor[1]))


def label(rows, pos_iou_thresh, neg_iou_thresh, low_quality_matches):
    """Return the code and the match of every row of IoUs with at least one box."""
    if low_quality_matches == "gluoncv":
        return naive.label(rows, pos_iou_thresh, neg_iou_thresh)
    best_of_box = [max(column) for column in zip(*rows)]
    codes, matches = [], []
    for row in rows:
        best = max(row)
        number = type(best)
        is_best_of_some = any(
            value > 0 and value == best_value for value, best_value in zip(row, best_of_box)
        )
        if best >= number(pos_iou_thresh) or (low_quality_matches == "keep" and is_best_of_some):
            # At a threshold of 0, anchors that are not valid (-1) still do not reach it.
            codes.append(POSITIVE)
        elif 0 <= best < number(neg_iou_thresh):
            codes.append(NEGATIVE)
        else:
            codes.append(IGNORE)
        matches.append(row.index(best))
    return codes, matches


def assign(anchors, boxes, width, height, ignore=(), **options):
    """Return the code and the match of every anchor, before anything is drawn."""
    options = {**DEFAULTS, **options}
    anchors = [[F(value) for value in anchor] for anchor in anchors]
    boxes = [[F(value) for value in box] for box in boxes]
    regions = [[F(value) for value in region] for region in ignore]
    valid = [is_valid(anchor, width, height, options["allowed_border"]) for anchor in anchors]
    if boxes:
        rows = [
            [naive.iou(anchor, box) if inside else F(-1) for box in boxes]
            for anchor, inside in zip(anchors, valid)
        ]
        codes, matches = label(
            rows,
            options["pos_iou_thresh"],
            options["neg_iou_thresh"],
            options["low_quality_matches"],
        )
    else:
        codes = [NEGATIVE if inside else IGNORE for inside in valid]
        matches = [0] * len(anchors)
    threshold = F(options["ignore_iof_thresh"])
    for place, anchor in enumerate(anchors):
        if codes[place] == NEGATIVE and any(iof(anchor, region) >= threshold for region in regions):
            codes[place] = IGNORE
    return codes, matches


def draw(codes, num_sample=256, pos_ratio=0.5, **options):
    """Draw from ``np.random`` what exceeds the quotas, in GluonCV's order, and ignore it."""
    codes = list(codes)
    positives = naive.drop_surplus(codes, POSITIVE, int(round(num_sample * pos_ratio)))
    naive.drop_surplus(codes, NEGATIVE, num_sample - positives)
    return codes


def fill(anchors, boxes, codes, matches, stds=(1, 1, 1, 1)):
    """Return cls_target (N,), box_target (N, 4) and box_mask (N, 4) as float32 arrays."""
    cls_target = np.array([naive.CLS[code] for code in codes], np.float32)
    box_target = np.zeros((len(codes), 4), np.float32)
    box_mask = np.zeros((len(codes), 4), np.float32)
    for place, (code, match) in enumerate(zip(codes, matches)):
        if code == POSITIVE:
            anchor = [F(value) for value in anchors[place]]
            box = [F(value) for value in boxes[match]]
            box_target[place] = naive.encode(anchor, box, stds)
            box_mask[place] = 1
    return cls_target, box_target, box_mask


def targets(anchors, boxes, width, height, ignore=(), stds=(1, 1, 1, 1), **options):
    """Return the targets of one image, drawn from ``np.random``."""
    codes, matches = assign(anchors, boxes, width, height, ignore, **options)
    return fill(anchors, boxes, draw(codes, **options), matches, stds)
