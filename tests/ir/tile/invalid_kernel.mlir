// One error for each rule of the verifier that needs a kernel or a program.
// RUN: heddle-opt %s --split-input-file --verify-diagnostics

// Rule 1: an abstract kernel has no layout.
tile.program @layout {
  tile.kernel @a grid(%i = 1) stage(abstract) {
    // expected-error @+1 {{in an abstract kernel, expected neither layout nor space}}
    %z = tile.fill 0.0 : !tile.tile<16xf32, #tile.lanes<dim = 0, 16>, reg>
  }
}

// -----

// Rule 1: an abstract kernel has no ring.
tile.program @ring {
  tile.kernel @a grid(%i = 1) stage(abstract) {
    // expected-error @+1 {{is not allowed in an abstract kernel: no ring, role, token, barrier or convert}}
    %r = tile.ring "k" : !tile.ring<2 x 16xf32>
  }
}

// -----

// Rule 1: an abstract kernel has no token.
tile.program @token {
  tile.kernel @a grid(%i = 1) stage(abstract) {
    %a = tile.fill 0.0 : !tile.tile<16x16xf32>
    // expected-error @+1 {{is async in an abstract kernel, which has no tokens}}
    %s, %t = tile.mma async %a[i, d], %a[d, j] init %a[i, j] contract(d) : !tile.tile<16x16xf32>, !tile.tile<16x16xf32>, !tile.tile<16x16xf32>
  }
}

// -----

// Rule 1: a tile of a concrete kernel has a layout and a space.
tile.program @concrete {
  tile.kernel @a grid(%i = 1) stage(concrete) {
    // expected-error @+1 {{in a concrete kernel, expected a layout and a space}}
    %z = tile.fill 0.0 : !tile.tile<16xf32>
  }
}

// -----

// Rule 1: kernels hold tile, arith, math and scf.if.
tile.program @foreign {
  tile.kernel @a grid(%i = 1) stage(abstract) {
    %c = arith.constant 1 : index
    // expected-error @+1 {{is not allowed in a tile kernel, expected tile ops, arith and math on scalars, scf.if}}
    scf.for %j = %i to %c step %c {
    }
  }
}

// -----

// Rule 3: a run-time extent needs valid.
tile.program @valid {
  tile.extent "T"
  tile.tensor "q" : f32[T, 8]
  tile.kernel @a grid(%i = 1) stage(abstract) {
    %q = tile.view "q" [:, :] : !tile.view<?x8xf32>
    // expected-error @+1 {{moves 16 elements of dimension 0 of 'q', whose extent is a run-time value: give valid(..), or declare the extent a multiple of 16}}
    %t = tile.load %q[%i, 0] : !tile.view<?x8xf32> -> !tile.tile<16x8xf32>
  }
}

// -----

// Rule 3: a declared multiple of 16 proves tiles of 16 rows and of 8, not of 32.
tile.program @multiple {
  tile.extent "T" multiple 16
  tile.tensor "q" : f32[T, 8]
  tile.kernel @a grid(%i = 1) stage(abstract) {
    %q = tile.view "q" [:, :] : !tile.view<?x8xf32>
    %t = tile.load %q[%i, 0] : !tile.view<?x8xf32> -> !tile.tile<16x8xf32>
    %u = tile.load %q[%i, 0] : !tile.view<?x8xf32> -> !tile.tile<8x8xf32>
    // expected-error @+1 {{declare the extent a multiple of 32}}
    %v = tile.load %q[%i, 0] : !tile.view<?x8xf32> -> !tile.tile<32x8xf32>
  }
}

// -----

// Rule 3: stores need valid as well.
tile.program @validStore {
  tile.extent "T"
  tile.tensor "o" result : f32[T]
  tile.kernel @a grid(%i = 1) stage(abstract) {
    %o = tile.view "o" [:] : !tile.view<?xf32>
    %z = tile.fill 0.0 : !tile.tile<16xf32>
    // expected-error @+1 {{moves 16 elements of dimension 0 of 'o'}}
    tile.store %z, %o[%i] : !tile.tile<16xf32> -> !tile.view<?xf32>
  }
}

// -----

