"""The kinds of figures, one a file; `figures.kind` says what each consists of."""
