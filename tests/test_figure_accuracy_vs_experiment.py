"""Accuracy of experiments beside each other, and text that has room there."""

import numpy as np
import pytest
from figure_sources import HAND, NoData, sources_of
from made_results import make_result

from alphanet_jax.errors import UserError
from alphanet_jax.figures import drawing, load_kind
from alphanet_jax.figures.numbers import (
    Sources,
    select,
)
from alphanet_jax.figures.style import make_style
from alphanet_jax.results import sets as result_sets

accuracy_vs_experiment = load_kind("accuracy_vs_experiment")
prediction_changes = load_kind("prediction_changes")


class TestAccuracyVsExperiment:
    def test_means_of_runs(self, tmp_path):
        sources = sources_of(tmp_path, b={"num_seeds": 3}, a={"seed": 7})
        table = accuracy_vs_experiment.numbers(sources)[""]
        # In the order in which they are given.
        assert table["experiment"].tolist() == ["b"] * 4 + ["a"] * 4
        assert table["split"].tolist() == ["few", "medium", "many", "overall"] * 2
        change = accuracy_vs_experiment.numbers(sources, y="acc_delta")[""]
        for runs in sources.sets:
            arrays = runs.files[0].arrays
            here = select(table, experiment=runs.name)
            values = 100.0 * np.append(
                arrays["test_acc_per_split"].mean(axis=0),
                arrays["test_accuracy"].mean(),
            )
            before = 100.0 * np.append(
                arrays["baseline_test_acc_per_split"], arrays["baseline_test_accuracy"]
            )
            np.testing.assert_allclose(here["accuracy"], values)
            np.testing.assert_allclose(here["baseline"], before)
            changed = select(change, experiment=runs.name)
            np.testing.assert_allclose(changed["accuracy"], values - before, atol=1e-9)
            assert set(here["runs"]) == {runs.num_runs}
            assert (here["low"] <= here["accuracy"]).all()
            assert (here["high"] >= here["accuracy"]).all()

    def test_options_of_the_bootstrap(self, tmp_path):
        sources = sources_of(tmp_path, a={"num_seeds": 6})
        usual = accuracy_vs_experiment.numbers(sources)[""]
        for options in ({"boot_seed": 1}, {"n_boot": 7}):
            other = accuracy_vs_experiment.numbers(sources, **options)[""]
            assert (other["accuracy"] == usual["accuracy"]).all()
            assert (other["low"] != usual["low"]).any()

    def mixed(self, tmp_path):
        """Two experiments, each with results of two distances."""
        paths = {}
        for name in ("1", "2"):
            paths[name] = []
            for seed, metric in enumerate(("euclidean", "cosine", "cosine")):
                path = tmp_path / name / str(seed) / "result.npz"
                make_result(path, seed=10 * seed + int(name), nn_dist=metric)
                paths[name].append(path)
        return Sources(result_sets.load_sets(paths), NoData())

    @pytest.mark.slow
    def test_a_panel_for_each_metric(self, tmp_path, drawn):
        sources = self.mixed(tmp_path)
        numbers = accuracy_vs_experiment.numbers(sources, col="metric")
        table = numbers[""]
        assert list(dict.fromkeys(table["panel"])) == ["Euclidean", "Cosine"]
        few = select(table, panel="Cosine", experiment="2", split="few")
        files = sources.sets[1].files[1:]
        values = [file.arrays["test_acc_per_split"][:, 0] for file in files]
        np.testing.assert_allclose(few["accuracy"], 100.0 * np.mean(values))
        assert few["runs"].tolist() == [4]
        figure = drawn(accuracy_vs_experiment, numbers)
        assert [axes.get_title() for axes in figure.axes] == ["Euclidean", "Cosine"]
        for col in ("none", "dataset"):
            with pytest.raises(UserError, match=r"experiment '1' has .*--col=metric"):
                accuracy_vs_experiment.numbers(sources, col=col)

    def test_a_panel_for_each_dataset(self, tmp_path):
        paths = {}
        for name in ("1", "2"):
            paths[name] = []
            for data in ("one", "two"):
                paths[name].append(tmp_path / name / data / "result.npz")
                make_result(
                    paths[name][-1],
                    seed=int(name),
                    dataset=data,
                    proper_name=data.title(),
                )
        sources = Sources(result_sets.load_sets(paths), NoData())
        table = accuracy_vs_experiment.numbers(sources, col="dataset")[""]
        assert list(dict.fromkeys(table["panel"])) == ["One", "Two"]
        assert table["dataset"].tolist() == table["panel"].tolist()
        for col in ("none", "metric"):
            with pytest.raises(UserError, match=r"several datasets.*--col=dataset"):
                accuracy_vs_experiment.numbers(sources, col=col)

    def test_drawing(self, tmp_path, drawn):
        numbers = accuracy_vs_experiment.numbers(
            sources_of(tmp_path, b={"num_seeds": 3}, a={"seed": 7})
        )
        axes = drawn(accuracy_vs_experiment, numbers).axes[0]
        assert [label.get_text() for label in axes.get_xticklabels()] == ["b", "a"]
        assert axes.get_xlabel() == "Experiment"
        assert axes.get_ylabel() == "Accuracy (%)"
        few = select(numbers[""], split="few")
        line = axes.containers[0].lines[0]
        assert line.get_xdata().tolist() == [0, 1]
        assert line.get_ydata().tolist() == few["accuracy"].tolist()
        dotted = [each for each in axes.lines if each.get_linestyle() == ":"]
        assert [each.get_ydata()[0] for each in dotted] == numbers[""]["baseline"][
            :4
        ].tolist()

    @pytest.mark.slow
    def test_an_experiment_that_one_panel_lacks(self, tmp_path, drawn):
        sources = sources_of(
            tmp_path, a={}, b={"nn_dist": "random"}, c={"nn_dist": "random"}, d={}
        )
        numbers = accuracy_vs_experiment.numbers(sources, col="metric", y="acc_delta")
        figure = drawn(accuracy_vs_experiment, numbers)
        places = [
            axes.containers[0].lines[0].get_xdata().tolist() for axes in figure.axes
        ]
        assert places == [[0, 3], [1, 2]]
        assert not any(
            line.get_linestyle() == ":" for axes in figure.axes for line in axes.lines
        )

    def test_a_split_without_samples(self, tmp_path, drawn):
        numbers = accuracy_vs_experiment.numbers(
            sources_of(tmp_path, a={"test_labels": np.int32([0, 1, 5, 8])})
        )
        assert np.isnan(select(numbers[""], split="many")["accuracy"]).all()
        figure = drawn(accuracy_vs_experiment, numbers)
        labels = [text.get_text() for text in figure.legends[0].get_texts()]
        assert labels == ["Few", "Medium", "Overall", "Baseline"]

    @pytest.mark.slow
    def test_drawing_options(self, tmp_path, drawn):
        numbers = accuracy_vs_experiment.numbers(self.mixed(tmp_path), col="metric")

        def draw(**options):
            return drawn(accuracy_vs_experiment, numbers, **options)

        figure = draw(col_wrap=1, legend_ncols=2)
        assert figure.axes[0].get_gridspec().ncols == 1
        assert [axes.get_xlabel() for axes in figure.axes] == ["", "Experiment"]
        assert figure.legends[0]._ncols == 2
        assert not any(axes.get_title() for axes in draw(show_titles=False).axes)
        assert not any(axes.get_xlabel() for axes in draw(show_xlabels=False).axes)
        assert not draw(legend_loc="none").legends
        for how in ("italic", "oblique"):
            label = draw(xlabel="k_$", xlabel_style=how).axes[0].xaxis.label
            assert label.get_text() == r"k_\$"
            assert label.get_fontstyle() == how
        label = draw(xlabel=r"\rho", xlabel_style="math").axes[0].xaxis.label
        assert label.get_text() == r"$\rho$"
        with pytest.raises(UserError, match="--xlabel: no formula"):
            draw(xlabel=r"\nothing{", xlabel_style="math")


