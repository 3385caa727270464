// A form is an algorithm for a pattern: it says whether it can lower a pattern, and builds the
// abstract tile.program. FormTable lists the forms in order of preference; chooseForm walks the
// table and keeps every refusal, because "unsupported" is an answer with a reason.
// To add a form: one .cpp here and one line of FormTable.cpp.
#pragma once

#include "compiler/Compiler.h"
#include "ir/pattern/PatternDialect.h"
#include "ir/tile/TileDialect.h"
#include "runtime/Request.h"
#include "runtime/Result.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

#include <string>
#include <vector>

namespace heddle::compiler {

/// What a form is asked to lower. Borrowed.
struct FormRequest {
  pattern::DefOp def; ///< verified
  const Request &request;
  const Schedule &schedule; ///< complete
};

struct Form {
  const char *name; ///< attention | recurrent | chunked
  const char *what; ///< one line for `heddle explain`
  /// Why the form cannot lower the pattern; empty if it can.
  std::string (*refuse)(const FormRequest &);
  /// A module with one tile.program of abstract kernels. Only called if refuse() is empty.
  mlir::OwningOpRef<mlir::ModuleOp> (*build)(const FormRequest &);
};

/// All forms in order of preference for sequences.
llvm::ArrayRef<Form> formTable();

struct Refusal {
  std::string form, reason;
};

struct FormChoice {
  const Form *form = nullptr;
  std::vector<Refusal> refusals; ///< of every other form, "form: reason"
};

/// The first form that can lower the pattern, or the one request.form names. Unsupported with all
/// reasons as notes if there is none; InvalidArgument for a form that does not exist.
Result<FormChoice> chooseForm(const FormRequest &request);

} // namespace heddle::compiler
