"""What is exported and read back: models, targets, precisions, and the bounds that hold for each."""

# Absolute error of logits in f32.
F32 = 1e-5

# Errors in the vendor's runtime as fractions of the largest logit, f32 of 1 at least; AFFNet's transforms lose more.
COREAI_F32, COREAI_F16 = {"affnet": 3e-5}, 1e-2

# Decibels that the largest golden logit lies above the error of all logits in fp16, as the vendor expects of a conversion.
COREAI_PSNR = 50

# Target, options, suffix.
PLAIN = ("onnx", ["--fp32"], ".onnx")
TENSORRT = ("tensorrt-onnx", ["--fp16"], ".onnx")
COREML = ("coreml", ["--fp16"], ".mlpackage")
COREAI = [("coreai", ["--fp32"], ".aimodel"), ("coreai", ["--fp16"], ".aimodel")]
FORMS = [
    PLAIN,
    ("onnx", ["--fp32", "--opset", "20"], ".onnx"),
    ("onnx", ["--fp32", "--batch", "dynamic"], ".onnx"),
    ("onnx", ["--fp16"], ".onnx"),
    ("onnx", ["--fp32", "--external-data"], ".onnx"),
    ("tensorrt-onnx", ["--fp32"], ".onnx"),
    TENSORRT,
    ("coreml", ["--fp32"], ".mlpackage"),
    COREML,
    *COREAI,
]
# What every variant goes through with its check.
CHECKED = [PLAIN, ("onnx", ["--fp16"], ".onnx"), TENSORRT, COREML, COREAI[1]]
# For a second spelling or size of a model that goes through all forms already.
FEW = [PLAIN, TENSORRT, *COREAI]
# Other forms of Core AI assets; the vendor's interpreter takes minutes for large models in fp16.
ASSETS = [
    ("coreai", ["--fp16", "--attention", "sdpa"], ".aimodel"),
    ("coreai", ["--fp32", "--attention", "split"], ".aimodel"),
    ("coreai", ["--fp16", "--io", "fp32"], ".aimodel"),
    ("coreai", ["--fp32", "--batch", "dynamic"], ".aimodel"),
    ("coreai", ["--fp32", "--batch", "1,2"], ".aimodel"),
]
FUSED = ("tensorrt-onnx", ["--fp16", "--talking-heads", "fuse"], ".onnx")
# Older operator sets, for older toolchains: each that says something in another way.
OLDER = [
    ("onnx", ["--fp32", "--opset", "11"], ".onnx"),
    ("onnx", ["--fp32", "--batch", "dynamic", "--opset", "13"], ".onnx"),
    ("onnx", ["--fp16", "--opset", "12"], ".onnx"),
    ("onnx", ["--fp16", "--opset", "16"], ".onnx"),
]
# Other spellings of attention.
OPERATOR = ["--opset", "23", "--attention", "sdpa"]
SPELLED = [
    ("onnx", ["--fp32", *OPERATOR], ".onnx"),
    ("onnx", ["--fp32", "--batch", "dynamic", *OPERATOR], ".onnx"),
    ("onnx", ["--fp16", *OPERATOR], ".onnx"),
    ("coreml", ["--fp32", "--ios", "18", "--attention", "sdpa"], ".mlpackage"),
    ("coreml", ["--fp16", "--ios", "18", "--attention", "sdpa"], ".mlpackage"),
    ("coreml", ["--fp16", "--attention", "split"], ".mlpackage"),
]

# Reference data in golden/, the model's name on the command line, its forms, and the error that f16 may show as a fraction of the largest
# logit. Spectra lose more than convolutions: their large and small coefficients meet in one sum.
GOLDEN = [
    # (family, manifest, model, forms, f16 bound)
    ("fmvit", "fmvit_t", "fmvit-t", [*FORMS, *OLDER, *SPELLED, *ASSETS], 2e-3),
    ("fmvit", "fmvit_m", "fmvit-m", FEW, 2e-3),
    ("affnet", "affnet_et", "affnet-et", [*FORMS, *OLDER], 1e-2),
    ("affnet", "affnet_et_224", "affnet-et", FEW, 1e-2),
    ("affnet", "affnet_et_bn", "affnet-et", FEW, 1e-2),
    ("efficientformerv2", "efficientformerv2_s0", "efficientformerv2-s0", [*FORMS, *SPELLED, *ASSETS, FUSED], 2e-3),
    ("efficientformerv2", "efficientformerv2_s0_nodist", "efficientformerv2-s0", FEW, 2e-3),
    ("efficientformerv2", "efficientformerv2_s0_timm", "efficientformerv2-s0", FEW, 2e-3),
    ("fastervit", "faster_vit_0_224", "fastervit-0", [*FORMS, *SPELLED], 2e-3),
    ("fastervit", "faster_vit_0_any_res_256x320", "fastervit-0-any-res", FEW[:3], 2e-3),
    ("casvit", "rcvit_xs", "cas-vit-xs", FORMS, 2e-3),
    ("ffnet", "ffnet_1", "ffnet-1", FORMS, 2e-3),
    ("dsm", "dsm_t", "dsm-t", FORMS, 2e-3),
]

