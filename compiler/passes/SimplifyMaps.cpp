// SimplifyMaps: arithmetic of maps. Constant factors meet and are folded, exp and log become exp2
// and log2, a map that only one other map reads joins it, and what is left over is folded and
// cleaned up.
//
//   x * 0.125 / 50 -> tanh -> * 50 * log2 e    becomes    x * 0.0025 -> tanh -> * 72.13
//   keep = map mask {..}; s = map(S, keep)     becomes    s = map(S, ..) with the mask inside
#include "compiler/passes/Passes.h"
#include "ir/tile/TileDialect.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/Matchers.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "mlir/Transforms/Passes.h"

#include <numbers>

namespace heddle::compiler {

using namespace mlir;

std::optional<double> floatConstant(Value value) {
  FloatAttr attr;
  if (matchPattern(value, m_Constant(&attr)))
    return attr.getValueAsDouble();
  return std::nullopt;
}

namespace {

/// value = factor * rest, for a product with a constant, a quotient by one, or a negation.
struct Factored {
  double factor;
  Value rest;
};

std::optional<Factored> factored(Value value) {
  if (auto product = value.getDefiningOp<arith::MulFOp>()) {
    if (std::optional<double> c = floatConstant(product.getRhs()))
      return Factored{*c, product.getLhs()};
    if (std::optional<double> c = floatConstant(product.getLhs()))
      return Factored{*c, product.getRhs()};
  }
  if (auto quotient = value.getDefiningOp<arith::DivFOp>())
    if (std::optional<double> c = floatConstant(quotient.getRhs()); c && *c != 0)
      return Factored{1 / *c, quotient.getLhs()};
  if (auto negated = value.getDefiningOp<arith::NegFOp>())
    return Factored{-1, negated.getOperand()};
  return std::nullopt;
}

Value constantLike(PatternRewriter &rewriter, Location location, Type type, double value) {
  return arith::ConstantOp::create(rewriter, location, rewriter.getFloatAttr(type, value));
}

/// Two constant factors in a row become one. Only f32: narrower types would round the factor.
struct FoldFactors : OpRewritePattern<arith::MulFOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(arith::MulFOp op, PatternRewriter &rewriter) const override {
    std::optional<Factored> outer = factored(op.getResult());
    if (!outer || !op.getType().isF32())
      return failure();
    std::optional<Factored> inner = factored(outer->rest);
    if (!inner)
      return failure();
    Value factor = constantLike(rewriter, op.getLoc(), op.getType(), outer->factor * inner->factor);
    rewriter.replaceOpWithNewOp<arith::MulFOp>(op, inner->rest, factor);
    return success();
  }
};

/// x / c becomes x * (1 / c).
struct DivideByConstant : OpRewritePattern<arith::DivFOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(arith::DivFOp op, PatternRewriter &rewriter) const override {
    std::optional<double> divisor = floatConstant(op.getRhs());
    if (!divisor || *divisor == 0 || !op.getType().isF32())
      return failure();
    Value factor = constantLike(rewriter, op.getLoc(), op.getType(), 1 / *divisor);
    rewriter.replaceOpWithNewOp<arith::MulFOp>(op, op.getLhs(), factor);
    return success();
  }
};

/// exp(x) = exp2(x log2 e).
struct ExpToExp2 : OpRewritePattern<math::ExpOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(math::ExpOp op, PatternRewriter &rewriter) const override {
    Value factor = constantLike(rewriter, op.getLoc(), op.getType(), std::numbers::log2e);
    Value scaled = arith::MulFOp::create(rewriter, op.getLoc(), op.getOperand(), factor);
    rewriter.replaceOpWithNewOp<math::Exp2Op>(op, scaled);
    return success();
  }
};

/// log(x) = log2(x) ln 2.
struct LogToLog2 : OpRewritePattern<math::LogOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(math::LogOp op, PatternRewriter &rewriter) const override {
    Value factor = constantLike(rewriter, op.getLoc(), op.getType(), std::numbers::ln2);
    Value log = math::Log2Op::create(rewriter, op.getLoc(), op.getOperand());
    rewriter.replaceOpWithNewOp<arith::MulFOp>(op, log, factor);
    return success();
  }
};

