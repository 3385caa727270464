/* The C interface from C11, with a compiler library that needs no LLVM: every function, and every
 * mistake it must survive. Prints the counts that tools/run_tests.py reads. */
#include "runtime/heddle.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int failures = 0;
static int logged = 0;
static int events = 0;

#define CHECK(condition)                                                                           \
  do {                                                                                             \
    if (!(condition)) {                                                                            \
      printf("%s:%d: failed: %s\n", __FILE__, __LINE__, #condition);                               \
      ++failures;                                                                                  \
    }                                                                                              \
  } while (0)

/* The call fails with this status, and the message holds this text. */
#define REFUSED(call, expected, text)                                                              \
  do {                                                                                             \
    heddle_error *error = NULL;                                                                    \
    const heddle_status status = (call);                                                           \
    CHECK(status == (expected));                                                                   \
    CHECK(heddle_error_status(error) == (expected));                                               \
    if (!strstr(heddle_error_message(error), text)) {                                              \
      printf("%s:%d: no '%s' in: %s\n", __FILE__, __LINE__, text, heddle_error_message(error));    \
      ++failures;                                                                                  \
    }                                                                                              \
    heddle_error_destroy(error);                                                                   \
  } while (0)

static void log_line(void *user, int level, const char *message) {
  (void)message;
  CHECK(user == &logged && (level == 1 || level == 2));
  ++logged;
}

static void on_event(void *user, const heddle_compile_event *event) {
  CHECK(user == &events && event->size == sizeof(*event));
  CHECK(event->stage == (events % 2 ? HEDDLE_COMPILE_FINISHED : HEDDLE_COMPILE_STARTED));
  CHECK(event->waiting == 1 && strlen(event->key) == 64);
  CHECK(strcmp(event->what, "scale D=10 f32 for cpu") == 0);
  ++events;
}

struct buffer {
  char *bytes;
  size_t size;
};

static void keep(void *user, const void *bytes, size_t size) {
  struct buffer *buffer = user;
  free(buffer->bytes);
  buffer->bytes = malloc(size + 1);
  memcpy(buffer->bytes, bytes, size);
  buffer->bytes[size] = 0;
  buffer->size = size;
}

static heddle_tensor tensor(float *data, int32_t rank, int64_t rows, int64_t columns) {
  heddle_tensor t = {.data = data, .dtype = HEDDLE_F32, .rank = rank};
  t.shape[0] = rows;
  t.strides[0] = rank == 2 ? columns : 1;
  t.shape[1] = rank == 2 ? columns : 0;
  t.strides[1] = rank == 2;
  return t;
}

static heddle_call call_of(const heddle_tensor *tensors, size_t count) {
  const heddle_call call = {.size = sizeof(call), .tensors = tensors, .tensor_count = count};
  return call;
}

/* Runs y = factor * x and compares. */
static int computes(const heddle_kernel *kernel, double factor) {
  float x[7 * 10], y[7 * 10], s;
  double sum = 0;
  for (int n = 0; n < 70; ++n)
    x[n] = (float)(n % 13);
  const heddle_tensor tensors[] = {tensor(x, 2, 7, 10), tensor(y, 2, 7, 10), tensor(&s, 1, 1, 1)};
  const heddle_parameter parameters[] = {{"factor", factor}};
  heddle_call call = call_of(tensors, 3);
  call.parameters = parameters;
  call.parameter_count = 1;
  if (heddle_kernel_workspace(kernel, &call, &call.workspace_bytes, NULL) ||
      call.workspace_bytes <= 0)
    return 0;
  call.workspace = aligned_alloc(64, (size_t)call.workspace_bytes);
  const heddle_status status = heddle_kernel_launch(kernel, &call, NULL);
  heddle_call bad = call;
  bad.workspace_bytes -= 64;
  REFUSED(heddle_kernel_launch(kernel, &bad, &error), HEDDLE_INVALID_ARGUMENT,
          "found a workspace of");
  bad = call;
  bad.stream = &bad;
  REFUSED(heddle_kernel_launch(kernel, &bad, &error), HEDDLE_INVALID_ARGUMENT, "found a stream");
  free(call.workspace);
  for (int n = 0; n < 70; ++n) {
    if (y[n] != (float)factor * x[n])
      return 0;
    sum += y[n];
  }
  return status == HEDDLE_OK && s == (float)sum + 3;
}

static void test_errors(void) {
  CHECK(strlen(heddle_version_string()) >= 5);
  CHECK(heddle_error_status(NULL) == HEDDLE_OK);
  CHECK(strcmp(heddle_error_message(NULL), "") == 0);
  CHECK(heddle_error_note_count(NULL) == 0);
  CHECK(heddle_error_note(NULL, 0) == NULL);
  heddle_error_destroy(NULL);
  heddle_context_destroy(NULL);
  heddle_kernel_release(NULL);
  CHECK(heddle_kernel_tensor_count(NULL) == 0);
  heddle_pattern_destroy(NULL);
  CHECK(heddle_pattern_tensor_count(NULL) == 0 && heddle_pattern_parameter_count(NULL) == 0);
  CHECK(strcmp(heddle_pattern_name(NULL), "") == 0);
  heddle_kernel_info kernel_info = {.size = sizeof(kernel_info)};
  REFUSED(heddle_kernel_describe(NULL, &kernel_info, &error), HEDDLE_INVALID_ARGUMENT, "kernel");
  heddle_kernel_artifact(NULL, NULL, NULL);
  heddle_kernel_request_text(NULL, NULL, NULL);
  heddle_tensor_info info = {.size = sizeof(info)};
  REFUSED(heddle_kernel_tensor(NULL, 0, &info, &error), HEDDLE_INVALID_ARGUMENT, "kernel");
}

static void test_context(const char *store) {
  heddle_context *context = NULL;
  heddle_context_options options = {.size = sizeof(options), .store_directory = store};
  options.threads = -1;
  REFUSED(heddle_context_create(&options, &context, &error), HEDDLE_INVALID_ARGUMENT, "-1 threads");
  CHECK(context == NULL);
  options.threads = 1;
  options.device = "abacus";
  REFUSED(heddle_context_create(&options, &context, &error), HEDDLE_NOT_FOUND, "'abacus'");
  options.size = 0;
  REFUSED(heddle_context_create(&options, &context, &error), HEDDLE_INVALID_ARGUMENT, "found size");
  REFUSED(heddle_context_create(&options, NULL, &error), HEDDLE_INVALID_ARGUMENT, "null pointer");
  CHECK(heddle_context_create(&options, &context, NULL) == HEDDLE_INVALID_ARGUMENT);
  options.size = sizeof(size_t) + sizeof(uint32_t); /* a caller that knows two fields */
  options.flags = HEDDLE_NO_STORE;
  CHECK(heddle_context_create(&options, &context, NULL) == HEDDLE_OK);
  heddle_context_destroy(context);
}

static void test_patterns(heddle_context *context) {
  heddle_pattern *pattern = NULL;
  REFUSED(heddle_pattern_create(context, NULL, NULL, &pattern, &error), HEDDLE_INVALID_ARGUMENT,
          "pattern's text");
  REFUSED(heddle_pattern_create(context, "refuse", NULL, &pattern, &error), HEDDLE_INVALID_PATTERN,
          "p.heddle:1:1: invalid pattern: found refuse");
  REFUSED(heddle_pattern_create(NULL, "scale", NULL, &pattern, &error), HEDDLE_INVALID_ARGUMENT,
          "null pointer");
  CHECK(pattern == NULL);
  CHECK(heddle_pattern_create(context, "scale", NULL, &pattern, NULL) == HEDDLE_OK);
  REFUSED(heddle_pattern_create((heddle_context *)pattern, "scale", NULL, &pattern, &error),
          HEDDLE_INVALID_ARGUMENT, "found another object for the context");
  heddle_pattern_destroy(pattern);
  CHECK(heddle_pattern_create(context, "scale", NULL, &pattern, NULL) == HEDDLE_OK);
  CHECK(strcmp(heddle_pattern_name(pattern), "scale") == 0);
  CHECK(heddle_pattern_tensor_count(pattern) == 3 && heddle_pattern_parameter_count(pattern) == 1);
  heddle_tensor_info tensor_info = {.size = sizeof(tensor_info)};
  CHECK(heddle_pattern_tensor(pattern, 1, &tensor_info, NULL) == HEDDLE_OK);
  CHECK(strcmp(tensor_info.name, "y") == 0 && tensor_info.rank == 2 && tensor_info.is_result);
  CHECK(tensor_info.dtype == 0); /* the request's */
  CHECK(heddle_pattern_tensor(pattern, 2, &tensor_info, NULL) == HEDDLE_OK);
  CHECK(tensor_info.dtype == HEDDLE_F32);
  REFUSED(heddle_pattern_tensor(pattern, 3, &tensor_info, &error), HEDDLE_INVALID_ARGUMENT,
          "tensor 3");
  heddle_parameter_info parameter = {.size = sizeof(parameter)};
  CHECK(heddle_pattern_parameter(pattern, 0, &parameter, NULL) == HEDDLE_OK);
  CHECK(strcmp(parameter.name, "factor") == 0 && parameter.default_value == 2.0);
  CHECK(!parameter.is_constant && !parameter.is_integer && !parameter.is_required);
  REFUSED(heddle_pattern_parameter(pattern, 1, &parameter, &error), HEDDLE_INVALID_ARGUMENT,
          "parameter 1");

  float x[7 * 10];
  const heddle_tensor input = tensor(x, 2, 7, 10);
  const heddle_request request = {.size = sizeof(request), .tensors = &input, .tensor_count = 1};
  heddle_tensor result = {.data = x};
  CHECK(heddle_pattern_shape(pattern, &request, 1, &result, NULL) == HEDDLE_OK);
  CHECK(result.data == x && result.dtype == HEDDLE_F32 && result.rank == 2);
  CHECK(result.shape[0] == 7 && result.shape[1] == 10);
  CHECK(result.strides[0] == 10 && result.strides[1] == 1);
  REFUSED(heddle_pattern_shape(pattern, &request, 9, &result, &error), HEDDLE_INVALID_ARGUMENT,
          "tensor 9");
  heddle_pattern_destroy(pattern);
}

static void test_requests(heddle_context *context) {
  const heddle_extent extents[] = {{"T", 7}, {"D", 10}};
  const heddle_request good = {
      .size = sizeof(good), .extents = extents, .extent_count = 2, .dtype = HEDDLE_F32};
  heddle_pattern *pattern = NULL;
  heddle_kernel *kernel = NULL;
  CHECK(heddle_pattern_create(context, "scale", NULL, &pattern, NULL) == HEDDLE_OK);
  heddle_request bad = good;
  bad.dtype = 77;
  REFUSED(heddle_kernel_get(pattern, &bad, &kernel, &error), HEDDLE_INVALID_ARGUMENT, "type 77");
  bad = good;
  bad.extents = NULL;
  REFUSED(heddle_kernel_get(pattern, &bad, &kernel, &error), HEDDLE_INVALID_ARGUMENT, "extents");
  bad = good;
  bad.extent_count = 1;
  REFUSED(heddle_kernel_get(pattern, &bad, &kernel, &error), HEDDLE_INVALID_ARGUMENT,
          "no extent for D");
  bad = good;
  bad.schedule = "BM";
  REFUSED(heddle_kernel_get(pattern, &bad, &kernel, &error), HEDDLE_INVALID_ARGUMENT,
          "KNOB=NUMBER");
  bad = good;
  bad.on_miss = 9;
  REFUSED(heddle_kernel_get(pattern, &bad, &kernel, &error), HEDDLE_INVALID_ARGUMENT, "on_miss 9");
  bad.on_miss = 0;
  bad.deadline_ms = -1;
  REFUSED(heddle_kernel_get(pattern, &bad, &kernel, &error), HEDDLE_INVALID_ARGUMENT,
          "deadline_ms -1");
  bad = good;
  bad.on_miss = HEDDLE_MISS_REFUSE;
  REFUSED(heddle_kernel_get(pattern, &bad, &kernel, &error), HEDDLE_NOT_FOUND,
          "compiling is not allowed");
  const heddle_parameter infinite[] = {{"factor", INFINITY}};
  bad = good;
  bad.parameters = infinite;
  bad.parameter_count = 1;
  REFUSED(heddle_kernel_get(pattern, &bad, &kernel, &error), HEDDLE_INVALID_ARGUMENT, "finite");
  const heddle_tensor wrong = {.rank = 99};
  bad = good;
  bad.tensors = &wrong;
  bad.tensor_count = 1;
  REFUSED(heddle_kernel_get(pattern, &bad, &kernel, &error), HEDDLE_INVALID_ARGUMENT,
          "99 dimensions");
  float x[70];
  const heddle_tensor input = tensor(x, 2, 7, 10);
  bad.tensors = &input;
  REFUSED(heddle_kernel_get(pattern, &bad, &kernel, &error), HEDDLE_INVALID_ARGUMENT,
          "both tensors and extents");
  REFUSED(heddle_kernel_get(pattern, NULL, &kernel, &error), HEDDLE_INVALID_ARGUMENT, "null");
  REFUSED(heddle_kernel_get(NULL, &good, &kernel, &error), HEDDLE_INVALID_ARGUMENT, "null");
  REFUSED(heddle_kernel_get_by_text(context, "x", 1, &kernel, &error), HEDDLE_CORRUPT_DATA, "");
  REFUSED(heddle_kernel_from_artifact(context, "x", 1, &kernel, &error), HEDDLE_CORRUPT_DATA, "");
  CHECK(kernel == NULL);
  heddle_pattern_destroy(pattern);
}

static void test_kernels(heddle_context *context) {
  const heddle_extent extents[] = {{"T", 7}, {"D", 10}};
  const heddle_request request = {
      .size = sizeof(request), .extents = extents, .extent_count = 2, .dtype = HEDDLE_F32};
  heddle_pattern *pattern = NULL;
  heddle_kernel *kernel = NULL, *same = NULL, *loaded = NULL, *tuned = NULL, *again = NULL;
  CHECK(heddle_pattern_create(context, "scale", NULL, &pattern, NULL) == HEDDLE_OK);
  CHECK(heddle_kernel_get(pattern, &request, &kernel, NULL) == HEDDLE_OK);
  CHECK(logged == 1); /* that it was compiled */
  CHECK(events == 2); /* begun and finished */
  float x[70];
  const heddle_tensor input = tensor(x, 2, 7, 10);
  const heddle_request by_tensors = {.size = sizeof(request), .tensors = &input, .tensor_count = 1};
  CHECK(heddle_kernel_get(pattern, &by_tensors, &again, NULL) == HEDDLE_OK);
  CHECK(logged == 1); /* the same kernel */
  heddle_kernel_release(again);
  heddle_kernel_info about = {.size = sizeof(about)};
  CHECK(heddle_kernel_describe(kernel, &about, NULL) == HEDDLE_OK);
  CHECK(about.source == HEDDLE_COMPILED && !about.is_tuned && !about.is_stand_in);
  CHECK(strcmp(about.name, "scale") == 0 && strcmp(about.target, "cpu") == 0);
  CHECK(strlen(about.key) == 64 && strcmp(about.schedule, "") == 0);
  CHECK(computes(kernel, 2) && computes(kernel, -1.5));

  CHECK(heddle_kernel_tensor_count(kernel) == 3);
  heddle_tensor_info info = {.size = sizeof(info)};
  CHECK(heddle_kernel_tensor(kernel, 1, &info, NULL) == HEDDLE_OK);
  CHECK(strcmp(info.name, "y") == 0 && info.rank == 2 && info.is_result == 1);
  CHECK(info.dtype == HEDDLE_F32);
  REFUSED(heddle_kernel_tensor(kernel, 3, &info, &error), HEDDLE_INVALID_ARGUMENT, "tensor 3");

  struct buffer text = {NULL, 0}, artifact = {NULL, 0}, record = {NULL, 0};
  heddle_kernel_request_text(kernel, keep, &text);
  CHECK(heddle_kernel_get_by_text(context, text.bytes, text.size, &same, NULL) == HEDDLE_OK);
  heddle_kernel_artifact(kernel, keep, &artifact);
  CHECK(heddle_kernel_from_artifact(context, artifact.bytes, artifact.size, &loaded, NULL) ==
        HEDDLE_OK);
  CHECK(computes(same, 3) && computes(loaded, 4));

  CHECK(heddle_store_set_winner(context, text.bytes, text.size, "BM=8", NULL) == HEDDLE_OK);
  CHECK(heddle_kernel_get(pattern, &request, &tuned, NULL) == HEDDLE_OK);
  CHECK(heddle_kernel_describe(tuned, &about, NULL) == HEDDLE_OK);
  CHECK(strcmp(about.schedule, "BM=8") == 0 && about.is_tuned);
  CHECK(heddle_store_put(context, "measurement", "k-1", "1.5 ms", 6, NULL) == HEDDLE_OK);
  CHECK(heddle_store_get(context, "measurement", "k-1", keep, &record, NULL) == HEDDLE_OK);
  CHECK(record.size == 6 && strcmp(record.bytes, "1.5 ms") == 0);
  REFUSED(heddle_store_get(context, "measurement", "k-2", keep, &record, &error), HEDDLE_NOT_FOUND,
          "k-2");
  REFUSED(heddle_store_put(context, "thing", "k", "", 0, &error), HEDDLE_INVALID_ARGUMENT, "thing");
  REFUSED(heddle_store_put(context, "winner", "../k", "", 0, &error), HEDDLE_INVALID_ARGUMENT,
          "../k");

  heddle_context_destroy(context); /* kernels live on */
  CHECK(computes(kernel, 5));
  const heddle_tensor nothing = {.rank = 99};
  int64_t bytes = 0;
  heddle_call call = call_of(&nothing, 1);
  REFUSED(heddle_kernel_workspace(kernel, &call, &bytes, &error), HEDDLE_INVALID_ARGUMENT,
          "99 dimensions");
  call = call_of(NULL, 3);
  REFUSED(heddle_kernel_workspace(kernel, &call, &bytes, &error), HEDDLE_INVALID_ARGUMENT,
          "null pointer");
  call = call_of(&nothing, 0);
  REFUSED(heddle_kernel_launch(kernel, &call, &error), HEDDLE_INVALID_ARGUMENT,
          "found 0 tensors, expected 3: x, y, s");
  REFUSED(heddle_kernel_launch(kernel, NULL, &error), HEDDLE_INVALID_ARGUMENT, "null pointer");
  call.size = 1 << 20;
  REFUSED(heddle_kernel_launch(kernel, &call, &error), HEDDLE_INVALID_ARGUMENT, "found size");
  heddle_kernel_release(kernel);
  heddle_kernel_release(same);
  heddle_kernel_release(loaded);
  heddle_kernel_release(tuned);
  heddle_pattern_destroy(pattern);
  free(text.bytes);
  free(artifact.bytes);
  free(record.bytes);
}

/* Every way a call can be wrong, each refused before anything runs. */
static void test_bad_calls(heddle_context *context) {
  const heddle_extent extents[] = {{"T", 7}, {"D", 10}};
  const heddle_request request = {
      .size = sizeof(request), .extents = extents, .extent_count = 2, .dtype = HEDDLE_F32};
  heddle_pattern *pattern = NULL;
  heddle_kernel *kernel = NULL;
  CHECK(heddle_pattern_create(context, "scale", NULL, &pattern, NULL) == HEDDLE_OK);
  CHECK(heddle_kernel_get(pattern, &request, &kernel, NULL) == HEDDLE_OK);
  float x[7 * 10] = {0}, y[7 * 10], s = -1;
  _Alignas(64) char workspace[4096];
  const heddle_tensor good[] = {tensor(x, 2, 7, 10), tensor(y, 2, 7, 10), tensor(&s, 1, 1, 1)};
  heddle_tensor bad[3];
  const heddle_parameter unknown[] = {{"speed", 1}}, nameless[] = {{NULL, 1}},
                         infinite[] = {{"factor", INFINITY}};
  heddle_call call = call_of(bad, 3);
  call.workspace = workspace;
  call.workspace_bytes = sizeof(workspace);
#define BAD(change, part)                                                                          \
  do {                                                                                             \
    memcpy(bad, good, sizeof(bad));                                                                \
    call.parameters = NULL, call.parameter_count = 0;                                              \
    change;                                                                                        \
    REFUSED(heddle_kernel_launch(kernel, &call, &error), HEDDLE_INVALID_ARGUMENT, part);           \
  } while (0)
  BAD(bad[0].data = NULL, "found a null pointer for x");
  BAD(bad[0].dtype = HEDDLE_BF16, "found x of type bf16, expected f32");
  BAD(bad[0].dtype = 0, "found element type 0");
  BAD(bad[0].dtype = -5, "found element type -5");
  BAD(bad[0].rank = 1, "found x with 1 dimensions, expected 2");
  BAD(bad[0].rank = -1, "found tensor 0 with -1 dimensions");
  BAD(bad[1].shape[0] = 8, "found T = 8 in y");
  BAD(bad[0].shape[1] = 11, "found D = 11 in x of shape [7, 11], expected 10, which is built in");
  BAD(bad[0].shape[0] = -7, "expected no negative extent");
  BAD(bad[0].shape[0] = INT64_MAX, "larger than any memory");
  BAD(bad[0].strides[1] = 2, "found stride 2 in the innermost dimension (D) of x");
  BAD(bad[0].strides[0] = -10, "found stride -10 in dimension 0 of x");
  BAD(bad[1].strides[0] = 3, "found the result y with strides that write one element twice");
  BAD(bad[1].data = x, "found the result y in memory that x lies in");
  BAD(bad[2].data = y + 69, "found the result y in memory that s lies in");
  BAD(bad[0].data = (char *)x + 1, "found x at an address that is no multiple of the 4 bytes");
  BAD((call.parameters = unknown, call.parameter_count = 1), "found the parameter 'speed'");
  BAD((call.parameters = nameless, call.parameter_count = 1), "the name of a parameter");
  BAD((call.parameters = infinite, call.parameter_count = 1), "expected a finite number");
  BAD((call.parameters = NULL, call.parameter_count = 1), "null pointer for the parameters");
#undef BAD
  CHECK(s == -1); /* nothing ran */
  memcpy(bad, good, sizeof(bad));
  call.parameter_count = 0;
  CHECK(heddle_kernel_launch(kernel, &call, NULL) == HEDDLE_OK && s == 3);
  REFUSED(heddle_kernel_launch((heddle_kernel *)pattern, &call, &error), HEDDLE_INVALID_ARGUMENT,
          "found another object for the kernel");
  heddle_kernel_release(kernel);
  heddle_pattern_destroy(pattern);
}

int main(void) {
  char store[] = "/tmp/heddle-c-XXXXXX";
  if (!mkdtemp(store))
    return 1;
  test_errors();
  test_context(store);
  heddle_context *context = NULL;
  const heddle_context_options options = {.size = sizeof(options),
                                          .threads = 2,
                                          .store_directory = store,
                                          .compiler = FAKE_COMPILER,
                                          .log = log_line,
                                          .log_user = &logged,
                                          .progress = on_event,
                                          .progress_user = &events};
  CHECK(heddle_context_create(&options, &context, NULL) == HEDDLE_OK);
  test_patterns(context);
  test_requests(context);
  test_kernels(context); /* which destroys it */
  const heddle_context_options plain = {
      .size = sizeof(plain), .threads = 2, .store_directory = store, .compiler = FAKE_COMPILER};
  CHECK(heddle_context_create(&plain, &context, NULL) == HEDDLE_OK);
  test_bad_calls(context);
  heddle_context_destroy(context);
  char command[64];
  snprintf(command, sizeof(command), "rm -rf %s", store);
  CHECK(system(command) == 0);
  printf("heddle-test: %d passed, %d failed, 0 skipped\n", failures ? 5 : 6, failures ? 1 : 0);
  return failures != 0;
}
