"""`rpn_target.plot_targets`: what is drawn, for every form of targets."""

import subprocess
import sys

import helpers
import matplotlib
import mxnet as mx
import numpy as np
import pytest
from gluoncv.data.transforms.presets.rcnn import FasterRCNNDefaultTrainTransform
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import rpn_target

matplotlib.use("Agg")

BOXES = np.array([[20.0, 30, 90, 80, 1], [100, 10, 104, 13, 0]], np.float32)


def new_axes():
    return Figure().add_subplot()


def drawn(ax):
    """Return the corners of the positives and negatives drawn, and the texts."""
    corners = []
    for lines in [one for one in ax.collections if isinstance(one, LineCollection)]:
        points = np.array(lines.get_segments())
        corners.append(np.c_[points.min(axis=1), points.max(axis=1)])
    return corners, [text.get_text() for text in ax.texts]


@pytest.fixture
def sample():
    """Return an image, and GluonCV's targets for a flat array of anchors."""
    array, _ = helpers.both_forms("c4", 100, 150)
    image = np.full((100, 150, 3), 77, np.uint8)
    helpers.seed_all(0)
    targets = rpn_target.RPNTargetGenerator(num_sample=32)(
        mx.nd.array(BOXES[:, :4]), mx.nd.array(array), 150, 100
    )
    return image, array, targets


def test_array_of_anchors(sample):
    image, array, targets = sample
    ax = new_axes()
    assert rpn_target.plot_targets(image, BOXES, targets, ax, array, ("ant", "bee")) is ax
    (negatives, positives), texts = drawn(ax)
    np.testing.assert_array_equal(negatives, array[targets[0] == 0])
    np.testing.assert_array_equal(positives, array[targets[0] == 1])
    assert texts == ["bee", "ant (no anchor)"]
    kept = (int((targets[0] == 1).sum()), int((targets[0] == 0).sum()))
    assert ax.get_title() == f"{kept[0]} positive, {kept[1]} negative anchors kept"
    assert ax.get_xlim() == (0, 150)
    assert ax.get_ylim() == (100, 0)
    boxes = [one.get_bbox().extents for one in ax.patches if isinstance(one, Rectangle)]
    np.testing.assert_array_equal(boxes, BOXES[[0, 0, 1, 1], :4])  # each with a dark line below


def test_ndarrays_are_taken(sample):
    image, array, targets = sample
    ax = rpn_target.plot_targets(
        mx.nd.array(image), mx.nd.array(BOXES), [mx.nd.array(one) for one in targets],
        ax=new_axes(), anchors=mx.nd.array(array).expand_dims(0),
    )  # fmt: skip
    (_, positives), texts = drawn(ax)
    np.testing.assert_array_equal(positives, array[targets[0] == 1])
    assert texts == ["(no anchor)"]


@pytest.mark.parametrize("several", [False, True])
def test_what_the_transform_returns(several, request):
    net = request.getfixturevalue("fpn_resnet50" if several else "c4_resnet50")
    image = mx.nd.array(np.random.RandomState(0).randint(0, 255, (100, 150, 3)), dtype=np.uint8)
    arguments = (200, 400, net)
    ours = rpn_target.FasterRCNNTrainTransform(*arguments, multi_stage=several, flip_p=0)
    theirs = FasterRCNNDefaultTrainTransform(
        *arguments, ashape=net.ashape, multi_stage=several, flip_p=0
    )
    img, bbox, *targets = helpers.run_both(
        lambda: ours(image, BOXES), lambda: theirs(image, BOXES.astype(float))
    )
    ax = rpn_target.plot_targets(img, bbox, targets, new_axes(), net)
    shown = ax.images[0].get_array()
    assert shown.shape == (200, 300, 3)
    resized = helpers.to_numpy(mx.image.imresize(image, 300, 200, interp=1)).astype(int)
    assert np.abs(shown - resized).max() <= 1
    (negatives, positives), _ = drawn(ax)
    assert len(positives) == sum((level == 1).sum() for level in targets[0])
    assert len(negatives) == sum((level == 0).sum() for level in targets[0])
    # Each positive, decoded, is one of the objects.
    deltas = np.concatenate([level.reshape(-1, 4) for level in targets[1]])
    deltas = deltas[np.concatenate([level.ravel() for level in targets[0]]) == 1]
    size = positives[:, 2:] - positives[:, :2]
    center = positives[:, :2] + size / 2 + deltas[:, :2] * size
    half = np.exp(deltas[:, 2:]) * size / 2
    decoded = np.concatenate([center - half, center + half], axis=1)
    assert np.abs(decoded[:, None] - bbox[:, :4]).max(axis=2).min(axis=1).max() < 0.01

    # Without the network, dots at the cells.
    ax = rpn_target.plot_targets(img, bbox, targets, new_axes())
    dots = [len(one.get_offsets()) for one in ax.collections]
    assert dots == [len(negatives), len(positives)]
    centers = (positives[:, :2] + positives[:, 2:]) / 2
    assert np.abs(ax.collections[1].get_offsets() - centers).max() <= 0.5


