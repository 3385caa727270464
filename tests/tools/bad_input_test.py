#!/usr/bin/env python3
"""Input that no kernel may see, from outside: offsets, pages, states, decays, forms, extents. Each is refused with
what was found and what was expected before anything runs, on the CPU and on the PTX machine alike.

Usage: bad_input_test.py BUILD_FOLDER. Ends with `heddle-test: N passed, N failed, N skipped`.
"""
import struct
import sys

import cli_test
from cli_test import SCRATCH, heddle, npy, refused

CASES = cli_test.CASES = []
case = cli_test.case


def numbers(count, seed=1):
    """Some numbers between -1 and 1."""
    return [((n * 7919 + seed * 104729) % 2001) / 1000 - 1 for n in range(count)]


def floats(name, shape, value=None):
    count = 1
    for extent in shape:
        count *= extent
    return npy(SCRATCH / f"{name}.npy", shape, [value] * count if value is not None else numbers(count))


def integers(name, values, shape=None):
    """An .npy file of i4."""
    path = floats(name, shape or (len(values),))
    head = path.read_bytes()[: -4 * len(values)].replace(b"'<f4'", b"'<i4'")
    path.write_bytes(head + struct.pack(f"<{len(values)}i", *values))
    return path


def devices():
    """Words that choose a device; GPUs have 16-bit operands."""
    yield ["--dtype", "f32"]
    try:
        cli_test.gpu_facts()
        yield ["--dtype", "bf16", "--device", "ptx:80"]
    except cli_test.Skip:
        pass


def run_on(device, pattern, tensors, *words):
    return ["run", pattern, "--quiet", "--input", ",".join(f"{n}={p}" for n, p in tensors.items()), *device, *words]


@case
def offsets_of_packed_sequences_begin_at_0_never_fall_and_end_inside():
    q = floats("packed", (10, 2, 16))
    for device in devices():
        tensors = dict(q=q, k=q, v=q)
        for offsets, says in [([1, 3, 10], ["cu_q[0] = 1", "expected 0"]),
                              ([0, 8, 3], ["cu_q[2] = 3 after 8", "never fall"]),
                              ([0, 3, 12], ["cu_q[2] = 12", "at most 10"])]:
            cu = integers("cu", offsets)
            refused(*run_on(device, "varlen", tensors | dict(cu_q=cu, cu_k=cu)), says=says)
        cu = integers("cu", [0, 0, 3, 3, 10])  # empty sequences
        heddle(*run_on(device, "varlen", tensors | dict(cu_q=cu, cu_k=cu), "--check"))


@case
def pages_lie_in_the_pool():
    q, k = floats("q", (1, 3, 4, 16)), floats("pool", (5, 4, 2, 16))
    for device in devices():
        for pages, length, says in [([0, 1, 9], 10, ["page 9", "entry 2", "sequence 0", "expected 0 to 4"]),
                                    ([0, -1, 2], 10, ["page -1", "entry 1"]),
                                    ([0, 1, 4], 13, ["length[0] = 13", "expected 0 to 12"])]:
            tensors = dict(q=q, k=k, v=k, table=integers("table", pages, (1, 3)), length=integers("length", [length]))
            refused(*run_on(device, "paged_kv", tensors), says=says)
        tensors = dict(q=q, k=k, v=k, table=integers("table", [0, 1, 99], (1, 3)), length=integers("length", [8]))
        heddle(*run_on(device, "paged_kv", tensors, "--check"))  # the last page holds no key


SHAPE = ["--shape", "B=1,T=7,H=2,K=16,V=16", "--dtype", "f32", "--quiet"]


@case
def a_state_of_another_size_type_or_pattern_is_refused():
    refused("run", "retnet", *SHAPE, "--input", f"s0={floats('s', (1, 2, 16, 15))}", says=["s0", "15", "16"])
    refused("run", "retnet", *SHAPE, "--input", f"s0={floats('s', (2, 16, 16))}", says=["s0", "4 dimensions"])
    whole = integers("whole", [1] * 512, (1, 2, 16, 16))
    refused("run", "retnet", *SHAPE, "--input", f"s0={whole}", says=["s0 of type i32", "expected f32"])
    state = SCRATCH / "state.safetensors"
    heddle("run", "lightning", *SHAPE, "--output", f"s={state}")
    refused("run", "retnet", *SHAPE, "--input", f"s0={state}", says=["'lightning s'", "expected 'retnet s'"])


