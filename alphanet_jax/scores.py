r"""The score identity: all that training and evaluation ask about a sample.

The classifier W, b is linear and frozen, and the new weight vector of a 'few' class f
is a combination of rows of W, so its logit for a sample x is one of known numbers:

    x . w_new[f] + b[f]  =  sum_j alpha[f, j] * Z[x, src[f, j]]  +  b[f],    Z = X W^T

'Base' logits never change; in the softmax they are one number for each sample. One
pass over the features is therefore all that is needed, and it is exact: the same
function as the dense one, to float32 rounding.

Notation: n samples, d feature dimensions, C classes, F 'few' classes, A 'base'
classes, k neighbors, M distinct source classes.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.typing import ArrayLike

from alphanet_jax.nn_search import Sources, make_sources, source_classes

__all__ = [
    "TOP",
    "Frozen",
    "ScoreTable",
    "few_logits",
    "few_logits_by_source",
    "make_frozen",
    "places_of_classes",
    "score_table",
    "score_table_and_products",
    "take_rows",
]

TOP = 5  # base logits kept for each sample: enough for top-1 to top-5


@struct.dataclass
class Frozen:
    """The parts of a problem that no training changes and no sample brings.

    Class ids are in ascending order, so that ties between logits go to the lower
    class as in an argmax over all classes.
    """

    few_classes: jax.Array | np.ndarray  # shape=(F,), dtype=jnp.int32.
    few_bias: jax.Array | np.ndarray  # shape=(F,).
    source_classes: jax.Array | np.ndarray  # shape=(M,): whose scores are kept.
    source_index: jax.Array | np.ndarray  # shape=(F, k + 1): columns of source_scores.
    sources: Sources  # input of the network.


@struct.dataclass
class ScoreTable:
    """The frozen classifier's scores of n samples."""

    labels: jax.Array  # shape=(n,), dtype=jnp.int32; -1 marks padding.
    few_target: jax.Array  # shape=(n,): index of the label in few_classes, or -1.
    source_scores: jax.Array  # shape=(n, M): without bias.
    base_logsumexp: jax.Array  # shape=(n,): of scaled base logits less the largest.
    base_target_logit: jax.Array  # shape=(n,): -inf where the label is not base.
    top_logits: jax.Array  # shape=(n, TOP): best base logits, best first.
    top_classes: jax.Array  # shape=(n, TOP), dtype=jnp.int32.


def make_frozen(
    weight: ArrayLike,
    bias: ArrayLike,
    few_classes: ArrayLike,
    neighbors: ArrayLike,
    *,
    same_shape: bool = False,
) -> Frozen:
    """Gathers the sources of every few class; runs on the host.

    Args:
      weight: Weights of the classifier, with shape `[C, d]`.
      bias: Biases of the classifier, with shape `[C]`.
      few_classes: Class ids in ascending order, with shape `[F]`.
      neighbors: Their neighbors, nearest first, with shape `[F, k]`.
      same_shape: Whether arrays of other neighbors have the same shapes, too, which
        keeps programs from being compiled for each; they are larger then.

    Returns:
      What training does not change.

    Raises:
      ValueError: If shapes do not fit each other or ids are not ascending.
    """
    weight, bias = np.asarray(weight, np.float32), np.asarray(bias, np.float32)
    few_classes, neighbors = np.asarray(few_classes), np.asarray(neighbors)
    if neighbors.ndim != 2 or few_classes.shape != neighbors.shape[:1]:
        raise ValueError(
            "few_classes must be (F,) and neighbors (F, k), got "
            f"{few_classes.shape} and {neighbors.shape}."
        )
    if (np.diff(few_classes) <= 0).any():
        raise ValueError(f"few_classes must ascend, got {few_classes.tolist()}.")
    sources = source_classes(few_classes, neighbors)
    distinct, index = np.unique(sources, return_inverse=True)
    made = make_sources(weight, sources)
    if same_shape:  # nothing is shared, and the last class fills up
        num_few, num_places = sources.shape
        most = min(sources.size, len(weight))
        distinct = np.pad(distinct, (0, most - len(distinct)), mode="edge")
        made = Sources(
            tuple(weight[place] for place in sources.T),
            np.tile(np.arange(num_few, dtype=np.int32)[:, None], num_places),
        )
    return Frozen(
        few_classes=few_classes.astype(np.int32),
        few_bias=bias[few_classes],
        source_classes=distinct.astype(np.int32),
        source_index=index.reshape(sources.shape).astype(np.int32),
        sources=made,
    )