def test_no_objects(sample):
    image, array, _ = sample
    targets = rpn_target.RPNTargetGenerator()(np.zeros((0, 4)), mx.nd.array(array), 150, 100)
    for bbox in (np.zeros((0, 4)), np.zeros((0, 6)), []):
        ax = rpn_target.plot_targets(image, bbox, targets, new_axes(), array)
        assert not ax.texts
        assert len(drawn(ax)[0]) == 1


def test_texts_stay_in_the_picture():
    from rpn_target.plot import draw_objects, draw_picture

    figure = Figure((4, 4))
    ax = figure.add_axes((0, 0, 1, 1))
    draw_picture(ax, np.zeros((200, 200, 3), np.uint8))
    boxes = np.array(
        [[5, 5, 60, 60], [90, 50, 140, 90], [150, 100, 199, 150], [140, 160, 160, 180]]
    )
    draw_objects(ax, boxes, ["a name of 20 letters"] * 4, ["#ffffff"] * 4, [False] * 4)
    FigureCanvasAgg(figure).draw()
    edges = ax.get_window_extent()
    for text in ax.texts:
        extent = text.get_window_extent()
        assert edges.x0 <= extent.x0
        assert extent.x1 <= edges.x1
    assert [text.get_ha() for text in ax.texts] == ["left", "left", "right", "right"]


def test_new_figure(sample):
    from matplotlib import pyplot as plt

    image, array, targets = sample
    before = plt.get_fignums()
    ax = rpn_target.plot_targets(image, BOXES, targets, anchors=array)
    assert plt.get_fignums() != before
    plt.close(ax.figure)


def test_arguments_are_not_changed(sample):
    image, array, targets = sample
    everything = (image, BOXES, *targets)
    copies = [one.copy() for one in everything]
    rpn_target.plot_targets(image, BOXES, targets, new_axes(), array)
    helpers.assert_same(list(everything), copies)


def test_errors(sample, c4_net, fpn_net):
    image, array, targets = sample
    ax = new_axes()
    for arguments, words in (
        ((image[0], BOXES, targets), "image must be"),
        ((image, BOXES, targets[0]), "targets must be"),
        ((image, BOXES, targets), "anchors must be given"),
        ((image, BOXES, targets, ax, array[1:]), "anchors must have shape"),
        ((image, BOXES, targets, ax, c4_net), "anchors must be an array"),
        ((image, BOXES[:, ::-1], targets, ax, array), "bbox must hold"),
        ((image, BOXES, ([targets[0]], 0, 0), ax, array), "rows, columns, A"),
        ((image, BOXES, ([np.zeros((2, 2, 1))], 0, 0), ax, fpn_net), "must fit the network"),
    ):
        with pytest.raises(ValueError, match=words):
            rpn_target.plot_targets(*arguments)


@pytest.fixture(params=[False, True], ids=["c4", "fpn"])
def transformed(request):
    """Return a network, an image before the transform, and what the transform returns."""
    net = request.getfixturevalue("fpn_resnet50" if request.param else "c4_resnet50")
    transform = rpn_target.FasterRCNNTrainTransform(
        200, 400, net, multi_stage=request.param, flip_p=0, num_sample=32
    )
    image = mx.nd.array(np.full((100, 150, 3), 90), dtype=np.uint8)
    helpers.seed_all(0)
    return net, image, transform(image, BOXES)


