"""Batchify: samples of any size padded into one batch, in memory ready to ship.

Everything is written straight into shared memory (see `rpn_target.gluon.ndarray`), each byte once.
Fresh shared memory is all zeros, so padding by 0 and the zeros of the box targets, which are
nearly all of them, are not written at all.
"""

from __future__ import annotations

import warnings
from typing import Any

import mxnet as mx
import numpy as np
from gluoncv.data import batchify as gluoncv_batchify

from ..core.coder import CLS_IGNORE
from ..core.feature_maps import FeatureMapSizes
from ..core.lattice import level_slices
from ..core.settings import RPNTargetWarning, whole_number
from .attributes import FeatureMapSymbol, feature_map_symbols, on_access
from .ndarray import SHARED, as_numpy, empty
from .network import feature_map_sizes

__all__ = ["FasterRCNNTrainBatchify", "MaskRCNNTrainBatchify"]

LABEL_PADDING = -1
LEAST_COLUMNS = 5  # of a label without any object: training scripts read box and class


class FasterRCNNTrainBatchify:
    """Batch the samples of `FasterRCNNTrainTransform`, or of GluonCV's.

    Parameters
    ----------
    net : gluoncv.model_zoo.FasterRCNN
        The network the batches are for. It is asked for its feature-map sizes and not kept.
    num_shards : int
        Number of parts, one per device; each is padded by itself.

    Raises
    ------
    TypeError, ValueError
        If ``num_shards`` is no whole number from 1 on, or the network's feature maps cannot be
        computed.

    Notes
    -----
    Equal to ``gluoncv.data.batchify.FasterRCNNTrainBatchify`` 0.10.5.post0.
    """

    NUM_ELEMENTS = 5
    _elements = ("img", "label", "cls_targets", "box_targets", "box_masks")

    def __init__(self, net, num_shards=1):
        self._num_shards = whole_number("num_shards", num_shards, least=1)
        self._feature_maps = feature_map_sizes(net)

    @on_access
    def _feat_sym(self) -> FeatureMapSymbol | list[FeatureMapSymbol]:
        return feature_map_symbols(self._feature_maps)

    @on_access
    def _img_pad(self) -> Any:
        return gluoncv_batchify.Pad(axis=(1, 2), num_shards=self._num_shards)

    @on_access
    def _label_pad(self) -> Any:
        return gluoncv_batchify.Pad(pad_val=LABEL_PADDING, num_shards=self._num_shards)

    def __call__(self, data):
        """Batch samples.

        Parameters
        ----------
        data : list of tuples
            Samples ``(img, label, cls_targets, box_targets, box_masks)``: (3, h, w), (M, 4+), and
            one array per level of shape (rows, columns, A), (rows, columns, 4A) twice.

        Returns
        -------
        img : NDArray of shape (b, 3, H, W), padded with 0
        label : NDArray of shape (b, M, 4+), padded with -1
            With several shards, both are lists with an NDArray per shard. Where no image of a
            shard has a box, its label is a row of padding, since an NDArray cannot be empty, of as
            many columns as the labels of the other shards have, and at least 5.
        cls_targets, box_targets, box_masks : tuples of NDArray
            One per shard, of shape (b, N), (b, N, 4) and (b, N, 4), padded with -1, 0 and 0 to
            the feature maps of the padded image.

        All are float32 in the ``cpu_shared`` context.

        Raises
        ------
        ValueError
            If there are fewer samples than shards, or a sample has other parts than these, or
            parts of other shapes.
        """
        shards = self._shards(data)
        labels = [_check_labels([sample[1] for sample in shard]) for shard in shards]
        widest = max(label.shape[1] for shard in labels for label in shard)
        labels = [_pad_labels(shard, max(widest, LEAST_COLUMNS)) for shard in labels]
        images, targets = [], []
        for shard in shards:
            columns = list(zip(*shard))
            images.append(_pad(columns[0]))
            targets.append(_batch_targets(columns[2:5], images[-1].shape[2:], self._feature_maps))
        return (_unwrap(images), _unwrap(labels), *zip(*targets))

    def _shards(self, data):
        """Split the samples into one list per shard."""
        for index, sample in enumerate(data):
            if len(sample) != len(self._elements):
                raise ValueError(
                    f"every sample must hold {', '.join(self._elements)}, but sample {index} of "
                    f"the batch has {len(sample)} parts"
                )
        if len(data) < self._num_shards:
            raise ValueError(f"{self._num_shards} shards need as many samples, but got {len(data)}")
        if len(data) % self._num_shards:
            warnings.warn(
                f"a batch of {len(data)} samples is split unevenly over {self._num_shards} shards",
                RPNTargetWarning,
                stacklevel=3,
            )
        parts = np.array_split(np.arange(len(data)), self._num_shards)
        return [[data[index] for index in part] for part in parts]


class MaskRCNNTrainBatchify(FasterRCNNTrainBatchify):
    """Batch the samples of `MaskRCNNTrainTransform`, or of GluonCV's.

    Parameters, errors and results are those of `FasterRCNNTrainBatchify`, but a sample has a
    sixth part, ``masks`` of shape (M, h, w), which comes third in the batch: an NDArray (or a
    list of one per shard) of shape (b, M, H, W), padded with 0.
    """

    NUM_ELEMENTS = 6
    _elements = (*FasterRCNNTrainBatchify._elements, "masks")

    @on_access
    def _faster_batchify(self) -> FasterRCNNTrainBatchify:
        faster = FasterRCNNTrainBatchify.__new__(FasterRCNNTrainBatchify)
        faster._num_shards, faster._feature_maps = self._num_shards, self._feature_maps
        return faster

    @on_access
    def _mask_pad(self) -> Any:
        return gluoncv_batchify.Pad(axis=(0, 1, 2), num_shards=self._num_shards)

    def __call__(self, data):
        """Batch samples; see `FasterRCNNTrainBatchify`."""
        images, labels, *targets = super().__call__(data)
        masks = [_pad([sample[5] for sample in shard]) for shard in self._shards(data)]
        return (images, labels, _unwrap(masks), *targets)


