"""All that is written in figures can be read, in every kind and size, or is refused."""

import itertools
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from made_results import make_result
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.text import Text

from alphanet_jax.errors import UserError
from alphanet_jax.figures import KINDS, extents, fitting, load_kind
from alphanet_jax.figures.numbers import Sources, make_columns
from alphanet_jax.figures.style import make_style
from alphanet_jax.results import sets as result_sets
from alphanet_jax.results.datasets import DataFinder

WIDTHS = ("half", "full", "3")
ASPECTS = (None, 1.0, 2.0, 3.0, 4.0, 5.0)
# Kinds that draw or name classes, which may be many.
OF_CLASSES = (
    *("accuracy_vs_distance", "class_accuracy_and_samples", "class_changes"),
    "prediction_changes",
)
# Sizes at which no kind is refused.
ALWAYS = {
    *((width, aspect) for width in WIDTHS for aspect in (None, 1.0)),
    *(("full", aspect) for aspect in ASPECTS),
}
WORDS = ("killer whale", "crane", "cassette player", "sea snake", "maillot")


pytestmark = pytest.mark.usefixtures("closed_figures")


def make_sources(root, size):
    """Makes experiments of different rho, of as many classes.

    Three, of which one is in a second row; of many classes two, which take less time.
    """
    counts = np.random.default_rng(0).permutation(np.arange(size) + 2)
    order = np.argsort(counts)
    ends = [0, max(1, size // 7), max(2, 6 * size // 10), size]
    splits = {
        f"{name}_classes": np.sort(order[a:b]).astype(np.int32)
        for name, a, b in zip(("few", "medium", "many"), ends, ends[1:], strict=False)
    }
    paths = {}
    for seed, rho in enumerate((0.1, 0.5, 1.25)[: 2 if size > 100 else 3]):
        paths[f"rho {rho}"] = [root / f"{rho}/result.npz"]
        make_result(
            root / f"{rho}/result.npz",
            seed=seed,
            rho=rho,
            num_neighbors=min(size - 2, 3),
            class_counts=counts,
            label_names=[f"{WORDS[i % 5]} {i}" for i in range(size)],
            test_labels=np.repeat(np.arange(size), 4).astype(np.int32),
            **splits,
        )
    return paths


def make_numbers(name, paths):
    """Computes the numbers of a kind; those that need data are made up."""
    kind = load_kind(name)
    if name == "tradeoff":
        rows = [
            (method, knob, 30.0 + 9 * knob + i, 55.0 + i - 5 * knob, 54.0, 56.0, chosen)
            for i, method in enumerate(("alphanet", "alphanet_plus", "offset", "marc"))
            for knob, chosen in ((0.0, ""), (0.5, "overall"), (1.0, "harmonic"))
        ]
        names = ("method", "knob", "few", "overall", "overall_low", "overall_high")
        return {"": make_columns((*names, "chosen"), rows)}
    if name == "template_embedding":
        near = [(i, WORDS[i], *np.random.default_rng(i).normal(size=2)) for i in (1, 2)]
        ends = [("before", 0, "crane", 0, 0.0, 0.5), ("after", 0, "crane", 0, 1.0, 0.0)]
        ends += [("neighbor", i, word, i, x, y) for i, word, x, y in near]
        points = np.random.default_rng(0).normal(size=(9, 2))
        samples = [(0, i, x, y, 1, i % 3, 0, 0) for i, (x, y) in enumerate(points)]
        names = ("class", "name", "seed", "before", "after", "kind", "label")
        names = (*names, "label_name", "rank", "x", "y", "stress")
        return {
            "": make_columns(
                names, [(0, "crane", 0, 10.0, 60.0, *row, 0.1) for row in ends]
            ),
            "samples": make_columns(
                (
                    *("class", "sample", "x", "y", "before", "before_rank"),
                    *("after", "after_rank"),
                ),
                samples,
            ),
        }
    if kind.reads != "experiments":
        paths = {"all": [path for listed in paths.values() for path in listed]}
    sets = result_sets.load_sets(paths)
    options = {"splits": ["few"]} if name == "accuracy_vs_distance" else {}
    if hasattr(kind.numbers_options, "n_boot"):
        options["n_boot"] = 20
    if name == "class_examples":
        from PIL import Image

        files = []
        for place, size in enumerate(((30, 20), (20, 30), (40, 10))):
            files.append(str(next(iter(paths.values()))[0].parent / f"{place}.png"))
            Image.new("RGB", size, "teal").save(files[-1])
        options = {"srcs": files, "labels": list(WORDS[:3])}
        sets = []
    return kind.numbers(Sources(sets, DataFinder()), **options)


def drawn_texts(figure, monkeypatch):
    """Lists the texts that reach the renderer, whatever the figure knows of them."""
    found, within = [], []
    draw, draw_text = Text.draw, RendererAgg.draw_text

    def follow(self, renderer):
        within.append(self)
        draw(self, renderer)
        within.pop()

    def record(self, *given, **named):
        found.append(within[-1])
        draw_text(self, *given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Text, "draw", follow)
        patch.setattr(RendererAgg, "draw_text", record)
        figure.canvas.draw()
    return list(dict.fromkeys(found))


def check(figure, monkeypatch):
    """Checks that what is written is inside the figure, and apart from each other."""
    renderer = figure.canvas.get_renderer()
    texts = drawn_texts(figure, monkeypatch)
    boxes = [(t, extents.text_box(t, renderer)) for t in texts if t.get_text().strip()]
    assert boxes
    edge = 0.012 * figure.dpi
    for text, box in boxes:
        inside = box.x0 > -edge and box.x1 < figure.bbox.width + edge
        inside &= box.y0 > -edge and box.y1 < figure.bbox.height + edge
        assert inside, text.get_text()
    straight = [pair for pair in boxes if pair[0].get_rotation() % 90.0 == 0.0]
    for (one, a), (other, b) in itertools.combinations(straight, 2):
        # What letters leave of their boxes may touch.
        pad = 0.13 * min(a.height, a.width, b.height, b.width)
        apart = a.x1 - pad <= b.x0 + pad or b.x1 - pad <= a.x0 + pad
        apart |= a.y1 - pad <= b.y0 + pad or b.y1 - pad <= a.y0 + pad
        assert apart, (one.get_text(), other.get_text())


@pytest.fixture(scope="module")
def numbers_of(tmp_path_factory):
    """Numbers of every kind, by the number of classes."""
    made, paths = {}, {}

    def find(name, size):
        if size not in paths:
            root = tmp_path_factory.mktemp(f"classes_{size}")
            paths[size] = make_sources(root, size)
        if (name, size) not in made:
            made[name, size] = make_numbers(name, paths[size])
        return made[name, size]

    return find


def sizes():
    """Lists kinds, numbers of classes, widths and aspects; one of each kind is fast.

    A kind has every aspect, in widths that take turns: kinds that follow each other
    have other pairs, and all together have all of them.
    """
    for (turn, name), size, (place, aspect) in itertools.product(
        enumerate(KINDS), (3, 1000), enumerate(ASPECTS)
    ):
        if size == 1000 and (name not in OF_CLASSES or aspect in (1.0, 3.0)):
            continue
        # Where there are both, those of many classes have another width.
        width = WIDTHS[(turn + place + (size == 1000)) % len(WIDTHS)]
        fast = (size, aspect) == (3, 2.0)
        marks = () if fast else (pytest.mark.slow,)
        yield pytest.param(name, size, width, aspect, marks=marks)


def test_all_sizes_are_looked_at():
    drawn = {param.values for param in sizes()}
    pairs = {(width, aspect) for _, _, width, aspect in drawn}
    assert pairs == set(itertools.product(WIDTHS, ASPECTS))
    for name in KINDS:
        here = [values[2:] for values in drawn if values[0] == name]
        assert {width for width, _ in here} == set(WIDTHS)
        assert {aspect for _, aspect in here} == set(ASPECTS)


@pytest.mark.parametrize(("name", "size", "width", "aspect"), list(sizes()))
def test_every_kind_at_every_size(numbers_of, monkeypatch, name, size, width, aspect):
    # What size would do is not looked for here: it takes time.
    monkeypatch.setattr(fitting, "_most_aspect", lambda *given: None)
    monkeypatch.setattr(fitting, "_least_width", lambda *given: None)
    look = make_style("png", width=width, aspect=aspect)
    with look.applied():
        try:
            figure = load_kind(name).draw(numbers_of(name, size), look)
        except UserError as error:
            said = str(error)
        else:
            check(figure, monkeypatch)
            inches = figure.get_size_inches()
            assert inches[0] == pytest.approx(look.size()[0])
            if aspect is not None:
                assert inches[0] / inches[1] == pytest.approx(aspect)
            return
    assert (width, aspect) not in ALWAYS, said
    assert said.startswith(f"--width={width} --aspect={aspect:g} has no room for what")
    assert "\n" not in said


@pytest.mark.slow
def test_names_of_axes_are_broken_for_each_other(numbers_of, monkeypatch):
    """Lines of the y axis' name move the panel, and with it that of the x axis."""
    name = "accuracy_vs_distance"
    look = make_style("png", width="2.5", aspect=2.0)
    with look.applied():
        figure = load_kind(name).draw(numbers_of(name, 1000), look)
        check(figure, monkeypatch)
    assert "\n" in figure.axes[0].get_xlabel()
    assert "\n" in figure.axes[0].get_ylabel()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["accuracy_vs_rho"])
def test_a_legend_is_beside_where_it_has_room_there_alone(
    numbers_of, monkeypatch, name
):
    places = {}
    for aspect, options in ((1.5, {}), (3.0, {}), (1.5, {"legend_loc": "beside"})):
        look = make_style("png", width="half", aspect=aspect)
        with look.applied():
            figure = load_kind(name).draw(numbers_of(name, 3), look, **options)
            check(figure, monkeypatch)
            (legend,) = figure.legends
            box, panel = legend.get_window_extent(), figure.axes[0].bbox
            places[aspect, *options] = box.y0 >= panel.y1, box.x0 >= panel.x1
    above, beside = (True, False), (False, True)
    assert list(places.values()) == [above, beside, beside]


@pytest.mark.slow
def test_the_size_that_is_named_does(numbers_of):
    kind, numbers = load_kind("accuracy_vs_rho"), numbers_of("accuracy_vs_rho", 3)
    look = make_style("png", width="2", aspect=5.0)
    with look.applied(), pytest.raises(UserError) as caught:
        kind.draw(numbers, look)
    said = str(caught.value)
    assert said.startswith("--width=2 --aspect=5 has no room for what is drawn: ")
    named = re.search(
        r"the most is --aspect=([\d.]+) .*the least is --width=([\d.]+)$", said
    )
    aspect, width = float(named[1]), float(named[2])
    good = {"width": "2", "aspect": aspect}, {"width": f"{width}", "aspect": 5.0}
    # A step less does not do.
    bad = (
        {"width": "2", "aspect": aspect + 0.1},
        {"width": f"{width - 0.1:.1f}", "aspect": 5.0},
    )
    for changes in good:
        look = make_style("png", **changes)
        with look.applied():
            assert kind.draw(numbers, look)
    for changes in bad:
        look = make_style("png", **changes)
        with look.applied(), pytest.raises(UserError):
            kind.draw(numbers, look)


def test_what_can_not_be_read_is_found():
    figure, axes = plt.subplots(figsize=(3.0, 2.0))
    axes.set(xticks=[], yticks=[])
    texts = [
        figure.text(0.2, 0.5, "one thing"),
        figure.text(0.25, 0.52, "another"),
        figure.text(0.9, 0.2, "far too long a text"),
        figure.text(0.1, 0.05, "alone"),
        figure.text(0.2, 0.51, "hidden", visible=False),
    ]
    renderer = figure.canvas.get_renderer()
    assert extents.misfits(figure, renderer) == [
        "'far too long a text' is cut off",
        *(f"{pair} overlap" for pair in ("'one thing' and 'another'",)),
    ]
    for text in texts[1:3]:
        text.remove()
    assert not extents.misfits(figure, renderer)
    axes.set_position([0.2, 0.7, 0.6, 0.1])
    assert extents.misfits(figure, renderer) == [
        "a panel has only 1.80 x 0.20 inches left"
    ]


def test_labels_of_ticks_that_touch_are_found():
    figure, axes = plt.subplots(figsize=(3.0, 2.0))
    axes.set_xticks([0.0, 0.5, 1.0], ["few", "medium", "many"])
    renderer = figure.canvas.get_renderer()
    assert not extents.touching(figure, renderer)
    first, second, _ = (extents.text_box(t, renderer) for t in axes.get_xticklabels())
    # As far apart as half of both, and a pixel.
    apart = (first.width + second.width) / 2.0 + 1.0
    axes.set_xticks([0.0, apart / axes.bbox.width, 1.0])
    axes.set_xticklabels(["few", "medium", "many"])
    axes.set_xlim(0.0, 1.0)
    assert extents.touching(figure, renderer) == ["'few' and 'medium' touch"]


def test_each_legend_that_is_cut_off_is_found():
    figure, axes = plt.subplots(figsize=(3.0, 2.0))
    axes.set(xticks=[], yticks=[])
    (line,) = axes.plot([0.0, 1.0])
    for place in ("upper center", "lower center"):
        figure.legend([line], ["far too long a name " * 4], loc=place)
    found = extents.misfits(figure, figure.canvas.get_renderer())
    assert found.count("the legend is cut off") == 2


def test_slanted_texts_beside_each_other_do_not_overlap():
    figure = plt.figure(figsize=(3.0, 2.0))
    for place in range(4):
        x = 0.2 + 0.1 * place
        figure.text(x, 0.4, "slanted words", rotation=45.0, rotation_mode="anchor")
    renderer = figure.canvas.get_renderer()
    assert not extents.misfits(figure, renderer)
    figure.text(0.21, 0.4, "slanted words", rotation=45.0, rotation_mode="anchor")
    assert extents.misfits(figure, renderer) == [
        "'slanted words' and 'slanted words' overlap"
    ]


def test_one_of_the_figure_and_the_panel_has_an_aspect():
    with pytest.raises(UserError, match="--aspect=2 is the figure's, --panel_aspect=1"):
        make_style("png", aspect=2.0, panel_aspect=1.0)


def draw_at(kind, numbers, **changes):
    """Draws at a size, and does its layout."""
    look = make_style("png", **changes)
    with look.applied():
        figure = load_kind(kind).draw(numbers, look)
        figure.draw_without_rendering()
    return figure


def make_embedding(neighbors=5, classes=1):
    """Makes templates and samples of classes that have long names."""
    rng = np.random.default_rng(0)
    rows, samples = [], []
    for label in range(classes):
        name = f"great white shark {label}, white shark, man-eater, man-eating shark"
        near = [
            ("neighbor", 9 + i, f"electric ray {i}, crampfish, numbfish, torpedo", i)
            for i in range(1, neighbors + 1)
        ]
        shown = [("before", label, name, 0), ("after", label, name, 0), *near]
        rows += [
            (label, name, 0, 10.0, 60.0, *row, *rng.normal(size=2), 0.1)
            for row in shown
        ]
        samples += [
            (label, i, *rng.normal(size=2), 1, i % neighbors, 0, 0) for i in range(12)
        ]
    names = ("class", "name", "seed", "before", "after", "kind", "label")
    of_samples = ("class", "sample", "x", "y", "before", "before_rank", "after")
    return {
        "": make_columns((*names, "label_name", "rank", "x", "y", "stress"), rows),
        "samples": make_columns((*of_samples, "after_rank"), samples),
    }


@pytest.mark.parametrize(
    ("width", "aspect", "classes"),
    [
        ("half", 2.0, 1),
        *(
            pytest.param(*values, marks=pytest.mark.slow)
            for values in (
                *(("3", 2.0, 1), ("full", 3.0, 1), ("full", 5.0, 1)),
                *(("half", 1.0, 1), ("full", 2.0, 2), ("full", 3.0, 2)),
            )
        ),
    ],
)
def test_marks_in_the_plane_have_room(monkeypatch, width, aspect, classes):
    numbers = make_embedding(classes=classes)
    figure = draw_at("template_embedding", numbers, width=width, aspect=aspect)
    check(figure, monkeypatch)
    assert len(figure.axes) == 2 * classes
    for axes in figure.axes:
        side = min(axes.bbox.size)
        assert side / figure.dpi > 0.55
        # Also in a small panel marks are small.
        sizes = [line.get_markersize() * figure.dpi / 72.0 for line in axes.lines]
        assert max(sizes) < 0.2 * side
        for line in axes.lines:
            places = axes.transData.transform(line.get_xydata())
            half = line.get_markersize() * figure.dpi / 144.0
            assert (places - half > axes.bbox.min - 2.0).all()
            assert (places + half < axes.bbox.max + 2.0).all()
    # Every neighbor is named, by the first of its names.
    said = " ".join(text.get_text() for text in figure.findobj(Text))
    assert all(f"{i} electric ray {i}" in said for i in range(1, 6))
    assert "crampfish" not in said


@pytest.mark.slow
@pytest.mark.parametrize("aspect", [3.0, 4.0])
def test_a_plane_without_room_is_refused(monkeypatch, aspect):
    monkeypatch.setattr(fitting, "_most_aspect", lambda *given: None)
    monkeypatch.setattr(fitting, "_least_width", lambda *given: None)
    with pytest.raises(UserError, match=f"--aspect={aspect:g} has no room"):
        draw_at("template_embedding", make_embedding(), width="2", aspect=aspect)


def make_changes(names, panels=3):
    """Makes changes of as many classes as there are names, in three equal splits."""
    rng = np.random.default_rng(0)
    parts = np.array_split(np.arange(len(names)), 3)
    rows, means = [], []
    for panel in range(panels):
        name = f"rho {panel}"
        for split, part in zip(("few", "medium", "many"), parts, strict=True):
            changes = np.sort(rng.uniform(-60.0, 80.0, len(part)))[::-1]
            rows += [
                (name, split, rank, label, names[label], 9, 50.0, 50.0 + change, change)
                for rank, (label, change) in enumerate(zip(part, changes, strict=True))
            ]
            means.append((name, split, len(part), changes.mean()))
        means.append((name, "overall", len(names), np.mean([row[-1] for row in rows])))
    columns = ("experiment", "split", "rank", "class", "name", "samples", "before")
    return {
        "": make_columns((*columns, "after", "change"), rows),
        "means": make_columns(("experiment", "split", "classes", "change"), means),
    }


@pytest.mark.parametrize(
    ("width", "aspect", "panels", "count"),
    [
        ("half", 2.0, 1, 9),
        *(
            pytest.param(*values, marks=pytest.mark.slow)
            for values in (
                ("half", 1.0, 3, 30),
                *(("half", 2.0, 1, 900), ("half", 1.0, 3, 900), ("3", 2.0, 1, 3)),
                *(("full", 2.0, 3, 900), ("full", 5.0, 1, 30), ("3", 1.0, 1, 3)),
            )
        ),
    ],
)
def test_long_names_of_classes(monkeypatch, width, aspect, panels, count):
    synonyms = "man-eating shark, Carcharodon carcharias of the seas"
    names = [f"great white shark {i}, {synonyms}" for i in range(count)]
    numbers = make_changes(names, panels)
    figure = draw_at("class_changes", numbers, width=width, aspect=aspect)
    check(figure, monkeypatch)
    renderer = figure.canvas.get_renderer()
    named = [text for text in figure.findobj(Text) if "great" in text.get_text()]
    assert len(named) >= panels
    for text in named:
        # Not cut to a few letters, and not over an axis.
        assert text.get_text().replace("\n", " ").startswith("great white")
        box = extents.text_box(text, renderer)
        assert box.x0 > text.axes.bbox.x0 + 2.0
        assert box.x1 < text.axes.bbox.x1


@pytest.mark.slow
def test_split_names_of_panels_are_below_the_last_alone(monkeypatch):
    names = [f"class {i}" for i in range(9)]
    figure = draw_at("class_changes", make_changes(names), width="half", aspect=1.0)
    check(figure, monkeypatch)
    seen = {text.get_text() for text in drawn_texts(figure, monkeypatch)}
    assert {"Few (3)", "Medium (3)", "Many (3)"} <= seen
    shown = [len(axes.get_xticklabels()) > 0 for axes in figure.axes]
    assert shown == [False, False, True]


@pytest.mark.slow
@pytest.mark.parametrize("width", ["half", "3", "full"])
@pytest.mark.parametrize("aspect", [1.0, 2.0, 3.0])
def test_correlations_are_not_over_points(numbers_of, width, aspect):
    numbers = numbers_of("accuracy_vs_distance", 1000)
    figure = draw_at("accuracy_vs_distance", numbers, width=width, aspect=aspect)
    renderer = figure.canvas.get_renderer()
    for axes in figure.axes:
        points = np.concatenate(
            [
                axes.transData.transform(line.get_xydata())
                for line in axes.lines
                if line.get_linestyle() == "None"
            ]
        )
        for text in axes.texts:
            box = extents.text_box(text, renderer)
            inside = (points > box.min) & (points < box.max)
            assert not inside.all(axis=1).any(), text.get_text()


@pytest.mark.slow
def test_numbers_on_bands_are_on_their_own(numbers_of):
    """A band that falls steeply has no place for its number."""
    from matplotlib.patches import PathPatch

    numbers = numbers_of("prediction_changes", 3)
    figure = draw_at("prediction_changes", numbers, width="full", aspect=2.0)
    renderer = figure.canvas.get_renderer()
    found = 0
    for axes in figure.axes:
        bands = [patch for patch in axes.patches if isinstance(patch, PathPatch)]
        paths = [band.get_transform().transform_path(band.get_path()) for band in bands]
        for text in axes.texts:
            if not 0.0 < text.get_position()[0] < 1.0:
                continue  # beside a bar
            box = extents.text_box(text, renderer)
            # A part of letters' boxes is empty.
            pad = 0.15 * box.height
            corners = [
                (x, y)
                for x in (box.x0 + pad, box.x1 - pad)
                for y in (box.y0 + pad, box.y1 - pad)
            ]
            assert any(path.contains_points(corners).all() for path in paths)
            found += 1
    assert found


def test_panels_stand_in_rows_that_leave_no_holes():
    from alphanet_jax.figures.drawing import columns_that_fit

    def columns(width, whole, count, **options):
        look = make_style("png", width=width, aspect=whole)
        return columns_that_fit(look, count, **options)

    # A row of three, rather than two rows with a hole.
    assert columns("full", 2.0, 3, aspect=1.3) == 3
    assert columns("full", 1.0, 4, aspect=1.3) == 2
    # Narrow panels beside each other, rather than low ones.
    assert columns("3", 2.0, 2, aspect=1.6) == 2
    # But not where they are to be wide.
    assert columns("half", 1.0, 3, inches=3.0, aspect=1.6) == 1
    assert columns("full", 5.0, 3, inches=3.0, aspect=1.6) == 3


@pytest.mark.slow
@pytest.mark.parametrize("width", ["half", "full"])
def test_bars_of_many_classes_have_a_width(width):
    """Those that share one are averaged, by how many each stands for."""
    count, each = 250, 4
    rng = np.random.default_rng(0)
    before, after = rng.uniform(0.0, 100.0, (2, count))
    before[7] = after[7] = np.nan  # no test samples
    splits = np.repeat(["many", "medium", "few"], (400, 352, 248))
    ranks = np.arange(count * each)
    numbers = {
        "": {
            "experiment": np.full(len(ranks), "a"),
            "rank": ranks,
            "split": splits,
            "samples": 1000 - ranks,
        },
        "bars": {
            "experiment": np.full(count, "a"),
            "first": each * np.arange(count),
            "classes": np.full(count, each),
            "before": before,
            "after": after,
        },
    }
    figure = draw_at("class_accuracy_and_samples", numbers, width=width, aspect=1.5)
    axes = figure.axes[0]
    kept, gained, lost = (patch.get_data() for patch in axes.patches)
    edges = kept.edges + 0.5
    # No bar is of two splits.
    assert {0, 400, 752, 1000} <= set(edges.tolist())
    points = np.diff(kept.edges) * axes.bbox.width / figure.dpi * 72.0
    assert (points / np.ptp(axes.get_xlim())).min() > 1.0
    ends = (edges / each).astype(int)
    for place, (a, b) in enumerate(itertools.pairwise(ends)):
        if np.isnan(before[a:b]).all():
            assert np.isnan(kept.values[place])
            continue
        one, other = np.nanmean(before[a:b]), np.nanmean(after[a:b])
        assert kept.values[place] == pytest.approx(min(one, other))
        top = max(gained.values[place], lost.values[place])
        assert top == pytest.approx(max(one, other))
    most = int(np.diff(edges).max())
    assert axes.get_xlabel() == f"Classes, largest first (up to {most} a bar)"


@pytest.mark.slow
def test_bands_of_many_methods_are_left_out():
    from matplotlib.collections import FillBetweenPolyCollection

    names = ("method", "knob", "few", "overall", "overall_low", "overall_high")

    def count(methods):
        rows = [
            (method, knob, 30.0 + place, 50.0 - knob, 49.0, 51.0, "overall harmonic")
            for place, method in enumerate(methods)
            for knob in (0.0, 1.0)
        ]
        numbers = {"": make_columns((*names, "chosen"), rows)}
        axes = draw_at("tradeoff", numbers, width="full").axes[0]
        found = axes.findobj(FillBetweenPolyCollection)
        plt.close("all")
        return len(found)

    others = [f"method_{i}" for i in range(8)]
    assert count(["alphanet", *others[:5]]) == 6
    assert count(["alphanet", *others]) == 1
