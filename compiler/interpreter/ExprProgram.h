// An expression made ready to be evaluated many times: names are resolved once, and whole rows of
// values ("lanes", e.g. all keys j of one query) are computed by tight loops, so that a score costs
// about a nanosecond an operation and pair. What does not vary along the lanes, or has not changed
// since the last run, is not computed again.
#pragma once

#include "compiler/interpreter/Value.h"
#include "ir/pattern/Expr.h"
#include "runtime/Result.h"

#include <array>
#include <limits>
#include <map>
#include <optional>

namespace heddle::compiler {

inline constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// The name of a Var, Param, Dim, Read, Call, reduction or Let; empty for others.
inline llvm::StringRef nameOf(pattern::ExprAttr expr) {
  return expr.getSymbol() ? expr.getSymbol().getValue() : llvm::StringRef();
}

/// Most lanes computed at a time.
inline constexpr int64_t kLanes = 256;

/// What the names of an expression mean.
struct ExprScope {
  /// A name whose value is set before a run: one number, or one a lane.
  struct Variable {
    std::string name;
    bool lanes = false;
  };
  struct Tensor {
    Value value;
    bool batched = false; ///< has a leading batch dim
  };
  std::vector<Variable> variables;       ///< their positions are the slots of set() and run()
  std::map<std::string, double> scalars; ///< parameters, lets and dims
  std::map<std::string, Tensor> tensors;
  std::string batch = "b"; ///< the variable that reads without a batch index take it from
  /// Parent of each node of a tree of queries, for ancestor() and depth(); [T] or [B, T].
  std::optional<Tensor> parents;

  int slot(const std::string &name) const;
};

/// One number a lane for the variable in that slot.
struct LaneInput {
  int slot;
  const double *values;
};

class ExprProgram {
public:
  static Result<ExprProgram> compile(pattern::ExprAttr expr, const ExprScope &scope);

  /// Sets a variable that is one number.
  void set(int slot, double value);
  /// out[n] = the value in lane n. Truth values are 0 and 1.
  void run(std::span<const LaneInput> inputs, int64_t count, double *out);
  /// The value of an expression that does not vary along the lanes.
  double scalar();
  /// True if the value varies along the lanes; false: scalar() says it all.
  bool varies() const { return nodes[root].frame >= 0; }
  /// True if the value depends on the variable in that slot.
  bool uses(int slot) const;
  /// Rough number of operations of one lane.
  double cost() const { return operations; }

private:
  friend class ExprBuilder;
  using Unary = double (*)(double);
  using Binary = double (*)(double, double);

  struct Node {
    pattern::ExprKind kind = pattern::ExprKind::Integer;
    int frame = -1; ///< whose lanes it varies along; -1: none
    int slot = -1;  ///< of a Var; of the bound name of a reduction
    int inner = -1; ///< frame of a reduction that runs its body along lanes, else -1
    int tensor = -1;
    bool implicitBatch = false; ///< a Read whose batch index is that of the result
    Unary unary = nullptr;
    Binary binary = nullptr;
    std::string function;
    std::vector<int> children;
    std::vector<int> slots; ///< variables it depends on
    double value = 0;       ///< if frame < 0
    std::vector<double> lanes;
    std::vector<double> row; ///< sorted elements of a Member's row
    uint64_t stamp = 0;      ///< clock when it was computed
  };
  struct Slot {
    int frame = -1;
    double value = 0;
    const double *lanes = nullptr;
    uint64_t stamp = 1;
  };
  /// Where a node's value is: one number (step 0) or one a lane (step 1).
  struct Operand {
    const double *values;
    int64_t step;
    double operator[](int64_t lane) const { return values[lane * step]; }
  };

  Operand evaluate(int index);
  void compute(Node &node);
  template <typename F> void apply1(Node &node, F f);
  template <typename F> void apply2(Node &node, F f);
  void computeCall(Node &node);
  void computeRead(Node &node);
  void computeMember(Node &node);
  void computeTree(Node &node);
  double parentOf(double node);
  void reduceLanes(Node &node);
  void reduceLoop(Node &node);
  std::optional<int64_t> rowOffset(const Node &read, int64_t lane);
  int64_t countOf(const Node &node) const { return node.frame < 0 ? 1 : frames[node.frame]; }
  void bind(int slot, double value);

  std::vector<Node> nodes;
  std::vector<Slot> slots;
  std::vector<int64_t> frames; ///< lanes in use
  std::vector<ExprScope::Tensor> tensors;
  std::optional<ExprScope::Tensor> parents;
  int batchSlot = -1;
  int root = -1;
  uint64_t clock = 1;
  double operations = 0;
};

} // namespace heddle::compiler
