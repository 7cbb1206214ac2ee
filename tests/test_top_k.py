"""Top-k accuracy of results: against slow oracles, and what training counted."""

import json

import made_data
import numpy as np
import pytest
import results_of_data

from alphanet_jax import results
from alphanet_jax.commands import cli
from alphanet_jax.errors import UserError
from alphanet_jax.results.datasets import DataFinder
from alphanet_jax.results.file import load_result
from alphanet_jax.results.top_k import count_ahead, top_k_hits


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return made_data.make(tmp_path / "data")


@pytest.fixture
def file(made, tmp_path):
    return results_of_data.load(tmp_path, results_of_data.arrays_of(made))


def rank_of(scores, label):
    """The place of a class when all are sorted, by a slow way: 0 is the best."""
    order = sorted(range(len(scores)), key=lambda c: (-scores[c], c))
    return order.index(label)


class TestCountAhead:
    def test_worked(self):
        # By score, then by class: 3, 0, 2, 4, 1.
        scores = np.array([[2.0], [1.0], [2.0], [5.0], [2.0]])
        for label, ahead in {3: 0, 0: 1, 2: 2, 4: 3, 1: 4}.items():
            target = scores[[label], 0]
            found = count_ahead(scores, np.arange(5), target, np.array([label]))
            assert found.tolist() == [ahead]

    def test_oracle_with_many_ties(self, rng):
        scores = rng.integers(0, 4, (7, 200)).astype(np.float32)
        labels = rng.integers(0, 7, 200)
        target = scores[labels, np.arange(200)]
        wanted = [
            rank_of(column, label)
            for column, label in zip(scores.T, labels, strict=True)
        ]
        found = count_ahead(scores, np.arange(7), target, labels)
        assert found.tolist() == wanted
        # Parts of the classes, in any order, add up to all.
        for part in (rng.permutation(7), np.array([2, 6])):
            rest = np.setdiff1d(np.arange(7), part)
            both = [count_ahead(scores[p], p, target, labels) for p in (part, rest)]
            np.testing.assert_array_equal(sum(both), wanted)


class TestTopKHits:
    def hits(self, file, k, **more):
        return top_k_hits(DataFinder().dataset(file), file, k=k, **more)

    @pytest.mark.parametrize("per_seed", [False, True])
    @pytest.mark.parametrize("k", [1, 2, 5])
    def test_oracle(self, made, tmp_path, k, per_seed):
        arrays = results_of_data.arrays_of(made, seeds=(3, 4, 5), per_seed=per_seed)
        file = results_of_data.load(tmp_path, arrays)
        data = DataFinder().dataset(file)
        runs, baseline = self.hits(file, k)
        x, labels = made.groups["test"]["feats"], made.groups["test"]["labels"]

        def oracle(logits):
            best = np.argsort(-logits, axis=1)[:, :k]
            return [label in row for label, row in zip(labels, best, strict=True)]

        assert runs.shape == (3, len(labels))
        for place, neighbors in enumerate(file.per_run("neighbors")):
            logits = results_of_data.scores(data, arrays["alphas"][place], neighbors, x)
            assert runs[place].tolist() == oracle(logits)
        assert baseline.tolist() == oracle(x @ made.weight.T + made.bias)
        assert 0 < runs.sum() < runs.size

    def test_one_is_what_the_predictions_say(self, file):
        runs, baseline = self.hits(file, 1)
        arrays = file.arrays
        np.testing.assert_array_equal(
            runs, arrays["test_pred"] == arrays["test_labels"]
        )
        np.testing.assert_array_equal(
            baseline, arrays["baseline_test_pred"] == arrays["test_labels"]
        )

    def test_all_classes_are_always_enough(self, file):
        assert all(part.all() for part in self.hits(file, made_data.NUM_CLASSES))

    @pytest.mark.parametrize("size", [1, 5, 12, 100])
    def test_batches_change_nothing(self, file, size):
        for one, other in zip(
            self.hits(file, 2), self.hits(file, 2, batch_size=size), strict=True
        ):
            np.testing.assert_array_equal(one, other)

    @pytest.mark.parametrize("k", [0, 7])
    def test_out_of_range(self, file, k):
        with pytest.raises(UserError, match=rf"from 1 to .* classes, 6, got {k}"):
            self.hits(file, k)

    @pytest.mark.parametrize("k", [1, 2, 3, 5])
    def test_equal_scores_rank_by_class(self, made, tmp_path, k):
        """Small whole numbers tie often, and have no rounding that hides it."""
        rng = np.random.default_rng(5)
        for group, size in made_data.SIZES.items():
            made.dump_group(group, feats=rng.integers(-1, 2, (size, 4)).astype("f4"))
        weight = rng.integers(-1, 2, made.weight.shape).astype("f4")
        made.dump_classifier(weight=weight, bias=np.float32([0, 1, 0, 0, 1, 0]))
        arrays = results_of_data.arrays_of(made, seeds=(0, 1, 2))
        arrays["alphas"] = rng.integers(-1, 2, arrays["alphas"].shape).astype("f4")
        file = results_of_data.load(tmp_path, arrays)
        data = DataFinder().dataset(file)
        runs, baseline = top_k_hits(data, file, k=k)
        x, labels = np.asarray(data.test.features), np.asarray(data.test.labels)
        unchanged = np.eye(1, 3)[0] * np.ones((2, 1))
        ties = 0
        for hits, alphas in zip(
            [*runs, baseline], [*arrays["alphas"], unchanged], strict=True
        ):
            logits = results_of_data.scores(data, alphas, arrays["neighbors"], x)
            ties += sum(len(set(row)) < len(row) for row in logits.tolist())
            wanted = [rank_of(*each) < k for each in zip(logits, labels, strict=True)]
            assert hits.tolist() == wanted
        assert ties > 20


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_is_what_training_counted(made, tmp_path, monkeypatch, capsys, scale):
    """For a classifier of zeros too, where every score is the same."""
    monkeypatch.chdir(tmp_path)
    made.dump_classifier(weight=scale * made.weight, bias=scale * made.bias)
    path = results_of_data.train(made, tmp_path / "w")
    trained = load_result(path)

    def shown(k):
        capsys.readouterr()
        flags = [f"--acc_k={k}", "--base_res_dir=w", "--format=json"]
        assert cli.main(["main.py", "results", *flags]) == 0
        return [
            record["overall"]["mean"] for record in json.loads(capsys.readouterr().out)
        ]

    for k, name in ((1, "test_accuracy"), (5, "test_top5")):
        wanted = [trained[f"baseline_{name}"], trained[name].mean()]
        assert shown(k) == pytest.approx([100 * float(each) for each in wanted])
    labels = trained["test_labels"]
    if scale == 0.0:  # of six equal classes, all but the last are among the best five
        assert trained["test_top5"] == pytest.approx([(labels < 5).mean()] * 2)
    (runs,) = results.load_sets({"x": [path]})
    data = DataFinder().dataset(runs.files[0])
    for hits, best in zip(
        top_k_hits(data, runs.files[0], k=1),
        (trained["test_pred"], trained["baseline_test_pred"]),
        strict=True,
    ):
        np.testing.assert_array_equal(hits, best == labels)
