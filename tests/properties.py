"""How property tests are run, and what they draw.

Examples are the same in every run, so that a failure is of the code and not of luck. To
look further, with other examples each time:

    ALPHANET_TESTS_EXAMPLES=5000 python -m pytest tests/test_properties.py
"""

import os

import hypothesis
import numpy as np
from hypothesis import strategies as st

_ASKED = os.environ.get("ALPHANET_TESTS_EXAMPLES")


def examples(number):
    """Runs a test with so many examples, or as many as are asked for."""
    return hypothesis.settings(
        max_examples=int(_ASKED or number),
        derandomize=_ASKED is None,
        database=None,
        deadline=None,  # the first example compiles
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )


def shapes(few, many):
    """Returns a few shapes; of many, where more examples are asked for.

    Functions of JAX compile for each.
    """
    return few if _ASKED is None else st.one_of(few, many)


SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def labelled(draw, most=30):
    """Labels of samples and the splits of their classes; some have none."""
    num_classes = draw(st.integers(1, 9))
    labels = draw(
        st.lists(st.integers(0, num_classes - 1), min_size=1, max_size=most).map(
            lambda found: np.array(found, np.int64)
        )
    )
    parts = draw(
        st.lists(st.integers(0, 2), min_size=num_classes, max_size=num_classes)
    )
    splits = {
        name: np.flatnonzero(np.array(parts) == place)
        for place, name in enumerate(("few", "medium", "many"))
    }
    return labels, splits, num_classes
