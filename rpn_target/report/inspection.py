"""The report from Python, for any data set and network: `inspect_dataset`, `suggest_anchors`."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any, Sequence

import numpy as np
from gluoncv.data import COCODetection, VOCDetection
from tqdm import tqdm

from ..core.settings import TargetSettings, check_image_settings, shown, whole_number
from ..gluon.ndarray import as_numpy
from . import ReportError
from .anchor_scheme import AnchorScheme
from .source import BrokenItem, ImageLabel, Source, attempt, header_size
from .suggest import NO_RECIPE, suggest, sweep
from .workers import Job, default_workers, summarize

__all__ = ["DatasetSource", "Inspection", "inspect_dataset", "suggest_anchors"]


class DatasetSource(Source):
    """A gluon Dataset whose items are (image, label, ...), all of it read when this is made.

    Parameters
    ----------
    dataset : gluon.data.Dataset
        Or any object with ``len()`` and items.
    indices : sequence of int
        The items to take.

    Raises
    ------
    TypeError, ValueError
        If an item is no image with a label of corner boxes.
    """

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        super().__init__(type(dataset).__name__)
        self._dataset = dataset
        self._classes = getattr(dataset, "classes", None)
        self._indices = list(indices)
        # Here and not in the workers, which must not run MXNet's operators, as decoding does.
        self._labels = [
            self._read_item(index)
            for index in tqdm(indices, desc="reading", unit="image", disable=None, leave=False)
        ]

    def __len__(self) -> int:
        return len(self._indices)

    def _name(self, index: int) -> str:
        return f"item {self._indices[index]}"

    def _read(self, index: int) -> ImageLabel:
        label = self._labels[index]
        if isinstance(label, str):
            raise BrokenItem(label)
        return label

    def image(self, index: int) -> np.ndarray:
        """Return an image."""
        return np.asarray(as_numpy(attempt(self._dataset.__getitem__, self._indices[index])[0]))

    def _read_item(self, index: int) -> ImageLabel | str:
        """Return the label of an item, or what is wrong with it."""
        try:
            size, label = self._size_and_label(index)
        except BrokenItem as error:
            return str(error)
        label = np.asarray(as_numpy(label), np.float64)
        if not label.size:
            label = label.reshape(0, 5)
        if label.ndim != 2 or label.shape[1] < 4:
            raise ValueError(
                f"the label of item {index} must have shape (M, 4+), but its shape is {label.shape}"
            )
        numbers = label[:, 4] if label.shape[1] > 4 else np.zeros(len(label))
        return ImageLabel(*size, label[:, :4], [self._class_name(number) for number in numbers])

    def _size_and_label(self, index: int) -> tuple[tuple[int, int], Any]:
        """Return (width, height) and label, without decoding where GluonCV's class allows."""
        dataset = self._dataset
        method = type(dataset).__getitem__
        if method is VOCDetection.__getitem__:
            label = attempt(dataset._load_label, index)
            return header_size(dataset._image_path.format(*dataset._items[index])), label
        if method is COCODetection.__getitem__:
            return header_size(dataset._items[index]), dataset._labels[index]
        item = attempt(dataset.__getitem__, index)
        if not isinstance(item, (tuple, list)) or len(item) < 2:
            raise TypeError(
                f"dataset must have items (image, label), but item {index} is {shown(item)}"
            )
        shape = np.shape(item[0])
        if len(shape) != 3 or shape[2] not in (1, 3):
            raise ValueError(
                f"the image of item {index} must have shape (H, W, 3), but its shape is {shape}; "
                "give the dataset without the train transform"
            )
        return (shape[1], shape[0]), item[1]

    def _class_name(self, number: float) -> str:
        if self._classes is not None and 0 <= number < len(self._classes):
            return str(self._classes[int(number)])
        return f"class {number:g}"


class Inspection:
    """What a network's anchors learn from a data set.

    ``print()`` shows it as text, and a notebook as the page that ``rpn-target inspect`` writes.

    Attributes
    ----------
    figures : dict
        Everything as plain numbers, strings, lists and dictionaries.
    """

    def __init__(self, figures: dict, source: Source, poor_images: list) -> None:
        self.figures = figures
        self._source = source
        self._poor_images = poor_images

    def __str__(self) -> str:
        from .text import report_text

        return report_text(self.figures)

    def page(self) -> str:
        """Return the page, an HTML file that needs no other."""
        from .page import report_page  # and matplotlib with it

        return report_page(self.figures, self._source, self._poor_images)

    def save(self, path: str) -> None:
        """Write the page to a file."""
        Path(path).write_text(self.page(), encoding="utf-8")

    def _repr_html_(self) -> str:
        # In a frame, where its styles do not meet those of the notebook.
        return (
            f'<iframe srcdoc="{escape(self.page())}" width="100%" height="800" '
            'style="border: 0" title="What the anchors learn"></iframe>'
        )


