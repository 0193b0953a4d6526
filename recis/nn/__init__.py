"""Embedding tables for open sets of ids."""

from recis.nn.hashtable_hook import AdmitHook, FilterHook
from recis.nn.modules.embedding import DynamicEmbedding, EmbeddingOption
from recis.nn.modules.embedding_engine import EmbeddingEngine
from recis.nn.modules.hashtable import HashTable, filter_out_sparse_param

__all__ = [
    "AdmitHook",
    "DynamicEmbedding",
    "EmbeddingEngine",
    "EmbeddingOption",
    "FilterHook",
    "HashTable",
    "filter_out_sparse_param",
]
