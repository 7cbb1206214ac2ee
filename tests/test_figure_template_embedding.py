"""Templates and samples in the plane."""

import csv
import json
import sys
import types
import warnings

import made_data
import made_results
import numpy as np
import pytest

from alphanet_jax.commands import cli
from alphanet_jax.data import loading
from alphanet_jax.errors import UserError
from alphanet_jax.figures import style, templates
from alphanet_jax.figures.embedding import embed
from alphanet_jax.figures.kinds import template_embedding
from alphanet_jax.figures.kinds.template_embedding import KIND
from alphanet_jax.figures.numbers import Sources, select
from alphanet_jax.results import sets as result_sets

pytestmark = pytest.mark.usefixtures("closed_figures")


@pytest.fixture
def made(tmp_path):
    """A result, its arrays and its data: three few classes of seven samples."""
    rng = np.random.default_rng(3)
    arrays = made_results.make_result(tmp_path / "r/result.npz", num_seeds=3)
    data = types.SimpleNamespace(
        weight=rng.normal(size=(9, 4)).astype(np.float32),
        test=types.SimpleNamespace(
            features=rng.normal(size=(63, 4)).astype(np.float16),
            labels=arrays["test_labels"],
        ),
    )
    finder = types.SimpleNamespace(dataset=lambda file: data)
    sets = result_sets.load_sets({"r": [tmp_path / "r/result.npz"]})
    return Sources(sets, finder), arrays, data


def draw(numbers, look="png", **options):
    look = style.make_style(look)
    with look.applied():
        return KIND.draw(numbers, look, **options)


def distances(points):
    return np.linalg.norm(points[:, None] - points[None], axis=-1)


def test_points_of_a_plane_keep_their_distances(rng):
    plane = rng.normal(size=(12, 2)) @ rng.normal(size=(2, 7))
    found, stress = embed(plane, n_pcs=50, mds_iters=300)
    np.testing.assert_allclose(distances(found), distances(plane), atol=1e-6)
    assert stress < 1e-7


def test_scaling_improves_on_principal_components(rng):
    points = rng.normal(size=(20, 6))
    stresses = [embed(points, n_pcs=50, mds_iters=count)[1] for count in (1, 20, 300)]
    assert stresses[0] > stresses[1] > stresses[2] > 0.05
    found, stress = embed(points, n_pcs=50, mds_iters=300)
    flat = distances(found)
    errors = ((flat - distances(points)) ** 2).sum()
    assert stress == pytest.approx(np.sqrt(errors / (flat**2).sum()))


def test_few_principal_components_leave_the_rest_out(rng):
    points = rng.normal(size=(20, 6)) * [9.0, 9.0, 0.1, 0.1, 0.1, 0.1]
    found, stress = embed(points, n_pcs=2, mds_iters=300)
    centered = points - points.mean(axis=0)
    _, _, axes = np.linalg.svd(centered)
    np.testing.assert_allclose(
        distances(found), distances(centered @ axes[:2].T), atol=1e-6
    )
    assert stress < 1e-7


def test_one_dimension_and_equal_points():
    line = np.array([[0.0], [1.0], [3.0], [7.0]])
    found, _ = embed(line, n_pcs=50, mds_iters=300)
    np.testing.assert_allclose(distances(found), distances(line), atol=1e-6)
    found, stress = embed(np.ones((4, 3)), n_pcs=50, mds_iters=10)
    assert np.isfinite(found).all()
    assert stress == 0.0


def test_no_warnings_and_nothing_random(rng):
    points = rng.normal(size=(20, 6))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = embed(points, n_pcs=50, mds_iters=50)[0]
        assert (embed(points, n_pcs=50, mds_iters=50)[0] == first).all()


def test_directions_are_embedded(made, monkeypatch):
    sources, arrays, data = made
    seen = []

    def spy(points, **options):
        seen.append((points, options))
        return np.zeros((len(points), 2)), 0.5

    monkeypatch.setattr(template_embedding, "embed", spy)
    found = KIND.numbers(sources, run_seed=2, n_deltas=3, n_pcs=7, mds_iters=9)
    assert [options for _, options in seen] == [{"n_pcs": 7, "mds_iters": 9}] * 3
    for (points, _), label in zip(
        seen, dict.fromkeys(found[""]["class"].tolist()), strict=True
    ):
        row = arrays["few_classes"].tolist().index(label)
        weights = [data.weight[label], arrays["weight_few"][2, row]]
        weights += [data.weight[i] for i in arrays["neighbors"][row]]
        wanted = [w - data.weight.mean(axis=0) for w in weights]
        middle = data.test.features.astype(float).mean(axis=0)
        wanted += [
            data.test.features[i].astype(float) - middle
            for i in np.flatnonzero(arrays["test_labels"] == label)
        ]
        wanted = [w / np.linalg.norm(w) for w in wanted]
        np.testing.assert_allclose(points, wanted, rtol=1e-5)
    assert (found[""]["stress"] == 0.5).all()


