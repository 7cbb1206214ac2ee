"""Optimizers by PyTorch's names, with its meanings, and by optax's, with optax's.

The optimizer takes the rate of the moment as the extra argument `learning_rate` of its
`update`, and a momentum that a schedule changes as `momentum`, so neither a schedule
nor a sweep over rates recompiles a training step. Schedules are in `schedules`, and
PyTorch's rules in `transforms`.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from alphanet_jax.lookup import by_name, transforms
from alphanet_jax.lookup.by_name import Param, Row, check
from alphanet_jax.lookup.transforms import with_decay

__all__ = ["OPTAX_OPTIMIZERS", "OPTIMIZERS", "Optimizer", "make_optimizer"]


class Optimizer(NamedTuple):
    """A gradient transformation, and what a schedule depends on.

    Attributes:
      transform: Its `update` takes the extra arguments `learning_rate` and, if it was
        built to have its momentum changed, `momentum`.
      learning_rate: The learning rate that a schedule begins with.
      has_momentum: Whether it has a momentum, or first beta, that could be changed.
    """

    transform: optax.GradientTransformationExtraArgs
    learning_rate: float
    has_momentum: bool = False


def _adafactor_eps(name: str, value: Any) -> Any:
    # The first may be null: as much as the dtype resolves.
    if isinstance(value, list | tuple) and len(value) == 2 and value[0] is None:
        check(name.replace(": ", ": the second of "), value[1])
        return value
    return check(name, value, "two in [0, inf)")


def _or_none(name: str, value: Any) -> Any:
    return value if value is None else check(name, value)


_BETAS = Param((0.9, 0.999), "two in [0, 1)")

# By the names of torch.optim: the rule, and the parameters with PyTorch's defaults and
# what they may be; see `Row`. Weight decay acts through the gradients where it is not
# decoupled: Adam with it is not AdamW.
# fmt: off
OPTIMIZERS: dict[str, Row] = {
    "ASGD": Row(
        with_decay(transforms.asgd, takes_lr=True),
        lr=1e-2, lambd=1e-4, alpha=0.75, weight_decay=0.0, maximize=False,
    ),
    "Adadelta": Row(
        with_decay(optax.scale_by_adadelta),
        lr=1.0, rho=Param(0.9, "[0, 1]"), eps=1e-6, weight_decay=0.0, maximize=False,
    ),
    "Adafactor": Row(
        with_decay(transforms.adafactor, takes_lr=True, decoupled=True),
        lr=1e-2, beta2_decay=Param(-0.8, "(-inf, 0]"),
        eps=Param((None, 1e-3), _adafactor_eps), d=Param(1.0, "[1, inf)"),
        weight_decay=0.0, maximize=False,
    ),
    "Adagrad": Row(
        with_decay(transforms.adagrad),
        lr=1e-2, lr_decay=0.0, weight_decay=0.0,
        initial_accumulator_value=0.0, eps=1e-10,  # optax: 0.1 and 1e-7
        maximize=False,
    ),
    "Adam": Row(
        with_decay(transforms.adam),
        lr=1e-3, betas=_BETAS, eps=1e-8, weight_decay=0.0, amsgrad=False,
        maximize=False, decoupled_weight_decay=False,
    ),
    "AdamW": Row(
        with_decay(transforms.adam, decoupled=True),
        lr=1e-3, betas=_BETAS, eps=1e-8, weight_decay=1e-2,  # optax: 1e-4
        amsgrad=False, maximize=False,
    ),
    "Adamax": Row(
        with_decay(optax.scale_by_adamax),
        lr=2e-3, betas=_BETAS, eps=1e-8, weight_decay=0.0, maximize=False,
    ),
    "NAdam": Row(
        with_decay(transforms.nadam),
        lr=2e-3, betas=_BETAS, eps=1e-8, weight_decay=0.0, momentum_decay=4e-3,
        decoupled_weight_decay=False, maximize=False,
    ),
    "RAdam": Row(
        with_decay(transforms.radam),
        lr=1e-3, betas=_BETAS, eps=1e-8, weight_decay=0.0,
        decoupled_weight_decay=False, maximize=False,
    ),
    "RMSprop": Row(
        with_decay(transforms.rmsprop),
        lr=1e-2, alpha=Param(0.99, "[0, 1]"),  # optax: 0.9
        eps=1e-8, weight_decay=0.0, momentum=0.0, centered=False, maximize=False,
    ),
    "Rprop": Row(
        with_decay(transforms.rprop, takes_lr=True),
        lr=1e-2, etas=Param((0.5, 1.2), "two in (0, inf)"),
        step_sizes=Param((1e-6, 50.0), "two in [0, inf)"), maximize=False,
    ),
    "SGD": Row(
        with_decay(transforms.sgd),
        # PyTorch takes any dampening; more than 1 would turn the gradient around.
        lr=1e-3, momentum=0.0, dampening=Param(0.0, "[0, 1]"), weight_decay=0.0,
        nesterov=False, maximize=False,
    ),
}
# fmt: on


def _optax_row(alias: Callable[..., optax.GradientTransformation]) -> Row:
    """Makes a row of an optimizer of optax's."""
    params = {
        key: param.default
        for key, param in inspect.signature(alias).parameters.items()
        # These cannot be written as text, or leave float32.
        if "mask" not in key and "dtype" not in key
    }
    if "clipping_threshold" in params:
        params["clipping_threshold"] = Param(params["clipping_threshold"], _or_none)
    return Row(
        lambda lr, **constants: alias(learning_rate=lr, **constants),
        **{"lr": None, **params, "learning_rate": None},
    )


