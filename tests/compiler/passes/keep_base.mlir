// The base of exponentials moves only where a row's maximum grew by more than 8, in loops whose
// weights are rounded to bf16.
// RUN: heddle-opt %s --pass-pipeline="builtin.module(tile.program(tile.kernel(keep-base)))" | FileCheck %s
!S = !tile.tile<16x32xf32>
!P = !tile.tile<16x32xbf16>
!R = !tile.tile<16xf32>

tile.program @softmax {
  tile.tensor "x" : f32[16, 320]
  tile.tensor "y" : bf16[320, 16]
  tile.tensor "o" result : f32[16]
  // CHECK-LABEL: tile.kernel @rounded
  tile.kernel @rounded grid(%g = 1) stage(abstract) {
    %c0 = arith.constant 0 : index
    %end = arith.constant 320 : index
    %x = tile.view "x" [:, :] : !tile.view<16x320xf32>
    %y = tile.view "y" [:, :] : !tile.view<320x16xbf16>
    %o = tile.view "o" [:] : !tile.view<16xf32>
    %low = tile.fill -inf : !R
    %zero = tile.fill 0.0 : !tile.tile<16x16xf32>
    // CHECK: tile.for {{.*}} iter(%[[OLD:[^ ]*]] =
    // CHECK: %[[MAX:.*]] = tile.reduce max
    // CHECK: %[[BASE:.*]] = tile.map (%[[A:.*]] = %[[MAX]][i], %[[B:.*]] = %[[OLD]][i])
    // CHECK: %[[LIMIT:.*]] = arith.addf %[[B]]
    // CHECK: arith.cmpf ogt, %[[A]], %[[LIMIT]]
    // CHECK: tile.map (%{{.*}} = %[[OLD]][i], %{{.*}} = %[[BASE]][i])
    // CHECK: tile.yield %[[BASE]]
    %m, %O = tile.for %j = [%c0, %end) step 32 iter(%old = %low, %sum = %zero) -> (!R, !tile.tile<16x16xf32>) {
      %X = tile.load %x[0, %j] : !tile.view<16x320xf32> -> !S
      %Y = tile.load %y[%j, 0] : !tile.view<320x16xbf16> -> !tile.tile<32x16xbf16>
      %M = tile.reduce max %X dim(1) init %old : !S, !R
      %r = tile.map (%a = %old[i], %b = %M[i]) -> [i] : (!R, !R) -> !R {
        %d = arith.subf %a, %b : f32
        %e = math.exp2 %d : f32
        tile.yield %e : f32
      }
      %p = tile.map (%a = %X[i, j], %b = %M[i]) -> [i, j] : (!S, !R) -> !P {
        %d = arith.subf %a, %b : f32
        %e = math.exp2 %d : f32
        %t = arith.truncf %e : f32 to bf16
        tile.yield %t : bf16
      }
      %scaled = tile.map (%a = %sum[i, e], %b = %r[i]) -> [i, e] : (!tile.tile<16x16xf32>, !R) -> !tile.tile<16x16xf32> {
        %e = arith.mulf %a, %b : f32
        tile.yield %e : f32
      }
      %next = tile.mma %p[i, j], %Y[j, e] init %scaled[i, e] contract(j) : !P, !tile.tile<32x16xbf16>, !tile.tile<16x16xf32>
      tile.yield %M, %next : !R, !tile.tile<16x16xf32>
    }
    tile.store %m, %o[0] : !R -> !tile.view<16xf32>
  }
}
