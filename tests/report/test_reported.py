"""What people's data sets hold: letters, sizes, formats and boxes that reports must survive."""

import errno
import io
import json
import os
import subprocess
import sys

import mxnet as mx
import numpy as np
import pytest
from PIL import Image
from report_helpers import NAMES, figures_of, make_samples, run, write_coco, write_lst, write_voc

from rpn_target.core.settings import LOW_QUALITY_MATCHES
from rpn_target.report import visible
from rpn_target.report.source import DECODED, BrokenItem, header_size

SHORT = ("--short", 200)
FORMATS = ("BMP", "GIF", "ICO", "JPEG", "PCX", "PNG", "PPM", "TGA", "TIFF", "WEBP")


def change_json(root, change):
    path = root / "annotations" / "mine.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_coco_files_of_different_categories(tmp_path, capsys):
    pytest.importorskip("pycocotools")
    write_coco(tmp_path, make_samples(2))
    text = (tmp_path / "annotations" / "mine.json").read_text()
    (tmp_path / "annotations" / "yours.json").write_text(text.replace('"zebra"', '"horse"'))
    arguments = ("--dataset", "coco", "--root", tmp_path)
    assert run("inspect", *arguments, "--split", "mine", "--split", "yours") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    for words in ("same categories", "mine.json", "yours.json", "zebra", "horse"):
        assert words in error


def test_coco_names_that_are_no_text(tmp_path, capsys):
    pytest.importorskip("pycocotools")
    write_coco(tmp_path, make_samples(8))

    def rename(content):
        for category, name in zip(content["categories"], (7, None, 2.5)):
            category["name"] = name

    change_json(tmp_path, rename)
    figures = figures_of(tmp_path, "--dataset", "coco", "--root", tmp_path, *SHORT)
    assert set(figures["objects"]["by_class"]) == {"7", "None", "2.5"}


def test_files_of_annotation_tools(tmp_path, capsys):
    """Neither coco_url nor area, nor <difficult>."""
    pytest.importorskip("pycocotools")
    samples = make_samples(4)
    whole = write_coco(tmp_path / "whole", samples)
    less = write_coco(tmp_path / "less", samples)

    def strip(content):
        for one in content["images"]:
            one["file_name"] = "train/" + one["file_name"]
            del one["coco_url"]
        for one in content["annotations"]:
            del one["area"], one["iscrowd"]

    change_json(less, strip)
    expected, found = (
        figures_of(root, "--dataset", "coco", "--root", root, *SHORT)["objects"]
        for root in (whole, less)
    )
    assert found == expected
    root = write_voc(tmp_path / "voc", samples)
    for path in (root / "Annotations").iterdir():
        path.write_text(path.read_text().replace("<difficult>0</difficult>", ""))
    figures = figures_of(root, "--dataset", "voc", "--root", root, *SHORT)
    assert figures["objects"]["all"] == expected["all"]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\nb\x00", "a\\nb\\x00"),
        ("a\u202eb", "a\\u202eb"),
        ("a\udcffb", "a\\udcffb"),
        ("\u732b e\u0301 x", "\u732b e\u0301 x"),
    ],
)
def test_visible(text, expected):
    assert visible(text) == expected


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_names_that_the_terminal_cannot_show(encoding, tmp_path):
    names = ("\u732b", "\x1b[31m\u043a\u043e\u0448\u043a\u0430", "n" * 300)
    write_lst(tmp_path / "data", [(128, 128, np.array([[10, 10, 90, 90]] * 3), np.arange(3))] * 2)
    root = (tmp_path / "data").rename(tmp_path / "data\udcff")  # MXNet would not write there
    page = root / "page.html"
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "rpn_target", "inspect", "--dataset", "lst",
         "--root", str(root / "mine.lst"), "--classes", ",".join(names), "--html", str(page)],
        env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr.decode()
    text = process.stdout.decode(encoding)
    assert "\x1b" not in text and "\\x1b[31m" in text
    assert max(map(len, text.splitlines()[8:-2])) < 200
    html = page.read_text(encoding="utf-8")
    assert "\x1b" not in html and "\u732b" in html


