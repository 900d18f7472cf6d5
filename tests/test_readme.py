"""What the README files say is so."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")
REPORTS = (ROOT / "tests" / "REPORTS.md").read_text("utf-8")
NAMED_TESTS = re.findall(r"`(tests/[^`]+)`", REPORTS)
FILES = [ROOT / "README.md", *ROOT.glob("[ert]*/**/README.md"), ROOT / "tests" / "REPORTS.md"]


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


@pytest.mark.slow
def test_code_prints_what_stands_below_it():
    code, expected = blocks("python")[0], blocks("text")[0]
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == expected


def test_the_lines_that_change_are_those_of_a_script():
    (diff,) = blocks("diff")
    old, new = ([line[1:] for line in diff.splitlines() if line[0] == sign] for sign in "-+")
    script = (ROOT / "tests" / "scripts" / "faster_rcnn.py").read_text("utf-8").splitlines()
    assert len(old) == len(new) == 2
    assert set(old) <= set(script)
    names = [line.split()[-1] for line in old]
    scope = {}
    exec("\n".join(new), scope)
    assert {name: scope[name].__module__.split(".")[0] for name in names} == dict.fromkeys(
        names, "rpn_target"
    )


def test_is_read_in_ten_minutes():
    assert len(README.split()) <= 1300


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    text = path.read_text("utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    missing = [link for link in links if not (path.parent / link).exists()]
    assert missing == []


def test_reports_name_tests():
    assert len(NAMED_TESTS) >= 5


@pytest.mark.parametrize("name", NAMED_TESTS)
def test_test_of_a_report_exists(name):
    path, *names = name.split("::")
    scope = ast.parse((ROOT / path).read_text("utf-8"))
    for one in names:
        found = [node for node in scope.body if getattr(node, "name", None) == one]
        assert found, f"{path} has no {one}"
        scope = found[0]
