"""Coverage-guided fuzzing of every door through which files of strangers come.

`python tests/fuzz --help`; `targets` lists the doors, `watch` says what must hold.
"""
