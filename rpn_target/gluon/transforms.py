"""The train transforms: what a DataLoader calls on every image and label."""

from __future__ import annotations

from typing import Any, Callable, Sequence

import mxnet as mx
import numpy as np
from gluoncv.data.transforms import bbox as bbox_transforms
from gluoncv.data.transforms import image as image_transforms
from gluoncv.data.transforms import mask as mask_transforms
from gluoncv.data.transforms.presets.rcnn import (
    FasterRCNNDefaultTrainTransform,
    MaskRCNNDefaultTrainTransform,
)
from mxnet.base import MXNetError

from ..core.anchor_array import AnchorArray
from ..core.draws import as_draws
from ..core.lattice import AnchorLattice
from ..core.settings import (
    TargetSettings,
    check_image_settings,
    check_stds,
    shown,
    whole_number,
)
from .attributes import (
    FeatureMapSymbol,
    feature_map_symbols,
    is_assigned,
    is_users,
    on_access,
    seeded_globals,
    users_class,
)
from .blocks import RPNTargetGenerator
from .checks import ON_BAD_BOX, LabelWatch, check_polygons, check_sample
from .image import normalize_into
from .ndarray import as_numpy, empty, view
from .network import anchor_levels, feature_map_sizes

__all__ = ["FasterRCNNTrainTransform", "MaskRCNNTrainTransform", "TrainTransform"]

BILINEAR = 1  # MXNet's number for the interpolation
FLIP_P = 0.5  # GluonCV's Mask R-CNN transform has no parameter for it
OPTIONS = ("allowed_border", "low_quality_matches", "ignore_iof_thresh")  # of the generator
LEAST_ASHAPE = 16  # GluonCV halves ashape from level to level, down to this


def _arguments(names: dict[str, Any]) -> dict[str, Any]:
    """Return what a constructor was given, from its ``locals()``; ``**kwargs`` as a dictionary."""
    return {name: value for name, value in names.items() if name not in ("self", "__class__")}


