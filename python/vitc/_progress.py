"""Who is told what happens: a person's function, or a bar."""

from __future__ import annotations

import sys
import warnings
from typing import Any, Callable, Union

# What `progress=` takes.
Asked = Union[Callable[[str], None], bool, None]


class Progress:
    """A function of (is a step, text), for the time of one command."""

    def __init__(self, asked: Asked, shown: Callable[[str], str]) -> None:
        self._shown = shown
        self._function = asked if callable(asked) else None
        self._bar = None
        terminal = asked is None and sys.stderr is not None and sys.stderr.isatty()
        if asked is True or terminal:
            self._bar = _bar()

    def __call__(self, step: bool, text: str) -> None:
        if not step:
            self.notice(text)
        elif self._function is not None:
            self._function(text)
        elif self._bar is not None:
            self._bar.set_description(text)
            self._bar.update()

    def notice(self, text: str) -> None:
        """Something that the user should know."""
        warnings.warn(self._shown(text), stacklevel=4)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()


def _bar() -> Any:
    try:
        from tqdm.auto import tqdm  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        return None
    return tqdm(bar_format="{desc} [{elapsed}]", leave=False)
