"""Feature-map sizes by arithmetic, against what the networks infer."""

from types import SimpleNamespace

import helpers
import mxnet as mx
import numpy as np
import pytest
from mxnet.gluon import nn

from rpn_target.core.feature_maps import FeatureMapSizes, fit_feature_maps
from rpn_target.gluon.network import anchor_levels, feature_map_sizes

NETS = pytest.mark.parametrize("fixture", ["c4_net", "fpn_net", "c4_resnet50", "fpn_resnet50"])


def infer_function(net):
    """Return a function from the size of an image to the sizes of the feature maps."""
    features = net.features(mx.sym.var("data"))
    group = mx.sym.Group(features if isinstance(features, (list, tuple)) else [features])

    def infer(height, width):
        return [shape[2:] for shape in group.infer_shape(data=(1, 3, height, width))[1]]

    return infer


def network(*layers):
    """Return what is looked at of a Faster R-CNN network with one feature map."""
    features = nn.HybridSequential()
    features.add(*layers)
    return SimpleNamespace(features=features, rpn=None)


class TestNetworks:
    @NETS
    def test_strides_and_offsets(self, request, fixture):
        sizes = feature_map_sizes(request.getfixturevalue(fixture))
        expected = (4, 8, 16, 32, 64) if "fpn" in fixture else (16,)
        assert sizes.strides == expected
        assert sizes.offsets == tuple(stride - 1 for stride in expected)  # rounded up

    @NETS
    def test_many_sizes(self, request, fixture):
        net = request.getfixturevalue(fixture)
        sizes, infer = feature_map_sizes(net), infer_function(net)
        rng = np.random.RandomState(0)
        cases = [(side, side) for side in (1, 2, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65, 600, 800)]
        cases += [(800, 1333), (1333, 800), (16, 1333), (480, 640)]
        cases += rng.randint(1, 1400, (60, 2)).tolist()
        for height, width in cases:
            assert list(sizes.shapes(height, width)) == infer(height, width)

    @pytest.mark.parametrize("fixture", ["c4_net", "fpn_net"])
    def test_every_side(self, request, fixture):
        net = request.getfixturevalue(fixture)
        sizes, infer = feature_map_sizes(net), infer_function(net)
        for side in range(1, 200):
            assert list(sizes.shapes(side, side + 57)) == infer(side, side + 57)

    @pytest.mark.parametrize(
        "kernel, stride, padding",
        [(1, 1, 0), (3, 1, 0), (3, 2, 0), (3, 2, 1), (7, 2, 3), (2, 2, 0), (4, 4, 0), (5, 8, 9),
         (3, 3, 0), (7, 5, 2), (7, 7, 3), (5, 6, 2)],
    )  # fmt: skip
    def test_any_padding(self, kernel, stride, padding):
        net = network(
            nn.Conv2D(2, kernel, stride, padding), nn.MaxPool2D(3, 2), nn.Conv2D(2, kernel, 1)
        )
        sizes, infer = feature_map_sizes(net), infer_function(net)
        for side in range(100, 300):
            assert list(sizes.shapes(side, side + 9)) == infer(side, side + 9)

    def test_pooling_that_rounds_up(self):
        net = network(nn.Conv2D(2, 3, 2), nn.MaxPool2D(3, 2, ceil_mode=True))
        sizes, infer = feature_map_sizes(net), infer_function(net)
        for side in range(100, 200):
            assert list(sizes.shapes(side, side)) == infer(side, side)


