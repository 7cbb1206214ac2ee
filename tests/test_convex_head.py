"""The head with a prior: against SciPy, in pieces, and where it starts."""

import jax
import jax.numpy as jnp
import numpy as np
import plus_oracle
import pytest

from alphanet_jax import files, streaming
from alphanet_jax.posthoc import convex_head
from alphanet_jax.posthoc.convex_head import (
    Prior,
    balanced_softmax_head,
    fit_head,
)
from alphanet_jax.posthoc.linear import Linear
from alphanet_jax.posthoc.pieces import rows_at_most, training_rows

EXACT = 1e-9  # a tolerance
FEATURES, LABELS = plus_oracle.long_tail()
COUNTS = np.bincount(LABELS)


def rows_of(features=FEATURES, labels=LABELS, **options):
    return training_rows(features, labels, num_classes=labels.max() + 1, **options)


def random_prior(seed=1):
    rng = np.random.default_rng(seed)
    coupling = rng.random((7, 7)) * (1 - np.eye(7))
    coupling *= 0.7 / coupling.sum(axis=1, keepdims=True)
    return Prior(
        jnp.asarray(rng.normal(size=(7, 5)), jnp.float32),
        jnp.asarray(coupling, jnp.float32),
    )


def random_point(seed=2):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(7, 6)), jnp.float32)


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(streaming, "_MIN_ROWS", 1)
    monkeypatch.setattr(streaming, "_MAX_ROWS", 9)


def mapped(tmp_path, features):
    np.save(tmp_path / "features.npy", features)
    return np.load(tmp_path / "features.npy", mmap_mode="r")


@pytest.mark.parametrize(
    ("number", "l2"), [(2, 2e-5), (100, 2e-5), (200, 1e-5), (8_000, 2.5e-7)]
)
def test_default_l2(number, l2):
    assert convex_head.default_l2(number) == pytest.approx(l2)


class TestObjective:
    @pytest.mark.parametrize("prior", [None, random_prior()])
    def test_against_float64(self, prior):
        point, l2 = random_point(), 0.03
        found = convex_head._evaluate(point, rows=rows_of(), prior=prior, l2=l2)
        value, gradient = plus_oracle.objective(
            point,
            FEATURES,
            LABELS,
            l2,
            *(() if prior is None else map(np.asarray, prior)),
        )
        assert found.value == pytest.approx(value, rel=1e-6)
        np.testing.assert_allclose(
            found.gradient, gradient.reshape(7, 6), rtol=1e-4, atol=1e-6
        )

    @pytest.mark.slow
    def test_gradient_is_that_of_the_value(self):
        prior, rows = random_prior(), rows_of()
        scaled = (FEATURES - np.asarray(rows.centre)) / rows.spread

        def value(point):
            logits = scaled @ point[:, :-1].T + (point[:, -1] + rows.log_prior)[None, :]
            log_shares = jax.nn.log_softmax(logits, axis=1)
            apart = (jnp.eye(7) - prior.coupling) @ (point[:, :-1] - prior.mean)
            loss = -log_shares[jnp.arange(len(LABELS)), LABELS].mean()
            return loss + 0.5 * 0.03 * (apart**2).sum()

        point = random_point()
        found = convex_head._evaluate(point, rows=rows, prior=prior, l2=0.03)
        np.testing.assert_allclose(
            found.gradient, jax.grad(value)(point), rtol=1e-4, atol=1e-6
        )

    def test_curvature_hand_worked(self):
        """At zero every sample's shares are those of the classes."""
        found = convex_head._evaluate(
            jnp.zeros((7, 6)), rows=rows_of(), prior=None, l2=1.0
        )
        shares = COUNTS / COUNTS.sum()
        np.testing.assert_allclose(found.curvature, shares * (1 - shares), rtol=1e-5)
        assert found.value == pytest.approx(-shares @ np.log(shares), rel=1e-6)

    @pytest.mark.slow
    @pytest.mark.parametrize("resident_bytes", [0, 2**30])
    @pytest.mark.parametrize("dtype", [np.float16, np.float32, ">f4", np.float64])
    def test_pieces_are_the_whole(
        self, resident_bytes, dtype, small_chunks, tmp_path, monkeypatch
    ):
        point, prior = random_point(), random_prior()
        features = mapped(tmp_path, FEATURES.astype(np.float16).astype(dtype))
        rows = rows_of(features, resident_bytes=resident_bytes)
        assert len(rows.labels) == 10
        assert isinstance(rows.features, tuple) == (resident_bytes > 0)
        found = convex_head._evaluate(point, rows=rows, prior=prior, l2=0.1)
        monkeypatch.setattr(streaming, "_MAX_ROWS", 4096)
        whole = rows_of(FEATURES.astype(np.float16).astype(np.float32))
        assert len(whole.labels) == 1
        wanted = convex_head._evaluate(point, rows=whole, prior=prior, l2=0.1)
        assert found.value == pytest.approx(wanted.value, rel=1e-6)
        np.testing.assert_allclose(found.gradient, wanted.gradient, atol=1e-5)
        np.testing.assert_allclose(found.curvature, wanted.curvature, rtol=1e-5)

    def test_pages_of_a_map_are_released(self, small_chunks, tmp_path, monkeypatch):
        features = mapped(tmp_path, FEATURES)
        rows = rows_of(features, resident_bytes=0)
        released = []
        monkeypatch.setattr(files, "release_rows", lambda *call: released.append(call))
        convex_head._evaluate(random_point(), rows=rows, prior=None, l2=0.1)
        assert [call[1:] for call in released] == [
            (start, min(start + 9, 89)) for start in range(0, 89, 9)
        ]
        assert all(call[0] is features for call in released)


