// Products of features, phi(q) . phi(k) = (q . k)^p, block by block: never a whole row of them is
// there. The rows of a state are the tuples a_1 <= .. <= a_p in order, each weighing
// sqrt(p! / prod n_i!), n_i how often a feature stands in it; a block is a run of the last index:
//
//   p = 2, 5 features, blocks of 4:   (0; 0..3) (0; 4) (1; 1..4) (2; 2..4) (3; 3..4) (4; 4)
//   phi block = x_a (x_b w_b), b = 0 .. 3
//
// taylor2 is [1, c x, c^2 x x' / sqrt(2)], the products over all pairs if it is kept whole.
#pragma once

#include "compiler/forms/ScanKernel.h"

namespace heddle::compiler {

/// One block of features for some rows.
struct PowerBlock {
  llvm::SmallVector<mlir::Value> digits; ///< all indices but the last
  mlir::Value last;                      ///< first of the last index
  mlir::Value row;                       ///< of the state, where the block begins
  mlir::Value count;                     ///< rows of it that are there
  mlir::Value weights;                   ///< [width], null for 1
};

class PowerFeatures {
public:
  PowerFeatures(ScanKernel &kernel, const ScanProblem &scan);

  int64_t width() const { return W; } ///< features of a block

  /// For each block of products, with tiles that are carried.
  llvm::SmallVector<mlir::Value>
  forBlocks(mlir::ValueRange start,
            llvm::function_ref<llvm::SmallVector<mlir::Value>(const PowerBlock &, mlir::ValueRange)>
                body);

  /// phi of rows `first` .. of a view that has features last, [rows, width]: `view(d)` keeps the
  /// rows alone if the feature is given. Rows from `valid` on, and features that are not there,
  /// are 0.
  using View = llvm::function_ref<mlir::Value(mlir::Value feature)>;
  mlir::Value block(const PowerBlock &at, const ProblemTensor &tensor, View view, mlir::Value first,
                    int64_t rows, mlir::Value valid, bool query);

  /// (q . k)^p, or 1 + c s + (c s)^2 / 2, of an s inside a region.
  mlir::Value ofProduct(mlir::OpBuilder &b, mlir::Location at, mlir::Value s);

  bool hasLinear() const { return scan.polynomial.taylor; }
  /// c of queries or keys; null without.
  mlir::Value scale(bool query) const { return query ? scaleQ : scaleK; }

private:
  mlir::Value weightsOf(const PowerBlock &at);
  int64_t blocks() const;
  bool whole() const { return scan.polynomial.whole; }

  ScanKernel &kernel;
  KernelWriter &w;
  const ScanProblem &scan;
  int64_t W;
  mlir::Value scaleQ, scaleK;
};

} // namespace heddle::compiler
