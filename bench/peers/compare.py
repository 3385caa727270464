#!/usr/bin/env python3
"""Heddle beside what people use on a CPU today: one run, interleaved rounds, ratios to the best peer.

    bench/peers/compare.py                            all cases, f32 and 16 bits, 2 threads
    bench/peers/compare.py --cases 'pf_.*' --dtypes f32 --rounds 3
    bench/peers/compare.py --peers torch,onnxruntime --json out.json --svg out.svg

The first run makes an environment of its own in build/peers-env with packages from PyPI (torch alone is some
gigabytes); --python uses an interpreter that has them already. Each peer is a process with the same number of
threads; a round times every peer once; the least time of all rounds counts, since machines are shared. Results
are checked against double precision on sampled rows before anything is timed.
"""
import argparse
import json
import math
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PACKAGES = ["numpy", "torch", "onnxruntime", "onnx", "openvino", "einops"]
ALONE = ["fla-core"]  # without what it depends on: only its plain functions are read (tests/patterns/fla_test.py)
GGML_SOURCE = "llama-cpp-python"  # holds ggml's sources, of which the CPU library alone is built (cmake, ninja, a compiler)
PEERS = ["torch", "onnxruntime", "openvino", "ggml", "fla"]
LIMITS = {"f32": 1e-4, "bf16": 2e-2}  # relative error in the 2-norm; f16 peers stay below bf16's
SEED = 7


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build", help="build folder (default: build)")
    parser.add_argument("--python", help="an interpreter that has the peers, instead of build/peers-env")
    parser.add_argument("--cases", default=".", help="regular expression on the names in bench/cases.json")
    parser.add_argument("--dtypes", default="f32,bf16")
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.3, help="of one peer in one round (default 0.3)")
    parser.add_argument("--json", type=pathlib.Path, help="default: BUILD/bench/peers.json")
    parser.add_argument("--svg", type=pathlib.Path, help="default: BUILD/bench/peers.svg")
    return parser.parse_args()


def environment(build):
    """The interpreter of build/peers-env, made if need be."""
    folder = build / "peers-env"
    python, done = folder / "bin" / "python", folder / "complete"
    if not done.exists():
        print(f"compare: installing {', '.join(PACKAGES + ALONE)} from PyPI into {folder} (some gigabytes, once)", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *PACKAGES], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "--no-deps", *ALONE], check=True)
        build_ggml(python, folder / "ggml")
        done.touch()
    return str(python)


def build_ggml(python, folder):
    """ggml's CPU library for this processor in folder/bin; without it the peer says so and the others go on."""
    print(f"compare: building ggml from the sources of PyPI's {GGML_SOURCE} (a few minutes, once)", file=sys.stderr)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run([str(python), "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "-d", str(folder),
                        GGML_SOURCE], check=True)
        archive = next(folder.glob("*.tar.gz"))
        subprocess.run(["tar", "xzf", str(archive), "-C", str(folder), "--strip-components=1"], check=True)
        off = [f"-DLLAMA_BUILD_{part}=OFF" for part in ("COMMON", "TESTS", "TOOLS", "EXAMPLES", "SERVER")]
        subprocess.run(["cmake", "-S", str(folder / "vendor" / "llama.cpp"), "-B", str(folder), "-G", "Ninja",
                        "-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=ON", "-DLLAMA_CURL=OFF", *off],
                       check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["ninja", "-C", str(folder), "ggml-cpu"], check=True, stdout=subprocess.DEVNULL)
    except (subprocess.CalledProcessError, StopIteration, FileNotFoundError) as problem:
        print(f"compare: no ggml: {problem}", file=sys.stderr)


class Worker:
    """A peer in its own process (worker.py)."""

    def __init__(self, name, python, threads, build):
        self.name = name
        self.command = [python, str(HERE / "worker.py"), f"{name}_peer", str(threads), str(build)]
        # No pool may spin while another peer is timed.
        passive = {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0", "GOMP_SPINCOUNT": "0"}
        self.environment = dict(os.environ, **passive)
        self.start()

    def start(self):
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True,
                                        cwd=HERE, env=self.environment)

    def ask(self, **request):
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())
        except (BrokenPipeError, ValueError):
            self.log.seek(0)
            last = self.log.read().decode(errors="replace").strip().split("\n")[-1]
            self.process.kill()
            self.process.wait()
            self.start()  # the next case finds a live one
            return {"reason": f"the process ended: {last[:200]}"}


