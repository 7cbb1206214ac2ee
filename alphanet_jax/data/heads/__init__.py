"""Finds the linear head in a checkpoint, and says how it was stored."""

from alphanet_jax.data.heads.forms import FoundHead, HeadForm, TensorInfo

__all__ = ["FoundHead", "HeadForm", "TensorInfo"]
