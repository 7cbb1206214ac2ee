"""Other corrections of the same classifier, from the same inputs.

`offsets` adds one number to all logits of a class, `norms` changes the length of
weights, `means` classifies by the nearest class mean; `trained` learns, in the way that
`recipes` has. `gaussian` scores by Gaussian classes, `convex_head` fits a head anew,
to samples in `pieces`, and `plus` is alphanet+. `outcomes` is what they give,
`linear` the usual one. `method` is what the table knows of one and how it is applied,
`methods` the table of all: what each needs, its knob, its source. `curves` predicts by
them, over the knob.

    inputs = posthoc.make_inputs(x, y, weight, bias, few_classes=few)
    method = posthoc.METHODS["logit_adjustment"]
    head = posthoc.apply(method, inputs, 1.0)  # weight and bias
    for point, classes in posthoc.curve(method, inputs, {"val": x_val}):
        print(point.knob, (classes["val"] == y_val).mean())
"""

from alphanet_jax.posthoc.convex_head import balanced_softmax_head, try_piece
from alphanet_jax.posthoc.curves import (
    Predicted,
    SharedProducts,
    Winners,
    curve,
    predict,
    predict_rescaled,
    products,
    winners,
)
from alphanet_jax.posthoc.gaussian import gaussian_mix, gaussian_scores
from alphanet_jax.posthoc.linear import Linear
from alphanet_jax.posthoc.means import ClassMeans, nearest_class_mean
from alphanet_jax.posthoc.method import (
    NEEDS,
    Family,
    Method,
    Point,
    apply,
    make_family,
    make_inputs,
    num_heads,
    sweep,
)
from alphanet_jax.posthoc.methods import METHODS
from alphanet_jax.posthoc.norms import max_norm, tau_normalization
from alphanet_jax.posthoc.offsets import (
    drops,
    few_offset,
    log_prior,
    logit_adjustment,
    prior_from_predictions,
)
from alphanet_jax.posthoc.outcomes import Outcome, adjusted, logits
from alphanet_jax.posthoc.plus import USUAL_PASSES, AlphaNetPlus, alphanet_plus
from alphanet_jax.posthoc.recipes import Recipe
from alphanet_jax.posthoc.refitted import PlusFamily
from alphanet_jax.posthoc.trained import Aligned, crt, disalign, lws, marc

__all__ = [
    "METHODS",
    "NEEDS",
    "USUAL_PASSES",
    "Aligned",
    "AlphaNetPlus",
    "ClassMeans",
    "Family",
    "Linear",
    "Method",
    "Outcome",
    "PlusFamily",
    "Point",
    "Predicted",
    "Recipe",
    "SharedProducts",
    "Winners",
    "adjusted",
    "alphanet_plus",
    "apply",
    "balanced_softmax_head",
    "crt",
    "curve",
    "disalign",
    "drops",
    "few_offset",
    "gaussian_mix",
    "gaussian_scores",
    "log_prior",
    "logit_adjustment",
    "logits",
    "lws",
    "make_family",
    "make_inputs",
    "marc",
    "max_norm",
    "nearest_class_mean",
    "num_heads",
    "predict",
    "predict_rescaled",
    "prior_from_predictions",
    "products",
    "sweep",
    "tau_normalization",
    "try_piece",
    "winners",
]
