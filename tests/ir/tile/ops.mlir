// Round trip of every op, type and attribute of the dialect.
// RUN: heddle-opt %s | FileCheck %s
// RUN: heddle-opt %s | heddle-opt > %t.once
// RUN: heddle-opt %s > %t.twice
// RUN: diff %t.once %t.twice

// CHECK-LABEL: tile.program @abstract
tile.program @abstract {
  // CHECK: tile.extent "B"
  tile.extent "B"
  // CHECK: tile.extent "T" multiple 16
  tile.extent "T" multiple 16
  // CHECK: tile.param "W" = 4096 : i64
  tile.param "W" = 4096 : i64
  // CHECK: tile.param "cap" = 5.0{{0*}}e+01 : f64
  tile.param "cap" = 50.0 : f64
  // CHECK: tile.tensor "q" : bf16 [B, T, 64]
  tile.tensor "q" : bf16[B, T, 64]
  // CHECK: tile.tensor "codes" : ui8 [B, 4, 32]
  tile.tensor "codes" : ui8[B, 4, 32]
  tile.tensor "pool" : f32[B, 16, 8]
  tile.tensor "pages" : i32[T]
  // CHECK: tile.tensor "o" result : f32 [B, T, 64]
  tile.tensor "o" result : f32[B, T, 64]
  // CHECK: tile.buffer "part" : f32 [B, ceildiv(T, 512) * (2 + T - 1), max(T, min(B, floordiv(T, 3)))]
  tile.buffer "part" : f32[B, ceildiv(T, 512) * (2 + T - 1), max(T, min(B, floordiv(T, 3)))]
  // CHECK: tile.buffer "folded" : f32 [12]
  tile.buffer "folded" : f32[ceildiv(23, 2)]

  // CHECK: tile.kernel @all grid(%{{.*}} = ceildiv(T, 16) desc, %{{.*}} = B) repeat(%{{.*}} = 3) stage(abstract) attributes {note = "kept"}
  tile.kernel @all grid(%t = ceildiv(T, 16) desc, %b = B) repeat(%n = 3) stage(abstract) attributes {note = "kept"} {
    %c0 = arith.constant 0 : index
    %c16 = arith.constant 16 : index
    // CHECK: tile.scalar "T" : index
    %T = tile.scalar "T" : index
    // CHECK: tile.scalar "cap" : f32
    %cap = tile.scalar "cap" : f32
    // CHECK: tile.view "q" [%{{.*}}, :, :] : !tile.view<?x64xbf16>
    %q = tile.view "q" [%b, :, :] : !tile.view<?x64xbf16>
    %codes = tile.view "codes" [%b, :, :] : !tile.view<4x32xi8>
    %pages = tile.view "pages" [:] : !tile.view<?xi32>
    // CHECK: tile.view "pool" [:, :, :] table(%{{.*}} : !tile.view<?xi32>) : !tile.view<?x8xf32, paged<16>>
    %pool = tile.view "pool" [:, :, :] table(%pages : !tile.view<?xi32>) : !tile.view<?x8xf32, paged<16>>
    // CHECK: tile.view "q" {{.*}} : !tile.view<?x64xbf16, list<4>>
    %list = tile.view "q" [%b, :, :] table(%pages : !tile.view<?xi32>) : !tile.view<?x64xbf16, list<4>>
    // CHECK: tile.view "q" {{.*}} : !tile.view<?x64xbf16, wrap>
    %wrap = tile.view "q" [%b, :, :] : !tile.view<?x64xbf16, wrap>
    // CHECK: tile.view "q" [%{{.*}}, %{{.*}}, %{{.*}}] : !tile.view<bf16>
    %one = tile.view "q" [%b, %c0, %c0] : !tile.view<bf16>
    // CHECK: tile.read %{{.*}}[] : <bf16> -> bf16
    %element = tile.read %one[] : !tile.view<bf16> -> bf16
    // CHECK: tile.read %{{.*}}[%{{.*}}] : <?xi32> -> i32
    %page = tile.read %pages[%t] : !tile.view<?xi32> -> i32
    // CHECK: tile.gather %{{.*}}[%{{.*}}] : <?xi32> -> i32
    %coordinates = tile.index %t : !tile.tile<4xi32>
    %picked = tile.map (%x = %coordinates[i]) -> [i] : (!tile.tile<4xi32>) -> !tile.tile<4xi32> {
      %at = arith.index_cast %x : i32 to index
      %y = tile.gather %pages[%at] : !tile.view<?xi32> -> i32
      tile.yield %y : i32
    }
    %row0 = arith.muli %t, %c16 : index
    %rows = arith.subi %T, %row0 : index
    // CHECK: tile.load %{{.*}}[%{{.*}}, 0] valid(%{{.*}}) fill 0.0 : <?x64xbf16> -> <16x64xbf16>
    %Q = tile.load %q[%row0, 0] valid(%rows) fill 0.0 : !tile.view<?x64xbf16> -> !tile.tile<16x64xbf16>
    // CHECK: valid(%{{.*}}, %{{.*}}) : <?x64xbf16> -> <16x8xbf16>
    %Q8 = tile.load %q[%row0, 8] valid(%rows, %c16) : !tile.view<?x64xbf16> -> !tile.tile<16x8xbf16>
    %L = tile.load %list[0, 0] valid(%rows) fill -inf : !tile.view<?x64xbf16, list<4>> -> !tile.tile<16x64xbf16>
    %X = tile.load %codes[0, 0] : !tile.view<4x32xi8> -> !tile.tile<4x32xi8>
    // CHECK: tile.fill 1.0e-30 : <16x64xf32>
    %Z = tile.fill 1.0e-30 : !tile.tile<16x64xf32>
    // CHECK: tile.fill nan : <4x2xf32>
    %scale = tile.fill nan : !tile.tile<4x2xf32>
    // CHECK: tile.fill 3.0 : <4x1xi8>
    %zero = tile.fill 3 : !tile.tile<4x1xi8>
    // CHECK: tile.index %{{.*}} : <16xi32>
    %i = tile.index %row0 : !tile.tile<16xi32>
    // CHECK: tile.map mask (%{{.*}} = %{{.*}}[i], %{{.*}} = %{{.*}}[j]) -> [i, j]
    %keep = tile.map mask (%x = %i[i], %y = %i[j]) -> [i, j]
        : (!tile.tile<16xi32>, !tile.tile<16xi32>) -> !tile.tile<16x16xi1> {
      %z = arith.cmpi sle, %y, %x : i32
      tile.yield %z : i1
    }
    // CHECK: tile.map () -> [i] : () -> !tile.tile<16xf32>
    %splat = tile.map () -> [i] : () -> !tile.tile<16xf32> {
      tile.yield %cap : f32
    }
    // CHECK: %{{.*}}:2 = tile.map (%{{.*}} = %{{.*}}[j, i]) -> [i, j]
    %two:2 = tile.map (%x = %Z[j, i]) -> [i, j]
        : (!tile.tile<16x64xf32>) -> (!tile.tile<64x16xf32>, !tile.tile<64x16xbf16>) {
      %y = arith.mulf %x, %cap : f32
      %z = arith.truncf %y : f32 to bf16
      tile.yield %y, %z : f32, bf16
    }
    %Z16 = tile.fill 0.0 : !tile.tile<16x16xf32>
    // CHECK: tile.mma %{{.*}}[i, d], %{{.*}}[j, d] init %{{.*}}[i, j] contract(d) : !tile.tile<16x64xbf16>
    %S = tile.mma %Q[i, d], %Q[j, d] init %Z16[i, j] contract(d)
        : !tile.tile<16x64xbf16>, !tile.tile<16x64xbf16>, !tile.tile<16x16xf32>
    // CHECK: contract(d) precision(tf32x3) : !tile.tile<16x64xf32>
    %S2 = tile.mma %Z[i, d], %Z[j, d] init %Z16[j, i] contract(d) precision(tf32x3)
        : !tile.tile<16x64xf32>, !tile.tile<16x64xf32>, !tile.tile<16x16xf32>
    %Z1 = tile.fill 0.0 : !tile.tile<f32>
    // CHECK: contract(i, j) : !tile.tile<16x16xf32>, !tile.tile<16x16xf32>, !tile.tile<f32>
    %dot = tile.mma %S[i, j], %S2[j, i] init %Z1[] contract(i, j)
        : !tile.tile<16x16xf32>, !tile.tile<16x16xf32>, !tile.tile<f32>
    // CHECK: tile.reduce max %{{.*}} dim(1) init %{{.*}} : <16x16xf32>, <16xf32>
    %max = tile.reduce max %S dim(1) init %splat : !tile.tile<16x16xf32>, !tile.tile<16xf32>
    // CHECK: tile.scan sum %{{.*}} dim(0) exclusive reverse : <16xf32>
    %scan = tile.scan sum %max dim(0) exclusive reverse : !tile.tile<16xf32>
    // CHECK: tile.solve_unit_lower %{{.*}}, %{{.*}} : <16x16xf32>, <16x64xf32>
    %solved = tile.solve_unit_lower %S, %Z : !tile.tile<16x16xf32>, !tile.tile<16x64xf32>
    // CHECK: tile.decode u4 %{{.*}} scale(%{{.*}} : !tile.tile<4x2xf32>) zero(%{{.*}} : !tile.tile<4x1xi8>) : <4x32xi8> -> <4x64xf32>
    %decoded = tile.decode u4 %X scale(%scale : !tile.tile<4x2xf32>) zero(%zero : !tile.tile<4x1xi8>)
        : !tile.tile<4x32xi8> -> !tile.tile<4x64xf32>
    %table = tile.fill 0.5 : !tile.tile<4xf32>
    // CHECK: tile.decode u2 %{{.*}} table(%{{.*}} : !tile.tile<4xf32>) : <4x32xi8> -> <4x128xbf16>
    %looked = tile.decode u2 %X table(%table : !tile.tile<4xf32>) : !tile.tile<4x32xi8> -> !tile.tile<4x128xbf16>
    %best = tile.fill -inf : !tile.tile<16x4xf32>
    %ids = tile.fill -1 : !tile.tile<16x4xi32>
    // CHECK: tile.topk %{{.*}}, %{{.*}} into %{{.*}}, %{{.*}} : <16x16xf32>, <16xi32>, <16x4xf32>, <16x4xi32>
    %b1, %b2 = tile.topk %S, %i into %best, %ids : !tile.tile<16x16xf32>, !tile.tile<16xi32>, !tile.tile<16x4xf32>, !tile.tile<16x4xi32>
    // CHECK: tile.sort %{{.*}} : <16x4xi32>
    %sorted = tile.sort %b2 : !tile.tile<16x4xi32>
    // CHECK: tile.slice %{{.*}}[0, %{{.*}}] : <16x64xf32> -> <16x8xf32>
    %slice = tile.slice %Z[0, %c16] : !tile.tile<16x64xf32> -> !tile.tile<16x8xf32>
    // CHECK: tile.reshape %{{.*}} permute(1, 0) : <16x8xf32> -> <2x4x16xf32>
    %permuted = tile.reshape %slice permute(1, 0) : !tile.tile<16x8xf32> -> !tile.tile<2x4x16xf32>
    // CHECK: tile.reshape %{{.*}} : <2x4x16xf32> -> <128xf32>
    %flat = tile.reshape %permuted : !tile.tile<2x4x16xf32> -> !tile.tile<128xf32>
    // CHECK: tile.for %{{.*}} = [%{{.*}}, %{{.*}}) + [%{{.*}}, %{{.*}}) step 16 iter(%{{.*}} = %{{.*}}) kind(edge) support("j <= i") at(%{{.*}}, %{{.*}}) -> !tile.tile<16x64xf32> attributes {mark}
    %acc = tile.for %j = [%c0, %row0) + [%c16, %T) step 16 iter(%a = %Z) kind(edge)
        support("j <= i") at(%row0, %rows) -> (!tile.tile<16x64xf32>) attributes {mark} {
      tile.yield %a : !tile.tile<16x64xf32>
    }
    %o = tile.view "o" [%b, :, :] : !tile.view<?x64xf32>
    %later = arith.cmpi sgt, %n, %c0 : index
    // CHECK: scf.if
    scf.if %later {
      // CHECK: tile.store %{{.*}}, %{{.*}}[%{{.*}}, 0] valid(%{{.*}}) : <16x64xf32> -> <?x64xf32>
      tile.store %acc, %o[%row0, 0] valid(%rows) : !tile.tile<16x64xf32> -> !tile.view<?x64xf32>
    }
    // CHECK: tile.for %{{.*}} = [%{{.*}}, %{{.*}}) step 1 {
    tile.for %j = [%c0, %c16) step 1 {
      %s = arith.addi %j, %c0 : index
    }
  }
}

