// One error for each rule that an op checks on its own.
// RUN: heddle-opt %s --split-input-file --verify-diagnostics

// expected-error @+1 {{tile extent 0, expected a positive number}}
module attributes {t = !tile.tile<0xf32>} {}
// -----
// expected-error @+1 {{element type 'i7' is none of}}
module attributes {t = !tile.tile<4xi7>} {}
// -----
// expected-error @+1 {{layout #tile.lanes<dim = 2, 16> names dimension 2 of a tile of rank 2}}
module attributes {t = !tile.tile<4x4xf32, #tile.lanes<dim = 2, 16>, reg>} {}
// -----
// expected-error @+1 {{space 'shared' is none of reg, smem, tmem, local, global}}
module attributes {t = !tile.tile<4xf32, #tile.lanes<dim = 0, 4>, shared>} {}
// -----
// expected-error @+1 {{#tile.strided and space global belong together}}
module attributes {t = !tile.tile<4xf32, #tile.strided, local>} {}
// -----
// expected-error @+1 {{expected a dimension from 0 on and a positive width}}
module attributes {t = #tile.lanes<dim = 0, 0>} {}
// -----
// expected-error @+1 {{pairs need two different dimensions}}
module attributes {t = #tile.pairs<lanes = 1, width = 16, packed = 1, count = 2>} {}
// -----
// Rule 4: a distribution covers each element.
// expected-error @+1 {{covers 64 elements of a tile of 128, expected each once}}
module attributes {t = !tile.tile<16x8xf32, #tile.dist<"((4,8),2):((16,1),8)">, reg>} {}
// -----
// Rule 4: once, apart from replicas of stride 0.
// expected-error @+1 {{covers 128 elements, some of them twice, of a tile of 128}}
module attributes {t = !tile.tile<16x8xf32, #tile.dist<"((4,8),(2,2)):((32,1),(16,7))">, reg>} {}
// -----
module attributes {test.t = !tile.tile<8xf32, #tile.dist<"((4,8),2):((0,1),0)">, reg>} {}
// -----
// Rule 4: offsets in memory differ.
// expected-error @+1 {{gives two elements one offset}}
module attributes {t = !tile.tile<64x72xf32, #tile.mem<"(64,72):(64,1)">, smem>} {}
// -----
// expected-error @+1 {{does not have the tile's extents, expected a mode for each dimension}}
module attributes {t = !tile.tile<64x72xf32, #tile.mem<"(64,64):(64,1)">, smem>} {}
// -----
// expected-error @+1 {{gives offsets in memory, space reg has none; expected smem or local}}
module attributes {t = !tile.tile<64x72xf32, #tile.mem<"(64,72):(72,1)">, reg>} {}
// -----
// expected-error @+1 {{distributes over threads, space smem is not theirs; expected reg or tmem}}
module attributes {t = !tile.tile<8xf32, #tile.dist<"8:1">, smem>} {}
// -----
// expected-error @+1 {{access 'sparse' is none of dense, paged, wrap, list}}
module attributes {t = !tile.view<?xf32, sparse>} {}
// -----
// expected-error @+1 {{access paged has blocks of 0 rows, expected a positive number}}
module attributes {t = !tile.view<?xf32, paged>} {}
// -----
// expected-error @+1 {{a view of one element has dense access only}}
module attributes {t = !tile.view<f32, wrap>} {}
// -----
// expected-error @+1 {{ring has 0 slots, expected at least one}}
module attributes {t = !tile.ring<0 x 4xf32>} {}
// -----
// expected-error @+1 {{ring lies in reg, expected smem, tmem or local}}
module attributes {t = !tile.ring<2 x 4xf32, #tile.lanes<dim = 0, 4>, reg>} {}
// -----
// expected-error @+1 {{expected a formula: a number, the name of a run-time scalar, or one of}}
module attributes {t = #tile.formula<T + "x">} {}
// -----
// expected-error @+1 {{formula has no function 'mod'; there are ceildiv, floordiv, min and max}}
module attributes {t = #tile.formula<mod(T, 2)>} {}
// -----
tile.program @p {
  // expected-error @+1 {{has a default of type 'f32', expected i64 or f64}}
  tile.param "cap" = 1.0 : f32
}
// -----
tile.program @p {
  tile.extent "T"
  // expected-error @+1 {{expected a number from 0 on or the name of an extent}}
  tile.tensor "q" : f32[T * 2]
}
// -----
tile.program @p {
  // expected-error @+1 {{has element type 'i16', expected f32}}
  tile.tensor "q" : i16[2]
}
// -----
tile.program @p {
  // expected-error @+1 {{is a multiple of 0, expected a positive number}}
  tile.extent "T" multiple 0
}
// -----
// expected-error @+1 {{stage 'final' is neither abstract nor concrete}}
tile.program @p { tile.kernel @k grid(%i = 1) stage(final) {} }
// -----
func.func @f(%q: !tile.view<?x8xf32>, %n: index) {
  // expected-error @+1 {{has 1 offsets into a view of rank 2}}
  %t = tile.load %q[%n] : !tile.view<?x8xf32> -> !tile.tile<4x8xf32>
  return
}
// -----
func.func @f(%q: !tile.view<?x8xf32>, %n: index) {
  // expected-error @+1 {{moves a tile of rank 1 through a view of rank 2}}
  %t = tile.load %q[%n, 0] : !tile.view<?x8xf32> -> !tile.tile<8xf32>
  return
}
// -----
func.func @f(%q: !tile.view<?x8xf32>, %n: index) {
  // expected-error @+1 {{moves 'bf16' elements through a view of 'f32'; loads and stores do not convert}}
  %t = tile.load %q[%n, 0] : !tile.view<?x8xf32> -> !tile.tile<4x8xbf16>
  return
}
// -----
func.func @f(%q: !tile.view<?x8xf32>, %n: index) {
  // expected-error @+1 {{reaches element 12 of dimension 1 whose extent is 8; say how many with valid(..)}}
  %t = tile.load %q[%n, 4] : !tile.view<?x8xf32> -> !tile.tile<4x8xf32>
  return
}
// -----
func.func @f(%q: !tile.view<?x8xf32>, %n: index) {
  // expected-error @+1 {{starts at -1 in dimension 0, expected an offset from 0 on}}
  %t = tile.load %q[-1, 0] valid(%n) : !tile.view<?x8xf32> -> !tile.tile<4x8xf32>
  return
}
// -----
func.func @f(%q: !tile.view<?x8xf32>, %n: index) {
  // expected-error @+1 {{reads a 'f32' as 'i32'}}
  %t = tile.read %q[%n, 4] : !tile.view<?x8xf32> -> i32
  return
}
// -----
func.func @f(%i: index) {
  // expected-error @+1 {{keeps 1 dimensions for a view of rank 2}}
  %t = tile.view "q" [%i, :] : !tile.view<?x8xf32>
  return
}
// -----
func.func @f(%i: index) {
  // expected-error @+1 {{has access paged and needs table(..)}}
  %t = tile.view "q" [:, :] : !tile.view<?xf32, paged<16>>
  return
}
// -----
func.func @f(%t: !tile.view<?xf32>) {
  // expected-error @+1 {{expected a view of rank 1 of i32}}
  %q = tile.view "q" [:] table(%t : !tile.view<?xf32>) : !tile.view<?xf32, list<4>>
  return
}
// -----
func.func @f() {
  // expected-error @+1 {{of 'i32' with 5.000000e-01, expected an integer}}
  %t = tile.fill 0.5 : !tile.tile<4xi32>
  return
}
// -----
func.func @f() {
  // expected-error @+1 {{found 'zero', expected a number, inf or nan}}
  %t = tile.fill zero : !tile.tile<4xi32>
  return
}
// -----
func.func @f(%i: index) {
  // expected-error @+1 {{expected a tile of rank 1 of i32}}
  %t = tile.index %i : !tile.tile<4x4xi32>
  return
}
// -----
func.func @f(%a: !tile.tile<4x8xf32>) {
  // expected-error @+1 {{names 1 dimensions of operand 0, whose rank is 2}}
  %t = tile.map (%x = %a[i]) -> [i] : (!tile.tile<4x8xf32>) -> !tile.tile<4xf32> { tile.yield %x : f32 }
  return
}
// -----
func.func @f(%a: !tile.tile<4x4xf32>) {
  // expected-error @+1 {{names dimension 'i' of operand 0 twice}}
  %t = tile.map (%x = %a[i, i]) -> [i] : (!tile.tile<4x4xf32>) -> !tile.tile<4xf32> { tile.yield %x : f32 }
  return
}
// -----
func.func @f(%a: !tile.tile<4xf32>) {
  // expected-error @+1 {{operand 0 has dimension "j", which is none of the result}}
  %t = tile.map (%x = %a[j]) -> [i] : (!tile.tile<4xf32>) -> !tile.tile<4xf32> { tile.yield %x : f32 }
  return
}
// -----
func.func @f(%a: !tile.tile<4xf32>) {
  // expected-error @+1 {{dimension "i" is 4 in operand 0 and 8 in the result}}
  %t = tile.map (%x = %a[i]) -> [i] : (!tile.tile<4xf32>) -> !tile.tile<8xf32> { tile.yield %x : f32 }
  return
}
// -----
func.func @f(%a: !tile.tile<4xf32>) {
  // expected-error @+1 {{marked mask gives '!tile.tile<4xf32>', expected one i1 tile}}
  %t = tile.map mask (%x = %a[i]) -> [i] : (!tile.tile<4xf32>) -> !tile.tile<4xf32> { tile.yield %x : f32 }
  return
}
// -----
func.func @f(%a: !tile.tile<4xf32>, %v: vector<4xf32>) {
  %t = tile.map (%x = %a[i]) -> [i] : (!tile.tile<4xf32>) -> !tile.tile<4xf32> {
    // expected-error @+1 {{reads a 'vector<4xf32>' in tile.map, expected scalars}}
    %y = arith.addf %v, %v : vector<4xf32>
    tile.yield %x : f32
  }
  return
}
// -----
func.func @f(%a: !tile.tile<4xf32>) {
  %t = tile.map (%x = %a[i]) -> [i] : (!tile.tile<4xf32>) -> !tile.tile<4xf32> {
    // expected-error @+1 {{is not allowed in tile.map, expected arith and math ops}}
    %y = tile.fill 0.0 : !tile.tile<4xf32>
    tile.yield %x : f32
  }
  return
}
// -----
func.func @f(%a: !tile.tile<4xf32>) {
  // expected-error @+1 {{yields 'f32' for a result of '!tile.tile<4xbf16>'}}
  %t = tile.map (%x = %a[i]) -> [i] : (!tile.tile<4xf32>) -> !tile.tile<4xbf16> { tile.yield %x : f32 }
  return
}
// -----
func.func @f(%a: !tile.tile<4x8xf32>, %c: !tile.tile<4x4xf32>) {
  // expected-error @+1 {{contract(i) but the operands share (d) and the result lacks exactly these}}
  %t = tile.mma %a[i, d], %a[j, d] init %c[i, j] contract(i) : !tile.tile<4x8xf32>, !tile.tile<4x8xf32>, !tile.tile<4x4xf32>
  return
}
// -----
// Rule 2: contracted extents are equal.
func.func @f(%a: !tile.tile<4x8xf32>, %b: !tile.tile<4x16xf32>, %c: !tile.tile<4x4xf32>) {
  // expected-error @+1 {{dimension "d" is 8 in a and 16 in b}}
  %t = tile.mma %a[i, d], %b[j, d] init %c[i, j] contract(d) : !tile.tile<4x8xf32>, !tile.tile<4x16xf32>, !tile.tile<4x4xf32>
  return
}
// -----
func.func @f(%a: !tile.tile<4x8xf32>, %b: !tile.tile<4x8xf32>, %c: !tile.tile<4x5xf32>) {
  // expected-error @+1 {{dimension "j" is 4 in b and 5 in init}}
  %t = tile.mma %a[i, d], %b[j, d] init %c[i, j] contract(d) : !tile.tile<4x8xf32>, !tile.tile<4x8xf32>, !tile.tile<4x5xf32>
  return
}
// -----
func.func @f(%a: !tile.tile<2x4x8xf32>, %c: !tile.tile<2x4x4xf32>) {
  // expected-error @+1 {{has dimension "h" in both operands and in the result}}
  %t = tile.mma %a[h, i, d], %a[h, j, d] init %c[h, i, j] contract(d) : !tile.tile<2x4x8xf32>, !tile.tile<2x4x8xf32>, !tile.tile<2x4x4xf32>
  return
}
// -----
func.func @f(%a: !tile.tile<2x4x8xf32>, %b: !tile.tile<4x8xf32>, %c: !tile.tile<4x4xf32>) {
  // expected-error @+1 {{has dimension "h" in a alone}}
  %t = tile.mma %a[h, i, d], %b[j, d] init %c[i, j] contract(d) : !tile.tile<2x4x8xf32>, !tile.tile<4x8xf32>, !tile.tile<4x4xf32>
  return
}
// -----
// Rule 2: the accumulator is f32.
func.func @f(%a: !tile.tile<4x8xbf16>, %c: !tile.tile<4x4xbf16>) {
  // expected-error @+1 {{accumulates in 'bf16', expected f32}}
  %t = tile.mma %a[i, d], %a[j, d] init %c[i, j] contract(d) : !tile.tile<4x8xbf16>, !tile.tile<4x8xbf16>, !tile.tile<4x4xbf16>
  return
}
// -----
// Rule 2: or i32, for bytes.
func.func @f(%a: !tile.tile<4x8xi8>, %c: !tile.tile<4x4xf32>) {
  // expected-error @+1 {{accumulates in 'f32', expected i32}}
  %t = tile.mma %a[i, d], %a[j, d] init %c[i, j] contract(d) : !tile.tile<4x8xi8>, !tile.tile<4x8xi8>, !tile.tile<4x4xf32>
  return
}
// -----
// Rule 2: the precision is legal for the operands.
func.func @f(%a: !tile.tile<4x8xbf16>, %c: !tile.tile<4x4xf32>) {
  // expected-error @+1 {{has precision tf32 for operands of 'bf16'}}
  %t = tile.mma %a[i, d], %a[j, d] init %c[i, j] contract(d) precision(tf32) : !tile.tile<4x8xbf16>, !tile.tile<4x8xbf16>, !tile.tile<4x4xf32>
  return
}
// -----
func.func @f(%a: !tile.tile<4x8xbf16>, %b: !tile.tile<4x8xf32>, %c: !tile.tile<4x4xf32>) {
  // expected-error @+1 {{multiplies 'bf16' by 'f32', expected one type; convert with tile.map}}
  %t = tile.mma %a[i, d], %b[j, d] init %c[i, j] contract(d) : !tile.tile<4x8xbf16>, !tile.tile<4x8xf32>, !tile.tile<4x4xf32>
  return
}
// -----
func.func @f(%a: !tile.tile<4x8xf32>, %c: !tile.tile<8xf32>) {
  // expected-error @+1 {{expected extents 4}}
  %t = tile.reduce max %a dim(1) init %c : !tile.tile<4x8xf32>, !tile.tile<8xf32>
  return
}
// -----
func.func @f(%a: !tile.tile<4x8xf32>, %c: !tile.tile<4xf32>) {
  // expected-error @+1 {{runs along dimension 2 of a tile of rank 2}}
  %t = tile.reduce max %a dim(2) init %c : !tile.tile<4x8xf32>, !tile.tile<4xf32>
  return
}
// -----
func.func @f(%a: !tile.tile<4x8xf32>, %c: !tile.tile<4xf32>) {
  // expected-error @+1 {{computes or of 'f32', expected integers}}
  %t = tile.reduce or %a dim(1) init %c : !tile.tile<4x8xf32>, !tile.tile<4xf32>
  return
}
// -----
func.func @f(%a: !tile.tile<4x8xbf16>, %c: !tile.tile<4xbf16>) {
  // expected-error @+1 {{accumulates in 'bf16', expected f32}}
  %t = tile.reduce sum %a dim(1) init %c : !tile.tile<4x8xbf16>, !tile.tile<4xbf16>
  return
}
// -----
func.func @f(%a: !tile.tile<4xi32>) {
  // expected-error @+1 {{has kind or, expected sum, max or min}}
  %t = tile.scan or %a dim(0) : !tile.tile<4xi32>
  return
}
// -----
func.func @f(%a: !tile.tile<4x5xf32>, %b: !tile.tile<4x4xf32>) {
  // expected-error @+1 {{expected a square tile}}
  %t = tile.solve_unit_lower %a, %b : !tile.tile<4x5xf32>, !tile.tile<4x4xf32>
  return
}
// -----
func.func @f(%a: !tile.tile<4x4xf32>, %b: !tile.tile<5x4xf32>) {
  // expected-error @+1 {{expected 4 rows}}
  %t = tile.solve_unit_lower %a, %b : !tile.tile<4x4xf32>, !tile.tile<5x4xf32>
  return
}
// -----
func.func @f(%a: !tile.tile<4x8xi8>) {
  // expected-error @+1 {{expected extents 4x16}}
  %t = tile.decode u4 %a : !tile.tile<4x8xi8> -> !tile.tile<4x8xf32>
  return
}
// -----
func.func @f(%a: !tile.tile<4x8xi8>, %s: !tile.tile<4x3xf32>) {
  // expected-error @+1 {{expected the rank of the result and extents that divide its}}
  %t = tile.decode u4 %a scale(%s : !tile.tile<4x3xf32>) : !tile.tile<4x8xi8> -> !tile.tile<4x16xf32>
  return
}
// -----
func.func @f(%a: !tile.tile<4x8xi8>, %s: !tile.tile<32xf32>) {
  // expected-error @+1 {{expected at most 16 floats}}
  %t = tile.decode u4 %a table(%s : !tile.tile<32xf32>) : !tile.tile<4x8xi8> -> !tile.tile<4x16xf32>
  return
}
// -----
func.func @f(%s: !tile.tile<4x8xf32>, %i: !tile.tile<7xi32>, %b: !tile.tile<4x2xf32>, %c: !tile.tile<4x2xi32>) {
  // expected-error @+1 {{has ids of '!tile.tile<7xi32>' for scores of '!tile.tile<4x8xf32>'}}
  %x, %y = tile.topk %s, %i into %b, %c : !tile.tile<4x8xf32>, !tile.tile<7xi32>, !tile.tile<4x2xf32>, !tile.tile<4x2xi32>
  return
}
// -----
func.func @f(%s: !tile.tile<4x8xf32>) {
  // expected-error @+1 {{expected i32 ids}}
  %x = tile.sort %s : !tile.tile<4x8xf32>
  return
}
// -----
func.func @f(%s: !tile.tile<4x8xf32>) {
  // expected-error @+1 {{takes elements 4 to 12 of dimension 1 whose extent is 8}}
  %x = tile.slice %s[0, 4] : !tile.tile<4x8xf32> -> !tile.tile<4x8xf32>
  return
}
// -----
// Rule 10: registers have no run-time index.
func.func @f(%s: !tile.tile<4x8xf32, #tile.lanes<dim = 1, 8>, reg>, %i: index) {
  // expected-error @+1 {{of a tile in registers has a run-time offset, expected static ones}}
  %x = tile.slice %s[%i, 0] : !tile.tile<4x8xf32, #tile.lanes<dim = 1, 8>, reg> -> !tile.tile<1x8xf32, #tile.lanes<dim = 1, 8>, reg>
  return
}
// -----
func.func @f(%s: !tile.tile<4x8xf32>) {
  // expected-error @+1 {{expected as many elements of the same type}}
  %x = tile.reshape %s : !tile.tile<4x8xf32> -> !tile.tile<31xf32>
  return
}
// -----
func.func @f(%s: !tile.tile<4x8xf32>) {
  // expected-error @+1 {{expected each dimension of '!tile.tile<4x8xf32>' once}}
  %x = tile.reshape %s permute(1, 1) : !tile.tile<4x8xf32> -> !tile.tile<32xf32>
  return
}
// -----
func.func @f(%s: !tile.tile<4xf32, #tile.lanes<dim = 0, 4>, reg>) {
  // expected-error @+1 {{from reg to local moves data, it cannot be free}}
  %x = tile.convert %s free : !tile.tile<4xf32, #tile.lanes<dim = 0, 4>, reg> -> !tile.tile<4xf32, #tile.lanes<dim = 0, 4>, local>
  return
}
// -----
func.func @f(%s: !tile.tile<4xf32, #tile.lanes<dim = 0, 4>, reg>) {
  // expected-error @+1 {{use tile.map to cast}}
  %x = tile.convert %s : !tile.tile<4xf32, #tile.lanes<dim = 0, 4>, reg> -> !tile.tile<4xbf16, #tile.lanes<dim = 0, 4>, reg>
  return
}
// -----
func.func @f(%i: index) {
  // expected-error @+1 {{has step 0, expected a positive number}}
  tile.for %j = [%i, %i) step 0 {
  }
  return
}
// -----
func.func @f(%i: index, %a: !tile.tile<4xf32>, %b: !tile.tile<5xf32>) {
  // expected-error @+1 {{yields other types than its 1 results have}}
  %r = tile.for %j = [%i, %i) step 1 iter(%x = %a) -> (!tile.tile<4xf32>) {
    tile.yield %b : !tile.tile<5xf32>
  }
  return
}
// -----
func.func @f(%i: index) {
  // expected-error @+1 {{kind 'partial' is none of any, edge, full}}
  tile.for %j = [%i, %i) step 1 kind(partial) {
  }
  return
}
// -----
func.func @f(%t: !tile.tile<4xf32>, %r: !tile.ring<2 x 5xf32>) {
  // expected-error @+1 {{fills a slot of '!tile.tile<5xf32>' from '!tile.tile<4xf32>'}}
  tile.put %t[] into %r : !tile.tile<4xf32> -> !tile.ring<2 x 5xf32>
  return
}
// -----
func.func @f(%r: !tile.ring<2 x 5xf32>) {
  // expected-error @+1 {{yields '!tile.tile<4xf32>' from slots of '!tile.tile<5xf32>'}}
  %t = tile.take %r : !tile.ring<2 x 5xf32> -> !tile.tile<4xf32>
  return
}
// -----
func.func @f() {
  // expected-error @+1 {{expected a number from 0 to 15 and at least one warp}}
  tile.barrier 16 warps 4
  return
}
// -----
tile.program @p { tile.kernel @k grid(%i = 1) stage(concrete) {
  tile.roles {
    // expected-error @+1 {{has 300 registers a thread, expected 24 to 255}}
    load(warps 4, regs 300) {}
  }
} }
// -----
func.func @f(%a: !tile.tile<4xf32>, %v: !tile.view<8xf32>, %c: index) {
  %t = tile.map (%x = %a[i]) -> [i] : (!tile.tile<4xf32>) -> !tile.tile<4xf32> {
    // expected-error @+1 {{has 2 indices for a view of rank 1}}
    %y = tile.gather %v[%c, %c] : !tile.view<8xf32> -> f32
    tile.yield %y : f32
  }
  return
}
// -----
func.func @f(%a: !tile.tile<4xf32>, %v: !tile.view<8xbf16>, %c: index) {
  %t = tile.map (%x = %a[i]) -> [i] : (!tile.tile<4xf32>) -> !tile.tile<4xf32> {
    // expected-error @+1 {{gives 'f32', expected the view's 'bf16'}}
    %y = tile.gather %v[%c] : !tile.view<8xbf16> -> f32
    tile.yield %y : f32
  }
  return
}
