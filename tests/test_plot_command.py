"""The command `plot`: results that are chosen, flags, files, refusals."""

import csv
import re
import sys

import made_results
import pytest
from figure_sources import plot

from alphanet_jax.commands import plot as plot_command
from alphanet_jax.figures import (
    KINDS,
    load_kind,
    style,
)

pytestmark = pytest.mark.usefixtures("closed_figures")


@pytest.mark.slow
def test_directories_and_repetitions_of_results(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("a/rep_1", "a/rep_2", "b/rep_1", "b/rep_12")):
        made_results.make_result(
            tmp_path / f"r/{name}/result.npz",
            seed=5 * seed,
            rho={"a": 0.25, "b": 1.0}[name[0]],
        )

    def runs(*flags, kind="accuracy_vs_rho"):
        status, _, err = plot(capsys, kind, *flags, "--out=f.svg")
        assert status == 0, err
        with open("f.csv") as file:
            return {float(r["rho"]): int(r["runs"]) for r in csv.DictReader(file)}

    assert runs("--res_dirs", "r/a", "r/b") == {0.25: 4, 1.0: 4}
    assert runs("--res_dirs=r/b") == {1.0: 4}
    # One directory in another counts once.
    assert runs("--base_res_dir=r", "--res_dirs", "a", "a/rep_1") == {0.25: 4}
    assert runs("--base_res_dir=r", "--rep=1", kind="change_vs_rho") == {
        0.25: 2,
        1.0: 2,
    }
    assert runs("--base_res_dir=r", "--rep=1*") == {0.25: 2, 1.0: 4}
    assert runs("--base_res_dir=r", "--rep=*") == {0.25: 4, 1.0: 4}
    for flags, said in (
        (
            ("--base_res_dir=r", "--rep=3"),
            "--rep=3: of 4 results, none is in a directory rep_3; there are rep_1, "
            "rep_12, rep_2",
        ),
        (
            ("--base_res_dir=s", "--rep=1"),
            "--rep=1: of 1 result, none is in a directory rep_1; there are none of "
            "rep_*: leave --rep out to take all results",
        ),
        (("--res_dirs=r/c",), "no such directory: r/c"),
    ):
        made_results.make_result(tmp_path / "s/result.npz")
        status, _, err = plot(capsys, "change_vs_rho", *flags, "--out=g.svg")
        assert (status, err) == (1, f"error: {said}\n")


def test_help_lists_the_kinds(capsys):
    status, out, err = plot(capsys, "--help")
    assert (status, err) == (0, "")
    for name, purpose in KINDS.items():
        assert re.search(rf"^  {name} +{re.escape(purpose)}$", out, re.MULTILINE)
    assert "python main.py plot KIND --help" in out
    assert "Flags" not in out


