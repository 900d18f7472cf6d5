"""Batches in recycled memory: nobody writes where somebody still reads, and all comes back."""

from __future__ import annotations

import copy
import gc
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import textwrap
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import helpers  # imports rpn_target before MXNet
import mxnet as mx
import numpy as np
import pytest
from mxnet.gluon.data import DataLoader, SimpleDataset

from rpn_target import seeded_loader
from rpn_target.gluon import recycled_memory
from rpn_target.gluon.ndarray import SHARED
from rpn_target.gluon.recycled_memory import Batch, BatchLostError, collect, take

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs Linux's memfd")
ITEMS = 50_000  # of a batch's larger array
WORKERS = {
    "in process": dict(num_workers=0),
    "processes": dict(num_workers=2),
    "threads": dict(num_workers=2, thread_pool=True),
}
EACH_KIND = pytest.mark.parametrize("workers", WORKERS.values(), ids=WORKERS)


def make(numbers, items=ITEMS):
    """Return a batch that says all over which numbers it was made of."""
    memory = take([((len(numbers), items), np.float32), ((3,), np.int64), ((2, 2), np.uint8)])
    for array in memory.arrays[1:]:
        array[...] = numbers[0] % 256
    memory.arrays[0][...] = np.reshape(numbers, (-1, 1))
    return memory.batch((0, [1], (2,)))


def make_of_size(numbers):
    """Return a batch whose size changes from one to the next, in jumps."""
    return make(numbers, items=1 + (numbers[0] * 7919) % 400 * 1000)


def check(batch, numbers):
    """Assert that a batch still is what `make` made of the numbers."""
    values, (second,), (third,) = batch
    assert type(batch[1]) is list and type(batch[2]) is tuple
    assert values.context == second.context == third.context == mx.cpu(0)
    values = values.asnumpy()
    assert values.dtype == np.float32
    np.testing.assert_array_equal(
        values, np.broadcast_to(np.reshape(numbers, (-1, 1)), values.shape)
    )
    np.testing.assert_array_equal(second.asnumpy(), np.full(3, numbers[0] % 256, np.int64))
    np.testing.assert_array_equal(third.asnumpy(), np.full((2, 2), numbers[0] % 256, np.uint8))


def check_all(loader):
    """Assert that an epoch of pairs is right; return the number of batches."""
    count = -1
    for count, batch in enumerate(loader):
        check(batch, [2 * count, 2 * count + 1])
    return count + 1


def pairs(count, batchify=make, **workers):
    return DataLoader(SimpleDataset(range(2 * count)), 2, batchify_fn=batchify, **workers)


def resident_megabytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def slots():
    """Return how many slots this process has mapped, and how many batches it holds."""
    gc.collect()
    mx.nd.waitall()
    collect()
    return len(recycled_memory._mappings), len(recycled_memory._loans)


def run_script(source, *command):
    """Run a script that may import this module in a fresh interpreter, behind a command."""
    here = Path(__file__).resolve().parent
    folders = [here, here.parent, here.parent.parent]
    subprocess.run(
        [*command, sys.executable, "-W", "ignore", "-c", textwrap.dedent(source)],
        check=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))},
    )


def drop_all(batches):
    """Drop batches, as a forked process may those it inherits."""
    batches.clear()
    gc.collect()
    mx.nd.waitall()


def thaw_and_collect():
    """Collect garbage, in a forked process also what was inherited, which importing us freezes."""
    gc.unfreeze()
    gc.collect()


