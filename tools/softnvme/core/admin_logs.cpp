// Get Log Page. NVMe base 2.0c, 5.16.
#include <array>

#include "pollux/tools/softnvme/core/admin.hpp"

namespace pollux::softnvme {

using nvme::StatusCode;

Reply AdminCommands::get_log_page(const nvme::Command& command) {
  namespace get_log = nvme::get_log;
  constexpr std::uint32_t kCdw14Reserved = 0x007f'ff80;  // between the UUID index and the offset type
  state_.expect_zero((command.cdw14 & kCdw14Reserved) | command.cdw15, "CDW14 or CDW15 of Get Log Page");

  const auto lid = static_cast<std::uint8_t>(get_log::kLid.of(command.cdw10));
  const std::uint64_t dwords =
      (get_log::kNumdl.of(command.cdw10) | get_log::kNumdu.of(command.cdw11) << get_log::kNumdl.width) + 1;
  const std::uint64_t length = dwords * 4;
  const std::uint64_t offset = command.cdw12 | std::uint64_t{command.cdw13} << 32;

  std::array<std::byte, kMaxLogBytes> page{};
  const Logs::Conditions now{state_.config.temperature_kelvin,
                             state_.features.critical_warning(state_.config.temperature_kelvin),
                             state_.now_ns - state_.start_ns, state_.config.shadow_doorbells};
  const std::optional<std::size_t> size = state_.logs.fill(lid, now, page);
  if (!size) return refuse(StatusCode::invalid_log_page);
  // Every page here is the controller's, none a namespace's (LPA bit 0 is 0).
  if (command.nsid != 0 && command.nsid != nvme::kNsidAll) return refuse(StatusCode::invalid_field);
  if (length > state_.max_transfer_bytes || kLogOffsetType.of(command.cdw14) != 0 || (offset & 3) != 0 ||
      offset > *size) {
    return refuse(StatusCode::invalid_field);
  }
  const Reply reply = send(command, length, std::span<const std::byte>(page).subspan(offset, *size - offset));
  if (reply.status == 0 && get_log::kRae.of(command.cdw10) == 0) {
    state_.events.log_read(lid);
    if (lid == static_cast<std::uint8_t>(nvme::LogId::changed_ns_list)) state_.logs.forget_namespace_changes();
  }
  return reply;
}

}  // namespace pollux::softnvme
