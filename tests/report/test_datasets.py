"""What ``inspect`` reads, and what it says of what it cannot read."""

import json
import shutil

import numpy as np
import pytest
from report_helpers import (
    NAMES,
    figures_of,
    make_samples,
    run,
    write_coco,
    write_lst,
    write_voc,
)

from rpn_target.cli.arguments import open_scheme
from rpn_target.report.anchor_scheme import Recipe, recipe_of

SAMPLES = make_samples(6)
SHORT = ("--short", 200)


def error_of(capsys, *arguments):
    """Run ``inspect``; return the one line it prints before it gives up."""
    capsys.readouterr()
    assert run("inspect", *arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("rpn-target inspect: ")
    assert err.count("\n") == 1
    return err


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """Return the figures of the samples, from a dataset in VOC layout."""
    root = tmp_path_factory.mktemp("voc")
    write_voc(root, SAMPLES)
    return figures_of(root, "--dataset", "voc", "--root", root, *SHORT)


def assert_same_figures(actual, expected, named=True):
    assert actual["objects"]["all"] == expected["objects"]["all"]
    assert actual["objects"]["by_size"] == expected["objects"]["by_size"]
    by_class = actual["objects"]["by_class"]
    if not named:
        by_class = {NAMES[int(name.split()[1])]: tally for name, tally in by_class.items()}
    assert by_class == expected["objects"]["by_class"]
    assert actual["images"] == expected["images"]
    assert actual["shapes"] == expected["shapes"]


def test_voc_with_years(expected, tmp_path, capsys):
    for year, part in ((2007, slice(0, 4)), (2012, slice(4, 6))):
        write_voc(tmp_path / f"VOC{year}", SAMPLES[part])
    arguments = ("--dataset", "voc", "--root", tmp_path, *SHORT)
    assert_same_figures(figures_of(tmp_path, *arguments), expected)
    splits = ("--split", "2007/trainval", "--split", "VOC2012/trainval")
    assert_same_figures(figures_of(tmp_path, *arguments, *splits), expected)
    first = figures_of(tmp_path, *arguments, "--split", "2007/trainval")
    assert first["images"]["count"] == 4
    assert "no such file" in error_of(capsys, *arguments, "--split", "2009/test")


def test_voc_classes(expected, tmp_path, capsys):
    write_voc(tmp_path, SAMPLES)
    figures = figures_of(tmp_path, "--dataset", "voc", "--root", tmp_path, "--classes", "Zebra,x")
    assert list(figures["objects"]["by_class"]) == ["zebra"]
    assert (
        figures["objects"]["all"]["objects"]
        == (expected["objects"]["by_class"]["zebra"]["objects"])
    )


def test_coco(expected, tmp_path, capsys):
    pytest.importorskip("pycocotools")
    write_coco(tmp_path, SAMPLES)
    arguments = ("--dataset", "coco", "--root", tmp_path, *SHORT)
    assert_same_figures(figures_of(tmp_path, *arguments), expected)
    assert_same_figures(figures_of(tmp_path, *arguments, "--split", "mine"), expected)
    assert "there are: mine" in error_of(capsys, *arguments, "--split", "yours")
    assert "not for coco" in error_of(capsys, *arguments, "--classes", "dog")


@pytest.mark.parametrize("absolute", [False, True])
def test_lst_and_rec(expected, absolute, tmp_path, capsys):
    write_lst(tmp_path, SAMPLES, absolute)
    for kind in ("lst", "rec"):
        arguments = ["--dataset", kind, "--root", tmp_path / f"mine.{kind}", *SHORT]
        arguments += ["--absolute"] if absolute else []
        assert_same_figures(figures_of(tmp_path, *arguments), expected, named=False)
        names = ("--classes", ",".join(NAMES))
        assert_same_figures(figures_of(tmp_path, *arguments, *names), expected)


def test_lst_elsewhere(expected, tmp_path, capsys):
    write_lst(tmp_path / "images", SAMPLES)
    shutil.move(tmp_path / "images" / "mine.lst", tmp_path / "mine.lst")
    arguments = ("--dataset", "lst", "--root", tmp_path / "mine.lst", *SHORT)
    roots = ("--image-root", tmp_path / "images")
    assert_same_figures(figures_of(tmp_path, *arguments, *roots), expected, named=False)
    assert "image0.jpg: no such file" in error_of(capsys, *arguments)
    assert "no such folder" in error_of(capsys, *arguments, "--image-root", tmp_path / "nope")


def test_photos_are_found_from_anywhere(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run("inspect", "--dataset", "photos") == 0


# --- broken in the middle -----------------------------------------------------------------------


def assert_skipped(figures, expected_reasons, images, text):
    assert figures["images"]["count"] == images
    assert figures["images"]["skipped"] == len(expected_reasons)
    reasons = {one["image"]: one["reason"] for one in figures["skipped"]}
    assert reasons.keys() == expected_reasons.keys()
    for name, words in expected_reasons.items():
        assert words in reasons[name]
        assert f"{name}: {reasons[name]}" in text
    noun = "images" if len(expected_reasons) > 1 else "image"
    assert f"{len(expected_reasons)} {noun} that cannot be read, skipped" in text


def test_broken_voc(tmp_path, capsys):
    write_voc(tmp_path, make_samples(24))
    xml, jpg = tmp_path / "Annotations", tmp_path / "JPEGImages"
    (jpg / "image1.jpg").unlink()
    (jpg / "image1.jpg").mkdir()
    (jpg / "image3.jpg").unlink()
    (jpg / "image5.jpg").write_bytes(b"")
    (jpg / "image7.jpg").write_bytes(b"no picture at all" * 40)
    (xml / "image9.xml").write_text("<annotation><size>")
    (xml / "image11.xml").write_text("<annotation></annotation>")
    (xml / "image13.xml").unlink()
    text = (xml / "image15.xml").read_text()
    (xml / "image15.xml").write_text(text.replace("<xmin>", "<xmin>left of "))
    text = (xml / "image17.xml").read_text()  # GluonCV leaves out boxes that leave the image
    (xml / "image17.xml").write_text(text.replace("<xmax>", "<xmax>9"))
    text = (xml / "image19.xml").read_text()
    (xml / "image19.xml").write_text(text.replace("<depth>", "<height>999</height><depth>", 1))
    text = (xml / "image21.xml").read_text()
    (xml / "image21.xml").write_text(text.replace("<height>", "<height>9", 1))
    figures = figures_of(tmp_path, "--dataset", "voc", "--root", tmp_path, *SHORT)
    reasons = {
        "image1.jpg": "Is a directory",
        "image3.jpg": "no such file",
        "image5.jpg": "not an image",
        "image7.jpg": "not an image",
        "image9.jpg": "not well-formed XML",
        "image11.jpg": "lacks an element",
        "image13.jpg": "no such file",
        "image15.jpg": "ValueError",
    }
    text = capsys.readouterr().out
    assert_skipped(figures, reasons, 16, text)
    assert figures["objects"]["left_out"] >= 1
    assert "that GluonCV leaves out as invalid" in text
    assert figures["images"]["annotation_size_differs"] == 1
    assert figures["images"]["without_objects"] == 1


def test_broken_coco(tmp_path, capsys):
    pytest.importorskip("pycocotools")
    write_coco(tmp_path, SAMPLES)
    (tmp_path / "train" / "image1.jpg").unlink()
    path = tmp_path / "annotations" / "mine.json"
    content = json.loads(path.read_text())
    del next(one for one in content["annotations"] if one["image_id"] == 3)["bbox"]
    del content["images"][3]["coco_url"]
    path.write_text(json.dumps(content))
    figures = figures_of(tmp_path, "--dataset", "coco", "--root", tmp_path, *SHORT)
    reasons = {
        "train/image1.jpg": "no such file",
        "train/image2.jpg": "GluonCV cannot read its annotation",
        "image3.jpg": "no usable coco_url",
    }
    assert_skipped(figures, reasons, 3, capsys.readouterr().out)
    path.write_text(path.read_text()[:-20])
    assert "cannot read the coco dataset" in error_of(
        capsys, "--dataset", "coco", "--root", tmp_path
    )


def test_broken_lst(tmp_path, capsys):
    write_lst(tmp_path, SAMPLES)
    path = tmp_path / "mine.lst"
    lines = path.read_text().splitlines()
    lines[1] = lines[1].replace("2.0\t", "two\t", 1)
    lines[2] = "\t".join(lines[2].split("\t")[:5] + ["image2.jpg"])
    (tmp_path / "image3.jpg").write_bytes(b"junk")
    path.write_text("\n".join(lines) + "\n")
    figures = figures_of(tmp_path, "--dataset", "lst", "--root", path, *SHORT)
    reasons = {
        "image1.jpg": "must be numbers",
        "image2.jpg": "ValueError",
        "image3.jpg": "not an image",
    }
    assert_skipped(figures, reasons, 3, capsys.readouterr().out)


@pytest.mark.parametrize("workers", [0, 2])
def test_broken_records(workers, tmp_path, capsys):
    write_lst(tmp_path, make_samples(40))
    record, index = tmp_path / "mine.rec", tmp_path / "mine.idx"
    lines = index.read_text().splitlines()
    places = [int(line.split("\t")[1]) for line in lines]
    content = bytearray(record.read_bytes())
    content[places[3] : places[3] + 8] = bytes(8)  # where a record begins
    content[places[5] + 40 : places[6]] = bytes(places[6] - places[5] - 40)  # label and image
    record.write_bytes(content)
    lines[8] = f"8\t{10**7}"  # behind the end of the file
    index.write_text("\n".join(lines) + "\n")
    arguments = ("--dataset", "rec", "--root", record, *SHORT, "--workers", workers)
    figures = figures_of(tmp_path, *arguments)
    reasons = {
        "record 3": "Invalid RecordIO File",
        "record 5": "not an image",
        "record 8": "the file ends before",
    }
    assert_skipped(figures, reasons, 37, capsys.readouterr().out)
    content = record.read_bytes()
    record.write_bytes(content[: places[20] + 60])
    assert figures_of(tmp_path, *arguments)["images"]["count"] == 17  # of 20


def test_inverted_boxes_are_named(tmp_path, capsys):
    samples = [*SAMPLES[:2], (160, 120, np.array([[90, 10, 30, 60]]), np.array([0]))]
    write_lst(tmp_path, samples)
    for kind, name in (("lst", "image2.jpg"), ("rec", "record 2")):
        path = tmp_path / f"mine.{kind}"
        figures = figures_of(tmp_path, "--dataset", kind, "--root", path, *SHORT)
        text = capsys.readouterr().out
        reason = "ymin <= ymax, but row 0 is [90.0, 10.0, 30.0, 60.0]"  # as the file has it
        assert_skipped(figures, {name: reason}, 2, text)


# --- arguments that cannot be used --------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("--dataset", "voc", "--root", "nowhere"), "no such folder: nowhere"),
        (("--dataset", "coco", "--root", "nowhere"), "no such folder: nowhere"),
        (("--dataset", "lst"), "--root must be given"),
        (("--dataset", "lst", "--root", "nowhere.lst"), "no such file: nowhere.lst"),
        (("--dataset", "rec", "--root", "pyproject.toml"), "needs its index"),
        (("--dataset", "voc", "--root", "rpn_target"), "ImageSets/Main/trainval.txt"),
        (("--dataset", "lst", "--root", "rpn_target"), "must be the .lst file, but rpn_target is"),
        (("--dataset", "photos", "--root", "rpn_target"), "--root is for voc and coco and lst"),
        (("--dataset", "photos", "--split", "trainval"), "--split is for voc and coco, not for"),
        (("--dataset", "voc", "--absolute"), "--absolute is for lst and rec, not for voc"),
        (("--dataset", "photos", "--network", "fast_rcnn"), "GluonCV has no such network"),
        (("--dataset", "photos", "--network", "alexnet"), "no R-CNN network"),
        (("--dataset", "photos", "--network", "custom_faster_rcnn_fpn"), "no R-CNN network"),
        (
            ("--dataset", "photos", "--network", "mask_rcnn_resnet50_v1b_coco", "--strides", 8),
            "leave out --strides",
        ),
        (("--dataset", "photos", "--strides", 8, 16, "--scales", 1), "one per level"),
        (("--dataset", "photos", "--strides", 8, 16, "--scales", "1,2", 3), "as many for every"),
        (("--dataset", "photos", "--scales", 0.01), "at least a pixel"),
        (("--dataset", "photos", "--short", 200, 100), "two that ascend"),
        (("--dataset", "photos", "--pos-iou-thresh", 2), "pos_iou_thresh must be in [0, 1]"),
        (("--dataset", "photos", "--limit", 0), "--limit must be at least 1"),
        (("--dataset", "photos", "--workers", -1), "--workers must be at least 0"),
        (("--dataset", "photos", "--html", "nowhere/page.html"), "cannot write"),
        (("--dataset", "photos", "--json", "."), "cannot write"),
    ],
)
def test_bad_arguments(arguments, words, capsys):
    assert words in error_of(capsys, *arguments)


