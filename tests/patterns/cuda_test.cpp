// Every file of the library in every form that it has, as CUDA: PTX of NVRTC, run on the PTX
// machine under its checker, equals the interpreter. What is refused stands in kRefused with the
// reason; build/pattern_forms_cuda.json is the table. HEDDLE_TEST_PATTERN=moba runs one file alone.
#include "compiler/targets/cuda/Nvrtc.h"
#include "tests/patterns/CompiledFile.h"
#include "tests/patterns/PtxRuns.h"
#include "tests/support/Paths.h"
#include "tests/support/Tier.h"

#include <algorithm>
#include <span>
#include <sstream>

using namespace heddle;
using namespace heddle::test;
using heddle::test::Problem;

namespace {

/// Forms that CUDA refuses, with a part of the reason.
const std::map<std::pair<std::string, std::string>, std::string> kRefused = {};

constexpr const char *kForms[] = {"attention", "chunked", "recurrent"};
constexpr const char *kArchitectures[] = {"sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"};

/// What PTX computes: without the lines that name compiler, version and architecture.
std::string bodyOf(const std::string &ptx) {
  std::istringstream lines(ptx);
  std::string body;
  for (std::string line; std::getline(lines, line);)
    if (!line.starts_with("//") && !line.starts_with(".version") && !line.starts_with(".target"))
      body += line + "\n";
  return body;
}

/// The case with rows of whole chunks, of two panels or more, which TMA can copy.
Case withWholeChunks(Case check) {
  check.set = [set = check.set](Problem &problem, int64_t length) {
    set(problem, length);
    if (problem.dims.contains("Dr") || problem.dims.contains("PK"))
      return; // D is made of other dims
    for (const auto &[name, extent] :
         std::map<std::string, int64_t>{{"D", 24}, {"K", 24}, {"Dv", 48}, {"V", 48}})
      if (problem.dims.contains(name))
        problem.dims[name] = extent;
  };
  return check;
}

/// One form of one file on sm_80, and on others.
class FormOnCuda {
public:
  FormOnCuda(const File &file, const Case &check, const char *form,
             const std::shared_ptr<Device> &device)
      : file(file), check(check), form(form), device(device) {}

  /// Whether the file has the form, and CUDA takes it. A refusal is one of kRefused.
  bool isEmitted(FormErrors &errors) {
    Bound bound;
    Request request = requestFor(bound, "sm_80");
    Result<compiler::Choice> choice = compiler::choose(request);
    if (!choice || choice->form.empty())
      return false;
    Result<std::string> text = compiler::show(request, "cuda");
    const auto known = kRefused.find({check.pattern, form});
    if (!text.ok()) {
      INFO(text.error().toString());
      errors.refused(check.pattern, form, text.error().message);
      CHECK(known != kRefused.end());
      CHECK((known == kRefused.end() ||
             text.error().message.find(known->second) != std::string::npos));
      return false;
    }
    CHECK(known == kRefused.end());
    return true;
  }

  void run(const char *what, int64_t length, DType dtype, FormErrors &errors) {
    Variant variant{what, length, dtype, false, form};
    // Rows of a result are divided by their norm: of 3 values a few are so small that the rounding
    // of operands shows.
    if (file.text.find("} / V") != std::string::npos)
      variant.dims["V"] = 19;
    // One token has a row a head, among which a few may be small.
    if (length == 1 && file.text.find("taps") != std::string::npos)
      variant.dims["B"] = 8;
    runVariant(file, check, variant, device, "sm_80", &errors);
    checkVerdict();
  }

  /// PTX for another architecture, run where it says something else than that for sm_80.
  void checkArchitecture(const std::string &target) {
    INFO(target);
    Bound bound;
    Result<std::string> mine = compiler::show(requestFor(bound, "sm_80"), "ptx");
    Result<std::string> other = compiler::show(requestFor(bound, target), "ptx");
    INFO((other ? "" : other.error().toString()));
    REQUIRE(mine.ok());
    REQUIRE(other.ok());
    if (bodyOf(*mine) == bodyOf(*other) || target == "sm_100" || target == "sm_86")
      return;
    runVariant(file, check, {"as on sm_80", 7, DType::BF16, false, form}, ptxMachine(target),
               target);
    checkVerdict();
  }

  /// The text of small tiles says the same for every architecture, and becomes PTX for each: by the
  /// optimiser that does least, since what runs is another test's matter.
  void compileFor(std::span<const char *const> targets) {
    Bound bound;
    if (Result<compiler::Choice> choice = compiler::choose(requestFor(bound, "sm_80"));
        !choice || choice->form.empty())
      return;
    Result<compiler::cuda::Nvrtc> nvrtc = compiler::cuda::Nvrtc::load();
    REQUIRE(nvrtc.ok());
    std::string first;
    for (const char *target : targets) {
      Request request = requestFor(bound, target);
      request.schedule = {{"WARPS", 1}, {"BM", 16}, {"BN", 16}};
      Result<std::string> text = compiler::show(request, "cuda");
      INFO(check.pattern << " " << target << (text ? "" : "\n" + text.error().toString()));
      REQUIRE(text.ok());
      const std::string body = text->substr(text->find('\n')); // the first line names the target
      first = first.empty() ? body : first;
      CHECK(body == first);
      Result<compiler::cuda::CudaCode> code =
          nvrtc->compile(*text, check.pattern + ".cu", target, compiler::cuda::Nvrtc::Ptx,
                         compiler::cuda::Nvrtc::Least);
      INFO((code ? "" : code.error().toString()));
      REQUIRE(code.ok());
      CHECK(code->ptx.find(fmt::format(".target {}", target)) != std::string::npos);
    }
  }

