"""The one call, on a small problem and on the embedded data's arrays."""

import re
import shutil
import subprocess
import sys
import types

import jax.numpy as jnp
import made_data
import ml_dtypes
import numpy as np
import pytest
from test_experiment import SETTINGS, SPLITS, make_dataset

import alphanet_jax
from alphanet_jax import correction, files, streaming
from alphanet_jax.commands import cli
from alphanet_jax.config.fields import Settings
from alphanet_jax.data import in_memory, loading
from alphanet_jax.data.dataset import Dataset
from alphanet_jax.errors import UserError
from alphanet_jax.experiment import loop, problem, training
from alphanet_jax.results import corrected

DATA = make_dataset()
FEW = np.sort(SPLITS["few"])
OPTIONS = {
    "n_neighbors": 3,
    "hdims": (8, 4),
    "optim_params": {"lr": 0.01},
    "train_epochs": 6,
    "min_epochs": 2,
    "train_batch_size": 3,
    "eval_batch_size": 32,
}


def pair(group):
    return group.features, group.labels


def fit(features=DATA.train.features, labels=DATA.train.labels, **changes):
    options = {
        "val": pair(DATA.val),
        "test": pair(DATA.test),
        "splits": SPLITS,
        "rho": 0.8,
        "seeds": 2,
    } | OPTIONS
    return correction.fit(
        features, labels, DATA.weight, DATA.bias, **(options | changes)
    )


def make_data(features, labels):
    """Makes of features what `fit` makes of them."""
    return Dataset.from_arrays(
        train=(in_memory.as_numpy(features), in_memory.as_numpy(labels)),
        test=pair(DATA.test),
        weight=DATA.weight,
        splits=SPLITS,
    )


@pytest.fixture
def made(tmp_path):
    return made_data.make(tmp_path / "made")


def load_made(made):
    return loading.load_dataset(made.entry, made.root)


@pytest.fixture(scope="module")
def fitted():
    return fit()


