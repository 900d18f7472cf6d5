#!/usr/bin/env python
"""Train a small Faster R-CNN with RPN targets from rpn_target, by default on six photographs.

The defaults start from random weights and take about two minutes on two CPU cores. At the end
stand the losses, how many of the objects the RPN proposes before and after training, the saved
parameters, and a picture of the anchors that were sampled for one image.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager

import command_line
from stopping import Checkpoint, SignalsBetweenBatches, many_epochs, start

PARSER = command_line.build_parser(__doc__)
if __name__ == "__main__":
    PARSER.parse_args()  # MXNet takes seconds to import; --help and bad arguments need none of it

import rpn_target  # first, since it restores what MXNet needs of recent NumPy

# isort: split
import matplotlib.figure
import numpy as np
from distributed.ranks import start_engine
from gluoncv.data import COCODetection, VOCDetection
from gluoncv.data.batchify import FasterRCNNTrainBatchify
from gluoncv.data.transforms.presets import rcnn
from mxnet import autograd, gluon, nd
from small_networks import build_network, count_found, initialize
from tqdm import tqdm

# The two names that change in a script of yours: the transform, and the batchify function.
IMPLEMENTATIONS = {
    "gluoncv": (rcnn.FasterRCNNDefaultTrainTransform, FasterRCNNTrainBatchify),
    "rpn_target": (rpn_target.FasterRCNNTrainTransform, rpn_target.FasterRCNNTrainBatchify),
}

LOSSES = ("rpn_cls", "rpn_box", "rcnn_cls", "rcnn_box")
PICTURED_PHOTO = 3  # coffee.jpg has several positive anchors of different sizes


def open_dataset(kind, root=None, splits=None, classes=None):
    """Return a dataset whose items are an image and its label (M, 5+): corner box, class."""
    if kind == "coco":
        return command_line.open_coco(COCODetection, root, splits, classes, use_crowd=False)
    if kind == "photos":
        root, splits = root or command_line.HERE, splits or ["photos/trainval"]
        classes = classes or command_line.PHOTOS_CLASSES
    return command_line.open_voc(VOCDetection, root, splits, classes)


def make_transform(transform_type, net, num_sample):
    """Return the train transform of the network, made as GluonCV's script makes it."""
    return transform_type(
        net.short, net.max_size, net, ashape=net.ashape, multi_stage=net.num_stages > 1,
        num_sample=num_sample,
    )  # fmt: skip


