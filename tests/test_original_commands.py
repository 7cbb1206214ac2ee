"""The original's documented commands, translated by the documents' table alone."""

import json
import re
import statistics

import numpy as np
import pytest
import translated
from absl import flags

from alphanet_jax.commands import cli
from alphanet_jax.commands import plot as plot_command
from alphanet_jax.commands import train as train_command
from alphanet_jax.figures.kind import ORIGINALS
from alphanet_jax.results import load_result, recorded

TABLE = translated.Table()
DATASET = "cifar100lt_effnetlite0_crt"
EMBEDDED = f"{translated.ROOT}/data/CIFAR100LT"

# What its documents say that `run_train.py` does where an option is not given.
DEFAULTS = {
    "--alphanet:hdims": ["32", "32", "32"],
    "--alphanet:hact": ["leaky_relu"],
    "--training:n-neighbors": ["5"],
    "--training:nn-dist": ["euclidean"],
    "--training:ptopt:optim-cls": ["AdamW"],
    "--training:ptopt:optim-params": ["lr=0.001"],
    "--training:ptopt:lr-sched-cls": ["StepLR"],
    "--training:ptopt:lr-sched-params": ["step_size=10,gamma=0.1"],
    "--training:train-epochs": ["25"],
    "--training:min-epochs": ["5"],
    "--training:train-batch-size": ["64"],
    "--training:eval-batch-size": ["1024"],
    "--training:sampler-builder:sampler-classes": [
        "AllFewSampler",
        "ClassBalancedBaseSampler",
    ],
    "--training:sampler-builder:sampler-args": ["", "r=0.1"],
    "--training:train-datagrp": ["train"],
    "--training:val-datagrp": ["val"],
    "--training:test-datagrp": ["test"],
    "--training:pred-scale": ["1.0"],
}
# Every option with other values; some depend on others.
OTHERS = {
    "--alphanet:hdims": ["8", "6"],
    "--alphanet:hact": ["relu"],
    "--training:n-neighbors": ["3"],
    "--training:nn-dist": ["cosine"],
    "--training:ptopt:optim-cls": ["SGD"],
    "--training:ptopt:optim-params": ["lr=0.05,momentum=0.9,nesterov=true"],
    "--training:ptopt:lr-sched-cls": ["ExponentialLR"],
    "--training:ptopt:lr-sched-params": ["gamma=0.5"],
    "--training:train-epochs": ["3"],
    "--training:min-epochs": ["2"],
    "--training:train-batch-size": ["100"],
    "--training:eval-batch-size": ["512"],
    "--training:sampler-builder:sampler-classes": [
        "AllFewSampler",
        "UniformBaseImageSampler",
    ],
    "--training:sampler-builder:sampler-args": ["", "r=0.5"],
    "--training:val-datagrp": [""],
    "--training:pred-scale": ["2.0"],
}
SHORT = {"--training:train-epochs": ["2"], "--training:min-epochs": ["1"]}
ALONE = [
    *([name, *values] for name, values in OTHERS.items() if "epochs" not in name),
    ["--training:sampler-builder:sampler-classes", "AllFewSampler", "AllBaseSampler"],
    ["--training:sampler-builder:sampler-args", ""],
    ["--training:sampler-builder:sampler-args", "", "r=2"],
    ["--training:eval-batch-size", "0"],
    ["--training:train-datagrp", "all"],
    ["--training:test-datagrp", "held_out"],
    ["--alphanet:hdims", "16"],
    ["--training:train-epochs", "30", "--training:min-epochs", "7"],
]


def flat(options):
    return [word for name, values in options.items() for word in (name, *values)]


def meant(words):
    """What a command of `run_train.py` means: its options, and its documents."""
    found = dict(DEFAULTS)
    for word in words:
        if word.startswith("--"):
            found[word] = []
            name = word
        else:
            found[name].append(word)
    return found


