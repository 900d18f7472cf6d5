"""`install` and `uninstall`: every name in every module, there and back."""

from __future__ import annotations

import copy
import importlib
import pickle
import sys
import types
import warnings

import gluoncv
import helpers
import mxnet as mx
import numpy as np
import pytest
from gluoncv.data import batchify
from gluoncv.data.transforms.presets import rcnn
from gluoncv.model_zoo.rcnn.rpn import rpn_target as rpn
from helpers import make_sample
from mxnet.gluon.data import DataLoader

import rpn_target
from rpn_target.swap import gluoncv_classes
from rpn_target.swap import install as swap

# GluonCV's module, its name for the class, the class, ours.
CLASSES = [
    (batchify, "FasterRCNNTrainBatchify", rpn_target.FasterRCNNTrainBatchify),
    (batchify, "MaskRCNNTrainBatchify", rpn_target.MaskRCNNTrainBatchify),
    (rcnn, "FasterRCNNDefaultTrainTransform", rpn_target.FasterRCNNTrainTransform),
    (rcnn, "MaskRCNNDefaultTrainTransform", rpn_target.MaskRCNNTrainTransform),
    (rpn, "RPNTargetGenerator", rpn_target.RPNTargetGenerator),
    (rpn, "RPNTargetSampler", rpn_target.RPNTargetSampler),
]
CLASSES = [(module, name, vars(module)[name], ours) for module, name, ours in CLASSES]
THEIRS = {name: theirs for _, name, theirs, _ in CLASSES}
OURS = {name: ours for _, name, _, ours in CLASSES}
MODULE_OF = {name: module.__name__ for module, name, _, _ in CLASSES}
each_class = pytest.mark.parametrize("name", OURS)


@pytest.fixture(autouse=True)
def clean():
    """Leave GluonCV as it was found, whatever a test does."""
    before = snapshot()
    yield
    rpn_target.uninstall()
    assert snapshot() == before


def snapshot():
    """Return who holds what of all classes, and the classes' own attributes."""
    classes = {id(value): value for value in [*THEIRS.values(), *OURS.values()]}
    names = {
        (module_name, name): classes[id(value)]
        for module_name, module in list(sys.modules.items())
        if module_name != __name__ and isinstance(module, types.ModuleType)
        for name, value in list(vars(module).items())
        if id(value) in classes
    }
    attributes = [{**vars(value), "__qualname__": value.__qualname__} for value in THEIRS.values()]
    for of_class in attributes:
        of_class.pop("__slotnames__", None)  # what pickle notes
    return names, attributes


@pytest.fixture
def module():
    """Return a function that makes a module of source code and imports it."""
    made = []

    def make(source, name="made_for_test", file=None):
        made_module = types.ModuleType(name)
        if file is not None:
            file.write_text(source)
            made_module.__file__ = str(file)
        sys.modules[name] = made_module
        made.append(name)
        exec(compile(source, str(file or "<made>"), "exec"), vars(made_module))
        return made_module

    yield make
    rpn_target.uninstall()
    for name in made:
        del sys.modules[name]


def import_line(name, alias=None):
    return f"from {MODULE_OF[name]} import {name}" + (f" as {alias}" if alias else "")


