// "B=1,Hq=32,W=1024": lists of named numbers as they stand on the command line.
#pragma once

#include "runtime/Result.h"

#include <cstdint>
#include <map>
#include <string>

namespace heddle::tool {

/// Names to integers. Errors name the option, the piece that is wrong and what was expected; a name
/// given twice is an error. Values must be at least `least`.
Result<std::map<std::string, int64_t>> parseIntegers(const std::string &option,
                                                     const std::string &text, int64_t least);

/// Names to finite numbers (NaN and infinity are refused).
Result<std::map<std::string, double>> parseNumbers(const std::string &option,
                                                   const std::string &text);

/// Names to texts, "q=q.npy,k=k.npy".
Result<std::map<std::string, std::string>> parseTexts(const std::string &option,
                                                      const std::string &text);

} // namespace heddle::tool
