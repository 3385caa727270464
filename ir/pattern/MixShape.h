// Shapes of a mix: what follows from its operands' types, and what does not agree. Used while
// parsing, by the verifier, and by MixOp's readers. Internal to ir/pattern.
#pragma once

#include "ir/pattern/PatternDialect.h"

#include "llvm/ADT/StringMap.h"

#include <string>
#include <variant>

namespace heddle::pattern {

struct MixFacts {
  llvm::StringMap<ArrayType> inputs; ///< by role
  ExprAttr writes, readouts, aliasSize;
  mlir::ArrayAttr featuresQ, featuresK;
  LayoutKind layout = LayoutKind::dense;
  PageOrder pageOrder = PageOrder::nhd;
  DecayKind decay = DecayKind::None;
  ExprAttr decayExpr; ///< of a constant decay
  SegmentKind segment = SegmentKind::None;
  ExprAttr segmentArg;
  mlir::Type stateType;

  ArrayType input(llvm::StringRef role) const { return inputs.lookup(role); }
};
MixFacts factsOf(MixOp op);

struct MixShape {
  bool batched = true;
  bool writeAxis = false, readAxis = false;
  ExprAttr queryLength, keyLength; ///< keyLength is Var len_k for paged and ring
  ExprAttr queryHeads, keyHeads, valueHeads, outputHeads, stateHeads;
  ExprAttr keyWidth, valueWidth, featureWidth; ///< width before and after k's feature maps
};

/// What does not agree: the role of the operand it shows at ("" the op), and the message.
struct MixMistake {
  std::string role;
  std::string text;
};

/// `canon` brings extents to the form in which equal ones are the same pointer.
using Canon = llvm::function_ref<ExprAttr(ExprAttr)>;
std::variant<MixShape, MixMistake> shapeOf(const MixFacts &facts, Canon canon);
/// The mistake in the shapes of the operands besides q, k and v; empty text if there is none.
MixMistake checkInputs(const MixFacts &facts, const MixShape &shape, Canon canon);
/// Type of the result (or of the initial state in_*) of that role.
ArrayType resultType(const MixFacts &facts, const MixShape &shape, llvm::StringRef role);

/// Width after the feature maps; the mistake in words if it is not known.
struct Width {
  ExprAttr width;
  std::string mistake;
};
Width widthAfter(mlir::ArrayAttr features, ExprAttr width);

} // namespace heddle::pattern