class TestPlaces:
    @each_class
    def test_defining_module(self, name):
        defining = sys.modules[MODULE_OF[name]]
        rpn_target.install()
        assert vars(defining)[name] is OURS[name]
        rpn_target.uninstall()
        assert vars(defining)[name] is THEIRS[name]

    @each_class
    def test_imported_by_name_before(self, module, name):
        made = module(import_line(name) + "\n" + import_line(name, "renamed"))
        rpn_target.install()
        assert vars(made)[name] is made.renamed is OURS[name]
        rpn_target.uninstall()
        assert vars(made)[name] is made.renamed is THEIRS[name]

    @each_class
    def test_imported_by_name_during(self, module, name):
        """The module holds ours, and gets GluonCV's back."""
        rpn_target.install()
        made = module(import_line(name) + "\n" + import_line(name, "renamed"))
        assert vars(made)[name] is made.renamed is OURS[name]
        rpn_target.uninstall()
        assert vars(made)[name] is made.renamed is THEIRS[name]

    def test_imported_by_a_name_that_comes_later(self, module):
        made = module("")
        with rpn_target.install():
            made.later = batchify.MaskRCNNTrainBatchify
        assert made.later is THEIRS["MaskRCNNTrainBatchify"]

    def test_main(self, monkeypatch):
        """A script's own names are swapped like any other's."""
        main = types.ModuleType("__main__")
        monkeypatch.setitem(sys.modules, "__main__", main)
        exec(import_line("FasterRCNNDefaultTrainTransform"), vars(main))
        with rpn_target.install() as swapped:
            kept = main.FasterRCNNDefaultTrainTransform
            assert kept is rpn_target.FasterRCNNTrainTransform
            assert "__main__" in swapped.modules
        assert main.FasterRCNNDefaultTrainTransform is THEIRS["FasterRCNNDefaultTrainTransform"]

    def test_submodules_reached_from_the_package(self):
        with rpn_target.install():
            generator = gluoncv.model_zoo.rcnn.rpn.rpn_target.RPNTargetGenerator
            assert generator is rpn_target.RPNTargetGenerator
            assert (
                gluoncv.data.batchify.FasterRCNNTrainBatchify is rpn_target.FasterRCNNTrainBatchify
            )

    def test_import_star_and_lazy_import(self, module):
        with rpn_target.install():
            star = module("from gluoncv.data.transforms.presets.rcnn import *")
            assert star.FasterRCNNDefaultTrainTransform is rpn_target.FasterRCNNTrainTransform
            imported = importlib.import_module("gluoncv.data.batchify")
            assert imported.MaskRCNNTrainBatchify is rpn_target.MaskRCNNTrainBatchify

    def test_this_package_is_left_alone(self):
        import rpn_target.gluon.transforms as ours  # which imports GluonCV's transform by name

        before = {
            name: dict(vars(module))
            for name, module in list(sys.modules.items())
            if name.split(".")[0] == "rpn_target" and module is not swap
        }
        with rpn_target.install():
            assert ours.FasterRCNNDefaultTrainTransform is THEIRS["FasterRCNNDefaultTrainTransform"]
        after = {name: dict(vars(sys.modules[name])) for name in before}
        assert after == before

    def test_odd_entries_in_sys_modules(self, monkeypatch):
        class Odd:
            __slots__ = ()

            def __getattr__(self, name):
                raise RuntimeError("looked at")

        class Lazy(types.ModuleType):
            def __getattribute__(self, name):
                raise RuntimeError("loaded")

        monkeypatch.setitem(sys.modules, "odd_none", None)
        monkeypatch.setitem(sys.modules, "odd_object", Odd())
        monkeypatch.setitem(sys.modules, "odd_lazy", Lazy("odd_lazy"))
        with rpn_target.install():
            pass

    def test_same_module_under_two_names(self, module, monkeypatch):
        made = module(import_line("RPNTargetSampler"))
        monkeypatch.setitem(sys.modules, "made_alias", made)
        with rpn_target.install() as swapped:
            places = [place for place in swapped.places if place.module.startswith("made")]
            assert len(places) == 1
        assert made.RPNTargetSampler is THEIRS["RPNTargetSampler"]


