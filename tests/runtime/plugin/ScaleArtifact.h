// The artifact and signature of the hand-written kernels in kernels.c:
//   y[T, D] = factor * x[T, D], s[1] = sum of y + 0 + 1 + 2
#pragma once

#include "runtime/Artifact.h"
#include "runtime/Signature.h"
#include "tests/support/Paths.h"

#include <fstream>
#include <iterator>

namespace heddle::test {

inline std::string kernelImage(const std::string &name = "kernels") {
  std::ifstream file(std::string(kBinaryDir) + "/lib/libheddle-test-" + name + ".so",
                     std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline Artifact scaleArtifact(int64_t columns) {
  Artifact artifact;
  artifact.name = "scale";
  artifact.target = "cpu";
  artifact.form = "attention";
  artifact.staticDims = {{"D", columns}};
  artifact.scalars = {{"T", ScalarInfo::Extent, 0},
                      {"D", ScalarInfo::Extent, 0},
                      {"factor", ScalarInfo::FloatParameter, 2.0}};
  artifact.tensors = {{"x", DType::F32, false, {"T", "D"}},
                      {"y", DType::F32, true, {"T", "D"}},
                      {"s", DType::F32, true, {"1"}}};
  artifact.arguments = {{Argument::TensorPointer, 0, 0, 0},     {Argument::TensorPointer, 1, 0, 8},
                        {Argument::TensorPointer, 2, 0, 16},    {Argument::TensorStride, 0, 0, 24},
                        {Argument::TensorStride, 1, 0, 32},     {Argument::ScalarValue, 0, 0, 40},
                        {Argument::ScalarValue, 1, 0, 48},      {Argument::ScalarValue, 2, 0, 56},
                        {Argument::WorkspacePointer, 0, 0, 64}, {Argument::RepeatIndex, 0, 0, 72}};
  artifact.blockBytes = 80;
  const Formula one = Formula::constant(1);
  const Formula points = Formula::scalar(0).combine(Formula::CeilDiv, Formula::constant(4));
  artifact.workspaceBytes = {points.combine(Formula::Mul, Formula::constant(8))};
  const Launch scale{"scale_rows", {points, one, one}, {1, 1, 1}, Formula::constant(64), one,
                     false};
  const Launch sum{"sum_partials", {one, one, one}, {1, 1, 1}, Formula::constant(0), one, false};
  Launch add = sum;
  add.entry = "add_index";
  add.repeat = Formula::constant(3);
  artifact.launches = {scale, sum, add};
  artifact.image = kernelImage();
  return artifact;
}

inline Signature scaleSignature() {
  Signature signature;
  signature.name = "scale";
  signature.tensors = {{"x", false, false, DType::F32, {"T", "D"}},
                       {"y", true, false, DType::F32, {"T", "D"}},
                       {"s", true, true, DType::F32, {"1"}}};
  Signature::Parameter factor;
  factor.name = "factor";
  factor.defaultValue = 2.0;
  signature.parameters = {factor};
  signature.staticDims = {"D"};
  signature.classDims = {"T"};
  return signature;
}

} // namespace heddle::test
