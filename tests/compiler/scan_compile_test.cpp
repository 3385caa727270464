// Recurrent and chunked forms compiled for this processor equal the interpreter: every class of
// scan, lengths around the chunk, head sizes that fill no vector, all element types; forms and
// chunk sizes agree with one another.
#include "compiler/Compiler.h"
#include "compiler/machine/Isa.h"
#include "runtime/Jit.h"
#include "tests/compiler/ScanClasses.h"
#include "tests/support/Paths.h"
#include "tests/support/Tier.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>

using namespace heddle;
using namespace heddle::test;

namespace {

/// `tokens` gives the class of lengths that the code is for.
Request requestOf(const FormCase &c, DType dtype, int64_t tokens, const std::string &facts) {
  Request request;
  request.patternText = c.text;
  for (const auto &[name, extent] : c.dims)
    if (std::find(c.fixed.begin(), c.fixed.end(), name) != c.fixed.end())
      request.dims[name] = extent;
    else
      request.extents[name] = ExtentClass::of(extent);
  if (c.dims.contains("T"))
    request.extents["T"] = ExtentClass::of(tokens);
  if (c.dims.contains("Hq") && c.dims.contains("Hk"))
    request.dims["G"] = c.dims.at("Hq") / c.dims.at("Hk");
  request.dtypes["*"] = dtype;
  request.form = c.form;
  request.schedule = {{"CHUNK", c.CHUNK}};
  request.target = "cpu";
  request.machine = "host";
  request.deviceFacts = facts;
  return request;
}

/// A case as native code, with random tensors.
class CompiledScan {
public:
  /// `tokens` gives the class of lengths that the code is for; `cores` (0: this processor's) how
  /// many it thinks there are.
  explicit CompiledScan(const FormCase &given, DType dtype = DType::F32, int64_t tokens = 1000,
                        int cores = 0, int threads = 2)
      : c(given), dtype(dtype), device(std::move(*openDevice("cpu", threads))) {
    Request request = requestOf(c, dtype, tokens, device->facts());
    if (cores)
      request.deviceFacts += "; cores " + std::to_string(cores);
    Result<Artifact> made = compiler::compile(request);
    INFO(c.text << c.form << " chunk " << c.CHUNK << (made ? "" : "\n" + made.error().toString()));
    REQUIRE(made.ok());
    artifact = std::move(*made);
    Result<std::shared_ptr<const Kernel>> loaded = Kernel::load(artifact, {}, device);
    INFO((loaded ? "" : loaded.error().toString()));
    REQUIRE(loaded.ok());
    kernel = std::move(*loaded);
    makeTensors();
  }

  TensorView &view(const std::string &name) {
    for (size_t n = 0; n < views.size(); ++n)
      if (artifact.tensors[n].name == name)
        return views[n];
    FAIL("no tensor " << name);
    return views[0];
  }

  void launch(const std::vector<TensorView> &tensors) {
    Result<int64_t> bytes = kernel->workspaceBytes(tensors, {});
    REQUIRE(bytes.ok());
    Result<AlignedBuffer> workspace = AlignedBuffer::allocate(*bytes);
    REQUIRE(workspace.ok());
    Status status = kernel->launch(tensors, {}, workspace->workspace());
    INFO((status ? "" : status.error().toString()));
    REQUIRE(status.ok());
  }

  std::vector<double> values(const std::string &name) {
    const TensorView &tensor = view(name);
    std::vector<double> found(tensor.elements());
    for (size_t e = 0; e < found.size(); ++e)
      found[e] = loadElement(tensor.dtype, tensor.data, int64_t(e));
    return found;
  }

  void fill(const std::string &name, const std::vector<double> &values) {
    TensorView &tensor = view(name);
    for (size_t n = 0; n < values.size(); ++n)
      storeElement(tensor.dtype, tensor.data, int64_t(n), values[n]);
  }

