"""Kinds of figure that look into the data: top-k accuracy, neighbors, WordNet."""

import csv
import json

import made_data
import numpy as np
import pytest
import results_of_data
from figure_sources import HAND, SYNSETS, read
from made_results import LABEL_NAMES, SPLITS, make_result

from alphanet_jax.commands import cli
from alphanet_jax.figures import load_kind
from alphanet_jax.figures.style import make_style
from alphanet_jax.results import accuracy

accuracy_vs_experiment = load_kind("accuracy_vs_experiment")
accuracy_vs_rho = load_kind("accuracy_vs_rho")
change_vs_rho = load_kind("change_vs_rho")


@pytest.mark.parametrize(
    "kind", [accuracy_vs_experiment, accuracy_vs_rho, change_vs_rho]
)
def test_top_k_accuracy_is_that_of_the_classifiers(real, drawn, kind):
    sources, data = read(real[0], "cosine"), real[1]
    found = kind.numbers(sources, acc_k=2, n_boot=1)
    (file,) = sources.sets[0].files
    labels, x = data.test.labels, np.asarray(data.test.features)

    def hits(alphas):
        logits = results_of_data.scores(data, alphas, file.arrays["neighbors"], x)
        target = np.take_along_axis(logits, labels[:, None], axis=1)
        return (logits > target).sum(axis=1) < 2

    k = file.arrays["neighbors"].shape[1]
    unchanged = np.eye(1, k + 1)[0] * np.ones((len(data.few_classes), 1))
    before = accuracy.per_split(hits(unchanged), labels, data.splits)
    after = np.mean(
        [
            accuracy.per_split(hits(a), labels, data.splits)
            for a in file.arrays["alphas"]
        ],
        axis=0,
    )
    change = kind is change_vs_rho
    wanted = 100.0 * (after - before if change else after)
    np.testing.assert_allclose(found[""]["accuracy"], wanted, atol=1e-9)
    np.testing.assert_allclose(found[""]["baseline"], 100.0 * before, atol=1e-9)
    figure = drawn(kind, found)
    text = " ".join(figure.axes[0].get_ylabel().split())
    assert text == (
        "Change in top-2 accuracy (points)" if change else "Top-2 accuracy (%)"
    )


class TestCommands:
    def plot(self, name, real, out, *flags):
        arguments = [f"--base_res_dir={real[0]}", f"--out={out}", *flags]
        return cli.main(["main.py", "plot", name, *arguments])

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("name", "flags"),
        [
            ("predictions", ["--split=base", "--nn_split=few", "--models=alphanet"]),
            ("prediction_changes", ["--split=all", "--nn_split=all", "--label_rot=9"]),
            ("accuracy_vs_experiment", ["--col=metric", "--noshow_titles"]),
        ],
    )
    def test_figures(self, real, tmp_path, name, flags):
        if name != "accuracy_vs_experiment":
            flags = [*flags, "--nn_dist=euclidean"]
        contents = []
        for _ in range(2):
            assert self.plot(name, real, tmp_path / "f.svg", *flags) == 0
            contents.append((tmp_path / "f.svg").read_bytes())
        assert contents[0] == contents[1]
        with (tmp_path / "f.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert {row["experiment"] for row in rows} == {"euclidean", "cosine", "random"}

    def test_random_neighbors(self, real, tmp_path, capsys):
        out = tmp_path / "f.svg"
        assert self.plot("predictions", real, out, "--split=base") == 1
        assert "--nn_dist=euclidean or --nn_dist=cosine" in capsys.readouterr().err
        assert not list(tmp_path.iterdir())

    def semantic(self, tmp_path):
        make_result(tmp_path / "results" / "a" / "result.npz", **HAND)
        lines = [f"{SYNSETS[name]} {name}" for name in LABEL_NAMES]
        (tmp_path / "labels_full.txt").write_text("\n".join(lines))
        return ["--base_res_dir", str(tmp_path / "results"), "--nn_split=semantic"]

    @pytest.mark.slow
    def test_semantic_neighbors(self, wordnet_reader, tmp_path):
        flags = self.semantic(tmp_path)
        found = {}
        for flag, name, level in (
            (f"--synsets={tmp_path / 'labels_full.txt'}", "a", 2),
            (f"--imagenet_data_root={tmp_path}", "b", 3),
        ):
            path = tmp_path / f"{name}.json"
            assert not cli.main(
                [
                    *("main.py", "plot", "prediction_changes", *flags, flag),
                    f"--out={tmp_path / name}.svg",
                    f"--semantic_nns_level={level}",
                    f"--save_semantic_nns_file={path}",
                ]
            )
            found[level] = json.loads(path.read_text())
            assert found[level]["level"] == level
            with (tmp_path / f"{name}.csv").open() as file:
                rows = list(csv.DictReader(file))
            # All of class 1, a tench, which nothing is near to; 4, a tiger, has 3.
            assert {row["without_neighbors"] for row in rows} == {"3"}
        near = {level: each["datasets"]["made"] for level, each in found.items()}
        assert [row["name"] for row in near[2]] == list(LABEL_NAMES)
        split_of = {label: name for name in SPLITS for label in SPLITS[name]}
        assert [row["split"] for row in near[2]] == [split_of[i] for i in range(9)]
        assert [row["class"] for row in near[2]] == list(range(9))
        assert near[2][4]["neighbors"] == [3]
        assert near[2][1]["neighbors"] == []
        assert near[2][5]["neighbors"] == [6, 8]
        assert near[3][5]["neighbors"] == [6, 7, 8]

    @pytest.mark.slow
    def test_nothing_is_written_on_error(self, wordnet_reader, tmp_path, capsys):
        flags = self.semantic(tmp_path)
        synsets = f"--synsets={tmp_path / 'labels_full.txt'}"
        before = made_data.names(tmp_path)
        out = tmp_path / "f.svg"
        for more, message in (
            ([], "unknown dataset 'made'"),
            ([synsets, f"--imagenet_data_root={tmp_path}"], "give one of them"),
            ([synsets, f"--wordnet={tmp_path}"], "no WordNet database here"),
            (
                [synsets, f"--save_semantic_nns_file={out}"],
                "is also a file of the figure itself",
            ),
            ([synsets, "--semantic_nns_level=0"], "semantic_nns_level"),
        ):
            command = ["main.py", "plot", "prediction_changes", *flags, *more]
            assert cli.main([*command, f"--out={out}"]) != 0
            assert message in capsys.readouterr().err
            assert made_data.names(tmp_path) == before

    def test_the_file_of_neighbors_needs_semantic_ones(self, real, tmp_path, capsys):
        flag = f"--save_semantic_nns_file={tmp_path / 'nns.json'}"
        out = tmp_path / "f.svg"
        assert self.plot("prediction_changes", real, out, flag) == 1
        assert "needs --nn_split=semantic" in capsys.readouterr().err
        assert not list(tmp_path.iterdir())

    def test_dollars_in_names(self):
        text = make_style("paper").text("50% of $x_1$")
        assert text == r"50% of \textdollar{}x\_1\textdollar{}"
