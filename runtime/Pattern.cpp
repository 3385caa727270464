// find(): key of the call -> table; on a miss extents -> request -> Context::find -> table.
#include "runtime/Pattern.h"

#include <algorithm>

namespace heddle {

std::map<std::string, double> valuesByName(std::span<const ParameterValue> parameters) {
  std::map<std::string, double> values;
  for (const ParameterValue &parameter : parameters)
    values[std::string(parameter.name)] = parameter.value;
  return values;
}
namespace {

bool matches(const Pattern::Entry &entry, const PatternOptions &options) {
  return entry.form == options.form && entry.schedule == options.schedule &&
         entry.flags == options.flags;
}

} // namespace

Pattern::Pattern(std::shared_ptr<Context> context, std::string text, Signature signature)
    : owner(std::move(context)), source(std::move(text)), what(std::move(signature)), keys(what) {}

Result<std::shared_ptr<Pattern>> Pattern::make(std::shared_ptr<Context> context, std::string text,
                                               const std::string &name) {
  HEDDLE_TRY(signature, context->signature(text, name));
  return std::shared_ptr<Pattern>(
      new Pattern(std::move(context), std::move(text), std::move(signature)));
}

/// An entry of the table that is still the one to take. A stand-in is, until what it stands in for
/// is there.
Pattern::EntryPointer Pattern::recall(const ShapeKey &key, const PatternOptions &options) const {
  const uint64_t generation = owner->generation();
  const std::shared_lock lock(mutex);
  const auto [first, last] = table.equal_range(key);
  for (auto at = first; at != last; ++at) {
    const Entry &entry = *at->second;
    const std::shared_ptr<const CompileJob> &better = entry.found.better;
    const bool provisional = better && (options.miss.action != MissPolicy::StandIn ||
                                        better->done.load(std::memory_order_acquire));
    if (matches(entry, options))
      return entry.generation == generation && !provisional ? at->second : nullptr;
  }
  return nullptr;
}

Result<Pattern::EntryPointer> Pattern::search(const Extents &extents, DType dtype,
                                              const std::map<std::string, double> &values,
                                              const PatternOptions &options,
                                              const std::optional<ShapeKey> &key) {
  HEDDLE_TRY(request, what.request(source, extents, dtype, values));
  request.target.clear(); // the device's own
  if (!options.form.empty())
    request.form = options.form;
  HEDDLE_TRY(schedule, parseScheduleText(options.schedule));
  request.schedule = std::move(schedule);
  request.flags = options.flags;
  Entry entry;
  entry.generation = owner->generation(); // before the search: what changes meanwhile counts
  HEDDLE_TRY(found, owner->find(request, options.miss));
  entry.found = std::move(found);
  entry.form = options.form;
  entry.schedule = options.schedule;
  entry.flags = options.flags;
  const EntryPointer kept = std::make_shared<const Entry>(std::move(entry));
  if (!key)
    return kept;
  const std::unique_lock lock(mutex);
  const auto [first, last] = table.equal_range(*key);
  const auto old =
      std::find_if(first, last, [&](const auto &item) { return matches(*item.second, options); });
  if (old != last)
    old->second = kept;
  else
    table.emplace(*key, kept);
  return kept;
}

Result<Pattern::EntryPointer> Pattern::find(std::span<const TensorView> tensors,
                                            std::span<const ParameterValue> parameters,
                                            const PatternOptions &options) {
  const std::optional<ShapeKey> key = keys.of(tensors, parameters);
  if (key)
    if (EntryPointer known = recall(*key, options))
      return known;
  HEDDLE_TRY(extents, what.extentsOf(tensors));
  HEDDLE_TRY(dtype, what.openDType(tensors));
  return search(extents, dtype, valuesByName(parameters), options, key);
}

Result<Pattern::EntryPointer> Pattern::find(std::span<const NamedExtent> given, DType dtype,
                                            std::span<const ParameterValue> parameters,
                                            const PatternOptions &options) {
  const std::optional<ShapeKey> key = keys.of(given, dtype, parameters);
  if (key)
    if (EntryPointer known = recall(*key, options))
      return known;
  Extents named;
  for (const NamedExtent &extent : given)
    named[std::string(extent.name)] = extent.value;
  const std::map<std::string, double> values = valuesByName(parameters);
  HEDDLE_TRY(extents, what.completeExtents(named, values));
  return search(extents, dtype, values, options, key);
}

} // namespace heddle
