"""The gluon Blocks: `RPNTargetSampler` and `RPNTargetGenerator`, GluonCV's names and calls."""

from __future__ import annotations

import dataclasses
from numbers import Real
from typing import Any, Sequence

import numpy as np
from mxnet import gluon, nd

from ..core.anchor_array import AnchorArray, read_anchors
from ..core.boxes import check_boxes, intersection_over_union
from ..core.coder import RPNTargets, fill
from ..core.draws import as_draws
from ..core.generator import generate_targets
from ..core.lattice import AnchorLattice
from ..core.matcher import check_ious, match_ious
from ..core.sampler import IGNORE, NEGATIVE, POSITIVE, Sample, sample
from ..core.settings import TargetSettings, shown
from .attributes import is_assigned, is_users, on_access, seeded_globals, users_class
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
        num_sample: int,
        pos_iou_thresh: float,
        neg_iou_thresh: float,
        pos_ratio: float,
        low_quality_matches: str = "gluoncv",
        rng: Any = None,
    ):
        super().__init__()
        self._use(
            TargetSettings(
                num_sample,
                pos_iou_thresh,
                neg_iou_thresh,
                pos_ratio,
                low_quality_matches=low_quality_matches,
            )
        )
        self._draws = as_draws(rng)

    def _use(self, settings: TargetSettings) -> None:
        """Set the attributes that GluonCV's sampler has."""
        self._made_with = settings
        self._num_sample = settings.num_sample
        self._max_pos = settings.max_positives
        self._pos_iou_thresh = settings.pos_iou_thresh
        self._neg_iou_thresh = settings.neg_iou_thresh
        self._eps = np.spacing(np.float32(1))

    def _settings(self) -> TargetSettings:
        """Return the settings, with the attributes that a subclass has changed."""
        if self._eps != np.spacing(np.float32(1)):
            raise ValueError(
                "_eps must be the epsilon of float32, within which IoUs tie here, but was set to "
                f"{self._eps!r}"
            )
        settings = self._made_with
        changed: dict[str, Any] = {
            name: value
            for name, value in (
                ("num_sample", self._num_sample),
                ("pos_iou_thresh", self._pos_iou_thresh),
                ("neg_iou_thresh", self._neg_iou_thresh),
            )
            if value != getattr(settings, name)
        }
        if changed or self._max_pos != settings.max_positives:
            changed["pos_ratio"] = self._max_pos / max(1, self._num_sample)
            settings = dataclasses.replace(settings, **changed)
        return settings

    def __call__(self, ious: Any) -> tuple[Any, Any]:
        """Call `forward`; a gluon Block by itself takes no keyword arguments."""
        return super().__call__(ious)

    def forward(self, ious: Any) -> tuple[Any, Any]:
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
        settings = self._settings()
        matching, matches = match_ious(matrix, settings)
        kept = sample(matching, settings, self._draws)
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
        num_sample: int = 256,
        pos_iou_thresh: float = 0.7,
        neg_iou_thresh: float = 0.3,
        pos_ratio: float = 0.5,
        stds: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
        allowed_border: float = 0,
        low_quality_matches: str = "gluoncv",
        ignore_iof_thresh: float = 0.5,
        rng: Any = None,
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
        # GluonCV's attributes, for subclasses to read.
        self._num_sample = num_sample
        self._pos_iou_thresh = pos_iou_thresh
        self._neg_iou_thresh = neg_iou_thresh
        self._pos_ratio = pos_ratio
        self._allowed_border = allowed_border

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("_sampler", "_cls_encoder", "_box_encoder", "_bbox_split"):
            object.__setattr__(self, name, value)  # a Block wants another Block in its place
        else:
            super().__setattr__(name, value)

    @on_access
    def _sampler(self) -> Any:
        settings = self._settings
        kind = users_class("RPNTargetSampler")
        if kind is not None:
            if settings.low_quality_matches != "gluoncv":
                raise ValueError(
                    "low_quality_matches must be 'gluoncv' with a sampler of your own, which "
                    f"decides that, but got {settings.low_quality_matches!r} and {shown(kind)}"
                )
            return kind(
                settings.num_sample,
                settings.pos_iou_thresh,
                settings.neg_iou_thresh,
                settings.pos_ratio,
            )
        sampler = RPNTargetSampler(0, 1, 0, 0)
        sampler._use(settings)
        sampler._draws = self._draws
        return sampler

    @on_access
    def _cls_encoder(self) -> Any:
        from gluoncv.nn.coder import SigmoidClassEncoder

        return SigmoidClassEncoder()

    @on_access
    def _box_encoder(self) -> Any:
        from gluoncv.nn.coder import NumPyNormalizedBoxCenterEncoder

        return NumPyNormalizedBoxCenterEncoder(stds=self._settings.stds)

    @on_access
    def _bbox_split(self) -> Any:
        from gluoncv.nn.bbox import BBoxSplit

        return BBoxSplit(axis=-1)

    def __call__(
        self, bbox: Any, anchor: Any, width: float, height: float, ignore: Any = None
    ) -> RPNTargets:
        """Call `forward`; a gluon Block by itself takes no keyword arguments."""
        return super().__call__(bbox, anchor, width, height, ignore)

    def forward(
        self, bbox: Any, anchor: Any, width: float, height: float, ignore: Any = None
    ) -> RPNTargets:
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
            anchor = read_anchors(as_numpy(anchor), where)
        if ignore is not None:
            ignore = check_boxes(as_numpy(ignore), "ignore", where, count="K")
        return self._generate(anchor, boxes, width, height, ignore, self._draws)

    def _generate(
        self,
        anchors: AnchorLattice | AnchorArray,
        boxes: np.ndarray,
        width: float,
        height: float,
        ignore: np.ndarray | None,
        draws: Any,
    ) -> RPNTargets:
        """Generate targets from arrays that have been checked."""
        sampler = self._sampler
        is_ours = isinstance(sampler, RPNTargetSampler) and not is_users(type(sampler))
        if not is_ours or is_assigned(self, "_cls_encoder") or is_assigned(self, "_box_encoder"):
            return self._generate_with_replaced(anchors, boxes, width, height, ignore, draws)
        settings = sampler._settings()
        return generate_targets(anchors, boxes, width, height, settings, draws, ignore)

    def _generate_with_replaced(
        self,
        anchors: AnchorLattice | AnchorArray,
        boxes: np.ndarray,
        width: float,
        height: float,
        ignore: np.ndarray | None,
        draws: Any,
    ) -> RPNTargets:
        """Generate targets as GluonCV does: with a matrix of all IoUs, for a sampler to look at.

        For users' samplers and encoders.
        """
        corners = anchors.corners(np.arange(len(anchors)))  # (N, 4)
        valid: Any = anchors.valid(width, height, self._settings.allowed_border)
        if len(boxes):
            ious = intersection_over_union(corners.T[:, :, None], boxes.T[:, None])  # (N, M)
        else:  # one box that nothing overlaps, as a sampler cannot look at none
            ious = np.zeros((len(anchors), 1), np.float32)
        not_valid = np.ones(len(anchors), bool)
        not_valid[valid.select(np.arange(len(valid)))] = False
        if ignore is not None and len(ignore):
            covered = anchors.covered(ignore, self._settings.ignore_iof_thresh, valid)
            largest = ious[covered].max(axis=1)
            not_valid[covered[largest < np.float32(self._settings.neg_iou_thresh)]] = True
        ious[not_valid] = -1
        with seeded_globals(draws):
            samples, matches = map(as_numpy, self._sampler(ious))
        if not len(boxes):
            samples = np.where(samples > 0, IGNORE, samples)
        if len(boxes) and (is_assigned(self, "_cls_encoder") or is_assigned(self, "_box_encoder")):
            cls_target, _ = self._cls_encoder(samples)
            box_target, box_mask = self._box_encoder(
                samples[None], matches[None], corners[None], boxes[None]
            )
            targets = cls_target, box_target[0], box_mask[0]
            return RPNTargets(*(as_numpy(part).astype(np.float32) for part in targets))
        positives, negatives = np.flatnonzero(samples > 0.5), np.flatnonzero(samples < -0.5)
        kept = Sample(positives, matches[positives].astype(np.int64), negatives)
        return fill(anchors, boxes, kept, self._settings.stds)