@case
def a_state_saved_by_one_form_goes_on_in_another():
    """A run in two halves, chunked then recurrent and back, is the run in one."""
    shape = lambda length: ["--shape", f"B=1,T={length},H=2,K=16,V=16", "--dtype", "f32", "--quiet"]
    files = {name: floats(f"all_{name}", (1, 12, 2, 16)) for name in "qkv"}
    gate = floats("gate", (1, 12, 2, 16), 1.0)
    s0 = floats("none", (1, 2, 16, 16), 0.0)

    def rows(path):
        return list(struct.iter_unpack("<32f", path.read_bytes()[-12 * 128 :]))

    def part(first, last):
        return {n: npy(SCRATCH / f"part_{n}.npy", (1, last - first, 2, 16), [x for r in rows(p)[first:last] for x in r])
                for n, p in files.items() | {("gate", gate)}}

    def run(form, first, last, state, *outputs):
        tensors = part(first, last) | dict(s0=state)
        heddle("run", "retnet", *shape(last - first), "--form", form, "--param", f"start={first}", "--check", "--input",
               ",".join(f"{n}={p}" for n, p in tensors.items()), "--output", ",".join(outputs))

    whole, kept, again = SCRATCH / "whole.npy", SCRATCH / "kept.safetensors", SCRATCH / "again.npy"
    run("chunked", 0, 12, s0, f"s={whole}")
    for one, other in [("chunked", "recurrent"), ("recurrent", "chunked"), ("attention", "recurrent")]:
        run(one, 0, 5, s0, f"s={kept}")
        run(other, 5, 12, kept, f"s={again}")
        pairs = zip(struct.iter_unpack("<f", whole.read_bytes()[-2048:]), struct.iter_unpack("<f", again.read_bytes()[-2048:]))
        assert max(abs(x[0] - y[0]) for x, y in pairs) < 1e-5, (one, other)


@case
def integers_come_from_integers():
    q = floats("packed", (10, 2, 16))
    refused("run", "varlen", "--dtype", "f32", "--input", f"q={q},k={q},v={q},cu_q={floats('cu', (3,), 0.5)}",
            says=["cu_q of type f32", "expected i32"])


@case
def a_log_decay_is_at_most_0():
    for value, found in [(0.25, "0.25"), (float("nan"), "nan")]:
        g = floats("g", (1, 7, 2), value)
        refused("run", "log_linear", "--shape", "B=1,T=7,H=2,K=16,V=16,L=4", "--dtype", "f32", "--quiet", "--input",
                f"g={g}", says=["g[0, 0, 0] = " + found, "0 or less"])


@case
def a_choice_of_more_than_there_are_takes_all():
    heddle("run", "moba", "--shape", "B=1,T=77,Hq=2,Hk=2,D=16", "--param", "c=16,K=100", "--check", "--quiet")
    heddle("run", "mc_ssc", "--shape", "B=1,T=40,H=2,K=16,V=16", "--param", "W=8,top=90", "--check", "--quiet")


@case
def a_form_that_a_pattern_cannot_have_names_the_clause():
    words = ["--shape", "B=1,T=77,H=2,D=16", "--quiet"]
    for form in ["chunked", "recurrent"]:
        refused("run", "sliding_window", *words, "--form", form,
                says=[f"pattern sliding_window has no {form} form", "weight exp"])
    path = SCRATCH / "windowed.heddle"
    path.write_text("""pattern.def @windowed(%q: seq<T x H x D>, %k: seq<T x H x D>, %v: seq<T x H x D>) {
  %o = mix %q, %k, %v
    support (i, j) { j <= i and i - j < 9 }
    weight id  norm none  gives o
  return %o
}
""")
    heddle("run", str(path), *words, "--check")
    refused("run", str(path), *words, "--form", "chunked", says=["no chunked form", "support { j <= i and i - j < 9 }"])


@case
def extents_that_break_what_a_pattern_asks_for_are_refused():
    refused("run", "rope", "--shape", "B=1,T=9,H=2,D=15", "--quiet", says=["D mod 2 == 0", "rope"])
    refused("run", "gated_deltanet", "--shape", "B=1,T=9,Hv=3,Hk=2,K=16,V=16", "--quiet", says=["Hv mod Hk == 0"])
    refused("run", "kv_int4", "--shape", "B=1,T=9,H=2,D=16,PK=9,PV=8,NK=1,NV=1", "--quiet", says=["D == 2 * PK"])
    refused("run", "ring_kv", "--shape", "B=1,Tq=1,R=4,H=2,D=16", "--quiet", says=["keep < R"])


if __name__ == "__main__":
    sys.exit(cli_test.main())
