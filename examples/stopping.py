"""Signals and forked workers: Ctrl-C between two batches, and an end for every process."""

from __future__ import annotations

import os
import signal
import sys

TERMINATED = 128 + signal.SIGTERM  # as shells number it


class SignalsBetweenBatches:
    """While active, Ctrl-C and SIGTERM wait until `deliver` is called; a second one does not.

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

    def deliver(self):
        """Pass a signal that came meanwhile on to the handler it was meant for."""
        if self._pending is not None:
            self._handlers[self._pending](self._pending, None)


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
