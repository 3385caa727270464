// Ops of the dialect `tile`. ir/tile/README.md shows each in text; TileVerify*.cpp holds the rules.
#ifndef HEDDLE_IR_TILE_OPS
#define HEDDLE_IR_TILE_OPS

include "ir/tile/TileBase.td"
include "mlir/IR/BuiltinAttributeInterfaces.td"
include "mlir/IR/RegionKindInterface.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

class Tile_Op<string mnemonic, list<Trait> traits = []> : Op<Tile_Dialect, mnemonic, traits>;

//===------------------------------------------------------------------------------------------===//
// Program: what is launched, on what
//===------------------------------------------------------------------------------------------===//

def Tile_ProgramOp : Tile_Op<"program", [IsolatedFromAbove, NoRegionArguments, NoTerminator,
    SingleBlock, Symbol, SymbolTable, RegionKindInterface]> {
  let summary = "run-time scalars, tensors, workspace buffers and kernels in launch order";
  let arguments = (ins SymbolNameAttr:$sym_name);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$sym_name attr-dict-with-keyword $body";
  let hasRegionVerifier = 1;
  let extraClassDeclaration = [{
    static ::mlir::RegionKind getRegionKind(unsigned) { return ::mlir::RegionKind::Graph; }
    /// The declaration of that name, or null. Scalars (extents and parameters), and tensors and
    /// buffers, are two name spaces.
    ::mlir::Operation *findScalar(::llvm::StringRef name);
    ::mlir::Operation *findTensor(::llvm::StringRef name);
  }];
}

class Tile_Declaration<string mnemonic> : Tile_Op<mnemonic, [HasParent<"ProgramOp">]>;

def Tile_ExtentOp : Tile_Declaration<"extent"> {
  let summary = "run-time scalar: the extent of a named dimension of the signature";
  let description = "`tile.extent \"Tk\" multiple 16`: this program is compiled for multiples of 16 only.";
  let arguments = (ins StrAttr:$name, OptionalAttr<I64Attr>:$multiple);
  let assemblyFormat = "$name (`multiple` $multiple^)? attr-dict";
  let hasVerifier = 1;
}

def Tile_ParamOp : Tile_Declaration<"param"> {
  let summary = "run-time scalar: a parameter with its default, i64 or f64";
  let arguments = (ins StrAttr:$name, TypedAttrInterface:$value);
  let assemblyFormat = "$name `=` $value attr-dict";
  let hasVerifier = 1;
}

def Tile_TensorOp : Tile_Declaration<"tensor"> {
  let summary = "tensor of the signature, in the order of the call: inputs, then results";
  let description = [{
    `tile.tensor "q" : bf16["B", "Tq", "Hq", 128]`; a dimension is an extent's name or a number.
    Unsigned bytes are declared `ui8`; views and tiles of them are `i8`. Strides are run-time.
  }];
  let arguments = (ins StrAttr:$name, UnitAttr:$result, TypeAttr:$elementType,
                       TypedArrayAttrBase<Tile_FormulaAttr, "formulas">:$shape);
  let assemblyFormat = "$name (`result` $result^)? `:` $elementType custom<Formulas>($shape) attr-dict";
  let hasVerifier = 1;
}

def Tile_BufferOp : Tile_Declaration<"buffer"> {
  let summary = "workspace buffer, row-major and dense; lives from one kernel to a later one";
  let arguments = (ins StrAttr:$name, TypeAttr:$elementType,
                       TypedArrayAttrBase<Tile_FormulaAttr, "formulas">:$shape);
  let assemblyFormat = "$name `:` $elementType custom<Formulas>($shape) attr-dict";
  let hasVerifier = 1;
}

