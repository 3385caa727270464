// Verifiers of the tile ops that need to see one op only: types, extents and names fit together.
// Rules that need a whole kernel (stages, rings, roles, disjoint stores) are in
// TileVerifyKernel.cpp.
#include "ir/tile/TileDialect.h"

#include "llvm/ADT/StringSet.h"

using namespace mlir;

namespace heddle::tile {
namespace {

/// Extents beside each other: 64x128.
std::string shapeText(ArrayRef<int64_t> shape) {
  std::string text;
  llvm::raw_string_ostream out(text);
  llvm::interleave(shape, out, "x");
  return text;
}

/// The element type of views and tiles of a declared element type: bytes are signless.
Type storedElement(Type declared) {
  if (declared.isUnsignedInteger(8))
    return IntegerType::get(declared.getContext(), 8);
  return declared;
}

LogicalResult verifyDeclaredElement(Operation *op, Type type) {
  Type stored = storedElement(type);
  if (isa<Float32Type, Float16Type, BFloat16Type, Float64Type, Float8E4M3FNType, Float8E5M2Type>(
          stored) ||
      stored.isSignlessInteger(8) || stored.isSignlessInteger(32) || stored.isSignlessInteger(64))
    return success();
  return op->emitOpError() << "has element type " << type
                           << ", expected f32, f16, bf16, f64, f8E4M3FN, f8E5M2, i8, ui8, i32 or "
                              "i64";
}

/// Offsets and valid counts of an access to a view by a tile.
LogicalResult verifyAccess(Operation *op, ViewType view, std::optional<TileType> tile,
                           ArrayRef<int64_t> staticOffsets, ValueRange offsets, ValueRange valid) {
  int64_t rank = view.getRank();
  if (static_cast<int64_t>(staticOffsets.size()) != rank)
    return op->emitOpError() << "has " << staticOffsets.size() << " offsets into a view of rank "
                             << rank;
  int64_t dynamic = llvm::count_if(staticOffsets, ShapedType::isDynamic);
  if (dynamic != static_cast<int64_t>(offsets.size()))
    return op->emitOpError() << "has " << offsets.size() << " offset operands, expected "
                             << dynamic;
  if (!tile)
    return success();
  if (tile->getRank() != rank)
    return op->emitOpError() << "moves a tile of rank " << tile->getRank()
                             << " through a view of rank " << rank;
  if (tile->getElementType() != view.getElementType())
    return op->emitOpError() << "moves " << tile->getElementType() << " elements through a view of "
                             << view.getElementType()
                             << "; loads and stores do not convert, use tile.map";
  if (static_cast<int64_t>(valid.size()) > rank)
    return op->emitOpError() << "has " << valid.size() << " valid counts for " << rank
                             << " dimensions";
  for (int64_t dim = 0; dim < rank; ++dim)
    if (staticOffsets[dim] < 0 && !ShapedType::isDynamic(staticOffsets[dim]))
      return op->emitOpError() << "starts at " << staticOffsets[dim] << " in dimension " << dim
                               << ", expected an offset from 0 on";
  for (int64_t dim = valid.size(); dim < rank; ++dim) {
    int64_t extent = view.getShape()[dim], offset = staticOffsets[dim];
    if (ViewType::isDynamic(extent))
      continue;
    int64_t end = tile->getDim(dim) + (ShapedType::isDynamic(offset) ? 0 : offset);
    if (end > extent)
      return op->emitOpError() << "reaches element " << end << " of dimension " << dim
                               << " whose extent is " << extent << "; say how many with valid(..)";
  }
  return success();
}

LogicalResult verifyNames(Operation *op, ArrayAttr names, TileType tile, const Twine &what) {
  if (static_cast<int64_t>(names.size()) != tile.getRank())
    return op->emitOpError() << "names " << names.size() << " dimensions of " << what
                             << ", whose rank is " << tile.getRank();
  llvm::StringSet<> seen;
  for (StringAttr name : names.getAsRange<StringAttr>())
    if (!seen.insert(name.getValue()).second)
      return op->emitOpError() << "names dimension '" << name.getValue() << "' of " << what
                               << " twice";
  return success();
}

/// The extent of a named dimension, or nothing if `names` lacks it.
std::optional<int64_t> extentOf(ArrayAttr names, TileType tile, Attribute name) {
  const Attribute *found = llvm::find(names, name);
  if (found == names.end())
    return std::nullopt;
  return tile.getDim(found - names.begin());
}

bool isFloatTile(TileType tile) { return isa<FloatType>(tile.getElementType()); }

std::optional<int64_t> bitsOf(Codec codec) {
  return codec == Codec::S8 ? 8 : static_cast<int64_t>(codec);
}

} // namespace

//===------------------------------------------------------------------------------------------===//
// Declarations
//===------------------------------------------------------------------------------------------===//

LogicalResult ExtentOp::verify() {
  if (getMultiple() && *getMultiple() <= 0)
    return emitOpError() << "is a multiple of " << *getMultiple() << ", expected a positive number";
  return success();
}

LogicalResult ParamOp::verify() {
  Type type = getValue().getType();
  if (type.isInteger(64) || type.isF64())
    return success();
  return emitOpError() << "has a default of type " << type << ", expected i64 or f64";
}

LogicalResult TensorOp::verify() {
  for (FormulaAttr extent : getShape().getAsRange<FormulaAttr>()) {
    std::optional<int64_t> constant = extent.asConstant();
    if (constant ? *constant < 0 : !extent.asScalar())
      return emitOpError() << "has an extent " << extent
                           << ", expected a number from 0 on or the name of an extent";
  }
  return verifyDeclaredElement(*this, getElementType());
}

LogicalResult BufferOp::verify() { return verifyDeclaredElement(*this, getElementType()); }

LogicalResult ScalarOp::verify() {
  if (getName().empty())
    return emitOpError() << "reads a scalar without a name";
  return success();
}

//===------------------------------------------------------------------------------------------===//
// Memory
//===------------------------------------------------------------------------------------------===//

LogicalResult ViewOp::verify() {
  int64_t fixed = llvm::count(getKept(), false), kept = getKept().size() - fixed;
  if (fixed != static_cast<int64_t>(getIndices().size()))
    return emitOpError() << "fixes " << fixed << " dimensions with " << getIndices().size()
                         << " indices";
  Access access = getType().getAccess();
  int64_t expected = getType().getRank() + (access == Access::Paged ? 1 : 0);
  if (kept != expected)
    return emitOpError() << "keeps " << kept << " dimensions for a view of rank "
                         << getType().getRank()
                         << (access == Access::Paged ? ", expected one more: page and slot" : "");
  bool needsTable = access == Access::Paged || access == Access::List;
  if (needsTable != static_cast<bool>(getTable()))
    return emitOpError() << "has access " << stringifyAccess(access)
                         << (needsTable ? " and needs table(..)" : " and takes no table");
  if (!needsTable)
    return success();
  ViewType table = cast<ViewType>(getTable().getType());
  if (table.getRank() != 1 || !table.getElementType().isInteger(32))
    return emitOpError() << "has a table of type " << table << ", expected a view of rank 1 of i32";
  return success();
}

LogicalResult LoadOp::verify() {
  return verifyAccess(*this, getView().getType(), getType(), getStaticOffsets(), getOffsets(),
                      getValid());
}

LogicalResult StoreOp::verify() {
  return verifyAccess(*this, getView().getType(), getTile().getType(), getStaticOffsets(),
                      getOffsets(), getValid());
}

LogicalResult ReadOp::verify() {
  if (getType() != getView().getType().getElementType())
    return emitOpError() << "reads a " << getView().getType().getElementType() << " as "
                         << getType();
  return verifyAccess(*this, getView().getType(), std::nullopt, getStaticOffsets(), getOffsets(),
                      {});
}

LogicalResult PutOp::verify() {
  TileType slot = getRing().getType().getSlot();
  if (ViewType view = dyn_cast<ViewType>(getSource().getType()))
    return verifyAccess(*this, view, slot, getStaticOffsets(), getOffsets(), getValid());
  TileType tile = cast<TileType>(getSource().getType());
  if (!getStaticOffsets().empty() || !getValid().empty() || getFill())
    return emitOpError() << "of a tile takes neither offsets nor valid nor fill";
  if (tile.getShape() != slot.getShape() || tile.getElementType() != slot.getElementType())
    return emitOpError() << "fills a slot of " << slot << " from " << tile;
  return success();
}

LogicalResult TakeOp::verify() {
  if (getType() == getRing().getType().getSlot())
    return success();
  return emitOpError() << "yields " << getType() << " from slots of "
                       << getRing().getType().getSlot();
}

//===------------------------------------------------------------------------------------------===//
// Values
//===------------------------------------------------------------------------------------------===//

LogicalResult FillOp::verify() {
  if (isa<FloatType>(getType().getElementType()))
    return success();
  double value = getValue().convertToDouble();
  if (value == static_cast<double>(static_cast<int64_t>(value)))
    return success();
  return emitOpError() << "of " << getType().getElementType() << " with " << value
                       << ", expected an integer";
}

LogicalResult IndexOp::verify() {
  if (getType().getRank() == 1 && getType().getElementType().isInteger(32))
    return success();
  return emitOpError() << "gives " << getType() << ", expected a tile of rank 1 of i32";
}

LogicalResult GatherOp::verify() {
  ViewType view = getView().getType();
  if (view.getAccess() != Access::Dense)
    return emitOpError() << "reads a view of " << view << ", expected a dense one";
  if (static_cast<int64_t>(getIndices().size()) != view.getRank())
    return emitOpError() << "has " << getIndices().size() << " indices for a view of rank "
                         << view.getRank();
  if (getType() != view.getElementType())
    return emitOpError() << "gives " << getType() << ", expected the view's "
                         << view.getElementType();
  return success();
}

LogicalResult MapOp::verify() {
  if (getNumResults() == 0)
    return emitOpError() << "has no result";
  TileType first = dyn_cast<TileType>(getResult(0).getType());
  if (failed(verifyNames(*this, getDims(), first, "the result")))
    return failure();
  for (Type type : getResultTypes())
    if (cast<TileType>(type).getShape() != first.getShape())
      return emitOpError() << "has results of " << first << " and " << type
                           << ", expected the same extents";
  if (getInputDims().size() != getInputs().size())
    return emitOpError() << "has names for " << getInputDims().size() << " of "
                         << getInputs().size() << " operands";
  for (auto [index, value] : llvm::enumerate(getInputs())) {
    TileType tile = cast<TileType>(value.getType());
    ArrayAttr names = cast<ArrayAttr>(getInputDims()[index]);
    if (failed(verifyNames(*this, names, tile, "operand " + Twine(index))))
      return failure();
    for (auto [dim, name] : llvm::enumerate(names)) {
      std::optional<int64_t> extent = extentOf(getDims(), first, name);
      if (!extent)
        return emitOpError() << "operand " << index << " has dimension " << name
                             << ", which is none of the result";
      if (*extent != tile.getDim(dim))
        return emitOpError() << "dimension " << name << " is " << tile.getDim(dim) << " in operand "
                             << index << " and " << *extent << " in the result";
    }
  }
  if (getMask() && (getNumResults() != 1 || !first.getElementType().isInteger(1)))
    return emitOpError() << "marked mask gives " << first << ", expected one i1 tile";
  return success();
}

LogicalResult MapOp::verifyRegions() {
  Block &block = getBody().front();
  if (block.getNumArguments() != getInputs().size())
    return emitOpError() << "has " << block.getNumArguments() << " region arguments for "
                         << getInputs().size() << " operands";
  for (auto [argument, value] : llvm::zip(block.getArguments(), getInputs()))
    if (argument.getType() != cast<TileType>(value.getType()).getElementType())
      return emitOpError() << "has a region argument of " << argument.getType()
                           << " for an operand of " << value.getType();
  for (Operation &op : block.without_terminator()) {
    StringRef dialect = op.getName().getDialectNamespace();
    bool gathers = isa<GatherOp>(op);
    if (dialect != "arith" && dialect != "math" && !gathers)
      return op.emitOpError() << "is not allowed in tile.map, expected arith and math ops";
    for (Value operand : op.getOperands().drop_front(gathers))
      if (!operand.getType().isIntOrIndexOrFloat())
        return op.emitOpError() << "reads a " << operand.getType()
                                << " in tile.map, expected scalars";
  }
  YieldOp yield = dyn_cast<YieldOp>(block.getTerminator());
  if (!yield || yield.getValues().size() != getNumResults())
    return emitOpError() << "yields "
                         << (yield ? static_cast<int64_t>(yield.getValues().size()) : 0)
                         << " values for " << getNumResults() << " results";
  for (auto [value, type] : llvm::zip(yield.getValues(), getResultTypes()))
    if (value.getType() != cast<TileType>(type).getElementType())
      return emitOpError() << "yields " << value.getType() << " for a result of " << type;
  return success();
}

static bool isLegal(Precision precision, Type element) {
  if (element.isF32())
    return precision == Precision::F32 || precision == Precision::TF32 ||
           precision == Precision::TF32x3;
  return defaultPrecision(element) == precision;
}

LogicalResult MmaOp::verify() {
  TileType a = getA().getType(), b = getB().getType(), c = getInit().getType();
  if (failed(verifyNames(*this, getADims(), a, "a")) ||
      failed(verifyNames(*this, getBDims(), b, "b")) ||
      failed(verifyNames(*this, getCDims(), c, "init")))
    return failure();
  if (getContracted().empty())
    return emitOpError() << "contracts no dimension, expected one that both operands have";
  for (auto [dim, name] : llvm::enumerate(getADims())) {
    std::optional<int64_t> inB = extentOf(getBDims(), b, name), inC = extentOf(getCDims(), c, name);
    if (inB && inC)
      return emitOpError() << "has dimension " << name
                           << " in both operands and in the result, expected it contracted or in "
                              "one operand";
    if (!inB && !inC)
      return emitOpError() << "has dimension " << name << " in a alone";
    int64_t other = inB ? *inB : *inC;
    if (other != a.getDim(dim))
      return emitOpError() << "dimension " << name << " is " << a.getDim(dim) << " in a and "
                           << other << (inB ? " in b" : " in init");
  }
  for (auto [dim, name] : llvm::enumerate(getBDims())) {
    if (extentOf(getADims(), a, name))
      continue;
    std::optional<int64_t> inC = extentOf(getCDims(), c, name);
    if (!inC)
      return emitOpError() << "has dimension " << name << " in b alone";
    if (*inC != b.getDim(dim))
      return emitOpError() << "dimension " << name << " is " << b.getDim(dim) << " in b and "
                           << *inC << " in init";
  }
  for (Attribute name : getCDims())
    if (!extentOf(getADims(), a, name) && !extentOf(getBDims(), b, name))
      return emitOpError() << "has dimension " << name << " in init alone";
  if (a.getElementType() != b.getElementType())
    return emitOpError() << "multiplies " << a.getElementType() << " by " << b.getElementType()
                         << ", expected one type; convert with tile.map";
  if (!isLegal(getPrecision(), a.getElementType()))
    return emitOpError() << "has precision " << stringifyPrecision(getPrecision())
                         << " for operands of " << a.getElementType();
  Type accumulator = c.getElementType();
  bool integers = getPrecision() == Precision::S8;
  if (integers ? !accumulator.isInteger(32) : !accumulator.isF32())
    return emitOpError() << "accumulates in " << accumulator << ", expected "
                         << (integers ? "i32" : "f32");
  TileType result = getResult().getType();
  // A start value made in registers may be written to scratch with the sums, and one in scratch be
  // read into registers.
  auto onCpu = [](Space space) { return space == Space::Reg || space == Space::Local; };
  bool spilled =
      onCpu(c.getSpace()) && onCpu(result.getSpace()) && result.getLayout() == c.getLayout();
  if (result.withPlace(c.getLayout(), c.getSpace()) != c || (result != c && !spilled))
    return emitOpError() << "gives " << getResult().getType() << " from init of " << c;
  return success();
}

static LogicalResult verifyDim(Operation *op, TileType tile, int64_t dim) {
  if (dim >= 0 && dim < tile.getRank())
    return success();
  return op->emitOpError() << "runs along dimension " << dim << " of a tile of rank "
                           << tile.getRank();
}

LogicalResult ReduceOp::verify() {
  TileType tile = getTile().getType(), init = getInit().getType();
  if (failed(verifyDim(*this, tile, getDim())))
    return failure();
  SmallVector<int64_t> left(tile.getShape());
  bool shares = init.getRank() == tile.getRank();
  if (shares)
    left[getDim()] = init.getDim(getDim());
  else
    left.erase(left.begin() + getDim());
  if (shares && (tile.getDim(getDim()) % left[getDim()] != 0 || left[getDim()] == 1))
    return emitOpError() << "keeps " << left[getDim()] << " shares of " << tile.getDim(getDim())
                         << " elements, expected a divisor above 1";
  if (ArrayRef<int64_t>(left) != init.getShape())
    return emitOpError() << "has init of " << init << ", expected extents " << shapeText(left);
  if (tile.getElementType() != init.getElementType())
    return emitOpError() << "reduces " << tile.getElementType() << " into " << init.getElementType()
                         << ", expected one type";
  if (isFloatTile(tile) && !tile.getElementType().isF32() && !tile.getElementType().isF64())
    return emitOpError() << "accumulates in " << tile.getElementType() << ", expected f32";
  if (getKind() == Reduction::Or && isFloatTile(tile))
    return emitOpError() << "computes or of " << tile.getElementType() << ", expected integers";
  return success();
}

LogicalResult ScanOp::verify() {
  if (getKind() == Reduction::Or)
    return emitOpError() << "has kind or, expected sum, max or min";
  if (isFloatTile(getTile().getType()) && !getTile().getType().getElementType().isF32())
    return emitOpError() << "accumulates in " << getTile().getType().getElementType()
                         << ", expected f32";
  return verifyDim(*this, getTile().getType(), getDim());
}

LogicalResult SolveUnitLowerOp::verify() {
  TileType lower = getLower().getType(), rhs = getRhs().getType();
  if (!lower.getElementType().isF32() || !rhs.getElementType().isF32())
    return emitOpError() << "solves in " << lower.getElementType() << " and "
                         << rhs.getElementType() << ", expected f32";
  if (lower.getRank() != 2 || lower.getDim(0) != lower.getDim(1))
    return emitOpError() << "has the matrix " << lower << ", expected a square tile";
  if (rhs.getRank() != 2 || rhs.getDim(0) != lower.getDim(0))
    return emitOpError() << "has right-hand sides " << rhs << ", expected " << lower.getDim(0)
                         << " rows";
  return success();
}

/// Scale and zero: the result's rank, extents that divide the result's.
static LogicalResult verifyGroups(DecodeOp op, TileType parameter, StringRef what) {
  ArrayRef<int64_t> result = op.getType().getShape();
  bool fits = parameter.getShape().size() == result.size();
  for (size_t dim = 0; fits && dim < result.size(); ++dim)
    fits = result[dim] % parameter.getDim(dim) == 0;
  if (!fits)
    return op.emitOpError() << "has a " << what << " of " << parameter
                            << ", expected the rank of the result and extents that divide its";
  if (!isFloatTile(parameter) && !parameter.getElementType().isInteger(8))
    return op.emitOpError() << "has a " << what << " of " << parameter.getElementType()
                            << ", expected floats or i8";
  return success();
}

LogicalResult DecodeOp::verify() {
  TileType codes = getCodes().getType();
  int64_t bits = *bitsOf(getCodec());
  if (!codes.getElementType().isInteger(8) || codes.getRank() == 0)
    return emitOpError() << "has codes of " << codes << ", expected i8 bytes";
  SmallVector<int64_t> expected(codes.getShape());
  expected.back() *= 8 / bits;
  if (ArrayRef<int64_t>(expected) != getType().getShape())
    return emitOpError() << "gives " << getType() << " from " << codes << ", expected extents "
                         << shapeText(expected);
  if (!isFloatTile(getType()))
    return emitOpError() << "gives " << getType().getElementType() << ", expected a float type";
  if (getScale() && failed(verifyGroups(*this, getScale().getType(), "scale")))
    return failure();
  if (getZero() && failed(verifyGroups(*this, getZero().getType(), "zero")))
    return failure();
  if (!getTable())
    return success();
  if (getZero() || getCodec() == Codec::S8)
    return emitOpError() << "with a table takes unsigned codes and no zero";
  TileType table = getTable().getType();
  if (table.getRank() != 1 || table.getDim(0) > (1 << bits) || !isFloatTile(table))
    return emitOpError() << "has a table of " << table << ", expected at most " << (1 << bits)
                         << " floats";
  return success();
}

LogicalResult TopkOp::verify() {
  TileType score = getScore().getType(), id = getId().getType();
  TileType bestScore = getBestScore().getType(), bestId = getBestId().getType();
  if (score.getRank() != 2 || !score.getElementType().isF32() ||
      !bestScore.getElementType().isF32())
    return emitOpError() << "has scores of " << score << ", expected rows x candidates of f32";
  if (!id.getElementType().isInteger(32) || !bestId.getElementType().isInteger(32))
    return emitOpError() << "has ids of " << id.getElementType() << ", expected i32";
  bool shared = id.getRank() == 1 && id.getDim(0) == score.getDim(1);
  if (!shared && id.getShape() != score.getShape())
    return emitOpError() << "has ids of " << id << " for scores of " << score;
  if (bestScore.getRank() != 2 || bestScore.getDim(0) != score.getDim(0) ||
      bestScore.getShape() != bestId.getShape())
    return emitOpError() << "has lists of " << bestScore << " and " << bestId << ", expected "
                         << score.getDim(0) << " rows and the same k";
  return success();
}

LogicalResult SortOp::verify() {
  if (getType().getRank() > 0 && getType().getElementType().isInteger(32))
    return success();
  return emitOpError() << "sorts " << getType() << ", expected i32 ids";
}

LogicalResult SliceOp::verify() {
  TileType from = getTile().getType(), to = getType();
  if (from.getRank() != to.getRank() || from.getElementType() != to.getElementType())
    return emitOpError() << "takes " << to << " from " << from
                         << ", expected the same rank and element type";
  if (static_cast<int64_t>(getStaticOffsets().size()) != from.getRank())
    return emitOpError() << "has " << getStaticOffsets().size() << " offsets for rank "
                         << from.getRank();
  int64_t dynamic = llvm::count_if(getStaticOffsets(), ShapedType::isDynamic);
  if (dynamic != static_cast<int64_t>(getOffsets().size()))
    return emitOpError() << "has " << getOffsets().size() << " offset operands, expected "
                         << dynamic;
  for (auto [dim, offset] : llvm::enumerate(getStaticOffsets())) {
    int64_t start = ShapedType::isDynamic(offset) ? 0 : offset;
    if (start < 0 || start + to.getDim(dim) > from.getDim(dim))
      return emitOpError() << "takes elements " << start << " to " << start + to.getDim(dim)
                           << " of dimension " << dim << " whose extent is " << from.getDim(dim);
  }
  if (from.getSpace() == Space::Reg && dynamic != 0)
    return emitOpError() << "of a tile in registers has a run-time offset, expected static ones";
  return success();
}

LogicalResult ReshapeOp::verify() {
  TileType from = getTile().getType(), to = getType();
  if (from.getNumElements() != to.getNumElements() || from.getElementType() != to.getElementType())
    return emitOpError() << "makes " << to << " of " << from
                         << ", expected as many elements of the same type";
  if (!getPermute())
    return success();
  SmallVector<int64_t> sorted(*getPermute());
  llvm::sort(sorted);
  bool permutation = static_cast<int64_t>(sorted.size()) == from.getRank();
  for (size_t dim = 0; permutation && dim < sorted.size(); ++dim)
    permutation = sorted[dim] == static_cast<int64_t>(dim);
  if (!permutation)
    return emitOpError() << "permutes by (" << shapeText(*getPermute())
                         << "), expected each dimension of " << from << " once";
  return success();
}

LogicalResult ConvertOp::verify() {
  TileType from = getTile().getType(), to = getType();
  if (from.getShape() != to.getShape() || from.getElementType() != to.getElementType())
    return emitOpError() << "makes " << to << " of " << from
                         << ", expected the same extents and element type; use tile.map to cast";
  if (getFree() && from.getSpace() != to.getSpace())
    return emitOpError() << "from " << stringifySpace(from.getSpace()) << " to "
                         << stringifySpace(to.getSpace()) << " moves data, it cannot be free";
  return success();
}

//===------------------------------------------------------------------------------------------===//
// Control
//===------------------------------------------------------------------------------------------===//

LogicalResult ForOp::verify() {
  if (getBounds().size() != 2 && getBounds().size() != 4)
    return emitOpError() << "has " << getBounds().size()
                         << " bounds, expected one or two intervals";
  if (getStep() <= 0)
    return emitOpError() << "has step " << getStep() << ", expected a positive number";
  if (!getSupportArgs().empty() && !getSupportAttr())
    return emitOpError() << "has values for a support expression but none";
  if (getResultTypes() != getInits().getTypes())
    return emitOpError() << "has results of types other than its initial values";
  return success();
}

LogicalResult ForOp::verifyRegions() {
  Block &block = getBody().front();
  bool fits =
      block.getNumArguments() == getInits().size() + 1 && block.getArgument(0).getType().isIndex();
  for (size_t iter = 0; fits && iter < getInits().size(); ++iter)
    fits = block.getArgument(iter + 1).getType() == getInits()[iter].getType();
  if (!fits)
    return emitOpError() << "has region arguments that are not the index and the iter values";
  YieldOp yield = dyn_cast<YieldOp>(block.getTerminator());
  if (!yield || yield.getValues().getTypes() != getResultTypes())
    return emitOpError() << "yields other types than its " << getNumResults() << " results have";
  return success();
}

LogicalResult RolesOp::verify() {
  if (getRoles().empty() || getRoles().size() != getBodies().size())
    return emitOpError() << "has " << getRoles().size() << " roles and " << getBodies().size()
                         << " bodies, expected at least one, and as many";
  llvm::StringSet<> seen;
  int64_t warps = 0, registers = 0;
  for (RoleAttr role : getRoles().getAsRange<RoleAttr>()) {
    if (!seen.insert(role.getName().getValue()).second)
      return emitOpError() << "has two roles '" << role.getName().getValue() << "'";
    warps += role.getCount() * role.getWarps();
    registers += role.getCount() * role.getWarps() * 32 * role.getRegs();
  }
  // Limits of a block on every supported GPU.
  if (warps > 32)
    return emitOpError() << "has " << warps << " warps, a block has at most 32";
  if (registers > 65536)
    return emitOpError() << "has " << registers << " registers, a block has at most 65536";
  return success();
}

LogicalResult VoteOp::verify() {
  TileType tile = getTile().getType();
  if (tile.getSpace() == Space::Reg && tile.getElementType().isInteger(1))
    return success();
  return emitOpError() << "votes on " << tile << ", expected a tile of i1 in registers";
}

LogicalResult BarrierOp::verify() {
  if (getId() >= 0 && getId() < 16 && getWarps() > 0)
    return success();
  return emitOpError() << "has number " << getId() << " of " << getWarps()
                       << " warps, expected a number from 0 to 15 and at least one warp";
}

} // namespace heddle::tile
