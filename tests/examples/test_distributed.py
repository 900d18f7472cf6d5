"""Several ranks train the example: on MXNet's kvstore, and on Horovod where it is installed."""

import importlib.util
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
SCRIPT = ROOT / "tests" / "scripts" / "recorded_training.py"

sys.path.insert(0, str(EXAMPLES))
sys.path.insert(0, str(SCRIPT.parent))

import command_line  # noqa: E402
import recorded_training  # noqa: E402
import small_networks  # noqa: E402
import train_faster_rcnn  # noqa: E402
from distributed import ranks  # noqa: E402

TINY = ("--short", "96", "--max-size", "160", "--network", "c4", "--batch-size", "1")
ENGINES = [
    "run_dist_sync.py",
    pytest.param(
        "run_horovod.py",
        marks=pytest.mark.skipif(
            not importlib.util.find_spec("horovod"), reason="needs Horovod: tox -e py311-horovod"
        ),
    ),
]
each_engine = pytest.mark.parametrize("launcher", ENGINES)


def launch(launcher, folder, *arguments):
    """Start two ranks that leave their records and all other files in a folder."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, str(EXAMPLES / "distributed" / launcher), "--script", str(SCRIPT),
         *TINY, *arguments],
        cwd=folder, env=dict(os.environ, RECORDS=str(folder), PYTHONPATH=path),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True,
    )  # fmt: skip


def processes_of(folder):
    """Return the processes that still run of those that record in a folder."""
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue  # it has ended meanwhile, or is not ours
        if f"RECORDS={folder}".encode() in environment and state != "Z":
            found.append(int(entry.name))
    return found


def wait_for_no_process(folder):
    """Assert that there is soon no process left."""
    deadline = time.monotonic() + 10
    while processes_of(folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_of(folder) == []


def digests_of_one_rank(count):
    """Return the batches of one rank alone, with the draws that the ranks should have."""
    options = command_line.build_parser("").parse_args([*TINY, "--num-workers", "0", "--seeded"])
    dataset = train_faster_rcnn.open_dataset("photos")
    net = small_networks.build_network("c4", dataset.classes, options.short, options.max_size, 1)
    transform_type, batchify_type = train_faster_rcnn.IMPLEMENTATIONS["rpn_target"]
    transform = train_faster_rcnn.make_transform(transform_type, net, options.num_sample)
    engine = ranks.SingleProcess([], "device")
    opened = train_faster_rcnn.open_loader(
        dataset, transform, batchify_type(net), engine, options, count
    )
    with opened as loader:
        batches = train_faster_rcnn.many_epochs(loader, count)
        return [recorded_training.digest(batch) for batch in batches]


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs Linux's /proc")
class TestEngines:
    @each_engine
    def test_ranks_share_data_and_weights(self, tmp_path, launcher):
        """Every photograph once, as one rank alone reads it; then the same weights everywhere."""
        process = launch(launcher, tmp_path, "--iterations", "3", "--log-interval", "1")
        printed, _ = process.communicate(timeout=300)
        assert process.returncode == 0, printed
        wait_for_no_process(tmp_path)
        records = [json.loads(path.read_text()) for path in tmp_path.glob("*.json")]
        assert len(records) == 2
        one, other = (record["batches"] for record in records)
        assert len(one) == len(other) == 3
        alone = digests_of_one_rank(6)
        assert sorted(one + other) == sorted(alone)
        assert len(set(alone)) == 6
        assert records[0]["weights"] == records[1]["weights"]
        assert len(records[0]["weights"]) > 50
        # One of them speaks and saves.
        assert "c4 on 6 images, 3 batches of 2" in printed
        assert [printed.count(f"iteration    {number}") for number in (1, 2, 3)] == [1, 1, 1]
        assert (tmp_path / "faster_rcnn.params").is_file()

    @each_engine
    def test_a_killed_rank_ends_all(self, tmp_path, launcher):
        """Within a minute, with a message, and without leaving a process behind."""
        process = launch(launcher, tmp_path, "--iterations", "100000", "--log-interval", "1")
        try:
            for line in process.stdout:
                if "iteration    2" in line:
                    break
            victim = int(next(tmp_path.glob("*.started")).stem)
            os.kill(victim, signal.SIGKILL)
            printed, _ = process.communicate(timeout=60)
            assert process.returncode not in (0, None)
            if launcher == "run_dist_sync.py":
                assert process.returncode == 128 + signal.SIGKILL
                assert f"(process {victim}) was killed by SIGKILL; ending the others" in printed
            else:
                assert "exit with status code 137" in printed
            wait_for_no_process(tmp_path)
            assert not list(tmp_path.glob("*.params"))
        finally:
            for number in processes_of(tmp_path):
                os.kill(number, signal.SIGKILL)

    def test_ctrl_c_ends_all(self, tmp_path):
        process = launch("run_dist_sync.py", tmp_path, "--iterations", "100000")
        try:
            for line in process.stdout:
                if "iteration" in line:
                    break
            process.send_signal(signal.SIGINT)
            printed, _ = process.communicate(timeout=60)
            assert process.returncode == 128 + signal.SIGINT
            assert "Traceback" not in printed
            wait_for_no_process(tmp_path)
        finally:
            for number in processes_of(tmp_path):
                os.kill(number, signal.SIGKILL)

    def test_a_script_that_fails(self, tmp_path):
        """Its exit status is the launcher's."""
        process = launch("run_dist_sync.py", tmp_path, "--lr", "nan")
        printed, _ = process.communicate(timeout=60)
        assert process.returncode == 2
        assert "--lr: must be a number above 0, but got 'nan'" in printed
        assert "ended with exit status 2; ending the others" in printed
        wait_for_no_process(tmp_path)


@pytest.mark.parametrize("launcher", ["run_dist_sync.py", "run_horovod.py"])
def test_bad_number_of_workers(launcher):
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "distributed" / launcher), "--workers", "0"],
        stderr=subprocess.PIPE, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert "--workers must be at least 1, but got 0" in done.stderr
