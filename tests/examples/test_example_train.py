"""The training example: its parts by hand, and short runs of the whole."""

from __future__ import annotations

import importlib.util
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import mxnet as mx
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
SCRIPT = EXAMPLES / "train_faster_rcnn.py"

sys.path.insert(0, str(EXAMPLES))

import command_line  # noqa: E402
import small_networks  # noqa: E402
import train_faster_rcnn  # noqa: E402
from distributed import ranks  # noqa: E402

TINY = ("--short", "96", "--max-size", "160", "--log-interval", "1")
IN_PROCESS = ("--num-workers", "0")
HAS_COCO = importlib.util.find_spec("pycocotools") is not None


@pytest.fixture
def run(tmp_path, capsys):
    """Run the example in this process; returns what it printed."""

    def run(*argv):
        outputs = ("--save", str(tmp_path / "net.params"), "--picture", str(tmp_path / "net.png"))
        status = train_faster_rcnn.main([*TINY, *IN_PROCESS, *outputs, *map(str, argv)])
        assert status == 0
        return capsys.readouterr().out

    return run


def losses_in(printed):
    lines = [line for line in printed.splitlines() if line.startswith("iteration")]
    for line in lines:
        assert re.fullmatch(
            r"iteration +\d+  rpn_cls \S+  rpn_box \S+  rcnn_cls \S+  rcnn_box \S+", line
        )
    return lines


# The parts


def take(sampler):
    return [list(batch) for batch in sampler]


def test_batches_are_full_and_every_pass_has_every_image():
    batches = take(train_faster_rcnn.full_batches(5, batch_size=2, num_batches=5, seed=0))
    assert [len(batch) for batch in batches] == [2] * 5
    flat = sum(batches, [])
    assert sorted(flat[:5]) == sorted(flat[5:]) == [0, 1, 2, 3, 4]


def test_batch_may_be_larger_than_the_dataset():
    (batch,) = take(train_faster_rcnn.full_batches(3, batch_size=6, num_batches=1, seed=0))
    assert sorted(batch) == [0, 0, 1, 1, 2, 2]


def test_order_depends_on_the_seed():
    orders = [take(train_faster_rcnn.full_batches(6, 2, 9, seed)) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


def test_batches_of_many_epochs():
    epochs = iter([[1, 2], [], [3, 4, 5], [6]])

    class Loader:
        def __iter__(self):
            return iter(next(epochs))

    batches = list(train_faster_rcnn.many_epochs(Loader(), 4))
    assert len(batches) == 4
    assert batches == [1, 2, 3, 4]
    assert next(epochs) == [6]  # not begun


@pytest.mark.parametrize(
    "argv, expected",
    [
        ([], command_line.DEFAULT_ITERATIONS),
        (["--iterations", "7"], 7),
        (["--epochs", "2"], 5),  # 2 * 10 images, 4 at a time
        (["--epochs", "3"], 8),  # 7.5, rounded up
        (["--epochs", "3", "--iterations", "7"], 7),
        (["--epochs", "1", "--iterations", "7"], 3),
    ],
)
def test_num_iterations(argv, expected):
    options = command_line.build_parser("").parse_args(argv)
    assert command_line.num_iterations(options, num_images=10, images_per_iteration=4) == expected


def test_iou_of_the_recall():
    a = np.array([[0, 0, 2, 2], [10, 10, 12, 12]], dtype=np.float32)
    b = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [2, 0, 4, 2]], dtype=np.float32)
    assert_allclose(small_networks.bbox_iou(a, b), [[1, 1 / 3, 0], [0, 0, 0]], rtol=1e-6)


def test_rpn_losses_by_hand():
    # A positive, a negative, and an ignored anchor with absurd predictions.
    score = mx.nd.array([[[2.0], [-1.0], [50.0]]])
    cls_target = mx.nd.array([[1, 0, -1]])
    box = mx.nd.array([[[0.1, 0, 0, 1.0], [9, 9, 9, 9], [9, 9, 9, 9]]])
    mask = mx.nd.array([[[1] * 4, [0] * 4, [0] * 4]])
    cls_loss, box_loss = train_faster_rcnn.rpn_losses(
        score, box, cls_target, mx.nd.zeros((1, 3, 4)), mask
    )
    # -log sigmoid(2) = log(1 + exp(-2)), and -log(1 - sigmoid(-1)) = log(1 + exp(-1))
    assert cls_loss.asscalar() == pytest.approx((np.log1p(np.exp(-2)) + np.log1p(np.exp(-1))) / 2)
    # Smooth L1 with its corner at 1/9: 4.5 * 0.1**2 and 1 - 1/18.
    assert box_loss.asscalar() == pytest.approx((0.045 + 1 - 1 / 18) / 2)


