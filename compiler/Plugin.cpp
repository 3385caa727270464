// The C entry points of libheddle-compiler: bytes in, the compiler called, bytes or an error out.
//   compile(request text) -> Request::parse -> compiler::compile -> Artifact::serialize -> sink
#include "compiler/Plugin.h"

#include "compiler/Compiler.h"
#include "compiler/Interpreter.h"
#include "compiler/PluginCall.h"
#include "compiler/PluginGpu.h"
#include "compiler/PluginReports.h"
#include "compiler/PluginSignature.h"
#include "compiler/schedule/Schedule.h"
#include "runtime/Version.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <exception>

namespace heddle::compiler {
namespace {

/// Runs `work` and hands its text, or its error, to the sink. Nothing may be thrown across the
/// boundary; what a library throws all the same becomes an error.
template <typename Work> int answer(heddle_sink sink, void *user, Work work) {
  Result<std::string> result = Error{};
  try {
    result = work();
  } catch (const std::exception &thrown) {
    result = Error{ErrorCode::Internal, fmt::format("an exception was thrown: {}", thrown.what())};
  }
  const std::string bytes = result.ok() ? *result : result.error().serialize();
  sink(user, bytes.data(), bytes.size());
  return result.ok() ? 0 : 1;
}

// --- interpret -----------------------------------------------------------------------------------

/// The place of row (b, h, row) in a result [B, T, H, ...].
/// Copies an output to the caller's dense f64 tensor: whole, or only what is known of it.
Status deliver(const Output &output, const TensorView &view) {
  int64_t elements = 1;
  for (int64_t extent : output.shape)
    elements *= extent;
  if (view.dtype != DType::F64 || view.elements() != elements)
    return Error{ErrorCode::InvalidArgument,
                 fmt::format("found a buffer for {} that is not f64 with {} elements", output.name,
                             elements)};
  double *data = static_cast<double *>(view.data);
  for (size_t n = 0; n < output.values.size(); ++n)
    data[output.places.empty() ? n : size_t(output.places[n])] = output.values[n];
  return {};
}

Result<std::string> runInterpreter(const Request &request, const heddle_compiler_call &call) {
  HEDDLE_TRY(pattern, parsePattern(request.patternText, request.patternName));
  HEDDLE_TRY(bindings, bindingsOf(request, call));
  RowSelection rows;
  for (size_t n = 0; n < call.row_count; ++n)
    rows.rows.push_back({call.rows[3 * n], call.rows[3 * n + 1], call.rows[3 * n + 2]});
  HEDDLE_TRY(outputs, interpret(pattern.def, bindings, rows));
  for (size_t n = 0; n < call.result_count; ++n) {
    const std::string name(view(call.results[n].name));
    const Output *output = outputs.find(name);
    if (!output)
      return Error{ErrorCode::InvalidArgument,
                   fmt::format("found the result '{}', which the pattern does not return", name)};
    HEDDLE_TRY(target, viewOf(call.results[n]));
    HEDDLE_CHECK(deliver(*output, target));
  }
  return std::string();
}

// --- tables --------------------------------------------------------------------------------------

nlohmann::json knobJson(const Knob &knob) {
  return {{"name", knob.name},
          {"target", knob.target},
          {"candidates", knob.candidates},
          {"help", knob.help}};
}

nlohmann::json machineJson(const Machine &machine) {
  nlohmann::json json = {{"name", machine.name},          {"title", machine.title},
                         {"target", machine.target},      {"features", machine.features},
                         {"clock_ghz", machine.clockGHz}, {"memory_gbs", machine.memoryGBs},
                         {"l1_bytes", machine.l1Bytes},   {"l2_bytes", machine.l2Bytes},
                         {"l3_bytes", machine.l3Bytes},   {"sources", machine.sources}};
  if (machine.target == "cpu")
    json["vector"] = {{"bits", machine.vector.bits},
                      {"registers", machine.vector.registers},
                      {"fma_per_cycle", machine.vector.fmaPerCycle},
                      {"bf16_dot_per_cycle", machine.vector.bf16DotPerCycle}};
  else
    json["gpu"] = {{"multiprocessors", machine.gpu.multiprocessors},
                   {"shared_bytes_per_block", machine.gpu.sharedBytesPerBlock},
                   {"tensor_f16_per_cycle", machine.gpu.tensorF16PerCycle},
                   {"fma_per_cycle", machine.gpu.fmaPerCycle}};
  return json;
}

// --- the entry points ----------------------------------------------------------------------------

int compileEntry(heddle_bytes text, heddle_sink sink, void *user) {
  return answer(sink, user, [&]() -> Result<std::string> {
    HEDDLE_TRY(request, readRequest(text));
    HEDDLE_TRY(artifact, compile(request));
    HEDDLE_CHECK(artifact.validate());
    return artifact.serialize();
  });
}

int describeEntry(heddle_bytes text, heddle_bytes name, heddle_sink sink, void *user) {
  return answer(sink, user, [&]() -> Result<std::string> {
    HEDDLE_TRY(pattern, parsePattern(view(text), view(name)));
    HEDDLE_TRY(signature, signatureOf(pattern.def));
    addVerdicts(signature, std::string(view(text)), std::string(view(name)));
    return signature.serialize();
  });
}

int showEntry(heddle_bytes text, heddle_bytes station, heddle_sink sink, void *user) {
  return answer(sink, user, [&]() -> Result<std::string> {
    if (station.size == 0)
      return fmt::format("{}\n", fmt::join(stations(), "\n"));
    HEDDLE_TRY(request, readRequest(text));
    return show(request, std::string(view(station)));
  });
}

int enumerateEntry(heddle_bytes text, heddle_sink sink, void *user) {
  return answer(sink, user, [&]() -> Result<std::string> {
    HEDDLE_TRY(request, readRequest(text));
    HEDDLE_TRY(schedules, enumerate(request));
    std::string lines;
    for (const Schedule &schedule : schedules)
      lines += scheduleText(schedule) + "\n";
    return lines;
  });
}

int explainEntry(heddle_bytes text, const heddle_compiler_call *call, heddle_sink sink,
                 void *user) {
  return answer(sink, user, [&]() -> Result<std::string> {
    HEDDLE_TRY(request, readRequest(text));
    return explainReport(request, *call);
  });
}

int checkEntry(heddle_bytes text, const heddle_compiler_call *call,
               const heddle_compiler_check *options, heddle_sink sink, void *user) {
  return answer(sink, user, [&]() -> Result<std::string> {
    HEDDLE_TRY(request, readRequest(text));
    return checkReport(request, *call, *options);
  });
}

int tuneEntry(heddle_bytes text, const heddle_compiler_call *call,
              const heddle_compiler_sweep *options, heddle_sink sink, void *user) {
  return answer(sink, user, [&]() -> Result<std::string> {
    HEDDLE_TRY(request, readRequest(text));
    return tuneReport(request, *call, *options);
  });
}

int inspectEntry(heddle_bytes text, heddle_bytes bytes, int32_t sass, heddle_bytes counts,
                 heddle_sink sink, void *user) {
  return answer(sink, user, [&]() -> Result<std::string> {
    HEDDLE_TRY(request, readRequest(text));
    HEDDLE_TRY(artifact, Artifact::parse(view(bytes)));
    return inspectReport(request, artifact, sass != 0, view(counts));
  });
}

int estimateEntry(heddle_bytes text, const heddle_compiler_call *call,
                  const heddle_compiler_sweep *options, heddle_sink sink, void *user) {
  return answer(sink, user, [&]() -> Result<std::string> {
    HEDDLE_TRY(request, readRequest(text));
    return estimateReport(request, *call, *options);
  });
}

int knobsEntry(heddle_sink sink, void *user) {
  return answer(sink, user, []() -> Result<std::string> {
    nlohmann::json list = nlohmann::json::array();
    for (const char *target : {"cpu", "cuda"})
      for (const Knob &knob : knobs(target))
        list.push_back(knobJson(knob));
    return list.dump();
  });
}

int machinesEntry(heddle_sink sink, void *user) {
  return answer(sink, user, []() -> Result<std::string> {
    nlohmann::json list = nlohmann::json::array();
    for (const std::string &name : machineNames()) {
      HEDDLE_TRY(machine, loadMachine(name));
      list.push_back(machineJson(machine));
    }
    return list.dump();
  });
}

int interpretEntry(heddle_bytes text, const heddle_compiler_call *call, heddle_sink sink,
                   void *user) {
  return answer(sink, user, [&]() -> Result<std::string> {
    HEDDLE_TRY(request, readRequest(text));
    return runInterpreter(request, *call);
  });
}

constexpr heddle_compiler_api kApi = {sizeof(heddle_compiler_api),
                                      HEDDLE_COMPILER_API_VERSION,
                                      kVersion,
                                      compileEntry,
                                      describeEntry,
                                      showEntry,
                                      enumerateEntry,
                                      explainEntry,
                                      knobsEntry,
                                      machinesEntry,
                                      interpretEntry,
                                      checkEntry,
                                      tuneEntry,
                                      inspectEntry,
                                      estimateEntry};

} // namespace
} // namespace heddle::compiler

extern "C" const heddle_compiler_api *heddle_compiler_get_api(uint32_t version) {
  return version == HEDDLE_COMPILER_API_VERSION ? &heddle::compiler::kApi : nullptr;
}
