"""All corrections of one classifier side by side, their knobs chosen honestly.

`comparing` runs them; `corrections` judges those of the table, `sweep` AlphaNet over
rho; `setup` has what they are judged on, `judging` what both come to, `folds` the
cross-validation for want of validation data; `document` makes what is written.
`choosing` chooses by what is needed, and `fitting` fits what was chosen.

    found = comparison.compare(data, methods=["logit_adjustment", "alphanet_plus"])
    print(comparison_file.table(found))
"""

from alphanet_jax.comparison.choosing import Choice, Target, choose, parse_target
from alphanet_jax.comparison.comparing import REFERENCE, RHOS, compare, method_names
from alphanet_jax.comparison.fitting import Asked, fit_method
from alphanet_jax.comparison.judging import CRITERIA, METRICS, Curve, Samples

__all__ = [
    "CRITERIA",
    "METRICS",
    "REFERENCE",
    "RHOS",
    "Asked",
    "Choice",
    "Curve",
    "Samples",
    "Target",
    "choose",
    "compare",
    "fit_method",
    "method_names",
    "parse_target",
]
