// Padding of tiles: which value stands in rows that valid(..) left out, once they reach a sum.
//   %K = load valid(%n) fill 0.0     zero along rows
//   %S = mma %Q[i, d], %K[j, d]      zero along j, since row j of S is a product with row j of K
//   %P = map exp2(%S[i, j])          filled along j: exp2(0) = 1, so a sum over j would be wrong
//   %s = map select(j < n, %S, -inf) masked along j, and so is exp2(%s)
#include "ir/tile/TilePadding.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/Matchers.h"

using namespace mlir;

namespace heddle::tile {
namespace {

/// The padding that decides when several values meet: the worst of them, but a mask hides Filled.
Padding worst(const Padding &a, const Padding &b) {
  auto rank = [](const Padding &padding) {
    switch (padding.kind) {
    case Padding::Inside:
      return 0;
    case Padding::Zero:
      return 1;
    case Padding::Filled:
      return 2;
    case Padding::Masked:
      return 3;
    case Padding::Unspecified:
      return 4;
    }
    return 4;
  };
  return rank(a) < rank(b) ? b : a;
}

Padding filled(const Padding &padding) {
  return padding.kind == Padding::Zero ? Padding{Padding::Filled, padding.source} : padding;
}

Padding clippedBy(Operation *source, size_t counts, std::optional<APFloat> fill, int64_t dim) {
  // A full loop promises that its tiles lie inside, whatever valid says.
  ForOp loop = source->getParentOfType<ForOp>();
  bool full = loop && loop.getKind() == LoopKind::Full;
  if (full || dim >= static_cast<int64_t>(counts))
    return {};
  if (!fill)
    return {Padding::Unspecified, source};
  return {fill->isZero() ? Padding::Zero : Padding::Filled, source};
}

/// The padding of one scalar of a map's region, given that of its arguments.
Padding scalarPadding(Operation *op, ArrayRef<Padding> operands) {
  if (isa<arith::SelectOp>(op)) {
    const bool otherwiseZero = matchPattern(op->getOperand(2), m_AnyZeroFloat());
    return operands[1].kind == Padding::Zero && otherwiseZero ? operands[1]
                                                              : Padding{Padding::Masked, nullptr};
  }
  Padding all;
  for (const Padding &operand : operands)
    all = worst(all, operand);
  auto isZero = [](const Padding &padding) { return padding.kind == Padding::Zero; };
  // 0 times anything that is specified is 0 (infinities are the writer's business).
  if (all.kind != Padding::Unspecified && isa<arith::MulFOp, arith::MulIOp>(op) &&
      llvm::any_of(operands, isZero))
    return *llvm::find_if(operands, isZero);
  if (all.kind != Padding::Zero && all.kind != Padding::Filled)
    return all;
  if (isa<arith::NegFOp, arith::ExtFOp, arith::TruncFOp, arith::SIToFPOp, arith::UIToFPOp,
          arith::ExtSIOp, arith::ExtUIOp>(op))
    return all;
  if (isa<arith::AddFOp, arith::SubFOp>(op) && llvm::all_of(operands, isZero))
    return all;
  if (isa<arith::MaximumFOp, arith::MinimumFOp>(op) && all.kind == Padding::Zero &&
      llvm::all_of(llvm::zip(op->getOperands(), operands), [&](auto pair) {
        return isZero(std::get<1>(pair)) || matchPattern(std::get<0>(pair), m_AnyZeroFloat());
      }))
    return all;
  return filled(all);
}

Padding mapPadding(MapOp map, unsigned result, int64_t dim) {
  DenseMap<Value, Padding> known;
  for (auto [n, input] : llvm::enumerate(map.getInputs())) {
    SmallVector<int64_t> positions = map.getInputPositions(n);
    auto found = llvm::find(positions, dim);
    known[map.getBody().getArgument(n)] =
        found == positions.end() ? Padding() : paddingOf(input, found - positions.begin());
  }
  for (Operation &op : map.getBody().front().without_terminator()) {
    SmallVector<Padding> operands;
    for (Value operand : op.getOperands())
      operands.push_back(known.lookup(operand));
    Padding padding = scalarPadding(&op, operands);
    for (Value value : op.getResults())
      known[value] = padding;
  }
  return known.lookup(map.getYield().getValues()[result]);
}

/// Along a dimension it keeps, a product is padded as the operand that has the dimension.
Padding mmaPadding(MmaOp mma, int64_t dim) {
  Attribute name = mma.getCDims()[dim];
  Padding product;
  auto consider = [&](Value operand, ArrayAttr dims) {
    const Attribute *found = llvm::find(dims, name);
    if (found != dims.end())
      product = worst(product, paddingOf(operand, found - dims.begin()));
  };
  consider(mma.getA(), mma.getADims());
  consider(mma.getB(), mma.getBDims());
  bool startsAtZero = false;
  if (FillOp fill = mma.getInit().getDefiningOp<FillOp>())
    startsAtZero = fill.getValue().isZero();
  if (startsAtZero)
    return product;
  // Zero columns added to something else are as that is.
  Padding init = paddingOf(mma.getInit(), dim);
  return product.kind == Padding::Zero ? init : worst(product, init);
}

Padding takePadding(TakeOp take, int64_t dim) {
  // Tiles of a full loop lie inside, though the ring also carries those of edge loops.
  ForOp loop = take->getParentOfType<ForOp>();
  if (loop && loop.getKind() == LoopKind::Full)
    return {};
  Padding padding;
  for (Operation *user : take.getRing().getUsers()) {
    PutOp put = dyn_cast<PutOp>(user);
    if (!put)
      continue;
    padding = worst(padding, isa<ViewType>(put.getSource().getType())
                                 ? clippedBy(put, put.getValid().size(), put.getFill(), dim)
                                 : paddingOf(put.getSource(), dim));
  }
  return padding;
}

/// Tokens whose row of the matrix and right-hand side are 0 solve to 0.
Padding solvePadding(SolveUnitLowerOp solve, int64_t dim) {
  const Padding rhs = paddingOf(solve.getRhs(), dim);
  if (dim == 1)
    return rhs;
  const Padding rows = paddingOf(solve.getLower(), 0);
  return rows.kind == Padding::Zero ? rhs : Padding();
}

/// Only a plain permutation keeps dimensions apart.
Padding reshapePadding(ReshapeOp reshape, int64_t dim) {
  ArrayRef<int64_t> from = reshape.getTile().getType().getShape();
  ArrayRef<int64_t> to = reshape.getType().getShape();
  std::optional<ArrayRef<int64_t>> permute = reshape.getPermute();
  if (!permute || from.size() != to.size())
    return {};
  for (auto [n, source] : llvm::enumerate(*permute))
    if (to[n] != from[source])
      return {};
  return paddingOf(reshape.getTile(), (*permute)[dim]);
}

LogicalResult refuse(Operation *op, const Twine &what, const Padding &padding) {
  bool unspecified = padding.kind == Padding::Unspecified;
  InFlightDiagnostic error = op->emitOpError()
                             << what << ", beyond whose valid elements an operand "
                             << (unspecified ? "is unspecified" : "is not 0")
                             << "; fill 0 or mask with arith.select";
  if (padding.source)
    error.attachNote(padding.source->getLoc()) << "clipped here";
  return error;
}

bool isHarmless(const Padding &padding) {
  return padding.kind != Padding::Unspecified && padding.kind != Padding::Filled;
}

} // namespace

Padding paddingOf(Value value, int64_t dim) {
  Operation *op = value.getDefiningOp();
  if (LoadOp load = dyn_cast_or_null<LoadOp>(op))
    return clippedBy(load, load.getValid().size(), load.getFill(), dim);
  if (MapOp map = dyn_cast_or_null<MapOp>(op))
    return mapPadding(map, cast<OpResult>(value).getResultNumber(), dim);
  if (MmaOp mma = dyn_cast_or_null<MmaOp>(op))
    return mmaPadding(mma, dim);
  if (TakeOp take = dyn_cast_or_null<TakeOp>(op))
    return takePadding(take, dim);
  if (ReshapeOp reshape = dyn_cast_or_null<ReshapeOp>(op))
    return reshapePadding(reshape, dim);
  if (isa_and_nonnull<SliceOp, ConvertOp>(op))
    return paddingOf(op->getOperand(0), dim);
  if (DecodeOp decode = dyn_cast_or_null<DecodeOp>(op))
    // A code of 0 is not the value 0 once it has a zero point or a table.
    return decode.getZero() || decode.getTable() ? filled(paddingOf(decode.getCodes(), dim))
                                                 : paddingOf(decode.getCodes(), dim);
  if (SolveUnitLowerOp solve = dyn_cast_or_null<SolveUnitLowerOp>(op))
    return solvePadding(solve, dim);
  if (ScanOp scan = dyn_cast_or_null<ScanOp>(op)) {
    Padding padding = paddingOf(scan.getTile(), dim);
    return dim == static_cast<int64_t>(scan.getDim()) ? filled(padding) : padding;
  }
  if (ReduceOp reduce = dyn_cast_or_null<ReduceOp>(op)) {
    if (reduce.getInit().getType().getRank() == reduce.getTile().getType().getRank())
      return dim == static_cast<int64_t>(reduce.getDim()) ? Padding()
                                                          : paddingOf(reduce.getTile(), dim);
    return paddingOf(reduce.getTile(), dim < static_cast<int64_t>(reduce.getDim()) ? dim : dim + 1);
  }
  return {};
}

LogicalResult verifyPadding(MmaOp mma) {
  for (StringRef name : mma.getContracted()) {
    StringAttr key = StringAttr::get(mma.getContext(), name);
    for (auto [operand, dims] :
         {std::pair(mma.getA(), mma.getADims()), std::pair(mma.getB(), mma.getBDims())}) {
      Padding padding = paddingOf(operand, llvm::find(dims, key) - dims.begin());
      if (!isHarmless(padding))
        return refuse(mma, "contracts dimension '" + name + "'", padding);
    }
  }
  return success();
}

LogicalResult verifyPadding(ReduceOp reduce) {
  Padding padding = paddingOf(reduce.getTile(), reduce.getDim());
  bool sum = reduce.getKind() == Reduction::Sum;
  if (sum ? isHarmless(padding) : padding.kind != Padding::Unspecified)
    return success();
  return refuse(reduce, "runs along dimension " + Twine(reduce.getDim()), padding);
}

} // namespace heddle::tile
