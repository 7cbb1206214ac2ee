"""Densities of coefficients."""

import csv

import made_results
import numpy as np
import pytest
from figure_sources import read
from scipy import stats

from alphanet_jax.commands import cli
from alphanet_jax.errors import UserError
from alphanet_jax.figures import style
from alphanet_jax.figures.kinds.alphas import KIND
from alphanet_jax.figures.numbers import select

pytestmark = pytest.mark.usefixtures("closed_figures")


@pytest.fixture
def sources(tmp_path):
    """Two experiments, with two and three neighbors."""
    made_results.make_result(tmp_path / "a/result.npz", num_neighbors=2)
    made_results.make_result(tmp_path / "b/result.npz", num_neighbors=3, seed=7)
    return read(tmp_path, "a", "b")


def draw(numbers, name="png", **options):
    look = style.make_style(name)
    with look.applied():
        return KIND.draw(numbers, look, **options)


def test_the_density_is_that_of_all_classes_and_runs(sources):
    found = KIND.numbers(sources)
    values = sources.sets[1].runs("alphas")[:, :, 3].astype(float).ravel()
    curve = select(found[""], experiment="b", rank=3)
    assert curve["x"].min() == -1.0
    assert curve["x"].max() == 1.0
    # By hand: a Gaussian of Scott's width at every value.
    width = values.std(ddof=1) * len(values) ** -0.2
    slow = [
        np.mean(np.exp(-0.5 * ((x - values) / width) ** 2))
        / (width * np.sqrt(2.0 * np.pi))
        for x in curve["x"]
    ]
    np.testing.assert_allclose(curve["density"], slow, rtol=1e-9)
    mean = select(found["means"], experiment="b", rank=3)
    assert mean["mean"] == [pytest.approx(values.mean())]
    assert mean["density"] == [
        pytest.approx(stats.gaussian_kde(values)(values.mean())[0])
    ]
    assert (mean["classes"][0], mean["runs"][0]) == (3, 2)
    ranks = [
        select(found["means"], experiment=name)["rank"].tolist() for name in ("a", "b")
    ]
    assert ranks == [[1, 2], [1, 2, 3]]
    assert "parts" not in found


def test_a_narrow_density_is_not_missed_by_the_points(tmp_path):
    narrow = np.random.default_rng(0).normal(0.1234, 1e-4, (2, 3, 3))
    made_results.make_result(tmp_path / "n/result.npz", alphas=np.float32(narrow))
    curve = select(KIND.numbers(read(tmp_path, "n"))[""], rank=1)
    assert np.trapezoid(curve["density"], curve["x"]) == pytest.approx(1.0, abs=0.01)


def test_coefficients_without_a_density_are_parts(tmp_path):
    ones = np.ones((2, 3, 2))
    ones[0, :2, 1] = -1.0
    made_results.make_result(tmp_path / "one/result.npz", alphas=ones, num_neighbors=1)
    found = KIND.numbers(read(tmp_path, "one"))
    assert found["parts"]["x"].tolist() == [-1.0, 1.0]
    assert found["parts"]["part"].tolist() == [2 / 6, 4 / 6]
    assert found["means"]["mean"].tolist() == [pytest.approx(2 / 6)]
    assert np.isnan(found["means"]["density"]).all()
    figure = draw(found)
    axes = figure.axes[0]
    spikes = [line.get_xydata().tolist() for line in axes.lines[:2]]
    assert spikes == [[[-1, 0], [-1, 2 / 6]], [[1, 0], [1, 4 / 6]]]
    assert axes.get_ylabel() == "Part"
    # No curve has a marker at its mean.
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["1st neighbor"]


def test_ranks_are_chosen(sources):
    found = KIND.numbers(sources, source_idxs=[3, 1, 3])
    assert np.unique(found[""]["rank"]).tolist() == [1, 3]
    assert select(found["means"], experiment="a")["rank"].tolist() == [1]
    figure = draw(found)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["1st neighbor", "3rd neighbor", "Means"]
    assert figure.legends[0].legend_handles[-1].get_linestyle() == "None"
    for rank in (0, 4):
        with pytest.raises(
            UserError,
            match=f"--source_idxs must be ranks of neighbors from 1 to 3, got {rank}",
        ):
            KIND.numbers(sources, source_idxs=[rank])


