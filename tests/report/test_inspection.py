"""The report from Python: `inspect_dataset`, `suggest_anchors`, and what follows from them."""

import json

import helpers  # first: it imports rpn_target before MXNet
import mxnet as mx
import numpy as np
import pytest
import report_helpers
from gluoncv.data import VOCDetection

import rpn_target
from rpn_target.core.lattice import Level, base_boxes
from rpn_target.core.settings import TargetSettings
from rpn_target.gluon.network import anchor_levels
from rpn_target.report.anchor_scheme import AnchorScheme, Recipe, recipe_of
from rpn_target.report.coverage import ABOVE, LOW_QUALITY, NEVER, Summary
from rpn_target.report.results import advice
from rpn_target.report.suggest import best_ious, other_numbers, search


class Bars:
    """Thin objects, which the usual anchors cover badly."""

    classes = ("bar", "pole")

    def __init__(self, length=16, seed=0, ratio=9.0):
        draw = np.random.RandomState(seed)
        self.decoded = []
        self.labels = []
        for _ in range(length):
            width = draw.uniform(50, 90, 2)
            height = width / ratio
            x, y = draw.uniform(0, 30, 2), draw.uniform(0, 80, 2)
            self.labels.append(np.c_[x, y, x + width, y + height, [0, 1]])

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        self.decoded.append(index)
        return mx.nd.zeros((100, 128, 3), dtype="uint8"), self.labels[index]


def test_figures_and_page_of_any_dataset(c4_net, tmp_path):
    dataset = Bars()
    before = [label.copy() for label in dataset.labels]
    states = helpers.random_states()
    report = rpn_target.inspect_dataset(dataset, c4_net, suggest_better=False, workers=0)
    assert helpers.random_states() == states
    helpers.assert_same(dataset.labels, before)
    assert dataset.decoded == list(range(16))  # once each
    figures = report.figures
    assert figures["images"]["count"] == 16
    assert figures["objects"]["all"]["objects"] == 32
    assert sorted(figures["objects"]["by_class"]) == ["bar", "pole"]
    assert figures["anchors"]["short"] == [100]
    assert figures["anchors"]["max_size"] == 200
    assert "suggestion" not in figures
    assert "32 objects" in str(report)

    page = report.page()
    assert page.startswith("<!DOCTYPE html>")
    report.save(str(tmp_path / "page.html"))
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == page
    notebook = report._repr_html_()
    assert notebook.startswith("<iframe")
    assert "<!DOCTYPE" not in notebook  # escaped, within the attribute


@pytest.mark.slow
def test_same_as_the_command(fpn_resnet50, tmp_path):
    report_helpers.write_voc(tmp_path, report_helpers.make_samples(8))
    command = report_helpers.figures_of(
        tmp_path, "--dataset", "voc", "--root", tmp_path, "--suggest",
        "--network", "faster_rcnn_fpn_resnet50_v1b_coco", "--short", 200,
    )  # fmt: skip

    class Dataset(VOCDetection):
        CLASSES = report_helpers.NAMES

    dataset = Dataset(root=str(tmp_path), splits=[("", "trainval")])
    dataset[0]
    decode = mx.image.imread
    mx.image.imread = None  # sizes are read without decoding
    try:
        report = rpn_target.inspect_dataset(dataset, fpn_resnet50, short=200)
    finally:
        mx.image.imread = decode
    for name in ("objects", "shapes", "settings", "suggestion"):
        assert json.loads(json.dumps(report.figures[name])) == command[name], name
    assert "jpeg;base64" in report.page()  # the gallery


def test_settings_sizes_and_limit(c4_net):
    report = rpn_target.inspect_dataset(
        Bars(), c4_net, short=(80, 120), max_size=150, limit=5, suggest_better=False,
        pos_iou_thresh=0.6, low_quality_matches="keep",
    )  # fmt: skip
    assert report.figures["images"]["count"] == 5
    assert report.figures["anchors"]["short"] == [80, 120]
    assert report.figures["settings"]["pos_iou_thresh"] == 0.6
    assert report.figures["objects"]["all"]["never"] == 0


def test_broken_items_are_named(c4_net):
    class Broken(Bars):
        def __getitem__(self, index):
            if index == 3:
                raise OSError("cannot be decoded")
            return super().__getitem__(index)

    figures = rpn_target.inspect_dataset(Broken(), c4_net, suggest_better=False).figures
    assert figures["images"]["count"] == 15
    assert figures["skipped"] == [{"image": "item 3", "reason": "cannot be decoded"}]


