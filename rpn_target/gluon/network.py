"""Read a GluonCV network: its anchors, and the sizes of its feature maps."""

from __future__ import annotations

from typing import Any

import mxnet as mx
from mxnet.base import MXNetError

from ..core import lattice
from ..core.feature_maps import FeatureMapSizes, fit_feature_maps
from ..core.lattice import Level
from ..core.settings import whole_number

__all__ = ["AnchorLattice", "anchor_levels", "feature_map_sizes"]


class AnchorLattice(lattice.AnchorLattice):
    """The anchors of an image, known by rule: the same boxes at every cell of a feature map.

    `RPNTargetGenerator` finds the anchors that overlap a box on a lattice without looking at all
    others, which is faster than an array of corner boxes; both give equal targets. ``len()`` is N,
    the number of anchors, and `corners` returns some of them as corner boxes. They are numbered as
    GluonCV concatenates them: by level, row, column, then base box.

    Notes
    -----
    Make it with `of_network`. It depends on the image's size only: keep it where several images
    have one size.
    """

    @classmethod
    def of_network(cls, net: Any, height: int, width: int) -> AnchorLattice:
        """Return the anchors that a network has for an image.

        Parameters
        ----------
        net : gluoncv.model_zoo.FasterRCNN or a subclass
            With one feature map (C4) or several (FPN). Need not be initialized.
        height, width : int
            Size in pixels of the image that the network sees, after resizing and padding.

        Returns
        -------
        AnchorLattice

        Raises
        ------
        TypeError
            If height or width is no whole number.
        ValueError
            If one of them is too small for the network, the network is no Faster R-CNN, its
            anchors are no lattice, or its feature maps are not ``(side + offset) // stride``
            cells large.

        Examples
        --------
        >>> from gluoncv.model_zoo import get_model
        >>> from rpn_target import AnchorLattice, RPNTargetGenerator
        >>> net = get_model("faster_rcnn_resnet50_v1b_voc", pretrained_base=False)
        >>> lattice = AnchorLattice.of_network(net, height=600, width=800)
        >>> len(lattice), lattice.shapes
        (28500, ((38, 50),))
        >>> cls_target, box_target, box_mask = RPNTargetGenerator()(
        ...     [[100, 100, 300, 260]], lattice, width=800, height=600
        ... )
        >>> box_target.shape
        (28500, 4)
        """
        height = whole_number("height", height, least=1)
        width = whole_number("width", width, least=1)
        return cls(anchor_levels(net), feature_map_sizes(net).shapes(height, width))


def feature_map_sizes(net: Any) -> FeatureMapSizes:
    """Return the feature-map arithmetic of a Faster or Mask R-CNN network.

    Parameters
    ----------
    net : gluoncv.model_zoo.FasterRCNN or a subclass
        Need not be initialized.

    Raises
    ------
    ValueError
        If it is no such network, or its feature maps do not fit the arithmetic.
    """
    name = _check_network(net)
    features = net.features(mx.sym.var(name="data"))
    levels = features if isinstance(features, (list, tuple)) else [features]
    group = mx.sym.Group(list(levels))

    def infer(height: int, width: int) -> list[tuple[int, int]]:
        try:
            _, shapes, _ = group.infer_shape(data=(1, 3, height, width))
        except MXNetError as error:
            raise ValueError(
                f"net must take images of {height} x {width}, but {name} does not: {error}"
            ) from error
        return [shape[2:] for shape in shapes]

    return fit_feature_maps(infer, name)


def _check_network(net: Any) -> str:
    """Return the name of a network's type, if it is of the right kind."""
    name = type(net).__name__
    for attribute in ("features", "rpn"):
        if not hasattr(net, attribute):
            raise ValueError(f"net must be a Faster R-CNN network, but {name} has no `{attribute}`")
    return name


def anchor_levels(net: Any, multi_stage: bool | None = None) -> tuple[Level, ...]:
    """Return the anchor lattice of every level of a network.

    Parameters
    ----------
    net : gluoncv.model_zoo.FasterRCNN or a subclass
        Need not be initialized.
    multi_stage : bool, optional
        Whether the network has one anchor generator per level (FPN). Where it is not given, the
        network says so itself.

    Raises
    ------
    ValueError
        If it is no such network, it and ``multi_stage`` disagree, or the anchors are no lattice.
    """
    _check_network(net)
    generator = net.rpn.anchor_generator
    several = not hasattr(generator, "anchors")
    if multi_stage is not None and several != bool(multi_stage):
        raise ValueError(
            f"multi_stage must be {several} for this {type(net).__name__}, which has "
            f"{'an anchor generator per level' if several else 'one anchor generator'}, but got "
            f"{multi_stage}"
        )
    return tuple(_read_level(one.anchors) for one in (generator if several else [generator]))


def _read_level(parameter: Any) -> Level:
    """Read the lattice off the constant (1, 1, H, W, 4A) an anchor generator holds."""
    try:
        anchors = parameter.list_data()[0]
    except RuntimeError:  # not initialized
        anchors = parameter.value
    anchors = anchors.asnumpy()[0, 0]
    level = Level.read(anchors.reshape(*anchors.shape[:2], -1, 4))
    if level is None or not level.stride.is_integer():
        raise ValueError(
            f"the anchors of {parameter.name} must be a lattice, the same boxes repeated every "
            f"stride pixels, but they are not"
        )
    return level
