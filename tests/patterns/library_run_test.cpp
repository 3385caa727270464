// Every file of the library runs in the interpreter on small irregular sizes: all results are
// finite (a row that sees no key has LSE -inf), and where both evaluators may run it they agree.
#include "ir/pattern/ExprUtils.h"
#include "tests/support/PatternInputs.h"

#include <algorithm>
#include <filesystem>

using namespace heddle;
using namespace heddle::test;

namespace {

/// Extents by the names that the library uses.
const Dims kSizes = {{"B", 2},  {"T", 9},  {"Tq", 5}, {"Tk", 9}, {"Hq", 4}, {"Hk", 2},   {"Hv", 4},
                     {"H", 2},  {"D", 8},  {"Dv", 6}, {"K", 4},  {"V", 6},  {"N", 4},    {"F", 2},
                     {"C", 3},  {"P", 3},  {"R", 2},  {"NB", 1}, {"NQ", 1}, {"NK", 1},   {"NV", 1},
                     {"m", 4},  {"Di", 4}, {"Ha", 2}, {"Dn", 4}, {"Dr", 2}, {"Dc", 6},   {"PK", 4},
                     {"PV", 3}, {"CK", 4}, {"CV", 4}, {"L", 5},  {"n", 3},  {"page", 4}, {"NP", 8},
                     {"M", 3},  {"l", 4},  {"Nq", 9}, {"Nk", 9}, {"N1", 3}};

/// Values that make a pattern do something on so few tokens.
const std::map<std::string, Params> kParams = {
    {"moba", {{"c", 2}, {"K", 2}}},
    {"nsa", {{"stride", 2}, {"block", 4}, {"N", 2}, {"W", 3}}},
    {"lsel", {{"top", 2}, {"refresh", 4}, {"capacity", 3}, {"w", 3}, {"n", 1}}},
    {"lsel_tree", {{"top", 2}, {"refresh", 4}, {"block", 2}, {"fanout", 2}, {"w", 3}, {"n", 1}}},
    {"mc_grm", {{"W", 2}}},
    {"mc_residual", {{"W", 2}}},
    {"mc_ssc", {{"W", 2}, {"top", 1}}},
    {"local_chunk", {{"c", 4}}},
    {"ring_kv", {{"keep", 1}, {"W", 3}}},
    {"sliding_window", {{"W", 3}}},
    {"streaming_llm", {{"n", 2}, {"L", 2}}},
    {"strided", {{"l", 3}}},
    {"strided_fixed", {{"l", 3}, {"c", 1}}},
    {"dilated", {{"w", 2}, {"dilation", 2}}},
};

Tensor integers(const std::string &name, std::vector<int64_t> shape, Random &random) {
  Tensor t(std::move(shape));
  if (name == "parent") {
    fillParents(t, random);
    return t;
  }
  for (int64_t n = 0; n < t.elements(); ++n)
    t.data[n] = name.starts_with("cu_") ? std::vector<double>{0, 4, 9}[n]
                : name == "table"       ? double(n)
                : name == "length"      ? double(9 - n)
                                        : double(random.below(2));
  return t;
}

Inputs libraryInputs(PatternRun &run, uint64_t seed) {
  Random random(seed);
  Inputs inputs;
  for (size_t n = 0; n < run.def.numArguments(); ++n) {
    pattern::ArrayType type = run.def.argumentType(n);
    std::string name = run.def.argumentName(n).str();
    std::vector<int64_t> shape;
    if (type.getBatched())
      shape.push_back(kSizes.at("B"));
    for (size_t d = 0; d < type.rank(); ++d) {
      auto extent =
          pattern::evaluateInteger(type.dim(d), [](llvm::StringRef dim) -> std::optional<int64_t> {
            auto found = kSizes.find(dim.str());
            return found == kSizes.end() ? std::nullopt : std::optional(found->second);
          });
      INFO(name << ": this test has no size for " << type.dim(d).str());
      REQUIRE(extent.has_value());
      shape.push_back(*extent);
    }
    if (type.holdsIntegers())
      inputs[name] = integers(name, shape, random);
    else if (name == "lb" || name == "rate" || name.ends_with("scale"))
      inputs[name] = random.tensor(shape, 0.1, 0.9);
    else
      inputs[name] = randomArgument(name, shape, random);
  }
  return inputs;
}

} // namespace

