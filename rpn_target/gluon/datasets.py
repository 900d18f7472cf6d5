"""COCO data sets as annotation tools write them."""

from __future__ import annotations

import os
from typing import Any, Sequence

import gluoncv
import numpy as np
from PIL import Image

from ..core.settings import shown

__all__ = ["COCODetection", "COCOInstance"]

ROOT = os.path.join("~", ".mxnet", "datasets", "coco")
SPLITS = ("instances_val2017",)


class _OneAnnotation:
    """A single annotation, in the place where GluonCV asks pycocotools for those of an image."""

    def __init__(self, annotation: dict):
        self._annotation = annotation

    def getAnnIds(self, **_: Any) -> list:
        return [0]

    def loadAnns(self, ids: list) -> list:
        return [self._annotation]


class _COCO:
    """What both data sets share: finding images, completing annotations, flagging crowds."""

    _root: str  # these are set by GluonCV's constructors
    _splits: Sequence[str]
    _coco: list
    json_id_to_contiguous: dict | None

    def _prepare(self, classes: Sequence[str] | None, flag_crowds: bool) -> None:
        if classes is not None:
            if isinstance(classes, str):
                raise TypeError(f"classes must be a sequence of names, but got {shown(classes)}")
            self.CLASSES = [str(name) for name in classes]
        self._flag_crowds = flag_crowds

    @property
    def classes(self) -> list[str]:
        """Category names."""
        return self.CLASSES

    def _parse_image_path(self, entry: dict) -> str:
        """Return the path of an image: GluonCV's if there is a file, else by its ``file_name``."""
        tried = []
        parts = str(entry.get("coco_url") or "").split("/")[-2:]
        if len(parts) == 2:
            tried.append(os.path.join(self._root, *parts))
        name = entry.get("file_name")
        for one in dict.fromkeys((name, name.replace("\\", "/"))) if name else ():
            tried += [os.path.join(self._root, one), os.path.join(self._root, "images", one)]
        for path in tried:
            if os.path.exists(path):
                return path
        if not tried:
            raise ValueError(
                f"an image must have a file_name or a coco_url, but got {shown(entry)}"
            )
        raise FileNotFoundError(f"no image of {shown(name)}; looked for {', '.join(tried)}")

    def _read_files(self) -> list[tuple]:
        """Return (path, aspect ratio, labels of its objects, their outlines) of every image."""
        try:
            from pycocotools.coco import COCO
        except ImportError as error:  # GluonCV would install it by itself
            raise ImportError(
                "COCO data sets need pycocotools; run: pip install pycocotools"
            ) from error
        images = []
        for split in self._splits:
            folder = getattr(self, "annotation_dir", "annotations")
            paths = [os.path.join(self._root, *part, f"{split}.json") for part in ([folder], [])]
            path = next((one for one in paths if os.path.exists(one)), paths[0])
            coco = COCO(path)
            self._coco.append(coco)
            self._map_categories(coco, path)
            for entry in coco.loadImgs(sorted(coco.getImgIds())):
                image = self._parse_image_path(entry)
                if not entry.get("width") or not entry.get("height"):
                    with Image.open(image) as file:
                        entry["width"], entry["height"] = file.size
                annotations = coco.imgToAnns.get(entry["id"], [])
                rows = [row for one in annotations for row in self._read_annotation(one, entry)]
                images.append((image, float(entry["width"]) / entry["height"], rows))
        return images

    def _map_categories(self, coco: Any, path: str) -> None:
        ids = coco.getCatIds()
        names = [str(category["name"]) for category in coco.loadCats(ids)]
        if names != list(self.classes):
            raise ValueError(
                f"classes must be the categories of {path} in their order, {shown(names)}, but "
                f"are {shown(list(self.classes))}"
            )
        numbers = {category: number for number, category in enumerate(ids)}
        before = self.json_id_to_contiguous
        if before is not None and before != numbers:
            raise ValueError(
                f"all files must give their categories the same ids, but those of {path} are "
                f"{shown(ids)} after {shown(list(before))}"
            )
        self.index_map = {name: number for number, name in enumerate(names)}
        self.json_id_to_contiguous = numbers
        self.contiguous_id_to_json = dict(enumerate(ids))

    def _as_gluoncv(self, annotation: dict, entry: dict, flagged: bool) -> list[tuple]:
        """Return [(label, outline)] of an annotation as GluonCV reads it, or []."""
        raise NotImplementedError

    def _read_annotation(self, annotation: dict, entry: dict) -> list[tuple]:
        """Return [(label, outline)] of an annotation, or [] if it is left out."""
        annotation["iscrowd"] = annotation.get("iscrowd") or 0
        crowd = bool(annotation["iscrowd"])
        try:
            if annotation.get("area") is None:
                annotation["area"] = _area(annotation)
            objects = self._as_gluoncv(annotation, entry, crowd and self._flag_crowds)
        except (ArithmeticError, AssertionError, LookupError, TypeError, ValueError) as error:
            raise ValueError(
                f"annotation {annotation.get('id')} of image {shown(entry.get('file_name'))} "
                f"cannot be read: {self._reason(error, annotation)}"
            ) from error
        if self._flag_crowds:
            objects = [([*label, float(crowd)], outline) for label, outline in objects]
        return objects

    def _reason(self, error: Exception, annotation: dict) -> str:
        if isinstance(error, AssertionError):  # GluonCV's only one
            return (
                "its segmentation is no list of polygons; of a mask in run lengths (RLE), "
                "pycocotools.mask.decode makes an image, and cv2.findContours polygons of that"
            )
        if isinstance(error, KeyError):
            if annotation.get("category_id") not in (self.json_id_to_contiguous or ()):
                return f"no category of the file has its category_id {error}"
            return f"it has no {error}"
        return f"{type(error).__name__}: {error}"


