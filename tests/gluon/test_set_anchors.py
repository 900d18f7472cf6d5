"""`set_anchors`: the network is then the one that GluonCV builds with these anchors."""

import helpers
import mxnet as mx
import numpy as np
import pytest
from gluoncv.data.transforms.presets import rcnn as gluoncv_rcnn
from gluoncv.model_zoo.rcnn.faster_rcnn.faster_rcnn import FasterRCNN, custom_faster_rcnn_fpn
from gluoncv.model_zoo.rcnn.mask_rcnn.mask_rcnn import MaskRCNN, custom_mask_rcnn_fpn
from gluoncv.model_zoo.resnetv1b import resnet18_v1b
from mxnet import autograd, gluon
from mxnet.gluon import nn

import rpn_target
from rpn_target.gluon.network import anchor_levels

CLASSES = ("thing", "other thing")
COMMON = dict(
    short=64, max_size=96, rpn_channel=8, clip=4.42, rpn_train_pre_nms=60, rpn_train_post_nms=20,
    rpn_test_pre_nms=60, rpn_test_post_nms=10, num_sample=8, rpn_min_size=1, roi_mode="pool",
    post_nms=5,
)  # fmt: skip
MASK = dict(mask_channels=4, rcnn_max_dets=5)
PYRAMID = dict(
    pretrained_base=False, num_fpn_filters=8, num_box_head_conv=0, num_box_head_dense_filters=8,
    min_stage=2, max_stage=6, strides=(4, 8, 16, 32, 64), alloc_size=(64, 64), roi_size=(7, 7),
)  # fmt: skip


def build_c4(kind=FasterRCNN, **options):
    backbone = resnet18_v1b()
    features, top_features = nn.HybridSequential(), nn.HybridSequential()
    features.add(backbone.conv1, backbone.bn1, backbone.relu, backbone.maxpool)
    features.add(backbone.layer1, backbone.layer2, backbone.layer3)
    top_features.add(backbone.layer4)
    return kind(
        features, top_features, CLASSES, strides=16, alloc_size=(24, 24), roi_size=(4, 4),
        **COMMON, **options,
    )  # fmt: skip


BUILD = {
    "c4": build_c4,
    "fpn": lambda **options: custom_faster_rcnn_fpn(CLASSES, **PYRAMID, **COMMON, **options),
    "mask c4": lambda **options: build_c4(MaskRCNN, **MASK, **options),
    "mask fpn": lambda **options: custom_mask_rcnn_fpn(
        CLASSES, target_roi_scale=2, **MASK, **PYRAMID, **COMMON, **options
    ),
}
DEFAULT = {
    "c4": dict(scales=(1, 2, 4), ratios=(0.5, 1, 2), base_size=8),
    "fpn": dict(scales=(1, 2, 4, 8, 16), ratios=(0.5, 1, 2), base_size=8),
}
SAME = {
    "c4": dict(scales=(1.3, 2.5, 3), ratios=(0.2, 1, 4.5), base_size=16),
    "fpn": dict(scales=(1.3, 2.5, 3, 7, 11), ratios=(0.3, 1, 4.5), base_size=16),
}
OTHER = {
    "c4": dict(scales=(1, 2, 4), ratios=(0.25, 0.5, 1, 2, 4), base_size=10.5),
    "fpn": dict(scales=((1, 1.5), (2, 3), (4, 6), (8, 12), (16, 24)), ratios=(0.5, 2), base_size=4),
}


def build(name, anchors):
    """Build a network without weights; two have the same parameter names."""
    with mx.name.NameManager():
        return BUILD[name](**anchors)


def initialized(name, anchors, seed=0, contexts=None):
    net = build(name, anchors)
    mx.random.seed(seed)
    net.initialize(mx.init.Normal(0.1), ctx=contexts or [mx.cpu()])
    image = mx.nd.random.uniform(0, 1, (1, 3, 64, 80))
    for context in contexts or [mx.cpu()]:
        net(image.as_in_context(context))  # all shapes are known afterwards
    mx.nd.waitall()  # MXNet may misread a weight that a convolution uses at that time
    return net


def ready_to_train(net):
    """Make what GluonCV makes when it is first asked for; its constants are saved, too."""
    assert net.target_generator is not None
    return net


def flat(output):
    return [flat(one) if isinstance(one, (list, tuple)) else one.asnumpy() for one in output]


def predict(net, context=None):
    mx.random.seed(5)
    image = mx.nd.random.uniform(0, 1, (1, 3, 64, 80)).as_in_context(context or mx.cpu())
    return flat(net(image))


