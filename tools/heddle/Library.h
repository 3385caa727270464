// The pattern library on disk: patterns/*.heddle, found by name or by path.
#pragma once

#include "runtime/Result.h"

#include <string>
#include <vector>

namespace heddle::tool {

/// One pattern file and what its head comment says of it.
struct PatternFile {
  std::string name; ///< file name without ending
  std::string path;
  std::string title;  ///< first comment line
  std::string source; ///< "Source: ..." line
  std::string forms;  ///< "Forms: ..." line: the forms that are legal for the pattern
  std::string text;   ///< the whole file
};

/// Where the library is: $HEDDLE_PATTERNS, else beside the program (../share/heddle/patterns, or
/// the source tree the program was built from).
Result<std::string> libraryFolder();

/// All patterns of the library, by name.
Result<std::vector<PatternFile>> listPatterns();

/// `nameOrPath` is a library name (causal_softmax) or a path (has a '/' or ends in .heddle).
/// NotFound lists the nearest names.
Result<PatternFile> findPattern(const std::string &nameOrPath);

/// Names of `known` nearest to `name` by edit distance, at most three.
std::vector<std::string> nearestNames(const std::string &name,
                                      const std::vector<std::string> &known);

} // namespace heddle::tool
