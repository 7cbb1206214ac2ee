"""The command that compares, and the figure of what it writes."""

import contextlib
import csv
import errno
import json
import os

import made_data
import numpy as np
import pytest

from alphanet_jax import files, outputs
from alphanet_jax.commands import cli
from alphanet_jax.figures import load_kind

tradeoff = load_kind("tradeoff")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return made_data.make(tmp_path_factory.mktemp("made"))


def run(capsys, made, *flags):
    status = cli.main(
        [
            "main.py",
            "compare",
            "--config=default",
            "--config.dataset=made",
            f"--config.registry={made.registry}",
            f"--config.data_root={made.root}",
            "--compilation_cache=off",
            *flags,
        ]
    )
    said = capsys.readouterr()
    return status, said.out, said.err


@pytest.mark.slow
def test_a_comparison_of_files(capsys, made, tmp_path):
    workdir = tmp_path / "out"
    methods = "--methods=few_offset,logit_adjustment"
    status, out, err = run(capsys, made, methods, f"--workdir={workdir}")
    assert status == 0, err
    assert sorted(path.name for path in workdir.iterdir()) == [
        "compare.json",
        "methods",
    ]
    found = json.loads((workdir / "compare.json").read_text())
    assert list(found["methods"]) == ["unchanged", "few_offset", "logit_adjustment"]
    lines = out.splitlines()
    for name, entry in found["methods"].items():
        (first, second) = (line.split() for line in lines if line.startswith(name))
        chosen = [entry["chosen"][key] for key in ("overall", "harmonic")]
        for cells, point in zip((first, second), chosen, strict=True):
            assert f"{100 * point['few']:.1f}" in cells
            assert f"{100 * point['overall']:.1f}" in cells
    assert "3 of 3: logit_adjustment" in err
    assert f"saved {workdir / 'compare.json'}" in err


@pytest.fixture
def full_disk(monkeypatch):
    """Lets no file be written below a directory; what may be is given back."""
    real = files.replacing

    def fill(directory):
        @contextlib.contextmanager
        def replacing(path):
            if path.is_relative_to(directory):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            with real(path) as temporary:
                yield temporary

        monkeypatch.setattr(files, "replacing", replacing)

    return fill


@pytest.mark.slow
def test_a_full_disk_loses_nothing(capsys, made, tmp_path, full_disk, monkeypatch):
    """Results, curves and the comparison: each is somewhere else, or said."""
    workdir, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr(outputs.tempfile, "gettempdir", lambda: str(elsewhere))
    flags = ["--methods=alphanet,few_offset", "--config.rho=(0.5,1)"]
    flags += [
        "--config.seeds=1",
        "--config.training.train_epochs=2",
        "--config.training.min_epochs=1",
    ]
    flags += ["--config.training.n_neighbors=2", "--config.alphanet.hdims=(4,)"]
    full_disk(workdir)
    status, out, err = run(capsys, made, *flags, f"--workdir={workdir}")
    last = err.splitlines()[-1]
    assert status == 1
    assert len([x for x in out.splitlines() if x.startswith("few_offset")]) == 2
    (saved,) = elsewhere.rglob("compare.json")
    trained = sorted(elsewhere.rglob("result.npz"))
    assert len(trained) == 2
    assert list(json.loads(saved.read_text())["methods"]) == [
        *("unchanged", "alphanet", "few_offset"),
    ]
    assert last.startswith("error: ")
    full = "cannot be written: No space left on device"
    for place in (saved, *trained):
        assert f"{place.name} {full}; the result is in {place}: move it there" in last
    for name in ("unchanged", "alphanet", "few_offset"):
        assert f"{workdir / 'methods' / name}.npz {full}; " in last + "; "
    assert f"saved {saved}\n" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("at_last", [False, True])
