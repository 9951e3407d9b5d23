"""Parse and build an ONNX file with TensorRT-RTX for a data-centre GPU (SM80); no GPU is needed.

    trt_build.py MODEL.onnx [--max-kernels N] [--fused N] [--max-sync N] [--int8 N] [--batch MIN,OPT,MAX]

Prints kernels, fused attentions and synchronisation entries of the built engine. Exit 1 if the file does not parse or build, or a bound is missed.
"""
import argparse
import re
import sys

import tensorrt_rtx_libs  # noqa: F401  loads the shared libraries that the bindings need
import tensorrt_rtx_bindings as trt

SYNC = {"signal", "wait"}


class Recorder(trt.ILogger):
    """The engine's layer list is printed through the log and nowhere else."""

    def __init__(self):
        super().__init__()
        self.errors, self.layers, self.origins, self.int8 = [], [], [], 0

    def log(self, severity, message):
        if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
            self.errors.append(message)
        if message.startswith("Layers:"):
            self.layers = re.findall(r"^Name: (.*?), LayerType: (\w+)", message, re.MULTILINE)
            # Convolutions and products that read codes.
            read = re.findall(r"^Name: .*?, LayerType: (?!kgen)\w+, Inputs: (.*?), Outputs: ", message, re.MULTILINE)
            self.int8 = sum("Datatype: Int8" in text for text in read)
            # The nodes of the file that each layer was made of.
            self.origins = re.findall(r"^Name: .*Metadata: (.*)$", message, re.MULTILINE)


def build(path, batch=(1, 4, 8), recorder=None):
    """Counts of the built engine, or the errors; the recorder also holds its layers."""
    recorder = recorder or Recorder()
    builder = trt.Builder(recorder)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, recorder)
    if not parser.parse_from_file(str(path)):
        return None, [f"{parser.get_error(i).node_name()}: {parser.get_error(i).desc()}" for i in range(parser.num_errors)]
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM80, 0)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    profile = builder.create_optimization_profile()
    inputs = [network.get_input(i) for i in range(network.num_inputs)]
    symbolic = [i for i in inputs if -1 in tuple(i.shape)]
    for value in symbolic:
        profile.set_shape(value.name, *[[n if d < 0 else d for d in value.shape] for n in batch])
    if symbolic:
        config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        return None, recorder.errors or ["the build failed without a message"]
    counts = {
        "kernels": len(recorder.layers),
        "fused": sum("mha" in name.lower() for name, _ in recorder.layers),
        "int8": recorder.int8,
        "sync": sum(kind in SYNC for _, kind in recorder.layers),
    }
    return counts, recorder.errors


def misses(counts, max_kernels=None, fused=None, max_sync=None, int8=None):
    """Bounds that the engine misses, in words."""
    found = []
    if not counts["kernels"]:
        found.append("the engine's layers were not listed")
    if max_kernels is not None and counts["kernels"] > max_kernels:
        found.append(f"{counts['kernels']} kernels, at most {max_kernels} expected")
    if fused is not None and counts["fused"] != fused:
        found.append(f"{counts['fused']} fused attentions, {fused} expected")
    if max_sync is not None and counts["sync"] > max_sync:
        found.append(f"{counts['sync']} synchronisation entries, at most {max_sync} expected")
    if int8 is not None and counts["int8"] < int8:
        found.append(f"{counts['int8']} kernels compute with codes, at least {int8} expected")
    return found


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("model")
    args.add_argument("--max-kernels", type=int)
    args.add_argument("--fused", type=int)
    args.add_argument("--max-sync", type=int)
    args.add_argument("--int8", type=int)
    args.add_argument("--batch", default="1,4,8")
    a = args.parse_args()
    counts, errors = build(a.model, tuple(int(n) for n in a.batch.split(",")))
    if counts is None:
        sys.exit("\n".join(errors))
    print("{kernels} kernels, {fused} fused attentions, {sync} synchronisation entries, {int8} int8 kernels".format(**counts))
    missed = misses(counts, a.max_kernels, a.fused, a.max_sync, a.int8)
    sys.exit("\n".join(missed) if missed else 0)


if __name__ == "__main__":
    main()
