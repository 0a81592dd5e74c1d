"""Keys: digests of a call's arguments, the same however they are passed and wherever the call is made."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType, GenericAlias
from typing import Any, get_type_hints

from s3memo import fingerprint  # noqa: F401  registers how functions and classes are keyed
from s3memo.canonical import (
    ByContent,
    Convert,
    Fields,
    FieldsOf,
    Reduce,
    UnkeyableError,
    UnknownHint,
    by_content,
    form_digest,
    is_exact,
    qualified_name,
    register_type,
)
from s3memo.codec import is_immutable
from s3memo.describing import describe
from s3memo.errors import SettingsError


class ArgumentKeys:
    """Derives the keys of one function's calls, however the arguments are passed. Defaults are applied.

    `key` is called with a call's arguments, and its result stands for them. `ignore` names parameters, or keywords in
    `**kwargs`, that do not count. A wrapper made by another decorator is bound by its own signature, since only the
    wrapper knows how it calls what it wraps. Parameters annotated with ByContent are files. Raises SettingsError.
    """

    def __init__(
        self, function: Callable[..., Any], *, key: Callable[..., Any] | None = None, ignore: Iterable[str] = ()
    ) -> None:
        self._name = getattr(function, "__qualname__", None) or repr(function)
        self._function = function
        self._signature = _signature(function, self._name)
        self._key = key
        ignored = _names(ignore)
        if key is not None and not callable(key):
            raise SettingsError(f"key={key!r} is not callable: give a function of {self._name}'s arguments")
        if key is not None and ignored:
            raise SettingsError("give key= or ignore=, not both: what key= returns is all that counts")
        parameters = self._signature.parameters
        self._ignored = ignored & parameters.keys()
        self._ignored_keywords = ignored - parameters.keys()
        self._keywords = next((p.name for p in parameters.values() if p.kind is p.VAR_KEYWORD), None)
        if self._ignored_keywords and self._keywords is None:
            raise SettingsError(_no_parameter(min(self._ignored_keywords), self._name, list(parameters)))
        self._parameters = tuple(parameters)
        by_position = all(p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD} for p in parameters.values())
        self._plain = by_position and not ignored
        self._atoms: FieldsOf | None = None
        self._files: dict[str, Convert] | None = None

    def digest(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
        """Return the digest of one call's arguments. Raises KeyDerivationError, and TypeError if they do not fit."""
        try:
            if self._atoms is not None and not kwargs and len(args) == len(self._parameters):
                digest = self._atoms.digest(args)
                if digest is not None:
                    return digest
            arguments = self._bind(args, kwargs)
            if self._key is not None:
                return form_digest(Fields({"key()": self._key(*args, **kwargs)}))
            return form_digest(arguments)
        except UnkeyableError as problem:
            raise problem.explained(f"{self._name}(): ", *self._remedies(problem.outermost)) from problem.__cause__

    @property
    def follow_values(self) -> bool:
        """Whether calls with equal arguments of Python's atomic types have equal keys, now and later."""
        defaults = [p.default for p in self._signature.parameters.values() if p.default is not p.empty]
        return self._key is None and not self._find_files() and all(map(is_immutable, defaults))

    def described(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, str]:
        """Return a readable description of one call's arguments, without the ignored ones; empty if `key` is given."""
        return {} if self._key is not None else describe(self._named(args, kwargs))

    def _remedies(self, parameter: object) -> tuple[str, ...]:
        if self._key is not None:
            return ("a key= that returns something simpler",)
        return "key= to derive the key yourself", f"ignore=({parameter!r},) if the result does not depend on it"

    def _bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Fields:
        """Return the arguments that count, by parameter. Raises TypeError and UnkeyableError."""
        arguments = self._named(args, kwargs)
        if self._key is None:
            self._put_files(arguments)
        return arguments

    def _put_files(self, arguments: Fields) -> None:
        files = self._find_files()
        for name in files.keys() & arguments.keys():
            try:
                arguments[name] = files[name](arguments[name])
            except (TypeError, ValueError, RecursionError) as error:
                raise UnkeyableError(name, name, f"whose annotation is of files by content: {error}", ()) from error

    def _find_files(self) -> dict[str, Convert]:
        """Return the functions that replace paths by files, by parameter."""
        if self._files is None:  # on the first call, since annotations may name what is defined later
            function = self._function
            inner = inspect.unwrap(function.func if isinstance(function, functools.partial) else function)
            files = _files(inner, self._signature)
            if inner is not function and isinstance(inner, FunctionType):
                self._refuse_hidden(_files(inner, _signature(inner, self._name)).keys() - files.keys())
            self._files = files
            if self._plain and not self._files:
                self._atoms = FieldsOf(self._parameters)
        return self._files

    def _refuse_hidden(self, names: set[str]) -> None:
        """Raise UnkeyableError for files among the parameters of a wrapped function: the wrapper hides them."""
        for name in sorted(names - self._ignored - self._ignored_keywords):
            reason = f"which counts by the content of its file, but is no parameter of what wraps {self._name}"
            raise UnkeyableError(name, name, reason, ("to cache what is wrapped rather than the wrapper",))

    def _named(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Fields:
        if self._plain and not kwargs and len(args) == len(self._parameters):
            return Fields(zip(self._parameters, args, strict=True))
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self._name}(): {error}") from None
        bound.apply_defaults()
        arguments = Fields((name, value) for name, value in bound.arguments.items() if name not in self._ignored)
        if self._ignored_keywords and self._keywords is not None and self._keywords in arguments:
            keywords = arguments[self._keywords].items()
            arguments[self._keywords] = {name: value for name, value in keywords if name not in self._ignored_keywords}
        return arguments


