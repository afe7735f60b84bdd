// An I/O queue pair, made by hand so that its interrupt can be chosen and its completions left alone.
#pragma once

#include "pollux/driver/controller/queue_memory.hpp"
#include "test_device.hpp"

namespace pollux::conformance {

inline constexpr std::uint32_t kQueueEntries = 8;  // at most

class Queue {
 public:
  Queue(Drive& drive, const Namespace& ns, std::optional<std::uint16_t> vector)
      : controller_(drive.controller()),
        ns_(ns),
        entries_(std::min(kQueueEntries, controller_.max_queue_entries())),
        memory_(*nvme::QueueMemory::allocate(*drive.space(), entries_, entries_ - 1,
                                             std::max(1u, nvme::prp_list_pages(ns.block_size_bytes)))),
        buffer_(*drive.allocate(ns.block_size_bytes)),
        id_(*controller_.take_queue_id()),
        doorbells_(*controller_.doorbells(id_)),
        pair_(memory_.make_queue(doorbells_.submission, doorbells_.completion)) {
    const auto made =
        controller_.create_queue({id_, entries_, memory_.submissions_iova(), memory_.completions_iova(), vector});
    if (!made) FAIL(made.error().message());
  }
  ~Queue() { controller_.release_queue(id_); }
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  // Reads one block, or writes it, without looking for the completion.
  void submit(Request& request, nvme::IoOpcode opcode = nvme::IoOpcode::read) {
    REQUIRE(pair_.submit(Request::done, &request, 0, [&](nvme::Command& slot, std::uint16_t index) {
      slot = {};
      slot.cdw0 = static_cast<std::uint32_t>(opcode);
      slot.nsid = ns_.nsid;
      const auto prps = nvme::build_prps(buffer_.slice().iova, ns_.block_size_bytes, memory_.list(index));
      slot.prp1 = prps.prp1;
      slot.prp2 = prps.prp2;
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
  std::uint32_t entries_;
  nvme::QueueMemory memory_;
  dma::Buffer buffer_;
  std::uint16_t id_;
  nvme::Doorbells doorbells_;
  nvme::QueuePair pair_;
};

}  // namespace pollux::conformance
