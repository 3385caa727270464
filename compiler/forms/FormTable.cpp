// The table of forms, and the choice among those that can.
#include "compiler/forms/Attention.h"
#include "compiler/forms/Chunked.h"
#include "compiler/forms/Form.h"
#include "compiler/forms/FormCost.h"
#include "compiler/forms/Recurrent.h"

#include <fmt/format.h>

#include <limits>

namespace heddle::compiler {

static constexpr Form kForms[] = {
    {"chunked", "pairs inside a chunk of tokens, a state between chunks", refuseChunked,
     buildChunked},
    {"recurrent", "one token after the other, with a state", refuseRecurrent, buildRecurrent},
    {"attention", "weights of all visible pairs, row by row, with a running maximum",
     refuseAttention, buildAttention},
};

llvm::ArrayRef<Form> formTable() { return kForms; }

static Error unsupported(pattern::DefOp def, const std::vector<Refusal> &refusals, bool isAsked) {
  std::vector<std::string> notes;
  for (const Refusal &refusal : refusals)
    notes.push_back(fmt::format("form {}: {}", refusal.form, refusal.reason));
  const std::string name = def.getSymName().str();
  if (isAsked)
    return {
        ErrorCode::Unsupported,
        fmt::format("pattern {} has no {} form: {}", name, refusals[0].form, refusals[0].reason),
        "", std::move(notes)};
  return {ErrorCode::Unsupported,
          fmt::format("no form lowers pattern {} yet; the interpreter runs it", name), "",
          std::move(notes)};
}

/// Among forms that can, the one whose estimate is least for the request's class of lengths; the
/// first where there is none (what is no state has one form; other targets have no estimate yet).
static const Form *cheapest(const FormRequest &request, llvm::ArrayRef<const Form *> able) {
  if (able.size() == 1 || request.request.target != "cpu")
    return able.front();
  Result<std::vector<MixSizes>> mixes = mixSizes(request);
  if (!mixes)
    return able.front();
  const int64_t length = nominalLength(request.request);
  const Form *best = able.front();
  double least = std::numeric_limits<double>::infinity();
  for (const Form *form : able)
    if (std::optional<double> units = estimatedUnits(form->name, *mixes, length);
        units && *units < least) {
      best = form;
      least = *units;
    }
  return best;
}

llvm::SmallVector<const Form *> ableForms(const FormRequest &request) {
  const std::string &wanted = request.request.form;
  llvm::SmallVector<const Form *> able;
  for (const Form &form : formTable())
    if ((wanted.empty() || wanted == "auto" || wanted == form.name) && form.refuse(request).empty())
      able.push_back(&form);
  return able;
}

Result<FormChoice> chooseForm(const FormRequest &request) {
  const std::string &wanted = request.request.form;
  FormChoice choice;
  bool open = wanted.empty() || wanted == "auto", known = false;
  llvm::SmallVector<const Form *> able;
  for (const Form &form : formTable()) {
    if (!open && wanted != form.name)
      continue;
    known = true;
    std::string reason = form.refuse(request);
    if (reason.empty())
      able.push_back(&form);
    else
      choice.refusals.push_back({form.name, reason});
  }
  if (!known)
    return Error{
        ErrorCode::InvalidArgument,
        fmt::format("unknown form '{}', expected auto, attention, recurrent or chunked", wanted)};
  if (able.empty())
    return unsupported(request.def, choice.refusals, !open);
  choice.form = cheapest(request, able);
  return choice;
}

} // namespace heddle::compiler