  /// Runs everything and compares all results with the interpreter; gives them by name.
  std::map<std::string, std::vector<double>> check() {
    launch(views);
    auto context = pattern::makePatternContext();
    pattern::Parsed parsed = pattern::parsePatterns(*context, c.text, "p");
    std::string why;
    pattern::DefOp def = pattern::findPattern(*parsed.module, "", why);
    compiler::Bindings bindings;
    for (size_t n = 0; n < views.size(); ++n)
      if (!artifact.tensors[n].isResult)
        bindings.tensors[artifact.tensors[n].name] = views[n];
    bindings.dims = c.dims;
    Result<compiler::Outputs> expected = compiler::interpret(def, bindings);
    INFO((expected ? "" : expected.error().toString()));
    REQUIRE(expected.ok());
    std::map<std::string, std::vector<double>> results;
    for (const compiler::Output &output : expected->results) {
      std::vector<double> found = values(output.name);
      compiler::Comparison result =
          compiler::compareValues(found.data(), output.values.data(), int64_t(found.size()),
                                  compiler::rmsLimit(compiler::arithmeticOf(dtype)));
      INFO(c.text << c.form << " chunk " << c.CHUNK << " result " << output.name << " maxAbs "
                  << result.maxAbs << " rms " << result.rms << " worst " << result.worst);
      CHECK(result.pass);
      results[output.name] = std::move(found);
    }
    return results;
  }

  /// The views of tokens first .. end - 1.
  std::vector<TensorView> part(int64_t first, int64_t end) {
    std::vector<TensorView> parts = views;
    for (size_t n = 0; n < parts.size(); ++n)
      for (size_t d = 0; d < artifact.tensors[n].shape.size(); ++d)
        if (artifact.tensors[n].shape[d] == "T") {
          parts[n].shape[d] = end - first;
          parts[n].data = static_cast<char *>(parts[n].data) +
                          first * parts[n].strides[d] * sizeOf(parts[n].dtype);
        }
    return parts;
  }

  std::vector<TensorView> views;
  Artifact artifact;

private:
  void makeTensors() {
    std::mt19937 random(5);
    std::normal_distribution<double> normal;
    owned.reserve(artifact.tensors.size());
    for (const TensorInfo &info : artifact.tensors) {
      std::vector<int64_t> shape;
      for (const std::string &dim : info.shape)
        shape.push_back(c.dims.contains(dim) ? c.dims.at(dim) : std::stoll(dim));
      OwnedTensor &tensor = owned.emplace_back(info.dtype, shape);
      tensor.view.data = tensor.bytes.data();
      if (auto given = c.given.find(info.name); given != c.given.end()) {
        for (size_t n = 0; n < given->second.size(); ++n)
          storeElement(info.dtype, tensor.view.data, int64_t(n), double(given->second[n]));
        views.push_back(tensor.view);
        continue;
      }
      auto made = c.made.contains(info.name) ? c.made.at(info.name) : +[](double x) { return x; };
      for (int64_t n = 0; n < tensor.view.elements(); ++n)
        storeElement(info.dtype, tensor.view.data, n, made(normal(random)));
      views.push_back(tensor.view);
    }
  }

  FormCase c;
  DType dtype;
  std::shared_ptr<Device> device;
  std::shared_ptr<const Kernel> kernel;
  std::vector<OwnedTensor> owned;
};

std::map<std::string, std::vector<double>> runCompiled(const FormCase &c,
                                                       DType dtype = DType::F32) {
  return CompiledScan(c, dtype).check();
}

std::map<std::string, int64_t> sizes(int64_t T, int64_t K, int64_t V) {
  return {{"B", 1}, {"T", T}, {"H", 2}, {"K", K}, {"V", V}};
}

} // namespace

TEST_CASE("compiled scans: every class in chunks") {
  for (const ScanClass &kind : kScanClasses) {
    INFO(kind.what);
    runCompiled(scanCase(textOf(kind), sizes(77, 24, 40), "chunked", 32));
    runCompiled(scanCase(textOf(kind), sizes(7, 9, 7), "chunked", 16));
  }
}

