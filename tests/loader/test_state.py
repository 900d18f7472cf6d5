"""Stop after any batch, go on anywhere: with other workers, ranks and batch sizes."""

import gc
import json

import pytest

from rpn_target import seeded_loader

WORKERS = [{}, dict(num_workers=2, thread_pool=True), dict(num_workers=2)]


@pytest.fixture(autouse=True)
def no_garbage_collection(monkeypatch):
    monkeypatch.setattr(gc, "collect", lambda *generation: 0)


def draws(index, rng):
    return index, int(rng.integers(2**62))


def loader_of(size=23, batch_size=4, **options):
    options = dict(dict(shuffle=True, batchify_fn=list), **options)
    return seeded_loader(range(size), draws, 3, batch_size=batch_size, **options)


def rest_of(loader, end=3):
    """Return all batches up to an epoch."""
    found = []
    while loader.epoch < end:
        found.extend(loader)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("last_batch", ["keep", "discard", "rollover"])
@pytest.mark.parametrize("workers", WORKERS, ids=str)
def test_after_every_batch(last_batch, workers):
    whole = rest_of(loader_of(last_batch=last_batch))
    states = []
    with loader_of(last_batch=last_batch, **workers) as loader:
        states.append(loader.state_dict())
        while loader.epoch < 3:
            for _ in loader:
                states.append(json.loads(json.dumps(loader.state_dict())))
    assert len(states) == len(whole) + 1
    for count, state in enumerate(states):
        with loader_of(last_batch=last_batch, **WORKERS[count % 3]) as resumed:
            resumed.load_state_dict(state)
            assert resumed.state_dict() == state
            if state["epoch"] < 3:
                assert rest_of(resumed) == whole[count:]


@pytest.mark.parametrize("last_batch", ["keep", "rollover"])
def test_other_ranks_and_batch_sizes(last_batch):
    """Whatever divides what was read goes on with the same samples; the rest is refused."""
    order = [s for batch in rest_of(loader_of(batch_size=1)) for s in batch]
    loader = loader_of(batch_size=6, last_batch=last_batch)
    batches = iter(loader)
    next(batches), next(batches)
    state = loader.state_dict()
    assert (state["epoch"], state["samples"]) == (0, 12)
    for num_ranks, batch_size in ((2, 3), (1, 4), (3, 2), (4, 3), (12, 1)):
        ranks = []
        for rank in range(num_ranks):
            resumed = loader_of(
                batch_size=batch_size, rank=rank, num_ranks=num_ranks, last_batch=last_batch
            )
            resumed.load_state_dict(state)
            ranks.append(rest_of(resumed))
        rounds = min(map(len, ranks))
        stream = [s for step in range(rounds) for rank in ranks for s in rank[step]]
        wanted = order[12 : 12 + len(stream)]
        assert stream[:8] == wanted[:8]
        if last_batch == "rollover":
            assert stream == wanted
    resumed = loader_of(batch_size=5, num_ranks=2, last_batch=last_batch)
    before = resumed.state_dict()
    with pytest.raises(ValueError, match="the 12 samples .* these batch sizes do: 1, 2, 3, 6"):
        resumed.load_state_dict(state)
    assert resumed.state_dict() == before


def test_reads_nothing_again():
    """Neither what was read before nor, in the count, what was only prefetched."""
    seen = []

    def watched(index, rng):
        seen.append(index)
        return index

    loader = seeded_loader(range(20), watched, 1, batch_size=2, batchify_fn=list)
    loader.load_state_dict(dict(loader.state_dict(), samples=16))
    assert len(loader) == 2
    assert list(loader) == [[16, 17], [18, 19]] and seen == [16, 17, 18, 19]
    with loader_of(num_workers=2) as other:
        next(iter(other))
        assert other.state_dict()["samples"] == 4


def test_batch_sampler():
    options = dict(batch_size=None, shuffle=False, batch_sampler=[[0, 1, 2], [3], [4, 5], [6]])
    loader = loader_of(**options)
    whole = list(loader)
    loader.epoch = 0
    for _, _ in zip(range(2), loader):
        state = loader.state_dict()
    assert state["samples"] == 4
    for rank in range(2):
        resumed = loader_of(**options, rank=rank, num_ranks=2)
        resumed.load_state_dict(state)
        assert list(resumed) == [whole[2 + rank]]
    with pytest.raises(ValueError, match="num_ranks 3 must divide"):
        loader_of(**options, num_ranks=3).load_state_dict(state)


@pytest.mark.parametrize("name, value", [("seed", 4), ("length", 24), ("shuffle", 0)])
def test_of_another_loader(name, value):
    loader = loader_of()
    with pytest.raises(ValueError, match=f"a loader with the same {name}, but it has {name}"):
        loader.load_state_dict(dict(loader.state_dict(), **{name: value}))


@pytest.mark.parametrize("state", [None, {}, [1], {"epoch": 0}])
def test_no_state(state):
    with pytest.raises(ValueError, match=r"state must be what state_dict\(\) returned"):
        loader_of().load_state_dict(state)
