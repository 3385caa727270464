// A product that asks for more than 16 bits takes its operands as sums of two numbers: three
// products, the rests first; values that have 16 bits leave no rest.
// RUN: heddle-opt %s --pass-pipeline="builtin.module(tile.program(tile.kernel(cuda-round-operands)))" | FileCheck %s
!F = !tile.tile<16x16xf32>

tile.program @split {
  tile.tensor "v" : bf16[16, 16]
  tile.tensor "k" : f32[16, 16]
  tile.tensor "s" : f32[16, 16]
  tile.tensor "o" result : f32[16, 16]
  // CHECK-LABEL: tile.kernel @chunks
  tile.kernel @chunks grid(%x = 1) stage(abstract) attributes {tile.state} {
    %k = tile.view "k" [:, :] : !tile.view<16x16xf32>
    %v = tile.view "v" [:, :] : !tile.view<16x16xbf16>
    %s = tile.view "s" [:, :] : !tile.view<16x16xf32>
    %o = tile.view "o" [:, :] : !tile.view<16x16xf32>
    // CHECK: %[[K:.*]] = tile.load {{.*}} -> <16x16xf32>
    // CHECK: %[[HIGH:.*]] = tile.map {{.*}} = %[[K]]
    // CHECK: %[[LOW:.*]] = tile.map (%[[X:.*]] = %[[K]][r, c], %[[H:.*]] = %[[HIGH]][r, c])
    // CHECK-NEXT: %[[W:.*]] = arith.extf %[[H]]
    // CHECK-NEXT: %[[D:.*]] = arith.subf %[[X]], %[[W]]
    // CHECK-NEXT: arith.truncf %[[D]]
    // CHECK: %[[V:.*]] = tile.load {{.*}} -> <16x16xbf16>
    // CHECK: %[[S:.*]] = tile.load {{.*}} -> <16x16xf32>
    // CHECK: %[[SH:.*]] = tile.map {{.*}} = %[[S]]
    // CHECK: %[[SL:.*]] = tile.map {{.*}} = %[[S]]
    %K = tile.load %k[0, 0] : !tile.view<16x16xf32> -> !F
    %V16 = tile.load %v[0, 0] : !tile.view<16x16xbf16> -> !tile.tile<16x16xbf16>
    %S = tile.load %s[0, 0] : !tile.view<16x16xf32> -> !F
    %V = tile.map (%a = %V16[i, e]) -> [i, e] : (!tile.tile<16x16xbf16>) -> !F {
      %w = arith.extf %a : bf16 to f32
      tile.yield %w : f32
    }
    %Z = tile.fill 0.0 : !F
    // CHECK: %[[W1:.*]] = tile.mma %[[V]][j, e], %[[LOW]][j, d]
    // CHECK: %[[W2:.*]] = tile.mma %[[V]][j, e], %[[HIGH]][j, d] init %[[W1]]
    %W = tile.mma %V[j, e], %K[j, d] init %Z[e, d] contract(j) precision(tf32x3) : !F, !F, !F
    // CHECK: %[[R1:.*]] = tile.mma %[[SL]][d, e], %[[HIGH]][i, d] init %[[W2]]
    // CHECK: %[[R2:.*]] = tile.mma %[[SH]][d, e], %[[LOW]][i, d] init %[[R1]]
    // CHECK: tile.mma %[[SH]][d, e], %[[HIGH]][i, d] init %[[R2]]
    %R = tile.mma %S[d, e], %K[i, d] init %W[e, i] contract(d) precision(tf32x3) : !F, !F, !F
    tile.store %R, %o[0, 0] : !F -> !tile.view<16x16xf32>
  }
}