def check_settings(settings, words):
    """Compares settings of ours with what the words of the original mean."""
    wanted = meant(words)

    def params(text):
        pairs = (pair.split("=") for pair in text.split(",") if pair)
        return {name: json.loads(value) for name, value in pairs}

    for option, values in wanted.items():
        if option not in DEFAULTS:
            continue
        name = option.rpartition(":")[2].replace("-", "_")
        ours = getattr(settings, name)
        if name.endswith("_params"):
            assert ours == params(values[0])
        elif name == "sampler_args":
            classes = wanted["--training:sampler-builder:sampler-classes"]
            # One entry serves all; where none is given, r is 1.
            theirs = [params(value) for value in values * (3 - len(values))]
            kept = ours * (3 - len(ours))
            for sampler, there, here in zip(classes, theirs, kept, strict=False):
                if not sampler.startswith("All"):
                    assert here.get("r", settings.rho) == there.get("r", 1.0)
        elif isinstance(ours, tuple):
            assert [str(value) for value in ours] == values
        else:
            assert ours == type(ours)(values[0])
    assert settings.selection == "best"  # as its documents say
    assert settings.seeds == 1


def parsed(words):
    """What our command makes of its words: the settings of the only point."""
    values = flags.FlagValues()
    flags.DEFINE_bool("quiet", False, "", flag_values=values)
    arguments = ["main.py", *train_command.prepare_arguments(words[2:])]
    train_command.define_flags(values, arguments)
    assert values(arguments) == ["main.py"]
    (point,) = train_command.running.points(values)
    return point.settings


@pytest.mark.parametrize("options", ALONE, ids=lambda words: " ".join(words)[11:])
def test_an_option_means_the_same(options):
    """Each alone, read by our command; the rest is as the original's documents say."""
    words = ["run_train.py", "--dataset", "mine", *options]
    settings = parsed(TABLE.translate(words))
    assert settings.dataset == "mine"
    assert settings.registry == "config/datasets.toml"
    check_settings(settings, options)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A directory as the original's users have it: config/ and results/."""
    root = tmp_path_factory.mktemp("checkout")
    (root / "config").mkdir()
    (root / "config/datasets.toml").write_text(
        f"[{DATASET}]\n"
        f'split_files_dir = "{EMBEDDED}/splits"\n'
        f'feature_files_dir = "{EMBEDDED}/features/effnetlite0_crt"\n'
        f'classifier_file = "{EMBEDDED}/classifiers/effnetlite0_crt.pth"\n'
        'classifier_loader = "LinearClassifierLoader"\n'
        'nn_files_dir = "data/nns"\n'
        'baseline_eval_file = "data/baselines/effnetlite0_crt.pkl"\n'
        f'label_names_file = "{EMBEDDED}/label_names.txt"\n'
        'proper_name = "CIFAR-100-LT | cRT"\n'
    )
    return root


@pytest.fixture
def run(checkout, capsys, monkeypatch):
    """Runs a command of the original, translated; gives what it printed."""
    monkeypatch.chdir(checkout)

    def translate_and_run(*command, **how):
        capsys.readouterr()
        words = TABLE.translate(command, **how)
        assert words[:2] == ["python", "main.py"]
        status = cli.main([*words[1:], "--quiet"])
        out, err = capsys.readouterr()
        assert status == 0, err
        return out

    return translate_and_run


def train(run, directory, *options, repetition=1):
    run(
        *("python", "-O", "run_train.py", "--dataset", DATASET),
        *("--save-file", f"{directory}/result.pkl", *flat(SHORT), *options),
        repetition=repetition,
    )


def config_of(path):
    return recorded.settings_of(
        recorded.config_of(str(load_result(path, ["config"])["config"]))
    )


@pytest.mark.slow
def test_the_documented_example(run, checkout):
    """Result, checkpoints and logs lie where the command said."""
    place = "results/imagenetlt_resnext50_crt/run_1"
    options = ["--training:sampler-builder:sampler-args", "", "r=0.25"]
    train(
        run,
        place,
        *("--ckpt-dir", f"{place}/ckpts", "--training:tb-logs", f"{place}/tb"),
        *("--n-ckpt", "1", *options),
    )
    check_settings(config_of(checkout / place / "result.npz"), [*flat(SHORT), *options])
    assert [path.name for path in (checkout / place).glob("*.npz")] == ["result.npz"]
    assert any((checkout / place / "ckpts").iterdir())
    assert list((checkout / place / "tb").rglob("events.out.tfevents*"))


