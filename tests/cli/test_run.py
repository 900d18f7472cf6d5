"""``rpn-target run``: a script runs as with ``python``, and trains as with GluonCV."""

from __future__ import annotations

import importlib.util
import json
import os
import pathlib
import re
import signal
import subprocess
import sys

import helpers
import pytest

from rpn_target.cli import main as cli

TESTS = pathlib.Path(__file__).resolve().parents[1]
SCRIPTS = TESTS / "scripts"
PYTHON = [sys.executable, "-W", "ignore"]
RUN = [*PYTHON, "-m", "rpn_target", "run"]
# Python as it is, but for what MXNet needs of recent versions of NumPy.
PLAIN = [*PYTHON, "-c", """if True:
    import rpn_target.compat, os, runpy, sys
    sys.argv = sys.argv[1:]
    sys.path[0] = os.path.dirname(sys.argv[0])
    runpy.run_path(sys.argv[0], run_name="__main__")
    """]  # fmt: skip
SWAPPED = re.compile(
    r"rpn-target: swapped FasterRCNNDefaultTrainTransform, FasterRCNNTrainBatchify, "
    r"MaskRCNNDefaultTrainTransform, MaskRCNNTrainBatchify, RPNTargetGenerator, RPNTargetSampler "
    r"in gluoncv\.data\.batchify, [^\n]*\n"
)


