// Makes two functions of each kernel (TileToVector.h). The exported one reads the grid and turns a
// flat number into coordinates, x fastest; a descending dimension counts down. It runs with
// denormal numbers as zero and gives the caller's modes back. The private one gets the tensors'
// pointers as arguments marked noalias: without that LLVM reloads around every store.
#include "compiler/targets/cpu/TileToVector.h"

#include "compiler/targets/cpu/KernelLowering.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/Verifier.h"

#include <fmt/format.h>

using namespace mlir;

namespace heddle::compiler::cpu {
namespace {

/// Bits of MXCSR: denormal operands and results are zero. Decays of far pairs underflow, and an
/// operation on a denormal number takes some hundred cycles.
constexpr int32_t kDenormalsAreZero = 0x8040;

/// Names of the tensors and buffers a kernel views, each once.
SmallVector<StringRef> viewedNames(tile::KernelOp kernel) {
  SmallVector<StringRef> names;
  kernel.walk([&](tile::ViewOp view) {
    if (!llvm::is_contained(names, view.getName()))
      names.push_back(view.getName());
  });
  return names;
}

class FunctionMaker {
public:
  FunctionMaker(OpBuilder &builder, tile::KernelOp kernel, const Artifact &artifact, const Isa &isa,
                Blocking blocking)
      : builder(builder), kernel(kernel), artifact(artifact), isa(isa), blocking(blocking),
        loc(kernel.getLoc()), names(viewedNames(kernel)) {}

  LogicalResult run() {
    func::FuncOp point = makePoint();
    return point ? makeEntry(point) : failure();
  }

private:
  tile::ProgramOp program() { return kernel->getParentOfType<tile::ProgramOp>(); }

  /// (block, scratch, pointers.., indices..)
  func::FuncOp makePoint() {
    Type pointer = LLVM::LLVMPointerType::get(builder.getContext());
    SmallVector<Type> types(2 + names.size(), pointer);
    types.append(kernel.getBody().getNumArguments(), builder.getIndexType());
    auto function = func::FuncOp::create(builder, loc, (kernel.getSymName() + ".point").str(),
                                         builder.getFunctionType(types, {}));
    function.setPrivate();
    for (size_t n = 0; n < 2 + names.size(); ++n)
      function.setArgAttr(n, "llvm.noalias", builder.getUnitAttr());
    Block *body = function.addEntryBlock();
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointToEnd(body);
    VectorBuilder e(builder, loc, isa);
    Arguments arguments(e, program(), artifact, body->getArgument(0));
    KernelLowering lowering(e, kernel, arguments, body->getArgument(1), blocking);
    for (auto [n, name] : llvm::enumerate(names))
      lowering.pointers[name] = body->getArgument(2 + n);
    if (failed(lowering.lower(body->getArguments().drop_front(2 + names.size()))))
      return {};
    func::ReturnOp::create(builder, loc);
    return function;
  }

  /// (block, first, last, scratch)
  LogicalResult makeEntry(func::FuncOp point) {
    Type pointer = LLVM::LLVMPointerType::get(builder.getContext()), i64 = builder.getI64Type();
    auto function = func::FuncOp::create(builder, loc, kernel.getSymName(),
                                         builder.getFunctionType({pointer, i64, i64, pointer}, {}));
    Block *body = function.addEntryBlock();
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointToEnd(body);
    VectorBuilder e(builder, loc, isa);
    Arguments arguments(e, program(), artifact, body->getArgument(0));
    Values operands = {body->getArgument(0), body->getArgument(3)}, extents;
    for (StringRef name : names)
      operands.push_back(arguments.pointer(name));
    for (Attribute formula : kernel.getGrid())
      extents.push_back(arguments.formula(cast<tile::FormulaAttr>(formula)));
    if (llvm::is_contained(operands, Value()) || llvm::is_contained(extents, Value()) ||
        kernel.getRepeat())
      return kernel.emitError("the artifact lacks an argument of this kernel, or it repeats");
    auto toIndex = [&](Value value) {
      return Value(arith::IndexCastOp::create(builder, loc, builder.getIndexType(), value));
    };
    Value modes = e.stackArray(builder.getI32Type(), 1);
    e.instruction("llvm.x86.sse.stmxcsr", {modes});
    Value callers = e.load(builder.getI32Type(), modes);
    auto setModes = [&](Value word) {
      e.store(word, modes);
      e.instruction("llvm.x86.sse.ldmxcsr", {modes});
    };
    setModes(arith::OrIOp::create(
        builder, loc, callers,
        arith::ConstantOp::create(builder, loc, builder.getI32IntegerAttr(kDenormalsAreZero))));
    e.loop(toIndex(body->getArgument(1)), toIndex(body->getArgument(2)), 1, {},
           [&](Value flat, ValueRange) -> Values {
             Values call = operands;
             for (auto [dim, extent] : llvm::enumerate(extents)) {
               bool last = dim + 1 == extents.size();
               Value index =
                   last ? flat : Value(arith::RemUIOp::create(builder, loc, flat, extent));
               if (!last)
                 flat = arith::DivUIOp::create(builder, loc, flat, extent);
               if (kernel.getDescending()[dim])
                 index = arith::SubIOp::create(builder, loc, e.plus(extent, -1), index);
               call.push_back(index);
             }
             func::CallOp::create(builder, loc, point, call);
             return {};
           });
    setModes(callers);
    func::ReturnOp::create(builder, loc);
    return success();
  }

  OpBuilder &builder;
  tile::KernelOp kernel;
  const Artifact &artifact;
  const Isa &isa;
  Blocking blocking;
  Location loc;
  SmallVector<StringRef> names;
};

} // namespace

Result<OwningOpRef<ModuleOp>> lowerTileToVector(tile::ProgramOp program, const Artifact &artifact,
                                                const Isa &isa, Blocking blocking,
                                                std::vector<int64_t> &scratchBytes) {
  MLIRContext *context = program.getContext();
  context->loadDialect<func::FuncDialect, arith::ArithDialect, scf::SCFDialect,
                       vector::VectorDialect, LLVM::LLVMDialect, math::MathDialect>();
  std::string message;
  ScopedDiagnosticHandler diagnostics(context, [&](Diagnostic &diagnostic) {
    if (message.empty())
      message = diagnostic.str();
    return success();
  });
  OwningOpRef<ModuleOp> module = ModuleOp::create(program.getLoc());
  OpBuilder builder(context);
  for (tile::KernelOp kernel : program.getBody().getOps<tile::KernelOp>()) {
    builder.setInsertionPointToEnd(module->getBody());
    auto scratch = kernel->getAttrOfType<IntegerAttr>("tile.scratch");
    scratchBytes.push_back(scratch ? scratch.getInt() : 0);
    if (failed(FunctionMaker(builder, kernel, artifact, isa, blocking).run()))
      return Error{ErrorCode::Unsupported,
                   fmt::format("kernel {}: {}", kernel.getSymName().str(), message)};
  }
  if (failed(verify(*module)))
    return Error{ErrorCode::CompilerFailure, "the lowered kernels do not verify: " + message};
  return module;
}

} // namespace heddle::compiler::cpu
