"""Full paths of tensors: which belong together, and which one a person means.

Tensors of one layer have a prefix in common and names that belong together: `weight`
and `bias`, `coef_` and `intercept_`, `weight_v` and `weight_g`.
"""

import itertools
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

__all__ = [
    "bias_keys",
    "common_parts",
    "expert_group",
    "gain_key",
    "is_of_training",
    "is_scales",
    "is_weight",
    "matching",
    "parts",
    "shown",
]

# Wrappers of modules add these, and what is in them is the same.
_WRAPPERS: Final = frozenset({"module", "_orig_mod"})
# Names of a weight, and of the bias beside it; also at the end of longer names, as in
# fc_weight and fc_bias.
_PAIRS: Final = (
    ("weight", "bias"),
    ("weights", "biases"),
    ("weights", "bias"),
    ("kernel", "bias"),
    ("coef_", "intercept_"),
    ("coef", "intercept"),
    ("w", "b"),
)
_WEIGHTS: Final = frozenset(weight for weight, _ in _PAIRS)
# A weight that is stored as directions, and where their norms are.
_GAINS: Final = (("weight_v", "weight_g"), ("original1", "original0"))
_SCALES: Final = frozenset({"scales", "learned_norm"})
_MAX_NUMBERS: Final = 8  # in a key
# What optimizers remember of a weight has its shape.
_TRAINING: Final = re.compile(
    r"opt|optim.*|opt_state|exp_avg.*|.*momentum_buffer|max_exp_avg.*|square_avg|"
    r"acc_delta|grad_avg|.*schedulers?|grads?|gradients?",
    re.ASCII,
)


def parts(key: str) -> tuple[str, ...]:
    """Parts a full path at its dots, without the names that wrappers add."""
    return tuple(part for part in key.split(".") if part not in _WRAPPERS)


def shown(key: str) -> str:
    """Returns a key as it can be shown in a line, and typed if it is an honest one."""
    if not key:
        return "(the array itself)"
    return key if key.isprintable() and key.isascii() else ascii(key)


def _last(key: str) -> tuple[str, str]:
    """Parts a key into the prefix, with its dot, and the last name."""
    prefix, dot, last = key.rpartition(".")
    return prefix + dot, last


def is_weight(key: str) -> bool:
    """Returns whether the last name of a key is that of a weight.

    Examples:
      >>> is_weight("fc.weight"), is_weight("fc_weight"), is_weight("centroids")
      (True, True, False)
    """
    last = _last(key)[1].lower()
    if gain_key(key) is not None or last in _WEIGHTS:
        return True
    return last.rpartition("_")[2] in _WEIGHTS or last.endswith("_coef_")


def bias_keys(key: str) -> list[str]:
    """Lists where the bias beside a weight may be.

    Examples:
      >>> bias_keys("fc.weight"), bias_keys("head.W"), bias_keys("coef_")
      (['fc.bias'], ['head.b', 'head.B'], ['intercept_'])
    """
    prefix, last = _last(key)
    if last == "original1":  # X.parametrizations.weight.original1 has X.bias
        return [f"{prefix.removesuffix('parametrizations.weight.')}bias"]
    if last == "0":
        return [f"{prefix}1"]  # a pair
    if gain_key(key) is not None:
        last = last.removesuffix("_v")
    found = []
    for weight, bias in _PAIRS:
        if last.lower() == weight or last.lower().endswith(f"_{weight}"):
            stem, name = last[: -len(weight)], last[-len(weight) :]
            found.append(f"{prefix}{stem}{bias}")
            if name != weight:  # W, Weight, KERNEL
                found += [
                    f"{prefix}{stem}{bias.upper()}",
                    f"{prefix}{stem}{bias.title()}",
                ]
    return list(dict.fromkeys(found))


def gain_key(key: str) -> str | None:
    """Names the norms of directions that are stored apart; None of other tensors.

    Examples:
      >>> gain_key("head.weight_v"), gain_key("head.weight")
      ('head.weight_g', None)
    """
    prefix, last = _last(key)
    for directions, gains in _GAINS:
        if last == directions and (
            last != "original1" or prefix.endswith("parametrizations.weight.")
        ):
            return prefix + gains
    return None


