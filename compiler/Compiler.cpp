// compile: the way of a request from pattern text to an artifact.
//
//   text -> pattern.def -> form -> tile.program -> tile passes -> layout passes -> target
#include "compiler/Compiler.h"

#include "compiler/ArtifactFrame.h"
#include "compiler/Conditions.h"
#include "compiler/FormEstimates.h"
#include "compiler/Pipeline.h"
#include "compiler/Target.h"
#include "compiler/ValueRules.h"
#include "compiler/forms/Form.h"
#include "compiler/forms/FormCost.h"
#include "compiler/machine/Machine.h"
#include "compiler/schedule/Schedule.h"
#include "compiler/support/Emit.h"
#include "ir/pattern/Parse.h"

#include "llvm/Support/SHA256.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Pass/PassManager.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

namespace heddle::compiler {

namespace {

std::string textOf(mlir::Operation *op) {
  std::string text;
  llvm::raw_string_ostream os(text);
  op->print(os);
  return text;
}

std::string hashOf(llvm::StringRef text) {
  llvm::SHA256 hash;
  hash.update(text);
  return llvm::toHex(hash.final(), /*LowerCase=*/true);
}

/// One request on its way. Steps are called in order; each is fast once done.
class Compilation {
public:
  explicit Compilation(const Request &request)
      : request(request), context(pattern::makePatternContext()) {
    context->loadDialect<tile::TileDialect, mlir::arith::ArithDialect, mlir::math::MathDialect,
                         mlir::scf::SCFDialect, mlir::func::FuncDialect,
                         mlir::vector::VectorDialect, mlir::LLVM::LLVMDialect>();
  }

  /// Text to a verified pattern.
  Status parse() {
    parsed = pattern::parsePatterns(*context, request.patternText, "pattern.heddle");
    if (!parsed.ok())
      return parseError();
    std::string why;
    def = pattern::findPattern(*parsed.module, request.patternName, why);
    if (!def)
      return Error{ErrorCode::NotFound, why};
    return {};
  }

  /// Machine and schedule.
  Status plan() {
    HEDDLE_TRY(found, findTarget(request.target));
    target = found;
    HEDDLE_TRY(host, machineOf(request));
    machine = host;
    HEDDLE_TRY(complete, completeSchedule(request.schedule, machine, Problem::of(request)));
    schedule = complete;
    return {};
  }

  /// The form and its abstract kernels.
  Status build() {
    HEDDLE_TRY(chosen, chooseForm({def, request, schedule}));
    choice = chosen;
    program = choice.form->build({def, request, schedule});
    if (mlir::failed(mlir::verify(*program)))
      return failure(ErrorCode::CompilerFailure, "the form's kernels do not verify");
    readSupports();
    return {};
  }

  Status tilePasses() {
    mlir::PassManager passes(context.get());
    passes.enableVerifier(false); // once, after layouts; heddle-opt verifies after each pass
    addTilePasses(passes);
    if (mlir::failed(passes.run(*program)))
      return failure(ErrorCode::CompilerFailure, "the passes on tile IR failed");
    return {};
  }

  Status layoutPasses() {
    mlir::PassManager passes(context.get());
    passes.enableVerifier(false);
    HEDDLE_CHECK(target->addLayoutPasses(passes, job()));
    if (mlir::failed(passes.run(*program)))
      return failure(ErrorCode::Unsupported, "no layouts fit the machine");
    if (mlir::failed(mlir::verify(*program)))
      return failure(ErrorCode::CompilerFailure, "the kernels do not verify after their layouts");
    return {};
  }

  /// Everything up to station `layouts`.
  Status lower() {
    HEDDLE_CHECK(parse());
    HEDDLE_CHECK(plan());
    Status placed = lowerProgram();
    // Whether tiles fit is known after layouts: by default, chunks, and tiles of attention, are
    // halved until they do.
    while (!placed && placed.error().code == ErrorCode::Unsupported &&
           (halveChunk() || (isOverBudget() && halveTiles())))
      placed = lowerProgram();
    while (placed && hasManyCodes() && halveTiles())
      placed = lowerProgram();
    return placed;
  }

