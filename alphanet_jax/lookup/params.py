"""Parameters as text: `key=value,key=value` with JSON values."""

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["format_params", "parse_params"]


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
        except ValueError:
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
    """Writes parameters as the text that `parse_params` reads back.

    Examples:
      >>> format_params({"lr": 0.001, "betas": [0.8, 0.99]})
      'lr=0.001,betas=[0.8,0.99]'
    """
    return ",".join(
        f"{key}={json.dumps(value, separators=(',', ':'))}"
        for key, value in params.items()
    )
