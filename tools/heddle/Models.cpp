// Reads patterns/presets/*.toml; the format is described in patterns/presets/README.md.
#include "tools/heddle/Models.h"

#include "tools/heddle/Library.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace fs = std::filesystem;

namespace heddle::tool {
namespace {

/// The numbers of an inline table like { Hq = 32, D = 128 }.
Result<std::map<std::string, double>> numbers(const toml::node_view<const toml::node> &node,
                                              const std::string &what) {
  std::map<std::string, double> values;
  if (!node)
    return values;
  const toml::table *table = node.as_table();
  if (!table)
    return Error{ErrorCode::CorruptData,
                 what + ": found no table, expected { NAME = NUMBER, ... }"};
  for (const auto &[key, value] : *table) {
    if (!value.is_number())
      return Error{ErrorCode::CorruptData,
                   fmt::format("{}: '{}' is no number", what, std::string(key.str()))};
    values[std::string(key.str())] = *value.value<double>();
  }
  return values;
}

Result<std::map<std::string, int64_t>> sizes(const toml::node_view<const toml::node> &node,
                                             const std::string &what) {
  HEDDLE_TRY(values, numbers(node, what));
  std::map<std::string, int64_t> integers;
  for (const auto &[name, value] : values) {
    if (value != static_cast<double>(static_cast<int64_t>(value)) || value < 0)
      return Error{ErrorCode::CorruptData,
                   fmt::format("{}: {} = {} is no size", what, name, value)};
    integers[name] = static_cast<int64_t>(value);
  }
  return integers;
}

Result<ModelLayer> parseLayer(const toml::table &table) {
  ModelLayer layer;
  toml::node_view<const toml::node> view(table);
  layer.name = view["name"].value_or("");
  layer.pattern = view["pattern"].value_or("");
  layer.count = view["count"].value_or(int64_t{0});
  layer.notes = view["notes"].value_or("");
  if (layer.name.empty() || layer.pattern.empty())
    return Error{ErrorCode::CorruptData, "a [[layer]] lacks its name or pattern"};
  HEDDLE_TRY(dims, sizes(view["dims"], layer.name + ".dims"));
  HEDDLE_TRY(lengths, sizes(view["lengths"], layer.name + ".lengths"));
  HEDDLE_TRY(params, numbers(view["params"], layer.name + ".params"));
  layer.dims = std::move(dims);
  layer.lengths = std::move(lengths);
  layer.params = std::move(params);
  return layer;
}

std::vector<std::string> layerNames(const Model &model) {
  std::vector<std::string> names;
  for (const ModelLayer &layer : model.kinds)
    names.push_back(layer.name);
  return names;
}

} // namespace

Result<Model> parseModel(const std::string &text, const std::string &path) {
  toml::parse_result parsed = toml::parse(text, path);
  if (!parsed) {
    toml::source_position at = parsed.error().source().begin;
    return Error{ErrorCode::CorruptData, std::string(parsed.error().description()),
                 fmt::format("{}:{}:{}", path, at.line, at.column)};
  }
  const toml::table &table = parsed.table();
  toml::node_view<const toml::node> view(table);
  Model model;
  model.name = fs::path(path).stem().string();
  model.title = view["title"].value_or("");
  model.source = view["source"].value_or("");
  model.hidden = view["hidden"].value_or(int64_t{0});
  model.layers = view["layers"].value_or(int64_t{0});
  Result<DType> dtype = parseDType(view["dtype"].value_or("bf16"));
  if (!dtype.ok())
    return Error{dtype.error().code, dtype.error().message, path};
  model.dtype = *dtype;
  if (const toml::array *kinds = view["layer"].as_array())
    for (const toml::node &node : *kinds) {
      if (!node.is_table())
        return Error{ErrorCode::CorruptData, "found a layer that is no table", path};
      Result<ModelLayer> layer = parseLayer(*node.as_table());
      if (!layer.ok())
        return Error{layer.error().code, layer.error().message, path};
      model.kinds.push_back(std::move(*layer));
    }
  if (model.kinds.empty())
    return Error{ErrorCode::CorruptData, "found no [[layer]], expected at least one", path};
  return model;
}

Result<std::vector<Model>> listModels() {
  HEDDLE_TRY(folder, libraryFolder());
  std::vector<Model> models;
  std::error_code problem;
  for (const fs::directory_entry &entry :
       fs::directory_iterator(fs::path(folder) / "presets", problem)) {
    if (entry.path().extension() != ".toml")
      continue;
    std::ifstream file(entry.path());
    std::ostringstream text;
    text << file.rdbuf();
    HEDDLE_TRY(model, parseModel(text.str(), entry.path().string()));
    models.push_back(std::move(model));
  }
  if (problem)
    return Error{ErrorCode::NotFound,
                 fmt::format("cannot list '{}/presets': {}", folder, problem.message())};
  std::sort(models.begin(), models.end(),
            [](const Model &a, const Model &b) { return a.name < b.name; });
  return models;
}

Result<Model> findModel(const std::string &name) {
  HEDDLE_TRY(models, listModels());
  std::vector<std::string> names;
  for (Model &model : models) {
    if (model.name == name)
      return std::move(model);
    names.push_back(model.name);
  }
  Error error{
      ErrorCode::NotFound,
      fmt::format("found no model '{}', expected one of the {} known ones", name, names.size())};
  for (const std::string &near : nearestNames(name, names))
    error.notes.push_back(fmt::format("did you mean '{}'?", near));
  error.notes.push_back("`heddle models` lists them");
  return error;
}

Result<ModelLayer> findLayer(const Model &model, const std::string &layer) {
  if (layer.empty())
    return model.kinds.front();
  for (const ModelLayer &kind : model.kinds)
    if (kind.name == layer)
      return kind;
  return Error{ErrorCode::NotFound,
               fmt::format("{} has no layer '{}', expected one of {}", model.name, layer,
                           fmt::join(layerNames(model), ", "))};
}

} // namespace heddle::tool
