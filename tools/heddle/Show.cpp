// heddle show: the text of any station on the way from pattern to machine code, or the tiles
// visited.
#include "tools/heddle/Problem.h"
#include "tools/heddle/Terminal.h"

#include <fmt/format.h>

namespace heddle::tool {
namespace {

/// Counts of tiles and pairs, from the compiler's explanation.
Result<int> showTiles(const Problem &problem, bool json) {
  HEDDLE_TRY(text, problem.context->compiler().explain(problem.request, problem.extents,
                                                       problem.parameters));
  nlohmann::json explained = nlohmann::json::parse(text);
  if (!explained.contains("tiles"))
    return Error{ErrorCode::Unsupported, "this pattern runs in no form that visits tiles of keys"};
  nlohmann::json tiles = explained["tiles"];
  if (json) {
    fmt::print("{}\n", tiles.dump(1));
    return 0;
  }
  auto count = [&](const char *key) { return tiles.value(key, 0.0); };
  double exact = std::max(1.0, count("exact_pairs"));
  fmt::print("support: {}\nclass: {}\n", tiles.value("support", ""), tiles.value("class", ""));
  Table table({"", "tiles", "pairs", "share of exact"});
  table.add({"visited", fmt::format("{:.0f}", count("visited_tiles")),
             fmt::format("{:.0f}", count("visited_pairs")),
             fmt::format("{:.3f}", count("visited_pairs") / exact)});
  table.add({"full (no mask)", fmt::format("{:.0f}", count("full_tiles")),
             fmt::format("{:.0f}", count("full_pairs")),
             fmt::format("{:.3f}", count("full_pairs") / exact)});
  table.add({"exact", "", fmt::format("{:.0f}", count("exact_pairs")), "1.000"});
  fmt::print("{}", table.text());
  return 0;
}

} // namespace

void addShowCommand(CLI::App &app, Action &action) {
  auto *command =
      app.add_subcommand("show", "print the code at a station, or count the tiles visited");
  auto options = std::make_shared<ProblemOptions>();
  auto station = std::make_shared<std::string>("tile");
  auto tiles = std::make_shared<bool>(false);
  addProblemOptions(*command, *options);
  command
      ->add_option("--after", *station,
                   "pattern, form, tile, layouts; cpu: vector, llvm, asm; sm_*: cuda, ptx, sass")
      ->capture_default_str();
  command->add_flag("--tiles", *tiles,
                    "count visited and full tiles against the exact number of pairs");
  command->callback([=, &action] {
    action = [=]() -> Result<int> {
      HEDDLE_TRY(problem, resolveProblem(*options));
      if (*tiles)
        return showTiles(problem, options->json);
      HEDDLE_TRY(text, problem.context->compiler().show(problem.request, *station));
      if (options->json)
        fmt::print("{}\n", nlohmann::json{{"station", *station}, {"text", text}}.dump(1));
      else
        fmt::print("{}{}", text, text.ends_with('\n') ? "" : "\n");
      return 0;
    };
  });
}

} // namespace heddle::tool
