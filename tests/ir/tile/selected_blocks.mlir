// Top-k block selection and attention over the selected blocks: `score` keeps the two best blocks
// of 4 keys for each row by a representative key, `attend` reads keys through the list.
// RUN: heddle-opt %s | heddle-opt | FileCheck %s
// CHECK-LABEL: tile.program @selected_blocks
// CHECK: tile.topk
// CHECK: list<4>
!Q = !tile.tile<8x5xf32>
!R = !tile.tile<8x5xf32>
!S = !tile.tile<8x8xf32>
!L = !tile.tile<8x2xf32>
!N = !tile.tile<8x2xi32>

tile.program @selected_blocks {
  tile.extent "T"
  tile.extent "M"
  tile.tensor "q" : f32[T, 5]
  tile.tensor "k" : f32[T, 5]
  tile.tensor "r" : f32[M, 5]
  tile.tensor "o" result : f32[T]
  tile.tensor "idx" result : i32[T, 2]

  tile.kernel @score grid(%qt = ceildiv(T, 8)) stage(abstract) {
    %T = tile.scalar "T" : index
    %M = tile.scalar "M" : index
    %c0 = arith.constant 0 : index
    %c8 = arith.constant 8 : index
    %minusInf = arith.constant 0xFF800000 : f32
    %row0 = arith.muli %qt, %c8 : index
    %rows = arith.subi %T, %row0 : index
    %q = tile.view "q" [:, :] : !tile.view<?x5xf32>
    %r = tile.view "r" [:, :] : !tile.view<?x5xf32>
    %idx = tile.view "idx" [:, :] : !tile.view<?x2xi32>
    %Q = tile.load %q[%row0, 0] valid(%rows) fill 0.0 : !tile.view<?x5xf32> -> !Q
    %Z = tile.fill 0.0 : !S
    %s0 = tile.fill -inf : !L
    %i0 = tile.fill -1.0 : !N
    %limit = arith.index_cast %M : index to i32
    %best:2 = tile.for %m = [%c0, %M) step 8 iter(%bs = %s0, %bi = %i0) -> (!L, !N) {
      %n = arith.subi %M, %m : index
      %R = tile.load %r[%m, 0] valid(%n) fill 0.0 : !tile.view<?x5xf32> -> !R
      %id = tile.index %m : !tile.tile<8xi32>
      %S = tile.mma %Q[i, d], %R[j, d] init %Z[i, j] contract(d) : !Q, !R, !S
      %s = tile.map (%x = %S[i, j], %j = %id[j]) -> [i, j] : (!S, !tile.tile<8xi32>) -> !S {
        %there = arith.cmpi slt, %j, %limit : i32
        %y = arith.select %there, %x, %minusInf : f32
        tile.yield %y : f32
      }
      %ns, %ni = tile.topk %s, %id into %bs, %bi : !S, !tile.tile<8xi32>, !L, !N
      tile.yield %ns, %ni : !L, !N
    }
    %sorted = tile.sort %best#1 : !N
    tile.store %sorted, %idx[%row0, 0] valid(%rows) : !N -> !tile.view<?x2xi32>
  }

  // One row a grid point: the sum of its scores over the keys of its blocks.
  tile.kernel @attend grid(%i = T) stage(abstract) {
    %T = tile.scalar "T" : index
    %q = tile.view "q" [%i, :] : !tile.view<5xf32>
    %idx = tile.view "idx" [%i, :] : !tile.view<2xi32>
    %k = tile.view "k" [:, :] table(%idx : !tile.view<2xi32>) : !tile.view<?x5xf32, list<4>>
    %o = tile.view "o" [:] : !tile.view<?xf32>
    %c8 = arith.constant 8 : index
    %Q = tile.load %q[0] : !tile.view<5xf32> -> !tile.tile<5xf32>
    %K = tile.load %k[0, 0] valid(%c8) fill 0.0 : !tile.view<?x5xf32, list<4>> -> !tile.tile<8x5xf32>
    %Z = tile.fill 0.0 : !tile.tile<8xf32>
    %S = tile.mma %K[j, d], %Q[d] init %Z[j] contract(d)
        : !tile.tile<8x5xf32>, !tile.tile<5xf32>, !tile.tile<8xf32>
    %Z1 = tile.fill 0.0 : !tile.tile<f32>
    %s = tile.reduce sum %S dim(0) init %Z1 : !tile.tile<8xf32>, !tile.tile<f32>
    %line = tile.reshape %s : !tile.tile<f32> -> !tile.tile<1xf32>
    tile.store %line, %o[%i] : !tile.tile<1xf32> -> !tile.view<?xf32>
  }
}
