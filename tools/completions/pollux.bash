# Completes pollux, pollux-bench and softnvme in bash. Commands and options are those that the program's own --help
# names; addresses are those of this machine's NVMe functions.
# shellcheck shell=bash

_pollux_options() {    # PROGRAM [COMMAND]
  "$@" --help 2>/dev/null | grep -oE '^ *(-[a-z],)?--[a-zA-Z][a-zA-Z_-]*=?' | grep -oE -- '--.*' | sort -u
}

_pollux_commands() { pollux --help 2>/dev/null | sed -nE '/^Subcommands:/,/^$/s/^  ([a-z]+) .*/\1/p'; }

_pollux_addresses() {
  local folder
  for folder in /sys/bus/pci/devices/*; do
    case $(cat "$folder"/class 2>/dev/null) in 0x0108*) basename "$folder" ;; esac
  done
}

# Candidates for the word under the cursor. bash ends words at colons and equal signs, and wants what follows the last.
_pollux_offer() {    # WORD CANDIDATES
  local word=$1 broken
  mapfile -t COMPREPLY < <(compgen -W "$2" -- "$word")
  broken=${word%"${word##*[:=]}"}
  COMPREPLY=("${COMPREPLY[@]#"$broken"}")
  [[ ${COMPREPLY[0]-} != *= ]] || compopt -o nospace 2>/dev/null
}

_pollux() {
  local word=${COMP_LINE:0:COMP_POINT} command=${COMP_WORDS[1]-}
  word=${word##* }
  if [ "$COMP_CWORD" -le 1 ]; then
    _pollux_offer "$word" "$(_pollux_commands) --help --version"
  elif [[ $word == -* ]]; then
    _pollux_offer "$word" "$(_pollux_options pollux "$command")"
  elif [ "${COMP_WORDS[COMP_CWORD - 1]}" = --user ]; then
    _pollux_offer "$word" "$(compgen -u)"
  else
    _pollux_offer "$word" "$(_pollux_addresses)"
  fi
}

_pollux_bench() {
  local word=${COMP_LINE:0:COMP_POINT} values
  word=${word##* }
  case $word in
    --filename=*) values="$(_pollux_addresses) soft:size=1GiB" ;;
    --rw=*) values="read write randread randwrite rw randrw" ;;
    --wait=*) values="poll adaptive interrupt monitor" ;;
    --verify=*) values=crc32c ;;
    --output-format=*) values="normal json" ;;
    --continue_on_error=*) values="none read write io all" ;;
    -*) _pollux_offer "$word" "$(_pollux_options pollux-bench)"; return ;;
    *) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;    # a job file
  esac
  _pollux_offer "$word" "$(printf -- "${word%%=*}=%s " $values)"    # shellcheck disable=SC2086,SC2059
}

_softnvme() {
  local word=${COMP_LINE:0:COMP_POINT}
  word=${word##* }
  if [[ $word == -* ]]; then
    _pollux_offer "$word" "$(_pollux_options softnvme)"
  else
    mapfile -t COMPREPLY < <(compgen -f -- "$word")
  fi
}

complete -F _pollux pollux
complete -F _pollux_bench pollux-bench
complete -F _softnvme softnvme
