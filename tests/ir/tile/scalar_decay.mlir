// Retention with a scalar decay a token (RetNet, Mamba-2), chunks of 16 tokens: one grid point walks
// the sequence, its state never leaves it. g is log2 of the decay; K = 9, V = 7.
//   S_t = 2^g_t S_(t-1) + k_t v_t^T      o_t = q_t^T S_t
// RUN: heddle-opt %s | heddle-opt | FileCheck %s
// CHECK-LABEL: tile.program @scalar_decay
// CHECK: tile.scan sum
// CHECK: contract(j)
!C = !tile.tile<16x16xf32>
!G = !tile.tile<16xf32>
!I = !tile.tile<16xi32>
!K = !tile.tile<16x9xf32>
!V = !tile.tile<16x7xf32>
!S = !tile.tile<9x7xf32>

tile.program @scalar_decay {
  tile.extent "B"
  tile.extent "T"
  tile.extent "H"
  tile.tensor "q" : f32[B, T, H, 9]
  tile.tensor "k" : f32[B, T, H, 9]
  tile.tensor "v" : f32[B, T, H, 7]
  tile.tensor "g" : f32[B, T, H]
  tile.tensor "s0" : f32[B, H, 9, 7]
  tile.tensor "o" result : f32[B, T, H, 7]
  tile.tensor "s1" result : f32[B, H, 9, 7]

  tile.kernel @walk grid(%h = H, %b = B) stage(abstract) {
    %T = tile.scalar "T" : index
    %c0 = arith.constant 0 : index
    %zero = arith.constant 0.0 : f32
    %q = tile.view "q" [%b, :, %h, :] : !tile.view<?x9xf32>
    %k = tile.view "k" [%b, :, %h, :] : !tile.view<?x9xf32>
    %v = tile.view "v" [%b, :, %h, :] : !tile.view<?x7xf32>
    %g = tile.view "g" [%b, :, %h] : !tile.view<?xf32>
    %o = tile.view "o" [%b, :, %h, :] : !tile.view<?x7xf32>
    %s0 = tile.view "s0" [%b, %h, :, :] : !tile.view<9x7xf32>
    %s1 = tile.view "s1" [%b, %h, :, :] : !tile.view<9x7xf32>
    %S0 = tile.load %s0[0, 0] : !tile.view<9x7xf32> -> !S
    %row = tile.index %c0 : !I
    %ZC = tile.fill 0.0 : !C
    %ZV = tile.fill 0.0 : !V
    %Z0 = tile.fill 0.0 : !tile.tile<f32>

    %S1 = tile.for %t = [%c0, %T) step 16 iter(%S = %S0) -> (!S) {
      %n = arith.subi %T, %t : index
      %Q = tile.load %q[%t, 0] valid(%n) fill 0.0 : !tile.view<?x9xf32> -> !K
      %K = tile.load %k[%t, 0] valid(%n) fill 0.0 : !tile.view<?x9xf32> -> !K
      %V = tile.load %v[%t, 0] valid(%n) fill 0.0 : !tile.view<?x7xf32> -> !V
      %G = tile.load %g[%t] valid(%n) fill 0.0 : !tile.view<?xf32> -> !G
      %sum = tile.scan sum %G dim(0) : !G
      %last = tile.reduce sum %G dim(0) init %Z0 : !G, !tile.tile<f32>

      // Pairs inside the chunk: the difference of prefix sums is masked before exp2.
      %QK = tile.mma %Q[i, d], %K[j, d] init %ZC[i, j] contract(d) : !K, !K, !C
      %A = tile.map (%s = %QK[i, j], %bi = %sum[i], %bj = %sum[j], %pi = %row[i], %pj = %row[j])
          -> [i, j] : (!C, !G, !G, !I, !I) -> !C {
        %keep = arith.cmpi sle, %pj, %pi : i32
        %x = arith.subf %bi, %bj : f32
        %y = arith.select %keep, %x, %zero : f32
        %w = math.exp2 %y : f32
        %z = arith.mulf %s, %w : f32
        %u = arith.select %keep, %z, %zero : f32
        tile.yield %u : f32
      }
      // The state before the chunk.
      %Qd = tile.map (%x = %Q[i, d], %y = %sum[i]) -> [i, d] : (!K, !G) -> !K {
        %w = math.exp2 %y : f32
        %z = arith.mulf %x, %w : f32
        tile.yield %z : f32
      }
      %O0 = tile.mma %Qd[i, d], %S[d, e] init %ZV[i, e] contract(d) : !K, !S, !V
      %O = tile.mma %A[i, j], %V[j, e] init %O0[i, e] contract(j) : !C, !V, !V
      tile.store %O, %o[%t, 0] valid(%n) : !V -> !tile.view<?x7xf32>

      // The state after it.
      %Kd = tile.map (%x = %K[j, d], %y = %sum[j], %l = %last[]) -> [j, d]
          : (!K, !G, !tile.tile<f32>) -> !K {
        %e = arith.subf %l, %y : f32
        %w = math.exp2 %e : f32
        %z = arith.mulf %x, %w : f32
        tile.yield %z : f32
      }
      %Sd = tile.map (%x = %S[d, e], %l = %last[]) -> [d, e] : (!S, !tile.tile<f32>) -> !S {
        %w = math.exp2 %l : f32
        %z = arith.mulf %x, %w : f32
        tile.yield %z : f32
      }
      %Sn = tile.mma %Kd[j, d], %V[j, e] init %Sd[d, e] contract(j) : !K, !V, !S
      tile.yield %Sn : !S
    }
    tile.store %S1, %s1[0, 0] : !S -> !tile.view<9x7xf32>
  }
}
