from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from biencoder.index.faiss_library import kernel_family, load_faiss

AVX512 = "avx512f avx512dq avx512cd avx512bw avx512vl"
KNOWN = """
import json, os, threadpoolctl
import biencoder.index.faiss_library
found = [one["architecture"] for one in threadpoolctl.threadpool_info() if "faiss" in one["filepath"] and "architecture" in one]
print(json.dumps([found, os.environ.get("OPENBLAS_CORETYPE")]))
"""


@pytest.mark.parametrize(
    ("flags", "family"),
    [
        (f"fma avx2 {AVX512}", "SKYLAKEX"),
        (f"fma avx2 {AVX512.removesuffix(' avx512vl')}", "HASWELL"),
        ("fma avx2", "HASWELL"),
        ("avx2", None),
        ("sse sse2", None),
    ],
)
def test_the_fastest_kernels_that_the_processor_can_run(flags: str, family: str | None) -> None:
    assert kernel_family(f"model name\t: Some avx2 fma\nflags\t\t: {flags}\nbogomips\t: 1\n") == family
    assert kernel_family("Features\t: asimd fma avx2\n") is None  # not x86


def test_the_environment_is_left_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    assert load_faiss().__name__ == "faiss"
    assert load_faiss(processor=tmp_path / "absent").__name__ == "faiss"
    assert "OPENBLAS_CORETYPE" not in os.environ
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Nehalem")
    load_faiss()
    assert os.environ["OPENBLAS_CORETYPE"] == "Nehalem"


@pytest.mark.parametrize("own", [None, "HASWELL"])
def test_faiss_has_the_kernels_that_were_chosen(own: str | None) -> None:
    family = own or kernel_family(Path("/proc/cpuinfo").read_text())
    if family is None:
        pytest.skip("this processor has none of the kernels that are chosen by name")
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_CORETYPE"}
    environment |= {"OPENBLAS_CORETYPE": own} if own else {}
    command = [sys.executable, "-c", KNOWN]
    found = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    assert json.loads(found.lower()) == [[family.lower()], own and own.lower()]
