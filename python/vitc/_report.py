"""What a command found."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping, Optional, Union


class Report(Mapping[str, Any]):
    """What a command found: every field of the program's `--json`, as an attribute and as an item.

    Attributes
    ----------
    ok : bool
        It did what was asked, and the check passed.
    path : pathlib.Path or None
        The artifact, if the command wrote or read one.
    json : dict
        Everything, as the program prints it.
    """

    def __init__(self, json: dict[str, Any], text: str, page: Union[Callable[[], str], str, None]) -> None:
        self.json = json
        self._text = text
        self._page = page

    def __reduce__(self) -> tuple[Any, ...]:
        # What writes the page belongs to this process: a copy has it written.
        return Report, (self.json, self._text, None if self._page is None else self.to_html())

    @property
    def ok(self) -> bool:
        return bool(self.json.get("ok"))

    @property
    def path(self) -> Optional[Path]:
        artifact = self.json.get("artifact")
        place = artifact.get("path") if isinstance(artifact, dict) else artifact or self.json.get("path")
        return Path(place) if place else None

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["json"][name]
        except KeyError:
            raise AttributeError(f"this report has no field {name!r}; it has {', '.join(self.__dict__['json'])}") from None

    def __getitem__(self, name: str) -> Any:
        return self.json[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.json)

    def __len__(self) -> int:
        return len(self.json)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.json})

    def to_html(self) -> str:
        """The page about an export: stages, passes, errors, ranges and the graph, in one file that refers to nothing outside itself.

        Returns
        -------
        str
            The page. Figures for each layer are in it if the export was made with ``report=FILE``.

        Raises
        ------
        TypeError
            If the report is not about an export.
        """
        if self._page is None:
            raise TypeError(f"vitc.{self.json.get('command')} makes no page: only an export has one")
        return self._page if isinstance(self._page, str) else self._page()

    def __repr__(self) -> str:
        verdict = "ok" if self.ok else "failed"
        facts = [str(self.json.get("command")), verdict]
        facts += [str(self.json[name]) for name in ("model", "target") if isinstance(self.json.get(name), str)]
        if self.path is not None:
            facts.append(str(self.path))
        return f"<vitc.Report {' '.join(facts)}>\n{self._text}".rstrip()

    def _repr_html_(self) -> str:
        rows = [(name, _short(value)) for name, value in self.json.items() if _short(value)]
        cells = "".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>" for name, text in rows)
        return f"<table>{cells}{_check_rows(self.json)}</table>"


def _short(value: Any) -> str:
    """A value in a few words, or nothing."""
    if isinstance(value, (str, int, float)):
        return str(value)
    if isinstance(value, dict):
        named = value.get("path") or value.get("file") or value.get("compute")
        return str(named) if named else ""
    return ""


def _check_rows(json: Mapping[str, Any]) -> str:
    """The largest error of each run of the check, and of the module's."""
    rows = []
    for name in ("check", "verify"):
        for run in (json.get(name) or {}).get("runs", []):
            verdict = "agrees" if run["passed"] else "differs"
            text = f"{run['output']} on {run['input']}: error {run['max_error']:.2e} of {run['max_reference']:.2e}, {verdict}"
            rows.append(f"<tr><th>{name}</th><td>{html.escape(text)}</td></tr>")
    return "".join(rows)
