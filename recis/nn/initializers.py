"""Initializers of new rows, compatible with RecIS.

Owns the distributions. Must not know tables: a table passes the rows, and the shape of a block of them.
"""

import copy
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from recis.errors import ArgumentError
from recis.numerals import as_real

__all__ = [
    "ConstantInitializer",
    "Initializer",
    "KaimingNormalInitializer",
    "KaimingUniformInitializer",
    "NormalInitializer",
    "TruncNormalInitializer",
    "UniformInitializer",
    "XavierNormalInitializer",
    "XavierUniformInitializer",
]


class Initializer(ABC):
    """Base class of initializers; give one to a table, or call it with rows `[new, *row]` to fill them in place.

    Random values come from torch's global generator of the rows' device, or from the initializer's own generator.
    To use it without a table, call `set_shape`, `set_dtype`, `build`, then `generate()` any number of times.

    Args:
        options: arguments of the initializer, for messages.
        generator: source of random values; torch's global generator if None.
    """

    def __init__(self, options: dict[str, Any] | None = None, generator: torch.Generator | None = None) -> None:
        self._options = options or {}
        self._generator = generator
        self._shape: list[int] | None = None
        self._dtype = torch.float32
        self._built = False

    @property
    def generator(self) -> torch.Generator | None:
        """The initializer's own random generator, or None."""
        return self._generator

    def set_shape(self, shape: Sequence[int] | None = None) -> None:
        """Set the shape of what `generate` returns: a block of rows, `[rows, *row]`."""
        self._shape = None if shape is None else [int(size) for size in shape]

    def set_dtype(self, dtype: torch.dtype = torch.float32) -> None:
        """Set the dtype of what `generate` returns."""
        self._dtype = dtype

    def build(self) -> None:
        """Fix shape and dtype.

        Raises:
            RuntimeError: it was built before.
        """
        if self._built:
            raise RuntimeError(f"rebuild initializer: {type(self).__name__} was built before")
        self._built = True

    def generate(self) -> Tensor:
        """Return a new block of rows.

        Raises:
            RuntimeError: `set_shape` or `build` was not called before.
        """
        if not self._built or self._shape is None:
            raise RuntimeError(f"build method is not called: {type(self).__name__} needs set_shape and build first")
        device = None if self._generator is None else self._generator.device
        rows = torch.empty(self._shape, dtype=self._dtype, device=device)
        self(rows)
        return rows

    def of_shape(self, shape: Sequence[int]) -> Self:
        """Return a copy of this initializer for blocks of a shape; both draw from the same generator."""
        twin = copy.copy(self)
        twin.set_shape(shape)
        return twin

    @torch.no_grad()
    def __call__(self, rows: Tensor) -> None:
        """Fill rows `[new, *row]` in place; the values of a row do not depend on the number of rows."""
        narrow = rows.dtype.itemsize < 4
        device = rows.device if self._generator is None else self._generator.device
        if not narrow and device == rows.device:
            self._fill(rows)
            return
        # Draw on the device of the generator and in float32, then round: not every distribution exists for narrow
        # dtypes.
        draft = torch.empty(rows.shape, dtype=torch.float32 if narrow else rows.dtype, device=device)
        self._fill(draft)
        rows.copy_(draft)

    @abstractmethod
    def _fill(self, rows: Tensor) -> None:
        """Fill rows in place, drawing from `self.generator`."""

    def _fans(self, rows: Tensor) -> tuple[int, int]:
        """Return inputs and outputs of a block of rows, as torch counts them for a weight of its shape."""
        block, width, *field = self._shape or rows.shape
        return width * math.prod(field), block * math.prod(field)

    def __str__(self) -> str:
        seed = None if self._generator is None else self._generator.initial_seed()
        told = {"type": type(self).__name__, **self._options, "generator_seed": seed}
        return json.dumps({**told, "shape": str(self._shape), "dtype": str(self._dtype)}, sort_keys=True)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._options.items())})"


class ConstantInitializer(Initializer):
    """Every value is `init_val`; `dtype` is that of `generate`."""

    def __init__(self, init_val: float = 0.0, dtype: torch.dtype = torch.float32) -> None:
        super().__init__({"init_val": _number(self, "init_val", init_val)})
        self.set_dtype(dtype)

    def _fill(self, rows: Tensor) -> None:
        rows.fill_(self._options["init_val"])


class UniformInitializer(Initializer):
    """Uniform from `a` to `b`."""

    def __init__(self, a: float = 0.0, b: float = 1.0, generator: torch.Generator | None = None) -> None:
        super().__init__(_interval(self, a, b), generator)

    def _fill(self, rows: Tensor) -> None:
        nn.init.uniform_(rows, **self._options, generator=self._generator)


class NormalInitializer(Initializer):
    """Normal with `mean` and standard deviation `std`."""

    def __init__(self, mean: float = 0.0, std: float = 1.0, generator: torch.Generator | None = None) -> None:
        super().__init__({"mean": _number(self, "mean", mean), "std": _number(self, "std", std, least=0)}, generator)

    def _fill(self, rows: Tensor) -> None:
        nn.init.normal_(rows, **self._options, generator=self._generator)


