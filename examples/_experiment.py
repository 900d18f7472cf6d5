"""A whole experiment: what the command line asks for, trained, and what it achieved."""

from __future__ import annotations

import random
from typing import Callable, NamedTuple

import mxnet as mx
import numpy as np
from _data import make_transform
from _engines import start_engine
from _loaders import open_loader
from _network import initialize
from _options import num_iterations
from _recall import IOU_THRESHOLD, proposal_recall
from _training import mean_losses, train
from mxnet import gluon

SUMMARY_WINDOW = 10  # iterations in the first and the last loss of the summary


class Task(NamedTuple):
    """What one kind of network needs to be trained."""

    title: str
    dataset: gluon.data.Dataset
    build_network: Callable
    """Called with the dataset's classes, short side, upper bound of the long side, batch size."""
    implementations: dict
    """A transform and the batchify function that goes with it, by the name of --transform."""
    step: Callable
    """What `_training.train` calls for a batch."""


class Outcome(NamedTuple):
    """A trained network, and how it came about."""

    net: gluon.Block
    transform: Callable
    context: mx.Context
    history: list
    """Losses of every iteration."""
    recalls: list
    """How many objects the proposals found, and how many there are: before and after."""

    def summarize(self, *parts):
        """Return what training achieved: a line for each named part of the loss, and one more."""
        window = max(1, min(SUMMARY_WINDOW, len(self.history) // 2))
        first, last = mean_losses(self.history[:window]), mean_losses(self.history[-window:])
        lines = [
            f"{'RPN' if part == 'rpn' else part.capitalize()} loss: {getattr(first, part):.4f} at "
            f"first, {getattr(last, part):.4f} at last (means of {window} iterations)"
            for part in parts
        ]
        before, after = (
            f"{found} of {total} ({found / total:.0%})" for found, total in self.recalls
        )
        lines.append(
            f"Objects among the {self.net.rpn.get_test_post_nms()} best proposals of an image (IoU "
            f">= {IOU_THRESHOLD}): {before} before training, {after} after"
        )
        return "\n".join(lines)


def seed_all(seed):
    """Seed every generator that anything draws from."""
    random.seed(seed)
    np.random.seed(seed)
    mx.random.seed(seed)


def carry_out(task, options):
    """Train as the options say.

    Returns
    -------
    Outcome
        None on a rank that is not the first: one is enough to report and to save.
    """
    seed_all(options.seed)
    engine = start_engine(options)
    contexts, dataset = engine.contexts, task.dataset
    net = task.build_network(dataset.classes, options.short, options.max_size, options.batch_size)
    initialize(net, contexts, options.weights)
    transform_type, batchify_type = task.implementations[options.transform]
    transform = make_transform(transform_type, net, options.num_sample)

    batch_size = options.batch_size * len(contexts) * engine.num_ranks
    iterations = num_iterations(options, len(dataset), batch_size)
    log_interval = options.log_interval if engine.rank == 0 else None
    if log_interval:
        print(
            f"{task.title} on {len(dataset)} images, {iterations} batches of {batch_size}, "
            f"transform of {options.transform}",
            flush=True,
        )

    # On every rank, so that all begin to train in the same state.
    recalls = [proposal_recall(net, dataset, contexts[0], options.recall_images)]
    batchify = batchify_type(net, len(contexts))
    with open_loader(dataset, transform, batchify, engine, options, iterations) as loader:
        trainer = engine.make_trainer(net, options.lr)
        history = train(net, trainer, loader, contexts, log_interval, task.step)
    if engine.rank != 0:
        return None
    recalls.append(proposal_recall(net, dataset, contexts[0], options.recall_images))
    return Outcome(net, transform, contexts[0], history, recalls)
