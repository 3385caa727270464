// compile end to end: pattern text to an artifact that runs on this processor and equals the
// interpreter; deterministic; every station prints; wrong requests are refused with the reason.
#include "compiler/Compiler.h"
#include "compiler/Interpreter.h"
#include "compiler/Tolerance.h"
#include "ir/pattern/Parse.h"
#include "ir/pattern/PatternDialect.h"
#include "runtime/Jit.h"
#include "tests/compiler/FormSupport.h"

#include <fmt/format.h>

#include <random>
#include <sstream>

using namespace heddle;
using namespace heddle::test;

namespace {

struct Problem {
  std::string text;
  std::map<std::string, int64_t> dims;
  DType dtype = DType::F32;
  std::map<std::string, double> params = {};
  std::map<std::string, int64_t> schedule = {};
};

std::string softmax(const std::string &arguments, const std::string &clauses,
                    const std::string &results = "%o, %lse") {
  return "pattern.def @p(%q: seq<Tq x Hq x D>, %k: seq<Tk x Hk x D>, %v: seq<Tk x Hk x Dv>" +
         arguments + ") {\n  " + results + " = mix %q, %k, %v " + clauses + "\n  return " +
         results + "\n}\n";
}

std::map<std::string, int64_t> dims(int64_t B, int64_t Hq, int64_t Hk, int64_t Tq, int64_t Tk,
                                    int64_t D, int64_t Dv) {
  return {{"B", B}, {"Hq", Hq}, {"Hk", Hk}, {"Tq", Tq}, {"Tk", Tk}, {"D", D}, {"Dv", Dv}};
}

std::shared_ptr<Device> cpu(int threads = 1) {
  Result<std::unique_ptr<Device>> device = openDevice("cpu", threads);
  REQUIRE(device.ok());
  return std::move(*device);
}

Request requestOf(const Problem &problem, const Device &device) {
  Request request;
  request.patternText = problem.text;
  for (const auto &[name, extent] : problem.dims)
    if (name == "D" || name == "Dv")
      request.dims[name] = extent;
    else
      request.extents[name] = ExtentClass::of(extent);
  request.dims["G"] = problem.dims.at("Hq") / problem.dims.at("Hk");
  request.dtypes["*"] = problem.dtype;
  request.schedule = problem.schedule;
  request.target = "cpu";
  request.machine = "host";
  request.deviceFacts = device.facts();
  return request;
}

const char *const kTileMachine =
    "vendor GenuineIntel; model Some Xeon; features amx_bf16 amx_tile avx avx2 avx512_bf16 "
    "avx512bw avx512dq avx512f avx512vl avx_vnni bmi1 bmi2 f16c fma; l1 49152; l2 2097152; l3 0";

/// Forgets lines that are asked for while many are on their way.
const char *const kDroppingMachine =
    "vendor AuthenticAMD; model Some EPYC; features avx avx2 avx512_bf16 avx512bw avx512dq avx512f "
    "avx512vl avx_vnni bmi1 bmi2 f16c fma; l1 49152; l2 1048576; l3 0";

/// Tensors of an artifact, filled with normal numbers rounded to their dtype.
class Tensors {
public:
  Tensors(const Artifact &artifact, const std::map<std::string, int64_t> &dims) {
    std::mt19937 random(3);
    std::normal_distribution<double> normal;
    for (const TensorInfo &info : artifact.tensors) {
      std::vector<int64_t> shape;
      for (const std::string &dim : info.shape)
        shape.push_back(dims.contains(dim) ? dims.at(dim) : std::stoll(dim));
      owned.emplace_back(info.dtype, shape);
      names.push_back(info.name);
    }
    for (OwnedTensor &tensor : owned) {
      tensor.view.data = tensor.bytes.data();
      for (int64_t n = 0; n < tensor.view.elements(); ++n)
        storeElement(tensor.view.dtype, tensor.view.data, n, normal(random));
      views.push_back(tensor.view);
    }
  }
  std::vector<OwnedTensor> owned;
  std::vector<TensorView> views;
  std::vector<std::string> names;
};

std::vector<ParameterValue> parametersOf(const Problem &problem) {
  std::vector<ParameterValue> values;
  for (const auto &[name, value] : problem.params)
    values.push_back({name, value});
  return values;
}

/// Compiles, runs with `threads`, and returns the results' bytes after comparing them.
std::vector<std::vector<unsigned char>> runAndCheck(const Problem &problem, int threads = 1) {
  std::shared_ptr<Device> device = cpu(threads);
  Result<Artifact> artifact = compiler::compile(requestOf(problem, *device));
  INFO(problem.text << (artifact ? "" : artifact.error().toString()));
  REQUIRE(artifact.ok());
  Tensors tensors(*artifact, problem.dims);
  auto kernel = Kernel::load(*artifact, {}, device);
  INFO((kernel ? "" : kernel.error().toString()));
  REQUIRE(kernel.ok());
  std::vector<ParameterValue> parameters = parametersOf(problem);
  Result<int64_t> bytes = (*kernel)->workspaceBytes(tensors.views, parameters);
  INFO((bytes ? "" : bytes.error().toString()));
  REQUIRE(bytes.ok());
  Result<AlignedBuffer> workspace = AlignedBuffer::allocate(*bytes);
  REQUIRE(workspace.ok());
  Status status = (*kernel)->launch(tensors.views, parameters, workspace->workspace());
  INFO((status ? "" : status.error().toString()));
  REQUIRE(status.ok());

  auto context = pattern::makePatternContext();
  pattern::Parsed parsed = pattern::parsePatterns(*context, problem.text, "p");
  std::string why;
  pattern::DefOp def = pattern::findPattern(*parsed.module, "", why);
  compiler::Bindings bindings;
  for (size_t n = 0; n < tensors.names.size(); ++n)
    if (!artifact->tensors[n].isResult)
      bindings.tensors[tensors.names[n]] = tensors.views[n];
  bindings.params = problem.params;
  Result<compiler::Outputs> expected = compiler::interpret(def, bindings);
  INFO((expected ? "" : expected.error().toString()));
  REQUIRE(expected.ok());
  std::vector<std::vector<unsigned char>> results;
  compiler::Arithmetic arithmetic = compiler::arithmeticOf(problem.dtype);
  for (size_t n = 0; n < tensors.names.size(); ++n) {
    if (!artifact->tensors[n].isResult)
      continue;
    const compiler::Output *output = expected->find(tensors.names[n]);
    std::vector<double> found(output->values.size());
    for (size_t e = 0; e < found.size(); ++e)
      found[e] = loadElement(tensors.views[n].dtype, tensors.views[n].data, int64_t(e));
    bool isLse = output->name == "lse";
    compiler::Comparison result =
        isLse ? compiler::compareLse(found.data(), output->values.data(), int64_t(found.size()),
                                     compiler::lseLimit(arithmetic))
              : compiler::compareValues(found.data(), output->values.data(), int64_t(found.size()),
                                        compiler::rmsLimit(arithmetic));
    INFO(problem.text << "result " << output->name << " maxAbs " << result.maxAbs << " rms "
                      << result.rms << " worst " << result.worst);
    REQUIRE(result.pass);
    results.push_back(tensors.owned[n].bytes);
  }
  return results;
}

const char *const kCausal = "support { j <= i } weight exp norm sum";

} // namespace