/// Its few sums of keys meet no lanes: the loop carries them as one vector a number.
TEST_CASE("a norm that goes on beside a bonus") {
  const ScanClass kind{"bonus and norm",
                       ", %u: tensor<H x K>, %s0: seq<f32, H x K x V>, %z0: seq<f32, H x K>",
                       "features q [elu1] features k [elu1] weight id norm sum read bonus %u "
                       "initial state %s0, z %z0 gives o, state, z",
                       "%o, %s, %z"};
  for (const char *form : {"chunked", "recurrent"})
    runCompiled(scanCase(textOf(kind), sizes(37, 8, 8), form, 16));
}

TEST_CASE("compiled scans: every class token by token") {
  for (const ScanClass &kind : kScanClasses) {
    INFO(kind.what);
    runCompiled(scanCase(textOf(kind), sizes(13, 40, 24), "recurrent", 64));
    runCompiled(scanCase(textOf(kind), sizes(1, 9, 7), "recurrent", 64));
  }
}

TEST_CASE("compiled scans: every class as a step of one token") {
  for (const ScanClass &kind : kScanClasses) {
    INFO(kind.what);
    CompiledScan(scanCase(textOf(kind), sizes(1, 40, 24), "recurrent", 64), DType::F32, 1).check();
    CompiledScan(scanCase(textOf(kind), sizes(1, 16, 80), "recurrent", 64), DType::BF16, 1).check();
  }
}

TEST_CASE("keys and values in codes are what their codecs say") {
  const std::pair<const char *, DType> cases[] = {
      {"i8", DType::F32}, {"f8e4m3", DType::F32}, {"i8", DType::BF16}};
  for (const char *update : {"", "update delta %beta "})
    for (auto [code, dtype] : cases)
      for (const char *form : {"recurrent", "chunked"}) {
        const std::string codes = code;
        const std::string text =
            "pattern.def @p(%q: seq<T x H x K>, %k: seq<" + codes + ", T x H x K>, %v: seq<" +
            codes +
            ", T x H x V>, %ks: seq<f32, T x H>, %vs: tensor<f32, H x V>, "
            "%g: seq<f32, T x H>, %beta: seq<T x H>, %s0: seq<f32, H x K x V>) {\n"
            "  %o, %s = mix %q, %k, %v codec k { x * ks[j, hk] } codec v { (x - 1) * vs[hk, d] } "
            "features k [l2norm] decay scalar %g weight id norm none " +
            update + "initial state %s0 gives o, state\n  return %o, %s\n}\n";
        FormCase c = scanCase(text, sizes(77, 24, 16), form, 16);
        for (const char *name : {"k", "v"})
          c.made[name] = [](double x) { return std::round(20 * x); };
        for (const char *name : {"ks", "vs"})
          c.made[name] = [](double x) { return 0.01 + 0.01 * std::fabs(x); };
        INFO(code << " " << form << " " << update);
        runCompiled(c, dtype);
      }
}

/// Instructions of the code that a case becomes.
std::string codeOf(const FormCase &c, DType dtype, int64_t tokens) {
  Result<std::string> code =
      compiler::show(requestOf(c, dtype, tokens, (*openDevice("cpu", 1))->facts()), "llvm");
  INFO((code ? "" : code.error().toString()));
  REQUIRE(code.ok());
  return *code;
}

TEST_CASE("lanes of 16 bits that lie apart are read as the words that hold them") {
  const ScanClass &diagonal = scanClass("diagonal decay");
  // An odd width, so that elements begin in either half of a word.
  for (int64_t K : {7, 24})
    runCompiled(scanCase(textOf(diagonal), sizes(77, K, 9), "attention", 16), DType::BF16);
  FormCase c = scanCase(textOf(diagonal), sizes(77, 24, 16), "attention", 16);
  const std::string code = codeOf(c, DType::BF16, 77);
  CHECK(code.find("masked.gather.v16i16") == std::string::npos);
  CHECK(code.find("masked.gather.v8i16") == std::string::npos);
}

