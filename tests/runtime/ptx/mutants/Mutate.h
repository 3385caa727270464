// Mutants of PTX text: one instruction each, made wrong in a way that people get wrong.
#pragma once

#include <string>
#include <vector>

namespace heddle::test {

struct Mutant {
  const char *kind = ""; ///< "barrier removed"
  int line = 0;          ///< of the PTX, from 1
  std::string before, after;
  /// Lines that show whether the mutant can matter, where that can be asked; else empty. `probe`
  /// traps where the mutant's instruction does something else than the kernel's; `poison` does what
  /// the kernel does, but for its result, which is nonsense.
  std::string probe, poison;
};

/// Every mutant of a text, in the order of its lines.
std::vector<Mutant> mutantsOf(const std::string &ptx);

/// The text with another line in the mutant's place.
std::string withLine(const std::string &ptx, int line, const std::string &text);

} // namespace heddle::test
