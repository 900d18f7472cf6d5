"""``rpn-target show``: the kept anchors are GluonCV's, and the picture is there."""

import helpers
import numpy as np
import pytest
from gluoncv.data.transforms.presets.rcnn import FasterRCNNDefaultTrainTransform
from PIL import Image
from report_helpers import make_samples, picture, run, write_voc
from test_inspect import Photos

from rpn_target.cli.arguments import RATIOS, SCALES
from rpn_target.core.settings import TargetSettings
from rpn_target.report.anchor_scheme import AnchorScheme, Recipe
from rpn_target.report.datasets import FileSource, VOCSource
from rpn_target.report.one_image import look_at
from rpn_target.report.workers import Job

C4 = Recipe((16,), 16, (SCALES,), RATIOS)
FPN = Recipe((4, 8, 16, 32, 64), 16, tuple((2 * 2**k,) for k in range(5)), RATIOS)


def look(recipe, short, max_size, index, seed=0, **settings):
    source = VOCSource("photos", "examples/photos", [("", "trainval")])
    scheme = AnchorScheme.of_recipe("", recipe, (short,), max_size)
    return look_at(Job(source, scheme, TargetSettings(**settings)), index, seed)


@pytest.mark.parametrize(
    "fixture, recipe, settings",
    [("c4_resnet50", C4, {}), ("fpn_resnet50", FPN, {}), ("c4_resnet50", C4, {"num_sample": 16})],
)
def test_kept_anchors_are_gluoncvs(fixture, recipe, settings, request):
    net = request.getfixturevalue(fixture)
    dataset = Photos(root="examples", splits=(("photos", "trainval"),))
    transform = FasterRCNNDefaultTrainTransform(
        300, 500, net, flip_p=0, ashape=net.ashape, multi_stage=len(recipe.strides) > 1, **settings
    )
    for index in (2, 5):
        image, label = dataset[index]
        transform(image, label)  # makes the generator, which draws nothing
        # The transform draws for the flip first: take the state from behind that.
        _, bbox, cls_targets, _, _ = _transform_after_flip(transform, image, label)
        one = look(recipe, 300, 500, index, **settings)
        np.testing.assert_array_equal(one.boxes, bbox[:, :4].astype(np.float32))
        lattice = AnchorScheme.of_recipe("", recipe, (300,), 500).lattice(
            one.picture.shape[1], one.picture.shape[0]
        )
        cls_target = np.concatenate([level.ravel() for level in cls_targets])
        for code, corners in ((1, one.positives), (0, one.negatives)):
            expected = lattice.corners(np.flatnonzero(cls_target == code))
            np.testing.assert_array_equal(np.unique(corners, axis=0), np.unique(expected, axis=0))
        for number, level in enumerate(one.levels):
            assert level["kept_positive"] == (cls_targets[number] == 1).sum()
            assert level["kept_negative"] == (cls_targets[number] == 0).sum()
            assert level["anchors"] == cls_targets[number].size
            assert level["ignored"] == level["valid"] - level["positive"] - level["negative"] >= 0


def _transform_after_flip(transform, image, label):
    """Transform so that the sampler draws from the state ``np.random.seed(0)``."""
    from gluoncv.data.transforms.presets import rcnn

    flip = rcnn.timage.random_flip

    def flip_and_seed(*args, **kwargs):
        result = flip(*args, **kwargs)
        helpers.seed_all(0)
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rcnn.timage, "random_flip", flip_and_seed)
        return transform(image, label)


def test_rocket(tmp_path, capsys):
    out = tmp_path / "rocket.png"
    assert run("show", "--dataset", "photos", "--index", 5, "--out", out) == 0
    text = capsys.readouterr().out
    line = next(line for line in text.splitlines() if "rocket  " in line)
    assert line.split()[-4:] == ["no", "anchor:", "never", "learned"]
    assert "0.254" in line
    assert text.count("never") == 2  # of that object alone
    with Image.open(out) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert pixels.shape[1] == 1200
    assert pixels.std() > 20


