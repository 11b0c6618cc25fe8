"""Completion in bash, by the script that the command prints."""

import shutil
import subprocess
import sys

import pytest

from darknet_torch.cli import main


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit, match="0"):
        main(["--completion", shell])
    return capsys.readouterr().out


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not here")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("darknet-torch det", {"detect"}),
        ("darknet-torch detect --thr", {"--threshold"}),
        ("darknet-torch detect yolov4-t", {"yolov4-tiny"}),
        ("darknet-torch detect yolov4-tiny my", {"my.jpg"}),
        ("darknet-torch detect --mode st", {"strict"}),
        ("darknet-torch data che", {"check"}),
        ("darknet-torch data check --label-r", {"--label-rule"}),
        ("darknet-torch models --off", {"--offline"}),
    ],
)
def test_bash(words: str, expected: set[str], tmp_path, capsys) -> None:
    pytest.importorskip("shtab")
    (tmp_path / "my.jpg").touch()
    code = f"""{script("bash", capsys)}
COMP_WORDS=({words}); COMP_CWORD=$(({len(words.split())} - 1))
_shtab_darknet_torch darknet-torch
printf "%s\\n" "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(
        ["bash", "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert {word.strip() for word in done.stdout.split()} == expected


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells(shell: str, capsys) -> None:
    pytest.importorskip("shtab")
    assert "detect" in script(shell, capsys)


def test_without_the_package(monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["--completion", "bash"]) == 2
    assert "shtab is not installed: pip install" in capsys.readouterr().err
