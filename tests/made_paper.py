"""Data for the command `paper`, what is typed, and the page that it writes."""

import csv
import html.parser
import json
import re

import numpy as np

from alphanet_jax.commands import cli


class Reader(html.parser.HTMLParser):
    """Checks that elements nest, and collects what they refer to."""

    VOID = ("meta", "img", "br", "link", "hr", "input")

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.references, self.texts = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        assert len(given) == len(attrs)
        if tag not in self.VOID:
            self.open.append(tag)
        if "id" in given:
            self.ids.append(given["id"])
        self.references += [
            (tag, given[key]) for key in ("href", "src") if key in given
        ]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def check_page(path):
    """Reads a page; everything that it shows must be in it or beside it."""
    text = path.read_text()
    reader = Reader(text)
    assert len(set(reader.ids)) == len(reader.ids)
    for tag, reference in reader.references:
        if reference.startswith("#"):
            assert reference[1:] in reader.ids
        elif reference.startswith("https://"):
            assert tag == "a"  # to follow, not to load
        elif reference.startswith("data:"):
            assert tag == "img"
        else:
            assert (path.parent / reference).is_file(), reference
    assert not re.search(r"@import|url\(", text)
    return reader


CLASSES = {
    "few": (0, 4, 8, 11, 12, 13),
    "medium": (1, 5, 9, 2),
    "many": (3, 6, 7, 10),
}
NAME = "made <b> & data"
SPLITS = ("few", "base", "all")


def make_data(root, *, datagrps=("train", "val", "test"), seed=0):
    """Writes a dataset in plain arrays, with a name that is hard to show."""
    rng = np.random.default_rng(seed)
    num_classes, dim = 14, 6
    means = rng.standard_normal((num_classes, dim))
    sizes = {"few": 3, "medium": 8, "many": 14}
    counts = {c: sizes[split] for split, ids in CLASSES.items() for c in ids}
    features = root / "features"
    features.mkdir(parents=True)
    for group in datagrps:
        labels = np.repeat(
            np.arange(num_classes),
            [counts[c] if group == "train" else 6 for c in range(num_classes)],
        )
        made = means[labels] + 0.7 * rng.standard_normal((len(labels), dim))
        np.save(features / f"{group}.npy", made.astype(np.float32))
        np.save(features / f"{group}_labels.npy", labels)
    np.savez(
        root / "classifier.npz",
        weight=means.astype(np.float32),
        bias=np.zeros(num_classes, np.float32),
    )
    for split, ids in CLASSES.items():
        path = root / "splits" / f"{split}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(f"{c}\n" for c in ids))


def write_registry(path, **directories):
    """Writes a registry; directories by the dataset's name."""
    text = ""
    for name, (directory, groups) in directories.items():
        text += (
            f"[{json.dumps(name)}]\n"
            f'split_files_dir = "{directory}/splits"\n'
            f'feature_files_dir = "{directory}/features"\n'
            f'classifier_file = "{directory}/classifier.npz"\n'
            f"datagrps = {json.dumps(groups)}\n"
            f"proper_name = {json.dumps(NAME)}\n\n"
        )
    path.write_text(text)


def main(*arguments):
    return cli.main(["main.py", "paper", *map(str, arguments)])


SMALL = ("--rhos", "0.5", "1", "--neighbors", "1", "5", "--seeds=2", "--nofigures")


def flags_of(root):
    return (
        f"--registry={root / 'datasets.toml'}",
        f"--data_root={root}",
        f"--workdir={root / 'w'}",
        *SMALL,
    )


def read_csv(root, name):
    with (root / "w" / "tables" / f"{name}.csv").open() as file:
        return list(csv.DictReader(file))
