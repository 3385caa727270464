// The table pattern x form: the worst error that tests saw, or why the form is refused; written to
// the build folder as pattern_forms.json.
#pragma once

#include <nlohmann/json.hpp>

#include <fstream>
#include <map>
#include <string>
#include <utility>

namespace heddle::test {

class FormErrors {
public:
  void found(const std::string &pattern, const std::string &form, double error, double limit) {
    Entry &entry = entries[{pattern, form}];
    entry.runs = true;
    if (error / limit >= entry.error / entry.limit)
      entry.error = error, entry.limit = limit;
  }
  void refused(const std::string &pattern, const std::string &form, const std::string &reason) {
    entries[{pattern, form}].reason = reason;
  }
  bool has(const std::string &pattern, const std::string &form) const {
    auto entry = entries.find({pattern, form});
    return entry != entries.end() && entry->second.runs;
  }

  void write(const std::string &path) const {
    nlohmann::json table = nlohmann::json::array();
    for (const auto &[key, entry] : entries) {
      nlohmann::json row{{"pattern", key.first}, {"form", key.second}};
      if (entry.runs)
        row["worst"] = entry.error, row["limit"] = entry.limit;
      else
        row["refused"] = entry.reason;
      table.push_back(std::move(row));
    }
    std::ofstream(path) << table.dump(1) << "\n";
  }

private:
  struct Entry {
    bool runs = false;
    double error = 0, limit = 1; ///< of the run nearest to its limit
    std::string reason;
  };
  std::map<std::pair<std::string, std::string>, Entry> entries;
};

} // namespace heddle::test
