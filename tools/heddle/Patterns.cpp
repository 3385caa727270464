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

/// Sizes of a small layer, by the letter that names of dims begin with; widths of packed codes and
/// numbers of their groups agree with features.
int64_t usualExtent(const std::string &dim) {
  constexpr std::pair<char, int64_t> kSizes[] = {{'B', 1}, {'T', 256}, {'H', 2},
                                                 {'N', 1}, {'P', 32},  {'C', 16}};
  for (const auto &[letter, size] : kSizes)
    if (dim.starts_with(letter))
      return size;
  return 64;
}

/// Of the forms that run, those that become code of `target` (bf16, usual sizes); the others are
/// refused with the reason.
void judgeFor(const std::string &target, const Signature &signature, Context &context,
              Listed &listed) {
  Extents extents;
  for (const std::string &dim : signature.dims())
    extents[dim] = usualExtent(dim);
  Signature asked = signature;
  asked.conditions.clear(); // sizes stand for any: what counts is the form
  const auto lowered = [&](const std::string &form) -> Status {
    HEDDLE_TRY(request, asked.request(listed.file.text, extents, DType::BF16));
    request.form = form;
    request.target = target;
    HEDDLE_TRY(complete, context.complete(std::move(request)));
    HEDDLE_TRY(tiles, context.compiler().show(complete, "layouts"));
    (void)tiles;
    return {};
  };
  for (const std::string &form : listed.runsAs)
    if (Status done = lowered(form); !done.ok())
      listed.refused[form] = done.error().message;
  std::erase_if(listed.runsAs, [&](const auto &form) { return listed.refused.contains(form); });
}

Listed judge(PatternFile file, Context &context, const std::string &target) {
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
  if (target.starts_with("sm_"))
    judgeFor(target, *signature, context, listed);
  return listed;
}

nlohmann::json jsonOf(const Listed &listed) {
  nlohmann::json json = {{"name", listed.file.name},         {"title", listed.file.title},
                         {"source", listed.file.source},     {"path", listed.file.path},
                         {"legal_forms", listed.file.forms}, {"runs_as", listed.runsAs},
                         {"refused", listed.refused}};
  if (!listed.mistake.empty())
    json["mistake"] = listed.mistake;
  return json;
}

Result<int> showOne(const std::string &name, const ProblemOptions &options, Context &context) {
  HEDDLE_TRY(file, findPattern(name));
  Listed listed = judge(std::move(file), context, options.target);
  if (options.json) {
    fmt::print("{}\n", jsonOf(listed).dump(1));
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

Result<int> listAll(const ProblemOptions &options, Context &context) {
  HEDDLE_TRY(files, listPatterns());
  nlohmann::json all = nlohmann::json::array();
  Table table({"pattern", "what it is", "legal forms", "runs as"});
  for (PatternFile &file : files) {
    Listed listed = judge(std::move(file), context, options.target);
    all.push_back(jsonOf(listed));
    table.add({listed.file.name, listed.file.title, listed.file.forms,
               !listed.mistake.empty() ? "faulty: heddle patterns " + listed.file.name
               : listed.runsAs.empty() ? "interpreter only"
                                       : fmt::format("{}", fmt::join(listed.runsAs, " "))});
  }
  if (options.json)
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
  command->add_option("--target", options->target,
                      "cpu, or a GPU's architecture, e.g. sm_80: which forms become its code");
  addJsonOption(*command, options->json);
  command->callback([=, &action] {
    action = [=]() -> Result<int> {
      HEDDLE_TRY(context, openContext(*options));
      return name->empty() ? listAll(*options, *context) : showOne(*name, *options, *context);
    };
  });
}

} // namespace heddle::tool
