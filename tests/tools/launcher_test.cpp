// The emitted host program compiles with the project's own compiler, with
// CUDA's header and without.
#include "tests/runtime/Samples.h"
#include "tests/runtime/Scratch.h"
#include "tests/support/Test.h"
#include "tools/heddle/Launcher.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

using namespace heddle;
using Catch::Matchers::Contains;

namespace {

Artifact attentionArtifact() {
  Artifact artifact;
  artifact.name = "causal_softmax";
  artifact.target = "sm_90";
  artifact.form = "attention";
  artifact.staticDims = {{"D", 72}};
  artifact.scalars = {{"B", ScalarInfo::Extent, 0},
                      {"T", ScalarInfo::Extent, 0},
                      {"D", ScalarInfo::Extent, 0},
                      {"W", ScalarInfo::IntParameter, 1024},
                      {"cap", ScalarInfo::FloatParameter, 0.5}};
  artifact.tensors = {{"q", DType::BF16, false, {"B", "T", "4", "D"}},
                      {"o", DType::F32, true, {"B", "T", "4", "D"}}};
  artifact.arguments = {
      {Argument::TensorPointer, 0, 0, 0},     {Argument::TensorStride, 0, 1, 8},
      {Argument::TensorPointer, 1, 0, 16},    {Argument::ScalarValue, 1, 0, 24},
      {Argument::ScalarValue, 3, 0, 32},      {Argument::ScalarValue, 4, 0, 40},
      {Argument::WorkspacePointer, 0, 0, 48}, {Argument::WorkspacePointer, 1, 0, 56},
      {Argument::RepeatIndex, 0, 0, 64}};
  artifact.blockBytes = 72;
  const Formula length = Formula::scalar(1), one = Formula::constant(1);
  const Formula tiles = length.combine(Formula::CeilDiv, Formula::constant(64));
  artifact.workspaceBytes = {length.combine(Formula::Mul, Formula::constant(4)),
                             length.combine(Formula::Max, one)};
  artifact.launches = {{"attend",
                        {tiles, Formula::scalar(0), one},
                        {128, 1, 1},
                        Formula::constant(73728),
                        one,
                        true},
                       {"merge",
                        {one, one, one},
                        {32, 1, 1},
                        Formula::constant(0),
                        length.combine(Formula::FloorDiv, Formula::constant(2)),
                        false}};
  return artifact;
}

bool compiles(const std::string &source, const std::string &flags) {
  return std::system(
             ("clang++-22 -std=c++17 -Wall -Wextra -Werror -fsyntax-only " + flags + " " + source)
                 .c_str()) == 0;
}

void checkCompiles(const std::string &text) {
  if (std::system("clang++-22 --version > /dev/null 2>&1") != 0)
    HEDDLE_SKIP("no clang++-22 on the PATH");
  test::ScratchFolder scratch;
  const std::string source = scratch / "launch.cpp";
  std::ofstream(source) << text;
  CHECK(compiles(source, ""));
  for (const char *folder : {"/usr/local/cuda/include", "/usr/local/cuda-13.0/include"})
    if (std::filesystem::exists(std::string(folder) + "/cuda.h")) {
      INFO(folder);
      CHECK(compiles(source, std::string("-isystem ") + folder));
      break;
    }
}

} // namespace

TEST_CASE("the host program makes the tensor maps that a kernel takes") {
  Artifact artifact = attentionArtifact();
  artifact.tensorMaps = {
      {0, {{-1, 8, 1, 8}, {1, 1, 1, 64}, {-1, 9, 8, 10}, {2, 1, 1, 1}, {0, 1, 1, 1}}, 0}};
  artifact.arguments.push_back({Argument::TensorMap, 0, 0, 128});
  artifact.blockBytes = 256;
  const std::string text = tool::launcherText(artifact, "causal_softmax.cubin");
  CHECK_THAT(text, Contains("alignas(128) CUtensorMap map0;") &&
                       Contains("mapOf(p.q, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, "
                                "CU_TENSOR_MAP_SWIZZLE_NONE") &&
                       Contains("{p.T, 4 * p.D * 2, 64}, {9, 16, 10}"));
  checkCompiles(text);
}

TEST_CASE("the host program of a kernel compiles and has its launches and formulas") {
  const std::string text = tool::launcherText(attentionArtifact(), "causal_softmax.cubin");
  CHECK_THAT(text, Contains("ceildiv(p.T, 64)") &&
                       Contains("cuModuleGetFunction(&function, module, \"merge\")"));
  CHECK_THAT(text, Contains("static_assert(sizeof(Parameters) == 72)"));
  CHECK_THAT(text, Contains("parameters.q_stride1 = 4 * 72") ||
                       Contains("parameters.q_stride1 = 4 * p.D"));
  CHECK_THAT(text, Contains("for (int64_t n = 0; n < floordiv(p.T, 2); ++n)"));
  checkCompiles(text);
}
