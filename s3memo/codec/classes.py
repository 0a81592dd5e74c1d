"""The classes whose instances may be rebuilt, and the advice for all others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from s3memo.codec import registry
from s3memo.codec.instances import CODES, Instance, instance_of, is_storable
from s3memo.codec.table import PLAIN, Extension, type_name


class Classes:
    """The classes whose instances may be rebuilt from stored bytes, by their stored names."""

    def __init__(self, named: Mapping[str, type]) -> None:
        instances = [instance for name, kind in named.items() if (instance := instance_of(kind, name))]
        self._by_kind = {instance.kind: instance for instance in instances}
        self._by_identity = {instance.identity: instance for instance in instances}
        self._by_code = {code: Extension(code, object, rebuild=self._rebuild) for code in CODES}

    def by_kind(self, kind: type) -> Instance | None:
        """Return the extension for exactly this class, if its instances may be rebuilt."""
        return self._by_kind.get(kind)

    def by_code(self, code: int) -> Extension | None:
        """Return the extension that rebuilds instances stored with this code."""
        return self._by_code.get(code)

    def _rebuild(self, parts: list[Any]) -> object:
        instance = self._by_identity.get(parts[0])
        if instance is None:
            raise TypeError(
                f"no {parts[0]} may be rebuilt here. That class is neither in types= nor in the return annotation, or "
                "it has other fields now"
            )
        return instance.rebuild(parts)


NO_CLASSES = Classes({})


def remedy(kind: type) -> str:
    """Return why a type cannot be stored, and what to do."""
    name = kind.__name__
    if is_storable(kind):
        return (
            "is neither in types= nor in the return annotation, so it may not be rebuilt. "
            f"List it: @s3_cached(types=({name},))"
        )
    base = next((base for base in kind.__mro__ if base in PLAIN or base is list or registry.is_stored(base)), None)
    plain = f"a plain {type_name(base)}" if base else f"Python's built-in types, or {name} to a dataclass"
    return f"this version does not store. Convert it to {plain}"
