// Rules of tile.program: each name is declared once, formulas read declared integers, and what
// kernels say about scalars, views and stores is what the declarations say.
#include "ir/tile/TileVerify.h"

#include "llvm/ADT/StringMap.h"

using namespace mlir;

namespace heddle::tile {
namespace {

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

LogicalResult verifyView(ProgramOp program, ViewOp view) {
  Operation *declared = program.findTensor(view.getName());
  if (!declared)
    return view.emitOpError() << "of '" << view.getName()
                              << "', which the program declares neither as tensor nor as buffer";
  auto [element, shape] = declarationOf(declared);
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

/// Kernels write results and buffers only.
LogicalResult verifyTarget(ProgramOp program, StoreOp store) {
  ViewOp view = store.getView().getDefiningOp<ViewOp>();
  TensorOp tensor =
      view ? dyn_cast_or_null<TensorOp>(program.findTensor(view.getName())) : TensorOp();
  if (!tensor || tensor.getResult())
    return success();
  return store.emitOpError() << "writes the input '" << view.getName()
                             << "', expected a result or a buffer";
}

} // namespace

std::pair<Type, ArrayAttr> declarationOf(Operation *op) {
  if (TensorOp tensor = dyn_cast<TensorOp>(op))
    return {tensor.getElementType(), tensor.getShape()};
  BufferOp buffer = cast<BufferOp>(op);
  return {buffer.getElementType(), buffer.getShape()};
}

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
      else if (StoreOp store = dyn_cast<StoreOp>(op))
        fine = verifyTarget(*this, store);
      return failed(fine) ? WalkResult::interrupt() : WalkResult::advance();
    });
    // The declared extents are known to be right before the rule that reads them.
    if (result.wasInterrupted() || failed(verifyExtents(kernel)))
      return failure();
  }
  return success();
}

} // namespace heddle::tile