  Status lowerProgram() {
    diagnostics.clear();
    supports.clear();
    slowerPaths.clear();
    HEDDLE_CHECK(build());
    HEDDLE_CHECK(tilePasses());
    tileHash = hashOf(textOf(*program));
    return layoutPasses();
  }

  /// Whether the chunked form's chunks were not given and could be shorter; then they are.
  bool halveChunk() {
    auto chunk = schedule.find("CHUNK");
    if (request.schedule.contains("CHUNK") || chunk == schedule.end() || choice.form == nullptr ||
        std::string_view(choice.form->name) != "chunked" || request.target.starts_with("x86"))
      return false;
    const int64_t tokens = chunk->second == 0 ? 64 : chunk->second;
    chunk->second = tokens / 2;
    return tokens > 16;
  }

  /// Whether a kernel's tiles take more than the machine has (VerifyBudget's mark).
  bool isOverBudget() {
    if (!program)
      return false; // refused before there was one
    return program
        ->walk([](tile::KernelOp kernel) {
          return kernel->hasAttr("tile.over_budget") ? mlir::WalkResult::interrupt()
                                                     : mlir::WalkResult::advance();
        })
        .wasInterrupted();
  }

  /// Whether a thread of a GPU reads more codes of 8 bits of a tile of keys than it can take apart
  /// in its registers, by loads of 8 or, which takes more, one by one. Such kernels spill.
  bool hasManyCodes() {
    constexpr int64_t kLoaded = 128, kGathered = 64;
    if (!request.target.starts_with("sm_") || request.schedule.contains("BN") ||
        !schedule.contains("BN") || schedule.at("BN") <= 16)
      return false;
    const auto perThread = [](mlir::Value tile) -> int64_t {
      auto layout = mlir::dyn_cast_or_null<tile::DistAttr>(tile::typeOf(tile).getLayout());
      return layout ? layout.getLayout().mode(1).size() : 0;
    };
    const auto isCode = [](mlir::Type type) { return type.getIntOrFloatBitWidth() == 8; };
    return program
        ->walk([&](mlir::Operation *op) {
          bool many = false;
          if (auto load = mlir::dyn_cast<tile::LoadOp>(op))
            many = isCode(load.getType().getElementType()) && perThread(load) > kLoaded;
          if (auto gather = mlir::dyn_cast<tile::GatherOp>(op))
            many = isCode(gather.getType()) &&
                   perThread(gather->getParentOfType<tile::MapOp>().getResult(0)) > kGathered;
          return many ? mlir::WalkResult::interrupt() : mlir::WalkResult::advance();
        })
        .wasInterrupted();
  }

  /// Whether a GPU's tiles of keys were not given and could be shorter, or else those of rows; then
  /// they are. The rules know the widths of a pattern's tensors, not those of what it computes.
  bool halveTiles() {
    if (!request.target.starts_with("sm_") || choice.form == nullptr ||
        std::string_view(choice.form->name) != "attention")
      return false;
    const auto halve = [&](std::initializer_list<const char *> knobs, int64_t least) {
      for (const char *knob : knobs)
        if (request.schedule.contains(knob))
          return false;
      if (schedule.at(*knobs.begin()) < 2 * least)
        return false;
      for (const char *knob : knobs)
        schedule[knob] /= 2;
      return true;
    };
    return halve({"BN"}, 16) || halve({"WARPS", "BM"}, 1);
  }

  /// Whether the code is for no longer sequences than the request's: a tree has a kernel a level.
  bool dependsOnBounds() {
    bool found = false;
    def.walk([&](pattern::SelectOp select) {
      found |= select.getStrategy() == pattern::SelectStrategy::tree;
    });
    return found;
  }