# By the names of optax, with its defaults; its older versions have fewer.
# fmt: off
OPTAX_OPTIMIZERS: dict[str, Row] = {
    name: _optax_row(getattr(optax, name))
    for name in (
        "adabelief", "adadelta", "adafactor", "adagrad", "adam", "adamax", "adamaxw",
        "adamw", "adan", "amsgrad", "fromage", "lamb", "lars", "lion", "nadam",
        "nadamw", "novograd", "optimistic_adam_v2", "optimistic_gradient_descent",
        "radam", "rmsprop", "sgd", "sign_sgd", "signum", "sm3", "yogi",
    )
    if hasattr(optax, name)
}
# fmt: on

_EVALUATES_LOSS = "it evaluates the loss more than once a step"
_REFUSED = {
    "LBFGS": _EVALUATES_LOSS,
    "Muon": "it takes matrices only, and the network has vectors of biases",
    "SparseAdam": "it takes sparse gradients, and the network's are dense",
    "lbfgs": _EVALUATES_LOSS,
    "noisy_sgd": "it needs random numbers at each step",
    "optimistic_adam": "optax has replaced it by optimistic_adam_v2",
    "polyak_sgd": "it needs the value of the loss",
    "rprop": "it reads the learning rate only before the first step; see Rprop",
}
_REFUSED_PARAMS = {
    **dict.fromkeys(
        ("capturable", "differentiable", "foreach", "fused"),
        "it only chooses how PyTorch computes; leave it out",
    ),
    "t0": "it places the start of an average of weights that nothing reads",
}


def _bind_optax(row: Row, name: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Binds parameters of optax's, whose `learning_rate` may be called `lr`."""
    given = {"learning_rate" if k == "lr" else k: value for k, value in params.items()}
    if len(given) < len(params):
        raise ValueError(f"{name} takes lr or learning_rate, got both.")
    values = row.bind(name, given)
    if values["learning_rate"] is None:
        raise ValueError(f"{name} needs ['learning_rate'], or lr for short.")
    values["lr"] = values.pop("learning_rate")
    return values


def make_optimizer(
    name: str, params: Mapping[str, Any], *, momentum_changes: bool = False
) -> Optimizer:
    """Builds an optimizer.

    Args:
      name: Name in `OPTIMIZERS`, as in `torch.optim`, or in `OPTAX_OPTIMIZERS`, as in
        optax.
      params: Parameters by the names there, and the defaults there for those left out.
        Optax's `learning_rate` may be called `lr`.
      momentum_changes: Whether a schedule changes the momentum or first beta; `update`
        then takes it as `momentum`.

    Returns:
      The optimizer; weight decay acts on every parameter. What takes norms or means of
      a parameter array, such as Adafactor, must be given one network's: lift `update`
      over seeds by `vmap`.

    Raises:
      ValueError: If the name or a parameter is unknown or out of range, or there is no
        momentum to change.

    Examples:
      >>> transform = make_optimizer("SGD", {"momentum": 0.9}).transform
      >>> params = jnp.array([1.0, 2.0])
      >>> updates, state = transform.update(
      ...     jnp.array([0.5, -1.0]), transform.init(params), params, learning_rate=0.5
      ... )
      >>> updates.tolist()
      [-0.25, 0.5]
    """
    known = OPTIMIZERS | OPTAX_OPTIMIZERS
    row: Row = by_name.look_up(name, "optim_cls", known, _REFUSED)
    if name in OPTIMIZERS:
        values = row.bind(name, params, refused=_REFUSED_PARAMS)
    else:
        values = _bind_optax(row, name, params)
    rate = values.pop("lr")
    if "betas" in values:
        values["b1"], values["b2"] = values.pop("betas")
    changing = next((key for key in ("b1", "momentum") if key in values), None)
    if momentum_changes and changing is None:
        raise ValueError(f"{name} has no momentum that could be changed.")

    def build(learning_rate: ArrayLike, momentum: ArrayLike | None = None) -> Any:
        """Builds it anew with the rate of the moment.

        The rate is where the rule has it, before a momentum or after, linear or not;
        only what an optimizer remembers must not depend on it.
        """
        now = {"lr": learning_rate}
        if momentum_changes and changing is not None:
            # An array, so that there is memory for it.
            constant = values[changing] or 0.0
            now[changing] = jnp.asarray(constant if momentum is None else momentum)
        elif momentum is not None:
            raise ValueError(
                "this optimizer was built with a fixed momentum; see momentum_changes "
                "of make_optimizer."
            )
        return optax.with_extra_args_support(row.rule(**(values | now)))

    def update(
        updates: optax.Updates,
        state: optax.OptState,
        params: optax.Params | None = None,
        *,
        learning_rate: ArrayLike,
        momentum: ArrayLike | None = None,
        **extra: Any,
    ) -> tuple[optax.Updates, optax.OptState]:
        transform = build(jnp.asarray(learning_rate), momentum)
        changed: tuple[optax.Updates, optax.OptState] = transform.update(
            updates, state, params, **extra
        )
        return changed

    return Optimizer(
        optax.GradientTransformationExtraArgs(build(1.0).init, update),
        rate,
        has_momentum=changing is not None,
    )