def Tile_KernelOp : Tile_Op<"kernel", [HasParent<"ProgramOp">, IsolatedFromAbove, Symbol,
    SingleBlockImplicitTerminator<"YieldOp">]> {
  let summary = "what one grid point does; grid points do not communicate";
  let description = [{
    `tile.kernel @attn grid(%qt = ceildiv(Tq, 64) desc, %h = Hq, %b = B) stage(abstract) { ... }`
    One to three grid dimensions, the first runs fastest. `desc`: the index counts down over the
    launch (longest work first). `repeat`: the whole grid is launched that often, in order; the
    body's last argument is then the repetition's number.
  }];
  let arguments = (ins SymbolNameAttr:$sym_name,
                       TypedArrayAttrBase<Tile_FormulaAttr, "formulas">:$grid,
                       DenseBoolArrayAttr:$descending, OptionalAttr<Tile_FormulaAttr>:$repeat,
                       Tile_StageAttr:$stage);
  let regions = (region SizedRegion<1>:$body);
  let hasCustomAssemblyFormat = 1;
  let hasRegionVerifier = 1;
  let skipDefaultBuilders = 1;
  let builders = [OpBuilder<(ins "::llvm::StringRef":$name, "::llvm::ArrayRef<FormulaAttr>":$grid,
                                 "::llvm::ArrayRef<bool>":$descending,
                                 CArg<"Stage", "Stage::Abstract">:$stage)>];
  let extraClassDeclaration = [{
    /// The index of grid dimension `dim` as the body sees it.
    ::mlir::BlockArgument getGridIndex(unsigned dim) { return getBody().getArgument(dim); }
  }];
}

def Tile_ScalarOp : Tile_Op<"scalar", [Pure]> {
  let summary = "reads a run-time scalar: index for extents and i64 parameters, f64 or f32 for others";
  let arguments = (ins StrAttr:$name);
  let results = (outs AnyTypeOf<[Index, F32, F64]>:$result);
  let assemblyFormat = "$name attr-dict `:` type($result)";
  let hasVerifier = 1;
}

//===------------------------------------------------------------------------------------------===//
// Memory
//===------------------------------------------------------------------------------------------===//

def Tile_ViewOp : Tile_Op<"view", [Pure, AttrSizedOperandSegments]> {
  let summary = "window of a tensor or buffer: `:` keeps a dimension, an index fixes it";
  let description = [{
    `tile.view "k" [%b, :, %hk, :] : !tile.view<?x128xbf16>`. The kept dimensions in order are those of
    the view; a static extent must be that of the declaration.
    `paged<n> with table(%t)`: the first two kept dimensions are page and slot; row r of the view is slot
    r mod block of page table[r floordiv block]. `list<n> with table(%idx)`: row r is row
    idx[r floordiv block] * block + r mod block. Rows of an index < 0, and rows past the extent in a
    last block, are not there: a load gives its fill.
    `wrap`: row r is row r mod the extent.
  }];
  let arguments = (ins StrAttr:$name, Variadic<Index>:$indices, DenseBoolArrayAttr:$kept,
                       Optional<Tile_ViewType>:$table);
  let results = (outs Tile_ViewType:$result);
  let hasCustomAssemblyFormat = 1;
  let hasVerifier = 1;
  // A null index keeps its dimension.
  let builders = [OpBuilder<(ins "ViewType":$type, "::llvm::StringRef":$name,
                                 "::llvm::ArrayRef<::mlir::Value>":$indices,
                                 CArg<"::mlir::Value", "{}">:$table)>];
}

def Tile_LoadOp : Tile_Op<"load", [AttrSizedOperandSegments, MemoryEffects<[MemRead]>]> {
  let summary = "rows and columns of a view from the offsets on, as a tile; no cast, no decode";
  let description = [{
    `tile.load %k[%j, 0] valid(%n) fill 0.0 : !tile.view<?x128xbf16> -> !tile.tile<64x128xbf16>`.
    valid(n0, n1, ..): along dimension d only the first n_d elements are read (all if n_d is larger,
    none if it is negative); the others are `fill`, or unspecified where there is no fill. Without
    valid the whole tile must lie inside the view.
  }];
  let arguments = (ins Tile_ViewType:$view, Variadic<Index>:$offsets,
                       DenseI64ArrayAttr:$static_offsets, Variadic<Index>:$valid,
                       OptionalAttr<F64Attr>:$fill);
  let results = (outs Tile_TileType:$result);
  let assemblyFormat = [{
    $view custom<DynamicIndexList>($offsets, $static_offsets) (`valid` `(` $valid^ `)`)?
    (`fill` custom<Number>($fill)^)? attr-dict `:` type($view) `->` type($result)
  }];
  let hasVerifier = 1;
  let builders = [OpBuilder<(ins "TileType":$type, "::mlir::Value":$view,
                                 "::llvm::ArrayRef<::mlir::OpFoldResult>":$offsets,
                                 "::mlir::ValueRange":$valid, "std::optional<double>":$fill)>];
  let extraClassDeclaration = [{
    ::llvm::SmallVector<::mlir::OpFoldResult> getMixedOffsets();
  }];
}

