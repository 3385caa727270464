// A pattern registered with a context: its text is read and hashed once, and a table of the kernels
// that calls got, by a few numbers of the call, spares a warm one the rest of the way.
//
//   HEDDLE_TRY(pattern, Pattern::make(context, text));
//   HEDDLE_TRY(entry, pattern->find(tensors, parameters));   // inputs, or inputs and results
//   HEDDLE_CHECK(entry->found.kernel->launch(tensors, parameters, workspace));
#pragma once

#include "runtime/Jit.h"
#include "runtime/ShapeKey.h"

#include <map>
#include <memory>
#include <shared_mutex>
#include <span>
#include <string>
#include <unordered_map>

namespace heddle {

/// The parameters of a call as a Signature takes them.
std::map<std::string, double> valuesByName(std::span<const ParameterValue> parameters);

/// What a call asks for besides its tensors and parameters.
struct PatternOptions {
  std::string_view form, schedule, flags; ///< as in Request; the schedule as scheduleText writes it
  MissPolicy miss;
};

class Pattern {
public:
  /// A kernel that a call got.
  struct Entry {
    Found found;
    std::string form, schedule, flags; ///< as asked for
    uint64_t generation = 0;           ///< Context::generation when it was found
  };
  using EntryPointer = std::shared_ptr<const Entry>;

  /// Fails as Context::signature.
  static Result<std::shared_ptr<Pattern>> make(std::shared_ptr<Context> context, std::string text,
                                               const std::string &name = "");

  const Signature &signature() const { return what; }
  const std::string &text() const { return source; }
  const std::shared_ptr<Context> &context() const { return owner; }

  /// The kernel for tensors: all of the signature's, or its inputs alone. Fails as extentsOf,
  /// request() and Context::find.
  Result<EntryPointer> find(std::span<const TensorView> tensors,
                            std::span<const ParameterValue> parameters,
                            const PatternOptions &options = {});
  /// The kernel for dense tensors of these extents, completed as Signature::completeExtents says.
  Result<EntryPointer> find(std::span<const NamedExtent> extents, DType dtype,
                            std::span<const ParameterValue> parameters,
                            const PatternOptions &options = {});

private:
  Pattern(std::shared_ptr<Context> context, std::string text, Signature signature);
  EntryPointer recall(const ShapeKey &key, const PatternOptions &options) const;
  Result<EntryPointer> search(const Extents &extents, DType dtype,
                              const std::map<std::string, double> &values,
                              const PatternOptions &options, const std::optional<ShapeKey> &key);

  struct Hash {
    size_t operator()(const ShapeKey &key) const { return key.hash(); }
  };

  std::shared_ptr<Context> owner;
  std::string source;
  Signature what;
  ShapeKeys keys;
  mutable std::shared_mutex mutex; ///< guards the table
  std::unordered_multimap<ShapeKey, EntryPointer, Hash> table;
};

} // namespace heddle
