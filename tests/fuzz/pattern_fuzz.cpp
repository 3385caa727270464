// Fuzzes the parser of patterns: any bytes are parsed or refused; what is accepted round-trips.
// Build with `cmake --preset fuzz`, run build-fuzz/bin/pattern_fuzz CORPUS patterns/.
#include "ir/pattern/Parse.h"
#include "ir/pattern/PatternDialect.h"

#include <cstdlib>

using namespace heddle::pattern;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  auto context = makePatternContext();
  llvm::StringRef text(reinterpret_cast<const char *>(data), size);
  Parsed parsed = parsePatterns(*context, text, "fuzz");
  if (!parsed.ok()) {
    if (parsed.diagnostics.empty())
      std::abort(); // refused without a reason
    return 0;
  }
  for (DefOp def : parsed.module->getOps<DefOp>())
    if (!parsePatterns(*context, canonicalText(def), "printed").ok())
      std::abort(); // printed what does not parse
  return 0;
}
