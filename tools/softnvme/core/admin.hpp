// The admin commands. One thread: the one that steps the core. NVMe base 2.0c, 5.
#pragma once

#include "pollux/driver/spec/command.hpp"
#include "pollux/tools/softnvme/core/reply.hpp"
#include "pollux/tools/softnvme/core/state.hpp"

namespace pollux::softnvme {

class AdminCommands {
 public:
  explicit AdminCommands(State& state) : state_(state) {}

  Reply execute(const nvme::Command& command);

 private:
  Reply identify(const nvme::Command& command);
  Reply create_cq(const nvme::Command& command);
  Reply create_sq(const nvme::Command& command);
  Reply delete_sq(const nvme::Command& command);
  Reply delete_cq(const nvme::Command& command);
  Reply get_log_page(const nvme::Command& command);
  Reply get_features(const nvme::Command& command);
  Reply set_features(const nvme::Command& command);
  Reply set_number_of_queues(std::uint32_t cdw11);
  Reply set_temperature_threshold(std::uint32_t cdw11);
  Reply set_host_memory_buffer(const nvme::Command& command);
  Reply check_host_memory_buffer(const HmbAttributes& wanted);
  Reply abort(const nvme::Command& command);
  Reply async_event_request(const nvme::Command& command);
  Reply doorbell_buffer_config(const nvme::Command& command);

  Reply check_new_queue(const nvme::Command& command, const char* kind, bool exists, std::uint32_t granted);
  Reply violate(Rule rule, nvme::StatusCode code, std::string_view what);
  // The answer for a page of data: moved, or why not.
  Reply send(const nvme::Command& command, std::uint64_t length, std::span<const std::byte> data);

  State& state_;
};

}  // namespace pollux::softnvme
