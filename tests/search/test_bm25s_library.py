from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def printed(code: str, tmp_path: Path) -> str:
    """What a program prints where a JAX is installed that ends it when bm25s starts it."""
    (tmp_path / "jax").mkdir()
    (tmp_path / "jax" / "__init__.py").write_text("")
    (tmp_path / "jax" / "lax.py").write_text("def top_k(scores, k): raise SystemExit('JAX was started')")
    whole = f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n{code}"
    done = subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_jax_is_not_started(tmp_path: Path) -> None:
    code = """
from biencoder.search.keywords import KeywordIndex
print(KeywordIndex.build(["aspirin and cancer", "ibuprofen"]).search("aspirin", k=1)[1].tolist(), "jax" in sys.modules)
import jax.lax  # whoever wants it may have it
"""
    assert printed(code, tmp_path) == "[0] False\n"


def test_jax_that_was_there_before_stays(tmp_path: Path) -> None:
    code = """
import jax.lax
from biencoder.search.bm25s_library import bm25s
bm25s()
print(sys.modules["jax"] is jax and sys.modules["jax.lax"] is jax.lax)
"""
    assert printed(code, tmp_path) == "True\n"