class TestFit:
    def test_is_exported(self):
        assert alphanet_jax.fit is correction.fit

    def test_trains_what_training_trains(self, fitted):
        outcome = loop.run(problem.prepare(DATA, SETTINGS), [0, 1])
        np.testing.assert_array_equal(fitted.alphas, outcome.alphas)
        np.testing.assert_array_equal(fitted.result["weight_few"], outcome.weight_few)
        np.testing.assert_array_equal(
            fitted.val_accuracy(),
            outcome.val.accuracy[range(2), outcome.selected_epoch],
        )
        assert fitted.neighbors.shape == (3, 3)

    @pytest.mark.parametrize("seed", [0, 1])
    def test_predicts_what_was_tested(self, fitted, seed):
        predicted = fitted.predict(DATA.test.features, seed=seed)
        np.testing.assert_array_equal(predicted, fitted.result["test_pred"][seed])

    def test_only_few_rows_differ(self, fitted):
        for which in ("best", "mean", 1):
            head = fitted.head(which)
            changed = np.flatnonzero((head.weight != DATA.weight).any(axis=1))
            np.testing.assert_array_equal(changed, FEW)
            np.testing.assert_array_equal(head.bias, DATA.bias)
        np.testing.assert_array_equal(fitted.weight, fitted.head("best").weight)
        np.testing.assert_array_equal(fitted.bias, DATA.bias)

    def test_best_and_mean(self, fitted):
        best = int(np.argmax(fitted.val_accuracy()))
        np.testing.assert_array_equal(fitted.weight, fitted.head(best).weight)
        heads = [fitted.head(seed).weight.astype(np.float64) for seed in range(2)]
        np.testing.assert_allclose(
            fitted.head("mean").weight, np.mean(heads, axis=0), 1e-6
        )
        assert (fitted.head("mean").weight != fitted.weight).any()

    def test_heads_share_no_memory(self, fitted):
        fitted.head().weight[:] = 0
        fitted.head().bias[:] = 0
        assert fitted.weight.any()
        assert fitted.original.weight.any()

    @pytest.mark.slow
    def test_without_validation_the_mean(self):
        found = fit(val=None)
        assert not found.has_validation
        assert np.isnan(found.val_accuracy()).all()
        np.testing.assert_array_equal(found.weight, found.head("mean").weight)

    @pytest.mark.slow
    def test_without_test_data(self):
        lines = []
        found = fit(test=None, report=lines.append)
        np.testing.assert_array_equal(found.result["test_labels"], DATA.val.labels)
        assert (
            "note: there is no test data; accuracies are those of validation"
            in (lines[0])
        )

    @pytest.mark.slow
    def test_splits_from_counts(self):
        lines = []
        found = fit(splits=None, few_below=5, many_above=20, report=lines.append)
        for name, classes in SPLITS.items():
            np.testing.assert_array_equal(found.splits[name], np.sort(classes))
        assert lines[0] == (
            "splits by count: 3 few, 4 medium, 5 many classes (few below 5, many above "
            "20 training samples; there are 4 to 21)"
        )

    def test_a_result_on_disk(self, fitted, tmp_path):
        found = fit(workdir=tmp_path)
        stored = alphanet_jax.load_result(tmp_path / "result.npz")
        np.testing.assert_array_equal(stored["alphas"], fitted.alphas)
        np.testing.assert_array_equal(found.weight, fitted.weight)

    def test_methods(self, fitted):
        assert correction.METHODS[:3] == ("alphanet", "auto", "few_offset")
        np.testing.assert_array_equal(fit(method="alphanet").alphas, fitted.alphas)
        with pytest.raises(UserError, match="unknown method 'alfanet'; did you mean"):
            fit(method="alfanet")

    def test_tensors_of_torch_by_what_they_can_do(self, fitted, monkeypatch):
        module = types.ModuleType("torch")
        module.int16 = np.int16
        monkeypatch.setitem(sys.modules, "torch", module)

        class Tensor:
            def __init__(self, array, dtype="torch.float32"):
                self.array, self.dtype = array, dtype

            def detach(self):
                return self

            def cpu(self):
                return self

            def view(self, dtype):
                return Tensor(self.array.view(dtype))

            def numpy(self):
                assert self.dtype != "torch.bfloat16"
                return self.array

        Tensor.__module__ = "torch"
        labels = Tensor(DATA.train.labels, "torch.int64")
        found = fit(Tensor(DATA.train.features), labels)
        np.testing.assert_array_equal(found.alphas, fitted.alphas)
        assert np.shares_memory(found.data.train.features, DATA.train.features)
        logits = found.logits(Tensor(DATA.test.features))
        np.testing.assert_array_equal(logits, fitted.logits(DATA.test.features))
        halves = DATA.train.features.astype(ml_dtypes.bfloat16)
        viewed = in_memory.as_numpy(Tensor(halves, "torch.bfloat16"))
        assert viewed.dtype == ml_dtypes.bfloat16
        assert np.shares_memory(viewed, halves)

    def test_tensors_of_torch(self):
        torch = pytest.importorskip("torch")
        values = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
        for dtype in ("float32", "float64", "float16", "bfloat16"):
            tensor = torch.from_numpy(values).to(getattr(torch, dtype))
            tensor = tensor.requires_grad_().T[1:]
            found = in_memory.as_numpy(tensor)
            address = found.__array_interface__["data"][0]
            assert (found.dtype.name, address) == (dtype, tensor.data_ptr())
            wanted = tensor.detach().float().numpy()
            np.testing.assert_array_equal(found.astype(np.float32), wanted)