def score_table(
    features: ArrayLike,
    labels: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike,
    *,
    few_classes: ArrayLike,
    base_classes: ArrayLike,
    source_classes: ArrayLike,
    pred_scale: ArrayLike = 1.0,
) -> ScoreTable:
    """Scores samples with the frozen classifier.

    Args:
      features: Features, with shape `[n, d]` and any float dtype.
      labels: Classes of the rows, with shape `[n]`; -1 marks padding.
      weight: Weights of the classifier, with shape `[C, d]`.
      bias: Biases of the classifier, with shape `[C]`.
      few_classes: Class ids in ascending order, with shape `[F]`.
      base_classes: All other class ids in ascending order, with shape `[A]`.
      source_classes: Distinct class ids whose scores are kept, with shape `[M]`.
      pred_scale: Factor on all logits before the softmax, a scalar; or several, with
        shape `[P]`, then `base_logsumexp` has the shape `[n, P]`.

    Returns:
      The scores. Where there are fewer than `TOP` base classes, logits of -inf
      fill up.

    Raises:
      ValueError: If shapes do not fit each other.
    """
    return score_table_and_products(
        features,
        labels,
        weight,
        bias,
        few_classes=few_classes,
        base_classes=base_classes,
        source_classes=source_classes,
        pred_scale=pred_scale,
    )[0]


def places_of_classes(few_classes: ArrayLike, base_classes: ArrayLike) -> np.ndarray:
    """Finds the column that each class has where base classes come first, `[C]`."""
    order = np.concatenate([np.asarray(base_classes), np.asarray(few_classes)])
    return np.argsort(order)


def score_table_and_products(
    features: ArrayLike,
    labels: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike,
    *,
    few_classes: ArrayLike,
    base_classes: ArrayLike,
    source_classes: ArrayLike,
    pred_scale: ArrayLike = 1.0,
) -> tuple[ScoreTable, jax.Array]:
    """Scores samples as `score_table` does, and gives what the scores were made of.

    Args:
      features: As all others, those of `score_table`.
      labels: See there.
      weight: See there.
      bias: See there.
      few_classes: See there.
      base_classes: See there.
      source_classes: See there.
      pred_scale: See there.

    Returns:
      The scores; and the products of features and weights, with shape `[n, C]`, base
      classes first, then few ones: `places_of_classes` finds the columns.

    Raises:
      ValueError: If shapes do not fit each other.
    """
    features = jnp.asarray(features, jnp.float32)
    labels = jnp.asarray(labels, jnp.int32)
    weight = jnp.asarray(weight, jnp.float32)
    bias = jnp.asarray(bias, jnp.float32)
    few_classes = jnp.asarray(few_classes, jnp.int32)
    base_classes = jnp.asarray(base_classes, jnp.int32)
    if features.ndim != 2 or features.shape[1:] != weight.shape[1:]:
        raise ValueError(
            f"features must be (n, d) and weight (C, d), got {features.shape} and "
            f"{weight.shape}."
        )
    if bias.shape != weight.shape[:1] or labels.shape != features.shape[:1]:
        raise ValueError(
            f"bias must be (C,) and labels (n,), got {bias.shape} and {labels.shape} "
            f"for weight {weight.shape} and features {features.shape}."
        )
    num_few, num_base = few_classes.shape[0], base_classes.shape[0]
    if num_few + num_base != weight.shape[0]:
        raise ValueError(
            "few_classes and base_classes must be all classes, got "
            f"{num_few} + {num_base} of {weight.shape[0]}."
        )
    # Rows of W in the order base, few: base logits are then a slice, not a copy.
    order = jnp.concatenate([base_classes, few_classes])
    position = jnp.argsort(order)
    scores = jnp.matmul(features, weight[order].T, precision="highest")
    base_logits = scores[:, :num_base] + bias[base_classes][None, :]

    scales = jnp.asarray(pred_scale)

    def scaled_logsumexp(scale: jax.Array) -> jax.Array:
        shifted = base_logits - base_logits.max(axis=1, keepdims=True)
        return jax.nn.logsumexp(scale * shifted, axis=1)

    top = min(TOP, num_base)
    top_logits, top_index = jax.lax.top_k(base_logits, top)
    padding = ((0, 0), (0, TOP - top))
    target = jnp.where(labels >= 0, position[labels], num_base)  # in base, few order
    is_base = target < num_base
    base_target_logit = jnp.take_along_axis(
        base_logits, jnp.where(is_base, target, 0)[:, None], axis=1
    )[:, 0]
    table = ScoreTable(
        labels=labels,
        few_target=jnp.where(is_base | (labels < 0), -1, target - num_base),
        source_scores=scores[:, position[jnp.asarray(source_classes)]],
        # Less the largest, so that no digits go to a common offset of the logits. It
        # is not top_logits[:, :1]: a slice would keep XLA from its fast top-k on CPUs.
        base_logsumexp=(
            jax.vmap(scaled_logsumexp, out_axes=1)(scales)
            if scales.ndim
            else scaled_logsumexp(scales)
        ),
        base_target_logit=jnp.where(is_base, base_target_logit, -jnp.inf),
        top_logits=jnp.pad(top_logits, padding, constant_values=-jnp.inf),
        # A class id past all others loses every tie of the filled-up entries.
        top_classes=jnp.pad(
            base_classes[top_index], padding, constant_values=weight.shape[0]
        ),
    )
    return table, scores


