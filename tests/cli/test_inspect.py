"""``rpn-target inspect``: figures equal to GluonCV's, whatever the dataset holds."""

import pathlib
import pickle
import signal
import subprocess
import sys

import helpers
import mxnet as mx
import numpy as np
import pytest
from gluoncv.data import VOCDetection
from gluoncv.data.transforms import bbox as bbox_transforms
from gluoncv.data.transforms import image as image_transforms
from gluoncv.model_zoo.rcnn.rpn.rpn_target import RPNTargetSampler
from report_helpers import figures_of, make_samples, run, write_voc

from rpn_target.core.settings import TargetSettings
from rpn_target.report.anchor_scheme import resized_size
from rpn_target.report.coverage import cover, size_names
from rpn_target.report.workers import Job, summarize

PHOTOS = ("--dataset", "photos")
FPN = "faster_rcnn_fpn_resnet50_v1b_coco"
STATES = ("above", "low_quality", "never")
COUNTS = ("objects", *STATES, "crowded", "border", "at_50", "at_70", "ignored")
SHAPE_COUNTS = ("total", "valid", "positive", "above", "best_of_objects")


class Photos(VOCDetection):
    CLASSES = (
        "camera", "cat", "coin", "cup", "eye", "face", "helmet", "nose", "person", "rocket",
        "saucer", "shuttle", "spoon", "tower", "tripod",
    )  # fmt: skip


