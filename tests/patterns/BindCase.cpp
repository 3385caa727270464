// Makes the tensors of a Case: shapes from its dims, elements from its fillers or noise.
#include "ir/pattern/ExprUtils.h"
#include "runtime/Tensor.h"
#include "tests/patterns/Library.h"
#include "tests/support/Test.h"

#include <cmath>

using namespace heddle;
using namespace heddle::test;

namespace {

int64_t flatOffset(const std::vector<int64_t> &shape, std::initializer_list<int64_t> index) {
  REQUIRE(index.size() == shape.size());
  int64_t flat = 0;
  size_t axis = 0;
  for (int64_t i : index) {
    if (i < 0 || i >= shape[axis])
      FAIL("index " << i << " of axis " << axis << ", which has " << shape[axis] << " elements");
    flat = flat * shape[axis++] + i;
  }
  return flat;
}

int64_t product(const std::vector<int64_t> &shape) {
  int64_t n = 1;
  for (int64_t extent : shape)
    n *= extent;
  return n;
}

/// Noise in (-1, 1) that depends on the name and the element only.
double noise(const std::string &name, int64_t index) {
  uint64_t x = uint64_t(index) + 1;
  for (char c : name)
    x = x * 1099511628211u + uint64_t(c);
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  x ^= x >> 31;
  return double(int64_t(x >> 11)) / double(int64_t(1) << 52) - 1.0;
}

DType dtypeOf(pattern::ArrayType type, DType open) {
  if (!type.getElement())
    return open;
  Result<DType> parsed = parseDType(pattern::elementWord(type.getElement()).str());
  REQUIRE(parsed.ok());
  return *parsed;
}

/// Shapes from the dims that the case set, in the order of the type.
void shapeArgument(Argument &argument, pattern::ArrayType type, const Problem &problem) {
  if (type.getBatched())
    argument.shape.push_back(problem.dim("B"));
  for (size_t d = 0; d < type.rank(); ++d) {
    std::optional<int64_t> extent =
        pattern::evaluateInteger(type.dim(d), [&](llvm::StringRef name) -> std::optional<int64_t> {
          auto found = problem.dims.find(name.str());
          return found == problem.dims.end() ? std::nullopt : std::optional(found->second);
        });
    INFO(argument.name << ": dim " << type.dim(d).str() << " was not set by the case");
    REQUIRE(extent);
    argument.shape.push_back(*extent);
  }
}

void fillArgument(Argument &argument, const Problem &problem) {
  auto filler = problem.fillers.find(argument.name);
  std::vector<int64_t> index(argument.shape.size(), 0);
  argument.values.resize(size_t(product(argument.shape)));
  for (size_t n = 0; n < argument.values.size(); ++n) {
    argument.values[n] =
        filler == problem.fillers.end() ? noise(argument.name, int64_t(n)) : filler->second(index);
    for (size_t axis = index.size(); axis-- > 0 && ++index[axis] == argument.shape[axis];)
      index[axis] = 0;
  }
}

/// The bytes of an argument in its own type; `values` becomes what they read as.
std::vector<char> storeArgument(Argument &argument) {
  std::vector<char> bytes(argument.values.size() * size_t(sizeOf(argument.dtype)) + 1);
  for (size_t n = 0; n < argument.values.size(); ++n) {
    storeElement(argument.dtype, bytes.data(), int64_t(n), argument.values[n]);
    argument.values[n] = loadElement(argument.dtype, bytes.data(), int64_t(n));
  }
  return bytes;
}

TensorView viewOf(const Argument &argument, std::vector<char> &bytes) {
  TensorView view;
  view.data = bytes.data();
  view.dtype = argument.dtype;
  view.rank = int(argument.shape.size());
  int64_t stride = 1;
  for (size_t axis = argument.shape.size(); axis-- > 0; stride *= argument.shape[axis]) {
    view.shape[axis] = argument.shape[axis];
    view.strides[axis] = stride;
  }
  return view;
}

} // namespace

void heddle::test::bindCase(Bound &bound, const Case &check, pattern::DefOp def, int64_t length,
                            DType dtype, const std::function<void(Problem &)> &change) {
  bound.problem.dims["B"] = 2;
  check.set(bound.problem, length);
  if (change)
    change(bound.problem);
  for (size_t a = 0; a < def.numArguments(); ++a) {
    Argument &argument = bound.problem.arguments[def.argumentName(a).str()];
    argument.name = def.argumentName(a).str();
    argument.dtype = dtypeOf(def.argumentType(a), dtype);
    shapeArgument(argument, def.argumentType(a), bound.problem);
    fillArgument(argument, bound.problem);
    bound.bytes[argument.name] = storeArgument(argument);
    bound.bindings.tensors[argument.name] = viewOf(argument, bound.bytes[argument.name]);
  }
  for (const std::string &name : def.dimNames()) // a case may keep dims of its own
    if (auto known = bound.problem.dims.find(name); known != bound.problem.dims.end())
      bound.bindings.dims.insert(*known);
  bound.bindings.params = bound.problem.params;
}

double Problem::at(const std::string &name, std::initializer_list<int64_t> index) const {
  const Argument &argument = arguments.at(name);
  return argument.values[size_t(flatOffset(argument.shape, index))];
}

Array::Array(std::vector<int64_t> dims) : shape(std::move(dims)) {
  values.assign(size_t(product(shape)), 0.0);
}

double &Array::operator()(std::initializer_list<int64_t> index) {
  return values[size_t(flatOffset(shape, index))];
}

double Array::operator()(std::initializer_list<int64_t> index) const {
  return values[size_t(flatOffset(shape, index))];
}
