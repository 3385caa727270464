// Loads and stores of single vectors. A tile read along memory's contiguous dimension is one vector
// load; elsewhere one element is broadcast, or lanes are gathered (per-row tensors of some stride).
#include "compiler/targets/cpu/TileStorage.h"

#include "ir/tile/TileLayouts.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;

namespace heddle::compiler::cpu {

/// Small floats move as integers: LLVM widens vectors of types that the machine cannot compute in.
/// Truth values move as bytes: LLVM would pack a vector of them into bits, where one alone is not
/// found again.
Type movedAs(Type element) {
  unsigned width = element.getIntOrFloatBitWidth();
  if (width == 1)
    return IntegerType::get(element.getContext(), 8);
  bool small = isa<FloatType>(element) && width <= 16;
  return small ? Type(IntegerType::get(element.getContext(), width)) : element;
}

Value asType(VectorBuilder &e, Value vector, Type element) {
  auto type = cast<VectorType>(vector.getType());
  // LLVM has no type of 8-bit floats: they stay bytes until a map widens them.
  bool byte = isa<FloatType>(element) && element.getIntOrFloatBitWidth() == 8;
  if (type.getElementType() == element || byte)
    return vector;
  if (type.getElementType().isInteger(1))
    return arith::ExtUIOp::create(e.builder, e.loc, type.clone(element), vector);
  if (element.isInteger(1))
    return arith::TruncIOp::create(e.builder, e.loc, type.clone(element), vector);
  return arith::BitcastOp::create(e.builder, e.loc, type.clone(element), vector);
}

namespace {

/// Element offset of row `row` of a view.
Value rowOffset(VectorBuilder &e, const ViewPlace &view, Value row);

Value readTable(VectorBuilder &e, const ViewPlace &table, Value entry) {
  Value address = e.address(table.pointer, table.element, e.times(entry, table.strides[0]));
  Value id = e.load(table.element, address);
  Value index = arith::IndexCastOp::create(e.builder, e.loc, e.builder.getIndexType(), id);
  return e.maxIndex(index, e.integer(0)); // places that are not there are masked by `valid`
}

Value rowOffset(VectorBuilder &e, const ViewPlace &view, Value row) {
  if (view.access == tile::Access::Dense)
    return e.times(row, view.strides[0]);
  if (view.access == tile::Access::Wrap) {
    Value wrapped = arith::RemUIOp::create(e.builder, e.loc, row, view.wrapExtent);
    return e.times(wrapped, view.strides[0]);
  }
  Value block = e.integer(view.block);
  Value entry = arith::DivUIOp::create(e.builder, e.loc, row, block);
  Value slot = arith::RemUIOp::create(e.builder, e.loc, row, block);
  Value id = readTable(e, *view.table, entry);
  if (view.access == tile::Access::Paged) // a page that is not there must not be touched
    id = e.maxIndex(e.minIndex(id, e.plus(view.wrapExtent, -1)), e.integer(0));
  if (view.access == tile::Access::Paged)
    return e.plus(e.times(id, view.strides[0]), e.times(slot, view.slotStride));
  return e.times(e.plus(e.times(id, block), slot), view.strides[0]);
}

/// Which coordinate of the point has the lanes, or -1.
int64_t lanesDim(ArrayRef<Coord> point) {
  for (auto [dim, coord] : llvm::enumerate(point))
    if (coord.lanes)
      return dim;
  return -1;
}

Value both(VectorBuilder &e, Value a, Value b) {
  if (!a || !b)
    return a ? a : b;
  return arith::AndIOp::create(e.builder, e.loc, a, b);
}

/// The lanes of a global tile that are there; null for all.
Value globalMask(VectorBuilder &e, const GlobalPlace &place, ArrayRef<Coord> point,
                 ArrayRef<int64_t> shape, bool store) {
  Value mask;
  for (auto [dim, coord] : llvm::enumerate(point)) {
    Value valid = dim < place.valid.size() ? place.valid[dim] : Value();
    if (coord.lanes) {
      if (valid)
        mask = both(e, mask, laneMask(e, coord.index, e.minIndex(valid, e.integer(shape[dim]))));
      else if (!coord.whole)
        mask = both(e, mask, laneMask(e, coord.index, e.integer(shape[dim])));
    } else if (valid && (store || !place.clipped)) {
      Value there =
          arith::CmpIOp::create(e.builder, e.loc, arith::CmpIPredicate::slt, coord.index, valid);
      mask = both(e, mask, vector::BroadcastOp::create(e.builder, e.loc, e.bits, there));
    }
  }
  return mask;
}

bool unitStride(const GlobalPlace &place, int64_t dim) {
  return VectorBuilder::constantOf(place.view.strides[dim]) == 1 &&
         (dim > 0 || place.view.access == tile::Access::Dense);
}

/// Pointers of the lanes of a tile that is not contiguous along them.
Value lanePointers(VectorBuilder &e, const GlobalPlace &place, ArrayRef<Coord> point,
                   int64_t lanes) {
  Type i64 = e.builder.getI64Type();
  Value stride = arith::IndexCastOp::create(e.builder, e.loc, i64, place.view.strides[lanes]);
  VectorType wide = VectorType::get({e.lanes()}, i64);
  Value steps = arith::ExtSIOp::create(e.builder, e.loc, wide, e.iota());
  Value strides = vector::BroadcastOp::create(e.builder, e.loc, wide, stride);
  Value offsets = arith::MulIOp::create(e.builder, e.loc, steps, strides);
  auto pointer = LLVM::LLVMPointerType::get(e.builder.getContext());
  return LLVM::GEPOp::create(e.builder, e.loc, VectorType::get({e.lanes()}, pointer),
                             movedAs(place.view.element), globalAddress(e, place, point),
                             ValueRange{offsets});
}

Value fillVector(VectorBuilder &e, Type element, double fill) {
  if (element.getIntOrFloatBitWidth() == 8) // of 8-bit floats only 0 is filled in
    element = movedAs(element);
  VectorType type = VectorType::get({e.lanes()}, element);
  if (isa<FloatType>(element))
    return arith::ConstantOp::create(
        e.builder, e.loc, DenseElementsAttr::get(type, e.builder.getFloatAttr(element, fill)));
  return arith::ConstantOp::create(
      e.builder, e.loc,
      DenseElementsAttr::get(type, e.builder.getIntegerAttr(element, static_cast<int64_t>(fill))));
}

uint32_t alignment(Type element) {
  return std::max<unsigned>(element.getIntOrFloatBitWidth() / 8, 1);
}

Value allLanes(VectorBuilder &e) {
  return arith::ConstantOp::create(e.builder, e.loc, DenseElementsAttr::get(e.bits, true));
}

/// Lanes from their pointers, `fill` where the mask has none. Elements below 32 bits are cut out of
/// the aligned words that hold them, which lie in the same page: processors gather no narrower
/// ones, and LLVM would make a branch for each lane.
Value gather(VectorBuilder &e, VectorType type, Value pointers, Value mask, Value fill) {
  unsigned width = type.getElementTypeBitWidth();
  if (width >= 32)
    return LLVM::masked_gather::create(e.builder, e.loc, type, pointers, mask, ValueRange{fill},
                                       alignment(type.getElementType()));
  VectorType wide = VectorType::get({e.lanes()}, e.builder.getI64Type());
  auto number = [&](int64_t value) {
    return arith::ConstantOp::create(
        e.builder, e.loc, DenseElementsAttr::get(wide, e.builder.getI64IntegerAttr(value)));
  };
  Value address = LLVM::PtrToIntOp::create(e.builder, e.loc, wide, pointers);
  Value inWord = arith::AndIOp::create(e.builder, e.loc, address, number(3));
  Value back = arith::SubIOp::create(e.builder, e.loc, number(0), inWord);
  Value aligned = LLVM::GEPOp::create(e.builder, e.loc, pointers.getType(), e.builder.getI8Type(),
                                      pointers, ValueRange{back});
  Value words = LLVM::masked_gather::create(e.builder, e.loc, e.ints, aligned, mask,
                                            ValueRange{e.splatInt(0)}, /*alignment=*/4);
  Value shift = e.shiftLeft(arith::TruncIOp::create(e.builder, e.loc, e.ints, inWord), 3);
  Value low = arith::ShRUIOp::create(e.builder, e.loc, words, shift);
  Value narrow = arith::TruncIOp::create(e.builder, e.loc, type, low);
  return e.select(mask, narrow, fill);
}

} // namespace

Value pairAddress(VectorBuilder &e, const LocalPlace &place, Value lane, Value packed) {
  Value pair = arith::ShRUIOp::create(e.builder, e.loc, packed, e.integer(1));
  if (std::optional<int64_t> number = VectorBuilder::constantOf(packed))
    pair = e.integer(*number / 2);
  int64_t stride = place.strides[place.pairs.getPacked()];
  return e.address(place.pointer, e.builder.getI32Type(), e.plus(e.times(pair, stride), lane));
}

Value laneMask(VectorBuilder &e, Value first, Value bound) {
  std::optional<int64_t> start = VectorBuilder::constantOf(first),
                         end = VectorBuilder::constantOf(bound);
  if (start && end && *start + e.lanes() <= *end)
    return {};
  Value left = arith::SubIOp::create(e.builder, e.loc, bound, first);
  // Cut to i32 only after clamping: lengths may exceed 31 bits.
  left = e.minIndex(e.maxIndex(left, e.integer(0)), e.integer(e.lanes()));
  return arith::CmpIOp::create(e.builder, e.loc, arith::CmpIPredicate::slt, e.iota(),
                               e.broadcast(left));
}

bool livesOnStack(VectorBuilder &e, tile::TileType type) {
  constexpr int64_t kVectorsInRegisters = 8;
  auto layout = dyn_cast<tile::LanesAttr>(type.getLayout());
  return type.getSpace() == tile::Space::Reg && type.getRank() == 1 && layout &&
         layout.getWidth() > 1 && type.getElementType().getIntOrFloatBitWidth() >= 16 &&
         type.getDim(0) % e.lanes() == 0 && type.getDim(0) > kVectorsInRegisters * e.lanes();
}

Value loadRow(VectorBuilder &e, Value memory, Value index, Type element) {
  Type moved = movedAs(element);
  return asType(e, e.load(VectorType::get({e.lanes()}, moved), e.address(memory, moved, index)),
                element);
}

void storeRow(VectorBuilder &e, Value memory, Value index, Value vector) {
  Type moved = movedAs(getElementTypeOrSelf(vector.getType()));
  e.store(asType(e, vector, moved), e.address(memory, moved, index));
}

LocalPlace makeLocal(VectorBuilder &e, Value scratch, tile::TileType type, int64_t offset,
                     bool inPanels) {
  LocalPlace place;
  place.type = type;
  place.offset = offset;
  tile::ScratchShape shape = tile::scratchShapeOf(type);
  place.bytes = shape.bytes;
  place.strides[0] = shape.strides[0];
  place.strides[1] = shape.strides[1];
  auto lanes = dyn_cast<tile::LanesAttr>(type.getLayout());
  int64_t panel = kRowVectors * e.lanes();
  if (inPanels && lanes && lanes.getDim() == 0 && lanes.getWidth() == e.lanes() &&
      type.getRank() == 2 && type.getElementType().isF32() && type.getDim(0) > 2 * panel &&
      type.getDim(0) % panel == 0)
    place.panel = place.strides[1] = panel;
  place.pointer = e.address(scratch, e.builder.getI8Type(), e.integer(offset));
  place.clip.assign(type.getRank(), Value());
  place.pairs = dyn_cast<tile::PairsAttr>(type.getLayout());
  return place;
}

Value globalAddress(VectorBuilder &e, const GlobalPlace &place, ArrayRef<Coord> point) {
  Value offset = e.integer(0);
  for (auto [dim, coord] : llvm::enumerate(point)) {
    Value index = e.plus(place.offsets[dim], coord.index);
    offset = e.plus(offset, dim == 0 ? rowOffset(e, place.view, index)
                                     : e.times(index, place.view.strides[dim]));
  }
  return e.address(place.view.pointer, place.view.element, offset);
}

Value gatherLanes(VectorBuilder &e, const ViewPlace &view, ValueRange indices) {
  VectorType wide = VectorType::get({e.lanes()}, e.builder.getI64Type());
  auto spread = [&](Value value) -> Value {
    if (isa<VectorType>(value.getType()))
      return arith::IndexCastOp::create(e.builder, e.loc, wide, value);
    value = arith::IndexCastOp::create(e.builder, e.loc, e.builder.getI64Type(), value);
    return vector::BroadcastOp::create(e.builder, e.loc, wide, value);
  };
  Value mask = allLanes(e), offset;
  for (auto [index, stride, extent] : llvm::zip(indices, view.strides, view.extents)) {
    Value at = spread(index);
    Value inside =
        arith::CmpIOp::create(e.builder, e.loc, arith::CmpIPredicate::ult, at, spread(extent));
    mask = arith::AndIOp::create(e.builder, e.loc, mask, inside);
    Value part = at;
    if (VectorBuilder::constantOf(stride) != 1)
      part = arith::MulIOp::create(e.builder, e.loc, at, spread(stride));
    offset = offset ? arith::AddIOp::create(e.builder, e.loc, offset, part).getResult() : part;
  }
  Type element = movedAs(view.element);
  Value zero = asType(e, fillVector(e, view.element, 0), element);
  Value result;
  if (!offset) { // one element, known to be there
    Value one = e.load(element, view.pointer);
    result = vector::BroadcastOp::create(e.builder, e.loc, cast<VectorType>(zero.getType()), one);
  } else {
    auto pointer = VectorType::get({e.lanes()}, LLVM::LLVMPointerType::get(e.builder.getContext()));
    Value pointers =
        LLVM::GEPOp::create(e.builder, e.loc, pointer, element, view.pointer, ValueRange{offset});
    result = gather(e, cast<VectorType>(zero.getType()), pointers, mask, zero);
  }
  return asType(e, result, view.element);
}

void prefetchRow(VectorBuilder &e, const GlobalPlace &place, Value row, int64_t columns) {
  constexpr int64_t line = 64;
  int64_t step = line / alignment(place.view.element);
  for (int64_t first = 0; first < columns; first += step)
    e.prefetch(globalAddress(e, place, {Coord{row}, Coord{e.integer(first)}}));
}

static Value loadMoved(VectorBuilder &e, const GlobalPlace &place, ArrayRef<Coord> point,
                       ArrayRef<int64_t> shape) {
  Type element = movedAs(place.view.element);
  VectorType type = VectorType::get({e.lanes()}, element);
  int64_t lanes = lanesDim(point);
  Value mask = globalMask(e, place, point, shape, /*store=*/false);
  auto fill = [&] { return asType(e, fillVector(e, place.view.element, place.fill), element); };
  if (lanes >= 0 && !unitStride(place, lanes)) {
    if (!mask)
      mask = allLanes(e);
    return gather(e, type, lanePointers(e, place, point, lanes), mask, fill());
  }
  Value address = globalAddress(e, place, point);
  if (lanes >= 0 && !mask)
    return e.load(type, address);
  if (lanes >= 0)
    return LLVM::MaskedLoadOp::create(e.builder, e.loc, type, address, mask, fill(),
                                      e.builder.getI32IntegerAttr(alignment(element)));
  if (!mask)
    return vector::BroadcastOp::create(e.builder, e.loc, type, e.load(element, address));
  Value first =
      arith::AndIOp::create(e.builder, e.loc, mask, laneMask(e, e.integer(0), e.integer(1)));
  Value one = LLVM::MaskedLoadOp::create(e.builder, e.loc, type, address, first, fill(),
                                         e.builder.getI32IntegerAttr(alignment(element)));
  Value scalar = vector::ExtractOp::create(e.builder, e.loc, one, int64_t(0));
  return vector::BroadcastOp::create(e.builder, e.loc, type, scalar);
}

Value loadGlobal(VectorBuilder &e, const GlobalPlace &place, ArrayRef<Coord> point,
                 ArrayRef<int64_t> shape) {
  return asType(e, loadMoved(e, place, point, shape), place.view.element);
}

void storeGlobal(VectorBuilder &e, const GlobalPlace &place, ArrayRef<Coord> point,
                 ArrayRef<int64_t> shape, Value vector) {
  Type element = movedAs(place.view.element);
  vector = asType(e, vector, element);
  int64_t lanes = lanesDim(point);
  Value mask = globalMask(e, place, point, shape, /*store=*/true);
  if (lanes >= 0 && !unitStride(place, lanes)) {
    if (!mask)
      mask = allLanes(e);
    LLVM::masked_scatter::create(e.builder, e.loc, vector, lanePointers(e, place, point, lanes),
                                 mask, alignment(element));
    return;
  }
  Value address = globalAddress(e, place, point);
  if (lanes < 0) { // one element: all lanes hold it
    Value first = laneMask(e, e.integer(0), e.integer(1));
    mask = mask ? Value(arith::AndIOp::create(e.builder, e.loc, mask, first)) : first;
  }
  if (mask)
    LLVM::MaskedStoreOp::create(e.builder, e.loc, vector, address, mask, alignment(element));
  else
    e.store(vector, address);
}

Value toPanel(VectorBuilder &e, const LocalPlace &place, Value row) {
  if (!place.panel)
    return e.integer(0);
  int64_t further = place.panel * (place.type.getDim(1) - 1);
  if (std::optional<int64_t> number = VectorBuilder::constantOf(row))
    return e.integer(*number / place.panel * further);
  Value number = arith::DivUIOp::create(e.builder, e.loc, row, e.integer(place.panel));
  return e.times(number, further);
}

Value localAddress(VectorBuilder &e, const LocalPlace &place, ArrayRef<Coord> point, Type element) {
  Value offset = e.integer(0);
  for (auto [dim, coord] : llvm::enumerate(point))
    offset = e.plus(offset, e.times(coord.index, place.strides[dim]));
  if (place.panel)
    offset = e.plus(offset, toPanel(e, place, point[0].index));
  return e.address(place.pointer, element, offset);
}

/// Pointers of lanes that lie `stride` elements apart in scratch.
static Value apart(VectorBuilder &e, Value address, Type element, int64_t stride) {
  auto pointer = LLVM::LLVMPointerType::get(e.builder.getContext());
  Type i64 = e.builder.getI64Type();
  VectorType wide = VectorType::get({e.lanes()}, i64);
  Value steps = arith::ExtSIOp::create(e.builder, e.loc, wide, e.iota());
  Value strides = arith::ConstantOp::create(
      e.builder, e.loc, DenseElementsAttr::get(wide, e.builder.getIntegerAttr(i64, stride)));
  Value offsets = arith::MulIOp::create(e.builder, e.loc, steps, strides);
  return LLVM::GEPOp::create(e.builder, e.loc, VectorType::get({e.lanes()}, pointer), element,
                             address, ValueRange{offsets});
}

/// The lanes of a tile in scratch that are inside it.
static Value insideLocal(VectorBuilder &e, const LocalPlace &place, const Coord &coord,
                         int64_t dim) {
  Value mask = laneMask(e, coord.index, e.integer(place.type.getDim(dim)));
  return mask ? mask : allLanes(e);
}

Value loadLocal(VectorBuilder &e, const LocalPlace &place, ArrayRef<Coord> point) {
  Type element = movedAs(place.type.getElementType());
  Value address = localAddress(e, place, point, element);
  VectorType type = VectorType::get({e.lanes()}, element);
  int64_t lanes = lanesDim(point);
  Value vector;
  if (lanes >= 0 && place.strides[lanes] != 1)
    vector = gather(e, type, apart(e, address, element, place.strides[lanes]),
                    insideLocal(e, place, point[lanes], lanes),
                    arith::ConstantOp::create(e.builder, e.loc, e.builder.getZeroAttr(type)));
  else if (lanes >= 0)
    vector = e.load(type, address);
  else
    vector = vector::BroadcastOp::create(e.builder, e.loc, type, e.load(element, address));
  return asType(e, vector, place.type.getElementType());
}

void storeLocal(VectorBuilder &e, const LocalPlace &place, ArrayRef<Coord> point, Value vector) {
  Type element = movedAs(place.type.getElementType());
  Value address = localAddress(e, place, point, element);
  int64_t lanes = lanesDim(point);
  if (lanes < 0 || place.strides[lanes] == 1)
    return e.store(asType(e, vector, element), address);
  LLVM::masked_scatter::create(e.builder, e.loc, asType(e, vector, element),
                               apart(e, address, element, place.strides[lanes]),
                               insideLocal(e, place, point[lanes], lanes), alignment(element));
}

void storeElement(VectorBuilder &e, const LocalPlace &place, ArrayRef<Coord> point, Value vector) {
  Type element = movedAs(place.type.getElementType());
  Value one = vector::ExtractOp::create(e.builder, e.loc, asType(e, vector, element), int64_t(0));
  e.store(one, localAddress(e, place, point, element));
}

Value asPairs(VectorBuilder &e, Value words) {
  return vector::BitCastOp::create(
      e.builder, e.loc, VectorType::get({2 * e.lanes()}, e.builder.getBF16Type()), words);
}

Value loadPairs(VectorBuilder &e, const LocalPlace &place, Value lane, Value packed) {
  return asPairs(e, e.load(e.ints, pairAddress(e, place, lane, packed)));
}

Value loadPairWord(VectorBuilder &e, const LocalPlace &place, Value lane, Value packed) {
  Value word = e.load(e.builder.getI32Type(), pairAddress(e, place, lane, packed));
  return asPairs(e, e.broadcast(word));
}

Value loadRowPairWord(VectorBuilder &e, const LocalPlace &place, ArrayRef<Coord> point) {
  Value address = localAddress(e, place, point, e.builder.getBF16Type());
  return asPairs(e, e.broadcast(e.load(e.builder.getI32Type(), address)));
}

Value loadGlobalPairWord(VectorBuilder &e, const GlobalPlace &place, ArrayRef<Coord> point) {
  Value address = globalAddress(e, place, point);
  Value word = LLVM::LoadOp::create(e.builder, e.loc, e.builder.getI32Type(), address, 2);
  return asPairs(e, e.broadcast(word));
}

void storePairWords(VectorBuilder &e, const LocalPlace &place, Value lane, Value packed,
                    Value words) {
  e.store(words, pairAddress(e, place, lane, packed));
}

void storePairs(VectorBuilder &e, const LocalPlace &place, Value lane, Value packed, Value even,
                Value odd) {
  SmallVector<int64_t> order;
  for (int64_t i = 0; i < e.lanes(); ++i)
    order.append({i, e.lanes() + i});
  storePairWords(e, place, lane, packed, joinPairs(e, even, odd, order));
}

} // namespace heddle::compiler::cpu
