# What quickstart and check need of Debian 12; sourced.
# shellcheck shell=bash disable=SC2034

kBuildPackages=(g++ cmake ninja-build libfmt-dev libcli11-dev nlohmann-json3-dev libbenchmark-dev)
kTestPackages=(catch2 libnvme-dev pkg-config fio clang-19 clang-format-19 libclang-rt-19-dev llvm-19
  patch qemu-system-x86 busybox-static cpio kmod make xz-utils e2fsprogs nvme-cli pciutils spin valgrind strace binutils
  g++-aarch64-linux-gnu qemu-user man-db mandoc zsh bpftrace)

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    echo "root is needed, and there is no sudo; as root, run: $*" >&2
    return 1
  fi
}

# Installs those of the packages that are missing, with what they depend on; asks apt for nothing where all are there.
install_missing() {    # PACKAGE...
  local missing=() package
  for package in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if ! command -v apt-get >/dev/null; then
    echo "this is not a Debian; install what corresponds to: ${missing[*]}" >&2
    return 1
  fi
  echo "installing ${missing[*]}"
  as_root apt-get -q -o Acquire::Retries=3 -o DPkg::Lock::Timeout=120 update &&
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends -o Acquire::Retries=3 \
      -o DPkg::Lock::Timeout=120 install "${missing[@]}"
}