TEST_CASE("compiled attention equals the interpreter") {
  struct {
    const char *arguments, *clauses;
    std::map<std::string, double> params;
  } mixes[] = {
      {"", "support { true } weight exp norm sum", {}},
      {"", kCausal, {}},
      {"", "align top_left support { j <= i } weight exp norm sum", {}},
      {", W = 40", "support { j <= i and i - j < W } weight exp norm sum", {{"W", 33}}},
      {", n = 4", "support { j <= i and (i - j < 30 or j < n) } weight exp norm sum", {}},
      {", P = 50", "support { j <= i or j < P } weight exp norm sum", {}},
      {", c = 24", "support { j div c == i div c and j <= i } weight exp norm sum", {}},
      {"", "support { j <= i and (i - j) mod 3 == 0 } weight exp norm sum", {}},
      {"", "score { 30 * tanh(s * rsqrt(D) / 30) } weight exp norm sum", {}},
      {", %slopes: tensor<f32, Hq>",
       "score { s * rsqrt(D) - abs(slopes[h]) * (i - j) } weight exp norm sum",
       {}},
      {", %bias: seq<f32, Hq x Tq x Tk>",
       "score { s * rsqrt(D) + bias[h, row, j] } weight exp norm sum",
       {}},
      {", %sinks: tensor<f32, Hq>", "sink { sinks[h] } weight exp norm sum", {}},
  };
  for (auto &mix : mixes)
    for (auto shape : {dims(2, 4, 2, 77, 133, 20, 36), dims(1, 2, 1, 70, 41, 64, 64)}) {
      Problem problem{softmax(mix.arguments, mix.clauses), shape};
      problem.params = mix.params;
      runAndCheck(problem);
    }
}

