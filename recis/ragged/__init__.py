"""Tensors whose rows differ in length."""

from recis.ragged.tensor import RaggedTensor

__all__ = ["RaggedTensor"]