def read_rate(build, threads):
    """Bytes a second that all threads together read from memory, now; None where the program is not built."""
    program = build / "bin" / "attention_bench"
    if not program.exists():
        return None
    done = subprocess.run([str(program), f"--threads={threads}", "--benchmark_filter=^peak/read", "--benchmark_format=json"],
                          capture_output=True, text=True)
    found = json.loads(done.stdout)["benchmarks"] if done.returncode == 0 else []
    return 1e9 * found[0]["gbps"] if found and "gbps" in found[0] else None


def run_case(problem, np, case, dtype, workers, arguments, scratch):
    data = problem.make_inputs(case, dtype, SEED)
    rows = problem.sampled_rows(case.get("Tq") or case["T"])
    file = scratch / "exact.npz"
    np.savez(file, rows=rows, values=problem.exact(case, data, rows))
    found = {}
    for worker in workers:
        answer = worker.ask(do="prepare", case=case, dtype=dtype, seed=SEED, exact=str(file))
        if "reason" not in answer and not answer["error"] < LIMITS[dtype]:
            answer = {"reason": f"wrong result: relative error {answer['error']:.1e}, limit {LIMITS[dtype]:.0e}"}
        found[worker.name] = answer
    rates, least = [], []  # of each round: the rate of reading, Heddle's least time
    for _ in range(arguments.rounds):
        for worker in reversed(workers):  # Heddle last: beside it the rate of reading is measured
            result = found[worker.name]
            if "reason" in result:
                continue
            answer = worker.ask(do="time", seconds=arguments.seconds)
            if "reason" in answer:
                found[worker.name] = answer
            else:
                result.setdefault("times", []).extend(answer["times"])
                if worker.name == "heddle" and problem.is_memory_bound(case):
                    least.append(min(answer["times"]))
                    rates.append(read_rate(arguments.build.resolve(), arguments.threads))
    for result in found.values():
        if "times" in result:
            times = sorted(result.pop("times"))
            result.update(min_ms=1e3 * times[0], median_ms=1e3 * times[len(times) // 2],
                          gflops=problem.useful_flops(case) / times[0] / 1e9,
                          gbps=problem.least_bytes(case, dtype) / times[0] / 1e9)
    peers = {n: r for n, r in found.items() if n != "heddle" and "min_ms" in r}
    record = {"case": case["name"], "dtype": dtype, "group": "attention" if problem.is_attention(case) else "retention",
              "results": found}
    if "gbps" in found["heddle"] and rates and all(rates):
        shares = sorted(problem.least_bytes(case, dtype) / time / rate for time, rate in zip(least, rates))
        record["read_gbps"] = max(rates) / 1e9
        record["of_read"] = shares[len(shares) // 2]
    if peers:
        record["best_peer"] = min(peers, key=lambda n: peers[n]["min_ms"])
        if "min_ms" in found["heddle"]:
            record["ratio"] = peers[record["best_peer"]]["min_ms"] / found["heddle"]["min_ms"]
    return record


def print_record(record):
    mine = record["results"]["heddle"]
    best = record.get("best_peer")
    beside = record["results"][best] if best else {}
    cell = lambda r: f"{r['gflops']:8.1f} {r['gbps']:7.1f}" if "gflops" in r else f"{'-':>8} {'-':>7}"
    ratio = f"{record['ratio']:6.2f}x" if "ratio" in record else "      -"
    share = f"  {100 * record['of_read']:.0f} % of the rate of reading, up to {record['read_gbps']:.1f} GB/s" if "of_read" in record else ""
    print(f"{record['case']:18} {record['dtype']:5} {cell(mine)} {cell(beside)} {ratio}  "
          f"{(best + ': ' + beside['how']) if best else ''}{share}{'  ' + mine['reason'] if 'reason' in mine else ''}", flush=True)


def summary(records):
    """Geometric means of the ratios by group and type."""
    means = {}
    for record in records:
        if "ratio" in record:
            means.setdefault(f"{record['group']} {record['dtype']}", []).append(record["ratio"])
    return {name: math.exp(sum(map(math.log, ratios)) / len(ratios)) for name, ratios in means.items()}


def print_refusals(records):
    """Why a peer is missing: each reason once, with the cases."""
    reasons = {}
    for record in records:
        for name, result in record["results"].items():
            if "reason" in result:
                reasons.setdefault((name, result["reason"]), []).append(f"{record['case']} {record['dtype']}")
    for (name, reason), cases in reasons.items():
        print(f"not run: {name}: {reason} ({len(cases)}: {', '.join(cases[:3])}{', ..' if len(cases) > 3 else ''})")


def draw(records, file):
    """Bars of time of the best peer over Heddle's, on a logarithmic axis; the line is 1."""
    shown = [r for r in records if "ratio" in r]
    left, width, row = 210, 560, 18
    low, high = 0.25, max(8.0, *(r["ratio"] for r in shown)) if shown else 8.0
    at = lambda x: left + width * (math.log(x / low) / math.log(high / low))
    height = 40 + row * len(shown)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 130}" height="{height}" font-family="sans-serif" font-size="12">',
             f'<rect width="100%" height="100%" fill="white"/><text x="10" y="18">time of the best peer / time of Heddle</text>']
    for n, r in enumerate(shown):
        y = 30 + row * n
        x0, x1 = sorted((at(1), at(max(low, r["ratio"]))))
        colour = "#2a7" if r["ratio"] >= 1 else "#c44"
        parts.append(f'<text x="10" y="{y + 12}">{r["case"]} {r["dtype"]}</text><rect x="{x0:.1f}" y="{y + 2}" width="{x1 - x0:.1f}" height="{row - 5}" fill="{colour}"/>'
                     f'<text x="{max(x1, at(1)) + 5:.1f}" y="{y + 12}">{r["ratio"]:.2f} {r["best_peer"]}</text>')
    parts.append(f'<line x1="{at(1):.1f}" x2="{at(1):.1f}" y1="26" y2="{height - 8}" stroke="black"/></svg>')
    file.write_text("\n".join(parts))


