// Runs a form of a pattern text on random tensors with the plain walker, at any point
// of the tile passes, and compares with the interpreter.
#pragma once

#include "compiler/Interpreter.h"
#include "compiler/TileWalker.h"
#include "compiler/Tolerance.h"
#include "compiler/forms/Form.h"
#include "compiler/passes/Passes.h"
#include "ir/pattern/Parse.h"
#include "tests/support/Test.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Pass/PassManager.h"

#include <cmath>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace heddle::test {

/// A pattern with everything a run needs.
struct FormCase {
  std::string text;
  std::map<std::string, int64_t> dims; ///< every dim of the pattern, static or not
  std::vector<std::string> fixed = {"D", "Dv"};
  std::map<std::string, double> params;
  int64_t BM = 8, BN = 16, SPLIT = 32;
  std::map<std::string, std::vector<double>> given; ///< tensors that are not random
  std::string form;                                 ///< empty: the first that can
  int64_t CHUNK = 16;
  std::map<std::string, double (*)(double)> made = {}; ///< of normal numbers, by tensor
};

/// How far the passes go.
enum class Upto { Form, TileLoops, SplitEdges, SimplifyMaps, SimplifiedTwice };

struct OwnedTensor {
  std::vector<unsigned char> bytes;
  TensorView view;

  OwnedTensor(DType dtype, const std::vector<int64_t> &shape) {
    view.dtype = dtype;
    view.rank = int(shape.size());
    int64_t stride = 1;
    for (int d = view.rank; d-- > 0;) {
      view.shape[d] = shape[d];
      view.strides[d] = stride;
      stride *= shape[d];
    }
    bytes.assign(std::max<int64_t>(stride, 1) * sizeOf(dtype), 0);
    view.data = bytes.data();
  }
};

class FormRun {
public:
  explicit FormRun(const FormCase &c) : c(c), context(pattern::makePatternContext()) {
    context->loadDialect<tile::TileDialect, mlir::arith::ArithDialect, mlir::math::MathDialect,
                         mlir::scf::SCFDialect>();
    parsed = pattern::parsePatterns(*context, c.text, "test.heddle");
    INFO(parsed.str());
    REQUIRE(parsed.ok());
    std::string why;
    def = pattern::findPattern(*parsed.module, "", why);
    REQUIRE(def);
    request.patternText = c.text;
    for (const auto &[name, extent] : c.dims)
      if (std::find(c.fixed.begin(), c.fixed.end(), name) != c.fixed.end())
        request.dims[name] = extent;
      else
        request.extents[name] = ExtentClass::of(extent);
    if (c.dims.contains("Hq") && c.dims.contains("Hk"))
      request.dims["G"] = c.dims.at("Hq") / c.dims.at("Hk");
    request.dtypes["*"] = DType::F32;
    request.form = c.form;
    schedule = {{"BM", c.BM}, {"BN", c.BN}, {"SPLIT", c.SPLIT}, {"CHUNK", c.CHUNK}};
  }

  compiler::FormRequest formRequest() { return {def, request, schedule}; }

  /// The program after some of the passes.
  mlir::OwningOpRef<mlir::ModuleOp> build(Upto upto) {
    Result<compiler::FormChoice> choice = compiler::chooseForm(formRequest());
    INFO((choice ? "" : choice.error().toString()));
    REQUIRE(choice.ok());
    mlir::OwningOpRef<mlir::ModuleOp> module = choice->form->build(formRequest());
    REQUIRE(mlir::succeeded(mlir::verify(*module)));
    mlir::PassManager passes(context.get());
    if (upto >= Upto::TileLoops)
      passes.addPass(compiler::createTileLoopsPass());
    if (upto >= Upto::SplitEdges)
      passes.addPass(compiler::createSplitEdgesPass());
    if (upto >= Upto::SimplifyMaps)
      passes.addPass(compiler::createSimplifyMapsPass());
    if (upto >= Upto::SimplifiedTwice)
      passes.addPass(compiler::createSimplifyMapsPass());
    REQUIRE(mlir::succeeded(passes.run(*module)));
    return module;
  }

