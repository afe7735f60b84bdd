// A Space on a FakeIoAddressSpace, with a device attached or not yet.
#pragma once

#include <catch2/catch.hpp>
#include <memory>

#include "fake_io_address_space.hpp"
#include "pollux/dma/space.hpp"

namespace pollux::dma::test {

inline const vfio::Address kDeviceAddress{.text = "fake:1", .scheme = "fake", .target = "1", .nsid = {}};

struct SpaceFixture {
  SpaceFixture() {
    auto made = std::make_unique<FakeIoAddressSpace>();
    io = made.get();
    space = Space::create(std::move(made));
  }

  void attach() {
    auto attached = space->attach(kDeviceAddress);
    REQUIRE(attached);
    device = std::move(*attached);
  }

  FakeIoAddressSpace* io;  // owned by the space
  std::shared_ptr<Space> space;
  std::unique_ptr<vfio::Device> device;
};

// A Space whose device is attached: what most tests want.
struct AttachedFixture : SpaceFixture {
  AttachedFixture() { attach(); }
};

}  // namespace pollux::dma::test
