// Rules of the tile dialect that need a whole program or kernel: names that are declared, what a
// stage may hold, padding of contracted dimensions, masks before exp2, disjoint stores, rings and
// roles. Each rule is one function below; KernelOp::verifyRegions and ProgramOp::verifyRegions list
// them.
#include "ir/tile/TileDialect.h"

#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringMap.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

#include <numeric>

using namespace mlir;

namespace heddle::tile {
namespace {

//===------------------------------------------------------------------------------------------===//
// Declarations
//===------------------------------------------------------------------------------------------===//

/// Each name is declared once, and formulas read declared integers.
LogicalResult verifyDeclarations(ProgramOp program) {
  llvm::StringMap<Operation *> scalars, tensors;
  auto declare = [](llvm::StringMap<Operation *> &names, StringRef name, Operation *op) {
    auto [entry, fresh] = names.try_emplace(name, op);
    if (fresh)
      return success();
    InFlightDiagnostic error = op->emitOpError() << "declares '" << name << "' again";
    error.attachNote(entry->second->getLoc()) << "declared here before";
    return LogicalResult(error);
  };
  for (Operation &op : program.getBody().front()) {
    LogicalResult fresh = success();
    if (ExtentOp extent = dyn_cast<ExtentOp>(op))
      fresh = declare(scalars, extent.getName(), &op);
    else if (ParamOp param = dyn_cast<ParamOp>(op))
      fresh = declare(scalars, param.getName(), &op);
    else if (TensorOp tensor = dyn_cast<TensorOp>(op))
      fresh = declare(tensors, tensor.getName(), &op);
    else if (BufferOp buffer = dyn_cast<BufferOp>(op))
      fresh = declare(tensors, buffer.getName(), &op);
    else if (!isa<KernelOp>(op))
      return op.emitOpError() << "is not allowed in tile.program, expected extent, param, tensor, "
                                 "buffer or kernel";
    if (failed(fresh))
      return failure();
  }
  return success();
}

LogicalResult verifyFormula(ProgramOp program, Operation *op, FormulaAttr formula) {
  for (const FormulaStep &step : formula.getSteps()) {
    if (step.op != FormulaOp::Scalar)
      continue;
    Operation *declared = program.findScalar(step.name.getValue());
    if (!declared)
      return op->emitOpError() << "formula " << formula << " reads '" << step.name.getValue()
                               << "', which the program does not declare";
    if (ParamOp param = dyn_cast<ParamOp>(declared);
        param && !param.getValue().getType().isInteger())
      return op->emitOpError() << "formula " << formula << " reads the float parameter '"
                               << step.name.getValue() << "', expected integers";
  }
  return success();
}

LogicalResult verifyFormulas(ProgramOp program) {
  for (Operation &op : program.getBody().front()) {
    SmallVector<FormulaAttr> formulas;
    if (TensorOp tensor = dyn_cast<TensorOp>(op))
      llvm::append_range(formulas, tensor.getShape().getAsRange<FormulaAttr>());
    else if (BufferOp buffer = dyn_cast<BufferOp>(op))
      llvm::append_range(formulas, buffer.getShape().getAsRange<FormulaAttr>());
    else if (KernelOp kernel = dyn_cast<KernelOp>(op)) {
      llvm::append_range(formulas, kernel.getGrid().getAsRange<FormulaAttr>());
      if (FormulaAttr repeat = kernel.getRepeatAttr())
        formulas.push_back(repeat);
    }
    for (FormulaAttr formula : formulas)
      if (failed(verifyFormula(program, &op, formula)))
        return failure();
  }
  return success();
}

LogicalResult verifyScalar(ProgramOp program, ScalarOp scalar) {
  Operation *declared = program.findScalar(scalar.getName());
  if (!declared)
    return scalar.emitOpError() << "reads '" << scalar.getName()
                                << "', which the program does not declare";
  ParamOp param = dyn_cast<ParamOp>(declared);
  bool isFloat = param && isa<FloatType>(param.getValue().getType());
  if (isFloat == isa<FloatType>(scalar.getType()))
    return success();
  return scalar.emitOpError() << "reads " << (isFloat ? "the float parameter" : "the integer")
                              << " '" << scalar.getName() << "' as " << scalar.getType();
}

/// The declared element type and extents of a tensor or buffer.
std::pair<Type, ArrayAttr> declaration(Operation *op) {
  if (TensorOp tensor = dyn_cast<TensorOp>(op))
    return {tensor.getElementType(), tensor.getShape()};
  BufferOp buffer = cast<BufferOp>(op);
  return {buffer.getElementType(), buffer.getShape()};
}

LogicalResult verifyView(ProgramOp program, ViewOp view) {
  Operation *declared = program.findTensor(view.getName());
  if (!declared)
    return view.emitOpError() << "of '" << view.getName()
                              << "', which the program declares neither as tensor nor as buffer";
  auto [element, shape] = declaration(declared);
  if (element.isUnsignedInteger(8))
    element = IntegerType::get(element.getContext(), 8);
  if (element != view.getType().getElementType())
    return view.emitOpError() << "has elements of " << view.getType().getElementType() << ", '"
                              << view.getName() << "' has " << element;
  if (shape.size() != view.getKept().size())
    return view.emitOpError() << "gives " << view.getKept().size() << " indices, '"
                              << view.getName() << "' has " << shape.size() << " dimensions";
  SmallVector<FormulaAttr> kept;
  for (auto [formula, keeps] : llvm::zip(shape.getAsRange<FormulaAttr>(), view.getKept()))
    if (keeps)
      kept.push_back(formula);
  bool paged = view.getType().getAccess() == Access::Paged;
  if (paged && kept[1].asConstant() != view.getType().getBlock())
    return view.emitOpError() << "has pages of " << view.getType().getBlock() << " rows, '"
                              << view.getName() << "' has slots " << kept[1];
  // Rows of paged and list views are as many as their table has.
  bool rowsFromTable = paged || view.getType().getAccess() == Access::List;
  ArrayRef<FormulaAttr> extents = ArrayRef<FormulaAttr>(kept).drop_front(paged ? 1 : 0);
  for (auto [dim, extent] : llvm::enumerate(view.getType().getShape())) {
    std::optional<int64_t> expected = extents[dim].asConstant();
    if (dim == 0 && rowsFromTable)
      expected = std::nullopt;
    if (expected.value_or(ShapedType::kDynamic) == extent)
      continue;
    InFlightDiagnostic error = view.emitOpError() << "has extent ";
    error << (ViewType::isDynamic(extent) ? "?" : std::to_string(extent)) << " in dimension "
          << dim;
    return error << ", expected "
                 << (expected ? std::to_string(*expected) : std::string("? (a run-time value)"));
  }
  return success();
}

//===------------------------------------------------------------------------------------------===//
// Rule 1: what a stage may hold
//===------------------------------------------------------------------------------------------===//

bool isScalarOp(Operation *op) {
  StringRef dialect = op->getName().getDialectNamespace();
  return dialect == "arith" || dialect == "math";
}

LogicalResult verifyStageOf(Operation *op, bool concrete) {
  if (!concrete && isa<RingOp, PutOp, TakeOp, ReleaseOp, RolesOp, WaitOp, BarrierOp, ConvertOp>(op))
    return op->emitOpError()
           << "is not allowed in an abstract kernel: no ring, role, token, barrier "
              "or convert before layouts";
  if (MmaOp mma = dyn_cast<MmaOp>(op); mma && !concrete && mma.isAsync())
    return op->emitOpError() << "is async in an abstract kernel, which has no tokens";
  auto fits = [&](Type type) {
    if (TileType tile = dyn_cast<TileType>(type))
      return tile.isConcrete() == concrete;
    if (RingType ring = dyn_cast<RingType>(type))
      return ring.getSlot().isConcrete() == concrete;
    return true;
  };
  for (Type type : llvm::concat<const Type>(SmallVector<Type>(op->getResultTypes()),
                                            SmallVector<Type>(op->getOperandTypes())))
    if (!fits(type))
      return op->emitOpError() << "has " << type << " in "
                               << (concrete
                                       ? "a concrete kernel, expected a layout and a space"
                                       : "an abstract kernel, expected neither layout nor space");
  return success();
}

LogicalResult verifyStage(KernelOp kernel) {
  bool concrete = kernel.getStage() == Stage::Concrete;
  WalkResult result = kernel.getBody().walk([&](Operation *op) {
    bool allowed =
        isa<TileDialect>(op->getDialect()) || isScalarOp(op) || isa<scf::IfOp, scf::YieldOp>(op);
    if (!allowed || isa<ProgramOp, KernelOp>(op)) {
      op->emitOpError() << "is not allowed in a tile kernel, expected tile ops, arith and math on "
                           "scalars, scf.if";
      return WalkResult::interrupt();
    }
    return failed(verifyStageOf(op, concrete)) ? WalkResult::interrupt() : WalkResult::advance();
  });
  return failure(result.wasInterrupted());
}

//===------------------------------------------------------------------------------------------===//
// Rule 3: what lies beyond an extent
//===------------------------------------------------------------------------------------------===//

/// A number that divides the formula's value whatever the scalars are.
int64_t provenDivisor(ProgramOp program, FormulaAttr formula) {
  SmallVector<int64_t> stack;
  for (const FormulaStep &step : formula.getSteps()) {
    if (step.op == FormulaOp::Constant) {
      stack.push_back(std::abs(step.value));
    } else if (step.op == FormulaOp::Scalar) {
      ExtentOp extent = dyn_cast_or_null<ExtentOp>(program.findScalar(step.name.getValue()));
      stack.push_back(extent ? extent.getMultiple().value_or(1) : 1);
    } else {
      int64_t right = stack.pop_back_val(), left = stack.pop_back_val();
      bool linear = step.op == FormulaOp::Add || step.op == FormulaOp::Sub ||
                    step.op == FormulaOp::Min || step.op == FormulaOp::Max;
      stack.push_back(step.op == FormulaOp::Mul ? left * right
                      : linear                  ? std::gcd(left, right)
                                                : 1);
    }
  }
  return std::max<int64_t>(stack.front(), 1);
}

/// True if tiles of `extent` elements at multiples of `extent` never pass the end of `dim`.
bool isClosedUnder(ViewOp view, unsigned dim, int64_t extent) {
  if (extent == 1)
    return true;
  if (view.getType().getAccess() != Access::Dense)
    return false;
  ProgramOp program = view->getParentOfType<ProgramOp>();
  SmallVector<FormulaAttr> kept;
  for (auto [formula, keeps] :
       llvm::zip(declaration(program.findTensor(view.getName())).second.getAsRange<FormulaAttr>(),
                 view.getKept()))
    if (keeps)
      kept.push_back(formula);
  return provenDivisor(program, kept[dim]) % extent == 0;
}

bool insideFullLoop(Operation *op) {
  for (ForOp loop = op->getParentOfType<ForOp>(); loop; loop = loop->getParentOfType<ForOp>())
    if (loop.getKind() == LoopKind::Full)
      return true;
  return false;
}

/// A dimension with a run-time extent needs a valid count, unless a full loop or a declared
/// multiple proves that the tile lies inside.
LogicalResult verifyValid(Operation *op, Value view, TileType tile, ValueRange valid) {
  ViewOp source = view.getDefiningOp<ViewOp>();
  if (!source || insideFullLoop(op))
    return success();
  for (int64_t dim = valid.size(); dim < tile.getRank(); ++dim)
    if (ViewType::isDynamic(source.getType().getShape()[dim]) &&
        !isClosedUnder(source, dim, tile.getDim(dim)))
      return op->emitOpError() << "moves " << tile.getDim(dim) << " elements of dimension " << dim
                               << " of '" << source.getName()
                               << "', whose extent is a run-time value: give valid(..), or declare "
                                  "the extent a multiple of "
                               << tile.getDim(dim);
  return success();
}

/// How elements beyond valid reach an mma: follows a value back to the load or puts it comes from.
/// `dim` is the contracted dimension of `value`.
LogicalResult verifyPadding(MmaOp mma, Value value, int64_t dim, StringRef name) {
  auto check = [&](Operation *source, size_t counts, std::optional<APFloat> fill) -> LogicalResult {
    bool clipped = dim < static_cast<int64_t>(counts);
    if (!clipped || (fill && fill->isZero()))
      return success();
    InFlightDiagnostic error = mma.emitOpError() << "contracts dimension '" << name
                                                 << "', beyond whose valid elements an operand "
                                                 << (fill ? "is not 0" : "is unspecified")
                                                 << "; 0 x NaN is NaN: fill 0 or mask";
    error.attachNote(source->getLoc()) << "loaded here";
    return error;
  };
  while (SliceOp slice = value.getDefiningOp<SliceOp>())
    value = slice.getTile();
  if (ConvertOp convert = value.getDefiningOp<ConvertOp>())
    return verifyPadding(mma, convert.getTile(), dim, name);
  if (LoadOp load = value.getDefiningOp<LoadOp>())
    return check(load, load.getValid().size(), load.getFill());
  if (TakeOp take = value.getDefiningOp<TakeOp>())
    for (Operation *user : take.getRing().getUsers())
      if (PutOp put = dyn_cast<PutOp>(user); put && isa<ViewType>(put.getSource().getType()))
        if (failed(check(put, put.getValid().size(), put.getFill())))
          return failure();
  if (ReshapeOp reshape = value.getDefiningOp<ReshapeOp>()) {
    // Only a plain permutation keeps dimensions apart.
    TileType from = reshape.getTile().getType();
    std::optional<ArrayRef<int64_t>> permute = reshape.getPermute();
    if (!permute || from.getRank() != reshape.getType().getRank())
      return success();
    for (auto [to, source] : llvm::enumerate(*permute))
      if (reshape.getType().getDim(to) != from.getDim(source))
        return success();
    return verifyPadding(mma, reshape.getTile(), (*permute)[dim], name);
  }
  return success();
}

LogicalResult verifyContracted(MmaOp mma) {
  for (StringRef name : mma.getContracted()) {
    StringAttr key = StringAttr::get(mma.getContext(), name);
    int64_t inA = llvm::find(mma.getADims(), key) - mma.getADims().begin();
    int64_t inB = llvm::find(mma.getBDims(), key) - mma.getBDims().begin();
    if (failed(verifyPadding(mma, mma.getA(), inA, name)) ||
        failed(verifyPadding(mma, mma.getB(), inB, name)))
      return failure();
  }
  return success();
}

LogicalResult verifyExtents(KernelOp kernel) {
  WalkResult result = kernel.getBody().walk([&](Operation *op) {
    LogicalResult fine = success();
    if (LoadOp load = dyn_cast<LoadOp>(op))
      fine = verifyValid(op, load.getView(), load.getType(), load.getValid());
    else if (StoreOp store = dyn_cast<StoreOp>(op))
      fine = verifyValid(op, store.getView(), store.getTile().getType(), store.getValid());
    else if (PutOp put = dyn_cast<PutOp>(op); put && isa<ViewType>(put.getSource().getType()))
      fine = verifyValid(op, put.getSource(), put.getRing().getType().getSlot(), put.getValid());
    else if (MmaOp mma = dyn_cast<MmaOp>(op))
      fine = verifyContracted(mma);
    return failed(fine) ? WalkResult::interrupt() : WalkResult::advance();
  });
  return failure(result.wasInterrupted());
}

//===------------------------------------------------------------------------------------------===//
// Rule 8: differences of prefix sums are masked before exp2
//===------------------------------------------------------------------------------------------===//

/// The scan that a map's region argument carries elements of, or null.
ScanOp scanBehind(MapOp map, Value scalar) {
  BlockArgument argument = dyn_cast<BlockArgument>(scalar);
  if (!argument || argument.getOwner() != &map.getBody().front())
    return {};
  Value tile = map.getInputs()[argument.getArgNumber()];
  while (Operation *op = tile.getDefiningOp()) {
    if (ScanOp scan = dyn_cast<ScanOp>(op))
      return scan;
    if (!isa<SliceOp, ReshapeOp, ConvertOp>(op))
      return {};
    tile = op->getOperand(0);
  }
  return {};
}

LogicalResult verifyExponent(MapOp map, Operation *exponential) {
  arith::SubFOp difference = exponential->getOperand(0).getDefiningOp<arith::SubFOp>();
  if (!difference)
    return success();
  ScanOp left = scanBehind(map, difference.getLhs()), right = scanBehind(map, difference.getRhs());
  if (!left || left != right)
    return success();
  unsigned a = cast<BlockArgument>(difference.getLhs()).getArgNumber();
  unsigned b = cast<BlockArgument>(difference.getRhs()).getArgNumber();
  if (map.getInputDims()[a] == map.getInputDims()[b])
    return success();
  return exponential->emitOpError()
         << "takes the difference of two prefix sums, which overflows above the diagonal: mask it "
            "with arith.select before the exponential";
}

LogicalResult verifyExponents(KernelOp kernel) {
  WalkResult result = kernel.getBody().walk([&](MapOp map) {
    for (Operation &op : map.getBody().front())
      if (isa<math::Exp2Op, math::ExpOp>(op) && failed(verifyExponent(map, &op)))
        return WalkResult::interrupt();
    return WalkResult::advance();
  });
  return failure(result.wasInterrupted());
}

//===------------------------------------------------------------------------------------------===//
// Rule 9: stores of different grid points are disjoint
//===------------------------------------------------------------------------------------------===//

/// How an index depends on one grid index.
struct Dependence {
  enum Kind {
    None,    ///< not at all
    Linear,  ///< step * grid index + something that does not depend on it
    Divided, ///< only through a quotient by a constant: neighbours give the same value
    Other    ///< in a way this analysis does not follow; taken to be injective
  };
  Kind kind = None;
  int64_t step = 0;
};

std::optional<int64_t> constantOf(Value value) {
  APInt constant;
  if (matchPattern(value, m_ConstantInt(&constant)))
    return constant.getSExtValue();
  return std::nullopt;
}

Dependence dependenceOn(Value value, BlockArgument grid) {
  if (value == grid)
    return {Dependence::Linear, 1};
  Operation *op = value.getDefiningOp();
  if (!op) {
    // A loop index starts at its bounds.
    BlockArgument argument = cast<BlockArgument>(value);
    ForOp loop = dyn_cast_or_null<ForOp>(argument.getOwner()->getParentOp());
    if (!loop || argument.getArgNumber() != 0)
      return {};
    for (Value bound : loop.getBounds())
      if (dependenceOn(bound, grid).kind != Dependence::None)
        return {Dependence::Other};
    return {};
  }
  if (op->getNumOperands() != 2 || !isScalarOp(op)) {
    for (Value operand : op->getOperands())
      if (dependenceOn(operand, grid).kind != Dependence::None)
        return {Dependence::Other};
    return {};
  }
  Dependence a = dependenceOn(op->getOperand(0), grid), b = dependenceOn(op->getOperand(1), grid);
  if (a.kind == Dependence::None && b.kind == Dependence::None)
    return {};
  if (isa<arith::AddIOp, arith::SubIOp>(op)) {
    if (b.kind == Dependence::None)
      return a;
    if (a.kind == Dependence::None)
      return b.kind == Dependence::Linear ? Dependence{b.kind, std::abs(b.step)} : b;
  }
  std::optional<int64_t> constant = constantOf(op->getOperand(b.kind == Dependence::None ? 1 : 0));
  bool product = isa<arith::MulIOp>(op);
  Dependence inner = b.kind == Dependence::None ? a : b;
  bool single = a.kind == Dependence::None || b.kind == Dependence::None;
  if (product && single && constant && inner.kind == Dependence::Linear)
    return {Dependence::Linear, std::abs(inner.step * *constant)};
  if (product && single && constant && inner.kind == Dependence::Divided)
    return inner;
  if (isa<arith::DivUIOp, arith::DivSIOp, arith::FloorDivSIOp>(op) && single && constant &&
      *constant > 1 && inner.kind == Dependence::Linear && inner.step % *constant != 0)
    return {Dependence::Divided};
  return {Dependence::Other};
}

bool isOne(FormulaAttr formula) { return formula.asConstant() == 1; }

/// Looks for one index of the store that tells grid points apart along grid dimension `dim`.
LogicalResult verifyDisjoint(KernelOp kernel, StoreOp store, unsigned dim) {
  BlockArgument grid = kernel.getGridIndex(dim);
  ViewOp view = store.getView().getDefiningOp<ViewOp>();
  if (!view)
    return success();
  bool overlaps = false, divided = false;
  for (Value index : view.getIndices()) {
    Dependence found = dependenceOn(index, grid);
    if (found.kind == Dependence::Linear || found.kind == Dependence::Other)
      return success();
    divided |= found.kind == Dependence::Divided;
  }
  for (auto [axis, offset] : llvm::enumerate(store.getMixedOffsets())) {
    Value value = dyn_cast<Value>(offset);
    Dependence found = value ? dependenceOn(value, grid) : Dependence();
    if (found.kind == Dependence::Other)
      return success();
    if (found.kind == Dependence::Linear) {
      // valid(..) may restrict a tile that is larger than the step.
      if (found.step >= store.getTile().getType().getDim(axis))
        return success();
      overlaps = true;
    }
    divided |= found.kind == Dependence::Divided;
  }
  InFlightDiagnostic error = store.emitOpError() << "of different grid points overlaps: ";
  if (overlaps)
    return error << "its offset moves by less than the tile's extent along grid dimension " << dim;
  if (divided)
    return error << "neighbours along grid dimension " << dim << " have the same quotient";
  return error << "no index depends on grid dimension " << dim;
}

LogicalResult verifyStores(KernelOp kernel) {
  WalkResult result = kernel.getBody().walk([&](StoreOp store) {
    for (auto [dim, formula] : llvm::enumerate(kernel.getGrid().getAsRange<FormulaAttr>()))
      if (!isOne(formula) && failed(verifyDisjoint(kernel, store, dim)))
        return WalkResult::interrupt();
    return WalkResult::advance();
  });
  return failure(result.wasInterrupted());
}

//===------------------------------------------------------------------------------------------===//
// Rules 5, 6, 7: rings, roles, branches
//===------------------------------------------------------------------------------------------===//

/// The role's region that holds `op`, or null outside roles.
Region *roleOf(Operation *op) {
  for (Region *region = op->getParentRegion(); region; region = region->getParentRegion())
    if (isa_and_nonnull<RolesOp>(region->getParentOp()))
      return region;
  return nullptr;
}

/// Enclosing loops by their bounds and step: ops with equal ones run equally often.
SmallVector<std::pair<ValueRange, int64_t>> tripsOf(Operation *op) {
  SmallVector<std::pair<ValueRange, int64_t>> trips;
  for (ForOp loop = op->getParentOfType<ForOp>(); loop; loop = loop->getParentOfType<ForOp>())
    trips.push_back({loop.getBounds(), loop.getStep()});
  return trips;
}

bool sameTrips(Operation *a, Operation *b) {
  return llvm::equal(tripsOf(a), tripsOf(b), [](const auto &x, const auto &y) {
    return x.second == y.second && llvm::equal(x.first, y.first);
  });
}

/// Ops of one ring: puts, and takes and releases of each role.
struct RingUse {
  SmallVector<Operation *> puts, takes, releases;
};

/// Equal numbers of a and b wherever all of them run in loops of the same bounds.
LogicalResult verifyBalance(RingOp ring, ArrayRef<Operation *> a, StringRef aName,
                            ArrayRef<Operation *> b, StringRef bName) {
  bool comparable = llvm::all_of(a, [&](Operation *op) { return sameTrips(op, a.front()); }) &&
                    llvm::all_of(b, [&](Operation *op) { return sameTrips(op, a.front()); });
  if (!comparable || a.size() == b.size())
    return success();
  return ring.emitOpError() << "'" << ring.getName() << "' has " << a.size() << " " << aName
                            << " and " << b.size() << " " << bName
                            << " in loops of the same bounds, expected as many";
}

/// A take with puts of its own role only needs one of them before it, on each path.
LogicalResult verifyPutBefore(Operation *take, ArrayRef<Operation *> puts) {
  for (Operation *put : puts) {
    if (roleOf(put) != roleOf(take))
      return success();
    Operation *ancestor = put->getBlock()->findAncestorOpInBlock(*take);
    if (ancestor && put->isBeforeInBlock(ancestor))
      return success();
    // A loop that always runs earlier may hold it as well.
    ForOp loop = put->getParentOfType<ForOp>();
    ancestor = loop ? loop->getBlock()->findAncestorOpInBlock(*take) : nullptr;
    if (ancestor && loop->isBeforeInBlock(ancestor))
      return success();
  }
  return take->emitOpError() << "waits for a slot that no put before it fills";
}

/// Within a block, a slot's tile is not used after the release that frees it.
LogicalResult verifyReleases(Operation *release, ArrayRef<Operation *> takes,
                             ArrayRef<Operation *> releases) {
  Block *block = release->getBlock();
  SmallVector<Operation *> taken;
  for (Operation *take : takes)
    if (take->getBlock() == block && take->isBeforeInBlock(release))
      taken.push_back(take);
  size_t before = llvm::count_if(releases, [&](Operation *other) {
    return other->getBlock() == block && other->isBeforeInBlock(release);
  });
  if (before >= taken.size())
    return success(); // frees a slot of an earlier trip
  for (Operation *user : taken[before]->getResult(0).getUsers()) {
    Operation *ancestor = block->findAncestorOpInBlock(*user);
    if (ancestor && release->isBeforeInBlock(ancestor))
      return user->emitOpError() << "reads a slot of a ring after its release";
  }
  return success();
}

LogicalResult verifyRing(RingOp ring) {
  SmallVector<Operation *> puts;
  llvm::MapVector<Region *, RingUse> readers;
  // The uses of a value are listed backwards; a walk gives program order.
  ring->getParentOfType<KernelOp>().getBody().walk([&](Operation *op) {
    if (PutOp put = dyn_cast<PutOp>(op); put && put.getRing() == ring)
      puts.push_back(op);
    else if (TakeOp take = dyn_cast<TakeOp>(op); take && take.getRing() == ring)
      readers[roleOf(op)].takes.push_back(op);
    else if (ReleaseOp release = dyn_cast<ReleaseOp>(op); release && release.getRing() == ring)
      readers[roleOf(op)].releases.push_back(op);
  });
  if (puts.empty() || readers.empty())
    return ring.emitOpError() << "'" << ring.getName() << "' has no "
                              << (puts.empty() ? "put" : "take") << ", expected both";
  for (Operation *put : puts)
    if (roleOf(put) != roleOf(puts.front()))
      return put->emitOpError() << "fills ring '" << ring.getName()
                                << "' from a second role, expected one producer";
  for (auto &[role, use] : readers) {
    if (failed(verifyBalance(ring, puts, "puts", use.takes, "takes")) ||
        failed(verifyBalance(ring, use.takes, "takes", use.releases, "releases")))
      return failure();
    for (Operation *take : use.takes)
      if (failed(verifyPutBefore(take, puts)))
        return failure();
    for (Operation *release : use.releases)
      if (failed(verifyReleases(release, use.takes, use.releases)))
        return failure();
  }
  return success();
}

/// With roles, tiles and effects belong to one of them.
LogicalResult verifyRoles(KernelOp kernel) {
  Block &block = kernel.getBody().front();
  auto roles = block.getOps<RolesOp>();
  if (roles.empty())
    return success();
  if (!llvm::hasSingleElement(roles))
    return (*std::next(roles.begin())).emitOpError() << "is the second in its kernel";
  for (Operation &op : block.without_terminator()) {
    bool outside = isa<RolesOp, RingOp, ViewOp, ScalarOp, ReadOp>(op) || isScalarOp(&op);
    if (!outside)
      return op.emitOpError() << "stands beside tile.roles, expected it inside one role: a tile "
                                 "belongs to one role";
  }
  return success();
}

/// A branch inside a role whose condition only that role knows holds nothing another role waits
/// for.
LogicalResult verifyBranches(KernelOp kernel) {
  WalkResult result = kernel.getBody().walk([&](Operation *op) {
    if (!isa<PutOp, TakeOp, ReleaseOp, BarrierOp>(op))
      return WalkResult::advance();
    Region *role = roleOf(op);
    for (scf::IfOp branch = op->getParentOfType<scf::IfOp>(); branch && role;
         branch = branch->getParentOfType<scf::IfOp>()) {
      if (!role->isAncestor(branch.getCondition().getParentRegion()))
        continue;
      op->emitOpError() << "stands in a branch whose condition is computed inside one role, "
                           "expected one that all roles share";
      return WalkResult::interrupt();
    }
    return WalkResult::advance();
  });
  return failure(result.wasInterrupted());
}

} // namespace

LogicalResult ProgramOp::verifyRegions() {
  if (failed(verifyDeclarations(*this)) || failed(verifyFormulas(*this)))
    return failure();
  for (KernelOp kernel : getBody().getOps<KernelOp>()) {
    WalkResult result = kernel.getBody().walk([&](Operation *op) {
      LogicalResult fine = success();
      if (ScalarOp scalar = dyn_cast<ScalarOp>(op))
        fine = verifyScalar(*this, scalar);
      else if (ViewOp view = dyn_cast<ViewOp>(op))
        fine = verifyView(*this, view);
      return failed(fine) ? WalkResult::interrupt() : WalkResult::advance();
    });
    // The declared extents are known to be right before the rule that reads them.
    if (result.wasInterrupted() || failed(verifyExtents(kernel)))
      return failure();
  }
  return success();
}

LogicalResult KernelOp::verifyRegions() {
  size_t dims = getGrid().size();
  if (dims < 1 || dims > 3)
    return emitOpError() << "has " << dims << " grid dimensions, expected one to three";
  if (getDescending().size() != dims)
    return emitOpError() << "has " << getDescending().size() << " visiting orders for " << dims
                         << " grid dimensions";
  size_t expected = dims + (getRepeatAttr() ? 1 : 0);
  Block &block = getBody().front();
  if (block.getNumArguments() != expected ||
      !llvm::all_of(block.getArgumentTypes(), [](Type type) { return type.isIndex(); }))
    return emitOpError() << "has a body with other arguments than its " << expected
                         << " grid indices";
  if (failed(verifyStage(*this)) || failed(verifyRoles(*this)) || failed(verifyBranches(*this)) ||
      failed(verifyExponents(*this)) || failed(verifyStores(*this)))
    return failure();
  for (RingOp ring : block.getOps<RingOp>())
    if (failed(verifyRing(ring)))
      return failure();
  return success();
}

} // namespace heddle::tile
