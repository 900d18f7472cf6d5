"""`seeded_loader`: the same bytes however they are loaded, other ones in every epoch."""

import functools
import gc
import json
import multiprocessing
import pickle
import random

import helpers
import mxnet as mx
import numpy as np
import pytest
from gluoncv.data.transforms.presets.rcnn import FasterRCNNDefaultTrainTransform
from helpers import make_sample
from mxnet.gluon.data import DataLoader, Dataset, RandomSampler, Sampler

from rpn_target import (
    FasterRCNNTrainBatchify,
    FasterRCNNTrainTransform,
    MaskRCNNTrainBatchify,
    MaskRCNNTrainTransform,
    seeded_loader,
)

try:
    from gluoncv.data.sampler import SplitSortedBucketSampler
except ImportError:  # where GluonCV 0.5 to 0.8 keep it
    from gluoncv.nn.sampler import SplitSortedBucketSampler

SIZES = ((90, 120), (100, 100), (131, 97), (64, 150), (100, 150), (75, 75), (140, 90), (80, 99))
WORKERS = {
    "in process": dict(num_workers=0),
    "2 processes": dict(num_workers=2),
    "4 processes": dict(num_workers=4),
    "2 threads": dict(num_workers=2, thread_pool=True),
    "4 threads": dict(num_workers=4, thread_pool=True),
    "4 processes, no prefetch": dict(num_workers=4, prefetch=0),
}
KINDS = {name: WORKERS[name] for name in ("in process", "2 processes", "2 threads")}
every_way = pytest.mark.parametrize("workers", WORKERS.values(), ids=WORKERS)
each_kind = pytest.mark.parametrize("workers", KINDS.values(), ids=KINDS)


@pytest.fixture(autouse=True)
def no_garbage_collection(monkeypatch):
    """Skip what MXNet's loader does on construction, and takes most of the time here."""
    monkeypatch.setattr(gc, "collect", lambda *generation: 0)


class Images(Dataset):
    """Images with their labels, in which column 4 is the index; some have no boxes."""

    def __init__(self, masks=False, sizes=SIZES, empty=(3,)):
        self._samples = []
        for index, size in enumerate(sizes):
            image, label = make_sample(*size, 0 if index in empty else index + 1, seed=index)
            label[:, 4] = index
            segm = [[np.array([[x, y], [X, y], [X, Y]])] for x, y, X, Y in label[:, :4]]
            self._samples.append((image, label, segm) if masks else (image, label))

    def __len__(self):
        return len(self._samples)

    def __getitem__(self, index):
        return self._samples[index]


def as_bytes(batch):
    """Return a nested batch as one nested tuple of shapes, dtypes and bytes."""
    if isinstance(batch, (list, tuple)):
        return tuple(as_bytes(part) for part in batch)
    array = helpers.to_numpy(batch)
    return array.shape, str(array.dtype), array.tobytes()


def epochs(loader, count=1):
    return [[as_bytes(batch) for batch in loader] for _ in range(count)]


def noisy(*sample, rng):
    """Return a sample with draws of all kinds."""
    return (*sample, rng.random(3), rng.integers(2**62))


def draws(index, rng):
    """Return the index and a draw."""
    return index, int(rng.integers(2**62))


def as_lists(samples):
    return list(samples)


def setup(name, net):
    """Return the data set, transform and batchify function of a kind of network."""
    kinds = {
        "faster": (FasterRCNNTrainTransform, FasterRCNNTrainBatchify),
        "mask": (MaskRCNNTrainTransform, MaskRCNNTrainBatchify),
    }
    kind, batchify = kinds[name]
    multi_stage = not hasattr(net.rpn.anchor_generator, "anchors")
    transform = kind((70, 90), 150, net, num_sample=24, multi_stage=multi_stage)
    return Images(masks=name == "mask"), transform, batchify(net)


@functools.lru_cache(maxsize=None)
def expected(name, net, shuffle, first=0, count=2):
    """Return the epochs of a loader without workers."""
    dataset, transform, batchify = setup(name, net)
    loader = seeded_loader(
        dataset, transform, 7, first, batch_size=3, shuffle=shuffle, batchify_fn=batchify
    )
    return epochs(loader, count)


class ImagesAsNumpy(Images):
    """The same, but not held as NDArrays, several of which MXNet cannot send to a new process."""

    def __init__(self):
        super().__init__()
        self._samples = [(image.asnumpy(), label) for image, label in self._samples]

    def __getitem__(self, index):
        image, label = super().__getitem__(index)
        return mx.nd.array(image, dtype=image.dtype), label


