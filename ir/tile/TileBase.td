// The dialect `tile`, its enumerations, attributes and types. ir/tile/README.md shows each in text.
#ifndef HEDDLE_IR_TILE_BASE
#define HEDDLE_IR_TILE_BASE

include "mlir/IR/OpBase.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"

def Tile_Dialect : Dialect {
  let name = "tile";
  let cppNamespace = "::heddle::tile";
  let summary = "kernels on tiles: abstract (values) and concrete (layouts, spaces, threads)";
  let useDefaultTypePrinterParser = 1;
  let useDefaultAttributePrinterParser = 1;
  let extraClassDeclaration = [{
    void registerTypes();
    void registerAttributes();
  }];
}

//===------------------------------------------------------------------------------------------===//
// Enumerations. Each is printed as its bare keyword.
//===------------------------------------------------------------------------------------------===//

class Tile_Enum<string name, string summary, list<I32EnumAttrCase> cases>
    : I32EnumAttr<name, summary, cases> {
  let cppNamespace = "::heddle::tile";
  let genSpecializedAttr = 0;
}
class Tile_EnumAttr<EnumAttrInfo info, string name> : EnumAttr<Tile_Dialect, info, name> {
  let assemblyFormat = "$value";
}

def Tile_Stage : Tile_Enum<"Stage", "stage of a kernel", [
  I32EnumAttrCase<"Abstract", 0, "abstract">, I32EnumAttrCase<"Concrete", 1, "concrete">]>;
def Tile_StageAttr : Tile_EnumAttr<Tile_Stage, "stage">;

// Unplaced: abstract. Global: the tile stays in memory where the view has it (never copied).
def Tile_Space : Tile_Enum<"Space", "where a concrete tile lives", [
  I32EnumAttrCase<"Unplaced", 0, "unplaced">, I32EnumAttrCase<"Reg", 1, "reg">,
  I32EnumAttrCase<"Smem", 2, "smem">, I32EnumAttrCase<"Tmem", 3, "tmem">,
  I32EnumAttrCase<"Local", 4, "local">, I32EnumAttrCase<"Global", 5, "global">]>;

def Tile_Access : Tile_Enum<"Access", "how row r of a view is found in its tensor", [
  I32EnumAttrCase<"Dense", 0, "dense">, I32EnumAttrCase<"Paged", 1, "paged">,
  I32EnumAttrCase<"Wrap", 2, "wrap">, I32EnumAttrCase<"List", 3, "list">]>;

def Tile_Reduction : Tile_Enum<"Reduction", "what a reduce or scan computes", [
  I32EnumAttrCase<"Sum", 0, "sum">, I32EnumAttrCase<"Max", 1, "max">,
  I32EnumAttrCase<"Min", 2, "min">, I32EnumAttrCase<"Or", 3, "or">]>;
def Tile_ReductionAttr : Tile_EnumAttr<Tile_Reduction, "reduction">;

def Tile_Precision : Tile_Enum<"Precision", "how an mma rounds its operands", [
  I32EnumAttrCase<"F32", 0, "f32">, I32EnumAttrCase<"TF32", 1, "tf32">,
  I32EnumAttrCase<"TF32x3", 2, "tf32x3">, I32EnumAttrCase<"BF16", 3, "bf16">,
  I32EnumAttrCase<"F16", 4, "f16">, I32EnumAttrCase<"FP8", 5, "fp8">,
  I32EnumAttrCase<"S8", 6, "s8">]>;
def Tile_PrecisionAttr : Tile_EnumAttr<Tile_Precision, "precision">;

// Packing of integer codes in bytes, low bits first along the last dimension.
def Tile_Codec : Tile_Enum<"Codec", "packing of codes in bytes", [
  I32EnumAttrCase<"U1", 1, "u1">, I32EnumAttrCase<"U2", 2, "u2">, I32EnumAttrCase<"U4", 4, "u4">,
  I32EnumAttrCase<"U8", 8, "u8">, I32EnumAttrCase<"S8", 9, "s8">]>;
def Tile_CodecAttr : Tile_EnumAttr<Tile_Codec, "codec">;

def Tile_LoopKind : Tile_Enum<"LoopKind", "what a loop over tiles visits", [
  I32EnumAttrCase<"Any", 0, "any">, I32EnumAttrCase<"Edge", 1, "edge">,
  I32EnumAttrCase<"Full", 2, "full">]>;
def Tile_LoopKindAttr : Tile_EnumAttr<Tile_LoopKind, "loop_kind">;

