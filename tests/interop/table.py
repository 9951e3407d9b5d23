"""What is exported and read back: models, targets, precisions, and the bounds that hold for each."""

# Reference data in golden/, the model's name on the command line, and the error that f16 may show as a fraction of the largest logit.
GOLDEN = [
    # (family, manifest, model, f16 bound)
    ("efficientformerv2", "efficientformerv2_s0", "efficientformerv2-s0", 2e-3),
    ("efficientformerv2", "efficientformerv2_s0_nodist", "efficientformerv2-s0", 2e-3),
    ("efficientformerv2", "efficientformerv2_s0_timm", "efficientformerv2-s0", 2e-3),
]

# Absolute error of logits in f32.
F32 = 1e-5

# Target, options, suffix: every golden checkpoint goes through each.
FORMS = [
    ("onnx", ["--fp32"], ".onnx"),
    ("onnx", ["--fp32", "--opset", "20"], ".onnx"),
    ("onnx", ["--fp32", "--batch", "dynamic"], ".onnx"),
    ("onnx", ["--fp16"], ".onnx"),
    ("tensorrt-onnx", ["--fp32"], ".onnx"),
    ("tensorrt-onnx", ["--fp16"], ".onnx"),
    ("coreml", ["--fp32"], ".mlpackage"),
    ("coreml", ["--fp16"], ".mlpackage"),
]

# TensorRT engines of the seeded model: most kernels, fused attentions, most synchronisation entries. `None` is not asked.
ENGINES = [
    # (model, options, kernels, fused, sync)
    ("efficientformerv2-s0", ["--fp16"], 160, None, 24),
]

# Every variant, for tests/full: seeded weights, each target and precision.
VARIANTS = [
    "efficientformerv2-s0",
    "efficientformerv2-s1",
    "efficientformerv2-s2",
    "efficientformerv2-l",
]
