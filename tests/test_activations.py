import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import record_torch

from alphanet_jax.lookup.activations import ACTIVATIONS, look_up


@functools.partial(jax.jit, static_argnums=0)
def _values_and_slopes(name, x):
    y, pull = jax.vjp(look_up(name), x)
    return y, pull(jnp.ones_like(y))[0]


def values_and_slopes(name, x):
    # Compiled, which is faster; by hand they are called eagerly.
    return jax.device_get(_values_and_slopes(name, x))


class TestAgainstTorch:
    @pytest.mark.parametrize("index", range(len(record_torch.ACTIVATIONS)))
    def test_in_float64(self, index, x64):
        values, slopes = values_and_slopes(
            record_torch.ACTIVATIONS[index], jnp.asarray(record_torch.GRID)
        )
        with np.load(record_torch.PATH) as file:
            expected = file["activations"][index]
        # Far left, where PyTorch's gelu is a difference of ones, it is 0 to 1e-15.
        np.testing.assert_allclose(values, expected[0], rtol=1e-14, atol=2e-15)
        # Its hardsigmoid has a slope of float32(1 / 6).
        np.testing.assert_allclose(slopes, expected[1], rtol=5e-8, atol=2e-15)

    @pytest.mark.parametrize("index", range(len(record_torch.ACTIVATIONS)))
    def test_in_float32(self, index):
        name = record_torch.ACTIVATIONS[index]
        x = jnp.asarray(record_torch.GRID, jnp.float32)
        values, slopes = values_and_slopes(name, x)
        assert values.dtype == slopes.dtype == np.float32
        with np.load(record_torch.PATH) as file:
            expected = file["activations"][index]
        np.testing.assert_allclose(values, expected[0], rtol=1e-6, atol=5e-7)
        np.testing.assert_allclose(slopes, expected[1], rtol=1e-6, atol=2e-6)

    def test_names_of_torch_mean_torch(self):
        torch = pytest.importorskip("torch")
        functional = torch.nn.functional
        names = [name for name in ACTIVATIONS if hasattr(functional, name)]
        in_place = {name for name in names if name.endswith("_")}
        assert set(names) - in_place == set(record_torch.ACTIVATIONS)
        x = np.float32([-2.5, -0.25, 0.0, 0.75, 3.5])
        for name in in_place:
            expected = getattr(functional, name)(torch.tensor(x)).numpy()
            np.testing.assert_allclose(look_up(name)(jnp.asarray(x)), expected, 1e-6)


class TestByHand:
    @pytest.mark.parametrize(
        ("name", "value", "expected"),
        [
            ("leaky_relu", -3.0, -0.03),
            ("relu_", -3.0, 0.0),
            ("relu6", 7.0, 6.0),
            ("hardtanh", -7.0, -1.0),
            ("hardsigmoid", 1.5, 0.75),
            ("hardswish", 1.5, 1.125),
            ("elu", -1.0, np.exp(-1) - 1),
            ("selu", 2.0, 2.1014019747),
            ("gelu", 1.0, 0.8413447461),
            ("silu", 1.0, 1 / (1 + np.exp(-1))),
            ("swish", 1.0, 1 / (1 + np.exp(-1))),
            ("mish", 1.0, np.tanh(np.log(1 + np.e))),
            ("softplus", 0.0, np.log(2)),
            ("softsign", -3.0, -0.75),
            ("logsigmoid", 0.0, -np.log(2)),
            ("tanhshrink", 1.0, 1 - np.tanh(1)),
            ("softshrink", 1.0, 0.5),
            ("hardshrink", -0.5, 0.0),
            ("rrelu", -1.0, -11 / 48),
            ("squareplus", 0.0, 1.0),
            ("sparse_plus", 0.0, 0.25),
            ("sparse_sigmoid", 0.5, 0.75),
            ("identity", -2.0, -2.0),
        ],
    )
    def test_value(self, name, value, expected):
        np.testing.assert_allclose(look_up(name)(jnp.float32(value)), expected, 1e-6)

    @pytest.mark.parametrize(
        ("name", "at", "slope"),
        [
            # PyTorch's slopes at kinks; jax.nn's are 1, 1/2, 1/2 and 1/2.
            ("leaky_relu", 0.0, 0.01),
            ("relu6", 6.0, 0.0),
            ("relu6", 0.0, 0.0),
            ("hardtanh", 1.0, 0.0),
            ("hardswish", -3.0, 0.0),
            ("hardsigmoid", 3.0, 0.0),
            ("softshrink", 0.5, 0.0),
        ],
    )
    def test_slope_at_a_kink(self, name, at, slope):
        assert jax.grad(look_up(name))(jnp.float32(at)) == np.float32(slope)


class TestEvery:
    @pytest.mark.parametrize("name", ACTIVATIONS)
    def test_is_elementwise_and_finite_far_away(self, name):
        x = np.float32([[-1e4, -3.0, 0.0], [0.5, 7.0, 1e4]])
        values, slopes = values_and_slopes(name, x)
        assert values.shape == x.shape
        assert values.dtype == np.float32
        assert np.isfinite(values).all()
        assert np.isfinite(slopes).all()
        each = [look_up(name)(number) for number in x.ravel()]
        np.testing.assert_allclose(values.ravel(), each, rtol=1e-6)

    @pytest.mark.parametrize("name", ACTIVATIONS)
    def test_not_a_number_stays_so(self, name):
        assert np.isnan(look_up(name)(jnp.float32(np.nan)))


class TestErrors:
    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("rel", "unknown activation 'rel'; did you mean 'relu'"),
            ("RELU", r"unknown activation 'RELU'; did you mean 'relu'\?"),
            (
                "x",
                "unknown activation 'x'; known are 'celu', .*'leaky_relu', .*'swish'",
            ),
            ("dropout", "'dropout' is not available: it is random, .*; known are 'cel"),
            ("alpha_dropout", "is not available: called with an input only it does"),
            ("linear", "'linear' is not available: it needs more than its input"),
            ("prelu", "'prelu' is not available: it needs more than its input"),
            ("threshold", "'threshold' is not available: it needs more than its input"),
            ("softmax", "'softmax' is not available: it is not elementwise"),
            ("normalize", "'normalize' is not available: it is not elementwise"),
            ("glu", "'glu' is not available: it changes the number of units"),
        ],
    )
    def test_message(self, name, message):
        with pytest.raises(ValueError, match=message):
            look_up(name)