  /// Walks the program and returns its results by name.
  std::map<std::string, std::vector<double>> walk(Upto upto) {
    auto module = build(upto);
    tile::ProgramOp program = *module->getOps<tile::ProgramOp>().begin();
    makeTensors(program);
    compiler::TileBindings bindings;
    for (auto &[name, tensor] : tensors)
      bindings.tensors[name] = tensor.view;
    for (auto [name, value] : c.params)
      bindings.scalars[name] = value;
    Status status = compiler::walkProgram(program, bindings, compiler::GridOrder::Shuffled);
    INFO((status ? "" : status.error().toString()));
    REQUIRE(status.ok());
    std::map<std::string, std::vector<double>> results;
    for (auto tensor : program.getOps<tile::TensorOp>())
      if (tensor.getResult())
        results[tensor.getName().str()] = read(tensors.at(tensor.getName().str()));
    return results;
  }

  compiler::Outputs interpret() {
    compiler::Bindings bindings;
    for (auto &[name, tensor] : tensors)
      if (def.argumentIndex(name) >= 0)
        bindings.tensors[name] = tensor.view;
    bindings.dims = c.dims;
    bindings.params = c.params;
    Result<compiler::Outputs> outputs = compiler::interpret(def, bindings);
    INFO((outputs ? "" : outputs.error().toString()));
    REQUIRE(outputs.ok());
    return *outputs;
  }

  /// Walks and compares every result with the interpreter.
  void check(Upto upto) {
    auto found = walk(upto);
    compiler::Outputs expected = interpret();
    for (const compiler::Output &output : expected.results) {
      const std::vector<double> &values = found.at(output.name);
      REQUIRE(values.size() == output.values.size());
      if (values.empty())
        continue;
      bool isLse = output.name.starts_with("l");
      auto compare = isLse ? compiler::compareLse : compiler::compareValues;
      double limit = isLse ? compiler::lseLimit(compiler::Arithmetic::F32) : 1e-5;
      compiler::Comparison result =
          compare(values.data(), output.values.data(), int64_t(values.size()), limit);
      const size_t worst = size_t(std::max<int64_t>(result.worst, 0));
      INFO(c.text << "\nresult " << output.name << " maxAbs " << result.maxAbs << " rms "
                  << result.rms << " worst " << worst << ": " << values[worst] << ", expected "
                  << output.values[worst] << ", passes " << int(upto));
      REQUIRE(result.pass);
    }
  }

  pattern::DefOp pattern() { return def; }
  const std::map<std::string, int64_t> &sizes() const { return c.dims; }
  /// What the last walk read and wrote, by name.
  std::map<std::string, OwnedTensor> &bound() { return tensors; }

private:
  static std::vector<double> read(const OwnedTensor &tensor) {
    std::vector<double> values(tensor.view.elements());
    for (size_t n = 0; n < values.size(); ++n)
      values[n] = loadElement(tensor.view.dtype, tensor.view.data, int64_t(n));
    return values;
  }

  void makeTensors(tile::ProgramOp program) {
    std::mt19937 random(7);
    std::normal_distribution<double> normal;
    for (auto tensor : program.getOps<tile::TensorOp>()) {
      std::vector<int64_t> shape;
      for (auto extent : tensor.getShape().getAsRange<tile::FormulaAttr>())
        shape.push_back(extent.asConstant() ? *extent.asConstant()
                                            : c.dims.at(extent.asScalar()->str()));
      bool integer = mlir::isa<mlir::IntegerType>(tensor.getElementType());
      std::string name = tensor.getName().str();
      auto made = c.made.contains(name) ? c.made.at(name) : +[](double x) { return x; };
      OwnedTensor &owned =
          tensors.insert_or_assign(name, OwnedTensor(integer ? DType::I32 : DType::F32, shape))
              .first->second;
      owned.view.data = owned.bytes.data();
      for (int64_t n = 0; n < owned.view.elements(); ++n)
        storeElement(owned.view.dtype, owned.view.data, n,
                     c.given.contains(name) ? c.given.at(name).at(n)
                     : integer              ? double(n % 3)
                                            : made(normal(random)));
    }
  }

  const FormCase c;
  std::unique_ptr<mlir::MLIRContext> context;
  pattern::Parsed parsed;
  pattern::DefOp def;
  Request request;
  compiler::Schedule schedule;
  std::map<std::string, OwnedTensor> tensors;
};

} // namespace heddle::test
