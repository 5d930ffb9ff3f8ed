"""One file per stage kind. `discover` imports them all; none may import torch at module level."""

from __future__ import annotations

import importlib
import pkgutil


def discover() -> None:
    """Import every module of this folder, so that its stages register themselves."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
