// The table of forms, and the walk over it.
#include "compiler/forms/Attention.h"
#include "compiler/forms/Chunked.h"
#include "compiler/forms/Form.h"
#include "compiler/forms/Recurrent.h"

#include <fmt/format.h>

namespace heddle::compiler {

// A state beats the pairs of all tokens wherever there is one; see preferred() for single tokens.
static constexpr Form kForms[] = {
    {"chunked", "pairs inside a chunk of tokens, a state between chunks", refuseChunked,
     buildChunked},
    {"recurrent", "one token after the other, with a state", refuseRecurrent, buildRecurrent},
    {"attention", "weights of all visible pairs, row by row, with a running maximum",
     refuseAttention, buildAttention},
};

llvm::ArrayRef<Form> formTable() { return kForms; }

static Error unsupported(pattern::DefOp def, const std::vector<Refusal> &refusals) {
  std::vector<std::string> notes;
  for (const Refusal &refusal : refusals)
    notes.push_back(fmt::format("form {}: {}", refusal.form, refusal.reason));
  return {
      ErrorCode::Unsupported,
      fmt::format("no form lowers pattern {} yet; the interpreter runs it", def.getSymName().str()),
      "", std::move(notes)};
}

/// The table in order of preference for the request: a single token needs no chunk.
static std::vector<const Form *> preferred(const Request &request) {
  std::vector<const Form *> forms;
  for (const Form &form : formTable())
    forms.push_back(&form);
  auto length = request.extents.find("T");
  if (length != request.extents.end() && length->second.bound == ExtentClass::One)
    std::swap(forms[0], forms[1]);
  return forms;
}

Result<FormChoice> chooseForm(const FormRequest &request) {
  const std::string &wanted = request.request.form;
  FormChoice choice;
  bool known = wanted.empty() || wanted == "auto";
  for (const Form *form : preferred(request.request)) {
    if (!known && wanted != form->name)
      continue;
    std::string reason = form->refuse(request);
    if (reason.empty()) {
      choice.form = form;
      return choice;
    }
    choice.refusals.push_back({form->name, reason});
  }
  if (choice.refusals.empty())
    return Error{
        ErrorCode::InvalidArgument,
        fmt::format("unknown form '{}', expected auto, attention, recurrent or chunked", wanted)};
  return unsupported(request.def, choice.refusals);
}

} // namespace heddle::compiler