def test_adding_to_all_templates_changes_nothing(made):
    """As for the classifier: scores of all classes change by the same."""
    sources, _, data = made
    before = KIND.numbers(sources)
    shift = np.array([3.0, -1.0, 2.0, 0.5], np.float32)
    data.weight = data.weight + shift
    file = sources.sets[0].files[0]
    moved = file.per_run("weight_few") + shift
    object.__setattr__(file, "per_run", _override(file, "weight_few", moved))
    after = KIND.numbers(sources)
    np.testing.assert_allclose(
        distances(np.stack([before[""][a] for a in "xy"], axis=1)),
        distances(np.stack([after[""][a] for a in "xy"], axis=1)),
        atol=1e-4,
    )


def _override(file, name, array):
    return lambda wanted: array if wanted == name else type(file).per_run(file, wanted)


@pytest.mark.parametrize(("run", "seed"), [(0, None), (2, 2)])
def test_tables_say_what_is_drawn(made, run, seed):
    sources, arrays, _ = made
    found = KIND.numbers(sources, run_seed=seed, n_deltas=3)
    labels, before = arrays["test_labels"], arrays["baseline_test_pred"]
    after = arrays["test_pred"][run]
    assert found[""]["seed"].tolist() == [run] * 12
    changes = []
    for label in dict.fromkeys(found[""]["class"].tolist()):
        here = select(found[""], **{"class": label})
        row = arrays["few_classes"].tolist().index(label)
        near = arrays["neighbors"][row].tolist()
        assert here["kind"].tolist() == ["before", "after", "neighbor", "neighbor"]
        assert here["label"].tolist() == [label, label, *near]
        assert here["rank"].tolist() == [0, 0, 1, 2]
        names = [made_results.LABEL_NAMES[i] for i in (label, label, *near)]
        assert here["label_name"].tolist() == names
        mine = labels == label
        wanted = [100.0 * np.mean(part[mine] == label) for part in (before, after)]
        assert [here["before"][0], here["after"][0]] == pytest.approx(wanted)
        changes.append(wanted[1] - wanted[0])
        samples = select(found["samples"], **{"class": label})
        assert samples["sample"].tolist() == np.flatnonzero(mine).tolist()
        for when, predictions in (("before", before), ("after", after)):
            assert samples[when].tolist() == predictions[mine].tolist()
            ranks = {label: 0, near[0]: 1, near[1]: 2}
            wanted = [ranks.get(p, -1) for p in predictions[mine].tolist()]
            assert samples[f"{when}_rank"].tolist() == wanted
    assert changes == sorted(changes, reverse=True)


def test_the_least_change(made):
    sources, _, _ = made
    found = [
        list(dict.fromkeys(KIND.numbers(sources, delta_type=t, n_deltas=3)[""]["name"]))
        for t in ("max", "min")
    ]
    assert found[0] == found[1][::-1]
    one = KIND.numbers(sources, delta_type="min")[""]["name"]
    assert set(one.tolist()) == {found[1][0]}


def test_a_class_without_test_samples_is_not_chosen(tmp_path, made):
    _, _, data = made
    labels = np.int32(np.repeat([0, 1, 2, 3, 5, 6, 7, 8], 7))
    path = tmp_path / "n/result.npz"
    made_results.make_result(path, test_labels=labels)
    finder = types.SimpleNamespace(dataset=lambda file: data)
    sources = Sources(result_sets.load_sets({"n": [path]}), finder)
    assert 4 not in KIND.numbers(sources, n_deltas=2)[""]["class"]
    with pytest.raises(
        UserError,
        match="--n_deltas must be at most 2, the number of few classes with test "
        "samples, got 3",
    ):
        KIND.numbers(sources, n_deltas=3)


def test_no_such_run(made):
    with pytest.raises(UserError, match=r"--run_seed=7: .* has the seeds 0, 1, 2$"):
        KIND.numbers(made[0], run_seed=7)


