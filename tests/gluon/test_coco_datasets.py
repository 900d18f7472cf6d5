"""COCO data sets: equal to GluonCV's where it reads a file, and what annotation tools write."""

import json

import gluoncv.data
import helpers
import numpy as np
import pytest
from PIL import Image

from rpn_target import (
    COCODetection,
    COCOInstance,
    FasterRCNNTrainTransform,
    MaskRCNNTrainTransform,
)

mask = pytest.importorskip("pycocotools.mask")

NAMES = ["dog", "cat", "zebra"]
BOXES = [[10, 20, 30, 40], [50.5, 5.25, 40, 30], [3, 4, 20, 10.5]]  # x, y, width, height
POLYGONS = [
    [[10, 20, 40, 20, 40, 60, 10, 60]],
    [[50.5, 5.25, 90.5, 5.25, 70, 35.25], [60, 10, 70, 10, 70, 20, 60, 20]],
    [[3, 4, 23, 4, 3, 14.5]],
]
AREAS = [1200, 600 + 100, 105]
IMAGE, CROWD = (120, 90), (7, 9, 100, 70)
DATASETS = (COCODetection, COCOInstance)


def rle(box, size=IMAGE):
    """Return a box as a mask in run lengths, as COCO's crowds have."""
    x, y, width, height = box
    filled = np.zeros(size[::-1], np.uint8, order="F")
    filled[int(y) : int(y + height), int(x) : int(x + width)] = 1
    counts = mask.encode(filled)
    return {"size": counts["size"], "counts": counts["counts"].decode()}


def save(root, content, images, path="annotations/mine.json"):
    """Write a file of annotations, and images at paths below the root."""
    for image in images:
        (root / image).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", IMAGE, (90, 120, 30)).save(root / image)
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(json.dumps(content))
    return root


def content(images, annotations, first=0, **category):
    categories = [
        dict(id=first + number, name=name, **category) for number, name in enumerate(NAMES)
    ]
    return {"images": images, "annotations": annotations, "categories": categories}


def annotations(first=0, image=0, **more):
    """Return three annotations with ids from ``first``; a function is given the object's number."""
    return [
        dict(
            id=first + number, image_id=image, category_id=first + number, bbox=BOXES[number],
            **{key: value(number) if callable(value) else value for key, value in more.items()},
        )
        for number in range(3)
    ]  # fmt: skip


# --- what annotation tools write ----------------------------------------------------------------


def labelme2coco(root):
    """Write paths in folders, maybe with backslashes; no coco_url, no iscrowd, no area."""
    images = [dict(id=1, height=90, width=120, file_name="shots\\first.jpg")]
    entries = annotations(1, 1, segmentation=POLYGONS.__getitem__)
    return save(root, content(images, entries, 1), ["shots/first.jpg"]), "mine"


def cvat(root):
    """Write an empty coco_url, ids from 1, and images in a folder of their own."""
    images = [
        dict(id=1, width=120, height=90, file_name="a b.jpg", license=0, flickr_url="", coco_url="",
             date_captured=0),
    ]  # fmt: skip
    entries = annotations(
        1, 1, segmentation=POLYGONS.__getitem__, area=AREAS.__getitem__, iscrowd=0,
        attributes={"occluded": False, "rotation": 0.0},
    )  # fmt: skip
    file = content(images, entries, 1, supercategory="")
    file.update(licenses=[{"name": "", "id": 0, "url": ""}], info={"contributor": ""})
    save(root, file, ["images/a b.jpg"], "annotations/instances_default.json")
    return root, "instances_default"


def label_studio(root):
    """Write ids from 0, "ignore" at every object, and one file at the root."""
    images = [dict(width=120, height=90, id=0, file_name="images/1a2b-first.jpg")]
    entries = annotations(
        0, 0, segmentation=POLYGONS.__getitem__, ignore=0, iscrowd=0, area=AREAS.__getitem__
    )
    file = {**content(images, entries), "info": {"year": 2024, "contributor": "Label Studio"}}
    return save(root, file, ["images/1a2b-first.jpg"], "result.json"), "result"


