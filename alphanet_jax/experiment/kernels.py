"""Which kernels a GPU multiplies with: those of its library, none of them timed first.

Left to itself, XLA compiles dozens of kernels of its own for every product, times them
beside the library's, and keeps the fastest. For products in full float32 that takes
most of a first run, gains nothing over the library's kernels, and the last bits of a
result depend on what won. The library's own choice is the same every time.
"""

import importlib.util
import os
from collections.abc import Mapping, MutableMapping

__all__ = ["are_timed", "settle"]

_VARIABLE = "XLA_FLAGS"
_TIMING = "--xla_gpu_autotune_level"
_SETTLED = {"--xla_gpu_enable_triton_gemm": "false", _TIMING: "0"}


def _flags(environment: Mapping[str, str]) -> dict[str, str]:
    """Lists the flags by name, the last of each; a flag alone is on."""
    given = (flag.partition("=") for flag in environment.get(_VARIABLE, "").split())
    return {name: value if sign else "true" for name, sign, value in given}


def _has_cuda() -> bool:
    """Tells whether JAX can use NVIDIA GPUs, without starting it."""
    names = (f"jax_plugins.xla_cuda{version}" for version in (12, 13))
    try:
        return any(importlib.util.find_spec(name) for name in names)
    except ModuleNotFoundError:  # no plugins at all
        return False


def settle(environment: MutableMapping[str, str] = os.environ) -> None:
    """Chooses the library's kernels where there may be an NVIDIA GPU.

    XLA reads its flags when JAX starts its first device, so this comes before. Flags
    that are given already stay as they are.

    Args:
      environment: Environment variables.
    """
    if not _has_cuda():
        return
    given = _flags(environment)
    missing = [
        f"{name}={value}" for name, value in _SETTLED.items() if name not in given
    ]
    if missing:
        environment[_VARIABLE] = " ".join(
            [environment.get(_VARIABLE, ""), *missing]
        ).strip()


def are_timed(environment: Mapping[str, str] = os.environ) -> bool:
    """Tells whether a GPU's kernels are chosen by their speed.

    Then programs are better compiled one at a time, with nothing beside.

    Args:
      environment: Environment variables.
    """
    return _flags(environment).get(_TIMING) != "0"
