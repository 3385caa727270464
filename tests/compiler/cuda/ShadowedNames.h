// Names that an inner block of a CUDA text declares again.
#pragma once

#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace heddle::test {

/// Lines that declare a name which a block around them has declared; kernels alone, not the prelude
/// before them.
inline std::vector<std::string> shadowedNames(const std::string &text) {
  static const std::regex declaration(
      R"(^\s*(?:for \()?(?:const )?(?:int|i64|u32|u16|bool|float|double|float2|auto \*const) (\w+)(?: = |;|\[))");
  std::vector<std::set<std::string>> blocks(1);
  std::vector<std::string> found;
  std::istringstream lines(text.substr(std::min(text.find("struct Parameters"), text.size())));
  for (std::string line; std::getline(lines, line);) {
    const bool opens = line.ends_with("{"), closes = line.find_first_not_of(' ') != line.npos &&
                                                     line[line.find_first_not_of(' ')] == '}';
    if (closes && blocks.size() > 1)
      blocks.pop_back();
    if (opens)
      blocks.emplace_back();
    std::smatch match;
    if (!std::regex_search(line, match, declaration))
      continue;
    for (const std::set<std::string> &block : blocks)
      if (block.contains(match[1]))
        found.push_back(line);
    blocks.back().insert(match[1]);
  }
  return found;
}

} // namespace heddle::test
