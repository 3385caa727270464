// Checks on sampled rows: of a scan, whose state is checked too, and of a graph with maps around
// its mix. The kernel is played by the interpreter, with an error put in.
#include "compiler/Oracle.h"
#include "tests/patterns/Library.h"
#include "tests/support/Files.h"
#include "tests/support/PatternInputs.h"

using namespace heddle;
using namespace heddle::test;

namespace {

/// A problem of a library file and what a kernel without a mistake gives for it.
struct Played {
  PatternRun run;
  Inputs inputs;
  std::map<std::string, Tensor> results;
  compiler::OracleJob job;

  Played(const std::string &name, const Dims &dims, double budget)
      : run(PatternRun::library(name)), inputs(randomInputs(run, dims, 5)), results(run(inputs)) {
    job.patternText = libraryText(name);
    job.bindings = PatternRun::bind(inputs);
    job.dtype = DType::F64;
    job.budget = budget;
    job.mostRows = 24;
  }

  compiler::OracleReport check() {
    Result<compiler::Oracle> oracle = compiler::Oracle::make(job);
    INFO((oracle.ok() ? std::string() : oracle.error().toString()));
    REQUIRE(oracle.ok());
    std::map<std::string, TensorView> found;
    for (auto &[name, tensor] : results)
      found[name] = tensor.view();
    Result<compiler::OracleReport> report = oracle->compare(found);
    REQUIRE(report.ok());
    return *report;
  }
};

const compiler::OracleResult &resultOf(const compiler::OracleReport &report,
                                       const std::string &name) {
  for (const compiler::OracleResult &result : report.results)
    if (result.name == name)
      return result;
  FAIL("no result " << name);
  return report.results.front();
}

const Dims kScan = {{"B", 1}, {"T", 200}, {"H", 6}, {"K", 8}, {"V", 8}};

} // namespace

TEST_CASE("a scan is checked on rows of some heads, and its state with them", "[oracle]") {
  Played played("deltanet", kScan, 5e5); // a head is 16 * 200 * 8 * 8 = 2e5
  compiler::OracleReport report = played.check();
  CHECK(report.passed);
  CHECK(report.sampled);
  const compiler::OracleResult &o = resultOf(report, "o"), &s = resultOf(report, "s");
  CHECK(o.compared == 24 * 8);
  CHECK(o.total == 200 * 6 * 8);
  CHECK(s.compared >= 64); // whole heads, not all of them
  CHECK(s.compared < s.total);

  played.results["s"].data[5] += 0.1; // of head 0, which is always among them
  report = played.check();
  CHECK(!report.passed);
  CHECK(resultOf(report, "o").comparison.pass);
  CHECK(!resultOf(report, "s").comparison.pass);
}

TEST_CASE("a scan far over the budget is walked as far as it goes, without its state", "[oracle]") {
  Played played("deltanet", kScan, 2e4);
  compiler::OracleReport report = played.check();
  CHECK(report.passed);
  CHECK(resultOf(report, "o").compared > 0);
  CHECK(resultOf(report, "s").compared == 0);
  played.results["o"].data[3] += 0.1; // row 0
  CHECK(!played.check().passed);
}

TEST_CASE("rows of what maps make of a mix are known where all they read is", "[oracle]") {
  Dims dims = kScan;
  dims["C"] = 8;
  Played played("retnet", dims, 5e5); // group norm and gate a head
  compiler::OracleReport report = played.check();
  CHECK(report.passed);
  CHECK(report.sampled);
  CHECK(resultOf(report, "y").compared == 24 * 8);
  for (double &x : played.results["y"].data)
    x += 0.1;
  CHECK(!played.check().passed);
}
