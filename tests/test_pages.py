"""The code on the pages of the README and the docs does what they say."""

import json
import re
import types
from pathlib import Path

import made_checkpoints
import made_data
import made_originals
import numpy as np
import page_code
import pytest
from page_code import ROOT

import alphanet_jax
from alphanet_jax.commands import cli
from alphanet_jax.errors import UserError
from alphanet_jax.lookup import activations, optimizers, schedules
from alphanet_jax.sampling import SAMPLERS

BLOCKS = [block for name in page_code.NAMES for block in page_code.blocks(name)]
SHELL = [block for block in BLOCKS if block.language == "bash"]
PYTHON = [block for block in BLOCKS if block.language == "python"]


def test_there_are_blocks_of_known_languages():
    assert len(SHELL) > 40
    assert len(PYTHON) > 12
    assert {block.language for block in BLOCKS} <= {"bash", "python", "text", "toml"}


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_shell(block, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)  # paths of tests and programs are from there
    for words in page_code.commands(block.text):
        page_code.check(words)


@pytest.mark.parametrize(
    "text",
    [
        "alphanet trian",
        "alphanet train --wordir=x",
        "alphanet train --config=nothing",
        "alphanet plot class_change",
        "alphanet results extra",
        "python benchmarks/sweep.py --nothing",
        "python benchmarks/nothing.py",
        "pip install '.[nothing]'",
        "pytest tests/test_pages.py::test_nothing_of_the_kind" + "_x",
        "python -c 'import alphanet_jax.nothing'",
        "curl https://example.org",
    ],
)
def test_shell_that_is_wrong_is_noticed(text):
    ((words),) = page_code.commands(text)
    wrong = (AssertionError, ImportError, KeyError, OSError, UserError)
    with pytest.raises((*wrong, cli.flags.Error)):
        page_code.check(words)


def test_names_that_a_page_lists():
    """All samplers, and all that are known by PyTorch's names."""
    page = (ROOT / "docs" / "names.md").read_text(encoding="utf-8")
    listed = set()
    for name in re.findall(r"`(\S+Sampler)`", page):
        before, splits, after = re.split("[{}]", name)
        listed |= {f"{before}{split}{after}" for split in splits.split(",")}
    assert listed == set(SAMPLERS)
    for field, known in (
        ("optim_cls", optimizers.OPTIMIZERS),
        ("lr_sched_cls", schedules.SCHEDULES),
        ("hact", activations.ACTIVATIONS),
    ):
        (row,) = re.findall(rf"(?m)^\| `{field}` \| ([^|]+) \|", page)
        names = row.split(", ")
        assert set(names) <= known.keys()
        if field != "hact":  # of which the page has PyTorch's alone
            assert set(names) == known.keys()


def test_registry_of_a_page():
    (block,) = (each for each in BLOCKS if each.language == "toml")
    from alphanet_jax.data import registry

    text = block.text.replace("mydata", "made")
    path = Path("registry.toml")
    path.write_text(text)
    entry = registry.get_entry(path, "made")
    assert entry.classifier_key == "state_dict.fc"
    assert entry.label_names_file


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def arrays():
    """Small arrays that pages name, with rare classes beside their likes."""
    rng = np.random.default_rng(0)
    counts = np.array([120, 110, 104, 60, 50, 30, 9, 8])
    centers = rng.normal(size=(len(counts), 6))
    centers[6:] = centers[:2] + 0.7 * rng.normal(size=(2, 6))

    def draw(per_class):
        labels = np.repeat(np.arange(len(counts)), per_class)
        noise = rng.normal(size=(len(labels), 6))
        return (centers[labels] + noise).astype(np.float32), labels

    made = {"W": centers.astype(np.float32), "b": np.log(counts).astype(np.float32)}
    for name, per_class in (("train", counts), ("val", 6), ("test", 10)):
        made[f"x_{name}"], made[f"y_{name}"] = draw(per_class)
    new = rng.normal(size=(2, 6))
    made["y_new"] = np.repeat([0, 1], 5)
    made["x_new"] = (new[made["y_new"]] + rng.normal(size=(10, 6))).astype(np.float32)
    return made


@pytest.fixture
def names(monkeypatch, tmp_path):
    """What pages take for granted, in memory and in the current directory."""
    made = arrays()
    head = {"fc.weight": made["W"].copy(), "fc.bias": made["b"].copy()}
    made_checkpoints.save_zip(tmp_path / "checkpoint.pth", head)
    made["clf"] = types.SimpleNamespace()
    return made


@pytest.fixture
def _small(monkeypatch, names):
    """The same pages on less data: what is embedded is named, not small."""
    splits = {"few": [6, 7], "medium": [3, 4, 5], "many": [0, 1, 2]}
    small = alphanet_jax.Dataset.from_arrays(
        **{g: (names[f"x_{g}"], names[f"y_{g}"]) for g in ("train", "val", "test")},
        weight=names["W"],
        bias=names["b"],
        splits=splits,
        label_names=[f"class {i}" for i in range(8)],
    )
    monkeypatch.setattr(alphanet_jax, "load_data", lambda settings: small)
    whole = alphanet_jax.Settings

    def short(**fields):
        return whole(**{"n_neighbors": 3, "train_epochs": 2, **fields, "seeds": 2})

    monkeypatch.setattr(alphanet_jax, "Settings", short)
    fit = alphanet_jax.fit

    def quick(*given, **options):
        shorter = {"seeds": 2, "train_epochs": 2, "min_epochs": 1, "n_neighbors": 3}
        if options.get("method"):
            shorter = {"n_neighbors": 3}
        return fit(*given, **{**shorter, **options})

    monkeypatch.setattr(alphanet_jax, "fit", quick)