// Rule 3: what lies beyond valid along a contracted dimension is 0.
tile.program @unfilled {
  tile.extent "T"
  tile.tensor "v" : f32[T, 8]
  tile.kernel @a grid(%i = 1) stage(abstract) {
    %T = tile.scalar "T" : index
    %v = tile.view "v" [:, :] : !tile.view<?x8xf32>
    // expected-note @+1 {{clipped here}}
    %V = tile.load %v[%i, 0] valid(%T) : !tile.view<?x8xf32> -> !tile.tile<16x8xf32>
    %P = tile.fill 0.0 : !tile.tile<16x16xf32>
    %Z = tile.fill 0.0 : !tile.tile<16x8xf32>
    // expected-error @+1 {{contracts dimension 'j', beyond whose valid elements an operand is unspecified; fill 0 or mask with arith.select}}
    %O = tile.mma %P[i, j], %V[j, e] init %Z[i, e] contract(j) : !tile.tile<16x16xf32>, !tile.tile<16x8xf32>, !tile.tile<16x8xf32>
  }
}

// -----

// Rule 3: the same through a permutation, with a fill that is not 0.
tile.program @filledWrong {
  tile.extent "T"
  tile.tensor "v" : f32[T, 8]
  tile.kernel @a grid(%i = 1) stage(abstract) {
    %T = tile.scalar "T" : index
    %v = tile.view "v" [:, :] : !tile.view<?x8xf32>
    // expected-note @+1 {{clipped here}}
    %V = tile.load %v[%i, 0] valid(%T) fill -inf : !tile.view<?x8xf32> -> !tile.tile<16x8xf32>
    %W = tile.reshape %V permute(1, 0) : !tile.tile<16x8xf32> -> !tile.tile<8x16xf32>
    %P = tile.fill 0.0 : !tile.tile<16x16xf32>
    %Z = tile.fill 0.0 : !tile.tile<16x8xf32>
    // expected-error @+1 {{an operand is not 0}}
    %O = tile.mma %P[i, j], %W[e, j] init %Z[i, e] contract(j) : !tile.tile<16x16xf32>, !tile.tile<8x16xf32>, !tile.tile<16x8xf32>
  }
}

// -----

// Rule 3: unspecified rows of the other dimension are fine.
tile.program @unspecifiedRows {
  tile.extent "T"
  tile.tensor "v" : f32[T, 8]
  tile.kernel @a grid(%i = 1) stage(abstract) {
    %T = tile.scalar "T" : index
    %v = tile.view "v" [:, :] : !tile.view<?x8xf32>
    %V = tile.load %v[%i, 0] valid(%T) : !tile.view<?x8xf32> -> !tile.tile<16x8xf32>
    %Z = tile.fill 0.0 : !tile.tile<16x16xf32>
    %O = tile.mma %V[i, d], %V[j, d] init %Z[i, j] contract(d) : !tile.tile<16x8xf32>, !tile.tile<16x8xf32>, !tile.tile<16x16xf32>
  }
}

// -----

// Rule 3: a product with zero rows is zero, its exponential is not: the sum needs the mask.
tile.program @unmasked {
  tile.extent "T"
  tile.tensor "k" : f32[T, 8]
  tile.kernel @a grid(%i = 1) stage(abstract) {
    %T = tile.scalar "T" : index
    %k = tile.view "k" [:, :] : !tile.view<?x8xf32>
    // expected-note @+1 {{clipped here}}
    %K = tile.load %k[%i, 0] valid(%T) fill 0.0 : !tile.view<?x8xf32> -> !tile.tile<16x8xf32>
    %Q = tile.fill 1.0 : !tile.tile<4x8xf32>
    %Z = tile.fill 0.0 : !tile.tile<4x16xf32>
    %l = tile.fill 0.0 : !tile.tile<4xf32>
    %S = tile.mma %Q[i, d], %K[j, d] init %Z[i, j] contract(d) : !tile.tile<4x8xf32>, !tile.tile<16x8xf32>, !tile.tile<4x16xf32>
    %s = tile.reduce sum %S dim(1) init %l : !tile.tile<4x16xf32>, !tile.tile<4xf32>
    %P = tile.map (%x = %S[i, j]) -> [i, j] : (!tile.tile<4x16xf32>) -> !tile.tile<4x16xf32> {
      %e = math.exp2 %x : f32
      tile.yield %e : f32
    }
    // expected-error @+1 {{runs along dimension 1, beyond whose valid elements an operand is not 0}}
    %sum = tile.reduce sum %P dim(1) init %l : !tile.tile<4x16xf32>, !tile.tile<4xf32>
  }
}

