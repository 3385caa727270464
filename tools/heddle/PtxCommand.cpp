// heddle ptx: PTX of any compiler on the PTX machine, on a computer without a GPU.
//   ptx run k.ptx --entry scale --grid 4 --block 256 --arg x.npy:f32 --arg 2f32 --out 0=y.npy
//   ptx ops k.ptx     -> the opcodes of the text, those the machine does not know apart
#include "tools/heddle/Command.h"
#include "tools/heddle/PtxArguments.h"
#include "tools/heddle/PtxReport.h"
#include "tools/heddle/Terminal.h"

#include <fmt/format.h>

#include <charconv>
#include <chrono>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

namespace heddle::tool {
namespace {

constexpr const char *kRunFooter = R"(
Arguments, one option each, in the order of the kernel's parameters; they mix freely:
  --arg FILE[:DTYPE]        pointer to a buffer with the file's elements: .npy, .safetensors[:NAME],
                            .bin. Numbers are rounded to DTYPE: f32 f16 bf16 f64 e4m3 e5m2;
                            i8 u8 i16 u16 i32 u32 i64 u64 as stored. Where file and DTYPE have the
                            same width (float32 and f32 or i32), the bits are copied as they are
  --arg 1537i32             a number with its type; also 0.125f32, -1i64, 0xffu32, 2f64, 1.5f16
  --arg null                a null pointer
  --arg zeros:BYTES[:DTYPE] pointer to a zeroed buffer; empty:BYTES: one that nobody wrote
  --arg-bytes BLOB          a struct by value: the file's bytes (1 or 2 for .u8 and .u16)
  --arg-bytes BLOB@OFF=FILE:DTYPE[@OFF=..]   with addresses of buffers put at byte offsets
  --arg-tensormap FILE:DTYPE,dims=64x128,strides=128,box=64x64,swizzle=128[,fill=nan]
                            what cuTensorMapEncodeTiled makes: dims and box with the contiguous
                            dimension first, strides in bytes of the others
  --out I=FILE.npy          writes argument I's buffer (from 0); I@OFF=FILE for one in a struct;
                            :DTYPE reads it as another type. bf16, e4m3, e5m2 become float32
Example:
  heddle ptx run scale.ptx --entry scale --grid 4 --block 256 --arg x.npy:bf16 --arg 0.125f32 \
      --arg zeros:4096 --out 2=y.npy --check-races --counts
Exit codes: 0 done, 1 bad input or unsupported, 2 the kernel is wrong (or, with --check-races, not
all of it could be checked).)";

struct PtxRunOptions {
  std::string file, entry, copies = "early";
  std::string grid = "1", block = "1", cluster;
  int64_t sharedBytes = 0, steps = ptx::LaunchOptions().stepLimit;
  std::vector<std::string> values, blobs, maps, outputs;
  std::vector<std::pair<char, size_t>> order; // of the three lists
  bool check = false, counts = false, faithful = false, json = false;
  uint64_t seed = 1;
  int threads = 0;
};

Result<std::string> readText(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf()))
    return Error{ErrorCode::NotFound, fmt::format("cannot read '{}'", path)};
  return std::move(text).str();
}

/// "128,4" -> 128, 4, 1
Status parseExtents(const std::string &option, const std::string &text, int64_t (&into)[3]) {
  into[0] = into[1] = into[2] = 1;
  const char *at = text.data(), *end = at + text.size();
  for (int i = 0; i < 3; ++i) {
    const auto [next, error] = std::from_chars(at, end, into[i]);
    if (error != std::errc())
      break;
    if (next == end)
      return {};
    if (*next != ',' && *next != 'x')
      break;
    at = next + 1;
  }
  return Error{ErrorCode::InvalidArgument,
               fmt::format("found {} {}, expected X, X,Y or X,Y,Z", option, text)};
}

Result<std::string> chooseEntry(const ptx::Module &module, const std::string &wanted) {
  const std::vector<std::string> kernels = module.kernels();
  if (!wanted.empty())
    return wanted;
  if (kernels.size() == 1)
    return kernels[0];
  Error error{ErrorCode::InvalidArgument,
              kernels.empty() ? "the text holds no kernel (.entry)"
                              : fmt::format("the text holds {} kernels: choose one with --entry",
                                            kernels.size())};
  for (const std::string &name : kernels)
    error.notes.push_back("it holds " + name);
  return error;
}