class TestCopies:
    """Features are used where they are, whatever they are."""

    @pytest.mark.parametrize(
        "dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16]
    )
    def test_of_no_float_type(self, dtype):
        x = DATA.train.features.astype(dtype)
        before = x.copy()
        data = make_data(x, DATA.train.labels)
        assert np.shares_memory(data.train.features, x)
        np.testing.assert_array_equal(x, before)

    @pytest.mark.slow
    @pytest.mark.parametrize("dtype", [np.float64, np.float16, ml_dtypes.bfloat16])
    def test_other_types_are_what_they_are_in_float32(self, dtype):
        x = DATA.train.features.astype(dtype)
        found = fit(x)
        np.testing.assert_array_equal(found.alphas, fit(x.astype(np.float32)).alphas)
        assert found.data.train.features is x
        np.testing.assert_array_equal(
            found.logits(x), found.logits(x.astype(np.float32))
        )

    def test_mapped_and_turned(self, tmp_path):
        np.save(tmp_path / "x.npy", DATA.train.features)
        mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
        turned = np.asfortranarray(DATA.train.features)
        for x in (mapped, turned, np.concatenate([turned, turned])[::2]):
            data = make_data(x, DATA.train.labels)
            assert np.shares_memory(data.train.features, x)
            assert isinstance(data.train.features, np.memmap) == (x is mapped)

    def test_of_jax(self):
        x = jnp.asarray(DATA.train.features)
        data = make_data(x, jnp.asarray(DATA.train.labels))
        address = data.train.features.__array_interface__["data"][0]
        assert address == x.unsafe_buffer_pointer()
        half = make_data(x.astype(jnp.bfloat16), DATA.train.labels)
        assert half.train.features.dtype == ml_dtypes.bfloat16

    def test_of_the_call(self, fitted):
        assert fitted.data.train.features is DATA.train.features
        assert fitted.data.val.features is DATA.val.features

    @pytest.mark.slow
    def test_torch_is_not_imported(self):
        code = "import sys, alphanet_jax; alphanet_jax.fit; "
        code += "sys.exit('torch' in sys.modules)"
        subprocess.run([sys.executable, "-c", code], check=True)


class TestPredictions:
    def test_pieces_make_the_whole(self, fitted, monkeypatch):
        monkeypatch.setattr(streaming, "rows_at_a_time", lambda num_features: 5)
        x, head = DATA.test.features, fitted.head()
        wanted = x @ head.weight.T + head.bias
        np.testing.assert_allclose(fitted.logits(x), wanted, 1e-5, 1e-5)
        np.testing.assert_array_equal(fitted.predict(x), wanted.argmax(axis=1))
        assert fitted.predict(x[:0]).shape == (0,)

    def test_another_number_of_features(self, fitted):
        with pytest.raises(ValueError, match=r"\(n, 6\), got \(3, 5\)"):
            fitted.predict(np.ones((3, 5)))


