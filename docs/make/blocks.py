"""What takes the place of `<!-- generated: NAME -->` ... `<!-- until here -->`."""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from plan import layers, rooms
from texts import cell, code, say, table

from alphanet_jax import bundled
from alphanet_jax.config.fields import FIELDS, Field
from alphanet_jax.results.schema import SCHEMA, ArraySpec

__all__ = ["BLOCKS"]

_SECTIONS = {
    "": "The run",
    "alphanet": "The network",
    "training": "Training",
    "training.ptopt": "Optimizer and schedule",
    "training.sampler_builder": "Samplers",
}


def config_fields() -> str:
    """Lists every field of the config, by section."""
    parts = []
    for section, heading in _SECTIONS.items():
        rows = [_field(f) for f in FIELDS if f.name.rpartition(".")[0] == section]
        heads = ("field", "type", "default", "sweep", "meaning")
        parts += [f"## {heading}", table(heads, rows)]
    left = {f.name.rpartition(".")[0] for f in FIELDS} - _SECTIONS.keys()
    if left:
        raise ValueError(f"sections without a heading: {sorted(left)}")
    return "\n\n".join(parts)


def _field(field: Field) -> tuple[str, ...]:
    default = "must be set" if field.default is None else code(repr(field.default))
    swept = "no"
    if field.sweepable:
        swept = "yes" if field.compiles == "nothing" else f"by&nbsp;{field.compiles}"
    # A phone shows cells below each other, without the head of the table.
    swept = f'<span class="on-phone">sweep: </span>{swept}'
    return code(field.name), field.kind.__name__, default, swept, say(field.help)


def configs() -> str:
    """Lists the configs that come with the program."""
    rows = []
    for name in bundled.config_names():
        text = (bundled.root() / "configs" / f"{name}.py").read_text(encoding="utf-8")
        first = text.split('"""')[1].splitlines()[0]
        rows.append((f"[`{name}`](../configs/{name}.py)", cell(first)))
    return table(("config", "what it is"), rows)


def result_arrays() -> str:
    """Lists every array of a result."""
    return table(("array", "shape", "meaning"), map(_array, SCHEMA))


def _array(spec: ArraySpec) -> tuple[str, ...]:
    shape = f"({', '.join(spec.shape)}{',' * (len(spec.shape) == 1)})"
    notes = []
    if spec.own:
        notes.append("an axis S before these where each seed has its own")
    if spec.empty:
        notes.append("of length 0 where there is nothing")
    if spec.of != "all":
        notes.append("AlphaNet's" if spec.of == "alphanet" else "not AlphaNet's")
    more = f" ({'; '.join(notes)})" if notes else ""
    return code(spec.name), code(shape), say(spec.meaning + more)


def corrections() -> str:
    """Lists every correction: what it needs, its knob, where it is from."""
    from alphanet_jax.posthoc import METHODS

    def rows() -> Iterator[tuple[str, ...]]:
        for name, method in METHODS.items():
            knob = ""
            if method.knob is not None:
                low, high = min(method.grid), max(method.grid)
                knob = f"{cell(method.knob)}: {low:g} to {high:g}"
            shown = code(name) + " (only if named)" * method.optional
            needs = ", ".join(method.needs).replace("_", r"\_")
            outcome = "linear" if method.linear else "scores"
            yield shown, needs, knob, outcome, say(method.source)

    return table(("method", "needs", "knob", "outcome", "source"), rows())


def method_needs() -> str:
    """Lists what corrections may need."""
    from alphanet_jax.posthoc import NEEDS

    return table(
        ("needed", "what it is"), [(code(k), cell(v)) for k, v in NEEDS.items()]
    )


BLOCKS: Mapping[str, Callable[[], str]] = MappingProxyType(
    {
        "config fields": config_fields,
        "configs": configs,
        "corrections": corrections,
        "layers": layers,
        "method needs": method_needs,
        "result arrays": result_arrays,
        "rooms": rooms,
    }
)