class TestFit:
    @pytest.mark.parametrize(
        "stride", [1, 2, 3, 4, 5, 7, 8, 12, 16, 24, 31, 32, 33, 48, 63, 64, 65, 96, 127, 128]
    )
    def test_finds_what_is_there(self, stride):
        for offset in (0, 1, stride // 2, stride - 1, stride, -1, -stride, -3 * stride - 1):
            expected = FeatureMapSizes((offset, 0), (stride, 2))
            found = fit_feature_maps(lambda h, w: list(expected.shapes(h, w)))  # noqa: B023
            assert found == expected

    def test_asks_few_questions(self):
        """Each question costs milliseconds."""
        asked = []

        def infer(height, width):
            asked.append((height, width))
            return [((height + 63) // 64, (width + 63) // 64)]

        fit_feature_maps(infer)
        assert len(asked) < 20

    def test_worked_example(self):
        sizes = FeatureMapSizes((3, 63), (4, 64))
        assert sizes.shapes(16, 65) == ((4, 17), (1, 2))
        assert sizes.shapes(800, 1333) == ((200, 334), (13, 21))


class TestRefusals:
    @pytest.mark.parametrize(
        "net, message",
        [
            (object(), "but object has no `features`"),
            (SimpleNamespace(features=None), "but SimpleNamespace has no `rpn`"),  # such as SSD
        ],
    )
    def test_other_networks(self, net, message):
        for read in (feature_map_sizes, lambda net: anchor_levels(net, False)):
            with pytest.raises(ValueError, match=f"net must be a Faster R-CNN network, {message}"):
                read(net)

    @pytest.mark.parametrize(
        "infer, message",
        [
            (lambda h, w: [(7, 7)], "level 0 of net must grow .* 1048576 more pixels give 0 more"),
            (
                lambda h, w: [(h // 4, w // 4), (3 * h // 10, 3 * w // 10)],
                "level 1 of net must grow by one",
            ),
            (lambda h, w: [(2 * h, 2 * w)], "1048576 more pixels give 2097152 more cells"),
            (lambda h, w: [(h // 4, w // 8)], r"an image of 800 x 1216 has \(\(200, 152\),\)"),
            (lambda h, w: [(max(h // 4, 40), w // 4)], "an image of 128 x 128 has"),
            (lambda h, w: [(min(h, w) // 4,) * 2], "an image of 800 x 1216 has"),
            (lambda h, w: [(h // 16 * 2, w // 16 * 2)], "must have .* cells with whole numbers"),
        ],
    )
    def test_other_arithmetic(self, infer, message):
        with pytest.raises(ValueError, match=message):
            fit_feature_maps(infer, "net")

    def test_a_network_of_fixed_size(self):
        net = network(nn.Conv2D(2, 3, 2), nn.GlobalAvgPool2D())
        with pytest.raises(ValueError, match="level 0 of SimpleNamespace must grow"):
            feature_map_sizes(net)

    def test_a_network_for_large_images_only(self):
        net = network(nn.Conv2D(2, 200, 2))
        with pytest.raises(ValueError, match="net must take images of 769 x 130, but SimpleNam"):
            feature_map_sizes(net)

    def test_wrong_multi_stage(self, c4_net, fpn_net):
        with pytest.raises(ValueError, match="multi_stage must be True .* but got False"):
            anchor_levels(fpn_net, False)
        with pytest.raises(ValueError, match="multi_stage must be False .* but got True"):
            anchor_levels(c4_net, True)

    @pytest.mark.parametrize("change", ["scale", "one", "order", "single"])
    def test_anchors_that_are_no_lattice(self, change):
        anchors = helpers.gluoncv_anchors(((16, 16, (1, 2), (4,)),), ((5, 6),))
        anchors = anchors.reshape(1, 1, 5, 6, 8).copy()
        if change == "scale":
            anchors[:, :, :, 3:] *= 1.5
        elif change == "one":
            anchors[0, 0, 2, 3, 1] += 1
        elif change == "order":
            anchors = anchors[:, :, ::-1]
        else:
            anchors = anchors[:, :, :1, :1]

        parameter = SimpleNamespace(name="anchor_", list_data=lambda: [mx.nd.array(anchors)])
        generator = SimpleNamespace(anchors=parameter)
        net = SimpleNamespace(features=None, rpn=SimpleNamespace(anchor_generator=generator))
        with pytest.raises(ValueError, match="anchors of anchor_ must be a lattice"):
            anchor_levels(net, False)


class TestAnchorLevels:
    @NETS
    def test_equal_those_of_the_network(self, request, fixture):
        net = request.getfixturevalue(fixture)
        generator = net.rpn.anchor_generator
        levels = anchor_levels(net, "fpn" in fixture)
        for level, one in zip(levels, generator if "fpn" in fixture else [generator]):
            expected = one.anchors.data().asnumpy()[0, 0]  # (H, W, 4A)
            height, width = expected.shape[:2]
            x, y = level.tables(height, width)
            expected = expected.reshape(height, width, -1, 2, 2)  # corner, axis
            for row, column in ((0, 0), (height - 1, width - 1), (3, 5)):
                np.testing.assert_array_equal(x[:, column], expected[row, column, ..., 0])
                np.testing.assert_array_equal(y[:, row], expected[row, column, ..., 1])

    @NETS
    def test_beyond_what_the_network_allocates(self, request, fixture):
        """The lattice goes on, as if more had been allocated."""
        net = request.getfixturevalue(fixture)
        for level in anchor_levels(net, "fpn" in fixture):
            height, width = (side.shape[1] for side in level.tables(0, 0)[::-1])
            x, y = level.tables(height + 900, width + 900)
            for table, base in ((x, level.base[:, 0::2]), (y, level.base[:, 1::2])):
                shifts = level.stride * np.arange(table.shape[1])[:, None]
                np.testing.assert_array_equal(table, (base[:, None] + shifts).astype(np.float32))