def digest_of(value: Any) -> str:
    """Return the digest of one value. Raises KeyDerivationError."""
    try:
        return form_digest(value)
    except UnkeyableError as problem:
        raise problem.explained("") from problem.__cause__


def register_key(kind: type, fn: Reduce) -> None:
    """Make instances of `kind`, but not of its subclasses, count in keys as the value that `fn(instance)` returns.

    `fn` must return equal values for equal instances in every process. Raises SettingsError.
    """
    if not isinstance(kind, type):
        raise SettingsError(f"register_key({kind!r}, …): the first argument must be a class")
    if not callable(fn):
        raise SettingsError(f"register_key({kind.__qualname__}, {fn!r}): the second argument must be a function")
    if is_exact(kind):
        raise SettingsError(f"register_key({kind.__qualname__}, …): its keys are exact as they are")
    register_type(kind, f"registered {qualified_name(kind)}", fn)


def _files(function: Callable[..., Any], signature: inspect.Signature) -> dict[str, Convert]:
    """Return the functions that replace paths by files, by parameter. Raises UnkeyableError."""
    files = {}
    for name, parameter in signature.parameters.items():
        try:
            convert = by_content(_hint(function, parameter))
        except Exception as error:  # annotations may be any text
            reason = f"whose annotation {parameter.annotation!r} fails: {type(error).__name__}: {error}"
            raise UnkeyableError(name, name, reason, ()) from error
        if convert is not None:
            files[name] = convert
    return files


def _hint(function: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """Return the type hint of a parameter as a whole; None if it has nothing to do with files."""
    if parameter.annotation is parameter.empty:
        return None
    namespace = getattr(function, "__globals__", {})
    holder = type("_", (), {"__annotations__": {"hint": parameter.annotation}})
    try:
        hint = get_type_hints(holder, namespace, _inner_names(function), include_extras=True)["hint"]
    except Exception:
        if ByContent.__name__ in str(parameter.annotation):
            raise
        # It may name what only type checkers see, or be a local alias of the ByContent mark.
        hint = UnknownHint if not namespace or any(value is ByContent for value in list(namespace.values())) else None
    if parameter.kind is parameter.VAR_POSITIONAL:
        return GenericAlias(tuple, (hint, ...))
    return GenericAlias(dict, (str, hint)) if parameter.kind is parameter.VAR_KEYWORD else hint


def _inner_names(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the non-global names that a function's annotations can see: its class's and its type parameters."""
    holder: Any = sys.modules.get(getattr(function, "__module__", None) or "")
    for part in getattr(function, "__qualname__", "").split(".")[:-1]:
        holder = getattr(holder, part, None)
    names = dict(vars(holder)) if isinstance(holder, type) else {}
    return names | {parameter.__name__: parameter for parameter in getattr(function, "__type_params__", ())}


def _signature(function: Callable[..., Any], name: str) -> inspect.Signature:
    try:
        return inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):
        raise SettingsError(f"{name} does not tell its parameters: call it in a function of your own") from None


def _names(ignore: Iterable[str]) -> frozenset[str]:
    """Return the names in `ignore`; a single string, whose letters would be the names, is an error."""
    if isinstance(ignore, str):
        raise SettingsError(f"ignore={ignore!r} must be a tuple or list of names: ignore=({ignore!r},)")
    try:
        names = frozenset(ignore)
    except TypeError:
        raise SettingsError(f"ignore={ignore!r} must be a tuple or list of names") from None
    if not all(isinstance(name, str) for name in names):
        raise SettingsError(f"ignore={ignore!r} must hold the names of parameters, as strings")
    return names


def _no_parameter(name: str, function: str, parameters: list[str]) -> str:
    import difflib  # noqa: PLC0415  only needed for a mistake

    closest = difflib.get_close_matches(name, parameters, n=1)
    suggestion = f" Did you mean {closest[0]!r}?" if closest else ""
    listed = f"its parameters are {', '.join(parameters)}" if parameters else "it has none"
    return f"ignore= names {name!r}, which is no parameter of {function}: {listed}.{suggestion}"
