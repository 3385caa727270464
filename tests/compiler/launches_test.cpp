// Graphs of several stages: how many launches they take on the CPU, and that each says what it is
// for. A change that adds one must change a number here.
#include "compiler/Compiler.h"
#include "tests/compiler/FormSupport.h"
#include "tests/support/Files.h"

#include <fmt/format.h>

using namespace heddle;
using namespace heddle::test;

namespace {

struct Expected {
  const char *pattern;
  std::map<std::string, int64_t> dims; ///< fixed
  std::vector<std::string> kernels;    ///< of the attention form, in order
};

const Expected kGraphs[] = {
    {"longformer", {{"D", 8}, {"Dv", 8}, {"G", 1}}, {"attn_ol", "attn_og", "map_o", "map_lse"}},
    // Keys and values of the compressed branch have one shape, so one kernel means both.
    {"nsa",
     {{"D", 8}, {"Dv", 8}, {"G", 2}, {"l", 32}},
     {"map_k1", "attn_o1", "map_p", "choose_blocks", "map_seen_o2", "attn_o2", "queries_o2",
      "attn_o3", "map_y"}},
    {"lsel",
     {{"D", 8}, {"Dv", 8}, {"G", 1}, {"R", 4}, {"M", 8}},
     {"map_a", "map_c", "map_mu", "choose_keys_bucket", "keep_keys_kept", "choose_keys_visited",
      "map_keys_found", "choose_keys", "queries"}},
    {"tree_decoding",
     {{"D", 8}, {"Dv", 8}, {"G", 1}},
     {"tree_ancestors_o", "map_depths_o", "map_k_of_o", "attn"}}};

} // namespace

TEST_CASE("graphs of several stages take few launches, each with its reason") {
  for (const Expected &graph : kGraphs) {
    INFO(graph.pattern);
    Request request;
    request.patternText = libraryText(graph.pattern);
    request.dims = {graph.dims.begin(), graph.dims.end()};
    for (const char *extent : {"B", "Tq", "Tk", "Hq", "Hk"})
      request.extents[extent] = ExtentClass::of(1000);
    request.dtypes["*"] = DType::F32;
    request.form = "attention";
    request.machine = "x86-avx2";
    Result<compiler::Choice> choice = compiler::choose(request);
    INFO((choice ? "" : choice.error().toString()));
    REQUIRE(choice.ok());
    std::vector<std::string> kernels;
    for (const auto &[kernel, why] : choice->launches) {
      kernels.push_back(kernel);
      CHECK(!why.empty());
    }
    CHECK(kernels == graph.kernels);
  }
}

TEST_CASE("maps of one shape that read their own elements share a kernel") {
  FormCase c;
  c.text = "pattern.def @p(%q: seq<T x H x D>, %k: seq<T x H x D>, %v: seq<T x H x Dv>, "
           "%x: seq<f32, T x H>) {\n"
           "  %a = map (t, h) in (T, H) { softplus(x[t, h]) }\n"
           "  %b = map (u, g) in (T, H) { exp(-a[u, g]) * x[u, g] }\n"
           "  %c = map (t, h) in (T, H) { select(t > 0, b[t - 1, h], 0.0) + a[t, h] }\n"
           "  %o = mix %q, %k, %v\n    support (i, j) { j <= i }\n"
           "    score (s, h, i, j) { s * b[i, h] + c[j, h] }\n    weight exp norm sum\n"
           "  return %o\n}\n";
  c.dims = {{"B", 2}, {"T", 21}, {"H", 3}, {"D", 5}, {"Dv", 4}};
  c.form = "attention";
  FormRun run(c);
  auto module = run.build(Upto::Form);
  std::vector<std::string> kernels;
  module->walk([&](tile::KernelOp kernel) { kernels.push_back(kernel.getSymName().str()); });
  // c reads a neighbour of b, which another grid point may write.
  CHECK(kernels == std::vector<std::string>{"map_a", "map_c", "attn"});
  FormRun(c).check(Upto::Form);
  FormRun(c).check(Upto::SimplifyMaps);
}
