"""What is the same setting: configs as they come back from files, compared by field."""

import json
from collections.abc import Mapping
from typing import Any

from alphanet_jax.config.fields import FIELDS, Field, flatten
from alphanet_jax.errors import UserError

__all__ = ["config_differences", "setting_key"]

# Where files lie does not count: what they hold is compared itself.
_PLACES = ("data_root", "registry")


def config_differences(
    found: Mapping[str, Any], config: Mapping[str, Any]
) -> list[str]:
    """Lists the fields in which a config, as it comes back from a file, differs.

    Args:
      found: The config from the file; fields that it lacks have their defaults.
      config: The config that it is compared with.

    Returns:
      Each difference in a few words.
    """
    old, new = _values(found), _values(config)
    return [
        f"{name} {old.get(name)!r}, now {new.get(name)!r}"
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    ]


def setting_key(config: Mapping[str, Any]) -> str:
    """Names a setting, whatever its seeds and wherever its files are.

    Args:
      config: A config, as it comes back from a file.
    """
    values = _values(config)
    return json.dumps(
        {name: values[name] for name in values if name not in ("seed", "seeds")},
        sort_keys=True,
    )


def _values(config: Mapping[str, Any]) -> dict[str, Any]:
    """Gives all fields by their dotted names, but where files lie."""
    plain = json.loads(json.dumps(dict(config)))
    # What an earlier version did not have was what is the default now.
    values = {f.name: f.default for f in FIELDS if f.default is not None}
    values = json.loads(json.dumps(values)) | dict(flatten(plain))
    for field in FIELDS:
        if field.is_params and field.name in values:
            values[field.name] = _canonical(field, values[field.name])
    return {name: values[name] for name in values if name not in _PLACES}


def _canonical(field: Field, value: Any) -> Any:
    """Writes equal parameters in the same way: `lr=1e-3` is `lr=0.001`."""
    try:
        return field.unparse(field.parse(value))
    except (UserError, TypeError):
        return value
