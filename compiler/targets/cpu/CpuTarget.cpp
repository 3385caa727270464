// Concrete program in, artifact out: TileToVector, the LLVM pipeline, the linker. Fills what
// Target::emit leaves to a target: image, required features, scratch bytes of each launch.
#include "compiler/targets/cpu/CpuTarget.h"

#include "compiler/targets/cpu/Evaluator.h"
#include "compiler/targets/cpu/NativeCode.h"
#include "compiler/targets/cpu/TileToVector.h"

#include <fmt/format.h>

using namespace mlir;

namespace heddle::compiler::cpu {
namespace {

int64_t knob(const TargetJob &job, const char *name, int64_t byDefault) {
  auto found = job.schedule.find(name);
  return found == job.schedule.end() ? byDefault : found->second;
}

struct Lowered {
  OwningOpRef<ModuleOp> module;
  Isa isa;
  std::vector<int64_t> scratchBytes;
};

Result<tile::ProgramOp> onlyProgram(ModuleOp module) {
  auto programs = module.getOps<tile::ProgramOp>();
  if (programs.empty() || std::next(programs.begin()) != programs.end())
    return Error{ErrorCode::Internal, "expected one tile.program in the module"};
  return *programs.begin();
}

Result<Lowered> lower(ModuleOp module, const TargetJob &job, const Artifact &artifact) {
  Lowered lowered;
  HEDDLE_TRY(isa, chooseIsa(job.request.deviceFacts, knob(job, "ISA", 0)));
  lowered.isa = isa;
  lowered.isa.dropsAsked = job.machine.prefetch.dropped;
  Blocking blocking;
  blocking.vectors = knob(job, "MQ", isa.level == Isa::Avx512 ? 4 : 2);
  blocking.others = knob(job, "MK", 4);
  if (blocking.vectors < 1 || blocking.others < 1 ||
      blocking.vectors * blocking.others > isa.registers())
    return Error{ErrorCode::InvalidArgument,
                 fmt::format("a register block of MQ={} x MK={} needs more than the {} registers",
                             blocking.vectors, blocking.others, isa.registers())};
  HEDDLE_TRY(program, onlyProgram(module));
  lowered.isa.amx = isa.amx && hasAmxProduct(program);
  HEDDLE_TRY(vectors,
             lowerTileToVector(program, artifact, lowered.isa, blocking, lowered.scratchBytes));
  lowered.module = std::move(vectors);
  return lowered;
}

} // namespace

Status emit(ModuleOp module, const TargetJob &job, Artifact &artifact) {
  HEDDLE_TRY(lowered, lower(module, job, artifact));
  HEDDLE_TRY(objects, emitObjects(*lowered.module, lowered.isa));
  HEDDLE_TRY(image, linkSharedObject(objects));
  if (artifact.launches.size() != lowered.scratchBytes.size())
    return Error{ErrorCode::Internal, "the artifact's launches are not the program's kernels"};
  artifact.image = std::move(image);
  artifact.requiredFeatures = lowered.isa.requiredFeatures();
  for (size_t n = 0; n < artifact.launches.size(); ++n)
    artifact.launches[n].sharedBytes = Formula::constant(lowered.scratchBytes[n]);
  return {};
}

Result<std::string> show(ModuleOp module, const TargetJob &job, const Artifact &artifact,
                         std::string_view station) {
  HEDDLE_TRY(lowered, lower(module, job, artifact));
  if (station == "llvm")
    return printNative(*lowered.module, lowered.isa, NativeText::Llvm);
  if (station == "asm")
    return printNative(*lowered.module, lowered.isa, NativeText::Assembly);
  std::string text;
  llvm::raw_string_ostream stream(text);
  lowered.module->print(stream);
  return text;
}

std::vector<std::string> stations() { return {"vector", "llvm", "asm"}; }

} // namespace heddle::compiler::cpu