def test_lattice(transformed):
    net, _, (img, bbox, *targets) = transformed
    lattice = rpn_target.AnchorLattice.of_network(net, 200, 300)
    by_net, by_lattice = (
        drawn(rpn_target.plot_targets(img, bbox, targets, new_axes(), anchors))
        for anchors in (net, lattice)
    )
    helpers.assert_same(by_lattice[0], by_net[0])
    assert by_lattice[1] == by_net[1]
    flat = [np.concatenate([one.ravel() for one in level]) for level in targets]
    helpers.assert_same(
        drawn(rpn_target.plot_targets(img, bbox, flat, new_axes(), lattice))[0], by_net[0]
    )
    other = rpn_target.AnchorLattice.of_network(net, 200, 308)
    with pytest.raises(ValueError, match="must fit the lattice, with .* anchors at cells"):
        rpn_target.plot_targets(img, bbox, flat, new_axes(), other)


def test_row_of_a_batch(transformed):
    net, image, sample = transformed
    smaller = mx.nd.array(np.full((100, 120, 3), 90), dtype=np.uint8)
    transform = rpn_target.FasterRCNNTrainTransform(
        200, 400, net, multi_stage=len(sample[2]) > 1, flip_p=0, num_sample=32
    )
    helpers.seed_all(1)
    other = transform(smaller, np.array([[10.0, 20, 60, 90, 1]], np.float32))
    images, labels, *targets = rpn_target.FasterRCNNTrainBatchify(net)([sample, other])
    targets = [shards[0] for shards in targets]  # of the first device
    names = ("ant", "bee")
    for row, (img, bbox, *alone) in enumerate((sample, other)):
        ax = rpn_target.plot_targets(
            images[row], labels[row], [one[row] for one in targets], new_axes(), net, names
        )
        (_, positives), texts = drawn(ax)
        _, expected = drawn(rpn_target.plot_targets(img, bbox, alone, new_axes(), net, names))
        assert texts == expected  # the padding of the second label has none
        assert len(positives) == sum((level == 1).sum() for level in alone[0])
    for bad, words in (
        ((images[0], labels, targets), "bbox must have shape"),
        ((images[0], labels[0], targets), "take one row of each array of a batch"),
        ((img, bbox, [one[1] for one in targets]), "which is 240 x 200 and has"),
    ):
        with pytest.raises(ValueError, match=words):
            rpn_target.plot_targets(*bad, new_axes(), net)


def test_targets_of_an_image_of_another_size(transformed):
    net, image, (_, bbox, *targets) = transformed
    for anchors, words in (
        (net, r"150 x 100 and so has feature maps of .*, but theirs are \[\("),
        (rpn_target.AnchorLattice.of_network(net, 200, 300), "150 x 100, but .* about 3"),
    ):
        with pytest.raises(ValueError, match=words):
            rpn_target.plot_targets(image, BOXES, targets, new_axes(), anchors)
    narrow = np.zeros((100, 400, 3), np.uint8)
    with pytest.raises(ValueError, match="400 x 100, but"):
        rpn_target.plot_targets(narrow, BOXES, targets, new_axes())


@pytest.mark.parametrize("number", [2, -2, np.nan])
def test_class_without_a_name(number, sample):
    image, array, targets = sample
    label = np.r_[BOXES, [[5, 5, 20, 20, number]]]
    with pytest.raises(ValueError, match="there are 2, and bbox has class"):
        rpn_target.plot_targets(image, label, targets, new_axes(), array, ("ant", "bee"))


@pytest.mark.parametrize("columns", [4, 5, 6])
def test_padding_is_not_drawn(columns, sample):
    image, array, targets = sample
    label = np.full((4, columns), -1.0)
    label[:2, :5] = BOXES[:, :columns][:, :5]
    ax = rpn_target.plot_targets(image, label, targets, new_axes(), array, ("ant", "bee"))
    expected = rpn_target.plot_targets(image, label[:2], targets, new_axes(), array, ("ant", "bee"))
    assert drawn(ax)[1] == drawn(expected)[1]
    assert len(ax.patches) == len(expected.patches) == 4


def test_padding_is_told_by_its_class_too(sample):
    image, array, targets = sample
    label = np.r_[BOXES, [[0, 0, 0, 0, -1]]]
    ax = rpn_target.plot_targets(image, label, targets, new_axes(), array, ("ant", "bee"))
    assert len(ax.patches) == 4


@pytest.mark.slow
def test_importing_the_package_does_not_import_matplotlib():
    code = (
        "import gluoncv, sys; before = 'matplotlib' in sys.modules; import rpn_target;"
        "assert rpn_target.plot_targets and 'rpn_target.report' not in sys.modules;"
        "sys.exit('matplotlib' in sys.modules and not before)"
    )
    code = f"import warnings; warnings.simplefilter('ignore'); import rpn_target; {code}"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
