"""The kinds of figures, one a file; what each consists of, `figures` says."""