@pytest.mark.slow
def test_spawned_workers_make_the_same_bytes(c4_net):
    """They begin with nothing of this process, and get all they need in pickles."""
    _, transform, batchify = setup("faster", c4_net)
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method("spawn", force=True)
    try:
        with seeded_loader(
            ImagesAsNumpy(), transform, 7, batch_size=3, shuffle=True, batchify_fn=batchify,
            num_workers=2,
        ) as loader:  # fmt: skip
            assert epochs(loader, 2) == expected("faster", c4_net, True)
    finally:
        multiprocessing.set_start_method(before, force=True)


class TestSameBytes:
    @pytest.mark.parametrize("shuffle", [False, True])
    @pytest.mark.parametrize("name, net", [("faster", "c4"), ("faster", "fpn"), ("mask", "c4")])
    @every_way
    def test_workers(self, request, workers, name, net, shuffle):
        net = request.getfixturevalue(net + "_net")
        wanted = expected(name, net, shuffle)
        dataset, transform, batchify = setup(name, net)
        helpers.seed_all(random.randrange(100))  # whatever the global states are
        loader = seeded_loader(
            dataset, transform, 7, batch_size=3, shuffle=shuffle, batchify_fn=batchify, **workers
        )
        assert len(loader) == 3
        assert epochs(loader, 2) == wanted

    def test_they_differ(self, c4_net):
        """Between epochs, seeds, and orders; the test above would notice."""
        one, two = expected("faster", c4_net, False)
        assert one != two and all(a != b for a, b in zip(one, two))
        assert expected("faster", c4_net, True) != [one, two]
        dataset, transform, batchify = setup("faster", c4_net)
        other = seeded_loader(dataset, transform, 8, batch_size=3, batchify_fn=batchify)
        assert all(a != b for a, b in zip(epochs(other)[0], one))

    @pytest.mark.parametrize("shuffle", [False, True])
    @each_kind
    def test_default_batchify(self, workers, shuffle):
        def load(**options):
            return epochs(
                seeded_loader(list(range(10)), draws, 3, batch_size=4, shuffle=shuffle, **options),
                2,
            )

        assert load(**workers) == load()

    @each_kind
    def test_of_a_generator_that_the_transform_has(self, c4_net, workers):
        """The transform's own rng is neither used nor moved."""
        dataset, _, batchify = setup("faster", c4_net)
        own = np.random.default_rng(3)
        state = own.bit_generator.state
        transform = FasterRCNNTrainTransform((70, 90), 150, c4_net, num_sample=24, rng=own)
        loader = seeded_loader(dataset, transform, 7, batch_size=3, batchify_fn=batchify, **workers)
        assert epochs(loader, 2) == expected("faster", c4_net, False)
        assert own.bit_generator.state == state

    @each_kind
    def test_global_states(self, c4_net, workers):
        dataset, transform, batchify = setup("faster", c4_net)
        before = helpers.random_states()
        loader = seeded_loader(
            dataset, transform, 7, batch_size=3, shuffle=True, batchify_fn=batchify, **workers
        )
        epochs(loader, 2)
        assert helpers.random_states() == before

    def test_number_of_numpy(self):
        for seed, epoch in ((np.int64(3), np.uint8(2)), (np.uint64(3), np.int32(2))):
            loaders = [
                seeded_loader(list(range(4)), draws, *start, batch_size=np.int64(2), shuffle=True)
                for start in ((seed, epoch), (3, 2))
            ]
            assert epochs(loaders[0]) == epochs(loaders[1])

    @pytest.mark.parametrize("seed", [0, 2**32, 2**63, 2**64 - 1])
    @pytest.mark.parametrize("epoch", [0, 2**32, 2**63 - 1])
    def test_extreme_seeds_and_epochs(self, seed, epoch):
        loader = seeded_loader(
            list(range(20)), draws, seed, epoch, batch_size=20, shuffle=True, batchify_fn=as_lists
        )
        ((batch,),) = [list(loader)]
        assert sorted(index for index, _ in batch) == list(range(20))
        assert len({draw for _, draw in batch}) == 20
        assert [index for index, _ in batch] != list(range(20))