TEST_CASE("many vectors side by side are made by a loop") {
  auto countOf = [](const std::string &code, const std::string &what) {
    int64_t count = 0;
    for (size_t at = 0; (at = code.find(what, at)) != std::string::npos; at += what.size())
      ++count;
    return count;
  };
  // Rows of 256 keys, gathered: one of each in a loop's body, not one a vector.
  FormCase rows = scanCase(textOf(scanClass("diagonal decay")), sizes(77, 24, 16), "attention", 16);
  CHECK(countOf(codeOf(rows, DType::F32, 77), " = call <16 x float> @llvm.masked.gather") < 40);
  // Four rows of 128 columns beside a number a row.
  FormCase map = scanCase("pattern.def @p(%q: seq<T x H x K>, %k: seq<T x H x K>, "
                          "%v: seq<T x H x V>, %s: seq<T x H>) {\n"
                          "  %o = mix %q, %k, %v weight id norm none\n"
                          "  %y = map (t, h, e) in (T, H, V) { let n = sum[x < V] { o[t, h, x] } : "
                          "sigmoid(o[t, h, e] * n * s[t, h]) }\n  return %y\n}\n",
                          sizes(77, 24, 128), "chunked", 16);
  CHECK(countOf(codeOf(map, DType::F32, 77), " = fdiv ") <= 8);
  runCompiled(map, DType::F32);
}

TEST_CASE("a step leaves its state past the caches, but nothing that is read again") {
  auto goesPast = [&](const FormCase &c, int64_t tokens) {
    return codeOf(c, DType::F32, tokens).find("nontemporal") != std::string::npos;
  };
  const ScanClass &gated = scanClass("gated delta");
  CHECK(goesPast(scanCase(textOf(gated), sizes(1, 24, 32), "recurrent", 64), 1));
  // Rows that fill no vector begin anywhere.
  CHECK(!goesPast(scanCase(textOf(gated), sizes(1, 24, 7), "recurrent", 64), 1));
  // States that later tokens or chunks read: of levels, segments, nodes of a tree, power features.
  const char *arguments = ", %g: seq<f32, T x H>, %lambda: seq<T x H x L>, %parent: seq<i32, T>";
  std::map<std::string, int64_t> dims = sizes(77, 24, 32);
  dims["L"] = 8;
  for (const char *form : {"recurrent", "chunked"})
    for (const char *clauses :
         {"decay scalar %g weight id norm none segments constant { 20 } gate given %lambda bank "
          "frozen reset yes gives o",
          "decay scalar %g weight id norm none segments fenwick gate given %lambda bank running "
          "gives o",
          "tree %parent support (row, j) { ancestor(row, j) } decay scalar %g weight id norm none "
          "gives o",
          "features q [spow(p = 2)] features k [spow(p = 2)] decay scalar %g weight id norm none "
          "gives o, state"}) {
      const bool tree = std::string(clauses).starts_with("tree"),
                 state = clauses[std::strlen(clauses) - 1] == 'e';
      if (tree && std::string(form) == "chunked")
        continue;
      ScanClass kind{"", arguments, clauses, state ? "%o, %s" : "%o"};
      INFO(form << " " << clauses);
      CHECK(!goesPast(scanCase(textOf(kind), dims, form, 16), 1000));
    }
}

/// The pattern of one's own that README.md shows.
static std::string exampleOfReadme() {
  std::ifstream file(std::string(kSourceDir) + "/README.md");
  std::string text{std::istreambuf_iterator<char>(file), {}};
  const size_t heading = text.find("## A pattern of your own");
  REQUIRE(heading != std::string::npos);
  const size_t begin = text.find("pattern.def @fading", heading), end = text.find("```", begin);
  REQUIRE(end != std::string::npos);
  CHECK(std::count(text.begin() + begin, text.begin() + end, '\n') < 10);
  return text.substr(begin, end - begin);
}

