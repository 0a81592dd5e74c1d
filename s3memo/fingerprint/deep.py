"""Follows what a function uses of its own package, from name to name, so that a change in any of it counts.

It follows global names, attributes of modules, and functions' own imports, to functions, to whole classes (bases,
attributes, and what the class statement reads), and to values. Objects of other packages count by their name. What the
code does not name is not seen: `docs/keys.md` lists it.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import sys
import types
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, NamedTuple

from s3memo.canonical import Fields, UnkeyableError, form_digest, module_name, qualified_name
from s3memo.errors import KeyDerivationError
from s3memo.fingerprint import names, parts, source
from s3memo.fingerprint.names import Read
from s3memo.fingerprint.watch import ABSENT, Watch, content_of

Form = dict[str, str]

_REMEDIES = (
    'code="source", with depends= for what decides the result',
    "version=, to say yourself when the code changes",
)
_NOT_READ = frozenset(  # where a module is and how it was found, which is not its code
    {
        "__annotations__", "__builtins__", "__cached__", "__file__", "__loader__", "__name__", "__package__",
        "__path__", "__spec__",
    }
)  # fmt: skip

_current: ContextVar[Walk | None] = ContextVar("s3memo_walk", default=None)


class Scope:
    """Whose code is followed: that of the packages of `roots`.

    A root in a script, a notebook or a single module has no package; then all code that is not installed is followed.
    """

    def __init__(self, roots: Iterable[object] = (), *, all_own: bool = False) -> None:
        self._packages: set[str] = set()
        self._all_own = all_own
        for root in roots:
            name, _ = _home(root)
            package = name.partition(".")[0]
            if package != name or hasattr(sys.modules.get(package), "__path__"):
                self._packages.add(package)
            else:
                self._all_own = True

    def covers(self, thing: object) -> bool:
        """Whether a function, class or module is to be followed."""
        name, file = _home(thing)
        return self._covers(name.partition(".")[0], file)

    def covers_import(self, name: str) -> bool:
        """Whether a module, imported yet or not, is to be followed."""
        package = name.partition(".")[0]
        if package in sys.modules:
            return self.covers(sys.modules[package])
        spec = importlib.util.find_spec(package)
        return spec is not None and self._covers(package, spec.origin)

    def _covers(self, package: str, file: str | None) -> bool:
        if package in self._packages or not self._all_own or not package:
            return package in self._packages
        return not source.is_installed(file) if file else package not in sys.stdlib_module_names


_USERS = Scope(all_own=True)


class _Names(NamedTuple):
    """Where code looks up its names: its module's namespace, and the cells of its free variables."""

    namespace: Mapping[str, Any]
    cells: Mapping[str, types.CellType] = types.MappingProxyType({})

    @classmethod
    def of(cls, function: types.FunctionType) -> _Names:
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        return cls(function.__globals__, dict(cells))

    @property
    def module(self) -> str:
        return module_name(self.namespace.get("__name__", ""), self.namespace)


