"""Convert a run's configuration to JSON: any object that holds settings becomes names with plain values.

Owns the conversion and its bounds. Objects are recognised by their attributes, so no configuration library is imported.
A value that cannot be converted becomes text; the other values are not affected. Must not know what the settings mean.
"""

import argparse
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from datetime import date, time
from enum import Enum
from functools import partial
from itertools import islice
from numbers import Number
from operator import getitem
from pathlib import PurePath
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any

import msgspec

from recis.wire.codec import as_plain
from recis.wire.messages import INT64
from recis.wire.names import distinct_name, spell
from recis.wire.showing import shown, text_of
from recis.wire.text import MAX_NAME_CHARS

__all__ = ["plain_config"]

MAX_BYTES = 256 << 10
"""Size of the configuration as MessagePack; beyond it the largest values are truncated."""
MAX_DEPTH = 16
MAX_ITEMS, MAX_ITEMS_IN_ALL = 4096, 1 << 16
"""Limits on the names, on the values below each name, and on all values."""
MAX_LIST_ITEMS, MAX_ARRAY_ITEMS = 1024, 64
MAX_OBJECT_CHARS = 1024
MAX_TOLD = 8
"""Values that the warning names; further ones are only counted."""
_BY_NAME = (type, FunctionType, BuiltinFunctionType, MethodType)
_NAMELESS = (str, bytes, Sequence, Set, Number, Enum, FunctionType, BuiltinFunctionType, MethodType)

Settings = Iterator[tuple[Any, Callable[[], Any]]]
"""Names, each with a function that returns its value."""


def plain_config(config: object) -> tuple[dict[str, Any], str]:
    """Return the configuration, and a text that names the values that could not be kept as given ("" for none).

    Args:
        config: a mapping, a namespace, a dataclass, an object of pydantic, attrs or OmegaConf, or a class, module or
            object with settings as its attributes; None has no settings.
    """
    if config is None:
        return {}, ""
    conversion = _Conversion()
    plain = conversion.whole(config)
    sizes = {name: _size(name, value) for name, value in plain.items()}
    in_short = {name: shown(value) for name, value in plain.items()}
    least = {name: min(size, _size(name, in_short[name])) for name, size in sizes.items()}
    room = MAX_BYTES - sum(least.values())
    while room < 0:
        room += least[plain.popitem()[0]]
        conversion.tell("config", f"too many names, of which the first {len(plain)} are kept")
    for name in sorted(plain, key=sizes.__getitem__):
        more = sizes[name] - least[name]
        if more > room:
            conversion.tell(name, f"the configuration has more than {MAX_BYTES} bytes")
            plain[name] = in_short[name]
        else:
            room -= more
    return plain, conversion.told()


def _size(name: str, value: Any) -> int:
    return len(msgspec.msgpack.encode((name, value)))


