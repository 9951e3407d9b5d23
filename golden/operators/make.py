#!/usr/bin/env python3
"""Writes the ONNX files of this folder and what they answer: one operator each, in the forms that are easily misread.

Answers are ONNX Runtime's with its optimiser off, or those of the onnx package's evaluator where the runtime lacks the operator ("by": "onnx"). Needs
numpy, onnx and onnxruntime. Numbers follow from the names: the same files each time.
"""
import hashlib
import json
import pathlib
import sys

import numpy as np
import onnx
import onnx.parser
import onnx.reference
import onnxruntime as ort
from onnx import numpy_helper

HERE = pathlib.Path(__file__).parent
CASES = []


def numbers(name, shape, scale=0.5):
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def case(name, trap, header, body, opset=17, tier=1, feeds=None, by="runtime", contrib=False, tolerance=1e-5, contains=(), **constants):
    """Keep one file. `header` is `inputs => outputs` in ONNX's text form; a constant is an array, or a tuple: normal numbers of that shape."""
    CASES.append(dict(name=name, trap=trap, header=header, body=body, opset=opset, tier=tier, feeds=feeds or {}, by=by, contrib=contrib,
                      tolerance=tolerance, contains=list(contains), constants=constants))


def refused(name, trap, header, body, *contains, **more):
    """Keep one file that has to be refused with these words: tier 3, without answers."""
    case(name, trap, header, body, tier=3, contains=contains, **more)


def model(c):
    sets = f'"" : {c["opset"]}' + (', "com.microsoft" : 1' if c["contrib"] else "")
    ir = 10 if c["opset"] < 23 else 12
    inputs, outputs = c["header"].split("=>")
    text = f'<ir_version: {ir}, opset_import: [{sets}]>\ng ({inputs.strip()}) => ({outputs.strip()}) {{\n{c["body"]}\n}}'
    m = onnx.parser.parse_model(text)
    for key, value in c["constants"].items():
        if isinstance(value, onnx.SparseTensorProto):
            value.values.name = key
            m.graph.sparse_initializer.append(value)
            continue
        value = numbers(c["name"] + key, value) if isinstance(value, tuple) else np.asarray(value)
        m.graph.initializer.append(numpy_helper.from_array(value, key))
    return m


TYPES = {1: np.float32, 2: np.uint8, 3: np.int8, 6: np.int32, 7: np.int64, 9: np.bool_}


def feed(c, port):
    t = port.type.tensor_type
    shape = [d.dim_value or 2 for d in t.shape.dim]
    if port.name in c["feeds"]:
        return np.asarray(c["feeds"][port.name]).astype(TYPES[t.elem_type]).reshape(shape)
    x = numbers(c["name"] + port.name, shape, 1.0)
    return x if t.elem_type == 1 else (np.abs(x) * 40).astype(TYPES[t.elem_type])


def answers(c, m, feeds):
    if c["by"] == "onnx":
        return onnx.reference.ReferenceEvaluator(m).run(None, feeds)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    return ort.InferenceSession(m.SerializeToString(), options, providers=["CPUExecutionProvider"]).run(None, feeds)


def write(only):
    rows = []
    for c in CASES:
        m = model(c)
        feeds = {p.name: feed(c, p) for p in m.graph.input} if c["tier"] < 3 else {}
        outs = answers(c, m, feeds) if c["tier"] < 3 else []
        row = dict(name=c["name"], trap=c["trap"], tier=c["tier"], tolerance=c["tolerance"], opset=c["opset"], by=c["by"], dims={}, contains=c["contains"],
                   outputs_option=None, inputs=[], answers=[])
        if any(d.dim_param == "batch" for p in m.graph.input for d in p.type.tensor_type.shape.dim):
            row["dims"] = {"batch": 2}
        onnx.save(m, HERE / f'{c["name"]}.onnx')
        for kind, pairs in (("inputs", list(feeds.items())), ("answers", list(zip([o.name for o in m.graph.output], outs)))):
            for key, value in pairs:
                value = np.asarray(value)
                file = f'{c["name"]}.{key}.npy'
                np.save(HERE / file, value)
                row[kind].append(dict(name=key, file=file, shape=list(value.shape), type=str(value.dtype)))
        rows.append(row)
    (HERE / "cases.json").write_text(json.dumps(rows, indent=1) + "\n")
    print(len(rows), "files")


def i64(*v):
    return np.array(v, np.int64)


def f32(*v):
    return np.array(v[0] if len(v) == 1 else v, np.float32)


# ---- recurrent layers: gates in ONNX's order, both directions, states that are given ------------------------------------------------------------
case("lstm_both", "two directions, states given, all three results read", "float[5,2,3] x, float[2,2,4] h, float[2,2,4] c => float[5,2,2,4] y, float[2,2,4] yh, float[2,2,4] yc",
     'y, yh, yc = LSTM <hidden_size = 4, direction = "bidirectional"> (x, w, r, b, , h, c)', w=(2, 16, 3), r=(2, 16, 4), b=(2, 32))
case("lstm_reverse", "backwards, no bias, no states, the batch open", "float[batch,5,3] x => float[5,1,batch,4] y",
     't = Transpose <perm = [1, 0, 2]> (x)\n y = LSTM <hidden_size = 4, direction = "reverse"> (t, w, r)', w=(1, 16, 3), r=(1, 16, 4))
case("lstm_open", "all three results of a batch that stays open", "float[batch,5,3] x => float[5,1,batch,4] y, float[1,batch,4] yh, float[1,batch,4] yc",
     't = Transpose <perm = [1, 0, 2]> (x)\n y, yh, yc = LSTM <hidden_size = 4> (t, w, r, b)', w=(1, 16, 3), r=(1, 16, 4), b=(1, 32))
case("lstm_functions", "other activations than the default ones, lengths given", "float[4,2,3] x => float[4,1,2,4] y",
     'y = LSTM <hidden_size = 4, activations = ["Sigmoid", "Relu", "Tanh"]> (x, w, r, b, l)', w=(1, 16, 3), r=(1, 16, 4), b=(1, 32), l=np.array([4, 4], np.int32))
case("gru_before", "the reset gate scales the state", "float[5,2,3] x, float[1,2,4] h => float[5,1,2,4] y, float[1,2,4] yh",
     'y, yh = GRU <hidden_size = 4> (x, w, r, b, , h)', w=(1, 12, 3), r=(1, 12, 4), b=(1, 24))
case("gru_after", "the reset gate scales the product, both directions, no state", "float[5,2,3] x => float[5,2,2,4] y, float[2,2,4] yh",
     'y, yh = GRU <hidden_size = 4, linear_before_reset = 1, direction = "bidirectional"> (x, w, r, b)', w=(2, 12, 3), r=(2, 12, 4), b=(2, 24))
case("rnn_relu", "a plain layer with another function", "float[5,2,3] x => float[5,1,2,4] y",
     'y = RNN <hidden_size = 4, activations = ["Relu"]> (x, w, r, b)', w=(1, 4, 3), r=(1, 4, 4), b=(1, 8))

# ---- integers -----------------------------------------------------------------------------------------------------------------------------------
U8 = lambda key, shape: np.random.default_rng(len(key)).integers(0, 255, shape).astype(np.uint8)
I8 = lambda key, shape: np.random.default_rng(len(key) + 9).integers(-127, 127, shape).astype(np.int8)
case("conv_integer", "measured codes, a zero point of the weights", "float[1,3,6,6] x => float[1,4,6,6] y",
     "q, s, z = DynamicQuantizeLinear (x)\n i = ConvInteger <pads = [1,1,1,1], kernel_shape = [3,3]> (q, w, z, wz)\n f = Cast <to = 1> (i)\n t = Mul (s, ws)\n y = Mul (f, t)",
     w=U8("w", (4, 3, 3, 3)), wz=np.array(128, np.uint8), ws=f32(0.01))
case("matmul_integer", "zero points on both sides", "float[2,8] x => float[2,4] y",
     "q, s, z = DynamicQuantizeLinear (x)\n i = MatMulInteger (q, w, z, wz)\n f = Cast <to = 1> (i)\n y = Mul (f, s)",
     w=I8("ww", (8, 4)), wz=np.array(3, np.int8))
case("qlinear_conv", "scales of each channel, a bias in their products", "float[1,3,6,6] x => float[1,4,6,6] y",
     "q = QuantizeLinear (x, xs, xz)\n c = QLinearConv <pads = [1,1,1,1]> (q, xs, xz, w, ws, wz, ys, yz, b)\n y = DequantizeLinear (c, ys, yz)",
     xs=f32(0.02), xz=np.array(120, np.uint8), w=I8("w", (4, 3, 3, 3)), ws=f32([0.01, 0.02, 0.005, 0.03]), wz=np.zeros(4, np.int8), ys=f32(0.1), yz=np.array(100, np.uint8),
     b=np.array([10, -20, 300, 5], np.int32))
