// Completions as a controller likes to write them, for a queue pair and a shared one: any bytes in any entry of the
// ring, beside honest ones. Each accepted command is answered once and no more, and a poll answers at most its limit.
// Rings and records lie on the heap, each in a piece of its own, so that the sanitizer sees a step beside them.
#include <vector>

#include "../unit/driver/raw_queue.hpp"
#include "../unit/driver/raw_shared_queue.hpp"
#include "input.hpp"

using namespace pollux;
using namespace pollux::nvme;
using fuzz::must;

namespace {

constexpr std::size_t kMostCommands = 256;

// A command that was accepted, and how often it was answered.
struct Told {
  unsigned answers = 0;
  static void take(void* context, Status) noexcept {
    must(++static_cast<Told*>(context)->answers == 1, "a command is answered once");
  }
};

template <typename Queue>
bool submit(Queue& queue, std::vector<Told>& told) {
  if (told.size() == kMostCommands) return false;
  Told& one = told.emplace_back();
  const bool taken = queue.pair().submit(Told::take, &one, 0, [](Command& slot, std::uint16_t) { slot = {}; });
  if (!taken) told.pop_back();
  return taken;
}

void end(QueuePair& pair) { pair.fail_all(); }
void end(SharedQueuePair& pair) { pair.fail_all(Status::from(StatusCode::aborted_by_host)); }

// What only the pair with one owner can: a reset, over which its commands are kept and sent again.
void reset(RawQueue& queue, bool keep) {
  queue.pair().note_unrung();
  queue.pair().fail_unless([&](const Request& request) { return keep && request.reissues < 3; });
  queue.restart();
  queue.pair().reissue(1, 0);
}
void reset(RawSharedQueue&, bool) {}

template <typename Queue>
void play(Queue& queue, fuzz::Input& input) {
  std::vector<Told> told;
  told.reserve(kMostCommands);  // their addresses are contexts
  std::vector<std::uint16_t> fetched;
  while (!input.at_end()) {
    const std::uint8_t action = input.u8();
    switch (action % 8) {
      case 0:
        submit(queue, told);
        break;
      case 1:
        while (const auto command = queue.fetch()) fetched.push_back(Queue::cid_of(*command));
        break;
      case 2:  // an honest completion
        if (fetched.empty()) break;
        queue.post(fetched.back(), input.u16());
        fetched.pop_back();
        break;
      case 3:  // of any command, or none
        queue.post(input.u16(), input.u16());
        break;
      case 4: {  // of a command that there is, or was, and may stay
        if (fetched.empty()) break;
        const std::uint16_t cid = fetched[input.u8() % fetched.size()];
        queue.post(static_cast<std::uint16_t>(cid ^ (action & 0x80) << 8));
        break;
      }
      case 5: {  // any bytes anywhere in the ring
        const std::span<Completion> ring = queue.completions();
        Completion& entry = ring[input.u8() % ring.size()];
        entry.dw0 = input.u32();
        entry.tail = input.u64();
        break;
      }
      case 6: {
        const unsigned limit = input.u8();
        must(queue.pair().poll(limit) <= limit, "a poll answers at most its limit");
        break;
      }
      case 7:
        if ((action & 0x40) != 0) reset(queue, (action & 0x80) != 0);
        queue.pair().ring();
        break;
    }
    must(queue.pair().in_flight() <= queue.pair().depth(), "no more in flight than the queue takes");
  }
  end(queue.pair());
  must(queue.pair().in_flight() == 0, "nothing is left in flight");
  for (const Told& one : told) must(one.answers == 1, "every command is answered");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input(data, size);
  const std::uint8_t shape = input.u8();
  const std::uint32_t entries = 2u << (shape >> 1 & 7);  // 2 to 256
  const std::uint32_t depth = std::min<std::uint32_t>(1 + input.u8(), entries - 1);
  if ((shape & 1) == 0) {
    RawQueue queue(entries, depth);
    play(queue, input);
  } else {
    RawSharedQueue queue(entries, depth);
    play(queue, input);
  }
  return 0;
}
