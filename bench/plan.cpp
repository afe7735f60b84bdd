#include "pollux/bench/plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "pollux/bench/random.hpp"
#include "pollux/bench/values.hpp"
#include "pollux/driver/block/channel.hpp"

namespace pollux::bench {
namespace {

struct Range {
  std::uint64_t first;
  std::uint64_t bytes;

  std::uint64_t end() const { return first + bytes; }
  bool overlaps(const Range& other) const { return first < other.end() && other.first < end(); }
  friend bool operator==(const Range&, const Range&) = default;
};

std::unexpected<Error> job_error(const Job& job, const std::string& what, const std::string& advice) {
  return fail(fmt::format("job \"{}\": {}", job.name, what), advice);
}

std::uint64_t round_down(std::uint64_t value, std::uint64_t unit) { return value / unit * unit; }

std::uint64_t resolve(const Extent& extent, const Namespace& ns) {
  if (!extent.percent) return extent.value;
  // In two parts, so that the product stays within 64 bits.
  const std::uint64_t size = ns.size_bytes();
  return round_down(size / 100 * extent.value + size % 100 * extent.value / 100, ns.block_size_bytes);
}

Result<Range> range_of(const Job& job, const Namespace& ns) {
  const std::uint64_t block = ns.block_size_bytes;
  if (job.bs % block != 0) {
    return job_error(
        job,
        fmt::format("bs={} is not a multiple of the block size of {}, {} bytes", size_text(job.bs), job.filename,
                    block),
        fmt::format("nearest valid value: {}", size_text(std::max(round_down(job.bs + block / 2, block), block))));
  }
  const std::uint64_t total = ns.size_bytes();
  const std::uint64_t first = resolve(job.offset, ns);
  if (first % block != 0) {
    return job_error(job,
                     fmt::format("offset={} is not a multiple of the block size of {}, {} bytes", size_text(first),
                                 job.filename, block),
                     fmt::format("nearest valid value: {}", size_text(round_down(first, block))));
  }
  if (first >= total || total - first < job.bs) {
    const std::uint64_t last = total < job.bs ? 0 : round_down(total - job.bs, block);
    return job_error(job,
                     fmt::format("offset={} leaves no room for bs={} on {}, which has {} bytes", size_text(first),
                                 size_text(job.bs), job.filename, total),
                     total < job.bs ? fmt::format("nearest valid value: bs={}", size_text(total))
                                    : fmt::format("nearest valid value: {}", size_text(last)));
  }
  const std::uint64_t wanted = resolve(job.size, ns);
  const std::uint64_t bytes = wanted == 0 ? total - first : wanted;
  if (bytes > total - first) {
    return job_error(job,
                     fmt::format("size={} from offset {} on leaves {}, which has {} bytes", size_text(bytes), first,
                                 job.filename, total),
                     fmt::format("nearest valid value: {}", size_text(total - first)));
  }
  if (bytes < job.bs) {
    return job_error(job, fmt::format("size={} is less than one block of bs={}", size_text(bytes), size_text(job.bs)),
                     fmt::format("nearest valid value: {}", size_text(job.bs)));
  }
  return Range{first, bytes};
}

struct Clone {
  std::size_t job;  // in `placed`
  Range range;
};

bool same_place(const PlacedJob& a, const PlacedJob& b) { return a.place == b.place; }

// Verifying jobs that were given the very same range share it in equal parts; each keeps its order in the file.
Result<void> divide(std::span<const PlacedJob> placed, std::vector<Clone>& clones) {
  std::vector<bool> divided(clones.size(), false);
  for (std::size_t i = 0; i < clones.size(); ++i) {
    const PlacedJob& owner = placed[clones[i].job];
    if (divided[i] || !owner.job->verify) continue;
    std::vector<std::size_t> sharers;
    for (std::size_t k = i; k < clones.size(); ++k) {
      const PlacedJob& other = placed[clones[k].job];
      if (other.job->verify && same_place(owner, other) && clones[k].range == clones[i].range) sharers.push_back(k);
    }
    const Range whole = clones[i].range;
    const std::uint64_t part = round_down(whole.bytes / sharers.size(), owner.ns.block_size_bytes);
    for (std::size_t n = 0; n < sharers.size(); ++n) {
      Clone& clone = clones[sharers[n]];
      const Job& job = *placed[clone.job].job;
      if (part < job.bs) {
        return job_error(job,
                         fmt::format("with verify=crc32c {} jobs own disjoint parts of size={}, and {} bytes are less "
                                     "than one block of bs={}",
                                     sharers.size(), size_text(whole.bytes), part, size_text(job.bs)),
                         fmt::format("nearest valid value: size={}", size_text(job.bs * sharers.size())));
      }
      clone.range = {whole.first + n * part, part};
      divided[sharers[n]] = true;
    }
  }
  return {};
}

Result<void> check_writers(std::span<const PlacedJob> placed, std::span<const Clone> clones) {
  for (std::size_t i = 0; i < clones.size(); ++i) {
    const PlacedJob& owner = placed[clones[i].job];
    if (!owner.job->verify) continue;
    for (std::size_t k = 0; k < clones.size(); ++k) {
      const PlacedJob& other = placed[clones[k].job];
      if (k == i || !may_write(other.job->rw) || !same_place(owner, other)) continue;
      if (!clones[i].range.overlaps(clones[k].range)) continue;
      const std::string through =
          owner.drive == other.drive ? "" : fmt::format(" (through {}, the same namespace)", other.job->filename);
      return job_error(
          *owner.job,
          fmt::format("verify=crc32c wants its blocks for itself, and job \"{}\"{} writes bytes {} to {} of them",
                      other.job->name, through, std::max(clones[i].range.first, clones[k].range.first),
                      std::min(clones[i].range.end(), clones[k].range.end()) - 1),
          fmt::format("nearest valid value: offset={} for one of the two", size_text(clones[i].range.end())));
    }
  }
  return {};
}

// Longer than the driver takes to answer. It sends a read again after each of kMaxReissues resets, and a write where it
// is asked to. Each time it may take the command's deadline, noticed up to two seconds late, kAbortGraceMs for its
// Abort and a reset; kSlack is for all but what CAP.TO gives the controller.
std::uint64_t stall_limit_ns(const PlacedJob& placed) {
  constexpr std::uint64_t kSlackNs = 10ull * 1'000'000'000;
  constexpr std::uint64_t kTimesSent = 1 + Channel::kMaxReissues;
  return kTimesSent * (placed.job->io_timeout_ns + kSlackNs + placed.reset_ns) + placed.job->reconnect_ns;
}

LoopPlan loop_plan(const PlacedJob& placed, const Range& range, std::uint32_t number, std::uint64_t run) {
  const Job& job = *placed.job;
  LoopPlan plan;
  plan.shape = {.pattern = job.rw,
                .blocks = range.bytes / job.bs,
                .rwmixread = static_cast<unsigned>(job.rwmixread),
                .norandommap = job.norandommap,
                .seed = mix(mix(job.randseed) + number)};
  plan.offset_bytes = range.first;
  plan.block_bytes = job.bs;
  plan.stall_limit_ns = stall_limit_ns(placed);
  plan.continue_on_error[0] = job.continue_on_read_error;
  plan.continue_on_error[1] = job.continue_on_write_error;
  plan.max_ios = job.time_based ? 0 : plan.shape.blocks;
  if (job.number_ios != 0) plan.max_ios = plan.max_ios == 0 ? job.number_ios : std::min(plan.max_ios, job.number_ios);
  plan.runtime_ns = job.runtime_ns;
  plan.ramp_time_ns = job.ramp_time_ns;
  if (job.verify) {
    plan.verify = VerifyScope{.run = run,
                              .job = number,
                              .offset_bytes = range.first,
                              .block_bytes = static_cast<std::uint32_t>(job.bs),
                              .blocks = plan.shape.blocks};
  }
  return plan;
}

}  // namespace

Result<std::vector<PlannedJob>> plan_jobs(std::span<const PlacedJob> placed, std::uint64_t run) {
  std::vector<Clone> clones;
  for (std::size_t i = 0; i < placed.size(); ++i) {
    const auto range = range_of(*placed[i].job, placed[i].ns);
    if (!range) return std::unexpected(range.error());
    if (clones.size() + placed[i].job->numjobs > kMaxJobs) {
      return job_error(*placed[i].job,
                       fmt::format("numjobs={} makes more than {} jobs", placed[i].job->numjobs, kMaxJobs),
                       fmt::format("nearest valid value: {}", kMaxJobs - clones.size()));
    }
    clones.insert(clones.end(), placed[i].job->numjobs, Clone{i, *range});
  }
  if (auto divided = divide(placed, clones); !divided) return std::unexpected(divided.error());
  if (auto checked = check_writers(placed, clones); !checked) return std::unexpected(checked.error());

  std::vector<PlannedJob> planned;
  for (const Clone& clone : clones) {
    const PlacedJob& place = placed[clone.job];
    const auto number = static_cast<std::uint32_t>(planned.size());
    planned.push_back({place.job, place.drive, place.ns, number, loop_plan(place, clone.range, number, run)});
  }
  return planned;
}

}  // namespace pollux::bench
