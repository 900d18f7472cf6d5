"""Threads that read one RecordIO file: every one gets the record it asked for."""

import functools

import mxnet as mx
import numpy as np
import pytest
from mxnet.gluon.data import ArrayDataset, Dataset, RecordFileDataset

from rpn_target import seeded_loader
from rpn_target.loader.samples import _holds_reader

COUNT = 2000


@pytest.fixture(scope="module")
def record_file(tmp_path_factory):
    """Return the path of a file whose records hold their number, and have lengths of their own."""
    path = tmp_path_factory.mktemp("records") / "data"
    record = mx.recordio.MXIndexedRecordIO(f"{path}.idx", f"{path}.rec", "w")
    for number in range(COUNT):
        record.write_idx(number, b"%08d" % number * (1 + number % 50))
    record.close()
    return f"{path}.rec"


def text_of(record, rng):
    return int(record[:8]), len(record), int(rng.integers(2**62))


def batches(dataset, **options):
    loader = seeded_loader(dataset, text_of, 1, batch_size=5, shuffle=True, **options)
    with loader:
        return [[array.asnumpy().tolist() for array in batch] for batch in loader]


@pytest.mark.slow
def test_record_file(record_file):
    dataset = RecordFileDataset(record_file)
    found = batches(dataset, num_workers=4, thread_pool=True)
    assert found == batches(dataset) == batches(dataset, num_workers=2)
    numbers = [number for batch in found for number in batch[0]]
    assert sorted(numbers) == list(range(COUNT))


class Wrapping(Dataset):
    def __init__(self, dataset):
        self._parts = {"train": [dataset]}

    def __len__(self):
        return COUNT

    def __getitem__(self, index):
        return self._parts["train"][0][index]


def closure(dataset):
    return ArrayDataset(range(COUNT)).transform(lambda index: dataset[index])


def partial(dataset):
    return ArrayDataset(range(COUNT)).transform(functools.partial(read_of, dataset))


def method(dataset):
    return ArrayDataset(range(COUNT)).transform(Wrapping(dataset).__getitem__)


def read_of(dataset, index):
    return dataset[index]


@pytest.mark.parametrize("wrap", [Wrapping, closure, partial, method])
def test_wrapped(record_file, wrap):
    dataset = RecordFileDataset(record_file)
    assert batches(wrap(dataset), num_workers=4, thread_pool=True) == batches(dataset)


@pytest.mark.parametrize(
    "dataset",
    [
        [1, 2, 3],
        ArrayDataset(np.zeros((9, 4)), [object()] * 9),
        ArrayDataset([{"label": [k]} for k in range(300_000)]),
    ],
    ids=["list", "arrays", "many"],
)
def test_others_are_read_in_parallel(dataset):
    assert not _holds_reader(dataset)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()], ids=repr)
def test_a_thread_that_ends_itself(error):
    """The sample is named, and nobody waits."""

    def leave(index, rng):
        if index == 3:
            raise error
        return index

    loader = seeded_loader(range(8), leave, 1, batch_size=2, num_workers=2, thread_pool=True)
    for epoch in range(2):
        message = f"sample 3 of epoch {epoch}: {type(error).__name__}"
        with pytest.raises(RuntimeError, match=message):
            list(loader)
