"""The paper's experiments: published numbers, the grid, tables, and the page."""

import csv
import html.parser
import json
import math
import pathlib
import re
import shutil
import sys
import types

import numpy as np
import pytest

from alphanet_jax.commands import cli
from alphanet_jax.config import fields as config
from alphanet_jax.config import presets
from alphanet_jax.config.fields import Settings
from alphanet_jax.data import registry
from alphanet_jax.data.registry import DatasetEntry
from alphanet_jax.errors import UserError
from alphanet_jax.experiment import training
from alphanet_jax.pages import html as pieces
from alphanet_jax.paper import compared, grid, page, published
from alphanet_jax.paper import figures as paper_figures
from alphanet_jax.paper import tables as paper_tables
from alphanet_jax.paper.grid import grid_points
from alphanet_jax.paper.measured import Measured
from alphanet_jax.results import file as results
from alphanet_jax.results.tables import Table, Value

REGISTRY = pathlib.Path(__file__).parents[1] / "configs" / "datasets.toml"
MINE = DatasetEntry("mine", "splits", "features", "classifier.npz")


# --- Published numbers ----------------------------------------------------------------


class TestPublished:
    def test_every_table_with_its_number_of_rows(self):
        counts = {name: len(t.rows) for name, t in published.tables().items()}
        by_rho = {"imagenetlt": 39, "cifarlt": 26, "placeslt": 26, "inat": 6}
        expected = {
            "datasets_baselines_split_accs_vs_rho": 20,
            "datasets_split_accs_vs_rho_ride": 8,
            "datasets_split_accs_vs_rho_ltr": 4,
            "models_split_semantic4_accs_vs_rho_imagenetlt": 39,
        }
        for metric in ("top1", "top5"):
            for name, rows in by_rho.items():
                expected[f"models_split_{metric}_accs_vs_rho_{name}"] = rows
            for distance in ("euclidean", "cosine"):
                name = f"rhos_split_{metric}_accs_vs_k_imagenetlt_crt_{distance}"
                expected[name] = 41
        assert counts == expected
        assert (len(counts), sum(counts.values())) == (16, 429)

    def test_every_row_is_complete(self):
        known = set(registry.load_registry(REGISTRY))
        for table in published.tables().values():
            for row in table.rows:
                assert len(row.means) == 4
                assert all(0 < mean < 100 for mean in row.means)
                if row.config is None:
                    assert row.model in ("NCM", "tau-normalized")
                else:
                    assert row.config in known
                if row.rho is None:
                    assert (row.k, row.stds, row.num_runs) == (None, None, 1)
                else:
                    assert row.k is not None
                    assert row.stds is not None
                    assert len(row.stds) == 4
                    assert row.num_runs == 10

    def test_overall_accuracy_is_the_mean_weighted_by_samples(self):
        # Every class of ImageNet-LT and Places-LT has as many test samples.
        sizes = {
            facts["dataset"]: facts["classes"]
            for facts in published.content()["datasets"]
        }
        for table in published.tables().values():
            for row in table.rows:
                if row.dataset == "iNaturalist":
                    continue
                weights = [sizes[row.dataset][n] for n in ("few", "medium", "many")]
                mean = np.average(row.means[:3], weights=weights)
                # Rounded to a tenth; the paper's own numbers for tau-normalized are
                # of another source.
                assert abs(mean - row.means[3]) < 0.16, row

    def test_sums_of_the_statistics(self):
        for facts in published.content()["datasets"]:
            samples = facts["train_samples"]
            assert sum(samples.values()) == facts["samples"]["train"]
            for split, (low, high) in facts["class_sizes"].items():
                classes = facts["classes"][split]
                assert low * classes <= samples[split] <= high * classes

    @pytest.mark.parametrize(
        ("config", "options", "means", "stds"),
        [
            (
                "imagenetlt_resnext50_crt",
                {"rho": 0.1},
                (47.6, 37.1, 53.8, 45.0),
                (1.60, 0.76, 0.62, 0.41),
            ),
            ("imagenetlt_resnext50_crt", {}, (27.4, 46.2, 61.8, 49.6), None),
            (
                "inat_resnet152_crt",
                {"rho": 0.05, "metric": "top5"},
                (88.7, 84.7, 88.1, 86.6),
                (0.33, 0.67, 0.41, 0.32),
            ),
            (
                "imagenetlt_resnext50_crt",
                {"rho": 0.1, "metric": "semantic4"},
                (57.8, 53.5, 65.7, 58.8),
                (1.02, 0.48, 0.39, 0.27),
            ),
            (
                "cifarlt_resnet34_ltr",
                {"rho": 1.5},
                (32.0, 46.2, 67.3, 49.3),
                (1.49, 0.86, 1.02, 0.33),
            ),
        ],
    )
    def test_find(self, config, options, means, stds):
        rows = published.find(config, **options).values()
        assert rows
        assert {(row.means, row.stds) for row in rows} == {(means, stds)}

    def test_find_tells_distances_apart(self):
        euclidean, cosine = (
            published.find("imagenetlt_resnext50_crt", rho=2.0, k=3, distance=d)
            for d in ("euclidean", "cosine")
        )
        (one,), (other,) = euclidean.values(), cosine.values()
        assert list(euclidean) == ["rhos_split_top1_accs_vs_k_imagenetlt_crt_euclidean"]
        assert one.means != other.means
        assert published.find("imagenetlt_resnext50_lws", rho=2.0, k=3) == {}

    def test_the_row_in_which_both_versions_differ(self):
        table = published.tables()["datasets_baselines_split_accs_vs_rho"]
        rows = [row for row in table.rows if row.model == "tau-normalized"]
        assert {row.dataset: row.means for row in rows} == {
            "ImageNet-LT": (30.7, 46.9, 59.1, 49.4),
            "Places-LT": (31.8, 40.7, 37.8, 37.9),
        }

    def test_settings_that_the_paper_ran_twice(self):
        repeats = published.independent_repeats()
        assert [(r.metric, r.rho) for r in repeats] == [
            (metric, rho) for metric in ("top1", "top5") for rho in (0.5, 1.0, 2.0)
        ]
        assert repeats[2].differences == (1.6, -0.4, -0.3, -0.1)
        text = page.noise_text()
        assert "1.6 (few)" in text
        assert "0.2 (overall) points in top-1" in text