TEST_CASE("every pattern of the library runs, and both ways where both are legal", "[library]") {
  int patterns = 0, both = 0;
  for (const auto &file :
       std::filesystem::directory_iterator(std::string(kSourceDir) + "/patterns")) {
    if (file.path().extension() != ".heddle")
      continue;
    ++patterns;
    std::string name = file.path().stem().string();
    INFO(name);
    PatternRun run = PatternRun::library(name);
    Inputs inputs = libraryInputs(run, 7);
    auto params = kParams.find(name);
    Params given = params == kParams.end() ? Params() : params->second;
    auto results = run(inputs, given);
    for (auto &[result, tensor] : results) {
      INFO(result);
      bool lse = result.starts_with("l");
      CHECK(std::all_of(tensor.data.begin(), tensor.data.end(),
                        [&](double x) { return std::isfinite(x) || (lse && x == -INFINITY); }));
    }
    auto work = compiler::measureWork(run.def, PatternRun::bind(inputs, given));
    INFO((work.ok() ? std::string() : work.error().toString()));
    REQUIRE(work.ok());
    CHECK(work->oracle > 0);
    auto pairs = run.tryRun(inputs, given, Evaluator::Pair);
    auto scan = run.tryRun(inputs, given, Evaluator::Scan);
    REQUIRE((pairs.ok() || scan.ok()));
    for (auto *one : {&pairs, &scan})
      if (!one->ok())
        CHECK(one->error().code == ErrorCode::Unsupported);
    if (!pairs.ok() || !scan.ok())
      continue;
    ++both;
    for (size_t n = 0; n < pairs->results.size(); ++n)
      requireSame(Tensor(scan->results[n].shape, scan->results[n].values),
                  Tensor(pairs->results[n].shape, pairs->results[n].values));
  }
  CHECK(patterns >= 60);
  CHECK(both >= 15);
}

TEST_CASE("chosen rows of every pattern are those of the whole", "[library]") {
  for (const auto &file :
       std::filesystem::directory_iterator(std::string(kSourceDir) + "/patterns")) {
    if (file.path().extension() != ".heddle")
      continue;
    std::string name = file.path().stem().string();
    INFO(name);
    PatternRun run = PatternRun::library(name);
    Inputs inputs = libraryInputs(run, 7);
    auto params = kParams.find(name);
    Params given = params == kParams.end() ? Params() : params->second;
    auto all = run.tryRun(inputs, given);
    REQUIRE(all.ok());
    compiler::RowSelection rows; // every head of a row in the middle, and of the last
    for (int64_t row : {int64_t(2), int64_t(4)})
      for (int64_t h = 0; h < 4; ++h)
        rows.rows.push_back({1, h, row});
    for (bool finals : {false, true}) {
      rows.finals = finals;
      auto some = run.tryRun(inputs, given, Evaluator::Auto, rows);
      INFO((some.ok() ? std::string() : some.error().toString()));
      REQUIRE(some.ok());
      for (size_t n = 0; n < some->results.size(); ++n) {
        const compiler::Output &part = some->results[n], &whole = all->results[n];
        INFO(part.name);
        CHECK(part.shape == whole.shape);
        CHECK(part.places.size() == part.values.size());
        CHECK((n > 0 || !part.values.empty()));
        CHECK((!finals || !part.values.empty()));
        CHECK((n > 0 || part.values.size() < whole.values.size()));
        for (size_t k = 0; k < part.places.size(); ++k)
          if (part.values[k] != whole.values[part.places[k]])
            FAIL("place " << part.places[k] << ": " << part.values[k] << ", of the whole "
                          << whole.values[part.places[k]]);
      }
    }
  }
}
