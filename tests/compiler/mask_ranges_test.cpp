// MaskRanges against brute force: random zones of rows and keys, random tiles. A range must hold
// every key that some row of its group sees; where each row sees one, it must not hold one more.
#include "compiler/targets/cpu/MaskRanges.h"
#include "tests/support/Test.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Parser/Parser.h"

#include <fmt/format.h>

#include <random>

using namespace mlir;
using namespace heddle;
using namespace heddle::compiler::cpu;

namespace {

constexpr int64_t kColumns = 96, kGroup = 2, kLanes = 16;

/// sign * (j - i) <= bound, with i = i0 + row and j = j0 + column.
struct Limit {
  int64_t sign, bound;
  bool holds(int64_t i, int64_t j) const { return sign * (j - i) <= bound; }
};

std::string conditionText(const std::vector<Limit> &limits) {
  std::string text;
  for (auto [n, limit] : llvm::enumerate(limits)) {
    bool upper = limit.sign > 0; // j <= i + bound; else j >= i - bound
    text += fmt::format("%b{0} = arith.constant {1} : i32\n%t{0} = arith.addi %i, %b{0} : i32\n"
                        "%c{0} = arith.cmpi {2}, %j, %t{0} : i32\n",
                        n, upper ? limit.bound : -limit.bound, upper ? "sle" : "sge");
    text += n ? fmt::format("%k{} = arith.andi %k{}, %c{} : i1\n", n, n - 1, n)
              : std::string("%k0 = arith.andi %c0, %c0 : i1\n");
  }
  return text;
}

/// A masked score, its maximum and the sum of its exponentials, as layouts leave them.
std::string kernelText(const std::vector<Limit> &limits, int64_t rows) {
  std::string s =
      fmt::format("!tile.tile<{}x{}xf32, #tile.lanes<dim = 0, 16>, local>", rows, kColumns);
  std::string r = fmt::format("!tile.tile<{}xf32, #tile.lanes<dim = 0, 16>, reg>", rows);
  std::string i = fmt::format("!tile.tile<{}xi32, #tile.lanes<dim = 0, 16>, reg>", rows);
  std::string j = fmt::format("!tile.tile<{}xi32, #tile.lanes<dim = 0, 1>, reg>", kColumns);
  return fmt::format(R"(
tile.program @p {{
  tile.extent "i0"
  tile.extent "j0"
  tile.kernel @k grid(%g = 1) stage(concrete) {{
    %low = arith.constant 0xFF800000 : f32
    %i0 = tile.scalar "i0" : index
    %j0 = tile.scalar "j0" : index
    %ii = tile.index %i0 : {2}
    %jj = tile.index %j0 : {3}
    %m0 = tile.fill -inf : {1}
    %S = tile.fill 1.0 : {0}
    %s = tile.map (%x = %S[i, j], %i = %ii[i], %j = %jj[j]) -> [i, j] : ({0}, {2}, {3}) -> {0} {{
      {4}
      %y = arith.select %k{5}, %x, %low : f32
      tile.yield %y : f32
    }}
    %m = tile.reduce max %s dim(1) init %m0 : {0}, {1}
  }}
}})",
                     s, r, i, j, conditionText(limits), limits.size() - 1);
}

/// The value of an index built from constants.
int64_t valueOf(Value value) {
  Operation *op = value.getDefiningOp();
  auto at = [&](unsigned n) { return valueOf(op->getOperand(n)); };
  if (auto constant = dyn_cast<arith::ConstantOp>(op))
    return cast<IntegerAttr>(constant.getValue()).getInt();
  if (isa<arith::AddIOp>(op))
    return at(0) + at(1);
  if (isa<arith::MulIOp>(op))
    return at(0) * at(1);
  if (isa<arith::MinSIOp>(op))
    return std::min(at(0), at(1));
  if (isa<arith::MaxSIOp>(op))
    return std::max(at(0), at(1));
  if (isa<arith::AndIOp>(op))
    return at(0) & at(1);
  FAIL("an op that ranges do not use: " << op->getName().getStringRef().str());
  return 0;
}