@pytest.mark.parametrize(
    "arguments", [(), ("--dataset", "mnist"), ("--dataset", "photos", "--scales", -1)]
)
def test_arguments_that_argparse_refuses(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        run("inspect", *arguments)
    assert stop.value.code == 2


def test_empty_and_hopeless_datasets(tmp_path, capsys):
    write_voc(tmp_path, [])
    arguments = ("--dataset", "voc", "--root", tmp_path)
    assert "has no image" in error_of(capsys, *arguments)
    write_voc(tmp_path, SAMPLES[:2])
    for number in range(2):
        (tmp_path / "JPEGImages" / f"image{number}.jpg").unlink()
    assert "can be used; image0.jpg: no such file" in error_of(capsys, *arguments)


def test_photos_of_an_installed_package(tmp_path, monkeypatch, capsys):
    from rpn_target.cli import arguments as opening

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(opening, "__file__", str(tmp_path / "a" / "b" / "c.py"))
    assert "run this in a checkout" in error_of(capsys, "--dataset", "photos")


def test_interrupted(monkeypatch, tmp_path, capsys):
    from rpn_target.report import workers

    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(workers, "cover", interrupt)
    assert run("inspect", "--dataset", "photos", "--workers", 0) == 130
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "rpn-target inspect: interrupted\n")


