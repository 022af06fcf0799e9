from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from biencoder.cli import describe
from tests.cli.running import cli, failure

PROGRAM = "import sys; from biencoder.cli.main import main; sys.exit(main())"


def test_version() -> None:
    assert cli("--version").out == "biencoder 0.1.0\n"


def test_help_groups_the_commands() -> None:
    text = cli("--help").out
    places = [text.index(name) for name in ("Start here", "quickstart", "Train and index", "fit", "Search and measure")]
    assert places == sorted(places)
    assert "biencoder evaluate scifact.index data/scifact --against bm25" in text


@pytest.mark.parametrize("command", ["quickstart", "fit", "rerank-fit", "encode", "index", "search", "evaluate", "inspect"])
def test_help_of_a_command_has_an_example(command: str) -> None:
    done = cli(command, "--help")
    assert (done.status, done.err) == (0, "")
    assert f"biencoder {command} " in done.out.partition("Example")[2]


def test_without_arguments_it_helps() -> None:
    done = cli()
    assert done.status == 2
    assert "Train and index" in done.out


def test_help_imports_nothing_heavy() -> None:
    heavy = {"torch", "transformers", "numpy", "scipy", "pyarrow", "faiss", "pydantic"}
    check = f"from biencoder.cli.main import main; main(['--help']); import sys; print(sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["serch"], "No such command 'serch'"),
        (["search"], "Missing argument 'INDEX'. (see: biencoder search --help)"),
        (["search", "index", "--kk"], "No such option: --kk"),
        (["search", "index", "-k", "ten"], "Invalid value for '-k'"),
        (["fit", "collection", "--model", "m"], "Missing option '--out'. (see: biencoder fit --help)"),
        (
            ["index", "m", "c", "--out", "o", "--engine", "hnws"],
            "'hnws' is not one of 'auto', 'exact', 'hnsw', 'ivfpq', 'ivfrabitq', 'ivfsq', 'qdrant'.",
        ),
        (["encode", "m", "c", "--out", "o", "--precision", "int4"], "'int4' is not one of 'exact', 'fast', 'int8'."),
    ],
)
def test_wrong_usage(arguments: list[str], reason: str) -> None:
    assert reason in failure(*arguments, status=2)


def raising(error: BaseException) -> object:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_an_unexpected_error_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(describe, "describe", raising(RuntimeError("boom\n\n  at the pump")))
    expected = "RuntimeError: boom at the pump; add --debug (or set BIENCODER_DEBUG=1) to see where"
    assert failure("inspect", "x") == expected


@pytest.mark.parametrize("by_option", [True, False])
def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, by_option: bool) -> None:
    monkeypatch.setattr(describe, "describe", raising(RuntimeError("boom")))
    if not by_option:
        monkeypatch.setenv("BIENCODER_DEBUG", "1")
    done = cli("inspect", "x", *(["--debug"] if by_option else []))
    assert done.status == 1
    assert "Traceback (most recent call last)" in done.err
    assert done.err.splitlines()[-1] == "biencoder: error: RuntimeError: boom"


def test_debug_behind_two_dashes_is_an_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def note(path: str, **_: object) -> dict[str, object]:
        seen.append(path)
        return {"kind": "nothing"}

    monkeypatch.setattr(describe, "describe", note)
    assert cli("inspect", "--", "--debug").status == 0
    assert seen == ["--debug"]


def test_an_error_of_the_system_names_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(describe, "describe", raising(OSError(28, "No space left on device", "/a/b")))
    assert failure("inspect", "x") == "/a/b: No space left on device"


def test_an_interrupted_rerank_fit_says_that_it_resumes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("biencoder.data.collection.Collection.read", raising(KeyboardInterrupt()))
    done = cli("rerank-fit", "x", "--model", "y", "--out", "z")
    assert (done.status, done.err) == (130, "\nbiencoder: interrupted; the same command resumes\n")


@pytest.mark.parametrize(("command", "more"), [("inspect", ""), ("encode", "; the same command resumes")])
def test_interrupt(command: str, more: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(describe, "describe", raising(KeyboardInterrupt()))
    monkeypatch.setattr("biencoder.data.readers.read_documents", raising(KeyboardInterrupt()))
    done = cli(command, "x", *(["y", "--out", "z"] if command == "encode" else []))
    assert (done.status, done.err) == (130, f"\nbiencoder: interrupted{more}\n")


def test_an_interrupted_fit_says_that_it_resumes(tiny_model_folder: Path, collection_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ["fit", collection_folder, "--model", tiny_model_folder, "--out", run, "--set", "training.epochs=1000"]
    program = (
        f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler); {PROGRAM}"  # a background job ignores it
    )
    process = subprocess.Popen([sys.executable, "-c", program, *map(str, command)], stderr=subprocess.PIPE, text=True)
    while not list(run.glob("units/*/training")):  # the first dev score is taken, training runs
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "biencoder: interrupted; the same command resumes"
    assert "Traceback" not in err


def test_a_closed_pipe_is_no_error(collection_folder: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "inspect", str(collection_folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 141


def test_a_full_disk_behind_standard_output() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("there is no /dev/full here")
    with full.open("w") as out:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, "--version"], stdout=out, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (1, "biencoder: error: No space left on device\n")


def test_what_is_left_out_of_the_input_is_said(tmp_path: Path, tiny_model_folder: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.md").write_text("# Title\nsome text")
    (tmp_path / "notes" / "picture.png").write_bytes(b"\x89PNG")
    found = cli("encode", str(tiny_model_folder), str(tmp_path / "notes"), "--out", str(tmp_path / "vectors"))
    assert found.status == 0
    assert "biencoder: note: " in found.err
    assert "picture.png" in found.err