  Artifact frame() {
    Artifact artifact = frameOf(*program->getOps<tile::ProgramOp>().begin());
    artifact.target = request.target;
    artifact.form = choice.form->name;
    artifact.schedule = schedule;
    artifact.staticDims = request.dims;
    artifact.valueRules = valueRulesOf(def, request.constants);
    for (const auto &[dim, extent] : request.extents)
      if (extent.bound == ExtentClass::One ||
          (extent.bound != ExtentClass::Any && dependsOnBounds()))
        artifact.predicates.push_back({dim, {extent.bound, false}});
    artifact.provenance["pattern"] = hashOf(request.patternText);
    artifact.provenance["tile"] = tileHash;
    for (const Refusal &refusal : choice.refusals)
      artifact.notes.push_back(fmt::format("form {}: {}", refusal.form, refusal.reason));
    for (const std::string &note : slowerPaths)
      artifact.notes.push_back(note);
    return artifact;
  }

  TargetJob job() const { return {request, schedule, machine}; }
  mlir::ModuleOp module() { return *program; }

  /// InvalidPattern or whatever went wrong, with MLIR's diagnostics as notes.
  Error failure(ErrorCode code, const std::string &what) {
    Error error{code, what};
    if (!diagnostics.empty())
      error.message += ": " + diagnostics.front();
    error.notes.assign(diagnostics.begin() + !diagnostics.empty(), diagnostics.end());
    return error;
  }

  const Request &request;
  std::unique_ptr<mlir::MLIRContext> context;
  pattern::Parsed parsed;
  pattern::DefOp def;
  const Target *target = nullptr;
  Machine machine;
  Schedule schedule;
  FormChoice choice;
  mlir::OwningOpRef<mlir::ModuleOp> program;
  std::vector<std::string> supports, slowerPaths;
  std::string tileHash;

private:
  Error parseError() {
    Error error{ErrorCode::InvalidPattern, "the text is no pattern"};
    bool first = true;
    for (const pattern::Diagnostic &diagnostic : parsed.diagnostics) {
      if (first && diagnostic.severity == pattern::Diagnostic::Error) {
        error.message = diagnostic.message;
        if (diagnostic.line > 0)
          error.where =
              fmt::format("{}:{}:{}", diagnostic.file, diagnostic.line, diagnostic.column);
        first = false;
      } else {
        error.notes.push_back(diagnostic.str());
      }
    }
    return error;
  }

  void readSupports() {
    program->walk([&](tile::ForOp loop) {
      if (!loop.getSupport())
        return;
      Support support = supportOf(loop);
      supports.push_back(toString(support));
      if (support.kind == SupportClass::C)
        for (const std::string &note : support.notes)
          slowerPaths.push_back("support: " + note + "; more keys are visited than have a pair");
    });
  }