def take_rows(table: ScoreTable, rows: ArrayLike) -> ScoreTable:
    """Takes the scores of some samples, for example of a batch."""
    taken: ScoreTable = jax.tree.map(lambda column: jnp.asarray(column)[rows], table)
    return taken


def few_logits(
    alphas: ArrayLike,
    source_scores: ArrayLike,
    source_index: ArrayLike,
    few_bias: ArrayLike,
) -> jax.Array:
    """Computes the logits of the few classes from source scores.

    Args:
      alphas: Combination coefficients, with shape `[F, k + 1]`.
      source_scores: Scores of the source classes, with shape `[n, M]`.
      source_index: Columns of `source_scores`, with shape `[F, k + 1]`.
      few_bias: Biases of the few classes, with shape `[F]`.

    Returns:
      Logits, with shape `[n, F]`.

    Examples:
      >>> few_logits([[1.0, -0.5]], [[3.0, 4.0]], [[1, 0]], [0.25]).tolist()
      [[2.75]]
    """
    gathered = jnp.asarray(source_scores).T[jnp.asarray(source_index)]  # (F, k+1, n)
    logits = jnp.einsum(
        "fj,fjn->nf", jnp.asarray(alphas), gathered, precision="highest"
    )
    return logits + jnp.asarray(few_bias)[None, :]


def few_logits_by_source(
    alphas: ArrayLike,
    source_scores: ArrayLike,
    source_index: ArrayLike,
    few_bias: ArrayLike,
) -> jax.Array:
    """Computes what `few_logits` does, for many samples at a time.

    With samples last, a source's scores are one piece of memory that CPUs combine at
    full width: several times faster than `few_logits` for a thousand samples, and
    slower for the few of a batch, whose scores come sample by sample.

    Args:
      alphas: Combination coefficients, with shape `[F, k + 1]`.
      source_scores: Scores of the source classes, with shape `[M, n]`.
      source_index: Rows of `source_scores`, with shape `[F, k + 1]`.
      few_bias: Biases of the few classes, with shape `[F]`.

    Returns:
      Logits, with shape `[F, n]`.
    """
    alphas, source_scores = jnp.asarray(alphas), jnp.asarray(source_scores)
    source_index, few_bias = jnp.asarray(source_index), jnp.asarray(few_bias)
    logits = few_bias[:, None]
    for place in range(alphas.shape[1]):
        # The barrier keeps rows copied as rows: fused with the sum, they would be
        # looked up number by number.
        rows = jax.lax.optimization_barrier(source_scores[source_index[:, place]])
        logits = logits + alphas[:, place, None] * rows
    return logits