// -----

// Rule 3: an unspecified element spoils a maximum, also through a map.
tile.program @maximum {
  tile.extent "T"
  tile.tensor "x" : f32[T]
  tile.kernel @a grid(%i = 1) stage(abstract) {
    %T = tile.scalar "T" : index
    %x = tile.view "x" [:] : !tile.view<?xf32>
    // expected-note @+1 {{clipped here}}
    %X = tile.load %x[%i] valid(%T) : !tile.view<?xf32> -> !tile.tile<16xf32>
    %Y = tile.map (%a = %X[i]) -> [i] : (!tile.tile<16xf32>) -> !tile.tile<16xf32> {
      %b = arith.mulf %a, %a : f32
      tile.yield %b : f32
    }
    %Z = tile.fill 0.0 : !tile.tile<f32>
    // expected-error @+1 {{an operand is unspecified}}
    %m = tile.reduce max %Y dim(0) init %Z : !tile.tile<16xf32>, !tile.tile<f32>
  }
}

// -----

// Rule 3: masked, scaled and decayed elements are fine, and so is what a full loop loads.
tile.program @harmless {
  tile.extent "T"
  tile.tensor "x" : f32[T]
  tile.kernel @a grid(%i = 1) stage(abstract) {
    %T = tile.scalar "T" : index
    %x = tile.view "x" [:] : !tile.view<?xf32>
    %zero = arith.constant 0.0 : f32
    %Z = tile.fill 0.0 : !tile.tile<f32>
    %X = tile.load %x[%i] valid(%T) : !tile.view<?xf32> -> !tile.tile<16xf32>
    %masked = tile.map (%a = %X[i]) -> [i] : (!tile.tile<16xf32>) -> !tile.tile<16xf32> {
      %c = arith.cmpf ogt, %a, %zero : f32
      %b = arith.select %c, %a, %zero : f32
      %e = math.exp2 %b : f32
      tile.yield %e : f32
    }
    %1 = tile.reduce sum %masked dim(0) init %Z : !tile.tile<16xf32>, !tile.tile<f32>
    %Y = tile.load %x[%i] valid(%T) fill 0.0 : !tile.view<?xf32> -> !tile.tile<16xf32>
    %scan = tile.scan sum %Y dim(0) : !tile.tile<16xf32>
    %decayed = tile.map (%a = %Y[i], %b = %scan[i]) -> [i] : (!tile.tile<16xf32>, !tile.tile<16xf32>) -> !tile.tile<16xf32> {
      %e = math.exp2 %b : f32
      %c = arith.mulf %a, %e : f32
      %d = arith.negf %c : f32
      tile.yield %d : f32
    }
    %2 = tile.reduce sum %decayed dim(0) init %Z : !tile.tile<16xf32>, !tile.tile<f32>
    %3 = tile.for %j = [%i, %T) step 16 iter(%s = %Z) kind(full) -> (!tile.tile<f32>) {
      %V = tile.load %x[%j] valid(%T) : !tile.view<?xf32> -> !tile.tile<16xf32>
      %t = tile.reduce sum %V dim(0) init %s : !tile.tile<16xf32>, !tile.tile<f32>
      tile.yield %t : !tile.tile<f32>
    }
  }
}

// -----

// Kernels write results and buffers only.
tile.program @input {
  tile.tensor "x" : f32[16]
  tile.kernel @a grid(%i = 1) stage(abstract) {
    %x = tile.view "x" [:] : !tile.view<16xf32>
    %z = tile.fill 0.0 : !tile.tile<16xf32>
    // expected-error @+1 {{writes the input 'x', expected a result or a buffer}}
    tile.store %z, %x[0] : !tile.tile<16xf32> -> !tile.view<16xf32>
  }
}

// -----

