#!/usr/bin/env python
"""Train a small Faster R-CNN with RPN targets from rpn_target, by default on six photographs.

The defaults start from random weights and take about two minutes on two CPU cores. At the end
stand the losses, how many of the objects the RPN proposes before and after training, the saved
parameters, and a picture of the anchors that were sampled for one image.
"""

from __future__ import annotations

import functools

from _options import build_parser
from _program import answer, start

PICTURED_PHOTO = 3  # coffee.jpg has several positive anchors of different sizes


def run(options):
    """Train as the options say."""
    # Imported late, so that --help and bad arguments are answered at once.
    import rpn_target  # noqa: F401  first, since it restores what MXNet needs of NumPy

    # isort: split
    from _data import IMPLEMENTATIONS, open_dataset
    from _experiment import Task, carry_out
    from _network import build_network
    from _picture import draw_sampled_anchors
    from _training import step

    dataset = open_dataset(options.dataset, options.root, options.splits, options.classes)
    build = functools.partial(build_network, options.network)
    outcome = carry_out(Task(options.network, dataset, build, IMPLEMENTATIONS, step), options)
    if outcome is None:
        return
    print(outcome.summarize("rpn"))
    outcome.net.save_parameters(options.save)
    sample = dataset[PICTURED_PHOTO if options.dataset == "photos" else 0]
    draw_sampled_anchors(outcome.net, outcome.transform(*sample), dataset.classes, options.picture)
    print(f"Wrote {options.save} and {options.picture}")


def main(argv=None):
    """Run the command line and return the exit status."""
    return answer(build_parser(__doc__), run, argv)


if __name__ == "__main__":
    start(main)
