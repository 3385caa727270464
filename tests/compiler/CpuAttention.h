// Attention as tile IR text, for tests and measurements of the CPU target: what the Attention form
// makes after loop bounds and edges are split, with one key range per row tile.
#pragma once

#include <fmt/format.h>

#include <string>

namespace heddle::compiler::cpu {

struct AttentionText {
  int64_t bm = 64, bn = 128, d = 64, dv = 64, group = 1;
  bool causal = false;
  std::string element = "f32"; ///< f32 | bf16 | f16
  bool softcap = false;
};

/// Tensors q, k, v, o, lse with dims B Tq Hq, B Tk Hk; positions aligned to the bottom right.
inline std::string attentionProgram(const AttentionText &a) {
  std::string t = a.element;
  std::string header = fmt::format(
      R"(
!Q = !tile.tile<{bm}x{d}x{t}>
!K = !tile.tile<{bn}x{d}x{t}>
!V = !tile.tile<{bn}x{dv}x{t}>
!P = !tile.tile<{bm}x{bn}x{t}>
!S = !tile.tile<{bm}x{bn}xf32>
!O = !tile.tile<{bm}x{dv}xf32>
!Ot = !tile.tile<{bm}x{dv}x{t}>
!R = !tile.tile<{bm}xf32>
tile.program @attention {{
  tile.extent "B"
  tile.extent "Tq"
  tile.extent "Tk"
  tile.extent "Hq"
  tile.extent "Hk"
  tile.tensor "q" : {t}[B, Tq, Hq, {d}]
  tile.tensor "k" : {t}[B, Tk, Hk, {d}]
  tile.tensor "v" : {t}[B, Tk, Hk, {dv}]
  tile.tensor "o" result : {t}[B, Tq, Hq, {dv}]
  tile.tensor "lse" result : f32[B, Tq, Hq]
  tile.kernel @attn grid(%qt = ceildiv(Tq, {bm}) desc, %h = Hq, %b = B) stage(abstract) {{
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %cg = arith.constant {group} : index
    %cbm = arith.constant {bm} : index
    %cbn = arith.constant {bn} : index
    %Tq = tile.scalar "Tq" : index
    %Tk = tile.scalar "Tk" : index
    %hk = arith.divui %h, %cg : index
    %q = tile.view "q" [%b, :, %h, :] : !tile.view<?x{d}x{t}>
    %k = tile.view "k" [%b, :, %hk, :] : !tile.view<?x{d}x{t}>
    %v = tile.view "v" [%b, :, %hk, :] : !tile.view<?x{dv}x{t}>
    %o = tile.view "o" [%b, :, %h, :] : !tile.view<?x{dv}x{t}>
    %lse = tile.view "lse" [%b, :, %h] : !tile.view<?xf32>
    %row0 = arith.muli %qt, %cbm : index
    %rows = arith.subi %Tq, %row0 : index
    %off = arith.subi %Tk, %Tq : index
    %i0 = arith.addi %row0, %off : index
    %rowEnd0 = arith.addi %row0, %cbm : index
    %rowEnd = arith.minsi %rowEnd0, %Tq : index
    %i1next = arith.addi %rowEnd, %off : index
    %full0 = arith.addi %i0, %c1 : index
    %hi = arith.maxsi {hi}, %c0 : index
    %full1 = arith.maxsi {full}, %c0 : index
    %fullTiles = arith.divui %full1, %cbn : index
    %bb = arith.muli %fullTiles, %cbn : index
    %Q = tile.load %q[%row0, 0] valid(%rows) fill 0.0 : !tile.view<?x{d}x{t}> -> !Q
    %Z = tile.fill 0.0 : !S
    %m0 = tile.fill -inf : !R
    %l0 = tile.fill 0.0 : !R
    %O0 = tile.fill 0.0 : !O
    %i = tile.index %i0 : !tile.tile<{bm}xi32>
    %scale = arith.constant {scale:.9e} : f32
    %cap = arith.constant {cap:.9e} : f32
    %ln2 = arith.constant 0.69314718056 : f32
    %zero = arith.constant 0.0 : f32
    %minusInf = arith.constant 0xFF800000 : f32
    %Tk32 = arith.index_cast %Tk : index to i32
)",
      fmt::arg("bm", a.bm), fmt::arg("bn", a.bn), fmt::arg("d", a.d), fmt::arg("dv", a.dv),
      fmt::arg("t", t), fmt::arg("group", a.group), fmt::arg("hi", a.causal ? "%i1next" : "%Tk"),
      fmt::arg("full", a.causal ? "%full0" : "%Tk"),
      fmt::arg("scale", (a.softcap ? 1.0 / 5.0 : 1.4426950408889634) / __builtin_sqrt(double(a.d))),
      fmt::arg("cap", 5.0 * 1.4426950408889634));
  std::string soft = a.softcap ? "%t = math.tanh %y : f32\n %u = arith.mulf %t, %cap : f32"
                               : "%u = arith.addf %y, %zero : f32";
  auto body = [&](bool edge) {
    std::string keep =
        a.causal ? "%keep0 = arith.cmpi sle, %pj, %pi : i32" : "%keep0 = arith.constant true";
    std::string map = edge ? fmt::format(R"(
      %jj = tile.index %j : !tile.tile<{}xi32>
      %s = tile.map (%x = %S[i, j], %pi = %i[i], %pj = %jj[j]) -> [i, j]
          : (!S, !tile.tile<{}xi32>, !tile.tile<{}xi32>) -> !S {{
        %y = arith.mulf %x, %scale : f32
        {}
        {}
        %keep1 = arith.cmpi slt, %pj, %Tk32 : i32
        %keep = arith.andi %keep0, %keep1 : i1
        %w = arith.select %keep, %u, %minusInf : f32
        tile.yield %w : f32
      }})",
                                         a.bn, a.bm, a.bn, soft, keep)
                           : fmt::format(R"(
      %s = tile.map (%x = %S[i, j]) -> [i, j] : (!S) -> !S {{
        %y = arith.mulf %x, %scale : f32
        {}
        tile.yield %u : f32
      }})",
                                         soft);
    std::string valid = edge ? "valid(%n) fill 0.0" : "";
    bool f32 = t == "f32";
    std::string weights =
        f32 ? "%P = tile.map (%x = %s[i, j], %y = %base[i]) -> [i, j] : (!S, !R) "
              "-> !S {"
            : "%P, %Pt = tile.map (%x = %s[i, j], %y = %base[i]) -> [i, j] : (!S, "
              "!R) -> (!S, !P) {";
    std::string cast =
        f32 ? "tile.yield %e : f32"
            : fmt::format("%c = arith.truncf %e : f32 to {}\n tile.yield %e, %c : f32, {}", t, t);
    return fmt::format(R"(
      %n = arith.subi %Tk, %j : index
      %K = tile.load %k[%j, 0] {valid} : !tile.view<?x{d}x{t}> -> !K
      %V = tile.load %v[%j, 0] {valid} : !tile.view<?x{dv}x{t}> -> !V
      %S = tile.mma %Q[i, d], %K[j, d] init %Z[i, j] contract(d) : !Q, !K, !S
      {map}
      %M = tile.reduce max %s dim(1) init %m : !S, !R
      %base = tile.map (%x = %M[i]) -> [i] : (!R) -> !R {{
        %none = arith.cmpf oeq, %x, %minusInf : f32
        %y = arith.select %none, %zero, %x : f32
        tile.yield %y : f32
      }}
      %r = tile.map (%x = %m[i], %y = %base[i]) -> [i] : (!R, !R) -> !R {{
        %z = arith.subf %x, %y : f32
        %e = math.exp2 %z : f32
        tile.yield %e : f32
      }}
      {weights}
        %z = arith.subf %x, %y : f32
        %e = math.exp2 %z : f32
        {cast}
      }}
      %lr = tile.map (%x = %l[i], %y = %r[i]) -> [i] : (!R, !R) -> !R {{
        %z = arith.mulf %x, %y : f32
        tile.yield %z : f32
      }}
      %L = tile.reduce sum %P dim(1) init %lr : !S, !R
      %Or = tile.map (%x = %O[i, e], %y = %r[i]) -> [i, e] : (!O, !R) -> !O {{
        %z = arith.mulf %x, %y : f32
        tile.yield %z : f32
      }}
      %On = tile.mma {p}[i, j], %V[j, e] init %Or[i, e] contract(j) : {pt}, !V, !O
      tile.yield %M, %L, %On : !R, !R, !O
    }})",
                       fmt::arg("valid", valid), fmt::arg("d", a.d), fmt::arg("dv", a.dv),
                       fmt::arg("t", t), fmt::arg("map", map), fmt::arg("cast", cast),
                       fmt::arg("weights", weights), fmt::arg("p", t == "f32" ? "%P" : "%Pt"),
                       fmt::arg("pt", t == "f32" ? "!S" : "!P"));
  };
  std::string loops = fmt::format(R"(
    %edge:3 = tile.for %j = [%c0, %c0) + [%bb, %hi) step {bn}
        iter(%m = %m0, %l = %l0, %O = %O0) kind(edge) -> (!R, !R, !O) {{ {edge}
    %all:3 = tile.for %j = [%c0, %bb) step {bn}
        iter(%m = %edge#0, %l = %edge#1, %O = %edge#2) kind(full) -> (!R, !R, !O) {{ {full}
)",
                                  fmt::arg("bn", a.bn), fmt::arg("edge", body(true)),
                                  fmt::arg("full", body(false)));
  std::string cast =
      t == "f32" ? "tile.yield %z : f32"
                 : fmt::format("%c = arith.truncf %z : f32 to {}\n tile.yield %c : {}", t, t);
  return header + loops +
         fmt::format(R"(
    %result = tile.map (%x = %all#2[i, e], %d = %all#1[i]) -> [i, e] : (!O, !R) -> !Ot {{
      %some = arith.cmpf ogt, %d, %zero : f32
      %y = arith.divf %x, %d : f32
      %z = arith.select %some, %y, %zero : f32
      {}
    }}
    %logsum = tile.map (%x = %all#0[i], %d = %all#1[i]) -> [i] : (!R, !R) -> !R {{
      %some = arith.cmpf ogt, %d, %zero : f32
      %g = math.log2 %d : f32
      %y = arith.addf %x, %g : f32
      %z = arith.mulf %y, %ln2 : f32
      %w = arith.select %some, %z, %minusInf : f32
      tile.yield %w : f32
    }}
    tile.store %result, %o[%row0, 0] valid(%rows) : !Ot -> !tile.view<?x{}x{}>
    tile.store %logsum, %lse[%row0] valid(%rows) : !R -> !tile.view<?xf32>
  }}
}}
)",
                     cast, a.dv, t);
}

