"""Code: which function it is, and a fingerprint that changes when what the function does may have changed.

The fingerprint is taken of the syntax tree of the function's own source, so that comments, formatting, annotations and
docstrings do not count, and of the values in its closure. The source is believed only if it compiles to the code that
runs; where there is none, or it has changed since it was imported, the bytecode is taken instead.
"""

from __future__ import annotations

import functools
import itertools
import os
import sys
import types
from collections.abc import Callable, Iterable
from pathlib import PurePath
from typing import Any, Literal, TypeAlias, get_args

from s3memo import source
from s3memo.canonical import (
    Fields,
    UnkeyableError,
    add_family,
    add_type,
    form_digest,
    is_reachable,
    module_name,
    qualified_name,
)
from s3memo.codec import is_immutable
from s3memo.errors import KeyDerivationError, SettingsError

Code: TypeAlias = Literal["source", "off"]
CODE_OFF_TAG = "0"

_STANDARD_LIBRARY = str(PurePath(os.__file__).parent) + os.sep
_INSTALLED = frozenset({"site-packages", "dist-packages"})


def namespace_of(function: Callable[..., Any], name: str | None = None, *, fingerprinted: bool = True) -> str:
    """Return the function's identity: `module.qualname`, or `name` if given.

    A module that is run counts as what it would be imported as, or as its script's name. Without a fingerprint in the
    tag (`fingerprinted=False`), nothing but its name tells a function from others; where Python does not make that
    unique, SettingsError asks for one.
    """
    if name is not None:
        if not isinstance(name, str) or not name:
            raise SettingsError(f"name={name!r} must be a string that is not empty")
        return name
    qualname = getattr(function, "__qualname__", None)
    if qualname is None or function.__module__ is None:
        raise SettingsError(f"{function!r} has no name of its own: give name=")
    module = module_name(function.__module__, getattr(function, "__globals__", {}))
    if not fingerprinted and ("<" in qualname or _is_run_by_path(function, module)):
        raise SettingsError(
            f"{module}.{qualname} may be the name of other functions too, and with version= or code='off' no "
            "fingerprint tells them apart: give name="
        )
    return f"{module}.{qualname}"


def tag_of(
    function: Callable[..., Any],
    *,
    version: str | int | None = None,
    code: str = "source",
    depends: Iterable[Any] = (),
    key: Callable[..., Any] | None = None,
) -> str:
    """Return `version` if given, "0" for `code="off"`, else a fingerprint of the code and of what it `depends` on.

    A function's own `key` counts with it, for it decides which calls are one.

    Ask for it when the function is called rather than when it is made: by then its closure is complete. The name of
    the function itself does not count, for it is part of the namespace. Raises SettingsError and KeyDerivationError.
    """
    check_code(version=version, code=code, depends=depends)
    if version is not None:
        return str(version)
    if code == "off":
        return CODE_OFF_TAG
    name = getattr(function, "__qualname__", repr(function))
    form = Fields(_own_form(function, name), depends=tuple(itertools.starmap(_listed_form, enumerate(depends))))
    if key is not None:  # and then defaults are not among the arguments that are keyed
        form["key"] = _function_form(key) if isinstance(key, types.FunctionType) else key
        form["defaults"] = getattr(function, "__defaults__", None), getattr(function, "__kwdefaults__", None)
    try:
        return form_digest(form)
    except UnkeyableError as problem:
        raise problem.explained(
            f"{name} has no fingerprint: ", "version=, to say yourself when the code changes"
        ) from problem.__cause__


def may_vary(*things: Any) -> bool:
    """Whether a fingerprint of these may differ between two calls: code stays, what a cell or container holds may not."""
    return any(map(_may_vary, things))


def _may_vary(thing: Any) -> bool:
    if isinstance(thing, types.FunctionType):
        return thing.__closure__ is not None
    if type(thing) is tuple:
        return any(map(_may_vary, thing))
    return not isinstance(thing, type) and not is_immutable(thing)


def check_code(*, version: object, code: object, depends: object) -> None:
    """Raise SettingsError if the options that make a tag make no sense, without looking at any code."""
    if version is not None and (type(version) not in (str, int) or version == ""):
        raise SettingsError(f"version={version!r} must be a whole number or a string that is not empty")
    if code == "deep":
        raise SettingsError('code="deep" comes with a later release: list what the function uses in depends=')
    if code not in get_args(Code):
        raise SettingsError(f"code={code!r} is unknown: choose one of {', '.join(map(repr, get_args(Code)))}")
    if not isinstance(depends, tuple | list):
        raise SettingsError(f"depends={depends!r} must be a tuple or list of functions, classes and constants")