def test_the_unchanged_classifier_has_learned_nothing(tmp_path):
    made_results.make_unchanged(tmp_path / "none/result.npz")
    made_results.make_result(tmp_path / "a/result.npz")
    found = KIND.numbers(read(tmp_path, "none", "a"))
    assert set(found["means"]["experiment"]) == {"a"}
    with pytest.raises(
        UserError, match=r"none/result\.npz is of the unchanged classifier: no coeff"
    ):
        KIND.numbers(read(tmp_path, "none"))


@pytest.mark.parametrize(("ranks", "areas"), [(3, 3), (4, 0)])
def test_areas_of_many_curves_are_left_out(ranks, areas):
    x = np.linspace(-1.0, 1.0, 5)
    key = {"experiment": np.full(ranks, "a"), "dataset": np.full(ranks, "d")}
    key["rank"] = np.arange(ranks) + 1
    zeros = np.zeros(ranks)
    curves = {name: np.repeat(column, 5) for name, column in key.items()}
    curves |= {"x": np.tile(x, ranks), "density": np.tile(1.0 - x**2, ranks)}
    found = {"": curves, "means": key | {"mean": zeros, "density": zeros + 1.0}}
    axes = draw(found).axes[0]
    assert len(axes.collections) == areas
    assert len([line for line in axes.lines if len(line.get_xdata()) == 5]) == ranks


def test_a_panel_for_each_experiment_with_its_curves(sources):
    found = KIND.numbers(sources)
    figure = draw(found)
    assert [axes.get_title() for axes in figure.axes] == ["a", "b"]
    assert figure.get_supylabel() == "Density"
    first = figure.axes[0]
    assert first.get_xlim() == (-1.0, 1.0)
    assert len(first.collections) == 2
    curve = select(found[""], experiment="a", rank=1)
    np.testing.assert_array_equal(first.lines[0].get_ydata(), curve["density"])
    looks = {(line.get_color(), line.get_linestyle()) for line in first.lines[0:4:2]}
    assert len(looks) == 2
    markers = [line for line in first.lines if line.get_marker() not in ("", "None")]
    means = select(found["means"], experiment="a")
    assert [line.get_xdata()[0] for line in markers] == means["mean"].tolist()


@pytest.mark.slow
def test_options_of_the_drawing(sources):
    found = KIND.numbers(sources)

    def rows(figure):
        return figure.axes[0].get_gridspec().nrows

    assert [rows(draw(found, col_wrap=n)) for n in (0, 1, 2)] == [1, 2, 1]
    limits = [axes.get_ylim() for axes in draw(found, sharey=True).axes]
    assert limits[0] == limits[1]
    limits = [axes.get_ylim() for axes in draw(found).axes]
    assert limits[0] != limits[1]
    assert not draw(found, legend_loc="none").legends
    assert draw(found, legend_loc="upper left").axes[0].get_legend() is not None
    assert draw(found, legend_ncols=1).legends[0]._ncols == 1


def test_ten_ranks_are_told_apart(tmp_path):
    splits = {"few": (0, 1), "medium": range(2, 8), "many": range(8, 14)}
    made_results.make_result(
        tmp_path / "ten/result.npz",
        num_neighbors=10,
        class_counts=np.arange(14),
        label_names=np.array([f"c{i}" for i in range(14)]),
        test_labels=np.arange(14),
        **{f"{name}_classes": np.int32(ids) for name, ids in splits.items()},
    )
    figure = draw(KIND.numbers(read(tmp_path, "ten")))
    *handles, means = figure.legends[0].legend_handles
    assert means.get_linestyle() == "None"
    looks = {(h.get_color(), str(h._unscaled_dash_pattern)) for h in handles}
    assert len(looks) == len({h.get_marker() for h in handles}) == 10
    width = figure.legends[0].get_window_extent().width
    assert width < figure.bbox.width


@pytest.mark.slow
def test_the_command(tmp_path, capsys):
    for name in ("a", "b"):
        made_results.make_result(tmp_path / f"r/{name}/result.npz", rho=len(name) / 2)
    out = tmp_path / "figure.pdf"
    status = cli.main(
        [
            "main.py",
            "plot",
            "alphas",
            f"--base_res_dir={tmp_path / 'r'}",
            "--exp_sub_dirs",
            "a",
            "b",
            "--exp_names",
            "the $first_&%",
            "second",
            "--source_idxs",
            "2",
            f"--out={out}",
        ]
    )
    assert status == 0, capsys.readouterr().err
    assert out.read_bytes().startswith(b"%PDF")
    text = (tmp_path / "figure.means.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    assert [row["experiment"] for row in rows] == ["the $first_&%", "second"]
    assert {row["rank"] for row in rows} == {"2"}