class TestLoader:
    @pytest.mark.slow
    @EACH_KIND
    def test_two_hundred_held_at_once(self, workers):
        """More than there are slots; later epochs use others, and the memory comes back."""
        loader = pairs(200, **workers)
        held = list(loader)
        assert check_all(loader) == 200
        for number, batch in enumerate(held):
            check(batch, [2 * number, 2 * number + 1])
        del batch
        held.clear()
        for _ in range(2):  # long enough that the slots used at once are forgotten
            assert check_all(loader) == 200
        mapped, loans = slots()
        assert loans <= 1
        assert mapped <= 20 and len(recycled_memory._pool.slots) <= 20
        del loader
        assert slots() == (0, 0)

    @pytest.mark.slow
    @EACH_KIND
    def test_two_hundred_iterations_left(self, workers):
        """After a batch or some, while others are on their way."""
        loader = pairs(12, **workers)
        for number in range(200):
            for index, batch in enumerate(loader):
                check(batch, [2 * index, 2 * index + 1])
                if index == number % 5:
                    break
        assert check_all(loader) == 12
        del batch
        mapped, _ = slots()
        assert mapped <= 20
        assert not recycled_memory._unread

    @EACH_KIND
    def test_two_iterations_in_turns(self, workers):
        loader = pairs(30, **workers)
        one, other = iter(loader), iter(loader)
        for index in range(30):
            check(next(one), [2 * index, 2 * index + 1])
            if index % 3 == 0:
                check(next(other), [2 * index // 3, 2 * index // 3 + 1])
        for index in range(10, 30):
            check(next(other), [2 * index, 2 * index + 1])

    @pytest.mark.slow
    @EACH_KIND
    def test_two_thousand_sizes(self, workers):
        loader = pairs(2000, make_of_size, **workers)
        for index, batch in enumerate(loader):
            values = batch[0].asnumpy()
            assert values.shape == (2, 1 + 2 * index * 7919 % 400 * 1000)
            assert (values[0] == 2 * index).all() and (values[1] == 2 * index + 1).all()
            if index == 500:
                before = resident_megabytes()
        assert index == 1999
        assert resident_megabytes() - before < 60  # a slot is up to 3 MB
        assert len(recycled_memory._mappings) <= 24

    @pytest.mark.slow
    @EACH_KIND
    def test_forks_while_batches_are_held(self, workers):
        """A second loader, os.fork, a process: each may drop what it inherits."""
        loader = pairs(150, **workers)
        held = []
        for index, batch in enumerate(loader):
            held.append(batch)
            if index in (5, 60):
                check_all(pairs(10, num_workers=1))
                child = os.fork()
                if not child:
                    drop_all(held)
                    os._exit(0)
                assert os.waitpid(child, 0)[1] == 0
                for method in ("fork", "spawn")[: 1 + (index == 5)]:
                    context = multiprocessing.get_context(method)
                    process = context.Process(target=drop_all, args=([],))
                    process.start()
                    process.join(60)
                    assert process.exitcode == 0
        assert index == 149
        for index, batch in enumerate(held):
            check(batch, [2 * index, 2 * index + 1])

    @pytest.mark.parametrize("number_of_processes", [1, 3])
    def test_garbage_when_a_process_is_forked(self, number_of_processes):
        """Both processes collect it; it is freed once, by its owner."""
        helpers.collect_in_forks(lambda: make([1, 2]), number_of_processes, thaw_and_collect)
        check(make([3, 4]), [3, 4])

    def test_forked_process_reads_what_it_inherits(self):
        batch = make([5, 6])
        child = os.fork()
        if not child:
            ok = True
            try:
                check(batch, [5, 6])
                check(make([7]), [7])
                check(batch, [5, 6])
            except BaseException:
                ok = False
            os._exit(0 if ok else 1)
        assert os.waitpid(child, 0)[1] == 0
        check(batch, [5, 6])

    @pytest.mark.slow
    @pytest.mark.skipif(
        np.lib.NumpyVersion(np.__version__) >= "1.24.0",
        reason="a spawned worker of MXNet's imports MXNet first, which needs an older NumPy then",
    )
    def test_spawned_workers(self):
        run_script("""
            import multiprocessing
            import test_recycled_memory as test

            multiprocessing.set_start_method("spawn")
            loader = test.pairs(10, num_workers=2)
            assert test.check_all(loader) == 10
            assert test.slots()[0] > 0
        """)

    def test_a_closed_loader_gives_its_memory_back(self):
        """All but what a batch that is held is in."""
        with seeded_loader(
            range(20), lambda number, rng: number, 0, batch_size=2, batchify_fn=make, num_workers=2
        ) as loader:
            assert check_all(loader) == 10
            assert recycled_memory._mappings
        assert not recycled_memory._mappings

    @pytest.mark.slow
    def test_few_files(self):
        """With `ulimit -n 64`, batches held, too."""
        run_script("""
            import test_recycled_memory as test

            loader = test.pairs(100, num_workers=2)
            held = list(loader)
            assert test.check_all(loader) == 100
            for index, batch in enumerate(held):
                test.check(batch, [2 * index, 2 * index + 1])
            held = list(test.pairs(100))
            for index, batch in enumerate(held):
                test.check(batch, [2 * index, 2 * index + 1])
        """, "sh", "-c", 'ulimit -n 64; exec "$@"', "sh")  # fmt: skip


class TestForksAndEnds:
    def test_forks_while_operators_are_pending(self):
        """MXNet drops the arrays in a thread of its engine, which a fork waits for."""
        for number in range(20):
            batch = make([number, number + 1])
            values = batch[0].reshape((1000, -1))
            pending = [mx.nd.dot(values, values, transpose_b=True) for _ in range(3)]
            del batch, values
            if number % 2:
                subprocess.check_call(["true"])
            else:
                child = os.fork()
                if not child:
                    os._exit(0)
                assert os.waitpid(child, 0)[1] == 0
        assert pending[0].shape == (1000, 1000)

    def test_a_slot_is_busy_until_operators_have_run(self):
        for number in range(30):
            batch = make([number, number])
            values = batch[0].reshape((1000, -1))
            products = [mx.nd.dot(values, values, transpose_b=True) for _ in range(2)]
            del batch, values
            make([99, 99])  # would write there
            expected = float(number) ** 2 * 2 * ITEMS / 1000
            for product in products:
                np.testing.assert_allclose(product.asnumpy(), expected, rtol=1e-5)

    @pytest.mark.slow
    def test_interpreter_ends(self):
        """With arrays in globals and in cycles, results pending, and workers at work."""
        run_script("""
            import test_recycled_memory as test
            import mxnet as mx

            loader = test.pairs(50, num_workers=2)
            iterator = iter(loader)
            batch = next(iterator)
            own = test.make([1, 2])
            cycle = test.helpers.Cycle(test.make([3, 4]))
            values = own[0].reshape((1000, -1))
            pending = [mx.nd.dot(values, values, transpose_b=True) for _ in range(5)]
        """)


def answer(connection, numbers, then):
    """Send a batch to another process; then end, wait to be told, or wait for ever."""
    connection.send(make(numbers))
    if then == "wait":
        connection.recv()


def ask(numbers, then="wait", method="fork"):
    """Return a process that sends a batch, and the connection to it."""
    context = multiprocessing.get_context(method)
    here, there = context.Pipe()
    process = context.Process(target=answer, args=(there, numbers, then))
    process.start()
    there.close()
    return process, here


class TestSending:
    def test_other_picklers_see_plain_arrays(self):
        batch = make([1, 2])
        assert type(batch) is Batch
        for copied in (pickle.loads(pickle.dumps(batch)), copy.deepcopy(batch)):
            assert type(copied) is tuple
            check(copied, [1, 2])
            copied[0][:] = 3
        check(batch, [1, 2])
        check(copy.copy(batch), [1, 2])

    def test_read_once(self):
        """What is sent a second time is a copy."""
        batch = make([1, 2])
        first, second = ForkingPickler.dumps(batch), ForkingPickler.dumps(batch)
        assert len(first) < 1000
        read = pickle.loads(first)
        with pytest.raises(BatchLostError, match="was read before"):
            pickle.loads(first)
        check(pickle.loads(second), [1, 2])
        check(read, [1, 2])
        del batch
        make([3, 4])
        check(read, [1, 2])

    @pytest.mark.slow
    @pytest.mark.parametrize("method", ["fork", "spawn"])
    def test_connection(self, method):
        process, connection = ask([4, 5], method=method)
        batch = connection.recv()
        check(batch, [4, 5])
        process.kill()
        process.join()
        check(batch, [4, 5])  # held memory outlives who made it
        assert slots()[1] == 1
        del batch
        assert slots()[1] == 0

    def test_maker_has_ended(self):
        process, connection = ask([4, 5], then="end")
        process.join()
        message = f"a batch is lost, since the process {process.pid} that made it has ended"
        with pytest.raises(BatchLostError, match=message):
            connection.recv()
        check(make([1, 2]), [1, 2])

    def test_maker_was_killed(self):
        process, connection = ask([4, 5])
        assert connection.poll(60)
        os.kill(process.pid, signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie
        with pytest.raises(BatchLostError, match="has ended"):
            connection.recv()
        process.join()

    def test_reader_has_ended(self):
        """What it held is found free when a slot is wanted."""
        slot_count = recycled_memory._pool._most
        context = multiprocessing.get_context("fork")
        here, there = context.Pipe()
        process = context.Process(target=read_and_wait, args=(there,))
        process.start()
        for number in range(slot_count):
            here.send(make([number, number]))
            assert here.recv() == number
        used = [slot for slot in recycled_memory._pool.slots if not slot.is_free()]
        assert len(used) >= slot_count - 1
        process.kill()
        process.join()
        for _ in range(2):
            make([1, 2])
        free = [slot for slot in recycled_memory._pool.slots if slot.is_free()]
        assert len(free) >= slot_count - 3


def read_and_wait(connection):
    held = []
    while True:
        held.append(connection.recv())
        connection.send(int(held[-1][0][0, 0].asscalar()))


class TestWithoutSlots:
    """No slot is to be had: MXNet's memory."""

    @pytest.fixture(autouse=True)
    def no_slots(self, monkeypatch):
        monkeypatch.setattr(recycled_memory._Pool, "take", lambda self, size: None)

    @EACH_KIND
    def test_loader(self, workers):
        before = slots()
        loader = pairs(60, **workers)
        held = list(loader)
        check_all(loader)
        for index, batch in enumerate(held):
            check(batch, [2 * index, 2 * index + 1])
            batch[0][:] = 7
        assert slots() == before

    def test_no_dev_shm_outside_workers(self):
        memory = take([((2, 3), np.float32)])
        assert memory.batch((0,))[0].context == mx.cpu(0)

    def test_in_a_worker(self, monkeypatch):
        monkeypatch.setattr(multiprocessing, "parent_process", lambda: "somebody")
        memory = take([((2, 3), np.float32)])
        assert memory.is_zero
        assert memory.batch((0,))[0].context == SHARED

    def test_dtype_that_dlpack_does_not_know(self):
        memory = take([((2, 3), np.int8)])
        memory.arrays[0][:] = -5
        assert (memory.batch((0,))[0].asnumpy() == -5).all()
