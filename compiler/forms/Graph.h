// A pattern as an ordered list of stages: maps and mixes over arguments, results and workspace.
// What the language has beside them is rewritten on the way:
//
//   features, codecs    expressions of an operand, or a map before the mix
//   merge               maps over the parts
//   decay scalar, diag  a prefix sum before the mix, a difference of two of its rows inside
//   state, z            maps that sum over the sequence; states on entry are read by the mix
#pragma once

#include "compiler/forms/MixProblem.h"
#include "compiler/forms/ScanProblem.h"

#include <variant>

namespace heddle::compiler {

/// %y = map (t, h, d) in (T, H, D) { expr }: every element of tensor `name`.
struct MapStage {
  std::string name;
  std::vector<std::string> vars; ///< as many as the tensor has dims, the batch not counted
  Expr expr;
  std::string why; ///< why it is a launch of its own, for `explain`
};

/// Inclusive prefix sums of `from` [B, T, H] (or [B, T, H, K]) along T, each as two numbers whose
/// sum is exact to about 48 bits: differences of neighbours lose nothing, however long the
/// sequence.
struct PrefixStage {
  std::string from, high, low;
};

using Stage = std::variant<MapStage, PrefixStage, MixProblem, ScanProblem>;

struct Graph : PatternProblem {
  std::vector<Stage> stages;
  llvm::StringMap<int64_t> chosen; ///< masks of selections: how many candidates they hold at most
};

/// What mixes become: weights of pairs, or states that are carried along token by token or chunk by
/// chunk.
enum class MixAs { Pairs, Steps, Chunks };

/// Reads the pattern. Unsupported, with the clause that is the obstacle; InvalidArgument where the
/// request does not fix a width or a constant.
Result<Graph> readGraph(const FormRequest &request, MixAs mixes = MixAs::Pairs);

} // namespace heddle::compiler
