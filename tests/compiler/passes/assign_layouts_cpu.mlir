// Who holds what on AVX-512: the row tile is turned into scratch once, keys and values stay in
// memory, scores live in scratch between the products, row numbers in registers.
// RUN: heddle-opt %s --pass-pipeline="builtin.module(tile.program(tile.kernel(assign-layouts-cpu)))" | FileCheck %s
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
  // CHECK-LABEL: tile.kernel @attn
  // CHECK-SAME: stage(concrete)
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
    // CHECK: tile.load {{.*}} -> <64x32xf32, #tile.lanes<dim = 0, 16>, local>
    %Q = tile.load %q[%i0, 0] valid(%rows) fill 0.0 : !tile.view<?x32xf32> -> !Q
    %Z = tile.fill 0.0 : !S
    %O0 = tile.fill 0.0 : !Q
    // CHECK: tile.fill -inf : <64xf32, #tile.lanes<dim = 0, 16>, reg>
    %m0 = tile.fill -inf : !R
    // The carried output needs a place before the loop writes there.
    // CHECK: tile.convert {{.*}}reg> -> <64x32xf32, #tile.lanes<dim = 0, 16>, local>
    // CHECK: tile.for
    %r:2 = tile.for %j = [%c0, %Tk) step 48 iter(%m = %m0, %O = %O0) kind(full) -> (!R, !Q) {
      // CHECK-COUNT-2: tile.load {{.*}} -> <48x32xf32, #tile.strided, global>
      %K = tile.load %k[%j, 0] : !tile.view<?x32xf32> -> !K
      %V = tile.load %v[%j, 0] : !tile.view<?x32xf32> -> !K
      // CHECK: tile.mma {{.*}} contract(d)
      %S = tile.mma %Q[i, d], %K[j, d] init %Z[i, j] contract(d) : !Q, !K, !S
      // CHECK: tile.reduce max {{.*}}, <64xf32, #tile.lanes<dim = 0, 16>, reg>
      %M = tile.reduce max %S dim(1) init %m : !S, !R
      // CHECK: tile.map {{.*}} : (!tile.tile<64x48xf32, #tile.lanes<dim = 0, 16>, local>, {{.*}} -> !tile.tile<64x48xf32, #tile.lanes<dim = 0, 16>, local>
      %P = tile.map (%s = %S[i, j], %b = %M[i]) -> [i, j] : (!S, !R) -> !S {
        %d = arith.subf %s, %b : f32
        %e = math.exp2 %d : f32
        tile.yield %e : f32
      }
      %next = tile.mma %P[i, j], %V[j, e] init %O[i, e] contract(j) : !S, !K, !Q
      tile.yield %M, %next : !R, !Q
    }
    tile.store %r#1, %o[%i0, 0] valid(%rows) : !Q -> !tile.view<?x32xf32>
  }
}

// Rows that no matrix reads, such as running sums, lie along the lanes: a splat an element would be
// sixteen times the code.
tile.program @sums {
  tile.extent "T"
  tile.tensor "g" : f32[T, 16]
  tile.tensor "sum" result : f32[T, 16]
  // CHECK-LABEL: tile.kernel @prefix
  tile.kernel @prefix grid(%x = 1) stage(abstract) {
    %c0 = arith.constant 0 : index
    %T = tile.scalar "T" : index
    %zero = tile.fill 0.0 : !tile.tile<16xf32>
    // CHECK: tile.for {{.*}} -> !tile.tile<16xf32, #tile.lanes<dim = 0, 16>, reg>
    %r = tile.for %t = [%c0, %T) step 1 iter(%a = %zero) -> (!tile.tile<16xf32>) {
      %g = tile.view "g" [%t, :] : !tile.view<16xf32>
      // CHECK: tile.load {{.*}} -> <16xf32, #tile.lanes<dim = 0, 16>, reg>
      %row = tile.load %g[%c0] : !tile.view<16xf32> -> !tile.tile<16xf32>
      %next = tile.map (%u = %a[j], %v = %row[j]) -> [j] : (!tile.tile<16xf32>, !tile.tile<16xf32>) -> !tile.tile<16xf32> {
        %y = arith.addf %u, %v : f32
        tile.yield %y : f32
      }
      %out = tile.view "sum" [%t, :] : !tile.view<16xf32>
      tile.store %next, %out[%c0] : !tile.tile<16xf32> -> !tile.view<16xf32>
      tile.yield %next : !tile.tile<16xf32>
    }
  }
}
