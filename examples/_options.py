"""The command line of the training scripts."""

from __future__ import annotations

import argparse
import os

DEFAULT_ITERATIONS = 120
PICTURE_FORMATS = (".png", ".jpg", ".pdf", ".svg")
SPLITS_HELP = {
    "voc": "in VOC format FOLDER/NAME (default: VOC2007/trainval VOC2012/trainval)",
    "coco": "in COCO format NAME (default: instances_train2017)",
}


class UsageError(Exception):
    """An argument that cannot be; the message is for the command line."""


class OneLineParser(argparse.ArgumentParser):
    """A parser that answers a bad argument with one line, without the usage."""

    def error(self, message):
        self.exit(2, f"{self.prog}: error: {message}\n")


def whole_number(minimum):
    """Return a converter for whole numbers from `minimum` up."""

    def convert(text):
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or value < minimum:
            raise argparse.ArgumentTypeError(
                f"must be a whole number from {minimum} up, but got {text!r}"
            )
        return value

    return convert


def positive_float(text):
    """Convert a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0, but got {text!r}")
    return value


def gpu_numbers(text):
    """Convert '0,1' to [0, 1]."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        message = f"must be numbers of GPUs, like 0,1, but got {text!r}"
        raise argparse.ArgumentTypeError(message) from None


def build_parser(
    description,
    model="faster_rcnn",
    formats=("voc", "coco"),
    networks=("c4", "fpn"),
    picture="the anchors sampled for an image",
):
    """Return the parser of the command line.

    Parameters
    ----------
    description : str
        What the script does.
    model : str
        Names the files that are written by default.
    formats : sequence of str
        Formats of data sets that can be trained on.
    networks : sequence of str
        Networks to choose from, the last by default.
    picture : str
        What is drawn.
    """
    parser = OneLineParser(description=description)
    # fmt: off
    add = parser.add_argument_group("dataset").add_argument
    add("--dataset", choices=("photos", *formats), default="photos",
        help="the photographs beside this script, or a dataset in "
        f"{' or '.join(formats).upper()} format (default: %(default)s)")
    add("--root", metavar="DIR",
        help=f"folder of the dataset (default: ~/.mxnet/datasets/{' or '.join(formats)})")
    add("--splits", metavar="NAME", nargs="+",
        help=f"which lists of images; {', '.join(SPLITS_HELP[name] for name in formats)}")
    add("--classes", metavar="NAME", nargs="+",
        help="names of the classes, where they are not those of "
        f"{' or '.join(formats).upper()}")
    add("--short", type=whole_number(64), default=256, metavar="PIXELS",
        help="short side of the resized images (default: %(default)s)")
    add("--max-size", type=whole_number(64), default=400, metavar="PIXELS",
        help="upper bound of their long side (default: %(default)s)")
    add("--num-workers", type=whole_number(0), default=2, metavar="N",
        help="processes that prepare the batches, 0 for none (default: %(default)s)")

    add = parser.add_argument_group("network").add_argument
    add("--network", choices=networks, default=networks[-1],
        help="on a ResNet-18: c4, with one feature map, or fpn, with a feature pyramid "
        "(default: %(default)s)")
    add("--weights", metavar="FILE",
        help="parameters to start from, as --save writes them (default: random ones)")

    add = parser.add_argument_group("training").add_argument
    add("--transform", choices=("rpn_target", "gluoncv"), default="rpn_target",
        help="whose train transform and batchify function to use; with the same --seed and "
        "--num-workers 0 both give the same losses (default: %(default)s)")
    add("--num-sample", type=whole_number(2), default=64, metavar="N",
        help="anchors sampled per image, at most half of them positive (default: %(default)s)")
    add("--iterations", type=whole_number(1), metavar="N",
        help=f"batches to train on (default: {DEFAULT_ITERATIONS}, or what --epochs makes)")
    add("--epochs", type=whole_number(1), metavar="N",
        help="passes over the dataset; with --iterations, what ends first counts")
    add("--batch-size", type=whole_number(1), default=2, metavar="N",
        help="images per device (default: %(default)s)")
    add("--lr", type=positive_float, default=1e-3, metavar="RATE",
        help="learning rate of Adam (default: %(default)s)")
    add("--gpus", type=gpu_numbers, default=[], metavar="0,1",
        help="GPUs to train on (default: none, the CPU)")
    add("--seed", type=whole_number(0), default=0, metavar="N",
        help="of random, np.random, mx.random and --seeded (default: %(default)s)")
    add("--seeded", action="store_true",
        help="let every draw depend on --seed, the pass over the dataset and the image alone, so "
        "that the data are the same with any number of workers (default: draw as GluonCV does)")

    add = parser.add_argument_group(
        "several processes",
        "each takes a part of every batch and the same weights; they imply --seeded; "
        "see distributed/ for how to start them",
    ).add_argument
    add("--horovod", action="store_true", help="train with Horovod (default: without)")
    add("--kv-store", choices=("local", "device", "dist_sync"), default="device",
        help="MXNet's kvstore: on one machine (local, device) or with a server for the weights "
        "of several processes (dist_sync) (default: %(default)s)")

    add = parser.add_argument_group("output").add_argument
    add("--log-interval", type=whole_number(1), default=10, metavar="N",
        help="iterations per printed line of mean losses (default: %(default)s)")
    add("--recall-images", type=whole_number(1), default=20, metavar="N",
        help="look for objects among the proposals for the first N images, before and after "
        "training (default: %(default)s)")
    add("--save", metavar="FILE", default=f"{model}.params",
        help="where to write the parameters (default: %(default)s)")
    add("--picture", metavar="FILE", default=f"{model}.png",
        help=f"where to draw {picture} (default: %(default)s)")
    # fmt: on
    return parser


