"""The loaders of training batches: all batches are full, since a network is built for one size."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
from mxnet import gluon

from rpn_target import seeded_loader


class FullBatches(gluon.data.Sampler):
    """Full batches of image indices, shuffled anew for every pass over the dataset.

    The passes follow each other without a seam, so a dataset smaller than a batch will do.

    Parameters
    ----------
    length : int
        Number of images in the dataset.
    batch_size, num_batches : int
        Size and number of the batches.
    seed : int
        Of the order.
    """

    def __init__(self, length, batch_size, num_batches, seed):
        self._length = length
        self._batch_size = batch_size
        self._num_batches = num_batches
        self._seed = seed

    def __len__(self):
        return self._num_batches

    def __iter__(self):
        generator = np.random.RandomState(self._seed)
        queue = []
        for _ in range(self._num_batches):
            while len(queue) < self._batch_size:
                queue.extend(generator.permutation(self._length).tolist())
            yield queue[: self._batch_size]
            del queue[: self._batch_size]


class ManyEpochs:
    """So many batches of a loader that begins a new epoch whenever it runs out."""

    def __init__(self, loader, num_batches):
        self._loader = loader
        self._num_batches = num_batches

    def __len__(self):
        return self._num_batches

    def __iter__(self):
        left = self._num_batches
        while left:
            for batch in self._loader:
                yield batch
                left -= 1
                if not left:
                    return


@contextmanager
def open_loader(dataset, transform, batchify, engine, options, num_batches):
    """Load batches with worker processes, and end these with the block.

    With ``options.seeded`` every draw depends on the seed, the pass over the dataset and the image
    alone, and every rank of the engine gets its part of the batches. Otherwise draws come from
    the global states, as with GluonCV.
    """
    batch_size = options.batch_size * len(engine.contexts)
    workers = dict(batchify_fn=batchify, num_workers=options.num_workers)
    if options.seeded:
        loader = seeded_loader(
            dataset, transform, options.seed, batch_size=batch_size, shuffle=True,
            last_batch="rollover", rank=engine.rank, num_ranks=engine.num_ranks, **workers,
        )  # fmt: skip
        batches = ManyEpochs(loader, num_batches)
    else:
        order = FullBatches(len(dataset), batch_size, num_batches, options.seed)
        loader = gluon.data.DataLoader(dataset.transform(transform), batch_sampler=order, **workers)
        batches = loader
    try:
        yield batches
    finally:
        # Ends the workers now; a loader has no close(), and its own end may come much later.
        loader.__del__()
