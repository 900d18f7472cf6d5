"""The gluon Blocks: `RPNTargetSampler` and `RPNTargetGenerator`, GluonCV's names and calls."""

from __future__ import annotations

from numbers import Real

import numpy as np
from mxnet import gluon, nd

from ..core.anchor_array import AnchorArray
from ..core.boxes import check_boxes
from ..core.coder import RPNTargets
from ..core.dense import assign_dense, check_ious
from ..core.draws import as_draws
from ..core.generator import generate_targets
from ..core.lattice import AnchorLattice
from ..core.sampler import IGNORE, NEGATIVE, POSITIVE, sample
from ..core.settings import TargetSettings
from .ndarray import as_numpy

__all__ = ["RPNTargetGenerator", "RPNTargetSampler"]


class RPNTargetSampler(gluon.Block):
    """Choose positive and negative anchors from their IoU with the ground truth.

    Parameters
    ----------
    num_sample : int
        How many anchors to keep at most.
    pos_iou_thresh : float
        Anchors with an IoU of at least this are positive, and so are the best of every box.
    neg_iou_thresh : float
        Anchors with an IoU of at least 0 and below this are negative.
    pos_ratio : float
        At most ``int(round(num_sample * pos_ratio))`` of the kept anchors are positive.
    low_quality_matches : {"gluoncv", "keep", "drop"}
        See `rpn_target.core.settings.TargetSettings`.
    rng : None, int, np.random.RandomState or np.random.Generator
        What to draw from; see `rpn_target.core.draws`.

    Raises
    ------
    TypeError, ValueError
        If a parameter is not of its kind or out of range.

    Notes
    -----
    Equal to ``gluoncv.model_zoo.rcnn.rpn.rpn_target.RPNTargetSampler`` 0.10.5.post0, including
    what it draws from ``np.random``; with an NDArray, equal to the Block of GluonCV 0.3 and 0.4.
    """

    def __init__(
        self,
        num_sample,
        pos_iou_thresh,
        neg_iou_thresh,
        pos_ratio,
        low_quality_matches="gluoncv",
        rng=None,
    ):
        super().__init__()
        self._settings = TargetSettings(
            num_sample,
            pos_iou_thresh,
            neg_iou_thresh,
            pos_ratio,
            low_quality_matches=low_quality_matches,
        )
        self._draws = as_draws(rng)

    def __call__(self, ious):
        """Call `forward`; a gluon Block by itself takes no keyword arguments."""
        return super().__call__(ious)

    def forward(self, ious):
        """Sample the anchors of one image.

        Parameters
        ----------
        ious : np.ndarray or NDArray of shape (N, M), float
            IoU of every anchor with every ground-truth box, -1 for anchors that are not valid.

        Returns
        -------
        samples : (N,) float32
            1 positive, -1 negative, 0 ignore.
        matches : (N,) int64, or float32 for an NDArray
            The box each anchor overlaps most, in [0, M).

        Both are numpy arrays for a numpy array, and NDArrays on the same context for an NDArray.

        Raises
        ------
        TypeError, ValueError
            If ``ious`` is not a real (N, M) matrix, or holds a NaN.
        """
        is_ndarray = isinstance(ious, nd.NDArray)
        matrix = check_ious(as_numpy(ious))
        assignment, matches = assign_dense(matrix, self._settings)
        kept = sample(assignment, self._settings, self._draws)
        samples = np.full(len(matrix), IGNORE, np.float32)
        samples[kept.negatives] = NEGATIVE
        samples[kept.positives] = POSITIVE
        if is_ndarray:
            return (
                nd.array(samples, ctx=ious.context, dtype=np.float32),
                nd.array(matches, ctx=ious.context, dtype=np.float32),
            )
        return samples, matches


class RPNTargetGenerator(gluon.Block):
    """Generate the training targets of a region proposal network for one image.

    Parameters
    ----------
    num_sample, pos_iou_thresh, neg_iou_thresh, pos_ratio
        See `RPNTargetSampler`.
    stds : sequence of 4 floats
        Box targets are divided by these.
    allowed_border : float
        How many pixels an anchor may stick out of the image and still be used; a very large
        value keeps all. (GluonCV stores it and never uses it.)
    low_quality_matches : {"gluoncv", "keep", "drop"}
        See `rpn_target.core.settings.TargetSettings`.
    ignore_iof_thresh : float
        See ``ignore`` of `forward`.
    rng : None, int, np.random.RandomState or np.random.Generator
        What to draw from; see `rpn_target.core.draws`.

    Raises
    ------
    TypeError, ValueError
        If a parameter is not of its kind or out of range.

    Notes
    -----
    Equal to ``gluoncv.model_zoo.rcnn.rpn.rpn_target.RPNTargetGenerator`` 0.10.5.post0, including
    what it draws from ``np.random``.
    """

    def __init__(
        self,
        num_sample=256,
        pos_iou_thresh=0.7,
        neg_iou_thresh=0.3,
        pos_ratio=0.5,
        stds=(1.0, 1.0, 1.0, 1.0),
        allowed_border=0,
        low_quality_matches="gluoncv",
        ignore_iof_thresh=0.5,
        rng=None,
    ):
        super().__init__()
        self._settings = TargetSettings(
            num_sample,
            pos_iou_thresh,
            neg_iou_thresh,
            pos_ratio,
            stds,
            allowed_border,
            low_quality_matches,
            ignore_iof_thresh,
        )
        self._draws = as_draws(rng)

    def __call__(self, bbox, anchor, width, height, ignore=None) -> RPNTargets:
        """Call `forward`; a gluon Block by itself takes no keyword arguments."""
        return super().__call__(bbox, anchor, width, height, ignore)

    def forward(self, bbox, anchor, width, height, ignore=None) -> RPNTargets:
        """Generate targets.

        Parameters
        ----------
        bbox : NDArray or array-like of shape (M, 4)
            Ground-truth corner boxes in pixels.
        anchor : NDArray or array-like of shape (N, 4), or AnchorLattice
            Anchors as corner boxes in pixels.
        width, height : int
            Size of the image in pixels.
        ignore : NDArray or array-like of shape (K, 4), optional
            Regions as corner boxes: an anchor with at least ``ignore_iof_thresh`` of its area in
            one of them is not drawn as a negative.

        Returns
        -------
        cls_target : np.ndarray of shape (N,), float32
            1 positive, 0 negative, -1 ignore.
        box_target : np.ndarray of shape (N, 4), float32
            Encoded box of each positive anchor, 0 elsewhere.
        box_mask : np.ndarray of shape (N, 4), float32
            1 for positive anchors, 0 elsewhere.

        Raises
        ------
        TypeError, ValueError
            If an array has the wrong kind or shape, or holds a box that is inverted or not
            finite; the message names the row and the image's size.
        """
        sides = width, height
        if not all(isinstance(side, (Real, np.number)) and side == side for side in sides):
            raise TypeError(f"width and height must be numbers, but got {width!r} and {height!r}")
        where = f" (image of {width} x {height})"
        boxes = check_boxes(as_numpy(bbox), "bbox", where)
        if not isinstance(anchor, (AnchorLattice, AnchorArray)):
            anchor = AnchorArray(as_numpy(anchor), where)
        if ignore is not None:
            ignore = check_boxes(as_numpy(ignore), "ignore", where, count="K")
        return generate_targets(anchor, boxes, width, height, self._settings, self._draws, ignore)