def check(options):
    """Check what no single argument shows.

    Raises
    ------
    UsageError
        If the arguments contradict each other or name files that cannot be.
    """
    if options.horovod and options.kv_store == "dist_sync":
        raise UsageError("--horovod and --kv-store dist_sync exclude each other")
    if options.kv_store == "dist_sync" and "DMLC_ROLE" not in os.environ:
        raise UsageError("--kv-store dist_sync must be started by distributed/run_dist_sync.py")
    if is_distributed(options):
        options.seeded = True
    if options.seeded and options.transform == "gluoncv":
        raise UsageError(
            "--seeded and several processes need --transform rpn_target: GluonCV's draws from the "
            "global states, which are the same in every process"
        )
    if options.short > options.max_size:
        raise UsageError(
            f"--short must not exceed --max-size, but {options.short} > {options.max_size}"
        )
    if options.seed >= 2**32:
        raise UsageError(f"--seed must be below 2**32, but got {options.seed}")
    if options.weights is not None and not os.path.isfile(options.weights):
        raise UsageError(f"--weights must be a file, but there is none at {options.weights}")
    for name in ("save", "picture"):
        path = getattr(options, name)
        folder = os.path.dirname(os.path.abspath(path))
        if os.path.isdir(path) or not os.access(folder, os.W_OK):
            raise UsageError(f"--{name} must be a file that can be written, but got {path}")
    if not options.picture.endswith(PICTURE_FORMATS):
        raise UsageError(
            f"--picture must end in {', '.join(PICTURE_FORMATS)}, but got {options.picture}"
        )


def is_distributed(options):
    """Tell whether this is one of several processes."""
    return options.horovod or options.kv_store == "dist_sync"


def num_iterations(options, num_images, images_per_iteration):
    """Return how many batches to train on."""
    if options.epochs is None:
        return options.iterations or DEFAULT_ITERATIONS
    iterations = -(-options.epochs * num_images // images_per_iteration)
    return min(iterations, options.iterations or iterations)
