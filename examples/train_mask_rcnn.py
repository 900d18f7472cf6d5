#!/usr/bin/env python
"""Train a small Mask R-CNN with RPN targets from rpn_target, by default on four photographs.

The defaults start from random weights and take about two minutes on two CPU cores. At the end
stand the losses, how many of the objects the RPN proposes before and after training, the saved
parameters, and a picture of the masks that are found in one image.
"""

from __future__ import annotations

import random

from _options import build_parser, num_iterations
from _program import answer, start

PICTURED_PHOTO = 2  # coins.jpg has many objects, small ones
SUMMARY_WINDOW = 10  # iterations in the first and the last loss of the summary


def summarize(history, recalls, num_proposals):
    """Return what training achieved, in three lines."""
    from _recall import IOU_THRESHOLD
    from _training import mean_losses

    window = max(1, min(SUMMARY_WINDOW, len(history) // 2))
    first, last = mean_losses(history[:window]), mean_losses(history[-window:])
    before, after = (f"{found} of {total} ({found / total:.0%})" for found, total in recalls)
    return (
        f"RPN loss: {first.rpn:.4f} at first, {last.rpn:.4f} at last (means of {window} "
        f"iterations)\n"
        f"Mask loss: {first.mask:.4f} at first, {last.mask:.4f} at last\n"
        f"Objects among the {num_proposals} best proposals of an image (IoU >= {IOU_THRESHOLD}): "
        f"{before} before training, {after} after"
    )


def run(options):
    """Train as the options say."""
    # Imported late, so that --help and bad arguments are answered at once.
    import rpn_target  # noqa: F401  first, since it restores what MXNet needs of NumPy

    # isort: split
    import mxnet as mx
    import numpy as np
    from _data import make_transform
    from _engines import start_engine
    from _loaders import open_loader
    from _mask_data import IMPLEMENTATIONS, open_instances
    from _mask_network import build_mask_network
    from _mask_picture import draw_masks
    from _mask_training import step
    from _network import initialize
    from _recall import proposal_recall
    from _training import train

    random.seed(options.seed)
    np.random.seed(options.seed)
    mx.random.seed(options.seed)

    engine = start_engine(options)
    contexts = engine.contexts
    dataset = open_instances(options.dataset, options.root, options.splits, options.classes)
    net = build_mask_network(dataset.classes, options.short, options.max_size, options.batch_size)
    initialize(net, contexts, options.weights)
    transform_type, batchify_type = IMPLEMENTATIONS[options.transform]
    transform = make_transform(transform_type, net, options.num_sample)

    batch_size = options.batch_size * len(contexts) * engine.num_ranks
    iterations = num_iterations(options, len(dataset), batch_size)
    log_interval = options.log_interval if engine.rank == 0 else None
    if log_interval:
        print(
            f"Mask R-CNN on {len(dataset)} images, {iterations} batches of {batch_size}, "
            f"transform of {options.transform}",
            flush=True,
        )

    # On every rank, so that all begin to train in the same state.
    recalls = [proposal_recall(net, dataset, contexts[0], options.recall_images)]
    batchify = batchify_type(net, len(contexts))
    with open_loader(dataset, transform, batchify, engine, options, iterations) as loader:
        trainer = engine.make_trainer(net, options.lr)
        history = train(net, trainer, loader, contexts, log_interval, step)
    if engine.rank != 0:
        return
    recalls.append(proposal_recall(net, dataset, contexts[0], options.recall_images))

    print(summarize(history, recalls, net.rpn.get_test_post_nms()))
    net.save_parameters(options.save)
    sample = dataset[PICTURED_PHOTO if options.dataset == "photos" else 0]
    draw_masks(net, sample, contexts[0], options.picture)
    print(f"Wrote {options.save} and {options.picture}")


def main(argv=None):
    """Run the command line and return the exit status."""
    parser = build_parser(
        __doc__, "mask_rcnn", formats=("coco",), networks=("fpn",), picture="the masks found"
    )
    return answer(parser, run, argv)


if __name__ == "__main__":
    start(main)
