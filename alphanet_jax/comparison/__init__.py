"""All corrections of one classifier side by side, their knobs chosen honestly.

`comparing` runs them; `corrections` judges those of the table, `sweep` AlphaNet over
rho; `judging` has what both come to, `folds` the cross-validation for want of
validation data, and `document` makes what is written.

    found = comparison.compare(data, methods=["logit_adjustment", "alphanet_plus"])
    print(comparison_file.table(found))
"""

from alphanet_jax.comparison.comparing import REFERENCE, RHOS, compare, method_names
from alphanet_jax.comparison.judging import CRITERIA, METRICS, Curve, Samples

__all__ = [
    "CRITERIA",
    "METRICS",
    "REFERENCE",
    "RHOS",
    "Curve",
    "Samples",
    "compare",
    "method_names",
]
