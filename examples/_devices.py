"""Where training runs: the devices of this process, and its place among the training processes."""

from __future__ import annotations

from typing import NamedTuple

import mxnet as mx
from _options import UsageError
from mxnet import gluon


class Placement(NamedTuple):
    """Devices of this process, its rank, and how many processes train together."""

    contexts: list
    rank: int = 0
    num_ranks: int = 1


def place(gpus):
    """Find out where to train.

    Parameters
    ----------
    gpus : sequence of int
        GPUs of this process; empty for the CPU.

    Returns
    -------
    Placement

    Raises
    ------
    UsageError
        If this machine has no such GPU.
    """
    available = mx.context.num_gpus() if gpus else 0
    missing = [gpu for gpu in gpus if not 0 <= gpu < available]
    if missing:
        raise UsageError(f"--gpus asks for GPU {missing[0]}, but MXNet sees {available} GPUs")
    return Placement([mx.gpu(gpu) for gpu in gpus] or [mx.cpu()])


def make_trainer(net, learning_rate):
    """Return the optimizer of the network's trainable parameters, a `gluon.Trainer`."""
    return gluon.Trainer(net.collect_train_params(), "adam", {"learning_rate": learning_rate})
