// What the walker refuses, and the ops that the worked kernels do not use: paged and wrapped views,
// codecs, branches, repeats, two intervals.
#include "tests/compiler/tile/ProgramFile.h"

using namespace heddle;
using namespace heddle::test;
using Catch::Contains;
using heddle::compiler::TileBindings;
using heddle::compiler::walkProgram;

namespace {

/// A program with n f32 inputs "x" and results "y" of extent T, and one kernel.
std::string program(const std::string &grid, const std::string &body) {
  return "tile.program @p {\n tile.extent \"T\"\n tile.tensor \"x\" : f32[T]\n"
         " tile.tensor \"at\" : i32[T]\n tile.tensor \"y\" result : f32[T]\n"
         " tile.kernel @k grid(" +
         grid + ") stage(abstract) {\n" +
         R"(  %T = tile.scalar "T" : index
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c3 = arith.constant 3 : index
  %x = tile.view "x" [:] : !tile.view<?xf32>
  %at = tile.view "at" [:] : !tile.view<?xi32>
  %y = tile.view "y" [:] : !tile.view<?xf32>
)" + body +
         "\n }\n}\n";
}

struct Run {
  explicit Run(const std::string &text, int64_t T = 4) : parsed(text), x({T}), y({T}), at({T}) {
    for (int64_t n = 0; n < T; ++n)
      x(n) = 10 + static_cast<double>(n);
    bindings.tensors = {{"x", x.view()}, {"y", y.view()}, {"at", at.view()}};
  }
  Status walk() { return walkProgram(parsed.program(), bindings); }
  std::string error() {
    Status done = walk();
    REQUIRE(!done.ok());
    return done.error().toString();
  }
  std::vector<double> results() {
    Status done = walk();
    INFO((done ? std::string() : done.error().toString()));
    REQUIRE(done.ok());
    return {y.elements.begin(), y.elements.end() - 1};
  }
  ParsedProgram parsed;
  Dense<double> x, y;
  Dense<int32_t> at;
  TileBindings bindings;
};

} // namespace

TEST_CASE("a tile that leaves its view is an error", "[tile]") {
  // A full loop promises that its tiles lie inside; the walker does not believe it.
  Run run(program("%i = 1", R"(
    tile.for %j = [%c0, %T) step 3 kind(full) {
      %t = tile.load %x[%j] : !tile.view<?xf32> -> !tile.tile<3xf32>
    })"));
  REQUIRE_THAT(run.error(), Contains("element (4) lies outside a view of 'x'"));
  REQUIRE_THAT(run.error(), Contains("in kernel @k at grid point (0)"));
}

TEST_CASE("what valid leaves out is unspecified without a fill", "[tile]") {
  std::string body = R"(
    %t = tile.load %x[%i] valid(%c2) : !tile.view<?xf32> -> !tile.tile<4xf32>
    tile.store %t, %y[%i] valid(%T) : !tile.tile<4xf32> -> !tile.view<?xf32>)";
  std::vector<double> y = Run(program("%i = 1", body)).results();
  REQUIRE(y[1] == 11);
  REQUIRE(std::isnan(y[2]));
  body.replace(body.find(" : !tile.view"), 0, " fill -2.5");
  REQUIRE(Run(program("%i = 1", body)).results() == std::vector<double>{10, 11, -2.5, -2.5});
}

TEST_CASE("grid points write disjoint elements and do not read each other's", "[tile]") {
  // The verifier cannot follow an index that is read from memory.
  std::string store = R"(
    %n = tile.read %at[%i] : !tile.view<?xi32> -> i32
    %m = arith.index_cast %n : i32 to index
    %z = tile.fill 1.0 : !tile.tile<1xf32>
    tile.store %z, %y[%m] : !tile.tile<1xf32> -> !tile.view<?xf32>)";
  Run run(program("%i = T", store));
  REQUIRE_THAT(run.error(), Contains("grid points 0 and 1 both write element 0 of 'y'"));
  for (int32_t n = 0; n < 4; ++n)
    run.at(n) = 3 - n;
  REQUIRE(run.results() == std::vector<double>{1, 1, 1, 1});

  Run reader(program("%i = T", R"(
    %z = tile.fill 1.0 : !tile.tile<1xf32>
    tile.store %z, %y[%i] : !tile.tile<1xf32> -> !tile.view<?xf32>
    %other = tile.read %y[%c0] : !tile.view<?xf32> -> f32)"));
  REQUIRE_THAT(reader.error(), Contains("grid point 1 reads element 0 of 'y', which grid point 0"));
}

