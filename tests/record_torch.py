"""Records what PyTorch's optimizers, schedules and activations do.

`python tests/record_torch.py` writes `recorded/torch_optim.npz` anew; the tests compare
with it, and do so without PyTorch. All in float64 but for one case. What is there was
recorded with PyTorch 2.13.
"""

import warnings
from pathlib import Path

import numpy as np

PATH = Path(__file__).parent / "recorded" / "torch_optim.npz"
STEPS = 200
KEPT = np.array([1, 2, 3, 5, 10, 20, 50, 100, 200]) - 1
EPOCHS = 30
LEARNING_RATE = 0.3

OPTIMIZERS = [
    ("SGD", {}),
    ("SGD", {"momentum": 0.9}),
    ("SGD", {"momentum": 0.9, "dampening": 0.5, "weight_decay": 0.1}),
    ("SGD", {"momentum": 0.8, "nesterov": True, "weight_decay": 0.01}),
    ("SGD", {"maximize": True, "weight_decay": 0.1}),
    ("Adam", {}),
    ("Adam", {"betas": [0.8, 0.95], "eps": 1e-3, "weight_decay": 0.1}),
    ("Adam", {"amsgrad": True}),
    ("Adam", {"decoupled_weight_decay": True, "weight_decay": 0.3}),
    ("Adam", {"maximize": True, "weight_decay": 0.1}),
    ("AdamW", {}),
    ("AdamW", {"betas": [0.8, 0.95], "eps": 1e-3, "weight_decay": 0.3}),
    ("AdamW", {"amsgrad": True, "betas": [0.9, 0.9], "weight_decay": 0.1}),
    ("AdamW", {"maximize": True, "betas": [0.0, 0.99]}),
    ("NAdam", {}),
    ("NAdam", {"momentum_decay": 0.1, "betas": [0.8, 0.95], "weight_decay": 0.1}),
    ("NAdam", {"momentum_decay": 0, "decoupled_weight_decay": True, "eps": 1e-3}),
    ("NAdam", {"decoupled_weight_decay": True, "weight_decay": 0.2}),
    ("RAdam", {}),
    ("RAdam", {"betas": [0.8, 0.95], "eps": 1e-3, "weight_decay": 0.1}),
    ("RAdam", {"decoupled_weight_decay": True, "weight_decay": 0.2}),
    ("RAdam", {"betas": [0.9, 0.6]}),
    ("RAdam", {"betas": [0.9, 0.9999]}),
    ("Adamax", {}),
    ("Adamax", {"betas": [0.8, 0.95], "eps": 1e-3, "weight_decay": 0.1}),
    ("Adagrad", {}),
    (
        "Adagrad",
        {
            "lr_decay": 0.05,
            "initial_accumulator_value": 0.5,
            "eps": 1e-3,
            "weight_decay": 0.1,
        },
    ),
    ("Adadelta", {}),
    ("Adadelta", {"rho": 0.5, "eps": 1e-3, "weight_decay": 0.1}),
    ("RMSprop", {}),
    ("RMSprop", {"alpha": 0.8, "eps": 1e-3, "weight_decay": 0.1}),
    ("RMSprop", {"centered": True, "alpha": 0.9}),
    ("RMSprop", {"momentum": 0.9}),
    ("RMSprop", {"centered": True, "momentum": 0.5, "weight_decay": 0.1}),
    ("ASGD", {}),
    ("ASGD", {"lambd": 0.1, "alpha": 0.5, "weight_decay": 0.1}),
    ("Rprop", {}),
    ("Rprop", {"etas": [0.3, 1.5], "step_sizes": [1e-3, 0.2], "maximize": True}),
    ("Adafactor", {}),
    ("Adafactor", {"eps": [1e-8, 1e-3]}),
    (
        "Adafactor",
        {"beta2_decay": -0.5, "eps": [1e-4, 0.01], "d": 2.0, "weight_decay": 0.1},
    ),
]