class TestPresets:
    def test_other_datasets_have_the_defaults(self):
        default = config.default_config()
        default.dataset = "mine"
        assert presets.dataset_config("mine").to_dict() == default.to_dict()

    def test_all_of_the_paper_are_in_the_registry(self):
        assert set(presets.CHANGES) < set(registry.load_registry(REGISTRY))
        assert set(presets.CHANGES) == set(published.names())


# --- The grid -------------------------------------------------------------------------


class TestGrid:
    @pytest.mark.parametrize(
        ("name", "count"),
        [
            ("cifar100lt_effnetlite0_crt", 104),
            ("imagenetlt_resnext50_crt", 104),
            ("imagenetlt_resnext50_lws", 12),
            ("imagenetlt_resnext50_ride", 12),
            ("placeslt_resnet152_crt", 12),
            ("cifarlt_resnet34_ltr", 12),
            ("inat_resnet152_crt", 5),
        ],
    )
    def test_counts(self, name, count):
        points = grid_points(registry.get_entry(REGISTRY, name))
        assert len(points) == count
        assert len({point.directory for point in points}) == count
        for point in points:
            assert isinstance(point.settings, Settings)
            assert point.settings.dataset == name
            assert point.settings.selection == "reference"
            assert point.settings.seeds == 10

    def test_covers_every_published_row(self):
        there = {}
        for name in presets.CHANGES:
            for point in grid_points(registry.get_entry(REGISTRY, name)):
                settings = point.settings
                assert (point.rho, point.k) == (settings.rho, settings.n_neighbors)
                key = (name, point.folder, point.rho, point.k)
                there[key] = settings.nn_dist
        for table in published.tables().values():
            for row in table.rows:
                if row.config is not None and row.rho is not None:
                    by_k = table.name.startswith("rhos_")
                    folder = f"nnsweep_{table.distance}" if by_k else "main"
                    key = (row.config, folder, row.rho, row.k)
                    assert there[key] == table.distance

    def test_settings_of_datasets(self):
        (ltr,) = grid_points(
            registry.get_entry(REGISTRY, "cifarlt_resnet34_ltr"), rhos=[1]
        )
        assert ltr.settings.pred_scale == 100.0
        assert ltr.settings.train_epochs == 10
        assert ltr.settings.val_datagrp == ""
        (inat,) = grid_points(
            registry.get_entry(REGISTRY, "inat_resnet152_crt"), rhos=[0.01]
        )
        assert inat.settings.train_batch_size == 256
        assert inat.directory == "main/inat_resnet152_crt/rho_0.01"

    def test_without_validation_samples(self):
        entry = DatasetEntry("mine", "s", "f", "c", datagrps=("train", "test"))
        points = grid_points(entry, parts=["main"], seeds=2, selection="best")
        for point in points:
            assert point.settings.val_datagrp == ""
            assert point.settings.train_epochs == 25
            assert (point.settings.seeds, point.settings.selection) == (2, "best")

    def test_parts_and_directories(self):
        points = grid_points(
            MINE, parts=["random", "nnsweep", "random"], rhos=[0.5, 1], neighbors=[2]
        )
        assert [(p.directory, p.settings.nn_dist, p.k) for p in points] == [
            ("randomnns/mine/rho_0.5", "random", 5),
            ("randomnns/mine/rho_1", "random", 5),
            ("nnsweep_euclidean/mine/rho_0.5/k_2", "euclidean", 2),
            ("nnsweep_euclidean/mine/rho_1/k_2", "euclidean", 2),
            ("nnsweep_cosine/mine/rho_0.5/k_2", "cosine", 2),
            ("nnsweep_cosine/mine/rho_1/k_2", "cosine", 2),
        ]
        assert len({point.settings for point in points}) == 6

    def test_names_cannot_lead_out_of_the_directory(self):
        assert grid.path_name("../../etc/x") == "-..-etc-x"
        assert grid.path_name("..") == "-"


# --- Comparison -----------------------------------------------------------------------


