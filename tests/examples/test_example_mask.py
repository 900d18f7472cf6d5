"""The Mask R-CNN example: its dataset, its parts by hand, and short runs of the whole."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys

import mxnet as mx
import numpy as np
import pytest
from gluoncv.data import COCOInstance, VOCDetection
from numpy.testing import assert_array_equal

pytest.importorskip("pycocotools")

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
PHOTOS = EXAMPLES / "photos"
SCRIPT = EXAMPLES / "train_mask_rcnn.py"

sys.path.insert(0, str(EXAMPLES))

import command_line  # noqa: E402
import train_mask_rcnn  # noqa: E402

TINY = ("--short", "96", "--max-size", "160", "--log-interval", "1", "--num-workers", "0")


@pytest.fixture(scope="module")
def dataset():
    return train_mask_rcnn.open_dataset("photos")


@pytest.fixture
def run(tmp_path, capsys):
    """Run the example in this process; returns what it printed."""

    def run(*argv):
        outputs = ("--save", str(tmp_path / "net.params"), "--picture", str(tmp_path / "net.png"))
        assert train_mask_rcnn.main([*TINY, *outputs, *map(str, argv)]) == 0
        return capsys.readouterr().out

    return run


def losses_in(printed):
    return [line for line in printed.splitlines() if line.startswith("iteration")]


# The dataset


def test_loads_as_the_readme_says():
    readme = (PHOTOS / "README.md").read_text()
    code = re.search(r"## Outlines.*?```python\n(.*?)```", readme, re.S).group(1)
    code += "print(image.shape, label.shape, len(outlines), len(dataset))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"import rpn_target\n{code}"],
        cwd=str(EXAMPLES.parent), stdout=subprocess.PIPE, check=True,
        env=dict(os.environ, PYTHONPATH=str(EXAMPLES.parent)),
    )  # fmt: skip
    assert done.stdout.decode().splitlines()[-1] == "(303, 384, 3) (24, 5) 24 4"


def test_counts(dataset):
    assert isinstance(dataset, COCOInstance)
    assert [len(label) for _, label, _ in dataset] == [3, 3, 24, 1]
    assert [image.shape for image, _, _ in dataset] == [
        (300, 451, 3), (400, 600, 3), (303, 384, 3), (427, 640, 3)
    ]  # fmt: skip
    numbers = np.concatenate([label[:, 4] for _, label, _ in dataset]).astype(int)
    counted = dict(zip(dataset.classes, np.bincount(numbers, minlength=len(dataset.classes))))
    assert counted == dict(coin=24, cup=1, eye=2, nose=1, rocket=1, saucer=1, spoon=1)


def test_boxes_are_those_of_the_detection_dataset(dataset):
    photos = type("Photos", (VOCDetection,), {"CLASSES": command_line.PHOTOS_CLASSES})(
        root=str(EXAMPLES), splits=[("photos", "trainval")]
    )
    boxes = {
        os.path.basename(photos._image_path.format(*item)): {
            (photos.classes[int(row[4])], *row[:4].tolist()) for row in label
        }
        for item, (_, label) in zip(photos._items, photos)
    }
    for path, (_, label, _) in zip(dataset._items, dataset):
        ours = {(dataset.classes[int(row[4])], *row[:4].tolist()) for row in label}
        theirs = boxes[os.path.basename(path)]
        assert ours == {box for box in theirs if box[0] in dataset.classes}


def test_outlines_fit_their_boxes(dataset):
    for _, label, outlines in dataset:
        for box, polygons in zip(label[:, :4], outlines):
            points = np.concatenate(polygons)
            inside = np.r_[points.min(axis=0) - box[:2], box[2:] - points.max(axis=0)]
            assert inside.min() > -0.01
            assert inside.max() <= 3


def test_numbers_in_the_file():
    """What COCO's tools expect: areas and boxes that fit, numbers that count from 1."""
    content = json.loads((PHOTOS / "annotations" / "instances_photos.json").read_text())
    for key in ("categories", "images", "annotations"):
        assert [entry["id"] for entry in content[key]] == list(range(1, len(content[key]) + 1))
    for entry in content["annotations"]:
        (polygon,) = entry["segmentation"]
        x, y = np.reshape(polygon, (-1, 2)).T
        area = abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
        assert entry["area"] == pytest.approx(area, abs=0.06)
        assert area <= entry["bbox"][2] * entry["bbox"][3]


def test_coins_are_brighter_than_what_surrounds_them(dataset):
    """The outlines of the coins, against the picture."""
    image, label, outlines = dataset[2]
    pixels = image.asnumpy().mean(axis=2)
    height, width = pixels.shape
    for box, polygons in zip(label[:, :4], outlines):
        from gluoncv.data.transforms.mask import to_mask

        inside = to_mask(polygons, (width, height)).astype(bool)
        xmin, ymin, xmax, ymax = box.astype(int)
        around = np.zeros_like(inside)
        around[max(ymin - 3, 0) : ymax + 3, max(xmin - 3, 0) : xmax + 3] = True
        assert pixels[inside].mean() > pixels[around & ~inside].mean() + 20


# The parts


