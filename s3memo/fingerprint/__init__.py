"""Code: the identity of a function, and a fingerprint that changes whenever the function may behave differently.

The fingerprint covers the syntax tree of the function's own source, so that comments, formatting, annotations and
docstrings do not count, and the values in its closure. The source is used only if it compiles to the code that runs; if
there is none, or it was edited since the import, the bytecode is used instead.
"""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Literal, TypeAlias, get_args

from s3memo.canonical import (
    Fields,
    UnkeyableError,
    add_family,
    add_type,
    form_digest,
    home_namespace,
    is_reachable,
    module_name,
    qualified_name,
)
from s3memo.codec.table import HEAP_TYPE
from s3memo.errors import KeyDerivationError, SettingsError
from s3memo.fingerprint import deep, hints, parts, source
from s3memo.fingerprint.watch import ABSENT, Watch, content_of

Code: TypeAlias = Literal["source", "deep", "off"]
CODE_OFF_TAG = "0"

_SINGLEDISPATCH = functools.singledispatch(lambda _: None).__code__  # type: ignore[attr-defined]  # it is a function


def namespace_of(function: Callable[..., Any], name: str | None = None, *, fingerprinted: bool = True) -> str:
    """Return the function's identity: `module.qualname`, or `name` if given.

    `__main__` counts under the name it would be imported by, or its script's name. Without a fingerprint in the tag
    (`fingerprinted=False`), only the name identifies a function; if Python does not make it unique, SettingsError asks for
    one.
    """
    if name is not None:
        if not isinstance(name, str) or not name:
            raise SettingsError(f"name={name!r} must be a string that is not empty")
        return name
    qualname = getattr(function, "__qualname__", None)
    if qualname is None or function.__module__ is None:
        raise SettingsError(f"{function!r} has no name of its own: give name=")
    module = module_name(function.__module__, home_namespace(function))
    if not fingerprinted and ("<" in qualname or _is_run_by_path(function, module)):
        raise SettingsError(
            f"{module}.{qualname} may be the name of other functions too, and with version= or code='off' no "
            "fingerprint tells them apart: give name="
        )
    return f"{module}.{qualname}"


class CodeTag:
    """The tag of a function's code: `version` if given, "0" for `code="off"`, else a fingerprint.

    The fingerprint covers the function's code and closure and what it `depends` on; with `code="deep"` also all that these
    use of their own package. The `key` function counts too, since it decides which calls are the same. The name of the
    function does not count, since it is part of the namespace.

    Ask for `current()` when the function is called rather than when it is made: only then its closure is complete. The tag
    is derived again only if something it was derived from has changed. Raises SettingsError.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        version: str | int | None = None,
        code: str = "source",
        depends: Iterable[Any] = (),
        key: Callable[..., Any] | None = None,
    ) -> None:
        check_code(version=version, code=code, depends=depends)
        self._function, self._code, self._depends, self._key = function, code, tuple(depends), key
        self._fixed = str(version) if version is not None else CODE_OFF_TAG if code == "off" else None
        self._known: tuple[str, Watch] | None = None

    def current(self) -> str:
        """Return the present tag. Raises SettingsError and KeyDerivationError."""
        if self._fixed is not None:
            return self._fixed
        known = self._known
        if known is None or not known[1].holds():
            known = self._known = self._derive()
        return known[0]

    def settled(self) -> tuple[Any, Any] | None:
        """Return a function and its code if the tag depends on nothing else that can change; else None."""
        if self._fixed is not None:
            code = getattr(self._function, "__code__", None)
            return None if code is None else (self._function, code)
        self.current()
        return self._known[1].lone_function() if self._known else None

    def _derive(self) -> tuple[str, Watch]:
        name = getattr(self._function, "__qualname__", repr(self._function))
        function, *others = map(_innermost, (self._function, *self._depends, self._key))
        own = [function, *(other for other in others if _is_code(other) and not _is_installed(other))]
        scope = deep.Scope(filter(_is_code, own))
        while True:
            walk = deep.Walk(_label(self._function), scope, follows=self._code == "deep")
            try:
                with walk.active():
                    tag = form_digest(self._form(name, walk.watch), meet=walk.note_kind)
            except UnkeyableError as problem:
                raise problem.explained(
                    f"{name} has no fingerprint: ", "version=, to say yourself when the code changes"
                ) from problem.__cause__
            if self._code == "deep":
                tag = form_digest(Fields(own=tag, uses=walk.follow()))
            if not walk.has_imported:
                return tag, walk.finish()

    def _form(self, name: str, watch: Watch) -> Fields:
        function, key = self._function, self._key
        defaults = key is not None  # with key= the default values are not keyed as arguments
        form = Fields(
            _own_form(function, name, defaults=defaults or self._code == "deep"),
            depends=tuple(_dependency(index, item, watch) for index, item in enumerate(self._depends)),
        )
        if key is not None:
            watch.value(key)
            form["key"] = _function_form(key) if isinstance(key, types.FunctionType) else key
            form["defaults"] = getattr(function, "__defaults__", None), getattr(function, "__kwdefaults__", None)
        return form


def tag_of(function: Callable[..., Any], **options: Any) -> str:
    """Return the present tag of a function; the options are those of CodeTag."""
    return CodeTag(function, **options).current()


def check_code(*, version: object, code: object, depends: object) -> None:
    """Raise SettingsError for invalid options of a tag, without looking at any code."""
    if version is not None and (type(version) not in (str, int) or version == ""):
        raise SettingsError(f"version={version!r} must be a whole number or a string that is not empty")
    if code not in get_args(Code):
        raise SettingsError(f"code={code!r} is unknown: choose one of {', '.join(map(repr, get_args(Code)))}")
    if not isinstance(depends, tuple | list):
        raise SettingsError(f"depends={depends!r} must be a tuple or list of functions, classes and constants")


Digests: TypeAlias = Mapping[type, tuple[str, Mapping[str, str]]]


def class_digests(cls: type) -> Digests:
    """Return the digests of a class, of its bases, and by name of their functions, where the user's source is found.

    They are sent along with a class that cloudpickle sends by value, since its source is not.
    """
    digests = {}
    for base in cls.__mro__:
        if not _is_installed(base):
            functions = {name: source.function_digest(code) for name, code in _codes(base).items()}
            with suppress(ValueError):
                digests[base] = source.class_digest(base), functions
    return digests


def note_class_digests(digests: Digests) -> None:
    """Note the digests of classes that were sent here, except of those that are imported here."""
    for cls, (digest, functions) in digests.items():
        if not is_reachable(cls):
            source.note_class_digest(cls, digest)
            for name, code in _codes(cls).items():
                source.note_function_digest(code, functions[name])


def _codes(cls: type) -> dict[str, types.CodeType]:
    """Return the code of each function among a class's attributes, unwrapped."""
    innermost = {name: _innermost(getattr(value, "__func__", value)) for name, value in vars(cls).items()}
    return {name: thing.__code__ for name, thing in innermost.items() if isinstance(thing, types.FunctionType)}