// Views do not flow through loops.
tile.program @carried {
  tile.extent "T"
  tile.tensor "x" : f32[T]
  tile.kernel @a grid(%i = 1) stage(abstract) {
    %x = tile.view "x" [:] : !tile.view<?xf32>
    // expected-error @+1 {{expected tiles, scalars or tokens; name views and rings where they are used}}
    %y = tile.for %j = [%i, %i) step 16 iter(%z = %x) -> (!tile.view<?xf32>) {
      tile.yield %z : !tile.view<?xf32>
    }
  }
}

// -----

// Rule 5: a ring needs a put and a take.
tile.program @noPut {
  tile.kernel @a grid(%i = 1) stage(concrete) {
    // expected-error @+1 {{'k' has no put, expected both}}
    %r = tile.ring "k" : !tile.ring<2 x 16xf32, #tile.lanes<dim = 0, 8>, smem>
    %t = tile.take %r : !tile.ring<2 x 16xf32, #tile.lanes<dim = 0, 8>, smem> -> !tile.tile<16xf32, #tile.lanes<dim = 0, 8>, smem>
  }
}

// -----

!L = !tile.tile<16xf32, #tile.lanes<dim = 0, 8>, smem>
!R = !tile.ring<2 x 16xf32, #tile.lanes<dim = 0, 8>, smem>
// Rule 5: a take waits for a put before it.
tile.program @takeFirst {
  tile.kernel @a grid(%i = 1) stage(concrete) {
    %r = tile.ring "k" : !R
    %z = tile.fill 0.0 : !L
    // expected-error @+1 {{waits for a slot that no put before it fills}}
    %t = tile.take %r : !R -> !L
    tile.release %r : !R
    tile.put %z[] into %r : !L -> !R
  }
}

// -----

!L = !tile.tile<16xf32, #tile.lanes<dim = 0, 8>, smem>
!R = !tile.ring<2 x 16xf32, #tile.lanes<dim = 0, 8>, smem>
// Rule 5: puts and takes run equally often.
tile.program @unbalanced {
  tile.kernel @a grid(%i = 1) stage(concrete) {
    // expected-error @+1 {{'k' has 2 puts and 1 takes in loops of the same bounds, expected as many}}
    %r = tile.ring "k" : !R
    %z = tile.fill 0.0 : !L
    tile.put %z[] into %r : !L -> !R
    tile.put %z[] into %r : !L -> !R
    %t = tile.take %r : !R -> !L
    tile.release %r : !R
  }
}

// -----

!L = !tile.tile<16xf32, #tile.lanes<dim = 0, 8>, smem>
!R = !tile.ring<2 x 16xf32, #tile.lanes<dim = 0, 8>, smem>
// Rule 5: no release at all leaves the producer waiting.
tile.program @unreleased {
  tile.kernel @a grid(%i = 1) stage(concrete) {
    // expected-error @+1 {{'k' has 1 takes and 0 releases}}
    %r = tile.ring "k" : !R
    %z = tile.fill 0.0 : !L
    tile.put %z[] into %r : !L -> !R
    %t = tile.take %r : !R -> !L
  }
}

// -----

!L = !tile.tile<16xf32, #tile.lanes<dim = 0, 8>, smem>
!R = !tile.ring<2 x 16xf32, #tile.lanes<dim = 0, 8>, smem>
// Rule 5: a slot is not read after its release.
tile.program @released {
  tile.kernel @a grid(%i = 1) stage(concrete) {
    %r = tile.ring "k" : !R
    %z = tile.fill 0.0 : !L
    tile.put %z[] into %r : !L -> !R
    %t = tile.take %r : !R -> !L
    tile.release %r : !R
    // expected-error @+1 {{reads a slot of a ring after its release}}
    %u = tile.map (%x = %t[i]) -> [i] : (!L) -> !L {
      tile.yield %x : f32
    }
  }
}

// -----

!L = !tile.tile<16xf32, #tile.lanes<dim = 0, 8>, smem>
!R = !tile.ring<2 x 16xf32, #tile.lanes<dim = 0, 8>, smem>
// Rule 6: with roles, tiles stand inside one of them.
tile.program @beside {
  tile.kernel @a grid(%i = 1) stage(concrete) {
    // expected-error @+1 {{stands beside tile.roles, expected it inside one role: a tile belongs to one role}}
    %z = tile.fill 0.0 : !L
    tile.roles {
      load(warps 4, regs 24) {
      }
    }
  }
}