def train_forward(net):
    """Return what the network computes in a training step, and the gradients."""
    mx.random.seed(6)
    image = mx.nd.random.uniform(0, 1, (1, 3, 64, 80))
    box, label = mx.nd.array([[[4, 8, 40, 60], [30, 10, 70, 30]]]), mx.nd.array([[[0], [1]]])
    mx.random.seed(7)
    np.random.seed(7)
    with autograd.record():
        output = net(image, box, label)
        loss = sum((one * one).sum() for one in output if isinstance(one, mx.nd.NDArray))
    loss.backward()
    gradients = [
        one.grad().asnumpy() for one in net.collect_params().values() if one.grad_req != "null"
    ]
    return flat(output), gradients


def kind_of(name):
    return name.split()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("other", (SAME, OTHER), ids=("same number", "other number"))
@pytest.mark.parametrize("name", BUILD)
def test_equal_to_a_network_built_with_these_anchors(name, other, tmp_path):
    anchors = other[kind_of(name)]
    net = initialized(name, DEFAULT[kind_of(name)])
    before = {key: one.data().asnumpy() for key, one in net.collect_params().items()}
    renewed = rpn_target.set_anchors(net, **anchors)
    expected = initialized(name, anchors, seed=1)

    parameters, same = net.collect_params(), expected.collect_params()
    assert list(parameters) == list(same)
    assert list(net._collect_params_with_prefix()) == list(expected._collect_params_with_prefix())
    assert str(net) == str(expected)
    for key, one in parameters.items():
        twin = same[key]
        assert (one.shape, one.dtype, one.grad_req) == (twin.shape, twin.dtype, twin.grad_req)
        assert type(one) is type(twin)
        if key.endswith("anchor_"):
            np.testing.assert_array_equal(one.data().asnumpy(), twin.data().asnumpy())
            np.testing.assert_array_equal(one.value.asnumpy(), twin.value.asnumpy())
        elif key not in renewed:
            np.testing.assert_array_equal(one.data().asnumpy(), before[key])
    if other is SAME:
        assert renewed == ()
    else:
        ends = ("score.weight", "score.bias", "loc.weight", "loc.bias")
        found = [
            key for key, one in net._collect_params_with_prefix().items() if one.name in renewed
        ]
        assert [key.split("rpn.")[1].replace("rpn_head.", "") for key in found] == list(ends)

    net.save_parameters(str(tmp_path / "net.params"))
    expected.load_parameters(str(tmp_path / "net.params"))
    helpers.assert_same(predict(net), predict(expected))
    helpers.assert_same(train_forward(net), train_forward(expected))


@pytest.mark.parametrize("name", ("c4", "fpn"))
def test_new_weights_are_drawn_as_by_gluoncv(name):
    net = initialized(name, DEFAULT[name])
    mx.random.seed(3)
    rpn_target.set_anchors(net, **OTHER[name])
    head = net.rpn.rpn_head if name == "fpn" else net.rpn
    for convolution in (head.score, head.loc):
        weight = convolution.weight.data().asnumpy()
        assert 0.005 < weight.std() < 0.02 and abs(weight).max() < 0.06
        assert not convolution.bias.data().asnumpy().any()


@pytest.mark.parametrize("other", (SAME, OTHER), ids=("same number", "other number"))
@pytest.mark.parametrize("name", ("c4", "mask fpn"))
def test_before_the_network_is_initialized(name, other):
    net = build(name, DEFAULT[kind_of(name)])
    assert bool(rpn_target.set_anchors(net, **other[kind_of(name)])) == (other is OTHER)
    expected = build(name, other[kind_of(name)])
    for one in (net, expected):
        mx.random.seed(2)
        one.initialize(mx.init.Normal(0.1))
    helpers.assert_same(predict(net), predict(expected))
    assert list(net.collect_params()) == list(expected.collect_params())


@pytest.mark.parametrize("name", ("c4", "fpn"))
def test_between_initialization_and_the_first_image(name):
    """Shapes are not known yet: the new convolutions wait for them as the old ones did."""
    net = build(name, DEFAULT[name])
    net.initialize(mx.init.Normal(0.1))
    rpn_target.set_anchors(net, **OTHER[name])
    predict(net)
    depth = anchor_levels(net, name == "fpn")[0].anchors_per_cell
    head = net.rpn.rpn_head if name == "fpn" else net.rpn
    assert (head.score.weight.shape[0], head.loc.weight.shape[0]) == (depth, 4 * depth)
    assert head.score.weight.shape[1] == 8


