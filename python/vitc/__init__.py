"""vitc: a deployment compiler for efficient vision transformers.

A trained PyTorch model goes in; a checked ONNX file, CoreML package or Core AI asset comes out::

    import vitc

    report = vitc.export(model, "model.mlpackage", target="coreml", verify=True)
    print(report)

`export`, `check`, `inspect`, `run` and `evaluate` are the commands of the program `vitc`, and take its options as keyword arguments.
"""

from ._commands import check, evaluate, export, inspect, models, options, run
from ._errors import CheckError, Error, RefusedError, UsageError
from ._vitc import __version__
from ._report import Report

__all__ = [
    "CheckError",
    "Error",
    "RefusedError",
    "Report",
    "UsageError",
    "__version__",
    "check",
    "evaluate",
    "export",
    "inspect",
    "models",
    "options",
    "run",
]
