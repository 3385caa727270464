// How a subcommand of `heddle` is made: a function that adds itself to the command line and leaves
// behind what to run. main.cpp lists them all.
#pragma once

#include "runtime/Result.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <functional>

namespace heddle::tool {

/// Exit codes of the program.
inline constexpr int kExitError = 1;       ///< bad input, or something Heddle cannot do
inline constexpr int kExitCheckFailed = 2; ///< a result outside its tolerance

/// What the command line asked for, run after parsing. Returns the exit code.
using Action = std::function<Result<int>()>;

/// Adds one subcommand; when it is chosen, sets `action`.
using AddCommand = void (*)(CLI::App &app, Action &action);

void addPatternsCommand(CLI::App &app, Action &action);
void addModelsCommand(CLI::App &app, Action &action);
void addMachinesCommand(CLI::App &app, Action &action);
void addShowCommand(CLI::App &app, Action &action);
void addCompileCommand(CLI::App &app, Action &action);
void addRunCommand(CLI::App &app, Action &action);
void addVerifyCommand(CLI::App &app, Action &action);
void addPtxCommand(CLI::App &app, Action &action);
void addTuneCommand(CLI::App &app, Action &action);
void addBenchCommand(CLI::App &app, Action &action);
void addExplainCommand(CLI::App &app, Action &action);
void addBuildCommand(CLI::App &app, Action &action);
void addCacheCommand(CLI::App &app, Action &action);

/// {"code": ..., "message": ..., "where": ..., "notes": [...]}
nlohmann::json toJson(const Error &error);

} // namespace heddle::tool
