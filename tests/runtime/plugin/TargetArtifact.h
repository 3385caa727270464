// The hand-written kernels for any target: those of kernels.c, or of kernels.ptx.
#pragma once

#include "tests/runtime/plugin/ScaleArtifact.h"
#include "tests/support/Files.h"

namespace heddle::test {

inline Artifact scaleArtifactFor(const std::string &target, int64_t columns) {
  Artifact artifact = scaleArtifact(columns);
  if (target == "cpu")
    return artifact;
  artifact.target = target;
  artifact.image.clear();
  artifact.sources["ptx"] = readFile(std::string(kSourceDir) + "/tests/runtime/plugin/kernels.ptx");
  return artifact;
}

} // namespace heddle::test