TEST_CASE("a pattern that is in no library has all three forms, with the same numbers") {
  const std::string own = exampleOfReadme();
  std::map<std::string, std::vector<double>> first;
  for (const char *form : {"attention", "recurrent", "chunked"}) {
    auto results = runCompiled(scanCase(own, sizes(77, 24, 20), form, 16));
    if (first.empty())
      first = results;
    for (const auto &[name, values] : results) {
      compiler::Comparison same =
          compiler::compareValues(values.data(), first[name].data(), int64_t(values.size()), 2e-5);
      INFO(form << " " << name << " rms " << same.rms);
      CHECK(same.pass);
    }
  }
}

TEST_CASE("compiled scans: walks with banks, levels and large states") {
  const char *arguments = ", %g: seq<f32, T x H>, %lambda: seq<T x H x L>";
  std::map<std::string, int64_t> dims = sizes(77, 24, 20);
  dims["L"] = 8;
  for (const char *form : {"recurrent", "chunked"})
    for (const char *clauses :
         {"decay scalar %g weight id norm none segments constant { 20 } gate given %lambda bank "
          "frozen reset yes gives o",
          "score { s } decay scalar %g weight id norm none segments fenwick gate given %lambda "
          "bank running gives o",
          "features q [spow(p = 2)] features k [spow(p = 2)] decay scalar %g weight id norm sum "
          "gives o"}) {
      ScanClass kind{"", arguments, clauses, "%o"};
      runCompiled(scanCase(textOf(kind), dims, form, 16));
    }
}

TEST_CASE("a run split anywhere, with the state carried, is one run") {
  const char *carried = ", %g: seq<f32, T x H>, %prev: seq<T x H>, %here: seq<T x H>, "
                        "%s0: seq<f32, H x K x V>, %k0: seq<f32, H x K>, %x0: seq<f32, H x V>";
  const ScanClass taps{"taps", carried,
                       "decay scalar %g weight id norm none taps %prev, %here initial state %s0, "
                       "k_last %k0, v_last %x0 gives o, state, k_last, v_last",
                       "%o, %s, %k1, %x1"};
  const std::pair<const char *, const char *> states[] = {
      {"s0", "s"}, {"z0", "z"}, {"k0", "k1"}, {"x0", "x1"}};
  std::vector<ScanClass> kinds{taps};
  for (const ScanClass &kind : kScanClasses) // both a state on entry and one at the end
    if (std::string(kind.arguments).find("%s0") != std::string::npos)
      kinds.push_back(kind);
  constexpr int64_t T = 77;
  for (const ScanClass &kind : kinds)
    for (const char *form : {"recurrent", "chunked"}) {
      CompiledScan scan(scanCase(textOf(kind), sizes(T, 9, 7), form, 16));
      auto expected = scan.check();
      std::map<std::string, std::vector<double>> entry;
      for (auto [start, end] : states)
        if (expected.count(end))
          entry[start] = scan.values(start);
      for (int64_t middle : {0, 1, 37, 64, 77}) {
        INFO(kind.what << " " << form << " split at " << middle);
        for (const auto &[start, values] : entry)
          scan.fill(start, values);
        scan.launch(scan.part(0, middle));
        for (auto [start, end] : states)
          if (expected.count(end))
            scan.fill(start, scan.values(end));
        scan.launch(scan.part(middle, T));
        for (const auto &[name, values] : expected) {
          std::vector<double> found = scan.values(name);
          compiler::Comparison same =
              compiler::compareValues(found.data(), values.data(), int64_t(found.size()), 1e-5);
          INFO(name << " rms " << same.rms);
          CHECK(same.pass);
        }
      }
    }
}