def test_a_comparison_that_can_be_saved_nowhere(capsys, tmp_path, monkeypatch, at_last):
    from alphanet_jax.commands import compare
    from alphanet_jax.errors import UserError
    from alphanet_jax.results import comparison_file

    path, said, tried = tmp_path / "compare.json", [], []

    def save(path, found):
        tried.append(path)
        if not (at_last and len(tried) == 3):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(outputs, "other_places", lambda path: [tmp_path / "x"])
    monkeypatch.setattr(comparison_file, "save", save)
    monkeypatch.setattr(comparison_file, "table", lambda found: f"table of {found}")
    if at_last:
        compare._conclude(path, {}, [], said.append)
        assert said[-1] == f"saved {path} after all"
    else:
        with pytest.raises(UserError, match=r"^curves; [^;]*; nor could it"):
            compare._conclude(path, {}, ["curves", "curves"], said.append)
    assert capsys.readouterr().out == "table of {}\n"
    assert tried == [path, tmp_path / "x", path]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--methods=fewoffset",), "unknown method 'fewoffset'; did you mean 'few_o"),
        (("--reference=nothing",), "unknown method 'nothing'"),
        (("--config.seeds=0",), "seeds"),
        (("--config.pred_scale=(1,2)",), "several values of config.rho alone"),
    ],
)
def test_errors_leave_nothing_behind(capsys, made, tmp_path, flags, said):
    workdir = tmp_path / "out"
    status, out, err = run(capsys, made, *flags, f"--workdir={workdir}")
    assert (status, out) == (1, "")
    assert err.splitlines()[-1].startswith("error: ")
    assert said in err.splitlines()[-1]
    assert not workdir.exists()


def test_a_workdir_that_is_a_file(capsys, made, tmp_path):
    path = tmp_path / "out"
    path.write_text("mine")
    status, _, err = run(capsys, made, f"--workdir={path}")
    assert (status, err) == (
        1,
        f"error: --workdir: {path} is a file; choose another directory\n",
    )
    assert path.read_text() == "mine"


# --- the figure


def point(knob, few, overall, **more):
    accuracies = [few, 0.5, None, overall]
    return {"knob": knob, "val": accuracies, "test": accuracies, **more}


def entry(points, overall, harmonic):
    chosen = {"overall": points[overall], "harmonic": points[harmonic]}
    return {"linear": True, "knob": "tau", "curve": points, "chosen": chosen}


@pytest.fixture
def written(tmp_path):
    error = {"test_error": [0.1, 0.1, 0.1, 0.01]}
    one, two = {"options": {"a": 1}}, {"options": {"a": 2}}
    points = [
        point(0.0, 0.2, 0.5, **error, **one),
        point(1.0, 0.3, 0.6, **error, **one),
        point(0.0, 0.1, 0.4, **error, **two),
        point(1.0, 0.4, 0.5, **error, **two),
    ]
    same = [point(0.0, 0.2, 0.5)]
    found = {
        "methods": {
            "unchanged": entry(same, 0, 0),
            "alphanet_plus": entry(points, 1, 3),
        }
    }
    path = tmp_path / "compare.json"
    path.write_text(json.dumps(found))
    return path


def plot(capsys, *flags):
    status = cli.main(["main.py", "plot", "tradeoff", *flags])
    return status, capsys.readouterr().err


def test_numbers_of_the_figure(written):
    columns = tradeoff.numbers(None, compare=str(written))[""]
    rows = list(zip(*columns.values(), strict=True))
    # The second options' first point is neither chosen nor of the options that are.
    assert [(row[0], row[1], row[-1]) for row in rows] == [
        ("unchanged", 0.0, "overall harmonic"),
        ("alphanet_plus", 0.0, ""),
        ("alphanet_plus", 1.0, "overall"),
        ("alphanet_plus", 1.0, "harmonic"),
    ]
    np.testing.assert_allclose(columns["few"], [20, 20, 30, 40])
    np.testing.assert_allclose(columns["overall_low"], [50, 48.04, 58.04, 48.04])
    np.testing.assert_allclose(columns["overall_high"], [50, 51.96, 61.96, 51.96])


@pytest.mark.slow
def test_the_figure_is_drawn(capsys, written, tmp_path):
    out = tmp_path / "t.png"
    assert plot(capsys, f"--compare={written}", f"--out={out}")[0] == 0
    assert out.read_bytes().startswith(b"\x89PNG")
    with open(tmp_path / "t.csv", newline="") as file:
        assert [row["method"] for row in csv.DictReader(file)].count("unchanged") == 1


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((), "--compare is missing"),
        (("--compare=none.json",), "none.json: no such file"),
        (("--compare={}", "--methods", "alphanet_pls"), "did you mean 'alphanet_plus'"),
    ],
)
def test_errors_of_the_figure(capsys, written, tmp_path, flags, said):
    flags = [flag.format(written) for flag in flags]
    status, err = plot(capsys, *flags, f"--out={tmp_path / 't.png'}")
    assert status == 1
    assert said in err
    assert not list(tmp_path.glob("t.*"))
