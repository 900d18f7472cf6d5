"""Worker processes that are killed, that end themselves, and that must end with their loader."""

import gc
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings

import helpers
import mxnet as mx
import numpy as np
import pytest

from rpn_target import RPNTargetWarning, seeded_loader
from rpn_target.loader import workers

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that are forked")

SIZE = 40


@pytest.fixture(autouse=True)
def no_garbage_collection(monkeypatch):
    """Skip what MXNet's loader does on construction, and takes most of the time here."""
    monkeypatch.setattr(gc, "collect", lambda *generation: 0)


@pytest.fixture(autouse=True)
def no_process_left():
    """No test leaves a process behind, and no pipe in this one."""
    before = set(multiprocessing.active_children())
    yield
    for process in set(multiprocessing.active_children()) - before:
        process.join(10)  # one that has ended is gone once all its threads are
    assert set(multiprocessing.active_children()) <= before


def draws(index, rng):
    return np.full(3, index), rng.integers(2**62, size=2)


def as_lists(samples):
    return [[part.tolist() for part in sample] for sample in samples]


def in_shared_memory(samples):
    """Batch in MXNet's shared memory, which is opened with the help of the worker."""
    return mx.nd.array(np.stack([sample[0] for sample in samples]), ctx=mx.Context("cpu_shared", 0))


def plain(batch):
    if isinstance(batch, (list, tuple)):
        return [plain(part) for part in batch]
    return helpers.to_numpy(batch).tolist() if isinstance(batch, mx.nd.NDArray) else batch


def loader_of(transform=draws, size=SIZE, **options):
    options = dict(dict(batch_size=2, batchify_fn=as_lists, num_workers=2), **options)
    return seeded_loader(range(size), transform, 3, **options)


def read(loader, epochs=1):
    return [[plain(batch) for batch in loader] for _ in range(epochs)]


def without_forks(caught):
    """Return warnings without what Python 3.12 and later say whenever a process is forked."""
    return [warning for warning in caught if "use of fork" not in str(warning.message)]


def pids(loader):
    return [worker.process.pid for worker in loader._workers._workers]


