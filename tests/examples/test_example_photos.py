"""The photographs of the examples: they load, and their boxes mean what they should."""

from __future__ import annotations

import pathlib

import mxnet as mx
import numpy as np
import pytest
from gluoncv.data import VOCDetection
from numpy.testing import assert_array_equal

PHOTOS = pathlib.Path(__file__).resolve().parents[2] / "examples" / "photos"

# Width, height and number of objects.
IMAGES = {
    "astronaut": (512, 512, 4),
    "camera": (512, 512, 3),
    "chelsea": (451, 300, 4),
    "coffee": (600, 400, 3),
    "coins": (384, 303, 24),
    "rocket": (640, 427, 5),
}


class Photos(VOCDetection):
    CLASSES = (
        "camera", "cat", "coin", "cup", "eye", "face", "helmet", "nose",
        "person", "rocket", "saucer", "shuttle", "spoon", "tower", "tripod",
    )  # fmt: skip


@pytest.fixture(scope="module")
def photos():
    """Image and label of each photograph, by name."""
    dataset = Photos(root=str(PHOTOS.parent), splits=((PHOTOS.name, "trainval"),))
    return dict(zip(IMAGES, dataset))


def boxes_of(photos, name, class_name):
    label = photos[name][1]
    return label[label[:, 4] == Photos.CLASSES.index(class_name), :4]


def test_split_lists_every_photograph():
    listed = (PHOTOS / "ImageSets" / "Main" / "trainval.txt").read_text().split()
    assert listed == list(IMAGES)
    for folder in ("JPEGImages", "Annotations"):
        assert sorted(path.stem for path in (PHOTOS / folder).iterdir()) == listed


def test_credits_name_every_photograph():
    readme = (PHOTOS / "README.md").read_text(encoding="utf-8")
    for name in IMAGES:
        assert f"| `{name}.jpg` |" in readme


def test_all_objects_of_all_classes_load(photos):
    labels = [label for _, label in photos.values()]
    assert sum(len(label) for label in labels) == 43
    assert len({int(row[4]) for label in labels for row in label}) == 15


@pytest.mark.parametrize("name", IMAGES)
def test_size_and_count(photos, name):
    image, label = photos[name]
    width, height, count = IMAGES[name]
    assert image.shape == (height, width, 3)
    assert image.dtype == np.uint8
    assert label.shape == (count, 6)


@pytest.mark.parametrize(
    "name, class_name, outermost_pixels",
    [
        ("astronaut", "person", [[19, 15, 366, 511]]),  # cut by the lower border
        ("astronaut", "helmet", [[277, 343, 511, 511]]),  # by the lower and the right
        ("camera", "camera", [[253, 139, 324, 185]]),
        ("chelsea", "cat", [[0, 0, 402, 299]]),
        ("chelsea", "eye", [[134, 85, 208, 147], [295, 110, 342, 164]]),
        ("coffee", "cup", [[173, 18, 408, 307]]),
        ("rocket", "rocket", [[311, 127, 333, 406]]),
    ],
)
def test_corners_are_the_edges_of_the_outermost_pixels(photos, name, class_name, outermost_pixels):
    edges = np.array(outermost_pixels) + [0, 0, 1, 1]
    assert_array_equal(boxes_of(photos, name, class_name), edges)


def test_coin_of_the_readme_has_its_width_and_height(photos):
    first = boxes_of(photos, "coins", "coin")[0]
    assert_array_equal(first, [22, 35, 67, 74])
    assert_array_equal(first[2:] - first[:2], [45, 39])


@pytest.mark.parametrize("name", IMAGES)
def test_boxes_lie_in_the_image(photos, name):
    image, label = photos[name]
    assert (label[:, :2] >= 0).all()
    assert (label[:, 0:2] < label[:, 2:4]).all()
    assert (label[:, 2:4] <= [image.shape[1], image.shape[0]]).all()


def test_images_have_color(photos):
    # A gray photograph still has three planes.
    assert all(isinstance(image, mx.nd.NDArray) for image, _ in photos.values())
    coffee = photos["coffee"][0].asnumpy().astype(int)
    assert abs(coffee[..., 0] - coffee[..., 2]).mean() > 10
