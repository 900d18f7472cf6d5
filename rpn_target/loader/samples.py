"""Making a batch: samples with draws of their own, and errors that name them."""

from __future__ import annotations

import functools
import threading
import traceback
from contextlib import nullcontext, suppress
from typing import Any, Callable, ContextManager, NamedTuple, Sequence

import mxnet as mx

from ..core.draws import sample_generator
from .order import SampleId

__all__ = ["BatchMaker", "Failure", "SeededDataset", "named"]

MOST_NAMED = 20  # samples of a batch in a message

MOST_LOOKED_AT = 10_000  # objects in the search for a reader; then it is taken to be there


class Failure:
    """An error on its way from a worker to the one who reads the batches.

    Parameters
    ----------
    where : str
        What failed.
    error : BaseException or str
    """

    def __init__(self, where: str, error: BaseException | str):
        # Not a subclass of these two: it may want other arguments than a message.
        kinds = [kind for kind in (TypeError, ValueError) if isinstance(error, kind)]
        self._type: type[Exception] = kinds[0] if kinds else RuntimeError
        name = "" if kinds or isinstance(error, str) else f"{type(error).__name__}: "
        self._message = f"{where}: {name}{error}"
        self._traceback = None if isinstance(error, str) else traceback.format_exc()

    def reraise(self) -> None:
        """Raise the error: a TypeError or ValueError if it was one, else a RuntimeError."""
        cause = None if self._traceback is None else RuntimeError(self._traceback)
        raise self._type(self._message) from cause


class Sample(NamedTuple):
    """A transformed sample on its way to the batchify function."""

    id: SampleId
    value: object


class SeededDataset:
    """A dataset indexed by `SampleId`, which applies the transform.

    Parameters
    ----------
    dataset : gluon Dataset or sequence
    transform : callable
        Called as ``transform(*sample, rng=generator)``.
    seed : int
    in_threads : bool
        Whether several threads read at once. Then a dataset with an MXNet RecordIO reader is read
        by one thread at a time, since the reader's seek and read are two steps (images are decoded
        by MXNet's engine, and the transform runs, in parallel nevertheless).
    """

    def __init__(self, dataset: Any, transform: Callable, seed: int, in_threads: bool = False):
        self._dataset = dataset
        self._transform = transform
        self._seed = seed
        # One that ends itself (`sys.exit`) would leave the others waiting for a thread.
        self._errors = BaseException if in_threads else Exception
        self._reading: ContextManager = nullcontext()
        if in_threads and _holds_reader(dataset):
            self._reading = threading.Lock()

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, sample_id: SampleId) -> Sample | Failure:
        try:
            if sample_id.index < 0:  # would be the same sample with other draws
                raise ValueError("a sampler must give indices from 0 on")
            with self._reading:
                sample = self._dataset[sample_id.index]
            sample = sample if isinstance(sample, tuple) else (sample,)
            value = self._transform(*sample, rng=sample_generator(self._seed, *sample_id))
            return Sample(sample_id, value)
        except self._errors as error:  # whatever it is, the caller should know the sample
            return Failure(f"sample {sample_id.index} of epoch {sample_id.epoch}", error)


class BatchMaker:
    """What a worker does: makes a batch of samples.

    Parameters
    ----------
    dataset : SeededDataset
    batchify_fn : callable
    """

    def __init__(self, dataset: SeededDataset, batchify_fn: Callable):
        self._dataset = dataset
        self._batchify_fn = batchify_fn

    def __call__(self, sample_ids: Sequence[SampleId]) -> Any:
        """Return a batch, or a `Failure`."""
        values = []
        for sample in [self._dataset[sample_id] for sample_id in sample_ids]:
            if isinstance(sample, Failure):
                return sample
            values.append(sample.value)
        try:
            return self._batchify_fn(values)
        except Exception as error:
            return Failure(f"batch of {named(sample_ids)}", error)


def named(sample_ids: Sequence[SampleId]) -> str:
    """Return the samples of a batch for a message: "samples 3, 1 of epoch 0"."""
    parts = []
    for epoch in dict.fromkeys(sample_id.epoch for sample_id in sample_ids):
        indices = [str(sample_id.index) for sample_id in sample_ids if sample_id.epoch == epoch]
        more = [f"... ({len(indices)} samples)"] if len(indices) > MOST_NAMED else []
        parts.append(f"{', '.join(indices[:MOST_NAMED] + more)} of epoch {epoch}")
    return f"samples {' and '.join(parts)}"


def _holds_reader(dataset: Any) -> bool:
    """Return whether an MXNet RecordIO reader is reachable from a dataset."""
    seen: set[int] = set()
    found = [dataset]
    for thing in found:  # which grows
        if isinstance(thing, mx.recordio.MXRecordIO) or len(seen) > MOST_LOOKED_AT:
            return True
        if id(thing) not in seen:
            seen.add(id(thing))
            found.extend(_parts(thing))
    return False


def _parts(thing: Any) -> list[Any]:
    """Return what an object refers to, where a dataset may keep a reader."""
    if isinstance(thing, (str, bytes, int, float, type, mx.nd.NDArray)):
        return []
    if isinstance(thing, dict):
        thing = list(thing.values())
    if isinstance(thing, (list, tuple, set, frozenset)):
        # Of many things, such as the labels of all images, the first ones tell the kind.
        return list(thing)[:100]
    if isinstance(thing, functools.partial):
        return [thing.func, *thing.args, *thing.keywords.values()]
    parts = [getattr(thing, "__self__", None)]  # of a method
    for cell in getattr(thing, "__closure__", None) or ():
        with suppress(ValueError):  # an empty cell
            parts.append(cell.cell_contents)
    return parts + list(getattr(thing, "__dict__", {}).values())