def roboflow(root):
    """Write images and annotations into one folder, without areas."""
    images = [dict(id=0, license=1, file_name="a_jpg.rf.1.jpg", height=90, width=120,
                   date_captured="2024-01-01T00:00:00+00:00")]  # fmt: skip
    entries = annotations(0, 0, segmentation=POLYGONS.__getitem__, iscrowd=0)
    file = content(images, entries, supercategory="animals")
    save(root, file, ["a_jpg.rf.1.jpg"], "_annotations.coco.json")
    return root, "_annotations.coco"


TOOLS = (labelme2coco, cvat, label_studio, roboflow)


def expected_rows(kind):
    """Return the labels of `BOXES`: GluonCV's data sets differ in the far corner."""
    less = 1 if kind is COCODetection else 0
    return [[x, y, x + w - less, y + h - less, n] for n, (x, y, w, h) in enumerate(BOXES)]


@pytest.mark.parametrize("write", TOOLS)
@pytest.mark.parametrize("kind", DATASETS)
def test_tools(write, kind, tmp_path):
    root, split = write(tmp_path)
    dataset = kind(str(root), split, classes=NAMES)
    image, label, *segm = dataset[0]
    assert image.shape == (90, 120, 3)
    assert dataset.get_im_aspect_ratio() == [120 / 90]
    np.testing.assert_array_equal(label, expected_rows(kind))
    if segm:
        assert [[polygon.ravel().tolist() for polygon in one] for one in segm[0]] == POLYGONS
    # What an evaluation with pycocotools reads, too.
    given = dataset.coco.dataset["annotations"]
    assert [one["area"] for one in given] == AREAS
    assert [one["iscrowd"] for one in given] == [0, 0, 0]


@pytest.mark.parametrize("write", TOOLS)
def test_tools_through_the_transforms(write, tmp_path, c4_net):
    root, split = write(tmp_path)
    for flag_crowds, column in ((False, None), (True, 5)):
        for kind, transform in (
            (COCODetection, FasterRCNNTrainTransform),
            (COCOInstance, MaskRCNNTrainTransform),
        ):
            dataset = kind(str(root), split, classes=NAMES, flag_crowds=flag_crowds)
            result = dataset.transform(transform(80, 200, c4_net, ignore_column=column))[0]
            assert len(result[1]) == 3 and (result[2][0] == 1).any()


@pytest.mark.parametrize("write", TOOLS)
@pytest.mark.parametrize("kind", DATASETS)
def test_gluoncv_cannot_read_them(write, kind, tmp_path):
    """Else these classes would not be needed."""
    root, split = write(tmp_path)

    class Theirs(getattr(gluoncv.data, kind.__name__)):
        CLASSES = NAMES

    with pytest.raises((KeyError, ValueError, OSError)):
        Theirs(str(root), split)


def test_area_of_a_box(tmp_path):
    images = [dict(id=0, width=120, height=90, file_name="a.jpg")]
    for segmentation in ([], [[]], [[1, 2, 3, 4]], rle(BOXES[0])):
        root = tmp_path / str(len(list(tmp_path.iterdir())))
        save(root, content(images, annotations(segmentation=segmentation)), ["a.jpg"])
        dataset = COCODetection(str(root), "mine", classes=NAMES, min_object_area=300)
        np.testing.assert_array_equal(dataset[0][1], expected_rows(COCODetection)[:2])
        areas = [one["area"] for one in dataset.coco.dataset["annotations"]]
        assert areas == [1200, 1200, 210]


def test_size_of_an_image_from_its_file(tmp_path):
    for size in ({}, dict(width=None, height=None), dict(width=0, height=0)):
        file = content([dict(id=0, file_name="a.jpg", **size)], annotations())
        dataset = COCODetection(str(save(tmp_path, file, ["a.jpg"])), "mine", classes=NAMES)
        assert dataset.get_im_aspect_ratio() == [120 / 90] and len(dataset[0][1]) == 3