case("qlinear_matmul", "asymmetric on both sides", "float[2,8] x => float[2,4] y",
     "q = QuantizeLinear (x, xs, xz)\n c = QLinearMatMul (q, xs, xz, w, ws, wz, ys, yz)\n y = DequantizeLinear (c, ys, yz)",
     xs=f32(0.02), xz=np.array(120, np.uint8), w=U8("www", (8, 4)), ws=f32(0.01), wz=np.array(100, np.uint8), ys=f32(0.05), yz=np.array(90, np.uint8))
case("measured", "scale and zero point are scalars", "float[2,6] x => float[2,6] y, float s, int64[1] n",
     "q, s, z = DynamicQuantizeLinear (x)\n y = DequantizeLinear (q, s, z)\n r = Shape (s)\n n = Shape (r)", opset=17)
CODES = dict(w=I8("w", (1, 3, 16)), r=I8("rr", (1, 4, 16)), b=(1, 32), ws=np.linspace(0.002, 0.01, 16, dtype=np.float32)[None], wz=np.zeros((1, 16), np.int8), rs=f32([0.01]), rz=np.zeros(1, np.int8))
case("lstm_codes", "codes as weights, the sequence measured at once, the state at each step", "float[5,1,3] x => float[5,1,1,4] y",
     "y = com.microsoft.DynamicQuantizeLSTM <hidden_size = 4> (x, w, r, b, , , , , ws, wz, rs, rz)", contrib=True, **CODES)
refused("lstm_codes_batch", "a batch whose states are measured by threads", "float[5,2,3] x => float[5,1,2,4] y",
        "y = com.microsoft.DynamicQuantizeLSTM <hidden_size = 4> (x, w, r, b, , , , , ws, wz, rs, rz)", "a batch of more than 1", contrib=True, **CODES)
case("qdq_pool", "codes moved and pooled between quantising and dequantising", "float[1,2,6,6] x => float[1,2,3,3] y",
     "q = QuantizeLinear (x, s, z)\n p = MaxPool <kernel_shape = [2,2], strides = [2,2]> (q)\n y = DequantizeLinear (p, s, z)", s=f32(0.03), z=np.array(5, np.int8))

# ---- operands of ranks that the definitions do not have -----------------------------------------------------------------------------------------
SHAPES = dict(w=(1, 16, 3), r=(1, 16, 4), b=(1, 32), h=(1, 1, 4))
for key, shapes in (("w", [(), (16,)]), ("r", [(), (16,)]), ("b", [(), (32,)]), ("h", [(), (4,), (1, 4)])):
    for shape in shapes:
        refused(f"lstm_{key}_rank{len(shape)}", "an operand of another rank", "float[5,1,3] x => float[5,1,1,4] y",
                "y = LSTM <hidden_size = 4> (x, w, r, b, , h)", "LSTM", **{**SHAPES, key: shape})
refused("lstm_x_rank2", "a sequence of another rank, the batch first", "float[5,3] x => float[5,1,4] y", "y = LSTM <hidden_size = 4, layout = 1> (x, w, r)", "rank", w=(1, 16, 3), r=(1, 16, 4))
refused("lstm_codes_scalar", "weights of another rank", "float[5,1,3] x => float[5,1,1,4] y",
        "y = com.microsoft.DynamicQuantizeLSTM <hidden_size = 4> (x, w, w, , , , , , s, z, s, z)", "DynamicQuantizeLSTM", contrib=True,
        w=np.array(3, np.int8), s=f32([0.1]), z=np.zeros(1, np.int8))
refused("conv_integer_scalar", "kernels of another rank", "uint8[1,1,2,2] x => int32[1,1,2,2] y", "y = ConvInteger (x, w)", "ConvInteger", w=np.array(3, np.uint8))
refused("rotary_scalar", "tables of another rank", "float[1,1,2,4] x => float[1,1,2,4] y", "y = RotaryEmbedding (x, c, c, p)", "RotaryEmbedding", opset=23, c=f32(1), p=np.array([[0, 1]], np.int64))
refused("last_of_many", "a search over more elements than memory has", "float[1,2000000000] x => int64[1,1] y", "y = ArgMax <axis = 1, select_last_index = 1> (x)", "too large")
refused("diagonal_of_many", "a diagonal of more elements than memory has", "float[8000000,8000000] x => float[8000000] y", 'y = Einsum <equation = "ii->i"> (x)', "too large")
refused("window_of_many", "a window longer than any that is used", "float[1] x => float[1] y", "w = HannWindow (n)\n v = Slice (w, s, e)\n y = Add (x, v)", "has no length",
        n=np.array(1 << 22, np.int64), s=i64(0), e=i64(1))
refused("lstm_of_many", "steps that are too many only together", "float[150,1,1] x, float[8100,1,1] z => float[150,1,1,1] y, float[8100,1,1,1] v",
        "y = LSTM <hidden_size = 1> (x, w, r)\n v = LSTM <hidden_size = 1> (z, w, r)", "nodes once it is written out", w=(1, 4, 1), r=(1, 4, 1))

# ---- attention ----------------------------------------------------------------------------------------------------------------------------------
case("attention_causal", "causal, a truth mask that hides all of a row together with it", "float[1,2,4,3] q, float[1,2,4,3] k, float[1,2,4,3] v => float[1,2,4,3] y",
     "y = Attention <is_causal = 1> (q, k, v, m)", opset=23, by="onnx", m=np.array([[0, 1, 1, 1], [1, 0, 1, 1], [1, 1, 1, 0], [1, 1, 0, 1]], bool)[None, None])
case("attention_tokens", "rank 3, fewer heads of keys, a factor of its own, numbers as mask", "float[2,4,12] q, float[2,5,6] k, float[2,5,6] v => float[2,4,12] y",
     "y = Attention <q_num_heads = 4, kv_num_heads = 2, scale = 0.3> (q, k, v, m)", opset=23, by="onnx", m=(4, 5))
INF = np.inf
case("attention_infinite", "minus infinity hides, numbers beside it are added, and a row of it alone gives zeros", "float[1,2,3,4] q, float[1,2,5,4] k, float[1,2,5,4] v => float[1,2,3,4] y",
     "y = Attention (q, k, v, m)", opset=23, m=f32([[0.5, -INF, 1, -2, 0], [-INF] * 5, [-INF, -INF, 3, -INF, 0.25]]))
case("attention_infinite_causal", "a row that neither the mask nor the order hides alone is hidden by both", "float[1,2,3,4] q, float[1,2,5,4] k, float[1,2,5,4] v => float[1,2,3,4] y",
     "y = Attention <is_causal = 1> (q, k, v, m)", opset=23, m=f32([[-INF, 0, 0, 0, 0], [0, 0.5, 0, 0, 0], [-INF, -INF, -INF, 2, 0]]))
case("attention_mask_in", "a mask of numbers that is given when the model runs, with minus infinity in it", "float[1,2,3,4] q, float[1,2,5,4] k, float[1,2,5,4] v, float[1,1,3,5] m => float[1,2,3,4] y",
     "y = Attention <is_causal = 1> (q, k, v, m)", opset=23, feeds={"m": f32([[-INF, 0, 0, 0, 0], [0, 0.5, 0, 0, 0], [-INF, 2, -3, 4, 0]])})
case("attention_truth_in", "truths that are given when the model runs hide a whole row", "float[1,2,3,4] q, float[1,2,5,4] k, float[1,2,5,4] v, bool[1,1,3,5] m => float[1,2,3,4] y",
     "y = Attention (q, k, v, m)", opset=23, feeds={"m": [[1, 0, 1, 1, 0], [0, 0, 0, 0, 0], [0, 0, 0, 1, 0]]})
case("attention_short_mask", "a mask of fewer keys hides the rest", "float[1,2,3,4] q, float[1,2,5,4] k, float[1,2,5,4] v => float[1,2,3,4] y",
     "y = Attention (q, k, v, m)", opset=24, by="onnx", m=f32([[0.5, -INF, 1], [0, 0, 0], [-1, 2, -INF]]))
refused("attention_one_key", "a mask of one key", "float[1,2,3,4] q, float[1,2,5,4] k, float[1,2,5,4] v => float[1,2,3,4] y", "y = Attention (q, k, v, m)", "mask of one key for 5",
        opset=24, m=f32([[0], [1], [0]]))
refused("attention_wide_mask", "a mask of more sets than the scores", "float[1,2,3,4] q, float[1,2,5,4] k, float[1,2,5,4] v => float[2,2,3,4] y", "y = Attention (q, k, v, m)", "do not fit",
        opset=23, m=(2, 1, 3, 5))
refused("multi_head_unequal", "later keys hidden, of other number than the queries", "float[1,3,4] q, float[1,5,4] k, float[1,5,4] v => float[1,3,4] y",
        "y = com.microsoft.MultiHeadAttention <num_heads = 1, unidirectional = 1> (q, k, v)", "3 queries and 5 keys", contrib=True)
refused("multi_head_blind", "a query that sees nothing, of which the runtime makes no numbers", "float[1,3,4] q, float[1,3,4] k, float[1,3,4] v => float[1,3,4] y",
        "y = com.microsoft.MultiHeadAttention <num_heads = 1> (q, k, v, , , m)", "sees no key", contrib=True, m=f32([[[[0, 0, 0], [-INF] * 3, [0, 0, 0]]]]))
