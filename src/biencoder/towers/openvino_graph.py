"""Two changes to an exported graph that OpenVINO does not make by itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from biencoder.errors import require


def fold_attention_scales(model: Any) -> int:
    """Move attention's division by the root of the head's size into the query projection; gives how many were moved.

    With that multiplication out of the way, OpenVINO fuses the transpositions around it into the attention kernel, 2 % of the
    time. Attention that has a mask or bias, or another form than Linear, Reshape, Transpose, is left as it is.
    """
    _fold_constants(model)
    found = [node for node in model.get_ordered_ops() if node.get_type_name() == "ScaledDotProductAttention"]
    folded = sum(_fold(node) for node in found)
    model.validate_nodes_and_infer_types()
    return folded


def _fold_constants(model: Any) -> None:
    """Let masks, scales and weights that are computed from constants be constants."""
    passes = require("openvino.passes", extra="openvino")
    manager = passes.Manager()
    manager.register_pass(passes.ConstantFolding())
    manager.run_passes(model)


def _fold(attention: Any) -> bool:
    ops = require("openvino.opset13", extra="openvino")
    query, key, value = (attention.input_value(place) for place in range(3))
    chain = _chain(query.get_node(), ("Transpose", "Reshape", "Add", "MatMul"))
    plain = not attention.get_attributes().get("causal") and _is_constant(attention, 3, 0.0)
    if chain is None or not plain or not query.get_partial_shape()[3].is_static or not _only_here(chain):
        return False
    _, _, add, product = chain
    weights, bias = product.input_value(1).get_node(), add.input_value(1).get_node()
    if weights.get_type_name() != "Constant" or bias.get_type_name() != "Constant":
        return False
    scale = _scale(attention, int(query.get_partial_shape()[3].get_length()))
    for node, values in ((product, weights.data), (add, bias.data)):
        node.input(1).replace_source_output(ops.constant(values * scale).output(0))
    scores = ops.matmul(query, key, transpose_a=False, transpose_b=True)
    result = ops.matmul(ops.softmax(scores, -1), value, transpose_a=False, transpose_b=False)
    attention.output(0).replace(result.output(0))
    return True


def _only_here(chain: list[Any]) -> bool:
    """Whether each node's values are used once, by the node before it; any other may look at its shape."""
    kinds = ["ScaledDotProductAttention", *(node.get_type_name() for node in chain[:-1])]
    users = [[user.get_node().get_type_name() for user in node.output(0).get_target_inputs()] for node in chain]
    return all([name for name in found if name != "ShapeOf"] == [kind] for found, kind in zip(users, kinds, strict=True))


def _chain(node: Any, kinds: tuple[str, ...]) -> list[Any] | None:
    """The nodes behind one another through first inputs, where they are of these kinds."""
    nodes = []
    for kind in kinds:
        if node.get_type_name() != kind:
            return None
        nodes.append(node)
        node = node.input_value(0).get_node()
    return nodes


def _is_constant(node: Any, place: int, value: float) -> bool:
    """Whether an input is absent, or the same constant throughout."""
    if node.get_input_size() <= place:
        return True
    source = node.input_value(place).get_node()
    return source.get_type_name() == "Constant" and bool(np.all(source.data == value))


def _scale(attention: Any, size: int) -> np.float32:
    if attention.get_input_size() > 4:
        source = attention.input_value(4).get_node()
        if source.get_type_name() == "Constant":
            return np.float32(np.ravel(source.data)[0])
    return np.float32(size**-0.5)


def compress_weights(model: Any) -> int:
    """Round the weights of all linear layers to int8, with a scale for each output; gives how many layers there were.

    OpenVINO then multiplies in int8 where the processor can, rounding activations in groups as they come.
    """
    count = 0
    for node in list(model.get_ordered_ops()):
        if node.get_type_name() == "MatMul" and node.input_value(1).get_node().get_type_name() == "Constant":
            _compress(node)
            count += 1
    model.validate_nodes_and_infer_types()
    return count


def _compress(product: Any) -> None:
    ops = require("openvino.opset13", extra="openvino")
    flags = product.get_attributes()
    weights = product.input_value(1).get_node().data
    weights = weights if flags["transpose_b"] else weights.T
    scales = np.maximum(np.abs(weights).max(axis=1, keepdims=True) / 127, np.finfo(np.float32).tiny).astype(np.float32)
    rounded = np.clip(np.rint(weights / scales), -127, 127).astype(np.int8)
    restored = ops.multiply(ops.convert(ops.constant(rounded), "f32"), ops.constant(scales))
    result = ops.matmul(product.input_value(0), restored, flags["transpose_a"], transpose_b=True)
    product.output(0).replace(result.output(0))
