// Published models with their real shapes: patterns/presets/*.toml.
#pragma once

#include "runtime/DType.h"
#include "runtime/Result.h"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace heddle::tool {

/// One kind of attention or retention layer of a model.
struct ModelLayer {
  std::string name;
  std::string pattern; ///< library name
  int64_t count = 0;   ///< how many layers of the model are of this kind
  std::map<std::string, int64_t> dims;
  std::map<std::string, int64_t> lengths; ///< defaults of B, Tq, Tk or T
  std::map<std::string, double> params;
  std::string notes;
};

struct Model {
  std::string name; ///< file name without ending
  std::string title, source;
  int64_t hidden = 0, layers = 0;
  DType dtype = DType::BF16;
  std::vector<ModelLayer> kinds;
};

/// All models, by name. A damaged file is an error that names file, line and column.
Result<std::vector<Model>> listModels();

/// The model of that name; NotFound brings the nearest names.
Result<Model> findModel(const std::string &name);

/// The layer of that name, or the first if `layer` is empty.
Result<ModelLayer> findLayer(const Model &model, const std::string &layer);

/// The parser, on a file's text.
Result<Model> parseModel(const std::string &text, const std::string &path);

} // namespace heddle::tool
