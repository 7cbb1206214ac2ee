"""The config files and the registry: what they say, and what is said of bad ones."""

import dataclasses
from pathlib import Path

import ml_collections
import pytest
from absl import flags
from ml_collections import config_flags

from alphanet_jax import bundled
from alphanet_jax.commands import cli
from alphanet_jax.config.fields import (
    FIELDS,
    Settings,
    check_config,
    default_config,
    get,
)
from alphanet_jax.data import registry
from alphanet_jax.errors import UserError
from alphanet_jax.experiment import training
from alphanet_jax.results import sets
from alphanet_jax.results.datasets import DataFinder

# ml_collections loads config files in a way that Python calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
REGISTRY = CONFIGS / "datasets.toml"
EMBEDDED = "cifar100lt_effnetlite0_crt"

# What follows the file's name on the command line, and what each then sets apart from
# the defaults.
PAPER = {
    "imagenetlt.py": {"dataset": "imagenetlt_resnext50_crt", "rho": 0.5},
    "imagenetlt.py:crt": {"dataset": "imagenetlt_resnext50_crt", "rho": 0.5},
    "imagenetlt.py:lws": {"dataset": "imagenetlt_resnext50_lws", "rho": 0.5},
    "imagenetlt.py:ride": {"dataset": "imagenetlt_resnext50_ride", "rho": 0.5},
    "placeslt.py": {"dataset": "placeslt_resnet152_crt", "rho": 0.5},
    "placeslt.py:crt": {"dataset": "placeslt_resnet152_crt", "rho": 0.5},
    "placeslt.py:lws": {"dataset": "placeslt_resnet152_lws", "rho": 0.5},
    "cifar100lt.py": {
        "dataset": "cifarlt_resnet32_ride",
        "rho": 0.5,
        "training.train_epochs": 10,
        "training.val_datagrp": "",
    },
    "cifar100lt.py:ride": {
        "dataset": "cifarlt_resnet32_ride",
        "rho": 0.5,
        "training.train_epochs": 10,
        "training.val_datagrp": "",
    },
    "cifar100lt.py:ltr": {
        "dataset": "cifarlt_resnet34_ltr",
        "rho": 0.5,
        "pred_scale": 100.0,
        "training.train_epochs": 10,
        "training.val_datagrp": "",
    },
    "inaturalist.py": {
        "dataset": "inat_resnet152_crt",
        "rho": 0.05,
        "training.train_epochs": 10,
        "training.train_batch_size": 256,
        "training.val_datagrp": "",
    },
    "inaturalist.py:crt": {
        "dataset": "inat_resnet152_crt",
        "rho": 0.05,
        "training.train_epochs": 10,
        "training.train_batch_size": 256,
        "training.val_datagrp": "",
    },
}
MODELS = {
    "imagenetlt.py": "crt, lws, ride",
    "placeslt.py": "crt, lws",
    "cifar100lt.py": "ride, ltr",
    "inaturalist.py": "crt",
}
RUNNABLE = [*PAPER, "quickstart.py"]

# The smallest table that the original takes, with the hyphen that its template has.
ORIGINAL = """\
[imagenetlt_resnext50_crt]
split_files_dir = "data/ImageNetLT/splits"
feature_files_dir = "data/ImageNetLT/features/resnext50_crt"
classifier_file = "data/ImageNetLT/classifiers/resnext50_crt.pth"
classifier_loader = "LinearClassifierLoader"
nn_files_dir = "data/ImageNetLT/nns/resnext50_crt"
baseline_eval_file = "data/ImageNetLT/baselines/resnext50_crt.pkl"
"""


def load(name: str) -> ml_collections.ConfigDict:
    """Loads a config as the command line does: `file.py` or `file.py:model`."""
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, "", flag_values=values)
    values(["main.py", f"--config={CONFIGS / name}"])
    return values.config


def changes(config: ml_collections.ConfigDict) -> dict:
    """The fields that are not as in the default config."""
    default = default_config()
    return {
        field.name: get(config, field.name)
        for field in FIELDS
        if get(config, field.name) != get(default, field.name)
    }


# --- Config files ---------------------------------------------------------------------


