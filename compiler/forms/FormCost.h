// What a form takes on a CPU, estimated from the pattern's sizes: enough to choose among forms and
// chunk sizes, and to say where one takes over from another.
//
//   one unit = one multiply-add of a blocked product; everything else is priced in them
#pragma once

#include "compiler/forms/Form.h"
#include "compiler/forms/Graph.h"

#include <optional>

namespace heddle::compiler {

/// Sizes that decide the cost of a mix; of one head.
struct MixSizes {
  int64_t key = 0, value = 0; ///< widths of keys and values as given
  int64_t features = 0;       ///< rows of the state; 0: it has none, in any form
  int64_t pairFeatures = 0;   ///< what the weight of a pair inside a chunk sums over
  StateDecay decay = StateDecay::None;
  bool decays = false; ///< pairs have a decay (any form)
  bool solves = false; ///< delta or dplr: a triangular system a chunk
  bool givesState = false, takesState = false;
  int64_t listed = 0; ///< keys that lists let a row see at most; 0: all up to its own
  bool unit = false;  ///< a matrix unit multiplies tiles of bf16
};

MixSizes sizesOf(const ScanProblem &scan);
MixSizes sizesOf(const MixProblem &pairs);
/// The sizes of the request's mixes: states, and the weights of pairs beside them. Unsupported as
/// readGraph.
Result<std::vector<MixSizes>> mixSizes(const FormRequest &request);

/// Whether the request's tensors are bf16 and its processor has a matrix unit for them.
bool hasMatrixUnit(const Request &request);

/// Tokens of a chunk that are best for sequences of `length`.
int64_t bestChunk(const MixSizes &sizes, int64_t length);

/// Units of all mixes for one sequence of `length` tokens, a head of each; empty for a form that
/// has no estimate.
std::optional<double> estimatedUnits(llvm::StringRef form, llvm::ArrayRef<MixSizes> mixes,
                                     int64_t length);

/// The forms that do not refuse the request, or the one it names, in the table's order.
llvm::SmallVector<const Form *> ableForms(const FormRequest &request);

/// The length that stands for a class of lengths: 1, 16, 64, 2048 up to 4096, 16384 beyond.
int64_t nominalLength(const Request &request);

} // namespace heddle::compiler
