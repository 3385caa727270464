// Walks the body of a kernel once for each grid point, op by op, with tiles of double as values.
// Sizes come from the bound tensors: tile.tensor "q" : f32[B, Tq, Hq, 80] bound to a 2x7x4x80
// tensor gives B = 2, Tq = 7, Hq = 4.
#include "compiler/TileWalker.h"

#include "compiler/ElementTypes.h"
#include "compiler/ScalarEvaluator.h"
#include "compiler/TileMemory.h"

#include "mlir/Dialect/SCF/IR/SCF.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <random>
#include <variant>

using namespace mlir;

namespace heddle::compiler {
namespace {

using Datum = std::variant<Number, TilePointer, std::shared_ptr<const HostView>>;

//===------------------------------------------------------------------------------------------===//
// Types and small conversions
//===------------------------------------------------------------------------------------------===//

Extents extentsOf(tile::TileType type) { return {type.getShape().begin(), type.getShape().end()}; }

bool isFloatType(Type type) { return isa<FloatType>(type); }

Number toNumber(double element, Type type) {
  return isFloatType(type) ? Number{element, 0} : Number{0, static_cast<int64_t>(element)};
}
double toElement(const Number &number, Type type) {
  return isFloatType(type) ? number.real : static_cast<double>(number.integer);
}

std::function<double(double, double)> combinerOf(tile::Reduction kind) {
  auto propagate = [](double a, double b) { return std::isnan(a) || std::isnan(b); };
  switch (kind) {
  case tile::Reduction::Sum:
    return std::plus<>();
  case tile::Reduction::Max:
    return [=](double a, double b) { return propagate(a, b) ? kUnspecifiedReal : std::max(a, b); };
  case tile::Reduction::Min:
    return [=](double a, double b) { return propagate(a, b) ? kUnspecifiedReal : std::min(a, b); };
  case tile::Reduction::Or:
    break;
  }
  return [](double a, double b) {
    return static_cast<double>(static_cast<int64_t>(a) | static_cast<int64_t>(b));
  };
}

double neutralOf(tile::Reduction kind) {
  double infinity = std::numeric_limits<double>::infinity();
  return kind == tile::Reduction::Max ? -infinity : kind == tile::Reduction::Min ? infinity : 0;
}

Error at(Operation *op, Error error) {
  std::string text;
  llvm::raw_string_ostream out(text);
  op->getLoc().print(out);
  error.notes.push_back(fmt::format("in {} at {}", op->getName().getStringRef().str(), text));
  return error;
}

//===------------------------------------------------------------------------------------------===//
// Scalars and arrays of a program
//===------------------------------------------------------------------------------------------===//

struct Memory {
  std::map<std::string, double> scalars;
  std::map<std::string, std::unique_ptr<HostArray>> arrays;

