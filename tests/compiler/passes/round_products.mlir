// A chunk's products in bf16, for the matrix unit and for dot products of pairs: weights with the keys along the lanes, the values as
// they lie, the state rounded; a sum of 8 is no whole tile, and a kernel without a state stays as it is.
// Pairs may be few, but lie in one vector where a product's lanes run along its sum.
// RUN: heddle-opt %s --pass-pipeline="builtin.module(tile.program(tile.kernel(round-products)))" | FileCheck %s
// RUN: heddle-opt %s --pass-pipeline="builtin.module(tile.program(tile.kernel(round-products{dots=true})))" | FileCheck %s --check-prefix=DOTS
!F = !tile.tile<32x32xf32>
!H = !tile.tile<32x32xbf16>
!N = !tile.tile<32x8xf32>

tile.program @chunk {
  tile.tensor "q" : bf16[32, 32]
  tile.tensor "k" : bf16[32, 32]
  tile.tensor "s" : f32[32, 32]
  tile.tensor "n" : f32[32, 8]
  tile.tensor "o" result : f32[32, 32]
  // CHECK-LABEL: tile.kernel @state
  tile.kernel @state grid(%g = 1) stage(abstract) attributes {tile.state} {
    %q = tile.view "q" [:, :] : !tile.view<32x32xbf16>
    %k = tile.view "k" [:, :] : !tile.view<32x32xbf16>
    %s = tile.view "s" [:, :] : !tile.view<32x32xf32>
    %n = tile.view "n" [:, :] : !tile.view<32x8xf32>
    %o = tile.view "o" [:, :] : !tile.view<32x32xf32>
    %zero = tile.fill 0.0 : !F
    // CHECK: %[[Q:.*]] = tile.load %{{.*}} -> <32x32xbf16>
    %Q16 = tile.load %q[0, 0] : !tile.view<32x32xbf16> -> !H
    // CHECK: %[[K:.*]] = tile.load %{{.*}} -> <32x32xbf16>
    %K16 = tile.load %k[0, 0] : !tile.view<32x32xbf16> -> !H
    %S = tile.load %s[0, 0] : !tile.view<32x32xf32> -> !F
    %N = tile.load %n[0, 0] : !tile.view<32x8xf32> -> !N
    %Q = tile.map (%x = %Q16[i, d]) -> [i, d] : (!H) -> !F {
      %y = arith.extf %x : bf16 to f32
      tile.yield %y : f32
    }
    %K = tile.map (%x = %K16[i, d]) -> [i, d] : (!H) -> !F {
      %y = arith.extf %x : bf16 to f32
      tile.yield %y : f32
    }
    // CHECK: %[[A:.*]] = tile.mma %[[K]][j, d], %[[Q]][i, d] init %{{.*}}[i, j] contract(d) {tile.atom = "amx"}
    %A = tile.mma %Q[i, d], %K[j, d] init %zero[i, j] contract(d) : !F, !F, !F
    // DOTS: %[[A:.*]] = tile.mma %[[K:.*]][j, d], %[[Q:.*]][i, d] init %{{.*}}[i, j] contract(d) :
    // DOTS: %[[A16:.*]] = tile.map (%{{.*}} = %[[A]]
    // DOTS: arith.truncf
    // DOTS: %[[O:.*]] = tile.mma %[[K]][j, e], %[[A16]][i, j] init %{{.*}}[i, e] contract(j) :
    // DOTS: %[[P:.*]] = tile.mma %{{.*}}[i, n], %{{.*}}[e, n] init %[[O]][i, e] contract(n) : !tile.tile<32x8xbf16>
    // DOTS: %{{.*}} = tile.mma %[[P]][i, e], %{{.*}}[i, d] init %{{.*}}[e, d] contract(i) : !tile.tile<32x32xf32>
    // CHECK: %[[A16:.*]] = tile.map (%{{.*}} = %[[A]]
    // CHECK: arith.truncf
    // CHECK: %[[O:.*]] = tile.mma %[[K]][j, e], %[[A16]][i, j] init %{{.*}}[i, e] contract(j) {tile.atom = "amx"}
    %O = tile.mma %K[j, e], %A[i, j] init %S[i, e] contract(j) : !F, !F, !F
    // CHECK: %[[P:.*]] = tile.mma %{{.*}}[i, n], %{{.*}}[e, n] init %[[O]][i, e] contract(n) :
    %P = tile.mma %N[i, n], %N[e, n] init %O[i, e] contract(n) : !N, !N, !F
    // CHECK: %{{.*}} = tile.mma %[[P]][i, e], %{{.*}}[i, d] init %{{.*}}[e, d] contract(i) : !tile.tile<32x32xf32>
    %R = tile.mma %P[i, e], %S[i, d] init %zero[e, d] contract(i) : !F, !F, !F
    tile.store %R, %o[0, 0] : !F -> !tile.view<32x32xf32>
  }
  // CHECK-LABEL: tile.kernel @none
  tile.kernel @none grid(%g = 1) stage(abstract) {
    %s = tile.view "s" [:, :] : !tile.view<32x32xf32>
    %o = tile.view "o" [:, :] : !tile.view<32x32xf32>
    %S = tile.load %s[0, 0] : !tile.view<32x32xf32> -> !F
    // CHECK-NOT: amx
    %P = tile.mma %S[i, n], %S[e, n] init %S[i, e] contract(n) : !F, !F, !F
    tile.store %P, %o[0, 0] : !F -> !tile.view<32x32xf32>
  }
}
