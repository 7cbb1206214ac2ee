"""Finds the linear head in a file, or says what there is to choose from.

Notation: C classes, d feature dimensions.
"""

from collections.abc import Callable, Sequence
from typing import Final, NoReturn

import numpy as np

from alphanet_jax import parsing
from alphanet_jax.data import checks
from alphanet_jax.data.contents import describe, is_overlapping
from alphanet_jax.data.heads import keys
from alphanet_jax.data.heads.candidates import (
    Candidate,
    Experts,
    expert_groups,
    is_matrix,
    is_reparametrized,
    make_candidate,
)
from alphanet_jax.data.heads.contents import Contents, Tensor, is_index, load_tensor
from alphanet_jax.data.heads.forms import FoundHead, Sides
from alphanet_jax.data.heads.reading import mean_of_experts, read_candidate
from alphanet_jax.data.torch_files import advice
from alphanet_jax.errors import UserError

__all__ = ["candidate_keys", "find_head"]

_MOST_LISTED: Final = 20
_MOST_EXPERTS: Final = 256
_MOST_COMPARED: Final = 16
_MOST_OBJECTS: Final = 3
_UNDO: Final = (
    "pruning or spectral norm is to be removed from a layer before it is saved, by "
    "torch.nn.utils.prune.remove, remove_spectral_norm or "
    "parametrize.remove_parametrizations"
)
_OPTION: Final = "classifier_key=KEY (the option, or in the registry)"


def find_head(
    contents: Contents,
    *,
    key: str,
    sides: Callable[[], Sides],
    normalize: bool,
) -> FoundHead:
    """Finds the linear head in a file.

    Args:
      contents: What is in the file.
      key: The key of its weight, or what is enough of it; empty if it is to be found.
      sides: Returns the numbers of features and classes, as far as they are known. A
        file of `weight` and `bias` alone is read without.
      normalize: Whether to normalize the row of every class.

    Returns:
      The head.

    Raises:
      UserError: If there is none, or more than one may be meant; what there is
        follows in further lines.
    """
    search = _Search(contents, key, normalize)
    if not key and (plain := _plain(contents, sides)):
        return search.read(plain)
    return search.find(sides())


def candidate_keys(contents: Contents, sides: Sides) -> list[str]:
    """Lists the keys of what may be the weight of the head, or of an expert's."""
    search = _Search(contents, "", False)
    if "weight" in contents.tensors and (plain := _plain(contents, lambda: sides)):
        return [plain.weight.key]
    if singles := search.singles(sides):
        return [candidate.weight.key for candidate in singles]
    return [
        member.weight.key
        for experts in search.experts(sides)
        for member in experts.members
    ]


def _plain(contents: Contents, sides: Callable[[], Sides]) -> Candidate | None:
    """Takes `weight` and `bias` that are not within anything for what they say."""
    weight = contents.tensors.get("weight")
    if weight is None or not is_matrix(weight):
        return None
    made = make_candidate(weight, contents, Sides(None, None))
    if made is None or (made.bias is not None and not made.transposed):
        return made
    if made.bias is not None:  # a bias that is too short looks like that, too
        return make_candidate(weight, contents, Sides(sides().num_features, None))
    return make_candidate(weight, contents, sides()) or made


def _check_plain(contents: Contents) -> None:
    """Says what is wrong with a weight and bias that are not within anything.

    Raises:
      UserError: If there is a weight.
    """
    named = contents.root
    if not isinstance(named, dict):  # a file of arrays
        named = {}
        for name in {"weight", "bias"} & contents.tensors.keys():
            named[name] = load_tensor(contents.tensors[name])
    if "weight" not in named:
        return
    weight, bias = named["weight"], named.get("bias")
    if bias is None:
        bias = np.zeros(np.shape(weight)[:1], np.float32)
    for name, array in (("weight", weight), ("bias", bias)):
        if not isinstance(array, np.ndarray):
            raise UserError(
                f"{contents.path}: {name} must be a tensor or array, got "
                f"{describe(array)}"
            )
        if is_overlapping(array):
            raise UserError(
                f"{contents.path}: {name} must not be an expanded tensor: clone it"
            )
        checks.check_floats(str(contents.path), name, array)
    checks.check_classifier(str(contents.path), weight, bias)


