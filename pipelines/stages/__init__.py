"""One file per stage kind. `discover` imports them; none may import torch at module level."""

from __future__ import annotations

import importlib
import pkgutil


def discover(only: str | None = None) -> None:
    """Import the modules of this folder, or `only` one if it is there, so that their stages register themselves."""
    for module in pkgutil.iter_modules(__path__):
        if only in (None, module.name):
            importlib.import_module(f"{__name__}.{module.name}")