def inspect_dataset(
    dataset: Any,
    net: Any,
    short: int | Sequence[int] | None = None,
    max_size: int | None = None,
    suggest_better: bool = True,
    limit: int | None = None,
    seed: int = 0,
    workers: int | None = None,
    sweep_short: Sequence[int] = (),
    **settings: Any,
) -> Inspection:
    """Report what a network's anchors learn from a data set, before any training.

    Parameters
    ----------
    dataset : gluon.data.Dataset
        Items are (image, label), as of GluonCV's detection datasets: an image of shape (H, W, 3),
        and a label of shape (M, 4+) of corner boxes in pixels, with the class in the fifth
        column. Every item is read once; those of GluonCV's VOC and COCO classes without decoding
        the image.
    net : gluoncv.model_zoo.FasterRCNN or a subclass
        Need not be initialized. It is only read.
    short : int or (int, int), optional
        Shorter side of the images in training; two are a range. By default the network's.
    max_size : int, optional
        Upper limit of the longer side. By default the network's.
    suggest_better : bool
        Whether to search for better anchors, measure what else would help, and what fewer or more
        anchors per cell would bring. Anchors that no scales and ratios make get none; the report
        says so.
    limit : int, optional
        Take so many items, drawn at random.
    seed : int
        Of that draw and of the search.
    workers : int, optional
        Processes; 0 for none besides this one. By default one per processor.
    sweep_short : sequence of int
        Shorter sides to report the shares at as well, the limit of the longer side in proportion.
    **settings
        Of the targets, such as ``pos_iou_thresh``: see `RPNTargetGenerator`.

    Returns
    -------
    Inspection
        With ``figures``, ``page()``, ``save(path)``; it prints as text and shows in a notebook.

    Raises
    ------
    TypeError, ValueError
        If the items, the network or a number are not as described.

    Examples
    --------
    >>> rpn_target.inspect_dataset(dataset, net)                           # doctest: +SKIP
    """
    from .results import report_figures

    shorts = [whole_number("sweep_short", side, least=1) for side in sweep_short]
    job, workers = _job(dataset, net, short, max_size, limit, seed, workers, settings)
    indices = range(len(job.source))
    summary = summarize(job, indices, workers)
    if not summary.images:
        name, reason = summary.broken_names[0]
        raise ReportError(f"no item of the dataset can be used; {name}: {reason}")
    figures = report_figures(job, summary)
    if shorts:
        figures["sweep"] = sweep(job, indices, workers, shorts)
    if suggest_better:
        if job.scheme.recipe is None:
            figures["no_suggestion"] = NO_RECIPE
        else:
            figures["suggestion"] = suggest(job, indices, workers, seed)
    return Inspection(figures, job.source, summary.poor_images)


def suggest_anchors(
    dataset: Any,
    net: Any,
    short: int | Sequence[int] | None = None,
    max_size: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    workers: int | None = None,
    **settings: Any,
) -> dict:
    """Return anchors that fit a data set better than a network's, for `set_anchors`.

    They are searched with half of the images, as many per cell as the network has, and measured
    on the others. If no more objects gain there than lose, the network's own are returned.

    Parameters
    ----------
    dataset, net, short, max_size, limit, seed, workers, **settings
        See `inspect_dataset`.

    Returns
    -------
    dict
        ``scales``, ``ratios`` and ``base_size``.

    Raises
    ------
    TypeError, ValueError
        As `inspect_dataset`, if there are objects in fewer than two images, and if the network's
        anchors are not made from scales and ratios.

    Examples
    --------
    >>> suggestion = rpn_target.suggest_anchors(dataset, net)              # doctest: +SKIP
    >>> rpn_target.set_anchors(net, **suggestion)                          # doctest: +SKIP
    """
    job, workers = _job(dataset, net, short, max_size, limit, seed, workers, settings)
    found = suggest(job, range(len(job.source)), workers, seed, advise=False)
    return found["after" if found["better"] else "before"]["keywords"]


def _job(
    dataset: Any, net: Any, short: Any, max_size: Any, limit: Any, seed: int, workers: Any,
    settings: dict,
) -> tuple[Job, int]:  # fmt: skip
    """Check the arguments, and read the data set."""
    targets = TargetSettings(**settings)
    seed = whole_number("seed", seed)
    workers = default_workers() if workers is None else whole_number("workers", workers)
    scheme = AnchorScheme.of_network(f"those of {type(net).__name__}", net, _sides(short), max_size)
    check_image_settings(
        scheme.short if len(scheme.short) > 1 else scheme.short[0], scheme.max_size, 0, 1, 0
    )
    indices: Sequence[int] = range(len(dataset))
    if not len(indices):
        raise ValueError("dataset must have at least one item, but it has none")
    if limit is not None and whole_number("limit", limit, least=1) < len(indices):
        some = np.random.default_rng(seed).choice(len(indices), limit, replace=False)
        indices = sorted(some.tolist())
    return Job(DatasetSource(dataset, indices), scheme, targets), workers


def _sides(short: Any) -> Any:
    return short if short is None or isinstance(short, (tuple, list)) else (short,)