def Tile_StoreOp : Tile_Op<"store", [AttrSizedOperandSegments, MemoryEffects<[MemWrite]>]> {
  let summary = "the only global effect; grid points write disjoint elements";
  let arguments = (ins Tile_TileType:$tile, Tile_ViewType:$view, Variadic<Index>:$offsets,
                       DenseI64ArrayAttr:$static_offsets, Variadic<Index>:$valid);
  let assemblyFormat = [{
    $tile `,` $view custom<DynamicIndexList>($offsets, $static_offsets)
    (`valid` `(` $valid^ `)`)? attr-dict `:` type($tile) `->` type($view)
  }];
  let hasVerifier = 1;
  let builders = [OpBuilder<(ins "::mlir::Value":$tile, "::mlir::Value":$view,
                                 "::llvm::ArrayRef<::mlir::OpFoldResult>":$offsets,
                                 CArg<"::mlir::ValueRange", "{}">:$valid)>];
  let extraClassDeclaration = [{
    ::llvm::SmallVector<::mlir::OpFoldResult> getMixedOffsets();
  }];
}

def Tile_ReadOp : Tile_Op<"read", [MemoryEffects<[MemRead]>]> {
  let summary = "one element of a view as a scalar: a length, a slope, a bound of loops";
  let arguments = (ins Tile_ViewType:$view, Variadic<Index>:$offsets,
                       DenseI64ArrayAttr:$static_offsets);
  let results = (outs AnyTypeOf<[AnyInteger, AnyFloat]>:$result);
  let assemblyFormat = [{
    $view custom<DynamicIndexList>($offsets, $static_offsets) attr-dict `:` type($view) `->`
    type($result)
  }];
  let hasVerifier = 1;
  let builders = [OpBuilder<(ins "::mlir::Value":$view,
                                 "::llvm::ArrayRef<::mlir::OpFoldResult>":$offsets)>];
  let extraClassDeclaration = [{
    ::llvm::SmallVector<::mlir::OpFoldResult> getMixedOffsets();
  }];
}

def Tile_GatherOp : Tile_Op<"gather", [HasParent<"MapOp">, MemoryEffects<[MemRead]>]> {
  let summary = "inside a map: one element of a view at indices computed there; 0 outside the view";
  let description = [{
    `%x = tile.gather %book[%code] : !tile.view<16xf32> -> f32`. Every kept dimension has an index; an
    element with an index below 0 or past its extent reads as 0, so no operand of it need be masked.
    Dense views only.
  }];
  let arguments = (ins Tile_ViewType:$view, Variadic<Index>:$indices);
  let results = (outs AnyTypeOf<[AnyInteger, AnyFloat]>:$result);
  let assemblyFormat = "$view `[` $indices `]` attr-dict `:` type($view) `->` type($result)";
  let hasVerifier = 1;
}

//===------------------------------------------------------------------------------------------===//
// Values
//===------------------------------------------------------------------------------------------===//

def Tile_FillOp : Tile_Op<"fill", [Pure]> {
  let summary = "a tile with one value everywhere, rounded to the element type";
  let arguments = (ins F64Attr:$value);
  let results = (outs Tile_TileType:$result);
  let assemblyFormat = "custom<Number>($value) attr-dict `:` type($result)";
  let hasVerifier = 1;
  let builders = [OpBuilder<(ins "TileType":$type, "double":$value), [{
    build($_builder, $_state, type, $_builder.getF64FloatAttr(value));
  }]>];
}

