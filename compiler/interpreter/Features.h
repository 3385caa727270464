// Feature maps of q and k: what stands between an operand's row and the product of features.
#pragma once

#include "compiler/interpreter/MixInputs.h"

#include <functional>

namespace heddle::compiler {

/// A list of feature maps, applied in order to one row.
class FeatureMaps {
public:
  /// `key`: positions default to j, else to i.
  static Result<FeatureMaps> compile(mlir::ArrayAttr features, const MixInputs &in, bool key);

  /// Maps the row of a query (`row`) or of a key (`token` = j), of that output head.
  void apply(const MixInputs &in, const Sequence &s, int64_t head, int64_t token,
             std::vector<double> &x);
  /// Width of a mapped row of that width.
  int64_t width(int64_t given);
  bool empty() const { return maps.empty(); }
  /// True if what a key's row becomes depends on the output head, not only on the key head.
  bool readsHead() const;

private:
  struct Map {
    std::string name;
    std::map<std::string, ExprProgram> arguments;
    bool interleaved = false;
  };
  double argument(Map &map, const std::string &name, double otherwise);
  void applyRope(Map &map, double position, std::vector<double> &x);
  void applyEach(Map &map, std::vector<double> &x);
  void applyOne(Map &map, double position, std::vector<double> &x);

  std::vector<Map> maps;
  bool key = false;
};

/// [1, c x, c^2 x x' / sqrt 2]: products are 1 + s + s^2 / 2 with s = c^2 q.k.
std::vector<double> taylor2(const std::vector<double> &x, double c);
/// The symmetric power: products are (q.k)^p. Entries sqrt(p! / prod n_i!) prod x_i over
/// non-decreasing indices.
std::vector<double> symmetricPower(const std::vector<double> &x, int64_t p);

} // namespace heddle::compiler
