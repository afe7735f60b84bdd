// What the hostile controller makes of commands: carried out as an honest one would, then answered as the input wants.
#include "hostile_controller.hpp"
#include "pollux/driver/spec/identify.hpp"
#include "pollux/tools/softnvme/core/identity.hpp"

namespace pollux::fuzz {
namespace {

using namespace nvme;

constexpr std::uint64_t kPage = 4096;
constexpr std::uint8_t kEndless = 0xe3;  // from here on every page is a list that goes on

softnvme::Config config() {
  softnvme::Config config;
  config.io_queues = 4;
  config.namespaces = {{1, 512, 1 << 16, nullptr}, {3, 4096, 1 << 16, nullptr}};
  return config;
}

template <typename T>
std::span<const std::byte> bytes_of(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

}  // namespace

void HostileController::fetch(std::uint16_t qid) {
  Ring& ring = queues_[qid].submissions;
  // A round at most: a host that rings on while a command is carried out does so for what it has just put there.
  for (std::uint32_t count = 0; ring.entries != 0 && count < ring.entries && ring.position != ring.doorbell; ++count) {
    if (ring.doorbell >= ring.entries) return;
    const std::byte* const slot = memory(ring.iova + ring.position * sizeof(Command), sizeof(Command));
    if (slot == nullptr) return;
    Command command;
    std::memcpy(&command, slot, sizeof command);
    ring.position = (ring.position + 1) % ring.entries;
    execute(qid, command);
  }
}

void HostileController::execute(std::uint16_t qid, const Command& command) {
  const auto cid = static_cast<std::uint16_t>(cdw0::kCid.of(command.cdw0));
  std::optional<std::uint32_t> dw0 = 0;
  if (qid == 0) dw0 = admin(command);
  if (!dw0) return;
  const std::uint8_t how = honest_ ? 0 : input_.u8();
  if (how == kEndless) endless_ = true;
  if (endless_) distort(command, 3);
  switch (how % 16) {
    case 1:
    case 2:
    case 3:
      distort(command, how);
      break;
    case 4:
      return complete(qid, cid, *dw0, input_.u16());
    case 5:
      return;
    case 6:
      complete(qid, cid, *dw0, 0);
      break;
    case 7:
      complete(qid, input_.u16(), *dw0, 0);
      break;
    case 8:
      return complete(qid, cid, input_.u32(), 0);
    case 9:
      mood_ = static_cast<Mood>(input_.u8() % 6);
      break;
    case 10:
      scribble();
      break;
    case 11:
      return complete(qid, cid ^ 0x1000, *dw0, 0);  // of another generation
    case 12:
      signal(input_.u8() % 5);
      break;
    default:
      break;
  }
  complete(qid, cid, *dw0, 0);
}

std::optional<std::uint32_t> HostileController::admin(const Command& command) {
  switch (static_cast<AdminOpcode>(cdw0::kOpcode.of(command.cdw0))) {
    case AdminOpcode::identify:
      identify(command);
      return 0;
    case AdminOpcode::get_log_page:
      put(command, {});
      return 0;
    case AdminOpcode::set_features:
      return features::kFid.of(command.cdw10) == 7 ? 0x0003'0003 : 0;
    case AdminOpcode::async_event_request:
      event_request_ = static_cast<std::uint16_t>(cdw0::kCid.of(command.cdw0));
      return std::nullopt;
    case AdminOpcode::doorbell_buffer_config:
      shadows_iova_ = command.prp1;
      return 0;
    default:
      create_or_delete(command);
      return 0;
  }
}

void HostileController::create_or_delete(const Command& command) {
  const auto qid = create_queue::kQid.of(command.cdw10);
  if (qid == 0 || qid >= kQueues) return;
  const Ring made{command.prp1, static_cast<std::uint32_t>(create_queue::kQsize.of(command.cdw10)) + 1};
  switch (static_cast<AdminOpcode>(cdw0::kOpcode.of(command.cdw0))) {
    case AdminOpcode::create_cq:
      queues_[qid].completions = made;
      break;
    case AdminOpcode::create_sq:
      queues_[qid].submissions = made;
      break;
    case AdminOpcode::delete_cq:
      queues_[qid].completions = {};
      break;
    case AdminOpcode::delete_sq:
      queues_[qid].submissions = {};
      break;
    default:
      break;
  }
}

void HostileController::identify(const Command& command) {
  static const softnvme::Config kConfig = config();
  switch (static_cast<Cns>(nvme::identify::kCns.of(command.cdw10))) {
    case Cns::controller: {
      IdentifyController page = softnvme::identify_controller(kConfig);
      if ((traits_ & kShadows) != 0) page.oacs |= oacs::kDoorbellBufferConfig;
      return put(command, bytes_of(page));
    }
    case Cns::ns:
      return put(command, bytes_of(softnvme::identify_namespace(kConfig.namespaces[command.nsid == 3 ? 1 : 0])));
    case Cns::active_ns_list: {
      std::array<std::uint32_t, kNsListEntries> list{};
      std::size_t count = 0;
      for (const auto& ns : kConfig.namespaces)
        if (ns.nsid > command.nsid) list[count++] = ns.nsid;
      return put(command, bytes_of(list));
    }
    case Cns::command_set_controller:
      return put(command, bytes_of(softnvme::identify_nvm()));
    default:
      return put(command, {});
  }
}

// Zeros behind what there is. One page at most: the driver asks for no more.
void HostileController::put(const Command& command, std::span<const std::byte> page) {
  std::byte* const into = memory(command.prp1, kPage);
  if (into == nullptr) return;
  std::memset(into, 0, kPage);
  std::ranges::copy(page.first(std::min<std::size_t>(page.size(), kPage)), into);
}

// Changes what was just returned: a few bytes of it, all of it, or to a list of numbers that never ends.
void HostileController::distort(const Command& command, std::uint8_t how) {
  std::byte* const page = memory(command.prp1, kPage);
  if (page == nullptr) return;
  if (how % 16 == 3) {
    for (std::uint32_t i = 0; i < kPage / 4; ++i) {
      const std::uint32_t value = command.nsid + 1 + i * (1 + how / 16);
      std::memcpy(page + i * sizeof value, &value, sizeof value);
    }
    return;
  }
  for (unsigned patches = how % 16 == 2 ? 0 : 1 + how / 16; patches != 0; --patches) {
    const std::uint64_t offset = input_.u16() % kPage;
    const auto bytes = std::as_bytes(input_.bytes(std::min<std::uint64_t>(input_.u8() % 32, kPage - offset)));
    std::ranges::copy(bytes, page + offset);
  }
  if (how % 16 == 2) std::ranges::copy(std::as_bytes(input_.bytes(input_.u16() % (kPage + 1))), page);
}

void HostileController::complete(std::uint16_t qid, std::uint16_t cid, std::uint32_t dw0, std::uint16_t status) {
  Ring& ring = queues_[qid].completions;
  if (ring.entries == 0) return;
  std::byte* const entry = memory(ring.iova + ring.position * sizeof(Completion), sizeof(Completion));
  if (entry == nullptr) return;
  Completion completion;
  completion.dw0 = dw0;
  completion.tail = cqe::kCid.put(cqe::kStatus.put(cqe::kPhase.put(std::uint64_t{0}, ring.phase), status), cid);
  std::memcpy(entry, &completion, sizeof completion);
  ring.position = (ring.position + 1) % ring.entries;
  if (ring.position == 0) ring.phase = !ring.phase;
}

}  // namespace pollux::fuzz
