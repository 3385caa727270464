// Prefix sums and triangular systems.
//
//   scan of a vector     each lane sums its neighbours, then lanes by shuffles
//   scan along rows      a column in one thread
//   solve_unit_lower     by blocks of 16 tokens
#include "compiler/targets/cuda/KernelEmitter.h"
#include "compiler/targets/cuda/Scalars.h"

namespace heddle::compiler::cuda {

using namespace mlir;

namespace {

std::string combined(tile::Reduction kind, bool real, const std::string &x, const std::string &y) {
  switch (kind) {
  case tile::Reduction::Max:
    return fmt::format("{}({}, {})", real ? "fmaxf" : "max", x, y);
  case tile::Reduction::Min:
    return fmt::format("{}({}, {})", real ? "fminf" : "min", x, y);
  default:
    return fmt::format("{} + {}", x, y);
  }
}

} // namespace

Status KernelEmitter::scan(tile::ScanOp op) {
  Fragment fragment(op.getType());
  const int64_t dim = op.getDim(), rank = fragment.type.getRank();
  if (op.getKind() != tile::Reduction::Sum)
    return unsupported(op, "prefix maxima");
  const bool real = isa<FloatType>(fragment.type.getElementType());
  std::string type = typeText(fragment.type.getElementType());
  const Step *own = nullptr, *lanes = nullptr;
  for (const Step &step : fragment.values)
    if (step.dim == dim)
      own = &step;
  for (const Step &step : fragment.threads)
    if (step.dim == dim)
      lanes = &step;
  if (lanes && (lanes->lane != 1 || (own && own->step != 1)))
    return unsupported(op, "prefix sums of elements that neighbouring lanes do not hold");
  Fragment others = fragment;
  llvm::erase_if(others.values, [&](const Step &step) { return step.dim == dim; });
  SmallVector<int64_t> identity = llvm::to_vector(llvm::seq<int64_t>(0, rank));
  if (!takePlace(op.getResult(), op.getTile()))
    declareTile(op.getResult(), nameFor(op.getResult(), "prefix"));
  std::string result = names[op.getResult()], sum = fresh("sum"), index;
  int outside = openLoops(others);
  out.line("{} {} = 0;", type, sum);
  // The thread's own elements, in the direction of the sum.
  std::string n = fresh("n");
  if (own) {
    out.unrolled(n, own->extent);
    index = op.getReverse() ? fmt::format("{} - {}", own->extent - 1, n) : n;
  }
  Indices at;
  if (own)
    at.push_back({own->variable, index});
  std::string next = fresh("next");
  out.line("const {} {} = {};", type, next, element(op.getTile(), identity, fragment, at));
  if (op.getExclusive())
    out.line("{}{} = {};", result, subscript(fragment, at), sum);
  out.line("{} = {};", sum, combined(op.getKind(), real, sum, next));
  if (!op.getExclusive())
    out.line("{}{} = {};", result, subscript(fragment, at), sum);
  if (own)
    out.close();
  if (lanes) {
    // The sums of the lanes before.
    const char *shift = op.getReverse() ? "__shfl_down_sync" : "__shfl_up_sync";
    std::string lane = lanes->extent == 32 ? "lane" : fmt::format("lane % {}", lanes->extent);
    const auto reaches = [&](int64_t distance) {
      return op.getReverse() ? fmt::format("{} < {}", lane, lanes->extent - distance)
                             : fmt::format("{} >= {}", lane, distance);
    };
    std::string far = fresh("far");
    out.line("{} {};", type, far);
    for (int64_t distance = 1; distance < lanes->extent; distance *= 2) {
      if (real) { // segments of `extent` lanes: c of shfl, PTX ISA 9.7.9.6
        const int64_t segments = (32 - lanes->extent) << 8, last = op.getReverse() ? 31 : 0;
        out.line("{0} = add_lane_{1}({0}, {2}, {3});", sum, op.getReverse() ? "above" : "below",
                 distance, segments | last);
        continue;
      }
      out.line("{} = {}(0xffffffffu, {}, {}, {});", far, shift, sum, distance, lanes->extent);
      out.line("{0} += {1} ? {2} : 0;", sum, reaches(distance), far);
    }
    out.line("{} = {}(0xffffffffu, {}, 1, {});", far, shift, sum, lanes->extent);
    out.line("{0} = {1} ? {0} : 0;", far, reaches(1));
    if (own)
      out.unrolled(own->variable, own->extent);
    out.line("{}{} += {};", result, subscript(fragment, {}), far);
    if (own)
      out.close();
  }
  out.close(outside);
  return {};
}

/// Blocks of 16 tokens: the inverses of those on the diagonal by substitution, in f32; all else by
/// products. Columns of a right-hand side are rows of fragments.
Status KernelEmitter::solve(tile::SolveUnitLowerOp op) {
  Fragment fragment(op.getType());
  const int64_t tokens = fragment.type.getDim(0);
  if (!fragment.isAccumulator() || fragment.columnDim != 0 || tokens % 16 != 0 ||
      !warpOffset(fragment, 0).empty())
    return unsupported(op, "right-hand sides that are no columns of fragments");
  if (!takePlace(op.getResult(), op.getRhs())) {
    declareTile(op.getResult(), nameFor(op.getResult(), "solved"));
    copyTile(op.getRhs(), names[op.getResult()], fragment, false);
  }
  Matrix lower = matrix(op.getLower());
  const int64_t offset = op->getAttrOfType<IntegerAttr>("tile.offset").getInt();
  const std::string high = fmt::format("smem + {}", offset),
                    low = fmt::format("smem + {}", offset + tokens * (2 * tokens + 16));
  out.line("prepare_solve<{}, {}, {}>({}, {}, {});", tokens, lower.rows.pitch, 32 * warpCount,
           lower.base, high, low);
  out.line("__syncthreads();");
  const Step *rowBlocks = fragment.value(1, 16);
  if (rowBlocks)
    out.unrolled("m", rowBlocks->extent);
  out.line("solve_rows<{}>({}{}, {}, {});", tokens, names[op.getResult()], rowBlocks ? "[m]" : "",
           high, low);
  if (rowBlocks)
    out.close();
  return {};
}

} // namespace heddle::compiler::cuda
