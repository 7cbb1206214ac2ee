"""Sweeps: several values for a field, on the command line and in config files."""

import dataclasses
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from absl import flags

from alphanet_jax.commands import cli, running
from alphanet_jax.config import fields as config
from alphanet_jax.config import sweep
from alphanet_jax.errors import UserError
from alphanet_jax.experiment import loop
from alphanet_jax.results import file as results

ROOT = pathlib.Path(__file__).parents[1]
QUICKSTART = f"--config={ROOT / 'configs' / 'quickstart.py'}"
SHORT = [
    "--config.seeds=2",
    "--config.training.train_epochs=2",
    "--config.training.min_epochs=1",
]


def make_config(**values):
    made = config.default_config()
    made.dataset = "toy"
    for name, value in values.items():
        config.put(made, name.replace("__", "."), value)
    return made


class TestSweptArguments:
    @pytest.mark.parametrize(
        ("arguments", "swept"),
        [
            (["--config.rho=(0.1, 0.5)"], {"rho": "(0.1, 0.5)"}),
            (["--config.rho=[0.1,0.5]"], {"rho": "[0.1,0.5]"}),
            (["-config.rho=0.1, 0.5"], {"rho": "0.1, 0.5"}),
            (["--config.rho", "(1,)", "--x"], {"rho": "(1,)"}),
            (["--config.rho=0.1"], {}),
            (["--config.rho", "0.1"], {}),
            # One value of a field that holds a tuple, and several.
            (["--config.alphanet.hdims=(8, 8)"], {}),
            (
                ["--config.alphanet.hdims=((8,), (8, 8))"],
                {"alphanet.hdims": "((8,), (8, 8))"},
            ),
            (
                ["--config.training.nn_dist=('cosine', 'random')"],
                {"training.nn_dist": "('cosine', 'random')"},
            ),
            # What is no sweep: other flags, fields that cannot be swept, no literal.
            (["--workdir=(1, 2)"], {}),
            (["--config.seeds=(1, 2)"], {}),
            (["--config.rho=(0.1, x)"], {}),
            (["--config.rho"], {}),
        ],
    )
    def test_hand_worked(self, arguments, swept):
        rest = [a for a in arguments if a == "--x"] if swept else arguments
        assert sweep.swept_arguments(arguments) == (rest, swept)

    def test_the_last_one_counts(self):
        many, one = "--config.rho=(0.1, 0.5)", "--config.rho=0.3"
        assert sweep.swept_arguments([many, one]) == ([one], {})
        assert sweep.swept_arguments([one, many]) == ([], {"rho": "(0.1, 0.5)"})
        one = ["--config.rho", "0.3"]
        assert sweep.swept_arguments([*one, many]) == ([], {"rho": "(0.1, 0.5)"})
        assert sweep.swept_arguments([many, *one]) == (one, {})

    def test_other_words_do_not_count(self):
        many = "--config.rho=(0.1, 0.5)"
        for rest in (["--workdir", "rho"], ["--rho=1"], ["--config.alphanet.debug"]):
            assert sweep.swept_arguments([many, *rest]) == (rest, {"rho": "(0.1, 0.5)"})
            assert sweep.swept_arguments([*rest, many]) == (rest, {"rho": "(0.1, 0.5)"})

    def test_one_value_and_then_several_can_be_parsed(self):
        values = flags.FlagValues()
        arguments = [
            "main.py",
            *running.prepare_arguments(
                ["--config=quickstart", "--config.rho=0.3", "--config.rho=(0.1, 0.5)"]
            ),
        ]
        running.define_flags(values, arguments)
        assert values(arguments) == ["main.py"]
        assert [point.settings.rho for point in running.points(values)] == [0.1, 0.5]

    def test_commands_parse_the_last_one(self):
        given = ["--config.rho=(0.1, 0.5)", "--x=1", "--config.rho=(0.2, 0.3)"]
        assert running.prepare_arguments(given) == ["--x=1", "--config.rho=(0.2, 0.3)"]


