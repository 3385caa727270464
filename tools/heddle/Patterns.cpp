// heddle patterns: the library, what each pattern means and which forms run it today.
#include "tools/heddle/Problem.h"
#include "tools/heddle/Terminal.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace heddle::tool {
namespace {

/// A pattern with the verdict of every form: "yes", or why it cannot.
struct Listed {
  PatternFile file;
  std::vector<std::string> runsAs;
  std::map<std::string, std::string> refused;
  std::string mistake; ///< why the file is no pattern
};

Listed judge(PatternFile file, Context &context) {
  Listed listed{std::move(file), {}, {}, {}};
  Result<Signature> signature = context.compiler().describe(listed.file.text);
  if (!signature.ok()) {
    listed.mistake = signature.error().toString();
    return listed;
  }
  for (const auto &[form, verdict] : signature->notes) {
    if (verdict == "yes")
      listed.runsAs.push_back(form);
    else
      listed.refused[form] = verdict;
  }
  return listed;
}

nlohmann::json toJson(const Listed &listed) {
  nlohmann::json json = {{"name", listed.file.name},         {"title", listed.file.title},
                         {"source", listed.file.source},     {"path", listed.file.path},
                         {"legal_forms", listed.file.forms}, {"runs_as", listed.runsAs},
                         {"refused", listed.refused}};
  if (!listed.mistake.empty())
    json["mistake"] = listed.mistake;
  return json;
}

Result<int> showOne(const std::string &name, bool json, Context &context) {
  HEDDLE_TRY(file, findPattern(name));
  Listed listed = judge(std::move(file), context);
  if (json) {
    fmt::print("{}\n", toJson(listed).dump(1));
    return 0;
  }
  fmt::print("{}\n\n", listed.file.text);
  fmt::print("legal forms: {}\nruns as: {}\n", listed.file.forms,
             listed.runsAs.empty() ? "the interpreter only"
                                   : fmt::format("{}", fmt::join(listed.runsAs, ", ")));
  for (const auto &[form, reason] : listed.refused)
    fmt::print("refused: {}: {}\n", form, reason);
  if (!listed.mistake.empty())
    fmt::print("{}\n", listed.mistake);
  return 0;
}

Result<int> listAll(bool json, Context &context) {
  HEDDLE_TRY(files, listPatterns());
  nlohmann::json all = nlohmann::json::array();
  Table table({"pattern", "what it is", "legal forms", "runs as"});
  for (PatternFile &file : files) {
    Listed listed = judge(std::move(file), context);
    all.push_back(toJson(listed));
    table.add({listed.file.name, listed.file.title, listed.file.forms,
               !listed.mistake.empty() ? "faulty: heddle patterns " + listed.file.name
               : listed.runsAs.empty() ? "interpreter only"
                                       : fmt::format("{}", fmt::join(listed.runsAs, " "))});
  }
  if (json)
    fmt::print("{}\n", all.dump(1));
  else
    fmt::print("{}\n`heddle patterns NAME` prints a pattern and why a form is refused.\n",
               table.text());
  return 0;
}

} // namespace

void addPatternsCommand(CLI::App &app, Action &action) {
  auto *command = app.add_subcommand("patterns", "list the pattern library, or print one pattern");
  auto name = std::make_shared<std::string>();
  auto options = std::make_shared<ProblemOptions>();
  command->add_option("name", *name, "library name or path: print this pattern and its forms");
  addJsonOption(*command, options->json);
  command->callback([=, &action] {
    action = [=]() -> Result<int> {
      HEDDLE_TRY(context, openContext(*options));
      return name->empty() ? listAll(options->json, *context)
                           : showOne(*name, options->json, *context);
    };
  });
}

} // namespace heddle::tool
