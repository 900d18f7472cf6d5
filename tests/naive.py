"""The rule of RPN targets in plain Python loops: slow, obvious, and independent of the package.

One anchor, one box and one number at a time, in the arithmetic of the numbers given (numpy's
float32 scalars for targets). Written from the rule:

1. an anchor's IoU is its largest over the boxes, ties to the lowest row; anchors outside of the
   image have IoU -1 with every box;
2. an anchor that comes within float32 epsilon of the best of any box is positive;
3. so is one whose IoU reaches ``pos_iou_thresh``;
4. one with ``0 <= IoU < neg_iou_thresh`` is negative, whatever step 2 said;
5. surplus positives are drawn and ignored; 6. then surplus negatives.
"""

import numpy as np

F = np.float32
EPSILON = F(2.0**-23)

# Codes of the sampler, and of the training targets.
POSITIVE, NEGATIVE, IGNORE = 1, -1, 0
CLS = {POSITIVE: 1, NEGATIVE: 0, IGNORE: -1}


def iou(anchor, box):
    """Return the IoU of two corner boxes of float32 scalars."""
    width = min(anchor[2], box[2]) - max(anchor[0], box[0])
    height = min(anchor[3], box[3]) - max(anchor[1], box[1])
    if width <= 0 or height <= 0:
        return F(0)
    shared = width * height
    if shared <= 0:  # too small for float32
        return F(0)
    area_a = (anchor[2] - anchor[0]) * (anchor[3] - anchor[1])
    area_b = (box[2] - box[0]) * (box[3] - box[1])
    return shared / (area_a + area_b - shared)


def is_valid(anchor, width, height, border=0):
    """Tell whether an anchor sticks out of the image by no more than the border."""
    outside = (
        anchor[0] < -border
        or anchor[1] < -border
        or anchor[2] >= width + border
        or anchor[3] >= height + border
    )
    return not outside


def iou_matrix(anchors, boxes, width, height, border=0):
    """Return a list of rows, one per anchor: its IoU with every box, or -1s."""
    anchors = [[F(value) for value in anchor] for anchor in anchors]
    boxes = [[F(value) for value in box] for box in boxes]
    rows = []
    for anchor in anchors:
        valid = is_valid(anchor, width, height, border)
        rows.append([iou(anchor, box) if valid else F(-1) for box in boxes])
    return rows


def label(rows, pos_iou_thresh, neg_iou_thresh):
    """Apply steps 1 to 4; returns one code and one match per anchor."""
    best_of_box = [max(column) for column in zip(*rows)]
    codes, matches = [], []
    for row in rows:
        match = 0
        for column, value in enumerate(row):
            if value > row[match]:
                match = column
        best = row[match]
        number = type(best)
        code = IGNORE
        for value, best_value in zip(row, best_of_box):
            if value + EPSILON > best_value:
                code = POSITIVE
        if best >= number(pos_iou_thresh):
            code = POSITIVE
        if 0 <= best < number(neg_iou_thresh):
            code = NEGATIVE
        codes.append(code)
        matches.append(match)
    return codes, matches


def drop_surplus(codes, code, quota):
    """Draw anchors of a code until only the quota is left, and ignore them."""
    places = [place for place, value in enumerate(codes) if value == code]
    surplus = len(places) - quota
    if surplus > 0:
        for place in np.random.choice(places, size=surplus, replace=False):
            codes[place] = IGNORE
    return min(len(places), quota)


def sampler(rows, num_sample, pos_iou_thresh, neg_iou_thresh, pos_ratio):
    """Apply all steps; returns the code and the match of every anchor."""
    codes, matches = label(rows, pos_iou_thresh, neg_iou_thresh)
    positives = drop_surplus(codes, POSITIVE, int(round(num_sample * pos_ratio)))
    drop_surplus(codes, NEGATIVE, num_sample - positives)
    return codes, matches


def encode(anchor, box, stds):
    """Return the box as seen from the anchor: shift of the center, logarithm of the growth."""
    code = []
    for axis in (0, 1):
        anchor_size = anchor[axis + 2] - anchor[axis]
        box_size = box[axis + 2] - box[axis]
        shift = (box[axis] + box_size * F(0.5)) - (anchor[axis] + anchor_size * F(0.5))
        with np.errstate(divide="ignore"):  # a box without width or height
            code.append((shift / anchor_size, np.log(box_size / anchor_size)))
    (x, width), (y, height) = code
    return [value / F(std) for value, std in zip((x, y, width, height), stds)]


def decode(anchor, code, stds):
    """Return the box a code stands for, the inverse of `encode`."""
    box = [None] * 4
    for axis in (0, 1):
        size = anchor[axis + 2] - anchor[axis]
        center = anchor[axis] + size * F(0.5) + code[axis] * F(stds[axis]) * size
        size = np.exp(code[axis + 2] * F(stds[axis + 2])) * size
        box[axis] = center - size * F(0.5)
        box[axis + 2] = center + size * F(0.5)
    return box


def targets(
    anchors,
    boxes,
    width,
    height,
    num_sample=256,
    pos_iou_thresh=0.7,
    neg_iou_thresh=0.3,
    pos_ratio=0.5,
    stds=(1, 1, 1, 1),
    allowed_border=0,
):
    """Return cls_target (N,), box_target (N, 4) and box_mask (N, 4) as nested lists."""
    rows = iou_matrix(anchors, boxes, width, height, allowed_border)
    codes, matches = sampler(rows, num_sample, pos_iou_thresh, neg_iou_thresh, pos_ratio)
    cls_target, box_target, box_mask = [], [], []
    for anchor, code, match in zip(anchors, codes, matches):
        anchor = [F(value) for value in anchor]
        box = [F(value) for value in boxes[match]]
        positive = code == POSITIVE
        cls_target.append(CLS[code])
        box_target.append(encode(anchor, box, stds) if positive else [0, 0, 0, 0])
        box_mask.append([int(positive)] * 4)
    return cls_target, box_target, box_mask