TEST_CASE("compiled weights without a maximum equal the interpreter") {
  for (const char *clauses :
       {"score { s * rsqrt(D) - log(Tk) } weight sigmoid norm none gives o",
        "weight relu(2) norm sum gives o", "weight id norm none gives o",
        "decay constant { log(1 - exp2(-5 - h)) } weight id norm none gives o"})
    runAndCheck({softmax("", clauses, "%o"), dims(1, 4, 2, 50, 70, 24, 32)});
}

TEST_CASE("compiled lengths around tiles and vectors") {
  for (int64_t Tq : {2, 15, 16, 17, 64, 65})
    for (int64_t Tk : {1, 16, 129})
      runAndCheck({softmax("", kCausal), dims(1, 1, 1, Tq, Tk, 16, 8)});
}

TEST_CASE("compiled bf16 and f16 are inside their tolerance") {
  for (DType dtype : {DType::BF16, DType::F16}) {
    Problem problem{softmax("", kCausal), dims(1, 4, 2, 100, 150, 64, 64), dtype};
    runAndCheck(problem);
    problem.dims = dims(1, 4, 2, 1, 300, 64, 64);
    runAndCheck(problem);
    // Tiles that a mask cuts at their first keys, at their last ones, and at both.
    for (int64_t length : {300, 530})
      runAndCheck({softmax("", "support { j <= i and i - j < 100 } weight exp norm sum"),
                   dims(1, 2, 1, length, length + 7, 64, 96), dtype});
  }
}

TEST_CASE("compiled bf16 where maxima grow by little, by more, and by much in each tile of keys") {
  for (double growth : {0.001, 0.02, 0.3})
    runAndCheck({softmax("", fmt::format("score (s, i, j) {{ s * rsqrt(D) + {} * j }} "
                                         "weight exp norm sum",
                                         growth)),
                 dims(1, 2, 1, 300, 1100, 64, 80), DType::BF16});
}

/// The straight pieces of the code: from one label or jump to the next.
std::vector<std::string> piecesOf(const std::string &code) {
  std::istringstream lines(code);
  std::vector<std::string> pieces(1);
  for (std::string line; std::getline(lines, line); pieces.back() += line + '\n')
    if (line.ends_with(':') || line.starts_with("\tj"))
      pieces.emplace_back();
  return pieces;
}

int countOf(const std::string &text, std::string_view word) {
  int count = 0;
  for (size_t at = 0; (at = text.find(word, at)) != std::string::npos; at += word.size())
    ++count;
  return count;
}

TEST_CASE("decode widens bf16 as words of two, and asks for what comes next") {
  Request request =
      requestOf({softmax("", kCausal), dims(1, 4, 1, 1, 300, 64, 64), DType::BF16}, *cpu());
  request.deviceFacts = kTileMachine;
  const Result<std::string> code = compiler::show(request, "asm");
  INFO((code ? "" : code.error().toString()));
  REQUIRE(code.ok());
  CHECK(code->find("prefetcht1") != std::string::npos);
  std::istringstream lines(*code);
  for (std::string line; std::getline(lines, line);) // of weights alone, in registers
    if (line.find("vpmovzxwd") != std::string::npos)
      CHECK(line.find('(') == std::string::npos);
  int asking = 0;
  for (const std::string &piece : piecesOf(*code)) // lines of keys and values; queries are kept
    if (const int lines = countOf(piece, "prefetcht1")) {
      ++asking;
      CHECK(countOf(piece, "vpslld") == lines);
    }
  CHECK(asking >= 4);
}

TEST_CASE("masks that divide positions do so on vectors") {
  for (const char *support :
       {"j <= i and (i - j) mod l == 0", "j <= i and (i - j) mod (Tq div 8) == 0"}) {
    Problem problem{
        softmax(", l = 4", fmt::format("support {{ {} }} weight exp norm sum", support)),
        dims(1, 2, 2, 300, 300, 64, 64)};
    const Result<std::string> code = compiler::show(requestOf(problem, *cpu()), "asm");
    INFO((code ? "" : code.error().toString()));
    REQUIRE(code.ok());
    CHECK(code->find("vdivpd") != std::string::npos);
    CHECK(countOf(*code, "idiv") <= 4); // of grid points and bounds alone
  }
}