def test_path_of_an_image(tmp_path):
    """GluonCV's from the coco_url comes first; an absolute one works, too."""
    entry = dict(id=0, width=120, height=90, file_name="a.jpg", coco_url="http://x/train/a.jpg")
    file = content([entry], annotations())
    save(tmp_path, file, ["images/a.jpg"])
    looked = []
    for image in ("images/a.jpg", "a.jpg", "train/a.jpg"):
        save(tmp_path, file, [image])
        looked.append(COCODetection(str(tmp_path), "mine", classes=NAMES)._items[0])
    assert looked == [str(tmp_path / one) for one in ("images/a.jpg", "a.jpg", "train/a.jpg")]
    entry["file_name"] = str(tmp_path / "a.jpg")
    del entry["coco_url"]
    save(tmp_path, file, [])
    assert COCODetection(str(tmp_path), "mine", classes=NAMES)._items == [entry["file_name"]]


# --- crowds -------------------------------------------------------------------------------------


def with_crowd(root, **image):
    """Write three objects, and a crowd between the first and the second."""
    entries = annotations(segmentation=POLYGONS.__getitem__, area=AREAS.__getitem__, iscrowd=0)
    crowd = dict(id=9, image_id=0, category_id=2, bbox=list(CROWD), segmentation=rle(CROWD),
                 area=CROWD[2] * CROWD[3], iscrowd=1)  # fmt: skip
    entries.insert(1, crowd)
    image = {"id": 0, "width": 120, "height": 90, "file_name": "a.jpg", **image}
    return save(root, content([image], entries), ["a.jpg", "train/a.jpg"])


@pytest.mark.parametrize("kind", DATASETS)
def test_crowds_are_flagged(kind, tmp_path):
    root = with_crowd(tmp_path)
    _, label, *segm = kind(str(root), "mine", classes=NAMES, flag_crowds=True)[0]
    less = 1 if kind is COCODetection else 0
    rows = [[*row, 0] for row in expected_rows(kind)]
    rows.insert(1, [7, 9, 107 - less, 79 - less, 2, 1])
    np.testing.assert_array_equal(label, rows)
    if segm:
        assert len(segm[0]) == 4
        np.testing.assert_array_equal(segm[0][1], [[[7, 9], [107, 9], [107, 79], [7, 79]]])


def test_crowds_are_ignored_by_the_targets(tmp_path, c4_net):
    """As if they were not there, but for anchors in them, which are no negatives."""
    root = with_crowd(tmp_path)
    for kind, transform in (
        (COCODetection, FasterRCNNTrainTransform),
        (COCOInstance, MaskRCNNTrainTransform),
    ):
        sample = kind(str(root), "mine", classes=NAMES, flag_crowds=True)[0]
        options = dict(net=c4_net, num_sample=10**9, pos_ratio=1, rng=3)
        flagged = transform(90, 200, ignore_column=5, **options)(*sample)
        keep = [0, 2, 3]
        image, label, *segm = sample
        without = transform(90, 200, **options)(
            image, label[keep], *([one[i] for i in keep] for one in segm)
        )
        ours, plain = flagged[2][0], without[2][0]
        assert len(flagged[1]) == 4
        np.testing.assert_array_equal(ours == 1, plain == 1)
        assert (ours == 0).sum() < (plain == 0).sum()
        assert not ((ours == 0) & (plain != 0)).any()


def test_crowds_as_gluoncv_has_them(tmp_path):
    root = str(with_crowd(tmp_path))
    assert len(COCODetection(root, "mine", classes=NAMES)[0][1]) == 4
    assert len(COCODetection(root, "mine", classes=NAMES, use_crowd=False)[0][1]) == 3
    assert len(COCOInstance(root, "mine", classes=NAMES)[0][1]) == 3
    with pytest.raises(ValueError, match="flag_crowds needs use_crowd=True"):
        COCODetection(root, "mine", classes=NAMES, use_crowd=False, flag_crowds=True)


