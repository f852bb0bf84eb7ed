"""Exceptions as plain data: told of on one side, made again on the other as the nearest class that may travel."""

from collections.abc import Callable, Iterator
from typing import Any

from .codec import Refused, encode
from .decode import decode
from .names import EXCEPTIONS, standard

MAX_MESSAGE = 400  # characters
_MAX_CLASSES = 16
_MAX_NAME = 100  # characters
_MAX_BYTES = 1 << 15  # of arguments and attributes: larger ones stay behind
_ENDS_LOOPS = ("StopIteration", "StopAsyncIteration", "GeneratorExit")


def describe(error: BaseException, attributes: bool = True) -> bytes:
    """An exception as plain data: (names of its class and bases, message, details).

    details: bytes, for a judge alone to read: (modules of the classes, arguments, attributes), where the last two are
    None if they are not plain, or too large, or not to be told.
    """
    classes = type(error).__mro__[:_MAX_CLASSES]
    names = tuple(_word(kind, "__name__") for kind in classes)
    modules = tuple(_word(kind, "__module__") for kind in classes)
    message = _attempt(lambda: str(error)[:MAX_MESSAGE]) or ""
    arguments = _attempt(lambda: tuple(error.args))
    told = _attempt(lambda: dict(vars(error))) if attributes else None
    details = b""
    for more in ((arguments, told), (arguments, None), (None, None)):
        details = _attempt(encode, (modules, *more)) or b""
        if 0 < len(details) <= _MAX_BYTES:
            break
    return encode((names, message, details))


def _attempt(get: Callable, *arguments: Any) -> Any:
    """What get() gives; None where it raises: it may run the program's own code."""
    try:
        return get(*arguments)
    except BaseException:
        return None


def _word(kind: type, attribute: str) -> str:
    return str(_attempt(lambda: str(getattr(kind, attribute))[:_MAX_NAME]) or "?")


def revive(payload: bytes, ends_loops: bool) -> BaseException:
    """The exception that `describe` told of, as the nearest class that may travel. Raises Refused.

    ends_loops: whether it may be one that Python takes for the end of a loop. What a program raises may not: in a
    test `map`, `zip` and `for` would end as if all were well.
    """
    names, message, details = _checked(decode(payload))
    modules, arguments, attributes = _details(details, len(names))
    name, message = names[0][:_MAX_NAME], message[:MAX_MESSAGE]
    error: BaseException = Exception(f"{name}: {message}")
    for kind in _kinds(names, modules, ends_loops):
        try:
            error = _make(kind, (message,) if arguments is None else arguments)
        except Exception:
            continue  # it takes other arguments: then its base
        if attributes:
            vars(error).update(attributes)
        break
    error.from_program = (name, message)  # type: ignore[attr-defined]
    return error


def _checked(told: Any) -> tuple[tuple[str, ...], str, bytes]:
    """The parts that `describe` sends, whatever has been sent."""
    if type(told) is tuple and tuple(map(type, told)) == (tuple, str, bytes):
        names = told[0]
        if 0 < len(names) <= _MAX_CLASSES and all(type(name) is str for name in names):
            return told  # type: ignore[return-value]
    raise Refused("malformed exception")


def _details(details: bytes, count: int) -> tuple[tuple[str, ...], tuple | None, dict[str, Any] | None]:
    """Modules, arguments and attributes; what is malformed, or needs numpy where there is none, counts as not told."""
    try:
        told = decode(details)
    except Refused:
        told = None
    if type(told) is not tuple or len(told) != 3:
        told = None, None, None
    modules, arguments, attributes = told
    if type(modules) is not tuple or len(modules) != count or any(type(module) is not str for module in modules):
        modules = ("",) * count
    if type(attributes) is not dict or any(type(name) is not str for name in attributes):
        attributes = None
    return modules, arguments if type(arguments) is tuple else None, attributes


def _kinds(names: tuple[str, ...], modules: tuple[str, ...], ends_loops: bool) -> Iterator[type[BaseException]]:
    for module, name in zip(modules, names, strict=True):
        if not ends_loops and name in _ENDS_LOOPS:
            continue
        kind = EXCEPTIONS.get(name) or standard(f"{module}.{name}")
        if kind is not None:
            yield kind


def _make(kind: type[BaseException], arguments: tuple) -> BaseException:
    """An exception, without running what a class of the standard library does at the start: it has its attributes."""
    base: Any = next(k for k in kind.__mro__ if k.__module__ == "builtins")
    error = kind.__new__(kind, *arguments)
    base.__init__(error, *arguments)
    return error
