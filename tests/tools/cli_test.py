#!/usr/bin/env python3
"""The command line from outside: results, --json, exit codes, and what bad input brings.

Usage: cli_test.py BUILD_FOLDER. Ends with `heddle-test: N passed, N failed, N skipped`.
"""
import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import traceback

BUILD = pathlib.Path(sys.argv[1]).resolve()
HEDDLE = BUILD / "bin" / "heddle"
SCRATCH = pathlib.Path(tempfile.mkdtemp(prefix="heddle-cli-test-"))
SMALL = "B=1,Hq=4,Hk=2,T=77,D=72"
CASES = []


def case(function):
    CASES.append(function)
    return function


def heddle(*words, cache=None, expect=0, env=None):
    """Runs the tool; the exit code must be `expect`. Returns (stdout, stderr)."""
    environment = dict(os.environ, HEDDLE_CACHE=str(cache or SCRATCH / "cache"), **(env or {}))
    done = subprocess.run([str(HEDDLE), *words], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == expect, (
        f"heddle {' '.join(words)}: exit code {done.returncode}, expected {expect}\n{done.stdout}\n{done.stderr}")
    return done.stdout, done.stderr


def refused(*words, says, cache=None, env=None):
    """The command fails with one clear message that holds all of `says`; nothing crashes."""
    out, err = heddle(*words, cache=cache, expect=1, env=env)
    for piece in says:
        assert piece in err, f"heddle {' '.join(words)}: '{piece}' is not in: {err}"
    return err


def npy(path, shape, numbers):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {tuple(shape)}, }}"
    header += " " * ((64 - (10 + len(header) + 1) % 64) % 64) + "\n"
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()
    path.write_bytes(data + struct.pack(f"<{len(numbers)}f", *numbers))
    return path


# ---- what works -------------------------------------------------------------------------------


GPU = ["causal_softmax", "--shape", "B=1,Hq=4,Hk=2,T=777,D=72", "--dtype", "bf16", "--target", "sm_90", "--quiet"]


class Skip(Exception):
    """What this computer lacks."""


def gpu_facts(*words):
    """explain for a GPU target; the case is skipped where this computer has no NVRTC."""
    done = subprocess.run([str(HEDDLE), "explain", *GPU, "--json", *words], capture_output=True, text=True, timeout=300,
                          env=dict(os.environ, HEDDLE_CACHE=str(SCRATCH / "cache")))
    if "found no NVRTC" in done.stdout + done.stderr:
        raise Skip("no NVRTC on this computer")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@case
def explain_tells_registers_and_occupancy_of_a_gpu_that_is_not_here():
    facts = gpu_facts("--sass")
    kernel = facts["kernels"][0]
    assert 32 <= kernel["registers"] <= 255 and kernel["threads"] % 32 == 0, kernel
    assert kernel["spill_store_bytes"] == 0 and kernel["stack_bytes"] == 0, kernel
    assert kernel["occupancy"]["blocks"] >= 1 and 0 < kernel["occupancy"]["share"] <= 1, kernel
    assert kernel["occupancy"]["limit"] in ("registers", "shared memory", "warps", "blocks"), kernel
    main = [loop for loop in kernel["loops"] if loop["main"]]
    if main:
        assert main[0]["classes"]["mma"] > 0 and 0 < main[0]["other_per_mma"] < 20, main
        assert sum(main[0]["classes"].values()) == main[0]["instructions"]
    else:
        assert "nvdisasm" in kernel["no_loops"], kernel
    text, _ = heddle("explain", *GPU)
    assert f"{kernel['registers']} registers" in text and "no spills" in text, text


