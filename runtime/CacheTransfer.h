// Carrying entries from store to store: through a file (a bundle without targets), or from another
// store's folder. Entries prove their key and contents on the way; what the receiving store has
// already stays as it is.
#pragma once

#include "runtime/Bundle.h"
#include "runtime/Cache.h"

#include <cstdint>
#include <string>
#include <vector>

namespace heddle {

struct TransferReport {
  int64_t entries = 0, bytes = 0;   ///< carried over; bytes of their contents
  int64_t present = 0;              ///< there already
  std::vector<std::string> damaged; ///< "artifact/3f9a...: reason", not carried over
};

/// Writes every sound entry into one file.
Result<TransferReport> exportStore(const Cache &store, const std::string &path);
/// Takes the entries of an exported file or of a bundle.
Result<TransferReport> importBundle(const Cache &store, const Bundle &bundle);
/// Takes the entries of another store.
Result<TransferReport> mergeStore(const Cache &store, const Cache &other);

} // namespace heddle