/// A map read by one operand of one map, over the same dimensions, joins it.
struct JoinMaps : OpRewritePattern<tile::MapOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(tile::MapOp map, PatternRewriter &rewriter) const override {
    for (auto [n, input] : llvm::enumerate(map.getInputs())) {
      auto producer = input.getDefiningOp<tile::MapOp>();
      if (producer && joinable(producer, map, n)) {
        join(producer, map, n, rewriter);
        return success();
      }
    }
    return failure();
  }

  static bool joinable(tile::MapOp producer, tile::MapOp map, unsigned operand) {
    return producer->getNumResults() == 1 && producer->getResult(0).hasOneUse() &&
           producer->getBlock() == map->getBlock() &&
           map.getInputDims()[operand] == map.getDims() &&
           producer.getDims().size() == map.getDims().size();
  }

  /// Names of dims of the producer in terms of the map's.
  static ArrayAttr renamed(Builder &builder, ArrayAttr names, tile::MapOp producer,
                           tile::MapOp map) {
    llvm::SmallVector<Attribute> result;
    for (Attribute name : names) {
      size_t position = llvm::find(producer.getDims(), name) - producer.getDims().begin();
      result.push_back(map.getDims()[position]);
    }
    return builder.getArrayAttr(result);
  }

  static void join(tile::MapOp producer, tile::MapOp map, unsigned operand,
                   PatternRewriter &rewriter) {
    llvm::SmallVector<Value> inputs(map.getInputs());
    llvm::SmallVector<Attribute> dims(map.getInputDims().begin(), map.getInputDims().end());
    inputs.erase(inputs.begin() + operand);
    dims.erase(dims.begin() + operand);
    for (auto [input, names] : llvm::zip(producer.getInputs(), producer.getInputDims())) {
      inputs.push_back(input);
      dims.push_back(renamed(rewriter, cast<ArrayAttr>(names), producer, map));
    }
    auto joined = tile::MapOp::create(rewriter, map.getLoc(), map.getResultTypes(), inputs,
                                      rewriter.getArrayAttr(dims), map.getDims());
    joined.setMask(map.getMask());
    OpBuilder::InsertionGuard guard(rewriter);
    Block *body = joined.getBody().empty() ? rewriter.createBlock(&joined.getBody())
                                           : &joined.getBody().front();
    if (body->getNumArguments() == 0)
      for (Value input : inputs)
        body->addArgument(cast<tile::TileType>(input.getType()).getElementType(), map.getLoc());
    rewriter.setInsertionPointToEnd(body);
    IRMapping mapping;
    size_t own = map.getInputs().size() - 1;
    for (auto [n, argument] : llvm::enumerate(producer.getBody().front().getArguments()))
      mapping.map(argument, body->getArgument(own + n));
    for (Operation &op : producer.getBody().front().without_terminator())
      rewriter.clone(op, mapping);
    Value value = mapping.lookupOrDefault(producer.getYield().getValues()[0]);
    for (auto [n, argument] : llvm::enumerate(map.getBody().front().getArguments()))
      mapping.map(argument, n == operand ? value : body->getArgument(n < operand ? n : n - 1));
    for (Operation &op : map.getBody().front())
      rewriter.clone(op, mapping);
    rewriter.replaceOp(map, joined);
    rewriter.eraseOp(producer);
  }
};

/// The same tile read under the same names is one operand.
struct JoinOperands : OpRewritePattern<tile::MapOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(tile::MapOp map, PatternRewriter &rewriter) const override {
    Block &body = map.getBody().front();
    for (unsigned n = 0; n < map.getInputs().size(); ++n) {
      unsigned first = 0;
      while (map.getInputs()[first] != map.getInputs()[n] ||
             map.getInputDims()[first] != map.getInputDims()[n])
        ++first;
      bool unused = body.getArgument(n).use_empty() && map.getInputs().size() > 1;
      if (first == n && !unused)
        continue;
      rewriter.modifyOpInPlace(map, [&] {
        body.getArgument(n).replaceAllUsesWith(body.getArgument(first));
        body.eraseArgument(n);
        llvm::SmallVector<Attribute> dims(map.getInputDims().begin(), map.getInputDims().end());
        dims.erase(dims.begin() + n);
        map.setInputDimsAttr(rewriter.getArrayAttr(dims));
        map.getInputsMutable().erase(n);
      });
      return success();
    }
    return failure();
  }
};

struct SimplifyMapsPass : PassWrapper<SimplifyMapsPass, OperationPass<>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(SimplifyMapsPass)
  llvm::StringRef getArgument() const override { return "simplify-maps"; }
  llvm::StringRef getDescription() const override {
    return "folds constant factors, exp to exp2, joins maps";
  }
  void getDependentDialects(DialectRegistry &registry) const override {
    registry.insert<arith::ArithDialect, math::MathDialect>();
  }

  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<FoldFactors, DivideByConstant, ExpToExp2, LogToLog2, JoinMaps, JoinOperands>(
        &getContext());
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      return signalPassFailure();
    OpPassManager clean(getOperation()->getName().getIdentifier());
    clean.addPass(createCanonicalizerPass());
    clean.addPass(createCSEPass());
    if (failed(runPipeline(clean, getOperation())))
      signalPassFailure();
  }
};

} // namespace

std::unique_ptr<Pass> createSimplifyMapsPass() { return std::make_unique<SimplifyMapsPass>(); }

} // namespace heddle::compiler