case("multi_head_hidden", "minus infinity beside the causal order", "float[1,3,4] q, float[1,3,4] k, float[1,3,4] v => float[1,3,4] y",
     "y = com.microsoft.MultiHeadAttention <num_heads = 1, unidirectional = 1> (q, k, v, , , m)", contrib=True, m=f32([[[[0, 0, 0], [-INF, 0.5, 0], [0.25, -INF, 0]]]]))
case("multi_head", "one bias for queries, keys and values", "float[2,4,8] q, float[2,5,8] k, float[2,5,8] v => float[2,4,8] y",
     "y = com.microsoft.MultiHeadAttention <num_heads = 2> (q, k, v, b)", contrib=True, b=(24,))
case("attention_packed", "weights of queries, keys and values in one matrix", "float[2,5,8] x => float[2,5,8] y",
     "y = com.microsoft.Attention <num_heads = 2> (x, w, b)", contrib=True, w=(8, 24), b=(24,))
case("rotary", "part of the channels, positions given", "float[2,3,4,6] x => float[2,3,4,6] y",
     "y = RotaryEmbedding <rotary_embedding_dim = 4> (x, cs, sn, p)", opset=23, by="onnx", cs=(8, 2), sn=(8, 2), p=np.array([[0, 1, 2, 3], [4, 5, 6, 7]], np.int64))
case("rotary_pairs", "neighbours in pairs, rank 3", "float[2,4,12] x => float[2,4,12] y",
     "y = RotaryEmbedding <interleaved = 1, num_heads = 3> (x, cs, sn)", opset=23, by="onnx", cs=(2, 4, 2), sn=(2, 4, 2))
case("fused_matmul_turned", "both operands turned at run time", "float[2,4,3] a, float[2,5,4] b => float[2,3,5] y",
     "y = com.microsoft.FusedMatMul <transA = 1, transB = 1, alpha = 0.5> (a, b)", contrib=True)
case("gemm_computed", "a matrix that is computed where a weight is usual", "float[2,4] a, float[3,4] b => float[2,3] y", "y = Gemm <transB = 1> (a, b)")

# ---- functions and transforms -------------------------------------------------------------------------------------------------------------------
case("functions", "hyperbolic functions and their inverses", "float[2,6] x => float[2,6] a, float[2,6] b, float[2,6] c, float[2,6] d, float[2,6] e, float[2,6] f",
     "a = Tan (x)\n b = Sinh (x)\n c = Cosh (x)\n d = Asinh (x)\n s = Tanh (x)\n e = Atanh (s)\n o = Add (c, l)\n f = Acosh (o)", opset=22, l=f32(0.5), tolerance=2e-5)
case("area_large", "arguments whose squares no float holds, and infinity", "float[1,6] x => float[1,6] a, float[1,6] b",
     "a = Asinh (x)\n s = Abs (x)\n o = Max (s, l)\n b = Acosh (o)", opset=22, l=f32(1), feeds={"x": [[1e20, -3e30, 30, -0.5, 0, 1.5]]})
case("shrink_infinite", "infinities and a bias", "float[1,6] x => float[1,6] y", "y = Shrink <bias = 0.3, lambd = 0.6> (x)", feeds={"x": [[INF, -INF, 0.7, -0.7, 0.5, 0]]})
case("shrink", "a bias, and what lies between the thresholds", "float[2,6] x => float[2,6] y", "y = Shrink <bias = 0.3, lambd = 0.6> (x)")
case("mean_variance", "over listed axes", "float[2,3,4,4] x => float[2,3,4,4] y", "y = MeanVarianceNormalization <axes = [2, 3]> (x)")
case("dft_half", "half a spectrum of real numbers", "float[1,2,6,1] x => float[1,2,4,2] y", "y = DFT <onesided = 1, axis = 2> (x)", by="onnx", tolerance=2e-5)
case("dft_back", "complex, inverse, along another axis", "float[2,5,3,2] x => float[2,5,3,2] y", "y = DFT <inverse = 1> (x, , a)", opset=20, a=np.array(1, np.int64), by="onnx", tolerance=2e-5)
case("centre", "one axis cut, one padded", "float[1,3,5,4] x => float[1,3,4,7] y", "y = CenterCropPad <axes = [2, 3]> (x, s)", opset=18, s=i64(4, 7))
case("reverse_sequence", "sequences of several lengths", "float[4,3,2] x => float[4,3,2] y", "y = ReverseSequence (x, l)", l=i64(4, 2, 1))
case("argmax_last", "the last of equal ones", "float[2,5] x => int64[2,1] y", "r = Round (x)\n y = ArgMax <axis = 1, select_last_index = 1> (r)")
case("einsum_diagonal", "a letter that stands twice in one operand", "float[2,3,3] x => float[2,3] y", 'y = Einsum <equation = "bii->bi"> (x)')
case("scatter_add", "updates that meet in one place", "float[3,4] x, float[2,4] u => float[3,4] y", 'y = ScatterElements <axis = 0, reduction = "add"> (x, i, u)',
     opset=18, i=np.array([[0, 2, 0, 1], [0, 1, 0, 2]], np.int64))
case("scatter_max", "the larger of old and new", "float[3,4] x, float[2,4] u => float[3,4] y", 'y = ScatterND <reduction = "max"> (x, i, u)', opset=18, i=np.array([[2], [2]], np.int64))

# ---- sampling -----------------------------------------------------------------------------------------------------------------------------------
for mode in ("nearest", "cubic"):
    case(f"crop_{mode}", "a region that leaves the map", "float[1,2,6,6] x => float[1,2,5,4] y",
         f'y = Resize <mode = "{mode}", coordinate_transformation_mode = "tf_crop_and_resize", extrapolation_value = 0.7> (x, roi, , s)',
         roi=f32([0, 0, 0.2, -0.3, 1, 1, 1.1, 0.9]), s=i64(1, 2, 5, 4))
case("resize_three", "three axes at once", "float[1,2,3,4,5] x => float[1,2,6,8,5] y", 'y = Resize <mode = "linear"> (x, , , s)', s=i64(1, 2, 6, 8, 5))

# ---- whole numbers, truths and choices ----------------------------------------------------------------------------------------------------------
case("where_infinite", "what is not chosen is infinite", "float[2,6] x => float[2,6] y",
     "z = Constant <value = float {0}> ()\n p = Greater (x, z)\n l = Log (x)\n y = Where (p, l, x)")
case("where_constant", "a constant choice beside an infinite value", "float[2,4] x => float[2,4] y", "l = Log (x)\n y = Where (m, l, x)",
     m=np.array([True, False, True, False]), feeds={"x": [[1.5, -2, 0.7, -0.1], [2, -0.4, 0.2, 3]]})
case("compare", "all comparisons and all logic", "float[2,6] x, float[2,6] z => float[2,6] y",
     "a = Greater (x, z)\n b = LessOrEqual (x, h)\n c = And (a, b)\n d = Equal (x, z)\n e = Not (d)\n f = Xor (c, e)\n g = GreaterOrEqual (z, h)\n i = Or (f, g)\n y = Cast <to = 1> (i)", h=f32(0.2))
hidden = "s = MatMul (x, k)\n f = Where (m, zero, never)\n a = Add (s, f)\n w = Softmax (a)\n n = IsNaN (w)\n y = Where (n, zero, w)"
case("rows_hidden", "a mask that hides whole rows, whose weights are no numbers", "float[2,3,4] x => float[2,3,5] y", hidden,
     k=(4, 5), zero=f32(0), never=f32(-np.inf), m=np.array([[1, 0, 0, 1, 1], [0] * 5, [1] * 5], bool))
case("rows_hidden_outside", "the same by a mask from outside", "float[2,3,4] x, bool[3,5] m => float[2,3,5] y", hidden,
     k=(4, 5), zero=f32(0), never=f32(-np.inf), feeds={"m": [[1, 0, 0, 1, 1], [0] * 5, [1] * 5]})
case("mask_large", "a mask of numbers beyond half precision, and one that is chosen", "float[1,3,4] x => float[1,3,5] y",
     "s = MatMul (x, k)\n c = Where (m, zero, never)\n t = Add (f, s)\n a = Add (t, c)\n y = Softmax (a)", k=(4, 5), zero=f32(0), never=f32(-1e9),
     f=np.array([[0, -1e9, 0, 0, 0]] * 3, np.float32), m=np.array([[1, 1, 1, 1, 0]] * 3, bool))
case("infinite_known", "infinities compared while the file is read", "float[2,3] x => float[2,3] y",
     "r = ReduceMax (f, last)\n e = Equal (r, never)\n y = Where (e, zero, x)", opset=18, last=i64(-1), zero=f32(0), never=f32(-np.inf),
     f=np.array([[0, -np.inf, 0], [-np.inf] * 3], np.float32))
case("infinite_never", "scores without a mask, asked for infinity as safe forms of attention do", "float[2,3,4] x => float[2,3,5] y",
     "s = MatMul (x, k)\n w = Softmax (s)\n e = Equal (s, never)\n z = Where (e, zero, w)\n n = IsNaN (w)\n y = Where (n, zero, z)", k=(4, 5), zero=f32(0), never=f32(-np.inf))
