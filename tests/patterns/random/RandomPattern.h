// Patterns drawn at random: text that the language takes, and a case that binds it. The same seed
// gives the same pattern everywhere. Values are drawn so that no result is a small difference or a
// quotient of large numbers: what differs by more than a tolerance is a fault of a form.
#pragma once

#include "tests/patterns/Library.h"

namespace heddle::test {

struct RandomPattern {
  std::string text; ///< one pattern, @random
  Case check;       ///< dims by length, parameters, fillers; no naive formula
};

/// Keys and queries in pairs: any support, score, weight and norm, decays, sinks, codecs, lists.
RandomPattern randomAttention(uint64_t seed);

/// A state: features, decays, updates, reads, norms, segments, packed sequences.
RandomPattern randomRetention(uint64_t seed);

} // namespace heddle::test