class TestPlot:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("kind", "options"),
        [
            ("class_changes", {}),
            ("alphas", {"width": 6, "dpi": 50}),
            ("predictions", {"style": "png"}),
            ("template_embedding", {"n_deltas": 2, "run_seed": 1}),
            ("accuracy_vs_distance", {"splits": ("few",)}),
        ],
    )
    def test_draws(self, kind, options, fitted, tmp_path):
        written = fitted.plot(kind, tmp_path / "f.png", **options)
        assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
        assert tmp_path / "f.csv" in written
        assert set(tmp_path.iterdir()) == set(written)

    @pytest.mark.slow
    def test_numbers_are_those_of_the_command(self, fitted, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "AlphaNet").mkdir()
        files.write_npz(tmp_path / "AlphaNet/result.npz", fitted.result)
        command = ["plot", "class_changes", "--base_res_dir=AlphaNet", "--out=a.svg"]
        assert cli.main(["alphanet", *command]) == 0
        fitted.plot("class_changes", "b.svg")
        csv = [(tmp_path / f"{name}.csv").read_text() for name in "ab"]
        assert csv[0] == csv[1]

    @pytest.mark.parametrize(
        ("kind", "file", "options", "message"),
        [
            ("class_change", "f.png", {}, "did you mean 'class_changes'"),
            ("alphas", "f.jpg", {}, "f.jpg: a figure's file must end in one of .pgf, "),
            ("alphas", "f.png", {"dip": 3}, "'alphas' has no option 'dip'; did you"),
            ("alphas", "f.png", {"dpi": -1}, "dpi must be positive, got -1"),
            ("alphas", "f.png", {"dpi": "x"}, "dpi must be a number, got 'x'"),
            ("alphas", "f.png", {"style": "arxiv"}, "not of the format of style 'arx"),
            ("alphas", "f.png", {"style": "arxif"}, "unknown 'arxif'; did you mean"),
            ("alphas", "f.png", {"theme": "pink"}, "theme must be one of light, dark"),
            ("alphas", "f.png", {"transparent": 1}, "transparent must be True or Fa"),
            ("template_embedding", "f.png", {"n_deltas": 0}, "must be at least 1, got"),
            ("template_embedding", "f.png", {"n_pcs": 2.5}, "must be a whole number"),
            ("accuracy_vs_distance", "f.png", {"splits": "few"}, "must be a list, got"),
        ],
    )
    def test_errors(self, kind, file, options, message, fitted, tmp_path):
        with pytest.raises(UserError, match=re.escape(message)):
            fitted.plot(kind, tmp_path / file, **options)
        assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Where a result of arrays is, and what `fit` returned."""
    place = tmp_path_factory.mktemp("stored")
    return place, fit(workdir=place)


def same(found, wanted):
    np.testing.assert_array_equal(found.original.weight, wanted.original.weight)
    np.testing.assert_array_equal(found.original.bias, wanted.original.bias)
    assert found.result.keys() == wanted.result.keys()
    for which in ("best", "mean", 1):
        np.testing.assert_array_equal(
            found.head(which).weight, wanted.head(which).weight
        )
    assert found.has_validation == wanted.has_validation
    assert str(found) == str(wanted)


class TestLoad:
    def test_directory_alone(self, stored):
        place, wanted = stored
        for found in (
            alphanet_jax.load_correction(place),
            correction.Correction.load(str(place / "result.npz")),
        ):
            same(found, wanted)
            assert found.data is None
            assert found.explain(4) == wanted.explain(4)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_given_classifier(self, dtype, stored, tmp_path):
        place, wanted = stored
        shutil.copy(place / "result.npz", tmp_path)
        weight, bias = DATA.weight.astype(dtype), DATA.bias.astype(dtype)
        same(correction.load_correction(tmp_path, weight=weight, bias=bias), wanted)

    @pytest.mark.slow
    def test_figures_that_need_no_data(self, stored, tmp_path):
        found = correction.load_correction(stored[0])
        with pytest.raises(UserError, match="draw it from what fit returns"):
            found.plot("template_embedding", tmp_path / "f.svg")
        assert list(tmp_path.iterdir()) == []
        found.plot("alphas", tmp_path / "f.svg")
        stored[1].plot("alphas", tmp_path / "g.svg")
        assert (tmp_path / "f.csv").read_text() == (tmp_path / "g.csv").read_text()

    @pytest.mark.slow
    def test_classifier_of_the_dataset(self, made, tmp_path):
        made.write_registry()
        data = load_made(made)
        options = OPTIONS | {"n_neighbors": 2, "train_epochs": 0}
        settings = Settings(
            dataset="made", registry=str(made.registry), data_root=str(made.root),
            **options, seeds=2,
        )  # fmt: skip
        training.train(settings, data, workdir=tmp_path / "w", report=str)
        found = correction.load_correction(tmp_path / "w")
        np.testing.assert_array_equal(found.original.weight, made.weight)
        np.testing.assert_array_equal(found.original.bias, made.bias)
        with pytest.raises(UserError, match="is not the one"):
            correction.load_correction(tmp_path / "w", weight=made.weight[::-1])
        # A head of another result that was there before is not taken.
        files.write_npz(
            tmp_path / "w" / "original_head.npz",
            {"weight": made.weight[::-1], "bias": made.bias},
        )
        found = correction.load_correction(tmp_path / "w")
        np.testing.assert_array_equal(found.original.weight, made.weight)
        for changes, message in (
            ({"bias": made.bias + 1}, "has changed since"),
            ({"weight": made.weight + 1}, "is not the one that"),
        ):
            made.dump_classifier(**changes)
            with pytest.raises(UserError, match=message):
                correction.load_correction(tmp_path / "w")
        (made.root / "data/classifiers/m.pth").unlink()
        with pytest.raises(UserError, match=r"is needed: .*; give it as weight an"):
            correction.load_correction(tmp_path / "w")

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"weight": DATA.weight * 2}, "new rows of that are no combinations of"),
            ({"weight": DATA.weight, "bias": DATA.bias + 1}, ": its bias differs"),
            ({"weight": DATA.weight}, ": its bias differs"),
            ({"weight": DATA.weight[:-1]}, r"weight has shape \(11, 6\), and must ha"),
            ({"bias": DATA.bias}, "bias is given, but no weight"),
            ({"weight": "head.npz"}, "weight must hold floats"),
        ],
    )
    def test_another_classifier_is_refused(self, changes, message, stored):
        with pytest.raises(UserError, match=message):
            correction.load_correction(stored[0], **changes)

    def test_a_base_row_that_is_no_neighbor(self, stored):
        weight = DATA.weight.copy()
        sources = {*stored[1].neighbors.ravel().tolist(), *FEW.tolist()}
        weight[next(c for c in range(12) if c not in sources)] += 1
        with pytest.raises(UserError, match="made with: its weight differs"):
            correction.load_correction(stored[0], weight=weight, bias=DATA.bias)

    def test_nothing_there(self, stored, tmp_path):
        with pytest.raises(UserError, match=r"has no result\.npz$"):
            correction.load_correction(tmp_path)
        with pytest.raises(UserError, match=r"no such file"):
            correction.load_correction(tmp_path / "x.npz")
        (tmp_path / "rho_1").mkdir()
        shutil.copy(stored[0] / "result.npz", tmp_path / "rho_1")
        with pytest.raises(UserError, match=r"there are results in .*rho_1$"):
            correction.load_correction(tmp_path)
        (tmp_path / "rho_1" / "result.npz").write_bytes(b"PK")
        with pytest.raises(UserError, match="not a readable"):
            correction.load_correction(tmp_path / "rho_1")


class TestReports:
    def test_accuracy_before_and_after(self, fitted):
        found = fitted.report(*pair(DATA.test), seed=1)
        for name, row, prefix in (
            ("before", found.before, "baseline_test"),
            ("after", found.after, "test"),
        ):
            splits = fitted.result[f"{prefix}_acc_per_split"]
            overall = fitted.result[f"{prefix}_accuracy"]
            splits = splits if name == "before" else splits[1]
            overall = overall if name == "before" else overall[1]
            assert list(row) == ["few", "medium", "many", "overall"]
            np.testing.assert_allclose(list(row.values()), [*splits, overall])
        lines = str(found).splitlines()
        assert lines[0] == "arrays"
        assert lines[-2].split()[0] == "Baseline"
        assert float(lines[-1].split()[1]) == pytest.approx(
            100 * found.after["few"], abs=0.06
        )

    @pytest.mark.slow
    def test_explains_a_class(self):
        names = [f"name {c}" for c in range(12)]
        found = fit(label_names=names)
        text = found.explain("name 4")
        assert "[name 4] = [name 4]" in text
        assert text == found.explain(4)
        first = names[found.neighbors[1, 0]]
        assert f"[{first}]" in text
        with pytest.raises(UserError, match="class: '0' is of split 'medium'"):
            found.explain(0)

    def test_saves_a_head(self, fitted, tmp_path):
        fitted.save(tmp_path / "head.npz", seed=0)
        with np.load(tmp_path / "head.npz") as head:
            np.testing.assert_array_equal(head["weight"], fitted.head(0).weight)
            np.testing.assert_array_equal(head["bias"], DATA.bias)
        fitted.save(tmp_path / "head.npz", seed=1)  # written anew
        with np.load(tmp_path / "head.npz") as head:
            np.testing.assert_array_equal(head["weight"], fitted.head(1).weight)
        with pytest.raises(UserError, match=r"head\.txt: must end in \.npz, \.safe"):
            fitted.save(tmp_path / "head.txt")

    def test_says_when_it_harms(self):
        lines = []
        # Validation data that the unchanged classifier has all right.
        logits = DATA.val.features @ DATA.weight.T + DATA.bias
        found = fit(val=(DATA.val.features, logits.argmax(axis=1)), report=lines.append)
        accuracies = 100 * found.val_accuracy()
        wanted = (
            "note: on validation data the unchanged classifier gets 100.00 overall, "
            f"more than the corrected classifier, {accuracies.mean():.2f} (mean of 2 "
            f"seeds, the best {accuracies.max():.2f}); a larger rho costs the base "
            "classes less; `compare` shows other corrections"
        )
        assert lines[-1] == wanted
        assert found.remarks == (wanted,)
        assert repr(found).splitlines() == [
            "Correction of 'arrays': 3 few of 12 classes, 2 seeds",
            wanted,
        ]

    def test_nothing_to_say(self, fitted):
        better = np.full_like(fitted.result["val_accuracy"], 1.0)
        result = dict(fitted.result) | {"val_accuracy": better}
        assert corrected.remark_on_harm(result) is None
        nothing = {"baseline_val_accuracy": np.asarray(np.nan)}
        assert corrected.remark_on_harm(result | nothing) is None

    @pytest.mark.slow
    def test_its_head_is_that_of_scikit_learn(self, fitted):
        linear_model = pytest.importorskip("sklearn.linear_model")
        clf = linear_model.LogisticRegression(max_iter=5000).fit(*pair(DATA.train))
        found = correction.fit(
            *pair(DATA.train), clf.coef_, clf.intercept_, splits=SPLITS, seeds=2,
            **(OPTIONS | {"train_epochs": 0}),
        )  # fmt: skip
        before = clf.predict(DATA.test.features)
        clf.coef_, clf.intercept_ = found.head()
        after = clf.predict(DATA.test.features)
        np.testing.assert_array_equal(after, found.predict(DATA.test.features))
        assert (before != after).any()


class TestErrors:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"learning_rate": 1}, "unknown setting 'learning_rate'"),
            ({"val_datagrp": "x"}, "unknown setting 'val_datagrp'"),
            ({"splits": None, "few_below": 1}, "no class is few"),
            ({"splits": {"few": [1]}}, "splits"),
            ({"val": (np.ones((3, 2)), np.zeros(3, int))}, "val: "),
            ({"label_names": ["a"]}, "label_names"),
            ({"seeds": 0}, "seeds must be at least 1"),
            ({"n_neighbors": 99}, "n_neighbors must be less than the number of base"),
            ({"val": np.ones((3, 6))}, "val must be a tuple of features and labels"),
            ({"test": (1, 2, 3)}, "test must be a tuple of features and labels, got"),
            ({"method": ["auto"]}, r"method must be text, got \['auto'\]"),
            ({"method": "auto", "targets": "few >= 9"}, r"targets must be a list, su"),
            ({"workdir": 5}, "workdir must be a path, got 5"),
            ({"report": None}, "report must be a function of a line, got None"),
        ],
    )
    def test_names_the_argument(self, changes, message):
        with pytest.raises(UserError, match=message):
            fit(**changes)

    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            ({"features": None}, r"train: feats must have shape .*, got \(\)"),
            ({"features": [[1.0], [1.0, 2.0]]}, "train: feats must be an array: "),
            ({"labels": None}, r"labels must be a list of integers, got object of sh"),
            ({"labels": {1, 2}}, r"labels must be a list of integers, got object"),
            ({"labels": DATA.train.labels + 99}, r"train: labels must be in 0\.\.11"),
            ({"weight": None}, "classifier: weight must hold floats, got object"),
            ({"weight": DATA.weight.T}, r"the classifier takes 12; give weight\.T"),
        ],
    )
    def test_arrays_that_splits_are_made_of(self, arrays, message):
        usual = {"features": DATA.train.features, "labels": DATA.train.labels}
        with pytest.raises(UserError, match=message):
            correction.fit(**({"weight": DATA.weight} | usual | arrays))

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            ([0, 1], r"labels: 2 labels for \d+ samples"),
            (
                DATA.test.labels + 1,
                r"labels must be in 0\.\.11 .* if classes are",
            ),
            (DATA.test.labels / 2, r"labels must be whole numbers, got \d+\.5 in row"),
        ],
    )
    def test_labels_of_a_report(self, fitted, labels, message):
        with pytest.raises(UserError, match=message):
            fitted.report(DATA.test.features, labels)

    def test_limits_in_the_wrong_order(self):
        with pytest.raises(
            ValueError,
            match="few_below must not be more than many_above, got 30 and 10",
        ):
            fit(splits=None, few_below=30, many_above=10)

    @pytest.mark.parametrize("seed", [2, -1, "worst"])
    def test_seeds_that_there_are_not(self, fitted, seed):
        with pytest.raises(ValueError, match="got "):
            fitted.head(seed)