class TestOwnNames:
    """What was imported from this package, not from GluonCV, stays."""

    @each_class
    def test_imported_before(self, module, name):
        ours = OURS[name].__name__
        made = module(f"from rpn_target import {ours}")
        with rpn_target.install():
            assert vars(made)[ours] is OURS[name]
        assert vars(made)[ours] is OURS[name]

    @each_class
    @pytest.mark.parametrize("alias", [None, "renamed"])
    def test_imported_during(self, module, tmp_path, name, alias):
        """The module's source tells where it got the class from."""
        ours = OURS[name].__name__
        source = (
            f"def late():\n    from gluoncv.data.batchify import Tuple\n"
            f"from rpn_target import {ours}" + (f" as {alias}" if alias else "")
        )
        with rpn_target.install():
            made = module(source, file=tmp_path / "made.py")
        assert vars(made)[alias or ours] is OURS[name]

    def test_relative_import_of_the_same_name(self, module, tmp_path):
        """GluonCV has a module of our name, and imports from it as ``.rpn_target``."""
        source = "from .rpn_target import RPNTargetSampler"
        with rpn_target.install():
            rpn_package = "gluoncv.model_zoo.rcnn.rpn"
            made = module("", rpn_package + ".made", file=tmp_path / "made.py")
            made.__package__ = rpn_package
            (tmp_path / "made.py").write_text(source)
            exec(source, vars(made))
            assert made.RPNTargetSampler is rpn_target.RPNTargetSampler
        assert made.RPNTargetSampler is THEIRS["RPNTargetSampler"]

    def test_rebound_during(self, module):
        """A name that got another value during the swap keeps it."""
        made = module(import_line("RPNTargetSampler"))
        with rpn_target.install():
            made.RPNTargetSampler = int
        assert made.RPNTargetSampler is int

    def test_deleted_during(self, module):
        made = module(import_line("RPNTargetSampler"))
        with rpn_target.install():
            del made.RPNTargetSampler
        assert "RPNTargetSampler" not in vars(made)


class TestTwice:
    def test_install_twice_uninstall_once(self):
        before = snapshot()
        assert len(rpn_target.install().places) >= 6
        during = snapshot()
        assert rpn_target.install().places == ()
        assert snapshot() == during
        rpn_target.uninstall()
        assert snapshot() == before
        rpn_target.uninstall()
        assert snapshot() == before

    def test_uninstall_before_install(self):
        before = snapshot()
        rpn_target.uninstall()
        assert snapshot() == before

    def test_again_and_again(self):
        before = snapshot()
        for _ in range(3):
            rpn_target.install()
            assert batchify.MaskRCNNTrainBatchify is rpn_target.MaskRCNNTrainBatchify
            rpn_target.uninstall()
            assert snapshot() == before

    def test_second_install_finds_what_was_missed(self, module):
        """Such as a module that put GluonCV's class back, or kept it elsewhere."""
        made = module("")
        rpn_target.install()
        made.found = THEIRS["RPNTargetGenerator"]
        (place,) = rpn_target.install().places
        assert place == swap.Place(
            "made_for_test", "found", THEIRS["RPNTargetGenerator"], rpn_target.RPNTargetGenerator
        )
        rpn_target.uninstall()
        assert made.found is THEIRS["RPNTargetGenerator"]

    def test_nested_blocks(self):
        with rpn_target.install():
            with rpn_target.install() as inner:
                assert inner.places == ()
            assert batchify.MaskRCNNTrainBatchify is rpn_target.MaskRCNNTrainBatchify
        assert batchify.MaskRCNNTrainBatchify is THEIRS["MaskRCNNTrainBatchify"]

    def test_block_within_an_installation(self):
        rpn_target.install()
        with rpn_target.install():
            pass
        assert batchify.MaskRCNNTrainBatchify is rpn_target.MaskRCNNTrainBatchify

    def test_uninstall_within_a_block(self):
        with rpn_target.install():
            rpn_target.uninstall()
            assert batchify.MaskRCNNTrainBatchify is THEIRS["MaskRCNNTrainBatchify"]
        assert batchify.MaskRCNNTrainBatchify is THEIRS["MaskRCNNTrainBatchify"]

    def test_entered_again(self):
        swapped = rpn_target.install()
        for _ in range(2):
            with swapped as entered:
                assert entered is swapped
                assert len(swapped.classes) == 6
                assert batchify.MaskRCNNTrainBatchify is rpn_target.MaskRCNNTrainBatchify
            assert batchify.MaskRCNNTrainBatchify is THEIRS["MaskRCNNTrainBatchify"]

    def test_undone_after_an_error(self):
        with pytest.raises(ZeroDivisionError), rpn_target.install():
            raise ZeroDivisionError
        assert batchify.MaskRCNNTrainBatchify is THEIRS["MaskRCNNTrainBatchify"]