def kill(pid):
    """Kill a process, and return whether it was there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def is_gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"  # nobody's child any more
    except OSError:
        return True


def assert_gone(numbers, seconds=20):
    end = time.monotonic() + seconds
    while not all(map(is_gone, numbers)):
        assert time.monotonic() < end, "a worker is left"
        time.sleep(0.02)


class Once:
    """A transform that does something to its process once, when it gets to a sample."""

    def __init__(self, action, path, bad=(5,)):
        self._action = action
        self._path = path
        self._bad = bad

    def __call__(self, index, rng):
        path = f"{self._path}-{index}"
        if index in self._bad and not os.path.exists(path):
            open(path, "w").close()
            self._action()
        return draws(index, rng)


class Always(Once):
    """The same as often as it gets there, while a file is there."""

    def __call__(self, index, rng):
        if index in self._bad and os.path.exists(self._path):
            self._action()
        return draws(index, rng)


ENDS = {
    "SIGKILL": (lambda: os.kill(os.getpid(), signal.SIGKILL), "was ended by SIGKILL"),
    "SIGTERM": (lambda: os.kill(os.getpid(), signal.SIGTERM), "was ended by SIGTERM"),
    # MXNet's handler of this signal ends the process in one of these ways.
    "SIGSEGV": (
        lambda: os.kill(os.getpid(), signal.SIGSEGV),
        "(was ended by (SIGSEGV|SIGABRT)|.*status 255)",
    ),
    "sys.exit": (lambda: sys.exit(3), "ended itself with exit status 3"),
    "sys.exit(0)": (lambda: sys.exit(0), "ended itself with exit status 0"),
    "os._exit": (lambda: os._exit(7), "ended itself with exit status 7"),
}
each_end = pytest.mark.parametrize("action, how", ENDS.values(), ids=ENDS)


class TestDeath:
    @each_end
    @pytest.mark.parametrize("options", [{}, dict(num_workers=1, prefetch=0)], ids=str)
    def test_once(self, tmp_path, action, how, options):
        """The batch is loaded again; a warning says how the process ended, and which samples."""
        wanted = read(loader_of(num_workers=0), 2)
        match = f"a worker process of the loader {how}.*; loaded again: samples 4, 5 of epoch 0"
        with loader_of(Once(action, tmp_path / "x"), **options) as loader, pytest.warns(
            RPNTargetWarning, match=match
        ) as caught:
            assert read(loader, 2) == wanted
        (warning,) = without_forks(caught)
        assert warning.filename == __file__

    @pytest.mark.slow
    @each_end
    @pytest.mark.parametrize("options", [{}, dict(num_workers=1, prefetch=0)], ids=str)
    def test_always(self, tmp_path, action, how, options):
        """The batches before arrive, the error names the samples, and the loader goes on."""
        path = tmp_path / "x"
        path.touch()
        wanted = read(loader_of(num_workers=0), 3)
        with loader_of(Always(action, path), **options) as loader, warnings.catch_warnings():
            warnings.simplefilter("ignore", RPNTargetWarning)
            for epoch in range(2):
                found = []
                with pytest.raises(
                    RuntimeError,
                    match=f"^batch of samples 4, 5 of epoch {epoch}: it ended [23] worker "
                    f"processes, the last of which {how}",
                ):
                    found.extend(plain(batch) for batch in loader)
                assert found == wanted[epoch][:2]
            path.unlink()
            assert read(loader) == wanted[2:]

    @pytest.mark.slow
    def test_many_at_once(self, tmp_path):
        """Every batch ends its process once."""
        wanted = read(loader_of(num_workers=0))
        once = Once(lambda: os._exit(1), tmp_path / "x", range(0, SIZE, 2))
        with loader_of(once) as loader, pytest.warns(RPNTargetWarning) as caught:
            assert read(loader) == wanted
        assert len(without_forks(caught)) == SIZE // 2

    def test_while_idle(self):
        wanted = read(loader_of(num_workers=0), 2)
        with loader_of() as loader:
            assert read(loader) == wanted[:1]
            for worker in loader._workers._workers:
                worker.process.kill()
                worker.process.join(20)  # all its threads, too
            with pytest.warns(RPNTargetWarning, match="SIGKILL.*; no batch is lost") as caught:
                assert read(loader) == wanted[1:]
        assert len(without_forks(caught)) == 2

    def test_warning_as_error(self, tmp_path):
        """Which the user may want; the loader goes on with the next epoch."""
        wanted = read(loader_of(num_workers=0), 2)
        with loader_of(Once(lambda: os._exit(1), tmp_path / "x")) as loader:
            with pytest.raises(RPNTargetWarning, match="exit status 1"):
                read(loader)
            assert read(loader) == wanted[1:]

    @pytest.mark.slow
    def test_memory_that_its_process_takes_along(self):
        """A batch that has arrived but cannot be opened is loaded again."""
        wanted = read(loader_of(num_workers=0, batchify_fn=in_shared_memory))
        with loader_of(batchify_fn=in_shared_memory) as loader, pytest.warns(RPNTargetWarning):
            batches = iter(loader)
            found = [plain(next(batches))]
            for _ in range(3):
                time.sleep(0.3)  # all have answered
                for pid in pids(loader):
                    kill(pid)
                found.append(plain(next(batches)))
            assert [found + [plain(batch) for batch in batches]] == wanted

    @pytest.mark.slow
    def test_large_requests_and_results(self):
        """Neither side waits for the other to take what it sends."""
        wanted = read(loader_of(num_workers=0, size=60_000, batch_size=20_000))
        with loader_of(size=60_000, batch_size=20_000, prefetch=9) as loader:
            assert read(loader) == wanted

    @pytest.mark.slow
    def test_a_process_that_does_not_answer(self):
        with loader_of(lambda index, rng: time.sleep(1000 * (index == 5)), timeout=1,
                       batchify_fn=len) as loader:  # fmt: skip
            with pytest.raises(
                multiprocessing.TimeoutError, match="samples 4, 5 of epoch 0 was not there after 1"
            ):
                list(loader)
            loader.load_state_dict(dict(loader.state_dict(), samples=6))
            assert list(loader) == [2] * 17

    @pytest.mark.slow
    @pytest.mark.parametrize("batchify", [as_lists, in_shared_memory])
    def test_random_kills(self, batchify, monkeypatch):
        """At least 50: every batch comes once, in order, with the bytes of a quiet run."""
        # By chance the same batch may be hit twice, which would be its fault.
        monkeypatch.setattr(workers, "MOST_DEATHS", 99)
        monkeypatch.setattr(workers, "MOST_TRIES", 99)
        size, epochs = 300, 6
        wanted = read(loader_of(num_workers=0, size=size, batchify_fn=batchify), epochs)
        kills, done = [], threading.Event()

        def slow(index, rng):
            time.sleep(0.002)
            return draws(index, rng)

        def kill_some(loader, generator):
            while not done.wait(generator.uniform(0.02, 0.06)):
                worker = generator.choice(loader._workers._workers)
                if not any(job.alone for job in list(worker.jobs)) and kill(worker.process.pid):
                    kills.append(worker.process.pid)

        with loader_of(slow, size=size, num_workers=3, batchify_fn=batchify) as loader:
            killer = threading.Thread(target=kill_some, args=(loader, random.Random(1)))
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                killer.start()
                try:
                    found = read(loader, epochs)
                    for _ in range(20):
                        if len(kills) < 60:
                            loader.epoch = 0
                            assert read(loader) == wanted[:1]
                finally:
                    done.set()
                    killer.join()
        assert found == wanted
        assert {one.category for one in without_forks(caught)} == {RPNTargetWarning}
        assert len(set(kills)) >= 50


class TestEnd:
    def test_close(self):
        """Twice, and to be used again."""
        wanted = read(loader_of(num_workers=0), 2)
        loader = loader_of()
        assert read(loader) == wanted[:1]
        numbers = pids(loader)
        loader.close()
        loader.close()
        assert all(map(is_gone, numbers))
        assert read(loader) == wanted[1:]
        loader.close()

    @pytest.mark.parametrize("options", [{}, dict(thread_pool=True)], ids=str)
    def test_close_while_it_is_read(self, options):
        with loader_of(**options) as loader:
            batches = iter(loader)
            next(batches)
            loader.close()
            with pytest.raises(RuntimeError, match="the loader was closed while it was read"):
                for _ in batches:
                    pass

    def test_deleted(self):
        loader = loader_of()
        next(iter(loader))
        numbers = pids(loader)
        del loader
        assert_gone(numbers)

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
    def test_error_in_the_block(self, error):
        with pytest.raises(error), loader_of() as loader:
            for _ in loader:
                numbers = pids(loader)
                raise error
        assert all(map(is_gone, numbers))

    def test_interrupted_while_it_waits(self):
        """Also without a block: nobody knows how much of a batch was taken over."""
        loader = loader_of(lambda index, rng: time.sleep(index))
        numbers = pids(loader)
        main = threading.main_thread().ident
        timer = threading.Timer(0.3, signal.pthread_kill, (main, signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            list(loader)
        timer.join()
        assert all(map(is_gone, numbers))

    def test_sigint_to_the_workers(self):
        """As Ctrl-C in a terminal sends it."""
        wanted = read(loader_of(num_workers=0))
        with loader_of() as loader:
            batches = iter(loader)
            found = [plain(next(batches))]
            for pid in pids(loader):
                os.kill(pid, signal.SIGINT)
            assert [found + [plain(batch) for batch in batches]] == wanted

    def test_break_keeps_the_workers(self):
        wanted = read(loader_of(num_workers=0), 30)
        with loader_of() as loader:
            numbers = pids(loader)
            for epoch in range(29):
                for batch in loader:
                    assert plain(batch) == wanted[epoch][0]
                    break
            assert read(loader) == wanted[29:]
            assert pids(loader) == numbers

    def test_forked_process(self):
        """It leaves the workers alone, however it ends, and has workers of its own."""
        wanted = read(loader_of(num_workers=0), 2)
        with loader_of() as loader:
            assert read(loader) == wanted[:1]
            child = os.fork()
            if not child:
                status = 1
                try:
                    status = 0 if read(loader) == wanted[1:] else 2
                    loader.close()
                    sys.exit(0)
                except SystemExit:
                    multiprocessing.util._exit_function()
                finally:
                    os._exit(status)
            assert os.waitpid(child, 0)[1] == 0
            assert read(loader) == wanted[1:]  # and no warning

    def test_two_loaders(self):
        """The pipe of the first closes although the second one's workers were forked later."""
        with loader_of() as first, loader_of() as second:
            numbers = pids(first)
            for worker in first._workers._workers:
                worker.connection.close()
            assert_gone(numbers)
            assert len(read(second)[0]) == SIZE // 2
            first._workers._workers.clear()