@pytest.mark.parametrize("name", KINDS)
def test_help_of_every_kind(capsys, name):
    status, out, err = plot(capsys, name, "--help")
    assert (status, err) == (0, "")
    kind = load_kind(name)
    assert out.startswith(f"usage: python main.py plot {name}\n")
    assert kind.description in out
    for option in kind.options:
        assert f"\n  --{option.name}\n" in out
    for flag in ("out", "style", *plot_command._STYLE_FLAGS):
        assert f"\n  --{flag}\n" in out
    assert ("--base_res_dir\n" in out) == (kind.reads in ("experiments", "one"))
    assert ("--exp_sub_dirs\n" in out) == (kind.reads == "experiments")
    assert ("--res_file\n" in out) == (kind.reads == "file")
    # Results of the original need their data for nearly every kind.
    assert ("--data_root\n" in out) == (kind.reads != "nothing")
    assert kind.reads != "nothing" or not kind.needs_data


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((), "plot needs the name of a figure: accuracy_vs_distance, "),
        (("alpha",), "unknown figure 'alpha'; did you mean 'alphas'?"),
        (("PlotPredCounts",), "unknown figure 'PlotPredCounts'; did you mean 'pred"),
        (("plotalphadist",), "unknown figure 'plotalphadist'; did you mean 'alphas'?"),
        (("zzz",), "unknown figure 'zzz'; known are 'accuracy_vs_distance', "),
        (
            ("accuracy_vs_rho", "--out=a.bmp"),
            "--out must end in .pgf, .pdf, .svg, .png where no --style is given, got "
            "'a.bmp'",
        ),
        (
            ("accuracy_vs_rho", "--style=paint"),
            "--style must be of paper, arxiv, book, web_light, web_dark, png, got "
            "'paint'",
        ),
        (
            ("accuracy_vs_rho", "--style", "png", "arxiv", "--out=a.png"),
            "--out=a.png is not of the format of --style arxiv, pdf",
        ),
        (("accuracy_vs_rho", "--theme=red"), "--theme must be one of light, dark"),
        (
            ("accuracy_vs_rho", "--context=tiny"),
            "--context must be one of paper, notebook, talk, poster",
        ),
        (
            ("accuracy_vs_rho", "--font_math=x"),
            "--font_math must be one of dejavusans, ",
        ),
        (("accuracy_vs_rho", "--dpi=0"), "--dpi must be a positive number, got '0'"),
        (("accuracy_vs_rho", "--dpi=1.5"), "--dpi must be a positive number, got"),
        (("accuracy_vs_rho", "--aspect=3:0"), "--aspect must be a positive number"),
        (("accuracy_vs_rho", "--scale=big"), "--scale must be a positive number"),
        (("accuracy_vs_rho", "--width=x"), "--width must be half, full or a number"),
        (("accuracy_vs_rho", "--bg=x"), "--bg must be a color"),
        (
            ("accuracy_vs_rho",),
            "--base_res_dir is missing, for example --base_res_dir=results/quickstart",
        ),
        (("accuracy_vs_rho", "--base_res_dir=no"), "no such directory: no"),
        (("accuracy_vs_rho", "--y=z"), "flag --y=z: value should be one of <acc|acc_"),
        (("accuracy_vs_rho", "--n_boot=0"), "--n_boot=0: must be a whole number"),
        (("accuracy_vs_rho", "more"), "unexpected argument 'more'; see --help"),
        (("accuracy_vs_rho", "--yy=1"), "unknown flag --yy; did you mean"),
        (
            ("template_embedding", "--delta_type=x"),
            "flag --delta_type=x: value should be one of <max|min>",
        ),
    ],
)
def test_commands_that_are_refused(capsys, tmp_path, monkeypatch, flags, said):
    monkeypatch.chdir(tmp_path)
    status, out, err = plot(capsys, *flags)
    assert (status, out) == (1, "")
    assert err.startswith(f"error: {said}")
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