Result<int> run(const PtxRunOptions &options) {
  HEDDLE_TRY(text, readText(options.file));
  ptx::Machine machine;
  HEDDLE_TRY(module, machine.load(text, options.file));
  HEDDLE_TRY(entry, chooseEntry(*module, options.entry));
  HEDDLE_TRY(program, module->kernel(entry));

  PtxArguments arguments(machine);
  for (const auto &[kind, index] : options.order)
    HEDDLE_CHECK(kind == 'v'   ? arguments.addValue(options.values[index])
                 : kind == 'b' ? arguments.addBytes(options.blobs[index])
                               : arguments.addTensorMap(options.maps[index]));
  ptx::ParamBlock params(*program);
  HEDDLE_CHECK(arguments.set(params, *program));
  for (const std::string &output : options.outputs)
    HEDDLE_CHECK(arguments.checkOutput(output));

  ptx::LaunchConfig config;
  HEDDLE_CHECK(parseExtents("--grid", options.grid, config.grid));
  HEDDLE_CHECK(parseExtents("--block", options.block, config.block));
  if (!options.cluster.empty())
    HEDDLE_CHECK(parseExtents("--cluster", options.cluster, config.cluster));
  config.sharedBytes = options.sharedBytes;
  config.params = params.bytes();
  ptx::LaunchOptions launch;
  launch.numbers = options.faithful ? ptx::Numbers::Faithful : ptx::Numbers::Fast;
  launch.copies = copyTimeOf(options.copies);
  launch.seed = options.seed;
  launch.check = options.check;
  launch.counts = options.counts;
  launch.threads = options.threads;
  launch.stepLimit = options.steps;
  launch.sharedLimit = ptx::sharedLimitOf(module->syntax().target);

  const auto begin = std::chrono::steady_clock::now();
  HEDDLE_TRY(report, machine.launch(*program, config, launch));
  const double ms =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
  for (const std::string &output : options.outputs)
    HEDDLE_CHECK(arguments.write(output));

  nlohmann::json json = toJson(entry, report, options.check);
  json["target"] = module->syntax().target;
  json["ms"] = ms;
  const std::vector<ptx::Inst> &code = program->functions[0]->code;
  for (size_t i = 0; i < std::min(code.size(), report.counts.size()); ++i)
    if (report.counts[i])
      json["executed"].push_back({code[i].line, report.counts[i]}); // by line of the text
  if (options.json) {
    fmt::print("{}\n", json.dump(1));
  } else {
    fmt::print("{}", report.printed);
    fmt::print("{} ({}): {} warp instructions in {}\n", entry, module->syntax().target,
               report.warpInstructions, timeText(ms));
    printReport(json);
  }
  return options.check && std::string_view(report.verdict()) != "clean" ? kExitCheckFailed : 0;
}

/// How often each spelling stands in the text, and why the machine refuses it where it does.
struct OpcodeUse {
  int times = 0, line = 0;
  std::string reason;
};

Result<int> listOpcodes(const std::string &file, bool asJson) {
  HEDDLE_TRY(text, readText(file));
  ptx::Machine machine;
  HEDDLE_TRY(module, machine.load(text, file));
  std::map<std::string, OpcodeUse> uses;
  for (const ptx::FunctionSyntax &function : module->syntax().functions)
    for (const ptx::InstructionSyntax &inst : function.code) {
      OpcodeUse &use = uses[inst.spelling()];
      ++use.times;
      use.line = use.line ? use.line : inst.line;
    }
  for (const ptx::Refusal &refusal : module->allRefusals()) {
    OpcodeUse &use = uses[refusal.spelling];
    if (use.reason.empty()) {
      use.reason = refusal.reason;
      use.line = refusal.line;
    }
  }
  Table known({"known", "times"}), unknown({"unknown", "times", "line", "why"});
  nlohmann::json json = {{"file", file},
                         {"target", module->syntax().target},
                         {"version", fmt::format("{}.{}", module->syntax().versionMajor,
                                                 module->syntax().versionMinor)},
                         {"kernels", module->kernels()},
                         {"known", nlohmann::json::array()},
                         {"unknown", nlohmann::json::array()}};
  for (const auto &[spelling, use] : uses) {
    if (use.reason.empty()) {
      json["known"].push_back({{"opcode", spelling}, {"times", use.times}});
      known.add({spelling, fmt::to_string(use.times)});
    } else {
      json["unknown"].push_back(
          {{"opcode", spelling}, {"times", use.times}, {"line", use.line}, {"reason", use.reason}});
      unknown.add({spelling, fmt::to_string(use.times), fmt::to_string(use.line), use.reason});
    }
  }
  if (asJson) {
    fmt::print("{}\n", json.dump(1));
    return 0;
  }
  fmt::print("{}: PTX {} for {}, {} kernels, {} opcodes known, {} unknown\n", file,
             json["version"].get<std::string>(), module->syntax().target, module->kernels().size(),
             json["known"].size(), json["unknown"].size());
  if (!known.empty())
    fmt::print("\n{}", known.text());
  if (!unknown.empty())
    fmt::print("\n{}", unknown.text());
  return 0;
}

