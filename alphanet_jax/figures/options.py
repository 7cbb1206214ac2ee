"""Options of a kind of figure: declared once, for functions and for flags."""

import dataclasses
from typing import Any

__all__ = ["DIRECTORIES", "N_BOOT", "SEED", "Option"]

# The flag that names the directories of experiments.
DIRECTORIES = "exp_sub_dirs"


@dataclasses.dataclass(frozen=True)
class Option:
    """A keyword of `numbers` or `draw`, which is also a flag.

    Attributes:
      name: Its name.
      default: Its default; its type is that of the option unless `of` says.
      help: What it does, with its unit.
      of: Type of the value, or of each of several.
      choices: The values there are, where there are not any more.
      several: Whether it takes several values.
      low: Least value of a number.
    """

    name: str
    default: Any
    help: str
    of: type | None = None
    choices: tuple[str, ...] | None = None
    several: bool = False
    low: float | None = None

    @property
    def value_type(self) -> type:
        """Type of the value, or of each of several."""
        return self.of or (str if self.default is None else type(self.default))


N_BOOT = Option("n_boot", 1000, "bootstrap samples for intervals of 95 percent", low=1)
SEED = Option("boot_seed", 0, "seed of the bootstrap", low=0)
