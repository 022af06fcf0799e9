"""Every error that biencoder raises, and the one gate to optional dependencies.

```
BiencoderError
├── ArgumentError (also ValueError)     a value given to a function or command cannot be used
├── DataError                           an input file is not what it should be; names file and line
├── ModelError                          a model cannot be found, read or used
│   └── DivergedError                   training has gone astray: its loss is no longer a number
├── StorageError                        a folder cannot be written, read or trusted
│   ├── CorruptError                    its bytes are not the bytes that were written
│   └── LockedError                     another process is writing it
├── IdentityError                       vectors and model do not belong together
└── MissingDependencyError              an optional package is not installed
```

`InputWarning` is no error: it says what was left out of the input on purpose.

A message says what was found, where, what was expected and what to do, on one line.
"""

from __future__ import annotations

import importlib
from types import ModuleType


class BiencoderError(Exception):
    """Base of all errors raised on purpose; the commands print it as one line and exit with status 1."""


class InputWarning(UserWarning):
    """Something in the input was left out on purpose; the commands print it as one line."""


class ArgumentError(BiencoderError, ValueError):
    """A value given to a function or command cannot be used."""


class DataError(BiencoderError):
    """An input file is not what it should be.

    >>> str(DataError("the field 'text' is missing", path="corpus.jsonl", line=7, hint="every document needs one"))
    "corpus.jsonl, line 7: the field 'text' is missing; every document needs one"
    """

    def __init__(self, problem: str, *, path: object = None, line: int | None = None, hint: str = "") -> None:
        place = "" if path is None else str(path) + (f", line {line}" if line is not None else "") + ": "
        super().__init__(place + problem + (f"; {hint}" if hint else ""))
        self.path = path
        self.line = line


class ModelError(BiencoderError):
    """A model cannot be found, read or used."""


class DivergedError(ModelError):
    """Training has gone astray: its loss is no longer a number.

    Attributes:
        step: counted from 1, the first at which it was none.
    """

    def __init__(self, message: str, *, step: int = 1) -> None:
        super().__init__(message)
        self.step = step


class StorageError(BiencoderError):
    """A folder cannot be written, read or trusted."""


class CorruptError(StorageError):
    """The bytes of a file are not the bytes that were written."""


class LockedError(StorageError):
    """Another process is writing the folder."""


class IdentityError(BiencoderError):
    """Vectors and model do not belong together."""


class MissingDependencyError(BiencoderError, ImportError):
    """An optional package is not installed; the message is the command that installs it."""


def require(module: str, *, extra: str) -> ModuleType:
    """Import an optional dependency, or say how to install it.

    Args:
        module: name of the module to import.
        extra: the extra of biencoder that brings it.

    Raises:
        MissingDependencyError: where the module is not installed.

    >>> require("json", extra="all").__name__
    'json'
    >>> require("no_such_module", extra="all")
    Traceback (most recent call last):
    biencoder.errors.MissingDependencyError: no_such_module is not installed; run: pip install 'biencoder[all]'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        name = module.partition(".")[0]
        raise MissingDependencyError(f"{name} is not installed; run: pip install 'biencoder[{extra}]'") from error