//===------------------------------------------------------------------------------------------===//
// Attributes
//===------------------------------------------------------------------------------------------===//

class Tile_Attr<string name, string keyword> : AttrDef<Tile_Dialect, name> {
  let mnemonic = keyword;
}

def Tile_FormulaAttr : Tile_Attr<"Formula", "formula"> {
  let summary = "integer formula over named run-time scalars, in postfix order";
  let description = [{
    `ceildiv(Tq, 64) * Hq` in text. Functions: ceildiv, floordiv, min, max; infix + - *.
    Converts one to one to the artifact's Formula: every device evaluates it alike.
  }];
  let parameters = (ins ArrayRefParameter<"FormulaStep">:$steps);
  let hasCustomAssemblyFormat = 1;
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    static FormulaAttr constant(::mlir::MLIRContext *context, int64_t value);
    static FormulaAttr scalar(::mlir::MLIRContext *context, ::llvm::StringRef name);
    /// left op right, folded where both are constants.
    static FormulaAttr binary(FormulaOp op, FormulaAttr left, FormulaAttr right);
    /// Parses "ceildiv(Tq, 64)"; null with an error through `report` if malformed.
    static FormulaAttr parseText(::mlir::AsmParser &parser);
    void printText(::llvm::raw_ostream &out) const;

    /// The value if the formula is a constant, or the scalar's name if it is one scalar.
    std::optional<int64_t> asConstant() const;
    std::optional<::llvm::StringRef> asScalar() const;
    /// The value with scalars looked up by name; nothing on a division by zero, an overflow or a
    /// scalar that `lookup` does not know.
    std::optional<int64_t>
    evaluate(::llvm::function_ref<std::optional<int64_t>(::llvm::StringRef)> lookup) const;
  }];
}

def Tile_LanesAttr : Tile_Attr<"Lanes", "lanes"> {
  let summary = "CPU: one dimension of the tile runs along SIMD lanes of `width` elements";
  let description = [{
    `#tile.lanes<dim = 0, 16>`: in `reg`, vectors of 16 elements along dimension 0; in `local`, that
    dimension is contiguous and its extent is rounded up to a multiple of 16. Dimension 1 is then the
    outer one (row-major order of the remaining dimensions).
  }];
  let parameters = (ins "int64_t":$dim, "int64_t":$width);
  let assemblyFormat = "`<` `dim` `=` $dim `,` $width `>`";
  let genVerifyDecl = 1;
}

def Tile_StridedAttr : Tile_Attr<"Strided", "strided"> {
  let summary = "space global: as the view has it, last dimension contiguous, other strides run-time";
}

def Tile_PairsAttr : Tile_Attr<"Pairs", "pairs"> {
  let summary = "CPU: as lanes, but `count` elements of another dimension lie side by side in a lane";
  let description = [{
    `#tile.pairs<lanes = 1, width = 16, packed = 0, count = 2>`: the operand order of a dot product of
    pairs (dpbf16): for a 64x128 tile, element (r, c) lies at ((r / 2) * 128 + c) * 2 + r % 2.
  }];
  let parameters = (ins "int64_t":$lanes, "int64_t":$width, "int64_t":$packed, "int64_t":$count);
  let assemblyFormat = "`<` struct(params) `>`";
  let genVerifyDecl = 1;
}

def Tile_DistAttr : Tile_Attr<"Dist", "dist"> {
  let summary = "reg, tmem: (thread, value) -> element, as ir/layout writes it";
  let description = [{
    `#tile.dist<"((4,8),(2,2)):((32,1),(16,8))">`, the accumulator of m16n8: thread 4 * r + c holds row r,
    columns 2c and 2c + 1, and so on. Elements are numbered with dimension 0 fastest. Stride 0 is
    replication; without it each element is covered once.
  }];
  let parameters = (ins StringRefParameter<"layout in the text of ir/layout">:$text);
  let hasCustomAssemblyFormat = 1;
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    static DistAttr get(::mlir::MLIRContext *context, const ::heddle::layout::Layout &layout);
    ::heddle::layout::Layout getLayout() const;
  }];
}

def Tile_MemAttr : Tile_Attr<"Mem", "mem"> {
  let summary = "smem, local: coordinate -> offset in elements, swizzled or padded, as ir/layout writes it";
  let description = [{
    `#tile.mem<"S<3,3,3> o (64,64):(64,1)">`: one mode for each dimension of the tile; no two elements
    share an offset.
  }];
  let parameters = (ins StringRefParameter<"layout in the text of ir/layout">:$text);
  let hasCustomAssemblyFormat = 1;
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    static MemAttr get(::mlir::MLIRContext *context, const ::heddle::layout::SwizzledLayout &layout);
    ::heddle::layout::SwizzledLayout getLayout() const;
  }];
}

