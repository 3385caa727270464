// The mixes of a graph that are weights of pairs: all of them in the attention form; beside states
// those that are none (a hybrid of attention and retention heads). Attention.cpp has the code.
#pragma once

#include "compiler/forms/Graph.h"
#include "compiler/forms/KeyLists.h"
#include "compiler/forms/Program.h"

namespace heddle::compiler {

/// What a mix whose support reads lists or masks of blocks becomes beside tiles of rows.
struct ListPlan {
  ListedMix mix;       ///< one query at a time
  bool always = false; ///< else where lists are much shorter than the keys
};

/// Why the mix has no kernels as weights of pairs; empty if it has.
std::string refusePairs(const MixProblem &problem);

class PairMixes {
public:
  /// Plans the mixes, and puts the maps into the graph that they need. The request outlives this.
  PairMixes(const FormRequest &request, Graph &graph);
  /// Adds the kernels of one; their names end in its output where the graph has several mixes.
  void write(ProgramWriter &program, const MixProblem &mix) const;

  /// What ProgramWriter wants to know of heads that come in groups.
  std::string groupedHeads;
  int64_t group = 1;

private:
  const FormRequest &request;
  llvm::StringMap<ListPlan> plans; ///< by the mix's output
  bool several = false;
};

} // namespace heddle::compiler
