"""Showing measurements: tables in Markdown, JSON and a plot."""

from __future__ import annotations

import io
import json
from typing import Any, NamedTuple, Sequence

from .loaders import HandOver, LoaderMeasurement
from .steps import StepMeasurement

__all__ = ["Results"]


class Results(NamedTuple):
    """All that was measured."""

    steps: Sequence[StepMeasurement]
    loaders: Sequence[LoaderMeasurement]
    hand_overs: Sequence[HandOver]

    def as_text(self) -> str:
        """Return a summary, and the full tables."""
        parts = [
            ("Summary", self._summary()),
            ("Loaders", self._loader_table()),
            ("Handing over ready-made batches", self._hand_over_table()),
            ("Steps", self._step_table()),
        ]
        return "\n\n".join(f"## {title}\n\n{table}" for title, table in parts)

    def _summary(self) -> str:
        """Return the loaders with 8 objects and two workers, and how much faster each step is."""
        rows = []
        for m in self.loaders:
            if m.boxes == 8 and m.workers and m.source == "memory":
                rows.append([
                    f"{m.case}, {m.loader}", f"{m.theirs.in_place:.0f}", f"{m.ours.in_place:.0f}",
                    f"{m.ratios[0]:.1f}", f"{m.theirs.in_place_cost:.1f}",
                    f"{m.ours.in_place_cost:.1f}",
                ])  # fmt: skip
        return _table(
            "loader, M = 8, 2 workers | GluonCV, images/s | ours | ratio "
            "| GluonCV, main process, ms / image | ours",
            rows,
        )

    def _loader_table(self) -> str:
        rows = []
        for m in self.loaders:
            rows.append([
                m.case, m.source, m.loader, m.boxes, m.workers,
                *(_slashed(getattr(m.theirs, name), getattr(m.ours, name))
                  for name in ("in_place", "read")),
                *(f"{ratio:.1f}" for ratio in m.ratios),
                *(_slashed(getattr(m.theirs, name), getattr(m.ours, name))
                  for name in ("in_place_cost", "read_cost", "growth", "shared")),
            ])  # fmt: skip
        return _table(
            "loader, batch 2 | images from | ours by | M | workers "
            "| in place, images/s: GluonCV / ours | read once | ratio in place | ratio read once "
            "| main process, ms / image: in place | read once | growth, MB / 100 batches "
            "| shared with workers, MB",
            rows,
            texts=3,
        )

    def _hand_over_table(self) -> str:
        rows = []
        for m in self.hand_overs:
            for name, one in (("MXNet's", m.theirs), ("recycled", m.ours)):
                rows.append([
                    m.case, name, f"{m.size:.1f}", f"{one.in_place:.0f}", f"{one.read:.0f}",
                    f"{one.in_place_cost:.2f}", f"{one.read_cost:.2f}",
                    f"{1000 / max(one.in_place_cost, 1e-3):.0f}", _number(one.growth),
                    _number(one.shared),
                ])  # fmt: skip
        return _table(
            "an image and its targets | memory | MB | in place, images/s | read once "
            "| main process, ms / image: in place | read once | images/s it could take in place "
            "| growth, MB / 100 batches | shared with workers, MB",
            rows,
            texts=2,
        )

    def _step_table(self) -> str:
        rows = []
        for m in self.steps:
            rows.append([
                m.step, m.case, m.boxes, f"{m.theirs:.2f}", f"{m.ours:.2f}", f"{m.ratio:.1f}",
                _number(m.seeded, 2), _number(m.seeded_ratio), f"{m.input_pass:.2f}",
                f"{m.output_fill:.2f}", f"{m.distance:.1f}", _number(m.their_peak),
                _number(m.our_peak),
            ])  # fmt: skip
        return _table(
            "step | images | M | GluonCV, ms | ours, ms | ratio | seeded, ms | ratio "
            "| one pass over the input, ms | one fill of the output, ms | ours / both "
            "| GluonCV peak, MB | our peak, MB",
            rows,
            texts=2,
        )

    def as_json(self) -> str:
        """Return all measurements as JSON, with their ratios."""
        return json.dumps(
            {
                "steps": [{**m._asdict(), "ratio": m.ratio} for m in self.steps],
                "loaders": [
                    {**_nested(m), "ratio_in_place": m.ratios[0], "ratio_read": m.ratios[1]}
                    for m in self.loaders
                ],
                "hand_over": [_nested(m) for m in self.hand_overs],
            },
            indent=1,
        )

    def as_picture(self, kind: str) -> bytes:
        """Draw GluonCV's and our times per step, on a logarithmic axis.

        Parameters
        ----------
        kind : str
            Format of the picture: png, pdf or svg.
        """
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot

        steps = self.steps
        cases = list(dict.fromkeys(m.case for m in steps))
        height = 0.32 * len(steps) / len(cases) + 1.5
        figure, axes = pyplot.subplots(
            1, len(cases), figsize=(7 * len(cases), height), squeeze=False
        )
        for axis, case in zip(axes[0], cases):
            _draw(axis, case, [m for m in steps if m.case == case][::-1])
        figure.tight_layout()
        picture = io.BytesIO()
        figure.savefig(picture, format=kind, dpi=120)
        pyplot.close(figure)
        return picture.getvalue()


def _draw(axis: Any, case: str, steps: Sequence[StepMeasurement]) -> None:
    rows = range(len(steps))
    limits = [m.input_pass + m.output_fill for m in steps]
    axis.hlines(rows, [m.ours for m in steps], [m.theirs for m in steps], color="0.8")
    axis.plot([m.theirs for m in steps], rows, "o", color="#c44e52", label="GluonCV")
    axis.plot([m.ours for m in steps], rows, "o", color="#4c72b0", label="rpn_target")
    axis.plot(limits, rows, "|", color="0.5", label="one pass over input and output")
    axis.set_yticks(list(rows))
    axis.set_yticklabels([f"{m.step}, M = {m.boxes}" for m in steps])
    for row, m in zip(rows, steps):
        axis.annotate(
            f"{m.ratio:.1f} x", (m.theirs, row), (6, 0), textcoords="offset points", va="center",
            fontsize=8,
        )  # fmt: skip
    axis.set_xscale("log")
    axis.set_xlim(right=2.5 * max(m.theirs for m in steps))
    axis.set_xlabel("milliseconds")
    axis.set_title(case)
    axis.legend(loc="lower right")
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _table(head: str, rows: list[list], texts: int = 1) -> str:
    """Return a table in Markdown, whose first columns are texts and others numbers."""
    columns = head.count("| ") + 1
    line = "|".join(["---"] * texts + ["--:"] * (columns - texts))
    lines = [f"| {head} |", f"|{line}|"]
    return "\n".join(lines + [f"| {' | '.join(map(str, row))} |" for row in rows])


def _number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{round(value, digits) + 0.0:.{digits}f}"  # no -0.0


def _slashed(theirs: float | None, ours: float | None) -> str:
    return f"{_number(theirs)} / {_number(ours)}"


def _nested(measurement: Any) -> dict:
    """Return a measurement of readings as dictionaries."""
    fields = measurement._asdict()
    return {**fields, **{name: fields[name]._asdict() for name in ("theirs", "ours")}}