@pytest.mark.slow
def test_all_options_at_once(run, checkout):
    options = flat(OTHERS)
    train(run, "results/all", *options, "--alphanet:debug")
    settings = config_of(checkout / "results/all/result.npz")
    assert settings.debug
    check_settings(settings, options)


@pytest.fixture
def repeated(run, checkout):
    """Two repetitions of two experiments, by hand as the original's users do."""
    base = f"results/{DATASET}"
    for r in ("0.1", "0.2"):
        for number in (1, 2):
            if not (checkout / f"{base}/rho_{r}/run_{number}").exists():
                train(
                    run,
                    f"{base}/rho_{r}/run_{number}",
                    *("--training:sampler-builder:sampler-args", "", f"r={r}"),
                    repetition=number,
                )
    return base


def numbers(checkout, base, r):
    """Accuracy of few, medium, many and all, of every repetition, in percent."""
    found = []
    for number in (1, 2):
        made = load_result(checkout / f"{base}/rho_{r}/run_{number}/result.npz")
        right = made["test_pred"][0] == made["test_labels"]
        groups = [made[f"{split}_classes"] for split in ("few", "medium", "many")]
        parts = [right[np.isin(made["test_labels"], each)] for each in groups]
        found.append([100 * part.mean() for part in (*parts, right)])
    return list(zip(*found, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "form"), [((), "${:.1f}^{{{:.2f}}}$"), (("--for-web",), "{:.1f}^{:.2f}^")]
)
def test_tables(run, checkout, repeated, more, form):
    out = run(
        *("python", "run_printres.py", "--base-res-dir", repeated),
        *("--rel-exp-paths", "rho_0.1", "rho_0.2", "--exp-names", "0.1", "0.2"),
        *("--res-files-pattern", "run_*/result.pkl", "--eval-batch-size", "64"),
        *("--exp-prefix", "AlphaNet (r=", "--exp-suffix", ")", *more),
    )
    lines = out.splitlines()
    for r in ("0.1", "0.2"):
        of_r = numbers(checkout, repeated, r)
        means = [statistics.mean(values) for values in of_r]
        spread = [statistics.stdev(values) for values in of_r]
        assert min(spread) > 0  # repetitions are not copies
        cells = list(map(form.format, means, spread))
        rows = [re.split(r" {2,}", line) for line in lines]
        name = f"AlphaNet (r={r})"
        assert [name, *cells] in rows
        assert ",".join([name, *(f"{mean:.1f}" for mean in means)]) in lines


@pytest.mark.slow
def test_other_options_of_tables(run, repeated):
    """No row of the baseline, no means with commas, no headings, other widths."""
    out = run(
        *("run_printres.py", "--base-res-dir", repeated, "--rel-exp-paths", "rho_0.1"),
        *("--res-files-pattern", "run_*/result.pkl", "--acc-k", "5", "--for-web"),
        *("--no-print-csv", "--no-show-baselines", "--no-show-hdr"),
        *("--fixed-sig-width", "5", "--num-col-width", "14", "--name-col-width", "20"),
    )
    (row,) = out.strip("\n").splitlines()
    assert re.fullmatch(r"rho_0.1 {13}( +\d+\.\d\^\d\d\.\d\d\^){4}", row)


@pytest.mark.slow
def test_combinations(run, repeated):
    out = run(
        *("run_showcombos.py", "--base-res-dir", f"{repeated}/rho_0.1"),
        *("--res-files-pattern", "run_1/result.pkl", "--select-n", "2"),
        *("--mistake-n", "3", "--select-by", "acc", "--no-select-max"),
        *("--eval-batch-size", "64"),
    )
    assert "across 1 repetition(s)" in out
    found = [float(x) for x in re.findall(r"Mean AlphaNet accuracy: (\S+)", out)]
    assert len(found) == 2
    assert found == sorted(found)  # the least first
    mistakes = re.findall(r"(?m)^ {8}(?! ).*: \d+ -> ", out)
    assert 2 <= len(mistakes) <= 2 * 2 * 3


