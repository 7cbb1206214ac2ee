"""All corrections of one classifier side by side, their knobs chosen honestly.

`comparing` runs them; `corrections` judges those of the table, `sweep` AlphaNet over
rho; `setup` has what they are judged on, `judging` what both come to, `folds` the
cross-validation for want of validation data; `document` makes what is written.
`choosing` chooses by what is needed, and `fitting` fits what was chosen.

    found = comparison.compare(data, methods=["logit_adjustment", "alphanet_plus"])
    print(comparison_file.table(found))
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alphanet_jax.comparison.choosing import (
        Choice,
        Target,
        choose,
        parse_target,
    )
    from alphanet_jax.comparison.comparing import (
        REFERENCE,
        RHOS,
        compare,
        method_names,
    )
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

_NAMES = {
    "choosing": ("Choice", "Target", "choose", "parse_target"),
    "comparing": ("REFERENCE", "RHOS", "compare", "method_names"),
    "fitting": ("Asked", "fit_method"),
    "judging": ("CRITERIA", "METRICS", "Curve", "Samples"),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Loads a name when it is first used: training has two of these files alone."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