@case
def explain_counts_what_a_gpu_kernel_executes():
    words = ["causal_softmax", "--shape", "B=2,Hq=4,Hk=2,T=100,D=64", "--dtype", "bf16", "--target", "sm_80", "--quiet"]
    gpu_facts()
    assert "counts" not in json.loads(heddle("explain", *words, "--json")[0])  # nobody counted yet
    one = json.loads(heddle("explain", *words, "--counts", "--json")[0])
    assert one["counts"]["from"] == "the PTX machine" and one["estimate"]["ms"] > 0 and one["estimate"]["bound"], one
    heddle("verify", *words)
    two = json.loads(heddle("explain", *words, "--json")[0])
    assert two["counts"]["from"] == "the certificate of this shape", two["counts"]
    for a, b in zip(one["counts"]["launches"], two["counts"]["launches"], strict=True):
        assert a["instructions"] == b["instructions"] and a["classes"] == b["classes"], (a, b)
        assert a["traffic"] == b["traffic"] and a["traffic"]["tensor_flops"] > 0, (a, b)
    other = [w.replace("T=100", "T=101") for w in words]
    assert "counts" not in json.loads(heddle("explain", *other, "--json")[0])  # of another shape
    text, _ = heddle("explain", *words)
    assert "bank conflicts" in text and "sectors of 32 bytes" in text and "from these counts, bound by" in text, text


@case
def compile_for_a_gpu_writes_code_text_resources_and_a_launcher():
    gpu_facts()
    folder = SCRATCH / "gpu"
    heddle("compile", *GPU, "--emit-launcher", "-o", str(folder))
    description = json.loads((folder / "kernel.json").read_text())
    assert description["target"] == "sm_90" and description["resources"][0]["registers"] > 0
    assert (folder / description["image"]).read_bytes()[:4] == b"\x7fELF"
    text = (folder / "causal_softmax.cu").read_text()
    assert "#include" not in text and description["launches"][0]["entry"] in text
    assert ".target sm_90" in (folder / "causal_softmax.ptx").read_text()
    if shutil.which("clang++-22"):
        subprocess.run(["clang++-22", "-std=c++17", "-Wall", "-Werror", "-fsyntax-only", str(folder / "launch.cpp")],
                       check=True)
    refused("compile", "causal_softmax", "--shape", SMALL, "--emit-launcher", "-o", str(folder),
            says=["--emit-launcher", "sm_90"])


@case
def tiles_by_tma_are_compiled_shown_and_verified():
    gpu_facts()
    words = [*GPU, "--schedule", "TMA=1,BN=64"]
    folder = SCRATCH / "tma"
    heddle("compile", *words, "--emit-launcher", "-o", str(folder))
    kernel = json.loads((folder / "kernel.json").read_text())
    k = next(m for m in kernel["tensor_maps"] if m["tensor"] == "k")
    assert [d["extent"] for d in k["dims"]] == [8, "Tk", 9, "Hk", "B"] and k["swizzle_bytes"] == 0, k
    assert [d["box"] for d in k["dims"]] == [8, 64, 10, 1, 1], k
    maps = [a for a in kernel["arguments"] if a["kind"] == "tensor map"]
    assert len(maps) == 3 and all(a["offset"] % 64 == 0 for a in maps), maps
    assert kernel["block_bytes"] == maps[-1]["offset"] + 128, kernel["block_bytes"]
    if shutil.which("clang++-22"):
        subprocess.run(["clang++-22", "-std=c++17", "-Wall", "-Werror", "-fsyntax-only", str(folder / "launch.cpp")],
                       check=True)
    layouts, _ = heddle("show", *words, "--after", "layouts")
    assert "(64,(8,10)):(8,(1,512))" in layouts, layouts[:2000]
    # Through the driver's own functions: maps are made for the call.
    small = ["causal_softmax", "--shape", "B=2,Hq=4,Hk=2,T=77,D=80", "--dtype", "f16", "--target", "sm_120", "--quiet"]
    out, _ = heddle("verify", *small, "--schedule", "TMA=1", "--copies", "random")
    assert "verdict: clean, numbers right" in out, out
    refused("show", *[w.replace("sm_90", "sm_80") for w in words], "--after", "cuda", says=["TMA=1", "TMA=0"])
    refused("show", "paged_kv", "--shape", "B=1,Hq=2,Hk=2,Tq=7,NP=8,page=16,M=4,D=64", "--dtype", "bf16", "--target",
            "sm_90", "--schedule", "TMA=1", "--after", "cuda", says=["TMA cannot copy", "pages", "TMA=0"])