class TestReport:
    def test_places(self, module):
        module(import_line("RPNTargetSampler", "renamed"))
        swapped = rpn_target.install()
        assert swapped.classes == tuple(sorted(OURS))
        assert set(MODULE_OF.values()) | {"made_for_test"} <= set(swapped.modules)
        for place in swapped.places:
            assert place.theirs is THEIRS[place.theirs.__name__]
            assert place.ours is OURS[place.theirs.__name__]
        names = {(place.module, place.name) for place in swapped.places}
        assert len(names) == len(swapped.places)
        assert names >= {(defining, name) for name, defining in MODULE_OF.items()}
        assert ("made_for_test", "renamed") in names

    def test_text(self):
        swapped = rpn_target.install()
        text = str(swapped)
        assert text.startswith("swapped FasterRCNNDefaultTrainTransform, FasterRCNNTrainBatchify, ")
        assert "\n" not in text
        assert "gluoncv.data.batchify" in text
        assert repr(swapped) == f"<Swap: {text}>"
        assert str(rpn_target.install()) == "nothing left to swap"

    def test_old_gluoncv(self, monkeypatch):
        """A GluonCV that lacks a class is left as it is."""
        before = snapshot()
        monkeypatch.setattr(swap, "MISSING", ["gluoncv.data.batchify.MaskRCNNTrainBatchify"])
        with pytest.raises(
            ImportError, match=r"GluonCV 0.7 or later.*gluoncv.data.batchify.MaskRCNNTrainBatchify$"
        ):
            rpn_target.install()
        assert snapshot() == before


class TestChangedBefore:
    """What a script put into GluonCV before this package came is not lost."""

    @pytest.mark.parametrize("is_subclass", [True, False])
    @each_class
    def test_class_in_the_module(self, monkeypatch, name, is_subclass):
        """Also before the first import, at which GluonCV's classes are looked up."""
        module = sys.modules[MODULE_OF[name]]
        users = type(name, (THEIRS[name],) if is_subclass else (object,), {"__module__": "script"})
        monkeypatch.setattr(module, name, users)
        found = dict(gluoncv_classes._collect_classes())
        assert users not in found and (THEIRS[name] in found) == is_subclass
        assert not gluoncv_classes.MISSING
        with rpn_target.install() as swapped:
            assert getattr(module, name) is users
            assert (MODULE_OF[name], name) not in [place[:2] for place in swapped.places]
        assert getattr(module, name) is users

    @each_class
    def test_method_in_the_class(self, monkeypatch, name):
        """The class stays, with a warning; the others are swapped as ever."""
        before = snapshot()
        with monkeypatch.context() as patch:
            patch.setattr(THEIRS[name], "__call__", lambda self, *arguments: "mine", raising=False)
            message = f"GluonCV's {name} stays, with its speed, .*: __call__. Put them there after"
            with pytest.warns(rpn_target.RPNTargetWarning, match=message) as caught:
                swapped = rpn_target.install()
            assert [entry.filename for entry in caught] == [__file__]
            try:
                module = sys.modules[MODULE_OF[name]]
                assert getattr(module, name) is THEIRS[name]
                assert object.__new__(THEIRS[name])() == "mine"
                assert set(swapped.classes) == set(OURS) - {name}
                assert rpn_target.install().places == ()
            finally:
                rpn_target.uninstall()
        assert snapshot() == before

    def test_patched_sampler_is_called(self, monkeypatch, c4_net):
        """By our transform, since its name in the module leads to it."""

        def none(self, ious):
            return np.zeros(len(ious), np.float32), np.zeros(len(ious), np.int64)

        monkeypatch.setattr(THEIRS["RPNTargetSampler"], "__call__", none)
        with pytest.warns(rpn_target.RPNTargetWarning):
            swapped = rpn_target.install()
        with swapped:
            transform = rcnn.FasterRCNNDefaultTrainTransform(100, 200, c4_net, ashape=c4_net.ashape)
            assert type(transform) is rpn_target.FasterRCNNTrainTransform
            assert all((part == -1).all() for part in transform(*make_sample(90, 130))[2])


