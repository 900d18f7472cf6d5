"""Output files: refused in time, and whole or not there."""

import os
import pathlib
import resource
import signal
import stat
import subprocess
import sys

import helpers  # noqa: F401  imports rpn_target before MXNet
import pytest

from rpn_target.cli.main import CommandError
from rpn_target.cli.output import PICTURE_FORMATS, check_output, write_output

ROOT = str(pathlib.Path(__file__).resolve().parents[2])


def test_none():
    check_output(None)


def test_new_and_old_file(tmp_path):
    path = str(tmp_path / "a.json")
    check_output(path)
    assert os.listdir(tmp_path) == []
    for content, expected in (("größer\n", "größer\n".encode()), (b"\0\1", b"\0\1"), ("", b"")):
        check_output(path)
        write_output(path, content)
        assert (tmp_path / "a.json").read_bytes() == expected
        assert os.listdir(tmp_path) == ["a.json"]


def test_text_that_utf_8_cannot_hold(tmp_path):
    """As a path that is not UTF-8 comes from the file system."""
    write_output(str(tmp_path / "a.txt"), "a\udcffb")
    assert (tmp_path / "a.txt").read_bytes() == b"a\\udcffb"


def test_permissions(tmp_path):
    new, old = tmp_path / "new", tmp_path / "old"
    old.write_text("old")
    old.chmod(0o640)
    before = os.umask(0o022)
    try:
        for path in (new, old):
            write_output(str(path), "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE(new.stat().st_mode) == 0o644
    assert stat.S_IMODE(old.stat().st_mode) == 0o640


def test_link(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder" / "file")
    write_output(str(tmp_path / "link"), "x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "folder" / "file").read_text() == "x"


def test_devices_stay():
    check_output(os.devnull)
    write_output(os.devnull, "x")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


@pytest.mark.parametrize("name", ["", "no such folder/a.json", "file/a.json"])
def test_refused(name, tmp_path):
    (tmp_path / "file").write_text("x")
    path = os.path.join(tmp_path, name)
    for function in (check_output, lambda path: write_output(path, "x")):
        with pytest.raises(CommandError, match="^cannot write .*(directory|Directory)") as caught:
            function(path)
        assert path in str(caught.value)
    assert os.listdir(tmp_path) == ["file"]


def test_folder_without_permission(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(CommandError, match="Permission denied"):
            check_output(str(tmp_path / "a.json"))
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("name", ["a.xyz", "a", "a.json", ".png"])
def test_formats(name, tmp_path):
    with pytest.raises(CommandError, match="must end in one of .png, .pdf, .svg"):
        check_output(str(tmp_path / name), PICTURE_FORMATS)
    for ending in PICTURE_FORMATS:
        check_output(str(tmp_path / f"a.{ending.upper()}"), PICTURE_FORMATS)


@pytest.mark.parametrize("old", [None, "what was there"])
def test_full_disk(old, tmp_path):
    """One line, nothing half-written, and what was there is still there."""
    path = tmp_path / "a.json"
    if old is not None:
        path.write_text(old)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(CommandError, match="^cannot write .*a.json: File too large$"):
            write_output(str(path), b"x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert os.listdir(tmp_path) == ([] if old is None else ["a.json"])
    if old is not None:
        assert path.read_text() == old


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's /dev/full")
@pytest.mark.parametrize("command", ["inspect", "show"])
def test_standard_output_on_a_full_disk(command, tmp_path):
    """One line and status 2; the files are written all the same."""
    asked = {"inspect": ["--json", "out"], "show": ["--index", "5", "--out", "out.png"]}[command]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "rpn_target", command, "--dataset", "photos"]
            + asked,
            stdout=full, stderr=subprocess.PIPE, text=True, cwd=str(tmp_path), timeout=300,
            env=dict(os.environ, PYTHONPATH=ROOT),
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.endswith(
        f"rpn-target {command}: cannot write the output: No space left on device\n"
    )
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == [asked[-1]]