def test_rcnn_losses_by_hand():
    score = mx.nd.array([[[0.0, 0.0, 0.0], [1.0, 3.0, 1.0], [7.0, 8.0, 9.0]]])
    cls_target = mx.nd.array([[0, 1, -1]])
    box = mx.nd.array([[[[0.5, 0, 0, 2.0], [9, 9, 9, 9]]]])
    mask = mx.nd.array([[[[1] * 4, [0] * 4]]])
    cls_loss, box_loss = train_faster_rcnn.rcnn_losses(
        score, box, cls_target, mx.nd.zeros((1, 1, 2, 4)), mask
    )
    assert cls_loss.asscalar() == pytest.approx((np.log(3) + np.log1p(2 * np.exp(-2))) / 2)
    assert box_loss.asscalar() == pytest.approx((0.125 + 1.5) / 2)


def test_losses_are_zero_where_nothing_is_sampled():
    ignored, zeros = -mx.nd.ones((1, 2)), mx.nd.zeros((1, 2, 4))
    rpn = train_faster_rcnn.rpn_losses(mx.nd.ones((1, 2, 1)), zeros + 1, ignored, zeros, zeros)
    rcnn = train_faster_rcnn.rcnn_losses(
        mx.nd.ones((1, 2, 3)), mx.nd.ones((1, 1, 2, 4)), ignored, *[mx.nd.zeros((1, 1, 2, 4))] * 2
    )
    assert [loss.asscalar() for loss in rpn + rcnn] == [0, 0, 0, 0]


def test_photos_load_as_any_dataset_in_voc_format():
    as_voc = ("voc", str(EXAMPLES), ["photos/trainval"])
    photos = train_faster_rcnn.open_dataset("photos")
    everything = train_faster_rcnn.open_dataset(*as_voc, command_line.PHOTOS_CLASSES)
    assert len(everything) == len(photos) == 6
    for (_, label), (_, expected) in zip(everything, photos):
        assert_array_equal(label, expected)


def test_images_without_a_wanted_class_are_left_out():
    dataset = train_faster_rcnn.open_dataset(
        "voc", str(EXAMPLES), ["photos/trainval"], ["coin", "unicorn", "cat"]
    )
    labels = [label for _, label in dataset]
    assert [len(label) for label in labels] == [1, 24]  # chelsea, coins
    assert labels[0][0].tolist() == [0, 0, 403, 300, 2, 0]


# The whole


