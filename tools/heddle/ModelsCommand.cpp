// heddle models: published models and the shapes of their layers.
#include "tools/heddle/Command.h"
#include "tools/heddle/Models.h"
#include "tools/heddle/Problem.h"
#include "tools/heddle/Terminal.h"

#include <fmt/format.h>

namespace heddle::tool {
namespace {

nlohmann::json jsonOf(const Model &model) {
  nlohmann::json layers = nlohmann::json::array();
  for (const ModelLayer &layer : model.kinds)
    layers.push_back({{"name", layer.name},
                      {"pattern", layer.pattern},
                      {"count", layer.count},
                      {"dims", layer.dims},
                      {"lengths", layer.lengths},
                      {"params", layer.params},
                      {"notes", layer.notes}});
  return {{"name", model.name},     {"title", model.title},   {"source", model.source},
          {"hidden", model.hidden}, {"layers", model.layers}, {"dtype", toString(model.dtype)},
          {"kinds", layers}};
}

template <typename Number> std::string list(const std::map<std::string, Number> &values) {
  std::string text;
  for (const auto &[name, value] : values)
    text += fmt::format("{}{}={}", text.empty() ? "" : ",", name, value);
  return text;
}

std::vector<std::string> row(const Model &model, const ModelLayer &layer) {
  return {model.name,           layer.name,       fmt::format("{} x", layer.count),
          layer.pattern,        list(layer.dims), list(layer.params),
          toString(model.dtype)};
}

Result<int> run(const std::string &name, bool json) {
  std::vector<Model> models;
  if (name.empty()) {
    HEDDLE_TRY(all, listModels());
    models = std::move(all);
  } else {
    HEDDLE_TRY(one, findModel(name));
    models.push_back(std::move(one));
  }
  if (json) {
    nlohmann::json all = nlohmann::json::array();
    for (const Model &model : models)
      all.push_back(jsonOf(model));
    fmt::print("{}\n", all.dump(1));
    return 0;
  }
  Table table({"model", "layer", "count", "pattern", "sizes", "parameters", "dtype"});
  for (const Model &model : models)
    for (const ModelLayer &layer : model.kinds)
      table.add(row(model, layer));
  fmt::print("{}", table.text());
  for (const Model &model : models)
    if (!name.empty()) {
      fmt::print("\n{}: {}\n", model.title, model.source);
      for (const ModelLayer &layer : model.kinds)
        fmt::print("  {}: {}\n", layer.name, layer.notes);
    }
  return 0;
}

} // namespace

void addModelsCommand(CLI::App &app, Action &action) {
  auto *command =
      app.add_subcommand("models", "list published models and the shapes of their layers");
  auto name = std::make_shared<std::string>();
  auto json = std::make_shared<bool>(false);
  command->add_option("name", *name, "only this model, with its notes and sources");
  addJsonOption(*command, *json);
  command->callback([=, &action] { action = [=] { return run(*name, *json); }; });
}

} // namespace heddle::tool
