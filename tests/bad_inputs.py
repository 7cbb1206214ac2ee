"""Inputs that are wrong, each with the commands that meet it.

What they get is in the table of docs/wrong_values.md, which a test holds them to;
`python tests/bad_inputs.py` runs them all and writes that table.
"""

import contextlib
import dataclasses
import io
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import made_data
import made_results
import numpy as np

from alphanet_jax import files
from alphanet_jax.commands import cli

COUNTS = (60, 50, 40, 30, 25, 9, 8, 7)
NUM_FEATURES = 6
SHORT = (
    "--config.seeds=2",
    "--config.training.train_epochs=3",
    "--config.training.min_epochs=1",
    "--config.training.n_neighbors=2",
    "--config.alphanet.hdims=(4,)",
)
TRAIN = ("train", "--config=conf.py", "--workdir=w", *SHORT)
FIT = ("fit", "--features=feats", "--classifier=head.npz", "--workdir=w", *SHORT)
RESULT = "res/a/result.npz"
CONFIG = """\
from alphanet_jax.config.fields import default_config


def get_config():
    config = default_config()
    config.dataset = "made"
    config.registry = "datasets.toml"
    config.data_root = "."
    return config
"""
Change = Callable[[], None]


@dataclasses.dataclass(frozen=True)
class Bad:
    """A wrong input: what it is, the commands that meet it, and what it changes."""

    what: str
    command: tuple[str, ...]
    change: Change | None = None
    more: tuple[tuple[str, ...], ...] = ()  # commands that say the same
    trains: bool = False  # it is remarked on, and trains


def make_world(root):
    """Makes a dataset of torch files, own files, a config and a result in `root`."""
    made_data.make(root)
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(len(COUNTS), NUM_FEATURES)).astype(np.float32)
    (root / "feats").mkdir()
    for group, counts in (("train", COUNTS), ("val", [6] * 8), ("test", [7] * 8)):
        labels = np.repeat(np.arange(len(counts)), counts)
        rows = centers[labels] + rng.normal(size=(len(labels), NUM_FEATURES))
        np.savez(root / "feats" / f"{group}.npz", feats=np.float32(rows), labels=labels)
    np.savez(root / "head.npz", weight=centers, bias=np.zeros(8, np.float32))
    (root / "conf.py").write_text(CONFIG)
    (root / "res/a").mkdir(parents=True)
    made_results.make_result(root / RESULT)


def run(bad, root):
    """Runs a command within a directory; returns its status and what it said."""
    said = io.StringIO()
    before = Path.cwd()
    os.chdir(root)
    try:
        if bad.change is not None:
            bad.change()
        sys.modules.pop("config_config", None)
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            status = cli.main(["alphanet", *bad.command])
    finally:
        os.chdir(before)
    return status, said.getvalue()


def group(name="train", **changes):
    """Returns a change of the arrays of a group of own files."""

    def change():
        path = f"feats/{name}.npz"
        with np.load(path) as arrays:
            content = dict(arrays)
        for key, value in changes.items():
            content[key] = value(content[key]) if callable(value) else value
        np.savez(path, **content)

    return change


def head(**changes):
    """Returns a change of the arrays of the own classifier."""

    def change():
        with np.load("head.npz") as arrays:
            content = dict(arrays)
        for key, value in changes.items():
            content[key] = value(content[key]) if callable(value) else value
        np.savez("head.npz", **content)

    return change


def result(**changes):
    """Returns a change of the arrays of the result."""

    def change():
        with np.load(RESULT) as arrays:
            content = dict(arrays)
        for key, value in changes.items():
            content[key] = value(content[key]) if callable(value) else value
        with files.replacing(Path(RESULT)) as temporary:
            files.write_npz(temporary, {k: np.asarray(v) for k, v in content.items()})

    return change


def config(**changes):
    """Returns a change of fields of the result's config."""

    def change(text):
        found = json.loads(str(text))
        for name, value in changes.items():
            *parents, last = name.split("__")
            node = found
            for parent in parents:
                node = node[parent]
            node[last] = value
        return json.dumps(found)

    return result(config=change)


def setting(name, value):
    """Returns the command that trains with a value of a field."""
    return (*TRAIN, f"--config.{name}={value}")


def put(**changes):
    """Returns a function that puts values at indices."""

    def change(array):
        array = array.copy()
        for index, value in changes.items():
            array[int(index.removeprefix("at_"))] = value
        return array

    return change


