// The two evaluators of `mix`: by pairs (sums over the keys a query sees) and by scan (a state that
// walks the sequence). Each is the definition written down; they must agree wherever both are
// legal.
#pragma once

#include "compiler/interpreter/MixHead.h"

namespace heddle::compiler {

/// Why the mix cannot be run so, or nothing if it can.
std::optional<std::string> whyNotPair(pattern::MixOp op);
std::optional<std::string> whyNotScan(pattern::MixOp op);

/// What a mix gives for one query row: [readouts, widthV] and [readouts].
struct MixRow {
  std::vector<double> o, lse;
};

/// One row of the head that was entered.
Status pairRow(MixHead &head, int64_t row, MixRow &out);

/// What is left when a head's sequence has been read.
struct MixFinal {
  std::vector<double> state;              ///< [features, widthV]
  std::vector<double> sums;               ///< [features]
  std::vector<double> bank;               ///< [segments or levels, features, widthV]
  std::vector<double> lastKey, lastValue; ///< [writes, ..]
  std::vector<double> pools, runningPool; ///< [segments, K], [K]
  double position = 0;                    ///< tokens in the current segment
};

/// The final state by its sum over pairs.
Status pairFinal(MixHead &head, MixFinal &out);

/// The last key and value, for a run that goes on: of the entry if there were no keys.
void leaveLast(const MixHead &head, MixFinal &out);

/// What is wanted of a scan: by default everything.
struct ScanPart {
  std::vector<bool> rows; ///< by row; empty: all
  bool toEnd = true;      ///< and what is left after the last key; else the walk may stop earlier
};

/// The rows of the head that was entered, [lenQ * readouts, widthV] (0 where they are not wanted),
/// and what is left.
Status scanHead(MixHead &head, const ScanPart &part, std::vector<double> &o, MixFinal &final);

/// Runs a mix and defines its results. With rows, only these are computed: results that are
/// returned and nothing else become sparse, others hold NaN in every other row.
Status runMix(pattern::MixOp op, Environment &environment, const RowSelection &rows,
              Evaluator evaluator);

} // namespace heddle::compiler
