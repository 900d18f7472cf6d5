"""Labels and images that are accepted, but look like a mistake: one warning of each kind."""

from __future__ import annotations

import concurrent.futures
import pathlib
import random
import re
import subprocess
import sys
import threading
import warnings
from typing import Any, Callable

import gluoncv
import mxnet as mx
import numpy as np
import pytest

from rpn_target import (
    FasterRCNNTrainBatchify,
    FasterRCNNTrainTransform,
    MaskRCNNTrainBatchify,
    MaskRCNNTrainTransform,
)
from rpn_target.core.settings import RPNTargetWarning
from rpn_target.gluon import checks
from rpn_target.gluon.checks import check_polygons

ROOT = pathlib.Path(__file__).resolve().parents[2]
IMAGE = mx.nd.full((100, 200, 3), 100, dtype="uint8")
IN_SHARES = mx.nd.full((100, 200, 3), 0.5)
GOOD = [[20, 30, 90, 80, 3], [110, 10, 150, 70, 0]]
SIZES = [[60, 40, 90, 50, 1], [30, 20, 50, 60, 2], [50, 30, 70, 40, 1], [40, 30, 60, 50, 3]]

# The image, the label of every sample, what is suspected, and the number (or row) and size shown.
KINDS = {
    "class in front": (IMAGE, [[3, 20, 30, 90, 80], [0, 110, 10, 150, 70], [1, 9, 9, 50, 50]],
                       r"\(class, xmin, ymin, xmax, ymax\): row 0 is \[3.*80"),
    "scale": (IMAGE, [[0.1, 0.2, 0.5, 0.8, 3]], r"from 0 to 1, .*: row 0 is \[0\.1"),
    "width and height": (IMAGE, SIZES, r"\(xmin, ymin, width, height\): row 0 is \[60"),
    "distance": (IMAGE, [*GOOD, [500, 20, 700, 90, 1]], r"far outside .* row 2 is \[500"),
    "pixels": (IN_SHARES, GOOD, r"largest value of an image is 0\.5: .*divided by 255"),
}  # fmt: skip


def told(call: Callable[[], object]) -> list[str]:
    """Return the warnings of this package that a call gives."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [str(entry.message) for entry in caught if entry.category is RPNTargetWarning]


@pytest.mark.parametrize("kind", KINDS)
def test_once_for_each_kind(kind: str) -> None:
    """With row, value and size; a second transform tells it again."""
    image, label, message = KINDS[kind]
    label = np.array(label, np.float32)
    for _ in range(2):
        transform = FasterRCNNTrainTransform(60)
        messages = told(lambda use=transform: [use(image, label) for _ in range(8)])
        assert len(messages) == 1
        assert re.search(message, messages[0])
        assert messages[0].endswith(" (image of 200 x 100)")


@pytest.mark.parametrize("kind", KINDS)
def test_results_are_those_without_a_warning(kind: str) -> None:
    """Values and random states: GluonCV's, which warns of nothing."""
    image, label, _ = KINDS[kind]
    label = np.array(label, np.float32)
    found = []
    for module in (None, gluoncv.data.transforms.presets.rcnn):
        random.seed(3), np.random.seed(3), mx.random.seed(3)
        if module is None:
            transform = FasterRCNNTrainTransform((50, 70))
        else:
            transform = module.FasterRCNNDefaultTrainTransform((50, 70))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            samples = [transform(image, label.copy()) for _ in range(5)]
        arrays = [(img.asnumpy(), np.asarray(box)) for img, box in samples]
        found.append((arrays, random.getstate(), np.random.get_state()))
    for ours, theirs in zip(found[0][0], found[1][0]):
        np.testing.assert_array_equal(ours[0], theirs[0])
        np.testing.assert_array_equal(ours[1], theirs[1])
    assert found[0][1] == found[1][1]
    np.testing.assert_equal(found[0][2], found[1][2])


@pytest.mark.parametrize("empty", [np.zeros(0), np.zeros((0, 5)), []], ids=["(0,)", "(0, 5)", "[]"])
def test_no_object_in_100_images(empty: object) -> None:
    transform = FasterRCNNTrainTransform(30)
    assert told(lambda: [transform(IMAGE, empty) for _ in range(99)]) == []
    (message,) = told(lambda: [transform(IMAGE, empty) for _ in range(99)])
    assert "none of the first 100 images has an object: is a class name" in message


def test_one_object_is_enough() -> None:
    transform = FasterRCNNTrainTransform(30)
    transform(IMAGE, np.array(GOOD))
    assert told(lambda: [transform(IMAGE, np.zeros(0)) for _ in range(120)]) == []


