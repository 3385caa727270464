// Types and layout attributes of the tile dialect: text, and what a well-formed one is.
//   !tile.tile<64x128xf32, #tile.lanes<dim = 0, 16>, local>
#include "ir/tile/TileLayouts.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/TypeSwitch.h"

#include <numeric>

using namespace mlir;

namespace heddle::tile {
namespace {

using EmitError = llvm::function_ref<InFlightDiagnostic()>;

bool isElement(Type type) {
  if (isa<Float32Type, Float16Type, BFloat16Type, Float64Type, Float8E4M3FNType, Float8E5M2Type>(
          type))
    return true;
  return llvm::any_of(ArrayRef<int>{1, 8, 32, 64},
                      [&](int width) { return type.isSignlessInteger(width); });
}

LogicalResult verifyElement(EmitError emitError, Type type) {
  if (isElement(type))
    return success();
  return emitError() << "element type " << type
                     << " is none of f32, f16, bf16, f64, f8E4M3FN, f8E5M2, i1, i8, i32, i64";
}

/// `, layout, space` after the element type of a tile or ring.
ParseResult parsePlace(AsmParser &parser, Attribute &layout, Space &space) {
  layout = {};
  space = Space::Unplaced;
  if (failed(parser.parseOptionalComma()))
    return success();
  StringRef word;
  if (parser.parseAttribute(layout) || parser.parseComma())
    return failure();
  llvm::SMLoc loc = parser.getCurrentLocation();
  if (parser.parseKeyword(&word))
    return failure();
  std::optional<Space> found = symbolizeSpace(word);
  if (!found || *found == Space::Unplaced)
    return parser.emitError(loc) << "space '" << word
                                 << "' is none of reg, smem, tmem, local, global";
  space = *found;
  return success();
}

void printPlace(AsmPrinter &printer, TileType type) {
  if (type.getLayout())
    printer << ", " << type.getLayout() << ", " << stringifySpace(type.getSpace());
}

void printBlock(AsmPrinter &printer, TileType type) {
  for (int64_t extent : type.getShape())
    printer << extent << "x";
  printer << type.getElementType();
}

ParseResult parseBlock(AsmParser &parser, SmallVectorImpl<int64_t> &shape, Type &element,
                       bool dynamic) {
  return failure(parser.parseDimensionList(shape, dynamic, /*withTrailingX=*/true) ||
                 parser.parseType(element));
}

} // namespace

//===------------------------------------------------------------------------------------------===//
// tile
//===------------------------------------------------------------------------------------------===//

int64_t TileType::getNumElements() const {
  return std::accumulate(getShape().begin(), getShape().end(), int64_t(1), std::multiplies<>());
}
TileType TileType::withShape(ArrayRef<int64_t> shape) const {
  return get(shape, getElementType(), getLayout(), getSpace());
}
TileType TileType::withElementType(Type type) const {
  return get(getShape(), type, getLayout(), getSpace());
}
TileType TileType::withPlace(Attribute layout, Space space) const {
  return get(getShape(), getElementType(), layout, space);
}

LogicalResult TileType::verify(EmitError emitError, ArrayRef<int64_t> shape, Type element,
                               Attribute layout, Space space) {
  int64_t elements = 1;
  for (int64_t extent : shape) {
    if (extent <= 0)
      return emitError() << "tile extent " << extent << ", expected a positive number";
    if (llvm::MulOverflow(elements, extent, elements) || elements > (int64_t(1) << 32))
      return emitError() << "tile has more than 2^32 elements, expected a work group's share";
  }
  if (failed(verifyElement(emitError, element)))
    return failure();
  if ((space != Space::Unplaced) != static_cast<bool>(layout))
    return emitError() << "tile has a layout or a space alone, expected both or neither";
  return layout ? verifyLayout(emitError, shape, layout, space) : success();
}

Type TileType::parse(AsmParser &parser) {
  SmallVector<int64_t> shape;
  Type element;
  Attribute layout;
  Space space = Space::Unplaced;
  llvm::SMLoc loc = parser.getCurrentLocation();
  if (parser.parseLess() || parseBlock(parser, shape, element, /*dynamic=*/false) ||
      parsePlace(parser, layout, space) || parser.parseGreater())
    return {};
  return getChecked([&] { return parser.emitError(loc); }, parser.getContext(), shape, element,
                    layout, space);
}

void TileType::print(AsmPrinter &printer) const {
  printer << "<";
  printBlock(printer, *this);
  printPlace(printer, *this);
  printer << ">";
}

//===------------------------------------------------------------------------------------------===//
// view
//===------------------------------------------------------------------------------------------===//

LogicalResult ViewType::verify(EmitError emitError, ArrayRef<int64_t> shape, Type element,
                               Access access, int64_t block) {
  for (int64_t extent : shape)
    if (!isDynamic(extent) && extent < 0)
      return emitError() << "view extent " << extent << ", expected ? or a number from 0 on";
  bool blocked = access == Access::Paged || access == Access::List;
  if (blocked && block <= 0)
    return emitError() << "access " << stringifyAccess(access) << " has blocks of " << block
                       << " rows, expected a positive number";
  if (!blocked && block != 0)
    return emitError() << "access " << stringifyAccess(access) << " takes no block size";
  if (access != Access::Dense && shape.empty())
    return emitError() << "a view of one element has dense access only";
  return verifyElement(emitError, element);
}

Type ViewType::parse(AsmParser &parser) {
  SmallVector<int64_t> shape;
  Type element;
  Access access = Access::Dense;
  int64_t block = 0;
  llvm::SMLoc loc = parser.getCurrentLocation();
  if (parser.parseLess() || parseBlock(parser, shape, element, /*dynamic=*/true))
    return {};
  if (succeeded(parser.parseOptionalComma())) {
    StringRef word;
    llvm::SMLoc at = parser.getCurrentLocation();
    if (parser.parseKeyword(&word))
      return {};
    std::optional<Access> found = symbolizeAccess(word);
    if (!found) {
      parser.emitError(at) << "access '" << word << "' is none of dense, paged, wrap, list";
      return {};
    }
    access = *found;
    if (succeeded(parser.parseOptionalLess()) &&
        (parser.parseInteger(block) || parser.parseGreater()))
      return {};
  }
  if (parser.parseGreater())
    return {};
  return getChecked([&] { return parser.emitError(loc); }, parser.getContext(), shape, element,
                    access, block);
}

void ViewType::print(AsmPrinter &printer) const {
  printer << "<";
  for (int64_t extent : getShape()) {
    if (isDynamic(extent))
      printer << "?x";
    else
      printer << extent << "x";
  }
  printer << getElementType();
  if (getAccess() != Access::Dense)
    printer << ", " << stringifyAccess(getAccess());
  if (getBlock() != 0)
    printer << "<" << getBlock() << ">";
  printer << ">";
}

//===------------------------------------------------------------------------------------------===//
// ring
//===------------------------------------------------------------------------------------------===//

LogicalResult RingType::verify(EmitError emitError, int64_t slots, TileType slot) {
  if (slots <= 0)
    return emitError() << "ring has " << slots << " slots, expected at least one";
  if (slot.isConcrete() && slot.getSpace() != Space::Smem && slot.getSpace() != Space::Tmem &&
      slot.getSpace() != Space::Local)
    return emitError() << "ring lies in " << stringifySpace(slot.getSpace())
                       << ", expected smem, tmem or local";
  return success();
}

Type RingType::parse(AsmParser &parser) {
  int64_t slots = 0;
  SmallVector<int64_t> shape;
  Type element;
  Attribute layout;
  Space space = Space::Unplaced;
  llvm::SMLoc loc = parser.getCurrentLocation();
  if (parser.parseLess() || parser.parseInteger(slots) || parser.parseKeyword("x") ||
      parseBlock(parser, shape, element, /*dynamic=*/false) || parsePlace(parser, layout, space) ||
      parser.parseGreater())
    return {};
  auto error = [&] { return parser.emitError(loc); };
  TileType slot = TileType::getChecked(error, parser.getContext(), shape, element, layout, space);
  return slot ? getChecked(error, parser.getContext(), slots, slot) : Type();
}

void RingType::print(AsmPrinter &printer) const {
  printer << "<" << getSlots() << " x ";
  printBlock(printer, getSlot());
  printPlace(printer, getSlot());
  printer << ">";
}

//===------------------------------------------------------------------------------------------===//
// role
//===------------------------------------------------------------------------------------------===//

LogicalResult RoleAttr::verify(EmitError emitError, StringAttr name, int64_t count, int64_t warps,
                               int64_t regs) {
  if (count <= 0 || warps <= 0)
    return emitError() << "role '" << name.getValue() << "' has " << count << " instances of "
                       << warps << " warps, expected at least one of each";
  if (regs < 24 || regs > 255)
    return emitError() << "role '" << name.getValue() << "' has " << regs
                       << " registers a thread, expected 24 to 255";
  return success();
}

} // namespace heddle::tile

// The generated parsers of attributes read enumerations through FieldParser; the classes of
// attributes and types are defined here, beside their verifiers.
#include "ir/tile/TileEnums.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "ir/tile/TileAttrs.cpp.inc"

#define GET_TYPEDEF_CLASSES
#include "ir/tile/TileTypes.cpp.inc"

namespace heddle::tile {

void TileDialect::registerTypes() {
  addTypes<
#define GET_TYPEDEF_LIST
#include "ir/tile/TileTypes.cpp.inc"
      >();
}

void TileDialect::registerAttributes() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "ir/tile/TileAttrs.cpp.inc"
      >();
}

} // namespace heddle::tile