class TestExpand:
    def test_nothing_is_swept(self):
        (point,) = sweep.expand(make_config())
        assert point.swept == {}
        assert (point.directory, point.title) == ("", "")
        assert point.settings == config.Settings(dataset="toy")

    def test_every_combination_in_the_order_of_fields(self):
        points = sweep.expand(
            make_config(rho=(0.1, 1)), {"training.n_neighbors": (2, 3), "seed": (0,)}
        )
        assert [point.directory for point in points] == [
            "seed_0/rho_0.1/n_neighbors_2",
            "seed_0/rho_0.1/n_neighbors_3",
            "seed_0/rho_1.0/n_neighbors_2",
            "seed_0/rho_1.0/n_neighbors_3",
        ]
        assert points[2].title == "seed=0, rho=1.0, n_neighbors=2"
        assert points[2].settings.rho == 1.0
        assert points[2].settings.n_neighbors == 2

    def test_tuples_and_texts(self):
        points = sweep.expand(
            make_config(),
            {
                "alphanet.hdims": ((8,), [16, 4]),
                "training.ptopt.optim_params": ('lr=0.1,name="a/b"', "lr=0.2"),
            },
        )
        assert [point.directory for point in points] == [
            'hdims_8/optim_params_lr=0.1,name="a-b"',
            "hdims_8/optim_params_lr=0.2",
            'hdims_16-4/optim_params_lr=0.1,name="a-b"',
            "hdims_16-4/optim_params_lr=0.2",
        ]
        assert points[3].settings.hdims == (16, 4)
        assert points[2].settings.optim_params == {"lr": 0.1, "name": "a/b"}

    def test_the_command_line_goes_before_the_file(self):
        points = sweep.expand(make_config(rho=(0.1, 0.2)), {"rho": (0.7,)})
        assert [point.settings.rho for point in points] == [0.7]

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"rho": ()}, r"config\.rho needs at least one value"),
            ({"rho": (0.5, 0.5)}, r"two points for the directory rho_0\.5"),
            ({"rho": (0.5, "a")}, r"config\.rho must be of type float, got 'a'"),
            ({"seed": (0, 1.5)}, r"config\.seed must be of type int, got 1\.5"),
            ({"seed": (0, -1)}, r"seeds must be in 0\.\.2\*\*32-1, got -1 to 8"),
            (
                {"training.ptopt.optim_params": ("lr=x",)},
                r"config\.training\.ptopt\.optim_params: expected key=value",
            ),
        ],
    )
    def test_what_cannot_be_swept(self, values, message):
        with pytest.raises(UserError, match=message):
            sweep.expand(make_config(), values)


class TestNamePoints:
    def test_by_what_differs(self):
        base = config.Settings(rho=0.5, optim_params={"lr": 0.1}, hdims=(8, 4))
        others = [
            dataclasses.replace(base, rho=1.0),
            dataclasses.replace(base, optim_params={"lr": 0.2}, hdims=[16]),
        ]
        titles = [point.title for point in sweep.name_points([base, *others])]
        assert titles == [
            "rho=0.5, hdims=8 4, optim_params=lr=0.1",
            "rho=1.0, hdims=8 4, optim_params=lr=0.1",
            "rho=0.5, hdims=16, optim_params=lr=0.2",
        ]

    def test_one_has_no_name(self):
        (point,) = sweep.name_points([config.Settings()])
        assert (point.title, point.directory, point.swept) == ("", "", {})


def main(*arguments):
    return cli.main(["main.py", *map(str, arguments)])


@pytest.fixture(autouse=True)
def _own_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path.parent / "cache"))
    monkeypatch.delitem(sys.modules, "config_config", raising=False)