def gluoncv_photos(network, short, max_size):
    """Yield what GluonCV makes of each photo, as (image number, label, IoUs, samples)."""
    dataset = Photos(root="examples", splits=(("photos", "trainval"),))
    generators = network.rpn.anchor_generator
    several = not hasattr(generators, "anchors")
    anchors = [one.anchors.data().asnumpy() for one in (generators if several else [generators])]
    strides = [int(one[0, 0, 0, 1, 0] - one[0, 0, 0, 0, 0]) for one in anchors]
    sampler = RPNTargetSampler(256, 0.7, 0.3, 0.5)
    everything = RPNTargetSampler(10**7, 0.7, 0.3, 0.5)  # nothing is drawn away
    for number in range(len(dataset)):
        image, label = dataset[number]
        resized = image_transforms.resize_short_within(image, short, max_size, interp=1)
        height, width = resized.shape[:2]
        boxes = bbox_transforms.resize(label, image.shape[1::-1], (width, height))[:, :4]
        cropped = [
            one[0, 0, : -(-height // stride), : -(-width // stride)].reshape(-1, 4)
            for one, stride in zip(anchors, strides)
        ]
        shape, first = [], 0
        for one in anchors:
            depth = one.shape[-1] // 4
            shape.append(np.arange(len(cropped[len(shape)])) % depth + first)
            first += depth
        corners = mx.nd.array(np.concatenate(cropped))
        ious = mx.nd.contrib.box_iou(corners, mx.nd.array(boxes.astype(np.float32)), "corner")
        ious = ious.asnumpy()
        anywhere = ious.max(axis=0)
        x1, y1, x2, y2 = corners.asnumpy().T
        invalid = (x1 < 0) | (y1 < 0) | (x2 >= width) | (y2 >= height)
        ious[invalid] = -1
        yield (
            label,
            np.concatenate(shape),
            invalid,
            anywhere,
            ious,
            everything(ious),
            sampler(ious)[0],
        )


def expected_figures(network, short, max_size):
    """Return the figures of the photos, counted one by one."""
    count = dict.fromkeys(COUNTS, 0)
    best_ious, classes, sizes = [], {}, {}
    kept_positives, kept_negatives = [], []
    shapes = {}
    for label, shape, invalid, anywhere, ious, (samples, matches), kept in gluoncv_photos(
        network, short, max_size
    ):
        best = ious.max(axis=0)
        best_ious += best.tolist()
        kept_positives.append(int((kept == 1).sum()))
        kept_negatives.append(int((kept == -1).sum()))
        count["ignored"] += int(((samples == 0) & ~invalid).sum())
        for kind in np.unique(shape):
            entry = shapes.setdefault(kind, dict.fromkeys(SHAPE_COUNTS, 0))
            of_kind = shape == kind
            entry["total"] += int(of_kind.sum())
            entry["valid"] += int((of_kind & ~invalid).sum())
            entry["positive"] += int((of_kind & (samples == 1)).sum())
            entry["above"] += int(
                (of_kind & (samples == 1) & (ious.max(axis=1) >= np.float32(0.7))).sum()
            )
            entry["best_of_objects"] += int((shape[ious.argmax(axis=0)] == kind).sum())
        for row, (iou, elsewhere) in enumerate(zip(best, anywhere)):
            state = "above" if iou >= np.float32(0.7) else "low_quality"
            state = "never" if iou < np.float32(0.3) else state
            name = Photos.CLASSES[int(label[row, 4])]
            area = (label[row, 2] - label[row, 0]) * (label[row, 3] - label[row, 1])
            size = "small" if area < 32**2 else "medium" if area < 96**2 else "large"
            own = ((samples == 1) & (matches == row)).any()
            count["objects"] += 1
            count[state] += 1
            count["crowded"] += state != "never" and not own
            count["border"] += bool(iou < np.float32(0.7) <= elsewhere)
            count["at_50"] += bool(iou >= np.float32(0.5))
            count["at_70"] += bool(iou >= np.float32(0.7))
            for groups, key in ((classes, name), (sizes, size)):
                group = groups.setdefault(key, dict.fromkeys(STATES, 0))
                group[state] += 1
    return count, best_ious, classes, sizes, kept_positives, kept_negatives, shapes


@pytest.mark.parametrize(
    "fixture, options, short, max_size",
    [
        ("c4_resnet50", (), 600, 1000),
        ("c4_resnet50", ("--network", "faster_rcnn_resnet50_v1b_voc"), 600, 1000),
        ("c4_resnet50", ("--short", 900), 900, 1000),
        ("fpn_resnet50", ("--network", FPN), 800, 1333),
        ("fpn_resnet50", ("--strides", 4, 8, 16, 32, 64, "--short", 300), 300, 1000),
    ],
)
def test_figures_equal_those_of_gluoncv(
    fixture, options, short, max_size, request, tmp_path, capsys
):
    figures = figures_of(tmp_path, *PHOTOS, *options)
    count, best_ious, classes, sizes, positives, negatives, shapes = expected_figures(
        request.getfixturevalue(fixture), short, max_size
    )
    actual = figures["objects"]["all"]
    ignored = count.pop("ignored")
    assert {key: actual[key] for key in count} == count
    assert actual["mean_best_iou"] == pytest.approx(np.mean(best_ious, dtype=float), rel=1e-12)
    assert actual["best_iou_histogram"] == np.histogram(best_ious, 20, (0, 1))[0].tolist()
    for expected, group in ((classes, "by_class"), (sizes, "by_size")):
        found = figures["objects"][group]
        assert {key: tally for key, tally in found.items() if tally["objects"]}.keys() == (
            expected.keys()
        )
        for key, states in expected.items():
            assert {state: found[key][state] for state in states} == states
    images = figures["images"]
    assert (images["count"], images["skipped"]) == (6, 0)
    for kept, key in ((positives, "positives_kept"), (negatives, "negatives_kept")):
        assert images[key]["mean"] == pytest.approx(np.mean(kept))
        assert images[key]["median"] == np.median(kept)
        assert (images[key]["min"], images[key]["max"]) == (min(kept), max(kept))
    assert images["ignored_mean"] == pytest.approx(ignored / 6)
    # GluonCV's order is by ratio, the report's by size: compare what is counted.
    assert sorted([shape[key] for key in SHAPE_COUNTS] for shape in figures["shapes"]) == sorted(
        [shape[key] for key in SHAPE_COUNTS] for shape in shapes.values()
    )


def test_rocket_is_never_learned(tmp_path, capsys):
    page = tmp_path / "report.html"
    figures = figures_of(tmp_path, *PHOTOS, "--html", page)
    text = capsys.readouterr().out
    assert text.endswith(f"\n\nWritten: {tmp_path / 'figures.json'}, {page}\n")
    assert [poor["class"] for poor in figures["worst_objects"] if poor["status"] == "never"] == [
        "rocket"
    ]
    assert figures["worst_objects"][0]["best_iou"] == pytest.approx(0.254, abs=0.001)
    assert "1 object (2.3%) is never learned: the best anchor is below 0.3" in text
    assert "  rocket  rocket.jpg      5  23 x 280 px      0.25\n" in text
    assert "<b>rocket</b> in rocket.jpg" in page.read_text(encoding="utf-8")


def test_idle_shapes_and_levels_are_named(tmp_path, capsys):
    options = ("--strides", 4, 8, 16, 32, 64, "--scales", 2, 4, 8, 16, 32)
    shapes = figures_of(tmp_path, *PHOTOS, *options)["shapes"]
    text = capsys.readouterr().out
    idle = [shape for shape in shapes if not shape["positive"]]
    assert f"Never positive, {len(idle)} of 15 shapes: 31 x 31, 47 x 23, 23 x 47" in text
    levels = text[text.index("Anchor levels") :].splitlines()[2:7]
    for number, line in enumerate(levels):
        of_level = [shape for shape in shapes if shape["level"] == number]
        sums = [sum(shape[key] for shape in of_level)
                for key in ("positive", "low_quality", "best_of_objects")]  # fmt: skip
        assert line.split()[3:6] == [f"{one:,}" for one in sums]
    assert levels[0].split()[:6] == ["0", "(stride", "4)", "0", "0", "0"]


@pytest.mark.parametrize("rule, never", [("keep", 0), ("drop", 28)])
def test_low_quality_matches(rule, never, tmp_path, capsys):
    figures = figures_of(tmp_path, *PHOTOS, "--low-quality-matches", rule)
    assert figures["objects"]["all"]["never"] == never
    assert ("never learned" in capsys.readouterr().out) == bool(never)


def test_resized_size_is_that_of_the_transform():
    rng = np.random.RandomState(0)
    for _ in range(200):
        width, height = rng.randint(15, 400, 2).tolist()
        short, max_size = rng.randint(20, 300), rng.randint(60, 500)
        expected = image_transforms.resize_short_within(
            mx.nd.zeros((height, width, 3), dtype=np.uint8), short, max_size, interp=1
        ).shape
        assert resized_size(width, height, short, max_size) == (expected[1], expected[0])


@pytest.mark.parametrize("pyramid", ["c4", "fpn", "odd", "small"])
@pytest.mark.parametrize("kind", ["uniform", "border", "outside", "crowd", "mixed"])
def test_coverage_against_all_ious(pyramid, kind):
    height, width = 150, 210
    array, (lattice, _) = helpers.both_forms(pyramid, height, width)
    boxes = helpers.make_boxes(kind, 12, height, width, array)
    settings = TargetSettings()
    with helpers.strict():
        coverage = cover(lattice, boxes, width, height, settings)
    ious = mx.nd.contrib.box_iou(mx.nd.array(array), mx.nd.array(boxes), "corner").asnumpy()
    np.testing.assert_array_equal(
        coverage.best_anywhere, ious.max(axis=0) if (ious < 0.7).any() else coverage.best_iou
    )
    valid = np.zeros(len(array), bool)
    valid[helpers.valid_numbers(array, height, width)] = True
    ious[~valid] = -1
    best = np.maximum(ious.max(axis=0), 0)
    np.testing.assert_array_equal(coverage.best_iou, best)
    shape = lattice.locate(ious.argmax(axis=0))[0]
    np.testing.assert_array_equal(coverage.best_shape, np.where(best > 0, shape, -1))
    samples, matches = RPNTargetSampler(10**7, 0.7, 0.3, 0.5)(ious)
    np.testing.assert_array_equal(
        coverage.anchors, np.bincount(matches[samples == 1], minlength=len(boxes))
    )
    assert coverage.negatives == (samples == -1).sum()
    assert coverage.ignored == ((samples == 0) & valid).sum()
    kept, _ = RPNTargetSampler(256, 0.7, 0.3, 0.5)(ious)
    assert coverage.kept_positives == (kept == 1).sum()
    assert coverage.kept_negatives == (kept == -1).sum()


def test_without_objects_and_without_valid_anchors():
    lattice = helpers.PYRAMIDS["c4"].lattice(5, 5)
    nothing = cover(lattice, np.zeros((0, 4), np.float32), 5, 5, TargetSettings())
    assert nothing.best_iou.shape == nothing.anchors.shape == (0,)
    assert nothing.kept_positives == nothing.kept_negatives == 0
    tiny = cover(lattice, np.array([[1, 1, 4, 4]], np.float32), 5, 5, TargetSettings())
    assert tiny.best_iou.tolist() == [0]
    assert tiny.best_shape.tolist() == [-1]
    assert tiny.best_anywhere[0] > 0
    assert tiny.kept_positives == len(lattice)  # as GluonCV has it
    assert tiny.anchors.tolist() == [0]
    assert tiny.ignored == 0


def test_crowded_out_object():
    # Two objects as large as an anchor, a pixel apart: both are best covered by the same one.
    lattice = helpers.PYRAMIDS["c4"].lattice(300, 300)
    anchor = lattice.corners(np.array([15 * 10 + 7 + 19 * 15 * 9]))[0]
    boxes = np.stack([anchor, anchor + np.float32([0, 0, 3, 0])])
    coverage = cover(lattice, boxes, 300, 300, TargetSettings(pos_iou_thresh=0.95))
    assert (coverage.best_iou > 0.95).all()
    assert coverage.anchors[0] >= 1
    assert coverage.anchors[1] == 0


def test_sizes_are_split_at_coco_s_limits():
    side = np.array([31.9, 32, 95.9, 96])
    boxes = np.c_[np.zeros((4, 2)), side, side]
    assert size_names(boxes).tolist() == ["small", "medium", "medium", "large"]


def test_result_does_not_depend_on_workers(tmp_path, capsys):
    write_voc(tmp_path, make_samples(40))
    arguments = ("--dataset", "voc", "--root", tmp_path, "--short", 100, 200)
    alone = figures_of(tmp_path, *arguments, "--workers", 0)
    assert figures_of(tmp_path, *arguments, "--workers", 2) == alone
    assert figures_of(tmp_path, *arguments, "--workers", 3) == alone
    limited = figures_of(tmp_path, *arguments, "--limit", 7)
    assert limited["images"]["count"] == 7
    assert figures_of(tmp_path, *arguments, "--limit", 7) == limited
    assert figures_of(tmp_path, *arguments, "--limit", 7, "--seed", 1) != limited


@pytest.mark.parametrize("watched", [False, True])
def test_progress_is_shown_on_a_terminal_alone(watched, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: watched)
    assert run("inspect", *PHOTOS, "--suggest") == 0
    error = capsys.readouterr().err
    for bar in ("images:", "searching:", "measuring before:", "measuring after:"):
        assert (bar in error) == watched


def voc_job(root):
    from rpn_target.cli.arguments import RATIOS, SCALES
    from rpn_target.report.anchor_scheme import AnchorScheme, Recipe
    from rpn_target.report.datasets import VOCSource

    scheme = AnchorScheme.of_recipe("", Recipe((16,), 16, (SCALES,), RATIOS), (600,), 1000)
    return Job(VOCSource("", str(root), [("", "trainval")]), scheme, TargetSettings())


def test_summary_does_not_grow_with_the_dataset(tmp_path):
    write_voc(tmp_path, make_samples(40))
    job = voc_job(tmp_path)
    few = summarize(job, list(range(40)) * 3, 0)
    many = summarize(job, list(range(40)) * 12, 0)
    assert many.images == 4 * few.images
    assert len(pickle.dumps(many)) < 1.2 * len(pickle.dumps(few))


@pytest.mark.slow
def test_suggestion_raises_the_shares_on_images_kept_aside(tmp_path, capsys):
    # Tall objects of similar size: the usual ratios do not fit.
    rng = np.random.RandomState(0)
    samples = []
    for _ in range(40):
        width, height = rng.randint(20, 26, 2) * (1, 4)
        x, y = rng.randint(0, 40, 2)
        samples.append((160, 150, np.array([[x, y, x + width, y + height]]), [0]))
    write_voc(tmp_path, samples)
    arguments = ("--dataset", "voc", "--root", tmp_path, "--suggest", "--short", 300)
    suggestion = figures_of(tmp_path, *arguments)["suggestion"]
    before, after = (suggestion[side]["held_out"] for side in ("before", "after"))
    assert suggestion["better"]
    assert suggestion["searched_images"] == suggestion["held_out_images"] == 20
    assert after["at_70"] > before["at_70"]
    assert after["at_50"] >= before["at_50"]
    assert "keep what you have" not in capsys.readouterr().out
    assert before["objects"] == after["objects"] == 20
    options = suggestion["after"]["arguments"].split()
    assert len(options) == len(suggestion["before"]["arguments"].split())
    assert figures_of(tmp_path, *arguments)["suggestion"] == suggestion
    assert suggestion["after"]["arguments"] in capsys.readouterr().out
    # The same anchors, given back, cover the whole dataset as promised.
    again = figures_of(tmp_path, *arguments[:4], *options, "--short", 300)["objects"]["all"]
    assert again["at_70"] >= after["at_70"]


def test_suggestion_keeps_what_cannot_be_improved(tmp_path, capsys):
    samples = [(160, 150, np.array([[33, 17, 96, 80]]), [0])] * 4  # an anchor, at --short 150
    write_voc(tmp_path, samples)
    arguments = ("--dataset", "voc", "--root", tmp_path, "--suggest", "--short", 150)
    assert not figures_of(tmp_path, *arguments)["suggestion"]["better"]
    assert "keep what you have" in capsys.readouterr().out
    write_voc(tmp_path, samples[:1])
    assert run("inspect", *arguments) == 2
    assert "at least two images" in capsys.readouterr().err


def test_a_reader_that_has_enough():
    """As ``head`` does, which ends while there is more to come."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "rpn_target", "inspect", "--dataset", "photos"],
        cwd=str(pathlib.Path(__file__).resolve().parents[2]), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    process.stdout.close()
    error = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait() == 128 + signal.SIGPIPE
    assert "Traceback" not in error and "BrokenPipe" not in error
