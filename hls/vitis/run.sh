#!/bin/sh
# One step of the Vitis HLS flow with whichever tool is on PATH.
#
#   hls/vitis/run.sh csim|csynth|cosim|export [GOLDEN_FOLDER...]
#
# CMAMBA_BUILD is the build of the accelerator, a folder of hls/build: "default" if it is not set.
# vitis_hls (2022.2 to 2024.1) runs run.tcl; v++ and vitis-run (2023.1 or later) work from hls_config.cfg.in.
# Without folders, csim takes all of build/golden and cosim, since RTL simulation is slow, the smallest.
set -eu

step=$1
shift
root=$(cd "$(dirname "$0")/../.." && pwd)
name=${CMAMBA_BUILD:-default}
headers=$root/hls/build/$name
build=$root/build/vitis/$name
reports=$root/build/reports

if [ ! -f "$headers/config.h" ]; then
  echo "$step: $headers/config.h does not exist; CMAMBA_BUILD is one of" \
    $(ls "$root/hls/build") >&2
  exit 1
fi

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

if [ "$tool" = vitis_hls ]; then
  CMAMBA_STEP=$step CMAMBA_BUILD=$name CMAMBA_GOLDEN=$golden exec vitis_hls -f "$root/hls/vitis/run.tcl"
fi

config=$build/hls_config.cfg
work=$build/hls_component
sed -e "s|@ROOT@|$root|g" -e "s|@HEADERS@|$headers|g" -e "s|@BUILD@|$build|g" -e "s|@GOLDEN@|$golden|g" \
  -e "s|@SYN_FILES@|$(printf 'syn.file=%s\\n' "$root"/hls/src/*.cpp)|" \
  -e "s|@TB_FILES@|$(printf 'tb.file=%s\\n' "$root"/hls/tb/*.cpp)|" \
  "$root/hls/vitis/hls_config.cfg.in" >"$config.tmp"
mv "$config.tmp" "$config"

case $step in
  csim) vitis-run --mode hls --csim --config "$config" --work_dir "$work" ;;
  csynth) v++ -c --mode hls --config "$config" --work_dir "$work" ;;
  cosim) vitis-run --mode hls --cosim --config "$config" --work_dir "$work" ;;
  export) vitis-run --mode hls --package --config "$config" --work_dir "$work" ;;
  *)
    echo "run.sh: step is \"$step\", expected csim, csynth, cosim or export" >&2
    exit 1
    ;;
esac
find "$work" \( -name '*.rpt' -o -name '*csynth.xml' \) -path '*/report/*' -exec cp {} "$reports" \;
