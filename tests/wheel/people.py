"""Models as people hold them, without PyTorch: tensors that speak DLPack, modules with `state_dict`."""
import ctypes
import json
import re
import struct

import numpy as np

PROTOTYPE = ctypes.pythonapi.PyCapsule_New
PROTOTYPE.restype, PROTOTYPE.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]

KEPT = []


class Managed(ctypes.Structure):
    """DLPack's `DLManagedTensor`."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("rank", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("offset", ctypes.c_uint64),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    ]


class Tensor:
    """What PyTorch's tensors are to vitc: `detach`, `cpu`, `__dlpack__`. `code` is DLPack's: 2 a float, 4 a bfloat16."""

    def __init__(self, array, code=2, device=1):
        self.array, self.code, self.device = array, code, device

    def detach(self):
        return self

    def cpu(self):
        return Tensor(self.array, self.code)

    def __dlpack_device__(self):
        return (self.device, 0)

    def __dlpack__(self):
        if self.device != 1:
            raise BufferError("on another device")
        array, rank = self.array, self.array.ndim
        sizes = ctypes.c_int64 * max(rank, 1)
        steps = [stride // array.itemsize for stride in array.strides]
        # The capsule has no destructor, so everything it points to is kept for good.
        managed = Managed(
            array.ctypes.data, 1, 0, rank, self.code, 8 * array.itemsize, 1, sizes(*array.shape), sizes(*steps), 0, None, None
        )
        KEPT.append((managed, array))
        return PROTOTYPE(ctypes.addressof(managed), b"dltensor", None)


class Hollow(Tensor):
    """A wrapper that describes numbers and holds none, as distributed and fake tensors do."""

    def __dlpack__(self):
        capsule = super().__dlpack__()
        KEPT[-1][0].data = None
        return capsule


class Meta(Tensor):
    """A tensor on PyTorch's `meta` device."""

    is_meta = True


class Freed(Tensor):
    """A view into PyTorch's memory that was given back: a pointer near null, which nobody may follow."""

    shape = (3,)
    stride, storage_offset, element_size = lambda self: (1,), lambda self: 64, lambda self: 4

    def untyped_storage(self):
        return self

    def data_ptr(self):
        return 0

    def nbytes(self):
        return 0

    def __dlpack__(self):
        raise AssertionError("its memory is asked for")


class Lost(Tensor):
    """A tensor that stays on its device."""

    def __init__(self, array):
        super().__init__(array, device=2)

    def cpu(self):
        return self


def bfloat16(array):
    """The upper halves of its float32 elements, rounded towards zero."""
    return Tensor((np.ascontiguousarray(array, np.float32).view(np.uint32) >> 16).astype(np.uint16), code=4)


class Module:
    """A module that knows the answers to a check's inputs, in the order in which they are asked."""

    training = True

    def __init__(self, state, answers=()):
        self.state, self.answers, self.modes = state, answers, []
        self.part = Part()

    def state_dict(self):
        return {name: Tensor(array) for name, array in self.state.items()}

    def modules(self):
        return [self, self.part]

    def eval(self):
        self.training = self.part.training = False

    def __call__(self, image):
        self.modes.append((self.training, self.part.training))
        for given, answer in self.answers:
            if given.shape == image.shape and np.allclose(given, image):
                return answer
        raise RuntimeError("a picture that nobody showed before")


class Part:
    """A part that was frozen while its module was trained."""

    training = False


def weights(graph):
    """Weights for a graph in text form, of a size that keeps activations in the range of half precision."""
    random = np.random.default_rng(0)
    found = {}
    norms = re.findall(r'bn"([^"]+)":f32\[([0-9]+)\]', graph)
    parts = ("weight", "bias", "running_mean", "running_var")
    listed = re.findall(r'weight"([^"]+)":f32\[([0-9,]*)\]', graph) + [(f"{name}.{part}", c) for name, c in norms for part in parts]
    for name, sizes in listed:
        shape = [int(size) for size in sizes.split(",") if size]
        noise = random.uniform(-1, 1, shape).astype(np.float32)
        if name.endswith("running_var"):
            found[name] = 1 + 0.5 * noise
        elif "layer_scale" in name:
            found[name] = 0.3 + 0.1 * noise
        elif len(shape) > 1:
            found[name] = noise * np.float32((3 / np.prod(shape[1:])) ** 0.5)
        else:
            found[name] = 0.1 * noise if name.endswith(("bias", "mean")) else 1 + 0.25 * noise
    return {name: np.ascontiguousarray(array, np.float32) for name, array in found.items()}


def save_safetensors(path, arrays):
    """The arrays as a .safetensors file."""
    header, end = {}, 0
    for name, array in arrays.items():
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [end, end + array.nbytes]}
        end += array.nbytes
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(array.tobytes() for array in arrays.values()))