TEST_CASE("decode asks for the pages of a tile in turn") {
  for (int64_t d : {64, 16}) { // 64 keys of f32: four pages, one
    Request request = requestOf({softmax("", kCausal), dims(1, 4, 1, 1, 300, d, d)}, *cpu());
    request.deviceFacts = kTileMachine;
    const Result<std::string> code = compiler::show(request, "vector");
    INFO((code ? "" : code.error().toString()));
    REQUIRE(code.ok());
    std::istringstream lines(*code);
    int turns = 0;
    for (std::string line; std::getline(lines, line);)
      turns +=
          line.find("arith.remui") != std::string::npos && line.find(", %c4") != std::string::npos;
    CHECK((turns > 0) == (d == 64));
  }
}

TEST_CASE("sums of few queries with a vector of keys stay in registers") {
  Request request = requestOf({softmax("", kCausal), dims(1, 4, 1, 1, 300, 64, 64)}, *cpu());
  request.deviceFacts = kTileMachine;
  const Result<std::string> code = compiler::show(request, "vector");
  INFO((code ? "" : code.error().toString()));
  REQUIRE(code.ok());
  const std::string split = code->substr(0, code->find("@merge"));
  CHECK(countOf(split, "llvm.alloca") == countOf(split, "x i32 {")); // numbers of a grid point
}

struct Asked {
  int near = 0, far = 0; ///< lines of memory: into the first-level cache, into the second
};

/// What each straight piece of the code asks for.
std::vector<Asked> askedFor(const Request &request) {
  const Result<std::string> code = compiler::show(request, "asm");
  INFO((code ? "" : code.error().toString()));
  REQUIRE(code.ok());
  std::vector<Asked> pieces;
  for (const std::string &piece : piecesOf(*code))
    pieces.push_back({countOf(piece, "prefetcht0"), countOf(piece, "prefetcht1")});
  return pieces;
}

/// How many lines each piece asks for into the second-level cache.
std::vector<int> linesAskedFor(const Request &request) {
  std::vector<int> counts;
  for (const Asked &piece : askedFor(request))
    if (piece.far)
      counts.push_back(piece.far);
  return counts;
}

TEST_CASE("lines that may be dropped are asked for near, in order and four times") {
  for (DType dtype : {DType::F32, DType::BF16}) { // 8 and 4 lines a row
    Request request =
        requestOf({softmax("", kCausal), dims(1, 4, 1, 1, 300, 128, 128), dtype}, *cpu());
    request.deviceFacts = kDroppingMachine;
    const Result<std::string> code = compiler::show(request, "asm");
    INFO((code ? "" : code.error().toString()));
    REQUIRE(code.ok());
    CHECK(code->find("prefetcht1") == std::string::npos);
    int inOrder = 0;
    for (const std::string &piece : piecesOf(*code))
      if (const int lines = countOf(piece, "prefetcht0")) {
        int rows = lines; // four lines of a row have one base
        for (const char *next : {"prefetcht0\t64(", "prefetcht0\t128(", "prefetcht0\t192("})
          rows -= countOf(piece, next);
        inOrder += lines == 16 && rows == 4;
        CHECK(lines <= 32);
      }
    CHECK(inOrder >= 1); // keys of full tiles: lines of rows at four distances
  }
}

TEST_CASE("rows of values in bf16 are multiplied two at a time where dot products pay") {
  for (auto [facts, pays] : {std::pair(kTileMachine, false), std::pair(kDroppingMachine, true)}) {
    Request request =
        requestOf({softmax("", kCausal), dims(1, 8, 1, 1, 300, 64, 64), DType::BF16}, *cpu());
    request.deviceFacts = facts;
    const Result<std::string> code = compiler::show(request, "asm");
    INFO((code ? "" : code.error().toString()));
    REQUIRE(code.ok());
    bool found = false;
    for (const std::string &piece : piecesOf(*code)) // rows interleaved in a product's loop
      found |= countOf(piece, "vpermt2w") > 0 && countOf(piece, "vdpbf16ps") == 16;
    CHECK(found == pays);
  }
}

