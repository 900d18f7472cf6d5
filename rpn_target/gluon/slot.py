"""A slot: memory of a whole batch that two processes share, lent to MXNet without a copy.

`rpn_target.gluon.recycled_memory` says who makes, sends and reads slots; this is what they are
made of. A slot begins with a few words that both processes see; `State` says who uses it.

MXNet says itself when it has dropped an array, which may be in a thread of its engine and long
after Python has: its deleter, a function of the C library, sets a word in memory of this process.
Python code must not run there. A process stops the engine when it forks, and holds the lock of
Python meanwhile: each would wait for the other.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from typing import Callable, NamedTuple, Sequence

import mxnet as mx
import numpy as np
from mxnet.base import _LIB, NDArrayHandle, check_call
from mxnet.ndarray.ndarray import DLContext, DLDataType, DLManagedTensor

__all__ = ["DTYPES", "HAS_SLOTS", "Extent", "Loan", "Mapping", "State", "Words", "lend", "start_of"]

DTYPES = {"float16", "float32", "float64", "uint8", "int32", "int64"} & set(DLDataType.TYPE_MAP)
"""Of arrays that MXNet takes from others; MXNet 1.6 takes no uint8."""


class State:
    """Who uses a slot."""

    FREE = 0
    MADE = 1
    SENT = 2
    HELD = 3


class Words(ctypes.Structure):
    """What both processes know of a slot."""

    _fields_ = [
        ("token", ctypes.c_uint64),  # tells this slot from any other
        ("serial", ctypes.c_uint64),  # number of the batch in it
        ("state", ctypes.c_uint64),
        ("left", ctypes.c_uint64),  # 1 if its maker uses it no more
        ("reader", ctypes.c_uint64),  # process number of who holds it, and its start
        ("reader_start", ctypes.c_uint64),
    ]


class Extent(NamedTuple):
    """Where an array is in a slot."""

    offset: int
    shape: tuple[int, ...]
    dtype: str


# --- the memory ---------------------------------------------------------------------------------

# Linux, with a C library that is not too old.
HAS_SLOTS = hasattr(os, "memfd_create") and hasattr(os, "register_at_fork")
if HAS_SLOTS:
    _libc = ctypes.CDLL(None, use_errno=True)
    _libc.mmap.restype = ctypes.c_void_p
    _libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    _libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


def _map(length: int, flags: int, fd: int = -1) -> int:
    """Map memory; return its address. Unlike Python's ``mmap`` it keeps no descriptor."""
    address = _libc.mmap(None, length, mmap.PROT_READ | mmap.PROT_WRITE, flags, fd, 0)
    if address == ctypes.c_void_p(-1).value:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return address


class Mapping:
    """A slot's memory in this process, as bytes in numpy's array interface."""

    def __init__(self, fd: int, size: int, maker: tuple[int, int | None]):
        self._address, self.size = _map(size, mmap.MAP_SHARED, fd), size
        self._unmap: Callable = _libc.munmap  # globals may be gone when the interpreter ends
        self.words = Words.from_address(self._address)
        self.maker = maker
        self.__array_interface__ = {
            "version": 3,
            "data": (self._address, False),
            "shape": (size,),
            "typestr": "|u1",
        }

    def array(self, extent: Extent) -> np.ndarray:
        """Return the array there, writable."""
        stop = extent.offset + int(np.prod(extent.shape)) * np.dtype(extent.dtype).itemsize
        return np.asarray(self)[extent.offset : stop].view(extent.dtype).reshape(extent.shape)

    def __del__(self) -> None:
        if hasattr(self, "_unmap"):
            self._unmap(self._address, self.size)


# --- lending it to MXNet ------------------------------------------------------------------------

LENT = 2  # MXNet's deleter writes 0 or 1, by processor
STRIDE = ctypes.sizeof(DLManagedTensor)


class Block:
    """Memory for MXNet's notes on arrays: of this process alone, and never unmapped.

    MXNet may write there when the interpreter is gone. A forked process writes to a copy.
    """

    def __init__(self, count: int):
        self._address = _map(count * STRIDE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.tensors = (DLManagedTensor * count).from_address(self._address)
        self.lent = np.frombuffer(self.tensors, np.uint32)[:: STRIDE // 4]

    def is_returned(self) -> bool:
        """Return whether MXNet has dropped all arrays."""
        return not (self.lent == LENT).any()


class Loan:
    """The arrays of a batch, lent to MXNet."""

    def __init__(self, mapping: Mapping, block: Block):
        self._mapping = mapping  # mapped as long as MXNet uses it
        self._block: Block | None = block
        self._owned = mapping.words.state, mapping.words.serial
        self._process = os.getpid()

    def end_if_returned(self) -> bool:
        """Once MXNet has dropped all arrays, mark the slot free; return whether it has."""
        if self._block is None:
            return True
        if not self._block.is_returned():
            return False
        _blocks.append(self._block)
        self._block = None
        words = self._mapping.words
        # A batch that was sent belongs to its reader. A forked process inherits loans, not batches.
        if self._process == os.getpid() and (words.state, words.serial) == self._owned:
            words.state = State.FREE
        return True


_blocks: list[Block] = []  # to be used again
_BLOCK_SIZE = 64  # arrays; most batches have five or six


def lend(mapping: Mapping, extents: Sequence[Extent]) -> tuple[Loan, list[mx.nd.NDArray]]:
    """Return the arrays of a batch as NDArrays, without a copy."""
    if len(extents) > _BLOCK_SIZE:
        block = Block(len(extents))
    else:
        block = _blocks.pop() if _blocks else Block(_BLOCK_SIZE)
    block.lent[:] = 0
    arrays = []
    for number, extent in enumerate(extents):
        arrays.append(_as_ndarray(mapping.array(extent), block.tensors[number]))
        block.lent[number] = LENT
    return Loan(mapping, block), arrays


def _as_ndarray(array: np.ndarray, tensor: DLManagedTensor) -> mx.nd.NDArray:
    """Return an NDArray in the memory of a numpy array; MXNet will call the tensor's deleter."""
    shape = (ctypes.c_int64 * array.ndim)(*array.shape)
    tensor.dl_tensor.data = array.ctypes.data
    tensor.dl_tensor.ctx = DLContext(1, 0)  # cpu(0)
    tensor.dl_tensor.ndim = array.ndim
    tensor.dl_tensor.dtype = DLDataType.TYPE_MAP[array.dtype.name]
    tensor.dl_tensor.shape = ctypes.cast(shape, type(tensor.dl_tensor.shape))
    tensor.dl_tensor.strides = None
    tensor.dl_tensor.byte_offset = 0
    tensor.manager_ctx = None
    # The deleter gets the tensor's address, and writes to its first word, which MXNet has copied
    # by then. Unlocking a spin lock is a single store, to the only argument.
    deleter = ctypes.cast(_libc.pthread_spin_unlock, ctypes.c_void_p)
    field = ctypes.addressof(tensor) + DLManagedTensor.deleter.offset
    ctypes.c_void_p.from_address(field).value = deleter.value
    handle = NDArrayHandle()
    check_call(_LIB.MXNDArrayFromDLPackEx(ctypes.byref(tensor), False, ctypes.byref(handle)))
    return mx.nd.NDArray(handle=handle)


# --- who is alive -------------------------------------------------------------------------------


def start_of(process: int) -> int:
    """Return when a process was started, in ticks since the system was; 0 if it has ended."""
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in b"ZX" else int(fields[19])
