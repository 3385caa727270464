// Bodies of full loops lose the mask and `valid`; bodies of edge loops keep both.
// RUN: heddle-opt %s --split-edges | FileCheck %s
!S = !tile.tile<16x32xf32>
!B = !tile.tile<16x32xi1>
!K = !tile.tile<32x8xf32>
!R = !tile.tile<16xf32>

tile.program @two_bodies {
  tile.extent "Tk"
  tile.tensor "k" : f32[Tk, 8]
  tile.tensor "o" result : f32[16]
  // CHECK-LABEL: tile.kernel @sum
  tile.kernel @sum grid(%x = 1) stage(abstract) {
    %c0 = arith.constant 0 : index
    %a = tile.scalar "Tk" : index
    %k = tile.view "k" [:, :] : !tile.view<?x8xf32>
    %o = tile.view "o" [:] : !tile.view<16xf32>
    %l0 = tile.fill 0.0 : !R
    %ones = tile.fill 1.0 : !tile.tile<16x8xf32>
    %Z = tile.fill 0.0 : !S
    %ii = tile.index %c0 : !tile.tile<16xi32>
    %zero = arith.constant 0.0 : f32
    // CHECK: kind(edge)
    // CHECK: tile.load {{.*}} valid
    // CHECK: tile.map mask
    // CHECK: arith.select
    %edge = tile.for %j = [%c0, %a) step 32 iter(%acc = %l0) kind(edge) -> (!R) {
      %n = arith.subi %a, %j : index
      %K = tile.load %k[%j, 0] valid(%n) fill 0.0 : !tile.view<?x8xf32> -> !K
      %S = tile.mma %ones[i, d], %K[j, d] init %Z[i, j] contract(d) : !tile.tile<16x8xf32>, !K, !S
      %jj = tile.index %j : !tile.tile<32xi32>
      %keep = tile.map mask (%pi = %ii[i], %pj = %jj[j]) -> [i, j] : (!tile.tile<16xi32>, !tile.tile<32xi32>) -> !B {
        %c = arith.cmpi sle, %pj, %pi : i32
        tile.yield %c : i1
      }
      %s = tile.map (%x0 = %S[i, j], %c = %keep[i, j]) -> [i, j] : (!S, !B) -> !S {
        %y = arith.select %c, %x0, %zero : f32
        tile.yield %y : f32
      }
      %next = tile.reduce sum %s dim(1) init %acc : !S, !R
      tile.yield %next : !R
    }
    // CHECK: kind(full)
    // CHECK: tile.load
    // CHECK-NOT: valid
    // CHECK-NOT: tile.map mask
    // CHECK-NOT: arith.select
    // CHECK: tile.reduce
    %full = tile.for %j = [%c0, %a) step 32 iter(%acc = %edge) kind(full) -> (!R) {
      %n = arith.subi %a, %j : index
      %K = tile.load %k[%j, 0] valid(%n) fill 0.0 : !tile.view<?x8xf32> -> !K
      %S = tile.mma %ones[i, d], %K[j, d] init %Z[i, j] contract(d) : !tile.tile<16x8xf32>, !K, !S
      %jj = tile.index %j : !tile.tile<32xi32>
      %keep = tile.map mask (%pi = %ii[i], %pj = %jj[j]) -> [i, j] : (!tile.tile<16xi32>, !tile.tile<32xi32>) -> !B {
        %c = arith.cmpi sle, %pj, %pi : i32
        tile.yield %c : i1
      }
      %s = tile.map (%x0 = %S[i, j], %c = %keep[i, j]) -> [i, j] : (!S, !B) -> !S {
        %y = arith.select %c, %x0, %zero : f32
        tile.yield %y : f32
      }
      %next = tile.reduce sum %s dim(1) init %acc : !S, !R
      tile.yield %next : !R
    }
    tile.store %full, %o[0] : !R -> !tile.view<16xf32>
  }
}