@case
def build_for_a_gpu_makes_a_bundle_of_cubins():
    gpu_facts()
    shapes = SCRATCH / "shapes.txt"
    shapes.write_text("B=1,Hq=4,Hk=2,T=777,D=72,dtype=bf16\n")
    bundle = SCRATCH / "gpu.bundle"
    words = ["build", "--patterns", "causal_softmax", "--shapes", str(shapes), "-o", str(bundle), "--quiet"]
    made = json.loads(heddle(*words, "--for", "sm_90", "--json")[0])
    assert made["kernels"] and all(k["target"] == "sm_90" for k in made["kernels"]), made
    assert all(k["features"] == ["sm_90"] and k["form"] == "attention" for k in made["kernels"]), made
    assert bundle.read_bytes().count(b"\x7fELF") == len(made["kernels"])
    refused(*words, "--for", "sm_77", says=["sm_77", "heddle machines"])


@case
def absorbed_mla_of_deepseek_runs_as_cuda():
    gpu_facts()
    shape = "Tq=1,Tk=70,Hq=2,Dn=8,Dr=64,Dc=512,D=576,Dv=8"  # 512 columns of values: two launches of 256
    out, _ = heddle("verify", "mla", "--shape", shape, "--dtype", "bf16", "--target", "sm_80", "--quiet")
    assert "split_from256" in out and "verdict: clean, numbers right" in out, out
    decode = ["mla", "--shape", shape.replace("Hq=2", "Hq=32"), "--dtype", "bf16", "--target", "sm_80", "--quiet"]
    text, _ = heddle("show", *decode, "--after", "cuda")
    assert "split: grid (2, ceildiv(Tk, 512), B)" in text, text[:2000]  # 16 of the 32 heads a tile


@case
def tune_for_a_gpu_that_is_not_here_ranks_by_estimate_and_goes_on():
    gpu_facts()
    cache = SCRATCH / "gpu-cache"
    out, _ = heddle("tune", *GPU, "--budget", "2", "--json", cache=cache)
    first = json.loads(out)
    assert first["estimate"] and "H100" in first["machine"], first
    assert first["compiled"] == 2 and first["reused"] == 0, first
    for candidate in first["candidates"]:
        assert ("refusal" in candidate) != (candidate.get("estimated_ms", 0) > 0), candidate
    out, _ = heddle("tune", *GPU, "--budget", "3", cache=cache)
    assert "nothing was run" in out and "1 compiled, 2 from the store" in out, out
    out, _ = heddle("tune", *GPU, "--budget", "3", "--counts", "1", "--json", cache=cache)
    counted = [c for c in json.loads(out)["candidates"] if "static_ms" in c]
    assert len(counted) == 1 and counted[0]["schedule"] == json.loads(out)["winner"], counted
    refused("run", *GPU, says=["sm_90", "cpu"])


@case
def a_gpu_that_is_not_there_is_refused_clearly():
    refused("run", "causal_softmax", "--shape", SMALL, "--device", "gpu", says=["found no device 'gpu'", "cuda[:N]"])
    if not pathlib.Path("/dev/nvidia0").exists():
        refused("run", "causal_softmax", "--shape", SMALL, "--device", "cuda:0", says=["CUDA driver"])


@case
def every_command_has_help():
    out, _ = heddle("--help")
    for command in "patterns models machines show compile run tune bench explain cache".split():
        assert command in out
        text, _ = heddle(command, "--help")
        assert len(text.splitlines()) > 5, command


