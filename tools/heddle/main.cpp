// heddle: generate, check, tune and explain attention and retention kernels from the command line.
#include "runtime/Version.h"
#include "tools/heddle/Command.h"

#include <fmt/format.h>

#include <cstring>

using namespace heddle;
using namespace heddle::tool;

namespace {

constexpr AddCommand kCommands[] = {
    addPatternsCommand, addModelsCommand, addMachinesCommand, addShowCommand, addCompileCommand,
    addRunCommand,      addVerifyCommand, addPtxCommand,      addTuneCommand, addBenchCommand,
    addExplainCommand,  addBuildCommand,  addCacheCommand,
};

constexpr const char *kFooter = R"(
A PATTERN is a name of the library (`heddle patterns`) or the path of a .heddle file.
Examples:
  heddle run causal_softmax --shape B=1,Hq=32,Hk=8,T=1537,D=128 --check
  heddle verify causal_softmax --shape T=200,Hq=4,Hk=2,D=64 --dtype bf16 --target sm_80
  heddle ptx run kernel.ptx --grid 8 --block 256 --arg x.npy:bf16 --arg 1024i32 --out 0=y.npy
  heddle tune --model gemma-2-9b --layer local --shape T=2048
  heddle show softcap --shape T=777,Hq=4,D=96 --after tile
  heddle build --for cpu --patterns causal_softmax --shapes shapes.txt -o kernels.bundle
  heddle explain gated_deltanet --shape B=1,Hk=8,Hv=8,T=4096,K=128,V=128
Exit codes: 0 done, 1 bad input or unsupported, 2 a result outside its tolerance or a finding.
The store of compiled kernels and timings is $HEDDLE_CACHE, else ~/.cache/heddle.)";

bool wantsJson(int argc, char **argv) {
  for (int n = 1; n < argc; ++n)
    if (std::strcmp(argv[n], "--json") == 0)
      return true;
  return false;
}

int report(const Error &error, bool json) {
  if (json)
    fmt::print("{}\n", nlohmann::json{{"error", toJson(error)}}.dump());
  fmt::print(stderr, "heddle: {}\n", error.toString());
  return error.code == ErrorCode::CheckFailed ? kExitCheckFailed : kExitError;
}

} // namespace

nlohmann::json heddle::tool::toJson(const Error &error) {
  return {{"code", heddle::toString(error.code)},
          {"message", error.message},
          {"where", error.where},
          {"notes", error.notes}};
}

int main(int argc, char **argv) {
  CLI::App app(
      "Heddle: kernels for attention and retention patterns, specialised to shape and machine");
  app.set_version_flag("--version", std::string("heddle ") + kVersion);
  app.require_subcommand(1);
  app.footer(kFooter);
  Action action;
  for (AddCommand add : kCommands)
    add(app, action);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError &error) {
    int code = app.exit(error);
    return code == 0 ? 0 : kExitError;
  }
  Result<int> done = action();
  return done.ok() ? *done : report(done.error(), wantsJson(argc, argv));
}