# GluonCV keeps what it trains with out of the graph of a prediction.
@pytest.mark.filterwarnings("ignore:Parameter .* is not used by any computation:UserWarning")
@pytest.mark.slow
@pytest.mark.parametrize("other", (SAME, OTHER), ids=("same number", "other number"))
@pytest.mark.parametrize("name", ("c4", "fpn"))
def test_hybridized_before_and_after(name, other, tmp_path):
    net = ready_to_train(initialized(name, DEFAULT[name]))
    net.hybridize(static_alloc=True)
    train_forward(net)
    rpn_target.set_anchors(net, **other[name])
    expected = ready_to_train(initialized(name, other[name], seed=1))
    net.save_parameters(str(tmp_path / "net.params"))
    expected.load_parameters(str(tmp_path / "net.params"))
    expected.hybridize(static_alloc=True)
    helpers.assert_same(train_forward(net), train_forward(expected))

    net.save_parameters(str(tmp_path / "net.params"))  # with moving averages of the step
    for one in (net, expected):
        one.hybridize()  # GluonCV's graph for training is another
    helpers.assert_same(predict(net), predict(expected))
    for anchors in (DEFAULT[name], other[name]):
        rpn_target.set_anchors(net, **anchors)
        predict(net)
    net.load_parameters(str(tmp_path / "net.params"))
    helpers.assert_same(predict(net), predict(expected))
    net.export(str(tmp_path / "exported"))
    loaded = gluon.SymbolBlock.imports(
        str(tmp_path / "exported-symbol.json"), ["data"], str(tmp_path / "exported-0000.params")
    )
    helpers.assert_same(predict(loaded), predict(net))


@pytest.mark.slow
@pytest.mark.parametrize("other", (SAME, OTHER), ids=("same number", "other number"))
@pytest.mark.parametrize("name", ("c4", "fpn"))
def test_training_step_and_round_trip_of_parameters(name, other, tmp_path):
    net = ready_to_train(initialized(name, DEFAULT[name]))
    renewed = rpn_target.set_anchors(net, **other[name])
    trainer = gluon.Trainer(net.collect_train_params(), "sgd", {"learning_rate": 1e-4})
    head = net.rpn.rpn_head if name == "fpn" else net.rpn
    before = head.score.weight.data().asnumpy()
    train_forward(net)
    trainer.step(1)
    assert np.isfinite(head.score.weight.data().asnumpy()).all()
    assert (head.score.weight.data().asnumpy() != before).any()

    path = str(tmp_path / "net.params")
    net.save_parameters(path)
    twin = ready_to_train(initialized(name, DEFAULT[name], seed=4))
    assert rpn_target.set_anchors(twin, **other[name]) == renewed
    twin.load_parameters(path)
    helpers.assert_same(predict(twin), predict(net))


@pytest.mark.parametrize("name", ("c4", "fpn"))
def test_reset_class_before_and_after(name):
    net = initialized(name, DEFAULT[name])
    net.reset_class(["one", "two", "three"])
    rpn_target.set_anchors(net, **OTHER[name])
    assert predict(net)[0].max() <= 2
    net.reset_class(["only"])  # GluonCV allows it before the first training step only
    predict(net)
    train_forward(net)


def test_several_devices():
    contexts = [mx.cpu(0), mx.cpu(1)]
    net = initialized("c4", DEFAULT["c4"], contexts=contexts)
    rpn_target.set_anchors(net, **OTHER["c4"])
    for one in net.collect_params().values():
        assert one.list_ctx() == contexts
    helpers.assert_same(predict(net, mx.cpu(0)), predict(net, mx.cpu(1)))


def test_state_of_the_old_parameters_is_kept():
    net = initialized("c4", DEFAULT["c4"])
    net.rpn.score.weight.lr_mult, net.rpn.score.bias.wd_mult = 0.5, 0.0
    net.rpn.loc.collect_params().setattr("grad_req", "null")
    net.rpn.score.cast("float64")
    rpn_target.set_anchors(net, **OTHER["c4"])
    assert (net.rpn.score.weight.lr_mult, net.rpn.score.bias.wd_mult) == (0.5, 0.0)
    assert {one.grad_req for one in net.rpn.loc.collect_params().values()} == {"null"}
    assert net.rpn.score.weight.data().dtype == np.float64


def test_within_the_name_scope_of_another_block():
    net, expected = build("fpn", DEFAULT["fpn"]), build("fpn", OTHER["fpn"])
    with nn.HybridSequential().name_scope():
        rpn_target.set_anchors(net, **OTHER["fpn"])
    assert list(net.collect_params()) == list(expected.collect_params())