class _Conversion:
    """The conversion of one configuration. Values are identified by their path: `optimizer.betas.0`."""

    def __init__(self) -> None:
        self._told: dict[str, str] = {}
        self._items_left = 0
        self._left_in_all = MAX_ITEMS_IN_ALL

    def tell(self, path: str, why: str) -> None:
        """Record that a value is not kept as given; a later record for the same value replaces an earlier one."""
        self._told[path] = why

    def told(self) -> str:
        """Return the records as one text."""
        named = [f"{text_of(path, MAX_NAME_CHARS)} ({why})" for path, why in islice(self._told.items(), MAX_TOLD)]
        more = len(self._told) - len(named)
        return ", ".join(named) + (f" and {more} more" if more else "")

    def whole(self, config: object) -> dict[str, Any]:
        """Convert a configuration; an object without names is kept under the name `config`."""
        try:
            settings = _settings(config) or _attributes(config)
        except Exception:  # noqa: BLE001 - boundary: a user's object may raise whatever it is asked
            settings = None
        if settings is not None:
            return self._mapping("", settings, (config,))
        self.tell("config", f"expected names and their values, got one {type(config).__name__}")
        return self._mapping("", iter([("config", lambda: config)]), ())

    def _mapping(self, path: str, settings: Settings, above: tuple[Any, ...]) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        while True:
            try:
                setting = next(settings, None)
            except Exception as error:  # noqa: BLE001 - border, as above
                self.tell(path or "config", f"it raised {type(error).__name__} after {len(plain)} names")
                return plain
            if setting is None:
                return plain
            if not path:  # each name has its own budget, so that a large value takes none from the others
                self._items_left = min(MAX_ITEMS, self._left_in_all)
            if (path and self._items_left <= 0) or len(plain) == MAX_ITEMS:
                self.tell(path or "config", f"too many values, of which the first {len(plain)} are kept")
                return plain
            key, get = setting
            name = self._name(path, key, plain)
            plain[name] = self._value(f"{path}.{name}" if path else name, get, above)

    def _name(self, path: str, key: Any, taken: Mapping[str, Any]) -> str:
        text, is_text = spell(key)
        name = distinct_name(text, MAX_NAME_CHARS)
        where = f"{path}.{name}" if path else name
        if not is_text or name != text:
            self.tell(where, "expected a name as printable text")
        number = 1
        while name in taken:
            self.tell(where, "the same name twice")
            number += 1
            name = distinct_name(f"{text} ({number})", MAX_NAME_CHARS)
        return name

    def _value(self, path: str, get: Callable[[], Any], above: tuple[Any, ...]) -> Any:
        self._items_left -= 1
        self._left_in_all -= 1
        value: Any = None
        try:
            value = get()
            return self._plain(path, value, above)
        except Exception as error:  # noqa: BLE001 - border, as above
            raised = f"{type(error).__name__}: {text_of(error, MAX_NAME_CHARS)}"
            self.tell(path, f"it raised {raised}")
            return shown(value) if value is not None else f"<{raised}>"

    def _plain(self, path: str, value: Any, above: tuple[Any, ...]) -> Any:
        value = _simple(value)
        if value is None or type(value) is bool:
            return value
        if type(value) is int:
            return value if value in INT64 else self._text(path, str(value), "an integer that does not fit 64 bits")
        if type(value) is float:
            return value if math.isfinite(value) else _INFINITE.get(value, "NaN")
        if type(value) is str:
            return self._text(path, value)
        if any(value is one for one in above):
            return self._text(path, "(itself)", "it contains itself")
        settings = _settings(value)
        if settings is None and not isinstance(value, Sequence | Set):
            return self._text(path, str(value)[:MAX_OBJECT_CHARS])
        if len(above) >= MAX_DEPTH:
            return self._text(path, shown(value), f"nested more than {MAX_DEPTH} deep")
        if settings is not None:
            return self._mapping(path, settings, (*above, value))
        return self._list(path, value, (*above, value))

    def _list(self, path: str, values: "Sequence[Any] | Set[Any]", above: tuple[Any, ...]) -> list[Any]:
        plain: list[Any] = []
        # The order of a set differs between ranks.
        for value in sorted(values, key=shown) if isinstance(values, Set) else values:
            if len(plain) == MAX_LIST_ITEMS or self._items_left <= 0:
                self.tell(path, f"of {len(values)} values the first {len(plain)} are kept")
                break
            plain.append(self._value(f"{path}.{len(plain)}", partial(_given, value), above))
        return plain

    def _text(self, path: str, text: str, why: str = "") -> str:
        kept = text_of(text)
        if why or kept != text:
            self.tell(path, why or "expected a shorter text of Unicode characters")
        return kept


_INFINITE = {math.inf: "Infinity", -math.inf: "-Infinity"}
"""As in exports: JSON has no such numbers."""


def _given(value: Any) -> Any:
    return value


def _simple(value: Any) -> Any:
    """Return the plain value of a scalar, path, date, function or small array; anything else as it is."""
    if isinstance(value, Enum):
        return as_plain(value.value) if isinstance(value.value, str) else value.name
    value = as_plain(value)
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, _BY_NAME):
        return f"{value.__module__}.{value.__qualname__}"
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and hasattr(value, "tolist"):
        if math.prod(shape) <= MAX_ARRAY_ITEMS:
            return value.tolist()
        return f"{type(value).__name__} of shape {tuple(shape)} and dtype {getattr(value, 'dtype', '?')}"
    return value


def _settings(value: Any) -> Settings | None:
    """Return the names and values of an object that has named fields or keys; None for any other."""
    kind = type(value)
    if isinstance(value, Mapping):
        return ((key, partial(getitem, value, key)) for key in value)
    if callable(getattr(kind, "model_dump", None)):  # pydantic
        return _settings(value.model_dump())
    if callable(getattr(kind, "keys", None)) and hasattr(kind, "__getitem__"):
        return ((key, partial(getitem, value, key)) for key in value.keys())  # noqa: SIM118 - no mapping: it may say otherwise what it has
    names: Any = None
    if dataclasses.is_dataclass(kind):
        names = [one.name for one in dataclasses.fields(kind)]
    elif hasattr(kind, "__attrs_attrs__"):
        names = [one.name for one in kind.__attrs_attrs__]
    elif isinstance(value, msgspec.Struct):
        names = value.__struct_fields__
    elif isinstance(value, tuple) and hasattr(kind, "_fields"):
        names = kind._fields
    elif isinstance(value, argparse.Namespace | SimpleNamespace):
        names = list(vars(value))
    return None if names is None else ((name, partial(getattr, value, name)) for name in names)


def _attributes(config: Any) -> Settings | None:
    """Return the public attributes of a class, module or object, without methods and properties; None without any."""
    if isinstance(config, _NAMELESS) or not hasattr(config, "__dict__"):
        return None
    found: dict[str, Any] = {}
    for holder in (*reversed((config if isinstance(config, type) else type(config)).__mro__), config):
        found.update(vars(holder))
    names = [
        name
        for name, value in found.items()
        if not name.startswith("_") and not hasattr(type(value), "__get__") and not isinstance(value, type | ModuleType)
    ]
    return ((name, partial(getattr, config, name)) for name in names) if names else None