def split(**texts):
    """Returns a change that writes files of splits for own files."""

    def change():
        Path("splits").mkdir()
        defaults = {"few": "5\n6\n7\n", "medium": "3\n4\n", "many": "0\n1\n2\n"}
        for name, text in (defaults | texts).items():
            Path(f"splits/{name}.txt").write_text(text)

    return change


def texts(name, text):
    """Returns a change that writes a text file."""

    def change():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)

    return change


def removed(name):
    return lambda: os.remove(name)


def a_directory(name):
    def change():
        os.remove(name)
        Path(name).mkdir()

    return change


def a_pipe(name):
    def change():
        os.remove(name)
        os.mkfifo(name)

    return change


def copied(name, other):
    return lambda: shutil.copy(name, other)


def cut(name, size):
    def change():
        Path(name).write_bytes(Path(name).read_bytes()[:size])

    return change


def brief(text):
    """Shortens what would fill a row, and spells what cannot be seen."""
    text = text.replace("\0", "\\0")
    return text if len(text) <= 60 else f"{text[:30]}... ({len(text)} characters)"


WITH_SPLITS = (*FIT, "--splits=splits")
HEAD = f"--result={RESULT}", "--classifier=head.npz", "--out=o.npz"
OF_RESULTS = (
    ("results", "--base_res_dir=res"),
    ("combos", "--base_res_dir=res", "--select_n=1"),
    ("plot", "alphas", "--base_res_dir=res", "--out=f.pdf"),
    ("plot", "class_changes", "--base_res_dir=res", "--out=f.pdf"),
    ("report", f"--result={RESULT}", "--out=r"),
    ("export", *HEAD, "--seed=0"),
    ("extend", *HEAD, "--features=feats"),
)
LONG = "x" * 5000
DEEP = "[" * 100_000
SAMPLERS = "training.sampler_builder.sampler"
OPTIM, SCHEDULE = "training.ptopt.optim", "training.ptopt.lr_sched"

