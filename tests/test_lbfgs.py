"""L-BFGS on functions whose minimum is known."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from alphanet_jax.posthoc.lbfgs import Evaluation, minimize


def quadratic(matrix, centre):
    """The function, and the points that it was evaluated at."""
    points = []

    def function(point):
        points.append(np.asarray(point))
        gradient = (point - centre) @ matrix
        return Evaluation(float(0.5 * (point - centre) @ gradient), gradient, None)

    return function, points


@pytest.fixture
def matrix(rng):
    root = rng.normal(size=(6, 6)) * np.logspace(0, 1, 6)[:, None]
    return jnp.asarray(root.T @ root + np.eye(6), jnp.float32)


def softplus(point):
    """Convex, and all but linear far from the minimum at 1, 1, 1."""
    offset = np.asarray(point, np.float64) - 1
    value = float(np.log(np.cosh(offset)).sum())
    return Evaluation(value, jnp.asarray(np.tanh(offset), jnp.float32), None)


class TestMinimum:
    def test_of_a_quadratic(self, matrix, rng):
        centre = jnp.asarray(rng.normal(size=6), jnp.float32)
        function, _ = quadratic(matrix, centre)
        found = minimize(function, jnp.zeros(6), tolerance=1e-9)
        assert found.converged
        np.testing.assert_allclose(found.point, centre, atol=1e-4)

    def test_the_inverse_hessian_needs_one_step(self, matrix, rng):
        centre = jnp.asarray(rng.normal(size=6), jnp.float32)
        function, points = quadratic(matrix, centre)
        inverse = jnp.linalg.inv(matrix)
        found = minimize(function, jnp.zeros(6), precondition=lambda v, _: inverse @ v)
        assert (found.converged, found.step.iteration, len(points)) == (True, 1, 2)
        np.testing.assert_allclose(found.point, centre, atol=1e-4)

    def test_precondition_is_given_the_curvature(self):
        def function(point):
            return Evaluation(float(2 * point @ point), 4 * point, 4.0)

        found = minimize(function, jnp.ones(3), precondition=lambda v, c: v / c)
        assert (found.step.iteration, found.step.evaluations) == (1, 2)

    @pytest.mark.parametrize("start", [30.0, -3.0, 1.1])
    @pytest.mark.parametrize("scale", [0.01, 1.0, 500.0])
    def test_first_steps_too_short_and_too_long(self, start, scale):
        found = minimize(
            softplus, jnp.full(3, start), precondition=lambda v, _: scale * v
        )
        assert found.converged
        np.testing.assert_allclose(found.point, 1.0, atol=0.01)
        assert found.step.evaluations < 25

    def test_against_scipy(self):
        def function(point):
            value, gradient = (
                scipy.optimize.rosen(np.asarray(point, np.float64)),
                scipy.optimize.rosen_der(np.asarray(point, np.float64)),
            )
            return Evaluation(float(value), jnp.asarray(gradient, jnp.float32), None)

        # Not convex, but it comes through.
        found = minimize(function, jnp.zeros(4), tolerance=1e-9)
        np.testing.assert_allclose(found.point, 1.0, atol=1e-2)

    def test_values_that_are_not_finite_are_gone_back_from(self):
        def function(point):
            value = float(point[0])
            if value <= 0:
                return Evaluation(float("nan"), jnp.full(1, jnp.nan), None)
            return Evaluation(value - np.log(value), 1 - 1 / point, None)

        found = minimize(function, jnp.full(1, 4.0), precondition=lambda v, _: 100 * v)
        assert found.converged
        np.testing.assert_allclose(found.point, 1.0, atol=0.01)


class TestEnd:
    def test_at_the_minimum(self):
        found = minimize(softplus, jnp.ones(3))
        assert (found.converged, found.step) == (True, (0, 1, 0.0, 0.0))

    def test_after_max_iterations(self):
        steps = []
        found = minimize(
            softplus,
            jnp.full(3, 9.0),
            tolerance=0.0,
            max_iterations=2,
            on_step=steps.append,
        )
        assert not found.converged
        assert [step.iteration for step in steps] == [0, 1, 2]
        assert found.step == steps[-1]

    def test_where_rounding_hides_the_rest(self):
        """Values near 1e6 do not show the last steps in float32, gradients do."""

        def function(point):
            offset = np.asarray(point, np.float64) - 1
            value = float(np.float32(1e6 + (offset**2).sum()))
            return Evaluation(value, jnp.asarray(2 * offset, jnp.float32), None)

        found = minimize(function, jnp.full(3, 1.5), tolerance=0.0, max_iterations=50)
        np.testing.assert_allclose(found.point, 1.0, atol=1e-5)

    def test_where_the_gradient_is_wrong(self):
        def function(point):
            return Evaluation(float(point @ point), -2 * point, None)

        found = minimize(function, jnp.ones(2))
        assert not found.converged
        np.testing.assert_array_equal(found.point, 1.0)

    def test_at_a_point_without_a_value(self):
        def function(point):
            return Evaluation(float("nan"), jnp.full(2, jnp.nan), None)

        assert not minimize(function, jnp.ones(2)).converged


def test_steps_go_down_and_are_counted():
    values, steps = [], []

    def function(point):
        values.append(softplus(point).value)
        return softplus(point)

    found = minimize(function, jnp.full(3, 20.0), on_step=steps.append)
    assert (np.diff([step.value for step in steps]) < 0).all()
    assert found.step.evaluations == len(values)


def test_what_steps_expect():
    """Of a parabola with curvature 1 a step along the gradient gets to its end."""
    steps = []

    def half_square(point):
        return Evaluation(0.5 * float(jnp.sum(point**2)), point, None)

    minimize(half_square, jnp.array([3.0, 4.0]), on_step=steps.append)
    assert [step.expected for step in steps] == [12.5, 0.0]


@pytest.mark.parametrize("size", [0.1, 1.0, 10.0])
def test_a_direction_that_goes_up_is_no_minimum(size):
    """As of a matrix that is not positive; the slope may be small, or large."""
    found = minimize(
        softplus, jnp.full(3, 3.0), precondition=lambda vector, _: -size * vector
    )
    assert not found.converged
    assert found.point.tolist() == [3.0] * 3


def test_the_first_evaluation_may_be_given():
    start = jnp.full(3, 4.0)
    calls = []

    def function(point):
        calls.append(point)
        return softplus(point)

    plain = minimize(function, start)
    number = len(calls)
    given = minimize(function, start, first=softplus(start))
    np.testing.assert_array_equal(given.point, plain.point)
    assert len(calls) == 2 * number - 1


@pytest.mark.parametrize("memory", [1, 2, 30])
def test_memory(memory, matrix):
    function, _ = quadratic(matrix, jnp.ones(6))
    found = minimize(function, jnp.zeros(6), memory=memory, tolerance=1e-7)
    np.testing.assert_allclose(found.point, 1.0, atol=0.01)
