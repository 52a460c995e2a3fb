"""The solvers in the race, as contenders of `path_race` with processes of this package."""

import dataclasses
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from path_race.contenders import Contender

from cv_race.adapters import NAMES
from cv_race.studies import Study


def command(adapter: ModuleType, peers: Path, what: str) -> list[str] | str:
    """How to start a worker of this adapter, or why that cannot be."""
    if hasattr(adapter, "command"):
        start = adapter.command()
        return start if isinstance(start, str) else [*start, what]
    python = sys.executable
    if adapter.ENVIRONMENT is not None:
        python = str(peers / adapter.ENVIRONMENT / "bin" / "python")
        if not Path(python).exists():
            return f"no environment {adapter.ENVIRONMENT!r}: run benchmarks/install_peers.sh"
    return [python, "-m", "cv_race.worker", adapter.__name__.rsplit(".", 1)[1], what]


def timed(contender: Contender, peers: Path) -> Contender:
    """The same in processes that run the whole selection."""
    return dataclasses.replace(contender, command=command(contender.adapter, peers, "whole"))


def adapters(wanted: list[str] | None) -> list[ModuleType]:
    """The modules by the names of their solvers; jreg always takes part."""
    found = [importlib.import_module(f"cv_race.adapters.{name}") for name in NAMES]
    names = [adapter.NAME for adapter in found]
    unknown = set(wanted or ()) - set(names)
    if unknown:
        raise SystemExit(f"unknown peers: {', '.join(sorted(unknown))}; there are {names}")
    return [a for a in found if wanted is None or a.NAME in (*wanted, "jreg")]


def enter(
    study: Study, wanted: list[str] | None, peers: Path, absent: dict[str, str], first: bool = False
) -> Iterator[Contender]:
    """The contenders of a study, in processes that give fits; the reasons of the others go to
    `absent`. first: only the first setting of each solver."""
    for adapter in adapters(wanted):
        start, settings = command(adapter, peers, "fits"), adapter.variants(study)
        if isinstance(start, str) or isinstance(settings, str):
            absent[adapter.NAME] = settings if isinstance(settings, str) else str(start)
            continue
        for variant in settings[:1] if first else settings:
            yield Contender(adapter, variant, start)
