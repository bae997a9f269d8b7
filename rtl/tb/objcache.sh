#!/bin/sh
# Runs a compiler command of Verilator's makefiles (their OBJCACHE). Verilator's own library is the
# same for every design and takes longer to compile than most of them, so its objects are kept in
# $VERILATED_CACHE, by command and contents.
set -e
for source; do :; done # the last argument
case $source in
*/include/verilated*.cpp) ;;
*) exec "$@" ;;
esac

object=$(basename "$source" .cpp).o
key=$({ echo "$@"; cat "$source"; } | cksum | cut -d' ' -f1)
kept=$VERILATED_CACHE/$key-$object
if ! [ -e "$kept" ]; then
    "$@"
    cp "$object" "$kept.$$"
    mv "$kept.$$" "$kept"
else
    cp "$kept" "$object"
fi
