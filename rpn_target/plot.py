"""Drawing targets: `plot_targets`, and what the reports draw boxes with.

Colors are told apart with any kind of color vision, and never carry a meaning alone: objects
without an anchor are dashed and say so, kept anchors are thin and negatives thinner.

matplotlib is imported where it is used: that takes a while, and training does not need it.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Callable, List, Sequence, Tuple

import numpy as np

from .core.boxes import check_boxes, intersection_over_union
from .core.coder import CLS_NEGATIVE, CLS_POSITIVE
from .core.lattice import AnchorLattice
from .gluon.network import anchor_levels, feature_map_sizes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "COLORS",
    "draw_anchors",
    "draw_objects",
    "draw_picture",
    "plain",
    "plot_targets",
    "save",
    "short",
]

COLORS = {
    "above": "#1f5fbf",
    "low_quality": "#e69500",
    "never": "#d3184a",
    "positive": "#35c4ff",
    "negative": "#d9d9d9",
    "object": "#ffffff",
}
LETTER = 0.62  # width of a letter, as a share of the font size

Shapes = List[Tuple[int, int, int]]
"""Rows, columns and anchors per cell of each level."""

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the train transforms


def plot_targets(
    image: Any,
    bbox: Any,
    targets: Sequence[Any],
    ax: Axes | None = None,
    anchors: Any = None,
    class_names: Sequence[str] | None = None,
    mean: Sequence[float] = MEAN,
    std: Sequence[float] = STD,
    linewidth: float = 2,
    fontsize: float = 9,
) -> Axes:
    """Draw the RPN targets of an image: its objects, and the anchors kept for them.

    Objects are white, or red and dashed if no kept positive anchor stands for them. Positives are
    blue, negatives gray. The padding of a batch's labels (rows of -1) is not drawn.

    Parameters
    ----------
    image : NDArray or np.ndarray
        The image as the network sees it: of shape (H, W, 3) and in [0, 255], or (3, H, W) and
        normalized, as the train transforms return it.
    bbox : NDArray or np.ndarray of shape (M, 4+)
        Ground-truth corner boxes in pixels of that image. A fifth column is the class.
    targets : (cls_target, box_target, box_mask)
        As `RPNTargetGenerator` returns them, or the train transforms (one array per level), or
        one row of what the batchify functions return.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default in a new plot.
    anchors : network, AnchorLattice, NDArray or np.ndarray of shape (N, 4), optional
        Where the anchors are: the network that the targets were made for, the lattice of this
        image, or all corner boxes. Without them, which only goes with one array per level, kept
        anchors are dots at the cells they belong to, and it is not known which object they stand
        for.
    class_names : sequence of str, optional
        To name the objects with.
    mean, std : sequence of 3 floats
        Of the normalization to undo.
    linewidth, fontsize : float
        Of the objects, in points.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If shapes do not fit together, as where the targets are those of an image of another size,
        or a class has no name. The message names what was expected and what came.

    Examples
    --------
    >>> transform = rpn_target.FasterRCNNTrainTransform(600, 1000, net)    # doctest: +SKIP
    >>> img, bbox, *targets = transform(*dataset[0])                       # doctest: +SKIP
    >>> rpn_target.plot_targets(img, bbox, targets, anchors=net)           # doctest: +SKIP

    The image at row ``i`` of a batch, of which ``images``, ``labels`` and ``targets`` are the
    arrays of one device:

    >>> rpn_target.plot_targets(                                           # doctest: +SKIP
    ...     images[i], labels[i], [array[i] for array in targets], anchors=net
    ... )
    """
    picture = _picture(_numpy(image), mean, std)
    label = _label(_numpy(bbox))
    boxes = check_boxes(label[:, :4])
    names = _names(label, class_names)
    cls_target, shapes = _cls_target(targets)
    positives = np.flatnonzero(cls_target == CLS_POSITIVE)
    negatives = np.flatnonzero(cls_target == CLS_NEGATIVE)
    if anchors is None:
        centers = _centers(shapes, picture)
    else:
        corners = _corners(anchors, len(cls_target), shapes, picture)

    if ax is None:
        from matplotlib import pyplot as plt

        ax = plt.figure().add_subplot(1, 1, 1)
    draw_picture(ax, picture)
    missing = np.zeros(len(boxes), bool)
    for kind, number in (("negative", negatives), ("positive", positives)):
        if anchors is None:
            x, y = centers[number].T
            ax.scatter(x, y, s=12 if kind == "positive" else 4, c=COLORS[kind])
        else:
            draw_anchors(ax, corners(number), kind)
    if anchors is not None:
        missing = _missing(corners(positives), boxes)
    draw_objects(
        ax, boxes,
        [f"{name} (no anchor)".strip() if no else name for name, no in zip(names, missing)],
        [COLORS["never" if no else "object"] for no in missing],
        missing, linewidth, fontsize,
    )  # fmt: skip
    ax.set_title(f"{len(positives)} positive, {len(negatives)} negative anchors kept")
    return ax


def _label(array: np.ndarray) -> np.ndarray:
    """Return the rows of a label that are objects, not the padding of a batch."""
    if array.size == 0:
        return np.zeros((0, 5))
    if array.ndim != 2 or array.shape[1] < 4:
        raise ValueError(
            f"bbox must have shape (M, 4+), of one image, but its shape is {array.shape}"
        )
    padding = (array[:, :4] == -1).all(axis=1)
    if array.shape[1] > 4:
        padding |= array[:, 4] == -1
    return array[~padding]


def _picture(image: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """Return an image as (H, W, 3), uint8."""
    if image.ndim != 3 or 3 not in (image.shape[0], image.shape[2]):
        raise ValueError(f"image must be (H, W, 3) or (3, H, W), but its shape is {image.shape}")
    if image.shape[2] != 3:
        image = image.transpose(1, 2, 0) * np.asarray(std) + np.asarray(mean)
        image = np.round(image * 255)
    return np.clip(image, 0, 255).astype(np.uint8)


def _cls_target(targets: Sequence[Any]) -> tuple[np.ndarray, Shapes | None]:
    """Return the codes (N,) of all anchors, and each level's (rows, columns, A) if known."""
    if not isinstance(targets, (tuple, list)) or len(targets) != 3:
        raise ValueError(
            "targets must be (cls_target, box_target, box_mask), as RPNTargetGenerator or a train "
            f"transform returns them, but got {type(targets).__name__} of length {np.size(targets)}"
        )
    cls_target = targets[0]
    if not isinstance(cls_target, (tuple, list)):
        array = _numpy(cls_target)
        if max(array.shape, default=0) != array.size:
            raise ValueError(
                "targets must be those of one image, but cls_target has shape "
                f"{array.shape}; take one row of each array of a batch"
            )
        return array.ravel(), None
    levels = [_numpy(level) for level in cls_target]
    if any(level.ndim != 3 for level in levels):
        raise ValueError(
            "cls_target must hold one array (rows, columns, A) per level, but their shapes are "
            f"{[level.shape for level in levels]}"
        )
    shapes = [(rows, columns, depth) for rows, columns, depth in (one.shape for one in levels)]
    return np.concatenate([level.ravel() for level in levels]), shapes


