"""The table of corrections: what each needs, its knob, its outcome and its source.

Notation: n samples, d feature dimensions, C classes, F 'few' classes.
"""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike

from alphanet_jax.posthoc import checks, norms, offsets, refitted, trained
from alphanet_jax.posthoc.gaussian import COVARIANCE_GRID
from alphanet_jax.posthoc.linear import Linear
from alphanet_jax.posthoc.means import VARIANTS, nearest_class_mean
from alphanet_jax.posthoc.method import Family, Method
from alphanet_jax.posthoc.outcomes import Outcome, adjusted, logits
from alphanet_jax.posthoc.plus import L2_FACTORS

__all__ = ["METHODS", "TAUS"]


def _steps(first: float, last: float, step: float) -> tuple[float, ...]:
    """Lists numbers from first to last, as they are written."""
    count = round((last - first) / step) + 1
    return tuple(round(first + i * step, 6) for i in range(count))


TAUS = _steps(-1.0, 2.5, 0.1)  # of logit adjustments

# Functions of the table.


def _unchanged(weight: jax.Array, bias: jax.Array) -> Family:
    return lambda _: Linear(weight, bias)


def _few_offset(weight: jax.Array, bias: jax.Array, few_classes: ArrayLike) -> Family:
    # On the host: the same numbers, without a program for every operation.
    given, classes = np.asarray(bias), np.asarray(few_classes)
    checks.in_range("few_classes", classes, len(given))

    def family(offset: float) -> Linear:
        moved = given.copy()
        moved[classes] += np.float32(offset)
        return Linear(weight, moved)

    return family


def _logit_adjustment(weight: jax.Array, bias: jax.Array, counts: ArrayLike) -> Family:
    log_prior = np.asarray(offsets.log_prior(counts))
    checks.last_axis("bias", bias, "counts", log_prior)
    given = np.asarray(bias)
    return lambda tau: Linear(weight, given - np.float32(tau) * log_prior)


def _prior_from_predictions(
    features: ArrayLike, weight: jax.Array, bias: jax.Array
) -> Family:
    log_prior = offsets.log_prior_from_predictions(features, weight, bias)
    return lambda tau: Linear(weight, bias - tau * log_prior)


def _tau_normalization(
    weight: jax.Array, bias: jax.Array, *, keep_bias: bool = False
) -> Family:
    return lambda tau: norms.tau_normalization(
        weight, bias, tau=tau, keep_bias=keep_bias
    )


def _max_norm(weight: jax.Array, bias: jax.Array) -> Family:
    return lambda threshold: norms.max_norm(weight, bias, threshold=threshold)


def _nearest_class_mean(
    features: ArrayLike, labels: ArrayLike, num_classes: int, *, variant: str
) -> Family:
    outcome = nearest_class_mean(
        features, labels, num_classes=num_classes, variant=variant
    )
    return lambda _: outcome


def _drops(
    weight: jax.Array,
    bias: jax.Array,
    counts: ArrayLike,
    val_features: ArrayLike,
    val_labels: ArrayLike,
    *,
    delta: float,
) -> Family:
    val_logits = logits(Linear(weight, bias), val_features)
    shift = offsets.drops(val_logits, val_labels, counts, delta=delta)
    return lambda strength: Linear(weight, bias + strength * shift)


def _then_adjusted(
    train: Callable[..., Outcome], *, by_counts: bool = False
) -> Callable[..., Family]:
    """Makes a family of a trained method: logit adjustments of its outcome."""

    def function(*, counts: ArrayLike, **inputs: Any) -> Family:
        outcome = train(**inputs, **({"counts": counts} if by_counts else {}))
        return lambda tau: adjusted(outcome, counts, tau)

    return function


_HEAD = ("weight", "bias")
_SAMPLES = ("features", "labels")
_FITTED = ("on_step", "most_per_class", "seed", "kept")
_KANG = "Kang et al., ICLR 2020"


def _means(variant: str) -> Method:
    return Method(
        name=f"nearest_class_mean_{variant}",
        function=functools.partial(_nearest_class_mean, variant=variant),
        needs=(*_SAMPLES, "num_classes"),
        linear=variant in ("un", "cosine"),
        source=_KANG,
    )


def _choices(name: str, values: tuple[Any, ...]) -> tuple[Mapping[str, Any], ...]:
    return tuple(MappingProxyType({name: value}) for value in values)


def _scores(name: str, source: str, **options: Any) -> Method:
    return Method(
        name=name,
        function=functools.partial(refitted.scores_family, **options),
        needs=(*_SAMPLES, "num_classes", "counts"),
        uses=("kept",),
        linear=True,
        source=source,
        knob="tau",
        grid=TAUS,
        choices=_choices("covariance_shrinkage", COVARIANCE_GRID),
    )


def _table(*methods: Method) -> Mapping[str, Method]:
    return MappingProxyType({method.name: method for method in methods})


