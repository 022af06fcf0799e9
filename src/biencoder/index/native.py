"""What compiled kernels need and Numba does not have: fetching ahead, half floats, and products of bytes.

Numba compiles for the processor that it runs on, and keeps what it compiled (beside the source, else in the user's cache
folder) under that processor's name. What it keeps is thrown away when the kernel's own file changes, not when this one does:
after a change here or in `kernels.py`, delete what `__pycache__` holds (`make clean` does).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import llvmlite.binding as llvm
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

_Kernel = TypeVar("_Kernel", bound=Callable[..., Any])

FASTMATH = {"reassoc", "contract", "nsz", "arcp"}
"""Sums may be taken in any order, which lets a loop use whole vectors; NaN and infinity stay what they are."""

LINE = 64
"""Bytes of a cache line, and of the widest vectors."""


def compiled(kernel: _Kernel) -> _Kernel:
    """Compile a kernel when it is first called; it lets other threads run meanwhile."""
    try:
        return cast(_Kernel, njit(nogil=True, fastmath=FASTMATH, cache=True)(kernel))
    except RuntimeError:  # there is no folder where it could be kept
        return cast(_Kernel, njit(nogil=True, fastmath=FASTMATH)(kernel))


def multiplies_bytes() -> bool:
    """Whether this processor multiplies and adds bytes by whole lines and half lines (AVX-512 VNNI and VL)."""
    return {"+avx512vnni", "+avx512vl"} <= _features()


def _features() -> set[str]:
    """What Numba compiles for, which a user may have limited; empty on other processors than x86."""
    if not llvm.get_process_triple().startswith("x86_64"):
        return set()
    return set(cpu_target.target_context.codegen().magic_tuple()[2].split(","))


def _prefetch(typing: Any, address: Any) -> Any:  # noqa: ARG001 - the signature of an intrinsic
    """Ask for the cache line at an address, and go on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        to_read, to_all_caches, data = number(0), number(3), number(1)
        builder.call(function, [builder.inttoptr(arguments[0], pointer), to_read, to_all_caches, data])
        return context.get_dummy_value()

    return types.void(types.uintp), generate


def _half(typing: Any, bits: Any) -> Any:  # noqa: ARG001
    """The number that 16 bits are as a half float."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        if llvm.get_process_triple().startswith("x86_64") and "+f16c" not in _features():
            return _half_by_bits(builder, arguments[0])
        return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), generate


def _half_by_bits(builder: Any, bits: Any) -> Any:
    """Without an instruction for it: the bits moved to where a float32 has them, and the exponent set right by a product."""
    whole = builder.zext(bits, ir.IntType(32))
    moved = builder.shl(builder.and_(whole, whole.type(0x7FFF)), whole.type(13))
    size = builder.fmul(builder.bitcast(moved, ir.FloatType()), ir.Constant(ir.FloatType(), 2.0**112))
    sign = builder.shl(builder.and_(whole, whole.type(0x8000)), whole.type(16))
    return builder.bitcast(builder.or_(builder.bitcast(size, whole.type), sign), ir.FloatType())


def _bits_of(typing: Any, number: Any) -> Any:  # noqa: ARG001
    """The bits of a float32 as an int32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.int32(types.float32), generate


def _float_of(typing: Any, bits: Any) -> Any:  # noqa: ARG001
    """The float32 that an int32's bits are."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


def _byte_products(typing: Any, unsigned: Any, signed: Any, lines: Any) -> Any:  # noqa: ARG001
    """The inner product of so many lines of unsigned bytes with as many of signed ones, both given by address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        vector = ir.VectorType(ir.IntType(32), LINE // 4)
        # The instruction itself: LLVM's name for it takes other types from version to version.
        multiply = ir.InlineAsm(ir.FunctionType(vector, [vector] * 3), "vpdpbusd $3, $2, $0", "=v,0,v,v")
        total = cgutils.alloca_once_value(builder, ir.Constant(vector, None))
        with cgutils.for_range(builder, arguments[2]) as loop:
            past = builder.mul(loop.index, ir.Constant(loop.index.type, LINE))
            parts = [_line(builder, builder.add(address, past), vector) for address in arguments[:2]]
            builder.store(builder.call(multiply, [builder.load(total), *parts]), total)
        return _added(builder, total, vector)

    return types.int32(types.uintp, types.uintp, types.intp), generate


def _nibble_products(typing: Any, nibbles: Any, signed: Any, halves: Any) -> Any:  # noqa: ARG001
    """The inner product of so many half lines of unsigned nibbles with twice as many of signed bytes, given by address.

    The lower nibbles of a half line belong to the first of its two half lines of bytes, the upper ones to the second.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        size = LINE // 2
        vector, parts = ir.VectorType(ir.IntType(32), size // 4), ir.VectorType(ir.IntType(8), size)
        multiply = ir.InlineAsm(ir.FunctionType(vector, [vector] * 3), "vpdpbusd $3, $2, $0", "=v,0,v,v")
        total = cgutils.alloca_once_value(builder, ir.Constant(vector, None))
        low, four = (ir.Constant(parts, [number] * size) for number in (15, 4))
        with cgutils.for_range(builder, arguments[2]) as loop:
            past = builder.mul(loop.index, ir.Constant(loop.index.type, size))
            both = _line(builder, builder.add(arguments[0], past), parts)
            query = builder.add(arguments[1], builder.add(past, past))
            lower, upper = builder.and_(both, low), builder.lshr(both, four)
            for half_line, place in ((lower, 0), (upper, size)):
                own = _line(builder, builder.add(query, ir.Constant(past.type, place)), vector)
                term = builder.call(multiply, [builder.load(total), builder.bitcast(half_line, vector), own])
                builder.store(term, total)
        return _added(builder, total, vector)

    return types.int32(types.uintp, types.uintp, types.intp), generate


def _added(builder: Any, total: Any, vector: Any) -> Any:
    kind = ir.FunctionType(ir.IntType(32), [vector])
    add = cgutils.get_or_insert_function(builder.module, kind, f"llvm.vector.reduce.add.v{vector.count}i32")
    return builder.call(add, [builder.load(total)])


def _line(builder: Any, address: Any, vector: Any) -> Any:
    loaded = builder.load(builder.inttoptr(address, vector.as_pointer()))
    loaded.align = 1
    return loaded


prefetch: Any = intrinsic(_prefetch)
half: Any = intrinsic(_half)
bits_of: Any = intrinsic(_bits_of)
float_of: Any = intrinsic(_float_of)
byte_products: Any = intrinsic(_byte_products)
nibble_products: Any = intrinsic(_nibble_products)

llvm.initialize_native_asmparser()  # for the instruction in the products