def test_objects_without_an_anchor_are_drawn_otherwise(tmp_path):
    from rpn_target.plot import COLORS
    from rpn_target.report.one_image import save_portrait

    def red_pixels(**settings):
        path = tmp_path / "one.png"
        save_portrait(look(C4, 600, 1000, 5, **settings), path)
        red = np.array([int(COLORS["never"][start : start + 2], 16) for start in (1, 3, 5)])
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB")).astype(int)
        return int((np.abs(pixels - red).max(axis=2) < 12).sum())

    assert red_pixels() > 4 * red_pixels(low_quality_matches="keep")


def test_file_with_boxes(tmp_path, capsys):
    picture(200, 100).save(tmp_path / "a.png")
    out = tmp_path / "a.pdf"
    arguments = ("--image", tmp_path / "a.png", "--short", 100, "--out", out)
    boxes = ("--box", 10, 10, 74, 74, "--box", 100, 20, 103.5, 24)
    assert run("show", *arguments, *boxes) == 0
    text = capsys.readouterr().out
    assert "200 x 100 as the network sees it" in text
    assert [line.split()[2:5] for line in text.splitlines() if "box " in line] == [
        ["64", "x", "64"], ["4", "x", "4"],
    ]  # fmt: skip
    assert out.read_bytes().startswith(b"%PDF")
    assert run("show", *arguments) == 0
    assert "no objects" in capsys.readouterr().out


def test_single_image_is_like_one_of_a_dataset(tmp_path):
    width, height, boxes, _ = make_samples(1)[0]
    write_voc(tmp_path, make_samples(1))
    scheme = AnchorScheme.of_recipe("", C4, (300,), 500)
    path = str(tmp_path / "JPEGImages" / "image0.jpg")
    sources = (
        FileSource(path, boxes),
        VOCSource("", str(tmp_path), [("", "trainval")]),
    )
    one, other = (look_at(Job(source, scheme, TargetSettings()), 0, 3) for source in sources)
    assert one.levels == other.levels
    np.testing.assert_array_equal(one.positives, other.positives)
    np.testing.assert_array_equal(one.negatives, other.negatives)
    np.testing.assert_array_equal(one.coverage.best_iou, other.coverage.best_iou)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ((), "give either --image FILE"),
        (("--image", "a.jpg", "--dataset", "photos"), "give either --image FILE"),
        (("--image", "nowhere.jpg"), "show: no such file: nowhere.jpg"),
        (("--image", "rpn_target"), "show: Is a directory: rpn_target"),
        (("--image", "a.jpg", "--split", "test"), "--split is for a --dataset"),
        (("--image", "pyproject.toml"), "pyproject.toml: not an image"),
        (("--image", "a.jpg", "--index", 1), "--index is the number"),
        (("--dataset", "photos", "--box", 1, 2, 3, 4), "--box is for --image"),
        (("--dataset", "photos", "--index", 6), "must be in [0, 6), but got 6"),
        (("--dataset", "photos", "--index", -1), "must be in [0, 6), but got -1"),
        (("--dataset", "photos", "--seed", -1), "--seed must be"),
        (("--dataset", "photos", "--out", "nowhere/a.png"), "cannot write"),
        (("--image", "examples/photos/JPEGImages/rocket.jpg", "--box", 9, 0, 5, 9), "[9.0, 0.0"),
    ],
)
def test_bad_arguments(arguments, words, tmp_path, monkeypatch, capsys):
    out = () if "--out" in arguments else ("--out", tmp_path / "a.png")
    assert run("show", *arguments, *out) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "a.png").exists()


def test_format_without_an_ending_is_png(tmp_path, capsys):
    out = tmp_path / "picture"
    assert run("show", "--dataset", "photos", "--short", 100, "--out", out) == 0
    assert capsys.readouterr().out.endswith(f"\n\nWritten: {out}\n")
    assert out.read_bytes().startswith(b"\x89PNG")


def test_unknown_format(tmp_path, capsys):
    out = tmp_path / "a.foo"
    assert run("show", "--dataset", "photos", "--out", out) == 2
    captured = capsys.readouterr()
    assert "Format 'foo' is not supported" in captured.err
    assert captured.out == ""
    assert not out.exists()