TEST_CASE("a step reads and writes whole rows of its state where order matters") {
  Request request = requestOf({softmax("", kCausal), dims(1, 4, 1, 1, 300, 128, 128)}, *cpu());
  request.patternText =
      "pattern.def @p(%q: seq<T x H x K>, %k: seq<T x H x K>, %v: seq<T x H x V>,\n"
      "  %s0: seq<f32, H x K x V>) {\n"
      "  %o, %s = mix %q, %k, %v weight id norm none initial state %s0 gives o, state\n"
      "  return %o, %s\n}\n";
  request.dims = {{"K", 128}, {"V", 128}};
  request.extents = {
      {"B", ExtentClass::of(1)}, {"H", ExtentClass::of(2)}, {"T", ExtentClass::of(1)}};
  for (auto [facts, lines] : {std::pair(kTileMachine, 4), std::pair(kDroppingMachine, 8)}) {
    request.deviceFacts = facts;
    const Result<std::string> code = compiler::show(request, "asm");
    INFO((code ? "" : code.error().toString()));
    REQUIRE(code.ok());
    int most = 0;
    for (const std::string &piece : piecesOf(*code))
      most = std::max(most, countOf(piece, "vmovntps"));
    CHECK(most == lines);
  }
}

TEST_CASE("products ask for the next step's tiles, a few lines in each register block") {
  Request request = requestOf({softmax("", kCausal), dims(1, 4, 4, 300, 300, 128, 128)}, *cpu());
  request.deviceFacts = kTileMachine;
  // 128 keys and values of 8 lines, by 4 x 32 register blocks of each product.
  CHECK(linesAskedFor(request) == std::vector<int>{8, 8});
  // The first product's blocks ask also for two lines of each of the next four keys.
  std::vector<int> near;
  for (const Asked &piece : askedFor(request))
    if (piece.far)
      near.push_back(piece.near);
  CHECK(near == std::vector<int>{8, 0});

  request.patternText =
      "pattern.def @p(%q: seq<T x H x K>, %k: seq<T x H x K>, %v: seq<T x H x V>) "
      "{\n  %o = mix %q, %k, %v weight id norm none gives o\n"
      "  return %o\n}\n";
  request.dims = {{"K", 128}, {"V", 128}};
  request.extents = {
      {"B", ExtentClass::of(1)}, {"H", ExtentClass::of(2)}, {"T", ExtentClass::of(300)}};
  request.form = "chunked";
  // Queries, keys, values and results of a chunk: 1024 lines, by blocks of 16 and of 64.
  const std::vector<int> chunked = linesAskedFor(request);
  CHECK(chunked.size() == 2);
  for (int lines : chunked)
    CHECK(lines <= 32);
  // Where so many at once would be dropped, each turn of a product's loop asks for its part.
  request.deviceFacts = kDroppingMachine;
  const std::vector<int> inTurns = linesAskedFor(request);
  CHECK(!inTurns.empty());
  for (int lines : inTurns)
    CHECK(lines <= 8);
}

TEST_CASE("code for a matrix unit asks for it, and only where a product takes it") {
  for (DType dtype : {DType::BF16, DType::F32}) {
    Request request =
        requestOf({softmax("", kCausal), dims(1, 2, 1, 100, 150, 64, 64), dtype}, *cpu());
    request.deviceFacts = kTileMachine;
    const Result<Artifact> artifact = compiler::compile(request);
    INFO((artifact ? "" : artifact.error().toString()));
    REQUIRE(artifact.ok());
    const std::vector<std::string> &needed = artifact->requiredFeatures;
    CHECK(std::count(needed.begin(), needed.end(), "amx_bf16") == (dtype == DType::BF16));
    CHECK(std::count(needed.begin(), needed.end(), "amx_tile") == (dtype == DType::BF16));
  }
}

TEST_CASE("the matrix unit makes both products whatever the head size") {
  for (int64_t d : {72, 80, 100, 128}) {
    Request request =
        requestOf({softmax("", kCausal), dims(1, 2, 1, 300, 400, d, d), DType::BF16}, *cpu());
    request.deviceFacts = kTileMachine;
    const Result<std::string> layouts = compiler::show(request, "layouts");
    INFO((layouts ? "" : layouts.error().toString()));
    REQUIRE(layouts.ok());
    int64_t products = 0;
    std::istringstream lines(*layouts);
    for (std::string line; std::getline(lines, line);)
      if (line.find("tile.mma") != std::string::npos) {
        ++products;
        CHECK(line.find("tile.atom = \"amx\"") != std::string::npos);
      }
    CHECK(products == 4); // in tiles that a mask cuts, and in whole ones
  }
}