  Result<int64_t> evaluate(tile::FormulaAttr formula) const {
    std::optional<int64_t> value = formula.evaluate([&](StringRef name) -> std::optional<int64_t> {
      auto found = scalars.find(name.str());
      if (found == scalars.end())
        return std::nullopt;
      return static_cast<int64_t>(found->second);
    });
    if (value)
      return *value;
    std::string text;
    llvm::raw_string_ostream out(text);
    formula.printText(out);
    return Error{
        ErrorCode::InvalidArgument,
        fmt::format("formula {} has no value: give its scalars, or a tensor that has them", text)};
  }
};

/// Checks one tensor against its declaration and learns extents from its shape.
Status bindTensor(Memory &memory, tile::TensorOp tensor, const TensorView &view) {
  std::string name = tensor.getName().str();
  auto wrong = [&](std::string found, std::string expected) {
    return Error{ErrorCode::InvalidArgument,
                 fmt::format("tensor '{}' has {}, expected {}", name, found, expected)};
  };
  if (view.rank != static_cast<int>(tensor.getShape().size()))
    return wrong(fmt::format("rank {}", view.rank), std::to_string(tensor.getShape().size()));
  // The walker computes in double, so double tensors may stand in for any float type.
  std::optional<DType> dtype = dtypeOf(tensor.getElementType());
  bool widened = view.dtype == DType::F64 && isFloatType(tensor.getElementType());
  if (!dtype || (view.dtype != *dtype && !widened))
    return wrong(fmt::format("elements of {}", toString(view.dtype)),
                 dtype ? toString(*dtype) : "a type the walker reads");
  for (auto [d, formula] : llvm::enumerate(tensor.getShape().getAsRange<tile::FormulaAttr>())) {
    std::optional<StringRef> scalar = formula.asScalar();
    auto [known, fresh] = scalar ? memory.scalars.try_emplace(scalar->str(), view.shape[d])
                                 : std::pair(memory.scalars.end(), false);
    int64_t expected = scalar ? static_cast<int64_t>(known->second) : *formula.asConstant();
    if (expected != view.shape[d])
      return wrong(fmt::format("extent {} in dimension {}", view.shape[d], d),
                   scalar ? fmt::format("{} = {}", scalar->str(), expected)
                          : std::to_string(expected));
  }
  memory.arrays[name] = std::make_unique<HostArray>(name, view, tensor.getResult());
  return {};
}

Status bindProgram(Memory &memory, tile::ProgramOp program, const TileBindings &bindings) {
  memory.scalars = bindings.scalars;
  Block &body = program.getBody().front();
  for (tile::ParamOp param : body.getOps<tile::ParamOp>()) {
    FloatAttr real = dyn_cast<FloatAttr>(param.getValue());
    memory.scalars.try_emplace(
        param.getName().str(),
        real ? real.getValueAsDouble()
             : static_cast<double>(cast<IntegerAttr>(param.getValue()).getInt()));
  }
  for (tile::TensorOp tensor : body.getOps<tile::TensorOp>()) {
    auto found = bindings.tensors.find(tensor.getName().str());
    if (found == bindings.tensors.end())
      return Error{ErrorCode::InvalidArgument,
                   fmt::format("tensor '{}' is missing, the program reads or writes it",
                               tensor.getName().str())};
    HEDDLE_CHECK(bindTensor(memory, tensor, found->second));
  }
  for (tile::BufferOp buffer : body.getOps<tile::BufferOp>()) {
    Extents extents;
    for (tile::FormulaAttr formula : buffer.getShape().getAsRange<tile::FormulaAttr>()) {
      HEDDLE_TRY(extent, memory.evaluate(formula));
      extents.push_back(std::max<int64_t>(extent, 0));
    }
    std::string name = buffer.getName().str();
    memory.arrays[name] =
        std::make_unique<HostArray>(name, extents, !isFloatType(buffer.getElementType()));
  }
  return {};
}

//===------------------------------------------------------------------------------------------===//
// One grid point
//===------------------------------------------------------------------------------------------===//

class GridPointWalker {
public:
  GridPointWalker(Memory &memory, int64_t gridPoint) : memory(memory), gridPoint(gridPoint) {}

  Status run(Block &block, ArrayRef<int64_t> indices) {
    for (auto [argument, index] : llvm::zip(block.getArguments(), indices))
      values[argument] = Number{0, index};
    return walk(block);
  }

private:
  Number number(Value value) { return std::get<Number>(values.at(value)); }
  int64_t integer(Value value) { return number(value).integer; }
  const HostTile &tileOf(Value value) { return *std::get<TilePointer>(values.at(value)); }
  const HostView &viewOf(Value value) {
    return *std::get<std::shared_ptr<const HostView>>(values.at(value));
  }
  void set(Value value, HostTile tile) {
    values[value] = std::make_shared<const HostTile>(std::move(tile));
  }

  std::vector<int64_t> offsets(ArrayRef<OpFoldResult> mixed) {
    std::vector<int64_t> result;
    for (OpFoldResult offset : mixed) {
      Value value = dyn_cast<Value>(offset);
      result.push_back(value ? integer(value)
                             : cast<IntegerAttr>(cast<Attribute>(offset)).getInt());
    }
    return result;
  }

  Status walk(Block &block) {
    for (Operation &op : block.without_terminator()) {
      Status done = walk(&op);
      if (!done)
        return at(&op, done.error());
    }
    return {};
  }

  Status walk(Operation *op);
  Status walkScalar(Operation *op);
  Status walkView(tile::ViewOp op);
  Status walkRead(tile::ReadOp op);
  Status walkLoad(tile::LoadOp op);
  Status walkStore(tile::StoreOp op);
  Status walkMap(tile::MapOp op);
  Status walkMma(tile::MmaOp op);
  Status walkDecode(tile::DecodeOp op);
  Status walkSlice(tile::SliceOp op);
  Status walkFor(tile::ForOp op);
  Status walkIf(scf::IfOp op);

