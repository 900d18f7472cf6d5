"""Recycled memory: batches in memory that is used again, and passed between processes by name.

A *slot* is a file in memory (``memfd_create``: no part of /dev/shm), used for a whole batch, all
arrays behind each other. The process that makes batches maps it once, the process that reads them
once. What is sent is its *name*: the reader opens it as a descriptor of the process that made it.

A slot begins with a few words that both processes see. Its state says who uses it:

    FREE -> MADE (a batch in the process that made it) -> SENT -> HELD (by its reader) -> FREE

Only the process that made or read a batch changes them, never one that it forked: a forked process
inherits the arrays, and may drop them while the other still reads. Nobody waits for anybody: where
no slot is free, another is made, and one that a reader holds is left to it for good.
"""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import pickle
import stat
import sys
import threading
import weakref
from collections import deque
from multiprocessing.reduction import ForkingPickler
from typing import Any, Callable, Sequence

import mxnet as mx
import numpy as np

from .ndarray import SHARED, empty, shared_empty
from .slot import DTYPES, HAS_SLOTS, Extent, Loan, Mapping, State, lend, start_of

__all__ = ["Batch", "BatchLostError", "collect", "take"]

Spec = tuple  # (shape, dtype) of an array
HEADER = 4096  # bytes before the first array; a page
ALIGNMENT = 64  # bytes, as MXNet aligns its own arrays
LEAST_SIZE = 2**20  # bytes of a slot; they are taken from the system as they are used
MOST_SLOTS = 32  # that a process keeps, where the limit of open files allows it
FILES_PER_SLOT = 8  # of the files a process may open, one in eight is for slots
REMEMBERED = 64  # batches; how many slots were in use at once among them says how many are kept


class BatchLostError(RuntimeError):
    """A batch cannot be read, since the process that made it has ended, or it was read before."""


# --- making batches -----------------------------------------------------------------------------


class _Slot:
    """A slot, in the process that made it."""

    def __init__(self, size: int):
        self.size = max(LEAST_SIZE, 1 << (size - 1).bit_length())
        self._close: Callable = os.close  # globals may be gone when the interpreter ends
        self.fd = -1
        self.fd = os.memfd_create("rpn_target")
        os.ftruncate(self.fd, self.size)
        os.stat(f"/proc/{os.getpid()}/fd/{self.fd}")  # what a reader will open
        self._reserved = 0
        self.mapping = Mapping(self.fd, self.size, (os.getpid(), start_of(os.getpid())))
        self.words = self.mapping.words
        self.words.token = int.from_bytes(os.urandom(8), "little")
        self.memory: Callable = lambda: None  # weak reference to what is being written
        self.loan: Loan | None = None

    def __del__(self) -> None:
        if self.fd >= 0:
            self._close(self.fd)

    def reserve(self, size: int) -> None:
        """Have the system set memory aside, which it may refuse; without it, writing may fail."""
        if size > self._reserved:
            os.posix_fallocate(self.fd, self._reserved, size - self._reserved)
            self._reserved = size

    def is_free(self) -> bool:
        """Return whether a batch may be written here."""
        if self.memory() is not None:
            return False
        if self.loan is not None:
            if not self.loan.end_if_returned():
                return False
            self.loan = None
        return self.words.state == State.FREE

    def free_if_reader_ended(self) -> None:
        words = self.words
        if words.state == State.HELD and start_of(words.reader) != words.reader_start:
            words.state = State.FREE

    @property
    def can_be_left(self) -> bool:
        """Whether somebody else, who will see it, keeps the slot as long as the batch is in use."""
        return self.memory() is None and self.words.state != State.SENT

    def leave(self) -> None:
        """Use the slot no more. Who holds the batch keeps its memory."""
        self.words.left = 1
        if self.is_free():
            os.ftruncate(self.fd, HEADER)  # a reader may have it mapped still
        os.close(self.fd)
        self.fd = -1
        if self.loan is not None:
            _loans.append(self.loan)


class _Pool:
    """The slots that this process has made."""

    def __init__(self) -> None:
        self.slots: list[_Slot] = []
        self._in_use: deque[int] = deque(maxlen=REMEMBERED)
        self._most = 0
        if HAS_SLOTS:
            import resource  # of Unix alone

            limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            few = limit != resource.RLIM_INFINITY and limit // FILES_PER_SLOT < MOST_SLOTS
            self._most = limit // FILES_PER_SLOT if few else MOST_SLOTS

    def take(self, size: int) -> _Slot | None:
        """Return a slot of at least that many bytes, or None if there is none to be had."""
        free = [slot for slot in self.slots if slot.is_free()]
        self._in_use.append(len(self.slots) - len(free) + 1)
        slot = self._smallest(free, size) or self._new(size)
        for other in free:
            if other is not slot and len(self.slots) > max(self._in_use):
                self._leave(other)
        if slot is not None:
            try:
                slot.reserve(size)
            except OSError:
                self._leave(slot)
                return None
        return slot

    def _smallest(self, slots: list[_Slot], size: int) -> _Slot | None:
        """Return the smallest slot that is large enough; of several, that used last."""
        large = [slot for slot in slots if slot.size >= size]
        return min(large, key=lambda slot: (slot.size, -slot.words.serial), default=None)

    def _new(self, size: int) -> _Slot | None:
        for slot in self.slots:
            slot.free_if_reader_ended()
        if len(self.slots) >= self._most:
            oldest = min((slot for slot in self.slots if slot.can_be_left), default=None,
                         key=lambda slot: slot.words.serial)  # fmt: skip
            if oldest is None:
                return None
            self._leave(oldest)
        try:
            self.slots.append(_Slot(size))
        except OSError:  # of memory, or too many files
            return None
        return self.slots[-1]

    def _leave(self, slot: _Slot) -> None:
        self.slots.remove(slot)
        slot.leave()


