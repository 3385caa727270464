// Layouts of mma.sync, rings of two slots through both loops, offsets, waits and barriers.
// RUN: heddle-opt %s --pass-pipeline="builtin.module(tile.program(tile.kernel(cuda-assign-layouts,cuda-stage-loads,cuda-place-memory,cuda-insert-barriers,cuda-verify-budget)))" | FileCheck %s
!Q = !tile.tile<64x64xbf16>
!K = !tile.tile<32x64xbf16>
!S = !tile.tile<64x32xf32>
!P = !tile.tile<64x32xbf16>
!O = !tile.tile<64x64xf32>

tile.program @linear {
  tile.extent "Tq"
  tile.extent "Tk"
  tile.tensor "q" : bf16[Tq, 64]
  tile.tensor "k" : bf16[Tk, 64]
  tile.tensor "v" : bf16[Tk, 64]
  tile.tensor "o" result : bf16[Tq, 64]
  // Q 8 KiB, then two slots of 4 KiB each for k and v.
  // CHECK: tile.kernel @attn {{.*}} stage(concrete) attributes {tile.shared = 24576 : i64, tile.warps = 4 : i64}
  tile.kernel @attn grid(%qt = ceildiv(Tq, 64)) stage(abstract) {
    %c0 = arith.constant 0 : index
    %c64 = arith.constant 64 : index
    %i0 = arith.muli %qt, %c64 : index
    %Tq = tile.scalar "Tq" : index
    %Tk = tile.scalar "Tk" : index
    %rows = arith.subi %Tq, %i0 : index
    %full = arith.subi %Tk, %c64 : index
    %q = tile.view "q" [:, :] : !tile.view<?x64xbf16>
    %k = tile.view "k" [:, :] : !tile.view<?x64xbf16>
    %v = tile.view "v" [:, :] : !tile.view<?x64xbf16>
    %o = tile.view "o" [:, :] : !tile.view<?x64xbf16>
    // CHECK: %[[RQ:.*]] = tile.ring "q" {tile.offset = 0 : i64}
    // CHECK-SAME: <1 x 64x64xbf16, #tile.mem<"S<3,3,3> o (64,64):(64,1)">, smem>
    // CHECK: tile.put {{.*}} into %[[RQ]]
    // CHECK-NEXT: tile.commit
    %Q = tile.load %q[%i0, 0] valid(%rows) fill 0.0 : !tile.view<?x64xbf16> -> !Q
    %O0 = tile.fill 0.0 : !O
    %Z = tile.fill 0.0 : !S
    // CHECK: %[[RK:.*]] = tile.ring "k" {tile.offset = 8192 : i64} : <2 x 32x64xbf16
    // CHECK: %[[RV:.*]] = tile.ring "v" {tile.offset = 16384 : i64} : <2 x 32x64xbf16
    // The first tile of each is put before the loops, whichever loop it belongs to.
    // CHECK: scf.if
    // CHECK: tile.put {{.*}} into %[[RK]]
    // CHECK: tile.commit
    // CHECK: scf.if
    // CHECK: tile.put {{.*}} into %[[RV]]
    // CHECK: tile.commit
    // CHECK-NEXT: tile.wait_copies 2
    // CHECK-NEXT: tile.barrier 0 warps 4
    // CHECK-NEXT: %[[TQ:.*]] = tile.take %[[RQ]]
    // CHECK-NEXT: %[[F:.*]] = tile.convert %[[TQ]]
    // CHECK-SAME: #tile.dist<"((4,8,4),(2,2,8)):((128,1,16),(64,8,512))">, reg>
    // CHECK-NEXT: tile.release %[[RQ]]
    // CHECK: tile.for {{.*}} kind(edge)
    // CHECK: tile.wait_copies 1
    // CHECK-NEXT: tile.barrier 0 warps 4
    // CHECK-NEXT: %[[TK:.*]] = tile.take %[[RK]]
    // CHECK: tile.put {{.*}} into %[[RK]]
    // CHECK: tile.commit
    // CHECK: tile.mma %[[F]][i, d], %[[TK]][j, d]
    // CHECK: tile.release %[[RK]]
    // CHECK: tile.wait_copies 1
    // CHECK: %[[TV:.*]] = tile.take %[[RV]]
    // CHECK: tile.mma %{{.*}}[i, j], %[[TV]][j, e]
    // CHECK: tile.release %[[RV]]
    // CHECK: tile.for {{.*}} kind(full)
    // CHECK: tile.take %[[RK]]
    // CHECK: tile.take %[[RV]]
    // Results are turned in shared memory, where the queries lay.
    // CHECK: tile.barrier 0 warps 4
    // CHECK-NEXT: %[[T:.*]] = tile.convert {{.*}} {tile.offset = 0 : i64}
    // CHECK-NEXT: tile.barrier 0 warps 4
    // CHECK-NEXT: tile.store %[[T]]
    %E = tile.for %j = [%full, %Tk) step 32 iter(%O = %O0) kind(edge) -> (!O) {
      %n = arith.subi %Tk, %j : index
      %K = tile.load %k[%j, 0] valid(%n) fill 0.0 : !tile.view<?x64xbf16> -> !K
      %V = tile.load %v[%j, 0] valid(%n) fill 0.0 : !tile.view<?x64xbf16> -> !K
      %S = tile.mma %Q[i, d], %K[j, d] init %Z[i, j] contract(d) : !Q, !K, !S
      %P = tile.map (%s = %S[i, j]) -> [i, j] : (!S) -> !P {
        %b = arith.truncf %s : f32 to bf16
        tile.yield %b : bf16
      }
      %next = tile.mma %P[i, j], %V[j, e] init %O[i, e] contract(j) : !P, !K, !O
      tile.yield %next : !O
    }
    %F = tile.for %j = [%c0, %full) step 32 iter(%O = %E) kind(full) -> (!O) {
      %K = tile.load %k[%j, 0] : !tile.view<?x64xbf16> -> !K
      %V = tile.load %v[%j, 0] : !tile.view<?x64xbf16> -> !K
      %S = tile.mma %Q[i, d], %K[j, d] init %Z[i, j] contract(d) : !Q, !K, !S
      %P = tile.map (%s = %S[i, j]) -> [i, j] : (!S) -> !P {
        %b = arith.truncf %s : f32 to bf16
        tile.yield %b : bf16
      }
      %next = tile.mma %P[i, j], %V[j, e] init %O[i, e] contract(j) : !P, !K, !O
      tile.yield %next : !O
    }
    %R = tile.map (%x = %F[i, e]) -> [i, e] : (!O) -> !Q {
      %b = arith.truncf %x : f32 to bf16
      tile.yield %b : bf16
    }
    tile.store %R, %o[%i0, 0] valid(%rows) : !Q -> !tile.view<?x64xbf16>
  }
}