def test_twice_and_back():
    net = initialized("fpn", DEFAULT["fpn"])
    before = predict(net)
    rpn_target.set_anchors(net, **SAME["fpn"])
    assert rpn_target.set_anchors(net, **DEFAULT["fpn"]) == ()
    helpers.assert_same(predict(net), before)


@pytest.mark.slow
@pytest.mark.parametrize("name", ("c4", "fpn"))
@pytest.mark.parametrize("other", (SAME, OTHER), ids=("same number", "other number"))
def test_transforms_see_the_new_anchors(name, other):
    net = initialized(name, DEFAULT[name])
    rpn_target.set_anchors(net, **other[name])
    expected = initialized(name, other[name])
    image, label = helpers.make_sample(64, 80)
    options = dict(ashape=net.ashape, multi_stage=name == "fpn")
    theirs = gluoncv_rcnn.FasterRCNNDefaultTrainTransform
    ours = rpn_target.FasterRCNNTrainTransform
    results = []
    for make in (ours, theirs):
        for one in (net, expected):
            transform = make(64, 96, one, **options)
            helpers.seed_all(0)
            results.append(transform(image, label))
    for result in results[1:]:
        helpers.assert_same(result, results[0])
    batch = rpn_target.FasterRCNNTrainBatchify(net)([results[0], results[0]])
    theirs = [np.ravel(level) for level in results[0][2]]
    np.testing.assert_array_equal(batch[2][0][0].asnumpy(), np.concatenate(theirs))


@pytest.mark.parametrize("scales", (2, [2], np.array([2.0])))
@pytest.mark.parametrize("ratios", (1, (1,), np.array([1])))
def test_numbers_may_come_alone_or_as_arrays(scales, ratios):
    net = build("c4", DEFAULT["c4"])
    rpn_target.set_anchors(net, scales, ratios, np.float64(8))
    levels = anchor_levels(net, False)
    np.testing.assert_array_equal(levels[0].base, [[0, 0, 15, 15]])


SCALES = (1, 2, 3, 4, 5)
REFUSED = {
    "no scale": ("c4", dict(scales=(), ratios=1), ValueError, "scales must hold at least one"),
    "no ratio": ("c4", dict(scales=1, ratios=[]), ValueError, "ratios must hold at least one"),
    "zero": ("c4", dict(scales=(1, 0), ratios=1), ValueError, "scales must be finite and above 0"),
    "negative": ("c4", dict(scales=1, ratios=(-1,)), ValueError, "ratios must be finite and above"),
    "nan": ("c4", dict(scales=float("nan"), ratios=1), ValueError, "scales must be finite"),
    "infinite": ("c4", dict(scales=1, ratios=1, base_size=float("inf")), ValueError, "base_size"),
    "text": ("c4", dict(scales="12", ratios=1), TypeError, "scales must be a real number"),
    "bool": ("c4", dict(scales=1, ratios=True), TypeError, "ratios must be a real number"),
    "nested": ("c4", dict(scales=((1,), (2,)), ratios=1), TypeError, "scales must be a real"),
    "too few": ("fpn", dict(scales=(1, 2), ratios=1), ValueError, "one entry per level, 5 for"),
    "one": ("fpn", dict(scales=1, ratios=1), ValueError, "one entry per level, 5 for"),
    "uneven": (
        "fpn", dict(scales=(1, 2, 3, 4, (5, 6)), ratios=1), ValueError, "as many for every level"
    ),
    "thin": ("fpn", dict(scales=SCALES, ratios=(1, 100)), ValueError, "wider and higher than a"),
    "tiny": ("c4", dict(scales=0.05, ratios=1), ValueError, "wider and higher than a pixel"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_bad_values_are_refused_before_any_change(case):
    name, arguments, error, message = REFUSED[case]
    net = build(name, DEFAULT[name])
    net.rpn.anchor_generator.initialize()
    before = {key: id(one) for key, one in net.collect_params().items()}
    children = [id(block) for block in net.rpn._children.values()]
    with pytest.raises(error, match=message):
        rpn_target.set_anchors(net, **arguments)
    assert {key: id(one) for key, one in net.collect_params().items()} == before
    assert [id(block) for block in net.rpn._children.values()] == children


@pytest.mark.parametrize("net", (None, nn.Dense(2), "faster_rcnn"), ids=repr)
def test_other_objects_are_refused(net):
    with pytest.raises(ValueError, match="net must be a Faster or Mask R-CNN network"):
        rpn_target.set_anchors(net, scales=1, ratios=1)
