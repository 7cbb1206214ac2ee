"""Kinds of figure that draw accuracy against rho."""

import itertools

import made_results
import numpy as np
import pytest
from figure_sources import read

from alphanet_jax.errors import UserError
from alphanet_jax.figures import (
    load_kind,
    splits,
    style,
)
from alphanet_jax.figures.numbers import select

accuracy_vs_rho = load_kind("accuracy_vs_rho")
change_vs_rho = load_kind("change_vs_rho")
PAPER_RHOS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 3.0)

pytestmark = pytest.mark.usefixtures("closed_figures")


def hand_accuracies(arrays):
    """Accuracy in percent of few, medium, many and all, of each run and before."""
    labels = arrays["test_labels"]
    parts = [arrays[f"{name}_classes"] for name in ("few", "medium", "many")]
    rows = []
    for predictions in [*arrays["test_pred"], arrays["baseline_test_pred"]]:
        hits = predictions == labels
        row = [
            100.0
            * sum(hits[labels == c].sum() for c in part)
            / sum((labels == c).sum() for c in part)
            for part in parts
        ]
        rows.append([*row, 100.0 * hits.mean()])
    return np.array(rows[:-1]), np.array(rows[-1])


@pytest.mark.parametrize("y", ["acc", "acc_delta"])
def test_accuracy_at_every_rho(sweep, y):
    sources = read(sweep, "s")
    found = accuracy_vs_rho.numbers(sources, y=y, n_boot=200, boot_seed=3)[""]
    arrays = [dict(file.arrays) for file in sources.sets[0].files]
    runs = [hand_accuracies(each) for each in arrays]
    groups = [(0.25, runs[1][0]), (1.0, np.concatenate([runs[0][0], runs[2][0]]))]
    rng, row = np.random.default_rng(3), 0
    for value, accuracies in groups:
        shown = accuracies - runs[0][1] if y == "acc_delta" else accuracies
        rows = rng.integers(len(shown), size=(200, len(shown)))
        means = np.array([shown[i].mean(axis=0) for i in rows])
        low, high = np.percentile(means, [2.5, 97.5], axis=0)
        for part, split in enumerate(("few", "medium", "many", "overall")):
            here = {name: column[row] for name, column in found.items()}
            assert (here["rho"], here["split"], here["y"]) == (value, split, y)
            assert here["accuracy"] == pytest.approx(shown[:, part].mean())
            assert here["low"] == pytest.approx(low[part])
            assert here["high"] == pytest.approx(high[part])
            assert here["baseline"] == pytest.approx(runs[0][1][part])
            assert here["runs"] == len(shown)
            row += 1
    assert row == len(found["rho"])
    other = accuracy_vs_rho.numbers(sources, y=y, n_boot=200, boot_seed=4)[""]
    assert (other["low"] != found["low"]).any()
    assert (other["accuracy"] == found["accuracy"]).all()


def test_a_split_without_test_samples_is_left_out(tmp_path):
    labels = np.repeat([0, 5, 7, 2, 3, 6], 7).astype(np.int32)
    made_results.make_result(tmp_path / "s/result.npz", test_labels=labels)
    found = accuracy_vs_rho.numbers(read(tmp_path, "s"))
    assert np.isnan(select(found[""], split="few")["accuracy"]).all()
    with style.make_style("png").applied():
        figure = accuracy_vs_rho.draw(found, style.make_style("png"))
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["Medium", "Many", "Overall", "Baseline"]
    change = accuracy_vs_rho.numbers(read(tmp_path, "s"), y="acc_delta")
    with style.make_style("png").applied():
        figure = accuracy_vs_rho.draw(change, style.make_style("png"))
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["Medium", "Many", "Overall"]


