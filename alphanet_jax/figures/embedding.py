"""Vectors put into the plane so that distances change as little as possible."""

import numpy as np

from alphanet_jax.errors import UserError

__all__ = ["embed"]


def embed(
    vectors: np.ndarray, *, n_pcs: int, mds_iters: int
) -> tuple[np.ndarray, float]:
    """Puts vectors into the plane so that distances change as little as possible.

    Scaling starts from the first two principal components, so nothing is random.

    Args:
      vectors: Vectors, with shape `[n, d]`.
      n_pcs: Principal components that distances are taken in, at most.
      mds_iters: Most iterations.

    Returns:
      Places in the plane, with shape `[n, 2]`, and their stress.

    Raises:
      UserError: If scikit-learn is not installed.
    """
    try:
        from sklearn import decomposition, manifold
    except ImportError:
        raise UserError(
            "this figure needs scikit-learn: pip install 'alphanet_jax[plots]'"
        ) from None
    if not np.ptp(vectors, axis=0).any():  # all the same
        return np.zeros((len(vectors), 2)), 0.0
    pca = decomposition.PCA(min(n_pcs, *vectors.shape), svd_solver="full")
    parts = pca.fit_transform(vectors)
    distances = np.linalg.norm(parts[:, None] - parts[None], axis=-1)
    start = np.zeros((len(vectors), 2))
    start[:, : parts.shape[1]] = parts[:, :2]
    # The function rather than the class, whose arguments change with versions.
    found, _ = manifold.smacof(
        distances,
        n_components=2,
        init=start,
        n_init=1,
        max_iter=mds_iters,
        eps=1e-9,
        normalized_stress=False,
    )
    flat = np.linalg.norm(found[:, None] - found[None], axis=-1)
    errors, scale = ((flat - distances) ** 2).sum(), (flat**2).sum()
    return found, float(np.sqrt(errors / scale)) if scale > 0.0 else 0.0