def test_every_config_file_is_tested_here():
    listed = {name.partition(":")[0] for name in RUNNABLE}
    assert {path.name for path in CONFIGS.glob("*.py")} == listed | {"default.py"}


@pytest.mark.parametrize("name", RUNNABLE)
def test_config_is_complete_and_its_dataset_is_in_the_registry(name):
    config = load(name)
    check_config(config)
    entry = registry.get_entry(REGISTRY, config.dataset)
    training = config.training
    assert {training.train_datagrp, training.test_datagrp} <= set(entry.datagrps)
    # Where there are validation samples they are used, and only there.
    assert training.val_datagrp == ("val" if "val" in entry.datagrps else "")


@pytest.mark.parametrize(("name", "expected"), PAPER.items())
def test_config_sets_what_the_paper_says_and_nothing_else(name, expected, monkeypatch):
    monkeypatch.chdir(CONFIGS.parent)
    assert changes(load(name)) == expected


def test_defaults_are_the_settings_of_the_paper(monkeypatch):
    monkeypatch.chdir(CONFIGS.parent)
    config = load("default.py")
    assert changes(config) == {}
    assert config.training.train_epochs == 25
    assert config.training.min_epochs == 5
    assert config.training.train_batch_size == 64
    assert config.training.n_neighbors == 5
    assert config.training.nn_dist == "euclidean"
    assert config.training.ptopt.optim_cls == "AdamW"
    assert config.training.ptopt.optim_params == "lr=0.001"
    assert config.training.ptopt.lr_sched_cls == "StepLR"
    assert config.training.ptopt.lr_sched_params == "step_size=10,gamma=0.1"
    assert config.training.val_datagrp == "val"
    assert config.alphanet.hdims == (32, 32, 32)
    assert config.alphanet.hact == "leaky_relu"
    assert config.pred_scale == 1.0
    assert config.seeds == 10
    assert config.selection == "best"


def test_default_config_asks_for_a_dataset():
    with pytest.raises(UserError, match=r"^config\.dataset is not set: name of the"):
        check_config(load("default.py"))


def test_quickstart_is_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load("quickstart.py")
    assert sorted(changes(config)) == ["data_root", "dataset", "registry", "rho"]
    assert config.rho == 0.5
    entry = registry.get_entry(Path(config.registry), config.dataset)
    root = Path(config.data_root)
    assert (root / entry.split_files_dir / "few.txt").is_file()
    assert (root / entry.feature_files_dir).is_dir()
    assert entry.label_names_file is not None
    assert (root / entry.label_names_file).is_file()
    assert entry.synsets_file is not None
    assert (root / entry.synsets_file).is_file()