class TruncNormalInitializer(Initializer):
    """Normal with `mean` and `std`, truncated to the interval from `a` to `b`."""

    def __init__(
        self,
        mean: float = 0.0,
        std: float = 1.0,
        a: float = -2.0,
        b: float = 2.0,
        generator: torch.Generator | None = None,
    ) -> None:
        moments = {"mean": _number(self, "mean", mean), "std": _number(self, "std", std, least=0)}
        super().__init__(moments | _interval(self, a, b), generator)

    def _fill(self, rows: Tensor) -> None:
        nn.init.trunc_normal_(rows, **self._options, generator=self._generator)


class XavierUniformInitializer(Initializer):
    """Uniform in plus or minus `gain * sqrt(6 / (fan_in + fan_out))` (Glorot, Bengio 2010).

    A block of the table's `block_size` rows of d values counts as a weight of d inputs and `block_size` outputs.
    """

    def __init__(self, gain: float = 1.0, generator: torch.Generator | None = None) -> None:
        super().__init__({"gain": _number(self, "gain", gain, least=0)}, generator)

    def _fill(self, rows: Tensor) -> None:
        bound = self._options["gain"] * math.sqrt(6 / sum(self._fans(rows)))
        nn.init.uniform_(rows, -bound, bound, generator=self._generator)


class XavierNormalInitializer(Initializer):
    """Normal with deviation `gain * sqrt(2 / (fan_in + fan_out))`; fans as for `XavierUniformInitializer`."""

    def __init__(self, gain: float = 1.0, generator: torch.Generator | None = None) -> None:
        super().__init__({"gain": _number(self, "gain", gain, least=0)}, generator)

    def _fill(self, rows: Tensor) -> None:
        std = self._options["gain"] * math.sqrt(2 / sum(self._fans(rows)))
        nn.init.normal_(rows, 0.0, std, generator=self._generator)


class _KaimingInitializer(Initializer):
    """The deviation shared by both initializers of He et al. 2015."""

    def __init__(self, a: float, mode: str, nonlinearity: str, generator: torch.Generator | None) -> None:
        if not isinstance(mode, str) or mode.lower() not in ("fan_in", "fan_out"):
            raise ArgumentError(f"{type(self).__name__}'s mode", "'fan_in' or 'fan_out'", mode)
        slope, curve = _number(self, "a", a), str(nonlinearity).lower()
        options = {"a": slope, "mode": mode.lower(), "nonlinearity": curve}
        try:
            self._gain = nn.init.calculate_gain(curve, slope)  # type: ignore[arg-type]  # it checks the name itself
        except ValueError:
            where, expected = f"{type(self).__name__}'s nonlinearity", "a name that torch.nn.init.calculate_gain knows"
            raise ArgumentError(where, expected, nonlinearity) from None
        super().__init__(options, generator)

    def _deviation(self, rows: Tensor) -> float:
        fan_in, fan_out = self._fans(rows)
        return self._gain / math.sqrt(fan_in if self._options["mode"] == "fan_in" else fan_out)


class KaimingUniformInitializer(_KaimingInitializer):
    """Uniform in plus or minus `gain * sqrt(3 / fan)`; fans as for `XavierUniformInitializer`."""

    def __init__(
        self,
        a: float = 0.0,
        mode: str = "fan_in",
        nonlinearity: str = "leaky_relu",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(a, mode, nonlinearity, generator)

    def _fill(self, rows: Tensor) -> None:
        bound = math.sqrt(3) * self._deviation(rows)
        nn.init.uniform_(rows, -bound, bound, generator=self._generator)


class KaimingNormalInitializer(_KaimingInitializer):
    """Normal with deviation `gain / sqrt(fan)`; fans as for `XavierUniformInitializer`."""

    def __init__(
        self,
        shape: Sequence[int] | None = None,
        dtype: torch.dtype = torch.float32,
        a: float = 0.0,
        mode: str = "fan_in",
        nonlinearity: str = "leaky_relu",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(a, mode, nonlinearity, generator)
        self.set_shape(shape)
        self.set_dtype(dtype)

    def _fill(self, rows: Tensor) -> None:
        nn.init.normal_(rows, 0.0, self._deviation(rows), generator=self._generator)


def _number(owner: Initializer, name: str, value: float, *, least: float = -math.inf) -> float:
    number = as_real(value)
    if number is None or not (math.isfinite(number) and number >= least):
        expected = "a finite number" if least < 0 else f"a finite number >= {least}"
        raise ArgumentError(f"{type(owner).__name__}'s {name}", expected, value)
    return number


def _interval(owner: Initializer, a: float, b: float) -> dict[str, float]:
    low, high = _number(owner, "a", a), _number(owner, "b", b)
    if low > high:
        raise ArgumentError(f"{type(owner).__name__}'s a and b", "a <= b", (a, b))
    return {"a": low, "b": high}
