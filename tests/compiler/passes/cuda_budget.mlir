// A block that does not fit is refused with the largest part and the excess, and so is a thread, which
// is told apart from one that other warps could help; f32 has no product.
// RUN: not heddle-opt %s --split-input-file --pass-pipeline="builtin.module(tile.program(tile.kernel(cuda-assign-layouts,cuda-stage-loads,cuda-place-memory,cuda-verify-budget)))" 2>&1 | FileCheck %s
!Q = !tile.tile<64x512xbf16>
!S = !tile.tile<64x128xf32>
// CHECK: needs 196608 bytes of shared memory, 29696 more than the 166912 a block of a100 has
// CHECK-SAME: 131072 bytes; take smaller BM, BN or STAGES
tile.program @wide {
  tile.tensor "q" : bf16[64, 512]
  tile.tensor "k" : bf16[128, 512]
  tile.tensor "o" result : f32[64, 128]
  tile.kernel @scores grid(%x = 1) stage(abstract) {
    %q = tile.view "q" [:, :] : !tile.view<64x512xbf16>
    %k = tile.view "k" [:, :] : !tile.view<128x512xbf16>
    %o = tile.view "o" [:, :] : !tile.view<64x128xf32>
    %Q = tile.load %q[0, 0] : !tile.view<64x512xbf16> -> !Q
    %K = tile.load %k[0, 0] : !tile.view<128x512xbf16> -> !tile.tile<128x512xbf16>
    %Z = tile.fill 0.0 : !S
    %S = tile.mma %Q[i, d], %K[j, d] init %Z[i, j] contract(d) : !Q, !tile.tile<128x512xbf16>, !S
    tile.store %S, %o[0, 0] : !S -> !tile.view<64x128xf32>
  }
}

// -----
// CHECK: no mma.sync for operands of 'f32' yet (f32 would need tf32 in three products); use bf16 or f16
tile.program @single {
  tile.tensor "q" : f32[64, 64]
  tile.tensor "o" result : f32[64, 64]
  tile.kernel @scores grid(%x = 1) stage(abstract) {
    %q = tile.view "q" [:, :] : !tile.view<64x64xf32>
    %o = tile.view "o" [:, :] : !tile.view<64x64xf32>
    %Q = tile.load %q[0, 0] : !tile.view<64x64xf32> -> !tile.tile<64x64xf32>
    %Z = tile.fill 0.0 : !tile.tile<64x64xf32>
    %S = tile.mma %Q[i, d], %Q[j, d] init %Z[i, j] contract(d) : !tile.tile<64x64xf32>, !tile.tile<64x64xf32>, !tile.tile<64x64xf32>
    tile.store %S, %o[0, 0] : !tile.tile<64x64xf32> -> !tile.view<64x64xf32>
  }
}

// -----
// CHECK: needs at least 264 registers a thread, 9 more than the 255 there are
// CHECK-SAME: 64x512xf32
// CHECK-SAME: 256 of them; a warp takes no fewer than 16 rows
tile.program @columns {
  tile.tensor "q" : bf16[64, 16]
  tile.tensor "k" : bf16[T, 16]
  tile.tensor "v" : bf16[T, 512]
  tile.extent "T"
  tile.tensor "o" result : f32[64, 512]
  tile.kernel @attn grid(%x = 1) stage(abstract) {
    %c0 = arith.constant 0 : index
    %T = tile.scalar "T" : index
    %q = tile.view "q" [:, :] : !tile.view<64x16xbf16>
    %k = tile.view "k" [:, :] : !tile.view<?x16xbf16>
    %v = tile.view "v" [:, :] : !tile.view<?x512xbf16>
    %o = tile.view "o" [:, :] : !tile.view<64x512xf32>
    %Q = tile.load %q[0, 0] : !tile.view<64x16xbf16> -> !tile.tile<64x16xbf16>
    %Z = tile.fill 0.0 : !tile.tile<64x16xf32>
    %O0 = tile.fill 0.0 : !tile.tile<64x512xf32>
    %O = tile.for %j = [%c0, %T) step 16 iter(%Oi = %O0) -> !tile.tile<64x512xf32> {
      %left = arith.subi %T, %j : index
      %K = tile.load %k[%j, 0] valid(%left) fill 0.0 : !tile.view<?x16xbf16> -> !tile.tile<16x16xbf16>
      %V = tile.load %v[%j, 0] valid(%left) fill 0.0 : !tile.view<?x512xbf16> -> !tile.tile<16x512xbf16>
      %S = tile.mma %Q[i, d], %K[j, d] init %Z[i, j] contract(d) : !tile.tile<64x16xbf16>, !tile.tile<16x16xbf16>, !tile.tile<64x16xf32>
      %P = tile.map (%s = %S[i, j]) -> [i, j] : (!tile.tile<64x16xf32>) -> !tile.tile<64x16xbf16> {
        %r = arith.truncf %s : f32 to bf16
        tile.yield %r : bf16
      }
      %next = tile.mma %P[i, j], %V[j, e] init %Oi[i, e] contract(j) : !tile.tile<64x16xbf16>, !tile.tile<16x512xbf16>, !tile.tile<64x512xf32>
      tile.yield %next : !tile.tile<64x512xf32>
    }
    tile.store %O, %o[0, 0] : !tile.tile<64x512xf32> -> !tile.view<64x512xf32>
  }
}