# --- equality -----------------------------------------------------------------------------------


def coco_file(number, seed, count=12):
    """Return a file as COCO has them, with everything GluonCV leaves out or cuts off."""
    random = np.random.RandomState(seed)
    images, entries = [], []
    for index in random.permutation(count).tolist():
        name = f"{number}_{index}.jpg"
        images.append(dict(id=100 * number + index, width=120, height=90, file_name=name,
                           coco_url=f"http://images.cocodataset.org/train/{name}"))  # fmt: skip
        for _ in range(index % 4):  # some images have none
            x, y, width, height = random.uniform(-20, 100, 4).round(2).tolist()
            outline = [x, y, x + width, y, x + width, y + height]
            crowd = int(random.randint(0, 4) == 0)
            entries.append(
                dict(id=1000 * number + len(entries), image_id=images[-1]["id"],
                     category_id=int(random.choice([2, 7, 5])), bbox=[x, y, width, height],
                     area=float(random.choice([0, 0.5, 200, 900, 1200])), iscrowd=crowd,
                     ignore=int(random.randint(0, 5) == 0),
                     segmentation=rle(CROWD) if crowd else [outline, outline[:4]])
            )  # fmt: skip
    categories = [dict(id=number, name=name) for number, name in zip((7, 2, 5), NAMES)]
    return {"images": images, "annotations": entries, "categories": categories}


def write_coco(root):
    for number in (1, 2):
        file = coco_file(number, number)
        save(root, file, [f"train/{image['file_name']}" for image in file["images"]],
             f"annotations/split{number}.json")  # fmt: skip
    return str(root)


@pytest.mark.parametrize("kind", DATASETS)
@pytest.mark.parametrize(
    "options",
    [
        dict(), dict(min_object_area=100), dict(skip_empty=False), dict(use_crowd=False),
        dict(use_crowd=False, skip_empty=False, min_object_area=0.5),
    ],
)  # fmt: skip
@pytest.mark.parametrize("splits", [("split1", "split2"), "split2"])
def test_equal_to_gluoncv(kind, options, splits, tmp_path):
    root = write_coco(tmp_path)
    if kind is COCOInstance:
        options = {name: value for name, value in options.items() if name != "use_crowd"}
    parent = getattr(gluoncv.data, kind.__name__)

    class Theirs(parent):
        CLASSES = NAMES

    class Ours(kind):
        CLASSES = NAMES

    theirs = Theirs(root, splits, **options)
    assert len(theirs) >= 3
    for ours in (Ours(root, splits, **options), kind(root, splits, classes=NAMES, **options)):
        assert isinstance(ours, parent)
        assert str(ours).endswith(str(theirs)[len("Theirs") :])
        assert ours._items == theirs._items
        assert ours.get_im_aspect_ratio() == theirs.get_im_aspect_ratio()
        assert ours.classes == ours.CLASSES == theirs.classes and ours.num_class == 3
        for name in ("index_map", "json_id_to_contiguous", "contiguous_id_to_json"):
            assert getattr(ours, name) == getattr(theirs, name)
        assert len(ours) == len(theirs)
        for one, other in zip(ours._labels, theirs._labels):
            assert type(one) is type(other)
            np.testing.assert_array_equal(one, other)
        for index in range(len(theirs)):
            mine, other = ours[index], theirs[index]
            if other[1] is not None:
                assert mine[1].dtype == other[1].dtype
                helpers.assert_same(list(mine), list(other))
            else:
                assert mine[1:] == other[1:]
    # A transform is called with the same arguments.
    calls = [
        data(root, splits, transform=lambda *sample: sample, **options)[0]
        for data in (Theirs, Ours)
    ]
    helpers.assert_same(*(list(call) for call in calls))


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", DATASETS)
@pytest.mark.parametrize(
    "change, message",
    [
        (dict(bbox=None), "annotation 1 of image 'a.jpg' cannot be read: TypeError"),
        (dict(bbox=[1, 2, 3]), "annotation 1 of image 'a.jpg' cannot be read: (Value|Index)Error"),
        (dict(category_id=17), "no category of the file has its category_id 17"),
    ],
)
def test_annotation_is_named(kind, change, message, tmp_path):
    entries = annotations(segmentation=POLYGONS.__getitem__, area=500)
    entries[1].update(change)
    image = dict(id=0, width=120, height=90, file_name="a.jpg")
    save(tmp_path, content([image], entries), ["a.jpg"])
    with pytest.raises(ValueError, match=message):
        kind(str(tmp_path), "mine", classes=NAMES)


