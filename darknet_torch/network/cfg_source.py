"""A cfg given by name, path or text: its plan, its entry in the zoo, its class names."""

from collections.abc import Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import NamedTuple

from darknet_torch import zoo
from darknet_torch.data.class_names import read_class_names
from darknet_torch.errors import UsageError, warn
from darknet_torch.files import cfg_folder, is_file
from darknet_torch.network.plan import Plan, make_plan
from darknet_torch.parsing import dialect as dialects
from darknet_torch.parsing import parser
from darknet_torch.parsing.dialect import Dialect
from darknet_torch.parsing.options import Context, FileName, Mode
from darknet_torch.parsing.parser import Section
from darknet_torch.progress import Progress

__all__ = ["CfgSource", "Names", "PathOrText", "Settings", "find_weights", "search_folders"]

PathOrText = str | PathLike[str]
Names = PathOrText | Sequence[str]


class Settings(NamedTuple):
    """The arguments that `plan`, `build` and `load` share; see there."""

    dialect: Dialect | str | None
    width: int | None
    height: int | None
    names: Names | None
    mode: Mode


class CfgSource:
    """A cfg that is given by name, path or text, with its entry in the zoo, if it has one."""

    def __init__(self, cfg: PathOrText) -> None:
        self.cfg, self.name = cfg, fspath(cfg)
        self.is_text = "\n" in self.name
        named = not self.is_text and not is_file(self.name)
        models = [zoo.find_model(each) for each in zoo.list_models()] if named else []
        self.entry = next((each for each in models if each.name == self.name), None)
        self.dialect = next((m.dialect for m in models if self.name in (m.name, m.cfg)), None)

    def plan(self, settings: Settings) -> Plan:
        """Return the plan of the cfg.

        Raises:
            CfgError: with file and line.
        """
        sections = parser.read(self._path_or_text())
        dialect = dialects.get(self.dialect if settings.dialect is None else settings.dialect)
        context = Context(dialect, settings.mode, search_folders())
        return make_plan(sections, context, width=settings.width, height=settings.height)

    def _path_or_text(self) -> PathOrText:
        """Return the path of a cfg that is given by name; else the path or text itself."""
        if self.is_text or is_file(self.name) or Path(self.name).name != self.name:
            return self.cfg
        stem = self.name if self.entry is None else self.entry.cfg
        path = cfg_folder() / f"{stem}.cfg"
        return path if is_file(path) else self.cfg

    def fetch(self, progress: Progress | None) -> Path:
        """Return the path of the zoo entry's weights, downloaded and checked.

        Raises:
            UsageError: the cfg has no zoo entry.
            DownloadError: the weights cannot be fetched.
        """
        path = self._path_or_text()
        if self.entry is None and not self.is_text and not is_file(path):
            zoo.find_model(self.name)  # raises an error with the nearest name
        if self.entry is None:
            raise UsageError(
                f"{'<cfg>' if self.is_text else self.name}: no weights given; load(cfg, weights)"
                f" reads a file, build(cfg) starts with random values, names of the zoo fetch"
                f" theirs (list_models())"
            )
        return zoo.fetch(self.entry.name, progress)

    def names(self, plan: Plan, settings: Settings) -> tuple[str, ...]:
        """Return the class names, or () where no file has them.

        Warns where there are more or fewer names than classes.

        Raises:
            CfgError: no such file as the caller names.
            DataError: the description of a data set without class names.
        """
        section, folders = plan.net.section, plan.context.folders
        if settings.names is None:
            path = self._names_path(section)
        elif isinstance(settings.names, str | PathLike):
            path = FileName(fspath(settings.names), "names", section, folders).resolve()
        else:
            given = tuple(map(str, settings.names))
            _warn_of_count("names", given, plan)
            return given
        if path is None:
            return ()
        names = read_class_names(path)
        if self.entry is None or settings.names is not None:
            _warn_of_count(path, names, plan)
        return names

    def _names_path(self, section: Section) -> Path | None:
        """Return the file of class names: the zoo entry's, or the one beside the cfg."""
        if self.entry is not None:
            names = self.entry.names
            paths = [folder / names for folder in search_folders()] if names is not None else []
        elif section.folder is not None:
            paths = [Path(section.file).with_suffix(".names")]
        else:
            paths = []
        return next((path for path in paths if is_file(path)), None)


def _warn_of_count(path: Path | str, names: Sequence[str], plan: Plan) -> None:
    """Warn of names that are not one for each class of a head, or each output of a classifier."""
    classes = plan.classes
    if not plan.heads and plan.final >= 0:
        shape = plan[plan.final].shape
        classes = shape.c if shape.is_vector or shape.h == shape.w == 1 else len(names)
    if len(names) < classes:
        warn(f"{path}: {len(names)} names for {classes} classes; the others are shown as numbers")
    elif len(names) > classes:
        warn(f"{path}: {len(names)} names for {classes} classes; the last are of no class")


def search_folders() -> tuple[Path, ...]:
    """Return the folders where files that a cfg names are looked for, besides its own."""
    return cfg_folder(), zoo.cache_dir()


def find_weights(
    weights: PathOrText, cutoff: int | None, progress: Progress | None
) -> tuple[Path, int | None]:
    """Return the path of a weights file, and how many of its layers to read (None: all).

    The name of one of the zoo's backbones stands for its file, fetched, and for its layers, unless
    there is a file of that name.

    Raises:
        DownloadError: the backbone cannot be fetched.
    """
    name = fspath(weights)
    if name not in zoo.list_backbones() or is_file(name):
        return Path(weights), cutoff
    layers = zoo.find_backbone(name).layers
    return zoo.fetch_file(name, progress), layers if cutoff is None else cutoff