def test_rho_of_other_samplers_is_refused(tmp_path):
    setting = "training.sampler_builder.sampler_classes"
    made_results.make_result(
        tmp_path / "one/result.npz", settings={setting: ("AllFewSampler",)}
    )
    with pytest.raises(
        UserError,
        match=r"one/result\.npz: rho means something with AllFewSampler and one "
        r"sampler of base classes alone, but this result has AllFewSampler$",
    ):
        accuracy_vs_rho.numbers(read(tmp_path, "one"))
    for name, base in (("a", "ClassBalancedBaseSampler"), ("b", "AllBaseSampler")):
        made_results.make_result(
            tmp_path / f"two/{name}/result.npz",
            settings={setting: ("AllFewSampler", base)},
        )
    with pytest.raises(
        UserError,
        match=r"two/b/result\.npz and .*two/a/result\.npz differ in more than rho: "
        r"training\.sampler_builder\.sampler_classes .*AllBase.* and .*ClassBalanced",
    ):
        accuracy_vs_rho.numbers(read(tmp_path, "two"))


def test_runs_that_differ_in_more_than_rho_make_no_line(tmp_path):
    for name, rho, k in (("a", 0.5, 2), ("b", 1.0, 3)):
        path = tmp_path / f"s/{name}/result.npz"
        made_results.make_result(path, rho=rho, num_neighbors=k, seed=int(rho))
    for kind in (accuracy_vs_rho, change_vs_rho):
        with pytest.raises(
            UserError,
            match=r"differ in more than rho: training\.n_neighbors 3 and 2; choose "
            "with --res_files_pattern",
        ):
            kind.numbers(read(tmp_path, "s"))


def test_the_unchanged_classifier_has_no_rho(tmp_path):
    made_results.make_result(tmp_path / "s/a/result.npz", rho=0.1)
    alone = accuracy_vs_rho.numbers(read(tmp_path, "s"))[""]
    # Its config has a rho, and other settings, but it was not trained with them.
    made_results.make_unchanged(tmp_path / "s/b/result.npz", rho=0.1, num_neighbors=1)
    for kind in (accuracy_vs_rho, change_vs_rho):
        both = kind.numbers(read(tmp_path, "s"))[""]
        assert both["runs"].tolist() == alone["runs"].tolist() == [2] * 4
    made_results.make_unchanged(tmp_path / "none/result.npz")
    with pytest.raises(
        UserError, match="is of the unchanged classifier, which has no rho, and there"
    ):
        accuracy_vs_rho.numbers(read(tmp_path, "none"))


def test_rho_may_be_an_argument_of_the_sampler(tmp_path):
    setting = "training.sampler_builder.sampler_args"
    for seed, rho in enumerate(("0.25", "1.5")):
        made_results.make_result(
            tmp_path / f"s/{rho}/result.npz",
            seed=seed,
            settings={setting: ("", f"r={rho}")},
        )
    found = accuracy_vs_rho.numbers(read(tmp_path, "s"))[""]
    assert np.unique(found["rho"]).tolist() == [0.25, 1.5]


