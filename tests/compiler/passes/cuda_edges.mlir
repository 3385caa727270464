// Masked tiles are visited in parts of 32 keys, up to the last key: operands b are slices of the
// tile that the ring brings, what numbers keys begins at the part, what is carried runs through the
// parts. Whole tiles stay whole; and without any, masked ones do.
// RUN: heddle-opt %s --pass-pipeline="builtin.module(tile.program(tile.kernel(cuda-cut-edges)))" | FileCheck %s
// RUN: heddle-opt %s --pass-pipeline="builtin.module(tile.program(tile.kernel(cuda-cut-edges,cuda-assign-layouts,cuda-stage-loads)))" | FileCheck %s --check-prefix=STAGED
tile.program @edges {
  tile.extent "T"
  tile.tensor "q" : bf16[64, 32]
  tile.tensor "k" : bf16[T, 32]
  tile.tensor "f" : f32[T]
  tile.tensor "p" : bf16[64, 64]
  tile.tensor "o" result : f32[64, 32]
  // CHECK-LABEL: tile.kernel @both
  // STAGED-LABEL: tile.kernel @both
  tile.kernel @both grid(%g = 1) stage(abstract) {
    %c0 = arith.constant 0 : index
    %a = arith.constant 64 : index
    %minus = arith.constant 0xFF800000 : f32
    %T = tile.scalar "T" : index
    %q = tile.view "q" [:, :] : !tile.view<64x32xbf16>
    %k = tile.view "k" [:, :] : !tile.view<?x32xbf16>
    %f = tile.view "f" [:] : !tile.view<?xf32>
    %o = tile.view "o" [:, :] : !tile.view<64x32xf32>
    %Q = tile.load %q[0, 0] : !tile.view<64x32xbf16> -> !tile.tile<64x32xbf16>
    %S0 = tile.fill 0.0 : !tile.tile<64x64xf32>
    %O0 = tile.fill 0.0 : !tile.tile<64x32xf32>
    // CHECK: tile.for %[[J:.*]] = [%{{.*}}, %[[END:.*]]) step 64 iter(%[[O:.*]] = %{{.*}}) kind(edge)
    // STAGED: kind(edge)
    %O1 = tile.for %j = [%a, %T) step 64 iter(%Oi = %O0) kind(edge) -> !tile.tile<64x32xf32> {
      // CHECK: %[[K:.*]] = tile.load {{.*}} -> <64x32xbf16>
      // CHECK: %[[REST:.*]] = arith.subi %[[END]], %[[J]]
      // CHECK: %[[STOP:.*]] = arith.minsi %{{.*}}, %[[REST]]
      // CHECK: tile.for %[[P:.*]] = [%{{.*}}, %[[STOP]]) step 32 iter(%[[I:.*]] = %[[O]]) kind(edge)
      // STAGED: tile.take
      // STAGED: tile.put
      // STAGED: tile.for {{.*}} step 32
      // STAGED: tile.slice {{.*}} smem> -> <32x32xbf16, {{.*}}, smem>
      // STAGED: tile.release
      %left = arith.subi %T, %j : index
      %K = tile.load %k[%j, 0] valid(%left) fill 0.0 : !tile.view<?x32xbf16> -> !tile.tile<64x32xbf16>
      // CHECK: %[[KP:.*]] = tile.slice %[[K]] [%[[P]], 0] : <64x32xbf16> -> <32x32xbf16>
      // CHECK: %[[ROW:.*]] = arith.addi %[[J]], %[[P]]
      // CHECK: %[[ROWS:.*]] = arith.subi %{{.*}}, %[[P]]
      // CHECK: tile.load %{{.*}} [%[[ROW]]] valid(%[[ROWS]]) {{.*}} -> <32xf32>
      %F = tile.load %f[%j] valid(%left) fill 0.0 : !tile.view<?xf32> -> !tile.tile<64xf32>
      // CHECK: %[[N:.*]] = arith.addi %[[J]], %[[P]]
      // CHECK: tile.index %[[N]] : <32xi32>
      %n = tile.index %j : !tile.tile<64xi32>
      %end = arith.index_cast %T : index to i32
      // CHECK: tile.fill 0.0 : <64x32xf32>
      // CHECK: tile.mma %{{.*}}[i, d], %[[KP]][j, d] init {{.*}} : !tile.tile<64x32xbf16>, !tile.tile<32x32xbf16>, !tile.tile<64x32xf32>
      %S = tile.mma %Q[i, d], %K[j, d] init %S0[i, j] contract(d) precision(bf16) : !tile.tile<64x32xbf16>, !tile.tile<64x32xbf16>, !tile.tile<64x64xf32>
      // CHECK: tile.map {{.*}} -> !tile.tile<64x32xbf16>
      %P = tile.map (%s = %S[i, j], %x = %F[j], %m = %n[j]) -> [i, j] : (!tile.tile<64x64xf32>, !tile.tile<64xf32>, !tile.tile<64xi32>) -> !tile.tile<64x64xbf16> {
        %in = arith.cmpi slt, %m, %end : i32
        %y = arith.addf %s, %x : f32
        %z = arith.select %in, %y, %minus : f32
        %e = math.exp2 %z : f32
        %r = arith.truncf %e : f32 to bf16
        tile.yield %r : bf16
      }
      // CHECK: tile.mma {{.*}} init %[[I]][i, e] contract(j) : !tile.tile<64x32xbf16>, !tile.tile<32x32xbf16>, !tile.tile<64x32xf32>
      %next = tile.mma %P[i, j], %K[j, e] init %Oi[i, e] contract(j) precision(bf16) : !tile.tile<64x64xbf16>, !tile.tile<64x32xbf16>, !tile.tile<64x32xf32>
      tile.yield %next : !tile.tile<64x32xf32>
    }
    // CHECK: kind(full)
    // CHECK-NOT: tile.slice
    // STAGED: kind(full)
    // A whole tile is not clipped.
    // STAGED: tile.put {{.*}} valid(%c64{{.*}})
    %O2 = tile.for %j = [%c0, %a) step 64 iter(%Oi = %O1) kind(full) -> !tile.tile<64x32xf32> {
      %left = arith.subi %T, %j : index
      %K = tile.load %k[%j, 0] valid(%left) fill 0.0 : !tile.view<?x32xbf16> -> !tile.tile<64x32xbf16>
      %S = tile.mma %Q[i, d], %K[j, d] init %S0[i, j] contract(d) precision(bf16) : !tile.tile<64x32xbf16>, !tile.tile<64x32xbf16>, !tile.tile<64x64xf32>
      %P = tile.map (%s = %S[i, j]) -> [i, j] : (!tile.tile<64x64xf32>) -> !tile.tile<64x64xbf16> {
        %e = math.exp2 %s : f32
        %r = arith.truncf %e : f32 to bf16
        tile.yield %r : bf16
      }
      %next = tile.mma %P[i, j], %K[j, e] init %Oi[i, e] contract(j) precision(bf16) : !tile.tile<64x64xbf16>, !tile.tile<64x32xbf16>, !tile.tile<64x32xf32>
      tile.yield %next : !tile.tile<64x32xf32>
    }
    tile.store %O2, %o[0, 0] : !tile.tile<64x32xf32> -> !tile.view<64x32xf32>
  }
  // CHECK-LABEL: tile.kernel @masked
  // CHECK-NOT: step 32
  tile.kernel @masked grid(%g = 1) stage(abstract) {
    %a = arith.constant 64 : index
    %T = tile.scalar "T" : index
    %p = tile.view "p" [:, :] : !tile.view<64x64xbf16>
    %k = tile.view "k" [:, :] : !tile.view<?x32xbf16>
    %o = tile.view "o" [:, :] : !tile.view<64x32xf32>
    %P = tile.load %p[0, 0] : !tile.view<64x64xbf16> -> !tile.tile<64x64xbf16>
    %O0 = tile.fill 0.0 : !tile.tile<64x32xf32>
    %O1 = tile.for %j = [%a, %T) step 64 iter(%Oi = %O0) kind(edge) -> !tile.tile<64x32xf32> {
      %left = arith.subi %T, %j : index
      %K = tile.load %k[%j, 0] valid(%left) fill 0.0 : !tile.view<?x32xbf16> -> !tile.tile<64x32xbf16>
      %next = tile.mma %P[i, j], %K[j, e] init %Oi[i, e] contract(j) precision(bf16) : !tile.tile<64x64xbf16>, !tile.tile<64x32xbf16>, !tile.tile<64x32xf32>
      tile.yield %next : !tile.tile<64x32xf32>
    }
    tile.store %O1, %o[0, 0] : !tile.tile<64x32xf32> -> !tile.view<64x32xf32>
  }
}
