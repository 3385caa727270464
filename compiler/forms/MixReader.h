// Reads one mix as weights of pairs. Inner to this folder, as GraphReader.
#pragma once

#include "compiler/forms/GraphReader.h"

#include <optional>

namespace heddle::compiler {

class MixReader {
public:
  MixReader(GraphReader &reader, pattern::MixOp mix)
      : reader(reader), graph(reader.graph), context(reader.context), mix(mix) {
    problem.mix = mix;
  }
  /// Appends the mix, and the stages that it needs before it.
  Status run();

private:
  struct Shape {
    Extent length, heads, width;
  };

  Status checkAttributes();
  Result<Shape> shapeOf(mlir::Value value, const char *role);
  Status readLayout();
  Status readGroup();
  Status chooseElement();
  Expr lengthOfKeys();
  Status readExpressions(Expr score);
  Expr resolved(Expr expr) {
    expr = reader.readExpr(expr, mix.getReads(), mix.getReadNames());
    return expr && !ancestors.empty() ? inTree(expr) : expr;
  }

  // ---- trees of queries (MixTree.cpp) ----
  Status readTree();
  Expr inTree(Expr expr);
  Expr placeOf(Expr at);

  // ---- ring caches (MixRing.cpp) ----
  void readRing();
  Expr keyOf(Expr j);
  Expr inRing(Expr support);

  // ---- operands (MixOperands.cpp) ----
  Expr elementExpr(mlir::Value value, const char *role, const char *token, const char *head,
                   Expr codec);
  Status readOperand(Operand &operand, mlir::Value value, const char *role, const char *token,
                     const char *head, Expr codec, mlir::ArrayAttr features);
  Status mapFeatures(Operand &operand, const char *role, const char *token, const char *head,
                     mlir::ArrayAttr features, const Shape &shape);
  Status readValues();

  // ---- decays (MixDecay.cpp) ----
  Status readDecay(Expr hk, Expr constant);
  void readProduct(const std::string &g);
  Expr decayedTo(Expr i);
  Expr decaySince(Expr at, Expr h, Expr d);
  Expr decayBetween(Expr to, Expr from, Expr h, Expr d);
  Expr prefixAt(Expr at, Expr h, Expr d);
  Expr prefixPart(const std::string &tensor, Expr at, Expr h, Expr d);

  // ---- two taps (MixTaps.cpp) ----
  Status readTaps();
  Expr tapAt(const char *role, Expr token, Expr h);
  Expr tapStart(mlir::Value start, bool matrix);
  Status leaveTaps();

  // ---- sub-tokens (MixSubtokens.cpp) ----
  Status readSubtokens();
  /// Sub-tokens of an operand that has such an axis; else 0.
  int64_t rowsOf(const char *role) const { return role[0] == 'q' ? readouts : writes; }
  Expr inTokens(Expr expr);
  Status leaveSubtokens();

  // ---- segments (MixSegments.cpp) ----
  Status readSegments();

  // ---- states (MixStates.cpp) ----
  Expr headOf(Expr h, const Extent &heads);
  Expr readerOf(Expr h);
  Expr elementAt(const Operand &operand, Expr j, Expr head, Expr d);
  Expr slopeOf(Expr score);
  Expr decayOfStart(Expr at, Expr h, Expr d);
  Status addStart(mlir::Value start, bool matrix, std::string &name);
  Status addState(mlir::Value output, mlir::Value start, bool matrix);
  Status readStates(mlir::ArrayAttr featuresQ, mlir::ArrayAttr featuresK);

  GraphReader &reader;
  Graph &graph;
  mlir::MLIRContext *context;
  pattern::MixOp mix;
  MixProblem problem;
  std::string ancestors, depths; ///< workspace of the tree of queries; empty: none
  PrefixStage prefix;            ///< of the decays, and the head of a row in them
  Expr prefixHead;
  /// Of keys; null: none.
  struct {
    Expr keep, turn, base, next;
  } ring;
  std::string tapJoint, tapDecay;   ///< workspace of two taps; empty: none
  int64_t writes = 0, readouts = 0; ///< rows of a token, side by side; 0: it is one
  std::optional<MapStage> result;   ///< of the mix's rows
};

} // namespace heddle::compiler
