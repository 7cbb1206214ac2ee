"""The numbers that figures draw: statistics of runs, tables, their CSV."""

import csv
import io

import numpy as np
import pytest

from alphanet_jax.figures import (
    statistics,
)
from alphanet_jax.figures.numbers import csv_text, make_columns, select


def test_bootstrap_means_are_those_of_the_rows_drawn():
    values = np.random.default_rng(1).normal(size=(5, 3))
    found = statistics.bootstrap_means(values, n_boot=40, rng=np.random.default_rng(7))
    rows = np.random.default_rng(7).integers(5, size=(40, 5))
    slow = [np.mean([values[i] for i in row], axis=0) for row in rows]
    np.testing.assert_allclose(found, slow)


def test_bootstrap_of_one_value_is_that_value():
    rng = np.random.default_rng(0)
    found = statistics.bootstrap_means(np.array([2.5]), n_boot=3, rng=rng)
    assert found.tolist() == [2.5] * 3


def test_the_interval_holds_its_part():
    samples = np.stack([np.arange(101.0), -np.arange(101.0)], axis=1)
    low, high = statistics.interval(samples)
    assert low.tolist() == [2.5, -97.5]
    assert high.tolist() == [97.5, -2.5]
    low, high = statistics.interval(samples[:, 0], percent=50.0)
    assert (low, high) == (25.0, 75.0)


def test_pearson_is_numpys(rng):
    x, y = rng.normal(size=(2, 30))
    assert statistics.pearson(x, x + y) == pytest.approx(np.corrcoef(x, x + y)[0, 1])
    assert np.isnan(statistics.pearson(np.ones(4), np.arange(4.0)))
    assert statistics.pearson(np.arange(4.0), -np.arange(4.0)) == -1.0


def test_density_is_a_sum_of_gaussians_of_scotts_width(rng):
    values, grid = rng.normal(size=17), np.linspace(-3.0, 3.0, 9)
    width = values.std(ddof=1) * 17 ** (-1 / 5)
    wanted = [
        np.mean(np.exp(-0.5 * ((x - values) / width) ** 2)) / width / np.sqrt(2 * np.pi)
        for x in grid
    ]
    np.testing.assert_allclose(statistics.density(values, grid), wanted)
    for same in (np.ones(4), np.ones(1)):
        assert np.isnan(statistics.density(same, grid)).all()


def test_csv_has_all_digits_and_nothing_for_nan():
    columns = {
        "name": np.array(['a "b", c', "d\ne", "µ"]),
        "value": np.array([0.1 + 0.2, np.nan, -1e-300]),
        "count": np.array([1, 2, 3]),
    }
    rows = list(csv.reader(io.StringIO(csv_text(columns))))
    assert rows[0] == ["name", "value", "count"]
    assert [row[0] for row in rows[1:]] == columns["name"].tolist()
    assert [row[2] for row in rows[1:]] == ["1", "2", "3"]
    assert rows[2][1] == ""
    assert [float(rows[i][1]) for i in (1, 3)] == [0.1 + 0.2, -1e-300]
    assert csv_text({"a": np.zeros(0), "b": np.zeros(0)}) == "a,b\n"


def test_rows_and_columns():
    columns = make_columns(("a", "b"), [("x", 1), ("y", 2), ("x", 3)])
    assert select(columns, a="x")["b"].tolist() == [1, 3]
    assert select(columns, a="x", b=3)["b"].tolist() == [3]
    assert make_columns(("a",), [])["a"].size == 0
