// Numbers are written so that reading gives the same double.
#include "autotune/Record.h"

#include <fmt/format.h>

#include <cmath>
#include <sstream>

namespace heddle::autotune {

std::string formatRecord(const Candidate &candidate) {
  if (!candidate.timing)
    return "refused " + candidate.refusal;
  const Timing &t = *candidate.timing;
  return fmt::format("timing {} {} {} {} {}", t.median, t.min, t.spread, t.samples, t.ratio);
}

bool parseRecord(const std::string &text, Candidate &candidate) {
  if (text.starts_with("refused ") && text.size() > 8) {
    candidate.refusal = text.substr(8);
    return true;
  }
  std::istringstream in(text);
  std::string word;
  Timing t;
  in >> word >> t.median >> t.min >> t.spread >> t.samples >> t.ratio;
  bool sane = word == "timing" && in && std::isfinite(t.median) && t.median > 0 && t.min > 0 &&
              t.spread >= 0 && t.samples > 0 && t.ratio > 0;
  if (sane)
    candidate.timing = t;
  return sane;
}

} // namespace heddle::autotune