def _unwrap(shards):
    """Return the only shard itself, as GluonCV does, or the list of several."""
    return shards[0] if len(shards) == 1 else shards


def _pad(arrays):
    """Stack arrays of one rank, padded at the end of every axis with 0."""
    arrays = [as_numpy(array) for array in arrays]
    shape = np.max([array.shape for array in arrays], axis=0)
    shape = np.maximum(shape, 1)  # an NDArray cannot be empty
    batch, out = empty((len(arrays), *shape.tolist()), arrays[0].dtype, SHARED)
    for target, array in zip(out, arrays):
        target[tuple(slice(side) for side in array.shape)] = array
    return batch


def _check_labels(labels: list) -> list[np.ndarray]:
    """Return the labels (M, 4+) of a shard as arrays."""
    labels = [as_numpy(label) for label in labels]
    labels = [label.reshape(0, 4) if label.shape == (0,) else label for label in labels]
    shapes = [label.shape for label in labels]
    if any(len(shape) != 2 for shape in shapes):
        raise ValueError(f"labels of a batch must have shape (M, 4+), but got {shapes}")
    if len({columns for rows, columns in shapes if rows}) > 1:
        raise ValueError(f"labels of a batch must have equally many columns, but got {shapes}")
    return labels


def _pad_labels(labels: list[np.ndarray], width_without_objects: int) -> mx.nd.NDArray:
    """Stack labels (M, 4+), padded with rows of -1 to the largest M."""
    width = max((label.shape[1] for label in labels if len(label)), default=width_without_objects)
    most = max(1, *map(len, labels))  # an NDArray cannot be empty
    batch, out = empty((len(labels), most, width), labels[0].dtype, SHARED)
    for target, label in zip(out, labels):
        if len(label):
            target[: len(label)] = label
        target[len(label) :] = LABEL_PADDING
    return batch


def _batch_targets(targets, image_size: tuple[int, int], feature_maps: FeatureMapSizes):
    """Stack the targets of a shard: lists of samples of (cls, box, mask), each a list of levels."""
    shapes = feature_maps.shapes(*image_size)
    for sample in zip(*targets):
        if any(len(levels) != len(shapes) for levels in sample):
            raise ValueError(
                f"every sample must have targets for the network's {len(shapes)} feature maps, "
                f"but one has {[len(levels) for levels in sample]}"
            )
    depths = [level.shape[2] for level in targets[0][0]]
    slices = level_slices(shapes, depths)
    size = len(targets[0]), slices[-1].stop
    batches, outs = zip(
        empty(size, np.float32, SHARED),
        empty((*size, 4), np.float32, SHARED),
        empty((*size, 4), np.float32, SHARED),
    )
    for row, sample in enumerate(zip(*targets)):
        for shape, depth, part, *levels in zip(shapes, depths, slices, *sample):
            cls_target, box_target, box_mask = (as_numpy(level) for level in levels)
            _check_level(cls_target, box_target, box_mask, shape, depth)
            cells = outs[0][row, part].reshape(*shape, depth)
            rows, columns = cls_target.shape[:2]
            cells[:rows, :columns] = cls_target
            cells[:rows, columns:] = CLS_IGNORE
            cells[rows:] = CLS_IGNORE
            for out, level in zip(outs[1:], (box_target, box_mask)):
                _scatter(out[row, part], level, shape[1], depth)
    if (outs[0] < 0).all():
        warnings.warn(
            f"no anchor was sampled in a batch of {len(targets[0])} images padded to "
            f"{image_size[1]} x {image_size[0]}: GluonCV's RPN loss will divide by zero",
            RPNTargetWarning,
            stacklevel=3,
        )
    return batches


def _check_level(cls_target, box_target, box_mask, shape: tuple[int, int], depth: int) -> None:
    size = cls_target.shape[:2]
    if cls_target.shape != (*size, depth) or any(
        array.shape != (*size, 4 * depth) for array in (box_target, box_mask)
    ):
        raise ValueError(
            f"the targets of a level must have shapes (rows, columns, {depth}) and (rows, columns, "
            f"{4 * depth}) twice, but have {cls_target.shape}, {box_target.shape} and "
            f"{box_mask.shape}"
        )
    if size[0] > shape[0] or size[1] > shape[1]:
        raise ValueError(
            f"the targets of a level must fit the padded image's feature map of {shape[0]} x "
            f"{shape[1]} cells, but have {size[0]} x {size[1]}"
        )


def _scatter(out: np.ndarray, level: np.ndarray, padded_columns: int, depth: int) -> None:
    """Write what is not zero of box targets (rows, columns, 4A) to anchors (N, 4), all zero."""
    columns = level.shape[1]
    level = np.ascontiguousarray(level).reshape(-1, 4)
    # Whole words are looked at, several per anchor: an anchor written twice is no harm.
    words = level.view(np.int64)
    anchor = np.flatnonzero(words) // words.shape[1]
    cell, base = np.divmod(anchor, depth)
    row, column = np.divmod(cell, columns)
    out[(row * padded_columns + column) * depth + base] = level[anchor]
