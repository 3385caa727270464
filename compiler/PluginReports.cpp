// Puts the compiler's answers together for the command line and for engines.
#include "compiler/PluginReports.h"

#include "autotune/DeviceLab.h"
#include "autotune/Space.h"
#include "compiler/Compiler.h"
#include "compiler/Cost.h"
#include "compiler/FormEstimates.h"
#include "compiler/Oracle.h"
#include "compiler/PluginCall.h"
#include "compiler/PluginSignature.h"
#include "compiler/machine/Machine.h"
#include "compiler/schedule/Schedule.h"
#include "runtime/Key.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace heddle::compiler {
namespace {

DType requestedDtype(const Request &request) {
  auto found = request.dtypes.find("*");
  return found == request.dtypes.end() ? DType::F32 : found->second;
}

/// "chunked: reason" -> {"form", "reason"}.
nlohmann::json refusalsJson(const std::vector<std::string> &refused) {
  nlohmann::json list = nlohmann::json::array();
  for (const std::string &line : refused) {
    size_t colon = line.find(": ");
    if (colon != line.npos)
      list.push_back({{"form", line.substr(0, colon)}, {"reason", line.substr(colon + 2)}});
  }
  return list;
}

void addCost(nlohmann::json &json, const Cost &cost) {
  json["pairs"] = cost.pairs;
  json["flops"] = cost.flops;
  json["form_flops"] = cost.formFlops;
  json["sfu"] = cost.sfu;
  json["bytes"] = cost.bytes;
  json["intensity"] = cost.intensity();
  json["state_bytes"] = cost.stateBytes;
  json["weight_state_ratio"] = cost.weightStateRatio();
  json["weight_state_convention"] = kWeightStateConvention;
}

nlohmann::json tilesJson(const TileCounts &tiles) {
  return {{"support", tiles.support},
          {"row_tiles", tiles.rowTiles},
          {"visited_tiles", tiles.visitedTiles},
          {"full_tiles", tiles.fullTiles},
          {"visited_pairs", tiles.visitedPairs},
          {"full_pairs", tiles.fullPairs},
          {"exact_pairs", tiles.exactPairs}};
}

nlohmann::json estimatesJson(const FormEstimates &estimates) {
  nlohmann::json json = {{"lengths", estimates.lengths}, {"best", nlohmann::json::array()}};
  for (const auto &[form, units] : estimates.forms)
    json["multiply_adds"][form] = units;
  for (const auto &[from, form] : estimates.best)
    json["best"].push_back({{"from", from}, {"form", form}});
  return json;
}

OracleJob oracleJob(const Request &request, const heddle_compiler_check &options) {
  OracleJob job;
  job.patternText = request.patternText;
  job.patternName = request.patternName;
  job.dtype = requestedDtype(request);
  job.budget = options.budget;
  job.mostRows = options.most_rows;
  job.seed = options.seed;
  auto rows = request.schedule.find("BM");
  if (rows != request.schedule.end() && rows->second > 0)
    job.tile = rows->second;
  return job;
}

/// The tensors of a call that are inputs of the pattern.
Status keepInputs(Bindings &bindings, const Request &request) {
  HEDDLE_TRY(parsed, parsePattern(request.patternText, request.patternName));
  std::erase_if(bindings.tensors,
                [&](const auto &entry) { return !parsed.def.argument(entry.first); });
  return {};
}

nlohmann::json candidateJson(const autotune::Candidate &candidate) {
  nlohmann::json json = {{"schedule", candidate.schedule}, {"from_store", candidate.fromRecords}};
  if (!candidate.timing) {
    json["refusal"] = candidate.refusal;
    return json;
  }
  json["median_ms"] = candidate.timing->median;
  json["min_ms"] = candidate.timing->min;
  json["spread"] = candidate.timing->spread;
  json["ratio"] = candidate.timing->ratio;
  json["samples"] = candidate.timing->samples;
  return json;
}

/// What, with a schedule and the policy, decides a time: the request, sizes, parameters, threads.
std::string problemText(const Request &request, const std::map<std::string, TensorView> &tensors,
                        const Bindings &bindings, int threads) {
  std::string text = fmt::format("request {}\nthreads {}\n", winnerKey(request), threads);
  for (const auto &[name, tensor] : tensors) {
    text += name;
    for (int d = 0; d < tensor.rank; ++d)
      text += fmt::format(" {}:{}", tensor.shape[d], tensor.strides[d]);
    text += "\n";
  }
  for (const auto &[name, value] : bindings.params)
    text += fmt::format("{} = {}\n", name, value);
  return text;
}

constexpr int64_t kDocuments = 8;

/// Names of the tensors that say how many keys caches have, with the most that these can hold.
std::map<std::string, int64_t> fullLengths(pattern::DefOp def, const Extents &extents) {
  std::map<std::string, int64_t> full;
  def.walk([&](pattern::MixOp mix) {
    if (int64_t room = roomForKeys(mix, extents))
      full[pattern::valueName(mix.input("len")).str()] = room;
  });
  return full;
}

/// Stands in for tensors that are not there, so that extents alone say what a problem costs: zeros
/// of the right shape, all one element; starts of equally long documents where the pattern promises
/// that values ascend; caches are full. `memory` holds these.
Status addTensors(Bindings &bindings, pattern::DefOp def, const Extents &extents,
                  std::vector<std::vector<int32_t>> &memory) {
  static double zero = 0;
  HEDDLE_TRY(signature, signatureOf(def));
  const std::map<std::string, int64_t> full = fullLengths(def, extents);
  for (size_t n = 0; n < signature.tensors.size(); ++n) {
    const Signature::Tensor &tensor = signature.tensors[n];
    if (tensor.isResult || bindings.tensors.contains(tensor.name))
      continue;
    HEDDLE_TRY(shape, signature.shapeOf(tensor, extents));
    TensorView view;
    view.data = &zero;
    view.dtype = tensor.fixedDtype ? tensor.dtype : DType::F32;
    view.rank = static_cast<int>(shape.size());
    std::copy(shape.begin(), shape.end(), view.shape.begin());
    bool ascends = std::any_of(
        signature.valueRules.begin(), signature.valueRules.end(), [&](const ValueRule &rule) {
          return rule.kind == ValueRule::Ascending && rule.tensor == static_cast<int32_t>(n);
        });
    if (ascends && tensor.dtype == DType::I32) {
      int64_t length = (shape.back() + kDocuments - 1) / kDocuments;
      std::vector<int32_t> starts;
      for (int64_t i = 0; i < shape.back(); ++i)
        starts.push_back(static_cast<int32_t>(i / length * length));
      memory.push_back(std::move(starts));
      view.data = memory.back().data();
      view.strides[view.rank - 1] = 1;
    }
    if (auto length = full.find(tensor.name); length != full.end() && tensor.dtype == DType::I32) {
      memory.push_back({static_cast<int32_t>(length->second)});
      view.data = memory.back().data();
    }
    bindings.tensors[tensor.name] = view;
  }
  return {};
}

} // namespace