@pytest.mark.parametrize("name", [*PAPER, "default.py"])
def test_registry_is_found_from_anywhere(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load(name)
    assert Path(config.registry) == REGISTRY
    assert config.data_root == "."  # its data is neither here nor bundled
    Path("configs").mkdir()
    Path("configs/datasets.toml").touch()
    assert load(name).registry == "configs/datasets.toml"


@pytest.mark.parametrize("name", PAPER)
def test_data_beside_the_registry_is_found_from_anywhere(name, tmp_path, monkeypatch):
    entry = registry.get_entry(REGISTRY, load(name).dataset)
    data = Path(entry.split_files_dir).parent
    home, here = tmp_path / "home", tmp_path / "here"
    (home / data).mkdir(parents=True)
    here.mkdir()
    monkeypatch.setattr(bundled, "root", lambda: home)
    monkeypatch.chdir(here)
    assert load(name).data_root == str(home)
    Path(data).mkdir(parents=True)
    assert load(name).data_root == "."


class TestNames:
    """`--config=NAME`."""

    def test_every_name_is_a_config(self):
        assert bundled.root() == CONFIGS.parent
        for name in bundled.config_names():
            path = str(CONFIGS / f"{name}.py")
            for text in (name, f"{name}.py", f"configs/{name}", f"configs/{name}.py"):
                assert bundled.find_config(text) in (path, text)
            assert bundled.find_config(f"{name}:a:b") == f"{path}:a:b"

    def test_a_file_wins(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        for text in ("quickstart", "imagenetlt.py"):
            assert bundled.find_config(text) != text
            Path(text).touch()
            assert bundled.find_config(text) == text
            assert bundled.find_config(f"{text}:ride") == f"{text}:ride"
        # A directory is no config.
        Path("placeslt").mkdir()
        assert bundled.find_config("placeslt") == str(CONFIGS / "placeslt.py")

    @pytest.mark.parametrize(
        ("text", "near"),
        [
            ("quickstrat", "did you mean 'quickstart'? "),
            ("imagenet:ride", "did you mean 'imagenetlt'? "),
            ("zzz", ""),
            ("", ""),
            ("../configs/quickstart.py", "did you mean 'quickstart'? "),
        ],
    )
    def test_unknown(self, text, near, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(UserError) as caught:
            bundled.find_config(text)
        assert str(caught.value) == (
            f"--config: no such file: {text!r}, and no config of that name; {near}"
            "there are cifar100lt, default, imagenetlt, inaturalist, placeslt, "
            "quickstart"
        )


def test_configs_are_independent():
    load("cifar100lt.py:ltr").training.train_epochs = 1
    assert load("cifar100lt.py:ltr").training.train_epochs == 10


@pytest.mark.parametrize(("name", "models"), MODELS.items())
@pytest.mark.parametrize("model", ["rids", "", "crt:lws"])
def test_unknown_model_is_one_line_of_error(name, models, model, capsys):
    status = cli.main(["main.py", f"--config={CONFIGS / name}:{model}"])
    captured = capsys.readouterr()
    assert status == 1
    assert captured.out == ""
    assert captured.err == (
        f"error: configs/{name}: model must be one of {models}, got {model!r}\n"
    )


# --- The registry ---------------------------------------------------------------------


def test_every_dataset_has_a_config_and_every_config_a_dataset():
    named = {load(name).dataset for name in RUNNABLE}
    assert named == set(registry.load_registry(REGISTRY))
    assert named == {
        "cifar100lt_effnetlite0_crt",
        "imagenetlt_resnext50_crt",
        "imagenetlt_resnext50_lws",
        "imagenetlt_resnext50_ride",
        "placeslt_resnet152_crt",
        "placeslt_resnet152_lws",
        "cifarlt_resnet32_ride",
        "cifarlt_resnet34_ltr",
        "inat_resnet152_crt",
    }


def test_entries_of_the_paper():
    entries = {
        name: registry.get_entry(REGISTRY, name)
        for name in registry.load_registry(REGISTRY)
    }
    directories = {
        "imagenetlt": "ImageNetLT",
        "placeslt": "PlacesLT",
        "cifarlt": "CIFARLT",
        "inat": "iNaturalist",
        "cifar100lt": "CIFAR100LT",
    }
    for name, entry in entries.items():
        dataset, rest = name.split("_", 1)
        directory = f"data/{directories[dataset]}"
        assert entry.split_files_dir == f"{directory}/splits"
        assert entry.feature_files_dir == f"{directory}/features/{rest}"
        assert entry.classifier_file == f"{directory}/classifiers/{rest}.pth"
        assert entry.nn_files_dir == f"{directory}/nns/{rest}"
        assert entry.baseline_eval_file == f"{directory}/baselines/{rest}.npz"
        combined = entry.classifier_loader == "CombinedClassifierLoader"
        assert combined == name.endswith("_ride")
        named = f"{directory}/label_names.txt"
        has_names = dataset in ("imagenetlt", "cifar100lt")
        assert entry.label_names_file == (named if has_names else None)
        ids = {"cifar100lt": "synsets.txt", "imagenetlt": "labels_full.txt"}
        meant = f"{directory}/{ids[dataset]}" if dataset in ids else None
        assert entry.synsets_file == meant
        no_val = dataset in ("cifarlt", "inat")
        assert entry.datagrps == (
            ("train", "test") if no_val else ("train", "val", "test")
        )
    assert {name: entry.proper_name for name, entry in entries.items()} == {
        "cifar100lt_effnetlite0_crt": "CIFAR-100-LT | cRT",
        "imagenetlt_resnext50_crt": "ImageNet-LT | cRT",
        "imagenetlt_resnext50_lws": "ImageNet-LT | LWS",
        "imagenetlt_resnext50_ride": "ImageNet-LT | RIDE",
        "placeslt_resnet152_crt": "Places-LT | cRT",
        "placeslt_resnet152_lws": "Places-LT | LWS",
        "cifarlt_resnet32_ride": "CIFAR-100-LT | RIDE",
        "cifarlt_resnet34_ltr": "CIFAR-100-LT | LTR",
        "inat_resnet152_crt": "iNaturalist | cRT",
    }


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_registry_of_the_original_is_accepted(tmp_path):
    path = write(tmp_path, ORIGINAL)
    assert registry.get_entry(path, "imagenetlt_resnext50_crt") == (
        registry.DatasetEntry(
            name="imagenetlt_resnext50_crt",
            split_files_dir="data/ImageNetLT/splits",
            feature_files_dir="data/ImageNetLT/features/resnext50_crt",
            classifier_file="data/ImageNetLT/classifiers/resnext50_crt.pth",
            classifier_loader="LinearClassifierLoader",
            nn_files_dir="data/ImageNetLT/nns/resnext50_crt",
            baseline_eval_file="data/ImageNetLT/baselines/resnext50_crt.pkl",
            label_names_file=None,
            synsets_file=None,
            datagrps=("train", "val", "test"),
            proper_name="imagenetlt_resnext50_crt",
        )
    )


def test_optional_keys_of_the_original_are_accepted(tmp_path):
    more = (
        'label_names_file = "data/ImageNetLT/label_names.txt"\n'
        'datagrps = ["train", "test"]\n'
        'proper_name = "ImageNet\N{NON-BREAKING HYPHEN}LT | cRT"\n'
    )
    entry = registry.get_entry(
        write(tmp_path, ORIGINAL + more), "imagenetlt_resnext50_crt"
    )
    assert entry.label_names_file == "data/ImageNetLT/label_names.txt"
    assert entry.datagrps == ("train", "test")
    assert entry.proper_name == "ImageNet\N{NON-BREAKING HYPHEN}LT | cRT"


def test_synsets_file_is_accepted(tmp_path):
    path = write(tmp_path, ORIGINAL + 'synsets_file = "data/labels_full.txt"\n')
    entry = registry.get_entry(path, "imagenetlt_resnext50_crt")
    assert entry.synsets_file == "data/labels_full.txt"


def test_other_datasets_of_a_registry_may_be_incomplete(tmp_path):
    path = write(tmp_path, ORIGINAL + "\n[unfinished]\n")
    assert registry.get_entry(path, "imagenetlt_resnext50_crt").datagrps


def drop(key: str) -> str:
    return "".join(
        line for line in ORIGINAL.splitlines(True) if not line.startswith(key)
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            ORIGINAL + 'classifer_file = "x.pth"\n',
            "{entry}: unknown key 'classifer_file'; did you mean 'classifier_file' or "
            "'classifier_key' or 'classifier_loader'?",
        ),
        (
            ORIGINAL + "unlike = 1\n",
            "{entry}: unknown key 'unlike'; known are "
            + ", ".join(
                repr(f.name) for f in dataclasses.fields(registry.DatasetEntry)[1:]
            ),
        ),
        (drop("feature_files_dir"), "{entry}: feature_files_dir is missing"),
        (drop("classifier_file"), "{entry}: classifier_file is missing"),
        (
            ORIGINAL.replace("LinearClassifierLoader", "TorchLoader"),
            "{entry}: classifier_loader must be one of LinearClassifierLoader, "
            "CombinedClassifierLoader, got 'TorchLoader'",
        ),
        (
            ORIGINAL + "proper_name = 3\n",
            "{entry}: proper_name must be a non-empty string, got 3",
        ),
        (
            ORIGINAL + 'label_names_file = ""\n',
            "{entry}: label_names_file must be a non-empty string, got ''",
        ),
        (
            ORIGINAL + "synsets_file = []\n",
            "{entry}: synsets_file must be a non-empty string, got []",
        ),
        (
            ORIGINAL + 'synsets_file = "a\\u0000b"\n',
            "{entry}: synsets_file must be without a zero byte, got 'a\\x00b'",
        ),
        (
            ORIGINAL + 'datagrps = "train"\n',
            "{entry}: datagrps must be a list of names: 'train'",
        ),
        (
            ORIGINAL + 'datagrps = ["train", ""]\n',
            "{entry}: datagrps must be a list of names: ['train', '']",
        ),
        (
            'imagenetlt_resnext50_crt = "data"\n',
            "{path}: 'imagenetlt_resnext50_crt' is not a table; write it as "
            "[imagenetlt_resnext50_crt]",
        ),
    ],
)
def test_entry_that_is_not_right(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(UserError) as caught:
        registry.get_entry(path, "imagenetlt_resnext50_crt")
    entry = f"{path}: dataset 'imagenetlt_resnext50_crt'"
    assert str(caught.value) == message.format(path=path, entry=entry)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("inat_resnet152_crf", "did you mean 'inat_resnet152_crt' or "),
        ("zzz", "known are 'cifar100lt_effnetlite0_crt', 'imagenetlt_resnext50_crt', "),
    ],
)
def test_unknown_dataset(name, hint):
    with pytest.raises(UserError) as caught:
        registry.get_entry(REGISTRY, name)
    start = f"unknown dataset {name!r} in {REGISTRY}; {hint}"
    assert str(caught.value).startswith(start)


