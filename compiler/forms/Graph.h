// A pattern as an ordered list of stages: maps and mixes over arguments, results and workspace.
// What the language has beside them is rewritten on the way:
//
//   features, codecs    expressions of an operand, or a map before the mix
//   merge               maps over the parts
//   select              lists of the best candidates, or masks over all of them
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
  std::string why;    ///< why it is a launch of its own, for `explain`
  Extent needed = {}; ///< launched only while this extent is below `limit`; 0: always
  int64_t limit = 0;
};

/// Inclusive prefix sums of `from` [B, T, H] (or [B, T, H, K]) along T, each as two numbers whose
/// sum is exact to about 48 bits: differences of neighbours lose nothing, however long the
/// sequence. With `ancestors` [B, nodes, nodes] the last tokens are nodes of a tree, and sums run
/// along the path to each, from the tokens that are none on.
struct PrefixStage {
  std::string from, high, low;
  std::string ancestors = {};
};

/// The `count` best candidates of each row as their ids, in the order of candidates; free places,
/// last, are -1. The larger score is better, then the smaller id; -inf is no candidate, nor is an
/// id below 0.
struct ChooseStage {
  std::string name;              ///< i32 [rows.., count]
  std::string scores;            ///< f32 of the same shape; empty: not kept
  std::vector<std::string> vars; ///< of the rows' dims, then the candidate's number
  Extent candidates;
  Expr score, id;  ///< id null: the candidate's number
  std::string why; ///< why it is a launch of its own, for `explain`
};

/// What buckets of keys hold, as of every `refresh` keys: tensor [snapshots, buckets, capacity] of
/// the most salient keys before refresh * snapshot; of equals the newer ones; free places are -1.
struct BucketStage {
  std::string name;
  std::string bucket, salience; ///< [keys, 1]: the bucket of a key (i32), how well it fits (f32)
  Extent keys;
  int64_t refresh = 0;
};

/// i8 [nodes, nodes]: 1 where the second node is the first or one of its ancestors.
struct AncestorStage {
  std::string name, parent;
};

using Stage = std::variant<MapStage, PrefixStage, ChooseStage, BucketStage, AncestorStage,
                           MixProblem, ScanProblem>;

struct Graph : PatternProblem {
  std::vector<Stage> stages;
  llvm::StringMap<int64_t> chosen; ///< lists and masks of selections: how many they hold at most
};

/// What mixes become: weights of pairs, or states that are carried along token by token or chunk by
/// chunk. Beside a mix that is a state, one that is none stays weights of pairs.
enum class MixAs { Pairs, Steps, Chunks };

/// Reads the pattern. Unsupported, with the clause that is the obstacle; InvalidArgument where the
/// request does not fix a width or a constant.
Result<Graph> readGraph(const FormRequest &request, MixAs mixes = MixAs::Pairs);

} // namespace heddle::compiler