def test_photographs() -> None:
    """None of ours is suspected."""

    class Photos(gluoncv.data.VOCDetection):
        CLASSES = (
            "camera", "cat", "coin", "cup", "eye", "face", "helmet", "nose",
            "person", "rocket", "saucer", "shuttle", "spoon", "tower", "tripod",
        )  # fmt: skip

    photos = Photos(root=str(ROOT / "examples"), splits=[("photos", "trainval")])
    transform = FasterRCNNTrainTransform(60, 100)
    assert told(lambda: [transform(*photos[i]) for _ in range(3) for i in range(len(photos))]) == []


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("like", ["VOC", "COCO"])
def test_no_false_alarm(like: str, seed: int) -> None:
    """Random boxes: few and large, or many and small, some of them at the image's border."""
    rng = np.random.RandomState(seed)
    transform = FasterRCNNTrainTransform(16, 32)
    images = {}

    def run() -> None:
        for _ in range(300):
            width, height = (500, 375) if rng.rand() < 0.7 else (375, 500)
            count = 1 + rng.geometric(0.4 if like == "VOC" else 0.14)
            size = np.array([width, height])
            sides = size * np.exp(
                rng.uniform(np.log(0.1 if like == "VOC" else 0.02), 0, (count, 2))
            )
            corner = rng.uniform(0, 1, (count, 2)) * (size - sides)
            classes = rng.randint(0, 20 if like == "VOC" else 80, (count, 1))
            label = np.hstack([corner, corner + sides, classes])
            if like == "VOC":
                label = np.floor(label)
                label[:, 2:4] = np.maximum(label[:, 2:4], label[:, :2] + 1)
            if (width, height) not in images:
                images[width, height] = mx.nd.zeros((height, width, 3), dtype="uint8")
            transform(images[width, height], label)

    assert told(run) == []


@pytest.mark.parametrize("kind", ["Faster", "Mask"])
def test_a_transform_without_a_network_is_named_by_batchify(kind: str, c4_net: Any) -> None:
    sample: tuple = (IMAGE, np.array(GOOD))
    if kind == "Mask":
        pytest.importorskip("pycocotools")
        sample = (*sample, [[np.array([[1.0, 1], [60, 2], [40, 70]])]] * 2)
    transform = {"Faster": FasterRCNNTrainTransform, "Mask": MaskRCNNTrainTransform}[kind](60)
    batchify = {"Faster": FasterRCNNTrainBatchify, "Mask": MaskRCNNTrainBatchify}[kind](c4_net)
    samples = [transform(*sample)]
    parts = len(samples[0])
    message = f"sample 0 of the batch has {parts} parts; was the transform made without net"
    with pytest.raises(ValueError, match=message):
        batchify(samples)


@pytest.mark.parametrize("kind", [FasterRCNNTrainTransform, MaskRCNNTrainTransform])
def test_an_unknown_keyword_names_the_class_that_was_called(kind: type) -> None:
    with pytest.raises(TypeError, match=f"{kind.__name__} must be .* an unknown one, num_smaple"):
        kind(num_smaple=3)


def test_run_lengths_are_answered_by_how_to_get_polygons() -> None:
    runs = {"size": [100, 200], "counts": list(range(100000))}
    with pytest.raises(ValueError, match="list of polygons.*Make polygons of a mask") as caught:
        check_polygons(IMAGE, [runs], np.arange(1), 1)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "name",
    ["short", "max_size", "mean", "std", "box_norm", "num_sample", "pos_iou_thresh", "pos_ratio",
     "flip_p", "on_bad_box", "ignore_column", "allowed_border", "low_quality_matches"],
)  # fmt: skip
@pytest.mark.parametrize("value", ["x" * 10**5, list(range(10**5))], ids=["text", "list"])
def test_huge_values_are_cut_and_refused_at_once(name: str, value: object) -> None:
    """Where the transform is made, not by its first image."""
    with pytest.raises((TypeError, ValueError), match=f"^{name} must be .* but got") as caught:
        FasterRCNNTrainTransform(**{name: value})
    assert len(str(caught.value)) < 600


@pytest.mark.slow
@pytest.mark.parametrize("name", ["register_at_fork", "memfd_create"])
def test_import_without(name: str) -> None:
    """As on Windows and macOS."""
    names = [name, "fork"] if name == "register_at_fork" else [name]  # random asks for fork
    code = "import os\n"
    code += "".join(f"if hasattr(os, {each!r}): del os.{each}\n" for each in names)
    code += "import rpn_target, rpn_target.loader"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=str(ROOT), stderr=subprocess.PIPE
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_threads_share_a_transform(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One warning, and no error, where threads look at the first labels at the same moment."""
    image, label, _ = KINDS[kind]
    labels = [np.array(label, np.float32)] * 3 + [np.array(GOOD, np.float32)]
    told: list[str] = []
    monkeypatch.setattr(checks.warnings, "warn", lambda message, *_, **__: told.append(message))
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with concurrent.futures.ThreadPoolExecutor(8) as threads:
            for _ in range(60):
                told.clear()
                watch = checks.LabelWatch()
                barrier = threading.Barrier(8)

                def look(use: checks.LabelWatch = watch, wait: threading.Barrier = barrier) -> None:
                    wait.wait()
                    for each in labels:
                        use.look(image, each)

                for future in [threads.submit(look) for _ in range(8)]:
                    future.result()
                assert len(told) == len(set(told))
    finally:
        sys.setswitchinterval(interval)