class TrainTransform:
    """What the transforms of Faster and Mask R-CNN share: everything but the masks."""

    def _set_up(
        self,
        *,
        short: Any,
        max_size: float,
        net: Any,
        mean: Sequence[float],
        std: Sequence[float],
        box_norm: Sequence[float],
        num_sample: int,
        pos_iou_thresh: float,
        neg_iou_thresh: float,
        pos_ratio: float,
        flip_p: float,
        ashape: int,
        multi_stage: bool,
        rng: Any,
        ignore_column: int | None,
        on_bad_box: str,
        kwargs: dict[str, Any],
    ) -> None:
        """Check and keep what a constructor was given."""
        check_image_settings(short, max_size, mean, std, flip_p)
        check_stds("box_norm", box_norm)
        unknown = [name for name in kwargs if name not in OPTIONS]
        if unknown and users_class("RPNTargetGenerator") is None:
            raise TypeError(
                f"{type(self).__name__} must be given its own parameters or {', '.join(OPTIONS)}, "
                f"but got an unknown one, {unknown[0]}"
            )
        TargetSettings(
            num_sample, pos_iou_thresh, neg_iou_thresh, pos_ratio, box_norm,
            **{name: kwargs[name] for name in kwargs if name in OPTIONS},
        )  # fmt: skip
        if on_bad_box not in ON_BAD_BOX:
            raise ValueError(
                f"on_bad_box must be one of {', '.join(ON_BAD_BOX)}, but got {shown(on_bad_box)}"
            )
        if ignore_column is not None:  # columns 0 to 3 are the corners
            whole_number("ignore_column", ignore_column, least=4)
        # Under GluonCV's names, which subclasses of its transforms read.
        self._short = short
        self._random_resize = isinstance(short, (tuple, list))
        self._max_size = max_size
        self._mean = mean
        self._std = std
        self._flip_p = flip_p
        self._box_norm = box_norm
        self._num_sample = num_sample
        self._pos_iou_thresh = pos_iou_thresh
        self._neg_iou_thresh = neg_iou_thresh
        self._pos_ratio = pos_ratio
        self._multi_stage = multi_stage
        self._kwargs = kwargs
        self._net_none = net is None
        self._internal_target_generator = None
        # Our own.
        self._ashape = ashape
        self._draws = as_draws(rng)
        self._on_bad_box = on_bad_box
        self._ignore_column = ignore_column
        self._watch = LabelWatch()
        if net is not None:
            whole_number("ashape", ashape, least=1)
            self._levels = anchor_levels(net, multi_stage)
            self._feature_maps = feature_map_sizes(net)
            if len(self._levels) != len(self._feature_maps.strides):
                raise ValueError(
                    f"net must have an anchor generator per feature map, but has "
                    f"{len(self._levels)} for {len(self._feature_maps.strides)}"
                )

    @on_access
    def _anchors(self) -> mx.nd.NDArray | list[mx.nd.NDArray] | None:
        """Anchors for ``ashape`` cells, (1, 1, ashape, ashape, 4A), a list of them for FPN."""
        if self._net_none:
            return None
        made, ashape = [], self._ashape
        for level in self._levels:
            lattice = AnchorLattice((level,), ((ashape, ashape),))
            corners = lattice.corners(np.arange(len(lattice)))
            made.append(mx.nd.array(corners.reshape(1, 1, ashape, ashape, -1)))
            ashape = max(ashape // 2, LEAST_ASHAPE)
        return made if self._multi_stage else made[0]

    @on_access
    def _feat_sym(self) -> FeatureMapSymbol | list[FeatureMapSymbol]:
        return feature_map_symbols(self._feature_maps)

    @on_access
    def _target_generator(self) -> Any:
        if self._internal_target_generator is not None or self._net_none:
            return self._internal_target_generator
        settings = {
            "num_sample": self._num_sample,
            "pos_iou_thresh": self._pos_iou_thresh,
            "neg_iou_thresh": self._neg_iou_thresh,
            "pos_ratio": self._pos_ratio,
            "stds": self._box_norm,
            **self._kwargs,
        }
        kind = users_class("RPNTargetGenerator")
        if kind is not None:
            return kind(**settings)
        generator = RPNTargetGenerator(**settings)
        generator._draws = self._draws
        return generator

    def _check(self, src: Any, label: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the label to use as an array, and which rows of the given one it has."""
        short = max(self._short) if self._random_resize else self._short
        label, rows = check_sample(src, label, short, self._ignore_column, self._on_bad_box)
        self._watch.look(src, label)
        return label, rows

    def _resize(
        self, src: mx.nd.NDArray, label: np.ndarray, flip_p: float, draws: Any
    ) -> tuple[mx.nd.NDArray, np.ndarray, bool]:
        """Resize and draw the flip; returns the resized image, its boxes, and whether to flip."""
        height, width = src.shape[:2]
        short = draws.integer(*map(int, self._short)) if self._random_resize else self._short
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

    def _tensor(self, resized: mx.nd.NDArray, flip: bool) -> mx.nd.NDArray:
        """Return the network's input (3, H, W) for a resized image."""
        tensor, out = empty((3, *resized.shape[:2]))
        normalize_into(out, view(resized), self._mean, self._std, flip)
        return tensor

    def _targets(
        self, bbox: np.ndarray, resized: mx.nd.NDArray, draws: Any
    ) -> tuple[list[np.ndarray], ...]:
        """Return cls_targets, box_targets and box_masks, or nothing if there is no network."""
        if self._anchors is None if is_assigned(self, "_anchors") else self._net_none:
            return ()
        height, width = resized.shape[:2]
        anchors, split = self._anchors_of(height, width)
        boxes, ignore = np.ascontiguousarray(bbox[:, :4]), None
        if self._ignore_column is not None and len(bbox):
            flagged = bbox[:, self._ignore_column] != 0
            boxes, ignore = boxes[~flagged], boxes[flagged]
        generator = self._target_generator
        if isinstance(generator, RPNTargetGenerator) and not is_users(type(generator)):
            if len(boxes):
                self._warn_of_no_valid_anchor(anchors, width, height, generator)
            targets = generator._generate(anchors, boxes, width, height, ignore, draws)
        else:
            targets = self._call_users(generator, boxes, anchors, width, height, ignore, draws)
        return tuple(split(array) for array in targets)

    def _anchors_of(
        self, height: int, width: int
    ) -> tuple[AnchorLattice | AnchorArray, Callable[[np.ndarray], list[np.ndarray]]]:
        """Return the anchors of an image, and what splits an array (N, ...) into levels."""
        if is_assigned(self, "_feat_sym"):
            levels = self._feat_sym if self._multi_stage else [self._feat_sym]
            found = [level.infer_shape(data=(1, 3, height, width))[1][0] for level in levels]
            shapes = tuple((shape[2], shape[3]) for shape in found)
        else:
            shapes = self._feature_maps.shapes(height, width)
        if not is_assigned(self, "_anchors"):
            self._warn_of_size(shapes, height, width)
            lattice = AnchorLattice.crop(self._levels, shapes)
            return lattice, lattice.split
        levels = self._anchors if self._multi_stage else [self._anchors]
        cropped = [
            as_numpy(level)[0, 0, :rows, :columns] for level, (rows, columns) in zip(levels, shapes)
        ]
        sizes = [level.size // 4 for level in cropped]

        def split(array: np.ndarray) -> list[np.ndarray]:
            parts = np.split(array, np.cumsum(sizes)[:-1])
            return [part.reshape(*level.shape[:2], -1) for part, level in zip(parts, cropped)]

        return AnchorArray(np.concatenate([level.reshape(-1, 4) for level in cropped])), split

    def _call_users(
        self,
        generator: Callable[..., Any],
        boxes: np.ndarray,
        anchors: AnchorLattice | AnchorArray,
        width: int,
        height: int,
        ignore: np.ndarray | None,
        draws: Any,
    ) -> Any:
        """Call a generator that is not ours, as GluonCV calls it."""
        if not len(boxes):  # for which GluonCV's fails
            ours = RPNTargetGenerator(
                self._num_sample, self._pos_iou_thresh, self._neg_iou_thresh, self._pos_ratio
            )
            return ours._generate(anchors, boxes, width, height, ignore, draws)
        if ignore is not None and len(ignore):
            raise ValueError(
                "ignore_column must be None with a target generator of your own, which is not "
                f"told of ignored regions, but got {self._ignore_column}"
            )
        corners = mx.nd.array(anchors.corners(np.arange(len(anchors))))
        with seeded_globals(draws):
            targets = generator(mx.nd.array(boxes), corners, width, height)
        return [as_numpy(array) for array in targets]

    def _warn_of_size(self, shapes: tuple[tuple[int, int], ...], height: int, width: int) -> None:
        """Warn once if the network holds fewer anchors than an image needs."""
        if not self._watch.is_open("small network"):
            return
        for shape, level in zip(shapes, self._levels):
            if shape[0] > level.known[0] or shape[1] > level.known[1]:
                self._watch.tell(
                    "small network",
                    f"an image of {width} x {height} has a feature map of {shape[1]} x {shape[0]} "
                    f"cells, but the network has anchors for {level.known[1]} x {level.known[0]} "
                    "only: targets are complete, the network will fail (see its alloc_size)",
                )
                return

    def _warn_of_no_valid_anchor(
        self,
        anchors: AnchorLattice | AnchorArray,
        width: int,
        height: int,
        generator: RPNTargetGenerator,
    ) -> None:
        """Warn once of an image that no anchor lies in, where GluonCV's rule turns around."""
        settings = generator._settings
        is_open = self._watch.is_open("no valid anchor")
        if not is_open or settings.low_quality_matches != "gluoncv":
            return
        if not len(anchors.valid(width, height, settings.allowed_border)):
            self._watch.tell(
                "no valid anchor",
                f"no anchor lies inside an image of {width} x {height}: by GluonCV's rule all "
                f"{len(anchors)} anchors are positive then. Leave such images out of the data "
                "set, or give low_quality_matches or allowed_border another value",
                stacklevel=5,
            )


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
        short: int | tuple[int, int] = 600,
        max_size: float = 1000,
        net: Any = None,
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
        box_norm: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
        num_sample: int = 256,
        pos_iou_thresh: float = 0.7,
        neg_iou_thresh: float = 0.3,
        pos_ratio: float = 0.5,
        flip_p: float = 0.5,
        ashape: int = 128,
        multi_stage: bool = False,
        *,
        rng: Any = None,
        ignore_column: int | None = None,
        on_bad_box: str = "raise",
        **kwargs: Any,
    ):
        self._set_up(**_arguments(locals()))

    def __call__(self, src: mx.nd.NDArray, label: Any, *, rng: Any = None) -> tuple:
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
        short: int | tuple[int, int] = 600,
        max_size: float = 1000,
        net: Any = None,
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
        box_norm: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
        num_sample: int = 256,
        pos_iou_thresh: float = 0.7,
        neg_iou_thresh: float = 0.3,
        pos_ratio: float = 0.5,
        ashape: int = 128,
        multi_stage: bool = False,
        *,
        rng: Any = None,
        ignore_column: int | None = None,
        on_bad_box: str = "raise",
        **kwargs: Any,
    ):
        self._set_up(flip_p=FLIP_P, **_arguments(locals()))

    def __call__(self, src: mx.nd.NDArray, label: Any, segm: Any, *, rng: Any = None) -> tuple:
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
    def _masks(
        segm: list, old_size: tuple[int, int], new_size: tuple[int, int], flip: bool
    ) -> mx.nd.NDArray | np.ndarray:
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