class _Search:
    """A search for the head in a file."""

    def __init__(self, contents: Contents, key: str, normalize: bool) -> None:
        self.contents = contents
        self.key = key
        self.normalize = normalize
        self.named: str | None = None  # by its full path
        tensors = contents.tensors
        if not key:
            self.pool = [t for k, t in tensors.items() if not keys.is_of_training(k)]
            return
        meant, whole = keys.matching(key, list(tensors), contents.aliases)
        objects, _ = keys.matching(key, list(contents.objects), {})
        if not meant and objects:
            name = contents.objects[objects[0]]
            raise UserError(
                f"{contents.path}: {keys.shown(objects[0])} ({keys.shown(name)}) is "
                f"not loaded; {advice(name)}"
            )
        if not meant:
            self._fail(f"nothing in it has the classifier_key {key!r}")
        self.pool = [tensors[k] for k in meant]
        if whole:
            self.named = meant[0]

    def read(self, candidate: Candidate) -> FoundHead:
        """Reads the head of a candidate."""
        stored = candidate.weight.key
        return read_candidate(
            candidate,
            self.contents,
            normalize=self.normalize,
            found=stored not in ("weight", "coef_"),
        )

    def find(self, sides: Sides) -> FoundHead:
        """Finds the head, by the first rule that fits one alone."""
        if self.named is not None:
            return self._read_named(self.contents.tensors[self.named], sides)
        singles = self.singles(sides)
        distinct = self._distinct(singles, sides)
        known = sides.num_features is not None
        if len(singles) > 1 and (self.key or (known and len(distinct) == 1)):
            experts = self._all_experts(singles, sides)
            if experts is not None:
                return self._read_experts(experts, shares_features=known)
        if len(distinct) == 1:
            return distinct[0]
        if distinct:
            self._several(sides)
        groups = self.experts(sides)
        if len(groups) > _MOST_COMPARED:
            self._several(sides)
        read = [self._read_experts(group, shares_features=False) for group in groups]
        if len(read) > 1:
            read = _distinct_heads(read)
        if len(read) == 1:
            return read[0]
        if read:
            self._several(sides)
        convolutions = self._distinct(self.singles(sides, convolutions=True), sides)
        if len(convolutions) == 1:
            return convolutions[0]
        self._none(sides)

    def matrices(self, *, convolutions: bool = False) -> list[Tensor]:
        """Lists the matrices of floats."""
        return [t for t in self.pool if is_matrix(t, convolutions=convolutions)]

    def singles(self, sides: Sides, *, convolutions: bool = False) -> list[Candidate]:
        """Lists the candidates that fit by themselves."""
        made = [
            make_candidate(tensor, self.contents, sides)
            for tensor in self.matrices(convolutions=convolutions)
        ]
        fit = [candidate for candidate in made if candidate is not None]
        # Centroids, queues and the like have the shape of a weight.
        named = [c for c in fit if keys.is_weight(c.weight.key)]
        return named or fit

    def experts(self, sides: Sides) -> list[Experts]:
        """Lists the experts that fit with their features side by side."""
        matrices = [t for t in self.matrices() if keys.is_weight(t.key)]
        return expert_groups(matrices, self.contents, sides)

    def _all_experts(
        self, candidates: Sequence[Candidate], sides: Sides
    ) -> Experts | None:
        """Finds the experts that fit by themselves, if all that fits are these."""
        singles = {candidate.weight.key: candidate for candidate in candidates}
        for group in expert_groups(
            [candidate.weight for candidate in singles.values()],
            self.contents,
            Sides(None, sides.num_classes),
        ):
            names = [member.weight.key for member in group.members]
            if set(names) == singles.keys():
                return Experts(group.key, tuple(singles[name] for name in names))
        return None

    def _read_named(self, tensor: Tensor, sides: Sides) -> FoundHead:
        """Reads the head whose weight is named by its full path."""
        where = f"{self.contents.path}: classifier_key {self.key!r}"
        shown = f"{tensor.dtype} of shape {tensor.shape}"
        if is_reparametrized(tensor):
            raise UserError(f"{where} is no weight in use: {_UNDO}")
        if not is_matrix(tensor, convolutions=True):
            raise UserError(
                f"{where} is {shown}; a weight is a matrix of floats, (classes, "
                "features)"
            )
        # Another number of classes is said where it is compared with what has them.
        candidate = make_candidate(tensor, self.contents, sides) or make_candidate(
            tensor, self.contents, Sides(sides.num_features, None)
        )
        if candidate is None:
            self._fail(f"classifier_key {self.key!r} is {shown}, no head{sides}")
        return self.read(candidate)

    def _read_experts(self, experts: Experts, *, shares_features: bool) -> FoundHead:
        # All may be one and the same storage, many times.
        size = sum(member.weight.size for member in experts.members) * 4
        packed = sum(
            path.stat().st_size
            for path in {member.weight.source for member in experts.members}
        )
        if (
            len(experts.members) > _MOST_EXPERTS
            or size > parsing.TIMES_PACKED * packed + parsing.FREE_BYTES
        ):
            raise UserError(
                f"{self.contents.path}: {len(experts.members)} experts "
                f"{keys.shown(experts.key)} take {size:,} bytes; at most "
                f"{_MOST_EXPERTS} that are not far larger than the file are read"
            )
        return mean_of_experts(
            [self.read(member) for member in experts.members],
            shares_features=shares_features,
            what=keys.shown(experts.key),
        )

    def _distinct(
        self, candidates: Sequence[Candidate], sides: Sides
    ) -> list[FoundHead]:
        """Reads candidates; those with the same values are one."""
        if len(candidates) > _MOST_COMPARED:
            self._several(sides)
        return _distinct_heads([self.read(candidate) for candidate in candidates])

    def _several(self, sides: Sides) -> NoReturn:
        """Says that several heads may be meant, and how to choose."""
        singles = self.singles(sides)
        tensors = [candidate.weight for candidate in singles]
        experts = self._all_experts(singles, sides)
        if not tensors:
            groups = self.experts(sides)
            tensors = [c.weight for group in groups for c in group.members]
            choice = keys.shown(groups[0].key)
        else:
            choice = keys.shown(tensors[0].key)
        hint = f"name one with {_OPTION}, such as classifier_key={choice}"
        if experts is not None:
            hint += (
                f"; classifier_key={keys.shown(experts.key)} takes the mean of the "
                f"{len(experts.members)} as experts"
            )
        raise UserError(
            f"{self.contents.path}: {len(tensors)} tensors may be the classifier"
            f"{sides}: {hint}{_listed(tensors)}"
        )

    def _none(self, sides: Sides) -> NoReturn:
        if not self.key:
            _check_plain(self.contents)
        within = f" in {self.key!r}" if self.key else ""
        self._fail(f"no linear classifier{sides} was found{within}")

    def _fail(self, reason: str) -> NoReturn:
        """Says why there is no head, and what there is."""
        contents = self.contents
        tensors = contents.tensors
        every = [t for key, t in tensors.items() if not keys.is_of_training(key)]
        likely = [t for t in every if is_matrix(t)]
        hint = f"name its weight with {_OPTION}" if every else "it holds no tensors"
        if likely and all(map(is_reparametrized, likely)):
            hint = _UNDO
        listed = likely or every
        if contents.objects and not likely:
            objects = [
                f"{keys.shown(key)} ({keys.shown(name)})"
                for key, name in contents.objects.items()
            ]
            hint = f"not loaded: {', '.join(objects[:_MOST_OBJECTS])}"
            if not is_index(contents.path):
                hint += f"; {advice(min(contents.objects.values(), key=_is_of_torch))}"
            listed = []
        raise UserError(f"{contents.path}: {reason}; {hint}{_listed(listed)}")