class TestNames:
    def test_a_dataset_called_as_the_paper_calls_its_own(self):
        """Its tables do not take the place of the paper's."""
        measured = Measured(tuple(Value(p, 1.0) for p in (1.0, 2.0, 3.0, 4.0)), 2)
        results = types.SimpleNamespace(
            not_computed={},
            has_synsets=lambda name: True,
            rho_and_k=lambda name, folder: [(0.5, 5)] if folder == "main" else [],
            sets=lambda name, folder: [],
            measure=lambda *arguments, **options: measured,
            controls={},
        )
        names = [
            [t.name for t in paper_tables._own_tables(name, name, results)]
            for name in ("imagenetlt", "mine")
        ]
        kinds = ("top1", "top5", "semantic4")
        assert names == [
            [f"own_models_split_{kind}_accs_vs_rho_imagenetlt" for kind in kinds],
            [f"models_split_{kind}_accs_vs_rho_mine" for kind in kinds],
        ]


class TestCompare:
    def test_hand_worked(self):
        cell = compared.compare(Value(40.0, 2.0), 4, Value(38.5, 1.0), 10)
        # sqrt(4 / 4 + 1 / 10) = 1.04881
        assert cell.difference == 1.5
        assert cell.errors == pytest.approx(1.5 / 1.0488088)
        assert compared.difference_text(cell) == "+1.5 (+1.4 se)"

    def test_a_single_evaluation_has_no_deviation(self):
        cell = compared.compare(Value(40.0), 1, Value(38.0, 2.0), 4)
        assert cell.errors == 2.0
        both = compared.compare(Value(27.5), 1, Value(28.0), 1)
        assert both[2:] == (-0.5, None)
        assert compared.difference_text(both) == "-0.5"

    @pytest.mark.parametrize(
        ("ours", "paper"),
        [(None, Value(1.0)), (Value(1.0), None), (Value(math.nan), Value(1.0))],
    )
    def test_nothing_to_compare(self, ours, paper):
        cell = compared.compare(ours, 1, paper, 1)
        assert cell == (ours, paper, None, None)
        assert compared.difference_text(cell) == "-"

    def test_no_minus_before_zero(self):
        cell = compared.compare(Value(1.0, 1.0), 1, Value(1.01, 1.0), 1)
        assert compared.difference_text(cell) == "+0.0 (+0.0 se)"


# --- The page -------------------------------------------------------------------------


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


class TestPage:
    def test_names_are_escaped(self, tmp_path):
        bad = "<b>&\"'"
        row = compared.ComparedRow(
            (bad,), (compared.Compared(Value(1.0), None),) * 4, {}
        )
        content = page.Content(
            settings=[(bad, bad)],
            datasets=[page.DatasetStatus(bad, bad, 1, 2, 10, bad)],
            tables=[
                compared.ComparedTable(
                    "t", bad, bad, (bad,), (row,), (bad,), has_paper=False
                )
            ],
            static=[Table(bad, (bad,), (bad,), (), bad, "s")],
            figures=[],
            remarks=[bad],
            formats=[],
            root=tmp_path,
        )
        text = page.render_page(content)
        reader = Reader(text)
        assert "<b>" not in text
        assert reader.texts.count(bad) == 16

    def test_contrast_in_both_themes(self):
        def colors(block):
            return dict(re.findall(r"--(\w+): (#\w{6})", block))

        def light(color):
            parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
            linear = [
                p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4
                for p in parts
            ]
            return np.dot(linear, [0.2126, 0.7152, 0.0722])

        blocks = re.findall(r"(:root.*) \{\n([^}]*)\}", pieces.resource("page.css"))
        assert [selector for selector, _ in blocks] == [
            *(":root", ":root:not([data-theme=light])", ":root[data-theme=dark]")
        ]
        assert blocks[1][1] == blocks[2][1]  # the reader's system, and the button
        for _, block in blocks:
            found = colors(block)
            assert len(found) == 8
            for fore in ("fore", "soft", "link", "far"):
                for back in ("back", "box", "ours"):
                    low, high = sorted([light(found[fore]), light(found[back])])
                    # WCAG 2, level AA
                    assert (high + 0.05) / (low + 0.05) >= 4.5, (fore, back)


# --- The command ----------------------------------------------------------------------

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


@pytest.fixture(autouse=True)
def _own_directory(tmp_path, monkeypatch, tmp_path_factory):
    monkeypatch.chdir(tmp_path)
    cache = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.delitem(sys.modules, "config_config", raising=False)


def main(*arguments):
    return cli.main(["main.py", "paper", *map(str, arguments)])