struct Range {
  int64_t begin, end;
};

/// What the code under test computes for a tile at (i0, j0); nothing if it sees no bounds.
std::vector<Range> rangesOf(const std::vector<Limit> &limits, int64_t rows, int64_t i0,
                            int64_t j0) {
  MLIRContext context(MLIRContext::Threading::DISABLED);
  context.loadDialect<tile::TileDialect, arith::ArithDialect, math::MathDialect, func::FuncDialect,
                      LLVM::LLVMDialect>();
  ParserConfig config(&context, /*verifyAfterParse=*/false);
  OwningOpRef<ModuleOp> module = parseSourceString<ModuleOp>(kernelText(limits, rows), config);
  REQUIRE(module);
  tile::MapOp map;
  module->walk([&](tile::MapOp op) { map = op; });
  SmallVector<MaskBound> bounds = maskBounds(map, /*lanesDim=*/0);
  std::vector<Range> ranges;
  if (bounds.empty())
    return ranges;
  OpBuilder builder(&context);
  builder.setInsertionPointToEnd(module->getBody());
  Location loc = builder.getUnknownLoc();
  auto function = func::FuncOp::create(builder, loc, "f", builder.getFunctionType({}, {}));
  builder.setInsertionPointToEnd(function.addEntryBlock());
  Isa isa{Isa::Avx512, false, false, false, "generic"};
  VectorBuilder e(builder, loc, isa);
  IRMapping scalars;
  module->walk([&](tile::ScalarOp op) {
    scalars.map(op.getResult(), e.integer(op.getName() == "i0" ? i0 : j0));
  });
  LaneRanges found = emitRanges(e, scalars, bounds, rows, kColumns, kGroup);
  for (auto [begin, end] : found.bounds)
    ranges.push_back({valueOf(begin), valueOf(end)});
  return ranges;
}

void check(const std::vector<Limit> &limits, int64_t rows, int64_t i0, int64_t j0) {
  std::vector<Range> ranges = rangesOf(limits, rows, i0, j0);
  INFO("rows " << rows << " from " << i0 << ", keys from " << j0 << ": " << conditionText(limits));
  REQUIRE(ranges.size() == static_cast<size_t>((rows + kGroup * kLanes - 1) / (kGroup * kLanes)));
  for (size_t group = 0; group < ranges.size(); ++group) {
    int64_t first = kColumns, last = -1, from = group * kGroup * kLanes;
    bool allSee = true;
    for (int64_t row = from; row < std::min<int64_t>(from + kGroup * kLanes, rows); ++row) {
      bool sees = false;
      for (int64_t column = 0; column < kColumns; ++column) {
        if (!llvm::all_of(limits, [&](Limit l) { return l.holds(i0 + row, j0 + column); }))
          continue;
        sees = true;
        first = std::min(first, column);
        last = std::max(last, column);
      }
      allSee &= sees;
    }
    if (last < 0)
      continue;
    CHECK(ranges[group].begin <= first);
    CHECK(ranges[group].end > last);
    if (allSee) {
      CHECK(ranges[group].begin == (first & ~int64_t(1))); // pairs start even
      CHECK(ranges[group].end == std::min((last + 2) & ~int64_t(1), kColumns));
    }
  }
}

} // namespace

TEST_CASE("edge tiles are cut at the first and the last key that a group of rows sees") {
  std::mt19937 random(7);
  auto between = [&](int64_t lo, int64_t hi) {
    return std::uniform_int_distribution<int64_t>(lo, hi)(random);
  };
  for (int round = 0; round < 300; ++round) {
    std::vector<Limit> limits;
    if (between(0, 3) > 0)
      limits.push_back({1, between(-40, 40)});
    if (limits.empty() || between(0, 1))
      limits.push_back({-1, between(-40, 120)});
    int64_t i0 = between(0, 300), rows = 16 * between(1, 5) - between(0, 15);
    check(limits, rows, i0, i0 + between(-96, 64));
  }
}
