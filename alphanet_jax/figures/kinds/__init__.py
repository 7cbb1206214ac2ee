"""The kinds of figures, one a file; `figures.kind` defines what each consists of."""
