// Damaged copies of a text, for tests of readers that must never crash on foreign bytes.
#pragma once

#include <cstdint>
#include <random>
#include <string>

namespace heddle::test {

/// Calls `visit` with `rounds` copies of `bytes`, each damaged at random: bytes changed, removed,
/// inserted or doubled, integers set to extremes, the end cut off. Always the same copies.
template <typename Visit> void forEachMutation(const std::string &bytes, int rounds, Visit visit) {
  std::mt19937_64 random(7);
  for (int round = 0; round < rounds; ++round) {
    std::string mutated = bytes;
    for (int edits = 1 + static_cast<int>(random() % 3); edits > 0 && !mutated.empty(); --edits) {
      const size_t at = random() % mutated.size(), length = 1 + random() % 9;
      switch (random() % 6) {
      case 0:
        mutated[at] = static_cast<char>(random());
        break;
      case 1:
        mutated.erase(at, length);
        break;
      case 2:
        mutated.insert(at, length, static_cast<char>(random()));
        break;
      case 3:
        mutated.insert(at, mutated.substr(at, length));
        break;
      case 4:
        mutated.replace(at, 8, 8, random() % 2 ? '\xff' : '\x7f');
        break;
      default:
        mutated.resize(at);
      }
    }
    visit(mutated);
  }
}

} // namespace heddle::test