class TestUse:
    """Both sides' classes do their work during the swap."""

    def make(self, net, name, **options):
        stage = dict(ashape=net.ashape, multi_stage=net.num_stages > 1)
        return getattr(rcnn, name)(100, 200, net, **stage, **options)

    @pytest.mark.filterwarnings("ignore:a batch of 3 samples is split unevenly")
    @pytest.mark.parametrize("network", ["c4_net", "fpn_net"])
    def test_official_calls(self, request, network):
        net = request.getfixturevalue(network)
        sample = make_sample(90, 120)

        def work():
            transform = self.make(net, "FasterRCNNDefaultTrainTransform")
            return batchify.FasterRCNNTrainBatchify(net, 2)([transform(*sample) for _ in range(3)])

        def with_swap():
            with rpn_target.install():
                return work()

        helpers.run_both(with_swap, work)

    @pytest.mark.parametrize("kind", ["Faster", "Mask"])
    def test_isinstance(self, c4_net, kind):
        name = f"{kind}RCNNDefaultTrainTransform"
        before = self.make(c4_net, name)
        with rpn_target.install():
            during = self.make(c4_net, name)
            assert isinstance(during, getattr(rcnn, name))
            assert isinstance(during, THEIRS[name])
        assert isinstance(during, getattr(rcnn, name))
        assert type(during) is OURS[name]
        assert isinstance(before, getattr(rcnn, name))
        assert type(before) is THEIRS[name]

    def test_objects_of_gluoncv_made_before(self, c4_net):
        """They stay GluonCV's, and equal to ours."""
        theirs = self.make(c4_net, "FasterRCNNDefaultTrainTransform")
        batch = batchify.FasterRCNNTrainBatchify(c4_net)
        sample = make_sample(80, 110)
        with rpn_target.install():
            ours = self.make(c4_net, "FasterRCNNDefaultTrainTransform")
            ours_batch = batchify.FasterRCNNTrainBatchify(c4_net)
            helpers.run_both(lambda: ours_batch([ours(*sample)]), lambda: batch([theirs(*sample)]))

    def test_gluoncv_classes_kept_elsewhere(self, c4_net):
        """GluonCV's constructors name their own class; it is another's name now."""
        kept = dict(THEIRS)
        bbox, anchor = mx.nd.array([[10, 10, 40, 40]]), mx.nd.array([[8, 8, 40, 44]])
        with rpn_target.install():
            for name in ("FasterRCNNTrainBatchify", "MaskRCNNTrainBatchify"):
                assert type(kept[name](c4_net)) is THEIRS[name]
            sampler = kept["RPNTargetSampler"](16, 0.7, 0.3, 0.5)
            assert type(sampler) is THEIRS["RPNTargetSampler"]
            assert sampler(np.array([[0.8]]))[0].tolist() == [1]
            generator = kept["RPNTargetGenerator"](num_sample=16)
            assert type(generator) is THEIRS["RPNTargetGenerator"]
            assert generator(bbox, anchor, 64, 64)[0].tolist() == [1]

    def test_subclasses_of_gluoncv(self, fpn_net):
        class Generator(rpn.RPNTargetGenerator):
            def __init__(self, *arguments):
                super().__init__(*arguments)

        class Transform(rcnn.FasterRCNNDefaultTrainTransform):
            def __call__(self, src, label):
                return super().__call__(src, label)

        sample = make_sample(90, 77)
        options = dict(ashape=fpn_net.ashape, multi_stage=True)
        boxes, anchors = mx.nd.array([[10, 10, 40, 40]]), mx.nd.array([[8, 8, 40, 44]])

        def work():
            transform = Transform(100, 200, fpn_net, **options)
            return transform(*sample), Generator(16)(boxes, anchors, 64, 64)

        def with_swap():
            with rpn_target.install():
                return work()

        helpers.run_both(with_swap, work)

    def test_subclasses_of_ours(self, fpn_net):
        """A class derived during the swap goes on working after it."""
        with rpn_target.install():

            class Transform(rcnn.FasterRCNNDefaultTrainTransform):
                def __init__(self, *arguments, **options):
                    super().__init__(*arguments, **options)

        options = dict(ashape=fpn_net.ashape, multi_stage=True)
        transform = Transform(100, 200, fpn_net, **options)
        assert isinstance(transform, rpn_target.FasterRCNNTrainTransform)
        sample = make_sample(90, 77)
        theirs = self.make(fpn_net, "FasterRCNNDefaultTrainTransform")
        helpers.run_both(lambda: transform(*sample), lambda: theirs(*sample))


