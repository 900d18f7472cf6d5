"""The training step of Faster R-CNN: four losses, summed, and the loop around them."""

from __future__ import annotations

import sys
from typing import NamedTuple

import numpy as np
from _signals import SignalsBetweenBatches
from mxnet import autograd, nd
from tqdm import tqdm

# Point where a box loss turns from quadratic to linear: 1 / scalar**2, in encoded coordinates.
RPN_SMOOTH_L1_SCALAR = 3
RCNN_SMOOTH_L1_SCALAR = 1


class Losses(NamedTuple):
    """The losses of one iteration, or of one device."""

    rpn_cls: float
    rpn_box: float
    rcnn_cls: float
    rcnn_box: float

    def __str__(self):
        return "  ".join(f"{name} {value:.8f}" for name, value in self._asdict().items())

    @property
    def rpn(self):
        """Loss of the RPN."""
        return self.rpn_cls + self.rpn_box

    @property
    def rcnn(self):
        """Loss of the R-CNN head."""
        return self.rcnn_cls + self.rcnn_box


def mean_losses(losses):
    """Return the mean of several `Losses`, or others of one kind."""
    return type(losses[0])(*np.mean(np.array(losses, dtype=np.float64), axis=0).tolist())


def rpn_losses(score, box, cls_target, box_target, box_mask):
    """Return the losses of the RPN, each a mean over the sampled anchors.

    Parameters
    ----------
    score : NDArray (B, N, 1)
        Logits: is the anchor an object?
    box, box_target, box_mask : NDArray (B, N, 4)
        Predicted and wanted encoding of the ground truth; the mask is 1 for positives.
    cls_target : NDArray (B, N)
        1 positive, 0 negative, -1 ignore.
    """
    logit = score.squeeze(axis=-1)
    sampled = cls_target >= 0
    count = nd.maximum(sampled.sum(), 1)  # a batch may have no sampled anchor
    # -log sigmoid(x) for a positive, -log(1 - sigmoid(x)) for a negative, without overflow
    entropy = nd.relu(logit) - logit * cls_target + nd.log1p(nd.exp(-nd.abs(logit)))
    distance = nd.smooth_l1((box - box_target) * box_mask, scalar=RPN_SMOOTH_L1_SCALAR)
    return (entropy * sampled).sum() / count, distance.sum() / count


def rcnn_losses(score, box, cls_target, box_target, box_mask):
    """Return the losses of the R-CNN head, each a mean over the sampled proposals.

    Parameters
    ----------
    score : NDArray (B, N, C + 1)
        Logits of the background and the classes.
    box, box_target, box_mask : NDArray (B, P, C, 4)
        Encodings per class, of at most P positive proposals.
    cls_target : NDArray (B, N)
        0 background, 1 to C classes, -1 ignore.
    """
    sampled = cls_target >= 0
    count = nd.maximum(sampled.sum(), 1)
    entropy = -nd.pick(nd.log_softmax(score, axis=-1), nd.maximum(cls_target, 0), axis=-1)
    distance = nd.smooth_l1((box - box_target) * box_mask, scalar=RCNN_SMOOTH_L1_SCALAR)
    return (entropy * sampled).sum() / count, distance.sum() / count


def shards(batch, contexts):
    """Move a batch to the devices: for each, what is its own of every part of the batch."""
    columns = [column if isinstance(column, (list, tuple)) else [column] for column in batch]
    return [
        [array.as_in_context(context) for array in row]
        for row, context in zip(zip(*columns), contexts)
    ]


def step(net, trainer, batch, contexts):
    """Train on one batch and return its `Losses`, the mean over the devices."""
    per_device = []
    with autograd.record():
        for image, label, cls_target, box_target, box_mask in shards(batch, contexts):
            output = net(image, label[:, :, :4], label[:, :, 4:5])
            cls_score, box_score, _, _, _, rpn_score, rpn_box, _ = output[:8]
            per_device.append(
                rpn_losses(rpn_score, rpn_box, cls_target, box_target, box_mask)
                + rcnn_losses(cls_score, box_score, *output[8:11])
            )
        totals = [sum(losses) for losses in per_device]
    autograd.backward(totals)
    trainer.step(len(totals))
    return mean_losses([Losses(*(loss.asscalar() for loss in losses)) for losses in per_device])


def train(net, trainer, loader, contexts, log_interval, step):
    """Train on all batches of the loader, each by one call of `step`.

    Prints the mean losses of every `log_interval` iterations, and shows a progress bar where
    standard error is a terminal; with a `log_interval` of None, neither.

    Returns
    -------
    list of Losses
        One for each iteration.

    Raises
    ------
    FloatingPointError
        If the loss is no longer finite.
    """
    history = []
    progress = tqdm(total=len(loader), unit="batch", disable=None if log_interval else True)
    with progress as bar, SignalsBetweenBatches() as stop:
        for batch in loader:
            stop.deliver()
            losses = step(net, trainer, batch, contexts)
            history.append(losses)
            if not np.isfinite(sum(losses)):
                raise FloatingPointError(
                    f"the loss is not finite in iteration {len(history)}; try a smaller --lr"
                )
            bar.set_postfix(rpn=f"{losses.rpn:.3f}", rcnn=f"{losses.rcnn:.3f}", refresh=False)
            bar.update()
            if log_interval and len(history) % log_interval == 0:
                tqdm.write(f"iteration {len(history):4}  {mean_losses(history[-log_interval:])}")
                sys.stdout.flush()  # it may be a file, or another process that shows it
    nd.waitall()  # for the last update, which other ranks have a part in
    return history
