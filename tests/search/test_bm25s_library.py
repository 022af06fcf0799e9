from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_jax_is_not_started(tmp_path: Path) -> None:
    (tmp_path / "jax").mkdir()
    (tmp_path / "jax" / "__init__.py").write_text("")
    (tmp_path / "jax" / "lax.py").write_text("raise SystemExit('JAX was started')")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from biencoder.search.keywords import KeywordIndex
print(KeywordIndex.build(["aspirin and cancer", "ibuprofen"]).search("aspirin", k=1)[1].tolist(), "jax" in sys.modules)
import jax  # whoever wants it may have it
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "[0] False\n"), done.stderr


def test_jax_that_was_there_before_stays(tmp_path: Path) -> None:
    (tmp_path / "jax").mkdir()
    (tmp_path / "jax" / "__init__.py").write_text("")
    (tmp_path / "jax" / "lax.py").write_text("def top_k(scores, k): raise SystemExit('JAX was started')")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import jax.lax
from biencoder.search.bm25s_library import bm25s
bm25s()
print(sys.modules["jax"] is jax and sys.modules["jax.lax"] is jax.lax)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
