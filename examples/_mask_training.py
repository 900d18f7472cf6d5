"""The training step of Mask R-CNN: that of Faster R-CNN, and the loss of the masks."""

from __future__ import annotations

from typing import NamedTuple

from _training import Losses, mean_losses, rcnn_losses, rpn_losses, shards
from mxnet import autograd, nd


class MaskLosses(NamedTuple):
    """The losses of one iteration, or of one device."""

    rpn_cls: float
    rpn_box: float
    rcnn_cls: float
    rcnn_box: float
    mask: float

    __str__ = Losses.__str__
    rpn = Losses.rpn
    rcnn = Losses.rcnn


def mask_loss(score, target, weight):
    """Return the mean loss over the pixels of the positive proposals' own classes.

    Parameters
    ----------
    score, target, weight : NDArray (B, P, C, h, w)
        Logits, share of the pixel that the object covers, and 1 for the class of the object.
    """
    # -log sigmoid(x) for a pixel inside, -log(1 - sigmoid(x)) outside, without overflow
    entropy = nd.relu(score) - score * target + nd.log1p(nd.exp(-nd.abs(score)))
    return (entropy * weight).sum() / nd.maximum(weight.sum(), 1)


def pick_rows(array, indices):
    """Return the rows (B, P, ...) of an array (B, N, ...) that indices (B, P) name."""
    return nd.stack(*[nd.take(rows, index) for rows, index in zip(array, indices)])


def step(net, trainer, batch, contexts):
    """Train on one batch and return its `MaskLosses`, the mean over the devices."""
    per_device = []
    with autograd.record():
        for image, label, masks, *targets in shards(batch, contexts):
            output = net(image, label[:, :, :4], label[:, :, 4:5])
            cls_score, box_score, mask_score, proposals, _, matches, rpn_score, rpn_box = output[:8]
            cls_target, box_target, box_mask, positives = output[9:13]
            mask_target, mask_weight = net.mask_target(
                pick_rows(proposals, positives),
                masks,
                pick_rows(matches, positives),
                pick_rows(cls_target, positives),
            )
            per_device.append(
                (
                    *rpn_losses(rpn_score, rpn_box, *targets),
                    *rcnn_losses(cls_score, box_score, cls_target, box_target, box_mask),
                    mask_loss(mask_score, mask_target, mask_weight),
                )
            )
        totals = [sum(losses) for losses in per_device]
    autograd.backward(totals)
    trainer.step(len(totals))
    return mean_losses([MaskLosses(*(x.asscalar() for x in losses)) for losses in per_device])
