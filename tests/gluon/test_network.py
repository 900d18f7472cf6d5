"""The networks of GluonCV's model zoo, as far as they can be built without downloading."""

import doctest

import helpers  # first: it imports rpn_target before MXNet
import mxnet as mx
import numpy as np
import pytest
from gluoncv.model_zoo import get_model
from gluoncv.model_zoo.model_zoo import _models
from helpers import make_sample

import rpn_target
from rpn_target import AnchorLattice, FasterRCNNTrainTransform, RPNTargetGenerator
from rpn_target.core import lattice as core_lattice
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
    lattice = AnchorLattice.of_network(net, 375, 500)
    assert lattice.shapes == shapes
    corners = lattice.split(lattice.corners(np.arange(len(lattice))))
    for found, generator, (rows, columns) in zip(corners, generators, shapes):
        expected = generator.anchors.value.asnumpy()[0, 0, :rows, :columns]
        np.testing.assert_array_equal(found, expected)

    kind = "Mask" if "mask" in name else "Faster"
    transform = getattr(rpn_target, f"{kind}RCNNTrainTransform")
    transform(net.short, net.max_size, net, ashape=net.ashape, multi_stage=several)
    getattr(rpn_target, f"{kind}RCNNTrainBatchify")(net)


class TestAnchorLattice:
    @pytest.mark.parametrize("fixture", ["c4_net", "fpn_net"])
    def test_is_what_the_network_computes_with(self, request, fixture):
        net = request.getfixturevalue(fixture)
        lattice = AnchorLattice.of_network(net, 90, 130)
        assert isinstance(lattice, AnchorLattice)
        assert isinstance(lattice, core_lattice.AnchorLattice)
        assert lattice.shapes == feature_map_sizes(net).shapes(90, 130)
        assert len(lattice) == sum(
            rows * columns * depth for (rows, columns), depth in zip(lattice.shapes, lattice.depths)
        )

    @pytest.mark.parametrize("fixture", ["c4_net", "fpn_net"])
    @pytest.mark.parametrize("flip", [0, 1])
    def test_generator_takes_it_as_the_transform_does(self, request, fixture, flip):
        net = request.getfixturevalue(fixture)
        image, label = make_sample(90, 120, seed=3)
        transform = FasterRCNNTrainTransform(
            80,
            200,
            net,
            multi_stage=fixture == "fpn_net",
            flip_p=flip,
            rng=np.random.RandomState(1),
        )
        image, bbox, *expected = transform(image, label)
        height, width = image.shape[1:]
        lattice = AnchorLattice.of_network(net, height, width)
        state = np.random.RandomState(1)
        state.random_sample(2)  # the flips
        block = RPNTargetGenerator(rng=state)
        for levels, array in zip(expected, block.forward(bbox[:, :4], lattice, width, height)):
            helpers.assert_same(list(levels), lattice.split(array))

    def test_arrays_and_lattices_agree(self, fpn_net):
        lattice = AnchorLattice.of_network(fpn_net, 100, 140)
        boxes = helpers.make_boxes("uniform", 5, 100, 140, lattice.corners(np.arange(9)))
        corners = lattice.corners(np.arange(len(lattice)))
        helpers.assert_same(
            *(RPNTargetGenerator(rng=3)(boxes, anchors, 140, 100) for anchors in (lattice, corners))
        )

    def test_docstring(self):
        (example,) = doctest.DocTestFinder().find(AnchorLattice.of_network, "of_network", globs={})
        assert doctest.DocTestRunner().run(example).failed == 0

    @pytest.mark.parametrize("height, width", [(0, 100), (100, -1)])
    def test_refuses_no_pixels(self, c4_net, height, width):
        with pytest.raises(ValueError, match="(height|width) must be at least 1"):
            AnchorLattice.of_network(c4_net, height, width)

    @pytest.mark.parametrize("height, width", [(90.5, 100), (100, "9"), (True, 5), (None, 5)])
    def test_refuses_what_is_no_size(self, c4_net, height, width):
        with pytest.raises(TypeError, match="(height|width) must be a whole number"):
            AnchorLattice.of_network(c4_net, height, width)

    def test_refuses_what_is_no_network(self):
        with pytest.raises(ValueError, match="net must be a Faster R-CNN network"):
            AnchorLattice.of_network(object(), 100, 100)
