// Every file of the library in every form that it has runs as native code and equals the
// interpreter: odd head sizes, lengths 1, 7 and 777; whichever form is chosen in 16 bits, and for
// one query row on a long cache. A new file is tested by itself; a file that nothing lowers stands
// in kInterpreterOnly.
#include "ir/tile/TileDialect.h"
#include "tests/patterns/CompiledFile.h"
#include "tests/support/Paths.h"
#include "tests/support/Tier.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Parser/Parser.h"

#include <algorithm>

using namespace heddle;
using namespace heddle::test;

namespace {

/// Files without native code, so that one that loses it is noticed.
const std::set<std::string> kInterpreterOnly = {};

/// In the form that is chosen.
const Variant kVariants[] = {{"many tokens in bf16", 77, DType::BF16},
                             {.what = "the same without a matrix unit",
                              .length = 77,
                              .dtype = DType::BF16,
                              .matrixUnit = false},
                             {"one query row", 777, DType::F32, true}};

constexpr const char *kForms[] = {"attention", "recurrent", "chunked"};

std::shared_ptr<Device> cpu() {
  Result<std::unique_ptr<Device>> device = openDevice("cpu", 1);
  REQUIRE(device.ok());
  return std::move(*device);
}

/// What `show` prints of abstract kernels parses to the same text.
void checkRoundTrip(const Request &request) {
  for (const char *station : {"form", "tile"}) {
    Result<std::string> text = compiler::show(request, station);
    REQUIRE(text.ok());
    std::unique_ptr<mlir::MLIRContext> context = pattern::makePatternContext();
    context->loadDialect<tile::TileDialect, mlir::arith::ArithDialect, mlir::math::MathDialect,
                         mlir::scf::SCFDialect>();
    auto module = mlir::parseSourceString<mlir::ModuleOp>(*text, context.get());
    INFO(*text);
    REQUIRE(module);
    std::string again;
    llvm::raw_string_ostream out(again);
    module->print(out);
    CHECK(again == *text);
  }
}

/// Whether some form lowers the file at all.
bool isLowered(const File &file, const Case &check, const std::shared_ptr<Device> &device,
               std::string &why) {
  Bound bound;
  bindCase(bound, check, file.def, 7, DType::F32);
  Result<compiler::Choice> choice = compiler::choose(requestOf(file, bound, DType::F32, *device));
  if (!choice) {
    why = choice.error().toString();
    return false;
  }
  for (const std::string &refused : choice->refused)
    why += refused + "\n";
  return !choice->form.empty();
}

} // namespace

TEST_CASE("compiled library files equal the interpreter") {
  std::shared_ptr<Device> device = cpu();
  const char *only = std::getenv("HEDDLE_TEST_PATTERN"); // one file, while it is being written
  static FormErrors errors;                              // each section runs the whole case again
  for (const Case &check : allCases()) {
    if (only && check.pattern != only)
      continue;
    DYNAMIC_SECTION(check.pattern) {
      File file(check.pattern);
      std::string why;
      bool lowered = isLowered(file, check, device, why);
      INFO(why);
      CHECK(lowered == !kInterpreterOnly.count(check.pattern));
      if (!lowered)
        continue;
      Bound few;
      bindCase(few, check, file.def, 7, DType::F32);
      checkRoundTrip(requestOf(file, few, DType::F32, *device));
      std::vector<std::string> dims = file.signature.dims();
      bool hasQueries =
          std::count(dims.begin(), dims.end(), "Tq") && !std::count(dims.begin(), dims.end(), "NQ");
      // The quick tier takes these variants in turns.
      bool even = std::hash<std::string>()(check.pattern) % 2 == 0;
      bool hasUnit = withoutMatrixUnit(device->facts()) != device->facts();
      for (const Variant &variant : kVariants) {
        if (!variant.matrixUnit && !hasUnit)
          continue; // the same code
        bool turn = variant.oneQuery ? even : variant.dtype != DType::BF16 || !even || !hasQueries;
        if ((!variant.oneQuery || hasQueries) && (turn || wholeTier() || only))
          runVariant(file, check, variant, device, "cpu", &errors);
      }
      for (const char *form : kForms) {
        INFO("form " << form);
        for (int64_t length : {1, 7, 777})
          runVariant(file, check, {"each form", length, DType::F32, false, form}, device, "cpu",
                     &errors);
        CHECK(errors.has(check.pattern, form) == (promisedForms(file.text).count(form) > 0));
      }
    }
  }
  if (!only)
    errors.write(std::string(kBinaryDir) + "/pattern_forms.json");
}

TEST_CASE("keys that are the values are read in the ways of both products") {
  std::shared_ptr<Device> device = cpu();
  File file("shared", R"(
pattern.def @shared(%q: seq<Tq x Hq x D>, %k: seq<Tk x Hk x D>) {
  %o = mix %q, %k
    score (s) { s * rsqrt(D) }
    weight exp  norm sum
    alias v { 0, D }
    gives o
  return %o
})");
  for (int64_t d : {16, 72, 96})
    for (bool unit : {true, false}) {
      Case check{"shared",
                 [&](Problem &problem, int64_t length) {
                   problem.dims.insert({{"Hq", 2}, {"Hk", 1}, {"D", d}});
                   problem.dims["Tq"] = problem.dims["Tk"] = length;
                 },
                 nullptr};
      for (int64_t length : {1, 7, 130})
        runVariant(file, check,
                   {.what = "bf16", .length = length, .dtype = DType::BF16, .matrixUnit = unit},
                   device);
    }
}

TEST_CASE("a tree's code is for the lengths of its class alone") {
  File file("lsel_tree");
  const std::shared_ptr<Device> device(std::move(*openDevice("cpu", 1)));
  size_t before = 0;
  for (auto [length, bound] : {std::pair(60, ExtentClass::UpTo64),
                               {700, ExtentClass::UpTo4096},
                               {5000, ExtentClass::Any}}) {
    Extents extents{{"B", 1},  {"Tq", length}, {"Tk", length}, {"Hq", 2},
                    {"Hk", 2}, {"D", 8},       {"Dv", 8},      {"R", 3}};
    Result<Artifact> artifact =
        compiler::compile(requestOf(file, extents, {}, DType::F32, *device));
    INFO((artifact ? "" : artifact.error().toString()));
    REQUIRE(artifact.ok());
    CHECK(artifact->launches.size() > before); // a level each
    before = artifact->launches.size();
    bool assumed = std::count(artifact->predicates.begin(), artifact->predicates.end(),
                              ClassPredicate{"Tk", {bound, false}}) == 1;
    CHECK(assumed == (bound != ExtentClass::Any));
  }
}

TEST_CASE("decays of grouped heads are read as tiles") {
  File file("power_retention");
  const std::shared_ptr<Device> device(std::move(*openDevice("cpu", 1)));
  for (auto [queries, keys] : {std::pair(2, 2), {6, 2}}) {
    Extents extents{{"B", 1}, {"T", 77}, {"Hq", queries}, {"Hk", keys}, {"K", 8}, {"V", 8}};
    Request request = requestOf(file, extents, {}, DType::F32, *device);
    request.form = "attention";
    Result<std::string> code = compiler::show(request, "tile");
    INFO((code ? "" : code.error().toString()));
    REQUIRE(code.ok());
    CHECK(code->find("\"g_sum\"") != std::string::npos);
    CHECK(code->find("tile.gather") == std::string::npos);
  }
}