@case
def version_is_printed():
    out, _ = heddle("--version")
    assert out.startswith("heddle 0."), out


@case
def the_library_is_listed_with_what_each_pattern_runs_as():
    patterns = json.loads(heddle("patterns", "--json")[0])
    names = {p["name"] for p in patterns}
    assert {"causal_softmax", "gated_deltanet", "nsa", "power_retention"} <= names
    for p in patterns:
        assert p["title"] and p["source"] and p["legal_forms"], p["name"]
        assert p["runs_as"] or p["refused"], p["name"]
        assert not any(reason.startswith("not judged") for reason in p["refused"].values()), p
    runs = {p["name"] for p in patterns if p["runs_as"] == ["attention"]}
    assert {"causal_softmax", "alibi", "sliding_window", "strided"} <= runs, runs
    assert "gated_deltanet" not in runs
    for_gpu = {p["name"]: p for p in json.loads(heddle("patterns", "--target", "sm_80", "--json")[0])}
    assert for_gpu["kv_int8"]["runs_as"] == ["attention"], for_gpu["kv_int8"]
    lost = {p["name"] for p in patterns if set(p["runs_as"]) - set(for_gpu[p["name"]]["runs_as"])}
    assert all(for_gpu[name]["refused"] for name in lost), lost


@case
def models_and_machines_are_listed():
    models = json.loads(heddle("models", "--json")[0])
    assert {"llama-3-8b", "gemma-2-9b", "gpt-oss-20b", "deepseek-v3", "mamba-2-2.7b"} <= {m["name"] for m in models}
    for model in models:  # lengths are all that a layer asks for
        for layer in model["kinds"]:
            heddle("show", "--model", model["name"], "--layer", layer["name"], "--shape", "T=777", "--after", "form")
    machines = json.loads(heddle("machines", "--json")[0])
    assert "host" in {m["name"] for m in machines}


@case
def run_checks_itself_against_the_definition():
    for pattern in ["causal_softmax", "dense_softmax", "sliding_window", "softcap"]:
        out = json.loads(heddle("run", pattern, "--shape", SMALL, "--check", "--json")[0])
        assert out["check"]["passed"] is True, out
        assert out["check"]["rows"] == 4 * 77, out
    for form in ["attention", "recurrent", "chunked"]:  # bounds of gates below 1
        heddle("run", "hgrn2", "--shape", "B=1,H=2,T=130,K=16,V=24", "--form", form, "--check")


@case
def odd_lengths_work():
    for length in [0, 1, 7, 130]:
        heddle("run", "causal_softmax", "--shape", f"B=2,Hq=2,Hk=1,T={length},D=80,Dv=96", "--check")


@case
def a_tensor_file_gives_what_the_formula_says():
    # One query that sees two keys with scores 0 and ln 3: weights 1/4 and 3/4.
    q = npy(SCRATCH / "q.npy", (1, 1, 1, 1), [1.0])
    k = npy(SCRATCH / "k.npy", (1, 2, 1, 1), [0.0, 1.0986122886681098])
    v = npy(SCRATCH / "v.npy", (1, 2, 1, 1), [4.0, 8.0])
    o = SCRATCH / "o.npy"
    heddle("run", "dense_softmax", "--dtype", "f32", "--input", f"q={q},k={k},v={v}", "--output", f"o={o}")
    raw = o.read_bytes()
    assert abs(struct.unpack("<f", raw[-4:])[0] - 7.0) < 1e-5


