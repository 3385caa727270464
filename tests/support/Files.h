// Files of the tests: whole ones in and out, and the texts of patterns/.
#pragma once

#include "tests/support/Paths.h"
#include "tests/support/Test.h"

#include <fstream>
#include <iterator>
#include <string>

namespace heddle::test {

/// What a file holds, byte for byte. A file that cannot be read fails the test.
inline std::string readFile(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  INFO(path);
  REQUIRE(file.good());
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void writeFile(const std::string &path, const std::string &bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

/// The text of patterns/<name>.heddle.
inline std::string libraryText(const std::string &name) {
  return readFile(std::string(kSourceDir) + "/patterns/" + name + ".heddle");
}

} // namespace heddle::test
