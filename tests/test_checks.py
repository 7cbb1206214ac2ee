import tracemalloc

import ml_dtypes
import numpy as np
import pytest

from alphanet_jax import streaming
from alphanet_jax.data import checks
from alphanet_jax.errors import UserError


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of three rows of four float32 values."""
    monkeypatch.setattr(streaming, "_CHUNK_BYTES", 3 * 4 * 4)


@pytest.mark.parametrize(
    "dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16, ">f4"]
)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [(0, 0), (2, 3), (3, 0), (6, 3)])
def test_finite(dtype, value, place, small_chunks):
    features = np.ones((7, 4), dtype)
    checks.check_finite("x", features)
    features[place] = value
    row, column = place
    match = rf"^x: feats .* float32, got {value} in row {row + 5}, column {column}$"
    with pytest.raises(UserError, match=match):
        checks.check_finite("x", features, first_row=5)


def test_first_of_several_is_named(small_chunks):
    features = np.ones((7, 4), np.float32)
    features[5, 2], features[5, 1], features[6, 0] = np.inf, np.nan, np.inf
    with pytest.raises(UserError, match="got nan in row 5, column 1"):
        checks.check_finite("x", features)


def test_large_values_are_finite():
    largest = np.finfo(np.float32).max
    checks.check_finite("x", np.full((1000, 4), largest))  # their sum is not
    checks.check_finite("x", np.full((9, 4), -65504, np.float16), dtype=np.float16)


@pytest.mark.parametrize(
    ("value", "dtype", "wanted"),
    [
        (1e39, np.float64, np.float32),
        (65520, np.float32, np.float16),
        (2.0**16, ml_dtypes.bfloat16, np.float16),
    ],
)
def test_too_large_for_the_dtype(value, dtype, wanted):
    features = np.ones((7, 4), dtype)
    features[4, 1] = value
    checks.check_finite("x", features, dtype=dtype)
    with pytest.raises(UserError) as error:
        checks.check_finite("x", features, dtype=wanted)
    assert str(error.value) == (
        f"x: feats must be finite in {np.dtype(wanted)}, got {features[4, 1]} "
        "in row 4, column 1"
    )


def test_classifier():
    weight, bias = np.ones((3, 2)), np.ones(3, np.float32)
    checks.check_classifier("x", weight, bias)
    checks.check_classifier("x", weight.astype(ml_dtypes.bfloat16), bias)
    weight[1, 1] = -1e39
    with pytest.raises(UserError, match=r"^x: weight .* got -1e\+39 at \(1, 1\)$"):
        checks.check_classifier("x", weight, bias)


@pytest.mark.parametrize(
    ("dtype", "wanted"),
    [
        (np.float16, True),
        (">f8", True),
        (ml_dtypes.bfloat16, True),
        (np.int32, False),
        (bool, False),
        (np.complex64, False),
        (object, False),
        ("V2", False),
        (ml_dtypes.float8_e5m2, True),
    ],
)
def test_is_float(dtype, wanted):
    assert checks.is_float(np.dtype(dtype)) == wanted


def splits(few=(0,), medium=(1,), many=(2,)):
    parts = {"few": few, "medium": medium, "many": many}
    return {name: np.array(classes, int) for name, classes in parts.items()}


@pytest.mark.parametrize(
    "parts", [splits(), splits(medium=(), many=(2, 1)), splits((2, 0), (1,), ())]
)
def test_good_splits(parts):
    checks.check_splits("x", parts, num_classes=3)


def test_splits_that_are_no_files():
    with pytest.raises(UserError, match=r"^x: class 1 is in few and in medium$"):
        checks.check_splits("x", splits(few=(0, 1)), num_classes=3, ending="")


def test_many_classes_are_abbreviated():
    with pytest.raises(UserError, match=r"x: 7 of 10 .*: 3, 4, 5, 6, 7, \.\.\.$"):
        checks.check_splits("x", splits(), num_classes=10)
    with pytest.raises(UserError, match=r"x: 5 of 8 .*: 3, 4, 5, 6, 7$"):
        checks.check_splits("x", splits(), num_classes=8)
    counts = np.array([1, 0, 0, 0, 0, 0, 0, 2])
    with pytest.raises(
        UserError,
        match=r"but 6 of 8 have none: 1, 2, 3, 4, 5, \.\.\.; add",
    ):
        checks.check_covered("x", counts)
    checks.check_covered("x", counts[[0, 7]])


def nested(levels):
    pair = [1]
    for _ in range(levels):
        pair = [pair, pair]
    return pair


@pytest.mark.parametrize(
    "labels",
    [
        nested(64),
        [nested(28)] * 3,
        [[1, 2, 3] * 1000] * 10_000,
        [np.zeros((1000, 1000))] * 1000,
        ["x" * 1_000_000, *[""] * 20_000],
        ([[[1]]],),
    ],
    ids=["deep", "deep_items", "long_items", "an_array", "a_long_text", "three_levels"],
)
def test_labels_that_would_become_far_larger(labels):
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="labels"):
            checks.check_labels("f", labels, num_samples=3, num_classes=2)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