def test_labels_of_any_array_type(c4_net):
    class NDArrays(Bars):
        def __getitem__(self, index):
            image, label = super().__getitem__(index)
            return image, (mx.nd.array(label[:, :4]), np.zeros((0, 5)), [])[index % 3], "more"

    figures = rpn_target.inspect_dataset(NDArrays(6), c4_net, suggest_better=False).figures
    assert figures["objects"]["all"]["objects"] == 4
    assert figures["images"]["without_objects"] == 4
    assert list(figures["objects"]["by_class"]) == ["bar"]


REFUSED = {
    "empty": (lambda: [], {}, ValueError, "at least one item"),
    "no pair": (lambda: [1], {}, TypeError, r"items \(image, label\), but item 0 is 1"),
    "transformed": (
        lambda: [(np.zeros((3, 9, 9)), np.zeros((1, 5)))], {}, ValueError,
        "without the train transform",
    ),
    "label": (lambda: [(np.zeros((9, 9, 3)), np.zeros(3))], {}, ValueError, "label of item 0"),
    "setting": (Bars, {"pos_iou": 1}, TypeError, "pos_iou"),
    "threshold": (Bars, {"pos_iou_thresh": 2}, ValueError, "pos_iou_thresh"),
    "short": (Bars, {"short": -5}, ValueError, "short"),
    "max_size": (Bars, {"max_size": -1}, ValueError, "max_size"),
    "workers": (Bars, {"workers": -1}, ValueError, "workers"),
    "limit": (Bars, {"limit": 0}, ValueError, "limit"),
    "seed": (Bars, {"seed": 0.5}, TypeError, "seed"),
}  # fmt: skip


@pytest.mark.parametrize("call", ["inspect_dataset", "suggest_anchors"])
@pytest.mark.parametrize("case", REFUSED)
def test_bad_arguments_are_refused(case, call, c4_net):
    make, options, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        getattr(rpn_target, call)(make(), c4_net, **options)


def test_other_networks_are_refused():
    with pytest.raises(ValueError, match="net must be a Faster"):
        rpn_target.inspect_dataset(Bars(), mx.gluon.nn.Dense(2))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["c4_net", "fpn_net"])
def test_suggested_anchors_can_be_set_and_are_better(name, request):
    shared = request.getfixturevalue(name)
    before = [level.base for level in anchor_levels(shared)]
    dataset, aside = Bars(40), Bars(40, seed=1)
    suggestion = rpn_target.suggest_anchors(dataset, shared)
    assert suggestion == rpn_target.suggest_anchors(dataset, shared, workers=0)
    helpers.assert_same([level.base for level in anchor_levels(shared)], before)
    assert set(suggestion) == {"scales", "ratios", "base_size"}

    scheme = AnchorScheme.of_network("", shared)
    old = rpn_target.inspect_dataset(aside, shared, suggest_better=False).figures
    restore = scheme.recipe.keywords()
    try:
        assert rpn_target.set_anchors(shared, **suggestion) == ()
        new = rpn_target.inspect_dataset(aside, shared, suggest_better=False).figures
    finally:
        rpn_target.set_anchors(shared, **restore)
        shared.rpn.anchor_generator.initialize(force_reinit=True)
    old, new = old["objects"]["all"], new["objects"]["all"]
    assert new["above"] > old["above"]
    assert new["never"] < old["never"]


@pytest.mark.slow
def test_the_line_of_the_report_works(c4_net):
    report = rpn_target.inspect_dataset(Bars(40), c4_net)
    suggestion = report.figures["suggestion"]
    line = suggestion["after"]["call"]
    assert suggestion["better"]
    assert f"\n  {line}\n" in f"{report}\n"
    restore = AnchorScheme.of_network("", c4_net).recipe.keywords()
    try:
        exec(line, {"rpn_target": rpn_target, "net": c4_net})
        figures = rpn_target.inspect_dataset(Bars(40), c4_net, suggest_better=False).figures
    finally:
        rpn_target.set_anchors(c4_net, **restore)
        c4_net.rpn.anchor_generator.initialize(force_reinit=True)
    found = suggestion["after"]["keywords"]
    base = base_boxes(16, found["base_size"], found["ratios"], found["scales"])
    expected = sorted((base[:, 2:] - base[:, :2]).tolist())
    shapes = sorted([one["width"], one["height"]] for one in figures["shapes"])
    np.testing.assert_allclose(shapes, expected, rtol=1e-5)
    assert figures["objects"]["all"]["above"] >= suggestion["after"]["held_out"]["above"]


