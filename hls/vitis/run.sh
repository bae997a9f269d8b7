#!/bin/sh
# One step of the Vitis HLS flow with whichever tool is on PATH.
#
#   hls/vitis/run.sh csim|csynth|cosim|export [GOLDEN_FOLDER...]
#
# CMAMBA_BUILD is the build of the accelerator, a folder of hls/build: "default" if it is not set.
# With CMAMBA_FLOW=syn or impl, export lets Vivado synthesize the core, or place and route it as well.
# vitis_hls (2022.2 to 2024.1) runs run.tcl; v++ and vitis-run (2023.1 or later) work from hls_config.cfg.in.
# csynth fails where a loop misses its II or the clock is not met.
# Without folders, csim takes all of build/golden and cosim, since RTL simulation is slow, the smallest.
set -eu

step=$1
shift
root=$(cd "$(dirname "$0")/../.." && pwd)
name=${CMAMBA_BUILD:-default}
flow=${CMAMBA_FLOW:-}
headers=$root/hls/build/$name
build=$root/build/vitis/$name
reports=$root/build/reports

if [ ! -f "$headers/config.h" ]; then
  echo "$step: $headers/config.h does not exist; CMAMBA_BUILD is one of" \
    $(ls "$root/hls/build") >&2
  exit 1
fi

case $flow in
  '' | syn | impl) ;;
  *)
    echo "$step: FLOW is \"$flow\", expected syn or impl" >&2
    exit 2
    ;;
esac

if command -v vitis_hls >/dev/null; then
  tool=vitis_hls
elif command -v v++ >/dev/null && command -v vitis-run >/dev/null; then
  tool=v++
else
  echo "$step: neither vitis_hls nor v++ with vitis-run is on PATH; install Vitis 2022.2 or later" \
    "and source its settings64.sh" >&2
  exit 1
fi

# The tools run in build/vitis/BUILD and below: paths have to be absolute.
golden=
if [ "$step" = csim ] || [ "$step" = cosim ]; then
  if [ $# -eq 0 ]; then
    # The largest package first.
    packages=$(ls -S "$root"/build/golden/*/package.bin 2>/dev/null) || {
      echo "$step: no golden packages in $root/build/golden; run \`make golden\` first" >&2
      exit 1
    }
    [ "$step" = csim ] || packages=$(echo "$packages" | tail -n 1)
    for package in $packages; do
      set -- "$@" "$(dirname "$package")"
    done
  fi
  for folder in "$@"; do
    golden="$golden $(realpath -m "$folder")"
  done
  golden=${golden# }
fi

mkdir -p "$build" "$reports"
cd "$build"

# What Vivado made of an earlier core may not look like a result of this one.
case $step in
  csynth | export)
    rm -f "$reports"/cmamba_top_*_synth.rpt "$reports"/cmamba_top_*_routed.rpt
    rm -rf csynth/solution/impl/verilog/report hls_component/hls/impl/verilog/report
    ;;
esac

# Runs a command, for csynth with a copy of what it says in $log.
log=$reports/csynth.log
run_tool() {
  if [ "$step" != csynth ]; then
    "$@"
    return
  fi
  { "$@" 2>&1 && echo 0 >"$build/status" || echo $? >"$build/status"; } | tee "$log"
  return "$(cat "$build/status")"
}

# Whether csynth has met what the pragmas and the clock ask for: the tool only warns.
check_csynth() {
  awk '
    /\[HLS 200-42\] -- Implementing module/ { module = $NF }
    /\[HLS 200-1470\] Pipelining result/ {
      found = target = final = $0
      sub(/.*Target II = /, "", target); sub(/,.*/, "", target)
      sub(/.*Final II = /, "", final); sub(/,.*/, "", final)
      sub(/.*loop /, "", found)
      if (target != "NA" && target != final) {
        print "csynth: II of loop " found " in " module " is " final ", not " target; failed = 1
      }
    }
    /\[HLS 200-871\]/ { sub(/.*\[HLS 200-871\] /, ""); print "csynth: " module ": " $0; failed = 1 }
    END {
      if (!found) { print "csynth: " FILENAME " says of no loop what its II is"; failed = 1 }
      exit failed
    }' "$log" >&2
}

if [ "$tool" = vitis_hls ]; then
  export CMAMBA_STEP="$step" CMAMBA_BUILD="$name" CMAMBA_GOLDEN="$golden" CMAMBA_FLOW="$flow"
  run_tool vitis_hls -f "$root/hls/vitis/run.tcl"
  [ "$step" != csynth ] || check_csynth
  exit
fi

config=$build/hls_config.cfg
work=$build/hls_component
sed -e "s|@ROOT@|$root|g" -e "s|@HEADERS@|$headers|g" -e "s|@BUILD@|$build|g" -e "s|@GOLDEN@|$golden|g" \
  -e "s|@FLOW@|${flow:-syn}|" \
  -e "s|@SYN_FILES@|$(printf 'syn.file=%s\\n' "$root"/hls/src/*.cpp)|" \
  -e "s|@TB_FILES@|$(printf 'tb.file=%s\\n' "$root"/hls/tb/*.cpp)|" \
  "$root/hls/vitis/hls_config.cfg.in" >"$config.tmp"
mv "$config.tmp" "$config"

case $step in
  csim) vitis-run --mode hls --csim --config "$config" --work_dir "$work" ;;
  csynth) run_tool v++ -c --mode hls --config "$config" --work_dir "$work" ;;
  cosim) vitis-run --mode hls --cosim --config "$config" --work_dir "$work" ;;
  export)
    vitis-run --mode hls --package --config "$config" --work_dir "$work"
    [ -z "$flow" ] || vitis-run --mode hls --impl --config "$config" --work_dir "$work"
    ;;
  *)
    echo "run.sh: step is \"$step\", expected csim, csynth, cosim or export" >&2
    exit 1
    ;;
esac
find "$work" \( -name '*.rpt' -o -name '*csynth.xml' \) -path '*/report/*' -exec cp {} "$reports" \;
[ "$step" != csynth ] || check_csynth
