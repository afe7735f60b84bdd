// Where the controller's interrupts go. Whoever runs a core implements this; the core knows a vector and no more.
// Called by the thread that steps the core, from within step().
#pragma once

#include <cstdint>

namespace pollux::softnvme {

class Interrupts {
 public:
  virtual ~Interrupts() = default;

  // A message, MSI-X or MSI, for `vector`, which is below Config::interrupt_vectors. Everything posted before it can be
  // seen.
  virtual void signal(std::uint16_t vector) = 0;
};

}  // namespace pollux::softnvme