def test_what_cannot_be_improved_is_returned_as_it_is(c4_net):
    class Anchors(Bars):
        def __init__(self):
            self.decoded, self.labels = [], [np.array([[32, 32, 47, 47, 0]])] * 6

    suggestion = rpn_target.suggest_anchors(Anchors(), c4_net, short=100, max_size=200)
    assert suggestion == AnchorScheme.of_network("", c4_net).recipe.keywords()


def test_recipes_of_suggested_anchors_are_found():
    """So that a network can be looked at again after `set_anchors`."""
    draw = np.random.RandomState(0)
    for number in range(60):
        strides = (4, 8, 16, 32, 64) if number % 2 else (16,)
        count = 1 if number % 2 else 3
        scales = tuple(
            tuple(float(f"{x:.3g}") for x in sorted(draw.uniform(2, 20, count))) for _ in strides
        )
        ratios = tuple(float(f"{x:.3g}") for x in (draw.uniform(0.1, 0.3), 1, draw.uniform(2, 9)))
        levels = Recipe(strides, 16, scales, ratios).levels()
        found = recipe_of(levels)
        assert found is not None
        for one, other in zip(found.levels(), levels):
            np.testing.assert_allclose(one.base, other.base, atol=1e-3)


@pytest.mark.parametrize("strides", [(16,), (4, 8, 16, 32, 64)])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_recipes_of_ratios_that_round_alike_are_found(strides, kind):
    draw = np.random.RandomState(0)
    for number in range(60):
        count = 1 + number % 3
        ratio = draw.uniform(0.1, 6)
        ratios = (0.303, 1.34, 6.06) if number == 0 else (ratio, 1.01 * ratio, draw.uniform(1, 9))
        recipe = Recipe(
            strides, 16,
            tuple(tuple(round(x, 2) for x in draw.uniform(2, 20, count)) for _ in strides),
            tuple(float(f"{x:.3g}") for x in ratios),
        )  # fmt: skip
        levels = [Level(one.base.astype(kind), one.stride) for one in recipe.levels()]
        found = recipe_of(levels)
        assert found is not None, recipe
        for one, other in zip(found.levels(), levels):
            np.testing.assert_allclose(one.base, other.base, atol=1e-3)


def test_anchors_that_no_scales_make_get_no_suggestion_and_the_report_says_why(c4_net):
    generator = c4_net.rpn.anchor_generator
    base = anchor_levels(c4_net)[0].base
    before = generator.anchors.value
    depth = before.shape[-1] // 4
    moved = before + mx.nd.array(np.tile([0, 0, 3.3, 0], depth))  # wider to the right alone
    try:
        generator.anchors.set_data(moved)
        report = rpn_target.inspect_dataset(Bars(), c4_net, workers=0)
        with pytest.raises(ValueError, match="scales and ratios alone"):
            rpn_target.suggest_anchors(Bars(), c4_net)
    finally:
        generator.anchors.set_data(before)
    helpers.assert_same(anchor_levels(c4_net)[0].base, base)
    assert "suggestion" not in report.figures
    why = "No anchors can be suggested: anchors made from scales and ratios alone are needed"
    assert str(report).startswith(f"What to do\n  {why}")
    assert why in report.page()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["c4_net", "fpn_net"])
def test_every_number_of_anchors_comes_with_a_line_that_works(name, request):
    net = request.getfixturevalue(name)
    dataset = Bars(24)
    report = rpn_target.inspect_dataset(dataset, net, workers=0)
    rows = report.figures["suggestion"]["anchors_per_cell"]
    present = anchor_levels(net)[0].anchors_per_cell
    numbers = [one["anchors_per_cell"] for one in rows]
    assert numbers == sorted(set(numbers))
    assert numbers[0] < present < numbers[-1]
    assert [one["anchors_per_cell"] for one in rows if one["present_number"]] == [present]
    text, page = str(report), report.page()
    assert "Fewer or more anchors per cell" in text and "Fewer or more anchors per cell" in page
    assert "against anchors per cell" in page  # the plot
    strides = [level.stride for level in anchor_levels(net)]
    for one in rows:
        assert f"  {one['anchors_per_cell']}: {one['call']}\n" in text
        assert one["call"] in page.replace("&#x27;", "'")
        assert one["objects"] == report.figures["suggestion"]["after"]["held_out"]["objects"]
        # What set_anchors takes, without giving the shared network other convolutions.
        assert set_anchors_takes(net, one["keywords"])
        scales = one["keywords"]["scales"]
        scales = [scales] if len(strides) == 1 else [np.atleast_1d(x) for x in scales]
        base = [
            base_boxes(stride, 16, one["keywords"]["ratios"], of_level)
            for stride, of_level in zip(strides, scales)
        ]
        assert {len(boxes) for boxes in base} == {one["anchors_per_cell"]}
    json.dumps(report.figures, allow_nan=False)


