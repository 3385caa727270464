// Walks the stages of a pattern whose mixes are scans.
#include "compiler/forms/ScanProgram.h"

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
    std::string reason = scan ? more(*scan) : refuseStage(*graph, stage);
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
  ProgramWriter program(*graph, pattern::DefOp(request.def).getSymName());
  int64_t scans = 0;
  writeStages(program, request, *graph, [&](const Stage &stage) {
    write(program, std::get<ScanProblem>(stage), scans ? "_" + std::to_string(scans) : "");
    ++scans;
  });
  return program.take();
}

} // namespace heddle::compiler
