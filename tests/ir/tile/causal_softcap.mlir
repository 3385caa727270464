// Causal GQA attention with softcap after loop bounds and edges are split: an edge loop with the
// mask, a full loop without. f32, G = 4 query heads a key head, 16 rows and 32 keys a tile, p(i) = i + Tk - Tq.
// RUN: heddle-opt %s | heddle-opt | FileCheck %s
// CHECK-LABEL: tile.program @causal_softcap
// CHECK: kind(edge)
// CHECK: kind(full)
!Q = !tile.tile<16x80xf32>
!K = !tile.tile<32x80xf32>
!V = !tile.tile<32x72xf32>
!S = !tile.tile<16x32xf32>
!O = !tile.tile<16x72xf32>
!R = !tile.tile<16xf32>

tile.program @causal_softcap {
  tile.extent "B"
  tile.extent "Tq"
  tile.extent "Tk"
  tile.extent "Hq"
  tile.extent "Hk"
  tile.param "cap" = 5.0e+01 : f64
  tile.tensor "q" : f32[B, Tq, Hq, 80]
  tile.tensor "k" : f32[B, Tk, Hk, 80]
  tile.tensor "v" : f32[B, Tk, Hk, 72]
  tile.tensor "o" result : f32[B, Tq, Hq, 72]
  tile.tensor "lse" result : f32[B, Tq, Hq]

  tile.kernel @attn grid(%qt = ceildiv(Tq, 16) desc, %h = Hq, %b = B) stage(abstract) {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c4 = arith.constant 4 : index
    %c16 = arith.constant 16 : index
    %c32 = arith.constant 32 : index
    %Tq = tile.scalar "Tq" : index
    %Tk = tile.scalar "Tk" : index
    %hk = arith.divui %h, %c4 : index
    %q = tile.view "q" [%b, :, %h, :] : !tile.view<?x80xf32>
    %k = tile.view "k" [%b, :, %hk, :] : !tile.view<?x80xf32>
    %v = tile.view "v" [%b, :, %hk, :] : !tile.view<?x72xf32>
    %o = tile.view "o" [%b, :, %h, :] : !tile.view<?x72xf32>
    %lse = tile.view "lse" [%b, :, %h] : !tile.view<?xf32>

    // Rows row0 .. row0 + rows - 1 of this grid point, positions i0 .. i1.
    %row0 = arith.muli %qt, %c16 : index
    %rows = arith.subi %Tq, %row0 : index
    %off = arith.subi %Tk, %Tq : index
    %i0 = arith.addi %row0, %off : index
    %rowEnd0 = arith.addi %row0, %c16 : index
    %rowEnd = arith.minsi %rowEnd0, %Tq : index
    %i1next = arith.addi %rowEnd, %off : index

    // Keys: full tiles in [0, b), edge tiles in [b, hi).
    %hi = arith.maxsi %i1next, %c0 : index
    %full0 = arith.addi %i0, %c1 : index
    %full1 = arith.maxsi %full0, %c0 : index
    %fullTiles = arith.divui %full1, %c32 : index
    %bb = arith.muli %fullTiles, %c32 : index

    %Q = tile.load %q[%row0, 0] valid(%rows) fill 0.0 : !tile.view<?x80xf32> -> !Q
    %Z = tile.fill 0.0 : !S
    %m0 = tile.fill -inf : !R
    %l0 = tile.fill 0.0 : !R
    %O0 = tile.fill 0.0 : !O
    %i = tile.index %i0 : !tile.tile<16xi32>
    %cap = tile.scalar "cap" : f32
    %scale = arith.constant 0.11180339887 : f32 // 1 / sqrt(80)
    %log2e = arith.constant 1.44269504089 : f32
    %ln2 = arith.constant 0.69314718056 : f32
    %zero = arith.constant 0.0 : f32
    %minusInf = arith.constant 0xFF800000 : f32
    %inner = arith.divf %scale, %cap : f32
    %outer = arith.mulf %cap, %log2e : f32

    %edge:3 = tile.for %j = [%c0, %c0) + [%bb, %hi) step 32
        iter(%m = %m0, %l = %l0, %O = %O0) kind(edge) -> (!R, !R, !O) {
      %n = arith.subi %Tk, %j : index
      %K = tile.load %k[%j, 0] valid(%n) fill 0.0 : !tile.view<?x80xf32> -> !K
      %V = tile.load %v[%j, 0] valid(%n) fill 0.0 : !tile.view<?x72xf32> -> !V
      %S = tile.mma %Q[i, d], %K[j, d] init %Z[i, j] contract(d) : !Q, !K, !S
      %jj = tile.index %j : !tile.tile<32xi32>
      %s = tile.map (%x = %S[i, j], %pi = %i[i], %pj = %jj[j]) -> [i, j]
          : (!S, !tile.tile<16xi32>, !tile.tile<32xi32>) -> !S {
        %y = arith.mulf %x, %inner : f32
        %t = math.tanh %y : f32
        %u = arith.mulf %t, %outer : f32
        %keep = arith.cmpi sle, %pj, %pi : i32
        %w = arith.select %keep, %u, %minusInf : f32
        tile.yield %w : f32
      }
      %M = tile.reduce max %s dim(1) init %m : !S, !R
      %base = tile.map (%x = %M[i]) -> [i] : (!R) -> !R {
        %none = arith.cmpf oeq, %x, %minusInf : f32
        %y = arith.select %none, %zero, %x : f32
        tile.yield %y : f32
      }
      %r = tile.map (%x = %m[i], %y = %base[i]) -> [i] : (!R, !R) -> !R {
        %z = arith.subf %x, %y : f32
        %e = math.exp2 %z : f32
        tile.yield %e : f32
      }
      %P = tile.map (%x = %s[i, j], %y = %base[i]) -> [i, j] : (!S, !R) -> !S {
        %z = arith.subf %x, %y : f32
        %e = math.exp2 %z : f32
        tile.yield %e : f32
      }
      %lr = tile.map (%x = %l[i], %y = %r[i]) -> [i] : (!R, !R) -> !R {
        %z = arith.mulf %x, %y : f32
        tile.yield %z : f32
      }
      %L = tile.reduce sum %P dim(1) init %lr : !S, !R
      %Or = tile.map (%x = %O[i, e], %y = %r[i]) -> [i, e] : (!O, !R) -> !O {
        %z = arith.mulf %x, %y : f32
        tile.yield %z : f32
      }
      %On = tile.mma %P[i, j], %V[j, e] init %Or[i, e] contract(j) : !S, !V, !O
      tile.yield %M, %L, %On : !R, !R, !O
    }
    %all:3 = tile.for %j = [%c0, %bb) step 32
        iter(%m = %edge#0, %l = %edge#1, %O = %edge#2) kind(full) -> (!R, !R, !O) {
      %K = tile.load %k[%j, 0] : !tile.view<?x80xf32> -> !K
      %V = tile.load %v[%j, 0] : !tile.view<?x72xf32> -> !V
      %S = tile.mma %Q[i, d], %K[j, d] init %Z[i, j] contract(d) : !Q, !K, !S
      %s = tile.map (%x = %S[i, j]) -> [i, j] : (!S) -> !S {
        %y = arith.mulf %x, %inner : f32
        %t = math.tanh %y : f32
        %u = arith.mulf %t, %outer : f32
        tile.yield %u : f32
      }
      %M = tile.reduce max %s dim(1) init %m : !S, !R
      %base = tile.map (%x = %M[i]) -> [i] : (!R) -> !R {
        %none = arith.cmpf oeq, %x, %minusInf : f32
        %y = arith.select %none, %zero, %x : f32
        tile.yield %y : f32
      }
      %r = tile.map (%x = %m[i], %y = %base[i]) -> [i] : (!R, !R) -> !R {
        %z = arith.subf %x, %y : f32
        %e = math.exp2 %z : f32
        tile.yield %e : f32
      }
      %P = tile.map (%x = %s[i, j], %y = %base[i]) -> [i, j] : (!S, !R) -> !S {
        %z = arith.subf %x, %y : f32
        %e = math.exp2 %z : f32
        tile.yield %e : f32
      }
      %lr = tile.map (%x = %l[i], %y = %r[i]) -> [i] : (!R, !R) -> !R {
        %z = arith.mulf %x, %y : f32
        tile.yield %z : f32
      }
      %L = tile.reduce sum %P dim(1) init %lr : !S, !R
      %Or = tile.map (%x = %O[i, e], %y = %r[i]) -> [i, e] : (!O, !R) -> !O {
        %z = arith.mulf %x, %y : f32
        tile.yield %z : f32
      }
      %On = tile.mma %P[i, j], %V[j, e] init %Or[i, e] contract(j) : !S, !V, !O
      tile.yield %M, %L, %On : !R, !R, !O
    }

    %result = tile.map (%x = %all#2[i, e], %d = %all#1[i]) -> [i, e] : (!O, !R) -> !O {
      %some = arith.cmpf ogt, %d, %zero : f32
      %y = arith.divf %x, %d : f32
      %z = arith.select %some, %y, %zero : f32
      tile.yield %z : f32
    }
    %logsum = tile.map (%x = %all#0[i], %d = %all#1[i]) -> [i] : (!R, !R) -> !R {
      %some = arith.cmpf ogt, %d, %zero : f32
      %g = math.log2 %d : f32
      %y = arith.addf %x, %g : f32
      %z = arith.mulf %y, %ln2 : f32
      %w = arith.select %some, %z, %minusInf : f32
      tile.yield %w : f32
    }
    tile.store %result, %o[%row0, 0] valid(%rows) : !O -> !tile.view<?x72xf32>
    tile.store %logsum, %lse[%row0] valid(%rows) : !R -> !tile.view<?xf32>
  }
}
