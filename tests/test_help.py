"""Help, and what is said of flags that are mistyped."""

import importlib
import pathlib
import re
import subprocess
import sys

import pytest
from absl import flags

from alphanet_jax.commands import cli, help_text
from alphanet_jax.config import fields as config

ROOT = pathlib.Path(__file__).parents[1]


def main(*arguments):
    return cli.main(["main.py", *arguments])


class TestOverview:
    @pytest.mark.parametrize("arguments", [[], ["help"], ["help", "help"]])
    def test_lists_all_commands_and_what_to_try(self, capsys, arguments):
        assert main(*arguments) == 0
        captured = capsys.readouterr()
        assert captured.err == ""
        lines = captured.out.splitlines()
        assert "usage: python main.py COMMAND --flags" in lines
        for heading, commands in help_text.SECTIONS.items():
            place = lines.index(heading)
            for number, (name, (_, purpose)) in enumerate(commands.items(), 1):
                assert lines[place + number].split(maxsplit=1) == [name, purpose]
        assert "  python main.py quickstart" in lines
        assert "quickstart." in lines[-1]
        assert max(map(len, lines)) <= 88

    @pytest.mark.parametrize(
        "words", [["train"], ["convert"], ["plot"], ["plot", "class_changes"]]
    )
    def test_help_of_a_command(self, capsys, words):
        assert main("help", *words) == 0
        shown = capsys.readouterr().out
        assert main(*words, "--help") == 0
        assert capsys.readouterr().out == shown
        assert shown.startswith("usage: python main.py ")

    @pytest.mark.parametrize(
        ("started", "program"),
        [
            ("main.py", "python main.py"),
            ("../here/main.py", "python ../here/main.py"),
            ("/usr/bin/alphanet", "alphanet"),
            ("bin/alphanet.exe", "alphanet"),
            ("/lib/alphanet_jax/__main__.py", "python -m alphanet_jax"),
        ],
    )
    def test_shows_the_program_as_it_was_started(self, capsys, started, program):
        for command in help_text.COMMANDS:
            assert cli.main([started, "help", command]) == 0
            shown = capsys.readouterr().out
            usage = f"[{command}] --flags" if command == "train" else command
            assert shown.startswith(f"usage: {program} {usage}\n")
            if program != "python main.py":
                assert "python main.py" not in shown
                assert f"  {program} {command}" in shown or command == "train"
            assert "convert_torch_features.py" not in shown
        assert cli.main([started]) == 0
        assert f"  {program} quickstart\n" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("started", "program"),
        [
            ("main.py", "python main.py"),
            ("/usr/bin/alphanet", "alphanet"),
            ("/lib/alphanet_jax/__main__.py", "python -m alphanet_jax"),
        ],
    )
    def test_errors_do_too(self, capsys, tmp_path, started, program):
        directory = tmp_path / "alphanet there"
        directory.mkdir()
        assert cli.main([started, "results", f"--base_res_dir={directory}"]) == 1
        assert capsys.readouterr().err == (
            f"error: no result matches '**/result.npz' below {directory}; a result is "
            f"made with {program} train --config=quickstart --workdir={directory}\n"
        )

    def test_configs_are_named_by_name(self, capsys):
        for command in help_text.COMMANDS:
            assert main("help", command) == 0
            assert "--config=configs/" not in capsys.readouterr().out

    def test_is_quick_and_imports_little(self, tmp_path):
        program = (
            "import sys; from alphanet_jax.commands import cli;"
            "cli.main(['main.py']);"
            "sys.exit(' '.join({'jax', 'numpy', 'ml_collections'} & set(sys.modules)))"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT
        )
        assert done.stderr == "\n"  # nothing of these is there


class TestHelp:
    def test_every_field_is_explained(self, capsys):
        assert main("--help") == 0
        shown = capsys.readouterr().out
        for field in config.FIELDS:
            assert f"--config.{field.name}\n" in shown
        assert "--workdir" in shown
        assert "train " in shown
        assert max(map(len, shown.splitlines())) <= 92

    def test_defaults_are_those_of_the_command(self, capsys):
        """Lists as words; nothing where there is none, and no flag that is refused."""
        shown = {}
        for command in help_text.COMMANDS:
            assert main("help", command) == 0
            shown[command] = capsys.readouterr().out
            for text in ("[[", "[]", "repeat this option", "['"):
                assert text not in shown[command], command
        rho = re.compile(r"--config\.rho\n(?: {6}.*\n)*? {6}.*\[(.*)\]\n")
        for command, value in (("train", "0.1"), ("quickstart", "0.5"), ("fit", "0.5")):
            assert rho.search(shown[command])[1] == value
        assert "--config.data_root\n" not in shown["fit"]
        assert "--config\n" not in shown["quickstart"]
        assert "[results/quickstart]" in shown["quickstart"]
        assert "[md tex csv json]" in shown["paper"]

    def test_help_imports_no_jax(self):
        program = (
            "import sys; from alphanet_jax.commands import cli;"
            "cli.main(['main.py', '--help']);"
            "sys.exit('jax' in sys.modules)"
        )
        subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)

    def test_converter_says_how_it_was_started(self):
        done = subprocess.run(
            [sys.executable, ROOT / "convert_torch_features.py", "--help"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.startswith("usage: python ")
        assert "  python convert_torch_features.py --registry=" in done.stdout
        for flag in ("registry", "dataset", "data_root", "out", "feature_dtype"):
            assert f"--{flag}\n" in done.stdout


class TestNegatedFlags:
    """`--nox` is how a boolean flag x is turned off; other spellings are near it."""

    @pytest.mark.parametrize(
        ("command", "flag", "meant"),
        [
            ("combos", "--no-select-max", "--noselect_max"),
            ("combos", "--no_select_max", "--noselect_max"),
            ("combos", "--no-select_max", "--noselect_max"),
            ("combos", "--noselectmax", "--noselect_max"),
            ("combos", "--no-slect-max", "--noselect_max"),
            ("train", "--no-load-from-ckpt", "--noload_from_ckpt"),
            ("quickstart", "--no-load-from-ckpt", "--noload_from_ckpt"),
            ("results", "--no-show-hdr", "--noshow_hdr"),
            ("paper", "--no-train", "--notrain"),
            ("train", "--no-config.alphanet.debug", "--noconfig.alphanet.debug"),
        ],
    )
    def test_is_said_as_it_is_typed(self, capsys, command, flag, meant):
        assert main(command, flag) == 1
        assert capsys.readouterr().err == (
            f"error: unknown flag {flag}; did you mean {meant!r}?\n"
        )

    @pytest.mark.parametrize("command", ["combos", "results", "paper", "train"])
    def test_every_boolean_flag(self, capsys, command):
        values = flags.FlagValues()
        module = importlib.import_module(f"alphanet_jax.commands.{command}")
        module.define_flags(values, ["main.py"])
        switches = [name for name in values if values[name].boolean]
        assert switches
        for name in switches:
            for start in ("--no-", "--no_"):
                assert main(command, start + name.replace("_", "-")) == 1
                assert f"did you mean '--no{name}'?" in capsys.readouterr().err
            assert values(["main.py", f"--no{name}"]) == ["main.py"]  # is accepted

    def test_others(self, capsys):
        for flag, hint in (
            ("--num-processes=2", "did you mean 'num_processes'"),
            ("--select-max", "see --help"),
        ):
            assert main("train", flag) == 1
            assert hint in capsys.readouterr().err