def _is_run_by_path(function: Callable[..., Any], module: str) -> bool:
    """Whether it comes from a script, a notebook or the REPL; a module run by `python -m` has a name of its own."""
    spec = home_namespace(function).get("__spec__")
    return function.__module__ in {"__main__", "__mp_main__"} and (spec is None or spec.name != module)


def _dependency(index: int, item: Any, watch: Watch) -> Any:
    """Return the form of an item of `depends=`, with that of its redefinition, as when a notebook's cell is run again."""
    watch.value(item)
    listed = _listed_form(index, item)
    successor = _successor(item, watch)
    if successor is item:
        return listed
    latest = _listed_form(index, successor)
    return listed if form_digest(listed) == form_digest(latest) else Fields(listed=listed, latest=latest)


def _listed_form(index: int, item: Any) -> Any:
    """Return the form of an item; the code of functions and classes counts even if they are installed."""
    if isinstance(item, types.FunctionType):
        return _function_form(item)
    if not isinstance(item, type):
        return item
    try:
        return _class_form(item)
    except ValueError as error:
        raise KeyDerivationError(f"depends[{index}]: {error}; leave it out, or give version=") from error


def _successor(item: Any, watch: Watch) -> Any:
    """Return the function or class that now has an item's name; the item itself if there is none."""
    first, *inner = getattr(item, "__qualname__", "<").split(".")
    if first.startswith("<") or "<locals>" in inner or not _is_code(_innermost(item)):
        return item
    namespace = home_namespace(item)
    found = watch.read(namespace, first) if namespace else None
    for name in inner:
        found = getattr(found, name, None)
    return found if _is_code(_innermost(found)) else item


def _own_form(function: Callable[..., Any], name: str, *, defaults: bool) -> Fields:
    if isinstance(function, types.FunctionType) and function.__code__ is not _SINGLEDISPATCH:
        # Default values are keyed as arguments; their expressions are in the source.
        deep.note(function, defaults=defaults)
        code = source.function_digest(function.__code__, undecorated=True)  # its decorators are outside of it
        return Fields(code=code, closure=_closure(function))
    if isinstance(function, types.FunctionType | types.MethodType | functools.partial):
        deep.watch(function)
        return Fields(callable=function)
    raise SettingsError(f"{name} is of type {type(function).__name__}, which has no source: give version=")


def _function(function: types.FunctionType) -> Any:
    """Return the form of a function as a value: an installed one's name, the user's own code and data."""
    generic = function.__code__ is _SINGLEDISPATCH  # users may register implementations in an installed one
    if _is_installed(function) and is_reachable(function) and not (generic or deep.is_own(function)):
        return qualified_name(function)
    return _function_form(function)