@case
def the_definition_of_any_pattern_can_be_evaluated():
    q, k = npy(SCRATCH / "q.npy", (1, 1, 1, 1), [1.0]), npy(SCRATCH / "k.npy", (1, 2, 1, 1), [0.0, 1.0986122886681098])
    v, o = npy(SCRATCH / "v.npy", (1, 2, 1, 1), [4.0, 8.0]), SCRATCH / "o.npy"
    out = json.loads(heddle("run", "dense_softmax", "--dtype", "f32", "--input", f"q={q},k={k},v={v}", "--output",
                            f"o={o}", "--definition", "--json")[0])
    assert out["definition"] is True
    assert abs(struct.unpack("<d", o.read_bytes()[-8:])[0] - 7.0) < 1e-7  # ln 3 came as f32
    heddle("run", "gated_deltanet", "--shape", "B=1,Hk=1,Hv=2,T=7,K=8,V=8", "--dtype", "f32", "--definition")
    refused("run", "dense_softmax", "--shape", SMALL, "--definition", "--check", says=["expected one of them"])


@case
def a_second_process_uses_the_store():
    cache = SCRATCH / "second"
    first = json.loads(heddle("run", "causal_softmax", "--shape", SMALL, "--json", cache=cache)[0])
    second = json.loads(heddle("run", "causal_softmax", "--shape", SMALL, "--json", cache=cache)[0])
    assert first["cached"] is False and second["cached"] is True


@case
def the_same_seed_gives_the_same_bits_on_any_number_of_threads():
    for shape in [SMALL, "B=1,Hq=8,Hk=2,Tq=1,Tk=3001,D=64"]:
        files = []
        for threads in ["1", "2", "3"]:
            o = SCRATCH / f"o{threads}.npy"
            heddle("run", "dense_softmax", "--shape", shape, "--threads", threads, "--seed", "7", "--output", f"o={o}")
            files.append(o.read_bytes())
        assert files[0] == files[1] == files[2], shape


@case
def a_pattern_file_of_ones_own_runs():
    path = SCRATCH / "mine.heddle"
    path.write_text("""// My own: causal, distance penalty.
pattern.def @mine(%q: seq<Tq x Hq x D>, %k: seq<Tk x Hk x D>, %v: seq<Tk x Hk x Dv>, slope = 0.125) {
  %o, %lse = mix %q, %k, %v
    support (i, j) { j <= i and i - j < 50 }
    score (s, i, j) { s * rsqrt(D) - slope * (i - j) }
    weight exp norm sum
  return %o, %lse
}
""")
    heddle("run", str(path), "--shape", SMALL, "--param", "slope=0.5", "--check")


@case
def every_station_can_be_shown():
    for station in "pattern form tile layouts vector llvm asm".split():
        out, _ = heddle("show", "causal_softmax", "--shape", SMALL, "--after", station)
        assert len(out.splitlines()) > 5, station


@case
def tiles_are_counted():
    out = json.loads(heddle("show", "causal_softmax", "--shape", "B=1,Hq=1,Hk=1,T=777,D=64", "--tiles", "--json")[0])
    assert out["exact_pairs"] == 777 * 778 // 2
    assert out["full_pairs"] <= out["exact_pairs"] <= out["visited_pairs"]
    assert out["visited_pairs"] < 1.5 * out["exact_pairs"]


@case
def compile_writes_code_and_its_description():
    folder = SCRATCH / "out"
    heddle("compile", "causal_softmax", "--shape", SMALL, "-o", str(folder))
    kernel = json.loads((folder / "kernel.json").read_text())
    assert kernel["launches"] and kernel["arguments"] and kernel["tensors"]
    assert (folder / kernel["image"]).read_bytes()[:4] == b"\x7fELF"


@case
def bench_prints_one_object():
    out = json.loads(heddle("bench", "causal_softmax", "--shape", SMALL, "--json")[0])
    for key in "pattern device shape dtype threads form schedule median_ms min_ms spread gflops form_gflops gbps jit_ms cached".split():
        assert key in out, key


