// The plan: clones, ranges within the namespace, and disjoint parts for jobs that verify.
#include "pollux/bench/plan.hpp"

#include <catch2/catch.hpp>

#include "pollux/driver/block/channel.hpp"

using namespace pollux;
using namespace pollux::bench;

namespace {

Namespace ns_of(std::uint64_t size_bytes, std::uint32_t block = 512, std::uint32_t nsid = 1) {
  Namespace ns;
  ns.nsid = nsid;
  ns.block_size_bytes = block;
  ns.block_count = size_bytes / block;
  return ns;
}

Result<std::vector<PlannedJob>> plan(const std::vector<Job>& jobs, const Namespace& ns) {
  std::vector<PlacedJob> placed;
  for (const Job& job : jobs) placed.push_back({&job, 0, ns, 0});
  return plan_jobs(placed, 1);
}

std::string error_of(const Job& job, const Namespace& ns) {
  const auto planned = plan({job}, ns);
  return planned ? "accepted" : planned.error().message();
}

Job job_of(std::uint64_t offset, std::uint64_t size) {
  Job job;
  job.name = "j";
  job.rw = Pattern::randrw;
  job.offset.value = offset;
  job.size.value = size;
  return job;
}

}  // namespace

TEST_CASE("without a size a job works from its offset to the namespace's end") {
  const auto planned = plan({job_of(1 << 20, 0)}, ns_of(4 << 20));
  REQUIRE(planned);
  CHECK(planned->at(0).loop.offset_bytes == 1 << 20);
  CHECK(planned->at(0).loop.shape.blocks == 3 * 256);
  CHECK(planned->at(0).loop.max_ios == 3 * 256);
}

