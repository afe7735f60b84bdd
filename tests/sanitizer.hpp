// Whether this is a build with AddressSanitizer or ThreadSanitizer. They keep memory that was freed, to notice its use,
// so that a process grows which leaks nothing.
#pragma once

namespace pollux {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kHasSanitizer = true;
#elif defined(__has_feature)
inline constexpr bool kHasSanitizer = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
inline constexpr bool kHasSanitizer = false;
#endif

}  // namespace pollux