/// The three kinds of arguments keep their order on the command line.
void noteOrder(const CLI::App &command, PtxRunOptions &options) {
  size_t values = 0, blobs = 0, maps = 0;
  for (const CLI::Option *option : command.parse_order()) {
    if (option->get_name() == "--arg")
      options.order.push_back({'v', values++});
    else if (option->get_name() == "--arg-bytes")
      options.order.push_back({'b', blobs++});
    else if (option->get_name() == "--arg-tensormap")
      options.order.push_back({'m', maps++});
  }
}

void addRun(CLI::App &parent, Action &action) {
  auto *command = parent.add_subcommand("run", "run a kernel of a PTX file");
  auto o = std::make_shared<PtxRunOptions>();
  command->footer(kRunFooter);
  command->add_option("file", o->file, "PTX text, versions 7.0 to 9.4")->required();
  command->add_option("--entry", o->entry, "the kernel; may be left out where there is one");
  command->add_option("--grid", o->grid, "blocks: X,Y,Z")->capture_default_str();
  command->add_option("--block", o->block, "threads of a block: X,Y,Z")->capture_default_str();
  command->add_option("--cluster", o->cluster,
                      "blocks of a cluster: X,Y,Z; .reqnctapercluster of the text needs none");
  command->add_option("--shared", o->sharedBytes, "bytes of dynamic shared memory")
      ->capture_default_str();
  const auto list = [&](const char *name, std::vector<std::string> &into, const char *help) {
    command->add_option(name, into, help)
        ->allow_extra_args(false)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  };
  list("--arg", o->values, "the next argument: FILE:DTYPE, 1537i32, 0.125f32, null, zeros:BYTES");
  list("--arg-bytes", o->blobs, "the next argument: bytes of a file, a struct by value");
  list("--arg-tensormap", o->maps, "the next argument: a tensor map over a file's elements");
  list("--out", o->outputs, "I=FILE.npy: write argument I's buffer afterwards");
  command->add_flag(
      "--check-races,--check", o->check,
      "check: races, missing waits, uninitialised reads, barriers; says what is wrong");
  command->add_flag("--counts", o->counts,
                    "count instructions by class and loop, bank conflicts, sectors");
  command->add_flag("--faithful", o->faithful, "sum in tensor cores as the hardware does (slower)");
  command->add_option("--copies", o->copies, "when asynchronous copies take effect")
      ->check(CLI::IsMember({"early", "late", "random"}))
      ->capture_default_str();
  command->add_option("--seed", o->seed, "of what is random")->capture_default_str();
  command->add_option("--threads", o->threads, "of this computer; 0: all")->capture_default_str();
  command
      ->add_option("--max-steps", o->steps,
                   "instructions of one warp after which a loop is taken for endless")
      ->capture_default_str();
  command->add_flag("--json", o->json, "print the report as JSON");
  command->callback([=, &action] {
    noteOrder(*command, *o);
    action = [=] { return run(*o); };
  });
}

void addOps(CLI::App &parent, Action &action) {
  auto *command = parent.add_subcommand(
      "ops", "list the opcodes of a PTX file, and which of them the machine does not know");
  auto file = std::make_shared<std::string>();
  auto json = std::make_shared<bool>(false);
  command->add_option("file", *file, "PTX text")->required();
  command->add_flag("--json", *json, "print JSON");
  command->callback([=, &action] { action = [=] { return listOpcodes(*file, *json); }; });
}

} // namespace

void addPtxCommand(CLI::App &app, Action &action) {
  auto *command = app.add_subcommand(
      "ptx", "run PTX of any compiler on this computer's processor, checked and counted");
  command->require_subcommand(1);
  addRun(*command, action);
  addOps(*command, action);
}

} // namespace heddle::tool