def _is_run_by_path(function: Callable[..., Any], module: str) -> bool:
    """Whether it comes from a script, a notebook or the REPL; `python -m` runs a module under a name of its own."""
    spec = getattr(function, "__globals__", {}).get("__spec__")
    return function.__module__ in {"__main__", "__mp_main__"} and (spec is None or spec.name != module)


def _listed_form(index: int, item: Any) -> Any:
    """One item of `depends=`: the code of a function or class counts even if it is installed, for the user says so."""
    if isinstance(item, types.FunctionType):
        return _function_form(item)
    if not isinstance(item, type):
        return item
    try:
        return _class_form(item)
    except ValueError as error:
        raise KeyDerivationError(f"depends[{index}]: {error}; leave it out, or give version=") from error


def _own_form(function: Callable[..., Any], name: str) -> Fields:
    if isinstance(function, types.FunctionType):
        # Defaults are part of the arguments, and the source has how they are made.
        return Fields(code=source.function_digest(function.__code__), closure=_closure(function))
    if isinstance(function, types.MethodType | functools.partial):
        return Fields(callable=function)
    raise SettingsError(f"{name} is of type {type(function).__name__}, which has no source: give version=")


def _function(function: types.FunctionType) -> Any:
    """A function as a value: an installed one is known by its name, the user's own by all that decides what it does."""
    if _is_installed(function.__code__.co_filename) and is_reachable(function):
        return qualified_name(function)
    return _function_form(function)


def _function_form(function: types.FunctionType) -> Fields:
    return Fields(
        name=qualified_name(function),
        code=source.function_digest(function.__code__),
        closure=_closure(function),
        defaults=function.__defaults__,
        keyword_defaults=function.__kwdefaults__,
    )


def _closure(function: types.FunctionType) -> dict[str, Any]:
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    # `__class__` is there for super(), and says no more than where the method stands.
    return {name: _content(cell) for name, cell in cells if name != "__class__"}


def _content(cell: types.CellType) -> Any:
    try:
        content = cell.cell_contents
    except ValueError:
        return Fields(empty=True)
    # A module that a factory imports is like one that the file imports: its code is not followed.
    return Fields(module=content.__name__) if isinstance(content, types.ModuleType) else content


def _class(cls: type) -> Any:
    """A class as a value; as for functions, and with the classes it is built on."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    installed = _is_installed(file) if file else cls.__module__.partition(".")[0] in sys.stdlib_module_names
    return qualified_name(cls) if installed and is_reachable(cls) else _class_form(cls)


def _class_form(cls: type) -> Fields:
    if "<locals>" in cls.__qualname__:
        raise ValueError(f"the class {cls.__qualname__} is made inside a function, which may make others like it")
    return Fields(name=qualified_name(cls), code=source.class_digest(cls), bases=cls.__bases__)


def _builtin(function: Any) -> Any:
    owner = function.__self__
    if owner is None or isinstance(owner, types.ModuleType):
        return f"{function.__module__}:{function.__qualname__}"
    return Fields(owner=owner, name=function.__name__)


def _is_installed(filename: str) -> bool:
    """Whether a file belongs to Python or to a package that was installed, and not to the user's own code."""
    python = filename.startswith(("<frozen ", _STANDARD_LIBRARY))
    return python or not _INSTALLED.isdisjoint(PurePath(filename).parts)


def _method(method: types.MethodType) -> Fields:
    return Fields(instance=method.__self__, function=method.__func__)


def _slot(slot: Any) -> Fields:
    return Fields(owner=slot.__objclass__, name=slot.__name__)


add_type(types.FunctionType, "function", _function)
add_type(types.MethodType, "method", _method)
add_type(types.BuiltinFunctionType, "builtin", _builtin)
add_type(types.MethodDescriptorType, "method of type", _slot)
add_type(types.WrapperDescriptorType, "slot of type", _slot)
add_type(functools._lru_cache_wrapper, "lru_cache", lambda wrapper: wrapper.__wrapped__)  # noqa: SLF001  it has no other name
add_family(lambda kind: issubclass(kind, type), "class", _class)
