// Reads the machines' .toml files, which the build pastes into the library, and makes the machine
// of a request: a built-in one by name, or "host" from what the request says about the device.
//   "host" + "features avx2 fma ... ; l2 1048576"  ->  x86-avx512 with that processor's caches
#include "compiler/machine/Machine.h"

#define TOML_EXCEPTIONS 0
#define TOML_HEADER_ONLY 1
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <toml++/toml.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <set>
#include <utility>

namespace heddle::compiler {
namespace {

struct Source {
  std::string_view name, text;
};
constexpr Source kSources[] = {
#include "compiler/machine/Machines.inc"
};

// --- reading one file ----------------------------------------------------------------------------

/// Reads keys of one table and notes the first mistake: a key that is missing, of another type or
/// unknown.
class TableReader {
public:
  TableReader(const toml::table *table, std::string where)
      : table(table), where(std::move(where)) {}

  void read(const char *key, std::string &value) {
    const toml::node *node = find(key, "a text");
    if (node && node->is_string())
      value = *node->value<std::string>();
    else if (node)
      complain(key, "a text");
  }
  void read(const char *key, double &value) { readNumber(key, value); }
  void read(const char *key, int64_t &value) { readNumber(key, value); }
  void read(const char *key, bool &value) {
    const toml::node *node = find(key, "true or false");
    if (node && node->is_boolean())
      value = *node->value<bool>();
    else if (node)
      complain(key, "true or false");
  }
  void read(const char *key, std::vector<std::string> &values) {
    const toml::node *node = find(key, "a list of texts");
    const toml::array *list = node ? node->as_array() : nullptr;
    if (node && !list)
      complain(key, "a list of texts");
    for (size_t n = 0; list && n < list->size(); ++n)
      if (auto text = list->get(n)->value<std::string>())
        values.push_back(*text);
      else
        complain(key, "a list of texts");
  }
  /// The first mistake, or empty. Keys that nothing read are mistakes: they are misspelt.
  std::string finish() {
    if (table)
      for (const auto &[key, node] : *table)
        if (!seen.count(std::string(key.str())) && !node.is_table() && mistake.empty())
          mistake = fmt::format("found the unknown key {}{}", where, key.str());
    return mistake;
  }

private:
  const toml::node *find(const char *key, const char *expected) {
    seen.insert(key);
    const toml::node *node = table ? table->get(key) : nullptr;
    if (!node)
      complain(key, expected);
    return node;
  }
  template <typename T> void readNumber(const char *key, T &value) {
    const toml::node *node = find(key, "a number of 0 or more");
    if (!node)
      return;
    const auto number = node->value<T>();
    if (!number || !node->is_number() || *number < 0)
      complain(key, "a number of 0 or more");
    else
      value = *number;
  }
  void complain(const char *key, const char *expected) {
    if (mistake.empty())
      mistake = fmt::format("found no {} in {}{}, expected one", expected, where, key);
  }

