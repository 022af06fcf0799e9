"""Functions and their code without docstrings."""

from __future__ import annotations

import ast
import textwrap
import warnings
from pathlib import Path

import pytest

from biencoder.data.python_files import standard_library
from biencoder.data.python_functions import PythonFunction, python_functions, read_python


def functions(source: str) -> list[PythonFunction]:
    return list(python_functions(textwrap.dedent(source)))


def test_methods_nested_and_async_functions_are_found_in_order_of_lines() -> None:
    found = functions("""
        if True:
            class A:
                @property
                def one(self):
                    def inner():
                        return 1
                    return inner()
                try:
                    async def two(self): return 2
                except Exception:
                    def two(self): return 3
        def three(): return lambda: 3
        match 1:
            case 1:
                def four(): return 4
    """)
    assert [(one.name, one.line) for one in found] == [
        ("A.one", 5),
        ("A.one.inner", 6),
        ("A.two", 10),
        ("A.two", 12),
        ("three", 13),
        ("four", 16),
    ]


def test_code_keeps_decorators_comments_and_odd_lines() -> None:
    [found] = functions('''
        class A:
            @cache  # once
            # between
            def one(
                self,  # me
            ):
                """Return one."""

                text = """
        flush left"""
                # why
                return (1,
          2)  # end
            # after
    ''')
    assert found.docstring == "Return one."
    assert found.line == 5
    assert found.code == (
        "@cache  # once\n# between\ndef one(\n    self,  # me\n):\n\n"
        '    text = """\nflush left"""\n    # why\n    return (1,\n  2)  # end'
    )


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("def f(): 'Do.'; return 1", "def f(): return 1"),
        ("def f():\n    'Do.'; x = 1\n    return x", "def f():\n    x = 1\n    return x"),
        ("def f():\n    'Do.'  # noqa\n    return 1", "def f():\n    # noqa\n    return 1"),
        ("def f():\n    ('Do '\n     'it.')\n    return 1", "def f():\n    return 1"),
        ("def f():\n    'é' 'ü.'; return 'ö'", "def f():\n    return 'ö'"),
        ("def f():\n    'Do.'", "def f():\n    ..."),
        ("def f(): 'Do.'", "def f(): ..."),
        ("def f():\n    b'bytes'\n    return 1", "def f():\n    b'bytes'\n    return 1"),
        ("def f():\n    f'{1}'\n    return 1", "def f():\n    f'{1}'\n    return 1"),
        ("def f():\n    x = 1\n    'remark'\n    return x", "def f():\n    x = 1\n    'remark'\n    return x"),
        ("def f():\n\t'Do.'\n\treturn 1", "def f():\n\treturn 1"),
    ],
)
def test_only_the_docstring_is_cut(source: str, code: str) -> None:
    [found] = python_functions(source)
    assert found.code == code


def test_docstrings_of_inner_functions_and_classes_are_cut_too() -> None:
    outer, inner = functions('''
        def outer():
            """Outer."""
            def inner():
                """Inner."""
                return 1
            class Error(Exception):
                """Error."""
            return inner
    ''')
    assert outer.code == (
        "def outer():\n    def inner():\n        return 1\n    class Error(Exception):\n        ...\n    return inner"
    )
    assert inner.docstring == "Inner."
    assert inner.code == "def inner():\n    return 1"


@pytest.mark.parametrize(
    ("body", "empty"),
    [
        ("pass", True),
        ("...", True),
        ("'Do.'; ...", True),
        ("return", True),
        ("return None", True),
        ("raise NotImplementedError", True),
        ("raise NotImplementedError('do it')", True),
        ("'Do.'; 'more'; pass; return None", True),
        ("raise ValueError", False),
        ("raise", False),
        ("return 0", False),
        ("x = 1", False),
        ("...; f()", False),
    ],
)
def test_empty_bodies(body: str, empty: bool) -> None:
    [found] = python_functions(f"def f(): {body}")
    assert found.empty is empty


def test_a_function_without_docstring_has_an_empty_one() -> None:
    [found] = python_functions("def f(): return 1")
    assert found.docstring == ""


def _meaning(tree: ast.AST) -> str:
    """A tree without docstrings, and without the white space in strings, which dedenting may change."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and ast.get_docstring(node, clean=False):
            node.body = node.body[1:] or [ast.Expr(ast.Constant(...))]
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = "".join(node.value.split())
    return ast.dump(tree)


@pytest.mark.parametrize("module", ["argparse", "tarfile", "typing", "enum", "inspect", "tkinter/ttk", "doctest"])
def test_code_means_what_the_function_means(module: str) -> None:
    source = (standard_library() / f"{module}.py").read_text(encoding="utf-8")
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    found = {one.line: one for one in python_functions(source)}
    assert len(found) == len(nodes) > 50
    for node in nodes:
        assert _meaning(ast.parse(found[node.lineno].code).body[0]) == _meaning(node)


def test_invalid_escapes_give_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        [found] = python_functions(r"def f(): return '\d'")
    assert found.code == r"def f(): return '\d'"


def test_deeply_nested_code_is_no_recursion() -> None:
    depth = 40
    source = "".join(f"{' ' * level}def f{level}():\n" for level in range(depth)) + " " * depth + "return 1"
    found = list(python_functions(source))
    assert found[-1].name == ".".join(f"f{level}" for level in range(depth))


@pytest.mark.parametrize("source", ["def f(:", "x = '\x00'", "print 'a'", "(" * 1000])
def test_what_does_not_parse_is_an_error(source: str) -> None:
    with pytest.raises((SyntaxError, ValueError, MemoryError, RecursionError)):
        list(python_functions(source))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("a = 'é'\r\nb = 1\r".encode(), "a = 'é'\nb = 1\n"),
        (b"\xef\xbb\xbfa = 1\n", "a = 1\n"),
        (b"# coding: latin-1\na = '\xe9'\n", "# coding: latin-1\na = 'é'\n"),
        (b"", ""),
    ],
)
def test_read_python(tmp_path: Path, data: bytes, text: str) -> None:
    (tmp_path / "a.py").write_bytes(data)
    assert read_python(tmp_path / "a.py") == text


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"# coding: nonsense\n", SyntaxError),
        (b"# coding: hex\n", LookupError),
        (b"a = '\xff'\n", SyntaxError),
        (b"\n\n\n\na = '\xff'\n", UnicodeDecodeError),
    ],
)
def test_what_cannot_be_decoded_is_an_error(tmp_path: Path, data: bytes, error: type[Exception]) -> None:
    (tmp_path / "a.py").write_bytes(data)
    with pytest.raises(error):
        read_python(tmp_path / "a.py")
