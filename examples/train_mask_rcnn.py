#!/usr/bin/env python
"""Train a small Mask R-CNN with RPN targets from rpn_target, by default on four photographs.

The defaults start from random weights and take about two minutes on two CPU cores. At the end
stand the losses, how many of the objects the RPN proposes before and after training, the saved
parameters, and a picture of the masks that are found in one image.
"""

from __future__ import annotations

from _options import build_parser
from _program import answer, start

PICTURED_PHOTO = 2  # coins.jpg has many objects, small ones


def run(options):
    """Train as the options say."""
    # Imported late, so that --help and bad arguments are answered at once.
    import rpn_target  # noqa: F401  first, since it restores what MXNet needs of NumPy

    # isort: split
    from _experiment import Task, carry_out
    from _mask_data import IMPLEMENTATIONS, open_instances
    from _mask_network import build_mask_network
    from _mask_picture import draw_masks
    from _mask_training import step

    dataset = open_instances(options.dataset, options.root, options.splits, options.classes)
    task = Task("Mask R-CNN", dataset, build_mask_network, IMPLEMENTATIONS, step)
    outcome = carry_out(task, options)
    if outcome is None:
        return
    print(outcome.summarize("rpn", "mask"))
    outcome.net.save_parameters(options.save)
    sample = dataset[PICTURED_PHOTO if options.dataset == "photos" else 0]
    draw_masks(outcome.net, sample, outcome.context, options.picture)
    print(f"Wrote {options.save} and {options.picture}")


def main(argv=None):
    """Run the command line and return the exit status."""
    parser = build_parser(
        __doc__, "mask_rcnn", formats=("coco",), networks=("fpn",), picture="the masks found"
    )
    return answer(parser, run, argv)


if __name__ == "__main__":
    start(main)
