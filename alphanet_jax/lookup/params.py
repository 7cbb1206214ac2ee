"""Parameters as text, `key=value,key=value`, and back. Nothing here needs JAX."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["Params", "format_params", "parse_params"]


class Params(Mapping[str, Any]):
    """Parameters by name, of JSON values: a mapping that can be hashed.

    Examples:
      >>> Params({"lr": 0.001}) == {"lr": 0.001}
      True
    """

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        self._params = dict(params or {})

    def __getitem__(self, name: str) -> Any:
        return self._params[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._params)

    def __len__(self) -> int:
        return len(self._params)

    def __hash__(self) -> int:
        # By names alone: values may be lists, and 1 and 1.0 are equal.
        return hash(frozenset(self._params))

    def __repr__(self) -> str:
        return f"Params({self._params!r})"


def parse_params(text: str) -> dict[str, Any]:
    """Parses `key=value,key=value`; values are JSON, brackets may hold commas.

    Args:
      text: For example `lr=0.001,betas=[0.8,0.99]`; may be empty.

    Returns:
      The values by key.

    Raises:
      ValueError: If the text is not of this form or a key comes twice.

    Examples:
      >>> parse_params("lr=0.001,betas=[0.8,0.99]")
      {'lr': 0.001, 'betas': [0.8, 0.99]}
    """
    params: dict[str, Any] = {}
    decoder = json.JSONDecoder()
    rest = text.strip()
    while rest:
        key, equals, rest = rest.partition("=")
        key = key.strip()
        try:
            value, end = decoder.raw_decode(rest.lstrip())
        except (ValueError, RecursionError):
            value, end = None, -1
        rest = rest.lstrip()[end:].lstrip()
        ends_well = not rest or (rest[0] == "," and rest[1:].strip())
        if not key.isidentifier() or not equals or end < 0 or not ends_well:
            raise ValueError(f"expected key=value,key=value with JSON values: {text!r}")
        if key in params:
            raise ValueError(f"{key!r} is given twice: {text!r}")
        params[key] = value
        rest = rest[1:].lstrip()
    return params


def format_params(params: Mapping[str, Any]) -> str:
    """Formats parameters as the text that `parse_params` reads back.

    Args:
      params: Values by key. Values are what JSON has: numbers, texts, true and false,
        null, lists, mappings with texts as keys. A tuple is read back as a list.

    Returns:
      The text, without spaces around values. Numbers keep their type and last digit.

    Raises:
      ValueError: If a key is no identifier, or JSON has no such value.

    Examples:
      >>> format_params({"lr": 0.001, "betas": [0.8, 0.99]})
      'lr=0.001,betas=[0.8,0.99]'
    """
    parts = []
    for key, value in params.items():
        if not (isinstance(key, str) and key.isidentifier()):
            raise ValueError(f"a parameter's name must be an identifier, got {key!r}.")
        _check_is_json(key, value)
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        parts.append(f"{key}={text}")
    return ",".join(parts)


def _check_is_json(name: str, value: Any) -> None:
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        inner = list(value.values())
    elif isinstance(value, list | tuple):
        inner = list(value)
    elif value is None or isinstance(value, str | bool | int | float):
        inner = []
    else:
        raise ValueError(f"{name} must be a value that JSON has, got {value!r}.")
    for each in inner:
        _check_is_json(name, each)
