"""vitc: a deployment compiler for efficient vision transformers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Optional, Union

from typing_extensions import Unpack

from ._options import CheckOptions, EvaluateOptions, ExportOptions, InspectOptions, RunOptions

_Path = Union[str, PathLike[str]]
_Progress = Union[Callable[[str], None], bool, None]

__version__: str
__all__: list[str]

class Error(Exception):
    """A command did not do what was asked. The text says what, where, why and what to do."""

    exit_code: int
    report: Optional[Report]
    def __init__(self, message: str, report: Optional[Report] = None) -> None: ...

class RefusedError(Error):
    """The model, the file or the machine does not allow it (exit code 1)."""

class UsageError(Error, ValueError):
    """The arguments contradict each other, or are none (exit code 2)."""

class CheckError(Error):
    """The artifact does not compute what its model computes (exit code 3); nothing was put in its place."""

class Report(Mapping[str, Any]):
    """What a command found: every field of the program's `--json`, as an attribute and as an item."""

    json: dict[str, Any]
    # Of every command.
    vitc: str
    command: str
    exit: int
    # Of an export.
    model: str
    weights: dict[str, Any]
    target: str
    format: str
    resolution: list[int]
    batch: str
    inputs: list[dict[str, str]]
    outputs: list[dict[str, str]]
    preprocessing: str
    settings: list[str]
    functions: list[dict[str, Any]]
    precision: dict[str, Any]
    rounding: dict[str, Any]
    engine_rules: list[dict[str, Any]]
    passes: list[dict[str, Any]]
    quantisation: dict[str, Any]
    check: Optional[dict[str, Any]]
    verify: dict[str, Any]
    expect: dict[str, Any]
    page: str
    notices: list[str]
    next: list[str]
    # Of run and evaluate.
    pictures: Any
    judged: dict[str, Any]
    against: Optional[dict[str, Any]]

    @property
    def ok(self) -> bool: ...
    @property
    def path(self) -> Optional[Path]: ...
    # Differs in meaning by command: a dict of an export, a path of a check.
    artifact: Any
    def to_html(self) -> str:
        """The page about an export, in one file that refers to nothing outside itself."""
    def _repr_html_(self) -> str: ...
    def __getattr__(self, name: str) -> Any: ...
    def __getitem__(self, name: str) -> Any: ...
    def __iter__(self) -> Iterator[str]: ...
    def __len__(self) -> int: ...

def export(
    model: Any,
    path: Optional[_Path] = None,
    *,
    target: str = "coreml",
    architecture: Optional[str] = None,
    verify: bool = False,
    progress: _Progress = None,
    **options: Unpack[ExportOptions],
) -> Report:
    """Export a trained model to a file that a device runs, and prove that it computes the same."""

def check(
    artifact: _Path,
    model: Any = None,
    *,
    architecture: Optional[str] = None,
    progress: _Progress = None,
    **options: Unpack[CheckOptions],
) -> Report:
    """Check a file that lies on the disk: against the model it was made from, or against values from outside."""

def inspect(model: Any, *, progress: _Progress = None, **options: Unpack[InspectOptions]) -> Report:
    """What is in a model, a file or a checkpoint: size, cost, stages, operations, interface."""

def run(
    artifact: _Path, pictures: Union[_Path, Sequence[_Path]], *, progress: _Progress = None, **options: Unpack[RunOptions]
) -> Report:
    """What a file says about pictures."""

def evaluate(artifact: _Path, folder: _Path, *, progress: _Progress = None, **options: Unpack[EvaluateOptions]) -> Report:
    """How often a file is right about pictures whose classes are known."""

def models() -> list[dict[str, Any]]:
    """Every architecture that is known by its paper."""

def options(command: str) -> dict[str, str]:
    """The keyword arguments of a command, and what each does."""