def set_anchors_takes(net, keywords):
    """Tell whether a network can be given these anchors and its own again."""
    restore = AnchorScheme.of_network("", net).recipe.keywords()
    rpn = net.rpn
    head = rpn if hasattr(rpn, "score") else rpn.rpn_head
    old = head.score, head.loc
    rpn_target.set_anchors(net, **keywords)
    scheme = AnchorScheme.of_network("", net)
    rpn_target.set_anchors(net, **restore)
    head.score, head.loc = old
    rpn.anchor_generator.initialize(force_reinit=True)
    return scheme.recipe is not None


def test_more_anchors_are_no_worse_on_what_is_searched_with():
    dataset = Bars(40)
    scheme = AnchorScheme.of_recipe("", Recipe((16,), 16, ((2, 4),), (0.5, 1, 2)), (100,), 200)
    boxes = np.concatenate(dataset.labels)[:, :4].astype(np.float32)
    sizes = np.tile([128, 100], (len(boxes), 1))
    found = other_numbers(scheme.recipe, scheme.feature_maps, boxes, sizes, TargetSettings(), 0)
    count = {(len(one.scales[0]), len(one.ratios)): one for one in [*found, scheme.recipe]}
    assert set(count) == {(2, 1), (2, 2), (2, 3), (2, 4), (2, 5), (1, 3), (3, 3)}

    def learned(number):
        iou = best_ious(count[number].levels(), scheme.feature_maps, boxes, sizes)
        return (iou >= 0.3).sum() + (iou >= 0.7).sum()

    assert learned((2, 3)) <= learned((2, 4)) <= learned((2, 5))
    again = other_numbers(scheme.recipe, scheme.feature_maps, boxes, sizes, TargetSettings(), 0)
    assert again == found


def test_an_object_that_gains_twice_counts_once():
    def summary(*statuses):
        one = Summary(1, per_object=True)
        one.statuses = {number: np.array(codes) for number, codes in enumerate(statuses)}
        return one

    before = summary([NEVER, NEVER, ABOVE], [LOW_QUALITY])
    after = summary([ABOVE, LOW_QUALITY, LOW_QUALITY], [LOW_QUALITY])
    assert after.changed_since(before) == (2, 1)
    assert before.changed_since(after) == (1, 2)


def test_many_learned_at_the_cost_of_few_is_advised():
    remedy = {
        "remedy": "anchors", "how": "so", "objects": 1000, "never": 5, "above": 90, "won": 95,
        "more_above": -10, "better": 120, "worse": 35,
    }  # fmt: skip
    figures = {"settings": {"pos_iou_thresh": 0.7}, "suggestion": {"remedies": [remedy]}}
    line = (
        "anchors: 120 of 1,000 objects kept aside gain, 35 lose (95 more learned, 10 fewer at or "
        "above 0.7)"
    )
    assert advice(figures) == [(line, "so")]
    remedy["worse"] = 120
    assert advice(figures) == []