def _function_form(function: types.FunctionType) -> Fields:
    if function.__code__ is _SINGLEDISPATCH:
        deep.watch(function.registry)  # type: ignore[attr-defined]  # singledispatch gives it one
        return Fields(name=qualified_name(function), implementations=dict(function.registry))  # type: ignore[attr-defined]
    deep.note(function)
    return Fields(
        name=qualified_name(function),
        code=source.function_digest(function.__code__),
        closure=_closure(function),
        defaults=function.__defaults__,
        keyword_defaults=function.__kwdefaults__,
    )


def _closure(function: types.FunctionType) -> Fields:
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    # `__class__` is there for super(), and only names the method's class.
    return Fields((name, _content(cell)) for name, cell in cells if name != "__class__")


def _content(cell: types.CellType) -> Any:
    content = content_of(cell)
    if content is ABSENT:
        return Fields(empty=True)
    # A module in a closure is like one that the file imports: its code is not followed.
    return Fields(module=content.__name__) if isinstance(content, types.ModuleType) else content


def _class(cls: type) -> Any:
    """Return the form of a class as a value; as for functions, and with its bases."""
    named = is_reachable(cls) or not cls.__flags__ & HEAP_TYPE  # a static type is one of a kind
    return qualified_name(cls) if named and _is_installed(cls) and not deep.is_own(cls) else _class_form(cls)


def _class_form(cls: type) -> Fields:
    deep.note(cls)
    followed = deep.is_followed(cls)
    if "<locals>" in cls.__qualname__ and not followed:
        raise ValueError(f"the class {cls.__qualname__} is made inside a function, which may make others like it")
    try:
        code = source.class_digest(cls)
    except ValueError:
        if not (followed or parts.is_only_names(cls, deep.is_users)):
            raise
        code = ""
    form = Fields(name=qualified_name(cls), code=code)
    if not followed:  # else its parts are added by the walk
        for name, value in parts.of_class(cls, vars(cls), deep.is_users):
            deep.watch(value)
            form[f"{cls.__name__}.{name}"] = parts.stand_in(value, deep.is_users)
    return form


def _builtin(function: Any) -> Any:
    owner = function.__self__
    if owner is None or isinstance(owner, types.ModuleType):
        return f"{function.__module__}:{function.__qualname__}"
    return Fields(owner=owner, name=function.__name__)


def _is_installed(thing: Any) -> bool:
    """Whether a function or class belongs to Python or an installed package rather than to the user.

    A user's function remains the user's under an installed decorator.
    """
    thing = _innermost(thing)
    if isinstance(thing, types.FunctionType) and not source.is_installed(thing.__code__.co_filename):
        return False
    file = getattr(sys.modules.get(thing.__module__), "__file__", None)
    return source.is_installed(file) if file else thing.__module__.partition(".")[0] in sys.stdlib_module_names


def _innermost(thing: Any) -> Any:
    """Unwrap methods, partials and what functools.wraps has marked."""
    while True:
        if isinstance(thing, functools.partial):
            thing = thing.func
        elif isinstance(thing, types.MethodType):
            thing = thing.__func__
        elif not isinstance(thing, type) and hasattr(thing, "__wrapped__"):
            thing = thing.__wrapped__
        else:
            return thing


def _is_code(thing: Any) -> bool:
    return isinstance(thing, types.FunctionType | type)


def _label(function: Callable[..., Any]) -> str:
    inner = _innermost(function)
    return deep.display_name(inner) if _is_code(inner) else repr(function)


def _method(method: types.MethodType) -> Fields:
    return Fields(instance=method.__self__, function=method.__func__)


def _slot(slot: Any) -> Fields:
    return Fields(owner=slot.__objclass__, name=slot.__name__)


add_type(types.FunctionType, "function", _function)
add_type(types.MethodType, "method", _method)
add_type(types.BuiltinFunctionType, "builtin", _builtin)
add_type(types.MethodDescriptorType, "method of type", _slot)
add_type(types.WrapperDescriptorType, "slot of type", _slot)
add_type(functools._lru_cache_wrapper, "lru_cache", lambda wrapper: wrapper.__wrapped__)  # noqa: SLF001  it has no public name
add_family(lambda kind: issubclass(kind, type), "class", _class)
# What stands in the body of a class.
add_type(staticmethod, "staticmethod", lambda method: method.__func__)
add_type(classmethod, "classmethod", lambda method: method.__func__)
add_type(property, "property", lambda value: Fields(get=value.fget, set=value.fset, delete=value.fdel))
add_type(functools.cached_property, "cached_property", lambda value: value.func)
add_type(
    functools.partialmethod,
    "partialmethod",
    lambda value: Fields(call=value.func, args=value.args, keywords=value.keywords),
)
add_type(functools.singledispatchmethod, "singledispatchmethod", lambda value: value.dispatcher)
add_type(types.MappingProxyType, "mappingproxy", dict)
add_type(types.SimpleNamespace, "SimpleNamespace", vars)
for _kind, (_name, _reduce) in hints.REDUCTIONS.items():
    add_type(_kind, _name, _reduce)
