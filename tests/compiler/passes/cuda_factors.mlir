// A token's scale leaves its codes: that of a key goes to the scores, that of a value to the weights
// (bf16; f16 could not hold the products of small scales). The codes alone are rounded, exactly.
// RUN: heddle-opt %s --pass-pipeline="builtin.module(tile.program(tile.kernel(cuda-move-factors,cuda-round-operands,simplify-maps)))" | FileCheck %s
// RUN: sed s/bf16/f16/g %s | heddle-opt --pass-pipeline="builtin.module(tile.program(tile.kernel(cuda-move-factors,cuda-round-operands,simplify-maps)))" | FileCheck %s --check-prefix=HALF
tile.program @codes {
  tile.tensor "q" : bf16[64, 32]
  tile.tensor "k" : i8[T, 32]
  tile.tensor "f" : f32[T]
  tile.extent "T"
  tile.tensor "o" result : f32[64, 32]
  // CHECK-LABEL: tile.kernel @attn
  // HALF-LABEL: tile.kernel @attn
  tile.kernel @attn grid(%g = 1) stage(abstract) {
    %c0 = arith.constant 0 : index
    %zero = arith.constant 0.0 : f32
    %T = tile.scalar "T" : index
    %q = tile.view "q" [:, :] : !tile.view<64x32xbf16>
    %k = tile.view "k" [:, :] : !tile.view<?x32xi8>
    %f = tile.view "f" [:] : !tile.view<?xf32>
    %o = tile.view "o" [:, :] : !tile.view<64x32xf32>
    %Q16 = tile.load %q[0, 0] : !tile.view<64x32xbf16> -> !tile.tile<64x32xbf16>
    %Q = tile.map (%a = %Q16[i, d]) -> [i, d] : (!tile.tile<64x32xbf16>) -> !tile.tile<64x32xf32> {
      %w = arith.extf %a : bf16 to f32
      tile.yield %w : f32
    }
    %S0 = tile.fill 0.0 : !tile.tile<64x16xf32>
    %O0 = tile.fill 0.0 : !tile.tile<64x32xf32>
    %O = tile.for %j = [%c0, %T) step 16 iter(%Oi = %O0) -> !tile.tile<64x32xf32> {
      %left = arith.subi %T, %j : index
      %C = tile.load %k[%j, 0] valid(%left) fill 0.0 : !tile.view<?x32xi8> -> !tile.tile<16x32xi8>
      // CHECK: %[[F:.*]] = tile.load {{.*}} -> <16xf32>
      // HALF: %[[F:.*]] = tile.load {{.*}} -> <16xf32>
      %F = tile.load %f[%j] valid(%left) fill 0.0 : !tile.view<?xf32> -> !tile.tile<16xf32>
      // CHECK: %[[M:.*]] = tile.map mask
      %end = arith.index_cast %T : index to i32
      %n = tile.index %j : !tile.tile<16xi32>
      %m = tile.map mask (%a = %n[j]) -> [j] : (!tile.tile<16xi32>) -> !tile.tile<16xi1> {
        %is = arith.cmpi slt, %a, %end : i32
        tile.yield %is : i1
      }
      // CHECK: %[[K:.*]] = tile.map (%{{.*}} = %{{.*}}[r, c]) -> {{.*}} -> !tile.tile<16x32xbf16> {
      // CHECK-NOT: arith.mulf
      // CHECK: tile.yield
      %K = tile.map (%a = %C[j, d], %b = %F[j]) -> [j, d] : (!tile.tile<16x32xi8>, !tile.tile<16xf32>) -> !tile.tile<16x32xf32> {
        %w = arith.extsi %a : i8 to i32
        %x = arith.sitofp %w : i32 to f32
        %y = arith.mulf %x, %b : f32
        tile.yield %y : f32
      }
      // CHECK: %[[V:.*]] = tile.map {{.*}} -> !tile.tile<16x32xbf16> {
      // CHECK-NOT: arith.mulf
      // CHECK: arith.select
      // HALF: tile.map {{.*}}%[[F]][r]{{.*}} -> !tile.tile<16x32xf16> {
      // HALF: arith.mulf
      %V = tile.map (%c = %m[j], %a = %C[j, e], %b = %F[j]) -> [j, e] : (!tile.tile<16xi1>, !tile.tile<16x32xi8>, !tile.tile<16xf32>) -> !tile.tile<16x32xf32> {
        %w = arith.extsi %a : i8 to i32
        %x = arith.sitofp %w : i32 to f32
        %y = arith.mulf %x, %b : f32
        %z = arith.select %c, %y, %zero : f32
        tile.yield %z : f32
      }
      // CHECK: %[[S:result]] = tile.mma {{.*}}, %[[K]][j, d]
      // CHECK: tile.map (%[[f:.*]] = %[[F]][c], %[[m:.*]] = %[[M]][c], %[[s:.*]] = %[[S]][r, c]) -> {{.*}}xbf16> {
      // CHECK-NEXT: %[[x:.*]] = arith.mulf %[[s]], %[[f]]
      // CHECK-NEXT: %[[e:.*]] = math.exp2 %[[x]]
      // CHECK-NEXT: %[[w:.*]] = arith.select %[[m]], %[[e]]
      // CHECK-NEXT: %[[g:.*]] = arith.select %[[m]], %[[f]]
      // CHECK-NEXT: arith.mulf %[[w]], %[[g]]
      // CHECK: tile.mma {{.*}}, %[[V]][j, e]
      %S = tile.mma %Q[i, d], %K[j, d] init %S0[i, j] contract(d) : !tile.tile<64x32xf32>, !tile.tile<16x32xf32>, !tile.tile<64x16xf32>
      %P = tile.map (%s = %S[i, j], %c = %m[j]) -> [i, j] : (!tile.tile<64x16xf32>, !tile.tile<16xi1>) -> !tile.tile<64x16xf32> {
        %e = math.exp2 %s : f32
        %r = arith.select %c, %e, %zero : f32
        tile.yield %r : f32
      }
      %next = tile.mma %P[i, j], %V[j, e] init %Oi[i, e] contract(j) : !tile.tile<64x16xf32>, !tile.tile<16x32xf32>, !tile.tile<64x32xf32>
      tile.yield %next : !tile.tile<64x32xf32>
    }
    tile.store %O, %o[0, 0] : !tile.tile<64x32xf32> -> !tile.view<64x32xf32>
  }
}