/// Causal attention of 300 rows and 400 keys on any processor with a matrix unit.
Request tallTiles(int64_t rows, DType dtype) {
  Request request =
      requestOf({softmax("", kCausal), dims(1, 2, 1, 300, 400, 64, 64), dtype}, *cpu());
  request.deviceFacts = kTileMachine;
  request.schedule = {{"BM", rows}, {"BN", 64}};
  return request;
}

TEST_CASE("rows of a tile cost no code beyond what registers hold") {
  for (DType dtype : {DType::F32, DType::BF16}) {
    Result<Artifact> low = compiler::compile(tallTiles(192, dtype));
    Result<Artifact> high = compiler::compile(tallTiles(768, dtype));
    REQUIRE(low.ok());
    REQUIRE(high.ok());
    CHECK(high->image.size() < low->image.size() * 5 / 4);
  }
}

/// Whether a loop carries so many vectors: the sums of a product's register block.
bool hasBlockOf(const std::string &code, int vectors) {
  std::istringstream lines(code);
  for (std::string line; std::getline(lines, line);)
    if (line.find("scf.for") != std::string::npos && countOf(line, "vector<16xf32>") == vectors)
      return true;
  return false;
}

TEST_CASE("few last rows are computed a vector at a time, where that is little code") {
  for (auto [support, hasTail] :
       {std::pair("true", true), std::pair("j <= i", true),
        std::pair("j <= i and (i - j < l or (i - j) mod l == 0)", false)}) {
    Problem problem{
        softmax(", l = 4", fmt::format("support {{ {} }} weight exp norm sum", support)),
        dims(1, 2, 2, 197, 197, 64, 64)};
    Request request = requestOf(problem, *cpu());
    request.deviceFacts = kTileMachine;
    request.schedule = {{"MQ", 4}, {"MK", 4}}; // 16 sums, in a cut tile 4 as well
    const Result<std::string> code = compiler::show(request, "vector");
    INFO((code ? "" : code.error().toString()));
    REQUIRE(code.ok());
    CHECK(hasBlockOf(*code, 16));
    CHECK(hasBlockOf(*code, 8) == hasTail);
  }
}

TEST_CASE("keys and columns of decode cost no code") {
  auto bytesOf = [](int64_t keys, int64_t d) {
    Request request = requestOf({softmax("", kCausal), dims(1, 4, 1, 1, 300, d, d)}, *cpu());
    request.schedule = {{"BN", keys}, {"SPLIT", 512}};
    const Result<Artifact> artifact = compiler::compile(request);
    INFO((artifact ? "" : artifact.error().toString()));
    REQUIRE(artifact.ok());
    return artifact->image.size();
  };
  CHECK(bytesOf(256, 64) < bytesOf(64, 64) * 9 / 8);
  CHECK(bytesOf(64, 256) < bytesOf(64, 128) * 4 / 3); // values are read by blocks of 64 columns
}

TEST_CASE("a kernel has one transpose a width of elements, wherever blocks are turned") {
  for (DType dtype : {DType::F32, DType::BF16}) {
    Result<std::string> text = compiler::show(tallTiles(64, dtype), "vector");
    REQUIRE(text.ok());
    auto count = [&](const std::string &word) {
      int found = 0;
      for (size_t at = text->find(word); at != std::string::npos; at = text->find(word, at + 1))
        ++found;
      return found;
    };
    const int functions = count("func.func private @transpose.");
    CHECK(functions == (dtype == DType::BF16 ? 2 : 1)); // results are turned in 16 bits
    CHECK(count("call @transpose.") > functions);
  }
}

TEST_CASE("compiled tiles of more rows than registers hold") {
  Problem problem{
      softmax(", %sinks: tensor<f32, Hq>",
              "support { j <= i and i - j < 90 } sink { sinks[h] } weight exp norm sum"),
      dims(1, 2, 1, 300, 333, 32, 32)};
  for (int64_t rows : {256, 512}) {
    problem.schedule = {{"BM", rows}, {"BN", 64}};
    runAndCheck(problem);
  }
}