SETTINGS = (
    ("seeds", 0), ("seeds", -1), ("seeds", 1.5), ("seeds", 10**9), ("seeds", "(1,2)"),
    ("seed", -1), ("seed", 2**32),
    ("training.train_epochs", -1), ("training.train_epochs", 10**9),
    ("training.min_epochs", 0),
    ("rho", -1), ("rho", "nan"), ("rho", "inf"), ("rho", "a"), ("rho", "()"),
    ("rho", "(0.1, 0.1)"), ("rho", "(0.1, 'a')"), ("rho", 1e300),
    ("pred_scale", 1e300), ("pred_scale", 0), ("pred_scale", "nan"), ("pred_scale", -1),
    ("selection", "first"), ("precision", "low"),
    ("alphanet.hdims", "()"), ("alphanet.hdims", "(0,)"),
    ("alphanet.hdims", "('a',)"), ("alphanet.hact", "nothing"),
    ("training.n_neighbors", 0), ("training.n_neighbors", 5),
    ("training.nn_dist", "manhattan"),
    (f"{OPTIM}_cls", "Adamm"), (f"{OPTIM}_params", "lr"), (f"{OPTIM}_params", "lr=a"),
    (f"{OPTIM}_params", "lr=-1"), (f"{OPTIM}_params", "lr=NaN"),
    (f"{OPTIM}_params", "lr=1e300"),
    (f"{OPTIM}_params", "lr=0.1,momentum=0.9"), (f"{OPTIM}_params", "betas=[0.9]"),
    (f"{OPTIM}_params", "lr=" + DEEP),
    (f"{SCHEDULE}_cls", "Step"), (f"{SCHEDULE}_params", "step_size=0"),
    (f"{SCHEDULE}_params", "step_size=1.5"),
    ("training.train_batch_size", 0), ("training.eval_batch_size", -1),
    (f"{SAMPLERS}_classes", "('NoSampler',)"), (f"{SAMPLERS}_classes", "()"),
    (f"{SAMPLERS}_args", "('r=-1',)"), (f"{SAMPLERS}_args", "('', '', '')"),
    (f"{SAMPLERS}_args", "('q=1',)"),
    ("training.train_datagrp", "no"), ("training.train_datagrp", "../x"),
    ("training.test_datagrp", ""),
    ("dataset", "other"), ("registry", "none.toml"), ("registry", "."),
    ("data_root", "nowhere"), ("labels_by", "name"), ("classifier_key", "fc"),
    ("few_below", "a"), ("few_below", "nan"), ("few_below", "200%"),
    ("many_above", "-5%"), ("nothing", 1), ("training.rho", 1),
)  # fmt: skip
FLAGS = (
    "--memory_gib=nan", "--memory_gib=0", "--memory_gib=-1", "--memory_gib=a",
    "--tb_logs=conf.py", "--ckpt_dir=conf.py", "--workdir=conf.py",
    "--workdir=a\0b", f"--workdir={LONG}", "--tb_logs=/proc/x", "--n_ckpt=0",
    "--compilation_cache=conf.py", "--num_processes=2", "--process_id=3",
    "--coordinator_address=nowhere", "--config=none.py", "--config=imagenetl",
    "--config=conf.py:x", "--config=", "--wordir=w", "extra",
)  # fmt: skip
FIT_FLAGS = (
    "--few_below=0", "--few_below=1000", "--many_above=200%", "--method=magic",
    "--target=x", "--most_per_class=0", "--refit_on_val", "--out=x.txt",
    "--label_names=none.txt", "--label_names=conf.py", "--labels_by=x",
    "--feature_files=train=a.npz", "--feature_files=x", "--label_files=train=a.npz",
    "--normalize=3", "--classifier_key=weigh", "--splits=feats", "--splits=none",
    "--features=none", "--features=conf.py", "--classifier=none.pth",
)  # fmt: skip
CONFIGS = {
    "a config that raises": "raise RuntimeError('no\\nway')",
    "a config that is no Python": "def",
    "a config without get_config": "x = 1",
    "a config that gives None": "def get_config():\n    return None",
    "a config that gives a dict": "def get_config():\n    return {'rho': 1}",
    "a config that ends Python": "import sys\n\n\ndef get_config():\n    sys.exit(3)",
    "a config with None": CONFIG.replace("return", "config.rho = None\n    return"),
}
OWN = {
    "labels: NaN": group(labels=lambda x: np.where(np.arange(len(x)) == 4, np.nan, x)),
    "labels: -1": group(labels=put(at_3=-1)),
    "labels: 8 of 8 classes": group(labels=put(at_3=8)),
    "labels from 1": group(labels=lambda x: x + 1),
    "labels: halves": group(labels=lambda x: x + 0.5),
    "labels: text": group(labels=lambda x: x.astype(str)),
    "labels: one too few": group(labels=lambda x: x[:-1]),
    "labels: scores": group(labels=lambda x: np.eye(8)[x]),
    "labels: three axes": group(labels=lambda x: x[:, None, None]),
    "labels: one number": group(labels=3),
    "labels: 2**62": group(labels=put(at_0=2**62)),
    "labels: complex": group(labels=lambda x: x + 0j),
    "labels: dates": group(labels=lambda x: x.astype("datetime64[s]")),
    "labels: true and false": group(labels=lambda x: x > 3),
    "features: NaN": group(feats=put(at_5=np.nan)),
    "features: infinity, of test": group("test", feats=put(at_2=np.inf)),
    "features: whole numbers": group(feats=lambda x: x.astype(int)),
    "features: three axes": group(feats=lambda x: x[:, :, None]),
    "features: one axis": group(feats=lambda x: x[:, 0]),
    "features: no samples": group(feats=lambda x: x[:0], labels=lambda x: x[:0]),
    "features: one column less": group(feats=lambda x: x[:, :5]),
    "features: no columns": group(feats=lambda x: x[:, :0]),
    "features: complex": group(feats=lambda x: x + 1j),
    "features: text": group(feats=lambda x: x.astype(str)),
    "features: all 0": group(feats=lambda x: x * 0),
    "features: all 2": group(feats=lambda x: x * 0 + 2),
    "a class without training samples": group(labels=lambda x: np.where(x == 7, 6, x)),
    "no file of train": removed("feats/train.npz"),
    "train.npz is empty": texts("feats/train.npz", ""),
    "train.npz is text": texts("feats/train.npz", "hello"),
    "train.npz is cut off": cut("feats/train.npz", 3000),
    "train.npz is a directory": a_directory("feats/train.npz"),
    "two files of train": copied("feats/train.npz", "feats/train.pkl"),
    "weight: NaN": head(weight=put(at_1=np.nan)),
    "weight: 1e39": head(weight=lambda x: x.astype(float) * 1e39),
    "weight: whole numbers": head(weight=lambda x: x.astype(int)),
    "weight: complex": head(weight=lambda x: x + 1j),
    "weight: one class": head(weight=lambda x: x[:1], bias=lambda x: x[:1]),
    "weight: one column less": head(weight=lambda x: x[:, :5]),
    "bias: infinity": head(bias=put(at_1=np.inf)),
    "bias: of seven classes": head(bias=lambda x: x[:7]),
    "bias: two axes": head(bias=lambda x: x[:, None]),
    "head.npz is empty": texts("head.npz", ""),
    "head.npz is text": texts("head.npz", "hello"),
    "head.npz is a directory": a_directory("head.npz"),
    "head.npz is a pipe": a_pipe("head.npz"),
}
LISTS = {
    "a class in two splits": split(few="5\n6\n7\n4\n"),
    "a class twice": split(few="5\n5\n6\n7\n"),
    "a class in no split": split(few="5\n6\n"),
    "class 9 of 8": split(few="5\n6\n7\n9\n"),
    "class -1": split(few="-1\n5\n6\n7\n"),
    "a class of text": split(few="a\n"),
    "a class of 5,000 digits": split(few="9" * 5000 + "\n"),
    "no few classes": split(few="", medium="3\n4\n5\n6\n7\n"),
    "few classes alone": split(few="0\n1\n2\n3\n4\n5\n6\n7", medium="", many=""),
    "classes from 1": split(few="6\n7\n8", medium="4\n5", many="1\n2\n3"),
}
RESULTS = {
    "config: a list": result(config="[]"),
    "config: text": result(config="hello"),
    "config: 100,000 brackets": result(config=DEEP),
    "config: a number": result(config=5),
    "config: rho is text": config(rho="a"),
    "config: rho is a list": config(rho=[1]),
    "config: rho is NaN": config(rho=float("nan")),
    "config: n_neighbors is text": config(training__n_neighbors="a"),
    "config: sampler_args is a number": config(
        training__sampler_builder__sampler_args=5
    ),
    "config: sampler_args of numbers": config(
        training__sampler_builder__sampler_args=[5, 6]
    ),
    "config: r is no JSON": config(training__sampler_builder__sampler_args=["", "r=a"]),
    "config: r is text": config(training__sampler_builder__sampler_args=["", 'r="a"']),
    "config: training is a list": config(training=[]),
    "config: val_datagrp is an object": config(training__val_datagrp={}),
    "config: nn_dist is a number": config(training__nn_dist=3),
    "versions: a list": result(versions="[]"),
    "versions: 100,000 brackets": result(versions=DEEP),
    "versions: of lists": result(versions='{"jax": []}'),
    "file_hashes: a list": result(file_hashes="[]"),
    "file_hashes: numbers": result(file_hashes='{"a": 5}'),
    "file_hashes: text": result(file_hashes="hello"),
    "alphas: text": result(alphas=lambda x: x.astype(str)),
    "alphas: NaN": result(alphas=lambda x: x * np.nan),
    "alphas: one axis less": result(alphas=lambda x: x[0]),
    "seeds: none": result(seeds=np.zeros(0, int)),
    "seeds: halves": result(seeds=lambda x: x + 0.5),
    "seeds: text": result(seeds=lambda x: x.astype(str)),
    "class_counts: negative": result(class_counts=lambda x: -x),
    "class_counts: NaN": result(class_counts=lambda x: x * np.nan),
    "test_pred: 99 of 9": result(test_pred=lambda x: x + 99),
    "few_classes: one thrice": result(few_classes=lambda x: x * 0 + x[0]),
    "few_classes: one in many": result(many_classes=lambda x: np.append(x[1:], 1)),
    "few_classes: one missing": result(few_classes=lambda x: x[:-1]),
    "label_names: of three": result(label_names=lambda x: x[:3]),
    "accuracy: 7": result(test_acc_per_split=lambda x: x * 0 + 7),
    "selected_epoch: past the last": result(selected_epoch=lambda x: x + 99),
    "method: unknown": result(method="magic"),
    "test_labels: none": result(test_labels=np.zeros(0, int)),
    "neighbors: one twice": result(neighbors=lambda x: x * 0 + x[0, 0]),
    "neighbors: few classes": result(neighbors=np.array([[4, 8]] * 3)),
    "neighbor_distances: NaN": result(neighbor_distances=lambda x: x * np.nan),
    "result.npz is empty": texts(RESULT, ""),
    "result.npz is text": texts(RESULT, "x"),
}
REMARKS = (
    Bad("rho 0", (*FIT, "--config.rho=0"), trains=True),
    Bad("one neighbor", (*FIT, "--config.training.n_neighbors=1"), trains=True),
    Bad("min_epochs past the last epoch", (*FIT, "--config.training.min_epochs=9"),
        trains=True),
    Bad("test is train", (*FIT, "--config.training.test_datagrp=train"), trains=True),
    Bad("files of test and train are equal", FIT,
        copied("feats/train.npz", "feats/test.npz"), trains=True),
    Bad("no test samples of few classes", FIT,
        group("test", labels=lambda x: x * 0), trains=True),
    Bad("no val", FIT, removed("feats/val.npz"), trains=True),
    Bad("no test", FIT, removed("feats/test.npz"), trains=True),
    Bad("labels of another order", FIT, group(labels=lambda x: (x + 3) % 8),
        trains=True),
    Bad("weight: all 0", FIT, head(weight=lambda x: x * 0), trains=True),
    Bad("all rows of the classifier equal", FIT,
        head(weight=lambda x: np.repeat(x[:1], 8, 0)), trains=True),
    Bad("two names of one class", (*FIT, "--label_names=names.txt"),
        texts("names.txt", "a\nb\nc\na\ne\nf\ng\nh\n"), trains=True),
)  # fmt: skip