def _is_of_torch(name: str) -> bool:
    """Returns whether a class may be that of a module: if it is no estimator."""
    return not name.startswith("sklearn.")


def _listed(tensors: Sequence[Tensor]) -> str:
    """Lists tensors with their shapes and dtypes, a line each."""
    rows = [
        (
            keys.shown(tensor.key),
            str(tensor.shape),
            str(tensor.dtype)
            + " (of pruning or spectral norm)" * is_reparametrized(tensor),
        )
        for tensor in tensors[:_MOST_LISTED]
    ]
    widths = [max(map(len, column), default=0) for column in zip(*rows, strict=True)]
    lines = [
        f"\n  {key:<{widths[0]}}  {shape:<{widths[1]}}  {dtype}"
        for key, shape, dtype in rows
    ]
    more = len(tensors) - len(rows)
    return "".join(lines) + (f"\n  and {more} more" if more else "")


def _distinct_heads(heads: Sequence[FoundHead]) -> list[FoundHead]:
    """Keeps the first of heads with the same values, with a remark on the others."""
    kept: list[FoundHead] = []
    for head in heads:
        for index, other in enumerate(kept):
            if _same(head, other):
                key = keys.shown(head.forms[0].weight_key)
                remark = f"classifier: the same values are at {key}"
                kept[index] = other._replace(remarks=(*other.remarks, remark))
                break
        else:
            kept.append(head)
    return kept


def _same(one: FoundHead, other: FoundHead) -> bool:
    return np.array_equal(one.weight, other.weight) and np.array_equal(
        one.bias, other.bias
    )
