"""The person's own module as the reference of a check."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from typing import Any, Iterator

from ._errors import UsageError


class Witness:
    """A function that answers as the module does. While it is entered the module is in `eval()` mode; afterwards it is as it was."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._modes: list[tuple[Any, bool]] = []
        self._sample = next((p for p in _parameters(module) if _is_float(p)), None)
        self.is_half = self._sample is not None and str(getattr(self._sample, "dtype", "")).endswith(("float16", "half"))

    def __enter__(self) -> "Witness":
        parts = list(self._module.modules()) if hasattr(self._module, "modules") else []
        self._modes = [(part, part.training) for part in parts if hasattr(part, "training")]
        if hasattr(self._module, "eval"):
            self._module.eval()
        return self

    def __exit__(self, *_: object) -> None:
        # Part by part: `train()` of a module is recursive, and some parts may have been frozen.
        for part, training in self._modes:
            part.training = training

    def __call__(self, inputs: list[tuple[bytes, list[int]]]) -> list[tuple[bytes, list[int]]]:
        import numpy

        arrays = [numpy.frombuffer(data, numpy.float32).reshape(shape).copy() for data, shape in inputs]
        with _without_gradients():
            answer = self._module(*(self._tensor(array) for array in arrays))
        outputs = [numpy.ascontiguousarray(_numbers(one), dtype=numpy.float32) for one in _outputs(answer)]
        return [(output.tobytes(), list(output.shape)) for output in outputs]

    def _tensor(self, array: Any) -> Any:
        """The input on the module's device and of its type."""
        torch = sys.modules.get("torch")
        if torch is None or not isinstance(self._module, torch.nn.Module):
            return array
        tensor = torch.from_numpy(array)
        return tensor if self._sample is None else tensor.to(device=self._sample.device, dtype=self._sample.dtype)


def _parameters(module: Any) -> Iterator[Any]:
    return iter(module.parameters()) if hasattr(module, "parameters") else iter(())


def _is_float(parameter: Any) -> bool:
    return "float" in str(getattr(parameter, "dtype", ""))


def _without_gradients() -> Any:
    torch = sys.modules.get("torch")
    return contextlib.nullcontext() if torch is None else torch.no_grad()


def _outputs(answer: Any) -> Iterator[Any]:
    """The tensors of an answer, in order."""
    if isinstance(answer, Mapping):
        answer = list(answer.values())
    if isinstance(answer, (list, tuple)):
        for one in answer:
            yield from _outputs(one)
    elif answer is not None:
        yield answer


def _numbers(tensor: Any) -> Any:
    if hasattr(tensor, "detach"):
        return tensor.detach().float().cpu().numpy()
    if not hasattr(tensor, "__array__") and not hasattr(tensor, "__dlpack__"):
        raise UsageError(f"the module answers with a {type(tensor).__name__}, which is no tensor")
    import numpy

    return numpy.asarray(tensor)
