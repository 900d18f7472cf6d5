"""Classes that extend GluonCV's, and samplers and generators of a user's own, take effect."""

from __future__ import annotations

import pickle

import helpers
import mxnet as mx
import numpy as np
import pytest
from gluoncv.data.transforms.presets import rcnn
from gluoncv.model_zoo.rcnn.rpn import rpn_target as rpn
from helpers import make_sample

import rpn_target
from rpn_target import FasterRCNNTrainTransform, MaskRCNNTrainTransform, RPNTargetGenerator

KINDS = {
    "Faster": (FasterRCNNTrainTransform, rcnn.FasterRCNNDefaultTrainTransform),
    "Mask": (MaskRCNNTrainTransform, rcnn.MaskRCNNDefaultTrainTransform),
}
each_kind = pytest.mark.parametrize("kind", KINDS)
each_net = pytest.mark.parametrize("name", ["c4_net", "fpn_net"])
TheirSampler, TheirGenerator = rpn.RPNTargetSampler, rpn.RPNTargetGenerator


@pytest.fixture
def net(request, name):
    return request.getfixturevalue(name)


def make(kind, net, **options):
    if net is not None:
        options.update(ashape=net.ashape, multi_stage=net.num_stages > 1)
    return kind(100, 200, net, **options)


def sample_of(kind, seed=0):
    image, label = make_sample(90, 130, 5, seed)
    if kind == "Faster":
        return image, label
    pytest.importorskip("pycocotools")
    return image, label, [[np.array([[1.0, 1], [60, 2], [40, 70]])]] * 5


class KeepAll(TheirSampler):
    """A sampler without any quota."""

    def __init__(self, num_sample, pos_iou_thresh, neg_iou_thresh, pos_ratio):
        # GluonCV's constructor looks its own name up in the module, where this class may be.
        self._num_sample = self._max_pos = 10**9
        self._pos_iou_thresh, self._neg_iou_thresh = pos_iou_thresh, neg_iou_thresh
        self._eps = np.spacing(np.float32(1))


class Fewest:
    """A sampler by itself: the best anchor of each box, and one other drawn by chance."""

    def __init__(self, num_sample, pos_iou_thresh, neg_iou_thresh, pos_ratio):
        self.quota = num_sample

    def __call__(self, ious):
        samples = np.zeros(len(ious), np.float32)
        samples[np.random.choice(np.flatnonzero(ious.max(axis=1) >= 0), 1)] = -1
        samples[ious.argmax(axis=0)] = 1
        return samples, ious.argmax(axis=1)


class Generator(TheirGenerator):
    """A generator that halves the targets of GluonCV's."""

    def forward(self, bbox, anchor, width, height):
        cls_target, box_target, box_mask = super().forward(bbox, anchor, width, height)
        return cls_target, box_target / 2, box_mask


class Wrapper:
    """A generator by itself, around one that was made before."""

    made = TheirGenerator(16)

    def __init__(self, **settings):
        self.settings = settings

    def __call__(self, bbox, anchor, width, height):
        cls_target, box_target, box_mask = self.made(bbox, anchor, width, height)
        return cls_target, box_target * self.settings["num_sample"], box_mask


