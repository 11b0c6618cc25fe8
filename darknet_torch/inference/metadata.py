"""The record of its network in a converted file, read without running anything of the file.

ONNX and OpenVINO files are data. Files of TensorFlow Lite, and the .bin of NCNN, end with a zip
archive that holds metadata.json, where TensorFlow Lite keeps such files. Files of torch (`.pt2`,
TorchScript, AOTInductor's packages) are archives of programs; of those only the members that hold
texts are read, and nothing is unpickled.
"""

import json
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from darknet_torch.errors import DarknetError, UsageError
from darknet_torch.files import is_file
from darknet_torch.inference.engines import import_engine, is_package, read_openvino
from darknet_torch.network.origin import KEYS, Origin
from darknet_torch.safety.text import first_line

__all__ = ["append_origin", "read_origin"]

MAX_TEXT = 1 << 24
"""Bytes of one text: the largest cfgs have some 100 kB, the names of 9000 classes as much."""
EXTRA = re.compile(rf"(?:.*/)?extra(?:_files)?/({'|'.join(KEYS)})")
"""Where torch keeps the texts beside a program, now and before 2.8."""
MEMBER = "metadata.json"
PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def read_origin(path: Path) -> Origin:
    """Return the record of its network in a converted file's metadata; defaults without metadata.

    Raises:
        UsageError: the file cannot be read, or what reads it is not installed.
        WeightsError: a value of its metadata is not what its key needs.
    """
    if not is_file(path):
        raise UsageError(f"{path}: cannot be read: no such file")
    read = READERS.get(path.suffix.lower(), _torch)
    try:
        return Origin.from_text(read(path), path)
    except DarknetError:
        raise
    except Exception as error:  # other people's parsers, each with errors of its own
        raise UsageError(f"{path}: is no such file, or damaged: {first_line(error)}") from error


def append_origin(path: Path, origin: Origin) -> None:
    """Append the record to a file as a zip archive; programs that read it from its start see none.

    Args:
        path: a .tflite file, or the .bin file of NCNN.
        origin: the record.
    """
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(MEMBER, json.dumps(origin.to_text()))


def _onnx(path: Path) -> Mapping[str, str]:
    model = import_engine("onnx").load(path, load_external_data=False)
    return {each.key: each.value for each in model.metadata_props}


def _openvino(path: Path) -> Mapping[str, str]:
    model = read_openvino(path)
    paths = {key: ["darknet_torch", key] for key in KEYS}
    return {
        key: str(model.get_rt_info(keys).astype(str))
        for key, keys in paths.items()
        if model.has_rt_info(keys)
    }


def _ncnn(path: Path) -> Mapping[str, str]:
    return _appended(path.with_suffix(".bin"))


def _appended(path: Path) -> Mapping[str, str]:
    """Return the texts at a file's end; none where another converter wrote it."""
    if not zipfile.is_zipfile(path):
        return {}
    with zipfile.ZipFile(path) as archive:
        return _json(archive, MEMBER) if MEMBER in archive.namelist() else {}


def _torch(path: Path) -> Mapping[str, str]:
    """Return the texts in an archive of torch."""
    with zipfile.ZipFile(path) as archive:
        if is_package(path):
            return _of_package(archive)
        names = {found[1]: name for name in archive.namelist() if (found := EXTRA.fullmatch(name))}
        texts = {key: _text(archive, name) for key, name in names.items()}
        return {key: text for key, text in texts.items() if text}


def _of_package(archive: zipfile.ZipFile) -> Mapping[str, str]:
    """Return the metadata of AOTInductor's package: it is a JSON object beside the library."""
    name = next((each for each in archive.namelist() if each.endswith("_metadata.json")), None)
    return {} if name is None else _json(archive, name)


def _json(archive: zipfile.ZipFile, name: str) -> Mapping[str, str]:
    """Return the texts of a JSON object."""
    content = json.loads(_text(archive, name))
    if not isinstance(content, dict):
        raise ValueError("its metadata is no JSON object")
    return {key: text for key, text in content.items() if isinstance(text, str)}


def _text(archive: zipfile.ZipFile, name: str) -> str:
    """Return a member as text, of which a damaged or hostile archive may promise any amount."""
    if archive.getinfo(name).compress_type not in PLAIN:
        raise ValueError(f"{name} is packed in a way that torch does not use")
    with archive.open(name) as member:
        content = member.read(MAX_TEXT + 1)
    if len(content) > MAX_TEXT:
        raise ValueError(f"{name} is larger than {MAX_TEXT >> 20} MB")
    return content.decode()


READERS: Mapping[str, Callable[[Path], Mapping[str, str]]] = {
    ".onnx": _onnx,
    ".xml": _openvino,
    ".param": _ncnn,
    ".tflite": _appended,
}
"""Ending of a file -> the function that reads its metadata; all others are torch's archives."""
