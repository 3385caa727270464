// Text of a support analysis, for `show --tiles` and the notes of a kernel.
//
//   class A, 1 zone: 0 <= i - j <= W - 1
#include "compiler/support/Zone.h"

#include <fmt/format.h>

namespace heddle::compiler {

static void describe(std::vector<std::string> &out, const char *name, llvm::ArrayRef<Expr> min,
                     llvm::ArrayRef<Expr> max) {
  for (Expr bound : min)
    out.push_back(fmt::format("{} >= {}", name, bound.str()));
  for (Expr bound : max)
    out.push_back(fmt::format("{} <= {}", name, bound.str()));
}

static std::string describe(const Zone &zone) {
  std::vector<std::string> out;
  for (Expr condition : zone.when)
    out.push_back("if " + condition.str());
  describe(out, "i", zone.minRow, zone.maxRow);
  describe(out, "j", zone.minKey, zone.maxKey);
  describe(out, "i - j", zone.minDistance, zone.maxDistance);
  for (const RowBound &bound : zone.minKeyOfRow)
    out.push_back("j >= " + bound.value.str());
  for (const RowBound &bound : zone.maxKeyOfRow)
    out.push_back("j <= " + bound.value.str());
  if (!zone.exact)
    out.push_back("and more that gives no bound");
  return out.empty() ? "every pair" : fmt::format("{}", fmt::join(out, ", "));
}

std::string toString(const Support &support) {
  std::string text = fmt::format("class {}, {} zone{}", "ABC"[int(support.kind)],
                                 support.zones.size(), support.zones.size() == 1 ? "" : "s");
  for (const Zone &zone : support.zones)
    text += (&zone == support.zones.begin() ? ": " : "; ") + describe(zone);
  for (const std::string &note : support.notes)
    text += "\n  " + note;
  return text;
}

} // namespace heddle::compiler
