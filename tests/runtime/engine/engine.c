/* The least an engine in C does: made with `cc engine.c $(pkg-config --cflags --libs heddle)`. */
#include <heddle/heddle.h>
#include <stdio.h>

int main(void) {
  const heddle_context_options options = {
      .size = sizeof options, .threads = 1, .flags = HEDDLE_NO_STORE};
  heddle_context *context = NULL;
  heddle_error *error = NULL;
  if (heddle_context_create(&options, &context, &error)) {
    fprintf(stderr, "%s\n", heddle_error_message(error));
    return 1;
  }
  printf("heddle %s\n", heddle_version_string());
  heddle_context_destroy(context);
  return 0;
}
