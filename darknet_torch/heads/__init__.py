"""The heads that yield boxes, one file a kind; importing the package registers every file in it."""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