def test_missing_parts_are_named(tmp_path):
    image = dict(id=0, width=120, height=90, file_name="a.jpg")
    for part in ("bbox", "segmentation"):
        entries = annotations(segmentation=POLYGONS.__getitem__, area=500)
        del entries[2][part]
        save(tmp_path, content([image], entries), ["a.jpg"])
        with pytest.raises(ValueError, match=f"annotation 2 of image .* it has no '{part}'"):
            COCOInstance(str(tmp_path), "mine", classes=NAMES)


def test_masks_in_run_lengths(tmp_path):
    """The message names the annotation, says how to get polygons and stays short."""
    entries = annotations(segmentation=POLYGONS.__getitem__, area=500)
    entries[1]["segmentation"] = {"size": [90, 120], "counts": list(range(100_000))}
    image = dict(id=0, width=120, height=90, file_name="a.jpg")
    save(tmp_path, content([image], entries), ["a.jpg"])
    with pytest.raises(ValueError, match="annotation 1 of image 'a.jpg'.*polygons") as caught:
        COCOInstance(str(tmp_path), "mine", classes=NAMES)
    assert "pycocotools.mask.decode" in str(caught.value) and len(str(caught.value)) < 400
    assert len(COCODetection(str(tmp_path), "mine", classes=NAMES)[0][1]) == 3  # reads no masks


@pytest.mark.parametrize("kind", DATASETS)
def test_images_that_are_missing(kind, tmp_path):
    image = dict(id=0, width=120, height=90, file_name="a.jpg", coco_url="http://x/train/a.jpg")
    save(tmp_path, content([image], annotations()), [])
    with pytest.raises(FileNotFoundError) as caught:
        kind(str(tmp_path), "mine", classes=NAMES)
    for place in ("train/a.jpg", "images/a.jpg", "a.jpg"):
        assert str(tmp_path / place) in str(caught.value)
    save(tmp_path, content([dict(id=0, width=120, height=90)], annotations()), [])
    with pytest.raises(ValueError, match="an image must have a file_name or a coco_url, but got"):
        kind(str(tmp_path), "mine", classes=NAMES)


@pytest.mark.parametrize("kind", DATASETS)
def test_other_categories(kind, tmp_path):
    root, split = cvat(tmp_path)
    for classes in (None, NAMES[::-1], NAMES[:2]):
        with pytest.raises(ValueError, match=r"classes must be the categories of .*\['dog', 'cat'"):
            kind(str(root), split, classes=classes)
    with pytest.raises(TypeError, match="classes must be a sequence of names, but got 'dog'"):
        kind(str(root), split, classes="dog")
    images = [dict(id=1, width=120, height=90, file_name="a b.jpg")]
    save(root, content(images, annotations(5, 1, segmentation=POLYGONS.__getitem__), 5), [])
    with pytest.raises(ValueError, match="all files must give their categories the same ids"):
        kind(str(root), (split, "mine"), classes=NAMES)


def test_without_pycocotools(tmp_path, monkeypatch):
    root, split = cvat(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "pycocotools.coco", None)
    for kind in DATASETS:
        with pytest.raises(ImportError, match="pip install pycocotools"):
            kind(str(root), split, classes=NAMES)
