#!/usr/bin/env python3
"""`heddle ptx run` and `heddle ptx ops` from outside: arguments, results, findings, bad input.

Usage: ptx_test.py BUILD_FOLDER. Ends with `heddle-test: N passed, N failed, N skipped`.
"""
import ast
import json
import pathlib
import struct
import subprocess
import sys
import tempfile
import traceback

BUILD = pathlib.Path(sys.argv[1]).resolve()
HEDDLE = BUILD / "bin" / "heddle"
SCRATCH = pathlib.Path(tempfile.mkdtemp(prefix="heddle-ptx-test-"))
CASES = []


def case(function):
    CASES.append(function)
    return function


def ptx(*words, expect=0):
    done = subprocess.run([str(HEDDLE), "ptx", *map(str, words)], capture_output=True, text=True, timeout=120)
    assert done.returncode == expect, (
        f"heddle ptx {' '.join(map(str, words))}: exit code {done.returncode}, expected {expect}\n{done.stdout}\n{done.stderr}")
    return done.stdout, done.stderr


def refused(*words, says, expect=1):
    _, err = ptx(*words, expect=expect)
    for piece in says:
        assert piece in err, f"heddle ptx {' '.join(map(str, words))}: '{piece}' is not in: {err}"


FORMATS = {"<f4": "f", "<f8": "d", "<f2": "e", "<i4": "i", "<i8": "q", "|u1": "B", "<u2": "H", "<u4": "I"}


def save(name, descr, numbers, shape=None):
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape or (len(numbers),)}, }}"
    header += " " * ((64 - (10 + len(header) + 1) % 64) % 64) + "\n"
    path = SCRATCH / name
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() +
                     struct.pack(f"<{len(numbers)}{FORMATS[descr]}", *numbers))
    return path


def load(path):
    """(descr, shape, numbers) of a .npy file."""
    data = pathlib.Path(path).read_bytes()
    length = struct.unpack("<H", data[8:10])[0]
    header = ast.literal_eval(data[10:10 + length].decode())
    body = data[10 + length:]
    code = FORMATS[header["descr"]]
    return header["descr"], header["shape"], list(struct.unpack(f"<{len(body) // struct.calcsize(code)}{code}", body))


def kernel(name, params, body, version="8.0", target="sm_80", outside=""):
    path = SCRATCH / name
    path.write_text(f".version {version}\n.target {target}\n.address_size 64\n{outside}\n"
                    f".visible .entry kernel({params})\n{{\n{body}\nret;\n}}\n")
    return path


SCALE = """.reg .b32 %i, %n; .reg .f32 %x, %s; .reg .b64 %p, %q; .reg .pred %o;
mov.u32 %i, %ctaid.x; mov.u32 %n, %ntid.x; mul.lo.u32 %i, %i, %n; mov.u32 %n, %tid.x; add.u32 %i, %i, %n;
ld.param.u32 %n, [n]; setp.ge.u32 %o, %i, %n; @%o bra E;
ld.param.u64 %p, [x]; ld.param.u64 %q, [y]; ld.param.f32 %s, [s];
mad.wide.u32 %p, %i, 4, %p; mad.wide.u32 %q, %i, 4, %q; ld.global.f32 %x, [%p]; mul.f32 %x, %x, %s;
st.global.f32 [%q], %x; E:"""
SCALE_PARAMS = ".param .u64 x, .param .u64 y, .param .u32 n, .param .f32 s"


@case
def numbers_come_in_and_go_out():
    k = kernel("scale.ptx", SCALE_PARAMS, SCALE)
    x = save("x.npy", "<f4", [0.5 * i for i in range(100)], (4, 25))
    out = SCRATCH / "y.npy"
    text, _ = ptx("run", k, "--grid", "4", "--block", "32", "--arg", f"{x}:f32", "--arg", "zeros:400", "--arg", "90i32",
                  "--arg", "0.25f32", "--out", f"1={out}", "--out", f"0={SCRATCH / 'x2.npy'}")
    assert "warp instructions" in text, text
    assert load(out) == ("<f4", (100,), [0.125 * i if i < 90 else 0.0 for i in range(100)])
    assert load(SCRATCH / "x2.npy")[1] == (4, 25)
    report = json.loads(ptx("run", k, "--entry", "kernel", "--grid", "4,1,1", "--block", "32,1,1", "--arg", x, "--arg",
                            "zeros:400", "--arg", "100u32", "--arg", "2f32", "--check-races", "--counts", "--json")[0])
    assert report["verdict"] == "clean" and report["findings"] == [], report
    assert report["classes"]["global load"] == 4 and report["traffic"]["global_sectors"] == 26, report