  const toml::table *table;
  std::string where, mistake;
  std::set<std::string> seen;
};

std::string readVector(const toml::table &file, VectorUnit &vector) {
  TableReader table(file["vector"].as_table(), "vector.");
  table.read("bits", vector.bits);
  table.read("registers", vector.registers);
  table.read("fma_per_cycle", vector.fmaPerCycle);
  table.read("bf16_dot_per_cycle", vector.bf16DotPerCycle);
  table.read("exp_cycles_per_lane", vector.expCyclesPerLane);
  return table.finish();
}

std::string readPrefetch(const toml::table &file, PrefetchUnit &prefetch) {
  TableReader table(file["prefetch"].as_table(), "prefetch.");
  table.read("dropped", prefetch.dropped);
  return table.finish();
}

std::string readGpu(const toml::table &file, GpuUnit &gpu) {
  TableReader table(file["gpu"].as_table(), "gpu.");
  table.read("multiprocessors", gpu.multiprocessors);
  table.read("shared_bytes_per_block", gpu.sharedBytesPerBlock);
  table.read("shared_bytes_per_multiprocessor", gpu.sharedBytesPerMultiprocessor);
  table.read("registers_per_multiprocessor", gpu.registersPerMultiprocessor);
  table.read("warps", gpu.warps);
  table.read("blocks", gpu.blocks);
  table.read("tensor_f16", gpu.tensorF16PerCycle);
  table.read("tensor_tf32", gpu.tensorTf32PerCycle);
  table.read("tensor_fp8", gpu.tensorFp8PerCycle);
  table.read("fma", gpu.fmaPerCycle);
  table.read("special", gpu.specialPerCycle);
  table.read("shared_bytes_per_cycle", gpu.sharedBytesPerCycle);
  return table.finish();
}

std::string readCache(const toml::table &file, Machine &machine) {
  TableReader table(file["cache"].as_table(), "cache.");
  table.read("l1", machine.l1Bytes);
  table.read("l2", machine.l2Bytes);
  table.read("l3", machine.l3Bytes);
  return table.finish();
}

// --- the host ------------------------------------------------------------------------------------

std::vector<std::string> words(std::string_view text) {
  std::vector<std::string> found;
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    if (end > 0)
      found.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return found;
}

/// The value of `key` in "key value; key value", or empty.
std::string_view fact(std::string_view facts, std::string_view key) {
  while (!facts.empty()) {
    std::string_view item = facts.substr(0, facts.find(';'));
    facts.remove_prefix(std::min(item.size() + 1, facts.size()));
    item.remove_prefix(std::min(item.find_first_not_of(' '), item.size()));
    if (item.starts_with(key) && item.substr(key.size(), 1) == " ")
      return item.substr(key.size() + 1);
  }
  return {};
}

/// Takes the number over unless it is 0, which means unknown.
void takeNumber(std::string_view text, int64_t &value) {
  int64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  if (number > 0)
    value = number;
}

Result<Machine> hostMachine(std::string_view facts) {
  const std::vector<std::string> features = words(fact(facts, "features"));
  const auto present = [&](const std::string &feature) {
    return std::find(features.begin(), features.end(), feature) != features.end();
  };
  Machine best;
  for (const Source &source : kSources) {
    HEDDLE_TRY(machine, parseMachine(source.name, source.text));
    const bool fits = machine.target == "cpu" &&
                      std::all_of(machine.features.begin(), machine.features.end(), present);
    if (fits && machine.features.size() > best.features.size())
      best = std::move(machine);
  }
  if (best.name.empty())
    return Error{
        ErrorCode::Unsupported,
        fmt::format("found a processor with the features '{}', expected at least avx2, fma, "
                    "f16c and bmi2; kernels for others are not made",
                    fact(facts, "features"))};
  best.title = fmt::format("{} (as {})", fact(facts, "model"), best.name);
  best.name = "host";
  best.features = features;
  takeNumber(fact(facts, "l1"), best.l1Bytes);
  takeNumber(fact(facts, "l2"), best.l2Bytes);
  takeNumber(fact(facts, "l3"), best.l3Bytes);
  return best;
}

} // namespace

bool Machine::has(std::string_view feature) const {
  return std::find(features.begin(), features.end(), feature) != features.end();
}

Result<Machine> parseMachine(std::string_view name, std::string_view text) {
  const auto wrong = [&](std::string_view what) {
    return Error{ErrorCode::CorruptData, fmt::format("machine {}: {}", name, what)};
  };
  const toml::parse_result parsed = toml::parse(text);
  if (!parsed)
    return wrong(fmt::format("line {}: {}", parsed.error().source().begin.line,
                             parsed.error().description()));
  const toml::table &file = parsed.table();
  Machine machine;
  machine.name = name;
  TableReader top(&file, "");
  top.read("title", machine.title);
  top.read("target", machine.target);
  top.read("features", machine.features);
  top.read("sources", machine.sources);
  top.read("clock_ghz", machine.clockGHz);
  top.read("memory_gbs", machine.memoryGBs);
  const bool cpu = machine.target == "cpu";
  for (const std::string &mistake :
       {top.finish(), readCache(file, machine),
        cpu ? readVector(file, machine.vector) : readGpu(file, machine.gpu),
        cpu ? readPrefetch(file, machine.prefetch) : std::string()})
    if (!mistake.empty())
      return wrong(mistake);
  return machine;
}

std::vector<std::string> machineNames() {
  std::vector<std::string> names;
  for (const Source &source : kSources)
    names.emplace_back(source.name);
  std::sort(names.begin(), names.end());
  return names;
}

Result<Machine> loadMachine(std::string_view name) {
  for (const Source &source : kSources)
    if (source.name == name)
      return parseMachine(source.name, source.text);
  return Error{ErrorCode::NotFound, fmt::format("found no machine '{}', expected host or one of {}",
                                                name, fmt::join(machineNames(), ", "))};
}

/// sm_90a and sm_90 are code for one chip.
static std::string_view withoutVariant(std::string_view target) {
  return target.starts_with("sm_") && (target.ends_with('a') || target.ends_with('f'))
             ? target.substr(0, target.size() - 1)
             : target;
}

/// The first machine whose chip runs code for a GPU target.
static Result<Machine> machineForGpu(std::string_view target) {
  std::string known;
  for (const std::string &name : machineNames()) {
    HEDDLE_TRY(machine, loadMachine(name));
    if (withoutVariant(machine.target) == withoutVariant(target))
      return machine;
    if (machine.target.starts_with("sm_"))
      known += fmt::format("{}{} ({})", known.empty() ? "" : ", ", machine.target, name);
  }
  return Error{ErrorCode::NotFound,
               fmt::format("found target {}, expected that of a known machine: {}", target, known)};
}

/// What the driver says about the GPU that is there; see runtime/devices/cuda/CudaDevice.cpp.
static void takeGpuFacts(Machine &machine, std::string_view facts) {
  if (fact(facts, "model").empty())
    return;
  machine.title = fmt::format("{} (as {})", fact(facts, "model"), machine.name);
  machine.name = "host";
  int64_t kilohertz = 0;
  takeNumber(fact(facts, "clock"), kilohertz);
  if (kilohertz > 0)
    machine.clockGHz = static_cast<double>(kilohertz) * 1e-6;
  takeNumber(fact(facts, "l2"), machine.l2Bytes);
  takeNumber(fact(facts, "multiprocessors"), machine.gpu.multiprocessors);
  takeNumber(fact(facts, "shared"), machine.gpu.sharedBytesPerBlock);
  takeNumber(fact(facts, "shared_all"), machine.gpu.sharedBytesPerMultiprocessor);
}

Result<Machine> machineOf(const Request &request) {
  const bool unnamed = request.machine.empty() || request.machine == "host";
  if (unnamed && request.target.starts_with("sm_")) {
    HEDDLE_TRY(machine, machineForGpu(request.target));
    takeGpuFacts(machine, request.deviceFacts);
    return machine;
  }
  if (unnamed)
    return hostMachine(request.deviceFacts);
  HEDDLE_TRY(machine, loadMachine(request.machine));
  const bool fits = withoutVariant(machine.target) == withoutVariant(request.target);
  if (!fits)
    return Error{ErrorCode::InvalidArgument,
                 fmt::format("found machine {} for target {}, expected one for {}", machine.name,
                             machine.target, request.target)};
  return machine;
}

} // namespace heddle::compiler
