"""Arrays of a result of which some are made when they are first used."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

__all__ = ["LazyArrays", "recorded_arrays"]


class LazyArrays(Mapping[str, np.ndarray]):
    """Arrays by name: those that a file records, and others that can be made of them.

    Attributes:
      recorded: The former.
      makers: What makes the others, by their names; each is called once.

    Examples:
      >>> arrays = LazyArrays({"a": np.arange(3)}, {"sum": lambda: np.asarray(3)})
      >>> sorted(arrays), int(arrays["sum"]), sorted(recorded_arrays(arrays))
      (['a', 'sum'], 3, ['a'])
    """

    def __init__(
        self,
        recorded: Mapping[str, np.ndarray],
        makers: Mapping[str, Callable[[], np.ndarray]],
    ) -> None:
        self.recorded = dict(recorded)
        self.makers = dict(makers)
        self._made: dict[str, np.ndarray] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        if name in self.recorded:
            return self.recorded[name]
        if name not in self._made:
            self._made[name] = self.makers[name]()
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in self.recorded or name in self.makers

    def __iter__(self) -> Iterator[str]:
        yield from self.recorded
        yield from (name for name in self.makers if name not in self.recorded)

    def __len__(self) -> int:
        return len({*self.recorded, *self.makers})


def recorded_arrays(arrays: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """Returns the arrays that a file records, without those that can be made."""
    return arrays.recorded if isinstance(arrays, LazyArrays) else arrays