CASES = (
    *(
        Bad(f"{name} = {str(value)[:20]}", setting(name, value))
        for name, value in SETTINGS
    ),
    *(Bad(brief(flag), (*TRAIN, flag)) for flag in FLAGS),
    *(Bad(name, TRAIN, texts("conf.py", text)) for name, text in CONFIGS.items()),
    *(Bad(name, FIT, change) for name, change in OWN.items()),
    *(Bad(name, WITH_SPLITS, change) for name, change in LISTS.items()),
    *(Bad(flag, (*FIT, flag)) for flag in FIT_FLAGS),
    *(
        Bad(f"result: {name}", OF_RESULTS[0], change, more=OF_RESULTS[1:])
        for name, change in RESULTS.items()
    ),
    *REMARKS,
)


# --- What they get --------------------------------------------------------------------


def said_of(bad, world, root, usual=()):
    """Runs a case and returns what it gets, a line for the table.

    Args:
      bad: The case.
      world: Directory as `make_world` makes it.
      root: Where to copy that; what is there is removed.
      usual: Remarks that there are without the case.

    Raises:
      AssertionError: If something is written after an error, a command says another
        thing than the others, or anything but one line.
    """
    found = {}
    for command in (bad.command, *bad.more):
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(world, root)
        case = dataclasses.replace(bad, command=command)
        status, said = run(case, root)
        lines = said.splitlines()
        if bad.trains:
            assert status == 0, said
            # But for what the numbers come to, which is not the same everywhere.
            lines = [x for x in lines if x.startswith(("note: ", "warning: "))]
            lines = [x for x in lines if " data the unchanged classifier" not in x]
            return " ".join(
                plain(x, root) for x in lines if plain(x, root) not in usual
            )
        assert status == 1, said
        first = next(n for n, x in enumerate(lines) if x.startswith("error: "))
        # Below it may be a list of what there is to choose from.
        assert all(x.startswith("  ") for x in lines[first + 1 :]), said
        assert not [*root.rglob("w/**/result.npz"), *root.glob("o.npz")], said
        found[plain(lines[first], root)] = command
    assert len(found) == 1, found
    return next(iter(found))


