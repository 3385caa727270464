// A request and an artifact in which every field holds something.
#pragma once

#include "runtime/Artifact.h"
#include "runtime/Request.h"

#include <functional>

namespace heddle::test {

inline Request sampleRequest() {
  Request request;
  request.patternText = "pattern.def @p() {\n  return\n}\n";
  request.patternName = "p";
  request.dims = {{"D", 128}, {"Dv", 64}, {"G", 4}};
  request.dtypes = {{"*", DType::BF16}, {"cu", DType::I32}};
  request.constants = {{"cap", 50.0}};
  request.extents = {{"Tq", {ExtentClass::One, false}}, {"Tk", {ExtentClass::Any, true}}};
  request.buckets = {{"Tq", 1}, {"Tk", 1024}};
  request.form = "attention";
  request.schedule = {{"BM", 64}, {"BN", 128}};
  request.target = "cpu";
  request.machine = "host";
  request.deviceFacts = "some processor; avx2 fma";
  request.compilerBuild = "0123abcd";
  request.nvrtc = "/usr/lib/libnvrtc.so.13 109 17.5";
  request.flags = "fast";
  return request;
}

/// Every input of a kernel, changed one by one; each gives another kernel.
inline const std::function<void(Request &)> kRequestChanges[] = {
    [](Request &r) { r.patternText += " "; },
    [](Request &r) { r.patternName = "q"; },
    [](Request &r) { r.dims["D"] = 64; },
    [](Request &r) { r.dims["E"] = 64; },
    [](Request &r) { r.dims.erase("G"); },
    [](Request &r) { r.dtypes["*"] = DType::F16; },
    [](Request &r) { r.dtypes["k"] = DType::F16; },
    [](Request &r) { r.constants["cap"] = 30; },
    [](Request &r) { r.constants.clear(); },
    [](Request &r) { r.extents["Tq"].bound = ExtentClass::UpTo16; },
    [](Request &r) { r.extents["Tk"].multipleOf16 = false; },
    [](Request &r) { r.extents["B"] = {}; },
    [](Request &r) { r.form = "chunked"; },
    [](Request &r) { r.target = "sm_80"; },
    [](Request &r) { r.machine = "x86-avx2"; },
    [](Request &r) { r.deviceFacts += " avx512f"; },
    [](Request &r) { r.compilerBuild = "0123abce"; },
    [](Request &r) { r.nvrtc = "/opt/libnvrtc.so.13 1 2.0"; },
    [](Request &r) { r.flags = ""; },
};

inline Artifact sampleArtifact() {
  Artifact artifact;
  artifact.name = "sample";
  artifact.target = "cpu";
  artifact.form = "attention";
  artifact.schedule = {{"BM", 64}};
  artifact.staticDims = {{"D", 128}};
  artifact.requiredFeatures = {"avx2"};
  artifact.scalars = {{"T", ScalarInfo::Extent, 0}, {"scale", ScalarInfo::FloatParameter, 0.5}};
  artifact.tensors = {{"x", DType::F32, false, {"T", "D"}}, {"y", DType::F32, true, {"T", "D"}}};
  artifact.tensorMaps = {{0, {{-1, 16, 1, 8}, {0, 1, 1, 64}, {-1, 8, 16, 8}}, 32}};
  artifact.arguments = {{Argument::TensorPointer, 0, 0, 0},
                        {Argument::TensorPointer, 1, 0, 8},
                        {Argument::TensorStride, 0, 0, 16},
                        {Argument::ScalarValue, 0, 0, 24},
                        {Argument::WorkspacePointer, 0, 0, 32}};
  artifact.blockBytes = 40;
  const Formula rows = Formula::scalar(0);
  artifact.workspaceBytes = {rows.combine(Formula::Mul, Formula::constant(4))};
  Launch launch;
  launch.entry = "sample_main";
  launch.grid[0] = rows.combine(Formula::CeilDiv, Formula::constant(64));
  launch.grid[1] = launch.grid[2] = Formula::constant(1);
  launch.sharedBytes = Formula::constant(256);
  launch.longestFirst = true;
  artifact.launches = {launch};
  artifact.predicates = {{"T", {ExtentClass::UpTo64, false}}};
  artifact.constraints = {{Constraint::AtMost, rows, Formula::constant(64), "T <= 64"}};
  artifact.image = std::string("\x7f"
                               "ELF\0image",
                               10);
  artifact.resources = {{"sample_main", {128, 16, 4, 8, 1024, 400}}};
  artifact.sources = {{"asm", "ret"}};
  artifact.provenance = {{"ir", "abcd"}};
  artifact.notes = {"form chunked: has no decay"};
  return artifact;
}

} // namespace heddle::test
