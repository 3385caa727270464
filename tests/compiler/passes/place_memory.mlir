// Places in scratch: Q (8192 bytes) lives through the loop; P is written over S (12288 bytes), point
// by point; the output's start, carried and final values share one place.
// RUN: heddle-opt %s --pass-pipeline="builtin.module(tile.program(tile.kernel(assign-layouts-cpu,place-memory)))" | FileCheck %s
!Q = !tile.tile<64x32xf32>
!K = !tile.tile<48x32xf32>
!S = !tile.tile<64x48xf32>
!R = !tile.tile<64xf32>

tile.program @attention {
  tile.extent "Tq"
  tile.extent "Tk"
  tile.tensor "q" : f32[Tq, 32]
  tile.tensor "k" : f32[Tk, 32]
  tile.tensor "v" : f32[Tk, 32]
  tile.tensor "o" result : f32[Tq, 32]
  // CHECK: tile.kernel @attn {{.*}}tile.scratch = 28672
  tile.kernel @attn grid(%x = ceildiv(Tq, 64)) stage(abstract) {
    %c0 = arith.constant 0 : index
    %c64 = arith.constant 64 : index
    %Tq = tile.scalar "Tq" : index
    %Tk = tile.scalar "Tk" : index
    %i0 = arith.muli %x, %c64 : index
    %rows = arith.subi %Tq, %i0 : index
    %q = tile.view "q" [:, :] : !tile.view<?x32xf32>
    %k = tile.view "k" [:, :] : !tile.view<?x32xf32>
    %v = tile.view "v" [:, :] : !tile.view<?x32xf32>
    %o = tile.view "o" [:, :] : !tile.view<?x32xf32>
    // CHECK: tile.load {{.*}}tile.offset = array<i64: 0>
    %Q = tile.load %q[%i0, 0] valid(%rows) fill 0.0 : !tile.view<?x32xf32> -> !Q
    %Z = tile.fill 0.0 : !S
    %O0 = tile.fill 0.0 : !Q
    %m0 = tile.fill -inf : !R
    // CHECK: tile.convert {{.*}}tile.offset = array<i64: 8192>
    // CHECK: tile.for {{.*}}tile.offset = array<i64: -1, 8192>
    %r:2 = tile.for %j = [%c0, %Tk) step 48 iter(%m = %m0, %O = %O0) kind(full) -> (!R, !Q) {
      %K = tile.load %k[%j, 0] : !tile.view<?x32xf32> -> !K
      %V = tile.load %v[%j, 0] : !tile.view<?x32xf32> -> !K
      // CHECK: tile.mma {{.*}}tile.offset = array<i64: 16384>
      %S = tile.mma %Q[i, d], %K[j, d] init %Z[i, j] contract(d) : !Q, !K, !S
      %M = tile.reduce max %S dim(1) init %m : !S, !R
      // CHECK: tile.map {{.*}}tile.offset = array<i64: 16384>
      %P = tile.map (%s = %S[i, j], %b = %M[i]) -> [i, j] : (!S, !R) -> !S {
        %d = arith.subf %s, %b : f32
        %e = math.exp2 %d : f32
        tile.yield %e : f32
      }
      // CHECK: tile.mma {{.*}}tile.offset = array<i64: 8192>
      %next = tile.mma %P[i, j], %V[j, e] init %O[i, e] contract(j) : !S, !K, !Q
      tile.yield %M, %next : !R, !Q
    }
    tile.store %r#1, %o[%i0, 0] valid(%rows) : !Q -> !tile.view<?x32xf32>
  }
}