def plain(line, root):
    """Writes a line as the table has it: on every machine the same, and of one row."""
    line = line.replace(str(root.resolve()), "DIR").replace(str(root), "DIR")
    line = line.replace("|", "\\|")
    return line if len(line) <= 300 else f"{line[:150]} ... {line[-100:]}"


TABLE = Path(__file__).parent.parent / "docs" / "wrong_values.md"
START = "<!-- the table, as `python tests/bad_inputs.py` writes it -->\n"
GOOD = Bad("", FIT, trains=True)


def rows(world, root):
    """Returns the row of every case."""
    usual = usual_remarks(world, root)
    made = []
    for bad in CASES:
        line = said_of(bad, world, root, usual)
        commands = dict.fromkeys(c[0] for c in (bad.command, *bad.more))
        made.append(f"| {row_name(bad)} | {', '.join(commands)} | {line} |")
        print(made[-1], flush=True)
    return made


def usual_remarks(world, root):
    """Returns what is remarked on in any case."""
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(world, root)
    _, said = run(GOOD, root)
    return {plain(line, root) for line in said.splitlines()}


def row_name(bad):
    return bad.what.replace("|", "\\|")


def main():
    with tempfile.TemporaryDirectory() as directory:
        world = Path(directory) / "world"
        world.mkdir()
        make_world(world)
        made = rows(world, Path(directory) / "case")
    before = TABLE.read_text().partition(START)[0]
    head = "| wrong | command | what it says |\n| --- | --- | --- |\n"
    TABLE.write_text(before + START + "\n" + head + "\n".join(made) + "\n")


if __name__ == "__main__":
    main()
