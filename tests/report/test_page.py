"""The page of ``inspect``: complete in itself, and rendered by a browser without overflow."""

import base64
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from report_helpers import figures_of, make_samples, run, write_voc

from rpn_target.report.page import report_page

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)

# Names as bad as datasets have them.
NAMES = (
    "<script>alert(1)</script> & <img src=http://localhost/a.png>",
    "a_class_name_without_any_blank_that_goes_on_and_on_and_on_and_on_and_on",
    "$\\frac{1}{ and $x_",
    "\u732b \u043a\u043e\u0448\u043a\u0430",
)


@pytest.fixture(scope="module")
def photos_page(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos") / "report.html"
    assert run("inspect", "--dataset", "photos", "--suggest", "--html", path) == 0
    return path


@pytest.fixture(scope="module")
def odd_page(tmp_path_factory):
    """Return a page with long names, a pyramid and a broken image."""
    root = tmp_path_factory.mktemp("odd")
    samples = make_samples(17, objects=6)
    samples = [
        (width, height, boxes, np.arange(len(boxes)) % len(NAMES))
        for width, height, boxes, _ in samples
    ]
    # Two objects nearly alike, and two at the border.
    samples[0] = (256, 128, np.array([[40, 30, 103, 93], [41, 30, 104, 93]]), [0, 1])
    samples[1] = (256, 128, np.array([[0, 20, 63, 83], [200, 1, 255, 127]]), [2, 3])
    files = [f"image_{'with_a_long_name_' * 6}{number} '\"&$" for number in range(16)] + ["last"]
    write_voc(root, samples, NAMES, files)
    (root / "JPEGImages" / f"{files[4]}.jpg").write_bytes(b"broken")
    path = root / "report.html"
    arguments = ("inspect", "--dataset", "voc", "--root", root, "--short", 300, "--html", path)
    lattice = ("--strides", 8, 16, "--scales", "2,3", "4,8")
    assert run(*arguments, *lattice, "--suggest") == 0
    return path


@pytest.fixture(scope="module")
def large_page(tmp_path_factory):
    """Return a page with figures as large as COCO's: 20,000 times those of the photos."""
    folder = tmp_path_factory.mktemp("large")
    arguments = ("--dataset", "photos", "--short", 300, "--strides", 8, 16, "--scales", 4, 8)
    figures = figures_of(folder, *arguments)

    def multiply(counts):
        for name, value in counts.items():
            if isinstance(value, int) and name not in ("level", "index", "row"):
                counts[name] = value * 20000

    for tally in (
        figures["objects"]["all"], *figures["objects"]["by_size"].values(),
        *figures["objects"]["by_class"].values(),
    ):  # fmt: skip
        multiply(tally)
        tally["crowded"] = tally["border"] = 12345
    for counts in (figures["images"], *figures["shapes"]):
        multiply(counts)
    path = folder / "report.html"
    path.write_text(report_page(figures, None, []), encoding="utf-8")
    return path


class Outline(HTMLParser):
    """Collect what a page refers to, its headings, and the alternatives of its images."""

    def __init__(self, text):
        super().__init__()
        self.addresses, self.headings, self.images, self.tags = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "img":
            self.images.append(attributes)
        for name in ("src", "href", "srcset", "data", "action", "poster", "background"):
            if name in attributes:
                self.addresses.append(attributes[name])


@pytest.fixture(params=["photos_page", "odd_page", "large_page"])
def page(request):
    return request.getfixturevalue(request.param)


def test_page_is_complete_in_itself(page):
    text = page.read_text(encoding="utf-8")
    outline = Outline(text)
    assert len(outline.addresses) >= 5
    assert all(address.startswith("data:") for address in outline.addresses)
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert not {"script", "iframe", "object", "embed"} & set(outline.tags)
    assert "default-src 'none'" in text
    for image in outline.images:  # nor do the pictures refer to anything but themselves
        content = image["src"]
        if content.startswith("data:image/svg+xml"):
            svg = base64.b64decode(content.split(",", 1)[1]).decode()
            links = re.findall(r'(?:href|src)="([^"]*)"|url\(([^)]*)\)', svg)
            assert all((one or other).startswith("#") for one, other in links)


def test_page_can_be_read_without_seeing_it(page):
    outline = Outline(page.read_text(encoding="utf-8"))
    assert all(len(image["alt"]) > 20 for image in outline.images)
    assert outline.headings[0] == 1
    assert outline.headings.count(1) == 1
    steps = np.diff(outline.headings)
    assert steps.max() <= 1
    assert {"html", "main", "caption", "th", "figure"} <= set(outline.tags)


def test_gallery_begins_with_the_rocket(photos_page):
    text = photos_page.read_text(encoding="utf-8")
    captions = re.findall(r"<figcaption>([^<]*index[^<]*)", text)
    assert captions[0] == "rocket.jpg (index 5): 5 objects, 1 never learned, mean best IoU 0.37"
    assert len(captions) == 5  # in astronaut.jpg every object is at or above the threshold


def test_names_are_escaped(odd_page):
    text = odd_page.read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)" in text
    assert "<script>" not in text


