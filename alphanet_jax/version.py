"""The version of the package, which results record."""

__all__ = ["__version__"]

__version__ = "0.2.0"
