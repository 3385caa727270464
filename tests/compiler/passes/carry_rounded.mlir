// A state that a loop rounds is rounded where the product makes it, and carried too; the loop's other
// tile, which no product makes, is rounded where it is read.
// RUN: heddle-opt %s --pass-pipeline="builtin.module(tile.program(tile.kernel(carry-rounded)))" | FileCheck %s
!F = !tile.tile<32x32xf32>
!H = !tile.tile<32x32xbf16>

tile.program @chunks {
  tile.tensor "k" : bf16[64, 32]
  tile.tensor "o" result : f32[32, 32]
  tile.kernel @state grid(%g = 1) stage(abstract) attributes {tile.state} {
    %c0 = arith.constant 0 : index
    %c64 = arith.constant 64 : index
    %k = tile.view "k" [:, :] : !tile.view<64x32xbf16>
    %o = tile.view "o" [:, :] : !tile.view<32x32xf32>
    // CHECK: %[[ZERO:.*]] = tile.fill 0.0 : <32x32xf32>
    // CHECK: %[[START:.*]] = tile.map (%{{.*}} = %[[ZERO]]
    // CHECK: arith.truncf
    %zero = tile.fill 0.0 : !F
    // CHECK: tile.for {{.*}} iter(%[[S:.*]] = %[[ZERO]], %[[U:.*]] = %[[ZERO]], %[[S16:.*]] = %[[START]])
    %r:2 = tile.for %t = [%c0, %c64) step 32 iter(%S = %zero, %U = %zero) -> (!F, !F) {
      %S16 = tile.map (%x = %S[d, e]) -> [d, e] : (!F) -> !H {
        %y = arith.truncf %x : f32 to bf16
        tile.yield %y : bf16
      }
      // CHECK: %[[U16:.*]] = tile.map (%{{.*}} = %[[U]]
      %U16 = tile.map (%x = %U[d, e]) -> [d, e] : (!F) -> !H {
        %y = arith.truncf %x : f32 to bf16
        tile.yield %y : bf16
      }
      %K = tile.load %k[%t, 0] : !tile.view<64x32xbf16> -> !H
      // CHECK: %[[O:.*]] = tile.mma %[[S16]][d, e], %[[U16]][i, d]
      %O = tile.mma %S16[d, e], %U16[i, d] init %zero[i, e] contract(d) : !H, !H, !F
      %V = tile.map (%x = %O[d, e], %u = %U[d, e]) -> [d, e] : (!F, !F) -> !F {
        %y = arith.addf %x, %u : f32
        tile.yield %y : f32
      }
      // CHECK: %[[NEXT:.*]] = tile.mma %{{.*}} init %[[S]]
      // CHECK: %[[NEXT16:.*]] = tile.map (%{{.*}} = %[[NEXT]]
      // CHECK: arith.truncf
      %N = tile.mma %K[j, e], %K[j, d] init %S[d, e] contract(j) : !H, !H, !F
      // CHECK: tile.yield %[[NEXT]], %{{.*}}, %[[NEXT16]] :
      tile.yield %N, %V : !F, !F
    }
    // CHECK: tile.store %{{.*}}#0,
    tile.store %r#0, %o[0, 0] : !F -> !tile.view<32x32xf32>
  }
}
