"""Strict TOML into frozen dataclasses.

A configuration is a frozen dataclass whose fields are ``bool``, ``int``, ``float``, ``str``,
``Path``, ``Literal[...]``, ``tuple[...]``, ``X | None`` or another such dataclass (a TOML table). A
key that is unknown, missing or of another type is a ``UserError`` that names the file and the key;
so is a ``ValueError`` raised by a dataclass's own ``__post_init__``. TOML has no null: the string
"none" stands for ``None`` where the type allows it. This module imports neither torch nor numpy,
for ``--help`` has to be instant.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

from latentnlp.errors import UserError

Config = TypeVar("Config")

_NAMES: dict[Any, str] = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a string",
    Path: "a path (a string)",
    list: "an array",
    dict: "a table",
    type(None): '"none"',
}


@dataclasses.dataclass(frozen=True)
class _Origin:
    """Where a value came from: the file, or the override that set it."""

    where: str
    overrides: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def of(self, key: str) -> str:
        for other, text in self.overrides.items():
            # A value may have come with its whole table, and a table with one of its values.
            if f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}."):
                return text
        return self.where


def load(cls: type[Config], path: Path | None, overrides: Sequence[str] = ()) -> Config:
    """Read ``path`` (``None``: all defaults), apply ``a.b=value`` overrides, build ``cls``.

    Raises: UserError for a missing file, a TOML error (file and line), an unknown or missing key, a
    value of the wrong type, or a value that a dataclass refuses.
    """
    values = {} if path is None else _read(path)
    origins: dict[str, str] = {}
    for override in overrides:
        key, value = _parse_override(override)
        _assign(values, key, value, override)
        origins[key] = f"--set {override}"
    origin = _Origin("configuration" if path is None else str(path), origins)
    return _build(cls, values, origin, "")


def from_dict(cls: type[Config], values: Mapping[str, Any], where: str) -> Config:
    """Build ``cls`` from what ``to_dict`` gave; ``where`` (a file's name) is for the messages.

    Raises: UserError as ``load``.
    """
    return _build(cls, values, _Origin(where), "")


def to_dict(config: Any) -> dict[str, Any]:
    """The configuration as plain dicts, lists and scalars, ready for JSON: no field left out."""
    fields = dataclasses.fields(config)
    return {field.name: _plain(getattr(config, field.name)) for field in fields if field.init}


def at_least(config: Any, **least: float) -> None:
    """For a ``__post_init__``: ValueError where a field that is not None lies below its least."""
    for name, smallest in least.items():
        value = getattr(config, name)
        if value is not None and value < smallest:
            raise ValueError(f"{name} = {value} is below {smallest}")


def between(config: Any, low: float, high: float, *names: str) -> None:
    """For a ``__post_init__``: ValueError where a field is not strictly between two numbers."""
    for name in names:
        value = getattr(config, name)
        if not low < value < high:
            raise ValueError(f"{name} = {value} is not between {low} and {high}")


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


# ---------------------------------------------------------------------------------------- reading


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such configuration file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}") from None
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        place = re.search(r"\(at line (\d+), column \d+\)", message)
        # "(at end of document)" has no line number of its own.
        line = place.group(1) if place else str(len(path.read_bytes().splitlines()) or 1)
        raise UserError(f"{path}:{line}: not valid TOML: {message}") from None


def _parse_override(override: str) -> tuple[str, Any]:
    key, equals, text = override.partition("=")
    key, text = key.strip(), text.strip()
    if not equals or not all(key.split(".")):
        raise UserError(f"--set {override}: expected key=value, for example train.epochs=3")
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return key, text
    return key, parsed["value"] if len(parsed) == 1 else text


def _assign(values: dict[str, Any], key: str, value: Any, override: str) -> None:
    *tables, last = key.split(".")
    for name in tables:
        values = values.setdefault(name, {})
        if not isinstance(values, dict):
            raise UserError(f"--set {override}: {name!r} is a value, not a table")
    values[last] = value


# --------------------------------------------------------------------------------------- building


def _build(cls: type[Any], values: Mapping[str, Any], origin: _Origin, section: str) -> Any:
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    kinds = typing.get_type_hints(cls)
    for name in values:
        if name not in fields:
            raise UserError(_unknown(name, list(fields), origin, section))
    arguments: dict[str, Any] = {}
    for name, field in fields.items():
        key = _join(section, name)
        if name in values:
            value = _completed(field, values[name])
            arguments[name] = _convert(kinds[name], value, origin, key)
        elif _has_default(field):
            continue
        elif dataclasses.is_dataclass(kinds[name]):
            arguments[name] = _convert(kinds[name], {}, origin, key)
        else:
            raise UserError(f"{origin.where}: key {key!r} is missing ({_name(kinds[name])})")
    try:
        return cls(**arguments)
    except ValueError as error:
        place = f"[{section}]: " if section else ""
        raise UserError(f"{_blame(origin, section)}: {place}{error}") from None


def _unknown(name: str, known: list[str], origin: _Origin, section: str) -> str:
    key = _join(section, name)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(known) or 'none'}"
    return f"{origin.of(key)}: unknown key {key!r}; {hint}"


def _blame(origin: _Origin, section: str) -> str:
    """The file, and the overrides that touched this section: either may hold the bad value."""
    touched = [text for key, text in origin.overrides.items() if key.rpartition(".")[0] == section]
    return ", ".join([origin.where, *touched])


def _completed(field: dataclasses.Field[Any], value: Any) -> Any:
    """A table over the one that its section has by default, which may not be its class's own."""
    if field.default_factory is dataclasses.MISSING or not isinstance(value, Mapping):
        return value
    default = _plain(field.default_factory())
    return _over(default, value) if isinstance(default, Mapping) else value


def _over(default: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(default)
    for name, value in values.items():
        below = merged.get(name)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            value = _over(below, value)
        merged[name] = value
    return merged


def _has_default(field: dataclasses.Field[Any]) -> bool:
    return not (
        field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    )


def _join(section: str, name: str) -> str:
    return f"{section}.{name}" if section else name


def _convert(kind: Any, value: Any, origin: _Origin, key: str) -> Any:
    outer = typing.get_origin(kind)
    if outer in (Union, types.UnionType):
        return _convert_union(kind, value, origin, key)
    if outer is Literal:
        return _convert_literal(typing.get_args(kind), value, origin, key)
    if outer is tuple:
        return _convert_tuple(kind, value, origin, key)
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise _mismatch(kind, value, origin, key)
        return _build(typing.cast(type, kind), value, origin, key)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is float and number:
        return float(value)
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind in (bool, int, str) and type(value) is kind:
        return value
    if kind is type(None) and (value is None or value == "none"):
        return None
    if kind not in _NAMES:
        raise TypeError(f"a configuration cannot have a field of type {kind!r} ({key})")
    raise _mismatch(kind, value, origin, key)


def _convert_union(kind: Any, value: Any, origin: _Origin, key: str) -> Any:
    choices = typing.get_args(kind)
    if type(None) in choices and (value is None or value == "none"):
        return None
    choices = [choice for choice in choices if choice is not type(None)]
    if len(choices) == 1:
        return _convert(choices[0], value, origin, key)
    for choice in choices:
        try:
            return _convert(choice, value, origin, key)
        except UserError:
            continue
    raise _mismatch(kind, value, origin, key)


def _convert_literal(allowed: tuple[Any, ...], value: Any, origin: _Origin, key: str) -> Any:
    for choice in allowed:
        if type(choice) is type(value) and choice == value:
            return choice
    listed = ", ".join(repr(choice) for choice in allowed)
    close = difflib.get_close_matches(str(value), [str(choice) for choice in allowed], n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise UserError(f"{origin.of(key)}: {key!r} must be one of {listed}, not {value!r}{hint}")


def _convert_tuple(kind: Any, value: Any, origin: _Origin, key: str) -> Any:
    if not isinstance(value, list | tuple):
        raise _mismatch(kind, value, origin, key)
    kinds = typing.get_args(kind)
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    if len(kinds) != len(value):
        raise UserError(
            f"{origin.of(key)}: {key!r} must hold {len(kinds)} values, found {len(value)}"
        )
    items = zip(kinds, value, strict=True)
    return tuple(_convert(k, v, origin, f"{key}[{n}]") for n, (k, v) in enumerate(items))


def _mismatch(kind: Any, value: Any, origin: _Origin, key: str) -> UserError:
    found = "null" if value is None else f"{_NAMES.get(type(value), type(value).__name__)}"
    shown = "" if value is None or isinstance(value, Mapping | list) else f" ({value!r})"
    where = origin.of(key.partition("[")[0])
    return UserError(f"{where}: {key!r} must be {_name(kind)}, found {found}{shown}")


def _name(kind: Any) -> str:
    outer = typing.get_origin(kind)
    if outer in (Union, types.UnionType):
        return " or ".join(_name(choice) for choice in typing.get_args(kind))
    if outer is Literal:
        return "one of " + ", ".join(repr(choice) for choice in typing.get_args(kind))
    if outer is tuple:
        return "an array"
    return "a table" if dataclasses.is_dataclass(kind) else _NAMES[kind]