class TestRows:
    def test_head_and_point(self):
        rows = rows_of()
        head = Linear(*np.split(np.asarray(random_point()), [5], axis=1))
        head = Linear(head.weight, head.bias[:, 0])
        point = np.asarray(rows.point(head))
        scaled = (FEATURES - np.asarray(rows.centre)) / rows.spread
        np.testing.assert_allclose(
            scaled @ point[:, :-1].T + point[:, -1],
            FEATURES @ head.weight.T + head.bias,
            rtol=1e-4,
            atol=1e-4,
        )
        for found, wanted in zip(rows.head(point), head, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)

    def test_scaling(self):
        rows = rows_of()
        centre, spread = plus_oracle.scaling(FEATURES.astype(np.float64), LABELS)
        np.testing.assert_allclose(rows.centre, centre, rtol=1e-5)
        assert rows.spread == pytest.approx(spread)

    @pytest.mark.slow
    def test_features_that_are_all_alike(self):
        head = balanced_softmax_head(np.ones((6, 2)), np.arange(6) % 3, num_classes=3)
        assert np.isfinite(head.bias).all()
        assert not head.weight.any()


class TestRowsAtMost:
    def test_of_each_class(self, rng):
        labels = rng.permutation(np.repeat([0, 1, 2, 5], [30, 7, 3, 1]))
        rows = rows_at_most(labels, 7)
        assert np.bincount(labels[rows]).tolist() == [7, 7, 3, 0, 0, 1]
        assert (np.diff(rows) > 0).all()
        again, other = (rows_at_most(labels, 7, seed=seed) for seed in (0, 1))
        np.testing.assert_array_equal(rows, again)
        assert set(rows) != set(other)

    def test_are_all_as_likely(self):
        labels = np.array([0, 1, 0, 0])
        drawn = [rows_at_most(labels, 1, seed=seed).tolist() for seed in range(600)]
        numbers = np.bincount(np.ravel(drawn), minlength=4)
        assert numbers[1] == 600
        assert (abs(numbers[[0, 2, 3]] - 200) < 45).all()

    def test_refuses(self):
        with pytest.raises(ValueError, match="at least 1, got 0"):
            rows_at_most([0, 1], 0)