class TestEpochs:
    def test_counts(self):
        loader = seeded_loader(list(range(4)), draws, 1, 5, batch_size=2)
        seen = []
        for _ in range(3):
            seen.append(loader.epoch)
            list(loader)
        assert seen == [5, 6, 7] and loader.epoch == 8

    @each_kind
    @pytest.mark.parametrize("shuffle", [False, True])
    def test_resumes(self, workers, shuffle):
        def load(epoch, count):
            loader = seeded_loader(
                list(range(9)), draws, 1, epoch, batch_size=2, shuffle=shuffle, **workers
            )
            return epochs(loader, count)

        whole = load(0, 5)
        assert len({str(epoch) for epoch in whole}) == 5
        for start in (1, 3):
            assert load(start, 5 - start) == whole[start:]

    @pytest.mark.parametrize("start", [1, 2])
    def test_resumes_with_targets(self, c4_net, start):
        whole = expected("faster", c4_net, True, 0, 4)
        assert expected("faster", c4_net, True, start, 4 - start) == whole[start:]

    @each_kind
    def test_may_be_set(self, workers):
        loader = seeded_loader(list(range(4)), draws, 1, batch_size=2, **workers)
        whole = epochs(loader, 3)
        loader.epoch = 1
        assert loader.epoch == 1
        assert epochs(loader, 2) == whole[1:]

    @each_kind
    def test_left_early(self, workers):
        """A loop that is broken off has used up its epoch, and disturbs no other."""
        loader = seeded_loader(list(range(12)), draws, 1, batch_size=2, shuffle=True, **workers)
        whole = epochs(loader, 2)
        loader.epoch = 0
        for batch in loader:
            assert as_bytes(batch) == whole[0][0]
            break
        assert loader.epoch == 1
        assert epochs(loader) == whole[1:]

    @each_kind
    def test_two_at_once(self, workers):
        """An epoch begins with its first batch."""
        loader = seeded_loader(list(range(6)), draws, 1, batch_size=2, **workers)
        whole = epochs(loader, 2)
        loader.epoch = 0
        first, second = iter(loader), iter(loader)
        assert loader.epoch == 0
        found = [], []
        for one, other in zip(first, second):
            found[0].append(as_bytes(one))
            found[1].append(as_bytes(other))
        assert list(found) == whole

    @pytest.mark.parametrize("epoch, error, message", [
        (-1, ValueError, "epoch must be at least 0 and below 9223372036854775808, but got -1"),
        (2**63, ValueError, "epoch must be at least 0 and below 9223372036854775808, but got"),
        (1.0, TypeError, "epoch must be a whole number, but got 1.0"),
        ("1", TypeError, "epoch must be a whole number, but got '1'"),
        (True, TypeError, "epoch must be a whole number, but got True"),
        (None, TypeError, "epoch must be a whole number, but got None"),
    ])  # fmt: skip
    def test_bad_epochs(self, epoch, error, message):
        loader = seeded_loader([1, 2], draws, 1, batch_size=2)
        with pytest.raises(error, match=message):
            loader.epoch = epoch
        assert loader.epoch == 0

    def test_a_new_order_in_each(self):
        loader = seeded_loader(
            list(range(50)), draws, 1, batch_size=50, shuffle=True, batchify_fn=as_lists
        )
        orders = [tuple(index for index, _ in next(iter(loader))) for _ in range(20)]
        assert len(set(orders)) == 20
        assert all(sorted(order) == list(range(50)) for order in orders)
        firsts = {order[0] for order in orders}
        assert len(firsts) > 10

    def test_no_order_without_shuffle(self):
        loader = seeded_loader(list(range(7)), draws, 1, batch_size=3, batchify_fn=as_lists)
        for _ in range(2):
            assert [[index for index, _ in b] for b in loader] == [[0, 1, 2], [3, 4, 5], [6]]


def ranks(num_ranks, size, **options):
    """Return the batches of all ranks."""
    return [
        list(
            seeded_loader(
                list(range(size)), draws, 4, 2, batchify_fn=as_lists, rank=rank,
                num_ranks=num_ranks, **options,
            )
        )
        for rank in range(num_ranks)
    ]  # fmt: skip


