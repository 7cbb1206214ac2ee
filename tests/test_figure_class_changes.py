"""Change in the accuracy of every class, sorted within its split."""

import csv

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from made_results import LABEL_NAMES, SPLITS, make_result

from alphanet_jax import cli, result_sets
from alphanet_jax.errors import UserError
from alphanet_jax.figures import class_changes
from alphanet_jax.figures.numbers import Sources, select
from alphanet_jax.figures.style import make_style
from alphanet_jax.result_data import DataFinder


def sources_of(directory, **results):
    """Writes results, each an experiment, and loads them."""
    paths = {}
    for name, arguments in results.items():
        paths[name] = [directory / name / "result.npz"]
        make_result(paths[name][0], **arguments)
    return Sources(result_sets.load_sets(paths), DataFinder())


@pytest.fixture
def drawn():
    """Draws numbers, and closes the figures after the test."""
    import matplotlib.pyplot as plt

    figures = []

    def draw(numbers, **options):
        style = make_style("png")
        with style.applied():
            figures.append(class_changes.draw(numbers, style, **options))
            figures[-1].draw_without_rendering()
        return figures[-1]

    yield draw
    for figure in figures:
        plt.close(figure)


def test_hand_worked(tmp_path):
    # Class 1 (few) from 1/2 to 1 and 1/2, class 4 (few) from 0 to 1 and 1, class 0
    # (medium) from 1 to 1/2 and 1, class 2 (many) stays at 1; others are not tested.
    labels = np.int32([1, 1, 4, 0, 0, 2])
    sources = sources_of(
        tmp_path,
        a={
            "test_labels": labels,
            "baseline_test_pred": np.int32([1, 0, 3, 0, 0, 2]),
            "test_pred": np.int32([[1, 1, 4, 0, 3, 2], [1, 0, 4, 0, 0, 2]]),
        },
    )
    numbers = class_changes.numbers(sources)
    table = numbers[""]
    assert table["class"].tolist() == [4, 1, 0, 2]
    assert table["name"].tolist() == ["elk", "bee", "ant", "cat"]
    assert table["split"].tolist() == ["few", "few", "medium", "many"]
    assert table["rank"].tolist() == [0, 1, 0, 0]
    assert table["samples"].tolist() == [12, 5, 60, 400]
    assert table["before"].tolist() == [0.0, 50.0, 100.0, 100.0]
    assert table["after"].tolist() == [100.0, 75.0, 75.0, 100.0]
    assert table["change"].tolist() == [100.0, 25.0, -25.0, 0.0]
    means = numbers["means"]
    assert means["split"].tolist() == ["few", "medium", "many", "overall"]
    assert means["classes"].tolist() == [2, 1, 1, 4]
    assert means["change"].tolist() == [62.5, -25.0, 0.0, 25.0]


def test_changes_are_those_of_the_result(tmp_path):
    sources = sources_of(tmp_path, a={"num_seeds": 3}, b={"seed": 5, "rho": 0.1})
    numbers = class_changes.numbers(sources)
    for name in "ab":
        arrays = sources.sets["ab".index(name)].files[0].arrays
        change = 100.0 * (
            arrays["test_acc_per_class"].mean(0) - arrays["baseline_test_acc_per_class"]
        )
        for split, classes in SPLITS.items():
            part = select(numbers[""], experiment=name, split=split)
            assert sorted(part["class"].tolist()) == sorted(classes)
            np.testing.assert_allclose(part["change"], change[part["class"]], atol=1e-9)
            assert (np.diff(part["change"]) <= 1e-9).all()


def test_no_test_samples(tmp_path):
    sources = sources_of(tmp_path, a={})
    arrays = sources.sets[0].files[0].arrays
    arrays["test_labels"] = arrays["test_labels"][:0]
    with pytest.raises(UserError, match="there are no test samples"):
        class_changes.numbers(sources)


class TestDraw:
    def test_bars_and_lines(self, tmp_path, drawn):
        numbers = class_changes.numbers(sources_of(tmp_path, a={}))
        (axes,) = drawn(numbers).axes
        heights = [patch.get_height() for patch in axes.patches]
        np.testing.assert_allclose(heights, numbers[""]["change"])
        # In the order of splits, side by side.
        assert (np.diff([patch.get_x() for patch in axes.patches]) > 0.5).all()
        lines = [c.get_segments()[0][0, 1] for c in axes.collections]
        np.testing.assert_allclose(lines, numbers["means"]["change"][:3])
        texts = [text.get_text() for text in axes.texts]
        values = [f"${value:+.1f}$" for value in numbers["means"]["change"]]
        assert texts == [*values[:3], f"All\n{values[3]}"]
        ticks = [label.get_text() for label in axes.get_xticklabels()]
        assert ticks == ["Few\n(3)", "Medium\n(3)", "Many\n(3)"]

    def test_many_classes_are_outlines(self, tmp_path, drawn):
        size = 300
        numbers = class_changes.numbers(
            sources_of(
                tmp_path,
                a={
                    "class_counts": np.arange(size) + 1,
                    "few_classes": np.arange(100),
                    "medium_classes": np.arange(100, 200),
                    "many_classes": np.arange(200, size),
                    "test_labels": np.repeat(np.arange(size), 4),
                    "label_names": np.zeros(0, "<U1"),
                },
            )
        )
        assert numbers[""]["name"][0] == f"class {numbers['']['class'][0]}"
        (axes,) = drawn(numbers).axes
        assert len(axes.patches) == 3
        for patch, split in zip(axes.patches, SPLITS, strict=True):
            part = select(numbers[""], split=split)
            np.testing.assert_allclose(patch.get_data().values, part["change"])

    @pytest.mark.parametrize(("col_wrap", "columns"), [(1, 1), (2, 2), (0, 3)])
    def test_panels(self, tmp_path, drawn, col_wrap, columns):
        results = {name: {"rho": rho} for name, rho in (("a", 0), ("b", 0.5), ("c", 1))}
        numbers = class_changes.numbers(sources_of(tmp_path, **results))
        axes = drawn(numbers, col_wrap=col_wrap).axes[:3]
        assert [each.get_title() for each in axes] == ["a", "b", "c"]
        assert len({round(each.get_position().x0, 3) for each in axes}) == columns


def test_command(tmp_path, capsys):
    for name, rho in (("a", 0.1), ("b", 0.5)):
        make_result(tmp_path / "res" / name / "result.npz", rho=rho)
    out = tmp_path / "out" / "changes.svg"
    arguments = [f"--base_res_dir={tmp_path / 'res'}", f"--out={out}", "--col_wrap=2"]
    assert cli.main(["main.py", "plot", "class_changes", *arguments]) == 0
    assert f"saved {out}" in capsys.readouterr().err
    first = out.read_bytes()
    with out.with_suffix(".csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * len(LABEL_NAMES)
    assert {row["experiment"] for row in rows} == {"a", "b"}
    assert cli.main(["main.py", "plot", "class_changes", *arguments]) == 0
    assert out.read_bytes() == first
    assert sorted(path.name for path in out.parent.iterdir()) == [
        "changes.csv",
        "changes.means.csv",
        "changes.svg",
    ]
