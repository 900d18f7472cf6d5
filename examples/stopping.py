"""To be stopped at any moment: signals, forked workers, and the file that --resume goes on from."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import tempfile
import zipfile

from command_line import UsageError, seed_all

TERMINATED = 128 + signal.SIGTERM  # as shells number it


class SignalsBetweenBatches:
    """While active, Ctrl-C and SIGTERM wait for `deliver`; a second one does not.

    A process that stops while it takes a batch over from a worker leaves the worker talking to
    nobody, and the worker prints a traceback.
    """

    def __enter__(self):
        self._pending = None
        self._handlers = {}
        for number in (signal.SIGINT, signal.SIGTERM):
            if callable(signal.getsignal(number)):
                self._handlers[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_):
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _receive(self, number, frame):
        if self._pending is not None:
            self._handlers[number](number, frame)
        self._pending = number

    @property
    def is_pending(self):
        """Tell whether a signal waits."""
        return self._pending is not None

    def deliver(self):
        """Pass a signal that came meanwhile on to the handler it was meant for."""
        if self._pending is not None:
            self._handlers[self._pending](self._pending, None)


class Checkpoint:
    """What a training needs to go on as if it had not been stopped: the file of --resume.

    Parameters
    ----------
    path : str or None
        The file, a zip archive. What is there already is loaded; with None, nothing is kept.
    net, trainer, loader : FasterRCNN, gluon.Trainer, SeededLoader
        Of these the parameters, the optimizer's state, and how far the data have been read.
    before : (int, int)
        What `count_found` finds before the first iteration.

    Attributes
    ----------
    history : list of list of float
        The losses of each iteration so far.
    before : (int, int)
        As given, or that of the file.

    Raises
    ------
    UsageError
        If the file is none, or that of another network or of other data.
    """

    def __init__(self, path, net, trainer, loader, before):
        self._path, self._net, self._trainer, self._loader = path, net, trainer, loader
        self.history, self.before = [], before
        if path is not None and os.path.exists(path):
            self._load()

    def _load(self):
        from mxnet.base import MXNetError  # only now, so that --help need not wait for it

        errors = OSError, KeyError, ValueError, AssertionError, MXNetError, zipfile.BadZipFile
        with tempfile.TemporaryDirectory() as folder:
            try:
                with zipfile.ZipFile(self._path) as archive:
                    archive.extractall(folder)
                with open(os.path.join(folder, "state.json")) as file:
                    state = json.load(file)
                self._loader.load_state_dict(state["loader"])
                contexts = next(iter(self._net.collect_params().values())).list_ctx()
                self._net.load_parameters(os.path.join(folder, "net.params"), ctx=contexts)
                self._trainer.load_states(os.path.join(folder, "trainer.states"))
            except errors as error:
                reason = str(error).strip().splitlines()[0]
                raise UsageError(
                    f"--resume must be the file of a training with the same options, but {reason}"
                ) from error
        self.history, self.before = state["history"], state["before"]

    def save(self):
        """Write the file, beside the old one first, which is there until the new one is whole."""
        if self._path is None:
            return
        where = os.path.dirname(os.path.abspath(self._path))
        with tempfile.TemporaryDirectory(dir=where) as folder:
            self._net.save_parameters(os.path.join(folder, "net.params"))
            self._trainer.save_states(os.path.join(folder, "trainer.states"))
            state = dict(history=self.history, before=self.before, loader=self._loader.state_dict())
            with open(os.path.join(folder, "state.json"), "w") as file:
                json.dump(state, file)
            parts = os.listdir(folder)
            whole = os.path.join(folder, "whole.zip")
            with zipfile.ZipFile(whole, "w") as archive:
                for name in parts:
                    archive.write(os.path.join(folder, name), name)
            os.replace(whole, self._path)


def many_epochs(loader, num_batches, done=0, seed=None):
    """Yield the batches that come after `done` ones, of a loader that begins epoch after epoch.

    With a seed, what the network itself draws depends on it and on the batch's number alone.
    """
    import numpy as np  # only now, so that --help need not wait for it

    epochs = itertools.chain.from_iterable(itertools.repeat(loader))
    for number, batch in enumerate(itertools.islice(epochs, max(0, num_batches - done)), done):
        if seed is not None:
            seed_all(int(np.random.SeedSequence([seed, number]).generate_state(1)[0]))
        yield batch


def _let_workers_be_killed():
    """Give forked processes the system's own handling of SIGTERM, also while they start.

    Python drops a signal that a forked process gets before it is back in Python, which takes a
    while with MXNet. A worker that was ended so early would wait for work, and its loader for it,
    forever. So the signal is held back meanwhile.
    """

    def hold():
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def release():
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    def begin():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        release()

    os.register_at_fork(before=hold, after_in_parent=release, after_in_child=begin)


def start(main):
    """Run `main` as the program."""
    # Ctrl-C ends the worker processes by itself; a plain kill does only if it unwinds the stack.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    _let_workers_be_killed()
    sys.exit(main())
