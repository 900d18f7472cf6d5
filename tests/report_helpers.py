"""What the tests of ``inspect`` and ``show`` share: datasets on disk, and running the command."""

import json
import os
import warnings
from xml.sax.saxutils import escape

import helpers  # noqa: F401  imports rpn_target before MXNet
import numpy as np
from mxnet import recordio
from PIL import Image

from rpn_target.cli.main import main

NAMES = ("dog", "cat", "zebra")
# Width and height; powers of two, so that shares of them are exact.
SIZES = ((256, 128), (128, 256), (128, 128), (256, 256))


def make_samples(count=6, seed=0, objects=4):
    """Return seeded (width, height, boxes (M, 4) of whole pixels, class numbers) of images."""
    rng = np.random.RandomState(seed)
    samples = []
    for number in range(count):
        width, height = SIZES[number % len(SIZES)]
        sides = rng.randint(8, 90, (rng.randint(1, objects + 1), 2))
        low = (rng.uniform(0, 1, sides.shape) * (np.array([width, height]) - sides)).astype(int)
        samples.append(
            (width, height, np.c_[low, low + sides], rng.randint(0, len(NAMES), len(sides)))
        )
    return samples


def picture(width, height, number=0):
    """Return an image of one color."""
    return Image.new("RGB", (width, height), (40 * number % 255, 90, 120))


def xml_of(width, height, boxes, names):
    """Return a VOC annotation; GluonCV subtracts 1 from its corners."""
    objects = "".join(
        f"<object><name>{escape(name)}</name><difficult>0</difficult><bndbox>"
        f"<xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2 + 1}</xmax><ymax>{y2 + 1}</ymax>"
        "</bndbox></object>"
        for name, (x1, y1, x2, y2) in zip(names, np.asarray(boxes).tolist())
    )
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation>{size}{objects}</annotation>"


def write_voc(root, samples, names=NAMES, file_names=None):
    """Write a dataset in VOC layout, its annotations directly below the root."""
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        os.makedirs(root / folder, exist_ok=True)
    file_names = file_names or [f"image{number}" for number in range(len(samples))]
    for number, (name, (width, height, boxes, classes)) in enumerate(zip(file_names, samples)):
        picture(width, height, number).save(root / "JPEGImages" / f"{name}.jpg")
        xml = xml_of(width, height, boxes, [names[one] for one in classes])
        (root / "Annotations" / f"{name}.xml").write_text(xml, encoding="utf-8")
    lines = "".join(f"{name}\n" for name in file_names)
    (root / "ImageSets" / "Main" / "trainval.txt").write_text(lines, encoding="utf-8")
    return root


def write_coco(root, samples):
    """Write a dataset in COCO layout, its annotations named mine.json."""
    os.makedirs(root / "train", exist_ok=True)
    os.makedirs(root / "annotations", exist_ok=True)
    images, annotations = [], []
    for number, (width, height, boxes, classes) in enumerate(samples, 1):
        name = f"image{number - 1}.jpg"
        picture(width, height, number).save(root / "train" / name)
        images.append(
            {"id": number, "width": width, "height": height, "file_name": name,
             "coco_url": f"http://localhost/train/{name}"}
        )  # fmt: skip
        for (x1, y1, x2, y2), category in zip(boxes.tolist(), classes.tolist()):
            # GluonCV takes width - 1 for the far corner.
            w, h = x2 - x1 + 1, y2 - y1 + 1
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number, "category_id": category + 1,
                 "bbox": [x1, y1, w, h], "area": w * h, "iscrowd": 0}
            )  # fmt: skip
    categories = [{"id": number, "name": name} for number, name in enumerate(NAMES, 1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations" / "mine.json").write_text(json.dumps(content))
    return root


def write_lst(root, samples, absolute=False):
    """Write a dataset as an LST file beside its images, and the same as a RecordIO file."""
    os.makedirs(root, exist_ok=True)
    lines = []
    record = recordio.MXIndexedRecordIO(str(root / "mine.idx"), str(root / "mine.rec"), "w")
    for number, (width, height, boxes, classes) in enumerate(samples):
        name = f"image{number}.jpg"
        picture(width, height, number).save(root / name)
        scale = np.ones(4) if absolute else np.array([width, height, width, height])
        rows = np.c_[classes, boxes / scale]
        label = [2, 5, *rows.ravel().tolist()]
        lines.append("\t".join([str(number), *map(repr, map(float, label)), name]) + "\n")
        header = recordio.IRHeader(0, label, number, 0)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "tostring", DeprecationWarning)  # in MXNet
            record.write_idx(number, recordio.pack(header, (root / name).read_bytes()))
    record.close()
    (root / "mine.lst").write_text("".join(lines))
    return root


def run(*arguments):
    """Run a command in this process; return its exit status."""
    with warnings.catch_warnings():
        # A test's process has threads, which inspect's forked workers do not need.
        warnings.filterwarnings("ignore", ".*fork.*", DeprecationWarning)
        return main([str(argument) for argument in arguments])


def figures_of(path, *arguments):
    """Run ``inspect`` and return what it writes as JSON."""
    assert run("inspect", *arguments, "--json", path / "figures.json") == 0
    return json.loads((path / "figures.json").read_text(encoding="utf-8"))
