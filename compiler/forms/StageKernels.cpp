// Which function writes which stage.
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

void writeStage(ProgramWriter &program, const Graph &graph, const Stage &stage) {
  if (auto map = std::get_if<MapStage>(&stage))
    writeMap(program, graph, *map);
  else if (auto prefix = std::get_if<PrefixStage>(&stage))
    writePrefix(program, graph, *prefix);
  else if (auto choice = std::get_if<ChooseStage>(&stage))
    writeChoose(program, graph, *choice);
  else if (auto buckets = std::get_if<BucketStage>(&stage))
    writeBuckets(program, graph, *buckets);
  else if (auto tree = std::get_if<AncestorStage>(&stage))
    writeAncestors(program, graph, *tree);
}

} // namespace heddle::compiler
