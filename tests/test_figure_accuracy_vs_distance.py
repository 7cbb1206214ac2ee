"""Accuracy of classes against the distance to their neighbors."""

import csv
import json

import made_data
import numpy as np
import pytest
import tools
from figure_sources import sources_of
from made_results import SPLITS, make_result

from alphanet_jax.commands import cli
from alphanet_jax.data import loading
from alphanet_jax.errors import UserError
from alphanet_jax.figures import load_kind, saving
from alphanet_jax.figures.numbers import Sources, select
from alphanet_jax.figures.style import make_style
from alphanet_jax.results import sets as result_sets
from alphanet_jax.results.datasets import DataFinder

accuracy_vs_distance = load_kind("accuracy_vs_distance")


class Means(DataFinder):
    """Knows the class means of a dataset that is not there."""

    MEANS = np.random.default_rng(9).normal(size=(9, 3)).astype(np.float32)

    def __init__(self):
        super().__init__()
        self.asked = 0

    def dataset(self, file):
        self.asked += 1
        return file.path

    def class_means(self, data):
        return self.MEANS

    @classmethod
    def distance(cls, one, other, metric="euclidean"):
        a, b = cls.MEANS[[one, other]].astype(np.float64)
        if metric == "cosine":
            return 1.0 - a @ b / np.sqrt((a @ a) * (b @ b))
        return np.sqrt(((a - b) ** 2).sum())