# Mean and deviation per channel that map the golden input, which lies in [-1, 1), into pixels of 0..255.
PIXELS = (0.5, 0.4, 0.3), (0.5, 0.25, 0.2)

# Models that take pixels; the same columns as in GOLDEN.
PICTURES = [
    ("efficientformerv2", "efficientformerv2_s0", "efficientformerv2-s0", [
        ("onnx", ["--fp32"], ".onnx"),
        ("onnx", ["--fp16", "--labels"], ".onnx"),
        ("tensorrt-onnx", ["--fp16"], ".onnx"),
        ("coreml", ["--fp32"], ".mlpackage"),
        ("coreml", ["--fp16"], ".mlpackage"),
        ("coreml", ["--fp16", "--labels"], ".mlpackage"),
        ("coreai", ["--fp16"], ".aimodel"),
    ], 2e-3),
]

# Few bits on the seeded EfficientFormerV2-S0: target, options, suffix, and the decibels that the golden logits lie above the error of the file in the foreign
# reader. The fit has seen the very picture, so these lie above what new pictures show; each bound is some 6 dB below what was measured.
FEW_BITS = [
    ("onnx", ["--quantize", "w8"], ".onnx", 45),
    ("onnx", ["--quantize", "w8a8"], ".onnx", 34),
    ("onnx", ["--quantize", "w8a8", "--opset", "21", "--cpu", "vnni"], ".onnx", 36),
    ("tensorrt-onnx", ["--quantize", "w8a8", "--batch", "dynamic"], ".onnx", 37),
    ("coreml", ["--quantize", "w8"], ".mlpackage", 45),
    ("coreml", ["--quantize", "w6"], ".mlpackage", 55),
    ("coreml", ["--quantize", "w4", "--palette-group", "16"], ".mlpackage", 30),
    ("coreml", ["--quantize", "w4-block32"], ".mlpackage", 50),
    ("coreml", ["--quantize", "w8a8"], ".mlpackage", 35),
    ("coreai", ["--quantize", "w8"], ".aimodel", 45),
    ("coreai", ["--quantize", "w6"], ".aimodel", 55),
    ("coreai", ["--quantize", "w4", "--palette-group", "16"], ".aimodel", 30),
    ("coreai", ["--quantize", "w4-block32", "--fp32"], ".aimodel", 55),
    ("coreai", ["--quantize", "w8a8", "--batch", "dynamic"], ".aimodel", 35),
]
# The TensorRT engine of the row above: most kernels, fused attentions, least kernels that compute with codes.
FEW_BITS_ENGINE = 151, 5, 40

# TensorRT engines of the seeded model: most kernels, fused attentions, most synchronisation entries. `None` is not asked.
ENGINES = [
    # (model, options, kernels, fused, sync)
    ("efficientformerv2-s0", ["--fp16", "--talking-heads", "fuse"], 95, 5, None),
    ("efficientformerv2-s0", ["--fp16", "--talking-heads", "keep"], 155, None, None),
    ("fastervit-0", ["--fp16"], 150, 17, 0),
    ("fastervit-0", ["--fp16", "--batch", "dynamic"], 175, 17, 0),
    ("fmvit-m", ["--fp16"], 100, 3, 0),
    ("fmvit-m", ["--fp16", "--external-data"], 100, 3, 0),
    ("cas-vit-xs", ["--fp16"], 167, 0, 0),
    ("ffnet-1", ["--fp16"], 99, 0, 0),
    ("affnet-et", ["--fp16"], 172, None, None),
    ("dsm-t", ["--fp16"], 157, None, None),
]
