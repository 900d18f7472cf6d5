"""What the two training scripts beside share: options, devices, dataset, the training loop."""

import argparse
import os
import random
import sys

import mxnet as mx
import numpy as np
from gluoncv.utils.parallel import Parallel
from mxnet import gluon

try:
    from gluoncv.data.sampler import SplitSortedBucketSampler
except ImportError:  # where GluonCV 0.5 to 0.8 keep it
    from gluoncv.nn.sampler import SplitSortedBucketSampler  # noqa: F401
try:
    import horovod.mxnet as hvd
except ImportError:
    hvd = None

EXAMPLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples")
sys.path.append(EXAMPLES)  # for its small networks


def parse_args(description, **defaults):
    """Read the options, which are called as in GluonCV's scripts."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--num-workers", "-j", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=1, help="images in all")
    parser.add_argument("--devices", type=int, default=1, help="CPU contexts, in place of GPUs")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--lr", type=float, default=0.001)
    parser.add_argument("--seed", type=int, default=233)
    parser.add_argument("--use-fpn", action="store_true")
    parser.add_argument("--mixup", action="store_true")
    parser.add_argument("--horovod", action="store_true")
    parser.add_argument("--executor-threads", type=int, default=1)
    parser.set_defaults(**defaults)
    args = parser.parse_args()
    if args.horovod:
        if hvd is None:
            raise SystemExit("--horovod needs horovod.mxnet")
        hvd.init()
    random.seed(args.seed)
    np.random.seed(args.seed)
    mx.random.seed(args.seed)
    return args


def place(args):
    """Return the parts of a dataset, this process's part, and its devices."""
    if args.horovod:
        return hvd.size(), hvd.rank(), [mx.cpu(hvd.local_rank())]
    return 1, 0, [mx.cpu(number) for number in range(args.devices)]


def initialize(net, ctx):
    """Give the network random weights."""
    net.initialize(mx.init.MSRAPrelu(), ctx=ctx)
    net.target_generator.collect_params().reset_ctx(ctx)


def split_and_load(batch, ctx_list):
    """Put each shard of each part of a batch on its device."""
    parts = []
    for data in batch:
        shards = data if isinstance(data, (list, tuple)) else [data]
        parts.append([shard.as_in_context(ctx) for shard, ctx in zip(shards, ctx_list)])
    return parts


def normalized(loss, target, count):
    """Return a loss, which is a mean over all targets, as a mean over those that count."""
    return loss * target.size / count


def train(net, train_data, make_task, ctx, args):
    """Train, and print the losses of every batch to the last digit."""
    parameters = net.collect_train_params()
    options = {"learning_rate": args.lr, "momentum": 0.9, "wd": 1e-4}
    if args.horovod:
        hvd.broadcast_parameters(net.collect_params(), root_rank=0)
        trainer = hvd.DistributedTrainer(parameters, "sgd", options)
    else:
        trainer = gluon.Trainer(parameters, "sgd", options, kvstore="local")
    task = make_task(net)
    executor = None if args.horovod else Parallel(args.executor_threads, task)
    net.hybridize()
    for epoch in range(args.epochs):
        if args.mixup:
            train_data._dataset._data.set_mixup(np.random.uniform, 0.5, 0.5)
            task.mix_ratio = 0.5
        for number, batch in enumerate(train_data):
            batch = split_and_load(batch, ctx)
            results = []
            for data in zip(*batch):
                if executor is None:
                    results.append(task.forward_backward(data))
                else:
                    executor.put(data)
            if executor is not None:
                results = [executor.get() for _ in ctx]
            trainer.step(args.batch_size)
            values = [value.asscalar().item() for result in results for value in result]
            print(f"epoch {epoch} batch {number}", *map(repr, values), flush=True)
    mx.nd.waitall()  # for the last update, which other ranks have a part in