class TestFewerRowsOfAClass:
    def test_a_generous_limit_changes_nothing(self):
        plain, limited = rows_of(), rows_of(most_per_class=int(COUNTS.max()))
        assert limited.chosen is None
        first, second = (fit_head(rows, l2=1e-3) for rows in (plain, limited))
        for part, other in zip(first.head, second.head, strict=True):
            np.testing.assert_array_equal(part, other)
        assert first.step == second.step

    @pytest.mark.parametrize("resident", [0, 2**30])
    def test_rows_stand_for_those_left_out(
        self, resident, small_chunks, tmp_path, monkeypatch
    ):
        """As if every row that stays were there several times."""
        limit, seed = 6, 3
        stay = rows_at_most(LABELS, limit, seed=seed)
        released = []
        release = files.release_rows
        monkeypatch.setattr(
            files, "release_rows", lambda *a: (released.append(a[1:]), release(*a))
        )
        rows = rows_of(
            mapped(tmp_path, FEATURES),
            most_per_class=limit,
            seed=seed,
            resident_bytes=resident,
        )
        np.testing.assert_array_equal(rows.chosen, stay)
        assert rows.statistics.counts.tolist() == COUNTS.tolist()
        found = convex_head._evaluate(random_point(), rows=rows, prior=None, l2=1e-2)
        assert {first for first, _ in released} >= {stay[0]}
        assert max(last for _, last in released) <= len(LABELS)

        point = np.asarray(random_point(), np.float64)
        scaled = (FEATURES[stay] - np.asarray(rows.centre)) / rows.spread
        logits = scaled @ point[:, :-1].T + point[:, -1] + np.log(COUNTS / COUNTS.sum())
        logits -= logits.max(axis=1, keepdims=True)
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        times = (COUNTS / np.minimum(COUNTS, limit))[LABELS[stay]]
        own = shares[np.arange(len(stay)), LABELS[stay]]
        value = -(times * np.log(own)).sum() / len(LABELS)
        value += 0.5e-2 * (point[:, :-1] ** 2).sum()
        assert found.value == pytest.approx(value, rel=1e-5)
        residuals = times[:, None] * (shares - np.eye(7)[LABELS[stay]]) / len(LABELS)
        gradient = np.column_stack([residuals.T @ scaled, residuals.sum(axis=0)])
        gradient[:, :-1] += 1e-2 * point[:, :-1]
        np.testing.assert_allclose(found.gradient, gradient, rtol=1e-3, atol=1e-5)

    def test_the_objective_is_estimated_without_a_bias(self):
        """Over draws its mean is that of all rows."""
        whole = convex_head._evaluate(
            random_point(), rows=rows_of(), prior=None, l2=1e-2
        ).value
        drawn = [
            convex_head._evaluate(
                random_point(),
                rows=rows_of(most_per_class=10, seed=seed),
                prior=None,
                l2=1e-2,
            ).value
            for seed in range(200)
        ]
        error = np.std(drawn) / np.sqrt(len(drawn))
        assert error > 0
        assert abs(np.mean(drawn) - whole) < 4 * error

    def test_a_piece_is_as_in_a_pass(self, small_chunks):
        for limit, number in ((None, len(LABELS)), (6, np.minimum(COUNTS, 6).sum())):
            pieces = convex_head.try_piece(
                FEATURES, LABELS, num_classes=7, most_per_class=limit
            )
            rows = rows_of(most_per_class=limit)
            assert pieces == len(rows.labels) == -(-number // len(rows.labels[0]))


class TestHead:
    @pytest.mark.slow
    @pytest.mark.parametrize("l2", [1e-3, 1e-1])
    @pytest.mark.parametrize("prior", [None, random_prior()])
    def test_against_scipy(self, l2, prior):
        rows = rows_of()
        found = fit_head(rows, l2=l2, prior=prior, tolerance=EXACT)
        parts = () if prior is None else map(np.asarray, prior)
        weight, bias, value = plus_oracle.head(FEATURES, LABELS, l2, *parts)
        assert found.step.value == pytest.approx(value, abs=2e-6)
        point = np.asarray(rows.point(found.head))
        scale = np.abs(weight).max()
        np.testing.assert_allclose(point[:, :-1] / scale, weight / scale, atol=0.01)
        np.testing.assert_allclose(
            point[:, -1] - point[:, -1].mean(), bias - bias.mean(), atol=0.02 * scale
        )

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "shape",
        [
            {"counts": (5, 2, 1), "dim": 40},
            {"counts": (1, 1), "dim": 2},
            {"counts": (9, 1), "dim": 1},
            {"counts": (8, 4, 1), "dim": 2, "extra": 3},
        ],
    )
    def test_singular_covariances_and_single_samples(self, shape):
        features, labels = plus_oracle.long_tail(**shape)
        if len(features) == len(shape["counts"]):  # one sample a class and no more
            features = np.concatenate([features, features[:1]])
            labels = np.append(labels, labels[0])
        rows = rows_of(features, labels)
        found = fit_head(rows, l2=1e-3, tolerance=EXACT)
        assert found.step.value == pytest.approx(
            plus_oracle.head(features, labels, 1e-3)[2], abs=1e-5
        )

    def test_is_deterministic(self):
        first, second = (fit_head(rows_of(), prior=random_prior()) for _ in range(2))
        for part, other in zip(first.head, second.head, strict=True):
            np.testing.assert_array_equal(part, other)
        assert first.step == second.step

    def test_start_changes_the_way_and_not_the_end(self):
        rows, l2 = rows_of(), 1e-3
        plain = fit_head(rows, l2=l2, tolerance=EXACT)
        again = fit_head(rows, l2=l2, start=plain.head, tolerance=EXACT)
        assert again.step.iteration < plain.step.iteration / 3
        assert again.step.value == pytest.approx(plain.step.value, abs=1e-6)

    def test_a_start_worse_than_nothing_is_left_aside(self):
        rows = rows_of()
        wrong = Linear(*(-100 * part for part in fit_head(rows).head))
        steps = []
        found = fit_head(rows, start=wrong, on_step=steps.append)
        shares = COUNTS / COUNTS.sum()
        assert steps[0].value == pytest.approx(-shares @ np.log(shares), rel=1e-5)
        assert found.converged

    @pytest.mark.slow
    def test_tolerance_is_how_far_from_the_minimum(self):
        rows, ends = rows_of(), []
        for tolerance in (1e-2, 1e-4, 1e-6):
            found = fit_head(rows, l2=1e-3, tolerance=tolerance)
            assert found.step.expected <= tolerance
            ends.append(found.step)
        lowest = plus_oracle.head(FEATURES, LABELS, 1e-3)[2]
        for tolerance, end in zip((1e-2, 1e-4, 1e-6), ends, strict=True):
            assert end.value - lowest < 10 * tolerance + 1e-6
        assert ends[0].evaluations < ends[1].evaluations < ends[2].evaluations

    @pytest.mark.parametrize("l2", [0.0, -1.0, float("nan")])
    def test_refuses_l2(self, l2):
        with pytest.raises(ValueError, match=f"l2 must be positive, got {l2}"):
            fit_head(rows_of(), l2=l2)


