// What a pattern's text has defined so far, and suggestions for names it has not.
#include "ir/pattern/ParseScope.h"

#include "ir/pattern/Check.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace heddle::pattern {

void ParseScope::defineValue(llvm::StringRef name, ArrayType type, llvm::SMLoc loc) {
  values[name] = {type, loc};
  spellings[name] = "%" + name.str();
  valueNames.push_back(name.str());
}

llvm::StringRef ParseScope::spelling(llvm::StringRef name) const {
  return spellings.find(name)->second;
}

bool ParseScope::hasDim(llvm::StringRef name) const { return llvm::is_contained(dims, name); }

ExprAttr ParseScope::canonical(ExprAttr extent) const { return canonicalExtent(lets, extent); }

bool ParseScope::isExtent(llvm::StringRef name) const {
  return hasDim(name) || name == "B" || (name == "G" && hasDim("Hq") && hasDim("Hk"));
}

ParseScope *scopeOf(mlir::MLIRContext *context) {
  return context->getOrLoadDialect<PatternDialect>()->scope;
}

std::string suggest(llvm::StringRef name, llvm::ArrayRef<std::string> candidates) {
  std::vector<std::string> near;
  for (const std::string &candidate : candidates) {
    unsigned limit = name.size() <= 2 ? 1 : 2;
    bool sameLetters = llvm::StringRef(candidate).equals_insensitive(name);
    bool close = name.size() > 1 && candidate.size() > 1 &&
                 name.edit_distance(candidate, true, limit) <= limit;
    if (candidate != name && (sameLetters || close) && !llvm::is_contained(near, candidate))
      near.push_back(candidate);
  }
  if (!near.empty())
    return fmt::format(", did you mean {}?", fmt::join(near, " or "));
  std::vector<std::string> all(candidates.begin(), candidates.end());
  return all.empty() ? "" : fmt::format("; known here: {}", fmt::join(all, ", "));
}

} // namespace heddle::pattern
