// Sums over the tensors of the signature and over the mixes of the graph.
#include "compiler/Cost.h"

#include "ir/pattern/ExprUtils.h"
#include "ir/pattern/PatternDialect.h"

namespace heddle::compiler {
namespace {

using pattern::ExprAttr;
using pattern::ExprKind;
using DimExtents = std::map<std::string, int64_t>;

double extent(ExprAttr expr, const DimExtents &dims) {
  std::optional<int64_t> value =
      pattern::evaluateInteger(expr, [&](llvm::StringRef name) -> std::optional<int64_t> {
        auto found = dims.find(name.str());
        return found == dims.end() ? std::nullopt : std::optional(found->second);
      });
  return value ? static_cast<double>(*value) : 0;
}

double bytesOf(pattern::ArrayType type, const DimExtents &dims, DType dtype) {
  double elements = 1;
  if (type.getBatched()) {
    auto batch = dims.find("B");
    elements = batch == dims.end() ? 1 : static_cast<double>(batch->second);
  }
  for (size_t d = 0; d < type.rank(); ++d)
    elements *= extent(type.dim(d), dims);
  double width = static_cast<double>(sizeOf(dtype));
  if (mlir::Type element = type.getElement())
    width = std::max(1.0, element.getIntOrFloatBitWidth() / 8.0);
  return elements * width;
}

/// Exponentials a score costs: one for weight exp or sigmoid, one for each exp or tanh in the
/// chain.
int64_t specialFunctions(pattern::MixOp mix) {
  int64_t count = mix.getWeight() == pattern::WeightKind::exp ||
                  mix.getWeight() == pattern::WeightKind::sigmoid;
  pattern::walk(mix.getScore(), [&](ExprAttr expr) {
    if (expr.is(ExprKind::Call)) {
      llvm::StringRef name = expr.getName();
      count +=
          name == "exp" || name == "tanh" || name == "log" || name == "exp2" || name == "sigmoid";
    }
    return true;
  });
  return count;
}

/// What a mix carries from token to token, and the arithmetic of the last token with it.
void addState(pattern::MixOp mix, const DimExtents &dims, DType dtype, Cost &cost) {
  double heads = extent(mix.outputHeads(), dims), keyHeads = extent(mix.keyHeads(), dims);
  double d = extent(mix.keyWidth(), dims), e = extent(mix.valueWidth(), dims);
  double length = extent(mix.keyLength(), dims);
  if (int64_t room = roomForKeys(mix, dims)) // lengths are values, so the largest counts
    length = static_cast<double>(room);
  bool scan = mix.getWeight() == pattern::WeightKind::id;
  if (scan) {
    cost.stateBytes += 4 * heads * d * e;
    cost.stateFlops += 4 * heads * d * e;
  } else {
    cost.stateBytes += keyHeads * (d + e) * length * static_cast<double>(sizeOf(dtype));
    cost.stateFlops += 2 * heads * (d + e) * length;
  }
  double width = heads * d;
  cost.weightFlops += 2 * width * (heads * d + keyHeads * (d + e) + heads * e);
}

} // namespace

int64_t roomForKeys(pattern::MixOp mix, const DimExtents &dims) {
  auto keys = llvm::cast<pattern::ArrayType>(mix.getK().getType());
  if (mix.getLayout() == pattern::LayoutKind::ring)
    return static_cast<int64_t>(extent(keys.dim(0), dims));
  if (mix.getLayout() != pattern::LayoutKind::paged || mix.input("indptr"))
    return 0;
  auto table = llvm::cast<pattern::ArrayType>(mix.input("table").getType());
  const bool headsFirst = mix.getPageOrder() == pattern::PageOrder::hnd;
  return static_cast<int64_t>(extent(table.dim(table.rank() - 1), dims) *
                              extent(keys.dim(headsFirst ? 2 : 1), dims));
}

Result<Cost> costOf(pattern::DefOp def, const Bindings &bindings, DType dtype,
                    const std::string &form, int64_t chunk) {
  HEDDLE_TRY(dims, inferDims(def, bindings));
  HEDDLE_TRY(work, measureWork(def, bindings));
  Cost cost;
  cost.pairs = work.pairs;
  cost.flops = work.flops;
  cost.formFlops = work.formFlops(form, chunk);
  for (size_t n = 0; n < def.numArguments(); ++n)
    cost.bytes += bytesOf(def.argumentType(n), dims, dtype);
  for (mlir::Value value : def.returned().getResults())
    cost.bytes += bytesOf(llvm::cast<pattern::ArrayType>(value.getType()), dims, dtype);
  int64_t mixes = 0, special = 0;
  def.walk([&](pattern::MixOp mix) {
    addState(mix, dims, dtype, cost);
    special += specialFunctions(mix);
    ++mixes;
  });
  if (mixes > 0)
    cost.sfu =
        static_cast<double>(cost.pairs) * static_cast<double>(special) / static_cast<double>(mixes);
  return cost;
}

} // namespace heddle::compiler