class TestMethodsOfGluonCV:
    @each_kind
    @each_net
    @pytest.mark.parametrize("short", [100, (80, 110)])
    def test_bound_to_our_transform(self, net, kind, short):
        """What they read is made then, not before, and stays out of pickles."""
        ours, theirs = (make(cls, net, num_sample=32) for cls in KINDS[kind])
        ours._short = theirs._short = short
        ours._random_resize = theirs._random_resize = isinstance(short, tuple)
        before = pickle.dumps(ours)
        sample = sample_of(kind)
        call = KINDS[kind][1].__call__
        for seed in range(3):
            helpers.seed_all(seed)
            found = call(ours, *sample)
            helpers.run_both(lambda: ours(*sample), lambda: theirs(*sample), seed)
            helpers.seed_all(seed)
            helpers.assert_same(found, theirs(*sample))
        assert len(pickle.dumps(ours)) < len(before) + 200
        again = pickle.loads(pickle.dumps(ours))
        helpers.seed_all(2)
        helpers.assert_same(call(again, *sample), found)

    @each_net
    def test_nothing_is_made_before(self, net):
        ours = make(FasterRCNNTrainTransform, net)
        ours(*sample_of("Faster"))
        made = vars(ours)["_made_on_access"]
        assert set(made) == {"_target_generator"}
        assert not any(isinstance(value, mx.sym.Symbol) for value in vars(ours).values())

    @each_kind
    @each_net
    def test_attributes(self, net, kind):
        """All that GluonCV's have; those that hold values have the same."""
        ours, theirs = (make(cls, net) for cls in KINDS[kind])
        for name, value in vars(theirs).items():
            assert hasattr(ours, name)
            if not isinstance(value, (list, mx.nd.NDArray, mx.sym.Symbol, mx.gluon.Block)):
                assert getattr(ours, name) == value
        helpers.assert_same(ours._anchors, theirs._anchors)

    def test_without_network(self):
        for ours, theirs in KINDS.values():
            assert ours()._anchors is theirs()._anchors is None
            assert ours()._target_generator is None

    def test_of_the_sampler_and_the_generator(self, c4_net):
        ious = np.random.RandomState(0).uniform(0, 0.9, (60, 4)).astype(np.float32)
        ours, theirs = rpn_target.RPNTargetSampler(9, 0.7, 0.3, 0.5), TheirSampler(9, 0.7, 0.3, 0.5)
        assert set(vars(theirs)) <= set(dir(ours))
        helpers.run_both(lambda: TheirSampler.__call__(ours, ious), lambda: theirs(ious))
        anchors = make(FasterRCNNTrainTransform, c4_net)._anchors.reshape((-1, 4))
        boxes = mx.nd.array([[10, 12, 50, 60], [30, 4, 90, 70]])
        ours, theirs = (
            RPNTargetGenerator(20, stds=(1, 2, 3, 4)),
            TheirGenerator(20, stds=(1, 2, 3, 4)),
        )
        public = {name for name in vars(theirs) if not hasattr(mx.gluon.Block(), name)}
        assert public <= set(dir(ours))
        helpers.run_both(
            lambda: TheirGenerator.forward(ours, boxes, anchors, 120, 90),
            lambda: theirs(boxes, anchors, 120, 90),
        )

    @each_kind
    @each_net
    def test_subclass_that_repeats_the_method(self, net, kind):
        """With a step of its own; the base is GluonCV's, or under the swap ours."""

        def derive(base):
            class Darker(base):
                def __call__(self, src, *rest):
                    src = (src.astype("float32") * 0.5).astype("uint8")
                    return KINDS[kind][1].__call__(self, src, *rest)

            return Darker

        with rpn_target.install():
            ours = make(derive(getattr(rcnn, f"{kind}RCNNDefaultTrainTransform")), net)
            assert isinstance(ours, KINDS[kind][0])
            sample = sample_of(kind)
            theirs = make(derive(KINDS[kind][1]), net)
            helpers.run_both(lambda: ours(*sample), lambda: theirs(*sample))


