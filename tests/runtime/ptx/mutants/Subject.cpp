// Fresh memory for every run, so that nothing is initialised but what the run itself wrote; results
// begin as bytes that are no number anybody would expect.
#include "tests/runtime/ptx/mutants/Subject.h"

#include "runtime/DType.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

namespace heddle::test {
namespace {

/// A result may differ from the kernel's by what rounding to bf16 makes of it, and of the largest
/// number by what sums in another order make.
constexpr double kRounding = 1.0 / 128, kOrder = 1.0 / 4096;
constexpr auto kUnwritten = static_cast<std::byte>(0x7b);

Result<ptx::Report> launch(ptx::Machine &machine, ptx::Module &module, const Subject::Step &step,
                           const std::vector<uint64_t> &addresses,
                           const ptx::LaunchOptions &options, std::set<int> *lines) {
  HEDDLE_TRY(program, module.kernel(step.entry));
  std::vector<std::byte> params = step.params;
  for (const Subject::Pointer &pointer : step.pointers) {
    if (!pointer.map) {
      std::memcpy(params.data() + pointer.offset, &addresses[pointer.tensor], 8);
      continue;
    }
    ptx::TensorMap map = *pointer.map;
    map.address = addresses[pointer.tensor];
    HEDDLE_TRY(image, ptx::encodeTensorMap(map));
    std::memcpy(params.data() + pointer.offset, image.data(), image.size());
  }
  ptx::LaunchConfig config = step.config;
  config.params = params;
  HEDDLE_TRY(report, machine.launch(*program, config, options));
  const std::vector<ptx::Inst> &code = program->functions[0]->code;
  for (size_t i = 0; lines && i < report.counts.size(); ++i)
    if (report.counts[i] > 0)
      lines->insert(code[i].line);
  return report;
}

double largestOf(const std::vector<double> &values) {
  double largest = 0;
  for (const double value : values)
    if (std::isfinite(value))
      largest = std::max(largest, std::fabs(value));
  return largest;
}

bool same(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

/// "o[12] is 1 instead of 2", or nothing.
std::string difference(const std::string &name, const std::vector<double> &expected,
                       const std::vector<double> &found) {
  const double order = kOrder * largestOf(expected);
  for (size_t i = 0; i < expected.size(); ++i)
    if (!same(expected[i], found[i]) &&
        !(std::fabs(expected[i] - found[i]) <= order + kRounding * std::fabs(expected[i])))
      return fmt::format("{}[{}] is {} instead of {}", name, i, found[i], expected[i]);
  return "";
}

} // namespace

Subject::Outcome Subject::run(const std::string &text, int inputs, ptx::CopyTime copies,
                              std::set<int> *lines) const {
  Outcome outcome;
  const auto attempt = [&]() -> Status {
    ptx::Machine machine;
    HEDDLE_TRY(module, machine.load(text, "kernel.ptx"));
    std::vector<uint64_t> addresses;
    for (const Tensor &tensor : tensors) {
      HEDDLE_TRY(buffer, machine.memory.allocate(static_cast<uint64_t>(tensor.size), tensor.name));
      addresses.push_back(buffer->address);
      if (tensor.isResult)
        HEDDLE_CHECK(machine.memory.write(
            buffer->address, std::vector<std::byte>(static_cast<size_t>(tensor.size), kUnwritten)));
      else if (!tensor.bytes[inputs].empty())
        HEDDLE_CHECK(machine.memory.write(buffer->address, tensor.bytes[inputs]));
    }
    ptx::LaunchOptions options;
    options.copies = copies;
    options.check = true;
    options.counts = lines != nullptr;
    options.stepLimit = stepLimit;
    for (const Step &step : steps) {
      HEDDLE_TRY(report, launch(machine, *module, step, addresses, options, lines));
      if (std::string(report.verdict()) != "clean") {
        outcome.found = report.findings.empty() ? "incomplete: " + report.unmodelled[0]
                                                : report.findings[0].toString();
        return {};
      }
    }
    outcome.results.resize(tensors.size());
    for (size_t t = 0; t < tensors.size(); ++t) {
      if (!tensors[t].isResult)
        continue;
      std::vector<std::byte> bytes(static_cast<size_t>(tensors[t].size));
      HEDDLE_CHECK(machine.memory.read(addresses[t], bytes));
      for (int64_t e = 0; e < tensors[t].size / sizeOf(tensors[t].dtype); ++e)
        outcome.results[t].push_back(loadElement(tensors[t].dtype, bytes.data(), e));
    }
    return {};
  };
  if (const Status status = attempt(); !status.ok())
    outcome.found = status.error().toString();
  return outcome;
}

std::string Subject::prove() {
  for (int inputs = 0; inputs < kInputSets; ++inputs)
    for (const ptx::CopyTime copies : {ptx::CopyTime::Early, ptx::CopyTime::Late}) {
      const Outcome outcome = run(ptx, inputs, copies, &executed);
      if (!outcome.found.empty())
        return outcome.found;
      expected[inputs] = outcome.results;
    }
  for (size_t t = 0; t < tensors.size(); ++t)
    for (int inputs = 0; inputs < 2; ++inputs)
      for (const double value : expected[inputs][t])
        if (std::isnan(value))
          return fmt::format("{} has a NaN with inputs {}: nothing could be told from it",
                             tensors[t].name, inputs);
  return "";
}

std::string Subject::judge(const std::string &text) const {
  for (int inputs = 0; inputs < kInputSets; ++inputs) {
    const Outcome outcome =
        run(text, inputs, inputs == 1 ? ptx::CopyTime::Early : ptx::CopyTime::Late);
    if (!outcome.found.empty())
      return outcome.found;
    for (size_t t = 0; t < tensors.size(); ++t)
      if (std::string why = difference(tensors[t].name, expected[inputs][t], outcome.results[t]);
          !why.empty())
        return why;
  }
  return "";
}

double Subject::distance(const std::string &text) const {
  double distance = 0;
  for (int inputs = 0; inputs < kInputSets; ++inputs) {
    const Outcome outcome = run(text, inputs, ptx::CopyTime::Late);
    for (size_t t = 0; t < outcome.results.size(); ++t)
      for (size_t i = 0; i < outcome.results[t].size(); ++i)
        if (const double a = expected[inputs][t][i], b = outcome.results[t][i]; !same(a, b))
          distance = std::max(distance, std::fabs(a - b) / largestOf(expected[inputs][t]));
  }
  return distance;
}

bool Subject::matters(const Mutant &mutant) const {
  bool differs = mutant.probe.empty();
  for (int inputs = 0; inputs < kInputSets && !differs; ++inputs)
    differs =
        !run(withLine(ptx, mutant.line, mutant.probe), inputs, ptx::CopyTime::Early).found.empty();
  return differs;
}

bool Subject::reachesResults(const Mutant &mutant) const {
  return mutant.poison.empty() || !judge(withLine(ptx, mutant.line, mutant.poison)).empty();
}

} // namespace heddle::test
