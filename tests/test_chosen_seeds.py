"""`--seeds` takes some runs of a file: as if the file had no others."""

import json

import made_results
import numpy as np
import pytest

from alphanet_jax import results
from alphanet_jax.commands import cli
from alphanet_jax.errors import UserError
from alphanet_jax.results import schema

SEEDS = 5


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Results: `five` has five seeds, `part` seeds 1 and 3 of these."""
    made = tmp_path_factory.mktemp("seeds")
    arrays = made_results.make_result(made / "five/result.npz", num_seeds=SEEDS)
    chosen = {
        name: array[[1, 3]] if schema.has_axis_of_seeds(name, array) else array
        for name, array in arrays.items()
    }
    assert chosen["seeds"].tolist() == [1, 3]
    results.save_result(made / "part/result.npz", chosen)
    return made


def said(capsys, *arguments):
    status = cli.main(["main.py", *map(str, arguments)])
    shown = capsys.readouterr()
    return shown.err.splitlines()[-1] if status else shown.out


def test_which_arrays_have_runs():
    """Those whose first axis is as long as the seeds are many, by their declaration."""
    names = {spec.name for spec in schema.SCHEMA if "S" in spec.shape}
    assert {spec.shape.index("S") for spec in schema.SCHEMA if "S" in spec.shape} == {0}
    found = {n for n in names if schema.has_axis_of_seeds(n, np.ones((5, 1)))}
    assert found == names
    own = {spec.name: len(spec.shape) for spec in schema.SCHEMA if spec.own}
    assert own
    for name, axes in own.items():
        assert schema.has_axis_of_seeds(name, np.ones((5,) * (axes + 1)))
        assert not schema.has_axis_of_seeds(name, np.ones((5,) * axes))
        assert not schema.has_axis_of_seeds(name, np.ones((1,) + (5,) * axes))


def test_every_array(root):
    (file,) = results.choose_seeds(
        "five", [results.load_file(root / "five/result.npz")], (3, 1)
    )
    wanted = results.load_file(root / "part/result.npz")
    assert file.num_runs == 2
    assert file.arrays.keys() == wanted.arrays.keys()
    for name in (*wanted.arrays, "weight_few"):  # which is read when it is needed
        np.testing.assert_array_equal(file.array(name), wanted.array(name))


@pytest.mark.parametrize(
    ("command", "more"),
    [
        ("results", ("--format=json",)),
        ("combos", ("--format=json",)),
    ],
)
def test_reports(root, capsys, command, more, monkeypatch):
    monkeypatch.chdir(root)
    some = said(capsys, command, "--base_res_dir=five", "--seeds", 1, 3, *more)
    alone = said(capsys, command, "--base_res_dir=part", *more)
    assert some != said(capsys, command, "--base_res_dir=five", *more)
    assert json.loads(some.replace("five", "part")) == json.loads(alone)
    assert said(capsys, command, "--base_res_dir=five", "--run_seed=2", *more) == said(
        capsys, command, "--base_res_dir=five", "--seeds", 2, *more
    )


def test_figures(root, capsys, tmp_path):
    for name in ("five", "part"):
        seeds = ("--seeds", "1", "3") if name == "five" else ()
        arguments = ("plot", "class_changes", f"--base_res_dir={root / name}", *seeds)
        assert said(capsys, *arguments, f"--out={tmp_path / name}.png") == ""
    csv = [(tmp_path / f"{name}.csv").read_text() for name in ("five", "part")]
    assert csv[0].replace("five", "part") == csv[1]


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (("--seeds", "7"), "five has no run of seed 7; it has 0, 1, 2, 3, 4"),
        (("--seeds", "a"), "--seeds must be whole numbers from 0 on, got 'a'"),
        (
            ("--run_seed=-1",),
            "--seeds must be whole numbers from 0 on, got '-1'",
        ),
        (
            ("--run_seed=1", "--seeds=2"),
            "--run_seed is --seeds with one seed; give one of them",
        ),
    ],
)
def test_mistakes(root, capsys, flags, line):
    shown = said(capsys, "results", f"--base_res_dir={root / 'five'}", *flags)
    assert shown == f"error: {line}"


def test_an_experiment_of_several_files(tmp_path):
    """Files without the seeds are left out; one of the seeds that is nowhere is not."""
    for seed in (0, 10):
        made_results.make_result(tmp_path / f"{seed}.npz", seed=seed, num_seeds=2)
    paths = {"x": [tmp_path / "0.npz", tmp_path / "10.npz"]}
    (found,) = results.load_sets(paths, seeds=(11,))
    assert [file.path.name for file in found.files] == ["10.npz"]
    assert found.runs("seeds").tolist() == [11]
    (found,) = results.load_sets(paths, seeds=(1, 10))
    assert found.runs("seeds").tolist() == [1, 10]
    with pytest.raises(UserError, match="x has no run of seed 5; it has 0, 1, 10, 11"):
        results.load_sets(paths, seeds=(1, 5))
