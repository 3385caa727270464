// parsePatterns: diagnostics with places, the scan before parsing, choice of a pattern, canonical
// text; and every file of patterns/ through print and parse.
#include "ir/pattern/Parse.h"
#include "ir/pattern/PatternDialect.h"
#include "tests/support/Files.h"
#include "tests/support/Paths.h"
#include "tests/support/Test.h"

#include "mlir/IR/OperationSupport.h"

#include <algorithm>
#include <filesystem>

using namespace heddle;
using namespace heddle::pattern;

static const std::string kHead = "pattern.def @p(%q: seq<T x H x D>, W = 4) {\n";
static const std::string kTail = "  return %o\n}\n";

static Parsed parse(mlir::MLIRContext &context, const std::string &text) {
  return parsePatterns(context, text, "p.heddle");
}

TEST_CASE("a pattern gives a module and no diagnostics", "[pattern]") {
  auto context = makePatternContext();
  Parsed parsed = parse(*context, kHead +
                                      "  %o = mix %q, %q, %q weight exp norm sum\n"
                                      "    support { i - j < W }\n" +
                                      kTail);
  INFO(parsed.str());
  REQUIRE(parsed.ok());
  CHECK(parsed.diagnostics.empty());
  std::string why;
  DefOp def = findPattern(*parsed.module, "", why);
  REQUIRE(def);
  CHECK(def.getSymName() == "p");
  CHECK(def.argumentIndex("q") == 0);
  CHECK(def.argumentIndex("k") == -1);
  CHECK(def.dimNames() == llvm::SmallVector<std::string>{"B", "T", "H", "D"});
  CHECK(def.param("W").number() == 4);
  CHECK_FALSE(def.param("W").required());
  auto mix = *def.getOps<MixOp>().begin();
  CHECK(mix.getSupport().str() == "i - j < W");
  CHECK(mix.getScore().str() == "s * rsqrt(D)");
  CHECK(mix.queryHeads().str() == "H");
  CHECK(mix.output("o") == def.returned().getResults()[0]);
  CHECK_FALSE(mix.output("lse"));
  CHECK(arrayType(mix.output("o")).str() == "seq<T x H x D>");
}

TEST_CASE("mistakes have file, line and column", "[pattern]") {
  auto context = makePatternContext();
  Parsed parsed = parse(*context, kHead +
                                      "  %o = mix %q, %q, %q weight exp norm sum\n"
                                      "    support { i - k < W }\n" +
                                      kTail);
  REQUIRE_FALSE(parsed.ok());
  REQUIRE(parsed.diagnostics.size() == 1);
  CHECK(parsed.diagnostics[0].line == 3);
  CHECK(parsed.diagnostics[0].column == 19);
  CHECK(parsed.str().rfind("p.heddle:3:19: error: unknown name 'k'", 0) == 0);
}

TEST_CASE("text that is no pattern is refused before parsing", "[pattern]") {
  struct Case {
    std::string text, message;
  };
  const std::vector<Case> cases = {
      {"", "the file holds no pattern"},
      {"// only a comment\n", "the file holds no pattern"},
      {"module {}", "1:1: error: expected pattern.def, found 'module'"},
      {kHead + "  %o = map (t) in (T) { select(t != 1, 1, 0) }\n" + kTail,
       "2:34: error: the character '!' is not part of the language: write a <> b, or not"},
      {kHead + "  %o = map (t) in (T) { select(t < 1 && t > 2, 1, 0) }\n" + kTail, ": write and"},
      {kHead + "  %o = map (t) in (T) { t ^ 2 }\n" + kTail, ": write pow(x, y)"},
      {kHead + "  %o = map (t) in (T) { \"a\" }\n" + kTail, "the character '\"' is not part"},
      {kHead + "  %o = builtin.unrealized_conversion_cast\n" + kTail,
       "'builtin.unrealized_conversion_cast' is no word of the language"},
      {kHead + "  %o = map (t) in (T) { \xc3\xa9 }\n" + kTail, "the byte 0xc3 is not part"},
      {std::string("\x89PNG\r\n\x1a\n", 8), "the byte 0x89 is not part"},
      {kHead + "  %o = map (t) in (T) { t }\n", "the file ends inside brackets"},
      {kHead + "}}\n", "'}' closes nothing"},
      {kHead + "  %o = map (t) in (T) { " + std::string(300, '(') + "\n",
       "brackets nest deeper than 250"},
      {std::string(2 << 20, ' '), "the file has 2097152 bytes"},
  };
  for (const Case &c : cases) {
    auto context = makePatternContext();
    Parsed parsed = parse(*context, c.text);
    INFO(c.text.substr(0, 80) << " gave " << parsed.str());
    CHECK_FALSE(parsed.ok());
    CHECK(parsed.str().find(c.message) != std::string::npos);
  }
}

