"""A network to begin with: that of a checkpoint of the original program.

What else a checkpoint of it has, such as the optimizer's memory, belongs to random
numbers that nobody can draw again, so that epochs are counted anew.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from alphanet_jax import hashing, model
from alphanet_jax.data.dataset import Dataset
from alphanet_jax.errors import UserError
from alphanet_jax.experiment import cohorts, programs
from alphanet_jax.experiment.problem import Problem

__all__ = ["Beginning", "find_beginning"]


@dataclasses.dataclass(frozen=True, eq=False)
class Beginning:
    """A network that all runs begin with.

    Attributes:
      path: The checkpoint that it is from.
      params: Its parameters.
    """

    path: Path
    params: model.Params

    def mark(self, data: Dataset) -> Dataset:
        """Adds the checkpoint to what results are known to depend on."""
        sha256 = hashing.content_hash(self.path)
        hashes = {**data.file_hashes, f"ckpt_dir/{self.path.name}": sha256}
        return dataclasses.replace(data, file_hashes=hashes)

    def check(self, problems: Sequence[Problem]) -> None:
        """Checks that the network is one of the sizes that settings ask for.

        Raises:
          UserError: If it is not.
        """
        for problem in problems:
            sizes = cohorts.network_sizes(problem)
            seeds = jax.ShapeDtypeStruct((1,), np.uint32)
            wanted = programs.draw_params.eval_shape(sizes, seeds)
            shapes = [leaf.shape[1:] for leaf in jax.tree.leaves(wanted)]
            found = [np.shape(leaf) for leaf in jax.tree.leaves(self.params)]
            if shapes != found:
                raise UserError(
                    f"{self.path}: its network has parameters of shapes "
                    f"{_listed(found)}, but n_neighbors, hdims and the features ask "
                    f"for {_listed(shapes)}; --noload_from_ckpt begins with a new one"
                )

    def stacked(self, count: int) -> model.Params:
        """Repeats the parameters for some runs, on a leading axis."""
        params: model.Params = jax.tree.map(
            lambda leaf: np.broadcast_to(leaf, (count, *np.shape(leaf))), self.params
        )
        return params


def find_beginning(directory: Path | None) -> Beginning | None:
    """Finds the newest checkpoint of the original program in a directory.

    Args:
      directory: That of checkpoints; None for none.

    Returns:
      Its network; None where there is no such checkpoint.

    Raises:
      UserError: If it cannot be read.
    """
    if directory is None:
        return None
    # Imported here: it takes a while, and most runs keep no checkpoints.
    from alphanet_jax.results import pytorch

    path = pytorch.newest_checkpoint(directory)
    if path is None:
        return None
    record = pytorch.load_record(path, checkpoint=True)
    if not record.is_checkpoint:
        raise UserError(
            f"{path}: a result, not a checkpoint; choose another --ckpt_dir"
        )
    params = jax.tree.map(
        lambda leaf: np.asarray(leaf, np.float32),
        model.params_from_torch(record.network),
    )
    return Beginning(path, params)


def _listed(shapes: Sequence[tuple[int, ...]]) -> str:
    return ", ".join("x".join(map(str, shape)) or "1" for shape in shapes)