refused("infinite_input", "an input that may be infinite itself", "float[2,3] x => float[2,3] y", "e = Equal (x, large)\n y = Where (e, zero, x)",
        "looks for infinities at run time", zero=f32(0), large=f32(np.inf))
case("infinite_asked", "a comparison of scores with infinity", "float[2,3] x, bool[2,3] m => float[2,3] y",
     "f = Where (m, x, never)\n e = Greater (f, never)\n y = Where (e, x, one)", one=f32(1), never=f32(-np.inf), feeds={"m": [[1, 0, 1], [0, 0, 1]]})
refused("dropout_training", "a layer that drops at random", "float[2,3] x => float[2,3] y", "y = Dropout (x, r, t)", "drops at random", r=f32(0.3), t=np.array(True))
refused("attribute_unknown", "an attribute of another version", "float[1,4,2,2] x => float[1,4,2,2] y", "y = InstanceNormalization <weight_first = 1> (x, s, b)",
        "has an attribute weight_first", s=(4,), b=(4,))
case("truth_out", "truths as results", "float[2,6] x => bool[2,6] y", "y = Greater (x, h)", h=f32(0.2))
case("truth_in", "a mask from outside", "float[2,6] x, bool[2,6] m => float[2,6] y", "n = Not (m)\n y = Where (n, x, h)", h=f32(-3), feeds={"m": [[1, 0, 1, 0, 0, 1]] * 2})
case("truncate", "floats to whole numbers and back", "float[2,6] x => float[2,6] y, int64[2,6] i", "s = Mul (x, t)\n i = Cast <to = 7> (s)\n y = Cast <to = 1> (i)", t=f32(7))
case("ids", "a table looked up by numbers from outside, some from the end", "int64[2,3] x => float[2,3,4] y", "y = Gather (t, x)", t=(9, 4), feeds={"x": [[0, 8, -1], [3, -9, 5]]})
case("ids32", "32-bit numbers, computed with before", "int32[2,3] x => float[2,3,4] y, int32[2,3] z", "z = Add (x, o)\n y = Gather (t, z)", t=(9, 4), o=np.array(1, np.int32),
     feeds={"x": [[0, 7, 1], [3, 2, 5]]})
case("gather_of_search", "elements at the place of the largest", "float[2,5,3] x => float[2,1,3] y",
     "i = ArgMax <axis = 1, keepdims = 1> (x)\n y = GatherElements <axis = 1> (x, i)")
case("sine_fast", "angles whose halves are too far apart", "float[2,6] x => float[2,6] y", "a = Mul (x, f)\n y = Sin (a)", f=f32(300.0))
case("bytes", "pixels as bytes, channels last; bytes again at the end, with and without a sign", "uint8[1,4,6,3] x => uint8[1,3,4,6] y, int8[1,4,6,3] z",
     "f = Cast <to = 1> (x)\n t = Transpose <perm = [0, 3, 1, 2]> (f)\n h = Mul (t, s)\n y = Cast <to = 2> (h)\n d = Sub (f, m)\n z = Cast <to = 3> (d)",
     s=f32(0.75), m=f32(128.0), feeds=dict(x=np.arange(72) * 3))
case("bytes_folded", "a bounded value that is read twice at every step: whoever asks for its range must not ask twice", "uint8[1,4] x => uint8[1,4] y",
     "f = Cast <to = 1> (x)\n b0 = Mul (f, q)\n" + "".join(f" d{i} = Neg (b{i})\n b{i + 1} = Max (b{i}, d{i})\n" for i in range(29)) + " y = Cast <to = 2> (b29)", q=f32(0.25))
case("bytes_signed", "bytes with a sign at both ends", "int8[2,5] x => int8[2,5] y", "f = Cast <to = 1> (x)\n h = Mul (f, s)\n y = Cast <to = 3> (h)",
     s=f32(-0.75), feeds=dict(x=np.arange(10) * 25 - 120))
case("gather_elements_in", "indices that are given, some from the end", "float[3,4,2] x, int32[2,3,2] i => float[2,3,2] y", "y = GatherElements <axis = 1> (x, i)",
     feeds={"i": np.arange(12) % 8 - 4})
case("gather_nd_in", "tuples that are given, of axes of several sizes", "float[3,40,2] x, int64[5,2] i => float[5,2] y", "y = GatherND (x, i)", feeds={"i": [[0, 39], [2, -1], [-3, 7], [1, 0], [2, 20]]})
case("gather_nd_computed", "tuples of computed indices behind a batch", "float[2,4,5] x => float[2,1] y",
     "f = Reshape (x, s)\n i = ArgMax <axis = 1, keepdims = 1> (f)\n r = Div (i, five)\n c = Mod (i, five)\n p = Concat <axis = 1> (r, c)\n q = Unsqueeze (p, one)\n y = GatherND <batch_dims = 1> (x, q)",
     s=i64(2, 20), five=np.array(5, np.int64), one=i64(1))
case("topk", "the best of all, and what else lies there", "float[2,6,4] x => float[2,3,4] y, float[2,3] v, int64[2,3] i",
     "m = ReduceMax <axes = [2], keepdims = 0> (x)\n v, i = TopK <axis = 1> (m, k)\n u = Unsqueeze (i, two)\n t = Tile (u, r)\n y = GatherElements <axis = 1> (x, t)", k=i64(3), two=i64(2), r=i64(1, 1, 4))
case("topk_shifted", "indices that are computed with", "float[2,6,4] x => float[2,3,4] v, int64[2,3,4] i", "v, a = TopK <axis = 1> (x, k)\n i = Add (a, o)", k=i64(3), o=np.array(2, np.int64))
case("topk_smallest", "the smallest along an inner axis, equal ones", "float[2,6,3] x => float[2,2,3] v, int64[2,2,3] i", "r = Round (x)\n v, i = TopK <axis = 1, largest = 0> (r, k)", k=i64(2))
case("clip_whole", "indices kept within a table", "int64[5] x => float[5,2] y", "c = Clip (x, lo, hi)\n y = Gather (t, c)", t=(4, 2), lo=np.array(0, np.int64), hi=np.array(3, np.int64),
     feeds={"x": [-3, 2, 9, 0, 3]})
for mode in ("linear", "nearest", "cubic"):
    for padding in ("zeros", "border", "reflection"):
        align = int(padding == "border" or mode == "nearest")
        case(f"grid_{mode}_{padding}", "places far outside of the map", "float[2,3,5,4] x, float[2,3,6,2] g => float[2,3,3,6] y",
             f'y = GridSample <mode = "{mode}", padding_mode = "{padding}", align_corners = {align}> (x, g)', opset=20, tolerance=2e-5)

# ---- older and rarer forms ----------------------------------------------------------------------------------------------------------------------
case("pool_places", "places that nobody reads", "float[1,2,6,6] x => float[1,2,3,3] y", "y, i = MaxPool <kernel_shape = [2,2], strides = [2,2]> (x)")
case("pool_powers", "a power of three under padding", "float[1,2,6,7] x => float[1,2,3,4] y", "y = LpPool <kernel_shape = [3,2], strides = [2,2], pads = [1,0,0,1], p = 3> (x)")
case("pool_powers_all", "sums of absolute values over the map", "float[1,2,6,6] x => float[1,2,1,1] y", "y = GlobalLpPool <p = 1> (x)")
case("hardmax", "the first of equal ones", "float[2,3,4] x => float[2,3,4] y", "r = Round (x)\n y = Hardmax <axis = 1> (r)")
case("hardmax_flat", "over all axes from one on, as before opset 13", "float[2,3,4] x => float[2,3,4] y", "y = Hardmax (x)", opset=11)
case("slope_old", "a slope of each channel, as before opset 7", "float[1,3,4,5] x => float[1,3,4,5] y", "y = PRelu (x, s)", opset=6, s=(3,), by="onnx")
case("gemm_old", "a summand that says that it broadcasts", "float[2,3] x => float[2,4] y", "y = Gemm <alpha = 0.5, beta = 2.0, transB = 1, broadcast = 1> (x, w, b)", opset=6, w=(4, 3), b=(4,), by="onnx")
case("dropout_kept", "the mask of a dropout that drops nothing", "float[2,3] x => float[2,3] y, bool[2,3] m", "y, m = Dropout (x)")
case("places_constant", "places of a constant's elements that are not zero", "float[4,3] x => float[2,3] y", "n = NonZero (m)\n t = Transpose (n)\n y = GatherND (x, t)", m=f32([1, 0, 0, 2]))
case("choice_constant", "rows that constant truths choose", "float[4,3] x => float[2,3] y", "y = Compress <axis = -2> (x, m)", m=np.array([True, False, True]))
case("choice_elements", "elements that constant truths choose", "float[2,3] x => float[2] y", "y = Compress (x, m)", m=np.array([True, False, False, True]))
case("blocks", "a scale for each two rows", "float[2,4] x => float[2,3] y", "w = DequantizeLinear <axis = 0, block_size = 2> (q, s)\n y = MatMul (x, w)", opset=21,
     q=np.arange(-6, 6, dtype=np.int8).reshape(4, 3), s=f32(np.arange(1, 7).reshape(2, 3) / 10))
