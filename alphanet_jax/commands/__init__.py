"""The commands of `main.py`: each a module with `DESCRIPTION`, flags and `run`."""
