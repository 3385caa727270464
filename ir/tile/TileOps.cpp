// The generated classes of the tile ops, and text and builders of those that touch memory. Control
// is in TileOpsControl.cpp, map and mma are in TileOpsMath.cpp, verifiers in TileVerify*.cpp.
#include "ir/tile/TileAssembly.h"

#include "mlir/Interfaces/ViewLikeInterface.h"

using namespace mlir;
using namespace heddle::tile;

#define GET_OP_CLASSES
#include "ir/tile/TileOps.cpp.inc"

namespace heddle::tile {
namespace {

using Unresolved = OpAsmParser::UnresolvedOperand;

/// Splits offsets into constants and values, as DynamicIndexList prints them.
void splitOffsets(ArrayRef<OpFoldResult> offsets, SmallVectorImpl<Value> &dynamic,
                  SmallVectorImpl<int64_t> &fixed) {
  for (OpFoldResult offset : offsets) {
    if (Attribute attribute = dyn_cast<Attribute>(offset)) {
      fixed.push_back(cast<IntegerAttr>(attribute).getInt());
    } else {
      fixed.push_back(ShapedType::kDynamic);
      dynamic.push_back(cast<Value>(offset));
    }
  }
}

} // namespace

void ViewOp::build(OpBuilder &builder, OperationState &state, ViewType type, StringRef name,
                   ArrayRef<Value> indices, Value table) {
  SmallVector<Value> fixed;
  SmallVector<bool> kept;
  for (Value index : indices) {
    kept.push_back(!index);
    if (index)
      fixed.push_back(index);
  }
  build(builder, state, type, builder.getStringAttr(name), fixed,
        builder.getDenseBoolArrayAttr(kept), table);
}

ParseResult ViewOp::parse(OpAsmParser &parser, OperationState &state) {
  StringAttr name;
  SmallVector<Unresolved> indices;
  SmallVector<bool> kept;
  auto index = [&]() -> ParseResult {
    kept.push_back(succeeded(parser.parseOptionalColon()));
    return kept.back() ? success() : parser.parseOperand(indices.emplace_back());
  };
  if (parser.parseAttribute(name, getNameAttrName(state.name), state.attributes) ||
      parser.parseCommaSeparatedList(AsmParser::Delimiter::Square, index))
    return failure();
  Builder &builder = parser.getBuilder();
  state.addAttribute(getKeptAttrName(state.name), builder.getDenseBoolArrayAttr(kept));
  if (parser.resolveOperands(indices, builder.getIndexType(), state.operands))
    return failure();
  int32_t tables = 0;
  if (succeeded(parser.parseOptionalKeyword("table"))) {
    Unresolved table;
    Type type;
    if (parser.parseLParen() || parser.parseOperand(table) || parser.parseColonType(type) ||
        parser.parseRParen() || parser.resolveOperand(table, type, state.operands))
      return failure();
    tables = 1;
  }
  state.addAttribute(getOperandSegmentSizesAttrName(state.name),
                     builder.getDenseI32ArrayAttr({static_cast<int32_t>(indices.size()), tables}));
  Type type;
  if (parser.parseOptionalAttrDict(state.attributes) || parser.parseColonType(type))
    return failure();
  state.addTypes(type);
  return success();
}

void ViewOp::print(OpAsmPrinter &printer) {
  printer << " ";
  printer.printAttributeWithoutType(getNameAttr());
  printer << " [";
  size_t next = 0;
  llvm::interleaveComma(getKept(), printer, [&](bool kept) {
    if (kept)
      printer << ":";
    else
      printer << getIndices()[next++];
  });
  printer << "]";
  if (Value table = getTable())
    printer << " table(" << table << " : " << table.getType() << ")";
  printer.printOptionalAttrDict((*this)->getAttrs(), {"name", "kept", "operandSegmentSizes"});
  printer << " : " << getType();
}

void LoadOp::build(OpBuilder &builder, OperationState &state, TileType type, Value view,
                   ArrayRef<OpFoldResult> offsets, ValueRange valid, std::optional<double> fill) {
  SmallVector<Value> dynamic;
  SmallVector<int64_t> fixed;
  splitOffsets(offsets, dynamic, fixed);
  build(builder, state, type, view, dynamic, builder.getDenseI64ArrayAttr(fixed), valid,
        fill ? builder.getF64FloatAttr(*fill) : FloatAttr());
}

void StoreOp::build(OpBuilder &builder, OperationState &state, Value tile, Value view,
                    ArrayRef<OpFoldResult> offsets, ValueRange valid) {
  SmallVector<Value> dynamic;
  SmallVector<int64_t> fixed;
  splitOffsets(offsets, dynamic, fixed);
  build(builder, state, tile, view, dynamic, builder.getDenseI64ArrayAttr(fixed), valid);
}

void ReadOp::build(OpBuilder &builder, OperationState &state, Value view,
                   ArrayRef<OpFoldResult> offsets) {
  SmallVector<Value> dynamic;
  SmallVector<int64_t> fixed;
  splitOffsets(offsets, dynamic, fixed);
  build(builder, state, cast<ViewType>(view.getType()).getElementType(), view, dynamic,
        builder.getDenseI64ArrayAttr(fixed));
}

void SliceOp::build(OpBuilder &builder, OperationState &state, TileType type, Value tile,
                    ArrayRef<OpFoldResult> offsets) {
  SmallVector<Value> dynamic;
  SmallVector<int64_t> fixed;
  splitOffsets(offsets, dynamic, fixed);
  build(builder, state, type, tile, dynamic, builder.getDenseI64ArrayAttr(fixed));
}

SmallVector<OpFoldResult> LoadOp::getMixedOffsets() {
  return mixedOffsets(getContext(), getOffsets(), getStaticOffsets());
}
SmallVector<OpFoldResult> StoreOp::getMixedOffsets() {
  return mixedOffsets(getContext(), getOffsets(), getStaticOffsets());
}
SmallVector<OpFoldResult> ReadOp::getMixedOffsets() {
  return mixedOffsets(getContext(), getOffsets(), getStaticOffsets());
}
SmallVector<OpFoldResult> SliceOp::getMixedOffsets() {
  return mixedOffsets(getContext(), getOffsets(), getStaticOffsets());
}

} // namespace heddle::tile