def test_unfinished_output_is_not_left_behind(tmp_path, capsys):
    page = tmp_path / "page.html"
    error_of(capsys, "--dataset", "voc", "--root", tmp_path, "--html", page)
    assert not page.exists()


# --- anchors ------------------------------------------------------------------------------------


def scheme_of(*arguments):
    import argparse

    from rpn_target.cli.arguments import add_scheme_arguments

    parser = argparse.ArgumentParser()
    add_scheme_arguments(parser)
    return open_scheme(parser.parse_args([str(argument) for argument in arguments]))


@pytest.mark.parametrize(
    "name, short, max_size, levels",
    [
        ("faster_rcnn_resnet50_v1b_voc", (600,), 1000, 1),
        ("faster_rcnn_fpn_resnet50_v1b_coco", (800,), 1333, 5),
        ("mask_rcnn_fpn_syncbn_resnet18_v1b_coco", (640, 800), 1333, 5),
    ],
)
def test_networks_by_name(name, short, max_size, levels):
    scheme = scheme_of("--network", name)
    assert (scheme.short, scheme.max_size, len(scheme.levels)) == (short, max_size, levels)
    # The anchors of GluonCV's networks follow a recipe, which --suggest starts from.
    scales = ((2, 4, 8, 16, 32),) if levels == 1 else ((2,), (4,), (8,), (16,), (32,))
    strides = (16,) if levels == 1 else (4, 8, 16, 32, 64)
    assert scheme.recipe == Recipe(strides, 16, scales, (0.5, 1, 2))
    again = scheme_of(*scheme.recipe.arguments().split())
    assert again.recipe == scheme.recipe
    for one, other in zip(again.levels, scheme.levels):
        np.testing.assert_array_equal(one.base, other.base)


