// Constant factors meet, exp becomes exp2, a map that one map reads joins it.
// RUN: heddle-opt %s --simplify-maps | FileCheck %s
!S = !tile.tile<16x32xf32>
!B = !tile.tile<16x32xi1>

tile.program @arithmetic {
  tile.tensor "x" : f32[16, 32]
  tile.tensor "o" result : f32[16, 32]
  // CHECK-LABEL: tile.kernel @maps
  tile.kernel @maps grid(%g = 1) stage(abstract) {
    %c0 = arith.constant 0 : index
    %x = tile.view "x" [:, :] : !tile.view<16x32xf32>
    %o = tile.view "o" [:, :] : !tile.view<16x32xf32>
    %X = tile.load %x[0, 0] : !tile.view<16x32xf32> -> !S
    %ii = tile.index %c0 : !tile.tile<16xi32>
    %eighth = arith.constant 0.125 : f32
    %cap = arith.constant 50.0 : f32
    %two = arith.constant 2.0 : f32
    %zero = arith.constant 0.0 : f32
    // 0.125 / 50 = 0.0025, and 50 * 2 = 100.
    // CHECK-DAG: %[[IN:.*]] = arith.constant 2.500000e-03 : f32
    // CHECK-DAG: %[[OUT:.*]] = arith.constant 1.000000e+02 : f32
    // CHECK-DAG: %[[LOG2E:.*]] = arith.constant 1.442{{.*}} : f32
    // One map: the mask and the exponential are inside.
    // CHECK: tile.map
    // CHECK: %[[A:.*]] = arith.mulf %{{.*}}, %[[IN]]
    // CHECK: %[[T:.*]] = math.tanh %[[A]]
    // CHECK: %[[B:.*]] = arith.mulf %[[T]], %[[OUT]]
    // CHECK: %[[C:.*]] = arith.select %{{.*}}, %[[B]]
    // CHECK: %[[D:.*]] = arith.mulf %[[C]], %[[LOG2E]]
    // CHECK: math.exp2 %[[D]]
    // CHECK-NOT: tile.map
    // CHECK: tile.store
    %keep = tile.map mask (%pi = %ii[i]) -> [i, j] : (!tile.tile<16xi32>) -> !B {
      %c7 = arith.constant 7 : i32
      %c = arith.cmpi sle, %pi, %c7 : i32
      tile.yield %c : i1
    }
    %s = tile.map (%v = %X[i, j], %c = %keep[i, j]) -> [i, j] : (!S, !B) -> !S {
      %a = arith.mulf %v, %eighth : f32
      %b = arith.divf %a, %cap : f32
      %t = math.tanh %b : f32
      %d = arith.mulf %t, %cap : f32
      %e = arith.mulf %d, %two : f32
      %y = arith.select %c, %e, %zero : f32
      tile.yield %y : f32
    }
    %p = tile.map (%v = %s[r, c]) -> [r, c] : (!S) -> !S {
      %e = math.exp %v : f32
      tile.yield %e : f32
    }
    tile.store %p, %o[0, 0] : !S -> !tile.view<16x32xf32>
  }
}
