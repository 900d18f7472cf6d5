"""Showing measurements: a text table, JSON and a plot."""

from __future__ import annotations

import json
from typing import Sequence

from .limits import Limit
from .loaders import LoaderMeasurement
from .measure import Measurement

__all__ = ["as_json", "as_text", "plot"]


def as_text(
    steps: Sequence[Measurement],
    loaders: Sequence[LoaderMeasurement],
    limits: Sequence[Limit],
) -> str:
    """Return three tables in Markdown: steps, whole DataLoaders, and what limits these."""
    rows = [
        "| step | images | M | GluonCV, ms | ours, ms | ratio | seeded, ms | ratio "
        "| floor, ms | ours / floor | GluonCV peak, MB | our peak, MB |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for m in steps:
        rows.append(
            f"| {m.step} | {m.case} | {m.boxes} | {m.theirs:.2f} | {m.ours:.2f} | {m.ratio:.1f} "
            f"| {_figure(m.seeded, 2)} | {_figure(m.seeded_ratio)} | {m.floor:.2f} "
            f"| {m.ours / m.floor:.1f} | {_figure(m.their_peak)} | {_figure(m.our_peak)} |"
        )
    rows += [
        "",
        "| DataLoader, batch 2 | M | workers | GluonCV, images/s | ours, images/s | ratio "
        "| GluonCV, main process, ms / image | ours | GluonCV growth, MB / 100 batches | ours |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for m in loaders:
        rows.append(
            f"| {m.case} | {m.boxes} | {m.workers} | {m.theirs:.1f} | {m.ours:.1f} "
            f"| {m.ratio:.1f} | {m.their_cost:.1f} | {m.our_cost:.1f} "
            f"| {_figure(m.their_growth)} | {_figure(m.our_growth)} |"
        )
    rows += [
        "",
        "| an image and its targets | MB | to fresh shared memory, ms | once more, ms |",
        "|---|--:|--:|--:|",
    ]
    for m in limits:
        rows.append(f"| {m.case} | {m.size:.1f} | {m.fresh:.1f} | {m.again:.1f} |")
    return "\n".join(rows)


def _figure(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{round(value, digits) + 0.0:.{digits}f}"  # no -0.0


def as_json(
    steps: Sequence[Measurement],
    loaders: Sequence[LoaderMeasurement],
    limits: Sequence[Limit],
) -> str:
    """Return all measurements as JSON, with their ratios."""
    return json.dumps(
        {
            "steps": [{**m._asdict(), "ratio": m.ratio} for m in steps],
            "loaders": [{**m._asdict(), "ratio": m.ratio} for m in loaders],
            "limits": [m._asdict() for m in limits],
        },
        indent=1,
    )


def plot(steps: Sequence[Measurement], path: str) -> None:
    """Draw GluonCV's and our times per step, on a logarithmic axis, into a file."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    cases = list(dict.fromkeys(m.case for m in steps))
    figure, axes = pyplot.subplots(
        1, len(cases), figsize=(7 * len(cases), 0.32 * len(steps) / len(cases) + 1.5), squeeze=False
    )
    for axis, case in zip(axes[0], cases):
        chosen = [m for m in steps if m.case == case][::-1]
        places = range(len(chosen))
        axis.hlines(places, [m.ours for m in chosen], [m.theirs for m in chosen], color="0.8")
        axis.plot([m.theirs for m in chosen], places, "o", color="#c44e52", label="GluonCV")
        axis.plot([m.ours for m in chosen], places, "o", color="#4c72b0", label="rpn_target")
        axis.plot([m.floor for m in chosen], places, "|", color="0.5", label="floor")
        axis.set_yticks(list(places), [f"{m.step}, M = {m.boxes}" for m in chosen])
        for place, m in zip(places, chosen):
            axis.annotate(
                f"{m.ratio:.1f} x", (m.theirs, place), (6, 0), textcoords="offset points",
                va="center", fontsize=8,
            )  # fmt: skip
        axis.set_xscale("log")
        axis.set_xlim(right=2.5 * max(m.theirs for m in chosen))
        axis.set_xlabel("milliseconds")
        axis.set_title(case)
        axis.legend(loc="lower right")
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
