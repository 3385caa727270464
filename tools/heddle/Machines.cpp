// heddle machines: the chips Heddle has facts about, and this one.
#include "tools/heddle/Problem.h"
#include "tools/heddle/Terminal.h"

#include <fmt/format.h>

namespace heddle::tool {
namespace {

std::string number(const nlohmann::json &machine, const char *key, const char *format) {
  double value = machine.value(key, 0.0);
  return value > 0 ? fmt::format(fmt::runtime(format), value) : "";
}

Result<int> run(const ProblemOptions &options) {
  HEDDLE_TRY(context, openContext(options));
  HEDDLE_TRY(text, context->compiler().machines());
  nlohmann::json machines = nlohmann::json::parse(text);
  machines.insert(machines.begin(),
                  nlohmann::json::object({{"name", "host"},
                                          {"title", "this computer: " + context->device().facts()},
                                          {"target", context->device().target()}}));
  if (options.json) {
    fmt::print("{}\n", machines.dump(1));
    return 0;
  }
  Table table({"machine", "target", "clock", "memory", "what it is"});
  for (const nlohmann::json &machine : machines)
    table.add({machine.value("name", ""), machine.value("target", ""),
               number(machine, "clock_ghz", "{:.2f} GHz"),
               number(machine, "memory_gbs", "{:.0f} GB/s"), machine.value("title", "")});
  fmt::print("{}", table.text());
  return 0;
}

} // namespace

void addMachinesCommand(CLI::App &app, Action &action) {
  auto *command = app.add_subcommand("machines", "list the machines Heddle has facts about");
  auto options = std::make_shared<ProblemOptions>();
  addJsonOption(*command, options->json);
  command->callback([=, &action] { action = [=] { return run(*options); }; });
}

} // namespace heddle::tool