@case
def tune_finds_a_winner_that_the_next_run_uses():
    cache = SCRATCH / "tuned"
    sweep = json.loads(heddle("tune", "causal_softmax", "--shape", SMALL, "--budget", "6", "--json", cache=cache)[0])
    assert sweep["winner"] and len(sweep["candidates"]) >= 2
    again = json.loads(heddle("tune", "causal_softmax", "--shape", SMALL, "--budget", "6", "--json", cache=cache)[0])
    assert again["measured"] == 0 and again["winner"] == sweep["winner"]
    run = json.loads(heddle("run", "causal_softmax", "--shape", SMALL, "--json", cache=cache)[0])
    assert run["schedule"] == sweep["winner"] and run["cached"] is True


@case
def tune_takes_run_time_parameters_and_constants():
    sweep = heddle("tune", "softcap_window", "--shape", SMALL, "--param", "W=20,cap=50", "--budget", "2", "--json")[0]
    assert json.loads(sweep)["measured"] == 2


@case
def explain_names_form_cost_and_refusals():
    out = json.loads(heddle("explain", "causal_softmax", "--shape", "B=1,Hq=32,Hk=8,T=1537,D=128", "--json")[0])
    assert out["form"] == "attention"
    assert out["flops"] == 2 * 32 * (1537 * 1538 // 2) * 256
    assert {r["form"] for r in out["refused"]} >= {"recurrent", "chunked"}


# ---- what is refused --------------------------------------------------------------------------


@case
def scans_are_explained_and_timed():
    shape = "B=1,Hk=2,Hv=2,T=20,K=8,V=8"
    out = json.loads(heddle("explain", "gated_deltanet", "--shape", shape, "--json")[0])
    assert out["form"] == "chunked" and any("tiles not counted" in note for note in out["notes"])
    assert json.loads(heddle("bench", "gated_deltanet", "--shape", shape, "--json")[0])["median_ms"] > 0


@case
def unknown_names_bring_the_nearest():
    refused("run", "causal_sofmax", "--shape", SMALL, says=["causal_sofmax", "did you mean 'causal_softmax'"])
    refused("run", "--model", "llama-3-9b", says=["llama-3-9b", "did you mean"])
    refused("run", "causal_softmax", "--shape", SMALL, "--target", "sm_12", says=["sm_12"])


@case
def shapes_that_do_not_fit_are_named():
    refused("run", "causal_softmax", "--shape", "B=1,Hq=3,Hk=2,T=5,D=8", says=["Hq", "3", "2"])
    refused("run", "causal_softmax", "--shape", "B=1,T=-5,D=8,Hq=1,Hk=1", says=["T=-5", "at least 0"])
    refused("run", "causal_softmax", "--shape", SMALL + ",Q=3", says=["Q"])
    refused("run", "causal_softmax", "--shape", "T=5", says=["D"])
    q = npy(SCRATCH / "q2.npy", (1, 4, 1, 8), [0.0] * 32)
    k = npy(SCRATCH / "k2.npy", (1, 4, 1, 9), [0.0] * 36)
    refused("run", "dense_softmax", "--dtype", "f32", "--input", f"q={q},k={k},v={k}", says=["D", "8", "9"])


@case
def numbers_that_are_none_are_refused():
    for text in ["nan", "inf", "-inf"]:
        refused("run", "softcap", "--shape", SMALL, "--param", f"cap={text}", says=["finite"])
    refused("run", "sliding_window", "--shape", SMALL, "--param", "X=4", says=["X", "W"])
    refused("run", "causal_softmax", "--shape", SMALL, "--dtype", "f12", says=["f12", "bf16"])


@case
def files_that_are_none_are_refused():
    cut = npy(SCRATCH / "cut.npy", (1, 4, 1, 8), [0.0] * 32)
    cut.write_bytes(cut.read_bytes()[:-5])
    refused("run", "dense_softmax", "--input", f"q={cut}", says=["cut.npy", "cut short"])
    prose = SCRATCH / "prose.heddle"
    prose.write_text("It was a dark and stormy night.\n")
    refused("run", str(prose), "--shape", SMALL, says=["prose.heddle:1:"])
    binary = SCRATCH / "binary.heddle"
    binary.write_bytes(bytes(range(256)) * 20)
    refused("run", str(binary), "--shape", SMALL, says=["binary.heddle"])
    refused("run", str(SCRATCH / "none.heddle"), "--shape", SMALL, says=["none.heddle"])


@case
def mistakes_in_a_pattern_say_where():
    path = SCRATCH / "wrong.heddle"
    path.write_text("""pattern.def @wrong(%q: seq<Tq x Hq x D>, %k: seq<Tk x Hk x D>, %v: seq<Tk x Hk x Dv>) {
  %o = mix %q, %k, %v
    support (i, j) { j <= i and widow > 3 }
    weight exp norm sum
  return %o
}
""")
    refused("run", str(path), "--shape", SMALL, says=["wrong.heddle:3:", "widow"])


@case
def schedules_that_do_not_fit_are_refused():
    refused("run", "causal_softmax", "--shape", SMALL, "--schedule", "BM=7777777", says=["BM"])
    refused("run", "causal_softmax", "--shape", SMALL, "--schedule", "WARPS=4", says=["WARPS"])


@case
def explain_counts_the_tiles_of_a_graph_with_workspace():
    out, _ = heddle("explain", "power_attention", "--shape", "B=1,Hq=2,Hk=2,T=64,K=16,V=16", "--json")
    assert json.loads(out)["tiles"]["visited_pairs"] > 0


@case
def explain_counts_pairs_of_full_caches():
    out = json.loads(heddle("explain", "ring_kv", "--shape", "B=2,Hq=4,Hk=2,Tq=1,R=100,D=16", "--param", "W=50", "--json")[0])
    assert out["pairs"] == 2 * 4 * (50 + 4), out["pairs"]
    assert out["state_bytes"] == 2 * (16 + 16) * 100 * 4, out["state_bytes"]
    out = json.loads(heddle("explain", "paged_kv", "--shape", "B=2,Hq=4,Hk=2,Tq=1,NP=3,page=16,M=5,D=16", "--json")[0])
    assert out["pairs"] == 2 * 4 * 80, out["pairs"]


@case
def what_no_form_lowers_yet_says_why():
    refused("run", "gated_deltanet", "--form", "attention", "--shape", "B=1,T=20,Hk=2,Hv=2,K=8,V=8",
            says=["unsupported", "update delta"])


@case
def the_store_may_be_read_only_full_or_damaged():
    if os.geteuid() == 0:
        blocked = SCRATCH / "file-not-folder"
        blocked.write_text("x")
        cache = blocked / "cache"
    else:
        cache = SCRATCH / "readonly"
        cache.mkdir(mode=0o500)
    _, err = heddle("run", "causal_softmax", "--shape", SMALL, "--check", cache=cache)
    assert err.count("store") >= 1, err

    damaged = SCRATCH / "damaged"
    heddle("run", "causal_softmax", "--shape", SMALL, cache=damaged)
    entries = [p for p in damaged.rglob("*") if p.is_file()]
    assert entries
    for entry in entries:
        entry.write_bytes(entry.read_bytes()[: max(1, entry.stat().st_size // 2)])
    heddle("run", "causal_softmax", "--shape", SMALL, "--check", cache=damaged)


@case
def errors_are_json_too():
    out, _ = heddle("run", "causal_sofmax", "--json", expect=1)
    assert json.loads(out)["error"]["code"] == "not found"


def main():
    passed = failed = skipped = 0
    for function in CASES:
        try:
            function()
            passed += 1
        except Skip as reason:
            skipped += 1
            print(f"skipped: {function.__name__}: {reason}")
        except Exception:  # noqa: BLE001 - every failure is reported
            failed += 1
            print(f"FAILED {function.__name__}\n{traceback.format_exc()}")
    shutil.rmtree(SCRATCH, ignore_errors=True)
    print(f"heddle-test: {passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
