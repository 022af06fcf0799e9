from __future__ import annotations

import os
import sys
from pathlib import Path
from subprocess import run
from typing import Any

import numpy as np
import pytest
from numba import types
from numba.extending import intrinsic

from biencoder.index import native

FINITE = np.arange(2**16, dtype=np.uint16)[np.isfinite(np.arange(2**16, dtype=np.uint16).view(np.float16))]


def _by_bits(typing: Any, bits: Any) -> Any:  # noqa: ARG001 - the signature of an intrinsic
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        return native._half_by_bits(builder, arguments[0])

    return types.float32(types.uint16), generate


by_bits: Any = intrinsic(_by_bits)


@native.compiled
def converted_by_bits(bits: Any, found: Any) -> None:
    for place in range(bits.shape[0]):
        found[place] = by_bits(bits[place])


@native.compiled
def converted(bits: Any, found: Any) -> None:
    for place in range(bits.shape[0]):
        found[place] = native.half(bits[place])


@pytest.mark.parametrize("kernel", [converted, converted_by_bits], ids=["as here", "by bits"])
def test_half_floats_are_what_numpy_takes_them_for(kernel: Any) -> None:
    found = np.empty(len(FINITE), np.float32)
    kernel(FINITE, found)
    np.testing.assert_array_equal(found.view(np.int32), FINITE.view(np.float16).astype(np.float32).view(np.int32))


def test_bits_there_and_back() -> None:
    @native.compiled
    def there_and_back(number: Any) -> Any:
        return native.float_of(native.bits_of(np.float32(number)))

    assert [there_and_back(number) for number in (0.0, -1.5, 3e38)] == [np.float32(number) for number in (0.0, -1.5, 3e38)]


SEARCH = """
import numpy as np
from biencoder.index import engine_class, native
assert not native.multiplies_bytes()
matrix = np.random.default_rng(0).standard_normal((500, 40)).astype(np.float32)
for engine, parameters in (("hnsw", {"codes": "int8", "rescore": "float16"}), ("ivfsq", {"nprobe": 500})):
    index = engine_class(engine).build(matrix, metric="dot", parameters=parameters)
    rows = index.search(matrix[:50], k=1)[1][:, 0]
    best = (matrix[:50] @ matrix.T).argmax(axis=1)
    assert (rows == best).mean() > 0.95, (engine, rows, best)
"""


@pytest.mark.slow
@pytest.mark.parametrize("limits", [{"NUMBA_ENABLE_AVX": "0"}, {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}])
def test_with_fewer_instructions_it_searches_too(limits: dict[str, str], tmp_path: Path) -> None:
    environment = os.environ | limits | {"NUMBA_CACHE_DIR": str(tmp_path)}
    ended = run([sys.executable, "-c", SEARCH], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
