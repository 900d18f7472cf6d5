"""What trains: one process, or several of them (*ranks*) on Horovod or on MXNet's own kvstore.

An engine knows the devices of this process and its place among the ranks, and makes the optimizer
that keeps the weights of all ranks equal: gradients are averaged over the ranks in every step.
What is not trained by gradients, such as the running statistics of batch normalization, is every
rank's own.
"""

from __future__ import annotations

import mxnet as mx
from command_line import UsageError
from mxnet import gluon

OPTIMIZER = "adam"


class SingleProcess:
    """One process with all the devices there are."""

    rank, num_ranks = 0, 1

    def __init__(self, gpus, kv_store):
        self.contexts = find_devices(gpus)
        self._kv_store = kv_store

    def make_trainer(self, net, learning_rate):
        """Return the optimizer of the network's trainable parameters, a `gluon.Trainer`."""
        return gluon.Trainer(
            net.collect_train_params(),
            OPTIMIZER,
            {"learning_rate": learning_rate},
            kvstore=self._kv_store,
        )


class DistSync:
    """Ranks that MXNet's kvstore of type ``dist_sync`` joins: a server holds the weights.

    How to reach it stands in the environment (``DMLC_ROLE`` and so on), where a launcher such as
    ``distributed/run_dist_sync.py`` puts it.
    """

    def __init__(self, gpus):
        self.contexts = find_devices(gpus)
        self._kv_store = mx.kvstore.create("dist_sync")
        self.rank, self.num_ranks = self._kv_store.rank, self._kv_store.num_workers

    def make_trainer(self, net, learning_rate):
        """Return the optimizer, which begins with the weights of rank 0."""
        restore_layout(net)
        # The server adds the gradients up.
        options = {"learning_rate": learning_rate, "rescale_grad": 1 / self.num_ranks}
        return gluon.Trainer(net.collect_train_params(), OPTIMIZER, options, kvstore=self._kv_store)


class Horovod:
    """Ranks that ``horovodrun`` starts; each takes the GPU of its number on its machine."""

    def __init__(self, gpus):
        try:
            import horovod.mxnet as hvd
        except ImportError as error:
            raise UsageError(f"--horovod needs Horovod, built with MXNet: {error}") from error
        hvd.init()
        self._hvd = hvd
        self.rank, self.num_ranks = hvd.rank(), hvd.size()
        if gpus and len(gpus) < hvd.local_size():
            raise UsageError(
                f"--gpus must name one for each of the {hvd.local_size()} ranks on this machine, "
                f"but got {len(gpus)}"
            )
        self.contexts = find_devices(gpus[hvd.local_rank() : hvd.local_rank() + 1])

    def make_trainer(self, net, learning_rate):
        """Return the optimizer, once all ranks have the weights of rank 0."""
        restore_layout(net)
        self._hvd.broadcast_parameters(net.collect_params(), root_rank=0)
        # It averages the gradients by itself.
        return self._hvd.DistributedTrainer(
            net.collect_train_params(), OPTIMIZER, {"learning_rate": learning_rate}
        )


def start_engine(options):
    """Return the engine that the command line asks for.

    Raises
    ------
    UsageError
        If it cannot be had: a GPU or Horovod is missing, or no launcher has started the ranks.
    """
    if options.horovod:
        return Horovod(options.gpus)
    if options.kv_store == "dist_sync":
        return DistSync(options.gpus)
    return SingleProcess(options.gpus, options.kv_store)


def restore_layout(net):
    """Write the weights anew, in MXNet's own layout.

    On a CPU, prediction leaves them in the layout of the library that computes convolutions, in
    which neither engine can send them.
    """
    for parameter in net.collect_params().values():
        parameter.reset_ctx(parameter.list_ctx())


def find_devices(gpus):
    """Return the contexts of these GPUs, or the CPU's where there are none.

    Raises
    ------
    UsageError
        If this machine has no such GPU.
    """
    available = mx.context.num_gpus() if gpus else 0
    missing = [gpu for gpu in gpus if not 0 <= gpu < available]
    if missing:
        raise UsageError(f"--gpus asks for GPU {missing[0]}, but MXNet sees {available} GPUs")
    return [mx.gpu(gpu) for gpu in gpus] or [mx.cpu()]
