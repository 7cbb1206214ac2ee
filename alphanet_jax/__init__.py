"""AlphaNet in JAX: mends the rare classes of a trained long-tailed classifier.

For a notebook, loaded when they are used: `fit`, the one call, and `load_correction`;
`AlphaNetClassifier`, the same for scikit-learn; `Settings`, `Dataset`, `load_data`,
`train`, `load_result`, `add_classes`, `patch_torch`; and all modules, as in
`alphanet_jax.model`. What there is, from the ground up; a room imports from rooms that
stand before it here, and from no others:

    errors           errors of one line, and names that are alike
    version          of the package, which results record
    parsing          JSON, TOML and `.npy` as strangers may have written them
    stages           what people see while they wait, on a terminal and in a log
    hashing          SHA-256 of files, each read once, perhaps ahead
    files            files whole or not at all
    bundled          the configs and the data that come with the program
    outputs          places for output: tried before work, held by one program at a time
    scratch          directories for a while, which no killed process leaves
    staging          several files, all of them or none
    stopping         Ctrl-C and SIGTERM
    splits           few, medium and many classes
    streaming        features in pieces, where they are larger than memory
    measures         numbers that say how good predictions are
    lookup/          activations, schedules and optimizers by PyTorch's and JAX's names
    config/          every setting with its default and help; sweeps; the paper's
    nn_search        mean features -> nearest base classes          (pure)
    scores           features -> scores; coefficients -> logits     (pure)
    sampling         random key -> the batches of an epoch          (pure)
    model            source classifiers -> coefficients             (pure)
    posthoc/         other corrections of the same classifier       (pure)
    train_step       loss, gradient, one step, one epoch            (pure)
    eval             predictions, accuracy, top-5, F1               (pure)
    applying         a trained network -> classes that came later   (pure)
    data/            files of PyTorch and others -> plain arrays -> a checked `Dataset`
    results/         files readable with NumPy alone; tables, combinations, meanings
    pages/           what all HTML pages are made of
    experiment/      all runs of a setting, compiled as one; checkpoints and logs
    comparison/      all corrections side by side, knobs chosen on validation data
    figures/         kinds of figures, and the numbers that they draw
    correction/      the one call: arrays in, a corrected classifier out
    paper/           the paper's experiments, beside its numbers
    report/          a page of what a correction changed, or of a comparison
    estimator        the same as an estimator of scikit-learn
    torch_models     corrected rows into a model of PyTorch, without importing that
    new_classes      a correction -> further rare classes, which came later
    commands/        what is typed: parse, call, print

The program is `alphanet`; its file is `__main__`.
"""

import importlib
from typing import TYPE_CHECKING, Any

from alphanet_jax.version import __version__ as __version__

if TYPE_CHECKING:
    from alphanet_jax import (
        comparison,
        config,
        data,
        eval,
        experiment,
        figures,
        lookup,
        model,
        nn_search,
        posthoc,
        results,
        sampling,
        scores,
        train_step,
    )
    from alphanet_jax.config.fields import Settings
    from alphanet_jax.correction.fitting import fit
    from alphanet_jax.correction.outcome import load_correction
    from alphanet_jax.data.dataset import Dataset
    from alphanet_jax.estimator import AlphaNetClassifier
    from alphanet_jax.experiment.training import load_data, train
    from alphanet_jax.new_classes import add_classes
    from alphanet_jax.results.file import load_result
    from alphanet_jax.torch_models import patch_torch

__all__ = [
    "AlphaNetClassifier",
    "Dataset",
    "Settings",
    "add_classes",
    "comparison",
    "config",
    "data",
    "eval",
    "experiment",
    "figures",
    "fit",
    "load_correction",
    "load_data",
    "load_result",
    "lookup",
    "model",
    "nn_search",
    "patch_torch",
    "posthoc",
    "results",
    "sampling",
    "scores",
    "train",
    "train_step",
]

# Public name -> the module that has it. The others of `__all__` are modules themselves.
_HOMES = {
    "AlphaNetClassifier": "alphanet_jax.estimator",
    "Dataset": "alphanet_jax.data.dataset",
    "Settings": "alphanet_jax.config.fields",
    "add_classes": "alphanet_jax.new_classes",
    "fit": "alphanet_jax.correction.fitting",
    "load_correction": "alphanet_jax.correction.outcome",
    "load_data": "alphanet_jax.experiment.training",
    "load_result": "alphanet_jax.results.file",
    "patch_torch": "alphanet_jax.torch_models",
    "train": "alphanet_jax.experiment.training",
}


def __getattr__(name: str) -> Any:
    """Loads a public name when it is first used: jax takes a second."""
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    elif name in __all__:
        value = importlib.import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Lists public names, loaded or not."""
    return sorted({*globals(), *__all__})