class TestPickle:
    def test_ours_made_during(self, c4_net):
        with rpn_target.install():
            made = batchify.FasterRCNNTrainBatchify(c4_net)
            during = pickle.dumps(made)
        assert pickle.dumps(made) == during
        assert type(pickle.loads(during)) is rpn_target.FasterRCNNTrainBatchify

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_theirs_made_before(self, c4_net, protocol):
        made = batchify.Pad(), batchify.FasterRCNNTrainBatchify(c4_net)
        with rpn_target.install():
            during = pickle.dumps(made, protocol)
            for copied in (pickle.loads(during)[1], copy.copy(made[1])):
                assert type(copied) is THEIRS["FasterRCNNTrainBatchify"]
        assert type(pickle.loads(during)[1]) is THEIRS["FasterRCNNTrainBatchify"]
        after = pickle.dumps(made, protocol)
        assert b"gluoncv.data.batchify" in after
        assert b"rpn_target" not in after

    @pytest.mark.parametrize("swapped_first", [False, True])
    @pytest.mark.parametrize("thread_pool", [False, True])
    def test_loader_made_on_the_other_side(self, c4_net, swapped_first, thread_pool):
        """The workers were forked with other names than the parent has when it reads."""
        samples = [make_sample(*size) for size in ((90, 120), (100, 100), (64, 150))]
        options = dict(ashape=c4_net.ashape, num_sample=10**9, flip_p=0)

        def make():
            transform = rcnn.FasterRCNNDefaultTrainTransform(100, 200, c4_net, **options)
            return DataLoader(
                mx.gluon.data.SimpleDataset(samples).transform(transform),
                batch_size=2, last_batch="keep", num_workers=2, thread_pool=thread_pool,
                batchify_fn=batchify.FasterRCNNTrainBatchify(c4_net),
            )  # fmt: skip

        expected = list(make())
        if swapped_first:
            with rpn_target.install():
                loader = make()
            actual = list(loader)
        else:
            loader = make()
            with rpn_target.install():
                actual = list(loader)
        helpers.assert_same(actual, expected)


@pytest.fixture(scope="module")
def estimators():
    """Return modules of ``gluoncv.auto``."""
    names = ("faster_rcnn.faster_rcnn", "faster_rcnn.utils", "mask_rcnn.mask_rcnn")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what it imports
        return [importlib.import_module(f"gluoncv.auto.estimators.{name}") for name in names]


class TestAuto:
    """The estimators of ``gluoncv.auto``, which import by name."""

    @helpers.needs_auto
    def test_names(self, estimators):
        faster, utils, mask = estimators
        with rpn_target.install() as swapped:
            assert faster.FasterRCNNDefaultTrainTransform is rpn_target.FasterRCNNTrainTransform
            assert utils.FasterRCNNTrainBatchify is rpn_target.FasterRCNNTrainBatchify
            assert mask.MaskRCNNDefaultTrainTransform is rpn_target.MaskRCNNTrainTransform
            assert {module.__name__ for module in estimators} <= set(swapped.modules)
        assert utils.FasterRCNNTrainBatchify is THEIRS["FasterRCNNTrainBatchify"]

    def test_imports_nothing(self):
        before = set(sys.modules)
        with rpn_target.install():
            pass
        assert set(sys.modules) == before