  /// Tiles by TMA, on `target`. False, with the reason, where a tile is none that TMA copies.
  bool runByTma(const std::string &target, int64_t length) {
    Bound bound;
    Request request = requestFor(bound, target);
    request.schedule = {{"TMA", 1}};
    Result<std::string> text = compiler::show(request, "cuda");
    if (!text.ok()) {
      INFO(check.pattern << ": " << text.error().toString());
      CHECK(text.error().message.find("TMA=0") != std::string::npos);
      return false;
    }
    Variant variant{"by TMA", length, DType::BF16, false, form};
    variant.schedule = request.schedule;
    runVariant(file, check, variant, device, target);
    checkVerdict();
    return text->find("copy_tile(") != std::string::npos;
  }

private:
  Request requestFor(Bound &bound, const std::string &target) {
    bound = {};
    bindCase(bound, check, file.def, 7, DType::BF16);
    Request request = requestOf(file, bound, DType::BF16, *device, target);
    request.form = form;
    return request;
  }

  const File &file;
  const Case &check;
  const char *form;
  std::shared_ptr<Device> device;
};

} // namespace

TEST_CASE("attention forms of the library compile for every architecture") {
  if (!findNvrtc())
    HEDDLE_SKIP("no NVRTC on this computer");
  const char *only = std::getenv("HEDDLE_TEST_PATTERN");
  std::shared_ptr<Device> device = ptxMachine("sm_80");
  for (const Case &check : allCases()) {
    File file(check.pattern);
    if ((only && check.pattern != only) || !promisedForms(file.text).contains("attention"))
      continue;
    FormOnCuda(file, check, "attention", device).compileFor(kArchitectures);
  }
}

TEST_CASE("forms of the library as CUDA equal the interpreter on the PTX machine") {
  if (!findNvrtc())
    HEDDLE_SKIP("no NVRTC on this computer");
  const char *only = std::getenv("HEDDLE_TEST_PATTERN");
  std::shared_ptr<Device> device = ptxMachine("sm_80");
  checkLaunches();
  static FormErrors errors; // each section runs the whole case again
  size_t turn = 0;
  for (const Case &check : allCases())
    for (const char *form : kForms) {
      ++turn;
      if (only && check.pattern != only)
        continue;
      DYNAMIC_SECTION(check.pattern << " " << form) {
        File file(check.pattern);
        if (!promisedForms(file.text).contains(form))
          continue;
        FormOnCuda cuda(file, check, form, device);
        if (!cuda.isEmitted(errors))
          continue;
        // The quick tier takes one length and, now and then, one other architecture.
        const DType types[] = {DType::BF16, DType::F16};
        const int64_t lengths[] = {7, 77, 1, 100};
        for (size_t n = 0; n < std::size(lengths); ++n)
          if (wholeTier() || only || n == turn % 2)
            cuda.run("length", lengths[n], types[n % 2], errors);
        for (size_t n = 1; n < std::size(kArchitectures); ++n)
          if (wholeTier() || turn == 12 * n)
            cuda.checkArchitecture(kArchitectures[n]);
      }
    }
  if (!only)
    errors.write(std::string(kBinaryDir) + "/pattern_forms_cuda.json");
}

TEST_CASE("powers of rows that are computed keep more than 16 bits: heads of 5 features") {
  if (!findNvrtc())
    HEDDLE_SKIP("no NVRTC on this computer");
  std::shared_ptr<Device> device = ptxMachine("sm_80");
  checkLaunches();
  const std::vector<Case> cases = allCases();
  const auto check = std::find_if(cases.begin(), cases.end(),
                                  [](const Case &c) { return c.pattern == "rebased"; });
  REQUIRE(check != cases.end());
  const File file("rebased");
  for (const char *form : kForms)
    for (DType dtype : {DType::BF16, DType::F16}) {
      Variant variant{"few features", 40, dtype, false, form, {{"K", 5}, {"V", 3}}};
      variant.slack = 0.8; // operands of 16 bits: 1.5 to 20 times the tolerance
      runVariant(file, *check, variant, device, "sm_80");
      checkVerdict();
    }
}

TEST_CASE("attention of the library by TMA equals the interpreter, or is refused by name") {
  if (!findNvrtc())
    HEDDLE_SKIP("no NVRTC on this computer");
  const char *only = std::getenv("HEDDLE_TEST_PATTERN");
  std::shared_ptr<Device> device = ptxMachine("sm_90");
  checkLaunches();
  size_t turn = 0, copied = 0;
  for (const Case &original : allCases()) {
    const Case check = withWholeChunks(original);
    File file(check.pattern);
    if ((only && check.pattern != only) || !promisedForms(file.text).contains("attention"))
      continue;
    if (++turn % 4 == 1 || wholeTier() || only)
      copied += FormOnCuda(file, check, "attention", device).runByTma("sm_90", 77);
  }
  CHECK((only || copied >= (wholeTier() ? 30 : 6)));
}
