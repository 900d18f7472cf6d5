"""The networks of GluonCV's model zoo, as far as they can be built without downloading."""

import helpers  # noqa: F401  first: it imports rpn_target before MXNet
import mxnet as mx
import numpy as np
import pytest
from gluoncv.model_zoo import get_model
from gluoncv.model_zoo.model_zoo import _models

import rpn_target
from rpn_target.core.lattice import AnchorLattice
from rpn_target.gluon.network import anchor_levels, feature_map_sizes

NETWORKS = sorted(name for name in _models if "rcnn" in name)
SIZES = [(600, 800), (800, 1333), (480, 480), (375, 500), (97, 1001), (64, 33), (1024, 768)]


def build(name):
    arguments = {"classes": ["thing"]} if "custom" in name else {}
    if name.startswith("custom"):
        arguments.update(
            min_stage=2, max_stage=6, strides=(4, 8, 16, 32, 64), scales=(2, 4, 8, 16, 32)
        )
    if "syncbn" in name:
        arguments["num_devices"] = 1
    return get_model(name, pretrained=False, pretrained_base=False, **arguments)


def test_there_are_networks():
    assert len(NETWORKS) > 20


@pytest.mark.parametrize("name", NETWORKS)
def test_feature_maps_and_anchors(name):
    net = build(name)
    several = net.num_stages > 1
    sizes = feature_map_sizes(net)
    symbols = net.features(mx.sym.var("data"))
    symbols = symbols if isinstance(symbols, list) else [symbols]
    for height, width in SIZES:
        expected = tuple(
            symbol.infer_shape(data=(1, 3, height, width))[1][0][2:] for symbol in symbols
        )
        assert sizes.shapes(height, width) == expected, (height, width)

    levels = anchor_levels(net, several)
    assert len(levels) == len(symbols) == (5 if several else 1)
    generators = net.rpn.anchor_generator if several else [net.rpn.anchor_generator]
    shapes = sizes.shapes(375, 500)
    lattice = AnchorLattice(levels, shapes)
    corners = lattice.split(lattice.corners(np.arange(len(lattice))))
    for found, generator, (rows, columns) in zip(corners, generators, shapes):
        expected = generator.anchors.value.asnumpy()[0, 0, :rows, :columns]
        np.testing.assert_array_equal(found, expected)

    kind = "Mask" if "mask" in name else "Faster"
    transform = getattr(rpn_target, f"{kind}RCNNTrainTransform")
    transform(net.short, net.max_size, net, ashape=net.ashape, multi_stage=several)
    getattr(rpn_target, f"{kind}RCNNTrainBatchify")(net)
