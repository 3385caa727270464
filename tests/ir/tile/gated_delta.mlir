// Gated DeltaNet in the WY form, chunks of 16 tokens: `prepare` runs over chunks, `walk` over the
// sequence. g is log2 of the decay; K = 9, V = 7.
//   S_t = 2^g_t (I - beta_t k_t k_t^T) S_(t-1) + beta_t k_t v_t^T      o_t = q_t^T S_t
// RUN: heddle-opt %s | heddle-opt | FileCheck %s
// CHECK-LABEL: tile.program @gated_delta
// CHECK: tile.solve_unit_lower
// CHECK: tile.kernel @walk
!C = !tile.tile<16x16xf32>
!G = !tile.tile<16xf32>
!I = !tile.tile<16xi32>
!K = !tile.tile<16x9xf32>
!V = !tile.tile<16x7xf32>
!S = !tile.tile<9x7xf32>

tile.program @gated_delta {
  tile.extent "B"
  tile.extent "T"
  tile.extent "H"
  tile.tensor "q" : f32[B, T, H, 9]
  tile.tensor "k" : f32[B, T, H, 9]
  tile.tensor "v" : f32[B, T, H, 7]
  tile.tensor "g" : f32[B, T, H]
  tile.tensor "beta" : f32[B, T, H]
  tile.tensor "o" result : f32[B, T, H, 7]
  tile.buffer "u" : f32[B, H, ceildiv(T, 16) * 16, 7]
  tile.buffer "w" : f32[B, H, ceildiv(T, 16) * 16, 9]

  tile.kernel @prepare grid(%c = ceildiv(T, 16), %h = H, %b = B) stage(abstract) {
    %T = tile.scalar "T" : index
    %c0 = arith.constant 0 : index
    %c16 = arith.constant 16 : index
    %zero = arith.constant 0.0 : f32
    %one = arith.constant 1.0 : f32
    %k = tile.view "k" [%b, :, %h, :] : !tile.view<?x9xf32>
    %v = tile.view "v" [%b, :, %h, :] : !tile.view<?x7xf32>
    %g = tile.view "g" [%b, :, %h] : !tile.view<?xf32>
    %beta = tile.view "beta" [%b, :, %h] : !tile.view<?xf32>
    %u = tile.view "u" [%b, %h, :, :] : !tile.view<?x7xf32>
    %w = tile.view "w" [%b, %h, :, :] : !tile.view<?x9xf32>
    %t = arith.muli %c, %c16 : index
    %n = arith.subi %T, %t : index
    %K = tile.load %k[%t, 0] valid(%n) fill 0.0 : !tile.view<?x9xf32> -> !K
    %V = tile.load %v[%t, 0] valid(%n) fill 0.0 : !tile.view<?x7xf32> -> !V
    %G = tile.load %g[%t] valid(%n) fill 0.0 : !tile.view<?xf32> -> !G
    %Be = tile.load %beta[%t] valid(%n) fill 0.0 : !tile.view<?xf32> -> !G
    %sum = tile.scan sum %G dim(0) : !G
    %row = tile.index %c0 : !I
    %ZC = tile.fill 0.0 : !C
    %ZV = tile.fill 0.0 : !V
    %ZK = tile.fill 0.0 : !K

    %KK = tile.mma %K[i, d], %K[j, d] init %ZC[i, j] contract(d) : !K, !K, !C
    %M = tile.map (%s = %KK[i, j], %be = %Be[i], %bi = %sum[i], %bj = %sum[j], %pi = %row[i],
                   %pj = %row[j]) -> [i, j] : (!C, !G, !G, !G, !I, !I) -> !C {
      %keep = arith.cmpi slt, %pj, %pi : i32
      %x = arith.subf %bi, %bj : f32
      %y = arith.select %keep, %x, %zero : f32
      %e = math.exp2 %y : f32
      %z = arith.mulf %s, %e : f32
      %z2 = arith.mulf %z, %be : f32
      %r = arith.select %keep, %z2, %zero : f32
      tile.yield %r : f32
    }
    %I = tile.map (%pi = %row[i], %pj = %row[j]) -> [i, j] : (!I, !I) -> !C {
      %same = arith.cmpi eq, %pi, %pj : i32
      %x = arith.select %same, %one, %zero : f32
      tile.yield %x : f32
    }
    %X = tile.solve_unit_lower %M, %I : !C, !C
    %Vb = tile.map (%x = %V[i, e], %be = %Be[i]) -> [i, e] : (!V, !G) -> !V {
      %y = arith.mulf %x, %be : f32
      tile.yield %y : f32
    }
    %Kb = tile.map (%x = %K[i, d], %be = %Be[i], %bi = %sum[i]) -> [i, d] : (!K, !G, !G) -> !K {
      %e = math.exp2 %bi : f32
      %y = arith.mulf %x, %be : f32
      %z = arith.mulf %y, %e : f32
      tile.yield %z : f32
    }
    %U = tile.mma %X[i, j], %Vb[j, e] init %ZV[i, e] contract(j) : !C, !V, !V
    %W = tile.mma %X[i, j], %Kb[j, d] init %ZK[i, d] contract(j) : !C, !K, !K
    tile.store %U, %u[%t, 0] : !V -> !tile.view<?x7xf32>
    tile.store %W, %w[%t, 0] : !K -> !tile.view<?x9xf32>
  }

  tile.kernel @walk grid(%h = H, %b = B) stage(abstract) {
    %T = tile.scalar "T" : index
    %c0 = arith.constant 0 : index
    %zero = arith.constant 0.0 : f32
    %q = tile.view "q" [%b, :, %h, :] : !tile.view<?x9xf32>
    %k = tile.view "k" [%b, :, %h, :] : !tile.view<?x9xf32>
    %g = tile.view "g" [%b, :, %h] : !tile.view<?xf32>
    %o = tile.view "o" [%b, :, %h, :] : !tile.view<?x7xf32>
    %u = tile.view "u" [%b, %h, :, :] : !tile.view<?x7xf32>
    %w = tile.view "w" [%b, %h, :, :] : !tile.view<?x9xf32>
    %row = tile.index %c0 : !I
    %ZC = tile.fill 0.0 : !C
    %ZV = tile.fill 0.0 : !V
    %Z0 = tile.fill 0.0 : !tile.tile<f32>
    %S0 = tile.fill 0.0 : !S
    %S1 = tile.for %t = [%c0, %T) step 16 iter(%S = %S0) -> (!S) {
      %n = arith.subi %T, %t : index
      %Q = tile.load %q[%t, 0] valid(%n) fill 0.0 : !tile.view<?x9xf32> -> !K
      %K = tile.load %k[%t, 0] valid(%n) fill 0.0 : !tile.view<?x9xf32> -> !K
      %G = tile.load %g[%t] valid(%n) fill 0.0 : !tile.view<?xf32> -> !G
      %U = tile.load %u[%t, 0] : !tile.view<?x7xf32> -> !V
      %W = tile.load %w[%t, 0] : !tile.view<?x9xf32> -> !K
      %sum = tile.scan sum %G dim(0) : !G
      %last = tile.reduce sum %G dim(0) init %Z0 : !G, !tile.tile<f32>
      %Wn = tile.map (%x = %W[i, d]) -> [i, d] : (!K) -> !K {
        %y = arith.negf %x : f32
        tile.yield %y : f32
      }
      %N = tile.mma %Wn[i, d], %S[d, e] init %U[i, e] contract(d) : !K, !S, !V

      %QK = tile.mma %Q[i, d], %K[j, d] init %ZC[i, j] contract(d) : !K, !K, !C
      %A = tile.map (%s = %QK[i, j], %bi = %sum[i], %bj = %sum[j], %pi = %row[i], %pj = %row[j])
          -> [i, j] : (!C, !G, !G, !I, !I) -> !C {
        %keep = arith.cmpi sle, %pj, %pi : i32
        %x = arith.subf %bi, %bj : f32
        %y = arith.select %keep, %x, %zero : f32
        %e = math.exp2 %y : f32
        %z = arith.mulf %s, %e : f32
        %r = arith.select %keep, %z, %zero : f32
        tile.yield %r : f32
      }
      %Qd = tile.map (%x = %Q[i, d], %y = %sum[i]) -> [i, d] : (!K, !G) -> !K {
        %e = math.exp2 %y : f32
        %z = arith.mulf %x, %e : f32
        tile.yield %z : f32
      }
      %O0 = tile.mma %Qd[i, d], %S[d, e] init %ZV[i, e] contract(d) : !K, !S, !V
      %O = tile.mma %A[i, j], %N[j, e] init %O0[i, e] contract(j) : !C, !V, !V
      tile.store %O, %o[%t, 0] valid(%n) : !V -> !tile.view<?x7xf32>

      %Kd = tile.map (%x = %K[j, d], %y = %sum[j], %l = %last[]) -> [j, d]
          : (!K, !G, !tile.tile<f32>) -> !K {
        %e = arith.subf %l, %y : f32
        %f = math.exp2 %e : f32
        %z = arith.mulf %x, %f : f32
        tile.yield %z : f32
      }
      %Sd = tile.map (%x = %S[d, e], %l = %last[]) -> [d, e] : (!S, !tile.tile<f32>) -> !S {
        %f = math.exp2 %l : f32
        %z = arith.mulf %x, %f : f32
        tile.yield %z : f32
      }
      %Sn = tile.mma %Kd[j, d], %N[j, e] init %Sd[d, e] contract(j) : !K, !V, !S
      tile.yield %Sn : !S
    }
  }
}