class TestRanks:
    @pytest.mark.parametrize("num_ranks", [1, 2, 3, 5])
    @pytest.mark.parametrize("size", [0, 1, 2, 5, 6, 12, 17, 18, 23])
    @pytest.mark.parametrize("batch_size", [1, 2, 3])
    @pytest.mark.parametrize("shuffle", [False, True])
    def test_keep(self, num_ranks, size, batch_size, shuffle):
        """All samples once, with the draws of a single rank; ranks differ by a sample at most."""
        options = dict(batch_size=batch_size, shuffle=shuffle)
        found = ranks(num_ranks, size, **options)
        samples = [[sample for batch in batches for sample in batch] for batches in found]
        ((single),) = ranks(1, size, **options)
        assert sorted(sum(samples, [])) == sorted(sum(single, []))
        lengths = [len(part) for part in samples]
        assert lengths == sorted(lengths, reverse=True) and lengths[0] - lengths[-1] <= 1
        for batches in found:
            assert all(len(batch) == batch_size for batch in batches[:-1])
            assert all(1 <= len(batch) <= batch_size for batch in batches)

    @pytest.mark.parametrize("num_ranks", [1, 2, 3, 5])
    @pytest.mark.parametrize("size", [0, 1, 2, 5, 6, 12, 17, 18, 23])
    @pytest.mark.parametrize("batch_size", [1, 2, 3])
    def test_discard(self, num_ranks, size, batch_size):
        """Whole batches, equally many on every rank; what is left out is less than one round."""
        found = ranks(num_ranks, size, batch_size=batch_size, shuffle=True, last_batch="discard")
        steps = size // (num_ranks * batch_size)
        assert [len(batches) for batches in found] == [steps] * num_ranks
        assert all(len(batch) == batch_size for batches in found for batch in batches)
        samples = [sample for batches in found for batch in batches for sample in batch]
        (single,) = ranks(1, size, batch_size=batch_size, shuffle=True)
        assert len(samples) == len(set(samples)) == steps * num_ranks * batch_size
        assert set(samples) <= set(sum(single, []))

    @pytest.mark.parametrize("num_ranks", [1, 2, 3])
    @pytest.mark.parametrize("size", [0, 1, 2, 5, 6, 17])
    @pytest.mark.parametrize("batch_size", [1, 2, 3])
    @pytest.mark.parametrize("shuffle", [False, True])
    def test_rollover(self, num_ranks, size, batch_size, shuffle):
        """Whole batches, equally many on every rank; in the long run every sample of each epoch."""
        options = dict(batch_size=batch_size, shuffle=shuffle, batchify_fn=as_lists)

        def load(**more):
            loader = seeded_loader(list(range(size)), draws, 4, **options, **more)
            return [list(loader) for _ in range(6)]

        found = [
            load(rank=rank, num_ranks=num_ranks, last_batch="rollover") for rank in range(num_ranks)
        ]
        for epoch, of_ranks in enumerate(zip(*found)):
            steps = [(epoch + i) * size // (batch_size * num_ranks) for i in (0, 1)]
            assert [len(batches) for batches in of_ranks] == [steps[1] - steps[0]] * num_ranks
        rounds = [sum(of_rank, []) for of_rank in found]  # batches of all epochs, by rank
        assert all(len(batch) == batch_size for batches in rounds for batch in batches)
        stream = [sample for batches in zip(*rounds) for batch in batches for sample in batch]
        alone = [sample for epoch in load() for batch in epoch for sample in batch]
        assert stream == alone[: len(stream)]
        assert len(alone) - len(stream) < batch_size * num_ranks

    def test_rollover_by_hand(self):
        """Two ranks, batches of 2, 7 samples: 3 are left, then 2, then 1, then none."""

        def read(rank):
            loader = seeded_loader(
                list("abcdefg"), lambda name, rng: name, 4, batch_size=2, last_batch="rollover",
                batchify_fn="".join, rank=rank, num_ranks=2,
            )  # fmt: skip
            return [list(loader) for _ in range(5)]

        assert read(0) == [["ab"], ["ef", "bc"], ["fg", "cd"], ["ga", "de"], ["ab"]]
        assert read(1) == [["cd"], ["ga", "de"], ["ab", "ef"], ["bc", "fg"], ["cd"]]

    def test_rollover_resumes(self):
        """Also where the first samples are of epochs before the one resumed at."""
        options = dict(batch_size=5, shuffle=True, last_batch="rollover", batchify_fn=as_lists)
        loader = seeded_loader([10, 20], draws, 4, **options)
        whole = [list(loader) for _ in range(9)]
        assert [len(batches) for batches in whole] == [0, 0, 1, 0, 1, 0, 0, 1, 0]
        for epoch in range(9):
            resumed = seeded_loader([10, 20], draws, 4, epoch, **options)
            assert list(resumed) == whole[epoch]

    def test_rollover_of_a_sampler(self):
        """Of any order, as long as its length is right."""
        options = dict(batch_size=2, last_batch="rollover", batchify_fn=as_lists)
        loader = seeded_loader([0, 1, 2, 3], draws, 4, sampler=[3, 1, 0], **options)
        indices = [[[index for index, _ in batch] for batch in loader] for _ in range(2)]
        assert indices == [[[3, 1]], [[0, 3], [1, 0]]]

        class Fewer(RandomSampler):
            def __iter__(self):
                return iter([0, 1])

        loader = seeded_loader([0, 1, 2, 3], draws, 4, sampler=Fewer(4), **options)
        with pytest.raises(ValueError, match="as its length says, but of 4 it gave 2"):
            list(loader)

    @pytest.mark.parametrize("last_batch", ["keep", "discard", "rollover"])
    def test_length(self, last_batch):
        for size in range(20):
            for rank in range(3):
                loader = seeded_loader(
                    list(range(size)), draws, 4, batch_size=2, last_batch=last_batch, rank=rank,
                    num_ranks=3,
                )  # fmt: skip
                for _ in range(3):
                    length = len(loader)
                    assert len(list(loader)) == length

    @pytest.mark.parametrize("last_batch", ["keep", "discard", "rollover"])
    def test_a_round_of_ranks_is_a_batch_of_one(self, last_batch):
        """Two ranks of 3 see together, step by step, what one rank of 6 sees."""
        options = dict(shuffle=True, last_batch=last_batch)
        found = ranks(2, 20, batch_size=3, **options)
        (single,) = ranks(1, 20, batch_size=6, **options)
        together = [one + other for one, other in zip(*found)]
        assert together == single

    @pytest.mark.parametrize("num_ranks", [2, 3])
    @pytest.mark.parametrize("name", ["faster", "mask"])
    def test_bytes_of_samples(self, c4_net, name, num_ranks):
        """The very targets: union of the ranks, with workers, against a single process."""
        dataset, transform, _ = setup(name, c4_net)
        options = dict(batch_size=2, shuffle=True, batchify_fn=as_lists)

        def load(**more):
            # Threads, because lists of anything may be returned from them.
            loader = seeded_loader(dataset, transform, 7, 3, **options, **more)
            return [as_bytes(sample) for batch in loader for sample in batch]

        single = load()
        union = [
            sample
            for rank in range(num_ranks)
            for sample in load(rank=rank, num_ranks=num_ranks, num_workers=2, thread_pool=True)
        ]
        assert sorted(union) == sorted(single)
        assert len(set(union)) == len(SIZES)

    @pytest.mark.filterwarnings("ignore:no image of a batch:rpn_target.RPNTargetWarning")
    @pytest.mark.parametrize("name", ["faster", "mask"])
    def test_bytes_of_batches(self, request, name, c4_net):
        """Two ranks with batches of one image, in processes, against a rank without workers."""
        dataset, transform, batchify = setup(name, c4_net)

        def load(**more):
            loader = seeded_loader(
                dataset, transform, 7, 3, batch_size=1, shuffle=True, batchify_fn=batchify, **more
            )
            return [as_bytes(batch) for batch in loader]

        one, other = (load(rank=rank, num_ranks=2, num_workers=2) for rank in range(2))
        assert [batch for pair in zip(one, other) for batch in pair] == load()


class Lengths(Sampler):
    """Batches whose order is drawn from both global generators."""

    def __iter__(self):
        order = list(range(9))
        np.random.shuffle(order)
        random.shuffle(order)
        return iter([order[:4], order[4:6], order[6:]])

    def __len__(self):
        return 3


def buckets():
    keys = [(index * 7) % 23 for index in range(23)]
    return SplitSortedBucketSampler(keys, 4, mult=2, shuffle=True)


MAKERS = [Lengths, buckets]


class TestSamplers:
    @pytest.mark.parametrize("make", MAKERS)
    @each_kind
    def test_batch_sampler(self, make, workers):
        helpers.seed_all(1)
        loader = seeded_loader(list(range(23)), draws, 5, batch_sampler=make(), **workers)
        found = epochs(loader, 3)
        assert len({str(epoch) for epoch in found}) == 3
        helpers.seed_all(2)
        resumed = seeded_loader(list(range(23)), draws, 5, 1, batch_sampler=make())
        assert epochs(resumed, 2) == found[1:]
        other = seeded_loader(list(range(23)), draws, 6, batch_sampler=make())
        assert epochs(other) != found[:1]

    @pytest.mark.parametrize("make", MAKERS)
    @pytest.mark.parametrize("num_ranks", [1, 2, 3, 8])
    def test_ranks(self, make, num_ranks):
        """Rank r takes every R-th batch from the r-th on."""

        def load(**more):
            loader = seeded_loader(
                list(range(23)), draws, 5, 4, batch_sampler=make(), batchify_fn=as_lists, **more
            )
            batches = list(loader)
            assert len(batches) == len(loader)
            return batches

        single = load()
        for rank in range(num_ranks):
            assert load(rank=rank, num_ranks=num_ranks) == single[rank::num_ranks]

    def test_buckets_hold_every_sample(self):
        loader = seeded_loader(
            list(range(23)), draws, 5, batch_sampler=buckets(), batchify_fn=as_lists
        )
        samples = [sample for batch in loader for sample in batch]
        assert {index for index, _ in samples} == set(range(23))
        # A sample that GluonCV fills a batch up with is the same each time.
        assert len(set(samples)) == 23

    @each_kind
    def test_sampler(self, workers):
        def load(seed, **more):
            loader = seeded_loader(
                list(range(9)), draws, seed, sampler=RandomSampler(9), batch_size=2, **more
            )
            return epochs(loader, 2)

        found = load(5, **workers)
        helpers.seed_all(8)
        assert load(5) == found
        assert load(6) != found
        assert found[0] != found[1]

    def test_sampler_of_a_part(self):
        """Its length counts, not the data set's."""
        for last_batch, count in (("keep", 3), ("discard", 2)):
            loader = seeded_loader(
                list(range(9)), draws, 5, sampler=[7, 3, 5, 1, 8], batch_size=2,
                last_batch=last_batch, batchify_fn=as_lists,
            )  # fmt: skip
            batches = list(loader)
            assert len(loader) == len(batches) == count
            indices = [index for batch in batches for index, _ in batch]
            assert indices == [7, 3, 5, 1, 8][: len(indices)]

    @pytest.mark.parametrize("options", [dict(batch_sampler=Lengths()), dict(batch_size=3)])
    def test_global_states(self, options):
        if "batch_size" in options:
            options = dict(options, sampler=RandomSampler(9))
        helpers.seed_all(4)
        before = helpers.random_states()
        list(seeded_loader(list(range(9)), draws, 5, **options))
        assert helpers.random_states() == before

    def test_global_states_after_an_error(self):
        class Broken(Lengths):
            def __iter__(self):
                np.random.shuffle([1, 2, 3])
                random.random()
                raise OSError("no list of files")

        before = helpers.random_states()
        with pytest.raises(OSError, match="no list of files"):
            list(seeded_loader(list(range(9)), draws, 5, batch_sampler=Broken()))
        assert helpers.random_states() == before

    def test_same_sample_twice(self):
        """In one epoch a sample's draws are the same, wherever it comes up."""
        loader = seeded_loader(
            [10, 20, 30], draws, 5, sampler=[1, 0, 1], batch_size=3, batchify_fn=as_lists
        )
        ((one, other, again),) = list(loader)
        assert one == again and one[0] == 20 and one[1] != other[1]

    @each_kind
    def test_index_from_the_end(self, workers):
        """It would be the sample of another number, with draws of its own."""
        loader = seeded_loader([1, 2, 3], draws, 5, sampler=[0, -1], batch_size=2, **workers)
        with pytest.raises(ValueError, match="sample -1 of epoch 0: .*from 0"):
            list(loader)

    @each_kind
    def test_index_behind_the_end(self, workers):
        loader = seeded_loader([1, 2, 3], draws, 5, sampler=[0, 3], batch_size=2, **workers)
        with pytest.raises(RuntimeError, match="sample 3 of epoch 0: IndexError: list index out"):
            list(loader)


class Refusing:
    """A transform that raises an error for one sample, as long as a file is there."""

    def __init__(self, error, path, bad=5):
        self._error = error
        self._path = path
        self._bad = bad

    def __call__(self, index, rng):
        if index == self._bad and self._path.exists():
            raise self._error
        return draws(index, rng)


class Undecodable(ValueError):
    """An error that cannot be made from a message, nor pickled."""

    def __init__(self, one, other):
        super().__init__(f"{one} and {other}")


ERRORS = [
    (ValueError("a bad box"), ValueError, "a bad box"),
    (TypeError("a bad type"), TypeError, "a bad type"),
    (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "why"), ValueError, "'utf-8' codec can't decode"),
    (json.JSONDecodeError("what", "text", 0), ValueError, "what: line 1 column 1"),
    (Undecodable("this", "that"), ValueError, "this and that"),
    (KeyError("name"), RuntimeError, "KeyError: 'name'"),
    (AssertionError(), RuntimeError, "AssertionError"),
    (StopIteration(), RuntimeError, "StopIteration"),
    (OSError(2, "No such file"), RuntimeError, "No such file"),
    (mx.MXNetError("engine"), RuntimeError, "MXNetError: engine"),
]