namespace {

FormCase bankCase(const ScanClass &kind, int64_t T, const char *form) {
  std::map<std::string, int64_t> dims = sizes(T, 9, 7);
  dims["L"] = dims["N"] = 9;
  FormCase c = scanCase(textOf(kind), dims, form, 16);
  c.given["at"] = {0};
  c.given["bank0"].assign(9 * 2 * 9 * 7, 0.0);
  return c;
}

} // namespace

TEST_CASE("a run split anywhere, with its bank of states carried from form to form, is one run") {
  constexpr int64_t T = 77;
  for (const ScanClass &kind : kBankClasses) {
    CompiledScan chunks(bankCase(kind, T, "chunked")), tokens(bankCase(kind, T, "recurrent")),
        step(bankCase(kind, T, "recurrent"), DType::F32, 1);
    const auto expected = chunks.check();
    std::map<std::string, std::vector<double>> entry;
    for (auto [start, end] : kCarried)
      if (expected.count(end))
        entry[start] = chunks.values(start);
    auto check = [&](const std::vector<std::pair<CompiledScan *, int64_t>> &runs) {
      for (const auto &[start, values] : entry)
        chunks.fill(start, values);
      int64_t first = 0;
      for (auto [scan, end] : runs) {
        scan->launch(chunks.part(first, end));
        first = end;
        for (auto [start, left] : kCarried)
          if (expected.count(left))
            chunks.fill(start, chunks.values(left));
      }
      for (const auto &[name, values] : expected) {
        std::vector<double> found = chunks.values(name);
        compiler::Comparison same =
            compiler::compareValues(found.data(), values.data(), int64_t(found.size()), 1e-5);
        INFO(name << " rms " << same.rms << " worst " << same.worst);
        CHECK(same.pass);
      }
    };
    for (int64_t middle : {0, 1, 20, 37, 64, 77}) {
      INFO(kind.what << " split at " << middle);
      check({{&chunks, middle}, {&tokens, T}});
      check({{&tokens, middle}, {&chunks, T}});
    }
    std::vector<std::pair<CompiledScan *, int64_t>> steps{{&chunks, 18}};
    for (int64_t t = 19; t <= 43; ++t)
      steps.emplace_back(&step, t);
    steps.emplace_back(&chunks, T);
    INFO(kind.what << ", steps in between");
    check(steps);
  }
}

