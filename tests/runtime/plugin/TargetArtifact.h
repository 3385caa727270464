// The hand-written kernels for any target: those of kernels.c, or of kernels.ptx.
#pragma once

#include "tests/runtime/plugin/ScaleArtifact.h"

namespace heddle::test {

inline Artifact scaleArtifactFor(const std::string &target, int64_t columns) {
  Artifact artifact = scaleArtifact(columns);
  if (target == "cpu")
    return artifact;
  std::ifstream file(std::string(kSourceDir) + "/tests/runtime/plugin/kernels.ptx");
  artifact.target = target;
  artifact.image.clear();
  artifact.sources["ptx"] = {std::istreambuf_iterator<char>(file), {}};
  return artifact;
}

} // namespace heddle::test
