"""Embedding tables for open sets of ids."""

from recis.nn.hashtable_hook import AdmitHook, FilterHook
from recis.nn.modules.hashtable import HashTable, filter_out_sparse_param

__all__ = ["AdmitHook", "FilterHook", "HashTable", "filter_out_sparse_param"]
