"""Optimizers for the rows of `recis.nn.HashTable`, and one for dense parameters that matches one of them."""

from recis.optim.adamw_tf import AdamWTF
from recis.optim.sparse_adagrad import SparseAdagrad
from recis.optim.sparse_adam import SparseAdam
from recis.optim.sparse_adamw import SparseAdamW
from recis.optim.sparse_adamw_tf import SparseAdamWTF

__all__ = ["AdamWTF", "SparseAdagrad", "SparseAdam", "SparseAdamW", "SparseAdamWTF"]
