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
    ring_register(value);
  }

  // The same in two steps, so that one barrier serves two doorbells. tell() does all but to wake a controller that
  // sleeps; false: that is left to wake(), after a store_load_barrier(). `old`: the value of the last wake(), at first
  // 0.
  bool tell(std::uint32_t value) const noexcept {
    if (shadow_ != nullptr) {
      store_doorbell(shadow_, value);
      if (event_ != nullptr) return false;
    }
    ring_register(value);
    return true;
  }
  void wake(std::uint32_t old, std::uint32_t value) const noexcept {
    if (has_passed_event(old, value)) ring_register(value);
  }

  bool wakes_by_event() const noexcept { return event_ != nullptr; }

 private:
  // Stores the shadow; whether the controller sleeps at a value that was just passed.
  bool wakes(std::uint32_t value) const noexcept {
    const std::uint32_t old = *shadow_;
    store_doorbell(shadow_, value);  // the device reads it as it reads the register
    if (event_ == nullptr) return true;
    store_load_barrier();
    return has_passed_event(old, value);
  }

  // To be asked behind a barrier.
  // Pairs with: the controller's store of the event index before it looks at the shadow once more.
  bool has_passed_event(std::uint32_t old, std::uint32_t value) const noexcept {
    const auto event = static_cast<std::uint16_t>(__atomic_load_n(event_, __ATOMIC_RELAXED));
    const auto now = static_cast<std::uint16_t>(value);
    return static_cast<std::uint16_t>(now - event - 1) <
           static_cast<std::uint16_t>(now - static_cast<std::uint16_t>(old));
  }

  void ring_register(std::uint32_t value) const noexcept {
    if (word_ != nullptr) [[likely]] {
      store_doorbell(word_, value);
    } else {
      write_(context_, value);
    }
  }

  volatile std::uint32_t* word_ = nullptr;
  std::uint32_t* shadow_ = nullptr;
  const std::uint32_t* event_ = nullptr;
  Write write_ = nullptr;
  void* context_ = nullptr;
};

}  // namespace pollux::nvme
