"""Kernels of TensorRT engines (fp16, SM80, batch 1): what vitc exports beside the same models in training form.

    kernels.py VITC [MODEL ...]

Needs the Python readers of tests/interop/requirements.txt and no GPU. The training form is the paper graph (`vitc export MODEL --emit ir-paper`), one ONNX node
for each of its operators, every branch and BatchNorm in its place, attention as PyTorch modules write it, weights random. The second column has the BatchNorms
behind convolutions folded into them, as torch.onnx does when it exports a model in evaluation mode. Then come the kernels of vitc's engine that are
neither convolution nor matrix product nor attention, with the nodes of the file that each was made of.
"""
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

sys.path.append(str(pathlib.Path(__file__).parent.parent / "interop"))
import trt_build

MODELS = ["fmvit-m", "cas-vit-xs", "ffnet-1"]
# Operators with the same meaning and no attributes.
PLAIN = {"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "relu": "Relu", "gelu": "Gelu", "sigmoid": "Sigmoid"}


class TrainingForm:
    """A paper graph as an ONNX model in fp16 with an fp32 interface."""

    def __init__(self, text, fold):
        self.rng, self.fold = np.random.default_rng(0), fold
        self.nodes, self.constants, self.shapes, self.made_by = [], {}, {}, {}
        lines = text.splitlines()
        for line in lines[1:-1]:
            self.line(line)
        output = lines[-1].split("%")[1]
        image = next(name for name, op in self.made_by.items() if op == "input")
        self.node("Cast", [output], "result", to=TensorProto.FLOAT)
        declared = [helper.make_tensor_value_info(name, TensorProto.FLOAT, self.shapes[shape]) for name, shape in (("pixels", image), ("result", output))]
        graph = helper.make_graph(self.nodes, "training", declared[:1], declared[1:], list(self.constants.values()))
        self.model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)

    def node(self, op, inputs, *outputs, **attributes):
        self.nodes.append(helper.make_node(op, inputs, outputs, name=outputs[0], **attributes))
        return outputs[0]

    def constant(self, name, values):
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(values, name)
        return name

    def line(self, line):
        """`%y: f32[1,8,4,4] = op(%x, weight"w":f32[8]){a=1, b=[2, 3]}`; a split has several results."""
        results, rest = line.split(" = ", 1)
        names, types = results.split(": ", 1)
        names = [n.strip().lstrip("%").replace(":", ".") for n in names.split(",")]
        shapes = [[int(d) for d in t.split(",")] for t in re.findall(r"f32\[([\d,]*)\]", types)]
        self.shapes.update(zip(names, shapes))
        op, inner, braces = re.fullmatch(r"(\w+)(?:\((.*)\))?(?:\{(.*)\})?", rest).groups()
        self.made_by[names[0]] = op
        attributes = {k: [float(v) for v in re.findall(r"-?\d[\d.]*(?:e-?\d+)?", text)] for k, text in re.findall(r"(\w+)=(\[[^\]]*\]|[^,]+)", braces or "")}
        attributes["braces"] = braces or ""
        operands = [self.operand(text) for text in re.findall(r'%[^,\s]+|weight"[^"]+":\S+\]|literal\[[^\]]*\]:\S+\]', inner or "")]
        self.spell(op, names, operands, attributes)

    def operand(self, text):
        if text.startswith("%"):
            return text[1:].replace(":", ".")
        shape = [int(d) for d in re.search(r"f32\[([\d,]*)\]", text)[1].split(",") if d]
        if text.startswith("literal"):
            return self.constant(text, np.float16(re.search(r"[-\d.]+", text)[0]).reshape(shape))
        key = text.split('"')[1]
        spread = 1 / np.sqrt(max(1, np.prod(shape[1:])))
        values = self.rng.uniform(0.5, 1.5, shape) if len(shape) == 1 else self.rng.standard_normal(shape) * spread
        return self.constant(key, values.astype(np.float16))

    def spell(self, op, names, x, a):
        name, ints = names[0], {k: [int(v) for v in values] for k, values in a.items() if k != "braces"}
        window = lambda k: ints[k] * 2 if len(ints[k]) == 1 else ints[k]
        pads = lambda: ints["pad"] * 4 if len(ints["pad"]) == 1 else ints["pad"]
        if op == "input":
            self.node("Cast", ["pixels"], name, to=TensorProto.FLOAT16)
        elif op in PLAIN:
            self.node(PLAIN[op], x, name)
        elif op == "conv":
            self.node("Conv", x, name, strides=window("stride"), pads=pads(), group=ints.get("groups", [1])[0])
        elif op == "batch_norm" and self.fold and self.nodes[-1].output[0] == x[0] and self.nodes[-1].op_type == "Conv":
            conv = self.nodes.pop()
            bias = conv.input[2] if len(conv.input) > 2 else x[1]
            del conv.input[2:]
            conv.input.append(bias)
            conv.output[0] = name
            self.nodes.append(conv)
            for unused in set(x[1:]) - {bias}:
                del self.constants[unused]
        elif op == "batch_norm":
            self.node("BatchNormalization", x, name, epsilon=a["eps"][0])
        elif op == "linear":
            self.node("Gemm", x, name, transB=1)
        elif op == "avg_pool":
            self.node("AveragePool", x, name, kernel_shape=window("kernel"), strides=window("stride"), pads=pads())
        elif op == "reduce_mean":
            axes = self.constant(f"{name}.axes", np.array(ints["axes"], np.int64))
            self.node("ReduceMean", [x[0], axes], name, keepdims=int("keep" in a["braces"]))
        elif op == "concat":
            self.node("Concat", x, name, axis=ints["axis"][0])
        elif op == "split":
            sizes = self.constant(f"{name}.sizes", np.array([self.shapes[n][1] for n in names], np.int64))
            self.node("Split", [x[0], sizes], *names, axis=ints["axis"][0])
        elif op == "attention":
            self.attention(name, x, ints["heads"][0], a["scale"][0])
        else:
            raise NotImplementedError(op)

    def attention(self, name, x, heads, scale):
        """On maps, channels head by head: softmax(q k^T scale) v."""
        batch, channels, *_ = self.shapes[name]
        parts = []
        for part, value, perm in zip("qkv", x, ([0, 1, 3, 2], None, [0, 1, 3, 2])):
            positions = int(np.prod(self.shapes[value][2:]))
            shape = self.constant(f"{name}.{part}.shape", np.array([batch, heads, channels // heads, positions], np.int64))
            y = self.node("Reshape", [value, shape], f"{name}.{part}")
            parts.append(self.node("Transpose", [y], f"{name}.{part}.t", perm=perm) if perm else y)
        factor = self.constant(f"{name}.scale", np.float16(scale).reshape(()))
        scores = self.node("Mul", [self.node("MatMul", parts[:2], f"{name}.scores"), factor], f"{name}.scaled")
        y = self.node("MatMul", [self.node("Softmax", [scores], f"{name}.softmax", axis=-1), parts[2]], f"{name}.mix")
        y = self.node("Transpose", [y], f"{name}.back", perm=[0, 1, 3, 2])
        self.node("Reshape", [y, self.constant(f"{name}.shape", np.array(self.shapes[name], np.int64))], name)


def engine(path):
    """Counts of the engine, and its layers as (name, kind, origins)."""
    recorder = trt_build.Recorder()
    counts, errors = trt_build.build(path, recorder=recorder)
    if counts is None:
        sys.exit("\n".join(errors))
    return counts, [(*layer, origin) for layer, origin in zip(recorder.layers, recorder.origins)]


def main():
    vitc, models = sys.argv[1], sys.argv[2:] or MODELS
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for model in models:
            paper = subprocess.run([vitc, "export", model, "--target", "onnx", "--emit", "ir-paper"], capture_output=True, text=True, check=True).stdout
            path = folder / "training.onnx"
            for label, fold in (("training form", False), ("  BatchNorms folded", True)):
                onnx.save(TrainingForm(paper, fold).model, path)
                onnx.checker.check_model(path, full_check=True)
                report(model, label, path)
            path = folder / "vitc.onnx"
            subprocess.run([vitc, "export", model, "--target", "tensorrt-onnx", "--fp16", "-q", "-o", path], check=True, stderr=subprocess.DEVNULL)
            for name, kind, origin in report(model, "vitc", path):
                if kind != "correlation" and not re.search("Corr|Fc|gemm", name):
                    nodes = re.findall(r"\[ONNX Layer: ([^]]*)\]", origin)
                    print(f"      {name}: {', '.join(nodes) or 'of the compiler itself'}")


def report(model, label, path):
    counts, layers = engine(path)
    nodes = len(onnx.load(path).graph.node)
    print(f"{model:12} {label:20} {nodes:5} nodes  {counts['kernels']:4} kernels, {counts['sync']} of them synchronisation, {counts['fused']} fused attentions", flush=True)
    return layers


if __name__ == "__main__":
    main()