def call(command, folder, text="", timeout=600):
    """Return exit status, standard output and standard error of a command."""
    path = os.pathsep.join([str(TESTS.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    # gluoncv.auto makes a set of the names of classes, and numbers them as they come.
    environment = dict(os.environ, PYTHONPATH=path, PYTHONHASHSEED="0")
    done = subprocess.run(
        list(map(str, command)), cwd=str(folder), env=environment, input=text, capture_output=True,
        text=True, timeout=timeout,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def compare(folder, *command, text=""):
    """Run a command line by Python and by rpn-target; assert that all is equal; return it."""
    expected = call([*PYTHON, *command], folder, text)
    status, out, error = call([*RUN, *command], folder, text)
    swapped = SWAPPED.match(error)
    assert swapped, error
    assert (status, out, error[swapped.end() :]) == expected
    return expected


@pytest.fixture
def script(tmp_path):
    """Return a function that writes a script and returns its name."""

    def write(source, name="script.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        return name

    return write


LOOK_AROUND = """
import json, pickle, sys

class Thing:
    pass

main = sys.modules["__main__"]
print(json.dumps([
    sys.argv, sys.path[0], sorted(globals()), __name__, __file__, __package__, __cached__,
    type(__loader__).__name__, repr(__builtins__), __annotations__, str(__spec__)[:30],
    vars(main) is globals(), type(pickle.loads(pickle.dumps(Thing()))) is Thing,
    sys.stdin.read(),
]))
"""

IN_PROCESSES_AND_AT_THE_END = """
import atexit, multiprocessing, pickle, sys, threading, time

class Thing:
    def __init__(self, number):
        self.number = number

def double(thing):
    return Thing(2 * thing.number)

def late():
    time.sleep(0.2)
    print("thread", len(pickle.dumps(Thing(1))) > 0)

if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print([thing.number for thing in pool.map(double, map(Thing, range(3)))])
    atexit.register(lambda: print("exit", type(pickle.loads(pickle.dumps(Thing(1)))) is Thing))
    threading.Thread(target=late).start()
    sys.stderr.write("done\\n")
"""

ENDS = {
    "nothing": "",
    "status": "import sys; sys.exit(7)",
    "message": "import sys; sys.exit('a message')",
    "none": "raise SystemExit",
    "error": "def inner():\n    return 1 / 0\n\ntry:\n    inner()\nexcept Exception as error:\n"
    "    raise KeyError('wrapped') from error\n",
    "syntax": "print('never')\nx = = 1\n",
    "hook": "import sys\nsys.excepthook = lambda kind, value, trace: print(kind.__name__, value, "
    "trace.tb_lineno, trace.tb_next)\nraise ValueError('hooked')\n",
    "interrupt": "def inner():\n    raise KeyboardInterrupt\n\ninner()\n",
    "coding": "# coding: latin-1\nraise ValueError('here')\n",
}


class TestAsPython:
    def test_everything_a_script_sees(self, script, tmp_path):
        _, printed, _ = compare(
            tmp_path, script(LOOK_AROUND, "sub/script.py"), "-h", "--", "-m", "", text="typed\n"
        )
        seen = json.loads(printed)
        assert seen[0] == ["sub/script.py", "-h", "--", "-m", ""]
        assert seen[1] == str(tmp_path / "sub")
        assert seen[-3:] == [True, True, "typed\n"]

    def test_everything_a_module_sees(self, script, tmp_path):
        script("", "package/__init__.py")
        script("from . import name\n" + LOOK_AROUND, "package/inner.py")
        script("", "package/name.py")
        _, printed, _ = compare(tmp_path, "-m", "package.inner", "--version", "-m")
        seen = json.loads(printed)
        assert seen[0] == [str(tmp_path / "package" / "inner.py"), "--version", "-m"]
        assert seen[5] == "package"

    @pytest.mark.slow
    def test_folder_and_symbolic_link(self, script, tmp_path):
        script(LOOK_AROUND, "program/__main__.py")
        compare(tmp_path, "program", "argument")
        (tmp_path / "link.py").symlink_to(tmp_path / "program" / "__main__.py")
        _, printed, _ = compare(tmp_path, "link.py")
        assert json.loads(printed)[1] == str(tmp_path / "program")

    @pytest.mark.slow
    def test_processes_threads_and_exit_functions(self, script, tmp_path):
        _, printed, _ = compare(tmp_path, script(IN_PROCESSES_AND_AT_THE_END))
        assert printed.splitlines() == ["[0, 2, 4]", "thread True", "exit True"]

    @pytest.mark.slow
    @pytest.mark.parametrize("end", ENDS)
    def test_end(self, script, tmp_path, end):
        """Exit status, and the traceback to the letter."""
        status, _, error = compare(tmp_path, script(ENDS[end]))
        expected = {"nothing": 0, "none": 0, "status": 7, "interrupt": -signal.SIGINT}
        assert status == expected.get(end, 1)
        assert "rpn_target" not in error

    @pytest.mark.slow
    def test_end_of_a_module(self, script, tmp_path):
        script("raise ValueError('in a module')", "module.py")
        assert compare(tmp_path, "-m", "module")[0] == 1
        assert compare(tmp_path, "-m", "no_such_module")[0] == 1

    @pytest.mark.slow
    @pytest.mark.parametrize("command", [PYTHON, RUN], ids=["python", "rpn-target"])
    def test_control_c(self, script, tmp_path, command):
        name = script("import time\nprint('ready', flush=True); time.sleep(60)\n")
        path = dict(os.environ, PYTHONPATH=str(TESTS.parent))
        with subprocess.Popen(
            [*command, name], cwd=str(tmp_path), env=path, universal_newlines=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as process:  # fmt: skip
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGINT)
            _, error = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGINT
        file = str(tmp_path / name) if sys.version_info >= (3, 9) else name
        trace = re.sub(r"\n +[\^~]+(?=\n)", "", SWAPPED.sub("", error))  # Python 3.11's markers
        assert trace == (
            f'Traceback (most recent call last):\n  File "{file}", line 2, in <module>\n'
            "    print('ready', flush=True); time.sleep(60)\nKeyboardInterrupt\n"
        )


class TestSwap:
    def test_names_in_a_script(self, script, tmp_path):
        """Whatever way GluonCV's classes are imported."""
        name = script(
            "from gluoncv.data.batchify import *\n"
            "from gluoncv.data.batchify import MaskRCNNTrainBatchify as Renamed\n"
            "from gluoncv.data.transforms.presets import rcnn\n"
            "import gluoncv.model_zoo.rcnn.rpn.rpn_target as rpn\n"
            "for found in (FasterRCNNTrainBatchify, Renamed, rcnn.MaskRCNNDefaultTrainTransform,\n"
            "              rcnn.FasterRCNNDefaultTrainTransform, rpn.RPNTargetSampler):\n"
            "    print(found.__module__)\n"
            "import rpn_target\n"
            "rpn_target.uninstall()\n"
            "print(FasterRCNNTrainBatchify.__module__)\n"
        )
        status, out, error = call([*RUN, "--", name], tmp_path)
        assert status == 0, error
        assert out.splitlines() == [
            "rpn_target.gluon.batchify", "rpn_target.gluon.batchify",
            "rpn_target.gluon.transforms",
            "rpn_target.gluon.transforms", "rpn_target.gluon.blocks", "gluoncv.data.batchify",
        ]  # fmt: skip
        assert SWAPPED.fullmatch(error)

    @pytest.mark.slow
    @pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
    def test_processes(self, script, tmp_path, method):
        """Those that import the script anew have the swap, too, and so have theirs."""
        name = script(
            "import multiprocessing\n"
            "from gluoncv.data.batchify import FasterRCNNTrainBatchify\n"
            "from gluoncv.data.transforms.presets.rcnn import FasterRCNNDefaultTrainTransform\n"
            "class Mine(FasterRCNNDefaultTrainTransform):\n"
            "    pass\n"
            "def base(thing):\n"
            "    return type(thing).__mro__[1].__module__, FasterRCNNTrainBatchify.__module__\n"
            "def inner(queue, thing):\n"
            "    queue.put(base(thing))\n"
            "def outer(queue, thing):\n"
            "    queue.put(base(thing))\n"
            "    start(inner, queue, thing)\n"
            "def start(target, *arguments):\n"
            f"    context = multiprocessing.get_context({method!r})\n"
            "    process = context.Process(target=target, args=arguments)\n"
            "    process.start()\n"
            "    process.join()\n"
            "if __name__ == '__main__':\n"
            f"    queue = multiprocessing.get_context({method!r}).Queue()\n"
            "    start(outer, queue, Mine())\n"
            "    print(queue.get(timeout=60), queue.get(timeout=60))\n"
            "    import rpn_target\n"
            "    rpn_target.uninstall()\n"
            "    start(inner, queue, 0)\n"
            "    print(queue.get(timeout=60))\n"
        )
        status, out, error = call([*RUN, name], tmp_path)
        assert status == 0, error
        ours = str(("rpn_target.gluon.transforms", "rpn_target.gluon.batchify"))
        assert out.splitlines() == [f"{ours} {ours}", "('builtins', 'gluoncv.data.batchify')"]
        assert SWAPPED.fullmatch(error)


class TestUsage:
    @pytest.mark.parametrize("flag", ["-h", "--help"])
    def test_help(self, capsys, flag):
        assert cli.main(["run", flag]) == 0
        shown = capsys.readouterr().out
        assert "rpn-target run [-h] [--] script.py [args ...]" in shown
        assert "rpn-target run [-h] -m module [args ...]" in shown
        assert max(map(len, shown.splitlines())) <= 100

    @pytest.mark.parametrize(
        "argv, message",
        [
            ([], "needs a script, or -m and a module; see rpn-target run --help"),
            (["--"], "needs a script, or -m and a module; see rpn-target run --help"),
            (["-m"], "-m must be followed by the name of a module"),
            (["--quick", "script.py"], "unknown option --quick; see rpn-target run --help"),
            (["-c", "1"], "unknown option -c; see rpn-target run --help"),
            (["no_such.py", "-h"], "cannot read no_such.py"),
            (["--", "-m"], "cannot read -m"),
        ],
    )
    def test_bad_command_line(self, capsys, argv, message):
        before = dict(sys.modules)
        assert cli.main(["run", *argv]) == 2
        assert capsys.readouterr() == ("", f"rpn-target run: {message}\n")
        assert dict(sys.modules) == before


def losses(printed, count):
    """Return the lines of losses, as many as the script has batches."""
    lines = [line for line in printed.splitlines() if line.startswith("epoch ")]
    assert len(lines) == count
    values = [[float(value) for value in line.split()[4:]] for line in lines]
    assert all(value == value and abs(value) < 1e6 for line in values for value in line)
    assert len({tuple(line) for line in values}) == count
    assert printed.endswith(".py has ended\n")
    return lines


def train(command, folder, script, *options):
    status, out, error = call([*command, SCRIPTS / script, *options], folder)
    assert status == 0, error
    assert bool(SWAPPED.match(error)) == (command is RUN)
    return out


@pytest.fixture
def needs_coco(request):
    if "mask_rcnn.py" in request.node.name and not importlib.util.find_spec("pycocotools"):
        pytest.skip("needs pycocotools")


@pytest.mark.slow
@pytest.mark.usefixtures("needs_coco")
class TestTraining:
    """Scripts of the shape of GluonCV's own, by Python and by rpn-target."""

    @pytest.mark.parametrize(
        "batches, command",
        [
            (6, "faster_rcnn.py"),
            (6, "faster_rcnn.py --use-fpn --batch-size 2 --epochs 2"),
            (4, "mask_rcnn.py --batch-size 2 --epochs 2"),
            # Batches of several images on several devices, mixed images, a worker of its own.
            (2, "faster_rcnn.py --batch-size 4 --devices 2 --mixup"),
            (3, "faster_rcnn.py --use-fpn --batch-size 2 --num-workers 1"),
            (2, "mask_rcnn.py --batch-size 2 --devices 2 --num-workers 1"),
        ],
    )
    def test_same_losses(self, tmp_path, batches, command):
        """Digit for digit, with and without the swap."""
        plain = train(PLAIN, tmp_path, *command.split())
        swapped = train(RUN, tmp_path, *command.split())
        assert losses(swapped, batches) == losses(plain, batches)

    @pytest.mark.parametrize(
        "batches, command",
        [
            (6, "faster_rcnn.py --use-fpn --batch-size 2 --epochs 2"),
            (3, "faster_rcnn.py --batch-size 2 --mixup"),
            (2, "mask_rcnn.py --batch-size 2"),
        ],
    )
    def test_two_workers(self, tmp_path, batches, command):
        """Which worker draws what is chance, with GluonCV as with us."""
        losses(train(RUN, tmp_path, *command.split(), "--num-workers", "2"), batches)

    @helpers.needs_auto
    def test_estimator_of_gluoncv_auto(self, tmp_path):
        """Its ``fit``, whose modules import by name."""
        script = SCRIPTS / "auto_faster_rcnn.py"
        status, plain, error = call([*PLAIN, script], tmp_path)
        assert status == 0, error
        assert plain.count("RPN_SmoothL1") == 6
        assert train(RUN, tmp_path, script.name) == plain
        assert train(RUN, tmp_path, script.name, "--num-workers", "2").count("RPN_SmoothL1") == 6

    @pytest.mark.skipif(
        not importlib.util.find_spec("horovod"), reason="needs horovod, built with MXNet"
    )
    @pytest.mark.parametrize("script", ["faster_rcnn.py", "mask_rcnn.py"])
    def test_horovod(self, tmp_path, script):
        """Each of two processes trains on its part."""
        horovodrun = pathlib.Path(sys.executable).with_name("horovodrun")
        launch = [horovodrun, "-np", "2", "--gloo", "--network-interfaces", "lo",
                  "-H", "localhost:2"]  # fmt: skip
        ranks = []
        for command in (PLAIN, RUN):
            _, out, error = call([*launch, *command, SCRIPTS / script, "--horovod"], tmp_path)
            lines = re.findall(r"<stdout>:(epoch .*)", out)
            assert len(lines) > 2, error
            ranks.append(sorted(lines))
        assert ranks[0] == ranks[1]
