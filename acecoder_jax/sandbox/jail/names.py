"""The classes and functions that may travel by name. No other name is ever looked up for the other side."""

import builtins
import sys
from typing import Any

FUNCTIONS: dict[str, Any] = {  # built-in functions that a test may pass as arguments
    f.__name__: f
    for f in (abs, all, any, ascii, bin, chr, divmod, hash, hex, len, max, min, oct, ord, pow, repr, round, sorted, sum)
}
EXCEPTIONS: dict[str, type[BaseException]] = {  # the built-in ones
    kind.__name__: kind
    for kind in vars(builtins).values()
    if isinstance(kind, type) and issubclass(kind, BaseException)
}
_PLAIN: tuple[type, ...] = (
    bool, int, float, complex, str, bytes, bytearray, list, tuple, set, frozenset, dict, range, object, type(None),
)  # fmt: skip
TYPES: dict[str, type] = {kind.__name__: kind for kind in _PLAIN} | EXCEPTIONS

# Exceptions of the standard library and of numpy, by the module that each calls its own. None of unittest: a runner
# takes some of those for success.
_STANDARD = {
    "_csv": "Error",
    "_lzma": "LZMAError",
    "_pickle": "PickleError PicklingError UnpicklingError",
    "_queue": "Empty",
    "argparse": "ArgumentError ArgumentTypeError",
    "asyncio.exceptions": "InvalidStateError",
    "asyncio.queues": "QueueEmpty QueueFull",
    "binascii": "Error Incomplete",
    "calendar": "IllegalMonthError IllegalWeekdayError",
    "configparser": "DuplicateOptionError DuplicateSectionError Error MissingSectionHeaderError NoOptionError "
    "NoSectionError ParsingError",
    "copy": "Error",
    "dataclasses": "FrozenInstanceError",
    "decimal": "Clamped DecimalException DivisionByZero FloatOperation Inexact InvalidOperation Overflow Rounded "
    "Subnormal Underflow",
    "getopt": "GetoptError",
    "graphlib": "CycleError",
    "gzip": "BadGzipFile",
    "ipaddress": "AddressValueError NetmaskValueError",
    "json.decoder": "JSONDecodeError",
    "locale": "Error",
    "numpy.linalg": "LinAlgError",
    "numpy.linalg.linalg": "LinAlgError",
    "queue": "Empty Full",
    "re": "PatternError error",
    "shutil": "Error SameFileError",
    "sqlite3": "DatabaseError DataError Error IntegrityError InterfaceError NotSupportedError OperationalError "
    "ProgrammingError",
    "statistics": "StatisticsError",
    "struct": "error",
    "tarfile": "ReadError TarError",
    "tomllib": "TOMLDecodeError",
    "xml.etree.ElementTree": "ParseError",
    "xml.parsers.expat": "ExpatError",
    "zipfile": "BadZipFile",
    "zlib": "error",
    "zoneinfo._common": "ZoneInfoNotFoundError",
}
STANDARD = frozenset(f"{module}.{name}" for module, names in _STANDARD.items() for name in names.split())


def standard(full_name: str) -> type[BaseException] | None:
    """An exception class of the standard library that may travel, where its module is loaded: none is ever imported."""
    if full_name not in STANDARD:
        return None
    module, _, name = full_name.rpartition(".")
    kind = getattr(sys.modules.get(module), name, None)
    return kind if isinstance(kind, type) and issubclass(kind, BaseException) else None


def name_of(kind: type) -> str | None:
    """The name by which a class travels; None where it may not."""
    name = kind.__name__
    if TYPES.get(name) is kind:
        return name
    full_name = f"{kind.__module__}.{name}"
    return full_name if standard(full_name) is kind else None


def named(name: str) -> Any:
    """The class that travels by this name. Raises LookupError."""
    kind = TYPES.get(name) or standard(name)
    if kind is None:
        raise LookupError(name)
    return kind
