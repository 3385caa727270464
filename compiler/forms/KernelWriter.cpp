// Small steps of building a kernel; see the header.
#include "compiler/forms/KernelWriter.h"

#include "compiler/forms/ExprOps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

namespace heddle::compiler {

using namespace mlir;

Type storedElement(Type declared) {
  if (auto integer = dyn_cast<IntegerType>(declared))
    return IntegerType::get(declared.getContext(), integer.getWidth());
  return declared;
}

static OpBuilder endOf(tile::KernelOp kernel) {
  Block &body = kernel.getBody().front();
  return body.mightHaveTerminator() ? OpBuilder(body.getTerminator())
                                    : OpBuilder::atBlockEnd(&body);
}

KernelWriter::KernelWriter(tile::KernelOp kernel)
    : builder(endOf(kernel)), location(kernel.getLoc()) {}

Value KernelWriter::constant(int64_t value) {
  return arith::ConstantIndexOp::create(builder, location, value);
}

Value KernelWriter::add(Value x, Value y) {
  return builder.createOrFold<arith::AddIOp>(location, x, y);
}

Value KernelWriter::sub(Value x, Value y) {
  return builder.createOrFold<arith::SubIOp>(location, x, y);
}

Value KernelWriter::mul(Value x, int64_t factor) {
  return builder.createOrFold<arith::MulIOp>(location, x, constant(factor));
}

Value KernelWriter::min(Value x, Value y) {
  return builder.createOrFold<arith::MinSIOp>(location, x, y);
}

Value KernelWriter::max(Value x, Value y) {
  return builder.createOrFold<arith::MaxSIOp>(location, x, y);
}

Value KernelWriter::divide(Value x, int64_t divisor) {
  return divisor == 1 ? x : builder.createOrFold<arith::DivUIOp>(location, x, constant(divisor));
}

Value KernelWriter::remainder(Value x, Value divisor) {
  return builder.createOrFold<arith::RemUIOp>(location, x, divisor);
}

Value KernelWriter::quotient(Value x, Value divisor) {
  return builder.createOrFold<arith::DivUIOp>(location, x, divisor);
}

Value KernelWriter::extent(const Extent &extent) {
  if (extent.fixed)
    return constant(*extent.fixed);
  if (extent.formula) {
    pattern::TypeScope types;
    auto leaf = [&](Expr e) -> Value {
      if (!e.is(pattern::ExprKind::Dim) && !e.is(pattern::ExprKind::Param))
        return {};
      return tile::ScalarOp::create(builder, location, builder.getIndexType(), e.getName());
    };
    for (const std::string &name : pattern::dimsOf(extent.formula))
      types.names[name] = pattern::ExprType::Integer;
    for (const std::string &name : pattern::paramsOf(extent.formula))
      types.names[name] = pattern::ExprType::Integer;
    return ExprOps(builder, location, builder.getIndexType(), types, leaf).integer(extent.formula);
  }
  return tile::ScalarOp::create(builder, location, builder.getIndexType(), extent.name);
}

Value KernelWriter::real(double value) {
  return arith::ConstantOp::create(builder, location, builder.getF32FloatAttr(float(value)));
}

tile::TileType KernelWriter::tileType(llvm::ArrayRef<int64_t> shape, Type element) {
  return tile::TileType::get(shape, element);
}

tile::TileType KernelWriter::f32(llvm::ArrayRef<int64_t> shape) {
  return tileType(shape, builder.getF32Type());
}

Value KernelWriter::view(llvm::StringRef name, Type element, llvm::ArrayRef<Extent> shape,
                         llvm::ArrayRef<Value> indices) {
  llvm::SmallVector<int64_t> kept;
  for (auto [extent, index] : llvm::zip(shape, indices))
    if (!index)
      kept.push_back(extent.fixed.value_or(ShapedType::kDynamic));
  auto type = tile::ViewType::get(kept, storedElement(element));
  return tile::ViewOp::create(builder, location, type, name, indices);
}

Value KernelWriter::pagedView(llvm::StringRef name, Type element, llvm::ArrayRef<Extent> shape,
                              llvm::ArrayRef<Value> indices, Value table, int64_t block) {
  llvm::SmallVector<int64_t> kept{ShapedType::kDynamic}; // rows: pages and slots
  llvm::SmallVector<int64_t> all;
  for (auto [extent, index] : llvm::zip(shape, indices))
    if (!index)
      all.push_back(extent.fixed.value_or(ShapedType::kDynamic));
  kept.append(all.begin() + 2, all.end());
  auto type = tile::ViewType::get(kept, storedElement(element), tile::Access::Paged, block);
  return tile::ViewOp::create(builder, location, type, name, indices, table);
}

Value KernelWriter::listView(llvm::StringRef name, Type element, llvm::ArrayRef<Extent> shape,
                             llvm::ArrayRef<Value> indices, Value list, int64_t block) {
  llvm::SmallVector<int64_t> kept;
  for (auto [extent, index] : llvm::zip(shape, indices))
    if (!index)
      kept.push_back(extent.fixed.value_or(ShapedType::kDynamic));
  auto type = tile::ViewType::get(kept, storedElement(element), tile::Access::List, block);
  return tile::ViewOp::create(builder, location, type, name, indices, list);
}

Value KernelWriter::load(tile::TileType type, Value view, llvm::ArrayRef<OpFoldResult> offsets,
                         ValueRange valid) {
  std::optional<double> fill;
  if (!valid.empty())
    fill = 0.0;
  return tile::LoadOp::create(builder, location, type, view, offsets, valid, fill);
}

void KernelWriter::store(Value tile, Value view, llvm::ArrayRef<OpFoldResult> offsets,
                         ValueRange valid) {
  tile::StoreOp::create(builder, location, tile, view, offsets, valid);
}

Value KernelWriter::fill(tile::TileType type, double value) {
  return tile::FillOp::create(builder, location, type, value);
}

Value KernelWriter::index(Value base, int64_t extent) {
  return tile::IndexOp::create(builder, location, tileType({extent}, builder.getI32Type()), base);
}

tile::MapOp KernelWriter::map(TypeRange results, ValueRange inputs, llvm::ArrayRef<Names> inputDims,
                              llvm::ArrayRef<llvm::StringRef> dims, Body body) {
  return tile::MapOp::create(builder, location, results, inputs, inputDims, dims, body);
}

Value KernelWriter::elementwise(ValueRange inputs, llvm::ArrayRef<Names> inputDims,
                                const Names &dims, Combine combine, Type element) {
  llvm::SmallVector<int64_t> shape;
  for (llvm::StringRef dim : dims)
    for (auto [input, names] : llvm::zip(inputs, inputDims))
      if (auto found = llvm::find(names, dim); found != names.end()) {
        shape.push_back(cast<tile::TileType>(input.getType()).getDim(found - names.begin()));
        break;
      }
  tile::TileType type = tileType(shape, element ? element : builder.getF32Type());
  return map({Type(type)}, inputs, inputDims, dims,
             [&](OpBuilder &b, Location at, ValueRange x) {
               tile::YieldOp::create(b, at, combine(b, at, x));
             })
      .getResult(0);
}

Value KernelWriter::mma(Value a, llvm::ArrayRef<llvm::StringRef> aDims, Value b,
                        llvm::ArrayRef<llvm::StringRef> bDims, Value init,
                        llvm::ArrayRef<llvm::StringRef> cDims,
                        std::optional<tile::Precision> precision) {
  return tile::MmaOp::create(builder, location, a, aDims, b, bDims, init, cDims, precision)
      .getResult();
}

Value KernelWriter::reduce(tile::Reduction kind, Value tile, int64_t dim, Value init) {
  return tile::ReduceOp::create(builder, location, kind, tile, dim, init);
}

Value KernelWriter::prefixSum(Value tile, bool exclusive, bool reverse) {
  auto unit = [&](bool set) { return set ? builder.getUnitAttr() : UnitAttr(); };
  return tile::ScanOp::create(builder, location, tile.getType(),
                              tile::ReductionAttr::get(builder.getContext(), tile::Reduction::Sum),
                              tile, builder.getI64IntegerAttr(0), unit(exclusive), unit(reverse));
}

Value KernelWriter::solve(Value lower, Value rhs) {
  if (cast<tile::TileType>(rhs.getType()).getDim(0) == 1)
    return rhs;
  return tile::SolveUnitLowerOp::create(builder, location, rhs.getType(), lower, rhs);
}

llvm::SmallVector<Value>
KernelWriter::loop(Value lo, Value hi, int64_t step, ValueRange start,
                   llvm::function_ref<llvm::SmallVector<Value>(Value, ValueRange)> body) {
  auto loop = tile::ForOp::create(builder, location, ValueRange{lo, hi}, step, start);
  OpBuilder::InsertionGuard guard(builder);
  Block &block = loop.getBody().front();
  if (block.mightHaveTerminator())
    block.getTerminator()->erase();
  builder.setInsertionPointToEnd(&block);
  llvm::SmallVector<Value> next = body(loop.getIndex(), loop.getIterArgs());
  tile::YieldOp::create(builder, location, next);
  return llvm::SmallVector<Value>(loop.getResults());
}

Value KernelWriter::asReal(Value index) {
  Value integer =
      arith::IndexCastOp::create(builder, location, builder.getI64Type(), index).getResult();
  return arith::SIToFPOp::create(builder, location, builder.getF32Type(), integer);
}

} // namespace heddle::compiler
