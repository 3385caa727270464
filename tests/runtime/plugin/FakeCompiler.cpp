// A compiler library that speaks compiler/Plugin.h and needs no LLVM: whatever the pattern, it
// describes one with tensors x, y and s and gives the artifact of the hand-written kernels. Pattern
// texts that begin with "refuse" are refused. $HEDDLE_FAKE_LOG, if set, gets a line for every call;
// $HEDDLE_FAKE_DELAY is how many milliseconds a compile takes.
#include "compiler/Plugin.h"
#include "runtime/Version.h"
#include "tests/runtime/plugin/TargetArtifact.h"

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <thread>

using namespace heddle;

namespace {

void note(const char *call) {
  if (const char *path = std::getenv("HEDDLE_FAKE_LOG"))
    std::ofstream(path, std::ios::app) << call << "\n";
}

int give(const std::string &bytes, heddle_sink sink, void *user) {
  sink(user, bytes.data(), bytes.size());
  return 0;
}

int refuse(const Error &error, heddle_sink sink, void *user) {
  give(error.serialize(), sink, user);
  return 1;
}

std::string_view view(heddle_bytes bytes) { return {bytes.data, bytes.size}; }

int compile(heddle_bytes text, heddle_sink sink, void *user) {
  note("compile");
  if (const char *delay = std::getenv("HEDDLE_FAKE_DELAY"))
    std::this_thread::sleep_for(std::chrono::milliseconds(std::atoi(delay)));
  Result<Request> request = Request::parse(view(text));
  if (!request.ok())
    return refuse(request.error(), sink, user);
  if (request->patternText.starts_with("refuse"))
    return refuse({ErrorCode::InvalidPattern, "found refuse, expected scale", "p.heddle:1:1"}, sink,
                  user);
  Artifact artifact = test::scaleArtifactFor(request->target, request->dims.at("D"));
  artifact.schedule = request->schedule;
  return give(artifact.serialize(), sink, user);
}

int describe(heddle_bytes pattern, heddle_bytes, heddle_sink sink, void *user) {
  note("describe");
  if (view(pattern).starts_with("refuse"))
    return refuse({ErrorCode::InvalidPattern, "found refuse, expected scale", "p.heddle:1:1"}, sink,
                  user);
  return give(test::scaleSignature().serialize(), sink, user);
}

int show(heddle_bytes, heddle_bytes station, heddle_sink sink, void *user) {
  return give(station.size ? "station " + std::string(view(station)) : "pattern\nasm\n", sink,
              user);
}

int enumerate(heddle_bytes, heddle_sink sink, void *user) {
  return give("BM=4\nBM=8\n", sink, user);
}

int explain(heddle_bytes, const heddle_compiler_call *, heddle_sink sink, void *user) {
  return give("{}", sink, user);
}
int check(heddle_bytes, const heddle_compiler_call *, const heddle_compiler_check *,
          heddle_sink sink, void *user) {
  return give("{}", sink, user);
}
int tune(heddle_bytes, const heddle_compiler_call *, const heddle_compiler_sweep *,
         heddle_sink sink, void *user) {
  return give("{}", sink, user);
}
int list(heddle_sink sink, void *user) { return give("[]", sink, user); }

/// Doubles every element of the only input into the first result.
int interpret(heddle_bytes, const heddle_compiler_call *call, heddle_sink sink, void *user) {
  const heddle_compiler_tensor &in = call->inputs[0], &out = call->results[0];
  for (int64_t n = 0; n < in.shape[0] * in.shape[1]; ++n)
    static_cast<double *>(out.data)[n] =
        2 * loadElement(static_cast<DType>(in.dtype), in.data, n) + call->parameters[0].value;
  return give(std::to_string(call->row_count), sink, user);
}

const heddle_compiler_api kApi = {sizeof(heddle_compiler_api),
                                  HEDDLE_COMPILER_API_VERSION,
                                  kVersion,
                                  compile,
                                  describe,
                                  show,
                                  enumerate,
                                  explain,
                                  list,
                                  list,
                                  interpret,
                                  check,
                                  tune,
                                  nullptr,
                                  nullptr};

} // namespace

extern "C" const heddle_compiler_api *heddle_compiler_get_api(uint32_t version) {
  return version == HEDDLE_COMPILER_API_VERSION ? &kApi : nullptr;
}
