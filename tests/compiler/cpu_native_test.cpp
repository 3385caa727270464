// The LLVM pipeline and the in-process linker on hand-written functions.
#include "tests/support/Test.h"

#include "mlir/Parser/Parser.h"

#include "CpuSupport.h"

using namespace heddle::compiler::cpu;

namespace {

const char *kScale = R"(
func.func @scale(%p: !llvm.ptr, %n: i64, %s: f32) {
  %zero = arith.constant 0 : i64
  %lanes = arith.constant 8 : i64
  %v = vector.broadcast %s : f32 to vector<8xf32>
  scf.for %i = %zero to %n step %lanes : i64 {
    %a = llvm.getelementptr %p[%i] : (!llvm.ptr, i64) -> !llvm.ptr, f32
    %x = llvm.load %a {alignment = 4 : i64} : !llvm.ptr -> vector<8xf32>
    %y = arith.mulf %x, %v : vector<8xf32>
    llvm.store %y, %a {alignment = 4 : i64} : vector<8xf32>, !llvm.ptr
  }
  return
})";

mlir::OwningOpRef<mlir::ModuleOp> parse(mlir::MLIRContext &context, const char *text) {
  context
      .loadDialect<mlir::func::FuncDialect, mlir::arith::ArithDialect, mlir::scf::SCFDialect,
                   mlir::vector::VectorDialect, mlir::LLVM::LLVMDialect, mlir::math::MathDialect>();
  return mlir::parseSourceString<mlir::ModuleOp>(text, &context);
}

heddle::Result<std::vector<std::string>> objectsOf(const char *text, const Isa &isa) {
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  mlir::OwningOpRef<mlir::ModuleOp> module = parse(context, text);
  REQUIRE(module);
  return emitObjects(*module, isa);
}

} // namespace

TEST_CASE("a vector function becomes a shared object that runs", "[cpu]") {
  for (const Isa &isa : hostIsas()) {
    heddle::Result<std::vector<std::string>> objects = objectsOf(kScale, isa);
    REQUIRE(objects.ok());
    heddle::Result<std::string> image = linkSharedObject(*objects);
    INFO((image.ok() ? std::string() : image.error().message));
    REQUIRE(image.ok());
    LoadedImage loaded(*image);
    auto scale = loaded.symbol<void (*)(float *, int64_t, float)>("scale");
    REQUIRE(scale);
    float data[16];
    for (int i = 0; i < 16; ++i)
      data[i] = i;
    scale(data, 16, 3.0f);
    for (int i = 0; i < 16; ++i)
      CHECK(data[i] == 3.0f * i);
  }
}

TEST_CASE("an address that a loop multiplies out steps", "[cpu]") {
  const char *text = R"(
func.func @gather(%from: !llvm.ptr, %to: !llvm.ptr, %first: i64, %n: i64) {
  %step = arith.constant 2 : i64
  %apart = arith.constant 17 : i64
  scf.for %i = %first to %n step %step : i64 {
    %at = arith.muli %i, %apart : i64
    %a = llvm.getelementptr %from[%at] : (!llvm.ptr, i64) -> !llvm.ptr, f32
    %x = llvm.load %a : !llvm.ptr -> f32
    %b = llvm.getelementptr %to[%i] : (!llvm.ptr, i64) -> !llvm.ptr, f32
    llvm.store %x, %b : f32, !llvm.ptr
  }
  return
})";
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  const Isa isa = hostIsas().front();
  heddle::Result<std::string> code = printNative(*parse(context, text), isa, NativeText::Llvm);
  REQUIRE(code.ok());
  CHECK(code->find("phi ptr") != std::string::npos);
  heddle::Result<std::vector<std::string>> objects = objectsOf(text, isa);
  REQUIRE(objects.ok());
  heddle::Result<std::string> image = linkSharedObject(*objects);
  REQUIRE(image.ok());
  LoadedImage loaded(*image);
  auto gather = loaded.symbol<void (*)(const float *, float *, int64_t, int64_t)>("gather");
  REQUIRE(gather);
  float from[17 * 8], to[8] = {};
  for (int i = 0; i < 17 * 8; ++i)
    from[i] = i;
  gather(from, to, 1, 8);
  for (int i = 0; i < 8; ++i)
    CHECK(to[i] == (i % 2 ? 17.0f * i : 0));
}

TEST_CASE("each exported function is an object, with what it calls", "[cpu]") {
  const char *text = R"(
func.func private @twice(%x: f32) -> f32 { %y = arith.addf %x, %x : f32 return %y : f32 }
func.func private @square(%x: f32) -> f32 {
  %y = arith.mulf %x, %x : f32
  %z = func.call @twice(%y) : (f32) -> f32
  return %z : f32
}
func.func @f(%x: f32) -> f32 { %y = func.call @twice(%x) : (f32) -> f32 return %y : f32 }
func.func @g(%x: f32) -> f32 { %y = func.call @square(%x) : (f32) -> f32 return %y : f32 }
func.func @h(%x: f32) -> f32 { return %x : f32 }
)";
  for (const Isa &isa : hostIsas()) {
    heddle::Result<std::vector<std::string>> objects = objectsOf(text, isa);
    REQUIRE(objects.ok());
    CHECK(objects->size() == 3);
    heddle::Result<std::string> image = linkSharedObject(*objects);
    INFO((image.ok() ? std::string() : image.error().message));
    REQUIRE(image.ok());
    LoadedImage loaded(*image);
    CHECK(loaded.symbol<float (*)(float)>("f")(3) == 6);
    CHECK(loaded.symbol<float (*)(float)>("g")(3) == 18);
    CHECK(loaded.symbol<float (*)(float)>("h")(3) == 3);
    CHECK(*image == *linkSharedObject(*objectsOf(text, isa)));
  }
  const char *shared = R"(
