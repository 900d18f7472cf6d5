"""Running the matcher over a dataset, with worker processes and a progress bar.

Images are summed up in portions, each in one process from end to end, and only the portions' sums
travel: memory does not grow with the dataset. Portions do not depend on the number of processes
and are added in order, so neither do the results.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import warnings
from collections import deque
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Iterator, NamedTuple, Sequence

import numpy as np
from gluoncv.data.transforms import bbox as bbox_transforms
from tqdm import tqdm

from ..core.boxes import check_boxes
from ..core.settings import TargetSettings
from . import ReportError
from .anchor_scheme import AnchorScheme
from .coverage import Summary, cover
from .source import BrokenItem, ImageLabel, Source

__all__ = ["Job", "default_workers", "network_boxes", "summarize"]

PORTION = 16  # images
IN_FLIGHT = 4  # portions per process that are computed ahead


class Job(NamedTuple):
    """What is done to every image."""

    source: Source
    scheme: AnchorScheme
    settings: TargetSettings
    per_object: bool = False
    """Whether summaries keep the status of every object."""


def network_boxes(job: Job, index: int, label: ImageLabel) -> tuple[np.ndarray, int, int]:
    """Return the boxes (M, 4) of an image, float32, and its size, as the network sees it.

    Raises
    ------
    BrokenItem
        If a box is one that the train transform would refuse.
    """
    width, height = job.scheme.resized(label.width, label.height, index)
    if width < 1 or height < 1:
        raise BrokenItem(
            f"resized from {label.width} x {label.height}, it would be {width} x {height}"
        )
    boxes = np.reshape(label.boxes, (-1, 4))
    try:
        check_boxes(boxes, "its label")  # as they are stored, so that users know the numbers
        boxes = bbox_transforms.resize(boxes, (label.width, label.height), (width, height))
        return check_boxes(boxes, "its resized label"), width, height
    except ValueError as error:
        raise BrokenItem(str(error)) from error


def summarize(job: Job, indices: Sequence[int], workers: int, message: str = "images") -> Summary:
    """Return the summary of some images of a dataset.

    Parameters
    ----------
    job : Job
    indices : sequence of int
        The images.
    workers : int
        Number of processes; with 0 this one does all the work.
    message : str
        Shown in front of the progress bar.

    Raises
    ------
    ReportError
        If a worker process is killed.
    """
    portions = [indices[start : start + PORTION] for start in range(0, len(indices), PORTION)]
    total = _new_summary(job)
    # Without a terminal there is nobody to watch the bar.
    with tqdm(total=len(indices), desc=message, unit="image", disable=None, leave=False) as bar:
        for portion, part in zip(portions, _parts(job, portions, workers)):
            total.add(part)
            bar.update(len(portion))
    return total


def default_workers() -> int:
    """Return the number of processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _parts(job: Job, portions: list[Sequence[int]], workers: int) -> Iterator[Summary]:
    """Yield the summaries of the portions, in order."""
    workers = min(workers, len(portions))
    if workers < 2 and len(portions) < 2 or workers == 0:
        for portion in portions:
            yield _sum_up(job, portion)
        return
    # Forked, the workers have the dataset without pickling it. They run no MXNet operator.
    context = multiprocessing.get_context("fork")
    with warnings.catch_warnings():
        # Python 3.12 warns of forking beside MXNet's idle threads, as gluon's DataLoader does.
        warnings.filterwarnings("ignore", ".*fork.*", DeprecationWarning)
        with ProcessPoolExecutor(workers, context, _start_worker, (job,)) as pool:
            try:
                yield from _in_order(pool, portions, workers * IN_FLIGHT)
            except BrokenProcessPool as error:
                raise ReportError(
                    "a worker process was killed, perhaps for want of memory; try --workers 1"
                ) from error


def _in_order(
    pool: ProcessPoolExecutor, portions: list[Sequence[int]], ahead: int
) -> Iterator[Summary]:
    """Yield results in order, with no more than a few of them waiting."""
    waiting: deque[Future[Summary]] = deque()
    try:
        for portion in portions:
            waiting.append(pool.submit(_work, portion))
            if len(waiting) == ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:  # of an interruption, too
        for future in waiting:
            future.cancel()


_job: Job  # of a worker process


def _start_worker(job: Job) -> None:
    global _job
    _job = job
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interruption is the parent's to handle


def _work(portion: Sequence[int]) -> Summary:
    return _sum_up(_job, portion)


def _sum_up(job: Job, portion: Sequence[int]) -> Summary:
    """Sum up some images."""
    summary = _new_summary(job)
    for index in portion:
        try:
            label = job.source.read(index)
            boxes, width, height = network_boxes(job, index, label)
            coverage = cover(job.scheme.lattice(width, height), boxes, width, height, job.settings)
        except BrokenItem as error:
            summary.add_broken(job.source.name(index), str(error))
        else:
            summary.add_image(index, job.source.name(index), label, coverage, job.settings)
    return summary


def _new_summary(job: Job) -> Summary:
    shapes = sum(level.anchors_per_cell for level in job.scheme.levels)
    return Summary(shapes, job.per_object)