case("sequence_parts", "parts of given size, which say that they keep the axis", "float[2,6] x => float[2,6] y",
     "s = SplitToSequence <axis = 1, keepdims = 1> (x, n)\n a = SequenceAt (s, i)\n b = SequenceAt (s, j)\n y = Concat <axis = 1> (a, b)",
     n=np.array(3, np.int64), i=np.array(-1, np.int64), j=np.array(0, np.int64))
case("clip_empty", "bounds that leave no room", "float[2,6] x => float[2,6] y", "y = Clip (x, lo, hi)", lo=f32(1), hi=f32(-0.5))
case("spectra", "frames under a window, half a spectrum", "float[2,32,1] x => float[2,9,5,2] y", "y = STFT (x, step, w)", step=np.array(3, np.int64), w=f32(np.hanning(8)), tolerance=2e-5)
case("spectra_whole", "frames of a length, the whole spectrum", "float[2,32,1] x => float[2,7,8,2] y", "y = STFT <onesided = 0> (x, step, , n)", step=np.array(4, np.int64), n=np.array(8, np.int64), tolerance=2e-5)
case("spectra_complex", "a signal of complex numbers", "float[1,20,2] x => float[1,5,4,2] y", "y = STFT <onesided = 0> (x, step, w)", step=np.array(4, np.int64), w=f32([0.5, 1, 1, 0.5]), tolerance=2e-5)
SPARSE = lambda indices: onnx.helper.make_sparse_tensor(numpy_helper.from_array(f32([1.5, -2]), "v"), numpy_helper.from_array(np.array(indices, np.int64), "i"), [2, 3])
case("sparse_places", "elements by their place in the row of all", "float[2,3] x => float[2,3] y", "y = Add (x, c)", c=SPARSE([1, 5]))
case("sparse_coordinates", "elements by their coordinates", "float[2,3] x => float[2,3] y", "y = Add (x, c)", c=SPARSE([[0, 1], [1, 2]]))
case("loop_condition", "turns until a known condition ends them, names that stand outside too", "float[2,3] x => float[2,3] y, int64 j",
     "j, y = Loop <body = b (int64 i, bool k, int64 j, float[2,3] v) => (bool more, int64 next, float[2,3] sum) {\n"
     " sum = Add (v, x)\n next = Add (j, one)\n more = Less (next, last) }> (m, , zero, x)",
     m=np.array(2 ** 63 - 1, np.int64), zero=np.array(0, np.int64), one=np.array(1, np.int64), last=np.array(4, np.int64))
case("gru_zeros", "a state of zeros for a batch that stays open", "float[batch,5,3] x => float[1,batch,4] y",
     "t = Transpose <perm = [1,0,2]> (x)\n b1 = Shape <start = 0, end = 1> (x)\n s = Concat <axis = 0> (one, b1, four)\n z = ConstantOfShape (s)\n all, y = GRU <hidden_size = 4> (t, w, r, b, , z)",
     w=(1, 12, 3), r=(1, 12, 4), b=(1, 24), one=i64(1), four=i64(4))
case("number_out", "a constant without axes as a result", "float[2,3] x => float[2,3] y, float z", "y = Relu (x)\n z = Constant <value_float = 2.5> ()")
case("input_out", "an input as a result", "float[2,3] x => float[2,3] y, float[2,3] x", "y = Relu (x)")
refused("numbers_raised", "lengths that are given, squared", "float[2,3] x, int64[2] l => float[2,3] y, int64[2] z", "y = Relu (x)\n z = Pow (l, d)", "computes with i64", d=np.array(2, np.int64))
refused("numbers_met", "what such lengths are multiplied with", "float[2,3] x, int64[2,1] l => float[2,3] y", "r = Relu (x)\n z = Pow (l, d)\n f = Cast <to = 1> (z)\n y = Mul (r, f)", "computes with i64", d=np.array(2, np.int64))
refused("divided_by_zero", "whole numbers divided by constants of which one is zero", "int64[2] l => int64[2] z", "z = Div (l, d)", "divides by zero", d=i64(3, 0))
WHOLE = [-7, -6, -1, 0, 1, 6, 7, 100, 16777217, -33554435, 2147483647, -2147483647]
DIVISORS = [2, -2, 3, 5, -7, 1, -1, 7, 3, 2, 1, -5]
case("quotient_whole", "whole numbers of both signs and beyond 2^24, divided by a number and by a negative one: towards zero", "int64[12] x => int64[12] y, int64[12] z", "y = Div (x, d)\n z = Div (x, e)",
     d=np.array(160), e=i64(-3), feeds={"x": WHOLE})
case("quotient_given", "divided by numbers that are given, broadcast", "int32[3,1] x, int32[2] d => int32[3,2] y", "y = Div (x, d)", feeds={"x": [-7, 8, 9], "d": [2, -4]})
case("remainder_whole", "remainders with the divisor's sign", "int64[12] x => int64[12] y, int64[12] z", "y = Mod (x, d)\n z = Mod (x, e)", d=np.array(7), e=i64(-3), feeds={"x": WHOLE})
case("remainder_given", "remainders by numbers that are given, with the divisor's sign and with the dividend's", "int64[12] x, int64[12] d => int64[12] y, int64[12] z", "y = Mod (x, d)\n z = Mod <fmod = 1> (x, d)",
     feeds={"x": WHOLE, "d": DIVISORS})
case("remainder_place", "row and column of the largest element, whose place is shifted", "float[1,5,4] x => int64[1] r, int64[1] c",
     "f = Flatten (x)\n p = ArgMax <axis = 1, keepdims = 0> (f)\n q = Add (p, two)\n w = Max (q, two)\n r = Div (w, four)\n c = Mod (w, four)", two=i64(2), four=i64(4))
refused("axes_in", "axes that are given", "float[2,3] x, int64[1] a => float[1,3] y", "y = ReduceSum (x, a)", "the image decides its axes")

# ---- an open batch: what a file repeats, counts or reads for each item --------------------------------------------------------------------------
case("read_by_strides", "a value read by its strides, each item its own elements", "float[batch,2,3] x => float[batch,3,2] y",
     "d = Shape <start = 0, end = 1> (x)\n b = Squeeze (d)\n r = Range (zero, b, one)\n m = Mul (r, six)\n u = Unsqueeze (m, ax)\n i = Add (u, off)\n f = Reshape (x, flat)\n y = Gather <axis = 0> (f, i)",
     opset=18, zero=np.array(0), one=np.array(1), six=np.array(6), ax=i64(1, 2), off=np.array([[[5, 0], [1, 3], [2, 2]]]), flat=i64(-1))
case("mask_repeated", "a mask that hides nothing, repeated for each item, and what is done about rows that are hidden", "float[batch,4,3] x => float[batch,1,4,3] y",
     "d = Shape <start = 0, end = 1> (x)\n s = Concat <axis = 0> (d, one, four, four)\n e = Expand (m, s)\n w = Where (e, zero, low)\n q = Unsqueeze (x, one)\n t = Transpose <perm = [0,1,3,2]> (q)\n"
     " a = MatMul (q, t)\n z = Add (a, w)\n p = Softmax <axis = -1> (z)\n o = IsNaN (p)\n v = Where (o, zero, p)\n y = MatMul (v, q)",
     opset=18, one=i64(1), four=i64(4), m=np.ones((1, 1, 4, 1), bool), zero=f32(0), low=f32(np.finfo(np.float32).min))
case("mask_repeated_part", "a mask that hides some keys, repeated for each item before it is turned into numbers", "float[batch,4,3] x => float[batch,4,3] y",
     "d = Shape <start = 0, end = 1> (x)\n s = Concat <axis = 0> (d, four, four)\n e = Expand (m, s)\n h = Not (e)\n w = Where (h, low, zero)\n t = Transpose <perm = [0,2,1]> (x)\n"
     " a = MatMul (x, t)\n z = Add (a, w)\n p = Softmax <axis = -1> (z)\n y = MatMul (p, x)",
     opset=18, four=i64(4), m=np.tril(np.ones((1, 4, 4), bool)), zero=f32(0), low=f32(-np.inf))
case("queries_repeated", "constants that are repeated for each item and then normalised and multiplied: no other value is beside them",
     "float[batch,4,3] x => float[batch,5,4] y, float[batch,5,3] q",
     "d = Shape <start = 0, end = 1> (x)\n s = Concat <axis = 0> (d, five, three)\n e = Expand (c, s)\n l = LayerNormalization <axis = -1> (e, g)\n q = MatMul (l, w)\n t = Transpose <perm = [0,2,1]> (x)\n y = MatMul (q, t)",
     opset=18, five=i64(5), three=i64(3), c=(1, 5, 3), g=(3,), w=(3, 3))
case("gather_nd_behind", "tuples of constant indices in front of the batch", "float[batch,3,4,2] x => float[2,2,batch,2] y", "t = Transpose <perm = [1,2,0,3]> (x)\n y = GatherND (t, i)",
     opset=18, i=np.array([[[0, 1], [-1, 2]], [[2, 0], [1, 1]]]))
