"""The paper's experiments: published numbers, the grid, tables, and the page."""

import math
import pathlib
import re
import types

import numpy as np
import pytest
from made_paper import Reader

from alphanet_jax.config import fields as config
from alphanet_jax.config import presets
from alphanet_jax.config.fields import Settings
from alphanet_jax.data import registry
from alphanet_jax.data.registry import DatasetEntry
from alphanet_jax.pages import html as pieces
from alphanet_jax.paper import compared, grid, page, published
from alphanet_jax.paper import tables as paper_tables
from alphanet_jax.paper.grid import grid_points
from alphanet_jax.paper.measured import Measured
from alphanet_jax.results.tables import Table, Value

REGISTRY = pathlib.Path(__file__).parents[1] / "configs" / "datasets.toml"
MINE = DatasetEntry("mine", "splits", "features", "classifier.npz")


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

    def test_points_are_those_between_the_numbers_shown(self):
        cell = compared.compare(Value(31.06), 1, Value(22.64), 1)  # 31.1 and 22.6
        assert cell.difference == pytest.approx(8.42)
        assert compared.difference_text(cell) == "+8.5"

    def test_no_minus_before_zero(self):
        cell = compared.compare(Value(1.0, 1.0), 1, Value(1.01, 1.0), 1)
        assert compared.difference_text(cell) == "+0.0 (+0.0 se)"


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