def main():
    arguments = parse_arguments()
    build = arguments.build.resolve()
    python = arguments.python or environment(build)
    if os.environ.get("HEDDLE_COMPARE") != "1":  # again, with an interpreter that has numpy
        os.execve(python, [python, *sys.argv, "--python", python], dict(os.environ, HEDDLE_COMPARE="1"))
    import numpy as np
    sys.path.insert(0, str(HERE))
    import problem
    cases = [c for c in json.loads((HERE.parent / "cases.json").read_text()) if re.search(arguments.cases, c["name"])]
    if not cases:
        sys.exit(f"compare: found no case that matches '{arguments.cases}' in bench/cases.json")
    workers = [Worker(n, python, arguments.threads, build) for n in ["heddle", *arguments.peers.split(",")]]
    print(f"{'case':18} {'type':5} {'GFLOP/s':>8} {'GB/s':>7} {'best':>8} {'peer':>7} {'ratio':>7}", flush=True)
    records = []
    with tempfile.TemporaryDirectory() as scratch:
        for case in cases:
            for dtype in arguments.dtypes.split(","):
                records.append(run_case(problem, np, case, dtype, workers, arguments, pathlib.Path(scratch)))
                print_record(records[-1])
    means = summary(records)
    for name, mean in means.items():
        print(f"{name}: {mean:.2f} times the best peer (geometric mean)")
    print_refusals(records)
    report = {"time": time.strftime("%Y-%m-%d %H:%M"), "processor": processor(), "threads": arguments.threads,
              "rounds": arguments.rounds, "means": means, "records": records}
    (build / "bench").mkdir(parents=True, exist_ok=True)
    (arguments.json or build / "bench" / "peers.json").write_text(json.dumps(report, indent=1))
    draw(records, arguments.svg or build / "bench" / "peers.svg")


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().split("\n"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown"


if __name__ == "__main__":
    main()