def _polygons(annotation: dict) -> list[np.ndarray]:
    """Return the polygons (P, 2) of an annotation, if it has any."""
    given = annotation.get("segmentation")
    if not isinstance(given, list):
        return []
    return [np.reshape(polygon, (-1, 2)).astype(float) for polygon in given if len(polygon) >= 6]


def _area(annotation: dict) -> float:
    """Return the area of an object's polygons, or of its box if it has none."""
    total = 0.0
    for polygon in _polygons(annotation):
        x, y = (polygon - polygon[0]).T
        total += abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
    return float(total or annotation["bbox"][2] * annotation["bbox"][3])


class COCODetection(_COCO, gluoncv.data.COCODetection):
    """``gluoncv.data.COCODetection`` for files of annotation tools, too.

    What GluonCV reads is read alike. Besides:

    * the path of an image is that in ``coco_url`` if there is a file, as in GluonCV, and else its
      ``file_name``, below ``root`` or ``root/images``;
    * the annotations are ``root/annotations/NAME.json`` or ``root/NAME.json``;
    * the area of an object without one is that of its polygons, or of its box;
    * an object without ``iscrowd`` is no crowd, and an image without a size has that of its file;
    * an error names the image, and the annotation if it is about one.

    Parameters
    ----------
    root, splits, transform, min_object_area, skip_empty, use_crowd
        See ``gluoncv.data.COCODetection``.
    classes : sequence of str, optional
        Names of the categories, in the order of the file; by default ``CLASSES``, COCO's 80 or
        those of a subclass.
    flag_crowds : bool
        Whether labels have a sixth column, 1 for a crowd and 0 for other objects: give the
        transform ``ignore_column=5``. Needs ``use_crowd``.

    Raises
    ------
    ImportError
        If pycocotools is not installed.
    FileNotFoundError
        If there is no file of an image.
    TypeError, ValueError
        If the file has other categories, an annotation cannot be read, or a parameter is not of
        its kind.

    Notes
    -----
    Annotations that share an id are read each for itself; GluonCV reads the last one in the place
    of all.
    """

    def __init__(
        self,
        root: str = ROOT,
        splits: str | Sequence[str] = SPLITS,
        transform: Any = None,
        min_object_area: float = 0,
        skip_empty: bool = True,
        use_crowd: bool = True,
        *,
        classes: Sequence[str] | None = None,
        flag_crowds: bool = False,
    ):
        if flag_crowds and not use_crowd:
            raise ValueError("flag_crowds needs use_crowd=True, but got use_crowd=False")
        self._prepare(classes, flag_crowds)
        super().__init__(root, splits, transform, min_object_area, skip_empty, use_crowd)

    def _load_jsons(self) -> tuple[list, list, list]:
        padding = [-1, -1, -1, -1, -1, *([0.0] if self._flag_crowds else [])]
        items, labels, ratios = [], [], []
        for path, ratio, objects in self._read_files():
            label = [one for one, _ in objects]
            if not label and self._skip_empty:
                continue
            items.append(path)
            labels.append(label or [padding])
            ratios.append(ratio)
        return items, labels, ratios

    def _as_gluoncv(self, annotation: dict, entry: dict, flagged: bool) -> list[tuple]:
        rows = self._check_load_bbox(_OneAnnotation(annotation), entry)
        return [(row, None) for row in rows if row[4] >= 0]  # not the padding of an empty image


class COCOInstance(_COCO, gluoncv.data.COCOInstance):
    """``gluoncv.data.COCOInstance`` for files of annotation tools, too.

    See `COCODetection` for what is read besides. Masks must be polygons; of an object whose
    mask is in run lengths (RLE), the error names the annotation.

    Parameters
    ----------
    root, splits, transform, min_object_area, skip_empty
        See ``gluoncv.data.COCOInstance``.
    classes, flag_crowds
        See `COCODetection`. GluonCV leaves crowds out, whose masks are no polygons; a flagged one
        gets the outline of its box.

    Raises
    ------
    ImportError, FileNotFoundError, TypeError, ValueError
        As `COCODetection`.
    """

    def __init__(
        self,
        root: str = ROOT,
        splits: str | Sequence[str] = SPLITS,
        transform: Any = None,
        min_object_area: float = 1,
        skip_empty: bool = True,
        *,
        classes: Sequence[str] | None = None,
        flag_crowds: bool = False,
    ):
        self._prepare(classes, flag_crowds)
        super().__init__(root, splits, transform, min_object_area, skip_empty)

    def _load_jsons(self) -> tuple[list, list, list, list]:
        items, labels, outlines, ratios = [], [], [], []
        for path, ratio, objects in self._read_files():
            if not objects and self._skip_empty:
                continue
            items.append(path)
            labels.append(np.array([one for one, _ in objects], np.float32) if objects else None)
            outlines.append([outline for _, outline in objects] if objects else None)
            ratios.append(ratio)
        return items, labels, outlines, ratios

    def _as_gluoncv(self, annotation: dict, entry: dict, flagged: bool) -> list[tuple]:
        if flagged:
            x, y, width, height = annotation["bbox"]
            box = [x, y, x + width, y, x + width, y + height, x, y + height]
            annotation = {**annotation, "iscrowd": 0, "segmentation": [box]}
        labels, outlines = self._check_load_bbox(_OneAnnotation(annotation), entry)
        return [] if labels is None else list(zip(labels, outlines))
