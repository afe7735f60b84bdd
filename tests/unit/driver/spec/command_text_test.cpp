// What a person reads of an admin command that went wrong.
#include "pollux/driver/spec/command_text.hpp"

#include <catch2/catch.hpp>

namespace pollux::nvme::test {
namespace {

std::string text_of(unsigned opcode, std::uint32_t cdw10) {
  Command command;
  command.cdw0 = opcode;
  command.cdw10 = cdw10;
  return admin_command_text(command);
}

TEST_CASE("an admin command is named as the specification does, with what tells its uses apart") {
  CHECK(text_of(0x06, 0x0000'0003) == "Identify (06h, CNS 03h)");
  CHECK(text_of(0x06, 0x0001'0014) == "Identify (06h, CNS 14h)");
  CHECK(text_of(0x09, 0x8000'0007) == "Set Features (09h, FID 07h)");
  CHECK(text_of(0x0a, 0x0b) == "Get Features (0Ah, FID 0Bh)");
  CHECK(text_of(0x02, 0x007f'0002) == "Get Log Page (02h, LID 02h)");
  CHECK(text_of(0x05, 0x001f'0001) == "Create I/O Completion Queue (05h)");
  CHECK(text_of(0x80, 0) == "Format NVM (80h)");
}

TEST_CASE("an admin command without a name, as a vendor's own, is told by its number") {
  CHECK(text_of(0xc1, 0) == "admin command C1h");
}

}  // namespace
}  // namespace pollux::nvme::test