case("gather_wide", "places of rows and columns as patches: more axes than a phone has", "float[batch,2,4,5] x => float[batch,12,9] y",
     "a = Gather <axis = 2> (x, r)\n b = Gather <axis = 4> (a, k)\n t = Transpose <perm = [0,1,2,4,3,5]> (b)\n y = Reshape (t, s)",
     opset=18, r=np.array([[0, 1, 2], [1, 2, 3]]), k=np.array([[0, 2, 1], [1, 3, 2], [4, 0, 4]]), s=i64(0, 12, 9))

# ---- patches and windows ------------------------------------------------------------------------------------------------------------------------
case("fold_over", "patches that overlap, have gaps and a border, and do not reach the end", "float[batch,12,8] x => float[batch,2,7,5] y",
     "y = Col2Im <dilations = [1,2], pads = [1,0,1,1], strides = [2,1]> (x, s, b)", opset=18, s=i64(7, 5), b=i64(2, 3))
case("fold_beside", "patches that lie beside each other", "float[batch,8,6] x => float[batch,2,4,6] y", "y = Col2Im <strides = [2,2]> (x, s, b)", opset=18, s=i64(4, 6), b=i64(2, 2))
case("pool_larger", "a window that is larger than its map and hangs over", "float[batch,3,4,4] x => float[batch,3,1,1] y, float[batch,3,1,2] z",
     "y = AveragePool <kernel_shape = [9,9], strides = [9,9], ceil_mode = 1, count_include_pad = 1> (x)\n z = MaxPool <kernel_shape = [5,2], strides = [4,2], ceil_mode = 1> (x)", opset=13)
case("pool_larger_border", "windows that are larger than their map and move over a border", "float[batch,2,5,5] x => float[batch,2,2,2] y, float[batch,2,1,2] z",
     "y = AveragePool <kernel_shape = [7,7], pads = [0,0,3,3]> (x)\n z = AveragePool <kernel_shape = [7,7], pads = [1,1,1,2]> (x)")
case("pad_edge_number", "a number that counts for constant borders only", "float[batch,2,4,5] x => float[batch,2,7,8] y, float[batch,2,6,7] z",
     'y = Pad <mode = "edge"> (x, p, v)\n z = Pad <mode = "reflect"> (x, q, v)', p=i64(0, 0, 1, 2, 0, 0, 2, 1), q=i64(0, 0, 1, 1, 0, 0, 1, 1), v=f32(3.0))
case("pool_gaps", "means over windows with gaps and a border that counts or not, whose last windows hang over or do not fit", "float[batch,3,9,8] x => float[batch,3,4,5] a, float[batch,3,4,5] b, float[batch,3,3,5] c",
     "a = AveragePool <kernel_shape = [3,2], dilations = [2,3], strides = [2,1], pads = [2,1,1,0], ceil_mode = 1> (x)\n"
     " b = AveragePool <kernel_shape = [3,2], dilations = [2,3], strides = [2,1], pads = [2,1,1,0], ceil_mode = 1, count_include_pad = 1> (x)\n"
     " c = AveragePool <kernel_shape = [3,2], dilations = [2,3], strides = [3,1], pads = [2,1,1,0], count_include_pad = 1> (x)", opset=19)
case("pool_gaps_row", "means and powers over windows with gaps, of rows and of a map", "float[batch,2,9] x, float[batch,2,9,9] z => float[batch,2,5] y, float[batch,2,7,7] p",
     "y = AveragePool <kernel_shape = [3], dilations = [2]> (x)\n p = LpPool <kernel_shape = [3,3], dilations = [2,2], pads = [1,1,1,1], p = 3> (z)", opset=19)
refused("pool_gaps_empty", "a window of which no element lies on the map", "float[1,1,4] x => float[1,1,7] y", "y = AveragePool <kernel_shape = [2], dilations = [5], pads = [4,4]> (x)",
        "nothing of the map lies", opset=19)
case("slope_one", "one slope for all channels", "float[batch,3,4,5] x => float[batch,3,4,5] y", "y = PRelu (x, s)", s=f32([-0.3]))

# ---- volumes ------------------------------------------------------------------------------------------------------------------------------------
volume = "float[batch,c,d,h,w] y"
case("volume_groups", "groups, and another border, stride and gap along each axis", f"float[batch,4,6,5,5] x => {volume}",
     "y = Conv <group = 2, pads = [1,0,1,2,1,0], strides = [2,1,2], dilations = [1,2,1]> (x, k, b)", k=(6, 2, 3, 2, 3), b=(6,))
case("volume_tubes", "windows that lie beside each other and leave a layer over", f"float[batch,3,5,8,8] x => {volume}", "y = Conv <strides = [2,4,4]> (x, k, b)", k=(6, 3, 2, 4, 4), b=(6,))
case("volume_one", "one window over gaps along the depth", f"float[batch,2,7,5,5] x => {volume}", "y = Conv <dilations = [3,1,1]> (x, k)", k=(3, 2, 3, 2, 2))
case("volume_flat", "kernels of one layer, side by side and over each third layer", f"float[batch,2,7,5,5] x => {volume}, float[batch,c,e,h,w] z",
     "y = Conv <pads = [0,1,1,0,1,1]> (x, k)\n z = Conv <strides = [3,1,1]> (x, k)", k=(3, 2, 1, 3, 3))
case("volume_same", "as many windows as half the size, the odd border in front", f"float[1,2,5,5,5] x => {volume.replace('batch', '1')}", 'y = Conv <auto_pad = "SAME_LOWER", strides = [2,2,2]> (x, k)', k=(3, 2, 2, 2, 2))
case("volume_max", "the largest of windows that hang over, and of layers with gaps", f"float[batch,2,7,6,5] x => {volume}, float[batch,c,e,i,j] z",
     "y = MaxPool <kernel_shape = [3,2,2], strides = [2,2,2], pads = [1,0,1,1,1,0], ceil_mode = 1> (x)\n z = MaxPool <kernel_shape = [2,1,1], dilations = [2,1,1]> (x)")
case("volume_mean", "means with a border that counts and does not, with gaps, and of layers alone", "float[batch,2,7,6,5] x => float[batch,c,d,h,w] a, float[batch,c,d,h,w] b, float[batch,c,e,i,j] g, float[batch,c,l,m,n] z",
     "a = AveragePool <kernel_shape = [3,2,2], strides = [2,2,2], pads = [1,0,1,1,1,0], ceil_mode = 1> (x)\n"
     " b = AveragePool <kernel_shape = [3,2,2], strides = [2,2,2], pads = [1,0,1,1,1,0], ceil_mode = 1, count_include_pad = 1> (x)\n"
     " g = AveragePool <kernel_shape = [3,2,2], dilations = [2,2,1], pads = [1,0,1,1,1,0], count_include_pad = 1> (x)\n z = AveragePool <kernel_shape = [1,2,2]> (x)", opset=19)

# ---- updates at computed places ------------------------------------------------------------------------------------------------------------------
case("put_last", "two updates in one place, of which the last one stands, an index from the end, and infinite numbers beside", "float[3,4] x, int64[2,4] i, float[2,4] u => float[3,4] y",
     "y = ScatterElements (x, i, u)", feeds={"i": [[0, -1, 0, 1], [0, 1, 2, 1]], "x": [[INF, 1, 2, 3], [4, 5, -INF, 7], [8, 9, 10, 11]]})
case("put_open", "the gates of the best of an open batch, put where they were found", "float[batch,6] x => float[batch,6] y",
     "v, i = TopK (x, k)\n s = Softmax (v)\n z = Mul (x, zero)\n y = ScatterElements <axis = 1> (z, i, s)", k=i64(2), zero=f32(0))
for kind in ("add", "mul", "max", "min"):
    case(f"put_{kind}", "several updates that meet what stood there", "float[3,4] x, int64[3,4] i, int64[4,1] j, float[3,4] u, float[4,4] v => float[3,4] y, float[3,4] z",
         f'y = ScatterElements <reduction = "{kind}", axis = 1> (x, i, u)\n z = ScatterND <reduction = "{kind}"> (x, j, v)', opset=18, feeds={"i": [[0, -1, 0, 1], [0, 1, 0, 0], [3, 3, 3, 3]], "j": [0, -1, 0, 1]})
case("put_slices", "slices and elements named by tuples, of whole numbers and of floats", "float[3,4,2] x, int64[2,2] i, float[2,2] u, int64[3,4] w, int64[3,2] j, int64[3] v => float[3,4,2] y, int64[3,4] z",
     "y = ScatterND (x, i, u)\n z = ScatterND (w, j, v)", feeds={"i": [[0, -1], [2, 3]], "j": [[0, 1], [-1, 2], [0, 1]], "w": np.arange(12) + 16777216, "v": [70001, -5, 7]})