# Those whose momentum or first beta is changed on the way.
CYCLED = [
    ("SGD", {}),
    ("SGD", {"momentum": 0.9, "dampening": 0.3}),
    ("SGD", {"momentum": 0.9, "nesterov": True}),
    ("RMSprop", {"weight_decay": 0.1}),
    ("Adam", {"weight_decay": 0.1}),
    ("AdamW", {}),
    ("AdamW", {"amsgrad": True}),
    ("NAdam", {}),
    ("RAdam", {}),
    ("Adamax", {}),
]

SCHEDULES = [
    ("StepLR", {"step_size": 7}),
    ("StepLR", {"step_size": 1, "gamma": 0.9}),
    ("MultiStepLR", {"milestones": [3, 11, 12, 40]}),
    ("MultiStepLR", {"milestones": [9, 0, 4, 4], "gamma": 0.7}),
    ("ExponentialLR", {"gamma": 0.83}),
    ("ExponentialLR", {"gamma": 1.02}),
    ("CosineAnnealingLR", {"T_max": 30}),
    ("CosineAnnealingLR", {"T_max": 7, "eta_min": 0.01}),
    ("CosineAnnealingLR", {"T_max": 1}),
    ("CosineAnnealingLR", {"T_max": 4, "eta_min": 0.9}),
    ("CosineAnnealingWarmRestarts", {"T_0": 10}),
    ("CosineAnnealingWarmRestarts", {"T_0": 3, "T_mult": 2, "eta_min": 0.02}),
    ("CosineAnnealingWarmRestarts", {"T_0": 1, "T_mult": 3}),
    ("LinearLR", {}),
    ("LinearLR", {"start_factor": 0.9, "end_factor": 0.05, "total_iters": 17}),
    ("LinearLR", {"end_factor": 0.5, "total_iters": 0}),
    ("ConstantLR", {}),
    ("ConstantLR", {"factor": 0.1, "total_iters": 12}),
    ("ConstantLR", {"factor": 0.5, "total_iters": 0}),
    ("PolynomialLR", {}),
    ("PolynomialLR", {"total_iters": 22, "power": 2.5}),
    ("PolynomialLR", {"total_iters": 40, "power": 0.5}),
    ("PolynomialLR", {"total_iters": 0}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 30}),
    (
        "OneCycleLR",
        {
            "max_lr": 2.0,
            "epochs": 8,
            "steps_per_epoch": 5,
            "pct_start": 0.4,
            "anneal_strategy": "linear",
            "base_momentum": 0.5,
            "max_momentum": 0.7,
            "div_factor": 10,
            "final_div_factor": 50,
        },
    ),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 33, "three_phase": True}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 30, "pct_start": 0.0}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 31, "cycle_momentum": False}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.4, "step_size_up": 4}),
    (
        "CyclicLR",
        {
            "base_lr": 0.01,
            "max_lr": 0.4,
            "step_size_up": 3,
            "step_size_down": 5,
            "mode": "triangular2",
            "base_momentum": 0.2,
            "max_momentum": 0.6,
        },
    ),
    (
        "CyclicLR",
        {
            "base_lr": 0.1,
            "max_lr": 0.4,
            "step_size_up": 5,
            "step_size_down": 0,
            "mode": "exp_range",
            "gamma": 0.9,
        },
    ),
    ("CyclicLR", {"base_lr": 0.1, "max_lr": 0.4, "cycle_momentum": False}),
]

ACTIVATIONS = [
    "celu",
    "elu",
    "gelu",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "logsigmoid",
    "mish",
    "relu",
    "relu6",
    "rrelu",
    "selu",
    "sigmoid",
    "silu",
    "softplus",
    "softshrink",
    "softsign",
    "tanh",
    "tanhshrink",
]
# Every kink, its neighborhood, and numbers far away. All are exact in float32.
_HALF = [0.0, 2.0**-20, 0.25, 0.5, 0.625, 1.0, 1.5, 2.0, 3.0, 3.5, 5.0, 6.0, 6.5]
_HALF += [9.0, 15.0, 20.0, 20.5, 100.0, 1e4, 2.0**100]
GRID = np.array([-x for x in reversed(_HALF)] + _HALF[1:])


def label(name, params):
    """Names a case."""
    return f"{name}({', '.join(f'{k}={v}' for k, v in params.items())})"