def Tile_RoleAttr : Tile_Attr<"Role", "role"> {
  let summary = "one role of a kernel: `count` instances of `warps` warps with `regs` registers each";
  let parameters = (ins "::mlir::StringAttr":$name, "int64_t":$count, "int64_t":$warps,
                        "int64_t":$regs);
  let assemblyFormat = "`<` struct(params) `>`";
  let genVerifyDecl = 1;
}

//===------------------------------------------------------------------------------------------===//
// Types
//===------------------------------------------------------------------------------------------===//

class Tile_Type<string name, string keyword> : TypeDef<Tile_Dialect, name> {
  let mnemonic = keyword;
  let hasCustomAssemblyFormat = 1;
  let genVerifyDecl = 1;
}

def Tile_TileType : Tile_Type<"Tile", "tile"> {
  let summary = "an immutable block of elements with static extents";
  let description = [{
    `!tile.tile<64x128xf32>`, `!tile.tile<64xf32>`, and once concrete
    `!tile.tile<64x128xf32, #tile.lanes<dim = 0, 16>, local>`. Layout and space come together.
  }];
  let parameters = (ins ArrayRefParameter<"int64_t">:$shape, "::mlir::Type":$elementType,
                        "::mlir::Attribute":$layout, "::heddle::tile::Space":$space);
  let builders = [TypeBuilderWithInferredContext<
      (ins "::llvm::ArrayRef<int64_t>":$shape, "::mlir::Type":$elementType), [{
        return $_get(elementType.getContext(), shape, elementType, ::mlir::Attribute(),
                     Space::Unplaced);
      }]>, TypeBuilderWithInferredContext<
      (ins "::llvm::ArrayRef<int64_t>":$shape, "::mlir::Type":$elementType,
           "::mlir::Attribute":$layout, "Space":$space), [{
        return $_get(elementType.getContext(), shape, elementType, layout, space);
      }]>];
  let extraClassDeclaration = [{
    int64_t getRank() const { return getShape().size(); }
    int64_t getDim(int64_t dim) const { return getShape()[dim]; }
    int64_t getNumElements() const;
    bool isConcrete() const { return getSpace() != Space::Unplaced; }
    TileType withShape(::llvm::ArrayRef<int64_t> shape) const;
    TileType withElementType(::mlir::Type type) const;
    TileType withPlace(::mlir::Attribute layout, Space space) const;
  }];
}

def Tile_ViewType : Tile_Type<"View", "view"> {
  let summary = "a window of a tensor or buffer; `?` extents are run-time values";
  let description = [{
    `!tile.view<?x128xbf16>`, `!tile.view<?x128xi8, paged<16>>`, `!tile.view<?x128xf32, list<64>>`,
    `!tile.view<?x128xf32, wrap>`. Rank 0 is one element: `!tile.view<f32>`. Access concerns
    dimension 0 ("rows"); `block` is the page's or list entry's number of rows, 0 otherwise.
  }];
  let parameters = (ins ArrayRefParameter<"int64_t">:$shape, "::mlir::Type":$elementType,
                        "::heddle::tile::Access":$access, "int64_t":$block);
  let builders = [TypeBuilderWithInferredContext<
      (ins "::llvm::ArrayRef<int64_t>":$shape, "::mlir::Type":$elementType,
           CArg<"Access", "Access::Dense">:$access, CArg<"int64_t", "0">:$block), [{
        return $_get(elementType.getContext(), shape, elementType, access, block);
      }]>];
  let extraClassDeclaration = [{
    int64_t getRank() const { return getShape().size(); }
    static bool isDynamic(int64_t extent) { return extent == ::mlir::ShapedType::kDynamic; }
  }];
}

def Tile_RingType : Tile_Type<"Ring", "ring"> {
  let summary = "slots that go from producer to consumer in order";
  let description = "`!tile.ring<3 x 64x128xbf16>`; concrete adds `, layout, smem` or `, layout, tmem`.";
  let parameters = (ins "int64_t":$slots, "TileType":$slot);
}

def Tile_TokenType : TypeDef<Tile_Dialect, "Token"> {
  let mnemonic = "token";
  let summary = "an asynchronous mma in flight";
}

#endif
