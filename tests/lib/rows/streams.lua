--- Standard streams, signals, exit statuses, and races at the end of a command.

local rows = {}

local function add(row)
  rows[#rows + 1] = row
end

add { name = "stdout and stderr are kept apart", command = { "sh", "-c", "echo out; echo err >&2; echo out" } }
add { name = "stdin reaches the command", stdin = "one\ntwo", command = { "cat" } }
add { name = "stdin with any bytes", stdin = "a\0b\xff\r\n\n", command = { "od", "-c" } }
add { name = "stdin ends", command = { "wc", "-c" } }
add { name = "stdin closed", shell = [[exec "$@" exec @ID@ sh -c 'cat; echo $?' <&-]], only = "runc" }
add { name = "stdin from a pipe", shell = [[echo piped | "$@" exec @ID@ cat]] }
add { name = "stdin that nobody reads", shell = [[head -c 300000 /dev/zero | "$@" exec @ID@ true]] }
add { name = "stdout to a pipe that closes",
  shell = [["$@" exec @ID@ sh -c 'while echo line; do :; done' 2>/dev/null | head -n 1]],
  differs = "the message of a failed write is the shell's, and its moment is not fixed", drop = { "^stderr:" } }
add { name = "200 kB through both", stdin = ("0123456789"):rep(20000), command = { "cat" } }
add { name = "stdout full", shell = [["$@" exec @ID@ echo x >/dev/full; echo $?]],
  differs = "runc copies the output itself and does not see the full device", expect = { "stdout: 1" },
  crun = { differs = false, expect = false } }
add { name = "stderr only", command = { "sh", "-c", "echo err >&2" } }
add { name = "output without a final line feed", command = { "printf", "%s", "x" } }
add { name = "detached output reaches the caller's file", args = { "--detach" },
  command = { "sh", "-c", "echo out; echo err >&2" } }
add { name = "detached reads the caller's stdin", args = { "-d" }, stdin = "given\n", command = { "cat" } }
add { name = "detached returns at once", shell = [["$@" exec -d @ID@ sh -c 'sleep 0.4; echo late'; echo first]] }
add { name = "detached leaves no stream of the caller's open", shell = [[mkfifo p; cat p >copy & reader=$!
  "$@" exec -d --pid-file pid @ID@ sh -c 'echo out; exec </dev/null >/dev/null 2>&1; sleep 10' >p 2>&1; wait $reader
  cat copy; tr '\0' ' ' </proc/$(cat pid)/cmdline; kill -9 $(cat pid); rm p copy]] }
add { name = "detached is reparented, not reaped", shell = [["$@" exec -d --pid-file pid @ID@ sh -c 'sleep 0.3; exit 5'
  grep -c . /proc/$(cat pid)/stat]] }

-- Exit statuses
for _, status in ipairs { 0, 1, 2, 3, 42, 63, 64, 77, 100, 124, 125, 126, 127, 128, 129, 130, 137, 143, 254, 255 } do
  add { name = "exit status " .. status, command = { "sh", "-c", "exit " .. status } }
end
add { name = "exit status 300", command = { "sh", "-c", "exit 300" } }
add { name = "every exit status", shell =
  [[i=0; while [ $i -lt 256 ]; do "$@" exec @ID@ sh -c "exit $i" >&2; printf '%d ' $?; i=$((i + 15)); done; echo]] }
add { name = "exit status of a detached failing command", args = { "-d" }, command = { "false" } }
for _, signal in ipairs { "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
  "PIPE", "ALRM", "TERM", "XCPU", "SYS" } do
  add { name = "killed by SIG" .. signal,
    command = { "sh", "-c", ("ulimit -c 0; kill -%s $$; sleep 0.2"):format(signal) } }
end
add { name = "killed from outside", shell = [["$@" exec --pid-file pid @ID@ sleep 20 & p=$!
  until [ -s pid ]; do sleep 0.02; done; sleep 0.1; kill -9 $(cat pid); wait $p; echo $?]] }

-- Forwarded signals: the command says which came
for _, signal in ipairs { "HUP", "INT", "QUIT", "USR1", "USR2", "TERM", "ALRM", "WINCH", "CONT" } do
  add { name = "SIG" .. signal .. " is forwarded", shell = ([[
    "$@" exec @ID@ sh -c 'trap "echo got %s; exit 9" %s; echo ready >&2; for i in 1 2 3 4 5 6 7 8 9 10; do
      sleep 0.05; done; echo none' 2>ready & p=$!
    until [ -s ready ]; do sleep 0.02; done; kill -%s $p; wait $p; s=$?; rm ready
    exit $s]]):format(signal, signal, signal),
    crun = signal == "WINCH" and { differs = "runc keeps it to itself, and so does ctrexec",
      expect = { "stdout: none" } } or nil }
end
add { name = "SIGTERM ends a command without a handler", shell = [[
  "$@" exec --pid-file pid @ID@ sleep 20 & p=$!
  until [ -s pid ]; do sleep 0.02; done; sleep 0.1; kill -TERM $p; wait $p; echo $?]] }
add { name = "a shell that waits ends with its child", command = { "sh", "-c", "sleep 0.1 & wait; echo done" } }
add { name = "a background child keeps running", shell = [[
  "$@" exec @ID@ sh -c '(sleep 0.3; echo late >/tmp/late) >/dev/null 2>&1 </dev/null & exit 4'; echo $?
  sleep 0.6; "$@" exec @ID@ sh -c 'cat /tmp/late; rm /tmp/late']] }
add { name = "ten at once", shell = [[
  for i in 0 1 2 3 4 5 6 7 8 9; do "$@" exec @ID@ sh -c "exit $i" & eval "p$i=$!"; done
  for i in 0 1 2 3 4 5 6 7 8 9; do eval "wait \$p$i"; printf '%d ' $?; done; echo]] }
add { name = "standard streams belong to the user", args = { "-u", "1000" },
  command = { "sh", "-c", "echo by name >/dev/stdout && echo err >/dev/stderr" } }

return rows
