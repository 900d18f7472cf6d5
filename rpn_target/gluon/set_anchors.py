"""Other anchors for a network that is built already: `set_anchors`."""

from __future__ import annotations

import contextlib
from typing import Any, Sequence

import numpy as np
from mxnet import init

from ..core.lattice import base_boxes
from ..core.settings import real_number, shown
from .network import anchor_levels

__all__ = ["set_anchors"]

WEIGHT_STD = 0.01  # of the new convolutions, as in GluonCV


def set_anchors(
    net: Any, scales: Sequence, ratios: Sequence[float], base_size: float = 16
) -> tuple[str, ...]:
    """Give a Faster or Mask R-CNN network other anchors.

    Afterwards the network is the one that GluonCV's constructors build with these scales, ratios
    and base size, under the same parameter names. With as many anchors per cell as before, all
    weights are kept. With another number, the RPN's two output convolutions (``score`` and
    ``loc``) are made anew, since their channels are the anchors of a cell, and everything else is
    kept.

    Parameters
    ----------
    net : gluoncv.model_zoo.FasterRCNN or a subclass
        With one feature map (C4) or several (FPN); initialized, pretrained, hybridized or not, on
        any devices. It is changed.
    scales : sequence of float
        Sides of the anchors in units of ``base_size``. For a network with several feature maps
        one entry per level, finest first, each a number or a sequence of numbers, and as many for
        every level.
    ratios : sequence of float
        Height over width, the same at every level.
    base_size : float
        Side in pixels of the anchor of scale 1 and ratio 1.

    Returns
    -------
    tuple of str
        Names of the parameters that were made anew and have to be trained; empty where all
        weights are kept.

    Raises
    ------
    TypeError, ValueError
        If it is no such network, or the numbers do not fit it. The network is then as it was.

    Notes
    -----
    What has read the network's anchors or parameters keeps the old ones: make transforms,
    batchify functions, trainers and exports afterwards. A file of parameters holds the anchors,
    too: load the weights of a network with other anchors before this call, not after it.

    Examples
    --------
    >>> net = gluoncv.model_zoo.get_model(                                 # doctest: +SKIP
    ...     "faster_rcnn_fpn_resnet50_v1b_coco", pretrained=True)
    >>> rpn_target.set_anchors(                                            # doctest: +SKIP
    ...     net, scales=(1.3, 2.6, 5, 10, 20), ratios=(0.2, 1, 5))
    ()
    """
    generator = getattr(getattr(net, "rpn", None), "anchor_generator", None)
    if generator is None:
        raise ValueError(
            f"net must be a Faster or Mask R-CNN network of GluonCV, but got {type(net).__name__}"
        )
    several = not hasattr(generator, "anchors")
    levels = anchor_levels(net)
    base_size = _positive("base_size", base_size)
    ratios = _numbers("ratios", ratios)
    scales = _scales_of_levels(scales, len(levels)) if several else [_numbers("scales", scales)]
    for level, one in zip(levels, scales):
        _check_sides(level.stride, base_size, ratios, one)

    # Everything is made before the first change, so that an error leaves the network as it was.
    rpn = net.rpn
    head = rpn.rpn_head if several else rpn
    generators = [
        _remade(
            old, rpn, stride=level.stride, base_size=base_size, ratios=ratios, scales=one,
            alloc_size=old.anchors.shape[2:4],
        )
        for old, level, one in zip(generator if several else [generator], levels, scales)
    ]  # fmt: skip
    anchors_per_cell = len(ratios) * len(scales[0])
    convolutions = {}
    if anchors_per_cell != levels[0].anchors_per_cell:
        for name, channels in (("score", anchors_per_cell), ("loc", 4 * anchors_per_cell)):
            old = getattr(head, name)
            convolutions[name] = _remade(
                old, head, channels=channels, kernel_size=1, in_channels=old.weight.shape[1],
                weight_initializer=init.Normal(WEIGHT_STD),
            )  # fmt: skip

    if several:
        for number, one in enumerate(generators):
            generator.register_child(one, str(number))
    else:
        rpn.anchor_generator = generators[0]
    for name, convolution in convolutions.items():
        setattr(head, name, convolution)
    # Setting a child makes a hybridized block forget the graph that was made of the old ones.
    rpn.anchor_generator = rpn.anchor_generator
    net.rpn = rpn
    return tuple(name for one in convolutions.values() for name in one.collect_params())


def _remade(old: Any, parent: Any, **arguments: Any) -> Any:
    """Return a new block of the type and name of a parent's, on its devices if it is on any."""
    with parent.name_scope():  # whatever scope the caller is in
        new = type(old)(prefix=old.prefix[len(parent.prefix) :], **arguments)
    for one, other in zip(new.params.values(), old.params.values()):
        one.lr_mult, one.wd_mult = other.lr_mult, other.wd_mult
        if other.grad_req != one.grad_req:  # a constant has no other
            one.grad_req = other.grad_req
        one.cast(other.dtype)
        with contextlib.suppress(RuntimeError):  # not initialized
            one.initialize(ctx=other.list_ctx())
    return new


def _positive(name: str, value: object) -> float:
    """Return a number above 0, whole where it is."""
    number = real_number(name, value)
    if not 0 < number < float("inf"):
        raise ValueError(f"{name} must be finite and above 0, but got {shown(value)}")
    return int(number) if number.is_integer() else number


def _numbers(name: str, values: object) -> tuple[float, ...]:
    """Return a number, or several, as a tuple."""
    values = values.tolist() if isinstance(values, np.ndarray) else values
    several = values if isinstance(values, (tuple, list)) else [values]
    if not several:
        raise ValueError(f"{name} must hold at least one number, but got {shown(values)}")
    return tuple(_positive(name, value) for value in several)


def _scales_of_levels(scales: object, levels: int) -> list[tuple[float, ...]]:
    """Return the scales of every level of a pyramid."""
    scales = scales.tolist() if isinstance(scales, np.ndarray) else scales
    if not isinstance(scales, (tuple, list)) or len(scales) != levels:
        raise ValueError(
            f"scales must have one entry per level, {levels} for this network, but got "
            f"{shown(scales)}"
        )
    per_level = [_numbers("scales", one) for one in scales]
    if len({len(one) for one in per_level}) > 1:
        raise ValueError(
            f"scales must be as many for every level, since all share the RPN's head, but got "
            f"{shown(scales)}"
        )
    return per_level


def _check_sides(stride: float, base_size: float, ratios: Sequence, scales: Sequence) -> None:
    """Refuse anchors without an area, to which no box can be encoded."""
    base = base_boxes(stride, base_size, ratios, scales)
    sides = base[:, 2:] - base[:, :2]
    # The shape is rounded to whole pixels at the size of a cell: it may have no side left.
    if not ((sides > 0) & (sides < float("inf"))).all():
        width, height = sides[np.argmin(sides.min(axis=1))] + 1
        raise ValueError(
            "scales and ratios must make anchors wider and higher than a pixel, but at stride "
            f"{stride:g} scales {shown(tuple(scales))} and ratios {shown(tuple(ratios))} make one "
            f"of {width:g} x {height:g}"
        )
