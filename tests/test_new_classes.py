"""Classes that come later, against NumPy; old rows stay; the command; what it gives."""

import dataclasses
import importlib
import sys
from pathlib import Path

import jax
import made_data
import numpy as np
import pytest
import results_of_data
from scipy import optimize
from test_correction import OPTIONS, SPLITS
from test_experiment import NUM_CLASSES, NUM_FEATURES, make_dataset

import alphanet_jax
from alphanet_jax import applying, correction, model, new_classes
from alphanet_jax.commands import cli
from alphanet_jax.errors import UserError
from alphanet_jax.posthoc import new_rows
from alphanet_jax.posthoc.gaussian import discriminants, feature_statistics
from alphanet_jax.posthoc.linear import Linear
from alphanet_jax.results import schema

DATA = make_dataset()
TRAIN = DATA.train.features, DATA.train.labels
RNG = np.random.default_rng(3)
COUNTS = [5, 3, 1]
NEW_Y = np.repeat(np.arange(3), COUNTS)
CENTERS = RNG.normal(size=(3, NUM_FEATURES))
NEW_X = (CENTERS[NEW_Y] + 0.5 * RNG.normal(size=(len(NEW_Y), NUM_FEATURES))).astype(
    np.float32
)
ROWS = RNG.normal(size=(3, NUM_FEATURES)).astype(np.float32)
BIASES = RNG.normal(size=3).astype(np.float32)
MEANS = np.stack([NEW_X[c == NEW_Y].mean(axis=0) for c in range(3)])
HEAD = Linear(DATA.weight, DATA.bias)
BASE = DATA.base_classes


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A correction with its data; its work directory is beside it."""
    workdir = tmp_path_factory.mktemp("fit")
    made = correction.fit(
        *TRAIN,
        DATA.weight,
        DATA.bias,
        val=(DATA.val.features, DATA.val.labels),
        splits=SPLITS,
        rho=0.8,
        seeds=2,
        workdir=workdir,
        **OPTIONS,
    )
    return made, workdir


def network_of(result, index):
    return model.params_from_torch(
        {
            name.removeprefix(schema.NETWORK): array[index]
            for name, array in result.items()
            if name.startswith(schema.NETWORK)
        }
    )


class TestTheNetworkOfAResult:
    def test_gives_the_coefficients_in_it(self, fitted):
        """What is kept is the network that the alphas come from, of every seed."""
        made, _ = fitted
        few = made.result["few_classes"]
        for index in range(2):
            found = applying.apply_to_new(
                jax.tree.map(lambda leaf: leaf[None], network_of(made.result, index)),
                DATA.weight,
                made.result["class_means"],
                BASE,
                DATA.weight[few],
                made.result["class_means"][few],
            )
            np.testing.assert_array_equal(found.neighbors, made.neighbors)
            np.testing.assert_allclose(found.alphas[0], made.alphas[index], atol=1e-6)
            np.testing.assert_allclose(
                found.weight[0], made.result["weight_few"][index], atol=1e-5
            )

    def test_means_are_those_of_training_rows(self, fitted):
        features, labels = TRAIN
        expected = [features[labels == c].mean(axis=0) for c in range(NUM_CLASSES)]
        np.testing.assert_allclose(
            fitted[0].result["class_means"], expected, rtol=1e-5, atol=1e-6
        )

    @pytest.mark.slow
    def test_is_not_there_where_nothing_was_trained(self):
        arrays = correction.fit(
            *TRAIN, DATA.weight, splits=SPLITS, seeds=1, **OPTIONS, dummy_mode=True
        ).result
        assert not [name for name in arrays if name.startswith(schema.NETWORK)]

    def test_new_classes_against_numpy(self, fitted):
        made, _ = fitted
        found = new_classes.add_classes(
            made, NEW_X, NEW_Y, weight=ROWS, bias=BIASES, seed=1
        )
        means = made.result["class_means"].astype(np.float64)
        network = network_of(made.result, 1)
        for c in range(3):
            distances = np.linalg.norm(means[BASE] - MEANS[c], axis=1)
            nearest = BASE[np.argsort(distances)[:3]]
            sources = np.stack([ROWS[c], *DATA.weight[nearest]]).astype(np.float64)
            first, *others = network
            x = np.asarray(first.bias, np.float64)
            for part, source in zip(first.weights, sources, strict=True):
                x = x + np.asarray(part) @ source
            for layer in others:
                x = np.where(x > 0, x, 0.01 * x)
                x = np.asarray(layer.weight) @ x + np.asarray(layer.bias)
            alphas = np.array([1.0, *(x / np.abs(x).sum())])
            np.testing.assert_array_equal(found.neighbors[c], nearest)
            np.testing.assert_allclose(found.coefficients[c], alphas[1:], atol=1e-5)
            np.testing.assert_allclose(
                found.head.weight[NUM_CLASSES + c], alphas @ sources, atol=1e-5
            )
        np.testing.assert_array_equal(found.head.bias[NUM_CLASSES:], BIASES)

    def test_mean_of_seeds(self, fitted):
        made, _ = fitted
        one, two, mean = (
            new_classes.add_classes(made, NEW_X, NEW_Y, weight=ROWS, seed=seed)
            for seed in (0, 1, "mean")
        )
        np.testing.assert_allclose(
            mean.head.weight[NUM_CLASSES:],
            (one.head.weight + two.head.weight)[NUM_CLASSES:] / 2,
            atol=1e-6,
        )

    @pytest.mark.slow
    def test_random_neighbors_stay_so(self):
        made = correction.fit(
            *TRAIN, DATA.weight, splits=SPLITS, seeds=1, nn_dist="random", **OPTIONS
        )
        again = [
            new_classes.add_classes(made, NEW_X, NEW_Y, weight=ROWS).neighbors
            for _ in range(2)
        ]
        np.testing.assert_array_equal(*again)
        assert np.isin(again[0], BASE).all()


def prior_by_numpy(counts, tau_head, a=0.3):
    """The prior of alphanet+ for new rows, written down once more."""
    statistics = feature_statistics(*TRAIN, num_classes=NUM_CLASSES)
    found = discriminants(statistics, covariance_shrinkage=a)
    evidence = np.asarray(counts)[:, None] * found.signal
    places = (MEANS - statistics.centre) @ found.directions
    places = evidence / (evidence + 1) * places
    gaussian = found.shrunk @ found.directions.T
    middle = gaussian.mean(axis=0)
    kappa = 0.5 * np.linalg.norm(tau_head - tau_head.mean(axis=0))
    kappa /= np.linalg.norm(gaussian - middle)

    def squared(x, y):
        return ((x[:, None] - y[None]) ** 2).sum(axis=-1)

    between = squared(found.shrunk, found.shrunk)
    np.fill_diagonal(between, np.inf)
    width = 0.5 * np.median(np.sort(between, axis=1)[:, :5])
    apart = squared(places, found.shrunk)
    order = np.argsort(apart, axis=1)[:, :5]
    near = np.take_along_axis(apart, order, axis=1)
    shares = np.exp(-(near - near.min(axis=1, keepdims=True)) / width)
    shares /= shares.sum(axis=1, keepdims=True)
    borrowed = 0.8 / (1 + np.asarray(counts) / 30)[:, None] * shares
    others = tau_head - kappa * (gaussian - middle)
    own = kappa * (places @ found.directions.T - middle)
    return own + np.einsum("mk,mkd->md", borrowed, others[order]), order, borrowed


def fit_by_scipy(prior, l2, tau):
    """The same minimum, with rows of old classes held."""
    statistics = feature_statistics(*TRAIN, num_classes=NUM_CLASSES)
    centre, spread = statistics.centre, statistics.spread
    counts = np.concatenate([statistics.counts, COUNTS])
    log_prior = np.log(counts / counts.sum())
    old_prior = np.log(statistics.counts / statistics.counts.sum())
    x = np.concatenate([TRAIN[0], NEW_X]).astype(np.float64)
    y = np.concatenate([TRAIN[1], NEW_Y + NUM_CLASSES])
    known = x @ DATA.weight.T.astype(np.float64) + DATA.bias + tau * old_prior
    known = known + log_prior[:NUM_CLASSES]
    scaled, target = (x - centre) / spread, spread * prior

    def objective(flat):
        point = flat.reshape(3, NUM_FEATURES + 1)
        new = scaled @ point[:, :-1].T + point[:, -1] + log_prior[NUM_CLASSES:]
        logits = np.concatenate([known, new], axis=1)
        logits -= logits.max(axis=1, keepdims=True)
        total = np.log(np.exp(logits).sum(axis=1))
        shares = np.exp(logits - total[:, None])
        rows = np.arange(len(y))
        shares_less = shares.copy()
        shares_less[rows, y] -= 1
        part = shares_less[:, NUM_CLASSES:]
        offset = point[:, :-1] - target
        gradient = np.concatenate(
            [part.T @ scaled / len(y) + l2 * offset, part.mean(axis=0)[:, None]], axis=1
        )
        value = (total - logits[rows, y]).mean() + 0.5 * l2 * (offset**2).sum()
        return value, gradient.ravel()

    start = np.zeros(3 * (NUM_FEATURES + 1))
    options = {"maxiter": 5000, "ftol": 1e-15, "gtol": 1e-9}
    found = optimize.minimize(
        objective, start, jac=True, method="L-BFGS-B", options=options
    )
    point = found.x.reshape(3, -1)
    weight = point[:, :-1] / spread
    bias = point[:, -1] - weight @ centre - tau * log_prior[NUM_CLASSES:]
    return weight, bias


class TestFittedRows:
    def test_prior_against_numpy(self):
        statistics = feature_statistics(*TRAIN, num_classes=NUM_CLASSES)
        found = new_rows.prior_of_new(HEAD, statistics, MEANS, COUNTS)
        weight, order, borrowed = prior_by_numpy(COUNTS, DATA.weight.astype(float))
        np.testing.assert_array_equal(found.neighbors, order)
        np.testing.assert_allclose(found.coefficients, borrowed, rtol=1e-6)
        np.testing.assert_allclose(found.weight, weight, rtol=1e-5, atol=1e-7)

    @pytest.mark.slow
    @pytest.mark.parametrize("tau", [0.0, 0.7])
    def test_minimum_against_scipy(self, tau):
        found = new_rows.fit_new_rows(
            HEAD, *TRAIN, NEW_X, NEW_Y, num_new=3, l2=0.01, tau=tau, tolerance=1e-9
        )
        weight, bias = fit_by_scipy(found.prior.weight, 0.01, tau)
        np.testing.assert_allclose(found.head.weight, weight, atol=2e-3)
        np.testing.assert_allclose(found.head.bias, bias, atol=2e-3)

    def test_a_strong_prior_is_the_row(self):
        found = new_rows.fit_new_rows(
            HEAD, *TRAIN, NEW_X, NEW_Y, num_new=3, l2=1e3, tolerance=1e-9
        )
        np.testing.assert_allclose(found.head.weight, found.prior.weight, atol=1e-4)

    def test_number_of_samples_compiles_nothing_anew(self):
        def fit(number):
            keep = np.r_[:number, len(NEW_Y) - 4 : len(NEW_Y)]
            new_rows.fit_new_rows(
                HEAD, *TRAIN, NEW_X[keep], NEW_Y[keep], num_new=3, max_iterations=2
            )

        fit(3)
        compiled = new_rows._sums._cache_size()
        fit(4)
        fit(2)
        assert new_rows._sums._cache_size() == compiled

    @pytest.mark.parametrize(
        ("labels", "number", "text"),
        [
            ([0, 0, 3], 3, r"in \[0, 3\), got 0 to 3"),
            ([0, 0, 2], 3, r"got none of \[1\]"),
        ],
    )
    def test_errors(self, labels, number, text):
        with pytest.raises(ValueError, match=text):
            new_rows.fit_new_rows(HEAD, *TRAIN, NEW_X[:3], labels, num_new=number)
        with pytest.raises(ValueError, match="l2 must be positive, got 0"):
            new_rows.fit_new_rows(HEAD, *TRAIN, NEW_X, NEW_Y, num_new=3, l2=0.0)


class TestRowsOfMeans:
    def test_against_numpy(self):
        means = DATA.class_means().astype(np.float64)
        found = new_rows.rows_from_means(HEAD, means, MEANS, BASE)
        offsets, middle = means - means.mean(axis=0), DATA.weight.mean(axis=0)
        # Ridge regression by its normal equations, not by its dual.
        ridge = 0.1 * (offsets**2).sum() / NUM_CLASSES
        gram = offsets.T @ offsets + ridge * np.eye(NUM_FEATURES)
        mapping = np.linalg.solve(gram, offsets.T @ (DATA.weight - middle))
        made = middle + (MEANS - means.mean(axis=0)) @ mapping
        lengths = np.linalg.norm(DATA.weight[BASE], axis=1)
        made *= lengths.mean() / np.linalg.norm(made, axis=1, keepdims=True)
        np.testing.assert_allclose(found.weight, made, rtol=1e-4, atol=1e-5)
        own = (DATA.weight * means).sum(axis=1) + DATA.bias
        at_means = (found.weight * MEANS).sum(axis=1) + found.bias
        np.testing.assert_allclose(at_means, own[BASE].mean(), rtol=1e-4)

    def test_shapes_must_fit(self):
        with pytest.raises(ValueError, match="got"):
            new_rows.rows_from_means(HEAD, MEANS, MEANS, BASE)


class TestExtended:
    @pytest.mark.parametrize(
        "options", [{}, {"combine": True}, {"weight": ROWS}, {"offset": 1.5}]
    )
    def test_old_rows_stay_byte_for_byte(self, fitted, options):
        made, _ = fitted
        found = new_classes.add_classes(made, NEW_X, NEW_Y, **options)
        before = made.head()
        for name in ("weight", "bias"):
            old = getattr(found.head, name)[:NUM_CLASSES]
            assert old.tobytes() == getattr(before, name).tobytes()
        assert found.head.weight.shape == (NUM_CLASSES + 3, NUM_FEATURES)
        assert found.head.weight.dtype == found.head.bias.dtype == np.float32
        assert np.isfinite(found.head.weight).all()

    def test_labels_as_they_will_be(self, fitted):
        made, _ = fitted
        one, other = (
            new_classes.add_classes(made, NEW_X, NEW_Y + start)
            for start in (0, NUM_CLASSES)
        )
        np.testing.assert_array_equal(one.head.weight, other.head.weight)

    def test_loaded_without_data_rows_are_of_means(self, fitted):
        made, workdir = fitted
        loaded = alphanet_jax.load_correction(workdir)
        found = new_classes.add_classes(loaded, NEW_X, NEW_Y)
        assert (found.rows, found.combined) == ("from means", False)
        with_train = new_classes.add_classes(loaded, NEW_X, NEW_Y, train=TRAIN)
        assert with_train.rows == "fitted"
        np.testing.assert_allclose(
            with_train.head.weight,
            new_classes.add_classes(made, NEW_X, NEW_Y).head.weight,
            atol=1e-6,
        )

    def test_offset_is_added_to_new_logits(self, fitted):
        made, _ = fitted
        less, more = (
            new_classes.add_classes(made, NEW_X, NEW_Y, offset=offset).head.bias
            for offset in (0.0, 2.0)
        )
        np.testing.assert_allclose((more - less)[NUM_CLASSES:], 2.0, atol=1e-5)

    def test_tables_and_texts(self, fitted, tmp_path):
        made, _ = fitted
        found = new_classes.add_classes(
            made, NEW_X, NEW_Y, weight=ROWS, names=["okapi", "quokka", "saola"]
        )
        lines = found.table().splitlines()
        assert lines[0].split() == ["New", "class", "Id", "Samples", "Borrows", "from"]
        assert lines[2].split()[:3] == ["okapi", "12", "5"]
        assert f"{found.coefficients[0, 0]:+.2f}" in lines[2]
        text = found.explain("quokka")
        assert text == found.explain(NUM_CLASSES + 1)
        assert "3 samples): row as given, combined" in text
        with pytest.raises(UserError, match="no new class 'emu'; new are okapi, quo"):
            found.explain("emu")
        report = found.report(
            np.concatenate([DATA.test.features, NEW_X]),
            np.concatenate([DATA.test.labels, NEW_Y + NUM_CLASSES]),
        )
        right = found.predict(DATA.test.features) == DATA.test.labels
        few = np.isin(DATA.test.labels, SPLITS["few"])
        assert report.after["few"] == right[few].mean()
        assert np.isnan(report.before["new"])
        assert str(report).splitlines()[2].split()[:2] == ["Before", "-"]
        (line,) = found.save(tmp_path / "head.npz")
        assert "(15, 6)" in line
        with np.load(tmp_path / "head.npz") as saved:
            np.testing.assert_array_equal(saved["weight"], found.head.weight)

    @pytest.mark.parametrize(
        ("changes", "text"),
        [
            ({"features": NEW_X[:, :2]}, "features"),
            ({"labels": NEW_Y[:2]}, "2 labels for 9 samples"),
            ({"labels": NEW_Y * 2}, "no sample of new class 1"),
            ({"names": ["a", "b"]}, r"with 2 names .* 0 to 1, or 12 to 13; got 2"),
            ({"weight": ROWS[:, :2]}, r"must have shape \(3, 6\), got \(3, 2\)"),
            ({"bias": BIASES}, "bias is given, but no weight"),
            ({"offset": np.nan}, "offset must be a finite number in float32, got nan"),
            ({"offset": 1e300}, "offset must be a finite number in float32, got 1e"),
            ({"names": ["a", "b", "a"]}, "names: 'a' is the name of several new clas"),
            ({"train": (TRAIN[0][:50], TRAIN[1][:30])}, "30 labels for 50 samples"),
            ({"features": np.full_like(NEW_X, np.inf)}, "must be finite"),
        ],
    )
    def test_errors(self, fitted, changes, text):
        arguments = {"features": NEW_X, "labels": NEW_Y} | changes
        with pytest.raises(UserError, match=text) as caught:
            new_classes.add_classes(fitted[0], **arguments)
        assert "\n" not in str(caught.value)

    def test_results_of_earlier_versions(self, fitted):
        made, _ = fitted
        left_out = ("class_means", schema.NETWORK)
        result = {
            name: array
            for name, array in made.result.items()
            if not name.startswith(left_out)
        }
        old = dataclasses.replace(made, result=result, data=None)
        with pytest.raises(UserError, match="made by an earlier version"):
            new_classes.add_classes(old, NEW_X, NEW_Y)
        assert new_classes.add_classes(old, NEW_X, NEW_Y, train=TRAIN).rows == "fitted"
        with pytest.raises(UserError, match="has no trained network"):
            new_classes.add_classes(old, NEW_X, NEW_Y, train=TRAIN, combine=True)


class TestCommand:
    @pytest.fixture
    def run(self, fitted, tmp_path, capsys):
        np.savez(tmp_path / "new.npz", features=NEW_X, labels=NEW_Y)
        np.savez(tmp_path / "rows.npz", weight=ROWS, bias=BIASES)
        np.savez(tmp_path / "train.npz", features=TRAIN[0], labels=TRAIN[1])
        np.savez(tmp_path / "test.npz", features=NEW_X, labels=NEW_Y + NUM_CLASSES)
        self.out = tmp_path / "head.npz"

        def call(*arguments):
            flags = {"result": fitted[1], "features": tmp_path / "new.npz"}
            flags |= {"out": self.out}
            given = [f"--{name}={value}" for name, value in flags.items()]
            status = cli.main(["main.py", "extend", *given, *arguments])
            return status, capsys.readouterr()

        self.call, self.directory = call, tmp_path
        return call

    def saved(self):
        with np.load(self.out) as arrays:
            return arrays["weight"]

    def test_rows_of_means(self, run, fitted):
        status, said = run("--names", "okapi", "quokka", "saola")
        assert status == 0
        assert "rows are made of class means; with --train" in said.err
        assert "okapi      12        5" in said.out
        loaded = alphanet_jax.load_correction(fitted[1])
        expected = new_classes.add_classes(loaded, NEW_X, NEW_Y)
        np.testing.assert_array_equal(self.saved(), expected.head.weight)

    def test_fitted_rows_and_accuracy(self, run, fitted):
        status, said = run(
            f"--train={self.directory / 'train.npz'}",
            f"--test={self.directory / 'test.npz'}",
        )
        assert status == 0
        assert "3 new rows of 15, fitted" in said.out
        found = new_classes.add_classes(fitted[0], NEW_X, NEW_Y)
        report = found.report(NEW_X, NEW_Y + NUM_CLASSES)
        assert f"{100 * report.after['new']:.1f}" in said.out.splitlines()[-1]
        np.testing.assert_allclose(self.saved(), found.head.weight, atol=1e-6)

    @pytest.mark.parametrize("whole", [False, True])
    def test_given_rows_alone_or_after_all_others(self, run, fitted, whole):
        file = self.directory / "rows.npz"
        if whole:
            weight = np.concatenate([DATA.weight, ROWS])
            np.savez(file, weight=weight, bias=np.r_[DATA.bias, BIASES])
        status, said = run(f"--classifier={file}")
        assert status == 0
        assert "as given, combined by the network" in said.out
        expected = new_classes.add_classes(
            fitted[0], NEW_X, NEW_Y, weight=ROWS, bias=BIASES
        )
        np.testing.assert_allclose(self.saved(), expected.head.weight, atol=1e-6)

    @pytest.mark.parametrize(
        ("flags", "text"),
        [
            (["--features=nowhere.npz"], "nowhere.npz: no such file or directory"),
            (["--names", "a"], "labels: with 1 name of new classes"),
            (["--seed=9"], "seed must be one of [0, 1], got 9"),
            (["--seed=x"], "--seed must be 'best', 'mean' or a seed"),
            (["--classifier_key=fc"], "no effect without --classifier"),
            (["--out=head.txt"], "head.txt: must end in"),
            (["--result=nowhere"], "nowhere"),
            (["--features="], "--features is missing"),
        ],
    )
    def test_errors_are_one_line(self, run, flags, text):
        status, said = run(*flags)
        assert status == 1
        assert text in said.err.splitlines()[-1]
        assert said.err.splitlines()[-1].startswith("error: ")
        assert not self.out.exists()

    def test_a_classifier_that_does_not_fit(self, run):
        np.savez(self.directory / "two.npz", weight=ROWS[:2], bias=BIASES[:2])
        status, said = run(f"--classifier={self.directory / 'two.npz'}")
        assert status == 1
        assert "must have 3 rows, those of new classes, or 15" in said.err

    def test_a_directory_of_groups(self, run):
        directory = self.directory / "groups"
        directory.mkdir()
        np.savez(directory / "train.npz", features=NEW_X, labels=NEW_Y)
        status, _ = run(f"--features={directory}")
        assert status == 0
        (directory / "train.npz").unlink()
        self.out.unlink()
        status, said = run(f"--features={directory}")
        assert status == 1
        assert "no features of group 'new'" in said.err


@pytest.mark.slow
def test_command_finds_the_data_of_a_result(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = made_data.make(tmp_path / "data")
    path = results_of_data.train(made, tmp_path / "w")
    rows = RNG.normal(size=(5, made_data.NUM_FEATURES)).astype(np.float32)
    np.savez(tmp_path / "new.npz", features=rows, labels=[6, 6, 7, 7, 7])
    flags = [f"--features={tmp_path / 'new.npz'}", f"--out={tmp_path / 'head.npz'}"]
    assert cli.main(["main.py", "extend", f"--result={path}", *flags]) == 0
    assert "2 new rows of 8, fitted" in capsys.readouterr().out
    with np.load(tmp_path / "head.npz") as saved:
        before = alphanet_jax.load_correction(path).head()
        assert saved["weight"][:6].tobytes() == before.weight.tobytes()


@pytest.mark.slow
def test_what_it_gives_on_the_embedded_data(monkeypatch):
    """A third of the few classes, which nothing was trained with, is added."""
    directory = Path(__file__).parents[1] / "benchmarks"
    monkeypatch.setattr(sys, "path", [str(directory), *sys.path])
    bench = importlib.import_module("new_classes")
    fold = next(bench.folds(bench.embedded()))
    data = fold.data
    made = alphanet_jax.fit(
        data.train.features,
        data.train.labels,
        data.weight,
        data.bias,
        val=(data.val.features, data.val.labels),
        splits=data.splits,
        seeds=2,
    )
    head = Linear(*made.head())
    before = bench.accuracy(fold, head, None)
    plain = int(np.abs(bench._OFFSETS).argmin())
    found = {
        way: dict(
            zip(bench.PARTS, bench.accuracy(fold, head, rows)[plain], strict=True)
        )
        for way, rows in bench.of_alphanet(fold, made).items()
    }
    fitted, usual = found["fitted rows"], found["class means, scaled"]
    assert fitted["new"] > usual["new"] + 12
    assert fitted["overall"] > usual["overall"] + 1
    assert fitted["overall"] > found["given rows"]["overall"]
    assert fitted["base"] > before[2] - 2.5
    given, combined = (
        found[way] for way in ("given rows", "given rows, combined by the network")
    )
    assert combined["new"] > given["new"] + 5  # at a cost: no gain overall
    assert abs(combined["overall"] - given["overall"]) < 1.5
