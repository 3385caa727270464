// Rows of 8 heads become 16 for each of 4 warps, 72 features 80 where they are summed; columns of
// a product stay at 72. What is added is not loaded and not stored.
// RUN: heddle-opt %s --pass-pipeline="builtin.module(tile.program(tile.kernel(cuda-pad-tiles)))" | FileCheck %s
tile.program @heads {
  tile.extent "Tk"
  tile.tensor "q" : bf16[8, 72]
  tile.tensor "k" : bf16[Tk, 72]
  tile.tensor "o" result : f32[8, 72]
  // CHECK-LABEL: tile.kernel @step
  tile.kernel @step grid(%x = 1) stage(abstract) {
    %c0 = arith.constant 0 : index
    %Tk = tile.scalar "Tk" : index
    %q = tile.view "q" [:, :] : !tile.view<8x72xbf16>
    %k = tile.view "k" [:, :] : !tile.view<?x72xbf16>
    %o = tile.view "o" [:, :] : !tile.view<8x72xf32>
    // CHECK-DAG: %[[ROWS:.*]] = arith.constant 8 : index
    // CHECK-DAG: %[[WIDTH:.*]] = arith.constant 72 : index
    // CHECK: tile.load {{.*}} valid(%[[ROWS]], %[[WIDTH]]) fill 0.0 : <8x72xbf16> -> <64x80xbf16>
    %Q = tile.load %q[0, 0] : !tile.view<8x72xbf16> -> !tile.tile<8x72xbf16>
    // CHECK: tile.load {{.*}} valid(%{{.*}}, %{{.*}}) fill 0.0 : <?x72xbf16> -> <32x80xbf16>
    %K = tile.load %k[%c0, 0] valid(%Tk) fill 0.0 : !tile.view<?x72xbf16> -> !tile.tile<32x72xbf16>
    // CHECK: tile.load {{.*}} valid(%{{[^,]*}}) fill 0.0 : <?x72xbf16> -> <32x72xbf16>
    %V = tile.load %k[%c0, 0] valid(%Tk) fill 0.0 : !tile.view<?x72xbf16> -> !tile.tile<32x72xbf16>
    // CHECK: tile.fill 0.0 : <64x32xf32>
    %Z = tile.fill 0.0 : !tile.tile<8x32xf32>
    %Zo = tile.fill 0.0 : !tile.tile<8x72xf32>
    %S = tile.mma %Q[i, d], %K[j, d] init %Z[i, j] contract(d) : !tile.tile<8x72xbf16>, !tile.tile<32x72xbf16>, !tile.tile<8x32xf32>
    %P = tile.map (%s = %S[i, j]) -> [i, j] : (!tile.tile<8x32xf32>) -> !tile.tile<8x32xbf16> {
      %b = arith.truncf %s : f32 to bf16
      tile.yield %b : bf16
    }
    %O = tile.mma %P[i, j], %V[j, e] init %Zo[i, e] contract(j) : !tile.tile<8x32xbf16>, !tile.tile<32x72xbf16>, !tile.tile<8x72xf32>
    // CHECK: tile.store {{.*}} valid(%{{.*}}) : <64x72xf32> -> <8x72xf32>
    tile.store %O, %o[0, 0] : !tile.tile<8x72xf32> -> !tile.view<8x72xf32>
  }
}
