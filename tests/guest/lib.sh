# What the guest tests share; sourced. A test is one script: on the host it boots the guest with itself as the
# command, in the guest it goes on below the line that says so.
# shellcheck shell=bash

build=${POLLUX_BUILD:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/build}
export build pollux=$build/bin/pollux bench=$build/bin/pollux-bench copy=$build/tests/pollux-copy

readonly kWaitSeconds=20    # for a device node to appear, or a message in the kernel's log

die() { echo "FAILED: $*" >&2; exit 1; }

say() { echo "-- $*"; }

# The PCI address of the drive with the serial POLLUXn, by what its controller says: nvmeN numbers vary between boots.
drive() {    # N
  local file
  for file in /sys/class/nvme/*/serial; do
    if [ "$(tr -d ' ' <"$file")" = "POLLUX$1" ]; then
      basename "$(readlink -f "$(dirname "$file")"/device)"
      return
    fi
  done
  die "the kernel's nvme driver has no drive with the serial POLLUX$1"
}

# The block device that the kernel's nvme driver has for a namespace; waits for it, as the kernel finds it some time
# after a bind.
block_device() {    # ADDRESS [NSID]
  local try path
  for ((try = 0; try < kWaitSeconds * 10; try++)); do
    for path in /sys/bus/pci/devices/"$1"/nvme/nvme*/nvme*n*; do    # numbered in order, which is not by their NSID
      if [ -b "/dev/$(basename "$path")" ] && [ "$(<"$path"/nsid)" = "${2:-1}" ]; then
        echo "/dev/$(basename "$path")"
        return
      fi
    done
    sleep 0.1
  done
  die "the kernel has no block device for namespace ${2:-1} of $1 after $kWaitSeconds s"
}

driver_of() { basename "$(readlink "/sys/bus/pci/devices/$1/driver" || echo none)"; }    # ADDRESS

group_of() { basename "$(readlink "/sys/bus/pci/devices/$1/iommu_group" || echo none)"; }    # ADDRESS

# Who drives each NVMe function, and what sysfs has been told about who should: a refused command leaves this as it was.
bindings() {
  local folder address
  for folder in /sys/bus/pci/devices/*; do
    [[ $(<"$folder"/class) == 0x0108* ]] || continue
    address=$(basename "$folder")
    echo "$address driver=$(driver_of "$address") override=$(<"$folder"/driver_override)"
  done
}

expect_driver() {    # ADDRESS DRIVER
  [ "$(driver_of "$1")" = "$2" ] || die "$1 is bound to $(driver_of "$1"), not to $2"
}

# The command must fail, say so in exactly one line that holds every one of the words (extended regular expressions,
# any case), and leave every device bound as it was.
refused() {    # WORD... -- COMMAND...
  local words=() word before message lines rc=0
  while [ "$1" != -- ]; do words+=("$1"); shift; done
  shift
  say "refused: $*"
  before=$(bindings)
  message=$("$@" 2>&1 </dev/null) || rc=$?
  echo "   $message"
  [ $rc -ne 0 ] || die "it ended with 0"
  [ $rc -lt 126 ] || die "it ended with $rc: not found, or a signal"
  lines=$(wc -l <<<"$message")
  [ "$lines" -eq 1 ] || die "$lines lines, not one"
  for word in "${words[@]}"; do
    grep -qiE -- "$word" <<<"$message" || die "the message does not say '$word'"
  done
  [ "$(bindings)" = "$before" ] || die "bindings have changed"$'\n'"before: $before"$'\n'"after: $(bindings)"
}

# Until a process has the node of a group open, or the device's own where the kernel has iommufd.
wait_until_open() {    # PID NODE
  local try
  for ((try = 0; try < kWaitSeconds * 10; try++)); do
    ! find "/proc/$1/fd" '(' -lname "$2" -o -lname '/dev/vfio/devices/*' ')' 2>/dev/null | grep -q . || return 0
    sleep 0.1
  done
  die "process $1 has not opened $2 after $kWaitSeconds s"
}

# Two seconds of a random mix, all of which is verified; the options take the place of those here.
verified_mix() {    # ADDRESS [OPTION...]
  "$bench" --name=mix --filename="$1" --rw=randrw --rwmixread=70 --bs=4k --iodepth=32 --size=8M --verify=crc32c \
    --time_based --runtime=2 "${@:2}" | tee "$TMPDIR"/mix
  grep -qE '[1-9][0-9]* reads checked in the mix' "$TMPDIR"/mix || die "no read of the mix was checked"
  grep -q 'mismatches: 0$' "$TMPDIR"/mix || die "there is no word on mismatches"
}

# What the driver of the IOMMU, VT-d, virtio or AMD, has logged of devices that reached for memory that is not mapped.
# QEMU's NVMe answers success for such a DMA: nobody else tells.
dma_faults() {
  local log
  log=$(dmesg) || die "the kernel's log cannot be read"
  [ -n "$log" ] || die "the kernel's log is empty"
  grep -E 'DMAR:.*fault|virtio_iommu.*fault from EP|AMD-Vi:.*IO_PAGE_FAULT' <<<"$log" || true
}

no_dma_faults() {
  local faults
  faults=$(dma_faults)
  [ -z "$faults" ] || die "the IOMMU saw the device reach for memory that is not mapped:"$'\n'"$faults"
}

# Runs a command as a user without any privilege, from a copy that such a user can read.
readonly kUser=1000
as_user() {    # COMMAND...
  local program
  program=/run/tmp/as-user-$(basename "$1")
  [ -e "$program" ] || install -m 755 "$1" "$program"
  shift
  setpriv --reuid=$kUser --regid=$kUser --clear-groups --inh-caps=-all --bounding-set=-all -- "$program" "$@"
}

# As that user, who may lock 4 KiB.
limited() { (ulimit -l 4; as_user "$@"); }    # COMMAND...

# Runs the tests of the kernel's own with a tag.
kernel_tests() {    # ADDRESS TAGS
  POLLUX_TEST_DEVICE=$1 "$build"/tests/test-kernel "$2" --durations yes
}
