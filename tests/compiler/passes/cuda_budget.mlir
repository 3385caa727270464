// A block that does not fit is refused with the largest part and the excess; f32 has no product.
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
