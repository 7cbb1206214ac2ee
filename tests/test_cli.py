"""What a user types, end to end."""

import importlib
import importlib.util
import io
import json
import pathlib
import shlex
import subprocess
import sys
import types

import numpy as np
import pytest
from absl import flags

from alphanet_jax.commands import cli, train
from alphanet_jax.config import sweep
from alphanet_jax.config.fields import Settings
from alphanet_jax.results import file as results

ROOT = pathlib.Path(__file__).parents[1]
QUICKSTART = f"--config={ROOT / 'configs' / 'quickstart.py'}"
SHORT = [
    "--config.seeds=2",
    "--config.training.train_epochs=3",
    "--config.training.min_epochs=2",
]


def main(*arguments):
    return cli.main(["main.py", *map(str, arguments)])


@pytest.fixture(autouse=True)
def _own_directory(tmp_path, monkeypatch):
    """Commands run in an empty directory, where nothing may appear by mistake."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path.parent / "cache"))
    # A config file is loaded into this module, on top of what an earlier one left.
    monkeypatch.delitem(sys.modules, "config_config", raising=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("trained")
    done = subprocess.run(
        [
            *(sys.executable, ROOT / "main.py", QUICKSTART),
            *(f"--workdir={workdir}", *SHORT),
        ],
        capture_output=True,
        text=True,
        check=True,
        cwd=workdir,
    )
    return workdir, done


class TestTrain:
    def test_table_and_progress(self, trained):
        _, done = trained
        lines = done.stdout.splitlines()
        assert lines[0] == "CIFAR-100-LT | cRT"
        assert lines[3].split() == ["Experiment", "Few", "Med.", "Many", "Overall"]
        assert lines[5].split() == ["Baseline", "31.8", "58.2", "69.8", "54.3"]
        assert lines[6].startswith("AlphaNet (r=0.5)")
        assert lines[6].count("±") == 4
        assert len(set(map(len, lines[3:7]))) == 1  # columns line up
        epochs = [x for x in done.stderr.splitlines() if x.startswith("epoch ")]
        assert len(epochs) == 3

    def test_says_when_it_harms(self, trained):
        workdir, done = trained
        offset, adjustment, effect, _, line = done.stdout.splitlines()[7:]
        assert offset.split("  ")[0] == "Offset on few (1.7)"
        assert offset.split()[4:] == ["47.8", "53.5", "65.9", "56.2"]
        assert adjustment.split("  ")[0] == "Logit adj. (tau 0.3)"
        assert adjustment.split()[4:] == ["38.5", "60.5", "66.0", "55.8"]
        with np.load(workdir / "result.npz") as result:
            found = result["val_accuracy"][range(2), result["selected_epoch"]]
            before = 100 * result["baseline_val_accuracy"]
        assert 100 * found.mean() < before
        assert line == (
            f"note: on validation data the unchanged classifier gets {before:.2f} "
            f"overall, more than AlphaNet (r=0.5), {100 * found.mean():.2f} (mean of 2 "
            f"seeds, the best {100 * found.max():.2f}); a larger rho costs the base "
            "classes less; `compare` shows other corrections"
        )
        assert effect.startswith("AlphaNet (r=0.5): few +")
        assert "; a larger rho (--config.rho) takes less from medium" in effect
        said = "note: the classifier gets 99.7 percent of the few classes' own training"
        assert done.stderr.count(said) == 1

    def test_result_needs_numpy_alone(self, trained):
        workdir, _ = trained
        with np.load(workdir / "result.npz", allow_pickle=False) as archive:
            result = dict(archive)
        shapes = {
            "seeds": (2,),
            "few_classes": (30,),
            "medium_classes": (35,),
            "many_classes": (35,),
            "class_counts": (100,),
            "neighbors": (30, 5),
            "neighbor_distances": (30, 5),
            "alphas": (2, 30, 6),
            "weight_few": (2, 30, 128),
            "selected_epoch": (2,),
            "epoch_loss": (2, 3),
            "val_accuracy": (2, 3),
            "val_top5": (2, 3),
            "val_f1": (2, 3),
            "val_acc_per_split": (2, 3, 3),
            "test_accuracy": (2,),
            "test_top5": (2,),
            "test_f1": (2,),
            "test_acc_per_split": (2, 3),
            "test_acc_per_class": (2, 100),
            "test_pred": (2, 8000),
            "test_labels": (8000,),
            "baseline_val_accuracy": (),
            "baseline_test_accuracy": (),
            "baseline_test_top5": (),
            "baseline_test_f1": (),
            "baseline_test_acc_per_split": (3,),
            "baseline_test_acc_per_class": (100,),
            "baseline_test_pred": (8000,),
            "label_names": (100,),
        }
        assert {name: result[name].shape for name in shapes} == shapes
        assert str(result["dataset"]) == "cifar100lt_effnetlite0_crt"
        saved = json.loads(str(result["config"]))
        assert saved["training"]["train_epochs"] == 3
        assert saved["rho"] == 0.5
        assert {"jax", "numpy"} <= json.loads(str(result["versions"])).keys()
        hashes = json.loads(str(result["file_hashes"]))
        assert len(hashes) == 10
        assert all(len(digest) == 64 for digest in hashes.values())
        assert result["test_acc_per_split"][:, 0].min() > 0.35  # from 0.3175

    @pytest.mark.slow
    def test_the_same_command_gives_the_same_bytes(self, trained, capsys):
        workdir, done = trained
        assert main(QUICKSTART, "--workdir=again", *SHORT) == 0
        once = (workdir / "result.npz").read_bytes()
        assert pathlib.Path("again/result.npz").read_bytes() == once
        assert capsys.readouterr().out == done.stdout
        assert [path.name for path in pathlib.Path("again").iterdir()] == ["result.npz"]

    @pytest.mark.slow
    def test_named_command_named_config_and_default_workdir(self, trained, capsys):
        workdir, _ = trained
        assert main("train", "--config", "quickstart", *SHORT) == 0
        result = pathlib.Path("results/quickstart/result.npz")
        assert result.read_bytes() == (workdir / "result.npz").read_bytes()

    @pytest.mark.slow
    def test_without_validation(self, capsys):
        arguments = ["--workdir=x", "--config.training.val_datagrp="]
        assert main(QUICKSTART, *SHORT, *arguments) == 0
        result = results.load_result(pathlib.Path("x/result.npz"))
        assert result["selected_epoch"].tolist() == [2, 2]
        assert np.isnan(result["val_accuracy"]).all()
        assert "no validation" in capsys.readouterr().err

    @pytest.mark.slow
    def test_options_reach_training(self, capsys):
        arguments = [
            "--workdir=x",
            "--config.seed=5",
            "--config.selection=reference",
            "--config.rho=0.1",
            "--config.alphanet.hdims=(8,)",
            "--config.training.n_neighbors=2",
            "--config.training.nn_dist=cosine",
            "--config.training.ptopt.optim_params=lr=0.01,betas=[0.8,0.99]",
            "--config.training.ptopt.lr_sched_params=step_size=1,gamma=0.5",
            "--config.training.train_batch_size=100",
        ]
        assert main(QUICKSTART, *SHORT, *arguments) == 0
        result = results.load_result(pathlib.Path("x/result.npz"))
        assert result["seeds"].tolist() == [5, 6]
        assert result["selected_epoch"].tolist() == [1, 1]
        assert result["alphas"].shape == (2, 30, 3)
        assert result["neighbor_distances"].max() < 2
        np.testing.assert_allclose(result["learning_rate"], [0.01, 0.005, 0.0025])
        captured = capsys.readouterr()
        assert "305 + 30 samples" in captured.err
        assert "AlphaNet (r=0.1)" in captured.out


class TestErrors:
    """One line on standard error, status 1, and nothing written."""

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["tain"], "unknown command 'tain'; did you mean 'train'?"),
            (["train"], "--config is missing, for example --config=quickstart"),
            (["--workdir=x"], "--config is missing, for example"),
            (["quickstrat"], "unknown command 'quickstrat'; did you mean 'quickstart'"),
            (["help", "tain"], "unknown command 'tain'; did you mean 'train'?"),
            (["--confg=x"], "unknown flag --confg; did you mean 'config'?"),
            ([QUICKSTART, "extra"], "unexpected argument 'extra'"),
            (["--config=nowhere.py"], "--config: no such file: 'nowhere.py'"),
            (["--config", "nowhere.py"], "--config: no such file: 'nowhere.py'"),
            (["--config"], "--config: no such file: ''"),
            (["--config=quikstart"], "did you mean 'quickstart'? there are cifar100lt"),
            (
                ["--config=imagenetlt:rid"],
                "configs/imagenetlt.py: model must be one of crt, lws, ride, got 'rid'",
            ),
            (
                ["quickstart", "--config=imagenetlt"],
                "quickstart has a config of its own, got '--config=imagenetlt'",
            ),
            ([f"{QUICKSTART}:x"], "--config cannot be loaded: TypeError: get_config"),
            (
                [QUICKSTART, "--config.training.n_neighbor=3"],
                "unknown field config.training.n_neighbor; "
                "did you mean 'training.n_neighbors'",
            ),
            (
                [QUICKSTART, "--config.n_neighbors=3"],
                "unknown field config.n_neighbors; did you mean 'training.n_neighbors'",
            ),
            ([QUICKSTART, "--config.training.n_neighbors=2.5"], "n_neighbors=2.5"),
            ([QUICKSTART, "--config.training.n_neighbors=70"], "got 70 with 70 base"),
            ([QUICKSTART, "--config.seeds=0"], "config.seeds must be at least 1"),
            ([QUICKSTART, "--config.seed=-1"], "seeds must be in 0..2**32-1, got -1"),
            ([QUICKSTART, "--config.selection=bst"], "selection must be one of"),
            ([QUICKSTART, "--config.rho=-1"], "r must be a number from 0 on"),
            (
                [QUICKSTART, "--config.dataset=cifar100lt_effnetlite"],
                "did you mean 'cifar100lt_effnetlite0_crt'",
            ),
            ([QUICKSTART, "--config.registry=no.toml"], "no.toml: cannot read"),
            ([QUICKSTART, "--config.data_root=elsewhere"], "elsewhere/data"),
            (
                [QUICKSTART, "--config.training.test_datagrp=tst"],
                "no features of group 'tst'",
            ),
            (
                [QUICKSTART, "--config.training.ptopt.optim_params=lr=x"],
                "config.training.ptopt.optim_params: expected key=value",
            ),
            (
                [QUICKSTART, "--config.training.sampler_builder.sampler_args=('R=1',)"],
                "takes no argument ['R']",
            ),
            (["--config=" + str(ROOT / "configs" / "default.py")], "config.dataset is"),
        ],
    )
    def test_one_line(self, capsys, arguments, message):
        if arguments[1:] and arguments[0].startswith("-"):
            arguments = [*arguments, "--workdir=x"]
        assert main(*arguments) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("error: ")
        assert captured.err.count("\n") == 1
        assert message in captured.err
        assert list(pathlib.Path().iterdir()) == []

    def test_config_files_of_ones_own(self, capsys):
        good = (ROOT / "configs" / "quickstart.py").read_text()
        for text, message in (
            ("def get_config(:", "--config cannot be loaded: SyntaxError"),
            ("x = 1", "--config cannot be loaded"),
            (
                good.replace("config.rho = 0.5", "config.rh0 = 0.5"),
                "unknown field config.rh0; did you mean 'rho'?",
            ),
            (
                good.replace("config.rho = 0.5", "del config.rho"),
                "config.rho is missing",
            ),
            (
                good.replace("config.rho = 0.5", "config.seed = 'a'"),
                "config.seed must be of type int, got 'a'",
            ),
        ):
            pathlib.Path("mine.py").write_text(text)
            sys.modules.pop("config_config", None)
            assert main("--config=mine.py") == 1
            captured = capsys.readouterr()
            assert captured.err.count("\n") == 1
            assert message in captured.err

    @pytest.mark.slow
    def test_an_earlier_result_survives(self, capsys):
        path = pathlib.Path("x/result.npz")
        path.parent.mkdir()
        path.write_bytes(b"precious")
        arguments = ["--config.training.ptopt.optim_params=lr=1e30", *SHORT]
        assert main(QUICKSTART, "--workdir=x", *arguments) == 1
        line = capsys.readouterr().err.splitlines()[-1]
        assert "x/result.npz is of another run: the file cannot be read" in line
        assert path.read_bytes() == b"precious"
        assert main(QUICKSTART, "--workdir=x", "--overwrite", *arguments) == 1
        assert "the loss is" in capsys.readouterr().err.splitlines()[-1]
        assert path.read_bytes() == b"precious"


class TestInterrupted:
    """What is said then is what the same command would do."""

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (
                ["train", QUICKSTART],
                "; the same command trains again what has no result yet; with "
                "--ckpt_dir=DIR it would go on after the last epoch",
            ),
            (
                ["quickstart", "--ckpt_dir=c"],
                "; the same command goes on after the last epoch in c",
            ),
            (
                [QUICKSTART, "--ckpt_dir=c", "--noload_from_ckpt"],
                "; the same command trains again what has no result yet; without "
                "--noload_from_ckpt it goes on after the last epoch in c",
            ),
            (["paper"], "; the same command goes on with what has no result yet"),
            (["paper", "--notrain"], ""),
            (["baseline", QUICKSTART], ""),
            (["results", "--base_res_dir=."], ""),
        ],
    )
    def test_one_line(self, capsys, monkeypatch, arguments, said):
        def interrupt(values):
            raise KeyboardInterrupt

        name = arguments[0] if arguments[0].isalpha() else "train"
        module = importlib.import_module(f"alphanet_jax.commands.{name}")
        monkeypatch.setattr(module, "run", interrupt)
        assert main(*arguments) == 130
        assert capsys.readouterr().err == f"error: interrupted{said}\n"


class TestQuickstart:
    def test_from_an_empty_directory(self, trained, capsys):
        workdir, done = trained
        assert main("quickstart", *SHORT) == 0
        result = pathlib.Path("results/quickstart/result.npz")
        assert result.read_bytes() == (workdir / "result.npz").read_bytes()
        captured = capsys.readouterr()
        assert captured.out == done.stdout
        # What it suggests can be copied: every command is one that is understood.
        suggested = [
            line.removeprefix("  python main.py ")
            for line in captured.err.splitlines()
            if line.startswith("  python main.py ")
        ]
        assert [line.split()[0] for line in suggested] == ["combos", "plot", "train"]
        assert main(*shlex.split(suggested[0])) == 0
        for line in suggested[1:]:
            assert main(*shlex.split(line), "--help") == 0

    def test_workdir_is_quoted(self):
        from alphanet_jax.commands import quickstart

        values = flags.FlagValues()
        quickstart.define_flags(values, ["alphanet"])
        values(["alphanet", "--workdir=my results"])
        text = quickstart.what_next(values, "alphanet")
        assert "\n  alphanet combos '--base_res_dir=my results' --select_n=1" in text

    def test_only_matplotlib_is_missing(self, monkeypatch):
        from alphanet_jax.commands import quickstart

        values = flags.FlagValues()
        quickstart.define_flags(values, ["alphanet"])
        values(["alphanet"])
        find = importlib.util.find_spec
        monkeypatch.setattr(
            importlib.util,
            "find_spec",
            lambda n: None if n == "matplotlib" else find(n),
        )
        text = quickstart.what_next(values, "alphanet")
        assert "changes.png   # after: pip install matplotlib\n" in text


@pytest.mark.slow
def test_output_that_nobody_reads(tmp_path):
    """`main.py ... | head` ends without a word."""
    main = pathlib.Path(__file__).parents[1] / "main.py"
    with subprocess.Popen(
        [sys.executable, str(main), "combos", "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 1


def test_output_that_the_shell_has_closed(monkeypatch):
    """`main.py ... >&-`: Python then has None for a stream."""
    monkeypatch.setattr(sys, "stdout", None)
    command = types.SimpleNamespace(
        DESCRIPTION="Prints.",
        define_flags=lambda values, argv: None,
        run=lambda values: print("lost"),
    )
    assert cli.run_program(command, ["main.py"]) == 0
    sys.stdout.close()


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", "1.0 +- 0.5 pi\\xf1ata \\u732b\n"),
        ("latin-1", "1.0 ± 0.5 piñata \\u732b\n"),
        ("utf-8", "1.0 ± 0.5 piñata 猫\n"),
    ],
)
def test_terminals_that_cannot_show_everything(encoding, shown, monkeypatch):
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding=encoding, newline="\n")
    monkeypatch.setattr(sys, "stdout", stream)
    command = types.SimpleNamespace(
        DESCRIPTION="Prints.",
        define_flags=lambda values, argv: None,
        run=lambda values: print("1.0 ± 0.5 piñata 猫"),
    )
    assert cli.run_program(command, ["main.py"]) == 0
    assert written.getvalue().decode(encoding) == shown


@pytest.mark.parametrize(
    ("sampler_args", "wanted"),
    [
        ([{}], ["r=0.1", "r=0.5"]),
        ([{"r": 0.25}], ["r=0.25, rho=0.1", "r=0.25, rho=0.5"]),
        ([{}, {"r": 0.25}], ["r=0.25, rho=0.1", "r=0.25, rho=0.5"]),
        ([{"r": 2}, {}], ["r=0.1", "r=0.5"]),
    ],
)
def test_rows_are_named_by_what_was_drawn(sampler_args, wanted):
    points = sweep.name_points(
        [Settings(rho=rho, sampler_args=sampler_args) for rho in (0.1, 0.5)]
    )
    assert [train._row_name(point) for point in points] == [
        f"AlphaNet ({name})" for name in wanted
    ]
