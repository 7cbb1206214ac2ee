import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from to_jax import assert_params_close, from_params, to_params, to_sources

from alphanet_jax.model import (
    Layer,
    SourceLayer,
    apply,
    check_sizes,
    combine,
    init,
    params_from_torch,
    params_to_torch,
)
from alphanet_jax.nn_search import Sources, make_sources

SIZES = {"num_features": 16, "num_neighbors": 3, "hidden_dims": (64, 64)}


_jitted = jax.jit(apply, static_argnames="alone")


def apply_jitted(params, source_weights):
    # As a NumPy array, whose indexing compiles nothing.
    return jax.device_get(_jitted(params, to_sources(source_weights)))


def assert_params_equal(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


class TestCheckSizes:
    def test_hand_worked(self):
        sizes = check_sizes(num_features=10, num_neighbors=2, hidden_dims=(7, 6))
        assert sizes == (30, 7, 6, 2)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"hidden_dims": ()},
            {"hidden_dims": (4, 0)},
            {"hidden_dims": (-1,)},
            {"num_neighbors": 0},
            {"num_features": 0},
        ],
    )
    def test_no_hidden_layer_or_an_empty_one(self, wrong):
        (name, value), *_ = wrong.items()
        message = f"must hold at least one size.*{name}={value}".replace("(", r"\(")
        message = message.replace(")", r"\)")
        with pytest.raises(ValueError, match=message):
            check_sizes(**{**SIZES, **wrong})
        with pytest.raises(ValueError, match=message):
            init(jax.random.key(0), **{**SIZES, **wrong})


class TestInit:
    def test_shapes(self):
        params = jax.eval_shape(
            functools.partial(
                init, num_features=10, num_neighbors=2, hidden_dims=(7, 6)
            ),
            jax.random.key(0),
        )
        first, *others = params
        assert isinstance(first, SourceLayer)
        assert [weight.shape for weight in first.weights] == [(7, 10)] * 3
        assert first.bias.shape == (7,)
        assert {type(layer) for layer in others} == {Layer}
        shapes = [(layer.weight.shape, layer.bias.shape) for layer in others]
        assert shapes == [((6, 7), (6,)), ((2, 6), (2,))]
        assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("f4")}

    def test_default_is_three_hidden_layers_of_32(self):
        params = jax.eval_shape(
            functools.partial(init, num_features=3, num_neighbors=5), jax.random.key(0)
        )
        first, *others = params
        assert [weight.shape for weight in first.weights] == [(32, 3)] * 6
        assert [x.weight.shape for x in others] == [(32, 32), (32, 32), (5, 32)]

    def test_uniform_within_one_over_root_of_fan_in(self):
        keys = jax.random.split(jax.random.key(0), 100)
        params = jax.device_get(
            jax.jit(jax.vmap(functools.partial(init, **SIZES)))(keys)
        )
        for weight, bias in from_params(params):
            bound = weight.shape[-1] ** -0.5  # of the bias too
            for part in (weight, bias):
                part = np.asarray(part, np.float64)
                assert 0.96 * bound < np.abs(part).max() <= bound
                margin = 4 / np.sqrt(part.size)
                assert abs(part.mean()) < margin * bound
                np.testing.assert_allclose(part.var(), bound**2 / 3, rtol=margin)
                # As many in each tenth of the range.
                counts, _ = np.histogram(part, 10, (-bound, bound))
                expected = part.size / 10
                assert ((counts - expected) ** 2 / expected).sum() < 27.9  # 1 in 1,000

    def test_no_two_numbers_are_drawn_together(self):
        # Standardized, every pair of parts, layers and keys is uncorrelated.
        rows = []
        run = jax.jit(functools.partial(init, **SIZES))
        for seed in range(2):
            for weight, bias in from_params(run(jax.random.key(seed))):
                bound = weight.shape[-1] ** -0.5
                flat = weight.reshape(-1) / bound
                rows += [flat[:64], flat[64:128], bias / bound]
        rows = np.array([row[:64] for row in rows if len(row) >= 64])
        correlation = np.corrcoef(rows)
        assert np.abs(correlation - np.eye(len(rows))).max() < 0.5  # 4 sigma

    def test_is_reproducible_and_vmapped_equals_single(self):
        run = functools.partial(init, num_features=3, num_neighbors=2, hidden_dims=(4,))
        keys = jax.random.split(jax.random.key(0), 3)
        stacked = jax.device_get(jax.jit(jax.vmap(run))(keys))
        jitted = jax.jit(run)
        for seed, key in enumerate(keys):
            one = jax.tree.map(lambda x, s=seed: x[s], stacked)
            assert_params_equal(jitted(key), one)


