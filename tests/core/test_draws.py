"""Where draws come from: global state, a RandomState, a Generator, a number; and how evenly."""

import itertools
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading

import helpers
import mxnet as mx
import numpy as np
import pytest
from helpers import PYRAMIDS, make_boxes, make_sample, seed_all
from mxnet.gluon.data import DataLoader

from rpn_target import (
    FasterRCNNTrainTransform,
    MaskRCNNTrainTransform,
    RPNTargetGenerator,
    RPNTargetSampler,
)
from rpn_target.core.draws import as_draws, sample_generator
from rpn_target.loader.order import ORDER

RNGS = {
    "global": lambda: None,
    "number": lambda: 5,
    "numpy number": lambda: np.uint32(5),
    "RandomState": lambda: np.random.RandomState(5),
    "Generator": lambda: np.random.default_rng(5),
    "Philox": lambda: np.random.Generator(np.random.Philox(5)),
}
OWN = [name for name in RNGS if name != "global"]
FAST = [name for name in OWN if name != "RandomState"]
OPTIONS = dict(num_sample=24, pos_iou_thresh=0.5, neg_iou_thresh=0.3, pos_ratio=0.5)
ANCHORS = PYRAMIDS["small"].array(120, 160)
BOXES = make_boxes("anchors", 20, 120, 160, ANCHORS)
IOUS = mx.nd.contrib.box_iou(mx.nd.array(ANCHORS), mx.nd.array(BOXES)).asnumpy()
IMAGE, LABEL = make_sample(90, 120, count=20, seed=3)
SEGM = [[np.array([[x, y], [X, y], [X, Y]])] for x, y, X, Y in LABEL[:, :4]]


def sampler(rng):
    """Return calls that draw from the rng, one kind of object at a time."""
    block = RPNTargetSampler(**OPTIONS, rng=rng)
    return lambda: block(IOUS)


def generator(rng):
    block = RPNTargetGenerator(**OPTIONS, rng=rng)
    return lambda: block(BOXES, ANCHORS, 160, 120)


def lattice_generator(rng):
    block = RPNTargetGenerator(**OPTIONS, rng=rng)
    lattice = PYRAMIDS["small"].lattice(120, 160)
    return lambda: block(BOXES, lattice, 160, 120)


BLOCKS = [sampler, generator, lattice_generator]


def flat(result):
    """Return all numbers in a nested result, one after the other."""
    if isinstance(result, (list, tuple)):
        return np.concatenate([flat(part) for part in result])
    return helpers.to_numpy(result).astype(np.float64).ravel()


def repeat(call, times=4):
    return [flat(call()) for _ in range(times)]


def assert_all_equal(some, others):
    assert len(some) == len(others)
    for one, other in zip(some, others):
        np.testing.assert_array_equal(one, other)


def assert_all_different(results):
    for one, other in itertools.combinations(results, 2):
        assert one.shape != other.shape or (one != other).any()


def transforms(net, rng, short=80, **options):
    """Return calls of both transforms with an rng."""
    faster = FasterRCNNTrainTransform(short, 200, net, num_sample=24, rng=rng(), **options)
    mask = MaskRCNNTrainTransform(short, 200, net, num_sample=24, rng=rng(), **options)
    return (lambda: faster(IMAGE, LABEL)), (lambda: mask(IMAGE, LABEL, SEGM))