@pytest.mark.slow
@pytest.mark.parametrize("network", ["c4", "fpn"])
def test_both_transforms_train_alike_digit_for_digit(run, tmp_path, network):
    argv = ("--network", network, "--iterations", 3)
    ours, gluoncv = (run(*argv, "--transform", name) for name in ("rpn_target", "gluoncv"))
    assert len(losses_in(ours)) == 3
    assert losses_in(ours) == losses_in(gluoncv)
    assert ours.splitlines()[1:] == gluoncv.splitlines()[1:]  # the first names the transform
    assert re.search(r"^RPN loss: \d+\.\d+ at first, \d+\.\d+ at last", ours, re.MULTILINE)
    assert re.search(r"\d+ of 43 \(\d+%\) before training, \d+ of 43 \(\d+%\) after", ours)
    assert (tmp_path / "net.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "net.params").stat().st_size > 0


@pytest.mark.slow
def test_two_devices_share_a_batch(run, monkeypatch):
    monkeypatch.setattr(ranks, "find_devices", lambda gpus: [mx.cpu(0), mx.cpu(1)])
    printed = run("--network", "c4", "--iterations", 2, "--batch-size", 1)
    assert "2 batches of 2," in printed
    assert len(losses_in(printed)) == 2


@pytest.mark.slow
def test_seeded_training_is_the_same_with_any_number_of_workers(run):
    argv = ("--network", "c4", "--iterations", 4, "--seeded")  # more than a pass
    alone, workers = run(*argv), run(*argv, "--num-workers", 2)
    assert len(losses_in(alone)) == 4
    assert workers == alone
    assert losses_in(run(*argv, "--seed", 1)) != losses_in(alone)


@pytest.mark.slow
@pytest.mark.parametrize("network", ["c4", "fpn"])
def test_training_goes_on_after_any_batch(run, tmp_path, network):
    """Stopped after every batch, and with other workers each time: the losses to the last digit."""
    argv = ("--network", network, "--seed", 3)
    whole = run(*argv, "--seeded", "--iterations", 5)  # more than a pass
    state, printed = tmp_path / "state.zip", []
    for iterations in range(1, 6):
        more = ("--resume", state, "--iterations", iterations, "--num-workers", iterations % 3)
        printed.append(run(*argv, *more))
    assert sum(map(losses_in, printed), []) == losses_in(whole)
    assert printed[-1].splitlines()[-4:-1] == whole.splitlines()[-4:-1]  # the summary
    again = run(*argv, "--resume", state, "--iterations", 2)
    assert losses_in(again) == []


@pytest.mark.slow
def test_state_of_another_training(run, tmp_path, capsys):
    state = tmp_path / "state.zip"
    run("--network", "c4", "--iterations", 1, "--resume", state)
    for argv, message in (
        (("--network", "c4", "--seed", 1), "same seed"),
        (("--network", "fpn"), "same options, but"),
    ):
        with pytest.raises(SystemExit):
            run("--iterations", 2, "--resume", state, *argv)
        assert re.search("--resume must be the file .*" + message, capsys.readouterr().err)
    state.write_text("nothing")
    with pytest.raises(SystemExit):
        run("--network", "c4", "--iterations", 2, "--resume", state)
    assert "same options, but File is not a zip file" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("kv_store", ["local", "device"])
def test_stores_of_one_process_train_alike(run, kv_store):
    argv = ("--network", "c4", "--iterations", 2)
    assert run(*argv, "--kv-store", kv_store) == run(*argv)


@pytest.mark.slow
def test_saved_parameters_can_be_trained_on(run, tmp_path, capsys):
    saved = tmp_path / "net.params"
    first = run("--network", "c4", "--iterations", 2)
    second = run("--network", "c4", "--iterations", 1, "--weights", saved)
    recall = re.search(r"(\d+) of 43 \(\d+%\) after", first).group(1)
    assert f"{recall} of 43 " in second.split("before training")[0]

    with pytest.raises(SystemExit) as exit_:
        train_faster_rcnn.main([*TINY, "--network", "fpn", "--weights", str(saved)])
    assert exit_.value.code == 2
    assert "error: --weights must fit the network" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(not HAS_COCO, reason="needs pycocotools")
def test_dataset_in_coco_format(run, tmp_path):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "images").symlink_to(EXAMPLES / "photos" / "JPEGImages")
    url = "http://example.invalid/images/coffee.jpg"
    cup = {"id": 1, "image_id": 1, "category_id": 7, "bbox": [173, 18, 236, 290],
           "area": 236 * 290, "iscrowd": 0}  # fmt: skip
    (tmp_path / "annotations" / "instances_one.json").write_text(
        json.dumps(
            {
                "images": [{"id": 1, "width": 600, "height": 400, "coco_url": url}],
                "categories": [{"id": 7, "name": "cup"}],
                "annotations": [cup],
            }
        )
    )
    printed = run(
        "--dataset", "coco", "--root", tmp_path, "--splits", "instances_one", "--classes", "cup",
        "--network", "c4", "--iterations", 1,
    )  # fmt: skip
    assert "on 1 images" in printed
    with pytest.raises(command_line.UsageError, match="--classes must be the categories"):
        train_faster_rcnn.open_dataset("coco", str(tmp_path), ["instances_one"], ["spoon"])
    assert len(losses_in(printed)) == 1


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--network", "vgg"], "--network: invalid choice"),
        (["--iterations", "0"], "--iterations: must be a whole number from 1 up, but got '0'"),
        (["--num-workers", "-1"], "--num-workers: must be a whole number from 0 up"),
        (["--lr", "nan"], "--lr: must be a number above 0, but got 'nan'"),
        (["--gpus", "one"], "--gpus: must be numbers of GPUs, like 0,1, but got 'one'"),
        (["--gpus", "99"], "--gpus asks for GPU 99, but MXNet sees"),
        (["--seed", str(2**32)], "--seed must be below 2**32"),
        (["--short", "500"], "--short must not exceed --max-size, but 500 > 160"),
        (["--weights", "missing.params"], "--weights must be a file"),
        (["--save", "missing/net.params"], "--save must be a file that can be written"),
        (["--picture", "net.doc"], "--picture must end in .png"),
        (["--kv-store", "nccl"], "--kv-store: invalid choice"),
        (["--kv-store", "dist_sync"], "must be started by distributed/run_dist_sync.py"),
        (["--kv-store", "dist_sync", "--horovod"], "exclude each other"),
        (["--seeded", "--transform", "gluoncv"], "need --transform rpn_target"),
        (["--horovod", "--transform", "gluoncv"], "need --transform rpn_target"),
        (["--resume", "state.zip", "--transform", "gluoncv"], "need --transform rpn_target"),
        (["--resume", "state.zip", "--horovod"], "--resume goes on with one process alone"),
        (["--resume", "missing/state.zip"], "--resume must be a file that can be written"),
        (["--root", "missing"], "--root must be a folder, but there is none at missing"),
        (["--splits", "photos/test"], "--splits must name files of the dataset"),
        (["--dataset", "voc", "--root", ".", "--splits", "trainval"], "must be FOLDER/NAME"),
        (["--classes", "unicorn"], "--splits must list images with objects"),
        (["--dataset", "coco", "--root", "."],
         "there is no ./annotations/instances_train2017.json" if HAS_COCO else "pycocotools"),
    ],
)  # fmt: skip
def test_bad_argument_is_answered_in_one_line(argv, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit_:
        train_faster_rcnn.main([*TINY, *argv])
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_help_shows_defaults_and_needs_no_mxnet(tmp_path):
    (tmp_path / "mxnet.py").write_text("raise SystemExit('imported')\n")
    environment = dict(os.environ, PYTHONPATH=str(tmp_path), COLUMNS="200")
    shown = subprocess.run(
        [sys.executable, str(SCRIPT), "--help"],
        env=environment, stdout=subprocess.PIPE, check=True, timeout=60,
    ).stdout.decode()  # fmt: skip
    options = re.findall(r"^  (--[a-z-]+)", shown, re.MULTILINE)
    assert len(options) == 25
    assert shown.count("(default: ") >= len(options) - 2  # --classes and --epochs explain


def processes_of_group(group):
    """Return the processes of a process group that still run."""
    alive = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            state, _, its_group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile
        if int(its_group) == group and state != "Z":
            alive.append(int(folder.name))
    return alive


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    "number, to_all, message",
    [
        (signal.SIGINT, True, "train_faster_rcnn.py: interrupted\n"),  # Ctrl-C in a terminal
        (signal.SIGTERM, False, ""),
    ],
)
def test_signal_leaves_no_process(tmp_path, number, to_all, message):
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-u", str(SCRIPT), *TINY, "--network", "c4",
         "--num-workers", "2", "--iterations", "100000"],
        cwd=tmp_path, env=dict(os.environ, PYTHONPATH=path), start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True,
    )  # fmt: skip
    try:
        for line in process.stdout:
            if line.startswith("iteration    2"):
                break
        assert len(processes_of_group(process.pid)) >= 3  # the script and its workers
        (os.killpg if to_all else os.kill)(process.pid, number)
        _, error = process.communicate(timeout=60)
        assert process.returncode == 128 + number
        assert error == message
        deadline = time.monotonic() + 10
        while processes_of_group(process.pid) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert processes_of_group(process.pid) == []
        assert list(tmp_path.iterdir()) == []  # saved nothing
    finally:
        if processes_of_group(process.pid):
            os.killpg(process.pid, signal.SIGKILL)


ENDED_AT_ONCE = """
import multiprocessing, os, time

def work():
    while True:
        try:
            time.sleep(60)
        except SystemExit:
            pass

def main():
    worker = multiprocessing.get_context("fork").Process(target=work)
    worker.start()
    time.sleep(0.3)
    worker.terminate()
    worker.join()
    print(worker.exitcode)

# As with MXNet, which makes a new engine in every forked process.
os.register_at_fork(after_in_child=lambda: time.sleep(DELAY))
import stopping
stopping.start(main)
"""


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0, 1])
def test_worker_cannot_outlive_a_kill(delay):
    """Whatever Python makes of the signal in there, and also while the worker starts."""
    path = dict(os.environ, PYTHONPATH=str(SCRIPT.parent))
    done = subprocess.run(
        [sys.executable, "-c", ENDED_AT_ONCE.replace("DELAY", str(delay))],
        env=path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout == f"{-signal.SIGTERM}\n", done.stderr