def _corners(
    anchors: Any, count: int, shapes: Shapes | None, picture: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from anchor numbers to corner boxes."""
    if hasattr(anchors, "rpn"):
        return _lattice(anchors, count, shapes, picture).corners
    if isinstance(anchors, AnchorLattice):
        cells = [(*shape, depth) for shape, depth in zip(anchors.shapes, anchors.depths)]
        _check_cells(cells, anchors.stride[np.asarray(anchors.level_base[:-1])].tolist(), picture)
        if len(anchors) != count or (shapes is not None and shapes != cells):
            raise ValueError(
                f"targets must fit the lattice, with {len(anchors)} anchors at cells of {cells}, "
                f"but have {count} at {shapes or 'unknown ones'}"
            )
        return anchors.corners
    array = _numpy(anchors)
    if array.size != 4 * count:
        raise ValueError(f"anchors must have shape ({count}, 4), but it is {array.shape}")
    return array.reshape(-1, 4).__getitem__


def _lattice(net: Any, count: int, shapes: Shapes | None, picture: np.ndarray) -> AnchorLattice:
    """Return the lattice of a network for an image, if the targets are of its size."""
    levels = anchor_levels(net, not hasattr(net.rpn.anchor_generator, "anchors"))
    depths = [level.anchors_per_cell for level in levels]
    if shapes is not None and [shape[2] for shape in shapes] != depths:
        raise ValueError(
            f"targets must fit the network, with {depths} anchors per cell, but their shapes are "
            f"{shapes}"
        )
    height, width = picture.shape[:2]
    cells = list(feature_map_sizes(net).shapes(height, width))
    if shapes is not None:
        # GluonCV's anchors end where the network's do, however large the image.
        known = [
            (min(rows, level.known[0]), min(columns, level.known[1]))
            for (rows, columns), level in zip(cells, levels)
        ]
        of_targets = [(rows, columns) for rows, columns, _ in shapes]
        if of_targets not in (cells, known):
            raise ValueError(
                f"targets must be those of the image, which is {width} x {height} and so has "
                f"feature maps of {cells}, but theirs are {of_targets}: of an image of another "
                "size, as before the transform?"
            )
        return AnchorLattice(levels, of_targets)
    lattice = AnchorLattice(levels, cells)
    if len(lattice) != count:
        raise ValueError(
            f"targets must be those of the image, which is {width} x {height} and has "
            f"{len(lattice)} anchors with this network, but there are {count}; for others, "
            "anchors must be an array of shape (N, 4)"
        )
    return lattice


def _check_cells(shapes: Shapes, strides: Sequence[float], picture: np.ndarray) -> None:
    """Refuse feature maps that do not cover the image, or go far beyond it."""
    height, width = picture.shape[:2]
    for (rows, columns, _), stride in zip(shapes, strides):
        if max(abs(rows * stride - height), abs(columns * stride - width)) > 2 * stride:
            raise ValueError(
                f"targets must be those of the image, which is {width} x {height}, but with a "
                f"cell every {stride:g} pixels their {columns} x {rows} cells are of one of about "
                f"{columns * stride:g} x {rows * stride:g}"
            )


def _centers(shapes: Shapes | None, picture: np.ndarray) -> np.ndarray:
    """Return the middle (N, 2) of each anchor's cell."""
    if shapes is None:
        raise ValueError("anchors must be given where targets are not one array per level")
    size = picture.shape[1::-1]
    # The smallest power of 2 at which the cells cover the image.
    strides = [
        2 ** np.ceil(np.log2(max(size[0] / columns, size[1] / rows))) for rows, columns, _ in shapes
    ]
    _check_cells(shapes, strides, picture)
    centers = []
    for (rows, columns, depth), stride in zip(shapes, strides):
        row, column, _ = np.indices((rows, columns, depth)).reshape(3, -1)
        centers.append((np.stack([column, row], axis=1) + 0.5) * stride)
    return np.concatenate(centers)


def _missing(corners: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Tell which objects (M,) no positive anchor stands for: each stands for its best match."""
    missing = np.ones(len(boxes), bool)
    if len(corners) and len(boxes):
        columns = np.asarray(corners, np.float32).T[:, :, None]
        missing[intersection_over_union(columns, boxes.T[:, None]).argmax(axis=1)] = False
    return missing


def _numpy(array: Any) -> np.ndarray:
    """Return an NDArray, or anything numpy takes, as a numpy array."""
    return array.asnumpy() if hasattr(array, "asnumpy") else np.asarray(array)


def _names(label: np.ndarray, class_names: Sequence[str] | None) -> list[str]:
    """Return what to write at each box."""
    if class_names is None or label.shape[1] < 5:
        return [""] * len(label)
    numbers = label[:, 4].tolist()
    for number in numbers:
        if not 0 <= number < len(class_names):
            raise ValueError(
                f"class_names must name every class, but there are {len(class_names)}, and bbox "
                f"has class {number:g}"
            )
    return [str(class_names[int(number)]) for number in numbers]


def plain(text: str) -> str:
    """Return text that matplotlib draws as it is, and not as a formula."""
    return text.replace("$", r"\$")


def short(text: str, length: int) -> str:
    """Return text cut to a number of characters."""
    return text if len(text) <= length else f"{text[: length - 3]}..."


def save(plot: Figure, target: Any, **keywords: Any) -> None:
    """Save a plot, with boxes for the letters that the font lacks."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        plot.savefig(target, **keywords)


def draw_picture(ax: Axes, picture: np.ndarray) -> None:
    """Draw an image (H, W, 3), uint8, with the origin at the corner of its first pixel.

    Corner boxes then need no shift by half a pixel.
    """
    height, width = picture.shape[:2]
    ax.imshow(picture, extent=(0, width, height, 0), interpolation="nearest")
    ax.set_xlim(0, width)
    ax.set_ylim(height, 0)
    ax.set_axis_off()


def draw_anchors(ax: Axes, corners: np.ndarray, kind: str) -> None:
    """Draw corner boxes (P, 4) of kept anchors, "positive" or "negative"."""
    if not len(corners):
        return
    from matplotlib.collections import LineCollection

    xmin, ymin, xmax, ymax = np.asarray(corners).T
    loop = [(xmin, ymin), (xmax, ymin), (xmax, ymax), (xmin, ymax), (xmin, ymin)]
    lines = np.stack([np.stack(point, axis=-1) for point in loop], axis=1)  # (P, 5, 2)
    width, alpha = (1.2, 0.8) if kind == "positive" else (0.6, 0.45)
    ax.add_collection(
        LineCollection(lines, colors=COLORS[kind], linewidths=width, alpha=alpha), autolim=False
    )


def draw_objects(
    ax: Axes,
    boxes: np.ndarray,
    texts: Sequence[str],
    colors: Sequence[str],
    dashed: Sequence[bool] | np.ndarray,
    linewidth: float = 2,
    fontsize: float = 9,
) -> None:
    """Draw corner boxes (M, 4) of objects.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    boxes : np.ndarray of shape (M, 4)
    texts : sequence of M str
        Written at the upper left corner of each; may be empty.
    colors : sequence of M str
    dashed : sequence of M bool
    linewidth, fontsize : float
        In points.
    """
    from matplotlib.patches import Rectangle

    # Dashed ones last, so that nothing covers them.
    every = zip(np.asarray(boxes).tolist(), texts, colors, dashed)
    for box, text, color, dash in sorted(every, key=lambda one: bool(one[3])):
        xmin, ymin, xmax, ymax = box
        corner, size = (xmin, ymin), (xmax - xmin, ymax - ymin)
        style = (0, (4, 2)) if dash else "solid"
        # A dark line below makes light ones visible on light pictures.
        for edge, extra, line in (("black", 1.5, "solid"), (color, 0, style)):
            ax.add_patch(
                Rectangle(
                    corner, *size, fill=False, edgecolor=edge, linewidth=linewidth + extra,
                    linestyle=line,
                )
            )  # fmt: skip
        if text:
            _write(ax, box, text, color, fontsize)


def _write(ax: Axes, box: Sequence[float], text: str, color: str, fontsize: float) -> None:
    """Write at the upper left corner of a box, or the upper right one if only there is room."""
    xmin, ymin, xmax, _ = box
    _, right = ax.get_xlim()
    _, top = ax.get_ylim()
    plot: Any = ax.figure
    pixels = right / (72 * plot.get_figwidth() * ax.get_position().width)  # per point
    length = LETTER * fontsize * len(text) * pixels
    at_right = xmin + length > right and min(xmax, right) - length > 0
    light = color in (COLORS["object"], COLORS["low_quality"], COLORS["positive"])
    ax.annotate(
        plain(text), (min(xmax, right) if at_right else max(xmin, 0), max(ymin, top)),
        xytext=(-3 if at_right else 3, -3), textcoords="offset points", annotation_clip=False,
        fontsize=fontsize, ha="right" if at_right else "left", va="top",
        color="black" if light else "white",
        bbox={"facecolor": color, "edgecolor": "none", "pad": 1.2, "alpha": 0.9},
    )  # fmt: skip