// -----

// Rule 6: the roles fit a block's warps.
tile.program @warps {
  tile.kernel @a grid(%i = 1) stage(concrete) {
    // expected-error @+1 {{has 36 warps, a block has at most 32}}
    tile.roles {
      load(warps 4, regs 24) {
      }
      compute(x2, warps 16, regs 24) {
      }
    }
  }
}

// -----

// Rule 6: and its registers.
tile.program @registers {
  tile.kernel @a grid(%i = 1) stage(concrete) {
    // expected-error @+1 {{has 78848 registers, a block has at most 65536}}
    tile.roles {
      load(warps 4, regs 40) {
      }
      compute(x3, warps 4, regs 192) {
      }
    }
  }
}

// -----

!L = !tile.tile<16xf32, #tile.lanes<dim = 0, 8>, smem>
!R = !tile.ring<2 x 16xf32, #tile.lanes<dim = 0, 8>, smem>
// Rule 7: another role cannot know this branch.
tile.program @branch {
  tile.kernel @a grid(%i = 1) stage(concrete) {
    %r = tile.ring "k" : !R
    %c0 = arith.constant 0 : index
    tile.roles {
      load(warps 4, regs 24) {
        %z = tile.fill 0.0 : !L
        %c = arith.cmpi eq, %i, %c0 : index
        scf.if %c {
          // expected-error @+1 {{stands in a branch whose condition is computed inside one role, expected one that all roles share}}
          tile.put %z[] into %r : !L -> !R
        }
      }
      compute(warps 4, regs 24) {
        %t = tile.take %r : !R -> !L
        tile.release %r : !R
      }
    }
  }
}

// -----

// Rule 8: a difference of prefix sums grows without bound above the diagonal.
tile.program @exponent {
  tile.kernel @a grid(%i = 1) stage(abstract) {
    %g = tile.fill -1.0 : !tile.tile<16xf32>
    %b = tile.scan sum %g dim(0) : !tile.tile<16xf32>
    %w = tile.map (%x = %b[i], %y = %b[j]) -> [i, j] : (!tile.tile<16xf32>, !tile.tile<16xf32>) -> !tile.tile<16x16xf32> {
      %d = arith.subf %x, %y : f32
      // expected-error @+1 {{takes the difference of two prefix sums, which overflows above the diagonal: mask it with arith.select}}
      %e = math.exp2 %d : f32
      tile.yield %e : f32
    }
  }
}

// -----

// Rule 9: every grid dimension must tell stores apart.
tile.program @overlap {
  tile.extent "T"
  tile.extent "H"
  tile.tensor "o" result : f32[T, 8]
  tile.kernel @a grid(%i = ceildiv(T, 16), %h = H) stage(abstract) {
    %T = tile.scalar "T" : index
    %c16 = arith.constant 16 : index
    %row = arith.muli %i, %c16 : index
    %o = tile.view "o" [:, :] : !tile.view<?x8xf32>
    %z = tile.fill 0.0 : !tile.tile<16x8xf32>
    // expected-error @+1 {{of different grid points overlaps: no index depends on grid dimension 1}}
    tile.store %z, %o[%row, 0] valid(%T) : !tile.tile<16x8xf32> -> !tile.view<?x8xf32>
  }
}

// -----

// Rule 9: tiles of 32 rows at steps of 16.
tile.program @step {
  tile.extent "T"
  tile.tensor "o" result : f32[T, 8]
  tile.kernel @a grid(%i = ceildiv(T, 16)) stage(abstract) {
    %T = tile.scalar "T" : index
    %c16 = arith.constant 16 : index
    %row = arith.muli %i, %c16 : index
    %o = tile.view "o" [:, :] : !tile.view<?x8xf32>
    %z = tile.fill 0.0 : !tile.tile<32x8xf32>
    // expected-error @+1 {{its offset moves by less than the tile's extent along grid dimension 0}}
    tile.store %z, %o[%row, 0] valid(%T) : !tile.tile<32x8xf32> -> !tile.view<?x8xf32>
  }
}

// -----

