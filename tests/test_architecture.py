"""The house keeps its shape: what imports what, what is documented, what is public."""

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest

import darknet_torch
import darknet_torch.network.plan  # (registers every layer type)
from darknet_torch.errors import DarknetError, DarknetWarning
from darknet_torch.heads.base import Head
from darknet_torch.inference.classifier import Classifier
from darknet_torch.inference.detector import Detector
from darknet_torch.layers.base import Layer
from darknet_torch.layers.registry import registered

PACKAGE = Path(darknet_torch.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# A folder is a stage of the flow: a file imports only from its own folder, and from what stands
# before it here. safety/ comes first, then the files at the root; loading.py is one of them too,
# and __main__.py, which comes last.
ROOT_FILES = "errors version files extras distributed progress".split()
STAGES = (
    "parsing images zoo data layers heads metrics network inference loading evaluation exporters"
    " speed training videos server batch cli"
).split()
ORDER = ["safety", *ROOT_FILES, *STAGES, "__main__"]
BEHIND_HEADS = set(STAGES[STAGES.index("heads") + 1 :])
"""What asks layers and heads for facts, and knows none of them."""
LAYERS_MAY = {"errors", "parsing.parser", "parsing.dialect", "parsing.options"}
LAYERS_SHARE = {"layers.base", "layers.registry", "layers.blocks", "layers.activation"}
LAYERS_SHARE |= {"layers.geometry", "layers.traced", "layers.truth", "layers.word_tree"}
HEADS_SHARE = {f"heads.{name}" for name in "base boxes nms targets loss_terms box_gradient".split()}
HEADS_SHARE |= {f"heads.{name}" for name in "anchor_head anchor_targets box_coder".split()}
HEADS_SHARE |= {f"heads.{name}" for name in "region_decoder region_targets".split()}
HEADS_SHARE |= {"heads.anchor_assignment", "heads.yolo_loss"}
"""What has no section: the heads of [yolo] and [Gaussian_yolo] share two of them."""
FOUNDATIONS = {
    "layers": {"layers.base", "layers.registry"},  # hands them on
    "layers.base": LAYERS_MAY | {"layers.truth", "layers.word_tree"},
    "layers.registry": LAYERS_MAY | {"layers.base", "parsing.hints"},
    "layers.word_tree": LAYERS_MAY | {"files"},
    "layers.activation": LAYERS_MAY
    | {"layers.base", "layers.registry", "layers.traced", "layers.truth"},
    "layers.geometry": set(),
    "layers.traced": {"layers.base"},
    "layers.truth": {"errors"},
}


def module_name(path: Path) -> str:
    """`layers.base` for .../layers/base.py, `layers` for its __init__.py."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


NAMES = {module_name(path) for path in FILES}


def imports(path: Path, *, at_runtime: bool = False) -> Iterator[tuple[int, str]]:
    """(line, module of this package) of every import, inside functions too.

    at_runtime: without what only type checkers read.
    """
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if at_runtime and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            found = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in found:
            if name.partition(".")[0] == "darknet_torch":
                yield node.lineno, longest_module(name.removeprefix("darknet_torch").lstrip("."))


def longest_module(name: str) -> str:
    while name not in NAMES:
        name = name.rpartition(".")[0]
    return name


def each(pattern: str) -> pytest.MarkDecorator:
    paths = [path for path in FILES if re.fullmatch(pattern, module_name(path))]
    assert paths
    return pytest.mark.parametrize("path", paths, ids=module_name)


def test_the_order_names_every_file() -> None:
    assert {name.partition(".")[0] for name in NAMES} == {"", *ORDER}


def test_the_root_has_no_other_files() -> None:
    at_root = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert at_root == {*ROOT_FILES, "loading", "__main__"}
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert folders == {"safety", *STAGES} - {"loading"}
    assert not list(PACKAGE.glob("*/*/*.py")), "one level deep, no deeper"


def test_the_map_in_the_docstring_has_this_order() -> None:
    rows = re.findall(r"^    (\w+(?:, \w+)*) {2,}\S", darknet_torch.__doc__ or "", re.MULTILINE)
    listed = [name for row in rows for name in row.split(", ")]
    assert listed == ORDER


def test_there_is_no_circle() -> None:
    """Among files, inside a folder too; what only types need does not count."""
    edges = {
        module_name(path): {name for _, name in imports(path, at_runtime=True)} for path in FILES
    }
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above, name))
        if name not in done:
            for other in edges[name] - {name}:
                visit(other, (*above, name))
            done.add(name)

    for name in edges:
        visit(name, ())


def test_imports_are_seen(tmp_path: Path) -> None:
    """Else the tests below could not fail."""
    path = tmp_path / "some.py"
    path.write_text(
        "import torch\nfrom darknet_torch import zoo\nimport darknet_torch.layers.base as b\n"
        "def f():\n    from darknet_torch.layers.route import Route\n"
        "from darknet_torch import DarknetError\n"
    )
    found = {(1 + 1, "zoo"), (3, "layers.base"), (5, "layers.route"), (6, "")}
    assert set(imports(path)) == found


@each(r".+")
def test_a_file_imports_only_what_stands_above_it(path: Path) -> None:
    mine = module_name(path).partition(".")[0]
    for line, name in imports(path):
        theirs = name.partition(".")[0]
        if not name:  # the public face is for those who use the package
            assert mine == "cli", f"{path}:{line}"
            continue
        assert theirs == mine or ORDER.index(theirs) < ORDER.index(mine), f"{path}:{line}: {name}"


@each(r"layers\..+")
def test_layer_types_do_not_know_one_another(path: Path) -> None:
    mine = module_name(path)
    allowed = FOUNDATIONS.get(mine, LAYERS_MAY | LAYERS_SHARE)
    for line, name in imports(path):
        assert name in allowed - {mine}, f"{path}:{line}: {name}"


@each(r"heads\..+")
def test_heads_know_layers_by_their_base(path: Path) -> None:
    allowed = (LAYERS_MAY | LAYERS_SHARE | HEADS_SHARE) - {module_name(path)}
    for line, name in imports(path):
        assert name in allowed, f"{path}:{line}: {name}"


BEHIND = rf"({'|'.join(sorted(BEHIND_HEADS))})(\..+)?"


@each(BEHIND)
def test_nothing_behind_the_heads_knows_a_layer_or_a_head(path: Path) -> None:
    """Only their bases, the registry, and the building blocks that have no section."""
    known = {"layers", "layers.base", "layers.registry", "layers.word_tree"}
    known |= {f"layers.{name}" for name in "activation blocks geometry traced truth".split()}
    known |= {"heads", "heads.base", "heads.boxes", "heads.nms"}
    for line, name in imports(path):
        assert name.partition(".")[0] not in ("layers", "heads") or name in known, (
            f"{path}:{line}: {name}"
        )


@each(BEHIND.replace("|cli", "").replace("cli|", ""))
def test_nothing_behind_the_heads_knows_a_section(path: Path) -> None:
    """No section's name is compared, looked up or listed; facts stand on layers and heads."""
    names = set(registered()) - {"logistic", "max"}  # an activation too, and the end of a range
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(
            node, ast.Compare | ast.Dict | ast.Set | ast.Tuple | ast.List | ast.Subscript
        ):
            for each in ast.iter_child_nodes(node):
                assert not (isinstance(each, ast.Constant) and each.value in names), (
                    f"{path}:{each.lineno}: {each.value!r}"
                )


@each(BEHIND)
def test_networks_are_asked_by_their_protocol(path: Path) -> None:
    """`device` and `input_dtype` in place of the first parameter."""
    pattern = r"next\([^()]*network\.parameters\(\)|getattr\([^()]*network, \""
    found = re.search(pattern, path.read_text())
    assert not found or module_name(path) == "network.network", found


@each(r"(?!cli|__main__).+")
def test_only_the_command_knows_the_command(path: Path) -> None:
    assert not [line for line, name in imports(path) if name.partition(".")[0] == "cli"]


@each(r"(?!parsing.dialect|cli).+")
def test_forks_are_facts_not_ifs(path: Path) -> None:
    """`dialect is ALEXEYAB`, `dialect.name == "pjreddie"` and the like stand nowhere."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Compare):
            text = ast.unparse(node)
            forks = re.search(r"\b(PJREDDIE|ALEXEYAB|HANK_AI)\b|dialect\.(name|family)\b", text)
            assert not forks, f"{path}:{node.lineno}: {text}"


@each(r"(?!cli).*")
def test_the_library_does_not_print(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("print", "exec", "eval", "input"), f"{path}:{node.lineno}"


@each(r"(?!safety.threads).*")
def test_all_threads_are_ended(path: Path) -> None:
    """They are started where they are stopped and waited for at the end of the interpreter."""
    found = re.search(r"\bThread\(|\b(Thread|Process)PoolExecutor\b|\bTimer\(", path.read_text())
    assert not found, f"{path}: {found}: Background or Pool of safety/threads.py expected"


@each(r".*")
def test_files_and_classes_are_short(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 300, "it wants to be two files"
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef) and node.end_lineno is not None:
            lines = node.end_lineno - node.lineno + 1
            assert lines <= 150, f"{node.name}: {lines} lines: it wants to be two classes"


def test_a_name_has_one_meaning() -> None:
    """No two public classes, and no two public tables, bear one name."""
    homes: dict[str, list[str]] = {}
    for path in FILES:
        tree = ast.parse(path.read_text())
        tables = [node.targets[0] for node in tree.body if isinstance(node, ast.Assign)]
        names = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
        public = set(
            getattr(import_module(f"darknet_torch.{module_name(path)}".rstrip(".")), "__all__", [])
        )
        names += [each.id for each in tables if isinstance(each, ast.Name) and each.id in public]
        for name in names:
            if not name.startswith("_"):
                homes.setdefault(name, []).append(module_name(path))
    assert not {name: each for name, each in homes.items() if len(each) > 1}


LAYERS = sorted(
    {cls for found in registered().values() for cls, _ in found}, key=lambda c: c.__name__
)


def test_layer_types_are_registered() -> None:
    assert len(LAYERS) >= 25


@pytest.mark.parametrize("cls", LAYERS, ids=lambda cls: cls.__name__)
def test_layer_types_are_documented(cls: type[Layer]) -> None:
    names = [name for name, found in registered().items() if cls in [entry[0] for entry in found]]
    doc = cls.__dict__.get("__doc__") or ""
    assert any(f"[{name}]" in doc for name in names), doc
    for name, value in vars(cls).items():
        function = value.fget if isinstance(value, property) else value
        if inspect.isfunction(function) and not name.startswith("_"):
            assert function.__doc__, f"{cls.__name__}.{name}"


@pytest.mark.parametrize("cls", LAYERS, ids=lambda cls: cls.__name__)
def test_layer_types_say_their_shape(cls: type[Layer]) -> None:
    """In the class's docstring, or in that of its own `shape` or `forward`."""
    said = " ".join(
        inspect.getdoc(part) or ""
        for part in (cls, cls.shape, cls.forward)
        if part not in (Layer.shape, Layer.forward)
    )
    passes_on = cls.shape is Layer.shape and cls.forward is Layer.forward
    assert passes_on or re.search(r"\(B|\(c\b|shape|vector|pixel|map|product|activation", said), (
        said
    )


@pytest.mark.parametrize(
    "cls", [c for c in LAYERS if issubclass(c, Head)], ids=lambda c: c.__name__
)
def test_heads_name_their_entries(cls: type[Head]) -> None:
    assert re.search(r"entries|classes|boxes", cls.__doc__ or "")


def test_every_module_is_documented() -> None:
    for path in FILES:
        assert ast.get_docstring(ast.parse(path.read_text())), path


def test_modules_say_what_is_public() -> None:
    for name in sorted(NAMES - {""}):
        module = import_module(f"darknet_torch.{name}")
        public = getattr(module, "__all__", [])
        assert len(set(public)) == len(public), name
        for one in public:
            assert hasattr(module, one), f"{name}.{one}"


def test_the_public_face() -> None:
    public = darknet_torch.__all__
    assert len(set(public)) == len(public)
    assert 10 < len(public) < 25
    for name in public:
        getattr(darknet_torch, name)
    assert set(dir(darknet_torch)) == set(public)
    homes = darknet_torch._HOMES
    assert set(homes) == set(public) - {"__version__"}
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = darknet_torch.nothing
    # a file of the name of a public function would hide it once the file is imported
    assert not set(public) & {name.partition(".")[0] for name in NAMES}


def test_what_type_checkers_see_is_what_is_there() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    checked = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.name: (node.module or "").removeprefix("darknet_torch.")
        for node in checked.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == darknet_torch._HOMES


CALLS = [
    *(getattr(darknet_torch, name) for name in darknet_torch.__all__ if name != "__version__"),
    Detector,
    Classifier,
]
CALLS = [each for each in CALLS if inspect.isfunction(each) or each in (Detector, Classifier)]


def documented(function: Callable[..., object]) -> list[str]:
    """The arguments in the Google style docstring of a call, in their order."""
    doc = inspect.getdoc(function) or ""
    part = re.search(r"^Args:\n((?: {4}.*\n?|\n)*)", doc, re.MULTILINE)
    return re.findall(r"^ {4}(\w+): \S", part[1], re.MULTILINE) if part else []


@pytest.mark.parametrize("function", CALLS, ids=lambda each: each.__name__)
def test_public_calls_say_what_they_take(function: Callable[..., object]) -> None:
    """Every argument has a name, a type and a line of documentation."""
    parameters = inspect.signature(function).parameters
    kinds = {each.kind for each in parameters.values()}
    assert not kinds & {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}
    annotations = [each.annotation for each in parameters.values()]
    assert inspect.Parameter.empty not in annotations
    assert documented(function) == list(parameters)
    assert "Raises:" in (inspect.getdoc(function) or "") or function.__name__.startswith("list_")


def test_public_calls_are_many() -> None:
    names = {each.__name__ for each in CALLS}
    assert names >= {
        *("detect", "classify", "evaluate", "export", "optimize", "verify", "load", "build"),
        *("plan", "save", "Detector", "Classifier"),
    }


def test_options_of_a_call_are_those_of_its_class() -> None:
    """`detect` and `Detector`, `classify` and `Classifier`: one set of options, one text."""
    for function, cls in (
        (darknet_torch.detect, Detector),
        (darknet_torch.classify, Classifier),
    ):
        options = dict(inspect.signature(function).parameters)
        del options["images"], options["errors"]  # of the call, which returns a list
        assert options == dict(inspect.signature(cls).parameters)
        texts = [
            (inspect.getdoc(each) or "").partition(" threads that read")[0].rpartition("Args:")[2]
            for each in (function, cls)
        ]
        shared = re.sub(r"    images: (?:.*\n)(?: {8}.*\n)*", "", texts[0])
        assert shared == texts[1]


EXPORTERS = (
    "aot_inductor coreml darknet formats openvino other_python pytorch staging tensorrt tflite"
    " torch_export torchscript"
)
STANDS_FOR = {
    "cli/test_cli": "cli.command cli.arguments cli.check cli.detect cli.models cli.summary"
    " network.summary",
    "cli/test_verb_parser": "__main__",
    "batch/test_running": "batch.detector batch.inputs batch.output cli.batch",
    "cli/test_convert": "cli.verify",
    "cli/test_images": "cli.result_folder inference.sources",
    "cli/test_result_kinds": "cli.common_files cli.labelled_folder",
    "cli/test_train": "cli.training_display",
    "data/test_anchors": "cli.anchors",
    "data/test_coco": "data.coco_classes data.coco_writing",
    "data/test_darknet": "data.classes data.dataset data.listing data.messages data.problems"
    " data.reading data.statistics images.size",
    "data/test_description": "data.class_folders data.class_names data.paths data.safe_yaml",
    "data/test_voc": "data.safe_xml",
    "data/test_writing": "cli.data",
    "evaluation/test_collect": "progress",
    "evaluation/test_evaluator": "cli.evaluate evaluation.class_matching",
    "exporters/test_export": " ".join(f"exporters.{name}" for name in EXPORTERS.split()),
    "exporters/test_int8": "exporters.calibration exporters.calibration_options"
    " exporters.int8_onnx exporters.int8_openvino exporters.int8_report",
    "exporters/test_layouts": "exporters.counterpart exporters.onnx_older exporters.onnx_uint8"
    " exporters.programs inference.layouts",
    "exporters/test_onnx": "exporters.onnx_nms",
    "exporters/test_verification": "exporters.stored_weights",
    "heads/test_heads": "heads.anchor_head heads.base heads.box_coder heads.boxes"
    " heads.region_decoder",
    "heads/test_losses": "heads.anchor_assignment heads.anchor_targets heads.box_gradient"
    " heads.detection heads.gaussian_yolo heads.loss_terms heads.region heads.region_targets"
    " heads.yolo heads.yolo_loss",
    "images/test_decoders": "images.plain_jpeg",
    "images/test_reading": "images.pixels",
    "inference/test_classifier": "cli.classify",
    "inference/test_detections": "inference.detection_formats",
    "inference/test_detector": "inference.decoding inference.detector_options inference.postprocess"
    " inference.streaming",
    "inference/test_generator": "cli.generate",
    "inference/test_reader_processes": "inference.reader_process",
    "inference/test_tiled": "images.strips inference.tile_grid inference.tile_joining",
    "network/test_checkpoint_file": "network.key_matching",
    "network/test_network": "network.input_size network.node network.plan network.runnable"
    " network.schedule network.state",
    "network/test_weights_file": "network.weights_layout",
    "speed/test_dtypes": "inference.sample",
    "speed/test_onednn": "speed.inductor",
    "training/test_augment": "training.objects",
    "training/test_batches": "training.augment_options training.class_examples training.collate"
    " training.detection_examples training.examples training.image_cache"
    " training.mosaic training.multiscale training.random_transforms training.sampler",
    "training/test_characters": "training.text_steps",
    "training/test_placing": "training.parcels training.unplaced",
    "training/test_training_state": "training.state_checks",
    "test_answer_keys": " ".join(
        f"layers.{path.stem}"
        for path in sorted((PACKAGE / "layers").glob("[!_]*.py"))
        if path.stem
        not in ("activation", "contrastive", "dropout", "registry", "truth", "word_tree")
    ),
    "training/test_loop": "training.callbacks training.finite training.first_batch"
    " training.metrics_log training.options"
    " training.preparation training.result training.run training.run_files"
    " training.running_statistics training.step",
    "cli/test_video": "cli.video_outputs",
    "server/test_guard": "server.metrics server.status",
    "server/test_routes": "server.application server.kept server.model",
    "server/test_running": "server.connection",
    "test_docs": "version",
    "test_notebooks": "inference.notebook",
    "test_loading": "network.cfg_source",
    "videos/test_detecting": "videos.frame",
    "videos/test_reading": "videos.containers videos.folders",
    "videos/test_tracking": "videos.counting",
    "videos/test_writing": "videos.sound",
}
"""Test file -> the modules that it tests besides that of its name."""


def test_every_module_has_a_test_file() -> None:
    tests = Path(__file__).parent
    own = {
        name
        for name in NAMES
        if (tests / name.replace(".", "/")).with_name(f"test_{name.split('.')[-1]}.py").is_file()
    }
    packages = {module_name(path) for path in FILES if path.name == "__init__.py"}
    listed = [name for each in STANDS_FOR.values() for name in each.split()]
    assert len(listed) == len(set(listed))
    assert set(listed) == NAMES - packages - own
    assert not [name for name in STANDS_FOR if not (tests / f"{name}.py").is_file()]


def test_every_error_is_in_the_tree() -> None:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and module_name(path) != "errors":
                bases = [ast.unparse(base) for base in node.bases]
                assert not any(re.search(r"Error$|Exception$|Warning$", base) for base in bases), (
                    f"{path}:{node.lineno}: {node.name}"
                )
    assert issubclass(DarknetError, Exception)
    assert issubclass(DarknetWarning, UserWarning)


@pytest.mark.parametrize(
    "code",
    [
        "import darknet_torch",
        "import darknet_torch; darknet_torch.ALEXEYAB; darknet_torch.DarknetError",
        "import darknet_torch.cli",
        "import darknet_torch.parsing.parser, darknet_torch.parsing.options",
    ],
)
def test_torch_is_not_imported_before_it_is_needed(code: str) -> None:
    check = f"{code}; import sys; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True, timeout=60)


def test_a_layer_type_from_outside_is_found_without_being_listed() -> None:
    code = """
import torch, darknet_torch as dt
from darknet_torch.layers import Layer, layer, option
@layer("double")
class Double(Layer):
    factor: float = option(2.0)
    def forward(self, *inputs):
        return self.factor * inputs[0]
net = dt.build("[net]\\nwidth=2\\nheight=2\\nchannels=1\\n[double]\\nfactor=3\\n")
assert net(torch.ones(1, 1, 2, 2)).tolist() == [[[[3, 3], [3, 3]]]]
try:
    layer("double")(type("Other", (Layer,), {}))
except dt.DarknetError as error:
    assert "[double] is already the layer type Double" in str(error)
else:
    raise SystemExit("a name was taken twice")
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_layers_cannot_be_changed() -> None:
    for cls in LAYERS:
        assert cls.__dataclass_params__.frozen, cls  # type: ignore[attr-defined]