@case
def every_element_type_is_rounded_or_kept():
    copy = (".reg .b64 %p, %q; .reg .b32 %i; .reg .b{0} %v; mov.u32 %i, %tid.x; ld.param.u64 %p, [x]; ld.param.u64 %q, [y];\n"
            "mad.wide.u32 %p, %i, {1}, %p; mad.wide.u32 %q, %i, {1}, %q; ld.global.b{0} %v, [%p]; st.global.b{0} [%q], %v;")
    x = save("t.npy", "<f4", [0.1, -3.3, 1000.0, 0.0])
    rounded = {"f32": [struct.unpack("f", struct.pack("f", v))[0] for v in (0.1, -3.3, 1000.0, 0.0)],
               "f16": [struct.unpack("e", struct.pack("e", v))[0] for v in (0.1, -3.3, 1000.0, 0.0)],
               "bf16": [0.10009765625, -3.296875, 1000.0, 0.0], "e4m3": [0.1015625, -3.25, 448.0, 0.0],
               "e5m2": [0.09375, -3.5, 1024.0, 0.0], "f64": [struct.unpack("f", struct.pack("f", v))[0] for v in (0.1, -3.3, 1000.0, 0.0)]}
    for name, numbers in rounded.items():
        bits = {"f32": 32, "f16": 16, "bf16": 16, "f64": 64}.get(name, 8)
        body = copy.format(bits, bits // 8) if bits > 8 else copy.format(16, 1).replace(".b16 %v, [", ".b8 %v, [").replace("st.global.b16", "st.global.b8")
        k = kernel("copy.ptx", ".param .u64 x, .param .u64 y", body)
        out = SCRATCH / "o.npy"
        ptx("run", k, "--block", "4", "--arg", f"{x}:{name}", "--arg", f"zeros:{bits // 2}:{name}", "--out", f"1={out}")
        assert load(out)[2] == numbers, (name, load(out), numbers)
    for descr, name, numbers in (("<i4", "i32", [1, -2, 3, 4]), ("<i8", "i64", [1 << 40, -2, 3, 4]), ("|u1", "u8", [1, 255, 3, 4]),
                                 ("<u2", "u16", [1, 65535, 3, 4])):
        x = save("int.npy", descr, numbers)
        bits = {"i32": 32, "i64": 64, "u8": 8, "u16": 16}[name]
        body = copy.format(bits, bits // 8) if bits > 8 else copy.format(16, 1).replace(".b16 %v, [", ".b8 %v, [").replace("st.global.b16", "st.global.b8")
        k = kernel("copy.ptx", ".param .u64 x, .param .u64 y", body)
        ptx("run", k, "--block", "4", "--arg", f"{x}:{name}", "--arg", f"zeros:{bits // 2}:{name}", "--out", f"1={out}")
        assert load(out) == (descr, (4,), numbers), (name, load(out))
    # Bits of integers travel as float32 too.
    x = save("bits.npy", "<u4", [1, 0x7fc01234, 0xff812345, 7])
    x.write_bytes(x.read_bytes().replace(b"<u4", b"<f4"))
    k = kernel("copy.ptx", ".param .u64 x, .param .u64 y", copy.format(32, 4))
    ptx("run", k, "--block", "4", "--arg", f"{x}:f32", "--arg", "zeros:16", "--out", f"1={out}:u32")
    assert load(out)[2] == [1, 0x7fc01234, 0xff812345, 7], load(out)


@case
def structs_and_small_numbers_go_by_value():
    body = (".reg .b64 %p, %q; .reg .b32 %a, %b; .reg .b16 %h; ld.param.u64 %p, [s+8]; ld.param.u64 %q, [s+16];\n"
            "ld.param.u32 %a, [s]; ld.global.u32 %b, [%p]; add.u32 %a, %a, %b; ld.param.u8 %h, [u]; cvt.u32.u16 %b, %h;\n"
            "add.u32 %a, %a, %b; ld.param.u16 %h, [v]; cvt.u32.u16 %b, %h; add.u32 %a, %a, %b; st.global.u32 [%q], %a;")
    k = kernel("struct.ptx", ".param .align 8 .b8 s[24], .param .u8 u, .param .u16 v", body)
    blob, one, two = SCRATCH / "s.bin", SCRATCH / "u.bin", SCRATCH / "v.bin"
    blob.write_bytes(struct.pack("<I", 5) + bytes(20))
    one.write_bytes(bytes([200]))
    two.write_bytes(struct.pack("<H", 60000))
    x = save("n.npy", "<i4", [40])
    out = SCRATCH / "o.npy"
    ptx("run", k, "--arg-bytes", f"{blob}@8={x}:i32@16=zeros:4:i32", "--arg-bytes", one, "--arg-bytes", two, "--out",
        f"0@16={out}")
    assert load(out) == ("<i4", (1,), [5 + 40 + 200 + 60000]), load(out)


@case
def tensor_maps_and_clusters():
    body = (".shared .align 128 .b8 s[1024]; .shared .align 8 .b64 b; .reg .b64 %m, %o; .reg .b32 %t, %a, %v; .reg .pred %p, %z;\n"
            "mov.u32 %t, %tid.x; setp.eq.u32 %z, %t, 0; mov.b64 %m, m; cvta.param.u64 %m, %m; ld.param.u64 %o, [y];\n"
            "@%z mbarrier.init.shared.b64 [b], 1; fence.mbarrier_init.release.cluster; bar.sync 0; @!%z bra W;\n"
            "mbarrier.arrive.expect_tx.shared.b64 _, [b], 128;\n"
            "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [s], [%m, {4, 2}], [b];\n"
            "W: mbarrier.try_wait.parity.shared.b64 %p, [b], 0; @!%p bra W;\n"
            "mov.u32 %a, s; mad.lo.u32 %a, %t, 4, %a; ld.shared.u32 %v, [%a]; mad.wide.u32 %o, %t, 4, %o; st.global.u32 [%o], %v;")
    k = kernel("map.ptx", ".param .align 64 .b8 m[128], .param .u64 y", body, target="sm_90")
    x = save("m.npy", "<f4", [float(i) for i in range(8 * 16)], (8, 16))
    out = SCRATCH / "o.npy"
    for fields in ("dims=16x8,strides=64,box=8x4", "dims=16,8,strides=64,box=8,4,swizzle=none", "box=8:4"):
        ptx("run", k, "--block", "32", "--arg-tensormap", f"{x}:f32,{fields}", "--arg", "zeros:128", "--out", f"1={out}", "--check-races")
        assert load(out)[2] == [float(16 * (2 + i // 8) + 4 + i % 8) for i in range(32)], load(out)
    refused("run", k, "--arg-tensormap", f"{x}:f32,box=6x4", "--arg", "null", says=["multiple of 16"])
    refused("run", k, "--arg-tensormap", f"{x}:f32,dims=16x9", "--arg", "null", says=["512"])
    refused("run", k, "--arg-tensormap", f"{x}:f32,boxes=6x4", "--arg", "null", says=["'boxes'"])
    rank = kernel("cluster.ptx", ".param .u64 y", ".reg .b64 %o; .reg .b32 %r, %c; ld.param.u64 %o, [y]; mov.u32 %c, %ctaid.x;\n"
                  "mov.u32 %r, %cluster_ctarank; mad.wide.u32 %o, %c, 4, %o; st.global.u32 [%o], %r;", target="sm_90")
    rank.write_text(rank.read_text().replace(")\n{", ") .reqnctapercluster 2, 1, 1\n{"))
    ptx("run", rank, "--grid", "4", "--arg", "zeros:16:i32", "--out", f"0={out}")
    assert load(out)[2] == [0, 1, 0, 1], load(out)
    refused("run", rank, "--grid", "3", "--arg", "zeros:16", says=["clusters of 2 x 1 x 1"])


@case
def findings_name_place_and_kind():
    body = (".shared .align 4 .b8 s[128]; .reg .b32 %t, %a, %v; .reg .b64 %o; mov.u32 %t, %tid.x; mov.u32 %a, s;\n"
            "mad.lo.u32 %a, %t, 4, %a; st.shared.u32 [%a], %t;\nxor.b32 %a, %a, 4; ld.shared.u32 %v, [%a];\n"
            "ld.param.u64 %o, [y]; mad.wide.u32 %o, %t, 4, %o; st.global.u32 [%o], %v;")
    k = kernel("race.ptx", ".param .u64 y", body)
    text, _ = ptx("run", k, "--block", "32", "--arg", "zeros:128", "--check-races", expect=2)
    assert "race: line 9" in text and "byte 4 of s" in text and "verdict: findings" in text, text
    text, err = ptx("run", k, "--block", "32", "--arg", "zeros:124", expect=2)
    assert "out of bounds" in err and "argument 0" in err, err


@case
def bad_input_is_told_what_is_wrong():
    k = kernel("scale.ptx", SCALE_PARAMS, SCALE)
    x = save("x.npy", "<f4", [1.0] * 32)
    good = ["--arg", f"{x}:f32", "--arg", "zeros:128", "--arg", "32i32", "--arg", "1f32"]
    ptx("run", k, "--block", "32", *good)
    refused("run", SCRATCH / "none.ptx", says=["cannot read"])
    broken = SCRATCH / "broken.ptx"
    broken.write_text(k.read_text().replace("mad.wide.u32 %p, %i", "mad.wide.u32 %zz, %i"))
    refused("run", broken, *good, says=["%zz"])
    broken.write_text("hello")
    refused("run", broken, says=["broken.ptx:1:1", ".version"])
    broken.write_text(k.read_text().replace("mul.f32", "mulberry.f32"))
    refused("run", broken, *good, says=["mulberry.f32", "broken.ptx:11"])
    refused("run", k, "--entry", "nobody", *good, says=["no kernel 'nobody'", "kernel"])
    refused("run", k, *good[:4], says=["takes 4 arguments, given are 2", "n of 4 bytes"])
    refused("run", k, *good, "--arg", "1i32", says=["takes 4 arguments, given are 5"])
    refused("run", k, *good[:4], "--arg", "32i64", "--arg", "1f32", says=["('n')", "has 4 bytes, given are 8"])
    refused("run", k, *good[:4], "--arg", "4294967296i32", "--arg", "1f32", says=["which i32 cannot hold"])
    refused("run", k, "--arg", "x.npz", *good[2:], says=["found 'x.npz'", "FILE.npy"])
    refused("run", k, "--arg", f"{SCRATCH / 'nothing.npy'}:f32", *good[2:], says=["cannot open"])
    refused("run", k, *good, "--grid", "0", says=["a grid of 0"])
    refused("run", k, *good, "--grid", "1,70000", says=["70000", "65535"])
    refused("run", k, *good, "--grid", "many", says=["found --grid many"])
    refused("run", k, *good, "--block", "1025", says=["1025"])
    refused("run", k, *good, "--shared", "170000", says=["170000", "166912"])
    refused("run", k, *good, "--out", "7=o.npy", says=["there is no argument 7"])
    refused("run", k, *good, "--out", "3=o.npy", says=["argument 3", "holds no buffer"])
    loop = kernel("loop.ptx", "", "L: bra L;")
    refused("run", loop, "--max-steps", "100000", says=["endless loop", "loop.ptx:"], expect=2)
    two = SCRATCH / "two.ptx"
    two.write_text(k.read_text() + ".visible .entry other() { ret; }")
    refused("run", two, *good, says=["2 kernels", "it holds other"])


@case
def versions_7_to_9_4_are_read():
    for version in ("7.0", "7.8", "8.8", "9.0", "9.4"):
        ptx("run", kernel("version.ptx", "", "", version=version))
    refused("run", kernel("version.ptx", "", "", version="12.0"), says=["12.0"])


@case
def ops_lists_known_and_unknown():
    k = kernel("ops.ptx", "", ".reg .b32 %r<4>; add.u32 %r0, %r1, %r2; add.u32 %r0, %r1, %r2;\nsurely.not %r0;\nadd.odd.u32 %r0, %r1, %r2;",
               outside=".func helper() { tcgen05.fence; }")
    listed = json.loads(ptx("ops", k, "--json")[0])
    assert {"opcode": "add.u32", "times": 2} in listed["known"], listed
    assert [u["opcode"] for u in listed["unknown"]] == ["add.odd.u32", "surely.not", "tcgen05.fence"], listed
    text, _ = ptx("ops", k)
    assert "3 unknown" in text and "surely.not" in text and "add.u32" in text, text


def main():
    failed = 0
    for run in CASES:
        try:
            run()
        except Exception:
            failed += 1
            print(f"FAILED: {run.__name__}")
            traceback.print_exc()
    print(f"heddle-test: {len(CASES) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


sys.exit(main())
