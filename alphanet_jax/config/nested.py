"""Nested configs by the dotted names of their leaves."""

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["flatten", "get", "put"]


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the dotted names and values of all leaves of a config."""
    for key, value in config.items():
        if hasattr(value, "items"):  # a mapping or a ConfigDict, which is none
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def put(config: Any, name: str, value: Any) -> None:
    """Sets a field of a nested config by its dotted name."""
    *parents, last = name.split(".")
    for part in parents:
        if part not in config:
            config[part] = {}
        config = config[part]
    config[last] = value


def get(config: Any, name: str) -> Any:
    """Looks a field of a nested config up by its dotted name."""
    for part in name.split("."):
        config = config[part]
    return config
