// Loads modules, checks launches and runs their blocks, on several threads
// where asked.
#include "runtime/devices/ptx/Machine.h"

#include "runtime/devices/ptx/Cluster.h"
#include "runtime/devices/ptx/Decoder.h"
#include "runtime/devices/ptx/Observer.h"

#include <fmt/format.h>

#include <cstring>
#include <thread>

namespace heddle::ptx {

ParamBlock::ParamBlock(const Program &program)
    : program(program), block(static_cast<size_t>(program.paramBytes)) {}

Status ParamBlock::setBytes(size_t index, std::span<const std::byte> value) {
  if (index >= program.params.size())
    return Error{ErrorCode::InvalidArgument,
                 fmt::format("argument {} of kernel '{}', which takes {}", index, program.name,
                             program.params.size())};
  const KernelParam &param = program.params[index];
  if (value.size() != static_cast<size_t>(param.bytes))
    return Error{ErrorCode::InvalidArgument,
                 fmt::format("argument {} ('{}') of kernel '{}' has {} bytes, given are {}", index,
                             param.name, program.name, param.bytes, value.size())};
  std::memcpy(block.data() + param.offset, value.data(), value.size());
  return {};
}

Buffer *Module::variable(const std::string &name) const {
  const auto found = globals.find(name);
  return found == globals.end() ? nullptr : found->second;
}

std::vector<std::string> Module::kernels() const {
  std::vector<std::string> names;
  for (const FunctionSyntax &f : text.functions)
    if (f.entry && f.defined)
      names.push_back(f.name);
  return names;
}

Result<Program *> Module::decoded(const std::string &name) {
  if (const auto found = programs.find(name); found != programs.end())
    return found->second.get();
  const auto found = functionIndex.find(name);
  if (found == functionIndex.end() || !text.functions[static_cast<size_t>(found->second)].entry)
    return Error{ErrorCode::NotFound, fmt::format("no kernel '{}' in {}; it has: {}", name,
                                                  text.file, fmt::join(kernels(), ", "))};
  HEDDLE_TRY(program, decodeKernel(*this, found->second));
  return (programs[name] = std::move(program)).get();
}

Result<const Program *> Module::kernel(const std::string &name) {
  HEDDLE_TRY(program, decoded(name));
  if (program->refusals.empty())
    return program;
  const Refusal &first = program->refusals.front();
  Error error{ErrorCode::Unsupported, fmt::format("{}: {}", first.spelling, first.reason),
              fmt::format("{}:{}", text.file, first.line)};
  for (size_t i = 1; i < std::min<size_t>(program->refusals.size(), 10); ++i)
    error.notes.push_back(fmt::format("line {}: {}: {}", program->refusals[i].line,
                                      program->refusals[i].spelling, program->refusals[i].reason));
  return error;
}

Result<std::vector<Refusal>> Module::refusals(const std::string &name) {
  HEDDLE_TRY(program, decoded(name));
  return program->refusals;
}

std::vector<Refusal> Module::allRefusals() {
  std::map<std::pair<int, std::string>, Refusal> all;
  for (size_t i = 0; i < text.functions.size(); ++i) {
    if (!text.functions[i].defined)
      continue;
    const auto program = decodeKernel(*this, static_cast<int>(i));
    for (const Refusal &r : program.ok() ? (*program)->refusals : std::vector<Refusal>())
      all.try_emplace({r.line, r.spelling}, r);
  }
  std::vector<Refusal> list;
  for (const auto &[place, refusal] : all)
    list.push_back(refusal);
  return list;
}

int64_t sharedLimitOf(std::string_view target) {
  // Of each multiprocessor, 1 KiB a block is the system's. Source: CUDA programming guide, table of
  // technical specifications by compute capability.
  constexpr std::pair<int, int64_t> kLimits[] = {
      {70, 98304},  {75, 65536},  {80, 166912},  {86, 101376},  {87, 166912},
      {89, 101376}, {90, 232448}, {100, 232448}, {120, 101376}, {121, 101376}};
  int number = 0;
  for (const char c : target)
    if (c >= '0' && c <= '9')
      number = 10 * number + (c - '0');
  int64_t limit = 49152;
  for (const auto &[generation, bytes] : kLimits)
    if (number >= generation)
      limit = bytes;
  return limit;
}

Result<std::unique_ptr<Module>> Machine::load(std::string_view text, const std::string &file) {
  auto module = std::make_unique<Module>();
  HEDDLE_TRY(syntax, parseModule(text, file));
  module->text = std::move(syntax);
  for (size_t i = 0; i < module->text.functions.size(); ++i) {
    const FunctionSyntax &f = module->text.functions[i];
    if (f.defined || !module->functionIndex.contains(f.name))
      module->functionIndex[f.name] = static_cast<int>(i);
  }
  std::vector<VariableSyntax *> all;
  for (VariableSyntax &v : module->text.variables)
    all.push_back(&v);
  for (FunctionSyntax &f : module->text.functions)
    for (VariableSyntax &v : f.variables)
      if (v.space == Space::Global || v.space == Space::Const)
        all.push_back(&v);
  const auto undo = [&](Error error) {
    (void)unload(*module);
    return error;
  };
  for (const VariableSyntax *v : all) {
    if (v->space == Space::Shared || v->bytes == 0 || module->globals.contains(v->name))
      continue;
    auto buffer = memory.allocate(static_cast<uint64_t>(v->bytes), v->name);
    if (!buffer.ok())
      return undo(buffer.error());
    std::vector<std::byte> initial = v->initial;
    initial.resize(static_cast<size_t>(v->bytes));
    (void)memory.write((*buffer)->address, initial);
    module->globals[v->name] = *buffer;
  }
  for (const VariableSyntax *v : all) {
    Buffer *buffer = module->variable(v->name);
    for (const VariableSyntax::Relocation &r : v->relocations) {
      uint64_t address = 0;
      if (const Buffer *target = module->variable(r.symbol))
        address = target->address + static_cast<uint64_t>(r.addend);
      else if (const auto f = module->functionIndex.find(r.symbol);
               f != module->functionIndex.end())
        address = codeAddress(f->second);
      else
        return undo({ErrorCode::InvalidArgument,
                     fmt::format("'{}' is initialised with the address of '{}', which is not "
                                 "declared",
                                 v->name, r.symbol),
                     fmt::format("{}:{}", file, v->line)});
      (void)memory.write(buffer->address + static_cast<uint64_t>(r.offset),
                         std::as_bytes(std::span(&address, 1)));
    }
    if (buffer && v->space == Space::Const)
      buffer->readOnly = true;
  }
  return module;
}

Status Machine::unload(Module &module) {
  for (const auto &[name, buffer] : module.globals)
    HEDDLE_CHECK(memory.release(buffer->address));
  module.globals.clear();
  return {};
}

namespace {

Status checkLaunch(const Program &program, const LaunchConfig &config,
                   const LaunchOptions &options) {
  const auto refuse = [&](std::string message) {
    return Error{ErrorCode::InvalidArgument, fmt::format("kernel '{}': {}", program.name, message)};
  };
  constexpr int64_t kGrid[] = {INT32_MAX, 65535, 65535}, kBlock[] = {1024, 1024, 64};
  for (int i = 0; i < 3; ++i) {
    if (config.grid[i] < 1 || config.grid[i] > kGrid[i])
      return refuse(fmt::format("a grid of {} x {} x {} blocks: 1 to {} x {} x {} can be had",
                                config.grid[0], config.grid[1], config.grid[2], kGrid[0], kGrid[1],
                                kGrid[2]));
    if (config.block[i] < 1 || config.block[i] > kBlock[i])
      return refuse(fmt::format("a block of {} x {} x {} threads: 1 to {} x {} x {} can be had",
                                config.block[0], config.block[1], config.block[2], kBlock[0],
                                kBlock[1], kBlock[2]));
    if (program.requiredThreads[0] > 0 && config.block[i] != program.requiredThreads[i])
      return refuse(fmt::format("it is compiled for blocks of {} x {} x {} threads",
                                program.requiredThreads[0], program.requiredThreads[1],
                                program.requiredThreads[2]));
  }
  const int64_t threads = config.block[0] * config.block[1] * config.block[2];
  const int64_t *most = program.maxThreads;
  if (threads > 1024 || (most[0] > 0 && threads > most[0] * most[1] * most[2]))
    return refuse(fmt::format("{} threads a block, and it may have {}", threads,
                              most[0] > 0 ? most[0] * most[1] * most[2] : 1024));
  if (config.sharedBytes < 0 ||
      program.dynamicOffset - static_cast<int64_t>(kSharedBase) + config.sharedBytes >
          options.sharedLimit)
    return refuse(fmt::format("{} bytes of shared memory of its own and {} of the launch: {} can "
                              "be had",
                              program.sharedBytes, config.sharedBytes, options.sharedLimit));
  if (config.params.size() != static_cast<size_t>(program.paramBytes))
    return refuse(fmt::format("{} bytes of arguments are given, and it takes {}",
                              config.params.size(), program.paramBytes));
  const int64_t *cluster = config.cluster[0] ? config.cluster : program.cluster;
  if (config.cluster[0] && program.cluster[0] &&
      !std::equal(config.cluster, config.cluster + 3, program.cluster))
    return refuse(fmt::format("it is compiled for clusters of {} x {} x {} blocks",
                              program.cluster[0], program.cluster[1], program.cluster[2]));
  if (cluster[0]) {
    const int64_t size = cluster[0] * cluster[1] * cluster[2];
    if (cluster[0] < 1 || cluster[1] < 1 || cluster[2] < 1 || size > 16)
      return refuse(fmt::format("clusters of {} x {} x {} blocks: 1 to 16 can be had", cluster[0],
                                cluster[1], cluster[2]));
    for (int i = 0; i < 3; ++i)
      if (config.grid[i] % cluster[i] != 0)
        return refuse(fmt::format("a grid of {} x {} x {} blocks is no multiple of its clusters "
                                  "of {} x {} x {}",
                                  config.grid[0], config.grid[1], config.grid[2], cluster[0],
                                  cluster[1], cluster[2]));
  }
  return {};
}

void runClusters(Launch &launch) {
  Cluster cluster(launch);
  const int64_t clusters = launch.blocks / static_cast<int64_t>(cluster.blocks.size());
  uint64_t steps = 0;
  while (!launch.stopped) {
    const int64_t next = launch.nextCluster++;
    if (next >= clusters)
      break;
    cluster.run(next);
    for (const auto &block : cluster.blocks)
      for (const auto &warp : block->warps)
        steps += warp->steps;
  }
  std::lock_guard lock(launch.mutex);
  launch.report.warpInstructions += steps;
  if (cluster.observer)
    cluster.observer->addTo(launch.report);
  for (const auto &block : cluster.blocks) {
    launch.report.counts.resize(block->counts.size());
    for (size_t i = 0; i < block->counts.size(); ++i)
      launch.report.counts[i] += block->counts[i];
  }
}

/// Counts of the first slice become those of the whole grid.
void scale(Report &report, uint64_t slices) {
  report.warpInstructions *= slices;
  for (uint64_t &count : report.counts)
    count *= slices;
  report.traffic.scale(slices);
}

/// An error of a launch as a finding: its place is in the error.
Finding findingOf(const Error &error) {
  Finding finding;
  finding.kind = "error";
  finding.message = error.message;
  for (const std::string &note : error.notes)
    finding.message += "; " + note;
  const size_t colon = error.where.rfind(':');
  if (colon != std::string::npos)
    finding.line = std::atoi(error.where.c_str() + colon + 1);
  finding.times = 1;
  return finding;
}

} // namespace

std::string Finding::toString() const {
  std::string text = fmt::format("{}: line {}", kind, line);
  if (!cuda.empty())
    text += fmt::format(" ({})", cuda);
  text += ": " + message;
  if (lanes)
    text += fmt::format("; block ({}, {}, {}), warp {}, lanes {:#010x}, {} times", block[0],
                        block[1], block[2], warp, lanes, times);
  return text;
}

const char *Report::verdict() const {
  return !findings.empty() ? "findings" : unmodelled.empty() ? "clean" : "incomplete";
}

Result<Report> Machine::launch(const Program &program, const LaunchConfig &config,
                               const LaunchOptions &options) {
  HEDDLE_CHECK(checkLaunch(program, config, options));
  Launch launch;
  launch.program = &program;
  launch.memory = &memory;
  launch.config = config;
  launch.options = options;
  // Clusters of one row of blocks stay whole in a slice.
  const bool slice = options.firstSlice && config.cluster[1] * config.cluster[2] <= 1 &&
                     program.cluster[1] * program.cluster[2] <= 1;
  const int64_t slices = slice ? config.grid[1] * config.grid[2] : 1;
  const int64_t blocks = config.grid[0] * config.grid[1] * config.grid[2];
  launch.blocks = blocks / slices;
  const int64_t wanted = options.threads > 0
                             ? options.threads
                             : std::max<int64_t>(1, std::thread::hardware_concurrency());
  std::vector<std::thread> helpers;
  for (int64_t i = 1; i < std::min(wanted, launch.blocks); ++i)
    helpers.emplace_back(runClusters, std::ref(launch));
  runClusters(launch);
  for (std::thread &helper : helpers)
    helper.join();
  if (launch.error && !options.check)
    return *launch.error;
  if (launch.error)
    launch.report.findings.push_back(findingOf(*launch.error));
  scale(launch.report, static_cast<uint64_t>(slices));
  launch.report.blocks = blocks;
  launch.report.classes = countByClass(*program.functions[0], launch.report.counts);
  launch.report.loops = countByLoop(*program.functions[0], launch.report.counts);
  launch.report.unmodelled = program.unmodelled;
  launch.report.printed = std::move(launch.printed);
  return std::move(launch.report);
}

} // namespace heddle::ptx