class TestKinds:
    @pytest.mark.parametrize("rng", ["5", 1.5, True, np.float32(1), np.random, [1], object()])
    def test_not_a_kind(self, rng):
        for make in (lambda rng: RPNTargetSampler(**OPTIONS, rng=rng), generator):
            with pytest.raises(TypeError, match="rng must be None, a whole number, .* but got"):
                make(rng)
        for kind in (FasterRCNNTrainTransform, MaskRCNNTrainTransform):
            with pytest.raises(TypeError, match="rng must be None, a whole number, .* but got"):
                kind(rng=rng)

    def test_negative(self):
        with pytest.raises(ValueError, match="rng must be at least 0 where it is a number, but "):
            RPNTargetGenerator(rng=-1)

    def test_of_a_call(self):
        transform = FasterRCNNTrainTransform(60, 100)
        with pytest.raises(TypeError, match="rng must be None, a whole number, .* but got"):
            transform(IMAGE, LABEL, rng="5")

    def test_large_numbers(self):
        first = [as_draws(seed).integer(0, 2**62) for seed in (0, 1, 2**32, 2**64, 2**200)]
        assert len(set(first)) == 5

    @pytest.mark.parametrize("name", OWN)
    @pytest.mark.parametrize("count, quota", [(0, 0), (0, 3), (3, 3), (3, 9), (3, 0), (20000, 7)])
    def test_kept(self, name, count, quota):
        kept = as_draws(RNGS[name]()).kept(count, quota)
        assert kept.shape == (min(count, quota),)
        assert len(set(kept.tolist())) == len(kept)
        assert ((kept >= 0) & (kept < count)).all()

    @pytest.mark.parametrize("name", RNGS)
    def test_integers_and_flips(self, name):
        draws = as_draws(RNGS[name]())
        assert {draws.integer(3, 5) for _ in range(60)} == {3, 4, 5}
        assert {draws.integer(7, 7) for _ in range(3)} == {7}
        assert {draws.flip(0.5) for _ in range(40)} == {False, True}
        assert {draws.flip(0) for _ in range(40)} == {False}
        assert {draws.flip(1) for _ in range(40)} == {True}


class TestSameSeedSameDraws:
    @pytest.mark.parametrize("name", OWN)
    @pytest.mark.parametrize("make", BLOCKS)
    def test_blocks(self, make, name):
        results = repeat(make(RNGS[name]()))
        assert_all_equal(results, repeat(make(RNGS[name]())))
        assert_all_different(results)

    @pytest.mark.parametrize("name", OWN)
    def test_transforms(self, c4_net, name):
        for call, again in zip(
            transforms(c4_net, RNGS[name], (70, 90)), transforms(c4_net, RNGS[name], (70, 90))
        ):
            results = repeat(call)
            assert_all_equal(results, repeat(again))
            assert_all_different(results)

    @pytest.mark.parametrize("make", BLOCKS)
    def test_other_seed(self, make):
        assert_all_different([flat(make(seed)()) for seed in range(5)])

    def test_forms_of_anchors_draw_alike(self):
        """An image's draws do not depend on how its anchors were given."""
        for name in OWN:
            rng = RNGS[name]
            assert_all_equal(repeat(generator(rng())), repeat(lattice_generator(rng())))

    @pytest.mark.parametrize("name", OWN)
    def test_of_a_call(self, c4_net, name):
        """An rng given to the call is used, and leaves that of the transform alone."""
        given, own = RNGS[name](), np.random.default_rng(9)
        transform = FasterRCNNTrainTransform((70, 90), 200, c4_net, num_sample=24, rng=own)
        state = own.bit_generator.state
        result = flat(transform(IMAGE, LABEL, rng=given))
        assert own.bit_generator.state == state
        call, _ = transforms(c4_net, RNGS[name], (70, 90))
        np.testing.assert_array_equal(result, flat(call()))


class TestRandomState:
    """A RandomState gives what the global state would, seeded alike."""

    @pytest.mark.parametrize("make", BLOCKS)
    @pytest.mark.parametrize("seed", [0, 1, 2])
    def test_blocks(self, make, seed):
        seed_all(seed)
        expected = repeat(make(None))
        assert_all_equal(repeat(make(np.random.RandomState(seed))), expected)

    @pytest.mark.parametrize("name", ["c4_net", "fpn_net"])
    @pytest.mark.parametrize("seed", [0, 1, 2])
    def test_transforms(self, request, name, seed):
        net = request.getfixturevalue(name)
        options = dict(multi_stage=name == "fpn_net")
        state = lambda: np.random.RandomState(seed)  # noqa: E731
        for call, ours in zip(
            transforms(net, lambda: None, **options), transforms(net, state, **options)
        ):
            seed_all(seed)
            expected = repeat(call)
            after = np.random.get_state()[1]
            assert_all_equal(repeat(ours), expected)
            np.testing.assert_array_equal(np.random.get_state()[1], after)