Result<std::string> explainReport(const Request &request, const heddle_compiler_call &call) {
  HEDDLE_TRY(parsed, parsePattern(request.patternText, request.patternName));
  HEDDLE_TRY(bindings, bindingsOf(request, call));
  std::vector<std::vector<int32_t>> memory;
  HEDDLE_CHECK(addTensors(bindings, parsed.def, extentsOf(call), memory));
  HEDDLE_TRY(choice, choose(request));
  HEDDLE_TRY(machine, machineOf(request));
  HEDDLE_TRY(schedule, completeSchedule(request.schedule, machine, Problem::of(request)));
  nlohmann::json json = {{"pattern", parsed.def.getSymName().str()},
                         {"form", choice.form.empty() ? "interpreter" : choice.form},
                         {"refused", refusalsJson(choice.refused)},
                         {"notes", nlohmann::json::array()}};
  FormEstimates estimates;
  if (!choice.form.empty()) {
    HEDDLE_TRY(found, estimateForms(request));
    estimates = found;
  }
  int64_t chunk = schedule.contains("CHUNK") ? schedule.at("CHUNK") : 0;
  Result<Cost> cost = costOf(parsed.def, bindings, requestedDtype(request), choice.form,
                             chunk ? chunk : estimates.chunk);
  if (cost.ok())
    addCost(json, *cost);
  else
    json["notes"].push_back("cost unknown: " + cost.error().message);
  if (choice.form.empty())
    return json.dump();

  if (!estimates.forms.empty())
    json["crossovers"] = estimatesJson(estimates);
  json["machine"] = machine.title;
  json["schedule"] = schedule;
  json["support"] = choice.support;
  json["launches"] = nlohmann::json::array();
  for (const auto &[kernel, why] : choice.launches)
    json["launches"].push_back({{"kernel", kernel}, {"why", why}});
  if (choice.support.find('[') != std::string::npos)
    json["notes"].push_back(
        "the support reads tensors: pairs, work and traffic are counted as if "
        "they held zeros (promised starts: those of 8 documents; caches: full)");
  Result<TileCounts> tiles =
      choice.form == "attention"
          ? countTiles(request, extentsOf(call), bindings.params, bindings.tensors)
          : Result<TileCounts>(Error{ErrorCode::Unsupported, "a scan visits every token once"});
  if (tiles.ok())
    json["tiles"] = tilesJson(*tiles);
  else
    json["notes"].push_back("tiles not counted: " + tiles.error().message);
  return json.dump();
}