METHODS = _table(
    Method(
        name="unchanged",
        function=_unchanged,
        needs=_HEAD,
        linear=True,
        rescales=True,
        source="the classifier as it was",
    ),
    Method(
        name="few_offset",
        function=_few_offset,
        needs=(*_HEAD, "few_classes"),
        linear=True,
        rescales=True,
        source="a control of one number",
        knob="offset",
        grid=_steps(-1.0, 6.0, 0.1),
    ),
    Method(
        name="logit_adjustment",
        function=_logit_adjustment,
        needs=(*_HEAD, "counts"),
        linear=True,
        rescales=True,
        source="Menon et al., ICLR 2021; with tau 1, Hong et al., CVPR 2021",
        knob="tau",
        grid=TAUS,
    ),
    Method(
        name="prior_from_predictions",
        function=_prior_from_predictions,
        needs=("features", *_HEAD),
        linear=True,
        rescales=True,
        source="Prior2Posterior, arXiv 2412.16540",
        knob="tau",
        grid=TAUS,
    ),
    Method(
        name="tau_normalization",
        function=_tau_normalization,
        needs=_HEAD,
        linear=True,
        rescales=True,
        source=f"{_KANG}; the bias is dropped",
        knob="tau",
        grid=_steps(0.0, 2.0, 0.1),
    ),
    Method(
        name="tau_normalization_bias",
        function=functools.partial(_tau_normalization, keep_bias=True),
        needs=_HEAD,
        linear=True,
        rescales=True,
        source=f"{_KANG}; the bias is kept",
        knob="tau",
        grid=_steps(0.0, 2.0, 0.1),
    ),
    *(_means(variant) for variant in VARIANTS),
    _scores("gaussian_scores", "empirical Bayes on the class means"),
    _scores("gaussian_scores_unshrunk", "linear discriminant analysis", shrunk=False),
    Method(
        name="gaussian_mix",
        function=refitted.mix_family,
        needs=(*_SAMPLES, "num_classes", "counts", *_HEAD),
        uses=("val_features", "kept"),
        linear=True,
        source="the classifier's own scores and shrunk Gaussian ones",
        knob="tau",
        grid=TAUS,
        choices=_choices("covariance_shrinkage", COVARIANCE_GRID),
    ),
    Method(
        name="balanced_softmax_head",
        function=refitted.head_family,
        needs=(*_SAMPLES, "num_classes", "counts", *_HEAD),
        uses=_FITTED,
        heads=(0, 1),
        linear=True,
        source="Ren et al., NeurIPS 2020, to the minimum; then a logit adjustment",
        knob="tau",
        grid=TAUS,
        choices=_choices("l2_factor", (0.5, 1.0, 2.0, 4.0)),
    ),
    Method(
        name="alphanet_plus",
        function=refitted.plus_family,
        needs=(*_SAMPLES, "num_classes", "counts", *_HEAD),
        uses=("val_features", "val_labels", *_FITTED),
        heads=(1, 1),
        linear=True,
        source="a convex head whose prior lets classes borrow from their nearest",
        knob="tau",
        grid=TAUS,
        choices=_choices("l2_factor", L2_FACTORS),
    ),
    Method(
        name="max_norm",
        function=_max_norm,
        needs=_HEAD,
        linear=True,
        rescales=True,
        source="Alshammari et al., CVPR 2022; the projection, without training",
        knob="threshold",
        grid=_steps(0.3, 1.0, 0.05),
        neutral=1.0,
        optional=True,
    ),
    Method(
        name="crt",
        function=_then_adjusted(trained.crt),
        needs=(*_SAMPLES, "num_classes", "counts", "key"),
        linear=True,
        source=f"{_KANG}; then a logit adjustment",
        knob="tau",
        grid=TAUS,
        optional=True,
    ),
    Method(
        name="lws",
        function=_then_adjusted(trained.lws),
        needs=(*_SAMPLES, *_HEAD, "counts", "key"),
        linear=True,
        rescales=True,
        source=f"{_KANG}; then a logit adjustment",
        knob="tau",
        grid=TAUS,
        optional=True,
    ),
    Method(
        name="disalign",
        function=_then_adjusted(trained.disalign, by_counts=True),
        needs=(*_SAMPLES, *_HEAD, "counts", "key"),
        linear=False,
        source="Zhang et al., CVPR 2021; then a logit adjustment",
        knob="tau",
        grid=TAUS,
        optional=True,
    ),
    Method(
        name="marc",
        function=_then_adjusted(trained.marc, by_counts=True),
        needs=(*_SAMPLES, *_HEAD, "counts", "key"),
        linear=True,
        rescales=True,
        source="Wang et al., ACML 2022; then a logit adjustment",
        knob="tau",
        grid=TAUS,
        optional=True,
    ),
    Method(
        name="drops",
        function=_drops,
        needs=(*_HEAD, "counts", "val_features", "val_labels"),
        linear=True,
        rescales=True,
        source="Wei et al., ICLR 2023",
        knob="strength",
        grid=_steps(0.0, 1.5, 0.1),
        choices=_choices("delta", (0.05, 0.2)),
        optional=True,
    ),
)