struct DecodeText {
  int64_t group = 4, d = 64, dv = 64, bn = 32, split = 64;
  std::string element = "f32"; ///< f32 | bf16
};

/// One query row: the heads of a group are the rows, the keys are cut into ranges of `split`, and a
/// second kernel joins the ranges' (m, l, O) in ascending order. Tensors q, k, v, o, lse as above.
inline std::string decodeProgram(const DecodeText &a) {
  bool f32 = a.element == "f32";
  auto softmax = [](const std::string &m, const std::string &l) {
    return fmt::format(R"(
      %base = tile.map (%x = {m}[i]) -> [i] : (!R) -> !R {{
        %none = arith.cmpf oeq, %x, %minusInf : f32
        %y = arith.select %none, %zero, %x : f32
        tile.yield %y : f32
      }}
      %r = tile.map (%x = {l}[i], %y = %base[i]) -> [i] : (!R, !R) -> !R {{
        %z = arith.subf %x, %y : f32
        %e = math.exp2 %z : f32
        tile.yield %e : f32
      }})",
                       fmt::arg("m", m), fmt::arg("l", l));
  };
  return fmt::format(
      R"(
!Q = !tile.tile<{g}x{d}x{t}>
!K = !tile.tile<{bn}x{d}x{t}>
!V = !tile.tile<{bn}x{dv}x{t}>
!P = !tile.tile<{g}x{bn}x{t}>
!S = !tile.tile<{g}x{bn}xf32>
!O = !tile.tile<{g}x{dv}xf32>
!Ot = !tile.tile<{g}x{dv}x{t}>
!R = !tile.tile<{g}xf32>
tile.program @decode {{
  tile.extent "B"
  tile.extent "Tk"
  tile.extent "Hq"
  tile.extent "Hk"
  tile.tensor "q" : {t}[B, 1, Hq, {d}]
  tile.tensor "k" : {t}[B, Tk, Hk, {d}]
  tile.tensor "v" : {t}[B, Tk, Hk, {dv}]
  tile.tensor "o" result : {t}[B, 1, Hq, {dv}]
  tile.tensor "lse" result : f32[B, 1, Hq]
  tile.buffer "pm" : f32[B, ceildiv(Tk, {split}), Hq]
  tile.buffer "pl" : f32[B, ceildiv(Tk, {split}), Hq]
  tile.buffer "po" : f32[B, ceildiv(Tk, {split}), Hq, {dv}]
  tile.kernel @split grid(%n = ceildiv(Tk, {split}), %h = Hk, %b = B) stage(abstract) {{
    %c0 = arith.constant 0 : index
    %cg = arith.constant {g} : index
    %cs = arith.constant {split} : index
    %Tk = tile.scalar "Tk" : index
    %h0 = arith.muli %h, %cg : index
    %q = tile.view "q" [%b, %c0, :, :] : !tile.view<?x{d}x{t}>
    %k = tile.view "k" [%b, :, %h, :] : !tile.view<?x{d}x{t}>
    %v = tile.view "v" [%b, :, %h, :] : !tile.view<?x{dv}x{t}>
    %pm = tile.view "pm" [%b, %n, :] : !tile.view<?xf32>
    %pl = tile.view "pl" [%b, %n, :] : !tile.view<?xf32>
    %po = tile.view "po" [%b, %n, :, :] : !tile.view<?x{dv}xf32>
    %lo = arith.muli %n, %cs : index
    %end = arith.addi %lo, %cs : index
    %hi = arith.minsi %end, %Tk : index
    %hi32 = arith.index_cast %hi : index to i32
    %Q = tile.load %q[%h0, 0] valid(%cg) : !tile.view<?x{d}x{t}> -> !Q
    %Z = tile.fill 0.0 : !S
    %m0 = tile.fill -inf : !R
    %l0 = tile.fill 0.0 : !R
    %O0 = tile.fill 0.0 : !O
    %scale = arith.constant {scale:.9e} : f32
    %zero = arith.constant 0.0 : f32
    %minusInf = arith.constant 0xFF800000 : f32
    %all:3 = tile.for %j = [%lo, %hi) step {bn}
        iter(%m = %m0, %l = %l0, %O = %O0) kind(edge) -> (!R, !R, !O) {{
      %valid = arith.subi %hi, %j : index
      %K = tile.load %k[%j, 0] valid(%valid) fill 0.0 : !tile.view<?x{d}x{t}> -> !K
      %V = tile.load %v[%j, 0] valid(%valid) fill 0.0 : !tile.view<?x{dv}x{t}> -> !V
      %S = tile.mma %Q[i, d], %K[j, d] init %Z[i, j] contract(d) : !Q, !K, !S
      %jj = tile.index %j : !tile.tile<{bn}xi32>
      %s = tile.map (%x = %S[i, j], %pj = %jj[j]) -> [i, j] : (!S, !tile.tile<{bn}xi32>) -> !S {{
        %y = arith.mulf %x, %scale : f32
        %keep = arith.cmpi slt, %pj, %hi32 : i32
        %w = arith.select %keep, %y, %minusInf : f32
        tile.yield %w : f32
      }}
      %M = tile.reduce max %s dim(1) init %m : !S, !R
      {softmax}
      {weights} tile.map (%x = %s[i, j], %y = %base[i]) -> [i, j] : (!S, !R) -> {wtypes} {{
        %z = arith.subf %x, %y : f32
        %e = math.exp2 %z : f32
        {yield}
      }}
      %lr = tile.map (%x = %l[i], %y = %r[i]) -> [i] : (!R, !R) -> !R {{
        %z = arith.mulf %x, %y : f32
        tile.yield %z : f32
      }}
      %L = tile.reduce sum %P dim(1) init %lr : !S, !R
      %Or = tile.map (%x = %O[i, e], %y = %r[i]) -> [i, e] : (!O, !R) -> !O {{
        %z = arith.mulf %x, %y : f32
        tile.yield %z : f32
      }}
      %On = tile.mma {p}[i, j], %V[j, e] init %Or[i, e] contract(j) : !P, !V, !O
      tile.yield %M, %L, %On : !R, !R, !O
    }}
    tile.store %all#0, %pm[%h0] valid(%cg) : !R -> !tile.view<?xf32>
    tile.store %all#1, %pl[%h0] valid(%cg) : !R -> !tile.view<?xf32>
    tile.store %all#2, %po[%h0, 0] valid(%cg) : !O -> !tile.view<?x{dv}xf32>
  }}
  tile.kernel @merge grid(%h = Hk, %b = B) stage(abstract) {{
    %c0 = arith.constant 0 : index
    %cg = arith.constant {g} : index
    %cs1 = arith.constant {split1} : index
    %cs = arith.constant {split} : index
    %Tk = tile.scalar "Tk" : index
    %h0 = arith.muli %h, %cg : index
    %more = arith.addi %Tk, %cs1 : index
    %ranges = arith.divui %more, %cs : index
    %o = tile.view "o" [%b, %c0, :, :] : !tile.view<?x{dv}x{t}>
    %lse = tile.view "lse" [%b, %c0, :] : !tile.view<?xf32>
    %m0 = tile.fill -inf : !R
    %l0 = tile.fill 0.0 : !R
    %O0 = tile.fill 0.0 : !O
    %zero = arith.constant 0.0 : f32
    %ln2 = arith.constant 0.69314718056 : f32
    %minusInf = arith.constant 0xFF800000 : f32
    %all:3 = tile.for %n = [%c0, %ranges) step 1
        iter(%m = %m0, %l = %l0, %O = %O0) kind(any) -> (!R, !R, !O) {{
      %pm = tile.view "pm" [%b, %n, :] : !tile.view<?xf32>
      %pl = tile.view "pl" [%b, %n, :] : !tile.view<?xf32>
      %po = tile.view "po" [%b, %n, :, :] : !tile.view<?x{dv}xf32>
      %m1 = tile.load %pm[%h0] valid(%cg) : !tile.view<?xf32> -> !R
      %l1 = tile.load %pl[%h0] valid(%cg) : !tile.view<?xf32> -> !R
      %O1 = tile.load %po[%h0, 0] valid(%cg) : !tile.view<?x{dv}xf32> -> !O
      %M = tile.map (%x = %m[i], %y = %m1[i]) -> [i] : (!R, !R) -> !R {{
        %z = arith.maximumf %x, %y : f32
        tile.yield %z : f32
      }}
      {softmax}
      %r1 = tile.map (%x = %m1[i], %y = %base[i]) -> [i] : (!R, !R) -> !R {{
        %z = arith.subf %x, %y : f32
        %e = math.exp2 %z : f32
        tile.yield %e : f32
      }}
      %L = tile.map (%x = %l[i], %y = %r[i], %u = %l1[i], %w = %r1[i]) -> [i]
          : (!R, !R, !R, !R) -> !R {{
        %z = arith.mulf %x, %y : f32
        %v = arith.mulf %u, %w : f32
        %s = arith.addf %z, %v : f32
        tile.yield %s : f32
      }}
      %On = tile.map (%x = %O[i, e], %y = %r[i], %u = %O1[i, e], %w = %r1[i]) -> [i, e]
          : (!O, !R, !O, !R) -> !O {{
        %z = arith.mulf %x, %y : f32
        %v = arith.mulf %u, %w : f32
        %s = arith.addf %z, %v : f32
        tile.yield %s : f32
      }}
      tile.yield %M, %L, %On : !R, !R, !O
    }}
    %result = tile.map (%x = %all#2[i, e], %d = %all#1[i]) -> [i, e] : (!O, !R) -> !Ot {{
      %some = arith.cmpf ogt, %d, %zero : f32
      %y = arith.divf %x, %d : f32
      %z = arith.select %some, %y, %zero : f32
      {cast}
    }}
    %logsum = tile.map (%x = %all#0[i], %d = %all#1[i]) -> [i] : (!R, !R) -> !R {{
      %some = arith.cmpf ogt, %d, %zero : f32
      %g = math.log2 %d : f32
      %y = arith.addf %x, %g : f32
      %z = arith.mulf %y, %ln2 : f32
      %w = arith.select %some, %z, %minusInf : f32
      tile.yield %w : f32
    }}
    tile.store %result, %o[%h0, 0] valid(%cg) : !Ot -> !tile.view<?x{dv}x{t}>
    tile.store %logsum, %lse[%h0] valid(%cg) : !R -> !tile.view<?xf32>
  }}
}}
)",
      fmt::arg("g", a.group), fmt::arg("d", a.d), fmt::arg("dv", a.dv), fmt::arg("bn", a.bn),
      fmt::arg("split", a.split), fmt::arg("split1", a.split - 1), fmt::arg("t", a.element),
      fmt::arg("scale", 1.4426950408889634 / __builtin_sqrt(double(a.d))),
      fmt::arg("softmax", softmax("%M", "%m")), fmt::arg("weights", f32 ? "%P =" : "%P, %Pt ="),
      fmt::arg("wtypes", f32 ? "!S" : "(!S, !P)"), fmt::arg("p", f32 ? "%P" : "%Pt"),
      fmt::arg("yield",
               f32 ? "tile.yield %e : f32"
                   : fmt::format("%c = arith.truncf %e : f32 to {}\n tile.yield %e, %c : f32, {}",
                                 a.element, a.element)),
      fmt::arg("cast", f32 ? "tile.yield %z : f32"
                           : fmt::format("%c = arith.truncf %z : f32 to {}\n tile.yield %c : {}",
                                         a.element, a.element)));
}

} // namespace heddle::compiler::cpu