class TestMissingTools:
    @pytest.fixture(autouse=True)
    def _none(self, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(style.shutil, "which", lambda name: None)

    def test_is_found_before_anything_is_read(self, capsys, tmp_path):
        for flags in (["--style=paper"], ["--out=a.pgf"]):
            status, out, err = plot(
                capsys, "accuracy_vs_rho", "--base_res_dir=no", *flags
            )
            assert (status, out) == (1, "")
            assert err.startswith("error: a figure in pgf needs LaTeX (xelatex")
            assert err.count("\n") == 1
        assert not any(tmp_path.iterdir())

    @pytest.mark.slow
    def test_other_styles_are_drawn(self, capsys, tmp_path):
        made_results.make_result(tmp_path / "r/result.npz")
        status, out, err = plot(
            capsys,
            *("class_changes", "--base_res_dir=r", "--style", "paper", "png"),
            "--out=f",
        )
        assert (status, out) == (1, "")
        lines = err.splitlines()
        said = "not drawn in style paper: a figure in pgf needs LaTeX"
        assert lines[0].startswith(f"failed: {said}")
        assert lines[-1].startswith(f"error: {said}")
        assert (tmp_path / "f.png").is_file()
        assert "saved f.png" in lines
        assert not list(tmp_path.glob("*.pgf"))

    def test_packages(self, capsys, monkeypatch):
        monkeypatch.setitem(sys.modules, "sklearn", None)
        status, _, err = plot(capsys, "template_embedding", "--res_file=no")
        assert status == 1
        assert err == (
            "error: figure template_embedding needs sklearn: pip install "
            "'alphanet_jax[plots]'\n"
        )

    @pytest.mark.parametrize("name", KINDS)
    def test_a_kind_lists_what_it_imports(self, name):
        """The module `embedding` is the one that needs more than matplotlib."""
        kind = load_kind(name)
        kind.check_packages()
        module = sys.modules[f"alphanet_jax.figures.kinds.{name}"]
        assert ("sklearn" in kind.packages) == hasattr(module, "embed")


def test_the_place_of_a_legend_is_checked_before_anything_is_written(sweep, capsys):
    out = sweep / "o/a.png"
    status, _, err = plot(
        capsys,
        "accuracy_vs_rho",
        f"--base_res_dir={sweep / 's'}",
        "--legend_loc=left",
        f"--out={out}",
    )
    assert status == 1
    assert err.splitlines()[-1].startswith("error: --legend_loc: unknown place 'left'")
    assert not out.exists()


def size_of_png(path):
    from PIL import Image

    with Image.open(path) as image:
        return image.size


@pytest.mark.slow
def test_flags_of_the_style_reach_the_file(sweep, capsys, monkeypatch):
    monkeypatch.chdir(sweep)
    command = ("accuracy_vs_rho", "--base_res_dir=s", "--legend_loc=none")

    def made(*flags):
        status, _, err = plot(capsys, *command, "--out=a.png", *flags)
        assert status == 0, err
        return size_of_png("a.png"), (sweep / "a.png").read_bytes()

    usual = made()
    assert usual[0] == (650, 406)
    for flags, size in (
        (("--width=full",), (1350, 843)),
        (("--width=2", "--aspect=1.6"), (400, 250)),
        (("--default_half_width=4",), (800, 500)),
        (("--width=full", "--default_full_width=5"), (1000, 625)),
        (("--aspect=3:2",), (650, 433)),
        (("--panel_aspect=3:2",), (650, 433)),
        (("--font_serif", "No Such Font", "DejaVu Serif"), (650, 406)),
        (("--dpi=100",), (325, 203)),
        (("--scale=2",), (1300, 812)),
    ):
        assert made(*flags)[0] == size, flags
    for flags in (
        ("--theme=dark",),
        ("--context=talk",),
        ("--font_default=monospace",),
        ("--font_math=cm",),
        ("--font_size=5",),
        ("--small_font_size=5",),
        ("--bg=yellow",),
        ("--fg_primary=blue",),
        ("--fg_secondary=red", "--y=acc_delta"),
        ("--transparent",),
    ):
        size, content = made(*flags)
        assert size[0] == usual[0][0]
        assert content != usual[1], flags


@pytest.mark.slow
def test_endings_and_styles(sweep, capsys, monkeypatch):
    monkeypatch.chdir(sweep)

    def names(*flags):
        status, _, err = plot(
            capsys, "accuracy_vs_rho", "--base_res_dir=s", "--n_boot=5", *flags
        )
        assert status == 0, err
        return [
            line.removeprefix("saved ")
            for line in err.splitlines()
            if line.startswith("saved ")
        ]

    assert names() == ["accuracy_vs_rho.png", "accuracy_vs_rho.csv"]
    for ending in ("png", "PNG"):
        assert names(f"--out=x.{ending}", "--style", "png") == ["x.png", "x.csv"]
    assert names("--out=x/rho_0.5.svg") == ["x/rho_0.5.svg", "x/rho_0.5.csv"]
    assert names("--out=rho_0.5", "--style=png") == ["rho_0.5.png", "rho_0.5.csv"]
    assert names("--style", "web_dark", "png", "png", "--out=z") == [
        *("z.web_dark.svg", "z.png", "z.csv"),
    ]
    assert names("--style=arxiv") == ["accuracy_vs_rho.pdf", "accuracy_vs_rho.csv"]