def Tile_IndexOp : Tile_Op<"index", [Pure]> {
  let summary = "1-d i32 tile of coordinates: base, base + 1, ..";
  let arguments = (ins Index:$base);
  let results = (outs Tile_TileType:$result);
  let assemblyFormat = "$base attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def Tile_MapOp : Tile_Op<"map", [Pure, SingleBlock]> {
  let summary = "elementwise over named dimensions; operands are broadcast or permuted";
  let description = [{
    `tile.map (%s = %S[i, j], %m = %M[i]) -> [i, j] : (T0, T1) -> T2 { .. tile.yield %e : f32 }`.
    Each operand names its dimensions; all are result dimensions, none twice. Results share the
    result dimensions. The region holds arith and math ops and may use scalars from outside.
    `mask`: the one i1 result is true everywhere in a tile that lies wholly inside the support of the
    loop around it, so the full body needs none of it.
  }];
  let arguments = (ins Variadic<Tile_TileType>:$inputs,
                       TypedArrayAttrBase<StrArrayAttr, "names">:$inputDims,
                       StrArrayAttr:$dims, UnitAttr:$mask);
  let results = (outs Variadic<Tile_TileType>:$results);
  let regions = (region SizedRegion<1>:$body);
  let hasCustomAssemblyFormat = 1;
  let hasVerifier = 1;
  let hasRegionVerifier = 1;
  let skipDefaultBuilders = 1;
  let builders = [
    OpBuilder<(ins "::mlir::TypeRange":$results, "::mlir::ValueRange":$inputs,
                   "::llvm::ArrayRef<::llvm::SmallVector<::llvm::StringRef>>":$inputDims,
                   "::llvm::ArrayRef<::llvm::StringRef>":$dims,
                   "::llvm::function_ref<void(::mlir::OpBuilder &, ::mlir::Location, ::mlir::ValueRange)>":$body)>,
    OpBuilder<(ins "::mlir::TypeRange":$results, "::mlir::ValueRange":$inputs,
                   "::mlir::ArrayAttr":$inputDims, "::mlir::ArrayAttr":$dims)>];
  let extraClassDeclaration = [{
    /// For each dimension of input `input`, which result dimension it is.
    ::llvm::SmallVector<int64_t> getInputPositions(unsigned input);
    /// Extents of the result dimensions.
    ::llvm::ArrayRef<int64_t> getExtents();
    YieldOp getYield();
  }];
}

def Tile_MmaOp : Tile_Op<"mma", [Pure]> {
  let summary = "c + sum of a * b over the dimensions that a and b share and c lacks";
  let description = [{
    `tile.mma %Q[i, d], %K[j, d] init %Z[i, j] contract(d) : T0, T1, T2`. Every other dimension of a
    and of b is one of c, and each of c comes from exactly one of them. The default precision is the
    operands' own type. `async` (concrete) gives a token besides.
  }];
  let arguments = (ins Tile_TileType:$a, Tile_TileType:$b, Tile_TileType:$init, StrArrayAttr:$aDims,
                       StrArrayAttr:$bDims, StrArrayAttr:$cDims, Tile_PrecisionAttr:$precision);
  let results = (outs Tile_TileType:$result, Optional<Tile_TokenType>:$token);
  let hasCustomAssemblyFormat = 1;
  let hasVerifier = 1;
  let skipDefaultBuilders = 1;
  let builders = [OpBuilder<(ins "::mlir::Value":$a, "::llvm::ArrayRef<::llvm::StringRef>":$aDims,
                                 "::mlir::Value":$b, "::llvm::ArrayRef<::llvm::StringRef>":$bDims,
                                 "::mlir::Value":$init,
                                 "::llvm::ArrayRef<::llvm::StringRef>":$cDims,
                                 CArg<"std::optional<Precision>", "std::nullopt">:$precision)>];
  let extraClassDeclaration = [{
    /// Names of the contracted dimensions, in a's order.
    ::llvm::SmallVector<::llvm::StringRef> getContracted();
    bool isAsync() { return getToken() != nullptr; }
  }];
}

def Tile_ReduceOp : Tile_Op<"reduce", [Pure, AllTypesMatch<["init", "result"]>]> {
  let summary = "init combined with all elements along one dimension; the order is fixed by layout";
  let description = [{
    `tile.reduce max %s dim(1) init %m : !tile.tile<64x32xf32>, !tile.tile<64xf32>`. An init of the tile's
    rank keeps the dimension in shares: `.. dim(1) init %l : !tile.tile<64x32xf32>, !tile.tile<64x4xf32>` adds
    each element to one of 4 shares of its row; which one is the layout's, so only all shares
    together mean something.
  }];
  let arguments = (ins Tile_ReductionAttr:$kind, Tile_TileType:$tile, I64Attr:$dim,
                       Tile_TileType:$init);
  let results = (outs Tile_TileType:$result);
  let assemblyFormat = [{
    $kind $tile custom<Dim>($dim) `init` $init attr-dict `:` type($tile) `,` type($init)
  }];
  let hasVerifier = 1;
  let builders = [OpBuilder<(ins "Reduction":$kind, "::mlir::Value":$tile, "int64_t":$dim,
                                 "::mlir::Value":$init), [{
    build($_builder, $_state, init.getType(), ReductionAttr::get($_builder.getContext(), kind), tile,
          $_builder.getI64IntegerAttr(dim), init);
  }]>];
}

