// Which function writes which stage, and which maps share a kernel.
#include "compiler/forms/StageKernels.h"

#include "compiler/forms/ChooseKernels.h"
#include "compiler/forms/MapKernels.h"

namespace heddle::compiler {

std::string refuseStage(const Graph &graph, const Stage &stage) {
  if (auto map = std::get_if<MapStage>(&stage))
    return refuseMap(graph, *map);
  if (auto choice = std::get_if<ChooseStage>(&stage))
    return refuseChoose(graph, *choice);
  return "";
}

static bool isOne(const FormRequest &request, const Extent &extent) {
  auto found = request.request.extents.find(extent.name);
  return extent.fixed == 1 ||
         (found != request.request.extents.end() && found->second.bound == ExtentClass::One);
}

void writeStages(ProgramWriter &program, const FormRequest &request, const Graph &graph,
                 llvm::function_ref<void(const Stage &)> writeMix) {
  llvm::SmallVector<const MapStage *> maps; // of one kernel
  auto flush = [&] {
    if (!maps.empty())
      writeMaps(program, graph, maps);
    maps.clear();
  };
  for (const Stage &stage : graph.stages) {
    if (auto map = std::get_if<MapStage>(&stage)) {
      bool joined = request.request.target == "cpu" && !maps.empty() && joins(graph, maps, *map);
      if (!joined)
        flush();
      maps.push_back(map);
      continue;
    }
    flush();
    if (auto prefix = std::get_if<PrefixStage>(&stage))
      writePrefix(program, graph, *prefix);
    else if (auto choice = std::get_if<ChooseStage>(&stage))
      // One row shares no candidates; a GPU's matrix units would round what ranks depend on.
      writeChoose(program, graph, *choice,
                  request.request.target == "cpu" &&
                      !isOne(request, graph.find(choice->name)->dim(0)));
    else if (auto buckets = std::get_if<BucketStage>(&stage))
      writeBuckets(program, graph, *buckets);
    else if (auto tree = std::get_if<AncestorStage>(&stage))
      writeAncestors(program, graph, *tree);
    else
      writeMix(stage);
  }
  flush();
}

} // namespace heddle::compiler