SMALL = ("--rhos", "0.5", "1", "--neighbors", "1", "5", "--seeds=2", "--nofigures")


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Everything on a dataset that bears the name of one of the paper's, and another.

    Returns:
      The directory that all is below.
    """
    root = tmp_path_factory.mktemp("ran")
    make_data(root / "data" / "a")
    write_registry(
        root / "datasets.toml",
        imagenetlt_resnext50_crt=("data/a", ["train", "val", "test"]),
        # The same arrays: its programs need not be compiled again.
        **{"my <data>": ("data/a", ["train", "val", "test"])},
        placeslt_resnet152_crt=("data/nowhere", ["train", "val", "test"]),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
        flags = (f"--registry={root / 'datasets.toml'}", f"--data_root={root}")
        assert main(*flags, f"--workdir={root / 'w'}", *SMALL) == 0
    return root


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


@pytest.mark.slow
class TestCommand:
    @pytest.mark.slow
    def test_results_are_where_the_original_has_them(self, ran):
        found = {p.parent.relative_to(ran / "w").as_posix()
                 for p in (ran / "w").rglob("result.npz")}  # fmt: skip
        rhos, ks = ("0.5", "1"), (1, 5)
        assert found == {
            f"{folder}/{name}/rho_{rho}{last}"
            for name in ("imagenetlt_resnext50_crt", "my--data-")
            for rho in rhos
            for folder, lasts in (
                ("main", [""]),
                ("randomnns", [""]),
                ("nnsweep_euclidean", [f"/k_{k}" for k in ks]),
                ("nnsweep_cosine", [f"/k_{k}" for k in ks]),
            )
            for last in lasts
        }
        result = results.load_result(ran / "w/main/my--data-/rho_1/result.npz")
        made_with = json.loads(str(result["config"]))
        assert (made_with["rho"], made_with["seeds"]) == (1.0, 2)
        assert str(result["dataset"]) == "my <data>"

    def test_numbers_are_those_of_the_results(self, ran):
        directory = ran / "w/main/imagenetlt_resnext50_crt/rho_0.5"
        result = results.load_result(directory / "result.npz")
        rows = read_csv(ran, "datasets_baselines_split_accs_vs_rho")
        assert len(rows) == 20 + 2  # two controls of the dataset that is there
        rows, controls = rows[:-2], rows[-2:]
        titles = ("Offset on few", "Logit adj.")
        for control, title in zip(controls, titles, strict=True):
            assert control["dataset"] == "imagenetlt_resnext50_crt"
            assert control["classifier"].startswith(title)
            assert control["few_paper"] == ""
        (row,) = (
            r
            for r in rows
            if (r["dataset"], r["rho"]) == ("imagenetlt_resnext50_crt", "0.5")
        )
        few = 100.0 * result["test_acc_per_split"][:, 0]
        mean, std = few.mean(), few.std(ddof=1)
        assert float(row["few"]) == pytest.approx(mean)
        assert float(row["few_std"]) == pytest.approx(std)
        assert (float(row["few_paper"]), float(row["few_paper_std"])) == (39.7, 1.42)
        assert float(row["few_difference"]) == pytest.approx(mean - 39.7)
        error = math.sqrt(std**2 / 2 + 1.42**2 / 10)
        assert float(row["few_standard_errors"]) == pytest.approx((mean - 39.7) / error)
        assert (row["runs"], row["paper_runs"]) == ("2", "10")
        overall = 100.0 * result["test_accuracy"].mean()
        assert float(row["overall"]) == pytest.approx(overall)
        (before,) = (
            r
            for r in rows
            if (r["dataset"], r["rho"]) == ("imagenetlt_resnext50_crt", "")
        )
        baseline = 100.0 * result["baseline_test_acc_per_split"][2]
        assert float(before["many"]) == pytest.approx(baseline)
        assert before["many_standard_errors"] == ""
        assert float(before["many_difference"]) == pytest.approx(baseline - 61.8)

    def test_top5_is_that_of_the_results(self, ran):
        path = ran / "w/main/imagenetlt_resnext50_crt/rho_1/result.npz"
        result = results.load_result(path)
        rows = read_csv(ran, "models_split_top5_accs_vs_rho_imagenetlt")
        (row,) = (
            r
            for r in rows
            if (r["dataset"], r["rho"]) == ("imagenetlt_resnext50_crt", "1.0")
        )
        assert float(row["overall"]) == pytest.approx(100 * result["test_top5"].mean())
        (before,) = (
            r
            for r in rows
            if (r["dataset"], r["rho"]) == ("imagenetlt_resnext50_crt", "")
        )
        top5 = 100.0 * float(result["baseline_test_top5"])
        assert float(before["overall"]) == pytest.approx(top5)

    def test_k_tables(self, ran):
        name = "rhos_split_top1_accs_vs_k_imagenetlt_crt_cosine"
        rows = read_csv(ran, name)
        there = {(r["rho"], r["k"]) for r in rows if r["few"] and r["rho"]}
        assert there == {(rho, k) for rho in ("0.5", "1.0") for k in "15"}
        one, five = (
            r for r in rows if (r["rho"], r["k"]) in {("0.5", "1"), ("0.5", "5")}
        )
        # Coin flips are not compared.
        assert one["few_paper"] != ""
        assert one["few_difference"] == ""
        assert five["few_difference"] != ""
        text = (ran / "w" / "tables" / f"{name}.md").read_text()
        assert "| 1 \\*" in text
        assert "With one neighbor nothing can be learned" in text

    def test_markdown_lines_up(self, ran):
        tables = sorted((ran / "w" / "tables").glob("*.md"))
        assert len(tables) == 16 + 4 + 1 + 7
        for path in tables:
            lines = [x for x in path.read_text().splitlines() if x.startswith("|")]
            assert len({len(line) for line in lines}) == 1, path
        text = (
            ran / "w/tables/models_split_top1_accs_vs_rho_imagenetlt.md"
        ).read_text()
        assert re.search(
            r"\| .-cRT +\| 0\.5 +\| +[\d.]+ ± [\d.]+ \| 39\.7 ± 1\.42 \|", text
        )

    def test_missing_data_is_told_with_the_command(self, ran):
        name = "models_split_top1_accs_vs_rho_placeslt"
        text = (ran / "w" / "tables" / f"{name}.md").read_text()
        lines = text.splitlines()
        (line,) = (x for x in lines if re.match(r"\| .-cRT +\| 0\.1 ", x))
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[2:5] == ["-", "38.2 ± 1.30", "-"]
        assert "data/nowhere/splits" in text
        assert "datasets.toml does not list it" in text  # of LWS
        assert (
            "--datasets placeslt_resnet152_crt placeslt_resnet152_lws --parts main"
        ) in text

    def test_own_tables_have_no_paper(self, ran):
        names = [p.stem for p in (ran / "w" / "tables").glob("*my--data-*.md")]
        assert sorted(names) == [
            "models_split_top1_accs_vs_rho_my--data-",
            "models_split_top5_accs_vs_rho_my--data-",
            "neighbors_split_top1_accs_vs_rho_my--data-",
            *(
                f"rhos_split_top{k}_accs_vs_k_my--data-_{distance}"
                for k in (1, 5)
                for distance in ("cosine", "euclidean")
            ),
        ]
        records = json.loads(
            (ran / "w/tables/models_split_top1_accs_vs_rho_my--data-.json").read_text()
        )
        assert [record["rho"] for record in records] == [None, 0.5, 1.0, None, None]
        names = [record["classifier"] for record in records[3:]]
        assert [name.split(" (")[0] for name in names] == [
            "Offset on few",
            "Logit adj.",
        ]
        assert all(record["few_paper"] is None for record in records)

    def test_statistics_of_our_data(self, ran):
        text = (ran / "w" / "tables" / "dataset_stats.md").read_text()
        (line,) = (x for x in text.splitlines() if "| ImageNet-LT" in x and "here" in x)
        numbers = [cell.strip() for cell in line.strip("|").split("|")][2:]
        assert numbers == [
            *("106", "84", "84", "14", "4", "4", "6", "56", "32", "18"),
        ]
        assert "115,846" in text

    def test_page(self, ran):
        reader = check_page(ran / "w" / "index.html")
        text = " ".join(reader.texts)
        assert NAME in text
        assert "my <data>" in text
        assert "no such file or directory" in text
        assert "1.6 (few)" in text
        assert "24 settings of 2 runs: 48 runs" in text

    @pytest.mark.slow
    def test_again_nothing_is_computed(self, ran, capsys, monkeypatch):
        def refuse(*arguments, **more):
            raise AssertionError("nothing should be left to do")

        page_before = (ran / "w" / "index.html").read_text()
        monkeypatch.setattr(training, "train", refuse)
        monkeypatch.setattr("alphanet_jax.results.top_k.top_k_hits", refuse)
        assert main(*flags_of(ran)) == 0
        captured = capsys.readouterr()
        assert captured.out.splitlines() == [str(ran / "w" / "index.html")]
        assert captured.err.count("12 of 12 points are done already") == 2
        assert "skipping placeslt_resnet152_crt: no such file" in captured.err
        assert (ran / "w" / "index.html").read_text() == page_before

    @pytest.mark.slow
    def test_what_was_stopped_goes_on(self, ran, capsys):
        gone = ran / "w/nnsweep_cosine/my--data-/rho_1/k_5/result.npz"
        old = results.load_result(gone)
        gone.unlink()
        other = ran / "w/main/my--data-/rho_1/result.npz"
        stamp = other.stat().st_mtime_ns
        assert main(*flags_of(ran), "--datasets", "my <data>") == 0
        err = capsys.readouterr().err
        assert "11 of 12 points are done already" in err
        assert "1 of 1 points done in" in err
        new = results.load_result(gone)
        # It trained alone now: other batches of runs round differently.
        np.testing.assert_allclose(new["alphas"], old["alphas"], atol=1e-4)
        assert np.array_equal(new["neighbors"], old["neighbors"])
        assert new["config"] == old["config"]
        assert other.stat().st_mtime_ns == stamp

    def test_reports_of_what_is_there(self, ran, capsys, tmp_path):
        work = tmp_path / "w"
        (work / "main").mkdir(parents=True)
        there = "main/imagenetlt_resnext50_crt"
        (work / "main" / "imagenetlt_resnext50_crt").symlink_to(ran / "w" / there)
        flags = [*flags_of(ran)[:2], f"--workdir={work}", *SMALL, "--notrain"]
        assert main(*flags, "--formats", "csv", "--parts", "main") == 0
        assert not (work / "randomnns").exists()
        assert {p.suffix for p in (work / "tables").iterdir()} == {".csv"}
        check_page(work / "index.html")
        assert "points done" not in capsys.readouterr().err

    @pytest.mark.slow
    def test_other_settings_are_run_again(self, ran, capsys, tmp_path, monkeypatch):
        asked = []

        def note(points, data, *, done, **more):
            seeds = {point.settings.seeds for point in points}
            asked.append((len(points), sorted(done), seeds))
            return []

        monkeypatch.setattr(training, "train", note)
        there = "main/imagenetlt_resnext50_crt"
        (tmp_path / "w" / "main").mkdir(parents=True)
        (tmp_path / "w" / there).symlink_to(ran / "w" / there)
        flags = (*flags_of(ran)[:2], "--workdir=w", *SMALL, "--parts", "main")
        more = ("--datasets", "imagenetlt_resnext50_crt", "--rhos", "0.5", "2")
        assert main(*flags, *more) == 0
        # 0.5 and 1 of SMALL, then 0.5 and 2 again: a flag given twice adds up.
        assert asked.pop() == (3, [0, 1], {2})
        assert main(*flags, *more, "--seeds=3") == 0
        assert asked.pop() == (3, [], {3})
        err = capsys.readouterr().err
        assert err.count("is of another run and will be replaced: seeds 2, now 3") == 2

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--parts", "main", "nn"), "--parts must be of main, random, nnsweep"),
            (("--rhos", "a"), "--rhos must be numbers from 0 on, got 'a'"),
            (("--rhos=-1",), "--rhos must be numbers from 0 on, got '-1'"),
            (("--neighbors", "0"), "--neighbors must be whole numbers from 1 on"),
            (("--neighbors", "1.5"), "--neighbors must be whole numbers from 1 on"),
            (("--formats", "docx"), "--formats must be of md, tex, csv, json"),
            (("--styles", "x"), "--styles must be of paper, arxiv"),
            (("--datasets", "mine"), "--datasets: no 'mine' in "),
            (
                ("--datasets", "placeslt_resnet152_crt"),
                "--datasets: placeslt_resnet152_crt: no such file or directory",
            ),
            (("--seeds=0",), "--seeds"),
            (("--selection=first",), "--selection"),
            (("--workdir=datasets.toml",), "--workdir: datasets.toml is a file"),
            (("--registry=none.toml",), "none.toml: cannot read registry"),
        ],
    )
    def test_what_is_refused(self, tmp_path, capsys, arguments, message):
        write_registry(
            tmp_path / "datasets.toml",
            placeslt_resnet152_crt=("nowhere", ["train", "val", "test"]),
        )
        assert main("--registry=datasets.toml", *arguments) == 1
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith("error: ")
        assert message in last
        assert [p.name for p in tmp_path.iterdir()] == ["datasets.toml"]

    def test_reports_that_cannot_be_written(self, ran, capsys, tmp_path):
        (tmp_path / "w").mkdir()
        (tmp_path / "w" / "tables").write_text("a file")
        flags = (*flags_of(ran)[:2], "--workdir=w", "--notrain", "--nofigures")
        assert main(*flags) == 1
        assert capsys.readouterr().err.splitlines()[-1] == (
            "error: w/tables: File exists"
        )

    def test_names_that_would_share_a_directory(self, tmp_path, capsys):
        make_data(tmp_path / "a")
        groups = ["train", "val", "test"]
        write_registry(
            tmp_path / "datasets.toml", **{"a b": ("a", groups), "a/b": ("a", groups)}
        )
        assert main("--registry=datasets.toml") == 1
        assert (
            "'a b' and 'a/b' would have the same directory" in capsys.readouterr().err
        )

    def test_damaged_data_is_an_error_and_the_rest_is_done(
        self, capsys, tmp_path, monkeypatch
    ):
        make_data(tmp_path / "a")
        make_data(tmp_path / "b")
        (tmp_path / "b" / "features" / "test.npy").write_bytes(b"no array")
        groups = ["train", "val", "test"]
        write_registry(
            tmp_path / "datasets.toml", bad=("b", groups), good=("a", groups)
        )
        trained = []
        monkeypatch.setattr(
            training, "train", lambda points, *_, **__: trained.append(points) or []
        )
        flags = ("--registry=datasets.toml", "--workdir=w", "--parts", "main")
        assert main(*flags, "--rhos=1", "--seeds=1", "--nofigures") == 1
        err = capsys.readouterr().err
        assert "bad: " in err.splitlines()[-1]
        assert "test.npy: not a readable .npy file" in err.splitlines()[-1]
        ((point,),) = trained
        assert point.title == "main/good/rho_1"
        reader = check_page(tmp_path / "w" / "index.html")
        assert "not a readable .npy file" in " ".join(reader.texts)

    def test_a_point_that_fails_is_an_error_and_the_rest_is_done(
        self, ran, capsys, tmp_path, monkeypatch
    ):
        there = "main/imagenetlt_resnext50_crt"
        (tmp_path / "w" / "main").mkdir(parents=True)
        (tmp_path / "w" / there).symlink_to(ran / "w" / there)
        monkeypatch.setattr(
            training,
            "train",
            lambda points, *_, **__: [
                training.Trained(points[2], error=UserError("the loss is nan"))
            ],
        )
        flags = (*flags_of(ran)[:2], "--workdir=w", *SMALL, "--parts", "main")
        more = ("--datasets", "imagenetlt_resnext50_crt", "--rhos", "2")
        assert main(*flags, *more) == 1
        last = capsys.readouterr().err.splitlines()[-1]
        assert last == f"error: {there}/rho_2: the loss is nan"
        text = " ".join(check_page(tmp_path / "w" / "index.html").texts)
        assert f"{there}/rho_2: the loss is nan" in text
        assert "2 of 3" in text

    @pytest.mark.slow
    def test_results_of_something_else_are_left_out(self, ran, capsys, tmp_path):
        work = tmp_path / "w"
        (work / "main").mkdir(parents=True)
        there = "main/imagenetlt_resnext50_crt"
        shutil.copytree(ran / "w" / there, work / there)
        (work / there / "rho_0.1").mkdir()
        (work / there / "rho_0.1" / "result.npz").write_bytes(b"nothing")
        shutil.copytree(work / there / "rho_0.5", work / there / "rho_2")
        flags = [*flags_of(ran)[:2], f"--workdir={work}", "--nofigures", "--notrain"]
        assert main(*flags, "--seeds=2") == 0
        err = capsys.readouterr().err
        assert err.count("left out: ") == 2
        assert f"{work / there / 'rho_2' / 'result.npz'}: rho 0.5, now 2.0" in err
        reader = check_page(work / "index.html")
        assert "2 settings of 2 runs: 4 runs" in " ".join(reader.texts)
        assert "rho 0.5, now 2.0" in " ".join(reader.texts)
        # With another rule, none of them is what is asked for.
        assert main(*flags, "--selection=best") == 0
        assert "selection 'reference', now 'best'" in capsys.readouterr().err

    def test_results_without_their_data_are_still_reported(self, ran, capsys, tmp_path):
        write_registry(
            tmp_path / "datasets.toml",
            imagenetlt_resnext50_crt=("gone", ["train", "val", "test"]),
        )
        flags = ("--registry=datasets.toml", f"--workdir={tmp_path / 'w'}")
        (tmp_path / "w").mkdir()
        shutil.copytree(ran / "w" / "main", tmp_path / "w" / "main")
        more = ("--seeds=2", "--nofigures", "--notrain")
        assert main(*flags, *more, "--datasets", "imagenetlt_resnext50_crt") == 0
        assert "skipping imagenetlt_resnext50_crt: no such" in capsys.readouterr().err
        tables = tmp_path / "w" / "tables"
        text = (tables / "models_split_top1_accs_vs_rho_imagenetlt.csv").read_text()
        assert (
            text
            == (
                ran / "w/tables/models_split_top1_accs_vs_rho_imagenetlt.csv"
            ).read_text()
        )
        # Top-5 accuracy needs the features.
        text = (tables / "models_split_top5_accs_vs_rho_imagenetlt.md").read_text()
        assert "is needed" in text

    def test_few_base_classes_have_few_neighbors(self, ran, capsys, monkeypatch):
        asked = []
        monkeypatch.setattr(
            training, "train", lambda points, *_, **__: asked.append(points) or []
        )
        flags = (*flags_of(ran)[:2], "--workdir=w", "--parts", "nnsweep", "--rhos=1")
        more = ("--datasets", "my <data>", "--nofigures")
        assert main(*flags, *more) == 0
        assert (
            "no more than 7 neighbors, as there are 8 base" in capsys.readouterr().err
        )
        counts = [point.settings.n_neighbors for point in asked[0]]
        assert counts == [*range(1, 8), *range(1, 8)]

    @pytest.mark.slow
    def test_wordnet_that_is_not_there(self, ran, tmp_path):
        synsets = (REGISTRY.parents[1] / "data/CIFAR100LT/synsets.txt").read_text()
        lines = synsets.splitlines(keepends=True)[:14]
        (tmp_path / "synsets.txt").write_text("".join(lines))
        write_registry(
            tmp_path / "datasets.toml",
            imagenetlt_resnext50_crt=("gone", ["train", "val", "test"]),
        )
        with (tmp_path / "datasets.toml").open("a") as file:
            file.write('synsets_file = "synsets.txt"\n')
        there = "main/imagenetlt_resnext50_crt"
        shutil.copytree(ran / "w" / there, tmp_path / "w" / there)
        flags = ("--registry=datasets.toml", "--workdir=w", "--seeds=2", "--nofigures")
        assert main(*flags, "--notrain", "--wordnet=nowhere") == 0
        name = "models_split_semantic4_accs_vs_rho_imagenetlt.md"
        text = (tmp_path / "w" / "tables" / name).read_text()
        assert "nowhere: no WordNet database here" in text


@pytest.mark.slow
class TestFigures:
    @pytest.mark.slow
    def test_every_figure_is_drawn_once(self, ran, capsys, tmp_path, monkeypatch):
        for folder in ("main", "randomnns", "nnsweep_euclidean", "nnsweep_cosine"):
            there = f"{folder}/imagenetlt_resnext50_crt"
            shutil.copytree(ran / "w" / there, tmp_path / "w" / there)
        flags = [*flags_of(ran)[:2], "--workdir=w", "--seeds=2", "--notrain"]
        flags += ["--n_boot=10", "--datasets", "imagenetlt_resnext50_crt"]
        assert main(*flags) == 0
        # The made classes have no synsets, and no figures of their meanings.
        err = capsys.readouterr().err
        assert "failed" not in err
        assert "imagenetlt_resnext50_crt: nothing is counted by WordNet" in err
        drawn = tmp_path / "w" / "figures"
        names = {
            path.name.removeprefix("imagenetlt_resnext50_crt.").removesuffix(end)
            for end in (".web_light.svg",)
            for path in drawn.glob(f"*{end}")
        }
        assert names == {
            *("pred_counts", "cls_acc_vs_nndist", "split_accs_vs_rho"),
            *("euclidean_random_split_deltas_vs_rho", "rhos_cls_deltas"),
            *(f"{split}_pred_changes_visual" for split in SPLITS),
            *("cls_acc_and_samples", "cls_acc_vs_samples", "alphas", "templates"),
            *(f"cls_delta_vs_nndist_rho_{rho}" for rho in ("0.5", "1")),
            *(f"accs_vs_k_rho_{rho}" for rho in ("0.5", "1")),
        }
        assert len(list(drawn.glob("*.web_dark.svg"))) == len(names)
        reader = check_page(tmp_path / "w" / "index.html")
        images = [ref for tag, ref in reader.references if tag == "img"]
        assert len(images) == 2 * len(names)

        def refuse(*arguments, **more):
            raise AssertionError("nothing should be left to draw")

        monkeypatch.setattr("alphanet_jax.figures.saving.save_figure", refuse)
        text = (tmp_path / "w" / "index.html").read_text()
        assert main(*flags) == 0
        assert (tmp_path / "w" / "index.html").read_text() == text
        # What is gone, or of other results, is drawn again.
        gone = next(drawn.glob("*.split_accs_vs_rho.csv"))
        gone.unlink()
        assert main(*flags) == 1
        assert "nothing should be left" in capsys.readouterr().err

    def test_figures_of_changed_code_are_drawn_again(self, tmp_path, monkeypatch):
        package = paper_figures.figures_package
        shutil.copytree(package.__path__[0], tmp_path / "figures")
        monkeypatch.setattr(package, "__path__", [str(tmp_path / "figures")])
        before = paper_figures._code_digest.__wrapped__()
        with open(tmp_path / "figures" / "kinds" / "alphas.py", "a") as file:
            file.write("# another\n")
        assert paper_figures._code_digest.__wrapped__() != before

    def test_several_datasets_share_a_figure(self, ran, tmp_path, monkeypatch):
        plans = []
        monkeypatch.setattr(
            paper_figures, "_draw", lambda each, *_: (plans.append(each) or [], [])
        )
        monkeypatch.setattr(paper_figures, "plan", lambda *_: [])
        monkeypatch.setattr(pieces, "figure", lambda *_: "")
        shutil.copytree(ran / "w" / "main", tmp_path / "w" / "main")
        flags = [*flags_of(ran)[:2], "--workdir=w", "--seeds=2", "--notrain"]
        assert main(*flags) == 0
        (plan,) = plans
        assert plan.kind == "change_vs_rho"
        assert {runs.dataset for runs in plan.sets} == {
            "imagenetlt_resnext50_crt",
            "my <data>",
        }

    @pytest.mark.slow
    def test_a_style_without_its_program(self, ran, capsys, tmp_path, monkeypatch):
        shutil.copytree(ran / "w", tmp_path / "w")
        monkeypatch.setattr("shutil.which", lambda name: None)
        flags = [*flags_of(ran)[:2], "--workdir=w", "--seeds=2", "--notrain"]
        assert main(*flags, "--styles", "paper") == 1
        lines = capsys.readouterr().err.splitlines()
        said = "--styles: no figures in style paper: a figure in pgf needs LaTeX"
        assert lines[0].startswith(f"failed: {said}")  # before all else
        assert lines[-1].startswith(f"error: {said}")
        text = " ".join(check_page(tmp_path / "w" / "index.html").texts)
        assert said in text

    def test_a_style_that_fails_for_a_figure(self, tmp_path, monkeypatch):
        """The page's styles are drawn, and it is tried again the next time."""
        from alphanet_jax.figures import style

        def save(*arguments, on_failure, **options):
            on_failure(style.STYLES["paper"], UserError("LaTeX fails"))
            return [tmp_path / "f.svg"]

        monkeypatch.setattr("alphanet_jax.figures.saving.save_figure", save)
        kind = types.SimpleNamespace(
            numbers=lambda *_: {}, draw=None, numbers_options=()
        )
        monkeypatch.setattr(paper_figures, "load_kind", lambda name: kind)
        each = types.SimpleNamespace(
            kind="x", wide=False, data_options={}, sets=[], drawing_options={}, name="f"
        )
        results = types.SimpleNamespace(finder=None, wordnet=None)
        names = [*paper_figures.PAGE_STYLES, "paper"]
        paths, lost = paper_figures._draw(each, results, tmp_path / "f", names, 5)
        assert paths == [tmp_path / "f.svg"]
        assert lost == ["figure f is not drawn in style paper: LaTeX fails"]

    @pytest.mark.slow
    def test_without_matplotlib_there_are_tables(
        self, ran, capsys, tmp_path, monkeypatch
    ):
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        shutil.copytree(ran / "w" / "main", tmp_path / "w" / "main")
        flags = [*flags_of(ran)[:2], "--workdir=w", "--seeds=2", "--notrain"]
        assert main(*flags) == 0
        text = " ".join(check_page(tmp_path / "w" / "index.html").texts)
        assert "no figures: figures need matplotlib: pip install" in text
