"""What people call a model, as tensors: nothing is copied where it is dense and on this processor.

PyTorch is never imported: its tensors speak DLPack, its modules have `state_dict`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Optional

from ._errors import UsageError

# Deepest nesting of dicts in which tensors and settings are looked for.
DEPTH = 8
# DLPack's numbers of devices whose memory this processor reads.
READABLE = (1, 3, 11)


@dataclass
class Held:
    """Tensors in memory: what the native half makes a checkpoint of."""

    name: str
    entries: list["Entry"]
    # What is known about the model besides, as JSON.
    settings: Optional[str]


def is_module(model: Any) -> bool:
    """Whether it is a module as PyTorch's are."""
    return callable(model) and callable(getattr(model, "state_dict", None))


def held(model: Any) -> Held:
    """The tensors of a dict or module.

    Raises
    ------
    UsageError
        If it is neither.
    """
    if is_module(model):
        whole = _unwrapped(model)
        if isinstance(model, type):
            raise UsageError(f"{model.__name__} is a class, not a module\n  give the module that was trained")
        entries, _ = _walk(model.state_dict())
        return Held(type(whole).__name__, entries, _json(_module_settings(whole)))
    if isinstance(model, Mapping):
        entries, settings = _walk(model)
        return Held("state_dict", entries, _json(settings))
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    raise UsageError(f"a {kind} is no model\n  give a path, the name of an architecture, a dict of tensors, or a torch.nn.Module")


def _unwrapped(module: Any) -> Any:
    """The module inside `torch.compile` and `DataParallel`: what it is called and what it knows are its own."""
    for name in ("_orig_mod", "module"):
        inner = getattr(module, name, None)
        module = inner if is_module(inner) else module
    return module


# (dict, name, array or capsule, type that NumPy has no letter for)
Entry = tuple[str, str, Any, Optional[str]]


def _walk(model: Mapping[Any, Any]) -> tuple[list[Entry], dict[str, Any]]:
    """The tensors in a dict and the dicts inside, and the settings beside them."""
    entries: list[Entry] = []
    hollow: list[str] = []
    settings = _inside(model, "", (), entries, hollow)
    if hollow:
        more = f" and {len(hollow) - 4} more" if len(hollow) > 4 else ""
        raise UsageError(
            f"tensors on the meta device have a shape and no numbers: {', '.join(hollow[:4])}{more}\n"
            "  load the weights first (module.to_empty(device='cpu'), then load_state_dict), or take these tensors out of the dict"
        )
    return entries, settings


# No closure: one that calls itself would keep the tensors until the collector comes by. `above` are the dicts and lists around: one that holds itself ends.
def _inside(
    mapping: Mapping[Any, Any], path: str, above: tuple[int, ...], entries: list[Entry], hollow: list[str]
) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    above = (*above, id(mapping))
    for key, value in mapping.items():
        name = str(key)
        fields = value.state_dict() if is_module(value) and not isinstance(value, type) else _fields(value)
        if is_tensor(value):
            if getattr(value, "is_meta", False):
                hollow.append(f"{path}.{name}" if path else name)
            else:
                entries.append((path, name, *_viewed(name, value)))
        elif isinstance(fields, Mapping) and len(above) <= DEPTH and id(fields) not in above:
            within = _inside(fields, f"{path}.{name}" if path else name, above, entries, hollow)
            if within:
                settings[name] = within
        else:
            settings[name] = _setting(value, above)
    return settings


def is_tensor(value: Any) -> bool:
    """Whether it holds numbers in an array's order."""
    if isinstance(value, (str, bytes, int, float, list, tuple)) or value is None:
        return False
    return hasattr(value, "__dlpack__") or hasattr(value, "__array_interface__") or isinstance(value, memoryview)


def _viewed(name: str, tensor: Any) -> tuple[Any, Optional[str]]:
    try:
        return view(tensor)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise UsageError(f"tensor {name}: it cannot be read where it lies: {error}") from error


def _fields(value: Any) -> Any:
    """What scripts keep their arguments in, as a dict; anything else as it is."""
    return vars(value) if type(value).__name__ in ("Namespace", "SimpleNamespace") else value


def view(tensor: Any) -> tuple[Any, Optional[str]]:
    """The tensor as the native half reads it: a DLPack capsule, or an array of NumPy's and the name of a type that has no letter."""
    import numpy

    if isinstance(tensor, numpy.ndarray) or not hasattr(tensor, "__dlpack__"):
        return _array(numpy, tensor)
    if hasattr(tensor, "detach"):
        tensor = tensor.detach()
    if tensor.__dlpack_device__()[0] not in READABLE and hasattr(tensor, "cpu"):
        tensor = tensor.cpu()
    # PyTorch negates some views only when they are read.
    if hasattr(tensor, "resolve_neg"):
        tensor = tensor.resolve_neg()
    _check_memory(tensor)
    return tensor.__dlpack__(), None


def _check_memory(tensor: Any) -> None:
    """Raise a `ValueError` if PyTorch's memory behind a tensor is smaller than the tensor: it was freed, or is somewhere else."""
    if not hasattr(tensor, "untyped_storage") or 0 in tensor.shape:
        return
    last = tensor.storage_offset() + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride()))
    try:
        storage = tensor.untyped_storage()
        start, length = storage.data_ptr(), storage.nbytes()
    except RuntimeError:
        # Of a wrapper around other tensors.
        start, length = 0, 0
    if start == 0 or (last + 1) * tensor.element_size() > length:
        raise ValueError("no numbers lie behind it: gather or materialise it first")


def _array(numpy: Any, tensor: Any) -> tuple[Any, Optional[str]]:
    if isinstance(tensor, numpy.ma.MaskedArray) and tensor.mask.any():
        raise ValueError("some of its numbers are masked")
    array = numpy.asarray(tensor)
    if array.dtype.itemsize == 0:
        raise ValueError(f"its type {array.dtype} has no size")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    kind = array.dtype.name if array.dtype.kind == "V" else None
    size = array.dtype.itemsize
    if any(stride < 0 or stride % size for stride in array.strides):
        array = numpy.ascontiguousarray(array)
    return array, kind


def _module_settings(module: Any) -> dict[str, Any]:
    """What a module knows about itself, where timm and transformers keep it."""
    settings: dict[str, Any] = {}
    for name in ("pretrained_cfg", "default_cfg", "config"):
        said: Any = getattr(module, name, None)
        if hasattr(said, "to_dict"):
            said = said.to_dict()
        if isinstance(said, Mapping):
            settings[name] = {str(key): _setting(value, (id(said),)) for key, value in said.items()}
    # A classifier that was replaced answers with other classes than the published one.
    for said in settings.values():
        if getattr(module, "num_classes", None) != said.get("num_classes"):
            for name in ("num_classes", "label_names", "label_descriptions"):
                said.pop(name, None)
    return settings


def _setting(value: Any, above: tuple[int, ...]) -> Any:
    """A value as JSON has it; `None` for what it has not, what lies too deep, and what is one of the dicts and lists around it."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    value = _fields(value)
    if id(value) in above or len(above) > DEPTH:
        return None
    above = (*above, id(value))
    if isinstance(value, Mapping):
        return {str(key): _setting(one, above) for key, one in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, (bytes, memoryview)) and not is_tensor(value):
        return [_setting(one, above) for one in value] if hasattr(value, "__len__") else None
    return None


def _json(settings: dict[str, Any]) -> Optional[str]:
    return json.dumps(settings) if settings else None
