"""The native half of vitc."""

from collections.abc import Callable, Sequence
from typing import Any, Optional

__version__: str

def main(argv: Sequence[str]) -> int:
    """Run the program with these arguments, its name first; its exit code."""

def options(command: str) -> str:
    """The options of a command, as JSON."""

def is_model_file(path: str) -> bool:
    """Whether a path holds a whole model: graph and weights."""

def call(
    args: Sequence[str],
    weights: Optional[tuple[str, list[tuple[str, str, Any, Optional[str]]], Optional[str]]],
    witness: Optional[tuple[Callable[[list[tuple[bytes, list[int]]]], list[tuple[bytes, list[int]]]], bool]],
    progress: Callable[[bool, str], object],
    /,
) -> tuple[int, str, str, Optional[str], Optional[Callable[[], str]]]:
    """Run a command: (exit code, JSON, text, message, page or None)."""
