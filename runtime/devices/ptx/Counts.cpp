// Loops are found in the text: a branch backwards closes one, and each instruction counts for the
// innermost one around it.
#include "runtime/devices/ptx/Counts.h"

#include <algorithm>

namespace heddle::ptx {

double LoopCount::otherPerTensor() const {
  const auto found = classes.find(toString(Class::Tensor));
  if (found == classes.end() || found->second == 0)
    return 0;
  return static_cast<double>(instructions - found->second) / static_cast<double>(found->second);
}

ClassCounts countByClass(const Function &function, const std::vector<uint64_t> &counts) {
  ClassCounts classes;
  for (size_t i = 0; i < std::min(counts.size(), function.code.size()); ++i)
    if (counts[i])
      classes[toString(function.code[i].kind)] += counts[i];
  return classes;
}

std::vector<LoopCount> countByLoop(const Function &function, const std::vector<uint64_t> &counts) {
  const std::vector<Inst> &code = function.code;
  if (counts.size() < code.size())
    return {};
  std::map<size_t, size_t> lastOf; // by first instruction
  for (size_t i = 0; i < code.size(); ++i)
    if (code[i].flow == Flow::Branch && code[i].target <= i)
      lastOf[code[i].target] = std::max(lastOf[code[i].target], i);
  std::vector<LoopCount> loops;
  std::vector<std::pair<size_t, size_t>> spans; // of loops: first and last instruction
  std::vector<int> innermost(code.size(), -1);
  for (const auto &[first, last] : lastOf) { // outer ones begin first
    if (counts[first] == 0)
      continue;
    LoopCount loop;
    loop.firstLine = static_cast<int>(code[first].line);
    loop.lastLine = static_cast<int>(code[last].line);
    for (size_t i = first; i <= last && loop.cudaLine == 0; ++i)
      loop.cudaLine = code[i].cuda.line;
    loop.iterations = counts[first];
    for (const auto &[outerFirst, outerLast] : spans)
      loop.depth += outerFirst < first && last <= outerLast;
    for (size_t i = first; i <= last; ++i)
      innermost[i] = static_cast<int>(loops.size());
    spans.push_back({first, last});
    loops.push_back(std::move(loop));
  }
  for (size_t i = 0; i < code.size(); ++i) {
    if (innermost[i] < 0 || counts[i] == 0)
      continue;
    LoopCount &loop = loops[static_cast<size_t>(innermost[i])];
    loop.instructions += counts[i];
    loop.tensorFlops += counts[i] * code[i].flops;
    loop.classes[toString(code[i].kind)] += counts[i];
  }
  return loops;
}

} // namespace heddle::ptx
