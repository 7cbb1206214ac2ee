"""The result of an experiment: one `.npz` file, readable with NumPy alone.

`schema.SCHEMA` lists its arrays. The new weight of class `few_classes[i]` is
`weight_few[seed, i]`; all else of the classifier stays.
"""

import importlib.metadata
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alphanet_jax import __version__, files
from alphanet_jax.config.fields import FIELDS
from alphanet_jax.errors import UserError
from alphanet_jax.experiment.loop import Outcome
from alphanet_jax.experiment.problem import Problem
from alphanet_jax.results import schema

__all__ = [
    "FILE_NAME",
    "config_differences",
    "differences",
    "load_result",
    "result_arrays",
    "save_result",
    "setting_key",
    "versions",
]

FILE_NAME = "result.npz"


def versions() -> dict[str, str]:
    """Versions of the software that numbers depend on."""
    packages = ("jax", "jaxlib", "numpy", "optax")
    return {
        "alphanet_jax": __version__,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
    }


def _json(value: Any) -> np.ndarray:
    return np.asarray(json.dumps(value, sort_keys=True))


def result_arrays(
    problems: Problem | Sequence[Problem],
    outcome: Outcome,
    *,
    config: Mapping[str, Any],
) -> dict[str, np.ndarray]:
    """Gathers everything that a result file holds.

    Args:
      problems: The problem; or those of all seeds, where each has neighbors of its
        own.
      outcome: What came of it.
      config: The full configuration, of JSON values.

    Returns:
      Arrays by name, as in the module's docstring.
    """
    if isinstance(problems, Problem):
        problem = problems
        neighbors, distances = problem.neighbors, problem.neighbor_distances
    else:
        problem = problems[0]
        neighbors = np.stack([each.neighbors for each in problems])
        distances = np.stack([each.neighbor_distances for each in problems])
    dataset = problem.dataset
    arrays: dict[str, Any] = {
        "seeds": outcome.seeds,
        "dataset": np.asarray(dataset.name),
        "proper_name": np.asarray(dataset.proper_name),
        "label_names": np.asarray(dataset.label_names or (), np.str_),
        **{f"{split}_classes": classes for split, classes in dataset.splits.items()},
        "class_counts": dataset.class_counts,
        "neighbors": neighbors,
        "neighbor_distances": distances,
        "alphas": outcome.alphas,
        "weight_few": outcome.weight_few,
        "selected_epoch": outcome.selected_epoch,
        "epoch_loss": outcome.epoch_loss,
        "epoch_mean_alphas": outcome.mean_alphas,
        "learning_rate": problem.learning_rates,
        "momentum": np.zeros(0) if problem.momenta is None else problem.momenta,
    }
    for prefix, metrics, predictions in (
        ("val", outcome.val, None),
        ("test", outcome.test, outcome.test_pred),
        ("baseline_val", outcome.baseline_val, None),
        ("baseline_test", outcome.baseline_test, outcome.baseline_test_pred),
    ):
        for name, array in metrics._asdict().items():
            # Per class and epoch would be S * E * C numbers that nothing asks for.
            if not (prefix == "val" and name == "acc_per_class"):
                arrays[f"{prefix}_{name}"] = array
        if predictions is not None:
            arrays[f"{prefix}_pred"] = predictions
    arrays |= {
        "test_labels": dataset.test.labels,
        "config": _json(dict(config)),
        "versions": _json(versions()),
        "file_hashes": _json(dict(dataset.file_hashes)),
    }
    return {name: np.asarray(array) for name, array in arrays.items()}


def save_result(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a result file, whole or not at all; equal arrays give equal bytes."""
    with files.replacing(path) as temporary:
        files.write_npz(temporary, arrays)


_FIELDS = [field for field in FIELDS if not isinstance(field.default, type)]
_PLACES = ("data_root", "registry")


def differences(
    path: Path, *, config: Mapping[str, Any], file_hashes: Mapping[str, str]
) -> list[str] | None:
    """Compares a result file with what a run would be made with.

    Args:
      path: The result file.
      config: The full configuration of the run.
      file_hashes: SHA-256 of its input files.

    Returns:
      Each difference in a few words; an empty list where the run is done already,
      and None where there is no result.
    """
    if not path.exists():
        return None
    try:
        arrays = files.open_npz(path, ("config", "file_hashes", "versions"))
        found = {name: json.loads(str(array)) for name, array in arrays.items()}
        told = config_differences(found["config"], config)
        made_with = found["versions"]["alphanet_jax"]
        old_hashes = sorted(found["file_hashes"].values())
    except (UserError, ValueError, KeyError):
        return ["the file cannot be read"]
    if old_hashes != sorted(file_hashes.values()):
        told.append("other input files")
    if made_with != __version__:
        told.append(f"alphanet_jax {made_with}, now {__version__}")
    return told


def config_differences(
    found: Mapping[str, Any], config: Mapping[str, Any]
) -> list[str]:
    """Tells in which fields a config, as it comes back from a file, differs from one.

    Where files lie does not count: what they hold is compared itself.
    """
    old, new = _settings(found), _settings(_plain(config))
    return [
        f"{name} {old.get(name)!r}, now {new.get(name)!r}"
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    ]


def setting_key(config: Mapping[str, Any]) -> str:
    """Names a setting, whatever its seeds and wherever its files are.

    Args:
      config: A config, as it comes back from a file.
    """
    settings = _settings(config)
    return json.dumps(
        {name: settings[name] for name in settings if name not in ("seed", "seeds")},
        sort_keys=True,
    )


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Gives all fields of a config by their dotted names, but where files lie."""
    # What an earlier version did not have was what is the default now.
    settings = _plain({field.name: field.default for field in _FIELDS})
    settings |= dict(_flatten(config))
    return {name: settings[name] for name in settings if name not in _PLACES}


def _flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the dotted names and values of all leaves of a config."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """Gives a config as it comes back from a file."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(config)))
    return plain


def load_result(
    path: Path, names: Sequence[str] | None = None, *, without: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Loads a result file, or some of its arrays.

    Args:
      path: The file.
      names: Names of the arrays to load; by default all.
      without: Names of arrays not to load.

    Returns:
      The arrays by name, as `schema.SCHEMA` lists them.

    Raises:
      UserError: If the file is missing, damaged or not a result, or one of the loaded
        arrays does not fit the others.
    """
    arrays = files.open_npz(path, names, without=without)
    needed = names or ("alphas", "test_acc_per_split", "config")
    if missing := set(needed) - arrays.keys():
        raise UserError(f"{path}: not a result: {sorted(missing)} missing")
    if misfit := schema.find_misfit(arrays):
        raise UserError(f"{path}: {misfit}")
    return arrays
