"""The functions of one Python file: each one's docstring, and its code with every docstring cut out.

Files are parsed, never imported or run.
"""

from __future__ import annotations

import ast
import io
import tokenize
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class PythonFunction:
    """One function or method, async ones too.

    ``name`` is qualified within the module (``JSONDecoder.raw_decode``), ``line`` is that of its ``def``, ``docstring`` is as
    written ("" where there is none), ``code`` holds no docstring, and ``empty`` says that the code does nothing.
    """

    name: str
    line: int
    docstring: str
    code: str
    empty: bool


def read_python(path: Path) -> str:
    """The text of a Python file in the encoding that the file declares, with line ends as line feeds.

    Raises:
        OSError: where the file cannot be read.
        SyntaxError: where the declared encoding is unknown.
        UnicodeDecodeError: where the bytes are not in that encoding.
    """
    data = path.read_bytes()
    encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    return io.TextIOWrapper(io.BytesIO(data), encoding=encoding).read()


def python_functions(source: str) -> Iterator[PythonFunction]:
    r"""Every function of a module, methods and nested functions too, in the order of their lines.

    The code starts at the first decorator and ends with the last statement, comments in between included; it is dedented
    and is otherwise as written, less its docstrings. Those of functions and classes inside it go too: they are the
    queries of other documents, or would be. Where a nested body was nothing but its docstring, ``...`` takes its place, so
    that the code still parses.

    Args:
        source: text of a module.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: where Python's parser does not accept the text.

    >>> [function] = python_functions('class A:\n    def one(self):\n        "Return one."\n        return 1  # not 2\n')
    >>> function.name, function.line, function.docstring, function.empty
    ('A.one', 2, 'Return one.', False)
    >>> print(function.code)
    def one(self):
        return 1  # not 2
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in other people's strings are theirs to mend
        tree = ast.parse(source)
    lines = source.split("\n")
    found = [(scope, node) for scope, node in _definitions(tree) if not isinstance(node, ast.ClassDef)]
    for scope, node in sorted(found, key=lambda pair: pair[1].lineno):
        yield PythonFunction(
            name=".".join((*scope, node.name)),
            line=node.lineno,
            docstring=ast.get_docstring(node, clean=False) or "",
            code=_code(node, lines),
            empty=_is_empty(node),
        )


def _definitions(root: ast.AST) -> Iterator[tuple[tuple[str, ...], _Definition]]:
    """Functions and classes below a node with the names that enclose them; no recursion, as code may be nested deeply."""
    pending: list[tuple[tuple[str, ...], ast.AST]] = [((), root)]
    while pending:
        scope, node = pending.pop()
        for child in ast.iter_child_nodes(node):
            if isinstance(child, _Definition):
                yield scope, child
                pending.append(((*scope, child.name), child))
            elif not isinstance(child, ast.expr):
                pending.append((scope, child))


def _docstring(node: _Definition) -> ast.Expr | None:
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return first
    return None


def _is_empty(node: _Function) -> bool:
    """Whether the body is only placeholders: constants, ``pass``, ``return``, ``raise NotImplementedError``."""
    return all(_is_placeholder(statement) for statement in node.body)


def _is_placeholder(statement: ast.stmt) -> bool:
    match statement:
        case ast.Pass() | ast.Expr(value=ast.Constant()) | ast.Return(value=None | ast.Constant(value=None)):
            return True
        case ast.Raise(exc=ast.Name(id="NotImplementedError") | ast.Call(func=ast.Name(id="NotImplementedError"))):
            return True
    return False


def _code(node: _Function, lines: list[str]) -> str:
    start = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]) - 1
    block = lines[start : node.end_lineno]
    holders = [node, *(inner for _, inner in _definitions(node))]
    docstrings = [(found, len(holder.body) == 1) for holder in holders if (found := _docstring(holder)) is not None]
    for docstring, alone in sorted(docstrings, key=lambda pair: (pair[0].lineno, pair[0].col_offset), reverse=True):
        _cut(block, docstring, start=start, alone=alone)
    margin = block[0][: len(block[0]) - len(block[0].lstrip())]
    return "\n".join(line.removeprefix(margin) for line in block)


def _cut(block: list[str], docstring: ast.Expr, *, start: int, alone: bool) -> None:
    """Take a docstring out of the lines; the parser counts columns in bytes of UTF-8."""
    first, last = docstring.lineno - 1 - start, (docstring.end_lineno or docstring.lineno) - 1 - start
    before = block[first].encode()[: docstring.col_offset].decode()
    after = block[last].encode()[docstring.end_col_offset :].decode()
    if alone:
        block[first : last + 1] = [f"{before}...{after}"]
        return
    after = after.lstrip().removeprefix(";").lstrip()
    block[first : last + 1] = [before + after] if before.strip() or after else []