def test_mask_loss_by_hand():
    # Two classes; the second is the object's, and the pixels of the other do not count.
    score = mx.nd.array([[[[[9.0, -9.0]], [[2.0, -1.0]]]]])
    target = mx.nd.array([[[[[1.0, 0.5]], [[1.0, 0.5]]]]])
    weight = mx.nd.array([[[[[0.0, 0.0]], [[1.0, 1.0]]]]])
    loss = train_mask_rcnn.mask_loss(score, target, weight).asscalar()
    # -log sigmoid(2), and half -log sigmoid(-1), half -log(1 - sigmoid(-1))
    half = (np.log1p(np.exp(1)) + np.log1p(np.exp(-1))) / 2
    assert loss == pytest.approx((np.log1p(np.exp(-2)) + half) / 2)
    assert train_mask_rcnn.mask_loss(score, target, weight * 0).asscalar() == 0


def test_pick_rows():
    array = mx.nd.array([[[0, 1], [2, 3], [4, 5]], [[6, 7], [8, 9], [10, 11]]])
    picked = train_mask_rcnn.pick_rows(array, mx.nd.array([[2, 0], [1, 1]]))
    assert_array_equal(picked.asnumpy(), [[[4, 5], [0, 1]], [[8, 9], [8, 9]]])


@pytest.mark.parametrize(
    "box, rows, columns",
    [
        ((2, 1, 6, 4), (1, 4), (2, 6)),
        ((-2, -1, 2, 3), (0, 3), (0, 2)),
        ((7, 4, 12, 9), (4, 6), (7, 10)),
        ((20, 1, 30, 4), (0, 0), (0, 0)),
        ((3, 3, 3, 5), (0, 0), (0, 0)),
        ((5, 5, 2, 2), (0, 0), (0, 0)),
    ],
)
def test_paste(box, rows, columns):
    expected = np.zeros((6, 10), dtype=bool)
    expected[slice(*rows), slice(*columns)] = True
    assert_array_equal(train_mask_rcnn.paste(np.ones((14, 14), np.float32), box, 6, 10), expected)
    assert not train_mask_rcnn.paste(np.zeros((14, 14), np.float32), box, 6, 10).any()


def test_paste_stretches():
    mask = np.zeros((2, 2), np.float32)
    mask[:, 1] = 1
    pasted = train_mask_rcnn.paste(mask, (1, 0, 9, 4), 4, 10)
    assert_array_equal(pasted, np.tile(np.arange(10) >= 5, (4, 1)) & (np.arange(10) < 9))


# The whole


@pytest.mark.slow
def test_training_goes_on(run, tmp_path):
    whole = run("--seeded", "--iterations", 3)
    parts = [
        run("--resume", tmp_path / "state.zip", "--iterations", iterations) for iterations in (1, 3)
    ]
    lines = [
        [line for line in printed.splitlines() if line.startswith("iteration")]
        for printed in (whole, "".join(parts))
    ]
    assert lines[0] == lines[1]
    assert len(lines[0]) == 3


@pytest.mark.slow
def test_both_transforms_train_alike_digit_for_digit(run, tmp_path):
    ours, gluoncv = (
        run("--iterations", 3, "--transform", name) for name in ("rpn_target", "gluoncv")
    )
    assert len(losses_in(ours)) == 3
    assert all(re.search(r"  mask \d+\.\d+$", line) for line in losses_in(ours))
    assert losses_in(ours) == losses_in(gluoncv)
    assert re.search(r"^Mask loss: \d+\.\d+ at first, \d+\.\d+ at last \(", ours, re.MULTILINE)
    assert re.search(r"\d+ of 31 \(\d+%\) before training, \d+ of 31 \(\d+%\) after", ours)
    assert (tmp_path / "net.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "net.params").stat().st_size > 0


@pytest.mark.slow
def test_saved_parameters_can_be_trained_on_by_workers(run, tmp_path):
    first = run("--iterations", 2)
    recall = re.search(r"(\d+) of 31 \(\d+%\) after", first).group(1)
    second = run(
        "--iterations", 2, "--weights", tmp_path / "net.params", "--num-workers", 2, "--batch-size",
        1,
    )  # fmt: skip
    assert f"{recall} of 31 " in second.split("before training")[0]


@pytest.mark.slow
def test_dataset_in_coco_format(run, dataset):
    printed = run(
        "--dataset", "coco", "--root", PHOTOS, "--splits", "instances_photos",
        "--classes", *dataset.classes, "--iterations", 1,
    )  # fmt: skip
    assert "on 4 images" in printed


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--dataset", "voc"], "--dataset: invalid choice: 'voc'"),
        (["--network", "c4"], "--network: invalid choice: 'c4'"),
        (["--root", "missing"], "--root must be a folder, but there is none at missing"),
        (["--splits", "missing"], "--splits must name files of the dataset, but there is no "),
        (["--classes", "coin"], "--classes must be the categories of the dataset, in order"),
    ],
)
def test_bad_argument_is_answered_in_one_line(argv, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit_:
        train_mask_rcnn.main([*TINY, *argv])
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_help():
    shown = subprocess.run(
        [sys.executable, str(SCRIPT), "--help"], env=dict(os.environ, COLUMNS="200"),
        stdout=subprocess.PIPE, check=True, timeout=60,
    ).stdout.decode()  # fmt: skip
    assert "mask_rcnn.params" in shown and "VOC" not in shown
    assert "%(" not in shown
