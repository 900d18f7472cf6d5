"""Ctrl-C at a safe moment."""

from __future__ import annotations

import signal


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
