#include "pollux/driver/spec/command_text.hpp"

#include <fmt/format.h>

namespace pollux::nvme {
namespace {

const char* name_of(AdminOpcode opcode) {
  switch (opcode) {
    case AdminOpcode::delete_sq:
      return "Delete I/O Submission Queue";
    case AdminOpcode::create_sq:
      return "Create I/O Submission Queue";
    case AdminOpcode::get_log_page:
      return "Get Log Page";
    case AdminOpcode::delete_cq:
      return "Delete I/O Completion Queue";
    case AdminOpcode::create_cq:
      return "Create I/O Completion Queue";
    case AdminOpcode::identify:
      return "Identify";
    case AdminOpcode::abort:
      return "Abort";
    case AdminOpcode::set_features:
      return "Set Features";
    case AdminOpcode::get_features:
      return "Get Features";
    case AdminOpcode::async_event_request:
      return "Asynchronous Event Request";
    case AdminOpcode::namespace_management:
      return "Namespace Management";
    case AdminOpcode::firmware_commit:
      return "Firmware Commit";
    case AdminOpcode::namespace_attachment:
      return "Namespace Attachment";
    case AdminOpcode::virtualization_management:
      return "Virtualization Management";
    case AdminOpcode::doorbell_buffer_config:
      return "Doorbell Buffer Config";
    case AdminOpcode::format_nvm:
      return "Format NVM";
    case AdminOpcode::sanitize:
      return "Sanitize";
  }
  return nullptr;
}

// What the command is about, where one opcode has many uses.
std::string detail_of(AdminOpcode opcode, std::uint32_t cdw10) {
  switch (opcode) {
    case AdminOpcode::identify:
      return fmt::format(", CNS {:02X}h", identify::kCns.of(cdw10));
    case AdminOpcode::set_features:
    case AdminOpcode::get_features:
      return fmt::format(", FID {:02X}h", features::kFid.of(cdw10));
    case AdminOpcode::get_log_page:
      return fmt::format(", LID {:02X}h", get_log::kLid.of(cdw10));
    default:
      return {};
  }
}

}  // namespace

std::string admin_command_text(const Command& command) {
  const auto opcode = static_cast<AdminOpcode>(cdw0::kOpcode.of(command.cdw0));
  const char* const name = name_of(opcode);
  if (name == nullptr) return fmt::format("admin command {:02X}h", static_cast<unsigned>(opcode));
  return fmt::format("{} ({:02X}h{})", name, static_cast<unsigned>(opcode), detail_of(opcode, command.cdw10));
}

}  // namespace pollux::nvme
