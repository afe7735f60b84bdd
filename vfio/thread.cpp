#include "pollux/vfio/thread.hpp"

#include <pthread.h>

#include "pollux/vfio/address_limit.hpp"

namespace pollux::vfio {

Error explain_no_thread(std::string_view whose, int os_error) {
  pthread_attr_t attributes;
  std::size_t stack_bytes = 0;
  if (pthread_getattr_default_np(&attributes) == 0) {
    pthread_attr_getstacksize(&attributes, &stack_bytes);
    pthread_attr_destroy(&attributes);
  }
  const std::string what = fmt::format("{} cannot be started, with a stack of {} bytes", whose, stack_bytes);
  if (const std::string beyond = beyond_address_limit(stack_bytes); !beyond.empty())
    return fail_errno(os_error, what + ": " + beyond,
                      "raise that limit (ulimit -v), or have smaller stacks (ulimit -s)")
        .error();
  return fail_errno(os_error, what, "raise the limit of processes (ulimit -u; pids.max of the control group)").error();
}

}  // namespace pollux::vfio
