"""What figures are drawn from in tests: results that are written and read again."""

import csv
import json

import made_data
import numpy as np
from made_results import make_result, make_unchanged

from alphanet_jax.commands import cli
from alphanet_jax.data import loading
from alphanet_jax.figures.numbers import Sources
from alphanet_jax.results import sets as result_sets
from alphanet_jax.results.datasets import DataFinder


class NoData:
    """A finder for what must do without data."""

    def dataset(self, file):
        raise AssertionError(f"the data of {file.path} is asked for")


def read(root, *names, finder=None):
    """Reads the results below directories, each an experiment."""
    paths = {name: sorted((root / name).rglob("result.npz")) for name in names}
    return Sources(result_sets.load_sets(paths), finder or DataFinder())


def sources_of(directory, finder=None, **results):
    """Writes results, each an experiment, and reads them."""
    for name, arguments in results.items():
        make_result(directory / name / "result.npz", **arguments)
    return read(directory, *results, finder=finder or NoData())


# Seven samples of classes 1, 4 (few), 0 (medium) and 2 (many). Neighbors of 1 are 0 and
# 2; those of 4 are 2 and 3; of 8, 5 and 6.
HAND = {
    "test_labels": np.int32([1, 1, 1, 4, 4, 0, 2]),
    "neighbors": np.int32([[0, 2], [2, 3], [5, 6]]),
    "baseline_test_pred": np.int32([0, 2, 3, 2, 4, 0, 1]),
    "test_pred": np.int32([[1, 0, 3, 4, 3, 1, 2], [1, 2, 1, 4, 0, 0, 2]]),
}

# Distances in WordNet 3.0, by hand (test_wordnet): lion and tiger 2, apple and pear 2,
# apple and orange 3, edible fruit and apple 1.
SYNSETS = {
    "ant": "n02085620",  # Chihuahua
    "bee": "n01440764",  # tench
    "cat": "n02099601",  # golden retriever
    "dog": "n02129165",  # lion
    "elk": "n02129604",  # tiger
    "fox": "n07739125",  # apple
    "gnu": "n07767847",  # pear
    "hen": "n07747607",  # orange
    "ibis": "n07705931",  # edible fruit
}


def with_unchanged(directory):
    """Two results, one of the unchanged classifier, as `baseline` makes it."""
    made = {name: array for name, array in HAND.items() if name != "test_pred"}
    make_result(directory / "a" / "result.npz", **HAND)
    make_unchanged(directory / "none" / "result.npz", **made)
    return read(directory, "a", "none", finder=NoData())


def make_real(root):
    """Writes a dataset, and results that know it: nearest, cosine and random.

    Returns:
      The directory of the results, and the data.
    """
    made = made_data.make(root / "data")
    data = loading.load_dataset(
        made.entry, made.root, train_group="train", val_group="val", test_group="test"
    )
    splits = {f"{name}_classes": np.int32(ids) for name, ids in data.splits.items()}
    for name in ("euclidean", "cosine", "random"):
        make_result(
            root / "results" / name / "result.npz",
            num_seeds=3,
            nn_dist=name,
            **splits,
            class_counts=data.class_counts,
            label_names=np.asarray(data.label_names),
            test_labels=np.repeat(data.test.labels, 1),
            file_hashes=np.asarray(json.dumps(dict(data.file_hashes))),
            settings={"registry": str(made.registry), "data_root": str(made.root)},
        )
    return root / "results", data


def plot(capsys, *flags):
    """Runs the command; returns its status, and what it wrote to both streams."""
    status = cli.main(["main.py", "plot", *flags])
    said = capsys.readouterr()
    return status, said.out, said.err


def plotted_twice(tmp_path, name, *flags):
    """Runs the command on two results, twice; returns the rows of the CSV."""
    for experiment, rho in (("a", 0.1), ("b", 0.5)):
        make_result(tmp_path / "res" / experiment / "result.npz", rho=rho)
    out = tmp_path / "out" / "figure.svg"
    arguments = [f"--base_res_dir={tmp_path / 'res'}", f"--out={out}", *flags]
    contents = []
    for _ in range(2):
        assert cli.main(["main.py", "plot", name, *arguments]) == 0
        contents.append(out.read_bytes())
    assert contents[0] == contents[1]
    with out.with_suffix(".csv").open() as file:
        return list(csv.DictReader(file))