class TestCommand:
    @pytest.mark.slow
    def test_points_equal_single_runs_and_are_not_run_again(self, capsys, monkeypatch):
        assert main(QUICKSTART, "--workdir=s", "--config.rho=(0.1, 0.5)", *SHORT) == 0
        captured = capsys.readouterr()
        rows = [line.split("  ")[0] for line in captured.out.splitlines()[5:]]
        assert rows[:3] == ["Baseline", "AlphaNet (r=0.1)", "AlphaNet (r=0.5)"]
        assert re.search(
            r"^note: .* AlphaNet \(r=0.1\), .* AlphaNet \(r=0.5\), ", rows[7]
        )
        assert rows[5].startswith("A larger rho (--config.rho) takes less from")
        assert "2 points, 4 runs of 2 epochs" in captured.err
        assert "memory: about" in captured.err
        assert "2 of 2 points done" in captured.err
        assert main(QUICKSTART, "--workdir=one", "--config.rho=0.5", *SHORT) == 0
        among = results.load_result(pathlib.Path("s/rho_0.5/result.npz"))
        alone = results.load_result(pathlib.Path("one/result.npz"))
        np.testing.assert_allclose(among["alphas"], alone["alphas"], atol=1e-5)
        np.testing.assert_array_equal(among["test_pred"], alone["test_pred"])
        np.testing.assert_array_equal(among["selected_epoch"], alone["selected_epoch"])
        assert str(among["config"]) == str(alone["config"])

        # One point is done, one is of other settings, and one is new.
        trained = []
        original = loop.run_parts

        def spy(points, **arguments):
            trained.extend(point.name for point in points)
            return original(points, **arguments)

        monkeypatch.setattr(loop, "run_parts", spy)
        capsys.readouterr()
        path = pathlib.Path("s/rho_0.5/result.npz")
        arrays = results.load_result(path)
        text = str(arrays["config"]).replace('"min_epochs": 1', '"min_epochs": 2')
        results.save_result(path, arrays | {"config": np.asarray(text)})
        more = "--config.rho=(0.1, 0.5, 0.3)"
        assert main(QUICKSTART, "--workdir=s", more, *SHORT) == 1
        assert trained == []
        (line,) = capsys.readouterr().err.splitlines()[-1:]
        assert line == (
            "error: s/rho_0.5/result.npz is of another run: training.min_epochs 2, "
            "now 1; choose another --workdir, or give --overwrite to replace it"
        )
        assert main(QUICKSTART, "--workdir=s", more, "--overwrite", *SHORT) == 0
        captured = capsys.readouterr()
        assert trained == ["rho=0.5", "rho=0.3"]
        assert "done already: s/rho_0.1/result.npz" in captured.err
        assert (
            "s/rho_0.5/result.npz is of another run and will be replaced: "
            "training.min_epochs 2, now 1" in captured.err
        )
        assert "AlphaNet (r=0.1)" in captured.out  # of the table, all the same
        assert "AlphaNet (r=0.3)" in captured.out

    @pytest.mark.slow
    def test_a_failing_point_does_not_stop_the_others(self, capsys):
        rates = "--config.training.ptopt.optim_params=('lr=1e30', 'lr=0.01')"
        assert main(QUICKSTART, "--workdir=s", rates, *SHORT) == 1
        captured = capsys.readouterr()
        assert "failed: optim_params=lr=1e30: the loss is nan" in captured.err
        last = captured.err.splitlines()[-1]
        assert last == "error: 1 of 2 points failed: optim_params=lr=1e30"
        assert pathlib.Path("s/optim_params_lr=0.01/result.npz").exists()
        assert not pathlib.Path("s/optim_params_lr=1e30").exists()
        assert "optim_params=lr=0.01" in captured.out
        assert "1e30" not in captured.out

    @pytest.mark.slow
    def test_config_files_may_sweep(self, capsys):
        text = (ROOT / "configs" / "quickstart.py").read_text()
        text = text.replace("config.rho = 0.5", "config.rho = (0.1, 0.5)")
        text = text.replace("parents[1]", "parents[0]").replace(
            "_ROOT = pathlib.Path(__file__).resolve().parents[0]",
            f"_ROOT = pathlib.Path({str(ROOT)!r})",
        )
        pathlib.Path("mine.py").write_text(text)
        assert main("--config=mine.py", "--workdir=s", *SHORT) == 0
        found = sorted(path.parent.name for path in pathlib.Path("s").rglob("*.npz"))
        assert found == ["rho_0.1", "rho_0.5"]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--config.rho=(0.1, -1.0)"], "r must be a number from 0 on, got -1.0"),
            (["--config.seed=(0, -5)"], "seeds must be in 0..2**32-1, got -5 to -4"),
            (["--config.rho=(0.1, 0.1)"], "two points for the directory rho_0.1"),
            (["--config.seeds=(1, 2)"], "--config.seeds=(1, 2)"),
            (["--memory_gib=0.01"], "--memory_gib: one run needs about 0."),
            (["--memory_gib=-1"], "--memory_gib=-1"),
            (["--coordinator_address=localhost:1"], "--num_processes and --process_id"),
        ],
    )
    def test_errors_are_one_line_before_anything_is_written(
        self, capsys, arguments, message
    ):
        assert main(QUICKSTART, "--workdir=s", *SHORT, *arguments) == 1
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith("error: ")
        assert message in last
        assert not pathlib.Path("s").exists()


class TestStart:
    def test_a_cache_that_others_may_write_to_is_not_used(self, capsys, tmp_path):
        shared, own = tmp_path / "shared", tmp_path / "own" / "cache"
        shared.mkdir()
        shared.chmod(0o777)
        assert running.own_directory(str(shared)) is None
        assert "others may write to it" in capsys.readouterr().err
        assert running.own_directory(str(own)) == own.resolve()
        assert own.stat().st_mode & 0o777 == 0o700
        assert running.own_directory("off") is None
        (tmp_path / "file").write_text("")
        assert running.own_directory(str(tmp_path / "file" / "below")) is None
        assert "Not a directory" in capsys.readouterr().err

    @pytest.mark.slow
    def test_only_what_is_used_is_imported(self):
        """A run itself needs none of these, and each takes a second to import."""
        program = (
            "import sys; from alphanet_jax.experiment import training; "
            "from alphanet_jax.results import file, tables;"
            "heavy = {'orbax', 'tensorboardX', 'matplotlib', 'torch', 'scipy'};"
            "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
        )
        subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
