// An I/O queue pair, made by hand so that its interrupt can be chosen and its completions left alone.
#pragma once

#include "pollux/driver/queue_memory.hpp"
#include "test_device.hpp"

namespace pollux::conformance {

inline constexpr std::uint32_t kQueueEntries = 8;

class Queue {
 public:
  Queue(Drive& drive, const Namespace& ns, std::optional<std::uint16_t> vector)
      : controller_(drive.controller()),
        ns_(ns),
        memory_(*nvme::QueueMemory::allocate(*drive.space(), kQueueEntries, kQueueEntries - 1, 1)),
        buffer_(*drive.allocate(kPage)),
        id_(*controller_.take_queue_id()),
        doorbells_(*controller_.doorbells(id_)),
        pair_(memory_.make_queue(doorbells_.submission, doorbells_.completion)) {
    const auto made =
        controller_.create_queue({id_, kQueueEntries, memory_.submissions_iova(), memory_.completions_iova(), vector});
    if (!made) FAIL(made.error().message());
  }
  ~Queue() { controller_.release_queue(id_); }
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  // Reads one block, or writes it, without looking for the completion.
  void submit(Request& request, nvme::IoOpcode opcode = nvme::IoOpcode::read) {
    REQUIRE(pair_.submit(Request::done, &request, 0, [&](nvme::Command& slot, std::uint16_t) {
      slot = {};
      slot.cdw0 = static_cast<std::uint32_t>(opcode);
      slot.nsid = ns_.nsid;
      slot.prp1 = buffer_.slice().iova;
    }));
    pair_.ring();
  }
  void poll() { pair_.poll(kQueueEntries); }
  bool finish(const Request& request) {
    const Deadline deadline;
    while (request.answers == 0 && !deadline.passed()) poll();
    return request.answers == 1 && request.status.ok();
  }

 private:
  nvme::Controller& controller_;
  Namespace ns_;
  nvme::QueueMemory memory_;
  dma::Buffer buffer_;
  std::uint16_t id_;
  nvme::Doorbells doorbells_;
  nvme::QueuePair pair_;
};

}  // namespace pollux::conformance
