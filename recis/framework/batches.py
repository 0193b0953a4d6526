"""Batches of a dataset: RecIS's optional stop flag, the batch size, and the transfer to the device.

Must not know the model, the loop, or how many processes there are.
"""

import dataclasses
from collections.abc import Generator, Iterable, Mapping
from numbers import Number
from typing import Any

import torch

__all__ = ["num_samples", "read_batches", "to_device"]


def read_batches(dataset: Iterable[Any]) -> Generator[Any]:
    """Yield the batches of one pass over `dataset`.

    A pair whose first item is a flag is RecIS's `(stop_flag, batch)`: a true flag ends the pass, and its batch is
    padding, not data. A flag is a bool, or a 0 or 1 followed by a non-number; a Python or numpy value or a 0-dim
    tensor. Anything else is a batch.
    """
    for element in dataset:
        if isinstance(element, tuple | list) and len(element) == 2 and _is_flag(element[0], element[1]):
            stop, batch = element
            if bool(stop):
                return
            yield batch
        else:
            yield element


def _is_flag(value: Any, batch: object) -> bool:
    if isinstance(value, bool):
        return True
    if not isinstance(value, int) and getattr(value, "shape", None) != ():
        return False
    kind = str(getattr(value, "dtype", "int")).removeprefix("torch.")
    if kind == "bool":
        return True
    # Followed by another number it is a pair of numbers.
    return kind.startswith(("int", "uint")) and int(value) in (0, 1) and not isinstance(batch, Number)


def num_samples(batch: object) -> int:
    """Return the length of the first tensor with a dimension found in `batch`, depth first; 0 if there is none."""
    if isinstance(batch, torch.Tensor):
        return int(batch.shape[0]) if batch.dim() else 0
    for part in _parts(batch):
        found = num_samples(part)
        if found:
            return found
    return 0


def to_device(batch: Any, device: torch.device) -> Any:
    """Return `batch` with every tensor in its mappings, lists, tuples and dataclasses on `device`.

    The copies are queued and not waited for. Batch classes with their own `to` (packed or ragged ones) are moved by it.
    """
    if callable(getattr(batch, "to", None)):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, Mapping):
        return {key: to_device(part, device) for key, part in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(to_device(part, device) for part in batch))
    if isinstance(batch, tuple | list):
        return type(batch)(to_device(part, device) for part in batch)
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        fields = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch) if field.init}
        return dataclasses.replace(batch, **{name: to_device(part, device) for name, part in fields.items()})
    return batch


def _parts(batch: object) -> Iterable[Any]:
    if isinstance(batch, Mapping):
        return batch.values()
    if isinstance(batch, tuple | list):
        return batch
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        return [getattr(batch, field.name) for field in dataclasses.fields(batch)]
    return ()
