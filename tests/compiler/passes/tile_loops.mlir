// The loop over all keys becomes an edge loop and a full loop, with bounds from the support.
// RUN: heddle-opt %s --tile-loops | FileCheck %s
!S = !tile.tile<16x32xf32>
!K = !tile.tile<32x8xf32>
!R = !tile.tile<16xf32>

// CHECK-LABEL: tile.program @causal
tile.program @causal {
  tile.extent "Tq"
  tile.extent "Tk"
  tile.tensor "k" : f32[Tk, 8]
  tile.tensor "o" result : f32[Tq]
  tile.kernel @sum grid(%qt = ceildiv(Tq, 16)) stage(abstract) {
    %c0 = arith.constant 0 : index
    %c16 = arith.constant 16 : index
    %Tk = tile.scalar "Tk" : index
    %Tq = tile.scalar "Tq" : index
    %i0 = arith.muli %qt, %c16 : index
    %rows = arith.subi %Tq, %i0 : index
    %last = arith.subi %Tq, %c16 : index
    %k = tile.view "k" [:, :] : !tile.view<?x8xf32>
    %o = tile.view "o" [:] : !tile.view<?xf32>
    %l0 = tile.fill 0.0 : !R
    %ones = tile.fill 1.0 : !tile.tile<16x8xf32>
    %Z = tile.fill 0.0 : !S
    // CHECK: %[[FULL0:.*]] = arith.addi %[[I0:.*]], %
    // CHECK: %[[E:.*]] = tile.for %[[J:.*]] = [%[[LO:.*]], %[[A:.*]]) + [%[[B:.*]], %[[HI:.*]]) step 32
    // CHECK-SAME: kind(edge)
    // CHECK: %[[LEFT:.*]] = arith.cmpi slt, %[[J]], %[[A]]
    // CHECK: %[[END:.*]] = arith.select %[[LEFT]], %[[A]], %[[HI]]
    // CHECK: arith.subi %[[END]], %[[J]]
    // CHECK: tile.load {{.*}} valid
    // CHECK: %[[F:.*]] = tile.for %{{.*}} = [%[[A]], %[[B]]) step 32 iter(%{{.*}} = %[[E]])
    // CHECK-SAME: kind(full)
    // CHECK: tile.store %[[F]]
    %l = tile.for %j = [%c0, %Tk) step 32 iter(%acc = %l0) kind(any)
        support(#pattern.expr<{ j == i }>) at(%i0, %last, %c0, %c0) -> (!R) {
      %n = arith.subi %Tk, %j : index
      %K = tile.load %k[%j, 0] valid(%n) fill 0.0 : !tile.view<?x8xf32> -> !K
      %S = tile.mma %ones[i, d], %K[j, d] init %Z[i, j] contract(d) : !tile.tile<16x8xf32>, !K, !S
      %next = tile.reduce sum %S dim(1) init %acc : !S, !R
      tile.yield %next : !R
    }
    tile.store %l, %o[%i0] valid(%rows) : !R -> !tile.view<?xf32>
  }
}