namespace {

/// A class of updates. `$` stands for seq or tensor, L for the tokens of a batch or of all packed
/// sequences.
struct CoverClass {
  const char *what, *arguments, *clauses;
  bool sums = false; ///< it has a norm
};

const CoverClass kCovers[] = {
    {"sum", "", "weight id norm none"},
    {"normalised sum", "", "features q [elu1] features k [elu1] weight id norm sum", true},
    {"scalar decay", ", %g: $<f32, L x H>", "decay scalar %g weight id norm none"},
    {"normalised sum with a decay", ", %g: $<f32, L x H>",
     "features q [exp] features k [exp] decay scalar %g weight id norm sum { 1.0e-6 }", true},
    {"read before the write", ", %g: $<f32, L x H x K>, %u: tensor<H x K>",
     "decay diag %g read bonus %u weight id norm none"},
    {"diagonal decay", ", %g: $<f32, L x H x K>", "score { s } decay diag %g weight id norm none"},
    {"gated delta", ", %g: $<f32, L x H>, %beta: $<L x H>",
     "features q [l2norm] features k [l2norm] decay scalar %g weight id norm none update delta "
     "%beta"},
    {"delta, diagonal decay", ", %g: $<f32, L x H x K>, %beta: $<L x H>",
     "features q [l2norm] features k [l2norm] decay diag %g weight id norm none update delta "
     "%beta"},
    {"diagonal plus low rank", ", %g: $<f32, L x H x K>, %a: $<L x H x K>, %y: $<L x H x K>",
     "score { s } decay diag %g weight id norm none update dplr %a, %y"}};

constexpr DType kCoverTypes[] = {DType::F32, DType::BF16, DType::F16};
constexpr int64_t kCoverChunks[] = {1, 16, 64, 100, 160}; // the last holds all tokens
constexpr int64_t kCoverTokens = 130;

std::string coverText(const CoverClass &kind, bool grouped, bool state, bool packed) {
  std::string heads = grouped ? "Hq" : "H";
  std::string text = "pattern.def @p(%q: $<L x " + heads + " x K>, %k: $<L x H x K>, " +
                     "%v: $<L x H x V>" + kind.arguments;
  const std::string each = packed ? "5 x " : ""; // states have no tokens
  std::string results = "%o", gives = " gives o", entry;
  if (state) {
    text += ", %s0: $<f32, " + each + "H x K x V>";
    results += ", %s", gives += ", state", entry = " initial state %s0";
    if (kind.sums) {
      text += ", %z0: $<f32, " + each + "H x K>";
      results += ", %z", gives += ", z", entry += ", z %z0";
    }
  }
  if (packed)
    text += ", %cu: tensor<i32, 6>";
  text += ") {\n  " + results + " = mix %q, %k, %v " + (packed ? "layout varlen %cu, %cu " : "") +
          kind.clauses + entry + gives + "\n  return " + results + "\n}\n";
  for (size_t at = 0; (at = text.find('$', at)) != text.npos;)
    text.replace(at, 1, packed ? "tensor" : "seq");
  for (size_t at = 0; (at = text.find("L x", at)) != text.npos;)
    text.replace(at, 1, packed ? "N" : "T");
  return text;
}

} // namespace

TEST_CASE("updates, element types, chunks, groups, states and packed sequences cover one another") {
  const std::vector<size_t> sizes = {
      std::size(kCovers), std::size(kCoverTypes), std::size(kCoverChunks), 2, 2, 2};
  size_t turn = 0;
  for (const Point &at : testPoints(sizes)) {
    const CoverClass &kind = kCovers[at[0]];
    const bool grouped = at[3], state = at[4], packed = at[5];
    INFO(kind.what << (grouped ? ", grouped" : "") << (state ? ", a state" : "")
                   << (packed ? ", packed" : ""));
    const bool odd = ++turn % 2 == 0; // widths that fill no vector
    std::map<std::string, int64_t> dims = {{"H", 2}, {"K", odd ? 9 : 24}, {"V", odd ? 7 : 16}};
    if (grouped)
      dims["Hq"] = 6;
    if (!packed)
      dims["B"] = 1;
    dims[packed ? "N" : "T"] = kCoverTokens;
    FormCase c =
        scanCase(coverText(kind, grouped, state, packed), dims, "chunked", kCoverChunks[at[2]]);
    if (grouped)
      c.fixed.insert(c.fixed.end(), {"H", "Hq"}); // which heads share a state is in the code
    c.given["cu"] = {0, 40, 40, 41, 129, 130};
    runCompiled(c, kCoverTypes[at[1]]);
  }
}

TEST_CASE("heads that share a state read it rounded before it is written") {
  const std::string text = coverText(kCovers[0], true, false, false);
  for (int64_t width : {16, 64, 72}) {
    FormCase c =
        scanCase(text, {{"B", 1}, {"H", 2}, {"Hq", 6}, {"K", width}, {"V", width}, {"T", 77}},
                 "chunked", 16);
    c.fixed.insert(c.fixed.end(), {"H", "Hq"});
    for (DType dtype : {DType::BF16, DType::F32})
      runCompiled(c, dtype);
  }
}

