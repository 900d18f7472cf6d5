"""Scripts of the official shape train where a third of the images has no object."""

from __future__ import annotations

import math
import os
import pathlib
import subprocess
import sys

import pytest

TESTS = pathlib.Path(__file__).resolve().parents[1]
# A script, three times, with every third image emptied, as GluonCV's data set gives such an image.
EMPTIED = """
import runpy
import sys

import mxnet as mx
import numpy as np
import rpn_target
from gluoncv import data
from mxnet import gluon

sys.path.insert(0, {scripts!r})
import official

def emptied(item):
    def get(self, index):
        image, label, *polygons = item(self, index)
        if index % 3:
            return (image, label, *polygons)
        return (image, np.zeros(0), *[[] for _ in polygons])
    return get

for kind in (data.VOCDetection, data.COCOInstance):
    kind.__getitem__ = emptied(kind.__getitem__)

def seeded(dataset, **options):
    return rpn_target.seeded_loader(dataset._data, dataset._fn, 7, **options)

if {guarded}:
    official.normalized = lambda loss, target, count: (
        loss * target.size / mx.nd.maximum(count, 1)
    )
plain = gluon.data.DataLoader
for workers, loader in ((0, plain), (2, plain), (2, seeded)):
    gluon.data.DataLoader = loader
    sys.argv = [{script!r}, "--num-workers", str(workers), *{options!r}]
    runpy.run_path({script!r}, run_name="__main__")
"""


def train(tmp_path: pathlib.Path, name: str, options: list[str], guarded: bool) -> tuple:
    """Return the losses of all batches of three trainings, and what went to standard error."""
    scripts = TESTS / "scripts"
    program = tmp_path / "emptied.py"
    program.write_text(
        EMPTIED.format(
            script=str(scripts / name), scripts=str(scripts), options=options, guarded=guarded
        )
    )
    done = subprocess.run(
        [sys.executable, "-m", "rpn_target", "run", str(program)],
        env=dict(os.environ, PYTHONPATH=str(TESTS.parent)), capture_output=True,
        text=True, timeout=300, cwd=str(tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("has ended") == 3
    lines = [line.split()[4:] for line in done.stdout.splitlines() if line.startswith("epoch ")]
    return [[float(value) for value in line] for line in lines], done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("per_device", [1, 2])
@pytest.mark.parametrize("network", ["c4", "fpn", "mask"])
def test_losses_are_finite(
    tmp_path: pathlib.Path, network: str, per_device: int, devices: int
) -> None:
    """Without workers, with two, and with `seeded_loader`.

    GluonCV's Mask R-CNN script divides by the number of mask pixels; one that does not where there
    are none is right with our batches.
    """
    options = ["--devices", str(devices), "--batch-size", str(devices * per_device)]
    name = "mask_rcnn.py" if network == "mask" else "faster_rcnn.py"
    options += ["--use-fpn"] * (network == "fpn")
    losses, _ = train(tmp_path, name, options, guarded=network == "mask")
    assert len(losses) >= 3
    assert all(math.isfinite(value) for line in losses for value in line)


@pytest.mark.slow
def test_mask_loss_that_divides_by_zero(tmp_path: pathlib.Path) -> None:
    """As GluonCV's script does: the warning names the cause."""
    losses, errors = train(tmp_path, "mask_rcnn.py", ["--batch-size", "1"], guarded=False)
    assert any(math.isnan(value) for line in losses for value in line)
    assert "no image of a batch, or of a device's part of it, has an object" in errors
