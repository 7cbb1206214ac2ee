"""The one call: arrays in, a corrected classifier out.

`fitting` has the call, `outcome` what it returns.
"""

from alphanet_jax.correction.fitting import METHODS, fit
from alphanet_jax.correction.outcome import Correction, load_correction
from alphanet_jax.results.accuracy_tables import AccuracyReport
from alphanet_jax.results.corrected import Head, Which

__all__ = [
    "METHODS",
    "AccuracyReport",
    "Correction",
    "Head",
    "Which",
    "fit",
    "load_correction",
]