@pytest.mark.slow
def test_baseline(run, checkout):
    run("python", "-O", "run_baseline.py", "--dataset", DATASET, "--val-datagrp", "")
    path = checkout / "data/baselines/effnetlite0_crt.npz"
    made = load_result(path)
    np.testing.assert_array_equal(made["test_pred"][0], made["baseline_test_pred"])
    assert config_of(path).val_datagrp == ""


SEVERAL = [
    *("--base-res-dir", "D", "--exp-sub-dirs", "rho_0.1", "rho_0.2"),
    *("--exp-names", "0.1", "0.2", "--res-files-pattern", "run_*/result.pkl"),
    *("--eval-batch-size", "1024", "--n-boot", "50"),
]
LEGEND = [
    *("--legend-ncols", "2", "--legend-loc", "upper right"),
    *("--legend-bbox-to-anchor", "1", "1"),
]
PLOT = [
    *("--log-level", "error", "--plot:file", "F.pdf", "--plot:raw-file", "F.pkl"),
    *("--plot:width", "full", "--plot:aspect", "16:9", "--plot:theme", "dark"),
    *("--plot:context", "notebook", "--plot:backend", "agg", "--plot:dpi", "300"),
    *("--plot:font:default", "serif", "--plot:font:serif", "DejaVu Serif"),
    *("--plot:font:sans-serif", "DejaVu Sans", "--plot:font:monospace", "X", "Y"),
    *("--plot:font:cursive", "X", "--plot:font:fantasy", "X"),
    *("--plot:font:math", "stix", "--plot:bg", "white", "--plot:fg-primary", "black"),
    *("--plot:fg-secondary", "gray", "--plot:transparent", "--plot:scale", "1.5"),
    *("--plot:font-size", "9", "--plot:small-font-size", "7"),
    *("--plot:default-full-width", "5.5", "--plot:default-half-width", "2.7"),
]
FIGURES = {
    "PlotSplitClsAccDeltaVsNNDist": [
        *SEVERAL,
        *LEGEND,
        *("--splits", "few", "base", "--dist-for-rand", "cosine", "--col-wrap", "2"),
        *("--no-sharex", "--sharey", "--no-fit-reg", "--plot-r", "--r-group-classes"),
        *("--plot-r-loc", "upper right", "--r-font-size", "6", "--no-dist-on-x"),
        *("--acc", "baseline", "--no-despine", "--add-axes-guide"),
        *("--rasterize-scatter", "--add-dummy-before", "--add-dummy-after"),
        *("--no-add-axlabels", "--plot-params:log-xscale", "--plot-params:xlim", "1"),
        *("9", "--plot-params:ylim", "-5", "5", "--plot-params:xticks", "1", "2"),
        *("--plot-params:yticks", "1", "2", "--plot-params:xticklabels", "a", "b"),
        *("--plot-params:yticklabels", "a", "b", "--plot-params:xlabel", "x"),
        *("--plot-params:ylabel", "y", "--plot-params:log-yscale"),
    ],
    "PlotClassExamples": ["--srcs", "a.png", "b.png", "--labels", "a", "b"],
    "PlotSplitAccVsRhosSingle": [
        *("--res-dirs", "D/rho_0.1", "D/rho_0.2", "--n-boot", "50"),
        *("--res-files-pattern", "run_*/result.pkl", "--eval-batch-size", "64"),
        *("--y", "acc_delta", *LEGEND, "--major-xticks", "0.1", "0.2"),
        *("--major-xticklabels", "a", "b", "--minor-xticks", "0.15"),
    ],
    "PlotSplitAccVsExp": [
        *(*SEVERAL, *LEGEND, "--col", "metric", "--col-wrap", "2", "--y", "acc"),
        *("--xlabel", "k", "--xlabel-style", "math", "--no-show-titles"),
        "--no-show-xlabels",
    ],
    "PlotClsAccDeltaBySplit": SEVERAL,
    "PlotClsAccAndSamples": [*SEVERAL, "--col-wrap", "2"],
    "PlotAlphaDist": [*SEVERAL, *LEGEND, "--col-wrap", "2", "--source-idxs", "1", "2"],
    "PlotClsAccVsSamples": [
        *(*SEVERAL, *LEGEND, "--col-wrap", "2", "--use-husl", "--ci", "95"),
    ],
    "PlotTemplateDeltas": [
        *("--res-file", "D/rho_0.1/run_1/result.npz", "--eval-batch-size", "64"),
        *("--delta-type", "min", "--n-deltas", "2", "--n-pcs", "20"),
        *("--mds-iters", "100"),
    ],
    "PlotPredCounts": [
        *(*SEVERAL, "--col-wrap", "2", "--split", "few", "--nn-split", "base"),
    ],
    "PlotPredChanges": [
        *(*SEVERAL, "--col-wrap", "2", "--label-rot", "30", "--label-size", "8"),
        *("--split", "all", "--nn-split", "semantic", "--semantic-nns-level", "4"),
        *("--imagenet-data-root", "D", "--save-semantic-nns-file", "n.json"),
    ],
}


