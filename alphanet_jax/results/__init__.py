"""Result files, and reports on them: tables, combinations, accuracies.

`schema` lists the arrays of a file, `file` loads and saves it, `finding` finds files,
and `sets` takes several together. `pytorch` reads those of the original, `recomputed`
makes what these do not record, and `importing` turns one into ours. `accuracy` counts
predictions, `top_k` ranks classes, `nearest` finds near ones; `datasets` finds the data
again that this needs. `significance` says how sure differences are; `comparison_file`
has corrections side by side. `tables` lays tables out, `accuracy_tables` makes those of
accuracy, `combos` and `combo_reports` explain single classes, `semantic` and `wordnet`
find classes that are near in meaning. `corrected` chooses among the classifiers of a
result, `originals` finds the one that they began with, and `predictions` has what one
makes of features; `export` checks one and `saved_heads` writes it, alone or where it
came from; `extended` has rows for classes that came later. All of it needs NumPy alone,
not JAX, but the coefficients of the original's networks.

The names in `__all__` are those that a notebook needs. Each is loaded when it is first
used:

    from pathlib import Path
    from alphanet_jax import results

    directory = Path("results/quickstart")
    paths = results.find_results(directory)
    sets = results.load_sets(results.group_by_setting(paths, directory))
    print(results.render(results.make_accuracy_tables(sets), "plain"))
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alphanet_jax.results.accuracy import OUTCOMES, PARTS, per_class, per_split
    from alphanet_jax.results.accuracy_tables import (
        Hits,
        Metric,
        hits_of_predictions,
        make_accuracy_tables,
        training_table,
    )
    from alphanet_jax.results.combos import (
        Combination,
        combination,
        common_neighbors,
        find_classes,
        select_classes,
    )
    from alphanet_jax.results.corrected import Head, Which, corrected_head
    from alphanet_jax.results.datasets import DataFinder
    from alphanet_jax.results.export import Export, export_result
    from alphanet_jax.results.file import FILE_NAME, load_result, save_result
    from alphanet_jax.results.importing import import_result
    from alphanet_jax.results.nearest import nearest_others
    from alphanet_jax.results.recomputed import Recomputation
    from alphanet_jax.results.rendering import FORMATS, Layout, render
    from alphanet_jax.results.schema import SCHEMA, ArraySpec
    from alphanet_jax.results.semantic import semantic_mask, visual_mask
    from alphanet_jax.results.sets import (
        ResultFile,
        ResultSet,
        choose_seeds,
        find_results,
        group_by_setting,
        left_aside,
        load_file,
        load_sets,
        unreadable,
    )
    from alphanet_jax.results.tables import Row, Table, Value, mean_and_std
    from alphanet_jax.results.top_k import top_k_hits

__all__ = [
    "FILE_NAME",
    "FORMATS",
    "OUTCOMES",
    "PARTS",
    "SCHEMA",
    "ArraySpec",
    "Combination",
    "DataFinder",
    "Export",
    "Head",
    "Hits",
    "Layout",
    "Metric",
    "Recomputation",
    "ResultFile",
    "ResultSet",
    "Row",
    "Table",
    "Value",
    "Which",
    "choose_seeds",
    "combination",
    "common_neighbors",
    "corrected_head",
    "export_result",
    "find_classes",
    "find_results",
    "group_by_setting",
    "hits_of_predictions",
    "import_result",
    "left_aside",
    "load_file",
    "load_result",
    "load_sets",
    "make_accuracy_tables",
    "mean_and_std",
    "nearest_others",
    "per_class",
    "per_split",
    "render",
    "save_result",
    "select_classes",
    "semantic_mask",
    "top_k_hits",
    "training_table",
    "unreadable",
    "visual_mask",
]

_PLACES = {
    "accuracy": "OUTCOMES PARTS per_class per_split",
    "accuracy_tables": "Hits Metric hits_of_predictions make_accuracy_tables "
    "training_table",
    "combos": "Combination combination common_neighbors find_classes select_classes",
    "corrected": "Head Which corrected_head",
    "datasets": "DataFinder",
    "export": "Export export_result",
    "file": "FILE_NAME load_result save_result",
    "importing": "import_result",
    "nearest": "nearest_others",
    "recomputed": "Recomputation",
    "rendering": "FORMATS Layout render",
    "schema": "SCHEMA ArraySpec",
    "semantic": "semantic_mask visual_mask",
    "sets": "ResultFile ResultSet choose_seeds find_results group_by_setting "
    "left_aside load_file load_sets unreadable",
    "tables": "Row Table Value mean_and_std",
    "top_k": "top_k_hits",
}
_MODULES = {name: module for module, names in _PLACES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """Loads what a public name stands for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> list[str]:
    """Lists the public names, and what is loaded."""
    return sorted({*globals(), *__all__})