class TestGlobalStates:
    """Only ``rng=None`` touches ``np.random`` and ``random``."""

    @pytest.mark.parametrize("name", OWN)
    @pytest.mark.parametrize("make", BLOCKS)
    def test_blocks(self, make, name):
        state = helpers.random_states()
        repeat(make(RNGS[name]()))
        assert helpers.random_states() == state

    @pytest.mark.parametrize("name", OWN)
    def test_transforms(self, c4_net, name):
        state = helpers.random_states()
        for call in transforms(c4_net, RNGS[name], (70, 90)):
            repeat(call)
        assert helpers.random_states() == state

    @pytest.mark.parametrize("name", FAST)
    def test_their_state_is_not_read(self, c4_net, name):
        results = []
        for seed in (1, 2):
            seed_all(seed)
            results.append(
                [flat(call()) for call in transforms(c4_net, RNGS[name], (70, 90))]
                + [flat(make(RNGS[name]())()) for make in BLOCKS]
            )
        assert_all_equal(*results)

    def test_they_are_drawn_from_by_default(self):
        """The counterpart: these tests would notice."""
        state = helpers.random_states()
        generator(None)()
        assert helpers.random_states() != state


class TestPickling:
    """What is pickled goes on where it was, in every kind."""

    @pytest.mark.parametrize("name", RNGS)
    @pytest.mark.parametrize("used", [False, True])
    def test_transforms(self, c4_net, name, used):
        for kind, extra in ((FasterRCNNTrainTransform, ()), (MaskRCNNTrainTransform, (SEGM,))):
            transform = kind((70, 90), 200, c4_net, num_sample=24, rng=RNGS[name]())
            if used and name not in ("number", "numpy number"):  # a number starts anew
                transform(IMAGE, LABEL, *extra)
            copy = pickle.loads(pickle.dumps(transform))
            seed_all(1)
            expected = repeat(lambda t=transform, e=extra: t(IMAGE, LABEL, *e))
            seed_all(1)
            assert_all_equal(repeat(lambda t=copy, e=extra: t(IMAGE, LABEL, *e)), expected)

    @pytest.mark.parametrize("name", RNGS)
    def test_blocks(self, name):
        for block, arguments in (
            (RPNTargetSampler(**OPTIONS, rng=RNGS[name]()), (IOUS,)),
            (RPNTargetGenerator(**OPTIONS, rng=RNGS[name]()), (BOXES, ANCHORS, 160, 120)),
        ):
            copy = pickle.loads(pickle.dumps(block))
            seed_all(1)
            expected = flat(block(*arguments))
            seed_all(1)
            np.testing.assert_array_equal(flat(copy(*arguments)), expected)

    @pytest.mark.slow
    def test_loaded_in_two_programs(self, c4_net, tmp_path):
        """They draw the same, and so do their workers; none repeats another process."""
        transform = FasterRCNNTrainTransform(80, 200, c4_net, num_sample=24, rng=5)
        path = tmp_path / "transform"
        path.write_bytes(pickle.dumps(transform))
        program = (
            "import multiprocessing, pickle, sys, rpn_target\n"
            "def draw(_): return transform._draws.integer(0, 2**62)\n"
            f"transform = pickle.load(open({str(path)!r}, 'rb'))\n"
            "print(draw(0), draw(0), multiprocessing.Pool(1).map(draw, [0, 0]))"
        )
        run = [sys.executable, "-W", "ignore", "-c", program]
        one, other = (
            subprocess.run(run, stdout=subprocess.PIPE, check=True).stdout.split() for _ in "ab"
        )
        assert one == other and len(set(one)) == 4
        own = b"%d" % transform._draws.integer(0, 2**62)
        assert own == one[0]  # as if it had been made there

    @pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
    def test_sent_to_a_forked_process(self):
        """Which is not another program, and must not repeat its parent."""
        draws = as_draws(5)
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            copy = pickle.loads(pickle.dumps(draws))
            os.write(writer, b"%d" % copy.integer(0, 2**62))
            os._exit(0)
        os.waitpid(child, 0)
        os.close(writer)
        assert int(os.read(reader, 100)) != draws.integer(0, 2**62)
        os.close(reader)


