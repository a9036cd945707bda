# Sourced by ./coldtrail and scripts/run with $root set: does the set-up when it is due and leaves in $node a Node that
# is new enough. POSIX sh; prints on standard error only, so that --json output stays clean.

runs_coldtrail() { # PATH-TO-NODE: exists, starts, and is new enough
  version=$("$1" --version 2>/dev/null) || return 1
  version=${version#v}
  [ "${version%%.*}" -ge 24 ] 2>/dev/null
}

# A clone has src/ and sets itself up from the lock file; the published package has dist/ and was set up by npm.
if [ -d "$root/src" ] && ! cmp -s "$root/package-lock.json" "$root/node_modules/.coldtrail-setup"; then
  if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
    echo 'coldtrail: Node.js and npm are needed for the set-up and were not found. (E_SETUP_NODE)' >&2
    echo '  hint: install Node.js 20 or later with npm; the newer runtime that Coldtrail needs then comes by itself.' >&2
    exit 1
  fi
  node "$root/scripts/setup.mjs" "$@" </dev/null || exit $?
fi

node=
for candidate in "$(command -v node)" "$root"/node_modules/node-*/bin/node "$root"/../node-*/bin/node; do
  if [ -n "$candidate" ] && runs_coldtrail "$candidate"; then
    node=$candidate
    break
  fi
done
if [ -z "$node" ]; then
  echo "coldtrail: needs Node.js 24 or later; found $(node --version 2>/dev/null || echo none), and the" \
    "package that brings one has none for $(uname -s) $(uname -m). (E_SETUP_NODE)" >&2
  echo '  hint: install Node.js 24 or later and run the same command again.' >&2
  exit 1
fi

# Compiled code is kept between starts: half the time of a short command. Where this cannot be written nothing is kept.
NODE_COMPILE_CACHE=${NODE_COMPILE_CACHE:-$root/node_modules/.cache/coldtrail}
export NODE_COMPILE_CACHE