TEST_CASE("one query row: splits are merged to the same bits by any number of threads") {
  for (auto shape :
       {dims(2, 8, 2, 1, 700, 64, 64), dims(1, 3, 3, 1, 65, 20, 12), dims(1, 4, 1, 1, 1, 32, 32)}) {
    Problem problem{softmax(", %sinks: tensor<f32, Hq>",
                            "support { j <= i } sink { sinks[h] } weight exp norm sum"),
                    shape};
    problem.schedule["SPLIT"] = 256;
    CHECK(runAndCheck(problem, 1) == runAndCheck(problem, 3));
  }
}

TEST_CASE("the same request gives the same bytes") {
  std::shared_ptr<Device> device = cpu();
  Request request =
      requestOf({softmax(", W = 7", "support { j <= i and i - j < W } weight exp norm sum"),
                 dims(1, 2, 2, 64, 64, 64, 64)},
                *device);
  Result<Artifact> first = compiler::compile(request), second = compiler::compile(request);
  REQUIRE(first.ok());
  REQUIRE(second.ok());
  CHECK(first->serialize() == second->serialize());
}

TEST_CASE("every station prints, and shows what it is about") {
  std::shared_ptr<Device> device = cpu();
  Request request = requestOf({softmax("", kCausal), dims(1, 2, 2, 64, 64, 64, 64)}, *device);
  std::map<std::string, std::string> marks = {{"pattern", "pattern.def"}, {"form", "support("},
                                              {"tile", "kind(full)"},     {"layouts", "local"},
                                              {"vector", "vector<"},      {"llvm", "define"},
                                              {"asm", "vfmadd"}};
  for (const std::string &station : compiler::stations()) {
    Result<std::string> text = compiler::show(request, station);
    INFO(station << (text ? "" : text.error().toString()));
    REQUIRE(text.ok());
    CHECK_THAT(*text, Catch::Contains(marks.at(station)));
  }
  CHECK_FALSE(compiler::show(request, "nowhere").ok());
}

TEST_CASE("requests that cannot be compiled say why") {
  std::shared_ptr<Device> device = cpu();
  Problem good{softmax("", kCausal), dims(1, 2, 2, 64, 64, 64, 64)};
  auto errorOf = [&](const Request &request) {
    Result<Artifact> artifact = compiler::compile(request);
    REQUIRE_FALSE(artifact.ok());
    return artifact.error();
  };
  Request request = requestOf(good, *device);
  request.patternText = "pattern.def @p(%q: seq<Tq x Hq x D>";
  Error error = errorOf(request);
  CHECK(error.code == ErrorCode::InvalidPattern);
  CHECK_THAT(error.where, Catch::Contains("pattern.heddle:1:"));

  request = requestOf(good, *device);
  request.dims.erase("D");
  CHECK_THAT(errorOf(request).toString(), Catch::Contains("D"));

  request = requestOf(good, *device);
  request.target = "abacus";
  CHECK(errorOf(request).code == ErrorCode::NotFound);

  request = requestOf(good, *device);
  request.form = "chunked";
  CHECK(errorOf(request).code == ErrorCode::Unsupported);
  request.form = "origami";
  CHECK(errorOf(request).code == ErrorCode::InvalidArgument);

  request = requestOf(good, *device);
  request.schedule["BM"] = -3;
  CHECK_FALSE(compiler::compile(request).ok());
}

TEST_CASE("counted tiles: causal and window") {
  std::shared_ptr<Device> device = cpu();
  Problem problem{softmax(", W = 10", "support { j <= i and i - j < W } weight exp norm sum"),
                  dims(1, 2, 2, 100, 100, 64, 64)};
  problem.schedule = {{"BM", 16}, {"BN", 32}, {"MQ", 1}};
  Request request = requestOf(problem, *device);
  Result<compiler::TileCounts> counts =
      compiler::countTiles(request, {{"Tq", 100}, {"Tk", 100}}, {});
  INFO((counts ? "" : counts.error().toString()));
  REQUIRE(counts.ok());
  CHECK(counts->exactPairs == 10 * 100 - 45);
  CHECK(counts->visitedPairs >= counts->exactPairs);
  CHECK(counts->rowTiles == 7);
  CHECK_THAT(counts->support, Catch::Contains("class A"));
  Result<compiler::TileCounts> wide =
      compiler::countTiles(request, {{"Tq", 100}, {"Tk", 100}}, {{"W", 1000}});
  REQUIRE(wide.ok());
  CHECK(wide->exactPairs == 100 * 101 / 2);
  CHECK(wide->fullPairs > 0);
}