class Batch(tuple):
    """A batch, a tuple of NDArrays and of lists or tuples of them.

    `ForkingPickler`, which moves the results of worker processes, sends it without a copy; other
    picklers see a plain tuple.
    """

    _origin: tuple | None = None  # slot, number of the batch, its structure and extents

    def __reduce__(self) -> tuple[type, tuple[tuple]]:
        return tuple, (tuple(self),)


class Memory:
    """Memory for a batch: numpy arrays to be written, then NDArrays.

    Attributes
    ----------
    arrays : list of np.ndarray
    is_zero : bool
        Whether they are all zeros; else they hold what was there before.
    """

    def __init__(self, arrays: list[np.ndarray], is_zero: bool):
        self.arrays = arrays
        self.is_zero = is_zero

    def batch(self, structure: Any) -> Batch:
        """Return the NDArrays as a `Batch`.

        Parameters
        ----------
        structure : tuple
            Of numbers of arrays, and of lists and tuples of such numbers.
        """
        raise NotImplementedError


class _SlotMemory(Memory):
    def __init__(self, slot: _Slot, extents: list[Extent]):
        arrays = [slot.mapping.array(extent) for extent in extents]
        super().__init__(arrays, is_zero=slot.words.serial == 0)
        slot.words.serial += 1
        slot.memory = weakref.ref(self)
        self._slot, self._extents = slot, extents

    def batch(self, structure: Any) -> Batch:
        slot = self._slot
        with _lock:
            slot.words.state = State.MADE
            slot.loan, arrays = lend(slot.mapping, self._extents)
        batch = Batch(_filled(structure, arrays))
        batch._origin = slot, slot.words.serial, structure, self._extents
        return batch


class _MXNetMemory(Memory):
    """MXNet's own: shared memory in a worker process, else that of any NDArray."""

    def __init__(self, specs: Sequence[Spec]):
        in_worker = multiprocessing.parent_process() is not None
        pairs = [(shared_empty if in_worker else empty)(*spec) for spec in specs]
        super().__init__([array for _, array in pairs], is_zero=in_worker)
        self._ndarrays = [ndarray for ndarray, _ in pairs]

    def batch(self, structure: Any) -> Batch:
        return Batch(_filled(structure, self._ndarrays))