TEST_CASE("a job waits longer than the driver does, which sends a read again whatever the job's options are") {
  for (const std::uint64_t io_timeout_ms : {100, 30'000}) {
    for (const std::uint64_t reset_ms : {500, 60'000}) {
      Job job = job_of(0, 0);
      job.rw = Pattern::randread;
      job.io_timeout_ns = io_timeout_ms * 1'000'000;
      job.reconnect_ns = 7'000'000'000;
      const PlacedJob placed[] = {{&job, 0, ns_of(4 << 20), reset_ms * 1'000'000}};
      // The contract of ChannelOptions::timeout_ms and Channel::poll(): noticed up to two seconds late, kAbortGraceMs
      // for the Abort, the reset; and so each time that the command is sent.
      const std::uint64_t once_ms = io_timeout_ms + 2'000 + Channel::kAbortGraceMs + reset_ms;
      const auto planned = plan_jobs(placed, 1);
      REQUIRE(planned);
      const std::uint64_t limit_ms = planned->at(0).loop.stall_limit_ns / 1'000'000;
      CHECK(limit_ms > (1 + Channel::kMaxReissues) * once_ms + 7'000);
      CHECK(limit_ms < 10 * (1 + Channel::kMaxReissues) * once_ms + 7'000);
    }
  }
}

TEST_CASE("the direction of errors that a job outlives is the one that was given") {
  Job job = job_of(0, 0);
  job.continue_on_write_error = true;
  const LoopPlan loop = plan({job}, ns_of(4 << 20))->at(0).loop;
  CHECK(loop.continue_on_error[1]);
  CHECK_FALSE(loop.continue_on_error[0]);
}

TEST_CASE("shares are of the namespace, and a size that is no multiple of bs loses its rest") {
  Job job = job_of(0, 10'000);
  job.offset = {50, true};
  const auto planned = plan({job}, ns_of(4 << 20));
  REQUIRE(planned);
  CHECK(planned->at(0).loop.offset_bytes == 2 << 20);
  CHECK(planned->at(0).loop.shape.blocks == 2);
}

TEST_CASE("number_ios and time_based decide how many requests there are") {
  Job job = job_of(0, 1 << 20);
  job.number_ios = 10;
  CHECK(plan({job}, ns_of(4 << 20))->at(0).loop.max_ios == 10);
  job.number_ios = 1000;
  CHECK(plan({job}, ns_of(4 << 20))->at(0).loop.max_ios == 256);
  job.time_based = true;
  CHECK(plan({job}, ns_of(4 << 20))->at(0).loop.max_ios == 1000);
  job.number_ios = 0;
  CHECK(plan({job}, ns_of(4 << 20))->at(0).loop.max_ios == 0);
}

TEST_CASE("clones work on the same range, each with a seed of its own") {
  Job job = job_of(0, 1 << 20);
  job.numjobs = 3;
  const auto planned = plan({job}, ns_of(4 << 20));
  REQUIRE(planned->size() == 3);
  CHECK(planned->at(2).loop.offset_bytes == 0);
  CHECK(planned->at(2).loop.shape.blocks == 256);
  CHECK(planned->at(0).loop.shape.seed != planned->at(1).loop.shape.seed);
}

TEST_CASE("what does not fit the namespace is refused with the nearest value that does") {
  const Namespace ns = ns_of(1 << 20, 4096);
  Job job = job_of(0, 0);
  job.bs = 5120;
  CHECK(error_of(job, ns).ends_with(
      "is not a multiple of the block size of soft:size=1GiB, 4096 bytes: nearest valid value: 4k"));
  job.bs = 7168;
  CHECK(error_of(job, ns).ends_with("nearest valid value: 8k"));
  job.bs = 512;
  CHECK(error_of(job, ns).ends_with("nearest valid value: 4k"));
  CHECK(error_of(job_of(4097, 0), ns).ends_with("nearest valid value: 4k"));
  CHECK(error_of(job_of(1 << 20, 0), ns) ==
        "job \"j\": offset=1M leaves no room for bs=4k on soft:size=1GiB, which has 1048576 bytes: nearest valid "
        "value: 1020k");
  CHECK(error_of(job_of(512 << 10, 600 << 10), ns).ends_with("nearest valid value: 512k"));
  CHECK(error_of(job_of(0, 100), ns).ends_with("size=100 is less than one block of bs=4k: nearest valid value: 4k"));
  CHECK(error_of(job_of(0, 2 << 20), ns).starts_with("job \"j\": size=2M from offset 0 on leaves soft:size=1GiB"));
}

TEST_CASE("clones that verify own disjoint parts of the range") {
  Job job = job_of(1 << 20, 1 << 20);
  job.verify = true;
  job.numjobs = 3;
  const auto planned = plan({job}, ns_of(4 << 20));
  REQUIRE(planned);
  std::uint64_t end = 1 << 20;
  for (const PlannedJob& part : *planned) {
    CHECK(part.loop.offset_bytes >= end);
    CHECK(part.loop.offset_bytes % 512 == 0);
    CHECK(part.loop.shape.blocks >= 85);
    REQUIRE(part.loop.verify);
    CHECK(part.loop.verify->offset_bytes == part.loop.offset_bytes);
    CHECK(part.loop.verify->blocks == part.loop.shape.blocks);
    CHECK(part.loop.verify->job == part.number);
    end = part.loop.offset_bytes + part.loop.shape.blocks * 4096;
  }
  CHECK(end <= 2 << 20);
}

TEST_CASE("sections that verify the same range share it; a part less than a block is refused") {
  Job job = job_of(0, 8192);
  job.verify = true;
  const auto planned = plan({job, job}, ns_of(4 << 20));
  REQUIRE(planned);
  CHECK(planned->at(0).loop.offset_bytes == 0);
  CHECK(planned->at(1).loop.offset_bytes == 4096);
  CHECK(plan({job, job, job}, ns_of(4 << 20)).error().message().ends_with("nearest valid value: size=12k"));
}

TEST_CASE("nobody else may write what a job verifies; reading it is allowed, and so is another namespace") {
  Job owner = job_of(0, 1 << 20), other = job_of(512 << 10, 1 << 20);
  owner.verify = true;
  owner.name = "owner";
  other.name = "other";
  const auto refused = plan({owner, other}, ns_of(4 << 20));
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message() ==
        "job \"owner\": verify=crc32c wants its blocks for itself, and job \"other\" writes bytes 524288 to 1048575 of "
        "them: "
        "nearest valid value: offset=1M for one of the two");
  other.rw = Pattern::randread;
  CHECK(plan({owner, other}, ns_of(4 << 20)));
  other.rw = Pattern::write;
  const PlacedJob apart[] = {{&owner, 0, ns_of(4 << 20, 512, 1), 0, 0}, {&other, 0, ns_of(4 << 20, 512, 2), 0, 1}};
  CHECK(plan_jobs(apart, 1));
  other.filename = "0000:02:00.0";
  const PlacedJob shared[] = {{&owner, 0, ns_of(4 << 20), 0, 0}, {&other, 1, ns_of(4 << 20), 0, 0}};
  const auto through_another = plan_jobs(shared, 1);
  REQUIRE_FALSE(through_another);
  CHECK(through_another.error().message().contains(
      "job \"other\" (through 0000:02:00.0, the same namespace) writes bytes 524288 to 1048575 of them"));
}
