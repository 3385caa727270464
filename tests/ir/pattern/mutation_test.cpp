// Thousands of damaged pattern texts: each is parsed or refused with a message, never a crash, and
// what is accepted prints to text that parses again. The same mutations every run.
#include "ir/pattern/Parse.h"
#include "ir/pattern/PatternDialect.h"
#include "tests/support/Files.h"
#include "tests/support/Paths.h"
#include "tests/support/Test.h"

#include "mlir/IR/OperationSupport.h"

#include <algorithm>
#include <filesystem>
#include <random>

using namespace heddle;
using namespace heddle::pattern;

namespace {

std::vector<std::string> libraryTexts() {
  std::vector<std::filesystem::path> paths;
  std::filesystem::path folder = std::filesystem::path(test::kSourceDir) / "patterns";
  for (const auto &entry : std::filesystem::directory_iterator(folder))
    if (entry.path().extension() == ".heddle")
      paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> texts;
  for (const auto &path : paths)
    texts.push_back(test::readFile(path));
  return texts;
}

// Words and signs of the language, so that mutations often stay near to valid text.
std::vector<std::string> tokens(const std::string &text) {
  std::vector<std::string> out;
  for (size_t at = 0; at < text.size();) {
    size_t end = at + 1;
    while (isalnum(text[at]) && end < text.size() && isalnum(text[end]))
      ++end;
    out.push_back(text.substr(at, end - at));
    at = end;
  }
  return out;
}

class Mutator {
public:
  explicit Mutator(std::vector<std::string> texts) : texts(std::move(texts)) {}

  std::string next() {
    std::vector<std::string> list = tokens(texts[pick(texts.size())]);
    for (size_t times = 1 + pick(4); times > 0; --times)
      mutate(list);
    std::string text;
    for (const std::string &token : list)
      text += token;
    return text;
  }

private:
  size_t pick(size_t count) { return random() % count; }

  void mutate(std::vector<std::string> &list) {
    if (list.empty())
      return;
    size_t at = pick(list.size());
    static const std::vector<std::string> kWords = {
        "(",  ")",  "{",   "}",     "[",    "]",   "<",        ">",     "=",    "-",
        "//", "%q", "%",   "sum",   "let",  "in",  "0",        "1.0e9", "-1",   "99999999999999",
        "x",  ",",  "mix", "norm",  "exp",  "seq", "tensor",   "\n",    "@",    "not",
        "\0", "i",  "D",   "where", "each", "div", "features", "q",     "gate", "?"};
    switch (pick(6)) {
    case 0:
      list.erase(list.begin() + long(at));
      break;
    case 1:
      list.insert(list.begin() + long(at), list[pick(list.size())]);
      break;
    case 2:
      list[at] = kWords[pick(kWords.size())];
      break;
    case 3:
      std::swap(list[at], list[pick(list.size())]);
      break;
    case 4:
      list[at] = list[pick(list.size())];
      break;
    case 5:
      if (!list[at].empty())
        list[at][pick(list[at].size())] = char(random() % 256);
      break;
    }
  }

  std::vector<std::string> texts;
  std::mt19937 random{20240};
};

} // namespace

TEST_CASE("damaged patterns are refused with a message or round-trip", "[pattern]") {
  Mutator mutator(libraryTexts());
  size_t accepted = 0, refused = 0;
  std::unique_ptr<mlir::MLIRContext> context;
  for (int round = 0; round < 3000; ++round) {
    if (round % 100 == 0) // expressions live as long as their context
      context = makePatternContext();
    std::string text = mutator.next();
    Parsed parsed = parsePatterns(*context, text, "mutant");
    if (!parsed.ok()) {
      ++refused;
      bool hasError = std::any_of(
          parsed.diagnostics.begin(), parsed.diagnostics.end(),
          [](const Diagnostic &d) { return d.severity == Diagnostic::Error && d.line > 0; });
      INFO(text << "\n" << parsed.str());
      REQUIRE(hasError);
      continue;
    }
    ++accepted;
    for (DefOp def : parsed.module->getOps<DefOp>()) {
      std::string printed = canonicalText(def);
      Parsed again = parsePatterns(*context, printed, "printed");
      INFO(text << "\n" << printed << "\n" << again.str());
      REQUIRE(again.ok());
      CHECK(
          mlir::OperationEquivalence::isEquivalentTo(def, *again.module->getOps<DefOp>().begin(),
                                                     mlir::OperationEquivalence::IgnoreLocations));
    }
  }
  CHECK(accepted > 100);
  CHECK(refused > 1000);
}