def Tile_ScanOp : Tile_Op<"scan", [Pure, AllTypesMatch<["tile", "result"]>]> {
  let summary = "prefix sums or maxima along a dimension, inclusive unless said, first to last unless reverse";
  let arguments = (ins Tile_ReductionAttr:$kind, Tile_TileType:$tile, I64Attr:$dim,
                       UnitAttr:$exclusive, UnitAttr:$reverse);
  let results = (outs Tile_TileType:$result);
  let assemblyFormat = [{
    $kind $tile custom<Dim>($dim) (`exclusive` $exclusive^)? (`reverse` $reverse^)? attr-dict
    `:` type($tile)
  }];
  let hasVerifier = 1;
}

def Tile_SolveUnitLowerOp : Tile_Op<"solve_unit_lower", [Pure, AllTypesMatch<["rhs", "result"]>]> {
  let summary = "X with (I + stril L) X = B, f32; only the strictly lower part of L is read";
  let arguments = (ins Tile_TileType:$lower, Tile_TileType:$rhs);
  let results = (outs Tile_TileType:$result);
  let assemblyFormat = "$lower `,` $rhs attr-dict `:` type($lower) `,` type($rhs)";
  let hasVerifier = 1;
}

def Tile_DecodeOp : Tile_Op<"decode", [Pure, AttrSizedOperandSegments]> {
  let summary = "codes to floats: (code - zero) * scale, or table[code] * scale";
  let description = [{
    `tile.decode u4 %codes scale(%s) zero(%z) : T0, Ts, Tz -> T1`. Codes are i8 bytes; packed codes lie
    low bits first along the last dimension, whose result extent is 8 / bits times that of codes.
    Scale and zero have the result's rank; each of their extents divides the result's, and the
    quotient is the group along that dimension (extent 1: one for all).
    The zero of a table is not allowed.
  }];
  let arguments = (ins Tile_CodecAttr:$codec, Tile_TileType:$codes, Optional<Tile_TileType>:$scale,
                       Optional<Tile_TileType>:$zero, Optional<Tile_TileType>:$table);
  let results = (outs Tile_TileType:$result);
  let assemblyFormat = [{
    $codec $codes (`scale` `(` $scale^ `:` type($scale) `)`)?
    (`zero` `(` $zero^ `:` type($zero) `)`)? (`table` `(` $table^ `:` type($table) `)`)?
    attr-dict `:` type($codes) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Tile_TopkOp : Tile_Op<"topk", [Pure, AllTypesMatch<["bestScore", "resultScore"]>,
    AllTypesMatch<["bestId", "resultId"]>]> {
  let summary = "merges candidates into a running list of the k best of each row";
  let description = [{
    `tile.topk %score, %id into %bs, %bi : Ts, Ti, Tbs, Tbi`. Scores rows x n f32, ids n or rows x n i32, lists
    rows x k. Larger score first, then smaller id. A score of -inf or an id < 0 is no candidate; free
    places hold (-inf, -1).
  }];
  let arguments = (ins Tile_TileType:$score, Tile_TileType:$id, Tile_TileType:$bestScore,
                       Tile_TileType:$bestId);
  let results = (outs Tile_TileType:$resultScore, Tile_TileType:$resultId);
  let assemblyFormat = [{
    $score `,` $id `into` $bestScore `,` $bestId attr-dict
    `:` type($score) `,` type($id) `,` type($bestScore) `,` type($bestId)
  }];
  let hasVerifier = 1;
}

def Tile_SortOp : Tile_Op<"sort", [Pure, AllTypesMatch<["ids", "result"]>]> {
  let summary = "i32 ids ascending along the last dimension, negative ones (free places) last";
  let arguments = (ins Tile_TileType:$ids);
  let results = (outs Tile_TileType:$result);
  let assemblyFormat = "$ids attr-dict `:` type($ids)";
  let hasVerifier = 1;
}

def Tile_SliceOp : Tile_Op<"slice", [Pure]> {
  let summary = "part of a tile; offsets are static where the tile lies in registers";
  let arguments = (ins Tile_TileType:$tile, Variadic<Index>:$offsets,
                       DenseI64ArrayAttr:$static_offsets);
  let results = (outs Tile_TileType:$result);
  let assemblyFormat = [{
    $tile custom<DynamicIndexList>($offsets, $static_offsets) attr-dict `:` type($tile) `->`
    type($result)
  }];
  let hasVerifier = 1;
  let builders = [OpBuilder<(ins "TileType":$type, "::mlir::Value":$tile,
                                 "::llvm::ArrayRef<::mlir::OpFoldResult>":$offsets)>];
  let extraClassDeclaration = [{
    ::llvm::SmallVector<::mlir::OpFoldResult> getMixedOffsets();
  }];
}

def Tile_ReshapeOp : Tile_Op<"reshape", [Pure]> {
  let summary = "permutes dimensions, then regroups them in row-major order";
  let description = [{
    `tile.reshape %t permute(1, 0) : !tile.tile<64x32xf32> -> !tile.tile<32x64xf32>`: dimension n of the
    permuted tile is dimension permute[n] of %t. No permute: only regrouped.
  }];
  let arguments = (ins Tile_TileType:$tile, OptionalAttr<DenseI64ArrayAttr>:$permute);
  let results = (outs Tile_TileType:$result);
  let assemblyFormat = [{
    $tile (custom<Permutation>($permute)^)? attr-dict `:` type($tile) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Tile_ConvertOp : Tile_Op<"convert", [Pure]> {
  let summary = "concrete: another layout or space; `free` when only registers are renamed";
  let arguments = (ins Tile_TileType:$tile, UnitAttr:$free);
  let results = (outs Tile_TileType:$result);
  let assemblyFormat = "$tile (`free` $free^)? attr-dict `:` type($tile) `->` type($result)";
  let hasVerifier = 1;
}

//===------------------------------------------------------------------------------------------===//
// Control
//===------------------------------------------------------------------------------------------===//

def Tile_ForOp : Tile_Op<"for", [AttrSizedOperandSegments, RecursiveMemoryEffects, SingleBlock]> {
  let summary = "loop over tiles; the range may be two intervals, left and right share one body";
  let description = [{
    `%r:2 = tile.for %j = [%lo, %a) + [%b, %hi) step 64 iter(%m = %m0, %l = %l0) kind(edge) -> (T0, T1) {..}`
    visits lo, lo + step, .. while below a, then b, b + step, .. while below hi. An empty interval is
    skipped. `support(attr) at(%i0, ..)`: what the loop over all keys may restrict its range with
    (a pass does), and the values it is evaluated for; the loop's meaning does not depend on it.
  }];
  let arguments = (ins Variadic<Index>:$bounds, Variadic<AnyType>:$inits,
                       Variadic<Index>:$supportArgs, I64Attr:$step,
                       Tile_LoopKindAttr:$kind, OptionalAttr<AnyAttr>:$support);
  let results = (outs Variadic<AnyType>:$results);
  let regions = (region SizedRegion<1>:$body);
  let hasCustomAssemblyFormat = 1;
  let hasVerifier = 1;
  let hasRegionVerifier = 1;
  let skipDefaultBuilders = 1;
  let builders = [OpBuilder<(ins "::mlir::ValueRange":$bounds, "int64_t":$step,
                                 "::mlir::ValueRange":$inits,
                                 CArg<"LoopKind", "LoopKind::Any">:$kind,
                                 CArg<"::llvm::function_ref<void(::mlir::OpBuilder &, ::mlir::Location, ::mlir::Value, ::mlir::ValueRange)>", "nullptr">:$body)>];
  let extraClassDeclaration = [{
    bool hasTwoIntervals() { return getBounds().size() == 4; }
    ::mlir::BlockArgument getIndex() { return getBody().getArgument(0); }
    ::mlir::Block::BlockArgListType getIterArgs() {
      return getBody().getArguments().drop_front();
    }
    YieldOp getYield();
  }];
}

def Tile_YieldOp : Tile_Op<"yield", [Pure, Terminator,
    ParentOneOf<["KernelOp", "MapOp", "ForOp", "RolesOp"]>]> {
  let summary = "ends a region with its values; a kernel or role has none";
  let arguments = (ins Variadic<AnyType>:$values);
  let assemblyFormat = "attr-dict ($values^ `:` type($values))?";
  let builders = [OpBuilder<(ins), [{ /* no values */ }]>];
}

//===------------------------------------------------------------------------------------------===//
// Time: rings, roles, waits (concrete only)
//===------------------------------------------------------------------------------------------===//

def Tile_RingOp : Tile_Op<"ring", [MemoryEffects<[MemAlloc]>]> {
  let summary = "a channel of slots from one producer to its consumers, first in first out";
  let arguments = (ins StrAttr:$name);
  let results = (outs Tile_RingType:$result);
  let assemblyFormat = "$name attr-dict `:` type($result)";
}

def Tile_PutOp : Tile_Op<"put", [AttrSizedOperandSegments, MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "fills the next slot from a view (offsets, valid and fill as load) or from a tile";
  let arguments = (ins AnyTypeOf<[Tile_TileType, Tile_ViewType]>:$source, Variadic<Index>:$offsets,
                       DenseI64ArrayAttr:$static_offsets, Variadic<Index>:$valid,
                       OptionalAttr<F64Attr>:$fill, Tile_RingType:$ring);
  let assemblyFormat = [{
    $source custom<DynamicIndexList>($offsets, $static_offsets) (`valid` `(` $valid^ `)`)?
    (`fill` custom<Number>($fill)^)? `into` $ring attr-dict `:` type($source) `->` type($ring)
  }];
  let hasVerifier = 1;
}

def Tile_TakeOp : Tile_Op<"take", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "waits for the oldest full slot and yields it as a tile";
  let arguments = (ins Tile_RingType:$ring);
  let results = (outs Tile_TileType:$result);
  let assemblyFormat = "$ring attr-dict `:` type($ring) `->` type($result)";
  let hasVerifier = 1;
}

def Tile_ReleaseOp : Tile_Op<"release", [MemoryEffects<[MemWrite]>]> {
  let summary = "frees the oldest slot taken; its tile is not read afterwards";
  let arguments = (ins Tile_RingType:$ring);
  let assemblyFormat = "$ring attr-dict `:` type($ring)";
}

def Tile_RolesOp : Tile_Op<"roles", [HasParent<"KernelOp">, RecursiveMemoryEffects,
    SingleBlockImplicitTerminator<"YieldOp">]> {
  let summary = "warps with different programs; the whole work of the kernel lies inside";
  let description = [{
    `tile.roles { load(warps 4, regs 24) {..} compute(x2, warps 4, regs 240) {..} }`: a region each.
  }];
  let arguments = (ins TypedArrayAttrBase<Tile_RoleAttr, "roles">:$roles);
  let regions = (region VariadicRegion<SizedRegion<1>>:$bodies);
  let hasCustomAssemblyFormat = 1;
  let hasVerifier = 1;
}

def Tile_WaitOp : Tile_Op<"wait", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "the result of an async mma may be read, its operands reused";
  let arguments = (ins Tile_TokenType:$token);
  let assemblyFormat = "$token attr-dict";
}

def Tile_CommitOp : Tile_Op<"commit", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "ends a group of asynchronous copies of this thread; only InsertBarriers makes it";
  let assemblyFormat = "attr-dict";
}

def Tile_WaitCopiesOp : Tile_Op<"wait_copies", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "all groups of copies but the newest `pending` ones have landed; as commit";
  let arguments = (ins ConfinedAttr<I64Attr, [IntNonNegative]>:$pending);
  let assemblyFormat = "$pending attr-dict";
}

def Tile_VoteOp : Tile_Op<"vote", [Pure]> {
  let summary = "concrete: whether any element that the executing warp holds is true";
  let description = [{
    `%any = tile.vote %grew : !tile.tile<128xi1, ..>`: uniform in a warp, so an scf.if on it may hold
    maps of registers, nothing that other warps wait for.
  }];
  let arguments = (ins Tile_TileType:$tile);
  let results = (outs I1:$result);
  let assemblyFormat = "$tile attr-dict `:` type($tile)";
  let hasVerifier = 1;
}

def Tile_BarrierOp : Tile_Op<"barrier", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "named barrier of a number of warps; only InsertBarriers makes it";
  let arguments = (ins I64Attr:$id, I64Attr:$warps);
  let assemblyFormat = "$id `warps` $warps attr-dict";
  let hasVerifier = 1;
}

#endif
