"""The train transforms: what a DataLoader calls on every image and label."""

from __future__ import annotations

import warnings

import numpy as np
from gluoncv.data.transforms import bbox as bbox_transforms
from gluoncv.data.transforms import image as image_transforms
from gluoncv.data.transforms import mask as mask_transforms
from gluoncv.data.transforms.presets.rcnn import (
    FasterRCNNDefaultTrainTransform,
    MaskRCNNDefaultTrainTransform,
)
from mxnet.base import MXNetError

from ..core.draws import as_draws
from ..core.generator import generate_targets
from ..core.settings import (
    RPNTargetWarning,
    TargetSettings,
    check_image_settings,
    whole_number,
)
from .checks import ON_BAD_BOX, check_polygons, check_sample
from .image import normalize_into
from .ndarray import empty, view
from .network import AnchorLattice, anchor_levels, feature_map_sizes

__all__ = ["FasterRCNNTrainTransform", "MaskRCNNTrainTransform", "TrainTransform"]

BILINEAR = 1  # MXNet's number for the interpolation
FLIP_P = 0.5  # GluonCV's Mask R-CNN transform has no parameter for it


class TrainTransform:
    """What the transforms of Faster and Mask R-CNN share: everything but the masks."""

    def _prepare(self, net, multi_stage, rng, ignore_column, on_bad_box, **settings) -> None:
        self._settings = TargetSettings(**settings)
        self._draws = as_draws(rng)
        if on_bad_box not in ON_BAD_BOX:
            raise ValueError(
                f"on_bad_box must be one of {', '.join(ON_BAD_BOX)}, but got {on_bad_box!r}"
            )
        self._on_bad_box = on_bad_box
        if ignore_column is not None:  # columns 0 to 3 are the corners
            whole_number("ignore_column", ignore_column, least=4)
        self._ignore_column = ignore_column
        self._net_none = net is None  # GluonCV 0.7 and 0.8 do not set it
        if net is not None:
            self._levels = anchor_levels(net, multi_stage)
            self._feature_maps = feature_map_sizes(net)
            if len(self._levels) != len(self._feature_maps.strides):
                raise ValueError(
                    f"net must have an anchor generator per feature map, but has "
                    f"{len(self._levels)} for {len(self._feature_maps.strides)}"
                )
            self._warned_of_size = False

    def _check(self, src, label):
        """Return the label to use as an array, and which rows of the given one it has."""
        short = max(self._short) if self._random_resize else self._short
        return check_sample(src, label, short, self._ignore_column, self._on_bad_box)

    def _resize(self, src, label: np.ndarray, flip_p: float, draws):
        """Resize and draw the flip; returns the resized image, its boxes, and whether to flip."""
        height, width = src.shape[:2]
        short = draws.integer(*self._short) if self._random_resize else self._short
        try:
            resized = image_transforms.resize_short_within(
                src, short, self._max_size, interp=BILINEAR
            )
        except MXNetError as error:
            raise ValueError(
                f"src must keep at least a pixel when its short side becomes {short} and its long "
                f"side at most {self._max_size} (image of {width} x {height})"
            ) from error
        new_height, new_width = resized.shape[:2]
        bbox = bbox_transforms.resize(label, (width, height), (new_width, new_height))
        flip = draws.flip(flip_p)
        bbox = bbox_transforms.flip(bbox, (new_width, new_height), flip_x=flip)
        return resized, bbox.astype(np.float32), flip

    def _tensor(self, resized, flip: bool):
        """Return the network's input (3, H, W) for a resized image."""
        tensor, out = empty((3, *resized.shape[:2]))
        normalize_into(out, view(resized), self._mean, self._std, flip)
        return tensor

    def _targets(self, bbox: np.ndarray, resized, draws):
        """Return cls_targets, box_targets and box_masks, or nothing if there is no network."""
        if self._net_none:
            return ()
        height, width = resized.shape[:2]
        shapes = self._feature_maps.shapes(height, width)
        self._warn_of_size(shapes, height, width)
        boxes, ignore = np.ascontiguousarray(bbox[:, :4]), None
        if self._ignore_column is not None and len(bbox):
            flagged = bbox[:, self._ignore_column] != 0
            boxes, ignore = boxes[~flagged], boxes[flagged]
        lattice = AnchorLattice.crop(self._levels, shapes)
        targets = generate_targets(lattice, boxes, width, height, self._settings, draws, ignore)
        return tuple(lattice.split(array) for array in targets)

    def _warn_of_size(self, shapes, height: int, width: int) -> None:
        """Warn once if the network holds fewer anchors than an image needs."""
        if self._warned_of_size:
            return
        for shape, level in zip(shapes, self._levels):
            if shape[0] > level.known[0] or shape[1] > level.known[1]:
                self._warned_of_size = True
                warnings.warn(
                    f"an image of {width} x {height} has a feature map of {shape[1]} x {shape[0]} "
                    f"cells, but the network has anchors for {level.known[1]} x {level.known[0]} "
                    "only: targets are complete, the network will fail (see its alloc_size)",
                    RPNTargetWarning,
                    stacklevel=4,
                )
                return


