#include "pollux/vfio/abi/interrupt_set.hpp"

#include <linux/vfio.h>

#include <catch2/catch.hpp>
#include <cerrno>
#include <cstring>

using namespace pollux;
using namespace pollux::vfio;

namespace {

vfio_irq_set head_of(std::span<const std::byte> set) {
  vfio_irq_set head;
  REQUIRE(set.size() >= sizeof head);
  std::memcpy(&head, set.data(), sizeof head);
  return head;
}

std::string refusal(const Result<void>& result) { return result ? "" : result.error().message(); }

constexpr InterruptInfo kFourVectors{.count = 4, .eventfd = true, .noresize = true};

}  // namespace

TEST_CASE("eventfds are packed behind the header, one a vector from 0 on") {
  const int fds[] = {7, -1, 9};
  const auto set = pack_interrupt_set(InterruptIndex::msix, fds);
  const vfio_irq_set head = head_of(set);
  CHECK(set.size() == sizeof head + 3 * sizeof(std::int32_t));
  CHECK(head.argsz == set.size());
  CHECK(head.flags == (VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER));
  CHECK(head.index == VFIO_PCI_MSIX_IRQ_INDEX);
  CHECK(head.start == 0);
  CHECK(head.count == 3);
  std::int32_t packed[3];
  std::memcpy(packed, set.data() + sizeof head, sizeof packed);
  CHECK(std::ranges::equal(packed, fds));
}

TEST_CASE("an empty set turns the interrupts off: no data, a count of 0") {
  const auto set = pack_interrupt_set(InterruptIndex::request, {});
  const vfio_irq_set head = head_of(set);
  CHECK(head.argsz == sizeof head);
  CHECK(set.size() == sizeof head);
  CHECK(head.flags == (VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER));
  CHECK(head.index == VFIO_PCI_REQ_IRQ_INDEX);
  CHECK(head.count == 0);
}

TEST_CASE("as many eventfds as the device has vectors fit, fewer as well, and none fits every device") {
  const int fds[] = {3, 4, 5, -1};
  CHECK(check_eventfds("02:00.0", InterruptIndex::msix, kFourVectors, fds));
  CHECK(check_eventfds("02:00.0", InterruptIndex::msix, kFourVectors, std::span(fds).first(1)));
  CHECK(check_eventfds("02:00.0", InterruptIndex::msi, {}, {}));
}

TEST_CASE("eventfds that do not fit are refused, with the device, the kind and the numbers") {
  const int fds[] = {3, 4, 5, 6, 7};
  const auto more = refusal(check_eventfds("02:00.0", InterruptIndex::msix, kFourVectors, fds));
  CHECK(more == "5 eventfds for the MSI-X interrupts of 02:00.0: it has 4 vectors");
  const auto none = refusal(check_eventfds("02:00.0", InterruptIndex::msi, {}, std::span(fds).first(1)));
  CHECK(none == "02:00.0 has no MSI interrupts");
  const auto deaf = refusal(check_eventfds("02:00.0", InterruptIndex::intx, {.count = 1}, std::span(fds).first(1)));
  CHECK(deaf == "02:00.0 signals no eventfd for its INTx interrupts");
  const int wrong[] = {3, -2};
  const auto negative = refusal(check_eventfds("02:00.0", InterruptIndex::msix, kFourVectors, wrong));
  CHECK(negative.starts_with("-2 is no eventfd for vector 1 of the MSI-X interrupts of 02:00.0"));
}

TEST_CASE("what the kernel answers: 0 is success, a number of vectors is a refusal, an errno comes with advice") {
  const auto answer = [](int returned, int os_error) {
    return interrupt_set_result("02:00.0", InterruptIndex::msix, 9, returned, os_error);
  };
  CHECK(answer(0, EINVAL));  // errno is of an earlier call
  CHECK(refusal(answer(4, 0)) == "the kernel has 4 vectors for the MSI-X interrupts of 02:00.0, not 9: ask for fewer");
  const auto invalid = answer(-1, EINVAL);
  REQUIRE_FALSE(invalid);
  CHECK(invalid.error().os_error == EINVAL);
  CHECK(refusal(invalid).find("interrupts of another kind") != std::string::npos);
  CHECK(refusal(answer(-1, EBADF)).find("not open") != std::string::npos);
  CHECK(refusal(answer(-1, ENOSPC)).find("ENOSPC") != std::string::npos);
}
