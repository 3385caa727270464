// A quotient by a number of the row becomes a product with its reciprocal; one by an element stays.
// RUN: heddle-opt %s --pass-pipeline="builtin.module(tile.program(tile.kernel(hoist-reciprocals)))" | FileCheck %s
!S = !tile.tile<16x32xf32>
!R = !tile.tile<16xf32>

tile.program @quotients {
  tile.tensor "x" : f32[16, 32]
  tile.tensor "o" result : f32[16, 32]
  // CHECK-LABEL: tile.kernel @rows
  tile.kernel @rows grid(%g = 1) stage(abstract) {
    %x = tile.view "x" [:, :] : !tile.view<16x32xf32>
    %o = tile.view "o" [:, :] : !tile.view<16x32xf32>
    %X = tile.load %x[0, 0] : !tile.view<16x32xf32> -> !S
    %zero = tile.fill 0.0 : !R
    %l = tile.reduce sum %X dim(1) init %zero : !S, !R
    // CHECK: %[[R:.*]] = tile.map (%[[L:.*]] = %{{.*}}) -> [i]
    // CHECK: arith.divf %{{.*}}, %[[L]] : f32
    // CHECK: tile.map {{.*}}%[[R]][i]
    // CHECK: %[[P:.*]] = arith.mulf
    // CHECK: arith.divf %[[P]]
    %y = tile.map (%a = %X[i, j], %b = %l[i]) -> [i, j] : (!S, !R) -> !S {
      %q = arith.divf %a, %b : f32
      %p = arith.divf %q, %a : f32
      tile.yield %p : f32
    }
    tile.store %y, %o[0, 0] : !S -> !tile.view<16x32xf32>
  }
  // Where a state is carried, what guards the quotient against a row of 0 is asked once a row too.
  // CHECK-LABEL: tile.kernel @guarded
  tile.kernel @guarded grid(%g = 1) stage(abstract) attributes {tile.state} {
    %x = tile.view "x" [:, :] : !tile.view<16x32xf32>
    %o = tile.view "o" [:, :] : !tile.view<16x32xf32>
    %X = tile.load %x[0, 0] : !tile.view<16x32xf32> -> !S
    %zero = tile.fill 0.0 : !R
    %l = tile.reduce sum %X dim(1) init %zero : !S, !R
    // CHECK: %[[R:.*]] = tile.map (%[[L:.*]] = %{{.*}}) -> [i]
    // CHECK: %[[Q:.*]] = arith.divf %{{.*}}, %[[L]] : f32
    // CHECK: arith.cmpf une, %[[L]]
    // CHECK: arith.select %{{.*}}, %[[Q]], %{{.*}}
    // CHECK: tile.map (%[[A:[^ ]*]] = %{{[^ ]*}}[i, j], %[[B:[^ ]*]] = %[[R]][i]) -> [i, j]
    // CHECK-NOT: arith.select
    // CHECK: arith.mulf %[[A]], %[[B]]
    %y = tile.map (%a = %X[i, j], %b = %l[i]) -> [i, j] : (!S, !R) -> !S {
      %none = arith.constant 0.0 : f32
      %there = arith.cmpf une, %b, %none : f32
      %q = arith.divf %a, %b : f32
      %kept = arith.select %there, %q, %none : f32
      tile.yield %kept : f32
    }
    tile.store %y, %o[0, 0] : !S -> !tile.view<16x32xf32>
  }
}
