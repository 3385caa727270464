// Kernels that carry a state: the factor of each token leaves the tile of keys for the values that
// registers hold, both rounded before they are multiplied; operands are rounded, none of them twice; each warp owns rows of the state's
// columns (S' as accumulators), values are read as operand a with ldmatrix.trans, keys as operand b
// where they lie in shared memory.
// RUN: heddle-opt %s --pass-pipeline="builtin.module(tile.program(tile.kernel(cuda-orient-products,cuda-move-factors,cuda-round-operands)))" | FileCheck %s
// RUN: heddle-opt %s --pass-pipeline="builtin.module(tile.program(tile.kernel(cuda-orient-products,cuda-move-factors,cuda-round-operands,cuda-pad-tiles,simplify-maps,cuda-assign-state-layouts,cuda-stage-loads,cuda-place-memory,cuda-insert-barriers)))" | FileCheck %s --check-prefix=LAID
tile.program @state {
  tile.extent "T"
  tile.tensor "k" : bf16[T, 32]
  tile.tensor "v" : bf16[T, 64]
  tile.tensor "f" : f32[T]
  tile.tensor "s" result : f32[32, 64]
  // CHECK-LABEL: tile.kernel @chunks
  // LAID-LABEL: tile.kernel @chunks
  // LAID-SAME: tile.warps = 4
  tile.kernel @chunks grid(%x = 1) stage(abstract) attributes {tile.state} {
    %c0 = arith.constant 0 : index
    %T = tile.scalar "T" : index
    %k = tile.view "k" [:, :] : !tile.view<?x32xbf16>
    %v = tile.view "v" [:, :] : !tile.view<?x64xbf16>
    %f = tile.view "f" [:] : !tile.view<?xf32>
    %s = tile.view "s" [:, :] : !tile.view<32x64xf32>
    %S0 = tile.fill 0.0 : !tile.tile<32x64xf32>
    // LAID: tile.for {{.*}} -> (!tile.tile<32x64xf32, #tile.dist<"((4,8,4),(2,2,4)):((2,32,512),(1,256,8))">, reg>
    %S = tile.for %t = [%c0, %T) step 16 iter(%Si = %S0) -> !tile.tile<32x64xf32> {
      %left = arith.subi %T, %t : index
      %K16 = tile.load %k[%t, 0] valid(%left) fill 0.0 : !tile.view<?x32xbf16> -> !tile.tile<16x32xbf16>
      %V16 = tile.load %v[%t, 0] valid(%left) fill 0.0 : !tile.view<?x64xbf16> -> !tile.tile<16x64xbf16>
      %F = tile.load %f[%t] valid(%left) fill 0.0 : !tile.view<?xf32> -> !tile.tile<16xf32>
      // CHECK: %[[K:.*]] = tile.load {{.*}} -> <16x32xbf16>
      // CHECK: %[[V:.*]] = tile.load {{.*}} -> <16x64xbf16>
      %V = tile.map (%a = %V16[i, e]) -> [i, e] : (!tile.tile<16x64xbf16>) -> !tile.tile<16x64xf32> {
        %w = arith.extf %a : bf16 to f32
        tile.yield %w : f32
      }
      %K = tile.map (%a = %K16[i, d], %b = %F[i]) -> [i, d] : (!tile.tile<16x32xbf16>, !tile.tile<16xf32>) -> !tile.tile<16x32xf32> {
        %w = arith.extf %a : bf16 to f32
        %y = arith.mulf %w, %b : f32
        tile.yield %y : f32
      }
      // CHECK: tile.map {{.*}} -> !tile.tile<16xbf16> {
      // CHECK-NEXT: arith.truncf
      // CHECK: %[[FV:.*]] = tile.map {{.*}} -> !tile.tile<16x64xbf16> {
      // CHECK-NEXT: arith.mulf {{.*}} : bf16
      // CHECK: tile.mma %[[FV]][j, e], %[[K]][j, d] init {{.*}}[d, e] contract(j)
      // LAID: tile.take
      // LAID: tile.convert {{.*}} -> <16x64xbf16, #tile.dist<"((4,8,4),(2,2,2)):((2,16,256),(1,128,8))">, reg>
      // LAID: tile.mma {{.*}} : !tile.tile<16x64xbf16, #tile.dist<"((4,8,4),(2,2,2)):((2,16,256),(1,128,8))">, reg>, !tile.tile<16x32xbf16, #tile.mem<{{.*}}>, smem>
      %next = tile.mma %K[j, d], %V[j, e] init %Si[d, e] contract(j) : !tile.tile<16x32xf32>, !tile.tile<16x64xf32>, !tile.tile<32x64xf32>
      tile.yield %next : !tile.tile<32x64xf32>
    }
    tile.store %S, %s[0, 0] : !tile.tile<32x64xf32> -> !tile.view<32x64xf32>
  }
}