def test_images_above_the_limit_of_pillow(tmp_path, monkeypatch):
    path = tmp_path / "large.png"
    Image.new("1", (400, 300)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert header_size(path) == (400, 300)
    assert Image.MAX_IMAGE_PIXELS == 1000


@pytest.mark.parametrize("kind", FORMATS)
def test_formats(kind, tmp_path):
    """What is said of a format is what MXNet does."""
    content = io.BytesIO()
    Image.new("RGB", (16, 12)).save(content, kind)
    try:
        mx.image.imdecode(content.getvalue(), 1).asnumpy()
    except (mx.MXNetError, TypeError, ValueError):
        with pytest.raises(BrokenItem, match=f"{kind} file, which MXNet cannot decode"):
            header_size(content)
        assert kind not in DECODED
    else:
        assert header_size(content) == (16, 12)


@pytest.mark.parametrize("kind", ["lst", "rec"])
def test_pixels_read_as_shares(kind, tmp_path, capsys):
    write_lst(tmp_path, make_samples(4), absolute=True)
    path = tmp_path / f"mine.{kind}"
    figures = figures_of(tmp_path, "--dataset", kind, "--root", path, *SHORT)
    text = capsys.readouterr().out
    outside = figures["objects"]["outside"]
    assert outside == sum(len(sample[2]) for sample in make_samples(4))
    assert figures["objects"]["all"]["objects"] == figures["objects"]["all"]["never"] == 0
    assert f"{outside} objects have half of the area or more outside the image" in text
    assert "never learned" not in text
    first = "image0.jpg" if kind == "lst" else "record 0"
    assert figures["objects"]["outside_named"][0]["image"] == first
    assert f"{first}: class " in text


def test_boxes_at_the_border_are_not_outside():
    from rpn_target.report.coverage import outside_image

    boxes = np.array(
        [[-5, -5, 20, 20], [90, 40, 101, 51], [60, 0, 140, 50], [59, 0, 140, 50], [101, 0, 103, 9],
         [100, 10, 100, 20], [300, 10, 300, 20]], float,
    )  # fmt: skip
    outside = [False, False, True, False, True, False, True]
    assert outside_image(boxes, 100, 50).tolist() == outside


def test_objects_that_gluoncv_leaves_out_are_named(tmp_path, capsys):
    samples = [(128, 128, np.array([[-1, 10, 60, 90], [10, 10, 90, 90]]), [0, 1])] * 5
    write_voc(tmp_path, samples)
    figures = figures_of(tmp_path, "--dataset", "voc", "--root", tmp_path, *SHORT)
    text = capsys.readouterr().out
    assert figures["objects"]["left_out"] == len(figures["objects"]["left_out_named"]) == 5
    assert "image0.jpg: xmin must in [0, 128.0), given -1.0 (VOC counts pixels from 1)" in text
    assert "... and 2 more" in text


def test_typography_leaves_names_alone(tmp_path, capsys):
    names = ("lego 2 x 4", "below 5 years", ">= 3")
    write_voc(tmp_path, make_samples(6), names)
    page = tmp_path / "page.html"
    figures_of(tmp_path, "--dataset", "voc", "--root", tmp_path, *SHORT, "--html", page)
    html = page.read_text(encoding="utf-8")
    for name in ("lego 2 x 4", "below 5 years", "&gt;= 3"):
        assert f'<th scope="row">{name}</th>' in html
    assert "\u2265\u00a00.7" in html and "31\u00a0\u00d7\u00a031" in html


def test_counts_do_not_grow_with_num_sample(tmp_path, capsys):
    page = tmp_path / "page.html"
    options = ("--num-sample", 10**9, "--html", page)
    figures = figures_of(tmp_path, "--dataset", "photos", "--short", 100, *options)
    kept = figures["images"]["negatives_kept"]
    assert sum(kept["histogram"]) == 6
    assert len(kept["histogram"]) == kept["max"] + 1


@pytest.mark.parametrize("option", ["--html", "--json"])
def test_full_disk(option, tmp_path, monkeypatch, capsys):
    from rpn_target.cli import output

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(output.os, "fsync", full)
    path = tmp_path / "file"
    assert run("inspect", "--dataset", "photos", "--short", 100, option, path) == 2
    captured = capsys.readouterr()
    assert captured.err.endswith(f"cannot write {path}: No space left on device\n")
    assert captured.out == "" and not list(tmp_path.iterdir())
    assert run("show", "--dataset", "photos", "--short", 100, "--out", tmp_path / "a.png") == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("rule", LOW_QUALITY_MATCHES)
def test_inspect_and_show_agree(rule, tmp_path, capsys):
    """Which objects have no anchor, over a data set with crowds."""
    pair = np.array([[40, 30, 103, 93], [41, 30, 104, 93], [5, 5, 12, 90], [60, 60, 64, 64]])
    samples = [(256, 128, pair, [0, 1, 2, 0]), *make_samples(6, objects=9)]
    write_voc(tmp_path, samples, NAMES)
    arguments = ("--dataset", "voc", "--root", tmp_path, *SHORT, "--low-quality-matches", rule)
    every = figures_of(tmp_path, *arguments)["objects"]["all"]
    text = capsys.readouterr().out
    shown = []
    for index in range(len(samples)):
        assert run("show", *arguments, "--index", index, "--out", tmp_path / "a.png") == 0
        shown.append(capsys.readouterr().out)
    counts = [sum(one.count(f"no anchor: {why}") for one in shown)
              for why in ("never learned", "crowded out")]  # fmt: skip
    assert counts == [every["never"], every["crowded"]]
    assert every["crowded"] or rule == "drop"
    assert ("never learned: the best" in text) == bool(every["never"])
    assert ("crowded out: all anchors" in text) == bool(every["crowded"])
    assert "Every object's best anchor is positive" not in text