def course():
    """Parameters, gradients of all sizes, rates and momenta that change every 10 steps.

    Numbers that float32 holds, so that it can begin with the same.
    """
    rng = np.random.default_rng(0)
    params = {"matrix": rng.normal(size=(2, 3)), "vector": rng.normal(size=3)}
    sizes = 10.0 ** rng.integers(-6, 3, STEPS)
    grads = {
        name: rng.normal(size=(STEPS, *array.shape))
        * sizes.reshape(-1, *[1] * array.ndim)
        for name, array in params.items()
    }
    grads["matrix"][:4, 1, 2] = 0.0
    grads["vector"][30:40, 0] = 0.0
    grads["vector"][50:90, 1] = 0.5  # a variance of 0
    rates = np.repeat(rng.uniform(0.01, 0.1, STEPS // 10), 10)
    momenta = np.repeat(rng.uniform(0.6, 0.95, STEPS // 10), 10)
    arrays = {f"start/{name}": array for name, array in params.items()}
    arrays |= {f"grads/{name}": array for name, array in grads.items()}
    arrays |= {"rates": rates, "momenta": momenta}
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def run_optimizer(name, params, arrays, *, cycled=False, dtype="float64"):
    """Parameters after the kept steps, all in one row for each."""
    import torch

    previous = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))  # that of scalars in its memory too
    leaves = [
        torch.tensor(arrays[f"start/{part}"].astype(dtype), requires_grad=True)
        for part in ("matrix", "vector")
    ]
    optimizer = getattr(torch.optim, name)(leaves, **params)
    (group,) = optimizer.param_groups
    kept = []
    for step in range(STEPS):
        group["lr"] = float(arrays["rates"][step])
        if cycled and "betas" in group:
            group["betas"] = (float(arrays["momenta"][step]), group["betas"][1])
        elif cycled:
            group["momentum"] = float(arrays["momenta"][step])
        for leaf, part in zip(leaves, ("matrix", "vector"), strict=True):
            leaf.grad = torch.tensor(arrays[f"grads/{part}"][step].astype(dtype))
        optimizer.step()
        row = [leaf.detach().numpy().ravel() for leaf in leaves]
        kept.append(np.concatenate(row).copy())
    torch.set_default_dtype(previous)
    return np.array(kept)[KEPT]


def run_schedule(name, params):
    """Learning rate and momentum of every epoch."""
    import torch

    leaf = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([leaf], lr=LEARNING_RATE, momentum=0.5)
    (group,) = optimizer.param_groups
    schedule = getattr(torch.optim.lr_scheduler, name)(optimizer, **params)
    epochs = []
    for epoch in range(EPOCHS):
        if epoch:
            schedule.step()
        epochs.append((group["lr"], group["momentum"]))
        optimizer.step()
    return np.array(epochs)


def run_activation(name):
    """Values and slopes at `GRID`."""
    import torch

    x = torch.tensor(GRID, requires_grad=True)
    y = getattr(torch.nn.functional, name)(x)
    y.sum().backward()
    return np.stack([y.detach().numpy(), x.grad.numpy()])


def record():
    """All arrays of the file, by name; of each kind of case one, in their order."""
    arrays = course()
    arrays["optimizers"] = np.stack(
        [run_optimizer(*case, arrays) for case in OPTIMIZERS]
    )
    arrays["cycled"] = np.stack(
        [run_optimizer(*case, arrays, cycled=True) for case in CYCLED]
    )
    # What it does by default depends on the dtype.
    arrays["adafactor_float32"] = run_optimizer(
        "Adafactor", {}, arrays, dtype="float32"
    )
    arrays["schedules"] = np.stack([run_schedule(*case) for case in SCHEDULES])
    arrays["activations"] = np.stack([run_activation(name) for name in ACTIVATIONS])
    cases = [label(*case) for case in (*OPTIMIZERS, *CYCLED, *SCHEDULES)]
    arrays["cases"] = np.array([*cases, *ACTIVATIONS])
    return arrays


def main():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.savez_compressed(PATH, **record())


if __name__ == "__main__":
    main()