class TestSampleGenerator:
    """The generator of a sample: seed, epoch and index, exactly."""

    @pytest.mark.parametrize(
        "place",
        [
            (0, 0, 0),
            (3, 1, 7),
            (2**32, 2**32, 2**32),
            (2**53 + 1, 2**53 + 1, 2**53 + 1),  # float64 cannot hold these
            (2**64 - 1, 2**63 - 1, 2**64 - 2),
            (1, 0, ORDER),
            (1, 2**62, ORDER),
        ],
    )
    def test_place_is_exact(self, place):
        seed, epoch, index = place
        state = sample_generator(*place).bit_generator.state["state"]
        assert state["key"].tolist() == [seed, 0]
        assert state["counter"].tolist() == [0, 0, epoch, index]

    def test_draws_of_a_version_of_numpy(self):
        """Recorded: what was drawn on one machine is drawn on another, with another NumPy."""
        if tuple(map(int, np.__version__.split(".")[:2])) < (1, 21):
            pytest.skip("older ones draw other numbers")
        rng, few_of_many = sample_generator(1, 2, 3), [60265, 66918, 24772, 219435]
        assert rng.integers(480, 800, 5, endpoint=True).tolist() == [527, 597, 549, 517, 766]
        assert rng.random() == 0.3781344451340459
        assert rng.choice(9, 4, replace=False, shuffle=False).tolist() == [3, 1, 7, 2]
        assert rng.choice(240000, 4, replace=False, shuffle=False).tolist() == few_of_many
        assert rng.permutation(8).tolist() == [7, 0, 1, 2, 6, 3, 4, 5]

    def test_no_two_places_share_draws(self):
        seen = {}
        numbers = (0, 1, 2, 2**32, 2**53, 2**53 + 1, 2**63 - 1)
        for seed, epoch, index in itertools.product(numbers, numbers, (*numbers, ORDER)):
            draws = sample_generator(seed, epoch, index).integers(0, 2**63, 4).tolist()
            for value in draws:
                assert seen.setdefault(value, (seed, epoch, index)) == (seed, epoch, index)

    def test_order_of_an_epoch_is_no_sample(self):
        order = sample_generator(5, 0, ORDER).integers(0, 2**63, 100)
        for index in range(50):
            assert not np.isin(order, sample_generator(5, 0, index).integers(0, 2**63, 100)).any()


class Draw:
    """A data set of which each item is drawn, with the number of its process.

    With a barrier, no worker goes on before every other has an item, so that all take part.
    """

    def __init__(self, rng, barrier=None, size=32):
        self._draws = as_draws(rng)
        self._barrier = barrier
        self._size = size

    def __len__(self):
        return self._size

    def __getitem__(self, index):
        if self._barrier is not None:
            barrier, self._barrier = self._barrier, None
            barrier.wait(60)
        return os.getpid(), self._draws.integer(0, 2**62)


def as_lists(samples):
    return samples


def in_workers(dataset, workers=4, **options):
    """Return the items of a data set by process."""
    loader = DataLoader(
        dataset, 1, shuffle=False, num_workers=workers, batchify_fn=as_lists, **options
    )
    found = {}
    for ((process, value),) in loader:
        found.setdefault(process, []).append(value)
    return found