PROGRAM = """
import os, signal, sys, time, warnings
warnings.simplefilter("ignore")
import rpn_target

def sample(index, rng):
    time.sleep(0.05)
    return index

def as_list(samples):
    return list(samples)

if __name__ == "__main__":
    import multiprocessing
    multiprocessing.set_start_method(sys.argv[2])
    loader = rpn_target.seeded_loader(range(10**6), sample, 1, batch_size=2, num_workers=2,
                                      batchify_fn=as_list)
    if sys.argv[1] == "raises":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print(*[worker.process.pid for worker in loader._workers._workers], flush=True)
    for count, batch in enumerate(loader):
        if count == 2:
            print("reading", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize(
    "number, handler",
    [
        (signal.SIGINT, "none"),
        (signal.SIGTERM, "none"),
        (signal.SIGTERM, "raises"),
        (signal.SIGKILL, "none"),
    ],
)
def test_end_of_the_main_process(tmp_path, number, handler, method):
    """No process survives it, and no worker prints anything."""
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(PROGRAM))
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", str(path), handler, method],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    numbers = [int(word) for word in process.stdout.readline().split()]
    assert len(numbers) == 2 and process.stdout.readline() == "reading\n"
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert_gone(numbers)
    assert process.returncode in (-number, 143 if handler == "raises" else -number)
    assert "Traceback" not in errors.replace("Traceback", "", number == signal.SIGINT)
    assert "resource_tracker" not in errors