def flags_of(figure):
    """All that a figure's command may be told."""
    command = plot_command.choose(figure)
    values = flags.FlagValues()
    for name in ("quiet", "debug"):
        flags.DEFINE_bool(name, False, "", flag_values=values)
    command.define_flags(values, [])
    return command, values, {f"--{name}" for name in values}


@pytest.mark.parametrize("figure", FIGURES)
def test_every_option_of_figures(figure):
    """Each has its flag, and the flag the value that was given."""
    name = TABLE.figures[figure]
    command, values, known = flags_of(name)
    given = [*FIGURES[figure], *PLOT]
    words = TABLE.translate(["run_makeplot.py", figure, *given], known=known)
    assert words[:4] == ["python", "main.py", "plot", name]
    assert values(["plot", *command.prepare_arguments(words[4:])]) == ["plot"]
    assert values.out == "F.pdf"
    assert (values.width, values.aspect, values.theme) == ("full", "16:9", "dark")
    assert values.font_monospace == ["X", "Y"]
    assert values.transparent
    gone = {"raw_file", "backend", "eval_batch_size", "log_level"}
    gone |= set() if "--n_boot" in known else {"n_boot"}
    wanted = {
        re.sub(r"^(plot:font:)", "font_", re.sub("^plot(-params)?:(?!font:)", "", name))
        .replace("-", "_")
        .removeprefix("no_")
        for name in (word[2:] for word in given if word.startswith("--"))
    }
    wanted = {"out" if name == "file" else name for name in wanted} - gone
    assert {name for name in wanted if values[name].present} == wanted


def test_all_figures_are_named():
    ours = {TABLE.figures[name] for name in FIGURES}
    assert ours == {*ORIGINALS.values()} - {"change_vs_rho"}


@pytest.mark.slow
def test_figures(run, checkout, repeated):
    several = [repeated if word == "D" else word for word in SEVERAL]
    some = flags_of("alphas")[2]
    run(
        *("run_makeplot.py", "PlotAlphaDist", *several, "--source-idxs", "1"),
        *("--plot:file", "figures/alphas.svg", "--plot:raw-file", "x.pkl"),
        *("--plot:width", "full"),
        known=some,
    )
    assert b"<svg" in (checkout / "figures/alphas.svg").read_bytes()
    assert (checkout / "figures/alphas.csv").is_file()
    directories = [f"{repeated}/rho_{r}" for r in ("0.1", "0.2")]
    run(
        *("run_makeplot.py", "PlotSplitAccVsRhosSingle", "--res-dirs", *directories),
        *("--res-files-pattern", "run_*/result.pkl", "--y", "acc_delta"),
        *("--n-boot", "20", "--plot:file", "figures/rho.pdf"),
        known=flags_of("accuracy_vs_rho")[2],
    )
    assert (checkout / "figures/rho.pdf").read_bytes().startswith(b"%PDF")
    text = (checkout / "figures/rho.csv").read_text()
    assert "few" in text
    assert re.findall(r"\b0\.[12]\b", text)
