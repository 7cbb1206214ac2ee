"""Trains a small sweep on several devices, for `test_devices`.

    python tests/sweep_on_devices.py FILE.npz [ADDRESS NUM_PROCESSES PROCESS]

Writes the outcomes of every point, and how the state of training was laid out. With an
address it is one of several processes, which share the sweep.
"""

import sys
from pathlib import Path

# From a checkout it runs without being installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import numpy as np
from outcomes import arrays
from test_points import make_points

from alphanet_jax.experiment import devices, loop, programs

# Eleven runs of five points, and a run that diverges, in one program.
CHANGES = [
    ({}, (0, 1, 2)),
    ({"rho": 0.3, "pred_scale": 3.0}, (4,)),
    ({"rho": 1.0, "optim_params": {"lr": 0.003}}, (2, 0, 9)),
    ({"rho": 0.1}, (5, 6)),
    ({"min_epochs": 4}, (7, 8)),
    ({"optim_params": {"lr": 1e30}}, (0,)),
]


def sweep():
    """Arrays of every outcome by `point/name`; the text of an error as it is."""
    found = {}
    for index, outcome in loop.run_parts(make_points(CHANGES)):
        if isinstance(outcome, Exception):
            found[f"{index}/error"] = np.asarray(str(outcome))
        else:
            found |= {f"{index}/{name}": a for name, a in arrays(outcome).items()}
    return found


def layout(tree):
    """For every array: devices, those that hold all of it, parts along runs."""
    rows = []
    for leaf in jax.tree.leaves(tree):
        sharding = leaf.sharding
        parts = {
            s.indices(len(leaf))[:2]
            for (s, *_) in (sharding.devices_indices_map(leaf.shape).values())
        }
        rows.append(
            (len(sharding.device_set), sharding.is_fully_replicated, len(parts))
        )
    return np.asarray(rows)


def main(path, address="", num_processes="1", process="0"):
    if address:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(address, int(num_processes), int(process))
    seen = {}
    real = programs.train_epoch

    def watching(static, runs, *args):
        runs, record = real(static, runs, *args)
        seen["state"], seen["losses"] = layout(runs), layout(record.losses)
        return runs, record

    programs.train_epoch = watching
    found = sweep()
    found["process"] = np.asarray(
        [jax.process_count(), jax.device_count(), devices.is_first_process()]
    )
    gib = 5 - 2 * jax.process_index()
    found["least"] = np.asarray(devices.least_bytes(gib << 30) >> 20)
    np.savez(path, **found, **{f"layout/{name}": x for name, x in seen.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
