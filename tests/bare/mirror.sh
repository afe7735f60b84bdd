# Where apt takes Debian 12 from on this machine; sourced, after tools/packages.sh.
# shellcheck shell=bash

# apt's sources in one form, whichever of the two it is configured in.
bookworm_sources() {
  # shellcheck disable=SC2016    # apt's own variables
  apt-get indextargets --format 'deb $(SITE) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' |
    grep -E ' bookworm(-updates|-security)? main$' | sort -u
}

bookworm_mirror() {
  local mirror
  mirror=$(bookworm_sources | awk '$3 == "bookworm" {print $2; exit}')
  [ -n "$mirror" ] || { echo "apt has no source for bookworm: run apt-get update" >&2; return 1; }
  echo "$mirror"
}