// CHECK-LABEL: tile.program @concrete
!Kreg = !tile.tile<64x16xbf16, #tile.lanes<dim = 1, 16>, reg>
!Klocal = !tile.tile<64x16xbf16, #tile.pairs<lanes = 1, width = 16, packed = 0, count = 2>, local>
!Cslot = !tile.tile<64x16xbf16, #tile.lanes<dim = 1, 8>, smem>
!Cacc = !tile.tile<64x64xf32, #tile.lanes<dim = 0, 8>, reg>
tile.program @concrete {
  tile.extent "T"
  tile.tensor "k" : bf16[T, 16]
  tile.tensor "o" result : f32[T, 64]
  // CHECK: stage(concrete)
  tile.kernel @cpu grid(%t = 1) stage(concrete) {
    %c0 = arith.constant 0 : index
    %T = tile.scalar "T" : index
    %k = tile.view "k" [:, :] : !tile.view<?x16xbf16>
    // CHECK: #tile.strided, global>
    %K = tile.load %k[0, 0] valid(%T) fill 0.0 : !tile.view<?x16xbf16> -> !tile.tile<64x16xbf16, #tile.strided, global>
    // CHECK: tile.convert %{{.*}} : <64x16xbf16, #tile.strided, global> -> <64x16xbf16, #tile.lanes<dim = 1, 16>, reg>
    %R = tile.convert %K : !tile.tile<64x16xbf16, #tile.strided, global> -> !Kreg
    // CHECK: -> <64x16xbf16, #tile.pairs<lanes = 1, width = 16, packed = 0, count = 2>, local>
    %L = tile.convert %R : !Kreg -> !Klocal
    // CHECK: -> <64x16xbf16, #tile.mem<"S<1,3,3> o (64,16):(16,1)">, local>
    %M = tile.convert %R : !Kreg -> !tile.tile<64x16xbf16, #tile.mem<"S<1,3,3> o (64, 16):(16, 1)">, local>
    // CHECK: -> <64x16xbf16, #tile.dist<"((8,4),(8,4)):((1,8),(32,256))">, reg>
    %D = tile.convert %M : !tile.tile<64x16xbf16, #tile.mem<"S<1,3,3> o (64,16):(16,1)">, local>
        -> !tile.tile<64x16xbf16, #tile.dist<"((8,4),(8,4)):((1,8),(32,256))">, reg>
    // CHECK: tile.convert %{{.*}} free
    %F = tile.convert %R free : !Kreg -> !Kreg
  }
  tile.kernel @roles grid(%t = 1) stage(concrete) {
    %c0 = arith.constant 0 : index
    %T = tile.scalar "T" : index
    %k = tile.view "k" [:, :] : !tile.view<?x16xbf16>
    // CHECK: tile.ring "k" : <3 x 64x16xbf16, #tile.lanes<dim = 1, 8>, smem>
    %ring = tile.ring "k" : !tile.ring<3 x 64x16xbf16, #tile.lanes<dim = 1, 8>, smem>
    // CHECK: tile.roles {
    tile.roles {
      // CHECK: load(warps 4, regs 24) {
      load(warps 4, regs 24) {
        tile.for %j = [%c0, %T) step 64 {
          %n = arith.subi %T, %j : index
          // CHECK: tile.put %{{.*}}[%{{.*}}, 0] valid(%{{.*}}) fill 0.0 into %{{.*}} :
          tile.put %k[%j, 0] valid(%n) fill 0.0 into %ring : !tile.view<?x16xbf16> -> !tile.ring<3 x 64x16xbf16, #tile.lanes<dim = 1, 8>, smem>
        }
      }
      // CHECK: compute(x2, warps 4, regs 200) {
      compute(x2, warps 4, regs 200) {
        %Z = tile.fill 0.0 : !Cacc
        %sum = tile.for %j = [%c0, %T) step 64 iter(%acc = %Z) -> (!Cacc) {
          // CHECK: tile.take %{{.*}} : <3 x 64x16xbf16
          %K = tile.take %ring : !tile.ring<3 x 64x16xbf16, #tile.lanes<dim = 1, 8>, smem> -> !Cslot
          // CHECK: tile.mma async %{{.*}}[i, d]
          %S, %token = tile.mma async %K[i, d], %K[j, d] init %acc[i, j] contract(d) : !Cslot, !Cslot, !Cacc
          // CHECK: tile.wait %{{.*}}
          tile.wait %token
          // CHECK: tile.barrier 1 warps 4
          tile.barrier 1 warps 4
          // CHECK: tile.release %{{.*}} :
          tile.release %ring : !tile.ring<3 x 64x16xbf16, #tile.lanes<dim = 1, 8>, smem>
          tile.yield %S : !Cacc
        }
        %o = tile.view "o" [:, :] : !tile.view<?x64xf32>
        tile.store %sum, %o[0, 0] valid(%T) : !Cacc -> !tile.view<?x64xf32>
      }
    }
  }
}

// CHECK: attr = #tile.formula<ceildiv(T, 16) * (B + 1)>
// CHECK-SAME: none = !tile.token
module attributes {test.attr = #tile.formula<ceildiv(T, 16) * (B + 1)>, test.none = !tile.token} {}
