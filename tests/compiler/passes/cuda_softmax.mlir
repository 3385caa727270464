// The factor of the scores moves past the maximum, the carried sum stays in shares, the quotient by
// a row becomes a product.
// RUN: heddle-opt %s --pass-pipeline="builtin.module(tile.program(tile.kernel(fold-scale)))" | FileCheck %s --check-prefix=FOLD
// RUN: heddle-opt %s --pass-pipeline="builtin.module(tile.program(tile.kernel(cuda-defer-sums)))" | FileCheck %s --check-prefix=DEFER
// RUN: heddle-opt %s --pass-pipeline="builtin.module(tile.program(tile.kernel(hoist-reciprocals)))" | FileCheck %s --check-prefix=DIVIDE
!S = !tile.tile<64x32xf32>
!R = !tile.tile<64xf32>

tile.program @softmax {
  tile.extent "Tk"
  tile.tensor "s" : f32[64, 4096]
  tile.tensor "o" result : f32[64, 32]
  tile.kernel @rows grid(%x = 1) stage(abstract) {
    %c0 = arith.constant 0 : index
    %end = arith.constant 4096 : index
    %c = arith.constant 0.25 : f32
    %none = arith.constant 0xFF800000 : f32
    %s = tile.view "s" [:, :] : !tile.view<64x4096xf32>
    %o = tile.view "o" [:, :] : !tile.view<64x32xf32>
    %m0 = tile.fill -inf : !R
    %l0 = tile.fill 0.0 : !R
    // DEFER: %[[L0:.*]] = tile.fill 0.0 : <64x4xf32>
    // DEFER: %[[LOOP:.*]]:2 = tile.for {{.*}} iter(%[[M:.*]] = %{{.*}}, %[[L:.*]] = %[[L0]])
    %r:2 = tile.for %j = [%c0, %end) step 32 iter(%m = %m0, %l = %l0) kind(full) -> (!R, !R) {
      %X = tile.load %s[0, %j] : !tile.view<64x4096xf32> -> !S
      // FOLD: %[[X:.*]] = tile.load
      // FOLD-NOT: arith.mulf
      // FOLD: %[[LOW:.*]] = tile.fill -inf
      // FOLD: %[[BARE:.*]] = tile.reduce max %[[X]] dim(1) init %[[LOW]]
      // FOLD: %[[NEW:.*]] = tile.map (%[[A:.*]] = %[[BARE]][i], %[[B:.*]] = %{{.*}}[i])
      // FOLD: %[[AC:.*]] = arith.mulf %[[A]]
      // FOLD: arith.maximumf %[[AC]], %[[B]]
      %scaled = tile.map (%v = %X[i, j]) -> [i, j] : (!S) -> !S {
        %y = arith.mulf %v, %c : f32
        tile.yield %y : f32
      }
      %M = tile.reduce max %scaled dim(1) init %m : !S, !R
      // FOLD: tile.map (%[[V:.*]] = %[[X]][i, j], %[[W:.*]] = %[[NEW]][i])
      // FOLD: %[[VC:.*]] = arith.mulf %[[V]]
      // FOLD: arith.subf %[[VC]], %[[W]]
      %P = tile.map (%v = %scaled[i, j], %b = %M[i]) -> [i, j] : (!S, !R) -> !S {
        %d = arith.subf %v, %b : f32
        %e = math.exp2 %d : f32
        tile.yield %e : f32
      }
      %f = tile.map (%a = %m[i], %b = %M[i]) -> [i] : (!R, !R) -> !R {
        %d = arith.subf %a, %b : f32
        %e = math.exp2 %d : f32
        tile.yield %e : f32
      }
      // DEFER: %[[LF:.*]] = tile.map (%{{.*}} = %[[L]][i, share], %{{.*}} = %{{.*}}[i]) -> [i, share]
      // DEFER: tile.reduce sum %{{.*}} dim(1) init %[[LF]] : <64x32xf32>, <64x4xf32>
      %lf = tile.map (%a = %l[i], %b = %f[i]) -> [i] : (!R, !R) -> !R {
        %d = arith.mulf %a, %b : f32
        tile.yield %d : f32
      }
      %L = tile.reduce sum %P dim(1) init %lf : !S, !R
      tile.yield %M, %L : !R, !R
    }
    // DEFER: tile.reduce sum %[[LOOP]]#1 dim(1) init %{{.*}} : <64x4xf32>, <64xf32>
    // DIVIDE: tile.for
    // DIVIDE: %[[INV:.*]] = tile.map (%[[L:[a-z0-9]*]] = %{{[^,]*}}[i]) -> [i]
    // DIVIDE: arith.divf %{{.*}}, %[[L]]
    // DIVIDE: tile.map ({{.*}}%[[I:[a-z0-9]*]] = %[[INV]][i]) -> [i, j]
    // DIVIDE-NOT: arith.divf
    // DIVIDE: arith.mulf %{{.*}}, %[[I]]
    %X = tile.load %s[0, 0] : !tile.view<64x4096xf32> -> !S
    %q = tile.map (%a = %X[i, j], %b = %r#1[i]) -> [i, j] : (!S, !R) -> !S {
      %d = arith.divf %a, %b : f32
      tile.yield %d : f32
    }
    tile.store %q, %o[0, 0] : !S -> !tile.view<64x32xf32>
  }
}
