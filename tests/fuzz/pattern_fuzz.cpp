// Fuzzes the parser of patterns: any bytes are parsed or refused; what is accepted round-trips.
// Build with `cmake --preset fuzz && ninja -C build-fuzz pattern_fuzz`, run with
// `build-fuzz/bin/pattern_fuzz -max_total_time=600 CORPUS patterns`.
#include "ir/pattern/Parse.h"
#include "ir/pattern/PatternDialect.h"

#include "mlir/IR/OperationSupport.h"

#include <cstdlib>

using namespace heddle::pattern;

// LLVM's allocators poison memory in their headers, which are compiled here with the sanitizer, and
// unpoison it in the library, which is not: reports about it would be false.
extern "C" const char *__asan_default_options() {
  return "allow_user_poisoning=0:detect_container_overflow=0:detect_leaks=0";
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  auto context = makePatternContext();
  llvm::StringRef text(reinterpret_cast<const char *>(data), size);
  Parsed parsed = parsePatterns(*context, text, "fuzz");
  if (!parsed.ok()) {
    if (parsed.diagnostics.empty())
      std::abort(); // refused without a reason
    return 0;
  }
  for (DefOp def : parsed.module->getOps<DefOp>()) {
    Parsed again = parsePatterns(*context, canonicalText(def), "printed");
    if (!again.ok() ||
        !mlir::OperationEquivalence::isEquivalentTo(def, *again.module->getOps<DefOp>().begin(),
                                                    mlir::OperationEquivalence::IgnoreLocations))
      std::abort(); // printed what does not parse, or means something else
  }
  return 0;
}