def full_batches(length, batch_size, num_batches, seed):
    """Return batches of image indices, all full; each pass over the dataset is shuffled anew."""
    generator = np.random.RandomState(seed)
    passes = -(-batch_size * num_batches // length)
    order = np.concatenate([generator.permutation(length) for _ in range(passes)])
    return order[: batch_size * num_batches].reshape(num_batches, batch_size).tolist()


@contextmanager
def open_loader(dataset, transform, batchify_fn, engine, options, num_batches):
    """Give a loader of batches with worker processes, and end these with the block.

    With --seeded every draw depends on the seed, the pass over the dataset and the image alone,
    and every rank gets its part of the batches. Otherwise draws come from the global states, as
    with GluonCV.
    """
    batch_size = options.batch_size * len(engine.contexts)
    workers = dict(batchify_fn=batchify_fn, num_workers=options.num_workers)
    if options.seeded:
        with rpn_target.seeded_loader(
            dataset, transform, options.seed, batch_size=batch_size, shuffle=True,
            last_batch="rollover", rank=engine.rank, num_ranks=engine.num_ranks, **workers,
        ) as loader:  # fmt: skip
            yield loader
        return
    order = full_batches(len(dataset), batch_size, num_batches, options.seed)
    loader = gluon.data.DataLoader(dataset.transform(transform), batch_sampler=order, **workers)
    try:
        yield loader
    finally:
        loader.__del__()  # ends the workers now: a DataLoader has no close()


def rpn_losses(score, box, cls_target, box_target, box_mask):
    """Return the losses of the RPN, each a mean over the sampled anchors.

    `score` (B, N, 1) are logits; `cls_target` (B, N) is 1 for a positive, 0 for a negative and -1
    for an ignored anchor; boxes and mask are (B, N, 4).
    """
    logit = score.squeeze(axis=-1)
    sampled = cls_target >= 0
    count = nd.maximum(sampled.sum(), 1)  # a batch may have no sampled anchor
    # -log sigmoid(x) for a positive, -log(1 - sigmoid(x)) for a negative, without overflow
    entropy = nd.relu(logit) - logit * cls_target + nd.log1p(nd.exp(-nd.abs(logit)))
    distance = nd.smooth_l1((box - box_target) * box_mask, scalar=3)
    return (entropy * sampled).sum() / count, distance.sum() / count


def rcnn_losses(score, box, cls_target, box_target, box_mask):
    """Return the losses of the R-CNN head, each a mean over the sampled proposals.

    `score` (B, N, C + 1) are logits of the background and the classes; `cls_target` (B, N) is 0
    for the background, -1 for an ignored proposal; boxes and mask are (B, P, C, 4).
    """
    sampled = cls_target >= 0
    count = nd.maximum(sampled.sum(), 1)
    entropy = -nd.pick(nd.log_softmax(score, axis=-1), nd.maximum(cls_target, 0), axis=-1)
    distance = nd.smooth_l1((box - box_target) * box_mask, scalar=1)
    return (entropy * sampled).sum() / count, distance.sum() / count


def compute_losses(net, image, label, cls_target, box_target, box_mask):
    """Return the four losses of one device's share of a batch."""
    output = net(image, label[:, :, :4], label[:, :, 4:5])
    cls_score, box_score, _, _, _, rpn_score, rpn_box, _ = output[:8]
    rpn = rpn_losses(rpn_score, rpn_box, cls_target, box_target, box_mask)
    return (*rpn, *rcnn_losses(cls_score, box_score, *output[8:11]))


def split_and_load(batch, contexts):
    """Return for each device its share of every part of the batch, moved there."""
    parts = [part if isinstance(part, (list, tuple)) else [part] for part in batch]
    shares = zip(*parts)
    return [[array.as_in_context(ctx) for array in share] for share, ctx in zip(shares, contexts)]


def train(net, trainer, batches, num_batches, state, contexts, log_interval, compute_losses, names):
    """Train, and return the losses (iterations, names), means over the devices.

    Prints means over `log_interval` iterations, unless it is None, and shows a progress bar where
    standard error is a terminal. The Checkpoint `state` gets the losses, and is saved at the end.
    """
    history = state.history
    progress = tqdm(
        total=num_batches,
        initial=len(history),
        unit="batch",
        disable=None if log_interval else True,
    )
    with progress as bar, SignalsBetweenBatches() as stop:
        for batch in batches:
            with autograd.record():
                losses = [compute_losses(net, *share) for share in split_and_load(batch, contexts)]
                totals = [sum(of_device) for of_device in losses]
            autograd.backward(totals)
            trainer.step(len(totals))
            means = np.mean([[x.asscalar() for x in row] for row in losses], axis=0)
            if not np.isfinite(means).all():
                raise FloatingPointError(
                    f"the loss is not finite in iteration {len(history) + 1}; try a smaller --lr"
                )
            history.append(means.tolist())
            bar.update()
            if log_interval and len(history) % log_interval == 0:
                means = zip(names, np.mean(history[-log_interval:], axis=0, dtype=np.float64))
                line = "  ".join(f"{name} {value:.8f}" for name, value in means)
                tqdm.write(f"iteration {len(history):4}  {line}")
                sys.stdout.flush()  # it may be a file, or another process that shows it
            if stop.is_pending:
                break
        nd.waitall()  # for the last update, which other ranks have a part in
        state.save()
        stop.deliver()
    return np.array(history)


def draw_sampled_anchors(net, transform, dataset, index, path):
    """Write a picture of an image, its objects, and the anchors that are sampled for it."""
    image, label, *targets = transform(*dataset[index])
    axes = matplotlib.figure.Figure(figsize=(9, 6.5), dpi=110).add_subplot()
    rpn_target.plot_targets(image, label, targets, axes, net, dataset.classes)
    axes.figure.savefig(path, bbox_inches="tight")


def run(options):
    """Train as the options say."""
    command_line.seed_all(options.seed)
    engine = start_engine(options)  # this process alone, or one of several ranks
    contexts = engine.contexts
    dataset = open_dataset(options.dataset, options.root, options.splits, options.classes)
    net = build_network(
        options.network, dataset.classes, options.short, options.max_size, options.batch_size
    )
    initialize(net, contexts, options.weights)
    transform_type, batchify_type = IMPLEMENTATIONS[options.transform]
    transform = make_transform(transform_type, net, options.num_sample)
    batchify_fn = batchify_type(net, len(contexts))

    num_batches, log_interval = command_line.announce(options, dataset, engine, options.network)
    # On every rank, so that all begin to train in the same state.
    before = count_found(net, dataset, contexts[0], options.recall_images)
    with open_loader(dataset, transform, batchify_fn, engine, options, num_batches) as loader:
        trainer = engine.make_trainer(net, options.lr)
        state = Checkpoint(options.resume, net, trainer, loader, before)
        seed = options.seed if options.seeded else None
        batches = many_epochs(loader, num_batches, len(state.history), seed)
        history = train(
            net, trainer, batches, num_batches, state, contexts, log_interval, compute_losses,
            LOSSES,
        )  # fmt: skip
    if engine.rank != 0:
        return  # one is enough to report and to save
    after = count_found(net, dataset, contexts[0], options.recall_images)
    command_line.report(history, state.before, after, net.rpn.get_test_post_nms(), RPN=slice(2))
    net.save_parameters(options.save)
    index = PICTURED_PHOTO if options.dataset == "photos" else 0
    draw_sampled_anchors(net, transform, dataset, index, options.picture)
    print(f"Wrote {options.save} and {options.picture}")


def main(argv=None):
    """Run the command line and return the exit status."""
    return command_line.answer(PARSER, run, argv)


if __name__ == "__main__":
    start(main)
