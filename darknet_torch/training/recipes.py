"""Recipes: a cfg, a data set, starting weights and other options under one name.

A recipe is a YAML file; those of the package are in cfg/recipes. Its keys are the fields of Recipe.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from darknet_torch.errors import DataError, UsageError
from darknet_torch.files import cfg_folder, is_file
from darknet_torch.safety.text import printable

__all__ = ["Recipe", "list_recipes", "load_recipe"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a training begins with.

    Attributes:
        name: of the recipe.
        cfg: a name or a path, as `load` takes it.
        data: what `train` takes as source; None: the user names it.
        after: name of the recipe whose best weights it starts from.
        weights: a name or a path, as `load` takes them: what it starts from where there is no
            `after`, or that training is not here; None is random values.
        cutoff: only the first layers are taken from the weights, as many as given.
        clear: count images from 0, see `train`.
        width: of the network's input, in pixels; None is the cfg's.
        height: of the network's input, in pixels; None is the cfg's.
        options: other values for options of the cfg, see `train`.
    """

    name: str
    cfg: str
    data: str | None = None
    after: str | None = None
    weights: str | None = None
    cutoff: int | None = None
    clear: bool = False
    width: int | None = None
    height: int | None = None
    options: Mapping[str, str | int | float] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where its training is written, unless another folder is named."""
        return Path("training") / self.name

    def earlier_weights(self) -> Path | None:
        """Return the best weights of the training that it comes after; None if they are not here.

        Raises:
            DataError: that recipe cannot be read.
        """
        if self.after is None:
            return None
        before = load_recipe(self.after)
        path = before.folder / f"{Path(before.cfg).stem}_best.weights"
        return path if is_file(path) else None


def list_recipes() -> list[str]:
    """Return the names of the recipes of the package.

    >>> list_recipes()[:3]
    ['darknet19-224', 'darknet19-448', 'yolov2-coco']
    """
    return sorted(path.stem for path in (cfg_folder() / "recipes").glob("*.yaml"))


def load_recipe(name: str | PathLike[str]) -> Recipe:
    """Read a recipe.

    Args:
        name: one of `list_recipes()`, or the path of a .yaml.

    Raises:
        UsageError: there is no such recipe.
        DataError: the file cannot be read, or has a key or a value that no recipe has.
    """
    word = fspath(name)
    path = Path(word)
    if word in list_recipes():
        path = cfg_folder() / "recipes" / f"{word}.yaml"
    elif path.suffix.lower() not in (".yaml", ".yml") or not is_file(path):
        hint = _hint(word, list_recipes()) or f"; there are {', '.join(list_recipes())}"
        raise UsageError(f"recipe {printable(word)}: no such recipe, and no .yaml of one{hint}")
    from darknet_torch.data.safe_yaml import load_yaml  # with numpy, for those who read one

    return _checked(load_yaml(path), path)


def _checked(content: Mapping[Any, Any], path: Path) -> Recipe:
    where = printable(str(path))
    for key, value in content.items():
        if key not in KEYS:
            hint = _hint(str(key), KEYS) or f"; there are {', '.join(KEYS)}"
            raise DataError(f"{where}: {printable(str(key))}: no key of a recipe{hint}")
        if not _is(KEYS[key], value):
            shown = printable(f"{key}: {value}")
            raise DataError(f"{where}: {shown:.80}: must be {KEYS[key]}")
    if "cfg" not in content:
        raise DataError(f"{where}: cfg is missing, the name or the path of the network")
    return Recipe(name=path.stem, **content)


TEXT, COUNT, FLAG = "a text", "a whole number of at least 1", "true or false"
TABLE = "options of the cfg, each with a text or a number"
KEYS = {
    **dict.fromkeys(("cfg", "data", "after", "weights"), TEXT),
    **dict.fromkeys(("cutoff", "width", "height"), COUNT),
    "clear": FLAG,
    "options": TABLE,
}
"""Key of a recipe -> what its value must be."""


def _is(kind: str, value: object) -> bool:
    if kind == TABLE:
        return isinstance(value, dict) and all(
            isinstance(key, str) and isinstance(each, str | int | float)
            for key, each in value.items()
        )
    if kind == COUNT:
        return isinstance(value, int) and not isinstance(value, bool) and value >= 1
    return isinstance(value, bool if kind == FLAG else str)


def _hint(word: str, known: Iterable[str]) -> str:
    near = get_close_matches(word, list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""
