#!/usr/bin/env python3
"""Time of a pattern over lengths, as a table, JSON and an SVG plot: is its cost linear?

    bench/length_sweep.py                                  # lsel from 4K to 256K beside dense attention to 16K
    bench/length_sweep.py --pattern lsel_tree --lengths 4096,16384

Times are the least of a few launches through the C interface. The order of growth is the slope of
log time over log length, by least squares over all lengths and between the last two.
"""
import argparse
import importlib.util
import json
import math
import os
import pathlib
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "bench" / "peers"))
ROUTES, CENTROIDS, WIDTH = 16, 64, 64
COMPRESSION, INDEXERS = 4, 4  # keys of an entry, and heads that score entries, of csa_hca
PATTERNS = ("lsel", "lsel_tree", "causal_softmax", "moba", "nsa", "csa_hca")


def problem_of(pattern, length, heads):
    """Extents and shapes of the tensors of a pattern."""
    rows, flat = (1, length, heads, WIDTH), (1, length, WIDTH)
    extents = {"B": 1, "Tq": length, "Tk": length, "Hq": heads, "Hk": heads, "D": WIDTH, "Dv": WIDTH}
    shapes = {"q": rows, "k": rows, "v": rows}
    if pattern == "nsa":
        extents["l"] = 32
        shapes |= dict.fromkeys(("kc", "vc", "ks", "vs", "kw", "vw"), rows)
        shapes |= {"pe_k": (32, heads, WIDTH), "pe_v": (32, heads, WIDTH), "gate": (1, length, heads, 3)}
    if pattern == "csa_hca":
        del extents["Hk"], extents["Dv"]
        extents |= {"m": COMPRESSION, "Di": WIDTH, "Ha": INDEXERS}
        shapes |= dict.fromkeys(("a", "b", "gate_a", "gate_b", "ia", "ib", "igate_a", "igate_b"), flat)
        shapes |= dict.fromkeys(("bias_a", "bias_b", "ibias_a", "ibias_b"), (COMPRESSION, WIDTH))
        shapes |= {"kv": (1, length, 1, WIDTH), "gamma": (WIDTH,), "igamma": (WIDTH,), "sink": (heads,),
                   "qi": (1, length, INDEXERS, WIDTH), "wi": (1, length, INDEXERS)}
    if pattern.startswith("lsel"):
        extents["R"] = ROUTES
        shapes["route"] = shapes["key"] = (1, length, ROUTES)
    if pattern == "lsel":
        extents["M"] = CENTROIDS
        shapes["centroids"] = (CENTROIDS, ROUTES)
    return extents, shapes


def order_of_growth(points):
    """Slope of log time over log length, for [(length, time), ..]."""
    xs = [math.log(length) for length, _ in points]
    ys = [math.log(time) for _, time in points]
    x0, y0 = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((x - x0) * (y - y0) for x, y in zip(xs, ys)) / sum((x - x0) ** 2 for x in xs)


def measure(pattern, length, heads, rounds):
    """Milliseconds, the least of the rounds."""
    import heddle_peer
    import numpy as np
    extents, shapes = problem_of(pattern, length, heads)
    random = np.random.default_rng(7)
    data = {name: random.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}
    results = {"o": shapes["q"], "y": shapes["q"], "lse": shapes["q"][:3]}
    call, _, _ = heddle_peer.kernel_of(ROOT / "patterns" / f"{pattern}.heddle", extents, {}, {}, results.get, "f32", data)
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1000 * min(times[1:])


def draw(series, path):
    """Log-log plot of {name: [(length, ms), ..]}."""
    points = [point for curve in series.values() for point in curve]
    lengths, times = [p[0] for p in points], [p[1] for p in points]
    left, top, width, height = 70, 20, 520, 340

    def span(values):
        low, high = math.log2(min(values)), math.log2(max(values))
        return low, max(high - low, 1)

    (x0, xs), (y0, ys) = span(lengths), span(times)
    across = lambda length: left + (math.log2(length) - x0) / xs * width
    up = lambda time: top + height - (math.log2(time) - y0) / ys * height
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 150}" height="{top + height + 50}" '
             'font-family="sans-serif" font-size="12">',
             f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="none" stroke="#888"/>']
    for length in sorted(set(lengths)):
        name = f"{length // 1024}K" if length >= 1024 else str(length)
        parts.append(f'<text x="{across(length):.1f}" y="{top + height + 18}" text-anchor="middle">{name}</text>')
    for time in (min(times), max(times)):
        parts.append(f'<text x="{left - 6}" y="{up(time) + 4:.1f}" text-anchor="end">{time:.3g} ms</text>')
    parts.append(f'<text x="{left + width / 2}" y="{top + height + 40}" text-anchor="middle">tokens</text>')
    for n, (name, curve) in enumerate(series.items()):
        colour = ("#1f5fa8", "#b3541e", "#3f7d3a")[n % 3]
        line = " ".join(f"{across(length):.1f},{up(time):.1f}" for length, time in curve)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{across(length):.1f}" cy="{up(time):.1f}" r="3" fill="{colour}"/>' for length, time in curve]
        grows = f", order {order_of_growth(curve):.2f}" if len(curve) > 1 else ""
        parts.append(f'<text x="{left + width + 8}" y="{up(curve[-1][1]) + 4:.1f}" fill="{colour}">{name}{grows}</text>')
    path.write_text("\n".join(parts) + "\n</svg>\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--pattern", default="lsel", choices=PATTERNS)
    parser.add_argument("--lengths", default=",".join(str(4096 << n) for n in range(7)))
    parser.add_argument("--beside", default="causal_softmax", help="a second pattern, or nothing", choices=["", *PATTERNS])
    parser.add_argument("--beside-to", type=int, default=16384, help="its longest length")
    parser.add_argument("--heads", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=pathlib.Path, help="default: BUILD/bench/lengths_PATTERN (.json, .svg)")
    options = parser.parse_args()
    if importlib.util.find_spec("numpy") is None and sys.executable != "/usr/bin/python3":
        os.execv("/usr/bin/python3", ["/usr/bin/python3", *sys.argv])  # Debian's, which set-up gave numpy
    import heddle_peer
    heddle_peer.start(options.threads, options.build.resolve())
    series = {}
    lengths = [int(length) for length in options.lengths.split(",")]
    for pattern in filter(None, dict.fromkeys([options.pattern, options.beside])):
        for length in lengths:
            if pattern != options.pattern and length > options.beside_to:
                continue
            taken = measure(pattern, length, options.heads, options.rounds)
            series.setdefault(pattern, []).append((length, taken))
            print(f"{pattern:16} {length:8} tokens {taken:12.3f} ms {1000 * taken / length:9.3f} us a token", flush=True)
    orders = {name: {"all": order_of_growth(curve), "last": order_of_growth(curve[-2:])}
              for name, curve in series.items() if len(curve) > 1}
    for name, order in orders.items():
        print(f"{name:16} grows as length^{order['all']:.2f}; between the last two lengths ^{order['last']:.2f}")
    out = options.out or options.build / "bench" / f"lengths_{options.pattern}"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps({"times_ms": series, "order": orders}, indent=1) + "\n")
    draw(series, out.with_suffix(".svg"))
    print(f"wrote {out.with_suffix('.json')} and {out.with_suffix('.svg')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