TEST_CASE("tensors are checked against the program", "[tile]") {
  Run run(program("%i = 1", ""));
  run.bindings.tensors.erase("at");
  REQUIRE_THAT(run.error(), Contains("tensor 'at' is missing"));
  Dense<int32_t> longer({5});
  run.bindings.tensors["at"] = longer.view();
  REQUIRE_THAT(run.error(), Contains("tensor 'at' has extent 5 in dimension 0, expected T = 4"));
  run.bindings.tensors["at"] = run.x.view();
  REQUIRE_THAT(run.error(), Contains("tensor 'at' has elements of f64, expected i32"));
  Dense<int32_t> square({4, 4});
  run.bindings.tensors["at"] = square.view();
  REQUIRE_THAT(run.error(), Contains("tensor 'at' has rank 2, expected 1"));
}

TEST_CASE("a concrete kernel and an unknown op are refused", "[tile]") {
  std::string text = program("%i = 1", "");
  text.replace(text.find("stage(abstract)"), 15, "stage(concrete)");
  REQUIRE_THAT(Run(text).error(), Contains("kernel @k is concrete"));
  Run unknown(program("%i = 1", R"(
    %v = tile.read %x[%c0] : !tile.view<?xf32> -> f32
    %w = math.acosh %v : f32)"));
  REQUIRE_THAT(unknown.error(), Contains("the walker has no meaning for math.acosh"));
}

TEST_CASE("two intervals are visited in order, empty ones are skipped", "[tile]") {
  // The tile holds the last indices seen: digits of base 8.
  std::string body = R"(
    %z = tile.fill 0.0 : !tile.tile<1xf32>
    %r = tile.for %j = [%c0, LOW) + [HIGH, %T) step 1 iter(%a = %z) -> (!tile.tile<1xf32>) {
      %n = arith.index_cast %j : index to i32
      %b = tile.map (%d = %a[i]) -> [i] : (!tile.tile<1xf32>) -> !tile.tile<1xf32> {
        %e = arith.constant 8.0 : f32
        %f = arith.mulf %d, %e : f32
        %g = arith.sitofp %n : i32 to f32
        %h = arith.addf %f, %g : f32
        tile.yield %h : f32
      }
      tile.yield %b : !tile.tile<1xf32>
    }
    tile.store %r, %y[%i] : !tile.tile<1xf32> -> !tile.view<?xf32>)";
  auto last = [&](std::string low, std::string high) {
    std::string text = body;
    text.replace(text.find("LOW"), 3, low);
    text.replace(text.find("HIGH"), 4, high);
    return Run(program("%i = 1", text), 5).results()[0];
  };
  REQUIRE(last("%c2", "%c3") == 0 * 512 + 1 * 64 + 3 * 8 + 4);
  REQUIRE(last("%c0", "%c3") == 3 * 8 + 4);
  REQUIRE(last("%c0", "%T") == 0);
}