class TestTextThatHasRoom:
    @pytest.mark.slow
    def test_tick_labels_turn(self, tmp_path, drawn):
        names = [f"experiment {number}" for number in range(9)]
        numbers = accuracy_vs_experiment.numbers(
            sources_of(tmp_path, **{name: {} for name in names})
        )
        figure = drawn(accuracy_vs_experiment, numbers)
        labels = figure.axes[0].get_xticklabels()
        assert {label.get_rotation() for label in labels} == {90.0}
        wide = drawn(accuracy_vs_experiment, numbers, changes={"width": "15"})
        labels = wide.axes[0].get_xticklabels()
        assert {label.get_rotation() for label in labels} == {0.0}

    @pytest.mark.slow
    def test_long_titles_take_several_lines(self, tmp_path, drawn):
        name = "a name of an experiment that is longer than a panel is wide"
        numbers = prediction_changes.numbers(
            sources_of(tmp_path, **{name: HAND, "short": HAND})
        )
        figure = drawn(prediction_changes, numbers)
        first, second = (axes.title for axes in figure.axes)
        assert first.get_text().replace("\n", " ") == name
        assert "\n" in first.get_text()
        renderer = figure.canvas.get_renderer()
        boxes = [title.get_window_extent(renderer) for title in (first, second)]
        assert boxes[0].x0 >= 0.0
        assert boxes[0].x1 < boxes[1].x0
        short = drawn(
            prediction_changes,
            prediction_changes.numbers(sources_of(tmp_path / "short", a=HAND, b=HAND)),
        )
        assert figure.bbox.height > short.bbox.height

    @pytest.mark.parametrize(
        ("width", "context", "columns"),
        [("half", "paper", 2), ("full", "paper", 4), ("full", "poster", 2)],
    )
    def test_columns(self, width, context, columns):
        style = make_style("png", width=width, context=context)
        assert drawing.columns_that_fit(style, 8) == columns
        assert drawing.columns_that_fit(style, 1) == 1

    def test_rows_are_as_long_as_each_other(self):
        style = make_style("png", width="full")
        assert [drawing.columns_that_fit(style, n) for n in (4, 5, 6, 9)] == [
            *(4, 3, 3, 3)
        ]
