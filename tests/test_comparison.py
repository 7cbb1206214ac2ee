"""Comparisons of corrections: their curves, chosen points, folds and errors."""

import copy
import dataclasses
import json

import numpy as np
import pytest

from alphanet_jax import comparison, measures, posthoc
from alphanet_jax.comparison import (
    Samples,
    comparing,
    corrections,
    document,
    folds,
    judging,
)
from alphanet_jax.config.fields import Settings
from alphanet_jax.data.dataset import Dataset, Group
from alphanet_jax.errors import UserError
from alphanet_jax.experiment import training
from alphanet_jax.posthoc import Linear, Method
from alphanet_jax.results import comparison_file
from alphanet_jax.results.file import load_result

SPLITS = {"few": [3, 4], "medium": [2], "many": [0, 1]}
CHEAP = ["logit_adjustment", "few_offset", "nearest_class_mean_l2n"]


def make(*, seed=0, val=(6, 6, 6, 6, 6), train=(30, 24, 12, 5, 3)):
    rng = np.random.default_rng(seed)
    centers = 1.3 * rng.normal(size=(5, 6))

    def group(counts):
        labels = rng.permutation(np.repeat(np.arange(5), counts)).astype(np.int32)
        features = centers[labels] + rng.normal(size=(len(labels), 6))
        return features.astype(np.float32), labels

    return Dataset.from_arrays(
        train=group(train),
        val=None if val is None else group(val),
        test=group((9, 8, 7, 8, 9)),
        weight=centers + 0.5 * rng.normal(size=(5, 6)),
        bias=np.log(np.array(train) / sum(train)),
        splits=SPLITS,
        name="made",
    )


def quiet(data, methods=CHEAP, **options):
    options = {"num_draws": 200, "report": lambda line: None} | options
    return comparison.compare(data, methods=methods, **options)


@pytest.fixture(scope="module")
def data():
    return make()


@pytest.fixture(scope="module")
def found(data):
    return quiet(data, oracle=True)


def slow_accuracies(predictions, labels):
    right = predictions == labels
    parts = [np.isin(labels, classes) for classes in SPLITS.values()]
    return [*(right[part].mean() for part in parts), right.mean()]


# --- accuracies


def test_accuracies_of_samples_and_of_classes():
    labels = np.array([0, 0, 0, 1, 3, 3, 4])
    right = np.array([[1, 1, 0, 0, 1, 0, 1]], bool)
    splits = {name: np.array(classes) for name, classes in SPLITS.items()}
    by_sample = Samples(labels, splits, 5).accuracies(right)[0]
    np.testing.assert_allclose(by_sample, [2 / 3, np.nan, 2 / 4, 4 / 7])
    by_class = Samples(labels, splits, 5, by_class=True).accuracies(right)[0]
    # Of classes 0, 1, 3 and 4: 2/3, 0, 1/2 and 1.
    few, many = (1 / 2 + 1) / 2, (2 / 3 + 0) / 2
    np.testing.assert_allclose(
        by_class, [few, np.nan, many, (2 / 3 + 0 + 1 / 2 + 1) / 4]
    )


def test_both_agree_where_classes_are_balanced():
    labels = np.tile(np.arange(5), 4)
    right = np.random.default_rng(0).random((3, 20)) < 0.5
    splits = {name: np.array(classes) for name, classes in SPLITS.items()}
    one, other = (
        Samples(labels, splits, 5, by_class=flag).accuracies(right)
        for flag in (False, True)
    )
    np.testing.assert_allclose(one, other)
    assert judging.is_balanced(labels)
    assert not judging.is_balanced(labels[1:])


def test_standard_errors_by_hand():
    # Two of four, and three of three: only the first class varies.
    labels, right = np.array([0] * 4 + [2] * 3), [[1, 1, 0, 0, 1, 1, 1]]
    splits = {"few": np.array([0]), "medium": np.array([1]), "many": np.array([2])}
    curve = judging.Curve(
        "one", True, "", "", np.zeros(1), [{}], np.zeros((1, 4)), np.zeros((1, 4)),
        np.array(right, bool), np.zeros((1, 0), bool), {},
    )  # fmt: skip
    found = document._errors(curve, Samples(labels, splits, 3))[0]
    few = np.sqrt(0.25 / 3)
    np.testing.assert_allclose(found, [few, 0, 0, few * 4 / 7])