class TestApply:
    # By hand it is called eagerly, in most other tests compiled.
    def test_hand_worked(self):
        # Hidden units x0 + x1 + 1 and x2 - 2; outputs 3 h0 - 1 and 100 h1 + 2.
        params = to_params(
            [
                ([[1, 1, 0], [0, 0, 1]], [1, -2]),
                ([[3, 0], [0, 100]], [-1, 2]),
            ]
        )
        # First class: h = 4, 3, out = 11, 302. Second: h = -1, -4 leak to -0.01 and
        # -0.04, out = -1.03, -2.
        sources = [[[1.0], [2.0], [5.0]], [[-3.0], [1.0], [-2.0]]]
        alphas = apply(params, to_sources(sources))
        expected = [[1, 11 / 313, 302 / 313], [1, -1.03 / 3.03, -2 / 3.03]]
        np.testing.assert_allclose(alphas, expected, rtol=1e-6)

    @pytest.mark.slow
    def test_against_oracle(self, problem):
        alphas = apply_jitted(to_params(problem.params), problem.source_weights)
        expected = oracle.alphas(problem.params, problem.source_weights)
        assert alphas.shape == problem.sources.shape
        np.testing.assert_allclose(alphas, expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(alphas[:, 0], 1.0)
        norms = np.abs(np.asarray(alphas)[:, 1:]).sum(axis=1)
        np.testing.assert_allclose(norms, 1.0, rtol=1e-6)

    def test_one_hidden_layer_and_four(self, rng):
        for hidden in [(3,), (4, 3, 5, 2)]:
            problem = oracle.random_problem(2, hidden=hidden)
            np.testing.assert_allclose(
                apply_jitted(to_params(problem.params), problem.source_weights),
                oracle.alphas(problem.params, problem.source_weights),
                rtol=1e-5,
            )

    def test_coefficients_take_both_signs(self, usual):
        params = to_params(usual.params)
        last = params[-1]
        flipped = (*params[:-1], jax.tree.map(lambda x: -np.asarray(x), last))
        plain = apply_jitted(params, usual.source_weights)
        opposite = apply_jitted(flipped, usual.source_weights)
        np.testing.assert_array_equal(plain[:, 1:], -opposite[:, 1:])
        np.testing.assert_array_equal(opposite[:, 0], 1.0)

    def test_outputs_of_zero_give_nan_and_no_more(self, usual):
        # The original divides without an epsilon too.
        params = to_params(usual.params)
        last = jax.tree.map(np.zeros_like, params[-1])
        alphas = apply_jitted((*params[:-1], last), usual.source_weights)
        np.testing.assert_array_equal(alphas[:, 0], 1.0)
        assert np.isnan(alphas[:, 1:]).all()

    def test_gradient_against_oracle(self, usual, rng, x64):
        cotangent = rng.normal(size=usual.sources.shape)
        sources = to_sources(usual.source_weights, np.float64)
        actual = jax.jit(jax.grad(lambda p: jnp.sum(apply(p, sources) * cotangent)))(
            to_params(usual.params, np.float64)
        )
        expected = oracle.gradient(
            lambda p: (oracle.alphas(p, usual.source_weights) * cotangent).sum(),
            usual.params,
        )
        assert_params_close(actual, expected, rtol=1e-10, atol=1e-13)

    def test_one_neighbor_cannot_be_learned(self, x64):
        # x / |x| is a sign: plus or minus one, and its gradient zero.
        problem = oracle.random_problem(1, neighbors=1)
        params = to_params(problem.params, np.float64)
        sources = to_sources(problem.source_weights, np.float64)

        def total(params):
            alphas = apply(params, sources)
            return alphas.sum(), alphas

        grads, alphas = jax.jit(jax.grad(total, has_aux=True))(params)
        assert set(np.asarray(alphas)[:, 1]) <= {-1.0, 1.0}
        for leaf in jax.tree.leaves(grads):
            np.testing.assert_allclose(leaf, 0.0, atol=1e-12)

    def test_vmapped_over_seeds_equals_single(self, usual):
        seeds = [oracle.random_problem(seed).params for seed in range(3)]
        stacked = jax.tree.map(lambda *x: np.stack(x), *map(to_params, seeds))
        over_seeds = jax.jit(jax.vmap(apply, in_axes=(0, None)))
        sources = to_sources(usual.source_weights)
        alphas = jax.device_get(over_seeds(stacked, sources))
        for one, of_seed in zip(seeds, alphas, strict=True):
            single = apply_jitted(to_params(one), usual.source_weights)
            np.testing.assert_allclose(single, of_seed, rtol=1e-5, atol=1e-6)

    def test_unknown_activation(self, usual):
        with pytest.raises(
            ValueError, match="activation 'leaky'; did you mean 'leaky_relu'"
        ):
            apply(
                to_params(usual.params),
                to_sources(usual.source_weights),
                activation="leaky",
            )

    @pytest.mark.parametrize(
        ("dims", "rows", "found"),
        [
            ((5, 5, 4), (3, 3), r"\[5, 5, 4\] .* \(3, 3\)"),  # another d
            ((4, 4, 4), (3, 3), r"\[4, 4, 4\] .* \(3, 3\)"),
            ((5, 5), (3, 2), r"\[5, 5\] .* \(3, 2\)"),  # another k
            ((5, 5, 5, 5), (3, 4), r"\[5, 5, 5, 5\] .* \(3, 4\)"),
            ((5, 5, 5), (3, 2), r"\[5, 5, 5\] .* \(3, 2\)"),  # rows of another k
            ((5, 5, 5), (3, 4), r"\[5, 5, 5\] .* \(3, 4\)"),
            ((5, 5, 5), (3,), r"\[5, 5, 5\] .* \(3,\)"),
            ((5, 5, 5), (3, 3, 1), r"\[5, 5, 5\] .* \(3, 3, 1\)"),
        ],
    )
    def test_input_that_does_not_fit(self, usual, dims, rows, found):
        sources = Sources(tuple(np.ones((2, d)) for d in dims), np.zeros(rows, int))
        with pytest.raises(ValueError, match=rf"{found}; .* takes \[5, 5, 5\]\.$"):
            apply(to_params(usual.params), sources)


class TestCombine:
    def test_hand_worked(self):
        sources = [[[2.0, 0.0], [0.0, 4.0]], [[1.0, 1.0], [5.0, 7.0]]]
        combined = combine(np.array([[1.0, -0.5], [1.0, 2.0]]), to_sources(sources))
        np.testing.assert_array_equal(combined, [[2, -2], [11, 15]])

    @pytest.mark.slow
    def test_against_oracle(self, problem, rng):
        coefficients = rng.normal(size=problem.sources.shape).astype(np.float32)
        combined = combine(coefficients, to_sources(problem.source_weights))
        expected = oracle.corrected_classifier(
            problem.weight, problem.few, problem.sources, coefficients
        )
        np.testing.assert_allclose(
            combined, expected[problem.few], rtol=1e-5, atol=1e-6
        )

    def test_own_coefficient_alone_changes_nothing(self, usual):
        coefficients = np.float32([[1, 0, 0]] * 3)
        combined = combine(coefficients, to_sources(usual.source_weights))
        np.testing.assert_array_equal(combined, usual.weight[usual.few])


def crowded(*, few=7, neighbors=3, hidden=(4, 3)):
    """A problem whose few classes share their neighbors: there are few base classes."""
    return oracle.random_problem(
        5, few=few, base=neighbors + 1, neighbors=neighbors, hidden=hidden
    )


class TestSharedSources:
    """Shared classifiers give what the plain way gives, one class after the other."""

    CASES = {  # noqa: RUF012
        "shared neighbors": {},
        "one neighbor": {"neighbors": 1},
        "one few class": {"few": 1},
        "five neighbors": {"few": 12, "neighbors": 5},
    }

    @pytest.fixture(params=list(CASES))
    def shared(self, request):
        problem = crowded(**self.CASES[request.param])
        sources = make_sources(problem.weight, problem.sources)
        copies = sum(len(weights) for weights in sources.weights)
        assert copies < problem.sources.size or len(problem.few) == 1
        return problem, jax.device_get(sources)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("alone", [False, True])
    def test_apply(self, shared, dtype, alone):
        problem, sources = shared
        tolerance = 1e-5 if dtype == np.float32 else 1e-12
        with jax.enable_x64(dtype == np.float64):
            sources = jax.tree.map(
                lambda x: x.astype(dtype) if x.dtype == np.float32 else x, sources
            )
            params = to_params(problem.params, dtype)
            alphas = jax.device_get(_jitted(params, sources, alone=alone))
        assert alphas.dtype == dtype
        expected = oracle.alphas(problem.params, problem.source_weights)
        np.testing.assert_allclose(alphas, expected, rtol=tolerance, atol=tolerance)

    @pytest.mark.slow
    @pytest.mark.parametrize("alone", [False, True])
    def test_gradient(self, shared, rng, x64, alone):
        problem, sources = shared
        cotangent = rng.normal(size=problem.sources.shape)
        to_double = functools.partial(np.asarray, dtype=np.float64)
        sources = Sources(tuple(map(to_double, sources.weights)), sources.rows)

        def total(params):
            return jnp.sum(apply(params, sources, alone=alone) * cotangent)

        actual = jax.jit(jax.grad(total))(to_params(problem.params, np.float64))
        expected = oracle.gradient(
            lambda p: (oracle.alphas(p, problem.source_weights) * cotangent).sum(),
            problem.params,
        )
        # Of one neighbor it is zero, but for rounding.
        assert_params_close(actual, expected, rtol=1e-9, atol=1e-12)

    def test_combine(self, shared, rng):
        problem, sources = shared
        coefficients = rng.normal(size=problem.sources.shape).astype(np.float32)
        expected = oracle.corrected_classifier(
            problem.weight, problem.few, problem.sources, coefficients
        )
        np.testing.assert_allclose(
            combine(coefficients, sources), expected[problem.few], rtol=1e-5, atol=1e-6
        )

    @pytest.mark.slow
    def test_vmapped_over_seeds_equals_single(self):
        problem = crowded()
        sources = make_sources(problem.weight, problem.sources)
        seeds = [
            to_params(oracle.random_problem(seed, neighbors=3, base=4).params)
            for seed in range(3)
        ]
        stacked = jax.tree.map(lambda *x: np.stack(x), *seeds)

        def both(params):
            alphas = apply(params, sources)
            return alphas, combine(alphas, sources)

        many = jax.device_get(jax.jit(jax.vmap(both))(stacked))
        for seed, params in enumerate(seeds):
            one = both(params)
            for single, of_seed in zip(one, many, strict=True):
                np.testing.assert_allclose(single, of_seed[seed], rtol=1e-5, atol=1e-6)


def original_names(problem):
    """The parameters of a problem as the original stores them."""
    (first, first_bias), *others = problem.params
    num_sources = problem.sources.shape[1]
    arrays = {
        "conv_layer.weight": first.reshape(len(first), 1, num_sources, -1),
        "conv_layer.bias": first_bias,
    }
    for index, (weight, bias) in enumerate(others):
        arrays[f"linear_layer__seq.{index}.weight"] = weight
        arrays[f"linear_layer__seq.{index}.bias"] = bias
    return arrays


class TestParamsFromTorch:
    @pytest.mark.parametrize("prefix", ["", "alphanet."])
    def test_names(self, usual, prefix):
        arrays = {prefix + name: x for name, x in original_names(usual).items()}
        assert_params_equal(params_from_torch(arrays), to_params(usual.params))

    def test_other_names_are_ignored(self, usual):
        arrays = {
            "base_clf.weight": usual.weight,
            "alphanet_b__vec": usual.bias,
            **original_names(usual),
            "alphanet.linear_layer__seq": np.zeros(3),
        }
        assert_params_equal(params_from_torch(arrays), to_params(usual.params))

    def test_more_than_ten_layers_keep_their_order(self):
        problem = oracle.random_problem(3, hidden=(2,) * 12)
        arrays = dict(sorted(original_names(problem).items()))
        assert_params_equal(params_from_torch(arrays), to_params(problem.params))

    def test_one_layer_after_the_first(self):
        problem = oracle.random_problem(4, hidden=(3,))
        arrays = original_names(problem)
        assert_params_equal(params_from_torch(arrays), to_params(problem.params))
        del arrays["linear_layer__seq.0.weight"], arrays["linear_layer__seq.0.bias"]
        with pytest.raises(ValueError, match=r"0\.bias', .*0\.weight'\] missing; got"):
            params_from_torch(arrays)

    def test_dtype_is_float32(self, usual):
        arrays = {n: x.astype(np.float64) for n, x in original_names(usual).items()}
        assert_params_equal(params_from_torch(arrays), to_params(usual.params))

    def test_against_torch(self, usual):
        torch = pytest.importorskip("torch")
        functional = torch.nn.functional
        arrays = {n: torch.tensor(x) for n, x in original_names(usual).items()}
        sources = torch.tensor(usual.weight[usual.sources])
        x = functional.conv2d(
            sources[:, None], arrays["conv_layer.weight"], arrays["conv_layer.bias"]
        ).flatten(1)
        for index in range(2):
            x = functional.linear(
                functional.leaky_relu(x),
                arrays[f"linear_layer__seq.{index}.weight"],
                arrays[f"linear_layer__seq.{index}.bias"],
            )
        expected = functional.normalize(x, p=1, dim=1)
        params = params_from_torch({n: x.numpy() for n, x in arrays.items()})
        alphas = apply_jitted(params, usual.source_weights)
        np.testing.assert_allclose(alphas[:, 1:], expected.numpy(), rtol=1e-5)

    @pytest.mark.parametrize(
        ("missing", "message"),
        [
            (
                "linear_layer__seq.0.weight",
                r"\['linear_layer__seq\.0\.weight'\] missing",
            ),
            ("linear_layer__seq.0.bias", r"\['linear_layer__seq\.0\.bias'\] missing"),
            ("linear_layer__seq.1.bias", r"\['linear_layer__seq\.1\.bias'\] missing"),
            ("conv_layer.weight", r"\['conv_layer\.weight'\] missing"),
            ("conv_layer.bias", r"\['conv_layer\.bias'\] missing"),
        ],
    )
    def test_missing_name(self, usual, missing, message):
        arrays = original_names(usual)
        del arrays[missing]
        with pytest.raises(ValueError, match=message):
            params_from_torch(arrays)

    def test_layer_missing_between_others(self):
        problem = oracle.random_problem(2, hidden=(4, 4, 4))
        arrays = original_names(problem)
        del arrays["linear_layer__seq.1.weight"], arrays["linear_layer__seq.1.bias"]
        with pytest.raises(ValueError, match=r"linear_layer__seq\.1"):
            params_from_torch(arrays)

    def test_layer_without_its_weight(self, usual):
        arrays = original_names(usual)
        del arrays["linear_layer__seq.1.weight"]
        with pytest.raises(ValueError, match=r"linear_layer__seq\.1\.weight"):
            params_from_torch(arrays)

    def test_shapes_that_do_not_chain(self, usual):
        arrays = original_names(usual)
        arrays["linear_layer__seq.0.weight"] = np.zeros((3, 7))
        with pytest.raises(ValueError, match=r"0\.weight takes 7 inputs.* gives 4"):
            params_from_torch(arrays)

    @pytest.mark.parametrize("shape", [(4, 1, 5, 3), (4, 3, 1, 5), (4, 15)])
    def test_number_of_sources_does_not_fit_the_outputs(self, usual, shape):
        # Two outputs stand for two neighbors, so the input holds three classifiers.
        arrays = original_names(usual)
        arrays["conv_layer.weight"] = np.zeros(shape, np.float32)
        with pytest.raises(ValueError, match=r"conv_layer\.weight must .* got \(4, "):
            params_from_torch(arrays)

    def test_bias_that_does_not_fit(self, usual):
        arrays = original_names(usual)
        arrays["linear_layer__seq.0.bias"] = np.zeros(5)
        with pytest.raises(ValueError, match=r"seq\.0: weight \(3, 4\) and bias \(5"):
            params_from_torch(arrays)


class TestParamsToTorch:
    def test_names_and_shapes(self, problem):
        arrays = params_to_torch(to_params(problem.params))
        expected = original_names(problem)
        assert list(arrays) == list(expected)
        for name, array in arrays.items():
            assert type(array) is np.ndarray
            np.testing.assert_array_equal(array, expected[name], name)

    def test_is_the_inverse(self, problem):
        params = to_params(problem.params)
        assert_params_equal(params_from_torch(params_to_torch(params)), params)


def test_the_smallest_sizes():
    sizes = {"num_features": 1, "num_neighbors": 1}
    assert check_sizes(**sizes, hidden_dims=(1,)) == (2, 1, 1)
