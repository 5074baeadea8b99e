"""What the models cost: ``python -m benchmarks.lddu [--device cpu] [--repeats 20] [--only NAME]``.

At the shapes of CMU-MOSEI (50 steps; 768, 74 and 35 features; 6 labels), float32: forward of 64
samples and of one, and a training step of 64 (forward, all losses, backward, clipping, AdamW), the
best, the median and the worst of the repeats, beside a matrix product measured in turn with them
(GFLOP/s of 2048 x 2048). Each case has a process of its own, whose peak memory is stated; so has
training on sequences of 50, 500 and 500 steps. On CUDA: training and inference of 1, 64 and 1024
samples, eager, compiled and as a CUDA graph, memory bandwidth, and 64 sessions of four windows a
second. The last line is JSON, which also goes to benchmarks/results/lddu-DEVICE.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from lddu_model import FeatureSpec, ModalitySpec, create
from lddu_model.api import VARIANTS, Model
from lddu_model.config import OptimConfig
from lddu_model.network import Network
from lddu_model.optim import Optimiser
from lddu_model.report import git_commit

PROJECT = Path(__file__).resolve().parent.parent
RESULTS = PROJECT / "benchmarks" / "results"
DIMS = {"words": 768, "voice": 74, "face": 35}
ALIGNED, UNALIGNED = (50, 50, 50), (50, 500, 500)
LABELS = ("happy", "sad", "anger", "surprise", "disgust", "fear")
SAME_SIZE = {"width": 256, "heads": 8, "layers": 3, "feed_forward": 256, "latent": 128}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "paper": ("paper", {}),
    "default": ("default", {}),
    "default, size of paper": ("default", SAME_SIZE),
    "transformer": ("transformer", {}),
}
CASES = ("forward 64", "forward 1", "forward 1, 1 thread", "train 64")
MB = 1 << 20
Work = Callable[[], object]


def model_of(name: str, steps: tuple[int, int, int], device: str) -> Model:
    torch.manual_seed(0)
    spec = FeatureSpec(
        "mosei",
        tuple(
            ModalitySpec(modality, dim, length, None, "none")
            for (modality, dim), length in zip(DIMS.items(), steps, strict=True)
        ),
    )
    variant, hyper = MODELS[name]
    return create(variant, spec, LABELS, hyper).to(device)


Inputs = tuple[list[torch.Tensor], list[torch.Tensor]]


def inputs(model: Model, count: int) -> Inputs:
    generator = torch.Generator().manual_seed(1)
    features = [
        torch.randn(count, each.steps, each.dim, generator=generator).to(model.device)
        for each in model.spec.modalities
    ]
    return features, [torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) for x in features]


def training(model: Model, count: int) -> Work:
    """One step: forward, losses, backward, clipping, AdamW."""
    net: Network = model.net.train()
    features, mask = inputs(model, count)
    target = (torch.rand(count, len(LABELS), device=model.device) < 0.3).float()
    weight = torch.ones(len(LABELS), device=model.device)
    optimiser = Optimiser(net, OptimConfig(), 1000)
    config = VARIANTS[model.variant].loss()

    def step() -> None:
        terms = net.losses(net(features, mask), target, weight, config)
        net.zero_grad(set_to_none=True)
        terms["total"].backward()  # type: ignore[no-untyped-call]  # torch is partly typed
        optimiser.step()

    return step


def inference(model: Model, count: int) -> Work:
    net = model.net.eval()
    features, mask = inputs(model, count)

    def forward() -> None:
        with torch.inference_mode():
            net(features, mask)

    return forward


def seconds(work: Work, device: str) -> float:
    begin = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def spread(times: list[float]) -> dict[str, float]:
    ms = [1000 * x for x in times]
    return {"best_ms": round(min(ms), 2), "median_ms": round(median(ms), 2),
            "worst_ms": round(max(ms), 2)}  # fmt: skip


def ceiling(device: str, size: int) -> Work:
    a, b = torch.randn(size, size, device=device), torch.randn(size, size, device=device)
    return lambda: a @ b


def timed(work: Work, repeats: int, device: str) -> dict[str, Any]:
    """`work` in turn with the matrix product, after warming up."""
    size = 2048 if device == "cpu" else 8192
    product = ceiling(device, size)
    for _ in range(min(3, repeats)):
        work()
        product()
    own, products = [], []
    for _ in range(repeats):
        products.append(seconds(product, device))
        own.append(seconds(work, device))
    return {**spread(own), "ceiling_gflops": round(2 * size**3 / min(products) / 1e9, 1)}


def one_case(name: str, case: str, repeats: int) -> dict[str, Any]:
    """In a process of its own: time, memory and, of a forward, its arithmetic."""
    long = case.startswith("long")
    if case.endswith("1 thread"):
        torch.set_num_threads(1)
    model = model_of(name, UNALIGNED if long else ALIGNED, "cpu")
    before = peak_mb()
    count = 1 if case.startswith("forward 1") else 64
    train = case.startswith(("train", "long"))
    work = training(model, count) if train else inference(model, count)
    work()
    found: dict[str, Any] = {"peak_mb": peak_mb(), "model_loaded_mb": before}
    found |= timed(work, 2 if long else repeats, "cpu")
    if not train:
        # Not in inference mode: the counter follows modules by the gradients of their inputs.
        with FlopCounterMode(display=False) as counter:
            model.net(*inputs(model, count))
        gflop = counter.get_total_flops() / 1e9
        found["gflop"] = round(gflop, 2)
        found["share_of_ceiling"] = round(
            gflop / (found["best_ms"] / 1000) / found["ceiling_gflops"], 2
        )
    return found


def peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 // MB


def on_cpu(repeats: int, only: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in only or MODELS:
        found[name] = {}
        for case in (*CASES, "long train 64"):
            words = [sys.executable, "-m", "benchmarks.lddu", "--case", name, case]
            done = subprocess.run(
                [*words, "--repeats", str(repeats)],
                capture_output=True, text=True, check=True, cwd=PROJECT,
            )  # fmt: skip
            found[name][case] = json.loads(done.stdout.splitlines()[-1])
            print(f"{name}, {case}: {found[name][case]}", flush=True)
    return found


def graphed(model: Model, count: int) -> Work:
    """The forward as one CUDA graph, replayed."""
    work = inference(model, count)
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch is partly typed
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


def percentiles(work: Work, repeats: int) -> dict[str, float]:
    for _ in range(10):
        work()
    times = [1000 * seconds(work, "cuda") for _ in range(repeats)]
    p50, p99 = np.percentile(times, [50, 99])
    return {"p50_ms": round(float(p50), 3), "p99_ms": round(float(p99), 3)}


def sessions(model: Model, people: int = 64, rate: float = 4.0, duration: float = 10.0) -> Any:
    """Windows of `people` arrive evenly; each is inferred with all that wait. p99 of its delay."""
    work = {count: inference(model, count) for count in (1, 2, 4, 8, 16, 32, 64)}
    for each in work.values():
        each()
    torch.cuda.synchronize()
    begin = time.perf_counter()
    arrivals = [begin + k / (people * rate) for k in range(int(people * rate * duration))]
    delays, next_one = [], 0
    while next_one < len(arrivals):
        now = time.perf_counter()
        if arrivals[next_one] > now:
            continue
        waiting = sum(1 for t in arrivals[next_one : next_one + 64] if t <= now)
        size = next(count for count in work if count >= waiting)
        seconds(work[size], "cuda")
        done = time.perf_counter()
        delays += [done - t for t in arrivals[next_one : next_one + waiting]]
        next_one += waiting
    p50, p99 = np.percentile(np.array(delays) * 1000, [50, 99])
    return {"p50_ms": round(float(p50), 2), "p99_ms": round(float(p99), 2)}


def bandwidth() -> float:
    """GB/s of a copy on the device."""
    a = torch.empty(1 << 28, device="cuda")
    b = torch.empty_like(a)
    best = min(seconds(lambda: b.copy_(a), "cuda") for _ in range(10))
    return round(2 * a.numel() * 4 / best / 1e9, 1)


def on_cuda(repeats: int, only: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "gpu": torch.cuda.get_device_name(),
        "bandwidth_gb_s": bandwidth(),
        "product_gflops": timed(lambda: None, repeats, "cuda")["ceiling_gflops"],
    }
    for name in only or MODELS:
        model = model_of(name, ALIGNED, "cuda")
        row: dict[str, Any] = {"sessions_64": sessions(model)}
        for count in (1, 64, 1024):
            row[f"forward {count}"] = percentiles(inference(model, count), 10 * repeats)
            row[f"graph {count}"] = percentiles(graphed(model, count), 10 * repeats)
        model.net.compile()
        for count in (1, 64, 1024):
            row[f"compiled {count}"] = percentiles(inference(model, count), 10 * repeats)
        step = timed(training(model_of(name, ALIGNED, "cuda"), 256), repeats, "cuda")
        row["train_samples_per_s"] = round(256 / (step["median_ms"] / 1000))
        row["train_peak_mb"] = torch.cuda.max_memory_allocated() // MB
        found[name] = row
        print(f"{name}: {row}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--only", nargs="+", default=[], choices=MODELS)
    parser.add_argument("--case", nargs=2, metavar=("MODEL", "CASE"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.case:
        name, case = chosen.case
        print(json.dumps(one_case(name, case, chosen.repeats)))
        return
    there = torch.cuda.is_available()
    if chosen.device == "cuda" and not there:
        sys.exit("no CUDA device is usable here: nothing is measured")
    device = "cuda" if there and chosen.device != "cpu" else "cpu"
    result: dict[str, Any] = {
        "benchmark": "lddu",
        "device": device,
        "commit": git_commit(),
        "torch": torch.__version__,
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
    }
    measure = on_cuda if device == "cuda" else on_cpu
    result["models"] = measure(chosen.repeats, chosen.only)
    line = json.dumps(result)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"lddu-{device}.json").write_text(line + "\n", encoding="utf-8")
    print(line)


if __name__ == "__main__":
    main()