class Walk:
    """One derivation of a fingerprint: the functions and classes in it, what they read, and a watch over all of it."""

    def __init__(self, name: str, scope: Scope, *, follows: bool) -> None:
        self.scope = scope
        self.follows = follows
        self.watch = Watch(self._digest_again)
        self.has_imported = False
        """Whether the walk imported modules, which may have changed what it read before."""
        self._trail: tuple[str, ...] = (name,)
        self._pending: deque[tuple[Any, tuple[str, ...]]] = deque()
        self._noted: dict[int, Any] = {}
        self._met: set[type] = set()
        self._is_over = False

    @contextmanager
    def active(self) -> Iterator[None]:
        """Let functions and classes whose forms are written in the block take part."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    def follow(self) -> dict[tuple[str, str], Form]:
        """Return what each function and class reads, until no new one is found. Raises KeyDerivationError."""
        found: dict[tuple[str, str], Form] = {}
        while self._pending:
            thing, self._trail = self._pending.popleft()
            if isinstance(thing, type):
                digest, read = _class_digest(thing), self._of_class(thing)
            else:
                digest, read = source.function_digest(thing.__code__, undecorated=True), self._of_function(thing)
            with self.active():
                form = {label: self._form(label, value) for label, value in read}
            if found.setdefault((qualified_name(thing), digest), form) != form:
                raise KeyDerivationError(
                    f"{self._path()} is the name of two that read alike and use different things, so {self._trail[0]} "
                    f"has no fingerprint. What helps: names of their own; {'; '.join(_REMEDIES)}."
                )
        return found

    def finish(self) -> Watch:
        """End the walk and return the watch over what was read."""
        self._is_over = True
        return self.watch

    def note(self, thing: types.FunctionType | type, *, defaults: bool) -> None:
        if self._is_over or id(thing) in self._noted:
            return
        self._noted[id(thing)] = thing
        if isinstance(thing, types.FunctionType):
            self.watch.function(thing, defaults=defaults)
        if self.follows and self.scope.covers(thing):
            self._pending.append((thing, (*self._trail, display_name(thing))))
        elif isinstance(thing, type):
            self.watch.of_class(thing)

    def note_kind(self, kind: type) -> None:
        """Let an object's class take part, and not only its content."""
        if self.follows and kind not in self._met:
            self._met.add(kind)
            if self.scope.covers(kind):
                self.note(kind, defaults=False)

    def note_value(self, value: Any) -> None:
        if not self._is_over:
            self.watch.value(value)

    def _digest_again(self, value: Any) -> str | None:
        try:
            with self.active():
                return form_digest(parts.stand_in(value, self.scope.covers))
        except UnkeyableError:
            return None  # it has changed, so the tag is derived again, which raises the error

    def _form(self, label: str, value: Any) -> str:
        if isinstance(value, types.ModuleType) and self.scope.covers(value):
            raise KeyDerivationError(
                f"{self._path()} uses {label}, a module, as a value, so which of its names count cannot be told. "
                f"What helps: to write out {label}.name; {'; '.join(_REMEDIES)}."
            )
        stand_in = parts.stand_in(value, self.scope.covers)
        if stand_in is value:
            self.watch.value(value)
        try:
            return form_digest(Fields({label: stand_in}), meet=self.note_kind)
        except UnkeyableError as problem:
            raise problem.explained(f"{self._path()} uses {label}: ", *_REMEDIES) from problem.__cause__

    def _path(self) -> str:
        first, *others = dict.fromkeys(self._trail)
        return first + "".join(f" uses {name}, which" for name in others)

    def _of_class(self, cls: type) -> Iterator[tuple[str, Any]]:
        """Yield the parts of a class, and what its class statement reads, which may not be visible in the class."""
        name = display_name(cls)
        for attribute, value in parts.of_class(cls, self.watch.of_class(cls), self.scope.covers):
            yield f"{name}.{attribute}", value
        if not _class_digest(cls):
            self._check_metaclass(cls)
            yield f"{name}.__annotations__", vars(cls).get("__annotations__")
        module = sys.modules.get(cls.__module__)
        yield from self._read_all(source.class_reads(cls), _Names(vars(module) if module else {}))

    def _check_metaclass(self, cls: type) -> None:
        """Refuse a class without source whose foreign metaclass may have hidden parts of its body."""
        metaclass = type(cls)
        if metaclass.__module__.partition(".")[0] not in sys.stdlib_module_names and not self.scope.covers(metaclass):
            raise KeyDerivationError(
                f"{self._path()} uses {display_name(cls)}, whose source is not found, and what "
                f"{display_name(metaclass)} has made of it cannot be told. What helps: to define it at the top of a "
                f"module; {'; '.join(_REMEDIES)}."
            )

    def _of_function(self, function: types.FunctionType) -> Iterator[tuple[str, Any]]:
        defaults = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
        for index, default in enumerate(defaults):
            if isinstance(default, types.FunctionType | type):  # other values are keyed as arguments
                yield f"{display_name(function)}.__defaults__[{index}]", default
            else:
                self._note_kinds(default)
        self._note_owner(function)
        read, modules = names.reads(source.plain_code(function.__code__))
        scope = _Names.of(function)
        for name in sorted(modules):
            self._import(name, scope)
        yield from self._read_all(read, scope)

    def _note_kinds(self, default: Any) -> None:
        """Let the classes of the objects in a default take part."""
        with suppress(UnkeyableError):  # raised when a call uses the default
            form_digest(default, meet=self.note_kind)

    def _note_owner(self, function: types.FunctionType) -> None:
        """Let a method's class take part, since the method can reach all of it by `self`."""
        first, *inner = function.__qualname__.split(".")
        if not inner or "<locals>" in inner:
            return
        owner = self.watch.read(function.__globals__, first)
        for part in inner[:-1]:
            owner = getattr(owner, part, None)
        if isinstance(owner, type) and self.scope.covers(owner):
            self.note(owner, defaults=False)

    def _read_all(self, read: Iterable[Read], scope: _Names) -> Iterator[tuple[str, Any]]:
        for item in sorted(read):
            if item.name not in _NOT_READ:
                yield from self._read(item, scope)

    def _read(self, read: Read, scope: _Names) -> Iterator[tuple[str, Any]]:
        """Yield the value of a name, unless it is a builtin, counts elsewhere, or is not defined yet."""
        label = f"{scope.module}.{read}"
        if read.imported:
            value, label = self._import(read.name, scope), str(read)
        elif read.name in scope.cells:
            value = content_of(scope.cells[read.name])
            if not isinstance(value, types.ModuleType):
                return  # it counts as part of the closure
        else:
            value = self.watch.read(scope.namespace, read.name)
            if value is ABSENT:
                self.watch.read(vars(builtins), read.name)
                return
        attributes = list(read.attributes)
        while attributes and isinstance(value, types.ModuleType) and self.scope.covers(value):
            if attributes[0] in _NOT_READ:
                return
            value = self._attribute(value, attributes.pop(0), scope)
        if isinstance(value, types.FunctionType) and attributes and self.scope.covers(value):
            attribute = self.watch.read(vars(value), attributes[0])
            if attribute is not ABSENT:
                yield f"{display_name(value)}.{attributes[0]}", attribute
        if value is not ABSENT:
            yield label, value

    def _attribute(self, module: types.ModuleType, name: str, scope: _Names) -> Any:
        value = self.watch.read(vars(module), name)
        if value is ABSENT and hasattr(module, "__getattr__"):
            value = getattr(module, name, ABSENT)
        return self._import(f"{module.__name__}.{name}", scope) if value is ABSENT else value

    def _import(self, name: str, scope: _Names) -> Any:
        """Return the module that a function imports when it runs, importing it if it is to be followed; or ABSENT."""
        namespace = scope.namespace
        package = namespace.get("__package__") or namespace.get("__name__", "").rpartition(".")[0]
        try:
            absolute = importlib.util.resolve_name(name, package)
            if absolute not in sys.modules and self.scope.covers_import(absolute):
                importlib.import_module(absolute)
                self.has_imported = True
        except ImportError:
            return ABSENT  # the function will fail alike, and may handle it
        except Exception as error:
            raise KeyDerivationError(
                f"{self._path()} imports {name}, which raises {type(error).__name__}: {error}. "
                f"What helps: {'; '.join(_REMEDIES)}."
            ) from error
        return sys.modules.get(absolute, ABSENT)


