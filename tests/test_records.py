"""What the page on records of measurements says of them is what they hold."""

import json
import re
from pathlib import Path
from typing import Any

RECORDS = Path(__file__).parents[1] / "benchmarks" / "results"


def _written(number: float, unit: str) -> set[str]:
    """How a page may write a number: to the second digit or the third."""
    return {f"{number:,.0f} {unit}", f"{number:.1f} {unit}", f"{number:.0f} {unit}"}


def _figures_of(record: dict[str, Any]) -> dict[str, set[str]]:
    """What the page on records says of one, by the words before it."""
    found: dict[str, set[str]] = {}
    processes, figures = record.get("processes", {}), record.get("figures", {})
    if "cold" in processes:
        for name, turns in processes.items():
            middle = sorted(turn["whole"] for turn in turns)
            mean = sum(middle) / len(middle)
            median = middle[len(middle) // 2]
            found[name] = _written(median, "s") | _written(mean, "s")
    elif isinstance(processes.get("first"), dict):
        first = processes["first"]
        found["whole process"] = _written(first["seconds"], "s")
        found["peak"] = _written(first["peak_resident_mib"], "MiB")
    elif figures:
        found["epoch"] = _written(figures["epoch_ratio"], "x")
        found["whole process"] = _written(figures["first_seconds_ratio"], "x")
        return found
    if "epoch_seconds" in figures:
        found["epoch"] = _written(1000 * figures["epoch_seconds"], "ms")
    return found


def test_what_is_said_of_records_is_in_them() -> None:
    page = (RECORDS / "README.md").read_text(encoding="utf-8").split("| record, ")[1]
    checked = 0
    for name, cpu, gpu in re.findall(r"(?m)^\| `(\w+)`.*? \| (.*) \| (.*) \|$", page):
        for device, said in (("cpu_2_cores", cpu), ("nvidia_h200", gpu)):
            path = RECORDS / f"{name}_{device}.json"
            assert path.exists() == (said != "not measured"), path.name
            if not path.exists():
                continue
            figures = _figures_of(json.loads(path.read_text(encoding="utf-8")))
            for words, allowed in figures.items():
                for figure in re.findall(rf"\b{words} ([\d.,]+ \w+)", said):
                    assert figure in allowed, f"{path.name}: {words} {figure}"
                    checked += 1
    assert checked > 12