# What needs PyTorch has blocks of its own.
OF_TORCH = ("patch_torch", "extract_features")


def run(page, names):
    """Runs the Python of a page from top to bottom, and returns what it made."""
    for block in PYTHON:
        if block.page == page and not any(word in block.text for word in OF_TORCH):
            code = compile("\n" * block.line + block.text, page, "exec")
            exec(code, names)
    return names


def test_every_page_with_python_is_run():
    found = {block.page for block in PYTHON}
    assert found == {
        "README.md",
        "docs/config.md",
        "docs/formats.md",
        "docs/original_results.md",
        "docs/own_model.md",
        "docs/python.md",
    }


@pytest.mark.slow
@pytest.mark.usefixtures("_small")
def test_python_of_the_readme(names, capsys):
    made = run("README.md", names)
    assert "AlphaNet" in capsys.readouterr().out
    assert made["weight"].shape == made["W"].shape
    assert Path("corrected.pth").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("_small")
def test_python_of_ones_own_model(names):
    made = run("docs/own_model.md", names)
    changed = np.flatnonzero((made["clf"].coef_ != made["W"]).any(axis=1))
    assert changed.tolist() == [6, 7]
    with np.load("extended.npz") as head:
        assert head["weight"].shape == (10, 6)


def test_python_that_extracts_features_and_patches(names, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.syspath_prepend(ROOT / "examples")
    model = torch.nn.Sequential()
    model.add_module("body", torch.nn.Linear(6, 5))
    model.add_module("fc", torch.nn.Linear(5, 8))
    names["model"], names["alphanet_jax"] = model, alphanet_jax
    for group in ("train", "val", "test"):
        tensors = [torch.tensor(names[f"{x}_{group}"]) for x in "xy"]
        names[f"{group}_loader"] = torch.utils.data.DataLoader(
            torch.utils.data.TensorDataset(*tensors), batch_size=64
        )
    blocks = [each for each in PYTHON if any(word in each.text for word in OF_TORCH)]
    extracting = [each for each in blocks if "extract_features" in each.text]
    for block in extracting:
        exec(block.text, names)
    assert np.load("features/val.npy").shape == (48, 5)
    with np.load("features/head.npz") as file:
        head = dict(file)
    assert head["weight"].shape == (8, 5)
    names["correction"] = alphanet_jax.fit(
        np.load("features/train.npy"),
        names["y_train"],
        head["weight"],
        head["bias"],
        n_neighbors=3,
        seeds=2,
        train_epochs=2,
    )
    patching = [each for each in blocks if each not in extracting]
    for block in patching:
        exec(block.text, names)
    assert len(patching) == 3
    np.testing.assert_array_equal(
        model.fc.weight.detach().numpy(), names["correction"].head().weight
    )


@pytest.mark.slow
@pytest.mark.usefixtures("_small")
def test_python_of_the_page_on_python(names, capsys):
    made = run("docs/python.md", names)
    assert "trained" in capsys.readouterr().out
    assert made["chosen"].knob is None or np.isfinite(made["chosen"].knob)
    assert Path("changes.png").exists()
    assert made["estimator"].predict_proba(made["x_test"]).shape == (80, 8)


def test_python_of_a_config(names):
    config = run("docs/config.md", names)["get_config"]()
    from alphanet_jax.config.fields import settings_from_config

    assert settings_from_config(config).rho == 0.5


def test_python_of_results_of_the_original(names, tmp_path):
    made = made_data.make(tmp_path)
    content, *_ = made_originals.result_of(made)
    made_originals.save(tmp_path / "old" / "rep_1" / "result.pth", content)
    found = run("docs/original_results.md", names)
    assert found["file"].arrays["alphas"].shape == found["arrays"]["alphas"].shape


@pytest.mark.slow
def test_a_newcomers_first_minute(capsys, names):
    """The commands of the page, in their order, with less to train and to compare."""
    shorter = {"quickstart": ["--config.seeds=2", "--config.training.train_epochs=6"]}
    ran = []
    for block in SHELL:
        if block.page != "docs/start.md":
            continue
        for words in page_code.commands(block.text):
            name = words[1] if Path(words[0]).name == "alphanet" else ""
            # Comparing takes half a minute, and other tests do it.
            if name and "compare" not in " ".join(words):
                assert cli.main(["alphanet", *words[1:], *shorter.get(name, [])]) == 0
                ran.append(name)
    assert ran == ["quickstart", "export", "results", "combos", "plot"]
    assert "AlphaNet" in capsys.readouterr().out
    with np.load("head.npz") as head:
        assert head["weight"].shape == (100, 128)
    # The page on formats reads what the first minute wrote.
    with run("docs/formats.md", names).pop("result") as result:
        assert json.loads(str(result["config"]))["seeds"] == 2