@pytest.mark.slow
def test_datasets_and_random_neighbors_apart(tmp_path):
    made = made_results.make_result
    arrays = {
        (name, kind, value): made(
            tmp_path / f"s/{name}{kind}{value}/result.npz",
            dataset=name,
            proper_name=f"the {name}",
            nn_dist=kind,
            rho=value,
            seed=seed,
        )
        for seed, (name, kind, value) in enumerate(
            [
                ("a", "euclidean", 0.5),
                ("a", "random", 0.5),
                ("a", "euclidean", 1.0),
                ("b", "cosine", 2.0),
            ]
        )
    }
    sources = read(tmp_path, "s")
    with pytest.raises(
        UserError,
        match="this figure is of one dataset, the results are of the a, the b; plot "
        "change_vs_rho takes several",
    ):
        accuracy_vs_rho.numbers(sources)
    found = change_vs_rho.numbers(sources)[""]
    for (name, metric, value), each in arrays.items():
        runs, before = hand_accuracies(each)
        here = select(
            found,
            experiment=f"the {name}",
            neighbors="random" if metric == "random" else "nearest",
            rho=value,
        )
        assert here["split"].tolist() == list(splits.PARTS)
        assert here["accuracy"] == pytest.approx(runs.mean(axis=0) - before)
    look = style.make_style("png")
    with look.applied():
        figure = change_vs_rho.draw({"": found}, look, col_wrap=1)
        assert [axes.get_title() for axes in figure.axes] == ["the a", "the b"]
        lines = [line for line in figure.axes[0].lines if len(line.get_xdata())]
        dashed = {line.get_linestyle() for line in lines}
        assert {"-", "--"} <= dashed
        # What is dashed, and hollow, is what the legend says.
        for kind, pattern in (("nearest", "-"), ("random", "--")):
            part = select(found, experiment="the a", neighbors=kind, split="few")
            (line,) = (
                line
                for line in lines
                if line.get_marker() == look.markers["few"]
                and line.get_ydata().tolist() == part["accuracy"].tolist()
            )
            assert line.get_linestyle() == pattern
            hollow = line.get_markerfacecolor() == look.background
            assert hollow == (kind == "random")
        labels = [text.get_text() for text in figure.legends[0].get_texts()]
        assert labels[4:] == ["Nearest neighbors", "Random neighbors"]
        patterns = [line.get_linestyle() for line in figure.legends[0].get_lines()]
        assert patterns[-2:] == ["-", "--"]
        assert figure.axes[0].get_gridspec().nrows == 2
        wide = change_vs_rho.draw({"": found}, look)
        assert wide.axes[0].get_gridspec().nrows == 1
        limits = [axes.get_ylim() for axes in wide.axes]
        assert limits[0] != limits[1]
        shared = change_vs_rho.draw({"": found}, look, sharey=True)
        limits = [axes.get_ylim() for axes in shared.axes]
        assert limits[0] == limits[1]


@pytest.mark.slow
def test_ticks_of_rho(sweep):
    found = accuracy_vs_rho.numbers(read(sweep, "s"))
    look = style.make_style("png")

    def labels(**options):
        with look.applied():
            axes = accuracy_vs_rho.draw(found, look, **options).axes[0]
            shown = [label.get_text() for label in axes.get_xticklabels()]
            return shown, axes.get_xticks().tolist(), axes.get_xticks(minor=True)

    assert labels()[:2] == (["0.25", "1"], [0.25, 1.0])
    shown, places, _ = labels(major_xticks=[0.5, 0.75])
    assert (shown, places) == (["0.5", "0.75"], [0.5, 0.75])
    shown, _, _ = labels(major_xticks=[0.5, 0.75], major_xticklabels=["$a", "b"])
    assert shown == [r"\$a", "b"]
    assert labels(minor_xticks=[0.3, 0.9])[2].tolist() == [0.3, 0.9]
    with pytest.raises(UserError, match="has 1 labels for 2 ticks"):
        labels(major_xticks=[0.5, 0.75], major_xticklabels=["a"])
    with pytest.raises(UserError, match="--major_xticklabels needs --major_xticks"):
        labels(major_xticklabels=["a"])


@pytest.mark.slow
@pytest.mark.parametrize("context", ["paper", "talk"])
@pytest.mark.parametrize("kind", [accuracy_vs_rho, change_vs_rho])
def test_labels_of_the_papers_rhos_do_not_overlap(tmp_path, kind, context):
    for value in PAPER_RHOS:
        for name in ("a", "b")[: 1 + (kind is change_vs_rho)]:
            made_results.make_result(
                tmp_path / f"s/{name}{value}/result.npz",
                rho=value,
                dataset=name,
                proper_name=name,
                num_seeds=1,
            )
    found = kind.numbers(read(tmp_path, "s"))
    look = style.make_style("png", context=context)
    with look.applied():
        figure = kind.draw(found, look)
        figure.draw_without_rendering()
        for axes in figure.axes:
            ticks = axes.xaxis.get_majorticklabels()
            boxes = [label.get_window_extent() for label in ticks if label.get_text()]
            assert len(boxes) >= 3
            for left, right in itertools.pairwise(boxes):
                assert left.x1 + 0.3 * left.height <= right.x0
            places = {*axes.get_xticks(), *axes.get_xticks(minor=True)}
            np.testing.assert_allclose(sorted(places), PAPER_RHOS)