class TestErrors:
    @pytest.mark.parametrize("error, kind, message", ERRORS, ids=lambda value: repr(value)[:30])
    @each_kind
    def test_in_a_sample(self, tmp_path, workers, error, kind, message):
        """It names sample and epoch, and the loader goes on: with the epochs that follow."""
        whole = epochs(seeded_loader(list(range(12)), draws, 3, batch_size=2), 5)
        path = tmp_path / "broken"
        path.touch()
        loader = seeded_loader(list(range(12)), Refusing(error, path), 3, batch_size=2, **workers)
        for epoch in range(3):
            read = []
            with pytest.raises(kind, match=f"^sample 5 of epoch {epoch}: .*{message}") as caught:
                read.extend(map(as_bytes, loader))
            assert type(caught.value) is kind
            assert "Refusing" not in str(caught.value)
            assert "raise self._error" in str(caught.value.__cause__)  # where it happened
        path.unlink()
        assert epochs(loader, 2) == whole[3:]

    @each_kind
    def test_batches_before_it_arrive(self, tmp_path, workers):
        path = tmp_path / "broken"
        path.touch()
        loader = seeded_loader(
            list(range(12)), Refusing(ValueError("x"), path), 3, batch_size=2, **workers
        )
        (whole,) = epochs(seeded_loader(list(range(12)), draws, 3, batch_size=2))
        read = []
        with pytest.raises(ValueError):
            for batch in loader:
                read.append(as_bytes(batch))
        assert read == whole[:2]

    @each_kind
    def test_in_the_batch(self, workers):
        """As when labels of a batch do not have the same columns."""
        loader = seeded_loader(
            list(range(6)), draws, 3, batch_size=2, batchify_fn=refuse, **workers
        )
        for epoch in range(2):
            read = []
            with pytest.raises(
                ValueError, match=f"^batch of samples 2, 3 of epoch {epoch}: columns differ"
            ):
                for batch in loader:
                    read.append(batch)
            assert [[index for index, _ in batch] for batch in read] == [[0, 1]]

    @each_kind
    def test_bad_box(self, c4_net, workers):
        """The message of the transform, row and size of the image included."""
        dataset, transform, batchify = setup("faster", c4_net)
        dataset._samples[4][1][2, :4] = 30, 20, 10, 40
        loader = seeded_loader(
            dataset, transform, 7, 9, batch_size=3, batchify_fn=batchify, **workers
        )
        for epoch in (9, 10):
            with pytest.raises(
                ValueError,
                match=rf"^sample 4 of epoch {epoch}: label.* must hold finite corner boxes .*"
                r"row 2 is \[30.0, 20.0, 10.0, 40.0\] \(image of 150 x 100\)$",
            ):
                list(loader)

    @each_kind
    @pytest.mark.parametrize("content", [b"", b"no image at all", b"\xff\xd8\xff\xe0 cut off"])
    def test_broken_image(self, c4_net, tmp_path, workers, content):
        """The data set raises, not the transform; in MXNet's engine."""
        path = tmp_path / "broken.jpg"
        path.write_bytes(content)
        good, transform, batchify = setup("faster", c4_net)

        class Files(Images):
            def __getitem__(self, index):
                image, label = super().__getitem__(index)
                if index == 5 and path.exists():
                    image = mx.image.imread(str(path))
                return image, label

        loader = seeded_loader(
            Files(), transform, 7, batch_size=3, shuffle=True, batchify_fn=batchify, **workers
        )
        with pytest.raises(RuntimeError, match="^sample 5 of epoch 0: "):
            list(loader)
        path.unlink()
        assert epochs(loader) == expected("faster", c4_net, True)[1:]

    @each_kind
    def test_dropped_boxes(self, c4_net, workers):
        dataset, _, batchify = setup("faster", c4_net)
        dataset._samples[4][1][2, :4] = 30, 20, 10, 40
        transform = FasterRCNNTrainTransform(80, 150, c4_net, num_sample=9, on_bad_box="drop")
        loader = seeded_loader(dataset, transform, 7, sampler=[4], batch_size=1,
                               batchify_fn=batchify, **workers)  # fmt: skip
        if workers.get("num_workers") and not workers.get("thread_pool"):
            # In the workers, pytest's settings make the warning an error.
            with pytest.raises(
                RuntimeError, match="sample 4 of epoch 0: RPNTargetWarning: dropped 1 of"
            ):
                list(loader)
            return
        with pytest.warns(UserWarning, match=r"dropped 1 of 5 boxes .* in row 2: \[30.0, 20.0"):
            ((_, labels, *_),) = list(loader)
        assert labels.shape[1] == 4