def test_registry_that_is_not_toml(tmp_path):
    path = write(tmp_path, "split_files_dir: data\n")
    with pytest.raises(UserError) as caught:
        registry.get_entry(path, "imagenetlt_resnext50_crt")
    message = str(caught.value)
    assert message.startswith(f"{path}: not a TOML file: Expected '='")
    assert "line 1" in message
    assert "\n" not in message


def test_registry_that_is_not_text(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xff")
    with pytest.raises(UserError) as caught:
        registry.get_entry(path, "x")
    assert str(caught.value).startswith(f"{path}: not a TOML file: ")


def test_registry_that_is_not_there(tmp_path):
    path = tmp_path / "none.toml"
    with pytest.raises(UserError) as caught:
        registry.get_entry(path, "x")
    assert (
        str(caught.value) == f"{path}: cannot read registry: No such file or directory"
    )


class TestFromAnEmptyDirectory:
    """As a notebook has it, with the settings' own defaults."""

    @pytest.fixture(autouse=True)
    def _empty(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)

    @pytest.mark.slow
    def test_the_embedded_data_is_found(self, tmp_path):
        settings = Settings(dataset=EMBEDDED)
        data = training.load_data(settings)
        assert (data.proper_name, data.num_classes) == ("CIFAR-100-LT | cRT", 100)
        # What is trained on it finds it again, and keeps neighbors elsewhere.
        training.neighbor_cache(settings, data)
        few = dataclasses.replace(settings, seeds=1, train_epochs=1, n_neighbors=2)
        training.train(few, data, workdir=tmp_path / "w")
        file = sets.load_file(tmp_path / "w" / "result.npz")
        found = DataFinder().dataset(file)
        assert found.file_hashes == data.file_hashes
        assert not (tmp_path / "data").exists()

    def test_no_dataset_is_named(self):
        with pytest.raises(UserError) as caught:
            training.load_data(Settings())
        message = str(caught.value)
        assert message.startswith("dataset must be set to one of those in ")
        assert EMBEDDED in message
        assert "\n" not in message

    def test_data_that_is_not_bundled_is_looked_for_here(self):
        with pytest.raises(UserError, match=r"^data/ImageNetLT/"):
            training.load_data(Settings(dataset="imagenetlt_resnext50_crt"))

    def test_a_registry_here_comes_first(self, tmp_path):
        """So does its data, which is nowhere: the bundled one is another's."""
        text = (CONFIGS / "datasets.toml").read_text(encoding="utf-8")
        (tmp_path / "configs").mkdir()
        (tmp_path / "configs" / "datasets.toml").write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=r"^data/CIFAR100LT"):
            training.load_data(Settings(dataset=EMBEDDED))
        (tmp_path / "configs" / "datasets.toml").write_text("", encoding="utf-8")
        with pytest.raises(UserError, match="unknown dataset"):
            training.load_data(Settings(dataset=EMBEDDED))