def is_scales(key: str) -> bool:
    """Returns whether a key is that of factors of logits, by its last name."""
    return _last(key)[1] in _SCALES


def is_of_training(key: str) -> bool:
    """Returns whether a tensor belongs to an optimizer, or otherwise to training.

    Examples:
      >>> is_of_training("optimizer.state.0.exp_avg"), is_of_training("fc.weight")
      (True, False)
    """
    return any(_TRAINING.fullmatch(part.lower()) for part in key.split("."))


def common_parts(one: str, other: str) -> int:
    """Counts the parts that two keys begin with alike."""
    number = 0
    for mine, its in zip(parts(one), parts(other), strict=False):
        if mine != its:
            break
        number += 1
    return number


def expert_group(key: str) -> list[tuple[str, int]]:
    """Lists the groups that a key may be in as one of several experts.

    Experts have keys that differ in one number. Returned are the key with a star for
    the number, and the number.

    Examples:
      >>> expert_group("backbone.linears.2.weight")
      [('backbone.linears.*.weight', 2)]
      >>> expert_group("expert1.fc.weight")
      [('expert*.fc.weight', 1)]
    """
    groups = []
    numbers = re.compile("[0-9]{1,6}", re.ASCII).finditer(key)
    for match in itertools.islice(numbers, _MAX_NUMBERS):
        group = f"{key[: match.start()]}*{key[match.end() :]}"
        groups.append((group, int(match[0])))
    return groups


def matching(
    wanted: str, keys: Collection[str], aliases: Mapping[str, str]
) -> tuple[list[str], bool]:
    """Finds what a person means by a key.

    The first of these that fits something: the key itself; keys that begin with it;
    both again without the names that wrappers of modules add; and keys that have it
    anywhere in them. A star stands for any number.

    Args:
      wanted: A key, or a prefix of keys.
      keys: The keys that there are.
      aliases: Further prefixes, and those that they stand for.

    Returns:
      The keys meant, in their order, and whether one was named whole.

    Examples:
      >>> matching("fc", ["module.fc.weight", "module.fc.bias"], {})
      (['module.fc.weight', 'module.fc.bias'], False)
      >>> matching("fc.weight", ["module.fc.weight", "module.fc.bias"], {})
      (['module.fc.weight'], True)
      >>> matching("fc*", ["fc0.weight", "fc12.weight", "fc.weight"], {})
      (['fc0.weight', 'fc12.weight'], False)
    """
    for alias, first in aliases.items():
        if wanted == alias or wanted.startswith(f"{alias}."):
            wanted = (first + wanted.removeprefix(alias)).strip(".")
            break
    if wanted in keys:
        return [wanted], True
    if "*" in wanted:
        any_number = "[0-9]+".join(map(re.escape, wanted.split("*")))
        pattern = re.compile(rf"(?:.*\.)?{any_number}(?:\..*)?", re.ASCII | re.DOTALL)
        return [key for key in keys if pattern.fullmatch(key)], False
    asked = tuple(wanted.split("."))
    plain = parts(wanted) or asked
    split = [(key, tuple(key.split("."))) for key in keys]
    for names, pairs in (
        (asked, split),
        (plain, [(key, parts(key)) for key in keys]),
    ):
        if same := [key for key, its in pairs if its == names]:
            return same, len(same) == 1
        if begin := [key for key, its in pairs if its[: len(names)] == names]:
            return begin, False
    if ends := [key for key in keys if parts(key)[-len(plain) :] == plain]:
        return ends, len(ends) == 1
    return [key for key in keys if _has(parts(key), plain)], False


def _has(names: Sequence[str], wanted: Sequence[str]) -> bool:
    """Returns whether some names follow each other among others."""
    size = len(wanted)
    starts: Iterable[int] = range(len(names) - size + 1)
    return any(tuple(names[at : at + size]) == tuple(wanted) for at in starts)