@pytest.mark.parametrize("strides", [(16,), (4, 8, 16, 32, 64)])
def test_search_keeps_what_it_cannot_improve(strides):
    scales = ((2, 4, 8),) if len(strides) == 1 else tuple((2 * 2**k,) for k in range(5))
    recipe = Recipe(strides, 16, scales, (0.5, 1, 2))
    scheme = AnchorScheme.of_recipe("", recipe, (600,), 1000)
    lattice = scheme.lattice(800, 600)
    valid = lattice.valid(800, 600)
    boxes = lattice.corners(valid.select(np.arange(0, len(valid), max(1, len(valid) // 50))))
    sizes = np.tile([800, 600], (len(boxes), 1))
    assert search(recipe, scheme.feature_maps, boxes, sizes, TargetSettings(), 0) == recipe
    iou = best_ious(recipe.levels(), scheme.feature_maps, boxes, sizes)
    np.testing.assert_allclose(iou, 1, atol=1e-4)


@pytest.mark.slow
def test_advice_is_ranked_and_honest(c4_net):
    report = rpn_target.inspect_dataset(Bars(40), c4_net)
    remedies = report.figures["suggestion"]["remedies"]
    gains = [one["better"] - one["worse"] for one in remedies]
    assert gains == sorted(gains, reverse=True)
    text = str(report)
    first = remedies[0]
    assert text.startswith(
        f"What to do\n  {first['remedy']}: {first['better']} of {first['objects']} objects kept "
        f"aside gain ({first['won']} more learned"
    )
    call = report.figures["suggestion"]["after"]["call"]
    anchors = next(one for one in remedies if one["how"] == call)
    assert (
        max(anchors["won"], anchors["more_above"])
        <= anchors["better"]
        < sum((anchors["won"], anchors["more_above"]))
    )
    assert report.page().index("What to do") < report.page().index("How well objects")
    for one in remedies:
        assert one["objects"] == report.figures["suggestion"]["after"]["held_out"]["objects"]
        helps = one["better"] > one["worse"]
        assert (f"  {one['remedy']}: " in text) == helps
    keep = rpn_target.inspect_dataset(
        Bars(40), c4_net, suggest_better=False, low_quality_matches="keep"
    )
    assert keep.figures["objects"]["all"]["never"] == 0
    assert any("low_quality_matches" in one["how"] and one["never"] == 0 for one in remedies)


def test_larger_images_are_measured_as_if_trained_at(fpn_net):
    dataset = Bars(12)
    report = rpn_target.inspect_dataset(dataset, fpn_net)
    larger = next(
        one for one in report.figures["suggestion"]["remedies"] if one["remedy"] == "larger images"
    )
    assert larger["how"] == "short=150, max_size=300"
    every = rpn_target.inspect_dataset(
        dataset, fpn_net, short=150, max_size=300, suggest_better=False
    ).figures["objects"]["all"]
    assert 0 <= larger["never"] <= every["never"]
    assert 0 <= larger["above"] <= every["above"]


def test_a_network_with_other_anchors_on_the_command_line(tmp_path, capsys):
    name = "faster_rcnn_resnet50_v1b_voc"
    photos = ("--dataset", "photos", "--network", name, "--limit", "3")
    own = report_helpers.figures_of(tmp_path, *photos)
    ratios = report_helpers.figures_of(tmp_path, *photos, "--ratios", "0.3", "1", "3")
    assert own["anchors"]["title"] == ratios["anchors"]["title"] == f"those of {name}"
    assert (
        ratios["anchors"]["arguments"].replace("0.3 1 3", "0.5 1 2")
        == (own["anchors"]["arguments"])
    )
    assert ratios["shapes"] != own["shapes"]
    capsys.readouterr()
    assert report_helpers.run("inspect", *photos, "--strides", "8") == 2
    assert "has strides 16" in capsys.readouterr().err


def test_sweep_of_sizes_is_a_report_at_each(c4_net, tmp_path):
    report = rpn_target.inspect_dataset(
        Bars(), c4_net, suggest_better=False, workers=0, sweep_short=(100, 200)
    )
    sweep = report.figures["sweep"]
    assert [(one["short"], one["max_size"]) for one in sweep] == [(100, 200), (200, 400)]
    for one in sweep:
        alone = rpn_target.inspect_dataset(
            Bars(), c4_net, short=one["short"], max_size=one["max_size"], suggest_better=False,
            workers=0,
        )  # fmt: skip
        assert one["objects"] == alone.figures["objects"]["all"]
    assert "Objects by the size of the images" in str(report)
    assert "At other image sizes" in report.page()
    with pytest.raises(ValueError, match="sweep_short must be"):
        rpn_target.inspect_dataset(Bars(), c4_net, sweep_short=(0,))


def test_sweep_on_the_command_line(tmp_path):
    report_helpers.write_voc(tmp_path, report_helpers.make_samples(4))
    figures = report_helpers.figures_of(
        tmp_path, "--dataset", "voc", "--root", tmp_path, "--sweep-short", 100, 600,
        "--short", 600, "--max-size", 1000,
    )  # fmt: skip
    assert [one["short"] for one in figures["sweep"]] == [100, 600]
    assert figures["sweep"][1]["objects"] == figures["objects"]["all"]