# --- curves and chosen points


@pytest.mark.slow
def test_a_curve_by_a_slow_oracle(data, found):
    counts = np.bincount(data.train.labels)
    entry = found["methods"]["logit_adjustment"]
    assert [point["knob"] for point in entry["curve"]] == list(
        posthoc.METHODS["logit_adjustment"].grid
    )
    rows = {}
    for name, group in (("val", data.val), ("test", data.test)):
        rows[name] = []
        for point in entry["curve"]:
            shift = point["knob"] * np.log(counts / counts.sum())
            logits = group.features @ data.weight.T + data.bias - shift
            rows[name].append(slow_accuracies(logits.argmax(1), group.labels))
            np.testing.assert_allclose(point[name], rows[name][-1], atol=1e-9)
    val, test = (np.array(rows[name]) for name in ("val", "test"))
    harmonic = 3 / (1 / np.maximum(val[:, :3], 1e-12)).sum(axis=1)
    best = {
        "overall": val[:, 3].argmax(),
        "harmonic": harmonic.argmax(),
        "oracle": test[:, 3].argmax(),
    }
    assert {name: each["index"] for name, each in entry["chosen"].items()} == best
    for name, index in best.items():
        chosen = entry["chosen"][name]
        assert chosen["knob"] == entry["curve"][index]["knob"]
        parts = [chosen[part] for part in ("few", "medium", "many", "overall")]
        np.testing.assert_allclose(parts, test[index], atol=1e-9)
    values = [
        0.5 * (1 - w) * test[i, 3] + 0.5 * w * test[i, 0]
        for w in measures.LAMBDAS
        for i in [((1 - w) * val[:, 3] + w * val[:, 0]).argmax()]
    ]
    assert entry["tradeoff"] == pytest.approx(2 * np.mean(values))


@pytest.mark.slow
def test_what_is_measured_at_a_chosen_point(data, found):
    chosen = found["methods"]["unchanged"]["chosen"]["overall"]
    logits = data.test.features @ data.weight.T + data.bias
    labels, right = data.test.labels, logits.argmax(1) == data.test.labels
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    assert chosen["nll"] == pytest.approx(-logs[range(len(labels)), labels].mean())
    per_class = [right[labels == c].mean() for c in range(5)]
    assert chosen["worst_decile"] == pytest.approx(min(per_class))
    assert chosen["harmonic_mean"] == pytest.approx(
        3 / sum(1 / chosen[part] for part in ("few", "medium", "many"))
    )
    assert 0 <= chosen["ece"] <= 1
    assert 0 < chosen["macro_f1"] <= 1


def test_the_document_has_the_stated_form(found):
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert list(found["methods"]) == ["unchanged", *sorted(CHEAP)]
    for name, entry in found["methods"].items():
        assert entry["linear"] is (name != "nearest_class_mean_l2n")
        for point in [*entry["curve"], *entry["chosen"].values()]:
            assert isinstance(point["knob"], float)
            assert len(point["val"]) == len(point["test"]) == 4
            assert all(0 <= x <= 1 for x in (*point["val"], *point["test"]))
        assert set(entry["chosen"]) == {"overall", "harmonic", "oracle"}
        assert ("difference" in entry) == (name != "unchanged")
    assert found["failed"] == {}
    assert found["knobs_by"] == "validation"


@pytest.mark.slow
def test_differences_and_tests_are_of_the_reference(data):
    found = quiet(data, ["few_offset"], reference="logit_adjustment")
    methods = found["methods"]
    assert "difference" not in methods["logit_adjustment"]
    for name in ("unchanged", "few_offset"):
        one = methods[name]["difference"]
        wanted = methods[name]["tradeoff"] - methods["logit_adjustment"]["tradeoff"]
        assert one["tradeoff"]["estimate"] == pytest.approx(wanted)
        assert set(one) == {"tradeoff", "few", "overall"}
        for each in one.values():
            assert each["low"] <= each["estimate"] <= each["high"]
            assert 0 < each["p_value"] <= 1
        right = {
            key: methods[key]["chosen"]["overall"]["overall"]
            for key in (name, "logit_adjustment")
        }
        test = methods[name]["mcnemar"]["overall"]
        net = (test["only_method"] - test["only_reference"]) / len(data.test.labels)
        assert net == pytest.approx(right[name] - right["logit_adjustment"])
    # Two tests of each split: the smaller p-value counts twice.
    for part in ("few", "medium", "many", "overall"):
        tests = [methods[name]["mcnemar"][part] for name in ("unchanged", "few_offset")]
        low, high = sorted(tests, key=lambda test: test["p_value"])
        least = min(1.0, 2 * low["p_value"])
        assert low["corrected"] == pytest.approx(least)
        assert high["corrected"] == pytest.approx(max(least, high["p_value"]))


