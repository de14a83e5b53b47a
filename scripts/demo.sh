#!/usr/bin/env bash
# Shows FlameBox at work on this machine: a real Debian image, from a real registry, in a machine of its own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PATH:/usr/sbin:/sbin:$HOME/.cargo/bin"

step() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[[ -t 1 ]] || step() { printf '\n%s\n' "$*"; }
fail() {
  printf 'demo: %s\n' "$*" >&2
  exit 1
}

work=$(mktemp -d "${TMPDIR:-/tmp}/flamebox-demo.XXXXXXXX")
registry_pid="" server_pid=""
finish() {
  local status=$?
  trap - EXIT INT TERM
  # The machine before the registry. FlameBox hands the signal to the server inside, which ends; should it
  # not, FlameBox is killed, and its machine with it.
  for pid in $server_pid $registry_pid; do
    kill "$pid" 2>/dev/null || continue
    (sleep 20 && kill -KILL "$pid") >/dev/null 2>&1 &
    local watchdog=$!
    wait "$pid" 2>/dev/null || true
    kill "$watchdog" 2>/dev/null || true
    wait "$watchdog" 2>/dev/null || true
  done
  rm -rf "$work"
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

free_port() {
  node -e 'const s = require("node:net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close(); })'
}

# Asks until there is an answer or the process $2 has ended: wait_for URL PID SECONDS
wait_for() {
  node -e '
    const [url, pid, seconds] = process.argv.slice(1);
    const end = Date.now() + seconds * 1000;
    (async () => {
      for (;;) {
        try {
          const answer = await fetch(url, { signal: AbortSignal.timeout(5000) });
          const text = await answer.text();
          if (answer.ok) return console.log(text.trimEnd());
        } catch {}
        try { process.kill(Number(pid), 0); } catch { process.exit(1); }
        if (Date.now() > end) process.exit(1);
        await new Promise((resolve) => setTimeout(resolve, 250));
      }
    })();' "$@"
}

start_registry() {
  # Another process may take the port between its choice and its use; then the next one is tried.
  local try
  for try in 1 2 3; do
    port=$(free_port)
    cat >"$work/registry.json" <<END
{ "version": "0.1", "log": { "level": "error", "accesslog": { "disabled": true } },
  "storage": { "filesystem": { "rootdirectory": "$work/registry" } },
  "http": { "addr": "127.0.0.1:$port", "secret": "demo" } }
END
    docker-registry serve "$work/registry.json" >"$work/registry.log" 2>&1 &
    registry_pid=$!
    if wait_for "http://127.0.0.1:$port/v2/" "$registry_pid" 30 >/dev/null; then return; fi
    kill "$registry_pid" 2>/dev/null || true
  done
  cat "$work/registry.log" >&2
  fail "the registry did not start"
}

flamebox() { node dist/cli/main.js "$@"; }

step "1. What FlameBox needs: QEMU and passt, npm packages, the guest, a kernel (only what is missing)"
bash scripts/setup.sh --demo

step "2. A Debian 12 image with Python, made from Debian's packages (kept for the next time)"
bash scripts/debian-image.sh .cache/images/debian
echo "  $(du -sh .cache/images/debian | cut -f1) in .cache/images/debian"

step "3. A registry on a free loopback port, with that image in it"
start_registry
image=127.0.0.1:$port/demo/debian:12
skopeo --insecure-policy copy -q --dest-tls-verify=false oci:.cache/images/debian:12 "docker://$image"
echo "  $image"

step "4. flamebox run $image uname -r"
echo "  this machine's kernel: $(uname -r)"
guest_kernel=$(flamebox run "$image" uname -r)
echo "  the guest's kernel:    $guest_kernel"

step "5. flamebox run $image python3 …"
flamebox run --quiet -i "$image" python3 - <<'END'
import os, platform
release = dict(line.rstrip().replace('"', "").split("=", 1) for line in open("/etc/os-release") if "=" in line)
print("  I am", release["PRETTY_NAME"], "on Linux", platform.release(), "with process id", os.getpid())
digits, state = "", (1, 0, 1, 1, 3, 3)
while len(digits) < 40:
    q, r, t, k, n, l = state
    if 4 * q + r - t < n * t:
        digits += str(n)
        state = 10 * q, 10 * (r - n * t), t, k, 10 * (3 * q + r) // t - 10 * n, l
    else:
        state = q * k, (2 * q + r) * l, t * l, k + 1, (q * (7 * k + 2) + r * l) // (t * l), l + 2
print("  the first 40 digits of pi:", digits)
END

step "6. An HTTP server in the guest, asked through a published port"
web_port=$(free_port)
cat >"$work/server.py" <<'END'
import http.server, platform, signal, sys
# A container's first process ends on SIGTERM only if it says so.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"hello from a machine of its own, Linux {platform.release()}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
http.server.HTTPServer(("", 8000), Answer).serve_forever()
END
echo "  flamebox run -p $web_port:8000 $image python3 …   and then   GET http://127.0.0.1:$web_port/"
node dist/cli/main.js run --quiet -i -p "$web_port:8000" "$image" python3 - <"$work/server.py" >"$work/server.log" 2>&1 &
server_pid=$!
answer=$(wait_for "http://127.0.0.1:$web_port/" "$server_pid" 120) || {
  cat "$work/server.log" >&2
  fail "the server in the guest did not answer"
}
echo "  $answer"

step "Done. Yours now: node dist/cli/main.js run IMAGE [COMMAND…]   (and: node dist/cli/main.js doctor)"