refused("put_many", "more updates than are put", "float[100,4] x, int64[65,1] i, float[65,4] u => float[100,4] y", "y = ScatterND (x, i, u)", "more than 64 are not put")
refused("put_part", "updates of a part of the other axes", "float[3,4] x, int64[2,3] i, float[2,3] u => float[3,4] y", "y = ScatterElements (x, i, u)", "by indices that are computed")
case("take_open", "the best of an open batch read again by where they were found, one of them counted from the end", "float[batch,3,6] x => float[batch,3,2] y, float[batch,3,2] z",
     "v, i = TopK (x, k)\n y = GatherElements <axis = -1> (x, i)\n m = Sub (i, six)\n z = GatherElements <axis = 2> (x, m)", k=i64(2), six=np.array(6))

# ---- borders, search and running sums of what is no float ----------------------------------------------------------------------------------------
LARGE = [[70000, 2, -3, 4, 5], [1, 2, 3, 4, 16777217]]
case("pad_whole", "a number, the mirror image and the edge around whole numbers beyond what halves and floats hold", "int64[2,5] x => int64[4,8] a, int64[3,9] b, int32[2,8] c",
     'a = Pad (x, p, v)\n b = Pad <mode = "reflect"> (x, q)\n i = Cast <to = 6> (x)\n c = Pad <mode = "edge"> (i, r)',
     p=i64(1, 2, 1, 1), q=i64(1, 3, 0, 1), r=i64(0, 2, 0, 1), v=np.array(-7), feeds={"x": LARGE})
case("pad_whole_open", "numbers around, and some cut off, in an open batch", "int64[batch,5] x => int64[batch,6] y", "y = Pad (x, p, v, a)", opset=18, p=i64(2, -1), v=np.array(9), a=i64(-1), feeds={"x": LARGE})
case("pad_truth", "a truth around truths that are given and that are computed", "bool[2,5] x, float[2,5] z => bool[3,8] a, bool[2,7] b, bool[3,5] c",
     'a = Pad (x, p, v)\n g = Greater (z, h)\n b = Pad (g, q)\n c = Pad <mode = "reflect"> (g, r)', opset=18, p=i64(1, 2, 0, 1), q=i64(0, 1, 0, 1), r=i64(0, 0, 1, 0), v=np.array(True), h=f32(0.2))
case("pad_bytes", "a byte around bytes", "uint8[2,5] x => uint8[4,6] y", "y = Pad (x, p, v)", p=i64(1, 1, 1, 0), v=np.array(200, np.uint8))
case("topk_whole", "the largest and the least whole numbers, some of them equal, beyond what floats hold", "int64[2,6] x => int64[2,3] v, int64[2,3] i, int64[1,6] w, int64[1,6] j",
     "v, i = TopK (x, k)\n w, j = TopK <axis = 0, largest = 0> (x, one)", k=i64(3), one=i64(1), feeds={"x": [[5, 70000, 70001, 5, -3, 70001], [1, 2, 3, 16777217, 16777216, 0]]})
case("running_whole_open", "running sums of whole numbers of an open batch", "int64[batch,5] x => int64[batch,5] a, int64[batch,5] b", "a = CumSum (x, one)\n b = CumSum <exclusive = 1, reverse = 1> (x, one)",
     one=np.array(-1), feeds={"x": LARGE})

# ---- branches that the image chooses ------------------------------------------------------------------------------------------------------------
case("if_computed", "both branches computed, and the one chosen whose numbers are no numbers in the other", "float[2,3] x => float[2,3] y, int64[2,1] n, bool[2,3] t",
     "s = ReduceMin <keepdims = 0> (x)\n c = Greater (s, zero)\n y, n, t = If (c) <then_branch = a () => (float[2,3] p, int64[2,1] m, bool[2,3] r) {\n"
     " p = Sqrt (x)\n m = ArgMax <axis = 1> (x)\n r = Greater (x, zero) }, else_branch = b () => (float[2,3] q, int64[2,1] l, bool[2,3] o) {\n"
     " q = Neg (x)\n l = ArgMin <axis = 1> (x)\n o = Less (x, zero) }>", zero=f32(0))
case("if_given", "a condition that is given, and a branch that is a constant", "float[2,3] x, bool[1] c => float[2,3] y",
     "y = If (c) <then_branch = a () => (float[2,3] p) { p = Log (x) }, else_branch = b () => (float[2,3] q) { q = Identity (k) }>", k=(2, 3), feeds={"c": [False]})
refused("if_shapes", "branches of two shapes", "float[2,3] x, bool c => float[a,b] y", "y = If (c) <then_branch = a () => (float[2,3] p) { p = Relu (x) }, else_branch = b () => (float[3,2] q) { q = Transpose (x) }>",
        "its branches give")
refused("if_fails", "a quotient that is not computed where its divisor is zero", "int64[2] x, int64[2] d, bool c => int64[2] y",
        "y = If (c) <then_branch = a () => (int64[2] p) { p = Div (x, d) }, else_branch = b () => (int64[2] q) { q = Identity (x) }>", "divides whole numbers, which may fail")

# ---- corners that files seldom have -------------------------------------------------------------------------------------------------------------
case("angles", "angles of their sines, cosines and tangents, at the borders and for large numbers", "float[2,6] x, float[1,4] t => float[2,6] a, float[2,6] b, float[1,4] c",
     "s = Clip (x, lo, hi)\n a = Asin (s)\n b = Acos (s)\n c = Atan (t)", lo=f32(-1), hi=f32(1), feeds={"t": [[-1e6, 0, 0.3, 5]]})
case("standardised", "weights normalised as in training before a convolution reads them", "float[1,3,5,5] x => float[1,4,3,3] y",
     "r = Reshape (w, rows)\n n, m2, v2 = BatchNormalization <training_mode = 1, epsilon = 0.000001> (r, s, b, m, v)\n k = Reshape (n, back)\n y = Conv (x, k)",
     w=(4, 3, 3, 3), rows=i64(1, 4, -1), back=i64(4, 3, 3, 3), s=(4,), b=np.zeros(4, np.float32), m=np.zeros(4, np.float32), v=np.ones(4, np.float32))
case("search_whole", "the place of the largest and of the least whole number, some of them equal, beyond what halves hold", "int64[2,5] x => int64[2] y, int64[2,1] z, int64[5] n",
     "y = ArgMax <axis = -1, keepdims = 0> (x)\n z = ArgMin <axis = 1, select_last_index = 1> (x)\n n = ArgMax <keepdims = 0> (x)",
     feeds={"x": [[49406, 5, 49407, 5, 49407], [3, 2, 100000, 1, 1]]})
case("reduce_whole", "sums and extremes of whole numbers over odd and even counts", "int64[2,3,5] x => int64[2,1,5] a, int64[2] b, int64[3] c",
     "a = ReduceSum (x, one)\n b = ReduceMax <axes = [1, 2], keepdims = 0> (x)\n c = ReduceMin <axes = [0, 2], keepdims = 0> (x)",
     one=i64(1), feeds={"x": np.arange(30) % 7 - 2})
case("running_whole", "running sums of whole numbers, without the own one and backwards", "int64[2,5] x => int64[2,5] a, int64[2,5] b", "a = CumSum (x, one)\n b = CumSum <exclusive = 1, reverse = 1> (x, one)",
     one=np.array(1), feeds={"x": [[1, 0, 1, 1, 5], [0, 0, 1, 0, -1]]})
case("functions_whole", "functions of whole numbers", "int64[5] x => int64[5] a, int64[5] b, int64[5] c", "a = Abs (x)\n b = Neg (x)\n c = Sign (x)", feeds={"x": [-3, 0, 7, -1, 2]})
case("reduce_none", "reductions of each element alone", "float[2,3] x => float[2,3] a, float[2,3] b, float[2,3] c, float[2,3] d",
     "s = Sigmoid (x)\n a = ReduceLogSum <noop_with_empty_axes = 1> (s)\n b = ReduceSumSquare <noop_with_empty_axes = 1> (x)\n c = ReduceL2 <noop_with_empty_axes = 1> (x, none)\n"
     " d = ReduceMax <noop_with_empty_axes = 1> (x)", opset=18, none=np.zeros(0, np.int64))
for align in (0, 1):
    case(f"grid_affine_{align}", "a grid that a matrix of each item turns", "float[batch,2,3] t => float[batch,4,5,2] y", f"y = AffineGrid <align_corners = {align}> (t, s)", opset=20, by="onnx", s=i64(2, 1, 4, 5))
refused("grid_affine_many", "a grid of more places than memory has, times none", "float[2,2,3] t => float[2,1,1,2] y", "y = AffineGrid (t, s)", "is too large", opset=20, s=i64(2, 1, 1 << 60, 0))
case("bands", "bands of a spectrum", "float[1,65] x => float[1,8] y", "m = MelWeightMatrix (n, l, r, lo, hi)\n y = MatMul (x, m)", n=np.array(8), l=np.array(128), r=np.array(16000), lo=f32(20), hi=f32(7600))
case("sequence_without", "a part that is taken out of a sequence, and one from its end", "float[2,6] x => float[2,3] y",
     "s = SplitToSequence <axis = 1> (x, n)\n t = Identity (s)\n u = SequenceErase (t, zero)\n l = SequenceLength (u)\n m = Sub (l, one)\n y = SequenceAt (u, m)",
     n=i64(1, 2, 3), zero=np.array(0), one=np.array(1))