def test_network_that_wants_classes():
    assert scheme_of("--network", "faster_rcnn_resnet50_v1b_custom").recipe.scales == ((8, 16, 32),)


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe((16,), 16, ((1, 3),), (0.25, 1, 4)),
        Recipe((8,), 16, ((2.5,),), (1,)),
        Recipe((16, 32), 16, ((1, 2), (4, 8)), (0.5, 2)),
    ],
)
def test_recipe_of_its_own_levels(recipe):
    found = recipe_of(recipe.levels())
    for one, other in zip(found.levels(), recipe.levels()):
        np.testing.assert_array_equal(one.base, other.base)


def test_no_recipe_of_odd_levels():
    from rpn_target.core.lattice import Level

    base = np.array([[-7, -8, 9, 13], [0, 0, 3, 55.5]])
    assert recipe_of([Level(base, 16)]) is None


def test_no_suggestion_without_a_recipe(monkeypatch, capsys):
    from rpn_target.report import anchor_scheme

    monkeypatch.setattr(anchor_scheme, "recipe_of", lambda levels: None)
    network = ("--network", "faster_rcnn_resnet50_v1b_voc")
    words = "made from scales and ratios alone"
    assert words in error_of(capsys, "--dataset", "photos", *network, "--suggest")
    assert run("inspect", "--dataset", "photos", *network) == 0


def test_range_of_sizes_is_drawn_alike_every_time():
    scheme = scheme_of("--short", 100, 200)
    sizes = [scheme.resized(300, 300, index) for index in range(50)]
    assert sizes == [scheme.resized(300, 300, index) for index in range(50)]
    assert len(set(sizes)) > 20
    assert all(100 <= width <= 200 for width, _ in sizes)


def test_records_are_read_by_several_processes(tmp_path, capsys):
    write_lst(tmp_path, make_samples(40))
    arguments = ("--dataset", "rec", "--root", tmp_path / "mine.rec", *SHORT)
    alone = figures_of(tmp_path, *arguments, "--workers", 0)
    assert alone["images"]["count"] == 40
    assert figures_of(tmp_path, *arguments, "--workers", 3) == alone


def test_killed_worker(tmp_path, monkeypatch, capsys):
    import os

    from rpn_target.report import workers

    write_lst(tmp_path, make_samples(40))
    monkeypatch.setattr(workers, "_sum_up", lambda job, portion: os._exit(1))
    assert "a worker process was killed" in error_of(
        capsys, "--dataset", "lst", "--root", tmp_path / "mine.lst", "--workers", 2
    )
