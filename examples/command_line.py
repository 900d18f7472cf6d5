"""The command line of the training scripts: their options, and the data set that these name."""

from __future__ import annotations

import argparse
import importlib.util
import os
import random
import signal
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
PHOTOS_CLASSES = (
    "camera", "cat", "coin", "cup", "eye", "face", "helmet", "nose",
    "person", "rocket", "saucer", "shuttle", "spoon", "tower", "tripod",
)  # fmt: skip
OUTLINED_CLASSES = ("coin", "cup", "eye", "nose", "rocket", "saucer", "spoon")

DEFAULT_ITERATIONS = 120
SUMMARY_WINDOW = 10  # iterations in the first and the last loss of the summary
INTERRUPTED = 128 + signal.SIGINT  # as shells number it
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

    add("--resume", metavar="FILE",
        help="write here what is needed to go on, when the training ends or is interrupted, and go "
        "on from it if it is there; with the same other options, but more --iterations if you "
        "like, the losses are those of a training without the stop; implies --seeded "
        "(default: nothing is kept)")

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
    if options.resume and is_distributed(options):
        raise UsageError("--resume goes on with one process alone, where the optimizer's state is")
    if options.resume or is_distributed(options):
        options.seeded = True
    if options.seeded and options.transform == "gluoncv":
        raise UsageError(
            "--seeded, --resume and several processes need --transform rpn_target: GluonCV's draws "
            "from the global states, which are the same in every process"
        )
    if options.short > options.max_size:
        raise UsageError(
            f"--short must not exceed --max-size, but {options.short} > {options.max_size}"
        )
    if options.seed >= 2**32:
        raise UsageError(f"--seed must be below 2**32, but got {options.seed}")
    if options.weights is not None and not os.path.isfile(options.weights):
        raise UsageError(f"--weights must be a file, but there is none at {options.weights}")
    for name in ("save", "picture", "resume"):
        path = getattr(options, name)
        if path is None:
            continue
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


def seed_all(seed):
    """Seed every generator that anything draws from."""
    import mxnet as mx  # only now, so that --help need not wait for it
    import numpy as np

    random.seed(seed)
    np.random.seed(seed)
    mx.random.seed(seed)


def announce(options, dataset, engine, title):
    """Say what is trained; return the number of batches, and --log-interval where one speaks."""
    batch_size = options.batch_size * len(engine.contexts) * engine.num_ranks
    num_batches = num_iterations(options, len(dataset), batch_size)
    if engine.rank != 0:
        return num_batches, None
    print(
        f"{title} on {len(dataset)} images, {num_batches} batches of {batch_size}, "
        f"transform of {options.transform}",
        flush=True,
    )
    return num_batches, options.log_interval


def report(history, before, after, num_proposals, **columns):
    """Print what training achieved.

    Parameters
    ----------
    history : np.ndarray of shape (iterations, parts)
        The losses.
    before, after : (int, int)
        Objects found among the proposals, and objects there are.
    num_proposals : int
        How many proposals of an image are looked at.
    **columns : slice
        The parts to sum up, by name: a line for each.
    """
    window = max(1, min(SUMMARY_WINDOW, len(history) // 2))
    first, last = history[:window].mean(axis=0), history[-window:].mean(axis=0)
    for name, part in columns.items():
        print(
            f"{name} loss: {first[part].sum():.4f} at first, {last[part].sum():.4f} at last "
            f"(means of {window} iterations)"
        )
    before, after = (
        f"{found} of {total} ({found / total:.0%})" for found, total in (before, after)
    )
    print(
        f"Objects among the {num_proposals} best proposals of an image (IoU >= 0.5): "
        f"{before} before training, {after} after"
    )


def open_voc(base, root=None, splits=None, classes=None):
    """Return a dataset in VOC format of these classes, without the images that have none of them.

    Parameters
    ----------
    base : type
        `gluoncv.data.VOCDetection`, or a subclass.
    root, splits, classes : optional
        What --root, --splits and --classes say.

    Raises
    ------
    UsageError
        If there is no such dataset, or nothing in it.
    """
    root = _folder(root or "~/.mxnet/datasets/voc")
    pairs = []
    for split in splits or ("VOC2007/trainval", "VOC2012/trainval"):
        folder, slash, name = split.rpartition("/")
        if not slash:
            raise UsageError(f"--splits of VOC format must be FOLDER/NAME, but got {split!r}")
        _require_file(os.path.join(root, folder, "ImageSets", "Main", name + ".txt"))
        pairs.append((folder, name))
    # GluonCV asks the class, not the instance, for its classes, and writes those of files small.
    classes = [name.lower() for name in classes or base.CLASSES]
    of_classes = type(base.__name__, (base,), {"CLASSES": classes})
    dataset = of_classes(root=root, splits=pairs, preload_label=True)
    kept = [number for number, label in enumerate(dataset._label_cache) if len(label)]
    dataset._items = [dataset._items[number] for number in kept]
    dataset._label_cache = [dataset._label_cache[number] for number in kept]
    return _require_images(dataset, root)


def open_coco(base, root=None, splits=None, classes=None, **options):
    """Return a dataset in COCO format of these classes.

    Parameters
    ----------
    base : type
        `gluoncv.data.COCODetection` or `gluoncv.data.COCOInstance`, or a subclass.
    root, splits, classes : optional
        What --root, --splits and --classes say.
    **options
        For `base`.

    Raises
    ------
    UsageError
        If there is no such dataset, or nothing in it.
    """
    root = _folder(root or "~/.mxnet/datasets/coco")
    splits = splits or ("instances_train2017",)
    if importlib.util.find_spec("pycocotools") is None:  # GluonCV would try to install it
        raise UsageError("a dataset in COCO format needs pycocotools: pip install pycocotools")
    for split in splits:
        _require_file(os.path.join(root, "annotations", split + ".json"))
    of_classes = type(base.__name__, (base,), {"CLASSES": list(classes or base.CLASSES)})
    try:
        dataset = of_classes(root=root, splits=list(splits), **options)
    except ValueError as error:
        if "category names" not in str(error):
            raise
        raise UsageError("--classes must be the categories of the dataset, in order") from error
    return _require_images(dataset, root)


def _folder(root):
    root = os.path.expanduser(root)
    if not os.path.isdir(root):
        raise UsageError(f"--root must be a folder, but there is none at {root}")
    return root


def _require_file(path):
    if not os.path.isfile(path):
        raise UsageError(f"--splits must name files of the dataset, but there is no {path}")


def _require_images(dataset, root):
    if not len(dataset):
        raise UsageError(f"--splits must list images with objects, but {root} has none there")
    return dataset


def answer(parser, run, argv=None):
    """Call `run` with the parsed arguments, and return the exit status."""
    options = parser.parse_args(argv)
    try:
        check(options)
        run(options)
    except UsageError as error:
        parser.error(str(error))
    except FloatingPointError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{parser.prog}: interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0
