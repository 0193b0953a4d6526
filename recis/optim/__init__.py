"""Optimizers for the rows of `recis.nn.HashTable`."""

from recis.optim.sparse_adagrad import SparseAdagrad
from recis.optim.sparse_adamw import SparseAdamW

__all__ = ["SparseAdagrad", "SparseAdamW"]
