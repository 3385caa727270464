// Every file of the library that a form lowers runs as native code and equals the interpreter: odd
// head sizes, lengths 1, 7 and 777, one query row on a long cache, both element types. A new file
// is tested by itself; a file that nothing lowers stands in kInterpreterOnly.
#include "compiler/Compiler.h"
#include "compiler/Oracle.h"
#include "compiler/PluginSignature.h"
#include "ir/pattern/Parse.h"
#include "ir/tile/TileDialect.h"
#include "runtime/Jit.h"
#include "tests/patterns/FormErrors.h"
#include "tests/patterns/Library.h"
#include "tests/support/Paths.h"
#include "tests/support/Test.h"
#include "tests/support/Tier.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Parser/Parser.h"

#include <algorithm>

using namespace heddle;
using namespace heddle::test;
using heddle::test::Problem;

namespace {

/// Files without native code, so that one that loses it is noticed.
const std::set<std::string> kInterpreterOnly = {"lsel", "lsel_tree", "tree_decoding"};

/// Forms that a file's head lists and that are not lowered yet.
const std::set<std::pair<std::string, std::string>> kMissing = {{"mamba3", "attention"},
                                                                {"mamba3_mimo", "attention"},
                                                                {"tree_retention", "attention"}};

struct Variant {
  const char *what;
  int64_t length;
  DType dtype;
  bool oneQuery = false;
  const char *form = ""; ///< empty: the compiler's choice
};
const Variant kVariants[] = {{"one token", 1, DType::F32},
                             {"few tokens", 7, DType::F32},
                             {"many tokens", 777, DType::F32},
                             {"many tokens in bf16", 77, DType::BF16},
                             {"one query row", 777, DType::F32, true}};

/// Each form that the pattern has, whichever is chosen.
const Variant kForms[] = {{"in chunks", 77, DType::F32, false, "chunked"},
                          {"one chunk", 7, DType::F32, false, "chunked"},
                          {"token by token", 21, DType::F32, false, "recurrent"},
                          {"one step", 1, DType::F32, false, "recurrent"},
                          {"by pairs", 77, DType::F32, false, "attention"}};

/// A pattern of the library, parsed.
struct File {
  explicit File(const std::string &name)
      : text(libraryText(name)), context(pattern::makePatternContext()),
        parsed(pattern::parsePatterns(*context, text, name)) {
    std::string why;
    REQUIRE(parsed.ok());
    def = pattern::findPattern(*parsed.module, name, why);
    REQUIRE(def);
    Result<Signature> read = compiler::signatureOf(def);
    INFO((read ? "" : read.error().toString()));
    REQUIRE(read.ok());
    signature = *read;
  }
  std::string text;
  std::unique_ptr<mlir::MLIRContext> context;
  pattern::Parsed parsed;
  pattern::DefOp def;
  Signature signature;
};

std::shared_ptr<Device> cpu() {
  Result<std::unique_ptr<Device>> device = openDevice("cpu", 1);
  REQUIRE(device.ok());
  return std::move(*device);
}

Request requestOf(const File &file, const Bound &bound, DType dtype, const Device &device) {
  Extents extents(bound.bindings.dims.begin(), bound.bindings.dims.end());
  if (bound.problem.dims.contains("B"))
    extents["B"] = bound.problem.dim("B");
  Result<Request> request = file.signature.request(file.text, extents, dtype, bound.problem.params);
  INFO((request ? "" : request.error().toString()));
  REQUIRE(request.ok());
  request->target = "cpu";
  request->machine = "host";
  request->deviceFacts = device.facts();
  request->alignedPointers = false;
  return *request;
}

/// Memory of the results, filled with NaN, by name.
std::map<std::string, std::vector<double>>
resultMemory(const File &file, const Bound &bound, std::vector<TensorView> &views, DType dtype) {
  std::map<std::string, std::vector<double>> memory;
  Extents extents(bound.problem.dims.begin(), bound.problem.dims.end());
  for (const Signature::Tensor &tensor : file.signature.tensors) {
    if (!tensor.isResult) {
      views.push_back(bound.bindings.tensors.at(tensor.name));
      continue;
    }
    auto shape = file.signature.shapeOf(tensor, extents, bound.problem.params);
    REQUIRE(shape.ok());
    TensorView view;
    view.dtype = file.signature.dtypeOf(tensor, dtype);
    view.rank = int(shape->size());
    int64_t elements = 1;
    for (int d = view.rank; d-- > 0;) {
      view.shape[d] = (*shape)[d];
      view.strides[d] = elements;
      elements *= (*shape)[d];
    }
    std::vector<double> &bytes = memory[tensor.name];
    bytes.assign(size_t(elements) + 1, std::nan(""));
    view.data = bytes.data();
    for (int64_t n = 0; n < elements; ++n)
      storeElement(view.dtype, view.data, n, std::nan(""));
    views.push_back(view);
  }
  return memory;
}

/// Runs a variant; nothing runs for a form that the pattern lacks. `errors` notes either.
void runVariant(const File &file, const Case &check, const Variant &variant,
                const std::shared_ptr<Device> &device, FormErrors &errors) {
  INFO(variant.what << ", length " << variant.length);
  Bound bound;
  bindCase(bound, check, file.def, variant.length, variant.dtype, [&](Problem &problem) {
    if (variant.oneQuery)
      problem.dims["Tq"] = 1;
  });
  Request request = requestOf(file, bound, variant.dtype, *device);
  request.form = variant.form;
  Result<compiler::Choice> choice = compiler::choose(request);
  if (*variant.form && choice && choice->form.empty()) { // the pattern has no such form
    errors.refused(check.pattern, variant.form,
                   choice->refused.empty() ? "" : choice->refused.front());
    return;
  }
  Result<Artifact> artifact = compiler::compile(request);
  INFO((artifact ? "" : artifact.error().toString()));
  REQUIRE(artifact.ok());
  auto kernel = Kernel::load(*artifact, {}, device);
  INFO((kernel ? "" : kernel.error().toString()));
  REQUIRE(kernel.ok());
  std::vector<TensorView> views;
  auto memory = resultMemory(file, bound, views, variant.dtype);
  std::vector<ParameterValue> parameters;
  for (const Signature::Parameter &parameter : file.signature.parameters)
    if (auto value = bound.problem.params.find(parameter.name);
        value != bound.problem.params.end() && !parameter.isConstant)
      parameters.push_back({parameter.name, value->second});
  Result<int64_t> bytes = (*kernel)->workspaceBytes(views, parameters);
  INFO((bytes ? "" : bytes.error().toString()));
  REQUIRE(bytes.ok());
  Result<AlignedBuffer> workspace = AlignedBuffer::allocate(*bytes);
  REQUIRE(workspace.ok());
  Status status = (*kernel)->launch(views, parameters, workspace->workspace());
  INFO((status ? "" : status.error().toString()));
  REQUIRE(status.ok());

  compiler::OracleJob job;
  job.patternText = file.text;
  job.bindings = bound.bindings;
  job.dtype = variant.dtype;
  job.budget = 1e9; // results of maps cannot be sampled
  job.mostRows = 48;
  Result<compiler::Oracle> oracle = compiler::Oracle::make(job);
  INFO((oracle ? "" : oracle.error().toString()));
  REQUIRE(oracle.ok());
  std::map<std::string, TensorView> found;
  for (size_t n = 0; n < views.size(); ++n)
    if (file.signature.tensors[n].isResult)
      found[file.signature.tensors[n].name] = views[n];
  Result<compiler::OracleReport> report = oracle->compare(found);
  INFO((report ? report->toString() : report.error().toString()));
  REQUIRE(report.ok());
  CHECK(report->passed);
  if (choice && variant.dtype == DType::F32)
    for (const compiler::OracleResult &result : report->results)
      errors.found(check.pattern, choice->form, result.comparison.rms, result.limit);
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
  FormErrors errors;
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
      // The quick tier takes the last two variants in turns.
      bool even = std::hash<std::string>()(check.pattern) % 2 == 0;
      // Angles of hundreds of radians in f32 are further off than the table allows.
      int64_t longest = check.pattern.starts_with("mamba3") ? 77 : 777;
      for (Variant variant : kVariants) {
        variant.length = std::min(variant.length, longest);
        bool turn = variant.oneQuery ? even : variant.dtype != DType::BF16 || !even || !hasQueries;
        if ((!variant.oneQuery || hasQueries) && (turn || wholeTier() || only))
          runVariant(file, check, variant, device, errors);
      }
      for (const Variant &variant : kForms)
        runVariant(file, check, variant, device, errors);
      for (const char *form : {"attention", "recurrent", "chunked"}) {
        INFO("form " << form);
        bool missing = kMissing.count({check.pattern, form}) > 0;
        CHECK(errors.has(check.pattern, form) ==
              (!missing && promisedForms(file.text).count(form) > 0));
      }
    }
  }
  if (!only)
    errors.write(std::string(kBinaryDir) + "/pattern_forms.json");
}