Result<std::string> checkReport(const Request &request, const heddle_compiler_call &call,
                                const heddle_compiler_check &options) {
  OracleJob job = oracleJob(request, options);
  HEDDLE_TRY(bindings, bindingsOf(request, call));
  std::map<std::string, TensorView> found = bindings.tensors;
  job.bindings = std::move(bindings);
  HEDDLE_CHECK(keepInputs(job.bindings, request));
  HEDDLE_TRY(oracle, Oracle::make(job));
  HEDDLE_TRY(report, oracle.compare(found));
  nlohmann::json results = nlohmann::json::array();
  for (const OracleResult &result : report.results)
    results.push_back({{"name", result.name},
                       {"max", result.comparison.maxAbs},
                       {"rms", result.comparison.rms},
                       {"limit", result.limit},
                       {"compared", result.compared},
                       {"total", result.total},
                       {"passed", result.comparison.pass}});
  return nlohmann::json{{"passed", report.passed},
                        {"sampled", report.sampled},
                        {"rows", report.rows},
                        {"total_rows", report.totalRows},
                        {"results", results}}
      .dump();
}

Result<std::string> tuneReport(const Request &request, const heddle_compiler_call &call,
                               const heddle_compiler_sweep &options) {
  HEDDLE_TRY(bindings, bindingsOf(request, call));
  autotune::DeviceProblem problem;
  problem.request = request;
  problem.request.schedule.clear();
  problem.tensors = bindings.tensors;
  problem.parameters = bindings.params;
  problem.oracle = oracleJob(request, options.check);
  problem.threads = options.threads;
  HEDDLE_TRY(legal, enumerate(problem.request));
  std::string text = problemText(problem.request, problem.tensors, bindings, options.threads);
  HEDDLE_CHECK(keepInputs(bindings, request));
  problem.oracle.bindings = std::move(bindings);
  HEDDLE_TRY(lab, autotune::DeviceLab::open(std::move(problem)));
  autotune::StoreRecords records{std::string(view(options.store_directory))};
  auto progress = [&](int64_t done, int64_t total, const std::string &note) {
    return !options.progress ||
           options.progress(options.progress_user, done, total, {note.data(), note.size()}) != 0;
  };
  HEDDLE_TRY(sweep, autotune::tune(autotune::orderByDistance(legal, options.budget), text, *lab,
                                   records, {}, progress));
  nlohmann::json candidates = nlohmann::json::array();
  for (const autotune::Candidate &candidate : sweep.candidates)
    candidates.push_back(candidateJson(candidate));
  return nlohmann::json{{"winner", sweep.candidates[sweep.winner].schedule},
                        {"candidates", candidates},
                        {"ties", sweep.ties.size()},
                        {"measured", sweep.measured},
                        {"reused", sweep.reused}}
      .dump();
}

void addVerdicts(Signature &signature, const std::string &text, const std::string &name) {
  Extents extents;
  for (const std::string &dim : signature.dims())
    extents[dim] = 16;
  Signature asked = signature;
  asked.conditions.clear(); // sizes stand for any: what counts is the form
  Result<Request> request = asked.request(text, extents, DType::F32);
  if (!request.ok())
    return;
  request->patternName = name;
  request->deviceFacts = "model any; features avx avx2 bmi1 bmi2 f16c fma";
  Result<Choice> choice = choose(*request);
  if (!choice.ok()) {
    for (const char *form : {"attention", "recurrent", "chunked"})
      signature.notes[form] = "not judged: " + choice.error().message;
    return;
  }
  if (!choice->form.empty())
    signature.notes[choice->form] = "yes";
  for (const nlohmann::json &refusal : refusalsJson(choice->refused))
    signature.notes[refusal["form"]] = refusal["reason"];
}

} // namespace heddle::compiler