/// Weights of 32 keys are two vectors wide: their product takes eight queries a block, not four.
TEST_CASE("products of few vectors have as many sums in flight as others") {
  const ScanClass linear = {"linear", "", "weight id norm none gives o", "%o"};
  const Result<std::unique_ptr<Device>> host = openDevice("cpu", 1);
  const Result<compiler::cpu::Isa> isa = compiler::cpu::chooseIsa((*host)->facts(), 0);
  REQUIRE(isa.ok());
  if (isa->level != compiler::cpu::Isa::Avx512)
    HEDDLE_SKIP("the processor has other vectors");
  const Result<std::string> code =
      compiler::show(requestOf(scanCase(textOf(linear), sizes(300, 128, 128), "chunked", 32),
                               DType::F32, 1000, (*host)->facts()),
                     "vector");
  REQUIRE(code.ok());
  std::istringstream lines(*code);
  int loops = 0;
  for (std::string line; std::getline(lines, line);)
    if (const size_t at = line.find("iter_args("); at != std::string::npos) {
      ++loops;
      CHECK(std::count(line.begin() + int64_t(at), line.end(), '=') == 16);
    }
  CHECK(loops == 4);
}

TEST_CASE("compiled scans: products of bf16 by the matrix unit or dot products of pairs") {
  // Whole tiles of the unit: chunks and keys in 32s, values in 16s; a last chunk that is not full.
  const Result<std::unique_ptr<Device>> host = openDevice("cpu", 1);
  const std::string facts = (*host)->facts();
  const Result<compiler::cpu::Isa> isa = compiler::cpu::chooseIsa(facts, 0);
  REQUIRE(isa.ok());
  if (!isa->amx && !isa->dotPays)
    HEDDLE_SKIP("the processor has no products of bf16 that pay");
  int64_t taken = 0, kinds = 0;
  for (const ScanClass &kind : kScanClasses) {
    INFO(kind.what);
    if (std::string(kind.clauses).find("max_abs") != std::string::npos)
      continue; // too small a divisor for rounded products
    ++kinds;
    for (int64_t chunk : {32, 64}) {
      if (chunk == 64 && !wholeTier())
        continue;
      FormCase c = scanCase(textOf(kind), sizes(45, 32, 48), "chunked", chunk);
      runCompiled(c, DType::BF16);
      Result<std::string> code = compiler::show(requestOf(c, DType::BF16, 1000, facts), "vector");
      REQUIRE(code.ok());
      taken += chunk == 32 && code->find("dpbf16ps") != std::string::npos;
    }
    // Pairs of any even number; rows that fill no vector.
    if (isa->dotPays)
      runCompiled(scanCase(textOf(kind), sizes(23, 24, 40), "chunked", 16), DType::BF16);
  }
  CHECK(taken > kinds / 2); // others have no whole tiles
  // A decay of the keys along the lanes for the weights, across them for the state.
  const ScanClass features = {"features with a constant decay", "",
                              "features q [silu] features k [silu] decay constant { -1 - h } "
                              "weight id norm none gives o",
                              "%o"};
  runCompiled(scanCase(textOf(features), sizes(45, 32, 32), "chunked", 32), DType::BF16);
  // Weights that are summed in a loop of their own.
  const ScanClass normed = {"norm", "",
                            "features q [elu1] features k [elu1] weight id norm sum gives o", "%o"};
  runCompiled(scanCase(textOf(normed), sizes(130, 24, 16), "chunked", 160), DType::BF16);
  // Features made where the state is written, turned with what they are made of.
  const ScanClass power = {"power", "",
                           "features q [spow(p = 2)] features k [spow(p = 2)] weight id norm sum "
                           "gives o",
                           "%o"};
  FormCase c = scanCase(textOf(power), sizes(45, 32, 32), "chunked", 32);
  runCompiled(c, DType::BF16);
  // They are summed where they are made, before the product reads them.
  Result<std::string> code = compiler::show(requestOf(c, DType::BF16, 1000, facts), "tile");
  REQUIRE(code.ok());
  CHECK(code->rfind("dim(0) init") < code->rfind("tile.mma"));
}