@pytest.mark.slow
def test_same_page_twice(photos_page, tmp_path):
    again = tmp_path / "again.html"
    assert run("inspect", "--dataset", "photos", "--suggest", "--html", again) == 0
    assert again.read_bytes() == photos_page.read_bytes()


MEASURE = """
<script>
const violations = [];
document.addEventListener("securitypolicyviolation", event => violations.push(event.blockedURI));
window.addEventListener("load", () => {
  const width = document.documentElement.clientWidth;
  const beyond = [];
  for (const element of document.body.querySelectorAll("*")) {
    const box = element.getBoundingClientRect();
    if ((box.right > width + 1 || box.left < -1) && !element.parentElement.closest(".scroll"))
      beyond.push(element.outerHTML.slice(0, 80));
  }
  const hidden = [...document.querySelectorAll("p, h1, h2, li, dd, dt, figcaption, code")]
    .filter(element => element.scrollWidth > element.clientWidth + 1 && element.clientWidth)
    .map(element => element.outerHTML.slice(0, 80));
  const images = [...document.images];
  const result = {
    width, beyond, hidden, violations,
    page: document.documentElement.scrollWidth,
    scrolled: [...document.querySelectorAll(".scroll")]
      .map(one => one.scrollWidth - one.clientWidth),
    unloaded: images.filter(one => !one.complete || !one.naturalWidth).length,
    images: images.length,
    requests: performance.getEntriesByType("resource").map(one => one.name),
    type: parseFloat(getComputedStyle(document.body).fontSize),
  };
  const output = document.createElement("output");
  output.id = "measured";
  output.textContent = btoa(unescape(encodeURIComponent(JSON.stringify(result))));
  document.body.append(output);
});
</script>
"""


def render(page, folder, width):
    """Open a page in a browser window of some width, and return what `MEASURE` finds there."""
    text = page.read_text(encoding="utf-8")
    # The page forbids scripts to itself; only the one that measures is let in.
    policy = "style-src 'unsafe-inline'"
    assert policy in text
    text = text.replace(policy, f"{policy}; script-src 'unsafe-inline'", 1)
    text = text.replace("<style>", f"{MEASURE}<style>", 1)
    # In a frame, since windows may have a least width.
    (folder / "inner.html").write_text(text, encoding="utf-8")
    frame = f'<iframe src="inner.html" width="{width}" height="900" style="border:0"></iframe>'
    (folder / "outer.html").write_text(
        f'<!DOCTYPE html><body style="margin:0">{frame}<script>'
        "addEventListener('load', () => { const inner = frames[0].document.getElementById("
        "'measured'); document.body.append(inner.cloneNode(true)); });</script></body>"
    )
    outcome = subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--disable-dev-shm-usage", "--hide-scrollbars", "--allow-file-access-from-files",
            "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=20000",
            f"--user-data-dir={folder / 'profile'}", "--window-size=1400,1000", "--dump-dom",
            (folder / "outer.html").as_uri(),
        ],
        capture_output=True, timeout=300, check=True,
    )  # fmt: skip
    found = re.search(r'id="measured">([^<]+)<', outcome.stdout.decode("utf-8"))
    assert found, outcome.stderr.decode("utf-8", "replace")[-2000:]
    return json.loads(base64.b64decode(found.group(1)))


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
@pytest.mark.parametrize("width", [1280, 390, 320])
def test_nothing_overflows_and_no_request_leaves(page, width, tmp_path):
    measured = render(page, tmp_path, width)
    assert measured["width"] == width
    assert measured["page"] == width
    assert measured["beyond"] == []
    assert measured["hidden"] == []
    assert measured["unloaded"] == 0
    assert measured["images"] >= 5
    assert measured["type"] >= 16
    assert measured["requests"] == []
    assert measured["violations"] == []
    if width == 1280:
        assert max(measured["scrolled"]) == 0
