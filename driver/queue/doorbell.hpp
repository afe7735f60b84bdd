// A doorbell as a queue rings it: the controller's register, mapped or written by call where BAR0 cannot be mapped, and
// in front of it a shadow in memory where the controller reads one (Doorbell Buffer Config). With a shadow the register
// is written only if the controller asked to be woken, by its event index. NVMe base 2.0c, 5.8 and B.5.
#pragma once

#include <cstdint>

#include "pollux/driver/queue/barrier.hpp"

namespace pollux::nvme {

class Doorbell {
 public:
  // Writes the register by a call on the device, off the fast path. From the queue's owner.
  using Write = void (*)(void* context, std::uint32_t value) noexcept;

  Doorbell(volatile std::uint32_t* word) noexcept : word_(word) {}  // NOLINT: a mapped word is a doorbell
  Doorbell(Write write, void* context) noexcept : write_(write), context_(context) {}

  // The same with a shadow. Without an event index the register is written all the same, as for the admin queue.
  Doorbell shadowed_by(std::uint32_t* shadow, const std::uint32_t* event) const noexcept {
    Doorbell shadowed = *this;
    shadowed.shadow_ = shadow;
    shadowed.event_ = event;
    return shadowed;
  }

  // Whether a ring that is told here should be long: behind a shadow a ring that comes round to its first entry passes
  // whatever the event index is, "never" too, and the register of this one is a call.
  bool wants_long_ring() const noexcept { return event_ != nullptr && word_ == nullptr; }

  // Publishes `value`, and with it every store before.
  void ring(std::uint32_t value) const noexcept {
    if (shadow_ != nullptr && !wakes(value)) return;
    if (word_ != nullptr) [[likely]] {
      store_doorbell(word_, value);
    } else {
      write_(context_, value);
    }
  }

 private:
  // Stores the shadow; whether the controller sleeps at a value that was just passed.
  bool wakes(std::uint32_t value) const noexcept {
    const auto old = static_cast<std::uint16_t>(*shadow_);
    store_doorbell(shadow_, value);  // the device reads it as it reads the register
    if (event_ == nullptr) return true;
    // Pairs with: the controller's store of the event index before it looks at the shadow once more.
    store_load_barrier();
    const auto event = static_cast<std::uint16_t>(__atomic_load_n(event_, __ATOMIC_RELAXED));
    const auto now = static_cast<std::uint16_t>(value);
    return static_cast<std::uint16_t>(now - event - 1) < static_cast<std::uint16_t>(now - old);
  }

  volatile std::uint32_t* word_ = nullptr;
  std::uint32_t* shadow_ = nullptr;
  const std::uint32_t* event_ = nullptr;
  Write write_ = nullptr;
  void* context_ = nullptr;
};

}  // namespace pollux::nvme
