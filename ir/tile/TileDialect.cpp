// Registration of the tile dialect, and the small questions several ops share.
#include "ir/tile/TileDialect.h"

using namespace mlir;

namespace heddle::tile {

void TileDialect::initialize() {
  registerTypes();
  registerAttributes();
  addOperations<
#define GET_OP_LIST
#include "ir/tile/TileOps.cpp.inc"
      >();
}

std::optional<Precision> defaultPrecision(Type element) {
  if (element.isF32())
    return Precision::F32;
  if (element.isBF16())
    return Precision::BF16;
  if (element.isF16())
    return Precision::F16;
  if (isa<Float8E4M3FNType, Float8E5M2Type>(element))
    return Precision::FP8;
  if (element.isSignlessInteger(8))
    return Precision::S8;
  return std::nullopt;
}

SmallVector<OpFoldResult> mixedOffsets(MLIRContext *context, ValueRange offsets,
                                       ArrayRef<int64_t> staticOffsets) {
  SmallVector<OpFoldResult> mixed;
  Builder builder(context);
  size_t next = 0;
  for (int64_t offset : staticOffsets) {
    if (!ShapedType::isDynamic(offset))
      mixed.push_back(builder.getIndexAttr(offset));
    else if (next < offsets.size())
      mixed.push_back(offsets[next++]);
  }
  return mixed;
}

} // namespace heddle::tile

#include "ir/tile/TileDialect.cpp.inc"