func.func private @twice(%x: f32) -> f32 { %y = arith.addf %x, %x : f32 return %y : f32 }
func.func private @square(%x: f32) -> f32 {
  %y = arith.mulf %x, %x : f32
  %z = func.call @twice(%y) : (f32) -> f32
  return %z : f32
}
func.func @f(%x: f32) -> f32 { %y = func.call @square(%x) : (f32) -> f32 return %y : f32 }
func.func @g(%x: f32) -> f32 { %y = func.call @square(%x) : (f32) -> f32 return %y : f32 }
)";
  heddle::Result<std::string> both = linkSharedObject(*objectsOf(shared, hostIsas().front()));
  INFO((both.ok() ? std::string() : both.error().message));
  REQUIRE(both.ok());
  CHECK(LoadedImage(*both).symbol<float (*)(float)>("f")(3) == 18);
  CHECK(LoadedImage(*both).symbol<float (*)(float)>("g")(3) == 18);
  const char *chained = R"(
func.func @f(%x: f32) -> f32 { %y = arith.addf %x, %x : f32 return %y : f32 }
func.func @g(%x: f32) -> f32 { %y = func.call @f(%x) : (f32) -> f32 return %y : f32 }
)";
  heddle::Result<std::string> image = linkSharedObject(*objectsOf(chained, hostIsas().front()));
  REQUIRE(image.ok());
  LoadedImage loaded(*image);
  CHECK(loaded.symbol<float (*)(float)>("g")(3) == 6);
}

TEST_CASE("the same module gives the same bytes", "[cpu]") {
  for (const Isa &isa : hostIsas()) {
    std::string first = *linkSharedObject(*objectsOf(kScale, isa));
    CHECK(first == *linkSharedObject(*objectsOf(kScale, isa)));
  }
}

TEST_CASE("a loop that fills memory calls no library", "[cpu]") {
  const char *text = R"(
func.func @clear(%p: !llvm.ptr, %n: i64) {
  %zero = arith.constant 0 : i64
  %one = arith.constant 1 : i64
  %v = arith.constant 0.0 : f32
  scf.for %i = %zero to %n step %one : i64 {
    %a = llvm.getelementptr %p[%i] : (!llvm.ptr, i64) -> !llvm.ptr, f32
    llvm.store %v, %a : f32, !llvm.ptr
  }
  return
})";
  for (const Isa &isa : hostIsas())
    CHECK(linkSharedObject(*objectsOf(text, isa)).ok());
}

TEST_CASE("an undefined symbol is refused by name", "[cpu]") {
  const char *text = R"(
func.func private @outside()
func.func @f() { func.call @outside() : () -> () return }
)";
  for (const Isa &isa : hostIsas()) {
    heddle::Result<std::string> image = linkSharedObject(*objectsOf(text, isa));
    REQUIRE(!image.ok());
    CHECK(image.error().message.find("outside") != std::string::npos);
  }
  CHECK(!linkSharedObject({"not an object"}).ok());
}

TEST_CASE("the instruction set follows the facts and the knob", "[cpu]") {
  std::string avx2 = "GenuineIntel avx2 fma f16c bmi2";
  std::string avx512 = avx2 + " avx512f avx512bw avx512dq avx512vl";
  CHECK(chooseIsa(avx2, 0)->level == Isa::Avx2);
  CHECK(chooseIsa(avx512, 0)->level == Isa::Avx512);
  CHECK(chooseIsa(avx512, 2)->level == Isa::Avx2);
  CHECK(chooseIsa(avx512 + " avx512_bf16", 0)->bf16Dot);
  CHECK(!chooseIsa(avx512 + " avx512_bf16", 2)->bf16Dot);
  CHECK(!chooseIsa(avx512 + " avx512_bf16", 0)->amx);
  CHECK(!chooseIsa(avx512 + " avx512_bf16 amx_tile", 0)->amx);
  const Isa tiles = *chooseIsa(avx512 + " avx512_bf16 amx_tile amx_bf16", 0);
  CHECK(tiles.amx);
  const std::vector<std::string> needed = tiles.requiredFeatures();
  CHECK(std::count(needed.begin(), needed.end(), "amx_bf16") == 1);
  CHECK(std::count(needed.begin(), needed.end(), "amx_tile") == 1);
  CHECK(chooseIsa(avx2, 5).error().code == heddle::ErrorCode::Unsupported);
  CHECK(chooseIsa("sse2", 0).error().message.find("avx2") != std::string::npos);
  CHECK(chooseIsa(avx2, 3).error().code == heddle::ErrorCode::InvalidArgument);
}