class TestReplaced:
    """In GluonCV's module, before or after the swap; in an object; in a subclass."""

    @each_net
    @pytest.mark.parametrize("sampler", [KeepAll, Fewest])
    @pytest.mark.parametrize("when", ["before", "after", "without"])
    def test_sampler_in_the_module(self, monkeypatch, net, sampler, when):
        sample = sample_of("Faster")

        try:
            if when == "after":
                rpn_target.install()
            monkeypatch.setattr(rpn, "RPNTargetSampler", sampler)
            if when == "before":
                rpn_target.install()
            assert rpn.RPNTargetSampler is sampler
            self.judge(net, sample, sampler)
        finally:
            monkeypatch.undo()
            rpn_target.uninstall()

    generator = TheirGenerator()

    def judge(self, net, sample, sampler):
        """Compare with GluonCV's transform, whose generator has the sampler."""
        ours, theirs = (make(kind, net, num_sample=32) for kind in KINDS["Faster"])
        generator = self.generator
        generator._sampler = sampler(32, 0.7, 0.3, 0.5)
        if "_target_generator" in vars(type(theirs)):
            theirs._internal_target_generator = generator
        else:
            theirs._target_generator = generator
        result = helpers.run_both(lambda: ours(*sample), lambda: theirs(*sample))
        kept = sum((level >= 0).sum() for level in result[2])
        assert kept > 32 if sampler is KeepAll else kept < 10

    @each_net
    def test_generator_in_the_module(self, monkeypatch, net):
        monkeypatch.setattr(rpn, "RPNTargetGenerator", Wrapper)
        sample = sample_of("Faster")
        ours, theirs = (make(kind, net, num_sample=32) for kind in KINDS["Faster"])
        helpers.run_both(lambda: ours(*sample), lambda: theirs(*sample))

    @each_kind
    @each_net
    @pytest.mark.parametrize("way", ["property", "sampler", "inside", "assigned"])
    def test_in_a_subclass(self, net, kind, way):
        generator = Generator(num_sample=16)

        def derive(base):
            class Mine(base):
                if way == "property":

                    @property
                    def _target_generator(self):
                        return generator

                if way == "sampler":

                    @property
                    def _target_generator(self):
                        made = super()._target_generator
                        vars(made)["_sampler"] = Fewest(1, 0, 0, 0)
                        return made

                if way == "inside":

                    def __init__(self, *arguments, **options):
                        super().__init__(*arguments, **options)
                        self._num_sample, self._box_norm = 24, (0.1, 0.1, 0.2, 0.2)

                if way == "assigned":

                    def __init__(self, *arguments, **options):
                        super().__init__(*arguments, **options)
                        self._internal_target_generator = generator

            return Mine

        if "_target_generator" not in vars(KINDS[kind][1]) and way != "property":
            pytest.skip("GluonCV 0.7 and 0.8 make the generator in the constructor")
        sample = sample_of(kind)
        ours, theirs = (make(derive(base), net) for base in KINDS[kind])
        helpers.run_both(lambda: ours(*sample), lambda: theirs(*sample))

    @each_net
    def test_anchors_and_feature_maps(self, net):
        """Anchors of an object's own: here all moved by some pixels."""
        ours, theirs = (make(kind, net, num_sample=32) for kind in KINDS["Faster"])
        several = isinstance(theirs._anchors, list)
        moved = [level + 3 for level in theirs._anchors] if several else theirs._anchors + 3
        ours._anchors = theirs._anchors = moved
        ours._feat_sym = theirs._feat_sym
        sample = sample_of("Faster")
        helpers.run_both(lambda: ours(*sample), lambda: theirs(*sample))

    def test_attributes_of_a_sampler(self):
        ious = np.random.RandomState(0).uniform(0, 0.9, (60, 4)).astype(np.float32)
        for change in (
            dict(_num_sample=20), dict(_max_pos=1), dict(_pos_iou_thresh=0.8),
            dict(_neg_iou_thresh=0.5), dict(_num_sample=7, _max_pos=7),
        ):  # fmt: skip
            ours = rpn_target.RPNTargetSampler(9, 0.7, 0.3, 0.5)
            theirs = TheirSampler(9, 0.7, 0.3, 0.5)
            vars(ours).update(change)
            vars(theirs).update(change)
            helpers.run_both(lambda: ours(ious), lambda: theirs(ious))  # noqa: B023

    def test_epsilon_of_a_sampler(self):
        """It is not used here, and is refused where it is another one."""
        sampler = rpn_target.RPNTargetSampler(9, 0.7, 0.3, 0.5)
        assert sampler._eps == TheirSampler(9, 0.7, 0.3, 0.5)._eps
        sampler._eps = 0.01
        with pytest.raises(ValueError, match=r"_eps must be .* but was set to 0\.01"):
            sampler(np.zeros((3, 1), np.float32))

    def test_encoder(self, c4_net):
        class Doubled:
            def __init__(self, encoder):
                self._encoder = encoder

            def __call__(self, *arguments):
                targets, masks = self._encoder(*arguments)
                return targets * 2, masks

        anchors = make(FasterRCNNTrainTransform, c4_net)._anchors.reshape((-1, 4))
        boxes = mx.nd.array([[10, 12, 50, 60], [30, 4, 90, 70]])
        pair = RPNTargetGenerator(20), TheirGenerator(20)
        for generator in pair:
            generator._box_encoder = Doubled(generator._box_encoder)
        helpers.run_both(*(lambda g=g: tuple(g(boxes, anchors, 120, 90)) for g in pair))

    @each_net
    @pytest.mark.parametrize("sampler", [KeepAll, Fewest])
    def test_no_objects(self, monkeypatch, net, sampler):
        """Negatives only, whatever the sampler makes of nothing."""
        monkeypatch.setattr(rpn, "RPNTargetSampler", sampler)
        _, _, cls, box, mask = make(FasterRCNNTrainTransform, net)(sample_of("Faster")[0], [])
        assert sum((level == 0).sum() for level in cls) > 0
        assert not any((level == 1).any() for level in cls)
        assert not any(level.any() for level in box + mask)

    def test_draws_of_a_call(self, monkeypatch, c4_net):
        """With ``rng`` a sampler that draws from ``np.random`` repeats itself, which stays put."""
        monkeypatch.setattr(rpn, "RPNTargetSampler", Fewest)
        transform = make(FasterRCNNTrainTransform, c4_net)
        state = helpers.random_states()
        sample = sample_of("Faster")
        results = [transform(*sample, rng=np.random.default_rng(7)) for _ in range(2)]
        helpers.assert_same(*results)
        assert helpers.random_states() == state

    def test_ignored_regions(self, monkeypatch, c4_net):
        """A sampler does not get anchors in them as negatives; a generator cannot know of them."""
        image, label = sample_of("Faster")
        label[:, 4] = (0, 0, 0, 0, 1)
        label[4, :4] = 0, 0, 130, 90
        monkeypatch.setattr(rpn, "RPNTargetSampler", KeepAll)
        transform = make(FasterRCNNTrainTransform, c4_net, ignore_column=4)
        cls_target = transform(image, label)[2][0]
        assert not (cls_target == 0).any() and (cls_target == 1).any()
        monkeypatch.setattr(rpn, "RPNTargetGenerator", Wrapper)
        transform = make(FasterRCNNTrainTransform, c4_net, ignore_column=4)
        with pytest.raises(ValueError, match="ignore_column must be None with a target generator"):
            transform(image, label)

    def test_low_quality_matches(self, monkeypatch, c4_net):
        monkeypatch.setattr(rpn, "RPNTargetSampler", Fewest)
        transform = make(FasterRCNNTrainTransform, c4_net, low_quality_matches="keep")
        with pytest.raises(ValueError, match="low_quality_matches must be 'gluoncv' with a sampl"):
            transform(*sample_of("Faster"))
