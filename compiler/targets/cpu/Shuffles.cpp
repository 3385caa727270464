// Vectors that exchange their lanes: pairs of small floats, sums of many vectors, and the transpose
// of a block of W vectors, which is a function of the module:
//
//   transpose(block):  for h = 8, 4, 2, 1: vectors k and k + h exchange the lanes where l & h is
//   set
//
// A kernel transposes in up to five places; in each of them, the shuffles were half of its code.
#include "compiler/targets/cpu/TileStorage.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;

namespace heddle::compiler::cpu {

/// Moves nothing. The instruction selector looks through every shuffle at those before it for a
/// shorter way; in a transpose there is none, and the search took a third of the compile time.
static Value fence(VectorBuilder &e, Value vector) {
  Type element = getElementTypeOrSelf(vector.getType());
  if (element.getIntOrFloatBitWidth() != 32)
    return vector;
  Value floats = asType(e, vector, e.builder.getF32Type());
  return asType(e, e.intrinsic("llvm.arithmetic.fence", floats.getType(), floats), element);
}

Value joinPairs(VectorBuilder &e, Value low, Value high, ArrayRef<int64_t> order) {
  Type shorts = e.builder.getI16Type();
  Value both = vector::ShuffleOp::create(e.builder, e.loc, asType(e, low, shorts),
                                         asType(e, high, shorts), order);
  return fence(e, vector::BitCastOp::create(e.builder, e.loc, e.ints, both));
}

/// One step of both networks below. For stride h it pairs vectors k and k + h:
///   low[k]  lane l = (l & h) == 0 ? v[k][l]     : v[k + h][l - h]
///   high[k] lane l = (l & h) == 0 ? v[k][l + h] : v[k + h][l]
static std::pair<Value, Value> exchange(VectorBuilder &e, Value a, Value b, int64_t h) {
  SmallVector<int64_t> low, high;
  int64_t width = e.lanes();
  for (int64_t lane = 0; lane < width; ++lane) {
    bool first = (lane & h) == 0;
    low.push_back(first ? lane : width + lane - h);
    high.push_back(first ? lane + h : width + lane);
  }
  return {vector::ShuffleOp::create(e.builder, e.loc, a, b, low),
          vector::ShuffleOp::create(e.builder, e.loc, a, b, high)};
}

/// The function that transposes a block, made when it is first called for.
static func::FuncOp transposeFunction(VectorBuilder &e, VectorType type) {
  auto module = e.builder.getBlock()->getParentOp()->getParentOfType<ModuleOp>();
  std::string name = "transpose.i" + std::to_string(type.getElementType().getIntOrFloatBitWidth());
  if (auto known = module.lookupSymbol<func::FuncOp>(name))
    return known;
  OpBuilder::InsertionGuard guard(e.builder);
  e.builder.setInsertionPointToStart(module.getBody());
  auto function = func::FuncOp::create(
      e.builder, e.loc, name,
      e.builder.getFunctionType(LLVM::LLVMPointerType::get(e.builder.getContext()), {}));
  function.setPrivate();
  function->setAttr("llvm.linkage",
                    LLVM::LinkageAttr::get(e.builder.getContext(), LLVM::Linkage::Internal));
  Block *body = function.addEntryBlock();
  e.builder.setInsertionPointToEnd(body);
  auto address = [&](int64_t k) { return e.address(body->getArgument(0), type, e.integer(k)); };
  Values rows;
  for (int64_t k = 0; k < e.lanes(); ++k)
    rows.push_back(e.load(type, address(k)));
  for (int64_t h = e.lanes() / 2; h >= 1; h /= 2)
    for (int64_t k = 0; k < e.lanes(); ++k)
      if ((k & h) == 0) {
        auto [low, high] = exchange(e, rows[k], rows[k + h], h);
        rows[k] = fence(e, low);
        rows[k + h] = fence(e, high);
      }
  for (int64_t k = 0; k < e.lanes(); ++k)
    e.store(rows[k], address(k));
  func::ReturnOp::create(e.builder, e.loc);
  return function;
}

void callTranspose(VectorBuilder &e, VectorType type, Value block) {
  func::CallOp::create(e.builder, e.loc, transposeFunction(e, type), block);
}

Value sumsOfVectors(VectorBuilder &e, Values vectors) {
  for (int64_t h = e.lanes() / 2; h >= 1; h /= 2)
    for (int64_t k = 0; k < h; ++k) {
      auto [low, high] = exchange(e, vectors[k], vectors[k + h], h);
      vectors[k] = e.add(low, high);
    }
  return vectors[0];
}

} // namespace heddle::compiler::cpu