def take(specs: Sequence[Spec]) -> Memory:
    """Return memory for a batch.

    Parameters
    ----------
    specs : sequence of (tuple of int, dtype)
        Shape and dtype of each array.

    Raises
    ------
    OSError
        In a worker process without a free slot, if /dev/shm is too small.
    """
    extents, stop = [], HEADER
    for shape, dtype in specs:
        extents.append(Extent(stop, tuple(shape), np.dtype(dtype).name))
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        stop += -(-size // ALIGNMENT) * ALIGNMENT
    if HAS_SLOTS and all(extent.dtype in DTYPES for extent in extents):
        with _lock:
            _collect()
            slot = _pool.take(stop)
            if slot is not None:
                return _SlotMemory(slot, extents)
    return _MXNetMemory(specs)


def _filled(structure: Any, values: Sequence) -> Any:
    """Return a structure of numbers with values in their place."""
    if isinstance(structure, (tuple, list)):
        return type(structure)(_filled(part, values) for part in structure)
    return values[structure]


# --- sending and reading them -------------------------------------------------------------------


def _reduce(batch: Batch) -> tuple[Callable, tuple]:
    """Tell ForkingPickler how to send a batch."""
    if batch._origin is not None:
        slot, serial, structure, extents = batch._origin
        words, maker = slot.words, slot.mapping.maker
        with _lock:
            mine = maker[0] == os.getpid() and not words.left
            if mine and words.serial == serial and words.state == State.MADE:
                words.state = State.SENT
                name = *maker, slot.fd, words.token, slot.size, serial
                return _receive, (*name, structure, extents)
    return _receive_copy, (_to_shared(tuple(batch)),)


ForkingPickler.register(Batch, _reduce)


def _to_shared(part: Any) -> Any:
    if isinstance(part, (list, tuple)):
        return type(part)(_to_shared(each) for each in part)
    if part.context == SHARED:
        return part
    shared, _ = shared_empty(part.shape, part.dtype)
    part.copyto(shared)
    return shared


def _receive_copy(part: Any) -> Any:
    """Return a batch that came in MXNet's shared memory, on cpu(0) as any other."""
    if isinstance(part, (list, tuple)):
        return type(part)(_receive_copy(each) for each in part)
    copied = part.copyto(mx.cpu())
    copied.wait_to_read()  # a process forked while it is read would free it, too
    return copied


def _receive(
    process: int,
    start: int,
    fd: int,
    token: int,
    size: int,
    serial: int,
    structure: Any,
    extents: Sequence[Extent],
) -> tuple:
    """Return a batch that came as the name of a slot."""
    _watch(sys._getframe(1).f_locals.get("self"))
    with _lock:
        _collect()
        mapping = _mappings.get(token)
        if mapping is None:
            _forget_the_dead()
            mapping = _mappings[token] = _open(process, start, fd, token, size)
        words = mapping.words
        if words.serial != serial or words.state != State.SENT:
            raise BatchLostError("a batch can be read once, but this one was read before")
        words.reader, words.reader_start = os.getpid(), start_of(os.getpid())
        words.state = State.HELD
        loan, arrays = lend(mapping, extents)
        _loans.append(loan)
    return _filled(structure, arrays)


def _open(process: int, start: int, fd: int, token: int, size: int) -> Mapping:
    """Map a slot that another process made."""
    lost = f"a batch is lost, since the process {process} that made it has ended"
    if start_of(process) != start:
        raise BatchLostError(lost)
    try:
        opened = os.open(f"/proc/{process}/fd/{fd}", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise
        raise BatchLostError(lost) from error
    try:
        found = os.fstat(opened)
        if not stat.S_ISREG(found.st_mode) or found.st_size != size:
            raise BatchLostError(lost)  # another process has its number by now
        mapping = Mapping(opened, size, (process, start))
    finally:
        os.close(opened)
    if mapping.words.token != token:
        raise BatchLostError(lost)
    return mapping


def collect() -> None:
    """Mark slots free whose batches were dropped, and unmap those that are used no more.

    Making or reading a batch does it, too, but for the slots of processes that have ended: a
    loader calls this function after its workers' end.
    """
    with _lock:
        _collect()
        _forget_the_dead()


def _collect() -> None:
    _read_off()
    _loans[:] = [loan for loan in _loans if not loan.end_if_returned()]
    for token, mapping in list(_mappings.items()):
        if mapping.words.left and mapping.words.state == State.FREE:
            del _mappings[token]


def _forget_the_dead() -> None:
    """Unmap the slots of processes that have ended; a batch that is held keeps its own."""
    alive = {maker: start_of(maker[0]) == maker[1]
             for maker in {mapping.maker for mapping in _mappings.values()}}  # fmt: skip
    for token, mapping in list(_mappings.items()):
        if not alive[mapping.maker]:
            del _mappings[token]


# --- what MXNet's DataLoader leaves unread ------------------------------------------------------


def _watch(iterator: Any) -> None:
    """Have the results that an iterator of MXNet's DataLoader leaves behind read, and dropped.

    A batch that was sent and is never read would keep its slot. Half an epoch's iterator holds
    such batches, and nobody else does: the results of its pool, as bytes.
    """
    pending = getattr(iterator, "_data_buffer", None)
    if not isinstance(pending, dict) or iterator in _watched:
        return
    _watched.add(iterator)
    weakref.finalize(iterator, _unread.append, pending).atexit = False
    pool = getattr(iterator, "_worker_pool", None)
    if pool is not None and pool not in _watched:
        _watched.add(pool)
        weakref.finalize(pool, collect).atexit = False


def _read_off() -> None:
    """Read the results left behind that have come."""
    for pending in list(_unread):
        for key, result in list(pending.items()):
            if result.ready():
                if pending.pop(key, None) is not None:  # reading one calls this function again
                    with contextlib.suppress(Exception):  # of the data set; nobody asks for it
                        pickle.loads(result.get())
            elif (
                getattr(getattr(result, "_pool", None), "_state", None) == "TERMINATE"
            ):  # it will never come
                pending.pop(key, None)
    _unread[:] = [pending for pending in _unread if pending]


# --- the state of this process ------------------------------------------------------------------

_lock = threading.RLock()
_pool = _Pool()
_loans: list[Loan] = []  # of batches read here, and of slots left
_mappings: dict[int, Mapping] = {}  # by token, of slots that other processes made
_watched: weakref.WeakSet = weakref.WeakSet()
_unread: list[dict] = []


def _after_fork() -> None:
    """Start anew in a forked process: the slots are its parent's, the arrays both have."""
    global _lock, _pool
    _lock = threading.RLock()
    _loans.extend(slot.loan for slot in _pool.slots if slot.loan is not None)
    _pool = _Pool()
    _mappings.clear()
    _unread.clear()


if HAS_SLOTS:
    os.register_at_fork(after_in_child=_after_fork)