class TestWorkers:
    def test_no_two_share_draws(self):
        dataset = Draw(5, multiprocessing.Barrier(4))
        before = [dataset._draws.integer(0, 2**62) for _ in range(50)]
        found = in_workers(dataset)
        assert len(found) == 4 and os.getpid() not in found
        after = [dataset._draws.integer(0, 2**62) for _ in range(50)]
        values = before + after + [value for values in found.values() for value in values]
        assert len(values) == 100 + 32
        assert len(set(values)) == len(values)

    def test_parent_is_not_copied(self):
        """Nor what the parent would have drawn next."""
        used, untouched = Draw(5), Draw(5)
        [used._draws.integer(0, 2**62) for _ in range(3)]
        parent = {as_draws(5).integer(0, 2**62)}
        draws = as_draws(5)
        parent.update(draws.integer(0, 2**62) for _ in range(100))
        for dataset in (used, untouched):
            for values in in_workers(dataset, 2).values():
                assert not parent & set(values)

    def test_second_loader(self):
        """Its workers are new ones."""
        dataset = Draw(5)
        values = [
            value
            for _ in range(2)
            for worker in in_workers(dataset, 2).values()
            for value in worker
        ]
        assert len(set(values)) == len(values) == 64

    @pytest.mark.parametrize("name", ["global", "RandomState", "Generator"])
    def test_other_kinds_repeat(self, name):
        """The counterpart, and the reason for numbers: a forked state is a copy."""
        dataset = Draw(RNGS[name](), multiprocessing.Barrier(4))
        draws = dataset._draws
        draws.integer = lambda low, high: tuple(draws.kept(1000, 3))  # not from `random`
        found = in_workers(dataset)
        lists = [tuple(values) for values in found.values()]
        shortest = min(map(len, lists))
        assert shortest and len({values[:shortest] for values in lists}) == 1

    @pytest.mark.slow
    @pytest.mark.parametrize("method", ["fork", "spawn"])
    def test_made_in_a_worker(self, method):
        """Workers may make the thing themselves, as where a script is imported anew."""
        parent = draws_of(as_draws(5))
        context = multiprocessing.get_context(method)
        found = []
        for _ in range(2):  # two pools of one, so that both have a worker that does something
            with context.Pool(1) as pool:
                found += pool.map(draws_of_number, [5])
        values = [*parent, *(value for values in found for value in values)]
        assert len(set(values)) == len(values) == 60

    def test_threads(self):
        """They share one stream, and none of its draws."""
        dataset = Draw(5)
        ((_, values),) = in_workers(dataset, 4, thread_pool=True).items()
        assert len(set(values)) == 32

    def test_threads_start_one_stream(self):
        for _ in range(30):
            draws, found = as_draws(5), []
            barrier = threading.Barrier(8)

            def run(draws=draws, barrier=barrier, found=found):
                barrier.wait()
                found.append(draws.integer(0, 2**62))

            threads = [threading.Thread(target=run) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(set(found)) == 8

    # From Python 3.12 on: MXNet's engine has threads. The child does nothing with MXNet.
    @pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
    def test_fork_without_multiprocessing(self):
        draws = as_draws(5)
        parent = [draws.integer(0, 2**62) for _ in range(3)]
        values = []
        for _ in range(2):
            reader, writer = os.pipe()
            child = os.fork()
            if not child:
                os.write(writer, b"%d" % draws.integer(0, 2**62))
                os._exit(0)
            os.waitpid(child, 0)
            os.close(writer)
            values.append(int(os.read(reader, 100)))
            os.close(reader)
        more = [draws.integer(0, 2**62) for _ in range(3)]
        assert len({*parent, *values, *more}) == 8

    def test_spawned(self):
        """Workers that are not forked but start anew, and unpickle."""
        draws = as_draws(5)
        parent = [draws.integer(0, 2**62) for _ in range(20)]
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            (values,) = pool.map(draws_of, [draws])
        assert len({*parent, *values}) == 40

    @pytest.mark.parametrize("name", ["c4_net", "fpn_net"])
    def test_samples_of_a_transform(self, request, name):
        """The whole of it: flips, sizes and kept anchors of one image, over and over."""
        net = request.getfixturevalue(name)
        transform = FasterRCNNTrainTransform(
            80, 200, net, num_sample=24, rng=5, multi_stage=name == "fpn_net"
        )
        dataset = Transformed(transform, multiprocessing.Barrier(4))
        found = in_workers(dataset)
        assert len(found) == 4
        samples = [flat(transform(IMAGE, LABEL)[2]) for _ in range(10)]
        samples += [sample for worker in found.values() for sample in worker]
        assert len(samples) == 10 + 16
        assert_all_different(samples)


def draws_of(draws):
    return [draws.integer(0, 2**62) for _ in range(20)]


def draws_of_number(number):
    return draws_of(as_draws(number))


class Transformed(Draw):
    """One image, transformed anew every time."""

    def __init__(self, transform, barrier):
        super().__init__(0, barrier, 16)
        self._transform = transform

    def __getitem__(self, index):
        process, _ = super().__getitem__(index)
        return process, flat(self._transform(IMAGE, LABEL)[2])


def assert_even(counts, share, trials):
    """Assert that counts of a draw without replacement fit equal probabilities.

    Each of n anchors is kept with a probability of ``share`` in each trial. Counts then have the
    variance ``trials * share * (1 - share)`` and are correlated by ``-1 / (n - 1)``, so that this
    statistic has a chi-square distribution of n - 1 degrees of freedom: far from its mean, by 5
    of its standard deviations, it must not be.
    """
    freedom = len(counts) - 1
    deviation = ((counts - trials * share) ** 2).sum() / (trials * share * (1 - share))
    statistic = deviation * freedom / len(counts)
    assert abs(statistic - freedom) < 5 * np.sqrt(2 * freedom), (statistic, freedom)


class TestEvenly:
    """In the fast mode, every eligible anchor is kept equally often."""

    TRIALS = 1000

    @pytest.mark.parametrize("form", ["lattice", "array"])
    @pytest.mark.parametrize("ignore", [None, [[30, 20, 110, 90]]])
    def test_generator(self, form, ignore):
        forms = dict(lattice=PYRAMIDS["small"].lattice(120, 160), array=ANCHORS)
        everything = RPNTargetGenerator(10**9, 0.5, 0.3, 1.0, rng=1)
        eligible = everything.forward(BOXES, forms[form], 160, 120, ignore).cls_target
        positives, negatives = np.flatnonzero(eligible == 1), np.flatnonzero(eligible == 0)
        assert len(positives) > 12 and len(negatives) > 40
        block = RPNTargetGenerator(24, 0.5, 0.3, 0.5, rng=np.random.default_rng(1))
        counts = np.zeros((2, len(eligible)), int)
        for _ in range(self.TRIALS):
            cls_target = block.forward(BOXES, forms[form], 160, 120, ignore).cls_target
            counts[0] += cls_target == 1
            counts[1] += cls_target == 0
        assert counts.sum(axis=1).tolist() == [12 * self.TRIALS] * 2
        for count, anchors in zip(counts, (positives, negatives)):
            assert count[anchors].sum() == count.sum()
            assert_even(count[anchors], 12 / len(anchors), self.TRIALS)

    def test_sampler(self):
        ious = np.full((150, 1), 0.1)
        ious[:50] = 0.8
        block = RPNTargetSampler(30, 0.7, 0.3, 0.5, rng=1)
        counts = np.sum([block(ious)[0] != 0 for _ in range(self.TRIALS)], axis=0)
        assert_even(counts[:50], 15 / 50, self.TRIALS)
        assert_even(counts[50:], 15 / 100, self.TRIALS)

    def test_many_anchors(self):
        """Numpy draws few of many in another way than few of a few."""
        lattice = PYRAMIDS["fpn"].lattice(400, 400)
        block = RPNTargetGenerator(rng=1)
        everything = RPNTargetGenerator(10**9, rng=1)
        boxes = np.array([[20, 30, 90, 80]])
        negatives = np.flatnonzero(everything(boxes, lattice, 400, 400).cls_target == 0)
        assert len(negatives) > 20000
        counts = np.zeros(len(lattice), int)
        kept = set()
        for _ in range(500):
            cls_target = block(boxes, lattice, 400, 400).cls_target
            counts += cls_target == 0
            kept.add(int((cls_target == 0).sum()))
        (kept,) = kept
        # So many anchors are each kept too seldom: count them by the hundred.
        whole = len(negatives) // 100 * 100
        binned = counts[negatives[:whole]].reshape(-1, 100).sum(axis=1)
        share = kept / len(negatives)
        freedom = len(binned) - 1
        statistic = ((binned - 50000 * share) ** 2).sum() / (50000 * share)
        assert abs(statistic - freedom) < 5 * np.sqrt(2 * freedom)

    @pytest.mark.parametrize("name", FAST)
    def test_every_subset(self, name):
        """Not just each anchor by itself: 2 of 5 in all 10 ways."""
        draws = as_draws(RNGS[name]())
        counts = dict.fromkeys(itertools.combinations(range(5), 2), 0)
        for _ in range(5000):
            counts[tuple(sorted(draws.kept(5, 2).tolist()))] += 1
        counts = np.array(list(counts.values()))
        assert len(counts) == 10
        statistic = ((counts - 500) ** 2).sum() / 500
        assert abs(statistic - 9) < 5 * np.sqrt(18)

    def test_the_bound_notices(self):
        """Were one anchor in ten kept half as often as the others, the bound would break."""
        rng = np.random.default_rng(1)
        weights = np.where(np.arange(60) % 10, 1.0, 0.5)
        counts = np.zeros(60)
        for _ in range(self.TRIALS):
            counts[rng.choice(60, 12, replace=False, p=weights / weights.sum())] += 1
        with pytest.raises(AssertionError):
            assert_even(counts, 12 / 60, self.TRIALS)