// Rule 9: heads of a group share a quotient.
tile.program @quotient {
  tile.extent "H"
  tile.tensor "o" result : f32[H, 8]
  tile.kernel @a grid(%h = H) stage(abstract) {
    %c4 = arith.constant 4 : index
    %hk = arith.divui %h, %c4 : index
    %o = tile.view "o" [%hk, :] : !tile.view<8xf32>
    %z = tile.fill 0.0 : !tile.tile<8xf32>
    // expected-error @+1 {{neighbours along grid dimension 0 have the same quotient}}
    tile.store %z, %o[0] : !tile.tile<8xf32> -> !tile.view<8xf32>
  }
}

// -----

// Grids have one to three dimensions.
tile.program @grid {
  // expected-error @+1 {{has 4 grid dimensions, expected one to three}}
  tile.kernel @a grid(%a = 1, %b = 1, %c = 1, %d = 1) stage(abstract) {
  }
}

// -----

// Names are declared once.
tile.program @twice {
  // expected-note @+1 {{declared here before}}
  tile.extent "T"
  // expected-error @+1 {{declares 'T' again}}
  tile.param "T" = 1 : i64
}

// -----

// A formula reads declared integers.
tile.program @undeclared {
  tile.extent "T"
  // expected-error @+1 {{reads 'S', which the program does not declare}}
  tile.tensor "q" : f32[T, S]
}

// -----

tile.program @floatFormula {
  tile.param "cap" = 1.0 : f64
  // expected-error @+1 {{reads the float parameter 'cap', expected integers}}
  tile.buffer "q" : f32[cap * 2]
}

// -----

tile.program @scalarName {
  tile.kernel @a grid(%i = 1) stage(abstract) {
    // expected-error @+1 {{reads 'W', which the program does not declare}}
    %w = tile.scalar "W" : index
  }
}

// -----

tile.program @scalarType {
  tile.param "cap" = 1.0 : f64
  tile.kernel @a grid(%i = 1) stage(abstract) {
    // expected-error @+1 {{reads the float parameter 'cap' as 'index'}}
    %w = tile.scalar "cap" : index
  }
}

// -----

tile.program @viewName {
  tile.kernel @a grid(%i = 1) stage(abstract) {
    // expected-error @+1 {{of 'q', which the program declares neither as tensor nor as buffer}}
    %q = tile.view "q" [:] : !tile.view<?xf32>
  }
}

// -----

tile.program @viewElement {
  tile.extent "T"
  tile.tensor "q" : bf16[T]
  tile.kernel @a grid(%i = 1) stage(abstract) {
    // expected-error @+1 {{has elements of 'f32', 'q' has 'bf16'}}
    %q = tile.view "q" [:] : !tile.view<?xf32>
  }
}

// -----

tile.program @viewRank {
  tile.extent "T"
  tile.tensor "q" : f32[T, 8]
  tile.kernel @a grid(%i = 1) stage(abstract) {
    // expected-error @+1 {{gives 1 indices, 'q' has 2 dimensions}}
    %q = tile.view "q" [:] : !tile.view<?xf32>
  }
}

// -----

tile.program @viewExtent {
  tile.extent "T"
  tile.tensor "q" : f32[T, 8]
  tile.kernel @a grid(%i = 1) stage(abstract) {
    // expected-error @+1 {{has extent ? in dimension 1, expected 8}}
    %q = tile.view "q" [:, :] : !tile.view<?x?xf32>
  }
}

// -----

tile.program @pageSize {
  tile.extent "T"
  tile.tensor "pool" : f32[T, 32, 8]
  tile.tensor "pages" : i32[T]
  tile.kernel @a grid(%i = 1) stage(abstract) {
    %t = tile.view "pages" [:] : !tile.view<?xi32>
    // expected-error @+1 {{has pages of 16 rows, 'pool' has slots #tile.formula<32>}}
    %q = tile.view "pool" [:, :, :] table(%t : !tile.view<?xi32>) : !tile.view<?x8xf32, paged<16>>
  }
}

// -----

tile.program @stray {
  // expected-error @+1 {{is not allowed in tile.program, expected extent, param, tensor, buffer or kernel}}
  %c = arith.constant 0 : index
}