class TestBalancedSoftmax:
    def test_is_the_head_without_a_prior(self):
        found = balanced_softmax_head(FEATURES, LABELS, num_classes=7)
        expected = fit_head(rows_of(), l2=2e-5).head
        for part, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(part, other)

    def test_tau_is_taken_from_the_bias(self):
        plain = balanced_softmax_head(FEATURES, LABELS, num_classes=7, l2=1e-3)
        found = balanced_softmax_head(FEATURES, LABELS, num_classes=7, l2=1e-3, tau=0.5)
        np.testing.assert_array_equal(found.weight, plain.weight)
        np.testing.assert_allclose(
            found.bias,
            plain.bias - 0.5 * np.log(COUNTS / COUNTS.sum()),
            rtol=1e-5,
            atol=1e-5,
        )

    def test_a_fitted_classifier_is_a_good_start(self):
        """One of the plain softmax is the head with the log prior in its bias."""
        head = balanced_softmax_head(FEATURES, LABELS, num_classes=7, l2=1e-3)
        plain = Linear(head.weight, head.bias + np.log(COUNTS / COUNTS.sum()))
        steps = []
        balanced_softmax_head(
            FEATURES,
            LABELS,
            num_classes=7,
            l2=1e-3,
            classifier=plain,
            on_step=steps.append,
        )
        assert steps[-1].iteration <= 1
