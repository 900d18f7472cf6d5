"""Batchify: samples of any size padded into one batch, in memory ready to ship.

Everything is written straight into recycled memory (see `rpn_target.gluon.recycled_memory`). Where
that is fresh it is all zeros, and so neither padding by 0 nor the zeros of the box targets, which
are nearly all of them, are written.
"""

from __future__ import annotations

import warnings
from typing import Any, Sequence

import numpy as np
from gluoncv.data import batchify as gluoncv_batchify

from ..core.coder import CLS_IGNORE
from ..core.feature_maps import FeatureMapSizes
from ..core.lattice import level_slices
from ..core.settings import RPNTargetWarning, shown, whole_number
from .attributes import FeatureMapSymbol, feature_map_symbols, on_access
from .ndarray import as_numpy
from .network import feature_map_sizes
from .recycled_memory import Batch, take

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
    _elements: tuple[str, ...] = ("img", "label", "cls_targets", "box_targets", "box_masks")

    def __init__(self, net: Any, num_shards: int = 1):
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

    def __call__(self, data: Sequence[tuple]) -> Batch:
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

        All are float32 on ``cpu(0)``, from worker processes, too (GluonCV's are on
        ``cpu_shared(0)``): ``as_in_context(mx.cpu())`` copies nothing. Sent from one process to
        another, the batch itself is not copied either. The tuple is a `Batch`.

        Raises
        ------
        ValueError
            If there are fewer samples than shards, or a sample has other parts than these, or
            parts of other shapes.
        """
        shards = self._shards(data)
        labels = [_check_labels([sample[1] for sample in shard]) for shard in shards]
        widest = max(label.shape[1] for shard in labels for label in shard)
        labels = [_same_columns(shard, max(widest, LEAST_COLUMNS)) for shard in labels]
        parts = [
            part
            for shard, shard_labels in zip(shards, labels)
            for part in self._parts(list(zip(*shard)), shard_labels)
        ]
        memory = take([spec for part in parts for spec in part.specs])
        outs = iter(memory.arrays)
        for part in parts:
            part.write([next(outs) for _ in part.specs], memory.is_zero)
        # The number of each array, by kind; of every kind there is one per shard.
        numbers = np.arange(len(memory.arrays)).reshape(len(shards), -1).T.tolist()
        *padded, cls_targets, box_targets, box_masks = map(tuple, numbers)
        targets = cls_targets, box_targets, box_masks
        return memory.batch((*map(_unwrap, padded), *targets))

    def _parts(self, columns: list[tuple], labels: list[np.ndarray]) -> list:
        """Return what a shard's arrays are made of, given its samples' images, labels, ..."""
        images = _Padded(columns[0], padding=0)
        targets = _Targets(columns[2:5], images.shape[2:], self._feature_maps)
        return [images, _Padded(labels, padding=LABEL_PADDING), targets]

    def _shards(self, data: Sequence[tuple]) -> list[list[tuple]]:
        """Split the samples into one list per shard."""
        for index, sample in enumerate(data):
            if len(sample) != len(self._elements):
                without = len(self._elements) - 3  # a transform makes no targets then
                advice = "; was the transform made without net?" if len(sample) == without else ""
                raise ValueError(
                    f"every sample must hold {', '.join(self._elements)}, but sample {index} of "
                    f"the batch has {len(sample)} parts{advice}"
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

    def _parts(self, columns: list[tuple], labels: list[np.ndarray]) -> list:
        if not any(map(len, labels)):
            warnings.warn(
                "no image of a batch, or of a device's part of it, has an object: GluonCV's mask "
                "loss will divide by zero, and be NaN from then on. Leave such images out of the "
                "data set, or divide by no less than 1",
                RPNTargetWarning,
                stacklevel=3,
            )
        images, labels, targets = super()._parts(columns, labels)
        return [images, labels, _Padded(columns[5], padding=0), targets]


def _unwrap(shards: tuple) -> Any:
    """Return the only shard itself, as GluonCV does, or a list of several."""
    return shards[0] if len(shards) == 1 else list(shards)


class _Padded:
    """Arrays of one rank, to be stacked and padded at the end of every axis."""

    def __init__(self, arrays: Sequence, padding: int):
        self._arrays = [as_numpy(array) for array in arrays]
        self._padding = padding
        largest = np.max([array.shape for array in self._arrays], axis=0)
        largest = np.maximum(largest, 1)  # an NDArray cannot be empty
        self.shape = (len(arrays), *largest.tolist())
        self.specs = [(self.shape, self._arrays[0].dtype)]

    def write(self, outs: list[np.ndarray], is_zero: bool) -> None:
        """Write the arrays and the padding, unless it is there."""
        for out, array in zip(outs[0], self._arrays):
            inside = tuple(slice(side) for side in array.shape)
            out[inside] = array
            if self._padding == 0 and is_zero:
                continue
            for axis, side in enumerate(array.shape):
                out[(*inside[:axis], slice(side, None))] = self._padding


def _check_labels(labels: list) -> list[np.ndarray]:
    """Return the labels (M, 4+) of a shard as arrays."""
    labels = [as_numpy(label) for label in labels]
    labels = [label.reshape(0, 4) if label.shape == (0,) else label for label in labels]
    shapes = [label.shape for label in labels]
    if any(len(shape) != 2 for shape in shapes):
        raise ValueError(f"labels of a batch must have shape (M, 4+), but got {shown(shapes)}")
    if len({columns for rows, columns in shapes if rows}) > 1:
        raise ValueError(
            f"labels of a batch must have equally many columns, but got {shown(shapes)}"
        )
    return labels


def _same_columns(labels: list[np.ndarray], columns_without_objects: int) -> list[np.ndarray]:
    """Return the labels of a shard, those without rows with as many columns as the others."""
    columns = [label.shape[1] for label in labels if len(label)] or [columns_without_objects]
    return [label if len(label) else np.zeros((0, columns[0]), label.dtype) for label in labels]


class _Targets:
    """The targets of a shard: lists of samples of (cls, box, mask), each a list of levels."""

    def __init__(
        self, targets: Sequence, image_size: tuple[int, int], feature_maps: FeatureMapSizes
    ):
        self._image_size = image_size
        self._shapes = feature_maps.shapes(*image_size)
        self._samples = []
        for sample in zip(*targets):
            if any(len(levels) != len(self._shapes) for levels in sample):
                raise ValueError(
                    f"every sample must have targets for the network's {len(self._shapes)} feature "
                    f"maps, but one has {shown([len(levels) for levels in sample])}"
                )
            self._samples.append([[as_numpy(part) for part in level] for level in zip(*sample)])
        self._depths = [cls_target.shape[2] for cls_target, _, _ in self._samples[0]]
        for levels in self._samples:
            for level, shape, depth in zip(levels, self._shapes, self._depths):
                _check_level(level, shape, depth)
        self._slices = level_slices(self._shapes, self._depths)
        size = len(self._samples), self._slices[-1].stop
        self.specs = [(size, np.float32), *[((*size, 4), np.float32)] * 2]

    def write(self, outs: list[np.ndarray], is_zero: bool) -> None:
        """Write the targets, level after level."""
        if not is_zero:
            outs[1].fill(0)
            outs[2].fill(0)
        count = 0
        for row, sample in enumerate(self._samples):
            for level, shape, depth, part in zip(sample, self._shapes, self._depths, self._slices):
                cls_target, box_target, box_mask = level
                cells = outs[0][row, part].reshape(*shape, depth)
                rows, columns = cls_target.shape[:2]
                cells[:rows, :columns] = cls_target
                cells[:rows, columns:] = CLS_IGNORE
                cells[rows:] = CLS_IGNORE
                sampled = np.flatnonzero(~(cls_target < 0))
                count += len(sampled)
                for out, values in ((outs[1], box_target), (outs[2], box_mask)):
                    _scatter(out[row, part], values, sampled, shape[1], depth)
        if not count:
            height, width = self._image_size
            warnings.warn(
                f"no anchor was sampled in a batch of {len(self._samples)} images padded to "
                f"{width} x {height}: GluonCV's RPN loss will divide by zero",
                RPNTargetWarning,
                stacklevel=3,
            )


def _check_level(level: list[np.ndarray], shape: tuple[int, int], depth: int) -> None:
    cls_target, box_target, box_mask = level
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


def _scatter(
    out: np.ndarray, level: np.ndarray, sampled: np.ndarray, padded_columns: int, depth: int
) -> None:
    """Copy the box targets (rows, columns, 4A) of a level to those of a batch (N, 4), all zeros.

    A transform makes targets other than 0 for sampled anchors only, so that these are enough. That
    the rest is 0 is checked by counting, which is much faster than finding what is not.
    """
    columns = level.shape[1]
    level = np.ascontiguousarray(level).reshape(-1, 4)
    words = level.view(np.int64)  # zeros of either sign differ, so do all NaN
    anchor = sampled
    if np.count_nonzero(words) > np.count_nonzero(words[sampled]):
        anchor = np.flatnonzero(words.any(axis=1))
    cell, base = np.divmod(anchor, depth)
    row, column = np.divmod(cell, columns)
    out[(row * padded_columns + column) * depth + base] = level[anchor]