def test_scikit_learn_is_missing(made, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(UserError, match=r"pip install 'alphanet_jax\[plots\]'"):
        KIND.numbers(made[0])


def test_the_drawing(made):
    found = KIND.numbers(made[0], n_deltas=2)
    figure = draw(found)
    figure.draw_without_rendering()
    assert len(figure.subfigs) == 2
    name = found[""]["name"][0]
    first = figure.subfigs[0]
    assert first.get_suptitle() == name
    rows = select(found[""], name=name)
    titles = [axes.get_title() for axes in first.axes]
    assert titles == [
        f"Before ({rows['before'][0]:.0f}%)",
        f"After ({rows['after'][0]:.0f}%)",
    ]
    samples = select(found["samples"], **{"class": rows["class"][0]})
    for axes, when in zip(first.axes, ("before", "after"), strict=True):
        # A line for each kind of prediction there is, in the look of the legend.
        ranks = np.unique(samples[f"{when}_rank"])
        for line, rank in zip(axes.lines, ranks, strict=False):
            part = samples["x"][samples[f"{when}_rank"] == rank]
            assert line.get_xdata().tolist() == part.tolist()
        assert len(axes.lines) == len(ranks) + 2 + (1 if when == "before" else 2)
        ranks = [text.get_text() for text in axes.texts if text.get_text()]
        assert sorted(ranks) == ["1", "2"]
        (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
        for table in (rows, samples):
            assert ((table["x"] > left) & (table["x"] < right)).all()
            assert ((table["y"] > low) & (table["y"] < high)).all()
    labels = [text.get_text() for text in first.legends[0].get_texts()]
    near = select(rows, kind="neighbor")["label_name"].tolist()
    assert labels == [f"1 {near[0]}", f"2 {near[1]}"]


def test_neighbors_at_one_place_are_drawn(made):
    """The nearest is on top, with its rank."""
    found = KIND.numbers(made[0], n_deltas=1)
    rows = found[""]
    near = rows["kind"] == "neighbor"
    for name in ("x", "y"):
        rows[name][near] = rows[name][near].mean()
    figure = draw(found)
    for axes in figure.axes:
        shown = [text for text in axes.texts if text.get_text() and text.get_visible()]
        assert [text.get_text() for text in shown] == ["1"]


@pytest.mark.parametrize("name", ["png", "web_dark"])
def test_five_neighbors_have_colors_of_their_own(name):
    look = style.make_style(name)
    colors = [templates.mark_look(look, rank)["color"] for rank in range(-1, 6)]
    assert len(set(colors)) == 7
    assert look.cycle[-1] not in colors  # a gray, too much like that of others


def test_nothing_is_said_of_panels_of_another_shape(made, caplog):
    found = KIND.numbers(made[0])
    look = style.make_style("png", width="full", aspect=2.5)
    with look.applied():
        figure = KIND.draw(found, look)
        figure.canvas.draw()
    assert not caplog.records
    # All that is drawn is in the panels, and circles stay circles.
    for axes in figure.axes:
        low, high = axes.viewLim.min, axes.viewLim.max
        for line in axes.lines:
            assert (line.get_xydata() >= low).all()
            assert (line.get_xydata() <= high).all()
        scale = axes.bbox.size / axes.viewLim.size
        assert scale[0] == pytest.approx(scale[1])


def test_looks_of_ten_neighbors_are_told_apart():
    look = style.make_style("png")
    looks = [tuple(templates.mark_look(look, rank).values()) for rank in range(-1, 11)]
    assert len(set(looks)) == len({marker for _, marker in looks}) == 12


@pytest.mark.slow
def test_names_and_legends_stay_inside(made):
    found = KIND.numbers(made[0])
    names = found[""]["label_name"].astype("U99")
    names[2:] = "a class of iNaturalist with a name that is far too long for this"
    long = found | {"": found[""] | {"label_name": names}}
    figure = draw(long)
    figure.draw_without_rendering()
    for legend in (figure.legends[0], figure.subfigs[0].legends[0]):
        box = legend.get_window_extent()
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.width
    assert not draw(found, legend_loc="none").legends
    assert draw(found, legend_ncols=1).legends[0]._ncols == 1
    inside = draw(found, legend_loc="lower right")
    assert inside.subfigs[0].axes[1].get_legend()


def test_the_command(tmp_path, capsys, monkeypatch):
    data = made_data.make(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    loaded = loading.load_dataset(data.entry, data.root, val_group="")
    rng = np.random.default_rng(0)
    made_results.make_result(
        tmp_path / "r/result.npz",
        class_counts=loaded.class_counts,
        label_names=np.array(loaded.label_names),
        test_labels=loaded.test.labels,
        weight_few=rng.normal(size=(2, 2, 4)).astype(np.float32),
        file_hashes=np.asarray(json.dumps(dict(loaded.file_hashes))),
        settings={
            "registry": str(data.registry),
            "data_root": str(data.root),
            "training.val_datagrp": "",
        },
        **{f"{name}_classes": ids for name, ids in loaded.splits.items()},
    )

    def plot(*flags):
        command = ["main.py", "plot", "template_embedding", "--out=t.png", *flags]
        return cli.main(command), capsys.readouterr().err.splitlines()

    status, said = plot("--res_file=r/result.npz", "--run_seed=1")
    assert status == 0, said
    assert said[0] == "read 1 of 1: r, 1 file, 2 runs"
    rows = list(csv.DictReader((tmp_path / "t.csv").read_text().splitlines()))
    assert {row["seed"] for row in rows} == {"1"}
    for path in tmp_path.glob("t.*"):
        path.unlink()
    for flags, reason in (
        (
            (),
            "--res_file is missing, for example "
            "--res_file=results/quickstart/result.npz",
        ),
        (("--res_file=no.npz",), "no.npz: no such file"),
        (("--res_file=r",), "r: not a readable .npz file (Is a directory)"),
        (
            ("--res_file=r/result.npz", "--data_root=elsewhere"),
            "the data of r/result.npz is needed: ",
        ),
    ):
        status, said = plot(*flags)
        assert status == 1
        assert said[-1].startswith(f"error: {reason}")
    assert not list(tmp_path.glob("t.*"))