case("optional", "a value that may be there and is", "float[2,3] x => float[2,3] y", "o = Optional (x)\n y = OptionalGetElement (o)", opset=18)
case("norm_statistics", "a norm whose means and deviations are read", "float[2,3,4] x => float[2,3,4] y, float[2,1,1] m, float[2,1,1] d", "y, m, d = LayerNormalization <axis = 1> (x, s, b)", s=(3, 4), b=(3, 4))
case("norm_given", "a norm whose scale is given when the model runs", "float[2,3,4] x, float[4] s => float[2,3,4] y", "y = LayerNormalization (x, s)")
case("slope_given", "slopes that are given when the model runs", "float[2,3,4] x, float[3,1] s => float[2,3,4] y", "y = PRelu (x, s)")
case("slope_rows", "a slope of each channel of rows, and of vectors", "float[2,3,4] x, float[2,3] z => float[2,3,4] y, float[2,3] v", "y = PRelu (x, s)\n v = PRelu (z, t)", s=(3, 1), t=(3,))
case("choice_unsafe", "what is not chosen is no number: a root below zero behind a sum, a quotient by a sum that is zero", "float[2,6] x => float[2,6] y, float[2,6] z",
     "g = Greater (x, m)\n a = Add (x, h)\n s = Sqrt (a)\n y = Where (g, s, zero)\n e = Equal (a, zero)\n q = Div (h, a)\n z = Where (e, zero, q)",
     m=f32(-0.5), h=f32(0.5), zero=f32(0), feeds={"x": [[-0.5, 0.5, 1, -1, 0.25, 2]] * 2})
case("triangle_infinite", "a triangle of what is infinite elsewhere", "float[3,3] x => float[3,3] y", "l = Log (x)\n y = Trilu (l)", feeds={"x": [[1, 2, 3], [0, 2, 1], [-1, 0, 2]]})
case("clip_far", "bounds that are none: the largest float, and infinity", "float[2,6] x => float[2,6] y, float[2,6] z", "y = Clip (x, lo, hi)\n z = Clip (x, never, one)",
     lo=f32(-0.2), hi=f32(np.finfo(np.float32).max), never=f32(-INF), one=f32(0.1))
case("scalar_divisor", "a map divided by its largest element, and moved by its mean", "float[2,3] x => float[2,3] y, float z", "m = ReduceMax <keepdims = 0> (x)\n h = Sqrt (m)\n d = Div (x, h)\n z = ReduceMean <keepdims = 0> (d)\n y = Sub (d, z)")
case("scalar_place", "a row that the place of the largest names, and one that is named from outside", "float[4,3] x, int64 i => float[3] y, float[3] z",
     "f = Reshape (x, all)\n p = ArgMax <keepdims = 0> (f)\n three = Constant <value_int = 3> ()\n r = Div (p, three)\n y = Gather (x, r)\n z = Gather (x, i)", all=i64(-1), feeds={"i": -2})
case("nothing_joined", "parts without elements at the beginning of a list", "float[2,5] x => float[2,5] y, float[2,5] z", "e = Slice (x, two, two, one)\n y = Concat <axis = 1> (e, x)\n n, z = Split <axis = 1> (x, s)",
     two=i64(2), one=i64(1), s=i64(0, 5))
case("codes_out", "places, truths and parts of a scale as codes of one byte", "float[1,3,4,4] x => uint8[1,4,4] a, uint8[1,3,4,4] b, uint8[1,3,4,4] c",
     "i = ArgMax <axis = 1, keepdims = 0> (x)\n a = Cast <to = 2> (i)\n g = Greater (x, zero)\n b = Cast <to = 2> (g)\n s = Sigmoid (x)\n m = Mul (s, most)\n c = Cast <to = 2> (m)", zero=f32(0), most=f32(255))
refused("codes_beyond", "codes of one byte of any number", "float[2,3] x => uint8[2,3] y", "y = Cast <to = 2> (x)", "clip them first")
case("mask_taken_off", "a mask of whole numbers taken off one, hiding by a large number", "float[1,4,3] x, int64[1,4] m => float[1,4,4] y",
     "u = Unsqueeze (m, ax)\n f = Cast <to = 1> (u)\n o = Sub (one, f)\n b = Mul (o, low)\n t = Transpose <perm = [0,2,1]> (x)\n s = MatMul (x, t)\n a = Add (s, b)\n y = Softmax <axis = -1> (a)",
     ax=i64(1), one=f32(1), low=f32(-10000), feeds={"m": [[1, 1, 1, 0]]})
case("codes_signed", "codes whose type an attribute says", "float[2,3] x => float[2,3] y", "q = QuantizeLinear <output_dtype = 3> (x, s)\n y = DequantizeLinear (q, s)", opset=21, s=f32(0.02))
case("truth_put", "truths put into truths that are computed", "float[2,3] x => bool[2,3] y", "b = Greater (x, zero)\n y = ScatterElements <axis = 1> (b, i, u)", opset=16, zero=f32(0), i=np.array([[0], [2]]), u=np.array([[True], [False]]))
for mode, policy, sizes in (("nearest", "not_smaller", (7, 11)), ("linear", "not_larger", (6, 9))):
    case(f"aspect_{policy}", "a factor that is kept, and sizes that are rounded in their own way", f"float[1,2,4,6] x => float[1,2,{sizes[0]},{sizes[1]}] y",
         f'y = Resize <mode = "{mode}", keep_aspect_ratio_policy = "{policy}", axes = [2, 3]> (x, , , s)', opset=18, by="onnx", s=i64(7, 9))

case("squares_large", "a root mean square whose squares lie beyond half precision", "float[2,3,4] x => float[2,3,4] y",
     "s = Mul (x, big)\n q = Mul (s, s)\n m = ReduceMean <axes = [2]> (q)\n r = Sqrt (m)\n y = Div (s, r)", big=f32(900))
case("unlikely", "probabilities that are all far below one, moved behind the sigmoid, and those of classes", "float[2,3,4] x => float[2,4,3] y, float[2,3,4] z",
     "s = Mul (x, eight)\n t = Sub (s, far)\n p = Sigmoid (t)\n y = Transpose <perm = [0,2,1]> (p)\n z = Softmax <axis = 1> (s)", eight=f32(8), far=f32(16))

case("attention_letters", "attention as Keras writes it: heads are letters of a product, keys stand before queries", "float[batch,5,6] x => float[batch,5,6] y",
     'q0 = Einsum <equation = "abc,cde->abde"> (x, wq)\n q1 = Add (q0, bq)\n q = Mul (q1, half)\n k0 = Einsum <equation = "abc,cde->abde"> (x, wk)\n k = Add (k0, bk)\n'
     ' v0 = Einsum <equation = "abc,cde->abde"> (x, wv)\n v = Add (v0, bv)\n s = Einsum <equation = "aecd,abcd->acbe"> (k, q)\n p = Softmax <axis = 3> (s)\n'
     ' o = Einsum <equation = "acbe,aecd->abcd"> (p, v)\n y = Einsum <equation = "abcd,cde->abe"> (o, wo)',
     wq=(6, 2, 4), wk=(6, 2, 4), wv=(6, 2, 4), bq=(2, 4), bk=(2, 4), bv=(2, 4), wo=(2, 4, 6), half=f32(0.5))

case("channels_last", "a block of a framework that keeps channels last, gated by its own mean", "float[batch,4,6,6] x => float[batch,4,4,4] y, float[batch,4] z",
     "t = Transpose <perm = [0,2,3,1]> (x)\n n = Mul (t, g)\n a = Add (n, b)\n r = Relu (a)\n m = ReduceMean <axes = [1,2]> (r)\n u = Transpose <perm = [0,3,1,2]> (m)\n c = Conv (u, v)\n"
     " d = Transpose <perm = [0,2,3,1]> (c)\n s = Sigmoid (d)\n p = Mul (r, s)\n q = Pad (p, border)\n f = Transpose <perm = [0,3,1,2]> (q)\n y = Conv <strides = [2,2]> (f, w)\n"
     " z = ReduceMean <axes = [1,2], keepdims = 0> (p)", g=(4,), b=(4,), v=(4, 4, 1, 1), w=(4, 4, 3, 3), border=i64(0, 1, 1, 0, 0, 2, 2, 0))
case("norm_factors", "a norm whose factor and shift are made of the moments first, as Keras writes it", "float[2,5,6] x => float[2,5,6] y",
     "m = ReduceMean <axes = [2]> (x)\n i = Neg (m)\n d = Sub (x, m)\n q = Mul (d, d)\n v = ReduceMean <axes = [2]> (q)\n a = Add (v, e)\n o = Sqrt (a)\n r = Reciprocal (o)\n"
     " s = Mul (r, g)\n p = Mul (x, s)\n t = Mul (i, s)\n u = Add (t, b)\n y = Add (p, u)", e=f32(0.001), g=(1, 1, 6), b=(1, 1, 6))

if __name__ == "__main__":
    write(sys.argv[1:])
