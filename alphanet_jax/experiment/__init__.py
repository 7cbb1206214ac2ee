"""Training: every seed of every setting at once, selected, tested and recorded.

    training   the one function that trains, `train`, for commands and notebooks
    work       points made parts, and all that is opened and written around training
    problem    a setting with its dataset, prepared: neighbors, frozen parts, samplers
    cohorts    runs that share a compiled program
    memory     how many of them train at a time
    programs   the compiled functions: those of one run, lifted over runs by `vmap`
    loop       the loop over cohorts, and `epochs` that over epochs; `hooks` says what
               may look on and keep states
    outcome    what came of it, and the arrays of a result file
    gathering  parts that are done, put together as points and saved

Around them: `ahead` compiles programs in threads before they are called, as `foreseen`
says they will be, and `kernels` says what GPUs multiply with; `feature_pass` and
`cohort_scores` score features larger than memory, `devices` places arrays on several
devices, `neighbor_cache`, `checkpoints` and `tb_logs` with `run_logs` keep things on
disk, which `bookkeeping` tells of every epoch;
`beginning` has a network to begin with, `failures` notes what goes wrong with single
points, and `progress` has what people read while they wait.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alphanet_jax.experiment.training import Trained, load_data, train

__all__ = ["Trained", "load_data", "train"]


def __getattr__(name: str) -> Any:
    # Loaded when used: importing one file here must not import all of them.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from alphanet_jax.experiment import training

    return getattr(training, name)