def test_differences_are_those_of_the_cells_beside_them(found):
    """Who subtracts what is shown gets what is said."""
    shown = {row[0]: row[-2:] for row in comparison_file.tables_of(found)[0][2]}
    assert len(shown) > 1
    for tradeoff, difference in shown.values():
        if difference:
            points = float(tradeoff) - float(shown["unchanged"][0])
            assert difference.split()[0] == f"{points:+z.1f}"
    changed = copy.deepcopy(found)
    name = next(name for name in shown if name != "unchanged")
    changed["methods"]["unchanged"]["tradeoff"] = 0.2264
    changed["methods"][name]["tradeoff"] = 0.3106
    changed["methods"][name]["difference"]["tradeoff"]["estimate"] = 0.0842
    rows = {row[0]: row for row in comparison_file.tables_of(changed)[0][2]}
    assert rows[name][-2] == "31.1"
    assert rows[name][-1].startswith("+8.5 (")


def test_the_oracle_is_shown_on_request_only(data, found):
    without = quiet(data)
    assert "oracle" not in without["methods"]["unchanged"]["chosen"]
    assert "ORACLE" not in comparison_file.table(without)
    assert "ORACLE" in comparison_file.table(found)


def test_unequal_validation_classes_weigh_the_same():
    data = make(val=(40, 20, 6, 2, 1))
    found = quiet(data, ["few_offset"])
    logits = data.val.features @ data.weight.T + data.bias
    right = logits.argmax(1) == data.val.labels
    classes = [right[data.val.labels == c].mean() for c in range(5)]
    (point,) = found["methods"]["unchanged"]["curve"]
    wanted = [np.mean(classes[3:]), classes[2], np.mean(classes[:2]), np.mean(classes)]
    np.testing.assert_allclose(point["val"], wanted)
    assert "means over classes" in found["notes"][0]


@pytest.mark.slow
def test_alphanet_is_the_mean_of_its_seeds(data, tmp_path):
    settings = Settings(dataset="made", seeds=3, n_neighbors=2, train_epochs=4)
    rhos = (0.3, 1.0)
    options = {"settings": settings, "rhos": rhos, "workdir": tmp_path}
    found = quiet(data, ["alphanet"], **options)
    entry = found["methods"]["alphanet"]
    assert [point["knob"] for point in entry["curve"]] == list(rhos)
    for point, rho in zip(entry["curve"], rhos, strict=True):
        # What training itself measured.
        arrays = load_result(tmp_path / f"alphanet/rho_{rho}/result.npz")
        seeds, epochs = range(3), arrays["selected_epoch"]
        assert arrays["seeds"].tolist() == list(seeds)
        for name, of_splits, overall in (
            ("test", arrays["test_acc_per_split"], arrays["test_accuracy"]),
            (
                "val",
                arrays["val_acc_per_split"][seeds, epochs],
                arrays["val_accuracy"][seeds, epochs],
            ),
        ):
            wanted = [*of_splits.mean(axis=0), overall.mean()]
            np.testing.assert_allclose(point[name], wanted, atol=1e-6)
        chosen = entry["chosen"]["overall"]
        if chosen["knob"] == rho:
            assert chosen["macro_f1"] == pytest.approx(arrays["test_f1"].mean())
    # What is there is not trained again, also where another curve is asked for.
    lines = []
    again = quiet(data, ["alphanet"], report=lines.append, oracle=True, **options)
    assert again["methods"]["alphanet"]["curve"] == entry["curve"]
    assert sum("done already" in line for line in lines) == 2


def untrained(points, data, *, workdir=None, **options):
    """Stands for training: coefficients that leave the classifier as it is."""
    few = data.splits["few"]
    seeds = points[0].settings.seeds
    arrays = {
        "alphas": np.tile(np.float32([1, 0, 0]), (seeds, len(few), 1)),
        "neighbors": np.tile(np.int32([0, 2]), (len(few), 1)),
        "few_classes": few,
    }
    return [training.Trained(point, kept=arrays) for point in points]