class TestAccuracyVsDistance:
    def sources(self, tmp_path, **results):
        return sources_of(tmp_path, **results)._replace(finder=Means())

    @pytest.fixture
    def usual(self, tmp_path):
        return self.sources(tmp_path, a={"num_seeds": 3})

    def test_few_classes(self, usual):
        arrays = usual.sets[0].files[0].arrays
        numbers = accuracy_vs_distance.numbers(usual, splits=["few"])
        table = numbers[""]
        assert usual.finder.asked == 0  # all is in the result
        assert table["run"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
        assert table["class"].tolist() == [1, 4, 8] * 3
        assert table["name"][:3].tolist() == ["bee", "elk", "ibis"]
        mean = arrays["neighbor_distances"].mean(axis=1)
        np.testing.assert_allclose(table["distance"], np.tile(mean, 3))
        change = arrays["test_acc_per_class"] - arrays["baseline_test_acc_per_class"]
        change = 100.0 * change[:, [1, 4, 8]].ravel()
        np.testing.assert_allclose(table["accuracy"], change, atol=1e-9)
        assert set(table["neighbors"]) == {2}
        lines, (r,) = numbers["lines"], numbers["correlations"]["r"]
        fit = np.polyfit(np.tile(mean, 3), change, 1)
        np.testing.assert_allclose(lines["y"], np.polyval(fit, lines["x"]))
        np.testing.assert_allclose(r, np.corrcoef(np.tile(mean, 3), change)[0, 1])
        assert numbers["correlations"]["points"].tolist() == [9]

    @pytest.mark.parametrize("metric", ["euclidean", "cosine"])
    def test_base_classes_have_the_nearest_few_classes(self, tmp_path, metric):
        sources = self.sources(tmp_path, a={"nn_dist": metric})
        for split, members in SPLITS.items():
            if split == "few":
                continue
            table = accuracy_vs_distance.numbers(sources, splits=[split])[""]
            assert table["class"].tolist() == [*members, *members]
            for label, distance in zip(table["class"], table["distance"], strict=True):
                found = sorted(Means.distance(label, f, metric) for f in SPLITS["few"])
                np.testing.assert_allclose(distance, np.mean(found[:2]), rtol=1e-5)
        base = accuracy_vs_distance.numbers(sources, splits=["base", "few", "base"])[""]
        assert list(dict.fromkeys(base["split"])) == ["base", "few"]
        classes_of_base = sorted([*SPLITS["medium"], *SPLITS["many"]])
        assert select(base, split="base")["class"].tolist() == classes_of_base * 2

    @pytest.mark.parametrize("metric", ["euclidean", "cosine"])
    def test_distances_to_random_neighbors_are_real(self, tmp_path, metric):
        neighbors = np.int32([[[0, 2], [3, 5], [7, 6]], [[6, 3], [2, 0], [5, 7]]])
        sources = self.sources(
            tmp_path, a={"nn_dist": "random", "neighbors": neighbors}
        )
        numbers = accuracy_vs_distance.numbers(
            sources, splits=["few"], dist_for_rand=metric
        )
        table = numbers[""]
        assert set(table["metric"]) == {metric}
        for run in range(2):
            for place, label in enumerate(SPLITS["few"]):
                (found,) = select(table, run=run, **{"class": label})["distance"]
                drawn = [
                    Means.distance(label, n, metric) for n in neighbors[run, place]
                ]
                np.testing.assert_allclose(found, np.mean(drawn))

    def test_accuracy_that_is_chosen(self, usual):
        arrays = usual.sets[0].files[0].arrays
        few = list(SPLITS["few"])

        def accuracy(acc):
            table = accuracy_vs_distance.numbers(usual, splits=["few"], acc=acc)[""]
            return table["accuracy"].reshape(3, 3)

        after = 100.0 * arrays["test_acc_per_class"][:, few]
        before = 100.0 * arrays["baseline_test_acc_per_class"][few]
        np.testing.assert_allclose(accuracy("alphanet"), after)
        np.testing.assert_allclose(accuracy("baseline"), [before] * 3)

    def test_means_over_runs(self, usual):
        arrays = usual.sets[0].files[0].arrays
        numbers = accuracy_vs_distance.numbers(
            usual, splits=["few"], acc="alphanet", r_group_classes=True
        )
        table = numbers[""]
        assert table["class"].tolist() == list(SPLITS["few"])
        assert np.isnan(table["run"]).all()
        means = 100.0 * arrays["test_acc_per_class"].mean(axis=0)[list(SPLITS["few"])]
        np.testing.assert_allclose(table["accuracy"], means)
        (r,) = numbers["correlations"]["r"]
        distances = arrays["neighbor_distances"].mean(axis=1)
        np.testing.assert_allclose(r, np.corrcoef(distances, means)[0, 1])

    def test_axes_the_other_way(self, usual):
        numbers = accuracy_vs_distance.numbers(usual, splits=["few"], dist_on_x=False)
        table, lines = numbers[""], numbers["lines"]
        fit = np.polyfit(table["accuracy"], table["distance"], 1)
        np.testing.assert_allclose(lines["y"], np.polyval(fit, lines["x"]))

    def test_bootstrap(self, usual):
        lines = [
            accuracy_vs_distance.numbers(usual, **how)["lines"]
            for how in ({}, {"boot_seed": 1}, {"n_boot": 30})
        ]
        for other in lines[1:]:
            np.testing.assert_array_equal(other["y"], lines[0]["y"])
            assert not np.array_equal(other["low"], lines[0]["low"])

    def test_several_files_and_numbers_of_neighbors(self, tmp_path):
        paths = [tmp_path / f"{k}.npz" for k in (1, 2)]
        for k, path in enumerate(paths, 1):
            make_result(path, num_neighbors=k, seed=k, num_seeds=1)
        sources = Sources(result_sets.load_sets({"a": paths}), Means())
        table = accuracy_vs_distance.numbers(sources)[""]
        assert table["neighbors"].tolist() == [1, 1, 1, 2, 2, 2, *[1] * 6, *[2] * 6]
        assert table["run"].tolist() == [0, 0, 0, 1, 1, 1, *[0] * 6, *[1] * 6]

    def test_classes_and_splits_without_test_samples(self, tmp_path, drawn):
        labels = np.int32([1, 1, 0, 0, 5])  # no many class, one few class
        sources = self.sources(tmp_path, a={"test_labels": labels})
        numbers = accuracy_vs_distance.numbers(sources, splits=["few", "many", "base"])
        assert set(numbers[""]["split"]) == {"few", "base"}
        # One few class: nothing to correlate.
        assert set(numbers["lines"]["split"]) == {"base"}
        assert [axes.get_title() for axes in self.panels(drawn, numbers)] == [
            "Few",
            "Base",
        ]
        alone = accuracy_vs_distance.numbers(sources, splits=["few"])
        (axes,) = self.panels(drawn, alone)
        assert not axes.texts
        with pytest.raises(UserError, match="no class of many has test samples"):
            accuracy_vs_distance.numbers(sources, splits=["many"])

    def test_too_few_few_classes(self, tmp_path):
        sources = self.sources(tmp_path, a={"num_neighbors": 3})
        accuracy_vs_distance.numbers(sources, splits=["few"])
        with pytest.raises(UserError, match=r"3 nearest few classes.* only 3"):
            accuracy_vs_distance.numbers(sources)

    @staticmethod
    def panels(drawn, numbers, **options):
        figure = drawn(accuracy_vs_distance, numbers, **options)
        return [axes for axes in figure.axes if axes.get_visible()]

    def test_drawing(self, usual, drawn):
        numbers = accuracy_vs_distance.numbers(usual)
        few, base = self.panels(drawn, numbers)
        assert [few.get_title(), base.get_title()] == ["Few", "Base"]
        assert few.get_ylim() == base.get_ylim()
        assert few.get_xlim() == base.get_xlim()
        part = select(numbers[""], split="few")
        points, line = few.lines[:2]
        np.testing.assert_array_equal(points.get_xdata(), part["distance"])
        np.testing.assert_array_equal(points.get_ydata(), part["accuracy"])
        part = select(numbers["lines"], split="few")
        np.testing.assert_array_equal(line.get_ydata(), part["y"])
        (r,) = select(numbers["correlations"], split="few")["r"]
        assert [text.get_text() for text in few.texts] == [f"$r = {r:.2f}$"]
        figure = few.figure
        assert figure.get_supxlabel() == "Mean Euclidean distance to 2 neighbors"
        assert figure.get_supylabel() == "Change in\naccuracy (points)"
        assert not figure.legends
        assert not few.spines["top"].get_visible()

    @pytest.mark.slow
    def test_options_of_the_drawing(self, usual, drawn):
        numbers = accuracy_vs_distance.numbers(usual, acc="alphanet")

        def panels(**options):
            return self.panels(drawn, numbers, **options)

        assert [len(axes.lines) for axes in panels(fit_reg=False)] == [1, 1]
        assert not any(axes.texts for axes in panels(plot_r=False))
        for place, (x, y) in {"upper left": (0, 1), "lower right": (1, 0)}.items():
            (text,) = panels(plot_r_loc=place)[0].texts
            assert text.xy == (x, y)
        assert panels(r_font_size=5.5)[0].texts[0].get_fontsize() == 5.5
        assert panels(despine=False)[0].spines["top"].get_visible()
        one, other = panels(sharex=False, sharey=False)
        assert one.get_xlim() != other.get_xlim()
        assert one.get_ylim() != other.get_ylim()
        one, other = panels(col_wrap=1)
        assert one.get_position().y0 > other.get_position().y1
        assert panels(rasterize_scatter=True)[0].lines[0].get_rasterized()
        assert not panels()[0].lines[0].get_rasterized()
        one, other = panels(xlim=[0.0, 9.0], ylim=[-5.0, 105.0])
        assert other.get_xlim() == (0.0, 9.0)
        assert other.get_ylim() == (-5.0, 105.0)
        (axes, _) = panels(
            xticks=[1.0, 2.0], xticklabels=["one", "2_$"], yticks=[50.0, 75.5]
        )
        assert [t.get_text() for t in axes.get_xticklabels()] == ["one", r"2_\$"]
        assert [t.get_text() for t in axes.get_yticklabels()] == ["50", "75.5"]
        labels = panels(yticks=[50.0], yticklabels=["half"])[0].get_yticklabels()
        assert [t.get_text() for t in labels] == ["half"]
        figure = panels(xlabel="near $", ylabel="good")[0].figure
        assert figure.get_supxlabel() == r"near \$"
        assert figure.get_supylabel() == "good"
        assert panels(add_axlabels=False)[0].figure.get_supxlabel() == ""
        axes = panels(log_xscale=True)[0]
        assert [axes.get_xscale(), axes.get_yscale()] == ["log", "linear"]

    @pytest.mark.slow
    def test_log_scale_of_accuracy(self, usual, drawn):
        numbers = accuracy_vs_distance.numbers(usual, acc="alphanet", splits=["base"])
        assert numbers[""]["accuracy"].min() > 0.0
        (axes,) = self.panels(drawn, numbers, log_yscale=True)
        assert axes.get_yscale() == "log"

    @pytest.mark.slow
    def test_points_as_pixels_of_pgf_are_beside_it(self, usual, tmp_path):
        tools.need_latex()
        numbers = accuracy_vs_distance.numbers(usual)
        made = {}
        for pixels in (False, True):
            made[pixels] = saving.save_figure(
                numbers,
                accuracy_vs_distance.draw,
                tmp_path / "figure",
                [make_style("paper")],
                options={"rasterize_scatter": pixels},
            )
        images = [path for path in made[True] if path.suffix == ".png"]
        assert [path.name for path in images] == ["figure-img0.png", "figure-img1.png"]
        assert not any(path.suffix == ".png" for path in made[False])
        text = (tmp_path / "figure.pgf").read_text()
        assert all(path.is_file() and path.name in text for path in images)

    @pytest.mark.slow
    def test_empty_panels(self, usual, drawn):
        # The original gave them values of a class, which was then missing.
        numbers = accuracy_vs_distance.numbers(usual)
        usual_axes = drawn(accuracy_vs_distance, numbers).axes
        for before, after in ((True, False), (False, True), (True, True)):
            figure = drawn(
                accuracy_vs_distance,
                numbers,
                add_dummy_before=before,
                add_dummy_after=after,
                col_wrap=4,
            )
            shown = [axes.get_visible() for axes in figure.axes]
            assert shown == [*[False] * before, True, True, *[False] * after]
            visible = [axes for axes in figure.axes if axes.get_visible()]
            for axes, same in zip(visible, usual_axes, strict=True):
                np.testing.assert_array_equal(
                    axes.lines[0].get_xydata(), same.lines[0].get_xydata()
                )
            assert visible[0].yaxis.get_tick_params()["labelleft"]

    @pytest.mark.slow
    def test_long_lists_of_correlations_are_outside(self, tmp_path, drawn):
        results = {name: {"seed": place} for place, name in enumerate("abcde")}
        numbers = accuracy_vs_distance.numbers(
            self.sources(tmp_path, **results), splits=["few"], n_boot=2
        )
        (axes,) = self.panels(drawn, numbers)
        edge = axes.get_window_extent().x1
        assert len(axes.texts) == 5
        assert all(text.get_window_extent().x0 > edge for text in axes.texts)
        (axes,) = self.panels(drawn, numbers, plot_r_loc="upper right")
        edge = axes.get_window_extent().x1
        assert all(text.get_window_extent().x0 < edge for text in axes.texts)

    @pytest.mark.slow
    def test_guide(self, usual, drawn):
        numbers = accuracy_vs_distance.numbers(usual)
        *panels, guide = self.panels(drawn, numbers, add_axes_guide=True, ylabel="gain")
        assert len(panels) == 2
        names = [text.get_text().replace("\n", " ") for text in guide.texts]
        assert names == ["gain", "Mean Euclidean distance to 2 neighbors"]
        assert guide.figure._supylabel is None
        for axes in panels:
            assert axes.yaxis.get_ticklocs().size  # shared, and still there

    def test_several_experiments(self, tmp_path, drawn):
        results = {name: {"seed": place} for place, name in enumerate(("a_$", "b"))}
        numbers = accuracy_vs_distance.numbers(
            self.sources(tmp_path, **results), splits=["few"]
        )
        (axes,) = self.panels(drawn, numbers, plot_r_loc="upper right")
        (legend,) = axes.figure.legends
        texts = [text.get_text() for text in legend.get_texts()]
        assert texts == [r"a_\$", "b"]
        first, second = axes.texts
        assert first.get_color() == axes.lines[0].get_color()
        assert first.get_color() != second.get_color()
        assert first.xyann[1] > second.xyann[1]
        (axes,) = self.panels(
            drawn,
            numbers,
            legend_loc="upper left",
            legend_ncols=2,
            legend_bbox_to_anchor=[1.0, 0.5],
        )
        legend = axes.get_legend()
        assert legend._ncols == 2
        anchor = axes.transAxes.inverted().transform(legend.get_bbox_to_anchor().p0)
        np.testing.assert_allclose(anchor, [1.0, 0.5])
        # Alone it says where the center is.
        (axes,) = self.panels(drawn, numbers, legend_bbox_to_anchor=[0.25, 0.5])
        legend = axes.get_legend()
        box = legend.get_window_extent().transformed(axes.transAxes.inverted())
        np.testing.assert_allclose([box.x0 + box.x1, box.y0 + box.y1], [0.5, 1.0])

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"xlim": [1.0]}, "--xlim must be two different numbers, got 1"),
            ({"ylim": [1.0, 1.0]}, "--ylim must be two different numbers, got 1 1"),
            (
                {"xlim": [0.0, 1.0], "log_xscale": True},
                "--xlim must be two different numbers, positive on a log axis",
            ),
            ({"log_yscale": True}, "--log_yscale needs positive values, but the least"),
            ({"xticklabels": ["a"]}, "--xticklabels needs --xticks"),
            (
                {"yticks": [1.0], "yticklabels": ["a", "b"]},
                "--yticklabels has 2 labels for 1 ticks",
            ),
            ({"legend_bbox_to_anchor": [1.0]}, "--legend_bbox_to_anchor takes"),
            (
                {"legend_bbox_to_anchor": [1.0, 1.0], "legend_loc": "beside"},
                "--legend_bbox_to_anchor takes",
            ),
        ],
    )
    def test_errors(self, usual, drawn, options, message):
        numbers = accuracy_vs_distance.numbers(usual)
        with pytest.raises(UserError, match=message):
            self.panels(drawn, numbers, **options)

    @pytest.mark.slow
    def test_command_with_data(self, tmp_path, capsys):
        made = made_data.make(tmp_path / "data")
        data = loading.load_dataset(made.entry, made.root)
        result = {
            "dataset": "made",
            "num_neighbors": 1,
            "nn_dist": "random",
            "settings": {"registry": str(made.registry), "data_root": str(made.root)},
            "file_hashes": json.dumps(dict(data.file_hashes)),
            "label_names": data.label_names,
            "class_counts": data.class_counts,
            "test_labels": data.test.labels,
            **{f"{split}_classes": ids for split, ids in data.splits.items()},
        }
        make_result(tmp_path / "res" / "result.npz", **result)
        out = tmp_path / "figure.pdf"
        arguments = ["main.py", "plot", "accuracy_vs_distance"]
        arguments += [f"--base_res_dir={tmp_path / 'res'}", f"--out={out}"]
        options = ["--splits", "few", "many", "--xlim", "0", "9", "--nosharey"]
        assert cli.main([*arguments, *options]) == 0
        with out.with_suffix(".csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [(row["split"], row["class"]) for row in rows] == [
            *[("few", "0"), ("few", "3")] * 2,
            *[("many", "2"), ("many", "5")] * 2,
        ]
        labels = data.train.labels
        means = [
            data.train.features[labels == label].mean(axis=0) for label in range(6)
        ]
        found = min(np.linalg.norm(means[2] - means[few]) for few in (0, 3))
        np.testing.assert_allclose(float(rows[4]["distance"]), found, rtol=1e-5)

        capsys.readouterr()
        out.unlink()
        missing = [*arguments, f"--data_root={tmp_path / 'none'}"]
        assert cli.main(missing) == 1
        error = capsys.readouterr().err.splitlines()[-1]
        assert "is needed" in error
        assert "--data_root and --registry" in error
        assert not out.exists()
