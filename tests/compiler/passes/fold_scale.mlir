// A positive factor of the scores moves past the row maximum; a negative one stays.
// RUN: heddle-opt %s --pass-pipeline="builtin.module(tile.program(tile.kernel(fold-scale)))" | FileCheck %s
!S = !tile.tile<16x32xf32>
!R = !tile.tile<16xf32>

tile.program @scores {
  tile.tensor "x" : f32[16, 32]
  tile.tensor "o" result : f32[16]
  // CHECK-LABEL: tile.kernel @positive
  tile.kernel @positive grid(%g = 1) stage(abstract) {
    %c = arith.constant 0.125 : f32
    %x = tile.view "x" [:, :] : !tile.view<16x32xf32>
    %o = tile.view "o" [:] : !tile.view<16xf32>
    %X = tile.load %x[0, 0] : !tile.view<16x32xf32> -> !S
    %low = tile.fill -inf : !R
    // CHECK-NOT: tile.map
    // CHECK: %[[BARE:.*]] = tile.reduce max
    // CHECK: tile.map (%[[B:.*]] = %[[BARE]]
    // CHECK: %[[SCALED:.*]] = arith.mulf %[[B]]
    // CHECK: arith.maximumf %[[SCALED]]
    %s = tile.map (%a = %X[i, j]) -> [i, j] : (!S) -> !S {
      %y = arith.mulf %a, %c : f32
      tile.yield %y : f32
    }
    %m = tile.reduce max %s dim(1) init %low : !S, !R
    tile.store %m, %o[0] : !R -> !tile.view<16xf32>
  }
  // CHECK-LABEL: tile.kernel @negative
  tile.kernel @negative grid(%g = 1) stage(abstract) {
    %c = arith.constant -0.125 : f32
    %x = tile.view "x" [:, :] : !tile.view<16x32xf32>
    %o = tile.view "o" [:] : !tile.view<16xf32>
    %X = tile.load %x[0, 0] : !tile.view<16x32xf32> -> !S
    %low = tile.fill -inf : !R
    // CHECK: tile.map
    // CHECK: arith.mulf
    // CHECK: tile.reduce max
    // CHECK-NOT: arith.maximumf
    %s = tile.map (%a = %X[i, j]) -> [i, j] : (!S) -> !S {
      %y = arith.mulf %a, %c : f32
      tile.yield %y : f32
    }
    %m = tile.reduce max %s dim(1) init %low : !S, !R
    tile.store %m, %o[0] : !R -> !tile.view<16xf32>
  }
}