  Memory &memory;
  int64_t gridPoint;
  std::map<Value, Datum, std::function<bool(Value, Value)>> values{
      [](Value a, Value b) { return a.getAsOpaquePointer() < b.getAsOpaquePointer(); }};
};

Status GridPointWalker::walkScalar(Operation *op) {
  HEDDLE_TRY(evaluate, findScalarEvaluator(op));
  std::vector<Number> operands;
  for (Value operand : op->getOperands())
    operands.push_back(number(operand));
  values[op->getResult(0)] = evaluate(op, operands.data());
  return {};
}

Status GridPointWalker::walkView(tile::ViewOp op) {
  HostArray *array = memory.arrays.at(op.getName().str()).get();
  HostView view = {array};
  Extents strides = rowMajorStrides(array->extents());
  size_t next = 0;
  for (auto [d, kept] : llvm::enumerate(op.getKept())) {
    if (kept) {
      view.extents.push_back(array->extents()[d]);
      view.strides.push_back(strides[d]);
      continue;
    }
    int64_t index = integer(op.getIndices()[next++]);
    if (index < 0 || index >= array->extents()[d])
      return Error{ErrorCode::CheckFailed,
                   fmt::format("index {} of dimension {} of '{}', whose extent is {}", index, d,
                               array->name(), array->extents()[d])};
    view.first += index * strides[d];
  }
  view.access = static_cast<HostView::Access>(op.getType().getAccess());
  view.block = op.getType().getBlock();
  if (op.getTable())
    view.table = std::get<std::shared_ptr<const HostView>>(values.at(op.getTable()));
  values[op] = std::make_shared<const HostView>(std::move(view));
  return {};
}

Status GridPointWalker::walkRead(tile::ReadOp op) {
  HEDDLE_TRY(element, viewOf(op.getView()).locate(offsets(op.getMixedOffsets()), gridPoint));
  if (!element)
    return Error{ErrorCode::CheckFailed, "reads a row that its list does not have"};
  HEDDLE_TRY(value, viewOf(op.getView()).array->read(*element, gridPoint));
  values[op] = toNumber(value, op.getType());
  return {};
}

/// Calls `visit` with each coordinate of a tile and whether valid counts hold it.
template <typename Visit>
Status forEachElement(const Extents &extents, ArrayRef<int64_t> valid, Visit visit) {
  Extents coordinate(extents.size(), 0);
  for (int64_t n = 0, count = elementCount(extents); n < count; ++n) {
    bool inside = true;
    for (size_t d = 0; d < valid.size(); ++d)
      inside &= coordinate[d] < valid[d];
    HEDDLE_CHECK(visit(n, coordinate, inside));
    for (int64_t d = static_cast<int64_t>(extents.size()) - 1; d >= 0; --d) {
      if (++coordinate[d] < extents[d])
        break;
      coordinate[d] = 0;
    }
  }
  return {};
}

Extents shifted(Extents coordinate, const std::vector<int64_t> &offsets) {
  for (size_t d = 0; d < coordinate.size(); ++d)
    coordinate[d] += offsets[d];
  return coordinate;
}

Status GridPointWalker::walkLoad(tile::LoadOp op) {
  tile::TileType type = op.getType();
  const HostView &view = viewOf(op.getView());
  std::vector<int64_t> first = offsets(op.getMixedOffsets()), valid;
  for (Value count : op.getValid())
    valid.push_back(integer(count));
  bool real = isFloatType(type.getElementType());
  double beyond = op.getFill() ? op.getFill()->convertToDouble()
                  : real       ? kUnspecifiedReal
                               : kUnspecifiedInteger;
  HostTile tile = {extentsOf(type), {}};
  tile.elements.resize(elementCount(tile.extents), beyond);
  auto visit = [&](int64_t n, const Extents &coordinate, bool inside) -> Status {
    if (!inside)
      return {};
    HEDDLE_TRY(element, view.locate(shifted(coordinate, first), gridPoint));
    if (!element)
      return {};
    HEDDLE_TRY(value, view.array->read(*element, gridPoint));
    tile.elements[n] = value;
    return {};
  };
  HEDDLE_CHECK(forEachElement(tile.extents, valid, visit));
  set(op, std::move(tile));
  return {};
}

Status GridPointWalker::walkStore(tile::StoreOp op) {
  const HostTile &tile = tileOf(op.getTile());
  const HostView &view = viewOf(op.getView());
  std::vector<int64_t> first = offsets(op.getMixedOffsets()), valid;
  for (Value count : op.getValid())
    valid.push_back(integer(count));
  auto visit = [&](int64_t n, const Extents &coordinate, bool inside) -> Status {
    if (!inside)
      return {};
    HEDDLE_TRY(element, view.locate(shifted(coordinate, first), gridPoint));
    if (!element)
      return {};
    return view.array->write(*element, tile.elements[n], gridPoint);
  };
  return forEachElement(tile.extents, valid, visit);
}

Status GridPointWalker::walkMap(tile::MapOp op) {
  auto captured = [&](Value value) -> Result<Number> { return number(value); };
  Status gathered; // the first read that failed
  auto gather = [&](Operation *inner) -> ScalarFunction::Gather {
    auto read = cast<tile::GatherOp>(inner);
    const HostView &view = viewOf(read.getView());
    return [&gathered, &view, this, type = read.getType()](const Number *indices) -> Number {
      Extents at;
      for (int64_t d = 0; d < view.rank(); ++d) {
        at.push_back(indices[d].integer);
        if (at[d] < 0 || at[d] >= view.extents[d])
          return {};
      }
      Result<std::optional<int64_t>> place = view.locate(at, gridPoint);
      Result<double> value =
          place ? view.array->read(**place, gridPoint) : Result<double>(place.error());
      if (!value && gathered)
        gathered = value.error();
      return value ? toNumber(*value, type) : Number();
    };
  };
  HEDDLE_TRY(function, ScalarFunction::make(op.getBody().front(), captured, gather));
  Extents extents(op.getExtents().begin(), op.getExtents().end());
  struct Input {
    const HostTile *tile;
    std::vector<int64_t> places;
    Type type;
  };
  std::vector<Input> inputs;
  for (auto [n, value] : llvm::enumerate(op.getInputs())) {
    const HostTile &tile = tileOf(value);
    SmallVector<int64_t> positions = op.getInputPositions(n);
    Extents strides =
        stridesAlong(tile.extents, {positions.begin(), positions.end()}, extents.size());
    inputs.push_back({&tile, offsetsOf(extents, strides),
                      cast<tile::TileType>(value.getType()).getElementType()});
  }
  std::vector<HostTile> results(op.getNumResults(), {extents, {}});
  for (int64_t n = 0, count = elementCount(extents); n < count; ++n) {
    for (size_t k = 0; k < inputs.size(); ++k)
      function.argument(k) =
          toNumber(inputs[k].tile->elements[inputs[k].places[n]], inputs[k].type);
    function.run();
    for (size_t r = 0; r < results.size(); ++r)
      results[r].elements.push_back(toElement(
          function.result(r), cast<tile::TileType>(op.getResult(r).getType()).getElementType()));
  }
  HEDDLE_CHECK(gathered);
  for (auto [result, tile] : llvm::zip(op.getResults(), results))
    set(result, std::move(tile));
  return {};
}

Status GridPointWalker::walkMma(tile::MmaOp op) {
  // Number the dimensions: those of c in order, then the contracted ones.
  SmallVector<StringRef> names;
  for (StringAttr name : op.getCDims().getAsRange<StringAttr>())
    names.push_back(name.getValue());
  llvm::append_range(names, op.getContracted());
  Extents extents(names.size(), 0);
  auto positions = [&](ArrayAttr dims, const HostTile &tile) {
    std::vector<int64_t> result;
    for (auto [d, name] : llvm::enumerate(dims.getAsRange<StringAttr>())) {
      result.push_back(llvm::find(names, name.getValue()) - names.begin());
      extents[result.back()] = tile.extents[d];
    }
    return result;
  };
  const HostTile &a = tileOf(op.getA()), &b = tileOf(op.getB());
  std::vector<int64_t> inA = positions(op.getADims(), a), inB = positions(op.getBDims(), b);
  set(op.getResult(), multiply(a, inA, b, inB, tileOf(op.getInit()), extents));
  return {};
}

Status GridPointWalker::walkDecode(tile::DecodeOp op) {
  auto optional = [&](Value value) { return value ? &tileOf(value) : nullptr; };
  bool isSigned = op.getCodec() == tile::Codec::S8;
  int64_t bits = isSigned ? 8 : static_cast<int64_t>(op.getCodec());
  set(op, decode(tileOf(op.getCodes()), bits, isSigned, optional(op.getScale()),
                 optional(op.getZero()), optional(op.getTable())));
  return {};
}

Status GridPointWalker::walkSlice(tile::SliceOp op) {
  const HostTile &tile = tileOf(op.getTile());
  std::vector<int64_t> first = offsets(op.getMixedOffsets());
  Extents extents = extentsOf(op.getType());
  for (size_t d = 0; d < first.size(); ++d)
    if (first[d] < 0 || first[d] + extents[d] > tile.extents[d])
      return Error{ErrorCode::CheckFailed,
                   fmt::format("slice at {} of {} elements of dimension {}, whose extent is {}",
                               first[d], extents[d], d, tile.extents[d])};
  set(op, slice(tile, first, extents));
  return {};
}

Status GridPointWalker::walkFor(tile::ForOp op) {
  SmallVector<int64_t> bounds;
  for (Value bound : op.getBounds())
    bounds.push_back(integer(bound));
  for (auto [argument, init] : llvm::zip(op.getIterArgs(), op.getInits()))
    values[argument] = values.at(init);
  for (size_t interval = 0; interval < bounds.size(); interval += 2)
    for (int64_t j = bounds[interval]; j < bounds[interval + 1]; j += op.getStep()) {
      values[op.getIndex()] = Number{0, j};
      HEDDLE_CHECK(walk(op.getBody().front()));
      // Read all before writing any: an iter value may be yielded in another place.
      std::vector<Datum> yielded;
      for (Value value : op.getYield().getValues())
        yielded.push_back(values.at(value));
      for (auto [argument, value] : llvm::zip(op.getIterArgs(), yielded))
        values[argument] = value;
    }
  for (auto [result, argument] : llvm::zip(op.getResults(), op.getIterArgs()))
    values[result] = values.at(argument);
  return {};
}

Status GridPointWalker::walkIf(scf::IfOp op) {
  Region &chosen = integer(op.getCondition()) ? op.getThenRegion() : op.getElseRegion();
  if (chosen.empty())
    return {};
  HEDDLE_CHECK(walk(chosen.front()));
  for (auto [result, value] :
       llvm::zip(op.getResults(), chosen.front().getTerminator()->getOperands()))
    values[result] = values.at(value);
  return {};
}

Status GridPointWalker::walk(Operation *op) {
  if (tile::ScalarOp scalar = dyn_cast<tile::ScalarOp>(op)) {
    auto found = memory.scalars.find(scalar.getName().str());
    if (found == memory.scalars.end())
      return Error{ErrorCode::InvalidArgument,
                   fmt::format("scalar '{}' has no value: bind it", scalar.getName().str())};
    values[scalar] = toNumber(found->second, scalar.getType());
    return {};
  }
  if (tile::ViewOp view = dyn_cast<tile::ViewOp>(op))
    return walkView(view);
  if (tile::ReadOp read = dyn_cast<tile::ReadOp>(op))
    return walkRead(read);
  if (tile::LoadOp load = dyn_cast<tile::LoadOp>(op))
    return walkLoad(load);
  if (tile::StoreOp store = dyn_cast<tile::StoreOp>(op))
    return walkStore(store);
  if (tile::MapOp map = dyn_cast<tile::MapOp>(op))
    return walkMap(map);
  if (tile::MmaOp mma = dyn_cast<tile::MmaOp>(op))
    return walkMma(mma);
  if (tile::DecodeOp decoding = dyn_cast<tile::DecodeOp>(op))
    return walkDecode(decoding);
  if (tile::SliceOp slicing = dyn_cast<tile::SliceOp>(op))
    return walkSlice(slicing);
  if (tile::ForOp loop = dyn_cast<tile::ForOp>(op))
    return walkFor(loop);
  if (scf::IfOp branch = dyn_cast<scf::IfOp>(op))
    return walkIf(branch);
  if (tile::FillOp fill = dyn_cast<tile::FillOp>(op)) {
    Extents extents = extentsOf(fill.getType());
    size_t count = elementCount(extents);
    set(fill, {extents, std::vector<double>(count, fill.getValue().convertToDouble())});
    return {};
  }
  if (tile::IndexOp index = dyn_cast<tile::IndexOp>(op)) {
    HostTile tile = {extentsOf(index.getType()), {}};
    for (int64_t n = 0; n < tile.extents[0]; ++n)
      tile.elements.push_back(static_cast<double>(integer(index.getBase()) + n));
    set(index, std::move(tile));
    return {};
  }
  if (tile::ReduceOp reduction = dyn_cast<tile::ReduceOp>(op)) {
    set(reduction, reduce(tileOf(reduction.getTile()), reduction.getDim(),
                          tileOf(reduction.getInit()), combinerOf(reduction.getKind())));
    return {};
  }
  if (tile::ScanOp prefix = dyn_cast<tile::ScanOp>(op)) {
    set(prefix,
        scan(tileOf(prefix.getTile()), prefix.getDim(), prefix.getExclusive(), prefix.getReverse(),
             neutralOf(prefix.getKind()), combinerOf(prefix.getKind())));
    return {};
  }
  if (tile::SolveUnitLowerOp solve = dyn_cast<tile::SolveUnitLowerOp>(op)) {
    set(solve, solveUnitLower(tileOf(solve.getLower()), tileOf(solve.getRhs())));
    return {};
  }
  if (tile::TopkOp topk = dyn_cast<tile::TopkOp>(op)) {
    HostTile score = tileOf(topk.getBestScore()), id = tileOf(topk.getBestId());
    mergeTopk(tileOf(topk.getScore()), tileOf(topk.getId()), score, id);
    set(topk.getResultScore(), std::move(score));
    set(topk.getResultId(), std::move(id));
    return {};
  }
  if (tile::SortOp sort = dyn_cast<tile::SortOp>(op)) {
    set(sort, sortIds(tileOf(sort.getIds())));
    return {};
  }
  if (tile::ReshapeOp regroup = dyn_cast<tile::ReshapeOp>(op)) {
    std::optional<ArrayRef<int64_t>> permute = regroup.getPermute();
    set(regroup, reshape(tileOf(regroup.getTile()),
                         permute ? std::vector<int64_t>(permute->begin(), permute->end())
                                 : std::vector<int64_t>(),
                         extentsOf(regroup.getType())));
    return {};
  }
  return walkScalar(op);
}

//===------------------------------------------------------------------------------------------===//
// The launches
//===------------------------------------------------------------------------------------------===//

std::vector<int64_t> visitingOrder(int64_t count, GridOrder order) {
  std::vector<int64_t> points(count);
  for (int64_t n = 0; n < count; ++n)
    points[n] = order == GridOrder::Backward ? count - 1 - n : n;
  if (order == GridOrder::Shuffled) {
    std::mt19937_64 random(count);
    for (int64_t n = count - 1; n > 0; --n)
      std::swap(points[n], points[random() % (n + 1)]);
  }
  return points;
}

/// The body's index arguments at flattened grid point `point`, dimension 0 fastest.
std::vector<int64_t> gridIndices(tile::KernelOp kernel, const Extents &grid, int64_t point) {
  std::vector<int64_t> indices;
  for (size_t d = 0; d < grid.size(); ++d) {
    int64_t index = point % grid[d];
    point /= grid[d];
    indices.push_back(kernel.getDescending()[d] ? grid[d] - 1 - index : index);
  }
  return indices;
}

Status launch(Memory &memory, tile::KernelOp kernel, GridOrder order, int64_t repetition) {
  Extents grid;
  for (tile::FormulaAttr formula : kernel.getGrid().getAsRange<tile::FormulaAttr>()) {
    HEDDLE_TRY(extent, memory.evaluate(formula));
    grid.push_back(std::max<int64_t>(extent, 0));
  }
  for (auto &[name, array] : memory.arrays)
    array->startLaunch();
  for (int64_t point : visitingOrder(elementCount(grid), order)) {
    std::vector<int64_t> indices = gridIndices(kernel, grid, point);
    if (kernel.getRepeatAttr())
      indices.push_back(repetition);
    Status done = GridPointWalker(memory, point).run(kernel.getBody().front(), indices);
    if (!done) {
      Error error = done.error();
      error.notes.push_back(fmt::format("in kernel @{} at grid point ({})",
                                        kernel.getSymName().str(), fmt::join(indices, ", ")));
      return error;
    }
  }
  return {};
}

} // namespace

Status walkProgram(tile::ProgramOp program, const TileBindings &bindings, GridOrder order) {
  Memory memory;
  HEDDLE_CHECK(bindProgram(memory, program, bindings));
  for (tile::KernelOp kernel : program.getBody().getOps<tile::KernelOp>()) {
    if (kernel.getStage() != tile::Stage::Abstract)
      return Error{ErrorCode::Unsupported,
                   fmt::format("kernel @{} is concrete; the walker runs abstract kernels only",
                               kernel.getSymName().str())};
    int64_t repetitions = 1;
    if (tile::FormulaAttr repeat = kernel.getRepeatAttr()) {
      HEDDLE_TRY(count, memory.evaluate(repeat));
      repetitions = count;
    }
    for (int64_t repetition = 0; repetition < repetitions; ++repetition)
      HEDDLE_CHECK(launch(memory, kernel, order, repetition));
  }
  return {};
}

} // namespace heddle::compiler