class FasterRCNNTrainTransform(TrainTransform, FasterRCNNDefaultTrainTransform):
    """Train transform of Faster R-CNN, with RPN targets: GluonCV's, only fast.

    Pass it to a gluon ``DataLoader`` (or ``dataset.transform``) in place of
    ``gluoncv.data.transforms.presets.rcnn.FasterRCNNDefaultTrainTransform``. From the same state
    of ``np.random`` and ``random`` it returns the same values and leaves the same state.

    Parameters
    ----------
    short : int or (int, int)
        Length of the image's shorter side in pixels after resizing; a pair is a range to draw
        from, both ends included.
    max_size : int
        The longer side is at most this.
    net : gluoncv.model_zoo.FasterRCNN, optional
        The network the targets are for. Without it no targets are made.
    mean, std : sequence of 3 floats
        Of the channels of an image scaled to [0, 1].
    box_norm : sequence of 4 floats
        Box targets are divided by these.
    num_sample, pos_iou_thresh, neg_iou_thresh, pos_ratio
        See `RPNTargetSampler`.
    flip_p : float
        Probability of a horizontal flip.
    ashape : int
        Accepted for compatibility. GluonCV cuts off targets beyond ``ashape`` cells; here
        anchors are made for whatever size the image has.
    multi_stage : bool
        True for a network with several feature maps (FPN).
    rng : None, int, np.random.RandomState or np.random.Generator
        What to draw sizes, flips and samples from; see `rpn_target.core.draws`.
    ignore_column : int, optional
        Column of the label that flags boxes with 1, others with 0 (VOC's difficult ones, COCO's
        crowds): a flagged box makes no positives, and anchors in it are no negatives. The label
        keeps it.
    on_bad_box : {"raise", "drop"}
        What to do about a box that is inverted or not finite: "drop" takes its row out of the
        label, with a warning.
    **kwargs
        ``allowed_border``, ``low_quality_matches`` and ``ignore_iof_thresh``; see
        `RPNTargetGenerator`.

    Raises
    ------
    TypeError, ValueError
        If a parameter is not of its kind or out of range, or does not fit the network.
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
        flip_p=0.5,
        ashape=128,
        multi_stage=False,
        *,
        rng=None,
        ignore_column=None,
        on_bad_box="raise",
        **kwargs,
    ):
        # Without the network: the parent would keep Symbols and allocate ashape * ashape anchors.
        super().__init__(
            short, max_size, None, mean, std, box_norm, num_sample, pos_iou_thresh,
            neg_iou_thresh, pos_ratio, flip_p, ashape, multi_stage, **kwargs,
        )  # fmt: skip
        check_image_settings(short, max_size, mean, std, flip_p)
        self._prepare(
            net, multi_stage, rng, ignore_column, on_bad_box, num_sample=num_sample,
            pos_iou_thresh=pos_iou_thresh, neg_iou_thresh=neg_iou_thresh, pos_ratio=pos_ratio,
            stds=box_norm, **kwargs,
        )  # fmt: skip

    def __call__(self, src, label, *, rng=None):
        """Transform one training image and its label.

        Parameters
        ----------
        src : NDArray of shape (H, W, 3), uint8 or float32
            Image, red, green and blue, 0 to 255.
        label : np.ndarray of shape (M, 4+)
            Corner boxes in pixels, further columns (class, ...) pass through.
        rng : None, int, np.random.RandomState or np.random.Generator
            What to draw from for this sample only; by default what the transform was made with.

        Returns
        -------
        img : NDArray of shape (3, h, w), float32
        bbox : np.ndarray of shape (M, 4+), float32
            The label, in pixels of ``img``.
        cls_targets, box_targets, box_masks : lists of np.ndarray, float32
            Only with a network: one array per level, of shape (rows, columns, A), and
            (rows, columns, 4A) for the last two. Codes as in `RPNTargetGenerator`.

        Raises
        ------
        TypeError, ValueError
            If the image or the label has the wrong kind or shape, a box is inverted or not
            finite, or a flag of ``ignore_column`` is neither 0 nor 1; the message names the row
            and the image's size.
        """
        draws = self._draws if rng is None else as_draws(rng)
        label, _ = self._check(src, label)
        resized, bbox, flip = self._resize(src, label, self._flip_p, draws)
        img = self._tensor(resized, flip)
        return (img, bbox, *self._targets(bbox, resized, draws))


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