TEST_CASE("a branch runs where its condition holds", "[tile]") {
  Run run(program("%i = T", R"(
    %late = arith.cmpi sge, %i, %c2 : index
    %v = scf.if %late -> (!tile.tile<1xf32>) {
      %a = tile.fill 7.0 : !tile.tile<1xf32>
      scf.yield %a : !tile.tile<1xf32>
    } else {
      %b = tile.load %x[%i] : !tile.view<?xf32> -> !tile.tile<1xf32>
      scf.yield %b : !tile.tile<1xf32>
    }
    tile.store %v, %y[%i] : !tile.tile<1xf32> -> !tile.view<?xf32>)"));
  REQUIRE(run.results() == std::vector<double>{10, 11, 7, 7});
}

TEST_CASE("a repeated kernel sees what the repetition before wrote", "[tile]") {
  // y[i] doubles three times in the workspace; the last repetition stores it.
  Run run(R"(
tile.program @p {
  tile.extent "T"
  tile.tensor "x" : f32[T]
  tile.tensor "at" : i32[T]
  tile.tensor "y" result : f32[T]
  tile.buffer "w" : f32[T]
  tile.kernel @first grid(%i = T) stage(abstract) {
    %x = tile.view "x" [:] : !tile.view<?xf32>
    %w = tile.view "w" [:] : !tile.view<?xf32>
    %a = tile.load %x[%i] : !tile.view<?xf32> -> !tile.tile<1xf32>
    tile.store %a, %w[%i] : !tile.tile<1xf32> -> !tile.view<?xf32>
  }
  tile.kernel @k grid(%i = T desc) repeat(%n = T - 1) stage(abstract) {
    %w = tile.view "w" [:] : !tile.view<?xf32>
    %y = tile.view "y" [:] : !tile.view<?xf32>
    %a = tile.load %w[%i] : !tile.view<?xf32> -> !tile.tile<1xf32>
    %b = tile.map (%u = %a[i]) -> [i] : (!tile.tile<1xf32>) -> !tile.tile<1xf32> {
      %v = arith.addf %u, %u : f32
      tile.yield %v : f32
    }
    tile.store %b, %w[%i] : !tile.tile<1xf32> -> !tile.view<?xf32>
    tile.store %b, %y[%i] : !tile.tile<1xf32> -> !tile.view<?xf32>
  }
}
)");
  REQUIRE(run.results() == std::vector<double>{80, 88, 96, 104});
}

TEST_CASE("a wrapped view goes round its extent", "[tile]") {
  std::string text = program("%i = 1", R"(
    %ring = tile.view "x" [:] : !tile.view<?xf32, wrap>
    %t = tile.load %ring[%c3] valid(%T) : !tile.view<?xf32, wrap> -> !tile.tile<4xf32>
    tile.store %t, %y[%i] valid(%T) : !tile.tile<4xf32> -> !tile.view<?xf32>)");
  REQUIRE(Run(text).results() == std::vector<double>{13, 10, 11, 12});
}

TEST_CASE("paged int4 rows are found through the table and decoded", "[tile]") {
  // 3 pages of 2 rows, 4 codes a row in 2 bytes, a scale a group of 2; 5 rows of the sequence lie
  // on pages 2, 0, 1.
  ParsedProgram parsed(R"(
tile.program @p {
  tile.extent "P"
  tile.extent "N"
  tile.extent "T"
  tile.tensor "codes" : ui8[P, 2, 2]
  tile.tensor "scale" : f32[P, 2, 2]
  tile.tensor "pages" : i32[N]
  tile.tensor "y" result : f32[T, 4]
  tile.kernel @k grid(%i = 1) stage(abstract) {
    %T = tile.scalar "T" : index
    %pages = tile.view "pages" [:] : !tile.view<?xi32>
    %c = tile.view "codes" [:, :, :] table(%pages : !tile.view<?xi32>) : !tile.view<?x2xi8, paged<2>>
    %s = tile.view "scale" [:, :, :] table(%pages : !tile.view<?xi32>) : !tile.view<?x2xf32, paged<2>>
    %y = tile.view "y" [:, :] : !tile.view<?x4xf32>
    %C = tile.load %c[%i, 0] valid(%T) fill 0 : !tile.view<?x2xi8, paged<2>> -> !tile.tile<8x2xi8>
    %S = tile.load %s[%i, 0] valid(%T) fill 0 : !tile.view<?x2xf32, paged<2>> -> !tile.tile<8x2xf32>
    %X = tile.decode u4 %C scale(%S : !tile.tile<8x2xf32>) : !tile.tile<8x2xi8> -> !tile.tile<8x4xf32>
    tile.store %X, %y[%i, 0] valid(%T) : !tile.tile<8x4xf32> -> !tile.view<?x4xf32>
  }
}
)");
  Dense<uint8_t> codes({3, 2, 2});
  Dense<double> scale({3, 2, 2}), y({5, 4});
  Dense<int32_t> pages({3});
  for (int64_t n = 0; n < 12; ++n) {
    codes.elements[n] = static_cast<uint8_t>(37 * n + 200);
    scale.elements[n] = static_cast<double>(n + 1);
  }
  pages(0) = 2;
  pages(1) = 0;
  pages(2) = 1;
  TileBindings bindings;
  bindings.tensors = {
      {"codes", codes.view()}, {"scale", scale.view()}, {"pages", pages.view()}, {"y", y.view()}};
  Status done = walkProgram(parsed.program(), bindings);
  INFO((done ? std::string() : done.error().toString()));
  REQUIRE(done.ok());
  for (int64_t row = 0; row < 5; ++row)
    for (int64_t e = 0; e < 4; ++e) {
      int64_t page = pages(row / 2), slot = row % 2;
      int64_t code = codes(page, slot, e / 2) >> (e % 2 * 4) & 15;
      REQUIRE(y(row, e) == static_cast<double>(code) * scale(page, slot, e / 2));
    }
}
