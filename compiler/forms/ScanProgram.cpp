// Walks the stages of a pattern whose mixes are scans, or weights of pairs beside scans.
#include "compiler/forms/ScanProgram.h"

#include "compiler/forms/PairMixes.h"
#include "compiler/forms/StageKernels.h"

namespace heddle::compiler {

using namespace mlir;

std::string refuseScans(const FormRequest &request, MixAs mixes,
                        llvm::function_ref<std::string(const ScanProblem &)> more) {
  Result<Graph> graph = readGraph(request, mixes);
  if (!graph)
    return graph.error().message;
  for (const Stage &stage : graph->stages) {
    auto scan = std::get_if<ScanProblem>(&stage);
    auto pairs = std::get_if<MixProblem>(&stage);
    std::string reason = scan    ? more(*scan)
                         : pairs ? refusePairs(*pairs)
                                 : refuseStage(*graph, stage);
    if (!reason.empty())
      return reason;
  }
  return "";
}

OwningOpRef<ModuleOp>
buildScans(const FormRequest &request, MixAs mixes,
           llvm::function_ref<void(ProgramWriter &, const ScanProblem &, llvm::StringRef)> write) {
  Result<Graph> graph = readGraph(request, mixes);
  assert(graph && "build follows a refuse that found nothing");
  PairMixes pairs(request, *graph);
  ProgramWriter program(*graph, pattern::DefOp(request.def).getSymName(), pairs.groupedHeads,
                        pairs.group);
  int64_t scans = 0;
  writeStages(program, request, *graph, [&](const Stage &stage) {
    if (auto mix = std::get_if<MixProblem>(&stage))
      return pairs.write(program, *mix);
    write(program, std::get<ScanProblem>(stage), scans ? "_" + std::to_string(scans) : "");
    ++scans;
  });
  return program.take();
}

} // namespace heddle::compiler
