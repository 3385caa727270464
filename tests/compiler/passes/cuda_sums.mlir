// Sums over tiles that products read as operand b are products with a vector: a normaliser's read
// and the sum of keys. Maxima stay, as do sums over what no product reads and those of kernels that
// carry no state.
// RUN: heddle-opt %s --pass-pipeline="builtin.module(tile.program(tile.kernel(cuda-multiply-sums)))" | FileCheck %s
!Q = !tile.tile<16x32xf32>
!V = !tile.tile<16x64xf32>
!S = !tile.tile<32x64xf32>

tile.program @sums {
  tile.tensor "o" result : f32[16, 64]
  // CHECK-LABEL: tile.kernel @state
  tile.kernel @state grid(%g = 1) stage(abstract) attributes {tile.state} {
    // CHECK: %[[S:.*]] = tile.fill 0.5 : <32x64xf32>
    // CHECK: %[[Z:.*]] = tile.fill 0.25 : <32xf32>
    // CHECK: %[[Q:.*]] = tile.fill 0.125 : <16x32xf32>
    // CHECK: %[[L:.*]] = tile.fill 0.0 : <16xf32>
    %s = tile.fill 0.5 : !S
    %z = tile.fill 0.25 : !tile.tile<32xf32>
    %q = tile.fill 0.125 : !Q
    %l0 = tile.fill 0.0 : !tile.tile<16xf32>
    %v = tile.fill 2.0 : !V
    %o0 = tile.fill 0.0 : !V
    %o = tile.mma %s[d, e], %q[i, d] init %o0[i, e] contract(d) : !S, !Q, !V
    %terms = tile.map (%x = %q[i, d], %y = %z[d]) -> [i, d] : (!Q, !tile.tile<32xf32>) -> !Q {
      %t = arith.mulf %x, %y : f32
      tile.yield %t : f32
    }
    // CHECK: tile.mma %[[Z]][c], %[[Q]][r, c] init %[[L]][r] contract(c)
    %l = tile.reduce sum %terms dim(1) init %l0 : !Q, !tile.tile<16xf32>
    // CHECK: %[[ONES:.*]] = tile.fill 1.0 : <16xf32>
    // CHECK: tile.mma %[[ONES]][r], %[[Q]][r, c] init %[[Z]][c] contract(r)
    %n = tile.reduce sum %q dim(0) init %z : !Q, !tile.tile<32xf32>
    // CHECK: tile.reduce max %[[Q]] dim(1)
    %m = tile.reduce max %q dim(1) init %l0 : !Q, !tile.tile<16xf32>
    // CHECK: tile.reduce sum %{{.*}} dim(1) {{.*}} : <16x64xf32>, <16xf32>
    %k = tile.reduce sum %v dim(1) init %l0 : !V, !tile.tile<16xf32>
  }
  // CHECK-LABEL: tile.kernel @none
  tile.kernel @none grid(%g = 1) stage(abstract) {
    %s = tile.fill 0.5 : !S
    %q = tile.fill 0.125 : !Q
    %l0 = tile.fill 0.0 : !tile.tile<16xf32>
    %o0 = tile.fill 0.0 : !V
    %o = tile.mma %s[d, e], %q[i, d] init %o0[i, e] contract(d) : !S, !Q, !V
    // CHECK: tile.reduce sum %{{.*}} dim(1)
    %l = tile.reduce sum %q dim(1) init %l0 : !Q, !tile.tile<16xf32>
  }
}