TEST_CASE("the text need not end with a zero byte", "[pattern]") {
  std::string text = kHead + "  %o = map (t) in (T) { W";
  std::vector<char> exact(text.begin(), text.end()); // a sanitizer sees a read beyond it
  exact.insert(exact.end(), {'}', '}', '}'});
  auto context = makePatternContext();
  Parsed parsed = parsePatterns(*context, llvm::StringRef(exact.data(), text.size()), "p.heddle");
  CHECK(parsed.str().find("the file ends inside brackets") != std::string::npos);
  parsed = parsePatterns(*context, llvm::StringRef(exact.data(), exact.size() - 1), "p.heddle");
  CHECK_FALSE(parsed.ok());
}

TEST_CASE("deep and long expressions are refused, not overflowed", "[pattern]") {
  auto context = makePatternContext();
  auto map = [&](const std::string &body) {
    return parse(*context, kHead + "  %o = map (t) in (T) { q[t, 0, 0] + " + body + " }\n" + kTail)
        .str();
  };
  std::string sum = "W", minus = "W";
  for (int n = 0; n < 5000; ++n) {
    sum += " + t";
    minus = "-" + minus;
  }
  CHECK(map(sum).find("nested deeper than 200 levels") != std::string::npos);
  CHECK(map(minus).find("nested deeper than 200 levels") != std::string::npos);
  CHECK(map(std::string(150, '(') + "W" + std::string(150, ')')).empty());
  CHECK(map(std::string(220, '(') + "W" + std::string(220, ')')).find("nested deeper than 200") !=
        std::string::npos);
}

TEST_CASE("a pattern of a file is chosen by name", "[pattern]") {
  auto context = makePatternContext();
  std::string text;
  for (const char *name : {"a", "c"})
    text += "pattern.def @" + std::string(name) +
            "(%q: seq<T x H x D>) {\n  %o = map (t) in (T) { q[t, 0, 0] }\n  return %o\n}\n";
  Parsed parsed = parse(*context, text);
  REQUIRE(parsed.ok());
  std::string why;
  CHECK(findPattern(*parsed.module, "c", why).getSymName() == "c");
  CHECK_FALSE(findPattern(*parsed.module, "", why));
  CHECK(why == "the file holds several patterns, name one of: a, c");
  CHECK_FALSE(findPattern(*parsed.module, "x", why));
  CHECK(why == "no pattern 'x' in the file, it holds: a, c");
}

TEST_CASE("canonical text forgets comments, order of clauses and written defaults", "[pattern]") {
  auto context = makePatternContext();
  auto canonical = [&](const std::string &clauses) {
    Parsed parsed = parse(*context, kHead + "  %o = mix %q, %q, %q " + clauses + "\n" + kTail);
    INFO(parsed.str());
    REQUIRE(parsed.ok());
    std::string why;
    return canonicalText(findPattern(*parsed.module, "", why));
  };
  std::string text = canonical("weight exp norm sum support { i - j < W }");
  CHECK(text == canonical("// a comment\n support (i, j) { ((i - j) < W) } norm sum // more\n"
                          " weight exp align bottom_right"));
  CHECK(text != canonical("weight exp norm sum support { i - j <= W }"));
  CHECK(text != canonical("weight exp norm none support { i - j < W }"));
  Parsed again = parse(*context, text);
  INFO(again.str());
  REQUIRE(again.ok());
  std::string why;
  CHECK(canonicalText(findPattern(*again.module, "", why)) == text);
}

TEST_CASE("the example of the README is a pattern", "[pattern]") {
  std::string text = test::readFile(std::string(test::kSourceDir) + "/ir/pattern/README.md");
  size_t from = text.find("```\n") + 4, to = text.find("```", from);
  auto context = makePatternContext();
  Parsed parsed = parse(*context, text.substr(from, to - from));
  INFO(parsed.str());
  CHECK(parsed.ok());
  CHECK(parsed.diagnostics.empty());
}

TEST_CASE("every pattern of the library parses, and prints to text that parses to itself",
          "[pattern]") {
  size_t files = 0;
  std::filesystem::path folder = std::filesystem::path(test::kSourceDir) / "patterns";
  for (const auto &entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".heddle")
      continue;
    ++files;
    auto context = makePatternContext();
    Parsed parsed =
        parsePatterns(*context, test::readFile(entry.path()), entry.path().filename().string());
    INFO(entry.path() << "\n" << parsed.str());
    CHECK(parsed.diagnostics.empty());
    REQUIRE(parsed.ok());
    for (DefOp def : parsed.module->getOps<DefOp>()) {
      std::string printed = canonicalText(def);
      Parsed again = parsePatterns(*context, printed, "printed");
      INFO(printed << again.str());
      REQUIRE(again.ok());
      std::string why;
      DefOp copy = findPattern(*again.module, def.getSymName(), why);
      CHECK(canonicalText(copy) == printed);
      CHECK(mlir::OperationEquivalence::isEquivalentTo(
          def, copy, mlir::OperationEquivalence::IgnoreLocations));
    }
  }
  CHECK(files > 50);
}
