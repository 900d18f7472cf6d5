"""The train transform of Mask R-CNN: that of Faster R-CNN, and the masks."""

from __future__ import annotations

import numpy as np
from gluoncv.data.transforms import mask as mask_transforms
from gluoncv.data.transforms.presets.rcnn import MaskRCNNDefaultTrainTransform

from ..core.draws import as_draws
from ..core.settings import check_image_settings
from .checks import check_polygons
from .ndarray import empty
from .transforms import TrainTransform

__all__ = ["MaskRCNNTrainTransform"]

FLIP_P = 0.5  # GluonCV's Mask R-CNN transform has no parameter for it


class MaskRCNNTrainTransform(TrainTransform, MaskRCNNDefaultTrainTransform):
    """Train transform of Mask R-CNN, with RPN targets: GluonCV's, only fast.

    The twin of `FasterRCNNTrainTransform`, in place of
    ``gluoncv.data.transforms.presets.rcnn.MaskRCNNDefaultTrainTransform``. Parameters and errors
    are the same, but there is no ``flip_p``: GluonCV always flips with a probability of 0.5.
    """

    def __init__(
        self,
        short=600,
        max_size=1000,
        net=None,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        box_norm=(1.0, 1.0, 1.0, 1.0),
        num_sample=256,
        pos_iou_thresh=0.7,
        neg_iou_thresh=0.3,
        pos_ratio=0.5,
        ashape=128,
        multi_stage=False,
        *,
        rng=None,
        ignore_column=None,
        on_bad_box="raise",
        **kwargs,
    ):
        super().__init__(
            short, max_size, None, mean, std, box_norm, num_sample, pos_iou_thresh,
            neg_iou_thresh, pos_ratio, ashape, multi_stage, **kwargs,
        )  # fmt: skip
        check_image_settings(short, max_size, mean, std, FLIP_P)
        self._prepare(
            net, multi_stage, rng, ignore_column, on_bad_box, num_sample=num_sample,
            pos_iou_thresh=pos_iou_thresh, neg_iou_thresh=neg_iou_thresh, pos_ratio=pos_ratio,
            stds=box_norm, **kwargs,
        )  # fmt: skip

    def __call__(self, src, label, segm, *, rng=None):
        """Transform one training image, its label and its masks.

        Parameters
        ----------
        src, label
            See `FasterRCNNTrainTransform`.
        segm : list of M lists of np.ndarray of shape (P, 2)
            The polygons of each object, in pixels.

        Returns
        -------
        img, bbox, cls_targets, box_targets, box_masks
            See `FasterRCNNTrainTransform`; only the first two without a network.
        masks : NDArray of shape (M, h, w), float32
            1 inside each object; a numpy array where M is 0, since an NDArray cannot be empty.

        Raises
        ------
        TypeError, ValueError
            As `FasterRCNNTrainTransform`, and if ``segm`` is not as long as the label, or a
            polygon has the wrong kind or shape, or is not finite.
        """
        draws = self._draws if rng is None else as_draws(rng)
        boxes, used = self._check(src, label)
        segm = check_polygons(src, segm, used, len(label))
        resized, bbox, flip = self._resize(src, boxes, FLIP_P, draws)
        masks = self._masks(segm, src.shape[:2], resized.shape[:2], flip)
        img = self._tensor(resized, flip)
        return (img, bbox, *self._targets(bbox, resized, draws), masks)

    @staticmethod
    def _masks(segm, old_size, new_size, flip: bool):
        """Return the polygons as masks of the resized, maybe flipped image."""
        if not len(segm):
            return np.zeros((0, *new_size), np.float32)
        old_size, new_size = old_size[::-1], new_size[::-1]  # width, height
        masks, out = empty((len(segm), *new_size[::-1]))
        for mask, polygons in zip(out, segm):
            polygons = mask_transforms.resize(polygons, old_size, new_size)
            polygons = mask_transforms.flip(polygons, new_size, flip_x=flip)
            mask[:] = mask_transforms.to_mask(polygons, new_size)
        return masks