@pytest.mark.slow
@pytest.mark.parametrize("with_val", [True, False])
def test_coefficients_that_change_nothing(data, monkeypatch, with_val):
    monkeypatch.setattr(training, "train", untrained)
    if not with_val:
        data = dataclasses.replace(data, val=None)
    found = quiet(data, ["alphanet"], rhos=(0.5, 1.0))
    (same,) = found["methods"]["unchanged"]["curve"]
    for point in found["methods"]["alphanet"]["curve"]:
        for name in ("val", "test", "test_error"):
            np.testing.assert_allclose(point[name], same[name], atol=1e-7)
    one = found["methods"]["alphanet"]["difference"]["tradeoff"]
    assert one["estimate"] == pytest.approx(0, abs=1e-7)


@pytest.mark.slow
def test_what_is_done_is_not_done_again(data, tmp_path, monkeypatch):
    found = quiet(data, workdir=tmp_path)
    judged = []
    curve = corrections.Judge.curve

    def watched(self, method):
        judged.append(method.name)
        return curve(self, method)

    monkeypatch.setattr(corrections.Judge, "curve", watched)
    assert quiet(data, workdir=tmp_path) == found
    assert judged == []
    (tmp_path / "methods/few_offset.npz").write_bytes(b"damaged")
    assert quiet(data, workdir=tmp_path) == found
    assert judged == ["few_offset"]
    quiet(make(seed=1), workdir=tmp_path)
    assert judged == ["few_offset", *found["methods"]]
    judged.clear()
    quiet(dataclasses.replace(make(seed=1), val=None), ["few_offset"], workdir=tmp_path)
    assert judged == ["unchanged", "few_offset"]


# --- cross-validation


def test_folds_are_stratified():
    labels = np.random.default_rng(1).permutation(
        np.repeat([0, 1, 2, 3], [50, 7, 2, 1])
    )
    found = folds.draw_folds(labels, num_folds=5, most_per_class=20)
    held = [np.bincount(found[labels == c] + 1, minlength=6) for c in range(4)]
    assert held[0].tolist() == [30, 4, 4, 4, 4, 4]
    assert held[1][0] == 0
    assert sorted(held[1][1:]) == [1, 1, 1, 2, 2]
    assert sorted(held[2][1:]) == [0, 0, 0, 1, 1]
    assert held[3].tolist() == [1, 0, 0, 0, 0, 0]
    for fold in range(5):  # some of every class are trained on
        assert set(labels[found != fold]) == {0, 1, 2, 3}
    assert (folds.draw_folds(labels, num_folds=5, most_per_class=20) == found).all()
    with pytest.raises(ValueError, match="at least 2, got 1"):
        folds.draw_folds(labels, num_folds=1)


def test_rows_of_a_large_file_are_those_in_memory(monkeypatch, tmp_path):
    whole = np.arange(40, dtype=np.float16).reshape(10, 4)
    np.save(tmp_path / "x.npy", whole)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    rows = np.array([0, 3, 4, 9])
    monkeypatch.setattr(folds, "_IN_MEMORY_BYTES", 0)
    with folds.take_rows(mapped, rows) as taken:
        assert isinstance(taken, np.memmap)
        assert taken.dtype == np.float16
        assert (taken == whole[rows]).all()


class _Spy:
    """A nearest-neighbor classifier: it knows every row that it was given."""

    def __init__(self):
        self.given = []

    def __call__(self, features, labels, num_classes):
        seen = np.asarray(features)
        self.given.append(seen)
        truth = np.eye(num_classes, dtype=np.float32)[labels]

        class Nearest:
            def logits(self, rows):
                apart = ((np.asarray(rows)[:, None] - seen[None]) ** 2).sum(-1)
                return truth[apart.argmin(axis=1)]

        return lambda knob: Nearest()


