"""Result files, and what they tell: tables, combinations, accuracies.

`file` knows the format, `sets` takes several files together, `accuracy` and `data`
compute what tables and figures need, `tables` and `accuracy_tables` lay tables out,
`combos` explains single classes, `semantic` and `wordnet` know which classes are near
in meaning. All of it needs NumPy alone, not JAX.
"""