def refuse(samples):
    if samples[0][0] == 2:
        raise ValueError("columns differ")
    return samples


class TestParameters:
    @pytest.mark.parametrize(
        "options, error, message",
        [
            (dict(seed=-1), ValueError, "seed must be at least 0 and below"),
            (dict(seed=2**64), ValueError, "seed must be at least 0 and below 1844"),
            (dict(seed=1.0), TypeError, "seed must be a whole number, but got 1.0"),
            (dict(seed=None), TypeError, "seed must be a whole number, but got None"),
            (dict(seed=True), TypeError, "seed must be a whole number, but got True"),
            (dict(epoch=-1), ValueError, "epoch must be at least 0"),
            (dict(epoch="1"), TypeError, "epoch must be a whole number, but got '1'"),
            (dict(batch_size=0), ValueError, "batch_size must be at least 1"),
            (dict(batch_size=None), TypeError, "batch_size must be a whole number, but got None"),
            (dict(batch_size=2.0), TypeError, "batch_size must be a whole number"),
            (dict(num_ranks=0), ValueError, "num_ranks must be at least 1"),
            (dict(rank=-1), ValueError, "rank must be at least 0 and below 1, but got -1"),
            (dict(rank=2, num_ranks=2), ValueError, "rank must be at least 0 and below 2, but"),
            (dict(rank=0.0), TypeError, "rank must be a whole number"),
            (dict(last_batch="drop"), ValueError, "last_batch must be .* but got 'drop'"),
            (dict(last_batch=None), ValueError, "last_batch must be one of"),
            (dict(sampler=[0], shuffle=True), ValueError, "sampler and shuffle exclude each other"),
            (dict(batch_sampler=[[0]]), ValueError, "batch_sampler excludes batch_size"),
            (dict(transform=len), TypeError, "transform must accept an argument `rng`"),
            (dict(transform=None), TypeError, "transform must accept an argument `rng`"),
            (dict(transform=lambda image, label: 0), TypeError, "transform must accept"),
            (dict(auto_reload=True), ValueError, "auto_reload must be False"),
            (dict(num_worker=2), TypeError, "num_worker"),
        ],
        ids=str,
    )  # fmt: skip
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    def test_refused(self, options, error, message):
        """Of an option it does not know, MXNet's loader complains twice."""
        options = dict(dict(transform=draws, seed=1, batch_size=2), **options)
        with pytest.raises(error, match=message):
            seeded_loader([1, 2, 3], **options)

    @pytest.mark.parametrize(
        "option", [dict(shuffle=True), dict(sampler=[0]), dict(last_batch="discard")], ids=str
    )
    def test_batch_sampler_alone(self, option):
        with pytest.raises(ValueError, match="batch_sampler excludes"):
            seeded_loader([1, 2, 3], draws, 1, batch_sampler=[[0]], **option)

    def test_transform_of_gluoncv(self, c4_net):
        """Its draws would come from the global state."""
        with pytest.raises(TypeError, match="FasterRCNNDefaultTrainTransform"):
            seeded_loader(Images(), FasterRCNNDefaultTrainTransform(), 1, batch_size=2)

    @pytest.mark.parametrize(
        "transform",
        [draws, functools.partial(noisy), lambda *sample, rng: 0, lambda *sample, **rest: 0],
    )
    def test_transforms_accepted(self, transform):
        loader = seeded_loader([1, 2, 3], transform, 1, batch_size=2, batchify_fn=as_lists)
        assert len(list(loader)) == 2

    def test_is_a_loader(self):
        loader = seeded_loader([1, 2, 3], draws, 1, batch_size=2)
        assert isinstance(loader, DataLoader)

    def test_empty_data_set(self):
        loader = seeded_loader([], draws, 1, batch_size=2, shuffle=True)
        assert len(loader) == 0 and list(loader) == [] and loader.epoch == 1

    def test_samples_that_are_no_tuples(self):
        """As in ``Dataset.transform``: a tuple is spread out, a list is one argument."""
        seen = []

        def transform(*sample, rng):
            seen.append(sample)
            return 0

        for dataset in ([(1, 2)], [[1, 2]], np.array([[1.0, 2.0]])):
            list(seeded_loader(dataset, transform, 1, batch_size=1))
        assert seen[:2] == [(1, 2), ([1, 2],)]
        assert len(seen[2]) == 1 and seen[2][0].tolist() == [1, 2]

    def test_pickles_what_workers_get(self, c4_net):
        """Where workers are not forked."""
        dataset, transform, _ = setup("faster", c4_net)
        loader = seeded_loader(dataset, transform, 1, batch_size=1)
        place = next(iter(loader._batch_sampler))[0]
        copy = pickle.loads(pickle.dumps(loader._dataset._transform))
        place = pickle.loads(pickle.dumps(place))
        loader._dataset._transform = copy
        again = seeded_loader(dataset, transform, 1, batch_size=1)
        assert as_bytes(loader._dataset[place].value) == as_bytes(again._dataset[place].value)