def test_cross_validation_never_sees_its_own_rows(data):
    spy = _Spy()
    method = Method(
        "spy", spy, ("features", "labels", "num_classes"), linear=False, source=""
    )
    rng = np.random.default_rng(2)
    # Labels that nothing can learn: who sees a row knows it, who does not guesses.
    labels = rng.permutation(np.repeat(np.arange(5), 40)).astype(np.int32)
    train = Group(rng.normal(size=(200, 6)).astype(np.float32), labels)
    data = dataclasses.replace(data, train=train, val=None)
    fold_of = folds.draw_folds(labels, num_folds=4)
    held = Samples(labels[fold_of >= 0], data.splits, 5)
    judge = corrections.Judge(
        data,
        val=held,
        test=Samples(data.test.labels, data.splits, 5),
        fold_of=fold_of,
        products={},
        seed=0,
        oracle=False,
        report=lambda line: None,
    )
    curve = judge.curve(method)
    assert curve.val[0, 3] < 0.45
    assert len(spy.given) == 5
    for fold, seen in enumerate(spy.given[:-1]):
        rest = train.features[fold_of != fold]
        assert (seen == rest).all()
        outside = train.features[fold_of == fold]
        assert not (outside[:, None] == seen[None]).all(-1).any()
    assert len(spy.given[-1]) == 200  # then the classifier of all


def test_without_validation_data(data):
    lines = []
    found = comparison.compare(
        dataclasses.replace(data, val=None),
        methods=["tau_normalization", "nearest_class_mean_un"],
        num_draws=50,
        report=lines.append,
    )
    assert found["knobs_by"] == "cross-validation"
    few = np.isin(data.train.labels, SPLITS["few"])
    logits = data.train.features[few] @ data.weight.T + data.bias
    own = (logits.argmax(1) == data.train.labels[few]).mean()
    (note,) = found["notes"]
    assert f"gets {100 * own:.1f} % of its few training samples right" in note
    assert f"note: {note}" in lines
    assert "(cross-validation)" in comparison_file.table(found)


# --- errors


def test_unknown_method():
    with pytest.raises(UserError, match="'logit_adjustmnt'; did you mean 'logit_adj"):
        comparison.method_names(["logit_adjustmnt"])
    with pytest.raises(UserError, match="unknown method 'zzz'; known are 'unchanged'"):
        comparison.method_names(["zzz"])


def test_names_of_many_methods():
    core, every = (comparison.method_names([name]) for name in ("core", "all"))
    assert comparison.method_names() == core
    assert core[:2] == ["unchanged", "alphanet"]
    assert set(every) == {"alphanet", *posthoc.METHODS}
    assert set(every) - set(core) == {
        name for name, method in posthoc.METHODS.items() if method.optional
    }


def test_a_method_that_fails_says_why(data, monkeypatch):
    def fails(**inputs):
        raise ValueError("it cannot be done.\nmore")

    def overflows(weight, bias):
        return lambda knob: Linear(weight, bias + np.float32(np.inf))

    table = {
        **posthoc.METHODS,
        "bad": Method("bad", fails, ("counts",), linear=True, source=""),
        "infinite": Method(
            "infinite", overflows, ("weight", "bias"), linear=True, source=""
        ),
    }
    monkeypatch.setattr(comparing, "METHODS", table)
    lines = []
    found = quiet(data, ["bad", "infinite", "few_offset"], report=lines.append)
    assert list(found["methods"]) == ["unchanged", "few_offset"]
    assert found["failed"]["bad"] == "it cannot be done."
    assert "must be finite" in found["failed"]["infinite"]
    assert any("bad failed: it cannot be done." in line for line in lines)
    with pytest.raises(UserError, match="the reference bad failed: it cannot"):
        quiet(data, ["few_offset"], reference="bad")


def test_data_without_few_samples():
    with pytest.raises(
        UserError, match=r"validation data have no samples of few .*val"
    ):
        quiet(make(val=(5, 5, 5, 0, 0)))
    with pytest.raises(UserError, match="no few class has two training samples"):
        quiet(make(val=None, train=(20, 10, 5, 1, 1)))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not a comparison"),
        ("[]", "not a comparison"),
        ('{"methods": {}}', "no methods"),
        ('{"methods": {"a": {"curve": []}}}', "methods.a.chosen is missing"),
    ],
)
def test_a_file_that_is_no_comparison(tmp_path, content, said):
    path = tmp_path / "compare.json"
    path.write_text(content)
    with pytest.raises(UserError, match=said) as caught:
        comparison_file.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    with pytest.raises(UserError, match="no such file"):
        comparison_file.load(tmp_path / "no.json")


def test_a_file_comes_back(found, tmp_path):
    path = tmp_path / "deep" / "compare.json"
    comparison_file.save(path, found)
    assert comparison_file.load(path) == found