  std::vector<std::string> diagnostics;
  mlir::ScopedDiagnosticHandler handler{context.get(), [this](mlir::Diagnostic &diagnostic) {
                                          diagnostics.push_back(diagnostic.str());
                                          return mlir::success();
                                        }};
};

} // namespace

Result<Artifact> compile(const Request &request) {
  Compilation compilation(request);
  HEDDLE_CHECK(compilation.lower());
  Artifact artifact = compilation.frame();
  HEDDLE_CHECK(addConditions(artifact, compilation.def, request.constants));
  HEDDLE_CHECK(compilation.target->emit(compilation.module(), compilation.job(), artifact));
  artifact.provenance["image"] = hashOf(artifact.image);
  return artifact;
}

Result<std::vector<Schedule>> enumerate(const Request &request) {
  Compilation compilation(request);
  HEDDLE_CHECK(compilation.parse());
  HEDDLE_CHECK(compilation.plan());
  HEDDLE_TRY(choice, chooseForm({compilation.def, request, compilation.schedule}));
  return legalSchedules(compilation.machine, Problem::of(request));
}

std::vector<std::string> stations(const std::string &target) {
  std::vector<std::string> names = {"pattern", "form", "tile", "layouts"};
  if (Result<const Target *> found = findTarget(target))
    for (const std::string &own : (*found)->stations())
      names.push_back(own);
  return names;
}

Result<std::string> show(const Request &request, const std::string &station) {
  Compilation compilation(request);
  HEDDLE_CHECK(compilation.parse());
  if (station == "pattern")
    return pattern::canonicalText(compilation.def);
  HEDDLE_CHECK(compilation.plan());
  HEDDLE_CHECK(compilation.build());
  if (station == "form")
    return textOf(compilation.module());
  HEDDLE_CHECK(compilation.tilePasses());
  if (station == "tile")
    return textOf(compilation.module());
  HEDDLE_CHECK(compilation.lower());
  if (station == "layouts")
    return textOf(compilation.module());
  for (const std::string &own : compilation.target->stations())
    if (own == station)
      return compilation.target->show(compilation.module(), compilation.job(), compilation.frame(),
                                      station);
  return Error{ErrorCode::InvalidArgument,
               fmt::format("unknown station '{}', expected one of: {}", station,
                           fmt::join(stations(request.target), ", "))};
}

Result<Choice> choose(const Request &request) {
  Compilation compilation(request);
  HEDDLE_CHECK(compilation.parse());
  HEDDLE_CHECK(compilation.plan());
  Choice choice;
  Status built = compilation.build();
  if (!built) {
    if (built.error().code != ErrorCode::Unsupported)
      return built.error();
    for (const std::string &note : built.error().notes)
      choice.refused.push_back(note.substr(note.find(' ') + 1));
    return choice;
  }
  choice.form = compilation.choice.form->name;
  for (const Refusal &refusal : compilation.choice.refusals)
    choice.refused.push_back(fmt::format("{}: {}", refusal.form, refusal.reason));
  choice.support = fmt::format("{}", fmt::join(compilation.supports, "\n"));
  compilation.module().walk([&](tile::KernelOp kernel) {
    auto why = kernel->getAttrOfType<mlir::StringAttr>("why");
    choice.launches.push_back({kernel.getSymName().str(), why ? why.str() : ""});
  });
  return choice;
}

Result<FormEstimates> estimateForms(const Request &request) {
  Compilation compilation(request);
  HEDDLE_CHECK(compilation.parse());
  HEDDLE_CHECK(compilation.plan());
  FormRequest asked{compilation.def, request, compilation.schedule};
  if (Result<FormChoice> choice = chooseForm(asked); !choice)
    return choice.error();
  FormEstimates estimates;
  Result<std::vector<MixSizes>> mixes = mixSizes(asked);
  if (!mixes || mixes->empty())
    return estimates;
  estimates.chunk = bestChunk(mixes->front(), nominalLength(request));
  llvm::SmallVector<const Form *> able = ableForms(asked);
  if (able.size() < 2)
    return estimates;
  constexpr int64_t kLongest = 65536;
  auto units = [&](const Form *form, int64_t length) {
    return estimatedUnits(form->name, *mixes, length)
        .value_or(std::numeric_limits<double>::infinity());
  };
  for (int64_t length = 1; length <= kLongest; length *= 2)
    estimates.lengths.push_back(length);
  for (const Form *form : able) {
    estimates.forms.push_back({form->name, {}});
    for (int64_t length : estimates.lengths)
      estimates.forms.back().second.push_back(units(form, length));
  }
  for (int64_t length = 1; length <= kLongest; length += std::max<int64_t>(1, length / 64)) {
    const Form *best = able.front();
    for (const Form *form : able)
      if (units(form, length) < units(best, length))
        best = form;
    if (estimates.best.empty() || estimates.best.back().second != best->name)
      estimates.best.push_back({length, best->name});
  }
  return estimates;
}

} // namespace heddle::compiler