def note(thing: types.FunctionType | type, *, defaults: bool = True) -> None:
    """Let a function or class take part in the fingerprint being derived, if any."""
    walk = _current.get()
    if walk is not None:
        walk.note(thing, defaults=defaults)


def watch(value: Any) -> None:
    """Watch a value for changes, if a fingerprint is being derived."""
    walk = _current.get()
    if walk is not None:
        walk.note_value(value)


def is_own(thing: object) -> bool:
    """Whether the fingerprint being derived, if any, is of code of the same package."""
    walk = _current.get()
    return walk is not None and walk.scope.covers(thing)


def is_users(thing: object) -> bool:
    """Whether a function, class or module is the user's, or `is_own`."""
    return _USERS.covers(thing) or is_own(thing)


def is_followed(thing: types.FunctionType | type) -> bool:
    """Whether the fingerprint being derived, if any, follows this function or class."""
    walk = _current.get()
    return walk is not None and walk.follows and walk.scope.covers(thing)


def _home(thing: Any) -> tuple[str, str | None]:
    """Return the name and the file of a function's or class's module, or of a module itself."""
    if isinstance(thing, types.FunctionType):
        namespace, name = thing.__globals__, thing.__globals__.get("__name__", "")
    else:
        name = thing.__name__ if isinstance(thing, types.ModuleType) else thing.__module__
        namespace = vars(sys.modules[name]) if name in sys.modules else {}
    return module_name(name, namespace), namespace.get("__file__")


def display_name(thing: types.FunctionType | type) -> str:
    """Return the name of a function or class as users know it."""
    return qualified_name(thing).replace(":", ".")


def _class_digest(cls: type) -> str:
    try:
        return source.class_digest(cls)
    except ValueError:
        return ""  # then only its parts count
